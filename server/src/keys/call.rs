//! The calls: each bounded in time and number, each answer weighed before it counts.

use std::sync::Arc;

use palladium_crypto::{
    Answering, CmkRef, DenialReason, EncryptionContext, Error as CryptoError, KeyVersion, TableId,
};
use palladium_storage::{Backend, Lease, Reading, Root};

use super::key::Key;
use super::{Inner, Kept, Reason, ladder, trouble};

/// A call that gave no key.
#[derive(Debug, Clone)]
pub(super) struct Failure {
    pub reason: Reason,
    /// What the service said.
    pub what: String,
    /// None for a table whose root cannot be read: it alone names the key.
    pub cmk: Option<CmkRef>,
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
    pub(super) async fn ask(&self, kept: &Kept) -> Result<(ladder::Keys, Lease), Failure> {
        loop {
            let Some(root) = self.engine.root(kept.id) else {
                return Err(self.failure(kept, Reason::Damaged, "its root is missing".into()));
            };
            let sent = self.env.boot_nanos();
            let answer = self.decrypt(kept, &root).await;
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
    ) -> Result<(ladder::Keys, Lease), CryptoError> {
        let context = self.context(&kept.keyspace, &kept.name);
        let service = self.services.of(&root.cmk)?;
        let key = self.key(&root.cmk);
        let call = async {
            let _place = key
                .calls
                .acquire()
                .await
                .expect("this semaphore is never closed");
            let sent = Reading::now(&*self.env);
            let reply = service.decrypt(&root.cmk, &root.wrapped, &context).await;
            let plaintext = reply.outcome?;
            Ok((plaintext, sent))
        };
        let (plaintext, sent) = self.timed(call).await?;
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
    ) -> Result<ladder::NewKey, CryptoError> {
        let service = self.services.of(cmk)?;
        let description = self.timed(outcome(service.describe(cmk))).await?;
        if let Some(reason) = description.denial {
            return Err(denied(reason));
        }
        let generated = self
            .timed(outcome(service.generate_data_key(cmk, context)))
            .await?;
        let again = self
            .timed(outcome(service.decrypt(
                cmk,
                &generated.ciphertext,
                context,
            )))
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

    /// A call that ends as unreachable when the service does not answer in time.
    async fn timed<T>(
        &self,
        call: impl Future<Output = Result<T, CryptoError>>,
    ) -> Result<T, CryptoError> {
        let call = std::pin::pin!(call);
        match futures::future::select(call, self.env.sleep(self.options.call_timeout)).await {
            futures::future::Either::Left((answer, _)) => answer,
            futures::future::Either::Right(_) => Err(trouble::no_answer(self.options.call_timeout)),
        }
    }
}

async fn outcome<T>(answering: Answering<'_, T>) -> Result<T, CryptoError> {
    answering.await.outcome
}

fn denied(reason: DenialReason) -> CryptoError {
    CryptoError::Denied {
        reason,
        message: format!("the key is {reason}"),
    }
}
