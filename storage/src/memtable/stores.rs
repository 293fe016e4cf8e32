//! The memtables of one table that are filled and frozen together: one for its base, and one for each derived store that was written to.
//!
//! What must hold: a table without derived stores owns nothing but the memtable of its base, and takes no lock to find it.

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use super::Memtable;
use crate::Result;
use crate::model::{PartitionKey, PartitionUpdate, Store};

/// What one table has in memory since its last flush.
#[derive(Default)]
pub(crate) struct TableMemtables {
    base: Arc<Memtable>,
    derived: OnceLock<RwLock<BTreeMap<Store, Arc<Memtable>>>>,
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

    /// Adds what an update says.
    pub(crate) fn apply(
        &self,
        store: Store,
        key: &PartitionKey,
        update: &PartitionUpdate,
    ) -> Result<()> {
        if store == Store::BASE {
            return self.base.apply(key, update);
        }
        let memtable = match self.of(store) {
            Some(memtable) => memtable,
            None => {
                let derived = self.derived.get_or_init(RwLock::default);
                let mut derived = derived.write().unwrap_or_else(PoisonError::into_inner);
                derived.entry(store).or_default().clone()
            }
        };
        memtable.apply(key, update)
    }

    /// Forgets a derived store, and says how many bytes it had.
    pub(crate) fn drop_store(&self, store: Store) -> usize {
        let Some(derived) = self.derived.get() else {
            return 0;
        };
        let mut derived = derived.write().unwrap_or_else(PoisonError::into_inner);
        derived
            .remove(&store)
            .map_or(0, |memtable| memtable.bytes())
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
        match self.derived.get() {
            None => self.base.bytes(),
            Some(_) => self
                .all()
                .iter()
                .map(|(_, memtable)| memtable.bytes())
                .sum(),
        }
    }

    /// Nothing was written.
    pub(crate) fn is_empty(&self) -> bool {
        self.all().iter().all(|(_, memtable)| memtable.is_empty())
    }
}
