//! Signatures: what this server states for people who do not hold its keys. The only door to the signature library.
//!
//! ```text
//! signing key   Ed25519 (RFC 8032), seed = the service key's derived secret "signing key"
//! signed        label (ASCII, from the table below) | 0x00 | for each part: length u32 BE | bytes
//! ```
//!
//! The key is the service key's child: it needs no keeping of its own, and is another one under another service key. Whoever holds the service's key can sign
//! anything; a signature tells everybody else that the statement came from there, once they have pinned the public key.
//!
//! What must hold: a label is used for one purpose and never changes.

use std::fmt;
use std::str::FromStr;

use ed25519_dalek::{Signer as _, SigningKey, VerifyingKey};

use crate::error::{Error, Result};
use crate::hex;
use crate::keys::TableKey;

const SEED_LABEL: &str = "signing key";

/// What is stated.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Statement {
    /// Where the audit trail stands.
    AuditHead,
    /// What of the audit trail was pruned.
    AuditCheckpoint,
    /// Which keys were destroyed.
    ShredCertificate,
}

impl Statement {
    #[cfg(test)]
    const ALL: [Statement; 3] = [
        Statement::AuditHead,
        Statement::AuditCheckpoint,
        Statement::ShredCertificate,
    ];

    const fn text(self) -> &'static str {
        match self {
            Statement::AuditHead => "palladium 1 audit head",
            Statement::AuditCheckpoint => "palladium 1 audit checkpoint",
            Statement::ShredCertificate => "palladium 1 shred certificate",
        }
    }

    fn message(self, parts: &[&[u8]]) -> Vec<u8> {
        let mut message = self.text().as_bytes().to_vec();
        message.push(0);
        for part in parts {
            let length =
                u32::try_from(part.len()).expect("statements are a few numbers, or a certificate");
            message.extend_from_slice(&length.to_be_bytes());
            message.extend_from_slice(part);
        }
        message
    }
}

/// Signs for the holder of a service key. Wiped when dropped.
pub struct Signer(SigningKey);

/// By which everybody can check what a [`Signer`] signed. Prints as 64 hexadecimal digits.
#[derive(Copy, Clone, Eq, PartialEq, Hash, Debug)]
pub struct PublicKey(pub [u8; 32]);

/// A signature. Prints as 128 hexadecimal digits.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Signature(pub [u8; 64]);

impl Signer {
    /// The signer that belongs to a service key.
    pub fn derive(service: &TableKey) -> Signer {
        Signer(SigningKey::from_bytes(
            service.derive_secret(SEED_LABEL).expose(),
        ))
    }

    /// What others check with.
    pub fn public_key(&self) -> PublicKey {
        PublicKey(self.0.verifying_key().to_bytes())
    }

    /// Signs a statement.
    pub fn sign(&self, statement: Statement, parts: &[&[u8]]) -> Signature {
        Signature(self.0.sign(&statement.message(parts)).to_bytes())
    }
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Signer({})", self.public_key())
    }
}

impl PublicKey {
    /// Did the holder of this key's other half state this?
    pub fn verify(&self, statement: Statement, parts: &[&[u8]], signature: &Signature) -> bool {
        let Ok(key) = VerifyingKey::from_bytes(&self.0) else {
            return false;
        };
        let signature = ed25519_dalek::Signature::from_bytes(&signature.0);
        // Strict: a key or a signature has one spelling, and no weak key states anything.
        key.verify_strict(&statement.message(parts), &signature)
            .is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Display for Signature {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl FromStr for PublicKey {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        hex::decode(text)
            .map(PublicKey)
            .ok_or_else(|| Error::invalid("not a public key: 64 hexadecimal digits are expected"))
    }
}

impl FromStr for Signature {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        hex::decode(text)
            .map(Signature)
            .ok_or_else(|| Error::invalid("not a signature: 128 hexadecimal digits are expected"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::{ClusterId, TableId};
    use crate::keys::CmkRef;
    use crate::secret::Secret;

    fn signer(byte: u8) -> Signer {
        let cmk = CmkRef::parse("local:default").unwrap();
        let key = TableKey::derive(
            &Secret::from_bytes([byte; 32]),
            ClusterId([0; 16]),
            TableId([0; 16]),
            1,
            &cmk,
        );
        Signer::derive(&key)
    }

    #[test]
    fn a_statement_holds_for_its_key_its_label_and_its_parts_alone() {
        let (ours, theirs) = (signer(1), signer(2));
        let signature = ours.sign(Statement::AuditHead, &[b"ab", b"c"]);
        let check =
            |key: PublicKey, statement, parts: &[&[u8]]| key.verify(statement, parts, &signature);
        assert!(check(
            ours.public_key(),
            Statement::AuditHead,
            &[b"ab", b"c"]
        ));
        assert!(!check(
            ours.public_key(),
            Statement::AuditHead,
            &[b"a", b"bc"]
        ));
        assert!(!check(
            ours.public_key(),
            Statement::AuditCheckpoint,
            &[b"ab", b"c"]
        ));
        assert!(!check(
            theirs.public_key(),
            Statement::AuditHead,
            &[b"ab", b"c"]
        ));
    }

    #[test]
    fn no_label_begins_another() {
        for left in Statement::ALL {
            for right in Statement::ALL {
                let begins = right.message(&[]).starts_with(&left.message(&[]));
                assert!(left == right || !begins, "{left:?} {right:?}");
            }
        }
    }

    #[test]
    fn key_and_signature_are_read_back_as_they_are_printed() {
        let signer = signer(3);
        let signature = signer.sign(Statement::ShredCertificate, &[b"x"]);
        assert_eq!(
            signer
                .public_key()
                .to_string()
                .parse::<PublicKey>()
                .unwrap(),
            signer.public_key()
        );
        assert_eq!(
            signature.to_string().parse::<Signature>().unwrap(),
            signature
        );
        assert!("00".parse::<Signature>().is_err());
    }
}
