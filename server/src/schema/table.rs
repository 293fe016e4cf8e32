//! One table: its columns, which of them make up the key, and what storage needs to know.
//!
//! ```text
//! columns   p1 p2 | c1 c2 | s1 s2 | r1 r2 r3      partition key, clustering, statics by name, regulars by name
//!           ^ partition_key  ^ statics               (the order of SELECT *)
//!                   ^ clustering    ^ regulars
//! ```
//!
//! What must hold: a column id is used once in the life of a table, so a cell of a dropped column can never be taken for
//! one of its successor; `storage_columns` names exactly the static and regular columns that exist now.

use std::cmp::Ordering;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::ops::Range;
use std::sync::{Arc, OnceLock};

use palladium_crypto::{CmkRef, TableId};
use palladium_protocol::cql::ast::{Name, PropertyValue, QualifiedName};
use palladium_protocol::types::CqlType;
use palladium_storage::{ColumnId, Columns, Store};

use super::TableOptions;
use super::index::Index;
use super::view::{View, schema_of};
use crate::derived::views;
use crate::error::CqlResult;
use crate::query::analyze::restrictions::Filter;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum ColumnKind {
    PartitionKey,
    Clustering,
    Static,
    Regular,
}

impl ColumnKind {
    /// As `system_schema.columns` spells it.
    pub fn name(self) -> &'static str {
        match self {
            ColumnKind::PartitionKey => "partition_key",
            ColumnKind::Clustering => "clustering",
            ColumnKind::Static => "static",
            ColumnKind::Regular => "regular",
        }
    }

    pub fn is_primary_key(self) -> bool {
        matches!(self, ColumnKind::PartitionKey | ColumnKind::Clustering)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    pub name: String,
    pub ty: CqlType,
    pub kind: ColumnKind,
    /// Place within the partition key or the clustering; 0 for other columns.
    pub position: usize,
    /// Names the column's cells. Key columns have one too, though no cell ever carries it.
    pub id: ColumnId,
    /// Clustering DESC.
    pub reversed: bool,
    /// What readers without UNMASK get.
    pub mask: Option<ColumnMask>,
}

/// A masking function with its arguments as CQL text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnMask {
    pub keyspace: String,
    pub function: String,
    pub arguments: Vec<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct DroppedColumn {
    pub name: String,
    pub ty: CqlType,
    pub is_static: bool,
    pub id: ColumnId,
    /// Microseconds.
    pub dropped_at: i64,
}

/// Which KMS key protects the table.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Encryption {
    /// The service's own key.
    #[default]
    Default,
    /// A key the table's owner named.
    Customer(CmkRef),
}

/// Where the rows of a table are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum TableKind {
    #[default]
    User,
    /// Stored under the service's key.
    System,
    /// Made when somebody asks.
    Virtual,
}

/// What a table is made from; [`TableSchema::new`] puts it in order.
#[derive(Debug, Clone)]
pub struct Definition {
    pub id: TableId,
    pub keyspace: String,
    pub name: String,
    /// In any order.
    pub columns: Vec<Column>,
    pub options: TableOptions,
    pub dropped: Vec<DroppedColumn>,
    pub next_column_id: u32,
    pub encryption: Encryption,
    pub custom_properties: BTreeMap<String, PropertyValue>,
    pub kind: TableKind,
    /// In any order.
    pub indexes: Vec<Arc<Index>>,
    /// In any order.
    pub views: Vec<Arc<View>>,
    /// This is no table but the view of one.
    pub view: Option<Arc<View>>,
    pub next_store: u16,
    /// Made WITH COMPACT STORAGE.
    pub compact: bool,
}

#[derive(Debug, Clone)]
pub struct TableSchema {
    pub id: TableId,
    pub keyspace: String,
    pub name: String,
    /// In the order of SELECT *.
    pub columns: Vec<Column>,
    by_name: HashMap<String, usize>,
    /// Positions in `columns`, in key order.
    pub partition_key: Vec<usize>,
    pub clustering: Vec<usize>,
    statics: Range<usize>,
    regulars: Range<usize>,
    pub options: TableOptions,
    pub dropped: Vec<DroppedColumn>,
    /// The id the next new column gets; it only grows.
    pub next_column_id: u32,
    pub storage_columns: Arc<Columns>,
    pub encryption: Encryption,
    /// Amazon Keyspaces' properties, kept as they were given.
    pub custom_properties: BTreeMap<String, PropertyValue>,
    pub kind: TableKind,
    /// By name.
    pub indexes: Vec<Arc<Index>>,
    /// Its views as tables, by name.
    pub views: Vec<Arc<TableSchema>>,
    /// This is no table but the view of one, whose id it has.
    pub view: Option<Arc<View>>,
    /// What the view's WHERE says of the base's rows, once a write has asked. A change of the base makes its views anew.
    view_conditions: OnceLock<Vec<Filter>>,
    /// The store that the next index or view gets; it only grows.
    pub next_store: u16,
    /// Made WITH COMPACT STORAGE: its rows live by their values alone.
    pub compact: bool,
}

/// The first store that is derived from a table's base.
pub const FIRST_STORE: u16 = 1;

/// Ids below are storage's own.
pub const FIRST_COLUMN_ID: u32 = 1;

/// The order of names in a row. Cassandra compares the first eight bytes as one signed number: a name that begins outside of ASCII stands before all others.
fn by_name(a: &str, b: &str) -> Ordering {
    let begins_in_ascii = |name: &str| name.as_bytes().first().is_none_or(u8::is_ascii);
    (begins_in_ascii(a), a).cmp(&(begins_in_ascii(b), b))
}

impl TableSchema {
    /// Orders the columns and derives what is looked up often.
    pub fn new(definition: Definition) -> Self {
        let mut columns = definition.columns;
        columns.sort_by(|a, b| {
            a.kind
                .cmp(&b.kind)
                .then_with(|| a.position.cmp(&b.position))
                .then_with(|| by_name(&a.name, &b.name))
        });
        let count = |kind| columns.iter().filter(|column| column.kind == kind).count();
        let partition = count(ColumnKind::PartitionKey);
        let clustering_end = partition + count(ColumnKind::Clustering);
        let statics_end = clustering_end + count(ColumnKind::Static);
        let ids = |range: Range<usize>| {
            let mut ids: Vec<ColumnId> = columns[range].iter().map(|column| column.id).collect();
            ids.sort();
            ids
        };
        let mut table = TableSchema {
            id: definition.id,
            by_name: columns
                .iter()
                .enumerate()
                .map(|(index, column)| (column.name.clone(), index))
                .collect(),
            partition_key: (0..partition).collect(),
            clustering: (partition..clustering_end).collect(),
            statics: clustering_end..statics_end,
            regulars: statics_end..columns.len(),
            storage_columns: Arc::new(match definition.view {
                None => Columns {
                    regular: ids(statics_end..columns.len()),
                    statics: ids(clustering_end..statics_end),
                },
                Some(_) => Columns {
                    regular: vec![views::ROW],
                    statics: Vec::new(),
                },
            }),
            keyspace: definition.keyspace,
            name: definition.name,
            columns,
            options: definition.options,
            dropped: definition.dropped,
            next_column_id: definition.next_column_id,
            encryption: definition.encryption,
            custom_properties: definition.custom_properties,
            kind: definition.kind,
            indexes: {
                let mut indexes = definition.indexes;
                indexes.sort_by(|a, b| a.name.cmp(&b.name));
                indexes
            },
            views: Vec::new(),
            view: definition.view,
            view_conditions: OnceLock::new(),
            next_store: definition.next_store,
            compact: definition.compact,
        };
        let mut views: Vec<Arc<TableSchema>> = definition
            .views
            .iter()
            .map(|view| Arc::new(schema_of(view, &table)))
            .collect();
        views.sort_by(|a, b| a.name.cmp(&b.name));
        table.views = views;
        table
    }

    /// The parts again, as the start of a changed table.
    pub fn definition(&self) -> Definition {
        Definition {
            id: self.id,
            keyspace: self.keyspace.clone(),
            name: self.name.clone(),
            columns: self.columns.clone(),
            options: self.options.clone(),
            dropped: self.dropped.clone(),
            next_column_id: self.next_column_id,
            encryption: self.encryption.clone(),
            custom_properties: self.custom_properties.clone(),
            kind: self.kind,
            indexes: self.indexes.clone(),
            views: self
                .views
                .iter()
                .filter_map(|view| view.view.clone())
                .collect(),
            view: self.view.clone(),
            next_store: self.next_store,
            compact: self.compact,
        }
    }

    pub fn column(&self, name: &str) -> Option<&Column> {
        self.column_index(name).map(|index| &self.columns[index])
    }

    pub fn column_index(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    pub fn partition_columns(&self) -> &[Column] {
        &self.columns[..self.partition_key.len()]
    }

    pub fn clustering_columns(&self) -> &[Column] {
        &self.columns[self.partition_key.len()..self.statics.start]
    }

    pub fn static_columns(&self) -> &[Column] {
        &self.columns[self.statics.clone()]
    }

    pub fn regular_columns(&self) -> &[Column] {
        &self.columns[self.regulars.clone()]
    }

    /// Whether an INSERT alone makes a row live, with or without values. A row of a table with COMPACT STORAGE lives by its values, if it can have any.
    pub fn marks_rows(&self) -> bool {
        !self.compact || self.regulars.is_empty()
    }

    /// What the engine is to know of the table: the share of its options, and the columns that it once had.
    pub fn for_storage(&self) -> palladium_storage::TableOptions {
        let own: BTreeSet<ColumnId> = self.columns.iter().map(|column| column.id).collect();
        let all = (FIRST_COLUMN_ID..self.next_column_id).map(ColumnId);
        // A view counts with its base, and has not all of its columns.
        let is_gone = |id: &ColumnId| self.view.is_none() && !own.contains(id);
        palladium_storage::TableOptions {
            columns_gone: all.filter(is_gone).collect(),
            ..self.options.for_storage()
        }
    }

    /// Whether any column is masked.
    pub fn has_masks(&self) -> bool {
        self.columns.iter().any(|column| column.mask.is_some())
    }

    pub fn has_statics(&self) -> bool {
        !self.statics.is_empty()
    }

    /// Whether the table is one of counters: then all columns outside the key are counters. It stays one when all of them were dropped, but for a table that has
    /// got other columns since: that could be had once.
    pub fn is_counter(&self) -> bool {
        match self.columns[self.statics.start..].first() {
            Some(own) => own.ty == CqlType::Counter,
            None => self.dropped.iter().any(|dropped| dropped.ty.is_counter()),
        }
    }

    /// Whether a statement that was analyzed against one means the same against the other: as in Cassandra, columns and what a write takes from the options
    /// count, a comment or another key does not.
    pub fn reads_and_writes_like(&self, other: &TableSchema) -> bool {
        std::ptr::eq(self, other)
            || (self.id == other.id
                && self.kind == other.kind
                && self.columns == other.columns
                && self.indexes == other.indexes
                && self.compact == other.compact
                && self.view == other.view
                && self
                    .views
                    .iter()
                    .map(|view| &view.view)
                    .eq(other.views.iter().map(|view| &view.view))
                && self.options.default_time_to_live == other.options.default_time_to_live
                && self.options.gc_grace_seconds == other.options.gc_grace_seconds)
    }

    /// Whether a write to it writes entries of indexes as well.
    pub fn has_indexes(&self) -> bool {
        !self.indexes.is_empty()
    }

    /// Whether a write to it has to look at its rows first, for its views.
    pub fn has_views(&self) -> bool {
        !self.views.is_empty()
    }

    /// Where its rows are.
    pub fn store(&self) -> Store {
        self.view.as_ref().map_or(Store::BASE, |view| view.store)
    }

    /// The indexes of a column.
    pub fn indexes_of<'a>(&'a self, column: &'a str) -> impl Iterator<Item = &'a Arc<Index>> {
        self.indexes
            .iter()
            .filter(move |index| index.column == column)
    }

    /// The conditions of the view that this is, made ready once for all writes.
    pub fn conditions_of_view(
        &self,
        analyze: impl FnOnce() -> CqlResult<Vec<Filter>>,
    ) -> CqlResult<&[Filter]> {
        if let Some(ready) = self.view_conditions.get() {
            return Ok(ready);
        }
        let ready = analyze()?;
        Ok(self.view_conditions.get_or_init(|| ready))
    }

    /// `ks.t`
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.keyspace, self.name)
    }

    /// The same as a statement names it: in quotation marks where it needs them.
    pub fn qualified_name(&self) -> QualifiedName {
        QualifiedName::new(Name::exact(&*self.keyspace), Name::exact(&*self.name))
    }
}
