//! Rows of a derived store that say nothing any more, left out of a merge.
//!
//! The entries of an index are written blindly, next to what they are of: one whose row has been changed since stays behind, and only the base can tell. Whoever
//! knows how the store follows from its base says which rows are stale ([`StaleRows`]); this says when it is worth asking, because each answer is a read of the base.
//!
//! Leaving out is forgetting, not deleting: no tombstone remains that could hide an entry that is written later, with whatever timestamp.
//!
//! What must hold: what is asked about is in SSTables, so the write that it came with is visible in the base; and what the base says then has to be durable before the
//! merge is (`engine::compact`).

use std::sync::Arc;

use crate::env::BoxFuture;
use crate::model::{Clustering, PartitionKey};
use crate::read::Item;

/// Which of some rows of one partition are stale.
pub type StaleRows =
    Arc<dyn Fn(&PartitionKey, Vec<Clustering>) -> BoxFuture<'static, Vec<bool>> + Send + Sync>;

/// Rows that are asked about at once.
pub(super) const ROWS_AT_ONCE: usize = 64;
/// Rows in a row of which none was stale, after which a few are tried instead of all.
const FRESH_ENOUGH: usize = 1_024;
/// Of so many questions one is asked then; the next stale row ends it.
const TRIED_ONE_OF: u32 = 8;

/// The sieve of one merge.
pub(super) struct Sieve {
    stale: StaleRows,
    fresh: usize,
    turn: u32,
}

impl Sieve {
    pub(super) fn new(stale: StaleRows) -> Sieve {
        Sieve {
            stale,
            fresh: 0,
            turn: 0,
        }
    }

    /// What is kept of the next rows of a partition.
    pub(super) async fn sift(&mut self, key: &PartitionKey, items: Vec<Item>) -> Vec<Item> {
        self.turn = (self.turn + 1) % TRIED_ONE_OF;
        if items.is_empty() || (self.fresh >= FRESH_ENOUGH && self.turn != 0) {
            return items;
        }
        let rows = items.iter().map(|item| item.position.clone()).collect();
        let mut stale = (self.stale)(key, rows).await.into_iter();
        let before = items.len();
        let mut kept = items;
        // A boundary of a range deletion is no row, and stays.
        kept.retain(|item| !stale.next().unwrap_or(false) || item.row.is_none());
        self.fresh = match kept.len() == before {
            true => self.fresh + before,
            false => 0,
        };
        kept
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;
    use crate::model::{Row, Token};

    fn rows(count: usize) -> Vec<Item> {
        let row = |n: usize| Item {
            position: Clustering::copy_from(&(n as u32).to_be_bytes()),
            before: None,
            after: None,
            row: Some(Row::new(Clustering::copy_from(&(n as u32).to_be_bytes())).into()),
        };
        (0..count).map(row).collect()
    }

    #[test]
    fn where_nothing_is_stale_few_are_asked_about_until_one_is() {
        let asked = Arc::new(AtomicUsize::new(0));
        let counted = asked.clone();
        let is_stale = Arc::new(AtomicUsize::new(0));
        let stale = is_stale.clone();
        let mut sieve = Sieve::new(Arc::new(move |_, rows| {
            counted.fetch_add(rows.len(), Ordering::Relaxed);
            let stale = stale.load(Ordering::Relaxed) == 1;
            Box::pin(async move { vec![stale; rows.len()] })
        }));
        let key = PartitionKey::new(Token(1), "k");
        let env = crate::env::SimulatedEnv::new(1);
        let mut sift = |count| env.run(sieve.sift(&key, rows(count))).len();
        for _ in 0..FRESH_ENOUGH / ROWS_AT_ONCE {
            assert_eq!(sift(ROWS_AT_ONCE), ROWS_AT_ONCE);
        }
        assert_eq!(asked.swap(0, Ordering::Relaxed), FRESH_ENOUGH);
        for _ in 0..TRIED_ONE_OF {
            assert_eq!(sift(1), 1);
        }
        assert_eq!(asked.swap(0, Ordering::Relaxed), 1);
        is_stale.store(1, Ordering::Relaxed);
        let kept: usize = (0..TRIED_ONE_OF + 5).map(|_| sift(1)).sum();
        assert_eq!(
            kept,
            TRIED_ONE_OF as usize - 1,
            "then all are asked about again"
        );
    }
}
