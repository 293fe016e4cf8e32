//! Size-tiered compaction: SSTables of similar size are merged once enough of them are there.
//!
//! The rules, options and defaults are Cassandra's `SizeTieredCompactionStrategy`: SSTables are put in buckets by size; a bucket
//! takes a table whose size lies between `bucket_low` and `bucket_high` times the bucket's average, and all that are smaller than
//! `min_sstable_size` share one bucket. A bucket with `min_threshold` members is merged, at most `max_threshold` at a time, the
//! bucket with the smallest average first: it costs least and frees most reads. When nothing is to be merged, one SSTable that is
//! mostly old tombstones may be rewritten alone.
//!
//! Choosing is pure: the same summaries give the same choice.

use super::strategy::{Choice, SstableSummary};

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
    /// Share of droppable tombstones above which one SSTable is rewritten alone.
    pub tombstone_threshold: f64,
    /// Seconds an SSTable must have existed before that happens, so that hopeless rewrites are rare.
    pub tombstone_compaction_interval: i64,
}

impl Default for SizeTiered {
    fn default() -> Self {
        SizeTiered {
            min_threshold: 4,
            max_threshold: 32,
            bucket_low: 0.5,
            bucket_high: 1.5,
            min_sstable_size: 50 << 20,
            tombstone_threshold: 0.2,
            tombstone_compaction_interval: 86_400,
        }
    }
}

impl SizeTiered {
    /// What to merge now, if anything.
    pub fn choose(&self, sstables: &[SstableSummary], gc_grace_seconds: i64, now: i64) -> Choice {
        let bucket = self
            .buckets(sstables)
            .into_iter()
            .map(|bucket| self.trimmed(bucket))
            .filter(|bucket| bucket.len() >= self.min_threshold.max(2))
            .min_by(|a, b| average(a).total_cmp(&average(b)));
        match bucket {
            Some(bucket) => Choice::Merge(bucket.iter().map(|sstable| sstable.id).collect()),
            None => self.choose_for_tombstones(sstables, gc_grace_seconds, now),
        }
    }

    /// Merges that are due but not chosen yet: how far compaction is behind.
    pub fn pending(&self, sstables: &[SstableSummary]) -> usize {
        self.buckets(sstables)
            .iter()
            .filter(|bucket| bucket.len() >= self.min_threshold.max(2))
            .map(|bucket| bucket.len().div_ceil(self.max_threshold.max(2)))
            .sum()
    }

    fn buckets<'a>(&self, sstables: &'a [SstableSummary]) -> Vec<Vec<&'a SstableSummary>> {
        let mut sorted: Vec<&SstableSummary> = sstables.iter().collect();
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

    /// The smallest of an overfull bucket.
    fn trimmed<'a>(&self, mut bucket: Vec<&'a SstableSummary>) -> Vec<&'a SstableSummary> {
        bucket.truncate(self.max_threshold.max(2));
        bucket
    }

    fn choose_for_tombstones(
        &self,
        sstables: &[SstableSummary],
        gc_grace_seconds: i64,
        now: i64,
    ) -> Choice {
        let gc_before = now.saturating_sub(gc_grace_seconds);
        let is_old = |sstable: &SstableSummary| {
            now.saturating_sub(sstable.created_at) > self.tombstone_compaction_interval
        };
        sstables
            .iter()
            .filter(|sstable| is_old(sstable))
            .map(|sstable| (sstable.droppable_ratio(gc_before), sstable.id))
            .filter(|(ratio, _)| *ratio > self.tombstone_threshold)
            .max_by(|a, b| a.0.total_cmp(&b.0).then(b.1.cmp(&a.1)))
            .map_or(Choice::Rest, |(_, id)| Choice::Merge(vec![id]))
    }
}

fn average(bucket: &[&SstableSummary]) -> f64 {
    let total: f64 = bucket.iter().map(|sstable| sstable.bytes as f64).sum();
    total / bucket.len().max(1) as f64
}
