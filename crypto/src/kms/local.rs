//! The keyring as a key service.
//!
//! Authoritative denials: `NotFound` (the file is whole and holds no such key) and `Disabled`. A file that is missing, torn or
//! unreadable is *unreachable*: whoever broke it has not thereby told us that the key is withdrawn.
//!
//! Each call reads the whole file on the calling thread: some tens of microseconds from the page cache, and calls are rare.

use crate::error::{DenialReason, Error, Result, UnavailableReason};
use crate::keys::{CmkRef, EncryptionContext};
use crate::kms::blob::Material;
use crate::kms::{Answering, GeneratedKey, KeyDescription, KeyState, Keyring, Kms, Reply};
use crate::secret::Secret;

/// The keyring, where it is spoken of as a key service.
pub type LocalKms = Keyring;

impl Keyring {
    fn usable(&self, key: &CmkRef) -> Result<Material> {
        self.material(local_name(key)?).map_err(as_service)
    }

    fn describe_now(&self, key: &CmkRef) -> Result<KeyDescription> {
        let entry = self.entry(local_name(key)?).map_err(as_service)?;
        let enabled = entry.state == KeyState::Enabled;
        Ok(KeyDescription {
            key: key.clone(),
            enabled,
            denial: (!enabled).then_some(DenialReason::Disabled),
        })
    }

    fn generate_now(&self, key: &CmkRef, context: &EncryptionContext) -> Result<GeneratedKey> {
        let material = self.usable(key)?;
        let plaintext = Secret::random(self.entropy());
        let ciphertext = material.seal(&plaintext, context, self.entropy());
        Ok(GeneratedKey {
            plaintext,
            ciphertext,
        })
    }
}

impl Kms for Keyring {
    fn describe<'a>(&'a self, key: &'a CmkRef) -> Answering<'a, KeyDescription> {
        reply(self.describe_now(key))
    }

    fn generate_data_key<'a>(
        &'a self,
        key: &'a CmkRef,
        context: &'a EncryptionContext,
    ) -> Answering<'a, GeneratedKey> {
        reply(self.generate_now(key, context))
    }

    fn decrypt<'a>(
        &'a self,
        key: &'a CmkRef,
        ciphertext: &'a [u8],
        context: &'a EncryptionContext,
    ) -> Answering<'a, Secret<32>> {
        reply(
            self.usable(key)
                .and_then(|material| material.open(ciphertext, context)),
        )
    }

    fn encrypt<'a>(
        &'a self,
        key: &'a CmkRef,
        plaintext: &'a Secret<32>,
        context: &'a EncryptionContext,
    ) -> Answering<'a, Vec<u8>> {
        reply(
            self.usable(key)
                .map(|material| material.seal(plaintext, context, self.entropy())),
        )
    }
}

/// The answer is there at once.
fn reply<'a, T: Send + 'a>(outcome: Result<T>) -> Answering<'a, T> {
    Box::pin(std::future::ready(Reply::from(outcome)))
}

fn local_name(key: &CmkRef) -> Result<&str> {
    match key.provider() {
        "local" => Ok(key.name()),
        _ => Err(Error::Unsupported(format!(
            "the keyring resolves local:NAME only, not {key}"
        ))),
    }
}

/// A broken file is a service that does not answer.
fn as_service(error: Error) -> Error {
    match error {
        Error::Denied { .. } | Error::Unavailable { .. } => error,
        broken => Error::unavailable(UnavailableReason::Unreachable, broken.to_string()),
    }
}
