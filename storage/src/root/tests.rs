//! Stories of roots: switched, torn, damaged, destroyed, put back.

use std::sync::Arc;

use palladium_crypto::{ClusterId, Secret, SeededEntropy};
use proptest::prelude::*;

use super::*;
use crate::backend::{Crash, SimulatedBackend, SimulatedDisk};
use crate::env::SimulatedEnv;

const TABLE: TableId = TableId([0x77; 16]);
const PATH: &str = "roots/77777777777777777777777777777777";

fn key(version: u32) -> TableKey {
    let cmk = CmkRef::parse("local:test").unwrap();
    TableKey::derive(
        &Secret::from_bytes([version as u8; 32]),
        ClusterId([1; 16]),
        TABLE,
        version,
        &cmk,
    )
}

/// The root at an epoch; its key has the same version.
fn root(epoch: u64) -> Root {
    let newest = key(epoch as u32);
    let entropy = SeededEntropy::new(epoch);
    let mut root = Root {
        table: TABLE,
        cmk: CmkRef::parse("local:test").unwrap(),
        wrapped: vec![epoch as u8; 93],
        alternatives: Vec::new(),
        version: epoch as u32,
        older: (1..epoch as u32)
            .map(|version| newest.wrap_older(&key(version), &entropy))
            .collect(),
        fingerprints: (1..=epoch as u32)
            .map(|version| (version, key(version).fingerprint()))
            .collect(),
        epoch,
        tag: [0; 32],
    };
    root.sign(&newest);
    root
}

struct World {
    disk: Arc<SimulatedDisk>,
    env: Arc<SimulatedEnv>,
}

impl World {
    fn new() -> World {
        World {
            disk: SimulatedDisk::new(),
            env: SimulatedEnv::new(1),
        }
    }

    fn with_root(epoch: u64) -> World {
        let world = World::new();
        let backend = world.open();
        for epoch in 1..=epoch {
            world.commit(&backend, epoch).unwrap();
        }
        world
    }

    fn open(&self) -> SimulatedBackend {
        SimulatedBackend::open(&self.disk).unwrap()
    }

    fn commit(&self, backend: &SimulatedBackend, epoch: u64) -> Result<()> {
        let expected = (epoch > 1).then(|| epoch - 1);
        self.env.run(commit(backend, &root(epoch), expected))
    }

    fn load(&self, backend: &SimulatedBackend) -> LoadedRoot {
        self.env.run(load(backend, TABLE)).unwrap()
    }
}

fn live(epoch: u64) -> RootState {
    RootState::Live(Box::new(root(epoch)))
}

#[test]
fn a_root_is_replaced_and_only_by_one_that_knows_what_it_replaces() {
    let world = World::with_root(2);
    let backend = world.open();
    assert_eq!(world.load(&backend).state, live(2));
    let stale = world.env.run(commit(&backend, &root(3), Some(1)));
    assert!(matches!(stale, Err(Error::Busy { .. })));
    let again = world.env.run(commit(&backend, &root(1), None));
    assert!(matches!(again, Err(Error::Busy { .. })));
    let falling = world.env.run(commit(&backend, &root(2), Some(2)));
    assert!(matches!(falling, Err(Error::Invalid { .. })));
    world.commit(&backend, 3).unwrap();
    let loaded = world.load(&backend);
    assert_eq!((loaded.state, loaded.note), (live(3), None));
}

#[test]
fn after_a_switch_no_copy_of_the_old_wrap_is_left() {
    let world = World::with_root(1);
    let old_wrap = root(1).wrapped;
    let is_there = || {
        let bytes = world.disk.contents(PATH).unwrap();
        bytes
            .windows(old_wrap.len())
            .any(|window| window == old_wrap)
    };
    assert!(is_there());
    world.commit(&world.open(), 2).unwrap();
    assert!(!is_there());
}

#[test]
fn a_shorter_root_leaves_nothing_of_a_longer_one_and_takes_little_room() {
    let world = World::new();
    let backend = world.open();
    let mut long = root(1);
    long.wrapped = vec![0x5e; 20_000];
    long.sign(&key(1));
    world.env.run(commit(&backend, &long, None)).unwrap();
    world.commit(&backend, 2).unwrap();
    let bytes = world.disk.contents(PATH).unwrap();
    assert!(!bytes.windows(100).any(|window| window == [0x5e; 100]));
    assert_eq!(world.load(&backend).state, live(2));
    drop(backend);
    let small = World::with_root(1).disk.contents(PATH).unwrap();
    assert_eq!(small.len(), 32768 + 4096);
}

#[test]
fn a_crash_at_any_step_of_a_switch_leaves_the_old_root_or_the_new() {
    for sync in 1..6 {
        for seed in 0..20 {
            let world = World::with_root(3);
            let backend = world.open();
            world.disk.go_down_at_sync(sync);
            let acknowledged = world.commit(&backend, 4).is_ok();
            drop(backend);
            world.disk.crash(Crash::PowerLoss { seed });
            let backend = world.open();
            let found = world.load(&backend).state;
            assert!(
                found == live(4) || (!acknowledged && found == live(3)),
                "sync {sync} seed {seed}"
            );
            // And the next switch heals both copies.
            let epoch = if found == live(4) { 5 } else { 4 };
            world.commit(&backend, epoch).unwrap();
            assert_eq!(world.load(&backend).note, None);
        }
    }
}

#[test]
fn a_crash_at_any_step_of_the_first_commit_leaves_nothing_or_the_root() {
    for sync in 1..6 {
        for seed in 0..20 {
            let world = World::new();
            let backend = world.open();
            world.disk.go_down_at_sync(sync);
            let acknowledged = world.commit(&backend, 1).is_ok();
            drop(backend);
            world.disk.crash(Crash::PowerLoss { seed });
            let backend = world.open();
            let found = world.load(&backend).state;
            assert!(
                found == live(1) || (!acknowledged && found == RootState::Missing),
                "sync {sync} seed {seed}"
            );
            if found == RootState::Missing {
                world.commit(&backend, 1).unwrap();
            }
        }
    }
}

#[test]
fn one_copy_damaged_is_survived_and_reported_and_two_are_damage() {
    for copy in 0..2 {
        let world = World::with_root(2);
        world.disk.flip(PATH, copy * 32768 + 60, 2);
        let loaded = world.load(&world.open());
        assert_eq!(loaded.state, live(2));
        assert!(
            loaded
                .note
                .unwrap()
                .contains(&format!("copy {copy} is damaged"))
        );
    }
    let world = World::with_root(2);
    world.disk.flip(PATH, 60, 2);
    world.disk.flip(PATH, 32768 + 60, 2);
    assert_eq!(world.load(&world.open()).state, RootState::Damaged);
}

#[test]
fn an_older_copy_put_back_in_one_slot_is_reported_and_in_both_it_stands_behind_the_manifest() {
    let old = World::with_root(1).disk.contents(PATH).unwrap();
    let world = World::with_root(2);
    let mut mixed = world.disk.contents(PATH).unwrap();
    mixed[..32768].copy_from_slice(&old[..32768]);
    world.disk.replace(PATH, Some(mixed));
    let loaded = world.load(&world.open());
    assert_eq!(loaded.state, live(2));
    assert!(loaded.note.unwrap().contains("copy 0 is older"));

    world.disk.replace(PATH, Some(old));
    let RootState::Live(found) = world.load(&world.open()).state else {
        panic!("the old root is whole");
    };
    let recorded = root(2);
    assert_eq!(
        standing(&found, recorded.epoch, &recorded.hash()),
        Standing::RolledBack
    );
    assert_eq!(
        standing(&recorded, recorded.epoch, &recorded.hash()),
        Standing::Current
    );
    assert_eq!(
        standing(&root(3), recorded.epoch, &recorded.hash()),
        Standing::Ahead
    );
}

#[test]
fn a_destroyed_root_stays_destroyed() {
    for sync in 1..6 {
        for seed in 0..20 {
            let world = World::with_root(3);
            let backend = world.open();
            world.disk.go_down_at_sync(sync);
            let acknowledged = world.env.run(backend.root_destroy(TABLE)).is_ok();
            drop(backend);
            world.disk.crash(Crash::PowerLoss { seed });
            let backend = world.open();
            let found = world.load(&backend).state;
            let is_gone = matches!(found, RootState::Destroyed | RootState::Missing);
            assert!(
                is_gone || (!acknowledged && found == live(3)),
                "sync {sync} seed {seed}: {found:?}"
            );
            if is_gone {
                // Nothing brings it back, and destroying again finishes the work.
                let revived = world.env.run(commit(&backend, &root(4), Some(3)));
                assert!(revived.is_err());
            }
            world.env.run(backend.root_destroy(TABLE)).unwrap();
            assert_eq!(world.load(&backend).state, RootState::Missing);
            drop(backend);
            world.disk.crash(Crash::PowerLoss { seed });
            let wrap = root(3).wrapped;
            for path in world.disk.paths() {
                let bytes = world.disk.contents(&path).unwrap();
                assert!(!bytes.windows(wrap.len()).any(|window| window == wrap));
            }
        }
    }
}

#[test]
fn a_root_is_verified_under_its_newest_key_and_no_other() {
    let signed = root(3);
    signed.verify(&key(3)).unwrap();
    assert!(matches!(signed.verify(&key(2)), Err(Error::Corrupt { .. })));
    let mut changed = signed.clone();
    changed.epoch += 1;
    assert!(matches!(
        changed.verify(&key(3)),
        Err(Error::Corrupt { .. })
    ));
    let mut changed = signed;
    changed.cmk = CmkRef::parse("local:other").unwrap();
    assert!(matches!(
        changed.verify(&key(3)),
        Err(Error::Corrupt { .. })
    ));
}

#[test]
fn the_older_keys_of_a_root_open_under_the_newest() {
    let root = Root::decode(&root(3).encode()).unwrap();
    for older in &root.older {
        let opened = key(3).unwrap_older(older).unwrap();
        assert_eq!(opened.fingerprint(), key(older.version).fingerprint());
    }
}

proptest! {
    #[test]
    fn a_root_reads_back_as_written(epoch in 1u64..6, wraps in proptest::collection::vec(proptest::collection::vec(any::<u8>(), 0..300), 0..7)) {
        let mut root = root(epoch);
        root.alternatives = wraps
            .into_iter()
            .map(|wrapped| KmsWrap { cmk: CmkRef::parse("local:spare").unwrap(), wrapped })
            .collect();
        prop_assert_eq!(Root::decode(&root.encode()).unwrap(), root);
    }

    #[test]
    fn a_mutated_root_never_panics_and_never_verifies(bit in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>()) {
        let original = root(3).encode();
        let mut bytes = original.clone();
        let bit = bit.index(bytes.len() * 8);
        bytes[bit / 8] ^= 1 << (bit % 8);
        if let Ok(root) = Root::decode(&bytes) {
            prop_assert!(root.verify(&key(3)).is_err());
        }
        prop_assert!(Root::decode(&original[..cut.index(original.len())]).is_err());
    }

    #[test]
    fn any_bytes_are_taken_as_a_root(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
        let _ = Root::decode(&bytes);
    }
}
