//! CREATE and ALTER TYPE. A changed type is put into everything that is made of it: other types, and the columns of tables.

use std::collections::BTreeSet;
use std::sync::Arc;

use palladium_protocol::cql::ast::{
    AlterType, AlterTypeAction, CreateType, Name, QualifiedName, Type,
};
use palladium_protocol::cql::{self};
use palladium_protocol::response::{Change, SchemaTarget};
use palladium_protocol::types::{CqlType, UserType};

use super::super::{Catalog, ColumnKind, Keyspace, TableSchema, resolve, types};
use super::{
    Circumstances, Plan, changed, check_modifiable, keyspace_of, require_keyspace, with_keyspace,
};
use crate::encode::order;
use crate::error::{CqlError, CqlResult};

pub fn create(
    catalog: &Catalog,
    create: &CreateType,
    circumstances: &Circumstances<'_>,
) -> CqlResult<Plan> {
    let keyspace = keyspace_of(&create.name, circumstances)?;
    let name = create.name.name.as_str();
    check_modifiable(catalog, keyspace)?;
    let there = require_keyspace(catalog, keyspace)?;
    if there.types.contains_key(name) {
        return match create.if_not_exists {
            true => Ok(Plan::Nothing),
            false => Err(CqlError::invalid(format!(
                "A user type with name '{name}' already exists"
            ))),
        };
    }
    let mut seen = BTreeSet::new();
    for (field, _) in &create.fields {
        if !seen.insert(field.as_str()) {
            return Err(CqlError::invalid(format!(
                "Duplicate field name '{}' in type '{name}'",
                field.as_str()
            )));
        }
    }
    let mut written = create.fields.iter();
    written.try_for_each(|(_, of)| resolve::check_field(of))?;
    let fields: CqlResult<Vec<(String, CqlType)>> = create
        .fields
        .iter()
        .map(|(field, of)| {
            let of = resolve::cql_type(catalog, keyspace, of)?;
            Ok((field.as_str().to_owned(), of))
        })
        .collect();
    let fields = fields?;
    let ty = Arc::new(UserType {
        keyspace: keyspace.to_owned(),
        name: name.to_owned(),
        fields,
    });
    check_name(&ty)?;
    resolve::check_extent(&CqlType::Udt(ty.clone()))?;
    let mut next = there.as_ref().clone();
    next.types.insert(name.to_owned(), ty);
    let target = SchemaTarget::Type(name.to_owned());
    changed(
        with_keyspace(catalog, next),
        Change::Created,
        keyspace,
        target,
    )
    .planned()
}

/// The name must be read back as this type wherever the schema writes it; `"int"` would not be.
fn check_name(ty: &Arc<UserType>) -> CqlResult<()> {
    let written = CqlType::Udt(ty.clone()).to_string();
    match cql::parse_type(&written) {
        Ok(Type::User(read)) if read.name == ty.name.as_str() => Ok(()),
        _ => Err(CqlError::invalid(format!(
            "Invalid (reserved) user type name {}",
            ty.name
        ))),
    }
}

pub fn alter(
    catalog: &Catalog,
    alter: &AlterType,
    circumstances: &Circumstances<'_>,
) -> CqlResult<Plan> {
    let keyspace = keyspace_of(&alter.name, circumstances)?;
    let name = alter.name.name.as_str();
    check_modifiable(catalog, keyspace)?;
    let found = catalog
        .keyspace(keyspace)
        .and_then(|there| Some((there, there.types.get(name)?)));
    let Some((there, ty)) = found else {
        return match alter.if_exists {
            true => Ok(Plan::Nothing),
            false => Err(CqlError::invalid(format!(
                "Type {keyspace}.{name} doesn't exist"
            ))),
        };
    };
    let mut altered = ty.as_ref().clone();
    match &alter.action {
        AlterTypeAction::Alter { .. } => {
            return Err(CqlError::invalid(
                "Altering field types is no longer supported",
            ));
        }
        AlterTypeAction::Add {
            if_not_exists,
            field,
            of,
        } => add(catalog, there, &mut altered, field, of, *if_not_exists)?,
        AlterTypeAction::Rename { if_exists, renames } => {
            rename(&mut altered, renames, *if_exists)?
        }
    }
    if altered == **ty {
        return Ok(Plan::Nothing);
    }
    let next = put(there, Arc::new(altered));
    check_extents(&next)?;
    let target = SchemaTarget::Type(name.to_owned());
    changed(
        with_keyspace(catalog, next),
        Change::Updated,
        keyspace,
        target,
    )
    .planned()
}

/// What is made of a changed type has grown with it.
fn check_extents(keyspace: &Keyspace) -> CqlResult<()> {
    let types = keyspace.types.values().cloned().map(CqlType::Udt);
    let tables = keyspace.tables.values();
    let columns = tables.flat_map(|table| table.columns.iter().map(|column| column.ty.clone()));
    types
        .chain(columns)
        .try_for_each(|ty| resolve::check_extent(&ty))
}

fn add(
    catalog: &Catalog,
    keyspace: &Keyspace,
    ty: &mut UserType,
    field: &Name,
    of: &Type,
    if_not_exists: bool,
) -> CqlResult<()> {
    let field = field.as_str();
    resolve::check_field(of)?;
    if ty.fields.iter().any(|(there, _)| there == field) {
        return match if_not_exists {
            true => Ok(()),
            false => Err(CqlError::invalid(format!(
                "Cannot add field {field} to type {}: a field with name {field} already exists",
                full_name(ty)
            ))),
        };
    }
    let shown = types::repeated(of, Some(&ty.keyspace));
    let of = resolve::cql_type(catalog, &ty.keyspace, of)?;
    let name = full_name(ty);
    let refuse = |why: String| {
        Err(CqlError::invalid(format!(
            "Cannot add new field {field} of type {shown} to user type {name} as {why}"
        )))
    };
    if resolve::mentions(&of, &ty.keyspace, &ty.name) {
        return refuse("it would create a circular reference".into());
    }
    let mentions = |of: &CqlType| resolve::mentions(of, &ty.keyspace, &ty.name);
    let with_key = |has: &dyn Fn(&TableSchema) -> bool| -> Vec<String> {
        let tables = keyspace.tables.values();
        let views = tables.clone().flat_map(|table| &table.views);
        let views = views.filter_map(|view| keyspace.table_or_view(&view.name));
        let with_views = tables.chain(views);
        let used_in = with_views.filter(|table| has(table));
        used_in.map(|table| table.full_name()).collect()
    };
    let in_partition_keys = with_key(&|table| {
        table
            .partition_columns()
            .iter()
            .any(|column| mentions(&column.ty))
    });
    if !in_partition_keys.is_empty() {
        return refuse(format!(
            "the type is being used in partition key by the following tables: {}",
            in_partition_keys.join(", ")
        ));
    }
    // A duration has no place in a key, and the keys of a map are framed by whether their type can be spelled in two ways.
    let in_keys = with_key(&|table| {
        table
            .columns
            .iter()
            .any(|column| is_in_key(column.kind, &column.ty, &mentions))
    });
    if !in_keys.is_empty() && (resolve::holds_durations(&of) || order::may_lose_spelling(&of)) {
        return refuse(format!(
            "the type is being used in clustering, sets or map keys by the following tables: {}",
            in_keys.join(", ")
        ));
    }
    // Where the type stands unfrozen it may have such a field only from here: tables with it cannot be made, and each value is one cell.
    ty.fields.push((field.to_owned(), of));
    Ok(())
}

/// `ks."T"`
fn full_name(ty: &UserType) -> QualifiedName {
    QualifiedName::new(Name::exact(&*ty.keyspace), Name::exact(&*ty.name))
}

/// Whether the type stands where bytes are ordered.
fn is_in_key(kind: ColumnKind, ty: &CqlType, mentions: &dyn Fn(&CqlType) -> bool) -> bool {
    match ty {
        _ if kind == ColumnKind::Clustering => mentions(ty),
        CqlType::Set(element) => mentions(element),
        CqlType::Map(key, _) => mentions(key),
        _ => false,
    }
}

fn rename(ty: &mut UserType, renames: &[(Name, Name)], if_exists: bool) -> CqlResult<()> {
    // By the names of before, so that two fields may swap theirs.
    let before: Vec<String> = ty.fields.iter().map(|(field, _)| field.clone()).collect();
    for (from, to) in renames {
        let Some(place) = before.iter().position(|field| field == from.as_str()) else {
            match if_exists {
                true => continue,
                false => {
                    return Err(CqlError::invalid(format!(
                        "Unkown field {} in user type {}",
                        from.as_str(),
                        full_name(ty)
                    )));
                }
            }
        };
        ty.fields[place].0 = to.as_str().to_owned();
    }
    let mut seen = BTreeSet::new();
    match ty
        .fields
        .iter()
        .find(|(field, _)| !seen.insert(field.as_str()))
    {
        None => Ok(()),
        Some((twice, _)) => Err(CqlError::invalid(format!(
            "Duplicate field name {twice} in type {}",
            ty.keyspace
        ))),
    }
}

/// The keyspace with the type changed wherever it is used.
fn put(keyspace: &Keyspace, changed: Arc<UserType>) -> Keyspace {
    let mut next = keyspace.clone();
    for ty in next.types.values_mut() {
        *ty = Arc::new(resolve::user_type_with(ty, &changed));
    }
    let mentions = |ty: &CqlType| resolve::mentions(ty, &changed.keyspace, &changed.name);
    for table in next.tables.values_mut() {
        let in_columns = table.columns.iter().any(|column| mentions(&column.ty));
        // A table that is not concerned stays the very same: statements prepared for it go on.
        if !in_columns && !table.dropped.iter().any(|dropped| mentions(&dropped.ty)) {
            continue;
        }
        let mut definition = table.definition();
        if let Some(before) = keyspace.types.get(&changed.name) {
            let type_of = |name: &Name| Some(table.column(name.as_str())?.ty.clone());
            for view in &mut definition.views {
                Arc::make_mut(view).rename_fields(type_of, before, &changed);
            }
        }
        for column in &mut definition.columns {
            let after = resolve::with_user_type(&column.ty, &changed);
            if let Some(mask) = &mut column.mask {
                mask.follow(&column.ty, &after);
            }
            column.ty = after;
        }
        for dropped in &mut definition.dropped {
            dropped.ty = resolve::with_user_type(&dropped.ty, &changed);
        }
        *table = Arc::new(TableSchema::new(definition));
    }
    next.types.insert(changed.name.clone(), changed);
    next
}
