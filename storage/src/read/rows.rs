//! The rows of one partition in a page, close together.
//!
//! A row that is shown as it is kept is copied once, position and all, behind the one before it: no count of shared owners is touched for it, and whoever shows it
//! reads bytes that were written just now. What had to be taken apart stays apart.

use std::ops::Range;

use bytes::Bytes;
use smallvec::SmallVec;

use super::ReadRow;
use super::row::{EncodedRow, RowRef};
use crate::Result;
use crate::model::{Clustering, Row};

/// Rows whose places are kept without an allocation.
const PLACES_AT_HAND: usize = 2;
/// Set aside for rows that are wanted beside the first, at most.
const ROOM_BYTES_MAX: usize = 4 << 10;
/// The same of their places.
const ROOM_PLACES_MAX: usize = 64;
/// By this much at most rows grow to more than twice their size.
const GROWTH_BYTES_MAX: usize = 64 << 10;

/// Rows in the order of a read.
#[derive(Default, Clone)]
pub struct ReadRows {
    places: SmallVec<[Place; PLACES_AT_HAND]>,
    /// Positions and encoded rows, one after the other.
    bytes: Vec<u8>,
    decoded: Vec<Row>,
}

#[derive(Clone, Copy)]
enum Place {
    /// From there on in the bytes: so many of the position, then so many of the row.
    Encoded {
        start: usize,
        clustering: u32,
        row: usize,
    },
    Decoded(u32),
}

impl ReadRows {
    /// How many there are.
    pub fn len(&self) -> usize {
        self.places.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.places.is_empty()
    }

    /// Bytes of those that are as they are kept, positions and all.
    pub fn encoded_bytes(&self) -> usize {
        self.bytes.len()
    }

    /// The rows, where they are.
    pub fn iter(&self) -> impl Iterator<Item = RowRef<'_>> {
        self.places.iter().map(|place| self.at(*place))
    }

    /// The one that was added last.
    pub fn last(&self) -> Option<RowRef<'_>> {
        self.places.last().map(|place| self.at(*place))
    }

    /// Forgets those behind the first `most`.
    pub fn truncate(&mut self, most: usize) {
        self.places.truncate(most);
    }

    fn at(&self, place: Place) -> RowRef<'_> {
        match place {
            Place::Decoded(index) => RowRef::Decoded(&self.decoded[index as usize]),
            Place::Encoded {
                start,
                clustering,
                row,
            } => {
                let (position, rest) = self.bytes[start..].split_at(clustering as usize);
                RowRef::Encoded(EncodedRow {
                    clustering: position,
                    bytes: &rest[..row],
                })
            }
        }
    }

    /// Adds a row.
    pub fn push(&mut self, row: ReadRow) {
        match row {
            ReadRow::Encoded { clustering, bytes } => self.push_encoded(EncodedRow {
                clustering: &clustering.0,
                bytes: &bytes,
            }),
            ReadRow::Decoded(row) => {
                self.places.push(Place::Decoded(self.decoded.len() as u32));
                if self.decoded.capacity() == 0 {
                    // Most often it stays the only one.
                    self.decoded.reserve_exact(1);
                }
                self.decoded.push(row);
            }
        }
    }

    /// Adds a row as it is kept.
    pub fn push_encoded(&mut self, row: EncodedRow<'_>) {
        // A position is made of one request's values, which a frame bounds far below 4 GiB.
        self.places.push(Place::Encoded {
            start: self.bytes.len(),
            clustering: row.clustering.len() as u32,
            row: row.bytes.len(),
        });
        let more = row.clustering.len() + row.bytes.len();
        let (length, room) = (self.bytes.len(), self.bytes.capacity());
        if room - length < more {
            // Most often the first stays the only one. What is moved is wiped where it was: many rows are moved once.
            self.bytes.reserve_exact(more.max(growth(length)));
        }
        self.bytes.extend_from_slice(row.clustering);
        self.bytes.extend_from_slice(row.bytes);
    }

    /// Sets room aside for so many more rows like this one.
    pub(super) fn reserve_for(&mut self, row: EncodedRow<'_>, rows: usize) {
        let one = row.clustering.len() + row.bytes.len();
        let room = one.saturating_mul(rows).min(ROOM_BYTES_MAX);
        self.bytes.reserve_exact(one.max(room));
        self.places.reserve(rows.min(ROOM_PLACES_MAX));
    }

    /// All of them taken apart; their values share one buffer.
    pub fn into_rows(self) -> impl Iterator<Item = Result<Row>> {
        let bytes = Bytes::from(self.bytes);
        let mut decoded = self.decoded.into_iter();
        self.places
            .into_iter()
            .filter_map(move |place| match place {
                Place::Decoded(_) => decoded.next().map(Ok),
                Place::Encoded {
                    start,
                    clustering,
                    row,
                } => {
                    let middle = start + clustering as usize;
                    let part = |range: Range<usize>| bytes.slice(range);
                    let position = match &bytes[start..middle] {
                        [0x80] => Clustering::SINGLE,
                        _ => Clustering(part(start..middle)),
                    };
                    Some(Row::decode(position, part(middle..middle + row)))
                }
            })
    }
}

/// By how much rows of so many bytes grow: to four times, and from a size on to twice.
fn growth(length: usize) -> usize {
    length.max((3 * length).min(GROWTH_BYTES_MAX))
}

impl FromIterator<Row> for ReadRows {
    fn from_iter<I: IntoIterator<Item = Row>>(rows: I) -> Self {
        let mut all = ReadRows::default();
        for row in rows {
            all.push(row.into());
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::testing;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn rows_come_out_as_they_went_in(rows in proptest::collection::vec((testing::row(), any::<bool>()), 0..8), most in 0usize..10) {
            let mut packed = ReadRows::default();
            for (row, is_encoded) in &rows {
                if !is_encoded {
                    packed.push(row.clone().into());
                    continue;
                }
                let mut bytes = Vec::new();
                row.encode(&mut bytes);
                let one = EncodedRow { clustering: &row.clustering.0, bytes: &bytes };
                packed.reserve_for(one, rows.len());
                packed.push_encoded(one);
            }
            packed.truncate(most);
            let wanted: Vec<Row> = rows.into_iter().map(|(row, _)| row).take(most).collect();
            prop_assert_eq!(packed.len(), wanted.len());
            for (row, wanted) in packed.iter().zip(&wanted) {
                prop_assert_eq!(row.clustering(), &wanted.clustering.0[..]);
                prop_assert_eq!(&row.to_row().unwrap(), wanted);
            }
            let last = packed.last().map(|row| row.to_row().unwrap());
            prop_assert_eq!(last.as_ref(), wanted.last());
            let apart: Vec<Row> = packed.into_rows().collect::<Result<_>>().unwrap();
            prop_assert_eq!(apart, wanted);
        }
    }
}
