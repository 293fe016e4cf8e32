//! Denials: what an owner takes away is gone, for this table or for all under the key, and comes back.

use palladium_storage::NewTable;

use super::world::*;

#[tokio::test]
async fn a_disabled_key_closes_every_table_under_it_within_the_lease_and_no_other() {
    let world = World::new().await;
    world.deny(&owner(), DenialReason::Disabled);
    let mut open_for = 0;
    while world.engine.lease_alive(ORDERS) || world.engine.lease_alive(INVOICES) {
        let _ = world.write(ORDERS).await;
        let _ = world.write(INVOICES).await;
        world.write(NEIGHBOUR).await.unwrap();
        world.env.advance(10);
        world.keeper.step().await;
        open_for += 10;
    }
    assert!(open_for <= LEASE_SECONDS, "{open_for} s");
    let error = world.refused(ORDERS).await;
    assert_eq!(error.code(), ErrorCode::Unauthorized);
    assert!(
        error
            .message
            .starts_with("KMS_KEY_INACCESSIBLE table=shop.orders key=vault:owner since=20"),
        "{error}"
    );
    assert!(error.message.ends_with("reason=Disabled"), "{error}");
    assert!(matches!(
        world.keeper.status(INVOICES),
        TableKeyStatus::Inaccessible(_)
    ));
    assert_eq!(world.rows(NEIGHBOUR).await, Ok(1));
}

#[tokio::test]
async fn a_key_that_is_enabled_again_brings_all_rows_back() {
    let world = World::new().await;
    world.deny(&owner(), DenialReason::Disabled);
    world.pass(LEASE_SECONDS).await;
    world.refused(ORDERS).await;
    world.kms.set(&owner(), Behavior::Ok);
    world.env.advance(6);
    assert_eq!(world.rows(ORDERS).await, Ok(1));
    // The other comes back by itself, without a request.
    world.pass(60).await;
    assert!(matches!(
        world.keeper.status(INVOICES),
        TableKeyStatus::Enabled
    ));
    assert_eq!(world.rows(INVOICES).await, Ok(1));
}

#[tokio::test]
async fn denied_access_to_one_table_leaves_its_siblings_open() {
    let world = World::new().await;
    world.pass(30 * 60).await;
    world.deny(&owner(), DenialReason::AccessDenied);
    let error = world.refused(ORDERS).await;
    assert_eq!(error.code(), ErrorCode::Unauthorized);
    world.kms.set(&owner(), Behavior::Ok);
    assert_eq!(world.rows(INVOICES).await, Ok(1));
    // Asked again too soon, the last answer is repeated without a call.
    let calls = world.kms.total();
    world.refused(ORDERS).await;
    assert_eq!(world.kms.total(), calls);
}

#[tokio::test]
async fn a_table_whose_lease_ran_out_is_wiped_by_the_request_that_is_refused() {
    let world = World::new().await;
    world.env.advance(LEASE_SECONDS);
    world.deny(&owner(), DenialReason::AccessDenied);
    world.refused(ORDERS).await;
    assert!(
        world.engine.lease(ORDERS).is_none(),
        "its keys are still in memory"
    );
}

#[tokio::test]
async fn closed_tables_of_one_key_ask_once_in_five_seconds_together() {
    let world = World::new().await;
    world.deny(&owner(), DenialReason::Disabled);
    world.env.advance(LEASE_SECONDS);
    world.refused(ORDERS).await;
    let calls = world.kms.count(&owner(), Operation::Decrypt);
    world.env.advance(4);
    for table in [ORDERS, INVOICES, ORDERS] {
        world.refused(table).await;
    }
    assert_eq!(world.kms.count(&owner(), Operation::Decrypt), calls);
    world.env.advance(2);
    for table in [INVOICES, ORDERS] {
        world.refused(table).await;
    }
    assert_eq!(world.kms.count(&owner(), Operation::Decrypt), calls + 1);
}

#[tokio::test]
async fn the_moment_when_it_began_stays() {
    let world = World::new().await;
    world.env.advance(LEASE_SECONDS);
    world.kms.set(
        &owner(),
        Behavior::Unavailable(UnavailableReason::Throttled),
    );
    let first = world.refused(ORDERS).await.message;
    assert!(first.ends_with("reason=Throttled"), "{first}");
    world.env.advance(600);
    world.deny(&owner(), DenialReason::PendingDeletion);
    let second = world.refused(ORDERS).await.message;
    assert_eq!(second, first.replace("Throttled", "PendingDeletion"));
}

#[tokio::test]
async fn a_sibling_of_a_denied_table_is_asked_for_soon() {
    let world = World::new().await;
    world.env.advance(60);
    let (calls, lease) = (
        world.kms.count(&owner(), Operation::Decrypt),
        world.engine.lease(INVOICES),
    );
    world.engine.lock(ORDERS).await;
    world.deny(&owner(), DenialReason::GrantRevoked);
    world.refused(ORDERS).await;
    world.kms.set(&owner(), Behavior::Ok);
    world.keeper.step().await;
    assert_eq!(world.kms.count(&owner(), Operation::Decrypt), calls + 2);
    assert_ne!(world.engine.lease(INVOICES), lease);
}

#[tokio::test]
async fn a_denial_that_was_overtaken_by_an_answer_is_asked_about_again() {
    let world = World::asleep().await;
    let (slow, _) = world.held_opening(ORDERS).await;
    // A Decrypt that is sent later is answered; then the first one comes back with what held before.
    world.env.advance(1);
    world.kms.answer_next_calls(&owner(), Behavior::Ok);
    assert_eq!(world.rows(INVOICES).await, Ok(1));
    world.kms.answer_next_calls(&owner(), Behavior::Ok);
    world
        .kms
        .release_held(&owner(), Behavior::Denied(DenialReason::Disabled));
    slow.await.unwrap().unwrap();
    assert!(world.engine.lease_alive(ORDERS));
    assert!(world.engine.lease_alive(INVOICES));
}

#[tokio::test]
async fn an_answer_that_a_denial_has_overtaken_opens_nothing() {
    let world = World::asleep().await;
    let (slow, _) = world.held_opening(ORDERS).await;
    world.env.advance(1);
    world
        .kms
        .answer_next_calls(&owner(), Behavior::Denied(DenialReason::Disabled));
    world.refused(INVOICES).await;
    world.kms.release_held(&owner(), Behavior::Ok);
    let refused = slow.await.unwrap().expect_err("the key is gone again");
    assert!(refused.message.ends_with("reason=Disabled"), "{refused}");
    assert!(!world.engine.lease_alive(ORDERS));
}

#[tokio::test]
async fn an_answer_that_a_denial_has_overtaken_counts_for_nothing_although_the_key_is_back() {
    let world = World::asleep().await;
    let (slow, calls) = world.held_opening(ORDERS).await;
    world.env.advance(1);
    let disabled = Behavior::Denied(DenialReason::Disabled);
    world.kms.answer_next_calls(&owner(), disabled);
    world.refused(INVOICES).await;
    world.env.advance(6);
    world.kms.answer_next_calls(&owner(), Behavior::Ok);
    assert_eq!(world.rows(INVOICES).await, Ok(1));
    world.kms.release_held(&owner(), Behavior::Ok);
    slow.await.unwrap().unwrap();
    // Two for the sibling, and another one for this table.
    assert_eq!(world.kms.count(&owner(), Operation::Decrypt), calls + 3);
    let lease = world.engine.lease(ORDERS).expect("it is open");
    let fresh = world.env.nanos() + LEASE_SECONDS * 1_000_000_000;
    assert_eq!(lease.boot_deadline_nanos, fresh);
}

#[tokio::test]
async fn a_key_that_a_new_table_was_made_under_is_back_for_all_tables() {
    const NEW: TableId = TableId([4; 16]);
    let world = World::asleep().await;
    world.deny(&owner(), DenialReason::NotFound);
    world.refused(ORDERS).await;
    world.kms.set(&owner(), Behavior::Ok);
    world.env.advance(1);
    world.create(NEW, "new", &owner()).await;
    assert_eq!(world.rows(INVOICES).await, Ok(1));
}

#[tokio::test]
async fn a_denial_of_the_key_while_a_table_is_made_closes_the_new_table() {
    let world = World::empty(|_| {}).await;
    world.create(INVOICES, "invoices", &owner()).await;
    let (root, keys) = world
        .keeper
        .generate("shop", "orders", ORDERS, &owner(), &Asker::server())
        .await
        .unwrap();
    // Between the new table's key and the table itself the owner says no, and it is another table that hears it.
    world.deny(&owner(), DenialReason::Disabled);
    world.engine.lock(INVOICES).await;
    world.env.advance(1);
    world.refused(INVOICES).await;
    let lease = keys.lease;
    let new = NewTable {
        id: ORDERS,
        options: Default::default(),
        root: Some(root),
        keys,
    };
    world.engine.create_table(new).await.unwrap();
    world.keeper.register(ORDERS, "shop", "orders");
    world.keeper.opened(ORDERS, lease).await;
    assert!(!world.engine.lease_alive(ORDERS));
    assert_eq!(world.refused(ORDERS).await.code(), ErrorCode::Unauthorized);
}
