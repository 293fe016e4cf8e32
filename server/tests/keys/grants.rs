//! Grants of the server's own making: two for each table, retired when no root needs them, made again by ALTER to the same key.

use palladium_crypto::{GrantOperation, GrantRequest};

use super::world::*;

fn names(world: &World, key: &CmkRef) -> Vec<String> {
    let grants = world.kms.grants_of(key);
    let mut names: Vec<String> = grants
        .into_iter()
        .map(|(_, request)| request.name.rsplit(':').next().unwrap().to_owned())
        .collect();
    names.sort();
    names
}

const DAY: u64 = 86_400;

#[tokio::test]
async fn a_revoked_grant_locks_the_table_and_alter_to_the_same_key_gives_it_life_again() {
    let world = World::with_grants(10).await;
    world.create(ORDERS, "orders", &owner()).await;
    assert_eq!(names(&world, &owner()), ["snapshot", "use"]);
    let grants = world.kms.grants_of(&owner());
    let use_of_it = grants
        .iter()
        .find(|(_, request)| request.operations.contains(&GrantOperation::Decrypt));
    world.kms.revoke(&use_of_it.unwrap().0);
    world.env.advance(LEASE_SECONDS);
    let error = world.refused(ORDERS).await;
    assert_eq!(error.code(), ErrorCode::Unauthorized);
    assert!(error.message.ends_with("reason=GrantRevoked"), "{error}");
    world.alter(ORDERS, &owner()).await.unwrap();
    assert_eq!(world.rows(ORDERS).await, Ok(1));
    assert_eq!(world.engine.root(ORDERS).unwrap().version, 2);
    assert_eq!(names(&world, &owner()), ["snapshot", "use"]);
    world.keeper.step().await;
    world.pass(600).await;
    assert_eq!(world.rows(ORDERS).await, Ok(1));
}

#[tokio::test]
async fn without_the_credential_no_grant_is_made() {
    let world = World::new().await;
    assert!(world.keeper.grants().is_empty());
    assert_eq!(world.kms.count(&owner(), Operation::CreateGrant), 0);
}

#[tokio::test]
async fn after_a_drop_the_grant_for_use_goes_at_once_and_the_one_for_snapshots_weeks_later() {
    let world = World::with_grants(10).await;
    world.create(ORDERS, "orders", &owner()).await;
    world.drop_table(ORDERS).await;
    world.keeper.step().await;
    assert_eq!(names(&world, &owner()), ["snapshot-kept"]);
    let kept = &world.keeper.grants()[0];
    let days = (kept.retire_after_micros.unwrap() - kept.created_micros) / 86_400_000_000;
    assert_eq!(days, 42);
    world.env.advance(41 * DAY);
    world.keeper.step().await;
    assert_eq!(names(&world, &owner()), ["snapshot-kept"]);
    world.env.advance(DAY);
    world.keeper.step().await;
    assert!(names(&world, &owner()).is_empty());
    assert!(world.keeper.grants().is_empty());
}

#[tokio::test]
async fn a_wall_clock_that_went_back_after_a_drop_keeps_the_grant_for_use_no_longer() {
    let world = World::with_grants(10).await;
    world.create(ORDERS, "orders", &owner()).await;
    world.drop_table(ORDERS).await;
    world.env.wall_ahead.store(-4 * 3_600, Ordering::SeqCst);
    world.keeper.step().await;
    assert_eq!(names(&world, &owner()), ["snapshot-kept"]);
    // The other one's weeks are counted by the clock that showed when they began.
    world.env.advance(42 * DAY);
    world.keeper.step().await;
    assert_eq!(names(&world, &owner()), ["snapshot-kept"]);
    world.env.advance(4 * 3_600);
    world.keeper.step().await;
    assert!(names(&world, &owner()).is_empty());
}

#[tokio::test]
async fn a_switch_makes_grants_under_the_new_key_and_lets_go_of_the_old_one() {
    let world = World::with_grants(10).await;
    world.create(ORDERS, "orders", &owner()).await;
    world.alter(ORDERS, &other()).await.unwrap();
    world.keeper.step().await;
    assert_eq!(names(&world, &other()), ["snapshot", "use"]);
    assert_eq!(names(&world, &owner()), ["snapshot-kept"]);
    // Back again within the weeks: what was to be retired is needed.
    world.alter(ORDERS, &owner()).await.unwrap();
    world.keeper.step().await;
    assert_eq!(names(&world, &owner()), ["snapshot", "use"]);
    world.env.advance(43 * DAY);
    world.keeper.step().await;
    assert_eq!(names(&world, &owner()), ["snapshot", "use"]);
    assert!(names(&world, &other()).is_empty());
}

#[tokio::test]
async fn a_create_that_fails_retires_what_it_made() {
    let world = World::with_grants(10).await;
    world.kms.set_operation(
        &owner(),
        Operation::Generate,
        Behavior::Denied(DenialReason::AccessDenied),
    );
    let refused = world
        .keeper
        .generate("shop", "orders", ORDERS, &owner(), &Asker::server())
        .await;
    assert_eq!(refused.err().unwrap().code(), ErrorCode::Invalid);
    assert_eq!(names(&world, &owner()), ["snapshot", "use"]);
    world.keeper.step().await;
    assert!(names(&world, &owner()).is_empty());
    assert!(world.keeper.grants().is_empty());
}

#[tokio::test]
async fn a_switch_that_fails_keeps_the_old_grants_and_retires_the_new_ones() {
    let world = World::with_grants(10).await;
    world.create(ORDERS, "orders", &owner()).await;
    world.kms.set_operation(
        &other(),
        Operation::Generate,
        Behavior::Denied(DenialReason::AccessDenied),
    );
    let refused = world.alter(ORDERS, &other()).await.unwrap_err();
    assert_eq!(refused.code(), ErrorCode::Invalid);
    world.keeper.step().await;
    assert!(names(&world, &other()).is_empty());
    assert_eq!(names(&world, &owner()), ["snapshot", "use"]);
    assert_eq!(world.rows(ORDERS).await, Ok(1));
}

#[tokio::test]
async fn the_limit_of_the_service_is_told_in_its_words() {
    let world = World::with_grants(3).await;
    world.create(ORDERS, "orders", &owner()).await;
    let refused = world
        .keeper
        .generate("shop", "invoices", INVOICES, &owner(), &Asker::server())
        .await;
    let error = refused.err().unwrap();
    assert_eq!(error.code(), ErrorCode::Invalid);
    assert!(error.message.contains("LimitExceededException"), "{error}");
    world.keeper.step().await;
    assert_eq!(names(&world, &owner()), ["snapshot", "use"]);
}

#[tokio::test]
async fn a_service_that_retires_nothing_now_is_asked_again() {
    let world = World::with_grants(10).await;
    world.create(ORDERS, "orders", &owner()).await;
    world.kms.set_operation(
        &owner(),
        Operation::RetireGrant,
        Behavior::Unavailable(UnavailableReason::Unreachable),
    );
    world.drop_table(ORDERS).await;
    world.keeper.step().await;
    assert!(names(&world, &owner()).contains(&"use".to_owned()));
    let calls = world.kms.count(&owner(), Operation::RetireGrant);
    world.env.advance(1);
    world.keeper.step().await;
    assert_eq!(
        world.kms.count(&owner(), Operation::RetireGrant),
        calls,
        "too soon"
    );
    world.kms.set(&owner(), Behavior::Ok);
    world.env.advance(60);
    world.keeper.step().await;
    assert_eq!(names(&world, &owner()), ["snapshot-kept"]);
}

#[tokio::test]
async fn a_grant_whose_table_a_crash_has_swallowed_is_found_by_its_name_and_retired() {
    let mut world = World::with_grants(10).await;
    world
        .kms
        .set_operation(&owner(), Operation::CreateGrant, Behavior::Held);
    world.env.is_patient.store(true, Ordering::SeqCst);
    let keeper = world.keeper.clone();
    let create = tokio::spawn(async move {
        let _ = keeper
            .generate("shop", "orders", ORDERS, &owner(), &Asker::server())
            .await;
    });
    while world.kms.count(&owner(), Operation::CreateGrant) == 0 {
        tokio::task::yield_now().await;
    }
    create.abort();
    let _ = create.await;
    world.kms.set(&owner(), Behavior::Ok);
    // The service had made it; its answer reached nobody.
    let name = format!("palladium:{}:{ORDERS}:use", ClusterId([4; 16]));
    world.kms.grant_by_hand(&owner(), &name);
    world.restart(&[]).await;
    world.keeper.step().await;
    assert!(names(&world, &owner()).is_empty());
    // The other one may have been made as well, and not be listed yet: it is forgotten only when it would be.
    assert_eq!(world.keeper.grants().len(), 1);
    world.env.advance(2 * 3_600);
    world.keeper.step().await;
    assert!(world.keeper.grants().is_empty());
}

#[tokio::test]
async fn grants_and_the_lives_of_keys_outlive_a_restart() {
    let mut world = World::with_grants(10).await;
    world.create(ORDERS, "orders", &owner()).await;
    world.env.advance(10);
    world.alter(ORDERS, &other()).await.unwrap();
    world.keeper.step().await;
    let (grants, versions) = (world.keeper.grants(), world.keeper.versions(ORDERS));
    world.restart(&[(ORDERS, "orders")]).await;
    assert_eq!(world.keeper.grants(), grants);
    assert_eq!(world.keeper.versions(ORDERS), versions);
    let keys: Vec<&str> = versions.iter().map(|(_, life)| life.key.as_str()).collect();
    assert_eq!(keys, ["vault:owner", "vault:other"]);
    assert_eq!(
        versions[0].1.retired_micros,
        Some(versions[1].1.created_micros)
    );
    assert_eq!(world.rows(ORDERS).await, Ok(1));
}

#[tokio::test]
async fn a_grant_for_use_allows_what_the_server_does_and_nothing_more() {
    use GrantOperation::{Decrypt, Describe, Generate, Retire};
    let world = World::with_grants(10).await;
    world.create(ORDERS, "orders", &owner()).await;
    world.alter(ORDERS, &owner()).await.unwrap();
    world.pass(LEASE_SECONDS).await;
    assert_eq!(world.rows(ORDERS).await, Ok(1));
    let grants = world.kms.grants_of(&owner());
    let for_use = grants
        .iter()
        .find(|(_, request)| request.name.ends_with(":use"));
    let allowed = &for_use.expect("a grant for use").1.operations;
    assert_eq!(*allowed, [Describe, Generate, Decrypt, Retire]);
    assert_eq!(world.kms.count(&owner(), Operation::Encrypt), 0);
}

#[tokio::test]
async fn a_service_that_does_not_answer_for_one_tables_grants_holds_up_no_other_table() {
    let world = World::with_grants(10).await;
    world.env.is_patient.store(true, Ordering::SeqCst);
    world
        .kms
        .set_operation(&owner(), Operation::CreateGrant, Behavior::Held);
    let neighbour = async {
        while world.kms.count(&owner(), Operation::CreateGrant) == 0 {
            tokio::task::yield_now().await;
        }
        world.create(NEIGHBOUR, "neighbour", &other()).await;
        world.alter(NEIGHBOUR, &other()).await.unwrap();
        world.drop_table(NEIGHBOUR).await;
        world.kms.set(&owner(), Behavior::Ok);
    };
    let orders = owner();
    futures::join!(world.create(ORDERS, "orders", &orders), neighbour);
    assert_eq!(world.rows(ORDERS).await, Ok(1));
}

#[tokio::test]
async fn a_no_to_the_retirement_of_a_grant_closes_the_tables_under_its_key() {
    let world = World::with_grants(10).await;
    world.create(ORDERS, "orders", &owner()).await;
    world.create(INVOICES, "invoices", &owner()).await;
    world.drop_table(INVOICES).await;
    let disabled = Behavior::Denied(DenialReason::Disabled);
    world
        .kms
        .set_operation(&owner(), Operation::RetireGrant, disabled);
    world.keeper.step().await;
    let error = world.refused(ORDERS).await;
    assert!(error.message.ends_with("reason=Disabled"), "{error}");
}

#[tokio::test]
async fn a_second_grant_whose_making_was_not_answered_goes_with_its_table() {
    let world = World::with_grants(10).await;
    world.create(ORDERS, "orders", &owner()).await;
    let is_use = |(_, request): &(_, GrantRequest)| request.name.ends_with(":use");
    let grants = world.kms.grants_of(&owner());
    let (first, _) = grants.into_iter().find(is_use).unwrap();
    world.kms.revoke(&first);
    // The service makes another one, and its answer reaches nobody.
    world.kms.set_operation(
        &owner(),
        Operation::CreateGrant,
        Behavior::Unavailable(UnavailableReason::Unreachable),
    );
    world.alter(ORDERS, &owner()).await.unwrap_err();
    world.kms.set(&owner(), Behavior::Ok);
    let name = format!("palladium:{}:{ORDERS}:use", ClusterId([4; 16]));
    world.kms.grant_by_hand(&owner(), &name);
    world.drop_table(ORDERS).await;
    world.keeper.step().await;
    assert_eq!(names(&world, &owner()), ["snapshot-kept"]);
}
