//! The secrets engine `transit` of the double: keys with versions, derived for each context, and AES-256-GCM.
//!
//! ```text
//! vault:vN:BASE64(nonce 12 | ciphertext | tag 16)      N: the version; the key = SHA-256(version's key | context) if the key is derived
//! ```

use std::collections::BTreeMap;

use aes_gcm::aead::{Aead, KeyInit};
use aes_gcm::{Aes256Gcm, Nonce};
use base64ct::{Base64, Encoding};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::double::bytes;

/// Status and words; a 404 has none.
pub(super) type Failure = (u16, Option<String>);

/// One mounted engine.
#[derive(Default)]
pub(super) struct Engine {
    keys: BTreeMap<String, Key>,
}

struct Key {
    kind: String,
    derived: bool,
    versions: Vec<[u8; 32]>,
    min_decryption_version: u64,
    deletion_allowed: bool,
}

fn bad(words: impl Into<String>) -> Failure {
    (400, Some(words.into()))
}

impl Engine {
    pub fn has(&self, name: &str) -> bool {
        self.keys.contains_key(name)
    }

    /// The data of an answer; None is an answer without a body.
    pub fn answer(
        &mut self,
        method: &str,
        path: &str,
        body: &Value,
    ) -> Result<Option<Value>, Failure> {
        let parts: Vec<&str> = path.split('/').collect();
        match (method, parts.as_slice()) {
            ("GET", ["keys", name]) => self
                .keys
                .get(*name)
                .map(|key| Some(key.describe(name)))
                .ok_or((404, None)),
            ("DELETE", ["keys", name]) => self.delete(name).map(|()| None),
            ("POST" | "PUT", ["keys", name]) => Ok(Some(self.create(name, body).describe(name))),
            ("POST" | "PUT", ["keys", name, "rotate"]) => {
                let key = self
                    .keys
                    .get_mut(*name)
                    .ok_or_else(|| bad("key not found"))?;
                key.versions.push(random());
                Ok(Some(key.describe(name)))
            }
            ("POST" | "PUT", ["keys", name, "config"]) => {
                let key = self
                    .keys
                    .get_mut(*name)
                    .ok_or_else(|| bad(format!("no existing key named {name} could be found")))?;
                key.configure(body)?;
                Ok(Some(key.describe(name)))
            }
            ("POST" | "PUT", ["datakey", "plaintext", name]) => {
                let plaintext = Base64::encode_string(&random());
                let key = self.key(name)?;
                let ciphertext = key.encrypt(plaintext.as_bytes(), body)?;
                Ok(Some(
                    json!({"ciphertext": ciphertext, "plaintext": plaintext, "key_version": key.versions.len()}),
                ))
            }
            ("POST" | "PUT", ["encrypt", name]) => {
                if !self.has(name) {
                    self.create(name, &json!({"derived": body.get("context").is_some()}));
                }
                let key = self.key(name)?;
                let plaintext = body["plaintext"]
                    .as_str()
                    .ok_or_else(|| bad("missing plaintext to encrypt"))?;
                let ciphertext = key.encrypt(plaintext.as_bytes(), body)?;
                Ok(Some(
                    json!({"ciphertext": ciphertext, "key_version": key.versions.len()}),
                ))
            }
            ("POST" | "PUT", ["decrypt", name]) => {
                let plaintext = self.key(name)?.decrypt(body)?;
                Ok(Some(json!({"plaintext": plaintext})))
            }
            _ => Err((404, Some("unsupported path".into()))),
        }
    }

    fn key(&self, name: &str) -> Result<&Key, Failure> {
        self.keys
            .get(name)
            .ok_or_else(|| bad("encryption key not found"))
    }

    fn create(&mut self, name: &str, body: &Value) -> &Key {
        self.keys.entry(name.to_owned()).or_insert_with(|| Key {
            kind: body["type"].as_str().unwrap_or("aes256-gcm96").to_owned(),
            derived: body["derived"] == true,
            versions: vec![random()],
            min_decryption_version: 1,
            deletion_allowed: false,
        })
    }

    fn delete(&mut self, name: &str) -> Result<(), Failure> {
        match self.keys.get(name) {
            None => Err(bad(format!(
                "error deleting policy {name}: could not delete key; not found"
            ))),
            Some(key) if !key.deletion_allowed => Err(bad(format!(
                "error deleting policy {name}: deletion is not allowed for this key"
            ))),
            Some(_) => {
                self.keys.remove(name);
                Ok(())
            }
        }
    }
}

impl Key {
    fn describe(&self, name: &str) -> Value {
        let ciphers = self.kind.starts_with("aes") || self.kind.starts_with("chacha");
        let versions: BTreeMap<String, u64> = (1..=self.versions.len())
            .map(|version| (version.to_string(), 1))
            .collect();
        json!({
            "name": name, "type": self.kind, "derived": self.derived, "latest_version": self.versions.len(), "keys": versions,
            "min_decryption_version": self.min_decryption_version, "min_encryption_version": 0, "deletion_allowed": self.deletion_allowed,
            "exportable": false, "allow_plaintext_backup": false,
            "supports_encryption": ciphers, "supports_decryption": ciphers, "supports_derivation": ciphers, "supports_signing": !ciphers,
        })
    }

    fn configure(&mut self, body: &Value) -> Result<(), Failure> {
        if let Some(allowed) = body["deletion_allowed"].as_bool() {
            self.deletion_allowed = allowed;
        }
        if let Some(version) = body["min_decryption_version"].as_u64() {
            if version > self.versions.len() as u64 {
                return Err(bad(format!(
                    "cannot set min decryption version of {version}, latest key version is {}",
                    self.versions.len()
                )));
            }
            self.min_decryption_version = version.max(1);
        }
        Ok(())
    }

    fn encrypt(&self, plaintext: &[u8], body: &Value) -> Result<String, Failure> {
        let version = self.versions.len();
        let cipher = self.cipher(version, body)?;
        let nonce: [u8; 12] = random()[..12].try_into().expect("twelve bytes");
        let plaintext = Base64::decode_vec(std::str::from_utf8(plaintext).unwrap_or_default())
            .map_err(|_| bad("failed to base64-decode plaintext"))?;
        let sealed = cipher
            .encrypt(&Nonce::from(nonce), plaintext.as_slice())
            .expect("a key is short");
        Ok(format!(
            "vault:v{version}:{}",
            Base64::encode_string(&[&nonce[..], &sealed].concat())
        ))
    }

    fn decrypt(&self, body: &Value) -> Result<String, Failure> {
        let text = body["ciphertext"]
            .as_str()
            .filter(|text| !text.is_empty())
            .ok_or_else(|| bad("missing ciphertext to decrypt"))?;
        let rest = text
            .strip_prefix("vault:v")
            .ok_or_else(|| bad("invalid ciphertext: no prefix"))?;
        let (version, sealed) = rest
            .split_once(':')
            .ok_or_else(|| bad("invalid ciphertext: wrong number of fields"))?;
        let version: usize = version
            .parse()
            .map_err(|_| bad("invalid ciphertext: version number could not be decoded"))?;
        if version > self.versions.len() {
            return Err(bad("invalid ciphertext: version is too new"));
        }
        if version.max(1) < self.min_decryption_version as usize {
            return Err(bad(
                "ciphertext or signature version is disallowed by policy (too old)",
            ));
        }
        let sealed = Base64::decode_vec(sealed)
            .map_err(|_| bad("invalid ciphertext: could not decode base64"))?;
        let cipher = self.cipher(version.max(1), body)?;
        let (nonce, sealed) = sealed
            .split_at_checked(12)
            .ok_or_else(|| bad("invalid ciphertext length"))?;
        let nonce: [u8; 12] = nonce.try_into().expect("twelve bytes");
        let plaintext = cipher
            .decrypt(&Nonce::from(nonce), sealed)
            .map_err(|_| bad("cipher: message authentication failed"))?;
        Ok(Base64::encode_string(&plaintext))
    }

    fn cipher(&self, version: usize, body: &Value) -> Result<Aes256Gcm, Failure> {
        let context = match body.get("context") {
            Some(context) => bytes(context)?,
            None => Vec::new(),
        };
        let mut key = self.versions[version - 1];
        // A key that is not derived does not look at the context.
        if self.derived {
            if context.is_empty() {
                return Err(bad("missing 'context' for key derivation"));
            }
            key = Sha256::new()
                .chain_update(key)
                .chain_update(&context)
                .finalize()
                .into();
        }
        Ok(Aes256Gcm::new(&key.into()))
    }
}

/// 32 bytes from two of the system's random numbers.
fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    bytes[..16].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    bytes[16..].copy_from_slice(uuid::Uuid::new_v4().as_bytes());
    bytes
}
