//! Choosing what to merge: a pure function of what a table's SSTables look like from outside.

use super::size_tiered::SizeTiered;

/// One SSTable as choosing sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct SstableSummary {
    /// Its number in the manifest.
    pub id: u64,
    /// Its level; size-tiered compaction ignores it.
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
    /// Cells, livenesses and tombstones in it.
    pub entries: u64,
    /// Tombstones and expiries by the second from which they count, a coarse ascending histogram.
    pub tombstones: Vec<(i64, u64)>,
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Choice {
    /// Nothing is worth it.
    Rest,
    /// Merge these SSTables into new ones.
    Merge(Vec<u64>),
    /// Remove these: nothing in them lives, and nothing older lies below their tombstones.
    Forget(Vec<u64>),
}

/// How a table's SSTables are merged.
#[derive(Debug, Clone, PartialEq)]
pub enum Strategy {
    /// Merge what is of similar size.
    SizeTiered(SizeTiered),
}

impl Default for Strategy {
    fn default() -> Self {
        Strategy::SizeTiered(SizeTiered::default())
    }
}

impl Strategy {
    /// What to do with these SSTables now.
    pub fn choose(&self, sstables: &[SstableSummary], circumstances: Circumstances) -> Choice {
        let expired = fully_expired(sstables, circumstances);
        if !expired.is_empty() {
            return Choice::Forget(expired);
        }
        match self {
            Strategy::SizeTiered(options) => {
                options.choose(sstables, circumstances.gc_grace_seconds, circumstances.now)
            }
        }
    }

    /// Merges that are due.
    pub fn pending(&self, sstables: &[SstableSummary]) -> usize {
        match self {
            Strategy::SizeTiered(options) => options.pending(sstables),
        }
    }
}

/// SSTables that only say what is gone, long enough ago, where nothing older is left that they would hide.
fn fully_expired(sstables: &[SstableSummary], circumstances: Circumstances) -> Vec<u64> {
    let is_candidate =
        |sstable: &SstableSummary| sstable.max_local_deletion_time < circumstances.gc_before();
    let oldest_beside = |candidate: &SstableSummary| {
        sstables
            .iter()
            .filter(|other| !is_candidate(other) && other.overlaps(candidate))
            .map(|other| other.timestamps.0)
            .fold(circumstances.memtable_min_timestamp, i64::min)
    };
    let mut expired: Vec<&SstableSummary> = sstables
        .iter()
        .filter(|candidate| {
            is_candidate(candidate) && candidate.timestamps.1 < oldest_beside(candidate)
        })
        .collect();
    // A candidate that stays may hold what another one's tombstones hide: go on until those that go hide nothing that stays.
    loop {
        let before = expired.len();
        let stays = |other: &SstableSummary| !expired.iter().any(|gone| gone.id == other.id);
        let kept: Vec<&SstableSummary> = sstables.iter().filter(|other| stays(other)).collect();
        expired.retain(|gone| {
            kept.iter()
                .all(|other| !other.overlaps(gone) || gone.timestamps.1 < other.timestamps.0)
        });
        if expired.len() == before {
            return expired.iter().map(|gone| gone.id).collect();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;
    const NOW: i64 = 1_800_000_000;

    fn sstable(id: u64, bytes: u64) -> SstableSummary {
        SstableSummary {
            id,
            level: 0,
            bytes,
            created_at: NOW,
            tokens: (i64::MIN, i64::MAX),
            timestamps: (1, 2),
            max_local_deletion_time: i64::MAX,
            entries: 100,
            tombstones: Vec::new(),
        }
    }

    fn circumstances() -> Circumstances {
        Circumstances {
            now: NOW,
            gc_grace_seconds: 864_000,
            memtable_min_timestamp: i64::MAX,
        }
    }

    fn choose(sstables: &[SstableSummary]) -> Choice {
        Strategy::default().choose(sstables, circumstances())
    }

    #[test]
    fn three_of_a_size_rest_and_the_fourth_merges_them() {
        let mut sstables: Vec<_> = (1..=3).map(|id| sstable(id, 100 * MIB)).collect();
        assert_eq!(choose(&sstables), Choice::Rest);
        sstables.push(sstable(4, 120 * MIB));
        assert_eq!(choose(&sstables), Choice::Merge(vec![1, 2, 3, 4]));
    }

    #[test]
    fn small_sstables_share_one_bucket_whatever_their_size() {
        let sstables = [
            sstable(1, 1),
            sstable(2, 100),
            sstable(3, MIB),
            sstable(4, 49 * MIB),
        ];
        assert_eq!(choose(&sstables), Choice::Merge(vec![1, 2, 3, 4]));
    }

    #[test]
    fn sizes_far_apart_do_not_meet() {
        let sstables = [
            sstable(1, 100 * MIB),
            sstable(2, 200 * MIB),
            sstable(3, 400 * MIB),
            sstable(4, 800 * MIB),
        ];
        assert_eq!(choose(&sstables), Choice::Rest);
    }

    #[test]
    fn at_most_max_threshold_are_merged_at_once_and_the_cheapest_bucket_goes_first() {
        let mut sstables: Vec<_> = (1..=40).map(|id| sstable(id, 100 * MIB)).collect();
        sstables.extend((41..=44).map(|id| sstable(id, 1000 * MIB)));
        let Choice::Merge(chosen) = choose(&sstables) else {
            panic!("40 of a size")
        };
        assert_eq!(chosen, (1..=32).collect::<Vec<u64>>());
        assert_eq!(Strategy::default().pending(&sstables), 3);
    }

    #[test]
    fn an_old_sstable_full_of_old_tombstones_is_rewritten_alone() {
        let mut lonely = sstable(7, 300 * MIB);
        lonely.tombstones = vec![(NOW - 1_000_000, 30)];
        assert_eq!(choose(&[lonely.clone()]), Choice::Rest, "it is too young");
        lonely.created_at = NOW - 90_000;
        assert_eq!(choose(&[lonely.clone()]), Choice::Merge(vec![7]));
        lonely.tombstones = vec![(NOW - 100, 30)];
        assert_eq!(
            choose(&[lonely]),
            Choice::Rest,
            "its tombstones are within the grace"
        );
    }

    #[test]
    fn an_sstable_in_which_all_has_expired_is_forgotten_unless_it_hides_something() {
        let mut expired = sstable(1, MIB);
        expired.max_local_deletion_time = NOW - 900_000;
        expired.timestamps = (10, 20);
        let mut beside = sstable(2, MIB);
        beside.timestamps = (30, 40);
        assert_eq!(
            choose(&[expired.clone(), beside.clone()]),
            Choice::Forget(vec![1])
        );
        beside.timestamps = (15, 40);
        assert_eq!(choose(&[expired.clone(), beside.clone()]), Choice::Rest);
        beside.tokens = (5, 6);
        expired.tokens = (7, 8);
        assert_eq!(choose(&[expired.clone(), beside]), Choice::Forget(vec![1]));
        let memtable = Circumstances {
            memtable_min_timestamp: 20,
            ..circumstances()
        };
        assert_eq!(
            Strategy::default().choose(&[expired], memtable),
            Choice::Rest
        );
    }

    #[test]
    fn two_expired_sstables_go_together_even_if_they_overlap() {
        let mut one = sstable(1, MIB);
        one.max_local_deletion_time = NOW - 900_000;
        let mut two = one.clone();
        two.id = 2;
        assert_eq!(choose(&[one, two]), Choice::Forget(vec![1, 2]));
    }
}
