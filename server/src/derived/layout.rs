//! Where an index entry stands in its store, and what it says.
//!
//! ```text
//! partition    one for the whole index
//! clustering   term         component       the indexed value, ordered as CQL orders it
//!              token        8 bytes         of the row's partition, big-endian, sign bit flipped
//!              key length   u16 big-endian
//!              key          bytes
//!              clustering   bytes           the row's position in its partition; nothing: the partition as a whole
//! row          a liveness and no cells
//! ```
//!
//! Entries of one term stand in the order of the base's partitions and rows: an equality is one slice, read in the order in which its rows are shown; a
//! range is one slice, too, whose rows are put in order by whoever reads it.
//!
//! What must hold: no entry is a prefix of another one of the same index. Terms are prefix-free, and so are positions in one table; entries of whole
//! partitions and of rows never meet in one index.

use bytes::Bytes;
use palladium_protocol::types::CqlType;
use palladium_storage::{Clustering, PartitionKey, Token};

use crate::encode::order::{self, Cursor};
use crate::error::{CqlError, CqlResult};

/// A row that may have the value, or a partition that may have such rows. Ordered as the base is.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Candidate {
    pub key: PartitionKey,
    /// None: the whole partition.
    pub clustering: Option<Clustering>,
}

/// The partition of an index's store.
pub fn partition() -> PartitionKey {
    PartitionKey::new(Token(0), Bytes::from_static(b"index"))
}

/// The position of an entry.
pub fn entry(term: &[u8], key: &PartitionKey, clustering: Option<&Clustering>) -> Clustering {
    let own = clustering.map_or(&[][..], |clustering| &clustering.0);
    let mut out = Vec::with_capacity(term.len() + 10 + key.bytes().len() + own.len());
    out.extend_from_slice(term);
    put_token(&mut out, key.token());
    out.extend_from_slice(&(key.bytes().len() as u16).to_be_bytes());
    out.extend_from_slice(key.bytes());
    out.extend_from_slice(own);
    Clustering(out.into())
}

/// What an entry says, given the type of its terms.
pub fn candidate(ty: &CqlType, entry: &Clustering) -> CqlResult<Candidate> {
    let mut cursor = Cursor::new(&entry.0);
    order::decode(ty, &mut cursor, &mut Vec::new())?;
    let read = || {
        let (token, rest) = cursor.rest().split_first_chunk::<8>()?;
        let (length, rest) = rest.split_first_chunk::<2>()?;
        let (key, own) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        let token = Token((u64::from_be_bytes(*token) ^ (1 << 63)) as i64);
        Some(Candidate {
            key: PartitionKey::new(token, entry.0.slice_ref(key)),
            clustering: (!own.is_empty()).then(|| match own {
                [0x80] => Clustering::SINGLE,
                own => Clustering(entry.0.slice_ref(own)),
            }),
        })
    };
    read().ok_or_else(|| CqlError::read_failure("an index entry ends too early"))
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

/// Before every entry of a term for this partition and those after it.
pub fn before_partition(term: &[u8], key: &PartitionKey) -> Clustering {
    let mut out = term.to_vec();
    put_token(&mut out, key.token());
    out.extend_from_slice(&(key.bytes().len() as u16).to_be_bytes());
    match key.bytes().is_empty() {
        true => {}
        // Without the last byte: a bound must not be an entry, and one for the partition as a whole ends with the key.
        false => out.extend_from_slice(&key.bytes()[..key.bytes().len() - 1]),
    }
    Clustering(out.into())
}

/// After every entry of a term for this partition.
pub fn after_partition(term: &[u8], key: &PartitionKey) -> Clustering {
    after(&entry(term, key, None).0)
}

/// Just after an entry.
pub fn after_entry(term: &[u8], key: &PartitionKey, clustering: &Clustering) -> Clustering {
    let mut end = entry(term, key, Some(clustering)).0.to_vec();
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
            for clustering in [None, Some(&own), Some(&Clustering::SINGLE)] {
                let term = term(5);
                let entry = entry(&term, &key, clustering);
                let back = candidate(&CqlType::Int, &entry).unwrap();
                assert_eq!((&back.key, back.clustering.as_ref()), (&key, clustering));
                assert!(before(&term) < entry && entry < after(&term));
                assert!(before_partition(&term, &key) < entry);
                assert!(entry < after_partition(&term, &key));
                if let Some(clustering) = clustering {
                    assert!(entry < after_entry(&term, &key, clustering));
                }
            }
        }
        assert!(candidate(&CqlType::Int, &Clustering(term(5).into())).is_err());
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
