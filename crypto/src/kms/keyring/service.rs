//! The keyring as the key service that a server asks.
//!
//! Authoritative denials, all of a file that is whole:
//!
//! | denial | the file says |
//! |---|---|
//! | `NotFound` | there is no such key, or the date of its deletion has come |
//! | `Disabled`, `PendingDeletion` | this is the key's state |
//! | `AccessDenied` | its policy asks for a grant, and none fits |
//! | `GrantRevoked` | the one that would fit was revoked |
//!
//! A file that is missing, torn or unreadable is *unreachable*, and so is one whose passphrase was not given: whoever broke it has not thereby
//! told us that the key is withdrawn.
//!
//! Each call looks at the file on the calling thread: some ten microseconds while the file is the same, and calls are rare. Making and retiring
//! a grant writes the file, as an edit by hand does.

use super::Keyring;
use super::contents::{Entry, Key};
use super::snapshot::Place;
use crate::error::{Error, Result, UnavailableReason};
use crate::keys::{CmkRef, EncryptionContext};
use crate::kms::blob::{self, Material};
use crate::kms::{
    Answering, GeneratedKey, Grant, GrantId, GrantOperation, GrantRequest, Grants, KeyDescription,
    Kms, Reply,
};
use crate::secret::Secret;

impl Keyring {
    fn describe_now(&self, key: &CmkRef) -> Result<KeyDescription> {
        let name = local_name(key)?;
        self.look(|snapshot| {
            let key = self.present(snapshot, name)?;
            let denial = key.denial(self.now());
            snapshot.authorize(key, GrantOperation::Describe, None)?;
            Ok(KeyDescription {
                key: CmkRef::local(&key.name)?,
                enabled: denial.is_none(),
                denial,
            })
        })
        .map_err(as_service)
    }

    fn generate_now(&self, key: &CmkRef, context: &EncryptionContext) -> Result<GeneratedKey> {
        let material = self.current(key, GrantOperation::Generate, context)?;
        let plaintext = Secret::random(self.entropy());
        let ciphertext = material.seal(&plaintext, context, self.entropy());
        Ok(GeneratedKey {
            plaintext,
            ciphertext,
        })
    }

    fn encrypt_now(
        &self,
        key: &CmkRef,
        plaintext: &Secret<32>,
        context: &EncryptionContext,
    ) -> Result<Vec<u8>> {
        let material = self.current(key, GrantOperation::Encrypt, context)?;
        Ok(material.seal(plaintext, context, self.entropy()))
    }

    fn decrypt_now(
        &self,
        key: &CmkRef,
        ciphertext: &[u8],
        context: &EncryptionContext,
    ) -> Result<Secret<32>> {
        let id = blob::material_id(ciphertext);
        let its_maker = |key: &Key<Place>| {
            let id = id.as_ref().ok()?;
            key.materials.iter().position(|entry| entry.id == *id)
        };
        // What is said of the key goes before what is wrong with the ciphertext.
        let material = self.material(key, GrantOperation::Decrypt, context, its_maker)?;
        id?;
        let material = material.ok_or_else(blob::other_material)?;
        material.open(ciphertext, context)
    }

    fn current(
        &self,
        key: &CmkRef,
        operation: GrantOperation,
        context: &EncryptionContext,
    ) -> Result<Material> {
        let newest = |key: &Key<Place>| key.materials.len().checked_sub(1);
        self.material(key, operation, context, newest)?
            .ok_or_else(blob::other_material)
    }

    /// The material that `choose` chooses, of a key that may be used so.
    fn material(
        &self,
        key: &CmkRef,
        operation: GrantOperation,
        context: &EncryptionContext,
        choose: impl Fn(&Key<Place>) -> Option<usize>,
    ) -> Result<Option<Material>> {
        let name = local_name(key)?;
        self.look(|snapshot| {
            let key = snapshot.index.find(name)?;
            key.usable(self.now())?;
            snapshot.authorize(key, operation, Some(context))?;
            let entry: Option<&Entry<Place>> = choose(key).map(|place| &key.materials[place]);
            entry
                .map(|entry| snapshot.material(key, entry, self.unlocked().as_deref()))
                .transpose()
        })
        .map_err(as_service)
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
        reply(self.decrypt_now(key, ciphertext, context))
    }

    fn encrypt<'a>(
        &'a self,
        key: &'a CmkRef,
        plaintext: &'a Secret<32>,
        context: &'a EncryptionContext,
    ) -> Answering<'a, Vec<u8>> {
        reply(self.encrypt_now(key, plaintext, context))
    }

    fn grants(&self) -> Option<&dyn Grants> {
        self.grant_credential_file().map(|_| self as &dyn Grants)
    }
}

impl Grants for Keyring {
    fn create_grant<'a>(
        &'a self,
        key: &'a CmkRef,
        request: &'a GrantRequest,
    ) -> Answering<'a, GrantId> {
        let made = local_name(key).and_then(|name| {
            self.create_grant_now(name, request)
                .map_err(as_service_of_edits)
        });
        reply(made)
    }

    fn retire_grant<'a>(&'a self, key: &'a CmkRef, grant: &'a GrantId) -> Answering<'a, ()> {
        let retired = local_name(key).and_then(|name| {
            self.retire_grant_now(name, grant)
                .map_err(as_service_of_edits)
        });
        reply(retired)
    }

    fn list_grants<'a>(&'a self, key: &'a CmkRef) -> Answering<'a, Vec<Grant>> {
        let listed =
            local_name(key).and_then(|name| self.list_grants_now(name).map_err(as_service));
        reply(listed)
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

/// The same of an edit, whose request can be wrong, too, or one too many.
fn as_service_of_edits(error: Error) -> Error {
    match error {
        Error::Invalid(_) => error,
        other => as_service(other),
    }
}
