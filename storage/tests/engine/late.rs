//! SSTables whose rows all lie behind those that a read wants: nothing of them is looked at.

use bytes::Bytes;
use palladium_storage::{Clustering, Crash, Error, ReadCommand, Slices};

use crate::world::{Rows, World, one, rows, small};

/// A partition whose rows lie in two SSTables and a memtable, in the order of a read; what lies in the first SSTable to be written is damaged. Its rows come last
/// in that order.
fn partition_with_damage(reversed: bool) -> World {
    let mut world = World::with_tables(1, small(), 1);
    let row = |number: u64| if reversed { 30 - number } else { number };
    let put = |world: &World, numbers: std::ops::Range<u64>| {
        for number in numbers {
            world.put(0, (7, row(number)), number);
        }
    };
    put(&world, 20..30);
    world.flush(0).unwrap();
    let older = world.paths("blobs/");
    put(&world, 10..20);
    world.flush(0).unwrap();
    world.reopen(Crash::Kill);
    world.unlock(0).unwrap();
    put(&world, 5..10);
    for path in older {
        let mut bytes = world.disk.contents(&path).unwrap();
        bytes[64..].iter_mut().for_each(|byte| *byte ^= 1);
        world.disk.replace(&path, Some(bytes));
    }
    world
}

fn read(world: &World, command: ReadCommand) -> Result<Rows, Error> {
    world.env.run(world.engine.read(command)).map(rows)
}

#[test]
fn a_read_that_ends_before_the_rows_of_an_sstable_does_not_look_at_it() {
    for reversed in [false, true] {
        let world = partition_with_damage(reversed);
        let first = |limit: u32| {
            let mut command = one(0, 7);
            command.reversed = reversed;
            command.limits.rows = limit;
            let read = read(&world, command)?;
            Ok(read.into_values().collect::<Vec<u64>>())
        };
        for limit in 1..=15 {
            let mut expected: Vec<u64> = (5..5 + u64::from(limit)).collect();
            if reversed {
                expected.reverse();
            }
            assert_eq!(first(limit).unwrap(), expected, "reversed {reversed}");
        }
        let too_far: Result<Vec<u64>, Error> = first(16);
        assert!(matches!(too_far, Err(Error::Corrupt { .. })), "{too_far:?}");
    }
}

#[test]
fn a_read_of_other_rows_than_an_sstable_has_does_not_look_at_it() {
    let world = partition_with_damage(false);
    let slice = |start: u8, end: u8| {
        let bound = |row: u8| Clustering(Bytes::from(vec![0x40, row, 0x00]));
        ReadCommand {
            slices: Slices::one(bound(start), bound(end)),
            ..one(0, 7)
        }
    };
    let wanted: Vec<u64> = (8..20).collect();
    let found = read(&world, slice(8, 20)).unwrap();
    assert_eq!(found.into_values().collect::<Vec<_>>(), wanted);
    let too_far = read(&world, slice(8, 21));
    assert!(matches!(too_far, Err(Error::Corrupt { .. })), "{too_far:?}");
}
