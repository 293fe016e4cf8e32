//! A table's key is taken away while it is read and written, and comes back.

use std::time::Duration;

use futures::future::join_all;
use palladium_storage::{Crash, Error, Lease, Reading};

use crate::world::{
    World, everything, id, is_locked, keys_of, keys_until, one, rows, single, small,
};

#[test]
fn a_locked_table_opens_nothing_and_comes_back_with_all_it_had() {
    for seed in 1..20 {
        let world = World::with_tables(seed, small(), 2);
        let mut expected = world.fill(0, 10, 20);
        world.flush(0).unwrap();
        for row in 0..20 {
            world.put(0, (3, row), row);
            expected.insert((3, row), row);
        }
        let neighbour = world.fill(1, 5, 5);
        // Requests that are under way when the lock comes: each is answered in full, or refused.
        let writes: Vec<_> = (0..50)
            .map(|value| (value, world.write(0, (50 + value, 0), value)))
            .collect();
        let ((), read, written) = world.env.run(async {
            let written = writes.into_iter().map(|(value, write)| {
                let ticket = world.engine.write(vec![write]);
                async move { (value, ticket.await.remove(0)) }
            });
            futures::join!(
                world.engine.lock(id(0)),
                world.engine.read(everything(0)),
                join_all(written)
            )
        });
        for (value, result) in written {
            match result {
                Ok(()) => drop(expected.insert((50 + value, 0), value)),
                refused => assert!(is_locked(&refused), "seed {seed}: {refused:?}"),
            }
        }
        if let Ok(page) = read {
            let found = rows(page);
            let is_known = |(place, value): (_, &u64)| expected.get(place) == Some(value);
            assert!(found.iter().all(is_known), "seed {seed}");
        }
        assert!(is_locked(&world.rows(0)));
        assert!(is_locked(&world.try_put(0, (0, 0), 1)));
        assert!(world.engine.try_read(&one(0, 3)).unwrap().is_err());
        assert!(!world.engine.lease_alive(id(0)));
        assert_eq!(world.rows(1).unwrap(), neighbour);
        world.put(1, (0, 0), neighbour[&(0, 0)]);
        world.unlock(0).unwrap();
        assert_eq!(world.rows(0).unwrap(), expected, "seed {seed}");
        assert_eq!(world.rows(1).unwrap(), neighbour, "seed {seed}");
    }
}

#[test]
fn a_lock_leaves_nothing_in_memtables_and_cache() {
    let world = World::with_tables(2, small(), 2);
    let expected = world.fill(0, 20, 20);
    world.flush(0).unwrap();
    world.fill(0, 2, 2);
    for key in 0..20 {
        world.env.run(world.engine.read(one(0, key))).unwrap();
    }
    let full = world.engine.memory();
    assert!(full.memtable_bytes > 0 && full.cache_bytes > 0);
    world.lock(0);
    let left = world.engine.memory();
    assert_eq!((left.memtable_bytes, left.cache_bytes), (0, 0));
    world.unlock(0).unwrap();
    assert_eq!(world.rows(0).unwrap().len(), expected.len());
    assert!(world.engine.memory().memtable_bytes > 0);
}

#[test]
fn a_lease_that_ends_closes_the_gate_by_itself_and_a_renewal_opens_it() {
    let world = World::with_tables(3, small(), 2);
    let expected = world.fill(0, 3, 3);
    let lease = Lease::starting_at(Reading::now(&*world.env), 300);
    world.engine.renew(id(0), lease);
    world.env.advance(Duration::from_secs(299));
    assert_eq!(world.rows(0).unwrap(), expected);
    world.env.advance(Duration::from_secs(1));
    assert!(is_locked(&world.rows(0)));
    assert!(is_locked(&world.try_put(0, (0, 0), 1)));
    assert!(world.rows(1).is_ok());
    let flushed = world.flush(0);
    assert!(is_locked(&flushed), "a flush uses the key too: {flushed:?}");
    let lease = Lease::starting_at(Reading::now(&*world.env), 300);
    let renewed = world
        .engine
        .unlock(id(0), keys_until(&world.root(0), lease));
    world.env.run(renewed).unwrap();
    assert_eq!(world.rows(0).unwrap(), expected);
    world.env.step_wall(301_000_000);
    assert!(
        is_locked(&world.rows(0)),
        "a machine restored from an image has another wall clock"
    );
}

#[test]
fn a_read_under_way_ends_with_its_lease() {
    let mut world = World::with_tables(4, small(), 1);
    let expected = world.fill(0, 40, 40);
    world.flush(0).unwrap();
    world.stop().unwrap();
    world.reopen(Crash::Kill);
    let env = world.env.clone();
    let place = *expected.keys().next().unwrap();
    for command in [single(0, place), everything(0)] {
        let lease = Lease::starting_at(Reading::now(&*world.env), 300);
        let keys = keys_until(&world.root(0), lease);
        world.env.run(world.engine.unlock(id(0), keys)).unwrap();
        let mut read = Box::pin(world.engine.read(command));
        // The first block is asked for while the lease lives, and then it is over.
        let mut polls = 0;
        let result = world.env.run(futures::future::poll_fn(|context| {
            if polls == 1 {
                env.step_wall(301_000_000);
            }
            polls += 1;
            read.as_mut().poll(context)
        }));
        drop(read);
        assert!(polls > 1, "the disk is waited for");
        assert!(is_locked(&result.map(rows)));
        world.lock(0);
    }
    world.unlock(0).unwrap();
    assert_eq!(world.rows(0).unwrap(), expected);
}

#[test]
fn a_locked_table_can_be_dropped_and_takes_its_root_along() {
    let mut world = World::with_tables(5, small(), 2);
    world.fill(0, 5, 5);
    world.flush(0).unwrap();
    let expected = world.fill(1, 5, 5);
    world.fill(0, 2, 2);
    world.lock(0);
    let old_root = world.root(0);
    world.env.run(world.engine.drop_table(id(0))).unwrap();
    let unlocked = world
        .env
        .run(world.engine.unlock(id(0), keys_of(&old_root)));
    assert!(matches!(unlocked, Err(Error::Invalid { .. })));
    assert_eq!(world.paths("roots/").len(), 1);
    assert_eq!(world.paths("blobs/").len(), 0);
    world.stop().unwrap();
    world.reopen(Crash::Kill);
    assert_eq!(world.engine.table_ids(), [id(1)]);
    world.unlock(1).unwrap();
    assert_eq!(world.rows(1).unwrap(), expected);
}

#[test]
fn a_table_that_sleeps_wakes_with_what_it_had() {
    let mut world = World::with_tables(6, small(), 1);
    let expected = world.fill(0, 4, 4);
    world.env.run(world.engine.sleep(id(0)));
    assert!(is_locked(&world.rows(0)));
    assert_eq!(
        world.engine.tables_with_log(),
        [],
        "it was written out before it fell asleep"
    );
    world.unlock(0).unwrap();
    assert_eq!(world.rows(0).unwrap(), expected);
    world.env.run(world.engine.sleep(id(0)));
    world.reopen(Crash::PowerLoss { seed: 6 });
    world.unlock(0).unwrap();
    assert_eq!(world.rows(0).unwrap(), expected);
}

#[test]
fn a_key_of_another_table_opens_nothing() {
    let world = World::with_tables(7, small(), 2);
    world.fill(0, 2, 2);
    world.lock(0);
    let foreign = keys_of(&world.root(1));
    let unlocked = world.env.run(world.engine.unlock(id(0), foreign));
    assert!(unlocked.is_err());
    assert!(is_locked(&world.rows(0)));
}

#[test]
fn a_lock_stops_a_merge_under_way_and_leaves_nothing_of_it() {
    let mut stopped = 0;
    for seed in 1..12 {
        let world = World::with_tables(seed, small(), 1);
        let mut expected = world.fill(0, 20, 40);
        world.flush(0).unwrap();
        expected.extend(world.fill(0, 10, 40));
        world.flush(0).unwrap();
        let before = world.paths("blobs/");
        let (merged, ()) = world.env.run(async {
            futures::join!(world.engine.compact(Some(id(0))), world.engine.lock(id(0)))
        });
        // Ok: the lock came before the merge had begun.
        assert!(
            merged.is_ok() || is_locked(&merged),
            "seed {seed}: {merged:?}"
        );
        stopped += u32::from(merged.is_err());
        assert_eq!(world.paths("blobs/"), before, "seed {seed}");
        world.unlock(0).unwrap();
        assert_eq!(world.rows(0).unwrap(), expected, "seed {seed}");
    }
    assert!(stopped > 0, "no merge was under way");
}
