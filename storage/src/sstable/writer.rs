//! Writes an SSTable: partitions in order go in, sealed components come out.
//!
//! ```text
//! partition, items ──► BlockBuilder ── full ──► waiting ── next block is there ──► pack, seal ──► data component
//!                 └──► FilterBuilder, StatisticsBuilder                                  └──► NodeBuilder ──► index component
//! ```
//!
//! Building is pure and never waits; each item, and the end of each partition, then writes out what has been gathered, where that is worth a write. One data block
//! waits, because only the next one, or the end, says whether it is the last: the end is part of the seal. Where a dictionary is to be trained, the first megabyte waits.
//!
//! What must hold:
//! - Keys ascend, positions inside a partition ascend, and what an item says is open before it is what the one before it left open. Each is checked here, just
//!   before it would become unreadable.
//! - A partition of which nothing is said, no deletion, no static row, no item, leaves no trace.
//! - After an error of [`SstableWriter::finish`] nothing of the SSTable is left; after another one, once [`SstableWriter::abandon`] has been called.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use palladium_crypto::{KeyRing, StructureId, StructureKind};

use super::block::{BlockBuilder, ROW_BYTES_MAX, SectionHead};
use super::component::ComponentWriter;
use super::envelope::{self, Packing};
use super::filter::FilterBuilder;
use super::index::{Child, NODE_BYTES_MAX, NodeBuilder, Separator};
use super::packer::Packer;
use super::statistics::{Layout, StatisticsBuilder};
use crate::backend::Backend;
use crate::env::Env;
use crate::manifest::SstableEntry;
use crate::model::{Clustering, Deletion, PartitionKey, Store};
use crate::options::Compression;
use crate::read::{Item, PartitionHead};
use crate::sealed::SealedWriter;
use crate::wiped::Wiped;
use crate::{Error, Result};

/// Plaintext bytes after which an index block is full.
const INDEX_BLOCK_BYTES: usize = 4096;

/// Block sizes that make sense: below, seals and index weigh too much; above, a point read opens too much.
const BLOCK_BYTES_RANGE: std::ops::RangeInclusive<usize> = 256..=(1 << 20);

/// Sizes assumed for what an item adds beyond its position and row when deciding whether it still fits.
const ITEM_OVERHEAD_BYTES: usize = 16;

/// Blocks that are sealed when one is full, while more than that wait.
const SEALED_AT_ONCE: usize = 8;

/// How an SSTable is written.
#[derive(Debug, Clone)]
pub struct WriterOptions {
    /// Its number in the manifest.
    pub id: u64,
    /// Its level.
    pub level: u8,
    /// Which of the table's stores it is part of.
    pub store: Store,
    /// Plaintext bytes of a data block before compression.
    pub block_bytes: usize,
    /// How blocks are compressed before they are sealed.
    pub compression: Compression,
    /// Bytes of the largest row, or of what stands before the first one of a partition.
    pub row_bytes_max: usize,
}

impl Default for WriterOptions {
    fn default() -> Self {
        WriterOptions {
            id: 0,
            level: 0,
            store: Store::BASE,
            block_bytes: 4096,
            compression: Compression::Lz4,
            row_bytes_max: ROW_BYTES_MAX,
        }
    }
}

/// An SSTable under construction.
pub struct SstableWriter<B: Backend> {
    backend: Arc<B>,
    env: Arc<dyn Env>,
    options: WriterOptions,
    data: ComponentWriter<B>,
    index: ComponentWriter<B>,
    filter_component: ComponentWriter<B>,
    statistics_component: ComponentWriter<B>,

    block: BlockBuilder,
    /// Where the block under construction begins, and rows before it.
    block_start: Option<(Place, u64)>,
    /// The last thing that went into a block.
    last: Option<Place>,
    /// The end of the block before the one under construction.
    last_block_end: Option<Place>,
    /// Finished blocks that are not sealed yet, and their bytes.
    waiting: VecDeque<Finished>,
    waiting_bytes: usize,
    packer: Packer,
    data_blocks: u32,
    index_blocks: u32,
    node: NodeBuilder,
    /// What the node under construction means to the top.
    node_start: Option<NodeStart>,
    top: NodeBuilder,
    filter: FilterBuilder,
    /// Sealed bytes of the filter's blocks so far.
    filter_blocks: Vec<u64>,
    statistics: StatisticsBuilder,
    partition: Option<OpenPartition>,
    scratch: Wiped<Vec<u8>>,
}

/// A position in the SSTable: a partition, and inside it an item or, before all, the empty position.
#[derive(Clone)]
struct Place {
    key: PartitionKey,
    clustering: Bytes,
}

impl Place {
    fn separator(&self) -> Separator<'_> {
        Separator {
            token: self.key.token().0,
            key: self.key.bytes(),
            clustering: &self.clustering,
        }
    }
}

/// A data block that waits to hear whether it is the last.
struct Finished {
    plain: Wiped<Vec<u8>>,
    start: Place,
    /// The end of the block before it.
    after: Option<Place>,
    first_row: u64,
    rows: u64,
}

struct NodeStart {
    separator: (i64, Vec<u8>, Vec<u8>),
    block: u32,
    first_row: u64,
}

struct OpenPartition {
    key: PartitionKey,
    deletion: Option<Deletion>,
    static_row: Option<Wiped<Vec<u8>>>,
    /// A section of it is open in the block.
    in_block: bool,
    /// A section of it has been written before.
    begun: bool,
    last: Option<Clustering>,
    open: Option<Deletion>,
}

impl<B: Backend> SstableWriter<B> {
    /// Begins an SSTable under the active key of the ring. Nothing is on the disk before the first item.
    pub fn new(backend: Arc<B>, env: Arc<dyn Env>, ring: &KeyRing, options: WriterOptions) -> Self {
        let component = |kind| ComponentWriter::new(SealedWriter::new(ring, env.entropy(), kind));
        let options = WriterOptions {
            block_bytes: options
                .block_bytes
                .clamp(*BLOCK_BYTES_RANGE.start(), *BLOCK_BYTES_RANGE.end()),
            ..options
        };
        SstableWriter {
            data: component(StructureKind::SstableData),
            index: component(StructureKind::SstableIndex),
            filter_component: component(StructureKind::SstableFilter),
            statistics_component: component(StructureKind::SstableStatistics),
            packer: Packer::new(options.compression),
            backend,
            env,
            options,
            block: BlockBuilder::default(),
            block_start: None,
            last: None,
            last_block_end: None,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            data_blocks: 0,
            index_blocks: 0,
            node: NodeBuilder::default(),
            node_start: None,
            top: NodeBuilder::default(),
            filter: FilterBuilder::default(),
            filter_blocks: Vec::new(),
            statistics: StatisticsBuilder::default(),
            partition: None,
            scratch: Wiped::default(),
        }
    }

    /// Begins a partition. Keys ascend. It is part of the SSTable with the first thing that is said of it.
    pub fn begin_partition(&mut self, head: &PartitionHead) -> Result<()> {
        if self.partition.is_some() || self.last.as_ref().is_some_and(|last| last.key >= head.key) {
            return Err(out_of_order("partitions"));
        }
        let static_row = head.static_row.as_ref().map(|row| {
            let mut encoded = Wiped::new(Vec::with_capacity(row.weight()));
            row.encode(&mut encoded);
            encoded
        });
        self.partition = Some(OpenPartition {
            key: head.key.clone(),
            deletion: head.deletion,
            static_row,
            in_block: false,
            begun: false,
            last: None,
            open: None,
        });
        Ok(())
    }

    /// Adds a row or boundary to the partition. Positions ascend.
    pub async fn push(&mut self, item: &Item) -> Result<()> {
        self.add(item)?;
        self.write_out().await
    }

    fn add(&mut self, item: &Item) -> Result<()> {
        let partition = self
            .partition
            .as_ref()
            .ok_or_else(|| out_of_order("items"))?;
        let ascends = partition
            .last
            .as_ref()
            .is_none_or(|last| *last < item.position);
        if !ascends
            || item.before != partition.open
            || (item.row.is_some() && item.before != item.after)
        {
            return Err(out_of_order("items"));
        }
        self.scratch.clear();
        if let Some(row) = &item.row {
            self.scratch.reserve_wiped(row.as_ref().weight());
            row.encode(&mut self.scratch);
        }
        self.make_room(&item.position.0, self.scratch.len() + ITEM_OVERHEAD_BYTES)?;
        match &item.row {
            Some(row) => {
                self.block
                    .push_row(&item.position.0, item.after, &self.scratch);
                self.statistics.row(row.clustering(), &self.scratch)?;
            }
            None => {
                self.block
                    .push_boundary(&item.position.0, item.before, item.after);
                if let Some(deletion) = item.after {
                    self.statistics.deletion(deletion);
                }
            }
        }
        let partition = self.partition.as_mut().expect("checked above");
        partition.open = item.after;
        partition.last = Some(item.position.clone());
        self.last = Some(Place {
            key: partition.key.clone(),
            clustering: item.position.0.clone(),
        });
        Ok(())
    }

    /// Ends the partition. Every range deletion is closed.
    pub async fn end_partition(&mut self) -> Result<()> {
        self.close_partition()?;
        self.write_out().await
    }

    fn close_partition(&mut self) -> Result<()> {
        let Some(partition) = self.partition.as_ref().filter(|it| it.open.is_none()) else {
            return Err(out_of_order("range deletions"));
        };
        if !partition.begun {
            if partition.deletion.is_none() && partition.static_row.is_none() {
                self.partition = None;
                return Ok(());
            }
            self.make_room(&Bytes::new(), 0)?;
        }
        self.block.end_section(false);
        let partition = self.partition.take().expect("checked above");
        if self
            .last
            .as_ref()
            .is_none_or(|last| last.key != partition.key)
        {
            self.last = Some(Place {
                key: partition.key,
                clustering: Bytes::new(),
            });
        }
        Ok(())
    }

    /// The partition becomes part of the SSTable.
    fn count_partition(&mut self) -> Result<()> {
        let Some(partition) = &self.partition else {
            return Err(out_of_order("partitions"));
        };
        let static_row = partition.static_row.as_ref().map(|row| &row[..]);
        self.statistics
            .partition(&partition.key, partition.deletion, static_row)?;
        match self.filter.push(partition.key.token()) {
            Some(segment) => self.seal_filter(&segment, false),
            None => Ok(()),
        }
    }

    /// Makes sure that a section of the partition is open and has room for an item at `position`, in this block or the next.
    fn make_room(&mut self, position: &Bytes, bytes: usize) -> Result<()> {
        let item_bytes = position.len() + bytes;
        let partition = self
            .partition
            .as_ref()
            .expect("only called inside a partition");
        let head_bytes = match partition.in_block {
            true => 0,
            false => {
                let static_bytes = partition.static_row.as_ref().map_or(0, |row| row.len());
                partition.key.bytes().len() + static_bytes + 2 * ITEM_OVERHEAD_BYTES
            }
        };
        let larger = item_bytes.max(head_bytes);
        if larger > self.options.row_bytes_max {
            return Err(Error::TooLarge {
                what: format!("a row of {larger} bytes does not fit a block"),
            });
        }
        let would_be = self.block.bytes() + head_bytes + item_bytes;
        if !self.block.is_empty()
            && (would_be > self.options.block_bytes || self.block.is_section_full())
        {
            self.cut()?;
        }
        let partition = self
            .partition
            .as_ref()
            .expect("only called inside a partition");
        if !partition.begun {
            self.count_partition()?;
        }
        let partition = self
            .partition
            .as_mut()
            .expect("only called inside a partition");
        if !partition.in_block {
            if self.block_start.is_none() {
                // A block that begins with a partition begins before all its items.
                let clustering = if partition.begun {
                    position.clone()
                } else {
                    Bytes::new()
                };
                let key = partition.key.clone();
                self.block_start = Some((Place { key, clustering }, self.statistics.rows()));
            }
            self.block.begin_section(&SectionHead {
                key: &partition.key,
                deletion: partition.deletion,
                static_row: partition
                    .static_row
                    .as_ref()
                    .filter(|_| !partition.begun)
                    .map(|row| &row[..]),
                continued: partition.begun,
                open: partition.open,
            });
            partition.in_block = true;
            partition.begun = true;
        }
        Ok(())
    }

    /// Ends the block under construction. The one held back before it is now known not to be the last.
    fn cut(&mut self) -> Result<()> {
        if let Some(partition) = self
            .partition
            .as_mut()
            .filter(|partition| partition.in_block)
        {
            self.block.end_section(true);
            partition.in_block = false;
        }
        let (start, first_row) = self
            .block_start
            .take()
            .expect("a block that is not empty has a start");
        let finished = Finished {
            plain: self.block.finish(),
            start,
            after: self.last_block_end.take(),
            first_row,
            rows: self.statistics.rows() - first_row,
        };
        self.last_block_end.clone_from(&self.last);
        self.wait(finished);
        if self.packer.waits(self.waiting_bytes) {
            return Ok(());
        }
        self.decide(false)?;
        // Whoever waits for this thread waits for a few blocks, not for all that waited.
        let left = self.waiting.len().saturating_sub(SEALED_AT_ONCE);
        self.seal_waiting(left.max(1))
    }

    fn wait(&mut self, finished: Finished) {
        self.waiting_bytes += finished.plain.len();
        self.waiting.push_back(finished);
    }

    fn decide(&mut self, is_all: bool) -> Result<()> {
        let waiting = self.waiting.iter();
        let samples: Vec<&[u8]> = waiting.map(|block| &block.plain[..]).collect();
        self.packer.decide(&samples, is_all)
    }

    /// Seals what waits, until so many are left.
    fn seal_waiting(&mut self, left: usize) -> Result<()> {
        while self.waiting.len() > left
            && let Some(block) = self.waiting.pop_front()
        {
            self.waiting_bytes -= block.plain.len();
            self.seal_data(block, false)?;
        }
        Ok(())
    }

    fn seal_data(&mut self, block: Finished, end: bool) -> Result<()> {
        let number = self.data_blocks;
        self.data_blocks = number.checked_add(1).ok_or_else(|| too_large("blocks"))?;
        let placed = self.data.append(end, self.packer.data(&block.plain))?;
        let separator = Separator::between(
            block.after.as_ref().map(Place::separator),
            block.start.separator(),
        );
        let child = Child {
            separator,
            block: number,
            offset: placed.offset,
            sealed_bytes: placed.sealed_bytes,
            first_row: block.first_row,
            rows: block.rows,
        };
        if self.node.bytes() >= INDEX_BLOCK_BYTES || !self.node.push(&child) {
            self.seal_node(block.first_row)?;
            if !self.node.push(&child) {
                return Err(too_large("one block"));
            }
        }
        self.node_start.get_or_insert_with(|| NodeStart {
            separator: (
                separator.token,
                separator.key.to_vec(),
                separator.clustering.to_vec(),
            ),
            block: number,
            first_row: block.first_row,
        });
        Ok(())
    }

    /// Seals the index block under construction; the next one begins at row `next_row`.
    fn seal_node(&mut self, next_row: u64) -> Result<()> {
        let Some(start) = self.node_start.take() else {
            return Ok(());
        };
        let node = self.packer.other(&self.node.finish());
        let placed = self.index.append(false, node)?;
        self.index_blocks += 1;
        let (token, key, clustering) = &start.separator;
        let pushed = self.top.push(&Child {
            separator: Separator {
                token: *token,
                key,
                clustering,
            },
            block: start.block,
            offset: placed.offset,
            sealed_bytes: placed.sealed_bytes,
            first_row: start.first_row,
            rows: next_row - start.first_row,
        });
        if !pushed || self.top.bytes() > NODE_BYTES_MAX {
            return Err(too_large("the index"));
        }
        Ok(())
    }

    /// Fingerprints are noise: compressing them is a waste.
    fn seal_filter(&mut self, segment: &[u8], end: bool) -> Result<()> {
        let placed = self
            .filter_component
            .append(end, envelope::pack(segment, Packing::Stored))?;
        self.filter_blocks.push(placed.sealed_bytes);
        Ok(())
    }

    /// Writes what has been gathered, if it is worth a write.
    async fn write_out(&mut self) -> Result<()> {
        for component in [&mut self.data, &mut self.index, &mut self.filter_component] {
            if component.is_due() {
                component.write_out(&self.backend).await?;
            }
        }
        Ok(())
    }

    /// Bytes of data so far: what the data component would have now, if what waits did not shrink.
    pub fn data_bytes(&self) -> u64 {
        match self.waiting.len() {
            0 | 1 => self.data.end(),
            _ => self.data.end() + self.waiting_bytes as u64,
        }
    }

    /// Names of the blobs.
    fn structures(&self) -> [StructureId; 4] {
        [
            self.data.structure(),
            self.index.structure(),
            self.filter_component.structure(),
            self.statistics_component.structure(),
        ]
    }

    /// Ends the SSTable; its blobs are durable on return. None, and nothing on the disk, if there was no partition.
    pub async fn finish(self) -> Result<Option<SstableEntry>> {
        let (backend, structures) = (self.backend.clone(), self.structures());
        let finished = self.finish_all().await;
        if finished.is_err() {
            remove(&*backend, structures).await;
        }
        finished
    }

    async fn finish_all(mut self) -> Result<Option<SstableEntry>> {
        if self.partition.is_some() {
            return Err(out_of_order("partitions"));
        }
        let created_at = self.env.wall_micros().div_euclid(1_000_000);
        let rows = self.statistics.rows();
        let Some(mut statistics) = std::mem::take(&mut self.statistics).finish(created_at) else {
            return Ok(None);
        };
        let dictionary_bytes = self.seal_rest(rows)?;
        let top = self.packer.other(&self.top.finish());
        let top = self.index.append(true, top)?;
        if let Some(segment) = std::mem::take(&mut self.filter).finish() {
            self.seal_filter(&segment, true)?;
        }
        statistics.layout = Layout {
            top_offset: top.offset,
            top_bytes: top.sealed_bytes,
            index_blocks: self.index_blocks,
            data_blocks: self.data_blocks,
            data_bytes: self.data.end(),
            filter_blocks: std::mem::take(&mut self.filter_blocks),
            dictionary_bytes,
        };
        let statistics = self.packer.other(&statistics.encode());
        self.statistics_component.append(true, statistics)?;
        let backend = &*self.backend;
        Ok(Some(SstableEntry {
            id: self.options.id,
            level: self.options.level,
            store: self.options.store,
            components: vec![
                self.data.finish(backend).await?,
                self.index.finish(backend).await?,
                self.filter_component.finish(backend).await?,
                self.statistics_component.finish(backend).await?,
            ],
        }))
    }

    /// Seals what is left of data and index; gives the sealed bytes of the dictionary.
    fn seal_rest(&mut self, rows: u64) -> Result<u64> {
        if !self.block.is_empty() {
            let (start, first_row) = self
                .block_start
                .take()
                .expect("a block that is not empty has a start");
            let finished = Finished {
                plain: self.block.finish(),
                start,
                after: self.last_block_end.take(),
                first_row,
                rows: rows - first_row,
            };
            self.wait(finished);
        }
        self.decide(true)?;
        self.seal_waiting(1)?;
        let last = self
            .waiting
            .pop_front()
            .expect("there was a partition, so there is a block");
        self.seal_data(last, !self.packer.has_dictionary())?;
        let dictionary_bytes = match self.packer.dictionary()? {
            Some(dictionary) => self.data.append(true, dictionary)?.sealed_bytes,
            None => 0,
        };
        self.seal_node(rows)?;
        Ok(dictionary_bytes)
    }

    /// Gives up: removes what has been written.
    pub async fn abandon(self) {
        let (backend, structures) = (self.backend.clone(), self.structures());
        drop(self);
        remove(&*backend, structures).await;
    }
}

async fn remove<B: Backend>(backend: &B, structures: [StructureId; 4]) {
    for structure in structures {
        // What cannot be removed now is an orphan that recovery removes.
        let _ = backend.blob_remove(structure).await;
    }
}

fn out_of_order(what: &str) -> Error {
    Error::Invalid {
        what: format!("sstable writer: {what} out of order"),
    }
}

fn too_large(what: &str) -> Error {
    Error::Full {
        what: format!("sstable writer: {what} grew past what the format counts"),
    }
}
