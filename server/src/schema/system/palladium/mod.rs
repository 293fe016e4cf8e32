//! `system_palladium`: which key protects what, and work that an operator asks for.
//!
//! ```sql
//! INSERT INTO system_palladium.maintenance (operation, keyspace_name, table_name) VALUES ('flush' | 'compact', 'ks', 't');
//! ```
//!
//! is answered when the work is done; an empty name means all.

mod calls;
mod certificates;
mod paged;
mod structures;

use std::sync::Arc;

use palladium_crypto::TableId;
use palladium_protocol::types::CqlValue;
use palladium_storage::{Mutation, ReadCommand, ReadPage};

use super::super::{Catalog, TableSchema};
use super::rows::{Named, Rows, boolean, int, text, uuid};
use crate::audit::Asker;
use crate::database::Database;
use crate::encode::key;
use crate::error::{CqlError, CqlResult};
use crate::keys::TableKeyStatus;

/// Whether an INSERT into this virtual table means something.
pub fn is_writable(table: &TableSchema) -> bool {
    table.keyspace == "system_palladium" && table.name == "maintenance"
}

/// Whether this table stands on the disk.
pub fn is_stored(name: &str) -> bool {
    ["kms_calls", "shred_certificates", "structures"].contains(&name)
}

/// Reads a table that stands on the disk.
pub async fn read_stored(
    database: &Database,
    table: &TableSchema,
    command: &ReadCommand,
) -> CqlResult<ReadPage> {
    match table.name.as_str() {
        "kms_calls" => calls::read(&database.trail, table, command).await,
        "shred_certificates" => certificates::read(&database.shredding, table, command).await,
        _ => {
            let catalog = database.catalog.load_full();
            structures::read(&database.engine, &catalog, table, command).await
        }
    }
}

/// The rows of one of these tables.
pub fn fill(
    database: &Database,
    catalog: &Catalog,
    table: &TableSchema,
    rows: &mut Rows<'_>,
) -> CqlResult<()> {
    for of in catalog.customer_tables() {
        match table.name.as_str() {
            "tables" => rows.add(state(database, of))?,
            "table_keys" => table_keys(database, of, rows)?,
            // Work is not remembered.
            _ => {}
        }
    }
    Ok(())
}

fn state(database: &Database, table: &TableSchema) -> Vec<Named> {
    let kms_key = database
        .engine
        .root(table.id)
        .map(|root| root.cmk.to_string());
    let mut row = vec![
        ("keyspace_name", text(&table.keyspace)),
        ("table_name", text(&table.name)),
        ("id", uuid(table.id.0)),
        ("kms_key", kms_key.and_then(text)),
    ];
    match database.keys.status(table.id) {
        TableKeyStatus::Enabled => row.push(("encryption_status", text("ENABLED"))),
        TableKeyStatus::Inaccessible(trouble) => row.extend([
            ("encryption_status", text("KMS_KEY_INACCESSIBLE")),
            (
                "inaccessible_since",
                Some(CqlValue::Timestamp(trouble.since_micros.div_euclid(1_000))),
            ),
            ("reason", text(trouble.reason.to_string())),
        ]),
    }
    row
}

fn table_keys(database: &Database, table: &TableSchema, rows: &mut Rows<'_>) -> CqlResult<()> {
    let Some(root) = database.engine.root(table.id) else {
        return Ok(());
    };
    for (version, fingerprint) in &root.fingerprints {
        let is_current = *version == root.version;
        rows.add(vec![
            ("keyspace_name", text(&table.keyspace)),
            ("table_name", text(&table.name)),
            ("version", int(*version as i32)),
            ("fingerprint", Some(CqlValue::Blob(fingerprint.0.to_vec()))),
            ("is_current", boolean(is_current)),
            // The KMS key wraps the current version, and that one the older ones.
            (
                "kms_key",
                is_current.then(|| root.cmk.to_string()).and_then(text),
            ),
        ])?;
    }
    Ok(())
}

/// Does what the rows of `maintenance` ask for.
pub async fn write(
    database: Arc<Database>,
    table: Arc<TableSchema>,
    mutations: Vec<Mutation>,
    asker: Asker,
) -> CqlResult<()> {
    for mutation in mutations {
        let operation = text_of(key::partition_values(&mutation.key, 1)?.first());
        for row in &mutation.update.rows {
            let names = key::clustering_values(table.clustering_columns(), &row.clustering, None)?;
            let name = |place: usize| text_of(names.get(place).and_then(Option::as_ref));
            maintain(&database, &operation, &name(0), &name(1), &asker).await?;
        }
    }
    Ok(())
}

fn text_of(value: Option<&bytes::Bytes>) -> String {
    value
        .map(|value| String::from_utf8_lossy(value).into_owned())
        .unwrap_or_default()
}

async fn maintain(
    database: &Database,
    operation: &str,
    keyspace: &str,
    table: &str,
    asker: &Asker,
) -> CqlResult<()> {
    if !["flush", "compact"].contains(&operation) {
        return Err(CqlError::invalid(format!(
            "Unknown operation '{operation}': only 'flush' and 'compact' are known"
        )));
    }
    for id in selected(&database.catalog.load(), keyspace, table)? {
        // A table whose key is out of reach has nothing in memory that could be flushed.
        if !keyspace.is_empty() && !table.is_empty() {
            database.keys.ensure(id, asker).await?;
        }
        if !database.engine.lease_alive(id) {
            continue;
        }
        match operation {
            "flush" => database.engine.flush(Some(id)).await?,
            _ => database.engine.compact(Some(id)).await?,
        }
    }
    Ok(())
}

fn selected(catalog: &Catalog, keyspace: &str, table: &str) -> CqlResult<Vec<TableId>> {
    if !keyspace.is_empty() && !table.is_empty() {
        return Ok(vec![catalog.require_table(keyspace, table)?.id]);
    }
    if !keyspace.is_empty() && catalog.keyspace(keyspace).is_none() {
        return Err(CqlError::invalid(format!(
            "keyspace {keyspace} does not exist"
        )));
    }
    let tables = catalog.customer_tables();
    Ok(tables
        .filter(|of| keyspace.is_empty() || of.keyspace == keyspace)
        .map(|of| of.id)
        .collect())
}
