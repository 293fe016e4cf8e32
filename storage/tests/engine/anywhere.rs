//! Where writes lie, in memory and in any number of SSTables, does not show in what any read says: random writes of every kind, flushed and merged at random
//! moments, and random reads, each against a list of all writes that is asked the slow, obvious way.
//!
//! A world is of one of two times. Before anything expires, timestamps meet and come late. Long after, what has expired and every tombstone is purged by the first
//! merge that may, and timestamps only grow, since what comes late behind a purged tombstone is seen in any database of this kind.
//!
//! `PALLADIUM_SEED` and `PALLADIUM_WORLDS` as for the other worlds.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use palladium_storage::{
    Cell, CellState, Clustering, ColumnId, Columns, Crash, Deletion, Env, Error, KeyRange, Limits,
    Liveness, Mutation, NewTable, Options, PartitionBound, PartitionKey, PartitionUpdate,
    RangeTombstone, ReadCommand, ReadPage, Row, Slices, Store, TableOptions, Write,
};

use crate::world::{World, everything, id, keys_of, partition, root, small};

/// Simple columns, then those with paths; column 7 has been dropped.
const SIMPLE: [u32; 3] = [1, 2, 40];
const COMPLEX: [u32; 2] = [4, 300];
const DROPPED: u32 = 7;
const PARTITIONS: u64 = 3;
/// The second, by the engine's clock, in which its life begins.
const BOOT: i64 = 1_767_225_600;
/// The second in which reads are made, and the first worlds' engines are not yet.
const NOW: i64 = BOOT + 1_000_000;

type Shown = (Option<Liveness>, BTreeMap<(u32, Bytes), Cell>);
type Answer = Vec<(PartitionKey, Option<Shown>, Vec<(Clustering, Shown)>)>;

/// A world, all that was written into it, and what it is like.
struct Story {
    world: World,
    written: Vec<(PartitionKey, PartitionUpdate)>,
    /// Long after: see above.
    is_late: bool,
    /// Positions end with any byte, as an index's entries do.
    is_any_byte: bool,
    /// Components of a position: how many values of the first and of the second.
    width: (u64, u64),
    has_large_values: bool,
    timestamp: i64,
    is_damaged: bool,
    /// Until the next flush there are rows alone, and those between two values of the first component.
    only_rows: Option<(u64, u64)>,
}

impl Story {
    fn new(seed: u64) -> Story {
        let options = Options {
            cache_bytes: [0, 64 << 10, 1 << 20][(seed % 3) as usize],
            memtable_flush_bytes: 8 << 20,
            memtable_bytes_max: 64 << 20,
            log_bytes_max: 64 << 20,
            ..small()
        };
        let world = World::new(seed, options);
        let is_late = world.draw(3) == 0;
        let mut table = TableOptions {
            block_bytes: [256, 1024, 4096][world.draw(3) as usize],
            ..TableOptions::default()
        };
        table.compaction.enabled = world.draw(3) == 0;
        if is_late {
            table.gc_grace_seconds = 0;
            let ahead = Duration::from_secs((NOW - BOOT) as u64);
            world.env.jump(ahead);
        }
        let root = root(0, 1, &[], 1, world.env.entropy());
        let new = NewTable {
            id: id(0),
            options: table,
            keys: keys_of(&root),
            root: Some(root),
        };
        world.env.run(world.engine.create_table(new)).unwrap();
        let width = match world.draw(3) {
            0 => (5, 4),
            1 => (12, 6),
            _ => (60, 5),
        };
        Story {
            is_late,
            is_any_byte: world.draw(3) == 0,
            width,
            has_large_values: world.draw(4) == 0,
            timestamp: 10,
            is_damaged: false,
            only_rows: None,
            written: Vec::new(),
            world,
        }
    }

    fn draw(&self, below: u64) -> u64 {
        self.world.draw(below)
    }

    fn one_in(&self, many: u64) -> bool {
        self.draw(many) == 0
    }

    fn key(&self) -> PartitionKey {
        partition(self.draw(PARTITIONS))
    }

    fn position(&self) -> Clustering {
        let (from, to) = self.only_rows.unwrap_or((0, self.width.0));
        let mut bytes = vec![1 + (from + self.draw((to - from).max(1))) as u8];
        if !self.one_in(3) {
            bytes.push(1 + self.draw(self.width.1) as u8);
        }
        bytes.push(match self.is_any_byte {
            true => [0x00, 0x01, 0x80, 0xFE, 0xFF][self.draw(5) as usize],
            false => 0x80,
        });
        Clustering(bytes.into())
    }

    /// Around rows, prefixes or everything.
    fn bound(&self) -> Clustering {
        match self.draw(12) {
            0 => return Clustering::MIN,
            1 => return Clustering::max(),
            _ => {}
        }
        let mut bytes = vec![1 + self.draw(self.width.0) as u8];
        if !self.one_in(3) {
            bytes.push(1 + self.draw(self.width.1) as u8);
        }
        bytes.push(match self.is_any_byte {
            // Between any two rows: those have three bytes at most.
            true => return Clustering([&bytes[..], &[self.draw(256) as u8, 7]].concat().into()),
            false => [0x00, 0xFF][self.draw(2) as usize],
        });
        Clustering(bytes.into())
    }

    fn timestamp(&self) -> i64 {
        match self.is_late {
            true => self.timestamp,
            false => 1 + self.draw(8) as i64,
        }
    }

    fn expires_at(&self) -> i64 {
        match self.is_late {
            true => [NOW - 1_000, NOW + 1_000_000][self.draw(2) as usize],
            false => NOW - 2 + self.draw(5) as i64,
        }
    }

    fn deletion(&self) -> Deletion {
        Deletion {
            timestamp: self.timestamp(),
            local_deletion_time: match self.is_late {
                true => NOW - 1_000,
                false => NOW - 3 + self.draw(3) as i64,
            },
        }
    }

    fn liveness(&self) -> Liveness {
        match self.one_in(3) {
            true => {
                let ttl = 1 + self.draw(2) as u32;
                Liveness::expiring(self.timestamp(), ttl, self.expires_at())
            }
            false => Liveness::new(self.timestamp()),
        }
    }

    fn state(&self, may_delete: bool) -> CellState {
        let length = match self.has_large_values && self.one_in(3) {
            true => self.draw(900),
            false => self.draw(3),
        };
        let value = Bytes::from(vec![self.draw(3) as u8; length as usize]);
        match self.draw(if may_delete { 7 } else { 5 }) {
            0..3 => CellState::Live(value),
            3..5 => CellState::Expiring {
                value,
                ttl: 1 + self.draw(2) as u32,
                expires_at: self.expires_at(),
            },
            _ => CellState::Tombstone {
                local_deletion_time: self.deletion().local_deletion_time,
            },
        }
    }

    fn row(&self, clustering: Clustering) -> Row {
        let may_delete = self.only_rows.is_none();
        let mut row = Row::new(clustering);
        row.liveness = (!self.one_in(3)).then(|| self.liveness());
        if may_delete && self.one_in(6) {
            row.deletion = Some(self.deletion());
        }
        if may_delete && self.one_in(6) {
            let column = COMPLEX[self.draw(2) as usize];
            row.complex_deletions
                .push((ColumnId(column), self.deletion()));
        }
        for _ in 0..self.draw(5) {
            let (column, path) = match self.draw(9) {
                0 => (DROPPED, Bytes::new()),
                number @ 1..6 => (SIMPLE[number as usize % 3], Bytes::new()),
                number => {
                    let path = Bytes::from(vec![1 + self.draw(3) as u8]);
                    (COMPLEX[number as usize % 2], path)
                }
            };
            row.cells.push(Cell {
                column: ColumnId(column),
                path,
                timestamp: self.timestamp(),
                state: self.state(may_delete),
            });
        }
        row.sort();
        row
    }

    fn update(&self) -> PartitionUpdate {
        let is_bare = self.only_rows.is_some();
        let mut update = PartitionUpdate {
            deletion: (!is_bare && self.one_in(15)).then(|| self.deletion()),
            static_row: (!is_bare && self.one_in(6)).then(|| self.row(Clustering::MIN)),
            ..PartitionUpdate::default()
        };
        // It is no row by itself: no statement gives it a liveness.
        update
            .static_row
            .iter_mut()
            .for_each(|row| row.liveness = None);
        update.static_row = update.static_row.filter(|row| !row.is_empty());
        for _ in 0..self.draw(6) {
            let row = self.row(self.position());
            if !row.is_empty() {
                update.add_row(row);
            }
        }
        if !is_bare && self.one_in(4) {
            let (a, b) = (self.bound(), self.bound());
            if a != b {
                update.range_tombstones.push(RangeTombstone {
                    start: a.clone().min(b.clone()),
                    end: a.max(b),
                    deletion: self.deletion(),
                });
            }
        }
        update
    }

    fn write(&mut self) {
        let mut mutations = Vec::new();
        for _ in 0..1 + self.draw(3) {
            self.timestamp += 1;
            let (key, update) = (self.key(), self.update());
            if update == PartitionUpdate::default() {
                continue;
            }
            self.written.push((key.clone(), update.clone()));
            mutations.push(mutation(key, update));
        }
        for mutation in mutations {
            let written = self.world.engine.write(vec![Write::new(vec![mutation])]);
            self.world.env.run(written).remove(0).unwrap();
        }
    }

    /// What comes next is of another kind.
    fn choose(&mut self) {
        let from = self.draw(self.width.0);
        let to = from + 1 + self.draw(self.width.0 - from);
        self.only_rows = (!self.one_in(3)).then_some((from, to));
    }

    fn tidy(&mut self) {
        match self.draw(12) {
            0..7 => self.world.flush(0).unwrap(),
            7 => self
                .world
                .env
                .run(self.world.engine.compact(Some(id(0))))
                .unwrap(),
            8 => {
                self.world.reopen(Crash::Kill);
                self.world.unlock(0).unwrap();
            }
            _ => {}
        }
        self.choose();
    }

    fn slices(&self) -> Slices {
        let around = |position: &Clustering| {
            let start = Clustering(position.0.slice(..position.0.len() - 1));
            let start = match self.is_any_byte {
                // As close to it as can be.
                true => match position.0.last() {
                    Some(0) => start,
                    Some(last) => {
                        Clustering([&start.0[..], &[last - 1, 0xFF, 0xFF]].concat().into())
                    }
                    None => start,
                },
                false => Clustering([&start.0[..], &[0x00]].concat().into()),
            };
            let end = match self.is_any_byte {
                true => Clustering([&position.0[..], &[0x00]].concat().into()),
                false => {
                    let (_, prefix) = position.0.split_last().unwrap();
                    Clustering([prefix, &[0xFF]].concat().into())
                }
            };
            (start, end)
        };
        match self.draw(6) {
            0 | 1 => Slices::all(),
            2 => {
                let count = 1 + self.draw(5);
                Slices::new((0..count).map(|_| around(&self.position())).collect())
            }
            3 if self.is_any_byte || self.one_in(2) => {
                let position = self.position();
                let (start, end) = around(&position);
                // With its kind of end a position of two components is inside of nothing else.
                match self.is_any_byte || position.0.len() == 3 {
                    true => Slices::row(start, position, end),
                    false => Slices::one(start, end),
                }
            }
            _ => {
                let count = 1 + self.draw(3);
                Slices::new((0..count).map(|_| (self.bound(), self.bound())).collect())
            }
        }
    }

    fn command(&self) -> ReadCommand {
        let mut regular: Vec<ColumnId> = SIMPLE
            .iter()
            .chain(&COMPLEX)
            .map(|id| ColumnId(*id))
            .collect();
        regular.sort();
        let statics = match self.one_in(2) {
            true => Vec::new(),
            false => regular.clone(),
        };
        let bound = || match self.draw(4) {
            0 => PartitionBound::MIN,
            1 => PartitionBound::MAX,
            2 => PartitionBound::Before(self.key()),
            _ => PartitionBound::After(self.key()),
        };
        let range = match self.draw(4) {
            0 => KeyRange::all(),
            1 => KeyRange::Range {
                start: bound(),
                end: bound(),
            },
            _ => KeyRange::One(self.key()),
        };
        ReadCommand {
            range,
            slices: self.slices(),
            reversed: self.one_in(2),
            columns: Arc::new(Columns { regular, statics }),
            limits: Limits {
                per_partition: match self.one_in(3) {
                    true => 1 + self.draw(4) as u32,
                    false => u32::MAX,
                },
                rows: match self.draw(4) {
                    0 => u32::MAX,
                    1 => 1,
                    2 => 1 + self.draw(4) as u32,
                    _ => 1 + self.draw(40) as u32,
                },
                bytes: match self.one_in(6) {
                    true => self.draw(600) as usize,
                    false => usize::MAX,
                },
                ..Limits::NONE
            },
            now: NOW,
            ..everything(0)
        }
    }

    /// One page; perhaps while others flush, merge, or take the key away. None: the key was faster, or what is damaged is in the way.
    fn page(&self, command: &ReadCommand) -> Option<ReadPage> {
        let (engine, env) = (&self.world.engine, &self.world.env);
        if self.one_in(3)
            && let Some(page) = engine.try_read(command)
        {
            return self.told(page, false);
        }
        let read = engine.read(command.clone());
        let table = Some(id(0));
        match self.draw(if self.is_damaged { 100 } else { 24 }) {
            0 | 1 => {
                let (page, flushed) = env.run(async { futures::join!(read, engine.flush(table)) });
                flushed.unwrap();
                self.told(page, false)
            }
            2 => {
                let merge = engine.compact(table);
                let (merged, page) = env.run(async { futures::join!(merge, read) });
                assert!(merged.is_ok() || self.is_damaged, "{merged:?}");
                self.told(page, false)
            }
            3 => {
                let (page, ()) = env.run(async { futures::join!(read, engine.lock(id(0))) });
                self.world.unlock(0).unwrap();
                self.told(page, true)
            }
            _ => self.told(env.run(read), false),
        }
    }

    fn told(&self, page: Result<ReadPage, Error>, is_locked: bool) -> Option<ReadPage> {
        match page {
            Ok(page) => Some(page),
            Err(Error::KeyUnavailable { .. }) if is_locked => None,
            Err(Error::Corrupt { .. }) if self.is_damaged => None,
            Err(error) => panic!("{error}"),
        }
    }

    fn check(&self) {
        let mut command = self.command();
        let whole = oracle(&self.written, &command);
        let is_point = command.point().is_some();
        let mut pages = Vec::new();
        loop {
            let Some(page) = self.page(&command) else {
                return;
            };
            let rows = page.partitions.iter().map(|one| one.rows.len().max(1));
            assert!(rows.sum::<usize>() <= command.limits.rows as usize);
            command.resume = page.next.clone();
            pages.push(page);
            if command.resume.is_none() {
                break;
            }
            assert!(pages.len() < 10_000, "pages that never end");
        }
        let mut found = answer_of(pages);
        let mut expected = whole;
        if is_point {
            forget_what_a_point_need_not_know(&mut expected, &mut found);
        }
        assert!(
            found == expected,
            "{command:?}\nfound    {}\nexpected {}",
            spelled(&found),
            spelled(&expected)
        );
        // What is no newer than a deletion that was purged may be seen.
        if let (KeyRange::One(key), true, false) = (&command.range, self.one_in(8), self.is_late) {
            self.check_as_if(&command, key.clone());
        }
    }

    /// Rows are written while others are read: each is read as it was before or as it is after, and none that is not written is missing or another.
    fn check_beside_a_write(&mut self) {
        let command = ReadCommand {
            limits: Limits::NONE,
            ..self.command()
        };
        let before = oracle(&self.written, &command);
        let deletes = self.only_rows.replace((0, self.width.0));
        self.timestamp += 1;
        let mut writes = Vec::new();
        for _ in 0..1 + self.draw(4) {
            let (key, update) = (self.key(), self.update());
            if update != PartitionUpdate::default() {
                self.written.push((key.clone(), update.clone()));
                writes.push(Write::new(vec![mutation(key, update)]));
            }
        }
        self.only_rows = deletes;
        let after = oracle(&self.written, &command);
        let engine = &self.world.engine;
        let read = engine.read(command.clone());
        let both = async { futures::join!(read, engine.write(writes)) };
        let (page, written) = self.world.env.run(both);
        written.into_iter().for_each(|result| result.unwrap());
        let found = answer_of(vec![page.unwrap()]);
        if command.point().is_some() {
            return;
        }
        let [before, after, found] = [&before, &after, &found].map(by_place);
        let places = before.keys().chain(after.keys()).chain(found.keys());
        for place in places {
            let shown = found.get(place);
            assert!(
                shown == before.get(place) || shown == after.get(place),
                "{command:?}: {place:?} is {shown:?}, was {:?} and shall be {:?}",
                before.get(place),
                after.get(place)
            );
        }
    }

    /// What is written into what was read, and is newer than all that was shown or hidden, is seen.
    fn check_newest(&self) {
        let command = ReadCommand {
            range: KeyRange::One(self.key()),
            limits: Limits::NONE,
            ..self.command()
        };
        let KeyRange::One(key) = &command.range else {
            return;
        };
        let position = self.position();
        if !command.slices.contains(&position.0) {
            return;
        }
        let page = self.world.env.run(self.world.engine.read(command.clone()));
        let Some(page) = self.told(page, false) else {
            return;
        };
        let rows = page.partitions.iter().flat_map(|one| {
            let static_row = one.static_row.as_deref();
            static_row.into_iter().chain(&one.rows)
        });
        let timestamps = rows.flat_map(|row| {
            let cells = row.cells.iter().map(|cell| cell.timestamp);
            cells.chain(row.liveness.map(|own| own.timestamp))
        });
        let newest = timestamps.fold(page.hidden.newest, i64::max);
        let timestamp = newest.saturating_add(1);
        let complete = |clustering: &Clustering| {
            let mut row = Row::new(clustering.clone());
            let simple = SIMPLE.iter().map(|column| (*column, Bytes::new()));
            let paths = (1..4).flat_map(|path| COMPLEX.map(|column| (column, vec![path].into())));
            for (column, path) in simple.chain(paths) {
                row.cells.push(Cell {
                    column: ColumnId(column),
                    path,
                    timestamp,
                    state: CellState::Live(Bytes::new()),
                });
            }
            row.sort();
            row
        };
        let row = complete(&position);
        let count = row.cells.len();
        let mut update = PartitionUpdate::of_row(row);
        update.static_row = Some(complete(&Clustering::MIN));
        let mut written = self.written.clone();
        written.push((key.clone(), update));
        let seen = oracle(&written, &command);
        let is_seen = |(_, cells): &Shown| {
            let newer = cells.values().filter(|cell| cell.timestamp == timestamp);
            newer.count() == count
        };
        let mut rows = seen.iter().flat_map(|(_, _, rows)| rows);
        let is_row_seen = rows.any(|(own, shown)| *own == position && is_seen(shown));
        let mut statics = seen.iter().flat_map(|(_, static_row, _)| static_row);
        let are_statics_seen = command.columns.statics.is_empty() || statics.any(is_seen);
        assert!(
            is_row_seen && are_statics_seen,
            "{command:?}: what is newer than {newest} is not seen at {:?}",
            position.0
        );
    }

    /// As if one more update had been written.
    fn check_as_if(&self, command: &ReadCommand, key: PartitionKey) {
        let update = self.update();
        let mut written = self.written.clone();
        written.push((key, update.clone()));
        let command = ReadCommand {
            resume: None,
            limits: Limits {
                per_partition: command.limits.per_partition,
                ..Limits::NONE
            },
            ..command.clone()
        };
        let read = self.world.engine.read_as_if(command.clone(), &update);
        let Some(page) = self.told(self.world.env.run(read), false) else {
            return;
        };
        let found = answer_of(vec![page]);
        let expected = oracle(&written, &command);
        assert!(
            found == expected,
            "as if: {command:?}\nfound    {}\nexpected {}",
            spelled(&found),
            spelled(&expected)
        );
    }

    fn tell(seed: u64) {
        let mut story = Story::new(seed);
        for _ in 0..10 + story.draw(40) {
            for _ in 0..story.draw(12) {
                story.write();
            }
            story.tidy();
            for _ in 0..4 {
                story.check();
            }
            story.check_beside_a_write();
            // Nobody knows any more of what was purged.
            let is_all_known = !story.is_late;
            for _ in 0..if is_all_known { 12 } else { 0 } {
                story.check_newest();
            }
        }
        story.damage();
        for _ in 0..20 {
            story.check();
        }
    }

    /// A byte of some file of rows is not what it was: what is read is right, or an error.
    fn damage(&mut self) {
        self.world.flush(0).unwrap();
        self.is_damaged = true;
        let blobs = self.world.paths("blobs/");
        if self.one_in(2) {
            self.world.reopen(Crash::Kill);
            self.world.unlock(0).unwrap();
        }
        for _ in 0..1 + self.draw(3) {
            let Some(path) = blobs.get(self.draw(blobs.len() as u64) as usize) else {
                return;
            };
            let Some(mut bytes) = self.world.disk.contents(path) else {
                continue;
            };
            let at = self.draw(bytes.len() as u64) as usize;
            bytes[at] ^= 1;
            self.world.disk.replace(path, Some(bytes));
        }
        if self.one_in(3) {
            self.world.reopen(Crash::Kill);
            self.world.unlock(0).unwrap();
        }
    }
}

fn mutation(key: PartitionKey, update: PartitionUpdate) -> Mutation {
    Mutation {
        table: id(0),
        store: Store::BASE,
        key,
        update,
    }
}

/// Static rows, which have no position, and rows.
fn by_place(answer: &Answer) -> BTreeMap<(&PartitionKey, Option<&Clustering>), &Shown> {
    let mut places = BTreeMap::new();
    for (key, static_row, rows) in answer {
        places.extend(static_row.iter().map(|shown| ((key, None), shown)));
        places.extend(
            rows.iter()
                .map(|(position, shown)| ((key, Some(position)), shown)),
        );
    }
    places
}

/// In the order of strength.
fn strength(cell: &Cell) -> (i64, u8, i64, Reverse<u32>, &[u8]) {
    match &cell.state {
        CellState::Live(value) => (cell.timestamp, 0, 0, Reverse(0), value),
        CellState::Expiring {
            value,
            ttl,
            expires_at,
        } => (cell.timestamp, 1, *expires_at, Reverse(*ttl), value),
        CellState::Tombstone {
            local_deletion_time,
        } => (cell.timestamp, 2, *local_deletion_time, Reverse(0), &[]),
    }
}

fn latest(deletions: impl Iterator<Item = Deletion>) -> i64 {
    deletions
        .map(|deletion| deletion.timestamp)
        .max()
        .unwrap_or(i64::MIN)
}

fn shown(rows: &[&Row], above: i64, columns: &[ColumnId]) -> Option<Shown> {
    let deleted = latest(rows.iter().filter_map(|row| row.deletion)).max(above);
    let livenesses = rows.iter().filter_map(|row| row.liveness);
    let liveness = livenesses
        .filter(|own| own.timestamp > deleted)
        .max_by_key(|own| {
            (
                own.timestamp,
                own.ttl != 0,
                own.expires_at,
                Reverse(own.ttl),
            )
        })
        .filter(|own| own.ttl == 0 || NOW < own.expires_at);
    let mut cells: BTreeMap<(u32, Bytes), Cell> = BTreeMap::new();
    for cell in rows.iter().flat_map(|row| &row.cells) {
        let complex = rows.iter().flat_map(|row| &row.complex_deletions);
        let of_column = complex.filter(|(column, _)| *column == cell.column);
        let complex = latest(of_column.map(|(_, deletion)| *deletion));
        let place = (cell.column.0, cell.path.clone());
        let is_weaker = |own: &Cell| strength(own) >= strength(cell);
        if cell.timestamp > deleted.max(complex) && !cells.get(&place).is_some_and(is_weaker) {
            cells.insert(place, cell.clone());
        }
    }
    cells.retain(|(column, _), cell| {
        columns.contains(&ColumnId(*column))
            && match &cell.state {
                CellState::Live(_) => true,
                CellState::Expiring { expires_at, .. } => NOW < *expires_at,
                CellState::Tombstone { .. } => false,
            }
    });
    (liveness.is_some() || !cells.is_empty()).then_some((liveness, cells))
}

fn oracle(written: &[(PartitionKey, PartitionUpdate)], command: &ReadCommand) -> Answer {
    let keys: BTreeSet<&PartitionKey> = written.iter().map(|(key, _)| key).collect();
    let mut answer = Answer::new();
    for key in keys {
        let is_wanted = match &command.range {
            KeyRange::One(own) => own == key,
            KeyRange::Range { start, end } => !start.is_after_key(key) && end.is_after_key(key),
        };
        if !is_wanted {
            continue;
        }
        let own = written.iter().filter(|(own, _)| own == key);
        let updates: Vec<&PartitionUpdate> = own.map(|(_, update)| update).collect();
        let above = latest(updates.iter().filter_map(|update| update.deletion));
        let statics: Vec<&Row> = updates
            .iter()
            .filter_map(|u| u.static_row.as_ref())
            .collect();
        let static_row = shown(&statics, above, &command.columns.statics);
        let mut at: BTreeMap<&Clustering, Vec<&Row>> = BTreeMap::new();
        for row in updates.iter().flat_map(|update| &update.rows) {
            at.entry(&row.clustering).or_default().push(row);
        }
        let is_inside = |position: &Clustering| {
            let mut slices = command.slices.as_slice().iter();
            slices.any(|(start, end)| start < position && position < end)
        };
        let mut rows = Vec::new();
        for (position, own) in at.into_iter().filter(|(position, _)| is_inside(position)) {
            let ranges = updates.iter().flat_map(|update| &update.range_tombstones);
            let over = ranges.filter(|range| range.start < *position && *position < range.end);
            let above = above.max(latest(over.map(|range| range.deletion)));
            let shown = shown(&own, above, &command.columns.regular);
            rows.extend(shown.map(|shown| (position.clone(), shown)));
        }
        if command.reversed {
            rows.reverse();
        }
        rows.truncate(command.limits.per_partition as usize);
        if static_row.is_some() || !rows.is_empty() {
            answer.push((key.clone(), static_row, rows));
        }
    }
    answer
}

/// Pages put together: a partition that goes on is one.
fn answer_of(pages: Vec<ReadPage>) -> Answer {
    let shown = |row: &Row| -> Shown {
        assert!(row.deletion.is_none() && row.complex_deletions.is_empty() && row.is_sorted());
        let cells = row.cells.iter();
        let cells = cells.map(|cell| ((cell.column.0, cell.path.clone()), cell.clone()));
        (row.liveness, cells.collect())
    };
    let mut answer = Answer::new();
    for one in pages.into_iter().flat_map(|page| page.partitions) {
        let rows = one
            .rows
            .iter()
            .map(|row| (row.clustering.clone(), shown(row)));
        let static_row = one.static_row.as_deref().map(shown);
        match answer.last_mut() {
            Some(last) if last.0 == one.key => {
                assert!(last.1 == static_row, "the static row comes with every page");
                last.2.extend(rows);
            }
            _ => answer.push((one.key.clone(), static_row, rows.collect())),
        }
    }
    answer
}

/// A row that is named is not looked for further once its cells show it: what it says of its liveness may be older than the truth.
fn forget_what_a_point_need_not_know(expected: &mut Answer, found: &mut Answer) {
    let rows = |answer: &mut Answer| -> Vec<Option<i64>> {
        let rows = answer.iter_mut().flat_map(|(_, _, rows)| rows);
        rows.map(|(_, (liveness, _))| liveness.take().map(|own| own.timestamp))
            .collect()
    };
    for (truth, told) in rows(expected).into_iter().zip(rows(found)) {
        assert!(
            told.is_none() || told <= truth,
            "a liveness that nobody wrote"
        );
    }
}

fn spelled(answer: &Answer) -> String {
    let mut text = String::new();
    for (key, statics, rows) in answer {
        text += &format!("\n  {:?} {statics:?}", key.bytes());
        for (position, shown) in rows {
            text += &format!("\n    {:?} {shown:?}", position.0);
        }
    }
    text
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn where_writes_lie_does_not_show_in_any_read() {
    let first = number("PALLADIUM_SEED", 1);
    let mut failed = Vec::new();
    for seed in first..first + number("PALLADIUM_WORLDS", 40) {
        if catch_unwind(AssertUnwindSafe(|| Story::tell(seed))).is_err() {
            println!("seed {seed} failed: PALLADIUM_SEED={seed} PALLADIUM_WORLDS=1 tells it again");
            failed.push(seed);
        }
    }
    assert!(failed.is_empty(), "seeds {failed:?} failed");
}
