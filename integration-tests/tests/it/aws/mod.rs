//! AWS KMS, as Palladium sees it: what each answer means, over HTTP.
//!
//! The states of keys are shown against fakecloud; policies, grants, credentials and throttling against a simulated AWS (`owners::simulated_aws`), which uses
//! the very policies that the documentation gives to owners; everything that can befall a request against a proxy before it.
//!
//! Read in this order: `keys`, `credentials`, `grants`, `faults`, `fakecloud`.

mod credentials;
mod fakecloud;
mod faults;
mod grants;
mod keys;

use std::sync::Arc;

use palladium_crypto::{
    CmkRef, DenialReason, EncryptionContext, Error, Kms, UnavailableReason, key_service_kinds,
};
use palladium_integration_tests::owners::simulated_aws::{
    Seen, SimulatedAws, policy_without_grants,
};
use serde_json::{Value, json};

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
