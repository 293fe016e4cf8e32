//! The floor: a CQL server that does only what no server can avoid, in the plain design (facts that a real one is measured against, not a database).
//!
//! tokio, a task for each connection; a sharded BTreeMap; a seal for each record; one writer thread that syncs for many connections at once, before any of
//! them is answered. It speaks protocol v4, says yes to every QUERY, and takes a prepared INSERT of key and five columns and a prepared SELECT by that key.
//! It evaluates nothing, replays nothing and forgets everything at its end. Reads of the keyspace `bench_cold` come from sealed blocks (`blocks`).
//!
//! ```text
//! socket -> frames of one read -> INSERT: seal each record -> writer thread: append, fdatasync -> map -> one write of answers
//!                              -> SELECT: map ---------------------------------------------------------^
//! ```

mod blocks;

use std::collections::BTreeMap;
use std::fs::File;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use aes_gcm::aead::{AeadInOut, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce};
use bytes::{Buf, BufMut, Bytes, BytesMut};
use clap::Parser;
use palladium_integration_tests::chance::mix;
use palladium_integration_tests::raw::{HEADER_BYTES, opcode};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;

use self::blocks::Blocks;

const SHARDS: usize = 64;
/// The log is written once in advance, and then over and over, so that a sync never waits for the file to grow.
const LOG_BYTES: u64 = 256 << 20;
const READ_BUFFER_BYTES: usize = 256 << 10;
const REQUEST_BYTES_MAX: usize = 16 << 20;
const INSERT_ID: &[u8] = b"insert";
const SELECT_ID: &[u8] = b"select";
const SELECT_COLD_ID: &[u8] = b"blocks";

/// The floor under any CQL server, for the benchmark.
#[derive(Parser)]
#[command(name = "floor", version)]
struct Arguments {
    #[arg(long, value_name = "ADDR:PORT", default_value = "127.0.0.1:9142")]
    listen: SocketAddr,
    /// Where the log goes.
    #[arg(long, value_name = "DIR", default_value = ".")]
    data: PathBuf,
}

fn main() -> io::Result<()> {
    let arguments = Arguments::parse();
    let log = preallocate(&arguments.data.join("floor.log"))?;
    let (writer, batches) = mpsc::channel();
    std::thread::spawn(move || write_log(&log, &batches));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let store = Arc::new(Store::new(writer, arguments.data.join("floor.blocks")));
        let listener = TcpListener::bind(arguments.listen).await?;
        println!("ready on {}", listener.local_addr()?);
        loop {
            let (socket, _) = listener.accept().await?;
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                if let Err(error) = serve(socket, &store).await {
                    eprintln!("a connection ended: {error}");
                }
            });
        }
    })
}

fn preallocate(path: &PathBuf) -> io::Result<File> {
    let file = File::options()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .open(path)?;
    let zeros = vec![0; 1 << 20];
    for offset in (0..LOG_BYTES).step_by(zeros.len()) {
        file.write_all_at(&zeros, offset)?;
    }
    file.sync_all()?;
    Ok(file)
}

/// Sealed records of one connection's read, and whom to tell when they are durable.
struct Batch {
    sealed: Vec<u8>,
    durable: oneshot::Sender<()>,
}

/// Takes all batches that wait, writes them as one, syncs, and tells each; the next group forms meanwhile. A failure ends the program: it would lie otherwise.
fn write_log(log: &File, batches: &mpsc::Receiver<Batch>) {
    let (mut offset, mut group, mut waiting) = (0, Vec::new(), Vec::new());
    while let Ok(first) = batches.recv() {
        for batch in std::iter::once(first).chain(batches.try_iter()) {
            group.extend_from_slice(&batch.sealed);
            waiting.push(batch.durable);
        }
        if offset + group.len() as u64 > LOG_BYTES {
            offset = 0;
        }
        log.write_all_at(&group, offset)
            .and_then(|()| log.sync_data())
            .expect("the log can be written");
        offset += group.len() as u64;
        group.clear();
        for durable in waiting.drain(..) {
            // A connection that has gone needs no answer.
            durable.send(()).ok();
        }
    }
}

type Shard = Mutex<BTreeMap<Bytes, Bytes>>;

struct Store {
    shards: Vec<Shard>,
    cipher: Aes256Gcm,
    next_nonce: AtomicU64,
    writer: mpsc::Sender<Batch>,
    /// Made at the first read that wants them, where this says.
    blocks: OnceLock<Blocks>,
    blocks_path: PathBuf,
}

impl Store {
    fn new(writer: mpsc::Sender<Batch>, blocks_path: PathBuf) -> Store {
        // The key protects nothing; it only costs what a key costs.
        let key: Vec<u8> = (0..4)
            .flat_map(|word| mix(u64::from(std::process::id()) + word).to_be_bytes())
            .collect();
        let cipher = Aes256Gcm::new_from_slice(&key).expect("32 bytes are a key");
        Store {
            shards: (0..SHARDS).map(|_| Shard::default()).collect(),
            cipher,
            next_nonce: AtomicU64::new(0),
            writer,
            blocks: OnceLock::new(),
            blocks_path,
        }
    }

    /// A row from its block. A failure to make blocks ends the program: it would measure something else.
    fn read_cold(&self, key: &[u8]) -> io::Result<Option<Bytes>> {
        let blocks = self.blocks.get_or_init(|| {
            let mut rows = Vec::new();
            for shard in &self.shards {
                let shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
                rows.extend(shard.iter().map(|(key, row)| (key.clone(), row.clone())));
            }
            rows.sort();
            Blocks::write(&self.blocks_path, rows).expect("blocks can be written")
        });
        blocks.get(key)
    }

    fn shard(&self, key: &[u8]) -> MutexGuard<'_, BTreeMap<Bytes, Bytes>> {
        let mut hasher = DefaultHasher::new();
        key.hash(&mut hasher);
        self.shards[hasher.finish() as usize % SHARDS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Appends one record, encrypted in place, with its tag.
    fn seal(&self, key: &[u8], row: &[u8], output: &mut Vec<u8>) {
        let mut nonce = [0; 12];
        nonce[4..].copy_from_slice(
            &self
                .next_nonce
                .fetch_add(1, Ordering::Relaxed)
                .to_be_bytes(),
        );
        output.extend_from_slice(&(key.len() as u32).to_be_bytes());
        output.extend_from_slice(&(row.len() as u32).to_be_bytes());
        let start = output.len();
        output.extend_from_slice(key);
        output.extend_from_slice(row);
        let nonce: Nonce<_> = nonce.into();
        let tag = self
            .cipher
            .encrypt_inout_detached(&nonce, b"", (&mut output[start..]).into())
            .expect("a record is short");
        output.extend_from_slice(&tag);
    }
}

/// An INSERT that waits for the log.
struct Pending {
    stream: i16,
    key: Bytes,
    row: Bytes,
}

async fn serve(mut socket: TcpStream, store: &Store) -> io::Result<()> {
    socket.set_nodelay(true)?;
    let mut input = BytesMut::with_capacity(READ_BUFFER_BYTES);
    let mut output = BytesMut::with_capacity(READ_BUFFER_BYTES);
    loop {
        input.reserve(READ_BUFFER_BYTES / 2);
        if socket.read_buf(&mut input).await? == 0 {
            return Ok(());
        }
        let (mut sealed, mut pending) = (Vec::new(), Vec::new());
        while let Some((stream, opcode, body)) = take_request(&mut input)? {
            match opcode {
                opcode::EXECUTE => {
                    execute(store, stream, body, &mut output, &mut sealed, &mut pending)?
                }
                opcode::STARTUP => put_answer(&mut output, stream, opcode::READY, b""),
                opcode::OPTIONS => put_answer(&mut output, stream, opcode::SUPPORTED, &[0, 0]),
                opcode::QUERY => put_answer(&mut output, stream, opcode::RESULT, &[0, 0, 0, 1]),
                opcode::PREPARE => {
                    put_answer(&mut output, stream, opcode::RESULT, &prepared(&body))
                }
                other => {
                    return Err(io::Error::other(format!(
                        "no answer to opcode {other:#04x}"
                    )));
                }
            }
        }
        if !pending.is_empty() {
            let (durable, wait) = oneshot::channel();
            store
                .writer
                .send(Batch { sealed, durable })
                .map_err(io::Error::other)?;
            wait.await.map_err(io::Error::other)?;
            for Pending { stream, key, row } in pending {
                store.shard(&key).insert(key.clone(), row);
                put_answer(&mut output, stream, opcode::RESULT, &[0, 0, 0, 1]);
            }
        }
        socket.write_all(&output).await?;
        output.clear();
    }
}

fn take_request(input: &mut BytesMut) -> io::Result<Option<(i16, u8, Bytes)>> {
    if input.len() < HEADER_BYTES {
        return Ok(None);
    }
    let length = u32::from_be_bytes(input[5..9].try_into().expect("four bytes")) as usize;
    if input[0] != 4 || length > REQUEST_BYTES_MAX {
        return Err(io::Error::other(
            "a request of protocol v4 and less than 16 MiB",
        ));
    }
    if input.len() < HEADER_BYTES + length {
        return Ok(None);
    }
    let (stream, opcode) = (i16::from_be_bytes([input[2], input[3]]), input[4]);
    input.advance(HEADER_BYTES);
    Ok(Some((stream, opcode, input.split_to(length).freeze())))
}

fn put_answer(output: &mut BytesMut, stream: i16, opcode: u8, body: &[u8]) {
    output.put_slice(&[0x84, 0]);
    output.put_i16(stream);
    output.put_u8(opcode);
    output.put_u32(body.len() as u32);
    output.put_slice(body);
}

/// A result of kind Prepared, with an id and metadata that say nothing.
fn prepared(body: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(body.get(4..).unwrap_or_default());
    let id = match text.starts_with("SELECT") {
        true if text.contains("bench_cold") => SELECT_COLD_ID,
        true => SELECT_ID,
        false => INSERT_ID,
    };
    let no_metadata = [[0; 4]; 3].concat();
    [
        &[0, 0, 0, 4, 0, id.len() as u8],
        id,
        &no_metadata,
        &[0, 0, 0, 4, 0, 0, 0, 0],
    ]
    .concat()
}

fn execute(
    store: &Store,
    stream: i16,
    mut body: Bytes,
    output: &mut BytesMut,
    sealed: &mut Vec<u8>,
    pending: &mut Vec<Pending>,
) -> io::Result<()> {
    // Id (2 + 6), consistency, flags, number of values, length of the key.
    const BEFORE_KEY: usize = 2 + INSERT_ID.len() + 2 + 1 + 2 + 4;
    let short = || io::Error::other("an EXECUTE ends too early");
    let statement = body.get(2..2 + INSERT_ID.len()).ok_or_else(short)?.to_vec();
    let length = body
        .get(BEFORE_KEY - 4..BEFORE_KEY)
        .ok_or_else(short)?
        .try_into()
        .map_or(0, u32::from_be_bytes) as usize;
    if body.len() < BEFORE_KEY + length {
        return Err(short());
    }
    body.advance(BEFORE_KEY);
    let key = body.split_to(length);
    if statement == INSERT_ID {
        // Copies, so that the map does not hold on to whole reads.
        let (key, row) = (Bytes::copy_from_slice(&key), Bytes::copy_from_slice(&body));
        store.seal(&key, &row, sealed);
        pending.push(Pending { stream, key, row });
        return Ok(());
    }
    let row = match statement == SELECT_COLD_ID {
        true => store.read_cold(&key)?,
        false => store.shard(&key).get(&key[..]).cloned(),
    };
    output.put_slice(&[0x84, 0]);
    output.put_i16(stream);
    output.put_u8(opcode::RESULT);
    output.put_u32(16 + row.as_ref().map_or(0, Bytes::len) as u32);
    // Rows, without metadata, of five columns: one or none.
    for word in [2, 4, 5, u32::from(row.is_some())] {
        output.put_u32(word);
    }
    output.put_slice(row.as_deref().unwrap_or_default());
    Ok(())
}
