//! The double beside a real Vault: the same requests, the same statuses, the same words.

use palladium_integration_tests::chance::long;
use palladium_integration_tests::owners::vault::{Dev, POLICY, Service, TakeAway, VaultOwner};
use serde_json::{Value, json};

use super::{base64, context, double, make_key};

#[test]
fn the_double_answers_as_vault_does() {
    if !long() {
        return;
    }
    let mut real = answers(VaultOwner::new(
        Service::Dev(Dev::start()),
        TakeAway::Policy,
    ));
    let mut doubles = answers(double());
    for (what, real) in real.drain(..) {
        let (same, double) = doubles.remove(0);
        assert_eq!(what, same);
        println!(
            "{what}\n    Vault  {} {}\n    double {} {}",
            real.0, real.1, double.0, double.1
        );
        assert_eq!(real.0, double.0, "{what}: {} and {}", real.1, double.1);
        assert!(
            real.1.contains(&double.1),
            "{what}: Vault says '{}', the double '{}'",
            real.1,
            double.1
        );
    }
}

/// Requests of every kind, and status and errors of the answers.
fn answers(mut owner: VaultOwner) -> Vec<(String, (u16, String))> {
    let [context, other] = [
        base64(&context("a").to_bytes()),
        base64(&context("b").to_bytes()),
    ];
    make_key(&mut owner, "orders");
    owner.must("POST", "transit/keys/flat", json!({}));
    let token = owner.make_token(json!({"policies": [POLICY], "ttl": "1h"}));
    let dead = owner.make_token(json!({"policies": [POLICY]}));
    owner.must("POST", "auth/token/revoke", json!({"token": dead}));
    let bare = owner.make_token(json!({"policies": [POLICY], "no_default_policy": true}));
    let fixed = owner.make_token(json!({"policies": [POLICY], "ttl": "1h", "renewable": false}));
    let made = owner.must(
        "POST",
        "transit/datakey/plaintext/orders",
        json!({"context": context}),
    );
    let blob = made["data"]["ciphertext"]
        .as_str()
        .expect("a ciphertext")
        .to_owned();
    let changed = format!("{}AAAA", &blob[..blob.len() - 4]);
    let mut said = Vec::new();
    let mut say =
        |owner: &VaultOwner, token: &str, who: &str, method: &str, path: &str, body: Value| {
            let (status, answer) = owner.call_as(token, method, path, body.clone());
            let errors: Vec<&str> = answer["errors"]
                .as_array()
                .into_iter()
                .flatten()
                .filter_map(Value::as_str)
                .collect();
            said.push((
                format!(
                    "{who}: {method} {path} {:?}",
                    body.as_object().map(|body| body.keys().collect::<Vec<_>>())
                ),
                (status, errors.join("; ")),
            ));
        };
    let root = "root";
    for (token, who) in [
        (root, "root"),
        (&token, "granted"),
        (&dead, "revoked"),
        (&bare, "without default"),
        ("", "nobody"),
    ] {
        for path in [
            "transit/keys/orders",
            "transit/keys/nowhere",
            "nowhere/keys/orders",
            "auth/token/lookup-self",
        ] {
            say(&owner, token, who, "GET", path, Value::Null);
        }
        say(
            &owner,
            token,
            who,
            "POST",
            "transit/datakey/plaintext/orders",
            json!({"context": context}),
        );
        say(
            &owner,
            token,
            who,
            "POST",
            "transit/datakey/plaintext/orders",
            json!({}),
        );
        say(
            &owner,
            token,
            who,
            "POST",
            "transit/datakey/plaintext/nowhere",
            json!({"context": context}),
        );
        say(
            &owner,
            token,
            who,
            "POST",
            "transit/decrypt/nowhere",
            json!({"context": context, "ciphertext": blob}),
        );
        say(
            &owner,
            token,
            who,
            "POST",
            "nowhere/decrypt/orders",
            json!({"context": context, "ciphertext": blob}),
        );
        say(
            &owner,
            token,
            who,
            "POST",
            "auth/token/renew-self",
            json!({}),
        );
        for text in [
            blob.as_str(),
            &changed,
            "",
            "x",
            "vault:v1",
            "vault:v9:AAAA",
            "vault:vx:AAAA",
            "vault:v1:????",
            "vault:v1:AAAA",
        ] {
            say(
                &owner,
                token,
                who,
                "POST",
                "transit/decrypt/orders",
                json!({"context": context, "ciphertext": text}),
            );
        }
        say(
            &owner,
            token,
            who,
            "POST",
            "transit/decrypt/orders",
            json!({"context": other, "ciphertext": blob}),
        );
        say(
            &owner,
            token,
            who,
            "POST",
            "transit/decrypt/orders",
            json!({"ciphertext": blob}),
        );
        say(
            &owner,
            token,
            who,
            "POST",
            "transit/encrypt/flat",
            json!({"plaintext": "AAAA", "context": context}),
        );
    }
    say(
        &owner,
        &fixed,
        "not renewable",
        "POST",
        "auth/token/renew-self",
        json!({}),
    );
    say(
        &owner,
        &token,
        "granted",
        "POST",
        "auth/approle/login",
        json!({"role_id": "r", "secret_id": "s"}),
    );
    say(
        &owner,
        root,
        "root",
        "POST",
        "transit/keys/orders/config",
        json!({"min_decryption_version": 7}),
    );
    say(
        &owner,
        root,
        "root",
        "DELETE",
        "transit/keys/orders",
        Value::Null,
    );
    owner.forbid_old_versions("orders");
    say(
        &owner,
        &token,
        "too old",
        "POST",
        "transit/decrypt/orders",
        json!({"context": context, "ciphertext": blob}),
    );
    owner.must(
        "POST",
        "transit/keys/orders/config",
        json!({"deletion_allowed": true}),
    );
    say(
        &owner,
        root,
        "root",
        "DELETE",
        "transit/keys/orders",
        Value::Null,
    );
    say(
        &owner,
        &token,
        "deleted",
        "POST",
        "transit/decrypt/orders",
        json!({"context": context, "ciphertext": blob}),
    );
    say(
        &owner,
        &token,
        "deleted",
        "GET",
        "transit/keys/orders",
        Value::Null,
    );
    owner.seal();
    say(
        &owner,
        &token,
        "sealed",
        "POST",
        "transit/decrypt/orders",
        json!({"context": context, "ciphertext": blob}),
    );
    say(
        &owner,
        &token,
        "sealed",
        "GET",
        "auth/token/lookup-self",
        Value::Null,
    );
    said
}
