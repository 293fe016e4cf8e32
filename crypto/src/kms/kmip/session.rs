//! Work with one key on one connection.

use super::KeyName;
use super::answers::{Refusal, denial_of};
use super::line::{Answer, Line, unreachable_because};
use super::ttlv::{Item, Value};
use super::words::{self, operation, tag};
use crate::aead::{NONCE_BYTES, TAG_BYTES};
use crate::entropy::{Entropy, OsEntropy};
use crate::error::{DenialReason, Error, Result};
use crate::keys::{CmkRef, EncryptionContext};
use crate::kms::device_blob::{DeviceBlob, Probe, associated, refused_blob};
use crate::secret::Secret;

/// A key, and a connection to talk about it.
pub(super) struct Session {
    line: Line,
    id: String,
    /// The key's name as it was typed.
    key: String,
}

/// What a key's attributes say.
#[derive(Default)]
struct Attributes {
    state: Option<u32>,
    algorithm: Option<u32>,
    bits: Option<i32>,
    usage: Option<i32>,
}

impl Session {
    /// Finds the key that has this name.
    pub async fn begin(
        mut line: Line,
        name: KeyName<'_>,
        key: &CmkRef,
        request: &mut Option<String>,
    ) -> Result<Session> {
        let key = key.to_string();
        let id = match name {
            KeyName::Id(id) => id.to_owned(),
            KeyName::Name(name) => locate(&mut line, name, &key, request).await?,
        };
        Ok(Session { line, id, key })
    }

    /// The key's unique identifier.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Why the key may not be used now, if so; refuses a key that can never be.
    pub async fn describe(&mut self, request: &mut Option<String>) -> Result<Option<DenialReason>> {
        let attributes = self.attributes(request).await?;
        if attributes.algorithm != Some(words::AES) || attributes.bits != Some(256) {
            return Err(Error::invalid(format!(
                "{} is not an AES key of 256 bits",
                self.key
            )));
        }
        if let Some(reason) = denial_of(self.state_of(&attributes)?) {
            return Ok(Some(reason));
        }
        let may = |usage| attributes.usage.unwrap_or(0) & usage != 0;
        Ok(if !may(words::MAY_DECRYPT) {
            Some(DenialReason::Disabled)
        } else if !may(words::MAY_ENCRYPT) {
            // What stands under the key can still be read: its tables are not locked.
            Some(DenialReason::AccessDenied)
        } else {
            None
        })
    }

    /// Encrypts a data key.
    pub async fn seal(
        &mut self,
        plaintext: &Secret<32>,
        context: &EncryptionContext,
        request: &mut Option<String>,
    ) -> Result<Vec<u8>> {
        if let Some(reason) = self.describe(request).await? {
            return Err(self.denied(reason));
        }
        let blob = self
            .encrypt(plaintext, &associated(context), request)
            .await
            .map_err(|refusal| refusal.meaning(&self.key))?;
        Ok(blob.to_bytes())
    }

    /// Decrypts what `seal` made under the same key and an equal context.
    pub async fn open(
        &mut self,
        blob: &DeviceBlob,
        context: &EncryptionContext,
        request: &mut Option<String>,
    ) -> Result<Secret<32>> {
        let attributes = self.attributes(request).await?;
        if let Some(reason) = denial_of(self.state_of(&attributes)?) {
            return Err(self.denied(reason));
        }
        let associated = associated(context);
        let first = self.decrypt(blob, &associated, request).await;
        let answer = match first {
            Err(refusal) if refusal.may_be_the_blob() && self.works(request).await => {
                // The key works, so it is the blob, unless what failed was one bad moment.
                self.decrypt(blob, &associated, request).await
            }
            answer => return answer.map_err(|refusal| refusal.meaning(&self.key)),
        };
        answer.map_err(|refusal| {
            if refusal.may_be_the_blob() {
                refused_blob()
            } else {
                refusal.meaning(&self.key)
            }
        })
    }

    /// Seals and opens a probe.
    async fn works(&mut self, request: &mut Option<String>) -> bool {
        let probe = Probe::draw();
        let Ok(blob) = self.encrypt(&probe.0, Probe::ASSOCIATED, request).await else {
            return false;
        };
        let opened = self.decrypt(&blob, Probe::ASSOCIATED, request).await;
        opened.is_ok_and(|opened| probe.is(&opened))
    }

    async fn encrypt(
        &mut self,
        plaintext: &Secret<32>,
        associated: &[u8],
        request: &mut Option<String>,
    ) -> std::result::Result<DeviceBlob, Refusal> {
        let mut nonce = [0; NONCE_BYTES];
        OsEntropy.fill(&mut nonce);
        let payload = vec![
            Item::new(tag::UNIQUE_IDENTIFIER, Value::Text(&self.id)),
            gcm(),
            Item::new(tag::DATA, Value::Bytes(plaintext.expose())),
            Item::new(tag::IV_COUNTER_NONCE, Value::Bytes(&nonce)),
            additional(associated),
        ];
        let answer = self.line.ask(operation::ENCRYPT, payload, request).await?;
        let read = |payload: &Item<'_>| {
            let bytes = |tag| payload.get(tag).and_then(Item::bytes);
            let nonce = match bytes(tag::IV_COUNTER_NONCE) {
                Some(theirs) => theirs.try_into().ok()?,
                None => nonce,
            };
            Some(DeviceBlob {
                nonce,
                sealed: bytes(tag::DATA)?.try_into().ok()?,
                tag: bytes(tag::AUTHENTICATED_ENCRYPTION_TAG)?.try_into().ok()?,
            })
        };
        self.read(&answer, read)
    }

    async fn decrypt(
        &mut self,
        blob: &DeviceBlob,
        associated: &[u8],
        request: &mut Option<String>,
    ) -> std::result::Result<Secret<32>, Refusal> {
        let payload = vec![
            Item::new(tag::UNIQUE_IDENTIFIER, Value::Text(&self.id)),
            gcm(),
            Item::new(tag::DATA, Value::Bytes(&blob.sealed)),
            Item::new(tag::IV_COUNTER_NONCE, Value::Bytes(&blob.nonce)),
            additional(associated),
            Item::new(tag::AUTHENTICATED_ENCRYPTION_TAG, Value::Bytes(&blob.tag)),
        ];
        let answer = self.line.ask(operation::DECRYPT, payload, request).await?;
        self.read(&answer, |payload| {
            Secret::from_slice(payload.get(tag::DATA)?.bytes()?)
        })
    }

    /// Reads an answer that must be about this key.
    fn read<T>(
        &self,
        answer: &Answer,
        read: impl FnOnce(&Item<'_>) -> Option<T>,
    ) -> std::result::Result<T, Refusal> {
        let payload = answer.payload().map_err(Refusal::Broken)?;
        let id = payload.get(tag::UNIQUE_IDENTIFIER).and_then(Item::text);
        let value = if id == Some(&self.id) {
            read(&payload)
        } else {
            None
        };
        value.ok_or_else(|| {
            Refusal::Broken(unreachable_because(format!(
                "{}: the server's answer lacks what was asked for, or is about another key",
                self.key
            )))
        })
    }

    async fn attributes(&mut self, request: &mut Option<String>) -> Result<Attributes> {
        let names = [
            "State",
            "Cryptographic Algorithm",
            "Cryptographic Length",
            "Cryptographic Usage Mask",
        ];
        let mut payload = vec![Item::new(tag::UNIQUE_IDENTIFIER, Value::Text(&self.id))];
        payload.extend(names.map(|name| Item::new(tag::ATTRIBUTE_NAME, Value::Text(name))));
        let answer = self
            .line
            .ask(operation::GET_ATTRIBUTES, payload, request)
            .await
            .and_then(|answer| self.read(&answer, |payload| Some(attributes_in(payload))));
        answer.map_err(|refusal| refusal.meaning(&self.key))
    }

    fn state_of(&self, attributes: &Attributes) -> Result<u32> {
        attributes.state.ok_or_else(|| {
            unreachable_because(format!("{}: the server does not show its State", self.key))
        })
    }

    fn denied(&self, reason: DenialReason) -> Error {
        let what = "its State is not Active, or its usage mask forbids it";
        Error::denied(reason, format!("{}: {what}", self.key))
    }
}

async fn locate(
    line: &mut Line,
    name: &str,
    key: &str,
    request: &mut Option<String>,
) -> Result<String> {
    let payload = vec![
        Item::new(tag::MAXIMUM_ITEMS, Value::Integer(2)),
        Item::structure(
            tag::ATTRIBUTE,
            vec![
                Item::new(tag::ATTRIBUTE_NAME, Value::Text("Object Type")),
                Item::new(
                    tag::ATTRIBUTE_VALUE,
                    Value::Enumeration(words::SYMMETRIC_KEY),
                ),
            ],
        ),
        Item::structure(
            tag::ATTRIBUTE,
            vec![
                Item::new(tag::ATTRIBUTE_NAME, Value::Text("Name")),
                Item::structure(
                    tag::ATTRIBUTE_VALUE,
                    vec![
                        Item::new(tag::NAME_VALUE, Value::Text(name)),
                        Item::new(tag::NAME_TYPE, Value::Enumeration(words::TEXT_NAME)),
                    ],
                ),
            ],
        ),
    ];
    let answer = line
        .ask(operation::LOCATE, payload, request)
        .await
        .map_err(|refusal| refusal.meaning(key))?;
    let payload = answer.payload()?;
    let mut found = payload
        .items()
        .iter()
        .filter(|item| item.tag == tag::UNIQUE_IDENTIFIER)
        .filter_map(Item::text);
    match (found.next(), found.next()) {
        (Some(id), None) => Ok(id.to_owned()),
        (None, _) => Err(Error::denied(
            DenialReason::NotFound,
            format!("{key}: the server shows us no such key"),
        )),
        (Some(_), Some(_)) => Err(unreachable_because(format!(
            "{key}: more than one key has this name; kmip:id= names one"
        ))),
    }
}

fn attributes_in(payload: &Item<'_>) -> Attributes {
    let mut attributes = Attributes::default();
    for attribute in payload.items() {
        let name = attribute.get(tag::ATTRIBUTE_NAME).and_then(Item::text);
        let (Some(name), Some(value)) = (name, attribute.get(tag::ATTRIBUTE_VALUE)) else {
            continue;
        };
        match name {
            "State" => attributes.state = value.enumeration(),
            "Cryptographic Algorithm" => attributes.algorithm = value.enumeration(),
            "Cryptographic Length" => attributes.bits = value.integer(),
            "Cryptographic Usage Mask" => attributes.usage = value.integer(),
            _ => {}
        }
    }
    attributes
}

fn gcm<'a>() -> Item<'a> {
    Item::structure(
        tag::CRYPTOGRAPHIC_PARAMETERS,
        vec![
            Item::new(tag::BLOCK_CIPHER_MODE, Value::Enumeration(words::GCM)),
            Item::new(tag::CRYPTOGRAPHIC_ALGORITHM, Value::Enumeration(words::AES)),
            Item::new(tag::TAG_LENGTH, Value::Integer(TAG_BYTES as i32)),
        ],
    )
}

fn additional(associated: &[u8]) -> Item<'_> {
    Item::new(
        tag::AUTHENTICATED_ENCRYPTION_ADDITIONAL_DATA,
        Value::Bytes(associated),
    )
}
