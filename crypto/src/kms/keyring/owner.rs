//! What an owner does to keys: make, import, rotate, disable and enable, delete in days, name.
//!
//! ```text
//!           disable                schedule-deletion (7 to 30 days)
//! Enabled ----------> Disabled ------------------------------------> PendingDeletion --date--> destroyed
//!    ^  <----------      ^ \______________________________________________/  |
//!    |     enable        |                                            ^      |
//!    +-------------------+--------- schedule-deletion ----------------+      |
//!                        +------------------ cancel-deletion ----------------+
//! ```
//!
//! A rotation adds material and forgets none: what the older ones had encrypted still decrypts. What is destroyed is gone for good, unless the
//! owner has brought its material and brings it again.

use std::collections::BTreeMap;

use zeroize::Zeroizing;

use super::contents::{
    ALIASES_MAX, Body, Contents, DestroyedKey, Entry, KEYS_MAX, Key, KeyPolicy, KeyState,
    KeyringGrant, MATERIALS_MAX, Origin, SERVICE_NAMES_MAX, State, not_found,
};
use super::date::UnixSeconds;
use super::history::KeyringMoment;
use super::snapshot::{Place, Snapshot, locked};
use super::{Keyring, Write};
use crate::error::{Error, Result};
use crate::hex;
use crate::keys::CmkRef;
use crate::kms::blob::Material;
use crate::secret::Secret;

/// Days until a key's material is destroyed, as in AWS KMS.
const DELETION_DAYS: std::ops::RangeInclusive<u32> = 7..=30;

/// What may be shown of a key.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct KeyringEntry {
    /// The key's name; `local:NAME` refers to it.
    pub name: String,
    /// May it be used?
    pub state: KeyState,
    /// By whom?
    pub policy: KeyPolicy,
    /// Tells the material that encrypts from any other; public.
    pub material_id: [u8; 16],
    /// How often new material became the one that encrypts.
    pub rotations: usize,
    /// When its material will be destroyed, if its deletion is scheduled.
    pub deletion: Option<UnixSeconds>,
    /// How many live grants it has.
    pub grants: usize,
    /// How many revoked ones are remembered.
    pub revoked: usize,
    /// Its other names.
    pub aliases: Vec<String>,
    /// By which names servers call it that have it for their own key.
    pub service: Vec<String>,
}

/// What may be shown of a keyring.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct KeyringOverview {
    /// How many edits were made, and which file it is.
    pub moment: KeyringMoment,
    /// When the newest one was, by the file's own date.
    pub written: UnixSeconds,
    /// The salt of the passphrase under which its material is sealed, if it is: each passphrase that is set has another one. Public.
    pub salt: Option<[u8; 16]>,
    /// SHA-256 of each credential that may make grants.
    pub grantors: Vec<[u8; 32]>,
    /// The live grants, by the names of their keys.
    pub grants: BTreeMap<String, Vec<KeyringGrant>>,
    /// All keys, in the order of their making.
    pub keys: Vec<KeyringEntry>,
    /// The keys that are no more, the oldest first.
    pub destroyed: Vec<DestroyedKey>,
}

impl Keyring {
    /// Makes a key with fresh material, enabled, open to whoever holds the keyring.
    pub fn key_create(&self, name: &str) -> Result<CmkRef> {
        self.key_create_with_policy(name, KeyPolicy::Open)
    }

    /// Makes a key with fresh material, enabled.
    pub fn key_create_with_policy(&self, name: &str, policy: KeyPolicy) -> Result<CmkRef> {
        let reference = CmkRef::local(name)?;
        self.change(|contents| {
            if let Some(key) = contents.destroyed.iter().find(|key| key.name == name) {
                return Err(Error::invalid(format!(
                    "the key {reference} was destroyed on {}; a name is not given twice",
                    key.at
                )));
            }
            let material = Material::random(self.entropy());
            self.add_key(contents, name, policy, material, Origin::Generated)
        })?;
        Ok(reference)
    }

    /// Makes a key of material that its owner brings. The name may be that of a destroyed key: the same material opens what it had sealed.
    pub fn key_import(
        &self,
        name: &str,
        material: Secret<32>,
        policy: KeyPolicy,
    ) -> Result<CmkRef> {
        let reference = CmkRef::local(name)?;
        self.change(|contents| {
            contents.destroyed.retain(|key| key.name != name);
            let material = Material::imported(material);
            self.add_key(contents, name, policy, material, Origin::Imported)
        })?;
        Ok(reference)
    }

    /// Reads the material that an owner brings: 32 bytes, or 64 hexadecimal digits and perhaps a newline.
    pub fn read_material(bytes: &[u8]) -> Result<Secret<32>> {
        if let Some(secret) = Secret::from_slice(bytes) {
            return Ok(secret);
        }
        let digits = bytes.strip_suffix(b"\n").unwrap_or(bytes);
        let lower = Zeroizing::new(digits.to_ascii_lowercase());
        let text = std::str::from_utf8(&lower).unwrap_or_default();
        let mut read = None;
        let secret = Secret::filled(|out| read = hex::decode_into(text, out));
        read.map(|()| secret)
            .ok_or_else(|| Error::invalid("key material is 32 bytes, or 64 hexadecimal digits"))
    }

    fn add_key(
        &self,
        contents: &mut Contents<Body>,
        name: &str,
        policy: KeyPolicy,
        material: Material,
        origin: Origin,
    ) -> Result<()> {
        contents.check_free(name)?;
        if contents.keys.len() == KEYS_MAX {
            return Err(Error::invalid(format!(
                "a keyring holds at most {KEYS_MAX} keys"
            )));
        }
        let entry = self.entry_of(contents, name, material, origin)?;
        contents.keys.push(Key::new(name, policy, vec![entry]));
        Ok(())
    }

    /// A server has this key for its own, and calls it by this name: from now on it is not taken away, and the name not led elsewhere, whoever asks for that.
    pub fn key_mark_service(&self, name: &str) -> Result<()> {
        let is_marked = |key: &Key<Place>| key.service.iter().any(|known| known == name);
        if self.look(|snapshot| Ok(is_marked(self.present(snapshot, name)?)))? {
            return Ok(());
        }
        self.change(|contents| {
            let key = contents.key_mut(name)?;
            if key.service.len() == SERVICE_NAMES_MAX {
                return Err(Error::invalid(format!(
                    "local:{name} is called by {SERVICE_NAMES_MAX} names already by servers whose own key it is"
                )));
            }
            key.service.push(name.to_owned());
            Ok(())
        })
    }

    /// No server has this key for its own: it may be taken away again. Which names are no longer kept? A server that has it all the same marks it with its next
    /// start, and cannot start once the key is gone.
    pub fn key_unmark_service(&self, name: &str) -> Result<Vec<String>> {
        if self.look(|snapshot| Ok(self.present(snapshot, name)?.service.is_empty()))? {
            return Ok(Vec::new());
        }
        self.change(|contents| Ok(std::mem::take(&mut contents.key_mut(name)?.service)))
    }

    /// Gives a key new material, which encrypts from now on. How often was that done?
    pub fn key_rotate(&self, name: &str) -> Result<usize> {
        self.change(|contents| {
            let key = contents.key_mut(name)?;
            key.usable(self.now())?;
            if key.materials.len() == MATERIALS_MAX {
                return Err(Error::invalid(format!(
                    "the key local:{} has {MATERIALS_MAX} materials, as many as a key keeps; make a new key and switch its tables",
                    key.name
                )));
            }
            let own = key.name.clone();
            let material = Material::random(self.entropy());
            let entry = self.entry_of(contents, &own, material, Origin::Generated)?;
            let key = contents.key_mut(&own)?;
            key.materials.push(entry);
            Ok(key.materials.len() - 1)
        })
    }

    /// Lets a key be used again.
    pub fn key_enable(&self, name: &str) -> Result<()> {
        self.set_state(name, State::Enabled)
    }

    /// Stops all use of a key; a server that uses it learns it at its next Decrypt.
    pub fn key_disable(&self, name: &str) -> Result<()> {
        self.set_state(name, State::Disabled)
    }

    fn set_state(&self, name: &str, state: State) -> Result<()> {
        self.change(|contents| {
            let key = contents.key_mut(name)?;
            if let State::PendingDeletion { date } = key.state {
                return Err(Error::invalid(format!(
                    "the key local:{} will be deleted on {date}; cancel that first",
                    key.name
                )));
            }
            match state {
                State::Enabled => {}
                State::Disabled => key.check_not_service("disabled")?,
                State::PendingDeletion { .. } => key.check_not_service("deleted")?,
            }
            key.state = state;
            Ok(())
        })
    }

    /// Stops all use of a key at once, and destroys its material after so many days. Gives the date.
    pub fn key_schedule_deletion(&self, name: &str, days: u32) -> Result<UnixSeconds> {
        if !DELETION_DAYS.contains(&days) {
            return Err(Error::invalid(format!(
                "a key is deleted after {} to {} days",
                DELETION_DAYS.start(),
                DELETION_DAYS.end()
            )));
        }
        let date = self.now().plus_days(days);
        self.set_state(name, State::PendingDeletion { date })?;
        Ok(date)
    }

    /// Keeps a key that was to be deleted, disabled.
    pub fn key_cancel_deletion(&self, name: &str) -> Result<()> {
        self.change(|contents| {
            let key = contents.key_mut(name)?;
            if !matches!(key.state, State::PendingDeletion { .. }) {
                return Err(Error::invalid(format!(
                    "no deletion of the key local:{} is scheduled",
                    key.name
                )));
            }
            key.state = State::Disabled;
            Ok(())
        })
    }

    /// Says who may use a key.
    pub fn key_set_policy(&self, name: &str, policy: KeyPolicy) -> Result<()> {
        self.change(|contents| {
            let key = contents.key_mut(name)?;
            if policy == KeyPolicy::GrantsOnly {
                key.check_not_service("grants-only")?;
            }
            key.policy = policy;
            Ok(())
        })
    }

    /// Gives a key another name, or the name that was another key's alias.
    pub fn alias_set(&self, alias: &str, target: &str) -> Result<()> {
        CmkRef::local(alias)?;
        self.change(|contents| {
            if contents.find(alias).is_some() {
                return Err(Error::invalid(format!("local:{alias} is a key's own name")));
            }
            check_not_called(contents, alias)?;
            if contents.aliases.len() == ALIASES_MAX && !contents.aliases.contains_key(alias) {
                return Err(Error::invalid(format!(
                    "a keyring holds at most {ALIASES_MAX} aliases"
                )));
            }
            let own = contents.key_mut(target)?.name.clone();
            contents.aliases.insert(alias.to_owned(), own);
            Ok(())
        })
    }

    /// Takes an alias away. The key keeps its own name.
    pub fn alias_remove(&self, alias: &str) -> Result<()> {
        self.change(|contents| {
            check_not_called(contents, alias)?;
            match contents.aliases.remove(alias) {
                Some(_) => Ok(()),
                None => Err(Error::invalid(format!("there is no alias local:{alias}"))),
            }
        })
    }

    /// All keys, in the order of their making; overdue ones, too, whose material stands in the file until the next edit.
    pub fn key_list(&self) -> Result<Vec<KeyringEntry>> {
        self.look(|snapshot| {
            let contents = &snapshot.index.contents;
            Ok(contents
                .keys
                .iter()
                .map(|key| contents.entry(key))
                .collect())
        })
    }

    /// All that may be shown, of one moment.
    pub fn overview(&self) -> Result<KeyringOverview> {
        self.look(|snapshot| Ok(snapshot.overview()))
    }

    /// The keys that are no more, the oldest first.
    pub fn key_list_destroyed(&self) -> Result<Vec<DestroyedKey>> {
        self.look(|snapshot| Ok(snapshot.index.contents.destroyed.clone()))
    }

    /// The key's own name, by itself or by an alias.
    pub fn key_resolve(&self, name: &str) -> Result<CmkRef> {
        self.look(|snapshot| CmkRef::local(&self.present(snapshot, name)?.name))
    }

    /// A key that is there: one whose date has come is not, although the next edit only destroys it.
    pub(super) fn present<'a>(&self, snapshot: &'a Snapshot, name: &str) -> Result<&'a Key<Place>> {
        let key = snapshot.index.find(name)?;
        match key.state.is_overdue(self.now()) {
            true => Err(not_found(name)),
            false => Ok(key),
        }
    }

    /// New material as the file keeps it: sealed, where a passphrase protects the file.
    fn entry_of(
        &self,
        contents: &Contents<Body>,
        name: &str,
        material: Material,
        origin: Origin,
    ) -> Result<Entry<Body>> {
        let body = match &contents.protection {
            None => Body::Plain(material.secret),
            Some(protection) => {
                let unlocked = self
                    .unlocked()
                    .filter(|unlocked| protection.is_of(unlocked))
                    .ok_or_else(locked)?;
                Body::Sealed(unlocked.seal(name, &material.id, &material.secret, self.entropy()))
            }
        };
        Ok(Entry {
            id: material.id,
            created: self.now(),
            origin,
            body,
        })
    }

    fn change<T>(&self, change: impl FnOnce(&mut Contents<Body>) -> Result<T>) -> Result<T> {
        self.edit(|contents| change(contents).map(|answer| (answer, Write::Yes)))
    }
}

/// Refuses to lead an alias elsewhere by which a server calls its own key.
fn check_not_called<M>(contents: &Contents<M>, alias: &str) -> Result<()> {
    let target = contents.aliases.get(alias);
    let key = target.and_then(|target| contents.find(target));
    match key.is_some_and(|key| key.service.iter().any(|name| name == alias)) {
        false => Ok(()),
        true => Err(Error::invalid(format!(
            "local:{alias} is what a server calls its own key; it must stay what it is"
        ))),
    }
}

impl Snapshot {
    pub(super) fn overview(&self) -> KeyringOverview {
        let contents = &self.index.contents;
        KeyringOverview {
            moment: self.moment(),
            written: self.written(),
            salt: contents.protection.as_ref().map(|known| known.salt),
            grantors: contents.grantors.clone(),
            grants: contents
                .keys
                .iter()
                .filter(|key| !key.grants.is_empty())
                .map(|key| (key.name.clone(), key.grants.clone()))
                .collect(),
            keys: contents
                .keys
                .iter()
                .map(|key| contents.entry(key))
                .collect(),
            destroyed: contents.destroyed.clone(),
        }
    }
}

impl<M> Contents<M> {
    fn entry(&self, key: &Key<M>) -> KeyringEntry {
        KeyringEntry {
            service: key.service.clone(),
            name: key.name.clone(),
            state: key.state.public(),
            policy: key.policy,
            material_id: key.current().id,
            rotations: key.materials.len() - 1,
            deletion: match key.state {
                State::PendingDeletion { date } => Some(date),
                _ => None,
            },
            grants: key.grants.len(),
            revoked: key.revoked.len(),
            aliases: self
                .aliases
                .iter()
                .filter(|(_, target)| **target == key.name)
                .map(|(alias, _)| alias.clone())
                .collect(),
        }
    }
}
