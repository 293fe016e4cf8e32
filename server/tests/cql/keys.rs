//! Keys as a client sees them: statuses, lineage, services and grants in CQL; ALTERs at once; a grant that is revoked and made again.

use std::sync::Arc;

use palladium::config::Config;
use palladium::env::RealEnv;
use palladium::server::Server;
use palladium_crypto::{GrantId, KeyPolicy, Keyring};
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::client::Client;

const INVALID: i32 = 0x2200;
const UNAUTHORIZED: i32 = 0x2100;

/// A folder with a keyring in which two owners have a key each, and a server that may make grants.
struct Scene {
    _folder: TempDir,
    config: Config,
    runtime: Runtime,
}

impl Scene {
    fn new(may_grant: bool) -> Scene {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let credential = folder.path().join("grantor");
        let config = Config {
            data: folder.path().join("data"),
            keyring: folder.path().join("keyring"),
            listen: "127.0.0.1:0".parse().expect("an address"),
            kms: match may_grant {
                true => toml::from_str(&format!("[local]\ngrant_credential_file = {credential:?}"))
                    .expect("a setting"),
                false => toml::Table::new(),
            },
            ..Config::default()
        };
        let scene = Scene {
            _folder: folder,
            config,
            runtime: Runtime::new().expect("a runtime"),
        };
        let keyring =
            Keyring::create_new(&scene.config.keyring, Arc::new(palladium_crypto::OsEntropy))
                .expect("a keyring");
        keyring.key_create("orders").expect("a key");
        keyring.key_create("other").expect("a key");
        if may_grant {
            keyring.grantor_create(&credential).expect("a credential");
            keyring
                .key_set_policy("orders", KeyPolicy::GrantsOnly)
                .expect("a policy");
        }
        scene
    }

    fn keyring(&self) -> Keyring {
        Keyring::open(&self.config.keyring).expect("the keyring")
    }

    /// One life of the server.
    fn serve(&self, story: impl FnOnce(&Server, &mut Client)) {
        let env = Arc::new(RealEnv::default());
        let started = Server::start(self.config.clone(), env);
        let server = self.runtime.block_on(started).expect("the server starts");
        let mut client = Client::connect(server.address());
        story(&server, &mut client);
        self.runtime.block_on(server.stop()).expect("a clean stop");
    }
}

fn begin(client: &mut Client) {
    client
        .query("CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
        .done();
    client
        .query(
            "CREATE TABLE ks.t (k int PRIMARY KEY) WITH encryption = {'kms_key': 'local:orders'}",
        )
        .done();
    client.query("INSERT INTO ks.t (k) VALUES (1)").done();
}

fn alter(key: &str) -> String {
    format!("ALTER TABLE ks.t WITH encryption = {{'kms_key': '{key}'}}")
}

/// The cells of each row, as texts; null is a dash.
fn texts(client: &mut Client, query: &str) -> Vec<String> {
    let rows = client.query(query).rows();
    let cell = |cell: &Option<bytes::Bytes>| match cell {
        Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
        None => "-".to_owned(),
    };
    rows.rows
        .iter()
        .map(|row| row.iter().map(cell).collect::<Vec<_>>().join(" "))
        .collect()
}

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
