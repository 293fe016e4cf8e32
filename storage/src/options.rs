//! Settings of the engine as plain data: each with a unit, a default and a reason. Who reads them from a file is the server's business.

use std::sync::Arc;
use std::time::Duration;

use palladium_crypto::Lineage;

use crate::compaction::CompactionOptions;
use crate::model::ColumnId;
use crate::sstable::ROW_BYTES_MAX;

/// When an appended group counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogSync {
    /// Acknowledged once it is synced. Nothing acknowledged is lost, not even by a loss of power.
    Group,
    /// Acknowledged once it is appended, as Cassandra does by default: survives the process; of what the last `every` brought, a loss of power may take some.
    Periodic {
        /// Between two syncs.
        every: Duration,
    },
}

/// What one engine may use, and when it acts.
#[derive(Debug, Clone)]
pub struct Options {
    /// Bytes that memtables may hold before writers are refused.
    pub memtable_bytes_max: usize,
    /// A memtable of this many bytes is flushed at once: large enough for few SSTables, small enough to flush in seconds.
    pub memtable_flush_bytes: usize,
    /// Bytes of opened blocks kept in memory.
    pub cache_bytes: usize,
    /// Bytes of opened blocks that one merge keeps: for each of its SSTables what is read ahead.
    pub merge_bytes_max: usize,
    /// When an appended group counts.
    pub log_sync: LogSync,
    /// Bytes of one log segment.
    pub log_segment_bytes: u64,
    /// The newest group of the log that somebody outside the folder has seen durable: a folder that has come less far is an older copy, and is not opened. 0: nobody has.
    pub log_sequence_seen: u64,
    /// The lineage that this start begins, with its own commit; None: the folder keeps the one that it has.
    pub lineage_begun: Option<Lineage>,
    /// Bytes of log after which the tables that pin the oldest segment are flushed: bounds the time of a start.
    pub log_bytes_max: u64,
    /// Bytes waiting for the next group; past it a write is refused as overload.
    pub group_bytes_max: usize,
    /// Bytes of one mutation. A group must fit a segment.
    pub mutation_bytes_max: usize,
    /// Bytes of one row in an SSTable, by default more than a memtable usually holds; many mutations together can make a larger one of a collection, which is then neither
    /// flushed nor merged.
    pub row_bytes_max: usize,
    /// Merges that run at once: each may keep a processor busy.
    pub concurrent_compactors: usize,
    /// Bytes a second that all merges together may read; 0: as many as there are.
    pub compaction_throughput: u64,
    /// Files of what was dropped or emptied that may wait for their removal before whoever makes more of them waits, too: each is room on the disk that others do not have. A
    /// table of many SSTables has some hundreds.
    pub removals_waiting_max: usize,
}

impl Default for Options {
    fn default() -> Self {
        Options {
            memtable_bytes_max: 1 << 30,
            memtable_flush_bytes: 128 << 20,
            cache_bytes: 512 << 20,
            merge_bytes_max: 32 << 20,
            log_sync: LogSync::Group,
            log_segment_bytes: 32 << 20,
            log_sequence_seen: 0,
            lineage_begun: None,
            log_bytes_max: 1 << 30,
            group_bytes_max: 8 << 20,
            mutation_bytes_max: 16 << 20,
            row_bytes_max: ROW_BYTES_MAX,
            concurrent_compactors: 2,
            compaction_throughput: 64 << 20,
            removals_waiting_max: 4_096,
        }
    }
}

/// How the blocks of new SSTables are compressed. What is written stays as it is: each block says how to read it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    Off,
    /// The default: next to nothing to pay on reads.
    Lz4,
    /// A third smaller than LZ4, and dearer; with a dictionary of the SSTable's own where that gains.
    Zstd {
        /// Effort, as zstd counts it: -131072 to 22; what is beyond is taken as the nearest.
        level: i32,
    },
}

/// What a table's owner may say about how it is stored.
#[derive(Debug, Clone, PartialEq)]
pub struct TableOptions {
    /// Seconds for which a tombstone is kept.
    pub gc_grace_seconds: i64,
    /// Plaintext bytes of a data block before compression.
    pub block_bytes: usize,
    /// How blocks are compressed before they are sealed.
    pub compression: Compression,
    /// How SSTables are merged.
    pub compaction: CompactionOptions,
    /// Columns that were dropped, sorted, and whose numbers no column ever has again: merges of the base leave out what was written of them.
    pub columns_gone: Arc<[ColumnId]>,
}

impl Default for TableOptions {
    fn default() -> Self {
        TableOptions {
            gc_grace_seconds: 864_000,
            block_bytes: 4096,
            compression: Compression::Lz4,
            compaction: CompactionOptions::default(),
            columns_gone: Arc::from([]),
        }
    }
}
