//! Walks one SSTable: partitions in order, and inside one its items, forward or reversed.
//!
//! ```text
//! place ──► first section of the current partition
//!              └ open ──► walk: block, section ── run of items ── item
//!                            forward: next run, then section 0 of the next block while the partition goes on
//!                            reversed: the run before, then the block before while the partition began earlier
//! ```
//!
//! The cursor never waits. A block that is not in memory is a miss: nothing that matters has changed, and the same call goes on once
//! the block is there. The last data and index block are kept, so that a retry needs only what is new.
//!
//! What must hold: every section restates what it needs (key, open deletion), so it does not matter by which way a block was reached.

use std::sync::Arc;

use bytes::Bytes;

use super::block::{DataBlock, RESTART_ITEMS, RawItem, Section};
use super::index::{Node, Target};
use super::reader::Sstable;
use crate::cache::BlockLookup;
use crate::model::{Clustering, Deletion, PartitionBound, Row, Slices};
use crate::read::{BlockAddress, Fault, Item, PartitionHead, ReadRow, Source};
use crate::{Error, Result};

/// A cursor over one SSTable.
pub struct SstableCursor {
    sstable: Arc<Sstable>,
    blocks: Arc<dyn BlockLookup>,
    data: Option<(u32, DataBlock)>,
    index: Option<(u32, Node)>,
    place: Place,
    partition: Option<Partition>,
    walk: Option<Walk>,
}

/// Where the current partition begins. A section past the block's last means the first of the next block.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Place {
    block: u32,
    section: usize,
}

/// The current partition, once looked at.
struct Partition {
    place: Place,
    first: Section,
    head: PartitionHead,
}

/// Where the iteration over a partition's items stands.
struct Walk {
    block: u32,
    section: Section,
    run: usize,
    /// The run's items; those that come next are from `at` on (forward), or before `at` (reversed).
    items: Vec<RawItem>,
    at: usize,
    start: Clustering,
    end: Clustering,
    reversed: bool,
    peeked: Option<Item>,
    gap: Option<Deletion>,
    done: bool,
}

impl SstableCursor {
    pub(super) fn new(sstable: Arc<Sstable>, blocks: Arc<dyn BlockLookup>) -> Self {
        SstableCursor {
            sstable,
            blocks,
            data: None,
            index: None,
            place: Place {
                block: 0,
                section: 0,
            },
            partition: None,
            walk: None,
        }
    }

    /// Goes to a section of a data block, which must begin a partition.
    pub(super) fn place_at(&mut self, block: u32, section: usize) {
        self.place = Place { block, section };
        self.partition = None;
        self.walk = None;
    }

    /// The SSTable it walks.
    pub fn sstable(&self) -> &Arc<Sstable> {
        &self.sstable
    }

    fn data_block(&mut self, block: u32) -> Result<DataBlock, Fault> {
        if let Some((at, data)) = &self.data
            && *at == block
        {
            return Ok(data.clone());
        }
        let address = self.sstable.data_address(block);
        let plain = self.blocks.block(address).ok_or(Fault::Miss(address))?;
        let data =
            DataBlock::parse(plain.into_bytes()).map_err(|error| self.in_block(block, error))?;
        self.data = Some((block, data.clone()));
        Ok(data)
    }

    /// The data block in which a target lies.
    fn find(&mut self, target: &Target<'_>) -> Result<u32, Fault> {
        let SstableCursor {
            sstable,
            blocks,
            index,
            ..
        } = self;
        let block = sstable.find(target, |address: BlockAddress| {
            if let Some((at, node)) = index
                && *at == address.block
            {
                return Ok(node.clone());
            }
            let plain = blocks.block(address).ok_or(Fault::Miss(address))?;
            let node = Node::parse(plain.into_bytes())?;
            *index = Some((address.block, node.clone()));
            Ok(node)
        })?;
        if block >= sstable.data_blocks() {
            return Err(sstable
                .malformed(block, "the index names it, but it does not exist")
                .into());
        }
        Ok(block)
    }

    /// The current partition; None at the end.
    fn current(&mut self) -> Result<Option<&Partition>, Fault> {
        let known = self
            .partition
            .as_ref()
            .is_some_and(|partition| partition.place == self.place);
        if !known {
            let Some((place, first)) = self.settle()? else {
                return Ok(None);
            };
            let head = self.head_of(place, &first)?;
            self.place = place;
            self.partition = Some(Partition { place, first, head });
        }
        Ok(self.partition.as_ref())
    }

    /// The section at the current place, moving on to the next block if the place is past the end of its own.
    fn settle(&mut self) -> Result<Option<(Place, Section)>, Fault> {
        let mut place = self.place;
        loop {
            if place.block >= self.sstable.data_blocks() {
                return Ok(None);
            }
            let data = self.data_block(place.block)?;
            if place.section < data.sections() {
                let section = self.section(&data, place)?;
                if section.continued {
                    return Err(self
                        .malformed(place.block, "a partition has no beginning")
                        .into());
                }
                return Ok(Some((place, section)));
            }
            place = Place {
                block: place.block + 1,
                section: 0,
            };
        }
    }

    fn head_of(&self, place: Place, first: &Section) -> Result<PartitionHead> {
        let static_row = match first.static_row() {
            Some(encoded) => Some(
                Row::decode(Clustering::MIN, encoded)
                    .map_err(|error| self.in_block(place.block, error))?,
            ),
            None => None,
        };
        Ok(PartitionHead {
            key: first.partition_key(),
            deletion: first.deletion,
            static_row,
        })
    }

    fn section(&self, data: &DataBlock, place: Place) -> Result<Section> {
        data.section(place.section)
            .map_err(|error| self.in_block(place.block, error))
    }

    /// The section that the current partition has in `block`.
    fn section_in(
        &mut self,
        first: &Section,
        first_place: Place,
        block: u32,
    ) -> Result<Section, Fault> {
        if block == first_place.block {
            return Ok(first.clone());
        }
        let data = self.data_block(block)?;
        let section = self.section(&data, Place { block, section: 0 })?;
        if !section.continued || section.token != first.token || section.key() != first.key() {
            return Err(self
                .malformed(block, "it does not continue the partition before it")
                .into());
        }
        Ok(section)
    }

    /// The block of the current partition, which goes on beyond its first, in which a position belongs.
    fn block_of(
        &mut self,
        first: &Section,
        place: Place,
        position: &Clustering,
    ) -> Result<u32, Fault> {
        let target = Target::Inside {
            token: first.token.0,
            key: first.key(),
            clustering: &position.0,
        };
        Ok(self.find(&target)?.max(place.block))
    }

    fn start_walk(
        &mut self,
        start: Clustering,
        end: Clustering,
        reversed: bool,
    ) -> Result<Option<Walk>, Fault> {
        let Some(partition) = self.current()? else {
            return Ok(None);
        };
        let (place, first) = (partition.place, partition.first.clone());
        let edge = if reversed { &end } else { &start };
        let (block, section) = match first.continues {
            false => (place.block, first),
            true => {
                let block = self.block_of(&first, place, edge)?;
                (block, self.section_in(&first, place, block)?)
            }
        };
        let run = section
            .run_of(&edge.0)
            .map_err(|error| self.in_block(block, error))?;
        let mut items = match self.walk.take() {
            Some(walk) => walk.items,
            None => Vec::with_capacity(RESTART_ITEMS),
        };
        items.clear();
        if section.runs() > 0 {
            section
                .decode_run(run, &mut items)
                .map_err(|error| self.in_block(block, error))?;
        }
        Ok(Some(Walk {
            at: if reversed { items.len() } else { 0 },
            gap: if reversed { None } else { section.open },
            block,
            section,
            run,
            items,
            start,
            end,
            reversed,
            peeked: None,
            done: false,
        }))
    }

    /// Moves the walk to the run after the one it has finished. False at the partition's end.
    fn next_run(&mut self, walk: &mut Walk) -> Result<bool, Fault> {
        if walk.run + 1 < walk.section.runs() {
            walk.enter(walk.run + 1)
                .map_err(|error| self.in_block(walk.block, error))?;
            return Ok(true);
        }
        if !walk.section.continues {
            return Ok(false);
        }
        self.enter_block(walk, walk.block.saturating_add(1))
    }

    fn previous_run(&mut self, walk: &mut Walk) -> Result<bool, Fault> {
        if walk.run > 0 {
            walk.enter(walk.run - 1)
                .map_err(|error| self.in_block(walk.block, error))?;
            return Ok(true);
        }
        match walk.block.checked_sub(1) {
            Some(block) if walk.section.continued => self.enter_block(walk, block),
            _ => Ok(false),
        }
    }

    fn enter_block(&mut self, walk: &mut Walk, block: u32) -> Result<bool, Fault> {
        if block >= self.sstable.data_blocks() {
            return Err(self
                .malformed(walk.block, "its last partition does not end")
                .into());
        }
        let Some(Partition { place, first, .. }) = &self.partition else {
            return Ok(false);
        };
        let (place, first) = (*place, first.clone());
        let section = self.section_in(&first, place, block)?;
        let run = if walk.reversed {
            section.runs().saturating_sub(1)
        } else {
            0
        };
        let previous = std::mem::replace(&mut walk.section, section);
        if let Err(error) = walk.enter(run) {
            walk.section = previous;
            return Err(self.in_block(block, error).into());
        }
        walk.block = block;
        Ok(true)
    }

    /// Finds the next item that the walk is to show.
    fn advance(&mut self) -> Result<(), Fault> {
        while let Some(walk) = &mut self.walk {
            if walk.look() {
                break;
            }
            // Only between two runs is the walk moved about.
            let Some(mut walk) = self.walk.take() else {
                break;
            };
            let moved = if walk.reversed {
                self.previous_run(&mut walk)
            } else {
                self.next_run(&mut walk)
            };
            let walk = self.walk.insert(walk);
            walk.done = !moved?;
        }
        Ok(())
    }

    /// An error about the plaintext of a block, with the block's name.
    fn in_block(&self, block: u32, error: Error) -> Error {
        match error {
            Error::Corrupt { what } => self.malformed(block, &what),
            other => other,
        }
    }

    fn malformed(&self, block: u32, what: &str) -> Error {
        self.sstable.malformed(block, what)
    }

    /// Where the partition after the current one begins.
    fn after_current(&mut self) -> Result<Option<Place>, Fault> {
        let Some(partition) = self.current()? else {
            return Ok(None);
        };
        let place = partition.place;
        if !partition.first.continues {
            return Ok(Some(Place {
                section: place.section + 1,
                ..place
            }));
        }
        let first = partition.first.clone();
        // A walk that came to the end knows where it is; otherwise the index does.
        let walked = self
            .walk
            .as_ref()
            .filter(|walk| !walk.section.continues)
            .map(|walk| walk.block);
        let last = match walked {
            Some(block) => block,
            None => self.find(&Target::EndOf {
                token: first.token.0,
                key: first.key(),
            })?,
        };
        if last <= place.block {
            return Err(self
                .malformed(place.block, "its last partition goes on nowhere")
                .into());
        }
        Ok(Some(Place {
            block: last,
            section: 1,
        }))
    }
}

impl Walk {
    /// Looks for the next item to show in the run at hand. False if the run has ended before it was found.
    fn look(&mut self) -> bool {
        while self.peeked.is_none() && !self.done {
            let Some(raw) = self.next() else {
                return false;
            };
            let (entering, leaving) = if self.reversed {
                (raw.after, raw.before)
            } else {
                (raw.before, raw.after)
            };
            // A boundary on an edge is shown; a row is never on one.
            let (below, above) = (raw.position < self.start.0, raw.position > self.end.0);
            let (early, late) = if self.reversed {
                (above, below)
            } else {
                (below, above)
            };
            if late {
                self.gap = entering;
                self.done = true;
            } else if early {
                self.gap = leaving;
                self.step();
            } else {
                self.gap = entering;
                self.peeked = self.take_next();
                self.step();
            }
        }
        true
    }

    /// Takes rows of the run at hand that no deletion is open over, at most so many.
    fn take_rows(&mut self, most: usize, rows: &mut Vec<ReadRow>) {
        // A page that begins behind a row has that row on its edge.
        let (start, end) = (&self.start.0, &self.end.0);
        let is_within = |position: &Bytes| start < position && position < end;
        let is_row = |item: &mut Item| {
            item.row.is_some() && item.before.is_none() && is_within(&item.position.0)
        };
        let Some(item) = self.peeked.take_if(is_row) else {
            return;
        };
        rows.extend(item.row);
        self.gap = None;
        for _ in 1..most {
            let Some(raw) = self.next() else {
                return;
            };
            let is_beyond = match self.reversed {
                false => raw.position >= self.end.0,
                true => raw.position <= self.start.0,
            };
            if is_beyond || raw.row.is_none() || raw.before.is_some() {
                return;
            }
            rows.extend(self.take_row());
            self.step();
        }
    }

    /// The next item, out of the run: nobody comes back for it.
    fn take_next(&mut self) -> Option<Item> {
        let at = self.next_at()?;
        let raw = self.items.get_mut(at)?;
        let position = Clustering(std::mem::take(&mut raw.position));
        Some(Item {
            row: raw.row.take().map(|bytes| ReadRow::Encoded {
                clustering: position.clone(),
                bytes,
            }),
            position,
            before: raw.before,
            after: raw.after,
        })
    }

    /// The same of a row alone.
    fn take_row(&mut self) -> Option<ReadRow> {
        let at = self.next_at()?;
        let raw = self.items.get_mut(at)?;
        Some(ReadRow::Encoded {
            clustering: Clustering(std::mem::take(&mut raw.position)),
            bytes: raw.row.take()?,
        })
    }

    /// Decodes a run. After an error the walk has no more items.
    fn enter(&mut self, run: usize) -> Result<()> {
        self.at = 0;
        self.items.clear();
        if self.section.runs() > 0 {
            let mut items = std::mem::take(&mut self.items);
            self.section.decode_run(run, &mut items)?;
            self.items = items;
        }
        self.at = if self.reversed { self.items.len() } else { 0 };
        self.run = run;
        Ok(())
    }

    fn next(&self) -> Option<&RawItem> {
        self.items.get(self.next_at()?)
    }

    fn next_at(&self) -> Option<usize> {
        self.at.checked_sub(usize::from(self.reversed))
    }

    fn step(&mut self) {
        if self.reversed {
            self.at -= 1;
        } else {
            self.at += 1;
        }
    }
}

impl Source for SstableCursor {
    fn seek(&mut self, from: &PartitionBound) -> Result<(), Fault> {
        let block = self.find(&Target::Bound(from))?;
        let data = self.data_block(block)?;
        let section = data
            .seek(from)
            .map_err(|error| self.in_block(block, error))?;
        self.place = Place { block, section };
        self.partition = None;
        self.walk = None;
        Ok(())
    }

    fn partition(&mut self) -> Result<Option<PartitionHead>, Fault> {
        Ok(self.current()?.map(|partition| partition.head.clone()))
    }

    fn open(&mut self, slices: &Slices, reversed: bool) -> Result<(), Fault> {
        let slices = slices.as_slice();
        let (Some((start, _)), Some((_, end))) = (slices.first(), slices.last()) else {
            self.walk = None;
            return Ok(());
        };
        self.walk = self.start_walk(start.clone(), end.clone(), reversed)?;
        // Looks at the first item already, so that `gap` is right before anybody peeks.
        self.advance()
    }

    fn peek(&mut self) -> Result<Option<&Item>, Fault> {
        self.advance()?;
        Ok(self.walk.as_ref().and_then(|walk| walk.peeked.as_ref()))
    }

    fn pop(&mut self) -> Item {
        let walk = self
            .walk
            .as_mut()
            .expect("pop comes after a peek that showed an item");
        let item = walk
            .peeked
            .take()
            .expect("pop comes after a peek that showed an item");
        walk.gap = if walk.reversed {
            item.before
        } else {
            item.after
        };
        item
    }

    fn take_rows(&mut self, most: usize, rows: &mut Vec<ReadRow>) -> Result<(), Fault> {
        self.advance()?;
        if let Some(walk) = self.walk.as_mut().filter(|_| most > 0) {
            walk.take_rows(most, rows);
        }
        Ok(())
    }

    fn gap(&self) -> Option<Deletion> {
        self.walk.as_ref().and_then(|walk| walk.gap)
    }

    fn next_partition(&mut self) -> Result<(), Fault> {
        if let Some(place) = self.after_current()? {
            self.place = place;
            self.partition = None;
            self.walk = None;
        }
        Ok(())
    }
}
