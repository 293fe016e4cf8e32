//! Zipf's distribution, as YCSB draws it: few rows are asked for often (Gray and others, "Quickly generating billion-record synthetic databases").

use crate::chance::{Chance, mix};

/// YCSB's own constant.
const THETA: f64 = 0.99;

/// Draws from `0..items`.
pub(super) struct Zipf {
    items: u64,
    zeta: f64,
    zeta_of_two: f64,
    eta: f64,
}

impl Zipf {
    /// Takes a moment for many items: it adds up a term for each.
    pub(super) fn new(items: u64) -> Zipf {
        let zeta = |count: u64| {
            (1..=count)
                .map(|rank| (rank as f64).powf(-THETA))
                .sum::<f64>()
        };
        let (zeta_of_two, zeta_of_all) = (zeta(2), zeta(items));
        let eta =
            (1.0 - (2.0 / items as f64).powf(1.0 - THETA)) / (1.0 - zeta_of_two / zeta_of_all);
        Zipf {
            items,
            zeta: zeta_of_all,
            zeta_of_two,
            eta,
        }
    }

    /// A rank: 0 is the most frequent one.
    pub(super) fn rank(&self, chance: &mut Chance) -> u64 {
        let uniform = (chance.number() >> 11) as f64 / (1_u64 << 53) as f64;
        let share = uniform * self.zeta;
        if share < 1.0 {
            return 0;
        }
        if share < self.zeta_of_two {
            return 1.min(self.items - 1);
        }
        let power = (self.eta * uniform - self.eta + 1.0).powf(1.0 / (1.0 - THETA));
        ((self.items as f64 * power) as u64).min(self.items - 1)
    }

    /// A row: ranks spread over all rows, so that neighbours are not all hot.
    pub(super) fn row(&self, chance: &mut Chance) -> u64 {
        mix(self.rank(chance)) % self.items
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rank_is_drawn_as_often_as_zipf_says() {
        let (zipf, mut chance) = (Zipf::new(1_000), Chance::new(7));
        let mut counts = vec![0_u32; 1_000];
        for _ in 0..100_000 {
            counts[zipf.rank(&mut chance) as usize] += 1;
        }
        let expected = 100_000.0 / zipf.zeta;
        assert!((f64::from(counts[0]) - expected).abs() < expected * 0.05);
        assert!(counts[0] > counts[9] && counts[9] > counts[999]);
    }

    #[test]
    fn one_item_is_all_that_can_be_drawn() {
        let (zipf, mut chance) = (Zipf::new(1), Chance::new(7));
        assert!((0..100).all(|_| zipf.row(&mut chance) == 0));
    }
}
