//! The owner of keys in HashiCorp Vault, and the service: a double in the default run, the real one in the long one.
//!
//! Vault cannot disable a key. Its owner takes one away by a policy that no longer names it ([`TakeAway::Policy`]), or by letting no ciphertext of an older
//! version of the key be decrypted ([`TakeAway::Version`]). The owner works through Vault's HTTP API with the root token, whichever service answers.

mod dev;
mod double;
mod http;
mod transit;

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Owner, write_private};
use crate::node::Node;

pub use dev::Dev;
pub use double::{Double, ROOT, Seen};
pub use http::{Reaction, ask};

/// The policy that the server's token has.
pub const POLICY: &str = "palladium";

/// Vault, real or not.
pub enum Service {
    Double(Double),
    Dev(Dev),
}

impl Service {
    pub fn address(&self) -> SocketAddr {
        match self {
            Service::Double(double) => double.address(),
            Service::Dev(dev) => dev.address(),
        }
    }

    fn unseal_key(&self) -> &str {
        match self {
            Service::Double(_) => "unseal",
            Service::Dev(dev) => dev.unseal_key(),
        }
    }
}

/// How a key is taken away.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum TakeAway {
    Policy,
    Version,
}

/// Somebody with Vault's root token, who gives a server a token that may use some keys.
pub struct VaultOwner {
    service: Service,
    take_away: TakeAway,
    folder: TempDir,
    granted: BTreeSet<String>,
}

impl VaultOwner {
    /// With a token for the server in a file.
    pub fn new(service: Service, take_away: TakeAway) -> VaultOwner {
        let owner = VaultOwner {
            service,
            take_away,
            folder: tempfile::tempdir().expect("a temporary folder can be made"),
            granted: BTreeSet::new(),
        };
        if let Service::Dev(_) = owner.service {
            owner.must("POST", "sys/mounts/transit", json!({"type": "transit"}));
            owner.must("POST", "sys/auth/approle", json!({"type": "approle"}));
        }
        owner.write_policy();
        owner.write_token(&owner.make_token(json!({"policies": [POLICY], "ttl": "1h"})));
        owner
    }

    pub fn service(&mut self) -> &mut Service {
        &mut self.service
    }

    /// The double; a test that needs one has made one.
    pub fn double(&mut self) -> &mut Double {
        match &mut self.service {
            Service::Double(double) => double,
            Service::Dev(_) => panic!("this is a real Vault"),
        }
    }

    /// Where the server finds its token.
    pub fn token_file(&self) -> PathBuf {
        self.folder.path().join("token")
    }

    /// A folder for other secrets.
    pub fn folder(&self) -> PathBuf {
        self.folder.path().to_owned()
    }

    /// A new file in place of the old one.
    pub fn write_token(&self, token: &str) {
        let draft = self.folder.path().join("draft");
        write_private(&draft, format!("{token}\n"));
        std::fs::rename(draft, self.token_file()).expect("a file can be renamed");
    }

    pub fn make_token(&self, how: Value) -> String {
        let made = self.must("POST", "auth/token/create", how);
        made["auth"]["client_token"]
            .as_str()
            .expect("a token")
            .to_owned()
    }

    /// One request with the root token: status and body.
    pub fn call(&self, method: &str, path: &str, body: Value) -> (u16, Value) {
        self.call_as(ROOT, method, path, body)
    }

    /// The same with another token.
    pub fn call_as(&self, token: &str, method: &str, path: &str, body: Value) -> (u16, Value) {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let headers = [
            ("X-Vault-Token", token),
            ("Content-Type", "application/json"),
        ];
        let (status, answer) = ask(
            self.service.address(),
            method,
            &format!("/v1/{path}"),
            &headers,
            body.as_bytes(),
        )
        .unwrap_or_else(|error| panic!("{method} {path}: {error}"));
        (
            status,
            serde_json::from_slice(&answer).unwrap_or(Value::Null),
        )
    }

    /// The same, and it must succeed.
    pub fn must(&self, method: &str, path: &str, body: Value) -> Value {
        let (status, answer) = self.call(method, path, body);
        assert!(
            (200..300).contains(&status),
            "{method} {path}: {status} {answer}"
        );
        answer
    }

    /// What crypto/README.md tells an owner to grant.
    pub fn write_policy(&self) {
        let mut paths = serde_json::Map::new();
        for key in &self.granted {
            paths.insert(
                format!("transit/keys/{key}"),
                json!({"capabilities": ["read"]}),
            );
            for operation in ["datakey/plaintext", "decrypt"] {
                paths.insert(
                    format!("transit/{operation}/{key}"),
                    json!({"capabilities": ["update"], "required_parameters": ["context"]}),
                );
            }
        }
        let policy = json!({"path": paths}).to_string();
        self.must(
            "PUT",
            &format!("sys/policies/acl/{POLICY}"),
            json!({"policy": policy}),
        );
    }

    /// Lets the server use the key.
    pub fn grant(&mut self, key: &str) {
        self.granted.insert(key.into());
        self.write_policy();
    }

    pub fn revoke(&mut self, key: &str) {
        self.granted.remove(key);
        self.write_policy();
    }

    /// Lets no ciphertext be decrypted that is older than the newest version.
    pub fn forbid_old_versions(&self, key: &str) {
        let rotated = self.must("POST", &format!("transit/keys/{key}/rotate"), Value::Null);
        // Not every release answers with the key.
        let version = match rotated["data"]["latest_version"].as_u64() {
            Some(version) => version,
            None => self.must("GET", &format!("transit/keys/{key}"), Value::Null)["data"]["latest_version"].as_u64().expect("a version"),
        };
        self.must(
            "POST",
            &format!("transit/keys/{key}/config"),
            json!({"min_decryption_version": version}),
        );
    }

    pub fn allow_old_versions(&self, key: &str) {
        self.must(
            "POST",
            &format!("transit/keys/{key}/config"),
            json!({"min_decryption_version": 1}),
        );
    }

    pub fn seal(&self) {
        self.must("PUT", "sys/seal", Value::Null);
    }

    pub fn unseal(&self) {
        let key = self.service.unseal_key();
        let answer = self.must("PUT", "sys/unseal", json!({"key": key}));
        assert_eq!(answer["sealed"], false, "{answer}");
    }
}

impl Owner for VaultOwner {
    fn settings(&self) -> String {
        format!(
            "[kms.vault]\naddress = \"http://{}\"\ntoken_file = \"{}\"\n",
            self.service.address(),
            self.token_file().display()
        )
    }

    fn create_key(&mut self, _: &Node, name: &str) -> String {
        self.must(
            "POST",
            &format!("transit/keys/{name}"),
            json!({"derived": true}),
        );
        self.grant(name);
        format!("vault:transit/{name}")
    }

    fn take_away(&mut self, _: &Node, key: &str) {
        match self.take_away {
            TakeAway::Policy => self.revoke(name(key)),
            TakeAway::Version => self.forbid_old_versions(name(key)),
        }
    }

    fn give_back(&mut self, _: &Node, key: &str) {
        match self.take_away {
            TakeAway::Policy => self.grant(name(key)),
            TakeAway::Version => self.allow_old_versions(name(key)),
        }
    }

    fn reason(&self) -> &'static str {
        "AccessDenied"
    }

    /// A double hangs up; a real one is sealed, which keeps its keys.
    fn go_away(&mut self) -> bool {
        match &mut self.service {
            Service::Double(double) => double.go_away(),
            Service::Dev(_) => self.seal(),
        }
        true
    }

    fn come_back(&mut self) {
        match &mut self.service {
            Service::Double(double) => double.come_back(),
            Service::Dev(_) => self.unseal(),
        }
    }
}

fn name(key: &str) -> &str {
    key.strip_prefix("vault:transit/")
        .expect("this owner's keys are called vault:transit/NAME")
}
