//! The rows of one partition, in order: neighbours lie together, a few kilobytes in one allocation.
//!
//! ```text
//! leaves      first │ from p1 │ from p2 │ ...      a leaf has the positions from its own bound to the next leaf's
//! leaf        clustering row │ clustering row │ clustering row │ ... room      as they came
//! places      start, lengths of both      one for each row, in order
//! ```
//!
//! A read of many rows goes through a leaf after the other: what costs is the first touch of a line, not the comparison. Most partitions have one leaf and no tree.
//! Rows that come in order fill their leaves, from whichever end; one that comes in between lies behind those that came before it, and only its place is between
//! theirs.
//!
//! What must hold: rows are zeroed when they are dropped, replaced or moved.

use std::borrow::Borrow;
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::ops::{Bound, Range};

use zeroize::Zeroize;

use crate::codec::compare;
use crate::read::EncodedRow;
use crate::wiped::Wiped;

/// A leaf of several rows has no more bytes once it was split: to look through them, or to move what lies behind one, takes well under a tenth of a microsecond.
const LEAF_BYTES: usize = 4 << 10;
/// Room of a leaf behind another, at first.
const LATER_LEAF_BYTES: usize = LEAF_BYTES / 4;
/// What the allocator adds to each allocation, about.
pub(super) const ALLOCATION_BYTES: usize = 16;
/// What a tree keeps for each leaf: half-filled nodes of bounds and leaves, and the allocations of all three.
const TREE_LEAF_BYTES: usize =
    2 * (size_of::<LowerBound>() + size_of::<Leaf>()) + 3 * ALLOCATION_BYTES;

/// The rows of a partition.
#[derive(Default)]
pub(super) struct Leaves {
    first: Leaf,
    /// By the position each begins with when it is made. Rows between two bounds are in the leaf of the lower one.
    later: BTreeMap<LowerBound, Leaf>,
    rows: usize,
    /// Of clusterings and rows.
    data_bytes: usize,
    /// Of memory.
    memory: usize,
}

/// A row where it lies: its clustering, and its encoded form behind it.
#[derive(Clone, Copy)]
pub(super) struct StoredRow<'a> {
    clustering_len: usize,
    bytes: &'a [u8],
}

/// Neighbours.
#[derive(Default)]
struct Leaf {
    bytes: Wiped<Vec<u8>>,
    places: Vec<Place>,
}

/// Where a row lies. A leaf is no longer than a few rows, and each came in one frame.
#[derive(Clone, Copy)]
struct Place {
    start: u32,
    clustering_len: u32,
    row_len: u32,
}

impl Place {
    fn span(&self) -> Range<usize> {
        let start = self.start as usize;
        start..start + self.clustering_len as usize + self.row_len as usize
    }
}

struct LowerBound(Wiped<Box<[u8]>>);

impl<'a> StoredRow<'a> {
    pub(super) fn clustering(self) -> &'a [u8] {
        &self.bytes[..self.clustering_len]
    }

    pub(super) fn row(self) -> &'a [u8] {
        &self.bytes[self.clustering_len..]
    }

    pub(super) fn encoded(self) -> EncodedRow<'a> {
        EncodedRow {
            clustering: self.clustering(),
            bytes: self.row(),
        }
    }

    /// The clustering and the row behind it, and how long the former is.
    pub(super) fn parts(self) -> (&'a [u8], usize) {
        (self.bytes, self.clustering_len)
    }
}

impl Leaves {
    /// How many rows.
    pub(super) fn len(&self) -> usize {
        self.rows
    }

    /// Bytes of clusterings and rows.
    pub(super) fn data_bytes(&self) -> usize {
        self.data_bytes
    }

    /// Bytes of memory that rows take, with what it takes to keep them.
    pub(super) fn memory(&self) -> usize {
        self.memory
    }

    /// The encoded row at a position.
    pub(super) fn get(&self, position: &[u8]) -> Option<&[u8]> {
        let later = self.later_leaf(position);
        let leaf = later.map_or(&self.first, |(_, leaf)| leaf);
        let index = leaf.find(position).ok()?;
        Some(leaf.at(index).row())
    }

    /// Puts a row at a position, in the place of the one that was there.
    pub(super) fn put(&mut self, position: &[u8], row: &[u8]) {
        let added = position.len() + row.len();
        let leaf = self.leaf_mut(position);
        let before = leaf.memory();
        let found = leaf.find(position);
        let replaced = found.map_or(0, |index| leaf.places[index].span().len());
        // A row that is alone may be as large as it likes.
        let others = leaf.places.len() - usize::from(found.is_ok());
        let fits = others == 0 || leaf.bytes.len() - replaced + added <= LEAF_BYTES;
        let mut next = None;
        match fits {
            true => leaf.put(found, position, row),
            // In order, most of them: the leaf stays as full as it is.
            false if found == Err(leaf.places.len()) => {
                next = Some((LowerBound::at(position), Leaf::of(position, row)));
            }
            false if found == Err(0) => {
                let later = std::mem::replace(leaf, Leaf::of(position, row));
                next = Some((LowerBound::at(later.at(0).clustering()), later));
            }
            false => {
                let (bound, mut later) = leaf.split();
                let own = match compare(position, bound.borrow()) {
                    Ordering::Less => &mut *leaf,
                    _ => &mut later,
                };
                own.put(own.find(position), position, row);
                next = Some((bound, later));
            }
        }
        let mut after = leaf.memory();
        if let Some((bound, later)) = next {
            after += later.memory() + bound.0.len() + TREE_LEAF_BYTES;
            self.later.insert(bound, later);
        }
        self.memory = self.memory + after - before;
        self.data_bytes = self.data_bytes + added - replaced;
        self.rows += usize::from(found.is_err());
    }

    /// Rows strictly between two positions, in order.
    pub(super) fn between<'a>(
        &'a self,
        start: &'a [u8],
        end: &'a [u8],
    ) -> impl DoubleEndedIterator<Item = StoredRow<'a>> {
        let is_something = compare(start, end).is_lt();
        let below = self.later_leaf(start).filter(|_| is_something);
        let first = (is_something && below.is_none()).then_some(&self.first);
        let from = below.map_or(Bound::Unbounded, |(bound, _)| {
            Bound::Included(bound.borrow())
        });
        // A tree refuses an empty range.
        let later = is_something.then(|| {
            self.later
                .range::<[u8], _>((from, Bound::Excluded(end)))
                .map(|(_, leaf)| leaf)
        });
        let leaves = first.into_iter().chain(later.into_iter().flatten());
        leaves.flat_map(move |leaf| leaf.between(start, end))
    }

    /// Every row, in order.
    pub(super) fn iter(&self) -> impl Iterator<Item = StoredRow<'_>> {
        let leaves = std::iter::once(&self.first).chain(self.later.values());
        leaves.flat_map(|leaf| (0..leaf.places.len()).map(move |index| leaf.at(index)))
    }

    /// The leaf that a position belongs to, with its bound; None: it is the first.
    fn later_leaf(&self, position: &[u8]) -> Option<(&LowerBound, &Leaf)> {
        if self.later.is_empty() {
            return None;
        }
        let up_to = (Bound::Unbounded, Bound::Included(position));
        self.later.range::<[u8], _>(up_to).next_back()
    }

    fn leaf_mut(&mut self, position: &[u8]) -> &mut Leaf {
        if self.later.is_empty() {
            return &mut self.first;
        }
        let up_to = (Bound::Unbounded, Bound::Included(position));
        let below = self.later.range_mut::<[u8], _>(up_to).next_back();
        below.map_or(&mut self.first, |(_, leaf)| leaf)
    }
}

impl Leaf {
    fn memory(&self) -> usize {
        self.bytes.capacity() + self.places.capacity() * size_of::<Place>()
    }

    /// A new one behind or before another, which others will follow.
    fn of(position: &[u8], row: &[u8]) -> Leaf {
        let mut leaf = Leaf::default();
        leaf.reserve((position.len() + row.len()).max(LATER_LEAF_BYTES));
        leaf.put(Err(0), position, row);
        leaf
    }

    fn at(&self, index: usize) -> StoredRow<'_> {
        let place = &self.places[index];
        StoredRow {
            clustering_len: place.clustering_len as usize,
            bytes: &self.bytes[place.span()],
        }
    }

    fn clustering(&self, place: &Place) -> &[u8] {
        let start = place.start as usize;
        &self.bytes[start..start + place.clustering_len as usize]
    }

    /// Where the row at a position is, or would be.
    fn find(&self, position: &[u8]) -> Result<usize, usize> {
        // Rows that come in order are looked for where the last one is, or the first.
        let [first, .., last] = &self.places[..] else {
            return self
                .places
                .binary_search_by(|place| compare(self.clustering(place), position));
        };
        if compare(self.clustering(last), position).is_lt() {
            return Err(self.places.len());
        }
        if compare(self.clustering(first), position).is_gt() {
            return Err(0);
        }
        self.places
            .binary_search_by(|place| compare(self.clustering(place), position))
    }

    /// The rows strictly between two positions.
    fn between<'a>(
        &'a self,
        start: &[u8],
        end: &[u8],
    ) -> impl DoubleEndedIterator<Item = StoredRow<'a>> {
        let first = self
            .places
            .partition_point(|place| compare(self.clustering(place), start).is_le());
        let rest = &self.places[first..];
        let last = match rest.last() {
            Some(last) if compare(self.clustering(last), end).is_lt() => rest.len(),
            _ => rest.partition_point(|place| compare(self.clustering(place), end).is_lt()),
        };
        (first..first + last).map(move |index| self.at(index))
    }

    /// Puts a row where it was found, or in between.
    fn put(&mut self, found: Result<usize, usize>, position: &[u8], row: &[u8]) {
        if let Ok(index) = found {
            let old = self.places[index].span();
            if old.len() == position.len() + row.len() {
                self.bytes[old][position.len()..].copy_from_slice(row);
                return;
            }
            self.take_out(old);
            self.places.remove(index);
        }
        let start = self.bytes.len();
        self.reserve(start + position.len() + row.len());
        self.bytes.extend_from_slice(position);
        self.bytes.extend_from_slice(row);
        let (Ok(index) | Err(index)) = found;
        let place = Place {
            start: start as u32,
            clustering_len: position.len() as u32,
            row_len: row.len() as u32,
        };
        self.places.insert(index, place);
    }

    /// Closes the gap that a row leaves.
    fn take_out(&mut self, span: Range<usize>) {
        let left = self.bytes.len() - span.len();
        self.bytes.copy_within(span.end.., span.start);
        self.bytes[left..].zeroize();
        self.bytes.truncate(left);
        for place in &mut self.places {
            if place.start as usize >= span.end {
                place.start -= span.len() as u32;
            }
        }
    }

    /// The upper half of several rows, by bytes, in a leaf of their own.
    fn split(&mut self) -> (LowerBound, Leaf) {
        let (half, mut below) = (self.bytes.len() / 2, 0);
        let is_upper = |place: &Place| {
            let is_upper = below >= half;
            below += place.span().len();
            is_upper
        };
        let middle = self.places.iter().position(is_upper);
        let last = self.places.len() - 1;
        let middle = middle.map_or(last, |middle| middle.min(last));
        let later = self.part(middle..self.places.len());
        *self = self.part(0..middle);
        (LowerBound::at(later.at(0).clustering()), later)
    }

    /// Some of the rows, in a leaf of their own.
    fn part(&self, rows: Range<usize>) -> Leaf {
        let mut leaf = Leaf::default();
        let bytes = self.places[rows.clone()].iter();
        leaf.reserve(bytes.map(|place| place.span().len()).sum());
        for (number, index) in rows.enumerate() {
            let row = self.at(index);
            leaf.put(Err(number), row.clustering(), row.row());
        }
        leaf
    }

    /// Room for so many bytes in all. What moves leaves zeros behind.
    fn reserve(&mut self, bytes: usize) {
        if bytes <= self.bytes.capacity() {
            return;
        }
        let room = bytes.next_power_of_two().min(LEAF_BYTES).max(bytes);
        let mut larger = Wiped::new(Vec::with_capacity(room));
        larger.extend_from_slice(&self.bytes);
        self.bytes = larger;
    }
}

impl LowerBound {
    fn at(position: &[u8]) -> Self {
        LowerBound(Wiped::new(Box::from(position)))
    }
}

impl Borrow<[u8]> for LowerBound {
    fn borrow(&self) -> &[u8] {
        &self.0
    }
}

impl PartialEq for LowerBound {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other).is_eq()
    }
}

impl Eq for LowerBound {}

impl Ord for LowerBound {
    fn cmp(&self, other: &Self) -> Ordering {
        compare(&self.0, &other.0)
    }
}

impl PartialOrd for LowerBound {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn position(number: u16) -> Vec<u8> {
        // Of several lengths, and some are the beginnings of others.
        let bytes = number.to_be_bytes();
        match number % 3 {
            0 => bytes[..1].to_vec(),
            _ => [&bytes[..], &[7; 20][..usize::from(number % 19)]].concat(),
        }
    }

    proptest! {
        #[test]
        fn rows_are_those_of_a_map(
            puts in proptest::collection::vec((0u16..2000, prop_oneof![0usize..700, 0usize..6000], any::<u8>()), 0..200),
            in_order in any::<bool>(),
            bounds in proptest::collection::vec((0u16..2000, 0u16..2000), 1..10),
        ) {
            let mut leaves = Leaves::default();
            let mut model: BTreeMap<Vec<u8>, Vec<u8>> = BTreeMap::new();
            let mut puts: Vec<_> = puts.into_iter().map(|(number, length, byte)| (position(number), vec![byte; length])).collect();
            if in_order {
                puts.sort();
            }
            for (position, row) in puts {
                leaves.put(&position, &row);
                model.insert(position, row);
            }
            prop_assert_eq!(leaves.len(), model.len());
            let bytes: usize = model.iter().map(|(position, row)| position.len() + row.len()).sum();
            prop_assert_eq!(leaves.data_bytes(), bytes);
            let mut memory = leaves.first.memory();
            for (bound, leaf) in &leaves.later {
                memory += leaf.memory() + bound.0.len() + TREE_LEAF_BYTES;
                prop_assert!(!leaf.places.is_empty() && compare(&bound.0, leaf.at(0).clustering()).is_le());
            }
            prop_assert_eq!(leaves.memory(), memory);
            let pair = |row: StoredRow<'_>| (row.clustering().to_vec(), row.row().to_vec());
            let wanted: Vec<_> = model.clone().into_iter().collect();
            prop_assert_eq!(leaves.iter().map(pair).collect::<Vec<_>>(), wanted);
            for (position, row) in &model {
                prop_assert_eq!(leaves.get(position), Some(&row[..]));
            }
            prop_assert_eq!(leaves.get(&[1, 2, 3, 4]), None);
            for (start, end) in bounds {
                for (start, end) in [(position(start), position(end)), (Vec::new(), position(end)), (position(start), vec![0xff; 3])] {
                    let inside = |key: &&Vec<u8>| start < **key && **key < end;
                    let wanted: Vec<Vec<u8>> = model.keys().filter(inside).cloned().collect();
                    let own = leaves.between(&start, &end).map(|row| row.clustering().to_vec());
                    prop_assert_eq!(own.collect::<Vec<_>>(), wanted.clone());
                    let reversed = leaves.between(&start, &end).rev().map(|row| row.clustering().to_vec());
                    prop_assert_eq!(reversed.collect::<Vec<_>>(), wanted.into_iter().rev().collect::<Vec<_>>());
                }
            }
        }
    }

    #[test]
    fn a_large_row_that_comes_before_a_large_one_has_a_leaf_of_its_own() {
        let mut leaves = Leaves::default();
        for position in [9, 3, 5, 1] {
            leaves.put(&[position], &[position; 3000]);
        }
        let positions = leaves.iter().map(|row| row.clustering()[0]);
        assert_eq!(positions.collect::<Vec<_>>(), [1, 3, 5, 9]);
        assert_eq!(leaves.get(&[3]), Some(&[3; 3000][..]));
    }

    #[test]
    fn rows_that_grow_leave_their_leaf() {
        let mut leaves = Leaves::default();
        for round in [10, 20_000] {
            for number in 0u32..300 {
                leaves.put(&number.to_be_bytes(), &vec![7; round]);
            }
        }
        let most = leaves.later.values().chain([&leaves.first]);
        let most = most.map(|leaf| leaf.bytes.len()).max();
        assert!(most < Some(50_000), "{most:?}");
        assert_eq!((leaves.len(), leaves.data_bytes()), (300, 300 * 20_004));
    }

    #[test]
    fn rows_that_come_in_order_fill_their_leaves() {
        let mut leaves = Leaves::default();
        for number in 0u32..4000 {
            leaves.put(&number.to_be_bytes(), &[1; 60]);
        }
        assert!(
            leaves.memory() < leaves.data_bytes() * 5 / 4,
            "{}",
            leaves.memory()
        );
    }
}
