//! A part of a partition, copied out under the lock and given out afterwards.
//!
//! ```text
//! slice        (start ──────────────────────────────── end)
//! forward       [from ··· rows and edges ··· limit][from ···        the next window starts where this one stopped
//! reversed                          ···][limit ··· rows and edges ··· from]
//! ```
//!
//! An *edge* is a position where the open range deletion changes. A window knows the deletion open where it starts, so it needs nothing of the
//! windows before it. An edge at the limit belongs to the window after it; a row at the limit to the one that ends there.

use super::leaves::StoredRow;
use super::partition::{Many, One, Partition};
use crate::Result;
use crate::codec::compare;
use crate::model::{Clustering, Deletion, RangeTombstone, RangeTombstoneList};
use crate::read::{EncodedRow, Item, ReadRow, ShowRow, Until};
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;

/// Rows of any window.
pub(super) const WINDOW_ROWS_MAX: usize = 256;
/// Range tombstones of any window.
const WINDOW_TOMBSTONES_MAX: usize = 256;
/// Bytes of rows at which a window ends: one row may exceed it.
const WINDOW_BYTES_MAX: usize = 64 << 10;

/// Rows copied out of a partition, and the range tombstones among them.
#[derive(Default)]
pub(super) struct Content {
    pub(super) bytes: Bytes,
    rows: Vec<RowSpan>,
    pub(super) tombstones: RangeTombstoneList,
}

/// Where a row lies in the copied bytes: clustering, then row.
struct RowSpan {
    clustering: Range<usize>,
    row: Range<usize>,
}

/// What is left to give out of the part of a slice that was copied.
#[derive(Default)]
pub(super) struct Window {
    content: Arc<Content>,
    rows: Range<usize>,
    edges: Vec<(Clustering, Option<Deletion>, Option<Deletion>)>,
    edge: Range<usize>,
    /// Where the slice goes on after this window.
    pub(super) more: Option<Clustering>,
}

/// The part of a partition that lies in a span, up to some rows; and the position where more begins.
pub(super) fn copy_content(
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

/// What became of rows that were shown where they lie.
pub(super) struct Shown {
    /// Where the span goes on.
    pub(super) more: Option<Clustering>,
    /// Whether the next one is wanted.
    pub(super) wanted: bool,
}

/// Shows rows of a span where they lie, up to a window of them. None shown and nothing said: a range deletion touches the span.
pub(super) fn show_content(
    partition: &Partition,
    span: &(Clustering, Clustering),
    reversed: bool,
    until: Until<'_>,
    show: &mut ShowRow<'_>,
) -> Result<Option<Shown>> {
    let Partition::Many(many) = partition else {
        return Ok(None);
    };
    if many.tombstones.touch(span) {
        return Ok(None);
    }
    let mut within = many.rows_between(&span.0, &span.1);
    let (mut last, mut rows, mut bytes): (Option<&[u8]>, _, _) = (None, 0, 0);
    loop {
        let next = match reversed {
            false => within.next(),
            true => within.next_back(),
        };
        let Some(row) = next else {
            let more = None;
            return Ok(Some(Shown { more, wanted: true }));
        };
        let is_full = rows == WINDOW_ROWS_MAX || bytes >= WINDOW_BYTES_MAX;
        let mut wanted = until.is_after(row.clustering());
        if !is_full && wanted {
            wanted = show(row.encoded())?;
            last = Some(row.clustering());
            rows += 1;
            bytes += row.parts().0.len();
        }
        if is_full || !wanted {
            let start = if reversed { &span.1 } else { &span.0 };
            let more = last.map_or_else(|| start.clone(), Clustering::copy_from);
            let more = Some(more);
            return Ok(Some(Shown { more, wanted }));
        }
    }
}

impl Content {
    pub(super) fn push(&mut self, bytes: &mut Vec<u8>, row: StoredRow<'_>) {
        let (both, clustering_len) = row.parts();
        let both = put(bytes, both);
        let middle = both.start + clustering_len;
        self.rows.push(RowSpan {
            clustering: both.start..middle,
            row: middle..both.end,
        });
    }

    pub(super) fn copy_one(&mut self, bytes: &mut Vec<u8>, one: &One) {
        let clustering = put(bytes, one.clustering());
        let row = put(bytes, one.row());
        self.rows.push(RowSpan { clustering, row });
    }

    /// Copies rows until there are enough; the last one's position if there were more.
    fn copy_rows<'a>(
        &mut self,
        bytes: &mut Vec<u8>,
        rows: impl Iterator<Item = StoredRow<'a>>,
        enough: usize,
    ) -> Option<Clustering> {
        let mut last: Option<&[u8]> = None;
        for row in rows {
            if self.rows.len() >= enough || bytes.len() >= WINDOW_BYTES_MAX {
                return last.map(Clustering::copy_from);
            }
            self.push(bytes, row);
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

    fn encoded(&self, index: usize) -> EncodedRow<'_> {
        EncodedRow {
            clustering: self.clustering(index),
            bytes: &self.bytes[self.rows[index].row.clone()],
        }
    }

    fn row(&self, index: usize) -> ReadRow {
        let span = &self.rows[index];
        let clustering = match &self.bytes[span.clustering.clone()] {
            [0x80] => Clustering::SINGLE,
            _ => Clustering(self.bytes.slice(span.clustering.clone())),
        };
        ReadRow::Encoded {
            clustering,
            bytes: self.bytes.slice(span.row.clone()),
        }
    }
}

/// Appends bytes and says where they are.
pub(super) fn put(bytes: &mut Vec<u8>, more: &[u8]) -> Range<usize> {
    let start = bytes.len();
    bytes.extend_from_slice(more);
    start..bytes.len()
}

impl Window {
    /// The part of a span that was copied, up to `limit`; and the deletion open where it starts.
    pub(super) fn new(
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

    /// The part of a slice that starts there, of which nothing was copied.
    pub(super) fn not_copied(more: Option<Clustering>) -> Window {
        Window {
            more,
            ..Window::default()
        }
    }

    /// Whether all that was copied was given out.
    pub(super) fn is_over(&self) -> bool {
        self.rows.is_empty() && self.edge.is_empty()
    }

    /// Shows rows up to the next edge. False: no more are wanted, or the next one is not to be shown yet.
    pub(super) fn show_rows(
        &mut self,
        reversed: bool,
        until: Until<'_>,
        show: &mut ShowRow<'_>,
    ) -> Result<bool> {
        while self.edge.is_empty() && !self.rows.is_empty() {
            let index = match reversed {
                false => self.rows.start,
                true => self.rows.end - 1,
            };
            if !until.is_after(self.content.clustering(index)) {
                return Ok(false);
            }
            step(&mut self.rows, reversed);
            if !show(self.content.encoded(index))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// The next item in the order of the read; `open` is the deletion where the reader stands.
    pub(super) fn next(&mut self, reversed: bool, open: Option<Deletion>) -> Option<Item> {
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
                let row = self.content.row(index);
                Some(Item {
                    position: row.clustering().clone(),
                    before: open,
                    after: open,
                    row: Some(row),
                })
            }
            (_, Some(index)) => {
                step(&mut self.edge, reversed);
                let (position, before, after) = self.edges[index].clone();
                Some(Item {
                    position,
                    before,
                    after,
                    row: None,
                })
            }
            _ => None,
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
