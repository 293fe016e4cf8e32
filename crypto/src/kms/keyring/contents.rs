//! What a keyring means: keys with their material, policy and grants; aliases; who may make grants; what was destroyed.
//!
//! `M` is what stands for the bytes of a material: its digits in a text that was just read, the bytes themselves while the keyring is edited, or
//! only the place of the digits in the file while it is asked. So what is kept between calls holds no key.
//!
//! What must hold, and is checked when a file is read as when it is edited: names are unique, keys' and aliases' together; an alias leads to a
//! key, never to an alias; a key has at least one material, the newest last; every count has a limit.

use std::collections::{BTreeMap, HashSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use super::date::UnixSeconds;
use super::history::{FileDigest, HISTORY_MAX};
use super::passphrase::{Protection, SEALED_BYTES};
use crate::error::{DenialReason, Error, Result};
use crate::keys::{CmkRef, EncryptionContext};
use crate::kms::{GrantId, GrantOperation, GrantRequest};
use crate::secret::Secret;

/// Far more than anyone names by hand.
pub(super) const KEYS_MAX: usize = 10_000;
pub(super) const ALIASES_MAX: usize = 10_000;
/// Destroyed names that are remembered; the oldest make room.
pub(super) const DESTROYED_MAX: usize = 10_000;
/// A rotation each month for eight years.
pub(super) const MATERIALS_MAX: usize = 100;
/// As Keyspaces documents it for AWS KMS.
pub(super) const GRANTS_MAX: usize = 50_000;
/// Revoked grants of one key that are remembered; the oldest make room, and then their tables are told AccessDenied.
pub(super) const REVOKED_MAX: usize = 1_000;
/// Names by which servers call one key their own.
pub(super) const SERVICE_NAMES_MAX: usize = 16;
/// Credentials that may make grants.
pub(super) const GRANTORS_MAX: usize = 16;
const GRANT_NAME_BYTES_MAX: usize = 256;
const CONTEXT_ENTRIES_MAX: usize = 16;
const CONTEXT_TEXT_BYTES_MAX: usize = 1024;

/// All of it.
#[derive(PartialEq, Debug)]
pub(super) struct Contents<M> {
    pub edits: u64,
    /// Of the files that the newest edits have replaced, the newest last.
    pub history: Vec<FileDigest>,
    pub protection: Option<Protection>,
    /// SHA-256 of each credential that may make grants.
    pub grantors: Vec<[u8; 32]>,
    pub keys: Vec<Key<M>>,
    /// Alias to key.
    pub aliases: BTreeMap<String, String>,
    /// The oldest first.
    pub destroyed: Vec<DestroyedKey>,
}

/// One key.
#[derive(PartialEq, Debug)]
pub(super) struct Key<M> {
    pub name: String,
    pub state: State,
    pub policy: KeyPolicy,
    /// By which names servers call it that have it for their own key: while there are any it is not taken away, whoever types that. What its owner had taken from
    /// everybody before the first server marked it (a policy of grants only) stays as it was.
    pub service: Vec<String>,
    /// The newest last; it is the one that encrypts.
    pub materials: Vec<Entry<M>>,
    pub grants: Vec<KeyringGrant>,
    /// The oldest first.
    pub revoked: Vec<KeyringGrant>,
}

impl<M> Key<M> {
    /// A key as it is made: enabled, without grants, nobody's own.
    pub fn new(name: &str, policy: KeyPolicy, materials: Vec<Entry<M>>) -> Self {
        Key {
            name: name.to_owned(),
            state: State::Enabled,
            policy,
            service: Vec::new(),
            materials,
            grants: Vec::new(),
            revoked: Vec::new(),
        }
    }
}

/// One material of a key.
#[derive(PartialEq, Debug)]
pub(super) struct Entry<M> {
    pub id: [u8; 16],
    pub created: UnixSeconds,
    pub origin: Origin,
    pub body: M,
}

/// The bytes of a material.
#[derive(PartialEq)]
pub(super) enum Body {
    Plain(Secret<32>),
    Sealed([u8; SEALED_BYTES]),
}

/// Without the bytes.
impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Body::Plain(_) => "Plain(..)",
            Body::Sealed(_) => "Sealed(..)",
        })
    }
}

/// May the key be used?
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(super) enum State {
    Enabled,
    Disabled,
    PendingDeletion { date: UnixSeconds },
}

/// May a key of the keyring be used?
#[derive(Copy, Clone, Eq, PartialEq, Hash, Debug, Serialize, Deserialize)]
pub enum KeyState {
    /// Yes.
    Enabled,
    /// Not until it is enabled again.
    Disabled,
    /// Not until its deletion is cancelled; after its date never again.
    PendingDeletion,
}

/// Who may use a key of the keyring?
#[derive(Copy, Clone, Eq, PartialEq, Hash, Debug, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum KeyPolicy {
    /// Whoever holds the keyring, for every table.
    Open,
    /// Whoever holds the keyring, for what a grant allows.
    GrantsOnly,
}

/// Where a material comes from.
#[derive(Copy, Clone, Eq, PartialEq, Debug, Serialize, Deserialize)]
pub(super) enum Origin {
    Generated,
    Imported,
}

/// Who made a grant?
#[derive(Copy, Clone, Eq, PartialEq, Hash, Debug, Serialize, Deserialize)]
pub enum GrantMaker {
    /// The key's owner, by hand.
    Owner,
    /// A server, by its separate credential.
    Server,
}

/// A grant as the keyring keeps it.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct KeyringGrant {
    /// Drawn at random.
    pub id: GrantId,
    /// For people's eyes.
    pub name: String,
    /// Who made it.
    pub maker: GrantMaker,
    /// When.
    pub created: UnixSeconds,
    /// What it allows.
    pub operations: Vec<GrantOperation>,
    /// Each of these entries must stand in a call's context. Describing and retiring have none.
    pub context: EncryptionContext,
}

/// A key whose material was destroyed.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct DestroyedKey {
    /// What it was called. A new key of that name is not made; its owner may import the material again.
    pub name: String,
    /// When.
    pub at: UnixSeconds,
}

impl<M> Default for Contents<M> {
    fn default() -> Self {
        Contents {
            edits: 0,
            history: Vec::new(),
            protection: None,
            grantors: Vec::new(),
            keys: Vec::new(),
            aliases: BTreeMap::new(),
            destroyed: Vec::new(),
        }
    }
}

impl<M> Contents<M> {
    /// A key by its own name.
    pub fn find(&self, name: &str) -> Option<&Key<M>> {
        self.keys.iter().find(|key| key.name == name)
    }

    /// A key by its own name or an alias, for whoever changes it.
    pub fn key_mut(&mut self, name: &str) -> Result<&mut Key<M>> {
        let own = self.aliases.get(name).map_or(name, String::as_str);
        self.keys
            .iter_mut()
            .find(|key| key.name == own)
            .ok_or_else(|| not_found(name))
    }

    /// A name for a new key or alias?
    pub fn check_free(&self, name: &str) -> Result<()> {
        let taken = self.aliases.contains_key(name) || self.find(name).is_some();
        match taken {
            true => Err(Error::invalid(format!(
                "the key local:{name} exists already"
            ))),
            false => Ok(()),
        }
    }

    /// Destroys the keys whose date has come. Were there any?
    pub fn destroy_overdue(&mut self, now: UnixSeconds) -> bool {
        let before = self.keys.len();
        let destroyed = &mut self.destroyed;
        self.keys.retain(|key| match key.state.is_overdue(now) {
            true => {
                destroyed.push(DestroyedKey {
                    name: key.name.clone(),
                    at: now,
                });
                false
            }
            false => true,
        });
        let surplus = destroyed.len().saturating_sub(DESTROYED_MAX);
        destroyed.drain(..surplus);
        let keys = &self.keys;
        self.aliases
            .retain(|_, target| keys.iter().any(|key| key.name == *target));
        self.keys.len() < before
    }

    /// The same with something else for each material.
    pub fn map<N>(
        self,
        mut body: impl FnMut(&str, &[u8; 16], M) -> Result<N>,
    ) -> Result<Contents<N>> {
        let keys: Result<Vec<Key<N>>> = self
            .keys
            .into_iter()
            .map(|key| key.map(&mut body))
            .collect();
        Ok(Contents {
            edits: self.edits,
            history: self.history,
            protection: self.protection,
            grantors: self.grantors,
            keys: keys?,
            aliases: self.aliases,
            destroyed: self.destroyed,
        })
    }

    /// Says what does not hold.
    pub fn check(&self) -> std::result::Result<(), &'static str> {
        if self.history.len() > HISTORY_MAX || self.history.len() as u64 > self.edits {
            return Err("its history is longer than it may be");
        }
        let mut names = HashSet::new();
        for name in self
            .keys
            .iter()
            .map(|key| &key.name)
            .chain(self.aliases.keys())
        {
            if CmkRef::local(name).is_err() {
                return Err("a key's name is wrong");
            }
            if !names.insert(name.as_str()) {
                return Err("two keys have one name");
            }
        }
        let owned: HashSet<&str> = self.keys.iter().map(|key| key.name.as_str()).collect();
        if self
            .aliases
            .values()
            .any(|target| !owned.contains(target.as_str()))
        {
            return Err("an alias leads nowhere");
        }
        if self.keys.len() > KEYS_MAX
            || self.aliases.len() > ALIASES_MAX
            || self.destroyed.len() > DESTROYED_MAX
            || self.grantors.len() > GRANTORS_MAX
        {
            return Err("more keys, aliases or grantors than a keyring holds");
        }
        if self
            .destroyed
            .iter()
            .any(|key| CmkRef::local(&key.name).is_err())
        {
            return Err("a destroyed key's name is wrong");
        }
        if self
            .protection
            .as_ref()
            .is_some_and(|protection| !protection.cost.is_sane())
        {
            return Err("its passphrase costs more than this release spends, or next to nothing");
        }
        self.keys.iter().try_for_each(Key::check)
    }
}

impl<M> Key<M> {
    /// The material that encrypts.
    pub fn current(&self) -> &Entry<M> {
        self.materials
            .last()
            .expect("a key has material: checked when read and kept by every edit")
    }

    /// Refuses to take the key away from a server whose own it is.
    pub fn check_not_service(&self, done: &str) -> Result<()> {
        match self.service.is_empty() {
            true => Ok(()),
            false => Err(Error::invalid(format!(
                "local:{} is the service's own key; it cannot be {done}",
                self.name
            ))),
        }
    }

    /// Says why the key is not to be used at all.
    pub fn denial(&self, now: UnixSeconds) -> Option<DenialReason> {
        match self.state {
            State::Enabled => None,
            State::Disabled => Some(DenialReason::Disabled),
            State::PendingDeletion { .. } if self.state.is_overdue(now) => {
                Some(DenialReason::NotFound)
            }
            State::PendingDeletion { .. } => Some(DenialReason::PendingDeletion),
        }
    }

    /// The same, as an error.
    pub fn usable(&self, now: UnixSeconds) -> Result<()> {
        let name = &self.name;
        let Some(reason) = self.denial(now) else {
            return Ok(());
        };
        Err(match self.state {
            _ if reason == DenialReason::NotFound => not_found(name),
            State::PendingDeletion { date } => Error::denied(
                reason,
                format!("the key local:{name} will be deleted on {date}"),
            ),
            _ => Error::denied(reason, format!("the key local:{name} is disabled")),
        })
    }

    fn map<N>(self, body: &mut impl FnMut(&str, &[u8; 16], M) -> Result<N>) -> Result<Key<N>> {
        let name = &self.name;
        let materials: Result<Vec<Entry<N>>> = self
            .materials
            .into_iter()
            .map(|entry| {
                Ok(Entry {
                    id: entry.id,
                    created: entry.created,
                    origin: entry.origin,
                    body: body(name, &entry.id, entry.body)?,
                })
            })
            .collect();
        Ok(Key {
            materials: materials?,
            name: self.name,
            state: self.state,
            policy: self.policy,
            service: self.service,
            grants: self.grants,
            revoked: self.revoked,
        })
    }

    fn check(&self) -> std::result::Result<(), &'static str> {
        let ids: HashSet<&[u8; 16]> = self.materials.iter().map(|entry| &entry.id).collect();
        if ids.is_empty() || ids.len() < self.materials.len() || ids.len() > MATERIALS_MAX {
            return Err("a key has no material, one twice, or too many");
        }
        if self.service.len() > SERVICE_NAMES_MAX
            || self.service.iter().any(|name| CmkRef::local(name).is_err())
        {
            return Err("the names by which servers call a key their own are wrong");
        }
        if self.grants.len() > GRANTS_MAX || self.revoked.len() > REVOKED_MAX {
            return Err("a key has more grants than it may");
        }
        let grants = || self.grants.iter().chain(&self.revoked);
        let grant_ids: HashSet<&GrantId> = grants().map(|grant| &grant.id).collect();
        if grant_ids.len() < self.grants.len() + self.revoked.len() {
            return Err("two grants of a key have one id");
        }
        match grants()
            .all(|grant| check_grant(&grant.name, &grant.operations, &grant.context).is_ok())
        {
            true => Ok(()),
            false => Err("a grant's name, operations or context is wrong"),
        }
    }
}

impl State {
    pub fn is_overdue(self, now: UnixSeconds) -> bool {
        matches!(self, State::PendingDeletion { date } if date <= now)
    }

    pub fn public(self) -> KeyState {
        match self {
            State::Enabled => KeyState::Enabled,
            State::Disabled => KeyState::Disabled,
            State::PendingDeletion { .. } => KeyState::PendingDeletion,
        }
    }
}

/// Can there be such a grant?
pub(super) fn check_request(request: &GrantRequest) -> Result<()> {
    check_grant(&request.name, &request.operations, &request.context)
}

fn check_grant(
    name: &str,
    operations: &[GrantOperation],
    context: &EncryptionContext,
) -> Result<()> {
    let is_text = |text: &str, bytes_max: usize| {
        text.len() <= bytes_max && !text.chars().any(char::is_control)
    };
    if !is_text(name, GRANT_NAME_BYTES_MAX) {
        return Err(Error::invalid(format!(
            "the name of a grant has at most {GRANT_NAME_BYTES_MAX} bytes and no control characters"
        )));
    }
    let distinct: HashSet<&GrantOperation> = operations.iter().collect();
    if operations.is_empty() || distinct.len() < operations.len() {
        return Err(Error::invalid(
            "a grant allows at least one operation, and each once",
        ));
    }
    let is_context = context.0.len() <= CONTEXT_ENTRIES_MAX
        && context.iter().all(|(name, value)| {
            is_text(name, CONTEXT_TEXT_BYTES_MAX) && is_text(value, CONTEXT_TEXT_BYTES_MAX)
        });
    match is_context {
        true => Ok(()),
        false => Err(Error::invalid(format!(
            "the context of a grant has at most {CONTEXT_ENTRIES_MAX} entries of at most {CONTEXT_TEXT_BYTES_MAX} bytes, without control characters"
        ))),
    }
}

pub(super) fn not_found(name: &str) -> Error {
    Error::denied(
        DenialReason::NotFound,
        format!("the keyring holds no key local:{name}"),
    )
}
