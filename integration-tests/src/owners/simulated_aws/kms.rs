//! KMS: the eight calls that Palladium makes.
//!
//! A ciphertext is `key id (36 bytes of text) | nonce (12) | AES-256-GCM`, with the encryption context as associated data.

use std::collections::BTreeMap;

use aes_gcm::aead::{Aead, Payload};
use aes_gcm::{Aes256Gcm, KeyInit};
use base64ct::{Base64, Encoding};
use serde_json::{Value, json};
use uuid::Uuid;

use super::policy::{GrantWish, Verdict, Wish, verdict};
use super::{Answer, Caller, Grant, Key, World, refused};

const KEY_ID_BYTES: usize = 36;
const NONCE_BYTES: usize = 12;
const GRANTS_IN_A_PAGE: usize = 2;

type Outcome = Result<Value, Answer>;

impl World {
    pub(super) fn answer_kms(
        &mut self,
        caller: &Caller,
        region: &str,
        operation: &str,
        body: &Value,
    ) -> Answer {
        let outcome = match operation {
            "RetireGrant" => self.retire_grant(caller, body),
            _ => self.on_a_key(caller, region, operation, body),
        };
        outcome.map_or_else(|refusal| refusal, Answer::Json)
    }

    fn on_a_key(
        &mut self,
        caller: &Caller,
        region: &str,
        operation: &str,
        body: &Value,
    ) -> Outcome {
        let (spread_late, grants_max) = (self.grants_spread_late, self.grants_max);
        let key = self.find(body["KeyId"].as_str().unwrap_or_default(), region)?;
        key.must_allow(caller, operation, body)?;
        if !matches!(operation, "DescribeKey" | "ListGrants") {
            key.must_be_enabled()?;
        }
        match operation {
            "DescribeKey" => Ok(key.describe()),
            "GenerateDataKey" => key.generate(body),
            "Encrypt" => key.encrypt_given(body),
            "Decrypt" => key.decrypt(body),
            "CreateGrant" => key.create_grant(body, spread_late, grants_max),
            "ListGrants" => Ok(key.list_grants(body)),
            other => panic!("nobody asks KMS for {other}"),
        }
    }

    /// A key by its ARN, its id, or the ARN or name of an alias. AWS's other regions know nothing of it.
    fn find(&mut self, name: &str, region: &str) -> Result<&mut Key, Answer> {
        let here = |arn: &&String| {
            let parts: Vec<&str> = arn.splitn(6, ':').collect();
            parts[3] == region && (parts[5] == name || parts[5].strip_prefix("key/") == Some(name))
        };
        let mut arns = self.keys.keys().chain(self.aliases.keys());
        let full = arns.find(here).cloned();
        let full = full.unwrap_or_else(|| name.to_owned());
        let arn = self.aliases.get(&full).unwrap_or(&full);
        match self.keys.get_mut(arn) {
            Some(key) if arn.split(':').nth(3) == Some(region) => Ok(key),
            Some(_) => Err(refused(
                "NotFoundException",
                format!("Invalid arn {region}"),
            )),
            None => Err(refused(
                "NotFoundException",
                format!("Key '{name}' does not exist"),
            )),
        }
    }

    fn retire_grant(&mut self, caller: &Caller, body: &Value) -> Outcome {
        let token = body["GrantToken"].as_str();
        let by_id = (body["KeyId"].as_str(), body["GrantId"].as_str());
        for key in self.keys.values_mut() {
            let found = key.grants.iter().position(|grant| match token {
                Some(token) => grant.token == token,
                None => by_id == (Some(&*key.arn), Some(&*grant.id)) && grant.spread,
            });
            let Some(at) = found else { continue };
            let grant = &key.grants[at];
            if grant.grantee != principal(caller)
                || !grant.operations.iter().any(|one| one == "RetireGrant")
            {
                return Err(not_authorized(caller, "RetireGrant", &key.arn));
            }
            key.grants.remove(at);
            return Ok(json!({}));
        }
        Err(match token {
            Some(_) => refused("InvalidGrantTokenException", ""),
            None => refused("NotFoundException", "Grant does not exist"),
        })
    }
}

impl Key {
    fn must_allow(&self, caller: &Caller, operation: &str, body: &Value) -> Result<(), Answer> {
        let principal = principal(caller);
        let tokens = texts(&body["GrantTokens"]);
        let is_known = |token: &String| self.grants.iter().any(|grant| grant.token == *token);
        if !tokens.iter().all(is_known) {
            return Err(refused("InvalidGrantTokenException", ""));
        }
        let operations = texts(&body["Operations"]);
        let is_grant = operation == "CreateGrant";
        let wish = Wish {
            principal: &principal,
            action: operation,
            context: if is_grant {
                &body["Constraints"]["EncryptionContextEquals"]
            } else {
                &body["EncryptionContext"]
            },
            grant: is_grant.then(|| GrantWish {
                grantee: body["GranteePrincipal"].as_str().unwrap_or_default(),
                operations: &operations,
            }),
        };
        let granted = self.grants.iter().any(|grant| {
            // The constraint says nothing of calls that have no context.
            let fits = operation == "DescribeKey"
                || grant
                    .context
                    .as_ref()
                    .is_none_or(|context| context == wish.context);
            grant.grantee == principal
                && grant.operations.iter().any(|one| one == operation)
                && fits
                && (grant.spread || tokens.contains(&grant.token))
        });
        match verdict(&self.policy, &wish) {
            Verdict::Allow => Ok(()),
            Verdict::Silent if granted => Ok(()),
            Verdict::Silent | Verdict::Deny => Err(not_authorized(caller, operation, &self.arn)),
        }
    }

    fn must_be_enabled(&self) -> Result<(), Answer> {
        match self.state.as_str() {
            "Enabled" => Ok(()),
            "Disabled" => Err(refused(
                "DisabledException",
                format!("{} is disabled.", self.arn),
            )),
            state => Err(refused(
                "KMSInvalidStateException",
                format!("{} is {state}.", self.arn),
            )),
        }
    }

    fn id(&self) -> &str {
        self.arn.rsplit('/').next().expect("an ARN has parts")
    }

    fn describe(&self) -> Value {
        json!({ "KeyMetadata": {
            "Arn": self.arn, "KeyId": self.id(), "KeyState": self.state, "Enabled": self.state == "Enabled",
            "KeySpec": "SYMMETRIC_DEFAULT", "KeyUsage": "ENCRYPT_DECRYPT", "Origin": "AWS_KMS", "KeyManager": "CUSTOMER",
        }})
    }

    fn generate(&self, body: &Value) -> Outcome {
        assert_eq!(body["KeySpec"], "AES_256");
        let plaintext = [*Uuid::new_v4().as_bytes(), *Uuid::new_v4().as_bytes()].concat();
        Ok(json!({
            "KeyId": self.arn,
            "Plaintext": Base64::encode_string(&plaintext),
            "CiphertextBlob": Base64::encode_string(&self.seal(&plaintext, &body["EncryptionContext"])),
        }))
    }

    fn encrypt_given(&self, body: &Value) -> Outcome {
        let plaintext = bytes(&body["Plaintext"])?;
        let blob = self.seal(&plaintext, &body["EncryptionContext"]);
        Ok(json!({ "KeyId": self.arn, "CiphertextBlob": Base64::encode_string(&blob) }))
    }

    fn decrypt(&self, body: &Value) -> Outcome {
        let blob = bytes(&body["CiphertextBlob"])?;
        let wrong = || refused("InvalidCiphertextException", "");
        if blob.len() < KEY_ID_BYTES + NONCE_BYTES {
            return Err(wrong());
        }
        let (id, sealed) = blob.split_at(KEY_ID_BYTES);
        if std::str::from_utf8(id).is_ok_and(|id| Uuid::parse_str(id).is_ok())
            && id != self.id().as_bytes()
        {
            return Err(refused(
                "IncorrectKeyException",
                "The key ID in the request does not identify a CMK that can perform this operation.",
            ));
        }
        let (nonce, sealed) = sealed.split_at(NONCE_BYTES);
        let aad = canonical(&body["EncryptionContext"]);
        let nonce: [u8; NONCE_BYTES] = nonce.try_into().expect("split there");
        let opened = self.cipher().decrypt(
            &nonce.into(),
            Payload {
                msg: sealed,
                aad: aad.as_bytes(),
            },
        );
        let plaintext = opened.map_err(|_| wrong())?;
        Ok(
            json!({ "KeyId": self.arn, "Plaintext": Base64::encode_string(&plaintext), "EncryptionAlgorithm": "SYMMETRIC_DEFAULT" }),
        )
    }

    fn seal(&self, plaintext: &[u8], context: &Value) -> Vec<u8> {
        let nonce: [u8; NONCE_BYTES] = Uuid::new_v4().as_bytes()[..NONCE_BYTES]
            .try_into()
            .expect("twelve of sixteen");
        let aad = canonical(context);
        let sealed = self
            .cipher()
            .encrypt(
                &nonce.into(),
                Payload {
                    msg: plaintext,
                    aad: aad.as_bytes(),
                },
            )
            .expect("short messages can be sealed");
        [self.id().as_bytes(), &nonce, &sealed].concat()
    }

    fn cipher(&self) -> Aes256Gcm {
        Aes256Gcm::new(&self.material.into())
    }

    fn create_grant(&mut self, body: &Value, spread_late: bool, grants_max: usize) -> Outcome {
        let text = |name: &str| body[name].as_str().map(str::to_owned);
        let grant = Grant {
            id: Uuid::new_v4().simple().to_string(),
            name: text("Name"),
            token: Uuid::new_v4().simple().to_string(),
            grantee: text("GranteePrincipal").unwrap_or_default(),
            operations: texts(&body["Operations"]),
            context: body["Constraints"].get("EncryptionContextEquals").cloned(),
            spread: !spread_late,
        };
        let twin = self.grants.iter_mut().find(|old| {
            (&old.name, &old.grantee, &old.operations, &old.context)
                == (
                    &grant.name,
                    &grant.grantee,
                    &grant.operations,
                    &grant.context,
                )
                && old.name.is_some()
        });
        if let Some(twin) = twin {
            return Ok(json!({ "GrantId": twin.id, "GrantToken": twin.token }));
        }
        if self.grants.len() >= grants_max {
            return Err(refused(
                "LimitExceededException",
                format!("Grants per CMK limit of {grants_max} exceeded"),
            ));
        }
        let made = json!({ "GrantId": grant.id, "GrantToken": grant.token });
        self.grants.push(grant);
        Ok(made)
    }

    /// In short pages, so that a client must ask for more.
    fn list_grants(&self, body: &Value) -> Value {
        let start = body["Marker"]
            .as_str()
            .and_then(|marker| marker.parse().ok())
            .unwrap_or(0);
        let wanted = body["GranteePrincipal"].as_str();
        let fitting: Vec<&Grant> = self
            .grants
            .iter()
            .filter(|grant| wanted.is_none_or(|wanted| grant.grantee == wanted))
            .collect();
        let page = fitting.iter().skip(start).take(GRANTS_IN_A_PAGE).map(|grant| {
            json!({ "KeyId": self.arn, "GrantId": grant.id, "Name": grant.name, "GranteePrincipal": grant.grantee, "Operations": grant.operations })
        });
        let end = start + GRANTS_IN_A_PAGE;
        let mut answer =
            json!({ "Grants": page.collect::<Vec<_>>(), "Truncated": end < fitting.len() });
        if end < fitting.len() {
            answer["NextMarker"] = end.to_string().into();
        }
        answer
    }
}

/// Policies and grants name a role; who acts is a session of it.
fn principal(caller: &Caller) -> String {
    match caller.arn.split_once(":assumed-role/") {
        Some((head, tail)) => {
            let role = tail.split('/').next().expect("a session has a role");
            format!("{}:role/{role}", head.replacen(":sts:", ":iam:", 1))
        }
        None => caller.arn.clone(),
    }
}

fn not_authorized(caller: &Caller, operation: &str, arn: &str) -> Answer {
    refused(
        "AccessDeniedException",
        format!(
            "User: {} is not authorized to perform: kms:{operation} on resource: {arn} because no resource-based policy allows the kms:{operation} action",
            caller.arn
        ),
    )
}

/// The same text for the same context, in whatever order it came.
fn canonical(context: &Value) -> String {
    let sorted: BTreeMap<_, _> = context.as_object().into_iter().flatten().collect();
    format!("{sorted:?}")
}

fn texts(list: &Value) -> Vec<String> {
    list.as_array()
        .into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

fn bytes(value: &Value) -> Result<Vec<u8>, Answer> {
    let text = value.as_str().unwrap_or_default();
    Base64::decode_vec(text).map_err(|_| refused("SerializationException", "Base64"))
}
