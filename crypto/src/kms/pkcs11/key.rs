//! Work with a key that was found: what it allows, seal, open, and whether a refusal is the blob's fault or the token's.

use cryptoki::error::Error as ModuleError;
use cryptoki::mechanism::Mechanism;
use cryptoki::mechanism::aead::GcmParams;
use cryptoki::object::{Attribute, AttributeType, KeyType};
use zeroize::Zeroizing;

use super::answers;
use super::token::{Failure, Found, Outcome};
use crate::aead::{NONCE_BYTES, TAG_BYTES};
use crate::entropy::{Entropy, OsEntropy};
use crate::error::{DenialReason, Error};
use crate::keys::EncryptionContext;
use crate::secret::Secret;

const FORMAT: u8 = 1;
const KEY_BYTES: usize = 32;
const SEALED_AT: usize = 1 + NONCE_BYTES;
const BLOB_BYTES: usize = SEALED_AT + KEY_BYTES + TAG_BYTES;

/// What a key's attributes say. What a token does not show is `None`.
#[derive(Default)]
struct Attributes {
    encrypt: Option<bool>,
    decrypt: Option<bool>,
    sensitive: Option<bool>,
    extractable: Option<bool>,
    aes: Option<bool>,
    bytes: Option<u64>,
}

impl Attributes {
    /// Refuses a key that others could read, or that is no AES-256 key.
    fn must_be_safe(&self, key: &str) -> Result<(), Error> {
        let refusal = if self.aes != Some(true) || self.bytes.is_some_and(|bytes| bytes != 32) {
            "is not an AES key of 256 bits"
        } else if self.sensitive != Some(true) {
            "is not CKA_SENSITIVE: its value can be read from the token"
        } else if self.extractable != Some(false) {
            "is CKA_EXTRACTABLE: it can be taken out of the token"
        } else {
            return Ok(());
        };
        Err(Error::invalid(format!("{key} {refusal}")))
    }

    fn denial(&self) -> Option<DenialReason> {
        if self.decrypt == Some(false) {
            Some(DenialReason::Disabled)
        } else if self.encrypt == Some(false) {
            // What stands under the key can still be read: its tables are not locked.
            Some(DenialReason::AccessDenied)
        } else {
            None
        }
    }
}

impl Found<'_> {
    /// Why the key may not be used now, if so; refuses a key that must never be.
    pub fn describe(&self) -> Outcome<Option<DenialReason>> {
        let attributes = self.attributes()?;
        attributes.must_be_safe(self.name.text())?;
        Ok(attributes.denial())
    }

    /// Encrypts a data key.
    pub fn seal(&self, plaintext: &Secret<32>, context: &EncryptionContext) -> Outcome<Vec<u8>> {
        let attributes = self.attributes()?;
        attributes.must_be_safe(self.name.text())?;
        if attributes.encrypt == Some(false) {
            return Err(self.forbidden(DenialReason::AccessDenied, "CKA_ENCRYPT"));
        }
        let sealed = self.encrypt(plaintext.expose(), &associated(context))?;
        if sealed.len() != BLOB_BYTES {
            return Err(Failure::Final(Error::Unsupported(format!(
                "{}: the token's AES-GCM adds {} bytes, not a tag of {TAG_BYTES}",
                self.name.text(),
                sealed.len() - SEALED_AT.min(sealed.len())
            ))));
        }
        Ok(sealed)
    }

    /// Decrypts what `seal` made under the same key and an equal context.
    pub fn open(&self, blob: &[u8], context: &EncryptionContext) -> Outcome<Secret<32>> {
        if blob.first().is_some_and(|format| *format != FORMAT) {
            return Err(Failure::Final(Error::Unsupported(format!(
                "encrypted data key of format {}",
                blob[0]
            ))));
        }
        let blob: &[u8; BLOB_BYTES] = blob
            .try_into()
            .map_err(|_| Error::tampered("encrypted data key: wrong length"))?;
        // Asked each time: not every token keeps looking at the attribute once a key is in use.
        if self.attributes()?.decrypt == Some(false) {
            return Err(self.forbidden(DenialReason::Disabled, "CKA_DECRYPT"));
        }
        let associated = associated(context);
        let opened = match self.decrypt(blob, &associated) {
            Err(error) if !answers::is_about_the_key(&error) && self.works() => {
                // The token works, so it is the blob, unless what failed was one bad moment.
                self.decrypt(blob, &associated).map_err(|error| {
                    if answers::is_about_the_key(&error) || answers::is_about_the_session(&error) {
                        return Failure::Broken(error);
                    }
                    Failure::Final(Error::tampered(
                        "encrypted data key: changed, made under another key, or for another encryption context",
                    ))
                })?
            }
            answer => answer?,
        };
        Secret::from_slice(&opened)
            .ok_or_else(|| Failure::Final(Error::tampered("encrypted data key: holds no 32 bytes")))
    }

    /// Seals and opens a probe.
    fn works(&self) -> bool {
        let probe = Secret::<32>::random(&OsEntropy);
        self.encrypt(probe.expose(), b"probe")
            .and_then(|sealed| self.decrypt(&sealed, b"probe"))
            .is_ok_and(|opened| Secret::from_slice(&opened).is_some_and(|opened| opened == probe))
    }

    /// A whole blob. A token that makes its own nonces writes them over ours.
    fn encrypt(&self, plaintext: &[u8; 32], associated: &[u8]) -> Result<Vec<u8>, ModuleError> {
        let mut nonce = [0; NONCE_BYTES];
        OsEntropy.fill(&mut nonce);
        let mechanism = gcm(&mut nonce, associated)?;
        let sealed = self.session.encrypt(&mechanism, self.handle, plaintext)?;
        Ok([&[FORMAT], &nonce[..], &sealed].concat())
    }

    fn decrypt(&self, blob: &[u8], associated: &[u8]) -> Result<Zeroizing<Vec<u8>>, ModuleError> {
        let mut nonce = [0; NONCE_BYTES];
        nonce.copy_from_slice(&blob[1..SEALED_AT]);
        let mechanism = gcm(&mut nonce, associated)?;
        self.session
            .decrypt(&mechanism, self.handle, &blob[SEALED_AT..])
            .map(Zeroizing::new)
    }

    fn attributes(&self) -> Outcome<Attributes> {
        let asked = [
            AttributeType::Encrypt,
            AttributeType::Decrypt,
            AttributeType::Sensitive,
            AttributeType::Extractable,
            AttributeType::KeyType,
            AttributeType::ValueLen,
        ];
        let mut attributes = Attributes::default();
        for attribute in self.session.get_attributes(self.handle, &asked)? {
            match attribute {
                Attribute::Encrypt(value) => attributes.encrypt = Some(value),
                Attribute::Decrypt(value) => attributes.decrypt = Some(value),
                Attribute::Sensitive(value) => attributes.sensitive = Some(value),
                Attribute::Extractable(value) => attributes.extractable = Some(value),
                Attribute::KeyType(value) => attributes.aes = Some(value == KeyType::AES),
                Attribute::ValueLen(value) => attributes.bytes = Some(value.into()),
                _ => {}
            }
        }
        Ok(attributes)
    }

    fn forbidden(&self, reason: DenialReason, attribute: &str) -> Failure {
        Failure::Final(Error::denied(
            reason,
            format!("{}: {attribute} is false", self.name.text()),
        ))
    }
}

fn gcm<'a>(nonce: &'a mut [u8], associated: &'a [u8]) -> Result<Mechanism<'a>, ModuleError> {
    Ok(Mechanism::AesGcm(GcmParams::new(
        nonce,
        associated,
        (8 * TAG_BYTES as u64).into(),
    )?))
}

fn associated(context: &EncryptionContext) -> Vec<u8> {
    [&[FORMAT][..], &context.to_bytes()].concat()
}
