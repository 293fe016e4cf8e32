//! Unified compaction: one number for each level says whether it is tiered or levelled; what is dense is cut into shards.
//!
//! ```text
//! density   bytes of an SSTable, divided by its share of all tokens: what it would be if it spanned the ring
//! level     by density: each level reaches F times as far as the one before
//! W         the level's scaling parameter. T4 is W = 2, L4 is W = -2, N is W = 0
//!           F = 2 + |W|: how much denser the next level is
//!           T = F if W > 0, else 2: so many SSTables over one token of a level are merged
//! ```
//!
//! Of a level the SSTables that lie over one another, directly or by way of others, are merged together; what comes out is cut at the borders of equal parts of the
//! ring, more of them the denser it is, so that parts of the ring are merged beside one another and no SSTable grows far beyond `target_sstable_size`.
//!
//! Names, defaults and formulas of shards are Cassandra's `UnifiedCompactionStrategy`. Ours is where the levels begin: at `flush_size_override`, or at 1 MiB, and not at
//! the average size of recent flushes; levels below that size are empty then, and a choice depends on nothing but the SSTables.
//!
//! What must hold: every merge takes at least two that lie over one another, so that merging ends.

use super::overlap;
use super::strategy::{Outputs, Plan, SstableSummary};

/// Where levels begin if nothing is said.
const BASE_DENSITY: u64 = 1 << 20;

/// Below so many partitions the tokens of an SSTable say little about the share it stands for.
const PARTITIONS_FOR_A_SHARE: u64 = 100;

/// SSTables merged at once if nothing is said.
const SSTABLES_MAX: usize = 32;

/// More shards than any disk needs; what a table's owner says and the growth formula stay within.
const SHARDS_MAX: u32 = 1 << 20;

/// Options of the strategy.
#[derive(Debug, Clone, PartialEq)]
pub struct Unified {
    /// W of each level; the last one goes on (`scaling_parameters`).
    pub scaling: Vec<i32>,
    /// Bytes that an SSTable should have.
    pub target_sstable_size: u64,
    /// Fewer than `base_shard_count` shards rather than smaller SSTables than this.
    pub min_sstable_size: u64,
    /// Shards to begin with.
    pub base_shard_count: u32,
    /// How much of growing density goes into larger SSTables and not into more of them: 0 none, 1 all.
    pub sstable_growth: f64,
    /// Where the levels begin; 0: not said.
    pub flush_size_override: u64,
    /// SSTables merged at once; 0: not said.
    pub max_sstables_to_compact: usize,
}

impl Default for Unified {
    fn default() -> Self {
        Unified {
            scaling: vec![2],
            target_sstable_size: 1 << 30,
            min_sstable_size: 100 << 20,
            base_shard_count: 4,
            sstable_growth: 0.333,
            flush_size_override: 0,
            max_sstables_to_compact: 0,
        }
    }
}

impl Unified {
    /// What to merge now, if anything: of the least dense level, where most lie over one another.
    pub fn choose(&self, sstables: &[&SstableSummary]) -> Option<Plan> {
        let levels = self.levels(sstables);
        levels.iter().enumerate().find_map(|(level, own)| {
            let mut due = self.due(level, own);
            // Of equals the first on the token line.
            due.sort_by_key(|(depth, _)| std::cmp::Reverse(*depth));
            let (_, component) = due.into_iter().next()?;
            let chosen = self.at_most(component);
            Plan::of(&chosen, 0, self.outputs(&chosen))
        })
    }

    /// Everything, cut as its density asks for.
    pub fn choose_all(&self, sstables: &[&SstableSummary]) -> Option<Plan> {
        Plan::of(sstables, 0, self.outputs(sstables))
    }

    /// SSTables over one token that are to be merged, over all levels.
    pub fn waiting(&self, sstables: &[&SstableSummary]) -> usize {
        let levels = self.levels(sstables);
        let due = levels
            .iter()
            .enumerate()
            .filter_map(|(level, own)| self.due(level, own).into_iter().map(|due| due.0).max());
        due.sum()
    }

    /// How what comes of these is cut.
    pub fn outputs(&self, sstables: &[&SstableSummary]) -> Outputs {
        let bytes: u64 = sstables.iter().map(|sstable| sstable.bytes).sum();
        let partitions = sstables.iter().map(|sstable| sstable.partitions).sum();
        match self.shards(density(bytes, overlap::span(sstables), partitions)) {
            1 => Outputs::One,
            shards => Outputs::Shards(shards),
        }
    }

    /// Parts of the ring for data of a density.
    pub fn shards(&self, density: f64) -> u32 {
        let base = self.base_shard_count.clamp(1, SHARDS_MAX);
        let min = self.min_sstable_size as f64;
        if density < min * f64::from(base) {
            // A divisor, so that the borders of less are borders of more.
            let fit = (density / min) as u32;
            let divisors = (1..=base).filter(|shards| base.is_multiple_of(*shards));
            return divisors.filter(|shards| *shards <= fit).max().unwrap_or(1);
        }
        let target = self.target_sstable_size.max(1) as f64;
        let grown = density / (target * f64::from(base));
        let doublings = (grown.log2() * (1.0 - self.sstable_growth))
            .round()
            .max(0.0);
        let most = (SHARDS_MAX / base).max(1).ilog2();
        base << (doublings as u32).min(most)
    }

    fn due<'a>(
        &self,
        level: usize,
        own: &[&'a SstableSummary],
    ) -> Vec<(usize, Vec<&'a SstableSummary>)> {
        let threshold = self.threshold(level);
        overlap::components(own)
            .into_iter()
            .map(|component| (overlap::depth(&component), component))
            .filter(|(depth, _)| *depth >= threshold)
            .collect()
    }

    /// Those over the deepest token, the oldest of them, if all would be too many.
    fn at_most<'a>(&self, component: Vec<&'a SstableSummary>) -> Vec<&'a SstableSummary> {
        let most = match self.max_sstables_to_compact {
            0 => SSTABLES_MAX,
            some => some.max(2),
        };
        let Some((token, _)) = overlap::deepest(&component).filter(|_| component.len() > most)
        else {
            return component;
        };
        let is_there =
            |sstable: &&&SstableSummary| sstable.tokens.0 <= token && token <= sstable.tokens.1;
        let mut deepest: Vec<&SstableSummary> =
            component.iter().filter(is_there).copied().collect();
        deepest.sort_by_key(|sstable| sstable.id);
        deepest.truncate(most);
        deepest
    }

    fn levels<'a>(&self, sstables: &[&'a SstableSummary]) -> Vec<Vec<&'a SstableSummary>> {
        let mut sorted: Vec<(f64, &SstableSummary)> = sstables
            .iter()
            .map(|sstable| {
                let density = density(sstable.bytes, sstable.tokens, sstable.partitions);
                (density, *sstable)
            })
            .collect();
        sorted.sort_by(|a, b| a.0.total_cmp(&b.0).then(a.1.id.cmp(&b.1.id)));
        let base = match self.flush_size_override {
            0 => BASE_DENSITY,
            some => some,
        };
        let mut levels = vec![Vec::new()];
        let mut reach = base as f64 * self.fanout(0);
        for (density, sstable) in sorted {
            while density >= reach {
                reach *= self.fanout(levels.len());
                levels.push(Vec::new());
            }
            levels
                .last_mut()
                .expect("there is a level from the start")
                .push(sstable);
        }
        levels
    }

    fn scaling(&self, level: usize) -> i32 {
        let last = self.scaling.last().copied().unwrap_or(2);
        self.scaling.get(level).copied().unwrap_or(last)
    }

    fn fanout(&self, level: usize) -> f64 {
        2.0 + f64::from(self.scaling(level).unsigned_abs())
    }

    fn threshold(&self, level: usize) -> usize {
        match self.scaling(level) {
            w @ 1.. => w as usize + 2,
            _ => 2,
        }
    }
}

fn density(bytes: u64, tokens: (i64, i64), partitions: u64) -> f64 {
    let share = match partitions {
        PARTITIONS_FOR_A_SHARE.. => overlap::share(tokens),
        _ => 1.0,
    };
    bytes as f64 / share
}

#[cfg(test)]
mod tests {
    use super::super::strategy::tests::{MIB, sstable};
    use super::*;

    const GIB: u64 = 1 << 30;

    fn choose(options: &Unified, sstables: &[SstableSummary]) -> Option<Vec<u64>> {
        let all: Vec<&SstableSummary> = sstables.iter().collect();
        options.choose(&all).map(|plan| plan.sstables)
    }

    fn scaled(scaling: &[i32]) -> Unified {
        Unified {
            scaling: scaling.to_vec(),
            ..Unified::default()
        }
    }

    #[test]
    fn t4_waits_for_four_and_l4_for_two() {
        let all: Vec<_> = (1..=4).map(|id| sstable(id, 100 * MIB)).collect();
        assert_eq!(choose(&scaled(&[2]), &all[..3]), None);
        assert_eq!(choose(&scaled(&[2]), &all), Some(vec![1, 2, 3, 4]));
        assert_eq!(choose(&scaled(&[-2]), &all[..2]), Some(vec![1, 2]));
        assert_eq!(choose(&scaled(&[0]), &all[..2]), Some(vec![1, 2]));
    }

    #[test]
    fn a_level_has_a_parameter_of_its_own_and_the_last_one_goes_on() {
        // F is 4 at each level: 1 to 4 MiB, to 16, to 64.
        let options = scaled(&[2, -2]);
        let sized = |mib: u64| [sstable(1, mib * MIB), sstable(2, mib * MIB)];
        assert_eq!(choose(&options, &sized(2)), None);
        assert_eq!(choose(&options, &sized(8)), Some(vec![1, 2]));
        assert_eq!(choose(&options, &sized(2000)), Some(vec![1, 2]));
    }

    #[test]
    fn what_lies_beside_one_another_is_not_merged() {
        let beside = |id: u64| SstableSummary {
            tokens: (id as i64 * 1000, id as i64 * 1000 + 999),
            ..sstable(id, 100 * MIB)
        };
        let all: Vec<_> = (0..50).map(beside).collect();
        assert_eq!(choose(&scaled(&[-2]), &all), None);
    }

    #[test]
    fn a_quarter_of_the_ring_is_as_dense_as_a_whole_four_times_its_size() {
        let mut all: Vec<_> = (1..=3).map(|id| sstable(id, 400 * MIB)).collect();
        let mut quarter = sstable(4, 100 * MIB);
        quarter.tokens = (i64::MIN, i64::MIN / 2 - 1);
        all.push(quarter);
        // It comes first on the token line.
        assert_eq!(choose(&scaled(&[2]), &all), Some(vec![4, 1, 2, 3]));
        all[3].tokens = (i64::MIN, i64::MAX);
        assert_eq!(choose(&scaled(&[2]), &all), None);
        all[3].tokens = (i64::MIN, i64::MIN / 2 - 1);
        all[3].partitions = 20;
        assert_eq!(
            choose(&scaled(&[2]), &all),
            None,
            "so few say nothing of a quarter"
        );
    }

    #[test]
    fn shards_grow_with_density() {
        let options = Unified::default();
        let of = |gib: f64| options.shards(gib * GIB as f64);
        assert_eq!(
            [of(0.05), of(0.21), of(0.4), of(1.0), of(4.0)],
            [1, 2, 4, 4, 4]
        );
        // The exponent takes two thirds of the doublings.
        assert_eq!([of(8.0), of(32.0), of(256.0), of(2048.0)], [8, 16, 64, 256]);
        let steady = Unified {
            sstable_growth: 0.0,
            ..Unified::default()
        };
        assert_eq!(steady.shards(32.0 * GIB as f64), 32);
        let fixed = Unified {
            sstable_growth: 1.0,
            ..Unified::default()
        };
        assert_eq!(fixed.shards(4096.0 * GIB as f64), 4);
        let six = Unified {
            base_shard_count: 6,
            ..Unified::default()
        };
        assert_eq!(six.shards(0.55 * GIB as f64), 3, "a divisor of six");
        assert_eq!(options.shards(f64::INFINITY), SHARDS_MAX);
        let mad = Unified {
            base_shard_count: u32::MAX,
            min_sstable_size: 0,
            ..Unified::default()
        };
        assert_eq!(mad.shards(GIB as f64), SHARDS_MAX);
    }

    #[test]
    fn of_too_many_the_oldest_over_one_token_are_merged() {
        let all: Vec<_> = (1..=50).map(|id| sstable(id, 100 * MIB)).collect();
        let chosen = choose(&Unified::default(), &all);
        assert_eq!(chosen, Some((1..=32).collect()));
        let few = Unified {
            max_sstables_to_compact: 8,
            ..Unified::default()
        };
        assert_eq!(choose(&few, &all), Some((1..=8).collect()));
        let summaries: Vec<&SstableSummary> = all.iter().collect();
        assert_eq!(Unified::default().waiting(&summaries), 50);
    }
}
