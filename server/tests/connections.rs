//! Connections to a server in this process: bounds, slow readers, clients that leave in the middle, and the end.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::{BufMut, BytesMut};
use palladium::config::{Authenticator, Authorizer, Config, GivenPassword};
use palladium::env::RealEnv;
use palladium::server::Server;
use palladium_protocol::limits::FrameLimits;
use palladium_protocol::wire::primitive::{put_long_string, put_string};
use palladium_protocol::wire::segment::SegmentFormat;
use palladium_protocol::wire::{Decoder, Encoder, Extras, Frame, Opcode, Version};
use palladium_storage::Env;
use palladium_storage::env::BoxFuture;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

const OVERLOADED: i32 = 0x1001;
const UNAUTHORIZED: i32 = 0x2100;

/// How long a test waits for what goes on beside it.
const PATIENCE: Duration = Duration::from_secs(60);
/// From one look at it to the next.
const PAUSE: Duration = Duration::from_millis(5);

/// The real world, but for clocks that the test moves ahead.
#[derive(Default)]
struct AheadEnv {
    real: RealEnv,
    seconds: AtomicU64,
}

impl AheadEnv {
    fn advance(&self, seconds: u64) {
        self.seconds.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Env for AheadEnv {
    fn wall_micros(&self) -> i64 {
        self.real.wall_micros() + self.seconds.load(Ordering::SeqCst) as i64 * 1_000_000
    }
    fn boot_nanos(&self) -> u64 {
        self.real.boot_nanos() + self.seconds.load(Ordering::SeqCst) * 1_000_000_000
    }
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        self.real.spawn(task);
    }
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        self.real.sleep(duration)
    }
    fn entropy(&self) -> &dyn palladium_crypto::Entropy {
        self.real.entropy()
    }
}

struct World {
    env: Arc<AheadEnv>,
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
        let env = Arc::new(AheadEnv::default());
        let server = Server::start(config, env.clone()).await.unwrap();
        World {
            env,
            server,
            _folder: folder,
        }
    }

    /// A client that asks and does not read, and whose socket takes in little.
    async fn deaf(&self) -> Client {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4 << 10).unwrap();
        let mut client = Client {
            socket: socket.connect(self.server.address()).await.unwrap(),
            decoder: Decoder::of_responses(FrameLimits::default()),
        };
        client.startup(&[]).await;
        client
    }

    /// Bytes that connections hold.
    fn held(&self) -> usize {
        self.server.database().in_flight.bytes()
    }

    /// Connections that are open.
    fn connections(&self) -> usize {
        self.server.database().clients.connections().0
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

    /// STARTUP and a password, whose answer is not waited for.
    async fn ask_to_log_in(&mut self, password: &str) {
        let mut body = BytesMut::new();
        body.put_u16(1);
        put_string(&mut body, "CQL_VERSION");
        put_string(&mut body, "3.0.0");
        self.send(0, Opcode::Startup, &body).await;
        assert_eq!(self.next().await.unwrap().opcode, Opcode::Authenticate);
        let token = format!("\0cassandra\0{password}");
        let mut body = BytesMut::new();
        put_long_string(&mut body, &token);
        self.send(0, Opcode::AuthResponse, &body).await;
    }

    async fn query(&mut self, stream: i16, text: &str) {
        let mut body = BytesMut::new();
        put_long_string(&mut body, text);
        body.put_u16(1);
        body.put_u8(0);
        self.send(stream, Opcode::Query, &body).await;
    }

    /// Asks and waits for a refusal.
    async fn refused(&mut self, text: &str) -> i32 {
        self.query(0, text).await;
        code(&self.next().await.unwrap())
    }

    /// Asks and waits.
    async fn run(&mut self, text: &str) {
        self.query(0, text).await;
        let answer = self.next().await.unwrap();
        assert_eq!(answer.opcode, Opcode::Result, "{text}: {}", words(&answer));
    }

    /// Asks in version 5, and waits.
    async fn ask_in_five(&mut self, encoder: &mut Encoder, opcode: Opcode, body: &[u8]) -> Frame {
        let mut out = BytesMut::new();
        let put = |out: &mut BytesMut| out.put_slice(body);
        encoder.envelope(&mut out, Version::V5, 0, opcode, &Extras::NONE, put);
        encoder.flush(&mut out);
        self.socket.write_all(&out).await.unwrap();
        self.next().await.unwrap()
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

/// Waits until something is so.
async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let began = Instant::now();
    while !is_so() {
        assert!(began.elapsed() < PATIENCE, "waited in vain until {what}");
        tokio::time::sleep(PAUSE).await;
    }
}

/// Eight rows that make two MiB.
async fn fill(client: &mut Client, table: &str) {
    let text = "x".repeat(256 << 10);
    for row in 0..8 {
        client
            .run(&format!(
                "INSERT INTO {table} (a, b) VALUES ({row}, '{text}')"
            ))
            .await;
    }
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
async fn a_keyspace_that_a_request_names_has_to_be_there_whether_anything_is_sought_in_it_or_not() {
    let world = World::start(|_| {}).await;
    let mut client = world.client().await;
    client.run(KEYSPACE).await;
    client.run("CREATE TABLE ks.t (k int PRIMARY KEY)").await;
    let (mut client, mut encoder) = (world.socket().await, Encoder::new());
    let mut startup = BytesMut::new();
    startup.put_u16(1);
    put_string(&mut startup, "CQL_VERSION");
    put_string(&mut startup, "3.0.0");
    let answer = client.ask_in_five(&mut encoder, Opcode::Startup, &startup);
    assert_eq!(answer.await.opcode, Opcode::Ready);
    client.decoder.use_segments(SegmentFormat::Plain);
    encoder.use_segments(SegmentFormat::Plain);
    for (keyspace, text) in [
        ("ks", "INSERT INTO t (k) VALUES (1)"),
        ("ks", "INSERT INTO ks.t (k) VALUES (1)"),
        ("nowhere", "INSERT INTO t (k) VALUES (1)"),
        ("nowhere", "INSERT INTO ks.t (k) VALUES (1)"),
        ("", "INSERT INTO ks.t (k) VALUES (1)"),
    ] {
        let statement = |body: &mut BytesMut| put_long_string(body, text);
        let (mut query, mut prepare, mut batch) =
            (BytesMut::new(), BytesMut::new(), BytesMut::new());
        statement(&mut query);
        query.put_u16(1);
        query.put_u32(0x80);
        put_string(&mut query, keyspace);
        statement(&mut prepare);
        prepare.put_u32(0x01);
        put_string(&mut prepare, keyspace);
        batch.put_slice(&[0, 0, 1, 0]);
        statement(&mut batch);
        batch.put_slice(&[0, 0, 0, 1]);
        batch.put_u32(0x80);
        put_string(&mut batch, keyspace);
        for (opcode, body) in [
            (Opcode::Query, query),
            (Opcode::Prepare, prepare),
            (Opcode::Batch, batch),
        ] {
            let answer = client.ask_in_five(&mut encoder, opcode, &body).await;
            if keyspace == "ks" {
                assert_eq!(answer.opcode, Opcode::Result, "{}", words(&answer));
            } else {
                let wanted = format!("Keyspace '{keyspace}' does not exist");
                assert!(words(&answer).contains(&wanted), "{}", words(&answer));
            }
        }
    }
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
async fn requests_that_came_in_part_hold_no_more_together_than_the_server_may_hold() {
    const PART: usize = 40 << 10;
    let world = World::start(|config| config.memory_bytes = 8 << 20).await;
    let mut crowd = Vec::new();
    for _ in 0..100 {
        let mut client = world.client().await;
        let head = [4, 0, 0, 1, Opcode::Query as u8, 0, 1, 0, 0];
        let part = [&head[..], &vec![b' '; PART - head.len()]].concat();
        client.socket.write_all(&part).await.unwrap();
        crowd.push(client);
    }
    until("each is waited for or refused", || {
        world.held() == world.connections() * PART
    })
    .await;
    assert!(world.held() <= world.server.database().config.request_bytes_max());
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
async fn clients_that_do_not_read_take_nothing_from_who_holds_little_and_are_closed() {
    let world = World::start(|_| {}).await;
    let crowded_at = world.server.database().config.request_bytes_max() / 4 * 3;
    let mut client = world.client().await;
    client.run(KEYSPACE).await;
    client
        .run("CREATE TABLE ks.t (a int PRIMARY KEY, b text)")
        .await;
    fill(&mut client, "ks.t").await;
    let mut deaf = Vec::new();
    for _ in 0..16 {
        deaf.push(world.deaf().await);
    }
    // What was refused while others gathered is asked for once more.
    let began = Instant::now();
    while world.held() <= crowded_at {
        assert!(began.elapsed() < PATIENCE, "{} bytes", world.held());
        for client in &mut deaf {
            client.query(1, "SELECT * FROM ks.t").await;
        }
        tokio::time::sleep(PAUSE).await;
    }
    client
        .run("INSERT INTO ks.t (a, b) VALUES (100, 'little')")
        .await;
    client.run("SELECT b FROM ks.t WHERE a = 100").await;
    assert_eq!(client.refused("SELECT * FROM ks.t").await, OVERLOADED);
    assert!(world.held() > crowded_at, "nobody has read anything");
    world.env.advance(31);
    until("who does not read is closed", || world.held() <= crowded_at).await;
    client.run("SELECT * FROM ks.t").await;
    drop(deaf);
}

#[tokio::test]
async fn a_client_that_never_reads_is_closed_in_the_end_though_there_is_room() {
    let world = World::start(|_| {}).await;
    let mut deaf = world.deaf().await;
    for stream in 0..2_000 {
        deaf.query(stream, "SELECT * FROM system_schema.columns")
            .await;
    }
    // It has come to the end of what its socket takes, at one time or another.
    until("it is closed", || {
        world.env.advance(301);
        world.connections() == 0
    })
    .await;
    assert_eq!(world.held(), 0);
}

/// It is not silence that counts, but what comes.
#[tokio::test]
async fn a_request_whose_rest_does_not_come_or_comes_byte_by_byte_is_not_waited_for_without_an_end()
{
    let world = World::start(|_| {}).await;
    for trickles in [false, true] {
        let mut client = world.client().await;
        let head = [4, 0, 0, 1, Opcode::Query as u8, 0, 0x10, 0, 0];
        client.socket.write_all(&head).await.unwrap();
        let began = Instant::now();
        while world.connections() > 0 {
            assert!(began.elapsed() < PATIENCE, "it is waited for: {trickles}");
            world.env.advance(10);
            if trickles {
                // Once it is closed there is nobody to write to.
                let _ = client.socket.write_all(b" ").await;
            }
            tokio::time::sleep(PAUSE).await;
        }
    }
    assert_eq!(world.held(), 0);
}

#[tokio::test]
async fn a_connection_gives_its_buffers_up_while_a_request_is_under_way_and_again_after_its_answer()
{
    let world = World::start(|_| {}).await;
    let mut client = world.client().await;
    client.run(KEYSPACE).await;
    client
        .run("CREATE TABLE ks.t (a int PRIMARY KEY, b int)")
        .await;
    let database = world.server.database();
    let catalog = database.catalog.load_full();
    let id = catalog.require_table("ks", "t").unwrap().id;
    let key = palladium::encode::key::partition_key(&[vec![0, 0, 0, 1].into()]).unwrap();
    let latch = database.engine.latch_all(&[(id, key)]).await;
    let before = database.in_flight.given_up();
    client
        .query(7, "UPDATE ks.t SET b = 1 WHERE a = 1 IF b = null")
        .await;
    let given_up = || database.in_flight.given_up();
    until("it gives its buffers up", || given_up() > before).await;
    let meanwhile = given_up();
    drop(latch);
    assert_eq!(client.next().await.unwrap().stream, 7);
    until("it gives those of the answer up", || given_up() > meanwhile).await;
}

#[tokio::test]
async fn a_client_that_hangs_up_before_its_password_was_looked_at_leaves_a_record_of_it() {
    const TRIED: usize = 4;
    let world = World::start(|config| {
        config.authenticator = Authenticator::Password;
        config.authorizer = Authorizer::Cassandra;
        config.default_superuser_password = GivenPassword::new("right");
    })
    .await;
    for _ in 0..TRIED {
        let mut client = world.socket().await;
        client.ask_to_log_in("wrong").await;
    }
    let mut client = world.socket().await;
    client.ask_to_log_in("right").await;
    assert_eq!(client.next().await.unwrap().opcode, Opcode::AuthSuccess);
    let began = Instant::now();
    loop {
        client
            .query(
                0,
                "SELECT reason FROM system_palladium.kms_calls WHERE operation = 'LOGIN' ALLOW FILTERING",
            )
            .await;
        let told = words(&client.next().await.unwrap());
        let times = |what: &str| told.matches(what).count();
        if times("Abandoned") + times("AccessDenied") == TRIED {
            break;
        }
        assert!(began.elapsed() < PATIENCE, "{told}");
        tokio::time::sleep(PAUSE).await;
    }
}

#[tokio::test]
async fn rows_that_wait_for_their_reader_keep_the_key_in_use_and_leave_no_more_once_it_is_taken_away()
 {
    const ASKED: i16 = 20;
    let world = World::start(|config| config.key_lease_s = 60).await;
    let keyring = palladium_crypto::Keyring::open(world._folder.path().join("keyring")).unwrap();
    keyring.key_create("owner").unwrap();
    let mut client = world.client().await;
    client.run(KEYSPACE).await;
    client
        .run("CREATE TABLE ks.t (a int PRIMARY KEY, b text) WITH encryption = {'kms_key': 'local:owner'}")
        .await;
    fill(&mut client, "ks.t").await;
    let mut deaf = world.deaf().await;
    for stream in 0..ASKED {
        deaf.query(stream, "SELECT * FROM ks.t").await;
    }
    let (mut before, mut looks) = (0, 0);
    until("its socket takes nothing more", || {
        looks = match world.held() == before && before > 0 {
            true => looks + 1,
            false => 0,
        };
        before = world.held();
        looks == 50
    })
    .await;
    // Nobody else uses the table. What waits is used, or its lease would end: the first renewal may be for the reads.
    let keys = &world.server.database().keys;
    let catalog = world.server.database().catalog.load_full();
    let id = catalog.require_table("ks", "t").unwrap().id;
    for _ in 0..3 {
        let lease = keys.lease(id).expect("the table is open");
        world.env.advance(43);
        until("the lease is renewed", || {
            keys.lease(id).expect("the table stays open") != lease
        })
        .await;
    }
    assert_eq!((world.held(), world.connections()), (before, 2));
    keyring.key_disable("owner").unwrap();
    world.env.advance(43);
    until("who has not read is closed", || world.connections() == 1).await;
    assert_eq!(world.held(), 0);
    assert_eq!(client.refused("SELECT * FROM ks.t").await, UNAUTHORIZED);
    // What the kernel had is all that comes.
    let mut came = Vec::new();
    let _ = deaf.socket.read_to_end(&mut came).await;
    assert!(came.len() < ASKED as usize * (2 << 20), "{}", came.len());
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

/// As many edits, or more, make an older copy no newer.
#[tokio::test]
async fn an_older_keyring_that_was_put_back_and_edited_is_refused_and_taken_when_an_operator_says_so()
 {
    let folder = tempfile::tempdir().unwrap();
    let start = || Server::start(config(folder.path()), Arc::new(RealEnv::default()));
    let path = folder.path().join("keyring");
    start().await.unwrap().stop().await.unwrap();
    let keyring = palladium_crypto::Keyring::open(&path).unwrap();
    keyring.key_create("a").unwrap();
    let older = std::fs::read(&path).unwrap();
    // Edits that no server looked at, each alone, are of the same keyring.
    keyring.key_disable("a").unwrap();
    keyring.alias_set("x", "a").unwrap();
    start().await.unwrap().stop().await.unwrap();
    let newer = std::fs::read(&path).unwrap();

    std::fs::write(&path, &older).unwrap();
    for alias in ["x", "y", "z"] {
        keyring.alias_set(alias, "a").unwrap();
        let refusal = start().await.err().expect("a disabled key came back");
        assert!(
            refusal.contains("copy of the keyring"),
            "{alias}: {refusal}"
        );
    }
    let edited = std::fs::read(&path).unwrap();
    std::fs::write(&path, &newer).unwrap();
    let server = start().await.unwrap();
    // While it runs: no key is given.
    std::fs::write(&path, &edited).unwrap();
    let keys = &server.database().keys;
    let default = palladium_crypto::CmkRef::parse("default").unwrap();
    let (table, asker) = (
        palladium_crypto::TableId([7; 16]),
        palladium::audit::Asker::server(),
    );
    let asked = keys.generate("ks", "t", table, &default, &asker).await;
    let error = asked.err().unwrap();
    assert!(error.message.contains("another copy"), "{error}");
    server.stop().await.unwrap();

    let config = config(folder.path());
    let accept = |keyring_too| {
        let config = config.clone();
        let consent = palladium::admin::accept_rollback::Consent {
            yes: true,
            keyring_too,
        };
        let accepting = std::thread::spawn(move || {
            let code = palladium::admin::accept_rollback::run(&config, consent);
            code == std::process::ExitCode::SUCCESS
        });
        accepting.join().unwrap()
    };
    assert!(!accept(false), "the keyring, too, is to be accepted");
    assert!(accept(true));
    start().await.unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn links_to_the_keyring_the_anchor_and_the_audit_head_stay_links_and_their_files_are_written()
{
    let folder = tempfile::tempdir().unwrap();
    let start = || Server::start(config(folder.path()), Arc::new(RealEnv::default()));
    start().await.unwrap().stop().await.unwrap();
    let elsewhere = folder.path().join("elsewhere");
    std::fs::create_dir(&elsewhere).unwrap();
    let names = ["keyring", "keyring.anchor", "keyring.audit-head"];
    let before = names.map(|name| {
        let (link, file) = (folder.path().join(name), elsewhere.join(name));
        std::fs::rename(&link, &file).unwrap();
        std::os::unix::fs::symlink(&file, link).unwrap();
        std::fs::read(file).unwrap()
    });
    let server = start().await.unwrap();
    let keyring = palladium_crypto::Keyring::open(folder.path().join("keyring")).unwrap();
    keyring.key_create("owner").unwrap();
    server.stop().await.unwrap();
    for (name, before) in std::iter::zip(names, before) {
        let (link, file) = (folder.path().join(name), elsewhere.join(name));
        assert_eq!(link.read_link().unwrap(), file, "{name}");
        assert_ne!(std::fs::read(&file).unwrap(), before, "{name} was written");
    }
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

#[tokio::test]
async fn a_startup_for_a_version_that_nobody_speaks_is_refused_and_another_one_is_taken() {
    let world = World::start(|_| {}).await;
    let mut client = world.socket().await;
    let refused = [
        (&[][..], "Missing value CQL_VERSION in STARTUP message"),
        (
            &[("CQL_VERSION", "2.0.0"), ("COMPRESSION", "gzip")],
            "CQL version 2.0.0 is not supported by the binary protocol (supported version are >= 3.0.0)",
        ),
        (&[("CQL_VERSION", "3")], "Invalid version value: 3"),
        (&[("CQL_VERSION", "")], "Invalid version value: "),
        (&[("CQL_VERSION", "3.0.x")], "Invalid version value: 3.0.x"),
        (
            &[("CQL_VERSION", "3.0.0-")],
            "Invalid version value: 3.0.0-",
        ),
        (
            &[("CQL_VERSION", "3.0.0"), ("COMPRESSION", "")],
            "Unknown compression algorithm: ",
        ),
    ];
    for (options, expected) in refused {
        let mut body = BytesMut::new();
        body.put_u16(options.len() as u16);
        for (name, value) in options {
            put_string(&mut body, name);
            put_string(&mut body, value);
        }
        client.send(0, Opcode::Startup, &body).await;
        let answer = client.next().await.unwrap();
        assert_eq!(code(&answer), 0x000A);
        assert!(words(&answer).ends_with(expected), "{}", words(&answer));
    }
    client.startup(&[]).await;
    client.run("SELECT key FROM system.local").await;
    for version in ["3.4.7", "3.0", "4.0.0", "3.0.0-beta1", "3.0.0.1+x"] {
        let mut client = world.socket().await;
        let mut body = BytesMut::new();
        body.put_u16(1);
        put_string(&mut body, "CQL_VERSION");
        put_string(&mut body, version);
        client.send(0, Opcode::Startup, &body).await;
        assert_eq!(
            client.next().await.unwrap().opcode,
            Opcode::Ready,
            "{version}"
        );
    }
}
