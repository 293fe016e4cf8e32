//! Latches: who reads a partition, decides, and writes (lightweight transactions, counters) holds its latch until the write is applied.
//!
//! Whoever holds one shares its table's latch, too, which TRUNCATE has alone: what is decided stands before it and is gone, or behind it and has seen nothing.
//! The latches of tables come before those of partitions.
//!
//! Partitions share a fixed number of stripes, so that an idle partition costs nothing. Whoever needs several takes them through
//! [`Latches::acquire`], in stripe order and each stripe once: two batches can never wait for each other. A latch that somebody waits for is not to be had by
//! [`Latches::try_acquire`]: those who do not wait would pass those who do, again and again.

use std::fmt;
use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::lock::{Mutex, OwnedMutexGuard};
use palladium_crypto::TableId;
use smallvec::SmallVec;
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock};

use crate::model::PartitionKey;

/// Stripes: enough that unrelated partitions rarely meet under thousands of requests in flight.
const STRIPES: usize = 4096;

/// Stripes of tables: TRUNCATE is rare.
const TABLE_STRIPES: usize = 256;

/// All latches of an engine.
pub(crate) struct Latches {
    tables: Vec<Arc<RwLock<()>>>,
    stripes: Vec<Stripe>,
    hasher: RandomState,
}

#[derive(Default)]
struct Stripe {
    latch: Arc<Mutex<()>>,
    waiting: AtomicUsize,
}

/// Somebody waits, until it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn at(stripe: &'a Stripe) -> Self {
        stripe.waiting.fetch_add(1, Ordering::Relaxed);
        Waiting(&stripe.waiting)
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Holds the latches it was given until dropped.
#[must_use = "a latch dropped at once protects nothing"]
pub struct LatchGuard {
    held: SmallVec<[OwnedMutexGuard<()>; 1]>,
    _tables: SmallVec<[OwnedRwLockReadGuard<()>; 1]>,
}

/// Nobody else holds a latch of the table's partitions until this is dropped.
#[must_use = "a latch dropped at once protects nothing"]
pub(crate) struct TableGuard {
    _table: OwnedRwLockWriteGuard<()>,
}

impl Latches {
    pub(crate) fn new() -> Self {
        Latches {
            tables: (0..TABLE_STRIPES).map(|_| Arc::default()).collect(),
            stripes: (0..STRIPES).map(|_| Stripe::default()).collect(),
            hasher: RandomState::new(),
        }
    }

    pub(crate) async fn acquire(&self, partitions: &[(TableId, PartitionKey)]) -> LatchGuard {
        let mut tables = SmallVec::new();
        for table in self.tables_of(partitions) {
            tables.push(self.tables[table].clone().read_owned().await);
        }
        let mut held = SmallVec::new();
        for stripe in self.stripes_of(partitions) {
            let stripe = &self.stripes[stripe];
            let _waiting = Waiting::at(stripe);
            held.push(stripe.latch.clone().lock_owned().await);
        }
        LatchGuard {
            held,
            _tables: tables,
        }
    }

    /// Waits until nobody holds a latch of the table, and lets nobody have one.
    pub(crate) async fn acquire_table(&self, table: TableId) -> TableGuard {
        let table = self.tables[self.table_stripe(table)].clone();
        TableGuard {
            _table: table.write_owned().await,
        }
    }

    /// All of them, or None: somebody has one.
    pub(crate) fn try_acquire(&self, partitions: &[(TableId, PartitionKey)]) -> Option<LatchGuard> {
        let tables = self.tables_of(partitions).into_iter();
        let tables = tables.map(|table| self.tables[table].clone().try_read_owned().ok());
        let tables = tables.collect::<Option<_>>()?;
        let stripes = self.stripes_of(partitions).into_iter();
        let held = stripes.map(|stripe| {
            let stripe = &self.stripes[stripe];
            match stripe.waiting.load(Ordering::Relaxed) {
                0 => stripe.latch.try_lock_owned(),
                _ => None,
            }
        });
        let held = held.collect::<Option<_>>()?;
        Some(LatchGuard {
            held,
            _tables: tables,
        })
    }

    fn table_stripe(&self, table: TableId) -> usize {
        self.hasher.hash_one(table) as usize % TABLE_STRIPES
    }

    fn tables_of(&self, partitions: &[(TableId, PartitionKey)]) -> SmallVec<[usize; 4]> {
        in_order(
            partitions
                .iter()
                .map(|(table, _)| self.table_stripe(*table)),
        )
    }

    fn stripes_of(&self, partitions: &[(TableId, PartitionKey)]) -> SmallVec<[usize; 4]> {
        let stripe = |partition| self.hasher.hash_one(partition) as usize % STRIPES;
        in_order(partitions.iter().map(stripe))
    }
}

/// Each once.
fn in_order(wanted: impl Iterator<Item = usize>) -> SmallVec<[usize; 4]> {
    let mut wanted: SmallVec<[usize; 4]> = wanted.collect();
    wanted.sort_unstable();
    wanted.dedup();
    wanted
}

impl fmt::Debug for LatchGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LatchGuard of {}", self.held.len())
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt;

    use super::*;
    use crate::model::Token;

    #[test]
    fn a_tables_latch_is_had_by_one_or_shared_by_those_of_its_partitions() {
        let latches = Latches::new();
        let table = TableId([1; 16]);
        let partition = |key: &'static [u8]| (table, PartitionKey::new(Token(0), key));
        let (one, other) = ([partition(b"one")], [partition(b"other")]);
        let first = latches.acquire(&one).now_or_never();
        assert!(first.is_some());
        let second = latches.try_acquire(&other);
        assert!(second.is_some(), "partitions do not wait for each other");
        assert!(latches.acquire_table(table).now_or_never().is_none());
        drop(first);
        assert!(latches.acquire_table(table).now_or_never().is_none());
        drop(second);
        let whole = latches.acquire_table(table).now_or_never();
        assert!(whole.is_some());
        assert!(latches.try_acquire(&one).is_none());
        assert!(latches.acquire(&other).now_or_never().is_none());
        drop(whole);
        assert!(latches.try_acquire(&one).is_some());
    }
}
