//! CREATE, ALTER and DROP: a table comes under a key, leaves it, or goes.
//!
//! ```text
//! CREATE   permission ─ describe (an alias becomes its key) ─ grants ─ generate ─ decrypt           ─► first root
//! ALTER    permission ─ describe ─ Decrypt under the old key ─ grants ─ generate ─ decrypt          ─► next root
//!          the same key: grants first, so that one whose grant was revoked lives again
//! then     engine, schema ─► `keep`: grants that no root needs are retired, the key's life is noted
//! ```
//!
//! What must hold: nothing has changed when a key is refused, and the error says which key and what its service said; but the name of a key that a table is under,
//! or that an alias leads to, is told to nobody who may not know it.

use std::sync::Arc;

use palladium_crypto::{CmkRef, DenialReason, Error as CryptoError, TableId};
use palladium_storage::{Backend, Root, TableKeys};

use super::call::{Failure, Purpose};
use super::gate::Urgency;
use super::open::Unlocked;
use super::service::KeyService;
use super::{Inner, KeyKeeper, ladder};
use crate::audit::Asker;
use crate::error::{CqlError, CqlResult};

impl<B: Backend> KeyKeeper<B> {
    /// The root and keys of a new table under `cmk`, checked end to end before anything is made. The root names the key that an alias leads to.
    pub async fn generate(
        &self,
        keyspace: &str,
        name: &str,
        id: TableId,
        cmk: &CmkRef,
        asker: &Asker,
    ) -> CqlResult<(Root, TableKeys)> {
        let inner = &self.inner;
        let purpose = Purpose {
            keyspace,
            table: name,
            asker,
            urgency: Urgency::Request,
        };
        let made = inner.first(id, &inner.resolve(cmk), purpose).await;
        if made.is_err() {
            inner.keep(id).await;
        }
        made
    }

    /// The root and keys that put a table under `cmk`. Starts with a fresh Decrypt under the old key, which also opens a table that is closed; nothing has
    /// changed when it fails.
    pub async fn switch(
        &self,
        id: TableId,
        cmk: &CmkRef,
        asker: &Asker,
    ) -> CqlResult<(Root, TableKeys)> {
        let inner = &self.inner;
        // What becomes of this switch decides about grants, not what became of the one before.
        inner.book.doubt(id, false);
        let made = inner.next(id, &inner.resolve(cmk), asker).await;
        if made.is_err() {
            inner.keep(id).await;
        }
        made
    }

    /// Brings grants and the lives of table keys in line with the table's root: after CREATE, ALTER and DROP, and after one that came to nothing.
    pub async fn keep(&self, id: TableId) {
        self.inner.keep(id).await;
    }
}

impl<B: Backend> Inner<B> {
    async fn first(
        &self,
        id: TableId,
        cmk: &CmkRef,
        purpose: Purpose<'_>,
    ) -> CqlResult<(Root, TableKeys)> {
        let (service, cmk) = self.named(id, cmk, purpose).await?;
        self.allowed(&service, id, &cmk, purpose).await?;
        let made = self
            .fresh_key(&service, &cmk, id, ladder::FIRST_VERSION, purpose)
            .await;
        match made {
            Ok((key, lease)) => Ok(ladder::first_root(key, cmk, lease)),
            Err(error) => Err(self.key_refused(&cmk, &error).await),
        }
    }

    async fn next(&self, id: TableId, cmk: &CmkRef, asker: &Asker) -> CqlResult<(Root, TableKeys)> {
        let kept = self
            .kept(id)
            .ok_or_else(|| CqlError::invalid("unconfigured table"))?;
        let kept = &*kept;
        let purpose = kept.purpose(asker, Urgency::Request);
        let whose = format!("<table {}.{}>", kept.keyspace, kept.name);
        self.may_use_key_of(asker, &self.root(id)?.cmk, &whose)?;
        // Before the turn is taken: whoever waits for the old key must not wait for the new one's service.
        let (service, cmk) = self.named(id, cmk, purpose).await?;
        let one_call = kept.calling.lock().await;
        let root = self.root(id)?;
        if cmk == root.cmk {
            self.allowed(&service, id, &cmk, purpose).await?;
        }
        let (old, lease) = match self.ask(kept, purpose).await {
            Ok(fetched) => fetched,
            Err(failure) => return Err(self.old_key_refused(kept, failure).await),
        };
        let old = Arc::new(old);
        // As good as a renewal: the table does not fall asleep before the switch is done.
        let keys = TableKeys {
            ring: old.clone(),
            lease,
        };
        let lease = match self.unlock(kept, purpose, keys).await {
            Unlocked::Open(lease) => lease,
            Unlocked::Refused(failure) => return Err(self.old_key_refused(kept, failure).await),
            Unlocked::Failed(error) => return Err(error.into()),
        };
        self.set_live(kept, lease);
        self.overtaken(kept, lease).await?;
        // The one that was opened: another switch may have come in between, and opening forgets keys that nothing needs, which is a new root too.
        let root = self.root(id)?;
        // The table is open, and what follows is between the new key and its service: requests that came while the old key was asked for go on.
        let _one_call = (cmk == root.cmk).then_some(one_call);
        if cmk != root.cmk {
            self.allowed(&service, id, &cmk, purpose).await?;
        }
        let made = self
            .fresh_key(&service, &cmk, id, root.version + 1, purpose)
            .await;
        let (key, lease) = match made {
            Ok(made) => made,
            // What is said of the key that the table is under is said of the table.
            Err(error) if cmk == root.cmk => {
                let failure = Failure::new(&cmk, &error);
                return Err(self.old_key_refused(kept, failure).await);
            }
            Err(error) => return Err(self.key_refused(&cmk, &error).await),
        };
        ladder::next_root(&root, &old, key, cmk, lease, self.entropy())
            .map_err(|error| CqlError::server(error.to_string()))
    }

    /// The service and the lasting name of a key that a statement names, if whoever asks may use it.
    async fn named(
        &self,
        id: TableId,
        cmk: &CmkRef,
        purpose: Purpose<'_>,
    ) -> CqlResult<(Arc<KeyService>, CmkRef)> {
        self.may_use_key(purpose.asker, cmk)?;
        let service = match self.services.of(cmk) {
            Ok(service) => service.clone(),
            Err(error) => return Err(self.key_refused(cmk, &error).await),
        };
        let mut described = self.describe(&service, cmk, purpose).await;
        let wants_a_grant = matches!(
            described,
            Err(CryptoError::Denied {
                reason: DenialReason::AccessDenied | DenialReason::GrantRevoked,
                ..
            })
        );
        // Where even a description needs a grant, it is made under the name as it was typed.
        if wants_a_grant && service.makes_grants() {
            self.allowed(&service, id, cmk, purpose).await?;
            described = self.describe(&service, cmk, purpose).await;
        }
        match described {
            Ok(lasting) => {
                let whose = format!("<alias {cmk}>");
                self.may_use_key_of(purpose.asker, &lasting, &whose)?;
                Ok((service, lasting))
            }
            Err(error) => Err(self.key_refused(cmk, &error).await),
        }
    }

    /// Makes the table's grants where that is this server's to do, and where they let anybody in: the server's own key in the keyring is open to it for good, and a
    /// credential that was withdrawn must not stop every CREATE.
    async fn allowed(
        &self,
        service: &KeyService,
        id: TableId,
        cmk: &CmkRef,
        purpose: Purpose<'_>,
    ) -> CqlResult<()> {
        let is_own = *cmk == self.options.service_cmk && cmk.provider() == "local";
        if is_own || !service.makes_grants() {
            return Ok(());
        }
        match self.make_grants(service, id, cmk, purpose).await {
            Ok(()) => Ok(()),
            Err(error) => Err(self.key_refused(cmk, &error).await),
        }
    }

    /// CREATE or ALTER named a key that does not work: which key, and what its service said.
    async fn key_refused(&self, cmk: &CmkRef, error: &CryptoError) -> CqlError {
        let failure = Failure::new(cmk, error);
        self.hear_of_key(&failure, cmk).await;
        refused(&cmk.to_string(), &failure.what)
    }

    /// What any call but a Decrypt says of the key itself.
    pub(super) async fn hear_of_key(&self, failure: &Failure, cmk: &CmkRef) {
        if failure.is_key_wide() {
            // Only of keys that tables are under: names that a client makes up leave nothing behind.
            if let Some(key) = self.keys.get(cmk) {
                key.failed(self.now_nanos(), failure, self.entropy());
            }
            self.spread(failure).await;
        }
    }

    /// ALTER begins with the old key, and it does not work: a denial closes the table as any other does.
    async fn old_key_refused(&self, kept: &super::state::Kept, failure: Failure) -> CqlError {
        let error = refused(&self.key_name(kept), &failure.what);
        if failure.is_denial() {
            self.close(kept, failure).await;
        }
        error
    }
}

fn refused(cmk: &str, what: &str) -> CqlError {
    CqlError::invalid(format!(
        "KMS key {cmk} cannot be used: {what}; nothing was changed"
    ))
}
