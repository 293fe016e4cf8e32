//! A row: its liveness, its deletions and its cells, in order.

use super::{Cell, Clustering, ColumnId, Deletion, reconcile};

/// The row exists from `timestamp` on, even with no cell. An INSERT writes one, an UPDATE does not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Liveness {
    /// Microseconds.
    pub timestamp: i64,
    /// Seconds; 0 for none.
    pub ttl: u32,
    /// Seconds; 0 where there is no TTL.
    pub expires_at: i64,
}

impl Liveness {
    /// Lives until something deletes it.
    pub fn new(timestamp: i64) -> Liveness {
        Liveness {
            timestamp,
            ttl: 0,
            expires_at: 0,
        }
    }

    /// Lives until `expires_at` (seconds).
    pub fn expiring(timestamp: i64, ttl: u32, expires_at: i64) -> Liveness {
        Liveness {
            timestamp,
            ttl,
            expires_at,
        }
    }

    /// Has not expired at `now` (seconds).
    #[inline]
    pub fn is_live(&self, now: i64) -> bool {
        self.ttl == 0 || now < self.expires_at
    }
}

/// A row, or what is known of one: an update holds only what it changes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    pub clustering: Clustering,
    pub liveness: Option<Liveness>,
    pub deletion: Option<Deletion>,
    /// Sorted by column.
    pub complex_deletions: Vec<(ColumnId, Deletion)>,
    /// Sorted by column and path.
    pub cells: Vec<Cell>,
}

impl Row {
    /// A row that says nothing yet.
    pub fn new(clustering: Clustering) -> Row {
        Row {
            clustering,
            liveness: None,
            deletion: None,
            complex_deletions: Vec::new(),
            cells: Vec::new(),
        }
    }

    /// A static row that says nothing yet: it has no position among the rows.
    pub fn new_static() -> Row {
        Row::new(Clustering::MIN)
    }

    /// Says nothing.
    pub fn is_empty(&self) -> bool {
        self.liveness.is_none()
            && self.deletion.is_none()
            && self.complex_deletions.is_empty()
            && self.cells.is_empty()
    }

    /// The cell of a simple column.
    pub fn cell(&self, column: ColumnId) -> Option<&Cell> {
        let index = self.cells.partition_point(|cell| cell.column < column);
        self.cells.get(index).filter(|cell| cell.column == column)
    }

    /// The cells of a column, simple or complex.
    pub fn cells_of(&self, column: ColumnId) -> &[Cell] {
        let start = self.cells.partition_point(|cell| cell.column < column);
        let length = self.cells[start..].partition_point(|cell| cell.column == column);
        &self.cells[start..start + length]
    }

    /// Cells and complex deletions are in order, none twice.
    pub fn is_sorted(&self) -> bool {
        self.cells.is_sorted_by(|a, b| a.cmp_place(b).is_lt())
            && self.complex_deletions.is_sorted_by(|a, b| a.0 < b.0)
    }

    /// Puts cells and complex deletions in order; of two at one place, the one that wins stays.
    pub fn sort(&mut self) {
        if self.is_sorted() {
            return;
        }
        self.cells.sort_by(Cell::cmp_place);
        self.cells.dedup_by(|next, kept| {
            let same = kept.cmp_place(next).is_eq();
            if same && reconcile::cell_wins(next.as_ref(), kept.as_ref()) {
                std::mem::swap(next, kept);
            }
            same
        });
        self.complex_deletions.sort();
        self.complex_deletions.dedup_by(|next, kept| {
            let same = kept.0 == next.0;
            if same {
                kept.1 = kept.1.max(next.1);
            }
            same
        });
    }

    /// The smallest timestamp of anything in it; `i64::MAX` if it says nothing.
    pub fn min_timestamp(&self) -> i64 {
        let liveness = self.liveness.iter().map(|liveness| liveness.timestamp);
        let deletions = self.complex_deletions.iter().map(|(_, deletion)| deletion);
        let deletions = self.deletion.iter().chain(deletions);
        let cells = self.cells.iter().map(|cell| cell.timestamp);
        let all = liveness
            .chain(deletions.map(|deletion| deletion.timestamp))
            .chain(cells);
        all.min().unwrap_or(i64::MAX)
    }

    /// About how many bytes of memory the row takes with its values.
    pub fn weight(&self) -> usize {
        let values: usize = self
            .cells
            .iter()
            .map(|cell| {
                cell.path.len() + cell.value().map_or(0, |value| value.len()) + size_of::<Cell>()
            })
            .sum();
        size_of::<Row>() + self.clustering.0.len() + values
    }
}
