//! Random work on the whole engine over a simulated disk that dies at random syncs, against a map.
//!
//! After each crash exactly what was acknowledged is there, plus any of what was not; never less, never anything else. One seed drives disk, entropy and work;
//! a failure prints it. `PALLADIUM_WORLDS` says how many worlds, `PALLADIUM_SEED` which comes first.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use palladium_crypto::{
    ClusterId, CmkRef, Entropy, KeyRing, Secret, SeededEntropy, TableId, TableKey,
};
use palladium_storage::{
    Cell, CellState, Clustering, ColumnId, Columns, Crash, Deletion, Engine, Env, KeyRange, Lease,
    Limits, Liveness, Mutation, NewTable, Options, PartitionKey, PartitionUpdate, ReadCommand, Row,
    SERVICE, SimulatedBackend, SimulatedDisk, SimulatedEnv, Slices, TableKeys, Token, Write,
};

const TABLES: u8 = 2;
const PARTITIONS: u64 = 6;
const ROWS: u64 = 5;
const STEPS: u32 = 120;
const COLUMN: ColumnId = ColumnId(1);

/// Where a value stands: table, partition, row.
type Place = (u8, u64, u64);
/// A timestamp and what was written; None for a deletion.
type Version = (i64, Option<u64>);

struct World {
    seed: u64,
    random: SeededEntropy,
    disk: Arc<SimulatedDisk>,
    env: Arc<SimulatedEnv>,
    engine: Engine<SimulatedBackend>,
    acknowledged: BTreeMap<Place, Version>,
    /// Handed over since, and not acknowledged.
    unknown: BTreeMap<Place, Vec<Version>>,
    lives: u64,
}

fn service_ring() -> Arc<KeyRing> {
    let cmk = CmkRef::parse("local:default").unwrap();
    let key = TableKey::derive(
        &Secret::from_bytes([7; 32]),
        ClusterId([0; 16]),
        SERVICE,
        1,
        &cmk,
    );
    Arc::new(KeyRing::new(key, Vec::new()))
}

fn table_id(table: u8) -> TableId {
    TableId([table + 1; 16])
}

fn table_keys(table: u8) -> TableKeys {
    let cmk = CmkRef::parse("local:customer").unwrap();
    let key = TableKey::derive(
        &Secret::from_bytes([table; 32]),
        ClusterId([1; 16]),
        table_id(table),
        1,
        &cmk,
    );
    TableKeys {
        ring: Arc::new(KeyRing::new(key, Vec::new())),
        lease: Lease::FOREVER,
    }
}

fn options() -> Options {
    Options {
        memtable_flush_bytes: 6 << 10,
        log_segment_bytes: 64 << 10,
        log_bytes_max: 512 << 10,
        mutation_bytes_max: 16 << 10,
        ..Options::default()
    }
}

fn partition(number: u64) -> PartitionKey {
    let token = (number as i64 - 3).wrapping_mul(0x1234_5678_9abc_def1);
    PartitionKey::new(Token(token), Bytes::copy_from_slice(&number.to_be_bytes()))
}

fn mutation((table, key, row): Place, (timestamp, value): Version) -> Mutation {
    let row = Row {
        clustering: Clustering(Bytes::from(vec![0x40, row as u8, 0x80])),
        liveness: value.map(|_| Liveness {
            timestamp,
            ttl: 0,
            expires_at: 0,
        }),
        deletion: value.is_none().then_some(Deletion {
            timestamp,
            local_deletion_time: timestamp / 1_000_000,
        }),
        complex_deletions: Vec::new(),
        cells: value
            .map(|value| Cell {
                column: COLUMN,
                path: Bytes::new(),
                timestamp,
                state: CellState::Live(Bytes::from(vec![value as u8; 60 + value as usize % 90])),
            })
            .into_iter()
            .collect(),
    };
    Mutation {
        table: table_id(table),
        key: partition(key),
        update: PartitionUpdate {
            deletion: None,
            static_row: None,
            rows: vec![row],
            range_tombstones: Vec::new(),
        },
    }
}

impl World {
    fn new(seed: u64) -> World {
        let disk = SimulatedDisk::new();
        let env = SimulatedEnv::new(seed);
        let backend = Arc::new(SimulatedBackend::open(&disk).unwrap());
        let engine = env
            .run(Engine::open(
                backend,
                env.clone(),
                service_ring(),
                options(),
            ))
            .unwrap();
        for table in 0..TABLES {
            let new = NewTable {
                id: table_id(table),
                options: Default::default(),
                root: None,
                keys: table_keys(table),
            };
            env.run(engine.create_table(new)).unwrap();
        }
        World {
            seed,
            random: SeededEntropy::new(seed ^ 0xabcd),
            disk,
            env,
            engine,
            acknowledged: BTreeMap::new(),
            unknown: BTreeMap::new(),
            lives: 1,
        }
    }

    fn draw(&mut self, below: u64) -> u64 {
        let mut bytes = [0; 8];
        self.random.fill(&mut bytes);
        u64::from_le_bytes(bytes) % below
    }

    fn step(&mut self) {
        match self.draw(100) {
            0..70 => self.write(),
            70..80 => self.read_all(),
            80..86 => {
                let _ = self.env.run(self.engine.flush(None));
            }
            86..89 => {
                let _ = self.env.run(self.engine.compact(None));
            }
            89..92 => self.reopen_one_table(),
            92..97 => {
                let syncs = 1 + self.draw(12);
                self.disk.go_down_at_sync(syncs);
            }
            _ => self.crash(),
        }
        if self.disk.is_down() {
            self.crash();
        }
    }

    fn write(&mut self) {
        let mut given: Vec<(Place, Version)> = Vec::new();
        let mut writes = Vec::new();
        for _ in 0..1 + self.draw(8) {
            let mut mutations = Vec::new();
            for _ in 0..1 + self.draw(3) {
                let place = (
                    self.draw(TABLES.into()) as u8,
                    self.draw(PARTITIONS),
                    self.draw(ROWS),
                );
                let value = (self.draw(6) > 0).then(|| self.draw(250));
                let version = (self.engine.next_timestamp(), value);
                mutations.push(mutation(place, version));
                self.unknown.entry(place).or_default().push(version);
                given.push((place, version));
            }
            writes.push(Write { mutations });
        }
        let results = self.env.run(self.engine.write(writes));
        if results.iter().all(Result::is_ok) {
            for (place, version) in given {
                self.unknown.remove(&place);
                self.acknowledged.insert(place, version);
            }
        }
    }

    fn value_at(&self, (table, key, row): Place) -> Option<u64> {
        let bound = |last: u8| Clustering(Bytes::from(vec![0x40, row as u8, last]));
        let command = ReadCommand {
            table: table_id(table),
            range: KeyRange::One(partition(key)),
            slices: Slices::one(bound(0), bound(0xff)),
            reversed: false,
            columns: Arc::new(Columns {
                regular: vec![COLUMN],
                statics: Vec::new(),
            }),
            limits: Limits::NONE,
            resume: None,
            now: self.env.wall_micros() / 1_000_000,
        };
        let page = self
            .env
            .run(self.engine.read(command))
            .unwrap_or_else(|error| panic!("seed {}, life {}: {error}", self.seed, self.lives));
        let row = page
            .partitions
            .into_iter()
            .flat_map(|partition| partition.rows)
            .next()?;
        match &row.cells[0].state {
            CellState::Live(value) => Some(u64::from(value[0])),
            other => panic!("a visible cell is {other:?}"),
        }
    }

    fn read_all(&mut self) {
        for table in 0..TABLES {
            for key in 0..PARTITIONS {
                for row in 0..ROWS {
                    self.check((table, key, row));
                }
            }
        }
    }

    /// What is read is what was acknowledged last, or something newer that was handed over. From then on it is known.
    fn check(&mut self, place: Place) {
        if self.disk.is_down() {
            return;
        }
        let found = self.value_at(place);
        let mut candidates: Vec<Version> =
            self.acknowledged.get(&place).copied().into_iter().collect();
        candidates.extend(self.unknown.get(&place).into_iter().flatten());
        match candidates.iter().rev().find(|(_, value)| *value == found) {
            Some(known) => {
                self.acknowledged.insert(place, *known);
            }
            None => assert!(
                !self.acknowledged.contains_key(&place) && found.is_none(),
                "seed {}, life {}: {place:?} holds {found:?}, and was given {candidates:?}",
                self.seed,
                self.lives
            ),
        }
    }

    /// A lock or a sleep, and an unlock: the table comes back with all it had.
    fn reopen_one_table(&mut self) {
        let table = self.draw(TABLES.into()) as u8;
        match self.draw(2) {
            0 => self.env.run(self.engine.lock(table_id(table))),
            _ => self.env.run(self.engine.sleep(table_id(table))),
        }
        let unlocked = self
            .env
            .run(self.engine.unlock(table_id(table), table_keys(table)));
        assert!(
            unlocked.is_ok() || self.disk.is_down(),
            "seed {}: {unlocked:?}",
            self.seed
        );
    }

    fn crash(&mut self) {
        let crash = match self.draw(3) {
            0 => Crash::Kill,
            _ => Crash::PowerLoss {
                seed: self.draw(u64::MAX),
            },
        };
        self.env.drop_tasks();
        self.disk.crash(crash);
        self.lives += 1;
        let backend = Arc::new(SimulatedBackend::open(&self.disk).unwrap());
        let opened = self.env.run(Engine::open(
            backend,
            self.env.clone(),
            service_ring(),
            options(),
        ));
        self.engine = opened
            .unwrap_or_else(|error| panic!("seed {}, life {}: {error}", self.seed, self.lives));
        for table in 0..TABLES {
            let unlocked = self
                .env
                .run(self.engine.unlock(table_id(table), table_keys(table)));
            unlocked
                .unwrap_or_else(|error| panic!("seed {}, life {}: {error}", self.seed, self.lives));
        }
        self.read_all();
        self.unknown.clear();
    }
}

#[test]
fn what_was_acknowledged_survives_every_crash() {
    let number = |variable: &str, default: u64| {
        std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
    };
    let first = number("PALLADIUM_SEED", 1);
    for seed in first..first + number("PALLADIUM_WORLDS", 40) {
        let mut world = World::new(seed);
        for _ in 0..STEPS {
            world.step();
        }
        world.crash();
    }
}
