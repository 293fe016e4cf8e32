//! Page states: where the next page begins, in bytes that a client keeps and cannot change.
//!
//! ```text
//! tag 32 | statement 16 | left u32 | flags u8 | returned u32 | key length u32, key | clustering, if flag 0x01
//! ```
//!
//! The tag is HMAC-SHA-256 of what follows under a key derived from the service's own. A state belongs to one statement with
//! its bound values; given to another, it is refused like a forged one. The server remembers nothing: resuming is one seek.

use bytes::{Buf, Bytes};
use palladium_crypto::{Secret, sha256};
use palladium_protocol::types::token_of;
use palladium_storage::{Clustering, PartitionKey, ReadPosition, Token};

use super::analyze::Body;
use super::expression::Bound;
use super::prepared::Statement;
use crate::error::{CqlError, CqlResult};

const TAG_BYTES: usize = 32;
const HAS_CLUSTERING: u8 = 0x01;

/// Where a page ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageState {
    pub position: ReadPosition,
    /// Rows that LIMIT still allows.
    pub left: u32,
}

/// What a state is bound to: the statement, the table it reads and the values it ran with. Not the session's keyspace: another session may
/// go on with the page, whatever it has said USE to.
pub fn fingerprint(statement: &Statement, bound: &[Bound]) -> [u8; 16] {
    let mut parts: Vec<&[u8]> = vec![statement.text.as_bytes()];
    if let Body::Select(plan) = &statement.body {
        parts.push(&plan.table.id.0);
    }
    for value in bound {
        match value {
            Bound::Value(value) => {
                parts.push(b"v");
                parts.push(value);
            }
            Bound::Null => parts.push(b"n"),
            Bound::Unset => parts.push(b"u"),
        }
    }
    let digest = sha256(&parts);
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    half
}

impl PageState {
    pub fn encode(&self, key: &Secret<32>, fingerprint: &[u8; 16]) -> Vec<u8> {
        let mut body = Vec::new();
        body.extend_from_slice(fingerprint);
        body.extend(self.left.to_be_bytes());
        body.push(if self.position.clustering.is_some() {
            HAS_CLUSTERING
        } else {
            0
        });
        body.extend(self.position.returned_in_partition.to_be_bytes());
        let bytes = self.position.key.bytes();
        body.extend((bytes.len() as u32).to_be_bytes());
        body.extend_from_slice(bytes);
        if let Some(clustering) = &self.position.clustering {
            body.extend_from_slice(&clustering.0);
        }
        let mut state = hmac(key, &body).to_vec();
        state.append(&mut body);
        state
    }

    pub fn decode(state: &Bytes, key: &Secret<32>, fingerprint: &[u8; 16]) -> CqlResult<PageState> {
        let refused = || CqlError::protocol("Invalid value for the paging state");
        let (tag, body) = state.split_first_chunk::<TAG_BYTES>().ok_or_else(refused)?;
        if Secret::from_bytes(hmac(key, body)) != Secret::from_bytes(*tag) {
            return Err(refused());
        }
        let mut rest = state.slice(TAG_BYTES..);
        if rest.remaining() < 16 + 4 + 1 + 4 + 4 || rest[..16] != fingerprint[..] {
            return Err(refused());
        }
        rest.advance(16);
        let left = rest.get_u32();
        let flags = rest.get_u8();
        let returned_in_partition = rest.get_u32();
        let length = rest.get_u32() as usize;
        if rest.remaining() < length {
            return Err(refused());
        }
        let bytes = rest.split_to(length);
        Ok(PageState {
            position: ReadPosition {
                key: PartitionKey::new(Token(token_of(&bytes)), bytes),
                clustering: (flags & HAS_CLUSTERING != 0).then_some(Clustering(rest)),
                returned_in_partition,
            },
            left,
        })
    }
}

/// RFC 2104 with SHA-256; the key is shorter than a block.
fn hmac(key: &Secret<32>, body: &[u8]) -> [u8; 32] {
    let pad = |byte: u8| {
        let mut block = [byte; 64];
        for (own, key) in block.iter_mut().zip(key.expose()) {
            *own ^= key;
        }
        block
    };
    let inner = sha256(&[&pad(0x36), body]);
    sha256(&[&pad(0x5C), &inner])
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> PageState {
        PageState {
            position: ReadPosition {
                key: PartitionKey::new(Token(token_of(b"key")), &b"key"[..]),
                clustering: Some(Clustering(Bytes::from_static(&[1, 0x80]))),
                returned_in_partition: 3,
            },
            left: 17,
        }
    }

    #[test]
    fn a_page_state_comes_back_as_it_went() {
        let key = Secret::from_bytes([7; 32]);
        let bytes = Bytes::from(state().encode(&key, &[1; 16]));
        assert_eq!(PageState::decode(&bytes, &key, &[1; 16]), Ok(state()));
    }

    #[test]
    fn a_changed_or_foreign_page_state_is_refused() {
        let key = Secret::from_bytes([7; 32]);
        let bytes = state().encode(&key, &[1; 16]);
        for place in 0..bytes.len() {
            let mut forged = bytes.clone();
            forged[place] ^= 1;
            assert!(PageState::decode(&forged.into(), &key, &[1; 16]).is_err());
        }
        for length in 0..bytes.len() {
            assert!(PageState::decode(&bytes[..length].to_vec().into(), &key, &[1; 16]).is_err());
        }
        assert!(PageState::decode(&bytes.clone().into(), &key, &[2; 16]).is_err());
        assert!(PageState::decode(&bytes.into(), &Secret::from_bytes([8; 32]), &[1; 16]).is_err());
    }

    #[test]
    fn hmac_is_the_published_one() {
        // RFC 4231, test case 2, has a four byte key, which is the same as one padded with zeros.
        let mut key = [0; 32];
        key[..4].copy_from_slice(b"Jefe");
        let tag = hmac(&Secret::from_bytes(key), b"what do ya want for nothing?");
        let hex: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843"
        );
    }
}
