//! Materialized views: after any writes a view shows exactly what its base says it should, whichever way a row came and went; one that is made of a table with rows
//! in it has them all.

use bytes::Bytes;
use palladium::config::Config;

use crate::client::{Answer, Client, Node};
use crate::walk::{Chance, seed_or};

const STEPS: usize = 300;

fn change(chance: &mut Chance, timestamp: usize) -> String {
    let (k, c, v, w) = (
        chance.below(5),
        chance.below(3),
        chance.below(4),
        chance.below(4),
    );
    // Writes come late, too: what loses must not move a row.
    let at = format!("USING TIMESTAMP {}", timestamp + chance.below(20));
    match chance.below(12) {
        0 => format!("DELETE FROM t {at} WHERE k = {k}"),
        1 => format!("DELETE FROM t {at} WHERE k = {k} AND c > {c}"),
        2 => format!("DELETE FROM t {at} WHERE k = {k} AND c = {c}"),
        3 => format!("DELETE v FROM t {at} WHERE k = {k} AND c = {c}"),
        4 => format!("UPDATE t {at} SET w = {w} WHERE k = {k} AND c = {c}"),
        5 => format!("UPDATE t {at} SET v = {v} WHERE k = {k} AND c = {c}"),
        6 => format!("UPDATE t {at} SET st = st + {{{w}}} WHERE k = {k} AND c = {c}"),
        7 => format!("UPDATE t {at} AND TTL 100000 SET v = {v}, w = {w} WHERE k = {k} AND c = {c}"),
        8 => format!("UPDATE t SET v = {v} WHERE k = {k} AND c = {c} IF w = {w}"),
        9 => format!(
            "BEGIN BATCH {at} INSERT INTO t (k, c, v) VALUES ({k}, {c}, {v}); UPDATE t SET w = {w} WHERE k = {c} AND c = {c}; APPLY BATCH"
        ),
        _ => format!("INSERT INTO t (k, c, v, w) VALUES ({k}, {c}, {v}, {w}) {at}"),
    }
}

fn sorted(client: &mut Client, query: &str) -> Vec<Vec<Option<Bytes>>> {
    let mut rows = client.query(query).rows().rows;
    rows.sort();
    rows
}

#[test]
fn a_view_shows_what_its_base_says() {
    let seed = seed_or(11);
    let mut chance = Chance(seed);
    let node = Node::start();
    let mut client = Client::in_keyspace(node.address());
    client
        .query("CREATE TABLE t (k int, c int, v int, w int, st set<int>, PRIMARY KEY (k, c))")
        .done();
    let views = [
        // By a value; by the key turned round; one row of the base's key only.
        (
            "by_v",
            "v IS NOT NULL AND k IS NOT NULL AND c IS NOT NULL PRIMARY KEY (v, k, c)",
        ),
        (
            "by_c",
            "k IS NOT NULL AND c IS NOT NULL PRIMARY KEY (c, k) WITH CLUSTERING ORDER BY (k DESC)",
        ),
        (
            "some",
            "v IS NOT NULL AND w IS NOT NULL AND k IS NOT NULL AND c = 1 PRIMARY KEY ((v, k), c)",
        ),
    ];
    let mut log = Vec::new();
    for step in 0..STEPS {
        // They are made while there are rows already.
        if let Some((name, of)) = views.get(step / 40).filter(|_| step % 40 == 20) {
            client
                .query(&format!(
                    "CREATE MATERIALIZED VIEW {name} AS SELECT * FROM t WHERE {of}"
                ))
                .done();
            client.wait_for_builds();
        }
        let change = change(&mut chance, 1000 + 2 * step);
        if let Answer::Error(code, message) = client.query(&change) {
            panic!("seed {seed}: {change}: {code:#06x} {message}");
        }
        log.push(change);
        match step % 60 {
            29 => node.flush(),
            59 => node.compact(),
            _ => {}
        }
        let shown = "k, c, v, w, st, WRITETIME(w), TTL(w)";
        let all = sorted(&mut client, &format!("SELECT {shown} FROM t"));
        let has = |row: &Vec<Option<Bytes>>, place: usize| row[place].is_some();
        let is_one = |row: &Vec<Option<Bytes>>| row[1].as_deref() == Some(&[0, 0, 0, 1]);
        for (name, _) in views.iter().take((step + 20) / 40) {
            let mut expected = all.clone();
            expected.retain(|row| match *name {
                "by_v" => has(row, 2),
                "by_c" => true,
                // That `w` is not null is written and holds nothing back: it is in no key.
                _ => has(row, 2) && is_one(row),
            });
            let found = sorted(&mut client, &format!("SELECT {shown} FROM {name}"));
            let without_ttl = |rows: Vec<Vec<Option<Bytes>>>| -> Vec<Vec<Option<Bytes>>> {
                // A second may pass between the two reads.
                rows.into_iter().map(|row| row[..6].to_vec()).collect()
            };
            assert_eq!(
                without_ttl(found),
                without_ttl(expected),
                "seed {seed}, {name} after\n{}",
                log.join(";\n")
            );
        }
    }
    client.query("TRUNCATE t").done();
    for (name, _) in views {
        assert!(sorted(&mut client, &format!("SELECT * FROM {name}")).is_empty());
    }
    node.stop();
}

/// More rows than are looked at at a time, so that a deletion is followed in several steps.
#[test]
fn a_deleted_partition_of_many_rows_leaves_its_views_whole() {
    let node = Node::start();
    let mut client = Client::in_keyspace(node.address());
    client
        .query("CREATE TABLE t (k int, c int, v int, PRIMARY KEY (k, c))")
        .done();
    client
        .query("CREATE MATERIALIZED VIEW by_v AS SELECT * FROM t WHERE v IS NOT NULL AND k IS NOT NULL AND c IS NOT NULL PRIMARY KEY (v, k, c)")
        .done();
    let insert = client.prepare("INSERT INTO t (k, c, v) VALUES (0, ?, 7) USING TIMESTAMP 10");
    for c in 0..2_500_i32 {
        client.execute(&insert, &[c.into()]).done();
    }
    client
        .query("INSERT INTO t (k, c, v) VALUES (0, 1700, 8) USING TIMESTAMP 30")
        .done();
    client
        .query("DELETE FROM t USING TIMESTAMP 20 WHERE k = 0")
        .done();
    let query = "SELECT c, v FROM by_v";
    let left = sorted(&mut client, query);
    let number = |n: i32| Some(Bytes::copy_from_slice(&n.to_be_bytes()));
    assert_eq!(left, [[number(1700), number(8)]]);
    node.stop();
}

/// Makes a partition of many rows, each with one in a view.
fn fill(client: &mut Client, rows: i32) {
    client
        .query("CREATE TABLE t (k int, c int, v int, PRIMARY KEY (k, c))")
        .done();
    client
        .query("CREATE MATERIALIZED VIEW by_v AS SELECT * FROM t WHERE v IS NOT NULL AND k IS NOT NULL AND c IS NOT NULL PRIMARY KEY (v, k, c)")
        .done();
    let insert = client.prepare("INSERT INTO t (k, c, v) VALUES (0, ?, ?)");
    let values = |c: i32| vec![c.into(), (c % 7).into()];
    for from in (0..rows).step_by(200) {
        let some: Vec<_> = (from..rows.min(from + 200)).collect();
        let some: Vec<_> = some.into_iter().map(|c| (&insert, values(c))).collect();
        client.batch(&some).done();
    }
}

fn rows_of(client: &mut Client, table: &str) -> usize {
    client
        .query(&format!("SELECT c FROM {table}"))
        .rows()
        .rows
        .len()
}

#[test]
fn a_deletion_that_changes_more_of_views_than_one_write_can_is_refused_whole() {
    let node = Node::start_with(Config {
        log_segment_bytes: 1 << 20,
        ..Config::default()
    });
    let mut client = Client::in_keyspace(node.address());
    const ROWS: i32 = 8_000;
    fill(&mut client, ROWS);
    let (code, words) = client.query("DELETE FROM t WHERE k = 0").error();
    assert_eq!(code, 0x2200, "{words}");
    let expected = "The write changes more than 524288 bytes of materialized views; write or delete less at a time";
    assert_eq!(words, expected);
    for table in ["t", "by_v"] {
        assert_eq!(rows_of(&mut client, table), ROWS as usize, "{table}");
    }
    for part in ["c < 4000", "c >= 4000"] {
        client
            .query(&format!("DELETE FROM t WHERE k = 0 AND {part}"))
            .done();
    }
    for table in ["t", "by_v"] {
        assert_eq!(rows_of(&mut client, table), 0, "{table}");
    }
    node.stop();
}

/// With `TESTS_LONG` the size that has to work with the usual settings; otherwise a smaller one.
#[test]
fn a_deleted_partition_of_a_hundred_thousand_rows_leaves_its_view() {
    let rows = match std::env::var_os("TESTS_LONG") {
        Some(_) => 100_000,
        None => 6_000,
    };
    let node = Node::start();
    let mut client = Client::in_keyspace(node.address());
    fill(&mut client, rows);
    assert_eq!(rows_of(&mut client, "by_v"), rows as usize);
    client.query("DELETE FROM t WHERE k = 0").done();
    for table in ["t", "by_v"] {
        assert_eq!(rows_of(&mut client, table), 0, "{table}");
    }
    node.stop();
}

#[test]
fn a_views_where_follows_the_fields_of_a_type_to_their_new_names() {
    let node = Node::start();
    let mut client = Client::in_keyspace(node.address());
    for statement in [
        "CREATE TYPE ks.part (a int, b int)",
        "CREATE TYPE ks.whole (f frozen<part>, g frozen<list<frozen<part>>>)",
        "CREATE TABLE ks.t (p int, c frozen<whole>, d frozen<map<int, frozen<part>>>, PRIMARY KEY (p, c, d))",
        "CREATE MATERIALIZED VIEW ks.v AS SELECT * FROM ks.t WHERE p IS NOT NULL AND c >= {f: {a: 1, b: 1}, g: [{a: 1}]} \
         AND d IN ({1: {b: 2}}, {1: {a: 1, b: 2}}) PRIMARY KEY (d, p, c)",
        "ALTER TYPE ks.part RENAME a TO b AND b TO a",
        "ALTER TYPE ks.whole RENAME f TO \"F\"",
        "INSERT INTO ks.t (p, c, d) VALUES (1, {\"F\": {b: 1, a: 2}}, {1: {a: 2}})",
        "INSERT INTO ks.t (p, c, d) VALUES (2, {\"F\": {b: 0, a: 2}}, {1: {a: 2}})",
        "INSERT INTO ks.t (p, c, d) VALUES (3, {\"F\": {b: 1, a: 2}}, {1: {b: 2}})",
    ] {
        client.query(statement).done();
    }
    let node = node.restart();
    let mut client = Client::connect(node.address());
    let insert = "INSERT INTO ks.t (p, c, d) VALUES (4, {\"F\": {b: 9}}, {1: {b: 1, a: 2}})";
    client.query(insert).done();
    let shown = client.query("SELECT p FROM ks.v").rows();
    let mut shown: Vec<_> = shown.rows.into_iter().flatten().flatten().collect();
    shown.sort();
    assert_eq!(shown, [1i32, 4].map(|p| p.to_be_bytes().to_vec()));
    node.stop();
}
