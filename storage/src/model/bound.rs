//! Ranges of partitions, and slices of rows inside one.

use super::{Clustering, PartitionKey, Token};
use crate::codec::compare;
use std::cmp::Ordering;
use std::sync::{Arc, LazyLock};

/// A place between partitions.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PartitionBound {
    /// Before every partition with this token.
    BeforeToken(Token),
    /// After every partition with this token.
    AfterToken(Token),
    /// Just before this partition.
    Before(PartitionKey),
    /// Just after this partition.
    After(PartitionKey),
}

impl PartitionBound {
    /// Before every partition.
    pub const MIN: PartitionBound = PartitionBound::BeforeToken(Token(i64::MIN));
    /// After every partition.
    pub const MAX: PartitionBound = PartitionBound::AfterToken(Token(i64::MAX));

    /// The token the place is at.
    pub fn token(&self) -> Token {
        match self {
            PartitionBound::BeforeToken(token) | PartitionBound::AfterToken(token) => *token,
            PartitionBound::Before(key) | PartitionBound::After(key) => key.token(),
        }
    }

    /// The partition lies before this place.
    pub fn is_after(&self, token: Token, key: &[u8]) -> bool {
        match self.token().cmp(&token) {
            Ordering::Less => false,
            Ordering::Greater => true,
            Ordering::Equal => match self {
                PartitionBound::BeforeToken(_) => false,
                PartitionBound::AfterToken(_) => true,
                PartitionBound::Before(own) => key < own.bytes(),
                PartitionBound::After(own) => key <= own.bytes(),
            },
        }
    }

    /// The partition lies before this place.
    pub fn is_after_key(&self, key: &PartitionKey) -> bool {
        self.is_after(key.token(), key.bytes())
    }
}

impl Ord for PartitionBound {
    fn cmp(&self, other: &Self) -> Ordering {
        // At one token: before all of them, then by key with its before and after, then after all of them.
        fn place(bound: &PartitionBound) -> (u8, &[u8], u8) {
            match bound {
                PartitionBound::BeforeToken(_) => (0, &[], 0),
                PartitionBound::Before(key) => (1, key.bytes(), 0),
                PartitionBound::After(key) => (1, key.bytes(), 1),
                PartitionBound::AfterToken(_) => (2, &[], 0),
            }
        }
        self.token()
            .cmp(&other.token())
            .then_with(|| place(self).cmp(&place(other)))
    }
}

impl PartialOrd for PartitionBound {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// Which partitions a read wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum KeyRange {
    /// A single partition.
    One(PartitionKey),
    /// Every partition between two places.
    Range {
        start: PartitionBound,
        end: PartitionBound,
    },
}

impl KeyRange {
    /// Every partition there is.
    pub fn all() -> KeyRange {
        KeyRange::Range {
            start: PartitionBound::MIN,
            end: PartitionBound::MAX,
        }
    }

    /// The place where the range starts.
    pub fn start(&self) -> PartitionBound {
        match self {
            KeyRange::One(key) => PartitionBound::Before(key.clone()),
            KeyRange::Range { start, .. } => start.clone(),
        }
    }

    /// The partition lies past the end of the range.
    pub fn ends_before(&self, key: &PartitionKey) -> bool {
        match self {
            KeyRange::One(own) => key > own,
            KeyRange::Range { end, .. } => !end.is_after_key(key),
        }
    }
}

/// The rows a read wants inside a partition: sorted slices that share nothing, each `start < row < end`. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Slices {
    /// None: the whole partition, as most reads want it. To share one stretch of it would be to count its readers, from every core.
    stretches: Option<Arc<[(Clustering, Clustering)]>>,
    /// The only position that can be inside, where whoever made the slices knows that there is one.
    only_row: Option<Clustering>,
}

impl Slices {
    /// The whole partition.
    pub fn all() -> Slices {
        Slices {
            stretches: None,
            only_row: None,
        }
    }

    fn of(stretches: Arc<[(Clustering, Clustering)]>) -> Slices {
        Slices {
            stretches: Some(stretches),
            only_row: None,
        }
    }

    /// The whole partition of a table without clustering columns: it has one row.
    pub fn single() -> Slices {
        Slices {
            only_row: Some(Clustering::SINGLE),
            ..Slices::all()
        }
    }

    /// One row, and the slice around it.
    pub fn row(start: Clustering, position: Clustering, end: Clustering) -> Slices {
        debug_assert!(start < position && position < end);
        Slices {
            only_row: Some(position),
            ..Slices::one(start, end)
        }
    }

    /// The position of the only row that is wanted, if the slices were made for one.
    pub fn only_row(&self) -> Option<&Clustering> {
        self.only_row.as_ref()
    }

    /// No row: for reads of static columns alone.
    pub fn none() -> Slices {
        static NONE: LazyLock<Slices> = LazyLock::new(|| Slices::of(Arc::new([])));
        NONE.clone()
    }

    /// One slice; nothing if it is empty.
    pub fn one(start: Clustering, end: Clustering) -> Slices {
        if start == Clustering::MIN && end == Clustering::max() {
            Slices::all()
        } else if start < end {
            Slices::of(Arc::new([(start, end)]))
        } else {
            Slices::none()
        }
    }

    /// Any slices, in any order: sorted, and joined where they overlap.
    pub fn new(mut slices: Vec<(Clustering, Clustering)>) -> Slices {
        slices.retain(|(start, end)| start < end);
        slices.sort();
        let mut joined: Vec<(Clustering, Clustering)> = Vec::with_capacity(slices.len());
        for (start, end) in slices {
            match joined.last_mut() {
                Some(last) if start < last.1 => {
                    if last.1 < end {
                        last.1 = end;
                    }
                }
                _ => joined.push((start, end)),
            }
        }
        match joined.as_slice() {
            [(start, end)] => Slices::one(start.clone(), end.clone()),
            _ => Slices::of(joined.into()),
        }
    }

    /// The slices, in order.
    pub fn as_slice(&self) -> &[(Clustering, Clustering)] {
        static WHOLE: LazyLock<[(Clustering, Clustering); 1]> =
            LazyLock::new(|| [(Clustering::MIN, Clustering::max())]);
        match &self.stretches {
            Some(stretches) => stretches,
            None => &*WHOLE,
        }
    }

    /// No row can be inside.
    pub fn is_empty(&self) -> bool {
        self.as_slice().is_empty()
    }

    /// The row at this position is wanted.
    pub fn contains(&self, position: &[u8]) -> bool {
        let stretches = self.as_slice();
        let index = stretches.partition_point(|(_, end)| compare(&end.0, position).is_le());
        stretches
            .get(index)
            .is_some_and(|(start, _)| compare(&start.0, position).is_lt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn at(byte: u8) -> Clustering {
        Clustering(Bytes::copy_from_slice(&[byte]))
    }

    #[test]
    fn bounds_surround_their_partitions() {
        let (a, b) = (
            PartitionKey::new(Token(1), "a"),
            PartitionKey::new(Token(1), "b"),
        );
        let order = [
            PartitionBound::MIN,
            PartitionBound::BeforeToken(Token(1)),
            PartitionBound::Before(a.clone()),
            PartitionBound::After(a.clone()),
            PartitionBound::Before(b.clone()),
            PartitionBound::After(b),
            PartitionBound::AfterToken(Token(1)),
            PartitionBound::MAX,
        ];
        assert!(order.is_sorted_by(|a, b| a < b));
        assert!(!order[2].is_after_key(&a));
        assert!(order[3].is_after_key(&a));
        assert!(order[4].is_after_key(&a));
    }

    #[test]
    fn slices_are_sorted_and_joined() {
        let slices = Slices::new(vec![
            (at(5), at(9)),
            (at(1), at(3)),
            (at(2), at(4)),
            (at(7), at(7)),
        ]);
        assert_eq!(slices.as_slice(), [(at(1), at(4)), (at(5), at(9))]);
        assert!(slices.contains(&[3]));
        assert!(!slices.contains(&[4, 1]));
        assert!(!slices.contains(&[5]), "a slice's start is not inside");
        assert!(slices.contains(&[5, 1]));
    }
}
