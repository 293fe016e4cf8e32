//! Every key derivation, and every label, in one table.
//!
//! All of it is HKDF-SHA256 (RFC 5869). The info string is unambiguous, so that no two derivations can meet:
//!
//! ```text
//! label (ASCII, from the table below) | 0x00 | for each part: length u32 BE | bytes
//! ```
//!
//! What must hold: a label is used for one purpose and never changes. A new purpose gets a new label.
//!
//! One key comes from a person and not from a key: a passphrase goes through Argon2id (RFC 9106), which makes each guess cost memory and
//! time. What it costs stands beside what it opens, so the bounds below hold for numbers that were read from a file, too.

use argon2::{Algorithm, Argon2, Block, Params, Version};
use hkdf::Hkdf;
use hkdf::hmac::{Hmac, KeyInit, Mac};
use sha2::{Digest, Sha256};
use zeroize::Zeroize;

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
    /// What a passphrase gives -> the key that seals the keyring's material.
    KeyringSeal,
    /// What a passphrase gives -> its public mark in the keyring's file, which tells a wrong passphrase from a damaged file.
    KeyringMark,
    /// Key material -> its public id, where the material came from outside.
    MaterialId,
}

impl Label {
    #[cfg(test)]
    pub(crate) const ALL: [Label; 10] = [
        Label::TableKey,
        Label::SystemTable,
        Label::TableKeyWrap,
        Label::DataKeyWrap,
        Label::Fingerprint,
        Label::RootTag,
        Label::DerivedSecret,
        Label::KeyringSeal,
        Label::KeyringMark,
        Label::MaterialId,
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
            Label::KeyringSeal => "palladium 1 keyring seal",
            Label::KeyringMark => "palladium 1 keyring mark",
            Label::MaterialId => "palladium 1 material id",
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

/// What it costs to try one passphrase.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct PassphraseCost {
    /// Memory that one try fills, in KiB: from [`MEMORY_KIB_MIN`](Self::MEMORY_KIB_MIN) to [`MEMORY_KIB_MAX`](Self::MEMORY_KIB_MAX).
    pub memory_kib: u32,
    /// How often it is filled, at most [`PASSES_MAX`](Self::PASSES_MAX).
    pub passes: u32,
    /// Parts of the memory that could be filled side by side, at most [`LANES_MAX`](Self::LANES_MAX).
    pub lanes: u32,
}

impl PassphraseCost {
    /// Less is guessed too cheaply.
    pub const MEMORY_KIB_MIN: u32 = 8 << 10;
    /// More would let a file that somebody else has written take a machine's memory.
    pub const MEMORY_KIB_MAX: u32 = 512 << 10;
    /// More would let such a file take minutes.
    pub const PASSES_MAX: u32 = 16;
    /// As many as a few cores are good for.
    pub const LANES_MAX: u32 = 16;

    /// Is each number within its bounds?
    pub fn is_sane(&self) -> bool {
        (Self::MEMORY_KIB_MIN..=Self::MEMORY_KIB_MAX).contains(&self.memory_kib)
            && (1..=Self::PASSES_MAX).contains(&self.passes)
            && (1..=Self::LANES_MAX).contains(&self.lanes)
    }
}

impl Default for PassphraseCost {
    /// RFC 9106's choice where memory is not plenty: 64 MiB, three passes, four lanes.
    fn default() -> Self {
        PassphraseCost {
            memory_kib: 64 << 10,
            passes: 3,
            lanes: 4,
        }
    }
}

/// Argon2id over a passphrase; `None` if the cost is out of bounds. The memory that it fills is wiped.
pub(crate) fn argon2id(
    passphrase: &[u8],
    salt: &[u8; 16],
    cost: PassphraseCost,
) -> Option<Secret<32>> {
    if !cost.is_sane() {
        return None;
    }
    let params = Params::new(cost.memory_kib, cost.passes, cost.lanes, Some(32)).ok()?;
    let mut memory = vec![Block::default(); params.block_count()];
    let hasher = Argon2::new(Algorithm::Argon2id, Version::V0x13, params);
    let mut hashed = Ok(());
    let secret = Secret::filled(|out| {
        hashed = hasher.hash_password_into_with_memory(passphrase, salt, out, &mut memory);
    });
    memory.iter_mut().for_each(Block::zeroize);
    hashed.ok().map(|()| secret)
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
