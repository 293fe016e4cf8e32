//! A disk that is really full: a small tmpfs under the data folder (`TESTS_LONG=1`, as superuser).
//!
//! Writes fail and say why; reads go on; nothing that was acknowledged is lost; and when room is made, writes come back by themselves.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Write;
use std::time::{Duration, Instant};

use palladium_integration_tests::chance::long;
use palladium_integration_tests::node::{Node, Settings};
use palladium_integration_tests::raw::{Answer, Connection, code};

use crate::rows::{Place, bind, grid, make_keyspace, make_table, versions, write_all};
use crate::runtimes::one_thread;

const DISK_BYTES: u64 = 48 << 20;
/// Within it the server must notice that there is room again.
const COMEBACK: Duration = Duration::from_secs(20);

#[test]
fn a_full_disk_refuses_writes_answers_reads_and_comes_back_by_itself() {
    if !long() {
        return;
    }
    let settings = Settings {
        config:
            "log_segment_bytes = 1048576\nlog_bytes_max = 8388608\nmemtable_flush_bytes = 2097152\n"
                .into(),
        disk_bytes: Some(DISK_BYTES),
        ..Settings::default()
    };
    let mut node = Node::start_with(settings);
    let runtime = one_thread();
    let mut wanted: BTreeMap<Place, u64> = BTreeMap::new();
    runtime.block_on(async {
        let mut connection = node.connect().await;
        make_keyspace(&mut connection, "ks").await;
        make_table(&mut connection, "ks.t", "").await;
        write_all(&mut connection, "ks.t", grid(100, 50), 1).await;
        wanted.extend(grid(100, 50).map(|place| (place, 1)));
        let ballast = node.data().join("ballast");
        fill(&ballast);
        let mut refusals = 0;
        let id = connection
            .prepare("INSERT INTO ks.t (p, c, v) VALUES (?, ?, ?)")
            .await
            .expect("a statement is prepared");
        for (number, place) in grid(400, 100).enumerate() {
            let values = bind(place, 2);
            let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
            match connection.execute(&id, &values).await.expect("an answer") {
                Answer::Refused { code, message } => {
                    assert_eq!(code, code::OVERLOADED, "{message}");
                    assert!(message.contains("full"), "{message}");
                    refusals += 1;
                }
                _ => drop(wanted.insert(place, 2)),
            }
            if refusals >= 20 {
                break;
            }
            assert!(number < 39_999, "the disk is never full");
        }
        assert_eq!(read(&mut connection).await, wanted, "reads go on");
        fs::remove_file(&ballast).expect("the ballast can go");
        let since = Instant::now();
        let values = bind((1000, 0), 3);
        let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        while let Answer::Refused { code, message } =
            connection.execute(&id, &values).await.expect("an answer")
        {
            assert_eq!(code, code::OVERLOADED, "{message}");
            assert!(since.elapsed() < COMEBACK, "writes stay refused: {message}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        wanted.insert((1000, 0), 3);
        assert_eq!(read(&mut connection).await, wanted);
    });
    node.kill();
    node.restart();
    runtime.block_on(async {
        let mut connection = node.connect().await;
        assert_eq!(read(&mut connection).await, wanted, "after a kill");
    });
    node.stop();
    node.verify().must_succeed("verify");
}

/// Takes all the room there is.
fn fill(path: &std::path::Path) {
    let mut file = File::create(path).expect("a file can be made");
    for piece in [1 << 20, 4096] {
        let zeros = vec![0; piece];
        while file.write_all(&zeros).is_ok() {}
    }
}

async fn read(connection: &mut Connection) -> BTreeMap<Place, u64> {
    let answer = connection.query_all("SELECT p, c, v FROM ks.t", 1000).await;
    versions(&answer.expect("an answer").rows())
        .into_iter()
        .collect()
}
