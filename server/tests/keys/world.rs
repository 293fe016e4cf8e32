//! A keeper over a real engine, with a scripted key service and a clock that the test moves.

pub use std::sync::Arc;
use std::sync::Weak;
pub use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
pub use std::time::Duration;

use bytes::Bytes;
pub use futures::FutureExt;
use palladium::Engine;
pub use palladium::audit::{Asker, Audit, Event, Standing, Waiting};
pub use palladium::error::CqlError;
pub use palladium::keys::{KeeperOptions, KeyKeeper, KeyServices, TableKeyStatus};
use palladium::service_table::SCHEMA_TABLE;
pub use palladium_crypto::{
    Behavior, Call, ClusterId, CmkRef, DenialReason, EncryptionContext, Entropy, KeyRing,
    Operation, ScriptedKms, Secret, SeededEntropy, TableId, TableKey, UnavailableReason,
};
pub use palladium_protocol::ErrorCode;
use palladium_storage::env::BoxFuture;
use palladium_storage::{
    Cell, CellState, Clustering, ColumnId, Columns, Env, KeyRange, Lease, Limits, Liveness,
    LocalBackend, LocalOptions, Mutation, NewTable, Options, PartitionKey, PartitionUpdate,
    ReadCommand, Root, Row, SERVICE, Slices, Store, TableKeys, Token, Write,
};

pub const LEASE_SECONDS: u64 = 300;
pub const ORDERS: TableId = TableId([1; 16]);
pub const INVOICES: TableId = TableId([2; 16]);
pub const NEIGHBOUR: TableId = TableId([3; 16]);

/// Clocks that the test moves; everything else is real.
pub struct HandWoundEnv {
    me: Weak<HandWoundEnv>,
    entropy: SeededEntropy,
    pub seconds: AtomicU64,
    /// What has passed beside the seconds.
    crept_nanos: AtomicU64,
    /// By how much each look at the boot clock moves it: work takes time.
    creep_nanos: AtomicU64,
    /// By how much the wall clock is ahead of where it should be.
    pub wall_ahead: AtomicI64,
    /// Whether a key service is waited for until the script lets it answer.
    pub is_patient: AtomicBool,
    /// Whether what is to take longer than a request waits never ends by itself.
    pub waits_for_calls: AtomicBool,
}

impl HandWoundEnv {
    pub fn advance(&self, seconds: u64) {
        self.seconds.fetch_add(seconds, Ordering::SeqCst);
    }

    /// From now on each look at the boot clock moves it.
    pub fn creep(&self, step: Duration) {
        let nanos = step.as_nanos() as u64;
        self.creep_nanos.store(nanos, Ordering::SeqCst);
    }

    /// The boot clock, without moving it.
    pub fn nanos(&self) -> u64 {
        let crept = self.crept_nanos.load(Ordering::SeqCst);
        self.seconds.load(Ordering::SeqCst) * 1_000_000_000 + crept
    }
}

impl Env for HandWoundEnv {
    fn wall_micros(&self) -> i64 {
        let ahead = self.wall_ahead.load(Ordering::SeqCst) * 1_000_000;
        1_790_000_000_000_000 + self.nanos() as i64 / 1_000 + ahead
    }
    fn boot_nanos(&self) -> u64 {
        let step = self.creep_nanos.load(Ordering::SeqCst);
        self.crept_nanos.fetch_add(step, Ordering::SeqCst);
        self.nanos()
    }
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        if self.creep_nanos.load(Ordering::SeqCst) > 0 {
            let until = self.nanos().saturating_add(duration.as_nanos() as u64);
            let env = self.me.clone();
            return Box::pin(async move {
                while env.upgrade().is_some_and(|env| env.nanos() < until) {
                    next_turn().await;
                }
            });
        }
        let waits = self.waits_for_calls.load(Ordering::SeqCst) && duration.as_secs() > 2;
        match waits || self.is_patient.load(Ordering::SeqCst) {
            true => Box::pin(std::future::pending()),
            false => Box::pin(tokio::time::sleep(duration.min(Duration::from_millis(20)))),
        }
    }
    fn entropy(&self) -> &dyn Entropy {
        &self.entropy
    }
}

/// Lets others have a turn, and has the next one after them: tokio's own way to yield waits until nobody else has anything to do, and a clock that creeps would be
/// far by then.
pub async fn next_turn() {
    let mut had_it = false;
    std::future::poll_fn(move |context| {
        if std::mem::replace(&mut had_it, true) {
            return std::task::Poll::Ready(());
        }
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

/// What somebody else is at meanwhile.
pub type Doing<T> = tokio::task::JoinHandle<Result<T, CqlError>>;

pub struct World {
    pub env: Arc<HandWoundEnv>,
    pub kms: Arc<ScriptedKms>,
    pub engine: Engine,
    pub keeper: KeyKeeper,
    /// What the keeper handed in.
    pub trail: tokio::sync::Mutex<Waiting>,
    options: KeeperOptions,
    _folder: tempfile::TempDir,
}

pub fn owner() -> CmkRef {
    CmkRef::parse("vault:owner").unwrap()
}

pub fn other() -> CmkRef {
    CmkRef::parse("vault:other").unwrap()
}

impl World {
    /// Two tables under the owner's key, one under another's, a row in each.
    pub async fn new() -> World {
        World::with_lease(LEASE_SECONDS).await
    }

    pub async fn with_lease(lease_seconds: u64) -> World {
        let world = World::empty(|options| options.lease_seconds = lease_seconds).await;
        world.fill().await;
        world
    }

    /// A service that needs grants, and a server that may make them.
    pub async fn with_grants(grants_max: usize) -> World {
        let world = World::empty(|_| {}).await;
        world.kms.need_grants(grants_max);
        world
    }

    /// The three tables.
    pub async fn fill(&self) {
        self.create(ORDERS, "orders", &owner()).await;
        self.create(INVOICES, "invoices", &owner()).await;
        self.create(NEIGHBOUR, "neighbour", &other()).await;
    }

    /// The three tables, of which none was used for long: no key is in memory.
    pub async fn asleep() -> World {
        let world = World::new().await;
        world.fall_asleep().await;
        world
    }

    pub async fn fall_asleep(&self) {
        self.pass(20 * 60).await;
    }

    /// The owner of a key says no from now on.
    pub fn deny(&self, key: &CmkRef, reason: DenialReason) {
        self.kms.set(key, Behavior::Denied(reason));
    }

    /// Somebody opens a table that is asleep under the owner's key, and his Decrypt is on its way until the script lets it be answered. Gives how many there were.
    pub async fn held_opening(&self, table: TableId) -> (Doing<()>, u64) {
        self.env.is_patient.store(true, Ordering::SeqCst);
        self.kms.set(&owner(), Behavior::Held);
        let calls = self.kms.count(&owner(), Operation::Decrypt);
        let keeper = self.keeper.clone();
        let opening = tokio::spawn(async move { keeper.ensure(table, &Asker::server()).await });
        self.sent(&owner(), Operation::Decrypt, calls).await;
        (opening, calls + 1)
    }

    /// Somebody puts the orders under the other key: made, but not in use before the caller says so.
    pub fn begin_switch(&self) -> Doing<(Root, TableKeys)> {
        let keeper = self.keeper.clone();
        tokio::spawn(async move { keeper.switch(ORDERS, &other(), &Asker::server()).await })
    }

    /// Waits until there were more calls than these.
    pub async fn sent(&self, key: &CmkRef, operation: Operation, before: u64) {
        while self.kms.count(key, operation) == before {
            tokio::task::yield_now().await;
        }
    }

    /// No tables.
    pub async fn empty(change: impl FnOnce(&mut KeeperOptions)) -> World {
        let folder = tempfile::tempdir().unwrap();
        let env = Arc::new_cyclic(|me| HandWoundEnv {
            me: me.clone(),
            entropy: SeededEntropy::new(5),
            seconds: AtomicU64::new(1_000),
            crept_nanos: AtomicU64::new(0),
            creep_nanos: AtomicU64::new(0),
            wall_ahead: AtomicI64::new(0),
            is_patient: AtomicBool::new(false),
            waits_for_calls: AtomicBool::new(false),
        });
        let kms = Arc::new(ScriptedKms::new(9));
        let service = CmkRef::parse("vault:service").unwrap();
        let key = TableKey::derive(
            &Secret::from_bytes([1; 32]),
            ClusterId([0; 16]),
            SERVICE,
            1,
            &service,
        );
        let backend = LocalBackend::open(folder.path(), LocalOptions::default()).unwrap();
        let ring = Arc::new(KeyRing::new(key, Vec::new()));
        let engine = Engine::open(
            Arc::new(backend),
            env.clone(),
            ring.clone(),
            Options::default(),
        )
        .await
        .unwrap();
        let mut options = KeeperOptions {
            cluster: ClusterId([4; 16]),
            subscriber: "me".into(),
            service_cmk: service,
            lease_seconds: LEASE_SECONDS,
            call_timeout: Duration::from_secs(2),
            grace_seconds: 0,
            snapshot_grant_days: 42,
        };
        change(&mut options);
        let system = TableKeys {
            ring: Arc::new(KeyRing::new(
                TableKey::for_system_table(ring.active(), SCHEMA_TABLE),
                Vec::new(),
            )),
            lease: Lease::FOREVER,
        };
        let new = NewTable {
            id: SCHEMA_TABLE,
            options: Default::default(),
            root: None,
            keys: system,
        };
        engine.create_table(new).await.unwrap();
        let (keeper, trail) = keeper(&engine, &env, &kms, &options);
        World {
            env,
            kms,
            engine,
            keeper,
            trail: tokio::sync::Mutex::new(trail),
            options,
            _folder: folder,
        }
    }

    /// Another keeper over the same engine, as after a restart.
    pub async fn restart(&mut self, tables: &[(TableId, &str)]) {
        for (id, _) in tables {
            self.engine.lock(*id).await;
        }
        let (keeper, trail) = keeper(&self.engine, &self.env, &self.kms, &self.options);
        for (id, name) in tables {
            keeper.register(*id, "shop", name);
        }
        keeper.load_records().await.unwrap();
        self.keeper = keeper;
        self.trail = tokio::sync::Mutex::new(trail);
    }

    /// As DROP TABLE does.
    pub async fn drop_table(&self, id: TableId) {
        self.keeper.forget(id);
        self.engine.drop_table(id).await.unwrap();
        self.keeper.keep(id).await;
    }

    /// As ALTER TABLE does.
    pub async fn alter(&self, id: TableId, cmk: &CmkRef) -> Result<(), CqlError> {
        let made = self.keeper.switch(id, cmk, &Asker::server()).await?;
        self.put_under(id, made).await;
        self.keeper.keep(id).await;
        Ok(())
    }

    /// The second half of ALTER TABLE, with what the first has made.
    pub async fn put_under(&self, id: TableId, (root, keys): (Root, TableKeys)) {
        let lease = keys.lease;
        self.engine.switch_key(id, root, keys).await.unwrap();
        self.keeper.opened(id, lease).await;
    }

    /// What was handed in to the audit trail since this was last asked.
    pub async fn events(&self) -> Vec<Event> {
        let mut trail = self.trail.lock().await;
        std::iter::from_fn(|| trail.next().now_or_never().flatten()).collect()
    }

    pub async fn create(&self, id: TableId, name: &str, cmk: &CmkRef) {
        let (root, keys) = self
            .keeper
            .generate("shop", name, id, cmk, &Asker::server())
            .await
            .unwrap();
        let lease = keys.lease;
        let new = NewTable {
            id,
            options: Default::default(),
            root: Some(root),
            keys,
        };
        self.engine.create_table(new).await.unwrap();
        self.keeper.register(id, "shop", name);
        self.keeper.opened(id, lease).await;
        self.keeper.keep(id).await;
        self.write(id).await.unwrap();
    }

    pub async fn write(&self, table: TableId) -> Result<(), palladium_storage::Error> {
        let timestamp = self.engine.next_timestamp();
        let row = Row {
            clustering: Clustering(Bytes::from_static(&[0x80])),
            liveness: Some(Liveness {
                timestamp,
                ttl: 0,
                expires_at: 0,
            }),
            deletion: None,
            complex_deletions: Vec::new(),
            cells: vec![Cell {
                column: ColumnId(1),
                path: Bytes::new(),
                timestamp,
                state: CellState::Live(Bytes::from_static(b"value")),
            }],
        };
        let update = PartitionUpdate {
            deletion: None,
            static_row: None,
            rows: vec![row],
            range_tombstones: Vec::new(),
        };
        let mutation = Mutation {
            table,
            store: Store::BASE,
            key: key(),
            update,
        };
        let write = Write::new(vec![mutation]);
        self.engine.write(vec![write]).await.remove(0)
    }

    /// How many rows a client would see, asking for the key first if it must.
    pub async fn rows(&self, table: TableId) -> Result<usize, CqlError> {
        self.keeper.ensure(table, &Asker::server()).await?;
        Ok(self.rows_now(table).await?)
    }

    /// How many rows are read without asking for a key.
    pub async fn rows_now(&self, table: TableId) -> Result<usize, palladium_storage::Error> {
        let command = ReadCommand {
            table,
            store: Store::BASE,
            range: KeyRange::One(key()),
            slices: Slices::all(),
            reversed: false,
            columns: Arc::new(Columns {
                regular: vec![ColumnId(1)],
                statics: Vec::new(),
            }),
            limits: Limits::NONE,
            resume: None,
            now: self.engine.now_seconds(),
        };
        let page = self.engine.read(command).await?;
        Ok(page
            .partitions
            .iter()
            .map(|partition| partition.rows.len())
            .sum())
    }

    pub async fn refused(&self, table: TableId) -> CqlError {
        self.rows(table).await.expect_err("the table is closed")
    }

    /// The keeper's clockwork, in steps of ten seconds.
    pub async fn pass(&self, seconds: u64) {
        for _ in 0..seconds / 10 {
            self.env.advance(10);
            self.keeper.step().await;
        }
    }
}

fn keeper(
    engine: &Engine,
    env: &Arc<HandWoundEnv>,
    kms: &Arc<ScriptedKms>,
    options: &KeeperOptions,
) -> (KeyKeeper, Waiting) {
    let services = KeyServices::default()
        .with("vault", kms.clone())
        .with("aws", kms.clone());
    let (audit, trail) = Audit::new();
    let keeper = KeyKeeper::new(
        engine.clone(),
        env.clone(),
        services,
        options.clone(),
        audit,
    );
    (keeper, trail)
}

fn key() -> PartitionKey {
    PartitionKey::new(Token(7), Bytes::from_static(b"key"))
}
