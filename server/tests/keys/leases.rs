//! Leases: renewed in use, let go when idle.

use super::world::*;

#[tokio::test]
async fn a_table_in_use_is_renewed_before_its_lease_ends_and_never_waits() {
    let world = World::new().await;
    for _ in 0..30 {
        world.env.advance(60);
        assert!(
            world.engine.lease_alive(ORDERS),
            "the lease ran out while the table was in use"
        );
        world.write(ORDERS).await.unwrap();
        world.keeper.step().await;
    }
    let calls = world.kms.count(&owner(), Operation::Decrypt);
    assert!((6..40).contains(&calls), "{calls} calls in half an hour");
}

#[tokio::test]
async fn an_idle_table_goes_dormant_and_wakes_with_the_next_request() {
    let world = World::asleep().await;
    assert!(!world.engine.lease_alive(ORDERS));
    assert!(matches!(
        world.keeper.status(ORDERS),
        TableKeyStatus::Enabled
    ));
    assert_eq!(world.rows(ORDERS).await, Ok(1));
}

#[tokio::test]
async fn the_shortest_lease_is_renewed_in_time_too() {
    let world = World::with_lease(10).await;
    for _ in 0..120 {
        assert!(world.engine.lease_alive(ORDERS));
        world.write(ORDERS).await.unwrap();
        world.env.advance(1);
        world.keeper.step().await;
    }
    // What was used since the last renewal is renewed once more.
    for _ in 0..16 {
        world.env.advance(1);
        world.keeper.step().await;
    }
    assert!(world.engine.lease(ORDERS).is_none(), "idle and still open");
}

#[tokio::test]
async fn a_client_that_leaves_while_a_table_opens_leaves_no_key_behind() {
    let world = World::asleep().await;
    world.kms.set(&owner(), Behavior::Slow(3));
    assert!(
        world
            .keeper
            .ensure(ORDERS, &Asker::server())
            .now_or_never()
            .is_none()
    );
    while !world.engine.lease_alive(ORDERS) {
        tokio::task::yield_now().await;
    }
    world.fall_asleep().await;
    assert!(
        world.engine.lease(ORDERS).is_none(),
        "nobody closed the table"
    );
}

#[tokio::test]
async fn a_request_waits_two_seconds_and_what_it_began_goes_on() {
    let world = World::empty(|options| options.call_timeout = Duration::from_secs(30)).await;
    world.fill().await;
    world.fall_asleep().await;
    let calls = world.kms.count(&owner(), Operation::Decrypt);
    world.env.waits_for_calls.store(true, Ordering::SeqCst);
    world.kms.set(&owner(), Behavior::Held);
    let error = world.refused(ORDERS).await;
    assert_eq!(error.code(), ErrorCode::Unavailable);
    assert!(
        error
            .message
            .starts_with("KMS_KEY_INACCESSIBLE table=shop.orders key=vault:owner since="),
        "{error}"
    );
    // Nobody has said no: the table still sleeps as far as anybody knows.
    assert!(matches!(
        world.keeper.status(ORDERS),
        TableKeyStatus::Enabled
    ));
    world.kms.set(&owner(), Behavior::Ok);
    while !world.engine.lease_alive(ORDERS) {
        tokio::task::yield_now().await;
    }
    assert_eq!(world.kms.count(&owner(), Operation::Decrypt), calls + 1);
}

#[tokio::test]
async fn a_wall_clock_that_jumps_ahead_ends_every_lease() {
    let world = World::new().await;
    let calls = world.kms.count(&owner(), Operation::Decrypt);
    world
        .env
        .wall_ahead
        .store(LEASE_SECONDS as i64, Ordering::SeqCst);
    assert!(!world.engine.lease_alive(ORDERS));
    assert_eq!(world.rows(ORDERS).await, Ok(1));
    assert_eq!(world.kms.count(&owner(), Operation::Decrypt), calls + 1);
    // What nobody asks for is closed with the next look.
    world.engine.take_used(INVOICES);
    world.keeper.step().await;
    assert!(world.engine.lease(INVOICES).is_none());
}

#[tokio::test]
async fn an_answer_that_comes_when_its_lease_is_over_is_asked_for_again() {
    let world = World::asleep().await;
    let (opening, calls) = world.held_opening(ORDERS).await;
    // The machine sleeps while the answer is under way.
    world.env.advance(LEASE_SECONDS);
    world.kms.answer_next_calls(&owner(), Behavior::Ok);
    world.kms.release_held(&owner(), Behavior::Ok);
    opening.await.unwrap().unwrap();
    assert_eq!(world.kms.count(&owner(), Operation::Decrypt), calls + 1);
    assert_eq!(world.rows_now(ORDERS).await.ok(), Some(1));
}

#[tokio::test]
async fn the_newest_answer_counts_where_a_wall_clock_that_went_back_and_forth_lets_an_older_one_last_longer()
 {
    let world = World::new().await;
    world.env.wall_ahead.store(-200, Ordering::SeqCst);
    world.env.advance(60);
    // A sibling is refused, and so this table is asked for long before its time.
    world.engine.lock(ORDERS).await;
    world.deny(&owner(), DenialReason::GrantRevoked);
    world.refused(ORDERS).await;
    world.kms.set(&owner(), Behavior::Ok);
    world.keeper.step().await;
    world.env.wall_ahead.store(0, Ordering::SeqCst);
    world.env.advance(99);
    assert!(world.engine.lease_alive(INVOICES));
    world.env.advance(1);
    assert!(!world.engine.lease_alive(INVOICES));
    assert_eq!(world.rows(INVOICES).await, Ok(1));
}

#[tokio::test]
async fn a_table_that_the_log_holds_is_opened_without_a_request() {
    let mut world = World::new().await;
    world
        .restart(&[(ORDERS, "orders"), (INVOICES, "invoices")])
        .await;
    assert!(!world.engine.tables_with_log().is_empty());
    world.keeper.want(ORDERS);
    world.kms.set(
        &owner(),
        Behavior::Unavailable(UnavailableReason::Unreachable),
    );
    world.keeper.step().await;
    assert!(!world.engine.lease_alive(ORDERS));
    world.kms.set(&owner(), Behavior::Ok);
    world.pass(60).await;
    assert!(world.engine.lease_alive(ORDERS));
    assert!(!world.engine.lease_alive(INVOICES), "nobody wanted it");
}
