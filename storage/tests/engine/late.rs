//! SSTables whose rows all lie behind those that a read wants: nothing of them is looked at.

use bytes::Bytes;
use palladium_storage::{
    CellState, Clustering, Crash, Deletion, Error, Mutation, Options, ReadCommand, Slices, Write,
};

use crate::world::{Rows, World, mutation, one, rows, small};

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

/// A row at a position of any bytes.
fn row_at(position: &[u8], timestamp: i64) -> Mutation {
    let mut mutation = mutation(0, (7, 0), 0, timestamp);
    mutation.update.rows[0].clustering = Clustering(Bytes::copy_from_slice(position));
    mutation
}

fn write(world: &World, mutation: Mutation) {
    let written = world.engine.write(vec![Write::new(vec![mutation])]);
    world.env.run(written).remove(0).unwrap();
}

fn positions(world: &World, command: ReadCommand) -> Vec<Clustering> {
    let page = world.env.run(world.engine.read(command)).unwrap();
    let rows = page.partitions.into_iter().flat_map(|one| one.rows);
    rows.map(|row| row.clustering).collect()
}

/// The entries of an index end with the bytes of a key.
#[test]
fn a_row_whose_position_ends_with_any_byte_is_shown_once_and_deleted_once() {
    for last in [0x00, 0x01, 0x80, 0xFF] {
        for reversed in [false, true] {
            let world = World::with_tables(1, small(), 1);
            write(&world, row_at(&[5, last], 1));
            world.flush(0).unwrap();
            write(&world, row_at(&[5, last], 2));
            let mut command = one(0, 7);
            command.reversed = reversed;
            let shown = positions(&world, command.clone());
            assert_eq!(shown.len(), 1, "reversed {reversed}, last byte {last}");
            let mut gone = row_at(&[5, last], 3);
            let row = &mut gone.update.rows[0];
            row.cells.clear();
            row.liveness = None;
            row.deletion = Some(Deletion {
                timestamp: 3,
                local_deletion_time: 1,
            });
            write(&world, gone);
            assert_eq!(positions(&world, command), []);
        }
    }
}

#[test]
fn an_sstable_of_large_blocks_that_comes_late_is_opened_in_a_cache_that_has_none_of_them() {
    let options = Options {
        mutation_bytes_max: 4 << 20,
        log_segment_bytes: 8 << 20,
        log_bytes_max: 64 << 20,
        memtable_flush_bytes: 64 << 20,
        ..small()
    };
    let world = World::with_tables(1, options, 1);
    for number in [0, 2, 4, 6] {
        let mut large = row_at(&[0x40, number, 0x80], 1);
        large.update.rows[0].cells[0].state = CellState::Live(vec![7; 700 << 10].into());
        write(&world, large);
    }
    world.flush(0).unwrap();
    write(&world, row_at(&[0x40, 9, 0x80], 1));
    let bound = |number: u8, last: u8| Clustering(Bytes::from(vec![0x40, number, last]));
    let mut command = one(0, 7);
    command.slices = Slices::new(vec![
        (bound(0, 0x00), bound(0, 0xFF)),
        (bound(3, 0x00), bound(3, 0xFF)),
    ]);
    assert_eq!(positions(&world, command).len(), 1);
}
