//! Limits, and where to resume.
//!
//! A page is built by [`run`], which can be interrupted by a miss at any point: [`PageBuilder`] holds how far it is. Where a page ends is
//! a position in the data, not in a cursor, so the next page can be read by anybody, at any time, from other sources: rows written
//! meanwhile before the position are not seen, those after it are.

use std::convert::Infallible;

use super::{
    Fault, KeyRange, Merge, PartitionBound, PartitionHead, ReadCommand, ReadRow, Slices, Source,
    visible_row,
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

/// Rows of the only partition that room is made for at once, if so many are wanted.
const ROWS_AT_FIRST: usize = 16;

/// What is visible of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionRows<R = Row> {
    pub key: PartitionKey,
    pub static_row: Option<Row>,
    /// In the order of the read; empty if only the static row lives.
    pub rows: Vec<R>,
}

/// One page of a read: of rows, or of rows that may still be bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ReadPage<R = Row> {
    pub partitions: Vec<PartitionRows<R>>,
    /// There may be more after this; None: there is not.
    pub next: Option<ReadPosition>,
    /// How many deletions and expired cells were read past.
    pub tombstones: u64,
    /// Where it was looked for.
    pub work: ReadWork,
}

impl<R> Default for ReadPage<R> {
    fn default() -> Self {
        ReadPage {
            partitions: Vec::new(),
            next: None,
            tombstones: 0,
            work: ReadWork::default(),
        }
    }
}

impl<R> ReadPage<R> {
    /// The same with each row in another form.
    fn with_rows<S, E>(self, mut form: impl FnMut(R) -> Result<S, E>) -> Result<ReadPage<S>, E> {
        let partition = |partition: PartitionRows<R>| {
            let rows = partition.rows.into_iter().map(&mut form);
            Ok(PartitionRows {
                key: partition.key,
                static_row: partition.static_row,
                rows: rows.collect::<Result<_, E>>()?,
            })
        };
        let partitions = self.partitions.into_iter().map(partition);
        Ok(ReadPage {
            partitions: partitions.collect::<Result<_, E>>()?,
            next: self.next,
            tombstones: self.tombstones,
            work: self.work,
        })
    }
}

impl ReadPage<ReadRow> {
    /// The same, of rows taken apart.
    pub fn decoded(self) -> Result<ReadPage> {
        self.with_rows(ReadRow::into_row)
    }
}

impl From<ReadPage> for ReadPage<ReadRow> {
    fn from(page: ReadPage) -> Self {
        let Ok(page) = page.with_rows(|row| Ok::<_, Infallible>(ReadRow::from(row)));
        page
    }
}

/// What a read looked at.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ReadWork {
    pub memtables: u32,
    pub sstables: u32,
    /// SSTables whose filters say that they do not have the partition.
    pub skipped: u32,
    /// Blocks that were in no cache of ours and had to be opened.
    pub blocks: u32,
}

/// A page in the making: what is done when a miss interrupts it. Used for one page, with one merge and one command.
#[derive(Default)]
pub struct PageBuilder {
    stage: Stage,
    partition: Option<Partition>,
    page: ReadPage<ReadRow>,
    rows: u32,
    bytes: usize,
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
    rows: PartitionRows<ReadRow>,
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

    fn is_full(&self, command: &ReadCommand) -> bool {
        command.limits.reached(self.rows, self.bytes)
    }

    fn begin(&mut self, head: &PartitionHead, command: &ReadCommand) -> Partition {
        let columns = &command.columns.statics;
        let static_row = head.static_row.clone();
        let static_row = static_row.and_then(|mut row| {
            visible_row(&mut row, columns, command.now, &mut self.page.tombstones).then_some(row)
        });
        self.page.tombstones += u64::from(head.deletion.is_some());
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
                rows: Vec::new(),
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
        let most = command.limits.rows.min(command.limits.per_partition);
        let rows = &mut partition.rows.rows;
        let is_one = matches!(command.range, KeyRange::One(_));
        if rows.is_empty() && is_one && command.slices.only_row().is_none() {
            rows.reserve(ROWS_AT_FIRST.min(most as usize));
        }
        let columns = &command.columns.regular;
        while partition.returned < command.limits.per_partition {
            let rows = &mut partition.rows.rows;
            let left = command.limits.per_partition - partition.returned;
            let most = left.min(command.limits.rows - self.rows);
            let (first, mut kept) = (rows.len(), rows.len());
            merge.take_rows(most as usize, rows)?;
            for taken in first..rows.len() {
                let row = &mut rows[taken];
                if row.make_visible(columns, command.now, &mut self.page.tombstones)? {
                    self.bytes = self.bytes.saturating_add(row.weight());
                    rows.swap(kept, taken);
                    kept += 1;
                }
            }
            if first < rows.len() {
                rows.truncate(kept);
                self.rows += (kept - first) as u32;
                partition.returned += (kept - first) as u32;
                if command.limits.reached(self.rows, self.bytes) {
                    return Ok(true);
                }
                continue;
            }
            if merge.peek()?.is_none() {
                return Ok(false);
            }
            let Some(mut row) = merge.pop().row else {
                self.page.tombstones += 1;
                continue;
            };
            if row.make_visible(columns, command.now, &mut self.page.tombstones)? {
                self.bytes = self.bytes.saturating_add(row.weight());
                self.rows += 1;
                partition.returned += 1;
                partition.rows.rows.push(row);
                if command.limits.reached(self.rows, self.bytes) {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// Puts a partition into the page if anything of it is visible. A static row alone counts as a row, once.
    fn keep(&mut self, partition: Partition) {
        let alone = partition.rows.rows.is_empty();
        if alone
            && (partition.rows.static_row.is_none()
                || partition.returned > 0
                || partition.rest.is_some())
        {
            return;
        }
        if let Some(row) = &partition.rows.static_row {
            self.bytes = self.bytes.saturating_add(row.weight());
        }
        self.rows += u32::from(alone);
        self.page.partitions.push(partition.rows);
    }

    fn finish(&mut self, next: Option<ReadPosition>) -> ReadPage<ReadRow> {
        self.page.next = next;
        std::mem::take(&mut self.page)
    }
}

/// Reads one page. After a miss, call again with the same merge, command and page.
pub fn run<S: Source>(
    merge: &mut Merge<S>,
    command: &ReadCommand,
    page: &mut PageBuilder,
) -> Result<ReadPage<ReadRow>, Fault> {
    loop {
        // A stage changes only when its work is done: after a miss it is entered again.
        match page.stage {
            Stage::Start => {
                merge.seek(&start(command))?;
                page.stage = Stage::Head;
            }
            Stage::Head => {
                let Some(head) = merge.head()? else {
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
                if matches!(command.range, KeyRange::One(_)) && !middle {
                    page.keep(partition);
                    return Ok(page.finish(None));
                }
                let key = partition.rows.key.clone();
                let last = partition.rows.rows.last().filter(|_| middle);
                let clustering = last.map(|row| row.clustering().clone());
                let returned_in_partition = if middle { partition.returned } else { 0 };
                page.keep(partition);
                if full || page.is_full(command) {
                    return Ok(page.finish(Some(ReadPosition {
                        key,
                        clustering,
                        returned_in_partition,
                    })));
                }
            }
            Stage::Leave => {
                merge.next_partition()?;
                page.stage = Stage::Head;
            }
        }
    }
}

/// Reads one page of one partition straight from a memtable that alone may have it. None if it takes more than that: then [`run`] it.
pub fn run_one(memtable: &Memtable, command: &ReadCommand) -> Result<Option<ReadPage<ReadRow>>> {
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
            if visible_row(&mut row, columns, command.now, &mut page.tombstones) {
                page.partitions.push(PartitionRows {
                    key: key.clone(),
                    static_row: None,
                    rows: vec![row.into()],
                });
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
