//! The entries of indexes through their lives: those that nothing bears out go when files are merged, and no other ever does, whatever timestamps come late, whatever
//! the base has forgotten, and whichever layout they were written in.

use std::sync::Arc;

use bytes::Bytes;
use palladium_storage::{Columns, KeyRange, Limits, ReadCommand, Slices, Store};

use crate::client::{Client, Node};
use crate::walk::{Chance, seed_or};

const STEPS: usize = 400;
/// Flushes of the walk; each second one is followed by a merge.
const FLUSH_EVERY: usize = 25;

/// How much is stored of the indexes of a table, stale or not: the smallest first.
fn entries(node: &Node, table: &str) -> Vec<usize> {
    let database = node.database();
    let schema = database.catalog.load().table("ks", table).cloned();
    let schema = schema.expect("it is there");
    let count = |store: Store| {
        let mut command = ReadCommand {
            table: schema.id,
            store,
            range: KeyRange::all(),
            slices: Slices::all(),
            reversed: false,
            columns: Arc::new(Columns {
                regular: Vec::new(),
                statics: Vec::new(),
            }),
            limits: Limits::NONE,
            resume: None,
            now: database.engine.now_seconds(),
        };
        let mut rows = 0;
        loop {
            let page = node.run(database.engine.read(command.clone()));
            let page = page.expect("it is read");
            rows += page
                .partitions
                .iter()
                .map(|one| one.rows.len())
                .sum::<usize>();
            command.resume = page.next;
            if command.resume.is_none() {
                return rows;
            }
        }
    };
    let mut counts: Vec<usize> = schema
        .indexes
        .iter()
        .map(|index| count(index.store))
        .collect();
    counts.sort();
    counts
}

#[test]
fn an_index_over_a_column_that_changes_ten_thousand_times_does_not_grow() {
    let node = Node::start();
    let mut client = Client::in_keyspace(node.address());
    client
        .query("CREATE TABLE t (k int PRIMARY KEY, v int, w int, m map<int, int>)")
        .done();
    for index in [
        "CREATE INDEX ON t (v)",
        "CREATE INDEX ON t (w) USING 'sai'",
        "CREATE INDEX ON t (entries(m))",
    ] {
        client.query(index).done();
    }
    client.wait_for_builds();
    let update = client.prepare("UPDATE t SET v = ?, w = ?, m[1] = ? WHERE k = ?");
    const ROWS: i32 = 10;
    for n in 0..1_000 {
        let values = |k: i32| {
            let value = n * ROWS + k;
            vec![value.into(), value.into(), value.into(), k.into()]
        };
        let statements: Vec<_> = (0..ROWS).map(|k| (&update, values(k))).collect();
        client.batch(&statements).done();
        if n % 100 == 99 {
            node.flush();
        }
    }
    node.compact();
    // An SAI on numbers keeps each entry twice: by its value, and in order.
    assert_eq!(entries(&node, "t"), [10, 10, 20]);
    for (asked, rows) in [
        ("v = 9995", 1),
        ("v = 9985", 0),
        ("w >= 9990", 10),
        ("w < 9990", 0),
        ("m[1] = 9995", 1),
    ] {
        let found = client
            .query(&format!("SELECT k FROM t WHERE {asked}"))
            .rows();
        assert_eq!(found.rows.len(), rows, "{asked}");
    }
    // A row that is deleted takes its entries along.
    client.query("DELETE FROM t WHERE k IN (0, 1, 2, 3)").done();
    node.flush();
    node.compact();
    assert_eq!(entries(&node, "t"), [6, 6, 12]);
    node.stop();
}

fn change(chance: &mut Chance, now: usize) -> String {
    let (k, c, v) = (chance.below(6), chance.below(3), chance.below(4));
    // Some come late, some at one time with others.
    let late = [0, 0, 0, 40, 400][chance.below(5)];
    let using = format!(
        "USING TIMESTAMP {}",
        1_000 + now - late.min(now) + chance.below(6)
    );
    match chance.below(14) {
        0 => format!("DELETE FROM t {using} WHERE k = {k}"),
        1 => format!("DELETE FROM t {using} WHERE k = {k} AND c > {c}"),
        2 => format!("DELETE FROM t {using} WHERE k = {k} AND c = {c}"),
        3 => format!("DELETE v, w FROM t {using} WHERE k = {k} AND c = {c}"),
        4 => format!("UPDATE t {using} SET s = {v} WHERE k = {k}"),
        5 => format!("UPDATE t {using} AND TTL 1 SET s = {v} WHERE k = {k}"),
        6 => format!("UPDATE t {using} SET st = st + {{{v}}} WHERE k = {k} AND c = {c}"),
        7 => format!("UPDATE t {using} SET st = st - {{{v}}} WHERE k = {k} AND c = {c}"),
        8 => format!("UPDATE t {using} AND TTL 1 SET st = {{{v}}} WHERE k = {k} AND c = {c}"),
        9 | 10 => {
            format!("UPDATE t {using} AND TTL 1 SET v = {v}, w = {v} WHERE k = {k} AND c = {c}")
        }
        _ => format!("INSERT INTO t (k, c, v, w) VALUES ({k}, {c}, {v}, {v}) {using}"),
    }
}

fn number(cell: &Option<Bytes>) -> Option<i32> {
    let cell = cell.as_deref()?;
    Some(i32::from_be_bytes(cell.try_into().expect("an int")))
}

/// Whether a set of ints, as the protocol carries it, holds one.
fn holds(cell: &Option<Bytes>, wanted: i32) -> bool {
    let elements = cell.as_deref().unwrap_or_default().get(4..);
    let mut elements = elements.unwrap_or_default().chunks(8);
    elements.any(|element| element[4..] == wanted.to_be_bytes())
}

/// No grace: the base forgets at each merge, and what comes late comes back to life. The rows are compared with a scan of the same table, which knows no index.
#[test]
fn an_index_finds_what_is_there_whatever_was_forgotten() {
    let seed = seed_or(5);
    let steps =
        std::env::var("PALLADIUM_WALK_STEPS").map_or(STEPS, |n| n.parse().expect("a number"));
    let mut chance = Chance(seed);
    let node = Node::start();
    let mut client = Client::in_keyspace(node.address());
    client
        .query("CREATE TABLE t (k int, c int, v int, w int, s int static, st set<int>, PRIMARY KEY (k, c)) WITH gc_grace_seconds = 0")
        .done();
    for index in [
        "CREATE INDEX ON t (v)",
        "CREATE INDEX ON t (w) USING 'sai'",
        "CREATE INDEX ON t (s)",
        "CREATE INDEX ON t (st)",
        "CREATE INDEX ON t (c)",
    ] {
        client.query(index).done();
    }
    client.wait_for_builds();
    let mut log: Vec<String> = Vec::new();
    let mut compared = 0;
    for step in 0..steps {
        let change = match chance.below(150) {
            0 => "TRUNCATE t".to_owned(),
            _ => change(&mut chance, 3 * step),
        };
        client.query(&change).done();
        log.push(change);
        if step % FLUSH_EVERY == FLUSH_EVERY - 1 {
            node.flush();
            log.push("flush".into());
        }
        if step % (2 * FLUSH_EVERY) == 2 * FLUSH_EVERY - 1 {
            node.compact();
            log.push("compact".into());
        }
        let wanted = chance.below(4) as i32;
        type Says = fn(&[Option<Bytes>], i32) -> bool;
        let (asked, says): (String, Says) = match chance.below(6) {
            0 => (format!("v = {wanted}"), |row, n| number(&row[2]) == Some(n)),
            1 => (format!("w = {wanted}"), |row, n| number(&row[3]) == Some(n)),
            2 => (format!("w >= {wanted}"), |row, n| {
                number(&row[3]).is_some_and(|w| w >= n)
            }),
            3 => (format!("s = {wanted}"), |row, n| number(&row[4]) == Some(n)),
            4 => (format!("st CONTAINS {wanted}"), |row, n| holds(&row[5], n)),
            _ => (format!("c = {wanted}"), |row, n| number(&row[1]) == Some(n)),
        };
        let all = "SELECT k, c, v, w, s, st FROM t";
        let scan = |client: &mut Client| {
            let mut rows = client.query(all).rows().rows;
            rows.retain(|row| says(row, wanted));
            rows
        };
        let before = scan(&mut client);
        let query = format!("{all} WHERE {asked}");
        let page_size = [None, Some(2)][chance.below(2)];
        let found = client.all_pages(&query, page_size);
        // What expires just now is not asked about.
        if before == scan(&mut client) {
            compared += 1;
            let log = log.join(";\n");
            assert_eq!(found, before, "seed {seed}, {asked}, after\n{log}");
        }
    }
    assert!(compared > steps / 2, "compared {compared} times");
    node.stop();
}

#[test]
fn an_index_in_an_older_layout_is_made_anew_at_the_start() {
    let node = Node::start();
    let mut client = Client::in_keyspace(node.address());
    client
        .query("CREATE TABLE t (k int PRIMARY KEY, v int)")
        .done();
    client.query("CREATE INDEX by_v ON t (v)").done();
    client.wait_for_builds();
    for k in 0..20 {
        client
            .query(&format!("INSERT INTO t (k, v) VALUES ({k}, {})", k % 2))
            .done();
    }
    let database = node.database();
    let table = database.catalog.load().table("ks", "t").cloned();
    let table = table.expect("it is there");
    let older = database.change_table(&table, |definition| {
        for index in &mut definition.indexes {
            Arc::make_mut(index).layout = 1;
        }
    });
    node.run(older).expect("the schema is written");
    let node = node.restart();
    let mut client = Client::connect(node.address());
    client.wait_for_builds();
    let found = client.query("SELECT k FROM ks.t WHERE v = 1").rows();
    assert_eq!(found.rows.len(), 10);
    let database = node.database();
    let now = database.catalog.load().table("ks", "t").cloned();
    assert_eq!(now.expect("it is there").indexes[0].store, Store(2));
    let ended = node.run(database.engine.dropped_stores(table.id));
    assert_eq!(ended.into_iter().collect::<Vec<_>>(), [Store(1)]);
    node.stop();
}

/// Whatever ended it: what the schema names and nobody can write to any more would be empty for ever.
#[test]
fn an_index_and_a_view_whose_store_has_ended_are_made_anew_at_the_start() {
    let node = Node::start();
    let mut client = Client::in_keyspace(node.address());
    for statement in [
        "CREATE TABLE t (k int PRIMARY KEY, v int)",
        "CREATE INDEX by_v ON t (v)",
        "CREATE MATERIALIZED VIEW of_v AS SELECT * FROM t WHERE v IS NOT NULL AND k IS NOT NULL PRIMARY KEY (v, k)",
    ] {
        client.query(statement).done();
    }
    client.wait_for_builds();
    for k in 0..20 {
        let insert = format!("INSERT INTO t (k, v) VALUES ({k}, {})", k % 2);
        client.query(&insert).done();
    }
    let table = node.database().catalog.load().table("ks", "t").cloned();
    let table = table.expect("it is there").id;
    for store in [Store(1), Store(2)] {
        let ended = node.database().engine.drop_store(table, store);
        node.run(ended).expect("the manifest is written");
    }
    let node = node.restart();
    let mut client = Client::connect(node.address());
    client.wait_for_builds();
    for query in [
        "SELECT k FROM ks.t WHERE v = 1",
        "SELECT k FROM ks.of_v WHERE v = 1",
    ] {
        assert_eq!(client.query(query).rows().rows.len(), 10, "{query}");
    }
    node.stop();
}

#[test]
fn rows_by_an_index_on_a_part_of_the_key_are_shown_once_after_a_flush() {
    let node = Node::start();
    let mut client = Client::in_keyspace(node.address());
    client
        .query("CREATE TABLE t (a int, b int, c int, v int, PRIMARY KEY ((a, b), c))")
        .done();
    client.query("CREATE INDEX ON t (b)").done();
    client.wait_for_builds();
    client
        .query("INSERT INTO t (a, b, c, v) VALUES (1, 1, 1, 1)")
        .done();
    node.flush();
    client
        .query("INSERT INTO t (a, b, c, v) VALUES (1, 1, 2, 2)")
        .done();
    let found = client.query("SELECT c FROM t WHERE b = 1").rows();
    assert_eq!(found.rows.len(), 2);
    node.stop();
}

#[test]
fn rows_by_an_index_on_a_static_column_are_shown_once_after_a_flush() {
    let node = Node::start();
    let mut client = Client::in_keyspace(node.address());
    client
        .query("CREATE TABLE t (k int, c int, s int static, PRIMARY KEY (k, c))")
        .done();
    client.query("CREATE INDEX ON t (s)").done();
    client.wait_for_builds();
    client
        .query("INSERT INTO t (k, c, s) VALUES (0, 1, 7)")
        .done();
    node.flush();
    client
        .query("INSERT INTO t (k, c, s) VALUES (0, 2, 7)")
        .done();
    let found = client.query("SELECT c FROM t WHERE s = 7").rows();
    assert_eq!(found.rows.len(), 2);
    node.stop();
}
