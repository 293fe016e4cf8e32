//! A client of a few lines for the tests of this crate, on version 4 of the protocol, and a server for it to talk to.
//!
//! It knows just enough to say what the tests say: statements, prepared statements, batches, pages. What comes back is kept
//! as it came, so that a test can look at every byte.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes};
use palladium::config::{
    Authenticator, Authorizer, CidrAuthorizer, Config, GivenPassword, NetworkAuthorizer,
};
use palladium::database::Database;
use palladium::env::RealEnv;
use palladium::records;
use palladium::server::Server;
use palladium_protocol::types::CqlType;
use palladium_protocol::wire::Reader;
use tempfile::TempDir;
use tokio::runtime::Runtime;

use crate::scene::start_after_the_last;

/// A build that takes longer never ends.
const BUILD_PATIENCE: Duration = Duration::from_secs(60);

const STARTUP: u8 = 0x01;
const READY: u8 = 0x02;
const REGISTER: u8 = 0x0B;
const AUTHENTICATE: u8 = 0x03;
const AUTH_RESPONSE: u8 = 0x0F;
pub const AUTH_SUCCESS: u8 = 0x10;
const QUERY: u8 = 0x07;
const PREPARE: u8 = 0x09;
const EXECUTE: u8 = 0x0A;
const BATCH: u8 = 0x0D;
const ERROR: u8 = 0x00;
const WARNING: u8 = 0x08;
const TRACING: u8 = 0x02;

pub struct Client {
    socket: TcpStream,
    /// What the last answer warned of.
    pub warnings: Vec<String>,
    /// The trace of the last answer, if one was asked for.
    pub trace: Option<[u8; 16]>,
    /// Asks for a trace of every request.
    pub tracing: bool,
}

/// A value as it is bound.
#[derive(Clone)]
pub enum Value {
    Null,
    Unset,
    Bytes(Vec<u8>),
}

/// What the server said.
pub enum Answer {
    Void,
    Rows(Rows),
    /// Code and message.
    Error(i32, String),
    /// SET KEYSPACE, SCHEMA CHANGE.
    Other,
    Prepared(Prepared),
}

#[derive(Default)]
pub struct Rows {
    /// None if they were left out.
    pub columns: Vec<(String, CqlType)>,
    pub rows: Vec<Vec<Option<Bytes>>>,
    pub paging_state: Option<Vec<u8>>,
}

pub struct Prepared {
    pub id: Vec<u8>,
    pub markers: Vec<(String, CqlType)>,
    pub key_indexes: Vec<u16>,
}

impl Value {
    fn put(&self, out: &mut Vec<u8>) {
        match self {
            Value::Null => out.extend((-1i32).to_be_bytes()),
            Value::Unset => out.extend((-2i32).to_be_bytes()),
            Value::Bytes(bytes) => {
                out.extend((bytes.len() as i32).to_be_bytes());
                out.extend_from_slice(bytes);
            }
        }
    }
}

impl From<i32> for Value {
    fn from(number: i32) -> Self {
        Value::Bytes(number.to_be_bytes().to_vec())
    }
}

impl From<&str> for Value {
    fn from(text: &str) -> Self {
        Value::Bytes(text.as_bytes().to_vec())
    }
}

impl Answer {
    pub fn rows(self) -> Rows {
        match self {
            Answer::Rows(rows) => rows,
            Answer::Error(code, message) => panic!("error {code:#x}: {message}"),
            _ => panic!("no rows"),
        }
    }

    /// Code and message of an error.
    pub fn error(self) -> (i32, String) {
        match self {
            Answer::Error(code, message) => (code, message),
            _ => panic!("no error"),
        }
    }

    pub fn done(self) {
        if let Answer::Error(code, message) = self {
            panic!("error {code:#x}: {message}");
        }
    }
}

impl Client {
    /// Connects where nobody has to log in.
    pub fn connect(address: SocketAddr) -> Client {
        let mut client = Client::open(address);
        client.start();
        client
    }

    /// Connects, and makes the keyspace `ks` its own.
    pub fn in_keyspace(address: SocketAddr) -> Client {
        let mut client = Client::connect(address);
        client.create_keyspace();
        client.query("USE ks").done();
        client
    }

    /// Makes the keyspace `ks`.
    pub fn create_keyspace(&mut self) {
        self.query("CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
            .done();
    }

    /// Connects and logs in; or code and message of the refusal.
    pub fn connect_as(
        address: SocketAddr,
        name: &str,
        password: &str,
    ) -> Result<Client, (i32, String)> {
        let mut client = Client::open(address);
        let (opcode, body) = client.start();
        assert_eq!(opcode, AUTHENTICATE, "the server asks who it is");
        let class = Reader::new(&body).string().expect("a class").to_owned();
        assert_eq!(class, "org.apache.cassandra.auth.PasswordAuthenticator");
        let (opcode, body) = client.log_in(format!("\0{name}\0{password}").as_bytes());
        if opcode == AUTH_SUCCESS {
            return Ok(client);
        }
        let mut reader = Reader::new(&body);
        let code = reader.int().expect("a code");
        Err((code, reader.string().expect("a message").to_owned()))
    }

    /// A connection that has said nothing.
    pub fn open(address: SocketAddr) -> Client {
        let socket = TcpStream::connect(address).expect("the server listens");
        let patience = Some(Duration::from_secs(30));
        socket
            .set_read_timeout(patience)
            .expect("a timeout can be set");
        Client {
            socket,
            warnings: Vec::new(),
            trace: None,
            tracing: false,
        }
    }

    /// STARTUP: opcode and body of the answer.
    pub fn start(&mut self) -> (u8, Bytes) {
        let mut body = vec![0, 1];
        for text in ["CQL_VERSION", "3.0.0"] {
            body.extend((text.len() as u16).to_be_bytes());
            body.extend_from_slice(text.as_bytes());
        }
        self.send(STARTUP, &body);
        let (opcode, _, body) = self.receive();
        (opcode, body)
    }

    /// AUTH_RESPONSE: opcode and body of the answer.
    pub fn log_in(&mut self, token: &[u8]) -> (u8, Bytes) {
        self.send_log_in(token);
        self.next_answer()
    }

    /// AUTH_RESPONSE whose answer is not waited for.
    pub fn send_log_in(&mut self, token: &[u8]) {
        let mut body = (token.len() as u32).to_be_bytes().to_vec();
        body.extend_from_slice(token);
        self.send(AUTH_RESPONSE, &body);
    }

    /// REGISTER for schema changes.
    pub fn hear_of_schema_changes(&mut self) {
        let mut body = vec![0, 1, 0, 13];
        body.extend_from_slice(b"SCHEMA_CHANGE");
        self.send(REGISTER, &body);
        let (opcode, _, _) = self.receive();
        assert_eq!(opcode, READY);
    }

    /// Waits until the server hangs up; what it says before that is a mistake.
    pub fn hangs_up(&mut self) {
        let mut said = [0; 64];
        match self.socket.read(&mut said) {
            Ok(0) => {}
            Ok(bytes) => panic!("the server says {:?} first", &said[..bytes]),
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => {}
            Err(error) => panic!("the server does not hang up: {error}"),
        }
    }

    /// To whom it talks.
    pub fn address(&self) -> SocketAddr {
        self.socket.peer_addr().expect("it is connected")
    }

    /// Bytes as they are.
    pub fn send_raw(&mut self, bytes: &[u8]) {
        self.socket.write_all(bytes).expect("the server reads");
    }

    fn send(&mut self, opcode: u8, body: &[u8]) {
        let frame = self.frame(opcode, body);
        self.send_raw(&frame);
    }

    fn frame(&self, opcode: u8, body: &[u8]) -> Vec<u8> {
        let mut frame = vec![4, if self.tracing { TRACING } else { 0 }, 0, 0, opcode];
        frame.extend((body.len() as u32).to_be_bytes());
        frame.extend_from_slice(body);
        frame
    }

    /// Opcode and body of the next answer.
    pub fn next_answer(&mut self) -> (u8, Bytes) {
        let (opcode, _, body) = self.receive();
        (opcode, body)
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

    fn ask(&mut self, opcode: u8, body: &[u8]) -> Answer {
        self.send(opcode, body);
        let (opcode, flags, mut body) = self.receive();
        let mut reader = Reader::new(&body);
        self.trace = (flags & TRACING != 0).then(|| {
            let id = reader.take(16).expect("the id of a trace");
            id.try_into().expect("16 bytes")
        });
        self.warnings.clear();
        if flags & WARNING != 0 {
            for _ in 0..reader.short().expect("warnings") {
                let warning = reader.string().expect("a warning");
                self.warnings.push(warning.to_owned());
            }
        }
        if opcode == ERROR {
            let code = reader.int().expect("a code");
            let message = reader.string().expect("a message").to_owned();
            return Answer::Error(code, message);
        }
        match reader.int().expect("a kind") {
            1 => Answer::Void,
            2 => {
                let rest = reader.rest().len();
                body.advance(body.len() - rest);
                Answer::Rows(rows(&body))
            }
            4 => Answer::Prepared(prepared(&mut reader)),
            _ => Answer::Other,
        }
    }

    /// A statement as text.
    pub fn query(&mut self, statement: &str) -> Answer {
        self.query_page(statement, None, None)
    }

    /// The same with a timestamp in its parameters.
    pub fn query_at(&mut self, timestamp: i64, statement: &str) -> Answer {
        let mut body = (statement.len() as u32).to_be_bytes().to_vec();
        body.extend_from_slice(statement.as_bytes());
        body.extend([0, 1, 0x20]);
        body.extend(timestamp.to_be_bytes());
        self.ask(QUERY, &body)
    }

    /// The same with these parameters: consistency, flags, and what they say.
    pub fn query_with(&mut self, statement: &str, parameters: &[u8]) -> Answer {
        let mut body = (statement.len() as u32).to_be_bytes().to_vec();
        body.extend_from_slice(statement.as_bytes());
        body.extend_from_slice(parameters);
        self.ask(QUERY, &body)
    }

    /// A statement whose answer nobody waits for.
    pub fn send_query(&mut self, statement: &str) {
        self.send_queries(&[statement]);
    }

    /// Statements that reach the server in one piece.
    pub fn send_queries(&mut self, statements: &[&str]) {
        let frames = statements.iter().flat_map(|statement| {
            let mut body = (statement.len() as u32).to_be_bytes().to_vec();
            body.extend_from_slice(statement.as_bytes());
            parameters(&[], None, None, &mut body);
            self.frame(QUERY, &body)
        });
        let frames: Vec<u8> = frames.collect();
        self.send_raw(&frames);
    }

    /// Waits until all indexes and views that there are have been built: whoever makes one waits only so long.
    pub fn wait_for_builds(&mut self) {
        for (made, built) in [
            ("system_schema.indexes", "system.\"IndexInfo\""),
            ("system_schema.views", "system.built_views"),
        ] {
            let begun = Instant::now();
            // Who may not look does not wait.
            while let (Some(ready), Some(all)) = (self.count(built), self.count(made))
                && ready < all
            {
                assert!(begun.elapsed() < BUILD_PATIENCE, "{made}: not built");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    /// The rows of a table of indexes or views, if this role may read it, but for those of Cassandra's own keyspace: no table says that they are built.
    fn count(&mut self, table: &str) -> Option<usize> {
        match self.query(&format!("SELECT * FROM {table}")) {
            Answer::Rows(rows) => {
                let keyspaces = rows.rows.iter().filter_map(|row| row[0].as_deref());
                Some(keyspaces.filter(|name| *name != b"system").count())
            }
            _ => None,
        }
    }

    /// One page of a statement as text.
    pub fn query_page(
        &mut self,
        statement: &str,
        page_size: Option<i32>,
        state: Option<&[u8]>,
    ) -> Answer {
        let mut body = (statement.len() as u32).to_be_bytes().to_vec();
        body.extend_from_slice(statement.as_bytes());
        parameters(&[], page_size, state, &mut body);
        self.ask(QUERY, &body)
    }

    /// All rows of a statement as text, page by page.
    pub fn all_pages(
        &mut self,
        statement: &str,
        page_size: Option<i32>,
    ) -> Vec<Vec<Option<Bytes>>> {
        let mut found = Vec::new();
        let mut state: Option<Vec<u8>> = None;
        loop {
            let page = self
                .query_page(statement, page_size, state.as_deref())
                .rows();
            found.extend(page.rows);
            state = page.paging_state;
            if state.is_none() {
                return found;
            }
        }
    }

    pub fn prepare(&mut self, statement: &str) -> Prepared {
        match self.try_prepare(statement) {
            Answer::Prepared(prepared) => prepared,
            Answer::Error(code, message) => panic!("error {code:#x}: {message}"),
            _ => panic!("not prepared"),
        }
    }

    /// PREPARE, whatever comes of it.
    pub fn try_prepare(&mut self, statement: &str) -> Answer {
        let mut body = (statement.len() as u32).to_be_bytes().to_vec();
        body.extend_from_slice(statement.as_bytes());
        self.ask(PREPARE, &body)
    }

    pub fn execute(&mut self, prepared: &Prepared, values: &[Value]) -> Answer {
        self.execute_page(prepared, values, None, None)
    }

    pub fn execute_page(
        &mut self,
        prepared: &Prepared,
        values: &[Value],
        page_size: Option<i32>,
        state: Option<&[u8]>,
    ) -> Answer {
        let mut body = (prepared.id.len() as u16).to_be_bytes().to_vec();
        body.extend_from_slice(&prepared.id);
        parameters(values, page_size, state, &mut body);
        self.ask(EXECUTE, &body)
    }

    /// Executes for a client that remembers the columns of the result.
    pub fn execute_remembering(&mut self, prepared: &Prepared) -> Answer {
        let mut body = (prepared.id.len() as u16).to_be_bytes().to_vec();
        body.extend_from_slice(&prepared.id);
        body.extend([0, 1, 0x02]);
        self.ask(EXECUTE, &body)
    }

    /// Executes with values by name.
    pub fn execute_named(&mut self, prepared: &Prepared, values: &[(&str, Value)]) -> Answer {
        let mut body = (prepared.id.len() as u16).to_be_bytes().to_vec();
        body.extend_from_slice(&prepared.id);
        put_named(values, &mut body);
        self.ask(EXECUTE, &body)
    }

    /// A statement as text with values by name.
    pub fn query_named(&mut self, statement: &str, values: &[(&str, Value)]) -> Answer {
        let mut body = (statement.len() as u32).to_be_bytes().to_vec();
        body.extend_from_slice(statement.as_bytes());
        put_named(values, &mut body);
        self.ask(QUERY, &body)
    }

    /// A logged batch of prepared statements.
    pub fn batch(&mut self, statements: &[(&Prepared, Vec<Value>)]) -> Answer {
        self.batch_with(statements, &[0, 1, 0])
    }

    /// The same with these parameters: consistency, flags, and what they say.
    pub fn batch_with(
        &mut self,
        statements: &[(&Prepared, Vec<Value>)],
        parameters: &[u8],
    ) -> Answer {
        let mut body = vec![0];
        body.extend((statements.len() as u16).to_be_bytes());
        for (prepared, values) in statements {
            body.push(1);
            body.extend((prepared.id.len() as u16).to_be_bytes());
            body.extend_from_slice(&prepared.id);
            body.extend((values.len() as u16).to_be_bytes());
            values.iter().for_each(|value| value.put(&mut body));
        }
        body.extend_from_slice(parameters);
        self.ask(BATCH, &body)
    }
}

/// Consistency ONE, then what there is.
fn parameters(values: &[Value], page_size: Option<i32>, state: Option<&[u8]>, body: &mut Vec<u8>) {
    let flag = |set: bool, flag: u8| if set { flag } else { 0 };
    let flags = flag(!values.is_empty(), 0x01)
        | flag(page_size.is_some(), 0x04)
        | flag(state.is_some(), 0x08);
    body.extend([0, 1, flags]);
    if !values.is_empty() {
        body.extend((values.len() as u16).to_be_bytes());
        values.iter().for_each(|value| value.put(body));
    }
    if let Some(size) = page_size {
        body.extend(size.to_be_bytes());
    }
    if let Some(state) = state {
        Value::Bytes(state.to_vec()).put(body);
    }
}

/// Consistency ONE, and values by name.
fn put_named(values: &[(&str, Value)], body: &mut Vec<u8>) {
    body.extend([0, 1, 0x41]);
    body.extend((values.len() as u16).to_be_bytes());
    for (name, value) in values {
        body.extend((name.len() as u16).to_be_bytes());
        body.extend_from_slice(name.as_bytes());
        value.put(body);
    }
}

fn specs(reader: &mut Reader<'_>, flags: i32, columns: i32) -> Vec<(String, CqlType)> {
    let global = flags & 0x01 != 0;
    let table = |reader: &mut Reader<'_>| {
        reader.string().expect("a keyspace");
        reader.string().expect("a table");
    };
    if global && columns > 0 {
        table(reader);
    }
    (0..columns)
        .map(|_| {
            if !global {
                table(reader);
            }
            let name = reader.string().expect("a name").to_owned();
            (name, CqlType::read_option(reader).expect("a type"))
        })
        .collect()
}

fn rows(body: &Bytes) -> Rows {
    let mut reader = Reader::new(body);
    let flags = reader.int().expect("flags");
    let count = reader.int().expect("a count");
    let paging_state = (flags & 0x02 != 0)
        .then(|| reader.bytes().expect("a paging state").map(<[u8]>::to_vec))
        .flatten();
    let columns = match flags & 0x04 {
        0 => specs(&mut reader, flags, count),
        _ => Vec::new(),
    };
    let rows = (0..reader.int().expect("a count"))
        .map(|_| {
            let cells = (0..count).map(|_| {
                reader
                    .bytes()
                    .expect("a cell")
                    .map(|cell| body.slice_ref(cell))
            });
            cells.collect()
        })
        .collect();
    Rows {
        columns,
        rows,
        paging_state,
    }
}

fn prepared(reader: &mut Reader<'_>) -> Prepared {
    let id = reader.short_bytes().expect("an id").to_vec();
    let flags = reader.int().expect("flags");
    let count = reader.int().expect("a count");
    let keys = reader.int().expect("a count");
    let key_indexes = (0..keys)
        .map(|_| reader.short().expect("an index"))
        .collect();
    Prepared {
        id,
        markers: specs(reader, flags, count),
        key_indexes,
    }
}

/// A server of our own, in a folder of its own.
pub struct Node {
    folder: TempDir,
    runtime: Runtime,
    server: Server,
    config: Config,
}

impl Node {
    pub fn start() -> Node {
        Node::start_with(Config::default())
    }

    /// A server where clients log in and roles decide; the first super-user is `cassandra`, its password too.
    pub fn start_with_roles() -> Node {
        Node::start_with(with_roles())
    }

    /// With other settings than the default ones.
    pub fn start_with(config: Config) -> Node {
        let folder = tempfile::tempdir().expect("a temporary folder");
        let runtime = Runtime::new().expect("a runtime");
        let server = runtime.block_on(serve(folder.path(), &config));
        Node {
            folder,
            runtime,
            server,
            config,
        }
    }

    /// Stops the server and starts it again on the same folder, with these settings.
    pub fn restart_with(self, config: Config) -> Node {
        let Node {
            folder,
            runtime,
            server,
            ..
        } = self;
        runtime.block_on(server.stop()).expect("a clean stop");
        let server = runtime.block_on(serve(folder.path(), &config));
        Node {
            folder,
            runtime,
            server,
            config,
        }
    }

    /// Stops the server and starts it again.
    pub fn restart(self) -> Node {
        let config = self.config.clone();
        self.restart_with(config)
    }

    pub fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// What the connections share.
    pub fn database(&self) -> &Arc<Database> {
        self.server.database()
    }

    /// The keyring's file.
    pub fn keyring(&self) -> PathBuf {
        self.folder.path().join("keyring")
    }

    /// Waits for something that the server does.
    pub fn run<T>(&self, what: impl Future<Output = T>) -> T {
        self.runtime.block_on(what)
    }

    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.server.metrics_address()
    }

    /// The records of a kind that the server keeps for itself, with their names.
    pub fn records(&self, kind: &'static str) -> Vec<(Bytes, Bytes)> {
        let engine = &self.server.database().engine;
        let read = self.runtime.block_on(records::read(engine, kind));
        read.expect("records are read")
    }

    /// Keeps such a record.
    pub fn keep_record(&self, kind: &'static str, name: &[u8], value: &[u8]) {
        let engine = &self.server.database().engine;
        let change = (name.to_vec(), Some(value.to_vec()));
        let written = self
            .runtime
            .block_on(records::write(engine, kind, vec![change]));
        written.expect("a record is kept");
    }

    /// Moves everything from memory to files.
    pub fn flush(&self) {
        let engine = &self.server.database().engine;
        self.runtime.block_on(engine.flush(None)).expect("a flush");
    }

    /// Merges all files of each table into one.
    pub fn compact(&self) {
        let engine = &self.server.database().engine;
        self.runtime
            .block_on(engine.compact(None))
            .expect("a compaction");
    }

    pub fn stop(self) {
        self.runtime
            .block_on(self.server.stop())
            .expect("a clean stop");
    }
}

/// Runs a story against a server of its own, with a keyspace `ks`.
pub fn with_server(story: impl FnOnce(SocketAddr)) {
    let node = Node::start();
    Client::connect(node.address()).create_keyspace();
    story(node.address());
    node.stop();
}

/// Settings of a server where clients log in and roles decide.
pub fn with_roles() -> Config {
    Config {
        authenticator: Authenticator::Password,
        authorizer: Authorizer::Cassandra,
        network_authorizer: NetworkAuthorizer::Cassandra,
        cidr_authorizer: CidrAuthorizer::Cassandra,
        default_superuser_password: GivenPassword::new("cassandra"),
        auth_bcrypt_gensalt_log2_rounds: 4,
        ..Config::default()
    }
}

/// Settings that stand under `[cassandra]`.
pub fn with_settings(settings: &str) -> Config {
    Config {
        cassandra: settings.parse().expect("a table of settings"),
        ..Config::default()
    }
}

async fn serve(folder: &Path, config: &Config) -> Server {
    let config = Config {
        data: folder.join("data"),
        keyring: folder.join("keyring"),
        listen: "127.0.0.1:0".parse().expect("an address"),
        ..config.clone()
    };
    let env = Arc::new(RealEnv::default());
    start_after_the_last(&config, env).await
}
