//! Time-window compaction: what was written in the same stretch of time stays together, so that data with a time to live expires by whole SSTables.
//!
//! An SSTable belongs to the window of its newest write. In the newest window, and in those that are still to come, SSTables are merged by size; once a window is
//! over, what it holds becomes one SSTable and is left alone until it expires.
//!
//! Names and defaults are Cassandra's. Ours is that an operator's `compact` keeps windows apart: one SSTable of everything would not expire before its
//! youngest row.

use std::collections::BTreeMap;

use super::size_tiered::{SizeTiered, is_worth_it};
use super::strategy::{Outputs, Plan, SstableSummary};

/// What the clients' timestamps count.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Resolution {
    Nanoseconds,
    Microseconds,
    Milliseconds,
    Seconds,
}

impl Resolution {
    /// The second of a timestamp.
    pub fn seconds(self, timestamp: i64) -> i64 {
        match self {
            Resolution::Nanoseconds => timestamp.div_euclid(1_000_000_000),
            Resolution::Microseconds => timestamp.div_euclid(1_000_000),
            Resolution::Milliseconds => timestamp.div_euclid(1_000),
            Resolution::Seconds => timestamp,
        }
    }
}

/// Options of the strategy.
#[derive(Debug, Clone, PartialEq)]
pub struct TimeWindow {
    /// Seconds of a window (`compaction_window_size` times `compaction_window_unit`).
    pub window_seconds: i64,
    /// What timestamps count.
    pub timestamp_resolution: Resolution,
    /// How SSTables of a window that is not over are chosen.
    pub tiers: SizeTiered,
}

impl Default for TimeWindow {
    fn default() -> Self {
        TimeWindow {
            window_seconds: 86_400,
            timestamp_resolution: Resolution::Microseconds,
            tiers: SizeTiered::default(),
        }
    }
}

impl TimeWindow {
    /// What to merge now, if anything: the newest windows first, which are read most.
    pub fn choose(&self, sstables: &[&SstableSummary], now: i64) -> Option<Plan> {
        let windows = self.windows(sstables);
        let newest = *windows.keys().next_back()?;
        windows
            .iter()
            .rev()
            .find_map(|(window, own)| match self.is_over(*window, newest, now) {
                false => self.tiers.choose(own),
                true => self.whole(own),
            })
    }

    /// Each window by itself.
    pub fn choose_all(&self, sstables: &[&SstableSummary], _now: i64) -> Vec<Plan> {
        self.windows(sstables)
            .values()
            .rev()
            .filter_map(|own| Plan::of(own, 0, Outputs::One))
            .collect()
    }

    /// SSTables that wait to be merged.
    pub fn waiting(&self, sstables: &[&SstableSummary], now: i64) -> usize {
        let windows = self.windows(sstables);
        let newest = windows.keys().next_back().copied().unwrap_or(i64::MIN);
        windows
            .iter()
            .map(|(window, own)| match self.is_over(*window, newest, now) {
                false => self.tiers.waiting(own),
                true => self.whole(own).map_or(0, |_| own.len() - 1),
            })
            .sum()
    }

    /// Whether nothing more is expected in a window. Of timestamps that are no times, all of them long ago, the newest counts as the present.
    fn is_over(&self, window: i64, newest: i64, now: i64) -> bool {
        window < newest && window < self.window_of_second(now)
    }

    fn whole(&self, own: &[&SstableSummary]) -> Option<Plan> {
        if own.len() < 2 {
            return None;
        }
        let mut smallest_first = own.to_vec();
        smallest_first.sort_by_key(|sstable| (sstable.bytes, sstable.id));
        smallest_first.truncate(self.tiers.max_threshold.max(2));
        is_worth_it(&smallest_first, 2)
            .then(|| Plan::of(&smallest_first, 0, Outputs::One))
            .flatten()
    }

    fn windows<'a>(
        &self,
        sstables: &[&'a SstableSummary],
    ) -> BTreeMap<i64, Vec<&'a SstableSummary>> {
        let mut windows: BTreeMap<i64, Vec<&SstableSummary>> = BTreeMap::new();
        for sstable in sstables {
            let second = self.timestamp_resolution.seconds(sstable.timestamps.1);
            let window = self.window_of_second(second);
            windows.entry(window).or_default().push(sstable);
        }
        windows
    }

    fn window_of_second(&self, second: i64) -> i64 {
        second.div_euclid(self.window_seconds.max(1))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::super::strategy::tests::{MIB, NOW, circumstances, sstable};
    use super::super::task::SSTABLE_BYTES_MAX;
    use super::super::{Choice, CompactionOptions, Strategy};
    use super::*;
    use crate::model::Store;

    const DAY: i64 = 86_400;

    fn of_day(id: u64, day: i64) -> SstableSummary {
        let second = NOW + day * DAY;
        SstableSummary {
            timestamps: (second * 1_000_000 - 5, second * 1_000_000),
            ..sstable(id, 100 * MIB)
        }
    }

    fn choose_at(sstables: &[SstableSummary], now: i64) -> Option<Vec<u64>> {
        let all: Vec<&SstableSummary> = sstables.iter().collect();
        let plan = TimeWindow::default().choose(&all, now);
        plan.map(|plan| plan.sstables)
    }

    #[test]
    fn of_today_four_are_merged_and_of_yesterday_two() {
        let mut all = vec![of_day(1, 0), of_day(2, 0), of_day(3, 0), of_day(4, -1)];
        assert_eq!(choose_at(&all, NOW), None);
        all.push(of_day(5, -1));
        assert_eq!(choose_at(&all, NOW), Some(vec![4, 5]));
        all.push(of_day(6, 0));
        assert_eq!(
            choose_at(&all, NOW),
            Some(vec![1, 2, 3, 6]),
            "the newest first"
        );
    }

    #[test]
    fn of_a_window_that_is_over_what_a_merge_has_cut_at_the_full_size_stays() {
        let mut all = [of_day(1, -1), of_day(2, -1), of_day(3, 0)];
        all[0].bytes = SSTABLE_BYTES_MAX;
        (all[0].tokens, all[1].tokens) = ((0, 9), (10, 19));
        let waiting = |all: &[SstableSummary]| {
            let all: Vec<&SstableSummary> = all.iter().collect();
            TimeWindow::default().waiting(&all, NOW)
        };
        assert_eq!((choose_at(&all, NOW), waiting(&all)), (None, 0));
        all[1].tokens.0 = 9;
        assert_eq!(choose_at(&all, NOW), Some(vec![2, 1]));
        assert_eq!(waiting(&all), 1);
    }

    #[test]
    fn windows_never_meet() {
        let all: Vec<_> = (0..30).map(|n| of_day(n, -(n as i64))).collect();
        assert_eq!(choose_at(&all, NOW), None);
        let summaries: Vec<&SstableSummary> = all.iter().collect();
        let plans = TimeWindow::default().choose_all(&summaries, NOW);
        assert!(plans.iter().all(|plan| plan.sstables.len() == 1));
        assert_eq!(plans.len(), 30);
    }

    #[test]
    fn a_window_that_is_over_is_merged_though_nothing_new_was_written() {
        let all = [of_day(1, 0), of_day(2, 0), of_day(3, 1)];
        assert_eq!(choose_at(&all, NOW), None);
        assert_eq!(choose_at(&all, NOW + DAY), Some(vec![1, 2]));
    }

    #[test]
    fn a_clock_far_ahead_does_not_end_today() {
        let all = [of_day(1, 0), of_day(2, 0), of_day(3, 4000)];
        assert_eq!(choose_at(&all, NOW), None);
    }

    #[test]
    fn timestamps_that_are_no_times_are_merged_by_size() {
        let all: Vec<_> = (1..=3).map(|id| sstable(id, 100 * MIB)).collect();
        assert_eq!(choose_at(&all, NOW), None);
    }

    #[test]
    fn what_is_derived_is_in_windows_of_microseconds_whatever_clients_count() {
        let options = CompactionOptions {
            strategy: Strategy::TimeWindow(TimeWindow {
                timestamp_resolution: Resolution::Milliseconds,
                ..TimeWindow::default()
            }),
            ..CompactionOptions::default()
        };
        // Ten minutes apart.
        let all: Vec<_> = (1..=4)
            .map(|id| {
                let second = (NOW.div_euclid(DAY) * DAY) + id as i64 * 600;
                SstableSummary {
                    timestamps: (second * 1_000_000, second * 1_000_000),
                    ..sstable(id, 100 * MIB)
                }
            })
            .collect();
        let choose = |store| {
            let options = options.of_store(store);
            options.choose(&all, &BTreeSet::new(), circumstances())
        };
        assert_eq!(choose(Store::BASE), Choice::Rest);
        let derived = choose(Store(1));
        assert!(matches!(derived, Choice::Merge(plan) if plan.sstables == [1, 2, 3, 4]));
    }

    #[test]
    fn timestamps_are_read_as_their_owner_says() {
        let by = |resolution: Resolution, timestamp| resolution.seconds(timestamp);
        assert_eq!(by(Resolution::Milliseconds, 5_999), 5);
        assert_eq!(by(Resolution::Nanoseconds, -1), -1);
        assert_eq!(by(Resolution::Seconds, 7), 7);
    }
}
