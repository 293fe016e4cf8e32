//! One materialized view: which rows of its base it shows, under which key.
//!
//! A view is a table to whoever reads it, and is kept in a store of its base. Its columns are made from those of the base each time the base changes
//! ([`schema_of`]), so that the two cannot differ.

use std::sync::Arc;

use palladium_crypto::TableId;
use palladium_protocol::cql::ast::{Name, Relation};
use palladium_storage::Store;

use super::table::{Column, ColumnKind, Definition, FIRST_STORE, TableSchema};
use super::{TableKind, TableOptions};

/// A view, as its base knows it.
#[derive(Debug, Clone, PartialEq)]
pub struct View {
    pub name: String,
    /// What `system_schema.views` shows; the base's id names the data.
    pub id: TableId,
    /// The base's name.
    pub base: String,
    pub partition_key: Vec<String>,
    /// Each with whether it runs DESC.
    pub clustering: Vec<(String, bool)>,
    /// The columns beside the key; None: all that the base has.
    pub columns: Option<Vec<String>>,
    pub relations: Vec<Relation>,
    pub options: TableOptions,
    /// Where its rows are.
    pub store: Store,
    /// Whether it has what the base held before it.
    pub is_built: bool,
}

impl View {
    /// `a IS NOT NULL AND b = 1`
    pub fn where_clause(&self) -> String {
        let relations: Vec<String> = self.relations.iter().map(Relation::to_string).collect();
        relations.join(" AND ")
    }

    /// What the statement says beside IS NOT NULL.
    pub fn conditions(&self) -> impl Iterator<Item = &Relation> {
        let is_condition = |relation: &&Relation| !matches!(relation, Relation::IsNotNull { .. });
        self.relations.iter().filter(is_condition)
    }

    /// Follows a column of the base's key to its new name.
    pub fn rename(&mut self, from: &str, to: &str) {
        let follow = |name: &mut String| {
            if name == from {
                *name = to.to_owned();
            }
        };
        self.partition_key.iter_mut().for_each(follow);
        self.clustering
            .iter_mut()
            .for_each(|(name, _)| follow(name));
        self.columns.iter_mut().flatten().for_each(follow);
        for relation in &mut self.relations {
            match relation {
                Relation::Column { column, .. }
                | Relation::In { column, .. }
                | Relation::Between { column, .. }
                | Relation::Contains { column, .. }
                | Relation::Like { column, .. }
                | Relation::IsNotNull { column }
                | Relation::Element { column, .. } => rename(column, from, to),
                Relation::Tuple { columns, .. }
                | Relation::TupleIn { columns, .. }
                | Relation::TupleBetween { columns, .. }
                | Relation::Token { columns, .. }
                | Relation::TokenBetween { columns, .. } => {
                    columns
                        .iter_mut()
                        .for_each(|column| rename(column, from, to));
                }
                Relation::CustomIndex { .. } => {}
            }
        }
    }
}

fn rename(column: &mut Name, from: &str, to: &str) {
    if column.as_str() == from {
        *column = Name::exact(to);
    }
}

/// The view as a table.
pub fn schema_of(view: &Arc<View>, base: &TableSchema) -> TableSchema {
    let place = |name: &str| {
        let partition = view.partition_key.iter().position(|own| own == name);
        let clustering = view.clustering.iter().position(|(own, _)| own == name);
        match (partition, clustering) {
            (Some(position), _) => Some((ColumnKind::PartitionKey, position, false)),
            (_, Some(position)) => Some((
                ColumnKind::Clustering,
                position,
                view.clustering[position].1,
            )),
            _ => {
                let is_shown = match &view.columns {
                    None => true,
                    Some(columns) => columns.iter().any(|own| own == name),
                };
                is_shown.then_some((ColumnKind::Regular, 0, false))
            }
        }
    };
    let columns = base
        .columns
        .iter()
        .filter(|column| column.kind != ColumnKind::Static);
    let columns = columns.filter_map(|column| {
        let (kind, position, reversed) = place(&column.name)?;
        Some(Column {
            kind,
            position,
            reversed,
            ..column.clone()
        })
    });
    TableSchema::new(Definition {
        id: base.id,
        keyspace: base.keyspace.clone(),
        name: view.name.clone(),
        columns: columns.collect(),
        options: view.options.clone(),
        dropped: Vec::new(),
        next_column_id: base.next_column_id,
        encryption: base.encryption.clone(),
        custom_properties: Default::default(),
        kind: TableKind::User,
        indexes: Vec::new(),
        views: Vec::new(),
        view: Some(view.clone()),
        compact: false,
        next_store: FIRST_STORE,
    })
}
