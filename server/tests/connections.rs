//! Connections to a server in this process: bounds, slow readers, clients that leave in the middle, and the end.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use palladium::config::Config;
use palladium::env::RealEnv;
use palladium::server::Server;
use palladium_protocol::limits::FrameLimits;
use palladium_protocol::wire::primitive::{put_long_string, put_string};
use palladium_protocol::wire::{Decoder, Frame, Opcode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const OVERLOADED: i32 = 0x1001;

struct World {
    server: Server,
    _folder: tempfile::TempDir,
}

fn config(folder: &Path) -> Config {
    Config {
        listen: SocketAddr::from(([127, 0, 0, 1], 0)),
        data: folder.join("data"),
        keyring: folder.join("keyring"),
        memory_bytes: 64 << 20,
        log_segment_bytes: 1 << 20,
        ..Config::default()
    }
}

impl World {
    async fn start(change: impl FnOnce(&mut Config)) -> World {
        let folder = tempfile::tempdir().unwrap();
        let mut config = config(folder.path());
        change(&mut config);
        let server = Server::start(config, Arc::new(RealEnv::default()))
            .await
            .unwrap();
        World {
            server,
            _folder: folder,
        }
    }

    async fn client(&self) -> Client {
        let mut client = self.socket().await;
        client.startup(&[]).await;
        client
    }

    async fn socket(&self) -> Client {
        Client {
            socket: TcpStream::connect(self.server.address()).await.unwrap(),
            decoder: Decoder::of_responses(FrameLimits::default()),
        }
    }
}

/// A client of v4.
struct Client {
    socket: TcpStream,
    decoder: Decoder,
}

impl Client {
    async fn send(&mut self, stream: i16, opcode: Opcode, body: &[u8]) {
        let mut bytes = BytesMut::new();
        bytes.put_slice(&[4, 0]);
        bytes.put_i16(stream);
        bytes.put_u8(opcode as u8);
        bytes.put_u32(body.len() as u32);
        bytes.put_slice(body);
        self.socket.write_all(&bytes).await.unwrap();
    }

    /// The next message; None when the server has closed.
    async fn next(&mut self) -> Option<Frame> {
        loop {
            if let Some(frame) = self.decoder.next_frame().unwrap() {
                return Some(frame);
            }
            if self.socket.read_buf(self.decoder.input()).await.unwrap() == 0 {
                return None;
            }
        }
    }

    async fn startup(&mut self, options: &[(&str, &str)]) {
        let mut body = BytesMut::new();
        body.put_u16(1 + options.len() as u16);
        for (name, value) in options.iter().chain(&[("CQL_VERSION", "3.0.0")]) {
            put_string(&mut body, name);
            put_string(&mut body, value);
        }
        self.send(0, Opcode::Startup, &body).await;
        assert_eq!(self.next().await.unwrap().opcode, Opcode::Ready);
    }

    async fn query(&mut self, stream: i16, text: &str) {
        let mut body = BytesMut::new();
        put_long_string(&mut body, text);
        body.put_u16(1);
        body.put_u8(0);
        self.send(stream, Opcode::Query, &body).await;
    }

    /// Asks and waits.
    async fn run(&mut self, text: &str) {
        self.query(0, text).await;
        let answer = self.next().await.unwrap();
        assert_eq!(answer.opcode, Opcode::Result, "{text}: {}", words(&answer));
    }

    async fn register(&mut self, event: &str) {
        let mut body = BytesMut::new();
        body.put_u16(1);
        put_string(&mut body, event);
        self.send(0, Opcode::Register, &body).await;
        assert_eq!(self.next().await.unwrap().opcode, Opcode::Ready);
    }
}

fn code(frame: &Frame) -> i32 {
    assert_eq!(frame.opcode, Opcode::Error);
    i32::from_be_bytes(frame.body[..4].try_into().unwrap())
}

fn words(frame: &Frame) -> String {
    String::from_utf8_lossy(&frame.body).into_owned()
}

const KEYSPACE: &str =
    "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}";

#[tokio::test]
async fn a_connection_too_many_is_told_overloaded_on_the_stream_of_its_first_word() {
    let world = World::start(|config| config.connections_max = 1).await;
    let mut first = world.client().await;
    let mut second = world.socket().await;
    second.send(7, Opcode::Options, b"").await;
    let answer = second.next().await.unwrap();
    assert_eq!((code(&answer), answer.stream), (OVERLOADED, 7));
    assert!(second.next().await.is_none());
    first.run("SELECT key FROM system.local").await;
}

#[tokio::test]
async fn events_begin_with_register_and_are_of_the_kind_that_was_asked_for() {
    let world = World::start(|_| {}).await;
    let mut listener = world.client().await;
    let mut deaf = world.client().await;
    let mut client = world.client().await;
    client.run(KEYSPACE).await;
    listener.register("SCHEMA_CHANGE").await;
    deaf.register("STATUS_CHANGE").await;
    client.run("CREATE TABLE ks.t (a int PRIMARY KEY)").await;
    let event = listener.next().await.unwrap();
    assert_eq!((event.opcode, event.stream), (Opcode::Event, -1));
    assert!(words(&event).contains("TABLE"), "{}", words(&event));
    deaf.run("SELECT key FROM system.local").await;
}

#[tokio::test]
async fn requests_past_the_bound_of_a_connection_wait_for_their_turn() {
    let world = World::start(|config| config.connection_requests_max = 1).await;
    let mut client = world.client().await;
    client.run(KEYSPACE).await;
    for stream in 1..6 {
        client
            .query(
                stream,
                &format!("CREATE TABLE ks.t{stream} (a int PRIMARY KEY)"),
            )
            .await;
    }
    for stream in 1..6 {
        let answer = client.next().await.unwrap();
        assert_eq!((answer.opcode, answer.stream), (Opcode::Result, stream));
    }
}

#[tokio::test]
async fn a_client_that_asks_for_it_is_told_overloaded_past_the_bound() {
    let world = World::start(|config| config.connection_requests_max = 1).await;
    let mut client = world.socket().await;
    client.startup(&[("THROW_ON_OVERLOAD", "1")]).await;
    client.run(KEYSPACE).await;
    let mut both = BytesMut::new();
    for stream in 1..3 {
        let text = format!("CREATE TABLE ks.t{stream} (a int PRIMARY KEY)");
        both.put_slice(&[4, 0, 0, stream, Opcode::Query as u8]);
        both.put_u32(text.len() as u32 + 7);
        put_long_string(&mut both, &text);
        both.put_slice(&[0, 1, 0]);
    }
    client.socket.write_all(&both).await.unwrap();
    let refused = client.next().await.unwrap();
    assert_eq!((code(&refused), refused.stream), (OVERLOADED, 2));
    assert_eq!(client.next().await.unwrap().opcode, Opcode::Result);
}

#[tokio::test]
async fn requests_past_what_the_server_may_hold_are_told_overloaded_and_none_is_held_afterwards() {
    // An eighth of it is for requests.
    let world = World::start(|config| config.memory_bytes = 8 << 20).await;
    let mut small = world.client().await;
    let mut large = world.client().await;
    large
        .socket
        .write_all(&[4, 0, 0, 1, Opcode::Query as u8, 0, 0x40, 0, 0])
        .await
        .unwrap();
    large.socket.write_all(&vec![b' '; 2 << 20]).await.unwrap();
    assert_eq!(code(&large.next().await.unwrap()), OVERLOADED);
    drop(large);
    while world.server.database().in_flight.bytes() > 0 {
        tokio::task::yield_now().await;
    }
    small.run("SELECT key FROM system.local").await;
}

#[tokio::test]
async fn a_slow_reader_holds_nobody_up() {
    let world = World::start(|_| {}).await;
    let mut client = world.client().await;
    client.run(KEYSPACE).await;
    client
        .run("CREATE TABLE ks.t (a int PRIMARY KEY, b text)")
        .await;
    let text = "x".repeat(256 << 10);
    client
        .run(&format!("INSERT INTO ks.t (a, b) VALUES (1, '{text}')"))
        .await;
    let mut slow = world.client().await;
    for stream in 0..500 {
        slow.query(stream, "SELECT * FROM ks.t").await;
        slow.query(
            stream + 1000,
            &format!("UPDATE ks.t SET b = '{stream}' WHERE a = 2 IF b = 'none'"),
        )
        .await;
        if stream == 100 {
            break;
        }
    }
    client
        .run("INSERT INTO ks.t (a, b) VALUES (2, 'y') IF NOT EXISTS")
        .await;
    assert!(world.server.database().in_flight.bytes() < 8 << 20);
    // It reads after all, and nothing was lost.
    let mut answers = 0;
    while answers < 202 {
        assert_eq!(slow.next().await.unwrap().opcode, Opcode::Result);
        answers += 1;
    }
}

#[tokio::test]
async fn clients_that_leave_in_the_middle_leave_nothing_behind() {
    let world = World::start(|_| {}).await;
    for cut in [1, 5, 8, 9, 12, 20] {
        let mut client = world.client().await;
        let mut bytes = vec![4, 0, 0, 1, Opcode::Query as u8, 0, 0, 1, 0];
        bytes.resize(20, b' ');
        client.socket.write_all(&bytes[..cut]).await.unwrap();
        drop(client);
    }
    for _ in 0..20 {
        let mut client = world.client().await;
        client.query(1, "SELECT * FROM system.local").await;
        drop(client);
    }
    world
        .client()
        .await
        .run("SELECT key FROM system.local")
        .await;
    while world.server.database().in_flight.bytes() > 0 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test]
async fn nonsense_gets_a_last_word_and_the_end() {
    let world = World::start(|_| {}).await;
    let mut client = world.socket().await;
    client
        .socket
        .write_all(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        .await
        .unwrap();
    assert_eq!(client.next().await.unwrap().opcode, Opcode::Error);
    assert!(client.next().await.is_none());
}

#[tokio::test]
async fn a_server_stops_while_clients_are_connected_and_while_one_does_not_read() {
    let world = World::start(|_| {}).await;
    let idle = world.client().await;
    let mut busy = world.client().await;
    for stream in 0..2_000 {
        busy.query(stream, "SELECT * FROM system_schema.columns")
            .await;
    }
    world.server.stop().await.unwrap();
    drop(idle);
}

#[tokio::test]
async fn a_second_server_on_the_same_folder_is_refused_and_the_folder_is_free_afterwards() {
    let folder = tempfile::tempdir().unwrap();
    let start = || Server::start(config(folder.path()), Arc::new(RealEnv::default()));
    let server = start().await.unwrap();
    let refusal = start().await.err().expect("two servers on one folder");
    assert!(refusal.contains("in use"), "{refusal}");
    server.stop().await.unwrap();
}

#[tokio::test]
async fn an_older_copy_of_the_keyring_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let start = || Server::start(config(folder.path()), Arc::new(RealEnv::default()));
    let path = folder.path().join("keyring");
    let server = start().await.unwrap();
    let older = std::fs::read(&path).unwrap();
    let keyring = palladium_crypto::Keyring::open(&path).unwrap();
    keyring.key_create("owner").unwrap();
    // Running, it sees the newer one, and then that it went back.
    let keys = &server.database().keys;
    let owner = palladium_crypto::CmkRef::local("owner").unwrap();
    let table = palladium_crypto::TableId([7; 16]);
    keys.generate("ks", "t", table, &owner, &palladium::audit::Asker::server())
        .await
        .map(drop)
        .unwrap();
    let newer = std::fs::read(&path).unwrap();
    std::fs::write(&path, &older).unwrap();
    let default = palladium_crypto::CmkRef::parse("default").unwrap();
    let error = keys
        .generate(
            "ks",
            "t",
            table,
            &default,
            &palladium::audit::Asker::server(),
        )
        .await
        .err()
        .unwrap();
    assert!(
        error.message.contains("older copy of the keyring"),
        "{error}"
    );
    std::fs::write(&path, &newer).unwrap();
    server.stop().await.unwrap();
    std::fs::write(&path, &older).unwrap();
    let refusal = start().await.err().expect("an older keyring was taken");
    assert!(refusal.contains("older copy of the keyring"), "{refusal}");
    std::fs::write(&path, &newer).unwrap();
    start().await.unwrap().stop().await.unwrap();
}

/// As a crash between the first commit and the first note of it would leave it.
#[tokio::test]
async fn a_first_start_writes_its_anchor_before_any_data() {
    let folder = tempfile::tempdir().unwrap();
    let start = || Server::start(config(folder.path()), Arc::new(RealEnv::default()));
    let server = start().await.unwrap();
    let (data, keyring) = (folder.path().join("data"), folder.path().join("keyring"));
    server.stop().await.unwrap();
    // Data without its anchor is refused, an empty folder makes its own.
    std::fs::remove_file(folder.path().join("keyring.anchor")).unwrap();
    let refusal = start().await.err().expect("data without its anchor");
    assert!(refusal.contains("there is no anchor"), "{refusal}");
    assert!(refusal.contains("palladium accept-rollback"), "{refusal}");
    std::fs::remove_dir_all(&data).unwrap();
    start().await.unwrap().stop().await.unwrap();
    assert!(keyring.exists());
}

#[tokio::test]
async fn an_older_folder_is_refused_however_often_it_is_tried() {
    let folder = tempfile::tempdir().unwrap();
    let start = || Server::start(config(folder.path()), Arc::new(RealEnv::default()));
    let (data, older) = (folder.path().join("data"), folder.path().join("older"));
    start().await.unwrap().stop().await.unwrap();
    copy(&data, &older);
    for _ in 0..2 {
        start().await.unwrap().stop().await.unwrap();
    }
    std::fs::remove_dir_all(&data).unwrap();
    copy(&older, &data);
    for _ in 0..8 {
        let refusal = start().await.err().expect("an older folder was taken");
        assert!(refusal.contains("an older copy was put back"), "{refusal}");
    }
}

fn copy(source: &Path, target: &Path) {
    std::fs::create_dir_all(target).unwrap();
    for entry in std::fs::read_dir(source).unwrap() {
        let entry = entry.unwrap();
        let target = target.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy(&entry.path(), &target),
            false => drop(std::fs::copy(entry.path(), target).unwrap()),
        }
    }
}

#[tokio::test]
async fn a_second_folder_does_not_take_the_anchor_of_the_first() {
    let folder = tempfile::tempdir().unwrap();
    let start = |data: &str| {
        let mut config = config(folder.path());
        config.data = folder.path().join(data);
        Server::start(config, Arc::new(RealEnv::default()))
    };
    start("data").await.unwrap().stop().await.unwrap();
    let refusal = start("other")
        .await
        .err()
        .expect("the anchor of another folder was taken");
    assert!(
        refusal.contains("belongs to another data folder"),
        "{refusal}"
    );
    start("data").await.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn a_keyring_inside_the_data_folder_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let mut config = config(folder.path());
    config.keyring = config.data.join("keyring");
    let refusal = Server::start(config, Arc::new(RealEnv::default()))
        .await
        .err()
        .expect("the keyring was taken");
    assert!(refusal.contains("lies in the data folder"), "{refusal}");
}
