//! Latches: who reads a partition, decides, and writes (lightweight transactions, counters) holds its latch until the write is applied.
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

use crate::model::PartitionKey;

/// Stripes: enough that unrelated partitions rarely meet under thousands of requests in flight.
const STRIPES: usize = 4096;

/// All latches of an engine.
pub(crate) struct Latches {
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
}

impl Latches {
    pub(crate) fn new() -> Self {
        Latches {
            stripes: (0..STRIPES).map(|_| Stripe::default()).collect(),
            hasher: RandomState::new(),
        }
    }

    pub(crate) async fn acquire(&self, partitions: &[(TableId, PartitionKey)]) -> LatchGuard {
        let mut held = SmallVec::new();
        for stripe in self.stripes_of(partitions) {
            let stripe = &self.stripes[stripe];
            let _waiting = Waiting::at(stripe);
            held.push(stripe.latch.clone().lock_owned().await);
        }
        LatchGuard { held }
    }

    /// All of them, or None: somebody has one.
    pub(crate) fn try_acquire(&self, partitions: &[(TableId, PartitionKey)]) -> Option<LatchGuard> {
        let stripes = self.stripes_of(partitions).into_iter();
        let held = stripes.map(|stripe| {
            let stripe = &self.stripes[stripe];
            match stripe.waiting.load(Ordering::Relaxed) {
                0 => stripe.latch.try_lock_owned(),
                _ => None,
            }
        });
        let held = held.collect::<Option<_>>()?;
        Some(LatchGuard { held })
    }

    fn stripes_of(&self, partitions: &[(TableId, PartitionKey)]) -> SmallVec<[usize; 4]> {
        let stripe = |partition| self.hasher.hash_one(partition) as usize % STRIPES;
        let mut wanted: SmallVec<[usize; 4]> = partitions.iter().map(stripe).collect();
        wanted.sort_unstable();
        wanted.dedup();
        wanted
    }
}

impl fmt::Debug for LatchGuard {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "LatchGuard of {}", self.held.len())
    }
}
