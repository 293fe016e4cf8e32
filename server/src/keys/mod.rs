//! The key keeper: fetches table keys, renews their leases, lets them go. The only caller of key services.
//!
//! ```text
//!                 first request                       40-70 % of the lease, in use
//!   Dormant ──────────────────────────► Live ◄───────────────────────────────┐
//!      ▲    Decrypt answered             │ └────────── Decrypt answered ─────┘
//!      │                                 │
//!      ├──── lease about to end, idle ───┤
//!      │                                 │ Decrypt denied, or unanswered until the lease ended
//!      └──── (never from trouble) ◄──────▼
//!                                  Inaccessible ── a request (at most every 5 s for a key) or 30 s ──► Decrypt answered: Live
//! ```
//!
//! What must hold:
//! - A lease starts when the Decrypt is *sent* and is renewed by nothing else.
//! - A denial that speaks of the key itself ends the lease of every table under it at once; one that speaks of this table ends this one. No answer is no
//!   denial: the lease runs to its end.
//! - A table that is not Live here is not open in the engine: nothing else would ever close it.
//! - An answer about a key that the table has left meanwhile (ALTER) is no answer about the table.
//!
//! Reading order: `services` (who can be asked), `ladder` (from a decrypted key to a ring), `key` (what is known of a key, whichever table asked), `call` (the calls), `refresh` (the
//! clockwork), `trouble` (what a client is told).

mod call;
mod key;
mod ladder;
mod refresh;
mod services;
mod trouble;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use dashmap::DashMap;
use palladium_crypto::{
    ClusterId, CmkRef, EncryptionContext, Error as CryptoError, KeyRing, TableId,
};
use palladium_storage::{Backend, Engine, Env, Lease, LocalBackend, Reading, Root, TableKeys};

use self::call::{Failure, Purpose};
use self::key::Key;
use crate::audit::{Asker, Audit};
use crate::error::{CqlError, CqlResult};
pub use services::KeyServices;
pub use trouble::{Reason, Trouble};

/// How the keeper behaves.
#[derive(Debug, Clone)]
pub struct KeeperOptions {
    /// This server's identity in every key derivation.
    pub cluster: ClusterId,
    /// Who the key services are told subscribes.
    pub subscriber: String,
    /// The key that `default` stands for.
    pub service_cmk: CmkRef,
    /// Seconds for which a table key may be used.
    pub lease_seconds: u64,
    /// How long a key service may take to answer.
    pub call_timeout: Duration,
    /// Seconds for which a table in use stays open past its lease when its key service does not answer.
    pub grace_seconds: u64,
    /// Days after which the grant that protects a table's snapshots is retired.
    pub snapshot_grant_days: u64,
}

/// Keeps the keys of all customer tables.
pub struct KeyKeeper<B: Backend = LocalBackend> {
    inner: Arc<Inner<B>>,
}

impl<B: Backend> Clone for KeyKeeper<B> {
    fn clone(&self) -> Self {
        KeyKeeper {
            inner: self.inner.clone(),
        }
    }
}

struct Inner<B: Backend> {
    engine: Engine<B>,
    env: Arc<dyn Env>,
    services: KeyServices,
    options: KeeperOptions,
    audit: Audit,
    tables: DashMap<TableId, Arc<Kept>>,
    /// By name; only keys that a root names, so their number is bounded by that of the tables.
    keys: DashMap<CmkRef, Arc<Key>>,
}

/// One table as the keeper sees it.
struct Kept {
    id: TableId,
    keyspace: String,
    name: String,
    /// Held during a call for this table: a hundred waiting requests make one call.
    calling: Arc<tokio::sync::Mutex<()>>,
    state: Mutex<State>,
}

/// Where a table's key is.
#[derive(Debug, Clone)]
enum State {
    /// Not in memory, and nothing is wrong.
    Dormant,
    /// In memory, under a lease.
    Live(Live),
    /// Denied, or unanswered past the lease.
    Inaccessible(Trouble),
}

/// How the renewal of a lease stands.
#[derive(Debug, Clone)]
struct Live {
    /// From then on a table in use is renewed.
    refresh_at_nanos: u64,
    /// Renew it even if nobody uses it.
    must_ask: bool,
    /// Renewal was tried, and this came of it: the lease runs to its end.
    unanswered: Option<Failure>,
}

/// What a table's owner sees.
#[derive(Debug, Clone)]
pub enum TableKeyStatus {
    /// Readable, or readable with the next request.
    Enabled,
    /// The key cannot be used.
    Inaccessible(Trouble),
}

/// One Decrypt of a table's newest key, with its older versions unwrapped.
pub async fn open_ring(
    services: &KeyServices,
    root: &Root,
    context: &EncryptionContext,
    cluster: ClusterId,
) -> Result<KeyRing, CryptoError> {
    let plaintext = services
        .of(&root.cmk)?
        .decrypt(&root.cmk, &root.wrapped, context)
        .await
        .outcome?;
    Ok(ladder::Keys::climb(root, &plaintext, cluster)?.into_ring())
}

impl<B: Backend> KeyKeeper<B> {
    /// A keeper that knows no tables yet.
    pub fn new(
        engine: Engine<B>,
        env: Arc<dyn Env>,
        services: KeyServices,
        options: KeeperOptions,
        audit: Audit,
    ) -> Self {
        KeyKeeper {
            inner: Arc::new(Inner {
                engine,
                env,
                services,
                options,
                audit,
                tables: DashMap::new(),
                keys: DashMap::new(),
            }),
        }
    }

    /// Makes a table known, with the names that its key service is told.
    pub fn register(&self, id: TableId, keyspace: &str, name: &str) {
        self.inner.tables.insert(
            id,
            Arc::new(Kept {
                id,
                keyspace: keyspace.to_owned(),
                name: name.to_owned(),
                calling: Arc::default(),
                state: Mutex::new(State::Dormant),
            }),
        );
    }

    /// Forgets a dropped table.
    pub fn forget(&self, id: TableId) {
        self.inner.tables.remove(&id);
    }

    /// How the key of a table stands.
    pub fn status(&self, id: TableId) -> TableKeyStatus {
        match self.inner.kept(id).map(|kept| kept.state()) {
            Some(State::Inaccessible(trouble)) => TableKeyStatus::Inaccessible(trouble),
            _ => TableKeyStatus::Enabled,
        }
    }

    /// What a client is told of a table whose key cannot be used; None while nothing is wrong.
    pub fn trouble(&self, id: TableId) -> Option<CqlError> {
        let kept = self.inner.kept(id)?;
        match kept.state() {
            State::Inaccessible(trouble) => Some(self.inner.refusal(&kept, &trouble)),
            _ => None,
        }
    }

    /// When the lease of a table's key ends; None while it is not in memory.
    pub fn lease(&self, id: TableId) -> Option<Lease> {
        self.inner.engine.lease(id)
    }

    /// Opens a table whose key is not at hand. An error says since when and why that is impossible.
    ///
    /// What has begun runs to its end even if the client leaves: a table half opened would be nobody's to close. Of several who wait for the same table the first one is
    /// named as the one who asked.
    pub async fn ensure(&self, id: TableId, asker: &Asker) -> CqlResult<()> {
        let inner = &self.inner;
        let kept = inner
            .kept(id)
            .ok_or_else(|| CqlError::invalid("unconfigured table"))?;
        let one_call = kept.calling.clone().lock_owned().await;
        if inner.engine.lease_alive(id) {
            return Ok(());
        }
        if let Some(refusal) = inner.refused_lately(&kept) {
            return Err(refusal);
        }
        let (tell, told) = futures::channel::oneshot::channel();
        let (opening, asker) = (inner.clone(), asker.clone());
        inner.env.spawn(Box::pin(async move {
            let opened = opening.open(&kept, &asker).await;
            drop(one_call);
            let _ = tell.send(opened);
        }));
        told.await
            .unwrap_or_else(|_| Err(CqlError::overloaded("The server is shutting down")))
    }

    /// The root and keys of a new table under `cmk`, checked end to end before anything is made.
    pub async fn generate(
        &self,
        keyspace: &str,
        name: &str,
        id: TableId,
        cmk: &CmkRef,
        asker: &Asker,
    ) -> CqlResult<(Root, TableKeys)> {
        let inner = &self.inner;
        let cmk = inner.resolve(cmk);
        let context = inner.context(keyspace, name);
        let sent = Reading::now(&*inner.env);
        let purpose = Purpose {
            keyspace,
            table: name,
            asker,
        };
        let key = inner
            .new_key(&cmk, &context, id, ladder::FIRST_VERSION, purpose)
            .await;
        let key = match key {
            Ok(key) => key,
            Err(error) => return Err(inner.key_refused(&cmk, error).await),
        };
        let lease = Lease::starting_at(sent, inner.options.lease_seconds);
        Ok(ladder::first_root(key, cmk.clone(), lease))
    }

    /// The root and keys that put a table under `cmk`. Starts with a fresh Decrypt under the old key; nothing has changed when it fails.
    pub async fn switch(
        &self,
        id: TableId,
        cmk: &CmkRef,
        asker: &Asker,
    ) -> CqlResult<(Root, TableKeys)> {
        let inner = &self.inner;
        let kept = inner
            .kept(id)
            .ok_or_else(|| CqlError::invalid("unconfigured table"))?;
        let cmk = inner.resolve(cmk);
        let _one_call = kept.calling.lock().await;
        let root = inner.root(id)?;
        let (old, lease) = match inner.decrypt(&kept, &root, asker).await {
            Ok(fetched) => fetched,
            Err(error) => return Err(inner.key_refused(&root.cmk, error).await),
        };
        // As good as a renewal: the table does not fall asleep before the switch is done.
        inner.engine.renew(id, lease);
        inner.set_live(&kept, lease);
        let context = inner.context(&kept.keyspace, &kept.name);
        let sent = Reading::now(&*inner.env);
        let made = inner.new_key(&cmk, &context, id, root.version + 1, kept.purpose(asker));
        let key = match made.await {
            Ok(key) => key,
            Err(error) => return Err(inner.key_refused(&cmk, error).await),
        };
        let lease = Lease::starting_at(sent, inner.options.lease_seconds);
        ladder::next_root(&root, old, key, cmk, lease, inner.env.entropy())
            .map_err(|error| CqlError::server(error.to_string()))
    }

    /// A table's key is live under `lease`: made, switched or opened by the caller.
    pub fn opened(&self, id: TableId, lease: Lease) {
        if let Some(kept) = self.inner.kept(id) {
            self.inner.set_live(&kept, lease);
        }
    }
}

impl<B: Backend> Inner<B> {
    fn kept(&self, id: TableId) -> Option<Arc<Kept>> {
        self.tables.get(&id).map(|kept| kept.clone())
    }

    fn resolve(&self, cmk: &CmkRef) -> CmkRef {
        match cmk.is_default() {
            true => self.options.service_cmk.clone(),
            false => cmk.clone(),
        }
    }

    fn context(&self, keyspace: &str, name: &str) -> EncryptionContext {
        EncryptionContext::for_table(keyspace, name, &self.options.subscriber)
    }

    fn root(&self, id: TableId) -> CqlResult<Root> {
        self.engine.root(id).ok_or_else(|| {
            CqlError::read_failure(format!("corrupt: the root of table {id} is missing"))
        })
    }

    /// The last answer about a closed table, while it is too early to ask again.
    fn refused_lately(&self, kept: &Kept) -> Option<CqlError> {
        let root = self.engine.root(kept.id)?;
        let now = self.env.boot_nanos();
        let key = self.key(&root.cmk);
        match kept.state() {
            State::Inaccessible(trouble) if key.is_too_early(now) => {
                Some(self.refusal(kept, &trouble))
            }
            State::Dormant => {
                let denial = key.denied_lately(now)?;
                let trouble = self.set_inaccessible(kept, denial);
                Some(self.refusal(kept, &trouble))
            }
            _ => None,
        }
    }

    /// Asks for the table's key and opens the table.
    async fn open(&self, kept: &Kept, asker: &Asker) -> CqlResult<()> {
        let (keys, lease) = match self.ask(kept, asker).await {
            Ok(fetched) => fetched,
            Err(failure) => return Err(self.close(kept, failure).await),
        };
        let keys = TableKeys {
            ring: Arc::new(keys.into_ring()),
            lease,
        };
        match self.engine.unlock(kept.id, keys).await {
            Ok(()) => {
                self.set_live(kept, lease);
                Ok(())
            }
            Err(error @ palladium_storage::Error::Corrupt { .. }) => {
                let failure = self.failure(kept, Reason::Damaged, error.to_string());
                if let Some(cmk) = &failure.cmk {
                    self.key(cmk).wait(self.env.boot_nanos());
                }
                Err(self.close(kept, failure).await)
            }
            // Nothing is wrong with the key: a full disk, a table that was dropped meanwhile.
            Err(error) => Err(error.into()),
        }
    }

    /// Closes a table whose key cannot be had, and its siblings if the denial speaks of the key. Gives what a client is told.
    async fn close(&self, kept: &Kept, failure: Failure) -> CqlError {
        let trouble = self.set_inaccessible(kept, failure.clone());
        futures::join!(self.engine.lock(kept.id), self.spread(&failure));
        self.refusal(kept, &trouble)
    }

    fn set_live(&self, kept: &Kept, lease: Lease) {
        let was = kept.replace(State::Live(Live {
            refresh_at_nanos: self.refresh_at(lease),
            must_ask: false,
            unanswered: None,
        }));
        if let State::Inaccessible(_) = was {
            tracing::info!(
                keyspace = kept.keyspace,
                table = kept.name,
                "the table's key is back"
            );
            self.hasten_siblings(kept);
        }
    }

    /// Notes the trouble, keeping the moment when it began.
    fn set_inaccessible(&self, kept: &Kept, failure: Failure) -> Trouble {
        let Failure { reason, what, cmk } = failure;
        let mut state = kept.state.lock().expect("no holder of this lock panics");
        let (since_micros, reason_before) = match &*state {
            State::Inaccessible(before) => (before.since_micros, Some(before.reason)),
            _ => (self.env.wall_micros(), None),
        };
        let trouble = Trouble {
            reason,
            since_micros,
            cmk: cmk.map_or_else(|| "unknown".into(), |cmk| cmk.to_string()),
            what,
            background_at_nanos: trouble::background_at(self.env.boot_nanos()),
        };
        *state = State::Inaccessible(trouble.clone());
        drop(state);
        if reason_before != Some(reason) {
            tracing::warn!(
                keyspace = kept.keyspace,
                table = kept.name,
                key = trouble.cmk,
                reason = %trouble.reason,
                what = trouble.what,
                "the table's key is inaccessible"
            );
        }
        trouble
    }

    fn refusal(&self, kept: &Kept, trouble: &Trouble) -> CqlError {
        trouble.to_cql(&kept.keyspace, &kept.name)
    }

    /// CREATE or ALTER named a key that does not work: which key, and what its service said.
    async fn key_refused(&self, cmk: &CmkRef, error: CryptoError) -> CqlError {
        let refusal = CqlError::invalid(format!(
            "KMS key {cmk} cannot be used: {error}; nothing was changed"
        ));
        let failure = Failure::new(cmk, &error);
        if failure.is_key_wide() {
            self.spread(&failure).await;
        }
        refusal
    }
}

impl Kept {
    fn purpose<'a>(&'a self, asker: &'a Asker) -> Purpose<'a> {
        Purpose {
            keyspace: &self.keyspace,
            table: &self.name,
            asker,
        }
    }

    fn state(&self) -> State {
        self.state
            .lock()
            .expect("no holder of this lock panics")
            .clone()
    }

    fn replace(&self, next: State) -> State {
        std::mem::replace(
            &mut *self.state.lock().expect("no holder of this lock panics"),
            next,
        )
    }
}
