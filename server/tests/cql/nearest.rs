//! What is nearest to a vector: what a graph finds is what comparing every row finds, after updates and deletions, with filters, after a restart, and while the graph
//! is being made.

use bytes::Bytes;

use crate::client::{Client, Node, Rows, Value};
use crate::scene::{Scene, wait_for};
use crate::walk::{Chance, seed_or};

const STEPS: usize = 250;
/// Enough that a graph is asked, and not its vectors compared.
const MANY: usize = 2_400;
/// Rows of one batch.
const BATCH: usize = 150;
/// Bytes of a row that is longer than what storage gathers at a time.
const LONG_BYTES: usize = 5 << 20;

fn number(chance: &mut Chance) -> f32 {
    chance.below(2_001) as f32 / 1_000.0 - 1.0
}

fn vector(chance: &mut Chance, dimensions: usize) -> String {
    let numbers = (0..dimensions).map(|_| format!("{:.3}", number(chance)));
    format!("[{}]", numbers.collect::<Vec<_>>().join(", "))
}

fn int(cell: &Option<Bytes>) -> i32 {
    let bytes = cell.as_deref().expect("a number");
    i32::from_be_bytes(bytes.try_into().expect("four bytes"))
}

/// The clustering; none of a partition that has nothing but its static row.
fn place(cell: &Option<Bytes>) -> i32 {
    cell.as_ref().map_or(-1, |_| int(cell))
}

fn float(cell: &Option<Bytes>) -> f32 {
    let bytes = cell.as_deref().expect("a similarity");
    f32::from_be_bytes(bytes.try_into().expect("four bytes"))
}

/// Rows of `k, c, similarity`.
fn shown(rows: &Rows) -> Vec<(i32, i32, f32)> {
    let rows = rows.rows.iter();
    rows.map(|row| (int(&row[0]), place(&row[1]), float(&row[2])))
        .collect()
}

/// By comparing every row of a table, the most alike first.
fn compared(client: &mut Client, query: &str) -> Vec<(i32, i32, f32)> {
    let mut rows = client.query(query).rows();
    // Rows without a vector are like nothing.
    rows.rows.retain(|row| row[2].is_some());
    let mut rows = shown(&rows);
    rows.sort_by(|a, b| b.2.total_cmp(&a.2));
    rows
}

/// Which part of the promised rows is there; what is there must be true, and in order.
fn recall(
    found: &[(i32, i32, f32)],
    exact: &[(i32, i32, f32)],
    limit: usize,
    context: &str,
) -> f64 {
    let wanted = exact.len().min(limit);
    assert_eq!(found.len(), wanted, "{context}");
    assert!(found.is_sorted_by(|a, b| a.2 >= b.2), "{context}");
    for row in found {
        assert!(exact.contains(row), "{context}: {row:?}");
    }
    let Some(worst) = exact[..wanted].last() else {
        return 1.0;
    };
    // The graph adds up in another order.
    let good = found.iter().filter(|row| row.2 >= worst.2 - 1e-6).count();
    good as f64 / wanted as f64
}

/// A change of the table `{t}`, at a time of its own so that two tables get the same.
fn change(chance: &mut Chance, timestamp: usize) -> String {
    let (k, c) = (chance.below(12), chance.below(5));
    let using = format!("USING TIMESTAMP {}", timestamp + chance.below(6));
    let w = chance.below(4);
    match chance.below(12) {
        0 => format!("DELETE FROM {{t}} {using} WHERE k = {k}"),
        1 => format!("DELETE FROM {{t}} {using} WHERE k = {k} AND c > {c}"),
        2 => format!("DELETE FROM {{t}} {using} WHERE k = {k} AND c = {c}"),
        3 => format!("DELETE v FROM {{t}} {using} WHERE k = {k} AND c = {c}"),
        4 => format!("UPDATE {{t}} {using} SET w = {w} WHERE k = {k} AND c = {c}"),
        5 => format!(
            "UPDATE {{t}} {using} SET s = {} WHERE k = {k}",
            vector(chance, 2)
        ),
        6 => format!(
            "UPDATE {{t}} {using} AND TTL 100000 SET v = {} WHERE k = {k} AND c = {c}",
            vector(chance, 3)
        ),
        _ => format!(
            "INSERT INTO {{t}} (k, c, w, v) VALUES ({k}, {c}, {w}, {}) {using}",
            vector(chance, 3)
        ),
    }
}

#[test]
fn what_is_named_as_nearest_is_what_a_scan_finds_nearest() {
    let seed = seed_or(9);
    let mut chance = Chance(seed);
    let node = Node::start();
    let mut client = Client::in_keyspace(node.address());
    for table in ["indexed", "scanned"] {
        client
            .query(&format!(
                "CREATE TABLE {table} (k int, c int, w int, v vector<float, 3>, s vector<float, 2> static, PRIMARY KEY (k, c))"
            ))
            .done();
    }
    let mut indexes = vec![
        "CREATE INDEX ON indexed (s) USING 'sai' WITH OPTIONS = {'similarity_function': 'dot_product'}",
        "CREATE INDEX ON indexed (v) USING 'sai' WITH OPTIONS = {'similarity_function': 'euclidean'}",
        "CREATE INDEX ON indexed (w) USING 'sai'",
    ];
    for step in 0..STEPS {
        if step % 20 == 0
            && let Some(index) = indexes.pop()
        {
            client.query(index).done();
            client.wait_for_builds();
        }
        let change = change(&mut chance, 1000 + 4 * step);
        for table in ["indexed", "scanned"] {
            client.query(&change.replace("{t}", table)).done();
        }
        match step {
            _ if step % 40 == 39 => node.flush(),
            _ if step % 90 == 89 => node.compact(),
            150 => {
                for table in ["indexed", "scanned"] {
                    client.query(&format!("TRUNCATE {table}")).done();
                }
            }
            _ => {}
        }
        if step < 45 {
            continue;
        }
        let (column, function, to) = match chance.below(4) {
            0 => ("s", "dot_product", vector(&mut chance, 2)),
            _ => ("v", "euclidean", vector(&mut chance, 3)),
        };
        let filter = match chance.below(5) {
            0 => format!("WHERE w = {}", chance.below(4)),
            1 => format!("WHERE k = {}", chance.below(12)),
            2 => format!(
                "WHERE k = {} AND c >= {}",
                chance.below(12),
                chance.below(4)
            ),
            3 => "WHERE token(k) > 0".to_owned(),
            _ => String::new(),
        };
        let limit = 1 + chance.below(12);
        let similarity = format!("k, c, similarity_{function}({column}, {to})");
        let near = format!(
            "SELECT {similarity} FROM indexed {filter} ORDER BY {column} ANN OF {to} LIMIT {limit}"
        );
        let found = shown(&client.query(&near).rows());
        let scan = format!("SELECT {similarity} FROM scanned {filter} ALLOW FILTERING");
        let exact = compared(&mut client, &scan);
        let context = format!("seed {seed}, step {step}: {near}");
        assert_eq!(recall(&found, &exact, limit, &context), 1.0, "{context}");
    }
    node.stop();
}

/// Inserts so many rows, from `k` on.
fn fill(client: &mut Client, chance: &mut Chance, keys: std::ops::Range<usize>) {
    let keys: Vec<usize> = keys.collect();
    for keys in keys.chunks(BATCH) {
        let inserts = keys.iter().map(|k| {
            let v = vector(chance, 5);
            format!(
                "INSERT INTO t (k, c, w, v) VALUES ({k}, 0, {}, {v}); ",
                k % 3
            )
        });
        let batch = inserts.collect::<String>();
        client
            .query(&format!("BEGIN UNLOGGED BATCH {batch} APPLY BATCH"))
            .done();
    }
}

/// How much of the ten nearest is found, on average. Whether a graph named rows.
fn look(client: &mut Client, chance: &mut Chance, filter: &str) -> (f64, bool) {
    const QUESTIONS: usize = 6;
    let mut sum = 0.0;
    let mut is_by_graph = true;
    for _ in 0..QUESTIONS {
        let to = vector(chance, 5);
        let similarity = format!("k, c, similarity_cosine(v, {to})");
        let near = format!("SELECT {similarity} FROM t {filter} ORDER BY v ANN OF {to} LIMIT 10");
        client.tracing = true;
        let found = shown(&client.query(&near).rows());
        client.tracing = false;
        let id = uuid::Uuid::from_bytes(client.trace.expect("a trace"));
        let events = format!("SELECT activity FROM system_traces.events WHERE session_id = {id}");
        let events = client.query(&events).rows();
        is_by_graph &= events.rows.iter().any(|row| {
            let activity = row[0].as_deref().unwrap_or_default();
            activity.starts_with(b"The graph of vectors")
        });
        let scan = format!("SELECT {similarity} FROM t {filter} ALLOW FILTERING");
        let exact = compared(client, &scan);
        sum += recall(&found, &exact, 10, &near);
    }
    (sum / QUESTIONS as f64, is_by_graph)
}

/// Whether a graph names the rows that are asked for.
fn is_by_graph(client: &mut Client, query: &str) -> bool {
    client.tracing = true;
    client.query(query).done();
    client.tracing = false;
    let id = uuid::Uuid::from_bytes(client.trace.expect("a trace"));
    let events = format!("SELECT activity FROM system_traces.events WHERE session_id = {id}");
    let events = client.query(&events).rows();
    events.rows.iter().any(|row| {
        let activity = row[0].as_deref().unwrap_or_default();
        activity.starts_with(b"The graph of vectors")
    })
}

/// Waits until a graph is ready and all its vectors are linked.
fn wait_for_graph(client: &mut Client) {
    let mut chance = Chance(1);
    let ready = || {
        let (_, is_by_graph) = look(client, &mut chance, "");
        let tasks = client.query("SELECT * FROM system_views.sstable_tasks");
        (is_by_graph && tasks.rows().rows.is_empty()).then_some(())
    };
    wait_for(ready, "the graph is ready");
}

#[test]
fn a_graph_finds_what_is_near_through_updates_and_deletions_and_is_made_anew_after_a_restart() {
    let seed = 21;
    let mut chance = Chance(seed);
    let node = Node::start();
    let mut client = Client::in_keyspace(node.address());
    client
        .query("CREATE TABLE t (k int, c int, w int, v vector<float, 5>, PRIMARY KEY (k, c))")
        .done();
    client
        .query("CREATE INDEX near ON t (v) USING 'sai'")
        .done();
    client.query("CREATE INDEX ON t (w) USING 'sai'").done();
    client.wait_for_builds();
    fill(&mut client, &mut chance, 0..MANY);
    // The first who asks has every row compared, and a graph made.
    assert_eq!(look(&mut client, &mut chance, "").0, 1.0);
    wait_for_graph(&mut client);
    let good = |client: &mut Client, chance: &mut Chance, filter: &str| {
        let (recall, _) = look(client, chance, filter);
        assert!(recall >= 0.95, "seed {seed}, {filter:?}: {recall}");
    };
    for filter in ["", "WHERE w = 1", "WHERE k = 7", "WHERE token(k) > 0"] {
        good(&mut client, &mut chance, filter);
    }
    // Every row of a third gets another vector, and another third goes.
    fill(&mut client, &mut chance, 0..MANY / 3);
    for k in (MANY / 3..2 * MANY / 3).step_by(BATCH) {
        let all = (k..k + BATCH).map(|k| format!("DELETE FROM t WHERE k = {k}; "));
        let batch = all.collect::<String>();
        client
            .query(&format!("BEGIN UNLOGGED BATCH {batch} APPLY BATCH"))
            .done();
    }
    for filter in ["", "WHERE w = 1"] {
        good(&mut client, &mut chance, filter);
    }
    node.flush();
    let node = node.restart();
    let mut client = Client::connect(node.address());
    client.query("USE ks").done();
    assert_eq!(look(&mut client, &mut chance, "").0, 1.0);
    wait_for_graph(&mut client);
    good(&mut client, &mut chance, "");
    client.query("TRUNCATE t").done();
    let none = "SELECT k FROM t ORDER BY v ANN OF [1, 1, 1, 1, 1] LIMIT 10";
    assert_eq!(client.query(none).rows().rows.len(), 0);
    client
        .query("INSERT INTO t (k, c, v) VALUES (1, 1, [1, 1, 1, 1, 1])")
        .done();
    assert_eq!(client.query(none).rows().rows.len(), 1);
    client.query("DROP INDEX near").done();
    let (_, words) = client.query(none).error();
    assert_eq!(
        words,
        "ANN ordering by vector requires the column to be indexed"
    );
    node.stop();
}

#[test]
fn what_is_nearest_comes_on_one_page_and_from_one_replica() {
    let node = Node::start();
    let mut client = Client::in_keyspace(node.address());
    client
        .query("CREATE TABLE t (k int PRIMARY KEY, v vector<float, 2>)")
        .done();
    client.query("CREATE INDEX ON t (v) USING 'sai'").done();
    client.wait_for_builds();
    for k in 0..5 {
        client
            .query(&format!("INSERT INTO t (k, v) VALUES ({k}, [1, {k}])"))
            .done();
    }
    let near = "SELECT k FROM t ORDER BY v ANN OF [1, 0] LIMIT 3";
    let page = client.query_page(near, Some(2), None).rows();
    assert_eq!(page.rows.len(), 3);
    assert_eq!(page.paging_state, None);
    assert_eq!(
        client.warnings,
        [
            "Top-K queries do not support paging and the page size is set to 2, which is less than LIMIT 3. The page size has been set to 3 to match the LIMIT."
        ]
    );
    node.stop();
}

#[test]
fn a_vector_of_zeros_from_before_the_index_is_near_to_nothing() {
    let node = Node::start();
    let mut client = Client::in_keyspace(node.address());
    client
        .query("CREATE TABLE t (k int PRIMARY KEY, v vector<float, 2>)")
        .done();
    for (k, v) in [(1, "[0, 0]"), (2, "[1, 0]"), (3, "[NaN, 1]")] {
        client
            .query(&format!("INSERT INTO t (k, v) VALUES ({k}, {v})"))
            .done();
    }
    client.query("CREATE INDEX ON t (v) USING 'sai'").done();
    client.wait_for_builds();
    let near = "SELECT k FROM t ORDER BY v ANN OF [1, 1] LIMIT 5";
    // The first has every row compared; sooner or later a graph is ready.
    for _ in 0..30 {
        let rows = client.query(near).rows().rows;
        let keys: Vec<i32> = rows.iter().map(|row| int(&row[0])).collect();
        assert_eq!(keys, [2]);
    }
    node.stop();
}

#[test]
fn a_vector_of_many_elements_is_found_by_a_graph_of_what_the_store_holds() {
    const DIMENSIONS: usize = 700;
    let mut chance = Chance(4);
    let node = Node::start();
    let mut client = Client::in_keyspace(node.address());
    client
        .query(&format!(
            "CREATE TABLE t (k int PRIMARY KEY, v vector<float, {DIMENSIONS}>)"
        ))
        .done();
    client.query("CREATE INDEX ON t (v) USING 'sai'").done();
    client.wait_for_builds();
    for k in 0..6 {
        let v = vector(&mut chance, DIMENSIONS);
        client
            .query(&format!("INSERT INTO t (k, v) VALUES ({k}, {v})"))
            .done();
    }
    let to = vector(&mut chance, DIMENSIONS);
    let near = format!("SELECT k FROM t ORDER BY v ANN OF {to} LIMIT 4");
    let by_scan = client.query(&near).rows().rows;
    assert_eq!(by_scan.len(), 4);
    client.tracing = true;
    let by_graph = || {
        let rows = client.query(&near).rows().rows;
        assert_eq!(rows, by_scan);
        let id = uuid::Uuid::from_bytes(client.trace.expect("a trace"));
        client.tracing = false;
        let events = format!("SELECT activity FROM system_traces.events WHERE session_id = {id}");
        let events = client.query(&events).rows();
        client.tracing = true;
        let is_by_graph = events.rows.iter().any(|row| {
            let activity = row[0].as_deref().unwrap_or_default();
            activity.starts_with(b"The graph of vectors named 6 rows")
        });
        is_by_graph.then_some(())
    };
    wait_for(by_graph, "all six are in the graph");
    node.stop();
}

/// Storage gives a row that is longer than a page of its own away with a place to go on from. With a static column it is read on the longer way.
#[test]
fn a_row_longer_than_a_page_of_storage_brings_none_behind_it_that_nobody_named() {
    let node = Node::start();
    let mut client = Client::in_keyspace(node.address());
    client
        .query("CREATE TABLE t (k int, c int, v vector<float, 2>, b blob, s int static, PRIMARY KEY (k, c))")
        .done();
    client
        .query(
            "CREATE INDEX ON t (v) USING 'sai' WITH OPTIONS = {'similarity_function': 'euclidean'}",
        )
        .done();
    client.wait_for_builds();
    let insert = client.prepare("INSERT INTO t (k, c, v, b) VALUES (1, 0, [0, 0], ?)");
    let long = Value::Bytes(vec![0; LONG_BYTES]);
    client.execute(&insert, &[long]).done();
    for (k, c, at) in [(1, 1, 1.0), (1, 2, 2.0), (2, 0, 0.5), (2, 1, 1.5)] {
        client
            .query(&format!(
                "INSERT INTO t (k, c, v) VALUES ({k}, {c}, [{at}, 0])"
            ))
            .done();
    }
    // The first who asks has every row compared, and a graph made.
    let near = "SELECT k, c FROM t ORDER BY v ANN OF [0, 0] LIMIT";
    let by_graph = || is_by_graph(&mut client, &format!("{near} 1")).then_some(());
    wait_for(by_graph, "the graph is ready");
    for limit in 1..=5 {
        let near = format!("{near} {limit}");
        let rows = client.query(&near).rows().rows;
        let keys: Vec<(i32, i32)> = rows
            .iter()
            .map(|row| (int(&row[0]), int(&row[1])))
            .collect();
        let all = [(1, 0), (2, 0), (1, 1), (2, 1), (1, 2)];
        assert_eq!(keys, all[..limit]);
    }
    node.stop();
}

/// As nothing has been taken away yet, everything is there again.
#[test]
fn a_vector_that_a_clock_ahead_called_expired_is_near_when_the_clock_is_set_back() {
    const HOUR: i64 = 3_600;
    let scene = Scene::new(false);
    scene.serve(|_, client| {
        client.create_keyspace();
        client.query("USE ks").done();
        client
            .query("CREATE TABLE t (k int PRIMARY KEY, v vector<float, 2>)")
            .done();
        client.query("CREATE INDEX ON t (v) USING 'sai'").done();
        client.wait_for_builds();
        client
            .query("INSERT INTO t (k, v) VALUES (1, [1, 0]) USING TTL 1800")
            .done();
        client
            .query("INSERT INTO t (k, v) VALUES (2, [0, 1])")
            .done();
        let near = "SELECT k FROM t ORDER BY v ANN OF [1, 0] LIMIT 5";
        for (seconds, expected) in [(HOUR, &[2][..]), (-HOUR, &[1, 2]), (HOUR, &[2])] {
            scene.env.step_wall(seconds);
            let by_graph = || {
                let rows = client.query(near).rows().rows;
                let keys: Vec<i32> = rows.iter().map(|row| int(&row[0])).collect();
                assert_eq!(keys, expected);
                is_by_graph(client, near).then_some(())
            };
            wait_for(by_graph, "the graph is ready");
        }
    });
}
