//! A table's owner asks for new data keys: every structure is written again, in the background, whatever comes between.

use std::collections::BTreeSet;
use std::time::Duration;

use palladium_crypto::StructureId;
use palladium_storage::{Crash, Env};

use crate::world::{Rows, World, id, small};

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
