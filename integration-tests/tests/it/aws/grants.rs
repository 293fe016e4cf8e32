//! Grants on AWS KMS: what one allows, who may make it, how it ends; and a server that makes its own.

use std::time::{Duration, Instant};

use palladium_crypto::{
    CmkRef, DenialReason, EncryptionContext, Error, GrantId, GrantOperation, GrantRequest,
};
use palladium_integration_tests::node::{Node, Settings};
use palladium_integration_tests::owners::simulated_aws::{SimulatedAws, policy_with_grants};
use palladium_integration_tests::owners::{AwsGrantsOwner, Owner};
use palladium_integration_tests::raw::{Answer, Connection, code};
use serde_json::json;

use super::{EUROPE, context, denial, key, last, open, table, with, wrapped};
use crate::rows::{grid, make_keyspace, make_table, read_all, write_all};

const USE: [GrantOperation; 4] = [
    GrantOperation::Describe,
    GrantOperation::Generate,
    GrantOperation::Decrypt,
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
