//! The passphrase: key material sealed inside the keyring's file.
//!
//! ```text
//! passphrase --Argon2id, salt and cost from the file--> root
//!    root --HKDF--> mark (public, in the file)      tells a wrong passphrase before anything is opened
//!    root --HKDF--> sealing key                     AES-256-GCM over each material, with a random nonce
//!
//! sealed material    nonce 12 | ciphertext 32 | tag 16
//! associated data    "palladium keyring 2" | salt 16 | material id 16 | key's name
//! ```
//!
//! What stands outside the seal is what an owner must be able to change without it: states, policies, grants and aliases. So a key is taken
//! away without a passphrase, and given back without one, too. The seal hides the material from whoever gets the file; it is no signature.
//!
//! Nonces are random: a keyring holds some thousands of materials, each sealed once, far from what GCM allows one key.

use std::fmt;

use zeroize::Zeroizing;

use crate::aead::{Cipher, NONCE_BYTES, TAG_BYTES};
use crate::entropy::Entropy;
use crate::error::{Error, Result};
use crate::kdf::{self, Label, PassphraseCost};
use crate::secret::{Secret, equal};

const LABEL: &[u8] = b"palladium keyring 2";
/// Longer ones are a file given by mistake.
const PASSPHRASE_BYTES_MAX: usize = 1024;
/// Bytes of a sealed material.
pub(super) const SEALED_BYTES: usize = NONCE_BYTES + 32 + TAG_BYTES;

/// What a person types; wiped when dropped.
pub struct Passphrase(Zeroizing<Vec<u8>>);

impl Passphrase {
    /// Takes the bytes over: any, but not none, and at most 1024.
    pub fn new(bytes: Zeroizing<Vec<u8>>) -> Result<Passphrase> {
        match bytes.len() {
            0 => Err(Error::invalid("the passphrase is empty")),
            1..=PASSPHRASE_BYTES_MAX => Ok(Passphrase(bytes)),
            _ => Err(Error::invalid(format!(
                "the passphrase is longer than {PASSPHRASE_BYTES_MAX} bytes"
            ))),
        }
    }
}

impl PartialEq for Passphrase {
    fn eq(&self, other: &Self) -> bool {
        equal(&self.0, &other.0)
    }
}

impl fmt::Debug for Passphrase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Passphrase(..)")
    }
}

/// How a keyring is protected; public.
#[derive(Clone, Eq, PartialEq, Debug)]
pub(super) struct Protection {
    pub cost: PassphraseCost,
    pub salt: [u8; 16],
    pub mark: [u8; 32],
}

/// The sealing key of a protected keyring.
pub(super) struct Unlocked {
    salt: [u8; 16],
    key: Secret<32>,
}

impl Protection {
    /// A new protection under a passphrase.
    pub fn new(
        passphrase: &Passphrase,
        cost: PassphraseCost,
        entropy: &dyn Entropy,
    ) -> Result<(Protection, Unlocked)> {
        let mut salt = [0; 16];
        entropy.fill(&mut salt);
        let (mark, unlocked) = stretch(passphrase, salt, cost)?;
        Ok((Protection { cost, salt, mark }, unlocked))
    }

    /// The sealing key, if this is the passphrase.
    pub fn unlock(&self, passphrase: &Passphrase) -> Result<Unlocked> {
        let (mark, unlocked) = stretch(passphrase, self.salt, self.cost)?;
        match equal(&mark, &self.mark) {
            true => Ok(unlocked),
            false => Err(Error::invalid("this is not the keyring's passphrase")),
        }
    }

    /// Is this the protection that was unlocked?
    pub fn is_of(&self, unlocked: &Unlocked) -> bool {
        self.salt == unlocked.salt
    }
}

fn stretch(
    passphrase: &Passphrase,
    salt: [u8; 16],
    cost: PassphraseCost,
) -> Result<([u8; 32], Unlocked)> {
    let root = kdf::argon2id(&passphrase.0, &salt, cost)
        .ok_or_else(|| Error::invalid(format!("a passphrase cannot cost {cost:?}")))?;
    let mark = *kdf::derive::<32>(Label::KeyringMark, &root, &salt, &[]).expose();
    let key = kdf::derive(Label::KeyringSeal, &root, &salt, &[]);
    Ok((mark, Unlocked { salt, key }))
}

impl Unlocked {
    /// Seals the material `id` of the key `name`.
    pub fn seal(
        &self,
        name: &str,
        id: &[u8; 16],
        secret: &Secret<32>,
        entropy: &dyn Entropy,
    ) -> [u8; SEALED_BYTES] {
        let mut sealed = [0; SEALED_BYTES];
        let (nonce, rest) = sealed.split_at_mut(NONCE_BYTES);
        let (ciphertext, tag) = rest.split_at_mut(32);
        entropy.fill(nonce);
        ciphertext.copy_from_slice(secret.expose());
        let nonce = (&*nonce).try_into().expect("twelve bytes");
        let made = Cipher::new(&self.key)
            .seal_in_place(nonce, &self.associated(name, id), ciphertext)
            .expect("32 bytes are within GCM's limits");
        tag.copy_from_slice(&made);
        sealed
    }

    /// Opens what `seal` made of the same material of the same key.
    pub fn open(
        &self,
        name: &str,
        id: &[u8; 16],
        sealed: &[u8; SEALED_BYTES],
    ) -> Result<Secret<32>> {
        let (nonce, rest) = sealed.split_at(NONCE_BYTES);
        let (ciphertext, tag) = rest.split_at(32);
        let nonce = nonce.try_into().expect("twelve bytes");
        let tag = tag.try_into().expect("sixteen bytes");
        let mut opened = Ok(());
        let secret = Secret::filled(|out| {
            opened = Cipher::new(&self.key).open_into(
                nonce,
                &self.associated(name, id),
                ciphertext,
                out,
                tag,
            );
        });
        opened
            .map(|()| secret)
            .map_err(|_| Error::tampered(format!("the sealed material of local:{name}")))
    }

    fn associated(&self, name: &str, id: &[u8; 16]) -> Vec<u8> {
        [LABEL, &self.salt, id, name.as_bytes()].concat()
    }
}
