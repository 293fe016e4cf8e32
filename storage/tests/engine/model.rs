//! Random work on the whole engine over a simulated disk that dies at random syncs, fills up and fails, against a map.
//!
//! After each crash exactly what was acknowledged is there, plus any of what was on its way; never less, never anything else, and never half of a write. Between
//! crashes tables are locked, switched to other keys, emptied, dropped and made again, time passes and values expire. `verify` finds nothing to say of a folder
//! that has only been through crashes. One seed drives all of it and a failure prints it: `PALLADIUM_WORLDS` says how many, `PALLADIUM_SEED` which comes first.

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::Bytes;
use futures::future::{BoxFuture, FutureExt, join_all};
use palladium_storage::compaction::{SizeTiered, Strategy};
use palladium_storage::{
    Cell, CellState, Clustering, CompactionOptions, Crash, Deletion, Env, Error, Limits, Liveness,
    LogSync, Mutation, NewTable, Options, PartitionUpdate, RangeTombstone, ReadCommand, ReadPage,
    Result, Row, Store, TableOptions, Write,
};

use crate::world::{
    COLUMN, Rows, World, everything, id, inspect, keys_of, one, partition, root, rows, single,
    small, spelled,
};

const TABLES: u8 = 3;
const PARTITIONS: u64 = 6;
const ROWS: u64 = 8;
const STEPS: u32 = 90;
/// Short, so that worlds live to see tombstones purged.
const GRACE_SECONDS: i64 = 4;

type Place = (u64, u64);

/// What stands at a place, and from when.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Version {
    timestamp: i64,
    /// None: deleted.
    value: Option<u64>,
    /// Second from which the value is gone.
    expires_at: Option<i64>,
}

impl Version {
    fn at(&self, now: i64) -> Option<u64> {
        self.value
            .filter(|_| self.expires_at.is_none_or(|second| second > now))
    }
}

/// A write that was handed over: what it says of each place of each table.
#[derive(Debug, Clone, Default)]
struct Given {
    versions: Vec<(u8, Place, Version)>,
}

/// What a table must hold.
#[derive(Default)]
struct Oracle {
    /// By which id and from which generation of it; a table made again is another one.
    generation: u8,
    exists: bool,
    known: BTreeMap<Place, Version>,
    /// It may have been emptied.
    may_be_empty: bool,
    /// The derived store that mirrors the base, which is store `stores + 1`: others before it have ended.
    stores: u16,
    /// The first timestamp that it mirrors.
    mirrored_from: i64,
}

impl Oracle {
    fn mirror(&self) -> Store {
        Store(self.stores + 1)
    }
}

struct Story {
    world: World,
    oracles: Vec<Oracle>,
    /// Handed over in this life, and of unknown outcome.
    unknown: Vec<Given>,
    lives: u64,
    /// A drop or a creation was cut short: its table is dropped after the next start.
    unfinished: Vec<u8>,
    /// The log has failed; nothing is written any more in this life.
    log_failed: bool,
}

fn options(seed: u64) -> Options {
    Options {
        // Every fourth world acknowledges before the sync; its crashes are kills, which take nothing that was written.
        log_sync: match seed % 4 {
            0 => LogSync::Periodic {
                every: Duration::from_secs(2),
            },
            _ => LogSync::Group,
        },
        memtable_flush_bytes: 6 << 10,
        log_bytes_max: 512 << 10,
        ..small()
    }
}

fn table_options() -> TableOptions {
    TableOptions {
        gc_grace_seconds: GRACE_SECONDS,
        block_bytes: 512,
        compression: true,
        compaction: CompactionOptions {
            enabled: true,
            // Merges of few SSTables among many: what is left outside is what purging must respect.
            strategy: Strategy::SizeTiered(SizeTiered {
                min_threshold: 2,
                max_threshold: 2,
                min_sstable_size: 0,
                tombstone_threshold: 0.05,
                tombstone_compaction_interval: 1,
                ..SizeTiered::default()
            }),
        },
    }
}

fn clustering(row: u64, last: u8) -> Clustering {
    Clustering(Bytes::from(vec![0x40, row as u8, last]))
}

fn update_of(row: u64, version: Version, now: i64) -> PartitionUpdate {
    let ttl = version.expires_at.map(|second| (second - now) as u32);
    let expires_at = version.expires_at.unwrap_or(0);
    let state = |value| match ttl {
        None => CellState::Live(spelled(value)),
        Some(ttl) => CellState::Expiring {
            value: spelled(value),
            ttl,
            expires_at,
        },
    };
    let timestamp = version.timestamp;
    let cell = |value| Cell {
        column: COLUMN,
        path: Bytes::new(),
        timestamp,
        state: state(value),
    };
    let row = Row {
        clustering: clustering(row, 0x80),
        liveness: version.value.map(|_| Liveness {
            timestamp,
            ttl: ttl.unwrap_or(0),
            expires_at,
        }),
        deletion: version.value.is_none().then_some(Deletion {
            timestamp,
            local_deletion_time: now,
        }),
        complex_deletions: Vec::new(),
        cells: version.value.map(cell).into_iter().collect(),
    };
    PartitionUpdate {
        deletion: None,
        static_row: None,
        rows: vec![row],
        range_tombstones: Vec::new(),
    }
}

impl Story {
    fn new(seed: u64) -> Story {
        let mut story = Story {
            world: World::new(seed, options(seed)),
            oracles: (0..TABLES).map(|_| Oracle::default()).collect(),
            unknown: Vec::new(),
            lives: 1,
            unfinished: Vec::new(),
            log_failed: false,
        };
        for table in 0..TABLES {
            story.create(table);
        }
        story
    }

    fn draw(&self, below: u64) -> u64 {
        self.world.draw(below)
    }

    fn now(&self) -> i64 {
        self.world.engine.now_seconds()
    }

    fn context(&self) -> String {
        format!("seed {}, life {}", self.world.seed, self.lives)
    }

    /// The number under which the world knows the table now.
    fn number(&self, table: u8) -> u8 {
        table + TABLES * self.oracles[usize::from(table)].generation
    }

    fn some_table(&self) -> Option<u8> {
        let table = self.draw(TABLES.into()) as u8;
        self.oracles[usize::from(table)].exists.then_some(table)
    }

    fn step(&mut self) {
        match self.draw(100) {
            0..45 => self.write_some(),
            45..53 => self.storm(),
            53..61 => self.read_all(),
            61..69 => self.tidy(),
            69..75 => self.world.env.advance(Duration::from_secs(self.draw(15))),
            75..79 => self.reopen_one_table(),
            79..82 => self.switch(),
            82..84 => self.truncate(),
            84..86 => self.drop_or_create(),
            86 => self.drop_store(),
            87..92 => self.world.disk.go_down_at_sync(1 + self.draw(14)),
            92..94 => self
                .world
                .disk
                .fail_syncs_after(self.draw(6), 1 + self.draw(2) as u32),
            94..96 => self.fill_the_disk(),
            96 => self.stop(),
            _ => self.crash(),
        }
        if self.world.disk.is_down() || self.log_failed {
            self.crash();
        }
    }

    // Writing.

    fn mutation(&self, table: u8, given: &mut Given) -> Mutation {
        let (now, key) = (self.now(), self.draw(PARTITIONS));
        let timestamp = self.world.engine.next_timestamp();
        let gone = Version {
            timestamp,
            value: None,
            expires_at: None,
        };
        let deletion = Deletion {
            timestamp,
            local_deletion_time: now,
        };
        let mut update = PartitionUpdate::default();
        let mut rows = 0..0;
        match self.draw(20) {
            0 => {
                update.deletion = Some(deletion);
                rows = 0..ROWS;
            }
            1 | 2 => {
                let first = self.draw(ROWS);
                rows = first..first + self.draw(ROWS - first + 1);
                update.range_tombstones = vec![RangeTombstone {
                    start: clustering(rows.start, 0),
                    end: clustering(rows.end, 0),
                    deletion,
                }];
                if rows.is_empty() {
                    update.range_tombstones.clear();
                    update.deletion = Some(Deletion {
                        timestamp: i64::MIN + 1,
                        local_deletion_time: now,
                    });
                }
            }
            kind => {
                let row = self.draw(ROWS);
                let version = Version {
                    timestamp,
                    value: (kind > 4).then(|| self.draw(1 << 40)),
                    expires_at: (kind > 15).then(|| now + 1 + self.draw(30) as i64),
                };
                update = update_of(row, version, now);
                given.versions.push((table, (key, row), version));
            }
        }
        let covered = rows.map(|row| (table, (key, row), gone));
        given.versions.extend(covered);
        Mutation {
            table: id(self.number(table)),
            store: Store::BASE,
            key: partition(key),
            update,
        }
    }

    fn batch(&mut self) -> (Vec<Write>, Vec<Given>) {
        let (mut writes, mut all) = (Vec::new(), Vec::new());
        for _ in 0..1 + self.draw(6) {
            let (mut mutations, mut given) = (Vec::new(), Given::default());
            for _ in 0..1 + self.draw(3) {
                if let Some(table) = self.some_table() {
                    let mutation = self.mutation(table, &mut given);
                    let mut mirrored = mutation.clone();
                    mirrored.store = self.oracles[usize::from(table)].mirror();
                    mutations.extend([mutation, mirrored]);
                }
            }
            writes.push(Write { mutations });
            all.push(given);
        }
        (writes, all)
    }

    fn write_some(&mut self) {
        let (writes, given) = self.batch();
        let ticket = self.world.engine.write(writes);
        let results = self.world.env.run(ticket);
        self.heard(given, results);
    }

    /// Takes note of how writes ended.
    fn heard(&mut self, given: Vec<Given>, results: Vec<Result<()>>) {
        for (given, result) in given.into_iter().zip(results) {
            match result {
                Ok(()) => {
                    for (table, place, version) in given.versions {
                        let known = &mut self.oracles[usize::from(table)].known;
                        let newest = known.entry(place).or_insert(version);
                        if version.timestamp >= newest.timestamp {
                            *newest = version;
                        }
                    }
                }
                Err(Error::OutcomeUnknown { .. }) => {
                    self.unknown.push(given);
                    self.log_failed = true;
                }
                // Refused before anything was appended: it must never be seen.
                Err(Error::Closed) => self.log_failed = true,
                Err(Error::KeyUnavailable { .. } | Error::Full { .. } | Error::Invalid { .. }) => {}
                Err(other) => panic!("{}: a write ended with {other}", self.context()),
            }
        }
    }

    /// Many things at once: writes, reads, flushes, merges, locks and key switches, in the order that the seed gives.
    fn storm(&mut self) {
        let mut all = Vec::new();
        let mut tickets = Vec::new();
        let mut others: Vec<BoxFuture<'static, ()>> = Vec::new();
        for _ in 0..3 + self.draw(8) {
            match (self.draw(10), self.some_table()) {
                (0..5, _) | (_, None) => {
                    let (writes, given) = self.batch();
                    tickets.push(self.world.engine.write(writes));
                    all.push(given);
                }
                (5, Some(table)) => others.push(self.lock_and_unlock(table)),
                (6, Some(table)) => {
                    let (engine, id) = (self.world.engine.clone(), id(self.number(table)));
                    let now = self.now();
                    let command = ReadCommand {
                        now,
                        ..everything(0)
                    };
                    let command = ReadCommand {
                        table: id,
                        store: Store::BASE,
                        ..command
                    };
                    others.push(async move { drop(engine.read(command).await) }.boxed());
                }
                (7, Some(table)) => {
                    let (engine, id) = (self.world.engine.clone(), id(self.number(table)));
                    others.push(async move { drop(engine.flush(Some(id)).await) }.boxed());
                }
                (8, Some(table)) => {
                    let (engine, id) = (self.world.engine.clone(), id(self.number(table)));
                    others.push(async move { drop(engine.compact(Some(id)).await) }.boxed());
                }
                (_, Some(table)) => {
                    let (engine, id) = (self.world.engine.clone(), id(self.number(table)));
                    let next = self.world.next_root(self.number(table));
                    let keys = keys_of(&next);
                    others
                        .push(async move { drop(engine.switch_key(id, next, keys).await) }.boxed());
                }
            }
        }
        // One of them may be dropped before it is over.
        let impatient = self.draw(4) == 0;
        let run = async {
            let writing = join_all(tickets);
            let others = join_all(others);
            if impatient {
                let mut others = others;
                let _ = (&mut others).now_or_never();
                drop(others);
                return writing.await;
            }
            futures::join!(writing, others).0
        };
        let results = self.world.env.run(run);
        for (given, results) in all.into_iter().zip(results) {
            self.heard(given, results);
        }
        // What nobody waits for any more is finished too: a lock must not come after the unlocks below.
        self.world.env.advance(Duration::from_secs(1));
        for table in 0..TABLES {
            self.unlock(table);
        }
    }

    fn lock_and_unlock(&self, table: u8) -> BoxFuture<'static, ()> {
        let (engine, id) = (self.world.engine.clone(), id(self.number(table)));
        let sleeps = self.draw(2) == 0;
        async move {
            match sleeps {
                true => engine.sleep(id).await,
                false => engine.lock(id).await,
            }
            if let Some(root) = engine.root(id) {
                // Busy: another key has come meanwhile, and who has it unlocks.
                let _ = engine.unlock(id, keys_of(&root)).await;
            }
        }
        .boxed()
    }

    // Reading.

    fn page_through(&self, mut command: ReadCommand) -> Result<Rows> {
        let mut found = Rows::new();
        loop {
            let page: ReadPage = match self.world.engine.try_read(&command) {
                Some(page) => page?,
                None => self
                    .world
                    .env
                    .run(self.world.engine.read(command.clone()))?,
            };
            command.resume = page.next.clone();
            for (place, value) in rows(page) {
                let is_new = found.insert(place, value).is_none();
                assert!(is_new, "{}: {place:?} came twice", self.context());
            }
            if command.resume.is_none() {
                return Ok(found);
            }
        }
    }

    /// All rows of a table, by one of many roads.
    fn table_rows(&self, table: u8, store: Store) -> Result<Rows> {
        let number = self.number(table);
        let pages = Limits {
            rows: 1 + self.draw(9) as u32,
            ..Limits::NONE
        };
        let limits = [Limits::NONE, pages][self.draw(2) as usize];
        let finish = |command: ReadCommand| ReadCommand {
            store,
            limits,
            now: self.now(),
            ..command
        };
        let road = self.draw(3);
        if road == 0 {
            return self.page_through(finish(everything(number)));
        }
        if road == 1 {
            let mut found = Rows::new();
            for place in (0..PARTITIONS).flat_map(|key| (0..ROWS).map(move |row| (key, row))) {
                found.extend(self.page_through(finish(single(number, place)))?);
            }
            return Ok(found);
        }
        let reversed = self.draw(2) == 0;
        let mut found = Rows::new();
        for key in 0..PARTITIONS {
            let command = finish(one(number, key));
            found.extend(self.page_through(ReadCommand {
                reversed,
                ..command
            })?);
        }
        Ok(found)
    }

    fn read_all(&mut self) {
        for table in 0..TABLES {
            if self.oracles[usize::from(table)].exists {
                self.check(table);
            }
        }
    }

    /// What is read is what was acknowledged last, or something newer that was on its way. From then on it is known.
    fn check(&mut self, table: u8) {
        let now = self.now();
        let found = match self.table_rows(table, Store::BASE) {
            Ok(found) => found,
            Err(_) if self.world.disk.is_down() => return,
            Err(error) => panic!("{}: table {table}: {error}", self.context()),
        };
        let context = self.context();
        let oracle = &mut self.oracles[usize::from(table)];
        for place in (0..PARTITIONS).flat_map(|key| (0..ROWS).map(move |row| (key, row))) {
            let value = found.get(&place).copied();
            let known = oracle.known.get(&place).copied();
            let since = known.map_or(i64::MIN, |known| known.timestamp);
            let newer = self.unknown.iter().flat_map(|given| &given.versions);
            let newer = newer
                .filter(|(of, at, version)| {
                    (*of, *at) == (table, place) && version.timestamp > since
                })
                .map(|(_, _, version)| *version);
            let mut candidates: Vec<Version> = known.into_iter().chain(newer).collect();
            candidates.sort_by_key(|version| version.timestamp);
            // Where several fit, the oldest: what is not known to have happened is not assumed.
            let is_absent = known.is_none() && value.is_none();
            let seen = candidates
                .iter()
                .find(|version| !is_absent && version.at(now) == value);
            match seen {
                Some(version) => drop(oracle.known.insert(place, *version)),
                None if is_absent => {}
                None if value.is_none() && oracle.may_be_empty => {
                    oracle.known.remove(&place);
                }
                None => panic!(
                    "{context}: table {table} holds {value:?} at {place:?}, and was given {candidates:?}"
                ),
            }
        }
        let strange = found
            .keys()
            .find(|(key, row)| *key >= PARTITIONS || *row >= ROWS);
        assert_eq!(strange, None, "{context}");
        self.check_whole(&found, table);
        self.check_mirror(found, table);
    }

    /// What the derived store holds is what the base holds, as far back as it goes: no crash takes one and leaves the other.
    fn check_mirror(&self, mut base: Rows, table: u8) {
        let oracle = &self.oracles[usize::from(table)];
        let is_mirrored = |place: &Place| {
            let known = oracle.known.get(place);
            known.is_some_and(|version| version.timestamp >= oracle.mirrored_from)
        };
        base.retain(|place, _| is_mirrored(place));
        match self.table_rows(table, oracle.mirror()) {
            Ok(found) => assert_eq!(
                found,
                base,
                "{}: the mirror of table {table}",
                self.context()
            ),
            Err(_) if self.world.disk.is_down() => {}
            Err(error) => panic!("{}: table {table}: {error}", self.context()),
        }
    }

    /// Ends the mirror of a table; another one begins, with what is written from now on.
    fn drop_store(&mut self) {
        let Some(table) = self.some_table() else {
            return;
        };
        let timestamp = self.world.engine.next_timestamp();
        let (id, oracle) = (
            id(self.number(table)),
            &mut self.oracles[usize::from(table)],
        );
        let store = oracle.mirror();
        oracle.stores += 1;
        oracle.mirrored_from = timestamp;
        // An error: what is left of it is nobody's.
        let dropped = self.world.env.run(self.world.engine.drop_store(id, store));
        if dropped.is_ok() {
            match self.table_rows(table, store) {
                Ok(_) => panic!("{}: a store that has ended answers", self.context()),
                Err(Error::Busy { .. }) => {}
                Err(error) => assert!(self.world.disk.is_down(), "{}: {error}", self.context()),
            }
        }
    }

    /// Of a write with several rows in a table either all are there or none.
    fn check_whole(&self, found: &Rows, table: u8) {
        for given in &self.unknown {
            let members = || {
                let mine = given.versions.iter().filter(|(of, _, _)| *of == table);
                mine.filter(|(_, place, version)| {
                    let others = given
                        .versions
                        .iter()
                        .chain(self.unknown.iter().flat_map(|given| &given.versions));
                    let is_last = others
                        .filter(|(of, at, _)| (*of, at) == (table, place))
                        .all(|(_, _, other)| other.timestamp <= version.timestamp);
                    is_last && version.value.is_some() && version.expires_at.is_none()
                })
            };
            let there =
                members().filter(|(_, place, version)| found.get(place) == version.value.as_ref());
            let there = there.count();
            assert!(
                there == 0 || there == members().count(),
                "{}: half of a write is there: {given:?}",
                self.context()
            );
        }
    }

    // What changes tables.

    fn tidy(&mut self) {
        let id = self.some_table().map(|table| id(self.number(table)));
        match self.draw(2) {
            0 => drop(self.world.env.run(self.world.engine.flush(id))),
            _ => drop(self.world.env.run(self.world.engine.compact(id))),
        }
    }

    /// A failed log can still be read from, and nothing else is expected of it.
    fn may_fail(&self) -> bool {
        self.world.disk.is_down() || self.log_failed
    }

    fn unlock(&mut self, table: u8) {
        if !self.oracles[usize::from(table)].exists {
            return;
        }
        let mut unlocked = self.world.unlock(self.number(table));
        while let Err(Error::Busy { .. }) = unlocked {
            // A switch that nobody waits for any more has come between: its root needs another key.
            unlocked = self.world.unlock(self.number(table));
        }
        if let Err(error) = unlocked {
            assert!(self.world.disk.is_down(), "{}: {error}", self.context());
        }
    }

    fn reopen_one_table(&mut self) {
        if let Some(table) = self.some_table() {
            let round = self.lock_and_unlock(table);
            self.world.env.run(round);
            self.unlock(table);
        }
    }

    fn switch(&mut self) {
        if let Some(table) = self.some_table() {
            // An error: the old root stands, or the disk is down and the next start says which.
            let _ = self.world.switch(self.number(table));
        }
    }

    fn truncate(&mut self) {
        let Some(table) = self.some_table() else {
            return;
        };
        let id = id(self.number(table));
        let truncated = self.world.env.run(self.world.engine.truncate(id));
        let oracle = &mut self.oracles[usize::from(table)];
        match truncated {
            Ok(()) => oracle.known.clear(),
            Err(_) => oracle.may_be_empty = true,
        }
    }

    fn create(&mut self, table: u8) {
        let number = self.number(table);
        let root = root(number, 1, &[], 1, self.world.env.entropy());
        let new = NewTable {
            id: id(number),
            options: table_options(),
            keys: keys_of(&root),
            root: Some(root),
        };
        let created = self.world.env.run(self.world.engine.create_table(new));
        let oracle = &mut self.oracles[usize::from(table)];
        *oracle = Oracle {
            generation: oracle.generation,
            exists: created.is_ok(),
            ..Oracle::default()
        };
        if created.is_err() {
            self.unfinished.push(number);
            // A number that was used once may have left a root behind.
            oracle.generation += 1;
        }
    }

    fn drop_or_create(&mut self) {
        let table = self.draw(TABLES.into()) as u8;
        if !self.oracles[usize::from(table)].exists {
            return self.create(table);
        }
        let number = self.number(table);
        let dropped = self.world.env.run(self.world.engine.drop_table(id(number)));
        let again = self.draw(2) as u8;
        let oracle = &mut self.oracles[usize::from(table)];
        oracle.exists = false;
        match dropped {
            // The same id may be used again at once.
            Ok(()) => oracle.generation += again,
            Err(_) => {
                self.unfinished.push(number);
                oracle.generation += 1;
            }
        }
        for given in &mut self.unknown {
            given.versions.retain(|(of, _, _)| *of != table);
        }
    }

    // How a life ends.

    fn fill_the_disk(&mut self) {
        self.world.disk.set_room(Some(self.draw(200 << 10)));
        for _ in 0..10 {
            self.write_some();
            if self.may_fail() {
                break;
            }
        }
        if !self.may_fail() {
            self.tidy();
            self.switch();
        }
        self.world.disk.set_room(None);
        self.world.env.advance(Duration::from_secs(3));
    }

    fn stop(&mut self) {
        let stopped = self.world.stop();
        if stopped.is_ok() {
            assert!(self.unknown.is_empty(), "{}", self.context());
        }
        self.next_life(Crash::Kill);
    }

    fn crash(&mut self) {
        let crash = match self.draw(3) {
            _ if self.world.options.log_sync != LogSync::Group => Crash::Kill,
            0 => Crash::Kill,
            _ => Crash::PowerLoss {
                seed: self.draw(u64::MAX),
            },
        };
        self.next_life(crash);
    }

    fn next_life(&mut self, crash: Crash) {
        self.world.env.drop_tasks();
        self.world.disk.crash(crash);
        self.world.disk.set_room(None);
        self.lives += 1;
        self.log_failed = false;
        let report = inspect(&self.world.disk, &self.world.env)
            .unwrap_or_else(|error| panic!("{}: {error}", self.context()));
        let is_expected = |damage: &String| {
            let mut dropped = self.unfinished.iter();
            dropped.any(|number| damage.contains(&id(*number).to_string()))
        };
        assert!(
            report.damage.iter().all(is_expected),
            "{}: a crash looks like damage: {:?}",
            self.context(),
            report.damage
        );
        self.world.reopen(Crash::Kill);
        for number in std::mem::take(&mut self.unfinished) {
            if self.world.engine.has_table(id(number)) {
                let dropped = self.world.engine.drop_table(id(number));
                self.world.env.run(dropped).unwrap();
            }
        }
        for table in 0..TABLES {
            if self.oracles[usize::from(table)].exists {
                let id = id(self.number(table));
                self.world.engine.set_options(id, table_options()).unwrap();
                self.unlock(table);
            }
        }
        self.read_all();
        self.unknown.clear();
        for oracle in &mut self.oracles {
            oracle.may_be_empty = false;
        }
    }
}

#[test]
fn what_was_acknowledged_survives_every_crash() {
    let number = |variable: &str, default: u64| {
        std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
    };
    let first = number("PALLADIUM_SEED", 1);
    for seed in first..first + number("PALLADIUM_WORLDS", 30) {
        let mut story = Story::new(seed);
        for _ in 0..STEPS {
            story.step();
        }
        story.crash();
    }
}
