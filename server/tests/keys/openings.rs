//! Openings that take longer than a lease: what the log holds of a table is read to its end, under leases that follow each other.

use super::world::*;

const LEASE: u64 = 10;
/// Some 200 looks at the clock within one lease: renewing it takes a dozen.
const STEP: Duration = Duration::from_millis(50);

/// A closed table of which the log holds far more than can be read within one lease.
async fn much_to_replay() -> World {
    let world = World::with_lease(LEASE).await;
    for _ in 0..800 {
        world.write(ORDERS).await.unwrap();
    }
    world.env.advance(LEASE);
    world.keeper.step().await;
    world.engine.lock(ORDERS).await;
    world.env.creep(STEP);
    world
}

#[tokio::test]
async fn an_opening_that_takes_longer_than_its_lease_comes_to_its_end() {
    let world = much_to_replay().await;
    let (begun, calls) = (
        world.env.nanos(),
        world.kms.count(&owner(), Operation::Decrypt),
    );
    world.keeper.ensure(ORDERS, &Asker::server()).await.unwrap();
    world.env.creep(Duration::ZERO);
    assert_eq!(world.rows(ORDERS).await, Ok(1));
    let leases = (world.env.nanos() - begun) / (LEASE * 1_000_000_000);
    assert!(leases >= 3, "it took {leases} leases");
    let calls = world.kms.count(&owner(), Operation::Decrypt) - calls;
    assert!(calls > leases, "{calls} Decrypts in {leases} leases");
}

#[tokio::test]
async fn a_key_that_is_taken_away_during_a_long_opening_ends_it() {
    let world = much_to_replay().await;
    let calls = world.kms.count(&owner(), Operation::Decrypt);
    let take_away = async {
        while world.kms.count(&owner(), Operation::Decrypt) == calls {
            next_turn().await;
        }
        world
            .kms
            .answer_next_calls(&owner(), Behavior::Denied(DenialReason::Disabled));
    };
    let asker = Asker::server();
    let opened = world.keeper.ensure(ORDERS, &asker);
    let (refused, ()) = futures::join!(opened, take_away);
    let error = refused.expect_err("its key was taken away");
    assert_eq!(error.code(), ErrorCode::Unauthorized, "{error}");
    assert!(error.message.ends_with("reason=Disabled"), "{error}");
    assert!(world.engine.lease(ORDERS).is_none());
}

#[tokio::test]
async fn a_key_that_another_table_is_denied_ends_the_long_opening_of_one_that_was_in_trouble() {
    let world = much_to_replay().await;
    let disabled = Behavior::Denied(DenialReason::Disabled);
    world.kms.set(&owner(), disabled);
    world.refused(ORDERS).await;
    world.kms.set(&owner(), Behavior::Ok);
    world.env.advance(6);
    let calls = world.kms.count(&owner(), Operation::Decrypt);
    let other_is_denied = async {
        while world.kms.count(&owner(), Operation::Decrypt) == calls {
            next_turn().await;
        }
        world.kms.answer_next_calls(&owner(), disabled);
        world.refused(INVOICES).await;
        // Whoever asks from now on is answered.
        world.kms.set(&owner(), Behavior::Ok);
    };
    let asker = Asker::server();
    let opened = world.keeper.ensure(ORDERS, &asker);
    let (refused, ()) = futures::join!(opened, other_is_denied);
    let error = refused.expect_err("its key was denied meanwhile");
    assert!(error.message.ends_with("reason=Disabled"), "{error}");
    assert!(world.engine.lease(ORDERS).is_none());
}

#[tokio::test]
async fn a_service_that_falls_silent_during_a_long_opening_is_named() {
    let world = much_to_replay().await;
    let calls = world.kms.count(&owner(), Operation::Decrypt);
    let fall_silent = async {
        while world.kms.count(&owner(), Operation::Decrypt) == calls {
            next_turn().await;
        }
        let silent = Behavior::Unavailable(UnavailableReason::Unreachable);
        world.kms.answer_next_calls(&owner(), silent);
    };
    let asker = Asker::server();
    let opened = world.keeper.ensure(ORDERS, &asker);
    let (refused, ()) = futures::join!(opened, fall_silent);
    let error = refused.expect_err("its lease has ended");
    assert_eq!(error.code(), ErrorCode::Unavailable, "{error}");
    assert!(error.message.ends_with("reason=Unreachable"), "{error}");
}

/// Enough time for what is made slow in a world where each look at the clock takes [`STEP`].
const LONG_LEASE: u64 = 30;

#[tokio::test]
async fn openings_that_take_many_leases_keep_no_table_in_use_from_being_renewed() {
    const IN_USE: TableId = TableId([9; 16]);
    let world = World::with_lease(LONG_LEASE).await;
    let opening: Vec<TableId> = (10..14).map(|id| TableId([id; 16])).collect();
    for (place, id) in opening.iter().enumerate() {
        world.create(*id, &format!("big_{place}"), &owner()).await;
        for _ in 0..600 {
            world.write(*id).await.unwrap();
        }
    }
    world.env.advance(LONG_LEASE);
    world.keeper.step().await;
    for id in &opening {
        world.engine.lock(*id).await;
        world.keeper.want(*id);
    }
    world.create(IN_USE, "in_use", &owner()).await;
    world.env.creep(STEP);
    let begun = world.env.nanos();
    tokio::spawn(world.keeper.clone().run());
    // A task among the openings' tasks, as in the server: the test itself has one turn in sixty of theirs.
    let in_use = tokio::spawn(async move {
        // One that is open falls asleep again: nobody uses it.
        let mut closed = opening;
        while !closed.is_empty() {
            closed.retain(|id| world.engine.lease(*id).is_none());
            let seconds = (world.env.nanos() - begun) / 1_000_000_000;
            let rows = world.rows_now(IN_USE).await;
            assert_eq!(rows.ok(), Some(1), "after {seconds} s");
            next_turn().await;
        }
        world
    });
    let world = in_use.await.unwrap();
    let leases = (world.env.nanos() - begun) / (LONG_LEASE * 1_000_000_000);
    assert!(leases >= 3, "it took {leases} leases");
}

/// Seconds of a lease that have passed when the answer comes that begins it: it is to be renewed at once.
const LATE: u64 = LEASE_SECONDS / 10 * 8;

/// A table that is opened with a key that came late; who asks after that is answered so. Gives also when that key was asked for.
async fn opened_late(later: Behavior) -> (World, u64) {
    let world = World::empty(|options| options.call_timeout = Duration::from_secs(3_600)).await;
    world.fill().await;
    world.fall_asleep().await;
    assert!(world.engine.lease(ORDERS).is_none());
    world.env.creep(Duration::from_nanos(1));
    world.kms.set(&owner(), Behavior::Held);
    let (sent, calls) = (
        world.env.nanos(),
        world.kms.count(&owner(), Operation::Decrypt),
    );
    let keeper = world.keeper.clone();
    tokio::spawn(async move {
        // This client is told to come again.
        let _ = keeper.ensure(ORDERS, &Asker::server()).await;
    });
    while world.kms.count(&owner(), Operation::Decrypt) == calls {
        next_turn().await;
    }
    world.env.advance(LATE);
    world.kms.answer_next_calls(&owner(), later);
    world.kms.release_held(&owner(), Behavior::Ok);
    while !world.engine.lease_alive(ORDERS) {
        next_turn().await;
    }
    // The keeper has its turns after the engine.
    for _ in 0..100 {
        next_turn().await;
    }
    (world, sent)
}

#[tokio::test]
async fn a_renewal_that_comes_before_an_opening_has_had_a_turn_is_not_lost() {
    let (world, sent) = opened_late(Behavior::Ok).await;
    let lease = world.engine.lease(ORDERS).expect("it is open");
    let renewed = sent + (LATE + LEASE_SECONDS) * 1_000_000_000;
    assert!(lease.boot_deadline_nanos >= renewed, "{lease:?}");
}

#[tokio::test]
async fn a_table_that_has_been_opened_is_closed_in_time_whatever_becomes_of_its_renewal() {
    let (world, _) = opened_late(Behavior::Held).await;
    world.env.advance(LEASE_SECONDS - LATE);
    world.keeper.step().await;
    assert!(world.engine.lease(ORDERS).is_none());
}
