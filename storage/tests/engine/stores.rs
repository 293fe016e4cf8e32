//! A table with derived stores: what is written to base and stores together is there together, under one key, and a store ends without its table.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use palladium_storage::{
    Companion, Crash, EncodedUpdate, Error, LogSync, Options, ReadCommand, Store, Write,
};

use crate::world::{
    Place, Rows, World, everything, id, inspect, is_locked, mutation, one, rows, small,
};

const INDEX: Store = Store(1);
const VIEW: Store = Store(2);

fn read(world: &World, store: Store) -> palladium_storage::Result<Rows> {
    let command = ReadCommand {
        store,
        ..everything(0)
    };
    world.env.run(world.engine.read(command)).map(rows)
}

/// One write to the base and to both stores; each store has its own value for the place.
fn put(world: &World, place: Place, value: u64) {
    let timestamp = world.engine.next_timestamp();
    let mut mutations = Vec::new();
    for (store, value) in [(Store::BASE, value), (INDEX, value + 1), (VIEW, value + 2)] {
        let mut mutation = mutation(0, place, value, timestamp);
        mutation.store = store;
        mutations.push(mutation);
    }
    let written = world
        .env
        .run(world.engine.write(vec![Write::new(mutations)]));
    assert!(written.iter().all(Result::is_ok));
}

/// A store that is no more answers nothing, rather than that it has no rows.
fn has_ended(result: &Result<Rows, Error>) -> bool {
    matches!(result, Err(Error::Busy { .. }))
}

fn fill(world: &World, first: u64) -> Rows {
    let mut base = Rows::new();
    for key in first..first + 20 {
        put(world, (key, key % 3), 100 * key);
        base.insert((key, key % 3), 100 * key);
    }
    base
}

fn shifted(rows: &Rows, by: u64) -> Rows {
    rows.iter()
        .map(|(place, value)| (*place, value + by))
        .collect()
}

fn check(world: &World, base: &Rows) {
    assert_eq!(read(world, Store::BASE).unwrap(), *base);
    assert_eq!(read(world, INDEX).unwrap(), shifted(base, 1));
    assert_eq!(read(world, VIEW).unwrap(), shifted(base, 2));
}

fn is_whole(world: &World) {
    world.stop().unwrap();
    world.env.drop_tasks();
    world.disk.crash(Crash::Kill);
    assert_eq!(inspect(&world.disk, &world.env).unwrap().damage, [""; 0]);
}

#[test]
fn stores_are_apart_in_memory_on_disk_and_after_a_restart() {
    let mut world = World::with_tables(1, small(), 1);
    let mut base = fill(&world, 0);
    check(&world, &base);
    world.flush(0).unwrap();
    check(&world, &base);
    base.extend(fill(&world, 10));
    check(&world, &base);
    world.reopen(Crash::PowerLoss { seed: 3 });
    world.unlock(0).unwrap();
    check(&world, &base);
    world.env.run(world.engine.compact(Some(id(0)))).unwrap();
    check(&world, &base);
    assert_eq!(
        world.paths("blobs/").len(),
        3 * 4,
        "one SSTable for each store"
    );
    is_whole(&world);
}

#[test]
fn a_store_that_ends_takes_nothing_with_it_and_never_comes_back() {
    let mut world = World::with_tables(2, small(), 1);
    let mut base = fill(&world, 0);
    world.flush(0).unwrap();
    base.extend(fill(&world, 20));
    world
        .env
        .run(world.engine.drop_store(id(0), INDEX))
        .unwrap();
    let gone = |world: &World, base: &Rows| {
        assert_eq!(read(world, Store::BASE).unwrap(), *base);
        assert!(has_ended(&read(world, INDEX)));
        assert_eq!(read(world, VIEW).unwrap(), shifted(base, 2));
    };
    gone(&world, &base);
    assert_eq!(world.paths("blobs/").len(), 2 * 4);
    // Whoever has not heard of it yet writes to it in vain.
    base.extend(fill(&world, 40));
    gone(&world, &base);
    // Its records are still in the log.
    world.reopen(Crash::Kill);
    world.unlock(0).unwrap();
    gone(&world, &base);
    world.flush(0).unwrap();
    world.stop().unwrap();
    world.reopen(Crash::Kill);
    world.unlock(0).unwrap();
    gone(&world, &base);
    let dropped = world.env.run(world.engine.dropped_stores(id(0)));
    assert_eq!(dropped.into_iter().collect::<Vec<_>>(), [INDEX]);
    is_whole(&world);
}

#[test]
fn a_store_of_a_locked_table_ends_too() {
    let world = World::with_tables(3, small(), 1);
    let base = fill(&world, 0);
    world.flush(0).unwrap();
    world.lock(0);
    assert!(is_locked(&read(&world, INDEX)));
    world
        .env
        .run(world.engine.drop_store(id(0), INDEX))
        .unwrap();
    assert_eq!(world.paths("blobs/").len(), 2 * 4);
    world.unlock(0).unwrap();
    assert!(has_ended(&read(&world, INDEX)));
    assert_eq!(read(&world, VIEW).unwrap(), shifted(&base, 2));
}

#[test]
fn a_truncation_empties_the_stores_with_the_base() {
    let mut world = World::with_tables(4, small(), 1);
    fill(&world, 0);
    world.flush(0).unwrap();
    fill(&world, 20);
    world.env.run(world.engine.truncate(id(0))).unwrap();
    check(&world, &Rows::new());
    let base = fill(&world, 5);
    world.reopen(Crash::Kill);
    world.unlock(0).unwrap();
    check(&world, &base);
}

#[test]
fn a_key_switch_and_a_rewrite_take_the_stores_along() {
    let mut world = World::with_tables(5, small(), 1);
    let base = fill(&world, 0);
    world.flush(0).unwrap();
    world.switch(0).unwrap();
    check(&world, &base);
    world.env.run(world.engine.rewrite(id(0))).unwrap();
    world.env.advance(std::time::Duration::from_secs(5));
    assert_eq!(
        world.env.run(world.engine.key_versions_in_use(id(0))),
        [2].into()
    );
    world.reopen(Crash::Kill);
    world.unlock(0).unwrap();
    check(&world, &base);
}

#[test]
fn a_read_as_if_sees_what_is_not_written_and_writes_nothing() {
    let world = World::with_tables(6, small(), 1);
    put(&world, (1, 1), 10);
    world.flush(0).unwrap();
    put(&world, (1, 2), 20);
    let timestamp = world.engine.next_timestamp();
    let update = mutation(0, (1, 1), 11, timestamp).update;
    let as_if = world.engine.read_as_if(one(0, 1), &update);
    let found = rows(world.env.run(as_if).unwrap());
    assert_eq!(found, Rows::from([((1, 1), 11), ((1, 2), 20)]));
    let before = Rows::from([((1, 1), 10), ((1, 2), 20)]);
    assert_eq!(read(&world, Store::BASE).unwrap(), before);
    // What is older than what is there changes nothing.
    let old = mutation(0, (1, 1), 9, 1).update;
    let as_if = world.engine.read_as_if(one(0, 1), &old);
    assert_eq!(rows(world.env.run(as_if).unwrap()), before);
    world.lock(0);
    let as_if = world.engine.read_as_if(one(0, 1), &update);
    assert!(is_locked(&world.env.run(as_if)));
}

/// Rows of the index, by partition and row, that whoever is asked calls stale.
type Stale = Arc<Mutex<BTreeSet<Place>>>;

/// Answers for the index from what the test says.
fn who_knows(world: &World) -> Stale {
    let stale = Stale::default();
    let known = stale.clone();
    world.engine.leave_out_stale(Arc::new(move |table, store| {
        assert_eq!((table, store != Store::BASE), (id(0), true));
        let known = known.clone();
        let answer: palladium_storage::compaction::StaleRows = Arc::new(move |key, rows| {
            let key = u64::from_be_bytes(key.bytes()[..].try_into().unwrap());
            let known = known.lock().unwrap();
            let is_stale =
                |row: &palladium_storage::Clustering| known.contains(&(key, u64::from(row.0[1])));
            let answer = rows.iter().map(is_stale).collect();
            Box::pin(async move { answer })
        });
        (store == INDEX).then_some(answer)
    }));
    stale
}

#[test]
fn a_merge_leaves_out_what_is_stale_and_what_is_written_later_stays() {
    let mut world = World::with_tables(7, small(), 1);
    let stale = who_knows(&world);
    let base = fill(&world, 0);
    world.flush(0).unwrap();
    let gone = [(3, 0), (4, 1), (19, 1)];
    stale.lock().unwrap().extend(gone);
    world.env.run(world.engine.compact(Some(id(0)))).unwrap();
    // Forgotten, not deleted: what comes with an older timestamp is there.
    let mut again = mutation(0, (4, 1), 401, 1);
    again.store = INDEX;
    let write = Write::new(vec![again]);
    let written = world.env.run(world.engine.write(vec![write]));
    assert!(written.iter().all(Result::is_ok));
    let mut expected = shifted(&base, 1);
    expected.remove(&(3, 0));
    expected.remove(&(19, 1));
    for _ in 0..2 {
        assert_eq!(read(&world, INDEX).unwrap(), expected);
        assert_eq!(read(&world, Store::BASE).unwrap(), base);
        assert_eq!(read(&world, VIEW).unwrap(), shifted(&base, 2));
        world.reopen(Crash::Kill);
        world.unlock(0).unwrap();
    }
    is_whole(&world);
}

/// What a row's newer value made stale must not be gone when that value is.
#[test]
fn what_makes_a_row_stale_is_durable_before_it_is_forgotten() {
    let options = Options {
        log_sync: LogSync::Periodic {
            every: Duration::from_secs(10),
        },
        ..small()
    };
    for seed in 1..20 {
        let mut world = World::with_tables(seed, options.clone(), 1);
        let stale = who_knows(&world);
        put(&world, (1, 1), 10);
        world.flush(0).unwrap();
        world.put(0, (1, 1), 20);
        stale.lock().unwrap().insert((1, 1));
        world.env.run(world.engine.compact(Some(id(0)))).unwrap();
        world.reopen(Crash::PowerLoss { seed });
        world.unlock(0).unwrap();
        let base = read(&world, Store::BASE).unwrap();
        let index = read(&world, INDEX).unwrap();
        assert!(
            base[&(1, 1)] == 20 || index.contains_key(&(1, 1)),
            "seed {seed}"
        );
    }
}

/// Counts what it is told of, and says when it is gone.
struct Told {
    rows: AtomicUsize,
    gone: Arc<AtomicBool>,
}

impl Told {
    fn attach(world: &World) -> (Result<bool, Error>, Arc<AtomicBool>) {
        let gone = Arc::new(AtomicBool::new(false));
        let told = Told {
            rows: AtomicUsize::new(0),
            gone: gone.clone(),
        };
        (world.engine.attach(id(0), INDEX, Arc::new(told)), gone)
    }
}

impl Companion for Told {
    fn applied(&self, update: EncodedUpdate<'_>) {
        let rows = update.marked_rows().expect("a whole update").len();
        self.rows.fetch_add(rows, Ordering::Relaxed);
    }
}

impl Drop for Told {
    fn drop(&mut self) {
        self.gone.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_companion_is_told_of_every_update_and_is_gone_with_lock_truncation_and_store() {
    let world = World::with_tables(5, small(), 1);
    let told = |world: &World| -> Option<usize> {
        let beside = world.engine.beside::<Told>(id(0), INDEX).unwrap();
        beside.map(|told| told.rows.load(Ordering::Relaxed))
    };
    fill(&world, 0);
    assert_eq!(told(&world), None);
    let (first, first_is_gone) = Told::attach(&world);
    assert!(first.unwrap());
    fill(&world, 0);
    assert_eq!(told(&world), Some(20), "of what came later");
    let (second, second_is_gone) = Told::attach(&world);
    assert!(!second.unwrap(), "there is one");
    assert!(second_is_gone.load(Ordering::Relaxed));
    world.flush(0).unwrap();
    assert_eq!(told(&world), Some(20));
    world.lock(0);
    assert!(first_is_gone.load(Ordering::Relaxed));
    let locked = world.engine.beside::<Told>(id(0), INDEX).map(|_| ());
    assert!(is_locked(&locked));
    assert!(is_locked(&Told::attach(&world).0));
    world.unlock(0).unwrap();
    assert_eq!(told(&world), None);
    let (_, gone) = Told::attach(&world);
    world.env.run(world.engine.truncate(id(0))).unwrap();
    assert!(gone.load(Ordering::Relaxed));
    let (_, gone) = Told::attach(&world);
    // Only by whoever means this one.
    let detach = |is_meant| {
        let detached = world.engine.detach(id(0), INDEX, |_: &Told| is_meant);
        detached.unwrap();
    };
    detach(false);
    assert_eq!(told(&world), Some(0));
    detach(true);
    assert!(gone.load(Ordering::Relaxed));
    let (_, gone) = Told::attach(&world);
    world
        .env
        .run(world.engine.drop_store(id(0), INDEX))
        .unwrap();
    assert!(gone.load(Ordering::Relaxed));
    assert!(Told::attach(&world).0.is_err(), "its store has ended");
}
