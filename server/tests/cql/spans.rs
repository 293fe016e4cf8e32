//! Spans as a collector of OpenTelemetry gets them: a small double of one reads what a server sends it.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::thread;
use std::time::Duration;

use palladium::config::Config;
use palladium::telemetry;

use crate::client::{Client, Node};

/// Within it what was sent must have arrived.
const ARRIVAL: Duration = Duration::from_secs(20);

const NAME: &str = "anastasia";
const VALUE: &str = "rhinoceros";

/// A span as it came: names, ids, and all its bytes.
struct Span {
    trace: Vec<u8>,
    id: Vec<u8>,
    parent: Vec<u8>,
    name: String,
    bytes: Vec<u8>,
}

/// The fields of a protobuf message that have a length: number and bytes.
fn fields(mut message: &[u8]) -> Vec<(u64, &[u8])> {
    let mut fields = Vec::new();
    while !message.is_empty() {
        let tag = varint(&mut message);
        let bytes = match tag & 7 {
            0 => {
                varint(&mut message);
                continue;
            }
            1 => 8,
            5 => 4,
            2 => varint(&mut message) as usize,
            other => panic!("wire type {other}"),
        };
        let (field, rest) = message.split_at(bytes);
        if tag & 7 == 2 {
            fields.push((tag >> 3, field));
        }
        message = rest;
    }
    fields
}

fn varint(message: &mut &[u8]) -> u64 {
    let (mut value, mut shift) = (0, 0);
    loop {
        let (byte, rest) = message.split_first().expect("a varint ends");
        *message = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            return value;
        }
        shift += 7;
    }
}

fn within<'a>(messages: Vec<&'a [u8]>, number: u64) -> Vec<&'a [u8]> {
    let fields = messages.into_iter().flat_map(fields);
    fields
        .filter(|(at, _)| *at == number)
        .map(|(_, bytes)| bytes)
        .collect()
}

/// The spans of a request: of its resources (1), of their scopes (2), the spans (2).
fn spans(body: &[u8]) -> Vec<Span> {
    let spans = within(within(within(vec![body], 1), 2), 2);
    let text = |span: &[u8], number| {
        let found = within(vec![span], number);
        found
            .first()
            .map(|bytes| bytes.to_vec())
            .unwrap_or_default()
    };
    let spans = spans.into_iter().map(|span| Span {
        trace: text(span, 1),
        id: text(span, 2),
        parent: text(span, 4),
        name: String::from_utf8(text(span, 5)).expect("a name is text"),
        bytes: span.to_vec(),
    });
    spans.collect()
}

/// A collector: where it listens, and what it hears.
fn collector() -> (SocketAddr, Receiver<Vec<Span>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it has one");
    let (send, heard) = channel();
    thread::spawn(move || {
        for socket in listener.incoming() {
            let send = send.clone();
            let socket = socket.expect("a connection");
            thread::spawn(move || {
                while let Some(body) = post(&socket) {
                    if send.send(spans(&body)).is_err() {
                        return;
                    }
                }
            });
        }
    });
    (address, heard)
}

/// One POST, answered.
fn post(mut socket: &TcpStream) -> Option<Vec<u8>> {
    let mut reader = BufReader::new(socket);
    let (mut line, mut length) = (String::new(), 0);
    reader
        .read_line(&mut line)
        .ok()
        .filter(|bytes| *bytes > 0)?;
    assert!(line.starts_with("POST /v1/traces "), "{line}");
    loop {
        line.clear();
        reader.read_line(&mut line).ok()?;
        let lower = line.to_ascii_lowercase();
        if let Some(text) = lower.strip_prefix("content-length:") {
            length = text.trim().parse().expect("a length");
        }
        if line.trim().is_empty() {
            break;
        }
    }
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let answer =
        b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
    socket.write_all(answer).ok()?;
    Some(body)
}

#[test]
fn a_collector_gets_the_spans_of_a_write_a_read_and_a_flush_and_no_name_and_no_value() {
    let (address, heard) = collector();
    let config = Config {
        otlp_endpoint: format!("http://{address}/v1/traces"),
        ..Config::default()
    };
    let exporting = telemetry::start(&config).expect("nobody else has started it in this process");
    let node = Node::start();
    let mut client = Client::in_keyspace(node.address());
    client
        .query(&format!("CREATE TABLE {NAME} (k text PRIMARY KEY)"))
        .done();
    client
        .query(&format!("INSERT INTO {NAME} (k) VALUES ('{VALUE}')"))
        .done();
    let select = format!("SELECT k FROM {NAME} WHERE k = '{VALUE}'");
    assert_eq!(client.query(&select).rows().rows.len(), 1);
    let catalog = node.database().catalog.load_full();
    let table = catalog
        .table("ks", NAME)
        .expect("it was made")
        .id
        .to_string();
    node.flush();
    node.stop();
    // What is left is sent.
    drop(exporting);
    let mut all: Vec<Span> = Vec::new();
    let of_table = |all: &[Span], name: &str| -> Option<usize> {
        all.iter().position(|span| {
            span.name == name
                && span
                    .bytes
                    .windows(table.len())
                    .any(|part| part == table.as_bytes())
        })
    };
    while ["read", "write", "flush"]
        .iter()
        .any(|name| of_table(&all, name).is_none())
    {
        let more = heard.recv_timeout(ARRIVAL);
        all.extend(more.expect("spans of the table arrive"));
    }
    for name in ["read", "write"] {
        let span = &all[of_table(&all, name).expect("it arrived")];
        let request = all.iter().find(|request| request.id == span.parent);
        let request = request.expect("its request arrived with it");
        assert_eq!(
            (request.name.as_str(), request.parent.len()),
            ("request", 0)
        );
        assert_eq!(request.trace, span.trace);
        let mut siblings = all.iter().filter(|other| other.parent == request.id);
        assert!(siblings.any(|other| other.name == "statement"), "{name}");
    }
    for span in &all {
        for secret in [NAME, VALUE] {
            let mut parts = span.bytes.windows(secret.len());
            assert!(
                !parts.any(|part| part == secret.as_bytes()),
                "{}",
                span.name
            );
        }
    }
}
