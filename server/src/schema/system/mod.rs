//! The tables that nobody stores: what the server knows, shown as rows when somebody asks.
//!
//! ```text
//! SELECT ── the same road as any ──► ReadCommand ──► read: rows of the moment into a memtable, read like any other
//! ```
//!
//! So filters, paging, aggregates and token ranges work alike. Keyspaces: `system`, `system_schema`, `system_traces` as Cassandra
//! has them, `system_virtual_schema` and `system_views` likewise, `system_schema_mcs` as Amazon Keyspaces has it, and
//! `system_palladium` for what this server adds.
//!
//! Read in this order: `definitions`, `rows`, `node` (this server), `catalog` (the schema), `keyspaces` (Amazon's), `palladium`.

mod catalog;
mod definitions;
mod keyspaces;
mod node;
mod palladium;
mod rows;

use palladium_storage::{ReadCommand, ReadPage};

use self::rows::Rows;
use super::{Catalog, TableSchema};
use crate::database::Database;
use crate::error::CqlResult;

pub use palladium::{is_writable, write};

/// Puts the system keyspaces into a catalog that holds those of users.
pub fn add_keyspaces(catalog: &mut Catalog) {
    for keyspace in definitions::keyspaces() {
        catalog
            .keyspaces
            .insert(keyspace.name.clone(), keyspace.clone());
    }
}

/// Whether a virtual table stands on the disk, so that reading it waits: see [`read_stored`].
pub fn is_stored(table: &TableSchema) -> bool {
    table.keyspace == "system_palladium" && palladium::is_stored(&table.name)
}

/// Reads a virtual table that stands on the disk.
pub async fn read_stored(
    database: &Database,
    table: &TableSchema,
    command: &ReadCommand,
) -> CqlResult<ReadPage> {
    palladium::read_stored(database, table, command).await
}

/// Reads a virtual table that is made of what is in memory.
pub fn read(
    database: &Database,
    table: &TableSchema,
    command: &ReadCommand,
) -> CqlResult<ReadPage> {
    let mut rows = Rows::new(table, command.now);
    let schema = database.catalog.load();
    match (table.keyspace.as_str(), table.name.as_str()) {
        ("system", "local") => node::local(database, &schema, &mut rows)?,
        ("system_views", "settings") => node::settings(database, &mut rows)?,
        ("system_schema" | "system_virtual_schema", _) => catalog::fill(&schema, table, &mut rows)?,
        ("system_schema_mcs", _) => keyspaces::fill(database, &schema, table, &mut rows)?,
        ("system_palladium", _) => palladium::fill(database, &schema, table, &mut rows)?,
        // One node has no peers; what is not kept is empty.
        _ => {}
    }
    rows.read(command)
}
