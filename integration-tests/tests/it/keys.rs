//! A key's life seen from outside: switched under load without moving data, taken away and given back, refused when it is no good.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use palladium_integration_tests::node::{Node, Settings};
use palladium_integration_tests::raw::{Answer, Connection, code};
use sha2::{Digest, Sha256};
use tokio::runtime::Runtime;
use tokio::task::JoinHandle;

use crate::rows::{bind, grid, make_keyspace, make_table, read_all, text, versions, write_all};

/// The shortest lease there is, in seconds; a lock must be felt within it.
const LEASE_S: u64 = 10;
/// How long a test waits for something that a lease brings about: the lease, a refresh, and a slow machine.
const LEASE_LIMIT: Duration = Duration::from_secs(6 * LEASE_S);

fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be built")
}

fn node() -> Node {
    let node = Node::start_with(Settings {
        config: format!("key_lease_s = {LEASE_S}\n"),
    });
    for key in ["first", "second", "third"] {
        node.key("create", key);
    }
    node
}

#[test]
fn a_key_switch_under_load_moves_no_data() {
    let mut node = node();
    let runtime = runtime();
    let (before, load) = runtime.block_on(async {
        let mut connection = Connection::open(node.address()).await.expect("the server is ready");
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
        let mut connection = Connection::open(node.address())
            .await
            .expect("the server is ready");
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
    runtime().block_on(async {
        let mut connection = Connection::open(node.address())
            .await
            .expect("the server is ready");
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

#[test]
fn a_kill_during_a_key_switch_leaves_the_old_state_or_the_new() {
    let mut node = node();
    let runtime = runtime();
    runtime.block_on(async {
        let mut connection = Connection::open(node.address())
            .await
            .expect("the server is ready");
        make_keyspace(&mut connection, "ks").await;
        make_table(
            &mut connection,
            "ks.t",
            "encryption = {'kms_key': 'local:first'}",
        )
        .await;
        write_all(&mut connection, "ks.t", grid(20, 20), 1).await;
    });
    node.flush();
    for (round, pause_ms) in [0, 1, 2, 4, 8, 16, 32].into_iter().enumerate() {
        let key = ["second", "first"][round % 2];
        let address = node.address();
        let switch = runtime.spawn(async move {
            let mut connection = Connection::open(address).await?;
            connection
                .query(&format!(
                    "ALTER TABLE ks.t WITH encryption = {{'kms_key': 'local:{key}'}}"
                ))
                .await
        });
        std::thread::sleep(Duration::from_millis(pause_ms));
        node.kill();
        let outcome = runtime
            .block_on(switch)
            .expect("the switch ends with its connection");
        node.restart();
        runtime.block_on(async {
            let mut connection = Connection::open(node.address())
                .await
                .expect("the server is ready");
            assert_eq!(
                read_all(&mut connection, "ks.t").await.len(),
                400,
                "killed {pause_ms} ms into a switch to {key}"
            );
            // The schema shows the key that the table is under, whichever of the two a kill has left it.
            let under = cell(&mut connection, "SELECT kms_key FROM system_palladium.tables WHERE keyspace_name = 'ks' AND table_name = 't'").await;
            let shown = cell(&mut connection, "SELECT custom_properties FROM system_schema_mcs.tables WHERE keyspace_name = 'ks' AND table_name = 't'").await;
            assert!(
                shown.windows(under.len()).any(|window| window == under),
                "killed {pause_ms} ms into a switch to {key}: the schema shows another key than the table is under"
            );
            if let Ok(answer) = outcome {
                answer.accepted();
            }
        });
    }
    node.stop();
    node.verify().must_succeed("verify");
}

#[test]
fn a_disabled_key_locks_its_table_and_no_other() {
    let mut node = node();
    let runtime = runtime();
    runtime.block_on(async {
        let mut connection = Connection::open(node.address()).await.expect("the server is ready");
        make_keyspace(&mut connection, "ks").await;
        make_table(&mut connection, "ks.locked", "encryption = {'kms_key': 'local:first'}").await;
        make_table(&mut connection, "ks.neighbour", "encryption = {'kms_key': 'local:second'}").await;
        write_all(&mut connection, "ks.locked", grid(50, 20), 1).await;
        write_all(&mut connection, "ks.neighbour", grid(50, 20), 1).await;
        // Half of the rows on disk, half in memory and in the log.
        node.flush();
        write_all(&mut connection, "ks.locked", grid(25, 20), 2).await;

        let neighbour = Load::start(&node, "ks.neighbour");
        node.key("disable", "first");
        let message = wait_for_lock(&mut connection).await;
        for words in ["KMS_KEY_INACCESSIBLE", "table=ks.locked", "key=local:first", "since=", "reason=Disabled"] {
            assert!(message.contains(words), "{words} is not in: {message}");
        }
        // Writes, scans, conditions and batches are refused as reads are; a batch that touches the table changes nothing elsewhere.
        for statement in [
            "INSERT INTO ks.locked (p, c, v) VALUES (1, 1, 0x00)",
            "SELECT * FROM ks.locked",
            "SELECT count(*) FROM ks.locked",
            "DELETE FROM ks.locked WHERE p = 1",
            "INSERT INTO ks.locked (p, c, v) VALUES (1, 1, 0x00) IF NOT EXISTS",
            "BEGIN BATCH INSERT INTO ks.neighbour (p, c, v) VALUES (999, 1, 0x00); INSERT INTO ks.locked (p, c, v) VALUES (1, 1, 0x00); APPLY BATCH",
        ] {
            let (code, message) = connection.query(statement).await.expect("the connection holds").refusal();
            assert_eq!(code, code::UNAUTHORIZED, "{statement}: {message}");
        }
        assert!(connection.run("SELECT * FROM ks.neighbour WHERE p = 999").await.rows().is_empty(), "a refused batch was applied in part");
        let shown = connection.run("SELECT status FROM system_schema_mcs.tables WHERE keyspace_name = 'ks' AND table_name = 'locked'").await.rows();
        assert_eq!(text(&shown[0][0]), "INACCESSIBLE_ENCRYPTION_CREDENTIALS");
        assert_eq!(neighbour.stop().await, Vec::<String>::new(), "the neighbour noticed");
    });

    // The server starts while a customer's key is disabled, and the neighbour serves.
    node.kill();
    node.restart();
    runtime.block_on(async {
        let mut connection = Connection::open(node.address())
            .await
            .expect("the server is ready");
        let neighbour = read_all(&mut connection, "ks.neighbour").await;
        assert_eq!(neighbour.len(), 1000);
        wait_for_lock(&mut connection).await;

        node.key("enable", "first");
        let deadline = Instant::now() + LEASE_LIMIT;
        let rows = loop {
            match connection
                .query_all("SELECT p, c, v FROM ks.locked", 1000)
                .await
                .expect("the connection holds")
            {
                Answer::Rows(rows) => break rows.rows,
                refusal => assert!(
                    Instant::now() < deadline,
                    "the key is back and the table is not: {refusal:?}"
                ),
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        };
        let found: BTreeMap<_, _> = versions(&rows).into_iter().collect();
        let wanted: BTreeMap<_, _> = grid(50, 20)
            .map(|place| (place, if place.0 < 25 { 2 } else { 1 }))
            .collect();
        assert!(
            found == wanted,
            "rows after the key came back: {} of {}",
            found.len(),
            wanted.len()
        );
        write_all(&mut connection, "ks.locked", grid(50, 20), 3).await;
    });
    node.stop();
    node.verify().must_succeed("verify");
}

#[test]
fn keys_that_are_no_good_are_refused_and_nothing_changes() {
    let node = node();
    runtime().block_on(async {
        let mut connection = Connection::open(node.address()).await.expect("the server is ready");
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

/// Reads one row until its table refuses; gives the refusal's text.
async fn wait_for_lock(connection: &mut Connection) -> String {
    let deadline = Instant::now() + LEASE_LIMIT;
    loop {
        match connection
            .query("SELECT p, c, v FROM ks.locked WHERE p = 1 AND c = 1")
            .await
            .expect("the connection holds")
        {
            Answer::Refused { code, message } => {
                assert_eq!(code, code::UNAUTHORIZED, "{message}");
                return message;
            }
            answer => assert_eq!(
                versions(&answer.rows()).len(),
                1,
                "a row went missing instead of being refused"
            ),
        }
        assert!(
            Instant::now() < deadline,
            "the key is disabled and its table still answers"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
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

/// Reads and writes of one table on a connection of their own, one after the other; refusals are collected, wrong rows fail the test.
struct Load {
    stopping: Arc<AtomicBool>,
    answered: Arc<std::sync::atomic::AtomicU64>,
    task: JoinHandle<Vec<String>>,
}

impl Load {
    fn start(node: &Node, table: &str) -> Load {
        let (address, table) = (node.address(), table.to_owned());
        let stopping = Arc::new(AtomicBool::new(false));
        let answered = Arc::new(std::sync::atomic::AtomicU64::new(0));
        let (stop, count) = (Arc::clone(&stopping), Arc::clone(&answered));
        let task = tokio::spawn(async move {
            let mut connection = Connection::open(address)
                .await
                .expect("the server is ready");
            let inserting = format!("INSERT INTO {table} (p, c, v) VALUES (?, ?, ?)");
            let selecting = format!("SELECT p, c, v FROM {table} WHERE p = ? AND c = ?");
            let mut insert = connection
                .prepare(&inserting)
                .await
                .expect("INSERT can be prepared");
            let mut select = connection
                .prepare(&selecting)
                .await
                .expect("SELECT can be prepared");
            let mut refusals = Vec::new();
            for turn in 0.. {
                if stop.load(Ordering::Relaxed) {
                    break;
                }
                let place = (turn % 50, turn / 50 % 20);
                let values = bind(place, 100 + turn as u64);
                let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
                for (text, id, values) in [
                    (&inserting, &mut insert, &values[..]),
                    (&selecting, &mut select, &values[..2]),
                ] {
                    let mut answer = connection
                        .execute(id, values)
                        .await
                        .expect("the connection holds");
                    // What every driver does: a statement that the server has forgotten is prepared again.
                    if matches!(
                        answer,
                        Answer::Refused {
                            code: code::UNPREPARED,
                            ..
                        }
                    ) {
                        *id = connection
                            .prepare(text)
                            .await
                            .expect("it can be prepared again");
                        answer = connection
                            .execute(id, values)
                            .await
                            .expect("the connection holds");
                    }
                    match answer {
                        Answer::Refused { code, message } => {
                            refusals.push(format!("{code:#06x} {message}"))
                        }
                        Answer::Rows(rows) => {
                            assert_eq!(versions(&rows.rows), [(place, 100 + turn as u64)])
                        }
                        _ => {}
                    }
                    count.fetch_add(1, Ordering::Relaxed);
                }
            }
            refusals
        });
        Load {
            stopping,
            answered,
            task,
        }
    }

    /// Waits until so many more requests were answered.
    async fn wait_for(&self, more: u64) {
        let goal = self.answered.load(Ordering::Relaxed) + more;
        while self.answered.load(Ordering::Relaxed) < goal {
            assert!(!self.task.is_finished(), "the load has ended by itself");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }

    async fn stop(self) -> Vec<String> {
        self.stopping.store(true, Ordering::Relaxed);
        self.task.await.expect("the load ends when told to")
    }
}
