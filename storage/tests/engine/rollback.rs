//! An older copy of the folder, with nothing but writes between it and the newest: seen by whoever remembers how far the log had come.

use std::time::Duration;

use palladium_storage::{Crash, Error, LogSync, Options};

use crate::world::{World, disk_of, files, small};

/// Long enough for the watermark to be stored.
const NOTED: Duration = Duration::from_secs(2);

#[test]
fn an_older_copy_is_refused_by_the_log_alone_however_often_it_is_tried() {
    let mut world = World::with_tables(1, small(), 1);
    let kept = world.fill(0, 3, 4);
    world.env.advance(NOTED);
    let (older, epoch) = (files(&world.disk), world.engine.epoch());
    let end = world.engine.log_sequence();
    world.put(0, (50, 0), 1);
    world.env.advance(NOTED);
    assert_eq!(world.engine.epoch(), epoch, "a write alone raises no epoch");
    world.options.log_sequence_seen = world.engine.log_sequence();
    let disk = disk_of(&older);
    for _ in 0..3 {
        let refused = world.move_to(disk.clone());
        let Err(Error::Older { what }) = refused else {
            panic!("an older copy was opened: {refused:?}");
        };
        assert!(what.contains("an older copy was put back"), "{what}");
    }
    // One that has come as far as was seen is no older copy.
    world.options.log_sequence_seen = end;
    world.move_to(disk).unwrap();
    world.unlock(0).unwrap();
    assert_eq!(world.rows(0).unwrap(), kept);
}

#[test]
fn an_older_log_alone_is_refused_too() {
    let mut world = World::with_tables(2, small(), 1);
    world.fill(0, 3, 4);
    let mut older = files(&world.disk);
    older.retain(|path, _| path.starts_with("log/"));
    world.put(0, (50, 0), 1);
    world.env.advance(NOTED);
    world.options.log_sequence_seen = world.engine.log_sequence();
    let mut mixed = files(&world.disk);
    mixed.retain(|path, _| !path.starts_with("log/"));
    mixed.extend(older);
    let refused = world.move_to(disk_of(&mixed));
    assert!(matches!(refused, Err(Error::Older { .. })), "{refused:?}");
}

/// Groups whose loss the folder itself knows of are damage, which stops tables; the folder is not an older one.
#[test]
fn a_log_that_is_gone_and_missed_is_damage_and_no_older_copy() {
    let mut world = World::with_tables(3, small(), 1);
    world.fill(0, 3, 4);
    world.stop().unwrap();
    let seen = world.engine.log_sequence();
    let mut without = files(&world.disk);
    without.retain(|path, _| !path.starts_with("log/segment-"));
    world.options.log_sequence_seen = seen;
    world.move_to(disk_of(&without)).unwrap();
    assert!(matches!(world.unlock(0), Err(Error::Corrupt { .. })));
    // And it goes on behind them, so that what is noted does not go back.
    assert!(world.engine.log_sequence() >= seen);
}

/// A tail behind the watermark may be lost to damage, and is no sign of an older copy: what is called known outside is what the watermark names.
#[test]
fn a_damaged_tail_behind_the_watermark_stops_no_start() {
    let mut world = World::with_tables(4, small(), 2);
    world.fill(0, 3, 4);
    world.env.advance(NOTED);
    world.put(0, (50, 0), 1);
    world.options.log_sequence_seen = world.engine.log_sequence();
    world.env.drop_tasks();
    world.disk.crash(Crash::Kill);
    let mut cut = files(&world.disk);
    let (_, newest) = cut
        .iter_mut()
        .rfind(|(path, bytes)| path.contains("segment") && bytes.iter().any(|byte| *byte != 0))
        .expect("the log has a segment");
    let end = newest
        .iter()
        .rposition(|byte| *byte != 0)
        .expect("it holds something");
    newest[end / 4096 * 4096..].fill(0);
    world.move_to(disk_of(&cut)).unwrap();
    world.unlock(1).unwrap();
}

/// [`World::reopen`] opens what the crash has left as somebody would who has noted how far the log was durable, right before it.
#[test]
fn a_crash_in_the_midst_of_writes_leaves_all_that_was_called_durable() {
    let periodic = LogSync::Periodic {
        every: Duration::from_secs(10),
    };
    for (seed, log_sync) in (1..60).zip([LogSync::Group, periodic].into_iter().cycle()) {
        let options = Options {
            log_sync,
            ..small()
        };
        let mut world = World::with_tables(seed, options, 1);
        let crashes = [Crash::Kill, Crash::PowerLoss { seed }];
        for crash in crashes {
            let mut noted = 0;
            for round in 0..1 + world.draw(12) {
                world.put(0, (round, 0), seed);
                noted = noted.max(world.engine.log_sequence());
                // Nobody waits for these.
                for row in 0..world.draw(4) {
                    let write = world.write(0, (round, row), seed);
                    drop(world.engine.write(vec![write]));
                }
                let pause = Duration::from_millis(world.draw(4_000));
                world.env.advance(pause);
            }
            assert!(world.engine.log_sequence() >= noted, "seed {seed}");
            world.reopen(crash);
            world.unlock(0).unwrap();
        }
    }
}
