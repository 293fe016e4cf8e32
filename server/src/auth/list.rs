//! LIST ROLES, LIST USERS, LIST PERMISSIONS: who sees what of the roles, as rows.

use std::sync::Arc;

use palladium_protocol::cql::ast::{ListPermissions, ListRoles, Permission};
use palladium_protocol::response::ColumnSpec;
use palladium_protocol::types::{CqlType, CqlValue};

use super::change::Circumstances;
use super::{PermissionSet, Resource, Role, Roles};
use crate::error::{CqlError, CqlResult};
use crate::permissions::Authority;

/// Rows with the columns they have; no columns: nothing is answered.
#[derive(Debug, Default)]
pub struct Listing {
    /// Of what the rows consist.
    pub columns: Vec<ColumnSpec>,
    /// Values as they travel.
    pub rows: Vec<Vec<Option<Vec<u8>>>>,
}

impl Listing {
    fn new(table: &str, columns: &[(&str, CqlType)]) -> Listing {
        let columns = columns.iter().map(|(name, ty)| ColumnSpec {
            keyspace: "system_auth".into(),
            table: table.into(),
            name: (*name).into(),
            ty: ty.clone(),
        });
        Listing {
            columns: columns.collect(),
            rows: Vec::new(),
        }
    }

    fn add<const N: usize>(&mut self, values: [CqlValue; N]) {
        let values = values.into_iter().map(|value| Some(value.to_bytes()));
        self.rows.push(values.collect());
    }
}

fn text(text: &str) -> CqlValue {
    CqlValue::Text(text.to_owned())
}

/// The data centres of a role as LIST shows them.
fn datacenters(role: &Role, roles: &Roles, authority: &Authority) -> String {
    let limits = role
        .datacenters
        .as_ref()
        .filter(|_| authority.limits_datacenters() && !roles.is_super(&role.name));
    match limits {
        _ if !role.can_login && authority.limits_datacenters() => "n/a".into(),
        None => "ALL".into(),
        Some(names) => {
            let names: Vec<&str> = names.iter().map(String::as_str).collect();
            names.join(", ")
        }
    }
}

/// The roles that an asker may see: all with DESCRIBE on all roles, otherwise his own and those granted to him.
fn visible<'a>(
    of: &Circumstances<'a>,
    asked: Option<&str>,
    recursive: bool,
) -> CqlResult<Vec<&'a Arc<Role>>> {
    if let Some(name) = asked
        && of.roles.get(name).is_none()
    {
        return Err(CqlError::invalid(format!("<role {name}> doesn't exist")));
    }
    let sees_all = of
        .authority
        .permissions(of.asker, &Resource::AllRoles)
        .contains(Permission::Describe);
    let roles_of = |name: &str| of.roles.roles_of(name, recursive).into_values().collect();
    match asked {
        None if sees_all => Ok(of.roles.iter().collect()),
        None => Ok(roles_of(&of.asker.who)),
        Some(name) if sees_all || of.roles.is_member(&of.asker.who, name) => Ok(roles_of(name)),
        Some(name) => Err(CqlError::unauthorized(format!(
            "You are not authorized to view roles granted to {name} "
        ))),
    }
}

pub(super) fn roles(asked: &ListRoles, of: &Circumstances<'_>) -> CqlResult<Listing> {
    let mut listing = Listing::new(
        "roles",
        &[
            ("role", CqlType::Text),
            ("super", CqlType::Boolean),
            ("login", CqlType::Boolean),
            (
                "options",
                CqlType::Map(Arc::new(CqlType::Text), Arc::new(CqlType::Text)),
            ),
            ("datacenters", CqlType::Text),
        ],
    );
    let named = asked.role.as_ref().map(|name| name.as_str());
    for role in visible(of, named, asked.recursive)? {
        listing.add([
            text(&role.name),
            CqlValue::Boolean(role.is_superuser),
            CqlValue::Boolean(role.can_login),
            CqlValue::Map(Vec::new()),
            text(&datacenters(role, of.roles, of.authority)),
        ]);
    }
    Ok(listing)
}

pub(super) fn users(of: &Circumstances<'_>) -> CqlResult<Listing> {
    let mut listing = Listing::new(
        "users",
        &[
            ("name", CqlType::Text),
            ("super", CqlType::Boolean),
            ("datacenters", CqlType::Text),
        ],
    );
    for role in visible(of, None, true)? {
        if !role.can_login {
            continue;
        }
        listing.add([
            text(&role.name),
            CqlValue::Boolean(of.roles.is_super(&role.name)),
            text(&datacenters(role, of.roles, of.authority)),
        ]);
    }
    Ok(listing)
}

pub(super) fn permissions(asked: &ListPermissions, of: &Circumstances<'_>) -> CqlResult<Listing> {
    if !of.authority.authorizes() {
        return Err(CqlError::invalid(
            "LIST PERMISSIONS operation is not supported by AllowAllAuthorizer",
        ));
    }
    let resource = asked
        .resource
        .as_ref()
        .map(|resource| Resource::named(resource, of.keyspace))
        .transpose()?;
    if let Some(resource) = &resource
        && !resource.exists(of.catalog, |role| of.roles.get(role).is_some())
    {
        return Err(CqlError::invalid(format!("{resource} doesn't exist")));
    }
    let named = asked.role.as_ref().map(|name| name.as_str());
    if let Some(name) = named
        && of.roles.get(name).is_none()
    {
        return Err(CqlError::invalid(format!("<role {name}> doesn't exist")));
    }
    let sees = of.authority.is_super(of.asker)
        || named.is_some_and(|name| of.roles.is_member(&of.asker.who, name));
    if !sees {
        return Err(CqlError::unauthorized(format!(
            "You are not authorized to view {}'s permissions",
            named.unwrap_or("everyone")
        )));
    }
    let shown: Vec<&Arc<Role>> = match named {
        Some(name) => of.roles.roles_of(name, true).into_values().collect(),
        None => of.roles.iter().collect(),
    };
    let is_asked = |on: &Resource| match &resource {
        None => true,
        Some(resource) if asked.recursive => resource.is_within(on),
        Some(resource) => resource == on,
    };
    let listing = rows(&shown, is_asked, |on| {
        PermissionSet::named(&asked.permissions, on.applicable())
    });
    // As Cassandra: nothing to show is no rows at all.
    Ok(match listing.rows.is_empty() {
        true => Listing::default(),
        false => listing,
    })
}

/// By role, then by the name of the resource.
fn rows(
    shown: &[&Arc<Role>],
    is_asked: impl Fn(&Resource) -> bool,
    asked: impl Fn(&Resource) -> PermissionSet,
) -> Listing {
    let columns = ["role", "username", "resource", "permission"].map(|name| (name, CqlType::Text));
    let mut listing = Listing::new("permissions", &columns);
    for role in shown {
        let mut granted: Vec<(String, &Resource, PermissionSet)> = role
            .permissions
            .iter()
            .filter(|(on, _)| is_asked(on))
            .map(|(on, granted)| (on.name(), on, granted.intersection(asked(on))))
            .collect();
        granted.sort_by(|one, other| one.0.cmp(&other.0));
        for (_, on, granted) in granted {
            for permission in granted.iter() {
                listing.add([
                    text(&role.name),
                    text(&role.name),
                    text(&on.to_string()),
                    text(permission.name()),
                ]);
            }
        }
    }
    listing
}
