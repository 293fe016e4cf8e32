//! Roles, users, identities and permissions.

use std::fmt::{self, Display, Formatter};

use super::schema::{IF_EXISTS, IF_NOT_EXISTS, Map};
use super::{Commas, FunctionName, Quoted, when, write_separated};
use crate::cql::ast::{
    AddIdentity, AlterRole, AlterUser, CreateRole, CreateUser, DropIdentity, DropRole, DropUser,
    Grant, GrantRole, ListPermissions, ListRoles, Name, Permission, Permissions, Resource, Revoke,
    RevokeRole, RoleOption, UserPassword,
};

impl Display for RoleOption {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            RoleOption::Password(password) => write!(f, "PASSWORD = {}", Quoted(&password.0)),
            RoleOption::HashedPassword(hash) => {
                write!(f, "HASHED PASSWORD = {}", Quoted(&hash.0))
            }
            RoleOption::Superuser(value) => write!(f, "SUPERUSER = {value}"),
            RoleOption::Login(value) => write!(f, "LOGIN = {value}"),
            RoleOption::Options(map) => write!(f, "OPTIONS = {}", Map(map)),
            RoleOption::AllDatacenters => f.write_str("ACCESS TO ALL DATACENTERS"),
            RoleOption::Datacenters(names) => {
                f.write_str("ACCESS TO DATACENTERS ")?;
                write_strings(f, names)
            }
            RoleOption::AllCidrs => f.write_str("ACCESS FROM ALL CIDRS"),
            RoleOption::Cidrs(names) => {
                f.write_str("ACCESS FROM CIDRS ")?;
                write_strings(f, names)
            }
        }
    }
}

fn write_strings(f: &mut Formatter<'_>, strings: &[String]) -> fmt::Result {
    f.write_str("{")?;
    write_separated(f, strings, ", ", |text, f| Quoted(text).fmt(f))?;
    f.write_str("}")
}

fn write_role_options(f: &mut Formatter<'_>, options: &[RoleOption]) -> fmt::Result {
    if options.is_empty() {
        return Ok(());
    }
    f.write_str(" WITH ")?;
    write_separated(f, options, " AND ", |option, f| option.fmt(f))
}

/// A role: a string if it has no other spelling, because a quoted name cannot be empty.
struct Role<'a>(&'a Name);

impl Display for Role<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self.0.as_str() {
            "" => f.write_str("''"),
            _ => self.0.fmt(f),
        }
    }
}

impl Display for CreateRole {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let guard = when(self.if_not_exists, IF_NOT_EXISTS);
        write!(f, "CREATE ROLE {guard}{}", Role(&self.role))?;
        write_role_options(f, &self.options)
    }
}

impl Display for AlterRole {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let guard = when(self.if_exists, IF_EXISTS);
        write!(f, "ALTER ROLE {guard}{}", Role(&self.role))?;
        write_role_options(f, &self.options)
    }
}

impl Display for DropRole {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let guard = when(self.if_exists, IF_EXISTS);
        write!(f, "DROP ROLE {guard}{}", Role(&self.role))
    }
}

fn write_user_password(f: &mut Formatter<'_>, password: Option<&UserPassword>) -> fmt::Result {
    match password {
        None => Ok(()),
        Some(UserPassword::Plain(password)) => {
            write!(f, " WITH PASSWORD {}", Quoted(&password.0))
        }
        Some(UserPassword::Hashed(hash)) => {
            write!(f, " WITH HASHED PASSWORD {}", Quoted(&hash.0))
        }
    }
}

impl Display for CreateUser {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let guard = when(self.if_not_exists, IF_NOT_EXISTS);
        write!(f, "CREATE USER {guard}{}", Quoted(self.user.as_str()))?;
        write_user_password(f, self.password.as_ref())?;
        f.write_str(when(self.superuser, " SUPERUSER"))
    }
}

impl Display for AlterUser {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let guard = when(self.if_exists, IF_EXISTS);
        write!(f, "ALTER USER {guard}{}", Quoted(self.user.as_str()))?;
        write_user_password(f, self.password.as_ref())?;
        f.write_str(match self.superuser {
            Some(true) => " SUPERUSER",
            Some(false) => " NOSUPERUSER",
            None => "",
        })
    }
}

impl Display for DropUser {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let guard = when(self.if_exists, IF_EXISTS);
        write!(f, "DROP USER {guard}{}", Quoted(self.user.as_str()))
    }
}

impl Display for AddIdentity {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "ADD IDENTITY {}{} TO ROLE {}",
            when(self.if_not_exists, IF_NOT_EXISTS),
            Quoted(&self.identity),
            Quoted(self.role.as_str())
        )
    }
}

impl Display for DropIdentity {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let guard = when(self.if_exists, IF_EXISTS);
        write!(f, "DROP IDENTITY {guard}{}", Quoted(&self.identity))
    }
}

impl Display for Permission {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Display for Permissions {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Permissions::All => f.write_str("ALL PERMISSIONS"),
            Permissions::Some(permissions) => Commas(permissions).fmt(f),
        }
    }
}

impl Display for Resource {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Resource::AllKeyspaces => f.write_str("ALL KEYSPACES"),
            Resource::Keyspace(keyspace) => write!(f, "KEYSPACE {keyspace}"),
            Resource::AllTables(keyspace) => write!(f, "ALL TABLES IN KEYSPACE {keyspace}"),
            Resource::Table(table) => write!(f, "TABLE {table}"),
            Resource::AllRoles => f.write_str("ALL ROLES"),
            Resource::Role(role) => write!(f, "ROLE {}", Role(role)),
            Resource::AllFunctions => f.write_str("ALL FUNCTIONS"),
            Resource::KeyspaceFunctions(keyspace) => {
                write!(f, "ALL FUNCTIONS IN KEYSPACE {keyspace}")
            }
            Resource::Function(signature) => write!(
                f,
                "FUNCTION {}({})",
                FunctionName(&signature.name),
                Commas(&signature.arguments)
            ),
            Resource::AllMbeans => f.write_str("ALL MBEANS"),
            Resource::Mbean(name) => write!(f, "MBEAN {}", Quoted(name)),
            Resource::Mbeans(pattern) => write!(f, "MBEANS {}", Quoted(pattern)),
            Resource::AllKeys => f.write_str("ALL KEYS"),
            Resource::Key(name) => write!(f, "KEY {}", Quoted(name)),
        }
    }
}

impl Display for Grant {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let role = Role(&self.role);
        write!(
            f,
            "GRANT {} ON {} TO {role}",
            self.permissions, self.resource
        )
    }
}

impl Display for Revoke {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let role = Role(&self.role);
        write!(
            f,
            "REVOKE {} ON {} FROM {role}",
            self.permissions, self.resource
        )
    }
}

impl Display for GrantRole {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "GRANT {} TO {}", Role(&self.role), Role(&self.grantee))
    }
}

impl Display for RevokeRole {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "REVOKE {} FROM {}",
            Role(&self.role),
            Role(&self.revokee)
        )
    }
}

/// ` OF role NORECURSIVE`, or less.
fn write_scope(f: &mut Formatter<'_>, role: Option<&Name>, recursive: bool) -> fmt::Result {
    if let Some(role) = role {
        write!(f, " OF {}", Role(role))?;
    }
    f.write_str(when(!recursive, " NORECURSIVE"))
}

impl Display for ListPermissions {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "LIST {}", self.permissions)?;
        if let Some(resource) = &self.resource {
            write!(f, " ON {resource}")?;
        }
        write_scope(f, self.role.as_ref(), self.recursive)
    }
}

impl Display for ListRoles {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("LIST ROLES")?;
        write_scope(f, self.role.as_ref(), self.recursive)
    }
}
