//! Fewer SSTables, and old tombstones gone: choosing is pure, merging is mechanical.
//!
//! ```text
//! summaries ── CompactionOptions::choose ──► Choice ── claims ── task::merge ──► new SSTables ── (engine) manifest edit ──► old ones removed
//!                  ├ expired      whole SSTables that can go          ├ pace            so many bytes a second
//!                  ├ strategy     which belong together               ├ read::Merge     reconcile, drop what is shadowed
//!                  │   ├ size_tiered  like with like                  ├ purge           forget what may be forgotten
//!                  │   ├ leveled      runs that do not overlap        ├ sieve           leave out what a derived store says in vain
//!                  │   ├ time_window  what was written together       └ sstable writer  seal under the active key
//!                  │   └ unified      between the first two, by density
//!                  └ tombstones   one alone, for what it could forget
//! ```
//!
//! `overlap` knows how SSTables lie over one another on the token line. All of a choice is a value: what it says can be printed, and its
//! consequences be counted without a disk (`steady`, in the tests).
//!
//! What must hold: a read of the table gives the same rows before and after, at any time; a merge that fails leaves nothing behind
//! but blobs that nobody refers to, and those it removes itself. SSTables of two stores of a table never meet.

pub(crate) mod claims;
pub mod expired;
pub mod leveled;
pub mod overlap;
pub mod pace;
pub mod purge;
mod sieve;
pub mod size_tiered;
pub mod strategy;
pub mod task;
pub mod time_window;
pub mod tombstones;
pub mod unified;

use std::borrow::Cow;
use std::collections::BTreeSet;

use crate::model::Store;

pub use expired::Expiry;
pub use leveled::Leveled;
pub use pace::Pace;
pub use purge::Purge;
pub use sieve::StaleRows;
pub use size_tiered::SizeTiered;
pub use strategy::{Choice, Circumstances, Outputs, Plan, SstableSummary, Strategy};
pub use task::{MergeTask, Merged, OldestOutside, kept_bytes, merge, oldest_outside};
pub use time_window::{Resolution, TimeWindow};
pub use tombstones::TombstoneCompaction;
pub use unified::Unified;

/// What a table's owner says about compaction.
#[derive(Debug, Clone, PartialEq)]
pub struct CompactionOptions {
    /// Whether merges start by themselves.
    pub enabled: bool,
    /// How SSTables are chosen.
    pub strategy: Strategy,
    /// When one SSTable is written again for the tombstones in it; None: never.
    pub tombstones: Option<TombstoneCompaction>,
    /// When SSTables that have expired go.
    pub expiry: Expiry,
}

impl Default for CompactionOptions {
    fn default() -> Self {
        CompactionOptions {
            enabled: true,
            strategy: Strategy::default(),
            tombstones: Some(TombstoneCompaction::default()),
            expiry: Expiry::default(),
        }
    }
}

impl CompactionOptions {
    /// The same for one store of the table. What clients count says nothing of what is derived: its timestamps are the server's, in microseconds.
    pub fn of_store(&self, store: Store) -> Cow<'_, CompactionOptions> {
        let mut options = Cow::Borrowed(self);
        if store != Store::BASE
            && let Strategy::TimeWindow(windows) = &self.strategy
            && windows.timestamp_resolution != Resolution::Microseconds
        {
            options.to_mut().strategy = Strategy::TimeWindow(TimeWindow {
                timestamp_resolution: Resolution::Microseconds,
                ..windows.clone()
            });
        }
        options
    }

    /// What to do now with the SSTables of one store; those that are `busy` are being merged already.
    pub fn choose(
        &self,
        sstables: &[SstableSummary],
        busy: &BTreeSet<u64>,
        circumstances: Circumstances,
    ) -> Choice {
        if !self.enabled {
            return Choice::Rest;
        }
        let mut expired = self.expiry.expired(sstables, circumstances);
        expired.retain(|id| !busy.contains(id));
        if !expired.is_empty() {
            return Choice::Forget(expired);
        }
        let is_busy = |sstable: &&SstableSummary| busy.contains(&sstable.id);
        if sstables.iter().any(|sstable| is_busy(&sstable)) && !self.strategy.merges_beside_itself()
        {
            return Choice::Rest;
        }
        let idle: Vec<&SstableSummary> = sstables
            .iter()
            .filter(|sstable| !is_busy(sstable) && !sstable.is_set_aside)
            .collect();
        self.strategy
            .choose(&idle, circumstances.now)
            .or_else(|| {
                let options = self.tombstones.as_ref()?;
                let alone = options.choose(&idle, sstables, circumstances)?;
                Some(self.strategy.alone(alone))
            })
            .map_or(Choice::Rest, Choice::Merge)
    }

    /// SSTables that wait to be merged: how far compaction is behind.
    pub fn waiting(&self, sstables: &[SstableSummary], now: i64) -> usize {
        let all = sstables.iter().filter(|sstable| !sstable.is_set_aside);
        let all: Vec<&SstableSummary> = all.collect();
        match self.enabled {
            true => self.strategy.waiting(&all, now),
            false => 0,
        }
    }
}

#[cfg(test)]
mod forgetting;
#[cfg(test)]
mod laws;
#[cfg(test)]
mod steady;
#[cfg(test)]
mod tests;
