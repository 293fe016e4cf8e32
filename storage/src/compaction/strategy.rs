//! What choosing sees and says, and the four strategies behind one name. Each is a pure function of what a store's SSTables look like from outside.

use super::leveled::Leveled;
use super::overlap;
use super::size_tiered::SizeTiered;
use super::time_window::TimeWindow;
use super::unified::Unified;

/// One SSTable as choosing sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct SstableSummary {
    /// Its number in the manifest.
    pub id: u64,
    /// Its level; only levelled compaction gives one above 0.
    pub level: u8,
    /// Size of its data component, as sealed.
    pub bytes: u64,
    /// Second of its writing.
    pub created_at: i64,
    /// First and last token in it.
    pub tokens: (i64, i64),
    /// Oldest and newest write in it, in microseconds.
    pub timestamps: (i64, i64),
    /// The second from which all in it is a tombstone or expired; `i64::MAX` if something lives on.
    pub max_local_deletion_time: i64,
    /// Partitions in it.
    pub partitions: u64,
    /// Cells, livenesses and tombstones in it.
    pub entries: u64,
    /// Tombstones and expiries by the second from which they count, a coarse ascending histogram.
    pub tombstones: Vec<(i64, u64)>,
    /// A merge could not read it, or not write what it was to be merged into: it is merged with nothing, and may still hold what others hide.
    pub is_set_aside: bool,
}

impl SstableSummary {
    /// The share of entries that are tombstones or expired since before `gc_before`.
    pub fn droppable_ratio(&self, gc_before: i64) -> f64 {
        let droppable = |(second, count): &(i64, u64)| if *second < gc_before { *count } else { 0 };
        let count: u64 = self.tombstones.iter().map(droppable).sum();
        count as f64 / self.entries.max(1) as f64
    }

    /// Whether a token can be in both.
    pub fn overlaps(&self, other: &SstableSummary) -> bool {
        self.tokens.0 <= other.tokens.1 && other.tokens.0 <= self.tokens.1
    }
}

/// What else a choice depends on.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Circumstances {
    /// The second it is.
    pub now: i64,
    /// Seconds for which a tombstone is kept.
    pub gc_grace_seconds: i64,
    /// Oldest write that is in a memtable only, in microseconds; `i64::MAX` if there is none.
    pub memtable_min_timestamp: i64,
}

impl Circumstances {
    /// Tombstones from before this second may be forgotten.
    pub fn gc_before(&self) -> i64 {
        self.now.saturating_sub(self.gc_grace_seconds)
    }
}

/// What to do now.
#[derive(Debug, Clone, PartialEq)]
pub enum Choice {
    /// Nothing is worth it.
    Rest,
    /// Merge SSTables into new ones.
    Merge(Plan),
    /// Remove these: nothing in them lives, and nothing older lies below their tombstones.
    Forget(Vec<u64>),
}

/// One merge.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// What is merged.
    pub sstables: Vec<u64>,
    /// The level of what it makes.
    pub level: u8,
    /// How that is cut.
    pub outputs: Outputs,
    /// A part of them would do as well: fewer are merged if the disk has no room for all.
    pub is_divisible: bool,
}

/// Where one new SSTable ends and the next begins: always between two tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outputs {
    /// All in one.
    One,
    /// After so many bytes of data.
    Bytes(u64),
    /// At the borders of so many equal parts of all tokens.
    Shards(u32),
}

impl Outputs {
    /// The part that a token lies in.
    pub fn shard(shards: u32, token: i64) -> u32 {
        let from_the_start = token.wrapping_sub(i64::MIN) as u64;
        ((u128::from(from_the_start) * u128::from(shards)) >> 64) as u32
    }
}

/// How a store's SSTables are merged.
#[derive(Debug, Clone, PartialEq)]
pub enum Strategy {
    /// What is of similar size.
    SizeTiered(SizeTiered),
    /// Into levels, each ten times the one before and without overlaps.
    Leveled(Leveled),
    /// What was written in the same stretch of time.
    TimeWindow(TimeWindow),
    /// What is of similar density, in shards.
    Unified(Unified),
}

impl Default for Strategy {
    fn default() -> Self {
        Strategy::SizeTiered(SizeTiered::default())
    }
}

impl Strategy {
    /// The merge that is most worth it, if one is.
    pub fn choose(&self, sstables: &[&SstableSummary], now: i64) -> Option<Plan> {
        match self {
            Strategy::SizeTiered(options) => options.choose(sstables),
            Strategy::Leveled(options) => options.choose(sstables),
            Strategy::TimeWindow(options) => options.choose(sstables, now),
            Strategy::Unified(options) => options.choose(sstables),
        }
    }

    /// What an operator who asks for everything to be merged gets: merges that can be done one after the other.
    pub fn choose_all(&self, sstables: &[&SstableSummary], now: i64) -> Vec<Plan> {
        match self {
            Strategy::SizeTiered(_) => Plan::of(sstables, 0, Outputs::One).into_iter().collect(),
            Strategy::Leveled(options) => options.choose_all(sstables).into_iter().collect(),
            Strategy::TimeWindow(options) => options.choose_all(sstables, now),
            Strategy::Unified(options) => options.choose_all(sstables).into_iter().collect(),
        }
    }

    /// One SSTable written again where it stands.
    pub fn alone(&self, sstable: &SstableSummary) -> Plan {
        Plan {
            sstables: vec![sstable.id],
            level: sstable.level,
            outputs: match self {
                Strategy::SizeTiered(_) | Strategy::TimeWindow(_) => Outputs::One,
                Strategy::Leveled(options) => Outputs::Bytes(options.sstable_bytes),
                Strategy::Unified(options) => options.outputs(&[sstable]),
            },
            is_divisible: false,
        }
    }

    /// SSTables that wait to be merged.
    pub fn waiting(&self, sstables: &[&SstableSummary], now: i64) -> usize {
        match self {
            Strategy::SizeTiered(options) => options.waiting(sstables),
            Strategy::Leveled(options) => options.waiting(sstables),
            Strategy::TimeWindow(options) => options.waiting(sstables, now),
            Strategy::Unified(options) => options.waiting(sstables),
        }
    }

    /// Whether a merge may begin while another one of the same store runs: not where what comes out must not overlap.
    pub fn merges_beside_itself(&self) -> bool {
        !matches!(self, Strategy::Leveled(_))
    }
}

impl Plan {
    /// A merge of all of these; None if there are none.
    pub(super) fn of(sstables: &[&SstableSummary], level: u8, outputs: Outputs) -> Option<Plan> {
        (!sstables.is_empty()).then(|| Plan {
            sstables: sstables.iter().map(|sstable| sstable.id).collect(),
            level,
            outputs,
            is_divisible: true,
        })
    }

    /// Bytes that it may write: those of what it merges, with index and filter on top.
    pub fn bytes_needed(&self, summaries: &[SstableSummary]) -> u64 {
        let own = summaries
            .iter()
            .filter(|sstable| self.sstables.contains(&sstable.id));
        own.map(|sstable| sstable.bytes + sstable.bytes / 8).sum()
    }

    /// The plan, or what of it there is room for: the largest SSTables wait. None: there is no room for anything of it that would be worth it.
    pub fn within(mut self, summaries: &[SstableSummary], room: u64) -> Option<Plan> {
        let mut own: Vec<&SstableSummary> = summaries
            .iter()
            .filter(|sstable| self.sstables.contains(&sstable.id))
            .collect();
        own.sort_by_key(|sstable| (sstable.bytes, sstable.id));
        while self.bytes_needed(summaries) > room {
            if !self.is_divisible || own.len() <= 2 {
                return None;
            }
            let waits = (0..own.len())
                .rev()
                .find(|at| self.is_worth_it_without(&own, *at))?;
            own.remove(waits);
            self.sstables = own.iter().map(|sstable| sstable.id).collect();
        }
        Some(self)
    }

    /// Whether a merge of the others makes fewer of them, or lets fewer lie over one another. What is cut at the borders of shards again, and does neither, would be merged
    /// for ever.
    fn is_worth_it_without(&self, sstables: &[&SstableSummary], at: usize) -> bool {
        let mut others = sstables.to_vec();
        others.remove(at);
        match self.outputs {
            Outputs::One => true,
            Outputs::Bytes(_) | Outputs::Shards(_) => overlap::depth(&others) >= 2,
        }
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::collections::BTreeSet;

    use super::super::CompactionOptions;
    use super::*;

    pub const MIB: u64 = 1 << 20;
    pub const NOW: i64 = 1_800_000_000;

    pub fn sstable(id: u64, bytes: u64) -> SstableSummary {
        SstableSummary {
            id,
            level: 0,
            bytes,
            created_at: NOW,
            tokens: (i64::MIN, i64::MAX),
            timestamps: (1, 2),
            max_local_deletion_time: i64::MAX,
            partitions: 1_000_000,
            entries: 100,
            tombstones: Vec::new(),
            is_set_aside: false,
        }
    }

    pub fn circumstances() -> Circumstances {
        Circumstances {
            now: NOW,
            gc_grace_seconds: 864_000,
            memtable_min_timestamp: i64::MAX,
        }
    }

    fn choose(sstables: &[SstableSummary], busy: &[u64]) -> Choice {
        let busy: BTreeSet<u64> = busy.iter().copied().collect();
        CompactionOptions::default().choose(sstables, &busy, circumstances())
    }

    fn merged(choice: Choice) -> Vec<u64> {
        match choice {
            Choice::Merge(plan) => plan.sstables,
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_is_being_merged_is_not_chosen_again() {
        let mut all: Vec<_> = (1..=4).map(|id| sstable(id, 100 * MIB)).collect();
        assert_eq!(merged(choose(&all, &[])), [1, 2, 3, 4]);
        assert_eq!(choose(&all, &[1, 2, 3, 4]), Choice::Rest);
        all.extend((5..=8).map(|id| sstable(id, 100 * MIB)));
        assert_eq!(merged(choose(&all, &[1, 2, 3, 4])), [5, 6, 7, 8]);
    }

    #[test]
    fn what_has_expired_goes_before_anything_is_merged() {
        let mut all: Vec<_> = (1..=4).map(|id| sstable(id, 100 * MIB)).collect();
        all[0].max_local_deletion_time = NOW - 900_000;
        all[0].timestamps = (0, 0);
        assert_eq!(choose(&all, &[]), Choice::Forget(vec![1]));
        assert_eq!(choose(&all, &[1]), Choice::Rest, "it is being read");
    }

    #[test]
    fn what_is_set_aside_is_left_alone_and_the_others_are_merged() {
        let mut all: Vec<_> = (1..=5).map(|id| sstable(id, 100 * MIB)).collect();
        all[1].is_set_aside = true;
        assert_eq!(merged(choose(&all, &[])), [1, 3, 4, 5]);
        let leveled = CompactionOptions {
            strategy: Strategy::Leveled(Leveled::default()),
            ..CompactionOptions::default()
        };
        let choice = leveled.choose(&all, &BTreeSet::new(), circumstances());
        assert_eq!(merged(choice), [1, 3, 4, 5], "it is no merge that runs");
        assert_eq!(choose(&all[..4], &[]), Choice::Rest);
    }

    #[test]
    fn compaction_that_is_switched_off_rests() {
        let all: Vec<_> = (1..=4).map(|id| sstable(id, 100 * MIB)).collect();
        let off = CompactionOptions {
            enabled: false,
            ..CompactionOptions::default()
        };
        let choice = off.choose(&all, &BTreeSet::new(), circumstances());
        assert_eq!((choice, off.waiting(&all, NOW)), (Choice::Rest, 0));
    }

    #[test]
    fn where_there_is_little_room_the_largest_wait() {
        let sized = |id: u64| sstable(id, id * 80 * MIB);
        let all: Vec<_> = (1..=4).map(sized).collect();
        let summaries: Vec<&SstableSummary> = all.iter().collect();
        let plan = Plan::of(&summaries, 0, Outputs::One).unwrap();
        let within = |mib: u64| {
            let plan = plan.clone().within(&all, mib * MIB);
            plan.map(|plan| plan.sstables)
        };
        assert_eq!(plan.bytes_needed(&all), 900 * MIB);
        assert_eq!(within(900), Some(vec![1, 2, 3, 4]));
        assert_eq!(within(899), Some(vec![1, 2, 3]));
        assert_eq!(within(270), Some(vec![1, 2]));
        assert_eq!(within(269), None);
        let whole = Plan {
            is_divisible: false,
            ..plan.clone()
        };
        assert_eq!(whole.within(&all, 899 * MIB), None);
    }

    #[test]
    fn where_there_is_little_room_what_lies_beside_one_another_is_not_merged_again_and_again() {
        let part = |id: u64, bytes, tokens| SstableSummary {
            tokens,
            ..sstable(id, bytes)
        };
        let all = [
            part(1, 200 * MIB, (i64::MIN, -2)),
            part(2, 200 * MIB, (2, i64::MAX)),
            part(3, 400 * MIB, (i64::MIN, i64::MAX)),
        ];
        let levelled = Strategy::Unified(Unified {
            scaling: vec![-8],
            ..Unified::default()
        });
        let summaries: Vec<&SstableSummary> = all.iter().collect();
        let plan = levelled.choose(&summaries, NOW).unwrap();
        assert_eq!(plan.sstables.len(), 3, "1 and 2 lie below 3");
        assert!(matches!(plan.outputs, Outputs::Shards(2..)));
        let within = |mib: u64| {
            let plan = plan.clone().within(&all, mib * MIB);
            plan.map(|plan| plan.sstables)
        };
        assert_eq!(
            within(600),
            None,
            "1 and 2 alone would come out as they are"
        );
        assert_eq!(within(700), Some(vec![1, 3]));
    }

    #[test]
    fn shards_are_equal_parts_of_all_tokens() {
        assert_eq!(Outputs::shard(4, i64::MIN), 0);
        assert_eq!(Outputs::shard(4, -1), 1);
        assert_eq!(Outputs::shard(4, 0), 2);
        assert_eq!(Outputs::shard(4, i64::MAX), 3);
        assert_eq!(Outputs::shard(1, i64::MAX), 0);
    }
}
