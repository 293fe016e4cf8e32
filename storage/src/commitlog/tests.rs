//! Stories of the log: what survives, what is given back, what a failed or full disk does. Damage has a chapter of its own.

mod damage;
mod mutated;

use std::collections::BTreeMap;
use std::sync::Arc;

use palladium_crypto::{ClusterId, CmkRef, KeyRing, Secret, TableId, TableKey};

use super::layout::{GroupHeader, PAGE};
use super::*;
use crate::backend::{Crash, Durability, HeldCalls, SimulatedBackend, SimulatedDisk};
use crate::env::SimulatedEnv;
use crate::error::Error;

const A: TableId = TableId([0xaa; 16]);
const B: TableId = TableId([0xbb; 16]);
const SEGMENT_BYTES: u64 = 16 * PAGE as u64;
/// Pages before the first group.
const HEADERS: usize = 2 * PAGE;

fn ring_of(table: TableId, version: u32) -> Arc<KeyRing> {
    let secret = Secret::from_bytes([version as u8; 32]);
    let cmk = CmkRef::parse("local:test").unwrap();
    let key = |version| TableKey::derive(&secret, ClusterId([1; 16]), table, version, &cmk);
    let older = (1..version).map(key).collect();
    Arc::new(KeyRing::new(key(version), older))
}

struct World {
    disk: Arc<SimulatedDisk>,
    env: Arc<SimulatedEnv>,
    service: Arc<KeyRing>,
    incarnation: u64,
}

type Log = CommitLog<SimulatedBackend>;

impl World {
    fn new(seed: u64) -> World {
        World {
            disk: SimulatedDisk::new(),
            env: SimulatedEnv::new(seed),
            service: ring_of(crate::root::SERVICE, 1),
            incarnation: 0,
        }
    }

    fn try_open(&mut self) -> Result<(Log, Recovered)> {
        self.incarnation += 1;
        // What a former life left running holds its backend.
        self.env.drop_tasks();
        let backend = Arc::new(SimulatedBackend::open(&self.disk)?);
        let options = CommitLogOptions {
            segment_bytes: SEGMENT_BYTES,
            incarnation: self.incarnation,
        };
        self.env.run(CommitLog::recover(
            backend,
            self.env.clone(),
            self.service.clone(),
            options,
        ))
    }

    fn open(&mut self) -> (Log, Recovered) {
        self.try_open().unwrap()
    }

    /// Lets segments go, and gives their removal the time that it needs.
    fn release(&self, log: &mut Log, floor: impl Fn(TableId) -> u64) -> Result<()> {
        log.let_go(floor);
        let released = self.env.run(log.release());
        self.env.run_ready();
        released
    }

    /// The paths of all segments.
    fn segments(&self) -> Vec<String> {
        let mut paths = self.disk.paths();
        paths.retain(|path| path.contains("segment"));
        paths
    }

    fn commit(&self, log: &mut Log, sequence: u64) -> Result<()> {
        self.env
            .run(log.commit(sequence, shares_of(sequence), 1000 + sequence as i64))
            .map(drop)
    }

    /// A log of so many groups, without a clean stop. `watermark`: store it after that group.
    fn written(seed: u64, groups: u64, watermark: u64) -> World {
        let mut world = World::new(seed);
        let (mut log, _) = world.open();
        for sequence in 1..=groups {
            world.commit(&mut log, sequence).unwrap();
            if sequence == watermark {
                world.env.run(log.store_watermark()).unwrap();
            }
        }
        drop(log);
        world.env.drop_tasks();
        world.disk.crash(Crash::Kill);
        world
    }

    /// Reads every share and compares.
    fn check_shares(&mut self, recovered: &Recovered) -> Result<()> {
        let backend = SimulatedBackend::open(&self.disk)?;
        for (table, addresses) in &recovered.tables {
            for address in addresses {
                let ring = ring_of(*table, 1);
                let records = self.env.run(read_share(&backend, address, &ring))?;
                assert_eq!(records, records_of(*table, address.origin.sequence));
            }
        }
        Ok(())
    }
}

fn records_of(table: TableId, sequence: u64) -> Vec<u8> {
    let length = 10 + (sequence as usize * 997) % 9000;
    let mut records = format!("{table} {sequence} ").into_bytes();
    records.resize(length.max(records.len()), sequence as u8);
    records
}

/// Table A is in every group, table B in every second one.
fn shares_of(sequence: u64) -> Vec<(Share, Arc<KeyRing>)> {
    let tables = if sequence.is_multiple_of(2) {
        vec![A, B]
    } else {
        vec![A]
    };
    let share = |table| {
        let records = records_of(table, sequence);
        (Share { table, records }, ring_of(table, 1))
    };
    tables.into_iter().map(share).collect()
}

fn sequences(recovered: &Recovered, table: TableId) -> Vec<u64> {
    let addresses = recovered
        .tables
        .get(&table)
        .map(Vec::as_slice)
        .unwrap_or_default();
    addresses.iter().map(|address| address.sequence).collect()
}

fn serious(recovered: &Recovered) -> Vec<&Damage> {
    let damage = recovered.damage.iter();
    damage
        .filter(|damage| damage.scope != DamageScope::Survived)
        .collect()
}

/// Offsets of the groups in a segment's bytes.
fn groups_in(bytes: &[u8]) -> BTreeMap<u64, (usize, GroupHeader)> {
    let mut groups = BTreeMap::new();
    let mut offset = HEADERS;
    while let Some(header) = bytes.get(offset..).and_then(GroupHeader::decode) {
        let length = header.pages as usize * PAGE;
        groups.insert(header.sequence, (offset, header));
        offset += length;
    }
    groups
}

fn segment(number: u64) -> String {
    format!("log/segment-{number:020}")
}

/// The segment that holds a group, and the group's place in it.
fn find(world: &World, sequence: u64) -> (String, usize, GroupHeader) {
    for number in 1.. {
        let path = segment(number);
        let bytes = world
            .disk
            .contents(&path)
            .expect("the group is in some segment");
        if let Some((offset, header)) = groups_in(&bytes).remove(&sequence) {
            return (path, offset, header);
        }
    }
    unreachable!()
}

#[test]
fn what_was_committed_comes_back_in_order() {
    let mut world = World::written(1, 40, 0);
    let (log, recovered) = world.open();
    assert_eq!(recovered.damage, []);
    assert_eq!(recovered.last_sequence, 40);
    assert_eq!(recovered.timestamp_high_water, 1040);
    assert!(!recovered.is_clean_stop);
    assert_eq!(sequences(&recovered, A), (1..=40).collect::<Vec<_>>());
    assert_eq!(
        sequences(&recovered, B),
        (2..=40).step_by(2).collect::<Vec<_>>()
    );
    assert!(log.segments().len() > 3, "the story needs several segments");
    drop(log);
    world.check_shares(&recovered).unwrap();
}

#[test]
fn a_clean_stop_leaves_an_end_record_and_the_next_life_goes_on() {
    let mut world = World::new(2);
    let (mut log, _) = world.open();
    world.commit(&mut log, 1).unwrap();
    world.env.run(log.close(true)).unwrap();
    assert!(matches!(world.commit(&mut log, 2), Err(Error::Closed)));
    drop(log);
    let (mut log, recovered) = world.open();
    assert!(recovered.is_clean_stop && recovered.damage.is_empty());
    world.commit(&mut log, 2).unwrap();
    drop(log);
    let (_, recovered) = world.open();
    assert_eq!(recovered.damage, []);
    assert_eq!(sequences(&recovered, A), [1, 2]);
}

#[test]
fn a_stop_that_was_cut_short_is_no_damage() {
    let mut leave_a_part = 0;
    for seed in 0..20 {
        let mut world = World::new(seed);
        let (mut log, _) = world.open();
        world.commit(&mut log, 1).unwrap();
        // The end record, or the watermark behind it.
        let passing = seed % 2;
        world.disk.fail_writes_after(passing, 1);
        world.env.run(log.close(true)).unwrap_err();
        drop(log);
        let (_, recovered) = world.open();
        assert_eq!(recovered.is_clean_stop, passing == 1, "seed {seed}");
        assert_eq!(recovered.damage, [], "seed {seed}");
        assert_eq!(sequences(&recovered, A), [1], "seed {seed}");
        leave_a_part += recovered.unfinished.len();
    }
    assert!(leave_a_part > 0);
}

#[test]
fn once_a_stop_is_whole_a_slot_that_is_not_is_damage() {
    let mut world = World::new(14);
    let (mut log, _) = world.open();
    world.commit(&mut log, 1).unwrap();
    world.env.run(log.close(true)).unwrap();
    drop(log);
    // The watermark of the stop stands in slot 1, the one before it in slot 0.
    world.disk.flip("log/watermark", 200, 0);
    let (_, recovered) = world.open();
    assert_eq!(recovered.damage.len(), 1);
    assert_eq!(recovered.unfinished, Vec::<String>::new());
    assert_eq!(sequences(&recovered, A), [1]);
}

#[test]
fn a_crash_at_any_sync_keeps_every_acknowledged_group() {
    for sync in 1..90 {
        let mut world = World::new(sync);
        let mut acknowledged = 0;
        world.disk.go_down_at_sync(sync);
        if let Ok((mut log, _)) = world.try_open() {
            acknowledged = write_until_it_fails(&world, &mut log, 1, 24);
        }
        for life in 0..2 {
            world.env.drop_tasks();
            let seed = sync * 1000 + life;
            world.disk.crash(Crash::PowerLoss { seed });
            let (mut log, recovered) = world.open();
            assert_eq!(
                serious(&recovered),
                Vec::<&Damage>::new(),
                "sync {sync} life {life}"
            );
            let last = recovered.last_sequence;
            assert!(
                last == acknowledged || last == acknowledged + 1,
                "sync {sync} life {life}: {acknowledged} acknowledged, {last} found"
            );
            world.disk.go_down_at_sync(7 + life);
            acknowledged = write_until_it_fails(&world, &mut log, last + 1, last + 8).max(last);
            drop(log);
            world.env.drop_tasks();
            world.disk.crash(Crash::Kill);
            let (_, recovered) = world.open();
            assert_eq!(serious(&recovered), Vec::<&Damage>::new());
            assert!(recovered.last_sequence >= acknowledged);
            acknowledged = recovered.last_sequence;
            world.check_shares(&recovered).unwrap();
            // What recovery has reported is durable from then on.
        }
    }
}

/// Commits, carries, stores watermarks and releases until the disk goes down. Gives the last acknowledged sequence.
fn write_until_it_fails(world: &World, log: &mut Log, first: u64, last: u64) -> u64 {
    let mut acknowledged = first - 1;
    let mut kept: Vec<ShareAddress> = Vec::new();
    for sequence in first..=last {
        let shares = shares_of(sequence);
        let written = match sequence % 7 {
            6 if !kept.is_empty() => world.env.run(log.carry(sequence, &kept)),
            _ => world.env.run(log.commit(sequence, shares, 0)),
        };
        let Ok(addresses) = written else {
            break;
        };
        acknowledged = sequence;
        kept = addresses;
        let floor = sequence.saturating_sub(6);
        let _ = match sequence % 5 {
            0 => world.env.run(log.store_watermark()),
            1 => world.release(log, |_| floor),
            _ => Ok(()),
        };
    }
    acknowledged
}

#[test]
fn a_group_that_recovery_has_found_survives_a_later_loss_of_power() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        let (mut log, _) = world.open();
        world.commit(&mut log, 1).unwrap();
        world
            .env
            .run(log.append(2, shares_of(2), 0, Durability::Later))
            .unwrap();
        drop(log);
        world.disk.crash(Crash::Kill);
        let (log, recovered) = world.open();
        assert_eq!(recovered.last_sequence, 2);
        drop(log);
        world.disk.crash(Crash::PowerLoss { seed });
        let (_, recovered) = world.open();
        assert_eq!(recovered.last_sequence, 2, "seed {seed}");
        assert_eq!(recovered.damage, []);
    }
}

#[test]
fn a_segment_without_groups_that_recovery_has_found_survives_a_later_loss_of_power() {
    let mut empty = 0;
    for seed in 0..20 {
        let mut world = World::new(seed);
        let (mut log, _) = world.open();
        // One of the syncs is that of the first segment, whose header is written by then.
        world.disk.go_down_at_sync(1 + seed % 4);
        let _ = world.commit(&mut log, 1);
        drop(log);
        world.disk.crash(Crash::Kill);
        let (mut log, recovered) = world.open();
        let mut segments = recovered.segments.values();
        empty += usize::from(segments.any(|segment| segment.tables.is_empty()));
        // From now on it is not the last one, which may be torn.
        world.commit(&mut log, recovered.last_sequence + 1).unwrap();
        drop(log);
        world.disk.crash(Crash::PowerLoss { seed });
        let (_, recovered) = world.open();
        assert_eq!(recovered.damage, [], "seed {seed}");
    }
    assert!(empty > 0);
}

#[test]
fn in_periodic_mode_a_unit_torn_in_its_middle_ends_the_log_there() {
    let mut lengths = std::collections::BTreeSet::new();
    for seed in 0..60 {
        let mut world = World::new(seed);
        let (mut log, _) = world.open();
        world.commit(&mut log, 1).unwrap();
        for sequence in 2..=4 {
            // Small, so that a group has a chance to be whole.
            let records = vec![sequence as u8; 20];
            let shares = vec![(Share { table: A, records }, ring_of(A, 1))];
            world
                .env
                .run(log.append(sequence, shares, 0, Durability::Later))
                .unwrap();
        }
        assert_eq!(log.durable_sequence(), 1);
        drop(log);
        world.disk.crash(Crash::PowerLoss { seed });
        let (mut log, recovered) = world.open();
        assert_eq!(serious(&recovered), Vec::<&Damage>::new(), "seed {seed}");
        lengths.insert(recovered.last_sequence);
        let next = recovered.last_sequence + 1;
        world.commit(&mut log, next).unwrap();
        drop(log);
        let (_, recovered) = world.open();
        assert_eq!(serious(&recovered), Vec::<&Damage>::new(), "seed {seed}");
        assert_eq!(sequences(&recovered, A), (1..=next).collect::<Vec<_>>());
    }
    assert!(
        lengths.contains(&1) && lengths.len() > 1,
        "the seeds tell one story only: {lengths:?}"
    );
}

#[test]
fn a_failed_sync_closes_the_log_and_nothing_is_tried_again() {
    let mut world = World::new(14);
    let (mut log, _) = world.open();
    world.commit(&mut log, 1).unwrap();
    world.disk.fail_syncs(1);
    assert!(matches!(world.commit(&mut log, 2), Err(Error::Io { .. })));
    let syncs = world.disk.syncs();
    assert!(matches!(world.commit(&mut log, 2), Err(Error::Closed)));
    assert!(matches!(world.commit(&mut log, 3), Err(Error::Closed)));
    assert!(matches!(world.env.run(log.close(true)), Err(Error::Closed)));
    assert_eq!(world.disk.syncs(), syncs);
}

#[test]
fn a_full_disk_is_noticed_before_anything_is_sealed_and_passes() {
    let mut world = World::new(15);
    let (mut log, _) = world.open();
    world.disk.set_room(Some(SEGMENT_BYTES + 8 * PAGE as u64));
    let mut sequence = 1;
    while world.commit(&mut log, sequence).is_ok() {
        sequence += 1;
    }
    assert!(matches!(
        world.commit(&mut log, sequence),
        Err(Error::Full { .. })
    ));
    world.disk.set_room(None);
    world.commit(&mut log, sequence).unwrap();
    drop(log);
    let (_, recovered) = world.open();
    assert_eq!(recovered.damage, []);
    assert_eq!(recovered.last_sequence, sequence);
}

#[test]
fn segments_go_from_the_front_once_no_table_needs_them() {
    let mut world = World::new(16);
    let (mut log, _) = world.open();
    for sequence in 1..=40 {
        world.commit(&mut log, sequence).unwrap();
    }
    let before = log.segments().len();
    let floors = |table| if table == A { 41 } else { 15 };
    world.release(&mut log, floors).unwrap();
    assert!((2..before).contains(&log.segments().len()));
    assert!(log.segments().values().next().unwrap().tables[&B] >= 15);
    drop(log);
    let (_, recovered) = world.open();
    assert_eq!(recovered.damage, []);
    assert!(sequences(&recovered, B).contains(&16));
    assert!(!sequences(&recovered, A).contains(&1));
    world.check_shares(&recovered).unwrap();
}

#[test]
fn a_locked_tables_shares_are_carried_out_and_still_open() {
    let mut world = World::written(17, 40, 0);
    let (mut log, recovered) = world.open();
    let old: Vec<_> = recovered.tables[&B].iter().take(5).cloned().collect();
    let carried = world.env.run(log.carry(41, &old)).unwrap();
    assert_eq!(carried.len(), 5);
    let floors = |table| if table == B { 11 } else { 41 };
    world.release(&mut log, floors).unwrap();
    drop(log);
    let (_, recovered) = world.open();
    assert_eq!(recovered.damage, []);
    let found: Vec<_> = recovered.tables[&B]
        .iter()
        .filter(|address| address.sequence == 41)
        .cloned()
        .collect();
    assert_eq!(found, carried);
    world.check_shares(&recovered).unwrap();
}

#[test]
fn a_new_key_version_begins_a_new_structure_and_both_open() {
    let mut world = World::new(18);
    let (mut log, _) = world.open();
    let records = |sequence: u64| vec![sequence as u8; 50];
    for (sequence, version) in [(1, 1), (2, 1), (3, 2), (4, 2)] {
        let share = Share {
            table: A,
            records: records(sequence),
        };
        let committed = log.commit(sequence, vec![(share, ring_of(A, version))], 0);
        // Rings of different versions come from different secrets here; the newer one knows both.
        world.env.run(committed).unwrap();
    }
    log.forget_key(A);
    let share = Share {
        table: A,
        records: records(5),
    };
    world
        .env
        .run(log.commit(5, vec![(share, ring_of(A, 2))], 0))
        .unwrap();
    drop(log);
    let (log, recovered) = world.open();
    drop(log);
    let structures: Vec<_> = recovered.tables[&A]
        .iter()
        .map(|address| address.structure)
        .collect();
    assert_eq!(structures[0], structures[1]);
    assert_eq!(structures[2], structures[3]);
    assert!(structures[1] != structures[2] && structures[3] != structures[4]);
    let versions: Vec<_> = recovered.tables[&A]
        .iter()
        .map(|address| address.wrapped.version)
        .collect();
    assert_eq!(versions, [1, 1, 2, 2, 2]);
    let backend = SimulatedBackend::open(&world.disk).unwrap();
    let newest = &recovered.tables[&A][4];
    assert_eq!(
        world
            .env
            .run(read_share(&backend, newest, &ring_of(A, 2)))
            .unwrap(),
        records(5)
    );
    let missing = world.env.run(read_share(&backend, newest, &ring_of(A, 1)));
    assert!(matches!(missing, Err(Error::KeyUnavailable { table: A })));
}

#[test]
fn wrong_sequences_and_foreign_rings_are_refused_and_harm_nothing() {
    let mut world = World::new(19);
    let (mut log, _) = world.open();
    assert!(matches!(
        world.commit(&mut log, 2),
        Err(Error::Invalid { .. })
    ));
    let share = Share {
        table: A,
        records: vec![1],
    };
    let foreign = world
        .env
        .run(log.commit(1, vec![(share, ring_of(B, 1))], 0));
    assert!(matches!(foreign, Err(Error::Invalid { .. })));
    world.commit(&mut log, 1).unwrap();
}

#[test]
fn a_group_larger_than_a_segment_gets_one_of_its_own() {
    let mut world = World::new(20);
    let (mut log, _) = world.open();
    let large = vec![7; 3 * SEGMENT_BYTES as usize];
    let share = Share {
        table: A,
        records: large.clone(),
    };
    world
        .env
        .run(log.commit(1, vec![(share, ring_of(A, 1))], 0))
        .unwrap();
    world.commit(&mut log, 2).unwrap();
    drop(log);
    let (log, recovered) = world.open();
    drop(log);
    assert_eq!(recovered.damage, []);
    let backend = SimulatedBackend::open(&world.disk).unwrap();
    let ring = ring_of(A, 1);
    let read = read_share(&backend, &recovered.tables[&A][0], &ring);
    assert_eq!(world.env.run(read).unwrap(), large);
}

#[test]
fn the_log_remembers_the_newest_manifest_and_the_time() {
    let mut world = World::new(21);
    let (mut log, _) = world.open();
    log.note_manifest(12);
    world.commit(&mut log, 1).unwrap();
    drop(log);
    let (_, recovered) = world.open();
    assert_eq!(recovered.manifest_sequence, 12);
    assert_eq!(recovered.timestamp_high_water, 1001);
    assert_eq!(recovered.incarnation, 1);
}

#[test]
fn nothing_of_a_share_is_in_the_clear() {
    let world = World::written(22, 10, 10);
    for path in world.disk.paths() {
        let bytes = world.disk.contents(&path).unwrap();
        let needle = format!("{A} ");
        assert!(
            !bytes
                .windows(needle.len())
                .any(|window| window == needle.as_bytes()),
            "{path}"
        );
    }
}

#[test]
fn segments_go_only_once_the_watermark_that_says_so_is_durable() {
    for passing in 0..12 {
        let mut world = World::new(passing);
        let (mut log, _) = world.open();
        for sequence in 1..=60 {
            world.commit(&mut log, sequence).unwrap();
        }
        assert!(log.segments().len() > 3);
        // The watermark that lets segments go is in the page cache alone.
        world.disk.fail_syncs(1);
        world.release(&mut log, |_| 61).unwrap_err();
        drop(log);
        world.env.drop_tasks();
        world.disk.crash(Crash::Kill);
        world.disk.fail_syncs_after(passing, 1);
        drop(world.try_open());
        world.env.drop_tasks();
        world.disk.crash(Crash::PowerLoss { seed: passing });
        world.disk.fail_syncs(0);
        let (_, recovered) = world.open();
        let damage: Vec<String> = recovered.damage.iter().map(ToString::to_string).collect();
        assert_eq!(damage, [""; 0], "a sync failed after {passing}");
    }
}

#[test]
fn a_segment_that_could_not_be_removed_is_removed_by_the_next_release() {
    // The first sync is the watermark's, the one behind it is that of all removals.
    for passing in 0..2 {
        let mut world = World::new(23);
        let (mut log, _) = world.open();
        for sequence in 1..=60 {
            world.commit(&mut log, sequence).unwrap();
        }
        // The next segment is made ready before anything fails.
        world.env.run_ready();
        let before = log.on_disk();
        assert!(before > 5);
        world.disk.fail_syncs_after(passing, 1);
        let released = world.release(&mut log, |_| 61);
        assert_eq!(released.is_ok(), passing == 1);
        assert_eq!(log.on_disk(), before, "none is known to be gone");
        world.release(&mut log, |_| 61).unwrap();
        assert_eq!((log.segments().len(), log.on_disk()), (1, 1));
        let prepared = 1;
        assert!(world.segments().len() <= 1 + prepared, "after {passing}");
        drop(log);
        let (_, recovered) = world.open();
        assert_eq!(recovered.damage, []);
    }
}

#[test]
fn many_segments_are_removed_with_one_sync() {
    let mut world = World::new(24);
    let (mut log, _) = world.open();
    for sequence in 1..=60 {
        world.commit(&mut log, sequence).unwrap();
    }
    assert!(log.segments().len() > 5);
    // The next segment is made ready before syncs are counted.
    world.env.run_ready();
    let before = world.disk.syncs();
    world.release(&mut log, |_| 61).unwrap();
    assert_eq!(log.on_disk(), 1);
    let (watermark, removals) = (1, 1);
    assert_eq!(world.disk.syncs() - before, watermark + removals);
}

#[test]
fn groups_are_committed_while_segments_are_being_removed() {
    let mut world = World::new(25);
    let (mut log, _) = world.open();
    for sequence in 1..=60 {
        world.commit(&mut log, sequence).unwrap();
    }
    let before = log.on_disk();
    world.disk.hold(HeldCalls::LogRemovals, true);
    world.release(&mut log, |_| 61).unwrap();
    for sequence in 61..=70 {
        world.commit(&mut log, sequence).unwrap();
    }
    assert!(log.on_disk() > before, "none has gone yet");
    // A second go while the first is under way.
    world.release(&mut log, |_| 71).unwrap();
    world.disk.hold(HeldCalls::LogRemovals, false);
    world.env.run(log.close(true)).unwrap();
    assert_eq!(log.on_disk(), 1);
}

#[test]
fn on_a_full_disk_segments_that_nobody_needs_go_before_a_group_is_refused() {
    let mut world = World::new(27);
    let (mut log, _) = world.open();
    for sequence in 1..=60 {
        world.commit(&mut log, sequence).unwrap();
        // Each slot of the watermark is there.
        world.env.run(log.store_watermark()).unwrap();
    }
    let before = log.on_disk();
    log.let_go(|_| 61);
    world.disk.set_room(Some(0));
    for sequence in 61..=80 {
        world.commit(&mut log, sequence).unwrap();
    }
    assert!(log.on_disk() < before);
    drop(log);
    world.disk.set_room(None);
    let (_, recovered) = world.open();
    assert_eq!(recovered.damage, []);
    assert_eq!(recovered.last_sequence, 80);
}

#[test]
fn segments_that_were_let_go_may_be_gone_in_any_order() {
    for gone in 0..16u64 {
        let mut world = World::new(26);
        let (mut log, _) = world.open();
        for sequence in 1..=60 {
            world.commit(&mut log, sequence).unwrap();
        }
        let released: Vec<String> = world.segments().into_iter().take(4).collect();
        assert!(log.segments().len() > released.len());
        world.disk.hold(HeldCalls::LogRemovals, true);
        world.release(&mut log, |_| 61).unwrap();
        drop(log);
        world.env.drop_tasks();
        world.disk.crash(Crash::PowerLoss { seed: gone });
        for (number, path) in released.iter().enumerate() {
            if gone >> number & 1 == 1 {
                world.disk.replace(path, None);
            }
        }
        let (_, recovered) = world.open();
        assert_eq!(recovered.damage, [], "{gone:b}");
        assert_eq!(recovered.last_sequence, 60);
        assert!(released.iter().all(|path| !world.segments().contains(path)));
    }
}

#[test]
fn a_watermark_seen_after_a_failed_sync_is_there_after_a_loss_of_power() {
    for seed in 0..20 {
        let mut world = World::new(seed);
        let (mut log, _) = world.open();
        world.commit(&mut log, 1).unwrap();
        world.disk.fail_syncs(1);
        world.env.run(log.store_watermark()).unwrap_err();
        drop(log);
        world.env.drop_tasks();
        world.disk.crash(Crash::Kill);
        // The kernel shows it, so that the next one goes to the other slot.
        drop(world.open());
        world.env.drop_tasks();
        world.disk.crash(Crash::PowerLoss { seed });
        let (_, recovered) = world.open();
        let nothing: [String; 0] = [];
        assert_eq!(recovered.unfinished, nothing, "seed {seed}");
        assert_eq!(recovered.last_sequence, 1);
    }
}
