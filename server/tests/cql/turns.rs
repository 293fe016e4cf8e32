//! Schema changes and writes beside each other: a key service that hangs holds up who wants that very table and nobody else; what is half done is told as that.

use std::thread::{JoinHandle, spawn};

use palladium::server::Server;
use palladium::service_table::SCHEMA_TABLE;
use palladium_crypto::TableId;

use crate::client::{Answer, Client};
use crate::scene::{
    INVALID, Scene, Silent, UNAUTHORIZED, UNAVAILABLE, WRITE_TIMEOUT, alter, begin, texts, wait_for,
};

const LEASE_SECONDS: u64 = 300;
const HUNG: &str =
    "CREATE TABLE ks.hung (k int PRIMARY KEY) WITH encryption = {'kms_key': 'vault:transit/hung'}";

/// A statement of somebody else's, on a connection of his own.
fn begun(client: &Client, statement: &str) -> JoinHandle<Answer> {
    let (address, statement) = (client.address(), statement.to_owned());
    spawn(move || Client::connect(address).query(&statement))
}

fn table(server: &Server, name: &str) -> TableId {
    let catalog = server.database().catalog.load();
    catalog.require_table("ks", name).expect("it is there").id
}

/// Whether nothing of a table is in memory.
fn is_closed(server: &Server, name: &str) -> bool {
    let engine = &server.database().engine;
    engine.lease(table(server, name)).is_none()
}

/// Waits until a call to the silent service is on its way.
fn wait_for_call(server: &Server) {
    let is_asked = || {
        let services = server.database().keys.services();
        services.iter().any(|service| service.in_flight > 0)
    };
    wait_for(|| is_asked().then_some(()), "a key service is asked");
}

fn status(client: &mut Client, table: &str) -> Vec<String> {
    texts(
        client,
        &format!(
            "SELECT status FROM system_schema_mcs.tables WHERE keyspace_name = 'ks' AND table_name = '{table}'"
        ),
    )
}

#[test]
fn a_key_service_that_hangs_holds_up_no_change_of_another_table() {
    let silent = Silent::listen();
    let scene = Scene::beside(&silent);
    scene.serve(|server, client| {
        begin(client);
        let creating = begun(client, HUNG);
        wait_for_call(server);
        assert_eq!(status(client, "hung"), ["CREATING"]);
        assert!(texts(client, "SELECT table_name FROM system_schema.tables WHERE keyspace_name = 'ks' AND table_name = 'hung'").is_empty());
        for statement in [
            "CREATE TABLE ks.near (k int PRIMARY KEY)",
            "ALTER TABLE ks.near ADD v int",
            "ALTER TABLE ks.near WITH encryption = {'kms_key': 'local:other'}",
            "CREATE TYPE ks.pair (a int, b int)",
            "INSERT INTO ks.near (k, v) VALUES (1, 2)",
            "DROP TABLE ks.near",
        ] {
            client.query(statement).done();
            assert!(!creating.is_finished(), "{statement}");
        }
        assert_eq!(status(client, "hung"), ["CREATING"]);
        silent.hang_up();
        let (code, words) = creating.join().expect("an answer").error();
        assert_eq!(code, INVALID, "{words}");
        assert!(words.ends_with("nothing was changed"), "{words}");
        assert!(status(client, "hung").is_empty());
    });
}

#[test]
fn a_key_that_a_batch_waits_for_holds_up_nobody_who_uses_another_table() {
    let scene = Scene::new(false);
    scene.serve(|server, client| {
        begin(client);
        for statement in [
            "CREATE TABLE ks.near (k int PRIMARY KEY, v int)",
            "CREATE TABLE ks.far (k int PRIMARY KEY, v int) WITH encryption = {'kms_key': 'local:orders'}",
            "CREATE MATERIALIZED VIEW ks.by_v AS SELECT k, v FROM ks.far WHERE k IS NOT NULL AND v IS NOT NULL PRIMARY KEY (v, k)",
            "INSERT INTO ks.near (k, v) VALUES (1, 1)",
        ] {
            client.query(statement).done();
        }
        scene.env.be_patient();
        scene.env.advance(LEASE_SECONDS);
        for table in ["t", "near", "far"] {
            let is_closed = || is_closed(server, table).then_some(());
            wait_for(is_closed, "nobody uses the tables");
        }
        client.query("SELECT * FROM ks.near").rows();
        let key_service = scene.env.hold_next_task();
        let batch = begun(
            client,
            "BEGIN BATCH INSERT INTO ks.far (k, v) VALUES (1, 2); INSERT INTO ks.near (k, v) VALUES (1, 2); APPLY BATCH",
        );
        let is_held = || scene.env.has_held_one().then_some(());
        wait_for(is_held, "the batch waits for a key");
        let neighbour = begun(client, "UPDATE ks.near SET v = 3 WHERE k = 1 IF v = 1");
        let is_over = || neighbour.is_finished().then_some(());
        wait_for(is_over, "a partition is held while a key is waited for");
        assert!(!batch.is_finished());
        drop(key_service);
        batch.join().expect("an answer").done();
        let seen = client.query("SELECT v FROM ks.near").rows().rows;
        assert_eq!(seen[0][0].as_deref(), Some(&[0, 0, 0, 2][..]));
        assert_eq!(client.query("SELECT * FROM ks.by_v").rows().rows.len(), 1);
    });
}

#[test]
fn a_truncate_whose_table_is_closed_meanwhile_opens_it_again_or_says_why_not() {
    let scene = Scene::new(false);
    scene.serve(|_, client| {
        begin(client);
        let truncate_later = |client: &Client| {
            let slow_disk = scene.env.hold_next_task();
            let truncating = begun(client, "TRUNCATE ks.t");
            let is_held = || scene.env.has_held_one().then_some(());
            wait_for(is_held, "the engine is about to empty the table");
            scene.env.advance(LEASE_SECONDS);
            drop(slow_disk);
            truncating.join().expect("an answer")
        };
        scene.keyring().key_disable("orders").expect("it is there");
        let (code, words) = truncate_later(client).error();
        assert_eq!(code, UNAUTHORIZED, "{words}");
        assert!(words.ends_with("reason=Disabled"), "{words}");
        scene.keyring().key_enable("orders").expect("it is there");
        scene.env.advance(6);
        assert_eq!(client.query("SELECT * FROM ks.t").rows().rows.len(), 1);
        truncate_later(client).done();
        assert!(client.query("SELECT * FROM ks.t").rows().rows.is_empty());
    });
}

#[test]
fn a_table_that_is_closed_while_all_are_flushed_keeps_none_of_the_others_in_memory() {
    let scene = Scene::new(false);
    scene.serve(|server, client| {
        begin(client);
        client
            .query("CREATE TABLE ks.u (k int PRIMARY KEY)")
            .done();
        let slow_disk = scene.env.hold_next_task();
        let flushing = begun(
            client,
            "INSERT INTO system_palladium.maintenance (operation, keyspace_name, table_name) VALUES ('flush', 'ks', '')",
        );
        let is_held = || scene.env.has_held_one().then_some(());
        wait_for(is_held, "the first table is about to be flushed");
        scene.keyring().key_disable("orders").expect("it is there");
        scene.env.advance(LEASE_SECONDS);
        client.query("INSERT INTO ks.u (k) VALUES (1)").done();
        drop(slow_disk);
        flushing.join().expect("an answer").done();
        let structures = server.database().engine.structures(table(server, "u"));
        assert!(!scene.runtime.block_on(structures).is_empty());
    });
}

#[test]
fn a_table_that_is_being_destroyed_is_deleting_and_its_name_is_free_when_it_is_gone() {
    const CREATE: &str = "CREATE TABLE ks.t (k int PRIMARY KEY)";
    let scene = Scene::new(false);
    scene.serve(|_, client| {
        begin(client);
        assert_eq!(status(client, "t"), ["ACTIVE"]);
        let slow_disk = scene.env.hold_next_task();
        let dropping = begun(client, "DROP TABLE ks.t");
        let is_shown = || (status(client, "t") == ["DELETING"]).then_some(());
        wait_for(is_shown, "the table is being destroyed");
        // That is shown before the engine is asked: until then the next task could be somebody else's, who would wait for ever.
        let is_held = || scene.env.has_held_one().then_some(());
        wait_for(is_held, "the engine is destroying the table");
        let known = "SELECT table_name FROM system_schema.tables WHERE keyspace_name = 'ks'";
        assert!(texts(client, known).is_empty());
        let (code, words) = client.query("SELECT * FROM ks.t").error();
        assert_eq!((code, &*words), (INVALID, "table t does not exist"));
        let creating = begun(client, CREATE);
        client
            .query("CREATE TABLE ks.near (k int PRIMARY KEY)")
            .done();
        assert_eq!(status(client, "t"), ["DELETING"]);
        assert!(!dropping.is_finished() && !creating.is_finished());
        drop(slow_disk);
        dropping.join().expect("an answer").done();
        creating.join().expect("an answer").done();
        assert_eq!(status(client, "t"), ["ACTIVE"]);
        assert!(client.query("SELECT * FROM ks.t").rows().rows.is_empty());
    });
}

#[test]
fn a_switch_whose_new_key_hangs_holds_up_no_change_of_another_table() {
    let silent = Silent::listen();
    let scene = Scene::beside(&silent);
    scene.serve(|server, client| {
        begin(client);
        let switching = begun(client, &alter("vault:transit/hung"));
        wait_for_call(server);
        client
            .query("CREATE TABLE ks.near (k int PRIMARY KEY)")
            .done();
        client
            .query("ALTER TABLE ks.near WITH comment = 'near'")
            .done();
        client.query("DROP TABLE ks.near").done();
        // The table itself is used meanwhile.
        assert_eq!(client.query("SELECT * FROM ks.t").rows().rows.len(), 1);
        assert!(!switching.is_finished());
        silent.hang_up();
        let (code, words) = switching.join().expect("an answer").error();
        assert_eq!(code, INVALID, "{words}");
        client.query(&alter("local:other")).done();
    });
}

#[test]
fn whoever_wants_the_very_table_that_hangs_waits_and_then_has_it() {
    let silent = Silent::listen();
    let scene = Scene::beside(&silent);
    scene.serve(|server, client| {
        begin(client);
        let creating = begun(client, HUNG);
        wait_for_call(server);
        let again = begun(client, "CREATE TABLE ks.hung (k int PRIMARY KEY)");
        let dropping = begun(client, "DROP KEYSPACE ks");
        assert_eq!(status(client, "hung"), ["CREATING"]);
        silent.hang_up();
        creating.join().expect("an answer").error();
        let again = again.join().expect("an answer");
        dropping.join().expect("an answer").done();
        // One of the two was first.
        if let Answer::Error(code, words) = again {
            assert_eq!((code, &*words), (INVALID, "Keyspace 'ks' doesn't exist"));
        }
        assert!(status(client, "hung").is_empty());
    });
}

#[test]
fn a_change_that_others_made_impossible_meanwhile_comes_to_nothing() {
    let scene = Scene::new(false);
    scene.serve(|server, client| {
        begin(client);
        client.query("CREATE TYPE ks.pair (a int)").done();
        let ids = || server.database().engine.table_ids().len();
        let before = ids();
        // The table's turn comes after the type is gone, or before: either way both are told the truth.
        for _ in 0..10 {
            let creating = begun(
                client,
                "CREATE TABLE ks.u (k int PRIMARY KEY, p frozen<pair>)",
            );
            let dropped = client.query("DROP TYPE ks.pair");
            match (creating.join().expect("an answer"), dropped) {
                (Answer::Error(code, _), Answer::Error(other, _)) => {
                    panic!("both were refused: {code:#x}, {other:#x}")
                }
                (Answer::Error(..), _) => client.query("CREATE TYPE ks.pair (a int)").done(),
                (_, Answer::Error(..)) => client.query("DROP TABLE ks.u").done(),
                _ => panic!("a table of a type that is not there"),
            }
            assert_eq!(ids(), before, "what came to nothing left nothing");
        }
    });
}

#[test]
fn a_call_in_flight_when_the_server_stops_is_in_the_trail_as_unanswered() {
    let silent = Silent::listen();
    let scene = Scene::beside(&silent);
    let mut cut_short = None;
    scene.serve(|server, client| {
        begin(client);
        cut_short = Some(begun(client, HUNG));
        wait_for_call(server);
    });
    drop(silent);
    // Its connection was closed under it.
    let _ = cut_short.expect("it was begun").join();
    scene.serve(|_, client| {
        let calls = texts(
            client,
            "SELECT operation, outcome, reason FROM system_palladium.kms_calls WHERE key = 'vault:transit/hung' ALLOW FILTERING",
        );
        let unanswered = "DescribeKey failed Unreachable: unanswered: the server stopped";
        assert!(
            calls.iter().any(|call| call.starts_with(unanswered)),
            "{calls:?}"
        );
    });
}

#[test]
fn a_call_that_takes_longer_than_key_call_timeout_s_is_unanswered() {
    let silent = Silent::listen();
    let mut scene = Scene::beside(&silent);
    scene.config.key_call_timeout_s = 1;
    scene.serve(|_, client| {
        begin(client);
        let (code, words) = client.query(HUNG).error();
        assert_eq!(code, INVALID, "{words}");
        assert!(words.contains("no answer within 1 s"), "{words}");
        let services =
            "SELECT unanswered FROM system_palladium.key_services WHERE provider = 'vault'";
        let unanswered = client.query(services).rows().rows.remove(0).remove(0);
        assert_eq!(unanswered.as_deref(), Some(&1i64.to_be_bytes()[..]));
    });
}

#[test]
fn a_key_switch_that_the_schema_could_not_record_stands_and_is_told_as_that() {
    let scene = Scene::new(false);
    let shown = |client: &mut Client| {
        let named = texts(client, "SELECT kms_key FROM system_palladium.tables");
        let described = texts(client, "DESCRIBE TABLE ks.t").join("\n");
        (named, described.contains("'local:other'"))
    };
    scene.serve(|server, client| {
        begin(client);
        let engine = &server.database().engine;
        // Nothing can be written to the schema's table any more.
        scene.runtime.block_on(engine.lock(SCHEMA_TABLE));
        let (code, words) = client.query(&alter("local:other")).error();
        assert_eq!(code, WRITE_TIMEOUT, "{words}");
        assert!(
            words.starts_with("Table ks.t is under its new key, durably"),
            "{words}"
        );
        assert_eq!(shown(client), (vec!["local:other".into()], true));
        assert_eq!(client.query("SELECT * FROM ks.t").rows().rows.len(), 1);
    });
    scene.keyring().key_disable("orders").expect("it is there");
    scene.serve(|_, client| {
        assert_eq!(client.query("SELECT * FROM ks.t").rows().rows.len(), 1);
        assert_eq!(shown(client), (vec!["local:other".into()], true));
    });
}

#[test]
fn a_silent_service_is_unavailable_to_those_who_read() {
    let scene = Scene::new(false);
    scene.serve(|_, client| begin(client));
    let (keyring, away) = (scene.config.keyring.clone(), scene.path("away"));
    scene.serve(|_, client| {
        std::fs::rename(&keyring, &away).expect("a file can be renamed");
        // It was opened beside the start, if the log held something of it.
        scene.env.advance(300);
        let (code, words) = client.query("SELECT * FROM ks.t").error();
        assert_eq!(code, UNAVAILABLE, "{words}");
        assert!(words.ends_with("reason=Unreachable"), "{words}");
        std::fs::rename(&away, &keyring).expect("a file can be renamed");
    });
}
