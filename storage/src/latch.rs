//! Latches: who reads a partition, decides, and writes (lightweight transactions, counters) holds its latch until the write is applied.
//!
//! Whoever holds one shares its table's latch, too, which TRUNCATE has alone: what is decided stands before it and is gone, or behind it and has seen nothing.
//! The latches of tables come before those of partitions.
//!
//! Partitions share a fixed number of stripes, so that an idle partition costs nothing. Whoever needs several takes them through
//! [`Latches::acquire`], in stripe order and each stripe once: two batches can never wait for each other. A latch that somebody waits for is not to be had by
//! [`Latches::try_acquire`]: those who do not wait would pass those who do, again and again.

use std::fmt;
use std::future::poll_fn;
use std::hash::BuildHasher;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, MutexGuard};
use std::task::{Poll, Waker};

use foldhash::quality::RandomState;
use futures::lock::{Mutex, OwnedMutexGuard};
use palladium_crypto::TableId;
use smallvec::SmallVec;

use crate::model::PartitionKey;

/// Stripes: enough that unrelated partitions rarely meet under thousands of requests in flight.
const STRIPES: usize = 4096;

/// Stripes of tables: TRUNCATE is rare.
const TABLE_STRIPES: usize = 256;

/// All latches of an engine.
pub(crate) struct Latches {
    tables: Vec<Arc<TableLatch>>,
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
    _tables: SmallVec<[Shared; 1]>,
}

impl Latches {
    pub(crate) fn new() -> Self {
        Latches {
            tables: (0..TABLE_STRIPES).map(|_| Arc::default()).collect(),
            stripes: (0..STRIPES).map(|_| Stripe::default()).collect(),
            hasher: RandomState::default(),
        }
    }

    pub(crate) async fn acquire(&self, partitions: &[(TableId, PartitionKey)]) -> LatchGuard {
        let mut tables = SmallVec::new();
        for table in self.tables_of(partitions) {
            tables.push(self.tables[table].share().await);
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
        self.tables[self.table_stripe(table)].take().await
    }

    /// All of them, or None: somebody has one.
    pub(crate) fn try_acquire(&self, partitions: &[(TableId, PartitionKey)]) -> Option<LatchGuard> {
        let tables = self.tables_of(partitions).into_iter();
        let tables = tables.map(|table| self.tables[table].try_share());
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

/// The latch of a table: shared by those who hold latches of its partitions, or had by one alone, who is let in before those who would share it.
#[derive(Default)]
struct TableLatch {
    state: std::sync::Mutex<TableState>,
}

#[derive(Default)]
struct TableState {
    sharing: usize,
    is_taken: bool,
    /// How many want it alone.
    wanting: usize,
    waiting: Vec<Waker>,
}

/// A share of a table's latch.
struct Shared(Arc<TableLatch>);

/// Nobody else holds a latch of the table's partitions until this is dropped.
#[must_use = "a latch dropped at once protects nothing"]
pub(crate) struct TableGuard(Arc<TableLatch>);

/// Somebody wants it alone, until it is dropped.
struct Wanting<'a>(&'a TableLatch);

impl TableState {
    fn share(&mut self) -> bool {
        let is_free = !self.is_taken && self.wanting == 0;
        self.sharing += usize::from(is_free);
        is_free
    }

    fn take(&mut self) -> bool {
        let is_free = !self.is_taken && self.sharing == 0;
        self.is_taken |= is_free;
        is_free
    }
}

impl TableLatch {
    fn try_share(self: &Arc<Self>) -> Option<Shared> {
        let is_shared = self.state().share();
        is_shared.then(|| Shared(self.clone()))
    }

    async fn share(self: &Arc<Self>) -> Shared {
        self.until(TableState::share).await;
        Shared(self.clone())
    }

    async fn take(self: &Arc<Self>) -> TableGuard {
        self.state().wanting += 1;
        let _wanting = Wanting(self);
        self.until(TableState::take).await;
        TableGuard(self.clone())
    }

    /// Tries again after each change until it succeeds.
    async fn until(&self, attempt: fn(&mut TableState) -> bool) {
        poll_fn(|context| {
            let mut state = self.state();
            if attempt(&mut state) {
                return Poll::Ready(());
            }
            state.waiting.push(context.waker().clone());
            Poll::Pending
        })
        .await
    }

    fn change(&self, change: impl FnOnce(&mut TableState)) {
        let mut state = self.state();
        change(&mut state);
        let waiting = std::mem::take(&mut state.waiting);
        drop(state);
        waiting.into_iter().for_each(Waker::wake);
    }

    fn state(&self) -> MutexGuard<'_, TableState> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.0.change(|state| state.sharing -= 1);
    }
}

impl Drop for TableGuard {
    fn drop(&mut self) {
        self.0.change(|state| state.is_taken = false);
    }
}

impl Drop for Wanting<'_> {
    fn drop(&mut self) {
        self.0.change(|state| state.wanting -= 1);
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
    use std::pin::pin;
    use std::task::Context;

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
        // Who wants it alone is let in before who would share it, and is woken.
        let mut truncating = pin!(latches.acquire_table(table));
        assert!(truncating.as_mut().now_or_never().is_none());
        drop(whole);
        assert!(latches.try_acquire(&one).is_none());
        let whole = truncating.now_or_never();
        assert!(whole.is_some());
        drop(whole);
        assert!(latches.try_acquire(&one).is_some());
    }

    #[test]
    fn whoever_waits_for_a_tables_latch_is_woken() {
        let latch = Arc::new(TableLatch::default());
        let shared = latch.try_share().expect("it is free");
        let (waker, woken) = counting_waker();
        let mut taking = pin!(latch.take());
        let mut context = Context::from_waker(&waker);
        assert!(taking.as_mut().poll(&mut context).is_pending());
        let mut sharing = pin!(latch.share());
        assert!(sharing.as_mut().poll(&mut context).is_pending());
        drop(shared);
        assert_eq!(woken.0.swap(0, Ordering::Relaxed), 2);
        let Poll::Ready(taken) = taking.as_mut().poll(&mut context) else {
            panic!("it is free");
        };
        assert!(sharing.as_mut().poll(&mut context).is_pending());
        drop(taken);
        assert!(woken.0.load(Ordering::Relaxed) > 0);
        assert!(sharing.as_mut().poll(&mut context).is_ready());
    }

    /// Counts how often it is woken.
    struct Woken(AtomicUsize);

    impl std::task::Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn counting_waker() -> (Waker, Arc<Woken>) {
        let woken = Arc::new(Woken(AtomicUsize::new(0)));
        (woken.clone().into(), woken)
    }
}
