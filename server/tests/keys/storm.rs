//! Very many tables under one key are a trickle for its service: at a start, in use, and when the key goes and comes back.
//!
//! The default run has two hundred tables and a fiftieth of the default rate of calls; `PALLADIUM_STORM_TABLES=10000` has ten thousand and the whole of it, and takes
//! minutes to make them.

use palladium::keys::CallLimits;
use palladium_storage::{
    Engine, Env, NewTable, Options, SERVICE, SimulatedBackend, SimulatedDisk, SimulatedEnv,
};

use super::world::*;

/// The default bound is 100 calls in a second for 10,000 tables.
const TABLES_PER_CALL: u64 = 100;

fn tables() -> u64 {
    let said = std::env::var("PALLADIUM_STORM_TABLES");
    said.map_or(200, |said| said.parse().expect("a number of tables"))
}

fn id(number: u64) -> TableId {
    let mut id = [7; 16];
    id[..8].copy_from_slice(&number.to_be_bytes());
    TableId(id)
}

struct Storm {
    tables: u64,
    env: Arc<SimulatedEnv>,
    kms: Arc<ScriptedKms>,
    engine: Engine<SimulatedBackend>,
    keeper: KeyKeeper<SimulatedBackend>,
}

impl Storm {
    /// All tables asleep, as after a start.
    fn new() -> Storm {
        let tables = tables();
        let env = SimulatedEnv::new(3);
        let kms = Arc::new(ScriptedKms::new(4));
        let service = CmkRef::parse("vault:service").unwrap();
        let plaintext = Secret::from_bytes([1; 32]);
        let key = TableKey::derive(&plaintext, ClusterId([0; 16]), SERVICE, 1, &service);
        let ring = Arc::new(KeyRing::new(key, Vec::new()));
        let disk = SimulatedDisk::new();
        let backend = Arc::new(SimulatedBackend::open(&disk).unwrap());
        let opened = Engine::open(backend, env.clone(), ring, Options::default());
        let engine = env.run(opened).unwrap();
        let keeper = |calls_per_s| {
            let options = KeeperOptions {
                cluster: ClusterId([4; 16]),
                subscriber: "me".into(),
                service_cmk: service.clone(),
                lease_seconds: LEASE_SECONDS,
                call_timeout: Duration::from_secs(2),
                grace_seconds: 0,
                snapshot_grant_days: 42,
            };
            let limits = CallLimits {
                calls_max: 32,
                calls_per_s,
            };
            let services = KeyServices::default()
                .limited(limits)
                .with("vault", kms.clone());
            KeyKeeper::new(
                engine.clone(),
                env.clone() as Arc<dyn Env>,
                services,
                options,
                Audit::none(),
            )
        };
        let maker = keeper(1_000_000_000);
        for number in 0..tables {
            let name = format!("t{number}");
            env.run(async {
                let (root, keys) = maker
                    .generate("shop", &name, id(number), &owner(), &Asker::server())
                    .await
                    .unwrap();
                let new = NewTable {
                    id: id(number),
                    options: Default::default(),
                    root: Some(root),
                    keys,
                };
                engine.create_table(new).await.unwrap();
                engine.lock(id(number)).await;
            });
        }
        let keeper = keeper(tables / TABLES_PER_CALL);
        for number in 0..tables {
            keeper.register(id(number), "shop", &format!("t{number}"));
        }
        Storm {
            tables,
            env,
            kms,
            engine,
            keeper,
        }
    }

    fn open_tables(&self) -> u64 {
        let open = |number: &u64| self.engine.lease_alive(id(*number));
        (0..self.tables).filter(open).count() as u64
    }

    /// Lets seconds pass, and says how many calls the busiest one saw.
    fn pass(&self, seconds: u64) -> u64 {
        let mut most = 0;
        for _ in 0..seconds {
            let before = self.kms.total();
            self.env.advance(Duration::from_secs(1));
            most = most.max(self.kms.total() - before);
        }
        most
    }
}

#[test]
fn very_many_tables_under_one_key_are_a_trickle() {
    let storm = Storm::new();
    for number in 0..storm.tables {
        storm.keeper.want(id(number));
    }
    storm.env.spawn(Box::pin(storm.keeper.clone().run()));
    // A start: all are opened without a request, no faster than allowed, but for what the bucket had saved up.
    let most = storm.pass(130);
    assert!(
        most <= 2 * storm.tables / TABLES_PER_CALL,
        "{most} calls in a second"
    );
    assert_eq!(storm.open_tables(), storm.tables);
    // Nobody uses them: they fall asleep without a call.
    let before = storm.kms.total();
    storm.pass(LEASE_SECONDS);
    assert_eq!(storm.open_tables(), 0);
    assert_eq!(storm.kms.total(), before);
    // The key is gone: one call tells it of all.
    storm
        .kms
        .set(&owner(), Behavior::Denied(DenialReason::Disabled));
    for number in 0..storm.tables {
        storm.keeper.want(id(number));
    }
    let before = storm.kms.total();
    storm.pass(60);
    let calls = storm.kms.total() - before;
    assert!(calls <= 20, "{calls} calls about a key that is disabled");
    // It is back: all come back, as a trickle.
    storm.kms.set(&owner(), Behavior::Ok);
    let most = storm.pass(160);
    assert!(
        most <= 2 * storm.tables / TABLES_PER_CALL,
        "{most} calls in a second"
    );
    assert_eq!(storm.open_tables(), storm.tables);
}

#[tokio::test]
async fn a_wanted_table_that_the_disk_keeps_shut_is_not_asked_for_with_every_look() {
    let world = World::asleep().await;
    world.engine.close().await.unwrap();
    world.keeper.want(ORDERS);
    let calls = world.kms.count(&owner(), Operation::Decrypt);
    for _ in 0..60 {
        world.keeper.step().await;
        world.env.advance(1);
    }
    assert_eq!(world.kms.count(&owner(), Operation::Decrypt), calls + 2);
}
