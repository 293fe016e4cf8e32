//! What was done to the keyring's file, by whoever may write it: told by what it was and what it is.
//!
//! The server makes no edit of its owner's, and is told of none: it sees that the counter of edits has moved, compares, and records one event for each key that has
//! changed. So that edits made while it was stopped are seen, too, what it saw last is among its records, one for each key:
//!
//! ```text
//! kind "keyring_keys"    name: "key " and the key's name, or "keyring"     value: JSON, the texts below
//! ```
//!
//! Two edits that undo each other between two looks (a second) leave only the count of edits.

use std::collections::BTreeMap;

use palladium_crypto::{KeyPolicy, KeyState, KeyringEntry, KeyringOverview, hex};
use serde::{Deserialize, Serialize};

use crate::records::Change;

/// The kind of these records.
pub const KEYRING_KEYS: &str = "keyring_keys";
const KEYRING: &str = "keyring";
const KEY: &str = "key ";

/// What there is to be seen of one key, or of the keyring as a whole: what it is called, and how it stands.
type Facts = BTreeMap<String, String>;

/// A keyring as it was seen: by the names of records.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen(BTreeMap<String, Facts>);

/// What has changed of one key; None: of the keyring as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Changed {
    /// The key's name, without its provider.
    pub key: Option<String>,
    /// In words: `state Enabled to Disabled, grants 2 to 1`.
    pub what: String,
}

impl Seen {
    /// As it is now.
    pub fn of(overview: &KeyringOverview) -> Seen {
        let fact = |name: &str, value: String| (name.to_owned(), value);
        let mut seen: BTreeMap<String, Facts> = overview
            .keys
            .iter()
            .map(|key| (format!("{KEY}{}", key.name), facts(key)))
            .collect();
        for key in &overview.destroyed {
            // A key that was imported again stands among the living.
            seen.entry(format!("{KEY}{}", key.name))
                .or_insert_with(|| Facts::from([fact("state", "destroyed".into())]));
        }
        let passphrase = match overview.is_protected {
            true => "set",
            false => "none",
        };
        let whole = [
            fact("passphrase", passphrase.into()),
            fact("grantors", overview.grantors.to_string()),
        ];
        seen.insert(KEYRING.into(), Facts::from(whole));
        Seen(seen)
    }

    /// As it was written down; None if it never was.
    pub fn read(records: &[(bytes::Bytes, bytes::Bytes)]) -> Option<Seen> {
        let texts = records.iter().map(|(name, value)| {
            let name = std::str::from_utf8(name).ok()?.to_owned();
            Some((name, serde_json::from_slice(value).ok()?))
        });
        let seen: Option<BTreeMap<String, Facts>> = texts.collect();
        seen.filter(|seen| !seen.is_empty()).map(Seen)
    }

    /// What has changed since `before`.
    pub fn changes_since(&self, before: &Seen) -> Vec<Changed> {
        let none = Facts::new();
        let names = self.0.keys().chain(before.0.keys());
        let mut names: Vec<&String> = names.collect();
        names.sort();
        names.dedup();
        let changes = names.into_iter().filter_map(|name| {
            let (old, new) = (before.0.get(name), self.0.get(name));
            let what = match (old, new) {
                (None, Some(new)) => format!("made: {}", words(&none, new)),
                (Some(_), None) => "gone".into(),
                (old, new) => words(old.unwrap_or(&none), new.unwrap_or(&none)),
            };
            let key = name.strip_prefix(KEY).map(str::to_owned);
            (!what.is_empty()).then_some(Changed { key, what })
        });
        changes.collect()
    }

    /// What is to be written down, where `before` stands.
    pub fn records_since(&self, before: &Seen) -> Vec<Change> {
        let is_new = |name: &String, facts: &Facts| before.0.get(name) != Some(facts);
        let puts = self.0.iter().filter(|(name, facts)| is_new(name, facts));
        let puts = puts.map(|(name, facts)| {
            let value = serde_json::to_vec(facts).expect("texts have a JSON form");
            (name.clone().into_bytes(), Some(value))
        });
        let gone = before.0.keys().filter(|name| !self.0.contains_key(*name));
        puts.chain(gone.map(|name| (name.clone().into_bytes(), None)))
            .collect()
    }
}

fn facts(key: &KeyringEntry) -> Facts {
    let state = match (key.state, key.deletion) {
        (KeyState::Enabled, _) => "enabled".into(),
        (KeyState::Disabled, _) => "disabled".into(),
        (KeyState::PendingDeletion, None) => "pending deletion".into(),
        (KeyState::PendingDeletion, Some(date)) => format!("pending deletion on {date}"),
    };
    let policy = match key.policy {
        KeyPolicy::Open => "open",
        KeyPolicy::GrantsOnly => "grants-only",
    };
    let all = [
        ("state", state),
        ("policy", policy.into()),
        ("rotations", key.rotations.to_string()),
        ("material", hex::encode(&key.material_id)),
        ("grants", key.grants.to_string()),
        ("revoked grants", key.revoked.to_string()),
        ("aliases", key.aliases.join(" ")),
        ("service's own as", key.service.join(" ")),
    ];
    all.map(|(name, value)| (name.to_owned(), value)).into()
}

/// Each fact that is another one now.
fn words(before: &Facts, now: &Facts) -> String {
    let changed = now.iter().filter_map(|(name, value)| {
        let old = before.get(name);
        match old {
            Some(old) if old == value => None,
            None if value.is_empty() => None,
            Some(old) if value.is_empty() => Some(format!("{name} {old} no more")),
            Some(old) if !old.is_empty() => Some(format!("{name} {old} to {value}")),
            _ => Some(format!("{name} {value}")),
        }
    });
    changed.collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use palladium_crypto::{Keyring, SeededEntropy};

    use super::*;

    #[test]
    fn each_edit_of_an_owner_is_told_by_key_and_in_words() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keyring");
        let keyring = Keyring::create_new(path, Arc::new(SeededEntropy::new(3))).unwrap();
        let look = || Seen::of(&keyring.overview().unwrap());
        keyring.key_create("orders").unwrap();
        keyring.key_create("other").unwrap();
        let mut before = look();
        let mut told = |what: &str| {
            let now = look();
            let changes = now.changes_since(&before);
            let [change] = changes.as_slice() else {
                panic!("{what}: {changes:?}");
            };
            assert_eq!(change.key.as_deref(), Some("orders"), "{what}");
            // What is written down is what was seen.
            let written: Vec<_> = now
                .records_since(&Seen::default())
                .into_iter()
                .map(|(name, value)| (name.into(), value.unwrap().into()))
                .collect();
            assert_eq!(Seen::read(&written), Some(now.clone()));
            before = now;
            change.what.clone()
        };
        keyring.key_disable("orders").unwrap();
        assert_eq!(told("disable"), "state enabled to disabled");
        keyring.key_enable("orders").unwrap();
        assert_eq!(told("enable"), "state disabled to enabled");
        keyring.key_rotate("orders").unwrap();
        let rotated = told("rotate");
        assert!(rotated.ends_with("rotations 0 to 1"), "{rotated}");
        keyring.alias_set("current", "orders").unwrap();
        assert_eq!(told("alias"), "aliases current");
        keyring
            .key_set_policy("orders", KeyPolicy::GrantsOnly)
            .unwrap();
        assert_eq!(told("policy"), "policy open to grants-only");
        keyring.key_mark_service("current").unwrap();
        assert_eq!(told("mark"), "service's own as current");
        keyring.key_unmark_service("orders").unwrap();
        assert_eq!(told("unmark"), "service's own as current no more");
        keyring.key_schedule_deletion("orders", 7).unwrap();
        let scheduled = told("schedule-deletion");
        assert!(
            scheduled.starts_with("state enabled to pending deletion on "),
            "{scheduled}"
        );
    }

    #[test]
    fn a_keyring_that_did_not_change_tells_nothing_and_writes_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keyring");
        let keyring = Keyring::create_new(path, Arc::new(SeededEntropy::new(4))).unwrap();
        keyring.key_create("orders").unwrap();
        let seen = Seen::of(&keyring.overview().unwrap());
        assert!(seen.changes_since(&seen).is_empty());
        assert!(seen.records_since(&seen).is_empty());
    }
}
