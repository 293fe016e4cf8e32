//! Vault as a key service, seen through the one trait that the server knows: every answer that Vault gives, and what it is taken for.
//!
//! Each story is told with the double; those of `on_both` also with a real Vault in the long run, where `compare` holds the two side by side, answer by
//! answer.

mod compare;
mod keys;
mod tls;
mod token;
mod trouble;

use std::sync::Arc;
use std::time::{Duration, Instant};

use palladium_crypto::{
    CmkRef, DenialReason, EncryptionContext, Error, GeneratedKey, Kms, Reply, Secret,
    UnavailableReason, key_service_kinds,
};
use palladium_integration_tests::chance::long;
use palladium_integration_tests::owners::vault::{Dev, Double, Service, TakeAway, VaultOwner};
use serde_json::{Value, json};

const PATIENCE: Duration = Duration::from_secs(60);

fn double() -> VaultOwner {
    VaultOwner::new(Service::Double(Double::start()), TakeAway::Policy)
}

/// Tells a story with the double, and with a real Vault where long versions are asked for.
fn on_both<F: Future<Output = ()>>(story: impl Fn(VaultOwner) -> F) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be built");
    runtime.block_on(story(double()));
    if long() {
        runtime.block_on(story(VaultOwner::new(
            Service::Dev(Dev::start()),
            TakeAway::Policy,
        )));
    }
}

/// The service as the server opens it.
async fn open(settings: Value) -> Result<Arc<dyn Kms>, Error> {
    let kind = key_service_kinds()
        .iter()
        .find(|kind| kind.provider == "vault")
        .expect("this build knows Vault");
    (kind.open)(settings).await
}

fn settings(owner: &mut VaultOwner) -> Value {
    json!({"address": format!("http://{}", owner.service().address()), "token_file": owner.token_file(), "request_timeout_s": 2})
}

async fn with_token(owner: &mut VaultOwner) -> Arc<dyn Kms> {
    open(settings(owner)).await.expect("the settings are good")
}

fn make_key(owner: &mut VaultOwner, name: &str) -> CmkRef {
    owner.must(
        "POST",
        &format!("transit/keys/{name}"),
        json!({"derived": true}),
    );
    owner.grant(name);
    key(name)
}

fn key(name: &str) -> CmkRef {
    CmkRef::parse(&format!("vault:transit/{name}")).expect("a name")
}

fn context(table: &str) -> EncryptionContext {
    EncryptionContext::for_table("shop", table, "subscriber")
}

async fn data_key(vault: &Arc<dyn Kms>, key: &CmkRef, table: &str) -> GeneratedKey {
    let reply = vault.generate_data_key(key, &context(table)).await;
    reply.outcome.expect("a data key")
}

async fn opened(vault: &Arc<dyn Kms>, key: &CmkRef, ciphertext: &[u8], table: &str) -> Secret<32> {
    let reply = vault.decrypt(key, ciphertext, &context(table)).await;
    reply.outcome.expect("the key of this table")
}

fn denied<T>(reply: Reply<T>) -> DenialReason {
    match reply.outcome.err() {
        Some(Error::Denied { reason, .. }) => reason,
        other => panic!("not denied: {other:?}"),
    }
}

fn unavailable<T>(reply: Reply<T>) -> (UnavailableReason, String) {
    match reply.outcome.err() {
        Some(Error::Unavailable { reason, message }) => (reason, message),
        other => panic!("not unavailable: {other:?}"),
    }
}

fn is_tampered<T>(reply: Reply<T>) -> bool {
    matches!(reply.outcome, Err(Error::Tampered { .. }))
}

fn is_invalid<T>(reply: Reply<T>) -> bool {
    matches!(reply.outcome, Err(Error::Invalid(_)))
}

fn run(story: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("a runtime can be built");
    runtime.block_on(story);
}

/// Asks again and again until it is so.
async fn wait_for(mut is_so: impl AsyncFnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so().await {
        assert!(Instant::now() < deadline, "it has not come about");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn base64(bytes: &[u8]) -> String {
    use base64ct::{Base64, Encoding};
    Base64::encode_string(bytes)
}
