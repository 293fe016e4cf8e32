//! Silence: a service that does not answer has denied nothing, is not asked for every table, and delays nobody else.

use super::world::*;

#[tokio::test]
async fn an_unreachable_service_lets_the_lease_run_to_its_end_and_no_longer() {
    let world = World::new().await;
    world.kms.set(
        &owner(),
        Behavior::Unavailable(UnavailableReason::Unreachable),
    );
    for second in (0..LEASE_SECONDS).step_by(10) {
        world.write(ORDERS).await.unwrap_or_else(|error| {
            panic!("{second} s into its lease the table is refused: {error}")
        });
        world.env.advance(10);
        world.keeper.step().await;
    }
    assert!(!world.engine.lease_alive(ORDERS));
    let error = world.refused(ORDERS).await;
    assert_eq!(error.code(), ErrorCode::Unavailable);
    assert!(error.message.ends_with("reason=Unreachable"), "{error}");
    world.kms.set(&owner(), Behavior::Ok);
    world.env.advance(6);
    assert_eq!(world.rows(ORDERS).await, Ok(1));
}

#[tokio::test]
async fn a_service_that_never_answers_is_unreachable() {
    let world = World::asleep().await;
    world.kms.set(&owner(), Behavior::Held);
    assert_eq!(world.refused(ORDERS).await.code(), ErrorCode::Unavailable);
}

#[tokio::test]
async fn a_throttled_renewal_is_told_as_throttled_when_the_lease_is_over() {
    let world = World::new().await;
    world.kms.set(
        &owner(),
        Behavior::Unavailable(UnavailableReason::Throttled),
    );
    for _ in (0..LEASE_SECONDS).step_by(10) {
        world.write(ORDERS).await.unwrap();
        world.env.advance(10);
        world.keeper.step().await;
    }
    let error = world.refused(ORDERS).await;
    assert!(error.message.ends_with("reason=Throttled"), "{error}");
}

#[tokio::test]
async fn a_key_that_does_not_answer_is_not_asked_for_every_table() {
    let world = World::new().await;
    world.kms.set(
        &owner(),
        Behavior::Unavailable(UnavailableReason::Unreachable),
    );
    let calls = world.kms.count(&owner(), Operation::Decrypt);
    for _ in 0..LEASE_SECONDS - 1 {
        world.write(ORDERS).await.unwrap();
        world.write(INVOICES).await.unwrap();
        world.env.advance(1);
        world.keeper.step().await;
    }
    let calls = world.kms.count(&owner(), Operation::Decrypt) - calls;
    assert!((5..25).contains(&calls), "{calls} calls");
}

#[tokio::test]
async fn a_service_that_hangs_delays_no_other_key() {
    let world = World::new().await;
    world.env.is_patient.store(true, Ordering::SeqCst);
    world.kms.set(&owner(), Behavior::Held);
    let hanging = world.keeper.clone();
    world.env.advance(220);
    let lease = world.engine.lease(NEIGHBOUR);
    let step = tokio::spawn(async move { hanging.step().await });
    while world.engine.lease(NEIGHBOUR) == lease {
        tokio::task::yield_now().await;
    }
    assert!(!step.is_finished());
    world.kms.set(&owner(), Behavior::Ok);
    step.await.unwrap();
}

#[tokio::test]
async fn a_table_whose_lease_ends_while_its_key_is_asked_for_is_wiped_before_an_answer_comes() {
    let world = World::new().await;
    world.env.is_patient.store(true, Ordering::SeqCst);
    world.kms.set(&owner(), Behavior::Held);
    let calls = world.kms.count(&owner(), Operation::Decrypt);
    world.env.advance(220);
    let hanging = world.keeper.clone();
    let renewing = tokio::spawn(async move { hanging.step().await });
    world.sent(&owner(), Operation::Decrypt, calls).await;
    world.env.advance(LEASE_SECONDS - 220);
    assert!(world.engine.lease(ORDERS).is_some());
    world.keeper.step().await;
    assert!(world.engine.lease(ORDERS).is_none());
    assert!(!renewing.is_finished());
    world.env.is_patient.store(false, Ordering::SeqCst);
    world.kms.set(&owner(), Behavior::Ok);
    renewing.await.unwrap();
    assert_eq!(world.rows(ORDERS).await, Ok(1));
}

#[tokio::test]
async fn a_region_that_hangs_holds_up_no_key_of_another() {
    // More than may be asked for at a time.
    const HUNG: u8 = 40;
    let key = |region: &str, number: u8| {
        CmkRef::parse(&format!("arn:aws:kms:{region}:111122223333:key/{number}")).unwrap()
    };
    let id = |number: u8| TableId([100 + number; 16]);
    let world = World::empty(|_| {}).await;
    world
        .create(NEIGHBOUR, "neighbour", &key("eu-west-1", 0))
        .await;
    for number in 0..HUNG {
        let name = format!("hung_{number}");
        world
            .create(id(number), &name, &key("us-east-1", number))
            .await;
        world.env.advance(1);
    }
    world.fall_asleep().await;
    world.env.is_patient.store(true, Ordering::SeqCst);
    let calls = world.kms.total();
    let mut hanging = Vec::new();
    for number in 0..HUNG {
        world.kms.set(&key("us-east-1", number), Behavior::Held);
        let keeper = world.keeper.clone();
        hanging.push(tokio::spawn(async move {
            keeper.ensure(id(number), &Asker::server()).await
        }));
    }
    while world.kms.total() < calls + u64::from(HUNG) - 8 {
        tokio::task::yield_now().await;
    }
    let asker = Asker::server();
    let opening = world.keeper.ensure(NEIGHBOUR, &asker);
    // Otherwise it would wait for ever.
    let opened = tokio::time::timeout(Duration::from_secs(60), opening).await;
    assert_eq!(opened, Ok(Ok(())));
    assert!(hanging.iter().all(|hanging| !hanging.is_finished()));
    for number in 0..HUNG {
        world.kms.set(&key("us-east-1", number), Behavior::Ok);
    }
    for hanging in hanging {
        hanging.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_grace_keeps_a_table_in_use_open_past_its_lease_and_no_longer() {
    let world = World::empty(|options| options.grace_seconds = 120).await;
    world.fill().await;
    world.kms.set(
        &owner(),
        Behavior::Unavailable(UnavailableReason::Unreachable),
    );
    for second in 0..LEASE_SECONDS + 120 {
        world
            .write(ORDERS)
            .await
            .unwrap_or_else(|error| panic!("refused after {second} s: {error}"));
        world.env.advance(1);
        world.keeper.step().await;
    }
    assert!(!world.engine.lease_alive(ORDERS));
    let error = world.refused(ORDERS).await;
    assert!(error.message.ends_with("reason=Unreachable"), "{error}");
}

#[tokio::test]
async fn a_denial_ends_the_grace_at_once() {
    let world = World::empty(|options| options.grace_seconds = 3_600).await;
    world.fill().await;
    world.kms.set(
        &owner(),
        Behavior::Unavailable(UnavailableReason::Unreachable),
    );
    for _ in 0..LEASE_SECONDS + 60 {
        world.write(ORDERS).await.unwrap();
        world.write(INVOICES).await.unwrap();
        world.env.advance(1);
        world.keeper.step().await;
    }
    world.deny(&owner(), DenialReason::Disabled);
    world.pass(30).await;
    for table in [ORDERS, INVOICES] {
        assert!(world.engine.lease(table).is_none());
        let error = world.refused(table).await;
        assert!(error.message.ends_with("reason=Disabled"), "{error}");
    }
}

#[tokio::test]
async fn a_grace_is_counted_from_the_end_of_the_lease_even_if_nobody_looked() {
    let world = World::empty(|options| options.grace_seconds = 120).await;
    world.fill().await;
    world.kms.set(
        &owner(),
        Behavior::Unavailable(UnavailableReason::Unreachable),
    );
    world.env.advance(LEASE_SECONDS + 60);
    assert_eq!(world.rows(ORDERS).await, Ok(1));
    world.env.advance(59);
    assert_eq!(world.rows(ORDERS).await, Ok(1));
    world.env.advance(1);
    world.refused(ORDERS).await;
}

#[tokio::test]
async fn a_denied_key_has_no_grace() {
    let world = World::empty(|options| options.grace_seconds = 3_600).await;
    world.fill().await;
    world.deny(&owner(), DenialReason::AccessDenied);
    world.env.advance(LEASE_SECONDS);
    assert_eq!(world.refused(ORDERS).await.code(), ErrorCode::Unauthorized);
}

#[tokio::test]
async fn sleepers_of_a_key_that_never_answers_are_told_so_without_a_call() {
    let world = World::asleep().await;
    world.kms.set(
        &owner(),
        Behavior::Unavailable(UnavailableReason::Unreachable),
    );
    for _ in 0..3 {
        world.refused(ORDERS).await;
        world.env.advance(6);
    }
    world.refused(ORDERS).await;
    let calls = world.kms.count(&owner(), Operation::Decrypt);
    let error = world.refused(INVOICES).await;
    assert!(error.message.ends_with("reason=Unreachable"), "{error}");
    assert_eq!(world.kms.count(&owner(), Operation::Decrypt), calls);
}

#[tokio::test]
async fn bytes_that_are_not_a_tables_key_say_nothing_of_its_siblings() {
    let world = World::new().await;
    let context = EncryptionContext::for_table("shop", "orders", "me");
    let wrong = Some(Behavior::Tampered);
    world.kms.set_context(&owner(), &context, wrong);
    for _ in 0..LEASE_SECONDS {
        let _ = world.write(ORDERS).await;
        world.write(INVOICES).await.unwrap();
        world.env.advance(2);
        world.keeper.step().await;
    }
    let error = world.refused(ORDERS).await;
    assert_eq!(error.code(), ErrorCode::ReadFailure, "{error}");
    assert_eq!(world.rows(INVOICES).await, Ok(1));
}

#[tokio::test]
async fn a_table_that_was_put_under_a_key_is_renewed_although_the_key_was_silent_before() {
    let world = World::with_lease(10).await;
    world.env.advance(10);
    let unreachable = Behavior::Unavailable(UnavailableReason::Unreachable);
    world.kms.set(&owner(), unreachable);
    for _ in 0..6 {
        world.refused(ORDERS).await;
        world.env.advance(6);
    }
    world.kms.set(&owner(), Behavior::Ok);
    world.alter(NEIGHBOUR, &owner()).await.unwrap();
    let calls = world.kms.count(&owner(), Operation::Decrypt);
    world.env.advance(7);
    world.write(NEIGHBOUR).await.unwrap();
    world.keeper.step().await;
    assert!(world.kms.count(&owner(), Operation::Decrypt) > calls);
    let lease = world.engine.lease(NEIGHBOUR).expect("it is open");
    assert_eq!(
        lease.boot_deadline_nanos,
        world.env.nanos() + 10_000_000_000
    );
}
