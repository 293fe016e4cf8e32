//! What a client is told of a write of which nobody knows whether it happened: a server that the system suddenly lets write nothing (`RLIMIT_FSIZE`), in its log neither.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};

use palladium_protocol::wire::Reader;
use rustix::process::{Pid, Resource, Rlimit, prlimit};
use tempfile::TempDir;

use crate::client::Client;
use crate::scene::{WRITE_TIMEOUT, texts, wait_for};

const SCHEMA: [&str; 5] = [
    "CREATE TABLE ks.plain (k int PRIMARY KEY, v int)",
    "CREATE TABLE ks.other (k int PRIMARY KEY, v int)",
    "CREATE TABLE ks.lists (k int PRIMARY KEY, v list<int>)",
    "CREATE TABLE ks.counts (k int PRIMARY KEY, c counter)",
    "CREATE TABLE ks.last (k int PRIMARY KEY)",
];

/// A server in a process of its own, because what is taken from it is taken from the whole process.
struct Apart {
    child: Child,
    address: SocketAddr,
    _folder: TempDir,
}

impl Drop for Apart {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Apart {
    /// One that takes a file's limit as an error and not as its end, with the tables above, and nothing left to be written by itself.
    fn start() -> Apart {
        let folder = tempfile::tempdir().expect("a temporary folder");
        // What a shell ignores stays ignored in what it becomes.
        let mut child = Command::new("sh")
            .args(["-c", "trap '' XFSZ; exec \"$0\" --listen 127.0.0.1:0"])
            .arg(env!("CARGO_BIN_EXE_palladium"))
            .current_dir(folder.path())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("a shell can be started");
        let mut ready = String::new();
        BufReader::new(child.stdout.take().expect("it is piped"))
            .read_line(&mut ready)
            .expect("it says when it is ready");
        let address = ready.trim().rsplit(' ').next().map(str::parse);
        let Some(Ok(address)) = address else {
            panic!("it says {ready:?}");
        };
        let apart = Apart {
            child,
            address,
            _folder: folder,
        };
        let mut client = Client::connect(address);
        client.create_keyspace();
        for statement in SCHEMA {
            client.query(statement).done();
        }
        // The trail is written beside serving, in order; behind this there is nothing more.
        let last = "SELECT table_name FROM system_palladium.kms_calls WHERE operation = 'CREATE TABLE' AND table_name = 'last' ALLOW FILTERING";
        wait_for(
            || (!texts(&mut client, last).is_empty()).then_some(()),
            "the trail tells of the last table",
        );
        apart
    }

    /// From now on no file takes anything.
    fn write_nothing(&self) {
        let pid = Pid::from_child(&self.child);
        let nothing = Rlimit {
            current: Some(0),
            maximum: None,
        };
        prlimit(Some(pid), Resource::Fsize, nothing).expect("a child's limit can be set");
    }
}

/// The kind of write in a timeout's answer.
fn kind((opcode, body): (u8, bytes::Bytes)) -> String {
    assert_eq!(opcode, 0, "a write that nobody has written is acknowledged");
    let mut reader = Reader::new(&body);
    let code = reader.int().expect("a code");
    let message = reader.string().expect("a message").to_owned();
    assert_eq!(code, WRITE_TIMEOUT, "{message}");
    reader.short().expect("a consistency");
    reader.int().expect("received");
    reader.int().expect("to be received");
    reader.string().expect("a kind").to_owned()
}

/// The kinds of these writes, which come in one piece and stand in one group of the log.
fn kinds<const COUNT: usize>(statements: [&str; COUNT]) -> [String; COUNT] {
    let server = Apart::start();
    let mut client = Client::connect(server.address);
    server.write_nothing();
    client.send_queries(&statements);
    statements.map(|_| kind(client.next_answer()))
}

#[test]
fn a_write_that_may_or_may_not_have_happened_is_told_with_its_kind() {
    let one = "INSERT INTO ks.plain (k, v) VALUES (1, 1)";
    let two = "INSERT INTO ks.plain (k, v) VALUES (2, 2)";
    let elsewhere = "INSERT INTO ks.other (k, v) VALUES (1, 1)";
    let batch = |kind: &str, first: &str, second: &str| {
        format!("BEGIN {kind}BATCH {first}; {second}; APPLY BATCH")
    };
    assert_eq!(
        kinds([
            one,
            "UPDATE ks.plain SET v = 3 WHERE k IN (1, 2)",
            &batch("", one, two),
            &batch("UNLOGGED ", one, two),
            // One partition, in Cassandra's eyes of two tables too: there it is one mutation, and no batch.
            &batch("", one, one),
            &batch("", one, elsewhere),
            "DELETE FROM ks.counts WHERE k = 1",
        ]),
        [
            "SIMPLE",
            "UNLOGGED_BATCH",
            "BATCH",
            "UNLOGGED_BATCH",
            "SIMPLE",
            "SIMPLE",
            "COUNTER",
        ]
    );
}

#[test]
fn a_write_that_has_looked_first_and_may_or_may_not_have_happened_is_told_with_its_kind() {
    // Each goes to the log by itself, and the first one that fails is the last: a server for each.
    let counted = "UPDATE ks.counts SET c = c + 1 WHERE k = 1";
    let looks = "UPDATE ks.lists SET v[0] = 1 WHERE k = 1";
    let also = "INSERT INTO ks.lists (k, v) VALUES (2, [2])";
    let conditional = "INSERT INTO ks.plain (k, v) VALUES (1, 1) IF NOT EXISTS";
    let batch = |kind: &str, first: &str, second: &str| {
        format!("BEGIN {kind}BATCH {first}; {second}; APPLY BATCH")
    };
    for (statement, wanted) in [
        (batch("COUNTER ", counted, counted), "COUNTER"),
        (batch("", conditional, conditional), "CAS"),
        (batch("", looks, also), "BATCH"),
        (batch("UNLOGGED ", looks, also), "UNLOGGED_BATCH"),
    ] {
        let server = Apart::start();
        let mut client = Client::connect(server.address);
        client
            .query("INSERT INTO ks.lists (k, v) VALUES (1, [0])")
            .done();
        server.write_nothing();
        client.send_queries(&[&statement]);
        assert_eq!(kind(client.next_answer()), wanted, "{statement}");
    }
}
