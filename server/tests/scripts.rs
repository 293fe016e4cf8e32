//! Golden scripts: each statement of `scripts/*.cql`, and what Cassandra 5.0 answers.
//!
//! ```text
//! SELECT * FROM t WHERE k = 1;        a statement, up to the semicolon that ends its line
//! -- k | v                            what comes back: a line of names and one for each row,
//! -- 1 | "a"                          values as JSON; or the kind of error and its text
//! ```
//!
//! The answers were written by Cassandra itself: with `PALLADIUM_SCRIPTS_SERVER=127.0.0.1:9042` the scripts run against any
//! server that speaks CQL, and with `PALLADIUM_SCRIPTS_WRITE=cassandra` they are rewritten with what it says. Where we
//! differ on purpose, a line that begins with `-- !` before the statement says why, and the answer below it is ours
//! (`PALLADIUM_SCRIPTS_WRITE=ours`).

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use bytes::Bytes;
use palladium::query::json;
use palladium_protocol::types::CqlType;
use palladium_protocol::wire::{Reader, Version};

/// A client that knows one thing: to send a statement and to read its answer.
struct Client {
    socket: TcpStream,
}

const QUERY: u8 = 0x07;
const STARTUP: u8 = 0x01;
const ERROR: u8 = 0x00;
const RESULT: u8 = 0x08;

impl Client {
    fn connect(address: SocketAddr) -> Client {
        let socket = TcpStream::connect(address).expect("the server listens");
        socket
            .set_read_timeout(Some(Duration::from_secs(30)))
            .expect("a timeout can be set");
        let mut client = Client { socket };
        let mut body = vec![0, 1];
        for text in ["CQL_VERSION", "3.0.0"] {
            body.extend((text.len() as u16).to_be_bytes());
            body.extend_from_slice(text.as_bytes());
        }
        client.send(STARTUP, &body);
        client.receive();
        client
    }

    fn send(&mut self, opcode: u8, body: &[u8]) {
        let mut frame = vec![4, 0, 0, 0, opcode];
        frame.extend((body.len() as u32).to_be_bytes());
        frame.extend_from_slice(body);
        self.socket.write_all(&frame).expect("the server reads");
    }

    fn receive(&mut self) -> (u8, u8, Bytes) {
        let mut header = [0; 9];
        self.socket
            .read_exact(&mut header)
            .expect("the server answers");
        let length = u32::from_be_bytes([header[5], header[6], header[7], header[8]]);
        let mut body = vec![0; length as usize];
        self.socket
            .read_exact(&mut body)
            .expect("the server answers");
        (header[4], header[1], body.into())
    }

    /// The answer to a statement, as lines.
    fn run(&mut self, statement: &str) -> Vec<String> {
        let mut body = (statement.len() as u32).to_be_bytes().to_vec();
        body.extend_from_slice(statement.as_bytes());
        // Consistency ONE, no flags.
        body.extend([0, 1, 0]);
        self.send(QUERY, &body);
        let (opcode, flags, body) = self.receive();
        let mut reader = Reader::new(&body);
        if flags & 0x08 != 0 {
            for _ in 0..reader.short().expect("warnings") {
                reader.string().expect("a warning");
            }
        }
        match opcode {
            ERROR => {
                let code = reader.int().expect("a code");
                let text = reader.string().expect("a message");
                vec![format!("{}: {}", error_name(code), text.replace('\n', " "))]
            }
            RESULT => rows(&mut reader),
            other => vec![format!("opcode {other}")],
        }
    }
}

fn error_name(code: i32) -> String {
    match code {
        0x0000 => "ServerError".into(),
        0x000A => "ProtocolError".into(),
        0x1400 => "FunctionFailure".into(),
        0x2000 => "SyntaxError".into(),
        0x2100 => "Unauthorized".into(),
        0x2200 => "Invalid".into(),
        0x2300 => "ConfigError".into(),
        0x2400 => "AlreadyExists".into(),
        code => format!("{code:#06x}"),
    }
}

fn rows(reader: &mut Reader<'_>) -> Vec<String> {
    if reader.int().expect("a kind") != 2 {
        return Vec::new();
    }
    let flags = reader.int().expect("flags");
    let columns = reader.int().expect("a count");
    if flags & 0x02 != 0 {
        reader.bytes().expect("a paging state");
    }
    let global = flags & 0x01 != 0;
    if global {
        reader.string().expect("a keyspace");
        reader.string().expect("a table");
    }
    let specs: Vec<(String, CqlType)> = (0..columns)
        .map(|_| {
            if !global {
                reader.string().expect("a keyspace");
                reader.string().expect("a table");
            }
            let name = reader.string().expect("a name").to_owned();
            (name, CqlType::read_option(reader).expect("a type"))
        })
        .collect();
    let names: Vec<&str> = specs.iter().map(|(name, _)| name.as_str()).collect();
    let mut lines = vec![names.join(" | ")];
    for _ in 0..reader.int().expect("a count") {
        let values: Vec<String> = specs
            .iter()
            .map(|(_, ty)| {
                let mut text = String::new();
                let value = reader.bytes().expect("a value");
                json::print(ty, value, &mut text).expect("a value of its type");
                text
            })
            .collect();
        lines.push(values.join(" | "));
    }
    lines
}

/// A statement of a script, and the lines that belong to it.
struct Step {
    /// Blank lines, remarks, and the reason for a difference.
    before: Vec<String>,
    statement: String,
    expected: Vec<String>,
}

fn steps(script: &str) -> (Vec<Step>, Vec<String>) {
    let mut steps: Vec<Step> = Vec::new();
    let mut before = Vec::new();
    let mut statement = String::new();
    for line in script.lines() {
        let is_answer = line.starts_with("-- ") && !line.starts_with("-- !");
        if !statement.is_empty() || !(line.is_empty() || line.starts_with("--")) {
            if !statement.is_empty() {
                statement.push('\n');
            }
            statement.push_str(line);
            if line.ends_with(';') {
                steps.push(Step {
                    before: std::mem::take(&mut before),
                    statement: std::mem::take(&mut statement),
                    expected: Vec::new(),
                });
            }
        } else if is_answer && before.is_empty() && !steps.is_empty() {
            if let Some(step) = steps.last_mut() {
                step.expected.push(line[3..].to_owned());
            }
        } else {
            before.push(line.to_owned());
        }
    }
    (steps, before)
}

/// Whose answers are written into the scripts.
#[derive(Clone, Copy, PartialEq)]
enum Rewrite {
    Nobody,
    /// Cassandra's: all but those that are ours on purpose.
    Cassandra,
    /// Ours: only those.
    Ours,
}

fn run_script(path: &Path, address: SocketAddr, rewrite: Rewrite) -> Vec<String> {
    let name = path
        .file_name()
        .and_then(|name| name.to_str())
        .expect("a name")
        .to_owned();
    let text = std::fs::read_to_string(path).expect("the script can be read");
    let (steps, rest) = steps(&text);
    let mut client = Client::connect(address);
    client.run("DROP KEYSPACE IF EXISTS ks");
    client.run("CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}");
    client.run("USE ks");
    let mut failures = Vec::new();
    let mut written = String::new();
    for step in &steps {
        let ours = step.before.iter().any(|line| line.starts_with("-- !"));
        let answer = client.run(step.statement.trim_end_matches(';'));
        for line in &step.before {
            written.push_str(line);
            written.push('\n');
        }
        written.push_str(&step.statement);
        written.push('\n');
        let kept = match rewrite {
            Rewrite::Nobody => &step.expected,
            Rewrite::Cassandra if ours => &step.expected,
            Rewrite::Ours if !ours => &step.expected,
            Rewrite::Cassandra | Rewrite::Ours => &answer,
        };
        for line in kept {
            written.push_str("-- ");
            written.push_str(line);
            written.push('\n');
        }
        if answer != step.expected {
            failures.push(format!(
                "{name}: {}\n  expected {:#?}\n  got      {:#?}",
                step.statement, step.expected, answer
            ));
        }
    }
    for line in rest {
        written.push_str(&line);
        written.push('\n');
    }
    client.run("DROP KEYSPACE ks");
    if rewrite != Rewrite::Nobody {
        std::fs::write(path, written).expect("the script can be written");
        return Vec::new();
    }
    failures
}

fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let wanted = std::env::var("PALLADIUM_SCRIPTS_ONLY").unwrap_or_default();
    let mut paths: Vec<PathBuf> = std::fs::read_dir(folder)
        .expect("the scripts are here")
        .map(|entry| entry.expect("the folder can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "cql"))
        .filter(|path| path.to_string_lossy().contains(&wanted))
        .collect();
    paths.sort();
    paths
}

fn run_all(address: SocketAddr) {
    let rewrite = match std::env::var("PALLADIUM_SCRIPTS_WRITE").as_deref() {
        Ok("cassandra") => Rewrite::Cassandra,
        Ok("ours") => Rewrite::Ours,
        _ => Rewrite::Nobody,
    };
    assert_eq!(Version::V4.number(), 4, "the client above speaks version 4");
    let failures: Vec<String> = scripts()
        .iter()
        .flat_map(|path| run_script(path, address, rewrite))
        .collect();
    assert!(
        failures.is_empty(),
        "{} differences\n{}",
        failures.len(),
        failures.join("\n")
    );
}

#[test]
fn every_script_is_answered_as_cassandra_answers() {
    if let Ok(address) = std::env::var("PALLADIUM_SCRIPTS_SERVER") {
        return run_all(address.parse().expect("an address and a port"));
    }
    let folder = tempfile::tempdir().expect("a temporary folder");
    let runtime = tokio::runtime::Runtime::new().expect("a runtime");
    let server = runtime.block_on(serve(folder.path()));
    run_all(server.address());
    runtime.block_on(server.stop()).expect("a clean stop");
}

async fn serve(folder: &Path) -> palladium::server::Server {
    let config = palladium::config::Config {
        data: folder.join("data"),
        keyring: folder.join("keyring"),
        listen: "127.0.0.1:0".parse().expect("an address"),
        ..palladium::config::Config::default()
    };
    let env = std::sync::Arc::new(palladium::env::RealEnv::default());
    palladium::server::Server::start(config, env)
        .await
        .expect("the server starts")
}
