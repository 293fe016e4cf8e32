//! Rows that Cassandra's indexes bring although they are not meant.
//!
//! What must hold: a row counts as not meant where Cassandra says so itself, asked in another way or by what the row shows.

use std::collections::BTreeSet;

use super::Pair;
use super::asked::Part;
use super::contradiction::{Row, only_in, rows_by};
use super::said::{asked_columns, relations, table_of};
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
        if step.now_seconds.is_none() {
            return false;
        }
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

    /// Whether Cassandra's rows are ours and others, in none of which a static collection shows the element that is asked for.
    pub(super) async fn finds_deleted_elements(&mut self, step: &Step) -> bool {
        let (Some((more, columns)), Some((_, relations))) =
            (self.more_rows(step).await, relations(step))
        else {
            return false;
        };
        let statics = self.statics(step).await;
        for relation in &relations {
            if !statics.contains(relation.column().as_bytes()) {
                continue;
            }
            let asked = self.asked(relation, &columns).await;
            let is_deleted = asked.is_some_and(|asked| {
                asked.part != Part::Whole && more.iter().all(|row| asked.is_denied_by(row))
            });
            if is_deleted {
                return true;
            }
        }
        false
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
