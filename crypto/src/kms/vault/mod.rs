//! HashiCorp Vault and OpenBao, secrets engine `transit`.
//!
//! A key is named `vault:MOUNT/KEY` (`name`). It must have been made with `derived=true`: then Vault derives a key of its own for each context,
//! and what was encrypted for one table does not decrypt for another. A key without it ignores the context silently, so it is refused.
//!
//! | call                | request                                       | permission                                  |
//! |---------------------|-----------------------------------------------|---------------------------------------------|
//! | `describe`          | `GET MOUNT/keys/KEY`                          | `read`                                      |
//! | `generate_data_key` | the same, then `POST MOUNT/datakey/plaintext/KEY` | `update`                                |
//! | `decrypt`           | `POST MOUNT/decrypt/KEY`                      | `update`                                    |
//! | `encrypt`           | describe, then `POST MOUNT/encrypt/KEY`       | `update`; never `create`, which makes keys  |
//!
//! The context goes along as its canonical bytes in base 64. Vault has no switch that disables a key: its owner changes the policy, and the
//! answer to the next call is 403. The same 403 greets a token that has ended, so it counts as a denial only if Vault still knows our token when
//! asked right afterwards (`session`). `answers` lists what every answer means; `wire` sends.

mod answers;
mod name;
mod session;
mod settings;
mod stamp;
mod wire;

use std::sync::{Arc, Weak};

use base64ct::{Base64, Encoding};
use reqwest::Method;
use serde::{Deserialize, Serializer};
use zeroize::Zeroizing;

use self::answers::{Envelope, KeyBytes, KeyConfig, Refusal, odd, parse, refusal};
use self::name::Place;
use self::session::{Session, refused_twice};
use self::wire::{ANSWER_BYTES_MAX, Answer, Call, DESCRIPTION_BYTES_MAX, Wire};
use super::{
    Answering, GeneratedKey, KeyDescription, KeyServiceKind, Kms, Opening, Reply, Settings,
};
use crate::error::{DenialReason, Error, Result};
use crate::keys::{CmkRef, EncryptionContext};
use crate::secret::Secret;

/// The line of this service.
pub(super) const KIND: KeyServiceKind = KeyServiceKind {
    provider: "vault",
    open,
};

/// Longest encrypted data key that is kept: Vault's own have 90 bytes or so.
const CIPHERTEXT_BYTES_MAX: usize = 4 << 10;

/// Vault as a key service.
struct Vault {
    inner: Arc<Inner>,
    keeping_alive: tokio::task::AbortHandle,
}

struct Inner {
    wire: Wire,
    session: Session,
}

fn open(settings: Settings) -> Opening {
    Box::pin(async move {
        let mut settings: settings::Settings =
            serde_json::from_value(settings).map_err(|error| Error::invalid(error.to_string()))?;
        let inner = Arc::new(Inner {
            session: Session::new(settings.login()?),
            wire: Wire::new(settings)?,
        });
        let keeping_alive = tokio::spawn(keep_alive(Arc::downgrade(&inner))).abort_handle();
        let vault: Arc<dyn Kms> = Arc::new(Vault {
            inner,
            keeping_alive,
        });
        Ok(vault)
    })
}

/// Renews the token for as long as somebody holds the service.
async fn keep_alive(inner: Weak<Inner>) {
    while let Some(inner) = inner.upgrade() {
        let pause = inner.session.keep_alive(&inner.wire).await;
        drop(inner);
        tokio::time::sleep(pause).await;
    }
}

impl Drop for Vault {
    fn drop(&mut self) {
        self.keeping_alive.abort();
    }
}

impl Kms for Vault {
    fn describe<'a>(&'a self, key: &'a CmkRef) -> Answering<'a, KeyDescription> {
        Box::pin(async move { told(self.inner.describe(key).await) })
    }

    fn generate_data_key<'a>(
        &'a self,
        key: &'a CmkRef,
        context: &'a EncryptionContext,
    ) -> Answering<'a, GeneratedKey> {
        Box::pin(async move { told(self.inner.generate(key, context).await) })
    }

    fn decrypt<'a>(
        &'a self,
        key: &'a CmkRef,
        ciphertext: &'a [u8],
        context: &'a EncryptionContext,
    ) -> Answering<'a, Secret<32>> {
        Box::pin(async move { told(self.inner.decrypt(key, ciphertext, context).await) })
    }

    fn encrypt<'a>(
        &'a self,
        key: &'a CmkRef,
        plaintext: &'a Secret<32>,
        context: &'a EncryptionContext,
    ) -> Answering<'a, Vec<u8>> {
        Box::pin(async move { told(self.inner.encrypt(key, plaintext, context).await) })
    }
}

/// An answer and what Vault calls the request. Its errors do not say.
type Told<T> = (T, Option<String>);

fn told<T>(answer: Result<Told<T>>) -> Reply<T> {
    match answer {
        Ok((value, request_id)) => Reply {
            outcome: Ok(value),
            request_id,
        },
        Err(error) => Reply::from(Err(error)),
    }
}

impl Inner {
    async fn describe(&self, key: &CmkRef) -> Result<Told<KeyDescription>> {
        let place = Place::of(key)?;
        let path = format!("{}/keys/{}", place.mount, place.key);
        let answer = self
            .ask(&Call {
                method: Method::GET,
                path: &path,
                body: None,
                answer_bytes_max: DESCRIPTION_BYTES_MAX,
            })
            .await?;
        let (config, request_id) = data::<KeyConfig<'_>>(&answer)?;
        if !config.derived {
            return Err(Error::invalid(format!(
                "key {key} was not made with derived=true: Vault would ignore the encryption context, and any table's key would decrypt for any other"
            )));
        }
        if !(config.supports_encryption && config.supports_decryption) {
            return Err(Error::invalid(format!(
                "key {key} of type {} does not encrypt and decrypt",
                config.kind.chars().take(40).collect::<String>()
            )));
        }
        let description = KeyDescription {
            key: key.clone(),
            enabled: true,
            denial: None,
        };
        Ok((description, request_id))
    }

    async fn generate(
        &self,
        key: &CmkRef,
        context: &EncryptionContext,
    ) -> Result<Told<GeneratedKey>> {
        // A key of that name may have been made anew since somebody looked.
        self.describe(key).await?;
        let answer = self
            .transit(key, "datakey/plaintext", context, None)
            .await?;
        let (bytes, request_id) = data::<KeyBytes<'_>>(&answer)?;
        let generated = GeneratedKey {
            plaintext: plaintext(&bytes)?,
            ciphertext: ciphertext(&bytes)?,
        };
        Ok((generated, request_id))
    }

    async fn decrypt(
        &self,
        key: &CmkRef,
        ciphertext: &[u8],
        context: &EncryptionContext,
    ) -> Result<Told<Secret<32>>> {
        let ciphertext = std::str::from_utf8(ciphertext)
            .ok()
            .filter(|text| text.len() <= CIPHERTEXT_BYTES_MAX && text.is_ascii())
            .ok_or_else(|| Error::tampered("encrypted data key: not one that Vault made"))?;
        let answer = self
            .transit(key, "decrypt", context, Some(("ciphertext", ciphertext)))
            .await?;
        let (bytes, request_id) = data::<KeyBytes<'_>>(&answer)?;
        Ok((plaintext(&bytes)?, request_id))
    }

    async fn encrypt(
        &self,
        key: &CmkRef,
        plaintext: &Secret<32>,
        context: &EncryptionContext,
    ) -> Result<Told<Vec<u8>>> {
        // Where our policy allows it, Vault makes a key that is missing, and not always a derived one.
        self.describe(key).await?;
        let mut encoded = Zeroizing::new([0u8; 44]);
        let encoded = Base64::encode(plaintext.expose(), &mut *encoded)
            .expect("32 bytes are 44 characters in base 64");
        let answer = self
            .transit(key, "encrypt", context, Some(("plaintext", encoded)))
            .await?;
        let (bytes, request_id) = data::<KeyBytes<'_>>(&answer)?;
        Ok((ciphertext(&bytes)?, request_id))
    }

    /// `POST MOUNT/OPERATION/KEY` with the context and one more thing.
    async fn transit(
        &self,
        key: &CmkRef,
        operation: &str,
        context: &EncryptionContext,
        more: Option<(&str, &str)>,
    ) -> Result<Answer> {
        let place = Place::of(key)?;
        let path = format!("{}/{operation}/{}", place.mount, place.key);
        let context = Base64::encode_string(&context.to_bytes());
        // Large enough from the start: a buffer that grows leaves copies behind.
        let mut body = Zeroizing::new(Vec::with_capacity(
            128 + context.len() + 2 * more.map_or(0, |(_, value)| value.len()),
        ));
        let fields = [("context", context.as_str())].into_iter().chain(more);
        serde_json::Serializer::new(&mut *body)
            .collect_map(fields)
            .expect("strings can be written as JSON");
        self.ask(&Call {
            method: Method::POST,
            path: &path,
            body: Some(&body),
            answer_bytes_max: ANSWER_BYTES_MAX,
        })
        .await
    }

    /// Asks, and if Vault forbids it, finds out whether that speaks of the key or of our token.
    async fn ask(&self, call: &Call<'_>) -> Result<Answer> {
        let mut token = self.session.token(&self.wire).await?;
        let mut is_second = false;
        loop {
            let answer = self.wire.send(call, Some(&token)).await?;
            if answer.status == 200 {
                return Ok(answer);
            }
            let words = match refusal(answer.status, &answer.body, call.body.is_none()) {
                Refusal::Error(error) => return Err(error),
                Refusal::Forbidden(words) => words,
            };
            if self.session.is_known(&self.wire, &token).await? {
                return Err(Error::denied(
                    DenialReason::AccessDenied,
                    format!("Vault: {words} ({})", call.path),
                ));
            }
            if is_second {
                return Err(refused_twice(&words));
            }
            token = self.session.another(&self.wire, &token).await?;
            is_second = true;
        }
    }
}

/// What was asked for.
fn data<'a, T: Deserialize<'a>>(answer: &'a Answer) -> Result<Told<T>> {
    let Envelope {
        request_id, data, ..
    } = parse::<T>(&answer.body)?;
    let data = data.ok_or_else(|| odd("is empty"))?;
    Ok((data, request_id.map(|id| id.chars().take(100).collect())))
}

/// 32 bytes, decoded to where they will live.
fn plaintext(bytes: &KeyBytes<'_>) -> Result<Secret<32>> {
    let text = bytes.plaintext.ok_or_else(|| odd("holds no key"))?;
    let mut is_whole = false;
    let secret = Secret::filled(|out| {
        is_whole = Base64::decode(text, out).is_ok_and(|decoded| decoded.len() == 32);
    });
    if is_whole {
        return Ok(secret);
    }
    Err(odd("holds a key that is not of 32 bytes"))
}

fn ciphertext(bytes: &KeyBytes<'_>) -> Result<Vec<u8>> {
    let text = bytes
        .ciphertext
        .as_deref()
        .ok_or_else(|| odd("holds no ciphertext"))?;
    if text.len() > CIPHERTEXT_BYTES_MAX || !text.is_ascii() {
        return Err(odd("holds a ciphertext that no key of Vault makes"));
    }
    Ok(text.as_bytes().to_vec())
}
