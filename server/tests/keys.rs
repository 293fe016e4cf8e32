//! The key keeper with a scripted key service and a clock that the test moves: what an owner takes away is gone, what he gives back is there again.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt;
use palladium::Engine;
use palladium::audit::{Asker, Audit};
use palladium::keys::{KeeperOptions, KeyKeeper, KeyServices, TableKeyStatus};
use palladium_crypto::{
    Behavior, ClusterId, CmkRef, DenialReason, Entropy, KeyRing, Operation, ScriptedKms, Secret,
    SeededEntropy, TableId, TableKey, UnavailableReason,
};
use palladium_protocol::ErrorCode;
use palladium_storage::env::BoxFuture;
use palladium_storage::{
    Cell, CellState, Clustering, ColumnId, Columns, Env, KeyRange, Limits, Liveness, LocalBackend,
    LocalOptions, Mutation, NewTable, Options, PartitionKey, PartitionUpdate, ReadCommand, Row,
    SERVICE, Slices, Token, Write,
};

const LEASE_SECONDS: u64 = 300;
const ORDERS: TableId = TableId([1; 16]);
const INVOICES: TableId = TableId([2; 16]);
const NEIGHBOUR: TableId = TableId([3; 16]);

/// Clocks that the test moves; everything else is real.
struct HandWoundEnv {
    entropy: SeededEntropy,
    seconds: AtomicU64,
    /// Whether a key service is waited for until the script lets it answer.
    is_patient: AtomicBool,
}

impl HandWoundEnv {
    fn advance(&self, seconds: u64) {
        self.seconds.fetch_add(seconds, Ordering::SeqCst);
    }
}

impl Env for HandWoundEnv {
    fn wall_micros(&self) -> i64 {
        1_790_000_000_000_000 + self.boot_nanos() as i64 / 1_000
    }
    fn boot_nanos(&self) -> u64 {
        self.seconds.load(Ordering::SeqCst) * 1_000_000_000
    }
    fn spawn(&self, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        match self.is_patient.load(Ordering::SeqCst) {
            true => Box::pin(std::future::pending()),
            false => Box::pin(tokio::time::sleep(duration.min(Duration::from_millis(20)))),
        }
    }
    fn entropy(&self) -> &dyn Entropy {
        &self.entropy
    }
}

struct World {
    env: Arc<HandWoundEnv>,
    kms: Arc<ScriptedKms>,
    engine: Engine,
    keeper: KeyKeeper,
    _folder: tempfile::TempDir,
}

fn owner() -> CmkRef {
    CmkRef::parse("vault:owner").unwrap()
}

fn other() -> CmkRef {
    CmkRef::parse("vault:other").unwrap()
}

impl World {
    /// Two tables under the owner's key, one under another's, a row in each.
    async fn new() -> World {
        World::with_lease(LEASE_SECONDS).await
    }

    async fn with_lease(lease_seconds: u64) -> World {
        let folder = tempfile::tempdir().unwrap();
        let env = Arc::new(HandWoundEnv {
            entropy: SeededEntropy::new(5),
            seconds: AtomicU64::new(1_000),
            is_patient: AtomicBool::new(false),
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
        let engine = Engine::open(Arc::new(backend), env.clone(), ring, Options::default())
            .await
            .unwrap();
        let options = KeeperOptions {
            cluster: ClusterId([4; 16]),
            subscriber: "me".into(),
            service_cmk: service,
            lease_seconds,
            call_timeout: Duration::from_secs(2),
            grace_seconds: 0,
            snapshot_grant_days: 42,
        };
        let services = KeyServices::default().with("vault", kms.clone());
        let keeper = KeyKeeper::new(
            engine.clone(),
            env.clone(),
            services,
            options,
            Audit::new().0,
        );
        let world = World {
            env,
            kms,
            engine,
            keeper,
            _folder: folder,
        };
        world.create(ORDERS, "orders", &owner()).await;
        world.create(INVOICES, "invoices", &owner()).await;
        world.create(NEIGHBOUR, "neighbour", &other()).await;
        world
    }

    async fn create(&self, id: TableId, name: &str, cmk: &CmkRef) {
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
        self.keeper.opened(id, lease);
        self.write(id).await.unwrap();
    }

    async fn write(&self, table: TableId) -> Result<(), palladium_storage::Error> {
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
            key: key(),
            update,
        };
        let write = Write {
            mutations: vec![mutation],
        };
        self.engine.write(vec![write]).await.remove(0)
    }

    /// How many rows a client would see, asking for the key first if it must.
    async fn rows(&self, table: TableId) -> Result<usize, palladium::error::CqlError> {
        self.keeper.ensure(table, &Asker::server()).await?;
        let command = ReadCommand {
            table,
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

    async fn refused(&self, table: TableId) -> palladium::error::CqlError {
        self.rows(table).await.expect_err("the table is closed")
    }

    /// The keeper's clockwork, in steps of ten seconds.
    async fn pass(&self, seconds: u64) {
        for _ in 0..seconds / 10 {
            self.env.advance(10);
            self.keeper.step().await;
        }
    }
}

fn key() -> PartitionKey {
    PartitionKey::new(Token(7), Bytes::from_static(b"key"))
}

#[tokio::test]
async fn a_table_in_use_is_renewed_before_its_lease_ends_and_never_waits() {
    let world = World::new().await;
    for _ in 0..30 {
        world.env.advance(60);
        assert!(
            world.engine.lease_alive(ORDERS),
            "the lease ran out while the table was in use"
        );
        world.write(ORDERS).await.unwrap();
        world.keeper.step().await;
    }
    let calls = world.kms.count(&owner(), Operation::Decrypt);
    assert!((6..40).contains(&calls), "{calls} calls in half an hour");
}

#[tokio::test]
async fn an_idle_table_goes_dormant_and_wakes_with_the_next_request() {
    let world = World::new().await;
    world.pass(20 * 60).await;
    assert!(!world.engine.lease_alive(ORDERS));
    assert!(matches!(
        world.keeper.status(ORDERS),
        TableKeyStatus::Enabled
    ));
    assert_eq!(world.rows(ORDERS).await, Ok(1));
}

#[tokio::test]
async fn a_disabled_key_closes_every_table_under_it_within_the_lease_and_no_other() {
    let world = World::new().await;
    world
        .kms
        .set(&owner(), Behavior::Denied(DenialReason::Disabled));
    let mut open_for = 0;
    while world.engine.lease_alive(ORDERS) || world.engine.lease_alive(INVOICES) {
        let _ = world.write(ORDERS).await;
        let _ = world.write(INVOICES).await;
        world.write(NEIGHBOUR).await.unwrap();
        world.env.advance(10);
        world.keeper.step().await;
        open_for += 10;
    }
    assert!(open_for <= LEASE_SECONDS, "{open_for} s");
    let error = world.refused(ORDERS).await;
    assert_eq!(error.code(), ErrorCode::Unauthorized);
    assert!(
        error
            .message
            .starts_with("KMS_KEY_INACCESSIBLE table=shop.orders key=vault:owner since=20"),
        "{error}"
    );
    assert!(error.message.ends_with("reason=Disabled"), "{error}");
    assert!(matches!(
        world.keeper.status(INVOICES),
        TableKeyStatus::Inaccessible(_)
    ));
    assert_eq!(world.rows(NEIGHBOUR).await, Ok(1));
}

#[tokio::test]
async fn a_key_that_is_enabled_again_brings_all_rows_back() {
    let world = World::new().await;
    world
        .kms
        .set(&owner(), Behavior::Denied(DenialReason::Disabled));
    world.pass(LEASE_SECONDS).await;
    world.refused(ORDERS).await;
    world.kms.set(&owner(), Behavior::Ok);
    world.env.advance(6);
    assert_eq!(world.rows(ORDERS).await, Ok(1));
    // The other comes back by itself, without a request.
    world.pass(60).await;
    assert!(matches!(
        world.keeper.status(INVOICES),
        TableKeyStatus::Enabled
    ));
    assert_eq!(world.rows(INVOICES).await, Ok(1));
}

#[tokio::test]
async fn denied_access_to_one_table_leaves_its_siblings_open() {
    let world = World::new().await;
    world.pass(30 * 60).await;
    world
        .kms
        .set(&owner(), Behavior::Denied(DenialReason::AccessDenied));
    let error = world.refused(ORDERS).await;
    assert_eq!(error.code(), ErrorCode::Unauthorized);
    world.kms.set(&owner(), Behavior::Ok);
    assert_eq!(world.rows(INVOICES).await, Ok(1));
    // Asked again too soon, the last answer is repeated without a call.
    let calls = world.kms.total();
    world.refused(ORDERS).await;
    assert_eq!(world.kms.total(), calls);
}

#[tokio::test]
async fn an_unreachable_service_lets_the_lease_run_to_its_end_and_no_longer() {
    let world = World::new().await;
    world.kms.set(
        &owner(),
        Behavior::Unavailable(UnavailableReason::Unreachable),
    );
    for second in (0..LEASE_SECONDS).step_by(10) {
        world.write(ORDERS).await.unwrap_or_else(|error| {
            panic!("{second} s into its lease the table is refused: {error}")
        });
        world.env.advance(10);
        world.keeper.step().await;
    }
    assert!(!world.engine.lease_alive(ORDERS));
    let error = world.refused(ORDERS).await;
    assert_eq!(error.code(), ErrorCode::Unavailable);
    assert!(error.message.ends_with("reason=Unreachable"), "{error}");
    world.kms.set(&owner(), Behavior::Ok);
    world.env.advance(6);
    assert_eq!(world.rows(ORDERS).await, Ok(1));
}

#[tokio::test]
async fn a_service_that_never_answers_is_unreachable() {
    let world = World::new().await;
    world.pass(20 * 60).await;
    world.kms.set(&owner(), Behavior::Held);
    assert_eq!(world.refused(ORDERS).await.code(), ErrorCode::Unavailable);
}

#[tokio::test]
async fn a_key_switch_needs_both_keys_once_and_then_only_the_new_one() {
    let world = World::new().await;
    let (root, keys) = world
        .keeper
        .switch(ORDERS, &other(), &Asker::server())
        .await
        .unwrap();
    let lease = keys.lease;
    world.engine.switch_key(ORDERS, root, keys).await.unwrap();
    world.keeper.opened(ORDERS, lease);
    world
        .kms
        .set(&owner(), Behavior::Denied(DenialReason::Disabled));
    world.write(ORDERS).await.unwrap();
    world.pass(20 * 60).await;
    assert_eq!(world.rows(ORDERS).await, Ok(1));
    world.refused(INVOICES).await;
}

#[tokio::test]
async fn a_key_that_does_not_work_changes_nothing() {
    let world = World::new().await;
    world
        .kms
        .set(&other(), Behavior::Denied(DenialReason::PendingDeletion));
    let Err(error) = world
        .keeper
        .switch(ORDERS, &other(), &Asker::server())
        .await
    else {
        panic!("a key that is denied was taken");
    };
    assert_eq!(error.code(), ErrorCode::Invalid);
    assert!(error.message.contains("vault:other"), "{error}");
    assert_eq!(world.engine.root(ORDERS).unwrap().cmk, owner());
    assert_eq!(world.rows(ORDERS).await, Ok(1));
}

#[tokio::test]
async fn the_shortest_lease_is_renewed_in_time_too() {
    let world = World::with_lease(10).await;
    for _ in 0..120 {
        assert!(world.engine.lease_alive(ORDERS));
        world.write(ORDERS).await.unwrap();
        world.env.advance(1);
        world.keeper.step().await;
    }
    // What was used since the last renewal is renewed once more.
    for _ in 0..16 {
        world.env.advance(1);
        world.keeper.step().await;
    }
    assert!(world.engine.lease(ORDERS).is_none(), "idle and still open");
}

#[tokio::test]
async fn a_table_whose_lease_ran_out_is_wiped_by_the_request_that_is_refused() {
    let world = World::new().await;
    world.env.advance(LEASE_SECONDS);
    world
        .kms
        .set(&owner(), Behavior::Denied(DenialReason::AccessDenied));
    world.refused(ORDERS).await;
    assert!(
        world.engine.lease(ORDERS).is_none(),
        "its keys are still in memory"
    );
}

#[tokio::test]
async fn a_client_that_leaves_while_a_table_opens_leaves_no_key_behind() {
    let world = World::new().await;
    world.pass(20 * 60).await;
    world.kms.set(&owner(), Behavior::Slow(3));
    assert!(
        world
            .keeper
            .ensure(ORDERS, &Asker::server())
            .now_or_never()
            .is_none()
    );
    while !world.engine.lease_alive(ORDERS) {
        tokio::task::yield_now().await;
    }
    world.pass(20 * 60).await;
    assert!(
        world.engine.lease(ORDERS).is_none(),
        "nobody closed the table"
    );
}

#[tokio::test]
async fn closed_tables_of_one_key_ask_once_in_five_seconds_together() {
    let world = World::new().await;
    world
        .kms
        .set(&owner(), Behavior::Denied(DenialReason::Disabled));
    world.env.advance(LEASE_SECONDS);
    world.refused(ORDERS).await;
    let calls = world.kms.count(&owner(), Operation::Decrypt);
    world.env.advance(4);
    for table in [ORDERS, INVOICES, ORDERS] {
        world.refused(table).await;
    }
    assert_eq!(world.kms.count(&owner(), Operation::Decrypt), calls);
    world.env.advance(2);
    for table in [INVOICES, ORDERS] {
        world.refused(table).await;
    }
    assert_eq!(world.kms.count(&owner(), Operation::Decrypt), calls + 1);
}

#[tokio::test]
async fn the_moment_when_it_began_stays() {
    let world = World::new().await;
    world.env.advance(LEASE_SECONDS);
    world.kms.set(
        &owner(),
        Behavior::Unavailable(UnavailableReason::Throttled),
    );
    let first = world.refused(ORDERS).await.message;
    assert!(first.ends_with("reason=Throttled"), "{first}");
    world.env.advance(600);
    world
        .kms
        .set(&owner(), Behavior::Denied(DenialReason::PendingDeletion));
    let second = world.refused(ORDERS).await.message;
    assert_eq!(second, first.replace("Throttled", "PendingDeletion"));
}

#[tokio::test]
async fn a_throttled_renewal_is_told_as_throttled_when_the_lease_is_over() {
    let world = World::new().await;
    world.kms.set(
        &owner(),
        Behavior::Unavailable(UnavailableReason::Throttled),
    );
    for _ in (0..LEASE_SECONDS).step_by(10) {
        world.write(ORDERS).await.unwrap();
        world.env.advance(10);
        world.keeper.step().await;
    }
    let error = world.refused(ORDERS).await;
    assert!(error.message.ends_with("reason=Throttled"), "{error}");
}

#[tokio::test]
async fn a_key_that_does_not_answer_is_not_asked_for_every_table() {
    let world = World::new().await;
    world.kms.set(
        &owner(),
        Behavior::Unavailable(UnavailableReason::Unreachable),
    );
    let calls = world.kms.count(&owner(), Operation::Decrypt);
    for _ in 0..LEASE_SECONDS - 1 {
        world.write(ORDERS).await.unwrap();
        world.write(INVOICES).await.unwrap();
        world.env.advance(1);
        world.keeper.step().await;
    }
    let calls = world.kms.count(&owner(), Operation::Decrypt) - calls;
    assert!((5..25).contains(&calls), "{calls} calls");
}

#[tokio::test]
async fn a_service_that_hangs_delays_no_other_key() {
    let world = World::new().await;
    world.env.is_patient.store(true, Ordering::SeqCst);
    world.kms.set(&owner(), Behavior::Held);
    let hanging = world.keeper.clone();
    world.env.advance(220);
    let lease = world.engine.lease(NEIGHBOUR);
    let step = tokio::spawn(async move { hanging.step().await });
    while world.engine.lease(NEIGHBOUR) == lease {
        tokio::task::yield_now().await;
    }
    assert!(!step.is_finished());
    world.kms.set(&owner(), Behavior::Ok);
    step.await.unwrap();
}

#[tokio::test]
async fn an_answer_about_the_key_a_table_has_left_says_nothing_about_the_table() {
    let world = World::new().await;
    world.env.is_patient.store(true, Ordering::SeqCst);
    let (root, keys) = world
        .keeper
        .switch(ORDERS, &other(), &Asker::server())
        .await
        .unwrap();
    world.env.advance(220);
    world.kms.set(&owner(), Behavior::Held);
    let calls = world.kms.count(&owner(), Operation::Decrypt);
    let keeper = world.keeper.clone();
    world.write(ORDERS).await.unwrap();
    let renewal = tokio::spawn(async move { keeper.step().await });
    while world.kms.count(&owner(), Operation::Decrypt) == calls {
        tokio::task::yield_now().await;
    }
    world.engine.switch_key(ORDERS, root, keys).await.unwrap();
    world
        .kms
        .set(&owner(), Behavior::Denied(DenialReason::Disabled));
    renewal.await.unwrap();
    assert!(world.engine.lease_alive(ORDERS));
    assert_eq!(world.rows(ORDERS).await, Ok(1));
}

#[tokio::test]
async fn a_sibling_of_a_denied_table_is_asked_for_soon() {
    let world = World::new().await;
    world.env.advance(60);
    let (calls, lease) = (
        world.kms.count(&owner(), Operation::Decrypt),
        world.engine.lease(INVOICES),
    );
    world.engine.lock(ORDERS).await;
    world
        .kms
        .set(&owner(), Behavior::Denied(DenialReason::GrantRevoked));
    world.refused(ORDERS).await;
    world.kms.set(&owner(), Behavior::Ok);
    world.keeper.step().await;
    assert_eq!(world.kms.count(&owner(), Operation::Decrypt), calls + 2);
    assert_ne!(world.engine.lease(INVOICES), lease);
}
