//! The key keeper: fetches table keys, renews their leases, lets them go. The only caller of key services.
//!
//! ```text
//!                 first request                       40-70 % of the lease, in use
//!   Dormant ──────────────────────────► Live ◄───────────────────────────────┐
//!      ▲    Decrypt answered             │ └────────── Decrypt answered ─────┘
//!      │                                 │
//!      ├──── lease about to end, idle ───┤
//!      │                                 │ Decrypt denied, or unanswered until the lease (and the grace) ended
//!      └──── (never from trouble) ◄──────▼
//!                                  Inaccessible ── a request (at most every 5 s for a key) or 30 s ──► Decrypt answered: Live
//! ```
//!
//! | | Dormant | Live | Inaccessible |
//! |---|---|---|---|
//! | reads, writes | wait for one Decrypt, at most 2 s | go on, asking nobody | are refused, at most every 5 s after one Decrypt for the key |
//! | memtable, blocks, keys | none in memory | in memory | none in memory 5 s after the change |
//! | log records | stay; replayed when it wakes | flushed as usual | stay, sealed; carried out of shared segments |
//! | ALTER to another key | one Decrypt, then the switch | the same | Invalid while the old key is refused |
//! | DROP | works | works | works |
//! | restart | Dormant | Dormant | Dormant |
//!
//! What must hold:
//! - A lease starts when the Decrypt is *sent* and is renewed by nothing else.
//! - A denial that speaks of the key itself ends the lease of every table under it at once; one that speaks of this table ends this one. No answer is no
//!   denial: the lease runs to its end, and then for as long as the operator's grace.
//! - A table that is not Live here is not open in the engine: nothing else would ever close it.
//! - A table whose lease (and grace) is over is wiped with the next look, whoever still waits for an answer about its key.
//! - An answer about a key that the table has left meanwhile (ALTER) is no answer about the table.
//!
//! Reading order: `services` and `service` (who can be asked, and how), `gate` (when), `state` (one table), `key` (what is known of a key, whichever table asked),
//! `ladder` (from a decrypted key to a ring), `call` (the calls and their worth), `open` (for a request), `refresh` (the clockwork), `change` (CREATE, ALTER, DROP),
//! `grants`, `versions` (of each table's key), `trouble` (what a client is told).

mod call;
mod change;
mod gate;
mod grants;
mod key;
mod ladder;
mod open;
mod refresh;
mod service;
mod services;
mod state;
mod trouble;
mod versions;

use std::sync::{Arc, OnceLock};
use std::time::Duration;

use dashmap::DashMap;
use palladium_crypto::{
    ClusterId, CmkRef, EncryptionContext, Entropy, Error as CryptoError, KeyRing, TableId,
};
use palladium_storage::{Backend, Engine, Env, Lease, LocalBackend, Root};

use self::key::Key;
use self::state::{Kept, State};
use crate::audit::{Asker, Audit};
use crate::error::{CqlError, CqlResult};
use crate::permissions::Authority;
pub(crate) use call::lasting_name;
pub use gate::CallLimits;
pub(crate) use gate::Urgency;
pub use grants::GrantRecord;
pub(crate) use ladder::{another_key, not_what_was_generated};
pub(crate) use service::{Asked, Caller, judged};
pub use service::{KeyService, ServiceStatus};
pub use services::KeyServices;
pub use trouble::{Reason, Trouble, iso8601};
pub use versions::KeyLife;

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
    caller: Caller,
    services: KeyServices,
    options: KeeperOptions,
    tables: DashMap<TableId, Arc<Kept>>,
    /// By name; only keys that a root has named.
    keys: DashMap<CmkRef, Arc<Key>>,
    book: grants::Book,
    versions: versions::Versions,
    /// Who may use which key; everybody may use all until it is set.
    authority: OnceLock<Arc<Authority>>,
}

/// What a table's owner sees.
#[derive(Debug, Clone)]
pub enum TableKeyStatus {
    /// Readable, or readable with the next request.
    Enabled,
    /// The key cannot be used.
    Inaccessible(Trouble),
}

/// One Decrypt of a table's newest key, with its older versions unwrapped: for tools, which leave no trace in the folder.
pub async fn open_ring(
    services: &KeyServices,
    root: &Root,
    context: &EncryptionContext,
    cluster: ClusterId,
) -> Result<KeyRing, CryptoError> {
    let (caller, asker) = (Caller::unrecorded(), Asker::server());
    let asked = Asked {
        operation: "Decrypt",
        table: None,
        key: &root.cmk,
        context: Some(context),
        asker: &asker,
        urgency: Urgency::Request,
    };
    let service = services.of(&root.cmk)?;
    let called = service
        .call(&caller, asked, |kms| {
            let answer = kms.decrypt(&root.cmk, &root.wrapped, context);
            judged(answer, |plaintext| ladder::climb(root, &plaintext, cluster))
        })
        .await;
    called.outcome
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
                caller: Caller {
                    env,
                    audit,
                    timeout: options.call_timeout,
                },
                services,
                options,
                tables: DashMap::new(),
                keys: DashMap::new(),
                book: grants::Book::default(),
                versions: versions::Versions::default(),
                authority: OnceLock::new(),
            }),
        }
    }

    /// From now on roles decide who may use which key.
    pub fn obey(&self, authority: Arc<Authority>) {
        // Set once, where the server starts.
        let _ = self.inner.authority.set(authority);
    }

    /// Makes a table known, with the names that its key service is told.
    pub fn register(&self, id: TableId, keyspace: &str, name: &str) {
        let kept = Arc::new(Kept::new(id, keyspace, name));
        self.inner.tables.insert(id, kept.clone());
        self.inner.index(&kept);
    }

    /// Forgets a dropped table.
    pub fn forget(&self, id: TableId) {
        let Some((_, kept)) = self.inner.tables.remove(&id) else {
            return;
        };
        if let Some(cmk) = kept.under().take() {
            self.inner.key(&cmk).leave(id);
        }
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

    /// What a client is told of a table whose key was at hand and is not any more: why, if that is known by now.
    pub fn lost(&self, id: TableId) -> CqlError {
        match self.inner.kept(id) {
            Some(kept) => self.inner.still_waiting(&kept),
            None => palladium_storage::Error::KeyUnavailable { table: id }.into(),
        }
    }

    /// When the lease of a table's key ends; None while it is not in memory.
    pub fn lease(&self, id: TableId) -> Option<Lease> {
        self.inner.engine.lease(id)
    }

    /// When the Decrypt of a table's key was sent that was answered last, in microseconds of wall time; None if there was none since the start.
    pub fn confirmed_micros(&self, id: TableId) -> Option<i64> {
        self.inner.kept(id)?.confirmed_micros()
    }

    /// What is known of each key service.
    pub fn services(&self) -> Vec<ServiceStatus> {
        self.inner.services.status()
    }

    /// Opens a table whose key is not at hand. An error says since when and why that is impossible.
    ///
    /// Of several who wait for the same table the first one is named as the one who asked.
    pub async fn ensure(&self, id: TableId, asker: &Asker) -> CqlResult<()> {
        let kept = self
            .inner
            .kept(id)
            .ok_or_else(|| CqlError::invalid("unconfigured table"))?;
        self.inner.ensure(kept, asker).await
    }

    /// A table's key is live under `lease`: made, switched or opened by the caller.
    pub async fn opened(&self, id: TableId, lease: Lease) {
        if let Some(kept) = self.inner.kept(id) {
            self.inner.set_live(&kept, lease);
            // The table is made, or switched, all the same; whoever uses it next is told why it is closed.
            let _ = self.inner.overtaken(&kept, lease).await;
        }
    }
}

impl<B: Backend> Inner<B> {
    /// Whether somebody may put a table under a key, or take one away from under it.
    fn may_use_key(&self, asker: &Asker, key: &CmkRef) -> CqlResult<()> {
        match self.authority.get() {
            Some(authority) => authority.may_use_key(asker, key),
            None => Ok(()),
        }
    }

    /// The same of a key that a table is under, or that an alias leads to: its name is not everybody's to know.
    fn may_use_key_of(&self, asker: &Asker, key: &CmkRef, whose: &str) -> CqlResult<()> {
        match self.authority.get() {
            Some(authority) => authority.may_use_key_of(asker, key, whose),
            None => Ok(()),
        }
    }

    fn kept(&self, id: TableId) -> Option<Arc<Kept>> {
        self.tables.get(&id).map(|kept| kept.clone())
    }

    /// Puts a table among those of the key that its root names.
    fn index(&self, kept: &Kept) {
        let mut under = kept.under();
        // Read while `under` is held: of two who come here the later one has seen the newer root.
        let cmk = self.engine.root(kept.id).map(|root| root.cmk);
        // A dropped table is nobody's any more.
        if *under == cmk || !self.tables.contains_key(&kept.id) {
            return;
        }
        if let Some(before) = under.take() {
            self.key(&before).leave(kept.id);
        }
        if let Some(cmk) = &cmk {
            self.key(cmk).adopt(kept.id);
        }
        *under = cmk;
    }

    fn env(&self) -> &dyn Env {
        &*self.caller.env
    }

    fn entropy(&self) -> &dyn Entropy {
        self.caller.env.entropy()
    }

    fn now_nanos(&self) -> u64 {
        self.caller.env.boot_nanos()
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

    /// The name of the key that a table is under, for people.
    fn key_name(&self, kept: &Kept) -> String {
        let root = self.engine.root(kept.id);
        root.map_or_else(|| "unknown".into(), |root| root.cmk.to_string())
    }
}
