//! Levelled compaction: a read looks into one SSTable of each level, because those of a level do not overlap.
//!
//! ```text
//! level 0   what was flushed, over one another      ── four, and more than one SSTable's worth ──► level 1, with all that it overlaps there
//! level 1   at most fanout  x sstable_size_in_mb    ── too much ──► the SSTable that overlaps least goes to level 2
//! level 2   at most fanout² x sstable_size_in_mb    ── ...
//! ```
//!
//! The names, sizes and the fanout are Cassandra's. Two things are ours: from a level that is too large goes the SSTable that costs least to move (Cassandra goes
//! round), so that a choice needs no memory of earlier ones; and small flushes are merged by size within level 0 before they go down, as Cassandra does
//! only with a backlog. A table that comes from another strategy goes to the level that holds it, at once.
//!
//! What must hold: SSTables of one level above 0 do not overlap. Where they do, whoever made them, mending that comes first.

use super::overlap;
use super::size_tiered::SizeTiered;
use super::strategy::{Outputs, Plan, SstableSummary};

/// The deepest level; it takes whatever comes.
const LEVEL_MAX: u8 = 8;

/// SSTables in level 0 past which they are merged by size first: reads must not wait for the levels below.
const LEVEL_0_BACKLOG: usize = 32;

/// Options of the strategy.
#[derive(Debug, Clone, PartialEq)]
pub struct Leveled {
    /// Bytes of data of an SSTable above level 0 (`sstable_size_in_mb`).
    pub sstable_bytes: u64,
    /// Each level may hold so many times what the one before may.
    pub fanout_size: u64,
    /// How SSTables within level 0 are chosen, and how many make a merge.
    pub tiers: SizeTiered,
}

impl Default for Leveled {
    fn default() -> Self {
        Leveled {
            sstable_bytes: 160 << 20,
            fanout_size: 10,
            tiers: SizeTiered {
                min_sstable_size: 1 << 20,
                ..SizeTiered::default()
            },
        }
    }
}

impl Leveled {
    /// What to merge now, if anything.
    pub fn choose(&self, sstables: &[&SstableSummary]) -> Option<Plan> {
        let levels = by_level(sstables);
        self.mend(&levels)
            .or_else(|| self.relieve(&levels[0]))
            .or_else(|| self.lower(&levels))
            .or_else(|| self.take_in(&levels))
    }

    /// Everything, into the level that holds it.
    pub fn choose_all(&self, sstables: &[&SstableSummary]) -> Option<Plan> {
        let level = self.level_of(bytes(sstables));
        self.plan(sstables, level)
    }

    /// SSTables of level 0, which every read may have to look into, once there are too many.
    pub fn waiting(&self, sstables: &[&SstableSummary]) -> usize {
        let zero = sstables.iter().filter(|sstable| sstable.level == 0).count();
        if zero >= self.tiers.min_threshold {
            zero
        } else {
            0
        }
    }

    /// Bytes that a level may hold.
    pub fn bytes_max(&self, level: u8) -> u64 {
        match level {
            LEVEL_MAX.. => u64::MAX,
            _ => self
                .fanout_size
                .saturating_pow(level.into())
                .saturating_mul(self.sstable_bytes),
        }
    }

    /// SSTables of one level that overlap become ones that do not.
    fn mend(&self, levels: &[Vec<&SstableSummary>]) -> Option<Plan> {
        let above_zero = (1..=LEVEL_MAX).zip(&levels[1..]);
        above_zero
            .flat_map(|(level, own)| {
                overlap::components(own)
                    .into_iter()
                    .map(move |c| (level, c))
            })
            .find(|(_, component)| component.len() > 1)
            .and_then(|(level, component)| self.plan(&component, level))
    }

    /// Level 0 is far behind.
    fn relieve(&self, zero: &[&SstableSummary]) -> Option<Plan> {
        match zero.len() > LEVEL_0_BACKLOG {
            true => self.tiers.choose(zero),
            false => None,
        }
    }

    /// From the deepest level that holds too much, the SSTable that meets least in the level below.
    fn lower(&self, levels: &[Vec<&SstableSummary>]) -> Option<Plan> {
        let level = (1..LEVEL_MAX)
            .rev()
            .find(|level| bytes(&levels[usize::from(*level)]) > self.bytes_max(*level))?;
        let below = &levels[usize::from(level) + 1];
        let cost = |sstable: &SstableSummary| {
            let met = below.iter().filter(|other| other.overlaps(sstable));
            let met: u64 = met.map(|other| other.bytes).sum();
            met as f64 / sstable.bytes.max(1) as f64
        };
        let cheapest = levels[usize::from(level)]
            .iter()
            .map(|sstable| (cost(sstable), *sstable))
            .min_by(|a, b| a.0.total_cmp(&b.0).then(a.1.id.cmp(&b.1.id)))?
            .1;
        self.plan(&with_overlapping(vec![cheapest], below), level + 1)
    }

    /// Level 0 goes down once it is worth it.
    fn take_in(&self, levels: &[Vec<&SstableSummary>]) -> Option<Plan> {
        let mut zero = levels[0].clone();
        let total = bytes(&zero);
        let is_many = zero.len() >= self.tiers.min_threshold;
        if is_many && total <= self.sstable_bytes {
            return self.tiers.choose(&zero);
        }
        if !is_many && total <= self.sstable_bytes.saturating_mul(4) {
            return None;
        }
        zero.sort_by_key(|sstable| sstable.id);
        zero.truncate(self.tiers.max_threshold.max(2));
        let is_first = levels[1..].iter().all(Vec::is_empty);
        let level = match is_first {
            true => self.level_of(bytes(&zero)),
            false => 1,
        };
        let below = &levels[usize::from(level)];
        self.plan(&with_overlapping(zero, below), level)
    }

    fn level_of(&self, bytes: u64) -> u8 {
        (1..LEVEL_MAX)
            .find(|level| bytes <= self.bytes_max(*level))
            .unwrap_or(LEVEL_MAX)
    }

    fn plan(&self, sstables: &[&SstableSummary], level: u8) -> Option<Plan> {
        let plan = Plan::of(sstables, level, Outputs::Bytes(self.sstable_bytes))?;
        Some(Plan {
            is_divisible: false,
            ..plan
        })
    }
}

fn by_level<'a>(sstables: &[&'a SstableSummary]) -> Vec<Vec<&'a SstableSummary>> {
    let mut levels = vec![Vec::new(); usize::from(LEVEL_MAX) + 1];
    for sstable in sstables {
        levels[usize::from(sstable.level.min(LEVEL_MAX))].push(*sstable);
    }
    levels
}

fn bytes(sstables: &[&SstableSummary]) -> u64 {
    sstables.iter().map(|sstable| sstable.bytes).sum()
}

/// These, and what lies below any of them.
fn with_overlapping<'a>(
    mut chosen: Vec<&'a SstableSummary>,
    below: &[&'a SstableSummary],
) -> Vec<&'a SstableSummary> {
    // What comes out lies anywhere between the first and the last token, and must not overlap what stays.
    let span = overlap::span(&chosen);
    let meets = |other: &&&SstableSummary| other.tokens.0 <= span.1 && span.0 <= other.tokens.1;
    chosen.extend(below.iter().filter(meets).copied());
    chosen
}

#[cfg(test)]
mod tests {
    use super::super::strategy::tests::{MIB, sstable};
    use super::*;

    fn at(id: u64, level: u8, tokens: (i64, i64)) -> SstableSummary {
        SstableSummary {
            level,
            tokens,
            ..sstable(id, 160 * MIB)
        }
    }

    fn choose(sstables: &[SstableSummary]) -> Option<Plan> {
        let all: Vec<&SstableSummary> = sstables.iter().collect();
        Leveled::default().choose(&all)
    }

    fn into_160_mib(level: u8, sstables: &[u64]) -> Option<Plan> {
        Some(Plan {
            sstables: sstables.to_vec(),
            level,
            outputs: Outputs::Bytes(160 * MIB),
            is_divisible: false,
        })
    }

    #[test]
    fn four_flushed_ones_go_to_level_1_with_what_they_overlap_there() {
        let mut all: Vec<_> = (1..=3).map(|id| at(id, 0, (0, 100))).collect();
        all.extend([at(7, 1, (90, 200)), at(8, 1, (201, 300)), at(9, 2, (0, 50))]);
        assert_eq!(choose(&all), None);
        all.push(at(4, 0, (0, 10)));
        assert_eq!(choose(&all), into_160_mib(1, &[1, 2, 3, 4, 7]));
    }

    #[test]
    fn small_flushes_are_merged_among_themselves_first() {
        let all: Vec<_> = (1..=4).map(|id| sstable(id, 4 * MIB)).collect();
        let plan = choose(&all).expect("four of a size");
        assert_eq!((plan.level, plan.outputs), (0, Outputs::One));
    }

    #[test]
    fn from_a_level_that_is_too_large_goes_what_meets_least() {
        let mut all: Vec<_> = (0..11)
            .map(|n| at(n, 1, (n as i64 * 100, n as i64 * 100 + 99)))
            .collect();
        let below = [(0, 899), (950, 1000), (1001, 1099)];
        all.extend((20u64..).zip(below).map(|(id, tokens)| at(id, 2, tokens)));
        // 9 meets one SSTable of level 2; the others meet one, or two.
        assert_eq!(choose(&all), into_160_mib(2, &[0, 20]));
        all[0].bytes /= 2;
        assert_eq!(choose(&all), into_160_mib(2, &[1, 20]));
    }

    #[test]
    fn a_table_from_another_strategy_goes_to_the_level_that_holds_it() {
        let one = [sstable(1, 5 << 30)];
        assert_eq!(choose(&one), into_160_mib(2, &[1]));
        let small = [sstable(1, 600 * MIB)];
        assert_eq!(choose(&small), None, "it may wait for others");
    }

    #[test]
    fn overlapping_sstables_of_a_level_are_mended_first() {
        let mut all: Vec<_> = (1..=4).map(|id| at(id, 0, (0, 100))).collect();
        all.extend([
            at(7, 2, (90, 200)),
            at(8, 2, (150, 300)),
            at(9, 2, (301, 302)),
        ]);
        assert_eq!(choose(&all), into_160_mib(2, &[7, 8]));
    }

    #[test]
    fn a_backlog_is_merged_by_size() {
        let all: Vec<_> = (1..=40).map(|id| sstable(id, 100 * MIB)).collect();
        let plan = choose(&all).expect("a backlog");
        assert_eq!((plan.level, plan.sstables.len()), (0, 32));
        let waiting: Vec<&SstableSummary> = all.iter().collect();
        assert_eq!(Leveled::default().waiting(&waiting), 40);
    }
}
