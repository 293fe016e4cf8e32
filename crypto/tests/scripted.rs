//! The scripted key service does what its script says, and counts.

use std::sync::Arc;
use std::task::{Context, Poll, Waker};

use palladium_crypto::{
    Behavior, CmkRef, DenialReason, EncryptionContext, Error, Kms, Operation, Reply, ScriptedKms,
    UnavailableReason,
};

fn key(name: &str) -> CmkRef {
    CmkRef::parse(name).unwrap()
}

fn context() -> EncryptionContext {
    EncryptionContext::for_table("shop", "orders", "subscriber")
}

#[tokio::test]
async fn a_key_is_denied_out_of_reach_and_back_while_its_neighbour_works() {
    let kms = ScriptedKms::new(7);
    let (ours, theirs) = (key("arn:aws:kms:eu:1:key/a"), key("vault:b"));
    let generated = kms
        .generate_data_key(&ours, &context())
        .await
        .outcome
        .unwrap();
    let decrypt = || kms.decrypt(&ours, &generated.ciphertext, &EXPECTED_CONTEXT);

    kms.set(&ours, Behavior::Denied(DenialReason::PendingDeletion));
    let denied = decrypt().await.outcome.err().unwrap();
    assert!(matches!(
        denied,
        Error::Denied {
            reason: DenialReason::PendingDeletion,
            ..
        }
    ));
    assert_eq!(
        kms.describe(&ours).await.outcome.unwrap().denial,
        Some(DenialReason::PendingDeletion)
    );
    kms.set(&ours, Behavior::Unavailable(UnavailableReason::Throttled));
    let unavailable = decrypt().await.outcome.err().unwrap();
    assert!(matches!(
        unavailable,
        Error::Unavailable {
            reason: UnavailableReason::Throttled,
            ..
        }
    ));
    assert!(
        kms.generate_data_key(&theirs, &context())
            .await
            .outcome
            .is_ok()
    );

    kms.set(&ours, Behavior::Ok);
    assert!(decrypt().await.outcome.unwrap() == generated.plaintext);
    assert_eq!(kms.count(&ours, Operation::Decrypt), 3);
    assert_eq!(kms.count(&theirs, Operation::Decrypt), 0);
    assert_eq!(kms.total(), 6);
    assert_eq!(kms.calls().last().unwrap().context, Some(context()));
}

static EXPECTED_CONTEXT: std::sync::LazyLock<EncryptionContext> = std::sync::LazyLock::new(context);

#[tokio::test]
async fn one_operation_is_denied_while_the_others_work() {
    let kms = ScriptedKms::new(7);
    let ours = key("local:a");
    kms.set_operation(
        &ours,
        Operation::Decrypt,
        Behavior::Denied(DenialReason::GrantRevoked),
    );
    let generated = kms
        .generate_data_key(&ours, &context())
        .await
        .outcome
        .unwrap();
    assert!(kms.describe(&ours).await.outcome.unwrap().enabled);
    assert!(
        kms.decrypt(&ours, &generated.ciphertext, &context())
            .await
            .outcome
            .is_err()
    );
    kms.set(&ours, Behavior::Ok);
    assert!(
        kms.decrypt(&ours, &generated.ciphertext, &context())
            .await
            .outcome
            .is_ok()
    );
}

#[tokio::test]
async fn a_slow_key_answers_in_the_end() {
    let kms = ScriptedKms::new(7);
    kms.set(&key("local:a"), Behavior::Slow(5));
    assert!(
        kms.generate_data_key(&key("local:a"), &context())
            .await
            .outcome
            .is_ok()
    );
}

#[test]
fn a_held_call_waits_until_the_script_lets_it_go() {
    let kms = ScriptedKms::new(7);
    let (ours, context) = (key("local:a"), context());
    kms.set(&ours, Behavior::Held);
    let mut call = kms.generate_data_key(&ours, &context);
    let mut task = Context::from_waker(Waker::noop());
    assert!(call.as_mut().poll(&mut task).is_pending());
    kms.set(&ours, Behavior::Ok);
    assert!(matches!(
        call.as_mut().poll(&mut task),
        Poll::Ready(Reply { outcome: Ok(_), .. })
    ));
}

#[tokio::test]
async fn a_script_stands_before_another_service() {
    let inner = Arc::new(ScriptedKms::new(7));
    let outer = ScriptedKms::wrap(inner.clone());
    let ours = key("local:a");
    let generated = outer
        .generate_data_key(&ours, &context())
        .await
        .outcome
        .unwrap();
    assert!(
        inner
            .decrypt(&ours, &generated.ciphertext, &context())
            .await
            .outcome
            .unwrap()
            == generated.plaintext
    );
    let again = outer
        .encrypt(&ours, &generated.plaintext, &context())
        .await
        .outcome
        .unwrap();
    assert!(
        outer
            .decrypt(&ours, &again, &context())
            .await
            .outcome
            .unwrap()
            == generated.plaintext
    );
    assert_eq!(inner.total(), 4);
}
