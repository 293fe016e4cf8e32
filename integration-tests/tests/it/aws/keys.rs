//! What each answer of KMS means: policies, states, regions, aliases, request ids.

use palladium_crypto::{DenialReason, EncryptionContext, Error, UnavailableReason};
use palladium_integration_tests::owners::simulated_aws::SimulatedAws;
use serde_json::json;

use super::{
    AMERICA, EUROPE, context, denial, is_tampered, key, last, open, server_policy, silence, table,
    with, wrapped,
};

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
async fn an_id_or_an_alias_without_an_arn_is_of_the_region_of_the_settings() {
    let aws = SimulatedAws::start();
    let (ours, elsewhere) = (
        aws.create_key(EUROPE, server_policy()),
        aws.create_key(AMERICA, server_policy()),
    );
    aws.set_alias(
        &format!("arn:aws:kms:{EUROPE}:111122223333:alias/orders"),
        &ours,
    );
    let id = |arn: &str| key(arn.rsplit_once('/').expect("an ARN").1);
    let at_home = open(with(table(&aws), json!({"region": EUROPE}))).await;
    for name in [id(&ours), key("alias/orders")] {
        let described = at_home.describe(&name).await.outcome.expect("it is known");
        assert_eq!(described.key, key(&ours), "{name}");
        wrapped(&*at_home, &name, "t").await;
    }
    assert_eq!(
        denial(at_home.describe(&id(&elsewhere)).await.outcome),
        DenialReason::NotFound
    );

    let before = aws.seen().len();
    let anywhere = open(table(&aws)).await;
    let refusal = anywhere.describe(&id(&ours)).await.outcome;
    assert!(
        matches!(&refusal, Err(Error::Invalid(text)) if text.contains("region")),
        "{:?}",
        refusal.map(|described| described.key)
    );
    assert_eq!(aws.seen().len(), before, "nobody was asked");
}
