//! A key's life seen from outside: switched under load without moving data, refused when it is no good. How it is taken away and given back is told in
//! `key_services`.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use palladium_integration_tests::node::{Node, Settings};
use palladium_integration_tests::raw::{Connection, code};
use sha2::{Digest, Sha256};

use crate::load::Load;
use crate::rows::{grid, make_keyspace, make_table, read_all, text, write_all};
use crate::runtimes::two_threads;

/// The shortest lease there is, in seconds; a lock must be felt within it.
const LEASE_S: u64 = 10;

fn node() -> Node {
    let node = Node::start_with(Settings {
        config: format!("key_lease_s = {LEASE_S}\n"),
        ..Settings::default()
    });
    for key in ["first", "second", "third"] {
        node.key("create", key);
    }
    node
}

#[test]
fn a_key_switch_under_load_moves_no_data() {
    let mut node = node();
    let runtime = two_threads();
    let (before, load) = runtime.block_on(async {
        let mut connection = node.connect().await;
        make_keyspace(&mut connection, "ks").await;
        make_table(&mut connection, "ks.t", "encryption = {'kms_key': 'local:first'}").await;
        write_all(&mut connection, "ks.t", grid(100, 100), 1).await;
        node.flush();
        let before = hashes(&node.data().join("blobs"));
        assert!(!before.is_empty(), "a flush writes structures");

        let load = Load::start(&node, "ks.t");
        load.wait_for(500).await;
        connection.run("ALTER TABLE ks.t WITH encryption = {'kms_key': 'local:second'}").await;
        // The old key is not needed from here on.
        node.key("disable", "first");
        load.wait_for(500).await;
        let shown = connection.run("SELECT status, custom_properties FROM system_schema_mcs.tables WHERE keyspace_name = 'ks' AND table_name = 't'").await.rows();
        assert!(["ACTIVE", "UPDATING"].contains(&text(&shown[0][0]).as_str()), "status {}", text(&shown[0][0]));
        (before, load)
    });
    let after = hashes(&node.data().join("blobs"));
    for (name, hash) in &before {
        assert_eq!(
            after.get(name),
            Some(hash),
            "{name} was moved or rewritten by a key switch"
        );
    }
    // Longer than a lease: the table lives on under the new key alone.
    std::thread::sleep(Duration::from_secs(LEASE_S + LEASE_S / 2));
    let refusals = runtime.block_on(load.stop());
    assert_eq!(
        refusals,
        Vec::<String>::new(),
        "a request failed during a key switch"
    );

    node.stop();
    node.verify().must_succeed("verify");
    node.restart();
    runtime.block_on(async {
        let mut connection = node.connect().await;
        assert_eq!(
            read_all(&mut connection, "ks.t").await.len(),
            100 * 100,
            "rows after a restart without the old key"
        );
    });
}

#[test]
fn a_key_switch_keeps_prepared_statements() {
    let node = node();
    two_threads().block_on(async {
        let mut connection = node.connect().await;
        make_keyspace(&mut connection, "ks").await;
        make_table(
            &mut connection,
            "ks.t",
            "encryption = {'kms_key': 'local:first'}",
        )
        .await;
        let select = connection
            .prepare("SELECT p, c, v FROM ks.t WHERE p = ?")
            .await
            .expect("SELECT can be prepared");
        // Cassandra forgets statements when columns change, not when options do.
        for options in [
            "encryption = {'kms_key': 'local:second'}",
            "comment = 'another'",
        ] {
            connection
                .run(&format!("ALTER TABLE ks.t WITH {options}"))
                .await;
            let answer = connection
                .execute(&select, &[&1_i32.to_be_bytes()])
                .await
                .expect("the connection holds");
            assert!(
                answer.accepted().rows().is_empty(),
                "after ALTER TABLE WITH {options}"
            );
        }
    });
}

/// The one cell that a statement answers with.
async fn cell(connection: &mut Connection, statement: &str) -> Vec<u8> {
    let answer = connection
        .query(statement)
        .await
        .expect("the connection holds");
    let rows = answer.accepted().rows();
    rows[0][0]
        .as_deref()
        .expect("the cell is not null")
        .to_vec()
}

/// SSTables of the table whose switch is cut short: so many by the flag for long versions.
const SSTABLES_LONG: i32 = 1_000;
const SSTABLES_SHORT: i32 = 100;
/// Kills from the beginning of a switch to a little past its end.
const KILLS_LONG: u32 = 32;
const KILLS_SHORT: u32 = 8;
const FLUSH: &str = "INSERT INTO system_palladium.maintenance (operation, keyspace_name, table_name) VALUES ('flush', 'ks', 't')";

#[test]
fn a_kill_during_a_key_switch_leaves_the_old_state_or_the_new() {
    let mut node = node();
    let runtime = two_threads();
    let (sstables, kills) = match std::env::var_os("TESTS_LONG") {
        Some(_) => (SSTABLES_LONG, KILLS_LONG),
        None => (SSTABLES_SHORT, KILLS_SHORT),
    };
    let whole = runtime.block_on(async {
        let mut connection = node.connect().await;
        make_keyspace(&mut connection, "ks").await;
        make_table(
            &mut connection,
            "ks.t",
            "encryption = {'kms_key': 'local:first'} AND compaction = {'class': 'SizeTieredCompactionStrategy', 'enabled': 'false'}",
        )
        .await;
        for partition in 0..sstables {
            write_all(&mut connection, "ks.t", [(partition, 0)].into_iter(), 1).await;
            connection.run(FLUSH).await;
        }
        let began = Instant::now();
        connection
            .run("ALTER TABLE ks.t WITH encryption = {'kms_key': 'local:second'}")
            .await;
        began.elapsed()
    });
    println!("a switch that nobody disturbs takes {whole:?}");
    let mut present = "second";
    let mut switched = 0;
    for kill in 0..kills {
        let key = match present {
            "first" => "second",
            "second" => "third",
            _ => "first",
        };
        let pause = whole * kill * 5 / (kills * 4);
        let address = node.address();
        let switch = runtime.spawn(async move {
            let mut connection = Connection::open(address).await?;
            connection
                .query(&format!(
                    "ALTER TABLE ks.t WITH encryption = {{'kms_key': 'local:{key}'}}"
                ))
                .await
        });
        std::thread::sleep(pause);
        node.kill();
        let outcome = runtime
            .block_on(switch)
            .expect("the switch ends with its connection");
        node.restart();
        runtime.block_on(async {
            let mut connection = node.connect().await;
            assert_eq!(
                read_all(&mut connection, "ks.t").await.len() as i32,
                sstables,
                "killed {pause:?} into a switch to {key}"
            );
            // The schema shows the key that the table is under, whichever of the two a kill has left it.
            let under = cell(&mut connection, "SELECT kms_key FROM system_palladium.tables WHERE keyspace_name = 'ks' AND table_name = 't'").await;
            let shown = cell(&mut connection, "SELECT custom_properties FROM system_schema_mcs.tables WHERE keyspace_name = 'ks' AND table_name = 't'").await;
            assert!(
                shown.windows(under.len()).any(|window| window == under),
                "killed {pause:?} into a switch to {key}: the schema shows another key than the table is under"
            );
            let is_new = under == format!("local:{key}").into_bytes();
            if is_new {
                (present, switched) = (key, switched + 1);
            }
            if let Ok(answer) = outcome {
                answer.accepted();
                assert!(is_new, "a switch to {key} was acknowledged, and a kill undid it");
            }
        });
    }
    println!("{kills} kills, {switched} of them after the new root was durable");
    node.stop();
    node.verify().must_succeed("verify");
}

#[test]
fn keys_that_are_no_good_are_refused_and_nothing_changes() {
    let node = node();
    two_threads().block_on(async {
        let mut connection = node.connect().await;
        make_keyspace(&mut connection, "ks").await;
        make_table(&mut connection, "ks.t", "encryption = {'kms_key': 'local:first'}").await;
        write_all(&mut connection, "ks.t", grid(10, 10), 1).await;
        node.key("disable", "third");
        for key in ["local:nowhere", "local:third", "nonsense", "arn:aws:kms:us-east-1:111122223333:key/first", ""] {
            for statement in [
                format!("CREATE TABLE ks.u (k int PRIMARY KEY) WITH encryption = {{'kms_key': '{key}'}}"),
                format!("ALTER TABLE ks.t WITH encryption = {{'kms_key': '{key}'}}"),
            ] {
                let (code, message) = connection.query(&statement).await.expect("the connection holds").refusal();
                assert_eq!(code, code::INVALID, "{statement}: {message}");
            }
        }
        let (_, message) = connection.query("SELECT * FROM ks.u").await.expect("the connection holds").refusal();
        assert!(message.contains("does not exist"), "{message}");
        assert_eq!(read_all(&mut connection, "ks.t").await.len(), 100);

        // Keyspaces' own spelling means the same; leaving for the service's key needs no name.
        for specification in [
            "{'encryption_type': 'CUSTOMER_MANAGED_KMS_KEY', 'kms_key_identifier': 'local:second'}",
            "{'ENCRYPTION_TYPE': 'aws_owned_kms_key'}",
        ] {
            connection.run(&format!("ALTER TABLE ks.t WITH custom_properties = {{'encryption_specification': {specification}}}")).await;
            assert_eq!(read_all(&mut connection, "ks.t").await.len(), 100);
        }
        connection.run("ALTER TABLE ks.t WITH encryption = {'kms_key': 'default'}").await;
        assert_eq!(read_all(&mut connection, "ks.t").await.len(), 100);
    });
}

/// SHA-256 of every file in a folder, by name.
fn hashes(folder: &Path) -> BTreeMap<String, [u8; 32]> {
    let entries =
        fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    entries
        .map(|entry| {
            let path = entry.expect("a folder can be listed").path();
            let bytes = fs::read(&path).expect("a structure can be read");
            (
                path.file_name()
                    .expect("a file has a name")
                    .to_string_lossy()
                    .into_owned(),
                Sha256::digest(&bytes).into(),
            )
        })
        .collect()
}
