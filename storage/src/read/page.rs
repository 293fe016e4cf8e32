//! Limits, and where to resume.

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

/// What is visible of one partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionRows {
    pub key: PartitionKey,
    pub static_row: Option<Row>,
    /// In the order of the read; empty if only the static row lives.
    pub rows: Vec<Row>,
}

/// One page of a read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReadPage {
    pub partitions: Vec<PartitionRows>,
    /// There may be more after this; None: there is not.
    pub next: Option<ReadPosition>,
    /// How many deletions and expired cells were read past.
    pub tombstones: u64,
}
