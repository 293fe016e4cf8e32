//! AWS KMS, as Palladium sees it: what each answer means, over HTTP.
//!
//! The states of keys are shown against fakecloud; policies, grants, credentials and throttling against a simulated AWS (`owners::simulated_aws`), which uses
//! the very policies that the documentation gives to owners; everything that can befall a request against a proxy before it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use palladium_crypto::{
    CmkRef, DenialReason, EncryptionContext, Error, GrantId, GrantOperation, GrantRequest, Kms,
    UnavailableReason, key_service_kinds,
};
use palladium_integration_tests::node::{Node, Settings};
use palladium_integration_tests::owners::fault_proxy::{Fault, FaultProxy};
use palladium_integration_tests::owners::simulated_aws::{
    Seen, SimulatedAws, policy_with_grants, policy_without_grants,
};
use palladium_integration_tests::owners::{AwsGrantsOwner, AwsPolicyOwner, Fakecloud, Owner};
use palladium_integration_tests::raw::{Answer, Connection, code};
use serde_json::{Value, json};

use crate::rows::{grid, make_keyspace, make_table, read_all, text, write_all};

const EUROPE: &str = "eu-central-1";
const AMERICA: &str = "us-east-1";

async fn open(table: Value) -> Arc<dyn Kms> {
    let kind = key_service_kinds()
        .iter()
        .find(|kind| kind.provider == "aws")
        .expect("AWS KMS is built in");
    (kind.open)(table)
        .await
        .unwrap_or_else(|error| panic!("{error}"))
}

/// The settings of a server with the ordinary credential; short time-outs, because some of these services never answer.
fn table(aws: &SimulatedAws) -> Value {
    let address = format!("http://{}", aws.address());
    json!({
        "endpoint": address, "sts_endpoint": address, "profile": "server", "credentials_file": aws.credentials_file(),
        "connect_timeout_ms": 1000, "read_timeout_ms": 500,
    })
}

fn with(mut table: Value, more: Value) -> Value {
    let more = more.as_object().expect("settings are a table").clone();
    table
        .as_object_mut()
        .expect("settings are a table")
        .extend(more);
    table
}

fn key(name: &str) -> CmkRef {
    CmkRef::parse(name).expect("an ARN")
}

fn context(table: &str) -> EncryptionContext {
    EncryptionContext::for_table("ks", table, "cluster")
}

fn server_policy() -> Value {
    policy_without_grants(&SimulatedAws::user("server"))
}

fn denial<T>(outcome: Result<T, Error>) -> DenialReason {
    match outcome {
        Err(Error::Denied { reason, .. }) => reason,
        Err(other) => panic!("not a denial: {other}"),
        Ok(_) => panic!("it was allowed"),
    }
}

fn silence<T>(outcome: Result<T, Error>) -> UnavailableReason {
    match outcome {
        Err(Error::Unavailable { reason, .. }) => reason,
        Err(other) => panic!("somebody said something: {other}"),
        Ok(_) => panic!("it was answered"),
    }
}

fn is_tampered<T>(outcome: Result<T, Error>) -> bool {
    matches!(outcome, Err(Error::Tampered { .. }))
}

/// The encrypted data key of a table, made and opened once.
async fn wrapped(kms: &dyn Kms, key: &CmkRef, table: &str) -> Vec<u8> {
    let made = kms
        .generate_data_key(key, &context(table))
        .await
        .outcome
        .expect("a key is drawn");
    let again = kms
        .decrypt(key, &made.ciphertext, &context(table))
        .await
        .outcome
        .expect("and opened");
    assert!(again == made.plaintext, "another key came back");
    made.ciphertext
}

fn last(aws: &SimulatedAws) -> Seen {
    aws.seen().pop().expect("a request came")
}

#[tokio::test]
async fn the_documented_policy_opens_the_key_for_its_keyspace_and_nothing_else() {
    let aws = SimulatedAws::start();
    let kms = open(table(&aws)).await;
    let (ours, other) = (
        key(&aws.create_key(EUROPE, server_policy())),
        key(&aws.create_key(EUROPE, server_policy())),
    );
    let described = kms
        .describe(&ours)
        .await
        .outcome
        .expect("it may be looked at");
    assert_eq!(
        (described.key, described.enabled, described.denial),
        (ours.clone(), true, None)
    );
    let blob = wrapped(&*kms, &ours, "t").await;

    let elsewhere = EncryptionContext::for_table("others", "t", "cluster");
    assert_eq!(
        denial(kms.decrypt(&ours, &blob, &elsewhere).await.outcome),
        DenialReason::AccessDenied
    );
    assert_eq!(
        denial(kms.generate_data_key(&ours, &elsewhere).await.outcome),
        DenialReason::AccessDenied
    );
    // Palladium draws its keys there and never sends one in.
    let plaintext = palladium_crypto::Secret::from_bytes([7; 32]);
    assert_eq!(
        denial(kms.encrypt(&ours, &plaintext, &context("t")).await.outcome),
        DenialReason::AccessDenied
    );

    assert!(
        is_tampered(kms.decrypt(&ours, &blob, &context("u")).await.outcome),
        "another table's context"
    );
    assert!(
        is_tampered(kms.decrypt(&other, &blob, &context("t")).await.outcome),
        "another key"
    );
    for at in [40, blob.len() - 1] {
        let mut changed = blob.clone();
        changed[at] ^= 1;
        assert!(
            is_tampered(kms.decrypt(&ours, &changed, &context("t")).await.outcome),
            "byte {at} was flipped"
        );
    }
    assert!(is_tampered(
        kms.decrypt(&ours, b"", &context("t")).await.outcome
    ));
    let nowhere = key(&aws
        .create_key(EUROPE, server_policy())
        .replace("key/", "key/no-"));
    assert_eq!(
        denial(kms.describe(&nowhere).await.outcome),
        DenialReason::NotFound
    );
    assert!(
        kms.grants().is_none(),
        "nobody gave it a credential for grants"
    );
}

#[tokio::test]
async fn encrypt_is_the_other_way_to_the_same_ciphertext() {
    let aws = SimulatedAws::start();
    let kms = open(table(&aws)).await;
    let mut policy = server_policy();
    policy["Statement"][1]["Action"] = json!(["kms:Encrypt", "kms:Decrypt"]);
    let ours = key(&aws.create_key(EUROPE, policy));
    let plaintext = palladium_crypto::Secret::from_bytes([7; 32]);
    let blob = kms
        .encrypt(&ours, &plaintext, &context("t"))
        .await
        .outcome
        .expect("it is allowed here");
    assert!(
        kms.decrypt(&ours, &blob, &context("t"))
            .await
            .outcome
            .expect("it opens")
            == plaintext
    );
}

#[tokio::test]
async fn each_answer_carries_its_request_id() {
    let aws = SimulatedAws::start();
    let kms = open(table(&aws)).await;
    let ours = key(&aws.create_key(EUROPE, server_policy()));
    let reply = kms.generate_data_key(&ours, &context("t")).await;
    assert_eq!(reply.request_id, Some(last(&aws).request_id));
    aws.set_state(&ours.to_string(), "Disabled");
    let reply = kms.generate_data_key(&ours, &context("t")).await;
    assert_eq!(reply.request_id, Some(last(&aws).request_id));
    assert_eq!(denial(reply.outcome), DenialReason::Disabled);
}

#[tokio::test]
async fn each_state_of_a_key_means_what_its_owner_meant() {
    let aws = SimulatedAws::start();
    let kms = open(table(&aws)).await;
    let name = aws.create_key(EUROPE, server_policy());
    let ours = key(&name);
    let blob = wrapped(&*kms, &ours, "t").await;
    for (state, wanted) in [
        ("Disabled", Some(DenialReason::Disabled)),
        ("PendingDeletion", Some(DenialReason::PendingDeletion)),
        (
            "PendingReplicaDeletion",
            Some(DenialReason::PendingDeletion),
        ),
        // Its imported material was deleted, or has expired.
        ("PendingImport", Some(DenialReason::Disabled)),
        // A key store is disconnected, a key is being made or changed, and what nobody has heard of: no answer.
        ("Unavailable", None),
        ("Creating", None),
        ("Updating", None),
        ("OnVacation", None),
    ] {
        aws.set_state(&name, state);
        let outcome = kms.decrypt(&ours, &blob, &context("t")).await.outcome;
        let described = kms.describe(&ours).await.outcome;
        match wanted {
            Some(reason) => {
                assert_eq!(denial(outcome), reason, "{state}");
                let described = described.expect("a key can be looked at in any state");
                assert_eq!(
                    (described.enabled, described.denial),
                    (false, Some(reason)),
                    "{state}"
                );
            }
            None => {
                assert_eq!(silence(outcome), UnavailableReason::Unreachable, "{state}");
                assert_eq!(
                    silence(described),
                    UnavailableReason::Unreachable,
                    "{state}"
                );
            }
        }
    }
    aws.set_state(&name, "Enabled");
    kms.decrypt(&ours, &blob, &context("t"))
        .await
        .outcome
        .expect("the key is back");

    // If the key may not be looked at, nobody knows why it is in no state to be used.
    aws.set_state(&name, "PendingDeletion");
    let mut policy = server_policy();
    policy["Statement"][0]["Action"] = json!([]);
    aws.set_policy(&name, policy);
    assert_eq!(
        silence(kms.decrypt(&ours, &blob, &context("t")).await.outcome),
        UnavailableReason::Unreachable
    );
    assert_eq!(
        denial(kms.describe(&ours).await.outcome),
        DenialReason::AccessDenied
    );
    // A Deny takes the key away from under an Allow.
    let mut policy = server_policy();
    policy["Statement"][1]["Effect"] = json!("Deny");
    aws.set_policy(&name, policy);
    assert_eq!(
        denial(kms.decrypt(&ours, &blob, &context("t")).await.outcome),
        DenialReason::AccessDenied
    );
}

#[tokio::test]
async fn an_arn_says_which_region_is_asked() {
    let aws = SimulatedAws::start();
    let kms = open(table(&aws)).await;
    for region in [EUROPE, AMERICA, EUROPE, "cn-north-1"] {
        wrapped(&*kms, &key(&aws.create_key(region, server_policy())), "t").await;
        assert_eq!(last(&aws).region, region);
    }
    let fenced = open(with(table(&aws), json!({ "region": EUROPE }))).await;
    let (near, far) = (
        aws.create_key(EUROPE, server_policy()),
        aws.create_key(AMERICA, server_policy()),
    );
    wrapped(&*fenced, &key(&near), "t").await;
    let before = aws.seen().len();
    let refusal = fenced
        .describe(&key(&far))
        .await
        .outcome
        .expect_err("keys of one region only");
    assert!(
        matches!(&refusal, Error::Unsupported(text) if text.contains(AMERICA)),
        "{refusal}"
    );
    let crooked = key("arn:aws:kms:eu.example/x:111122223333:key/a");
    assert!(matches!(
        kms.describe(&crooked).await.outcome,
        Err(Error::Invalid(_))
    ));
    assert_eq!(aws.seen().len(), before, "nobody was asked");
}

#[tokio::test]
async fn an_alias_gives_the_name_of_its_key() {
    let aws = SimulatedAws::start();
    let kms = open(table(&aws)).await;
    let (first, second) = (
        aws.create_key(EUROPE, server_policy()),
        aws.create_key(EUROPE, server_policy()),
    );
    let alias = key(&format!("arn:aws:kms:{EUROPE}:111122223333:alias/orders"));
    for name in [&first, &second] {
        aws.set_alias(&alias.to_string(), name);
        assert_eq!(
            kms.describe(&alias)
                .await
                .outcome
                .expect("it leads to a key")
                .key,
            key(name)
        );
    }
    wrapped(&*kms, &alias, "t").await;
}

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

const USE: [GrantOperation; 5] = [
    GrantOperation::Describe,
    GrantOperation::Generate,
    GrantOperation::Decrypt,
    GrantOperation::Encrypt,
    GrantOperation::Retire,
];

fn grant(name: &str, table: &str) -> GrantRequest {
    GrantRequest {
        name: name.to_owned(),
        operations: USE.to_vec(),
        context: context(table),
    }
}

/// A key whose policy lets the server look, and its second credential grant.
fn granted_key(aws: &SimulatedAws) -> CmkRef {
    let [server, granter] = ["server", "granter"].map(SimulatedAws::user);
    key(&aws.create_key(EUROPE, policy_with_grants(&server, &granter)))
}

#[tokio::test]
async fn a_grant_opens_one_table_until_it_is_revoked() {
    let aws = SimulatedAws::start();
    let kms = open(with(table(&aws), json!({ "grant_profile": "granter" }))).await;
    let grants = kms.grants().expect("it has a credential for grants");
    let ours = granted_key(&aws);
    assert_eq!(
        denial(kms.generate_data_key(&ours, &context("t")).await.outcome),
        DenialReason::AccessDenied
    );

    // AWS takes its time to spread a grant; its token works at once.
    aws.let_grants_spread_late();
    let id = grants
        .create_grant(&ours, &grant("ks.t/use", "t"))
        .await
        .outcome
        .expect("it may grant");
    let blob = wrapped(&*kms, &ours, "t").await;
    assert_eq!(last(&aws).grant_tokens, 1);
    assert_eq!(
        denial(kms.generate_data_key(&ours, &context("u")).await.outcome),
        DenialReason::AccessDenied
    );
    assert_eq!(
        last(&aws).grant_tokens,
        0,
        "the token of another table is none of its business"
    );
    aws.spread_grants();

    // Asked again, it is the same grant.
    let again = grants
        .create_grant(&ours, &grant("ks.t/use", "t"))
        .await
        .outcome
        .expect("it may grant");
    assert_eq!(again, id);
    assert_eq!(aws.grants(&ours.to_string()), ["ks_t/use"]);

    aws.revoke_grants(&ours.to_string());
    assert_eq!(
        denial(kms.decrypt(&ours, &blob, &context("t")).await.outcome),
        DenialReason::AccessDenied,
        "a token of a grant that is gone stands in nobody's way"
    );
    aws.regrant(&ours.to_string());
    kms.decrypt(&ours, &blob, &context("t"))
        .await
        .outcome
        .expect("the owner granted it again");
}

#[tokio::test]
async fn grants_are_listed_and_retired() {
    let aws = SimulatedAws::start();
    let kms = open(with(table(&aws), json!({ "grant_profile": "granter" }))).await;
    let grants = kms.grants().expect("it has a credential for grants");
    let ours = granted_key(&aws);
    let mut made = Vec::new();
    for table in ["a", "b", "c", "d", "e"] {
        made.push(
            grants
                .create_grant(&ours, &grant(table, table))
                .await
                .outcome
                .expect("it may grant"),
        );
    }
    let listed = grants
        .list_grants(&ours)
        .await
        .outcome
        .expect("it may list");
    assert_eq!(
        listed.iter().map(|grant| &grant.id).collect::<Vec<_>>(),
        made.iter().collect::<Vec<_>>()
    );
    assert_eq!(listed[4].name, "e");

    let fresh = grants.retire_grant(&ours, &made[0]).await;
    assert_eq!(fresh.request_id, Some(last(&aws).request_id));
    fresh.outcome.expect("it retires its own");
    // A server that was started in between knows no tokens, and goes by the id.
    let later = open(with(table(&aws), json!({ "grant_profile": "granter" }))).await;
    let grants = later.grants().expect("it has a credential for grants");
    grants
        .retire_grant(&ours, &made[1])
        .await
        .outcome
        .expect("it retires its own");
    grants
        .retire_grant(&ours, &made[1])
        .await
        .outcome
        .expect("what is gone is gone");
    grants
        .retire_grant(&ours, &GrantId("never-made".into()))
        .await
        .outcome
        .expect("what never was is gone");
    assert_eq!(aws.grants(&ours.to_string()), ["c", "d", "e"]);
}

#[tokio::test]
async fn the_limit_of_grants_is_told_in_the_services_words() {
    let aws = SimulatedAws::start();
    let kms = open(with(table(&aws), json!({ "grant_profile": "granter" }))).await;
    let grants = kms.grants().expect("it has a credential for grants");
    let ours = granted_key(&aws);
    aws.set_grants_max(1);
    grants
        .create_grant(&ours, &grant("a", "a"))
        .await
        .outcome
        .expect("the first");
    let refusal = grants
        .create_grant(&ours, &grant("b", "b"))
        .await
        .outcome
        .expect_err("the second");
    assert!(
        matches!(&refusal, Error::Invalid(text) if text.contains("Grants per CMK limit of 1 exceeded")),
        "{refusal}"
    );
}

#[tokio::test]
async fn grants_are_made_by_the_second_credential_and_for_what_it_may() {
    let aws = SimulatedAws::start();
    let role = aws.create_role("palladium-grants", "server", None);
    let ours = key(&aws.create_key(
        EUROPE,
        policy_with_grants(&SimulatedAws::user("server"), &role),
    ));
    let kms = open(with(table(&aws), json!({ "grant_role_arn": role }))).await;
    let grants = kms.grants().expect("it has a credential for grants");
    grants
        .create_grant(&ours, &grant("a", "a"))
        .await
        .outcome
        .expect("it may grant");
    let maker = aws
        .seen()
        .into_iter()
        .rfind(|seen| seen.operation == "CreateGrant")
        .expect("it was made");
    assert_eq!(
        maker.caller,
        "arn:aws:sts::111122223333:assumed-role/palladium-grants/palladium"
    );
    wrapped(&*kms, &ours, "a").await;
    assert_eq!(last(&aws).caller, SimulatedAws::user("server"));
    // Another keyspace is not in the policy.
    let elsewhere = GrantRequest {
        context: EncryptionContext::for_table("others", "t", "cluster"),
        ..grant("b", "b")
    };
    assert_eq!(
        denial(grants.create_grant(&ours, &elsewhere).await.outcome),
        DenialReason::AccessDenied
    );
    // Nor is somebody else as the grantee.
    let generous = open(with(
        table(&aws),
        json!({ "grant_role_arn": role, "grantee_principal": SimulatedAws::user("eve") }),
    ))
    .await;
    let grants = generous.grants().expect("it has a credential for grants");
    assert_eq!(
        denial(grants.create_grant(&ours, &grant("c", "c")).await.outcome),
        DenialReason::AccessDenied
    );
}

#[tokio::test]
async fn whatever_befalls_a_request_is_no_answer() {
    let aws = SimulatedAws::start();
    let mut proxy = FaultProxy::start(aws.address());
    let endpoint = format!("http://{}", proxy.address());
    let kms = open(with(table(&aws), json!({ "endpoint": endpoint }))).await;
    let ours = key(&aws.create_key(EUROPE, server_policy()));
    let blob = wrapped(&*kms, &ours, "t").await;
    const JSON: &str = "application/x-amz-json-1.1";
    let answer = |status, content_type, body: &str| Fault::Answer {
        status,
        content_type,
        body: body.into(),
    };
    let faults = [
        answer(
            500,
            JSON,
            r#"{"__type":"KMSInternalException","message":"try again"}"#,
        ),
        answer(503, JSON, r#"{"__type":"ServiceUnavailable"}"#),
        answer(502, "text/html", "<html>Bad Gateway</html>"),
        // What a broken gateway says about a key is not the key service's word.
        answer(
            500,
            JSON,
            r#"{"__type":"DisabledException","message":"is disabled."}"#,
        ),
        answer(
            403,
            "text/xml",
            "<ErrorResponse><Error><Code>AccessDenied</Code></Error></ErrorResponse>",
        ),
        answer(403, JSON, "{}"),
        answer(404, "text/plain", "not found"),
        answer(400, JSON, r#"{"__type":"KeyOnVacationException"}"#),
        answer(400, JSON, r#"{"__type":"DependencyTimeoutException"}"#),
        answer(400, JSON, r#"{"__type":"KeyUnavailableException"}"#),
        answer(400, JSON, r#"{"__type":"InvalidSignatureException"}"#),
        answer(400, JSON, r#"{"__type":"DisabledException""#),
        answer(302, JSON, ""),
        answer(200, JSON, ""),
        answer(200, JSON, "{}"),
        answer(200, JSON, r#"{"KeyId":1,"Plaintext":[]}"#),
        answer(200, JSON, r#"{"Plaintext":"%%%"}"#),
        answer(
            200,
            "text/html",
            "<html>Sign in to the airport's network</html>",
        ),
        Fault::Silence,
        Fault::Slow(Duration::from_secs(30)),
        Fault::HalfClosed,
        Fault::Truncated(0),
        Fault::Truncated(20),
        Fault::Truncated(250),
        Fault::Endless,
    ];
    for fault in faults {
        proxy.set(fault.clone());
        assert_eq!(
            silence(kms.decrypt(&ours, &blob, &context("t")).await.outcome),
            UnavailableReason::Unreachable,
            "{fault:?}"
        );
        assert_eq!(
            silence(kms.describe(&ours).await.outcome),
            UnavailableReason::Unreachable,
            "{fault:?}"
        );
        assert_eq!(
            silence(kms.generate_data_key(&ours, &context("t")).await.outcome),
            UnavailableReason::Unreachable,
            "{fault:?}"
        );
        proxy.set(Fault::None);
        kms.decrypt(&ours, &blob, &context("t"))
            .await
            .outcome
            .unwrap_or_else(|error| panic!("after {fault:?}: {error}"));
    }
    proxy.set(answer(429, "text/plain", "slow down"));
    assert_eq!(
        silence(kms.decrypt(&ours, &blob, &context("t")).await.outcome),
        UnavailableReason::Throttled
    );
    proxy.set(Fault::None);
    proxy.refuse();
    assert_eq!(
        silence(kms.decrypt(&ours, &blob, &context("t")).await.outcome),
        UnavailableReason::Unreachable
    );
    proxy.accept();
    kms.decrypt(&ours, &blob, &context("t"))
        .await
        .outcome
        .expect("the service is back");
}

#[tokio::test]
async fn an_answer_about_another_key_is_no_answer_and_no_error_quotes_a_key() {
    let aws = SimulatedAws::start();
    let proxy = FaultProxy::start(aws.address());
    let kms = open(with(
        table(&aws),
        json!({ "endpoint": format!("http://{}", proxy.address()) }),
    ))
    .await;
    let ours = key(&aws.create_key(EUROPE, server_policy()));
    let blob = wrapped(&*kms, &ours, "t").await;
    // 32 bytes of 0x07.
    let plaintext = "BwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwcHBwc=";
    let other = ours.to_string().replace("key/", "key/x");
    for body in [
        format!(r#"{{"KeyId":"{other}","Plaintext":"{plaintext}"}}"#),
        format!(r#"{{"Plaintext":"{plaintext}"}}"#),
        format!(r#"{{"KeyId":"{ours}","Plaintext":"{plaintext}""#),
        format!(r#"{{"KeyId":"{ours}","Plaintext":"{plaintext}" {plaintext}"#),
    ] {
        proxy.set(Fault::Answer {
            status: 200,
            content_type: "application/x-amz-json-1.1",
            body: body.clone().into(),
        });
        let error = kms
            .decrypt(&ours, &blob, &context("t"))
            .await
            .outcome
            .err()
            .expect("it is no answer");
        for text in [error.to_string(), format!("{error:?}")] {
            assert!(!text.contains("BwcHBwc"), "{text}");
        }
        assert_eq!(
            silence::<()>(Err(error)),
            UnavailableReason::Unreachable,
            "{body}"
        );
    }
}

#[tokio::test]
async fn fakecloud_knows_the_states_of_keys() {
    let cloud = Fakecloud::start();
    let kms = open(cloud.table()).await;
    for region in [AMERICA, EUROPE] {
        let name = cloud.new_key(region);
        let ours = key(&name);
        assert_eq!(name.split(':').nth(3), Some(region));
        let blob = wrapped(&*kms, &ours, "t").await;
        let by_owner =
            |operation, more| cloud.call(region, operation, &with(json!({ "KeyId": name }), more));

        assert!(
            is_tampered(kms.decrypt(&ours, &blob, &context("u")).await.outcome),
            "another table's context"
        );
        let other = key(&cloud.new_key(region));
        assert!(
            is_tampered(kms.decrypt(&other, &blob, &context("t")).await.outcome),
            "another key"
        );
        let mut changed = blob.clone();
        let end = changed.len() - 1;
        changed[end] ^= 1;
        assert!(
            is_tampered(kms.decrypt(&ours, &changed, &context("t")).await.outcome),
            "a flipped byte"
        );

        by_owner("DisableKey", json!({}));
        let reply = kms.decrypt(&ours, &blob, &context("t")).await;
        assert!(reply.request_id.is_some());
        assert_eq!(denial(reply.outcome), DenialReason::Disabled);
        assert_eq!(
            denial(kms.generate_data_key(&ours, &context("t")).await.outcome),
            DenialReason::Disabled
        );
        assert_eq!(
            kms.describe(&ours)
                .await
                .outcome
                .expect("it can be looked at")
                .denial,
            Some(DenialReason::Disabled)
        );
        by_owner("EnableKey", json!({}));
        kms.decrypt(&ours, &blob, &context("t"))
            .await
            .outcome
            .expect("the key is back");

        by_owner("ScheduleKeyDeletion", json!({ "PendingWindowInDays": 7 }));
        assert_eq!(
            denial(kms.decrypt(&ours, &blob, &context("t")).await.outcome),
            DenialReason::PendingDeletion
        );
        assert_eq!(
            kms.describe(&ours)
                .await
                .outcome
                .expect("it can be looked at")
                .denial,
            Some(DenialReason::PendingDeletion)
        );
        // As with AWS, a key whose deletion is cancelled stays disabled until somebody enables it.
        by_owner("CancelKeyDeletion", json!({}));
        assert_eq!(
            denial(kms.decrypt(&ours, &blob, &context("t")).await.outcome),
            DenialReason::Disabled
        );
        by_owner("EnableKey", json!({}));
        kms.decrypt(&ours, &blob, &context("t"))
            .await
            .outcome
            .expect("the key is back");

        let alias = key(&format!(
            "{}:alias/orders",
            name.rsplit_once(':').expect("an ARN has parts").0
        ));
        assert_eq!(
            denial(kms.describe(&alias).await.outcome),
            DenialReason::NotFound
        );
        cloud.call(
            region,
            "CreateAlias",
            &json!({ "AliasName": "alias/orders", "TargetKeyId": name }),
        );
        assert_eq!(
            kms.describe(&alias)
                .await
                .outcome
                .expect("it leads to the key")
                .key,
            ours
        );
        let nowhere = key(&format!(
            "{}:key/00000000-0000-0000-0000-000000000000",
            name.rsplit_once(':').expect("an ARN has parts").0
        ));
        assert_eq!(
            denial(kms.decrypt(&nowhere, &blob, &context("t")).await.outcome),
            DenialReason::NotFound
        );
    }
}

#[test]
fn a_table_stays_with_the_key_that_its_alias_meant() {
    let mut owner = AwsPolicyOwner::start();
    let mut node = Node::start_with(Settings {
        config: format!("key_lease_s = 10\n{}", owner.settings()),
        ..Settings::default()
    });
    let (first, second) = (
        owner.create_key(&node, "first"),
        owner.create_key(&node, "third"),
    );
    let alias = format!("arn:aws:kms:{EUROPE}:111122223333:alias/orders");
    owner.0.set_alias(&alias, &first);
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be built");
    runtime.block_on(async {
        let mut connection = Connection::open(node.address())
            .await
            .expect("the server is ready");
        make_keyspace(&mut connection, "ks").await;
        make_table(
            &mut connection,
            "ks.t",
            &format!("encryption = {{'kms_key': '{alias}'}}"),
        )
        .await;
        write_all(&mut connection, "ks.t", grid(10, 10), 1).await;
        // The alias goes to another key; that key is taken away, and the first one serves.
        owner.0.set_alias(&alias, &second);
        owner.take_away(&node, &second);
    });
    node.flush();
    node.kill();
    node.restart();
    runtime.block_on(async {
        let mut connection = Connection::open(node.address()).await.expect("the server is ready");
        assert_eq!(read_all(&mut connection, "ks.t").await.len(), 100);
        let shown = connection.run("SELECT kms_key FROM system_palladium.tables WHERE keyspace_name = 'ks' AND table_name = 't'").await.rows();
        assert_eq!(text(&shown[0][0]), first);
        // To the alias once more: now it means the other key.
        owner.give_back(&node, &second);
        connection.run(&format!("ALTER TABLE ks.t WITH encryption = {{'kms_key': '{alias}'}}")).await;
        let shown = connection.run("SELECT kms_key FROM system_palladium.tables WHERE keyspace_name = 'ks' AND table_name = 't'").await.rows();
        assert_eq!(text(&shown[0][0]), second);
        owner.take_away(&node, &first);
        assert_eq!(read_all(&mut connection, "ks.t").await.len(), 100);
    });
    node.stop();
    node.verify().must_succeed("verify");
}

/// How long a test waits for what a lease, or the keeper's clockwork, brings about.
const PATIENCE: Duration = Duration::from_secs(60);

#[test]
fn a_revoked_grant_locks_its_table_and_alter_to_the_same_key_makes_it_anew() {
    let mut owner = AwsGrantsOwner::start();
    let mut node = Node::start_with(Settings {
        config: format!("key_lease_s = 10\n{}", owner.settings()),
        ..Settings::default()
    });
    let ours = owner.create_key(&node, "first");
    let endings = |owner: &AwsGrantsOwner| {
        let names = owner.0.grants(&ours);
        let mut endings: Vec<_> = names
            .iter()
            .map(|name| {
                name.rsplit(':')
                    .next()
                    .expect("a name has parts")
                    .to_owned()
            })
            .collect();
        endings.sort();
        endings
    };
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be built");
    runtime.block_on(async {
        let mut connection = Connection::open(node.address())
            .await
            .expect("the server is ready");
        make_keyspace(&mut connection, "ks").await;
        make_table(
            &mut connection,
            "ks.t",
            &format!("encryption = {{'kms_key': '{ours}'}}"),
        )
        .await;
        assert_eq!(endings(&owner), ["snapshot", "use"]);
        write_all(&mut connection, "ks.t", grid(10, 10), 1).await;

        owner.0.revoke_grants(&ours);
        let deadline = Instant::now() + PATIENCE;
        let message = loop {
            let answer = connection
                .query("SELECT p, c, v FROM ks.t WHERE p = 1 AND c = 1")
                .await
                .expect("the connection holds");
            if let Answer::Refused { code, message } = answer {
                assert_eq!(code, code::UNAUTHORIZED, "{message}");
                break message;
            }
            assert!(
                Instant::now() < deadline,
                "the grant is gone and the table answers"
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        };
        assert!(message.contains("reason=AccessDenied"), "{message}");

        // Nobody but an operator makes the grants again.
        assert_eq!(endings(&owner), [""; 0]);
        connection
            .run(&format!(
                "ALTER TABLE ks.t WITH encryption = {{'kms_key': '{ours}'}}"
            ))
            .await;
        assert_eq!(endings(&owner), ["snapshot", "use"]);
        assert_eq!(read_all(&mut connection, "ks.t").await.len(), 100);

        connection.run("DROP TABLE ks.t").await;
        let deadline = Instant::now() + PATIENCE;
        while endings(&owner) != ["snapshot-kept"] {
            assert!(
                Instant::now() < deadline,
                "grants after the drop: {:?}",
                endings(&owner)
            );
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    });
    node.stop();
}
