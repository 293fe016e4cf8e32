//! What an engine is doing beside its requests, what it has done, and how its cache fares: for whoever shows it.
//!
//! What must hold: nothing here is on the road of each request. A merge counts the blocks that it reads, and a flush its partitions, told where it looks at its
//! lease anyway; a queue counts its jobs; the log reads its clock once or twice for a group. Of reads that memory answers each thread measures one in
//! [`MEASURED_ONE_IN`]: two looks at a clock are a tenth of what such a read costs.

use std::cell::Cell;
use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use palladium_crypto::TableId;

use crate::backend::Backend;
use crate::background::Queue;
use crate::engine::{Engine, Shares};
use crate::memtable::Memtable;
use crate::metrics::{Distribution, Histogram};
use crate::model::Store;
use crate::read::{KeyRange, ReadCommand};
use crate::sstable::Sstable;

/// Finished merges that are remembered: a week of a busy table.
const FINISHED_MAX: usize = 1_000;

/// Of the reads of a thread that memory answers one in so many is measured, the first one among them.
pub const MEASURED_ONE_IN: u32 = 64;

thread_local! {
    /// Reads of this thread.
    static READS: Cell<u32> = const { Cell::new(0) };
}

/// Whether the read that begins now is one of those that are measured.
#[inline]
pub(crate) fn is_measured() -> bool {
    READS.with(|reads| {
        let before = reads.get();
        reads.set(before.wrapping_add(1));
        before.is_multiple_of(MEASURED_ONE_IN)
    })
}

/// The read could not be answered at once: whoever goes on with it waiting is measured, or not, in its place.
#[inline]
pub(crate) fn not_yet() {
    READS.with(|reads| reads.set(reads.get().wrapping_sub(1)));
}

/// The block cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CacheActivity {
    pub bytes_max: usize,
    pub bytes: usize,
    pub blocks: usize,
    /// Lookups since the start that found their block.
    pub hits: u64,
    /// And those that did not.
    pub misses: u64,
}

/// Jobs of one kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueActivity {
    /// So many run at once, at most.
    pub limit: usize,
    pub running: usize,
    pub waiting: usize,
    /// Since the start.
    pub finished: u64,
}

/// A merge under way.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MergeActivity {
    /// Of its own since the start.
    pub number: u64,
    pub table: TableId,
    pub store: Store,
    pub sstables: usize,
    /// Bytes of data that were read, as they lie on the disk, of so many.
    pub bytes: u64,
    pub bytes_max: u64,
}

/// A memtable that is being written out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FlushActivity {
    /// Of its own since the start.
    pub number: u64,
    pub table: TableId,
    pub store: Store,
    /// Bytes of memory whose content was written, of so many: told by the partitions that were, as if all were alike.
    pub bytes: u64,
    pub bytes_max: u64,
}

/// A merge that is over, and whose SSTables have taken the place of those it read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FinishedMerge {
    /// Of its own since the start.
    pub number: u64,
    pub table: TableId,
    pub store: Store,
    /// Microseconds since 1970.
    pub finished_at: i64,
    pub bytes_in: u64,
    pub bytes_out: u64,
    /// Partitions by the number of SSTables that they were merged from.
    pub partitions_of: BTreeMap<usize, u64>,
}

/// What an engine has done since it was opened. Times are nanoseconds.
#[derive(Debug, Default)]
pub(crate) struct Tallies {
    /// Groups, from when they were taken until the log had them: where each is synced, until that was done.
    pub(crate) log_groups: Histogram,
    /// Syncs beside those of groups.
    pub(crate) log_syncs: Histogram,
    /// Bytes of records that groups carried.
    pub(crate) log_bytes: AtomicU64,
    /// Writes of memtables that brought SSTables.
    pub(crate) flushes: Histogram,
    /// Bytes of those.
    pub(crate) flushed_bytes: AtomicU64,
    /// Merges that were carried out.
    pub(crate) merges: Histogram,
    /// Bytes of the SSTables that they read, and of those that they wrote.
    pub(crate) merged_bytes: AtomicU64,
    pub(crate) written_bytes: AtomicU64,
}

impl Tallies {
    /// A merge was carried out.
    pub(crate) fn merged(&self, nanos: u64, bytes_in: u64, bytes_out: u64) {
        self.merges.add(nanos);
        self.merged_bytes.fetch_add(bytes_in, Ordering::Relaxed);
        self.written_bytes.fetch_add(bytes_out, Ordering::Relaxed);
    }
}

/// The same at one moment.
#[derive(Debug, Clone)]
pub struct Tallied {
    /// Groups of the log, from when they were taken until the log had them (where each group is synced: until that was done), in nanoseconds.
    pub log_groups: Distribution,
    /// Syncs of the log beside those of groups.
    pub log_syncs: Distribution,
    /// Bytes of records that groups carried.
    pub log_bytes: u64,
    /// Flushes that brought SSTables, and how long they took.
    pub flushes: Distribution,
    /// Bytes of those SSTables.
    pub flushed_bytes: u64,
    /// Merges that were carried out.
    pub merges: Distribution,
    /// Bytes of the SSTables that they read.
    pub merged_bytes: u64,
    /// Bytes of the SSTables that they wrote.
    pub written_bytes: u64,
}

/// How long the reads and writes of one table took, in nanoseconds. A histogram is made with the first number in it: most of many tables are idle.
#[derive(Debug, Default)]
pub(crate) struct Latencies {
    reads: OnceLock<Box<Histogram>>,
    scans: OnceLock<Box<Histogram>>,
    writes: OnceLock<Box<Histogram>>,
}

impl Latencies {
    pub(crate) fn read(&self, command: &ReadCommand, nanos: u64) {
        let kind = match command.range {
            KeyRange::One(_) => &self.reads,
            KeyRange::Range { .. } => &self.scans,
        };
        kind.get_or_init(Box::default).add(nanos);
    }

    pub(crate) fn written(&self, nanos: u64, mutations: usize) {
        let writes = self.writes.get_or_init(Box::default);
        writes.add_many(nanos, mutations as u64);
    }
}

/// What a table holds in memory, on the disk and in the log, and how long its reads and writes took.
#[derive(Debug, Clone)]
pub struct Held {
    pub table: TableId,
    /// Its key is in memory.
    pub is_open: bool,
    /// Bytes of its memtables, and how many of them wait to be written out.
    pub memtable_bytes: usize,
    pub memtables_frozen: usize,
    /// SSTables, if it is open.
    pub sstables: Option<usize>,
    /// What of the log it still needs: bytes, groups, and the first and last segment they are in.
    pub log_bytes: u64,
    pub log_groups: usize,
    pub log_segments: Option<(u64, u64)>,
    /// Nanoseconds of reads of single partitions and of ranges, of those that were measured; and from when a group was taken until its mutations could be
    /// read, of all. None before the first one.
    pub reads: Option<Distribution>,
    pub scans: Option<Distribution>,
    pub writes: Option<Distribution>,
}

/// Tasks under way of one kind.
pub(crate) struct UnderWay<T> {
    tasks: Mutex<Vec<(u64, Arc<T>)>>,
    begun: AtomicU64,
}

/// A task is listed until this is dropped.
pub(crate) struct Listed<'a, T> {
    under_way: &'a UnderWay<T>,
    number: u64,
    pub(crate) task: Arc<T>,
}

impl<T> Default for UnderWay<T> {
    fn default() -> Self {
        UnderWay {
            tasks: Mutex::default(),
            begun: AtomicU64::new(0),
        }
    }
}

impl<T> UnderWay<T> {
    fn begin(&self, task: T) -> Listed<'_, T> {
        let number = self.begun.fetch_add(1, Ordering::Relaxed);
        let task = Arc::new(task);
        self.tasks().push((number, task.clone()));
        Listed {
            under_way: self,
            number,
            task,
        }
    }

    fn all(&self) -> Vec<(u64, Arc<T>)> {
        self.tasks().clone()
    }

    fn tasks(&self) -> MutexGuard<'_, Vec<(u64, Arc<T>)>> {
        self.tasks.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<T> Drop for Listed<'_, T> {
    fn drop(&mut self) {
        let own = self.number;
        self.under_way.tasks().retain(|(number, _)| *number != own);
    }
}

/// Memtables that are written out.
pub(crate) type Flushes = UnderWay<Flush>;

pub(crate) struct Flush {
    table: TableId,
    store: Store,
    bytes_max: u64,
    partitions: AtomicU64,
    partitions_max: u64,
}

impl Flushes {
    pub(crate) fn begin_flush(
        &self,
        table: TableId,
        store: Store,
        memtables: &[Arc<Memtable>],
    ) -> Listed<'_, Flush> {
        let bytes = memtables.iter().map(|memtable| memtable.bytes() as u64);
        let partitions = memtables.iter();
        let partitions = partitions.map(|memtable| memtable.partitions() as u64);
        self.begin(Flush {
            table,
            store,
            bytes_max: bytes.sum(),
            partitions: AtomicU64::new(0),
            partitions_max: partitions.sum(),
        })
    }
}

impl Flush {
    /// So many partitions are written by now.
    pub(crate) fn reach(&self, partitions: u64) {
        self.partitions.store(partitions, Ordering::Relaxed);
    }

    /// As if each partition were as large as any other.
    fn bytes(&self) -> u64 {
        let partitions = self.partitions.load(Ordering::Relaxed);
        share_of(self.bytes_max, partitions, self.partitions_max)
    }
}

/// The merges that run, and those that are over.
#[derive(Default)]
pub(crate) struct Merges {
    running: UnderWay<Running>,
    /// The newest last.
    finished: Mutex<VecDeque<FinishedMerge>>,
}

pub(crate) struct Running {
    table: TableId,
    store: Store,
    sstables: usize,
    /// Of all components of the SSTables that it merges.
    pub(crate) bytes: u64,
    /// Of their data, which it reads from the first to the last.
    data_bytes: u64,
    read: AtomicU64,
}

impl Running {
    /// So many more bytes of data are read.
    pub(crate) fn read(&self, bytes: u64) {
        self.read.fetch_add(bytes, Ordering::Relaxed);
    }

    fn bytes_read(&self) -> u64 {
        self.read.load(Ordering::Relaxed).min(self.data_bytes)
    }

    /// What it may still write.
    fn bytes_left(&self) -> u64 {
        let left = self.data_bytes - self.bytes_read();
        share_of(self.bytes, left, self.data_bytes)
    }
}

/// Of a whole as much as `part` is of `all`, and never more than the whole.
fn share_of(whole: u64, part: u64, all: u64) -> u64 {
    let share = u128::from(whole) * u128::from(part.min(all)) / u128::from(all.max(1));
    u64::try_from(share).expect("not more than the whole")
}

impl Merges {
    pub(crate) fn begin(&self, table: TableId, inputs: &[Arc<Sstable>]) -> Listed<'_, Running> {
        self.running.begin(Running {
            table,
            store: inputs.first().map_or(Store::BASE, |input| input.store()),
            sstables: inputs.len(),
            bytes: inputs.iter().map(|input| input.bytes()).sum(),
            data_bytes: inputs.iter().map(|input| input.data_bytes()).sum(),
            read: AtomicU64::new(0),
        })
    }

    /// So many have begun since the start.
    pub(crate) fn begun(&self) -> u64 {
        self.running.begun.load(Ordering::Relaxed)
    }

    /// What running merges may still write.
    pub(crate) fn bytes_left(&self) -> u64 {
        let running = self.running.tasks();
        running.iter().map(|(_, merge)| merge.bytes_left()).sum()
    }

    /// Of each running merge, how many SSTables it merges.
    pub(crate) fn sizes(&self) -> impl Iterator<Item = usize> + use<> {
        let running = self.running.all().into_iter();
        running.map(|(_, merge)| merge.sstables)
    }

    /// What a merge made has taken the place of what it read.
    pub(crate) fn finish(
        &self,
        merge: &Listed<'_, Running>,
        finished_at: i64,
        bytes_out: u64,
        partitions_of: BTreeMap<usize, u64>,
    ) {
        let finished = FinishedMerge {
            number: merge.number,
            table: merge.task.table,
            store: merge.task.store,
            finished_at,
            bytes_in: merge.task.bytes,
            bytes_out,
            partitions_of,
        };
        let mut all = self.finished();
        all.push_back(finished);
        if all.len() > FINISHED_MAX {
            all.pop_front();
        }
    }

    fn finished(&self) -> MutexGuard<'_, VecDeque<FinishedMerge>> {
        self.finished.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Backend> Engine<B> {
    /// How the block cache fares.
    pub fn cache_activity(&self) -> CacheActivity {
        let cache = &self.inner.cache;
        let (hits, misses) = cache.hits_and_misses();
        CacheActivity {
            bytes_max: cache.bytes_max(),
            bytes: cache.bytes(),
            blocks: cache.blocks(),
            hits,
            misses,
        }
    }

    /// What writes memtables out and relieves the log; and what merges SSTables.
    pub fn queue_activity(&self) -> (QueueActivity, QueueActivity) {
        let jobs = &self.inner.jobs;
        let compactors = self.inner.options.concurrent_compactors.max(1);
        (
            of_queue(&jobs.flushes, 1),
            of_queue(&jobs.compactions, compactors),
        )
    }

    /// The merges that have ended since the start, the newest last; the oldest are forgotten.
    pub fn finished_merges(&self) -> Vec<FinishedMerge> {
        self.inner.merges.finished().iter().cloned().collect()
    }

    /// The log has stopped itself after a failure: reads go on, and nothing is written until the next start.
    pub fn log_has_stopped(&self) -> bool {
        self.inner.log_has_stopped()
    }

    /// What it has done since it was opened.
    pub fn tallied(&self) -> Tallied {
        let tallies = &self.inner.tallies;
        let count = |of: &AtomicU64| of.load(Ordering::Relaxed);
        Tallied {
            log_groups: tallies.log_groups.distribution(),
            log_syncs: tallies.log_syncs.distribution(),
            log_bytes: count(&tallies.log_bytes),
            flushes: tallies.flushes.distribution(),
            flushed_bytes: count(&tallies.flushed_bytes),
            merges: tallies.merges.distribution(),
            merged_bytes: count(&tallies.merged_bytes),
            written_bytes: count(&tallies.written_bytes),
        }
    }

    /// Tables; of those whose key is in memory: how many they are, and their SSTables.
    pub fn census(&self) -> (usize, usize, usize) {
        let tables = self.inner.tables.all();
        let open = tables.iter().filter_map(|table| table.opened());
        let (open, sstables) = open.fold((0, 0), |(open, sstables), table| {
            (open + 1, sstables + table.sstables().len())
        });
        (tables.len(), open, sstables)
    }

    /// What each table holds, in no order.
    pub fn held(&self) -> Vec<Held> {
        let tables = self.inner.tables.all().into_iter();
        let told = |of: &OnceLock<Box<Histogram>>| of.get().map(|one| one.distribution());
        tables
            .map(|table| {
                let open = table.opened();
                // One table at a time: the log's loop needs them for each group.
                let log = self.inner.shares.of(table.id, in_log);
                let log = log.unwrap_or((0, 0, None));
                Held {
                    table: table.id,
                    is_open: open.is_some(),
                    memtable_bytes: open.as_ref().map_or(0, |open| open.memtable_bytes()),
                    memtables_frozen: open
                        .as_ref()
                        .map_or(0, |open| open.frozen().memtables.len()),
                    sstables: open.as_ref().map(|open| open.sstables().len()),
                    log_bytes: log.0,
                    log_groups: log.1,
                    log_segments: log.2,
                    reads: told(&table.latencies.reads),
                    scans: told(&table.latencies.scans),
                    writes: told(&table.latencies.writes),
                }
            })
            .collect()
    }

    /// The merges that run.
    pub fn merge_activity(&self) -> Vec<MergeActivity> {
        let all = self.inner.merges.running.all().into_iter();
        all.map(|(number, merge)| MergeActivity {
            number,
            table: merge.table,
            store: merge.store,
            sstables: merge.sstables,
            bytes: merge.bytes_read(),
            bytes_max: merge.data_bytes,
        })
        .collect()
    }

    /// The memtables that are being written out.
    pub fn flush_activity(&self) -> Vec<FlushActivity> {
        let all = self.inner.flushes.all().into_iter();
        all.map(|(number, flush)| FlushActivity {
            number,
            table: flush.table,
            store: flush.store,
            bytes: flush.bytes(),
            bytes_max: flush.bytes_max,
        })
        .collect()
    }
}

/// Bytes, groups, first and last segment of what the log holds of a table.
fn in_log(shares: &Shares) -> (u64, usize, Option<(u64, u64)>) {
    let bytes = shares.values().map(|share| u64::from(share.length)).sum();
    let segments = shares.values().map(|share| share.segment);
    let segments = segments.clone().min().zip(segments.max());
    (bytes, shares.len(), segments)
}

fn of_queue(queue: &Queue, limit: usize) -> QueueActivity {
    let (running, waiting, finished) = queue.activity();
    QueueActivity {
        limit,
        running,
        waiting,
        finished,
    }
}
