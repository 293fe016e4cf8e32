//! `system_palladium`: which key protects what, what is in memory and in the log, and work that an operator asks for.
//!
//! ```sql
//! INSERT INTO system_palladium.maintenance (operation, keyspace_name, table_name) VALUES ('flush' | 'compact', 'ks', 't');
//! ```
//!
//! is answered when the work is done; an empty name means all.

mod calls;
mod certificates;
mod held;
mod paged;
mod states;
mod structures;

use std::sync::Arc;

use palladium_crypto::TableId;
use palladium_protocol::types::CqlValue;
use palladium_storage::{Mutation, ReadCommand, ReadPage};

use super::super::{Catalog, TableSchema};
use super::rows::{Rows, text};
use super::status::Unfinished;
use crate::audit::{Asker, Standing};
use crate::database::Database;
use crate::encode::key;
use crate::error::{CqlError, CqlResult};

/// The server as one asker may see it: rows about tables that he may do something with, names of keys that he may use or describe.
#[derive(Clone, Copy)]
struct View<'a> {
    database: &'a Database,
    asker: &'a Asker,
}

impl View<'_> {
    /// Whether rows about this table are shown.
    fn shows(&self, keyspace: &str, table: &str) -> bool {
        self.database.authority.may_see(self.asker, keyspace, table)
    }

    /// Whether rows about this table are asked for and shown.
    fn wants(&self, rows: &Rows<'_>, table: &TableSchema) -> bool {
        rows.are_asked_for(&[&table.keyspace, &table.name])
            && self.shows(&table.keyspace, &table.name)
    }

    /// Whether rows that are about no table are shown.
    fn shows_all(&self) -> bool {
        self.database.authority.may_describe_all_keys(self.asker)
    }

    /// Whether it is the role that this asker has logged in as.
    fn is_asker(&self, who: &str) -> bool {
        matches!(self.asker.standing, Standing::Role(_)) && *self.asker.who == *who
    }

    /// The name of a key, or null.
    fn key(&self, name: impl Into<String>) -> Option<CqlValue> {
        let name = name.into();
        match self.database.authority.may_name_key(self.asker, &name) {
            true => text(name),
            false => None,
        }
    }
}

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
    asker: &Asker,
) -> CqlResult<ReadPage> {
    let view = View { database, asker };
    match table.name.as_str() {
        "kms_calls" => calls::read(&database.trail, table, command, view).await,
        "shred_certificates" => certificates::read(&database.shredding, table, command, view).await,
        _ => {
            let catalog = database.catalog.load_full();
            structures::read(&database.engine, &catalog, table, command, view).await
        }
    }
}

/// The rows of one of these tables.
pub fn fill(
    database: &Database,
    catalog: &Catalog,
    table: &TableSchema,
    unfinished: &Unfinished,
    asker: &Asker,
    rows: &mut Rows<'_>,
) -> CqlResult<()> {
    let view = View { database, asker };
    match table.name.as_str() {
        "tables" => states::tables(view, catalog, unfinished, rows),
        "table_keys" => states::table_keys(view, catalog, rows),
        "key_services" => states::key_services(view, rows),
        "grants" => states::grants(view, rows),
        "memtables" => held::memtables(view, catalog, rows),
        "memory" => held::memory(view, rows),
        "log" => held::log(view, catalog, rows),
        "leases" => held::leases(view, catalog, rows),
        "caches" => held::caches(view, rows),
        "slow_queries" => held::slow_queries(view, catalog, rows),
        // Work is not remembered.
        _ => Ok(()),
    }
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
    let is_named = !keyspace.is_empty() && !table.is_empty();
    let mut maintained = Ok(());
    for id in selected(&database.catalog.load(), keyspace, table)? {
        // A table whose key is out of reach has nothing in memory that could be flushed.
        if is_named {
            database.keys.ensure(id, asker).await?;
        }
        if !database.engine.lease_alive(id) {
            continue;
        }
        let done = match operation {
            "flush" => database.engine.flush(Some(id)).await,
            _ => database.engine.compact(Some(id)).await,
        };
        // What one table comes to keeps none of the others from their turn; closed meanwhile, it is as good as closed before.
        match done {
            Err(palladium_storage::Error::KeyUnavailable { .. }) if !is_named => {}
            done => maintained = maintained.and(done.map_err(|error| database.refused(error))),
        }
    }
    maintained
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
