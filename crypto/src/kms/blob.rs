//! What the local keyring encrypts a data key into.
//!
//! ```text
//! offset  size
//!      0     1   format, 1
//!      1    16   id of the key material
//!     17    12   nonce, random
//!     29    32   ciphertext
//!     61    16   tag
//!
//! associated data    format | material id | canonical encryption context
//! ```
//!
//! The nonce is random because the material outlives every process. A table needs one blob for each key version, so a key stays
//! many orders of magnitude below the 2^32 random nonces that GCM allows one key.

use crate::aead::{Cipher, NONCE_BYTES};
use crate::entropy::Entropy;
use crate::error::{Error, Result};
use crate::kdf::{self, Label};
use crate::keys::EncryptionContext;
use crate::secret::Secret;

const FORMAT: u8 = 1;
/// Bytes of a blob.
pub(super) const BLOB_BYTES: usize = 1 + 16 + NONCE_BYTES + 32 + 16;

/// Which material made this blob?
pub(super) fn material_id(blob: &[u8]) -> Result<[u8; 16]> {
    checked(blob).map(|blob| blob[1..17].try_into().expect("sixteen bytes"))
}

/// The blob names material that the key does not have.
pub(super) fn other_material() -> Error {
    Error::tampered("encrypted data key: made under other key material")
}

fn checked(blob: &[u8]) -> Result<&[u8; BLOB_BYTES]> {
    if blob.first().is_some_and(|format| *format != FORMAT) {
        return Err(Error::Unsupported(format!(
            "encrypted data key of format {}",
            blob[0]
        )));
    }
    blob.try_into()
        .map_err(|_| Error::tampered("encrypted data key: wrong length"))
}

/// The material of one customer key.
pub(super) struct Material {
    pub id: [u8; 16],
    pub secret: Secret<32>,
}

impl Material {
    pub fn random(entropy: &dyn Entropy) -> Self {
        let mut id = [0; 16];
        entropy.fill(&mut id);
        Material {
            id,
            secret: Secret::random(entropy),
        }
    }

    /// Encrypts `plaintext`, bound to `context`.
    pub fn seal(
        &self,
        plaintext: &Secret<32>,
        context: &EncryptionContext,
        entropy: &dyn Entropy,
    ) -> Vec<u8> {
        let mut nonce = [0; NONCE_BYTES];
        entropy.fill(&mut nonce);
        let mut blob = Vec::with_capacity(BLOB_BYTES);
        blob.push(FORMAT);
        blob.extend_from_slice(&self.id);
        blob.extend_from_slice(&nonce);
        blob.extend_from_slice(plaintext.expose());
        let tag = Cipher::new(&self.secret)
            .seal_in_place(&nonce, &self.associated(context), &mut blob[29..61])
            .expect("32 bytes are within GCM's limits");
        blob.extend_from_slice(&tag);
        blob
    }

    /// Material that its owner brought. Its id comes from its bytes: brought again, it opens what it had sealed before.
    pub fn imported(secret: Secret<32>) -> Self {
        let id = kdf::derive::<16>(Label::MaterialId, &secret, &[], &[]);
        Material {
            id: *id.expose(),
            secret,
        }
    }

    /// Decrypts what `seal` made under this material and an equal context.
    pub fn open(&self, blob: &[u8], context: &EncryptionContext) -> Result<Secret<32>> {
        let blob = checked(blob)?;
        if blob[1..17] != self.id {
            return Err(other_material());
        }
        let nonce = blob[17..29].try_into().expect("twelve bytes");
        let tag = blob[61..].try_into().expect("sixteen bytes");
        let mut opened = Ok(());
        let plaintext = Secret::filled(|out| {
            opened = Cipher::new(&self.secret).open_into(
                nonce,
                &self.associated(context),
                &blob[29..61],
                out,
                tag,
            );
        });
        opened.map_err(|_| {
            Error::tampered("encrypted data key: changed, or for another encryption context")
        })?;
        Ok(plaintext)
    }

    fn associated(&self, context: &EncryptionContext) -> Vec<u8> {
        [&[FORMAT][..], &self.id, &context.to_bytes()].concat()
    }
}
