//! How SSTables lie over one another on the token line.
//!
//! Pure, and every answer costs a sort: nothing here looks at each pair.

use super::strategy::SstableSummary;

/// Tokens there are.
const TOKENS: f64 = 18_446_744_073_709_551_616.0;

/// The most SSTables that one token lies in: what a read of a partition may have to look into.
pub fn depth(sstables: &[&SstableSummary]) -> usize {
    deepest(sstables).map_or(0, |(_, depth)| depth)
}

/// A token that lies in the most SSTables, and in how many.
pub fn deepest(sstables: &[&SstableSummary]) -> Option<(i64, usize)> {
    let mut firsts: Vec<i64> = sstables.iter().map(|sstable| sstable.tokens.0).collect();
    let mut lasts: Vec<i64> = sstables.iter().map(|sstable| sstable.tokens.1).collect();
    firsts.sort_unstable();
    lasts.sort_unstable();
    let mut ended = 0;
    let mut best: Option<(i64, usize)> = None;
    for (begun, first) in firsts.iter().enumerate() {
        // Both ends belong to an SSTable.
        while lasts[ended] < *first {
            ended += 1;
        }
        let depth = begun + 1 - ended;
        if best.is_none_or(|(_, most)| depth > most) {
            best = Some((*first, depth));
        }
    }
    best
}

/// SSTables that lie over one another, directly or by way of others, in the order of their tokens.
pub fn components<'a>(sstables: &[&'a SstableSummary]) -> Vec<Vec<&'a SstableSummary>> {
    let mut sorted = sstables.to_vec();
    sorted.sort_by_key(|sstable| (sstable.tokens, sstable.id));
    let mut components: Vec<Vec<&SstableSummary>> = Vec::new();
    let mut end = i64::MIN;
    for sstable in sorted {
        match components.last_mut() {
            Some(component) if sstable.tokens.0 <= end => component.push(sstable),
            _ => components.push(vec![sstable]),
        }
        end = end.max(sstable.tokens.1);
    }
    components
}

/// From the first token to the last of several SSTables.
pub fn span(sstables: &[&SstableSummary]) -> (i64, i64) {
    let first = sstables.iter().map(|sstable| sstable.tokens.0).min();
    let last = sstables.iter().map(|sstable| sstable.tokens.1).max();
    (first.unwrap_or(i64::MIN), last.unwrap_or(i64::MAX))
}

/// The share of all tokens between two, both included.
pub fn share((first, last): (i64, i64)) -> f64 {
    ((i128::from(last) - i128::from(first)).max(0) + 1) as f64 / TOKENS
}

#[cfg(test)]
mod tests {
    use super::super::strategy::tests::sstable;
    use super::*;

    fn over(id: u64, first: i64, last: i64) -> SstableSummary {
        SstableSummary {
            tokens: (first, last),
            ..sstable(id, 1)
        }
    }

    #[test]
    fn the_depth_is_the_most_over_one_token_both_ends_included() {
        let all = [
            over(1, 0, 10),
            over(2, 10, 20),
            over(3, 12, 14),
            over(4, 15, 30),
        ];
        let all: Vec<&SstableSummary> = all.iter().collect();
        assert_eq!(depth(&all), 2);
        assert_eq!(deepest(&all), Some((10, 2)));
        assert_eq!(depth(&all[..1]), 1);
        assert_eq!(depth(&[]), 0);
    }

    #[test]
    fn components_are_connected_and_apart_from_one_another() {
        let all = [
            over(1, 5, 9),
            over(2, 0, 5),
            over(3, 20, 30),
            over(4, 9, 12),
        ];
        let all: Vec<&SstableSummary> = all.iter().collect();
        let ids: Vec<Vec<u64>> = components(&all)
            .iter()
            .map(|component| component.iter().map(|sstable| sstable.id).collect())
            .collect();
        assert_eq!(ids, [vec![2, 1, 4], vec![3]]);
    }

    #[test]
    fn shares_of_the_ring_add_up() {
        assert_eq!(share((i64::MIN, i64::MAX)), 1.0);
        assert_eq!(share((i64::MIN, -1)), 0.5);
        assert!(share((7, 7)) > 0.0);
    }
}
