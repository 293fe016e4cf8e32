//! Our own credentials: a token in a file, a role that logs in, renewals; and that their end is never taken for a denial.

use std::time::Duration;

use palladium_crypto::{DenialReason, UnavailableReason};
use palladium_integration_tests::chance::long;
use palladium_integration_tests::owners::vault::{Dev, POLICY, Service, TakeAway, VaultOwner};
use palladium_integration_tests::owners::write_private;
use serde_json::{Value, json};

use super::{
    context, data_key, denied, double, make_key, on_both, open, opened, run, unavailable, wait_for,
    with_token,
};

#[test]
fn a_revoked_token_of_our_own_is_no_denial_and_a_new_one_in_the_file_is_taken() {
    on_both(|mut owner| async move {
        let orders = make_key(&mut owner, "orders");
        let vault = with_token(&mut owner).await;
        let generated = data_key(&vault, &orders, "a").await;
        let token = std::fs::read_to_string(owner.token_file()).expect("the file is there");
        owner.must("POST", "auth/token/revoke", json!({"token": token.trim()}));
        let (reason, message) = unavailable(
            vault
                .decrypt(&orders, &generated.ciphertext, &context("a"))
                .await,
        );
        assert_eq!(reason, UnavailableReason::Unreachable);
        assert!(
            message.contains("does not accept the token") && !message.contains(token.trim()),
            "{message}"
        );
        owner.write_token(&owner.make_token(json!({"policies": [POLICY]})));
        assert!(opened(&vault, &orders, &generated.ciphertext, "a").await == generated.plaintext);
        std::fs::remove_file(owner.token_file()).expect("a file can be removed");
        unavailable(
            vault
                .decrypt(&orders, &generated.ciphertext, &context("a"))
                .await,
        );
    });
}

#[test]
fn a_token_that_may_not_look_itself_up_never_makes_a_denial() {
    on_both(|mut owner| async move {
        let orders = make_key(&mut owner, "orders");
        owner.write_token(
            &owner.make_token(json!({"policies": [POLICY], "no_default_policy": true})),
        );
        let vault = with_token(&mut owner).await;
        let generated = data_key(&vault, &orders, "a").await;
        owner.revoke("orders");
        unavailable(
            vault
                .decrypt(&orders, &generated.ciphertext, &context("a"))
                .await,
        );
    });
}

/// A role for the server; gives its settings.
fn app_role(owner: &mut VaultOwner, how: Value) -> Value {
    owner.must("POST", "auth/approle/role/palladium", how);
    let role_id =
        owner.must("GET", "auth/approle/role/palladium/role-id", Value::Null)["data"]["role_id"]
            .clone();
    write_secret_id(owner);
    json!({"address": format!("http://{}", owner.service().address()), "approle": {"role_id": role_id, "secret_id_file": owner.folder().join("secret-id")}})
}

fn write_secret_id(owner: &VaultOwner) -> String {
    let made = owner.must("POST", "auth/approle/role/palladium/secret-id", json!({}));
    let secret_id = made["data"]["secret_id"]
        .as_str()
        .expect("a secret id")
        .to_owned();
    write_private(&owner.folder().join("secret-id"), format!("{secret_id}\n"));
    secret_id
}

#[test]
fn an_approle_logs_in_and_again_when_its_token_is_gone() {
    on_both(|mut owner| async move {
        let orders = make_key(&mut owner, "orders");
        let settings = app_role(
            &mut owner,
            json!({"token_policies": [POLICY], "token_ttl": "1h"}),
        );
        let vault = open(settings).await.expect("the settings are good");
        let generated = data_key(&vault, &orders, "a").await;
        end_tokens(&mut owner);
        assert!(opened(&vault, &orders, &generated.ciphertext, "a").await == generated.plaintext);
        // A denial stays a denial, and costs no login.
        owner.revoke("orders");
        assert_eq!(
            denied(
                vault
                    .decrypt(&orders, &generated.ciphertext, &context("a"))
                    .await
            ),
            DenialReason::AccessDenied
        );
        owner.grant("orders");

        // A secret id that is worth nothing any more is our own trouble; another one in the file is taken.
        let secret_id =
            std::fs::read_to_string(owner.folder().join("secret-id")).expect("the file is there");
        owner.must(
            "POST",
            "auth/approle/role/palladium/secret-id/destroy",
            json!({"secret_id": secret_id.trim()}),
        );
        end_tokens(&mut owner);
        let (_, message) = unavailable(
            vault
                .decrypt(&orders, &generated.ciphertext, &context("a"))
                .await,
        );
        assert!(message.contains("secret"), "{message}");
        write_secret_id(&owner);
        assert!(opened(&vault, &orders, &generated.ciphertext, "a").await == generated.plaintext);
    });
}

/// Every token that a role has given ends.
fn end_tokens(owner: &mut VaultOwner) {
    match owner.service() {
        Service::Double(double) => double.end_tokens(),
        Service::Dev(_) => {
            owner.must("PUT", "sys/leases/revoke-prefix/auth/approle", json!({}));
        }
    }
}

#[test]
fn a_token_is_renewed_while_nobody_asks_for_a_key() {
    let mut owner = double();
    run(async {
        let orders = make_key(&mut owner, "orders");
        owner.write_token(&owner.make_token(json!({"policies": [POLICY], "ttl": "1s"})));
        let vault = with_token(&mut owner).await;
        wait_for(async || owner.double().count("POST auth/token/renew-self") >= 3).await;
        data_key(&vault, &orders, "a").await;
    });
}

#[test]
fn a_role_logs_in_anew_when_its_token_cannot_be_renewed() {
    for how in [
        json!({"token_policies": [POLICY], "token_ttl": "1s", "token_type": "batch"}),
        json!({"token_policies": [POLICY], "token_ttl": "1s", "token_max_ttl": "1s"}),
    ] {
        let mut owner = double();
        run(async {
            let orders = make_key(&mut owner, "orders");
            let settings = app_role(&mut owner, how);
            let vault = open(settings).await.expect("the settings are good");
            wait_for(async || owner.double().count("POST auth/approle/login") >= 3).await;
            data_key(&vault, &orders, "a").await;
        });
    }
}

#[test]
fn a_real_token_outlives_its_first_time_to_live() {
    if !long() {
        return;
    }
    let mut owner = VaultOwner::new(Service::Dev(Dev::start()), TakeAway::Policy);
    run(async {
        let orders = make_key(&mut owner, "orders");
        owner.write_token(&owner.make_token(json!({"policies": [POLICY], "ttl": "6s"})));
        let by_token = with_token(&mut owner).await;
        let batch = app_role(
            &mut owner,
            json!({"token_policies": [POLICY], "token_ttl": "6s", "token_type": "batch"}),
        );
        let by_batch = open(batch).await.expect("the settings are good");
        let capped = app_role(
            &mut owner,
            json!({"token_policies": [POLICY], "token_ttl": "6s", "token_max_ttl": "8s"}),
        );
        let by_capped = open(capped).await.expect("the settings are good");
        // Three times as long as any of them would live without care.
        tokio::time::sleep(Duration::from_secs(20)).await;
        for vault in [by_token, by_batch, by_capped] {
            data_key(&vault, &orders, "a").await;
        }
    });
}
