//! What can be wrong with a statement about the schema whatever is there: it is refused before anything is looked up, also where it is only prepared.
//!
//! Cassandra finds some of it while it parses (names twice, a second key, classes of types) and the rest when it prepares the statement.

use std::collections::BTreeSet;

use palladium_protocol::cql::ast::{
    AlterTableAction, AlterTypeAction, CreateTable, CreateView, Direction, Name, QualifiedName,
    Statement, TableOption, Type,
};

use super::super::catalog::NO_KEYSPACE;
use super::super::{TableOptions, mask};
use super::create_table::properties;
use crate::error::{CqlError, CqlResult};

/// Refuses what makes no sense by itself, for a session in `keyspace`.
pub fn check(statement: &Statement, keyspace: Option<&str>) -> CqlResult<()> {
    match statement {
        Statement::CreateTable(create) => check_names(create)?,
        Statement::CreateView(create) => check_order(&create.options, "view", &create.view)?,
        _ => {}
    }
    types(statement)
        .into_iter()
        .try_for_each(Type::check_classes)
        .map_err(CqlError::syntax)?;
    if let Some(name) = subject(statement)
        && name.keyspace.is_none()
        && keyspace.is_none()
    {
        return Err(CqlError::invalid(NO_KEYSPACE));
    }
    match statement {
        Statement::CreateTable(create) => check_has_key(create),
        Statement::CreateView(create) => {
            check_same_keyspace(create, keyspace)?;
            match create.has_markers {
                true => Err(CqlError::invalid(
                    "Bind variables are not allowed in CREATE MATERIALIZED VIEW statements",
                )),
                false => Ok(()),
            }
        }
        _ => Ok(()),
    }
}

/// Refuses what no schema would have: where the statement is only prepared as well, but where it is executed, who may not execute it is told so first.
pub fn validate(statement: &Statement, masking: bool) -> CqlResult<()> {
    let has_mask = match statement {
        Statement::CreateTable(create) => {
            TableOptions::check_shape(properties(&create.options))?;
            create.columns.iter().any(|column| column.mask.is_some())
        }
        Statement::AlterTable(alter) => match &alter.action {
            AlterTableAction::With(properties) => {
                return TableOptions::check_shape(properties);
            }
            AlterTableAction::Mask { mask, .. } => mask.is_some(),
            _ => false,
        },
        _ => false,
    };
    match has_mask && !masking {
        true => Err(mask::disabled()),
        false => Ok(()),
    }
}

/// What a statement is about, where the keyspace of the session may be meant.
fn subject(statement: &Statement) -> Option<&QualifiedName> {
    match statement {
        Statement::CreateTable(create) => Some(&create.table),
        Statement::AlterTable(alter) => Some(&alter.table),
        Statement::DropTable(drop) => Some(&drop.table),
        Statement::CreateType(create) => Some(&create.name),
        Statement::AlterType(alter) => Some(&alter.name),
        Statement::DropType(drop) => Some(&drop.name),
        Statement::CreateIndex(create) => Some(&create.table),
        Statement::DropIndex(drop) => Some(&drop.name),
        Statement::CreateView(create) => Some(&create.view),
        Statement::AlterView(alter) => Some(&alter.view),
        Statement::DropView(drop) => Some(&drop.view),
        Statement::CreateFunction(create) => Some(&create.name),
        Statement::DropFunction(drop) => Some(&drop.name),
        Statement::CreateAggregate(create) => Some(&create.name),
        Statement::DropAggregate(drop) => Some(&drop.name),
        Statement::CreateTrigger(create) => Some(&create.table),
        Statement::DropTrigger(drop) => Some(&drop.table),
        _ => None,
    }
}

/// The types that are written in a statement.
fn types(statement: &Statement) -> Vec<&Type> {
    match statement {
        Statement::CreateTable(create) => create.columns.iter().map(|column| &column.of).collect(),
        Statement::AlterTable(alter) => match &alter.action {
            AlterTableAction::Add { columns, .. } => {
                columns.iter().map(|column| &column.of).collect()
            }
            AlterTableAction::AlterType { to, .. } => vec![to],
            _ => Vec::new(),
        },
        Statement::CreateType(create) => create.fields.iter().map(|(_, of)| of).collect(),
        Statement::AlterType(alter) => match &alter.action {
            AlterTypeAction::Add { of, .. } => vec![of],
            _ => Vec::new(),
        },
        Statement::CreateFunction(create) => {
            let arguments = create.arguments.iter().map(|(_, of)| of);
            arguments.chain([&create.returns]).collect()
        }
        Statement::CreateAggregate(create) => {
            let arguments = create.arguments.iter();
            arguments.chain([&create.state_type]).collect()
        }
        Statement::DropFunction(drop) => drop.arguments.iter().flatten().collect(),
        Statement::DropAggregate(drop) => drop.arguments.iter().flatten().collect(),
        _ => Vec::new(),
    }
}

/// The name of a table or a view as errors about the text repeat it.
fn as_written(name: &QualifiedName) -> String {
    match &name.keyspace {
        Some(keyspace) => format!("{}.{}", keyspace.as_str(), name.name.as_str()),
        None => name.name.as_str().to_owned(),
    }
}

fn check_names(create: &CreateTable) -> CqlResult<()> {
    let name = as_written(&create.table);
    let several = || {
        CqlError::invalid(format!(
            "Multiple PRIMARY KEY specified for table '{name}' (exactly one required)"
        ))
    };
    let mut seen = BTreeSet::new();
    let mut is_marked = false;
    for column in &create.columns {
        if !seen.insert(column.name.as_str()) {
            return Err(CqlError::invalid(format!(
                "Duplicate column '{}' declaration for table '{name}'",
                column.name.as_str()
            )));
        }
        if column.primary_key && std::mem::replace(&mut is_marked, true) {
            return Err(several());
        }
    }
    if create.primary_keys.len() + usize::from(is_marked) > 1 {
        return Err(several());
    }
    check_order(&create.options, "table", &create.table)
}

fn check_order(options: &[TableOption], kind: &str, of: &QualifiedName) -> CqlResult<()> {
    let mut ordered = BTreeSet::new();
    for (column, _) in clustering_order(options) {
        if !ordered.insert(column.as_str()) {
            return Err(CqlError::invalid(format!(
                "Duplicate column '{}' in CLUSTERING ORDER BY clause for {kind} '{}'",
                column.as_str(),
                as_written(of)
            )));
        }
    }
    Ok(())
}

fn check_has_key(create: &CreateTable) -> CqlResult<()> {
    let is_marked = create.columns.iter().any(|column| column.primary_key);
    match is_marked || !create.primary_keys.is_empty() {
        true => Ok(()),
        false => Err(CqlError::invalid(format!(
            "No PRIMARY KEY specifed for table '{}' (exactly one required)",
            as_written(&create.table)
        ))),
    }
}

fn check_same_keyspace(create: &CreateView, session: Option<&str>) -> CqlResult<()> {
    let of = |name: &QualifiedName| match &name.keyspace {
        Some(keyspace) => Some(keyspace.as_str().to_owned()),
        None => session.map(str::to_owned),
    };
    match create.table.keyspace.is_none() || of(&create.table) == of(&create.view) {
        true => Ok(()),
        false => Err(CqlError::invalid(
            "Cannot create a materialized view on a table in a different keyspace",
        )),
    }
}

/// The columns of CLUSTERING ORDER BY.
pub fn clustering_order(options: &[TableOption]) -> impl Iterator<Item = &(Name, Direction)> {
    options.iter().flat_map(|option| match option {
        TableOption::ClusteringOrder(order) => order.as_slice(),
        _ => &[],
    })
}
