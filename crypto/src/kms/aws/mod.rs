//! AWS KMS: keys named by the ARN of a key or of an alias, or by the id or alias alone where the settings say the region.
//!
//! ```text
//! CmkRef  arn:aws:kms:eu-west-1:111122223333:key/1234...     place: the region says which client is asked
//!    |    arn:aws:kms:eu-west-1:111122223333:alias/orders    (describe gives the key's own ARN, and the table keeps that)
//!    v
//! clients   one for each region, with the operator's credentials      settings: what [kms.aws] says
//! grants    fresh grant tokens go with the calls on their key
//! answers   bounded, and wiped when the SDK has read them
//! errors    one table: what each error name means here
//! ```
//!
//! What must hold, beside what every provider owes:
//! - A denial is one of the names in `errors`, in a KMS answer of status 4xx. What cannot be read, is cut off, comes as 5xx or is XML is no answer.
//! - Trouble with this server's own credentials is no answer, either. The client that had them is dropped, so that the next call reads them anew.
//! - `Decrypt` names the key; an answer that names another key is no answer.
//!
//! What is wiped: the plaintext that the SDK decoded, and the answer's text that it decoded it from. What is not: the buffers of the HTTP and TLS layers
//! below the SDK, which are used again for the next answer or freed as they are; the request of `Encrypt`, which holds the key in the clear; and all of it
//! when a call is given up before it is answered. Nobody else's process sees these bytes; a memory image of this one may.

mod answers;
mod clients;
mod errors;
mod grants;
mod place;
mod settings;

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;

use aws_sdk_kms::Client;
use aws_sdk_kms::error::{ProvideErrorMetadata, SdkError};
use aws_sdk_kms::operation::RequestId;
use aws_sdk_kms::primitives::Blob;
use aws_sdk_kms::types::{DataKeySpec, KeyMetadata, KeySpec, KeyState, KeyUsageType};
use zeroize::Zeroizing;

use self::clients::{Clients, RegionClient};
use self::errors::{Meaning, Operation, Refusal};
use self::grants::Granting;
use super::{
    Answering, GeneratedKey, Grants, KeyDescription, KeyServiceKind, Kms, Reply, Settings,
};
use crate::error::{DenialReason, Error, Result, UnavailableReason};
use crate::keys::{CmkRef, EncryptionContext};
use crate::secret::Secret;

/// The line in `services`.
pub(super) const KIND: KeyServiceKind = KeyServiceKind {
    provider: "aws",
    open: |settings| Box::pin(async { open(settings) }),
};

/// Longest ciphertext that KMS gives or takes.
const CIPHERTEXT_BYTES_MAX: usize = 6144;
/// Longest request id that is passed on.
const REQUEST_ID_BYTES_MAX: usize = 64;

/// AWS KMS, in all regions that keys name.
struct AwsKms {
    clients: Clients,
    granting: Option<Granting>,
    fresh: grants::FreshGrants,
}

fn open(settings: Settings) -> Result<Arc<dyn Kms>> {
    let settings = settings::read(settings)?;
    let granting = settings.granting().map(|credentials| Granting {
        clients: Clients::new(&settings, credentials),
        grantee: settings.grantee(),
    });
    Ok(Arc::new(AwsKms {
        clients: Clients::new(&settings, settings.ordinary()),
        granting,
        fresh: grants::FreshGrants::default(),
    }))
}

impl AwsKms {
    /// One call with the ordinary credentials, with the fresh grant tokens that fit it.
    async fn call<T, E, F>(
        &self,
        operation: Operation,
        key: &CmkRef,
        context: Option<&EncryptionContext>,
        send: impl Fn(&Client, Option<Vec<String>>) -> F,
    ) -> Reply<T>
    where
        T: RequestId,
        E: ProvideErrorMetadata + std::error::Error + 'static,
        F: Future<Output = std::result::Result<T, SdkError<E>>>,
    {
        let client = match self.client(key).await {
            Ok(client) => client,
            Err(error) => return Err(error).into(),
        };
        let mut tokens = self.fresh.tokens(key, context);
        loop {
            let sent = (!tokens.is_empty()).then(|| tokens.clone());
            let refusal = match send(&client.kms, sent).await {
                Ok(output) => return answered(output),
                Err(error) => Refusal::of(&error),
            };
            // A token whose grant was revoked spoils the call, though the key may be open to this server without it.
            if refusal.meaning(operation) == Meaning::GrantTokenSpent && !tokens.is_empty() {
                self.fresh.forget(&tokens);
                tokens.clear();
                continue;
            }
            return self.refused(&client, operation, key, refusal).await;
        }
    }

    async fn client(&self, key: &CmkRef) -> Result<RegionClient> {
        self.clients.of(key).await
    }

    fn described(&self, key: &CmkRef, metadata: Option<KeyMetadata>) -> Result<KeyDescription> {
        let metadata = metadata.ok_or_else(|| not_said(key, "which key it is"))?;
        let arn = metadata.arn.ok_or_else(|| not_said(key, "its ARN"))?;
        let arn = CmkRef::parse(&arn)?;
        // An alias lives in its key's account and region.
        let (asked, answered) = (self.clients.place(key)?, self.clients.place(&arn)?);
        if !answered.is_lasting() || asked.region != answered.region || !asked.may_be(arn.name()) {
            return Err(not_said(key, "its own ARN"));
        }
        let symmetric = metadata
            .key_spec
            .is_none_or(|spec| spec == KeySpec::SymmetricDefault);
        let encrypts = metadata
            .key_usage
            .is_none_or(|usage| usage == KeyUsageType::EncryptDecrypt);
        if !(symmetric && encrypts) {
            return Err(Error::invalid(format!(
                "{arn} is no symmetric encryption key (SYMMETRIC_DEFAULT, ENCRYPT_DECRYPT)"
            )));
        }
        let state = metadata
            .key_state
            .ok_or_else(|| not_said(key, "its state"))?;
        let denial = match denial_of(&state) {
            State::Usable => None,
            State::Denied(reason) => Some(reason),
            State::Passing => {
                return Err(Error::unavailable(
                    UnavailableReason::Unreachable,
                    format!("DescribeKey {key}: its state is {}", state.as_str()),
                ));
            }
        };
        Ok(KeyDescription {
            key: arn,
            enabled: denial.is_none(),
            denial,
        })
    }

    /// An answer that names another key than was asked is no answer.
    fn must_be_about(&self, key: &CmkRef, answered: Option<&str>) -> Result<()> {
        let place = self.clients.place(key)?;
        if answered.is_some_and(|arn| place.may_be(arn)) {
            return Ok(());
        }
        Err(Error::unavailable(
            UnavailableReason::Unreachable,
            format!("{key}: the answer is about another key"),
        ))
    }

    async fn refused<T>(
        &self,
        client: &RegionClient,
        operation: Operation,
        key: &CmkRef,
        refusal: Refusal,
    ) -> Reply<T> {
        let meaning = refusal.meaning(operation);
        if meaning == Meaning::OurCredentials {
            self.clients.forget(client);
        }
        let error = match meaning {
            Meaning::AskForState => self.error_of_state(client, operation, key, &refusal).await,
            meaning => refusal.error(operation, key, meaning),
        };
        Reply {
            outcome: Err(error),
            request_id: refusal.request_id,
        }
    }

    /// KMS says only that the key is in no state for this; the key itself says in which.
    async fn error_of_state(
        &self,
        client: &RegionClient,
        operation: Operation,
        key: &CmkRef,
        refusal: &Refusal,
    ) -> Error {
        let described = client.kms.describe_key().key_id(key.name()).send().await;
        let state = described
            .ok()
            .and_then(|output| output.key_metadata?.key_state);
        match state.as_ref().map(denial_of) {
            Some(State::Denied(reason)) => refusal.error(operation, key, Meaning::Denied(reason)),
            Some(State::Usable | State::Passing) | None => {
                refusal.error(operation, key, Meaning::NoAnswer)
            }
        }
    }
}

impl Kms for AwsKms {
    fn describe<'a>(&'a self, key: &'a CmkRef) -> Answering<'a, KeyDescription> {
        Box::pin(async move {
            let reply = self
                .call(Operation::DescribeKey, key, None, |client, tokens| {
                    client
                        .describe_key()
                        .key_id(key.name())
                        .set_grant_tokens(tokens)
                        .send()
                })
                .await;
            reply.and_then(|output| self.described(key, output.key_metadata))
        })
    }

    fn generate_data_key<'a>(
        &'a self,
        key: &'a CmkRef,
        context: &'a EncryptionContext,
    ) -> Answering<'a, GeneratedKey> {
        Box::pin(async move {
            let reply = self
                .call(
                    Operation::GenerateDataKey,
                    key,
                    Some(context),
                    |client, tokens| {
                        client
                            .generate_data_key()
                            .key_id(key.name())
                            .key_spec(DataKeySpec::Aes256)
                            .set_encryption_context(Some(pairs(context)))
                            .set_grant_tokens(tokens)
                            .send()
                    },
                )
                .await;
            reply.and_then(|output| {
                let plaintext = plaintext_of(output.plaintext);
                self.must_be_about(key, output.key_id.as_deref())?;
                Ok(GeneratedKey {
                    plaintext: plaintext?,
                    ciphertext: ciphertext_of(output.ciphertext_blob)?,
                })
            })
        })
    }

    fn decrypt<'a>(
        &'a self,
        key: &'a CmkRef,
        ciphertext: &'a [u8],
        context: &'a EncryptionContext,
    ) -> Answering<'a, Secret<32>> {
        Box::pin(async move {
            if ciphertext.is_empty() || ciphertext.len() > CIPHERTEXT_BYTES_MAX {
                return Err(Error::tampered("encrypted data key: wrong length")).into();
            }
            let reply = self
                .call(Operation::Decrypt, key, Some(context), |client, tokens| {
                    client
                        .decrypt()
                        .key_id(key.name())
                        .ciphertext_blob(Blob::new(ciphertext))
                        .set_encryption_context(Some(pairs(context)))
                        .set_grant_tokens(tokens)
                        .send()
                })
                .await;
            reply.and_then(|output| {
                let plaintext = plaintext_of(output.plaintext);
                self.must_be_about(key, output.key_id.as_deref())?;
                plaintext
            })
        })
    }

    fn encrypt<'a>(
        &'a self,
        key: &'a CmkRef,
        plaintext: &'a Secret<32>,
        context: &'a EncryptionContext,
    ) -> Answering<'a, Vec<u8>> {
        Box::pin(async move {
            let reply = self
                .call(Operation::Encrypt, key, Some(context), |client, tokens| {
                    client
                        .encrypt()
                        .key_id(key.name())
                        .plaintext(Blob::new(plaintext.expose()))
                        .set_encryption_context(Some(pairs(context)))
                        .set_grant_tokens(tokens)
                        .send()
                })
                .await;
            reply.and_then(|output| {
                self.must_be_about(key, output.key_id.as_deref())?;
                ciphertext_of(output.ciphertext_blob)
            })
        })
    }

    fn grants(&self) -> Option<&dyn Grants> {
        self.granting.as_ref().map(|_| self as &dyn Grants)
    }
}

/// What a key's state means for whoever wants to use it.
enum State {
    Usable,
    Denied(DenialReason),
    /// Not now, and nobody has said no.
    Passing,
}

fn denial_of(state: &KeyState) -> State {
    match state {
        KeyState::Enabled => State::Usable,
        KeyState::Disabled => State::Denied(DenialReason::Disabled),
        KeyState::PendingDeletion | KeyState::PendingReplicaDeletion => {
            State::Denied(DenialReason::PendingDeletion)
        }
        // The owner deleted the imported material, or let it expire: the key opens nothing until it is imported again.
        KeyState::PendingImport => State::Denied(DenialReason::Disabled),
        // `Unavailable`: its key store is disconnected. `Creating`, `Updating`, and what is new to us.
        _ => State::Passing,
    }
}

/// The key in an answer; the SDK's copy is wiped.
fn plaintext_of(plaintext: Option<Blob>) -> Result<Secret<32>> {
    let plaintext = Zeroizing::new(plaintext.map(Blob::into_inner).unwrap_or_default());
    if plaintext.is_empty() {
        return Err(Error::unavailable(
            UnavailableReason::Unreachable,
            "the answer holds no key",
        ));
    }
    Secret::from_slice(&plaintext)
        .ok_or_else(|| Error::tampered("encrypted data key: it holds no key of 32 bytes"))
}

fn ciphertext_of(ciphertext: Option<Blob>) -> Result<Vec<u8>> {
    let ciphertext = ciphertext.map(Blob::into_inner).unwrap_or_default();
    if ciphertext.is_empty() || ciphertext.len() > CIPHERTEXT_BYTES_MAX {
        return Err(Error::unavailable(
            UnavailableReason::Unreachable,
            "the answer holds no encrypted key",
        ));
    }
    Ok(ciphertext)
}

fn not_said(key: &CmkRef, what: &str) -> Error {
    Error::unavailable(
        UnavailableReason::Unreachable,
        format!("DescribeKey {key}: the answer does not say {what}"),
    )
}

fn pairs(context: &EncryptionContext) -> HashMap<String, String> {
    context
        .iter()
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn answered<T: RequestId>(output: T) -> Reply<T> {
    Reply {
        request_id: output.request_id().map(bounded_id),
        outcome: Ok(output),
    }
}

/// A request id is a UUID; whatever else comes in its place is cut to plain characters.
fn bounded_id(id: &str) -> String {
    id.chars()
        .filter(char::is_ascii_graphic)
        .take(REQUEST_ID_BYTES_MAX)
        .collect()
}
