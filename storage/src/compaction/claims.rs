//! Who merges which SSTables of a table: merges of other SSTables may run beside one another, and never two of one.
//!
//! Some work wants the whole table for itself: an operator's compact, a rewrite under new data keys. From the moment it asks nobody begins anything else.
//!
//! What must hold: a claim ends when its guard is dropped, whatever became of the work.

use std::collections::BTreeSet;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crate::env::Env;

/// How often somebody who waits for a whole table looks again.
const PAUSE: Duration = Duration::from_millis(10);

/// The SSTables of a table that are being merged.
#[derive(Default)]
pub(crate) struct Claims {
    inner: Mutex<Claimed>,
}

#[derive(Default)]
struct Claimed {
    busy: BTreeSet<u64>,
    /// How many want the table for themselves, the one that has it included.
    wanting_all: usize,
    /// Somebody has it.
    is_taken: bool,
}

/// Some SSTables, for one merge.
pub(crate) struct Claim<'a> {
    claims: &'a Claims,
    sstables: Vec<u64>,
}

/// The whole table.
pub(crate) struct WholeClaim<'a> {
    claims: &'a Claims,
    is_taken: bool,
}

impl Claims {
    /// Lets `choose` choose among what is not busy, which it is told, and claims what it names. None: nothing to do, or somebody wants the whole table.
    pub(crate) fn claim<T>(
        &self,
        choose: impl FnOnce(&BTreeSet<u64>) -> Option<(Vec<u64>, T)>,
    ) -> Option<(Claim<'_>, T)> {
        let mut inner = self.inner();
        if inner.wanting_all > 0 {
            return None;
        }
        let (sstables, chosen) = choose(&inner.busy)?;
        inner.busy.extend(&sstables);
        drop(inner);
        let claim = Claim {
            claims: self,
            sstables,
        };
        Some((claim, chosen))
    }

    /// Waits until nobody merges anything of the table.
    pub(crate) async fn claim_all(&self, env: &dyn Env) -> WholeClaim<'_> {
        self.inner().wanting_all += 1;
        let mut claim = WholeClaim {
            claims: self,
            is_taken: false,
        };
        while !claim.try_take() {
            env.sleep(PAUSE).await;
        }
        claim
    }

    fn inner(&self) -> MutexGuard<'_, Claimed> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Claim<'_> {
    /// What is claimed.
    pub(crate) fn sstables(&self) -> &[u64] {
        &self.sstables
    }
}

impl WholeClaim<'_> {
    fn try_take(&mut self) -> bool {
        let mut inner = self.claims.inner();
        if inner.is_taken || !inner.busy.is_empty() {
            return false;
        }
        inner.is_taken = true;
        self.is_taken = true;
        true
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        let mut inner = self.claims.inner();
        for sstable in &self.sstables {
            inner.busy.remove(sstable);
        }
    }
}

impl Drop for WholeClaim<'_> {
    fn drop(&mut self) {
        let mut inner = self.claims.inner();
        inner.wanting_all -= 1;
        if self.is_taken {
            inner.is_taken = false;
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::env::SimulatedEnv;

    fn claim(claims: &Claims, wanted: Vec<u64>) -> Option<(Claim<'_>, BTreeSet<u64>)> {
        claims.claim(|busy| Some((wanted, busy.clone())))
    }

    #[test]
    fn who_chooses_is_told_what_is_busy() {
        let claims = Claims::default();
        let (first, busy) = claim(&claims, vec![1, 2]).expect("nobody is there");
        assert!(busy.is_empty());
        let (_second, busy) = claim(&claims, vec![3]).expect("others are free");
        assert_eq!(busy, BTreeSet::from([1, 2]));
        drop(first);
        let (_third, busy) = claim(&claims, vec![1]).expect("others are free");
        assert_eq!(busy, BTreeSet::from([3]));
    }

    #[test]
    fn who_wants_the_whole_waits_for_those_before_and_keeps_those_after_out() {
        let env = SimulatedEnv::new(1);
        let claims = Arc::new(Claims::default());
        let (first, _) = claim(&claims, vec![1]).expect("nobody is there");
        let mut whole = Box::pin(claims.claim_all(&*env));
        let waker = futures::task::noop_waker();
        let mut context = std::task::Context::from_waker(&waker);
        assert!(whole.as_mut().poll(&mut context).is_pending());
        assert!(claim(&claims, vec![2]).is_none());
        drop(first);
        let taken = env.run(whole);
        assert!(claim(&claims, vec![2]).is_none());
        drop(taken);
        assert!(claim(&claims, vec![2]).is_some());
    }

    #[test]
    fn who_gives_up_waiting_for_the_whole_is_forgotten() {
        let env = SimulatedEnv::new(2);
        let claims = Claims::default();
        let (_first, _) = claim(&claims, vec![1]).expect("nobody is there");
        let mut whole = Box::pin(claims.claim_all(&*env));
        let waker = futures::task::noop_waker();
        let mut context = std::task::Context::from_waker(&waker);
        assert!(whole.as_mut().poll(&mut context).is_pending());
        drop(whole);
        assert!(claim(&claims, vec![2]).is_some());
    }
}
