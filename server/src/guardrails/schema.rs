//! What a schema change would bring: counts in the catalog that it makes, properties that are not wanted, features that are off.
//!
//! Asked between the plan of a change and its first step: a change that is refused has done nothing.

use palladium_protocol::cql::ast::{AlterTableAction, Property, Statement, TableOption};
use palladium_protocol::types::CqlType;
use palladium_storage::Compression;

use super::{Flag, Guardrails, Limit, List, violated};
use crate::error::CqlResult;
use crate::schema::{Catalog, KeyspaceKind, TableKind, TableSchema, replication};

/// Holds a change against the guardrails: `after` is the catalog that it makes.
pub fn check_change(
    guardrails: &Guardrails,
    statement: &Statement,
    keyspace: &str,
    after: &Catalog,
    warnings: &mut Vec<String>,
) -> CqlResult<()> {
    let mut check = |limit, value: usize, what: &str| -> CqlResult<()> {
        warnings.extend(guardrails.check(limit, value as u64, what)?);
        Ok(())
    };
    match statement {
        Statement::CreateKeyspace(create) => {
            let name = create.keyspace.as_str();
            check(Limit::Keyspaces, user_keyspaces(after), name)?;
            copies(guardrails, after, name, &mut check)
        }
        Statement::AlterKeyspace(alter) => {
            copies(guardrails, after, alter.keyspace.as_str(), &mut check)
        }
        Statement::CreateTable(create) => {
            let name = create.table.name.as_str();
            let Some(table) = after.table(keyspace, name) else {
                return Ok(());
            };
            if create.options.contains(&TableOption::CompactStorage) {
                guardrails.require(Flag::CompactTables, None)?;
            }
            new_table(guardrails, after, table, &mut check)
        }
        Statement::CopyTable(copy) => match after.table(keyspace, copy.target.name.as_str()) {
            Some(table) => new_table(guardrails, after, table, &mut check),
            None => Ok(()),
        },
        Statement::AlterTable(alter) => {
            let name = alter.table.name.as_str();
            let Some(table) = after.table(keyspace, name) else {
                return Ok(());
            };
            match &alter.action {
                AlterTableAction::Add { columns, .. } => {
                    check(Limit::ColumnsPerTable, table.columns.len(), name)?;
                    let new = |column: &str| columns.iter().any(|new| new.name.as_str() == column);
                    vectors(guardrails, table, new, &mut check)
                }
                AlterTableAction::With(_) => compressed(guardrails, table),
                _ => Ok(()),
            }
        }
        Statement::CreateIndex(create) => {
            let name = create.table.name.as_str();
            let Some(table) = after.table(keyspace, name) else {
                return Ok(());
            };
            let index = create.name.as_ref().map_or("", |index| index.as_str());
            let what = format!("{index} on table {name}");
            check(
                Limit::SecondaryIndexesPerTable,
                table.indexes.len(),
                what.trim_start(),
            )
        }
        Statement::CreateView(create) => {
            let base = create.table.name.as_str();
            let Some(table) = after.table(keyspace, base) else {
                return Ok(());
            };
            let what = format!("{} on table {base}", create.view.name.as_str());
            check(Limit::MaterializedViewsPerTable, table.views.len(), &what)
        }
        Statement::CreateType(create) => {
            fields(after, keyspace, create.name.name.as_str(), &mut check)
        }
        Statement::AlterType(alter) => {
            fields(after, keyspace, alter.name.name.as_str(), &mut check)
        }
        _ => Ok(()),
    }
}

/// Refuses statements whose kind alone is off, whatever they would do.
pub fn check_kind(guardrails: &Guardrails, statement: &Statement) -> CqlResult<()> {
    match statement {
        Statement::DropKeyspace(_) => guardrails.require(Flag::DropKeyspace, None),
        Statement::DropTable(_) => guardrails.require(Flag::DropTruncateTable, None),
        Statement::CreateIndex(_) => guardrails.require(Flag::SecondaryIndexes, None),
        Statement::AlterTable(alter) => match alter.action {
            AlterTableAction::Add { .. }
            | AlterTableAction::Drop { .. }
            | AlterTableAction::Rename { .. } => guardrails.require(Flag::AlterTable, None),
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

/// Holds the properties of a table against the lists, and takes those away that are to be ignored.
pub fn without_ignored(
    guardrails: &Guardrails,
    statement: &mut Statement,
    warnings: &mut Vec<String>,
) -> CqlResult<()> {
    let lists = [
        List::TablePropertiesWarned,
        List::TablePropertiesIgnored,
        List::TablePropertiesDisallowed,
    ];
    if lists.iter().all(|list| guardrails.list(*list).is_empty()) {
        return Ok(());
    }
    match statement {
        Statement::CreateTable(create) => in_options(guardrails, &mut create.options, warnings),
        Statement::CopyTable(copy) => in_options(guardrails, &mut copy.options, warnings),
        Statement::CreateView(create) => in_options(guardrails, &mut create.options, warnings),
        Statement::AlterTable(alter) => match &mut alter.action {
            AlterTableAction::With(properties) => {
                let names = properties.iter().map(name_of).collect();
                named(guardrails, names, warnings)?;
                let ignored = guardrails.list(List::TablePropertiesIgnored);
                properties.retain(|property| !ignored.contains(&name_of(property)));
                Ok(())
            }
            _ => Ok(()),
        },
        _ => Ok(()),
    }
}

fn in_options(
    guardrails: &Guardrails,
    options: &mut Vec<TableOption>,
    warnings: &mut Vec<String>,
) -> CqlResult<()> {
    let name = |option: &TableOption| match option {
        TableOption::Property(property) => Some(name_of(property)),
        _ => None,
    };
    named(
        guardrails,
        options.iter().filter_map(name).collect(),
        warnings,
    )?;
    let ignored = guardrails.list(List::TablePropertiesIgnored);
    options.retain(|option| name(option).is_none_or(|name| !ignored.contains(&name)));
    Ok(())
}

fn name_of(property: &Property) -> String {
    property.name.as_str().to_owned()
}

fn named(
    guardrails: &Guardrails,
    mut names: Vec<String>,
    warnings: &mut Vec<String>,
) -> CqlResult<()> {
    const WHAT: &str = "Table Properties";
    names.sort();
    let lists = (List::TablePropertiesWarned, List::TablePropertiesDisallowed);
    let warned = guardrails.check_list("table_properties", WHAT, &names, lists)?;
    let ignored = guardrails.list(List::TablePropertiesIgnored);
    let found: Vec<&str> = names
        .iter()
        .filter(|name| ignored.contains(name))
        .map(String::as_str)
        .collect();
    if !found.is_empty() {
        let text = format!(
            "Ignoring provided values [{}] as they are not supported for {WHAT} (ignored values are: [{}])",
            found.join(", "),
            ignored.join(", ")
        );
        warnings.push(violated("table_properties", &text, None));
    }
    warnings.extend(warned);
    Ok(())
}

fn user_keyspaces(catalog: &Catalog) -> usize {
    let keyspaces = catalog.keyspaces.values();
    keyspaces
        .filter(|keyspace| keyspace.kind == KeyspaceKind::User)
        .count()
}

fn user_tables(catalog: &Catalog) -> usize {
    let tables = catalog
        .keyspaces
        .values()
        .flat_map(|keyspace| keyspace.tables.values());
    tables.filter(|table| table.kind == TableKind::User).count()
}

type Check<'a> = &'a mut dyn FnMut(Limit, usize, &str) -> CqlResult<()>;

fn copies(guardrails: &Guardrails, after: &Catalog, name: &str, check: Check<'_>) -> CqlResult<()> {
    let Some(keyspace) = after.keyspace(name) else {
        return Ok(());
    };
    let class = keyspace.replication.get("class");
    if class.is_some_and(|class| class.ends_with(".SimpleStrategy")) {
        guardrails.require(Flag::SimpleStrategy, None)?;
    }
    let copies = replication::copies(&keyspace.replication).unwrap_or(1) as usize;
    check(Limit::MinimumReplicationFactor, copies, name)?;
    check(Limit::MaximumReplicationFactor, copies, name)
}

fn new_table(
    guardrails: &Guardrails,
    after: &Catalog,
    table: &TableSchema,
    check: Check<'_>,
) -> CqlResult<()> {
    compressed(guardrails, table)?;
    check(Limit::ColumnsPerTable, table.columns.len(), &table.name)?;
    check(Limit::Tables, user_tables(after), &table.name)?;
    vectors(guardrails, table, |_| true, check)
}

fn compressed(guardrails: &Guardrails, table: &TableSchema) -> CqlResult<()> {
    match table.options.for_storage().compression {
        Compression::Lz4 | Compression::Zstd { .. } => Ok(()),
        Compression::Off => guardrails.require(Flag::UncompressedTables, None),
    }
}

fn vectors(
    guardrails: &Guardrails,
    table: &TableSchema,
    is_new: impl Fn(&str) -> bool,
    check: Check<'_>,
) -> CqlResult<()> {
    for column in table.columns.iter().filter(|column| is_new(&column.name)) {
        for dimensions in dimensions(&column.ty) {
            guardrails.require(Flag::VectorType, None)?;
            let what = format!("Column {}", column.name);
            check(Limit::VectorDimensions, dimensions, &what)?;
        }
    }
    Ok(())
}

/// Of each vector in a type.
fn dimensions(ty: &CqlType) -> Vec<usize> {
    match ty.bare() {
        CqlType::Vector(of, count) => {
            let mut all = vec![*count as usize];
            all.extend(dimensions(of));
            all
        }
        CqlType::List(of) | CqlType::Set(of) => dimensions(of),
        CqlType::Map(key, value) => [dimensions(key), dimensions(value)].concat(),
        CqlType::Tuple(fields) => fields.iter().flat_map(dimensions).collect(),
        CqlType::Udt(udt) => udt
            .fields
            .iter()
            .flat_map(|(_, of)| dimensions(of))
            .collect(),
        _ => Vec::new(),
    }
}

fn fields(after: &Catalog, keyspace: &str, name: &str, check: Check<'_>) -> CqlResult<()> {
    match after.user_type(keyspace, name) {
        Some(ty) => check(Limit::FieldsPerUdt, ty.fields.len(), name),
        None => Ok(()),
    }
}
