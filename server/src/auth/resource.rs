//! What permissions are about: a tree of resources, each kind with its own root.
//!
//! ```text
//! data    <all keyspaces> ─ <keyspace ks> ─ <all tables in ks> ─ <table ks.t>
//! roles   <all roles> ─ <role r>
//! functions  <all functions> ─ <all functions in ks> ─ <function ks.f(int)>
//! mbean   <all mbeans> ─ <mbean name>
//! keys    <all keys> ─ <key local:orders>                                         ours: the keys that tables are under
//! ```
//!
//! What must hold: a permission on a resource holds for all below it; `name` and `parse` are each other's inverse, because names are what is stored.

use std::fmt;

use palladium_crypto::CmkRef;
use palladium_protocol::cql::ast::{self, Permission};

use super::PermissionSet;
use super::permission::ALL;
use crate::error::{CqlError, CqlResult};
use crate::schema::catalog::NO_KEYSPACE;
use crate::schema::{Catalog, TableSchema};

/// A resource.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Resource {
    /// ALL KEYSPACES
    AllKeyspaces,
    /// KEYSPACE ks
    Keyspace(String),
    /// ALL TABLES IN KEYSPACE ks
    AllTables(String),
    /// TABLE ks.t
    Table(String, String),
    /// ALL ROLES
    AllRoles,
    /// ROLE r
    Role(String),
    /// ALL FUNCTIONS
    AllFunctions,
    /// ALL FUNCTIONS IN KEYSPACE ks
    KeyspaceFunctions(String),
    /// FUNCTION ks.f(int): its keyspace, and the rest as it is shown.
    Function(String, String),
    /// ALL MBEANS
    AllMbeans,
    /// MBEAN or MBEANS
    Mbean(String),
    /// ALL KEYS
    AllKeys,
    /// KEY 'name'
    Key(String),
}

use Resource::{
    AllFunctions, AllKeys, AllKeyspaces, AllMbeans, AllRoles, AllTables, Function, Key, Keyspace,
    KeyspaceFunctions, Mbean, Role, Table,
};

/// Keyspaces whose permissions are granted on them or below them alone. Without that, whoever may read all tables of all users would read who has which
/// roles, and whoever may write them would reach what the server does at a row's bidding.
const SERVERS_KEYSPACES: [&str; 9] = [
    "system",
    "system_auth",
    "system_distributed",
    "system_palladium",
    "system_schema",
    "system_schema_mcs",
    "system_traces",
    "system_views",
    "system_virtual_schema",
];

/// Those of them of which little can be granted at all: they are not made up when they are read.
const STORED_KEYSPACES: [&str; 5] = [
    "system",
    "system_auth",
    "system_distributed",
    "system_schema",
    "system_traces",
];

/// What is said of a function without its keyspace, whichever the session is in.
pub(super) const UNQUALIFIED: &str =
    "In this context function name must be explictly qualified by a keyspace";

impl Resource {
    /// A table.
    pub fn table(keyspace: &str, table: &str) -> Resource {
        Table(keyspace.to_owned(), table.to_owned())
    }

    /// Where SELECT, UNMASK and SELECT_MASKED are asked for whoever reads this table: a view shows what its base holds.
    pub fn read_with(table: &TableSchema) -> Resource {
        let name = match &table.view {
            Some(view) => &view.base,
            None => &table.name,
        };
        Resource::table(&table.keyspace, name)
    }

    /// The one above; a permission there holds here.
    pub fn parent(&self) -> Option<Resource> {
        Some(match self {
            AllKeyspaces | AllRoles | AllFunctions | AllMbeans | AllKeys => return None,
            Keyspace(_) => AllKeyspaces,
            AllTables(keyspace) => Keyspace(keyspace.clone()),
            Table(keyspace, _) => AllTables(keyspace.clone()),
            Role(_) => AllRoles,
            KeyspaceFunctions(_) => AllFunctions,
            Function(keyspace, _) => KeyspaceFunctions(keyspace.clone()),
            Mbean(_) => AllMbeans,
            Key(_) => AllKeys,
        })
    }

    /// Itself and all above it.
    pub fn chain(&self) -> impl Iterator<Item = Resource> {
        std::iter::successors(Some(self.clone()), Resource::parent)
    }

    /// Those of them on which a permission holds here, of a role that is no superuser's: what is granted on all keyspaces is about users' own, and
    /// reaches none of the server's.
    pub fn reached_from(&self) -> impl Iterator<Item = Resource> {
        let is_servers = match self {
            Keyspace(keyspace) | AllTables(keyspace) | Table(keyspace, _) => {
                SERVERS_KEYSPACES.contains(&keyspace.as_str())
            }
            _ => false,
        };
        self.chain()
            .filter(move |above| !(is_servers && *above == AllKeyspaces))
    }

    /// Whether it is this one or lies below it.
    pub fn is_within(&self, above: &Resource) -> bool {
        self.chain().any(|resource| resource == *above)
    }

    /// What can be had on it.
    pub fn applicable(&self) -> PermissionSet {
        let like = match self {
            AllKeyspaces => ast::Resource::AllKeyspaces,
            Keyspace(_) | AllTables(_) => ast::Resource::AllKeyspaces,
            Table(_, name) => {
                ast::Resource::Table(ast::QualifiedName::local(ast::Name::exact(name.as_str())))
            }
            AllRoles => ast::Resource::AllRoles,
            Role(name) => ast::Resource::Role(ast::Name::exact(name.as_str())),
            AllFunctions | KeyspaceFunctions(_) => ast::Resource::AllFunctions,
            Function(..) => {
                return [
                    Permission::Alter,
                    Permission::Drop,
                    Permission::Authorize,
                    Permission::Execute,
                ]
                .into_iter()
                .collect();
            }
            AllMbeans | Mbean(_) => ast::Resource::AllMbeans,
            AllKeys | Key(_) => ast::Resource::Key(String::new()),
        };
        ALL.into_iter()
            .filter(|permission| like.applicable(*permission))
            .collect()
    }

    /// What of it nobody is given: but for SELECT and ALTER, all that there is on keyspaces of the server's own.
    pub fn ungrantable(&self) -> PermissionSet {
        match self {
            Keyspace(keyspace) | AllTables(keyspace) | Table(keyspace, _)
                if STORED_KEYSPACES.contains(&keyspace.as_str()) =>
            {
                let grantable = [Permission::Select, Permission::Alter];
                self.applicable().minus(grantable.into_iter().collect())
            }
            _ => PermissionSet::EMPTY,
        }
    }

    /// The name under which permissions on it are stored, as in `system_auth`.
    pub fn name(&self) -> String {
        match self {
            AllKeyspaces => "data".into(),
            Keyspace(keyspace) => format!("data/{keyspace}"),
            AllTables(keyspace) => format!("data/{keyspace}/*"),
            Table(keyspace, table) => format!("data/{keyspace}/{table}"),
            AllRoles => "roles".into(),
            Role(role) => format!("roles/{role}"),
            AllFunctions => "functions".into(),
            KeyspaceFunctions(keyspace) => format!("functions/{keyspace}"),
            Function(keyspace, function) => format!("functions/{keyspace}/{function}"),
            AllMbeans => "mbean".into(),
            Mbean(name) => format!("mbean/{name}"),
            AllKeys => "keys".into(),
            Key(name) => format!("keys/{name}"),
        }
    }

    /// The resource of a stored name. Keyspaces and tables have no slash in their names; roles, beans and keys may.
    pub fn parse(name: &str) -> Option<Resource> {
        let (kind, rest) = match name.split_once('/') {
            Some((kind, rest)) => (kind, Some(rest)),
            None => (name, None),
        };
        Some(match (kind, rest) {
            ("data", None) => AllKeyspaces,
            ("data", Some(rest)) => match rest.split_once('/') {
                None => Keyspace(rest.into()),
                Some((keyspace, "*")) => AllTables(keyspace.into()),
                Some((keyspace, table)) => Resource::table(keyspace, table),
            },
            ("roles", None) => AllRoles,
            ("roles", Some(role)) => Role(role.into()),
            ("functions", None) => AllFunctions,
            ("functions", Some(rest)) => match rest.split_once('/') {
                None => KeyspaceFunctions(rest.into()),
                Some((keyspace, function)) => Function(keyspace.into(), function.into()),
            },
            ("mbean", None) => AllMbeans,
            ("mbean", Some(name)) => Mbean(name.into()),
            ("keys", None) => AllKeys,
            ("keys", Some(name)) => Key(name.into()),
            _ => return None,
        })
    }

    /// What a statement names, for a session in `keyspace`.
    pub fn named(resource: &ast::Resource, session: Option<&str>) -> CqlResult<Resource> {
        let keyspace_of = |name: &ast::QualifiedName| {
            let keyspace = name.keyspace.as_ref().map(ast::Name::as_str).or(session);
            keyspace
                .map(str::to_owned)
                .ok_or_else(|| CqlError::invalid(NO_KEYSPACE))
        };
        Ok(match resource {
            ast::Resource::AllKeyspaces => AllKeyspaces,
            ast::Resource::Keyspace(name) => Keyspace(name.as_str().into()),
            ast::Resource::AllTables(name) => AllTables(name.as_str().into()),
            ast::Resource::Table(name) => Table(keyspace_of(name)?, name.name.as_str().into()),
            ast::Resource::AllRoles => AllRoles,
            ast::Resource::Role(name) => Role(name.as_str().into()),
            ast::Resource::AllFunctions => AllFunctions,
            ast::Resource::KeyspaceFunctions(name) => KeyspaceFunctions(name.as_str().into()),
            ast::Resource::Function(signature) => {
                let arguments: Vec<String> = signature
                    .arguments
                    .iter()
                    .map(ToString::to_string)
                    .collect();
                let name = signature.name.name.as_str();
                let keyspace = signature.name.keyspace.as_ref();
                let keyspace = keyspace.ok_or_else(|| CqlError::invalid(UNQUALIFIED))?;
                Function(
                    keyspace.as_str().to_owned(),
                    format!("{name}({})", arguments.join(", ")),
                )
            }
            ast::Resource::AllMbeans => AllMbeans,
            ast::Resource::Mbean(name) | ast::Resource::Mbeans(name) => Mbean(name.clone()),
            ast::Resource::AllKeys => AllKeys,
            ast::Resource::Key(name) => {
                // One key, one name: as the catalog spells it.
                let key = CmkRef::parse(name).map_err(|error| {
                    // A refusal is recorded.
                    let shown = CmkRef::without_values(name);
                    CqlError::invalid(format!("Resource <key {shown}> doesn't exist: {error}"))
                })?;
                Key(key.to_string())
            }
        })
    }

    /// Whether there is such a thing. Keys are elsewhere: any that can be named is taken.
    pub fn exists(&self, catalog: &Catalog, is_role: impl Fn(&str) -> bool) -> bool {
        match self {
            AllKeyspaces | AllRoles | AllFunctions | AllMbeans | AllKeys | Key(_) => true,
            Keyspace(keyspace) | AllTables(keyspace) | KeyspaceFunctions(keyspace) => {
                catalog.keyspace(keyspace).is_some()
            }
            Table(keyspace, table) => catalog.table(keyspace, table).is_some(),
            Role(role) => is_role(role),
            // There are no user-defined functions, and no beans.
            Function(..) | Mbean(_) => false,
        }
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AllKeyspaces => f.write_str("<all keyspaces>"),
            Keyspace(keyspace) => write!(f, "<keyspace {keyspace}>"),
            AllTables(keyspace) => write!(f, "<all tables in {keyspace}>"),
            Table(keyspace, table) => write!(f, "<table {keyspace}.{table}>"),
            AllRoles => f.write_str("<all roles>"),
            Role(role) => write!(f, "<role {role}>"),
            AllFunctions => f.write_str("<all functions>"),
            KeyspaceFunctions(keyspace) => write!(f, "<all functions in {keyspace}>"),
            Function(keyspace, function) => write!(f, "<function {keyspace}.{function}>"),
            AllMbeans => f.write_str("<all mbeans>"),
            Mbean(name) => write!(f, "<mbean {name}>"),
            AllKeys => f.write_str("<all keys>"),
            Key(name) => write!(f, "<key {name}>"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_name_is_read_back() {
        let text = String::from;
        for resource in [
            AllKeyspaces,
            Keyspace(text("ks")),
            AllTables(text("ks")),
            Resource::table("ks", "t"),
            AllRoles,
            Role(text("a/b*")),
            AllFunctions,
            KeyspaceFunctions(text("ks")),
            Function(text("ks"), text("f(int, text)")),
            AllMbeans,
            Mbean(text("org.apache:type=*")),
            AllKeys,
            Key(text("arn:aws:kms:eu-west-1:111122223333:key/1")),
        ] {
            assert_eq!(Resource::parse(&resource.name()), Some(resource));
        }
        assert_eq!(Resource::parse("nothing/x"), None);
    }

    #[test]
    fn a_table_lies_below_all_tables_the_keyspace_and_all_keyspaces() {
        let names: Vec<String> = Resource::table("ks", "t")
            .chain()
            .map(|resource| resource.to_string())
            .collect();
        assert_eq!(
            names,
            [
                "<table ks.t>",
                "<all tables in ks>",
                "<keyspace ks>",
                "<all keyspaces>"
            ]
        );
    }
}
