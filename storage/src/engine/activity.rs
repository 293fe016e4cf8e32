//! What an engine is doing beside its requests, and how its cache fares: for whoever shows it.
//!
//! What must hold: nothing here is on the road of a request. A merge counts its partitions, which it stops at anyway; a queue counts its jobs.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use palladium_crypto::TableId;

use crate::backend::Backend;
use crate::background::Queue;
use crate::engine::Engine;

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

/// Jobs of one kind, which run one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct QueueActivity {
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
    pub sstables: usize,
    /// Partitions that were written, of so many at most.
    pub partitions: u64,
    pub partitions_max: u64,
}

/// The merges that run.
#[derive(Default)]
pub(crate) struct Merges {
    running: Mutex<Vec<Arc<Running>>>,
    begun: AtomicU64,
}

pub(crate) struct Running {
    number: u64,
    table: TableId,
    sstables: usize,
    partitions: AtomicU64,
    partitions_max: u64,
}

impl Running {
    /// One more partition is done.
    pub(crate) fn step(&self) {
        self.partitions.fetch_add(1, Ordering::Relaxed);
    }
}

/// A merge is listed until this is dropped.
pub(crate) struct Listed<'a> {
    merges: &'a Merges,
    pub(crate) running: Arc<Running>,
}

impl Merges {
    pub(crate) fn begin(&self, table: TableId, sstables: usize, partitions_max: u64) -> Listed<'_> {
        let running = Arc::new(Running {
            number: self.begun.fetch_add(1, Ordering::Relaxed),
            table,
            sstables,
            partitions: AtomicU64::new(0),
            partitions_max,
        });
        self.all().push(running.clone());
        Listed {
            merges: self,
            running,
        }
    }

    fn all(&self) -> MutexGuard<'_, Vec<Arc<Running>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
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
        (of_queue(&jobs.flushes), of_queue(&jobs.compactions))
    }

    /// The merges that run.
    pub fn merge_activity(&self) -> Vec<MergeActivity> {
        let all = self.inner.merges.all();
        all.iter()
            .map(|running| MergeActivity {
                number: running.number,
                table: running.table,
                sstables: running.sstables,
                partitions: running
                    .partitions
                    .load(Ordering::Relaxed)
                    .min(running.partitions_max),
                partitions_max: running.partitions_max,
            })
            .collect()
    }
}

fn of_queue(queue: &Queue) -> QueueActivity {
    let (running, waiting, finished) = queue.activity();
    QueueActivity {
        running,
        waiting,
        finished,
    }
}
