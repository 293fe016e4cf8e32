//! What was written since the last flush, of one table.
//!
//! ```text
//! Memtable ─► shard (one lock; one shard, or 64 once there is much) ─► bucket by the token's top bits ─► entry
//!             entry: token, and one partition
//!             ├── One    a single row and nothing else: key, clustering and encoded row in one allocation
//!             └── Many   deletion, static row, range tombstones, rows in leaves of neighbours
//! ```
//!
//! Murmur3 spreads tokens evenly, so the top bits find a bucket of a few dozen entries and the buckets in order are the partitions in order.
//! Most time goes to cache misses, so there are few places to look: directory, bucket, partition.
//!
//! What must hold:
//! - A row is stored encoded, as it came in the log; it is decoded only to be read, and merged in its encoded form.
//! - A lock is held for one partition's update or for one bounded window that is copied or shown, never while a reader thinks. An update of one partition
//!   is seen whole or not at all by a read of one row, and by any read of a partition small enough to be copied at once
//!   ([`WHOLE_ROWS_MAX`], [`WHOLE_BYTES_MAX`]).
//! - Rows and keys are zeroed when they are dropped.
//! - An empty memtable owns no memory.

mod buckets;
mod cursor;
pub mod flush;
mod leaves;
mod partition;
mod prefetch;
mod stores;
mod window;

#[cfg(test)]
mod tests;

pub use cursor::MemtableCursor;
pub use partition::{WHOLE_BYTES_MAX, WHOLE_ROWS_MAX};
pub(crate) use stores::TableMemtables;

use crate::model::{
    Clustering, EncodedUpdate, EncodedUpdates, PartitionBound, PartitionKey, PartitionUpdate, Row,
    Store, UpdateView,
};
use crate::read::{PointPart, ReadRow};
use crate::{Error, Result};
use buckets::Buckets;
use bytes::Bytes;
use partition::Partition;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, AtomicUsize, Ordering};

/// Partitions of a memtable that the processor's own memory holds: nothing is gained by asking for them.
const PARTITIONS_NEAR: usize = 1024;

/// The unflushed writes of one table. Written and read through `&self` by any number of threads.
pub struct Memtable {
    partitions: Buckets,
    bytes: AtomicUsize,
    min_timestamp: AtomicI64,
}

/// What a memtable knows of one partition.
#[derive(Debug)]
pub enum Lookup {
    Absent,
    /// One row, no deletion above it.
    Row(Row),
    /// More than that: read it through a cursor.
    Several,
}

impl Default for Memtable {
    fn default() -> Self {
        Memtable::new()
    }
}

impl Memtable {
    /// Empty.
    pub fn new() -> Memtable {
        Memtable {
            partitions: Buckets::new(),
            bytes: AtomicUsize::new(0),
            min_timestamp: AtomicI64::new(i64::MAX),
        }
    }

    /// Adds what an update says, and tells by how many bytes it has grown.
    pub fn apply(&self, key: &PartitionKey, update: &PartitionUpdate) -> Result<isize> {
        self.apply_encoded(EncodedUpdates::default().push(Store::BASE, key.clone(), update))
    }

    /// Adds what an encoded update says, and tells by how many bytes it has grown.
    pub fn apply_encoded(&self, update: EncodedUpdate<'_>) -> Result<isize> {
        let refused = |_| Error::corrupt("an encoded partition update");
        let view = UpdateView::parse(update.bytes()).map_err(refused)?;
        self.min_timestamp
            .fetch_min(update.min_timestamp(), Ordering::Relaxed);
        let growth = self
            .partitions
            .apply(update.key(), &view)
            .map_err(refused)?;
        if growth >= 0 {
            self.bytes
                .fetch_add(growth.unsigned_abs(), Ordering::Relaxed);
        } else {
            // Saturating: a wipe may have come between.
            let less = |bytes: usize| Some(bytes.saturating_sub(growth.unsigned_abs()));
            let _ = self
                .bytes
                .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        }
        Ok(growth)
    }

    /// The fast path for one partition: its only row, copied out under the lock.
    pub fn read_one(&self, key: &PartitionKey) -> Result<Lookup> {
        let found = self.partitions.with(key.token(), |shard| {
            shard
                .get(key.token(), key.bytes())
                .map(|partition| match partition {
                    Partition::One(one) => {
                        let clustering = Clustering::copy_from(one.clustering());
                        Some((clustering, Bytes::copy_from_slice(one.row())))
                    }
                    Partition::Many(_) => None,
                })
        });
        match found {
            None => Ok(Lookup::Absent),
            Some(None) => Ok(Lookup::Several),
            Some(Some((clustering, row))) => Row::decode(clustering, row).map(Lookup::Row),
        }
    }

    /// What it says of one row, seen at one moment; None if it does not have the partition.
    pub fn point(&self, key: &PartitionKey, position: &Clustering) -> Option<PointPart> {
        let (cover, row) = self.partitions.with(key.token(), |shard| {
            let partition = shard.get(key.token(), key.bytes())?;
            Some(match partition {
                Partition::One(one) => {
                    let own = one.clustering() == &position.0[..];
                    (None, own.then(|| Bytes::copy_from_slice(one.row())))
                }
                Partition::Many(many) => {
                    let range = many.tombstones.covering(&position.0);
                    let row = many.row(&position.0).map(Bytes::copy_from_slice);
                    (many.deletion.max(range), row)
                }
            })
        })?;
        let row = row.map(|bytes| ReadRow::Encoded {
            clustering: position.clone(),
            bytes,
        });
        Some(PointPart { cover, row })
    }

    /// Has what is needed to write into a partition on its way.
    #[inline]
    pub fn expect_write(&self, key: &PartitionKey) {
        if self.is_large() {
            self.partitions.prefetch_place(key.token());
        }
    }

    /// Has what is needed to read some partitions on its way.
    pub fn expect_reads<'a>(&self, keys: impl Iterator<Item = &'a PartitionKey> + Clone) {
        if self.is_large() {
            keys.clone()
                .for_each(|key| self.partitions.prefetch_place(key.token()));
            keys.for_each(|key| self.partitions.prefetch_partition(key.token()));
        }
    }

    /// A small one is in the processor's own memory anyway.
    fn is_large(&self) -> bool {
        self.partitions.len() > PARTITIONS_NEAR
    }

    /// The partition has been written to.
    pub fn contains(&self, key: &PartitionKey) -> bool {
        self.partitions.with(key.token(), |shard| {
            shard.get(key.token(), key.bytes()).is_some()
        })
    }

    /// A reader of everything, in order.
    pub fn cursor(&self) -> MemtableCursor<&Memtable> {
        MemtableCursor::new(self)
    }

    /// A reader that keeps the memtable alive.
    pub fn shared_cursor(self: &Arc<Self>) -> MemtableCursor<Arc<Memtable>> {
        MemtableCursor::new(self.clone())
    }

    /// Bytes of memory: keys, rows and what it takes to keep them.
    pub fn bytes(&self) -> usize {
        self.bytes.load(Ordering::Relaxed)
    }

    /// How many partitions.
    pub fn partitions(&self) -> usize {
        self.partitions.len()
    }

    /// Nothing was written.
    pub fn is_empty(&self) -> bool {
        self.partitions() == 0
    }

    /// The smallest timestamp written, of anything; `i64::MAX` if nothing was.
    pub fn min_timestamp(&self) -> i64 {
        self.min_timestamp.load(Ordering::Relaxed)
    }

    /// Forgets everything and zeroes it. Cursors see no more partitions.
    pub fn wipe(&self) {
        self.partitions.clear();
        self.bytes.store(0, Ordering::Relaxed);
    }
}

/// The first partition at or after a place, in order, seen under its shard's lock.
fn first_from<R>(
    memtable: &Memtable,
    from: &PartitionBound,
    see: impl FnMut(i64, &Partition) -> R,
) -> Option<R> {
    memtable.partitions.first_from(from, see)
}
