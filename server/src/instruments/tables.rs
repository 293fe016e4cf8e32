//! How long requests about each table took, and what its reads went past: `system_views.coordinator_*_latency`, `rows_per_read`, `tombstones_per_read`.
//!
//! A statement knows its table's place here from when it was understood; whoever adds to it goes there by two loads, without a lock or a hash. A table's
//! histograms are made with the first number in each, so that tables that nobody uses cost a pointer.
//!
//! What must hold: a place is given to one table at a time. When a table is dropped its place is free again; a request that was still under way may then be
//! counted for whoever gets it next, or not at all.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwapOption;
use palladium_crypto::TableId;
use palladium_storage::metrics::{Distribution, Histogram};

use super::operation::Operation;
use super::passed::Passed;

/// Places that are made together.
const CHUNK: usize = 256;
/// Chunks at most: 65,536 tables; what comes after has no figures of its own.
const CHUNKS: usize = 256;

/// The tables that have a place.
#[derive(Debug)]
pub struct Tables {
    chunks: [OnceLock<Box<[ArcSwapOption<TableTimes>]>>; CHUNKS],
    places: Mutex<Places>,
}

#[derive(Debug, Default)]
struct Places {
    of: HashMap<TableId, u32>,
    free: Vec<u32>,
    /// Places given out so far, whether free again or not.
    given: u32,
}

/// What is told apart of a table's requests, as Cassandra tells it apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub enum Kind {
    Read,
    Write,
    Scan,
}

/// The figures of one table.
#[derive(Debug)]
pub struct TableTimes {
    pub table: TableId,
    /// By [`Kind`], in nanoseconds.
    requests: [OnceLock<Box<Histogram>>; 3],
    /// Requests a second, as bits of a double, and how many there were when that was last brought up to date.
    rates: [(AtomicU64, AtomicU64); 3],
    /// Live rows of each read.
    rows: OnceLock<Box<Histogram>>,
    /// Tombstones of each read that passed any.
    tombstones: OnceLock<Box<Histogram>>,
}

impl Kind {
    /// What Cassandra counts an operation as; batches and schema are of no table.
    pub fn of(operation: Operation) -> Option<Kind> {
        match operation {
            Operation::Read | Operation::Index => Some(Kind::Read),
            Operation::Range => Some(Kind::Scan),
            Operation::Write | Operation::Counter | Operation::Cas => Some(Kind::Write),
            _ => None,
        }
    }
}

impl Default for Tables {
    fn default() -> Self {
        Tables {
            chunks: std::array::from_fn(|_| OnceLock::new()),
            places: Mutex::default(),
        }
    }
}

impl Tables {
    /// The place of a table, made with the first statement about it; 0 if there are too many.
    pub fn place(&self, table: TableId) -> u32 {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(place) = places.of.get(&table) {
            return *place;
        }
        let place = match places.free.pop() {
            Some(place) => place,
            None if places.given as usize >= CHUNK * CHUNKS => return 0,
            None => {
                places.given += 1;
                places.given
            }
        };
        places.of.insert(table, place);
        let (chunk, offset) = split(place);
        let chunk =
            self.chunks[chunk].get_or_init(|| (0..CHUNK).map(|_| Default::default()).collect());
        chunk[offset].store(Some(Arc::new(TableTimes::new(table))));
        place
    }

    /// A table was dropped.
    pub fn forget(&self, table: TableId) {
        let mut places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
        let Some(place) = places.of.remove(&table) else {
            return;
        };
        if let Some(of) = self.at(place) {
            of.store(None);
        }
        places.free.push(place);
    }

    fn at(&self, place: u32) -> Option<&ArcSwapOption<TableTimes>> {
        if place == 0 {
            return None;
        }
        let (chunk, offset) = split(place);
        self.chunks.get(chunk)?.get()?.get(offset)
    }

    /// So many requests about the table at this place were answered after so long.
    #[inline]
    pub(super) fn add(&self, place: u32, kind: Kind, nanos: u64, passed: Passed, times: u64) {
        let Some(table) = self.at(place).map(ArcSwapOption::load) else {
            return;
        };
        let Some(table) = &*table else { return };
        let add = |to: &OnceLock<Box<Histogram>>, number: u64| {
            to.get_or_init(Box::default).add_many(number, times);
        };
        add(&table.requests[kind as usize], nanos);
        if kind != Kind::Write {
            add(&table.rows, u64::from(passed.rows));
            if passed.tombstones > 0 {
                add(&table.tombstones, u64::from(passed.tombstones));
            }
        }
    }

    /// The table at a place.
    pub fn id(&self, place: u32) -> Option<TableId> {
        Some(self.at(place)?.load().as_ref()?.table)
    }

    /// The tables that have a place.
    pub fn all(&self) -> Vec<Arc<TableTimes>> {
        let given = {
            let places = self.places.lock().unwrap_or_else(PoisonError::into_inner);
            places.given
        };
        (1..=given)
            .filter_map(|place| self.at(place)?.load_full())
            .collect()
    }

    /// Brings rates up to date.
    pub(super) fn tick(&self, passed: Duration) {
        for table in self.all() {
            table.tick(passed);
        }
    }
}

fn split(place: u32) -> (usize, usize) {
    let index = place as usize - 1;
    (index / CHUNK, index % CHUNK)
}

impl TableTimes {
    fn new(table: TableId) -> Self {
        TableTimes {
            table,
            requests: Default::default(),
            rates: Default::default(),
            rows: OnceLock::new(),
            tombstones: OnceLock::new(),
        }
    }

    /// How long its requests of one kind took, in nanoseconds; None before the first one.
    pub fn requests(&self, kind: Kind) -> Option<Distribution> {
        self.requests[kind as usize]
            .get()
            .map(|of| of.distribution())
    }

    /// Its requests so far.
    pub fn count(&self) -> u64 {
        let requests = self.requests.iter().filter_map(OnceLock::get);
        requests.map(|of| of.count()).sum()
    }

    /// Requests of one kind in a second, over about five minutes.
    pub fn per_second(&self, kind: Kind) -> f64 {
        f64::from_bits(self.rates[kind as usize].0.load(Ordering::Relaxed))
    }

    /// Live rows that each of its reads found.
    pub fn rows(&self) -> Option<Distribution> {
        self.rows.get().map(|of| of.distribution())
    }

    /// Tombstones that each of its reads passed: those that passed none are counted by rows alone.
    pub fn tombstones(&self) -> Option<Distribution> {
        let reads = self.rows.get()?.count();
        let mut all = self
            .tombstones
            .get()
            .map_or_else(Distribution::default, |of| of.distribution());
        all.counts[0] += reads.saturating_sub(all.count());
        Some(all)
    }

    /// Over five minutes, with less weight for what is longer ago: as Cassandra has it in these tables.
    fn tick(&self, passed: Duration) {
        let seconds = passed.as_secs_f64();
        let weight = 1.0 - (-seconds / 300.0).exp();
        for (histogram, (rate, counted)) in self.requests.iter().zip(&self.rates) {
            let Some(histogram) = histogram.get() else {
                continue;
            };
            let now = histogram.count();
            let before = counted.swap(now, Ordering::Relaxed);
            let instant = now.saturating_sub(before) as f64 / seconds;
            let old = f64::from_bits(rate.load(Ordering::Relaxed));
            let new = match before {
                0 => instant,
                _ => old + weight * (instant - old),
            };
            rate.store(new.to_bits(), Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u8) -> TableId {
        TableId([number; 16])
    }

    #[test]
    fn a_table_keeps_its_place_and_a_dropped_one_gives_it_back() {
        let tables = Tables::default();
        let (one, other) = (tables.place(id(1)), tables.place(id(2)));
        assert_eq!((one, other, tables.place(id(1))), (1, 2, 1));
        tables.add(one, Kind::Read, 5, Passed::default(), 1);
        tables.forget(id(1));
        assert_eq!(tables.all().len(), 1);
        // Still under way when the table went.
        tables.add(one, Kind::Read, 5, Passed::default(), 1);
        assert_eq!(tables.place(id(3)), one);
        let counts: Vec<_> = tables.all().iter().map(|table| table.count()).collect();
        assert_eq!(counts, [0, 0]);
        tables.add(0, Kind::Read, 5, Passed::default(), 1);
        tables.add(77_777, Kind::Read, 5, Passed::default(), 1);
    }

    #[test]
    fn reads_that_pass_no_tombstone_count_as_such() {
        let tables = Tables::default();
        let place = tables.place(id(1));
        let passed = |rows, tombstones| Passed { rows, tombstones };
        tables.add(place, Kind::Read, 5, passed(1, 0), 98);
        tables.add(place, Kind::Scan, 5, passed(700, 40), 2);
        tables.add(place, Kind::Write, 5, passed(0, 0), 50);
        let table = &tables.all()[0];
        let rows = table.rows().expect("it was read");
        assert_eq!((rows.count(), rows.permille(500)), (100, 1));
        let tombstones = table.tombstones().expect("it was read");
        assert_eq!((tombstones.count(), tombstones.largest), (100, 40));
        assert_eq!(tombstones.permille(980), 0);
        assert_eq!(tombstones.permille(990), 40);
        assert_eq!(table.requests(Kind::Write).map(|of| of.count()), Some(50));
    }

    #[test]
    fn a_rate_comes_near_to_what_is_asked_each_second_and_falls_again() {
        let tables = Tables::default();
        let place = tables.place(id(1));
        let tick = Duration::from_secs(5);
        for _ in 0..100 {
            tables.add(place, Kind::Write, 5, Passed::default(), 500);
            tables.tick(tick);
        }
        let table = tables.all().remove(0);
        assert!((table.per_second(Kind::Write) - 100.0).abs() < 0.1);
        (0..120).for_each(|_| tables.tick(tick));
        assert!(table.per_second(Kind::Write) < 20.0);
        assert_eq!(table.per_second(Kind::Read), 0.0);
    }
}
