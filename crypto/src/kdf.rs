//! Every key derivation, and every label, in one table.
//!
//! All of it is HKDF-SHA256 (RFC 5869). The info string is unambiguous, so that no two derivations can meet:
//!
//! ```text
//! label (ASCII, from the table below) | 0x00 | for each part: length u32 BE | bytes
//! ```
//!
//! What must hold: a label is used for one purpose and never changes. A new purpose gets a new label.

use hkdf::Hkdf;
use hkdf::hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};

use crate::secret::Secret;

/// Bytes of an HMAC-SHA256 or of a SHA-256 digest.
pub const DIGEST_BYTES: usize = 32;

/// What a derived key is for.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) enum Label {
    /// KMS plaintext -> table key.
    TableKey,
    /// The service's own key -> the key of one system table.
    SystemTable,
    /// Newer table key -> one-time key that wraps an older one, with its commitment.
    TableKeyWrap,
    /// Table key -> one-time key that wraps a data key, with its commitment.
    DataKeyWrap,
    /// Table key -> its public fingerprint.
    Fingerprint,
    /// Table key -> key of the MAC over a root's public bytes.
    RootTag,
    /// Table key -> a secret with a name of the caller's.
    DerivedSecret,
}

impl Label {
    #[cfg(test)]
    pub(crate) const ALL: [Label; 7] = [
        Label::TableKey,
        Label::SystemTable,
        Label::TableKeyWrap,
        Label::DataKeyWrap,
        Label::Fingerprint,
        Label::RootTag,
        Label::DerivedSecret,
    ];

    const fn text(self) -> &'static str {
        match self {
            Label::TableKey => "palladium 1 table key",
            Label::SystemTable => "palladium 1 system table key",
            Label::TableKeyWrap => "palladium 1 table key wrap",
            Label::DataKeyWrap => "palladium 1 data key wrap",
            Label::Fingerprint => "palladium 1 fingerprint",
            Label::RootTag => "palladium 1 root tag",
            Label::DerivedSecret => "palladium 1 derived secret",
        }
    }
}

/// Derives `N` bytes (at most 8160) for one purpose from a key, a salt (may be empty) and the things they are bound to.
pub(crate) fn derive<const N: usize>(
    label: Label,
    key: &Secret<32>,
    salt: &[u8],
    parts: &[&[u8]],
) -> Secret<N> {
    const { assert!(N <= 255 * DIGEST_BYTES) };
    let info = info(label, parts);
    Secret::filled(|out| hkdf_sha256(salt, key.expose(), &info, out))
}

/// HKDF-SHA256 as RFC 5869 has it: extract, then expand. `out` is at most 8160 bytes.
pub fn hkdf_sha256(salt: &[u8], key: &[u8], info: &[u8], out: &mut [u8]) {
    Hkdf::<Sha256>::new(Some(salt), key)
        .expand(info, out)
        .expect("callers ask for at most 255 digests");
}

/// HMAC-SHA256 over the concatenation of `parts`; callers make the parts' borders unambiguous.
pub fn hmac_sha256(key: &Secret<32>, parts: &[&[u8]]) -> [u8; DIGEST_BYTES] {
    let mut mac = <Hmac<Sha256> as KeyInit>::new_from_slice(key.expose())
        .expect("HMAC takes keys of any length");
    parts.iter().for_each(|part| mac.update(part));
    mac.finalize().into_bytes().into()
}

/// SHA-256 over the concatenation of `parts`.
pub fn sha256(parts: &[&[u8]]) -> [u8; DIGEST_BYTES] {
    let mut digest = Sha256::new();
    parts.iter().for_each(|part| digest.update(part));
    digest.finalize().into()
}

fn info(label: Label, parts: &[&[u8]]) -> Vec<u8> {
    let mut info = Vec::with_capacity(160);
    info.extend_from_slice(label.text().as_bytes());
    info.push(0);
    for part in parts {
        let length =
            u32::try_from(part.len()).expect("parts are ids, numbers, labels and bounded names");
        info.extend_from_slice(&length.to_be_bytes());
        info.extend_from_slice(part);
    }
    info
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_two_labels_are_alike_and_none_begins_another() {
        for left in Label::ALL {
            for right in Label::ALL {
                let (short, long) = (info(left, &[]), info(right, &[]));
                assert!(
                    left == right || !long.starts_with(&short),
                    "{left:?} {right:?}"
                );
            }
        }
    }

    #[test]
    fn moving_a_byte_from_one_part_to_the_next_changes_the_key() {
        let key = Secret::from_bytes([1; 32]);
        let left = derive::<32>(Label::RootTag, &key, &[], &[b"ab", b"c"]);
        let right = derive::<32>(Label::RootTag, &key, &[], &[b"a", b"bc"]);
        assert!(left != right);
    }
}
