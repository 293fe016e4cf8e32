//! DROP KEYSPACE, DROP TABLE, DROP TYPE.

use std::sync::Arc;

use palladium_protocol::cql::ast::{DropKeyspace, DropTable, DropType};
use palladium_protocol::response::{Change, SchemaTarget};
use palladium_protocol::types::CqlType;

use super::super::{Catalog, TableSchema, resolve};
use super::keyspace::check_name;
use super::{
    Circumstances, Effect, Plan, base_of_view, changed, check_modifiable, keyspace_of,
    with_keyspace,
};
use crate::error::{CqlError, CqlResult};

pub fn keyspace(catalog: &Catalog, drop: &DropKeyspace) -> CqlResult<Plan> {
    let name = drop.keyspace.as_str();
    check_modifiable(catalog, name)?;
    check_name(name)?;
    let Some(keyspace) = catalog.keyspace(name) else {
        return match drop.if_exists {
            true => Ok(Plan::Nothing),
            false => Err(CqlError::invalid(format!(
                "Keyspace '{name}' doesn't exist"
            ))),
        };
    };
    let mut next = catalog.clone();
    next.keyspaces.remove(name);
    let mut changed = changed(next, Change::Dropped, name, SchemaTarget::Keyspace);
    for table in keyspace.tables.values() {
        changed = changed.with_effect(Effect::Drop(table.id));
    }
    changed.planned()
}

pub fn table(
    catalog: &Catalog,
    drop: &DropTable,
    circumstances: &Circumstances<'_>,
) -> CqlResult<Plan> {
    let keyspace = keyspace_of(&drop.table, circumstances)?;
    let name = drop.table.name.as_str();
    check_modifiable(catalog, keyspace)?;
    if catalog
        .keyspace(keyspace)
        .is_some_and(|there| base_of_view(there, name).is_some())
    {
        return Err(CqlError::invalid(
            "Cannot use DROP TABLE on a materialized view. Please use DROP MATERIALIZED VIEW instead.",
        ));
    }
    let Some((there, table)) = catalog
        .keyspace(keyspace)
        .and_then(|there| Some((there, there.tables.get(name)?)))
    else {
        return match drop.if_exists {
            true => Ok(Plan::Nothing),
            false => Err(CqlError::invalid(format!(
                "Table '{keyspace}.{name}' doesn't exist"
            ))),
        };
    };
    if table.has_views() {
        // Cassandra names the keyspace where it means the views.
        return Err(CqlError::invalid(format!(
            "Cannot drop a table when materialized views still depend on it ({keyspace})"
        )));
    }
    let mut next = there.as_ref().clone();
    next.tables.remove(name);
    let target = SchemaTarget::Table(name.to_owned());
    changed(
        with_keyspace(catalog, next),
        Change::Dropped,
        keyspace,
        target,
    )
    .with_effect(Effect::Drop(table.id))
    .planned()
}

pub fn user_type(
    catalog: &Catalog,
    drop: &DropType,
    circumstances: &Circumstances<'_>,
) -> CqlResult<Plan> {
    let keyspace = keyspace_of(&drop.name, circumstances)?;
    let name = drop.name.name.as_str();
    check_modifiable(catalog, keyspace)?;
    let Some(there) = catalog
        .keyspace(keyspace)
        .filter(|there| there.types.contains_key(name))
    else {
        return match drop.if_exists {
            true => Ok(Plan::Nothing),
            false => Err(CqlError::invalid(format!(
                "Type '{keyspace}.{name}' doesn't exist"
            ))),
        };
    };
    let still_used = |kind: &str, users: Vec<&str>| match users.is_empty() {
        true => Ok(()),
        false => Err(CqlError::invalid(format!(
            "Cannot drop user type '{keyspace}.{name}' as it is still used by {kind} {}",
            users.join(", ")
        ))),
    };
    let mentions = |ty: &CqlType| resolve::mentions(ty, keyspace, name);
    let types = there.types.values().filter(|ty| ty.name != name);
    let types = types.filter(|ty| ty.fields.iter().any(|(_, field)| mentions(field)));
    still_used("user types", types.map(|ty| ty.name.as_str()).collect())?;
    let tables = there.tables.values();
    let tables = tables.filter(|table| table.columns.iter().any(|column| mentions(&column.ty)));
    still_used("tables", tables.map(|table| table.name.as_str()).collect())?;
    let mut next = there.as_ref().clone();
    next.types.remove(name);
    // What is said of columns that are gone must be readable without the type.
    for table in next.tables.values_mut() {
        if table.dropped.iter().any(|dropped| mentions(&dropped.ty)) {
            let mut definition = table.definition();
            definition.dropped.retain(|dropped| !mentions(&dropped.ty));
            *table = Arc::new(TableSchema::new(definition));
        }
    }
    let target = SchemaTarget::Type(name.to_owned());
    changed(
        with_keyspace(catalog, next),
        Change::Dropped,
        keyspace,
        target,
    )
    .planned()
}
