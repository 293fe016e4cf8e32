//! Deletions of a partition, a row, a complex column or a range of rows.

use std::collections::BTreeMap;

use super::Clustering;
use crate::codec::compare;

/// Everything written at or before `timestamp` is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Deletion {
    /// Microseconds.
    pub timestamp: i64,
    /// Seconds: when it was made, so that it can be forgotten once everybody must have seen it.
    pub local_deletion_time: i64,
}

impl Deletion {
    /// What was written at `timestamp` is gone.
    #[inline]
    pub fn deletes(&self, timestamp: i64) -> bool {
        timestamp <= self.timestamp
    }

    /// `deletion` if it adds something to what `active` deletes already.
    #[inline]
    pub fn beyond(deletion: Option<Deletion>, active: Option<Deletion>) -> Option<Deletion> {
        deletion.filter(|own| active.is_none_or(|active| *own > active))
    }
}

/// The rows between two bounds, deleted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RangeTombstone {
    pub start: Clustering,
    pub end: Clustering,
    pub deletion: Deletion,
}

/// Range tombstones in order, none overlapping: where two met, the later deletion holds; neighbours with one deletion are joined.
/// So what a set of range tombstones says has one spelling, in whatever order they came.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RangeTombstoneList(Vec<RangeTombstone>);

impl RangeTombstoneList {
    /// No rows deleted.
    pub const fn new() -> Self {
        RangeTombstoneList(Vec::new())
    }

    /// The tombstones, in order.
    pub fn as_slice(&self) -> &[RangeTombstone] {
        &self.0
    }

    /// No rows deleted.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tombstones, in order, owned.
    pub fn into_vec(self) -> Vec<RangeTombstone> {
        self.0
    }

    /// Keeps only what `active` does not delete already.
    pub fn retain_beyond(&mut self, active: Deletion) {
        self.0.retain(|tombstone| tombstone.deletion > active);
    }

    /// The deletion that holds at a position, row or bound. At a bound where one starts or ends, it is the one that holds after it.
    pub fn covering(&self, position: &[u8]) -> Option<Deletion> {
        let tombstone = self.0.get(self.first_ending_after(position))?;
        compare(&tombstone.start.0, position)
            .is_le()
            .then_some(tombstone.deletion)
    }

    /// The deletion that holds just before a bound: where one starts or ends, the one before it.
    pub fn covering_before(&self, position: &[u8]) -> Option<Deletion> {
        let index = self
            .0
            .partition_point(|tombstone| compare(&tombstone.end.0, position).is_lt());
        let tombstone = self.0.get(index)?;
        compare(&tombstone.start.0, position)
            .is_lt()
            .then_some(tombstone.deletion)
    }

    /// Whether one of them touches a span, edges included.
    pub fn touch(&self, (start, end): &(Clustering, Clustering)) -> bool {
        let first = self.0.partition_point(|tombstone| tombstone.end < *start);
        let first = self.0.get(first);
        first.is_some_and(|tombstone| tombstone.start <= *end)
    }

    /// The index of the first tombstone that ends after a position.
    pub fn first_ending_after(&self, position: &[u8]) -> usize {
        self.0
            .partition_point(|tombstone| compare(&tombstone.end.0, position).is_le())
    }

    /// Adds one tombstone: it holds wherever no later deletion does.
    pub fn add(&mut self, new: RangeTombstone) {
        if new.start >= new.end {
            return;
        }
        // Neighbours that merely touch are taken along, so that equal ones join.
        let first = self.0.partition_point(|old| old.end < new.start);
        let last = first + self.0[first..].partition_point(|old| old.start <= new.end);
        let mut pieces = Pieces(Vec::with_capacity(2 * (last - first) + 1));
        let mut at = new.start.clone();
        for old in &self.0[first..last] {
            if old.start < at {
                pieces.push(&old.start, &at, old.deletion);
            } else {
                pieces.push(&at, &old.start, new.deletion);
                at = old.start.clone();
            }
            let both = (&old.end).min(&new.end);
            pieces.push(&at, both, old.deletion.max(new.deletion));
            pieces.push(&new.end, &old.end, old.deletion);
            at = both.clone().max(at);
        }
        pieces.push(&at, &new.end, new.deletion);
        self.0.splice(first..last, pieces.0);
    }
}

impl FromIterator<RangeTombstone> for RangeTombstoneList {
    /// In one sweep from the first bound to the last: added one by one, those that overlap would cost the square of their number.
    fn from_iter<I: IntoIterator<Item = RangeTombstone>>(tombstones: I) -> Self {
        let tombstones = tombstones.into_iter();
        let all: Vec<_> = tombstones.filter(|new| new.start < new.end).collect();
        if all.len() < 2 {
            return RangeTombstoneList(all);
        }
        let mut bounds: Vec<(&Clustering, bool, Deletion)> = Vec::with_capacity(2 * all.len());
        for tombstone in &all {
            bounds.push((&tombstone.start, true, tombstone.deletion));
            bounds.push((&tombstone.end, false, tombstone.deletion));
        }
        bounds.sort_unstable();
        let mut pieces = Pieces(Vec::with_capacity(all.len()));
        // How many of each hold here. Ends come before starts at one place, so one that ends began before it.
        let mut holding: BTreeMap<Deletion, usize> = BTreeMap::new();
        let mut from = bounds[0].0;
        for (at, starts, deletion) in bounds {
            if let Some((latest, _)) = holding.last_key_value() {
                pieces.push(from, at, *latest);
            }
            from = at;
            let times = holding.entry(deletion).or_default();
            match starts {
                true => *times += 1,
                false if *times > 1 => *times -= 1,
                false => drop(holding.remove(&deletion)),
            }
        }
        RangeTombstoneList(pieces.0)
    }
}

/// Stretches of one deletion each, in order.
struct Pieces(Vec<RangeTombstone>);

impl Pieces {
    fn push(&mut self, start: &Clustering, end: &Clustering, deletion: Deletion) {
        if start >= end {
            return;
        }
        match self.0.last_mut() {
            Some(last) if last.end == *start && last.deletion == deletion => last.end = end.clone(),
            _ => self.0.push(RangeTombstone {
                start: start.clone(),
                end: end.clone(),
                deletion,
            }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;
    use proptest::prelude::*;

    fn tombstone(start: u8, end: u8, timestamp: i64) -> RangeTombstone {
        RangeTombstone {
            start: Clustering(Bytes::copy_from_slice(&[start])),
            end: Clustering(Bytes::copy_from_slice(&[end])),
            deletion: Deletion {
                timestamp,
                local_deletion_time: 0,
            },
        }
    }

    proptest! {
        #[test]
        fn the_latest_deletion_holds_at_every_position(
            ranges in prop::collection::vec((0u8..40, 0u8..40, 1i64..5), 0..20)
        ) {
            let list: RangeTombstoneList = ranges.iter().map(|&(s, e, t)| tombstone(s, e, t)).collect();
            for position in 0u8..40 {
                // Positions between the bounds: a row just after the bound `position`.
                let row = [position, 1];
                let expected = ranges
                    .iter()
                    .filter(|(s, e, _)| [*s].as_slice() < &row[..] && &row[..] < [*e].as_slice())
                    .map(|(_, _, t)| *t)
                    .max();
                prop_assert_eq!(list.covering(&row).map(|d| d.timestamp), expected);
            }
            for pair in list.as_slice().windows(2) {
                prop_assert!(pair[0].end <= pair[1].start);
                prop_assert!(pair[0].end < pair[1].start || pair[0].deletion != pair[1].deletion);
            }
            let backwards: RangeTombstoneList = ranges.iter().rev().map(|&(s, e, t)| tombstone(s, e, t)).collect();
            prop_assert_eq!(&list, &backwards);
            let mut one_by_one = RangeTombstoneList::new();
            ranges.iter().for_each(|&(s, e, t)| one_by_one.add(tombstone(s, e, t)));
            prop_assert_eq!(list, one_by_one);
        }
    }
}
