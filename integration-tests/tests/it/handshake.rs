//! The first words on a connection, and wrong ones: versions nobody speaks, frames out of step, bytes that are no frames at all. A peer that talks nonsense
//! gets an error or a closed connection, and nobody else notices.
//!
//! `TESTS_AGAINST=HOST:PORT` runs this against a server that is there already.

use std::net::SocketAddr;
use std::time::Duration;

use palladium_integration_tests::chance::{Chance, long};
use palladium_integration_tests::node::Node;
use palladium_integration_tests::raw::{Answer, Connection, code, decode, opcode};

use crate::runtimes::one_thread;

/// No answer takes as long as this, and no nonsense costs as much as that.
const ANSWER_LIMIT: Duration = Duration::from_secs(60);
const MEMORY_KIB_MAX: u64 = 1 << 20;

fn on_a_server<F: Future>(story: impl FnOnce(SocketAddr) -> F) {
    let named = std::env::var("TESTS_AGAINST").ok().map(|address| {
        address
            .parse()
            .expect("TESTS_AGAINST is an address and a port")
    });
    let node = if named.is_none() {
        Some(Node::start())
    } else {
        None
    };
    let address = named
        .or(node.as_ref().map(Node::address))
        .expect("one of the two");
    let runtime = one_thread();
    let ended =
        runtime.block_on(async { tokio::time::timeout(ANSWER_LIMIT, story(address)).await });
    assert!(ended.is_ok(), "no answer came");
    if let Some(node) = node {
        let peak = peak_memory_kib(node.pid());
        assert!(peak < MEMORY_KIB_MAX, "the server grew to {peak} KiB");
    }
}

/// The most memory a process ever had, as the kernel counts it.
fn peak_memory_kib(pid: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).expect("the server runs");
    let line = status
        .lines()
        .find(|line| line.starts_with("VmHWM:"))
        .expect("the kernel counts memory");
    line.split_whitespace()
        .nth(1)
        .and_then(|number| number.parse().ok())
        .expect("a number of KiB")
}

/// A frame of any version with any length field.
fn frame(version: u8, opcode: u8, length: u32, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![version, 0, 0, 1, opcode];
    bytes.extend(length.to_be_bytes());
    bytes.extend(body);
    bytes
}

#[test]
fn versions_that_nobody_speaks_get_a_protocol_error() {
    on_a_server(|address| async move {
        for version in [0x41, 0x42, 0x07, 0x21, 0x7F] {
            let mut connection = Connection::open_socket(address)
                .await
                .expect("the server is ready");
            connection.push_bytes(&frame(version, opcode::OPTIONS, 0, b""));
            connection.flush().await.expect("bytes can be sent");
            let answer = connection
                .next_frame()
                .await
                .expect("a frame")
                .expect("an answer before the end");
            assert!(
                (0x83..=0x85).contains(&answer.version),
                "version {version:#04x} was answered in version {:#04x}",
                answer.version
            );
            let (found, message) = decode(&answer).expect("an error can be read").refusal();
            assert_eq!(found, code::PROTOCOL, "version {version:#04x}: {message}");
            assert!(
                message.contains("nvalid or unsupported protocol version"),
                "version {version:#04x}: {message}"
            );
        }
    });
}

#[test]
fn options_come_before_startup() {
    on_a_server(|address| async move {
        for version in [0x03, 0x04] {
            let mut connection = Connection::open_socket(address)
                .await
                .expect("the server is ready");
            connection.push_bytes(&frame(version, opcode::OPTIONS, 0, b""));
            connection.flush().await.expect("bytes can be sent");
            let answer = connection
                .next_frame()
                .await
                .expect("a frame")
                .expect("an answer");
            assert_eq!(
                (answer.version, answer.opcode, answer.stream),
                (0x80 | version, opcode::SUPPORTED, 1)
            );
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            for word in [
                "CQL_VERSION",
                "COMPRESSION",
                "lz4",
                "snappy",
                "PROTOCOL_VERSIONS",
                "3/v3",
                "4/v4",
                "5/v5",
            ] {
                assert!(text.contains(word), "SUPPORTED does not say {word}");
            }
            // A query before STARTUP is out of turn.
            connection.push_bytes(&frame(version, opcode::QUERY, 0, b""));
            connection.flush().await.expect("bytes can be sent");
            let answer = connection
                .next_frame()
                .await
                .expect("a frame")
                .expect("an answer");
            assert_eq!(
                decode(&answer).expect("an error can be read").refusal().0,
                code::PROTOCOL
            );
        }
    });
}

#[test]
fn a_length_that_never_arrives_costs_no_memory() {
    on_a_server(|address| async move {
        let mut neighbour = Connection::open(address)
            .await
            .expect("the server is ready");
        let mut connections = Vec::new();
        for length in [u32::MAX, 0x7FFF_FFFF, 300 << 20, 255 << 20, 15 << 20].repeat(20) {
            let mut connection = Connection::open_socket(address)
                .await
                .expect("the server is ready");
            connection.push_bytes(&frame(0x04, opcode::STARTUP, length, b"a few bytes"));
            connection.flush().await.expect("bytes can be sent");
            connections.push(connection);
            neighbour.run("SELECT key FROM system.local").await;
        }
    });
}

#[test]
fn nonsense_is_answered_with_errors_and_nobody_else_notices() {
    let mut chance = Chance::for_test("nonsense_is_answered_with_errors_and_nobody_else_notices");
    on_a_server(|address| async move {
        let mut neighbour = Connection::open(address)
            .await
            .expect("the server is ready");
        for round in 0..if long() { 5000 } else { 300 } {
            let mut connection = if round % 2 == 0 {
                Connection::open(address)
                    .await
                    .expect("the server is ready")
            } else {
                Connection::open_socket(address)
                    .await
                    .expect("the server is ready")
            };
            let body: Vec<u8> = (0..chance.below(200))
                .map(|_| chance.number() as u8)
                .collect();
            let opcodes = [
                opcode::STARTUP,
                opcode::QUERY,
                opcode::PREPARE,
                opcode::EXECUTE,
                opcode::BATCH,
                0x0B,
                0x0F,
                0x55,
            ];
            let opcode = opcodes[chance.below(opcodes.len())];
            connection.push_bytes(&frame(0x04, opcode, body.len() as u32, &body));
            connection.flush().await.expect("bytes can be sent");
            // The server may hang up; what it may not do is fall over, or make sense of it.
            if let Ok(Some(answer)) = connection.next_frame().await {
                assert!(
                    !matches!(decode(&answer), Ok(Answer::Rows(_))),
                    "nonsense was answered with rows"
                );
            }
            if round % 50 == 0 {
                neighbour.run("SELECT key FROM system.local").await;
            }
        }
        neighbour.run("SELECT key FROM system.local").await;
    });
}
