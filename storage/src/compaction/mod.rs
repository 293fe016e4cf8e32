//! Fewer SSTables, and old tombstones gone: choosing is pure, merging is mechanical.
//!
//! ```text
//! summaries ── strategy::Strategy::choose ──► Choice ── task::merge ──► new SSTables ── (engine) manifest edit ──► old ones removed
//!                  └ size_tiered                           ├ read::Merge     reconcile, drop what is shadowed
//!                                                          ├ purge           forget what may be forgotten
//!                                                          └ sstable writer  seal under the active key
//! ```
//!
//! What must hold: a read of the table gives the same rows before and after, at any time; a merge that fails leaves nothing behind
//! but blobs that nobody refers to, and those it removes itself.

pub mod purge;
pub mod size_tiered;
pub mod strategy;
pub mod task;

pub use purge::Purge;
pub use size_tiered::SizeTiered;
pub use strategy::{Choice, Circumstances, SstableSummary, Strategy};
pub use task::{MergeTask, Merged, OldestOutside, merge, oldest_outside};

/// What a table's owner says about compaction.
#[derive(Debug, Clone, PartialEq)]
pub struct CompactionOptions {
    /// Whether merges start by themselves.
    pub enabled: bool,
    /// How SSTables are chosen.
    pub strategy: Strategy,
}

impl Default for CompactionOptions {
    fn default() -> Self {
        CompactionOptions {
            enabled: true,
            strategy: Strategy::default(),
        }
    }
}

#[cfg(test)]
mod tests;
