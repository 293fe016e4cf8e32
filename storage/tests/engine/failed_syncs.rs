//! A sync that failed, and a process that starts again on the same machine: the kernel shows what never reached the disk, and a second sync succeeds without bringing it there. Whatever a
//! start shows to anybody must stay, also when the power goes afterwards.

use palladium_storage::{Crash, Error};

use crate::world::{World, small};

#[test]
fn a_write_seen_after_a_failed_sync_and_a_restart_survives_a_loss_of_power() {
    for seed in 0..10 {
        let mut world = World::with_tables(seed, small(), 1);
        world.fill(0, 3, 3);
        world.disk.fail_syncs(1);
        let unknown = world.try_put(0, (9, 9), 9);
        assert!(matches!(unknown, Err(Error::OutcomeUnknown { .. })));
        world.reopen(Crash::Kill);
        world.unlock(0).unwrap();
        let seen = world.rows(0).unwrap();
        assert_eq!(seen.get(&(9, 9)), Some(&9), "it was replayed");
        world.reopen(Crash::PowerLoss { seed });
        world.unlock(0).unwrap();
        assert_eq!(world.rows(0).unwrap(), seen, "seed {seed}");
        assert_eq!(world.stop().ok(), Some(()));
        world.reopen(Crash::Kill);
        world.stop().unwrap();
    }
}

#[test]
fn a_root_seen_after_a_failed_sync_is_there_after_a_loss_of_power() {
    let mut seen_new = 0;
    for passing in 0..8 {
        for seed in 0..20 {
            let mut world = World::with_tables(seed, small(), 1);
            let expected = world.fill(0, 3, 3);
            world.disk.fail_syncs_after(passing, 1);
            if seed % 2 == 0 {
                // Before anybody can try again.
                world.disk.go_down_at_sync(passing + 2);
            }
            let switched = world.switch(0);
            world.disk.fail_syncs(0);
            if switched.is_ok() {
                assert_eq!(world.root(0).version, 2, "passing {passing}");
            }
            world.reopen(Crash::Kill);
            let seen = world.root(0).version;
            assert!(switched.is_err() || seen == 2, "passing {passing}");
            seen_new += seen - 1;
            world.reopen(Crash::PowerLoss { seed });
            assert_eq!(
                world.root(0).version,
                seen,
                "passing {passing}, seed {seed}"
            );
            world.unlock(0).unwrap();
            assert_eq!(world.rows(0).unwrap(), expected);
        }
    }
    assert!(seen_new > 0, "no new root was seen");
}
