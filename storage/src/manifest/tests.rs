//! Stories of the manifest: commits, crashes, copies that differ, folders put together from parts.

use std::sync::Arc;

use palladium_crypto::{ClusterId, CmkRef, Secret, StructureId, StructureKind, TableKey};
use proptest::prelude::*;

use super::*;
use crate::backend::{Crash, SimulatedBackend, SimulatedDisk};
use crate::env::SimulatedEnv;
use crate::model::Store;
use crate::sealed::SealedWriter;

fn service() -> Arc<KeyRing> {
    let cmk = CmkRef::parse("local:test").unwrap();
    let secret = Secret::from_bytes([9; 32]);
    let key = TableKey::derive(&secret, ClusterId([1; 16]), crate::root::SERVICE, 1, &cmk);
    Arc::new(KeyRing::new(key, Vec::new()))
}

struct World {
    disk: Arc<SimulatedDisk>,
    env: Arc<SimulatedEnv>,
}

type TestManifest = Manifest<SimulatedBackend>;

impl World {
    fn new(seed: u64) -> World {
        World {
            disk: SimulatedDisk::new(),
            env: SimulatedEnv::new(seed),
        }
    }

    fn try_open(&self) -> Result<(TestManifest, ManifestReport)> {
        let backend = Arc::new(SimulatedBackend::open(&self.disk)?);
        self.env
            .run(Manifest::recover(backend, self.env.clone(), service()))
    }

    fn open(&self) -> (TestManifest, ManifestReport) {
        self.try_open().unwrap()
    }

    /// A manifest of so many commits after its first snapshot.
    fn written(seed: u64, commits: u64) -> World {
        let world = World::new(seed);
        let (mut manifest, report) = world.open();
        assert!(report.is_new);
        for number in 0..commits {
            world.commit(&mut manifest, number).unwrap();
        }
        world
    }

    fn commit(&self, manifest: &mut TestManifest, number: u64) -> Result<()> {
        self.env.run(manifest.commit(&edits(&self.env, number)))
    }

    fn file(&self, copy: usize) -> (String, Vec<u8>) {
        let mut paths = self.disk.paths();
        paths.retain(|path| path.starts_with("manifest/") && path.ends_with(&format!("-{copy}")));
        let path = paths.pop().unwrap();
        let bytes = self.disk.contents(&path).unwrap();
        (path, bytes)
    }

    /// Offsets of the frames in a copy, and its end.
    fn frames(&self, copy: usize) -> Vec<usize> {
        let (_, bytes) = self.file(copy);
        let mut offsets = vec![frame::GENERATION_HEADER_BYTES];
        while let Some(frame) = frame::Frame::parse(&bytes[*offsets.last().unwrap()..]) {
            offsets.push(offsets.last().unwrap() + frame.all.len());
        }
        offsets
    }
}

fn table(number: u64) -> TableId {
    TableId([number as u8 + 1; 16])
}

fn entry(env: &SimulatedEnv, id: u64) -> SstableEntry {
    let component = |kind| {
        let writer = SealedWriter::new(&service(), env.entropy(), kind);
        Component {
            kind,
            structure: writer.structure(),
            wrapped: writer.wrapped().clone(),
            size: 1000 + id,
        }
    };
    SstableEntry {
        id,
        level: 1,
        store: Store::BASE,
        components: vec![
            component(StructureKind::SstableData),
            component(StructureKind::SstableIndex),
        ],
    }
}

/// Each commit creates a table and gives an SSTable to it and to all before it.
fn edits(env: &SimulatedEnv, number: u64) -> Vec<Edit> {
    let mut edits = vec![
        Edit::CreateTable {
            table: table(number),
            log_floor: number,
        },
        Edit::RootEpoch {
            table: table(number),
            epoch: 1,
            root_hash: [number as u8; 32],
        },
    ];
    for older in 0..=number {
        edits.push(Edit::AddSstables {
            table: table(older),
            added: vec![entry(env, number + 1)],
            removed: if number > older {
                vec![number]
            } else {
                Vec::new()
            },
            log_floor: Some(number),
        });
    }
    edits
}

fn tables_in(manifest: &TestManifest) -> u64 {
    let tables = &manifest.state().tables;
    let newest = tables.len() as u64;
    for state in tables.values() {
        assert_eq!(state.sstables.keys().copied().collect::<Vec<_>>(), [newest]);
        assert_eq!(state.log_floor, newest - 1);
    }
    newest
}

#[test]
fn what_was_committed_is_there_after_reopening() {
    let world = World::written(1, 5);
    let (manifest, report) = world.open();
    assert_eq!(tables_in(&manifest), 5);
    assert_eq!(report.notes, Vec::<String>::new());
    assert!(!report.is_new);
    assert_eq!(report.sequence, manifest.sequence());
    assert_eq!(manifest.state().tables[&table(3)].root_hash, [3; 32]);
}

#[test]
fn a_commit_that_makes_no_sense_changes_nothing() {
    let world = World::written(2, 2);
    let (mut manifest, _) = world.open();
    let before = (manifest.state().clone(), world.file(0));
    let again = Edit::CreateTable {
        table: table(0),
        log_floor: 0,
    };
    let unknown = Edit::LogFloor {
        table: table(77),
        floor: 1,
    };
    let missing = Edit::AddSstables {
        table: table(0),
        added: Vec::new(),
        removed: vec![99],
        log_floor: None,
    };
    let good = Edit::DropTable { table: table(1) };
    for bad in [again, unknown, missing] {
        let refused = world.env.run(manifest.commit(&[good.clone(), bad]));
        assert!(matches!(refused, Err(Error::Invalid { .. })));
    }
    assert_eq!((manifest.state().clone(), world.file(0)), before);
}

#[test]
fn a_crash_at_any_step_gives_the_old_state_or_the_new() {
    for sync in 1..30 {
        for seed in 0..4 {
            let world = World::new(seed);
            let mut acknowledged = 0;
            world.disk.go_down_at_sync(sync);
            if let Ok((mut manifest, _)) = world.try_open() {
                while acknowledged < 8 && world.commit(&mut manifest, acknowledged).is_ok() {
                    acknowledged += 1;
                }
            }
            for life in 0..2 {
                world.disk.crash(Crash::PowerLoss {
                    seed: seed * 7 + life,
                });
                let (mut manifest, report) = world.open();
                let found = tables_in(&manifest);
                assert!(
                    found == acknowledged || found == acknowledged + 1,
                    "sync {sync} seed {seed}: {acknowledged} acknowledged, {found} found"
                );
                assert_eq!(
                    report.notes,
                    Vec::<String>::new(),
                    "sync {sync} seed {seed}"
                );
                acknowledged = found;
                world.disk.go_down_at_sync(2 + life);
                while world.commit(&mut manifest, acknowledged).is_ok() {
                    acknowledged += 1;
                }
            }
        }
    }
}

const OTHER: Lineage = Lineage([0x6c; 16]);

#[test]
fn a_lineage_is_in_every_commit_from_its_first_on_and_in_none_before() {
    let world = World::written(30, 2);
    let (mut manifest, report) = world.open();
    assert_eq!(report.lineage, Lineage::FIRST);
    manifest.begin_lineage(OTHER);
    drop(manifest);
    let (mut manifest, report) = world.open();
    assert_eq!(report.lineage, Lineage::FIRST, "nothing was written");
    manifest.begin_lineage(OTHER);
    world.env.run(manifest.commit(&[])).unwrap();
    drop(manifest);
    let (mut manifest, report) = world.open();
    assert_eq!(report.lineage, OTHER);
    world.commit(&mut manifest, 2).unwrap();
    assert_eq!((manifest.lineage(), tables_in(&manifest)), (OTHER, 3));
    drop(manifest);
    // A damaged copy makes the next start write a new generation, whose snapshot is of it, too.
    let (path, bytes) = world.file(1);
    world.disk.flip(&path, bytes.len() - 20, 0);
    assert_eq!(world.open().1.lineage, OTHER);
    let (manifest, report) = world.open();
    assert_eq!((report.lineage, manifest.lineage()), (OTHER, OTHER));
    assert_eq!([report.notes, report.unfinished].concat(), [""; 0]);
}

#[test]
fn a_crash_at_any_step_of_a_new_lineage_leaves_the_old_one_or_the_new() {
    let mut seen = [false; 2];
    for sync in 1..8 {
        for seed in 0..6 {
            let world = World::written(seed, 3);
            let (mut manifest, _) = world.open();
            manifest.begin_lineage(OTHER);
            world.disk.go_down_at_sync(sync);
            let is_done = world.env.run(manifest.commit(&[])).is_ok();
            drop(manifest);
            world.disk.crash(Crash::PowerLoss { seed });
            let (manifest, report) = world.open();
            assert_eq!(tables_in(&manifest), 3, "sync {sync} seed {seed}");
            let is_new = report.lineage == OTHER;
            assert!(is_new || report.lineage == Lineage::FIRST);
            assert!(is_new || !is_done, "sync {sync} seed {seed}");
            seen[usize::from(is_new)] = true;
        }
    }
    assert_eq!(seen, [true; 2]);
}

#[test]
fn a_record_names_no_lineage_but_a_whole_one_that_is_not_the_first() {
    let record = Record {
        content: [1; 32],
        previous: [2; 32],
        sequence: 3,
        log_sequence: 4,
        clock_micros: 5,
        tables: vec![(table(0), 6, [7; 32])],
        lineage: OTHER,
    };
    let bytes = record.encode();
    assert_eq!(Record::decode(&bytes), Some(record.clone()));
    let first = Record {
        lineage: Lineage::FIRST,
        ..record
    };
    let without = bytes.len() - 16;
    assert_eq!(first.encode(), bytes[..without]);
    for length in without + 1..bytes.len() {
        assert_eq!(Record::decode(&bytes[..length]), None, "{length} bytes");
    }
    assert_eq!(Record::decode(&[&bytes[..], &[0]].concat()), None);
    assert_eq!(
        Record::decode(&[&bytes[..without], &[0; 16]].concat()),
        None
    );
}

#[test]
fn a_crash_while_a_generation_is_replaced_loses_nothing() {
    for sync in 1..12 {
        for seed in 0..10 {
            let world = World::written(seed, 3);
            // A damaged copy makes the next start write a new generation.
            let (path, bytes) = world.file(1);
            world.disk.flip(&path, bytes.len() - 20, 0);
            world.disk.go_down_at_sync(sync);
            let _ = world.try_open();
            world.disk.crash(Crash::PowerLoss { seed });
            let (manifest, _) = world.open();
            assert_eq!(tables_in(&manifest), 3, "sync {sync} seed {seed}");
            drop(manifest);
            let (_, report) = world.open();
            assert_eq!(report.notes, Vec::<String>::new());
            assert_eq!(world.disk.paths().len(), 2, "old generations are gone");
        }
    }
}

#[test]
fn one_copy_damaged_anywhere_is_survived_reported_and_healed() {
    let length = World::written(3, 3).file(0).1.len();
    for copy in 0..2 {
        for byte in (0..length).step_by(53) {
            let world = World::written(3, 3);
            let (path, _) = world.file(copy);
            world.disk.flip(&path, byte, (byte % 8) as u8);
            let (manifest, report) = world.open();
            assert_eq!(tables_in(&manifest), 3);
            let notes = [report.notes, report.unfinished, report.begun].concat();
            assert!(!notes.is_empty(), "copy {copy} byte {byte} passed unseen");
            assert!(notes[0].contains(&format!("copy {copy}")), "{notes:?}");
            drop(manifest);
            let healed = world.open().1;
            assert_eq!(
                [healed.notes, healed.unfinished].concat(),
                Vec::<String>::new()
            );
        }
    }
}

#[test]
fn what_stands_behind_the_newest_frame_of_one_copy_is_named_and_mended() {
    for copy in 0..2 {
        for added in [&b"x"[..], &[0; 300], &b"PMF and so on"[..]] {
            let world = World::written(3, 3);
            let (path, mut bytes) = world.file(copy);
            let end = bytes.len();
            bytes.extend(added);
            world.disk.replace(&path, Some(bytes));
            let (manifest, report) = world.open();
            assert_eq!(tables_in(&manifest), 3);
            // Only copy 0 may have it from a commit that was cut short.
            let said = [&report.begun, &report.notes][copy];
            assert_eq!(said.len(), 1, "copy {copy}: {report:?}");
            assert!(said[0].contains(&format!("copy {copy} at {end}")));
            drop(manifest);
            let healed = world.open().1;
            assert_eq!([healed.notes, healed.begun].concat(), [""; 0]);
        }
    }
}

#[test]
fn a_copy_that_was_cut_short_is_not_believed_where_the_other_has_a_damaged_frame() {
    for damaged in 1..5 {
        let world = World::written(4, 4);
        let frames = world.frames(0);
        let (first, bytes) = world.file(0);
        world
            .disk
            .replace(&first, Some(bytes[..frames[damaged]].to_vec()));
        world.disk.flip(&world.file(1).0, frames[damaged] + 30, 0);
        assert!(matches!(world.try_open(), Err(Error::Corrupt { .. })));
    }
}

/// The newest frame cut off copy 0 and, in copy 1, damaged by `damage`, which gets its bytes.
fn newest_frame_lost(seed: u64, damage: impl Fn(&mut Vec<u8>)) -> World {
    let world = World::written(seed, 4);
    let frames = world.frames(0);
    let newest = frames[frames.len() - 2];
    let (first, bytes) = world.file(0);
    world.disk.replace(&first, Some(bytes[..newest].to_vec()));
    let (second, bytes) = world.file(1);
    let mut frame = bytes[newest..].to_vec();
    damage(&mut frame);
    let bytes = [&bytes[..newest], &frame].concat();
    world.disk.replace(&second, Some(bytes));
    world
}

#[test]
fn a_newest_frame_lost_from_one_copy_and_damaged_in_its_first_bytes_is_not_taken_for_an_older_state()
 {
    type Damage = fn(&mut Vec<u8>);
    let damages: [(&str, Damage); 7] = [
        ("its magic", |frame| frame[0] ^= 1),
        ("its length", |frame| frame[9] ^= 1),
        ("its first sector", |frame| {
            let end = frame.len().min(512);
            frame[..end - 8].fill(0xab);
        }),
        ("cut in its magic", |frame| frame.truncate(2)),
        ("cut in its head", |frame| frame.truncate(20)),
        ("cut, and its magic", |frame| {
            frame.truncate(40);
            frame[..4].fill(0);
        }),
        ("cut, and its first words", |frame| {
            frame.truncate(40);
            frame[..20].fill(0);
        }),
    ];
    for (what, damage) in damages {
        let world = newest_frame_lost(4, damage);
        match world.try_open().map(|_| ()) {
            Err(Error::Corrupt { what: said }) => assert!(said.contains("salvage"), "{said}"),
            other => panic!("{what}: {other:?}"),
        }
    }
}

#[test]
fn an_operator_may_go_back_to_the_commit_before_a_newest_one_that_is_whole_in_no_copy() {
    let world = newest_frame_lost(4, |frame| frame[0] ^= 1);
    let backend = Arc::new(SimulatedBackend::open(&world.disk).unwrap());
    let (env, service) = (world.env.clone(), service());
    let what = world
        .env
        .run(TestManifest::what_to_give_up(&backend, &service));
    assert!(what.unwrap().unwrap().contains("the newest commit"));
    let known = 90;
    let given_up = TestManifest::give_up_the_newest(backend, env, service, known);
    world.env.run(given_up).unwrap();
    let (mut manifest, report) = world.open();
    assert_eq!(tables_in(&manifest), 3);
    assert!(report.sequence > known, "no number is given twice");
    assert_eq!([report.notes, report.unfinished].concat(), [""; 0]);
    world.commit(&mut manifest, 3).unwrap();
    drop(manifest);
    assert_eq!(tables_in(&world.open().0), 4);
}

#[test]
fn nothing_is_given_up_of_a_manifest_that_can_be_read_or_is_damaged_before_its_newest_frame() {
    let ask = |world: &World| {
        let backend = SimulatedBackend::open(&world.disk).unwrap();
        world
            .env
            .run(TestManifest::what_to_give_up(&backend, &service()))
    };
    let world = World::written(4, 4);
    assert_eq!(ask(&world).unwrap(), None);
    let frames = world.frames(0);
    for copy in 0..2 {
        world.disk.flip(&world.file(copy).0, frames[2] + 30, 0);
    }
    assert!(matches!(ask(&world), Err(Error::Corrupt { .. })));
}

#[test]
fn both_copies_damaged_in_different_frames_are_survived_and_in_the_same_frame_they_are_corrupt() {
    let world = World::written(4, 4);
    let frames = world.frames(0);
    let (first, second) = (world.file(0).0, world.file(1).0);
    world.disk.flip(&first, frames[1] + 30, 0);
    world.disk.flip(&second, frames[3] + 30, 0);
    let (manifest, report) = world.open();
    assert_eq!(tables_in(&manifest), 4);
    assert_eq!(report.notes.len(), 2);

    for frame in 0..5 {
        let world = World::written(4, 4);
        let frames = world.frames(0);
        for copy in 0..2 {
            world.disk.flip(&world.file(copy).0, frames[frame] + 30, 0);
        }
        assert!(
            matches!(world.try_open(), Err(Error::Corrupt { .. })),
            "frame {frame}"
        );
    }
}

#[test]
fn two_damaged_headers_are_two_damages() {
    for commits in [1, 4] {
        let world = World::written(6, commits);
        for copy in 0..2 {
            world.disk.flip(&world.file(copy).0, 3, 0);
        }
        let (mut manifest, report) = world.open();
        assert_eq!(tables_in(&manifest), commits);
        assert_eq!(report.notes.len(), 2, "{report:?}");
        for copy in 0..2 {
            let name = format!("copy {copy}: its header is damaged, and so is the other copy's");
            assert!(
                report.notes.iter().any(|note| note.contains(&name)),
                "{report:?}"
            );
        }
        world.commit(&mut manifest, commits).unwrap();
        drop(manifest);
        let (_, report) = world.open();
        assert!(report.notes.is_empty(), "healed: {report:?}");
    }
}

#[test]
fn an_older_copy_of_one_file_is_seen() {
    let old = [0, 1].map(|copy| World::written(5, 2).file(copy).1);
    for (copy, old) in old.into_iter().enumerate() {
        let world = World::written(5, 5);
        let (path, _) = world.file(copy);
        world.disk.replace(&path, Some(old));
        let (manifest, report) = world.open();
        assert_eq!(tables_in(&manifest), 5);
        assert!(!report.notes.is_empty());
    }
}

#[test]
fn an_older_copy_of_both_files_is_behind_what_the_log_has_seen() {
    let old = World::written(6, 2);
    let world = World::written(6, 5);
    let seen = world.open().1.sequence;
    for copy in 0..2 {
        let (path, _) = world.file(copy);
        world.disk.replace(&path, Some(old.file(copy).1));
    }
    assert!(world.open().1.sequence < seen);
}

#[test]
fn a_frame_left_out_of_both_copies_is_corrupt() {
    let world = World::written(7, 4);
    let frames = world.frames(0);
    for copy in 0..2 {
        let (path, mut bytes) = world.file(copy);
        bytes.drain(frames[2]..frames[3]);
        world.disk.replace(&path, Some(bytes));
    }
    assert!(matches!(world.try_open(), Err(Error::Corrupt { .. })));
}

#[test]
fn copies_of_two_folders_do_not_mix() {
    let world = World::written(8, 3);
    let other = World::written(9, 3);
    world.disk.replace(&world.file(1).0, Some(other.file(1).1));
    assert!(matches!(world.try_open(), Err(Error::Corrupt { .. })));
}

#[test]
fn a_failed_commit_is_out_for_good_once_the_next_one_is_in() {
    let world = World::written(10, 2);
    let (mut manifest, _) = world.open();
    world.disk.fail_syncs(1);
    assert!(world.commit(&mut manifest, 2).is_err());
    assert_eq!(tables_in(&manifest), 2);
    let drop_first = [Edit::DropTable { table: table(0) }];
    world.env.run(manifest.commit(&drop_first)).unwrap();
    drop(manifest);
    let (manifest, report) = world.open();
    let tables: Vec<_> = manifest.state().tables.keys().copied().collect();
    assert_eq!(tables, [table(1)]);
    assert_eq!(report.notes, Vec::<String>::new());
}

#[test]
fn a_long_generation_is_replaced_by_its_snapshot() {
    let world = World::written(11, 1);
    let (mut manifest, _) = world.open();
    let first = world.file(0).0;
    let mut id = 1;
    while world.file(0).0 == first {
        id += 1;
        let added = (0..200)
            .map(|place| entry(&world.env, id * 1000 + place))
            .collect();
        let removed = manifest.state().tables[&table(0)]
            .sstables
            .keys()
            .copied()
            .collect();
        let edit = Edit::AddSstables {
            table: table(0),
            added,
            removed,
            log_floor: None,
        };
        world.env.run(manifest.commit(&[edit])).unwrap();
        assert!(id < 100, "it grows without end");
    }
    assert_eq!(world.disk.paths().len(), 2);
    let state = manifest.state().clone();
    drop(manifest);
    assert_eq!(*world.open().0.state(), state);
}

#[test]
fn rewrapping_changes_the_wraps_and_nothing_else() {
    let world = World::written(12, 1);
    let (mut manifest, _) = world.open();
    let before = manifest.state().tables[&table(0)].clone();
    let component = before.sstables[&1].components[0].clone();
    let wrapped = entry(&world.env, 1).components[0].wrapped.clone();
    let gone = StructureId([0xdd; 16]);
    let rewrap = Edit::Rewrap {
        table: table(0),
        epoch: 2,
        wraps: vec![
            (component.structure, wrapped.clone()),
            (gone, wrapped.clone()),
        ],
    };
    world.env.run(manifest.commit(&[rewrap])).unwrap();
    drop(manifest);
    let (manifest, _) = world.open();
    let after = &manifest.state().tables[&table(0)];
    assert_eq!(after.sstables[&1].components[0].wrapped, wrapped);
    assert_eq!(
        after.sstables[&1].components[1],
        before.sstables[&1].components[1]
    );
    assert_eq!(
        after.sstables[&1].components[0].structure,
        component.structure
    );
}

#[test]
fn without_the_services_key_nothing_is_opened() {
    let world = World::written(13, 1);
    let cmk = CmkRef::parse("local:test").unwrap();
    let stranger = TableKey::derive(
        &Secret::from_bytes([8; 32]),
        ClusterId([1; 16]),
        crate::root::SERVICE,
        1,
        &cmk,
    );
    let backend = SimulatedBackend::open(&world.disk).unwrap();
    let opened = world.env.run(Manifest::inspect(
        &backend,
        &KeyRing::new(stranger, Vec::new()),
    ));
    assert!(matches!(opened, Err(Error::Corrupt { .. })));
}

fn arbitrary_edit() -> impl Strategy<Value = Edit> {
    let id = any::<[u8; 16]>().prop_map(TableId);
    let entries = proptest::collection::vec((any::<u64>(), any::<u8>(), any::<u16>()), 0..4)
        .prop_map(|entries| {
            let env = SimulatedEnv::new(1);
            let made = entries.into_iter().map(|(id, level, store)| SstableEntry {
                level,
                store: Store(store),
                ..entry(&env, id % 1000)
            });
            made.collect::<Vec<_>>()
        });
    prop_oneof![
        (id.clone(), any::<u64>())
            .prop_map(|(table, log_floor)| Edit::CreateTable { table, log_floor }),
        id.clone().prop_map(|table| Edit::DropTable { table }),
        (
            id.clone(),
            entries,
            proptest::collection::vec(any::<u64>(), 0..9),
            any::<Option<u64>>()
        )
            .prop_map(|(table, added, removed, log_floor)| Edit::AddSstables {
                table,
                added,
                removed,
                log_floor
            }),
        (id.clone(), any::<u64>(), any::<[u8; 32]>()).prop_map(|(table, epoch, root_hash)| {
            Edit::RootEpoch {
                table,
                epoch,
                root_hash,
            }
        }),
        (id.clone(), any::<u64>()).prop_map(|(table, floor)| Edit::LogFloor { table, floor }),
        (id.clone(), any::<u64>(), any::<u32>()).prop_map(|(table, below, total)| Edit::Rewrite {
            table,
            rewrite: Rewrite { below, total },
        }),
        (id, 1u16..).prop_map(|(table, store)| Edit::DropStore {
            table,
            store: Store(store),
        }),
    ]
}

/// The bytes of the format, spelled out: what has no store is written as it was before there were any.
#[test]
fn stores_stand_where_the_format_says() {
    let env = SimulatedEnv::new(1);
    let encoded = |edit: &Edit| {
        let mut fields = FieldWriter::default();
        edit.encode(&mut fields);
        fields.bytes().to_vec()
    };
    let table = table(1);
    let added = |store| Edit::AddSstables {
        table,
        added: vec![SstableEntry {
            store: Store(store),
            ..entry(&env, 5)
        }],
        removed: Vec::new(),
        log_floor: None,
    };
    let at = 8 + 16 + 12 + 4 + 4;
    assert_eq!(
        encoded(&added(0))[at..at + 16],
        [5, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0]
    );
    assert_eq!(encoded(&added(0x0302))[at + 8..at + 12], [1, 0, 2, 3]);
    let drop = encoded(&Edit::DropStore {
        table,
        store: Store(0x0302),
    });
    assert_eq!(drop[..8], [9, 0, 0, 0, 24, 0, 0, 0]);
    assert_eq!(drop[8..24], table.0);
    assert_eq!(drop[24..], [2, 3, 0, 0, 0, 0, 0, 0]);
}

#[test]
fn a_store_that_has_ended_is_remembered_and_gets_no_sstables() {
    let env = SimulatedEnv::new(1);
    let id = table(1);
    let mut state = State::default();
    let of = |number, store| SstableEntry {
        store: Store(store),
        ..entry(&env, number)
    };
    let add = |added| Edit::AddSstables {
        table: id,
        added,
        removed: Vec::new(),
        log_floor: None,
    };
    state
        .apply(&Edit::CreateTable {
            table: id,
            log_floor: 1,
        })
        .unwrap();
    state
        .apply(&add(vec![of(1, 0), of(2, 1), of(3, 2)]))
        .unwrap();
    let drop = Edit::DropStore {
        table: id,
        store: Store(1),
    };
    state.apply(&drop).unwrap();
    let left: Vec<u64> = state.tables[&id].sstables.keys().copied().collect();
    assert_eq!(left, [1, 3]);
    assert!(state.apply(&add(vec![of(4, 1)])).is_err());
    let mut again = State::default();
    for edit in state.snapshot() {
        again.apply(&edit).unwrap();
    }
    assert_eq!(again, state);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn edits_read_back_as_written(edits in proptest::collection::vec(arbitrary_edit(), 0..6)) {
        let mut fields = FieldWriter::default();
        edits.iter().for_each(|edit| edit.encode(&mut fields));
        prop_assert_eq!(Edit::decode_all(fields.bytes()), Some(edits));
    }

    #[test]
    fn decoders_take_any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = Edit::decode_all(&bytes);
        let _ = frame::Frame::parse(&bytes);
        let _ = Record::decode(&bytes);
    }

    #[test]
    fn a_mutated_manifest_never_panics_and_never_lies(
        spots in proptest::collection::vec((0usize..2, any::<prop::sample::Index>(), any::<u8>(), 0usize..300), 1..5)
    ) {
        let world = World::written(14, 4);
        for (copy, at, byte, length) in spots {
            let (path, mut bytes) = world.file(copy);
            if bytes.is_empty() {
                continue;
            }
            let at = at.index(bytes.len());
            let end = (at + length).min(bytes.len());
            bytes[at..end].fill(byte);
            if length > 280 {
                bytes.truncate(at);
            }
            world.disk.replace(&path, Some(bytes));
        }
        if let Ok((manifest, _)) = world.try_open() {
            // Cut in both copies it may be a shorter history, which the log knows; it is never another one.
            let count = manifest.state().tables.len() as u64;
            prop_assert!(count <= 4);
            if count > 0 {
                tables_in(&manifest);
            }
        }
    }
}
