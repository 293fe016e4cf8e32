//! Size-tiered compaction: SSTables of similar size are merged once enough of them are there.
//!
//! The rules, options and defaults are Cassandra's `SizeTieredCompactionStrategy`: SSTables are put in buckets by size; a bucket
//! takes a table whose size lies between `bucket_low` and `bucket_high` times the bucket's average, and all that are smaller than
//! `min_sstable_size` share one bucket. A bucket with `min_threshold` members is merged, at most `max_threshold` at a time, the
//! bucket with the smallest average first: it costs least and frees most reads.
//!
//! Choosing is pure: the same summaries give the same choice.

use super::overlap;
use super::strategy::{Outputs, Plan, SstableSummary};
use super::task::SSTABLE_BYTES_MAX;

/// Options of the strategy, by Cassandra's names.
#[derive(Debug, Clone, PartialEq)]
pub struct SizeTiered {
    /// Members that make a bucket worth merging.
    pub min_threshold: usize,
    /// Members merged at once.
    pub max_threshold: usize,
    /// A bucket takes sizes from this factor of its average.
    pub bucket_low: f64,
    /// A bucket takes sizes up to this factor of its average.
    pub bucket_high: f64,
    /// Bytes below which size makes no difference.
    pub min_sstable_size: u64,
}

impl Default for SizeTiered {
    fn default() -> Self {
        SizeTiered {
            min_threshold: 4,
            max_threshold: 32,
            bucket_low: 0.5,
            bucket_high: 1.5,
            min_sstable_size: 50 << 20,
        }
    }
}

impl SizeTiered {
    /// What to merge now, if anything.
    pub fn choose(&self, sstables: &[&SstableSummary]) -> Option<Plan> {
        let mut bucket = self
            .due(sstables)
            .into_iter()
            .min_by(|a, b| average(a).total_cmp(&average(b)))?;
        // The smallest of an overfull one.
        bucket.truncate(self.max_threshold.max(2));
        Plan::of(&bucket, 0, Outputs::One)
    }

    /// SSTables in buckets that are to be merged.
    pub fn waiting(&self, sstables: &[&SstableSummary]) -> usize {
        self.due(sstables).iter().map(Vec::len).sum()
    }

    fn due<'a>(&self, sstables: &[&'a SstableSummary]) -> Vec<Vec<&'a SstableSummary>> {
        let mut buckets = self.buckets(sstables);
        let enough = self.min_threshold.max(2);
        buckets.retain(|bucket| bucket.len() >= enough && is_worth_it(bucket, enough));
        buckets
    }

    fn buckets<'a>(&self, sstables: &[&'a SstableSummary]) -> Vec<Vec<&'a SstableSummary>> {
        let mut sorted = sstables.to_vec();
        sorted.sort_by_key(|sstable| (sstable.bytes, sstable.id));
        let mut buckets: Vec<Vec<&SstableSummary>> = Vec::new();
        for sstable in sorted {
            // Sizes ascend, so only the last bucket can still take one.
            match buckets
                .last_mut()
                .filter(|bucket| self.fits(bucket, sstable))
            {
                Some(bucket) => bucket.push(sstable),
                None => buckets.push(vec![sstable]),
            }
        }
        buckets
    }

    fn fits(&self, bucket: &[&SstableSummary], sstable: &SstableSummary) -> bool {
        let (average, size) = (average(bucket), sstable.bytes as f64);
        let similar = size > average * self.bucket_low && size < average * self.bucket_high;
        let both_small =
            size < self.min_sstable_size as f64 && average < self.min_sstable_size as f64;
        similar || both_small
    }
}

/// Whether a merge makes fewer of them, or so many lie over one another. What a merge has cut at the full size does neither, and would be merged for ever.
pub(super) fn is_worth_it(sstables: &[&SstableSummary], enough: usize) -> bool {
    let bytes: u64 = sstables.iter().map(|sstable| sstable.bytes).sum();
    bytes.div_ceil(SSTABLE_BYTES_MAX) < sstables.len() as u64 || overlap::depth(sstables) >= enough
}

fn average(bucket: &[&SstableSummary]) -> f64 {
    let total: f64 = bucket.iter().map(|sstable| sstable.bytes as f64).sum();
    total / bucket.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::super::strategy::tests::{MIB, sstable};
    use super::*;

    fn choose(sstables: &[SstableSummary]) -> Option<Vec<u64>> {
        let all: Vec<&SstableSummary> = sstables.iter().collect();
        SizeTiered::default().choose(&all).map(|plan| plan.sstables)
    }

    #[test]
    fn three_of_a_size_rest_and_the_fourth_merges_them() {
        let mut sstables: Vec<_> = (1..=3).map(|id| sstable(id, 100 * MIB)).collect();
        assert_eq!(choose(&sstables), None);
        sstables.push(sstable(4, 120 * MIB));
        assert_eq!(choose(&sstables), Some(vec![1, 2, 3, 4]));
    }

    #[test]
    fn small_sstables_share_one_bucket_whatever_their_size() {
        let sstables = [
            sstable(1, 1),
            sstable(2, 100),
            sstable(3, MIB),
            sstable(4, 49 * MIB),
        ];
        assert_eq!(choose(&sstables), Some(vec![1, 2, 3, 4]));
    }

    #[test]
    fn what_a_merge_has_cut_at_the_full_size_is_not_merged_again() {
        let beside = |id: u64, bytes| SstableSummary {
            tokens: (id as i64 * 1000, id as i64 * 1000 + 999),
            ..sstable(id, bytes)
        };
        let mut all: Vec<_> = (1..=3).map(|id| beside(id, SSTABLE_BYTES_MAX)).collect();
        all.push(beside(4, SSTABLE_BYTES_MAX - MIB));
        assert_eq!(choose(&all), None);
        all.iter_mut().for_each(|sstable| sstable.tokens = (0, 9));
        assert_eq!(choose(&all).map(|chosen| chosen.len()), Some(4));
    }

    #[test]
    fn sizes_far_apart_do_not_meet() {
        let sstables = [
            sstable(1, 100 * MIB),
            sstable(2, 200 * MIB),
            sstable(3, 400 * MIB),
            sstable(4, 800 * MIB),
        ];
        assert_eq!(choose(&sstables), None);
    }

    #[test]
    fn at_most_max_threshold_are_merged_at_once_and_the_cheapest_bucket_goes_first() {
        let mut sstables: Vec<_> = (1..=40).map(|id| sstable(id, 100 * MIB)).collect();
        sstables.extend((41..=44).map(|id| sstable(id, 1000 * MIB)));
        assert_eq!(choose(&sstables), Some((1..=32).collect::<Vec<u64>>()));
        let all: Vec<&SstableSummary> = sstables.iter().collect();
        assert_eq!(SizeTiered::default().waiting(&all), 44);
    }
}
