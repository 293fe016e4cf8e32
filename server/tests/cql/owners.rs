//! What owners do, and what is seen of it over CQL: a key taken away under a scan and a prepared statement, new data keys for everything, edits of the keyring in
//! the trail, a grace, an identity that stays, an exported file that hangs.

use std::collections::BTreeSet;

use palladium::keyring_changes::KEYRING_KEYS;
use palladium::records;
use palladium_storage::TableOptions;

use crate::client::{Answer, Client, Value};
use crate::scene::{Scene, UNAUTHORIZED, UNAVAILABLE, alter, begin, texts, wait_for};

const LEASE_SECONDS: u64 = 300;
#[test]
fn a_key_that_was_taken_away_is_felt_by_a_scans_next_page_and_a_prepared_statement() {
    let scene = Scene::new(false);
    scene.serve(|server, client| {
        begin(client);
        for k in 2..10 {
            client
                .query(&format!("INSERT INTO ks.t (k) VALUES ({k})"))
                .done();
        }
        let one = client.prepare("SELECT * FROM ks.t WHERE k = ?");
        let all = client.prepare("SELECT * FROM ks.t");
        let put = client.prepare("INSERT INTO ks.t (k) VALUES (?)");
        assert_eq!(client.execute(&one, &[1.into()]).rows().rows.len(), 1);
        let scan = client
            .query_page("SELECT * FROM ks.t", Some(3), None)
            .rows();
        let prepared_scan = client.execute_page(&all, &[], Some(3), None).rows();
        assert_eq!((scan.rows.len(), prepared_scan.rows.len()), (3, 3));
        scene.keyring().key_disable("orders").expect("it is there");
        scene.env.advance(LEASE_SECONDS);
        let (state, prepared_state) = (scan.paging_state, prepared_scan.paging_state);
        let answers = |client: &mut Client| -> Vec<Answer> {
            vec![
                client.query_page("SELECT * FROM ks.t", Some(3), state.as_deref()),
                client.execute_page(&all, &[], Some(3), prepared_state.as_deref()),
                client.execute(&one, &[1.into()]),
                client.execute(&put, &[Value::from(11)]),
                client.batch(&[(&put, vec![12.into()])]),
            ]
        };
        for answer in answers(client) {
            let (code, words) = answer.error();
            assert_eq!(code, UNAUTHORIZED, "{words}");
            assert!(
                words.starts_with("KMS_KEY_INACCESSIBLE table=ks.t key=local:orders since="),
                "{words}"
            );
            assert!(words.ends_with("reason=Disabled"), "{words}");
        }
        assert!(
            server
                .database()
                .engine
                .lease(scene_table(server))
                .is_none()
        );
        scene.keyring().key_enable("orders").expect("it is there");
        scene.env.advance(6);
        for answer in answers(client) {
            answer.done();
        }
        assert_eq!(client.query("SELECT * FROM ks.t").rows().rows.len(), 11);
    });
}

fn scene_table(server: &palladium::server::Server) -> palladium_crypto::TableId {
    let catalog = server.database().catalog.load();
    catalog.require_table("ks", "t").expect("it is there").id
}

#[test]
fn rewrite_gives_every_structure_a_new_data_key_under_the_new_key() {
    const SSTABLES: usize = 40;
    let scene = Scene::new(false);
    scene.serve(|server, client| {
        begin(client);
        let (engine, id) = (&server.database().engine, scene_table(server));
        // Each SSTable is rewritten by itself, and none merged away before.
        let mut options = TableOptions::default();
        options.compaction.enabled = false;
        engine.set_options(id, options).expect("it is there");
        for k in 0..SSTABLES {
            client
                .query(&format!("INSERT INTO ks.t (k) VALUES ({k})"))
                .done();
            scene.runtime.block_on(engine.flush(None)).expect("a flush");
        }
        let structures = || -> BTreeSet<String> {
            let structures = scene.runtime.block_on(engine.structures(id));
            let names = structures.iter().map(|one| one.structure.to_string());
            names.collect()
        };
        let old = structures();
        client
            .query("ALTER TABLE ks.t WITH encryption = {'kms_key': 'local:other', 'rewrite': 'true'}")
            .done();
        let mut seen = BTreeSet::new();
        wait_for(
            || {
                let mcs = "SELECT status FROM system_schema_mcs.tables WHERE keyspace_name = 'ks' AND table_name = 't'";
                let own = "SELECT status, encryption_status FROM system_palladium.tables";
                seen.extend(texts(client, mcs));
                let now = texts(client, own);
                let is_over = now == ["ACTIVE ENABLED"];
                seen.extend(now);
                is_over.then_some(())
            },
            "the rewrite comes to its end",
        );
        for expected in ["UPDATING", "UPDATING UPDATING", "ACTIVE ENABLED"] {
            assert!(seen.contains(expected), "{expected} in {seen:?}");
        }
        assert!(structures().is_disjoint(&old));
        let in_use = scene.runtime.block_on(engine.key_versions_in_use(id));
        assert_eq!(in_use.into_iter().collect::<Vec<_>>(), [2]);
        let versions = "SELECT key_version FROM system_palladium.structures WHERE keyspace_name = 'ks' AND table_name = 't'";
        for row in client.query(versions).rows().rows {
            assert_eq!(row[0].as_deref(), Some(&2i32.to_be_bytes()[..]));
        }
        assert_eq!(client.query("SELECT * FROM ks.t").rows().rows.len(), SSTABLES);
    });
    // The old key is not needed any more.
    scene.keyring().key_disable("orders").expect("it is there");
    scene.serve(|_, client| {
        assert_eq!(
            client.query("SELECT * FROM ks.t").rows().rows.len(),
            SSTABLES
        );
    });
}

#[test]
fn unreachable_grace_s_keeps_a_table_in_use_open_and_a_denial_ends_it() {
    let mut scene = Scene::new(false);
    scene.config.unreachable_grace_s = 120;
    let (keyring, away) = (scene.config.keyring.clone(), scene.path("away"));
    scene.serve(|_, client| {
        begin(client);
        std::fs::rename(&keyring, &away).expect("a file can be renamed");
        // Used all the time, as far as the clockwork can tell.
        for _ in 0..(LEASE_SECONDS + 100) / 20 {
            assert_eq!(client.query("SELECT * FROM ks.t").rows().rows.len(), 1);
            scene.env.advance(20);
        }
        assert_eq!(client.query("SELECT * FROM ks.t").rows().rows.len(), 1);
        scene.env.advance(40);
        let (code, words) = client.query("SELECT * FROM ks.t").error();
        assert_eq!(code, UNAVAILABLE, "{words}");
        assert!(words.ends_with("reason=Unreachable"), "{words}");
        std::fs::rename(&away, &keyring).expect("a file can be renamed");
        scene.env.advance(6);
        assert_eq!(client.query("SELECT * FROM ks.t").rows().rows.len(), 1);
    });
}

fn edits(client: &mut Client) -> Vec<String> {
    let mut rows = texts(
        client,
        "SELECT key, context, who FROM system_palladium.kms_calls WHERE operation = 'KEYRING EDIT' ALLOW FILTERING",
    );
    rows.reverse();
    rows
}

#[test]
fn edits_of_the_keyring_are_in_the_trail_also_those_made_while_the_server_was_stopped() {
    let scene = Scene::new(false);
    scene.serve(|server, client| {
        begin(client);
        wait_for(
            || {
                let engine = &server.database().engine;
                let seen = records::read(engine, KEYRING_KEYS);
                let seen = scene.runtime.block_on(seen).expect("they can be read");
                (!seen.is_empty()).then_some(())
            },
            "what there is is seen once",
        );
        let before = edits(client).len();
        scene.keyring().key_disable("other").expect("it is there");
        let told = wait_for(
            || {
                let told = edits(client);
                (told.len() > before).then_some(told)
            },
            "the edit is told",
        );
        let last = told.last().expect("it is there");
        assert!(last.starts_with("local:other "), "{last}");
        assert!(last.contains("state enabled to disabled"), "{last}");
        assert!(last.ends_with(" keyring"), "{last}");
    });
    scene.keyring().key_enable("other").expect("it is there");
    scene.keyring().key_rotate("orders").expect("it is there");
    scene.serve(|_, client| {
        let told = wait_for(
            || {
                let told = edits(client);
                (told.len() >= 3).then_some(told)
            },
            "what happened meanwhile is told",
        );
        let told = told.join("\n");
        assert!(told.contains("state disabled to enabled"), "{told}");
        assert!(told.contains("rotations 0 to 1"), "{told}");
    });
}

#[test]
fn edits_that_undo_each_other_before_anybody_looks_are_told_as_edits() {
    let scene = Scene::new(false);
    scene.serve(|_, client| begin(client));
    scene.keyring().key_disable("other").expect("it is there");
    scene.keyring().key_enable("other").expect("it is there");
    scene.serve(|_, client| {
        wait_for(
            || {
                let told = edits(client).join("\n");
                told.contains("all that is told of it is as it was")
                    .then_some(())
            },
            "that there were edits is told",
        );
    });
}

#[test]
fn the_subscriber_of_a_folder_stays_what_it_was_at_its_first_start() {
    let mut scene = Scene::new(false);
    scene.config.subscriber_id = "111122223333".into();
    scene.serve(|_, client| begin(client));
    scene.config.subscriber_id = "444455556666".into();
    let refused = scene.start().err().expect("another subscriber is refused");
    assert!(
        refused.contains("444455556666") && refused.contains("111122223333"),
        "{refused}"
    );
    // Left out, it is what it was: the table opens.
    scene.config.subscriber_id = String::new();
    scene.serve(|_, client| {
        assert_eq!(client.query("SELECT * FROM ks.t").rows().rows.len(), 1);
        let contexts = texts(
            client,
            "SELECT context FROM system_palladium.kms_calls WHERE table_name = 't' ALLOW FILTERING",
        );
        assert!(
            contexts
                .iter()
                .any(|context| context.contains("111122223333"))
        );
    });
}

#[test]
fn the_services_own_key_is_refused_to_whoever_knows_nothing_of_the_server() {
    let scene = Scene::new(false);
    scene.serve(|_, client| begin(client));
    for refused in [
        scene.keyring().key_disable("default"),
        scene
            .keyring()
            .key_schedule_deletion("default", 7)
            .map(drop),
    ] {
        let error = refused.expect_err("it is the service's own").to_string();
        assert!(error.contains("is the service's own key"), "{error}");
    }
    scene.serve(|_, client| client.query(&alter("default")).done());
}

#[test]
fn a_file_for_the_trails_head_that_hangs_stops_no_key_call() {
    let mut scene = Scene::new(false);
    // Whoever opens it waits for somebody at the other end.
    let hanging = scene.path("head");
    let made = std::process::Command::new("mkfifo").arg(&hanging).status();
    assert!(made.expect("mkfifo is there").success());
    scene.config.audit_head_file = hanging;
    scene.serve(|_, client| {
        begin(client);
        client.query(&alter("local:other")).done();
        wait_for(
            || {
                let calls = texts(client, "SELECT operation FROM system_palladium.kms_calls");
                calls.contains(&"ALTER TABLE".to_owned()).then_some(())
            },
            "the trail is written",
        );
    });
}
