//! Indexes and views that are made of a table with rows in it while things happen: the process is killed, others write, the key goes.

use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicI32, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use palladium::config::Config;
use palladium_crypto::Keyring;

use crate::client::{Answer, Client, Node};

const UNAUTHORIZED: i32 = 0x2100;
const PATIENCE: Duration = Duration::from_secs(60);
const PARTITIONS: i32 = 300;
const ROWS_IN_PARTITION: i32 = 60;
const BY_V: &str = "CREATE MATERIALIZED VIEW by_v AS SELECT * FROM t WHERE v IS NOT NULL AND k IS NOT NULL AND c IS NOT NULL PRIMARY KEY (v, k, c)";

/// A server that can be killed.
struct Process {
    child: Child,
    address: SocketAddr,
}

impl Process {
    fn start(folder: &Path) -> Process {
        Process::start_with_log(folder, Stdio::null())
    }

    fn start_with_log(folder: &Path, log: Stdio) -> Process {
        let mut child = Command::new(env!("CARGO_BIN_EXE_palladium"))
            .current_dir(folder)
            .args(["--listen", "127.0.0.1:0"])
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .expect("it can be run");
        let mut ready = String::new();
        let output = child.stdout.take().expect("it is piped");
        BufReader::new(output)
            .read_line(&mut ready)
            .expect("it says when it is ready");
        let address = ready.split_whitespace().find_map(|word| word.parse().ok());
        Process {
            address: address.unwrap_or_else(|| panic!("no address in {ready:?}")),
            child,
        }
    }

    /// SIGKILL.
    fn kill(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn count(client: &mut Client, query: &str) -> usize {
    let rows = client.query(query).rows().rows;
    let number = rows[0][0].as_deref().expect("a count");
    u64::from_be_bytes(number.try_into().expect("a bigint")) as usize
}

fn wait_for_a_build(client: &mut Client) {
    let begun = Instant::now();
    loop {
        assert!(begun.elapsed() < PATIENCE, "no build was seen");
        let tasks = client.query("SELECT * FROM system_views.sstable_tasks");
        if !tasks.rows().rows.is_empty() {
            break;
        }
    }
}

/// Kills a server in the middle of a build, starts it again, and waits until everything is built.
fn killed_in_mid_build(folder: &Path, statement: &str) -> Process {
    let server = Process::start(folder);
    let mut client = Client::connect(server.address);
    let address = server.address;
    let statement = format!("{statement} ");
    let maker = std::thread::spawn(move || {
        let mut client = Client::connect(address);
        client.query("USE ks").done();
        // Its answer may never come.
        client.send_query(&statement);
    });
    wait_for_a_build(&mut client);
    server.kill();
    maker.join().expect("it only sends");
    let server = Process::start(folder);
    Client::connect(server.address).wait_for_builds();
    server
}

#[test]
fn builds_that_were_killed_go_on_after_a_restart() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Process::start(folder.path());
    let mut client = Client::in_keyspace(server.address);
    client
        .query("CREATE TABLE t (k int, c int, v int, w int, PRIMARY KEY (k, c))")
        .done();
    let insert = client.prepare("INSERT INTO t (k, c, v, w) VALUES (?, ?, ?, ?)");
    for k in 0..PARTITIONS {
        let row = |c: i32| vec![k.into(), c.into(), (c % 10).into(), (c % 10).into()];
        let rows: Vec<_> = (0..ROWS_IN_PARTITION).map(|c| (&insert, row(c))).collect();
        client.batch(&rows).done();
    }
    server.kill();
    let all = (PARTITIONS * ROWS_IN_PARTITION) as usize;
    killed_in_mid_build(folder.path(), "CREATE INDEX ON t (w) USING 'sai'").kill();
    let server = killed_in_mid_build(folder.path(), BY_V);
    let mut client = Client::connect(server.address);
    client.query("USE ks").done();
    for query in [
        "SELECT COUNT(*) FROM t WHERE w = 3",
        "SELECT COUNT(*) FROM by_v WHERE v = 3",
    ] {
        assert_eq!(count(&mut client, query), all / 10, "{query}");
    }
    assert_eq!(
        count(&mut client, "SELECT COUNT(*) FROM t WHERE w >= 0"),
        all
    );
    assert_eq!(count(&mut client, "SELECT COUNT(*) FROM by_v"), all);
}

/// What is written into a column that is added in mid-build is newer than what the build writes of the same row.
#[test]
fn a_column_that_is_added_while_a_view_is_built_is_shown_by_it() {
    let node = Node::start();
    let mut client = Client::in_keyspace(node.address());
    client
        .query("CREATE TABLE t (k int, c int, v int, w int, PRIMARY KEY (k, c))")
        .done();
    let insert = client.prepare("INSERT INTO t (k, c, v, w) VALUES (?, ?, 1, 1)");
    for k in 0..PARTITIONS {
        let rows: Vec<_> = (0..ROWS_IN_PARTITION)
            .map(|c| (&insert, vec![k.into(), c.into()]))
            .collect();
        client.batch(&rows).done();
    }
    let address = node.address();
    std::thread::scope(|scope| {
        scope.spawn(move || {
            let mut client = Client::connect(address);
            client.query("USE ks").done();
            client.query(BY_V).done();
        });
        wait_for_a_build(&mut client);
        client.query("ALTER TABLE t ADD n int").done();
        for k in 0..PARTITIONS {
            client
                .query(&format!("UPDATE t SET n = 7 WHERE k = {k} AND c = 0"))
                .done();
        }
    });
    client.wait_for_builds();
    let shown = "SELECT COUNT(*) FROM by_v WHERE n = 7 ALLOW FILTERING";
    assert_eq!(count(&mut client, shown), PARTITIONS as usize);
    node.stop();
}

/// Traced writes travel alone, past the road that the others share: an index that is made meanwhile must have them, too.
#[test]
fn what_is_written_with_a_trace_while_an_index_is_made_is_found() {
    let node = Node::start();
    let mut client = Client::in_keyspace(node.address());
    client
        .query("CREATE TABLE t (k int PRIMARY KEY, v int)")
        .done();
    let is_over = AtomicBool::new(false);
    let written = AtomicI32::new(0);
    let address = node.address();
    std::thread::scope(|scope| {
        for writer in 0..3 {
            let (is_over, written) = (&is_over, &written);
            scope.spawn(move || {
                let mut client = Client::connect(address);
                client.tracing = writer != 0;
                client.query("USE ks").done();
                let insert = client.prepare("INSERT INTO t (k, v) VALUES (?, 1)");
                while !is_over.load(Ordering::Relaxed) {
                    let k = written.fetch_add(1, Ordering::Relaxed);
                    // An index that comes or goes is none of its business.
                    client.execute(&insert, &[k.into()]).done();
                }
            });
        }
        for round in 0..8 {
            let name = format!("i{round}");
            client
                .query(&format!("CREATE INDEX {name} ON t (v)"))
                .done();
            client.wait_for_builds();
            // All that was acknowledged before the question.
            let before = client.query("SELECT k FROM t").rows().rows.len();
            let found = client
                .query("SELECT k FROM t WHERE v = 1")
                .rows()
                .rows
                .len();
            assert!(found >= before, "{name} finds {found} of {before}");
            client.query(&format!("DROP INDEX {name}")).done();
        }
        is_over.store(true, Ordering::Relaxed);
    });
    client.query("CREATE INDEX ON t (v)").done();
    client.wait_for_builds();
    let written = written.into_inner() as usize;
    assert_eq!(
        count(&mut client, "SELECT COUNT(*) FROM t WHERE v = 1"),
        written
    );
    node.stop();
}

#[test]
fn an_index_and_a_view_go_with_the_key_of_their_table() {
    let node = Node::start();
    let keyring = Keyring::open(node.keyring()).expect("the keyring");
    for key in ["first", "second"] {
        keyring.key_create(key).expect("a key");
    }
    let mut client = Client::in_keyspace(node.address());
    client
        .query("CREATE TABLE t (k int, c int, v int, w int, PRIMARY KEY (k, c)) WITH encryption = {'kms_key': 'local:first'}")
        .done();
    client.query("CREATE INDEX ON t (w) USING 'sai'").done();
    client.query(BY_V).done();
    client.wait_for_builds();
    let insert = client.prepare("INSERT INTO t (k, c, v, w) VALUES (?, ?, 1, 1)");
    let queries = [
        "SELECT k FROM t WHERE w = 1",
        "SELECT k FROM by_v WHERE v = 1",
    ];
    let mut rows = 0;
    let mut more = |client: &mut Client| {
        for _ in 0..5 {
            client.execute(&insert, &[rows.into(), 0.into()]).done();
            rows += 1;
        }
        rows as usize
    };
    let found = |client: &mut Client| queries.map(|query| client.query(query).rows().rows.len());
    more(&mut client);
    node.flush();
    let all = more(&mut client);
    client
        .query("ALTER TABLE t WITH encryption = {'kms_key': 'local:second'}")
        .done();
    keyring.key_disable("first").expect("it is there");
    assert_eq!(found(&mut client), [all; 2]);
    let all = more(&mut client);
    node.flush();
    node.compact();
    assert_eq!(found(&mut client), [all; 2]);
    // Both are behind their table's gate.
    keyring.key_disable("second").expect("it is there");
    let table = node
        .database()
        .catalog
        .load()
        .table("ks", "t")
        .expect("it is there")
        .id;
    node.run(node.database().engine.lock(table));
    for query in queries {
        let (code, words) = client.query(query).error();
        assert_eq!(code, UNAUTHORIZED, "{words}");
        assert!(words.contains("KMS_KEY_INACCESSIBLE"), "{words}");
    }
    keyring.key_enable("second").expect("it is there");
    let node = node.restart();
    let mut client = Client::connect(node.address());
    client.query("USE ks").done();
    assert_eq!(found(&mut client), [all; 2]);
    node.stop();
}

#[test]
fn what_is_truncated_while_others_write_leaves_a_view_that_shows_its_base() {
    let node = Node::start();
    let mut client = Client::in_keyspace(node.address());
    client
        .query("CREATE TABLE t (k int, c int, v int, w int, PRIMARY KEY (k, c))")
        .done();
    client.query("CREATE INDEX ON t (w)").done();
    client.query(BY_V).done();
    client.wait_for_builds();
    let is_over = AtomicBool::new(false);
    let address = node.address();
    std::thread::scope(|scope| {
        for writer in 0..4 {
            let is_over = &is_over;
            scope.spawn(move || {
                let mut client = Client::connect(address);
                client.query("USE ks").done();
                let insert = client.prepare("INSERT INTO t (k, c, v, w) VALUES (?, ?, ?, 1)");
                let delete = client.prepare("DELETE FROM t WHERE k = ?");
                let mut n: i32 = 0;
                while !is_over.load(Ordering::Relaxed) {
                    // All write to the same few rows, and move them about in the view.
                    let (k, c, v) = (n % 3, n % 5, writer + n % 7);
                    let values = [k.into(), c.into(), v.into()];
                    client.execute(&insert, &values).done();
                    if n % 50 == 49 {
                        client.execute(&delete, &[k.into()]).done();
                    }
                    n += 1;
                }
            });
        }
        for _ in 0..40 {
            match client.query("TRUNCATE t") {
                Answer::Error(code, words) => panic!("{code:#06x} {words}"),
                _ => std::thread::yield_now(),
            }
        }
        is_over.store(true, Ordering::Relaxed);
    });
    let sorted = |client: &mut Client, from: &str| {
        let mut rows = client
            .query(&format!("SELECT k, c, v FROM {from}"))
            .rows()
            .rows;
        rows.sort();
        rows
    };
    let base = sorted(&mut client, "t");
    assert_eq!(sorted(&mut client, "by_v"), base);
    assert_eq!(sorted(&mut client, "t WHERE w = 1"), base);
    client.query("TRUNCATE t").done();
    assert_eq!(sorted(&mut client, "by_v").len(), 0);
    node.stop();
}

/// Writes of half a MiB at most, as small as an operator can make them.
fn small_writes() -> Config {
    Config {
        log_segment_bytes: 1 << 20,
        ..Config::default()
    }
}

/// Each element of a set has an entry, or two, that names the row: a page of rows with long keys makes far more of them than one write takes.
#[test]
fn entries_beyond_one_write_are_written_in_several() {
    const ROWS: usize = 20;
    const ELEMENTS: i32 = 100;
    let node = Node::start_with(small_writes());
    let mut client = Client::in_keyspace(node.address());
    client
        .query("CREATE TABLE t (k text, c int, w text, s set<int>, PRIMARY KEY (k, c))")
        .done();
    for row in 0..ROWS {
        let key = format!("{row:02000}");
        for (c, from) in [(0, 0), (1, ELEMENTS)] {
            let elements: Vec<String> = (from..from + ELEMENTS).map(|n| n.to_string()).collect();
            let elements = elements.join(", ");
            client
                .query(&format!(
                    "INSERT INTO t (k, c, w, s) VALUES ('{key}', {c}, '{key}', {{{elements}}})"
                ))
                .done();
        }
    }
    for (of, asked) in [
        ("s", "s CONTAINS 7"),
        ("s", "s CONTAINS 150"),
        ("c", "c = 1"),
    ] {
        for using in ["", " USING 'sai'"] {
            client
                .query(&format!("CREATE INDEX i ON t ({of}){using}"))
                .done();
            client.wait_for_builds();
            let found = client.query(&format!("SELECT k FROM t WHERE {asked}"));
            assert_eq!(found.rows().rows.len(), ROWS, "{asked}{using}");
            client.query("DROP INDEX i").done();
        }
    }
    node.stop();
}

/// One row whose entries are more than one write takes.
#[test]
fn the_entries_of_one_row_are_written_in_several_writes() {
    const ELEMENTS: usize = 20_000;
    const STEP: usize = 5_000;
    let node = Node::start_with(small_writes());
    let mut client = Client::in_keyspace(node.address());
    client
        .query("CREATE TABLE t (k int, c int, s set<int>, z set<int> STATIC, PRIMARY KEY (k, c))")
        .done();
    for from in (0..ELEMENTS).step_by(STEP) {
        let elements: Vec<String> = (from..from + STEP).map(|n| n.to_string()).collect();
        let elements = elements.join(", ");
        client
            .query(&format!(
                "UPDATE t SET s = s + {{{elements}}}, z = z + {{{elements}}} WHERE k = 1 AND c = 1"
            ))
            .done();
    }
    for of in ["s", "z"] {
        for using in ["", " USING 'sai'"] {
            client
                .query(&format!("CREATE INDEX i ON t ({of}){using}"))
                .done();
            client.wait_for_builds();
            for element in [0, STEP, ELEMENTS - 1] {
                let found = client.query(&format!("SELECT c FROM t WHERE {of} CONTAINS {element}"));
                assert_eq!(found.rows().rows.len(), 1, "{of} {element}{using}");
            }
            client.query("DROP INDEX i").done();
        }
    }
    node.stop();
}

fn int(value: i32) -> Vec<Option<Bytes>> {
    vec![Some(Bytes::copy_from_slice(&value.to_be_bytes()))]
}

fn sorted(client: &mut Client, query: &str) -> Vec<Vec<Option<Bytes>>> {
    let mut rows = client.query(query).rows().rows;
    rows.sort();
    rows
}

#[test]
fn a_row_that_is_larger_than_a_write_is_left_out_of_a_view() {
    let node = Node::start_with(small_writes());
    let mut client = Client::in_keyspace(node.address());
    client
        .query("CREATE TABLE t (k int PRIMARY KEY, v int, x text, y text, z text)")
        .done();
    let long = "x".repeat(200_000);
    for column in ["x", "y", "z"] {
        client
            .query(&format!("UPDATE t SET {column} = '{long}' WHERE k = 1"))
            .done();
    }
    for k in [1, 2] {
        client
            .query(&format!("UPDATE t SET v = 7 WHERE k = {k}"))
            .done();
    }
    client
        .query("CREATE MATERIALIZED VIEW by_v AS SELECT * FROM t WHERE v IS NOT NULL AND k IS NOT NULL PRIMARY KEY (v, k)")
        .done();
    client.wait_for_builds();
    let shown = "SELECT k FROM by_v";
    assert_eq!(sorted(&mut client, shown), [int(2)]);
    // It finds its place once it fits.
    client.query("DELETE x FROM t WHERE k = 1").done();
    assert_eq!(sorted(&mut client, shown), [int(1), int(2)]);
    node.stop();
}

/// What a page of rows shows in a view may be more than one write takes, though each row is not.
#[test]
fn rows_that_fit_one_by_one_are_all_in_a_view() {
    const ROWS: i32 = 40;
    let node = Node::start_with(small_writes());
    let mut client = Client::in_keyspace(node.address());
    client
        .query("CREATE TABLE t (k text, c int, v int, x text, PRIMARY KEY (k, c))")
        .done();
    let insert = client.prepare("INSERT INTO t (k, c, v, x) VALUES (?, ?, 7, ?)");
    // Rows that are long, and short ones under a long key.
    let (long, key) = ("x".repeat(300_000), "k".repeat(40_000));
    for c in 0..3 {
        client
            .execute(&insert, &["a".into(), c.into(), long.as_str().into()])
            .done();
    }
    for c in 3..ROWS {
        client
            .execute(&insert, &[key.as_str().into(), c.into(), "".into()])
            .done();
    }
    client
        .query("CREATE MATERIALIZED VIEW by_v AS SELECT * FROM t WHERE v IS NOT NULL AND k IS NOT NULL AND c IS NOT NULL PRIMARY KEY (v, k, c)")
        .done();
    client.wait_for_builds();
    let all: Vec<_> = (0..ROWS).map(int).collect();
    assert_eq!(sorted(&mut client, "SELECT c FROM by_v"), all);
    node.stop();
}

#[test]
fn a_decimal_without_an_order_is_left_out_of_a_view() {
    let node = Node::start();
    let mut client = Client::in_keyspace(node.address());
    client
        .query("CREATE TABLE t (k int PRIMARY KEY, x decimal)")
        .done();
    let long = format!("blob_as_decimal(0x00000000{})", "01".repeat(70_000));
    let insert = |k: i32, x: &str| format!("INSERT INTO t (k, x) VALUES ({k}, {x})");
    client.query(&insert(1, &long)).done();
    client.query(&insert(2, "1.5")).done();
    client
        .query("CREATE MATERIALIZED VIEW by_x AS SELECT * FROM t WHERE x IS NOT NULL AND k IS NOT NULL PRIMARY KEY (k, x)")
        .done();
    client.wait_for_builds();
    let shown = "SELECT k FROM by_x";
    assert_eq!(sorted(&mut client, shown), [int(2)]);
    let (_, words) = client.query(&insert(3, &long)).error();
    assert_eq!(
        words,
        "a decimal of more than 65535 bytes has no order (in materialized view ks.by_x)"
    );
    client.query(&insert(1, "2.5")).done();
    assert_eq!(sorted(&mut client, shown), [int(1), int(2)]);
    node.stop();
}

#[test]
fn a_write_that_a_view_has_no_place_for_is_told_which_one() {
    let node = Node::start();
    let mut client = Client::in_keyspace(node.address());
    client
        .query("CREATE TABLE t (k int PRIMARY KEY, x text, v int)")
        .done();
    let long = "x".repeat(70_000);
    client
        .query(&format!("INSERT INTO t (k, x, v) VALUES (1, '{long}', 1)"))
        .done();
    client
        .query("CREATE MATERIALIZED VIEW by_x AS SELECT * FROM t WHERE x IS NOT NULL AND k IS NOT NULL PRIMARY KEY (x, k)")
        .done();
    client.wait_for_builds();
    let (_, words) = client.query("UPDATE t SET v = 5 WHERE k = 1").error();
    assert_eq!(
        words,
        "Key length of 70000 is longer than maximum of 65535 (in materialized view ks.by_x)"
    );
    client.query("UPDATE t SET x = 'short' WHERE k = 1").done();
    assert_eq!(sorted(&mut client, "SELECT k FROM by_x"), [int(1)]);
    node.stop();
}

#[test]
fn the_log_says_how_much_a_build_has_left_out() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let log = folder.path().join("log");
    let output = File::create(&log).expect("a file");
    let server = Process::start_with_log(folder.path(), output.into());
    let mut client = Client::in_keyspace(server.address);
    client
        .query("CREATE TABLE t (k int PRIMARY KEY, x text)")
        .done();
    let long = "zyx".repeat(25_000);
    for k in 0..3 {
        client
            .query(&format!("INSERT INTO t (k, x) VALUES ({k}, '{long}')"))
            .done();
    }
    client.query("CREATE INDEX of_x ON t (x)").done();
    client
        .query("CREATE MATERIALIZED VIEW by_x AS SELECT * FROM t WHERE x IS NOT NULL AND k IS NOT NULL PRIMARY KEY (x, k)")
        .done();
    client.wait_for_builds();
    server.kill();
    let log = std::fs::read_to_string(&log).expect("a log");
    let says = |words: &[&str]| {
        log.lines()
            .any(|line| line.contains("WARN") && words.iter().all(|word| line.contains(word)))
    };
    assert!(says(&["store=1 ", "values=3"]), "{log}");
    assert!(says(&["store=2 ", "rows=3"]), "{log}");
    for secret in ["zyxzyx", "of_x", "by_x"] {
        assert!(!log.contains(secret), "{log}");
    }
}

#[test]
fn the_log_says_why_a_build_cannot_go_on_and_not_each_second() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let server = Process::start(folder.path());
    let keyring = Keyring::open(folder.path().join("keyring")).expect("the keyring");
    keyring.key_create("first").expect("a key");
    let mut client = Client::in_keyspace(server.address);
    client
        .query("CREATE TABLE t (k int PRIMARY KEY, w int) WITH encryption = {'kms_key': 'local:first'}")
        .done();
    client.query("INSERT INTO t (k, w) VALUES (1, 3)").done();
    server.kill();
    keyring.key_disable("first").expect("it is there");
    let log = folder.path().join("log");
    let output = File::create(&log).expect("a file");
    let server = Process::start_with_log(folder.path(), output.into());
    let mut client = Client::connect(server.address);
    client.query("CREATE INDEX ON ks.t (w)").done();
    std::thread::sleep(Duration::from_secs(4));
    keyring.key_enable("first").expect("it is there");
    client.wait_for_builds();
    let asked = "SELECT k FROM ks.t WHERE w = 3";
    assert_eq!(sorted(&mut client, asked), [int(1)]);
    server.kill();
    let log = std::fs::read_to_string(&log).expect("a log");
    let lines = log.lines().filter(|line| line.contains("built later"));
    let lines: Vec<&str> = lines.collect();
    let [line] = lines[..] else {
        panic!("one line says it: {lines:?}");
    };
    assert!(
        line.contains("WARN") && line.contains("KMS_KEY_INACCESSIBLE") && !line.contains("ks.t"),
        "{line}"
    );
}
