//! When a tombstone may be forgotten.
//!
//! A tombstone must stay as long as anything it hides may still be somewhere: until `gc_grace_seconds` have passed since it was made,
//! and while data as old as itself may be outside this compaction, in another SSTable or a memtable. What expired becomes a tombstone
//! from the second it was written with its time to live, as in Cassandra, and is then judged like any other.
//!
//! What was written of a column that was dropped goes whatever it says: no column ever has its number again.
//!
//! Pure: whether something goes depends on the deletion, the partition's oldest write outside, and the time handed in.
//!
//! What must hold: purging never changes what a read returns, now or after any later merge with what is outside. One thing is as in Cassandra instead: of two cells
//! of one timestamp that expire, the later one wins until the earlier one has become a tombstone, which wins over both.

use std::cell::LazyCell;

use crate::Result;
use crate::model::{Cell, CellState, ColumnId, Deletion, Row};
use crate::read::{Item, PartitionHead};

/// The oldest write of a partition, in microseconds, that may be outside; `i64::MAX` if there is none. It is looked for once something is old enough to be
/// forgotten: most partitions have no such thing, and every SSTable's filter would be asked for each of them.
pub type Outside<'a> = LazyCell<i64, &'a (dyn Fn() -> i64 + Send + Sync)>;

/// The judge of one partition.
#[derive(Debug)]
pub struct Purge<'a> {
    /// Seconds: what expires at or before it has expired.
    pub now: i64,
    /// Seconds: tombstones made before it are past their grace.
    pub gc_before: i64,
    pub oldest_outside: Outside<'a>,
    /// Columns that were dropped, sorted.
    pub columns_gone: &'a [ColumnId],
}

impl Purge<'_> {
    /// Whether a deletion can go.
    pub fn forgets(&self, deletion: Deletion) -> bool {
        deletion.local_deletion_time < self.gc_before && deletion.timestamp < *self.oldest_outside
    }

    fn keep(&self, deletion: Option<Deletion>) -> Option<Deletion> {
        deletion.filter(|deletion| !self.forgets(*deletion))
    }

    /// What stays of a partition's head.
    pub fn head(&self, head: PartitionHead) -> PartitionHead {
        PartitionHead {
            key: head.key,
            deletion: self.keep(head.deletion),
            static_row: head.static_row.and_then(|row| self.row(*row)).map(Box::new),
        }
    }

    /// What stays of an item.
    pub fn item(&self, item: Item) -> Result<Option<Item>> {
        let (before, after) = (self.keep(item.before), self.keep(item.after));
        let row = match item.row {
            Some(row) if row.is_everlasting(self.columns_gone)? => Some(row),
            Some(row) => match self.row(row.into_row()?) {
                Some(row) => Some(row.into()),
                None => return Ok(None),
            },
            None if before == after => return Ok(None),
            None => None,
        };
        Ok(Some(Item {
            position: item.position,
            before,
            after,
            row,
        }))
    }

    /// What stays of a row; None if nothing does.
    pub fn row(&self, mut row: Row) -> Option<Row> {
        let expired = |row: &Row| row.liveness.filter(|liveness| !liveness.is_live(self.now));
        if let Some(liveness) = expired(&row) {
            let as_deletion = Deletion {
                timestamp: liveness.timestamp,
                local_deletion_time: liveness.expires_at,
            };
            if self.forgets(as_deletion) {
                row.liveness = None;
            }
        }
        row.deletion = self.keep(row.deletion);
        row.complex_deletions
            .retain(|(column, deletion)| !self.is_gone(*column) && !self.forgets(*deletion));
        row.cells
            .retain_mut(|cell| !self.is_gone(cell.column) && self.cell(cell));
        (!row.is_empty()).then_some(row)
    }

    fn is_gone(&self, column: ColumnId) -> bool {
        self.columns_gone.binary_search(&column).is_ok()
    }

    /// Whether a cell stays; one that expired stays as a tombstone.
    fn cell(&self, cell: &mut Cell) -> bool {
        if let CellState::Expiring {
            ttl, expires_at, ..
        } = cell.state
            && expires_at <= self.now
        {
            cell.state = CellState::Tombstone {
                local_deletion_time: expires_at.saturating_sub(i64::from(ttl)),
            };
        }
        match cell.state {
            CellState::Tombstone {
                local_deletion_time,
            } => !self.forgets(Deletion {
                timestamp: cell.timestamp,
                local_deletion_time,
            }),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::model::{Clustering, Liveness, PartitionKey, Token};

    const NOW: i64 = 2_000_000;

    fn purge() -> Purge<'static> {
        Purge {
            now: NOW,
            gc_before: NOW - 1000,
            oldest_outside: LazyCell::new(&|| i64::MAX),
            columns_gone: &[],
        }
    }

    fn deletion(timestamp: i64, local_deletion_time: i64) -> Deletion {
        Deletion {
            timestamp,
            local_deletion_time,
        }
    }

    fn row_of(state: CellState) -> Row {
        let mut row = Row::new(Clustering::SINGLE);
        row.cells.push(Cell {
            column: ColumnId(1),
            path: Bytes::new(),
            timestamp: 50,
            state,
        });
        row
    }

    #[test]
    fn a_tombstone_within_its_grace_stays() {
        let young = row_of(CellState::Tombstone {
            local_deletion_time: NOW - 1000,
        });
        assert_eq!(purge().row(young.clone()), Some(young));
    }

    #[test]
    fn a_tombstone_past_its_grace_goes_and_takes_its_empty_row_along() {
        let old = row_of(CellState::Tombstone {
            local_deletion_time: NOW - 1001,
        });
        assert_eq!(purge().row(old), None);
    }

    #[test]
    fn an_old_tombstone_stays_while_something_older_is_outside() {
        let old = row_of(CellState::Tombstone {
            local_deletion_time: 1,
        });
        let left_beside = |oldest_outside| {
            let look = || oldest_outside;
            let purge = Purge {
                oldest_outside: LazyCell::new(&look),
                ..purge()
            };
            purge.row(old.clone())
        };
        assert_eq!(
            left_beside(50),
            Some(old.clone()),
            "written at the same time: it may be hidden"
        );
        assert_eq!(left_beside(51), None);
    }

    #[test]
    fn nobody_looks_outside_for_what_stays_in_any_case() {
        let purge = Purge {
            oldest_outside: LazyCell::new(&|| panic!("nothing here is old enough to go")),
            ..purge()
        };
        let mut row = row_of(CellState::Live(Bytes::from_static(b"value")));
        row.deletion = Some(deletion(5, NOW - 1000));
        row.liveness = Some(Liveness::expiring(50, 10, NOW - 1000));
        assert_eq!(purge.row(row.clone()), Some(row));
    }

    #[test]
    fn an_expired_cell_becomes_a_tombstone_and_gives_its_value_back() {
        let row = purge()
            .row(row_of(CellState::Expiring {
                value: Bytes::from_static(b"value"),
                ttl: 10,
                expires_at: NOW,
            }))
            .expect("within the grace");
        let expected = CellState::Tombstone {
            local_deletion_time: NOW - 10,
        };
        assert_eq!(row.cells[0].state, expected);
    }

    #[test]
    fn a_cell_that_expires_in_a_second_stays_as_it_is() {
        let row = row_of(CellState::Expiring {
            value: Bytes::from_static(b"value"),
            ttl: 10,
            expires_at: NOW + 1,
        });
        assert_eq!(purge().row(row.clone()), Some(row));
    }

    #[test]
    fn a_long_expired_cell_is_gone_at_once() {
        let row = row_of(CellState::Expiring {
            value: Bytes::from_static(b"value"),
            ttl: 2000,
            expires_at: NOW - 1,
        });
        assert_eq!(purge().row(row), None);
    }

    #[test]
    fn an_expired_liveness_goes_after_its_grace_and_a_live_cell_keeps_the_row() {
        let mut row = row_of(CellState::Live(Bytes::from_static(b"value")));
        row.liveness = Some(Liveness::expiring(50, 10, NOW - 1001));
        let purged = purge().row(row.clone()).expect("a live cell");
        assert_eq!((purged.liveness, purged.cells.len()), (None, 1));
        row.liveness = Some(Liveness::expiring(50, 10, NOW - 999));
        assert_eq!(purge().row(row.clone()), Some(row));
    }

    #[test]
    fn range_deletions_go_with_both_their_boundaries() {
        let boundary = |before, after| Item {
            position: Clustering::copy_from(b"a"),
            before,
            after,
            row: None,
        };
        let (old, young) = (Some(deletion(5, 1)), Some(deletion(5, NOW)));
        assert_eq!(purge().item(boundary(None, old)).unwrap(), None);
        assert_eq!(purge().item(boundary(old, None)).unwrap(), None);
        assert_eq!(
            purge().item(boundary(old, young)).unwrap(),
            Some(boundary(None, young))
        );
        assert_eq!(
            purge().item(boundary(young, None)).unwrap(),
            Some(boundary(young, None))
        );
    }

    #[test]
    fn partition_row_and_complex_deletions_are_judged_alike() {
        let mut row = row_of(CellState::Live(Bytes::new()));
        row.deletion = Some(deletion(5, 1));
        row.complex_deletions = vec![
            (ColumnId(1), deletion(5, 1)),
            (ColumnId(2), deletion(5, NOW)),
        ];
        let row = purge().row(row).expect("a live cell");
        assert_eq!((row.deletion, row.complex_deletions.len()), (None, 1));
        let head = PartitionHead {
            key: PartitionKey::new(Token(1), "k"),
            deletion: Some(deletion(5, 1)),
            static_row: Some(Box::new(row_of(CellState::Tombstone {
                local_deletion_time: 1,
            }))),
        };
        let head = purge().head(head);
        assert_eq!((head.deletion, head.static_row), (None, None));
    }

    #[test]
    fn what_was_written_of_a_dropped_column_goes_whatever_it_says() {
        let purge = Purge {
            oldest_outside: LazyCell::new(&|| i64::MIN),
            columns_gone: &[ColumnId(1), ColumnId(3)],
            ..purge()
        };
        let mut row = row_of(CellState::Live(Bytes::from_static(b"value")));
        row.complex_deletions = vec![(ColumnId(3), deletion(5, NOW))];
        assert_eq!(purge.row(row.clone()), None);
        row.cells.push(Cell {
            column: ColumnId(2),
            ..row.cells[0].clone()
        });
        let kept = purge.row(row.clone()).expect("of another column");
        assert_eq!((kept.cells.len(), kept.complex_deletions.len()), (1, 0));
        assert_eq!(kept.cells[0].column, ColumnId(2));
        let item = Item {
            position: Clustering::SINGLE,
            before: None,
            after: None,
            row: Some(crate::read::ReadRow::Decoded(kept.clone())),
        };
        let item = purge.item(item).unwrap().expect("of another column");
        assert_eq!(item.row.unwrap().into_row().unwrap(), kept);
    }
}
