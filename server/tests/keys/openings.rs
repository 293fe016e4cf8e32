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
