//! The life of a read.
//!
//! ```text
//! ReadCommand ─► Merge over sources (memtables, SSTables) ─► visible at `now` ─► PageBuilder ─► ReadPage
//! ```
//!
//! Everything here is synchronous and does no I/O. A source that needs a block it does not have says [`Fault::Miss`] and stays as it was;
//! the caller fetches that block and calls [`run`] again with the same merge and the same page: nothing done is done twice, nothing is lost.
//! In the same way a read that passes much of which nothing is shown says [`Fault::Turn`] once in a while.
//!
//! 1. `source`: what a memtable and an SSTable both look like from above; `late`: an SSTable that is not looked at before a read comes to its rows.
//! 2. `merge`: many sources as one, reconciled; what deletions shadow is gone. Compaction reads through it too.
//! 3. `visible`: what tombstones and expiry leave at `now`.
//! 4. `page`: limits, and where to resume.
//!
//! A row stays bytes on all of this road, until something of it has to be changed: `row`. In a page they lie close together: `rows`.
//!
//! `point` is the short way for a row that is named exactly: no merge, and no source older than what decides the answer.

mod late;
mod merge;
mod page;
mod point;
mod row;
mod rows;
mod source;
mod visible;

pub use crate::model::{KeyRange, PartitionBound, Slices};
pub use late::Late;
pub use merge::Merge;
pub use page::{PageBuilder, PartitionRows, ReadPage, ReadPosition, ReadWork, run, run_one};
pub use point::{Point, PointPart};
pub use row::{EncodedRow, ReadRow, RowRef};
pub use rows::ReadRows;
pub use source::{BlockAddress, Fault, Item, PartitionHead, ShowRow, Source, Until};
pub use visible::{Hidden, visible_row};

use crate::model::{ColumnId, Store};
use palladium_crypto::TableId;
use std::sync::Arc;

/// What a read wants.
#[derive(Debug, Clone)]
pub struct ReadCommand {
    pub table: TableId,
    /// Its base, or one that is derived from it.
    pub store: Store,
    pub range: KeyRange,
    pub slices: Slices,
    /// Rows of a partition last to first. Partitions come in token order either way.
    pub reversed: bool,
    pub columns: Arc<Columns>,
    pub limits: Limits,
    pub resume: Option<ReadPosition>,
    /// Seconds: what expires at or before it is gone.
    pub now: i64,
}

/// The columns that exist, sorted. Cells of others (dropped since) are invisible and make no row live.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Columns {
    pub regular: Vec<ColumnId>,
    pub statics: Vec<ColumnId>,
}

/// Where a page stops, at whichever comes first. `u32::MAX` and `usize::MAX` mean no limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    pub rows: u32,
    pub per_partition: u32,
    /// Of row weight; the row that crosses it is the last.
    pub bytes: usize,
    /// Past so many the read gives up: what the page has is no answer then, and nothing can go on from it.
    pub tombstones: u64,
}

/// Rows and partitions that are passed, and of which nothing is shown, before others get a turn: a millisecond or two.
const PASSED_AT_ONCE: u32 = 5_000;

impl Limits {
    /// Everything in one page.
    pub const NONE: Limits = Limits {
        rows: u32::MAX,
        per_partition: u32::MAX,
        bytes: usize::MAX,
        tombstones: u64::MAX,
    };

    /// A page of so much is full. One without a row never is: it would not say where the next one begins.
    fn reached(&self, rows: u32, bytes: usize) -> bool {
        rows > 0 && (rows >= self.rows || bytes >= self.bytes)
    }
}

#[cfg(test)]
mod tests;
