//! Roles at rest: records of the server's own table, under the service's key (`records`, kind "roles").
//!
//! ```text
//! name                                             value
//! 'r' | role                                       JSON: salted_hash, is_superuser, can_login, datacenters, cidr_groups; absent: none, no, no, all, all
//! 'm' | length of role, u16 BE | role | group      empty: the role has been granted the other one
//! 'p' | length of role, u16 BE | role | resource   JSON: names of permissions; resources as `system_auth` names them
//! 'i' | identity                                   the role's name
//! ```
//!
//! One record for each grant, so that a change writes what it changes. What must hold: a change of roles is one mutation of one partition; a record that
//! cannot be read stops the start, because what it says may be a limit. A permission that this release does not know is an error for the same reason.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use palladium_storage::{Backend, Engine, Mutation};
use serde::{Deserialize, Serialize};

use super::{PermissionSet, Resource, Role, Roles, SaltedHash, permission};
use crate::records::{self, Change};

/// Their kind of record.
const KIND: &str = "roles";

/// A role's own record.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    salted_hash: Option<String>,
    #[serde(default)]
    is_superuser: bool,
    #[serde(default)]
    can_login: bool,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    datacenters: Option<BTreeSet<String>>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    cidr_groups: Option<BTreeSet<String>>,
}

/// All roles of the folder. The schema's table must be open.
pub async fn load<B: Backend>(engine: &Engine<B>) -> Result<Roles, String> {
    let records = records::read(engine, KIND)
        .await
        .map_err(|error| format!("the roles cannot be read: {error}"))?;
    let mut roles: BTreeMap<String, Role> = BTreeMap::new();
    let mut identities = BTreeMap::new();
    // Grants sort before roles ('m', 'p', 'r'): the roles are read first.
    let (own, others): (Vec<_>, Vec<_>) = records
        .into_iter()
        .partition(|(name, _)| name.first() == Some(&b'r'));
    for (name, value) in own {
        let role = read_role(&name[1..], &value).ok_or_else(unreadable)?;
        roles.insert(role.name.clone(), role);
    }
    for (name, value) in others {
        match name.first() {
            Some(b'm') => {
                let (role, group) = read_pair(&name[1..]).ok_or_else(unreadable)?;
                if let Some(role) = roles.get_mut(role) {
                    role.member_of.insert(group.to_owned());
                }
            }
            Some(b'p') => {
                let (role, resource) = read_pair(&name[1..]).ok_or_else(unreadable)?;
                let resource = Resource::parse(resource).ok_or_else(unreadable)?;
                let permissions = read_permissions(&value).ok_or_else(unreadable)?;
                if let Some(role) = roles.get_mut(role) {
                    role.permissions.insert(resource, permissions);
                }
            }
            Some(b'i') => {
                let identity = text(&name[1..]).ok_or_else(unreadable)?;
                let role = text(&value).ok_or_else(unreadable)?;
                identities.insert(identity.to_owned(), role.to_owned());
            }
            _ => return Err(unreadable()),
        }
    }
    let roles = roles.into_iter();
    Ok(Roles::new(
        roles.map(|(name, role)| (name, Arc::new(role))).collect(),
        identities,
    ))
}

/// The mutation that turns one snapshot into the next; None: they say the same.
pub fn between(before: &Roles, after: &Roles, timestamp: i64) -> Option<Mutation> {
    let mut changes = Vec::new();
    let names: BTreeSet<&str> = before
        .iter()
        .chain(after.iter())
        .map(|role| role.name.as_str())
        .collect();
    for name in names {
        match (before.get(name), after.get(name)) {
            (Some(old), Some(new)) if Arc::ptr_eq(old, new) => {}
            (old, new) => {
                let records = |role: Option<&Arc<Role>>| role.map(|role| records_of(role));
                difference(
                    records(old).unwrap_or_default(),
                    records(new).unwrap_or_default(),
                    &mut changes,
                );
            }
        }
    }
    let identities = |roles: &Roles| {
        let all = roles.identities.iter();
        all.map(|(identity, role)| (named(b'i', identity), role.clone().into_bytes()))
            .collect()
    };
    difference(identities(before), identities(after), &mut changes);
    (!changes.is_empty()).then(|| records::mutation(KIND, changes, timestamp))
}

type Records = BTreeMap<Vec<u8>, Vec<u8>>;

fn difference(old: Records, new: Records, changes: &mut Vec<Change>) {
    for name in old.keys().filter(|name| !new.contains_key(*name)) {
        changes.push((name.clone(), None));
    }
    for (name, value) in new {
        if old.get(&name) != Some(&value) {
            changes.push((name, Some(value)));
        }
    }
}

fn records_of(role: &Role) -> Records {
    let stored = Stored {
        salted_hash: role.salted_hash.as_ref().map(|hash| hash.0.clone()),
        is_superuser: role.is_superuser,
        can_login: role.can_login,
        datacenters: role.datacenters.clone(),
        cidr_groups: role.cidr_groups.clone(),
    };
    let json = serde_json::to_vec(&stored).expect("a role is texts and truth values");
    let mut records = Records::from([(named(b'r', &role.name), json)]);
    for group in &role.member_of {
        records.insert(paired(b'm', &role.name, group), Vec::new());
    }
    for (resource, permissions) in &role.permissions {
        let names: Vec<&str> = permissions
            .iter()
            .map(|permission| permission.name())
            .collect();
        let json = serde_json::to_vec(&names).expect("names are texts");
        records.insert(paired(b'p', &role.name, &resource.name()), json);
    }
    records
}

fn named(kind: u8, name: &str) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend_from_slice(name.as_bytes());
    bytes
}

fn paired(kind: u8, role: &str, other: &str) -> Vec<u8> {
    let length = u16::try_from(role.len()).expect("a role's name is bounded where it is made");
    let mut bytes = vec![kind];
    bytes.extend(length.to_be_bytes());
    bytes.extend_from_slice(role.as_bytes());
    bytes.extend_from_slice(other.as_bytes());
    bytes
}

fn read_pair(bytes: &[u8]) -> Option<(&str, &str)> {
    let (length, rest) = bytes.split_first_chunk::<2>()?;
    let (role, other) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
    Some((text(role)?, text(other)?))
}

fn read_role(name: &[u8], value: &[u8]) -> Option<Role> {
    let stored: Stored = serde_json::from_slice(value).ok()?;
    Some(Role {
        name: text(name)?.to_owned(),
        salted_hash: stored.salted_hash.map(SaltedHash),
        is_superuser: stored.is_superuser,
        can_login: stored.can_login,
        datacenters: stored.datacenters,
        cidr_groups: stored.cidr_groups,
        ..Role::default()
    })
}

fn read_permissions(value: &[u8]) -> Option<PermissionSet> {
    let names: Vec<String> = serde_json::from_slice(value).ok()?;
    names.iter().map(|name| permission::parse(name)).collect()
}

fn text(bytes: &[u8]) -> Option<&str> {
    std::str::from_utf8(bytes).ok()
}

fn unreadable() -> String {
    "the roles cannot be read: a record was written by a later release, or not by this server"
        .into()
}

#[cfg(test)]
mod tests {
    use palladium_protocol::cql::ast::Permission;

    use super::*;

    #[test]
    fn a_change_writes_what_it_changes_and_nothing_else() {
        let mut before = Roles::default();
        before.put(Role {
            name: "bob".into(),
            can_login: true,
            ..Role::default()
        });
        let select = [Permission::Select].into_iter().collect();
        before.grant("bob", select, &Resource::Keyspace("a".into()));
        let mut after = before.next();
        assert!(between(&before, &after, 1).is_none());
        after.grant("bob", select, &Resource::table("a", "t"));
        let mutation = between(&before, &after, 1).expect("a grant is a change");
        assert_eq!(mutation.update.rows.len(), 1);
        after.revoke_all_on(&Resource::Keyspace("a".into()));
        let mutation = between(&before, &after, 1).expect("a revocation is a change");
        assert_eq!(mutation.update.rows.len(), 1);
        assert!(mutation.update.rows[0].deletion.is_some());
    }

    #[test]
    fn what_was_written_is_read_back() {
        let role = Role {
            name: "a/b".into(),
            salted_hash: Some(SaltedHash("$2a$04$x".into())),
            cidr_groups: Some(BTreeSet::from(["office".into()])),
            ..Role::default()
        };
        let records = records_of(&role);
        let (name, value) = records.first_key_value().expect("a role has a record");
        assert_eq!(read_role(&name[1..], value), Some(role));
        assert_eq!(read_pair(&paired(b'm', "a", "b")[1..]), Some(("a", "b")));
        assert_eq!(read_pair(&[0, 9, b'a']), None);
        assert_eq!(read_permissions(b"[\"FLY\"]"), None);
    }
}
