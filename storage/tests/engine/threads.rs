//! The engine under real threads and a real folder: what the simulated world, which runs one task at a time, cannot interleave.
//!
//! Every writer owns a partition and reads back what it was told is there, while others flush, merge, lock, switch and empty. Nothing here is timed; the work is
//! counted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use palladium_crypto::{Entropy, OsEntropy};
use palladium_storage::env::BoxFuture;
use palladium_storage::{
    Engine, Env, Error, LocalBackend, LocalOptions, NewTable, Options, ReadPage, Result, Write,
};

use crate::world::{id, keys_of, mutation, one, root, rows, service_ring, small};

const WRITERS: u64 = 4;
const BATCHES: u64 = 250;
const ROWS: u64 = 6;

struct TokioEnv {
    start: Instant,
    entropy: OsEntropy,
}

impl Env for TokioEnv {
    fn wall_micros(&self) -> i64 {
        let since = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        since.unwrap().as_micros() as i64
    }
    fn boot_nanos(&self) -> u64 {
        self.start.elapsed().as_nanos() as u64
    }
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }
    fn entropy(&self) -> &dyn Entropy {
        &self.entropy
    }
}

type LocalEngine = Engine<LocalBackend>;

async fn open(folder: &std::path::Path, options: Options) -> LocalEngine {
    let env = Arc::new(TokioEnv {
        start: Instant::now(),
        entropy: OsEntropy,
    });
    let backend = LocalBackend::open(folder, LocalOptions::default()).unwrap();
    Engine::open(Arc::new(backend), env, service_ring(), options)
        .await
        .unwrap()
}

async fn unlock(engine: &LocalEngine, table: u8) {
    let root = engine.root(id(table)).unwrap();
    match engine.unlock(id(table), keys_of(&root)).await {
        // Switched between the two calls; whoever switched it left it open.
        Ok(()) | Err(Error::Busy { .. }) => {}
        Err(error) => panic!("{error}"),
    }
}

async fn read(engine: &LocalEngine, key: u64) -> Result<ReadPage> {
    let command = one(0, key);
    match engine.try_read(&command) {
        Some(page) => page,
        None => engine.read(command).await,
    }
}

/// Writes a value into all rows of a partition, as often as it takes.
async fn write(engine: &LocalEngine, key: u64, value: u64, acknowledged: &AtomicU64) {
    loop {
        let timestamp = engine.next_timestamp();
        let members = (0..ROWS).map(|row| mutation(0, (key, row), value, timestamp));
        let write = Write::new(members.collect());
        match engine.write(vec![write]).await.remove(0) {
            Ok(()) => return acknowledged.store(value, Ordering::Release),
            Err(Error::KeyUnavailable { .. } | Error::Full { .. }) => {
                tokio::task::yield_now().await;
            }
            Err(other) => panic!("{other}"),
        }
    }
}

/// Writes ever larger values, and reads them back.
async fn write_and_read(engine: LocalEngine, key: u64, acknowledged: Arc<AtomicU64>) {
    for value in 1..=BATCHES {
        write(&engine, key, value, &acknowledged).await;
        match read(&engine, key).await {
            Ok(page) => {
                let expected = (0..ROWS).map(|row| ((key, row), value)).collect();
                assert_eq!(rows(page), expected);
            }
            Err(Error::KeyUnavailable { .. }) => {}
            Err(other) => panic!("{other}"),
        }
    }
}

/// Reads somebody else's partition all the time: what was acknowledged before is there, in every row.
async fn watch(
    engine: LocalEngine,
    key: u64,
    acknowledged: Arc<AtomicU64>,
    is_over: Arc<AtomicBool>,
) {
    while !is_over.load(Ordering::Acquire) {
        let least = acknowledged.load(Ordering::Acquire);
        match read(&engine, key).await {
            Ok(page) => {
                let found = rows(page);
                let is_there = |row| found.get(&(key, row)).is_some_and(|value| *value >= least);
                assert!(
                    least == 0 || (0..ROWS).all(is_there),
                    "{found:?} where {least} was"
                );
            }
            Err(Error::KeyUnavailable { .. }) => {}
            Err(other) => panic!("{other}"),
        }
        tokio::task::yield_now().await;
    }
}

/// Everything that may happen to a table meanwhile.
async fn disturb(engine: LocalEngine, acknowledged: Arc<AtomicU64>, is_over: Arc<AtomicBool>) {
    let mut round = 0;
    while !is_over.load(Ordering::Acquire) {
        round += 1;
        // A partition that nobody else writes: it is nowhere but in what is flushed and merged next.
        write(&engine, WRITERS, round, &acknowledged).await;
        let outcome = match round % 7 {
            0 => engine.compact(Some(id(0))).await,
            1 | 3 => engine.flush(Some(id(0))).await,
            2 => {
                engine.lock(id(0)).await;
                Ok(())
            }
            4 => {
                engine.sleep(id(0)).await;
                Ok(())
            }
            5 => {
                let present = engine.root(id(0)).unwrap();
                let in_use = engine.key_versions_in_use(id(0)).await;
                let older = in_use.into_iter().chain([present.version]);
                let older: Vec<u32> = older.collect();
                let (version, epoch) = (present.version + 1, present.epoch + 1);
                let next = root(0, version, &older, epoch, &OsEntropy);
                let keys = keys_of(&next);
                engine.switch_key(id(0), next, keys).await
            }
            _ => engine.truncate(id(1)).await,
        };
        match outcome {
            Ok(()) | Err(Error::KeyUnavailable { .. } | Error::Invalid { .. }) => {}
            Err(other) => panic!("round {round}: {other}"),
        }
        unlock(&engine, 0).await;
        tokio::task::yield_now().await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn writers_find_what_they_wrote_whatever_happens_to_the_table() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        memtable_flush_bytes: 64 << 10,
        log_segment_bytes: 256 << 10,
        log_bytes_max: 2 << 20,
        ..small()
    };
    let engine = open(folder.path(), options.clone()).await;
    for table in 0..2 {
        let root = root(table, 1, &[], 1, &OsEntropy);
        let new = NewTable {
            id: id(table),
            options: Default::default(),
            keys: keys_of(&root),
            root: Some(root),
        };
        engine.create_table(new).await.unwrap();
    }
    let is_over = Arc::new(AtomicBool::new(false));
    let acknowledged: Vec<Arc<AtomicU64>> = (0..=WRITERS).map(|_| Arc::default()).collect();
    let rare = acknowledged[WRITERS as usize].clone();
    let disturbing = tokio::spawn(disturb(engine.clone(), rare, is_over.clone()));
    let mut watching = Vec::new();
    let mut writing = Vec::new();
    for (key, known) in acknowledged.iter().enumerate() {
        let watcher = watch(engine.clone(), key as u64, known.clone(), is_over.clone());
        watching.push(tokio::spawn(watcher));
        if (key as u64) < WRITERS {
            let writer = write_and_read(engine.clone(), key as u64, known.clone());
            writing.push(tokio::spawn(writer));
        }
    }
    for writer in writing {
        writer.await.unwrap();
    }
    is_over.store(true, Ordering::Release);
    disturbing.await.unwrap();
    for watcher in watching {
        watcher.await.unwrap();
    }
    engine.close().await.unwrap();
    drop(engine);
    let engine = open(folder.path(), options).await;
    unlock(&engine, 0).await;
    for key in 0..WRITERS {
        let found = rows(read(&engine, key).await.unwrap());
        assert!(found.len() as u64 == ROWS && found.values().all(|value| *value == BATCHES));
    }
    engine.close().await.unwrap();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_closed_engine_leaves_its_folder_to_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let options = Options {
        log_segment_bytes: 64 << 10,
        ..small()
    };
    let root = root(0, 1, &[], 1, &OsEntropy);
    let new = NewTable {
        id: id(0),
        options: Default::default(),
        keys: keys_of(&root),
        root: Some(root),
    };
    let engine = open(folder.path(), options.clone()).await;
    engine.create_table(new).await.unwrap();
    engine.close().await.unwrap();
    drop(engine);
    for life in 1..=100 {
        // `open` panics where anything still holds the folder.
        let engine = open(folder.path(), options.clone()).await;
        unlock(&engine, 0).await;
        // Enough for the next segment to be made ready meanwhile.
        for _ in 0..40 {
            write(&engine, 0, life, &AtomicU64::new(0)).await;
        }
        engine.close().await.unwrap();
    }
}
