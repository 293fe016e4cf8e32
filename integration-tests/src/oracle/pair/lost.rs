//! Values by which Cassandra's indexes do not find the rows that have them.
//!
//! What must hold: a row counts as lost where Cassandra shows it, as we do, to who asks for its partition, or can no longer read its partition.

use super::Pair;
use super::contradiction::{
    Element, READ_FAILURE, Row, Said, asked_columns, only_in, plain, relations, table_of,
};
use crate::oracle::answer::{Answer, Column, Type};
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
        let (Some(plain), Some((table, _))) = (plain(step, "*"), relations(step)) else {
            return false;
        };
        let (theirs, ours) = self.at_once(&plain).await;
        let (Answer::Rows(theirs), Answer::Rows(ours)) = (theirs.answer, ours.answer) else {
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
        let lost = only_in(&ours, &theirs);
        for row in &lost {
            let partition = self
                .partition_of(table, &Said::all(), &ours.columns, row, step)
                .await;
            let is_there = match partition {
                Answer::Rows(all) => all.rows.contains(row),
                // By now it cannot read its own rows.
                Answer::Refused(refusal) => refusal.code == READ_FAILURE,
                _ => false,
            };
            if !is_there || !has_a_strange_value(row) {
                return false;
            }
        }
        !lost.is_empty()
    }

    /// What Cassandra answers to who asks for something of the whole partition that a row is in.
    pub(super) async fn partition_of(
        &mut self,
        table: &str,
        asked: &Said<'_>,
        columns: &[Column],
        row: &Row,
        step: &Step,
    ) -> Answer {
        let key = self.key(table, &["partition_key"]).await;
        let of_key = columns.iter().zip(row);
        let of_key = of_key.filter(|(column, _)| key.contains(column.name.as_bytes()));
        let (relations, of_key): (Vec<String>, Vec<Value>) = of_key
            .map(|(column, value)| {
                let value = match value {
                    Some(value) => Value::Bytes(value.to_vec()),
                    None => Value::Null,
                };
                (format!("\"{}\" = ?", column.name), value)
            })
            .unzip();
        let relations = relations.join(" AND ");
        let text = format!("SELECT {} FROM {table} WHERE {relations}", asked.text);
        let request = Request {
            values: &[asked.values.clone(), of_key].concat(),
            now_seconds: step.now_seconds,
            ..Request::plain(&text)
        };
        self.theirs.query(&request).await.answer
    }

    /// Whether all rows that Cassandra does not find by a key of a map, of which it has a classic index, have that key at Cassandra itself.
    pub(super) async fn loses_keys_of_maps(&mut self, step: &Step) -> bool {
        let (Some(plain), Some((table, relations))) = (plain(step, "*"), relations(step)) else {
            return false;
        };
        let indexed = self.indexed(step, "COMPOSITES").await;
        let by_key = relations.iter().find_map(|relation| {
            let element = relation.element()?;
            let target = format!("keys({})", element.map);
            indexed.contains(target.as_bytes()).then_some(element)
        });
        let Some(element) = by_key else {
            return false;
        };
        let (theirs, ours) = self.at_once(&plain).await;
        let (Answer::Rows(theirs), Answer::Rows(ours)) = (theirs.answer, ours.answer) else {
            return false;
        };
        let lost = only_in(&ours, &theirs);
        for row in &lost {
            let shown = self.shows(table, &element, &ours.columns, row, step).await;
            if shown != Some(true) {
                return false;
            }
        }
        !lost.is_empty()
    }

    /// Whether Cassandra shows an element of a map in one of its rows to who asks for all of the partition; `None` if it does not show the row.
    pub(super) async fn shows(
        &mut self,
        table: &str,
        element: &Element<'_>,
        columns: &[Column],
        row: &Row,
        step: &Step,
    ) -> Option<bool> {
        let names = columns.iter();
        let names: Vec<String> = names.map(|column| format!("\"{}\"", column.name)).collect();
        let asked = Said {
            text: format!("{}, {}[{}]", names.join(", "), element.map, element.key).into(),
            values: element.values.to_vec(),
        };
        let partition = self.partition_of(table, &asked, columns, row, step).await;
        let Answer::Rows(all) = partition else {
            return None;
        };
        all.rows.iter().find_map(|shown| {
            let (value, own) = shown.split_last()?;
            (own == row).then_some(value.is_some())
        })
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
