//! One SSTable written again alone, for the tombstones that it could forget: Cassandra's "tombstone compaction".
//!
//! What must hold: it is worth it. A tombstone goes only where nothing older may be outside, so an SSTable whose tombstones all lie over
//! older data is left alone, unless its owner says `unchecked_tombstone_compaction`; and none is written again before its interval is over.

use super::overlap;
use super::strategy::{Circumstances, SstableSummary};

/// When one SSTable is worth it, by Cassandra's names.
#[derive(Debug, Clone, PartialEq)]
pub struct TombstoneCompaction {
    /// Share of entries that must be tombstones past their grace.
    pub tombstone_threshold: f64,
    /// Seconds an SSTable must have existed.
    pub tombstone_compaction_interval: i64,
    /// Also where older data lies below: some tombstones may still go.
    pub unchecked_tombstone_compaction: bool,
}

impl Default for TombstoneCompaction {
    fn default() -> Self {
        TombstoneCompaction {
            tombstone_threshold: 0.2,
            tombstone_compaction_interval: 86_400,
            unchecked_tombstone_compaction: false,
        }
    }
}

impl TombstoneCompaction {
    /// The SSTable with the most to forget, of those that are idle; `all` may hold what its tombstones hide.
    pub fn choose<'a>(
        &self,
        idle: &[&'a SstableSummary],
        all: &[SstableSummary],
        circumstances: Circumstances,
    ) -> Option<&'a SstableSummary> {
        let gc_before = circumstances.gc_before();
        let interval = self.tombstone_compaction_interval;
        idle.iter()
            .filter(|sstable| circumstances.now.saturating_sub(sstable.created_at) > interval)
            .map(|sstable| (sstable.droppable_ratio(gc_before), *sstable))
            .filter(|(ratio, _)| *ratio > self.tombstone_threshold)
            .filter(|(ratio, sstable)| {
                self.unchecked_tombstone_compaction
                    || ratio * free_share(sstable, all, circumstances) > self.tombstone_threshold
            })
            .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.id.cmp(&a.1.id)))
            .map(|(_, sstable)| sstable)
    }
}

/// The share of an SSTable's tokens over which nothing as old as its newest write lies outside.
fn free_share(
    sstable: &SstableSummary,
    all: &[SstableSummary],
    circumstances: Circumstances,
) -> f64 {
    if circumstances.memtable_min_timestamp <= sstable.timestamps.1 {
        return 0.0;
    }
    let older: Vec<&SstableSummary> = all
        .iter()
        .filter(|other| other.id != sstable.id && other.overlaps(sstable))
        .filter(|other| other.timestamps.0 <= sstable.timestamps.1)
        .collect();
    let (first, last) = sstable.tokens;
    let covered: f64 = overlap::components(&older)
        .iter()
        .map(|component| overlap::span(component))
        .map(|span| overlap::share((span.0.max(first), span.1.min(last))))
        .sum();
    1.0 - covered / overlap::share(sstable.tokens)
}

#[cfg(test)]
mod tests {
    use super::super::strategy::tests::{MIB, NOW, circumstances, sstable};
    use super::*;

    fn lonely() -> SstableSummary {
        SstableSummary {
            tombstones: vec![(NOW - 1_000_000, 30)],
            created_at: NOW - 90_000,
            timestamps: (100, 200),
            ..sstable(7, 300 * MIB)
        }
    }

    fn chosen(options: &TombstoneCompaction, all: &[SstableSummary]) -> Option<u64> {
        let idle: Vec<&SstableSummary> = all.iter().collect();
        let chosen = options.choose(&idle, all, circumstances());
        chosen.map(|sstable| sstable.id)
    }

    #[test]
    fn an_old_sstable_full_of_old_tombstones_is_chosen() {
        let options = TombstoneCompaction::default();
        assert_eq!(chosen(&options, &[lonely()]), Some(7));
        let young = SstableSummary {
            created_at: NOW,
            ..lonely()
        };
        assert_eq!(chosen(&options, &[young]), None, "it is too young");
        let within = SstableSummary {
            tombstones: vec![(NOW - 100, 30)],
            ..lonely()
        };
        assert_eq!(chosen(&options, &[within]), None, "within the grace");
    }

    #[test]
    fn tombstones_over_older_data_are_no_reason_unless_the_owner_says_so() {
        let below = SstableSummary {
            timestamps: (1, 150),
            ..sstable(1, 300 * MIB)
        };
        let all = [lonely(), below.clone()];
        let options = TombstoneCompaction::default();
        assert_eq!(chosen(&options, &all), None);
        let unchecked = TombstoneCompaction {
            unchecked_tombstone_compaction: true,
            ..options.clone()
        };
        assert_eq!(chosen(&unchecked, &all), Some(7));
        let later = SstableSummary {
            timestamps: (201, 300),
            ..below.clone()
        };
        assert_eq!(chosen(&options, &[lonely(), later]), Some(7));
        let narrow = SstableSummary {
            tokens: (0, i64::MAX / 8),
            ..below
        };
        assert_eq!(
            chosen(&options, &[lonely(), narrow]),
            Some(7),
            "over a sixteenth of it"
        );
    }
}
