//! The calls, and what each answer is worth: for this table, and for all under the same key.

use std::sync::Arc;

use palladium_crypto::{
    CmkRef, DenialReason, EncryptionContext, Error as CryptoError, KeyDescription, KeyRing,
    KeyVersion, TableId,
};
use palladium_storage::{Backend, Lease, Reading, Root};

use super::gate::Urgency;
use super::key::Key;
use super::service::{Asked, Called, KeyService, judged};
use super::state::Kept;
use super::{Inner, Reason, ladder, trouble};
use crate::audit::Asker;

/// A call that gave no key.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub reason: Reason,
    /// What the service said.
    pub what: String,
    /// None for a table whose root cannot be read: it alone names the key.
    pub cmk: Option<CmkRef>,
}

/// For whom a key service is called, and for which table.
#[derive(Clone, Copy)]
pub(super) struct Purpose<'a> {
    pub keyspace: &'a str,
    pub table: &'a str,
    pub asker: &'a Asker,
    pub urgency: Urgency,
}

impl<'a> Purpose<'a> {
    /// A call for this purpose.
    pub(super) fn asks(
        self,
        operation: &'static str,
        key: &'a CmkRef,
        context: Option<&'a EncryptionContext>,
    ) -> Asked<'a> {
        Asked {
            operation,
            table: Some((self.keyspace, self.table)),
            key,
            context,
            asker: self.asker,
            urgency: self.urgency,
        }
    }
}

impl Failure {
    pub(super) fn new(cmk: &CmkRef, error: &CryptoError) -> Self {
        Failure {
            reason: Reason::of(error),
            what: error.to_string(),
            cmk: Some(cmk.clone()),
        }
    }

    pub(super) fn is_denial(&self) -> bool {
        matches!(self.reason, Reason::Denied(_))
    }

    /// Whether it speaks of the key itself, and so of every table under it.
    pub(super) fn is_key_wide(&self) -> bool {
        matches!(self.reason, Reason::Denied(reason) if reason.is_key_wide())
    }

    /// Nobody has said no.
    pub(super) fn is_silence(&self) -> bool {
        matches!(self.reason, Reason::Unavailable(_))
    }
}

impl<B: Backend> Inner<B> {
    pub(super) fn key(&self, cmk: &CmkRef) -> Arc<Key> {
        if let Some(key) = self.keys.get(cmk) {
            return key.clone();
        }
        self.keys
            .entry(cmk.clone())
            .or_insert_with(|| Arc::new(Key::new()))
            .clone()
    }

    pub(super) fn failure(&self, kept: &Kept, reason: Reason, what: String) -> Failure {
        Failure {
            reason,
            what,
            cmk: self.engine.root(kept.id).map(|root| root.cmk),
        }
    }

    /// The keys of a table, under the lease that this call begins. The caller holds `calling`.
    ///
    /// An answer about a key that the table has left meanwhile is none; neither is a denial of the key itself that was overtaken: if a Decrypt that was sent
    /// later has been answered with a key, the service is asked once more. So it is where a denial came after the Decrypt was sent and the key is back, and where an
    /// answer comes when its lease is over already; a second such answer in a row is no better than silence.
    pub(super) async fn ask(
        &self,
        kept: &Kept,
        purpose: Purpose<'_>,
    ) -> Result<(KeyRing, Lease), Failure> {
        let (mut was_overtaken, mut was_late) = (false, false);
        loop {
            let Some(root) = self.engine.root(kept.id) else {
                return Err(self.failure(kept, Reason::Damaged, "its root is missing".into()));
            };
            let called = self.decrypt(kept, &root, purpose).await;
            let is_still_its_key = self
                .engine
                .root(kept.id)
                .is_none_or(|present| present.version == root.version);
            if !is_still_its_key {
                continue;
            }
            let key = self.key(&root.cmk);
            let sent = called.sent.boot_nanos;
            match called.outcome {
                Ok(ring) => {
                    let lease = Lease::starting_at(called.sent, self.options.lease_seconds);
                    let is_late = !lease.is_alive_at(Reading::now(self.env()));
                    if is_late && was_late {
                        let failure = Failure::new(&root.cmk, &trouble::too_late());
                        key.failed(self.now_nanos(), &failure, self.entropy());
                        return Err(failure);
                    }
                    // The machine slept while the answer was under way: it began nothing that could still be used.
                    if is_late {
                        was_late = true;
                        continue;
                    }
                    match key.answered(sent) {
                        Ok(()) => return Ok((ring, lease)),
                        Err(Some(denial)) => return Err(denial),
                        Err(None) => {}
                    }
                }
                Err(error) => {
                    let failure = Failure::new(&root.cmk, &error);
                    if failure.is_key_wide() && !was_overtaken && key.has_answered_after(sent) {
                        was_overtaken = true;
                        continue;
                    }
                    key.failed(self.now_nanos(), &failure, self.entropy());
                    return Err(failure);
                }
            }
        }
    }

    /// One Decrypt of this table's key, with its older versions unwrapped.
    async fn decrypt(&self, kept: &Kept, root: &Root, purpose: Purpose<'_>) -> Called<KeyRing> {
        let context = self.context(&kept.keyspace, &kept.name);
        let service = match self.services.of(&root.cmk) {
            Ok(service) => service,
            Err(error) => {
                return Called {
                    outcome: Err(error),
                    sent: Reading::now(self.env()),
                };
            }
        };
        let key = self.key(&root.cmk);
        let _turn = key.turn().await;
        let asked = purpose.asks("Decrypt", &root.cmk, Some(&context));
        service
            .call(&self.caller, asked, |kms| {
                let answer = kms.decrypt(&root.cmk, &root.wrapped, &context);
                judged(answer, |plaintext| {
                    ladder::climb(root, &plaintext, self.options.cluster)
                })
            })
            .await
    }

    /// The lasting name of a key that may be used: an alias is followed.
    pub(super) async fn describe(
        &self,
        service: &KeyService,
        cmk: &CmkRef,
        purpose: Purpose<'_>,
    ) -> Result<CmkRef, CryptoError> {
        let asked = purpose.asks("DescribeKey", cmk, None);
        let called = service
            .call(&self.caller, asked, |kms| kms.describe(cmk))
            .await;
        lasting_name(cmk, called.outcome?)
    }

    /// A fresh table key under `cmk`, after a round trip that proves it can be fetched again; with the lease that its Decrypt began.
    pub(super) async fn fresh_key(
        &self,
        service: &KeyService,
        cmk: &CmkRef,
        table: TableId,
        version: KeyVersion,
        purpose: Purpose<'_>,
    ) -> Result<(ladder::NewKey, Lease), CryptoError> {
        let context = self.context(purpose.keyspace, purpose.table);
        let context = &context;
        let asked = purpose.asks("GenerateDataKey", cmk, Some(context));
        let called = service
            .call(&self.caller, asked, |kms| {
                kms.generate_data_key(cmk, context)
            })
            .await;
        let generated = called.outcome?;
        let asked = purpose.asks("Decrypt", cmk, Some(context));
        let called = service
            .call(&self.caller, asked, |kms| {
                let again = kms.decrypt(cmk, &generated.ciphertext, context);
                judged(again, |again| match again == generated.plaintext {
                    true => Ok(()),
                    false => Err(ladder::not_what_was_generated()),
                })
            })
            .await;
        called.outcome?;
        let lease = Lease::starting_at(called.sent, self.options.lease_seconds);
        // Only of keys that tables are under. If a denial came meanwhile, whoever opens the table finds it.
        if let Some(known) = self.keys.get(cmk)
            && lease.is_alive_at(Reading::now(self.env()))
        {
            let _ = known.answered(called.sent.boot_nanos);
        }
        let key = ladder::NewKey::new(generated, self.options.cluster, table, version, cmk);
        Ok((key, lease))
    }
}

/// The lasting name of a key that was described by a name that it may lose; an error if it may not be used.
pub(crate) fn lasting_name(
    named: &CmkRef,
    description: KeyDescription,
) -> Result<CmkRef, CryptoError> {
    if description.key.provider() != named.provider() {
        return Err(CryptoError::Invalid(format!(
            "the key service says that {named} is {}, which it does not hold",
            description.key
        )));
    }
    match description.denial {
        Some(reason) => Err(denied(reason)),
        None if !description.enabled => Err(denied(DenialReason::Disabled)),
        None => Ok(description.key),
    }
}

fn denied(reason: DenialReason) -> CryptoError {
    CryptoError::Denied {
        reason,
        message: format!("the key is {reason}"),
    }
}
