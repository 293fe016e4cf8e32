//! `system_schema_mcs`, where clients of Amazon Keyspaces look: the schema with the state of each table and of its key.

use std::collections::BTreeMap;
use std::sync::Arc;

use palladium_protocol::types::CqlValue;

use super::super::{Catalog, Keyspace, KeyspaceKind, TableSchema, custom};
use super::catalog;
use super::rows::{Named, Rows, text, text_map};
use super::status::{self, Unfinished};
use crate::audit::Asker;
use crate::database::Database;
use crate::error::CqlResult;

/// The rows of one of these tables.
pub fn fill(
    database: &Database,
    schema: &Catalog,
    table: &TableSchema,
    unfinished: &Unfinished,
    asker: &Asker,
    rows: &mut Rows<'_>,
) -> CqlResult<()> {
    let stored = |keyspace: &&Arc<Keyspace>| keyspace.kind != KeyspaceKind::Virtual;
    for keyspace in schema.keyspaces.values().filter(stored) {
        match table.name.as_str() {
            "keyspaces" => rows.add(catalog::keyspace_row(keyspace))?,
            "types" => catalog::types(keyspace, rows)?,
            what => {
                if what == "tags" {
                    // No id of a table is the name of a keyspace: it has dashes.
                    let id = keyspace.name.clone();
                    let of_keyspace = (id, keyspace.name.as_str(), "keyspace");
                    tags(of_keyspace, &keyspace.name, &keyspace.tags, rows)?;
                }
                for of in keyspace.tables.values() {
                    match what {
                        "tables" | "columns" if !rows.are_asked_for(&[&of.keyspace, &of.name]) => {}
                        "tables" => {
                            let status = status::of_table(database, of, unfinished);
                            rows.add(table_row(database, of, status, asker))?
                        }
                        "columns" => catalog::columns(of, rows)?,
                        "tags" => {
                            let of_table = (of.id.to_string(), of.name.as_str(), "table");
                            let own = custom::tags(&of.custom_properties);
                            tags(of_table, &of.keyspace, &own, rows)?
                        }
                        _ => {}
                    }
                }
            }
        }
    }
    match table.name.as_str() {
        "tables" => reserved(database, schema, asker, rows),
        _ => Ok(()),
    }
}

/// Tables that come or go.
fn reserved(
    database: &Database,
    schema: &Catalog,
    asker: &Asker,
    rows: &mut Rows<'_>,
) -> CqlResult<()> {
    for (of, doing) in database.turns.under_way() {
        let is_there = schema
            .keyspace(&of.keyspace)
            .is_some_and(|keyspace| keyspace.tables.contains_key(&of.name));
        if let (false, Some(status)) = (is_there, status::of_reserved(doing)) {
            rows.add(table_row(database, &of, status, asker))?;
        }
    }
    Ok(())
}

fn table_row(
    database: &Database,
    table: &TableSchema,
    status: &'static str,
    asker: &Asker,
) -> Vec<Named> {
    let mut row = catalog::table_row(table);
    row.push((
        "custom_properties",
        custom_properties(database, table, asker),
    ));
    row.push(("status", text(status)));
    row
}

fn custom_properties(database: &Database, table: &TableSchema, asker: &Asker) -> Option<CqlValue> {
    let mut all: BTreeMap<String, BTreeMap<String, String>> = table
        .custom_properties
        .iter()
        .filter(|(name, _)| *name != custom::TAGS)
        .map(|(name, value)| (name.clone(), custom::flat(value)))
        .collect();
    let default = |name: &str, value: &str| BTreeMap::from([(name.to_owned(), value.to_owned())]);
    all.entry("capacity_mode".into())
        .or_insert_with(|| default("throughput_mode", "PAY_PER_REQUEST"));
    all.entry("point_in_time_recovery".into())
        .or_insert_with(|| default("status", "disabled"));
    let mut encryption = custom::shown_encryption(&table.encryption);
    // Whoever may neither use nor describe a key learns that there is one, and not its name.
    encryption.retain(|name, value| {
        name != custom::IDENTIFIER || database.authority.may_name_key(asker, value)
    });
    all.insert(custom::ENCRYPTION.into(), encryption);
    let entries = all.into_iter();
    Some(CqlValue::Map(
        entries
            .filter_map(|(name, value)| Some((CqlValue::Text(name), text_map(&value)?)))
            .collect(),
    ))
}

fn tags(
    (id, name, kind): (String, &str, &str),
    keyspace: &str,
    tags: &BTreeMap<String, String>,
    rows: &mut Rows<'_>,
) -> CqlResult<()> {
    if tags.is_empty() {
        return Ok(());
    }
    rows.add(vec![
        ("resource_id", text(id)),
        ("keyspace_name", text(keyspace)),
        ("resource_name", text(name)),
        ("resource_type", text(kind)),
        ("tags", text_map(tags)),
    ])
}
