//! What holds of every strategy, whatever it is given.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::{
    Just, ProptestConfig, any, prop, prop_assert, prop_assert_eq, prop_oneof, proptest,
};
use proptest::strategy::Strategy as PropStrategy;

use super::overlap;
use super::steady::Heap;
use super::strategy::tests::{NOW, circumstances, sstable};
use super::*;

const MIB: u64 = 1 << 20;

fn any_strategy() -> impl PropStrategy<Value = Strategy> {
    let tiers =
        (2usize..6, 0usize..30, 0u64..(80 * MIB)).prop_map(|(min, more, small)| SizeTiered {
            min_threshold: min,
            max_threshold: min + more,
            min_sstable_size: small,
            ..SizeTiered::default()
        });
    prop_oneof![
        tiers.clone().prop_map(Strategy::SizeTiered),
        (tiers.clone(), 50u64..200, 2u64..12).prop_map(|(tiers, mib, fanout_size)| {
            Strategy::Leveled(Leveled {
                sstable_bytes: mib * MIB,
                fanout_size,
                tiers,
            })
        }),
        (tiers, 60i64..100_000).prop_map(|(tiers, window_seconds)| {
            Strategy::TimeWindow(TimeWindow {
                window_seconds,
                tiers,
                ..TimeWindow::default()
            })
        }),
        (
            prop::collection::vec(-10i32..10, 1..4),
            100u64..2000,
            0u64..100,
            1u32..9,
            0.0f64..=1.0,
            0usize..10,
        )
            .prop_map(
                |(scaling, target, min, base_shard_count, sstable_growth, most)| {
                    Strategy::Unified(Unified {
                        scaling,
                        target_sstable_size: target * MIB,
                        min_sstable_size: min * MIB,
                        base_shard_count,
                        sstable_growth,
                        flush_size_override: 0,
                        max_sstables_to_compact: most,
                    })
                }
            ),
    ]
}

fn any_sstables() -> impl PropStrategy<Value = Vec<SstableSummary>> {
    let one = (
        1u64..300,
        any::<i64>(),
        any::<i64>(),
        0u8..4,
        0i64..1_000_000,
        prop_oneof![Just(50u64), Just(1_000_000)],
    );
    prop::collection::vec(one, 0..40).prop_map(|all| {
        (1u64..)
            .zip(all)
            .map(|(id, (mib, one, other, level, age, partitions))| {
                let written = (NOW - age) * 1_000_000;
                SstableSummary {
                    level,
                    tokens: (one.min(other), one.max(other)),
                    timestamps: (written - 5_000_000, written),
                    partitions,
                    entries: mib * MIB / 100,
                    ..sstable(id, mib * MIB)
                }
            })
            .collect()
    })
}

fn options_of(strategy: Strategy) -> CompactionOptions {
    CompactionOptions {
        strategy,
        ..CompactionOptions::default()
    }
}

fn heap_of(sstables: Vec<SstableSummary>) -> Heap {
    let mut heap = Heap::new(1e15);
    heap.adopt(sstables);
    heap
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn nothing_is_picked_twice_nor_what_is_busy_nor_what_is_not_there(
        strategy in any_strategy(),
        sstables in any_sstables(),
        busy in prop::collection::btree_set(1u64..40, 0..10),
    ) {
        let options = options_of(strategy);
        let choice = options.choose(&sstables, &busy, circumstances());
        if let Choice::Merge(plan) = choice {
            let ids: BTreeSet<u64> = plan.sstables.iter().copied().collect();
            prop_assert_eq!(ids.len(), plan.sstables.len());
            prop_assert!(ids.is_disjoint(&busy));
            prop_assert!(ids.iter().all(|id| sstables.iter().any(|sstable| sstable.id == *id)));
            // One alone would be written for nothing, unless it goes down a level.
            let is_lowered = plan.level > 0;
            prop_assert!(ids.len() > 1 || is_lowered);
        }
        for plan in options.strategy.choose_all(&sstables.iter().collect::<Vec<_>>(), NOW) {
            let ids: BTreeSet<u64> = plan.sstables.iter().copied().collect();
            prop_assert_eq!(ids.len(), plan.sstables.len());
        }
    }

    #[test]
    fn an_operators_compact_takes_each_sstable_once(
        strategy in any_strategy(),
        sstables in any_sstables(),
    ) {
        let plans = strategy.choose_all(&sstables.iter().collect::<Vec<_>>(), NOW);
        let mut ids: Vec<u64> = plans.iter().flat_map(|plan| plan.sstables.clone()).collect();
        ids.sort_unstable();
        let all: Vec<u64> = sstables.iter().map(|sstable| sstable.id).collect();
        prop_assert_eq!(ids, all);
    }

    #[test]
    fn merging_comes_to_rest_and_then_each_strategy_has_its_order(
        strategy in any_strategy(),
        sstables in any_sstables(),
    ) {
        let options = options_of(strategy);
        let mut heap = heap_of(sstables);
        heap.merge_until_it_rests(&options);
        let all: Vec<&SstableSummary> = heap.sstables.iter().collect();
        match &options.strategy {
            Strategy::SizeTiered(_) => prop_assert_eq!(options.waiting(&heap.sstables, heap.now), 0),
            Strategy::Unified(_) => prop_assert_eq!(options.waiting(&heap.sstables, heap.now), 0),
            Strategy::Leveled(leveled) => {
                let mut levels: BTreeMap<u8, Vec<&SstableSummary>> = BTreeMap::new();
                for sstable in &all {
                    levels.entry(sstable.level).or_default().push(sstable);
                }
                for (level, own) in levels {
                    let bytes: u64 = own.iter().map(|sstable| sstable.bytes).sum();
                    prop_assert!(level == 0 || overlap::depth(&own) <= 1, "level {} overlaps", level);
                    prop_assert!(level == 0 || bytes <= leveled.bytes_max(level), "level {} is too large", level);
                }
            }
            Strategy::TimeWindow(windows) => {
                let mut over: BTreeMap<i64, usize> = BTreeMap::new();
                for sstable in &all {
                    let second = sstable.timestamps.1 / 1_000_000;
                    *over.entry(second.div_euclid(windows.window_seconds)).or_default() += 1;
                }
                let newest = over.keys().next_back().copied();
                let present = NOW.div_euclid(windows.window_seconds);
                for (window, count) in over {
                    let is_over = Some(window) != newest && window < present;
                    prop_assert!(!is_over || count == 1, "window {} holds {}", window, count);
                }
            }
        }
    }

    /// Writes to one place of a partition: (token, timestamp, is it a deletion that has expired).
    #[test]
    fn no_deleted_value_comes_back_when_expired_sstables_go(
        sstables in prop::collection::vec(prop::collection::vec((0i64..6, 0i64..12, any::<bool>()), 1..5), 1..7),
        memtable in prop::collection::vec((0i64..6, 0i64..12), 0..3),
    ) {
        let summaries: Vec<SstableSummary> = (1u64..)
            .zip(&sstables)
            .map(|(id, writes)| {
                let tokens = writes.iter().map(|(token, ..)| *token);
                let times = writes.iter().map(|(_, time, _)| *time);
                let lives = writes.iter().any(|(_, _, is_deletion)| !is_deletion);
                SstableSummary {
                    tokens: (tokens.clone().min().unwrap(), tokens.max().unwrap()),
                    timestamps: (times.clone().min().unwrap(), times.max().unwrap()),
                    max_local_deletion_time: if lives { i64::MAX } else { NOW - 2_000_000 },
                    ..sstable(id, MIB)
                }
            })
            .collect();
        let circumstances = Circumstances {
            memtable_min_timestamp: memtable.iter().map(|(_, time)| *time).min().unwrap_or(i64::MAX),
            ..circumstances()
        };
        let gone = Expiry::default().expired(&summaries, circumstances);
        // The newest write to a token wins; of equal times a deletion. Only a value shows.
        let shows = |without: &[u64]| {
            let mut newest: BTreeMap<i64, (i64, bool)> = BTreeMap::new();
            let kept = (1u64..).zip(&sstables).filter(|(id, _)| !without.contains(id));
            let kept = kept.flat_map(|(_, writes)| writes.iter().copied());
            let fresh = memtable.iter().map(|(token, time)| (*token, *time, false));
            for (token, time, is_deletion) in kept.chain(fresh) {
                let place = newest.entry(token).or_insert((time, is_deletion));
                *place = (*place).max((time, is_deletion));
            }
            newest.retain(|_, (_, is_deletion)| !*is_deletion);
            newest
        };
        prop_assert_eq!(shows(&[]), shows(&gone));
    }
}
