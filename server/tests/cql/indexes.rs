//! Indexes: what they find is what a scan finds that tries every row, in the same order and page by page; a build that a lock and a restart cut short goes on; an
//! index is behind its table's key.

use std::sync::Arc;

use palladium::config::Config;
use palladium::env::RealEnv;
use palladium::server::Server;
use palladium_crypto::Keyring;
use palladium_storage::Store;
use tokio::runtime::Runtime;

use crate::client::{Client, Node};
use crate::scene::start_after_the_last;
use crate::walk::{Chance, seed_or};

const STEPS: usize = 300;
const UNAUTHORIZED: i32 = 0x2100;

/// A change of the table `{t}`, at a time of its own so that two tables get the same.
fn change(chance: &mut Chance, timestamp: usize) -> String {
    let (k, c) = (chance.below(8), chance.below(4));
    let using = format!("USING TIMESTAMP {}", timestamp + chance.below(6));
    let v = chance.below(5);
    let text = chance.pick(&["Ab", "aB", "b", "é", "E\u{301}"]);
    match chance.below(12) {
        0 => format!("DELETE FROM {{t}} {using} WHERE k = {k}"),
        1 => format!("DELETE FROM {{t}} {using} WHERE k = {k} AND c > {c}"),
        2 => format!("DELETE FROM {{t}} {using} WHERE k = {k} AND c = {c}"),
        3 => format!("DELETE v, x FROM {{t}} {using} WHERE k = {k} AND c = {c}"),
        4 => format!("UPDATE {{t}} {using} SET s = {v} WHERE k = {k}"),
        5 => format!(
            "UPDATE {{t}} {using} SET st = st + {{{v}}}, m[{v}] = {c} WHERE k = {k} AND c = {c}"
        ),
        6 => format!("UPDATE {{t}} {using} SET st = st - {{{v}}} WHERE k = {k} AND c = {c}"),
        7 => format!(
            "UPDATE {{t}} {using} SET l = [{v}, {c}], m = {{{v}: {v}}} WHERE k = {k} AND c = {c}"
        ),
        8 => format!("UPDATE {{t}} {using} AND TTL 100000 SET v = {v} WHERE k = {k} AND c = {c}"),
        9 => format!(
            "BEGIN BATCH {using} INSERT INTO {{t}} (k, c, v) VALUES ({k}, {c}, {v}); INSERT INTO {{t}} (k, c, v) VALUES ({c}, {c}, {v}); APPLY BATCH"
        ),
        _ => format!(
            "INSERT INTO {{t}} (k, c, v, w, x) VALUES ({k}, {c}, {v}, {c}, '{text}') {using}"
        ),
    }
}

fn question(chance: &mut Chance) -> String {
    let (v, w, k) = (chance.below(5), chance.below(4), chance.below(8));
    match chance.below(13) {
        0 => format!("v = {v}"),
        1 => format!("v = {v} AND k = {k}"),
        2 => format!("v = {v} AND w = {w}"),
        3 => format!("w > {w}"),
        4 => format!("w >= {w} AND w < {}", w + 2),
        5 => format!("st CONTAINS {v}"),
        6 => format!("l CONTAINS {v}"),
        7 => format!("m CONTAINS KEY {v}"),
        8 => format!("m[{v}] = {w}"),
        9 => format!("s = {v}"),
        10 => format!("c = {w}"),
        11 => format!("w > {w} AND token(k) > 0"),
        _ => format!("v = {v} AND k = {k} AND c >= {w}"),
    }
}

#[test]
fn an_index_finds_what_a_scan_finds() {
    let seed = seed_or(7);
    let mut chance = Chance(seed);
    let node = Node::start();
    let mut client = Client::in_keyspace(node.address());
    for table in ["indexed", "scanned"] {
        client
            .query(&format!(
                "CREATE TABLE {table} (k int, c int, v int, w int, x text, s int static, st set<int>, l list<int>, m map<int, int>, PRIMARY KEY (k, c))"
            ))
            .done();
    }
    let mut indexes = vec![
        "CREATE INDEX ON indexed (v)",
        "CREATE INDEX ON indexed (w) USING 'sai'",
        "CREATE INDEX ON indexed (st)",
        "CREATE INDEX ON indexed (l)",
        "CREATE INDEX ON indexed (keys(m))",
        "CREATE INDEX ON indexed (entries(m))",
        "CREATE INDEX ON indexed (s)",
        "CREATE INDEX ON indexed (c)",
    ];
    let mut log: Vec<String> = Vec::new();
    for step in 0..STEPS {
        // Some are made while there are rows already.
        if step % 30 == 0
            && let Some(index) = indexes.pop()
        {
            client.query(index).done();
            client.wait_for_builds();
            log.push(index.into());
        }
        let change = change(&mut chance, 1000 + 4 * step);
        for table in ["indexed", "scanned"] {
            client.query(&change.replace("{t}", table)).done();
        }
        log.push(change);
        if step % 50 == 49 {
            node.flush();
        }
        if step % 90 == 89 {
            node.compact();
        }
        let question = question(&mut chance);
        let query = |table: &str| {
            format!("SELECT k, c, v, w, s FROM {table} WHERE {question} ALLOW FILTERING")
        };
        let page_size = [None, Some(1), Some(3)][chance.below(3)];
        let by_index = client.all_pages(&query("indexed"), page_size);
        let by_scan = client.all_pages(&query("scanned"), None);
        assert_eq!(
            by_index,
            by_scan,
            "seed {seed}, {question}, pages of {page_size:?}, after\n{}",
            log.join(";\n")
        );
    }
    node.stop();
}

#[test]
fn a_build_that_is_cut_short_goes_on_and_an_index_is_behind_its_tables_key() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let config = Config {
        data: folder.path().join("data"),
        keyring: folder.path().join("keyring"),
        listen: "127.0.0.1:0".parse().expect("an address"),
        ..Config::default()
    };
    let keyring = Keyring::create_new(&config.keyring, Arc::new(palladium_crypto::OsEntropy))
        .expect("a keyring");
    keyring.key_create("orders").expect("a key");
    let runtime = Runtime::new().expect("a runtime");
    let serve = |story: &dyn Fn(&Server, &mut Client)| {
        let env = Arc::new(RealEnv::default());
        let server = runtime.block_on(start_after_the_last(&config, env));
        let mut client = Client::connect(server.address());
        story(&server, &mut client);
        runtime.block_on(server.stop()).expect("a clean stop");
    };
    let by_index = "SELECT k FROM ks.t WHERE v = 3";
    serve(&|server, client| {
        client.create_keyspace();
        client
            .query("CREATE TABLE ks.t (k int PRIMARY KEY, v int) WITH encryption = {'kms_key': 'local:orders'}")
            .done();
        for k in 0..50 {
            client
                .query(&format!("INSERT INTO ks.t (k, v) VALUES ({k}, {})", k % 5))
                .done();
        }
        client.query("CREATE INDEX ready ON ks.t (v)").done();
        client.wait_for_builds();
        assert_eq!(client.query(by_index).rows().rows.len(), 10);
        client.query("DROP INDEX ks.ready").done();
        // The table's key goes; the index is made and cannot be filled.
        keyring.key_disable("orders").expect("the key is there");
        let table = server
            .database()
            .catalog
            .load()
            .table("ks", "t")
            .expect("it is there")
            .id;
        runtime.block_on(server.database().engine.lock(table));
        client.query("CREATE INDEX later ON ks.t (v)").done();
        assert_eq!(built(client), [""; 0]);
        let (code, words) = client.query("SELECT * FROM ks.t").error();
        assert_eq!(code, UNAUTHORIZED, "{words}");
    });
    keyring.key_enable("orders").expect("the key is there");
    serve(&|server, client| {
        client.wait_for_builds();
        assert_eq!(built(client), ["later"]);
        assert_eq!(client.query(by_index).rows().rows.len(), 10);
        // Behind the same gate: what is locked is not read by an index either.
        keyring.key_disable("orders").expect("the key is there");
        let table = server
            .database()
            .catalog
            .load()
            .table("ks", "t")
            .expect("it is there")
            .id;
        runtime.block_on(server.database().engine.lock(table));
        let (code, words) = client.query(by_index).error();
        assert_eq!(code, UNAUTHORIZED, "{words}");
        assert!(words.contains("KMS_KEY_INACCESSIBLE"), "{words}");
        // Dropped without its key.
        client.query("DROP INDEX ks.later").done();
        let dropped = runtime.block_on(server.database().engine.dropped_stores(table));
        assert_eq!(
            dropped.into_iter().collect::<Vec<_>>(),
            [Store(1), Store(2)]
        );
    });
    keyring.key_enable("orders").expect("the key is there");
}

#[test]
fn a_value_too_long_for_an_index_keeps_it_from_nothing() {
    let node = Node::start();
    let mut client = Client::in_keyspace(node.address());
    client
        .query("CREATE TABLE ks.t (k int PRIMARY KEY, v text)")
        .done();
    let long = "x".repeat(70_000);
    let insert = |k: i32, v: &str| format!("INSERT INTO ks.t (k, v) VALUES ({k}, '{v}')");
    client.query(&insert(1, &long)).done();
    client.query(&insert(2, "short")).done();
    client.query("CREATE INDEX short ON ks.t (v)").done();
    client.wait_for_builds();
    let found = client.query("SELECT k FROM ks.t WHERE v = 'short'").rows();
    assert_eq!(found.rows.len(), 1);
    let (_, words) = client.query(&insert(3, &long)).error();
    assert!(words.starts_with("Cannot index value"), "{words}");
    let asked = format!("SELECT k FROM ks.t WHERE v = '{long}'");
    let (_, words) = client.query(&asked).error();
    assert_eq!(words, "Index expression values may not be larger than 64K");
    node.stop();
}

#[test]
fn a_value_in_an_attached_index_is_found_or_refused() {
    let node = Node::start();
    let mut client = Client::in_keyspace(node.address());
    client
        .query("CREATE TABLE ks.t (k int PRIMARY KEY, v text, s set<text>)")
        .done();
    client.query("CREATE INDEX ON ks.t (v) USING 'sai'").done();
    client.query("CREATE INDEX ON ks.t (s) USING 'sai'").done();
    client.wait_for_builds();
    for (length, is_taken) in [(8_193, true), (60_000, true), (70_000, false)] {
        let value = "x".repeat(length);
        let written = client.query(&format!(
            "INSERT INTO ks.t (k, v, s) VALUES ({length}, '{value}', {{'{value}', '{length}'}})"
        ));
        if !is_taken {
            let (_, words) = written.error();
            assert!(
                words.starts_with("Cannot index value of size 70000"),
                "{words}"
            );
            continue;
        }
        written.done();
        for asked in [
            format!("v = '{value}'"),
            format!("s CONTAINS '{value}'"),
            format!("s CONTAINS '{length}'"),
        ] {
            let found = client.query(&format!("SELECT k FROM ks.t WHERE {asked}"));
            assert_eq!(found.rows().rows.len(), 1, "{length}");
        }
    }
    node.stop();
}

#[test]
fn an_index_without_case_finds_elements_of_collections() {
    let node = Node::start();
    let mut client = Client::in_keyspace(node.address());
    client
        .query("CREATE TABLE ks.t (k int PRIMARY KEY, s set<text>, m map<text, text>, v text)")
        .done();
    for (name, on) in [
        ("s", "s"),
        ("mk", "keys(m)"),
        ("mv", "values(m)"),
        ("v", "v"),
    ] {
        client
            .query(&format!("CREATE CUSTOM INDEX {name} ON ks.t ({on}) USING 'StorageAttachedIndex' WITH OPTIONS = {{'case_sensitive': 'false'}}"))
            .done();
    }
    client.wait_for_builds();
    client
        .query("INSERT INTO ks.t (k, s, m, v) VALUES (1, {'Red'}, {'Color': 'Green'}, 'Blue')")
        .done();
    for asked in [
        "s CONTAINS 'rED'",
        "m CONTAINS KEY 'COLOR'",
        "m CONTAINS 'green'",
        "v = 'BLUE'",
        "v = 'BLUE' AND s CONTAINS 'RED'",
    ] {
        let found = client.query(&format!("SELECT k FROM ks.t WHERE {asked}"));
        assert_eq!(found.rows().rows.len(), 1, "{asked}");
    }
    node.stop();
}

/// The names of the indexes of keyspace ks that are built.
fn built(client: &mut Client) -> Vec<String> {
    let query = "SELECT index_name FROM system.\"IndexInfo\" WHERE table_name = 'ks'";
    let rows = client.query(query).rows().rows.into_iter();
    rows.map(|row| String::from_utf8(row[0].clone().expect("a name").to_vec()).expect("text"))
        .collect()
}

#[test]
fn what_was_noted_of_builds_that_nobody_goes_on_with_is_gone_after_a_start() {
    let node = Node::start();
    let mut client = Client::in_keyspace(node.address());
    client
        .query("CREATE TABLE ks.t (k text PRIMARY KEY, v int)")
        .done();
    client.query("CREATE INDEX by_v ON ks.t (v)").done();
    // Of a table that is gone; and in a form that named the partition itself.
    node.keep_record("index_builds", &[7; 20], &[0; 8]);
    node.keep_record("index_builds", &[8; 20], b"\0\0\0\0\0\0\0\x01\0\0\0\x03key");
    assert_eq!(node.records("index_builds").len(), 2);
    let node = node.restart();
    assert_eq!(node.records("index_builds"), []);
    node.stop();
}
