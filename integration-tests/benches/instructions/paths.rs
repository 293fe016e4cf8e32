//! The paths that are measured, each from a request's bytes to its answer's, in a server without sockets.
//!
//! What a connection does is done here in its order: bytes to the decoder, a frame, a request, `query::begin`, the engine's ticket, the answer's bytes. Each
//! path is one function whose name begins with `measured_`, which callgrind is told by; what must be there before is done outside of it. Each says something of its
//! own: the linker makes one of two that do the same.

use std::hint::black_box;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::Arc;

use bytes::{BufMut, BytesMut};
use palladium::config::Config;
use palladium::database::Database;
use palladium::env::RealEnv;
use palladium::query::{self, Outcome, Response};
use palladium::server::Server;
use palladium::session::Session;
use palladium_integration_tests::bench::request::{put_blob, put_int};
use palladium_integration_tests::bench::workloads::standard;
use palladium_integration_tests::raw::{opcode, put_frame};
use palladium_protocol::limits::FrameLimits;
use palladium_protocol::request::Request;
use palladium_protocol::wire::{Decoder, Encoder, Version};
use tokio::runtime::Runtime;

/// Requests that one read of a socket brings.
const BATCH: u64 = 64;
const BATCHES: u64 = 16;
const REQUESTS: u64 = BATCH * BATCHES;

/// Rows of a partition that is read in slices.
const PARTITION_ROWS: u64 = REQUESTS / 4;
const SLICE_ROWS: u64 = 100;

/// Each path and the operations in it; `measured_NAME` is its function.
pub const ALL: [(&str, u64); 8] = [
    ("frame_decode", REQUESTS),
    ("prepared_write", REQUESTS),
    ("logged_batch_of_10", REQUESTS),
    ("read_memtable", REQUESTS),
    ("read_cached_block", REQUESTS),
    ("read_missing_key", REQUESTS),
    ("slice_of_100", REQUESTS),
    ("scan_of_1024", BATCHES),
];

const INSERT: &str =
    "INSERT INTO bench.standard (key, c0, c1, c2, c3, c4) VALUES (?, ?, ?, ?, ?, ?)";
const SELECT: &str = "SELECT c0, c1, c2, c3, c4 FROM bench.standard WHERE key = ?";

const CREATE_ROWS: &str = "CREATE TABLE bench.rows (key blob, c int, v blob, PRIMARY KEY (key, c))";
const INSERT_ROW: &str = "INSERT INTO bench.rows (key, c, v) VALUES (?, ?, ?)";
const SLICE: &str = "SELECT c, v FROM bench.rows WHERE key = ? AND c >= ? LIMIT 100";
const BATCH_STATEMENTS: u64 = 10;

const SCAN: &str = "SELECT key, c, v FROM bench.rows";

/// Runs all paths, in a state in which a busy server has them.
pub fn run_all() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let server = runtime
        .block_on(Server::start(
            config(folder.path()),
            Arc::new(RealEnv::default()),
        ))
        .expect("the server starts");
    let mut desk = Desk::new(&runtime, server.database().clone());
    for statement in standard::create() {
        desk.query(&statement);
    }
    let (insert, select) = (desk.prepare(INSERT), desk.prepare(SELECT));
    let writes = requests(&insert, BATCH, 6, standard::put_whole_row);
    let reads = requests(&select, BATCH, 1, standard::put_key);
    let misses = requests(&select, BATCH, 1, |body, index| {
        standard::put_key(body, REQUESTS + index);
    });

    measured_frame_decode(&mut desk, &reads);
    // Written twice: the second time, rows and buffers are there.
    desk.write_all(&writes);
    measured_prepared_write(&mut desk, &writes);
    let batches = logged_batches(&insert);
    desk.write_all(&batches);
    measured_logged_batch_of_10(&mut desk, &batches);
    measured_read_memtable(&mut desk, &reads);
    desk.flush("standard");
    // The first reads bring the blocks into the cache.
    desk.serve_all(&reads);
    measured_read_cached_block(&mut desk, &reads);
    measured_read_missing_key(&mut desk, &misses);

    desk.query(CREATE_ROWS);
    let (insert, slice, scan) = (
        desk.prepare(INSERT_ROW),
        desk.prepare(SLICE),
        desk.prepare(SCAN),
    );
    desk.write_all(&requests(&insert, BATCH, 3, put_row));
    desk.flush("rows");
    let slices = requests(&slice, BATCH, 2, |body, index| {
        standard::put_key(body, index / PARTITION_ROWS);
        put_int(body, (index % (PARTITION_ROWS - SLICE_ROWS)) as i32);
    });
    let scans = requests(&scan, 1, 0, |_, _| {});
    desk.serve_all(&scans);
    measured_slice_of_100(&mut desk, &slices);
    measured_scan_of_1024(&mut desk, &scans);
    runtime.block_on(server.stop()).expect("a clean stop");
}

fn config(folder: &Path) -> Config {
    Config {
        data: folder.join("data"),
        keyring: folder.join("keyring"),
        listen: (Ipv4Addr::LOCALHOST, 0).into(),
        memory_bytes: 256 << 20,
        ..Config::default()
    }
}

/// Values of a row of partitions that are read in slices.
fn put_row(body: &mut BytesMut, index: u64) {
    standard::put_key(body, index / PARTITION_ROWS);
    put_int(body, (index % PARTITION_ROWS) as i32);
    put_blob(body, &[index as u8; 100]);
}

/// Bytes of EXECUTE frames, a batch of so many at a time.
fn requests(id: &[u8], batch_of: u64, values: u16, put: fn(&mut BytesMut, u64)) -> Vec<Vec<u8>> {
    (0..BATCHES)
        .map(|batch| {
            let mut bytes = BytesMut::new();
            for index in 0..batch_of {
                put_frame(&mut bytes, index as i16, opcode::EXECUTE, |body| {
                    body.put_u16(id.len() as u16);
                    body.put_slice(id);
                    // Consistency ONE; values follow, no metadata wanted.
                    body.put_u16(1);
                    body.put_u8(0x03);
                    body.put_u16(values);
                    put(body, batch * batch_of + index);
                });
            }
            bytes.to_vec()
        })
        .collect()
}

/// Bytes of BATCH frames of ten whole rows each, rows that are there.
fn logged_batches(id: &[u8]) -> Vec<Vec<u8>> {
    (0..BATCHES)
        .map(|batch| {
            let mut bytes = BytesMut::new();
            for index in 0..BATCH {
                put_frame(&mut bytes, index as i16, opcode::BATCH, |body| {
                    body.put_u8(0);
                    body.put_u16(BATCH_STATEMENTS as u16);
                    for row in 0..BATCH_STATEMENTS {
                        body.put_u8(1);
                        body.put_u16(id.len() as u16);
                        body.put_slice(id);
                        body.put_u16(6);
                        standard::put_whole_row(body, (batch * BATCH + index + row) % REQUESTS);
                    }
                    // Consistency ONE; nothing else is said.
                    body.put_u16(1);
                    body.put_u8(0);
                });
            }
            bytes.to_vec()
        })
        .collect()
}

/// What a connection has.
struct Desk<'a> {
    runtime: &'a Runtime,
    database: Arc<Database>,
    session: Session,
    decoder: Decoder,
    encoder: Encoder,
    out: BytesMut,
}

impl<'a> Desk<'a> {
    fn new(runtime: &'a Runtime, database: Arc<Database>) -> Desk<'a> {
        let mut session = Session::new((Ipv4Addr::LOCALHOST, 1).into());
        session.start(Version::V4);
        let mut decoder = Decoder::new(FrameLimits::default());
        decoder.settle_version(Version::V4);
        Desk {
            runtime,
            database,
            session,
            decoder,
            encoder: Encoder::new(),
            out: BytesMut::new(),
        }
    }

    fn query(&mut self, text: &str) -> Response {
        self.ask(opcode::QUERY, |body| {
            body.put_u32(text.len() as u32);
            body.put_slice(text.as_bytes());
            body.put_u16(1);
            body.put_u8(0);
        })
    }

    fn flush(&mut self, table: &str) {
        self.query(&format!("INSERT INTO system_palladium.maintenance (operation, keyspace_name, table_name) VALUES ('flush', 'bench', '{table}')"));
    }

    fn prepare(&mut self, text: &str) -> Vec<u8> {
        let answer = self.ask(opcode::PREPARE, |body| {
            body.put_u32(text.len() as u32);
            body.put_slice(text.as_bytes());
        });
        match answer {
            Response::Prepared(statement) => statement.id.to_vec(),
            other => panic!("{text}: {other:?}"),
        }
    }

    fn ask(&mut self, opcode: u8, body: impl FnOnce(&mut BytesMut)) -> Response {
        let mut bytes = BytesMut::new();
        put_frame(&mut bytes, 0, opcode, body);
        self.decoder.feed(&bytes);
        let frame = self.decoder.next_frame().expect("a frame").expect("whole");
        let request = Request::decode(&frame).expect("a request");
        // A statement about the schema begins a task.
        let inside = self.runtime.enter();
        let outcome = query::begin(&self.database, &mut self.session, &frame, &request);
        drop(inside);
        let answer = match outcome {
            Outcome::Ready(answer) => answer,
            Outcome::Write { write, done, .. } => {
                let results = self
                    .runtime
                    .block_on(self.database.engine.write(vec![write]));
                assert!(results.iter().all(Result::is_ok), "{results:?}");
                done
            }
            Outcome::Later(answer) => self.runtime.block_on(answer),
        };
        assert!(!matches!(answer, Response::Error(_)), "{answer:?}");
        answer
    }

    /// Begins what a read has brought, as a connection does; gives the number of answers that were ready at once.
    fn serve(&mut self, bytes: &[u8]) -> u64 {
        let (mut writes, mut waiting, mut ready) = (Vec::new(), Vec::new(), 0);
        self.decoder.feed(bytes);
        while let Some(frame) = self.decoder.next_frame().expect("whole frames") {
            let request = Request::decode(&frame).expect("a request");
            match query::begin(&self.database, &mut self.session, &frame, &request) {
                Outcome::Ready(answer) => {
                    ready += 1;
                    self.answer(frame.stream, &answer);
                }
                Outcome::Write { write, done, .. } => {
                    assert!(self.database.keys_at_hand(&write), "the table is open");
                    writes.push(write);
                    waiting.push((frame.stream, done));
                }
                Outcome::Later(answer) => {
                    let answer = self.runtime.block_on(answer);
                    self.answer(frame.stream, &answer);
                }
            }
        }
        if !writes.is_empty() {
            let results = self.runtime.block_on(self.database.engine.write(writes));
            for ((stream, answer), result) in waiting.iter().zip(results) {
                result.expect("a write");
                self.answer(*stream, answer);
            }
        }
        self.encoder.flush(&mut self.out);
        black_box(&self.out);
        self.out.clear();
        ready
    }

    fn answer(&mut self, stream: i16, answer: &Response) {
        assert!(!matches!(answer, Response::Error(_)), "{answer:?}");
        answer.encode(&mut self.encoder, &mut self.out, Version::V4, stream);
    }

    /// Gives how many answers were not ready at once.
    fn write_all(&mut self, batches: &[Vec<u8>]) -> u64 {
        REQUESTS - self.serve_all(batches)
    }

    /// Gives how many answers were ready at once.
    fn serve_all(&mut self, batches: &[Vec<u8>]) -> u64 {
        batches.iter().map(|batch| self.serve(batch)).sum()
    }
}

#[inline(never)]
fn measured_frame_decode(desk: &mut Desk<'_>, batches: &[Vec<u8>]) {
    for batch in batches {
        desk.decoder.feed(batch);
        while let Some(frame) = desk.decoder.next_frame().expect("whole frames") {
            black_box(Request::decode(&frame).expect("a request"));
        }
    }
}

#[inline(never)]
fn measured_prepared_write(desk: &mut Desk<'_>, batches: &[Vec<u8>]) {
    let written = desk.write_all(batches);
    assert_eq!(written, REQUESTS, "a write goes to the log");
}

#[inline(never)]
fn measured_logged_batch_of_10(desk: &mut Desk<'_>, batches: &[Vec<u8>]) {
    let written = desk.write_all(batches);
    assert_eq!(written, REQUESTS, "a batch goes to the log");
}

#[inline(never)]
fn measured_read_memtable(desk: &mut Desk<'_>, batches: &[Vec<u8>]) {
    let ready = desk.serve_all(batches);
    assert_eq!(ready, REQUESTS, "a memtable's rows are at hand");
}

#[inline(never)]
fn measured_read_cached_block(desk: &mut Desk<'_>, batches: &[Vec<u8>]) {
    let ready = desk.serve_all(batches);
    assert_eq!(ready, REQUESTS, "cached blocks are at hand");
}

#[inline(never)]
fn measured_read_missing_key(desk: &mut Desk<'_>, batches: &[Vec<u8>]) {
    let ready = desk.serve_all(batches);
    assert_eq!(ready, REQUESTS, "filters are at hand");
}

#[inline(never)]
fn measured_slice_of_100(desk: &mut Desk<'_>, batches: &[Vec<u8>]) {
    let ready = desk.serve_all(batches);
    assert_eq!(ready, REQUESTS, "slices of cached blocks are at hand");
}

#[inline(never)]
fn measured_scan_of_1024(desk: &mut Desk<'_>, batches: &[Vec<u8>]) {
    let ready = desk.serve_all(batches);
    assert_eq!(ready, BATCHES, "what a scan reads is cached, too");
}
