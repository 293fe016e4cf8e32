//! The tables that nobody stores: what the server knows, shown as rows when somebody asks.
//!
//! ```text
//! SELECT ── the same road as any ──► ReadCommand ──► read: rows of the moment into a memtable, read like any other
//! ```
//!
//! So filters, paging, aggregates and token ranges work alike. Keyspaces: `system`, `system_schema`, `system_auth`, `system_traces`, `system_distributed` as
//! Cassandra has them, `system_virtual_schema` and `system_views` likewise, `system_schema_mcs` as Amazon Keyspaces has it, and
//! `system_palladium` for what this server adds.
//!
//! Read in this order: `definitions`, `rows`, `status`, `node` (this server), `catalog` (the schema), `auth` (the roles), `keyspaces` (Amazon's), `traces`, `views` and `latencies` (`system_views`),
//! `palladium`.

mod auth;
mod catalog;
mod definitions;
mod keyspaces;
mod latencies;
mod node;
mod palladium;
mod rows;
mod status;
mod traces;
mod views;

use palladium_storage::{ReadCommand, ReadPage};

use self::rows::Rows;
use self::status::Unfinished;
use super::{Catalog, TableSchema};
use crate::audit::Asker;
use crate::database::Database;
use crate::error::CqlResult;

pub use palladium::{is_writable, write};

/// Puts the system keyspaces into a catalog that holds those of users.
pub fn add_keyspaces(catalog: &mut Catalog) {
    for keyspace in definitions::keyspaces() {
        // A user's keyspace from before the name was taken stays what it is.
        let there = catalog.keyspaces.entry(keyspace.name.clone());
        there.or_insert_with(|| keyspace.clone());
    }
}

/// Whether rows of a table are found by any of its columns without ALLOW FILTERING: Cassandra's virtual tables are in memory, and tags are asked for by keyspace
/// and table, where Keyspaces has an index.
pub fn is_found_by_all(table: &TableSchema) -> bool {
    match table.keyspace.as_str() {
        "system_views" | "system_virtual_schema" => true,
        keyspace => keyspace == "system_schema_mcs" && table.name == "tags",
    }
}

/// Whether reading a virtual table waits: it stands on the disk, or shows what the manifest knows. See [`read_stored`].
pub fn is_stored(table: &TableSchema) -> bool {
    let of_ours = table.keyspace == "system_palladium";
    shows_unfinished(table)
        || (of_ours && palladium::is_stored(&table.name))
        || views::is_stored(table)
}

fn shows_unfinished(table: &TableSchema) -> bool {
    ["system_palladium", "system_schema_mcs"].contains(&table.keyspace.as_str())
        && table.name == "tables"
}

/// Reads a virtual table for which one waits.
pub async fn read_stored(
    database: &Database,
    table: &TableSchema,
    command: &ReadCommand,
    asker: &Asker,
) -> CqlResult<ReadPage> {
    if shows_unfinished(table) {
        let unfinished = database.engine.unsettled().await;
        return read_with(database, table, command, &unfinished, asker);
    }
    if views::is_stored(table) {
        return views::read_stored(database, table, command).await;
    }
    palladium::read_stored(database, table, command, asker).await
}

/// Reads a virtual table that is made of what is in memory.
pub fn read(
    database: &Database,
    table: &TableSchema,
    command: &ReadCommand,
    asker: &Asker,
) -> CqlResult<ReadPage> {
    read_with(database, table, command, &Unfinished::new(), asker)
}

fn read_with(
    database: &Database,
    table: &TableSchema,
    command: &ReadCommand,
    unfinished: &Unfinished,
    asker: &Asker,
) -> CqlResult<ReadPage> {
    let mut rows = Rows::new(table, command);
    let schema = database.catalog.load();
    match (table.keyspace.as_str(), table.name.as_str()) {
        ("system", "local") => node::local(database, &schema, &mut rows)?,
        ("system", "built_views") => catalog::built_views(&schema, &mut rows)?,
        ("system", "IndexInfo") => catalog::built_indexes(&schema, &mut rows)?,
        ("system_distributed", "view_build_status") => {
            catalog::view_builds(&schema, database.host_id, &mut rows)?
        }
        ("system_traces", _) => traces::fill(database, table, command, asker, &mut rows)?,
        ("system", "compaction_history") => {
            views::compaction_history(database, &schema, &mut rows)?
        }
        ("system", "prepared_statements") => views::prepared(database, &mut rows)?,
        ("system_views", _) => views::fill(database, &schema, table, &mut rows)?,
        ("system_schema" | "system_virtual_schema", _) => catalog::fill(&schema, table, &mut rows)?,
        ("system_auth", name) => auth::fill(database, name, asker, &mut rows)?,
        ("system_schema_mcs", _) => {
            keyspaces::fill(database, &schema, table, unfinished, asker, &mut rows)?
        }
        ("system_palladium", _) => {
            palladium::fill(database, &schema, table, unfinished, asker, &mut rows)?
        }
        // One node has no peers; what is not kept is empty.
        _ => {}
    }
    rows.read(command)
}
