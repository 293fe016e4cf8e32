//! Rows that outgrow what an SSTable takes: collections that many writes together made large.

use std::collections::BTreeSet;
use std::time::Duration;

use bytes::Bytes;
use palladium_crypto::StructureId;
use palladium_storage::{Cell, CellState, Deletion, Error, Mutation, Options, Write};

use crate::world::{COLUMN, World, id, mutation, one, small};

const ROW_BYTES_MAX: usize = 16 << 10;

/// One more element, of so many bytes, of the collection that stands in the first row of a table.
fn element(table: u8, number: u16, bytes: usize, timestamp: i64) -> Mutation {
    let mut mutation = mutation(table, (0, 0), 0, timestamp);
    mutation.update.rows[0].cells = vec![Cell {
        column: COLUMN,
        path: Bytes::copy_from_slice(&number.to_be_bytes()),
        timestamp,
        state: CellState::Live(vec![7; bytes].into()),
    }];
    mutation
}

fn add_element(world: &World, number: u16, bytes: usize) {
    let timestamp = world.engine.next_timestamp();
    let write = Write::new(vec![element(0, number, bytes, timestamp)]);
    world
        .env
        .run(world.engine.write(vec![write]))
        .remove(0)
        .unwrap();
}

fn elements(world: &World) -> usize {
    let page = world.env.run(world.engine.read(one(0, 0))).unwrap();
    page.partitions[0].rows[0].cells.len()
}

fn structures(world: &World) -> BTreeSet<StructureId> {
    let structures = world.env.run(world.engine.structures(id(0)));
    structures.into_iter().map(|one| one.structure).collect()
}

#[test]
fn a_row_that_fits_no_sstable_keeps_no_other_table_from_being_flushed() {
    let options = Options {
        memtable_bytes_max: 128 << 10,
        row_bytes_max: ROW_BYTES_MAX,
        ..small()
    };
    let mut world = World::with_tables(1, options, 2);
    for number in 0..8 {
        add_element(&world, number, 8 << 10);
    }
    assert!(matches!(world.flush(0), Err(Error::TooLarge { .. })));
    // Much more than there is room for beside the row, so that it is flushed many times.
    for value in 0..2_000 {
        while let Err(error) = world.try_put(1, (value, 0), value) {
            assert!(matches!(error, Error::Full { .. }), "{error}");
            let before = world.engine.memory().memtable_bytes;
            world.env.advance(Duration::from_secs(2));
            let after = world.engine.memory().memtable_bytes;
            assert!(after < before, "nobody flushes any more");
        }
    }
    assert_eq!(world.rows(1).unwrap().len(), 2_000);
    assert_eq!(elements(&world), 8, "it is read as ever");
    world.reopen(palladium_storage::Crash::PowerLoss { seed: 1 });
    world.unlock(0).unwrap();
    assert_eq!(elements(&world), 8, "and nothing of it is lost");
    // Room again, if its owner wants that.
    world.env.run(world.engine.truncate(id(0))).unwrap();
    add_element(&world, 0, 10);
    world.flush(0).unwrap();
    assert_eq!(elements(&world), 1);
}

#[test]
fn a_row_that_fitted_no_sstable_is_written_out_with_what_made_it_smaller() {
    let options = Options {
        row_bytes_max: ROW_BYTES_MAX,
        ..small()
    };
    let mut world = World::with_tables(3, options, 1);
    for number in 0..8 {
        add_element(&world, number, 8 << 10);
    }
    assert!(matches!(world.flush(0), Err(Error::TooLarge { .. })));
    let timestamp = world.engine.next_timestamp();
    let mut cleared = mutation(0, (0, 0), 0, timestamp);
    let row = &mut cleared.update.rows[0];
    row.cells.clear();
    row.deletion = Some(Deletion {
        timestamp,
        local_deletion_time: world.engine.now_seconds(),
    });
    let write = Write::new(vec![cleared]);
    let written = world.env.run(world.engine.write(vec![write])).remove(0);
    written.unwrap();
    add_element(&world, 9, 8 << 10);
    world.flush(0).unwrap();
    assert_eq!(elements(&world), 1);
    world.reopen(palladium_storage::Crash::PowerLoss { seed: 3 });
    world.unlock(0).unwrap();
    assert_eq!(elements(&world), 1);
}

#[test]
fn sstables_whose_row_would_outgrow_one_are_left_apart_and_the_others_are_merged() {
    let options = Options {
        row_bytes_max: ROW_BYTES_MAX,
        ..small()
    };
    let world = World::with_tables(2, options, 1);
    for number in 0..4 {
        add_element(&world, number, 6 << 10);
        world.flush(0).unwrap();
    }
    world.env.advance(Duration::from_secs(5));
    for row in 1..40 {
        world.put(0, (row, row), row);
        world.flush(0).unwrap();
        world.env.advance(Duration::from_secs(1));
    }
    let left = structures(&world).len();
    assert!(left < 4 * 20, "{left} structures are left of 43 SSTables");
    assert_eq!(elements(&world), 4);
    // Each of them is sound: new data keys are for them, too.
    let before = structures(&world);
    world.env.run(world.engine.rewrite(id(0))).unwrap();
    world.env.advance(Duration::from_secs(60));
    assert!(world.env.run(world.engine.is_settled(id(0))));
    assert!(structures(&world).is_disjoint(&before));
    assert_eq!(elements(&world), 4);
}
