//! An open SSTable: what it takes to find, fetch and open any of its blocks.
//!
//! Opening reads the statistics, the top of the index and the filter; these stay in memory while it is open. Index
//! and data blocks are fetched one by one and live in the cache, if anywhere. Cursors never wait: they ask a [`BlockLookup`] and
//! answer a miss, and whoever drives them fetches the block here.
//!
//! What must hold: a block is opened as exactly the block it is asked for (structure, ordinal, end), so that bytes cut, swapped or
//! changed are an error that names structure, block and offset, and never another block's rows.

use std::sync::Arc;

use bytes::Bytes;
use palladium_crypto::{KeyRing, StructureId, StructureKind, TableId};

use super::ahead::ReadAhead;
use super::block::BLOCK_BYTES_MAX;
use super::cursor::SstableCursor;
use super::envelope;
use super::filter::{FILTER_SEGMENT_BYTES_MAX, Filter};
use super::index::{Location, NODE_BYTES_MAX, Node, Target};
use super::statistics::{Layout, STATISTICS_BYTES_MAX, Statistics};
use super::zstd::{DICTIONARY_BYTES_MAX, Dictionary};
use crate::backend::{Backend, Reads};
use crate::cache::{BlockLookup, PlainBlock};
use crate::compaction::SstableSummary;
use crate::manifest::{Component, SstableEntry};
use crate::model::{Clustering, PartitionKey, Store};
use crate::read::{BlockAddress, Fault};
use crate::sealed::{BLOB_HEADER_BYTES, SealedReader, TAG_BYTES};
use crate::wiped::Wiped;
use crate::{Error, Result};

/// What an expanded key takes, of which data and index have one each.
const EXPANDED_KEY_BYTES: usize = 640;

/// An SSTable whose blocks can be opened.
pub struct Sstable {
    id: u64,
    level: u8,
    store: Store,
    bytes: u64,
    table: TableId,
    data: OpenComponent,
    index: OpenComponent,
    structures: Vec<StructureId>,
    top: Node,
    filter: Filter,
    statistics: Statistics,
}

/// One component: its blob and the key to it.
struct OpenComponent {
    structure: StructureId,
    kind: StructureKind,
    size: u64,
    sealed: SealedReader,
    /// What its blocks may refer to.
    dictionary: Option<Dictionary>,
}

/// A sealed block of a component.
#[derive(Clone, Copy)]
struct Wanted {
    block: u32,
    location: Location,
    end: bool,
    bytes_max: usize,
}

impl OpenComponent {
    async fn open<B: Reads>(
        backend: &B,
        entry: &SstableEntry,
        kind: StructureKind,
        ring: &KeyRing,
    ) -> Result<OpenComponent> {
        let Component {
            structure,
            wrapped,
            size,
            ..
        } = entry.component(kind).ok_or_else(|| {
            Error::corrupt(format!(
                "sstable {} of table {} has no {kind}",
                entry.id,
                ring.table()
            ))
        })?;
        let sealed = SealedReader::new(ring, wrapped, *structure, kind)?;
        let component = OpenComponent {
            structure: *structure,
            kind,
            size: *size,
            sealed,
            dictionary: None,
        };
        let found = backend.blob_size(*structure).await?;
        if found != *size {
            return Err(component.damaged(format!("{found} bytes where {size} were written")));
        }
        Ok(component)
    }

    async fn read<B: Reads>(&self, backend: &B, location: Location) -> Result<Vec<u8>> {
        self.check(location)?;
        backend
            .blob_read(self.structure, location.offset, location.sealed_bytes)
            .await
    }

    /// The same, with what follows where that has been of use.
    async fn read_ahead<B: Reads>(
        &self,
        backend: &B,
        location: Location,
        ahead: &mut ReadAhead,
    ) -> Result<Vec<u8>> {
        self.check(location)?;
        if let Some(block) = ahead.block(location) {
            return Ok(block);
        }
        let (alone, stretch) = (location.sealed_bytes, ahead.stretch(location, self.size));
        let read = |bytes| backend.blob_read(self.structure, location.offset, bytes);
        let bytes = match read(stretch).await {
            Err(Error::Io { .. } | Error::Corrupt { .. }) if stretch > alone => {
                ahead.failed(self.structure, location, stretch);
                read(alone).await?
            }
            bytes => bytes?,
        };
        ahead
            .keep(location, bytes)
            .ok_or_else(|| self.damaged("a short read".into()))
    }

    /// The same of what is in memory; None if it is not. The location was checked.
    fn read_ahead_now<B: Backend>(
        &self,
        backend: &B,
        location: Location,
        ahead: &mut ReadAhead,
    ) -> Option<Result<Vec<u8>>> {
        if let Some(block) = ahead.block(location) {
            return Some(Ok(block));
        }
        let (alone, stretch) = (location.sealed_bytes, ahead.stretch(location, self.size));
        let mut bytes = ahead.buffer();
        let mut read =
            |length| backend.blob_read_now(self.structure, location.offset, length, &mut bytes);
        let read = match read(stretch) {
            None if stretch > alone => read(alone)?,
            read => read?,
        };
        Some(read.and_then(|()| {
            ahead
                .keep(location, bytes)
                .ok_or_else(|| self.damaged("a short read".into()))
        }))
    }

    /// A range that the component does not have is damage of whoever named it, and is never read or allocated.
    fn check(&self, location: Location) -> Result<()> {
        let end = location.offset.checked_add(location.sealed_bytes as u64);
        if end.is_none_or(|end| end > self.size) || location.sealed_bytes < TAG_BYTES {
            return Err(self.damaged(format!(
                "a block of {} bytes at offset {} lies outside",
                location.sealed_bytes, location.offset
            )));
        }
        Ok(())
    }

    /// The plaintext of one sealed block.
    fn open_block(&self, wanted: Wanted, sealed: Vec<u8>) -> Result<Bytes> {
        let mut block = Wiped::new(sealed);
        self.sealed
            .open_in_place(u64::from(wanted.block), wanted.end, &[], &mut block)
            .and_then(|()| envelope::unpack(block, wanted.bytes_max, self.dictionary.as_ref()))
            .map_err(|error| self.at(wanted, error))
    }

    async fn check_header<B: Reads>(&self, backend: &B) -> Result<()> {
        let header = backend
            .blob_read(self.structure, 0, BLOB_HEADER_BYTES)
            .await?;
        self.sealed.check_blob_header(&header)
    }

    fn at(&self, wanted: Wanted, error: Error) -> Error {
        match error {
            Error::Corrupt { what } => self.damaged(format!(
                "block {} at offset {}: {what}",
                wanted.block, wanted.location.offset
            )),
            other => other,
        }
    }

    fn damaged(&self, what: String) -> Error {
        Error::corrupt(format!("{} {}: {what}", self.kind, self.structure))
    }
}

/// An index block that need not be read.
fn known(
    ahead: &Option<&mut ReadAhead>,
    blocks: &dyn BlockLookup,
    index_block: BlockAddress,
) -> Option<Result<Node>> {
    let kept = ahead
        .as_ref()
        .and_then(|ahead| ahead.node(index_block.block));
    match kept {
        Some(node) => Some(Ok(node)),
        None => {
            let block = blocks.block(index_block)?;
            Some(Node::parse(block.into_bytes()))
        }
    }
}

impl Sstable {
    /// Opens the components that an entry names: statistics, top of the index, filter.
    pub async fn open<B: Reads>(
        backend: &B,
        entry: &SstableEntry,
        ring: &KeyRing,
    ) -> Result<Arc<Sstable>> {
        let mut data =
            OpenComponent::open(backend, entry, StructureKind::SstableData, ring).await?;
        let index = OpenComponent::open(backend, entry, StructureKind::SstableIndex, ring).await?;
        let filter =
            OpenComponent::open(backend, entry, StructureKind::SstableFilter, ring).await?;
        let statistics =
            OpenComponent::open(backend, entry, StructureKind::SstableStatistics, ring).await?;
        let statistics = open_statistics(backend, &statistics).await?;
        let layout = &statistics.layout;
        if layout.data_bytes != data.size || layout.data_blocks == 0 {
            return Err(data.damaged(format!(
                "{} bytes where {} were written",
                data.size, layout.data_bytes
            )));
        }
        data.check_header(backend).await?;
        data.dictionary = open_dictionary(backend, &data, layout).await?;
        let top = open_top(backend, &index, layout).await?;
        let filter = open_filter(backend, &filter, &layout.filter_blocks).await?;
        Ok(Arc::new(Sstable {
            id: entry.id,
            level: entry.level,
            store: entry.store,
            bytes: entry.bytes(),
            table: ring.table(),
            data,
            index,
            structures: entry
                .components
                .iter()
                .map(|component| component.structure)
                .collect(),
            top,
            filter,
            statistics,
        }))
    }

    /// Its number in the manifest.
    pub fn id(&self) -> u64 {
        self.id
    }

    /// Which of the table's stores it is part of.
    pub fn store(&self) -> Store {
        self.store
    }

    /// Bytes of all its components, as sealed.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Bytes of its blocks of rows, as sealed: without the dictionary behind them.
    pub fn data_bytes(&self) -> u64 {
        let dictionary = self.statistics.layout.dictionary_bytes;
        self.data.size.saturating_sub(dictionary)
    }

    /// The table it belongs to.
    pub fn table(&self) -> TableId {
        self.table
    }

    /// Names of its components.
    pub fn structures(&self) -> &[StructureId] {
        &self.structures
    }

    /// Whether a block of this structure is fetched here.
    pub fn owns(&self, structure: StructureId) -> bool {
        structure == self.data.structure || structure == self.index.structure
    }

    /// What it holds, in numbers.
    pub fn statistics(&self) -> &Statistics {
        &self.statistics
    }

    /// Memory held while it is open, in bytes.
    pub fn memory_bytes(&self) -> usize {
        self.filter.bytes()
            + self.top.bytes().len()
            + self.statistics.bytes()
            + self.data.dictionary.as_ref().map_or(0, Dictionary::bytes)
            + 2 * EXPANDED_KEY_BYTES
            + size_of::<Sstable>()
    }

    /// What choosing a compaction needs to know.
    pub fn summary(&self) -> SstableSummary {
        let statistics = &self.statistics;
        SstableSummary {
            id: self.id,
            level: self.level,
            bytes: self.data.size,
            created_at: statistics.created_at,
            tokens: (
                statistics.first_key.token().0,
                statistics.last_key.token().0,
            ),
            timestamps: statistics.timestamps,
            max_local_deletion_time: statistics.local_deletion_times.1,
            partitions: statistics.partitions,
            entries: statistics.entries,
            tombstones: statistics.deletion_times.clone(),
            is_set_aside: false,
        }
    }

    /// False only if the partition is surely not here.
    pub fn may_contain(&self, key: &PartitionKey) -> bool {
        self.statistics.first_key <= *key
            && *key <= self.statistics.last_key
            && self.filter.may_contain(key.token())
    }

    /// The first and the last row of all partitions, if there is nothing that reaches beyond them: no deletion of a partition or a range.
    pub fn only_rows(&self) -> Option<&(Clustering, Clustering)> {
        let statistics = &self.statistics;
        (statistics.tombstones == 0 && statistics.rows > 0).then_some(&statistics.clusterings)
    }

    /// A cursor that stands before the first partition.
    pub fn cursor(self: &Arc<Self>, blocks: Arc<dyn BlockLookup>) -> SstableCursor {
        SstableCursor::new(self.clone(), blocks)
    }

    pub(super) fn data_blocks(&self) -> u32 {
        self.statistics.layout.data_blocks
    }

    pub(super) fn data_address(&self, block: u32) -> BlockAddress {
        BlockAddress {
            structure: self.data.structure,
            block,
        }
    }

    /// The data block in which a target lies, through index blocks that `index_block` gives.
    pub(super) fn find(
        &self,
        target: &Target<'_>,
        index_block: impl FnOnce(BlockAddress) -> Result<Node, Fault>,
    ) -> Result<u32, Fault> {
        let child = self.top.find(target)?;
        let node = index_block(self.index_address(child))?;
        Ok(node.block(node.find(target)?)?)
    }

    /// An error about a data block whose plaintext makes no sense.
    pub(super) fn malformed(&self, block: u32, what: &str) -> Error {
        self.data.damaged(format!("block {block}: {what}"))
    }

    fn index_address(&self, child: usize) -> BlockAddress {
        BlockAddress {
            structure: self.index.structure,
            block: child as u32,
        }
    }

    fn wanted_index(&self, block: u32) -> Result<Wanted> {
        Ok(Wanted {
            block,
            location: self.top.location(block as usize)?,
            end: false,
            bytes_max: NODE_BYTES_MAX,
        })
    }

    fn wanted_data(&self, block: u32, node: &Node) -> Result<Wanted> {
        let child = node.find_block(block)?;
        if node.block(child)? != block {
            return Err(self
                .index
                .damaged(format!("data block {block} is not where the index has it")));
        }
        Ok(Wanted {
            block,
            location: node.location(child)?,
            end: block.checked_add(1) == Some(self.data_blocks()) && self.data.dictionary.is_none(),
            bytes_max: BLOCK_BYTES_MAX,
        })
    }

    fn index_child_of(&self, block: u32) -> Result<BlockAddress> {
        Ok(self.index_address(self.top.find_block(block)?))
    }

    /// Reads and opens a block that a cursor missed. `blocks` saves reading the index block on the way, if it is there.
    pub async fn fetch<B: Reads>(
        &self,
        backend: &B,
        blocks: &dyn BlockLookup,
        address: BlockAddress,
        mut ahead: Option<&mut ReadAhead>,
    ) -> Result<PlainBlock> {
        if address.structure == self.index.structure {
            return self
                .fetch_wanted(
                    backend,
                    &self.index,
                    self.wanted_index(address.block)?,
                    None,
                )
                .await;
        }
        let parent = self.index_child_of(address.block)?;
        let node = match known(&ahead, blocks, parent) {
            Some(node) => node?,
            None => {
                let wanted = self.wanted_index(parent.block)?;
                let block = self
                    .fetch_wanted(backend, &self.index, wanted, None)
                    .await?;
                Node::parse(block.into_bytes())?
            }
        };
        let wanted = self.wanted_data(address.block, &node)?;
        if let Some(ahead) = &mut ahead {
            ahead.keep_node(parent.block, &node);
        }
        self.fetch_wanted(backend, &self.data, wanted, ahead).await
    }

    async fn fetch_wanted<B: Reads>(
        &self,
        backend: &B,
        component: &OpenComponent,
        wanted: Wanted,
        ahead: Option<&mut ReadAhead>,
    ) -> Result<PlainBlock> {
        let sealed = match ahead {
            Some(ahead) => {
                component
                    .read_ahead(backend, wanted.location, ahead)
                    .await?
            }
            None => component.read(backend, wanted.location).await?,
        };
        component
            .open_block(wanted, sealed)
            .map(PlainBlock::sharing)
    }

    /// Sealed bytes of a data block.
    #[cfg(test)]
    pub(super) async fn sealed_bytes_of<B: Reads>(
        &self,
        backend: &B,
        blocks: &dyn BlockLookup,
        block: u32,
    ) -> Result<usize> {
        let parent = self.index_child_of(block)?;
        let node = self.fetch(backend, blocks, parent, None).await?;
        let node = Node::parse(node.into_bytes())?;
        Ok(self.wanted_data(block, &node)?.location.sealed_bytes)
    }

    /// The same as [`Self::fetch`] if it need not wait for the disk; None if it would.
    pub fn try_fetch_now<B: Backend>(
        &self,
        backend: &B,
        blocks: &dyn BlockLookup,
        address: BlockAddress,
        mut ahead: Option<&mut ReadAhead>,
    ) -> Option<Result<PlainBlock>> {
        if address.structure == self.index.structure {
            let wanted = self.wanted_index(address.block);
            return self.fetch_wanted_now(backend, &self.index, wanted, None);
        }
        let parent = match self.index_child_of(address.block) {
            Ok(parent) => parent,
            Err(error) => return Some(Err(error)),
        };
        let node = match known(&ahead, blocks, parent) {
            Some(node) => node,
            None => {
                let wanted = self.wanted_index(parent.block);
                self.fetch_wanted_now(backend, &self.index, wanted, None)?
                    .and_then(|block| Node::parse(block.into_bytes()))
            }
        };
        let wanted = node.and_then(|node| {
            let wanted = self.wanted_data(address.block, &node)?;
            if let Some(ahead) = &mut ahead {
                ahead.keep_node(parent.block, &node);
            }
            Ok(wanted)
        });
        self.fetch_wanted_now(backend, &self.data, wanted, ahead)
    }

    fn fetch_wanted_now<B: Backend>(
        &self,
        backend: &B,
        component: &OpenComponent,
        wanted: Result<Wanted>,
        ahead: Option<&mut ReadAhead>,
    ) -> Option<Result<PlainBlock>> {
        let wanted =
            match wanted.and_then(|wanted| component.check(wanted.location).map(|()| wanted)) {
                Ok(wanted) => wanted,
                Err(error) => return Some(Err(error)),
            };
        let sealed = match ahead {
            Some(ahead) => component.read_ahead_now(backend, wanted.location, ahead)?,
            None => {
                let Location {
                    offset,
                    sealed_bytes,
                } = wanted.location;
                let mut sealed = Vec::with_capacity(sealed_bytes);
                backend
                    .blob_read_now(component.structure, offset, sealed_bytes, &mut sealed)?
                    .map(|()| sealed)
            }
        };
        Some(
            sealed
                .and_then(|sealed| component.open_block(wanted, sealed))
                .map(PlainBlock::sharing),
        )
    }

    /// Children of the top of the index, and which data blocks each of them has.
    pub(super) fn index_blocks(&self) -> Result<Vec<std::ops::Range<u32>>> {
        let children = self.top.children();
        let begin = |child: usize| match child < children {
            true => self.top.block(child),
            false => Ok(self.data_blocks()),
        };
        (0..children)
            .map(|child| Ok(begin(child)?..begin(child + 1)?))
            .collect()
    }

    /// One index block.
    pub(super) async fn index_block<B: Reads>(&self, backend: &B, child: u32) -> Result<Node> {
        let wanted = self.wanted_index(child)?;
        let block = self
            .fetch_wanted(backend, &self.index, wanted, None)
            .await?;
        Node::parse(block.into_bytes())
    }

    /// One data block, which an index block has.
    pub(super) async fn data_block_of<B: Reads>(
        &self,
        backend: &B,
        node: &Node,
        block: u32,
    ) -> Result<PlainBlock> {
        let wanted = self.wanted_data(block, node)?;
        self.fetch_wanted(backend, &self.data, wanted, None).await
    }

    /// Opens every block of every component in order: for `verify`. Stops at the first damage.
    pub async fn verify<B: Reads>(&self, backend: &B) -> Result<()> {
        let mut expected = BLOB_HEADER_BYTES as u64;
        for child in 0..self.top.children() {
            let block = self
                .fetch_wanted(backend, &self.index, self.wanted_index(child as u32)?, None)
                .await?;
            let node = Node::parse(block.into_bytes())?;
            for data_child in 0..node.children() {
                let wanted = self.wanted_data(node.block(data_child)?, &node)?;
                if wanted.location.offset != expected {
                    return Err(self
                        .data
                        .damaged(format!("bytes at offset {expected} belong to no block")));
                }
                expected += wanted.location.sealed_bytes as u64;
                self.fetch_wanted(backend, &self.data, wanted, None).await?;
            }
        }
        if expected + self.statistics.layout.dictionary_bytes != self.data.size {
            return Err(self
                .data
                .damaged(format!("bytes at offset {expected} belong to no block")));
        }
        Ok(())
    }
}

/// The dictionary, if there is one: the last block of the data.
async fn open_dictionary<B: Reads>(
    backend: &B,
    data: &OpenComponent,
    layout: &Layout,
) -> Result<Option<Dictionary>> {
    let sealed_bytes = layout.dictionary_bytes;
    if sealed_bytes == 0 {
        return Ok(None);
    }
    if sealed_bytes > (DICTIONARY_BYTES_MAX + 2 + TAG_BYTES) as u64 || sealed_bytes > data.size {
        return Err(data.damaged(format!("a dictionary of {sealed_bytes} bytes")));
    }
    let wanted = Wanted {
        block: layout.data_blocks,
        location: Location {
            offset: data.size - sealed_bytes,
            sealed_bytes: sealed_bytes as usize,
        },
        end: true,
        bytes_max: DICTIONARY_BYTES_MAX + 1,
    };
    let sealed = data.read(backend, wanted.location).await?;
    data.open_block(wanted, sealed)
        .and_then(|plain| Dictionary::decode(&plain).map_err(|error| data.at(wanted, error)))
        .map(Some)
}

/// The top of the index: its last block.
async fn open_top<B: Reads>(backend: &B, index: &OpenComponent, layout: &Layout) -> Result<Node> {
    index.check_header(backend).await?;
    let wanted = Wanted {
        block: layout.index_blocks,
        location: Location {
            offset: layout.top_offset,
            sealed_bytes: usize::try_from(layout.top_bytes).unwrap_or(usize::MAX),
        },
        end: true,
        bytes_max: NODE_BYTES_MAX,
    };
    let sealed = index.read(backend, wanted.location).await?;
    let top = index
        .open_block(wanted, sealed)
        .and_then(|plain| Node::parse(plain).map_err(|error| index.at(wanted, error)))?;
    if top.children() != layout.index_blocks as usize
        || layout.top_offset + layout.top_bytes != index.size
    {
        return Err(index.damaged("does not fit its layout".into()));
    }
    Ok(top)
}

async fn open_statistics<B: Reads>(backend: &B, component: &OpenComponent) -> Result<Statistics> {
    let bytes = whole(backend, component, STATISTICS_BYTES_MAX).await?;
    component
        .sealed
        .check_blob_header(&bytes[..BLOB_HEADER_BYTES])?;
    let wanted = Wanted {
        block: 0,
        location: Location {
            offset: BLOB_HEADER_BYTES as u64,
            sealed_bytes: bytes.len() - BLOB_HEADER_BYTES,
        },
        end: true,
        bytes_max: STATISTICS_BYTES_MAX,
    };
    component
        .open_block(wanted, bytes[BLOB_HEADER_BYTES..].to_vec())
        .and_then(|plain| Statistics::decode(&plain).map_err(|error| component.at(wanted, error)))
}

async fn open_filter<B: Reads>(
    backend: &B,
    component: &OpenComponent,
    blocks: &[u64],
) -> Result<Filter> {
    component.check_header(backend).await?;
    let mut offset = BLOB_HEADER_BYTES as u64;
    let mut segments = Vec::with_capacity(blocks.len());
    for (block, sealed_bytes) in blocks.iter().enumerate() {
        let wanted = Wanted {
            block: block as u32,
            location: Location {
                offset,
                sealed_bytes: usize::try_from(*sealed_bytes).unwrap_or(usize::MAX),
            },
            end: block + 1 == blocks.len(),
            bytes_max: FILTER_SEGMENT_BYTES_MAX,
        };
        let sealed = component.read(backend, wanted.location).await?;
        segments.push(component.open_block(wanted, sealed)?);
        offset += sealed_bytes;
    }
    if offset != component.size {
        return Err(component.damaged(format!("bytes at offset {offset} belong to no block")));
    }
    Filter::decode(segments).map_err(|_| component.damaged("malformed".into()))
}

/// All bytes of a small component.
async fn whole<B: Reads>(
    backend: &B,
    component: &OpenComponent,
    bytes_max: usize,
) -> Result<Vec<u8>> {
    let overhead = BLOB_HEADER_BYTES + TAG_BYTES;
    if component.size > (bytes_max + overhead) as u64 || component.size < overhead as u64 {
        return Err(component.damaged(format!("impossible size {}", component.size)));
    }
    backend
        .blob_read(component.structure, 0, component.size as usize)
        .await
}
