//! ALTER TABLE: columns added, dropped and renamed, options and the key changed.
//!
//! A column that comes back after it was dropped gets a new id, so that old cells stay gone; Cassandra's rules for it hold all the
//! same, because they are what its users know.

use std::collections::HashSet;
use std::sync::Arc;

use palladium_protocol::cql::ast::{
    AlterTable, AlterTableAction, ColumnDefinition, Name, Property,
};
use palladium_protocol::response::{Change, SchemaTarget};
use palladium_protocol::types::CqlType;
use palladium_storage::ColumnId;

use super::super::custom::{self, Custom};
use super::super::hashed::{in_hash_order, of_identifier};
use super::super::{
    Catalog, Column, ColumnKind, Definition, DroppedColumn, TableSchema, mask, resolve,
};
use super::create_table::{check_counter_ttl, check_no_id, check_static, value_column};
use super::index::vector_warnings;
use super::{Circumstances, Effect, Plan, changed, keyspace_of, require_keyspace, with_keyspace};
use crate::error::{CqlError, CqlResult};
use crate::query::analyze::term::undefined;

pub fn alter(
    catalog: &Catalog,
    alter: &AlterTable,
    circumstances: &Circumstances<'_>,
) -> CqlResult<Plan> {
    let keyspace = keyspace_of(&alter.table, circumstances)?;
    let name = alter.table.name.as_str();
    let Some(table) = catalog.table(keyspace, name) else {
        return match alter.if_exists {
            true => Ok(Plan::Nothing),
            false => Err(CqlError::invalid(format!(
                "Table '{keyspace}.{name}' doesn't exist"
            ))),
        };
    };
    if table.view.is_some() {
        return Err(CqlError::invalid(
            "Cannot use ALTER TABLE on a materialized view; use ALTER MATERIALIZED VIEW instead",
        ));
    }
    let mut definition = table.definition();
    let mut asked = Asked::default();
    match &alter.action {
        AlterTableAction::AlterType { .. } => {
            return Err(CqlError::invalid(
                "Altering column types is no longer supported",
            ));
        }
        AlterTableAction::Mask {
            if_exists,
            column,
            mask: written,
        } => {
            if table.column(column.as_str()).is_none() {
                match if_exists {
                    true => return Ok(Plan::Nothing),
                    false => {
                        return Err(CqlError::invalid(format!(
                            "Column with name '{}' doesn't exist on table '{}'",
                            column.as_str(),
                            table.name
                        )));
                    }
                }
            }
            let name = column.as_str();
            for own in definition.columns.iter_mut().filter(|own| own.name == name) {
                own.mask = match written {
                    Some(written) => Some(mask::mask_of(
                        written,
                        name,
                        &own.ty,
                        &circumstances.moment,
                    )?),
                    None => None,
                };
            }
            if definition.columns == table.columns {
                return Ok(Plan::Nothing);
            }
        }
        AlterTableAction::Add {
            if_not_exists,
            columns,
        } => {
            let there = table.columns.iter().map(|column| column.name.as_str());
            let mut names: HashSet<&str> = there.collect();
            for column in columns {
                add(
                    catalog,
                    table,
                    (&mut definition, &mut names),
                    (column, *if_not_exists),
                    circumstances,
                )?;
            }
            check_counters(table, &definition)?;
            if columns.iter().any(|column| column.mask.is_some()) && !circumstances.masking {
                return Err(mask::disabled());
            }
        }
        AlterTableAction::Drop {
            if_exists,
            columns,
            timestamp,
        } => {
            for column in in_hash_order(columns, |name| of_identifier(name.as_str())) {
                drop(
                    table,
                    &mut definition,
                    column,
                    *if_exists,
                    timestamp.unwrap_or(circumstances.moment.micros),
                )?;
            }
        }
        AlterTableAction::Rename { renames, .. } => {
            for (place, (from, to)) in renames.iter().enumerate() {
                // Of several for one column the last one counts.
                if !renames[place + 1..].iter().any(|(later, _)| later == from) {
                    rename(table, &mut definition, from, to)?;
                }
            }
        }
        AlterTableAction::DropCompactStorage => {
            return Err(CqlError::invalid(
                "DROP COMPACT STORAGE is disabled. Enable in cassandra.yaml to use.",
            ));
        }
        AlterTableAction::With(properties) => asked = with(table, &mut definition, properties)?,
        AlterTableAction::AddTags(tags) => {
            custom::add_tags(&mut definition.custom_properties, tags)?
        }
        AlterTableAction::DropTags(tags) => {
            custom::drop_tags(&mut definition.custom_properties, tags)
        }
    }
    let moves_columns = matches!(
        alter.action,
        AlterTableAction::Add { .. }
            | AlterTableAction::Drop { .. }
            | AlterTableAction::Mask { .. }
    );
    if moves_columns && definition.columns == table.definition().columns {
        return Ok(match alter.action {
            AlterTableAction::Add { .. } => Plan::Warned(vector_warnings(table)),
            _ => Plan::Nothing,
        });
    }
    let sets_nothing = !asked.names_a_key
        && !asked.rewrite
        && definition.options == table.options
        && definition.custom_properties == table.custom_properties;
    if matches!(alter.action, AlterTableAction::With(_)) && sets_nothing {
        return Ok(Plan::Nothing);
    }
    let altered = Arc::new(TableSchema::new(definition));
    let mut next = require_keyspace(catalog, keyspace)?.as_ref().clone();
    next.tables.insert(name.to_owned(), altered.clone());
    let target = SchemaTarget::Table(name.to_owned());
    let mut changed = changed(
        with_keyspace(catalog, next),
        Change::Updated,
        keyspace,
        target,
    );
    if matches!(
        alter.action,
        AlterTableAction::Add { .. } | AlterTableAction::Mask { .. }
    ) {
        changed = changed.with_warnings(vector_warnings(&altered));
    }
    if asked.names_a_key {
        changed = changed.with_effect(Effect::SwitchKey(altered.clone()));
    }
    if asked.rewrite {
        changed = changed.with_effect(Effect::Rewrite(altered.id));
    }
    changed = changed.with_warnings(custom::without_effect(
        &altered.custom_properties,
        &table.custom_properties,
    ));
    changed = changed.with_warnings(altered.options.without_effect(&table.options));
    if altered.for_storage() != table.for_storage() {
        changed = changed.with_effect(Effect::SetOptions(altered));
    }
    changed.planned()
}

/// Adds a column to a definition, whose columns have these names.
fn add<'a>(
    catalog: &Catalog,
    table: &TableSchema,
    (definition, names): (&mut Definition, &mut HashSet<&'a str>),
    (added, if_not_exists): (&'a ColumnDefinition, bool),
    circumstances: &Circumstances<'_>,
) -> CqlResult<()> {
    let name = added.name.as_str();
    let place = format!(" for column {name}");
    let ty = resolve::column_type(catalog, &table.keyspace, &added.of, &place)?;
    let mask = added.mask.as_ref();
    let mask = mask.map(|mask| mask::mask_of(mask, name, &ty, &circumstances.moment));
    let mask = mask.transpose()?;
    if !names.insert(name) {
        return match if_not_exists {
            true => Ok(()),
            false => Err(CqlError::invalid(format!(
                "Column with name '{name}' already exists"
            ))),
        };
    }
    if table.compact {
        return Err(CqlError::invalid(
            "Cannot add new column to a COMPACT STORAGE table",
        ));
    }
    let mut column = value_column(added, &ty);
    check_static(&column, !table.clustering.is_empty())?;
    if let Some(before) = definition
        .dropped
        .iter()
        .find(|dropped| dropped.name == name)
    {
        check_comes_back(before, &column, table.is_counter())?;
    }
    column.id = ColumnId(definition.next_column_id);
    column.mask = mask;
    definition.next_column_id += 1;
    definition.columns.push(column);
    Ok(())
}

/// Counters and other columns do not go together. It is said of the table as it would be.
fn check_counters(table: &TableSchema, definition: &Definition) -> CqlResult<()> {
    let added = |column: &&Column| table.column(&column.name).is_none();
    for column in definition.columns.iter().filter(added) {
        let name = &column.name;
        match (column.ty.is_counter(), table.is_counter()) {
            (true, false) => {
                return Err(CqlError::config(format!(
                    "{}: Cannot have a counter column (\"{name}\") in a non counter table",
                    table.full_name()
                )));
            }
            (false, true) => {
                return Err(CqlError::config(format!(
                    "{}: Cannot have a non counter column (\"{name}\") in a counter table",
                    table.full_name()
                )));
            }
            _ => {}
        }
    }
    Ok(())
}

fn check_comes_back(before: &DroppedColumn, column: &Column, is_counter: bool) -> CqlResult<()> {
    let name = &column.name;
    if !may_come_back_as(&before.ty, &column.ty) {
        return Err(CqlError::invalid(format!(
            "Cannot re-add previously dropped column '{name}' of type {}, incompatible with previous type {}",
            column.ty, before.ty
        )));
    }
    let is_static = column.kind == ColumnKind::Static;
    if before.is_static != is_static {
        let kind = |is_static| if is_static { "STATIC" } else { "REGULAR" };
        return Err(CqlError::invalid(format!(
            "Cannot re-add previously dropped column '{name}' of kind {}, incompatible with previous kind {}",
            kind(is_static),
            kind(before.is_static)
        )));
    }
    match is_counter || column.ty.is_counter() {
        true => Err(CqlError::invalid(format!(
            "Cannot re-add previously dropped counter column {name}"
        ))),
        false => Ok(()),
    }
}

/// Whether bytes of the dropped column are no trap for the new one, as Cassandra sees it: they are values of it, of the same length if there is but one, and are
/// of one cell both or not.
fn may_come_back_as(before: &CqlType, now: &CqlType) -> bool {
    reads_as(before, now)
        && before.fixed_bytes() == now.fixed_bytes()
        && before.is_multi_cell() == now.is_multi_cell()
}

/// Whether values of one type are values of the other. A user-defined type takes none of a tuple, though they look the same.
fn reads_as(before: &CqlType, now: &CqlType) -> bool {
    let is_frozen = !before.is_multi_cell() && !now.is_multi_cell();
    match (before.bare(), now.bare()) {
        (_, CqlType::Blob)
        | (CqlType::Bigint, CqlType::Timestamp)
        | (CqlType::Timestamp, CqlType::Bigint)
        | (CqlType::Timeuuid, CqlType::Uuid) => true,
        (CqlType::Tuple(before), CqlType::Tuple(now)) => {
            begins(before.iter(), now.iter(), reads_as)
        }
        (CqlType::Tuple(_), CqlType::Udt(_)) => false,
        (CqlType::List(before), CqlType::List(now)) if is_frozen => reads_as(before, now),
        (CqlType::Map(key, value), CqlType::Map(new_key, new_value)) if is_frozen => {
            sorts_as(key, new_key) && reads_as(value, new_value)
        }
        _ => sorts_as(before, now),
    }
}

/// Whether values of one type are values of the other, and in the same order.
fn sorts_as(before: &CqlType, now: &CqlType) -> bool {
    let has_cells = before.is_multi_cell();
    let same_cells = has_cells == now.is_multi_cell();
    // What is in cells is in no order.
    let part = |before: &CqlType, now: &CqlType| match has_cells {
        true => may_come_back_as(before, now),
        false => sorts_as(before, now),
    };
    match (before.bare(), now.bare()) {
        (CqlType::Ascii, CqlType::Text) | (CqlType::Ascii | CqlType::Text, CqlType::Blob) => true,
        (CqlType::Tuple(before), CqlType::Tuple(now)) => {
            begins(before.iter(), now.iter(), sorts_as)
        }
        (CqlType::Tuple(before), CqlType::Udt(now)) => {
            let now = now.fields.iter().map(|(_, field)| field);
            begins(before.iter(), now, sorts_as)
        }
        (CqlType::List(before), CqlType::List(now)) => same_cells && part(before, now),
        (CqlType::Set(before), CqlType::Set(now)) => same_cells && sorts_as(before, now),
        (CqlType::Map(key, value), CqlType::Map(new_key, new_value)) => {
            same_cells && sorts_as(key, new_key) && part(value, new_value)
        }
        (before, now) => before == now,
    }
}

/// Whether fields are the first of the others: more may come behind them.
fn begins<'a>(
    mut before: impl ExactSizeIterator<Item = &'a CqlType>,
    mut now: impl ExactSizeIterator<Item = &'a CqlType>,
    fits: fn(&CqlType, &CqlType) -> bool,
) -> bool {
    before.len() <= now.len()
        && before.all(|before| now.next().is_some_and(|now| fits(before, now)))
}

fn not_found(table: &TableSchema, column: &Name) -> CqlError {
    CqlError::invalid(format!(
        "Column {} was not found in table '{}'",
        column.as_str(),
        table.qualified_name()
    ))
}

fn drop(
    table: &TableSchema,
    definition: &mut Definition,
    dropped: &Name,
    if_exists: bool,
    dropped_at: i64,
) -> CqlResult<()> {
    let Some(place) = definition
        .columns
        .iter()
        .position(|column| column.name == dropped.as_str())
    else {
        return match if_exists {
            true => Ok(()),
            false => Err(not_found(table, dropped)),
        };
    };
    if definition.columns[place].kind.is_primary_key() {
        return Err(CqlError::invalid(format!(
            "Cannot drop PRIMARY KEY column {}",
            dropped.as_str()
        )));
    }
    let column = &definition.columns[place];
    if matches!(column.ty, CqlType::Udt(_)) {
        return Err(CqlError::invalid(format!(
            "Cannot drop non-frozen column {} of user type {}",
            dropped.as_str(),
            column.ty
        )));
    }
    // Its rows are their one value; Cassandra fails at this, and the column stays.
    if table.compact && !table.clustering.is_empty() {
        return Err(CqlError::invalid(format!(
            "Cannot drop {}, the value of a COMPACT STORAGE table",
            dropped.as_str()
        )));
    }
    let dependent: Vec<&str> = table
        .indexes_of(dropped.as_str())
        .map(|index| index.name.as_str())
        .collect();
    if !dependent.is_empty() {
        return Err(CqlError::invalid(format!(
            "Cannot drop column {} because it has dependent secondary indexes ({})",
            dropped.as_str(),
            dependent.join(", ")
        )));
    }
    if table.has_views() {
        return Err(CqlError::invalid(format!(
            "Cannot drop column {} on base table {} with materialized views",
            dropped.as_str(),
            table.name
        )));
    }
    let column = definition.columns.remove(place);
    definition
        .dropped
        .retain(|before| before.name != column.name);
    definition.dropped.push(DroppedColumn {
        name: column.name,
        ty: resolve::without_user_types(&column.ty),
        is_static: column.kind == ColumnKind::Static,
        id: column.id,
        dropped_at,
    });
    Ok(())
}

fn rename(
    table: &TableSchema,
    definition: &mut Definition,
    from: &Name,
    to: &Name,
) -> CqlResult<()> {
    // By the names of before: other columns that this statement renames keep theirs until its end.
    let mut names = table.columns.iter().chain(&definition.columns);
    let taken = names.any(|column| column.name == to.as_str());
    let is_meant = |column: &&mut Column| column.name == from.as_str();
    let there = table.column(from.as_str());
    let Some(column) = there.and_then(|_| definition.columns.iter_mut().find(is_meant)) else {
        return Err(undefined(table, from));
    };
    if !column.kind.is_primary_key() {
        return Err(CqlError::invalid(format!(
            "Cannot rename non PRIMARY KEY column {}",
            from.as_str()
        )));
    }
    if taken {
        return Err(CqlError::invalid(format!(
            "Cannot rename column {} to {} in table '{}'; another column with that name already exists",
            from.as_str(),
            to.as_str(),
            table.qualified_name()
        )));
    }
    let dependent: Vec<&str> = table
        .indexes_of(from.as_str())
        .map(|index| index.name.as_str())
        .collect();
    if !dependent.is_empty() {
        return Err(CqlError::invalid(format!(
            "Can't rename column {} because it has dependent secondary indexes ({})",
            from.as_str(),
            dependent.join(", ")
        )));
    }
    column.name = to.as_str().to_owned();
    for view in &mut definition.views {
        Arc::make_mut(view).rename(from.as_str(), to.as_str());
    }
    Ok(())
}

/// What a statement asks for beside another definition.
#[derive(Default)]
struct Asked {
    /// It names a key, be it the same: that is a switch to a fresh table key.
    names_a_key: bool,
    rewrite: bool,
}

fn with(
    table: &TableSchema,
    definition: &mut Definition,
    properties: &[Property],
) -> CqlResult<Asked> {
    definition.options = table.options.alter(properties)?;
    check_no_id(properties)?;
    if table.is_counter() {
        check_counter_ttl(&definition.options)?;
    }
    if table.has_views() && definition.options.gc_grace_seconds == 0 {
        return Err(CqlError::invalid(
            "Cannot alter gc_grace_seconds of the base table of a materialized view to 0, since this value is used to TTL undelivered updates. \
             Setting gc_grace_seconds too low might cause undelivered updates to expire before being replayed.",
        ));
    }
    let custom = Custom::read(properties)?;
    definition.custom_properties.extend(custom.properties);
    let names_a_key = custom.encryption.is_some();
    if let Some(encryption) = custom.encryption {
        definition.encryption = encryption;
    }
    Ok(Asked {
        names_a_key,
        rewrite: custom.rewrite,
    })
}
