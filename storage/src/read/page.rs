//! Limits, and where to resume.
//!
//! A page is built by [`run`], which can be interrupted by a miss at any point: [`PageBuilder`] holds how far it is. Where a page ends is
//! a position in the data, not in a cursor, so the next page can be read by anybody, at any time, from other sources: rows written
//! meanwhile before the position are not seen, those after it are.

use super::{
    EncodedRow, Fault, Hidden, KeyRange, Merge, PASSED_AT_ONCE, PartitionBound, PartitionHead,
    ReadCommand, ReadRow, ReadRows, RowRef, Slices, Source, Until, visible_row,
};
use crate::Result;
use crate::memtable::{Lookup, Memtable};
use crate::model::{Clustering, PartitionKey, Row};

/// Where a page ended: the next one starts just after.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadPosition {
    pub key: PartitionKey,
    /// The last row returned; None: go on after this partition.
    pub clustering: Option<Clustering>,
    /// So that a limit for each partition holds over pages.
    pub returned_in_partition: u32,
}

/// What is visible of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionRows<R = Vec<Row>> {
    pub key: PartitionKey,
    pub static_row: Option<Box<Row>>,
    /// In the order of the read; empty if only the static row lives.
    pub rows: R,
}

/// One page of a read: of rows taken apart, or of [`ReadRows`] that may still be bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadPage<R = Vec<Row>> {
    pub partitions: Vec<PartitionRows<R>>,
    /// There may be more after this; None: there is not.
    pub next: Option<ReadPosition>,
    pub hidden: Hidden,
    /// Where it was looked for.
    pub work: ReadWork,
}

impl<R> Default for ReadPage<R> {
    fn default() -> Self {
        ReadPage {
            partitions: Vec::new(),
            next: None,
            hidden: Hidden::default(),
            work: ReadWork::default(),
        }
    }
}

impl ReadPage<ReadRows> {
    /// The same, of rows taken apart.
    pub fn decoded(self) -> Result<ReadPage> {
        let mut partitions = Vec::with_capacity(self.partitions.len());
        for partition in self.partitions {
            partitions.push(PartitionRows {
                key: partition.key,
                static_row: partition.static_row,
                rows: partition.rows.into_rows().collect::<Result<_>>()?,
            });
        }
        Ok(ReadPage {
            partitions,
            next: self.next,
            hidden: self.hidden,
            work: self.work,
        })
    }
}

impl From<ReadPage> for ReadPage<ReadRows> {
    fn from(page: ReadPage) -> Self {
        let partition = |partition: PartitionRows| PartitionRows {
            key: partition.key,
            static_row: partition.static_row,
            rows: partition.rows.into_iter().collect(),
        };
        ReadPage {
            partitions: page.partitions.into_iter().map(partition).collect(),
            next: page.next,
            hidden: page.hidden,
            work: page.work,
        }
    }
}

/// What a read looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadWork {
    pub memtables: u32,
    pub sstables: u32,
    /// SSTables whose filters say that they do not have the partition, or that have no row where any is wanted.
    pub skipped: u32,
    /// Blocks that were in no cache of ours and had to be opened.
    pub blocks: u32,
}

/// A page in the making: what is done when a miss interrupts it. Used for one page, with one merge and one command.
#[derive(Default)]
pub struct PageBuilder {
    stage: Stage,
    partition: Option<Partition>,
    page: ReadPage<ReadRows>,
    filled: Filled,
}

/// How much is in the page.
#[derive(Default, Clone, Copy)]
struct Filled {
    rows: u32,
    bytes: usize,
    hidden: Hidden,
    /// Rows and partitions of which nothing was shown since others had a turn.
    passed: u32,
}

impl Filled {
    fn is_enough(&self, command: &ReadCommand) -> bool {
        let limits = &command.limits;
        limits.reached(self.rows, self.bytes) || self.hidden.tombstones > limits.tombstones
    }

    /// Gives others a turn once in a while.
    fn breathe(&mut self) -> Result<(), Fault> {
        if self.passed < PASSED_AT_ONCE {
            return Ok(());
        }
        self.passed = 0;
        Err(Fault::Turn)
    }
}

#[derive(Default, Clone, Copy)]
enum Stage {
    #[default]
    Start,
    /// At a partition not looked at yet.
    Head,
    /// Inside one, not yet open.
    Open,
    Rows,
    /// Done with one.
    Leave,
}

struct Partition {
    rows: PartitionRows<ReadRows>,
    /// With those of earlier pages.
    returned: u32,
    /// What is left of the slices in a partition that an earlier page began; None: all of them.
    rest: Option<Slices>,
}

impl PageBuilder {
    /// Nothing read yet.
    pub fn new() -> Self {
        PageBuilder::default()
    }

    fn begin(&mut self, head: &PartitionHead, command: &ReadCommand) -> Partition {
        let columns = &command.columns.statics;
        let static_row = head.static_row.clone();
        let static_row = static_row.and_then(|mut row| {
            let hidden = &mut self.filled.hidden;
            visible_row(&mut row, columns, command.now, hidden).then_some(row)
        });
        self.filled.hidden.tombstones += u64::from(head.deletion.is_some());
        self.filled.hidden.note_deletions(head.deletion);
        let resumed = command
            .resume
            .as_ref()
            .filter(|position| position.key == head.key);
        let rest = resumed.and_then(|position| {
            let last = position.clustering.as_ref()?;
            Some(remaining(&command.slices, last, command.reversed))
        });
        Partition {
            rows: PartitionRows {
                key: head.key.clone(),
                static_row,
                rows: ReadRows::default(),
            },
            returned: resumed.map_or(0, |position| position.returned_in_partition),
            rest,
        }
    }

    /// Reads rows until the partition or the page is at its end. Says whether the page is full.
    fn fill<S: Source>(
        &mut self,
        merge: &mut Merge<S>,
        command: &ReadCommand,
    ) -> Result<bool, Fault> {
        let Some(partition) = &mut self.partition else {
            return Ok(false);
        };
        let filled = &mut self.filled;
        while partition.returned < command.limits.per_partition {
            let mut shown = false;
            merge.show_rows(Until::END, &mut |row| {
                shown = true;
                partition.take_encoded(row, command, filled)?;
                Ok(partition.wants_more(command, filled) && filled.passed < PASSED_AT_ONCE)
            })?;
            if !shown {
                if merge.peek()?.is_none() {
                    filled.hidden.note_deletions(merge.left_open());
                    return Ok(false);
                }
                let item = merge.pop();
                let around = item.before.into_iter().chain(item.after);
                filled.hidden.note_deletions(around);
                match item.row {
                    Some(row) => partition.take(row, command, filled)?,
                    None => filled.hidden.tombstones += 1,
                }
            }
            if filled.is_enough(command) {
                return Ok(true);
            }
            filled.breathe()?;
        }
        Ok(false)
    }

    /// Counts what stands before a partition's rows, and says whether anything of it is visible. A static row alone counts as a row, once.
    fn count_head(&mut self, partition: &Partition) -> bool {
        let alone = partition.rows.rows.is_empty();
        if alone
            && (partition.rows.static_row.is_none()
                || partition.returned > 0
                || partition.rest.is_some())
        {
            return false;
        }
        if let Some(row) = &partition.rows.static_row {
            self.filled.bytes = self.filled.bytes.saturating_add(row.weight());
        }
        self.filled.rows += u32::from(alone);
        true
    }

    /// Room for one more partition: of one there is only one, and of many there are soon many more.
    fn make_room(&mut self, command: &ReadCommand) {
        let partitions = &mut self.page.partitions;
        if partitions.len() == partitions.capacity() {
            match command.range {
                KeyRange::One(_) => partitions.reserve_exact(1),
                KeyRange::Range { .. } => partitions.reserve(3 * partitions.len()),
            }
        }
    }

    fn finish(&mut self, next: Option<ReadPosition>) -> ReadPage<ReadRows> {
        self.page.next = next;
        self.page.hidden = self.filled.hidden;
        std::mem::take(&mut self.page)
    }
}

impl Partition {
    fn wants_more(&self, command: &ReadCommand, filled: &Filled) -> bool {
        self.returned < command.limits.per_partition && !filled.is_enough(command)
    }

    /// Takes a row as it is kept, if anything of it is visible.
    fn take_encoded(
        &mut self,
        row: EncodedRow<'_>,
        command: &ReadCommand,
        filled: &mut Filled,
    ) -> Result<()> {
        match row.is_visible_as_it_is(&command.columns.regular, command.now)? {
            None => return self.take(row.to_read_row(), command, filled),
            Some(false) => {
                filled.passed += 1;
                return Ok(());
            }
            Some(true) => {}
        }
        if self.rows.rows.is_empty() {
            // Rows of one partition are much alike. Most partitions of a range have one.
            let more = match command.range {
                KeyRange::One(_) => command.limits.rows.min(command.limits.per_partition),
                KeyRange::Range { .. } => 1,
            };
            self.rows.rows.reserve_for(row, more as usize);
        }
        self.rows.rows.push_encoded(row);
        self.count(RowRef::Encoded(row).weight(), filled);
        Ok(())
    }

    /// Takes what is visible of a row, if anything is.
    fn take(&mut self, mut row: ReadRow, command: &ReadCommand, filled: &mut Filled) -> Result<()> {
        let hidden = &mut filled.hidden;
        if row.make_visible(&command.columns.regular, command.now, hidden)? {
            let weight = row.as_ref().weight();
            self.rows.rows.push(row);
            self.count(weight, filled);
        } else {
            filled.passed += 1;
        }
        Ok(())
    }

    /// Where the next page goes on: in the middle, or behind it all.
    fn position(&self, middle: bool) -> ReadPosition {
        let last = self.rows.rows.last().filter(|_| middle);
        ReadPosition {
            key: self.rows.key.clone(),
            clustering: last.map(|row| Clustering::copy_from(row.clustering())),
            returned_in_partition: if middle { self.returned } else { 0 },
        }
    }

    fn count(&mut self, weight: usize, filled: &mut Filled) {
        filled.bytes = filled.bytes.saturating_add(weight);
        filled.rows += 1;
        self.returned += 1;
    }
}

/// Reads one page. After a miss or a turn, call again with the same merge, command and page.
pub fn run<S: Source>(
    merge: &mut Merge<S>,
    command: &ReadCommand,
    page: &mut PageBuilder,
) -> Result<ReadPage<ReadRows>, Fault> {
    loop {
        // A stage changes only when its work is done: after a miss it is entered again.
        match page.stage {
            Stage::Start => {
                merge.seek(&start(command))?;
                page.stage = Stage::Head;
            }
            Stage::Head => {
                let Some(head) = merge.partition()? else {
                    return Ok(page.finish(None));
                };
                if command.range.ends_before(&head.key) {
                    return Ok(page.finish(None));
                }
                page.partition = Some(page.begin(head, command));
                page.stage = Stage::Open;
            }
            Stage::Open => {
                let rest = page
                    .partition
                    .as_ref()
                    .and_then(|partition| partition.rest.as_ref());
                merge.open(rest.unwrap_or(&command.slices), command.reversed)?;
                page.stage = Stage::Rows;
            }
            Stage::Rows => {
                let full = page.fill(merge, command)?;
                page.stage = Stage::Leave;
                let Some(partition) = page.partition.take() else {
                    continue;
                };
                let middle = full && partition.returned < command.limits.per_partition;
                let is_over = matches!(command.range, KeyRange::One(_)) && !middle;
                let is_visible = page.count_head(&partition);
                let is_full = full || page.filled.is_enough(command);
                let next = (is_full && !is_over).then(|| partition.position(middle));
                if is_visible {
                    page.make_room(command);
                    page.page.partitions.push(partition.rows);
                } else {
                    page.filled.passed += 1;
                }
                if is_full || is_over {
                    return Ok(page.finish(next));
                }
            }
            Stage::Leave => {
                merge.next_partition()?;
                page.stage = Stage::Head;
                page.filled.breathe()?;
            }
        }
    }
}

/// Reads one page of one partition straight from a memtable that alone may have it. None if it takes more than that: then [`run`] it.
pub fn run_one(memtable: &Memtable, command: &ReadCommand) -> Result<Option<ReadPage<ReadRows>>> {
    let KeyRange::One(key) = &command.range else {
        return Ok(None);
    };
    if command.resume.is_some() {
        return Ok(None);
    }
    let mut page = ReadPage::default();
    match memtable.read_one(key)? {
        Lookup::Several => return Ok(None),
        Lookup::Absent => {}
        Lookup::Row(row)
            if command.slices.contains(&row.clustering.0) && command.limits.per_partition > 0 =>
        {
            let mut row = row;
            crate::model::reconcile::shadow(&mut row, None);
            let columns = &command.columns.regular;
            if visible_row(&mut row, columns, command.now, &mut page.hidden) {
                page.partitions = vec![PartitionRows {
                    key: key.clone(),
                    static_row: None,
                    rows: ReadRows::from_iter([row]),
                }];
            }
        }
        Lookup::Row(_) => {}
    }
    Ok(Some(page))
}

fn start(command: &ReadCommand) -> PartitionBound {
    match &command.resume {
        None => command.range.start(),
        Some(position) if position.clustering.is_none() => {
            PartitionBound::After(position.key.clone())
        }
        Some(position) => PartitionBound::Before(position.key.clone()),
    }
}

/// What is left of slices after the row at `last`.
fn remaining(slices: &Slices, last: &Clustering, reversed: bool) -> Slices {
    let clip = |(start, end): &(Clustering, Clustering)| match reversed {
        false => (start.max(last).clone(), end.clone()),
        true => (start.clone(), end.min(last).clone()),
    };
    Slices::new(slices.as_slice().iter().map(clip).collect())
}
