//! What once went wrong, a story each.

use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;

use futures::FutureExt;
use palladium_storage::sealed::openings;
use palladium_storage::{Crash, Error, Lease, Options, Reading, TableOptions};

use crate::world::{
    BARE, COLUMN, World, disk_of, everything, files, id, is_locked, keys_until, mutation,
    partition, small,
};

#[test]
fn a_lock_that_nobody_waits_for_is_finished_all_the_same() {
    for seed in 1..30 {
        let mut world = World::with_tables(seed, small(), 1);
        let mut expected = world.fill(0, 2, 3);
        let write = world.write(0, (9, 9), seed);
        let ticket = world.engine.write(vec![write]);
        // The lock has closed the gate and waits for the write's pass; then whoever asked for it goes away.
        let mut lock = Box::pin(world.engine.lock(id(0)));
        assert!((&mut lock).now_or_never().is_none());
        if seed % 2 == 0 {
            world.env.run_ready();
        }
        drop(lock);
        world.unlock(0).unwrap();
        match world.env.run(ticket).remove(0) {
            Ok(()) => drop(expected.insert((9, 9), seed)),
            refused => assert!(is_locked(&refused)),
        }
        // The lock may have come before the unlock or after it.
        world.env.advance(Duration::from_secs(1));
        world.unlock(0).unwrap();
        world.put(0, (8, 8), 1);
        expected.insert((8, 8), 1);
        assert_eq!(world.rows(0).unwrap(), expected, "seed {seed}");
        world.flush(0).unwrap();
        world.reopen(Crash::PowerLoss { seed });
        world.unlock(0).unwrap();
        assert_eq!(world.rows(0).unwrap(), expected, "seed {seed}");
    }
}

#[test]
fn a_full_disk_fails_the_write_and_the_log_goes_on() {
    let mut world = World::with_tables(1, small(), 1);
    let mut expected = world.fill(0, 2, 2);
    world.disk.set_room(Some(0));
    let mut refused = 0;
    for value in 0..60 {
        match world.try_put(0, (50, value % 250), value) {
            Ok(()) => drop(expected.insert((50, value % 250), value)),
            Err(Error::Full { .. }) => refused += 1,
            Err(other) => panic!("{other}"),
        }
    }
    assert!(refused > 0, "a segment of 16 pages takes no 60 groups");
    assert_eq!(world.rows(0).unwrap(), expected);
    world.disk.set_room(None);
    world.put(0, (51, 0), 1);
    expected.insert((51, 0), 1);
    world.reopen(Crash::PowerLoss { seed: 1 });
    world.unlock(0).unwrap();
    assert_eq!(world.rows(0).unwrap(), expected);
}

#[test]
fn refused_writers_still_ask_for_the_flush_that_frees_them() {
    let options = Options {
        memtable_bytes_max: 64 << 10,
        ..small()
    };
    let world = World::with_tables(2, options, 1);
    world.disk.set_room(Some(100 << 10));
    let mut value = 0;
    loop {
        value += 1;
        if world.try_put(0, (value, 0), value).is_err() {
            break;
        }
    }
    // The flushes that were asked for have failed by now.
    world.env.advance(Duration::from_secs(10));
    world.disk.set_room(None);
    let freed = (0..10).any(|_| {
        world.env.advance(Duration::from_secs(2));
        world.try_put(0, (0, 0), 1).is_ok()
    });
    assert!(freed, "nobody flushes any more");
}

#[test]
fn a_switch_whose_record_failed_can_be_followed_by_another() {
    let mut world = World::with_tables(3, small(), 1);
    let expected = world.fill(0, 4, 4);
    world.flush(0).unwrap();
    // Roots are overwritten in place; the manifest grows.
    world.disk.set_room(Some(0));
    world.switch(0).unwrap();
    assert!(!world.env.run(world.engine.is_settled(id(0))));
    let again = world.switch(0);
    assert!(again.is_err(), "the first one is not recorded yet");
    assert_eq!(world.root(0).version, 2);
    world.disk.set_room(None);
    world.switch(0).unwrap();
    world.reopen(Crash::PowerLoss { seed: 3 });
    assert_eq!(world.root(0).version, 3);
    world.unlock(0).unwrap();
    assert_eq!(world.rows(0).unwrap(), expected);
}

#[test]
fn a_switch_whose_record_failed_is_recorded_in_the_background() {
    let world = World::with_tables(4, small(), 1);
    world.fill(0, 4, 4);
    world.flush(0).unwrap();
    world.disk.set_room(Some(0));
    world.switch(0).unwrap();
    world.disk.set_room(None);
    world.env.advance(Duration::from_secs(5));
    assert!(world.env.run(world.engine.is_settled(id(0))));
}

#[test]
fn a_crash_between_root_and_manifest_is_recorded_by_the_next_unlock() {
    let mut world = World::with_tables(5, small(), 1);
    let expected = world.fill(0, 4, 4);
    world.flush(0).unwrap();
    world.disk.set_room(Some(0));
    world.switch(0).unwrap();
    world.disk.set_room(None);
    world.reopen(Crash::Kill);
    assert!(!world.env.run(world.engine.is_settled(id(0))));
    world.unlock(0).unwrap();
    assert!(world.env.run(world.engine.is_settled(id(0))));
    assert_eq!(world.rows(0).unwrap(), expected);
}

#[test]
fn a_table_made_again_under_its_id_knows_nothing_of_the_old_one() {
    let mut world = World::with_tables(6, small(), 1);
    world.fill(0, 4, 4);
    world.env.run(world.engine.drop_table(id(0))).unwrap();
    world.create(0).unwrap();
    world.put(0, (0, 0), 7);
    world.reopen(Crash::Kill);
    world.unlock(0).unwrap();
    assert_eq!(world.rows(0).unwrap(), [((0, 0), 7)].into());
}

#[test]
fn a_drop_that_failed_can_be_asked_for_again() {
    for sync in 1..6 {
        let mut world = World::with_tables(7, small(), 1);
        world.fill(0, 4, 4);
        world.flush(0).unwrap();
        world.disk.fail_syncs(sync);
        let first = world.env.run(world.engine.drop_table(id(0)));
        world.disk.fail_syncs(0);
        if first.is_err() {
            assert!(
                world.unlock(0).is_err(),
                "a table half dropped is not opened"
            );
            world.env.run(world.engine.drop_table(id(0))).unwrap();
        }
        assert!(!world.engine.has_table(id(0)));
        world.stop().unwrap();
        world.reopen(Crash::Kill);
        assert_eq!(world.engine.table_ids(), []);
        assert_eq!(world.paths("blobs/"), Vec::<String>::new());
    }
}

#[test]
fn a_drop_answers_when_its_key_is_destroyed_and_the_files_go_behind_it() {
    for crash in [None, Some(Crash::Kill), Some(Crash::PowerLoss { seed: 9 })] {
        let mut world = World::with_tables(9, small(), 2);
        let kept = world.fill(1, 4, 4);
        world.flush(1).unwrap();
        let of_others = world.paths("blobs/");
        drop_on_a_slow_disk(&world);
        assert_ne!(world.paths("blobs/"), of_others, "nobody waits for these");
        assert_eq!(world.paths("roots/").len(), 1, "and for this, everybody");
        match crash {
            None => world.env.advance(Duration::from_secs(60)),
            Some(crash) => world.reopen(crash),
        }
        assert_eq!(world.engine.table_ids(), [id(1)]);
        assert_eq!(world.paths("blobs/"), of_others);
        world.disk.speed_up();
        if crash.is_some() {
            world.unlock(1).unwrap();
        }
        assert_eq!(world.rows(1).unwrap(), kept);
    }
}

#[test]
fn an_engine_that_closes_waits_for_the_files_of_a_dropped_table() {
    let world = World::with_tables(9, small(), 1);
    drop_on_a_slow_disk(&world);
    assert_ne!(world.paths("blobs/"), Vec::<String>::new());
    world.stop().unwrap();
    assert_eq!(world.paths("blobs/"), Vec::<String>::new());
}

/// Drops a table that has files, where removing one takes a while.
fn drop_on_a_slow_disk(world: &World) {
    world.fill(0, 4, 4);
    world.flush(0).unwrap();
    world
        .disk
        .slow_down(world.env.clone(), 9, Duration::from_secs(1));
    world.env.run(world.engine.drop_table(id(0))).unwrap();
}

#[test]
fn a_drop_destroys_a_root_that_could_not_be_read() {
    let mut world = World::with_tables(8, small(), 1);
    world.stop().unwrap();
    let path = world.paths("roots/").remove(0);
    world.disk.flip(&path, 200, 1);
    world.disk.flip(&path, 32768 + 200, 1);
    world.reopen(Crash::Kill);
    assert!(world.engine.root(id(0)).is_none());
    world.env.run(world.engine.drop_table(id(0))).unwrap();
    assert_eq!(world.paths("roots/"), Vec::<String>::new());
}

#[test]
fn groups_missing_at_the_logs_end_stay_missing_at_every_start() {
    let mut world = World::with_tables(9, small(), 2);
    world.fill(0, 3, 3);
    let old = files(&world.disk);
    world.put(0, (40, 0), 1);
    let late = world.fill(1, 20, 1);
    world.flush(1).unwrap();
    world.stop().unwrap();
    let mut mixed = files(&world.disk);
    mixed.retain(|path, _| !path.starts_with("log/"));
    mixed.extend(old.into_iter().filter(|(path, _)| path.starts_with("log/")));
    world.move_to(disk_of(&mixed)).unwrap();
    for start in 0..3 {
        assert!(
            matches!(world.unlock_any(0), Err(Error::Corrupt { .. })),
            "start {start}: table 0 lacks a row"
        );
        world.unlock(1).unwrap();
        assert!(
            late.iter()
                .all(|(place, value)| world.rows(1).unwrap()[place] == *value)
        );
        // Writes after the loss get numbers that nobody had, or the floor would hide them from the next start.
        world.put(1, (60, start), start);
        world.reopen(Crash::PowerLoss { seed: start });
        world.unlock(1).unwrap();
        for written in 0..=start {
            assert_eq!(
                world.rows(1).unwrap()[&(60, written)],
                written,
                "start {start}"
            );
        }
        world.flush(1).unwrap();
        world.reopen(Crash::PowerLoss { seed: start });
    }
}

#[test]
fn a_folder_without_its_log_is_opened_by_no_start_and_is_whole_once_the_log_is_back() {
    let mut world = World::with_tables(33, small(), 1);
    let expected = world.fill(0, 3, 3);
    world.flush(0).unwrap();
    world.stop().unwrap();
    let whole = files(&world.disk);
    let mut without = whole.clone();
    without.retain(|path, _| !path.starts_with("log/"));
    let disk = disk_of(&without);
    for start in 0..3 {
        assert!(world.move_to(disk.clone()).is_err(), "start {start}");
        assert_eq!(files(&disk), without, "start {start}: nothing was written");
    }
    let mut back = files(&disk);
    back.extend(
        whole
            .into_iter()
            .filter(|(path, _)| path.starts_with("log/")),
    );
    world.move_to(disk_of(&back)).unwrap();
    world.unlock(0).unwrap();
    assert_eq!(world.rows(0).unwrap(), expected);
}

#[test]
fn a_first_start_that_was_cut_short_before_it_had_a_log_is_begun_again() {
    let mut world = World::with_tables(34, small(), 0);
    let mut begun = files(&world.disk);
    begun.retain(|path, _| path.starts_with("manifest/"));
    assert_eq!(begun.len(), 2);
    world.move_to(disk_of(&begun)).unwrap();
}

#[test]
fn a_folder_without_its_manifest_is_not_taken_for_a_new_one() {
    let mut world = World::with_tables(10, small(), 1);
    let expected = world.fill(0, 3, 3);
    world.flush(0).unwrap();
    world.stop().unwrap();
    let whole = files(&world.disk);
    let mut beheaded = whole.clone();
    beheaded.retain(|path, _| path.starts_with("blobs/") || path.starts_with("roots/"));
    let disk = disk_of(&beheaded);
    assert!(world.move_to(disk.clone()).is_err());
    assert_eq!(files(&disk), beheaded, "nothing was erased");
    world.move_to(disk_of(&whole)).unwrap();
    world.unlock(0).unwrap();
    assert_eq!(world.rows(0).unwrap(), expected);
}

#[test]
fn a_damaged_share_stops_its_table_and_those_that_share_a_write_with_it() {
    let mut world = World::with_tables(11, small(), 4);
    // One group: tables 0 and 1 in one write, table 2 in one of its own. Another group: table 3.
    let together =
        palladium_storage::Write::new(vec![mutation(0, (0, 0), 1, 5), mutation(1, (0, 0), 1, 5)]);
    let alone = palladium_storage::Write::new(vec![mutation(2, (0, 0), 1, 5)]);
    let ticket = world.engine.write(vec![together, alone]);
    for result in world.env.run(ticket) {
        result.unwrap();
    }
    world.put(3, (0, 0), 1);
    world.stop().unwrap();
    let share = world.first_share(0);
    world.disk.flip(&share.0, share.1, 3);
    for start in 0..2 {
        world.reopen(Crash::Kill);
        let stopped = [0, 1, 2, 3].map(|table| world.unlock_any(table).is_err());
        assert_eq!(stopped, [true, true, false, false], "start {start}");
        assert_eq!(world.rows(2).unwrap(), [((0, 0), 1)].into());
    }
}

#[test]
fn a_locked_table_holds_back_no_log() {
    let options = Options {
        log_bytes_max: 512 << 10,
        memtable_flush_bytes: 8 << 10,
        ..small()
    };
    let mut world = World::with_tables(12, options, 2);
    let expected = world.fill(0, 20, 5);
    world.lock(0);
    let mut busy = crate::world::Rows::new();
    for value in 0..800 {
        world.put(1, (value % 50, value % 7), value);
        busy.insert((value % 50, value % 7), value);
    }
    world.env.advance(Duration::from_secs(5));
    let segments = world.paths("log/segment").len();
    assert!(
        segments < 14,
        "{segments} segments of 64 KiB where 8 are wanted"
    );
    assert!(is_locked(&world.rows(0)));
    world.reopen(Crash::PowerLoss { seed: 12 });
    world.unlock(0).unwrap();
    world.unlock(1).unwrap();
    assert_eq!(world.rows(0).unwrap(), expected);
    assert_eq!(world.rows(1).unwrap(), busy);
}

#[test]
fn what_was_carried_and_then_truncated_stays_away() {
    let options = Options {
        log_bytes_max: 256 << 10,
        memtable_flush_bytes: 8 << 10,
        ..small()
    };
    let mut world = World::with_tables(13, options, 2);
    world.fill(0, 4, 4);
    for value in 0..300 {
        world.put(1, (value % 50, value % 7), value);
    }
    world.env.run(world.engine.truncate(id(0))).unwrap();
    assert_eq!(world.rows(0).unwrap(), [].into());
    world.put(0, (1, 1), 1);
    world.reopen(Crash::PowerLoss { seed: 13 });
    world.unlock(0).unwrap();
    assert_eq!(world.rows(0).unwrap(), [((1, 1), 1)].into());
}

#[test]
fn a_flush_whose_commit_failed_leaves_no_second_copy_behind() {
    let mut world = World::with_tables(14, small(), 1);
    let expected = world.fill(0, 10, 10);
    world.flush(0).unwrap();
    let components = world.paths("blobs/").len();
    world.put(0, (0, 0), expected[&(0, 0)]);
    let syncs = world.disk.syncs();
    world.flush(0).unwrap();
    let flush_syncs = world.disk.syncs() - syncs;
    world.put(0, (0, 0), expected[&(0, 0)]);
    // Every sync of the second flush but those of its blobs fails: the manifest's.
    let mut failed = 0;
    for count in 1..=flush_syncs {
        world.put(0, (0, 0), expected[&(0, 0)]);
        world.disk.fail_syncs_after(count - 1, 1);
        failed += u32::from(world.flush(0).is_err());
        world.disk.fail_syncs_after(0, 0);
        world.flush(0).unwrap();
        world.env.run(world.engine.compact(Some(id(0)))).unwrap();
        assert_eq!(world.paths("blobs/").len(), components, "sync {count}");
        assert_eq!(world.rows(0).unwrap(), expected);
    }
    assert!(failed >= 2);
    world.reopen(Crash::PowerLoss { seed: 14 });
    world.unlock(0).unwrap();
    assert_eq!(world.rows(0).unwrap(), expected);
}

#[test]
fn a_close_waits_for_what_was_accepted() {
    let mut world = World::with_tables(15, small(), 1);
    let mut expected = world.fill(0, 2, 2);
    let write = world.write(0, (7, 7), 7);
    let ticket = world.engine.write(vec![write]);
    let (closed, results) = world
        .env
        .run(async { futures::join!(world.engine.close(), ticket) });
    closed.unwrap();
    results[0].clone().unwrap();
    expected.insert((7, 7), 7);
    assert!(matches!(world.try_put(0, (0, 0), 1), Err(Error::Closed)));
    world.reopen(Crash::Kill);
    world.unlock(0).unwrap();
    assert_eq!(world.rows(0).unwrap(), expected);
}

#[test]
fn a_dropped_ticket_does_not_take_its_write_along() {
    let mut world = World::with_tables(16, small(), 1);
    let write = world.write(0, (7, 7), 7);
    drop(world.engine.write(vec![write]));
    world.stop().unwrap();
    world.reopen(Crash::PowerLoss { seed: 16 });
    world.unlock(0).unwrap();
    assert_eq!(world.rows(0).unwrap(), [((7, 7), 7)].into());
}

#[test]
fn a_write_of_nothing_is_acknowledged_and_takes_no_group() {
    let world = World::with_tables(17, small(), 1);
    let before = files(&world.disk);
    let nothing = palladium_storage::Write::new(Vec::new());
    let results = world.env.run(world.engine.write(vec![nothing]));
    assert!(results[0].is_ok());
    assert!(files(&world.disk) == before);
}

#[test]
fn memory_is_given_back_by_every_road_out() {
    let world = World::with_tables(18, small(), 3);
    let bytes = || world.engine.memory().memtable_bytes;
    for table in 0..3 {
        world.fill(table, 5, 5);
    }
    world.lock(0);
    world.env.run(world.engine.truncate(id(1))).unwrap();
    world.env.run(world.engine.drop_table(id(2))).unwrap();
    assert_eq!(bytes(), 0);
    world.unlock(0).unwrap();
    assert!(bytes() > 0);
    world.flush(0).unwrap();
    assert_eq!(bytes(), 0);
}

#[test]
fn a_failed_sync_stops_the_log_and_nothing_that_was_acknowledged_is_lost() {
    let mut world = World::with_tables(19, small(), 1);
    let expected = world.fill(0, 3, 3);
    assert!(!world.engine.log_has_stopped());
    world.disk.fail_syncs(1);
    let unknown = world.try_put(0, (9, 9), 9);
    assert!(matches!(unknown, Err(Error::OutcomeUnknown { .. })));
    let Err(error @ Error::Stopped { .. }) = world.try_put(0, (9, 8), 9) else {
        panic!("a write after a failed sync is taken");
    };
    assert!(error.to_string().contains("sync"), "says why: {error}");
    assert!(world.engine.log_has_stopped(), "and who watches is told");
    assert_eq!(
        world.rows(0).unwrap(),
        expected,
        "what is not durable is not seen"
    );
    world.lock(0);
    assert!(is_locked(&world.rows(0)), "a lock works without a log");
    world.unlock(0).unwrap();
    assert_eq!(world.rows(0).unwrap(), expected);
    assert!(world.stop().is_err());
    world.reopen(Crash::PowerLoss { seed: 19 });
    assert!(!world.engine.log_has_stopped());
    world.unlock(0).unwrap();
    let mut found = world.rows(0).unwrap();
    found.remove(&(9, 9));
    assert_eq!(found, expected);
}

#[test]
fn a_latch_is_held_until_the_write_is_applied_though_its_writer_has_left() {
    let world = World::with_tables(3, small(), 1);
    world.put(0, (1, 1), 1);
    let key = partition(1);
    let latch = world.env.run(world.engine.latch(id(0), &key));
    let ticket = world
        .engine
        .write(vec![world.write(0, (1, 1), 2).under(latch)]);
    drop(ticket);
    // The next one to take it reads what was written.
    let next = world.env.run(world.engine.latch(id(0), &key));
    assert_eq!(world.rows(0).unwrap().get(&(1, 1)), Some(&2));
    drop(next);
}

#[test]
fn a_new_generation_whose_predecessor_cannot_be_removed_counts_all_the_same() {
    for passing in 0..16 {
        let mut world = World::with_tables(20, small(), 1);
        let mut expected = world.fill(0, 5, 5);
        world.flush(0).unwrap();
        // A commit that fails: the next one begins a new generation of the manifest.
        world.disk.set_room(Some(0));
        world.switch(0).unwrap();
        world.disk.set_room(None);
        expected.extend(world.fill(0, 2, 2));
        world.disk.fail_syncs_after(passing, 1);
        let _ = world.flush(0);
        world.disk.fail_syncs(0);
        // Whatever was said of that flush, nothing that counts is taken for a leftover now.
        world.put(0, (50, 0), 1);
        expected.insert((50, 0), 1);
        world.flush(0).unwrap();
        assert_eq!(world.rows(0).unwrap(), expected, "{passing}");
        world.reopen(Crash::PowerLoss { seed: passing });
        world.unlock(0).unwrap();
        assert_eq!(world.rows(0).unwrap(), expected, "{passing}");
    }
}

#[test]
fn a_failed_log_takes_no_truncation_and_no_drop_that_a_later_start_would_undo() {
    for seed in 1..20 {
        let mut world = World::with_tables(seed, small(), 1);
        let expected = world.fill(0, 3, 3);
        world.disk.fail_syncs(1);
        assert!(world.try_put(0, (9, 9), 9).is_err());
        let truncated = world.env.run(world.engine.truncate(id(0)));
        assert!(matches!(truncated, Err(Error::Stopped { .. })));
        assert!(matches!(world.create(1), Err(Error::Stopped { .. })));
        // What its last group says may stand at the next start, and would speak of a table that is not there.
        let dropped = world.env.run(world.engine.drop_table(id(0)));
        assert!(matches!(dropped, Err(Error::Stopped { .. })));
        world.reopen(Crash::PowerLoss { seed });
        world.unlock(0).unwrap();
        let mut found = world.rows(0).unwrap();
        found.remove(&(9, 9));
        assert_eq!(found, expected, "seed {seed}");
        world.create(1).unwrap();
    }
}

/// Blocks of a table that are opened from now on.
fn opened_from_now_on(table: u8) -> Rc<Cell<u32>> {
    let opened = Rc::new(Cell::new(0));
    let counter = opened.clone();
    openings::watch(move |of| counter.set(counter.get() + u32::from(of == id(table))));
    opened
}

#[test]
fn a_block_that_the_disk_gives_after_the_end_of_the_lease_is_not_opened() {
    let world = World::with_tables(1, small(), 1);
    world.fill(0, 20, 20);
    world.flush(0).unwrap();
    world.lock(0);
    let lease = Lease::starting_at(Reading::now(&*world.env), 10);
    let keys = keys_until(&world.root(0), lease);
    world.env.run(world.engine.unlock(id(0), keys)).unwrap();
    let opened = opened_from_now_on(0);
    let mut read = Box::pin(world.engine.read(everything(0)));
    assert!(
        (&mut read).now_or_never().is_none(),
        "it waits for the disk"
    );
    let before = opened.get();
    world.env.jump(Duration::from_secs(11));
    assert!(is_locked(&world.env.run(read)));
    assert_eq!(opened.get(), before);
}

#[test]
fn a_table_that_is_told_to_stop_while_it_opens_opens_no_further_block() {
    let world = World::with_tables(1, small(), 1);
    world.fill(0, 20, 20);
    world.flush(0).unwrap();
    world.lock(0);
    for polls in [0, 1, 3] {
        let keys = keys_until(&world.root(0), Lease::FOREVER);
        let opened = opened_from_now_on(0);
        let mut unlock = Box::pin(world.engine.unlock(id(0), keys));
        assert!((&mut unlock).now_or_never().is_none(), "it waits its turn");
        world.env.run_some(polls);
        let before = opened.get();
        world.engine.stop(id(0));
        assert!(is_locked(&world.env.run(unlock)), "after {polls} polls");
        assert_eq!(opened.get(), before, "after {polls} polls");
    }
    world.unlock(0).unwrap();
}

#[test]
fn a_root_that_was_seen_after_a_kill_is_there_after_a_loss_of_power() {
    let mut seen_new = 0;
    for sync in 1..8 {
        for seed in 0..20 {
            let mut world = World::with_tables(seed, small(), 1);
            world.disk.go_down_at_sync(sync);
            let _ = world.switch(0);
            world.reopen(Crash::Kill);
            let seen = world.root(0).version;
            seen_new += seen - 1;
            // Nobody opens the table: nothing else would bring its root to the disk.
            world.reopen(Crash::PowerLoss { seed });
            assert_eq!(world.root(0).version, seen, "sync {sync}, seed {seed}");
        }
    }
    assert!(seen_new > 0, "no kill came after the new root was written");
}

#[test]
fn what_was_written_of_a_dropped_column_goes_with_the_next_compaction() {
    let world = World::with_tables(1, small(), 1);
    let rows = world.fill(0, 300, 5);
    world.flush(0).unwrap();
    let bytes = |world: &World| -> usize {
        let blobs = world.paths("blobs/");
        let lengths = blobs.iter().map(|path| world.disk.contents(path));
        lengths.map(|bytes| bytes.unwrap().len()).sum()
    };
    let before = bytes(&world);
    let options = TableOptions {
        columns_gone: [COLUMN].into(),
        ..TableOptions::default()
    };
    world.engine.set_options(id(0), options).unwrap();
    world.env.run(world.engine.compact(Some(id(0)))).unwrap();
    assert!(bytes(&world) < before / 2, "{} of {before}", bytes(&world));
    let bare = rows.into_keys().map(|place| (place, BARE)).collect();
    assert_eq!(world.rows(0).unwrap(), bare, "the rows are there");
}
