//! One partition in memory: a single row in one allocation, or everything a partition can hold.
//!
//! A stored row is its name (clustering; for [`One`], the key before it) and its encoded form behind it, zeroed on drop: alone in a boxed slice, or among its
//! neighbours in [`Leaves`].
//! Merging happens in a scratch buffer that belongs to the shard, is reused, and is zeroed after each use.

use super::leaves::{ALLOCATION_BYTES, Leaves, StoredRow};
use super::prefetch::{prefetch, prefetch_bytes};
use crate::codec::Malformed;
use crate::model::{
    Clustering, Deletion, RangeTombstone, RangeTombstoneList, UpdateView, reconcile,
};
use crate::wiped::Wiped;
use zeroize::Zeroize;

/// A partition of at most this many rows is copied out at once, with its head: it is read as of one moment.
pub const WHOLE_ROWS_MAX: usize = 16;
/// The same for the bytes of its rows: copying takes well under a microsecond.
pub const WHOLE_BYTES_MAX: usize = 8 << 10;

/// What an entry takes in its bucket, which is about two thirds full.
const ENTRY_BYTES: usize = 48;

/// What is written into one partition.
pub(super) enum Partition {
    One(One),
    Many(Box<Many>),
}

/// A partition of one row and nothing else.
pub(super) struct One {
    key_len: u32,
    clustering_len: u32,
    /// Key, clustering, encoded row.
    bytes: Wiped<Box<[u8]>>,
}

/// A partition of anything.
pub(super) struct Many {
    key: Wiped<Box<[u8]>>,
    pub(super) deletion: Option<Deletion>,
    /// Encoded.
    pub(super) static_row: Option<Wiped<Box<[u8]>>>,
    pub(super) tombstones: RangeTombstoneList,
    rows: Leaves,
}

/// Room of a scratch that is kept for the next merge.
const SCRATCH_BYTES_KEPT: usize = 64 << 10;

/// Where a merge is written before its size is known.
pub(super) struct Scratch(Vec<u8>);

impl Scratch {
    pub(super) const fn new() -> Scratch {
        Scratch(Vec::new())
    }

    /// The merge's result in a box of its own; the scratch is zeroed.
    fn boxed(
        &mut self,
        write: impl FnOnce(&mut Vec<u8>) -> Result<(), Malformed>,
    ) -> Result<Wiped<Box<[u8]>>, Malformed> {
        let written = write(&mut self.0);
        let boxed = Wiped::new(Box::from(&self.0[..]));
        // What was written, not all the room that an earlier one needed.
        self.0[..].zeroize();
        self.0.clear();
        if self.0.capacity() > SCRATCH_BYTES_KEPT {
            self.0 = Vec::new();
        }
        written.map(|()| boxed)
    }
}

impl Partition {
    /// Asks for what is looked at first.
    pub(super) fn prefetch(&self) {
        match self {
            Partition::One(one) => prefetch_bytes(&one.bytes),
            Partition::Many(many) => prefetch(&**many),
        }
    }
}

impl One {
    fn new(key: &[u8], clustering: &[u8], row: &[u8]) -> One {
        let mut bytes = Vec::with_capacity(key.len() + clustering.len() + row.len());
        bytes.extend_from_slice(key);
        bytes.extend_from_slice(clustering);
        bytes.extend_from_slice(row);
        One {
            key_len: key.len() as u32,
            clustering_len: clustering.len() as u32,
            bytes: Wiped::new(bytes.into_boxed_slice()),
        }
    }

    pub(super) fn key(&self) -> &[u8] {
        &self.bytes[..self.key_len as usize]
    }

    fn name_len(&self) -> usize {
        self.key_len as usize + self.clustering_len as usize
    }

    pub(super) fn clustering(&self) -> &[u8] {
        &self.bytes[self.key_len as usize..self.name_len()]
    }

    pub(super) fn row(&self) -> &[u8] {
        &self.bytes[self.name_len()..]
    }
}

impl Partition {
    /// A partition that did not exist before this update.
    pub(super) fn new(
        key: &[u8],
        update: &UpdateView<'_>,
        scratch: &mut Scratch,
    ) -> Result<Partition, Malformed> {
        if update.is_rows_only() {
            let mut rows = update.rows();
            if let (Some(only), None) = (rows.next().transpose()?, rows.next().transpose()?) {
                return Ok(Partition::One(One::new(key, only.0, only.1)));
            }
        }
        let mut many = Box::new(Many::new(key));
        many.apply(update, scratch)?;
        Ok(Partition::Many(many))
    }

    pub(super) fn key(&self) -> &[u8] {
        match self {
            Partition::One(one) => one.key(),
            Partition::Many(many) => &many.key,
        }
    }

    /// Adds what an update says.
    pub(super) fn apply(
        &mut self,
        update: &UpdateView<'_>,
        scratch: &mut Scratch,
    ) -> Result<(), Malformed> {
        match self {
            Partition::Many(many) => many.apply(update, scratch),
            Partition::One(one) => {
                if update.is_rows_only() {
                    let mut rows = update.rows();
                    if let (Some((clustering, row)), None) =
                        (rows.next().transpose()?, rows.next().transpose()?)
                        && clustering == one.clustering()
                    {
                        one.bytes = scratch.boxed(|out| {
                            out.extend_from_slice(&one.bytes[..one.name_len()]);
                            reconcile::encoded_rows(one.row(), row, out)
                        })?;
                        return Ok(());
                    }
                }
                let mut many = Box::new(Many::new(one.key()));
                many.rows.put(one.clustering(), one.row());
                many.apply(update, scratch)?;
                *self = Partition::Many(many);
                Ok(())
            }
        }
    }

    /// Bytes of memory.
    pub(super) fn weight(&self) -> usize {
        match self {
            Partition::One(one) => ENTRY_BYTES + ALLOCATION_BYTES + one.bytes.len(),
            Partition::Many(many) => {
                let tombstones =
                    many.tombstones.as_slice().len() * (size_of::<RangeTombstone>() + 64);
                let static_row = many
                    .static_row
                    .as_ref()
                    .map_or(0, |row| row.len() + ALLOCATION_BYTES);
                ENTRY_BYTES
                    + size_of::<Many>()
                    + 2 * ALLOCATION_BYTES
                    + many.key.len()
                    + static_row
                    + tombstones
                    + many.rows.memory()
            }
        }
    }
}

impl Many {
    fn new(key: &[u8]) -> Many {
        Many {
            key: Wiped::new(Box::from(key)),
            deletion: None,
            static_row: None,
            tombstones: RangeTombstoneList::new(),
            rows: Leaves::default(),
        }
    }

    fn apply(&mut self, update: &UpdateView<'_>, scratch: &mut Scratch) -> Result<(), Malformed> {
        self.deletion = self.deletion.max(update.deletion);
        if let Some(row) = update.static_row {
            self.static_row = Some(match &self.static_row {
                None => Wiped::new(Box::from(row)),
                Some(own) => scratch.boxed(|out| reconcile::encoded_rows(own, row, out))?,
            });
        }
        for tombstone in update.range_tombstones() {
            self.tombstones.add(tombstone?);
        }
        for row in update.rows() {
            let (clustering, row) = row?;
            match self.rows.get(clustering) {
                None => self.rows.put(clustering, row),
                Some(own) => {
                    let united = scratch.boxed(|out| reconcile::encoded_rows(own, row, out))?;
                    self.rows.put(clustering, &united);
                }
            }
        }
        Ok(())
    }

    /// Small enough to be copied out at once.
    pub(super) fn is_small(&self) -> bool {
        self.rows.len() <= WHOLE_ROWS_MAX
            && self.rows.data_bytes() <= WHOLE_BYTES_MAX
            && self.tombstones.as_slice().len() <= WHOLE_ROWS_MAX
    }

    /// The encoded row at a position.
    pub(super) fn row(&self, position: &[u8]) -> Option<&[u8]> {
        self.rows.get(position)
    }

    /// Rows strictly between two positions, in order.
    pub(super) fn rows_between<'a>(
        &'a self,
        start: &'a Clustering,
        end: &'a Clustering,
    ) -> impl DoubleEndedIterator<Item = StoredRow<'a>> {
        self.rows.between(&start.0, &end.0)
    }

    /// Every row, in order.
    pub(super) fn rows(&self) -> impl Iterator<Item = StoredRow<'_>> {
        self.rows.iter()
    }
}
