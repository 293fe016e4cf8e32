//! What stands inside a log share before it is sealed: the mutations of one group for one table.
//!
//! ```text
//! offset  size  meaning                       (little endian)
//! 0       4     write: ordinal of the write in its group
//! 4       4     members: mutations of that write, over all tables
//! 8       4     bytes of the mutation
//! 12      n     the mutation, as model::put_mutation encodes it
//! ```
//!
//! Records follow one another to the end of the share. A write never spans groups, so whether all its members are there is decided within one group.

use std::collections::HashMap;

use bytes::Bytes;
use palladium_crypto::TableId;

use crate::error::{Error, Result};
use crate::model::{EncodedUpdate, EncodedUpdates, Mutation, put_mutation};
use crate::wiped::Wiped;

const HEADER_BYTES: usize = 12;

/// Appends one record.
pub(crate) fn append(
    share: &mut Vec<u8>,
    write: u32,
    members: u32,
    table: TableId,
    update: &EncodedUpdate<'_>,
) {
    let start = share.len();
    share.extend_from_slice(&write.to_le_bytes());
    share.extend_from_slice(&members.to_le_bytes());
    share.extend_from_slice(&[0; 4]);
    put_mutation(share, table, update);
    let bytes = (share.len() - start - HEADER_BYTES) as u32;
    share[start + 8..start + HEADER_BYTES].copy_from_slice(&bytes.to_le_bytes());
}

/// What an opened share changes, in order.
pub(crate) fn updates(share: Vec<u8>) -> Result<EncodedUpdates> {
    let mut rest = Wiped::new(share).into_bytes();
    let mut updates = EncodedUpdates::default();
    while !rest.is_empty() {
        let (_, record) = split(&mut rest)?;
        let mutation = Mutation::decode(record)?;
        updates.push(mutation.store, mutation.key, &mutation.update);
    }
    Ok(updates)
}

/// Whether a write in this share has members in other tables.
pub(crate) fn spans_tables(share: &[u8]) -> Result<bool> {
    let mut rest = Wiped::new(share.to_vec()).into_bytes();
    let mut missing: HashMap<u32, u32> = HashMap::new();
    while !rest.is_empty() {
        let (head, _) = split(&mut rest)?;
        let members = missing.entry(head.write).or_insert(head.members);
        *members = members.saturating_sub(1);
    }
    Ok(missing.values().any(|members| *members > 0))
}

struct Head {
    write: u32,
    members: u32,
}

/// Takes the first record off.
fn split(rest: &mut Bytes) -> Result<(Head, Bytes)> {
    let too_long = || Error::corrupt("a log record is longer than its share");
    let (head, behind) = rest
        .split_first_chunk::<HEADER_BYTES>()
        .ok_or_else(too_long)?;
    let field = |place: usize| {
        u32::from_le_bytes([
            head[place],
            head[place + 1],
            head[place + 2],
            head[place + 3],
        ])
    };
    let length = field(8) as usize;
    if behind.len() < length {
        return Err(too_long());
    }
    let head = Head {
        write: field(0),
        members: field(4),
    };
    let record = rest.slice(HEADER_BYTES..HEADER_BYTES + length);
    *rest = rest.slice(HEADER_BYTES + length..);
    Ok((head, record))
}
