//! The face of storage: open, read, write, and what owners and operators ask for.
//!
//! ```text
//! write(batch) ─► forming group ─► log loop: seal, append, sync ─► memtables ─► ticket          engine::group, engine::log_loop
//! read(command) ─► memtables and SSTables merged ─► page; a missing block is fetched, then on    engine::read
//! create, drop, truncate, switch_key, unlock, lock, sleep                                        engine::tables
//! flush, compact                                                                                 engine::rewrite, background
//! ```
//!
//! What must hold:
//! - A write is visible only after its group is durable, and is acknowledged only after it is visible.
//! - A table's key is used only behind its gate, under a living lease; what is closed is wiped.
//! - The order of durable things: SSTable, then manifest, then log released; root, then manifest, then acknowledged.

mod clock;
pub(crate) mod group;
mod log_loop;
pub(crate) mod read;
pub(crate) mod record;
pub(crate) mod rewrite;
mod tables;
mod ticket;

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex};

use palladium_crypto::{KeyRing, TableId};

use crate::backend::Backend;
use crate::background::Jobs;
use crate::cache::BlockCache;
use crate::commitlog::ShareAddress;
use crate::env::Env;
use crate::error::{Error, Result};
use crate::latch::{LatchGuard, Latches};
use crate::lease::{Lease, Reading};
use crate::manifest::Manifest;
use crate::model::PartitionKey;
use crate::options::Options;
use crate::recovery;
use crate::root::Root;
use crate::sstable::Sstable;
use crate::table::Tables;

pub use group::Write;
pub use tables::NewTable;
pub use ticket::Ticket;

pub(crate) use clock::Timestamps;
pub(crate) use group::Forming;

/// A storage engine. Clones share it.
pub struct Engine<B: Backend> {
    pub(crate) inner: Arc<Inner<B>>,
}

impl<B: Backend> Clone for Engine<B> {
    fn clone(&self) -> Self {
        Engine {
            inner: self.inner.clone(),
        }
    }
}

/// What all clones share.
pub(crate) struct Inner<B: Backend> {
    pub(crate) backend: Arc<B>,
    pub(crate) env: Arc<dyn Env>,
    pub(crate) options: Options,
    pub(crate) tables: Tables,
    pub(crate) forming: Forming,
    pub(crate) manifest: futures::lock::Mutex<Manifest<B>>,
    pub(crate) roots: Mutex<HashMap<TableId, Root>>,
    /// Where each table's log shares stand, from its floor on: what an unlock replays.
    pub(crate) shares: Mutex<HashMap<TableId, BTreeMap<u64, ShareAddress>>>,
    pub(crate) cache: Arc<BlockCache>,
    pub(crate) latches: Latches,
    pub(crate) timestamps: Timestamps,
    pub(crate) jobs: Jobs,
    /// Bytes of all memtables.
    pub(crate) memtable_bytes: AtomicUsize,
    /// Bytes of all log segments.
    pub(crate) log_bytes: AtomicU64,
    /// The manifest's newest sequence: what an anchor remembers.
    pub(crate) epoch: AtomicU64,
    /// SSTables that no version holds any more; their blobs go when the last reader has left.
    pub(crate) obsolete: Mutex<Vec<Arc<Sstable>>>,
    pub(crate) log_closed: AtomicBool,
    /// The newest group known to be durable: every manifest commit says that it knows it.
    pub(crate) durable: AtomicU64,
}

impl<B: Backend> Engine<B> {
    /// Opens what stands in the backend, or starts a new one. All tables are closed; see [`Engine::unlock`].
    pub async fn open(
        backend: Arc<B>,
        env: Arc<dyn Env>,
        service: Arc<KeyRing>,
        options: Options,
    ) -> Result<Self> {
        let (inner, log) = recovery::open(backend, env, service, options).await?;
        let inner = Arc::new(inner);
        inner.env.spawn(Box::pin(log_loop::run(inner.clone(), log)));
        inner
            .env
            .spawn(Box::pin(crate::background::run(inner.clone())));
        inner
            .env
            .spawn(Box::pin(crate::background::watermark(Arc::downgrade(
                &inner,
            ))));
        Ok(Engine { inner })
    }

    /// A timestamp that was never given before: microseconds.
    pub fn next_timestamp(&self) -> i64 {
        self.inner.timestamps.next(self.inner.env.wall_micros())
    }

    /// The wall clock in seconds, for expiry.
    pub fn now_seconds(&self) -> i64 {
        self.inner.env.wall_micros().div_euclid(1_000_000)
    }

    /// Hands a batch of writes over. Each is atomic; all share one wait and one wake-up.
    pub fn write(&self, writes: Vec<Write>) -> Ticket {
        let inner = &self.inner;
        let clock = Reading::now(&*inner.env);
        let full = inner
            .memtable_bytes
            .load(std::sync::atomic::Ordering::Relaxed)
            >= inner.options.memtable_bytes_max;
        inner.forming.submit(writes, |table| {
            if full {
                return Err(Error::Full {
                    what: "memtables are full and being flushed".into(),
                });
            }
            inner.tables.get(table)?.pass(clock)
        })
    }

    /// The latch of one partition, for who reads before writing. Held until dropped.
    pub async fn latch(&self, table: TableId, key: &PartitionKey) -> LatchGuard {
        self.latch_all(&[(table, key)]).await
    }

    /// The latches of several partitions at once, in an order in which nobody waits for somebody who waits for him.
    pub async fn latch_all(&self, partitions: &[(TableId, &PartitionKey)]) -> LatchGuard {
        self.inner.latches.acquire(partitions).await
    }

    /// Whether the table is open under a living lease: asked once before a response with its data leaves.
    pub fn lease_alive(&self, table: TableId) -> bool {
        let clock = Reading::now(&*self.inner.env);
        self.inner
            .tables
            .get(table)
            .is_ok_and(|table| table.is_open(clock))
    }

    /// The lease of an open table.
    pub fn lease(&self, table: TableId) -> Option<Lease> {
        Some(self.inner.tables.get(table).ok()?.opened()?.lease())
    }

    /// Whether the table was used since this was last asked.
    pub fn take_used(&self, table: TableId) -> bool {
        self.inner
            .tables
            .get(table)
            .is_ok_and(|table| table.take_used())
    }

    /// The newest epoch of this folder. It never goes back; an anchor outside remembers it.
    pub fn epoch(&self) -> u64 {
        self.inner.epoch.load(std::sync::atomic::Ordering::Acquire)
    }

    /// Syncs, notes the log's position, and stops. Nothing is accepted afterwards.
    pub async fn close(&self) -> Result<()> {
        let inner = &self.inner;
        inner.forming.close(Error::Closed);
        inner.jobs.close();
        while !inner.log_closed.load(std::sync::atomic::Ordering::Acquire) {
            inner.env.sleep(std::time::Duration::from_millis(1)).await;
        }
        Ok(())
    }
}
