//! The schema at rest: a table of its own, sealed under the service's key.
//!
//! ```text
//! system_palladium.schema    partition key: the text "schema", so that one mutation changes everything a statement changes
//!                            clustering:    kind, keyspace, name          ("keyspace" | "type" | "table" | "change")
//!                            value:         definition, JSON as written in `definition`
//! ```
//!
//! A schema change is one mutation of this one partition: atomic under every crash. Definitions name fields and are read leniently forwards: a field that is
//! absent has its default, so that later versions can add fields; a field that is not known is an error, because it may be the one that protects a table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use palladium_crypto::{CmkRef, TableId};
use palladium_protocol::types::CqlType;
use palladium_storage::verify::{Inspection, TableReader};
use palladium_storage::{
    Cell, CellState, ColumnId, Columns, KeyRange, Limits, Liveness, LocalBackend, Mutation,
    PartitionUpdate, ReadCommand, Row, Slices, Store, Write,
};

use self::definition::{StoredTable, from_stored, parse};
pub use self::difference::digest_after;
use super::{Catalog, Column, ColumnKind, Definition, Encryption, TableSchema, system};
use crate::Engine;
use crate::encode::key;
use crate::error::CqlResult;
use crate::service_key::ServiceKey;
use crate::service_table::{self, SCHEMA_TABLE};

mod definition;
mod difference;

const PARTITION: &[u8] = b"schema";
const DEFINITION: ColumnId = ColumnId(1);

/// Tables whose definitions are changed in one write.
const CHANGED_AT_ONCE: usize = 500;

/// What a schema change writes and removes.
#[derive(Debug, Default)]
pub struct Change {
    puts: Vec<(Place, String)>,
    removals: Vec<Place>,
}

/// Where a definition stands.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct Place {
    kind: &'static str,
    keyspace: String,
    name: String,
}

impl Place {
    /// A row that every change writes, so that removals, too, leave the moment they happened where it can be read.
    fn of_newest_change() -> Place {
        Place {
            kind: "change",
            keyspace: String::new(),
            name: String::new(),
        }
    }
}

impl Change {
    /// The difference between two catalogs.
    pub fn between(before: &Catalog, after: &Catalog) -> Change {
        let mut change = Change::default();
        for difference in difference::between(before, after) {
            match difference.after {
                Some(definition) => change.puts.push((difference.place, definition)),
                None => change.removals.push(difference.place),
            }
        }
        change
    }

    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        self.puts.is_empty() && self.removals.is_empty()
    }

    /// The mutation that makes the change, at `timestamp` microseconds.
    pub fn into_write(mut self, timestamp: i64) -> Write {
        let mut rows: Vec<Row> = Vec::new();
        self.puts.push((Place::of_newest_change(), String::new()));
        for (place, definition) in self.puts {
            rows.push(Row {
                clustering: clustering(&place),
                liveness: Some(Liveness {
                    timestamp,
                    ttl: 0,
                    expires_at: 0,
                }),
                deletion: None,
                complex_deletions: Vec::new(),
                cells: vec![Cell {
                    column: DEFINITION,
                    path: Bytes::new(),
                    timestamp,
                    state: CellState::Live(Bytes::from(definition)),
                }],
            });
        }
        for place in self.removals {
            rows.push(Row {
                clustering: clustering(&place),
                liveness: None,
                deletion: Some(palladium_storage::Deletion {
                    timestamp,
                    local_deletion_time: timestamp.div_euclid(1_000_000),
                }),
                complex_deletions: Vec::new(),
                cells: Vec::new(),
            });
        }
        rows.sort_by(|a, b| a.clustering.cmp(&b.clustering));
        Write::new(vec![Mutation {
            table: SCHEMA_TABLE,
            store: Store::BASE,
            key: partition(),
            update: PartitionUpdate {
                deletion: None,
                static_row: None,
                rows,
                range_tombstones: Vec::new(),
            },
        }])
    }
}

fn partition() -> palladium_storage::PartitionKey {
    key::partition_key(&[Bytes::from_static(PARTITION)]).expect("a short text is a partition key")
}

fn clustering_columns() -> Vec<Column> {
    ["kind", "keyspace_name", "name"]
        .iter()
        .enumerate()
        .map(|(position, name)| Column {
            name: name.to_string(),
            ty: CqlType::Text,
            kind: ColumnKind::Clustering,
            position,
            id: ColumnId(0),
            reversed: false,
            mask: None,
        })
        .collect()
}

fn clustering(place: &Place) -> palladium_storage::Clustering {
    let values = [place.kind, &place.keyspace, &place.name]
        .map(|text| Bytes::copy_from_slice(text.as_bytes()));
    key::clustering(&clustering_columns(), &values)
        .expect("texts are clustering values")
        .0
}

/// Opens the schema's table, making it at first start, and reads the catalog.
pub async fn load(engine: &Engine, service: &ServiceKey) -> Result<Catalog, String> {
    let say = |error: palladium_storage::Error| format!("the schema cannot be read: {error}");
    service_table::open(engine, service, SCHEMA_TABLE, Default::default())
        .await
        .map_err(say)?;
    let page = engine
        .read(everything(engine.now_seconds()))
        .await
        .map_err(say)?;
    let mut stored = Vec::new();
    let mut changed_at = 0;
    for row in page
        .partitions
        .into_iter()
        .flat_map(|partition| partition.rows)
    {
        changed_at = row
            .cells
            .iter()
            .map(|cell| cell.timestamp)
            .fold(changed_at, i64::max);
        stored.push(read_row(&row)?);
    }
    let mut catalog = from_stored(stored)?;
    system::add_keyspaces(&mut catalog);
    catalog.changed_at = changed_at;
    catalog.digest = digest_after(&Catalog::default(), &catalog);
    Ok(catalog)
}

/// One mutation of the schema's table: all of the difference, or nothing of it.
pub async fn write(engine: &Engine, before: &Catalog, after: &Catalog, now: i64) -> CqlResult<()> {
    let change = Change::between(before, after);
    if change.is_empty() {
        return Ok(());
    }
    let results = engine.write(vec![change.into_write(now)]).await;
    match results.into_iter().next() {
        Some(Err(error)) => Err(error.into()),
        _ => Ok(()),
    }
}

/// Changes definitions of tables in a folder that serves nobody: some at once, since a write is bounded and tables are as many as they like.
pub async fn change_tables(
    engine: &Engine,
    service: &ServiceKey,
    is_meant: impl Fn(&TableSchema) -> bool,
    change: impl Fn(&mut Definition),
) -> Result<(), String> {
    let mut before = load(engine, service).await?;
    let tables = before.customer_tables().filter(|table| is_meant(table));
    let tables: Vec<Arc<TableSchema>> = tables.cloned().collect();
    for some in tables.chunks(CHANGED_AT_ONCE) {
        let mut next = before.clone();
        for table in some {
            let mut definition = table.definition();
            change(&mut definition);
            next.replace_table(definition);
        }
        next.changed_at = engine.next_timestamp().max(before.changed_at + 1);
        let written = write(engine, &before, &next, next.changed_at).await;
        written.map_err(|error| error.message)?;
        before = next;
    }
    Ok(())
}

/// Keyspace and name of a table in a folder that is only looked at.
pub async fn names_of(
    inspection: &Inspection,
    backend: &LocalBackend,
    service: &ServiceKey,
) -> Result<BTreeMap<TableId, (String, String)>, String> {
    let ring = service_table::ring(service, SCHEMA_TABLE);
    let reader = inspection.reader(backend, &ring).await;
    names_in(&stored_in(reader.map_err(cannot_be_read)?, backend).await?)
}

/// The same of what is left of the schema where the log is damaged. An error, too, where that does not hold together: no server could start on it.
pub async fn names_of_the_rest(
    inspection: &Inspection,
    backend: &LocalBackend,
    service: &ServiceKey,
) -> Result<BTreeMap<TableId, (String, String)>, String> {
    let ring = service_table::ring(service, SCHEMA_TABLE);
    let reader = inspection.reader_of_the_rest(backend, &ring).await;
    let stored = stored_in(reader.map_err(cannot_be_read)?, backend).await?;
    let names = names_in(&stored)?;
    let catalog = from_stored(stored);
    catalog.map_err(|error| format!("what is left of the schema does not hold together, so that no server could start on it: {error}"))?;
    Ok(names)
}

fn cannot_be_read(error: palladium_storage::Error) -> String {
    format!("the schema cannot be read: {error}")
}

async fn stored_in(reader: TableReader, backend: &LocalBackend) -> Result<Vec<Stored>, String> {
    let page = reader.read(backend, &everything(0)).await;
    let page = page.map_err(cannot_be_read)?;
    let rows = page.partitions.iter();
    rows.flat_map(|partition| &partition.rows)
        .map(read_row)
        .collect()
}

fn names_in(stored: &[Stored]) -> Result<BTreeMap<TableId, (String, String)>, String> {
    let tables = stored.iter().filter(|stored| stored.kind == "table");
    let named = tables.map(|stored| {
        let table: StoredTable = parse(stored)?;
        let name = (stored.keyspace.clone(), stored.name.clone());
        Ok((TableId(table.id), name))
    });
    named.collect()
}

fn everything(now: i64) -> ReadCommand {
    ReadCommand {
        table: SCHEMA_TABLE,
        store: Store::BASE,
        range: KeyRange::One(partition()),
        slices: Slices::all(),
        reversed: false,
        columns: Arc::new(Columns {
            regular: vec![DEFINITION],
            statics: Vec::new(),
        }),
        limits: Limits::NONE,
        resume: None,
        now,
    }
}

/// Destroys what a crash left behind: tables that no row of the schema names, and roots of tables that were never made. A table that only the schema names stands damaged.
pub async fn sweep(engine: &Engine, catalog: &Catalog) -> Result<(), String> {
    let known: BTreeSet<TableId> = catalog
        .keyspaces
        .values()
        .flat_map(|keyspace| keyspace.tables.values())
        .map(|table| table.id)
        .chain(service_table::ALL)
        .collect();
    for table in catalog.customer_tables() {
        // The manifest has lost what is acknowledged: that stops this table, and it is the operator's to say what becomes of it. Before anything else: what is dropped lets
        // go of the log.
        if !engine.has_table(table.id) {
            tracing::error!(table = %table.id, "a table stands in the schema and not in the manifest: it can be salvaged, or dropped");
            engine.miss_table(table.id, table.for_storage());
        }
    }
    for id in engine.table_ids() {
        if !known.contains(&id) {
            tracing::info!(table = %id, "finishing the removal of a table that the schema does not name");
            engine
                .drop_table(id)
                .await
                .map_err(|error| error.to_string())?;
        }
    }
    for table in catalog.customer_tables() {
        engine
            .set_options(table.id, table.for_storage())
            .map_err(|error| error.to_string())?;
    }
    let swept = engine.sweep_roots(&known).await;
    swept.map_err(|error| error.to_string())
}

/// A key switch commits the root first. Where a crash kept the schema's row from following, the root is right: shows each table under the key it is under.
pub fn follow_roots(engine: &Engine, catalog: &mut Catalog, service_cmk: &CmkRef) {
    let changed: Vec<Definition> = catalog
        .customer_tables()
        .filter_map(|table| {
            let root = engine.root(table.id)?;
            let shown = match &table.encryption {
                Encryption::Customer(cmk) => cmk,
                Encryption::Default => service_cmk,
            };
            if *shown == root.cmk {
                return None;
            }
            let mut definition = table.definition();
            definition.encryption = match root.cmk == *service_cmk {
                true => Encryption::Default,
                false => Encryption::Customer(root.cmk),
            };
            Some(definition)
        })
        .collect();
    for table in changed {
        tracing::info!(table = %table.id, "the schema follows a key switch that a crash cut short");
        catalog.replace_table(table);
    }
}

struct Stored {
    kind: String,
    keyspace: String,
    name: String,
    definition: String,
}

fn read_row(row: &Row) -> Result<Stored, String> {
    let damaged = || "the schema cannot be read: a row is not what was written".to_string();
    let values = key::clustering_values(&clustering_columns(), &row.clustering, None)
        .map_err(|_| damaged())?;
    let mut texts = values
        .into_iter()
        .map(|value| String::from_utf8(value.unwrap_or_default().to_vec()).map_err(|_| damaged()));
    let mut next = || texts.next().unwrap_or_else(|| Err(damaged()));
    let definition = match row.cells.first().map(|cell| &cell.state) {
        Some(CellState::Live(value)) => String::from_utf8(value.to_vec()).map_err(|_| damaged())?,
        _ => return Err(damaged()),
    };
    Ok(Stored {
        kind: next()?,
        keyspace: next()?,
        name: next()?,
        definition,
    })
}

#[cfg(test)]
mod tests;
