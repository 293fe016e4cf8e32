//! A world in which the tests happen: disk, clock and entropy from one seed, tables with roots, and key services that give a table's key for its root.
//!
//! A key service is imitated by [`keys_of`]: from a root's newest version it derives the key, and from that the older ones. So whoever has a root has exactly
//! the keys that its newest KMS key opens, and none that only an older KMS key would.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use palladium_crypto::{
    ClusterId, CmkRef, Entropy, KeyRing, KeyVersion, Secret, SeededEntropy, TableId, TableKey,
};
use palladium_storage::commitlog;
use palladium_storage::verify::{Inspection, Report};
use palladium_storage::{
    Cell, CellState, Clustering, ColumnId, Columns, Crash, Engine, Env, Error, KeyRange, Lease,
    Limits, Liveness, Mutation, NewTable, Options, PartitionBound, PartitionKey, PartitionUpdate,
    ReadCommand, Result, Root, Row, SERVICE, SimulatedBackend, SimulatedDisk, SimulatedEnv, Slices,
    Store, TableKeys, Token, Write,
};

/// The one column.
pub const COLUMN: ColumnId = ColumnId(1);

/// Where a value stands: partition and row.
pub type Place = (u64, u64);
/// What a table holds.
pub type Rows = BTreeMap<Place, u64>;

pub type SimulatedEngine = Engine<SimulatedBackend>;

pub struct World {
    pub seed: u64,
    pub disk: Arc<SimulatedDisk>,
    pub env: Arc<SimulatedEnv>,
    pub engine: SimulatedEngine,
    pub options: Options,
    random: SeededEntropy,
}

pub fn id(table: u8) -> TableId {
    TableId([table + 1; 16])
}

fn cmk(version: KeyVersion) -> CmkRef {
    CmkRef::parse(&format!("local:customer-{version}")).unwrap()
}

fn table_key(table: u8, version: KeyVersion) -> TableKey {
    let mut secret = [table; 32];
    secret[..4].copy_from_slice(&version.to_le_bytes());
    let secret = Secret::from_bytes(secret);
    TableKey::derive(
        &secret,
        ClusterId([1; 16]),
        id(table),
        version,
        &cmk(version),
    )
}

pub fn service_ring() -> Arc<KeyRing> {
    let cmk = CmkRef::parse("local:default").unwrap();
    let secret = Secret::from_bytes([7; 32]);
    let key = TableKey::derive(&secret, ClusterId([0; 16]), SERVICE, 1, &cmk);
    Arc::new(KeyRing::new(key, Vec::new()))
}

/// The root of a table under a key version, with some older ones below it.
pub fn root(
    table: u8,
    version: KeyVersion,
    older: &[KeyVersion],
    epoch: u64,
    entropy: &dyn Entropy,
) -> Root {
    let key = table_key(table, version);
    let below: Vec<TableKey> = older
        .iter()
        .map(|version| table_key(table, *version))
        .collect();
    let mut root = Root {
        table: id(table),
        cmk: cmk(version),
        wrapped: vec![table, version as u8],
        alternatives: Vec::new(),
        version,
        older: below
            .iter()
            .map(|older| key.wrap_older(older, entropy))
            .collect(),
        fingerprints: std::iter::once(&key)
            .chain(&below)
            .map(|key| (key.version(), key.fingerprint()))
            .collect(),
        epoch,
        tag: [0; 32],
    };
    root.sign(&key);
    root
}

/// What the KMS key of a root opens.
pub fn keys_of(root: &Root) -> TableKeys {
    keys_until(root, Lease::FOREVER)
}

pub fn keys_until(root: &Root, lease: Lease) -> TableKeys {
    let active = table_key(root.table.0[0] - 1, root.version);
    root.verify(&active).unwrap();
    let older = root
        .older
        .iter()
        .map(|wrapped| active.unwrap_older(wrapped).unwrap());
    let older = older.collect();
    TableKeys {
        ring: Arc::new(KeyRing::new(active, older)),
        lease,
    }
}

pub fn small() -> Options {
    Options {
        memtable_flush_bytes: 1 << 20,
        log_segment_bytes: 64 << 10,
        log_bytes_max: 4 << 20,
        mutation_bytes_max: 16 << 10,
        cache_bytes: 1 << 20,
        ..Options::default()
    }
}

pub fn partition(number: u64) -> PartitionKey {
    let token = (number as i64 + 1).wrapping_mul(0x1234_5678_9abc_def1);
    PartitionKey::new(Token(token), Bytes::copy_from_slice(&number.to_be_bytes()))
}

fn number(key: &PartitionKey) -> u64 {
    u64::from_be_bytes(key.bytes().as_ref().try_into().unwrap())
}

/// A value is found again in many bytes, so that a flipped one shows.
pub fn spelled(value: u64) -> Bytes {
    Bytes::from(value.to_be_bytes().repeat(6 + (value % 7) as usize))
}

pub fn mutation(table: u8, (key, row): Place, value: u64, timestamp: i64) -> Mutation {
    Mutation {
        table: id(table),
        store: Store::BASE,
        key: partition(key),
        update: PartitionUpdate {
            deletion: None,
            static_row: None,
            rows: vec![Row {
                clustering: Clustering(Bytes::from(vec![0x40, row as u8, 0x80])),
                liveness: Some(Liveness {
                    timestamp,
                    ttl: 0,
                    expires_at: 0,
                }),
                deletion: None,
                complex_deletions: Vec::new(),
                cells: vec![Cell {
                    column: COLUMN,
                    path: Bytes::new(),
                    timestamp,
                    state: CellState::Live(spelled(value)),
                }],
            }],
            range_tombstones: Vec::new(),
        },
    }
}

pub fn everything(table: u8) -> ReadCommand {
    ReadCommand {
        table: id(table),
        store: Store::BASE,
        range: KeyRange::Range {
            start: PartitionBound::MIN,
            end: PartitionBound::MAX,
        },
        slices: Slices::all(),
        reversed: false,
        columns: Arc::new(Columns {
            regular: vec![COLUMN],
            statics: Vec::new(),
        }),
        limits: Limits::NONE,
        resume: None,
        now: 1_800_000_000,
    }
}

pub fn one(table: u8, key: u64) -> ReadCommand {
    ReadCommand {
        range: KeyRange::One(partition(key)),
        ..everything(table)
    }
}

/// One row, named exactly.
pub fn single(table: u8, (key, row): Place) -> ReadCommand {
    let position = |last: u8| Clustering(Bytes::from(vec![0x40, row as u8, last]));
    ReadCommand {
        slices: Slices::row(position(0x00), position(0x80), position(0xFF)),
        ..one(table, key)
    }
}

/// What a row is read as that is there and has no value: only its own expiry differs from its cell's, where merges and a clock that stepped back met.
pub const BARE: u64 = u64::MAX;

/// The rows of a page; every value must be spelled as it was written.
pub fn rows(page: palladium_storage::ReadPage) -> Rows {
    let mut found = Rows::new();
    for partition in page.partitions {
        for row in partition.rows {
            let place = (number(&partition.key), u64::from(row.clustering.0[1]));
            let Some(cell) = row.cells.first() else {
                found.insert(place, BARE);
                continue;
            };
            let bytes = match &cell.state {
                CellState::Live(bytes) | CellState::Expiring { value: bytes, .. } => bytes,
                CellState::Tombstone { .. } => panic!("a tombstone is visible"),
            };
            let value = u64::from_be_bytes(bytes[..8].try_into().unwrap());
            assert_eq!(*bytes, spelled(value), "a value that nobody wrote");
            found.insert(place, value);
        }
    }
    found
}

impl Drop for World {
    /// The engine's tasks and its world hold each other.
    fn drop(&mut self) {
        self.env.drop_tasks();
    }
}

impl World {
    /// An empty folder and an engine on it.
    pub fn new(seed: u64, options: Options) -> World {
        let disk = SimulatedDisk::new();
        let env = SimulatedEnv::new(seed);
        let engine = open(&disk, &env, &options).unwrap();
        World {
            seed,
            disk,
            env,
            engine,
            options,
            random: SeededEntropy::new(seed ^ 0x5eed),
        }
    }

    /// With so many tables, each under version 1.
    pub fn with_tables(seed: u64, options: Options, tables: u8) -> World {
        let world = World::new(seed, options);
        for table in 0..tables {
            world.create(table).unwrap();
        }
        world
    }

    pub fn draw(&self, below: u64) -> u64 {
        let mut bytes = [0; 8];
        self.random.fill(&mut bytes);
        u64::from_le_bytes(bytes) % below.max(1)
    }

    pub fn create(&self, table: u8) -> Result<()> {
        let root = root(table, 1, &[], 1, self.env.entropy());
        let new = NewTable {
            id: id(table),
            options: Default::default(),
            keys: keys_of(&root),
            root: Some(root),
        };
        self.env.run(self.engine.create_table(new))
    }

    pub fn root(&self, table: u8) -> Root {
        self.engine.root(id(table)).unwrap()
    }

    /// The root that follows, with every key below it that is still in use.
    pub fn next_root(&self, table: u8) -> Root {
        let present = self.root(table);
        let in_use = self.env.run(self.engine.key_versions_in_use(id(table)));
        let mut older: Vec<KeyVersion> = present.older.iter().map(|older| older.version).collect();
        older.retain(|version| in_use.contains(version));
        older.insert(0, present.version);
        let version = present.version + 1;
        root(
            table,
            version,
            &older,
            present.epoch + 1,
            self.env.entropy(),
        )
    }

    pub fn switch(&self, table: u8) -> Result<()> {
        let next = self.next_root(table);
        let keys = keys_of(&next);
        self.env.run(self.engine.switch_key(id(table), next, keys))
    }

    /// Brings the key that the present root needs.
    pub fn unlock(&self, table: u8) -> Result<()> {
        let keys = keys_of(&self.root(table));
        self.env.run(self.engine.unlock(id(table), keys))
    }

    /// Also if the engine has no root for the table: then it says why.
    pub fn unlock_any(&self, table: u8) -> Result<()> {
        let root = self.engine.root(id(table));
        let root = root.unwrap_or_else(|| self::root(table, 1, &[], 1, self.env.entropy()));
        let keys = keys_of(&root);
        self.env.run(self.engine.unlock(id(table), keys))
    }

    /// Where the first share of a table stands in the log: file and offset.
    pub fn first_share(&self, table: u8) -> (String, usize) {
        self.env.drop_tasks();
        self.disk.crash(Crash::Kill);
        let backend = SimulatedBackend::open(&self.disk).unwrap();
        let log = self
            .env
            .run(commitlog::inspect(&backend, &service_ring()))
            .unwrap();
        let share = &log.tables[&id(table)][0];
        let path = format!("log/segment-{:020}", share.segment);
        (path, share.offset as usize)
    }

    pub fn lock(&self, table: u8) {
        self.env.run(self.engine.lock(id(table)));
    }

    pub fn flush(&self, table: u8) -> Result<()> {
        self.env.run(self.engine.flush(Some(id(table))))
    }

    pub fn write(&self, table: u8, place: Place, value: u64) -> Write {
        let timestamp = self.engine.next_timestamp();
        Write::new(vec![mutation(table, place, value, timestamp)])
    }

    pub fn try_put(&self, table: u8, place: Place, value: u64) -> Result<()> {
        let write = self.write(table, place, value);
        self.env.run(self.engine.write(vec![write])).remove(0)
    }

    pub fn put(&self, table: u8, place: Place, value: u64) {
        self.try_put(table, place, value).unwrap();
    }

    /// A table's rows: partitions and rows numbered from zero.
    pub fn fill(&self, table: u8, partitions: u64, rows: u64) -> Rows {
        let mut written = Rows::new();
        for key in 0..partitions {
            let mut writes = Vec::new();
            for row in 0..rows {
                let value = self.draw(1 << 40);
                writes.push(self.write(table, (key, row), value));
                written.insert((key, row), value);
            }
            for result in self.env.run(self.engine.write(writes)) {
                result.unwrap();
            }
        }
        written
    }

    pub fn rows(&self, table: u8) -> Result<Rows> {
        self.env.run(self.engine.read(everything(table))).map(rows)
    }

    /// A clean stop. The engine must not be used until it is opened again.
    pub fn stop(&self) -> Result<()> {
        self.env.run(self.engine.close())
    }

    /// Ends this life and begins the next. All tables are closed. How far the log was known to be durable is remembered outside: no crash leaves less.
    pub fn try_reopen(&mut self, crash: Crash) -> Result<()> {
        self.env.drop_tasks();
        self.options.log_sequence_seen = self.engine.log_sequence();
        self.disk.crash(crash);
        self.try_reopen_as_it_is()
    }

    /// Begins the next life after a crash, with the troubles that the disk was given since.
    pub fn try_reopen_as_it_is(&mut self) -> Result<()> {
        self.engine = open(&self.disk, &self.env, &self.options)?;
        Ok(())
    }

    pub fn reopen(&mut self, crash: Crash) {
        let seed = self.seed;
        self.try_reopen(crash)
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }

    /// Goes on with other files: what an attacker left, or a backup.
    pub fn move_to(&mut self, disk: Arc<SimulatedDisk>) -> Result<()> {
        self.env.drop_tasks();
        self.disk = disk;
        self.engine = open(&self.disk, &self.env, &self.options)?;
        Ok(())
    }

    /// The same, before the next life is begun.
    pub fn move_to_disk(&mut self, disk: Arc<SimulatedDisk>) {
        self.env.drop_tasks();
        self.disk = disk;
    }

    /// What `verify` says of the disk as it stands, with all keys at hand. An error: it could not even begin.
    pub fn inspect(&self) -> Result<Report> {
        inspect(&self.disk, &self.env)
    }

    /// Paths of a folder.
    pub fn paths(&self, folder: &str) -> Vec<String> {
        let mut paths = self.disk.paths();
        paths.retain(|path| path.starts_with(folder));
        paths
    }
}

pub fn open(
    disk: &Arc<SimulatedDisk>,
    env: &Arc<SimulatedEnv>,
    options: &Options,
) -> Result<SimulatedEngine> {
    let backend = Arc::new(SimulatedBackend::open(disk)?);
    env.run(Engine::open(
        backend,
        env.clone(),
        service_ring(),
        options.clone(),
    ))
}

pub fn inspect(disk: &Arc<SimulatedDisk>, env: &Arc<SimulatedEnv>) -> Result<Report> {
    let backend = SimulatedBackend::open(disk)?;
    env.run(async {
        let mut inspection = Inspection::open(&backend, &service_ring()).await?;
        for (_, root) in inspection.tables() {
            if let Some(root) = root {
                let active = table_key(root.table.0[0] - 1, root.version);
                if root.verify(&active).is_ok() {
                    let ring = keys_of(&root).ring;
                    inspection.check_table(&backend, &ring).await;
                } else {
                    inspection
                        .check_table(&backend, &KeyRing::new(active, Vec::new()))
                        .await;
                }
            }
        }
        Ok(inspection.finish())
    })
}

/// All files of a disk.
pub type Files = BTreeMap<String, Vec<u8>>;

pub fn files(disk: &SimulatedDisk) -> Files {
    let paths = disk.paths().into_iter();
    paths
        .map(|path| {
            let bytes = disk.contents(&path).expect("it was listed");
            (path, bytes)
        })
        .collect()
}

pub fn disk_of(files: &Files) -> Arc<SimulatedDisk> {
    let disk = SimulatedDisk::new();
    for (path, bytes) in files {
        disk.replace(path, Some(bytes.clone()));
    }
    disk
}

pub fn is_locked(result: &Result<impl std::fmt::Debug>) -> bool {
    matches!(result, Err(Error::KeyUnavailable { .. }))
}
