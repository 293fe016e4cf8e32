//! Carries out a merge: SSTables in, fewer and cleaner SSTables out, sealed under the active key as it goes.
//!
//! The task reads through the same [`Merge`] as a query, asks [`Purge`] about each partition and item, and writes. It keeps its
//! blocks out of the cache and its place among others: after each stretch of items it yields to the executor and asks `proceed`
//! whether the table may still be read, as it does whenever blocks have come from the disk; that is where a lock, a drop or a shutdown stops it.
//!
//! What must hold: nothing refers to the new SSTables before the caller commits them; after an error they are removed again.

use std::cell::LazyCell;
use std::collections::BTreeMap;
use std::sync::Arc;

use palladium_crypto::KeyRing;

use super::pace::Pace;
use super::purge::Purge;
use super::sieve::{ROWS_AT_ONCE, Sieve, StaleRows};
use super::strategy::{Circumstances, Outputs};
use crate::backend::{Backend, Leased};
use crate::cache::{BlockCache, FetchedBlocks};
use crate::env::{Env, yield_now};
use crate::manifest::SstableEntry;
use crate::model::{ColumnId, PartitionKey, Slices, Token};
use crate::read::{BlockAddress, Fault, Item, Merge, PartitionHead, Source};
use crate::sstable::{ReadAhead, Sstable, SstableCursor, SstableWriter, WriterOptions};
use crate::{Error, Result};

/// Items between two moments in which others may run.
const ITEMS_BETWEEN_YIELDS: u32 = 64;

/// Sealed bytes read from one SSTable at once, and the least where many are merged in little memory.
const READ_AHEAD_BYTES: usize = 128 << 10;
const READ_AHEAD_BYTES_MIN: usize = 16 << 10;

/// Opened blocks kept for each SSTable of the merge: those that its cursor may ask for again.
const BLOCKS_PER_SSTABLE: usize = 4;

/// Bytes of those and of what is read ahead, where there is memory for it.
const BYTES_PER_SSTABLE: usize = 2 * READ_AHEAD_BYTES;

/// Sealed bytes of data after which the next SSTable is begun, at a partition: well below what one data key and one index can take.
pub const SSTABLE_BYTES_MAX: u64 = 128 << 30;

/// The oldest write of a partition, in microseconds, that may be outside the compaction now; `i64::MAX` if there is none.
pub type OldestOutside = Arc<dyn Fn(&PartitionKey) -> i64 + Send + Sync>;

/// Everything a merge needs.
pub struct MergeTask<B: Backend> {
    pub backend: Arc<B>,
    pub env: Arc<dyn Env>,
    /// New SSTables are sealed under its active key.
    pub ring: Arc<KeyRing>,
    pub cache: Arc<BlockCache>,
    pub inputs: Vec<Arc<Sstable>>,
    /// Where one new SSTable ends and the next begins.
    pub outputs: Outputs,
    /// Bytes that it may keep, of opened blocks and of what is read ahead, as far as it need not have more at hand.
    pub bytes_max: usize,
    /// Bytes that are read wait here for their turn.
    pub pace: Arc<Pace>,
    pub circumstances: Circumstances,
    /// Asked once at most for each partition, so it may change while the task runs: a flush adds to it.
    pub oldest_outside: OldestOutside,
    /// Columns that were dropped, sorted: what was written of them is left out.
    pub columns_gone: Arc<[ColumnId]>,
    /// Rows that are left out, of a store where some may be stale.
    pub stale: Option<StaleRows>,
    pub writer: WriterOptions,
    /// Asked between stretches of items, and of blocks that came from the disk before they are opened; its error ends the merge.
    pub proceed: Arc<dyn Fn() -> Result<()> + Send + Sync>,
    /// Told of so many more bytes of the inputs' data that it has come to, once for each block that it reads. What lies in the cache is not read, and counts with
    /// the next block that is.
    pub progress: Arc<dyn Fn(u64) + Send + Sync>,
    /// Told which of the inputs a block could not be opened of: the merge ends, and would end so each time.
    pub damaged: Arc<dyn Fn(u64) + Send + Sync>,
}

/// What a merge gives back.
#[derive(Debug)]
pub struct Merged {
    /// The new SSTables, durable; their ids are the caller's to set. None if nothing was left.
    pub added: Vec<SstableEntry>,
    /// Ids of those that were merged.
    pub removed: Vec<u64>,
    /// Items that were written.
    pub items: u64,
    /// Partitions by the number of SSTables that they were merged from.
    pub partitions_of: BTreeMap<usize, u64>,
}

/// The oldest write that a partition may have in these SSTables and in a memtable that begins at `memtable_min_timestamp`.
pub fn oldest_outside<'a>(
    outside: impl IntoIterator<Item = &'a Arc<Sstable>>,
    memtable_min_timestamp: i64,
    key: &PartitionKey,
) -> i64 {
    outside
        .into_iter()
        .filter(|sstable| sstable.may_contain(key))
        .map(|sstable| sstable.statistics().timestamps.0)
        .fold(memtable_min_timestamp, i64::min)
}

/// Merges the inputs of a task into new SSTables.
pub async fn merge<B: Backend>(task: MergeTask<B>) -> Result<Merged> {
    let mut run = Run::new(&task);
    match run.all().await {
        Ok(()) => Ok(Merged {
            added: run.added,
            removed: task.inputs.iter().map(|sstable| sstable.id()).collect(),
            items: run.items,
            partitions_of: run.partitions_of,
        }),
        Err(error) => {
            run.undo().await;
            Err(error)
        }
    }
}

/// Bytes that a merge of so many SSTables keeps at most: half of them opened blocks, half what is read ahead.
pub fn kept_bytes(sstables: usize, bytes_max: usize) -> usize {
    bytes_max.min(sstables * BYTES_PER_SSTABLE)
}

struct Run<'a, B: Backend> {
    task: &'a MergeTask<B>,
    blocks: Arc<FetchedBlocks>,
    /// Of each input.
    ahead: Vec<ReadAhead>,
    merge: Merge<SstableCursor>,
    writer: Option<SstableWriter<B>>,
    added: Vec<SstableEntry>,
    items: u64,
    partitions_of: BTreeMap<usize, u64>,
    since_yield: u32,
    /// Token of the last partition that was read.
    last: Option<Token>,
    sieve: Option<Sieve>,
}

impl<'a, B: Backend> Run<'a, B> {
    fn new(task: &'a MergeTask<B>) -> Self {
        let blocks_max = task.inputs.len() * BLOCKS_PER_SSTABLE;
        let half = kept_bytes(task.inputs.len(), task.bytes_max) / 2;
        let blocks = FetchedBlocks::keeping(task.cache.clone(), blocks_max, half);
        let blocks = Arc::new(blocks);
        let ahead_bytes =
            (half / task.inputs.len().max(1)).clamp(READ_AHEAD_BYTES_MIN, READ_AHEAD_BYTES);
        let ahead = task.inputs.iter().map(|_| ReadAhead::steady(ahead_bytes));
        let cursors = task
            .inputs
            .iter()
            .map(|sstable| sstable.cursor(blocks.clone()))
            .collect();
        Run {
            task,
            blocks,
            ahead: ahead.collect(),
            merge: Merge::new(cursors),
            writer: None,
            added: Vec::new(),
            items: 0,
            partitions_of: BTreeMap::new(),
            since_yield: 0,
            last: None,
            sieve: task.stale.clone().map(Sieve::new),
        }
    }

    async fn all(&mut self) -> Result<()> {
        while let Some(head) = self.ask(|merge| Ok(merge.partition()?.cloned())).await? {
            let token = head.key.token();
            if self.is_full(token) {
                self.finish_writer().await?;
            }
            *self
                .partitions_of
                .entry(self.merge.sources_here())
                .or_default() += 1;
            self.partition(head).await?;
            self.last = Some(token);
            self.ask(Source::next_partition).await?;
        }
        self.finish_writer().await
    }

    /// Whether the SSTable under construction ends before this token. Partitions that share a token stay together: what lies beside one another must not overlap.
    fn is_full(&self, token: Token) -> bool {
        let (Some(writer), Some(last)) = (&self.writer, self.last) else {
            return false;
        };
        if token == last {
            return false;
        }
        let bytes = writer.data_bytes();
        bytes >= SSTABLE_BYTES_MAX
            || match self.task.outputs {
                Outputs::One => false,
                Outputs::Bytes(most) => bytes >= most,
                Outputs::Shards(shards) => {
                    Outputs::shard(shards, token.0) != Outputs::shard(shards, last.0)
                }
            }
    }

    async fn partition(&mut self, head: PartitionHead) -> Result<()> {
        let (task, key) = (self.task, head.key.clone());
        let look = || (task.oldest_outside)(&key);
        let purge = Purge {
            now: task.circumstances.now,
            gc_before: task.circumstances.gc_before(),
            oldest_outside: LazyCell::new(&look),
            columns_gone: &task.columns_gone,
        };
        let head = purge.head(head);
        self.writer().begin_partition(&head)?;
        let everything = Slices::all();
        self.ask(|merge| merge.open(&everything, false)).await?;
        let mut waiting = Vec::new();
        while self
            .ask(|merge| merge.peek().map(|item| item.is_some()))
            .await?
        {
            let Some(item) = purge.item(self.merge.pop())? else {
                continue;
            };
            if self.sieve.is_none() {
                self.keep(item).await?;
                continue;
            }
            waiting.push(item);
            if waiting.len() >= ROWS_AT_ONCE {
                self.sift(&key, std::mem::take(&mut waiting)).await?;
            }
        }
        self.sift(&key, waiting).await?;
        self.writer().end_partition().await?;
        self.breathe().await
    }

    /// Writes those of some rows that are not stale.
    async fn sift(&mut self, key: &PartitionKey, items: Vec<Item>) -> Result<()> {
        let Some(sieve) = &mut self.sieve else {
            return Ok(());
        };
        for item in sieve.sift(key, items).await {
            self.keep(item).await?;
        }
        self.breathe().await
    }

    async fn keep(&mut self, item: Item) -> Result<()> {
        self.writer().push(&item).await?;
        self.items += 1;
        self.breathe().await
    }

    fn writer(&mut self) -> &mut SstableWriter<B> {
        let task = self.task;
        self.writer.get_or_insert_with(|| {
            SstableWriter::new(
                task.backend.clone(),
                task.env.clone(),
                &task.ring,
                task.writer.clone(),
            )
        })
    }

    async fn finish_writer(&mut self) -> Result<()> {
        if let Some(writer) = self.writer.take() {
            self.added.extend(writer.finish().await?);
        }
        Ok(())
    }

    /// Asks the merge, and fetches what it misses, until it answers.
    async fn ask<T>(
        &mut self,
        mut question: impl FnMut(&mut Merge<SstableCursor>) -> Result<T, Fault>,
    ) -> Result<T> {
        loop {
            match question(&mut self.merge) {
                Ok(answer) => return Ok(answer),
                Err(Fault::Error(error)) => return Err(error),
                Err(Fault::Miss(address)) => self.fetch(address).await?,
                Err(Fault::Turn) => {
                    yield_now().await;
                    (self.task.proceed)()?;
                }
            }
        }
    }

    async fn fetch(&mut self, address: BlockAddress) -> Result<()> {
        // Also where it has been read already.
        (self.task.proceed)()?;
        let input = self
            .task
            .inputs
            .iter()
            .position(|sstable| sstable.owns(address.structure))
            .ok_or_else(|| Error::Invalid {
                what: format!("structure {} is not part of the merge", address.structure),
            })?;
        let sstable = &self.task.inputs[input];
        let before = self.ahead[input].reached();
        let block = sstable
            .fetch(
                &Leased::new(&*self.task.backend, &*self.task.proceed),
                &*self.blocks,
                address,
                Some(&mut self.ahead[input]),
            )
            .await
            .inspect_err(|error| {
                if matches!(error, Error::Corrupt { .. }) {
                    (self.task.damaged)(sstable.id());
                }
            })?;
        let reached = self.ahead[input].reached();
        if reached > before {
            (self.task.progress)(reached - before);
        }
        let bytes = block.bytes().len() as u64;
        self.blocks.add(address, block);
        let pace = &self.task.pace;
        pace.take(&*self.task.env, bytes, &*self.task.proceed).await
    }

    /// Lets others run once in a while.
    async fn breathe(&mut self) -> Result<()> {
        self.since_yield += 1;
        if self.since_yield >= ITEMS_BETWEEN_YIELDS {
            self.since_yield = 0;
            yield_now().await;
            (self.task.proceed)()?;
        }
        Ok(())
    }

    /// Removes what was written.
    async fn undo(self) {
        if let Some(writer) = self.writer {
            writer.abandon().await;
        }
        for component in self.added.iter().flat_map(|entry| &entry.components) {
            // What cannot be removed now is an orphan that recovery removes.
            let _ = self.task.backend.blob_remove(component.structure).await;
        }
    }
}
