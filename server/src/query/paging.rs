//! Page states: where the next page begins, in bytes that a client keeps and cannot change.
//!
//! ```text
//! version u8, 1 | structure 16 | wrapped data key | sealed block
//!                                                   ├ left u32 | flags u8 | returned u32 | key length u32, key | clustering, if flag 0x01
//!                                                   └ of a description: the schema's version 16 | elements shown u32
//! ```
//!
//! Each state is a structure of its own, sealed under a key derived from the service's: nobody else reads the keys in it or makes one. It belongs to one
//! statement with its bound values (the block's context); given to another, it is refused like a forged one. The server remembers nothing: resuming is
//! one seek.

use std::sync::Arc;

use bytes::{Buf, Bytes};
use palladium_crypto::{
    KeyRing, StructureId, StructureKind, TableId, TableKey, WRAPPED_DATA_KEY_BYTES, WrappedDataKey,
    sha256,
};
use palladium_protocol::types::token_of;
use palladium_storage::{Clustering, Env, PartitionKey, ReadPosition, Token};
use uuid::Uuid;

use super::analyze::Body;
use super::expression::Bound;
use super::prepared::Statement;
use super::values::Given;
use crate::error::{CqlError, CqlResult};

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 1 + 16 + WRAPPED_DATA_KEY_BYTES;
/// Whose key page states are sealed under: no table, but a name for the derivation.
const PAGE_STATES: TableId = TableId(*b"palladium.pages.");
const HAS_CLUSTERING: u8 = 0x01;

/// Seals page states and opens them.
pub struct PageSeal {
    ring: KeyRing,
    env: Arc<dyn Env>,
}

impl PageSeal {
    /// Under a key derived from the service's own.
    pub fn new(service: &TableKey, env: Arc<dyn Env>) -> Self {
        PageSeal {
            ring: KeyRing::new(TableKey::for_system_table(service, PAGE_STATES), Vec::new()),
            env,
        }
    }

    /// Seals what only a statement with this fingerprint opens again.
    fn seal(&self, body: &[u8], fingerprint: &[u8; 16]) -> CqlResult<Vec<u8>> {
        let entropy = self.env.entropy();
        let structure = StructureId::random(entropy);
        let (mut sealer, wrapped) =
            self.ring
                .seal_new(entropy, structure, StructureKind::PageState);
        let mut state = vec![VERSION];
        state.extend_from_slice(&structure.0);
        state.extend_from_slice(&wrapped.to_bytes());
        sealer
            .seal_into(fingerprint, true, body, &mut state)
            .map_err(|error| CqlError::server(error.to_string()))?;
        Ok(state)
    }

    fn open(&self, state: &[u8], fingerprint: &[u8; 16]) -> Option<Bytes> {
        let (header, sealed) = state.split_at_checked(HEADER_BYTES)?;
        let (structure, wrapped) = header.strip_prefix(&[VERSION])?.split_first_chunk::<16>()?;
        let wrapped = WrappedDataKey::from_bytes(wrapped).ok()?;
        let opener = self
            .ring
            .open(&wrapped, StructureId(*structure), StructureKind::PageState)
            .ok()?;
        let mut body = Vec::new();
        opener.open(0, true, fingerprint, sealed, &mut body).ok()?;
        Some(body.into())
    }
}

/// Where a page ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PageState {
    pub position: ReadPosition,
    /// Rows that LIMIT still allows.
    pub left: u32,
}

/// What a state is bound to: the statement, the table it reads and the values it ran with. Not the session's keyspace: another session may
/// go on with the page, whatever it has said USE to.
pub fn fingerprint(statement: &Statement, bound: &Given) -> [u8; 16] {
    let bound: Vec<_> = bound.iter().collect();
    let mut parts: Vec<&[u8]> = vec![statement.text.as_bytes()];
    if let Body::Select(plan) = &statement.body {
        parts.push(&plan.table.id.0);
    }
    for value in &bound {
        match value {
            Ok(Bound::Value(value)) => {
                parts.push(b"v");
                parts.push(value);
            }
            Ok(Bound::Null) => parts.push(b"n"),
            Ok(Bound::Unset) => parts.push(b"u"),
            Err(_) => parts.push(b"w"),
        }
    }
    let digest = sha256(&parts);
    let mut half = [0; 16];
    half.copy_from_slice(&digest[..16]);
    half
}

impl PageState {
    pub fn seal(&self, seal: &PageSeal, fingerprint: &[u8; 16]) -> CqlResult<Vec<u8>> {
        let mut body = Vec::new();
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
        seal.seal(&body, fingerprint)
    }

    pub fn open(state: &[u8], seal: &PageSeal, fingerprint: &[u8; 16]) -> CqlResult<PageState> {
        Self::read(state, seal, fingerprint).ok_or_else(invalid)
    }

    fn read(state: &[u8], seal: &PageSeal, fingerprint: &[u8; 16]) -> Option<PageState> {
        let mut rest = seal.open(state, fingerprint)?;
        let left = rest.try_get_u32().ok()?;
        let flags = rest.try_get_u8().ok()?;
        let returned_in_partition = rest.try_get_u32().ok()?;
        let length = rest.try_get_u32().ok()? as usize;
        if rest.len() < length {
            return None;
        }
        let bytes = rest.split_to(length);
        Some(PageState {
            position: ReadPosition {
                key: PartitionKey::new(Token(token_of(&bytes)), bytes),
                clustering: (flags & HAS_CLUSTERING != 0).then_some(Clustering(rest)),
                returned_in_partition,
            },
            left,
        })
    }
}

/// Where a page of a description ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct DescriptionState {
    /// The schema's version, whose elements are counted.
    pub version: Uuid,
    /// Elements that have been shown.
    pub shown: u32,
}

impl DescriptionState {
    pub fn seal(&self, seal: &PageSeal, fingerprint: &[u8; 16]) -> CqlResult<Vec<u8>> {
        let body = [&self.version.as_bytes()[..], &self.shown.to_be_bytes()].concat();
        seal.seal(&body, fingerprint)
    }

    pub fn open(state: &[u8], seal: &PageSeal, fingerprint: &[u8; 16]) -> CqlResult<Self> {
        let read = || {
            let body = seal.open(state, fingerprint)?;
            let (version, shown) = body.split_first_chunk::<16>()?;
            Some(DescriptionState {
                version: Uuid::from_bytes(*version),
                shown: u32::from_be_bytes(shown.try_into().ok()?),
            })
        };
        read().ok_or_else(invalid)
    }
}

fn invalid() -> CqlError {
    CqlError::protocol("Invalid value for the paging state")
}

#[cfg(test)]
mod tests {
    use palladium_crypto::{ClusterId, CmkRef, Secret};

    use super::*;
    use crate::env::RealEnv;

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

    fn seal(secret: u8) -> PageSeal {
        let cmk = CmkRef::parse("local:default").unwrap();
        let plaintext = Secret::from_bytes([secret; 32]);
        let service = TableKey::derive(&plaintext, ClusterId([0; 16]), PAGE_STATES, 1, &cmk);
        PageSeal::new(&service, Arc::new(RealEnv::default()))
    }

    #[test]
    fn a_page_state_comes_back_as_it_went() {
        let bytes = state().seal(&seal(7), &[1; 16]).unwrap();
        assert_eq!(PageState::open(&bytes, &seal(7), &[1; 16]), Ok(state()));
    }

    #[test]
    fn a_page_state_does_not_show_its_keys() {
        let bytes = state().seal(&seal(7), &[1; 16]).unwrap();
        assert!(!bytes.windows(3).any(|window| window == b"key"));
    }

    #[test]
    fn a_changed_or_foreign_page_state_is_refused() {
        let bytes = state().seal(&seal(7), &[1; 16]).unwrap();
        for place in 0..bytes.len() {
            let mut forged = bytes.clone();
            forged[place] ^= 1;
            assert!(PageState::open(&forged, &seal(7), &[1; 16]).is_err());
        }
        for length in 0..bytes.len() {
            assert!(PageState::open(&bytes[..length], &seal(7), &[1; 16]).is_err());
        }
        assert!(PageState::open(&bytes, &seal(7), &[2; 16]).is_err());
        assert!(PageState::open(&bytes, &seal(8), &[1; 16]).is_err());
    }
}
