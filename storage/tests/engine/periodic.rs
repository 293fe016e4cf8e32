//! `periodic`: acknowledged when appended, synced now and then. A kill loses nothing; a loss of power only what came after the last sync.

use std::time::Duration;

use palladium_storage::{Crash, LogSync, Options, Store, TableOptions};

use crate::world::{BARE, COLUMN, Rows, World, id, small};

const PERIOD: Duration = Duration::from_secs(10);

fn periodic() -> Options {
    Options {
        log_sync: LogSync::Periodic { every: PERIOD },
        ..small()
    }
}

#[test]
fn a_killed_server_has_all_that_was_appended() {
    let mut world = World::with_tables(1, periodic(), 1);
    let expected = world.fill(0, 3, 4);
    world.reopen(Crash::Kill);
    world.unlock(0).unwrap();
    assert_eq!(world.rows(0).unwrap(), expected);
}

#[test]
fn a_loss_of_power_takes_nothing_from_before_the_last_sync() {
    let mut lost = 0;
    for seed in 1..40 {
        let mut world = World::with_tables(seed, periodic(), 1);
        let synced = world.fill(0, 3, 4);
        world.env.advance(PERIOD + Duration::from_secs(1));
        let appended: Vec<_> = (0..5).map(|row| (90, row)).collect();
        for place in &appended {
            world.put(0, *place, place.1);
        }
        world.reopen(Crash::PowerLoss { seed });
        world.unlock(0).unwrap();
        let mut found = world.rows(0).unwrap();
        // What is left of the rest is its beginning: no group is there without the one before it.
        let left: Vec<bool> = appended
            .iter()
            .map(|place| found.remove(place).is_some())
            .collect();
        assert!(left.is_sorted_by(|a, b| a >= b), "seed {seed}: {left:?}");
        assert_eq!(found, synced, "seed {seed}");
        lost += left.iter().filter(|is_left| !**is_left).count();
    }
    assert!(
        lost > 0,
        "a loss of power that never takes anything shows nothing"
    );
}

#[test]
fn a_floor_is_never_ahead_of_what_the_log_will_have() {
    for seed in 1..20 {
        let mut world = World::with_tables(seed, periodic(), 1);
        let mut expected = world.fill(0, 10, 1);
        // The SSTable is durable, and so is the log below its floor: or the next life would give those numbers again, and the one after pass them over.
        world.flush(0).unwrap();
        world.reopen(Crash::PowerLoss { seed });
        world.unlock(0).unwrap();
        world.put(0, (60, 0), seed);
        expected.insert((60, 0), seed);
        world.reopen(Crash::Kill);
        world.unlock(0).unwrap();
        assert_eq!(world.rows(0).unwrap(), expected, "seed {seed}");
        world.env.run(world.engine.truncate(id(0))).unwrap();
        world.reopen(Crash::PowerLoss { seed });
        world.unlock(0).unwrap();
        assert_eq!(world.rows(0).unwrap(), [].into(), "seed {seed}");
        world.put(0, (61, 0), seed);
        world.reopen(Crash::Kill);
        world.unlock(0).unwrap();
        assert_eq!(
            world.rows(0).unwrap(),
            [((61, 0), seed)].into(),
            "seed {seed}"
        );
    }
}

/// The schema's row says that a column is gone: what a merge has left out for it stays out, and so must the row stay.
#[test]
fn what_was_written_of_a_dropped_column_does_not_go_before_the_drop_is_durable() {
    for seed in 1..20 {
        let mut world = World::with_tables(seed, periodic(), 2);
        let rows = world.fill(0, 3, 4);
        world.flush(0).unwrap();
        world.put(1, (90, 0), seed);
        let options = TableOptions {
            columns_gone: [COLUMN].into(),
            ..TableOptions::default()
        };
        world.engine.set_options(id(0), options).unwrap();
        world.env.run(world.engine.compact(Some(id(0)))).unwrap();
        let bare: Rows = rows.into_keys().map(|place| (place, BARE)).collect();
        assert_eq!(world.rows(0).unwrap(), bare, "seed {seed}: it is left out");
        world.reopen(Crash::PowerLoss { seed });
        world.unlock(1).unwrap();
        let schema = world.rows(1).unwrap();
        assert_eq!(schema, [((90, 0), seed)].into(), "seed {seed}");
    }
}

/// The schema's row goes before its table does: if the table is gone after a loss of power, so is the row.
#[test]
fn what_was_written_before_a_drop_is_durable_once_something_was_destroyed() {
    for seed in 1..20 {
        let mut world = World::with_tables(seed, periodic(), 2);
        let expected = world.fill(0, 3, 4);
        let (engine, dropped) = (world.engine.clone(), id(1));
        match seed % 2 {
            0 => world.env.run(engine.drop_table(dropped)).unwrap(),
            _ => world.env.run(engine.drop_store(dropped, Store(1))).unwrap(),
        }
        drop(engine);
        world.reopen(Crash::PowerLoss { seed });
        world.unlock(0).unwrap();
        assert_eq!(world.rows(0).unwrap(), expected, "seed {seed}");
    }
}
