//! What an engine is doing beside its requests, and how its cache fares: for whoever shows it.
//!
//! What must hold: nothing here is on the road of a request. A merge counts its partitions, which it stops at anyway; a queue counts its jobs.

use std::collections::{BTreeMap, VecDeque};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use palladium_crypto::TableId;

use crate::backend::Backend;
use crate::background::Queue;
use crate::engine::Engine;
use crate::model::Store;
use crate::sstable::Sstable;

/// Finished merges that are remembered: a week of a busy table.
const FINISHED_MAX: usize = 1_000;

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
    /// Of the SSTables that are merged.
    pub bytes: u64,
    /// Partitions that were written, of so many at most.
    pub partitions: u64,
    pub partitions_max: u64,
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

/// The merges that run.
#[derive(Default)]
pub(crate) struct Merges {
    running: Mutex<Vec<Arc<Running>>>,
    /// The newest last.
    finished: Mutex<VecDeque<FinishedMerge>>,
    begun: AtomicU64,
}

pub(crate) struct Running {
    number: u64,
    table: TableId,
    store: Store,
    sstables: usize,
    bytes: u64,
    partitions: AtomicU64,
    partitions_max: u64,
}

impl Running {
    /// One more partition is done.
    pub(crate) fn step(&self) {
        self.partitions.fetch_add(1, Ordering::Relaxed);
    }

    fn partitions(&self) -> u64 {
        let partitions = self.partitions.load(Ordering::Relaxed);
        partitions.min(self.partitions_max)
    }

    /// What it may still write.
    fn bytes_left(&self) -> u64 {
        let left = self.partitions_max - self.partitions();
        let share = left as f64 / self.partitions_max.max(1) as f64;
        (self.bytes as f64 * share) as u64
    }
}

/// A merge is listed until this is dropped.
pub(crate) struct Listed<'a> {
    merges: &'a Merges,
    pub(crate) running: Arc<Running>,
}

impl Merges {
    pub(crate) fn begin(&self, table: TableId, inputs: &[Arc<Sstable>]) -> Listed<'_> {
        let partitions = inputs.iter().map(|input| input.statistics().partitions);
        let running = Arc::new(Running {
            number: self.begun.fetch_add(1, Ordering::Relaxed),
            table,
            store: inputs.first().map_or(Store::BASE, |input| input.store()),
            sstables: inputs.len(),
            bytes: inputs.iter().map(|input| input.bytes()).sum(),
            partitions: AtomicU64::new(0),
            partitions_max: partitions.sum(),
        });
        self.all().push(running.clone());
        Listed {
            merges: self,
            running,
        }
    }

    /// So many have begun since the start.
    pub(crate) fn begun(&self) -> u64 {
        self.begun.load(Ordering::Relaxed)
    }

    /// What running merges may still write.
    pub(crate) fn bytes_left(&self) -> u64 {
        self.all().iter().map(|running| running.bytes_left()).sum()
    }

    fn finished(&self) -> MutexGuard<'_, VecDeque<FinishedMerge>> {
        self.finished.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn all(&self) -> MutexGuard<'_, Vec<Arc<Running>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Listed<'_> {
    /// What it made has taken the place of what it read.
    pub(crate) fn finish(
        &self,
        finished_at: i64,
        bytes_out: u64,
        partitions_of: BTreeMap<usize, u64>,
    ) {
        let finished = FinishedMerge {
            number: self.running.number,
            table: self.running.table,
            store: self.running.store,
            finished_at,
            bytes_in: self.running.bytes,
            bytes_out,
            partitions_of,
        };
        let mut all = self.merges.finished();
        all.push_back(finished);
        if all.len() > FINISHED_MAX {
            all.pop_front();
        }
    }
}

impl Drop for Listed<'_> {
    fn drop(&mut self) {
        self.merges
            .all()
            .retain(|running| running.number != self.running.number);
    }
}

impl<B: Backend> Engine<B> {
    /// How the block cache fares.
    pub fn cache_activity(&self) -> CacheActivity {
        let cache = &self.inner.cache;
        let (hits, misses) = cache.hits_and_misses();
        CacheActivity {
            bytes_max: self.inner.options.cache_bytes,
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

    /// The merges that run.
    pub fn merge_activity(&self) -> Vec<MergeActivity> {
        let all = self.inner.merges.all();
        all.iter()
            .map(|running| MergeActivity {
                number: running.number,
                table: running.table,
                store: running.store,
                sstables: running.sstables,
                bytes: running.bytes,
                partitions: running.partitions(),
                partitions_max: running.partitions_max,
            })
            .collect()
    }
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
