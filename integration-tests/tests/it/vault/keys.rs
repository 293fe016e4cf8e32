//! The life of a key: used, rotated, taken away by its owner and given back, deleted.

use palladium_crypto::{DenialReason, Error, Secret};
use palladium_integration_tests::owners::vault::POLICY;
use serde_json::{Value, json};

use super::{
    base64, context, data_key, denied, double, is_invalid, is_tampered, key, make_key, on_both,
    open, opened, run, settings, with_token,
};

#[test]
fn what_vault_generates_or_encrypts_it_decrypts() {
    on_both(|mut owner| async move {
        let orders = make_key(&mut owner, "orders");
        // The one permission that a server without re-encryption does not need.
        let wide = json!({"path": {"transit/*": {"capabilities": ["read", "update"]}}}).to_string();
        owner.must(
            "PUT",
            &format!("sys/policies/acl/{POLICY}"),
            json!({"policy": wide}),
        );
        let vault = with_token(&mut owner).await;
        let described = vault.describe(&orders).await;
        assert!(described.request_id.is_some(), "Vault names its requests");
        assert!(described.outcome.expect("the key is there").enabled);

        let reply = vault.generate_data_key(&orders, &context("a")).await;
        assert!(reply.request_id.is_some());
        let generated = reply.outcome.expect("a data key");
        let reply = vault
            .decrypt(&orders, &generated.ciphertext, &context("a"))
            .await;
        assert!(reply.request_id.is_some());
        assert!(reply.outcome.expect("it decrypts") == generated.plaintext);

        let plaintext = Secret::from_bytes([0xfb; 32]);
        let ciphertext = vault
            .encrypt(&orders, &plaintext, &context("a"))
            .await
            .outcome
            .expect("it encrypts");
        assert!(opened(&vault, &orders, &ciphertext, "a").await == plaintext);
    });
}

#[test]
fn another_context_another_key_or_a_changed_byte_does_not_decrypt() {
    on_both(|mut owner| async move {
        let (orders, other) = (
            make_key(&mut owner, "orders"),
            make_key(&mut owner, "other"),
        );
        let vault = with_token(&mut owner).await;
        let good = data_key(&vault, &orders, "a").await.ciphertext;
        assert!(is_tampered(
            vault.decrypt(&orders, &good, &context("b")).await
        ));
        assert!(is_tampered(
            vault.decrypt(&other, &good, &context("a")).await
        ));
        for at in 0..good.len() {
            let mut changed = good.clone();
            // Another letter of the alphabet of base 64; in front of it, another version or another prefix.
            changed[at] = if changed[at] == b'7' { b'8' } else { b'7' };
            // The last letter before the padding has bits that mean nothing.
            let is_slack = good[at + 1..].iter().all(|byte| *byte == b'=');
            let reply = vault.decrypt(&orders, &changed, &context("a")).await;
            assert!(
                is_slack || is_tampered(reply),
                "byte {at} of {}",
                String::from_utf8_lossy(&good)
            );
        }
        for cut in [&good[..good.len() / 2], b"", b"\xff\xfe", b"vault:v1:"] {
            let outcome = vault
                .decrypt(&orders, cut, &context("a"))
                .await
                .outcome
                .err();
            assert!(
                matches!(
                    outcome,
                    Some(Error::Tampered { .. } | Error::Unavailable { .. })
                ),
                "{outcome:?}"
            );
        }
    });
}

#[test]
fn a_rotated_key_opens_what_older_versions_made_until_its_owner_forbids_it() {
    on_both(|mut owner| async move {
        let orders = make_key(&mut owner, "orders");
        let vault = with_token(&mut owner).await;
        let old = data_key(&vault, &orders, "a").await;
        owner.must("POST", "transit/keys/orders/rotate", Value::Null);
        assert!(opened(&vault, &orders, &old.ciphertext, "a").await == old.plaintext);

        owner.forbid_old_versions("orders");
        let new = data_key(&vault, &orders, "b").await;
        // It speaks of one version, not of the key: a table under the newer one goes on.
        assert_eq!(
            denied(vault.decrypt(&orders, &old.ciphertext, &context("a")).await),
            DenialReason::AccessDenied
        );
        assert!(!DenialReason::AccessDenied.is_key_wide());
        assert!(opened(&vault, &orders, &new.ciphertext, "b").await == new.plaintext);

        owner.allow_old_versions("orders");
        assert!(opened(&vault, &orders, &old.ciphertext, "a").await == old.plaintext);
    });
}

#[test]
fn a_key_that_ignores_contexts_is_refused() {
    on_both(|mut owner| async move {
        owner.must("POST", "transit/keys/flat", json!({"derived": false}));
        owner.must(
            "POST",
            "transit/keys/signer",
            json!({"type": "ed25519", "derived": true}),
        );
        for name in ["flat", "signer"] {
            owner.grant(name);
            let vault = with_token(&mut owner).await;
            assert!(is_invalid(vault.describe(&key(name)).await), "{name}");
            assert!(
                is_invalid(vault.generate_data_key(&key(name), &context("a")).await),
                "{name}"
            );
            assert!(
                is_invalid(
                    vault
                        .encrypt(&key(name), &Secret::from_bytes([1; 32]), &context("a"))
                        .await
                ),
                "{name}"
            );
        }
    });
}

#[test]
fn no_key_is_made_by_using_it() {
    on_both(|mut owner| async move {
        let all = json!({"path": {"transit/*": {"capabilities": ["create", "read", "update"]}}})
            .to_string();
        owner.must(
            "PUT",
            &format!("sys/policies/acl/{POLICY}"),
            json!({"policy": all}),
        );
        let vault = with_token(&mut owner).await;
        let nowhere = key("nowhere");
        assert_eq!(
            denied(
                vault
                    .encrypt(&nowhere, &Secret::from_bytes([1; 32]), &context("a"))
                    .await
            ),
            DenialReason::NotFound
        );
        assert_eq!(
            denied(vault.generate_data_key(&nowhere, &context("a")).await),
            DenialReason::NotFound
        );
        assert_eq!(
            denied(
                vault
                    .decrypt(&nowhere, b"vault:v1:AAAA", &context("a"))
                    .await
            ),
            DenialReason::NotFound
        );
        assert_eq!(
            owner.call("GET", "transit/keys/nowhere", Value::Null).0,
            404,
            "a key was made"
        );
    });
}

#[test]
fn a_policy_without_the_key_denies_it_and_with_it_gives_it_back() {
    on_both(|mut owner| async move {
        let (orders, other) = (
            make_key(&mut owner, "orders"),
            make_key(&mut owner, "other"),
        );
        let vault = with_token(&mut owner).await;
        let generated = data_key(&vault, &orders, "a").await;
        owner.revoke("orders");
        assert_eq!(
            denied(
                vault
                    .decrypt(&orders, &generated.ciphertext, &context("a"))
                    .await
            ),
            DenialReason::AccessDenied
        );
        assert_eq!(
            denied(vault.describe(&orders).await),
            DenialReason::AccessDenied
        );
        assert_eq!(
            denied(vault.generate_data_key(&orders, &context("a")).await),
            DenialReason::AccessDenied
        );
        data_key(&vault, &other, "a").await;
        owner.grant("orders");
        assert!(opened(&vault, &orders, &generated.ciphertext, "a").await == generated.plaintext);
    });
}

#[test]
fn a_deleted_key_is_not_found() {
    on_both(|mut owner| async move {
        let orders = make_key(&mut owner, "orders");
        let vault = with_token(&mut owner).await;
        let generated = data_key(&vault, &orders, "a").await;
        owner.must(
            "POST",
            "transit/keys/orders/config",
            json!({"deletion_allowed": true}),
        );
        owner.must("DELETE", "transit/keys/orders", Value::Null);
        assert_eq!(
            denied(
                vault
                    .decrypt(&orders, &generated.ciphertext, &context("a"))
                    .await
            ),
            DenialReason::NotFound
        );
        assert_eq!(
            denied(vault.describe(&orders).await),
            DenialReason::NotFound
        );
        // Another key of the same name is not the key that it was.
        owner.must("POST", "transit/keys/orders", json!({"derived": true}));
        assert!(is_tampered(
            vault
                .decrypt(&orders, &generated.ciphertext, &context("a"))
                .await
        ));
    });
}

#[test]
fn a_policy_can_bind_a_key_to_one_table() {
    on_both(|mut owner| async move {
        let orders = make_key(&mut owner, "orders");
        let vault = with_token(&mut owner).await;
        let [a, b] = [context("a"), context("b")];
        let generated = vault
            .generate_data_key(&orders, &b)
            .await
            .outcome
            .expect("a data key");
        // The context as it is sent: known to whoever makes the first call with it.
        let allowed = base64(&a.to_bytes());
        let rule = |capability: &str| json!({"capabilities": [capability], "allowed_parameters": {"context": [allowed], "ciphertext": []}});
        let policy = json!({"path": {"transit/keys/orders": {"capabilities": ["read"]}, "transit/datakey/plaintext/orders": rule("update"), "transit/decrypt/orders": rule("update")}});
        owner.must(
            "PUT",
            &format!("sys/policies/acl/{POLICY}"),
            json!({"policy": policy.to_string()}),
        );
        assert_eq!(
            denied(vault.decrypt(&orders, &generated.ciphertext, &b).await),
            DenialReason::AccessDenied
        );
        let generated = vault
            .generate_data_key(&orders, &a)
            .await
            .outcome
            .expect("the table that it is bound to");
        assert!(
            vault
                .decrypt(&orders, &generated.ciphertext, &a)
                .await
                .outcome
                .expect("the same")
                == generated.plaintext
        );
    });
}

#[test]
fn keys_and_tokens_live_in_a_namespace() {
    let mut owner = double();
    run(async {
        let orders = make_key(&mut owner, "orders");
        let mut settings = settings(&mut owner);
        // The key is in the root namespace, the token too: in another, there is no such engine.
        settings["namespace"] = json!("customers/a");
        let vault = open(settings.clone()).await.expect("the settings are good");
        assert!(vault.describe(&orders).await.outcome.is_err());
        let seen = owner.double().seen();
        assert!(
            seen.iter()
                .any(|seen| seen.what == "GET transit/keys/orders"
                    && seen.namespace == "customers/a"),
            "{seen:?}"
        );
        settings["namespace"] = json!("a\nb");
        assert!(
            open(settings).await.is_err(),
            "a namespace with a line feed"
        );
    });
}
