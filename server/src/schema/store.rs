//! The schema at rest: a table of its own, sealed under the service's key.
//!
//! ```text
//! system_palladium.schema    partition key: the text "schema", so that one mutation changes everything a statement changes
//!                            clustering:    kind, keyspace, name          ("keyspace" | "type" | "table" | "change")
//!                            value:         definition, JSON as written below
//! ```
//!
//! A schema change is one mutation of this one partition: atomic under every crash. Definitions name fields and are read leniently forwards: a field that is
//! absent has its default, so that later versions can add fields; a field that is not known is an error, because it may be the one that protects a table.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use palladium_crypto::{CmkRef, TableId};
use palladium_protocol::cql;
use palladium_protocol::cql::ast::{IndexTargetKind, Literal, PropertyValue, Statement};
use palladium_protocol::types::{CqlType, UserType};
use palladium_storage::verify::Inspection;
use palladium_storage::{
    Cell, CellState, ColumnId, Columns, KeyRange, Limits, Liveness, LocalBackend, Mutation,
    PartitionUpdate, ReadCommand, Row, Slices, Store, Write,
};
use serde::{Deserialize, Serialize};

pub use self::difference::digest_after;
use super::index::{Index, target_name};
use super::table::{ColumnMask, DroppedColumn, FIRST_STORE};
use super::view::View;
use super::{
    Catalog, Column, ColumnKind, Definition, Encryption, Keyspace, KeyspaceKind, TableKind,
    TableOptions, TableSchema, resolve, system,
};
use crate::Engine;
use crate::derived::layout::LAYOUT;
use crate::encode::key;
use crate::error::CqlResult;
use crate::service_key::ServiceKey;
use crate::service_table::{self, SCHEMA_TABLE};

mod difference;

const PARTITION: &[u8] = b"schema";
const DEFINITION: ColumnId = ColumnId(1);

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
        Write {
            mutations: vec![Mutation {
                table: SCHEMA_TABLE,
                store: Store::BASE,
                key: partition(),
                update: PartitionUpdate {
                    deletion: None,
                    static_row: None,
                    rows,
                    range_tombstones: Vec::new(),
                },
            }],
        }
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

/// Keyspace and name of a table in a folder that is only looked at.
pub async fn names_of(
    inspection: &Inspection,
    backend: &LocalBackend,
    service: &ServiceKey,
) -> Result<BTreeMap<TableId, (String, String)>, String> {
    let ring = service_table::ring(service, SCHEMA_TABLE);
    let say = |error: palladium_storage::Error| format!("the schema cannot be read: {error}");
    let reader = inspection.reader(backend, &ring).await.map_err(say)?;
    let page = reader.read(backend, &everything(0)).await.map_err(say)?;
    let mut names = BTreeMap::new();
    for row in page.partitions.iter().flat_map(|partition| &partition.rows) {
        let stored = read_row(row)?;
        if stored.kind == "table" {
            let table: StoredTable = parse(&stored)?;
            names.insert(TableId(table.id), (stored.keyspace, stored.name));
        }
    }
    Ok(names)
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

/// Destroys what a crash left behind: tables that no row of the schema names.
pub async fn sweep(engine: &Engine, catalog: &Catalog) -> Result<(), String> {
    let known: BTreeSet<TableId> = catalog
        .keyspaces
        .values()
        .flat_map(|keyspace| keyspace.tables.values())
        .map(|table| table.id)
        .chain(service_table::ALL)
        .collect();
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
        if !engine.has_table(table.id) {
            return Err(format!(
                "table {} stands in the schema and not in the manifest",
                table.full_name()
            ));
        }
        engine
            .set_options(table.id, table.options.for_storage())
            .map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// A key switch commits the root first. Where a crash kept the schema's row from following, the root is right: shows each table under the key it is under.
pub fn follow_roots(engine: &Engine, catalog: &mut Catalog, service_cmk: &CmkRef) {
    let changed: Vec<TableSchema> = catalog
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
            Some(TableSchema::new(definition))
        })
        .collect();
    for table in changed {
        tracing::info!(table = %table.id, "the schema follows a key switch that a crash cut short");
        if let Some(keyspace) = catalog.keyspaces.get_mut(&table.keyspace) {
            let tables = &mut Arc::make_mut(keyspace).tables;
            tables.insert(table.name.clone(), Arc::new(table));
        }
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

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredKeyspace {
    replication: BTreeMap<String, String>,
    durable_writes: bool,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredType {
    /// Types are CQL text.
    fields: Vec<(String, String)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredTable {
    id: [u8; 16],
    columns: Vec<StoredColumn>,
    options: TableOptions,
    dropped: Vec<StoredDropped>,
    next_column_id: u32,
    /// Absent: the service's own key.
    kms_key: Option<String>,
    custom_properties: BTreeMap<String, StoredProperty>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    indexes: Vec<StoredIndex>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    views: Vec<StoredView>,
    /// Absent: there never was a store beside the base.
    #[serde(default = "first_store", skip_serializing_if = "is_first_store")]
    next_store: u16,
    /// Absent: no COMPACT STORAGE.
    #[serde(default, skip_serializing_if = "is_not")]
    compact: bool,
}

fn is_not(flag: &bool) -> bool {
    !flag
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredView {
    name: String,
    id: [u8; 16],
    partition_key: Vec<String>,
    /// Each with whether it runs DESC.
    clustering: Vec<(String, bool)>,
    /// Absent: all of the base's.
    columns: Option<Vec<String>>,
    /// Relations are CQL text.
    relations: String,
    options: TableOptions,
    store: u16,
    is_built: bool,
}

fn store_view(view: &View) -> StoredView {
    StoredView {
        name: view.name.clone(),
        id: view.id.0,
        partition_key: view.partition_key.clone(),
        clustering: view.clustering.clone(),
        columns: view.columns.clone(),
        relations: view.where_clause(),
        options: view.options.clone(),
        store: view.store.0,
        is_built: view.is_built,
    }
}

fn load_view(base: &str, stored: StoredView) -> Result<Arc<View>, String> {
    let text = format!("SELECT * FROM base WHERE {}", stored.relations);
    let relations = match cql::parse(&text).map_err(|error| error.to_string())? {
        Statement::Select(select) => select.relations,
        _ => {
            return Err(format!(
                "the schema's conditions of view {} are none",
                stored.name
            ));
        }
    };
    Ok(Arc::new(View {
        name: stored.name,
        id: TableId(stored.id),
        base: base.to_owned(),
        partition_key: stored.partition_key,
        clustering: stored.clustering,
        columns: stored.columns,
        relations,
        options: stored.options,
        store: Store(stored.store),
        is_built: stored.is_built,
    }))
}

fn first_store() -> u16 {
    FIRST_STORE
}

fn is_first_store(store: &u16) -> bool {
    *store == FIRST_STORE
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredIndex {
    name: String,
    column: String,
    /// `simple`, `values`, ..
    target: String,
    /// Absent: the classic index.
    class: Option<String>,
    options: BTreeMap<String, String>,
    store: u16,
    /// Absent: the first there was.
    #[serde(default = "first_layout")]
    layout: u8,
    is_built: bool,
}

fn first_layout() -> u8 {
    1
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredColumn {
    name: String,
    #[serde(rename = "type")]
    ty: String,
    kind: String,
    position: usize,
    id: u32,
    reversed: bool,
    mask: Option<(String, String, Vec<String>)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct StoredDropped {
    name: String,
    #[serde(rename = "type")]
    ty: String,
    is_static: bool,
    id: u32,
    dropped_at: i64,
}

/// A property as text, or a map of such.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum StoredProperty {
    Text(String),
    Map(Vec<(String, StoredProperty)>),
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("definitions are maps with text keys")
}

fn store_table(table: &TableSchema) -> StoredTable {
    StoredTable {
        id: table.id.0,
        columns: table
            .columns
            .iter()
            .map(|column| StoredColumn {
                name: column.name.clone(),
                ty: column.ty.to_string(),
                kind: column.kind.name().to_owned(),
                position: column.position,
                id: column.id.0,
                reversed: column.reversed,
                mask: column.mask.as_ref().map(|mask| {
                    (
                        mask.keyspace.clone(),
                        mask.function.clone(),
                        mask.arguments.clone(),
                    )
                }),
            })
            .collect(),
        options: table.options.clone(),
        dropped: table
            .dropped
            .iter()
            .map(|column| StoredDropped {
                name: column.name.clone(),
                ty: column.ty.to_string(),
                is_static: column.is_static,
                id: column.id.0,
                dropped_at: column.dropped_at,
            })
            .collect(),
        next_column_id: table.next_column_id,
        kms_key: match &table.encryption {
            Encryption::Default => None,
            Encryption::Customer(cmk) => Some(cmk.to_string()),
        },
        custom_properties: table
            .custom_properties
            .iter()
            .map(|(name, value)| (name.clone(), store_property(value)))
            .collect(),
        indexes: table
            .indexes
            .iter()
            .map(|index| store_index(index))
            .collect(),
        views: table
            .views
            .iter()
            .filter_map(|view| view.view.as_deref().map(store_view))
            .collect(),
        next_store: table.next_store,
        compact: table.compact,
    }
}

fn store_index(index: &Index) -> StoredIndex {
    StoredIndex {
        name: index.name.clone(),
        column: index.column.clone(),
        target: target_name(index.target).to_owned(),
        class: index.class.clone(),
        options: index.options.clone(),
        store: index.store.0,
        layout: index.layout,
        is_built: index.is_built,
    }
}

fn load_index(stored: StoredIndex) -> Result<Arc<Index>, String> {
    let target = [
        IndexTargetKind::Simple,
        IndexTargetKind::Values,
        IndexTargetKind::Keys,
        IndexTargetKind::Entries,
        IndexTargetKind::Full,
    ]
    .into_iter()
    .find(|target| target_name(*target) == stored.target)
    .ok_or_else(|| {
        format!(
            "the schema names an unknown target of an index: {}",
            stored.target
        )
    })?;
    Ok(Arc::new(Index {
        name: stored.name,
        column: stored.column,
        target,
        class: stored.class,
        options: stored.options,
        store: Store(stored.store),
        layout: stored.layout,
        // Entries that stand elsewhere than they are looked for answer nothing: it is made anew (`derived::build`).
        is_built: stored.is_built && stored.layout == LAYOUT,
    }))
}

fn store_property(value: &PropertyValue) -> StoredProperty {
    match value {
        PropertyValue::Map(entries) => StoredProperty::Map(
            entries
                .iter()
                .map(|(name, value)| (name.raw_text(), store_property(value)))
                .collect(),
        ),
        other => StoredProperty::Text(other.text().unwrap_or_default()),
    }
}

fn load_property(value: StoredProperty) -> PropertyValue {
    match value {
        StoredProperty::Text(text) => PropertyValue::Literal(Literal::String(text)),
        StoredProperty::Map(entries) => PropertyValue::Map(
            entries
                .into_iter()
                .map(|(name, value)| (Literal::String(name), load_property(value)))
                .collect(),
        ),
    }
}

fn from_stored(stored: Vec<Stored>) -> Result<Catalog, String> {
    let mut catalog = Catalog::default();
    let of = |kind: &'static str| stored.iter().filter(move |stored| stored.kind == kind);
    for stored in of("keyspace") {
        let definition: StoredKeyspace = parse(stored)?;
        let mut keyspace = Keyspace::new(stored.keyspace.clone(), KeyspaceKind::User);
        keyspace.replication = definition.replication;
        keyspace.durable_writes = definition.durable_writes;
        catalog
            .keyspaces
            .insert(stored.keyspace.clone(), Arc::new(keyspace));
    }
    load_types(&mut catalog, of("type").collect())?;
    for stored in of("table") {
        let table = load_table(&catalog, stored)?;
        keyspace_mut(&mut catalog, stored)?
            .tables
            .insert(stored.name.clone(), Arc::new(table));
    }
    Ok(catalog)
}

/// Types may use each other in any order of names: those whose parts are known go in first.
fn load_types(catalog: &mut Catalog, mut waiting: Vec<&Stored>) -> Result<(), String> {
    while !waiting.is_empty() {
        let before = waiting.len();
        let mut still = Vec::new();
        for stored in waiting {
            let definition: StoredType = parse(stored)?;
            let fields: Result<Vec<(String, CqlType)>, String> = definition
                .fields
                .iter()
                .map(|(field, ty)| Ok((field.clone(), read_type(catalog, &stored.keyspace, ty)?)))
                .collect();
            match fields {
                Ok(fields) => {
                    let ty = UserType {
                        keyspace: stored.keyspace.clone(),
                        name: stored.name.clone(),
                        fields,
                    };
                    keyspace_mut(catalog, stored)?
                        .types
                        .insert(stored.name.clone(), Arc::new(ty));
                }
                Err(error) if still.len() + 1 == before => return Err(error),
                Err(_) => still.push(stored),
            }
        }
        waiting = still;
    }
    Ok(())
}

fn load_table(catalog: &Catalog, stored: &Stored) -> Result<TableSchema, String> {
    let table: StoredTable = parse(stored)?;
    let ty = |text: &str| read_type(catalog, &stored.keyspace, text);
    let columns = table
        .columns
        .into_iter()
        .map(|column| {
            Ok(Column {
                ty: ty(&column.ty)?,
                name: column.name,
                kind: column_kind(&column.kind)?,
                position: column.position,
                id: ColumnId(column.id),
                reversed: column.reversed,
                mask: column
                    .mask
                    .map(|(keyspace, function, arguments)| ColumnMask {
                        keyspace,
                        function,
                        arguments,
                    }),
            })
        })
        .collect::<Result<_, String>>()?;
    let dropped = table
        .dropped
        .into_iter()
        .map(|column| {
            Ok(DroppedColumn {
                ty: ty(&column.ty)?,
                name: column.name,
                is_static: column.is_static,
                id: ColumnId(column.id),
                dropped_at: column.dropped_at,
            })
        })
        .collect::<Result<_, String>>()?;
    let encryption = match table.kms_key {
        None => Encryption::Default,
        Some(name) => {
            Encryption::Customer(CmkRef::parse(&name).map_err(|error| error.to_string())?)
        }
    };
    let indexes = table.indexes.into_iter().map(load_index);
    let indexes = indexes.collect::<Result<_, String>>()?;
    let views = table.views.into_iter();
    let views = views.map(|view| load_view(&stored.name, view));
    let views = views.collect::<Result<_, String>>()?;
    Ok(TableSchema::new(Definition {
        indexes,
        views,
        view: None,
        next_store: table.next_store,
        id: TableId(table.id),
        keyspace: stored.keyspace.clone(),
        name: stored.name.clone(),
        columns,
        options: table.options,
        dropped,
        next_column_id: table.next_column_id,
        encryption,
        custom_properties: table
            .custom_properties
            .into_iter()
            .map(|(name, value)| (name, load_property(value)))
            .collect(),
        kind: TableKind::User,
        compact: table.compact,
    }))
}

fn column_kind(name: &str) -> Result<ColumnKind, String> {
    [
        ColumnKind::PartitionKey,
        ColumnKind::Clustering,
        ColumnKind::Static,
        ColumnKind::Regular,
    ]
    .into_iter()
    .find(|kind| kind.name() == name)
    .ok_or_else(|| format!("the schema names an unknown kind of column: {name}"))
}

fn read_type(catalog: &Catalog, keyspace: &str, text: &str) -> Result<CqlType, String> {
    let ty = cql::parse_type(text).map_err(|error| error.to_string())?;
    resolve::cql_type(catalog, keyspace, &ty).map_err(|error| error.message)
}

fn keyspace_mut<'a>(catalog: &'a mut Catalog, stored: &Stored) -> Result<&'a mut Keyspace, String> {
    catalog
        .keyspaces
        .get_mut(&stored.keyspace)
        .map(Arc::make_mut)
        .ok_or_else(|| {
            format!(
                "the schema names no keyspace for its {} {}",
                stored.kind, stored.name
            )
        })
}

fn parse<'a, T: Deserialize<'a>>(stored: &'a Stored) -> Result<T, String> {
    serde_json::from_str(&stored.definition).map_err(|error| {
        format!(
            "the schema's definition of {} {}.{} cannot be read: {error}",
            stored.kind, stored.keyspace, stored.name
        )
    })
}

#[cfg(test)]
mod tests;
