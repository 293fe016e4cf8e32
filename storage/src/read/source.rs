//! What a memtable and an SSTable both look like from above.

use super::{EncodedRow, PartitionBound, ReadRow, Slices};
use crate::codec::compare;
use crate::model::{Clustering, Deletion, PartitionKey, Row};
use crate::{Error, Result as StorageResult};
use palladium_crypto::StructureId;
use std::fmt;

/// Why a source cannot go on.
#[derive(Debug)]
pub enum Fault {
    /// A block is not in memory. The source is unchanged: fetch the block, call again.
    Miss(BlockAddress),
    /// Much was passed of which nothing is shown: others get a turn. The source is unchanged: call again.
    Turn,
    /// It cannot go on at all.
    Error(Error),
}

impl Fault {
    /// The error that it is where there are no blocks to miss: in memory.
    pub fn without_blocks(self) -> Error {
        match self {
            Fault::Error(error) => error,
            Fault::Miss(_) | Fault::Turn => Error::Invalid {
                what: "a memtable has no blocks to miss, and shows all that it has".into(),
            },
        }
    }
}

impl From<Error> for Fault {
    fn from(error: Error) -> Self {
        Fault::Error(error)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Miss(address) => write!(
                f,
                "block {} of {} is not in memory",
                address.block, address.structure
            ),
            Fault::Turn => f.write_str("others get a turn"),
            Fault::Error(error) => error.fmt(f),
        }
    }
}

/// One block of one structure.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BlockAddress {
    pub structure: StructureId,
    pub block: u32,
}

/// What stands before the rows of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartitionHead {
    pub key: PartitionKey,
    pub deletion: Option<Deletion>,
    /// Few partitions have one: a head is small without it.
    pub static_row: Option<Box<Row>>,
}

/// One row, or one place where the open range deletion changes, of one source.
///
/// `before` and `after` are the source's open range deletion just before and just after the position in clustering order, so the same item
/// serves forward and reversed reads. A row has `before == after`: what covers it. A boundary has no row.
#[derive(Debug, Clone, PartialEq)]
pub struct Item {
    pub position: Clustering,
    pub before: Option<Deletion>,
    pub after: Option<Deletion>,
    pub row: Option<ReadRow>,
}

impl Item {
    /// The open range deletion where a reader that comes to this item stands.
    pub fn entering(&self, reversed: bool) -> Option<Deletion> {
        if reversed { self.after } else { self.before }
    }

    /// The open range deletion where a reader that has passed this item stands.
    pub fn leaving(&self, reversed: bool) -> Option<Deletion> {
        if reversed { self.before } else { self.after }
    }
}

/// Where rows of one source stop being shown: at the next position of another source, in the order of the read.
#[derive(Clone, Copy)]
pub struct Until<'a> {
    position: Option<&'a Clustering>,
    reversed: bool,
}

impl<'a> Until<'a> {
    /// Nowhere.
    pub const END: Until<'static> = Until {
        position: None,
        reversed: false,
    };

    /// At a position.
    pub fn at(position: &'a Clustering, reversed: bool) -> Self {
        Until {
            position: Some(position),
            reversed,
        }
    }

    /// Whether a row at that position comes before it, and is to be shown.
    pub fn is_after(&self, position: &[u8]) -> bool {
        match self.position {
            None => true,
            Some(own) if self.reversed => compare(position, &own.0).is_gt(),
            Some(own) => compare(position, &own.0).is_lt(),
        }
    }
}

/// Takes a row where it lies, and says whether it wants the next one.
pub type ShowRow<'a> = dyn FnMut(EncodedRow<'_>) -> StorageResult<bool> + 'a;

/// Partitions in order, and inside the current one its items in order.
///
/// The life of a cursor: `seek`, then for each partition `partition`, any number of times `open` and its `peek` and `pop`, then
/// `next_partition`. Any call may answer [`Fault::Miss`] or [`Fault::Turn`] and leaves the source as it was: the same call again goes on.
pub trait Source: Send {
    /// Moves to the first partition at or after the bound.
    fn seek(&mut self, from: &PartitionBound) -> Result<(), Fault>;

    /// The head of the current partition; None at the end. Any number of times.
    fn partition(&mut self) -> Result<Option<&PartitionHead>, Fault>;

    /// Starts over the items of the current partition that can matter to the slices; it may bring more, contiguous with them.
    /// Boundaries inside a slice are items; a range deletion that begins before a slice is seen in `gap` and in the items.
    fn open(&mut self, slices: &Slices, reversed: bool) -> Result<(), Fault>;

    /// The next item of what was opened; None at its end.
    fn peek(&mut self) -> Result<Option<&Item>, Fault>;

    /// Takes the next item. Only after `peek` showed it.
    fn pop(&mut self) -> Item;

    /// Shows rows that come next, for as long as they are wanted, lie before `until` and as they are kept, and no range deletion of its own is open over them: with
    /// what their own deletions hide, and inside what was opened. None shown says nothing; then it is `peek` that knows. After a miss the same call goes on behind
    /// the last one.
    fn show_rows(&mut self, _until: Until<'_>, _show: &mut ShowRow<'_>) -> Result<(), Fault> {
        Ok(())
    }

    /// The open range deletion where the cursor stands: what the last popped item left open, and before any item what the slice begins in.
    /// With several slices opened at once this is only certain inside a slice; [`Merge`](super::Merge) opens one at a time.
    fn gap(&self) -> Option<Deletion>;

    /// Leaves the current partition for the one after it.
    fn next_partition(&mut self) -> Result<(), Fault>;
}

impl<S: Source + ?Sized> Source for Box<S> {
    fn seek(&mut self, from: &PartitionBound) -> Result<(), Fault> {
        (**self).seek(from)
    }
    fn partition(&mut self) -> Result<Option<&PartitionHead>, Fault> {
        (**self).partition()
    }
    fn open(&mut self, slices: &Slices, reversed: bool) -> Result<(), Fault> {
        (**self).open(slices, reversed)
    }
    fn peek(&mut self) -> Result<Option<&Item>, Fault> {
        (**self).peek()
    }
    fn pop(&mut self) -> Item {
        (**self).pop()
    }
    fn show_rows(&mut self, until: Until<'_>, show: &mut ShowRow<'_>) -> Result<(), Fault> {
        (**self).show_rows(until, show)
    }
    fn gap(&self) -> Option<Deletion> {
        (**self).gap()
    }
    fn next_partition(&mut self) -> Result<(), Fault> {
        (**self).next_partition()
    }
}
