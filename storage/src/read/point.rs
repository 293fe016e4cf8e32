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
//! sources may add are not looked for: a liveness, where live cells show the row anyway, and a longer spelling of the clustering. So a row's liveness, if it
//! has one, is no later than its own.

use super::{KeyRange, PartitionRows, ReadCommand, ReadPage, ReadRow, ReadRows};
use crate::Result;
use crate::codec::Malformed;
use crate::model::{
    CellRef, Clustering, ColumnId, Deletion, Liveness, PartitionKey, RowView, reconcile,
};

/// What one source says of one row.
#[derive(Debug, Default, Clone, PartialEq)]
pub struct PointPart {
    /// The later of the partition's deletion and of the range deletion over the row.
    pub cover: Option<Deletion>,
    pub row: Option<ReadRow>,
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
    pub fn add(&mut self, part: PointPart) -> Result<()> {
        let known = &mut self.known;
        known.cover = known.cover.max(part.cover);
        known.row = match (known.row.take(), part.row) {
            (Some(a), Some(b)) => Some(reconcile::unite(a.into_row()?, b.into_row()?).into()),
            (one, other) => one.or(other),
        };
        Ok(())
    }

    /// Whether nothing written at `older` or before can change the answer.
    pub fn is_decided(&self, older: i64, command: &ReadCommand) -> Result<bool> {
        let cover = self.known.cover;
        match &self.known.row {
            None => Ok(cover.is_some_and(|deletion| deletion.deletes(older))),
            Some(ReadRow::Encoded { bytes, .. }) => {
                let view = RowView::parse(bytes)?;
                let known = KnownRow {
                    deletion: cover.max(view.deletion),
                    liveness: view.liveness,
                    has_complex_deletions: view.has_complex_deletions(),
                };
                Ok(known.decides(older, command, view.cells())?)
            }
            Some(ReadRow::Decoded(row)) => {
                let known = KnownRow {
                    deletion: cover.max(row.deletion),
                    liveness: row.liveness,
                    has_complex_deletions: !row.complex_deletions.is_empty(),
                };
                let cells = row.cells.iter().map(|cell| Ok(cell.as_ref()));
                Ok(known.decides(older, command, cells)?)
            }
        }
    }

    /// The answer.
    pub fn page(self, command: &ReadCommand, key: &PartitionKey) -> Result<ReadPage<ReadRows>> {
        let PointPart { cover, row } = self.known;
        let mut page = ReadPage::default();
        page.hidden.tombstones += u64::from(cover.is_some());
        page.hidden.note_deletions(cover);
        let Some(mut row) = row else {
            return Ok(page);
        };
        let columns = &command.columns.regular;
        if row.shadow(cover)?
            && row.make_visible(columns, command.now, &mut page.hidden)?
            && command.limits.rows > 0
            && command.limits.per_partition > 0
        {
            let mut rows = ReadRows::default();
            rows.push(row);
            page.partitions = vec![PartitionRows {
                key: key.clone(),
                static_row: None,
                rows,
            }];
        }
        Ok(page)
    }
}

/// A row as far as it is known, without its cells; `deletion`: the latest over it.
struct KnownRow {
    deletion: Option<Deletion>,
    liveness: Option<Liveness>,
    has_complex_deletions: bool,
}

impl KnownRow {
    fn decides<'a>(
        &self,
        older: i64,
        command: &ReadCommand,
        mut cells: impl Iterator<Item = Result<CellRef<'a>, Malformed>>,
    ) -> Result<bool, Malformed> {
        let deleted = |timestamp| {
            let deletion = self.deletion;
            deletion.is_some_and(|deletion| deletion.deletes(timestamp))
        };
        if deleted(older) {
            return Ok(true);
        }
        if self.has_complex_deletions {
            return Ok(false);
        }
        let mut is_live = false;
        for column in &command.columns.regular {
            let behind = |cell: &Result<CellRef<'_>, _>| {
                cell.as_ref().map_or(true, |cell| cell.column >= *column)
            };
            match cells.find(behind).transpose()? {
                // Cells of complex columns have paths: what else is in such a column only its other sources say.
                Some(cell) if is_simple(&cell, *column) && cell.timestamp > older => {
                    is_live |= cell.is_live(command.now) && !deleted(cell.timestamp);
                }
                _ => return Ok(false),
            }
        }
        Ok(is_live || self.liveness.is_some_and(|own| own.timestamp > older))
    }
}

fn is_simple(cell: &CellRef<'_>, wanted: ColumnId) -> bool {
    cell.column == wanted && cell.path.is_empty()
}
