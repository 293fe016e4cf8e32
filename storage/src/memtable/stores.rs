//! The memtables of one table that are filled and frozen together: one for its base, and one for each derived store that was written to.
//!
//! What must hold: a table without derived stores owns nothing but the memtable of its base, and takes no lock to find it; how large all are
//! is known without asking each.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::{AtomicIsize, Ordering};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use super::Memtable;
use crate::Result;
use crate::model::{EncodedUpdate, EncodedUpdates, Store};

/// What one table has in memory since its last flush.
#[derive(Default)]
pub(crate) struct TableMemtables {
    base: Arc<Memtable>,
    derived: OnceLock<RwLock<BTreeMap<Store, Arc<Memtable>>>>,
    /// Bytes of the derived ones. Signed: of two that write at once the one that frees may be counted first.
    derived_bytes: AtomicIsize,
}

impl TableMemtables {
    /// The memtable of a store, if anything of it may be here.
    pub(crate) fn of(&self, store: Store) -> Option<Arc<Memtable>> {
        if store == Store::BASE {
            return Some(self.base.clone());
        }
        let derived = self.derived.get()?;
        let derived = derived.read().unwrap_or_else(PoisonError::into_inner);
        derived.get(&store).cloned()
    }

    /// The memtable of the base.
    pub(crate) fn base(&self) -> &Memtable {
        &self.base
    }

    /// Adds what an update says.
    pub(crate) fn apply(&self, update: EncodedUpdate<'_>) -> Result<()> {
        let store = update.store();
        if store == Store::BASE {
            self.base.apply_encoded(update)?;
            return Ok(());
        }
        let memtable = match self.of(store) {
            Some(memtable) => memtable,
            None => {
                let derived = self.derived.get_or_init(RwLock::default);
                let mut derived = derived.write().unwrap_or_else(PoisonError::into_inner);
                derived.entry(store).or_default().clone()
            }
        };
        let growth = memtable.apply_encoded(update)?;
        self.derived_bytes.fetch_add(growth, Ordering::Relaxed);
        Ok(())
    }

    /// Adds what a share of the log says, but for stores that have ended.
    pub(crate) fn replay(&self, share: &EncodedUpdates, dropped: &BTreeSet<Store>) -> Result<()> {
        let mut alive = share
            .iter()
            .filter(|update| !dropped.contains(&update.store()));
        alive.try_for_each(|update| self.apply(update))
    }

    /// Forgets a derived store, and says how many bytes it had.
    pub(crate) fn drop_store(&self, store: Store) -> usize {
        let Some(derived) = self.derived.get() else {
            return 0;
        };
        let mut derived = derived.write().unwrap_or_else(PoisonError::into_inner);
        let bytes = derived
            .remove(&store)
            .map_or(0, |memtable| memtable.bytes());
        let less = isize::try_from(bytes).expect("memory is not larger than an isize");
        self.derived_bytes.fetch_sub(less, Ordering::Relaxed);
        bytes
    }

    /// Every memtable with its store, the base first.
    pub(crate) fn all(&self) -> Vec<(Store, Arc<Memtable>)> {
        let mut all = vec![(Store::BASE, self.base.clone())];
        if let Some(derived) = self.derived.get() {
            let derived = derived.read().unwrap_or_else(PoisonError::into_inner);
            all.extend(
                derived
                    .iter()
                    .map(|(store, memtable)| (*store, memtable.clone())),
            );
        }
        all
    }

    /// Bytes of memory.
    pub(crate) fn bytes(&self) -> usize {
        let derived = self.derived_bytes.load(Ordering::Relaxed);
        self.base.bytes() + derived.max(0).unsigned_abs()
    }

    /// Nothing was written.
    pub(crate) fn is_empty(&self) -> bool {
        self.all().iter().all(|(_, memtable)| memtable.is_empty())
    }
}
