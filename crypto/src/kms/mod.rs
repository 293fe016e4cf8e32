//! Key services: the one trait that faces the network.
//!
//! A key service holds customer keys (CMKs) and never shows them. It draws a data key and gives it twice, in the clear and
//! encrypted (`generate_data_key`); it decrypts what it encrypted, if the caller may use the key and names the same encryption
//! context (`decrypt`). Only `server::keys` calls it.
//!
//! What must hold for every provider:
//! - `Error::Denied` is an authoritative answer about this key to a caller whom the service has authenticated. Everything that is
//!   not on the provider's list of such answers is `Error::Unavailable`: expired credentials, time-outs, throttling, codes that
//!   nobody has seen before. A wrong "denied" locks tables; a wrong "unavailable" keeps a revoked key alive until its lease ends.
//! - `Error::Tampered` is about the ciphertext or the context, never about the key.
//! - A provider keeps no plaintext after it has answered.
//!
//! Each answer carries the name that the service gave the request, if it gives names: with it a row of `system_palladium.kms_calls`
//! can be found again in the service's own log.
//!
//! Futures are boxed so that the trait works as `dyn Kms`; calls are rare. `services` lists what this build knows: adding a service is
//! one file here and one line there.

#[cfg(feature = "kms-aws")]
mod aws;
mod blob;
#[cfg(any(feature = "kms-kmip", feature = "kms-pkcs11"))]
mod device_blob;
mod grants;
mod keyring;
#[cfg(feature = "kms-kmip")]
mod kmip;
#[cfg(feature = "kms-pkcs11")]
mod pkcs11;
#[cfg(any(test, feature = "test-util"))]
mod scripted;
mod services;
#[cfg(feature = "kms-vault")]
mod vault;

use std::future::Future;
use std::pin::Pin;

use crate::error::{DenialReason, Result};
use crate::keys::{CmkRef, EncryptionContext};
use crate::secret::Secret;

pub use grants::{Grant, GrantId, GrantOperation, GrantPurpose, GrantRequest, Grants};
pub use keyring::{
    DestroyedKey, GrantMaker, KeyPolicy, KeyState, Keyring, KeyringEntry, KeyringGrant,
    KeyringMoment, KeyringOverview, Passphrase, Succession, UnixSeconds,
};
#[cfg(any(test, feature = "test-util"))]
pub use scripted::{Behavior, Call, Operation, ScriptedKms};
pub use services::{KeyServiceKind, Opening, Settings, key_service_kinds};

/// A future that a trait object can give back.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// What came of one call.
pub struct Reply<T> {
    /// The service's answer.
    pub outcome: Result<T>,
    /// What the service calls this request in its own log.
    pub request_id: Option<String>,
}

impl<T> Reply<T> {
    /// The same reply, once what was answered has been looked at.
    pub fn and_then<U>(self, look: impl FnOnce(T) -> Result<U>) -> Reply<U> {
        Reply {
            outcome: self.outcome.and_then(look),
            request_id: self.request_id,
        }
    }
}

impl<T> From<Result<T>> for Reply<T> {
    /// The reply of a service that gives its requests no names.
    fn from(outcome: Result<T>) -> Self {
        Reply {
            outcome,
            request_id: None,
        }
    }
}

/// The future of a [`Reply`].
pub type Answering<'a, T> = BoxFuture<'a, Reply<T>>;

/// What a key service says about a key.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct KeyDescription {
    /// The key's lasting name: an alias is resolved to its key.
    pub key: CmkRef,
    /// May it be used?
    pub enabled: bool,
    /// If not: why.
    pub denial: Option<DenialReason>,
}

/// A data key that the service drew.
pub struct GeneratedKey {
    /// The key.
    pub plaintext: Secret<32>,
    /// The key as only the service can decrypt it.
    pub ciphertext: Vec<u8>,
}

/// A key service.
pub trait Kms: Send + Sync {
    /// Says what the key is and whether it may be used. Says nothing about leases: only `decrypt` renews one.
    fn describe<'a>(&'a self, key: &'a CmkRef) -> Answering<'a, KeyDescription>;

    /// Draws a data key under `key`.
    fn generate_data_key<'a>(
        &'a self,
        key: &'a CmkRef,
        context: &'a EncryptionContext,
    ) -> Answering<'a, GeneratedKey>;

    /// Decrypts what `generate_data_key` or `encrypt` made under the same key and context.
    fn decrypt<'a>(
        &'a self,
        key: &'a CmkRef,
        ciphertext: &'a [u8],
        context: &'a EncryptionContext,
    ) -> Answering<'a, Secret<32>>;

    /// Encrypts a data key under `key`.
    fn encrypt<'a>(
        &'a self,
        key: &'a CmkRef,
        plaintext: &'a Secret<32>,
        context: &'a EncryptionContext,
    ) -> Answering<'a, Vec<u8>>;

    /// The service's grants, if it has them and this server holds the separate credential that may make them.
    fn grants(&self) -> Option<&dyn Grants> {
        None
    }
}
