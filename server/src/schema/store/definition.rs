//! Definitions as they stand in the schema's rows: JSON, and the catalog that comes of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use palladium_crypto::{CmkRef, TableId};
use palladium_protocol::cql;
use palladium_protocol::cql::ast::{IndexTargetKind, Literal, PropertyValue, Statement};
use palladium_protocol::types::{CqlType, UserType};
use palladium_storage::{ColumnId, Store};
use serde::{Deserialize, Serialize};

use super::Stored;
use crate::derived::layout;
use crate::schema::index::{Index, target_name};
use crate::schema::table::{ColumnMask, DroppedColumn, FIRST_STORE};
use crate::schema::view::View;
use crate::schema::{
    Catalog, Column, ColumnKind, Definition, Encryption, Keyspace, KeyspaceKind, TableKind,
    TableOptions, TableSchema, custom, resolve,
};

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredKeyspace {
    pub(super) replication: BTreeMap<String, String>,
    pub(super) durable_writes: bool,
    /// Absent: none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub(super) tags: BTreeMap<String, String>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredType {
    /// Types are CQL text.
    pub(super) fields: Vec<(String, String)>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StoredTable {
    pub(super) id: [u8; 16],
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
    let relations = match cql::parse_at_rest(&text).map_err(|error| error.to_string())? {
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

/// As it stands in a row.
pub(super) fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("definitions are maps with text keys")
}

/// A table as it stands in a row.
pub(super) fn store_table(table: &TableSchema) -> StoredTable {
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
    let mut index = Index {
        name: stored.name,
        column: stored.column,
        target,
        class: stored.class,
        options: stored.options,
        store: Store(stored.store),
        layout: stored.layout,
        is_built: stored.is_built,
    };
    // Entries that stand elsewhere than they are looked for answer nothing: it is made anew (`derived::build`).
    index.is_built &= index.layout == layout::current(&index);
    Ok(Arc::new(index))
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

/// The catalog that definitions make.
pub(super) fn from_stored(stored: Vec<Stored>) -> Result<Catalog, String> {
    let mut catalog = Catalog::default();
    let of = |kind: &'static str| stored.iter().filter(move |stored| stored.kind == kind);
    for stored in of("keyspace") {
        let definition: StoredKeyspace = parse(stored)?;
        let mut keyspace = Keyspace::new(stored.keyspace.clone(), KeyspaceKind::User);
        keyspace.replication = definition.replication;
        keyspace.durable_writes = definition.durable_writes;
        keyspace.tags = definition.tags;
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
    let properties = table.custom_properties.into_iter();
    let mut custom_properties = properties
        .map(|(name, value)| (name, load_property(value)))
        .collect();
    custom::forget_promises(&mut custom_properties);
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
        custom_properties,
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
    resolve::stored_type(catalog, keyspace, &ty).map_err(|error| error.message)
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

/// One definition.
pub(super) fn parse<'a, T: Deserialize<'a>>(stored: &'a Stored) -> Result<T, String> {
    serde_json::from_str(&stored.definition).map_err(|error| {
        format!(
            "the schema's definition of {} {}.{} cannot be read: {error}",
            stored.kind, stored.keyspace, stored.name
        )
    })
}
