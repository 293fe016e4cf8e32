//! Sets of permissions, in Cassandra's order.

use std::fmt;

use palladium_protocol::cql::ast::{Permission, Permissions};

/// All of them, in the order in which Cassandra lists them.
pub const ALL: [Permission; 11] = [
    Permission::Create,
    Permission::Alter,
    Permission::Drop,
    Permission::Select,
    Permission::Modify,
    Permission::Authorize,
    Permission::Describe,
    Permission::Execute,
    Permission::Unmask,
    Permission::SelectMasked,
    Permission::Use,
];

/// Some permissions.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct PermissionSet(u16);

impl PermissionSet {
    /// None.
    pub const EMPTY: PermissionSet = PermissionSet(0);

    fn bit(permission: Permission) -> u16 {
        1 << (permission as u16)
    }

    /// Whether it is among them.
    pub fn contains(self, permission: Permission) -> bool {
        self.0 & Self::bit(permission) != 0
    }

    /// Whether there is none.
    pub fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Those of both.
    pub fn union(self, other: PermissionSet) -> PermissionSet {
        PermissionSet(self.0 | other.0)
    }

    /// Those that are in both.
    pub fn intersection(self, other: PermissionSet) -> PermissionSet {
        PermissionSet(self.0 & other.0)
    }

    /// Those that the other one has not.
    pub fn minus(self, other: PermissionSet) -> PermissionSet {
        PermissionSet(self.0 & !other.0)
    }

    /// In Cassandra's order.
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        ALL.into_iter()
            .filter(move |permission| self.contains(*permission))
    }

    /// Their names, as `CREATE, ALTER`.
    pub fn names(self) -> String {
        let names: Vec<&str> = self.iter().map(Permission::name).collect();
        names.join(", ")
    }

    /// What a statement names, of those that make sense on such a resource.
    pub fn named(permissions: &Permissions, applicable: PermissionSet) -> PermissionSet {
        match permissions {
            Permissions::All => applicable,
            Permissions::Some(some) => some
                .iter()
                .copied()
                .collect::<PermissionSet>()
                .intersection(applicable),
        }
    }
}

impl FromIterator<Permission> for PermissionSet {
    fn from_iter<T: IntoIterator<Item = Permission>>(permissions: T) -> Self {
        let bits = permissions.into_iter().map(Self::bit);
        PermissionSet(bits.fold(0, |all, bit| all | bit))
    }
}

/// The permission of a name as it is stored.
pub fn parse(name: &str) -> Option<Permission> {
    ALL.into_iter().find(|permission| permission.name() == name)
}

impl fmt::Debug for PermissionSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{{{}}}", self.names())
    }
}
