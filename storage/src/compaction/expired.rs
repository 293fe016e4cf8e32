//! Which SSTables can go whole: nothing in them lives, and nothing older is left that their tombstones hide.
//!
//! What must hold: what goes hid nothing that stays. With `unsafe_aggressive_sstable_expiration` that is the owner's word, not ours.

use super::strategy::{Circumstances, SstableSummary};

/// How expired SSTables are looked for.
#[derive(Debug, Clone, PartialEq)]
pub struct Expiry {
    /// Seconds between two looks at a table in which nothing else happens.
    pub check_seconds: i64,
    /// Expired SSTables go whatever they hide: for tables where each row is written once with a time to live.
    pub ignores_overlaps: bool,
}

impl Default for Expiry {
    fn default() -> Self {
        Expiry {
            check_seconds: 600,
            ignores_overlaps: false,
        }
    }
}

impl Expiry {
    /// SSTables that only say what is gone, long enough ago, where nothing older is left that they would hide.
    pub fn expired(&self, sstables: &[SstableSummary], circumstances: Circumstances) -> Vec<u64> {
        let is_candidate =
            |sstable: &&SstableSummary| sstable.max_local_deletion_time < circumstances.gc_before();
        let mut expired: Vec<&SstableSummary> = sstables.iter().filter(is_candidate).collect();
        if !self.ignores_overlaps {
            keep_what_hides(sstables, &mut expired, circumstances.memtable_min_timestamp);
        }
        expired.iter().map(|sstable| sstable.id).collect()
    }
}

/// A candidate that stays may hold what another one's tombstones hide: on until those that go hide nothing that stays.
fn keep_what_hides(
    sstables: &[SstableSummary],
    expired: &mut Vec<&SstableSummary>,
    memtable_min_timestamp: i64,
) {
    loop {
        let before = expired.len();
        let goes = |other: &SstableSummary| expired.iter().any(|gone| gone.id == other.id);
        let stay: Vec<&SstableSummary> = sstables.iter().filter(|other| !goes(other)).collect();
        expired.retain(|gone| {
            let oldest = stay
                .iter()
                .filter(|other| other.overlaps(gone))
                .map(|other| other.timestamps.0)
                .fold(memtable_min_timestamp, i64::min);
            gone.timestamps.1 < oldest
        });
        if expired.len() == before {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::strategy::tests::{MIB, NOW, circumstances, sstable};
    use super::*;

    fn gone(id: u64, timestamps: (i64, i64)) -> SstableSummary {
        SstableSummary {
            max_local_deletion_time: NOW - 900_000,
            timestamps,
            ..sstable(id, MIB)
        }
    }

    fn expired(sstables: &[SstableSummary]) -> Vec<u64> {
        Expiry::default().expired(sstables, circumstances())
    }

    #[test]
    fn an_sstable_in_which_all_has_expired_goes_unless_it_hides_something() {
        let mut old = gone(1, (10, 20));
        let mut beside = SstableSummary {
            timestamps: (30, 40),
            ..sstable(2, MIB)
        };
        assert_eq!(expired(&[old.clone(), beside.clone()]), [1]);
        beside.timestamps = (15, 40);
        assert!(expired(&[old.clone(), beside.clone()]).is_empty());
        beside.tokens = (5, 6);
        old.tokens = (7, 8);
        assert_eq!(expired(&[old, beside]), [1]);
    }

    #[test]
    fn what_is_written_at_the_very_time_of_a_tombstone_is_hidden_by_it() {
        let beside = SstableSummary {
            timestamps: (20, 40),
            ..sstable(2, MIB)
        };
        assert!(expired(&[gone(1, (10, 20)), beside]).is_empty());
    }

    #[test]
    fn a_memtable_may_hold_what_is_hidden() {
        let memtable = Circumstances {
            memtable_min_timestamp: 20,
            ..circumstances()
        };
        let old = [gone(1, (10, 20))];
        assert!(Expiry::default().expired(&old, memtable).is_empty());
    }

    #[test]
    fn two_expired_sstables_go_together_even_if_they_overlap() {
        assert_eq!(expired(&[gone(1, (1, 2)), gone(2, (1, 2))]), [1, 2]);
    }

    #[test]
    fn an_expired_one_that_must_stay_keeps_those_that_hide_it() {
        // 3 lives and holds what 2 hides, so 2 stays, and what 1 hides may be in 2.
        let living = SstableSummary {
            timestamps: (5, 6),
            tokens: (50, 60),
            ..sstable(3, MIB)
        };
        let mut two = gone(2, (10, 20));
        two.tokens = (0, 55);
        let mut one = gone(1, (15, 30));
        one.tokens = (0, 10);
        assert!(expired(&[one, two, living]).is_empty());
    }

    #[test]
    fn within_its_grace_nothing_goes() {
        let mut young = gone(1, (10, 20));
        young.max_local_deletion_time = NOW - 864_000;
        assert!(expired(&[young.clone()]).is_empty());
        young.max_local_deletion_time -= 1;
        assert_eq!(expired(&[young]), [1]);
    }

    #[test]
    fn who_says_so_has_expired_sstables_dropped_whatever_they_hide() {
        let aggressive = Expiry {
            ignores_overlaps: true,
            ..Expiry::default()
        };
        let beside = SstableSummary {
            timestamps: (15, 40),
            ..sstable(2, MIB)
        };
        let all = [gone(1, (10, 20)), beside];
        assert_eq!(aggressive.expired(&all, circumstances()), [1]);
    }
}
