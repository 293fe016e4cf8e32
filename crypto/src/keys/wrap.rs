//! One key under another: the shape that wrapped table keys and wrapped data keys share.
//!
//! ```text
//! offset  size
//!      0    32   salt, random
//!     32    32   ciphertext of the wrapped key
//!     64    16   tag
//!     80    32   commitment to the wrapping key and to all that the wrap is bound to
//! ```

use crate::aead::{Cipher, NONCE_BYTES};
use crate::entropy::Entropy;
use crate::error::{Error, Result};
use crate::kdf::{self, Label};
use crate::secret::{Secret, equal};

/// Bytes of a wrap without its version.
pub(super) const WRAP_BYTES: usize = 32 + 32 + 16 + 32;

/// The wrap's key seals one message in its life.
const NONCE: [u8; NONCE_BYTES] = [0; NONCE_BYTES];

/// Wraps `inner` under `outer`, bound to `label` and `parts`.
pub(super) fn wrap(
    outer: &Secret<32>,
    inner: &Secret<32>,
    label: Label,
    parts: &[&[u8]],
    entropy: &dyn Entropy,
) -> [u8; WRAP_BYTES] {
    let mut salt = [0; 32];
    entropy.fill(&mut salt);
    let (cipher, commitment) = one_time(outer, &salt, label, parts);
    let mut bytes = [0; WRAP_BYTES];
    bytes[..32].copy_from_slice(&salt);
    bytes[32..64].copy_from_slice(inner.expose());
    let tag = cipher
        .seal_in_place(&NONCE, &[], &mut bytes[32..64])
        .expect("32 bytes are within GCM's limits");
    bytes[64..80].copy_from_slice(&tag);
    bytes[80..].copy_from_slice(&commitment);
    bytes
}

/// Unwraps what `wrap` made under the same key, label and parts. `what` names it in the error.
pub(super) fn unwrap(
    outer: &Secret<32>,
    bytes: &[u8; WRAP_BYTES],
    label: Label,
    parts: &[&[u8]],
    what: impl Fn() -> String,
) -> Result<Secret<32>> {
    let (salt, rest) = bytes.split_at(32);
    let (ciphertext, rest) = rest.split_at(32);
    let (tag, stored_commitment) = rest.split_at(16);
    let (cipher, commitment) = one_time(outer, salt, label, parts);
    if !equal(&commitment, stored_commitment) {
        return Err(Error::tampered(what()));
    }
    let tag = tag.try_into().expect("split at its length");
    let mut opened = Ok(());
    let inner = Secret::filled(|out| opened = cipher.open_into(&NONCE, &[], ciphertext, out, tag));
    opened.map_err(|_| Error::tampered(what()))?;
    Ok(inner)
}

fn one_time(outer: &Secret<32>, salt: &[u8], label: Label, parts: &[&[u8]]) -> (Cipher, [u8; 32]) {
    let derived = kdf::derive::<64>(label, outer, salt, parts);
    let (key, commitment) = derived.expose().split_at(32);
    let key = Secret::from_slice(key).expect("half of 64 bytes");
    (
        Cipher::new(&key),
        commitment.try_into().expect("half of 64 bytes"),
    )
}
