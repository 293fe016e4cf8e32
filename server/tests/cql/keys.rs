//! Keys as a client sees them: statuses, lineage, services and grants in CQL; ALTERs at once; a grant that is revoked and made again.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

use palladium_crypto::GrantId;

use crate::client::{Client, Node};
use crate::scene::{INVALID, Scene, UNAUTHORIZED, alter, begin, texts};

#[test]
fn each_version_of_a_key_has_its_life_in_cql() {
    let scene = Scene::new(false);
    scene.serve(|server, client| {
        begin(client);
        let engine = &server.database().engine;
        scene.runtime.block_on(engine.flush(None)).expect("a flush");
        client.query(&alter("local:other")).done();
        let status = "SELECT status, encryption_status, kms_key FROM system_palladium.tables";
        assert_eq!(texts(client, status), ["ACTIVE ENABLED local:other"]);
        let mcs = "SELECT status FROM system_schema_mcs.tables WHERE keyspace_name = 'ks' AND table_name = 't'";
        assert_eq!(texts(client, mcs), ["ACTIVE"]);
        let keys = "SELECT kms_key FROM system_palladium.table_keys";
        assert_eq!(texts(client, keys), ["local:orders", "local:other"]);
        let current = client
            .query("SELECT wrapped_by, created, retired, last_confirmed, lease_until FROM system_palladium.table_keys WHERE is_current = true ALLOW FILTERING")
            .rows();
        let [row] = current.rows.as_slice() else {
            panic!("one version is current");
        };
        assert_eq!(row[0].as_deref(), Some(&b"local:other"[..]));
        let is_there: Vec<bool> = row[1..].iter().map(Option::is_some).collect();
        assert_eq!(is_there, [true, false, true, true]);
        let services = "SELECT provider, last_error FROM system_palladium.key_services";
        assert_eq!(texts(client, services), ["local -"]);
        assert!(texts(client, "SELECT key FROM system_palladium.grants").is_empty());
    });
    scene.serve(|_, client| {
        let keys = "SELECT kms_key FROM system_palladium.table_keys";
        assert_eq!(texts(client, keys), ["local:orders", "local:other"]);
    });
}

#[test]
fn two_alters_at_once_follow_each_other() {
    let scene = Scene::new(false);
    scene.serve(|server, client| {
        begin(client);
        let address = server.address();
        let switches = ["local:other", "local:orders", "default", "local:other"].map(|key| {
            std::thread::spawn(move || Client::connect(address).query(&alter(key)).done())
        });
        for switch in switches {
            switch.join().expect("an ALTER that waited its turn");
        }
        assert_eq!(client.query("SELECT * FROM ks.t").rows().rows.len(), 1);
        let id = server
            .database()
            .catalog
            .load()
            .require_table("ks", "t")
            .unwrap()
            .id;
        assert_eq!(server.database().engine.root(id).unwrap().version, 5);
    });
}

#[test]
fn a_key_that_does_not_work_is_invalid_and_says_which_and_why() {
    let scene = Scene::new(false);
    scene.serve(|_, client| begin(client));
    scene.keyring().key_disable("orders").expect("it is there");
    scene.serve(|_, client| {
        let (code, words) = client.query("SELECT * FROM ks.t").error();
        assert_eq!(code, UNAUTHORIZED, "{words}");
        let status = "SELECT status, encryption_status, reason FROM system_palladium.tables";
        assert_eq!(
            texts(client, status),
            ["INACCESSIBLE_ENCRYPTION_CREDENTIALS KMS_KEY_INACCESSIBLE Disabled"]
        );
        // Named, or left: both keys must work.
        for (statement, key) in [
            (alter("local:other"), "local:orders"),
            (alter("local:orders"), "local:orders"),
            (alter("local:nobodys"), "local:nobodys"),
            (
                "CREATE TABLE ks.u (k int PRIMARY KEY) WITH encryption = {'kms_key': 'local:orders'}".to_owned(),
                "local:orders",
            ),
        ] {
            let (code, words) = client.query(&statement).error();
            assert_eq!(code, INVALID, "{statement}: {words}");
            assert!(words.contains(key) && words.ends_with("nothing was changed"), "{words}");
        }
    });
    scene.keyring().key_enable("orders").expect("it is there");
    scene.serve(|_, client| {
        client.query(&alter("local:other")).done();
        assert_eq!(client.query("SELECT * FROM ks.t").rows().rows.len(), 1);
    });
}

#[test]
fn a_revoked_grant_locks_its_table_until_it_is_put_under_the_same_key_again() {
    let scene = Scene::new(true);
    let grants = "SELECT purpose FROM system_palladium.grants WHERE keyspace_name = 'ks' AND table_name = 't' AND key = 'local:orders'";
    scene.serve(|_, client| {
        begin(client);
        assert_eq!(texts(client, grants), ["snapshot", "use"]);
        let id = texts(
            client,
            "SELECT grant_id FROM system_palladium.grants WHERE keyspace_name = 'ks' AND table_name = 't' AND key = 'local:orders' AND purpose = 'use'",
        );
        scene
            .keyring()
            .grant_revoke("orders", &GrantId(id[0].clone()))
            .expect("the grant is there");
    });
    scene.serve(|_, client| {
        let (code, words) = client.query("SELECT * FROM ks.t").error();
        assert_eq!(code, UNAUTHORIZED, "{words}");
        assert!(words.ends_with("reason=GrantRevoked"), "{words}");
        client.query(&alter("local:orders")).done();
        assert_eq!(client.query("SELECT * FROM ks.t").rows().rows.len(), 1);
        // The one that was revoked stands beside the new one until it is retired.
        let mut shown = texts(client, grants);
        shown.dedup();
        assert_eq!(shown, ["snapshot", "use"]);
    });
}

#[test]
fn an_alias_is_shown_as_its_key() {
    let scene = Scene::new(false);
    scene
        .keyring()
        .alias_set("current", "orders")
        .expect("an alias");
    scene.serve(|_, client| {
        begin(client);
        client.query(&alter("local:current")).done();
        let keys = "SELECT kms_key FROM system_palladium.tables";
        assert_eq!(texts(client, keys), ["local:orders"]);
        let described = texts(client, "DESCRIBE TABLE ks.t").join("\n");
        assert!(described.contains("'local:orders'"), "{described}");
    });
    // Whoever moves the alias moves no table.
    scene
        .keyring()
        .alias_set("current", "other")
        .expect("an alias");
    scene.keyring().key_disable("other").expect("it is there");
    scene.serve(|_, client| {
        assert_eq!(client.query("SELECT * FROM ks.t").rows().rows.len(), 1);
    });
}

#[test]
fn a_keyring_that_is_torn_or_open_to_others_is_out_of_reach_and_damages_no_table() {
    let node = Node::start();
    let mut client = Client::in_keyspace(node.address());
    let whole = fs::read(node.keyring()).expect("the keyring's file");
    let in_mode = |mode| fs::set_permissions(node.keyring(), Permissions::from_mode(mode)).unwrap();
    let create = "CREATE TABLE t (k int PRIMARY KEY)";
    let mut refused = || client.query(create).error();
    in_mode(0o644);
    let (_, message) = refused();
    assert!(message.contains("Unreachable"), "{message}");
    in_mode(0o600);
    fs::write(node.keyring(), &whole[..whole.len() / 2]).unwrap();
    let (_, message) = refused();
    assert!(message.contains("Unreachable"), "{message}");
    fs::write(node.keyring(), &whole).unwrap();
    client.query(create).done();
}

#[test]
fn a_grant_credential_that_was_withdrawn_stops_no_table_under_the_servers_own_key() {
    let scene = Scene::new(true);
    scene.serve(|_, client| {
        begin(client);
        let grants = "SELECT key FROM system_palladium.grants";
        let before = texts(client, grants);
        assert_eq!(before, ["local:orders", "local:orders"]);
        scene
            .keyring()
            .grantor_withdraw(&scene.path("grantor"))
            .expect("it is known");
        let create = |table: &str, options: &str| {
            format!("CREATE TABLE ks.{table} (k int PRIMARY KEY){options}")
        };
        client.query(&create("plain", "")).done();
        client
            .query(&create(
                "named",
                " WITH encryption = {'kms_key': 'default'}",
            ))
            .done();
        client
            .query("ALTER TABLE ks.named WITH encryption = {'kms_key': 'default'}")
            .done();
        assert_eq!(texts(client, grants), before);
        // Where grants let the server in, nothing goes without them.
        let (code, words) = client
            .query(&create(
                "more",
                " WITH encryption = {'kms_key': 'local:orders'}",
            ))
            .error();
        assert_eq!(code, INVALID, "{words}");
    });
}
