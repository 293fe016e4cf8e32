//! `palladium salvage`: nothing goes without an operator's word, what goes is written down, and what is whole stays.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;

use palladium_integration_tests::node::Node;
use palladium_integration_tests::raw::Answer;

use crate::rows::{Place, grid, make_keyspace, make_table, versions, write_all};
use crate::runtimes::one_thread;

const PARTITIONS: i32 = 80;
const CLUSTERINGS: i32 = 20;

#[test]
fn a_damaged_table_is_salvaged_on_an_operators_word_and_that_is_written_down() {
    let mut node = Node::start();
    let runtime = one_thread();
    runtime.block_on(async {
        let mut connection = node.connect().await;
        make_keyspace(&mut connection, "ks").await;
        make_table(&mut connection, "ks.t", "").await;
        write_all(&mut connection, "ks.t", grid(PARTITIONS, CLUSTERINGS), 1).await;
    });
    node.flush();
    node.stop();
    let data = node.data();
    let folder = data.to_str().expect("temporary folders have plain names");
    let whole = node.tool(&["salvage", folder]);
    whole.must_succeed("salvage of a whole folder");
    assert!(
        whole.text.contains("nothing is to be given up"),
        "{}",
        whole.text
    );

    damage(&node);
    let before = list(&node);
    let asked = node.tool(&["salvage", folder]);
    assert_eq!(asked.code(), Some(2), "{}", asked.text);
    assert!(asked.text.contains("lost: table "), "{}", asked.text);
    assert_eq!(list(&node), before, "nothing was changed");
    assert_eq!(node.verify().code(), Some(1));
    let done = node.tool(&["salvage", folder, "--yes"]);
    done.must_succeed("salvage");
    assert!(done.text.contains("kept: table "), "{}", done.text);
    node.verify().must_succeed("verify");
    node.tool(&["audit", "verify", folder])
        .must_succeed("audit verify");

    node.restart();
    runtime.block_on(async {
        let mut connection = node.connect().await;
        let rows = connection.query_all("SELECT p, c, v FROM ks.t", 500).await;
        let found: BTreeMap<Place, u64> =
            versions(&rows.expect("an answer").rows()).into_iter().collect();
        let wanted = (PARTITIONS * CLUSTERINGS) as usize;
        assert!(found.len() < wanted && found.len() > wanted / 2, "{}", found.len());
        for (partition, _) in found.keys() {
            let own = found.keys().filter(|place| place.0 == *partition);
            assert_eq!(own.count(), CLUSTERINGS as usize, "a partition is whole or gone");
        }
        let events = connection
            .run("SELECT operation FROM system_palladium.kms_calls WHERE operation = 'SALVAGE' ALLOW FILTERING")
            .await
            .rows();
        assert_eq!(events.len(), 1);
        connection.run("INSERT INTO ks.t (p, c, v) VALUES (1, 1, 0x00)").await;
    });
    node.stop();
    node.verify().must_succeed("verify");
}

/// Rows of a table whose index takes more room than they do.
const INDEXED: usize = 2_000;

#[test]
fn an_index_that_was_salvaged_misses_no_row() {
    let mut node = Node::start();
    let runtime = one_thread();
    runtime.block_on(async {
        let mut connection = node.connect().await;
        make_keyspace(&mut connection, "ks").await;
        for statement in [
            "CREATE TABLE ks.i (p int PRIMARY KEY, v int)",
            "CREATE INDEX of_v ON ks.i (v) USING 'sai'",
        ] {
            connection.run(statement).await.accepted();
        }
        for p in 0..INDEXED {
            let insert = format!("INSERT INTO ks.i (p, v) VALUES ({p}, {p})");
            connection.run(&insert).await.accepted();
        }
    });
    node.flush();
    node.stop();
    damage(&node);
    let data = node.data();
    let folder = data.to_str().expect("temporary folders have plain names");
    let done = node.tool(&["salvage", folder, "--yes"]);
    done.must_succeed("salvage");
    assert!(
        done.text.contains(" of store ") && !done.text.contains(" of store 0,"),
        "the index was damaged, and nothing else: {}",
        done.text
    );

    node.restart();
    let found = runtime.block_on(async {
        let mut connection = node.connect().await;
        loop {
            let found = connection.query_all("SELECT p FROM ks.i WHERE v >= 0", 500);
            match found.await.expect("an answer") {
                Answer::Refused { message, .. } => {
                    assert!(message.contains("is not yet available"), "{message}");
                    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
                }
                answer => break answer.rows().len(),
            }
        }
    });
    assert_eq!(found, INDEXED);
    node.stop();
    node.verify().must_succeed("verify");
}

/// Flips a byte in the middle of the largest blob: the data of the SSTable that takes most room.
fn damage(node: &Node) {
    let blobs = node.data().join("blobs");
    let files = fs::read_dir(blobs).expect("the folder is there");
    let largest: PathBuf = files
        .map(|file| file.expect("an entry").path())
        .max_by_key(|path| fs::metadata(path).map_or(0, |metadata| metadata.len()))
        .expect("a blob");
    let mut bytes = fs::read(&largest).expect("it can be read");
    let middle = bytes.len() / 2;
    bytes[middle] ^= 1;
    fs::write(&largest, bytes).expect("it can be written");
}

/// Every file of the data folder with its bytes.
fn list(node: &Node) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut files = BTreeMap::new();
    for folder in ["log", "blobs", "roots", "manifest"] {
        for file in fs::read_dir(node.data().join(folder)).expect("the folder is there") {
            let path = file.expect("an entry").path();
            let bytes = fs::read(&path).expect("it can be read");
            files.insert(path, bytes);
        }
    }
    files
}
