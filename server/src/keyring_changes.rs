//! What was done to the keyring's file, by whoever may write it: told by what it was and what it is.
//!
//! The server makes no edit of its owner's, and is told of none: it sees that the counter of edits has moved, compares, and records one event for each key that has
//! changed. So that edits made while it was stopped are seen, too, what it saw last is among its records, one for each key:
//!
//! ```text
//! kind "keyring_keys"    name: "key " and the key's name, or "keyring"     value: JSON, the texts below
//! ```
//!
//! What can be replaced by its like is told by its identity, not by a number alone: each grant by its id and what it allows, a passphrase by its salt, a credential that makes
//! grants by the beginning of its digest. Two edits that undo each other between two looks (a second) leave only the count of edits, and that is told.
//!
//! A release before this one kept numbers alone. Where its records stand, the numbers are compared, once.

use std::collections::BTreeMap;

use palladium_crypto::{
    GrantMaker, KeyPolicy, KeyState, KeyringEntry, KeyringGrant, KeyringOverview, hex, sha256,
};
use serde::{Deserialize, Serialize};

use crate::records::Change;

/// The kind of these records.
pub const KEYRING_KEYS: &str = "keyring_keys";
const KEYRING: &str = "keyring";
const KEY: &str = "key ";
/// Always there since facts have identities, and empty where there is no passphrase.
const SALT: &str = "passphrase's salt";
const GRANT: &str = "grant ";
/// In the place of the grants of a key that has too many to keep each.
const GRANTS_DIGEST: &str = "digest of grants";
/// Grants of one key that are kept each by itself: a record of some tens of KiB.
const GRANTS_EACH_MAX: usize = 256;
/// Facts of one key that one event tells, and then how many more there were.
const FACTS_TOLD_MAX: usize = 32;
/// Bytes of a digest that are told.
const DIGEST_BYTES_TOLD: usize = 8;

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

impl Changed {
    /// An edit of which nothing is left to be seen.
    pub fn nothing() -> Changed {
        Changed {
            key: None,
            what: "edited, and all that is told of it is as it was".into(),
        }
    }
}

impl Seen {
    /// As it is now.
    pub fn of(overview: &KeyringOverview) -> Seen {
        let fact = |name: &str, value: String| (name.to_owned(), value);
        let mut seen: BTreeMap<String, Facts> = overview
            .keys
            .iter()
            .map(|key| {
                let grants = overview.grants.get(&key.name).map(Vec::as_slice);
                let facts = facts(key, grants.unwrap_or_default());
                (format!("{KEY}{}", key.name), facts)
            })
            .collect();
        for key in &overview.destroyed {
            // A key that was imported again stands among the living.
            seen.entry(format!("{KEY}{}", key.name))
                .or_insert_with(|| Facts::from([fact("state", "destroyed".into())]));
        }
        let passphrase = match overview.salt {
            Some(_) => "set",
            None => "none",
        };
        let salt = overview.salt.iter().map(|salt| hex::encode(salt)).collect();
        let mut whole = Facts::from([
            fact("passphrase", passphrase.into()),
            fact(SALT, salt),
            fact("grantors", overview.grantors.len().to_string()),
        ]);
        for grantor in &overview.grantors {
            let digest = hex::encode(&grantor[..DIGEST_BYTES_TOLD]);
            whole.insert(format!("grantor {digest}"), "known".into());
        }
        seen.insert(KEYRING.into(), whole);
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
        let is_numbers = !before
            .0
            .get(KEYRING)
            .is_some_and(|all| all.contains_key(SALT));
        let names = self.0.keys().chain(before.0.keys());
        let mut names: Vec<&String> = names.collect();
        names.sort();
        names.dedup();
        let changes = names.into_iter().filter_map(|name| {
            let (old, new) = (before.0.get(name), self.0.get(name));
            let what = match (old, new) {
                (None, Some(new)) => format!("made: {}", words(&none, new, false)),
                (Some(_), None) => "gone".into(),
                (old, new) => words(old.unwrap_or(&none), new.unwrap_or(&none), is_numbers),
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

fn facts(key: &KeyringEntry, grants: &[KeyringGrant]) -> Facts {
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
    let mut facts = Facts::from(all.map(|(name, value)| (name.to_owned(), value)));
    match grants.len() {
        0..=GRANTS_EACH_MAX => facts.extend(grants.iter().map(grant)),
        _ => {
            let ids: Vec<&[u8]> = grants.iter().map(|grant| grant.id.0.as_bytes()).collect();
            let digest = hex::encode(&sha256(&ids)[..DIGEST_BYTES_TOLD]);
            facts.insert(GRANTS_DIGEST.into(), digest);
        }
    }
    facts
}

/// A grant never changes, so its id and this are all of it.
fn grant(grant: &KeyringGrant) -> (String, String) {
    let maker = match grant.maker {
        GrantMaker::Owner => "owner",
        GrantMaker::Server => "server",
    };
    let operations = grant.operations.iter();
    let operations: Vec<String> = operations
        .map(|operation| format!("{operation:?}").to_lowercase())
        .collect();
    let entries = grant.context.iter();
    let entries: Vec<String> = entries
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    let place = match entries.is_empty() {
        true => String::new(),
        false => format!(" where {}", entries.join(" and ")),
    };
    let allowed = operations.join("+");
    (
        format!("{GRANT}{}", grant.id.0),
        format!("of {maker} for {allowed}{place}"),
    )
}

/// Each fact that is another one now; of what was kept as numbers, those alone.
fn words(before: &Facts, now: &Facts, is_numbers: bool) -> String {
    let are_many = [before, now].map(|facts| facts.contains_key(GRANTS_DIGEST));
    let are_many = are_many.contains(&true);
    let mut names: Vec<&String> = before.keys().chain(now.keys()).collect();
    names.sort();
    names.dedup();
    names.retain(|name| !is_numbers || before.contains_key(*name));
    names.retain(|name| !(are_many && name.starts_with(GRANT)));
    let kept =
        |facts: &Facts, name: &String| facts.get(name).filter(|value| !value.is_empty()).cloned();
    let mut changed: Vec<String> = names
        .into_iter()
        .filter_map(|name| match (kept(before, name), kept(now, name)) {
            (old, new) if old == new => None,
            (Some(old), Some(new)) => Some(format!("{name} {old} to {new}")),
            (Some(old), None) => Some(format!("{name} {old} no more")),
            (_, new) => Some(format!("{name} {}", new.unwrap_or_default())),
        })
        .collect();
    if let Some(more) = changed.len().checked_sub(FACTS_TOLD_MAX)
        && more > 0
    {
        changed.truncate(FACTS_TOLD_MAX);
        changed.push(format!("and {more} more"));
    }
    changed.join(", ")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use palladium_crypto::{
        EncryptionContext, GrantOperation, GrantRequest, Keyring, Passphrase, PassphraseCost,
        SeededEntropy,
    };

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

    /// What took the place of its like is told, although each number is as it was.
    #[test]
    fn a_passphrase_a_grantor_and_a_grant_that_are_replaced_are_told() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keyring");
        let keyring = Keyring::create_new(path, Arc::new(SeededEntropy::new(5))).unwrap();
        let look = || Seen::of(&keyring.overview().unwrap());
        let told = |before: &Seen| {
            let changes = look().changes_since(before);
            let [change] = changes.as_slice() else {
                panic!("{changes:?}");
            };
            (change.key.clone(), change.what.clone())
        };
        let protect = |words: &str| {
            let passphrase = Passphrase::new(words.as_bytes().to_vec().into()).unwrap();
            let cost = PassphraseCost {
                memory_kib: PassphraseCost::MEMORY_KIB_MIN,
                passes: 1,
                lanes: 1,
            };
            keyring.protect(&passphrase, cost).unwrap();
        };
        let request = |table: &str| GrantRequest {
            name: String::new(),
            operations: vec![GrantOperation::Decrypt],
            context: EncryptionContext([("table".into(), table.into())].into()),
        };
        keyring.key_create("orders").unwrap();
        let revoked = keyring.grant_create("orders", &request("t")).unwrap();
        let gone = keyring.grant_create("orders", &request("u")).unwrap();
        keyring.grant_revoke("orders", &gone).unwrap();
        let (first, second) = (folder.path().join("c1"), folder.path().join("c2"));
        keyring.grantor_create(&first).unwrap();
        protect("one");

        let before = look();
        protect("two");
        let (key, what) = told(&before);
        assert_eq!(key, None);
        assert!(what.starts_with("passphrase's salt "), "{what}");

        let before = look();
        keyring.grantor_withdraw(&first).unwrap();
        keyring.grantor_create(&second).unwrap();
        let (key, what) = told(&before);
        assert_eq!((key, what.matches("grantor ").count()), (None, 2), "{what}");
        assert!(what.contains(" known no more"), "{what}");

        let before = look();
        keyring.grant_revoke("orders", &revoked).unwrap();
        let made = keyring.grant_create("orders", &request("v")).unwrap();
        let (key, what) = told(&before);
        assert_eq!(key.as_deref(), Some("orders"));
        for words in [
            format!(
                "grant {} of owner for decrypt where table=t no more",
                revoked.0
            ),
            format!("grant {} of owner for decrypt where table=v", made.0),
            "revoked grants 1 to 2".into(),
        ] {
            assert!(what.contains(&words), "{words} is not in: {what}");
        }
    }

    #[test]
    fn of_many_grants_one_that_takes_anothers_place_is_told() {
        let grant = |number: usize| KeyringGrant {
            id: palladium_crypto::GrantId(format!("{number:032x}")),
            name: String::new(),
            maker: GrantMaker::Server,
            created: palladium_crypto::UnixSeconds(0),
            operations: vec![GrantOperation::Decrypt],
            context: EncryptionContext([].into()),
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keyring");
        let keyring = Keyring::create_new(path, Arc::new(SeededEntropy::new(6))).unwrap();
        keyring.key_create("orders").unwrap();
        let overview = keyring.overview().unwrap();
        let seen = |numbers: std::ops::Range<usize>| {
            let mut overview = overview.clone();
            overview.keys[0].grants = numbers.len();
            let grants = numbers.map(grant).collect();
            overview.grants.insert("orders".into(), grants);
            Seen::of(&overview)
        };
        let what = |before: &Seen, now: &Seen| now.changes_since(before).pop().unwrap().what;
        let many = GRANTS_EACH_MAX + 1;
        let replaced = what(&seen(0..many), &seen(1..many + 1));
        assert!(replaced.starts_with("digest of grants "), "{replaced}");
        let grown = what(&seen(0..many - 1), &seen(0..many));
        assert!(
            grown.ends_with(&format!("grants {} to {many}", many - 1)),
            "{grown}"
        );
        assert!(!grown.contains("no more"), "{grown}");
        let made = what(&seen(0..0), &seen(0..100));
        assert!(made.ends_with("and 69 more"), "{made}");
    }

    /// Numbers are compared with numbers: what was there already is not told as new.
    #[test]
    fn records_of_a_release_that_kept_numbers_are_compared_by_them() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keyring");
        let keyring = Keyring::create_new(path, Arc::new(SeededEntropy::new(7))).unwrap();
        keyring.key_create("orders").unwrap();
        let request = GrantRequest {
            name: String::new(),
            operations: vec![GrantOperation::Decrypt],
            context: EncryptionContext([].into()),
        };
        keyring.grant_create("orders", &request).unwrap();
        keyring.grantor_create(&folder.path().join("c1")).unwrap();
        let mut before = Seen::of(&keyring.overview().unwrap());
        for facts in before.0.values_mut() {
            facts.retain(|name, _| {
                !name.starts_with(GRANT) && !name.starts_with("grantor ") && name != SALT
            });
        }
        let look = || Seen::of(&keyring.overview().unwrap());
        assert!(look().changes_since(&before).is_empty());
        keyring.key_disable("orders").unwrap();
        let changes = look().changes_since(&before);
        assert_eq!(changes[0].what, "state enabled to disabled");
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
