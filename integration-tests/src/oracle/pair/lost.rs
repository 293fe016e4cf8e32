//! Values by which Cassandra's indexes do not find the rows that have them.
//!
//! What must hold: a row counts as lost where Cassandra shows it, as we do, to who asks for its partition, or can no longer read its partition.

use super::Pair;
use super::contradiction::{READ_FAILURE, Row, is_target, only_in, rows_by};
use super::said::{Said, asked_columns, relations, table_of};
use crate::oracle::answer::{Answer, Column, Table, Type};
use crate::oracle::compare::is_padded;
use crate::oracle::step::Step;
use crate::oracle::wire::{Request, Value};

impl Pair {
    /// Whether all rows that Cassandra does not find by a WHERE are in its table, each with a value that an index does not know again.
    async fn loses_rows_with(
        &mut self,
        step: &Step,
        is_strange: impl Fn(&Column, &[u8]) -> bool,
    ) -> bool {
        let (Some((table, _)), Some((theirs, ours))) =
            (relations(step), self.rows_of_where(step).await)
        else {
            return false;
        };
        let has_a_strange_value = |row: &Row| {
            let mut values = row.iter().zip(&ours.columns);
            values.any(|(value, column)| {
                value
                    .as_deref()
                    .is_some_and(|value| is_strange(column, value))
            })
        };
        let is_lost = |row: &Row, partition: &Answer| {
            let is_there = match partition {
                Answer::Rows(all) => all.rows.contains(row),
                // By now it cannot read its own rows.
                Answer::Refused(refusal) => refusal.code == READ_FAILURE,
                _ => false,
            };
            is_there && has_a_strange_value(row)
        };
        self.are_all_lost(table, (&theirs, &ours), step, is_lost)
            .await
    }

    /// Whether there are rows that only we find, and each is lost as far as what Cassandra answers of its partition tells.
    async fn are_all_lost(
        &mut self,
        table: &str,
        (theirs, ours): (&Table, &Table),
        step: &Step,
        is_lost: impl Fn(&Row, &Answer) -> bool,
    ) -> bool {
        let lost = only_in(ours, theirs);
        for row in &lost {
            let partition = self.partition_of(table, &ours.columns, row, step).await;
            if !is_lost(row, &partition) {
                return false;
            }
        }
        !lost.is_empty()
    }

    /// What Cassandra answers to who asks for all of the partition that a row is in.
    pub(super) async fn partition_of(
        &mut self,
        table: &str,
        columns: &[Column],
        row: &Row,
        step: &Step,
    ) -> Answer {
        let key = self.key(table, &["partition_key"]).await;
        let of_key = columns.iter().zip(row);
        let of_key = of_key.filter(|(column, _)| key.contains(column.name.as_bytes()));
        let (relations, values): (Vec<String>, Vec<Value>) = of_key
            .map(|(column, value)| {
                let value = match value {
                    Some(value) => Value::Bytes(value.to_vec()),
                    None => Value::Null,
                };
                (format!("\"{}\" = ?", column.name), value)
            })
            .unzip();
        let text = format!("SELECT * FROM {table} WHERE {}", relations.join(" AND "));
        let request = Request {
            values: &values,
            now_seconds: step.now_seconds,
            ..Request::plain(&text)
        };
        self.theirs.query(&request).await.answer
    }

    /// Whether all rows that Cassandra does not find by an index are there at Cassandra itself with just the value that is asked for, and are found by all else
    /// that is said of them.
    pub(super) async fn loses_entries(&mut self, step: &Step) -> bool {
        let (Some((table, relations)), Some((theirs, ours))) =
            (relations(step), self.rows_of_where(step).await)
        else {
            return false;
        };
        let mut indexed = self.indexed(step, "CUSTOM").await;
        indexed.extend(self.indexed(step, "COMPOSITES").await);
        let is_of_index = |relation: &&Said<'_>| is_target(&indexed, relation.column());
        let Some(by_index) = relations.iter().find(is_of_index) else {
            return false;
        };
        let Some(asked) = self.asked(by_index, &ours.columns).await else {
            return false;
        };
        let others = relations.iter();
        let others: Vec<&Said> = others.filter(|one| !std::ptr::eq(*one, by_index)).collect();
        let by_others = match others.is_empty() {
            true => None,
            false => match rows_by(&mut self.theirs, table, &others, step).await {
                Some(rows) => Some(rows.rows),
                None => return false,
            },
        };
        let is_lost = |row: &Row, partition: &Answer| {
            let is_there = matches!(partition, Answer::Rows(all) if all.rows.contains(row));
            let is_meant = by_others.as_ref().is_none_or(|rows| rows.contains(row));
            is_there && is_meant && asked.is_in(row)
        };
        self.are_all_lost(table, (&theirs, &ours), step, is_lost)
            .await
    }

    /// As `loses_rows_with`, where the value is a number in more bytes than it takes, which the WHERE asks for.
    pub(super) async fn loses_calculated_numbers(&mut self, step: &Step) -> bool {
        let asked = asked_columns(step);
        let is_padded = |column: &Column, value: &[u8]| {
            let is_number = matches!(column.ty, Type::Native("varint", _));
            asked.contains(&column.name) && is_number && is_padded(value)
        };
        self.loses_rows_with(step, is_padded).await
    }

    /// As `loses_rows_with`, where the value has no bytes, and an index of the attached kind is asked for it.
    pub(super) async fn loses_empty_values(&mut self, step: &Step) -> bool {
        let Some((_, relations)) = relations(step) else {
            return false;
        };
        let equal = relations.iter().filter_map(|relation| {
            let (name, rest) = relation.text.split_once(' ')?;
            rest.starts_with("= ").then(|| name.to_owned())
        });
        let equal: Vec<String> = equal.collect();
        let indexed = self.indexed(step, "CUSTOM").await;
        let is_empty = |column: &Column, value: &[u8]| {
            let is_sought =
                equal.contains(&column.name) && indexed.contains(column.name.as_bytes());
            is_sought && value.is_empty()
        };
        self.loses_rows_with(step, is_empty).await
    }

    /// As `loses_rows_with`, where the value is a tuple of the clustering whose last part is null.
    pub(super) async fn loses_short_tuples(&mut self, step: &Step) -> bool {
        let Some(table) = table_of(&step.text) else {
            return false;
        };
        let clustering = self.key(table, &["clustering"]).await;
        let is_short = |column: &Column, value: &[u8]| {
            let Type::Tuple(parts) = &column.ty else {
                return false;
            };
            clustering.contains(column.name.as_bytes()) && ends_in_null(value, parts.len())
        };
        self.loses_rows_with(step, is_short).await
    }
}

/// Whether the last of a tuple's so many parts is null, or not there.
fn ends_in_null(mut tuple: &[u8], parts: usize) -> bool {
    let mut is_null = true;
    for _ in 0..parts {
        let Some((length, rest)) = tuple.split_first_chunk() else {
            return true;
        };
        let length = i32::from_be_bytes(*length);
        is_null = length < 0;
        tuple = rest.get(length.max(0) as usize..).unwrap_or_default();
    }
    is_null
}

#[cfg(test)]
mod tests {
    use super::ends_in_null;

    #[test]
    fn a_tuple_is_short_where_its_last_part_is_null() {
        let (one, null) = ([0, 0, 0, 1, 7], [0xff; 4]);
        assert!(!ends_in_null(&[one, one].concat(), 2));
        assert!(!ends_in_null(&[&null[..], &one].concat(), 2));
        assert!(ends_in_null(&[&one[..], &null].concat(), 2));
        assert!(ends_in_null(&one, 2));
    }
}
