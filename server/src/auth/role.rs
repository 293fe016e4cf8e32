//! All roles at one moment, as one value that never changes.
//!
//! What must hold: two snapshots that a process has had have different versions, because what a statement was found to be allowed is kept by version.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use palladium_protocol::cql::ast::Permission;

use super::{PermissionSet, Resource};

/// The hash of a password, as bcrypt writes it. Not printed.
#[derive(Clone, PartialEq, Eq)]
pub struct SaltedHash(pub String);

impl fmt::Debug for SaltedHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SaltedHash(..)")
    }
}

/// A role.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Role {
    /// Its name.
    pub name: String,
    /// None: no password opens it.
    pub salted_hash: Option<SaltedHash>,
    /// May do everything.
    pub is_superuser: bool,
    /// May log in.
    pub can_login: bool,
    /// Roles granted to it.
    pub member_of: BTreeSet<String>,
    /// Data centres it may use; None: all.
    pub datacenters: Option<BTreeSet<String>>,
    /// Groups of addresses it may come from; None: all.
    pub cidr_groups: Option<BTreeSet<String>>,
    /// What it may do, beside what the roles granted to it may.
    pub permissions: BTreeMap<Resource, PermissionSet>,
}

/// A snapshot of all roles.
#[derive(Debug, Clone)]
pub struct Roles {
    version: u64,
    roles: BTreeMap<String, Arc<Role>>,
    /// Identities of certificates, each with its role.
    pub identities: BTreeMap<String, String>,
}

/// Snapshots made so far.
static VERSIONS: AtomicU64 = AtomicU64::new(1);

impl Default for Roles {
    fn default() -> Self {
        Roles::new(BTreeMap::new(), BTreeMap::new())
    }
}

impl Roles {
    /// A snapshot.
    pub fn new(roles: BTreeMap<String, Arc<Role>>, identities: BTreeMap<String, String>) -> Self {
        Roles {
            version: VERSIONS.fetch_add(1, Ordering::Relaxed),
            roles,
            identities,
        }
    }

    /// The next snapshot, the same as this one yet.
    pub fn next(&self) -> Roles {
        Roles::new(self.roles.clone(), self.identities.clone())
    }

    /// Differs from that of every other snapshot that differs.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// A role by its name.
    pub fn get(&self, name: &str) -> Option<&Arc<Role>> {
        self.roles.get(name)
    }

    /// All of them, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Role>> {
        self.roles.values()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.roles.is_empty()
    }

    /// Adds a role, or puts another one in its place.
    pub fn put(&mut self, role: Role) {
        self.roles.insert(role.name.clone(), Arc::new(role));
    }

    /// Takes a role away.
    pub fn remove(&mut self, name: &str) {
        self.roles.remove(name);
    }

    /// Changes a role that is there.
    pub fn change(&mut self, name: &str, change: impl FnOnce(&mut Role)) {
        if let Some(role) = self.roles.get_mut(name) {
            change(Arc::make_mut(role));
        }
    }

    /// Changes all roles that `is_concerned` says yes of.
    pub fn change_all(
        &mut self,
        is_concerned: impl Fn(&Role) -> bool,
        mut change: impl FnMut(&mut Role),
    ) {
        for role in self.roles.values_mut() {
            if is_concerned(role) {
                change(Arc::make_mut(role));
            }
        }
    }

    /// The role and those granted to it; with those granted to these, if it is recursive. By name.
    pub fn roles_of(&self, name: &str, recursive: bool) -> BTreeMap<&str, &Arc<Role>> {
        let mut found = BTreeMap::new();
        let mut waiting: Vec<&str> = vec![name];
        while let Some(name) = waiting.pop() {
            let Some(role) = self.roles.get(name) else {
                continue;
            };
            if found.insert(role.name.as_str(), role).is_none() && (recursive || found.len() == 1) {
                waiting.extend(role.member_of.iter().map(String::as_str));
            }
        }
        found
    }

    /// Whether the role is another one, or has it by grants.
    pub fn is_member(&self, name: &str, of: &str) -> bool {
        self.roles_of(name, true).contains_key(of)
    }

    /// Whether the role or one granted to it is a superuser.
    pub fn is_super(&self, name: &str) -> bool {
        self.roles_of(name, true)
            .values()
            .any(|role| role.is_superuser)
    }

    /// What the role may do on exactly this resource.
    pub fn permissions(&self, name: &str, resource: &Resource) -> PermissionSet {
        let roles = self.roles_of(name, true);
        if roles.values().any(|role| role.is_superuser) {
            return resource.applicable();
        }
        let granted = roles
            .values()
            .filter_map(|role| role.permissions.get(resource).copied());
        granted.fold(PermissionSet::EMPTY, PermissionSet::union)
    }

    /// Whether the role may do this with the resource, by a grant on it or on one above it.
    pub fn may(&self, name: &str, permission: Permission, resource: &Resource) -> bool {
        let roles = self.roles_of(name, true);
        if roles.values().any(|role| role.is_superuser) {
            let mut chain = resource.chain();
            return chain.any(|resource| resource.applicable().contains(permission));
        }
        resource.reached_from().any(|resource| {
            roles.values().any(|role| {
                let granted = role.permissions.get(&resource);
                granted.is_some_and(|granted| granted.contains(permission))
            })
        })
    }

    /// Whether the role may do anything at all with the resource.
    pub fn may_anything(&self, name: &str, resource: &Resource) -> bool {
        let roles = self.roles_of(name, true);
        if roles.values().any(|role| role.is_superuser) {
            return true;
        }
        resource.chain().any(|resource| {
            roles.values().any(|role| {
                let granted = role.permissions.get(&resource);
                granted.is_some_and(|granted| !granted.is_empty())
            })
        })
    }

    /// Gives a role permissions, and says which of them it did not have.
    pub fn grant(
        &mut self,
        name: &str,
        permissions: PermissionSet,
        resource: &Resource,
    ) -> PermissionSet {
        let mut new = PermissionSet::EMPTY;
        self.change(name, |role| {
            let present = role.permissions.entry(resource.clone()).or_default();
            new = permissions.minus(*present);
            *present = present.union(permissions);
            if present.is_empty() {
                role.permissions.remove(resource);
            }
        });
        new
    }

    /// Takes permissions from a role, and says which of them it had.
    pub fn revoke(
        &mut self,
        name: &str,
        permissions: PermissionSet,
        resource: &Resource,
    ) -> PermissionSet {
        let mut had = PermissionSet::EMPTY;
        self.change(name, |role| {
            let Some(present) = role.permissions.get_mut(resource) else {
                return;
            };
            had = permissions.intersection(*present);
            *present = present.minus(permissions);
            if present.is_empty() {
                role.permissions.remove(resource);
            }
        });
        had
    }

    /// Takes from everybody what was granted on a resource that is gone, and on what lay below it.
    pub fn revoke_all_on(&mut self, resource: &Resource) {
        self.change_all(
            |role| role.permissions.keys().any(|on| on.is_within(resource)),
            |role| role.permissions.retain(|on, _| !on.is_within(resource)),
        );
    }

    /// Whether anybody has a permission on the resource or below it.
    pub fn anybody_has_on(&self, resource: &Resource) -> bool {
        self.iter()
            .any(|role| role.permissions.keys().any(|on| on.is_within(resource)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn roles() -> Roles {
        let mut roles = Roles::default();
        for (name, member_of) in [
            ("admin", ""),
            ("team", "admin"),
            ("bob", "team"),
            ("eve", ""),
        ] {
            roles.put(Role {
                name: name.into(),
                is_superuser: name == "admin",
                member_of: (!member_of.is_empty())
                    .then(|| member_of.to_owned())
                    .into_iter()
                    .collect(),
                ..Role::default()
            });
        }
        roles
    }

    #[test]
    fn superuser_status_is_inherited_and_means_what_makes_sense_there() {
        let roles = roles();
        assert!(roles.is_super("bob") && !roles.is_super("eve"));
        let table = Resource::table("ks", "t");
        assert!(roles.may("bob", Permission::Select, &table));
        assert!(!roles.may("bob", Permission::Execute, &table));
        assert_eq!(roles.roles_of("bob", false).len(), 2);
        assert_eq!(roles.roles_of("bob", true).len(), 3);
    }

    #[test]
    fn a_grant_above_holds_below_and_goes_with_its_resource() {
        let mut roles = roles();
        let keyspace = Resource::Keyspace("ks".into());
        let table = Resource::table("ks", "t");
        let select = [Permission::Select].into_iter().collect();
        assert_eq!(roles.grant("eve", select, &keyspace), select);
        assert_eq!(roles.grant("eve", select, &keyspace), PermissionSet::EMPTY);
        assert!(roles.may("eve", Permission::Select, &table));
        assert!(!roles.may("eve", Permission::Modify, &table));
        roles.grant("eve", select, &table);
        roles.revoke_all_on(&keyspace);
        assert!(!roles.may("eve", Permission::Select, &table));
        assert!(!roles.anybody_has_on(&keyspace));
    }

    #[test]
    fn roles_that_were_granted_to_each_other_end_the_walk() {
        let mut roles = roles();
        roles.change("admin", |role| {
            role.member_of.insert("bob".into());
        });
        assert_eq!(roles.roles_of("bob", true).len(), 3);
    }

    #[test]
    fn a_hash_is_never_printed() {
        let hash = SaltedHash("$2a$10$secret".into());
        assert!(!format!("{hash:?}").contains("secret"));
    }
}
