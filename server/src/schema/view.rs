//! One materialized view: which rows of its base it shows, under which key.
//!
//! A view is a table to whoever reads it, and is kept in a store of its base. Its columns are made from those of the base each time the base changes
//! ([`schema_of`]), so that the two cannot differ.

use std::sync::Arc;

use palladium_crypto::TableId;
use palladium_protocol::cql::ast::{InValues, Name, Relation, Term};
use palladium_protocol::types::{CqlType, UserType};
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

    /// Follows the fields of a user-defined type to their new names, in what is said of the base's rows. `type_of`: of its columns, as they were.
    pub fn rename_fields(
        &mut self,
        type_of: impl Fn(&Name) -> Option<CqlType>,
        before: &UserType,
        after: &UserType,
    ) {
        for relation in &mut self.relations {
            for (term, ty) in terms(relation, &type_of) {
                rename_fields(term, &ty, before, after);
            }
        }
    }
}

/// The terms of a relation, each with the type that it is wanted in.
fn terms<'r>(
    relation: &'r mut Relation,
    type_of: &impl Fn(&Name) -> Option<CqlType>,
) -> Vec<(&'r mut Term, CqlType)> {
    let together = |columns: &[Name]| {
        let types: Option<Vec<CqlType>> = columns.iter().map(type_of).collect();
        types.map(CqlType::tuple)
    };
    let (ty, terms): (Option<CqlType>, Vec<&mut Term>) = match relation {
        Relation::Column { column, value, .. } => (type_of(column), vec![value]),
        Relation::In { column, values, .. } => (type_of(column), listed(values)),
        Relation::Between { column, low, high } => (type_of(column), vec![low, high]),
        Relation::Contains {
            column, key, value, ..
        } => {
            let part = type_of(column).and_then(|ty| match (ty.bare(), *key) {
                (CqlType::Map(inner, _), true) => Some((**inner).clone()),
                (CqlType::Map(_, inner) | CqlType::List(inner) | CqlType::Set(inner), false) => {
                    Some((**inner).clone())
                }
                _ => None,
            });
            (part, vec![value])
        }
        Relation::Element {
            column, key, value, ..
        } => {
            let entry = type_of(column).and_then(|ty| match ty.bare() {
                CqlType::Map(key, value) => Some(((**key).clone(), (**value).clone())),
                _ => None,
            });
            return entry.map_or_else(Vec::new, |(of_key, of_value)| {
                vec![(key, of_key), (value, of_value)]
            });
        }
        Relation::Tuple { columns, value, .. } => (together(columns), vec![value]),
        Relation::TupleIn {
            columns, values, ..
        } => (together(columns), listed(values)),
        Relation::TupleBetween { columns, low, high } => (together(columns), vec![low, high]),
        Relation::Like { .. }
        | Relation::IsNotNull { .. }
        | Relation::Token { .. }
        | Relation::TokenBetween { .. }
        | Relation::CustomIndex { .. } => (None, Vec::new()),
    };
    ty.map_or_else(Vec::new, |ty| {
        let all = terms.into_iter();
        all.map(|term| (term, ty.clone())).collect()
    })
}

fn listed(values: &mut InValues) -> Vec<&mut Term> {
    match values {
        InValues::Terms(terms) => terms.iter_mut().collect(),
        InValues::Marker(_) => Vec::new(),
    }
}

fn rename_fields(term: &mut Term, ty: &CqlType, before: &UserType, after: &UserType) {
    let follow = |term: &mut Term, ty: &CqlType| rename_fields(term, ty, before, after);
    match (term, ty.bare()) {
        (Term::User(fields), CqlType::Udt(udt)) => {
            for (name, value) in fields {
                let own = udt.fields.iter().position(|(own, _)| *name == own.as_str());
                let Some(place) = own else { continue };
                follow(value, &udt.fields[place].1);
                let is_meant = (&udt.keyspace, &udt.name) == (&before.keyspace, &before.name);
                if let (true, Some((field, _))) = (is_meant, after.fields.get(place)) {
                    *name = Name::exact(field.as_str());
                }
            }
        }
        (Term::List(terms), CqlType::List(inner) | CqlType::Vector(inner, _))
        | (Term::Set(terms), CqlType::Set(inner)) => {
            terms.iter_mut().for_each(|term| follow(term, inner));
        }
        (Term::Map(entries), CqlType::Map(key, value)) => {
            for (own_key, own_value) in entries {
                follow(own_key, key);
                follow(own_value, value);
            }
        }
        (Term::Tuple(terms), CqlType::Tuple(types)) => {
            let pairs = terms.iter_mut().zip(types.iter());
            pairs.for_each(|(term, ty)| follow(term, ty));
        }
        // Parentheses.
        (Term::Tuple(terms), _) if terms.len() == 1 => follow(&mut terms[0], ty),
        (Term::TypeHint { term, .. }, _) => follow(term, ty),
        _ => {}
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
