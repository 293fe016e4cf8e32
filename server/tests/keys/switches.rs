//! CREATE and ALTER as the keeper sees them: both keys are asked, and a key that does not work changes nothing.

use super::world::*;

#[tokio::test]
async fn a_key_switch_needs_both_keys_once_and_then_only_the_new_one() {
    let world = World::new().await;
    world.alter(ORDERS, &other()).await.unwrap();
    world.deny(&owner(), DenialReason::Disabled);
    world.write(ORDERS).await.unwrap();
    world.pass(20 * 60).await;
    assert_eq!(world.rows(ORDERS).await, Ok(1));
    world.refused(INVOICES).await;
}

#[tokio::test]
async fn a_key_that_does_not_work_changes_nothing() {
    let world = World::new().await;
    world.deny(&other(), DenialReason::PendingDeletion);
    let error = world.alter(ORDERS, &other()).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Invalid);
    assert!(error.message.contains("vault:other"), "{error}");
    assert_eq!(world.engine.root(ORDERS).unwrap().cmk, owner());
    assert_eq!(world.rows(ORDERS).await, Ok(1));
}

#[tokio::test]
async fn an_answer_about_the_key_a_table_has_left_says_nothing_about_the_table() {
    let world = World::new().await;
    world.env.is_patient.store(true, Ordering::SeqCst);
    let (root, keys) = world.begin_switch().await.unwrap().unwrap();
    world.env.advance(220);
    world.kms.set(&owner(), Behavior::Held);
    let calls = world.kms.count(&owner(), Operation::Decrypt);
    let keeper = world.keeper.clone();
    world.write(ORDERS).await.unwrap();
    let renewal = tokio::spawn(async move { keeper.step().await });
    world.sent(&owner(), Operation::Decrypt, calls).await;
    world.engine.switch_key(ORDERS, root, keys).await.unwrap();
    world.deny(&owner(), DenialReason::Disabled);
    renewal.await.unwrap();
    assert!(world.engine.lease_alive(ORDERS));
    assert_eq!(world.rows(ORDERS).await, Ok(1));
}

#[tokio::test]
async fn an_alias_is_followed_once_and_every_later_call_names_the_key() {
    let world = World::empty(|_| {}).await;
    let alias = CmkRef::parse("vault:alias").unwrap();
    world.kms.set_alias(&alias, &owner());
    world.create(ORDERS, "orders", &alias).await;
    assert_eq!(world.engine.root(ORDERS).unwrap().cmk, owner());
    let calls = world.kms.calls();
    assert!(
        calls
            .iter()
            .all(|call| call.operation == Operation::Describe || call.key == owner())
    );
    // Whoever moves the alias moves no table.
    world.kms.set_alias(&alias, &other());
    world.env.advance(LEASE_SECONDS);
    assert_eq!(world.rows(ORDERS).await, Ok(1));
    world.alter(ORDERS, &alias).await.unwrap();
    assert_eq!(world.engine.root(ORDERS).unwrap().cmk, other());
}

#[tokio::test]
async fn a_switch_away_from_a_locked_table_is_invalid_and_changes_nothing() {
    let world = World::new().await;
    world.deny(&owner(), DenialReason::Disabled);
    world.env.advance(LEASE_SECONDS);
    world.refused(ORDERS).await;
    world.env.advance(6);
    let error = world.alter(ORDERS, &other()).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Invalid);
    assert!(error.message.contains("vault:owner"), "{error}");
    assert!(error.message.contains("Disabled"), "{error}");
    assert_eq!(world.engine.root(ORDERS).unwrap().cmk, owner());
    world.kms.set(&owner(), Behavior::Ok);
    world.alter(ORDERS, &other()).await.unwrap();
    assert_eq!(world.rows(ORDERS).await, Ok(1));
}

#[tokio::test]
async fn a_switch_whose_old_key_is_denied_closes_the_open_table() {
    let world = World::new().await;
    world.deny(&owner(), DenialReason::AccessDenied);
    let error = world.alter(ORDERS, &other()).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Invalid);
    assert!(world.engine.lease(ORDERS).is_none());
    assert!(matches!(
        world.keeper.status(ORDERS),
        TableKeyStatus::Inaccessible(_)
    ));
}

#[tokio::test]
async fn a_sleeping_table_is_switched_with_one_decrypt_under_its_old_key() {
    let world = World::asleep().await;
    let calls = world.kms.count(&owner(), Operation::Decrypt);
    world.alter(ORDERS, &other()).await.unwrap();
    assert_eq!(world.kms.count(&owner(), Operation::Decrypt), calls + 1);
    assert_eq!(world.rows(ORDERS).await, Ok(1));
}

#[tokio::test]
async fn the_same_key_again_is_a_fresh_table_key() {
    let world = World::new().await;
    let before = world.engine.root(ORDERS).unwrap();
    world.alter(ORDERS, &owner()).await.unwrap();
    let after = world.engine.root(ORDERS).unwrap();
    assert_eq!(after.cmk, before.cmk);
    assert_eq!(after.version, before.version + 1);
    assert_ne!(after.fingerprints[0], before.fingerprints[0]);
    assert_eq!(world.rows(ORDERS).await, Ok(1));
}

#[tokio::test]
async fn of_two_switches_at_once_one_wins_and_the_other_says_why() {
    let world = World::new().await;
    let third = CmkRef::parse("vault:third").unwrap();
    let asker = Asker::server();
    let (other_key, third_key) = (other(), third.clone());
    let (one, two) = futures::join!(
        world.keeper.switch(ORDERS, &other_key, &asker),
        world.keeper.switch(ORDERS, &third_key, &asker)
    );
    let (first, (late_root, late_keys)) = (one.unwrap(), two.unwrap());
    world.put_under(ORDERS, first).await;
    let late = world.engine.switch_key(ORDERS, late_root, late_keys).await;
    let error = late.unwrap_err().to_string();
    assert!(error.contains("epoch"), "{error}");
    assert_eq!(world.engine.root(ORDERS).unwrap().cmk, other());
    assert_eq!(world.rows(ORDERS).await, Ok(1));
}

#[tokio::test]
async fn a_key_without_a_service_is_refused_by_name() {
    let world = World::new().await;
    let nowhere = CmkRef::parse("pkcs11:token=hsm;object=key").unwrap();
    let error = world.alter(ORDERS, &nowhere).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Invalid);
    assert!(
        error
            .message
            .contains("no key service is configured for 'pkcs11' keys"),
        "{error}"
    );
}

#[tokio::test]
async fn a_table_asleep_is_switched_although_its_opening_forgets_an_older_key() {
    let world = World::new().await;
    for cmk in [other(), owner()] {
        world.alter(ORDERS, &cmk).await.unwrap();
        // Nothing is left under the key before: the next opening makes a root without it.
        world.engine.flush(Some(ORDERS)).await.unwrap();
        world.engine.sleep(ORDERS).await;
    }
    assert_eq!(world.rows(ORDERS).await, Ok(1));
}

#[tokio::test]
async fn a_table_is_used_while_its_switch_waits_for_the_new_keys_service() {
    let world = World::empty(|options| options.call_timeout = Duration::from_secs(3)).await;
    world.fill().await;
    world.fall_asleep().await;
    world.env.waits_for_calls.store(true, Ordering::SeqCst);
    let orders = EncryptionContext::for_table("shop", "orders", "me");
    let held = Some(Behavior::Held);
    world.kms.set_context(&other(), &orders, held);
    let generated = world.kms.count(&other(), Operation::Generate);
    let switch = world.begin_switch();
    world.sent(&other(), Operation::Generate, generated).await;
    assert_eq!(world.rows(ORDERS).await, Ok(1));
    world.kms.set_context(&other(), &orders, None);
    assert!(switch.await.unwrap().is_ok());
}

#[tokio::test]
async fn who_came_while_the_old_key_was_asked_for_does_not_wait_for_the_new_one() {
    let world = World::asleep().await;
    world.env.is_patient.store(true, Ordering::SeqCst);
    let orders = EncryptionContext::for_table("shop", "orders", "me");
    let held = Some(Behavior::Held);
    world.kms.set_context(&other(), &orders, held);
    world.kms.set(&owner(), Behavior::Held);
    let asked = world.kms.count(&owner(), Operation::Decrypt);
    let switch = world.begin_switch();
    world.sent(&owner(), Operation::Decrypt, asked).await;
    let mut rows = Box::pin(world.rows(ORDERS));
    assert!(rows.as_mut().now_or_never().is_none());
    world.kms.set(&owner(), Behavior::Ok);
    assert_eq!(rows.await, Ok(1));
    assert!(!switch.is_finished());
    world.kms.set_context(&other(), &orders, None);
    assert!(switch.await.unwrap().is_ok());
}

#[tokio::test]
async fn a_table_that_slept_and_forgot_a_key_while_its_new_one_was_made_is_switched_all_the_same() {
    let world = World::new().await;
    world.engine.flush(Some(ORDERS)).await.unwrap();
    world.alter(ORDERS, &other()).await.unwrap();
    let asker = Asker::server();
    let made = world.keeper.switch(ORDERS, &owner(), &asker).await;
    let made = made.unwrap();
    world.engine.sleep(ORDERS).await;
    assert_eq!(world.rows(ORDERS).await, Ok(1));
    assert_eq!(world.engine.root(ORDERS).unwrap().epoch, made.0.epoch);
    world.put_under(ORDERS, made).await;
    assert_eq!(world.engine.root(ORDERS).unwrap().cmk, owner());
    world.deny(&other(), DenialReason::Disabled);
    world.engine.sleep(ORDERS).await;
    assert_eq!(world.rows(ORDERS).await, Ok(1));
}
