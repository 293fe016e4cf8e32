//! Keys in a hardware security module, or in anything else that speaks PKCS#11: `pkcs11:token=LABEL;object=NAME`.
//!
//! The module (a shared library of the device's maker) is loaded while the server runs; nothing of it is needed to build. The key never
//! leaves its token: 32 random bytes from our own entropy go in, and come back encrypted under `CKM_AES_GCM`, bound to the encryption context
//! (`kms::device_blob` has the layout).
//!
//! What must hold:
//! - **A key that can be read is refused** (`describe`, `generate_data_key`): it must be AES-256, `CKA_SENSITIVE` and not `CKA_EXTRACTABLE`.
//! - **Denied** is said only after a login that the token accepted: `Disabled` when the key's `CKA_DECRYPT` is false or the
//!   token answers `CKR_KEY_FUNCTION_NOT_PERMITTED` when it is to decrypt; `AccessDenied`, which locks nothing else, when only encrypting is
//!   refused; `NotFound` when the token shows no such key twice, the second time in a fresh session
//!   that is still logged in afterwards. All else (PIN refused or locked, token absent, device errors) is unavailable.
//! - **Tampered** cannot be read from a code: tokens answer a wrong tag with `CKR_GENERAL_ERROR` and worse. It is said when the token refuses the
//!   blob, then seals and opens a probe with the same key in the same session, then refuses the blob again.
//! - **A module that hangs** holds one of a few threads of its own (`threads`), never the runtime, and never the end of the process. When
//!   all are held, calls wait in a short queue until the caller's deadline makes them unavailable.
//! - **A PIN that was refused is not tried again** until its file changes: tokens lock themselves after a few.
//!
//! `keys::token_key` reads the key's name, `token` keeps sessions and logs in, `key` works with a key that was found, `answers` says what a code means.

mod answers;
mod key;
mod threads;
mod token;

use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;

use self::threads::Threads;
use self::token::{Found, Module};
use super::{Answering, GeneratedKey, KeyDescription, KeyServiceKind, Kms, Opening, Settings};
use crate::entropy::OsEntropy;
use crate::error::{Error, Result};
use crate::keys::{CmkRef, EncryptionContext, TokenKey};
use crate::secret::Secret;

/// The line of this service.
pub(super) const KIND: KeyServiceKind = KeyServiceKind {
    provider: "pkcs11",
    open,
};

/// The table `[kms.pkcs11]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Pkcs11Settings {
    /// The device maker's library.
    module: PathBuf,
    /// The PIN of the token's user, and nothing else but a line end.
    pin_file: PathBuf,
    /// The only slot to look into; all if absent.
    slot: Option<u64>,
}

/// Reads the settings. The module is loaded at the first call: it may hang, and the device may be away.
fn open(settings: Settings) -> Opening {
    Box::pin(async move {
        let settings: Pkcs11Settings = serde_json::from_value(settings)
            .map_err(|error| Error::invalid(format!("settings: {error}")))?;
        let module = Module::new(settings.module, settings.pin_file, settings.slot);
        let service: Arc<dyn Kms> = Arc::new(Pkcs11Kms {
            threads: Threads::start(&Arc::new(module))?,
        });
        Ok(service)
    })
}

struct Pkcs11Kms {
    threads: Threads,
}

fn named(key: &CmkRef) -> Result<TokenKey> {
    if key.provider() != "pkcs11" {
        return Err(Error::Unsupported(format!(
            "a PKCS#11 token resolves pkcs11:... only, not {key}"
        )));
    }
    TokenKey::parse(key.name()).map_err(Error::invalid)
}

impl Pkcs11Kms {
    async fn with_key<T: Send + 'static>(
        &self,
        key: &CmkRef,
        work: impl Fn(&Found<'_>) -> token::Outcome<T> + Send + 'static,
    ) -> Result<T> {
        let name = named(key)?;
        self.threads
            .call(move |tokens| tokens.with_key(&name, &work))
            .await
    }
}

impl Kms for Pkcs11Kms {
    fn describe<'a>(&'a self, key: &'a CmkRef) -> Answering<'a, KeyDescription> {
        Box::pin(async move {
            let denial = self.with_key(key, |found| found.describe()).await;
            let description = denial.map(|denial| KeyDescription {
                key: key.clone(),
                enabled: denial.is_none(),
                denial,
            });
            description.into()
        })
    }

    fn generate_data_key<'a>(
        &'a self,
        key: &'a CmkRef,
        context: &'a EncryptionContext,
    ) -> Answering<'a, GeneratedKey> {
        let context = context.clone();
        Box::pin(async move {
            let generated = self.with_key(key, move |found| {
                let plaintext = Secret::random(&OsEntropy);
                let ciphertext = found.seal(&plaintext, &context)?;
                Ok(GeneratedKey {
                    plaintext,
                    ciphertext,
                })
            });
            generated.await.into()
        })
    }

    fn decrypt<'a>(
        &'a self,
        key: &'a CmkRef,
        ciphertext: &'a [u8],
        context: &'a EncryptionContext,
    ) -> Answering<'a, Secret<32>> {
        let (ciphertext, context) = (ciphertext.to_vec(), context.clone());
        Box::pin(async move {
            self.with_key(key, move |found| found.open(&ciphertext, &context))
                .await
                .into()
        })
    }

    fn encrypt<'a>(
        &'a self,
        key: &'a CmkRef,
        plaintext: &'a Secret<32>,
        context: &'a EncryptionContext,
    ) -> Answering<'a, Vec<u8>> {
        let plaintext = Secret::filled(|copy| copy.copy_from_slice(plaintext.expose()));
        let context = context.clone();
        Box::pin(async move {
            self.with_key(key, move |found| found.seal(&plaintext, &context))
                .await
                .into()
        })
    }
}
