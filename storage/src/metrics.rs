//! Counts and histograms as plain atomics, owned by what they measure; whoever shows them reads them.
//!
//! A [`Histogram`] has a bucket for each number below 8 and four for each doubling after that, so what it tells is right within a quarter. Adding is one
//! look at the largest and three relaxed additions to two cache lines: cheap for a group, a batch or a call to a key service, too much for each
//! request of many. Those are gathered first, where they are answered, and added together ([`Histogram::add_many`]).
//!
//! What must hold: nothing here takes a lock or waits, and nothing allocates after it was made.

use std::sync::atomic::{AtomicU64, Ordering};

/// Up to 2^40: 18 minutes of nanoseconds, a tebibyte.
pub const BUCKETS: usize = 8 + (40 - 3) * 4;

/// How often which number came.
#[derive(Debug)]
pub struct Histogram {
    sum: AtomicU64,
    largest: AtomicU64,
    count: AtomicU64,
    counts: [AtomicU64; BUCKETS],
}

/// A histogram at one moment, or several added up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Distribution {
    pub counts: [u64; BUCKETS],
    pub sum: u64,
    pub largest: u64,
}

impl Default for Histogram {
    fn default() -> Self {
        Histogram {
            sum: AtomicU64::new(0),
            largest: AtomicU64::new(0),
            count: AtomicU64::new(0),
            counts: std::array::from_fn(|_| AtomicU64::new(0)),
        }
    }
}

impl Default for Distribution {
    fn default() -> Self {
        Distribution {
            counts: [0; BUCKETS],
            sum: 0,
            largest: 0,
        }
    }
}

/// Where a number is counted.
#[inline]
pub fn bucket(number: u64) -> usize {
    if number < 8 {
        return number as usize;
    }
    let doublings = number.ilog2() as usize;
    let quarter = (number >> (doublings - 2)) as usize & 3;
    (8 + (doublings - 3) * 4 + quarter).min(BUCKETS - 1)
}

/// The largest number that is counted there.
pub fn ceiling(bucket: usize) -> u64 {
    if bucket < 8 {
        return bucket as u64;
    }
    let (doublings, quarter) = ((bucket - 8) / 4 + 3, (bucket - 8) % 4);
    ((quarter as u64 + 5) << (doublings - 2)) - 1
}

impl Histogram {
    /// Counts a number.
    #[inline]
    pub fn add(&self, number: u64) {
        self.add_many(number, 1);
    }

    /// Counts a number that came so many times.
    #[inline]
    pub fn add_many(&self, number: u64, times: u64) {
        self.counts[bucket(number)].fetch_add(times, Ordering::Relaxed);
        let sum = number.wrapping_mul(times);
        self.sum.fetch_add(sum, Ordering::Relaxed);
        self.count.fetch_add(times, Ordering::Relaxed);
        if number > self.largest.load(Ordering::Relaxed) {
            self.largest.fetch_max(number, Ordering::Relaxed);
        }
    }

    /// How many numbers, without looking at the buckets.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// What was counted up to now.
    pub fn distribution(&self) -> Distribution {
        Distribution {
            counts: std::array::from_fn(|place| self.counts[place].load(Ordering::Relaxed)),
            sum: self.sum.load(Ordering::Relaxed),
            largest: self.largest.load(Ordering::Relaxed),
        }
    }
}

impl Distribution {
    /// How many numbers.
    pub fn count(&self) -> u64 {
        self.counts.iter().sum()
    }

    /// Adds another one's numbers.
    pub fn merge(&mut self, other: &Distribution) {
        for (own, more) in self.counts.iter_mut().zip(&other.counts) {
            *own += more;
        }
        self.sum = self.sum.wrapping_add(other.sum);
        self.largest = self.largest.max(other.largest);
    }

    /// What so many of a thousand numbers did not exceed, within a quarter and never above the largest; 0 if there are none.
    pub fn permille(&self, permille: u64) -> u64 {
        let wanted = (self.count() * permille).div_ceil(1_000);
        let mut seen = 0;
        for (place, count) in self.counts.iter().enumerate() {
            seen += count;
            if seen >= wanted && seen > 0 {
                return ceiling(place).min(self.largest);
            }
        }
        0
    }

    /// How many numbers were at most this, for each of these bounds in ascending order: a number counts for a bound if its whole bucket does.
    pub fn up_to<const N: usize>(&self, bounds: &[u64; N]) -> [u64; N] {
        let mut place = 0;
        let mut seen = 0;
        bounds.map(|bound| {
            while place < BUCKETS && ceiling(place) <= bound {
                seen += self.counts[place];
                place += 1;
            }
            seen
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_is_told_within_a_quarter() {
        for number in [
            0u64,
            1,
            7,
            8,
            9,
            15,
            16,
            100,
            999,
            20_000,
            2_000_000,
            1 << 39,
        ] {
            let told = ceiling(bucket(number));
            assert!(
                told >= number && told <= number + number / 4 + 1,
                "{number} is told as {told}"
            );
        }
        assert_eq!(bucket(u64::MAX), BUCKETS - 1);
        assert_eq!(ceiling(BUCKETS - 1), (1 << 40) - 1);
    }

    #[test]
    fn each_bucket_begins_where_the_last_one_ends() {
        for place in 1..BUCKETS {
            assert_eq!(bucket(ceiling(place - 1) + 1), place);
            assert_eq!(bucket(ceiling(place)), place);
        }
    }

    #[test]
    fn percentiles_bounds_and_sums_are_those_of_what_was_added() {
        let histogram = Histogram::default();
        (1..=1_000).for_each(|number| histogram.add(number));
        histogram.add_many(5_000, 10);
        let told = histogram.distribution();
        assert_eq!(told.count(), 1_010);
        assert_eq!(told.sum, 500_500 + 50_000);
        assert_eq!(told.largest, 5_000);
        assert!((500..=640).contains(&told.permille(500)));
        assert_eq!(told.permille(1_000), 5_000);
        let up_to = told.up_to(&[0, 7, 1_023, 4_095, 8_191]);
        assert_eq!(up_to, [0, 7, 1_000, 1_000, 1_010]);
        assert_eq!(Distribution::default().permille(990), 0);
    }
}
