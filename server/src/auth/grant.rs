//! GRANT and REVOKE: roles to roles, permissions to roles. And what a schema change grants and revokes by itself.

use palladium_protocol::cql::ast::{self, Grant, GrantRole, Name, Permission, Revoke, RevokeRole};
use palladium_protocol::response::{Change as Kind, SchemaChange, SchemaTarget};

use super::change::{Change, Circumstances, Plan, Told, changed, check_role, role};
use super::resource::UNQUALIFIED;
use super::{PermissionSet, Resource, Roles};
use crate::audit::{Asker, Standing};
use crate::error::{CqlError, CqlResult};
use crate::schema::Catalog;
use crate::schema::change::base_of_view;

/// Roles that may be members of one another, one inside the other.
const DEPTH_MAX: usize = 1_000;

pub(super) fn grant_role(granted: &GrantRole, of: &Circumstances<'_>) -> CqlResult<Plan> {
    let (name, grantee) = (granted.role.as_str(), granted.grantee.as_str());
    check_role(of, Permission::Authorize, &role(&granted.role))?;
    both_exist(&granted.role, &granted.grantee, of)?;
    let member = |of_role: &str, role: &str| {
        Err(CqlError::invalid(format!(
            "{of_role} is a member of {role}"
        )))
    };
    if of.roles.is_member(grantee, name) {
        return member(grantee, name);
    }
    if of.roles.is_member(name, grantee) {
        return member(name, grantee);
    }
    if of.roles.roles_of(name, true).len() >= DEPTH_MAX {
        return Err(CqlError::invalid(format!(
            "A role can have at most {DEPTH_MAX} roles granted to it, those of its roles included"
        )));
    }
    let mut roles = of.roles.next();
    roles.change(grantee, |role| {
        role.member_of.insert(name.to_owned());
    });
    changed(roles, membership("GRANT ROLE", name, grantee))
}

pub(super) fn revoke_role(revoked: &RevokeRole, of: &Circumstances<'_>) -> CqlResult<Plan> {
    let (name, revokee) = (revoked.role.as_str(), revoked.revokee.as_str());
    check_role(of, Permission::Authorize, &role(&revoked.role))?;
    both_exist(&revoked.role, &revoked.revokee, of)?;
    let is_member = of.roles.get(revokee);
    if !is_member.is_some_and(|role| role.member_of.contains(name)) {
        return Err(CqlError::invalid(format!(
            "{revokee} is not a member of {name}"
        )));
    }
    let mut roles = of.roles.next();
    roles.change(revokee, |role| {
        role.member_of.remove(name);
    });
    changed(roles, membership("REVOKE ROLE", name, revokee))
}

fn both_exist(one: &Name, other: &Name, of: &Circumstances<'_>) -> CqlResult<()> {
    for name in [one, other] {
        if of.roles.get(name.as_str()).is_none() {
            return Err(CqlError::invalid(format!(
                "{} doesn't exist",
                name.as_str()
            )));
        }
    }
    Ok(())
}

fn membership(operation: &'static str, granted: &str, to: &str) -> Told {
    Told {
        operation,
        role: to.to_owned(),
        more: vec![("granted", granted.to_owned())],
        ..Told::default()
    }
}

pub(super) fn grant(granted: &Grant, of: &Circumstances<'_>) -> CqlResult<Plan> {
    let resource = Resource::named(&granted.resource, of.keyspace)?;
    let named = PermissionSet::named(&granted.permissions, resource.applicable());
    check(&resource, named, &granted.role, "GRANT", of)?;
    if named.minus(resource.ungrantable()) != named {
        return Err(CqlError::unauthorized(
            "Granting permissions on system keyspaces is strictly limited, this operation is not permitted",
        ));
    }
    let name = granted.role.as_str();
    let mut roles = of.roles.next();
    let new = roles.grant(name, named, &resource);
    let had = named.minus(new);
    let warning = format!(
        "Role '{name}' was already granted {} on {resource}",
        had.names()
    );
    let warned = (!had.is_empty()).then_some(warning);
    finish(roles, warned, "GRANT", name, &resource, new)
}

pub(super) fn revoke(revoked: &Revoke, of: &Circumstances<'_>) -> CqlResult<Plan> {
    let resource = Resource::named(&revoked.resource, of.keyspace)?;
    let named = PermissionSet::named(&revoked.permissions, resource.applicable());
    check(&resource, named, &revoked.role, "REVOKE", of)?;
    let name = revoked.role.as_str();
    let mut roles = of.roles.next();
    let had = roles.revoke(name, named, &resource);
    let had_not = named.minus(had);
    let warning = format!(
        "Role '{name}' was not granted {} on {resource}",
        had_not.names()
    );
    let warned = (!had_not.is_empty()).then_some(warning);
    finish(roles, warned, "REVOKE", name, &resource, had)
}

fn check(
    resource: &Resource,
    permissions: PermissionSet,
    grantee: &Name,
    operation: &str,
    of: &Circumstances<'_>,
) -> CqlResult<()> {
    if !of.authority.authorizes() {
        return Err(CqlError::invalid(format!(
            "{operation} operation is not supported by AllowAllAuthorizer"
        )));
    }
    of.authority
        .check(of.asker, Permission::Authorize, resource)?;
    for permission in permissions.iter() {
        of.authority.check(of.asker, permission, resource)?;
    }
    if of.roles.get(grantee.as_str()).is_none() {
        return Err(CqlError::invalid(format!(
            "Role {} doesn't exist",
            grantee.as_str()
        )));
    }
    if let Resource::Function(keyspace, _) | Resource::KeyspaceFunctions(keyspace) = resource {
        check_not_native(keyspace)?;
    }
    match resource.exists(of.catalog, |role| of.roles.get(role).is_some()) {
        true => Ok(()),
        false => Err(CqlError::invalid(format!(
            "Resource {resource} doesn't exist"
        ))),
    }
}

/// What is said of a function before it is known who asks: it is named with its keyspace, and is none of the server's own.
pub(super) fn check_function(resource: &ast::Resource) -> CqlResult<()> {
    check_qualified(resource)?;
    match resource {
        ast::Resource::Function(signature) => {
            let mut keyspace = signature.name.keyspace.iter();
            keyspace.try_for_each(|keyspace| check_not_native(keyspace.as_str()))
        }
        ast::Resource::KeyspaceFunctions(keyspace) => check_not_native(keyspace.as_str()),
        _ => Ok(()),
    }
}

pub(super) fn check_qualified(resource: &ast::Resource) -> CqlResult<()> {
    match resource {
        ast::Resource::Function(signature) if signature.name.keyspace.is_none() => {
            Err(CqlError::invalid(UNQUALIFIED))
        }
        _ => Ok(()),
    }
}

fn check_not_native(keyspace: &str) -> CqlResult<()> {
    match keyspace {
        "system" => Err(CqlError::invalid(
            "Altering permissions on builtin functions is not supported",
        )),
        _ => Ok(()),
    }
}

fn finish(
    roles: Roles,
    warning: Option<String>,
    operation: &'static str,
    role: &str,
    resource: &Resource,
    permissions: PermissionSet,
) -> CqlResult<Plan> {
    let told = Told {
        operation,
        role: role.to_owned(),
        more: vec![
            ("resource", resource.name()),
            ("permissions", permissions.names()),
        ],
        table: match resource {
            Resource::Table(keyspace, table) => Some((keyspace.clone(), table.clone())),
            _ => None,
        },
        key: match resource {
            Resource::Key(name) => Some(name.clone()),
            _ => None,
        },
    };
    Ok(Plan::Change(Box::new(Change {
        roles,
        warnings: warning.into_iter().collect(),
        told,
    })))
}

/// The roles after a schema change, which led to this catalog: who makes something may do everything with it, and what was granted on what is gone is gone.
/// None: they are the same.
///
/// Who makes a view is given nothing: it shows what its base holds, which is granted there.
pub fn follow(
    roles: &Roles,
    change: &SchemaChange,
    catalog: &Catalog,
    asker: &Asker,
) -> Option<Roles> {
    let resources = resources_of(change);
    match change.change {
        Kind::Created if is_view(change, catalog) => None,
        Kind::Created if matches!(asker.standing, Standing::Role(_)) => {
            let mut next = roles.next();
            let mut any = false;
            for resource in &resources {
                let new = next.grant(&asker.who, resource.applicable(), resource);
                any |= !new.is_empty();
            }
            any.then_some(next)
        }
        Kind::Dropped if resources.iter().any(|of| roles.anybody_has_on(of)) => {
            let mut next = roles.next();
            for resource in &resources {
                next.revoke_all_on(resource);
            }
            Some(next)
        }
        _ => None,
    }
}

fn is_view(change: &SchemaChange, catalog: &Catalog) -> bool {
    let SchemaTarget::Table(name) = &change.target else {
        return false;
    };
    let keyspace = catalog.keyspace(&change.keyspace);
    keyspace.is_some_and(|keyspace| base_of_view(keyspace, name).is_some())
}

fn resources_of(change: &SchemaChange) -> Vec<Resource> {
    match &change.target {
        SchemaTarget::Keyspace => vec![
            Resource::Keyspace(change.keyspace.clone()),
            Resource::KeyspaceFunctions(change.keyspace.clone()),
        ],
        SchemaTarget::Table(table) => vec![Resource::table(&change.keyspace, table)],
        _ => Vec::new(),
    }
}
