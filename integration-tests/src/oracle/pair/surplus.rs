//! Rows that Cassandra's indexes bring although they are not meant.
//!
//! What must hold: a row counts as not meant where Cassandra says so itself, asked in another way or by what the row shows.

use std::collections::BTreeSet;

use super::Pair;
use super::contradiction::{Row, Said, asked_columns, only_in, relations, rows_by, table_of};
use crate::oracle::answer::{Column, Type};
use crate::oracle::step::Step;

impl Pair {
    /// Whether Cassandra's rows are ours and others of which it says itself that a vector in them is not what is meant.
    pub(super) async fn takes_any_vector(&mut self, step: &Step) -> bool {
        let Some((theirs, ours)) = self.rows_of_where(step).await else {
            return false;
        };
        let vectors: Vec<&str> = theirs
            .columns
            .iter()
            .filter(
                |column| matches!(&column.ty, Type::Custom(name) if name.contains("VectorType(")),
            )
            .map(|column| column.name.as_str())
            .collect();
        let of_vectors = |relation: &str| {
            let name = relation.split(' ').next();
            name.is_some_and(|name| vectors.contains(&name))
        };
        let left = self.meant(step, &theirs.rows, of_vectors).await;
        left.is_some_and(|left| left.len() < theirs.rows.len() && left == ours.rows)
    }

    /// Those of some rows which Cassandra also finds by each of some of a statement's relations alone.
    pub(super) async fn meant(
        &mut self,
        step: &Step,
        rows: &[Row],
        is_asked: impl Fn(&str) -> bool,
    ) -> Option<Vec<Row>> {
        let (table, relations) = relations(step)?;
        let mut left = rows.to_vec();
        for relation in relations.iter().filter(|relation| is_asked(&relation.text)) {
            let alone = rows_by(&mut self.theirs, table, &[relation], step).await?;
            left.retain(|row| alone.rows.contains(row));
        }
        Some(left)
    }

    /// Whether Cassandra's rows are ours and others, in each of which a static column is null by which an index of the attached kind has brought it.
    pub(super) async fn shows_what_has_expired(&mut self, step: &Step) -> bool {
        let Some((more, columns)) = self.more_rows(step).await else {
            return false;
        };
        let indexed = self.indexed(step, "CUSTOM").await;
        let statics = self.statics(step).await;
        let asked = asked_columns(step);
        let is_asked = |name: &String| {
            let name = name.as_bytes();
            indexed.contains(name) && statics.contains(name)
        };
        let brought: Vec<&String> = asked.iter().filter(|name| is_asked(name)).collect();
        more.iter().all(|row| {
            let mut values = row.iter().zip(&columns);
            values.any(|(value, column)| value.is_none() && brought.contains(&&column.name))
        })
    }

    /// Whether Cassandra's rows are ours and others, none of which has, by itself, the key that a static map must have.
    pub(super) async fn finds_deleted_keys(&mut self, step: &Step) -> bool {
        let (Some((more, columns)), Some((table, relations))) =
            (self.more_rows(step).await, relations(step))
        else {
            return false;
        };
        let statics = self.statics(step).await;
        let elements = relations.iter().filter_map(Said::element);
        let mut of_statics = elements.filter(|element| statics.contains(element.map.as_bytes()));
        let Some(element) = of_statics.next() else {
            return false;
        };
        for row in &more {
            let shown = self.shows(table, &element, &columns, row, step).await;
            if shown != Some(false) {
                return false;
            }
        }
        true
    }

    /// The static columns of a step's table.
    async fn statics(&mut self, step: &Step) -> BTreeSet<bytes::Bytes> {
        match table_of(&step.text) {
            Some(table) => self.key(table, &["static"]).await,
            None => BTreeSet::new(),
        }
    }

    /// The rows that Cassandra shows under a WHERE and we do not, and their columns, where it shows all of ours in the same order.
    async fn more_rows(&mut self, step: &Step) -> Option<(Vec<Row>, Vec<Column>)> {
        let (mut theirs, ours) = self.rows_of_where(step).await?;
        let more = only_in(&theirs, &ours);
        theirs.rows.retain(|row| !more.contains(row));
        (!more.is_empty() && theirs.rows == ours.rows).then_some((more, theirs.columns))
    }
}
