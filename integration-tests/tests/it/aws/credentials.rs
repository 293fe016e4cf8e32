//! Credentials of our own: trouble with them denies nothing, and neither does a service that asks for patience.

use palladium_crypto::{DenialReason, UnavailableReason};
use palladium_integration_tests::owners::simulated_aws::{SimulatedAws, policy_without_grants};
use serde_json::json;

use super::{
    EUROPE, context, denial, key, last, open, server_policy, silence, table, with, wrapped,
};

#[tokio::test]
async fn trouble_with_our_own_credentials_is_no_denial_and_ends_with_it() {
    let aws = SimulatedAws::start();
    let kms = open(table(&aws)).await;
    let ours = key(&aws.create_key(EUROPE, server_policy()));
    let blob = wrapped(&*kms, &ours, "t").await;
    aws.expire_credentials();
    assert_eq!(
        silence(kms.decrypt(&ours, &blob, &context("t")).await.outcome),
        UnavailableReason::Unreachable
    );
    assert_eq!(last(&aws).error.as_deref(), Some("ExpiredTokenException"));
    aws.new_credentials();
    kms.decrypt(&ours, &blob, &context("t"))
        .await
        .outcome
        .expect("the new credentials are read");

    let strangers = aws.credentials_file().with_file_name("strangers");
    for (text, error) in [
        (
            "[server]\naws_access_key_id = AKIASTRANGER\naws_secret_access_key = x\n",
            Some("UnrecognizedClientException"),
        ),
        ("[server]\n", None),
        ("not a file of profiles", None),
    ] {
        std::fs::write(&strangers, text).expect("a file can be written");
        let before = aws.seen().len();
        let stranger = open(with(table(&aws), json!({ "credentials_file": strangers }))).await;
        assert_eq!(
            silence(stranger.decrypt(&ours, &blob, &context("t")).await.outcome),
            UnavailableReason::Unreachable,
            "{text}"
        );
        let seen = aws.seen().split_off(before).pop();
        assert_eq!(seen.and_then(|seen| seen.error).as_deref(), error, "{text}");
    }
    let nobody = open(with(
        table(&aws),
        json!({ "credentials_file": "/nowhere/credentials" }),
    ))
    .await;
    let outcome = nobody.decrypt(&ours, &blob, &context("t")).await.outcome;
    assert_eq!(silence(outcome), UnavailableReason::Unreachable);
}

#[tokio::test]
async fn a_role_is_assumed_or_nobody_was_asked() {
    let aws = SimulatedAws::start();
    let role = aws.create_role("palladium", "server", Some("shop"));
    let ours = key(&aws.create_key(EUROPE, policy_without_grants(&role)));
    let assuming = |external_id: &str| {
        open(with(
            table(&aws),
            json!({ "assume_role_arn": role, "external_id": external_id }),
        ))
    };
    let kms = assuming("shop").await;
    let blob = wrapped(&*kms, &ours, "t").await;
    assert_eq!(
        last(&aws).caller,
        "arn:aws:sts::111122223333:assumed-role/palladium/palladium"
    );
    // Who may not have the role has not been told anything about the key.
    let stranger = assuming("bank").await;
    assert_eq!(
        silence(stranger.decrypt(&ours, &blob, &context("t")).await.outcome),
        UnavailableReason::Unreachable
    );
    assert_eq!(last(&aws).operation, "AssumeRole");
    // Without the role the user is somebody whom the policy does not name.
    let user = open(table(&aws)).await;
    assert_eq!(
        denial(user.decrypt(&ours, &blob, &context("t")).await.outcome),
        DenialReason::AccessDenied
    );
}

#[tokio::test]
async fn throttled_is_not_denied() {
    let aws = SimulatedAws::start();
    let kms = open(table(&aws)).await;
    let ours = key(&aws.create_key(EUROPE, server_policy()));
    let blob = wrapped(&*kms, &ours, "t").await;
    aws.throttle(1);
    kms.decrypt(&ours, &blob, &context("t"))
        .await
        .outcome
        .expect("the second attempt goes through");
    aws.throttle(1000);
    let before = aws.seen().len();
    assert_eq!(
        silence(kms.decrypt(&ours, &blob, &context("t")).await.outcome),
        UnavailableReason::Throttled
    );
    assert_eq!(aws.seen().len() - before, 2, "it is asked twice, no more");
    aws.throttle(0);
    kms.decrypt(&ours, &blob, &context("t"))
        .await
        .outcome
        .expect("calm again");
}
