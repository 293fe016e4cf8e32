//! The face of storage: open, read, write, and what owners and operators ask for.
//!
//! ```text
//! write(batch) ─► forming group ─► log loop: seal, append, sync ─► memtables ─► ticket          engine::group, engine::log_loop
//! read(command) ─► memtables and SSTables merged ─► page; a missing block is fetched, then on    engine::read
//! create, drop, truncate                                                                         engine::tables
//! attach, beside, detach: what others keep in memory beside a derived store                       engine::companions
//! unlock, lock, sleep, switch_key                                                                engine::keys
//! floors of the log: from where on each table needs it                                         engine::shares
//! how far the log is written, durable, and noted to be                                         engine::positions
//! memory, bound_memory: what is held, and what may be                                            engine::memory
//! flush, compact; carry what closed tables left in the log                                       engine::rewrite, compact, relog, background
//! ```
//!
//! What must hold:
//! - A write is visible only after its group is durable, and is acknowledged only after it is visible.
//! - A table's key is used only behind its gate, under a living lease; what is closed is wiped.
//! - The order of durable things: SSTable, then manifest, then log released; root, then manifest, then acknowledged.
//! - What changes a table runs to its end even if whoever asked for it has gone: half a lock or half a key switch is a state nobody has thought about.

mod activity;
mod clock;
pub(crate) mod compact;
mod companions;
pub(crate) mod group;
pub(crate) mod keys;
mod log_loop;
mod memory;
mod positions;
pub(crate) mod read;
pub(crate) mod record;
pub(crate) mod relog;
pub(crate) mod rewrite;
mod shares;
mod tables;
mod ticket;

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::Duration;

use futures::channel::oneshot;
use palladium_crypto::{KeyRing, Lineage, StructureId, TableId};

use crate::backend::Backend;
use crate::background::{Job, Jobs};
use crate::cache::BlockCache;
use crate::commitlog::ShareAddress;
use crate::compaction::{Pace, StaleRows};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::latch::{LatchGuard, Latches};
use crate::lease::{Lease, Reading};
use crate::manifest::Manifest;
use crate::model::{PartitionKey, Store};
use crate::options::{LogSync, Options};
use crate::recovery::{self, LogDamage};
use crate::root::Root;
use crate::sstable::Sstable;
use crate::table::{Table, Tables};

pub use activity::{
    CacheActivity, FinishedMerge, FlushActivity, Held, MergeActivity, QueueActivity, Tallied,
};
pub use companions::Beside;
pub use group::Write;
pub use keys::Unsettled;
pub use memory::Memory;
pub use tables::NewTable;
pub(crate) use tables::recorded;
pub use ticket::Ticket;

pub(crate) use activity::{Flush, Flushes, Latencies, Merges, Tallies};
pub(crate) use clock::Timestamps;
pub(crate) use group::Forming;
pub(crate) use positions::LogPositions;
pub(crate) use shares::{Floors, LogShares, Shares};

/// How often a closing engine looks whether everybody has finished.
const CLOSE_PAUSE: Duration = Duration::from_millis(1);

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

/// How to tell stale rows of a derived store; None for one that has none.
pub type StaleEntries = Arc<dyn Fn(TableId, Store) -> Option<StaleRows> + Send + Sync>;

/// What all clones share.
pub(crate) struct Inner<B: Backend> {
    pub(crate) backend: Arc<B>,
    pub(crate) env: Arc<dyn Env>,
    pub(crate) options: Options,
    pub(crate) tables: Tables,
    pub(crate) forming: Forming,
    pub(crate) manifest: futures::lock::Mutex<Manifest<B>>,
    pub(crate) roots: Mutex<HashMap<TableId, Root>>,
    /// What of the manifest the log's loop needs.
    pub(crate) floors: Mutex<Floors>,
    /// What an unlock replays.
    pub(crate) shares: LogShares,
    /// What the log holds of tables that the manifest does not have: such as were dropped, and such as it has lost. Nobody is said to miss one of them when roots have
    /// been swept.
    pub(crate) unclaimed: Mutex<BTreeMap<TableId, Vec<ShareAddress>>>,
    pub(crate) cache: Arc<BlockCache>,
    pub(crate) latches: Latches,
    pub(crate) timestamps: Timestamps,
    pub(crate) jobs: Jobs,
    pub(crate) merges: Merges,
    pub(crate) flushes: Flushes,
    /// What all merges together may read.
    pub(crate) pace: Arc<Pace>,
    pub(crate) tallies: Tallies,
    /// Bytes of all memtables.
    pub(crate) memtable_bytes: AtomicUsize,
    /// Past this writers are refused.
    pub(crate) memtable_bytes_max: AtomicUsize,
    /// Bytes of memtables from which on writes are refused: as above, or more while a smaller bound is on its way.
    pub(crate) refused_from: AtomicUsize,
    /// The manifest's newest sequence: what an anchor remembers.
    pub(crate) epoch: AtomicU64,
    /// The manifest's lineage: what an anchor remembers, too.
    pub(crate) lineage: Lineage,
    /// Who knows which rows of derived stores are stale.
    pub(crate) stale_entries: OnceLock<StaleEntries>,
    /// SSTables that no version holds any more; their blobs go when the last reader has left.
    pub(crate) obsolete: Mutex<Vec<Arc<Sstable>>>,
    /// Blobs that a manifest commit named whose outcome is not known. The next commit that succeeds leaves them out for good.
    pub(crate) doubtful: Mutex<Vec<StructureId>>,
    /// Held by who removes the files of what was dropped or emptied: one at a time, so that reads find threads free.
    pub(crate) removing: futures::lock::Mutex<()>,
    /// Files of what was dropped or emptied that are still to be removed.
    pub(crate) removals_waiting: Arc<AtomicUsize>,
    /// At the start neither the manifest nor the log was damaged, copies that served included.
    pub(crate) was_whole: bool,
    /// Damage in the log that stops tables, as found at the start.
    pub(crate) log_damage: Vec<LogDamage>,
    /// Groups of which a share is damaged.
    pub(crate) broken_groups: HashSet<u64>,
    /// How the log ended, once it has.
    pub(crate) log_end: OnceLock<Result<()>>,
    /// The engine has been closed by its owner.
    pub(crate) is_closed: AtomicBool,
    /// Held by each background loop and operation that has not ended; the log's loop ends after all of them.
    pub(crate) running: Arc<()>,
    /// Held by the log's loop as long as it holds the engine.
    pub(crate) logging: Arc<()>,
    /// How far the log is, as its loop said last.
    pub(crate) positions: Mutex<LogPositions>,
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
        let flushes = crate::background::run(inner.clone(), |jobs| &jobs.flushes);
        inner.hold(&inner.logging, log_loop::run(inner.clone(), log));
        inner.start(flushes);
        for _ in 0..inner.options.concurrent_compactors.max(1) {
            let compactions = crate::background::run(inner.clone(), |jobs| &jobs.compactions);
            inner.start(compactions);
        }
        let watermark = crate::background::watermark(Arc::downgrade(&inner));
        inner.env.spawn(Box::pin(watermark));
        let looks = crate::background::look_around(Arc::downgrade(&inner));
        inner.env.spawn(Box::pin(looks));
        if let LogSync::Periodic { every } = inner.options.log_sync {
            let sync = crate::background::sync(Arc::downgrade(&inner), every);
            inner.env.spawn(Box::pin(sync));
        }
        Ok(Engine { inner })
    }

    /// Merges of derived stores leave out what is stale, from now on. Asked for once in the life of an engine.
    pub fn leave_out_stale(&self, entries: StaleEntries) {
        let is_first = self.inner.stale_entries.set(entries).is_ok();
        debug_assert!(is_first, "there is one who knows");
    }

    /// A timestamp that was never given before: microseconds.
    pub fn next_timestamp(&self) -> i64 {
        self.next_timestamp_and_seconds().0
    }

    /// The same, and the wall clock in seconds, by one reading of the clock.
    pub fn next_timestamp_and_seconds(&self) -> (i64, i64) {
        let wall_micros = self.inner.env.wall_micros();
        let timestamp = self.inner.timestamps.next(wall_micros);
        (timestamp, wall_micros.div_euclid(1_000_000))
    }

    /// The wall clock in seconds, for expiry.
    pub fn now_seconds(&self) -> i64 {
        self.inner.env.wall_micros().div_euclid(1_000_000)
    }

    /// Hands a batch of writes over. Each is atomic; all share one wait and one wake-up.
    pub fn write(&self, writes: Vec<Write>) -> Ticket {
        let inner = &self.inner;
        let clock = self.reading();
        let full = inner.memtable_bytes.load(Ordering::Relaxed)
            >= inner.refused_from.load(Ordering::Relaxed);
        if full {
            // Refused writers apply nothing, so that nobody else would ask.
            inner.jobs.add(Job::FlushLargest);
        }
        inner.forming.submit(writes, |table| {
            if full {
                return Err(Error::Full {
                    what: "memtables are full and being flushed".into(),
                });
            }
            inner.tables.see(table, |table| table.pass(clock))
        })
    }

    /// The latch of one partition, for who reads before writing. Held until dropped.
    pub async fn latch(&self, table: TableId, key: &PartitionKey) -> LatchGuard {
        self.latch_all(&[(table, key.clone())]).await
    }

    /// The latches of several partitions at once, in an order in which nobody waits for somebody who waits for him.
    pub async fn latch_all(&self, partitions: &[(TableId, PartitionKey)]) -> LatchGuard {
        self.inner.latches.acquire(partitions).await
    }

    /// The same at once; None where somebody holds one of them.
    pub fn try_latch_all(&self, partitions: &[(TableId, PartitionKey)]) -> Option<LatchGuard> {
        self.inner.latches.try_acquire(partitions)
    }

    /// Whether the table is open under a living lease: asked once before a response with its data leaves.
    pub fn lease_alive(&self, table: TableId) -> bool {
        self.all_alive([table])
    }

    /// The same of several tables, which may be named more than once in a row.
    pub fn all_alive(&self, tables: impl IntoIterator<Item = TableId>) -> bool {
        let clock = self.reading();
        self.all(tables, |table| table.is_open(clock))
    }

    /// Whether all of them may be used at `clock`, for whoever still has data of theirs to send: that is use of them, so their leases are renewed meanwhile.
    pub fn all_usable(&self, tables: impl IntoIterator<Item = TableId>, clock: Reading) -> bool {
        self.all(tables, |table| table.pass(clock).is_ok())
    }

    /// Whether something holds of all tables. One that is named again at once is not asked again.
    fn all(
        &self,
        tables: impl IntoIterator<Item = TableId>,
        holds: impl Fn(&Table) -> bool,
    ) -> bool {
        let mut before = None;
        tables.into_iter().all(|id| {
            let is_known = before.replace(id) == Some(id);
            let asked = || self.inner.tables.see(id, |table| Ok(holds(table)));
            is_known || asked().unwrap_or(false)
        })
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
        self.inner.epoch.load(Ordering::Acquire)
    }

    /// Which history of the folder it is; an anchor outside remembers it, too.
    pub fn lineage(&self) -> Lineage {
        self.inner.lineage
    }

    /// The newest group that the log's watermark names. It never goes back; an anchor outside remembers it beside the epoch, which a write does not raise. No more than the folder
    /// itself knows: a tail that is lost stays damage, and is not taken for an older copy.
    pub fn log_sequence(&self) -> u64 {
        self.inner.log_positions().noted
    }

    /// Tables that the log holds something of: they keep its segments until they are opened and flushed.
    pub fn tables_with_log(&self) -> Vec<TableId> {
        self.inner.shares.holders()
    }

    /// Accepts nothing more, finishes what was accepted and what is under way, closes all tables, and then the log. An error: the log had failed, or its end
    /// could not be noted; the next start replays it. Afterwards nothing of the engine's own holds the backend: it goes with the last handle.
    pub async fn close(&self) -> Result<()> {
        let inner = &self.inner;
        inner.is_closed.store(true, Ordering::SeqCst);
        inner.forming.refuse(Error::Closed);
        inner.jobs.close();
        inner.wait_for_holders(&inner.running).await;
        for table in inner.tables.all() {
            let _transition = table.transition.lock().await;
            inner.close_table(&table).await;
        }
        // A log that has failed has nothing to sync; its own end says so.
        let _ = inner.make_durable(inner.log_positions().appended).await;
        // Manifest and log each note where the other one ends: an older copy of either, put back, is seen.
        let noted = inner.commit_manifest(&[]).await;
        // A commit that failed may have left something of itself, and a log that ended cleanly would say that nothing was under way.
        inner.forming.close(noted.is_ok());
        inner.wait_for_holders(&inner.logging).await;
        let end = inner.log_end.get().cloned();
        end.unwrap_or(Err(Error::Closed)).and(noted)
    }

    /// Runs an operation to its end, also if the returned future is dropped.
    pub(crate) async fn to_the_end<T: Send + 'static>(
        &self,
        operation: impl Future<Output = Result<T>> + Send + 'static,
    ) -> Result<T> {
        // Held before it is asked: a close that is not seen here waits for what is started here.
        let held = self.inner.running.clone();
        if self.inner.is_closed.load(Ordering::SeqCst) {
            return Err(Error::Closed);
        }
        let (done, outcome) = oneshot::channel();
        self.inner.start(async move {
            // Nobody may be listening any more.
            let _ = done.send(operation.await);
        });
        drop(held);
        outcome.await.unwrap_or(Err(Error::Closed))
    }
}

impl<B: Backend> Inner<B> {
    /// Spawns what a closing engine waits for.
    fn start(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.hold(&self.running, task);
    }

    /// Spawns a task that holds `held` until it is over, however it ends, and everything that it owned is gone.
    fn hold(&self, held: &Arc<()>, task: impl Future<Output = ()> + Send + 'static) {
        let held = held.clone();
        self.env.spawn(Box::pin(async move {
            // Dropped after the task: locals go in the reverse of their order.
            let _held = held;
            task.await;
        }));
    }

    async fn wait_for_holders(&self, held: &Arc<()>) {
        while Arc::strong_count(held) > 1 {
            self.env.sleep(CLOSE_PAUSE).await;
        }
    }

    /// Waits until the log is durable up to a group. A floor in the manifest must not be ahead of what the log will still have after a loss of power: the
    /// numbers between would be given again, below the floor.
    pub(crate) async fn make_durable(&self, sequence: u64) -> Result<()> {
        if self.log_positions().durable >= sequence {
            return Ok(());
        }
        let synced = self.ask_log(group::Errand::Sync).await;
        synced.unwrap_or_else(|| Err(self.why_the_log_ended()))
    }

    /// Asks the log's loop for something, and waits for its answer. None: the log has ended.
    pub(crate) async fn ask_log<T>(
        &self,
        errand: impl FnOnce(oneshot::Sender<T>) -> group::Errand,
    ) -> Option<T> {
        let (done, answer) = oneshot::channel();
        self.forming.ask(errand(done));
        answer.await.ok()
    }

    /// The log forgets a table's data key: the next share gets a new one, under the ring that is used then. Waited for: no group under way is sealed under it afterwards.
    pub(crate) async fn forget_log_key(&self, table: TableId) {
        // None: with the log its keys have gone.
        let _ = self
            .ask_log(|done| group::Errand::ForgetKey(table, done))
            .await;
    }

    /// Whether the log has ended by a failure.
    pub(crate) fn log_has_stopped(&self) -> bool {
        self.log_end.get().is_some_and(Result::is_err)
    }

    /// What whoever wants something of the log is told once it has ended.
    pub(crate) fn why_the_log_ended(&self) -> Error {
        match self.log_end.get() {
            Some(Err(error)) => error.clone(),
            _ => Error::Closed,
        }
    }
}
