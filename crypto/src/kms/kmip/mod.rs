//! Keys in a server that speaks KMIP 1.4: `kmip:id=UNIQUE-IDENTIFIER` or `kmip:name=NAME`.
//!
//! Only what a table needs of KMIP is spoken: Locate, Get Attributes, Encrypt and Decrypt with AES-GCM, one after the other on a TLS connection
//! that lives for one call. 32 random bytes from our own entropy go in, and come back encrypted; the encryption context goes along as "Authenticated
//! Encryption Additional Data", so the server itself refuses another table's (`kms::device_blob` has the layout).
//!
//! What must hold:
//! - **A key is used only while its State is Active.** KMIP lets a deactivated key go on decrypting; here its owner has taken it away. So each
//!   call reads the State first, and a revoked key is Disabled whatever the server would still do with it.
//! - **Denied** is what the server answered on a connection on which it accepted our certificate, in an answer about this key: `answers` has the list.
//!   A certificate that it does not accept is unavailable.
//! - **Tampered** cannot be read from a code (servers answer "general failure"): the server must seal and open a probe under the same key, and
//!   refuse the blob again.
//! - **A name that two keys have is never guessed at.**
//!
//! What KMIP cannot promise: whoever may Get the key can fetch it in clear, this server's certificate included where the server ties Decrypt to Get
//! (PyKMIP does). A key in KMIP is as safe as its policy; a key in a token (`pkcs11`) never leaves it.
//!
//! `ttlv` is the encoding, `words` the numbers of the standard, `line` a connection, `session` work with one key, `answers` what refusals mean.

mod answers;
mod line;
mod session;
mod ttlv;
mod words;

use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;

use self::line::Line;
use self::session::Session;
use super::device_blob::DeviceBlob;
use super::{
    Answering, GeneratedKey, KeyDescription, KeyServiceKind, Kms, Opening, Reply, Settings,
};
use crate::entropy::OsEntropy;
use crate::error::{Error, Result};
use crate::keys::{CmkRef, EncryptionContext};
use crate::secret::Secret;

/// The line of this service.
pub(super) const KIND: KeyServiceKind = KeyServiceKind {
    provider: "kmip",
    open,
};

/// The table `[kms.kmip]`. The files are read for each connection, so that renewed certificates count at once.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct KmipSettings {
    /// Host and port.
    address: String,
    /// Whose certificates the server may show (PEM).
    ca_file: PathBuf,
    /// Who we are (PEM, with intermediates).
    client_cert_file: PathBuf,
    /// The key of that certificate (PEM, not encrypted).
    client_key_file: PathBuf,
    /// The name in the server's certificate; the host of `address` if absent.
    server_name: Option<String>,
}

fn open(settings: Settings) -> Opening {
    Box::pin(async move {
        let settings: KmipSettings = serde_json::from_value(settings)
            .map_err(|error| Error::invalid(format!("settings: {error}")))?;
        line::check(&settings)?;
        let service: Arc<dyn Kms> = Arc::new(KmipKms { settings });
        Ok(service)
    })
}

struct KmipKms {
    settings: KmipSettings,
}

/// Which key.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
enum KeyName<'a> {
    /// Its unique identifier.
    Id(&'a str),
    /// Its name.
    Name(&'a str),
}

impl KeyName<'_> {
    fn of(key: &CmkRef) -> Result<KeyName<'_>> {
        match key.name().split_once('=') {
            Some(("id", id)) if !id.is_empty() => Ok(KeyName::Id(id)),
            Some(("name", name)) if !name.is_empty() => Ok(KeyName::Name(name)),
            _ => Err(Error::invalid(format!(
                "{key}: a KMIP key is called kmip:id=UNIQUE-IDENTIFIER or kmip:name=NAME"
            ))),
        }
    }
}

impl KmipKms {
    /// Connects, and finds the key.
    async fn session(&self, key: &CmkRef, request: &mut Option<String>) -> Result<Session> {
        if key.provider() != "kmip" {
            return Err(Error::Unsupported(format!(
                "a KMIP server resolves kmip:... only, not {key}"
            )));
        }
        let name = KeyName::of(key)?;
        let line = Line::open(&self.settings).await?;
        Session::begin(line, name, key, request).await
    }

    async fn describe_now(
        &self,
        key: &CmkRef,
        request: &mut Option<String>,
    ) -> Result<KeyDescription> {
        let mut session = self.session(key, request).await?;
        let denial = session.describe(request).await?;
        Ok(KeyDescription {
            key: CmkRef::parse(&format!("kmip:id={}", session.id()))?,
            enabled: denial.is_none(),
            denial,
        })
    }

    async fn generate_now(
        &self,
        key: &CmkRef,
        context: &EncryptionContext,
        request: &mut Option<String>,
    ) -> Result<GeneratedKey> {
        let plaintext = Secret::random(&OsEntropy);
        let ciphertext = self.encrypt_now(key, &plaintext, context, request).await?;
        Ok(GeneratedKey {
            plaintext,
            ciphertext,
        })
    }

    async fn encrypt_now(
        &self,
        key: &CmkRef,
        plaintext: &Secret<32>,
        context: &EncryptionContext,
        request: &mut Option<String>,
    ) -> Result<Vec<u8>> {
        let mut session = self.session(key, request).await?;
        session.seal(plaintext, context, request).await
    }

    async fn decrypt_now(
        &self,
        key: &CmkRef,
        ciphertext: &[u8],
        context: &EncryptionContext,
        request: &mut Option<String>,
    ) -> Result<Secret<32>> {
        let blob = DeviceBlob::parse(ciphertext)?;
        let mut session = self.session(key, request).await?;
        session.open(&blob, context, request).await
    }
}

impl Kms for KmipKms {
    fn describe<'a>(&'a self, key: &'a CmkRef) -> Answering<'a, KeyDescription> {
        Box::pin(async move {
            let mut request = None;
            let outcome = self.describe_now(key, &mut request).await;
            reply(outcome, request)
        })
    }

    fn generate_data_key<'a>(
        &'a self,
        key: &'a CmkRef,
        context: &'a EncryptionContext,
    ) -> Answering<'a, GeneratedKey> {
        Box::pin(async move {
            let mut request = None;
            let outcome = self.generate_now(key, context, &mut request).await;
            reply(outcome, request)
        })
    }

    fn decrypt<'a>(
        &'a self,
        key: &'a CmkRef,
        ciphertext: &'a [u8],
        context: &'a EncryptionContext,
    ) -> Answering<'a, Secret<32>> {
        Box::pin(async move {
            let mut request = None;
            let outcome = self
                .decrypt_now(key, ciphertext, context, &mut request)
                .await;
            reply(outcome, request)
        })
    }

    fn encrypt<'a>(
        &'a self,
        key: &'a CmkRef,
        plaintext: &'a Secret<32>,
        context: &'a EncryptionContext,
    ) -> Answering<'a, Vec<u8>> {
        Box::pin(async move {
            let mut request = None;
            let outcome = self
                .encrypt_now(key, plaintext, context, &mut request)
                .await;
            reply(outcome, request)
        })
    }
}

fn reply<T>(outcome: Result<T>, request_id: Option<String>) -> Reply<T> {
    Reply {
        outcome,
        request_id,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_named_by_its_identifier_or_its_name() {
        let key = |text: &str| CmkRef::parse(text).unwrap();
        assert_eq!(KeyName::of(&key("kmip:id=42")).unwrap(), KeyName::Id("42"));
        assert_eq!(
            KeyName::of(&key("kmip:name=a=b")).unwrap(),
            KeyName::Name("a=b")
        );
        for text in ["kmip:42", "kmip:id=", "kmip:name=", "kmip:uid=4"] {
            assert!(
                matches!(KeyName::of(&key(text)), Err(Error::Invalid(_))),
                "{text}"
            );
        }
    }
}
