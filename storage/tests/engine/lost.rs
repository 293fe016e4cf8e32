//! What the manifest has lost, or never got: tables that only the schema names, roots that nothing names, and a commit that is whole in no copy.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use palladium_storage::salvage;
use palladium_storage::{Crash, Error, SimulatedBackend};

use crate::world::{Rows, World, disk_of, files, id, service_ring, small};

/// A CREATE whose record in the manifest fails has made its root already.
#[test]
fn the_root_of_a_table_that_was_never_made_goes_at_the_next_start() {
    let mut swept = 0;
    for seed in 0..40 {
        let mut world = World::with_tables(seed, small(), 1);
        world.disk.fail_syncs_after(seed % 8, 1);
        let made = world.create(1);
        world.disk.fail_syncs(0);
        world.reopen(Crash::PowerLoss { seed });
        let roots = |world: &World| world.paths("roots/").len();
        if made.is_ok() || world.engine.has_table(id(1)) || roots(&world) == 1 {
            continue;
        }
        let sweep = |world: &World, known: &[u8]| {
            let known: BTreeSet<_> = known.iter().map(|table| id(*table)).collect();
            world.env.run(world.engine.sweep_roots(&known)).unwrap();
        };
        sweep(&world, &[0, 1]);
        assert_eq!(roots(&world), 2, "somebody names it");
        sweep(&world, &[0]);
        assert_eq!(roots(&world), 1, "seed {seed}");
        world.create(1).unwrap();
        swept += 1;
    }
    assert!(swept > 0);
}

#[test]
fn where_the_manifest_was_damaged_no_root_is_taken_for_one_that_nobody_needs() {
    for is_damaged in [true, false] {
        let mut world = World::with_tables(41, small(), 1);
        world.stop().unwrap();
        let mut left = files(&world.disk);
        let (_, root) = left
            .iter()
            .find(|(path, _)| path.starts_with("roots/"))
            .unwrap();
        left.insert(format!("roots/{}", "09".repeat(16)), root.clone());
        if is_damaged {
            let copy = left
                .iter_mut()
                .rfind(|(path, _)| path.starts_with("manifest/"));
            copy.unwrap().1[40] ^= 1;
        }
        world.move_to(disk_of(&left)).unwrap();
        let known = BTreeSet::new();
        world.env.run(world.engine.sweep_roots(&known)).unwrap();
        assert_eq!(world.paths("roots/").len(), 1 + usize::from(is_damaged));
        world.unlock(0).unwrap();
    }
}

/// Two tables, the manifest's entry of the second one lost with its newest frame, and what the second one held.
fn manifest_without_its_newest_table(seed: u64) -> (World, Rows) {
    let mut world = World::with_tables(seed, small(), 1);
    world.put(0, (1, 1), 1);
    let mut before = files(&world.disk);
    before.retain(|path, _| path.starts_with("manifest/"));
    world.create(1).unwrap();
    let written = world.fill(1, 3, 3);
    world.env.drop_tasks();
    world.disk.crash(Crash::Kill);
    let mut cut = files(&world.disk);
    cut.extend(before);
    world.move_to(disk_of(&cut)).unwrap();
    assert!(!world.engine.has_table(id(1)));
    (world, written)
}

#[test]
fn a_table_that_only_the_schema_names_stands_damaged_until_it_is_dropped() {
    let (mut world, _) = manifest_without_its_newest_table(42);
    world.engine.miss_table(id(1), Default::default());
    for refused in [
        world.unlock_any(1),
        world.try_put(1, (1, 1), 1),
        world.rows(1).map(drop),
    ] {
        match refused {
            Err(Error::Corrupt { what }) => assert!(what.contains("not in the manifest"), "{what}"),
            other => panic!("{other:?}"),
        }
    }
    world.unlock(0).unwrap();
    world.put(0, (2, 2), 2);
    world.env.run(world.engine.drop_table(id(1))).unwrap();
    assert!(!world.engine.has_table(id(1)));
    world.reopen(Crash::Kill);
    assert_eq!(world.paths("roots/").len(), 1);
    world.create(1).unwrap();
    assert_eq!(world.rows(1).unwrap().len(), 0);
}

#[test]
fn a_table_that_the_manifest_has_lost_is_salvaged_out_of_the_log() {
    let (mut world, written) = manifest_without_its_newest_table(43);
    world.env.drop_tasks();
    world.disk.crash(Crash::Kill);
    let disk = world.disk.clone();
    let backend = Arc::new(SimulatedBackend::open(&disk).unwrap());
    let (env, service) = (world.env.clone(), service_ring());
    let tables = [id(1), id(5)];
    let restored = salvage::restore_tables(backend, env, service, &tables);
    let restored = world.env.run(restored).unwrap();
    let lines = &restored.lines;
    assert!(!restored.is_all);
    assert!(lines[0].contains("the log still says"), "{lines:?}");
    assert!(lines[1].contains("its root is gone"), "{lines:?}");
    world.move_to(disk).unwrap();
    world.unlock(1).unwrap();
    assert_eq!(world.rows(1).unwrap(), written);
}

/// Writes so much to table 0 that its log would fill many times the room that a log may take, and gives how many segments there were at most.
fn segments_beside_much_writing(world: &World) -> usize {
    let mut most = 0;
    for value in 0..3_000 {
        world.put(0, (value % 200, 0), value);
        if value % 100 == 0 {
            world.env.advance(Duration::from_secs(1));
            most = most.max(world.paths("log/segment-").len());
        }
    }
    most
}

/// Segments that a log may take, and some that are being filled, emptied and prepared.
fn segments_allowed(world: &World) -> usize {
    (world.options.log_bytes_max / world.options.log_segment_bytes) as usize + 20
}

#[test]
fn a_table_that_the_manifest_has_lost_holds_nobody_elses_log() {
    let (mut world, written) = manifest_without_its_newest_table(45);
    world.engine.miss_table(id(1), Default::default());
    let known = BTreeSet::from([id(0), id(1)]);
    world.env.run(world.engine.sweep_roots(&known)).unwrap();
    world.unlock(0).unwrap();
    let most = segments_beside_much_writing(&world);
    assert!(most <= segments_allowed(&world), "{most} segments");
    world.env.drop_tasks();
    world.disk.crash(Crash::PowerLoss { seed: 45 });
    let disk = world.disk.clone();
    let backend = Arc::new(SimulatedBackend::open(&disk).unwrap());
    let (env, service) = (world.env.clone(), service_ring());
    let tables = [id(1)];
    let restored = salvage::restore_tables(backend, env, service, &tables);
    assert!(world.env.run(restored).unwrap().is_all);
    world.move_to(disk).unwrap();
    world.unlock(1).unwrap();
    assert_eq!(world.rows(1).unwrap(), written, "carried, and not lost");
}

#[test]
fn a_table_whose_root_is_damaged_holds_nobody_elses_log() {
    let mut world = World::with_tables(46, small(), 2);
    world.fill(1, 3, 3);
    let root = format!("roots/{}", "02".repeat(16));
    world.env.drop_tasks();
    world.disk.crash(Crash::Kill);
    let whole = world.disk.contents(&root).unwrap();
    world.disk.replace(&root, Some(vec![1; whole.len()]));
    world.try_reopen_as_it_is().unwrap();
    assert!(matches!(world.unlock_any(1), Err(Error::Corrupt { .. })));
    world.unlock(0).unwrap();
    let most = segments_beside_much_writing(&world);
    assert!(most <= segments_allowed(&world), "{most} segments");
    // Somebody has another copy of it.
    world.env.drop_tasks();
    world.disk.crash(Crash::Kill);
    world.disk.replace(&root, Some(whole));
    world.try_reopen_as_it_is().unwrap();
    world.unlock(1).unwrap();
    assert_eq!(world.rows(1).unwrap().len(), 9, "carried, and not lost");
}

#[test]
fn a_log_that_has_lost_its_watermark_ends_where_its_last_whole_group_does() {
    for seed in 0..4 {
        let mut world = World::with_tables(seed, small(), 1);
        let mut expected = world.fill(0, 40, 3);
        if seed % 2 == 1 {
            // The log begins anew behind what is in SSTables.
            world.flush(0).unwrap();
            world.env.advance(Duration::from_secs(2));
            expected.extend(world.fill(0, 50, 2));
        }
        world.env.advance(Duration::from_secs(2));
        world.env.drop_tasks();
        world.disk.crash(Crash::Kill);
        let slots = world.disk.contents("log/watermark").unwrap();
        let damaged = (seed > 1).then(|| vec![3; slots.len()]);
        world.disk.replace("log/watermark", damaged);
        let refused = world.try_reopen_as_it_is();
        assert!(matches!(refused, Err(Error::Corrupt { .. })), "{refused:?}");
        let backend = Arc::new(SimulatedBackend::open(&world.disk).unwrap());
        let (env, service) = (world.env.clone(), service_ring());
        let lost = salvage::lost_watermark(&*backend, &service);
        assert!(world.env.run(lost).unwrap().is_some());
        let given_up = salvage::give_up_watermark(backend, env, service);
        world.env.run(given_up).unwrap();
        world.try_reopen_as_it_is().unwrap();
        world.unlock(0).unwrap();
        assert_eq!(world.rows(0).unwrap(), expected, "seed {seed}");
        world.put(0, (99, 0), 1);
        world.stop().unwrap();
        world.disk.crash(Crash::Kill);
        assert_eq!(world.inspect().unwrap().damage, [""; 0]);
    }
}

#[test]
fn a_log_that_is_gone_is_begun_anew_and_what_it_held_is_named() {
    let mut world = World::with_tables(47, small(), 2);
    world.fill(0, 4, 3);
    world.flush(0).unwrap();
    world.fill(1, 4, 3);
    world.stop().unwrap();
    let mut left = files(&world.disk);
    left.retain(|path, _| !path.starts_with("log/"));
    world.options.log_sequence_seen = 0;
    let disk = disk_of(&left);
    let refused = world.move_to(disk.clone());
    assert!(matches!(refused, Err(Error::Corrupt { .. })), "{refused:?}");
    let backend = Arc::new(SimulatedBackend::open(&disk).unwrap());
    let (env, service) = (world.env.clone(), service_ring());
    let given_up = salvage::give_up_watermark(backend, env, service);
    world.env.run(given_up).unwrap();
    world.move_to(disk).unwrap();
    for table in [0, 1] {
        let unlocked = world.unlock(table);
        assert!(
            matches!(unlocked, Err(Error::Corrupt { .. })),
            "nobody knows whose rows were in it"
        );
    }
}

/// The newest commit lost from one copy and damaged in the other: `salvage` goes back to the one before, though the log has seen more.
#[test]
fn after_a_commit_was_given_up_the_folder_opens() {
    let mut world = World::with_tables(44, small(), 1);
    let written = world.fill(0, 3, 3);
    world.env.advance(Duration::from_secs(2));
    let before = files(&world.disk);
    world.flush(0).unwrap();
    world.env.advance(Duration::from_secs(2));
    world.env.drop_tasks();
    world.disk.crash(Crash::Kill);
    let mut left = files(&world.disk);
    for (number, (path, bytes)) in left
        .iter_mut()
        .filter(|(path, _)| path.starts_with("manifest/"))
        .enumerate()
    {
        let newest = before[path].len();
        match number {
            0 => bytes.truncate(newest),
            _ => bytes[newest] ^= 1,
        }
    }
    let disk = disk_of(&left);
    let refused = world.move_to(disk.clone());
    assert!(matches!(refused, Err(Error::Corrupt { .. })), "{refused:?}");
    let backend = Arc::new(SimulatedBackend::open(&disk).unwrap());
    let (env, service) = (world.env.clone(), service_ring());
    let lost = salvage::lost_commit(&*backend, &service);
    assert!(world.env.run(lost).unwrap().is_some());
    let given_up = salvage::give_up_commit(backend, env, service);
    world.env.run(given_up).unwrap();
    world.move_to(disk).unwrap();
    world.unlock(0).unwrap();
    assert_eq!(world.rows(0).unwrap(), written);
}
