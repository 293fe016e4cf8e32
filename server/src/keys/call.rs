//! The calls: each bounded in time and number, each answer weighed before it counts.

use std::sync::Arc;
use std::time::Duration;

use palladium_crypto::{
    Answering, CmkRef, DenialReason, EncryptionContext, Error as CryptoError, KeyVersion, TableId,
};
use palladium_storage::{Backend, Lease, Reading, Root};

use super::key::Key;
use super::{Inner, Kept, Reason, ladder, trouble};
use crate::audit::{Asker, Event};

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
    pub(super) async fn ask(
        &self,
        kept: &Kept,
        asker: &Asker,
    ) -> Result<(ladder::Keys, Lease), Failure> {
        loop {
            let Some(root) = self.engine.root(kept.id) else {
                return Err(self.failure(kept, Reason::Damaged, "its root is missing".into()));
            };
            let sent = self.env.boot_nanos();
            let answer = self.decrypt(kept, &root, asker).await;
            let is_still_its_key = self
                .engine
                .root(kept.id)
                .is_none_or(|present| present.version == root.version);
            if !is_still_its_key {
                continue;
            }
            let key = self.key(&root.cmk);
            return match answer {
                Ok(fetched) => key.answered(sent).map(|()| fetched),
                Err(error) => {
                    let failure = Failure::new(&root.cmk, &error);
                    key.failed(self.env.boot_nanos(), &failure, self.env.entropy());
                    Err(failure)
                }
            };
        }
    }

    /// One Decrypt of this table's key, with its older versions unwrapped. The lease begins when the call is sent.
    pub(super) async fn decrypt(
        &self,
        kept: &Kept,
        root: &Root,
        asker: &Asker,
    ) -> Result<(ladder::Keys, Lease), CryptoError> {
        let context = self.context(&kept.keyspace, &kept.name);
        let service = self.services.of(&root.cmk)?;
        let key = self.key(&root.cmk);
        let _place = key
            .calls
            .acquire()
            .await
            .expect("this semaphore is never closed");
        let sent = Reading::now(&*self.env);
        let plaintext = self
            .call(
                "Decrypt",
                kept.purpose(asker),
                &root.cmk,
                Some(&context),
                service.decrypt(&root.cmk, &root.wrapped, &context),
            )
            .await?;
        let keys = ladder::Keys::climb(root, &plaintext, self.options.cluster)?;
        Ok((keys, Lease::starting_at(sent, self.options.lease_seconds)))
    }

    /// A fresh table key under `cmk`, after a round trip that proves it can be fetched again.
    pub(super) async fn new_key(
        &self,
        cmk: &CmkRef,
        context: &EncryptionContext,
        table: TableId,
        version: KeyVersion,
        purpose: Purpose<'_>,
    ) -> Result<ladder::NewKey, CryptoError> {
        let service = self.services.of(cmk)?;
        let description = self
            .call("DescribeKey", purpose, cmk, None, service.describe(cmk))
            .await?;
        if let Some(reason) = description.denial {
            return Err(denied(reason));
        }
        let generated = self
            .call(
                "GenerateDataKey",
                purpose,
                cmk,
                Some(context),
                service.generate_data_key(cmk, context),
            )
            .await?;
        let again = self
            .call(
                "Decrypt",
                purpose,
                cmk,
                Some(context),
                service.decrypt(cmk, &generated.ciphertext, context),
            )
            .await?;
        if again != generated.plaintext {
            return Err(CryptoError::Tampered {
                what: "the key service gave back another key than it generated".into(),
            });
        }
        Ok(ladder::NewKey::new(
            generated,
            self.options.cluster,
            table,
            version,
            cmk,
        ))
    }

    /// A call that ends as unreachable when the service does not answer in time. It is recorded, whatever comes of it.
    async fn call<T>(
        &self,
        operation: &'static str,
        purpose: Purpose<'_>,
        cmk: &CmkRef,
        context: Option<&EncryptionContext>,
        answering: Answering<'_, T>,
    ) -> Result<T, CryptoError> {
        let (at_micros, began) = (self.env.wall_micros(), self.env.boot_nanos());
        let timeout = self.options.call_timeout;
        let (outcome, request_id) =
            match futures::future::select(answering, self.env.sleep(timeout)).await {
                futures::future::Either::Left((reply, _)) => (reply.outcome, reply.request_id),
                futures::future::Either::Right(_) => (Err(trouble::no_answer(timeout)), None),
            };
        self.audit
            .record(Event {
                at_micros,
                operation,
                table: Some((purpose.keyspace.to_owned(), purpose.table.to_owned())),
                key: Some(cmk.clone()),
                context: context.cloned(),
                outcome: outcome.as_ref().map(drop).map_err(trouble::said),
                latency: Duration::from_nanos(self.env.boot_nanos().saturating_sub(began)),
                request_id,
                asker: purpose.asker.clone(),
            })
            .await;
        outcome
    }
}

fn denied(reason: DenialReason) -> CryptoError {
    CryptoError::Denied {
        reason,
        message: format!("the key is {reason}"),
    }
}
