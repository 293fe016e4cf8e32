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

use super::block::{DataBlock, Section};
use super::index::{Node, Target};
use super::reader::Sstable;
use super::run::Run;
use crate::cache::BlockLookup;
use crate::codec::compare;
use crate::model::{Clustering, Deletion, PartitionBound, Row, Slices};
use crate::read::{
    BlockAddress, EncodedRow, Fault, Item, PartitionHead, ReadRow, RowRef, ShowRow, Source, Until,
};
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
    /// What the next walk takes its runs apart in, once there was one.
    spare: Option<Run>,
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
    head: PartitionHead,
    /// None: the walk has it, in which there is no other.
    first: Option<Section>,
}

/// Where the iteration over a partition's items stands.
struct Walk {
    block: u32,
    section: Section,
    run: usize,
    /// The run's items; those that come next are from `at` on (forward), or before `at` (reversed).
    items: Run,
    at: usize,
    /// Its first start and last end bound the walk.
    slices: Slices,
    reversed: bool,
    /// The item that comes next is one to show.
    found: bool,
    /// It was asked for, and has been taken out of the run.
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
            spare: None,
        }
    }

    /// Goes to a section of a data block, which must begin a partition.
    pub(super) fn place_at(&mut self, block: u32, section: usize) {
        self.go_to(Place { block, section });
    }

    fn go_to(&mut self, place: Place) {
        self.place = place;
        self.partition = None;
        self.stop_walking();
    }

    fn stop_walking(&mut self) {
        let Some(walk) = self.walk.take() else {
            return;
        };
        self.spare = Some(walk.items);
        if let Some(partition) = &mut self.partition {
            partition.first.get_or_insert(walk.section);
        }
    }

    /// The SSTable it walks.
    pub fn sstable(&self) -> &Arc<Sstable> {
        &self.sstable
    }

    fn data_block(&mut self, block: u32) -> Result<&DataBlock, Fault> {
        if self.data.as_ref().is_none_or(|(at, _)| *at != block) {
            let address = self.sstable.data_address(block);
            let plain = self.blocks.block(address).ok_or(Fault::Miss(address))?;
            let data = DataBlock::parse(plain.into_bytes());
            // Until here the one at hand stays: a retry may begin with it.
            self.data = Some((block, data.map_err(|error| self.in_block(block, error))?));
        }
        match &self.data {
            Some((_, data)) => Ok(data),
            None => unreachable!("it was put there just now"),
        }
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

    /// The current partition's first section, and where it is; None at the end.
    fn current(&mut self) -> Result<Option<(Place, &Section)>, Fault> {
        let known = self
            .partition
            .as_ref()
            .is_some_and(|partition| partition.place == self.place);
        if !known {
            let Some((place, first)) = self.section_here()? else {
                return Ok(None);
            };
            self.place = place;
            self.partition = Some(Partition {
                place,
                head: self.head_of(place, &first)?,
                first: Some(first),
            });
        }
        Ok(self.known())
    }

    /// The same of a partition that was looked at.
    fn known(&self) -> Option<(Place, &Section)> {
        let Partition { place, first, .. } = self.partition.as_ref()?;
        let walked = self.walk.as_ref().map(|walk| &walk.section);
        Some((*place, first.as_ref().or(walked)?))
    }

    /// The section at the current place, moving on to the next block if the place is past the end of its own.
    fn section_here(&mut self) -> Result<Option<(Place, Section)>, Fault> {
        let mut place = self.place;
        loop {
            if place.block >= self.sstable.data_blocks() {
                return Ok(None);
            }
            let data = self.data_block(place.block)?;
            if place.section < data.sections() {
                let section = data.section(place.section);
                let section = section.map_err(|error| self.in_block(place.block, error))?;
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
            Some(encoded) => {
                let row = Row::decode(Clustering::MIN, encoded);
                Some(Box::new(
                    row.map_err(|error| self.in_block(place.block, error))?,
                ))
            }
            None => None,
        };
        Ok(PartitionHead {
            key: first.partition_key(),
            deletion: first.deletion,
            static_row,
        })
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
        let section = self.data_block(block)?.section(0);
        let section = section.map_err(|error| self.in_block(block, error))?;
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

    fn start_walk(&mut self, slices: &Slices, reversed: bool) -> Result<(), Fault> {
        let Some((place, first)) = self.current()? else {
            self.walk = None;
            return Ok(());
        };
        let (start, end) = edges(slices);
        let edge = if reversed { end } else { start };
        let mut further = None;
        if first.continues {
            let first = first.clone();
            let block = self.block_of(&first, place, edge)?;
            further = Some((block, self.section_in(&first, place, block)?));
        }
        self.stop_walking();
        let mut items = self.spare.take().unwrap_or_default();
        items.clear();
        let (block, section) = match (&further, self.known()) {
            (Some((block, section)), _) => (*block, section),
            (None, Some((place, first))) => (place.block, first),
            (None, None) => return Ok(()),
        };
        let in_block = |error| self.in_block(block, error);
        let run = section.run_of(&edge.0).map_err(in_block)?;
        if section.runs() > 0 {
            section.take_apart(run, &mut items).map_err(in_block)?;
        }
        // Most partitions have one section, which the walk needs until it is over.
        let first = self
            .partition
            .as_mut()
            .map(|partition| &mut partition.first);
        let section = match (further, first) {
            (Some((_, section)), _) => Some(section),
            (None, first) => first.and_then(Option::take),
        };
        let Some(section) = section else {
            return Ok(());
        };
        self.walk = Some(Walk {
            at: if reversed { items.len() } else { 0 },
            gap: if reversed { None } else { section.open },
            block,
            section,
            run,
            items,
            slices: slices.clone(),
            reversed,
            found: false,
            peeked: None,
            done: false,
        });
        Ok(())
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
        // What goes on beyond its first section has that one still.
        let Some(Partition {
            place,
            first: Some(first),
            ..
        }) = &self.partition
        else {
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
            if walk.is_over() {
                walk.done = true;
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
        let Some((place, first)) = self.current()? else {
            return Ok(None);
        };
        if !first.continues {
            return Ok(Some(Place {
                section: place.section + 1,
                ..place
            }));
        }
        let first = first.clone();
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

/// The first start and the last end. There are slices: of none nothing is walked.
fn edges(slices: &Slices) -> (&Clustering, &Clustering) {
    let all = slices.as_slice();
    (&all[0].0, &all[all.len() - 1].1)
}

impl Walk {
    /// Looks for the next item to show in the run at hand. False if the run has ended before it was found.
    fn look(&mut self) -> bool {
        while !self.found && self.peeked.is_none() && !self.done {
            let here = self.next_at();
            let here = here.and_then(|at| Some((self.items.position(at)?, at)));
            let Some((position, at)) = here else {
                return false;
            };
            let (start, end) = edges(&self.slices);
            // A boundary on an edge is shown; a row is never on one.
            let below = compare(position, &start.0).is_lt();
            let above = compare(position, &end.0).is_gt();
            let (before, after) = self.items.deletions(at).unwrap_or_default();
            let (early, late, entering, leaving) = match self.reversed {
                false => (below, above, before, after),
                true => (above, below, after, before),
            };
            if early {
                self.gap = leaving;
                self.step();
            } else {
                self.gap = entering;
                self.done = late;
                self.found = !late;
            }
        }
        true
    }

    /// Takes the item that was found out of the run.
    fn take_found(&mut self) {
        if std::mem::take(&mut self.found) {
            self.peeked = self.next_at().and_then(|at| self.items.take(at));
            self.step();
        }
    }

    /// Shows rows of the run at hand that no deletion is open over. False: no more are wanted, or what comes next is something else.
    fn show_rows(&mut self, until: Until<'_>, show: &mut ShowRow<'_>) -> Result<bool> {
        if let Some(item) = &self.peeked {
            let row = item.row.as_ref().map(ReadRow::as_ref);
            let Some(RowRef::Encoded(row)) = row.filter(|_| item.before.is_none()) else {
                return Ok(false);
            };
            if !self.is_inside(row.clustering) || !until.is_after(row.clustering) {
                return Ok(false);
            }
            let wants_more = show(row)?;
            (self.peeked, self.gap) = (None, None);
            if !wants_more {
                return Ok(false);
            }
        } else if !self.found {
            return Ok(false);
        }
        let mut is_first = std::mem::take(&mut self.found);
        while let Some(at) = self.next_at() {
            // What comes behind a row inside is not before the start.
            let is_inside = |row: &EncodedRow<'_>| match is_first {
                true => self.is_inside(row.clustering),
                false => self.is_short_of_end(row.clustering),
            };
            let is_due = |row: &EncodedRow<'_>| is_inside(row) && until.is_after(row.clustering);
            let Some(row) = self.items.bare_row(at).filter(is_due) else {
                self.found = is_first;
                return Ok(!is_first);
            };
            let wants_more = show(row)?;
            is_first = false;
            self.gap = None;
            self.step();
            if !wants_more {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// A page that begins behind a row has that row on its edge.
    fn is_inside(&self, position: &[u8]) -> bool {
        let (start, end) = edges(&self.slices);
        compare(&start.0, position).is_lt() && compare(position, &end.0).is_lt()
    }

    fn is_short_of_end(&self, position: &[u8]) -> bool {
        let (start, end) = edges(&self.slices);
        match self.reversed {
            false => compare(position, &end.0).is_lt(),
            true => compare(position, &start.0).is_gt(),
        }
    }

    /// Takes a run apart. After an error the walk has no more items.
    fn enter(&mut self, run: usize) -> Result<()> {
        self.at = 0;
        self.items.clear();
        if self.section.runs() > 0 {
            self.section.take_apart(run, &mut self.items)?;
        }
        self.at = if self.reversed { self.items.len() } else { 0 };
        self.run = run;
        Ok(())
    }

    /// No run comes after this one.
    fn is_over(&self) -> bool {
        match self.reversed {
            false => self.run + 1 >= self.section.runs() && !self.section.continues,
            true => self.run == 0 && !self.section.continued,
        }
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
        self.go_to(Place { block, section });
        Ok(())
    }

    fn partition(&mut self) -> Result<Option<&PartitionHead>, Fault> {
        if self.current()?.is_none() {
            return Ok(None);
        }
        Ok(self.partition.as_ref().map(|partition| &partition.head))
    }

    fn open(&mut self, slices: &Slices, reversed: bool) -> Result<(), Fault> {
        if slices.is_empty() {
            self.stop_walking();
            return Ok(());
        }
        self.start_walk(slices, reversed)?;
        // Looks at the first item already, so that `gap` is right before anybody peeks.
        self.advance()
    }

    fn peek(&mut self) -> Result<Option<&Item>, Fault> {
        self.advance()?;
        let Some(walk) = &mut self.walk else {
            return Ok(None);
        };
        walk.take_found();
        Ok(walk.peeked.as_ref())
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

    fn show_rows(&mut self, until: Until<'_>, show: &mut ShowRow<'_>) -> Result<(), Fault> {
        loop {
            self.advance()?;
            let Some(walk) = &mut self.walk else {
                return Ok(());
            };
            let block = walk.block;
            let wants_more = walk.show_rows(until, show);
            if !wants_more.map_err(|error| self.in_block(block, error))? {
                return Ok(());
            }
        }
    }

    fn gap(&self) -> Option<Deletion> {
        self.walk.as_ref().and_then(|walk| walk.gap)
    }

    fn next_partition(&mut self) -> Result<(), Fault> {
        if let Some(place) = self.after_current()? {
            self.go_to(place);
        }
        Ok(())
    }
}
