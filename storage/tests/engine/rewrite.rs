//! A table's owner asks for new data keys: every structure is written again, in the background, whatever comes between.

use std::collections::BTreeSet;
use std::time::Duration;

use palladium_crypto::{StructureId, StructureKind};
use palladium_storage::{Crash, Env, Lease, Place, Reading, Structure};

use crate::world::{Rows, World, id, keys_until, small};

/// Two SSTables and rows in memory: too few for a compaction by itself.
fn filled(seed: u64) -> (World, Rows) {
    let world = World::with_tables(seed, small(), 2);
    let mut expected = Rows::new();
    for round in 0..2 {
        for row in 0..5 {
            world.put(0, (round, row), round * 10 + row);
            expected.insert((round, row), round * 10 + row);
        }
        world.flush(0).unwrap();
    }
    world.put(0, (50, 0), 5);
    expected.insert((50, 0), 5);
    (world, expected)
}

fn structures(world: &World) -> BTreeSet<StructureId> {
    let structures = world.env.run(world.engine.structures(id(0)));
    structures.into_iter().map(|one| one.structure).collect()
}

fn wait_until_settled(world: &World) {
    for _ in 0..1_000 {
        if world.env.run(world.engine.is_settled(id(0))) {
            return;
        }
        world.env.run(world.env.sleep(Duration::from_millis(10)));
    }
    panic!("a rewrite does not come to an end");
}

#[test]
fn a_rewrite_gives_every_structure_a_new_data_key() {
    let (world, expected) = filled(11);
    let before = structures(&world);
    world.env.run(world.engine.rewrite(id(0))).unwrap();
    wait_until_settled(&world);
    assert!(structures(&world).is_disjoint(&before));
    assert!(world.env.run(world.engine.unsettled()).is_empty());
    assert_eq!(world.rows(0).unwrap(), expected);
}

#[test]
fn a_rewrite_that_met_the_end_of_a_lease_goes_on_under_the_next_one() {
    let lease = |world: &World| Lease::starting_at(Reading::now(&*world.env), 300);
    for is_renewed in [true, false] {
        let (world, expected) = filled(15);
        world.flush(0).unwrap();
        let before = structures(&world);
        world.engine.renew(id(0), lease(&world));
        world.env.step_wall(301_000_000);
        world.env.run(world.engine.rewrite(id(0))).unwrap();
        world.env.run_ready();
        assert!(!world.env.run(world.engine.is_settled(id(0))));
        match is_renewed {
            true => world.engine.renew(id(0), lease(&world)),
            false => {
                let keys = keys_until(&world.root(0), lease(&world));
                world.env.run(world.engine.unlock(id(0), keys)).unwrap();
            }
        }
        wait_until_settled(&world);
        assert!(structures(&world).is_disjoint(&before));
        assert_eq!(world.rows(0).unwrap(), expected);
    }
}

#[test]
fn one_damaged_sstable_holds_up_no_other_one_of_a_rewrite() {
    let (world, _) = filled(14);
    world.flush(0).unwrap();
    let before = world.env.run(world.engine.structures(id(0)));
    let data = before
        .iter()
        .find(|one| one.place == Place::Sstable(1) && one.kind == StructureKind::SstableData)
        .expect("the first SSTable has data");
    let path = format!("blobs/{}", data.structure);
    world.disk.flip(&path, data.bytes as usize / 2, 3);
    world.env.run(world.engine.rewrite(id(0))).unwrap();
    let left = |world: &World| {
        let left = world.env.run(world.engine.unsettled())[&id(0)];
        (left.sstables_to_rewrite, left.sstables_unreadable)
    };
    for _ in 0..1_000 {
        if left(&world) == (1, 1) {
            break;
        }
        world.env.run(world.env.sleep(Duration::from_millis(10)));
    }
    assert_eq!(left(&world), (1, 1));
    let old: BTreeSet<StructureId> = before.iter().map(|one| one.structure).collect();
    let kept: Vec<Structure> = world.env.run(world.engine.structures(id(0)));
    let mut kept: Vec<Place> = kept
        .into_iter()
        .filter(|one| old.contains(&one.structure))
        .map(|one| one.place)
        .collect();
    kept.dedup();
    assert_eq!(kept, [Place::Sstable(1)]);
    // Mended, and asked for again, it comes to its end.
    world.disk.flip(&path, data.bytes as usize / 2, 3);
    world.env.run(world.engine.rewrite(id(0))).unwrap();
    wait_until_settled(&world);
    assert!(structures(&world).is_disjoint(&old));
}

#[test]
fn what_a_merge_writes_that_drew_its_keys_before_a_rewrite_was_asked_for_is_written_again() {
    let mut met = 0;
    for millis in (0..40).map(|step| step * 25) {
        let (world, expected) = filled(19);
        world.flush(0).unwrap();
        let before: BTreeSet<String> = world.paths("blobs/").into_iter().collect();
        let slow = Duration::from_millis(100);
        world.disk.slow_down(world.env.clone(), 19 + millis, slow);
        let engine = world.engine.clone();
        world.env.spawn(Box::pin(async move {
            let _ = engine.compact(Some(id(0))).await;
        }));
        world.env.advance(Duration::from_millis(millis));
        let begun: BTreeSet<String> = world.paths("blobs/").into_iter().collect();
        let is_under_way = begun.is_superset(&before) && begun.len() > before.len();
        world.env.run(world.engine.rewrite(id(0))).unwrap();
        world.env.advance(Duration::from_secs(60));
        wait_until_settled(&world);
        let after: BTreeSet<String> = world.paths("blobs/").into_iter().collect();
        assert!(after.is_disjoint(&begun), "after {millis} ms");
        assert_eq!(world.rows(0).unwrap(), expected);
        met += u32::from(is_under_way);
    }
    assert!(met > 0, "no rewrite was asked for in mid-merge");
}

#[test]
fn a_rewrite_of_an_empty_table_is_over_at_once() {
    let world = World::with_tables(12, small(), 1);
    world.env.run(world.engine.rewrite(id(0))).unwrap();
    assert!(world.env.run(world.engine.is_settled(id(0))));
}

#[test]
fn a_rewrite_waits_for_the_key_of_a_locked_table() {
    let (mut world, expected) = filled(13);
    let before = structures(&world);
    world.lock(0);
    world.env.run(world.engine.rewrite(id(0))).unwrap();
    world.reopen(Crash::PowerLoss { seed: 13 });
    let left = world.env.run(world.engine.unsettled())[&id(0)];
    assert_eq!((left.sstables_to_rewrite, left.sstables_in_all), (2, 2));
    world.unlock(0).unwrap();
    wait_until_settled(&world);
    assert!(structures(&world).is_disjoint(&before));
    assert_eq!(world.rows(0).unwrap(), expected);
}

#[test]
fn a_crash_at_any_sync_of_a_rewrite_loses_nothing_and_the_rewrite_goes_on() {
    for sync in 1.. {
        let (mut world, expected) = filled(100 + sync);
        let before = structures(&world);
        world.disk.go_down_at_sync(sync);
        let asked = world.env.run(world.engine.rewrite(id(0)));
        if asked.is_ok() && !world.disk.is_down() {
            for _ in 0..200 {
                world.env.run(world.env.sleep(Duration::from_millis(10)));
                if world.disk.is_down() || world.env.run(world.engine.is_settled(id(0))) {
                    break;
                }
            }
        }
        let is_over = !world.disk.is_down();
        world.reopen(Crash::PowerLoss { seed: sync });
        world.unlock(0).unwrap();
        wait_until_settled(&world);
        assert_eq!(world.rows(0).unwrap(), expected, "sync {sync}");
        if asked.is_ok() {
            assert!(structures(&world).is_disjoint(&before), "sync {sync}");
        }
        world.stop().unwrap();
        world.env.drop_tasks();
        world.disk.crash(Crash::Kill);
        assert_eq!(world.inspect().unwrap().damage, Vec::<String>::new());
        if is_over {
            break;
        }
    }
}
