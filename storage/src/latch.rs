//! Latches: who reads a partition, decides, and writes (lightweight transactions, counters) holds its latch until the write is applied.
//!
//! Partitions share a fixed number of stripes, so that an idle partition costs nothing. Whoever needs several takes them through
//! [`Latches::acquire`], in stripe order and each stripe once: two batches can never wait for each other.

use std::hash::{BuildHasher, RandomState};
use std::sync::Arc;

use futures::lock::{Mutex, OwnedMutexGuard};
use palladium_crypto::TableId;

use crate::model::PartitionKey;

/// Stripes: enough that unrelated partitions rarely meet under thousands of requests in flight.
const STRIPES: usize = 4096;

/// All latches of an engine.
pub(crate) struct Latches {
    stripes: Vec<Arc<Mutex<()>>>,
    hasher: RandomState,
}

/// Holds the latches it was given until dropped.
#[must_use = "a latch dropped at once protects nothing"]
pub struct LatchGuard {
    _held: Vec<OwnedMutexGuard<()>>,
}

impl Latches {
    pub(crate) fn new() -> Self {
        Latches {
            stripes: (0..STRIPES).map(|_| Arc::new(Mutex::new(()))).collect(),
            hasher: RandomState::new(),
        }
    }

    pub(crate) async fn acquire(&self, partitions: &[(TableId, &PartitionKey)]) -> LatchGuard {
        let mut wanted: Vec<usize> = partitions
            .iter()
            .map(|partition| self.hasher.hash_one(partition) as usize % STRIPES)
            .collect();
        wanted.sort_unstable();
        wanted.dedup();
        let mut held = Vec::with_capacity(wanted.len());
        for stripe in wanted {
            held.push(self.stripes[stripe].clone().lock_owned().await);
        }
        LatchGuard { _held: held }
    }
}
