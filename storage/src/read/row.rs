//! A row on its way through a read: bytes, until somebody has to change it.
//!
//! Most rows that are read come from one source, hide nothing and have nothing to hide: they go from a block, or from a memtable's copy, into an answer. To take
//! such a row apart into cells costs more than all the rest of reading it, so it stays encoded, and whoever shows it looks at its cells where they are.
//!
//! What must hold: a row says the same in both forms.

use bytes::Bytes;

use super::visible::{Hidden, visible_row};
use crate::Result;
use crate::codec::Malformed;
use crate::model::{CellRef, Clustering, ColumnId, Deletion, Row, RowView, StateRef, reconcile};

/// A row of a source or of a page.
#[derive(Debug, Clone)]
pub enum ReadRow {
    /// As it is kept.
    Encoded {
        /// Its position.
        clustering: Clustering,
        /// The encoded form, without the clustering.
        bytes: Bytes,
    },
    /// Something of it was changed, or several were united.
    Decoded(Row),
}

/// A row as it is kept: its position, and the encoded form without it.
#[derive(Clone, Copy)]
pub struct EncodedRow<'a> {
    /// Where it stands in its partition.
    pub clustering: &'a [u8],
    /// The rest.
    pub bytes: &'a [u8],
}

/// A row that somebody else has.
#[derive(Clone, Copy)]
pub enum RowRef<'a> {
    /// As it is kept.
    Encoded(EncodedRow<'a>),
    /// Taken apart.
    Decoded(&'a Row),
}

impl From<Row> for ReadRow {
    fn from(row: Row) -> Self {
        ReadRow::Decoded(row)
    }
}

impl PartialEq for ReadRow {
    fn eq(&self, other: &Self) -> bool {
        match (self.clone().into_row(), other.clone().into_row()) {
            (Ok(own), Ok(other)) => own == other,
            _ => false,
        }
    }
}

impl ReadRow {
    /// Where it stands in its partition.
    pub fn clustering(&self) -> &Clustering {
        match self {
            ReadRow::Encoded { clustering, .. } => clustering,
            ReadRow::Decoded(row) => &row.clustering,
        }
    }

    /// Its cells and what else it says, owned.
    pub fn into_row(self) -> Result<Row> {
        match self {
            ReadRow::Encoded { clustering, bytes } => Row::decode(clustering, bytes),
            ReadRow::Decoded(row) => Ok(row),
        }
    }

    /// The row where it is.
    pub fn as_ref(&self) -> RowRef<'_> {
        match self {
            ReadRow::Encoded { clustering, bytes } => RowRef::Encoded(EncodedRow {
                clustering: &clustering.0,
                bytes,
            }),
            ReadRow::Decoded(row) => RowRef::Decoded(row),
        }
    }

    /// Surely says nothing that deletes or expires, nor anything of columns that are gone: no time changes what it says.
    pub fn is_everlasting(&self, gone: &[ColumnId]) -> Result<bool> {
        let ReadRow::Encoded { bytes, .. } = self else {
            return Ok(false);
        };
        let view = RowView::parse(bytes)?;
        if view.liveness.is_some_and(|liveness| liveness.ttl != 0)
            || view.deletion.is_some()
            || view.has_complex_deletions()
        {
            return Ok(false);
        }
        for cell in view.cells() {
            let cell = cell?;
            if !matches!(cell.state, StateRef::Live(_)) || gone.binary_search(&cell.column).is_ok()
            {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Appends the encoded form, without the clustering.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            ReadRow::Encoded { bytes, .. } => out.extend_from_slice(bytes),
            ReadRow::Decoded(row) => row.encode(out),
        }
    }

    /// Drops what `active` (of the partition or a range) or its own deletions shadow. False if it says nothing then.
    pub(super) fn shadow(&mut self, active: Option<Deletion>) -> Result<bool> {
        if let ReadRow::Encoded { bytes, .. } = self {
            let view = RowView::parse(bytes)?;
            if active.is_none() && view.deletion.is_none() && !view.has_complex_deletions() {
                return Ok(view.liveness.is_some() || view.cells().next().is_some());
            }
        }
        let row = self.decoded()?;
        reconcile::shadow(row, active);
        Ok(!row.is_empty())
    }

    /// Leaves what is visible, as [`visible_row`] does of what its own deletions leave, and says whether anything is.
    pub(super) fn make_visible(
        &mut self,
        columns: &[ColumnId],
        now: i64,
        hidden: &mut Hidden,
    ) -> Result<bool> {
        if let ReadRow::Encoded { bytes, .. } = self
            && let Some(is_live) = seen_as_it_is(bytes, columns, now)?
        {
            return Ok(is_live);
        }
        let row = self.decoded()?;
        reconcile::shadow(row, None);
        Ok(visible_row(row, columns, now, hidden))
    }

    fn decoded(&mut self) -> Result<&mut Row> {
        if let ReadRow::Encoded { clustering, bytes } = self {
            *self = ReadRow::Decoded(Row::decode(clustering.clone(), bytes.clone())?);
        }
        match self {
            ReadRow::Decoded(row) => Ok(row),
            ReadRow::Encoded { .. } => unreachable!("it was decoded just now"),
        }
    }
}

impl EncodedRow<'_> {
    /// The same, owned.
    pub fn to_read_row(self) -> ReadRow {
        ReadRow::Encoded {
            clustering: Clustering::copy_from(self.clustering),
            bytes: Bytes::copy_from_slice(self.bytes),
        }
    }

    /// Whether all of it is visible and something makes it live: then it is shown as it is. None: it has to be taken apart to know.
    pub(super) fn is_visible_as_it_is(
        &self,
        columns: &[ColumnId],
        now: i64,
    ) -> Result<Option<bool>> {
        Ok(seen_as_it_is(self.bytes, columns, now)?)
    }
}

impl<'a> RowRef<'a> {
    /// Where it stands in its partition.
    pub fn clustering(&self) -> &'a [u8] {
        match self {
            RowRef::Encoded(row) => row.clustering,
            RowRef::Decoded(row) => &row.clustering.0,
        }
    }

    /// Its cells and what else it says, owned.
    pub fn to_row(&self) -> Result<Row> {
        match self {
            RowRef::Encoded(row) => row.to_read_row().into_row(),
            RowRef::Decoded(row) => Ok((*row).clone()),
        }
    }

    /// Shows its cells in order: a simple column has one, whose path is empty.
    #[inline]
    pub fn each_cell(&self, mut show: impl FnMut(CellRef<'a>)) -> Result<()> {
        match self {
            RowRef::Decoded(row) => row.cells.iter().for_each(|cell| show(cell.as_ref())),
            RowRef::Encoded(row) => {
                for cell in RowView::parse(row.bytes)?.cells() {
                    show(cell?);
                }
            }
        }
        Ok(())
    }

    /// About how many bytes of memory the row takes with its values.
    pub fn weight(&self) -> usize {
        match self {
            RowRef::Encoded(row) => size_of::<ReadRow>() + row.clustering.len() + row.bytes.len(),
            RowRef::Decoded(row) => row.weight(),
        }
    }
}

/// Whether a row of which all is visible has anything that makes it live; None if something of it is not visible.
fn seen_as_it_is(bytes: &[u8], columns: &[ColumnId], now: i64) -> Result<Option<bool>, Malformed> {
    let view = RowView::parse(bytes)?;
    let expired = view.liveness.is_some_and(|liveness| !liveness.is_live(now));
    if expired || view.deletion.is_some() || view.has_complex_deletions() {
        return Ok(None);
    }
    let mut is_live = view.liveness.is_some();
    // Both are sorted: one walk finds for each cell whether its column exists.
    let mut known = columns.iter().peekable();
    for cell in view.cells() {
        let cell = cell?;
        if !cell.is_live(now) {
            return Ok(None);
        }
        if cell.column == ColumnId::RAW_CLUSTERING {
            continue;
        }
        while known.next_if(|column| **column < cell.column).is_some() {}
        if known.peek() != Some(&&cell.column) {
            return Ok(None);
        }
        is_live = true;
    }
    Ok(Some(is_live))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing;
    use proptest::prelude::*;

    fn encoded(row: &Row) -> ReadRow {
        let mut bytes = Vec::new();
        row.encode(&mut bytes);
        ReadRow::Encoded {
            clustering: row.clustering.clone(),
            bytes: bytes.into(),
        }
    }

    fn cells(row: &ReadRow) -> Vec<CellRef<'_>> {
        let mut cells = Vec::new();
        let shown = row.as_ref().each_cell(|cell| cells.push(cell));
        shown.expect("a whole row");
        cells
    }

    proptest! {
        #[test]
        fn bytes_say_what_the_row_says(row in testing::row(), active in proptest::option::of(testing::deletion()), now in -5i64..20) {
            let columns: Vec<ColumnId> = [1, 2, 4, 40, 300].map(ColumnId).to_vec();
            let (mut one, mut other) = (encoded(&row), ReadRow::from(row));
            prop_assert_eq!(&one, &other);
            prop_assert_eq!(cells(&one), cells(&other));
            prop_assert_eq!(one.shadow(active).unwrap(), other.shadow(active).unwrap());
            prop_assert_eq!(&one, &other);
            let (mut dead, mut also_dead) = (Hidden::default(), Hidden::default());
            let seen = one.make_visible(&columns, now, &mut dead).unwrap();
            prop_assert_eq!(seen, other.make_visible(&columns, now, &mut also_dead).unwrap());
            prop_assert_eq!(dead, also_dead);
            if seen {
                prop_assert_eq!(&one, &other);
                prop_assert_eq!(cells(&one), cells(&other));
            }
        }
    }

    #[test]
    fn what_is_no_row_is_an_error_and_not_a_row_without_cells() {
        let mut bytes = Vec::new();
        let mut row = Row::new(Clustering::SINGLE);
        row.liveness = Some(crate::model::Liveness::new(7));
        row.encode(&mut bytes);
        bytes.push(0xFF);
        let cut = ReadRow::Encoded {
            clustering: Clustering::SINGLE,
            bytes: bytes.into(),
        };
        assert!(cut.as_ref().each_cell(|_| {}).is_err());
        assert!(
            cut.clone()
                .make_visible(&[], 0, &mut Hidden::default())
                .is_err()
        );
        assert!(cut.into_row().is_err());
    }
}
