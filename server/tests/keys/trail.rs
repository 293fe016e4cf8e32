//! Every call to a key service can be seen: who asked, for which table, under which key, what came of it; and how the service fares.

use std::net::SocketAddr;

use super::world::*;

#[tokio::test]
async fn each_call_is_in_the_trail_with_table_key_context_and_who_asked() {
    let world = World::new().await;
    let made: Vec<&str> = world
        .events()
        .await
        .iter()
        .map(|event| event.operation)
        .collect();
    assert_eq!(
        made,
        ["DescribeKey", "GenerateDataKey", "Decrypt"].repeat(3)
    );
    world.fall_asleep().await;
    world.events().await;
    let client = SocketAddr::from(([192, 0, 2, 7], 50_000));
    let alice = Asker {
        standing: Standing::Anonymous,
        who: "alice".into(),
        client: Some(client),
    };
    world.keeper.ensure(ORDERS, &alice).await.unwrap();
    let events = world.events().await;
    let [event] = events.as_slice() else {
        panic!("one call was made: {events:?}");
    };
    assert_eq!(event.operation, "Decrypt");
    assert_eq!(event.table, Some(("shop".into(), "orders".into())));
    assert_eq!(event.key, Some(owner()));
    let context = event.context.as_ref().unwrap();
    assert!(
        context
            .iter()
            .any(|pair| pair == ("aws:cassandra:tableName", "orders"))
    );
    assert_eq!(event.outcome, Ok(()));
    assert_eq!(
        (&*event.asker.who, event.asker.client),
        ("alice", Some(client))
    );
}

#[tokio::test]
async fn of_those_who_wait_together_the_first_is_named_and_renewals_are_the_servers() {
    let world = World::asleep().await;
    world.events().await;
    let asker = |who: &str| Asker {
        standing: Standing::Anonymous,
        who: who.into(),
        client: None,
    };
    let (first, second) = (asker("first"), asker("second"));
    let (one, two) = futures::join!(
        world.keeper.ensure(ORDERS, &first),
        world.keeper.ensure(ORDERS, &second)
    );
    one.and(two).unwrap();
    let events = world.events().await;
    assert_eq!(events.len(), 1);
    assert_eq!(&*events[0].asker.who, "first");
    world.write(ORDERS).await.unwrap();
    world.pass(250).await;
    let events = world.events().await;
    assert_eq!(events.len(), 1);
    assert_eq!(&*events[0].asker.who, "palladium");
}

#[tokio::test]
async fn a_refusal_is_in_the_trail_and_in_the_services_figures() {
    let world = World::new().await;
    world.events().await;
    world.env.advance(LEASE_SECONDS);
    world.deny(&owner(), DenialReason::Disabled);
    world.refused(ORDERS).await;
    let events = world.events().await;
    let said = events[0].outcome.clone().unwrap_err();
    assert!(said.starts_with("Disabled: "), "{said}");
    world.kms.set(
        &other(),
        Behavior::Unavailable(UnavailableReason::Throttled),
    );
    world.refused(NEIGHBOUR).await;
    world.kms.set(
        &other(),
        Behavior::Unavailable(UnavailableReason::Unreachable),
    );
    world.env.advance(30);
    world.refused(NEIGHBOUR).await;
    let services = world.keeper.services();
    let [service, unused] = services.as_slice() else {
        panic!("there are two services");
    };
    assert_eq!(unused.is_reachable, None);
    assert_eq!(service.provider, "vault");
    assert_eq!(service.is_reachable, Some(false));
    assert_eq!(
        (service.denied, service.throttled, service.unanswered),
        (1, 1, 1)
    );
    assert_eq!(service.calls, 12);
    assert!(
        service
            .last_error
            .as_ref()
            .unwrap()
            .starts_with("Unreachable: ")
    );
    world.kms.set(&other(), Behavior::Ok);
    world.env.advance(30);
    world.rows(NEIGHBOUR).await.unwrap();
    assert_eq!(world.keeper.services()[0].is_reachable, Some(true));
}

#[tokio::test]
async fn a_call_whose_caller_is_gone_is_in_the_trail_as_unanswered() {
    let world = World::new().await;
    world.env.is_patient.store(true, Ordering::SeqCst);
    world.kms.set(&owner(), Behavior::Held);
    world.env.advance(220);
    world.events().await;
    let calls = world.kms.count(&owner(), Operation::Decrypt);
    let mut step = Box::pin(world.keeper.step());
    while world.kms.count(&owner(), Operation::Decrypt) < calls + 2 {
        assert!(futures::poll!(step.as_mut()).is_pending());
    }
    drop(step);
    let events = world.events().await;
    let of_owner = |event: &&Event| event.key == Some(owner());
    let unanswered: Vec<&Event> = events.iter().filter(of_owner).collect();
    assert_eq!(unanswered.len(), 2, "{events:?}");
    for event in unanswered {
        assert_eq!(event.operation, "Decrypt");
        let said = event.outcome.as_ref().expect_err("nothing was answered");
        assert!(said.starts_with("Unreachable: unanswered"), "{said}");
    }
}

#[tokio::test]
async fn nothing_is_asked_once_the_trail_is_closed() {
    let world = World::new().await;
    world.env.advance(LEASE_SECONDS);
    let (_, another) = Audit::new();
    drop(std::mem::replace(&mut *world.trail.lock().await, another));
    let calls = world.kms.total();
    let error = world.refused(ORDERS).await;
    assert_eq!(error.code(), ErrorCode::Unavailable, "{error}");
    assert_eq!(world.kms.total(), calls, "a call that nobody recorded");
}

#[tokio::test]
async fn who_switches_a_table_to_the_same_key_again_and_again_is_counted() {
    let world = World::new().await;
    world.events().await;
    let alice = Asker {
        standing: Standing::Role(1),
        who: "alice".into(),
        client: Some(SocketAddr::from(([192, 0, 2, 7], 50_000))),
    };
    let mut recorded = Vec::new();
    for _ in 0..150 {
        // The gate lets more calls through, and by the wall clock no time has passed.
        world.env.advance(1);
        world.env.wall_ahead.fetch_sub(1, Ordering::SeqCst);
        world.keeper.switch(ORDERS, &owner(), &alice).await.unwrap();
        recorded.extend(world.events().await);
    }
    for operation in ["DescribeKey", "GenerateDataKey", "Decrypt"] {
        let of = recorded.iter().filter(|event| event.operation == operation);
        assert_eq!(of.count(), 100, "{operation}");
    }
    // What others do meanwhile is recorded as ever.
    let bob = Asker {
        standing: Standing::Role(2),
        who: "bob".into(),
        ..alice.clone()
    };
    world.keeper.switch(ORDERS, &owner(), &bob).await.unwrap();
    assert_eq!(world.events().await.len(), 4);
    // The next one of each kind says how many there were: two Decrypts for each switch.
    world.env.advance(1);
    world.keeper.switch(ORDERS, &owner(), &alice).await.unwrap();
    let counted = |event: &Event| {
        event
            .context
            .as_ref()?
            .0
            .get("not recorded before")
            .cloned()
    };
    let told: Vec<(&str, Option<String>)> = world
        .events()
        .await
        .iter()
        .map(|event| (event.operation, counted(event)))
        .collect();
    let told_of = |count: u64| Some(count.to_string());
    assert_eq!(
        told,
        [
            ("DescribeKey", told_of(50)),
            ("Decrypt", told_of(200)),
            ("GenerateDataKey", told_of(50))
        ]
    );
}

#[tokio::test]
async fn another_key_than_the_tables_is_told_as_that_and_as_a_call_that_failed() {
    let world = World::asleep().await;
    world.events().await;
    world.kms.set(&owner(), Behavior::Another);
    let error = world.refused(ORDERS).await;
    assert_eq!(error.code(), ErrorCode::ReadFailure, "{error}");
    let words = "the key service gave another key than that of table ";
    assert!(error.message.contains(words), "{error}");
    assert!(!error.message.contains("corrupt"), "{error}");
    let events = world.events().await;
    let [event] = events.as_slice() else {
        panic!("one call was made: {events:?}");
    };
    let said = event.outcome.clone().expect_err("it was the wrong key");
    assert!(said.contains(words), "{said}");
    assert!(world.keeper.services()[0].last_error.is_some());
    world.kms.set(&owner(), Behavior::Ok);
    world.env.advance(6);
    assert_eq!(world.rows(ORDERS).await, Ok(1));
}
