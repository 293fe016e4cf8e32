//! A table goes under another key: no data moves, a crash leaves the old state or the new one, and the old KMS key is not needed any more.

use palladium_crypto::KeyVersion;
use palladium_storage::{Crash, Env, Error, TableOptions};

use crate::world::{Files, Rows, World, disk_of, files, id, is_locked, keys_of, root, small};

fn blobs(world: &World) -> Files {
    let mut files = files(&world.disk);
    files.retain(|path, _| path.starts_with("blobs/"));
    files
}

#[test]
fn a_switch_leaves_every_blob_as_it_is_and_the_table_open() {
    let mut world = World::with_tables(1, small(), 2);
    let mut expected = world.fill(0, 10, 10);
    world.flush(0).unwrap();
    world.put(0, (90, 0), 1);
    expected.insert((90, 0), 1);
    let before = blobs(&world);
    world.switch(0).unwrap();
    assert_eq!(blobs(&world), before);
    assert!(world.env.run(world.engine.is_settled(id(0))));
    assert_eq!(world.rows(0).unwrap(), expected);
    world.put(0, (91, 0), 2);
    expected.insert((91, 0), 2);
    world.reopen(Crash::PowerLoss { seed: 1 });
    assert_eq!(world.root(0).version, 2);
    world.unlock(0).unwrap();
    assert_eq!(world.rows(0).unwrap(), expected);
}

#[test]
fn after_a_switch_and_a_flush_the_old_key_is_not_needed() {
    let mut world = World::with_tables(2, small(), 1);
    let expected = world.fill(0, 10, 10);
    world.flush(0).unwrap();
    world.switch(0).unwrap();
    world.flush(0).unwrap();
    world.stop().unwrap();
    world.reopen(Crash::Kill);
    // A ring with the newest key alone: nothing is wrapped under the one before.
    let alone = keys_of(&root(0, 2, &[], 2, world.env.entropy()));
    world.env.run(world.engine.unlock(id(0), alone)).unwrap();
    assert_eq!(world.rows(0).unwrap(), expected);
    assert_eq!(
        world.root(0).older.len(),
        0,
        "the root forgets a key that nothing refers to"
    );
    world.reopen(Crash::PowerLoss { seed: 2 });
    assert_eq!(world.root(0).epoch, 3);
    world.unlock(0).unwrap();
    assert_eq!(world.rows(0).unwrap(), expected);
}

#[test]
fn log_records_under_the_old_key_are_replayed_through_the_new_root() {
    let mut world = World::with_tables(3, small(), 1);
    let expected = world.fill(0, 6, 6);
    world.switch(0).unwrap();
    world.switch(0).unwrap();
    world.reopen(Crash::PowerLoss { seed: 3 });
    let older: Vec<KeyVersion> = world.root(0).older.iter().map(|key| key.version).collect();
    assert!(older.contains(&1), "{older:?}");
    world.unlock(0).unwrap();
    assert_eq!(world.rows(0).unwrap(), expected);
    let older: Vec<KeyVersion> = world.root(0).older.iter().map(|key| key.version).collect();
    assert_eq!(older, [1], "version 2 never sealed anything");
}

#[test]
fn a_root_that_would_lose_a_key_in_use_is_refused() {
    let world = World::with_tables(4, small(), 1);
    let expected = world.fill(0, 3, 3);
    let forgetful = root(0, 2, &[], 2, world.env.entropy());
    let keys = keys_of(&forgetful);
    let switched = world
        .env
        .run(world.engine.switch_key(id(0), forgetful, keys));
    assert!(matches!(switched, Err(Error::Invalid { .. })));
    assert_eq!(world.root(0).version, 1);
    world.lock(0);
    world.unlock(0).unwrap();
    assert_eq!(world.rows(0).unwrap(), expected);
}

#[test]
fn a_locked_table_is_not_switched() {
    let world = World::with_tables(5, small(), 1);
    world.lock(0);
    assert!(is_locked(&world.switch(0)));
    assert_eq!(world.root(0).version, 1);
}

#[test]
fn a_crash_at_any_sync_of_a_switch_leaves_the_old_key_or_the_new_one() {
    let (mut old, mut new) = (0, 0);
    for sync in 1.. {
        let mut world = World::with_tables(100 + sync, small(), 2);
        let mut expected = world.fill(0, 8, 8);
        world.flush(0).unwrap();
        world.switch(0).unwrap();
        world.put(0, (70, 0), 7);
        expected.insert((70, 0), 7);
        let neighbour = world.fill(1, 3, 3);
        let before = blobs(&world);
        world.disk.go_down_at_sync(sync);
        let switched = world.switch(0);
        let is_over = !world.disk.is_down();
        let crash = match sync % 3 {
            0 => Crash::Kill,
            _ => Crash::PowerLoss { seed: sync },
        };
        world.reopen(crash);
        match world.root(0).version {
            2 => old += 1,
            3 => new += 1,
            other => panic!("sync {sync}: version {other}"),
        }
        if switched.is_ok() {
            assert_eq!(world.root(0).version, 3, "sync {sync}: it was answered");
        }
        assert_eq!(blobs(&world), before, "sync {sync}");
        world.unlock(0).unwrap();
        world.unlock(1).unwrap();
        assert_eq!(world.rows(0).unwrap(), expected, "sync {sync}");
        assert_eq!(world.rows(1).unwrap(), neighbour, "sync {sync}");
        assert!(world.env.run(world.engine.is_settled(id(0))), "sync {sync}");
        // And it can be switched once more, and opened from that.
        world.switch(0).unwrap();
        world.stop().unwrap();
        world.env.drop_tasks();
        world.disk.crash(Crash::Kill);
        assert_eq!(world.inspect().unwrap().damage, Vec::<String>::new());
        world.reopen(Crash::Kill);
        world.unlock(0).unwrap();
        assert_eq!(world.rows(0).unwrap(), expected, "sync {sync}");
        if is_over {
            break;
        }
    }
    assert!(old > 0 && new > 0, "{old} old, {new} new");
}

#[test]
fn a_crash_at_any_sync_of_a_switch_of_a_thousand_sstables_leaves_all_of_them_readable() {
    const SSTABLES: u64 = 1_000;
    let world = World::with_tables(7, small(), 1);
    let mut options = TableOptions::default();
    options.compaction.enabled = false;
    world.engine.set_options(id(0), options).unwrap();
    let mut expected = Rows::new();
    for key in 0..SSTABLES {
        world.put(0, (key, 0), key);
        world.flush(0).unwrap();
        expected.insert((key, 0), key);
    }
    world.stop().unwrap();
    let before = files(&world.disk);
    let (mut old, mut new) = (0, 0);
    for sync in 1.. {
        let mut world = World::new(1_000 + sync, small());
        world.move_to(disk_of(&before)).unwrap();
        world.unlock(0).unwrap();
        world.disk.go_down_at_sync(sync);
        let switched = world.switch(0);
        let is_over = !world.disk.is_down();
        // Of what was not synced a loss of power keeps something or nothing, as the seed has it.
        world.reopen(Crash::PowerLoss { seed: sync + 1 });
        match (world.root(0).version, switched.is_ok()) {
            (1, false) => old += 1,
            (2, _) => new += 1,
            other => panic!("sync {sync}: {other:?}"),
        }
        world.unlock(0).unwrap();
        assert_eq!(world.rows(0).unwrap(), expected, "sync {sync}");
        assert!(world.env.run(world.engine.is_settled(id(0))), "sync {sync}");
        let left = world.env.run(world.engine.unsettled());
        assert!(left.is_empty(), "sync {sync}: {left:?}");
        if is_over {
            break;
        }
    }
    assert!(old > 0 && new > 0, "{old} old, {new} new");
}

#[test]
fn a_table_switched_a_hundred_times_does_not_drag_all_its_keys_along() {
    let mut world = World::with_tables(6, small(), 1);
    let expected = world.fill(0, 3, 3);
    for version in 2..=100 {
        world.flush(0).unwrap();
        let older: Vec<KeyVersion> = world.root(0).older.iter().map(|key| key.version).collect();
        assert!(older.len() <= 2, "{older:?}");
        // Whoever makes the root may know no better than to keep them all.
        let older: Vec<KeyVersion> = std::iter::once(version - 1).chain(older).collect();
        let epoch = world.root(0).epoch + 1;
        let next = root(0, version, &older, epoch, world.env.entropy());
        let keys = keys_of(&next);
        world
            .env
            .run(world.engine.switch_key(id(0), next, keys))
            .unwrap();
    }
    world.reopen(Crash::PowerLoss { seed: 6 });
    world.unlock(0).unwrap();
    assert_eq!(world.rows(0).unwrap(), expected);
    assert_eq!(world.root(0).older.len(), 0);
}
