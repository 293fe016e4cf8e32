//! What the server says of its requests: to a scraper, in `system_views`, in `system_palladium`.
//!
//! A request is counted when its answer was handed to the kernel, so a client may have the answer a moment before: it asks for something else first, on the
//! same connection, and what it had asked before is counted then.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};

use palladium::config::Config;

use crate::client::{Answer, Client, Node, Rows, Value};
use crate::scene::wait_for;

fn start(change: impl FnOnce(&mut Config)) -> Node {
    let mut config = Config {
        metrics_listen: "127.0.0.1:0".into(),
        ..Config::default()
    };
    change(&mut config);
    Node::start_with(config)
}

/// What an HTTP server answers.
fn http(address: SocketAddr, request: &[u8]) -> String {
    let mut socket = TcpStream::connect(address).expect("the port is open");
    socket.write_all(request).expect("the server listens");
    let mut answer = String::new();
    socket
        .read_to_string(&mut answer)
        .expect("the server answers and hangs up");
    answer
}

fn scrape(node: &Node) -> String {
    let address = node.metrics_address().expect("metrics are served");
    let answer = http(address, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n");
    let (head, body) = answer.split_once("\r\n\r\n").expect("a head and a body");
    assert!(head.starts_with("HTTP/1.1 200 OK"), "{head}");
    assert!(head.contains("Content-Type: text/plain; version=0.0.4"));
    body.to_owned()
}

/// The value of one line.
fn value(metrics: &str, line: &str) -> f64 {
    let found = metrics
        .lines()
        .find_map(|one| one.strip_prefix(line)?.strip_prefix(' '));
    found
        .unwrap_or_else(|| panic!("no {line} in\n{metrics}"))
        .parse()
        .expect("a number")
}

fn make_keyspace(client: &mut Client) {
    client
        .query("CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
        .done();
}

/// Reads, writes and mistakes, each so many times.
fn use_table(client: &mut Client) {
    make_keyspace(client);
    client
        .query("CREATE TABLE ks.sesame (k int, c int, v text, PRIMARY KEY (k, c))")
        .done();
    let insert = client.prepare("INSERT INTO ks.sesame (k, c, v) VALUES (?, ?, 'Aladdin')");
    for row in 0..10 {
        client
            .execute(&insert, &[Value::from(1), Value::from(row)])
            .done();
    }
    client
        .query("DELETE FROM ks.sesame WHERE k = 1 AND c = 9")
        .done();
    let read = client.prepare("SELECT v FROM ks.sesame WHERE k = ?");
    for _ in 0..5 {
        client.execute(&read, &[Value::from(1)]).rows();
    }
    client.query("SELECT * FROM ks.sesame").rows();
    client
        .query("UPDATE ks.sesame SET v = 'Baba' WHERE k = 1 AND c = 1 IF v = 'Aladdin'")
        .rows();
    let row = |row: i32| vec![Value::from(2), Value::from(row)];
    client.batch(&[(&insert, row(1)), (&insert, row(2))]).done();
    client.query("SELECT nope FROM ks.sesame").error();
    client.query("SELECT key FROM system.local").rows();
}

#[test]
fn a_scraper_is_told_what_was_asked_and_no_name() {
    let node = start(|config| config.metrics_tables = 5);
    let mut client = Client::connect(node.address());
    use_table(&mut client);
    let metrics = scrape(&node);
    let requests = |operation: &str, outcome: &str| {
        let line =
            format!("palladium_requests_total{{operation=\"{operation}\",outcome=\"{outcome}\"}}");
        value(&metrics, &line)
    };
    assert_eq!(requests("write", "ok"), 11.0);
    assert_eq!(requests("read", "ok"), 5.0);
    assert_eq!(requests("range", "ok"), 1.0);
    assert_eq!(requests("cas", "ok"), 1.0);
    assert_eq!(requests("batch", "ok"), 1.0);
    assert_eq!(requests("prepare", "ok"), 2.0);
    assert_eq!(requests("other", "error"), 1.0);
    assert_eq!(requests("handshake", "ok"), 1.0);
    assert_eq!(
        value(
            &metrics,
            "palladium_errors_total{code=\"0x2200\",name=\"invalid\"}"
        ),
        1.0
    );
    assert_eq!(
        value(
            &metrics,
            "palladium_request_seconds_count{operation=\"read\"}"
        ),
        5.0
    );
    assert_eq!(value(&metrics, "palladium_connections"), 1.0);
    assert!(value(&metrics, "palladium_received_bytes_total") > 1_000.0);
    assert!(value(&metrics, "palladium_sent_bytes_total") > 1_000.0);
    assert!(value(&metrics, "palladium_memtable_bytes") > 0.0);
    assert!(value(&metrics, "palladium_log_group_seconds_count") > 12.0);
    assert_eq!(value(&metrics, "palladium_log_stopped"), 0.0);
    assert!(value(&metrics, "process_resident_memory_bytes") > 1e6);
    let calls = "palladium_key_service_calls_total{service=\"local\",outcome=\"answered\"}";
    assert!(value(&metrics, calls) >= 1.0);
    let of_table = metrics
        .lines()
        .filter(|line| line.starts_with("palladium_table_request_seconds_count{table=\""));
    let counts: Vec<&str> = of_table
        .filter_map(|line| line.rsplit_once("operation=")?.1.strip_prefix('"'))
        .collect();
    assert_eq!(counts, ["read\"} 5", "write\"} 12", "scan\"} 1"]);
    for secret in ["sesame", "Aladdin", "ks"] {
        assert!(
            !words(&metrics).any(|word| word == secret),
            "{secret} is told"
        );
    }
}

fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(|c: char| !c.is_ascii_alphanumeric())
}

#[test]
fn what_a_scraper_reads_is_well_formed() {
    let node = start(|config| config.metrics_tables = 5);
    use_table(&mut Client::connect(node.address()));
    let metrics = scrape(&node);
    let mut family = "";
    let (mut families, mut seen) = (BTreeSet::new(), BTreeSet::new());
    for line in metrics.lines() {
        if let Some(rest) = line.strip_prefix("# TYPE ") {
            let (name, kind) = rest.split_once(' ').expect("a name and a kind");
            assert!(families.insert(name), "{name} comes twice");
            assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            family = name;
            continue;
        }
        if line.starts_with('#') {
            assert!(line.starts_with("# HELP ") && line.ends_with('.'), "{line}");
            continue;
        }
        let (series, number) = line.rsplit_once(' ').expect("a series and a value");
        let name = series.split('{').next().expect("a name");
        let is_part = ["", "_bucket", "_sum", "_count"]
            .iter()
            .any(|suffix| name.strip_suffix(suffix) == Some(family));
        assert!(is_part, "{line} stands under {family}");
        assert!(number.parse::<f64>().is_ok_and(f64::is_finite), "{line}");
        assert!(seen.insert(series), "{series} comes twice");
    }
    assert!(metrics.ends_with('\n'));
}

#[test]
fn what_is_no_request_of_a_scraper_ends_its_connection_alone() {
    let node = start(|_| {});
    let address = node.metrics_address().expect("metrics are served");
    let long = [b"GET /metrics HTTP/1.1\r\nX: ".to_vec(), vec![b'a'; 20_000]].concat();
    assert!(http(address, &long).starts_with("HTTP/1.1 431 "));
    assert!(http(address, b"\x00\x01\r\n\r\n").starts_with("HTTP/1.1 405 "));
    assert!(http(address, b"GET /secrets HTTP/1.1\r\n\r\n").starts_with("HTTP/1.1 404 "));
    drop(TcpStream::connect(address).expect("the port is open"));
    assert!(scrape(&node).contains("palladium_build_info{version="));
}

#[test]
fn metrics_are_off_unless_an_address_is_set() {
    let node = Node::start();
    assert_eq!(node.metrics_address(), None);
}

fn number(rows: &Rows, row: usize, column: &str) -> i64 {
    let place = rows.columns.iter().position(|(name, _)| name == column);
    let cell = rows.rows[row][place.expect("a column of this name")].as_deref();
    match cell.expect("a value") {
        cell if cell.len() == 4 => i32::from_be_bytes(cell.try_into().expect("four")).into(),
        cell => i64::from_be_bytes(cell.try_into().expect("eight")),
    }
}

fn double(rows: &Rows, row: usize, column: &str) -> f64 {
    f64::from_bits(number(rows, row, column) as u64)
}

#[test]
fn system_views_tell_of_each_table_what_cassandras_tell() {
    let node = Node::start();
    let mut client = Client::connect(node.address());
    use_table(&mut client);
    let mut of_table = |view: &str| {
        let rows = client
            .query(&format!(
                "SELECT * FROM system_views.{view} WHERE keyspace_name = 'ks' AND table_name = 'sesame'"
            ))
            .rows();
        assert_eq!(rows.rows.len(), 1, "{view}");
        rows
    };
    for (view, count) in [
        ("coordinator_read_latency", 5),
        ("coordinator_write_latency", 12),
        ("coordinator_scan_latency", 1),
        // Each mutation: two rows of one partition in a batch are one.
        ("local_write_latency", 13),
    ] {
        let rows = of_table(view);
        assert_eq!(number(&rows, 0, "count"), count, "{view}");
        let [p50, p99, max] = ["p50th_ms", "p99th_ms", "max_ms"].map(|name| double(&rows, 0, name));
        assert!(
            p50 <= p99 && p99 <= max && max < 60_000.0,
            "{view}: {p50} {p99} {max}"
        );
    }
    let rows = of_table("rows_per_read");
    assert_eq!(number(&rows, 0, "count"), 6);
    assert_eq!(
        (double(&rows, 0, "p50th"), double(&rows, 0, "max")),
        (9.0, 9.0)
    );
    let rows = of_table("tombstones_per_read");
    assert_eq!(number(&rows, 0, "count"), 6);
    assert_eq!(double(&rows, 0, "max"), 1.0);
    let batches = client
        .query(
            "SELECT * FROM system_views.batch_metrics WHERE name = 'partitions_per_logged_batch'",
        )
        .rows();
    assert_eq!(number(&batches, 0, "max"), 1);
    client.query("DROP TABLE ks.sesame").done();
    let gone = client
        .query("SELECT * FROM system_views.coordinator_read_latency WHERE keyspace_name = 'ks' AND table_name = 'sesame'")
        .rows();
    assert!(gone.rows.is_empty());
}

fn text(rows: &Rows, row: usize, column: &str) -> String {
    let place = rows.columns.iter().position(|(name, _)| name == column);
    let cell = rows.rows[row][place.expect("a column of this name")].as_deref();
    String::from_utf8_lossy(cell.unwrap_or(b"null")).into_owned()
}

#[test]
fn how_far_a_merge_is_is_told_in_bytes() {
    // As long as that takes, it can be looked at.
    let node = start(|config| config.compaction_throughput_mib = 1);
    let mut client = Client::connect(node.address());
    make_keyspace(&mut client);
    client
        .query("CREATE TABLE ks.sesame (k int PRIMARY KEY, v text) WITH compaction = {'class': 'SizeTieredCompactionStrategy', 'min_threshold': 2}")
        .done();
    let insert = client.prepare("INSERT INTO ks.sesame (k, v) VALUES (?, ?)");
    let large = "x".repeat(1 << 20);
    for _ in 0..2 {
        for k in 0..10 {
            client
                .execute(&insert, &[Value::from(k), Value::from(large.as_str())])
                .done();
        }
        client
            .query("INSERT INTO system_palladium.maintenance (operation, keyspace_name, table_name) VALUES ('flush', 'ks', 'sesame')")
            .done();
    }
    let merge = || {
        let tasks =
            client.query("SELECT * FROM system_views.sstable_tasks WHERE keyspace_name = 'ks'");
        let tasks = tasks.rows();
        let is_merge = !tasks.rows.is_empty() && text(&tasks, 0, "kind") == "compaction";
        (is_merge && number(&tasks, 0, "progress") > 0).then_some(tasks)
    };
    let merge = wait_for(merge, "a merge has begun");
    assert_eq!(text(&merge, 0, "table_name"), "sesame");
    assert_eq!(text(&merge, 0, "unit"), "bytes");
    let (progress, total) = (number(&merge, 0, "progress"), number(&merge, 0, "total"));
    assert!(
        progress <= total && total < 20 << 20,
        "{progress} of {total}"
    );
    let ratio = progress as f64 / total as f64;
    assert_eq!(double(&merge, 0, "completion_ratio"), ratio);
}

#[test]
fn a_slow_request_is_kept_with_its_statement_and_without_its_values() {
    let node = start(|config| config.slow_query_timeout_ms = 1);
    let mut client = Client::connect(node.address());
    make_keyspace(&mut client);
    client
        .query("CREATE TABLE ks.cave (k int, c int, v text, PRIMARY KEY (k, c))")
        .done();
    let insert = client.prepare("INSERT INTO ks.cave (k, c, v) VALUES (1, ?, 'Ali')");
    for hundred in 0..60 {
        let rows = (0..100).map(|row| (&insert, vec![Value::from(hundred * 100 + row)]));
        client.batch(&rows.collect::<Vec<_>>()).done();
    }
    // What came before may have been slow, too; in another second there is room again.
    let slow_scan = "SELECT count(*) FROM ks.cave WHERE k = 1 AND v = 'Morgiana' ALLOW FILTERING";
    let found = (0..100).find_map(|_| {
        client.query(slow_scan).rows();
        let rows = client
            .query("SELECT * FROM system_palladium.slow_queries")
            .rows();
        let is_it = |row: &usize| text(&rows, *row, "query").contains("count");
        let row = (0..rows.rows.len()).find(is_it)?;
        Some((rows, row))
    });
    let (rows, row) = found.expect("the scan of 6,000 rows takes a millisecond");
    assert_eq!(
        text(&rows, row, "query"),
        "SELECT count(*) FROM ks.cave WHERE k = ? AND v = ? ALLOW FILTERING"
    );
    assert_eq!(text(&rows, row, "table_name"), "cave");
    assert_eq!(text(&rows, row, "operation"), "read");
    assert_eq!(number(&rows, row, "rows_read"), 6_000);
    assert!(number(&rows, row, "duration_us") >= 1_000);
    for row in 0..rows.rows.len() {
        let query = text(&rows, row, "query");
        assert!(
            !query.contains("Morgiana") && !query.contains("Ali"),
            "{query}"
        );
    }
    assert!(value(&scrape(&node), "palladium_slow_requests_total") >= 1.0);
}

#[test]
fn a_slow_batch_over_two_tables_is_of_neither() {
    let node = start(|config| config.slow_query_timeout_ms = 1);
    let mut client = Client::connect(node.address());
    make_keyspace(&mut client);
    for table in ["cave", "donkey"] {
        client
            .query(&format!(
                "CREATE TABLE ks.{table} (k int PRIMARY KEY, v text)"
            ))
            .done();
    }
    let insert = |k: i32| {
        let table = ["cave", "donkey"][k as usize % 2];
        format!("INSERT INTO ks.{table} (k, v) VALUES ({k}, 'Ali'); ")
    };
    let inserts: String = (0..300).map(insert).collect();
    let batch = format!("BEGIN UNLOGGED BATCH {inserts} APPLY BATCH");
    let table = (0..100).find_map(|_| {
        client.query(&batch).done();
        let rows = client
            .query("SELECT * FROM system_palladium.slow_queries")
            .rows();
        let is_it = |row: &usize| text(&rows, *row, "operation") == "batch";
        let row = (0..rows.rows.len()).find(is_it)?;
        Some(text(&rows, row, "table_name"))
    });
    assert_eq!(
        table.as_deref(),
        Some("null"),
        "its text names both, and who may see one of them may not see the other"
    );
}

#[test]
fn what_is_in_memory_and_in_the_log_is_shown_by_table() {
    let node = Node::start();
    let mut client = Client::connect(node.address());
    use_table(&mut client);
    let mut of_table = |table: &str| {
        client
            .query(&format!(
                "SELECT * FROM system_palladium.{table} WHERE keyspace_name = 'ks' AND table_name = 'sesame'"
            ))
            .rows()
    };
    let memtables = of_table("memtables");
    assert!(number(&memtables, 0, "bytes") > 0);
    assert_eq!(number(&memtables, 0, "sstables"), 0);
    let log = of_table("log");
    assert!(number(&log, 0, "groups") >= 12 && number(&log, 0, "bytes") > 0);
    assert!(number(&log, 0, "first_segment") <= number(&log, 0, "last_segment"));
    let leases = of_table("leases");
    assert_eq!(text(&leases, 0, "state"), "live");
    assert_eq!(text(&leases, 0, "kms_key"), "local:default");
    node.flush();
    let flushed = of_table("memtables");
    assert_eq!(number(&flushed, 0, "bytes"), 0);
    assert_eq!(number(&flushed, 0, "sstables"), 1);
    let caches = client.query("SELECT * FROM system_palladium.caches").rows();
    let names: Vec<String> = (0..caches.rows.len())
        .map(|row| text(&caches, row, "name"))
        .collect();
    assert_eq!(names.len(), 3, "{names:?}");
    let prepared = client
        .query("SELECT * FROM system_palladium.caches WHERE name = 'prepared_statements'")
        .rows();
    assert_eq!(number(&prepared, 0, "items"), 2);
    assert!(matches!(
        client.query("SELECT * FROM system_palladium.slow_queries"),
        Answer::Rows(_)
    ));
}

#[test]
fn settings_say_by_their_own_names_who_may_connect() {
    let node = Node::start();
    let mut client = Client::connect(node.address());
    for (name, value) in [
        ("authenticator", "AllowAllAuthenticator"),
        ("authorizer", "AllowAllAuthorizer"),
        ("cidr_authorizer", "AllowAllCIDRAuthorizer"),
        ("network_authorizer", "AllowAllNetworkAuthorizer"),
        ("serve_everybody_beyond_loopback", "false"),
    ] {
        let asked = format!("SELECT value FROM system_views.settings WHERE name = '{name}'");
        let rows = client.query(&asked).rows().rows;
        assert_eq!(rows[0][0].as_deref(), Some(value.as_bytes()), "{name}");
    }
    node.stop();
}
