//! Where an index entry stands in its store, and what it says.
//!
//! ```text
//! by value     partition    the value: its order-preserving bytes, of a long one the first 1,024; token Murmur3 of them
//!              clustering   40, place
//! in order     partition    00, number of the bucket: the top four bits of the token of the row's partition; token Murmur3 of the two bytes
//!              clustering   value, place
//! place        token        8 bytes         of the row's partition, big-endian, sign bit flipped
//!              key length   u16 big-endian
//!              key          bytes
//!              clustering   bytes           the row's position in its partition; nothing: the partition as a whole
//! row          a liveness and no cells; its timestamp is the microsecond until which it lives; for ever: second 2^32 - 1 (`entries`)
//! ```
//!
//! Each entry but those of vectors stands by its value: an equality reads one partition, which filters tell from others, in the order in which the base shows its rows. Entries of
//! indexes that answer ranges ([`Index::has_order`]) stand a second time, in order: of each bucket a range is one slice, whose rows are put in order by whoever
//! reads it; and the buckets follow each other as the base does, so that a page looks at the buckets it needs and at no others. Entries of vectors stand in order
//! alone: nobody asks for a value, and all are read for a graph (`nearest`).
//!
//! This is layout 2. In layout 1 all entries of an index were one partition, by value and place. Of an index that folds texts to ASCII it is layout 3: until then
//! marks that stand alone were lost and few letters were folded. An index that has an earlier one is made anew at the start.
//!
//! What must hold: no entry of a partition is a prefix of another one. Values are prefix-free, and so are positions in one table; entries of whole partitions and
//! of rows never meet in one index. Two values that share their partition, because they are long and begin alike, cost a row tried in vain.
//!
//! [`Index::has_order`]: crate::schema::Index::has_order

use bytes::Bytes;
use palladium_protocol::types::{CqlType, token_of};
use palladium_storage::{Clustering, PartitionKey, Token};

use crate::encode::order::{self, Cursor};
use crate::error::{CqlError, CqlResult};
use crate::schema::Index;

const LAYOUT: u8 = 2;
const FOLDED_LAYOUT: u8 = 3;

/// The layout in which an index's entries are written.
pub fn current(index: &Index) -> u8 {
    match index.fold() {
        Some(fold) if fold.ascii => FOLDED_LAYOUT,
        _ => LAYOUT,
    }
}

/// Before a place that stands alone: no clustering begins with FF, or is beyond all of them.
pub const PLACE: u8 = 0x40;
/// Begins the key of a bucket's partition. No value's bytes begin like this.
const BUCKET: u8 = 0x00;
/// Bits of a token that choose its bucket.
const BUCKET_BITS: u32 = 4;
/// Bytes of a value by which its partition goes.
const VALUE_KEY_BYTES_MAX: usize = 1_024;

/// A row that may have the value, or a partition that may have such rows. Ordered as the base is.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Candidate {
    pub key: PartitionKey,
    /// None: the whole partition.
    pub clustering: Option<Clustering>,
}

/// The partition of the entries of one term.
pub fn partition_of_value(term: &[u8]) -> PartitionKey {
    let key = &term[..term.len().min(VALUE_KEY_BYTES_MAX)];
    PartitionKey::new(Token(token_of(key)), Bytes::copy_from_slice(key))
}

/// The bucket of what is found in a partition of the base.
pub fn bucket_of(token: Token) -> u8 {
    (token.ordered_bits() >> (64 - BUCKET_BITS)) as u8
}

/// The partition of a bucket.
pub fn partition_of_bucket(bucket: u8) -> PartitionKey {
    let key = [BUCKET, bucket];
    PartitionKey::new(Token(token_of(&key)), Bytes::copy_from_slice(&key))
}

/// The position of an entry behind `prefix`: its term in a bucket, [`PLACE`] alone among the entries of its value.
pub fn entry(prefix: &[u8], key: &PartitionKey, clustering: Option<&Clustering>) -> Clustering {
    let own = clustering.map_or(&[][..], |clustering| &clustering.0);
    let mut out = Vec::with_capacity(prefix.len() + 10 + key.bytes().len() + own.len());
    out.extend_from_slice(prefix);
    put_token(&mut out, key.token());
    out.extend_from_slice(&(key.bytes().len() as u16).to_be_bytes());
    out.extend_from_slice(key.bytes());
    out.extend_from_slice(own);
    Clustering(out.into())
}

/// What an entry says, given its partition and the type of its terms.
pub fn candidate(
    ty: &CqlType,
    partition: &PartitionKey,
    entry: &Clustering,
) -> CqlResult<Candidate> {
    let place = match is_bucket(partition) {
        true => place_behind(ty, entry, &mut Vec::new())?,
        false => entry.0.get(1..).unwrap_or_default(),
    };
    candidate_at(entry.0.slice_ref(place)).ok_or_else(ends_too_early)
}

/// Whether a partition is a bucket.
pub fn is_bucket(partition: &PartitionKey) -> bool {
    partition.bytes().first() == Some(&BUCKET)
}

/// All buckets, in order.
pub fn buckets() -> impl Iterator<Item = PartitionKey> {
    (0..1 << BUCKET_BITS).map(partition_of_bucket)
}

/// Where an entry of a bucket leads, as it says that behind its term. `value` gets the term's value behind what it holds.
pub fn place_behind<'a>(
    ty: &CqlType,
    entry: &'a Clustering,
    value: &mut Vec<u8>,
) -> CqlResult<&'a [u8]> {
    let mut cursor = Cursor::new(&entry.0);
    order::decode(ty, &mut cursor, value)?;
    let place = cursor.rest();
    key_of(place).map(|_| place).ok_or_else(ends_too_early)
}

/// The partition of a place.
pub fn key_of(place: &[u8]) -> Option<(Token, &[u8])> {
    let (token, key, _) = parts(place)?;
    Some((token, key))
}

/// A place taken apart.
pub fn candidate_at(place: Bytes) -> Option<Candidate> {
    let (token, key, own) = parts(&place)?;
    Some(Candidate {
        key: PartitionKey::new(token, place.slice_ref(key)),
        clustering: (!own.is_empty()).then(|| match own {
            [0x80] => Clustering::SINGLE,
            own => Clustering(place.slice_ref(own)),
        }),
    })
}

fn parts(place: &[u8]) -> Option<(Token, &[u8], &[u8])> {
    let (token, rest) = place.split_first_chunk::<8>()?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    let (key, own) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    let token = Token((u64::from_be_bytes(*token) ^ (1 << 63)) as i64);
    Some((token, key, own))
}

fn ends_too_early() -> CqlError {
    CqlError::read_failure("an index entry ends too early")
}

fn put_token(out: &mut Vec<u8>, token: Token) {
    out.extend_from_slice(&token.ordered_bits().to_be_bytes());
}

/// Before every entry that begins with these bytes.
pub fn before(prefix: &[u8]) -> Clustering {
    Clustering(Bytes::copy_from_slice(prefix))
}

/// After every entry that begins with these bytes, which are not all FF.
pub fn after(prefix: &[u8]) -> Clustering {
    let mut end = prefix.to_vec();
    while let Some(last) = end.pop() {
        if last < 0xFF {
            end.push(last + 1);
            return Clustering(end.into());
        }
    }
    Clustering::max()
}

/// Before every entry behind a prefix for this partition and those after it.
pub fn before_partition(prefix: &[u8], key: &PartitionKey) -> Clustering {
    let mut out = prefix.to_vec();
    put_token(&mut out, key.token());
    out.extend_from_slice(&(key.bytes().len() as u16).to_be_bytes());
    match key.bytes().is_empty() {
        true => {}
        // Without the last byte: a bound must not be an entry, and one for the partition as a whole ends with the key.
        false => out.extend_from_slice(&key.bytes()[..key.bytes().len() - 1]),
    }
    Clustering(out.into())
}

/// After every entry behind a prefix for this partition.
pub fn after_partition(prefix: &[u8], key: &PartitionKey) -> Clustering {
    after(&entry(prefix, key, None).0)
}

/// Just after an entry.
pub fn after_entry(prefix: &[u8], key: &PartitionKey, clustering: &Clustering) -> Clustering {
    let mut end = entry(prefix, key, Some(clustering)).0.to_vec();
    end.push(0x00);
    Clustering(end.into())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(token: i64, bytes: &'static [u8]) -> PartitionKey {
        PartitionKey::new(Token(token), bytes)
    }

    fn term(value: i32) -> Vec<u8> {
        let mut out = Vec::new();
        order::encode(&CqlType::Int, Some(&value.to_be_bytes()), false, &mut out).unwrap();
        out
    }

    #[test]
    fn an_entry_gives_its_row_back_and_stands_between_its_bounds() {
        let own = Clustering(Bytes::from_static(&[0x40, 7, 0x80]));
        for key in [
            key(i64::MIN, b"a"),
            key(-1, b"bc"),
            key(i64::MAX, b"\xff\xff"),
        ] {
            let term = term(5);
            let bucket = partition_of_bucket(bucket_of(key.token()));
            let by_value = partition_of_value(&term);
            for (partition, prefix) in [(&bucket, &term[..]), (&by_value, &[PLACE])] {
                for clustering in [None, Some(&own), Some(&Clustering::SINGLE)] {
                    let entry = entry(prefix, &key, clustering);
                    let back = candidate(&CqlType::Int, partition, &entry).unwrap();
                    assert_eq!((&back.key, back.clustering.as_ref()), (&key, clustering));
                    assert!(Clustering::MIN < entry && entry < Clustering::max());
                    assert!(before(prefix) < entry && entry < after(prefix));
                    assert!(before_partition(prefix, &key) < entry);
                    assert!(entry < after_partition(prefix, &key));
                    if let Some(clustering) = clustering {
                        assert!(entry < after_entry(prefix, &key, clustering));
                    }
                }
            }
            for partition in [bucket, by_value] {
                let cut = Clustering(term.clone().into());
                assert!(candidate(&CqlType::Int, &partition, &cut).is_err());
            }
        }
    }

    #[test]
    fn buckets_follow_each_other_as_the_base_does() {
        let tokens = [i64::MIN, -1 << 60, -1, 0, 1 << 60, i64::MAX];
        let buckets: Vec<u8> = tokens
            .iter()
            .map(|token| bucket_of(Token(*token)))
            .collect();
        assert_eq!(buckets, [0, 7, 7, 8, 9, 15]);
    }

    #[test]
    fn the_partition_of_a_long_value_is_that_of_its_beginning() {
        let (long, longer) = ([0x40; 1_025], [0x40; 70_000]);
        assert_eq!(partition_of_value(&long), partition_of_value(&longer));
        assert_eq!(partition_of_value(&long).bytes().len(), 1_024);
        assert_ne!(partition_of_value(&long), partition_of_value(&long[..9]));
    }

    #[test]
    fn entries_stand_in_the_order_of_values_then_of_the_base() {
        let rows = [
            (-3, key(9, b"z")),
            (4, key(-5, b"k")),
            (4, key(-5, b"l")),
            (4, key(0, b"a")),
            (7, key(-9, b"a")),
        ];
        let places: Vec<Clustering> = rows
            .iter()
            .map(|(value, key)| entry(&term(*value), key, Some(&Clustering::SINGLE)))
            .collect();
        assert!(places.is_sorted_by(|a, b| a < b));
        assert!(after_partition(&term(4), &rows[1].1) < places[2]);
        assert!(places[1] < before_partition(&term(4), &rows[3].1));
    }
}
