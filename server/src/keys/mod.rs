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
//! What must hold: a lease starts when the Decrypt is *sent* and is renewed by nothing else. A denial that speaks of the key itself ends the lease of every
//! table under it at once; one that speaks of this table ends this one. No answer is no denial: the lease runs to its end.

mod ladder;
mod refresh;
mod trouble;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use dashmap::DashMap;
use palladium_crypto::{
    ClusterId, CmkRef, EncryptionContext, Error as CryptoError, KeyRing, Kms, TableId,
};
use palladium_storage::{Env, Lease, Reading, Root, TableKeys};

use crate::Engine;
use crate::error::{CqlError, CqlResult};
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
}

/// Keeps the keys of all customer tables.
#[derive(Clone)]
pub struct KeyKeeper {
    inner: Arc<Inner>,
}

struct Inner {
    engine: Engine,
    env: Arc<dyn Env>,
    services: KeyServices,
    options: KeeperOptions,
    tables: DashMap<TableId, Arc<Kept>>,
}

/// The key services of this server, by provider.
#[derive(Clone, Default)]
pub struct KeyServices {
    by_provider: Vec<(String, Arc<dyn Kms>)>,
}

/// One table as the keeper sees it.
struct Kept {
    id: TableId,
    keyspace: String,
    name: String,
    /// Held during a call for this table: a hundred waiting requests make one call.
    calling: tokio::sync::Mutex<()>,
    state: Mutex<State>,
}

/// Where a table's key is.
#[derive(Debug, Clone)]
enum State {
    /// Not in memory, and nothing is wrong.
    Dormant,
    /// In memory, under a lease.
    Live {
        refresh_at_nanos: u64,
        failures: u32,
    },
    /// Denied, or unanswered past the lease.
    Inaccessible(Trouble),
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
        .await?;
    Ok(ladder::Keys::climb(root, &plaintext, cluster)?.into_ring())
}

impl KeyServices {
    /// Adds a service for the names that start with `provider`.
    pub fn with(mut self, provider: &str, service: Arc<dyn Kms>) -> Self {
        self.by_provider.push((provider.to_owned(), service));
        self
    }

    /// The service that holds `cmk`.
    pub fn of(&self, cmk: &CmkRef) -> Result<&Arc<dyn Kms>, CryptoError> {
        self.by_provider
            .iter()
            .find(|(provider, _)| provider == cmk.provider())
            .map(|(_, service)| service)
            .ok_or_else(|| {
                CryptoError::Unsupported(format!(
                    "no key service is configured for '{}' keys",
                    cmk.provider()
                ))
            })
    }
}

impl KeyKeeper {
    /// A keeper that knows no tables yet.
    pub fn new(
        engine: Engine,
        env: Arc<dyn Env>,
        services: KeyServices,
        options: KeeperOptions,
    ) -> Self {
        KeyKeeper {
            inner: Arc::new(Inner {
                engine,
                env,
                services,
                options,
                tables: DashMap::new(),
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
                calling: tokio::sync::Mutex::new(()),
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

    /// When the lease of a table's key ends; None while it is not in memory.
    pub fn lease(&self, id: TableId) -> Option<Lease> {
        self.inner.engine.lease(id)
    }

    /// Opens a table whose key is not at hand. An error says since when and why that is impossible.
    pub async fn ensure(&self, id: TableId) -> CqlResult<()> {
        let inner = &self.inner;
        let kept = inner
            .kept(id)
            .ok_or_else(|| CqlError::invalid("unconfigured table"))?;
        let _one_call = kept.calling.lock().await;
        if inner.engine.lease_alive(id) {
            return Ok(());
        }
        if let State::Inaccessible(trouble) = kept.state()
            && inner.env.boot_nanos() < trouble.retry_at_nanos
        {
            return Err(inner.refusal(&kept, &trouble));
        }
        inner
            .open(&kept)
            .await
            .map_err(|trouble| inner.refusal(&kept, &trouble))
    }

    /// The root and keys of a new table under `cmk`, checked end to end before anything is made.
    pub async fn generate(
        &self,
        keyspace: &str,
        name: &str,
        id: TableId,
        cmk: &CmkRef,
    ) -> CqlResult<(Root, TableKeys)> {
        let inner = &self.inner;
        let cmk = inner.resolve(cmk);
        let context = inner.context(keyspace, name);
        let refuse = |error: CryptoError| key_refused(&cmk, &error);
        let sent = Reading::now(&*inner.env);
        let key = inner
            .new_key(&cmk, &context, id, ladder::FIRST_VERSION)
            .await
            .map_err(refuse)?;
        let lease = Lease::starting_at(sent, inner.options.lease_seconds);
        Ok(ladder::first_root(key, cmk.clone(), lease))
    }

    /// The root and keys that put a table under `cmk`. Starts with a fresh Decrypt under the old key; nothing has changed when it fails.
    pub async fn switch(&self, id: TableId, cmk: &CmkRef) -> CqlResult<(Root, TableKeys)> {
        let inner = &self.inner;
        let kept = inner
            .kept(id)
            .ok_or_else(|| CqlError::invalid("unconfigured table"))?;
        let cmk = inner.resolve(cmk);
        let _one_call = kept.calling.lock().await;
        let root = inner.root(id)?;
        let old = match inner.decrypt(&kept, &root).await {
            Ok(keys) => keys,
            Err(error) => return Err(key_refused(&root.cmk, &error)),
        };
        let context = inner.context(&kept.keyspace, &kept.name);
        let sent = Reading::now(&*inner.env);
        let key = inner
            .new_key(&cmk, &context, id, root.version + 1)
            .await
            .map_err(|error| key_refused(&cmk, &error))?;
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

impl Inner {
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

    /// Decrypts the table's key and opens the table.
    async fn open(&self, kept: &Kept) -> Result<(), Trouble> {
        let fail = |reason: Reason, what: String| self.set_inaccessible(kept, reason, what);
        let Some(root) = self.engine.root(kept.id) else {
            return Err(fail(Reason::Damaged, "the root is missing".into()));
        };
        let sent = Reading::now(&*self.env);
        let ring = match self.decrypt(kept, &root).await {
            Ok(keys) => keys.into_ring(),
            Err(error) => {
                let trouble = fail(Reason::of(&error), error.to_string());
                self.spread_denial(&root.cmk, &error).await;
                return Err(trouble);
            }
        };
        let lease = Lease::starting_at(sent, self.options.lease_seconds);
        let keys = TableKeys {
            ring: Arc::new(ring),
            lease,
        };
        match self.engine.unlock(kept.id, keys).await {
            Ok(()) => {
                self.set_live(kept, lease);
                Ok(())
            }
            Err(error) => Err(fail(Reason::Damaged, error.to_string())),
        }
    }

    /// One Decrypt of this table's key, with its older versions unwrapped.
    async fn decrypt(&self, kept: &Kept, root: &Root) -> Result<ladder::Keys, CryptoError> {
        let context = self.context(&kept.keyspace, &kept.name);
        let service = self.services.of(&root.cmk)?;
        let plaintext = self
            .timed(service.decrypt(&root.cmk, &root.wrapped, &context))
            .await?;
        ladder::Keys::climb(root, &plaintext, self.options.cluster)
    }

    /// A fresh table key under `cmk`, after a round trip that proves it can be fetched again.
    async fn new_key(
        &self,
        cmk: &CmkRef,
        context: &EncryptionContext,
        table: TableId,
        version: u32,
    ) -> Result<ladder::NewKey, CryptoError> {
        let service = self.services.of(cmk)?;
        let description = self.timed(service.describe(cmk)).await?;
        if let Some(reason) = description.denial {
            return Err(CryptoError::Denied {
                reason,
                message: format!("the key is {reason}"),
            });
        }
        let generated = self.timed(service.generate_data_key(cmk, context)).await?;
        let again = self
            .timed(service.decrypt(cmk, &generated.ciphertext, context))
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

    fn set_live(&self, kept: &Kept, lease: Lease) {
        let was = kept.replace(State::Live {
            refresh_at_nanos: self.refresh_at(lease),
            failures: 0,
        });
        if let State::Inaccessible(_) = was {
            tracing::info!(
                keyspace = kept.keyspace,
                table = kept.name,
                "the table's key is back"
            );
        }
    }

    /// Notes the trouble, keeping the moment when it began.
    fn set_inaccessible(&self, kept: &Kept, reason: Reason, what: String) -> Trouble {
        let now = self.env.boot_nanos();
        let since_micros = match kept.state() {
            State::Inaccessible(trouble) => trouble.since_micros,
            _ => self.env.wall_micros(),
        };
        let cmk = self
            .engine
            .root(kept.id)
            .map_or_else(String::new, |root| root.cmk.to_string());
        let trouble = Trouble {
            reason,
            since_micros,
            cmk,
            what,
            retry_at_nanos: now.saturating_add(trouble::RETRY_ON_REQUEST.as_nanos() as u64),
            background_at_nanos: now.saturating_add(trouble::RETRY_IN_BACKGROUND.as_nanos() as u64),
        };
        let was = kept.replace(State::Inaccessible(trouble.clone()));
        if !matches!(&was, State::Inaccessible(before) if before.reason == trouble.reason) {
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
}

impl Kept {
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

/// CREATE or ALTER named a key that does not work: which key, and what its service said.
fn key_refused(cmk: &CmkRef, error: &CryptoError) -> CqlError {
    CqlError::invalid(format!(
        "KMS key {cmk} cannot be used: {error}; nothing was changed"
    ))
}
