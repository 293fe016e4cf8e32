//! What modifications that look first found in the partitions they latched.

use palladium_crypto::TableId;
use palladium_storage::{Clustering, PartitionKey, ReadPage, Row};

/// A partition of a table.
pub type PartitionId = (TableId, PartitionKey);

/// What was read of one partition.
pub struct Existing {
    pub static_row: Option<Row>,
    /// In order, once they are settled.
    rows: Vec<Row>,
    /// The greatest timestamp of any of it, and of what hides or has hidden anything there: what is written after that is seen.
    pub newest: i64,
    /// That of what hides or has hidden anything there.
    pub newest_deletion: i64,
}

impl Default for Existing {
    fn default() -> Self {
        Existing {
            static_row: None,
            rows: Vec::new(),
            newest: i64::MIN,
            newest_deletion: i64::MIN,
        }
    }
}

impl Existing {
    /// The row at a position.
    pub fn row(&self, position: &Clustering) -> Option<&Row> {
        let at = self
            .rows
            .binary_search_by(|row| row.clustering.cmp(position));
        self.rows.get(at.ok()?)
    }

    /// Adds what was read for another statement: of this partition alone, and without a limit.
    pub fn absorb(&mut self, page: ReadPage) {
        self.newest = self.newest.max(page.hidden.newest);
        self.newest_deletion = self.newest_deletion.max(page.hidden.newest);
        let Some(partition) = page.partitions.into_iter().next() else {
            return;
        };
        let static_row = partition.static_row.map(|row| *row);
        let rows = partition.rows;
        for row in static_row.iter().chain(&rows) {
            self.newest = self.newest.max(newest(row));
        }
        self.static_row = static_row.or(self.static_row.take());
        match self.rows.is_empty() {
            true => self.rows = rows,
            false => self.rows.extend(rows),
        }
    }

    /// Puts the rows in order. Of what two statements read, both read the same.
    fn settle(&mut self) {
        self.rows.sort_by(|a, b| a.clustering.cmp(&b.clustering));
        self.rows.dedup_by(|a, b| a.clustering == b.clustering);
    }
}

fn newest(row: &Row) -> i64 {
    let cells = row.cells.iter().map(|cell| cell.timestamp);
    cells
        .chain(row.liveness.map(|liveness| liveness.timestamp))
        .max()
        .unwrap_or(i64::MIN)
}

/// Where a partition stands among those of a request, which are in order.
pub fn place_of(partitions: &[PartitionId], table: TableId, key: &PartitionKey) -> Option<usize> {
    let wanted = (table, key);
    let at = partitions.binary_search_by(|(table, key)| (*table, key).cmp(&wanted));
    at.ok()
}

/// What was read of the partitions of a request.
pub struct Found<'p> {
    /// All that are latched, in order.
    partitions: &'p [PartitionId],
    /// Of each, if it was read.
    existing: Vec<Option<Existing>>,
}

impl<'p> Found<'p> {
    /// Nothing yet.
    pub fn new(partitions: &'p [PartitionId]) -> Self {
        Found {
            existing: partitions.iter().map(|_| None).collect(),
            partitions,
        }
    }

    /// What was read of a partition.
    pub fn get(&self, table: TableId, key: &PartitionKey) -> Option<&Existing> {
        self.existing[place_of(self.partitions, table, key)?].as_ref()
    }

    /// The same, to be added to.
    pub fn get_mut(&mut self, table: TableId, key: &PartitionKey) -> Option<&mut Existing> {
        let at = place_of(self.partitions, table, key)?;
        Some(self.existing[at].get_or_insert_default())
    }

    /// All that is wanted was read.
    pub fn settle(&mut self) {
        self.existing
            .iter_mut()
            .flatten()
            .for_each(Existing::settle);
    }

    /// The greatest timestamp of all.
    pub fn newest(&self) -> i64 {
        let read = self.existing.iter().flatten();
        read.map(|existing| existing.newest)
            .max()
            .unwrap_or(i64::MIN)
    }
}
