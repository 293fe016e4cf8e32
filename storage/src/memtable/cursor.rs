//! A reader of a memtable, window by window.
//!
//! A cursor holds no lock between calls and no place in the tree, only a position: it copies a bounded window of a partition out under the
//! lock, gives its items out, and comes back for what lies after. Windows start small, since most reads want little, and grow.
//!
//! ```text
//! slice        (start ──────────────────────────────── end)
//! forward       [from ··· rows and edges ··· limit][from ···        the next window starts where this one stopped
//! reversed                          ···][limit ··· rows and edges ··· from]
//! ```
//!
//! An *edge* is a position where the open range deletion changes. A window knows the deletion open where it starts, so it needs nothing of the
//! windows before it.

use super::partition::{Many, One, Partition};
use super::{Memtable, first_from};
use crate::codec::{Malformed, compare};
use crate::model::{
    Clustering, Deletion, PartitionBound, PartitionKey, RangeTombstone, RangeTombstoneList, Row,
    RowView, Slices, Token,
};
use crate::read::{Fault, Item, PartitionHead, Source};
use crate::{Error, Result};
use bytes::Bytes;
use std::ops::{Deref, Range};
use std::sync::Arc;

/// Rows of the first window of a slice; each further one has four times as many.
const WINDOW_ROWS_MIN: usize = 16;
/// Rows of any window.
const WINDOW_ROWS_MAX: usize = 256;
/// Range tombstones of any window.
const WINDOW_TOMBSTONES_MAX: usize = 256;
/// Bytes of rows at which a window ends: one row may exceed it.
const WINDOW_BYTES_MAX: usize = 64 << 10;

/// Reads a memtable as a [`Source`]. It never misses.
pub struct MemtableCursor<M> {
    memtable: M,
    /// Where to look for the current partition if it is not loaded.
    from: PartitionBound,
    current: Option<Option<Current>>,
    slices: Slices,
    reversed: bool,
    slice: usize,
    window: Window,
    window_rows: usize,
    next: Option<Item>,
    open: Option<Deletion>,
}

struct Current {
    head: PartitionHead,
    /// The whole partition, if it was small.
    whole: Option<Arc<Content>>,
}

/// Rows copied out of a partition, and the range tombstones among them.
#[derive(Default)]
struct Content {
    bytes: Bytes,
    rows: Vec<RowSpan>,
    tombstones: RangeTombstoneList,
}

/// Where a row lies in the copied bytes: clustering, then row.
struct RowSpan {
    clustering: Range<usize>,
    row: Range<usize>,
}

/// What is left to give out of the part of a slice that was copied.
#[derive(Default)]
struct Window {
    content: Arc<Content>,
    rows: Range<usize>,
    edges: Vec<(Clustering, Option<Deletion>, Option<Deletion>)>,
    edge: Range<usize>,
    /// Where the slice goes on after this window.
    more: Option<Clustering>,
}

impl<M: Deref<Target = Memtable>> MemtableCursor<M> {
    /// Stands before everything.
    pub fn new(memtable: M) -> Self {
        MemtableCursor {
            memtable,
            from: PartitionBound::MIN,
            current: None,
            slices: Slices::none(),
            reversed: false,
            slice: 0,
            window: Window::default(),
            window_rows: WINDOW_ROWS_MIN,
            next: None,
            open: None,
        }
    }

    fn load(&mut self) -> Result<Option<&Current>> {
        if self.current.is_none() {
            let found = first_from(&self.memtable, &self.from, copy_partition);
            self.current = Some(match found {
                None => None,
                Some(copied) => Some(copied.into_current()?),
            });
        }
        Ok(self.current.as_ref().and_then(|current| current.as_ref()))
    }

    fn clear(&mut self) {
        self.current = None;
        self.slices = Slices::none();
        self.window = Window::default();
        self.next = None;
        self.open = None;
    }

    /// Copies the window of the slice at hand that starts at `from`; at the slice's own start if None.
    fn copy_window(&mut self, from: Option<Clustering>) {
        let all = self.slices.as_slice();
        let index = if self.reversed {
            all.len() - 1 - self.slice
        } else {
            self.slice
        };
        let Some(slice) = all.get(index) else {
            return;
        };
        let span = match (from, self.reversed) {
            (None, _) => slice.clone(),
            (Some(from), false) => (from, slice.1.clone()),
            (Some(from), true) => (slice.0.clone(), from),
        };
        let Some(Some(current)) = &self.current else {
            return;
        };
        let (content, limit) = match &current.whole {
            Some(whole) => (whole.clone(), None),
            None => {
                let key = &current.head.key;
                let (rows, reversed) = (self.window_rows, self.reversed);
                let copied = self.memtable.partitions.with(key.token(), |shard| {
                    shard
                        .get(key.token(), key.bytes())
                        .map(|partition| copy_content(partition, &span, rows, reversed))
                });
                // Gone only if the memtable was wiped meanwhile.
                let (content, limit) = copied.unwrap_or_default();
                (Arc::new(content), limit)
            }
        };
        self.window_rows = (self.window_rows * 4).min(WINDOW_ROWS_MAX);
        let (window, open) = Window::new(content, span, limit, self.reversed);
        (self.window, self.open) = (window, open);
    }

    fn advance(&mut self) -> Result<()> {
        while self.next.is_none() && self.slice < self.slices.as_slice().len() {
            self.next = self.window.next(self.reversed, self.open)?;
            if self.next.is_some() {
                break;
            }
            match self.window.more.take() {
                Some(from) => self.copy_window(Some(from)),
                // The last slice's end is where the cursor stays, so that what is open there can be asked.
                None if self.slice + 1 < self.slices.as_slice().len() => {
                    self.slice += 1;
                    self.window_rows = WINDOW_ROWS_MIN;
                    self.copy_window(None);
                }
                None => break,
            }
        }
        Ok(())
    }
}

impl<M: Deref<Target = Memtable> + Send> Source for MemtableCursor<M> {
    fn seek(&mut self, from: &PartitionBound) -> Result<(), Fault> {
        self.clear();
        self.from = from.clone();
        Ok(())
    }

    fn partition(&mut self) -> Result<Option<PartitionHead>, Fault> {
        Ok(self.load()?.map(|current| current.head.clone()))
    }

    fn open(&mut self, slices: &Slices, reversed: bool) -> Result<(), Fault> {
        self.load()?;
        self.slices = slices.clone();
        self.reversed = reversed;
        self.slice = 0;
        self.next = None;
        self.open = None;
        self.window = Window::default();
        self.window_rows = WINDOW_ROWS_MIN;
        self.copy_window(None);
        Ok(())
    }

    fn peek(&mut self) -> Result<Option<&Item>, Fault> {
        self.advance()?;
        Ok(self.next.as_ref())
    }

    fn pop(&mut self) -> Item {
        let item = self
            .next
            .take()
            .expect("peek showed an item: the contract of Source");
        self.open = item.leaving(self.reversed);
        item
    }

    fn gap(&self) -> Option<Deletion> {
        match &self.next {
            Some(next) => next.entering(self.reversed),
            None => self.open,
        }
    }

    fn next_partition(&mut self) -> Result<(), Fault> {
        if let Some(current) = self.load()? {
            self.from = PartitionBound::After(current.head.key.clone());
            self.clear();
        }
        Ok(())
    }
}

/// A partition's head as copied under the lock, not decoded yet.
struct Copied {
    token: i64,
    key: Range<usize>,
    deletion: Option<Deletion>,
    static_row: Option<Range<usize>>,
    content: Content,
    is_whole: bool,
}

fn copy_partition(token: i64, partition: &Partition) -> Copied {
    let mut copied = Copied {
        token,
        key: 0..0,
        deletion: None,
        static_row: None,
        content: Content::default(),
        is_whole: true,
    };
    let mut bytes = Vec::new();
    match partition {
        Partition::One(one) => {
            bytes.reserve_exact(one.key().len() + one.clustering().len() + one.row().len());
            copied.key = put(&mut bytes, one.key());
            copied.content.copy_one(&mut bytes, one);
        }
        Partition::Many(many) => {
            copied.key = put(&mut bytes, partition.key());
            copied.deletion = many.deletion;
            copied.static_row = many.static_row.as_ref().map(|row| put(&mut bytes, row));
            copied.is_whole = many.is_small();
            if copied.is_whole {
                for row in many.rows() {
                    copied.content.push(&mut bytes, row.clustering(), row.row());
                }
                copied.content.tombstones = many.tombstones.clone();
            }
        }
    }
    copied.content.bytes = Bytes::from(bytes);
    copied
}

impl Copied {
    fn into_current(self) -> Result<Current> {
        let bytes = &self.content.bytes;
        let static_row = match self.static_row {
            None => None,
            Some(span) => Some(Row::decode(Clustering::MIN, bytes.slice(span))?),
        };
        let head = PartitionHead {
            key: PartitionKey::new(Token(self.token), bytes.slice(self.key)),
            deletion: self.deletion,
            static_row,
        };
        Ok(Current {
            head,
            whole: self.is_whole.then(|| Arc::new(self.content)),
        })
    }
}

/// The part of a partition that lies in a span, up to some rows; and the position where more begins.
fn copy_content(
    partition: &Partition,
    span: &(Clustering, Clustering),
    rows: usize,
    reversed: bool,
) -> (Content, Option<Clustering>) {
    let mut content = Content::default();
    let mut bytes = Vec::new();
    let mut limit = None;
    match partition {
        Partition::One(one) => content.copy_one(&mut bytes, one),
        Partition::Many(many) if reversed => {
            let start = content.copy_tombstones_reversed(many, span, &mut limit);
            let within = many.rows_between(&start, &span.1).rev();
            if let Some(row_limit) = content.copy_rows(&mut bytes, within, rows) {
                limit = Some(row_limit);
            }
            content.rows.reverse();
        }
        Partition::Many(many) => {
            let end = content.copy_tombstones(many, span, &mut limit);
            let within = many.rows_between(&span.0, &end);
            if let Some(row_limit) = content.copy_rows(&mut bytes, within, rows) {
                limit = Some(row_limit);
            }
        }
    }
    content.bytes = Bytes::from(bytes);
    (content, limit)
}

impl Content {
    fn push(&mut self, bytes: &mut Vec<u8>, clustering: &[u8], row: &[u8]) {
        let clustering = put(bytes, clustering);
        let row = put(bytes, row);
        self.rows.push(RowSpan { clustering, row });
    }

    fn copy_one(&mut self, bytes: &mut Vec<u8>, one: &One) {
        self.push(bytes, one.clustering(), one.row());
    }

    /// Copies rows until there are enough; the last one's position if there were more.
    fn copy_rows<'a>(
        &mut self,
        bytes: &mut Vec<u8>,
        rows: impl Iterator<Item = &'a super::partition::StoredRow>,
        enough: usize,
    ) -> Option<Clustering> {
        let mut last: Option<&[u8]> = None;
        for row in rows {
            if self.rows.len() >= enough || bytes.len() >= WINDOW_BYTES_MAX {
                return last.map(Clustering::copy_from);
            }
            self.push(bytes, row.clustering(), row.row());
            last = Some(row.clustering());
        }
        None
    }

    /// Copies the tombstones that touch a span, from its start; answers where the span ends if there are too many.
    fn copy_tombstones(
        &mut self,
        many: &Many,
        span: &(Clustering, Clustering),
        limit: &mut Option<Clustering>,
    ) -> Clustering {
        let all = many.tombstones.as_slice();
        let first = all.partition_point(|tombstone| tombstone.end < span.0);
        let mut end = span.1.clone();
        let mut touching =
            first..first + all[first..].partition_point(|tombstone| tombstone.start <= span.1);
        if touching.len() > WINDOW_TOMBSTONES_MAX {
            touching.end = touching.start + WINDOW_TOMBSTONES_MAX;
            end = all[touching.end].start.clone();
            *limit = Some(end.clone());
        }
        self.tombstones = all[touching].iter().cloned().collect();
        end
    }

    /// The same from the span's end; answers where the span starts.
    fn copy_tombstones_reversed(
        &mut self,
        many: &Many,
        span: &(Clustering, Clustering),
        limit: &mut Option<Clustering>,
    ) -> Clustering {
        let all = many.tombstones.as_slice();
        let first = all.partition_point(|tombstone| tombstone.end < span.0);
        let mut start = span.0.clone();
        let mut touching =
            first..first + all[first..].partition_point(|tombstone| tombstone.start <= span.1);
        if touching.len() > WINDOW_TOMBSTONES_MAX {
            touching.start = touching.end - WINDOW_TOMBSTONES_MAX;
            start = all[touching.start - 1].end.clone();
            *limit = Some(start.clone());
        }
        self.tombstones = all[touching].iter().cloned().collect();
        start
    }

    fn clustering(&self, index: usize) -> &[u8] {
        &self.bytes[self.rows[index].clustering.clone()]
    }

    fn row(&self, index: usize) -> Result<Row, Malformed> {
        let span = &self.rows[index];
        let clustering = match &self.bytes[span.clustering.clone()] {
            [0x80] => Clustering::SINGLE,
            _ => Clustering(self.bytes.slice(span.clustering.clone())),
        };
        RowView::parse(&self.bytes[span.row.clone()])?.to_row(clustering, &self.bytes)
    }
}

fn put(bytes: &mut Vec<u8>, more: &[u8]) -> Range<usize> {
    let start = bytes.len();
    bytes.extend_from_slice(more);
    start..bytes.len()
}

impl Window {
    /// The part of a span that was copied, up to `limit`; and the deletion open where it starts.
    fn new(
        content: Arc<Content>,
        span: (Clustering, Clustering),
        limit: Option<Clustering>,
        reversed: bool,
    ) -> (Window, Option<Deletion>) {
        let rows = content.rows_within(&span);
        let open = match reversed {
            false => content.tombstones.covering_before(&span.0.0),
            true => content.tombstones.covering(&span.1.0),
        };
        // An edge at the limit itself belongs to the next window, which starts there.
        let (start, end) = &span;
        let inside = |position: &Clustering| match (&limit, reversed) {
            (Some(limit), false) => start <= position && position < limit,
            (Some(limit), true) => limit < position && position <= end,
            (None, _) => start <= position && position <= end,
        };
        let mut edges = edges(content.tombstones.as_slice());
        edges.retain(|(position, _, _)| inside(position));
        let window = Window {
            rows,
            edge: 0..edges.len(),
            edges,
            content,
            more: limit,
        };
        (window, open)
    }

    fn next(&mut self, reversed: bool, open: Option<Deletion>) -> Result<Option<Item>> {
        let row = match reversed {
            false => (!self.rows.is_empty()).then_some(self.rows.start),
            true => (!self.rows.is_empty()).then(|| self.rows.end - 1),
        };
        let edge = match reversed {
            false => (!self.edge.is_empty()).then_some(self.edge.start),
            true => (!self.edge.is_empty()).then(|| self.edge.end - 1),
        };
        let row_first = match (row, edge) {
            (Some(row), Some(edge)) => {
                compare(self.content.clustering(row), &self.edges[edge].0.0).is_lt() != reversed
            }
            (row, _) => row.is_some(),
        };
        match (row, edge) {
            (Some(index), _) if row_first => {
                step(&mut self.rows, reversed);
                let row = self
                    .content
                    .row(index)
                    .map_err(|_| Error::corrupt("a row in a memtable"))?;
                Ok(Some(Item {
                    position: row.clustering.clone(),
                    before: open,
                    after: open,
                    row: Some(row),
                }))
            }
            (_, Some(index)) => {
                step(&mut self.edge, reversed);
                let (position, before, after) = self.edges[index].clone();
                Ok(Some(Item {
                    position,
                    before,
                    after,
                    row: None,
                }))
            }
            _ => Ok(None),
        }
    }
}

fn step(range: &mut Range<usize>, reversed: bool) {
    match reversed {
        false => range.start += 1,
        true => range.end -= 1,
    }
}

impl Content {
    /// The rows strictly inside a span.
    fn rows_within(&self, (start, end): &(Clustering, Clustering)) -> Range<usize> {
        let clustering = |span: &RowSpan| &self.bytes[span.clustering.clone()];
        let first = self
            .rows
            .partition_point(|row| compare(clustering(row), &start.0).is_le());
        let last = self
            .rows
            .partition_point(|row| compare(clustering(row), &end.0).is_lt());
        first..last.max(first)
    }
}

/// The positions where the open deletion changes, with what is open before and after.
fn edges(tombstones: &[RangeTombstone]) -> Vec<(Clustering, Option<Deletion>, Option<Deletion>)> {
    let mut edges: Vec<(Clustering, Option<Deletion>, Option<Deletion>)> =
        Vec::with_capacity(2 * tombstones.len());
    for tombstone in tombstones {
        let deletion = Some(tombstone.deletion);
        match edges.last_mut() {
            Some((position, _, after)) if *position == tombstone.start => *after = deletion,
            _ => edges.push((tombstone.start.clone(), None, deletion)),
        }
        edges.push((tombstone.end.clone(), deletion, None));
    }
    edges
}
