//! Starting and stopping, each in one order.
//!
//! Start: lock the data folder; keyring; the service's key; the anchor against the manifest; the engine (roots, manifest, log, and the anchor against the log); the audit trail; system tables, schema and roles; the
//! record of the keyring; roots without a table are swept, and certificates of what a crash left half dropped are made; the keeper learns the tables; the port opens. Customer tables start dormant: no key service of theirs is asked before a request comes.
//!
//! Stop: the port closes; connections answer what they had begun; the audit trail is written to its end; the engine syncs, notes its watermark and closes; the anchor is written.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use arc_swap::ArcSwap;
use palladium_crypto::{Passphrase, UnixSeconds};
use palladium_storage::manifest::Manifest;
use palladium_storage::{Backend, Env, LocalBackend, LocalOptions, Options};
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use uuid::Uuid;

use crate::Engine;
use crate::anchor::AnchorKeeper;
use crate::audit::{Audit, Trail, TrailLimits, Writing};
use crate::auth::first;
use crate::config::Config;
use crate::database::Database;
use crate::derived::nearest::Budget;
use crate::derived::{build, stale};
use crate::env::RealEnv;
use crate::instruments::Instruments;
use crate::keyring_record::RecordedKeyring;
use crate::keys::{Caller, KeeperOptions, KeyKeeper, KeyServices};
use crate::ledger;
use crate::memory;
use crate::net::{InFlight, Listener, Scrapes};
use crate::passphrase;
use crate::permissions::Authority;
use crate::query::{PageSeal, Prepared};
use crate::say;
use crate::schema::store;
use crate::schema::turns::Turns;
use crate::service_key::{self, ServiceKey};
use crate::shredding::Shredding;
use crate::subscriber;
use crate::supervisor::{self, Ending};
use crate::telemetry;
use crate::traces::Traces;

/// How long connections may take to answer what they had begun when the server stops.
const DRAIN_MAX: Duration = Duration::from_secs(3);
/// How long a start waits for a look at the place of the exported heads.
const LOOK_MAX: Duration = Duration::from_secs(2);
/// How long a stopped server waits for work that nobody waits for any more: a password's hash.
const LEFTOVERS_MAX: Duration = Duration::from_secs(1);

/// A running server.
pub struct Server {
    database: Arc<Database>,
    address: SocketAddr,
    metrics_address: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    serving: JoinHandle<()>,
    anchor: AnchorKeeper,
    keyring: Arc<RecordedKeyring>,
    /// Taken when it ends.
    writing: Option<Writing>,
    /// What goes on beside serving; ends with the server.
    chores: JoinSet<()>,
}

/// The program's life: start, serve, stop at a signal.
pub fn run(config: Config) -> Result<ExitCode, String> {
    // To the end of the program: then what is left of it is sent.
    let _telemetry = telemetry::start(&config)?;

    let passphrase = passphrase::of_configured_keyring(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| error.to_string())?;
    let ended = runtime.block_on(async {
        let mut ending = Ending::listen().map_err(|error| error.to_string())?;
        let server = tokio::select! {
            server = Server::start_unlocked(config, Arc::new(RealEnv::default()), passphrase) => server?,
            _ = ending.asked() => return Ok(ExitCode::SUCCESS),
        };
        // Whoever cannot be told finds the port open.
        say!("palladium is ready on {}", server.address());
        supervisor::tell("READY=1");
        ending.asked().await;
        supervisor::tell("STOPPING=1");
        server.stop().await.map(|()| ExitCode::SUCCESS)
    });
    runtime.shutdown_timeout(LEFTOVERS_MAX);
    ended
}

/// Whether a build without a cipher may serve.
static IS_MEASURED: AtomicBool = AtomicBool::new(false);

/// Lets a server start that encrypts nothing; for the one program that measures what encryption costs.
pub fn accept_no_cipher() {
    IS_MEASURED.store(true, Ordering::Relaxed);
}

impl Server {
    /// Opens the data folder and, when everything is ready, the port.
    pub async fn start(config: Config, env: Arc<dyn Env>) -> Result<Server, String> {
        Server::start_unlocked(config, env, None).await
    }

    /// The same with a keyring that has a passphrase.
    pub async fn start_unlocked(
        config: Config,
        env: Arc<dyn Env>,
        passphrase: Option<Passphrase>,
    ) -> Result<Server, String> {
        if !palladium_crypto::CIPHER_IS_REAL && !IS_MEASURED.load(Ordering::Relaxed) {
            return Err("this build has no cipher (cipher-copy): it is for measuring only".into());
        }
        config.check_access()?;
        let say = |error: palladium_storage::Error| error.to_string();
        let backend = LocalBackend::open(&config.data, LocalOptions::default()).map_err(say)?;
        check_places(&config).await?;
        let first_start = service_key::is_first_start(&backend).await?;
        let keyring = service_key::open_keyring(&config, first_start, passphrase.as_ref())?;
        drop(passphrase);
        let clock = env.clone();
        let keyring = keyring.with_clock(move || wall_seconds(&*clock));
        let (audit, waiting) = Audit::new();
        let keyring = RecordedKeyring::new(keyring, audit.clone());
        let services = KeyServices::open(&config.kms)
            .await?
            .limited(config.call_limits())
            .with_keyring(keyring.clone());
        let caller = Caller {
            env: env.clone(),
            audit: audit.clone(),
            timeout: Duration::from_secs(config.key_call_timeout_s),
        };
        let cmk = config.service_cmk()?;
        let service = service_key::fetch(&backend, &services, &cmk, first_start, &caller).await?;
        let is_new = backend.manifest_list().await.map_err(say)?.is_empty();
        let anchor = AnchorKeeper::open(&config, &service, is_new)?;
        // Before the engine opens: that alone is a commit, and an older folder would come nearer to its anchor with each refusal.
        let (_, found) = Manifest::inspect(&backend, &service.ring)
            .await
            .map_err(say)?;
        anchor.check(&found)?;
        let options = Options {
            log_sequence_seen: anchor.known_log_sequence(),
            ..config.engine_options()
        };
        let (engine, trail) = open_engine(backend, &env, &service, &config, options).await?;
        let writing = Writing::begin(trail.clone(), waiting, config.audit_head_path());
        let opened = Opened {
            config,
            env,
            engine: engine.clone(),
            service,
            services,
            keyring,
            anchor,
            audit,
            trail,
        };
        match Self::begin(opened).await {
            Ok(mut server) => {
                server.writing = Some(writing);
                Ok(server)
            }
            Err(error) => {
                // Whoever fixes what was wrong finds the folder closed and free.
                writing.finish().await;
                let _ = engine.close().await;
                Err(error)
            }
        }
    }

    /// What follows once the engine is open.
    async fn begin(opened: Opened) -> Result<Server, String> {
        let Opened {
            config,
            env,
            engine,
            service,
            services,
            keyring,
            anchor,
            audit,
            trail,
        } = opened;
        // Served all the same, and noted later: an anchor that stays behind refuses nothing.
        if let Err(error) = anchor.note(&engine) {
            tracing::error!(%error, "the anchor could not be written");
        }
        let mut catalog = store::load(&engine, &service).await?;
        keyring.check(&engine).await?;
        keyring.mark_service(&config.service_cmk()?);
        let subscriber = subscriber::fix(&engine, &config, &service).await?;
        let keys = KeyKeeper::new(
            engine.clone(),
            env.clone(),
            services,
            keeper_options(&config, &service, subscriber)?,
            audit.clone(),
        );
        store::sweep(&engine, &catalog).await?;
        let shredding = Shredding::open(&engine, env.clone(), &service).await?;
        shredding.finish_drafts().await?;
        store::follow_roots(&engine, &mut catalog, &config.service_cmk()?);
        for table in catalog.customer_tables() {
            keys.register(table.id, &table.keyspace, &table.name);
        }
        // Customer tables start dormant. Those that the log still holds something of are opened beside serving, so that it can be released.
        for id in engine.tables_with_log() {
            keys.want(id);
        }
        keys.load_records().await?;
        let roles = first::load(&engine, &config, &*env, &audit).await?;
        let authority = Arc::new(Authority::new(&config, roles, env.clone())?);
        keys.obey(authority.clone());
        let guardrails = config.guardrails()?;
        let guardrails_of_superusers =
            Some(guardrails.for_superusers()).filter(|less| *less != guardrails);
        if let Some(what) = config.memory_beyond_the_machine() {
            tracing::warn!("{what}: it may be ended before it takes less");
        }
        for name in &guardrails.without_effect {
            tracing::warn!(setting = %name, "a setting of [cassandra] means nothing on this server");
        }
        let database = Arc::new(Database {
            engine,
            catalog: ArcSwap::from_pointee(catalog),
            keys: keys.clone(),
            authority,
            audit,
            trail,
            shredding,
            prepared: Prepared::new(env.entropy())
                .at_most(config.prepared_statements_max)
                .within(config.prepared_bytes_max()),
            guardrails_of_superusers,
            guardrails,
            traces: Traces::default(),
            host_id: host_id(&service),
            cluster: service.cluster,
            page_seal: PageSeal::new(service.ring.active(), env.clone()),
            events: Database::events_channel(),
            turns: Turns::default(),
            building: Mutex::default(),
            graphs: Arc::new(Budget::new(config.graph_bytes_max())),
            past: Mutex::default(),
            instruments: Instruments::new(
                Duration::from_millis(config.slow_query_timeout_ms),
                env.wall_micros().div_euclid(1_000_000),
            ),
            clients: Arc::default(),
            in_flight: InFlight::new(config.request_bytes_max()),
            config,
        });
        stale::watch(&database);
        build::resume(&database).await;
        let listener = Listener::bind(database.config.listen).await?;
        let address = listener.address();
        let scrapes = match database.config.metrics_address()? {
            Some(address) => Some(Scrapes::bind(address).await?),
            None => None,
        };
        let metrics_address = scrapes.as_ref().map(Scrapes::address);
        let mut chores = JoinSet::new();
        chores.spawn(database.instruments.clone().run());
        chores.spawn(keys.run());
        chores.spawn(memory::watch());
        chores.spawn(ledger::watch(database.clone()));
        chores.spawn(keyring.clone().run(database.engine.clone()));
        chores.spawn(anchor.clone().run(database.engine.clone()));
        let (stop, stopping) = watch::channel(false);
        if let Some(scrapes) = scrapes {
            tracing::info!(address = %scrapes.address(), "metrics are served");
            chores.spawn(scrapes.serve(database.clone(), stopping.clone()));
        }
        let serving = tokio::spawn(listener.serve(database.clone(), stopping));
        Ok(Server {
            database,
            address,
            metrics_address,
            stop,
            serving,
            anchor,
            keyring,
            writing: None,
            chores,
        })
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Where it serves metrics, if it does.
    pub fn metrics_address(&self) -> Option<SocketAddr> {
        self.metrics_address
    }

    /// What the connections share, for tests that look inside.
    pub fn database(&self) -> &Arc<Database> {
        &self.database
    }

    /// Ends in order: nothing that was acknowledged needs a replay afterwards to be found.
    pub async fn stop(mut self) -> Result<(), String> {
        let _ = self.stop.send(true);
        if tokio::time::timeout(DRAIN_MAX, &mut self.serving)
            .await
            .is_err()
        {
            self.serving.abort();
            tracing::warn!("some connections did not finish in time");
        }
        self.chores.shutdown().await;
        // What an owner has begun to change may go on without its connection; what it did is in the trail before that is closed.
        let changes = tokio::time::timeout(DRAIN_MAX, self.database.turns.end()).await;
        if changes.is_err() {
            tracing::warn!("a change of the schema or of roles did not finish in time");
        }
        self.keyring.note(&self.database.engine).await;
        if let Some(writing) = self.writing.take() {
            writing.finish().await;
        }
        self.database
            .engine
            .close()
            .await
            .map_err(|error| error.to_string())?;
        self.anchor.note(&self.database.engine)
    }
}

/// The disk of the exported heads may hang, which keeps no start waiting (that of the keyring does: it is looked at again when it is opened).
async fn check_places(config: &Config) -> Result<(), String> {
    let config = config.clone();
    let looking = tokio::task::spawn_blocking(move || config.check_places());
    match tokio::time::timeout(LOOK_MAX, looking).await {
        Ok(looked) => looked.map_err(|panic| panic.to_string())?,
        Err(_) => {
            tracing::warn!(
                "audit_head_file does not answer: whether it has a place of its own is not known"
            );
            Ok(())
        }
    }
}

/// What is there before the schema is read.
struct Opened {
    config: Config,
    env: Arc<dyn Env>,
    engine: Engine,
    service: ServiceKey,
    services: KeyServices,
    keyring: Arc<RecordedKeyring>,
    anchor: AnchorKeeper,
    audit: Audit,
    trail: Arc<Trail>,
}

/// Opens the engine, and the audit trail in it. Options that know of no group of the log open an older copy, too.
pub(crate) async fn open_engine(
    backend: LocalBackend,
    env: &Arc<dyn Env>,
    service: &ServiceKey,
    config: &Config,
    options: Options,
) -> Result<(Engine, Arc<Trail>), String> {
    let engine = Engine::open(
        Arc::new(backend),
        env.clone(),
        service.ring.clone(),
        options,
    )
    .await
    .map_err(|error| error.to_string())?;
    let limits = TrailLimits {
        days: config.audit_days,
        rows_max: config.audit_rows_max,
    };
    match Trail::open(&engine, env.clone(), service, limits).await {
        Ok(trail) => Ok((engine, Arc::new(trail))),
        Err(error) => {
            let _ = engine.close().await;
            Err(error)
        }
    }
}

fn keeper_options(
    config: &Config,
    service: &ServiceKey,
    subscriber: String,
) -> Result<KeeperOptions, String> {
    Ok(KeeperOptions {
        cluster: service.cluster,
        subscriber,
        service_cmk: config.service_cmk()?,
        lease_seconds: config.key_lease_s,
        call_timeout: Duration::from_secs(config.key_call_timeout_s),
        grace_seconds: config.unreachable_grace_s,
        snapshot_grant_days: config.snapshot_grant_days,
    })
}

/// The keyring's clock: it destroys a key on the day that its owner has set.
fn wall_seconds(env: &dyn Env) -> UnixSeconds {
    UnixSeconds(u64::try_from(env.wall_micros() / 1_000_000).unwrap_or(0))
}

/// A random identity that lasts: derived from the service's key.
fn host_id(service: &ServiceKey) -> Uuid {
    let secret = service.derive_secret("host id");
    let mut bytes = [0; 16];
    bytes.copy_from_slice(&secret.expose()[..16]);
    uuid::Builder::from_random_bytes(bytes).into_uuid()
}
