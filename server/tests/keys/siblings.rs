//! Tables under one key: what is said of one of them is not said of the others.

use super::world::*;

#[tokio::test]
async fn a_table_whose_root_does_not_open_says_nothing_about_its_siblings() {
    let mut world = World::new().await;
    // Its key service is told another table's name, so what it decrypts is not what was encrypted.
    let tables = [
        (ORDERS, "moved"),
        (INVOICES, "invoices"),
        (NEIGHBOUR, "neighbour"),
    ];
    world.restart(&tables).await;
    for _ in 0..4 {
        assert!(world.rows(ORDERS).await.is_err());
        world.env.advance(6);
    }
    assert!(world.rows(ORDERS).await.is_err());
    world.keeper.want(INVOICES);
    world.keeper.step().await;
    let status = world.keeper.status(INVOICES);
    assert!(matches!(status, TableKeyStatus::Enabled), "{status:?}");
    assert_eq!(world.rows(INVOICES).await, Ok(1));
}

#[tokio::test]
async fn a_table_that_stays_refused_does_not_make_its_siblings_renew_every_few_seconds() {
    let world = World::with_grants(100).await;
    world.fill().await;
    let of_invoices = |call: &Call| {
        let context = call.context.as_ref();
        call.operation == Operation::Decrypt
            && context.is_some_and(|context| context.iter().any(|(_, value)| value == "invoices"))
    };
    let of_orders = world.kms.grants_of(&owner()).into_iter();
    let of_orders =
        of_orders.filter(|(_, request)| request.context.iter().any(|(_, value)| value == "orders"));
    for (grant, _) in of_orders {
        world.kms.revoke(&grant);
    }
    let before = world.kms.calls().into_iter().filter(of_invoices).count();
    for _ in 0..100 {
        world.env.advance(6);
        // Refused once its lease has ended.
        let _ = world.rows(ORDERS).await;
        world.write(INVOICES).await.unwrap();
        world.keeper.step().await;
    }
    assert_eq!(world.refused(ORDERS).await.code(), ErrorCode::Unauthorized);
    let after = world.kms.calls().into_iter().filter(of_invoices).count();
    assert!(
        after - before <= 8,
        "{} Decrypts of a healthy sibling in 600 s",
        after - before
    );
}

#[tokio::test]
async fn an_old_word_about_the_key_is_not_kept_alive_by_what_is_said_of_one_table() {
    let world = World::new().await;
    world.deny(&owner(), DenialReason::PendingDeletion);
    world.pass(LEASE_SECONDS).await;
    world.refused(ORDERS).await;
    world.refused(INVOICES).await;
    // The key is back, but not for one of its tables, which is asked for all the time.
    world.kms.set(&owner(), Behavior::Ok);
    let orders = EncryptionContext::for_table("shop", "orders", "me");
    let wrong = Some(Behavior::Tampered);
    world.kms.set_context(&owner(), &orders, wrong);
    for _ in 0..10 {
        world.env.advance(6);
        world.refused(ORDERS).await;
        world.keeper.step().await;
    }
    let status = world.keeper.status(INVOICES);
    assert!(matches!(status, TableKeyStatus::Enabled), "{status:?}");
    assert_eq!(world.rows(INVOICES).await, Ok(1));
}

#[tokio::test]
async fn damage_of_one_table_says_that_the_service_answers() {
    let world = World::asleep().await;
    world.kms.set(
        &owner(),
        Behavior::Unavailable(UnavailableReason::Unreachable),
    );
    for _ in 0..3 {
        world.refused(ORDERS).await;
        world.env.advance(6);
    }
    world.kms.set(&owner(), Behavior::Ok);
    let orders = EncryptionContext::for_table("shop", "orders", "me");
    let wrong = Some(Behavior::Tampered);
    world.kms.set_context(&owner(), &orders, wrong);
    assert_eq!(world.refused(ORDERS).await.code(), ErrorCode::ReadFailure);
    // One that slept through all of that.
    assert_eq!(world.rows(INVOICES).await, Ok(1));
}

#[tokio::test]
async fn what_is_said_of_a_key_reaches_the_tables_that_are_under_it_now_and_no_others() {
    const SECOND: TableId = TableId([4; 16]);
    let world = World::new().await;
    world.create(SECOND, "second", &other()).await;
    // Each of the first three is under another key than it began with, or gone.
    world.alter(ORDERS, &other()).await.unwrap();
    world.alter(NEIGHBOUR, &owner()).await.unwrap();
    world.alter(SECOND, &owner()).await.unwrap();
    world.drop_table(INVOICES).await;
    world.deny(&owner(), DenialReason::Disabled);
    // One of the two under the key is asked for, and both are closed.
    assert!(world.alter(SECOND, &owner()).await.is_err());
    for closed in [NEIGHBOUR, SECOND] {
        assert!(world.engine.lease(closed).is_none());
    }
    assert_eq!(world.rows(ORDERS).await, Ok(1));
    assert!(world.engine.lease_alive(ORDERS));
    // The key is back for one, and the other is tried with the next look.
    world.kms.set(&owner(), Behavior::Ok);
    world.env.advance(6);
    assert_eq!(world.rows(SECOND).await, Ok(1));
    world.keeper.step().await;
    assert!(world.engine.lease_alive(NEIGHBOUR));
}
