//! What is not the key's fault: a sealed Vault, time-outs, broken answers, other hosts, settings that make no sense.

use palladium_crypto::{Error, UnavailableReason};
use palladium_integration_tests::owners::vault::{Double, Reaction};
use serde_json::json;

use super::{
    context, data_key, double, make_key, on_both, open, run, settings, unavailable, wait_for,
    with_token,
};

#[test]
fn a_sealed_vault_is_out_of_reach_and_then_all_is_there() {
    on_both(|mut owner| async move {
        let orders = make_key(&mut owner, "orders");
        let vault = with_token(&mut owner).await;
        let generated = data_key(&vault, &orders, "a").await;
        owner.seal();
        let (reason, message) = unavailable(
            vault
                .decrypt(&orders, &generated.ciphertext, &context("a"))
                .await,
        );
        assert_eq!(reason, UnavailableReason::Unreachable);
        assert!(message.contains("sealed"), "{message}");
        owner.unseal();
        wait_for(async || {
            vault
                .decrypt(&orders, &generated.ciphertext, &context("a"))
                .await
                .outcome
                .is_ok_and(|key| key == generated.plaintext)
        })
        .await;
    });
}

#[test]
fn whatever_goes_wrong_on_the_way_is_out_of_reach() {
    let mut owner = double();
    run(async {
        let orders = make_key(&mut owner, "orders");
        let mut settings = settings(&mut owner);
        settings["request_timeout_s"] = json!(1);
        let vault = open(settings).await.expect("the settings are good");
        let generated = data_key(&vault, &orders, "a").await;
        let answer = |status, body: &str| Reaction::Answer {
            status,
            body: body.as_bytes().to_vec(),
        };
        let elsewhere = Double::start();
        let long = format!(r#"{{"data":{{"plaintext":"{}"}}}}"#, "A".repeat(1 << 20));
        for reaction in [
            answer(500, r#"{"errors":["internal error"]}"#),
            answer(503, r#"{"errors":["Vault is sealed"]}"#),
            answer(473, ""),
            answer(502, "<html>bad gateway</html>"),
            answer(403, "<html>permission denied by the wall</html>"),
            answer(404, "404 page not found"),
            answer(200, "<html>log in to this network</html>"),
            answer(200, "{}"),
            answer(200, r#"{"data":{"plaintext":"AAAA"}}"#),
            answer(200, r#"{"data":{"plaintext":7}}"#),
            answer(200, &long),
            answer(400, r#"{"errors":["a reason from next year"]}"#),
            Reaction::Redirect {
                location: format!("http://{}/v1/transit/decrypt/orders", elsewhere.address()),
            },
            Reaction::Half {
                status: 200,
                body: br#"{"data":{"plaintext":"AAAA"}}"#.to_vec(),
            },
            Reaction::HangUp,
            Reaction::Silence,
        ] {
            owner
                .double()
                .misbehave("decrypt", usize::MAX, reaction.clone());
            let reply = vault
                .decrypt(&orders, &generated.ciphertext, &context("a"))
                .await;
            let (reason, message) = match reply.outcome.err() {
                Some(Error::Unavailable { reason, message }) => (reason, message),
                other => panic!("{reaction:?}: {other:?}"),
            };
            assert_eq!(
                reason,
                UnavailableReason::Unreachable,
                "{reaction:?}: {message}"
            );
            owner.double().behave();
        }
        assert!(
            elsewhere.seen().is_empty(),
            "a token was carried to another host"
        );
        owner.double().misbehave("decrypt", 1, answer(429, r#"{"errors":["request path \"transit/decrypt/orders\": rate limit quota exceeded"]}"#));
        assert_eq!(
            unavailable(
                vault
                    .decrypt(&orders, &generated.ciphertext, &context("a"))
                    .await
            )
            .0,
            UnavailableReason::Throttled
        );

        // Forbidden, and then Vault cannot say whether it knows us: no denial.
        owner.revoke("orders");
        for reaction in [
            answer(500, "{}"),
            answer(503, r#"{"errors":["Vault is sealed"]}"#),
            Reaction::HangUp,
            answer(200, "{}"),
            answer(404, ""),
        ] {
            owner
                .double()
                .misbehave("lookup-self", usize::MAX, reaction);
            unavailable(
                vault
                    .decrypt(&orders, &generated.ciphertext, &context("a"))
                    .await,
            );
            owner.double().behave();
        }
        owner.grant("orders");

        owner.double().go_away();
        unavailable(
            vault
                .decrypt(&orders, &generated.ciphertext, &context("a"))
                .await,
        );
        owner.double().come_back();
        wait_for(async || {
            vault
                .decrypt(&orders, &generated.ciphertext, &context("a"))
                .await
                .outcome
                .is_ok_and(|key| key == generated.plaintext)
        })
        .await;
    });
}

#[test]
fn a_vault_that_is_down_keeps_nobody_from_opening_it() {
    let mut owner = double();
    run(async {
        let orders = make_key(&mut owner, "orders");
        owner.double().go_away();
        let vault = with_token(&mut owner).await;
        let settings = json!({"address": format!("http://{}", owner.service().address()), "approle": {"role_id": "nobody"}});
        let by_role = open(settings).await.expect("the settings are good");
        unavailable(vault.describe(&orders).await);
        unavailable(by_role.describe(&orders).await);
        owner.double().come_back();
        vault
            .describe(&orders)
            .await
            .outcome
            .expect("the key is there");
        unavailable(by_role.describe(&orders).await);
    });
}

#[test]
fn settings_that_make_no_sense_are_refused_with_a_reason() {
    run(async {
        for (settings, word) in [
            (json!({}), "address"),
            (json!({"address": "https://v"}), "token_file"),
            (
                json!({"address": "http://vault.example:8200", "token_file": "t"}),
                "allow_plaintext",
            ),
            (
                json!({"address": "https://v", "token_file": "t", "skip_verify": true}),
                "skip_verify",
            ),
            (
                json!({"address": "https://v", "token_file": "t", "request_timeout_s": 0}),
                "request_timeout_s",
            ),
            (
                json!({"address": "https://v", "token_file": "t", "ca_file": "/nowhere/ca.pem"}),
                "/nowhere/ca.pem",
            ),
            (
                json!({"address": "https://v", "token_file": "t", "client_cert_file": "c"}),
                "client_key_file",
            ),
        ] {
            let Err(error) = open(settings.clone()).await else {
                panic!("{settings} was accepted")
            };
            assert!(error.to_string().contains(word), "{settings}: {error}");
        }
    });
}
