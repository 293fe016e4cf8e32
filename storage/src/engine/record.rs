//! What stands inside a log share before it is sealed: the mutations of one group for one table.
//!
//! ```text
//! offset  size  meaning                       (little endian)
//! 0       4     write: ordinal of the write in its group
//! 4       4     members: mutations of that write, over all tables
//! 8       4     bytes of the mutation
//! 12      n     the mutation, as model::Mutation encodes it
//! ```
//!
//! Records follow one another to the end of the share. A write never spans groups, so whether all its members are there is decided within one group.

use bytes::Bytes;

use crate::error::{Error, Result};
use crate::model::Mutation;

const HEADER_BYTES: usize = 12;

/// Appends one record.
pub(crate) fn append(share: &mut Vec<u8>, write: u32, members: u32, mutation: &Mutation) {
    let start = share.len();
    share.extend_from_slice(&write.to_le_bytes());
    share.extend_from_slice(&members.to_le_bytes());
    share.extend_from_slice(&[0; 4]);
    mutation.encode(share);
    let bytes = (share.len() - start - HEADER_BYTES) as u32;
    share[start + 8..start + HEADER_BYTES].copy_from_slice(&bytes.to_le_bytes());
}

/// The mutations of an opened share, in order.
pub(crate) fn mutations(share: Vec<u8>) -> Result<Vec<Mutation>> {
    let mut rest = Bytes::from_owner(zeroize::Zeroizing::new(share));
    let mut mutations = Vec::new();
    while !rest.is_empty() {
        let truncated = || Error::corrupt("a log record is longer than its share");
        if rest.len() < HEADER_BYTES {
            return Err(truncated());
        }
        let header = rest.split_to(HEADER_BYTES);
        let length = header[8..]
            .iter()
            .rev()
            .fold(0usize, |n, byte| n << 8 | *byte as usize);
        if rest.len() < length {
            return Err(truncated());
        }
        mutations.push(Mutation::decode(rest.split_to(length))?);
    }
    Ok(mutations)
}
