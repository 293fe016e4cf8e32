//! An older folder, or an older keyring, is put back: refused, until an operator says that it is to be taken for the true one; then everybody can read that he did.

use std::fs;

use palladium_integration_tests::node::{Node, Outcome, copy_folder};
use palladium_integration_tests::raw::Connection;

use crate::rows::{int, make_keyspace, text};
use crate::runtimes::one_thread;

/// Runs a story against the running server.
fn tell<T>(node: &Node, story: impl AsyncFnOnce(&mut Connection) -> T) -> T {
    let runtime = one_thread();
    runtime.block_on(async {
        let mut connection = node.connect().await;
        story(&mut connection).await
    })
}

fn on_folder(node: &Node, command: &[&str], options: &[&str]) -> Outcome {
    let data = node.data();
    let data = data.to_str().expect("temporary folders have plain names");
    node.tool(&[command, &[data], options].concat())
}

async fn keys_of(connection: &mut Connection) -> Vec<i32> {
    let rows = connection.run("SELECT k FROM ks.t").await.rows();
    let mut keys: Vec<i32> = rows.iter().map(|row| int(&row[0])).collect();
    keys.sort();
    keys
}

#[test]
fn an_older_folder_is_refused_until_an_operator_accepts_it() {
    let mut node = Node::start();
    tell(&node, async |connection| {
        make_keyspace(connection, "ks").await;
        connection
            .run("CREATE TABLE ks.t (k int PRIMARY KEY)")
            .await;
        connection.run("INSERT INTO ks.t (k) VALUES (1)").await;
    });
    node.stop();
    let kept = tempfile::tempdir().expect("a temporary folder can be made");
    let older = kept.path().join("older");
    copy_folder(&node.data(), &older).expect("the folder can be copied");
    node.restart();
    tell(&node, async |connection| {
        connection.run("INSERT INTO ks.t (k) VALUES (2)").await;
    });
    node.stop();
    fs::remove_dir_all(node.data()).expect("the folder can be removed");
    copy_folder(&older, &node.data()).expect("the folder can be copied");

    for _ in 0..2 {
        node.try_restart().expect_err("an older folder was opened");
        assert!(node.log().contains("an older copy was put back"));
        let verified = node.verify();
        assert_eq!(verified.code(), Some(3), "{}", verified.text);
        let asked = on_folder(&node, &["accept-rollback"], &[]);
        assert_eq!(asked.code(), Some(2), "{}", asked.text);
        assert!(asked.text.contains("nothing was changed"), "{}", asked.text);
    }
    on_folder(&node, &["accept-rollback"], &["--yes"]).must_succeed("accept-rollback");
    node.verify().must_succeed("verify");
    on_folder(&node, &["audit", "verify"], &[]).must_succeed("audit verify");
    let again = on_folder(&node, &["accept-rollback"], &["--yes"]);
    assert!(
        again.text.contains("nothing is to be accepted"),
        "{}",
        again.text
    );

    node.restart();
    tell(&node, async |connection| {
        assert_eq!(keys_of(connection).await, [1]);
        let calls = connection
            .run("SELECT operation, who, context['folder epoch'], context['anchor epoch'] FROM system_palladium.kms_calls")
            .await
            .rows();
        let accepted: Vec<_> = calls
            .iter()
            .filter(|row| text(&row[0]) == "ACCEPT ROLLBACK")
            .collect();
        assert_eq!(accepted.len(), 1);
        assert!(text(&accepted[0][1]).contains("uid "));
        let epoch = |index: usize| text(&accepted[0][index]).parse::<u64>().expect("an epoch");
        assert!(epoch(2) < epoch(3));
        connection.run("INSERT INTO ks.t (k) VALUES (3)").await;
    });
    node.stop();
    on_folder(&node, &["audit", "verify"], &[]).must_succeed("audit verify");
    // What was exported of the trail that is gone is kept for whoever asks.
    let mut name = node.keyring().into_os_string();
    name.push(".audit-head.before-rollback-1");
    assert!(std::path::Path::new(&name).exists());
    // And the newer folder is now the one of another time.
    node.restart();
    tell(&node, async |connection| {
        assert_eq!(keys_of(connection).await, [1, 3]);
    });
}

#[test]
fn an_older_keyring_is_accepted_only_when_it_is_named() {
    let mut node = Node::start();
    let older = fs::read(node.keyring()).expect("the keyring can be read");
    node.key("create", "orders");
    node.key("disable", "orders");
    node.stop();
    let newer = fs::read(node.keyring()).expect("the keyring can be read");
    put_keyring(&node, &older);
    node.try_restart().expect_err("an older keyring was used");
    let verified = node.verify();
    assert_eq!(verified.code(), Some(3), "{}", verified.text);
    let refused = on_folder(&node, &["accept-rollback"], &["--yes"]);
    assert_eq!(refused.code(), Some(2), "{}", refused.text);
    assert!(refused.text.contains("--keyring-too"), "{}", refused.text);
    on_folder(&node, &["accept-rollback"], &["--yes", "--keyring-too"])
        .must_succeed("accept-rollback");
    node.verify().must_succeed("verify");
    node.restart();
    node.stop();
    put_keyring(&node, &newer);
    node.restart();
}

fn put_keyring(node: &Node, bytes: &[u8]) {
    // Written into the file that is there, so that it stays its owner's alone.
    fs::write(node.keyring(), bytes).expect("the keyring can be written");
}

#[test]
fn a_folder_without_its_anchor_is_not_vouched_for() {
    let mut node = Node::start();
    node.stop();
    let mut anchor = node.keyring().into_os_string();
    anchor.push(".anchor");
    fs::remove_file(&anchor).expect("the anchor is there");
    let verified = node.verify();
    assert_eq!(verified.code(), Some(2), "{}", verified.text);
    node.try_restart()
        .expect_err("a folder without its anchor was opened");
    on_folder(&node, &["accept-rollback"], &["--yes"]).must_succeed("accept-rollback");
    node.verify().must_succeed("verify");
    node.restart();
}
