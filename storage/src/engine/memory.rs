//! What an engine holds in memory, added up in one place, and the bounds that whoever watches the whole process may move while it runs.
//!
//! What must hold: nothing is counted here on the road of a request. Memtables are counted when a group is applied, the cache knows its bytes, an open SSTable
//! its own, a merge what it may keep, the log's shares are as many as there are; whoever asks adds them up.

use std::sync::atomic::Ordering;

use crate::backend::Backend;
use crate::compaction::kept_bytes;
use crate::engine::Engine;

/// What of all tables is in memory, in bytes, and what may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Memory {
    /// All memtables.
    pub memtable_bytes: usize,
    /// Past this writers are refused.
    pub memtable_bytes_max: usize,
    /// Opened blocks in the cache.
    pub cache_bytes: usize,
    /// What it may hold.
    pub cache_bytes_max: usize,
    /// What open SSTables need: filters, tops of indexes, statistics, keys.
    pub sstable_bytes: usize,
    /// What running merges may keep.
    pub merge_bytes: usize,
    /// Where each table's shares of the log stand. Bounded by the log's length.
    pub log_address_bytes: usize,
    /// All segments of the log, on the disk.
    pub log_bytes: u64,
}

impl<B: Backend> Engine<B> {
    /// What of all tables is in memory now.
    pub fn memory(&self) -> Memory {
        let inner = &self.inner;
        Memory {
            memtable_bytes: inner.memtable_bytes.load(Ordering::Acquire),
            memtable_bytes_max: inner.memtable_bytes_max.load(Ordering::Relaxed),
            cache_bytes: inner.cache.bytes(),
            cache_bytes_max: inner.cache.bytes_max(),
            sstable_bytes: self.sstable_bytes(),
            merge_bytes: inner
                .merges
                .sizes()
                .map(|sstables| kept_bytes(sstables, inner.options.merge_bytes_max))
                .sum(),
            log_address_bytes: inner.shares.memory_bytes(),
            log_bytes: inner.log_positions().bytes,
        }
    }

    /// Bytes of memtables and of cached blocks: what can be made less. Cheap, whatever the number of tables.
    pub fn movable_bytes(&self) -> (usize, usize) {
        let memtable_bytes = self.inner.memtable_bytes.load(Ordering::Relaxed);
        (memtable_bytes, self.inner.cache.bytes())
    }

    /// From now on memtables and cache may hold so much; called again and again, as what is held comes down. Blocks that are too many go at once; memtables are written out one after the other, the largest first.
    /// Writers are slowed down meanwhile, and refused past what is held now: nobody is told that all is full because somebody else wants the memory.
    pub fn bound_memory(&self, memtable_bytes_max: usize, cache_bytes_max: usize) {
        let inner = &self.inner;
        inner
            .memtable_bytes_max
            .store(memtable_bytes_max, Ordering::Relaxed);
        let held = inner.memtable_bytes.load(Ordering::Relaxed);
        let so_far = inner.refused_from.load(Ordering::Relaxed);
        let on_the_way = so_far.min(held + memtable_bytes_max / 8);
        inner
            .refused_from
            .store(memtable_bytes_max.max(on_the_way), Ordering::Relaxed);
        inner.cache.set_bytes_max(cache_bytes_max);
        if held > memtable_bytes_max / 2 {
            inner.jobs.add(crate::background::Job::FlushLargest);
        }
    }

    /// SSTables of open tables, and those that were merged away and are still being read.
    fn sstable_bytes(&self) -> usize {
        let tables = self.inner.tables.all();
        let open = tables.iter().filter_map(|table| table.opened());
        let bytes = open.map(|open| {
            let sstables = open.sstables();
            let bytes = sstables.iter().map(|sstable| sstable.memory_bytes());
            bytes.sum::<usize>()
        });
        let obsolete = self.inner.obsolete.lock();
        let obsolete = obsolete.expect("no holder of this lock panics");
        let still_read = obsolete.iter().map(|sstable| sstable.memory_bytes());
        bytes.sum::<usize>() + still_read.sum::<usize>()
    }
}
