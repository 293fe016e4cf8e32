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
use crate::kms::device_blob::{DeviceBlob, Probe, associated, refused_blob};
use crate::secret::Secret;

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
        let blob = self.encrypt(plaintext, &associated(context))?;
        blob.map(|blob| blob.to_bytes()).ok_or_else(|| {
            Failure::Final(Error::Unsupported(format!(
                "{}: the token's AES-GCM adds something else than a tag of {TAG_BYTES} bytes",
                self.name.text()
            )))
        })
    }

    /// Decrypts what `seal` made under the same key and an equal context.
    pub fn open(&self, blob: &[u8], context: &EncryptionContext) -> Outcome<Secret<32>> {
        let blob = DeviceBlob::parse(blob)?;
        // Asked each time: not every token keeps looking at the attribute once a key is in use.
        if self.attributes()?.decrypt == Some(false) {
            return Err(self.forbidden(DenialReason::Disabled, "CKA_DECRYPT"));
        }
        let associated = associated(context);
        let opened = match self.decrypt(&blob, &associated) {
            Err(error) if !answers::is_about_the_key(&error) && self.works() => {
                // The token works, so it is the blob, unless what failed was one bad moment.
                self.decrypt(&blob, &associated).map_err(|error| {
                    if answers::is_about_the_key(&error) || answers::is_about_the_session(&error) {
                        return Failure::Broken(error);
                    }
                    Failure::Final(refused_blob())
                })?
            }
            answer => answer?,
        };
        Secret::from_slice(&opened)
            .ok_or_else(|| Failure::Final(Error::tampered("encrypted data key: holds no 32 bytes")))
    }

    /// Seals and opens a probe.
    fn works(&self) -> bool {
        let probe = Probe::draw();
        let Ok(Some(blob)) = self.encrypt(&probe.0, Probe::ASSOCIATED) else {
            return false;
        };
        let opened = self.decrypt(&blob, Probe::ASSOCIATED);
        opened.is_ok_and(|opened| Secret::from_slice(&opened).is_some_and(|key| probe.is(&key)))
    }

    /// A whole blob; None if the token gives back something else. A token that makes its own nonces writes them over ours.
    fn encrypt(
        &self,
        plaintext: &Secret<32>,
        associated: &[u8],
    ) -> Result<Option<DeviceBlob>, ModuleError> {
        let mut nonce = [0; NONCE_BYTES];
        OsEntropy.fill(&mut nonce);
        let mechanism = gcm(&mut nonce, associated)?;
        let sealed = self
            .session
            .encrypt(&mechanism, self.handle, plaintext.expose())?;
        let blob = sealed.split_first_chunk().and_then(|(sealed, tag)| {
            Some(DeviceBlob {
                nonce,
                sealed: *sealed,
                tag: tag.try_into().ok()?,
            })
        });
        Ok(blob)
    }

    fn decrypt(
        &self,
        blob: &DeviceBlob,
        associated: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, ModuleError> {
        let mut nonce = blob.nonce;
        let mechanism = gcm(&mut nonce, associated)?;
        let sealed = [&blob.sealed[..], &blob.tag].concat();
        self.session
            .decrypt(&mechanism, self.handle, &sealed)
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
