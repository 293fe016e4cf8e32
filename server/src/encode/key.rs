//! Keys: which partition, and where in it.
//!
//! ```text
//! partition key   one column: its value        several: per column  length u16, value, 00
//! row             component ... component 80
//! bound           component ... component 00   before everything with that prefix
//!                 component ... component FF   after everything with that prefix
//! ```
//!
//! The partition key keeps Cassandra's own serialization, because drivers hash the same bytes. A row always has all its
//! components, a bound any number of them, none included.
//!
//! What must hold: start < row < end is all that storage needs to know about a slice.

use std::ops::Range;

use bytes::Bytes;
use palladium_protocol::types::{composite_key, token_of};
use palladium_storage::{Clustering, PartitionKey, Token};

use super::Malformed;
use super::order::{self, Cursor, Spelling};
use super::wire::{self, Fields};
use crate::error::{CqlError, CqlResult};
use crate::schema::Column;

const ROW: u8 = 0x80;
const BEFORE: u8 = 0x00;
const AFTER: u8 = 0xFF;

/// Bytes of a partition key, and of a row's clustering values together.
const KEY_BYTES_MAX: usize = 65_535;

/// Puts values together and finds their token. A single value is used as it is, without a copy.
pub fn partition_key(values: &[Bytes]) -> CqlResult<PartitionKey> {
    let bytes = match values {
        [single] if single.is_empty() => return Err(CqlError::invalid("Key may not be empty")),
        [single] => single.clone(),
        several => composite(several)?,
    };
    if bytes.len() > KEY_BYTES_MAX {
        return Err(too_long(bytes.len()));
    }
    Ok(PartitionKey::new(Token(token_of(&bytes)), bytes))
}

/// The same in a view, where a single value may be empty: its row is found by whoever reads all of them.
pub fn partition_key_of_view(values: &[Bytes]) -> CqlResult<PartitionKey> {
    match values {
        [single] if single.is_empty() => {
            Ok(PartitionKey::new(Token(token_of(single)), single.clone()))
        }
        values => partition_key(values),
    }
}

fn composite(values: &[Bytes]) -> CqlResult<Bytes> {
    composite_key(values.iter().map(|value| &value[..]))
        .map(Bytes::from)
        .ok_or_else(|| too_long(values.iter().map(|value| value.len() + 3).sum()))
}

fn too_long(length: usize) -> CqlError {
    CqlError::invalid(format!(
        "Key length of {length} is longer than maximum of {KEY_BYTES_MAX}"
    ))
}

/// Whether a row can be written at a position: all of its clustering values together are as long as a partition key at most. One can be asked for by longer ones.
pub fn check_clustering(values: &[Bytes]) -> CqlResult<()> {
    let length: usize = values.iter().map(Bytes::len).sum();
    match length > KEY_BYTES_MAX {
        true => Err(too_long(length)),
        false => Ok(()),
    }
}

/// The values of a partition key of `count` columns, in order.
pub fn partition_values(key: &PartitionKey, count: usize) -> Result<Vec<Bytes>, Malformed> {
    if count == 1 {
        return Ok(vec![key.bytes().clone()]);
    }
    let bytes = key.bytes();
    let mut at = 0;
    (0..count)
        .map(|_| {
            let length = bytes.get(at..at + 2).ok_or(Malformed::SHORT)?;
            let length = usize::from(u16::from_be_bytes([length[0], length[1]]));
            let start = at + 2;
            at = start + length + 1;
            if at > bytes.len() {
                return Err(Malformed::SHORT);
            }
            Ok(bytes.slice(start..start + length))
        })
        .collect()
}

/// The position of the row with these clustering values, and whether they can be read back from it as they are.
pub fn clustering(
    columns: &[Column],
    values: &[Bytes],
) -> Result<(Clustering, Spelling), Malformed> {
    let mut out = Vec::with_capacity(values.iter().map(|value| value.len() + 4).sum::<usize>() + 1);
    let spelling = components(columns, values, &mut out)?;
    out.push(ROW);
    Ok((Clustering(out.into()), spelling))
}

/// The bound before or after everything that begins with these values.
pub fn bound(columns: &[Column], values: &[Bytes], after: bool) -> Result<Clustering, Malformed> {
    let mut out = Vec::with_capacity(values.iter().map(|value| value.len() + 4).sum::<usize>() + 1);
    components(columns, values, &mut out)?;
    out.push(if after { AFTER } else { BEFORE });
    Ok(Clustering(out.into()))
}

/// The slice that holds one row alone: a bound differs from the row in its last byte.
pub fn around(position: &Clustering) -> (Clustering, Clustering) {
    let end = |last: u8| {
        let mut bytes = position.0.to_vec();
        if let Some(byte) = bytes.last_mut() {
            *byte = last;
        }
        Clustering(bytes.into())
    };
    (end(BEFORE), end(AFTER))
}

fn components(
    columns: &[Column],
    values: &[Bytes],
    out: &mut Vec<u8>,
) -> Result<Spelling, Malformed> {
    let mut spelling = Spelling::Kept;
    for (column, value) in columns.iter().zip(values) {
        if order::encode(&column.ty, Some(value), column.reversed, out)? == Spelling::Lost {
            spelling = Spelling::Lost;
        }
    }
    Ok(spelling)
}

/// Clustering values as the raw column keeps them.
pub fn raw_clustering(values: &[Bytes]) -> Bytes {
    let mut out = Vec::new();
    for value in values {
        wire::put_element(Some(value), &mut out);
    }
    out.into()
}

/// The clustering values of one row after another, in one buffer.
#[derive(Default)]
pub struct ClusteringValues {
    bytes: Vec<u8>,
    /// Where each value lies; None is null.
    places: Vec<Option<Range<usize>>>,
}

impl ClusteringValues {
    /// Reads those of a row, as [`clustering_values`] does.
    pub fn read(
        &mut self,
        columns: &[Column],
        position: &[u8],
        raw: Option<&[u8]>,
    ) -> Result<(), Malformed> {
        self.bytes.clear();
        self.places.clear();
        if let Some(raw) = raw {
            for field in Fields::read(raw) {
                let place = field?.map(|field| self.put(field));
                self.places.push(place);
            }
            return Ok(());
        }
        let mut cursor = Cursor::new(position);
        for column in columns {
            let start = self.bytes.len();
            cursor.reversed(column.reversed);
            let some = order::decode(&column.ty, &mut cursor, &mut self.bytes)?;
            self.places.push(some.then_some(start..self.bytes.len()));
        }
        Ok(())
    }

    fn put(&mut self, value: &[u8]) -> Range<usize> {
        let start = self.bytes.len();
        self.bytes.extend_from_slice(value);
        start..self.bytes.len()
    }

    /// The value of a clustering column, by its position; None if it is null.
    pub fn get(&self, position: usize) -> Option<&[u8]> {
        let place = self.places.get(position)?.clone()?;
        self.bytes.get(place)
    }
}

/// The clustering values of a row, from its position or, if it has one, from its raw spelling.
pub fn clustering_values(
    columns: &[Column],
    position: &Clustering,
    raw: Option<&Bytes>,
) -> Result<Vec<Option<Bytes>>, Malformed> {
    if let Some(raw) = raw {
        return Fields::read(raw)
            .map(|field| Ok(field?.map(|field| raw.slice_ref(field))))
            .collect();
    }
    let mut cursor = Cursor::new(&position.0);
    columns
        .iter()
        .map(|column| {
            let mut value = Vec::new();
            cursor.reversed(column.reversed);
            let some = order::decode(&column.ty, &mut cursor, &mut value)?;
            Ok(some.then(|| value.into()))
        })
        .collect()
}
