//! Roles, users, identities and permissions.

use std::fmt;

use zeroize::Zeroizing;

use super::{Name, PropertyMap, QualifiedName, Type};

/// A password or its hash. Printing the statement shows it; Debug does not, because trees end up in logs. Wiped when it is dropped.
#[derive(Clone, PartialEq, Eq)]
pub struct Password(pub Zeroizing<String>);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password(..)")
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum RoleOption {
    /// `PASSWORD = '...'`
    Password(Password),
    /// `HASHED PASSWORD = '...'`
    HashedPassword(Password),
    /// `SUPERUSER = true`
    Superuser(bool),
    /// `LOGIN = true`
    Login(bool),
    /// `OPTIONS = {...}`
    Options(PropertyMap),
    /// `ACCESS TO ALL DATACENTERS`
    AllDatacenters,
    /// `ACCESS TO DATACENTERS {'a', 'b'}`
    Datacenters(Vec<String>),
    /// `ACCESS FROM ALL CIDRS`
    AllCidrs,
    /// `ACCESS FROM CIDRS {'a', 'b'}`
    Cidrs(Vec<String>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct CreateRole {
    pub if_not_exists: bool,
    pub role: Name,
    pub options: Vec<RoleOption>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct AlterRole {
    pub if_exists: bool,
    pub role: Name,
    pub options: Vec<RoleOption>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct DropRole {
    pub if_exists: bool,
    pub role: Name,
}

/// `WITH ...` of CREATE USER and ALTER USER.
#[derive(Debug, Clone, PartialEq)]
pub enum UserPassword {
    /// `PASSWORD '...'`
    Plain(Password),
    /// `HASHED PASSWORD '...'`
    Hashed(Password),
}

/// `CREATE USER`: a role that may log in. User names keep their case even without quotes.
#[derive(Debug, Clone, PartialEq)]
pub struct CreateUser {
    pub if_not_exists: bool,
    pub user: Name,
    pub password: Option<UserPassword>,
    pub superuser: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct AlterUser {
    pub if_exists: bool,
    pub user: Name,
    pub password: Option<UserPassword>,
    /// `SUPERUSER`, `NOSUPERUSER` or neither.
    pub superuser: Option<bool>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct DropUser {
    pub if_exists: bool,
    pub user: Name,
}

/// `ADD IDENTITY 'spiffe://...' TO ROLE 'r'`
#[derive(Debug, Clone, PartialEq)]
pub struct AddIdentity {
    pub if_not_exists: bool,
    pub identity: String,
    pub role: Name,
}

#[derive(Debug, Clone, PartialEq)]
pub struct DropIdentity {
    pub if_exists: bool,
    pub identity: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Permission {
    Create,
    Alter,
    Drop,
    Select,
    Modify,
    Authorize,
    Describe,
    Execute,
    Unmask,
    SelectMasked,
    /// Ours: to name a customer's key in `encryption`.
    Use,
}

impl Permission {
    /// In CQL and in `system_auth`, in upper case.
    pub fn name(self) -> &'static str {
        match self {
            Permission::Create => "CREATE",
            Permission::Alter => "ALTER",
            Permission::Drop => "DROP",
            Permission::Select => "SELECT",
            Permission::Modify => "MODIFY",
            Permission::Authorize => "AUTHORIZE",
            Permission::Describe => "DESCRIBE",
            Permission::Execute => "EXECUTE",
            Permission::Unmask => "UNMASK",
            Permission::SelectMasked => "SELECT_MASKED",
            Permission::Use => "USE",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub enum Permissions {
    /// `ALL [PERMISSIONS]`
    All,
    /// Never empty.
    Some(Vec<Permission>),
}

/// A function named with its argument types.
#[derive(Debug, Clone, PartialEq)]
pub struct FunctionSignature {
    pub name: QualifiedName,
    pub arguments: Vec<Type>,
}

/// What permissions are about.
#[derive(Debug, Clone, PartialEq)]
pub enum Resource {
    /// `ALL KEYSPACES`
    AllKeyspaces,
    /// `KEYSPACE ks`
    Keyspace(Name),
    /// `ALL TABLES IN KEYSPACE ks`
    AllTables(Name),
    /// `[TABLE] t`
    Table(QualifiedName),
    /// `ALL ROLES`
    AllRoles,
    /// `ROLE r`
    Role(Name),
    /// `ALL FUNCTIONS`
    AllFunctions,
    /// `ALL FUNCTIONS IN KEYSPACE ks`
    KeyspaceFunctions(Name),
    /// `FUNCTION f(int)`
    Function(FunctionSignature),
    /// `ALL MBEANS`
    AllMbeans,
    /// `MBEAN 'name'`
    Mbean(String),
    /// `MBEANS 'pattern'`
    Mbeans(String),
    /// `ALL KEYS`: ours, all keys of customers.
    AllKeys,
    /// `KEY 'name'`: ours, a customer's key.
    Key(String),
}

impl Resource {
    /// Whether the permission can be had on such a resource; Cassandra leaves the others out without a word.
    pub fn applicable(&self, permission: Permission) -> bool {
        use Permission::{Alter, Authorize, Create, Describe, Drop, Execute, Modify, Select, Use};
        match self {
            Resource::AllKeyspaces | Resource::Keyspace(_) | Resource::AllTables(_) => {
                !matches!(permission, Describe | Execute | Use)
            }
            Resource::Table(_) => !matches!(permission, Create | Describe | Execute | Use),
            Resource::AllRoles => {
                matches!(permission, Create | Alter | Drop | Authorize | Describe)
            }
            Resource::Role(_) => matches!(permission, Alter | Drop | Authorize | Describe),
            Resource::AllFunctions | Resource::KeyspaceFunctions(_) => {
                matches!(permission, Create | Alter | Drop | Authorize | Execute)
            }
            Resource::Function(_) => matches!(permission, Alter | Drop | Authorize | Execute),
            Resource::AllMbeans | Resource::Mbean(_) | Resource::Mbeans(_) => {
                matches!(permission, Authorize | Describe | Execute | Modify | Select)
            }
            Resource::AllKeys | Resource::Key(_) => {
                matches!(permission, Use | Authorize | Describe)
            }
        }
    }

    /// What error messages call the kind of resource.
    pub fn kind(&self) -> &'static str {
        match self {
            Resource::AllKeyspaces
            | Resource::Keyspace(_)
            | Resource::AllTables(_)
            | Resource::Table(_) => "DataResource",
            Resource::AllRoles | Resource::Role(_) => "RoleResource",
            Resource::AllFunctions | Resource::KeyspaceFunctions(_) | Resource::Function(_) => {
                "FunctionResource"
            }
            Resource::AllMbeans | Resource::Mbean(_) | Resource::Mbeans(_) => "JMXResource",
            Resource::AllKeys | Resource::Key(_) => "KeyResource",
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Grant {
    pub permissions: Permissions,
    pub resource: Resource,
    pub role: Name,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Revoke {
    pub permissions: Permissions,
    pub resource: Resource,
    pub role: Name,
}

/// `GRANT role TO grantee`
#[derive(Debug, Clone, PartialEq)]
pub struct GrantRole {
    pub role: Name,
    pub grantee: Name,
}

/// `REVOKE role FROM revokee`
#[derive(Debug, Clone, PartialEq)]
pub struct RevokeRole {
    pub role: Name,
    pub revokee: Name,
}

/// `LIST permissions [ON resource] [OF role] [NORECURSIVE]`
#[derive(Debug, Clone, PartialEq)]
pub struct ListPermissions {
    pub permissions: Permissions,
    pub resource: Option<Resource>,
    pub role: Option<Name>,
    pub recursive: bool,
}

/// `LIST ROLES [OF role] [NORECURSIVE]`
#[derive(Debug, Clone, PartialEq)]
pub struct ListRoles {
    pub role: Option<Name>,
    pub recursive: bool,
}
