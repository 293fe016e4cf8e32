//! The world: a disk, two clocks, a key service, and one server after the other on them, all from one seed.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{DefaultHasher, Hash};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use palladium::audit::Audit;
use palladium::keys::{CallLimits, KeeperOptions, KeyKeeper, KeyServices};
use palladium::service_table::SCHEMA_TABLE;
use palladium_crypto::{
    Behavior, ClusterId, CmkRef, EncryptionContext, Entropy, KeyRing, Secret, SeededEntropy,
    StructureId, TableId, TableKey,
};
use palladium_storage::sealed::openings;
use palladium_storage::{
    Crash, Engine, Env, Lease, NewTable, Options, Reading, SERVICE, SimulatedBackend,
    SimulatedDisk, SimulatedEnv, Store, TableKeys,
};

use crate::client::{Heard, KEYSPACE, Life, Said, Wanted, table_options};
use crate::counts::{self, Counts};
use crate::leases::{Subject, Terms};
use crate::registers::{self, Registers};
use crate::service::Service;
use crate::values::{Floor, Table, Values};

/// Table names; each is used again after a drop.
pub const NAMES: u64 = 12;
/// Keys of customers; one more is the service's own.
pub const KEYS: u64 = 4;
pub const PARTITIONS: u64 = 4;
pub const ROWS: u64 = 6;
/// The row of each partition of a base where a counter stands.
pub const COUNTER: u64 = ROWS;
/// The rows of each partition of a base that only conditional writes change.
pub const REGISTER: u64 = ROWS + 1;
pub const SECOND: u64 = ROWS + 2;
/// The server's own table, whose key is derived and under no lease.
pub const SYSTEM: Table = 0;

const SUBSCRIBER: &str = "me";
const CLUSTER: ClusterId = ClusterId([4; 16]);
pub const CALL_TIMEOUT: Duration = Duration::from_secs(2);
/// Few enough calls that the bound shows, and places enough that keys which hang leave some to the others.
pub const CALL_LIMITS: CallLimits = CallLimits {
    calls_max: 48,
    calls_per_s: 20,
};
/// Grants that a key may have: what twelve tables need and their forerunners leave behind is sometimes more.
pub const GRANTS_MAX: usize = 40;
/// Lines that a failure prints, of what happened and of calls.
const TRACE_LINES: usize = 60;

/// What a table has beside its base.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Derived {
    pub store: Store,
    /// It holds all that the base does.
    pub is_built: bool,
}

/// A table of the catalog.
pub struct Kept {
    pub id: TableId,
    pub name: String,
    pub cmks: Vec<CmkRef>,
    pub born: u64,
    /// From when on everything on the way to its key has worked.
    pub fine_since: Option<u64>,
    /// Its trouble as it was shown last: since when, and the wall clock and call count of that look.
    pub shown: Option<i64>,
    /// From when on its keys should not be in memory.
    pub closing_since: Option<u64>,
    /// The owner has revoked its grant, as the so-manieth: nothing is owed to it until ALTER has made another one.
    pub revoked: Option<u64>,
    /// What it had on the disk when it was to get new data keys.
    pub rewritten: BTreeSet<StructureId>,
    pub derived: Option<Derived>,
    /// The number of the next store; none is used twice.
    pub next_store: u16,
}

impl Kept {
    /// Whether it has this store, its base included.
    pub fn has(&self, store: Store) -> bool {
        store == Store::BASE || self.derived.is_some_and(|derived| derived.store == store)
    }

    pub fn subject(&self) -> Subject<'_> {
        Subject {
            name: &self.name,
            cmks: &self.cmks,
            born: self.born,
        }
    }
}

/// What a request under way is about.
pub enum Aim {
    Write,
    Count,
    Compare {
        floor: registers::Floor,
        partition: u64,
    },
    Truncate,
    Derive(Store),
    DropStore(Store),
    Read {
        floor: Floor,
        counted: counts::Floor,
        decided: registers::Floor,
        wanted: Wanted,
    },
    Tidy,
    Create(Kept),
    Switch {
        to: CmkRef,
    },
    /// With what the table has on the disk.
    Rewrite(BTreeSet<StructureId>),
    Drop(TableId),
}

/// A request under way.
pub struct Request {
    pub aim: Aim,
    pub tables: Vec<Table>,
    /// Of those tables, which must not fail: everything on their way works, and has for long enough.
    pub healthy: Vec<Table>,
    /// Of those tables, which were open when it began.
    pub open: Vec<Table>,
    pub began: Reading,
    pub began_flow: u64,
    pub clock_moves: u64,
    pub revocations: u64,
}

/// What is wrong with the key service.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Trouble {
    Acts(Behavior),
    /// Answers after half a minute.
    Slow,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Scope {
    Everything,
    Key(CmkRef),
    Table(CmkRef, String),
}

pub struct World {
    pub lease_seconds: u64,
    pub terms: Terms,
    /// Keys are used by grants, which the server makes.
    pub has_grants: bool,
    random: SeededEntropy,
    pub env: Arc<SimulatedEnv>,
    pub disk: Arc<SimulatedDisk>,
    pub service: Arc<Service>,
    pub life: Life,
    /// When the newest servers started.
    starts: VecDeque<u64>,
    pub tables: BTreeMap<Table, Kept>,
    pub tables_made: u64,
    pub values: Values,
    pub counts: Counts,
    pub registers: Registers,
    pub values_made: u64,
    pub requests: BTreeMap<u64, Request>,
    pub requests_made: u64,
    pub faults: Vec<(Scope, Trouble)>,
    /// When a fault last came or went.
    pub faults_changed: u64,
    /// Nanoseconds by which the clocks were moved at once.
    pub jumped: u64,
    /// When they, or the wall clock alone, last were: what was on its way then came late, and is told for some seconds.
    pub jumped_at: u64,
    /// How often a clock was moved in a way that no request can foresee.
    pub clock_moves: u64,
    /// How often an owner has revoked the grant of a table.
    pub revocations: u64,
    /// The log or the disk has failed: this life ends with the step.
    pub is_over: bool,
    /// The engine closes with every table in it, and who is still at work hears no better word than that.
    pub is_stopping: bool,
    /// Roots as they stood before a switch: what somebody with the disk in hand could put back.
    pub old_roots: BTreeMap<TableId, Vec<u8>>,
    /// Starts, schema changes: what explains further calls.
    pub reasons_to_call: VecDeque<(u64, u64)>,
    trace: VecDeque<String>,
    pub digest: DefaultHasher,
}

pub fn key(number: u64) -> CmkRef {
    match number {
        KEYS => CmkRef::parse("vault:service").unwrap(),
        _ => CmkRef::parse(&format!("vault:owner-{number}")).unwrap(),
    }
}

pub fn context(name: &str) -> EncryptionContext {
    EncryptionContext::for_table(KEYSPACE, name, SUBSCRIBER)
}

fn id_of(table: Table) -> TableId {
    let mut id = [0x77; 16];
    id[..8].copy_from_slice(&table.to_be_bytes());
    TableId(id)
}

fn service_key() -> TableKey {
    let secret = Secret::from_bytes([1; 32]);
    TableKey::derive(&secret, CLUSTER, SERVICE, 1, &key(KEYS))
}

fn options() -> Options {
    Options {
        memtable_flush_bytes: 8 << 10,
        log_segment_bytes: 32 << 10,
        log_bytes_max: 512 << 10,
        mutation_bytes_max: 8 << 10,
        cache_bytes: 256 << 10,
        ..Options::default()
    }
}

fn begin_life(
    disk: &Arc<SimulatedDisk>,
    env: &Arc<SimulatedEnv>,
    service: &Arc<Service>,
    heard: &Arc<Mutex<Vec<Heard>>>,
    terms: Terms,
) -> Result<Life, String> {
    let backend = Arc::new(SimulatedBackend::open(disk).map_err(|error| error.to_string())?);
    let ring = Arc::new(KeyRing::new(service_key(), Vec::new()));
    let engine = env
        .run(Engine::open(backend, env.clone(), ring, options()))
        .map_err(|error| error.to_string())?;
    let (audit, mut waiting) = Audit::new();
    env.spawn(Box::pin(
        async move { while waiting.next().await.is_some() {} },
    ));
    let services = KeyServices::default()
        .limited(CALL_LIMITS)
        .with("vault", service.clone());
    let options = KeeperOptions {
        cluster: CLUSTER,
        subscriber: SUBSCRIBER.into(),
        service_cmk: key(KEYS),
        lease_seconds: terms.lease_seconds,
        call_timeout: CALL_TIMEOUT,
        grace_seconds: terms.grace_seconds,
        snapshot_grant_days: 1,
    };
    let keeper = KeyKeeper::new(engine.clone(), env.clone(), services, options, audit);
    Ok(Life {
        engine,
        keeper,
        env: env.clone(),
        heard: heard.clone(),
        ddl: Arc::default(),
        system: id_of(SYSTEM),
    })
}

/// Every block that is opened on this thread is heard of, with the clocks of that moment.
fn watch_openings(heard: &Arc<Mutex<Vec<Heard>>>, env: &Arc<SimulatedEnv>) {
    let (heard, env) = (heard.clone(), env.clone());
    openings::watch(move |table| {
        let at = Reading::now(&*env);
        let mut heard = heard.lock().expect("no holder of this lock panics");
        let is_same = heard.last().is_some_and(|last| {
            last.at == at && matches!(last.said, Said::Opened(before) if before == table)
        });
        if !is_same {
            let (request, said) = (u64::MAX, Said::Opened(table));
            heard.push(Heard { request, at, said });
        }
    });
}

impl World {
    pub fn new(seed: u64) -> World {
        let terms = Terms {
            lease_seconds: [10, 30, 60, 300][(seed % 4) as usize],
            grace_seconds: [0, 20, 0, 600][((seed / 2 + seed / 8) % 4) as usize],
        };
        World::under(seed, terms, !(seed / 4 + seed).is_multiple_of(2))
    }

    /// A world whose leases are not drawn from its seed.
    pub fn under(seed: u64, terms: Terms, has_grants: bool) -> World {
        let env = SimulatedEnv::new(seed);
        let disk = SimulatedDisk::new();
        let service = Arc::new(Service::new(seed, env.clone()));
        let random = SeededEntropy::new(seed ^ 0x5eed);
        if has_grants {
            service.script.need_grants(GRANTS_MAX);
        }
        let heard = Arc::default();
        watch_openings(&heard, &env);
        let life = begin_life(&disk, &env, &service, &heard, terms).unwrap();
        let mut world = World {
            lease_seconds: terms.lease_seconds,
            terms,
            has_grants,
            random,
            env,
            disk,
            service,
            life,
            starts: VecDeque::new(),
            tables: BTreeMap::new(),
            tables_made: 1,
            values: Values::default(),
            counts: Counts::default(),
            registers: Registers::default(),
            values_made: 0,
            requests: BTreeMap::new(),
            requests_made: 0,
            faults: Vec::new(),
            faults_changed: 0,
            jumped: 0,
            jumped_at: 0,
            clock_moves: 0,
            revocations: 0,
            is_over: false,
            is_stopping: false,
            old_roots: BTreeMap::new(),
            reasons_to_call: VecDeque::new(),
            trace: VecDeque::new(),
            digest: DefaultHasher::new(),
        };
        world.tables.insert(
            SYSTEM,
            Kept {
                id: id_of(SYSTEM),
                name: "system".into(),
                cmks: Vec::new(),
                born: 0,
                fine_since: Some(0),
                shown: None,
                closing_since: None,
                revoked: None,
                rewritten: BTreeSet::new(),
                derived: None,
                next_store: 1,
            },
        );
        world.serve();
        world
    }

    pub fn draw(&self, below: u64) -> u64 {
        let mut bytes = [0; 8];
        self.random.fill(&mut bytes);
        u64::from_le_bytes(bytes) % below.max(1)
    }

    pub fn pick<T: Clone>(&self, among: &[T]) -> Option<T> {
        among.get(self.draw(among.len() as u64) as usize).cloned()
    }

    pub fn now(&self) -> Reading {
        self.life.now()
    }

    /// The time that has passed without jumps: what the server had to act in.
    pub fn flow(&self) -> u64 {
        self.env.boot_nanos() - self.jumped
    }

    pub fn say(&mut self, line: String) {
        line.hash(&mut self.digest);
        if self.trace.len() == TRACE_LINES {
            self.trace.pop_front();
        }
        self.trace.push_back(line);
    }

    /// What happened before, and which calls there were.
    pub fn trace(&self) -> String {
        let lines: Vec<&str> = self.trace.iter().map(String::as_str).collect();
        let mut calls: Vec<String> = self.service.newest_first(|calls| {
            let newest = calls.take(TRACE_LINES);
            newest.map(ToString::to_string).collect()
        });
        calls.reverse();
        format!("{}\n{}", lines.join("\n"), calls.join("\n"))
    }

    /// # Panics
    /// Always: the story ends here.
    pub fn fail(&self, what: impl std::fmt::Display) -> ! {
        panic!("{what}")
    }

    /// A new table of the catalog, not made yet.
    pub fn new_table(&mut self, name: String, cmk: CmkRef) -> (Table, Kept) {
        let table = self.tables_made;
        self.tables_made += 1;
        let kept = Kept {
            id: id_of(table),
            name,
            cmks: vec![cmk],
            born: self.service.begun(),
            fine_since: None,
            shown: None,
            closing_since: None,
            revoked: None,
            rewritten: BTreeSet::new(),
            // Some tables are made with it.
            derived: (!table.is_multiple_of(2)).then_some(Derived {
                store: Store(1),
                is_built: true,
            }),
            next_store: 2,
        };
        (table, kept)
    }

    // Faults.

    pub fn is_fine(&self, cmk: &CmkRef, name: &str) -> bool {
        !self.faults.iter().any(|(scope, _)| match scope {
            Scope::Everything => true,
            Scope::Key(key) => key == cmk,
            Scope::Table(key, table) => key == cmk && table == name,
        })
    }

    pub fn set_fault(&mut self, scope: Scope, trouble: Option<Trouble>) {
        self.faults.retain(|(other, _)| *other != scope);
        self.faults
            .extend(trouble.map(|trouble| (scope.clone(), trouble)));
        let behavior = match trouble {
            Some(Trouble::Acts(behavior)) => Some(behavior),
            _ => None,
        };
        let is_slow = trouble == Some(Trouble::Slow);
        match &scope {
            Scope::Everything => self.service.script.set_everywhere(behavior),
            Scope::Key(key) => {
                let behavior = behavior.unwrap_or(Behavior::Ok);
                self.service.script.set(key, behavior);
                let delay = is_slow.then_some(Duration::from_secs(30));
                self.service.set_slow(key, delay);
            }
            Scope::Table(key, name) => {
                self.service
                    .script
                    .set_context(key, &context(name), behavior);
            }
        }
        self.faults_changed = self.flow();
        self.note_fine();
    }

    /// Notes which tables' keys can be had, after a fault or a key has changed.
    pub fn note_fine(&mut self) {
        let flow = self.flow();
        let fine: Vec<(Table, bool)> = self
            .tables
            .iter()
            .map(|(table, kept)| {
                let all = kept.cmks.iter().all(|cmk| self.is_fine(cmk, &kept.name));
                (*table, all && kept.revoked.is_none())
            })
            .collect();
        for (table, is_fine) in fine {
            let kept = self.tables.get_mut(&table).expect("it was listed above");
            kept.fine_since = is_fine.then(|| kept.fine_since.unwrap_or(flow));
        }
    }

    // Lives.

    /// What a server does after its start.
    fn serve(&mut self) {
        self.starts.push_back(self.env.boot_nanos());
        if self.starts.len() > 20 {
            self.starts.pop_front();
        }
        self.is_over = false;
        for id in [id_of(SYSTEM), SCHEMA_TABLE] {
            self.open_own_table(id);
        }
        self.sweep();
        for kept in self.tables.values() {
            if !kept.cmks.is_empty() {
                self.life.keeper.register(kept.id, KEYSPACE, &kept.name);
            }
        }
        let keeper = self.life.keeper.clone();
        for id in self.life.engine.tables_with_log() {
            keeper.want(id);
        }
        if let Err(error) = self.env.run(keeper.load_records()) {
            self.fail(format!("the keeper's records cannot be read: {error}"));
        }
        self.call_for(2 * NAMES);
        self.life.spawn(keeper.run());
    }

    /// Opens one of the server's own tables, whose keys no key service knows, or makes it.
    fn open_own_table(&mut self, id: TableId) {
        let ring = KeyRing::new(TableKey::for_system_table(&service_key(), id), Vec::new());
        let keys = TableKeys {
            ring: Arc::new(ring),
            lease: Lease::FOREVER,
        };
        let engine = self.life.engine.clone();
        let opened = match engine.has_table(id) {
            true => self.env.run(engine.unlock(id, keys)),
            false => self.env.run(engine.create_table(NewTable {
                id,
                options: table_options(),
                root: None,
                keys,
            })),
        };
        if let Err(error) = opened {
            self.fail(format!("the server's own table does not open: {error}"));
        }
    }

    /// How many servers have started since a moment of the boot clock: each has a bucket of its own.
    pub fn lives_since(&self, boot_nanos: u64) -> u64 {
        self.starts.iter().filter(|at| **at >= boot_nanos).count() as u64
    }

    /// Notes that something explains so many more calls.
    pub fn call_for(&mut self, calls: u64) {
        self.reasons_to_call
            .push_back((self.env.boot_nanos(), calls));
    }

    /// Finishes what a crash cut short: tables and stores that the catalog does not name go, the others show the key that their root names.
    fn sweep(&mut self) {
        let engine = self.life.engine.clone();
        let mut found = engine.table_ids();
        found.sort();
        for id in found {
            if id != SCHEMA_TABLE
                && !self.tables.values().any(|kept| kept.id == id)
                && let Err(error) = self.env.run(engine.drop_table(id))
            {
                self.fail(format!(
                    "a table that nobody names cannot be dropped: {error}"
                ));
            }
        }
        let mut wrong = None;
        for kept in self.tables.values() {
            let ended = self.env.run(engine.dropped_stores(kept.id));
            let is_named = |store| kept.derived.is_some_and(|derived| derived.store == store);
            for store in (1..kept.next_store).map(Store) {
                if !is_named(store)
                    && !ended.contains(&store)
                    && let Err(error) = self.env.run(engine.drop_store(kept.id, store))
                {
                    wrong = Some(format!(
                        "{store:?} of {} cannot be dropped: {error}",
                        kept.name
                    ));
                }
            }
        }
        for kept in self.tables.values_mut() {
            if let Err(error) = engine.set_options(kept.id, table_options()) {
                wrong = Some(format!("table {} is not there: {error}", kept.name));
                continue;
            }
            if kept.cmks.is_empty() {
                continue;
            }
            match engine.root(kept.id) {
                Some(root) if kept.cmks.contains(&root.cmk) => kept.cmks = vec![root.cmk],
                Some(root) => wrong = Some(format!("{} is under {}", kept.name, root.cmk)),
                // A root that was tampered with; whoever put it there looks after it.
                None => {}
            }
            kept.shown = None;
            kept.closing_since = None;
        }
        if let Some(what) = wrong {
            self.fail(what);
        }
        self.note_fine();
    }

    /// Ends this life, as a crash does, and begins the next.
    pub fn next_life(&mut self, crash: Crash) {
        self.env.drop_tasks();
        self.values.orphaned();
        self.counts.orphaned();
        self.registers.orphaned();
        self.requests.clear();
        self.disk.crash(crash);
        let heard = self.heard();
        match begin_life(&self.disk, &self.env, &self.service, &heard, self.terms) {
            Ok(life) => self.life = life,
            Err(error) => self.fail(format!("the server does not start: {error}")),
        }
        self.serve();
    }

    pub fn root_path(&self, id: TableId) -> Option<String> {
        let wanted = format!("roots/{}", id.to_string().replace('-', ""));
        self.disk.paths().into_iter().find(|path| *path == wanted)
    }

    #[must_use]
    pub fn heard(&self) -> Arc<Mutex<Vec<Heard>>> {
        self.life.heard.clone()
    }
}

impl Drop for World {
    /// Tasks hold the world that runs them.
    fn drop(&mut self) {
        self.env.drop_tasks();
    }
}
