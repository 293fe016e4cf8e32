//! KMIP as a key service, seen through the one trait that the server knows, with PyKMIP's server: every answer, and what it is taken for.

use std::io::Write;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::{Duration, Instant};

use palladium_crypto::{
    CmkRef, DenialReason, EncryptionContext, Error, GeneratedKey, Kms, Secret, UnavailableReason,
    key_service_kinds,
};
use palladium_integration_tests::node::free_address;
use palladium_integration_tests::owners::{Owner, PyKmip};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

use crate::runtimes::one_thread;

/// How long a policy may take until it counts.
const PATIENCE: Duration = Duration::from_secs(60);

/// The server's side: a service as it opens it, and somewhere to run it.
struct Client {
    runtime: Runtime,
    kms: Arc<dyn Kms>,
}

impl Client {
    fn open(settings: Value) -> Result<Client, Error> {
        let kind = key_service_kinds()
            .iter()
            .find(|kind| kind.provider == "kmip")
            .expect("this build knows KMIP");
        let runtime = one_thread();
        let kms = runtime.block_on((kind.open)(settings))?;
        Ok(Client { runtime, kms })
    }

    fn of(owner: &PyKmip) -> Client {
        Client::open(settings(owner)).expect("the settings are right")
    }

    fn describe(&self, key: &CmkRef) -> Result<palladium_crypto::KeyDescription, Error> {
        self.runtime.block_on(self.kms.describe(key)).outcome
    }

    fn generate(&self, key: &CmkRef) -> Result<GeneratedKey, Error> {
        let orders = context("orders");
        self.runtime
            .block_on(self.kms.generate_data_key(key, &orders))
            .outcome
    }

    fn decrypt(&self, key: &CmkRef, blob: &[u8]) -> Result<Secret<32>, Error> {
        self.decrypt_for("orders", key, blob)
    }

    fn decrypt_for(&self, table: &str, key: &CmkRef, blob: &[u8]) -> Result<Secret<32>, Error> {
        let context = context(table);
        self.runtime
            .block_on(self.kms.decrypt(key, blob, &context))
            .outcome
    }
}

fn settings(owner: &PyKmip) -> Value {
    json!({
        "address": owner.address().to_string(),
        "ca_file": owner.file("ca.pem"),
        "client_cert_file": owner.file("palladium.pem"),
        "client_key_file": owner.file("palladium.key"),
    })
}

fn with(mut settings: Value, name: &str, value: impl Into<Value>) -> Value {
    settings[name] = value.into();
    settings
}

fn id(id: &str) -> CmkRef {
    CmkRef::parse(&format!("kmip:id={id}")).expect("a name")
}

fn name(name: &str) -> CmkRef {
    CmkRef::parse(&format!("kmip:name={name}")).expect("a name")
}

fn context(table: &str) -> EncryptionContext {
    EncryptionContext::for_table("shop", table, "subscriber")
}

fn is_denied<T>(outcome: Result<T, Error>, wanted: DenialReason) {
    match outcome {
        Err(Error::Denied { reason, message }) => assert_eq!(reason, wanted, "{message}"),
        Err(other) => panic!("not denied, but: {other}"),
        Ok(_) => panic!("it worked"),
    }
}

fn is_unavailable<T>(outcome: Result<T, Error>, words: &str) {
    match outcome {
        Err(Error::Unavailable { reason, message }) => {
            assert_eq!(reason, UnavailableReason::Unreachable);
            assert!(message.contains(words), "'{words}' is not in: {message}");
        }
        Err(other) => panic!("not unavailable, but: {other}"),
        Ok(_) => panic!("it worked"),
    }
}

fn is_tampered<T>(outcome: Result<T, Error>, what: &str) {
    match outcome {
        Err(Error::Tampered { .. }) => {}
        Err(other) => panic!("{what}: not tampered with, but: {other}"),
        Ok(_) => panic!("{what}: it worked"),
    }
}

/// Asks until the answer is this.
fn wait_until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::sleep(Duration::from_millis(100));
    }
}

#[test]
fn a_data_key_comes_back_and_only_as_it_was_and_under_its_context() {
    let mut owner = PyKmip::start();
    let orders = owner.create("orders", &[]);
    let other = id(&owner.create("other", &[]));
    let client = Client::of(&owner);

    let described = client
        .describe(&name("orders"))
        .expect("the key is described");
    assert_eq!((described.enabled, described.denial), (true, None));
    assert_eq!(described.key, id(&orders), "a name is resolved");

    let orders = id(&orders);
    let generated = client.generate(&orders).expect("a data key");
    let blob = &generated.ciphertext;
    assert_eq!(blob.len(), 61);
    for key in [&orders, &name("orders")] {
        let again = client.decrypt(key, blob).expect("it decrypts");
        assert!(again == generated.plaintext);
    }
    let encrypting = async {
        let context = context("orders");
        let encrypting = client.kms.encrypt(&orders, &generated.plaintext, &context);
        encrypting.await.outcome
    };
    let encrypted = client.runtime.block_on(encrypting).expect("it encrypts");
    assert!(&encrypted != blob);
    assert!(client.decrypt(&orders, &encrypted).expect("it decrypts") == generated.plaintext);

    is_tampered(
        client.decrypt_for("customers", &orders, blob),
        "another table's context",
    );
    is_tampered(client.decrypt(&other, blob), "another key");
    for at in (1..blob.len()).step_by(5) {
        let mut changed = blob.clone();
        changed[at] ^= 1;
        is_tampered(client.decrypt(&orders, &changed), &format!("byte {at}"));
    }
    for cut in [0, 1, 45, 60] {
        is_tampered(client.decrypt(&orders, &blob[..cut]), "a cut");
    }
    let mut newer = blob.clone();
    newer[0] = 2;
    let refusal = client.decrypt(&orders, &newer).map(|_| ()).unwrap_err();
    assert!(matches!(refusal, Error::Unsupported(_)), "{refusal}");
}

#[test]
fn a_key_is_usable_from_its_activation_to_its_revocation() {
    let mut owner = PyKmip::start();
    let key = owner.create("orders", &["--pre-active"]);
    let client = Client::of(&owner);
    is_denied(client.generate(&id(&key)), DenialReason::Disabled);
    let described = client.describe(&id(&key)).expect("the key is described");
    assert_eq!(
        (described.enabled, described.denial),
        (false, Some(DenialReason::Disabled))
    );

    owner.activate(&key);
    let blob = client.generate(&id(&key)).expect("a data key").ciphertext;

    owner.revoke(&key);
    for key in [id(&key), name("orders")] {
        is_denied(client.decrypt(&key, &blob), DenialReason::Disabled);
        is_denied(client.generate(&key), DenialReason::Disabled);
    }
    owner.destroy(&key);
    for key in [id(&key), name("orders"), name("nobody")] {
        is_denied(client.decrypt(&key, &blob), DenialReason::NotFound);
        is_denied(client.describe(&key), DenialReason::NotFound);
    }
}

#[test]
fn a_key_that_its_policy_forbids_is_denied_until_it_allows_it() {
    let mut owner = PyKmip::start();
    let key = id(&owner.create("orders", &[]));
    let client = Client::of(&owner);
    let blob = client.generate(&key).expect("a data key").ciphertext;
    owner.forbid("orders");
    wait_until("the policy forbids the key and it still works", || {
        client.decrypt(&key, &blob).is_err()
    });
    is_denied(client.decrypt(&key, &blob), DenialReason::AccessDenied);
    is_denied(
        client.decrypt(&name("orders"), &blob),
        DenialReason::AccessDenied,
    );
    is_denied(client.describe(&key), DenialReason::AccessDenied);
    owner.allow("orders");
    wait_until("the policy allows the key and it does not work", || {
        client.decrypt(&key, &blob).is_ok()
    });
}

#[test]
fn keys_that_will_not_do_are_refused() {
    let mut owner = PyKmip::start();
    let short = id(&owner.create("short", &["--bits", "128"]));
    let one_way = id(&owner.create("one-way", &["--usage", "encrypt"]));
    let only_opens = id(&owner.create("only-opens", &["--usage", "decrypt"]));
    owner.create("twin", &[]);
    let twin = owner.create("twin", &[]);
    let client = Client::of(&owner);
    for outcome in [
        client.describe(&short).map(|_| ()),
        client.generate(&short).map(|_| ()),
    ] {
        assert!(
            matches!(&outcome, Err(Error::Invalid(message)) if message.contains("256 bits")),
            "{outcome:?}"
        );
    }
    is_denied(client.generate(&one_way), DenialReason::Disabled);
    // Refusing to encrypt takes nothing away that was encrypted before.
    is_denied(client.generate(&only_opens), DenialReason::AccessDenied);
    is_unavailable(client.generate(&name("twin")), "more than one key");
    client.generate(&id(&twin)).expect("a data key");
}

#[test]
fn a_server_that_is_away_or_not_ours_is_unreachable() {
    let mut owner = PyKmip::start();
    let key = id(&owner.create("orders", &[]));
    let client = Client::of(&owner);
    let blob = client.generate(&key).expect("a data key").ciphertext;

    // Another server than `ca_file` vouches for, and another than we look for.
    let ours = settings(&owner);
    for (setting, value) in [
        ("ca_file", json!(owner.file("stranger.pem"))),
        ("server_name", json!("elsewhere.example")),
    ] {
        let client = Client::open(with(ours.clone(), setting, value)).expect("good settings");
        is_unavailable(client.decrypt(&key, &blob), "certificate");
    }
    // A certificate of ours that is for servers, that is not there, and that has another's key.
    let wrong = with(
        with(
            ours.clone(),
            "client_cert_file",
            json!(owner.file("server.pem")),
        ),
        "client_key_file",
        json!(owner.file("server.key")),
    );
    is_unavailable(Client::open(wrong).unwrap().decrypt(&key, &blob), "");
    for (setting, file, words) in [
        ("client_cert_file", "no-such-file", "no-such-file"),
        ("client_key_file", "palladium.pem", "palladium.pem"),
        ("ca_file", "palladium.key", "no certificate"),
        ("client_key_file", "stranger.key", ""),
    ] {
        let settings = with(ours.clone(), setting, json!(owner.file(file)));
        let client = Client::open(settings).expect("good settings");
        is_unavailable(client.decrypt(&key, &blob), words);
    }
    // A name of the certificate's is as good as the address.
    let named = Client::open(with(ours.clone(), "server_name", "server")).unwrap();
    named.decrypt(&key, &blob).expect("it decrypts");
    // Somebody who speaks another protocol.
    let listener = TcpListener::bind("127.0.0.1:0").expect("a loopback port can be had");
    let elsewhere = listener.local_addr().unwrap().to_string();
    std::thread::spawn(move || {
        if let Ok((mut stream, _)) = listener.accept() {
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        }
    });
    let client_elsewhere = Client::open(with(ours.clone(), "address", elsewhere)).unwrap();
    is_unavailable(client_elsewhere.decrypt(&key, &blob), "no TLS");
    let nobody = Client::open(with(ours, "address", free_address().to_string())).unwrap();
    is_unavailable(nobody.decrypt(&key, &blob), "cannot connect");

    owner.go_away();
    is_unavailable(client.decrypt(&key, &blob), "cannot connect");
    owner.come_back();
    client
        .decrypt(&key, &blob)
        .expect("the server is back with its keys");
}

#[test]
fn settings_that_say_something_else_are_refused() {
    let good = json!({
        "address": "127.0.0.1:5696", "ca_file": "/a", "client_cert_file": "/b", "client_key_file": "/c",
    });
    Client::open(good.clone())
        .map(|_| ())
        .expect("good settings");
    for bad in [
        json!({}),
        with(good.clone(), "password", "1234"),
        with(good.clone(), "address", "127.0.0.1"),
        with(good.clone(), "address", ":5696"),
        with(good.clone(), "server_name", "no name"),
    ] {
        let refusal = Client::open(bad).map(|_| ()).unwrap_err();
        assert!(matches!(refusal, Error::Invalid(_)), "{refusal}");
    }
}
