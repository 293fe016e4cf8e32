//! `system_auth`: the roles as Cassandra keeps them. Rows are made from the snapshot of the moment; what changes them are role statements.
//!
//! `resource_role_permissons_index` is spelt as Cassandra spells it. Hashes are for superusers' eyes only.

use std::collections::BTreeSet;

use palladium_protocol::types::CqlValue;

use super::rows::{Named, Rows, boolean, text, text_set};
use crate::audit::Asker;
use crate::auth::{PermissionSet, Roles};
use crate::database::Database;
use crate::error::CqlResult;

/// The rows of one of these tables.
pub fn fill(database: &Database, table: &str, asker: &Asker, rows: &mut Rows<'_>) -> CqlResult<()> {
    let roles = database.authority.roles();
    match table {
        "roles" => {
            let shows_hashes = database.authority.is_super(asker);
            self::roles(&roles, shows_hashes, rows)
        }
        "role_members" => members(&roles, rows),
        "role_permissions" => permissions(&roles, rows),
        "resource_role_permissons_index" => index(&roles, rows),
        "network_permissions" => networks(&roles, rows),
        "cidr_permissions" => cidrs(&roles, rows),
        "cidr_groups" => groups(database, rows),
        "identity_to_role" => identities(&roles, rows),
        _ => Ok(()),
    }
}

fn set(names: &BTreeSet<String>) -> Option<CqlValue> {
    match names.is_empty() {
        true => None,
        false => text_set(names.iter().cloned()),
    }
}

fn roles(roles: &Roles, shows_hashes: bool, rows: &mut Rows<'_>) -> CqlResult<()> {
    for role in roles.iter() {
        let hash = role.salted_hash.as_ref().filter(|_| shows_hashes);
        rows.add(vec![
            ("role", text(&role.name)),
            ("can_login", boolean(role.can_login)),
            ("is_superuser", boolean(role.is_superuser)),
            ("member_of", set(&role.member_of)),
            ("salted_hash", hash.and_then(|hash| text(&hash.0))),
        ])?;
    }
    Ok(())
}

fn members(roles: &Roles, rows: &mut Rows<'_>) -> CqlResult<()> {
    for role in roles.iter() {
        for group in &role.member_of {
            rows.add(vec![("role", text(group)), ("member", text(&role.name))])?;
        }
    }
    Ok(())
}

fn names(permissions: PermissionSet) -> Option<CqlValue> {
    text_set(
        permissions
            .iter()
            .map(|permission| permission.name().to_owned()),
    )
}

fn permissions(roles: &Roles, rows: &mut Rows<'_>) -> CqlResult<()> {
    for role in roles.iter() {
        for (resource, permissions) in &role.permissions {
            rows.add(vec![
                ("role", text(&role.name)),
                ("resource", text(resource.name())),
                ("permissions", names(*permissions)),
            ])?;
        }
    }
    Ok(())
}

fn index(roles: &Roles, rows: &mut Rows<'_>) -> CqlResult<()> {
    for role in roles.iter() {
        for resource in role.permissions.keys() {
            rows.add(vec![
                ("resource", text(resource.name())),
                ("role", text(&role.name)),
            ])?;
        }
    }
    Ok(())
}

fn networks(roles: &Roles, rows: &mut Rows<'_>) -> CqlResult<()> {
    for role in roles.iter() {
        if let Some(datacenters) = &role.datacenters {
            let name = format!("roles/{}", role.name);
            rows.add(vec![("role", text(name)), ("dcs", set(datacenters))])?;
        }
    }
    Ok(())
}

fn cidrs(roles: &Roles, rows: &mut Rows<'_>) -> CqlResult<()> {
    for role in roles.iter() {
        if let Some(groups) = &role.cidr_groups {
            rows.add(vec![
                ("role", text(&role.name)),
                ("cidr_groups", set(groups)),
            ])?;
        }
    }
    Ok(())
}

fn groups(database: &Database, rows: &mut Rows<'_>) -> CqlResult<()> {
    for (name, networks) in &database.authority.cidr_groups {
        let mut networks = networks.clone();
        networks.sort();
        let tuples = networks.iter().map(|network| {
            let bits = CqlValue::Smallint(network.bits.into());
            CqlValue::Tuple(vec![Some(CqlValue::Inet(network.address)), Some(bits)])
        });
        let row: Vec<Named> = vec![
            ("cidr_group", text(name)),
            ("cidrs", Some(CqlValue::Set(tuples.collect()))),
        ];
        rows.add(row)?;
    }
    Ok(())
}

fn identities(roles: &Roles, rows: &mut Rows<'_>) -> CqlResult<()> {
    for (identity, role) in &roles.identities {
        rows.add(vec![("identity", text(identity)), ("role", text(role))])?;
    }
    Ok(())
}
