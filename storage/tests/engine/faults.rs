//! A disk that cannot be read, has no room or holds damage: what is touched fails and says so, what is not goes on, and nothing is worse afterwards.

use std::sync::Arc;
use std::time::Duration;

use palladium_storage::compaction::{SizeTiered, Strategy, TimeWindow};
use palladium_storage::salvage;
use palladium_storage::verify::Inspection;
use palladium_storage::{
    Cell, CellState, CompactionOptions, Crash, Env, Error, Options, SimulatedBackend, TableOptions,
    Write,
};

use crate::world::{
    Rows, World, disk_of, files, id, keys_of, mutation, one, rows, service_ring, small, spelled,
};

fn table_options(strategy: Strategy) -> TableOptions {
    TableOptions {
        gc_grace_seconds: 1,
        block_bytes: 512,
        compaction: CompactionOptions {
            strategy,
            ..CompactionOptions::default()
        },
        ..TableOptions::default()
    }
}

/// A table whose SSTables are merged only when somebody asks for it.
fn left_alone(world: &World) {
    let options = TableOptions {
        block_bytes: 512,
        compaction: CompactionOptions {
            enabled: false,
            ..CompactionOptions::default()
        },
        ..TableOptions::default()
    };
    world.engine.set_options(id(0), options).unwrap();
}

/// The largest blob: the data of the SSTable.
fn largest_blob(world: &World) -> String {
    let bytes = |path: &String| world.disk.contents(path).unwrap().len();
    world.paths("blobs/").into_iter().max_by_key(bytes).unwrap()
}

#[test]
fn a_disk_that_cannot_be_read_fails_the_read_and_the_next_one_answers() {
    let mut world = World::with_tables(1, small(), 1);
    let expected = world.fill(0, 40, 4);
    world.flush(0).unwrap();
    world.reopen(Crash::Kill);
    world.unlock(0).unwrap();
    world.disk.fail_reads(1);
    assert!(matches!(world.rows(0), Err(Error::Io { .. })));
    assert_eq!(world.rows(0).unwrap(), expected);
    world.put(0, (0, 0), 7);
}

#[test]
fn a_merge_that_cannot_read_leaves_all_as_it_was() {
    let mut world = World::with_tables(2, small(), 1);
    left_alone(&world);
    let mut expected = world.fill(0, 20, 4);
    world.flush(0).unwrap();
    expected.extend(world.fill(0, 30, 4));
    world.flush(0).unwrap();
    world.reopen(Crash::Kill);
    world.unlock(0).unwrap();
    let before = world.paths("blobs/");
    world.disk.fail_reads(1);
    let compacted = world.env.run(world.engine.compact(Some(id(0))));
    assert!(matches!(compacted, Err(Error::Io { .. })));
    assert_eq!(world.paths("blobs/"), before);
    world.env.run(world.engine.compact(Some(id(0)))).unwrap();
    assert_eq!(world.paths("blobs/").len(), before.len() / 2);
    assert_eq!(world.rows(0).unwrap(), expected);
}

#[test]
fn damage_in_an_sstable_fails_the_rows_it_touches_and_no_others() {
    let mut world = World::with_tables(3, small(), 1);
    left_alone(&world);
    let mut expected = world.fill(0, 60, 4);
    world.flush(0).unwrap();
    let path = largest_blob(&world);
    world.stop().unwrap();
    let middle = world.disk.contents(&path).unwrap().len() / 2;
    world.disk.flip(&path, middle, 3);
    world.reopen(Crash::Kill);
    left_alone(&world);
    world.unlock(0).unwrap();
    let mut failed = 0;
    for key in 0..60 {
        match world.env.run(world.engine.read(one(0, key))) {
            Ok(page) => {
                let own = expected.iter().filter(|((of, _), _)| *of == key);
                assert_eq!(
                    rows(page),
                    own.map(|(place, value)| (*place, *value)).collect()
                );
            }
            Err(Error::Corrupt { what }) => {
                assert!(what.contains("at offset"), "{what}");
                failed += 1;
            }
            Err(other) => panic!("{other}"),
        }
    }
    assert!((1..10).contains(&failed), "{failed} partitions failed");
    // The table is written as before, and its other rows are merged and read as before.
    world.put(0, (100, 0), 9);
    expected.insert((100, 0), 9);
    world.flush(0).unwrap();
    assert!(world.env.run(world.engine.compact(Some(id(0)))).is_err());
    let page = world.env.run(world.engine.read(one(0, 100))).unwrap();
    assert_eq!(rows(page), Rows::from([((100, 0), 9)]));
}

#[test]
fn a_damaged_sstable_is_merged_with_nothing_and_holds_up_no_others() {
    let mut world = World::with_tables(12, small(), 1);
    left_alone(&world);
    world.fill(0, 60, 4);
    world.flush(0).unwrap();
    let path = largest_blob(&world);
    for partitions in 3..7 {
        world.fill(0, partitions, 4);
        world.flush(0).unwrap();
    }
    world.stop().unwrap();
    let middle = world.disk.contents(&path).unwrap().len() / 2;
    world.disk.flip(&path, middle, 3);
    world.reopen(Crash::Kill);
    left_alone(&world);
    world.unlock(0).unwrap();
    let options = table_options(Strategy::default());
    world.engine.set_options(id(0), options).unwrap();
    world.env.advance(Duration::from_secs(5));
    let merges = world.engine.finished_merges();
    assert_eq!(merges.len(), 1, "{merges:?}");
    assert_eq!(world.paths("blobs/").len() / 4, 2, "it and the others");
}

#[test]
fn a_merge_that_would_not_fit_the_disk_is_not_begun() {
    let world = World::with_tables(4, small(), 1);
    left_alone(&world);
    let mut expected = world.fill(0, 40, 4);
    world.flush(0).unwrap();
    expected.extend(world.fill(0, 50, 4));
    world.flush(0).unwrap();
    let before = world.paths("blobs/");
    let segments = 2 * world.options.log_segment_bytes;
    world.disk.set_room(Some(segments + 10_000));
    let compacted = world.env.run(world.engine.compact(Some(id(0))));
    assert!(
        matches!(compacted, Err(Error::Full { .. })),
        "{compacted:?}"
    );
    assert_eq!(world.paths("blobs/"), before);
    world.disk.set_room(Some(segments + 100_000));
    world.env.run(world.engine.compact(Some(id(0)))).unwrap();
    assert_eq!(world.rows(0).unwrap(), expected);
}

#[test]
fn where_not_all_fits_the_smaller_sstables_are_merged() {
    let world = World::with_tables(5, small(), 1);
    left_alone(&world);
    for partitions in [60, 4, 5, 6] {
        world.fill(0, partitions, 4);
        world.flush(0).unwrap();
    }
    let segments = 2 * world.options.log_segment_bytes;
    world.disk.set_room(Some(segments + 12_000));
    let tiers = SizeTiered {
        min_threshold: 4,
        ..SizeTiered::default()
    };
    let options = table_options(Strategy::SizeTiered(tiers));
    world.engine.set_options(id(0), options).unwrap();
    world.env.advance(Duration::from_secs(5));
    let merges = world.engine.finished_merges();
    assert_eq!(merges.len(), 1, "{merges:?}");
    let sstables: usize = merges[0].partitions_of.keys().copied().max().unwrap();
    assert!((2..=3).contains(&sstables), "{merges:?}");
}

#[test]
fn what_an_earlier_flush_left_is_written_by_itself_where_there_is_room_for_it() {
    let mut world = World::with_tables(12, small(), 1);
    left_alone(&world);
    world.put(0, (500, 0), 7);
    world.disk.set_room(Some(0));
    assert!(matches!(world.flush(0), Err(Error::Full { .. })));
    world.disk.set_room(None);
    let mut expected = world.fill(0, 250, 4);
    expected.insert((500, 0), 7);
    world.disk.set_room(Some(8 << 10));
    assert!(matches!(world.flush(0), Err(Error::Full { .. })));
    assert_eq!(world.paths("blobs/").len(), 4, "one SSTable");
    world.disk.set_room(None);
    world.reopen(Crash::PowerLoss { seed: 12 });
    world.unlock(0).unwrap();
    assert_eq!(world.rows(0).unwrap(), expected);
}

#[test]
fn writers_slow_down_for_sstables_that_wait_and_never_by_more_than_100_ms() {
    let options = Options {
        // Nothing is ever merged at this pace.
        compaction_throughput: 1,
        concurrent_compactors: 1,
        ..small()
    };
    let world = World::with_tables(6, options, 1);
    let timed = |value: u64| {
        let before = world.env.boot_nanos();
        world.put(0, (value % 50, 0), value);
        Duration::from_nanos(world.env.boot_nanos() - before)
    };
    let mut times = Vec::new();
    for round in 0..300 {
        times.push(timed(round));
        world.flush(0).unwrap();
    }
    assert_eq!(times[0], Duration::ZERO);
    let slowest = times.iter().max().unwrap();
    assert!(*slowest <= Duration::from_millis(100), "{slowest:?}");
    assert!(
        times[299] > times[100] && times[100] > Duration::ZERO,
        "{times:?}"
    );
    // What belongs to nobody's merge goes when the engine does.
    world.stop().unwrap();
}

#[test]
fn data_that_has_expired_goes_by_whole_sstables_though_nobody_writes() {
    let world = World::with_tables(7, small(), 1);
    let windows = TimeWindow {
        window_seconds: 60,
        ..TimeWindow::default()
    };
    let mut options = table_options(Strategy::TimeWindow(windows));
    options.compaction.expiry.check_seconds = 60;
    world.engine.set_options(id(0), options).unwrap();
    for window in 0..3 {
        let now = world.engine.now_seconds();
        let writes = (0..20).map(|key| {
            let timestamp = world.engine.next_timestamp();
            let mut mutation = mutation(0, (key, window), key, timestamp);
            for row in &mut mutation.update.rows {
                row.liveness = row.liveness.map(|mut liveness| {
                    (liveness.ttl, liveness.expires_at) = (300, now + 300);
                    liveness
                });
                row.cells = vec![Cell {
                    state: CellState::Expiring {
                        value: spelled(key),
                        ttl: 300,
                        expires_at: now + 300,
                    },
                    ..row.cells[0].clone()
                }];
            }
            Write::new(vec![mutation])
        });
        for result in world.env.run(world.engine.write(writes.collect())) {
            result.unwrap();
        }
        world.flush(0).unwrap();
        world.env.advance(Duration::from_secs(70));
    }
    let count = |world: &World| world.paths("blobs/").len() / 4;
    assert_eq!(count(&world), 3, "each window has its SSTable");
    world.env.advance(Duration::from_secs(170));
    let some = count(&world);
    assert!((1..3).contains(&some), "the oldest have gone: {some}");
    world.env.advance(Duration::from_secs(300));
    assert_eq!(count(&world), 0);
    assert_eq!(
        world.engine.finished_merges(),
        [],
        "nothing was merged for it"
    );
}

/// What an operator does with a folder that nobody serves. Gives what was said to be lost of these tables.
fn discarded(world: &mut World, tables: &[u8]) -> Vec<String> {
    let rings = tables.iter().map(|table| keys_of(&world.root(*table)).ring);
    let rings: Vec<_> = rings.collect();
    world.env.drop_tasks();
    world.disk.crash(Crash::Kill);
    let backend = Arc::new(SimulatedBackend::open(&world.disk).unwrap());
    let env: Arc<dyn Env> = world.env.clone();
    let losses = world.env.run(async {
        let inspection = Inspection::open(&*backend, &service_ring()).await.unwrap();
        let (mut wrecks, mut losses) = (Vec::new(), Vec::new());
        for ring in &rings {
            let wreck = inspection.wreck(&*backend, ring).await.unwrap();
            assert!(!wreck.is_whole());
            losses.extend(wreck.losses.clone());
            wrecks.push((wreck, &**ring));
        }
        salvage::discard(backend.clone(), env, service_ring(), &inspection, &wrecks)
            .await
            .unwrap();
        losses
    });
    drop(backend);
    world.disk.crash(Crash::Kill);
    losses
}

/// The same, and the next life begins with whole tables.
fn salvaged(world: &mut World, tables: &[u8]) -> Vec<String> {
    let losses = discarded(world, tables);
    // A damaged segment is seen until nobody needs it any more.
    let mut damage = world.inspect().unwrap().damage;
    damage.retain(|line| !line.starts_with("log segment"));
    assert_eq!(damage, [""; 0]);
    world.reopen(Crash::Kill);
    for table in tables {
        world.unlock(*table).unwrap();
    }
    losses
}

#[test]
fn of_a_damaged_sstable_every_partition_is_salvaged_that_the_damage_does_not_touch() {
    for seed in 0..8 {
        let mut world = World::with_tables(seed, small(), 1);
        left_alone(&world);
        // Partitions over several blocks and blocks with several partitions.
        let mut expected = world.fill(0, 60, 1 + seed * 4);
        world.flush(0).unwrap();
        let path = largest_blob(&world);
        world.stop().unwrap();
        let bytes = world.disk.contents(&path).unwrap().len() as u64;
        world
            .disk
            .flip(&path, (32 + world.draw(bytes - 32)) as usize, 1);
        let losses = salvaged(&mut world, &[0]);
        assert_eq!(losses.len(), 1, "seed {seed}: {losses:?}");
        let found = world.rows(0).unwrap();
        let lost: Vec<u64> = expected
            .keys()
            .filter(|place| !found.contains_key(place))
            .map(|place| place.0)
            .collect();
        assert!(
            !lost.is_empty() && lost.len() < expected.len(),
            "seed {seed}"
        );
        // A partition is kept whole or not at all.
        expected.retain(|(key, _), _| !lost.contains(key));
        assert_eq!(found, expected, "seed {seed}");
    }
}

/// A table with two SSTables, of which the newer one cannot be opened. Gives what is in the older one.
fn with_a_lost_sstable(seed: u64) -> (World, Rows) {
    let mut world = World::with_tables(seed, small(), 1);
    left_alone(&world);
    let expected = world.fill(0, 10, 4);
    world.flush(0).unwrap();
    let before = world.paths("blobs/");
    world.put(0, (200, 0), 1);
    world.flush(0).unwrap();
    let mut second = world.paths("blobs/");
    second.retain(|path| !before.contains(path));
    world.stop().unwrap();
    for path in second {
        world.disk.flip(&path, 40, 0);
    }
    world.reopen(Crash::Kill);
    left_alone(&world);
    world.unlock(0).unwrap();
    (world, expected)
}

#[test]
fn an_sstable_that_cannot_be_opened_fails_reads_and_not_writes_and_nothing_is_forgotten() {
    let (mut world, _) = with_a_lost_sstable(9);
    for _ in 0..2 {
        assert!(matches!(world.rows(0), Err(Error::Corrupt { .. })));
        world.put(0, (0, 0), 77);
        world.flush(0).unwrap();
        // What is merged without it must not lose what hides something in it.
        world.env.run(world.engine.compact(Some(id(0)))).unwrap();
        world.reopen(Crash::Kill);
        world.unlock(0).unwrap();
    }
    world.switch(0).unwrap();
    assert!(matches!(world.rows(0), Err(Error::Corrupt { .. })));
    world.env.run(world.engine.truncate(id(0))).unwrap();
    assert_eq!(
        world.rows(0).unwrap(),
        Rows::new(),
        "all of the table is gone, it included"
    );
    world.stop().unwrap();
    world.reopen(Crash::Kill);
    assert_eq!(world.paths("blobs/"), [""; 0]);
}

#[test]
fn a_rewrite_passes_over_an_sstable_that_cannot_be_opened_and_rests() {
    let (world, _) = with_a_lost_sstable(11);
    let engine = world.engine.clone();
    world.env.spawn(Box::pin(async move {
        engine.rewrite(id(0)).await.unwrap();
    }));
    world.env.run_some(100_000);
    assert!(!world.env.run_some(1), "it goes round and round");
    world.env.run(world.env.sleep(Duration::from_secs(1)));
    let left = world.env.run(world.engine.unsettled())[&id(0)];
    assert_eq!((left.sstables_to_rewrite, left.sstables_unreadable), (1, 1));
}

#[test]
fn an_sstable_that_cannot_be_opened_is_given_up_whole_and_the_others_stay() {
    let (mut world, mut expected) = with_a_lost_sstable(10);
    world.put(0, (201, 0), 2);
    expected.insert((201, 0), 2);
    let losses = salvaged(&mut world, &[0]);
    assert!(losses[0].contains("whole"), "{losses:?}");
    assert_eq!(world.rows(0).unwrap(), expected);
}

#[test]
fn of_a_damaged_log_all_is_salvaged_that_it_still_says_and_later_writes_are_safe() {
    let mut world = World::with_tables(10, small(), 2);
    let mut expected = Rows::new();
    for value in 0..20 {
        world.put(0, (value, 0), value);
        world.put(1, (value, 0), value);
        expected.insert((value, 0), value);
    }
    let others = world.rows(1).unwrap();
    world.env.advance(Duration::from_secs(2));
    let (path, offset) = world.first_share(0);
    world.disk.flip(&path, offset + 20, 2);
    world.reopen(Crash::Kill);
    assert!(matches!(world.unlock(0), Err(Error::Corrupt { .. })));
    let losses = salvaged(&mut world, &[0]);
    assert!(
        !losses.is_empty() && losses.iter().all(|line| line.contains("group")),
        "{losses:?}"
    );
    expected.remove(&(0, 0));
    assert_eq!(world.rows(0).unwrap(), expected);
    world.unlock(1).unwrap();
    assert_eq!(world.rows(1).unwrap(), others, "its neighbour lost nothing");
    // Once its neighbour's share of the segment is written out, too, nothing shows the damage any more.
    world.flush(1).unwrap();
    world.flush(0).unwrap();
    world.env.advance(Duration::from_secs(3));
    world.env.drop_tasks();
    world.disk.crash(Crash::Kill);
    assert_eq!(world.inspect().unwrap().damage, [""; 0]);
    world.reopen(Crash::Kill);
    world.unlock(0).unwrap();
    // New groups come after the floor: a replay brings them back.
    world.put(0, (77, 0), 7);
    expected.insert((77, 0), 7);
    world.reopen(Crash::PowerLoss { seed: 3 });
    world.unlock(0).unwrap();
    assert_eq!(world.rows(0).unwrap(), expected);
}

#[test]
fn once_a_damaged_log_was_salvaged_nothing_shows_the_damage_any_more() {
    for lost in ["a share", "a group", "a spare copy"] {
        let mut world = World::with_tables(14, small(), 3);
        for value in 0..20 {
            world.put(0, (value, 0), value);
            world.put(1, (value, 0), value);
        }
        world.env.advance(Duration::from_secs(2));
        let (path, offset) = world.first_share(0);
        let page = offset - offset % 4096;
        match lost {
            "a share" => world.disk.flip(&path, offset + 20, 2),
            "a spare copy" => world.disk.flip(&path, page + 20, 2),
            _ => {
                let mut bytes = world.disk.contents(&path).unwrap();
                bytes[page..page + 4096].fill(0);
                world.disk.replace(&path, Some(bytes));
            }
        }
        assert_ne!(world.inspect().unwrap().damage, [""; 0]);
        let backend = Arc::new(SimulatedBackend::open(&world.disk).unwrap());
        let env: Arc<dyn Env> = world.env.clone();
        world.env.run(async {
            let inspection = Inspection::open(&*backend, &service_ring()).await.unwrap();
            assert!(inspection.is_log_damaged());
            let roots: Vec<_> = inspection.tables().into_iter().collect();
            let rings = roots
                .iter()
                .map(|(_, root)| keys_of(root.as_ref().unwrap()).ring);
            let rings: Vec<_> = rings.collect();
            let mut wrecks = Vec::new();
            for ring in &rings {
                let wreck = inspection.wreck(&*backend, ring).await.unwrap();
                let is_hurt = lost == "a group" || (lost == "a share" && ring.table() == id(0));
                assert_eq!(wreck.is_whole(), !is_hurt, "{lost}");
                if wreck.is_to_be_written() {
                    wrecks.push((wreck, &**ring));
                }
            }
            salvage::discard(backend.clone(), env, service_ring(), &inspection, &wrecks)
                .await
                .unwrap();
        });
        drop(backend);
        world.disk.crash(Crash::Kill);
        world.try_reopen_as_it_is().unwrap();
        // What was done is written down, in a segment of its own.
        world.unlock(2).unwrap();
        world.put(2, (0, 0), 1);
        world.env.run(world.env.sleep(Duration::from_secs(1)));
        world.engine.release_log();
        world.stop().unwrap();
        world.disk.crash(Crash::Kill);
        assert_eq!(world.inspect().unwrap().damage, [""; 0], "{lost}");
        world.try_reopen_as_it_is().unwrap();
        for (table, rows) in [(0, 20), (1, 20), (2, 1)] {
            world.unlock(table).unwrap();
            let found = world.rows(table).unwrap().len();
            let is_hurt = table == 0 && lost != "a spare copy";
            assert_eq!(found, rows - usize::from(is_hurt), "{lost}, table {table}");
        }
    }
}

/// Looks, and discards what is lost of the tables, as far as the disk lets it.
fn try_to_salvage(world: &World, tables: &[u8]) -> palladium_storage::Result<()> {
    let backend = Arc::new(SimulatedBackend::open(&world.disk)?);
    let env: Arc<dyn Env> = world.env.clone();
    world.env.run(async {
        let inspection = Inspection::open(&*backend, &service_ring()).await?;
        let roots: Vec<_> = inspection.tables();
        let rings = roots
            .iter()
            .map(|(_, root)| keys_of(root.as_ref().unwrap()).ring);
        let rings: Vec<_> = rings.collect();
        let mut wrecks = Vec::new();
        for ring in rings
            .iter()
            .filter(|ring| tables.iter().any(|table| ring.table() == id(*table)))
        {
            let wreck = inspection.wreck(&*backend, ring).await?;
            if wreck.is_to_be_written() {
                wrecks.push((wreck, &**ring));
            }
        }
        let service = service_ring();
        let kept =
            salvage::discard(backend.clone(), env.clone(), service, &inspection, &wrecks).await;
        kept.map(drop)
    })
}

#[test]
fn a_salvage_that_was_cut_short_at_any_step_is_asked_for_again_and_loses_no_more() {
    let mut world = World::with_tables(15, small(), 2);
    left_alone(&world);
    let mut whole = world.fill(0, 60, 4);
    world.flush(0).unwrap();
    let path = largest_blob(&world);
    whole.extend(world.fill(0, 5, 4));
    let others = world.fill(1, 5, 4);
    world.env.advance(Duration::from_secs(2));
    let (log, offset) = world.first_share(0);
    world.disk.flip(&log, offset + 20, 2);
    world.disk.flip(&path, 3_000, 1);
    let damaged = files(&world.disk);
    let (mut cut_short, mut expected) = (0, None);
    for step in 0.. {
        world.move_to_disk(disk_of(&damaged));
        match step % 2 {
            0 => world.disk.fail_syncs_after(step / 2, u32::MAX),
            _ => world.disk.fail_writes_after(step / 2, u32::MAX),
        }
        let done = try_to_salvage(&world, &[0, 1]);
        world.disk.crash(Crash::PowerLoss { seed: step });
        world.disk.fail_syncs(0);
        world.disk.fail_writes_after(0, 0);
        try_to_salvage(&world, &[0, 1]).unwrap();
        world.disk.crash(Crash::Kill);
        let mut damage = world.inspect().unwrap().damage;
        damage.retain(|line| !line.starts_with("log segment"));
        assert_eq!(damage, [""; 0], "step {step}");
        world.try_reopen_as_it_is().unwrap();
        for table in [0, 1] {
            world.unlock(table).unwrap();
        }
        assert_eq!(world.rows(1).unwrap(), others, "step {step}");
        let found = world.rows(0).unwrap();
        let first = expected.get_or_insert_with(|| found.clone());
        assert_eq!(found, *first, "step {step}");
        assert!(found.len() < whole.len() && found.len() > whole.len() / 2);
        cut_short += u64::from(done.is_err());
        if done.is_ok() && step % 2 == 1 {
            break;
        }
    }
    assert!(cut_short > 10, "{cut_short}");
}

#[test]
fn a_log_whose_end_nobody_knows_is_salvaged_and_no_group_is_waited_for_that_cannot_come() {
    let mut world = World::with_tables(13, small(), 1);
    world.fill(0, 5, 2);
    world.env.drop_tasks();
    world.disk.crash(Crash::Kill);
    world.disk.replace("log/watermark", None);
    let losses = discarded(&mut world, &[0]);
    assert_eq!(losses.len(), 1, "{losses:?}");
    let damage = world.inspect().unwrap().damage;
    let is_known = |line: &String| line.contains("no watermark");
    assert!(damage.iter().all(is_known), "{damage:?}");
}

#[test]
fn of_a_write_over_two_tables_the_half_that_is_left_is_kept_on_an_operators_word_and_named() {
    let mut world = World::with_tables(11, small(), 2);
    let timestamp = world.engine.next_timestamp();
    let mutations = [0, 1].map(|table| mutation(table, (1, 1), 5, timestamp));
    let write = Write::new(mutations.to_vec());
    for result in world.env.run(world.engine.write(vec![write])) {
        result.unwrap();
    }
    world.put(1, (2, 2), 6);
    world.env.advance(Duration::from_secs(2));
    let (path, offset) = world.first_share(0);
    world.disk.flip(&path, offset + 20, 2);
    world.reopen(Crash::Kill);
    for table in [0, 1] {
        let unlocked = world.unlock(table);
        assert!(
            matches!(unlocked, Err(Error::Corrupt { .. })),
            "half a write is no write"
        );
    }
    let losses = salvaged(&mut world, &[0, 1]);
    assert_eq!(losses.len(), 2, "{losses:?}");
    assert!(losses[1].contains("nothing of this table"), "{losses:?}");
    assert_eq!(world.rows(0).unwrap(), Rows::new());
    assert_eq!(
        world.rows(1).unwrap(),
        Rows::from([((1, 1), 5), ((2, 2), 6)])
    );
}
