//! A disk of which every call takes up to 100 ms: writers share their waits, readers of what is in memory have none, and flushes and merges hold up nobody.

use std::cell::RefCell;
use std::pin::pin;
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::{Either, join_all, select};
use palladium_storage::{Crash, Env, Error, HeldCalls, Options};

use crate::world::{self, Rows, World, everything, id, rows, small};

const SLOW: Duration = Duration::from_millis(100);

fn slow_world(seed: u64) -> World {
    let world = World::with_tables(seed, small(), 1);
    world.disk.slow_down(world.env.clone(), seed, SLOW);
    world
}

#[test]
fn on_a_slow_disk_many_writers_wait_no_longer_than_a_few() {
    let mut world = slow_world(1);
    let mut expected = Rows::new();
    let tickets: Vec<_> = (0..300)
        .map(|value| {
            let place = (value % 60, value / 60);
            expected.insert(place, value);
            world.engine.write(vec![world.write(0, place, value)])
        })
        .collect();
    let began = world.env.boot_nanos();
    for results in world.env.run(join_all(tickets)) {
        results[0].clone().unwrap();
    }
    let took = Duration::from_nanos(world.env.boot_nanos() - began);
    // One group, or two, of four waits each; one after the other it would be half a minute.
    assert!(took > Duration::ZERO && took <= 10 * SLOW, "{took:?}");
    world.reopen(Crash::PowerLoss { seed: 1 });
    world.unlock(0).unwrap();
    assert_eq!(world.rows(0).unwrap(), expected);
}

#[test]
fn on_a_slow_disk_whoever_reads_memory_does_not_wait_for_who_writes() {
    let world = slow_world(2);
    let expected = world.fill(0, 4, 4);
    let ticket = world.engine.write(vec![world.write(0, (9, 9), 9)]);
    world.env.run_some(20);
    let now = world.env.boot_nanos();
    let page = world.engine.try_read(&everything(0));
    let page = page.expect("all of it is in memory").unwrap();
    assert_eq!(rows(page), expected, "what is not durable is not seen");
    assert_eq!(world.env.boot_nanos(), now);
    world.env.run(ticket)[0].clone().unwrap();
    assert_eq!(world.rows(0).unwrap().get(&(9, 9)), Some(&9));
}

/// What is told while an operation goes on, at each step.
fn told<T>(
    world: &World,
    operation: impl Future<Output = Result<(), Error>>,
    tell: impl Fn() -> Vec<T>,
) -> Vec<T> {
    let told = RefCell::new(Vec::new());
    let mut operation = pin!(operation);
    let told_at_each_step = async {
        while futures::poll!(&mut operation)
            .map(Result::unwrap)
            .is_pending()
        {
            told.borrow_mut().extend(tell());
            world.env.sleep(Duration::from_micros(500)).await;
        }
    };
    world.env.run(told_at_each_step);
    assert!(tell().is_empty(), "nothing is under way any more");
    told.into_inner()
}

#[test]
fn how_far_a_flush_and_a_merge_are_is_told_in_bytes() {
    let options = Options {
        merge_bytes_max: 0,
        ..small()
    };
    let world = World::with_tables(4, options, 1);
    for value in 0..2 {
        world.fill(0, 200, 8);
        let in_memory = world.engine.memory().memtable_bytes as u64;
        world.disk.slow_down(world.env.clone(), 4 + value, SLOW);
        let engine = world.engine.clone();
        let flushes = told(&world, engine.flush(Some(id(0))), || {
            engine.flush_activity()
        });
        world.disk.speed_up();
        let last = flushes.last().expect("it took its time");
        assert_eq!(last.bytes_max, in_memory);
        assert!(
            last.bytes > in_memory / 2 && last.bytes <= in_memory,
            "{last:?}"
        );
    }
    world.disk.slow_down(world.env.clone(), 6, SLOW);
    let engine = world.engine.clone();
    let merges = told(&world, engine.compact(Some(id(0))), || {
        engine.merge_activity()
    });
    let (first, last) = (&merges[0], merges.last().unwrap());
    assert_eq!((first.sstables, last.sstables), (2, 2));
    assert!(merges.iter().is_sorted_by_key(|merge| merge.bytes));
    assert!(first.bytes < first.bytes_max / 2, "{first:?}");
    assert_eq!(last.bytes, last.bytes_max, "it has read all");
}

#[test]
fn on_a_slow_disk_a_flush_and_a_merge_hold_up_no_writer() {
    let world = slow_world(3);
    let mut expected = world.fill(0, 60, 4);
    world.flush(0).unwrap();
    expected.extend(world.fill(0, 50, 4));
    let (engine, env) = (world.engine.clone(), world.env.clone());
    let began = env.boot_nanos();
    let merging = async {
        engine.compact(None).await.unwrap();
        env.boot_nanos() - began
    };
    let writing = async {
        let write = world.write(0, (200, 0), 7);
        engine.write(vec![write]).await[0].clone().unwrap();
        env.boot_nanos() - began
    };
    let (merged, written) = env.run(async { futures::join!(merging, writing) });
    expected.insert((200, 0), 7);
    assert!(
        written < merged,
        "{written} ns, and the merge took {merged}"
    );
    assert!(Duration::from_nanos(written) <= 10 * SLOW);
    assert_eq!(world.rows(0).unwrap(), expected);
}

/// A world whose log is long with what the first table has to flush. The second has something to flush, too.
fn world_with_a_long_log(seed: u64) -> (World, Rows) {
    let world = World::with_tables(seed, small(), 3);
    let expected = world.fill(0, 400, 4);
    world.put(1, (0, 0), 1);
    (world, expected)
}

/// Writes that are acknowledged while something does not come to an end: long before it would on any disk.
fn put_meanwhile(world: &World, expected: &mut Rows) {
    for value in 0..20 {
        let ticket = world
            .engine
            .write(vec![world.write(0, (500, value), value)]);
        let patience = world.env.sleep(Duration::from_secs(60));
        match world.env.run(select(ticket, patience)) {
            Either::Left((results, _)) => results[0].clone().unwrap(),
            Either::Right(_) => panic!("write {value} waits"),
        }
        expected.insert((500, value), value);
    }
}

/// The log's loop is busy; one flush has asked it to let segments go, and an operation on another table has begun, whose commit of the manifest does not come to an end.
/// Gives the end of that operation once the loop has gone on.
fn let_go_while_a_commit_waits(
    world: &World,
    flushed: u8,
    operation: impl Future<Output = Result<(), Error>> + Send + 'static,
) -> oneshot::Receiver<Result<(), Error>> {
    world.disk.hold(HeldCalls::LogSyncs, true);
    let busy = world.engine.write(vec![world.write(2, (1, 1), 1)]);
    world.env.run_ready();
    world.flush(flushed).unwrap();
    world.disk.hold(HeldCalls::ManifestCommits, true);
    let (done, ended) = oneshot::channel();
    world.env.spawn(Box::pin(async move {
        let _ = done.send(operation.await);
    }));
    world.env.run_ready();
    world.disk.hold(HeldCalls::LogSyncs, false);
    world.env.run(busy)[0].clone().unwrap();
    world.env.run_ready();
    ended
}

#[test]
fn writes_are_acknowledged_while_a_commit_of_the_manifest_waits_for_the_disk() {
    let (world, mut expected) = world_with_a_long_log(7);
    let segments = world.paths("log/segment").len();
    let engine = world.engine.clone();
    let truncated = async move { engine.truncate(id(1)).await };
    let mut ended = let_go_while_a_commit_waits(&world, 0, truncated);
    put_meanwhile(&world, &mut expected);
    assert!(matches!(ended.try_recv(), Ok(None)), "it is under way");
    assert!(
        world.paths("log/segment").len() < segments,
        "by the floors of the first flush"
    );
    world.disk.hold(HeldCalls::ManifestCommits, false);
    world.env.run(ended).unwrap().unwrap();
    assert_eq!(world.rows(0).unwrap(), expected);
}

#[test]
fn what_an_unfinished_commit_would_let_go_stays_in_the_log() {
    let (mut world, expected) = world_with_a_long_log(8);
    let segments = world.paths("log/segment");
    let engine = world.engine.clone();
    let flushed = async move { engine.flush(Some(id(0))).await };
    let mut ended = let_go_while_a_commit_waits(&world, 1, flushed);
    assert!(matches!(ended.try_recv(), Ok(None)), "it is under way");
    assert!(
        segments
            .iter()
            .all(|path| world.paths("log/segment").contains(path))
    );
    world.reopen(Crash::PowerLoss { seed: 8 });
    world.unlock(0).unwrap();
    assert_eq!(world.rows(0).unwrap(), expected);
}

#[test]
fn writes_are_acknowledged_while_segments_are_being_removed() {
    let (world, mut expected) = world_with_a_long_log(9);
    world.disk.hold(HeldCalls::LogRemovals, true);
    let segments = world.paths("log/segment").len();
    world.flush(0).unwrap();
    world.flush(1).unwrap();
    put_meanwhile(&world, &mut expected);
    assert!(world.paths("log/segment").len() >= segments);
    world.disk.hold(HeldCalls::LogRemovals, false);
    world.env.run_ready();
    assert!(world.paths("log/segment").len() < segments);
    assert_eq!(world.rows(0).unwrap(), expected);
    world.stop().unwrap();
}

/// Whether an operation answers while no file goes.
fn answers(world: &World, operation: impl Future<Output = Result<(), Error>>) -> bool {
    let patience = world.env.sleep(Duration::from_secs(60));
    let operation = pin!(operation);
    match world.env.run(select(operation, patience)) {
        Either::Left((result, _)) => {
            result.unwrap();
            true
        }
        Either::Right(_) => false,
    }
}

#[test]
fn truncate_and_the_end_of_a_store_answer_while_files_are_being_removed() {
    let world = World::with_tables(10, small(), 1);
    let store = palladium_storage::Store(1);
    for value in 0..2 {
        let mut derived = world::mutation(0, (value, 0), value, world.engine.next_timestamp());
        derived.store = store;
        let write = palladium_storage::Write::new(vec![derived]);
        world.env.run(world.engine.write(vec![write]))[0]
            .clone()
            .unwrap();
        world.put(0, (value, 1), value);
        world.flush(0).unwrap();
    }
    let files = world.paths("blobs/").len();
    world.disk.hold(HeldCalls::BlobRemovals, true);
    assert!(answers(&world, world.engine.drop_store(id(0), store)));
    assert!(answers(&world, world.engine.truncate(id(0))));
    assert_eq!(world.rows(0).unwrap(), Rows::new());
    assert_eq!(world.paths("blobs/").len(), files);
    world.disk.hold(HeldCalls::BlobRemovals, false);
    world.stop().unwrap();
    assert_eq!(world.paths("blobs/").len(), 0);
}

#[test]
fn whoever_empties_more_tables_than_files_may_wait_waits_for_their_removal() {
    let options = Options {
        removals_waiting_max: 8,
        ..small()
    };
    let world = World::with_tables(11, options, 5);
    for table in 0..5 {
        world.put(table, (1, 1), 1);
        world.flush(table).unwrap();
    }
    world.disk.hold(HeldCalls::BlobRemovals, true);
    let answered: Vec<bool> = (0..5)
        .map(|table| match table % 2 {
            0 => answers(&world, world.engine.truncate(id(table))),
            _ => answers(&world, world.engine.drop_table(id(table))),
        })
        .collect();
    // Of four files each; also who waits has emptied his table.
    assert_eq!(answered, [true, true, false, false, false]);
    assert_eq!(world.rows(2).unwrap(), Rows::new());
    world.disk.hold(HeldCalls::BlobRemovals, false);
    world.stop().unwrap();
    assert_eq!(world.paths("blobs/").len(), 0);
}
