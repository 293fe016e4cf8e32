//! What tombstones and expiry leave visible at `now`.
//!
//! A row is visible if its liveness has not expired, or any cell of an existing column has a value. The clustering's raw spelling (column 0)
//! makes no row live, and neither does a column that was dropped.

use crate::model::{ColumnId, Deletion, Row};

/// What a read went past and did not show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hidden {
    /// How many deletions and expired cells.
    pub tombstones: u64,
    /// The greatest timestamp of any of it: what is written after that into what was read is seen. The least there is if nothing was hidden.
    pub newest: i64,
}

impl Default for Hidden {
    fn default() -> Self {
        Hidden {
            tombstones: 0,
            newest: i64::MIN,
        }
    }
}

impl Hidden {
    pub(super) fn note(&mut self, timestamp: i64) {
        self.newest = self.newest.max(timestamp);
    }

    /// Notes deletions, which the caller counts.
    pub(super) fn note_deletions(&mut self, deletions: impl IntoIterator<Item = Deletion>) {
        for deletion in deletions {
            self.note(deletion.timestamp);
        }
    }
}

/// Leaves of a merged row what is visible, and says whether anything is. What was read past is added to `hidden`.
///
/// Live cells keep their timestamps, TTLs and expiries. Deletions have done their work in the merge and are removed.
pub fn visible_row(row: &mut Row, columns: &[ColumnId], now: i64, hidden: &mut Hidden) -> bool {
    if let Some(expired) = row.liveness.take_if(|liveness| !liveness.is_live(now)) {
        hidden.note(expired.timestamp);
    }
    let mut live = row.liveness.is_some();
    let mut dead = 0;
    // Both are sorted: one walk finds for each cell whether its column exists.
    let mut known = columns.iter().peekable();
    row.cells.retain(|cell| {
        if !cell.is_live(now) {
            dead += 1;
            hidden.note(cell.timestamp);
            return false;
        }
        if cell.column == ColumnId::RAW_CLUSTERING {
            return true;
        }
        while known.next_if(|column| **column < cell.column).is_some() {}
        let exists = known.peek() == Some(&&cell.column);
        live |= exists;
        exists
    });
    if dead == 0 && !live && row.deletion.is_some() {
        dead = 1;
    }
    hidden.tombstones += dead;
    hidden.note_deletions(row.deletion.take());
    hidden.note_deletions(
        row.complex_deletions
            .drain(..)
            .map(|(_, deletion)| deletion),
    );
    live
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Cell, CellState, Clustering, Liveness};
    use bytes::Bytes;

    const COLUMNS: [ColumnId; 2] = [ColumnId(1), ColumnId(3)];

    fn row(cells: &[(u32, CellState)]) -> Row {
        let mut row = Row::new(Clustering::SINGLE);
        row.cells = cells
            .iter()
            .map(|(column, state)| Cell {
                column: ColumnId(*column),
                path: Bytes::new(),
                timestamp: 7,
                state: state.clone(),
            })
            .collect();
        row
    }

    fn live() -> CellState {
        CellState::Live(Bytes::from_static(b"v"))
    }

    fn visible(mut row: Row, now: i64) -> Option<Vec<u32>> {
        visible_row(&mut row, &COLUMNS, now, &mut Hidden::default())
            .then(|| row.cells.iter().map(|cell| cell.column.0).collect())
    }

    #[test]
    fn a_dropped_column_is_not_seen_and_makes_no_row_live() {
        assert_eq!(visible(row(&[(2, live())]), 0), None);
        assert_eq!(visible(row(&[(2, live()), (3, live())]), 0), Some(vec![3]));
    }

    #[test]
    fn the_raw_clustering_is_kept_and_makes_no_row_live() {
        assert_eq!(visible(row(&[(0, live())]), 0), None);
        assert_eq!(
            visible(row(&[(0, live()), (1, live())]), 0),
            Some(vec![0, 1])
        );
    }

    #[test]
    fn a_row_whose_cells_are_gone_lives_by_its_liveness_until_that_expires() {
        let mut row = row(&[(
            1,
            CellState::Tombstone {
                local_deletion_time: 1,
            },
        )]);
        row.liveness = Some(Liveness::expiring(7, 10, 100));
        assert_eq!(visible(row.clone(), 99), Some(vec![]));
        assert_eq!(visible(row, 100), None);
    }

    #[test]
    fn a_cell_expires_at_its_second() {
        let expiring = CellState::Expiring {
            value: Bytes::from_static(b"v"),
            ttl: 5,
            expires_at: 50,
        };
        assert_eq!(visible(row(&[(1, expiring.clone())]), 49), Some(vec![1]));
        assert_eq!(visible(row(&[(1, expiring)]), 50), None);
    }
}
