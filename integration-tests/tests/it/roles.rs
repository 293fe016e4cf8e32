//! Roles as an operator meets them: the first super-user's password, a port that others reach, and a crash right after a change of roles.

use std::path::Path;

use palladium_integration_tests::node::{Node, Settings};
use scylla::client::session::Session;
use scylla::client::session_builder::SessionBuilder;

use crate::runtimes::two_threads;

const ROLES: &str =
    "authenticator = \"PasswordAuthenticator\"\nauthorizer = \"CassandraAuthorizer\"\n";
const SHOWN: &str = "the first super-user is cassandra, its password ";

fn with_roles(more: &str) -> Node {
    Node::start_with(Settings {
        config: format!("{ROLES}{more}"),
        ..Settings::default()
    })
}

async fn log_in(node: &Node, name: &str, password: &str) -> Option<Session> {
    SessionBuilder::new()
        .known_node_addr(node.address())
        .user(name, password)
        .build()
        .await
        .ok()
}

fn shown_password(node: &Node) -> Option<String> {
    let log = node.log();
    let rest = log.split_once(SHOWN)?.1;
    Some(rest.split_once(' ')?.0.to_owned())
}

/// Whether any file below this folder holds these bytes.
fn holds(folder: &Path, needle: &[u8]) -> bool {
    let entries = std::fs::read_dir(folder).expect("the folder can be read");
    entries.into_iter().any(|entry| {
        let path = entry.expect("an entry").path();
        match path.is_dir() {
            true => holds(&path, needle),
            false => {
                let bytes = std::fs::read(&path).expect("a file can be read");
                bytes.windows(needle.len()).any(|window| window == needle)
            }
        }
    })
}

#[test]
fn the_first_super_users_password_is_shown_once_and_stands_nowhere() {
    let mut node = with_roles("");
    let password = shown_password(&node).expect("the first start shows the password");
    assert_eq!(password.len(), 24);
    assert_eq!(node.log().matches(&password).count(), 1);
    two_threads().block_on(async {
        assert!(log_in(&node, "cassandra", "cassandra").await.is_none());
        assert!(log_in(&node, "cassandra", &password).await.is_some());
    });
    node.stop();
    assert!(!holds(&node.data(), password.as_bytes()));
    assert!(!holds(&node.data(), b"$2a$"), "a hash stands in the clear");
    node.restart();
    assert_eq!(shown_password(&node), None);
    assert_eq!(node.log().matches(&password).count(), 0);
    two_threads().block_on(async {
        assert!(log_in(&node, "cassandra", &password).await.is_some());
    });
    node.stop();
}

#[test]
fn a_server_that_asks_for_logins_is_told_to_flush_by_a_role_that_may() {
    let mut node = with_roles("default_superuser_password = \"cassandra\"\n");
    let host = node.address().to_string();
    let flush = |more: &[&str], password: &str| {
        let arguments = [&["flush", "--host", &host], more].concat();
        node.tool_with_input(&arguments, password)
    };
    let refused = flush(&[], "");
    assert_eq!(refused.code(), Some(2), "{}", refused.text);
    assert!(refused.text.contains("--user"), "{}", refused.text);
    let login = ["--user", "cassandra", "--password-fd", "0"];
    flush(&login, "cassandra\n").must_succeed("flush");
    let refused = flush(&login, "wrong\n");
    assert_eq!(refused.code(), Some(2), "{}", refused.text);
    assert!(!refused.text.contains("wrong"), "{}", refused.text);
    node.stop();
}

#[test]
fn a_port_that_others_reach_is_not_opened_to_everybody() {
    let mut node = Node::start();
    node.stop();
    std::fs::write(node.config(), "").expect("the configuration can be written");
    let refused = node.tool(&["--listen", "0.0.0.0:0", "--data", "never-made"]);
    assert_eq!(refused.code(), Some(2), "{}", refused.text);
    assert!(
        refused.text.contains("serve_everybody_beyond_loopback"),
        "{}",
        refused.text
    );
    assert!(!Path::new("never-made").exists());
}

#[test]
fn role_statements_that_were_answered_outlive_a_kill() {
    let mut node = with_roles("default_superuser_password = \"cassandra\"\n");
    let runtime = two_threads();
    for round in 0..3 {
        runtime.block_on(async {
            let admin = log_in(&node, "cassandra", "cassandra").await.expect("the super-user logs in");
            for statement in [
                format!("CREATE ROLE r{round} WITH PASSWORD = 'secret' AND LOGIN = true"),
                format!("CREATE KEYSPACE k{round} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"),
                format!("CREATE TABLE k{round}.t (k int PRIMARY KEY)"),
                format!("GRANT SELECT ON k{round}.t TO r{round}"),
            ] {
                admin.query_unpaged(statement.as_str(), ()).await.expect("the statement is right");
            }
            if round > 0 {
                let gone = format!("DROP ROLE r{}", round - 1);
                admin.query_unpaged(gone, ()).await.expect("the role is there");
            }
        });
        node.kill();
        node.restart();
        runtime.block_on(async {
            let name = format!("r{round}");
            let session = log_in(&node, &name, "secret")
                .await
                .expect("the role is there");
            let read = format!("SELECT * FROM k{round}.t");
            session
                .query_unpaged(read, ())
                .await
                .expect("the grant is there");
            let write = format!("INSERT INTO k{round}.t (k) VALUES (1)");
            assert!(session.query_unpaged(write, ()).await.is_err());
            if round > 0 {
                let gone = format!("r{}", round - 1);
                assert!(log_in(&node, &gone, "secret").await.is_none());
            }
        });
    }
    node.stop();
}
