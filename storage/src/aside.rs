//! SSTables of an open table that nothing is merged with, and why: damage holds up neither the others nor who needs nothing of it.
//!
//! What must hold:
//! - What is set aside stays in the version: only an operator gives it up. This is forgotten when the table closes, and found out again.
//! - Of two reasons the worse one stays.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use crate::model::Store;

/// Why an SSTable is set aside, the worst last.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Aside {
    /// It holds a row that would outgrow an SSTable if it were merged. It is as good as any.
    Apart,
    /// A merge or a rewrite could not read it: the others are not held up by it.
    Unreadable,
    /// It is damaged where it says what it holds, and could not be opened: who needs its store is told so. It stays in the version until an operator gives it up.
    Lost {
        store: Store,
        /// What is wrong with it.
        what: String,
    },
}

impl Aside {
    fn is_lost(&self) -> bool {
        matches!(self, Aside::Lost { .. })
    }
}

/// The SSTables that were set aside since the table was opened, by id.
#[derive(Default)]
pub(crate) struct SetAside {
    sstables: Mutex<BTreeMap<u64, Aside>>,
    /// Whether one of them is lost: asked by each read.
    has_lost: AtomicBool,
}

impl SetAside {
    /// Nothing is merged with this SSTable any more.
    pub(crate) fn add(&self, sstable: u64, why: Aside) {
        let is_lost = why.is_lost();
        let mut sstables = self.sstables();
        let worst = match sstables.remove(&sstable) {
            Some(known) => known.max(why),
            None => why,
        };
        sstables.insert(sstable, worst);
        self.has_lost.fetch_or(is_lost, Ordering::Release);
    }

    pub(crate) fn has(&self, sstable: u64) -> bool {
        self.sstables().contains_key(&sstable)
    }

    /// Whether a merge or a rewrite of this SSTable would fail again.
    pub(crate) fn is_unreadable(&self, sstable: u64) -> bool {
        let sstables = self.sstables();
        sstables
            .get(&sstable)
            .is_some_and(|why| *why != Aside::Apart)
    }

    /// What could not be read is tried again; but for what could not be opened, and is not here.
    pub(crate) fn try_unreadable_again(&self) {
        self.sstables().retain(|_, why| *why != Aside::Unreadable);
    }

    /// Ids of those that could not be opened.
    pub(crate) fn lost_ids(&self) -> Vec<u64> {
        let sstables = self.sstables();
        let lost = sstables.iter().filter(|(_, why)| why.is_lost());
        lost.map(|(sstable, _)| *sstable).collect()
    }

    /// What is wrong with an SSTable of a store that could not be opened; None: all of the store can be.
    pub(crate) fn lost_of(&self, wanted: Store) -> Option<String> {
        if !self.has_lost.load(Ordering::Acquire) {
            return None;
        }
        self.sstables().values().find_map(|why| match why {
            Aside::Lost { store, what } if *store == wanted => Some(what.clone()),
            _ => None,
        })
    }

    /// They are in the version no more. Told when no read can take what is there now for all of it.
    pub(crate) fn forget(&self, removed: &[u64]) {
        let mut sstables = self.sstables();
        sstables.retain(|sstable, _| !removed.contains(sstable));
        let has_lost = sstables.values().any(Aside::is_lost);
        self.has_lost.store(has_lost, Ordering::Release);
    }

    fn sstables(&self) -> MutexGuard<'_, BTreeMap<u64, Aside>> {
        let sstables = self.sstables.lock();
        sstables.expect("no holder of this lock panics")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost() -> Aside {
        Aside::Lost {
            store: Store::BASE,
            what: "its index".into(),
        }
    }

    #[test]
    fn of_two_reasons_the_worse_one_stays() {
        let aside = SetAside::default();
        aside.add(1, Aside::Apart);
        assert!(aside.has(1) && !aside.is_unreadable(1));
        aside.add(1, lost());
        aside.add(1, Aside::Unreadable);
        aside.try_unreadable_again();
        assert_eq!(aside.lost_ids(), [1]);
        assert_eq!(aside.lost_of(Store::BASE).as_deref(), Some("its index"));
        assert_eq!(aside.lost_of(Store(1)), None);
    }

    #[test]
    fn a_store_is_whole_again_once_what_was_lost_has_been_given_up() {
        let aside = SetAside::default();
        aside.add(1, lost());
        aside.add(2, lost());
        aside.forget(&[1]);
        assert!(aside.lost_of(Store::BASE).is_some());
        aside.forget(&[2]);
        assert_eq!(aside.lost_of(Store::BASE), None);
    }
}
