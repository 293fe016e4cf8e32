//! CREATE, ALTER and DROP MATERIALIZED VIEW, in Cassandra's order of checks.

use std::collections::BTreeSet;
use std::sync::Arc;

use palladium_protocol::cql::ast::{
    AlterView, CreateView, Direction, DropView, Name, Relation, Selectable, Selection,
};
use palladium_protocol::response::{Change, SchemaTarget};
use palladium_protocol::types::CqlType;
use palladium_storage::Store;

use super::super::hashed::{in_hash_order, of_identifier};
use super::super::view::View;
use super::super::{Catalog, ColumnKind, Keyspace, TableOptions, TableSchema, resolve};
use super::create_table::{check_id, check_no_id, check_table_name, properties};
use super::written::clustering_order;
use super::{
    Circumstances, Effect, Plan, changed, check_modifiable, check_not_ours, keyspace_of,
    require_keyspace, with_keyspace,
};
use crate::error::{CqlError, CqlResult};
use crate::query::analyze::restrict::check_view_conditions;
use crate::query::analyze::term::undefined;

const USAGE_WARNING: &str =
    "Materialized views are experimental and are not recommended for production use.";

pub fn create(
    catalog: &Catalog,
    create: &CreateView,
    circumstances: &Circumstances<'_>,
) -> CqlResult<Plan> {
    let keyspace = keyspace_of(&create.view, circumstances)?;
    check_modifiable(catalog, keyspace)?;
    let there = require_keyspace(catalog, keyspace)?;
    let name = create.view.name.as_str();
    let base_name = create.table.name.as_str();
    let base = there
        .tables
        .get(base_name)
        .ok_or_else(|| CqlError::invalid(format!("Base table '{base_name}' doesn't exist")))?;
    if there.tables.contains_key(name) {
        return Err(CqlError::invalid(format!(
            "Cannot create materialized view '{name}' - a table with the same name already exists"
        )));
    }
    if base_of(there, name).is_some() {
        return match create.if_not_exists {
            true => Ok(Plan::Warned(vec![USAGE_WARNING.to_owned()])),
            false => Err(CqlError::already_exists(keyspace, name)),
        };
    }
    if base.is_counter() {
        return Err(CqlError::invalid(
            "Materialized views are not supported on counter tables",
        ));
    }
    if base.options.gc_grace_seconds == 0 {
        return Err(CqlError::invalid(format!(
            "Cannot create materialized view '{name}' for base table '{base_name}' with gc_grace_seconds of 0, since this value is used to \
             TTL undelivered updates. Setting gc_grace_seconds too low might cause undelivered updates to expire before being replayed."
        )));
    }
    let columns = selected(base, name, &create.selection)?;
    check_key(base, name, create, columns.as_deref())?;
    let clustering = clustering(base, create)?;
    check_base_key(base, name, create)?;
    check_where(catalog, base, name, create)?;
    let options = options(create)?;
    check_table_name(keyspace, name)?;
    let mut definition = base.definition();
    definition.next_store = base.next_store.checked_add(1).ok_or_else(|| {
        CqlError::invalid("The table has had as many views as a table can have in its life")
    })?;
    let store = Store(base.next_store);
    definition.views.push(Arc::new(View {
        name: name.to_owned(),
        id: circumstances.new_id,
        base: base_name.to_owned(),
        partition_key: create
            .primary_key
            .partition
            .iter()
            .map(|column| column.as_str().to_owned())
            .collect(),
        clustering,
        columns,
        relations: create.relations.clone(),
        options,
        store,
        is_built: false,
    }));
    let table = Arc::new(TableSchema::new(definition));
    let target = SchemaTarget::Table(name.to_owned());
    changed(
        with_base(catalog, there, table.clone()),
        Change::Created,
        keyspace,
        target,
    )
    .with_effect(Effect::Build(table, store))
    .with_warnings([USAGE_WARNING.to_owned()])
    .planned()
}

pub fn alter(
    catalog: &Catalog,
    alter: &AlterView,
    circumstances: &Circumstances<'_>,
) -> CqlResult<Plan> {
    let keyspace = keyspace_of(&alter.view, circumstances)?;
    let name = alter.view.name.as_str();
    check_not_ours(catalog, keyspace)?;
    let Some((there, base)) = found(catalog, keyspace, name) else {
        return missing(keyspace, name, alter.if_exists);
    };
    check_properties(
        alter
            .properties
            .iter()
            .map(|property| property.name.as_str()),
    )?;
    let mut definition = base.definition();
    for view in definition.views.iter_mut().filter(|view| view.name == name) {
        let options = view.options.alter(&alter.properties)?;
        check_no_id(&alter.properties)?;
        if options.gc_grace_seconds == 0 {
            return Err(CqlError::invalid(
                "Cannot alter gc_grace_seconds of a materialized view to 0, since this value is used to TTL undelivered updates. Setting \
                 gc_grace_seconds too low might cause undelivered updates to expire before being replayed.",
            ));
        }
        if options.default_time_to_live != 0 {
            return Err(CqlError::invalid(
                "Forbidden default_time_to_live detected for a materialized view. Data in a materialized view always expire at the same \
                 time than the corresponding data in the parent table. default_time_to_live must be set to zero, see CASSANDRA-12868 for \
                 more information",
            ));
        }
        Arc::make_mut(view).options = options;
    }
    if definition.views == base.definition().views {
        return Ok(Plan::Nothing);
    }
    let table = Arc::new(TableSchema::new(definition));
    let target = SchemaTarget::Table(name.to_owned());
    changed(
        with_base(catalog, there, table),
        Change::Updated,
        keyspace,
        target,
    )
    .planned()
}

pub fn drop(
    catalog: &Catalog,
    drop: &DropView,
    circumstances: &Circumstances<'_>,
) -> CqlResult<Plan> {
    let keyspace = keyspace_of(&drop.view, circumstances)?;
    let name = drop.view.name.as_str();
    check_not_ours(catalog, keyspace)?;
    let Some((there, base)) = found(catalog, keyspace, name) else {
        return missing(keyspace, name, drop.if_exists);
    };
    let mut definition = base.definition();
    let stores: Vec<Store> = definition
        .views
        .iter()
        .filter(|view| view.name == name)
        .map(|view| view.store)
        .collect();
    definition.views.retain(|view| view.name != name);
    let table = Arc::new(TableSchema::new(definition));
    let target = SchemaTarget::Table(name.to_owned());
    let mut changed = changed(
        with_base(catalog, there, table),
        Change::Dropped,
        keyspace,
        target,
    );
    for store in stores {
        changed = changed.with_effect(Effect::DropStore(base.id, store));
    }
    changed.planned()
}

/// The table that a view of this name is of.
pub fn base_of<'a>(keyspace: &'a Keyspace, view: &str) -> Option<&'a Arc<TableSchema>> {
    let mut tables = keyspace.tables.values();
    tables.find(|table| table.views.iter().any(|own| own.name == view))
}

fn found<'a>(
    catalog: &'a Catalog,
    keyspace: &str,
    view: &str,
) -> Option<(&'a Arc<Keyspace>, &'a Arc<TableSchema>)> {
    let there = catalog.keyspace(keyspace)?;
    Some((there, base_of(there, view)?))
}

fn missing(keyspace: &str, view: &str, if_exists: bool) -> CqlResult<Plan> {
    match if_exists {
        true => Ok(Plan::Nothing),
        false => Err(CqlError::invalid(format!(
            "Materialized view '{keyspace}.{view}' doesn't exist"
        ))),
    }
}

fn with_base(catalog: &Catalog, keyspace: &Keyspace, base: Arc<TableSchema>) -> Catalog {
    let mut next = keyspace.clone();
    next.tables.insert(base.name.clone(), base);
    with_keyspace(catalog, next)
}

/// The columns that are named; None: all.
fn selected(
    base: &TableSchema,
    view: &str,
    selection: &Selection,
) -> CqlResult<Option<Vec<String>>> {
    let check_static = |names: &[&str]| {
        let is_static = |name: &str| {
            let column = base.column(name);
            column.is_some_and(|column| column.kind == ColumnKind::Static)
        };
        let mut names = in_hash_order(names, |name| of_identifier(name)).into_iter();
        match names.find(|name| is_static(name)) {
            Some(name) => Err(CqlError::invalid(format!(
                "Cannot include static column '{name}' in materialized view '{view}'"
            ))),
            None => Ok(()),
        }
    };
    let Selection::Items(items) = selection else {
        let all: Vec<&str> = base.columns.iter().map(|column| &*column.name).collect();
        check_static(&all)?;
        return Ok(None);
    };
    let mut names = Vec::new();
    for item in items {
        if item.alias.is_some() {
            return Err(CqlError::invalid(format!(
                "Cannot use aliases when defining a materialized view (got {})",
                item.expression
            )));
        }
        let Selectable::Column(column) = &item.expression else {
            return Err(CqlError::invalid(format!(
                "Can only select columns by name when defining a materialized view (got {})",
                item.expression
            )));
        };
        if base.column(column.as_str()).is_none() {
            return Err(undefined(base, column));
        }
        names.push(column.as_str().to_owned());
    }
    check_static(&names.iter().map(String::as_str).collect::<Vec<_>>())?;
    Ok(Some(names))
}

fn key_columns(create: &CreateView) -> impl Iterator<Item = &Name> {
    create
        .primary_key
        .partition
        .iter()
        .chain(&create.primary_key.clustering)
}

fn check_key(
    base: &TableSchema,
    view: &str,
    create: &CreateView,
    selected: Option<&[String]>,
) -> CqlResult<()> {
    let mut seen = BTreeSet::new();
    for name in key_columns(create) {
        let is_selected = selected.is_none_or(|names| names.iter().any(|own| own == name.as_str()));
        let column = base.column(name.as_str()).filter(|_| is_selected);
        let column = column.ok_or_else(|| {
            CqlError::invalid(format!(
                "Unknown column '{}' referenced in PRIMARY KEY for materialized view '{view}'",
                name.as_str()
            ))
        })?;
        let (name, ty) = (&column.name, &column.ty);
        if !seen.insert(name) {
            return Err(CqlError::invalid(format!(
                "Duplicate column '{name}' in PRIMARY KEY clause for materialized view '{view}'"
            )));
        }
        if ty.is_multi_cell() {
            let what = match ty.bare() {
                CqlType::Udt(_) => "user-defined",
                _ => "collection",
            };
            return Err(CqlError::invalid(format!(
                "Invalid non-frozen {what} type '{}' for PRIMARY KEY column '{name}'",
                ty.class_name()
            )));
        }
        if resolve::holds_durations(ty) {
            return Err(CqlError::invalid(format!(
                "duration type is not supported for PRIMARY KEY column '{name}'"
            )));
        }
    }
    Ok(())
}

/// The clustering columns, each with whether it runs DESC: as in the base, if nothing is said.
fn clustering(base: &TableSchema, create: &CreateView) -> CqlResult<Vec<(String, bool)>> {
    let order: Vec<&(Name, Direction)> = clustering_order(&create.options).collect();
    let own = &create.primary_key.clustering;
    if !order.is_empty() && !order.iter().map(|(name, _)| name).eq(own) {
        return Err(CqlError::invalid(
            "Clustering key columns must exactly match columns in CLUSTERING ORDER BY directive",
        ));
    }
    let is_descending = |place: usize, name: &str| match order.get(place) {
        Some((_, direction)) => *direction == Direction::Descending,
        None => base.column(name).is_some_and(|column| column.reversed),
    };
    let columns = own.iter().map(Name::as_str).enumerate();
    Ok(columns
        .map(|(place, name)| (name.to_owned(), is_descending(place, name)))
        .collect())
}

/// Every column of the base's key, and at most one that is not.
fn check_base_key(base: &TableSchema, view: &str, create: &CreateView) -> CqlResult<()> {
    let is_named = |name: &str| key_columns(create).any(|own| own.as_str() == name);
    let missing: Vec<&str> = base
        .columns
        .iter()
        .filter(|column| column.kind.is_primary_key() && !is_named(&column.name))
        .map(|column| column.name.as_str())
        .collect();
    if !missing.is_empty() {
        return Err(CqlError::invalid(format!(
            "Cannot create materialized view '{view}' without primary key columns {} from base table '{}'",
            missing.join(", "),
            base.name
        )));
    }
    let own: Vec<&str> = key_columns(create).map(Name::as_str).collect();
    let others: Vec<&str> = in_hash_order(own, |name| of_identifier(name))
        .into_iter()
        .filter(|name| {
            base.column(name)
                .is_some_and(|column| !column.kind.is_primary_key())
        })
        .collect();
    match others.len() {
        0 | 1 => Ok(()),
        _ => Err(CqlError::invalid(format!(
            "Cannot include more than one non-primary key column in materialized view primary key (got {})",
            others.join(", ")
        ))),
    }
}

fn check_where(
    catalog: &Catalog,
    base: &Arc<TableSchema>,
    view: &str,
    create: &CreateView,
) -> CqlResult<()> {
    let mut restricted: BTreeSet<String> = BTreeSet::new();
    let mut illegal: Vec<String> = Vec::new();
    let mut conditions = Vec::new();
    for relation in &create.relations {
        match relation {
            Relation::Token { .. } | Relation::TokenBetween { .. } => {
                return Err(CqlError::invalid(
                    "Cannot use token relation when defining a materialized view",
                ));
            }
            Relation::CustomIndex { .. } => {
                return Err(CqlError::invalid(format!(
                    "WHERE clause for materialized view '{view}' cannot contain custom index expressions"
                )));
            }
            Relation::IsNotNull { column } => {
                if base.column(column.as_str()).is_none() {
                    return Err(undefined(base, column));
                }
                restricted.insert(column.as_str().to_owned());
            }
            condition => conditions.push(condition.clone()),
        }
    }
    for column in check_view_conditions(catalog, base, &conditions)? {
        if !base.columns[column].kind.is_primary_key() {
            illegal.push(base.columns[column].name.clone());
        }
        restricted.insert(base.columns[column].name.clone());
    }
    let own: Vec<&str> = key_columns(create).map(Name::as_str).collect();
    let missing: Vec<&str> = in_hash_order(own, |name| of_identifier(name))
        .into_iter()
        .filter(|name| !restricted.contains(*name))
        .collect();
    if !missing.is_empty() {
        return Err(CqlError::invalid(format!(
            "Primary key columns {} must be restricted with 'IS NOT NULL' or otherwise",
            missing.join(", ")
        )));
    }
    match illegal.is_empty() {
        true => Ok(()),
        false => Err(CqlError::invalid(format!(
            "Non-primary key columns can only be restricted with 'IS NOT NULL' (got: {} restricted illegally)",
            illegal.join(",")
        ))),
    }
}

fn options(create: &CreateView) -> CqlResult<TableOptions> {
    let own = || properties(&create.options);
    check_properties(own().map(|property| property.name.as_str()))?;
    let options = TableOptions::create(own())?;
    if options.default_time_to_live != 0 {
        return Err(CqlError::invalid(
            "Cannot set default_time_to_live for a materialized view. Data in a materialized view always expire at the same time than the \
             corresponding data in the parent table.",
        ));
    }
    check_id(&create.options)?;
    Ok(options)
}

/// A view is under its base's key, and has none of its own.
fn check_properties<'a>(mut names: impl Iterator<Item = &'a str>) -> CqlResult<()> {
    match names.find(|name| ["encryption", "custom_properties"].contains(name)) {
        None => Ok(()),
        Some(name) => Err(CqlError::invalid(format!(
            "Cannot set {name} for a materialized view. It is encrypted under the key of its base table."
        ))),
    }
}
