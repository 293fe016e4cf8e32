//! One row, named exactly: newest source first, until nothing older can matter.
//!
//! ```text
//! memtables ─► SSTables by their newest timestamp, downwards ─► stop: every column is known, and from later than all that is left
//! ```
//!
//! A row that is overwritten again and again stands in many SSTables. Merging all of them answers the same as the newest alone, so each source says
//! what it has of the row in one step ([`PointPart`]), and the reader stops as soon as what is left can change nothing.
//!
//! What must hold: whether the row is there, and each of its cells, are what [`run`](super::run) gives for the same command. Two things that older
//! sources may add are not looked for: a liveness, where live cells show the row anyway, and a longer spelling of the clustering.

use super::{KeyRange, PartitionRows, ReadCommand, ReadPage, ReadRows, visible_row};
use crate::model::{Clustering, ColumnId, Deletion, PartitionKey, Row, reconcile};

/// What one source says of one row.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct PointPart {
    /// The later of the partition's deletion and of the range deletion over the row.
    pub cover: Option<Deletion>,
    pub row: Option<Row>,
}

/// A row as far as its sources have been read.
#[derive(Debug, Default)]
pub struct Point {
    known: PointPart,
}

impl ReadCommand {
    /// The only row that is wanted, if the command names one and nothing of its partition besides.
    pub fn point(&self) -> Option<(&PartitionKey, &Clustering)> {
        match &self.range {
            KeyRange::One(key) if self.columns.statics.is_empty() && self.resume.is_none() => {
                self.slices.only_row().map(|row| (key, row))
            }
            _ => None,
        }
    }
}

impl Point {
    /// Adds what the next source says.
    pub fn add(&mut self, part: PointPart) {
        let known = &mut self.known;
        known.cover = known.cover.max(part.cover);
        known.row = match (known.row.take(), part.row) {
            (Some(a), Some(b)) => Some(reconcile::unite(a, b)),
            (one, other) => one.or(other),
        };
    }

    /// Whether nothing written at `older` or before can change the answer.
    pub fn is_settled(&self, older: i64, command: &ReadCommand) -> bool {
        let own = self.known.row.as_ref().and_then(|row| row.deletion);
        let deletion = self.known.cover.max(own);
        if deletion.is_some_and(|deletion| deletion.deletes(older)) {
            return true;
        }
        let Some(row) = &self.known.row else {
            return false;
        };
        if !row.complex_deletions.is_empty() {
            return false;
        }
        let deleted = |timestamp| deletion.is_some_and(|deletion| deletion.deletes(timestamp));
        let mut cells = row.cells.iter();
        let mut is_live = false;
        for column in &command.columns.regular {
            // Cells of complex columns have paths: what else is in such a column only its other sources say.
            let known = cells
                .find(|cell| cell.column >= *column)
                .filter(|cell| is_simple(cell.column, &cell.path, *column));
            match known {
                Some(cell) if cell.timestamp > older => {
                    is_live |= cell.is_live(command.now) && !deleted(cell.timestamp);
                }
                _ => return false,
            }
        }
        is_live || row.liveness.is_some_and(|own| own.timestamp > older)
    }

    /// The answer.
    pub fn page(self, command: &ReadCommand, key: &PartitionKey) -> ReadPage<ReadRows> {
        let PointPart { cover, row } = self.known;
        let mut page = ReadPage {
            tombstones: u64::from(cover.is_some()),
            ..ReadPage::default()
        };
        let Some(mut row) = row else {
            return page;
        };
        reconcile::shadow(&mut row, cover);
        let columns = &command.columns.regular;
        if visible_row(&mut row, columns, command.now, &mut page.tombstones)
            && command.limits.rows > 0
            && command.limits.per_partition > 0
        {
            // It may be older than the row's own: no source was asked for more than it takes to show the row.
            row.liveness = None;
            page.partitions = vec![PartitionRows {
                key: key.clone(),
                static_row: None,
                rows: ReadRows::from_iter([row]),
            }];
        }
        page
    }
}

fn is_simple(found: ColumnId, path: &[u8], wanted: ColumnId) -> bool {
    found == wanted && path.is_empty()
}
