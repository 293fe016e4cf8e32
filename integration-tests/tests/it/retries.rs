//! What drivers make of a table without its key, and of a damaged one: a denial and damage go to the application at once, an outage is a matter of their retry policies.
//!
//! The key stands on a PKCS#11 token, which can be taken away both ways.

use std::process::Command;
use std::sync::Arc;
use std::time::{Duration, Instant};

use palladium_integration_tests::node::{Node, Settings};
use palladium_integration_tests::owners::{Owner, SoftHsm, install};
use palladium_integration_tests::raw::{Answer, Connection, code};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;
use scylla::errors::{DbError, RequestAttemptError};
use scylla::observability::history::{AttemptResult, HistoryCollector};
use scylla::policies::retry::RetryDecision;
use scylla::statement::Statement;

use crate::rows::{grid, make_keyspace, make_table, text, write_all};

const LEASE_S: u64 = 10;
const READ: &str = "SELECT * FROM ks.t WHERE p = 1";
const WRITE: &str = "INSERT INTO ks.t (p, c, v) VALUES (1, 1, 0x00)";
const PATIENCE: Duration = Duration::from_secs(LEASE_S + 50);

#[test]
fn drivers_do_not_repeat_what_was_denied_or_met_damage_and_may_repeat_what_met_an_outage() {
    let mut owner = SoftHsm::start(env!("CARGO_BIN_EXE_token"));
    let mut node = Node::start_with(Settings {
        config: format!("key_lease_s = {LEASE_S}\n{}", owner.settings()),
        environment: owner.environment(),
        ..Settings::default()
    });
    let key = owner.create_key(&node, "orders");
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be built");
    let blocks = runtime.block_on(async {
        let mut connection = node.connect().await;
        make_keyspace(&mut connection, "ks").await;
        make_table(
            &mut connection,
            "ks.t",
            &format!("encryption = {{'kms_key': '{key}'}}"),
        )
        .await;
        write_all(&mut connection, "ks.t", grid(2, 2), 1).await;
        let session = SessionBuilder::new()
            .known_node_addr(node.address())
            .build()
            .await
            .expect("the driver connects");

        owner.take_away(&node, &key);
        wait_for(&mut connection, code::UNAUTHORIZED).await;
        for (error, decision) in attempts(&session, &[READ, WRITE]).await {
            assert!(
                matches!(error, DbError::Unauthorized),
                "the driver saw {error}"
            );
            assert_eq!(decision, RetryDecision::DontRetry);
        }
        python(&node, "unauthorized");

        owner.give_back(&node, &key);
        assert!(owner.go_away(), "this service can be out of reach");
        wait_for(&mut connection, code::UNAVAILABLE).await;
        for (error, decision) in attempts(&session, &[READ, WRITE]).await {
            assert!(
                matches!(error, DbError::Unavailable { .. }),
                "the driver saw {error}"
            );
            assert_eq!(decision, RetryDecision::RetryNextTarget(None));
        }
        python(&node, "unavailable");
        owner.come_back();
        wait_until_served(&mut connection).await;
        node.flush();
        data_of(&mut connection).await
    });
    node.stop();
    for name in blocks {
        damage(&node.data().join("blobs").join(name));
    }
    node.restart();
    runtime.block_on(async {
        let mut connection = node.connect().await;
        wait_for(&mut connection, code::READ_FAILURE).await;
        let session = SessionBuilder::new()
            .known_node_addr(node.address())
            .build()
            .await
            .expect("the driver connects");
        for (error, decision) in attempts(&session, &[READ]).await {
            assert!(
                matches!(error, DbError::ReadFailure { .. }),
                "the driver saw {error}"
            );
            assert_eq!(decision, RetryDecision::DontRetry);
        }
        python(&node, "damaged");
    });
}

/// The files where the table's rows are.
async fn data_of(connection: &mut Connection) -> Vec<String> {
    let structures = connection
        .run("SELECT structure, kind FROM system_palladium.structures WHERE keyspace_name = 'ks' AND table_name = 't'")
        .await
        .rows();
    let data = structures
        .iter()
        .filter(|row| text(&row[1]) == "SstableData");
    let names: Vec<String> = data.map(|row| text(&row[0])).collect();
    assert!(!names.is_empty(), "nothing is on the disk");
    names
}

/// Every byte is another one.
fn damage(path: &std::path::Path) {
    let mut bytes = std::fs::read(path).expect("it can be read");
    bytes.iter_mut().for_each(|byte| *byte ^= 1);
    std::fs::write(path, bytes).expect("it can be written");
}

async fn wait_until_served(connection: &mut Connection) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        match connection.query(READ).await.expect("the connection holds") {
            Answer::Rows(_) => return,
            other => assert!(Instant::now() < deadline, "still {other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}

/// Statements that are marked as safe to repeat: what each attempt met, and what the driver's default policy decided.
async fn attempts(session: &Session, statements: &[&str]) -> Vec<(DbError, RetryDecision)> {
    let mut met = Vec::new();
    for text in statements.iter().copied() {
        let history = Arc::new(HistoryCollector::new());
        let mut statement = Statement::new(text);
        statement.set_is_idempotent(true);
        statement.set_history_listener(history.clone());
        let answer = session.query_unpaged(statement, ()).await;
        assert!(answer.is_err(), "{text} was answered");
        let requests = history.clone_structured_history().requests;
        let attempts = requests
            .into_iter()
            .flat_map(|request| request.non_speculative_fiber.attempts);
        let before = met.len();
        met.extend(attempts.filter_map(|attempt| match attempt.result? {
            AttemptResult::Error(_, RequestAttemptError::DbError(error, _), decision) => {
                Some((error, decision))
            }
            _ => None,
        }));
        assert_eq!(met.len(), before + 1, "{text}: one attempt for one host");
    }
    met
}

/// The Python driver's view of the same table.
fn python(node: &Node, wanted: &str) {
    let folder = install("python");
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/clients/python/refusals.py");
    let address = node.address();
    let output = Command::new(folder.join("bin/python"))
        .args([
            script,
            &address.ip().to_string(),
            &address.port().to_string(),
            "ks.t",
            wanted,
        ])
        .output()
        .expect("Python runs");
    assert!(
        output.status.success(),
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

async fn wait_for(connection: &mut Connection, wanted: i32) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let answer = connection.query(READ).await.expect("the connection holds");
        match answer {
            Answer::Refused { code, .. } if code == wanted => return,
            other => assert!(Instant::now() < deadline, "still {other:?}"),
        }
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
}
