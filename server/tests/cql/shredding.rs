//! A table that was dropped leaves a signed certificate; whoever brings its root back is found out.

use bytes::Bytes;
use palladium::Engine;
use palladium::admin::explain::{look, to_json};
use palladium::shredding::Certificate;
use palladium_crypto::TableId;
use palladium_storage::RootState;

use crate::audit::{Scene, text};
use crate::client::Client;

const CERTIFICATES: &str = "SELECT id, keyspace_name, table_name, kms_key, certificate, structures, fingerprints, made_after_crash FROM \
     system_palladium.shred_certificates";

fn id(value: &Option<Bytes>) -> TableId {
    TableId(value.as_deref().unwrap().try_into().unwrap())
}

#[test]
fn a_dropped_table_leaves_a_certificate() {
    let scene = Scene::new();
    let mut certificate = None;
    scene.serve(|server| {
        let engine: &Engine = &server.database().engine;
        let mut client = Client::connect(server.address());
        scene.make_keyspace(&mut client);
        client.query("CREATE TABLE ks.t (k int PRIMARY KEY, v text)").done();
        client.query("INSERT INTO ks.t (k, v) VALUES (1, 'a')").done();
        scene.wait_for(engine.flush(None)).unwrap();
        client.query("INSERT INTO ks.t (k, v) VALUES (2, 'b')").done();
        let structures = client
            .query("SELECT structure, kind, key_version FROM system_palladium.structures WHERE keyspace_name = 'ks' AND table_name = 't'")
            .rows()
            .rows;
        let kinds: Vec<String> = structures.iter().map(|row| text(&row[1])).collect();
        assert_eq!(kinds.len(), 5, "{kinds:?}");
        assert!(kinds.contains(&"LogShare".to_owned()), "{kinds:?}");
        client.query("TRUNCATE ks.t").done();
        assert!(client.query(CERTIFICATES).rows().rows.is_empty());
        client.query("INSERT INTO ks.t (k, v) VALUES (3, 'c')").done();
        client.query("DROP TABLE ks.t").done();
        let rows = client.query(CERTIFICATES).rows().rows;
        assert_eq!(rows.len(), 1);
        assert_eq!(text(&rows[0][1]), "ks");
        assert_eq!(text(&rows[0][2]), "t");
        assert_eq!(text(&rows[0][3]), "local:default");
        assert_eq!(rows[0][7].as_deref(), Some(&[0][..]));
        let found = Certificate::from_bytes(text(&rows[0][4]).as_bytes()).unwrap();
        let shredded = found.verify().unwrap();
        assert_eq!(shredded.table, id(&rows[0][0]).to_string());
        assert_eq!(shredded.fingerprints.len(), 1);
        assert_eq!(found.public_key().unwrap(), server.database().trail.public_key());
        certificate = Some((id(&rows[0][0]), found));
    });
    let (id, certificate) = certificate.unwrap();
    let file = scene.path("certificate.json");
    std::fs::write(&file, certificate.to_text()).unwrap();
    let (explanation, _) = scene.wait_for(look(&scene.config)).unwrap();
    assert!(!explanation.tables.contains_key(&id) || !explanation.tables[&id].is_named);
    scene.must_end_with(0, &["explain"], false);
    scene.must_end_with(0, &["shred", "list"], true);
    scene.must_end_with(0, &["shred", "verify", &file], true);
    // Nobody vouches for the key without the keyring; one who has pinned it does.
    scene.must_end_with(2, &["shred", "verify", &file], false);
    let pinned = certificate.public_key().unwrap().to_string();
    let arguments = ["shred", "verify", &file, "--public-key", &pinned];
    scene.must_end_with(0, &arguments, false);
    let changed = certificate.to_text().replace("\"ks\"", "\"kt\"");
    std::fs::write(&file, changed).unwrap();
    scene.must_end_with(1, &["shred", "verify", &file], true);
}

#[test]
fn a_root_that_was_brought_back_is_found() {
    let scene = Scene::new();
    scene.serve(|server| {
        let mut client = Client::connect(server.address());
        scene.make_keyspace(&mut client);
        client.query("CREATE TABLE ks.t (k int PRIMARY KEY)").done();
    });
    let (explanation, names) = scene.wait_for(look(&scene.config)).unwrap();
    let names = names.unwrap();
    let (id, _) = names.iter().next().unwrap();
    assert!(matches!(explanation.tables[id].root, RootState::Live(_)));
    let root = scene
        .config
        .data
        .join("roots")
        .join(id.to_string().replace('-', ""));
    let kept = std::fs::read(&root).unwrap();
    let mut certificate = String::new();
    scene.serve(|server| {
        let mut client = Client::connect(server.address());
        client.query("DROP TABLE ks.t").done();
        certificate = text(&client.query(CERTIFICATES).rows().rows[0][4]);
    });
    let file = scene.path("certificate.json");
    std::fs::write(&file, &certificate).unwrap();
    scene.must_end_with(0, &["shred", "verify", &file], true);
    std::fs::write(&root, kept).unwrap();
    scene.must_end_with(1, &["shred", "verify", &file], true);
}

#[test]
fn a_drop_that_a_crash_cut_short_gets_its_certificate_at_the_next_start() {
    let scene = Scene::new();
    scene.serve(|server| {
        let mut client = Client::connect(server.address());
        scene.make_keyspace(&mut client);
        client.query("CREATE TABLE ks.t (k int PRIMARY KEY)").done();
        client
            .query("CREATE TABLE ks.kept (k int PRIMARY KEY)")
            .done();
        let database = server.database();
        let catalog = database.catalog.load_full();
        let table = catalog.require_table("ks", "t").unwrap();
        let kept = catalog.require_table("ks", "kept").unwrap();
        // Both are about to be dropped; the root of one is destroyed, and then the server stops.
        scene.wait_for(database.shredding.draft(table));
        scene.wait_for(database.shredding.draft(kept));
        client.query("DROP TABLE ks.t").done();
        scene.wait_for(database.shredding.draft(table));
        let rows = client.query(CERTIFICATES).rows().rows;
        assert_eq!(rows.len(), 1);
    });
    scene.serve(|server| {
        let mut client = Client::connect(server.address());
        let rows = client.query(CERTIFICATES).rows().rows;
        assert_eq!(rows.len(), 1, "the table that is still there has none");
        assert_eq!(text(&rows[0][2]), "t");
        assert_eq!(rows[0][7].as_deref(), Some(&[1][..]), "made after a crash");
        client.query("SELECT * FROM ks.kept").rows();
    });
}

#[test]
fn a_folder_names_the_keys_that_it_needs() {
    let scene = Scene::new();
    scene.serve(|server| {
        let mut client = Client::connect(server.address());
        scene.make_keyspace(&mut client);
        client.query("CREATE TABLE ks.t (k int PRIMARY KEY)").done();
        client.query("INSERT INTO ks.t (k) VALUES (1)").done();
    });
    let (explanation, names) = scene.wait_for(look(&scene.config)).unwrap();
    let shown = to_json(&explanation, &names);
    assert_eq!(shown["kms_keys"][0]["key"], "local:default");
    assert_eq!(shown["kms_keys"][0]["is_service_key"], true);
    assert_eq!(shown["kms_keys"][0]["tables"].as_array().unwrap().len(), 1);
    let text = shown.to_string();
    assert!(text.contains("\"table_name\":\"t\""), "{text}");
    // Without the keyring: the same, but for names.
    let mut config = scene.config.clone();
    config.keyring = scene.config.data.join("nowhere");
    let (explanation, names) = scene.wait_for(look(&config)).unwrap();
    let shown = to_json(&explanation, &names);
    assert_eq!(shown["kms_keys"][0]["key"], "local:default");
    assert!(!shown.to_string().contains("\"table_name\":\"t\""));
    assert!(shown["tables"].as_array().unwrap().len() >= 4);
}
