//! What a device or a server that keeps the key to itself encrypts a data key into: one layout for PKCS#11 and KMIP.
//!
//! ```text
//! offset  size
//!      0     1   format, 1
//!      1    12   nonce: random, or what the device has put in its place
//!     13    32   ciphertext
//!     45    16   tag
//!
//! associated data    format | canonical encryption context
//! ```
//!
//! Neither standard has a code for "this does not authenticate", so whoever is refused asks whether the key works at all: a [`Probe`] that is sealed and opened
//! under the same key. What must hold: Tampered is said only after a probe has come back.

use crate::aead::{NONCE_BYTES, TAG_BYTES};
use crate::entropy::OsEntropy;
use crate::error::{Error, Result};
use crate::keys::EncryptionContext;
use crate::secret::Secret;

const FORMAT: u8 = 1;
const KEY_BYTES: usize = 32;
const SEALED_AT: usize = 1 + NONCE_BYTES;
const TAG_AT: usize = SEALED_AT + KEY_BYTES;
const BLOB_BYTES: usize = TAG_AT + TAG_BYTES;

/// An encrypted data key.
pub(super) struct DeviceBlob {
    pub nonce: [u8; NONCE_BYTES],
    pub sealed: [u8; KEY_BYTES],
    pub tag: [u8; TAG_BYTES],
}

impl DeviceBlob {
    /// Reads one.
    pub fn parse(bytes: &[u8]) -> Result<DeviceBlob> {
        if bytes.first().is_some_and(|format| *format != FORMAT) {
            return Err(Error::Unsupported(format!(
                "encrypted data key of format {}",
                bytes[0]
            )));
        }
        if bytes.len() != BLOB_BYTES {
            return Err(Error::tampered("encrypted data key: wrong length"));
        }
        Ok(DeviceBlob {
            nonce: bytes[1..SEALED_AT].try_into().expect("twelve bytes"),
            sealed: bytes[SEALED_AT..TAG_AT]
                .try_into()
                .expect("thirty-two bytes"),
            tag: bytes[TAG_AT..].try_into().expect("sixteen bytes"),
        })
    }

    /// As it is stored.
    pub fn to_bytes(&self) -> Vec<u8> {
        [&[FORMAT], &self.nonce[..], &self.sealed, &self.tag].concat()
    }
}

/// What a blob is bound to.
pub(super) fn associated(context: &EncryptionContext) -> Vec<u8> {
    [&[FORMAT][..], &context.to_bytes()].concat()
}

/// The key works, and still refuses the blob.
pub(super) fn refused_blob() -> Error {
    Error::tampered(
        "encrypted data key: changed, made under another key, or for another encryption context",
    )
}

/// Something to seal and open, to see whether a key works.
pub(super) struct Probe(pub Secret<32>);

impl Probe {
    /// What a probe is bound to: no table's context.
    pub const ASSOCIATED: &'static [u8] = b"probe";

    /// A fresh one.
    pub fn draw() -> Probe {
        Probe(Secret::random(&OsEntropy))
    }

    /// Whether this is what was sealed.
    pub fn is(&self, opened: &Secret<32>) -> bool {
        self.0 == *opened
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_blob_is_read_as_it_was_stored_and_no_other_length_or_format() {
        let blob = DeviceBlob {
            nonce: [1; NONCE_BYTES],
            sealed: [2; KEY_BYTES],
            tag: [3; TAG_BYTES],
        };
        let bytes = blob.to_bytes();
        assert_eq!(bytes.len(), 61);
        assert_eq!(DeviceBlob::parse(&bytes).unwrap().to_bytes(), bytes);
        for length in 0..bytes.len() {
            let cut = DeviceBlob::parse(&bytes[..length]);
            assert!(matches!(cut, Err(Error::Tampered { .. })), "{length}");
        }
        let other = [&[2], &bytes[1..]].concat();
        assert!(matches!(
            DeviceBlob::parse(&other),
            Err(Error::Unsupported(_))
        ));
    }
}
