//! Values by which Cassandra's indexes do not find the rows that have them.
//!
//! What must hold: a row counts as lost where Cassandra shows it, as we do, to who asks for its partition, or can no longer read its partition.

use super::Pair;
use super::contradiction::{
    Element, READ_FAILURE, Row, Said, asked_columns, only_in, relations, rows_by, table_of,
};
use crate::oracle::answer::{Answer, Column, Type, entries, parts};
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

    /// Whether all rows that Cassandra does not find by an index are there at Cassandra itself with just the value that is asked for, and are found by all else
    /// that is said of them.
    pub(super) async fn loses_entries(&mut self, step: &Step) -> bool {
        let (Some((table, relations)), Some((theirs, ours))) =
            (relations(step), self.rows_of_where(step).await)
        else {
            return false;
        };
        let Some((place, asked)) = self.asked_of_index(step, &relations, &ours.columns).await
        else {
            return false;
        };
        let others: Vec<&Said> = relations
            .iter()
            .filter(|one| *one != &relations[place])
            .collect();
        let by_others = match others.is_empty() {
            true => None,
            false => match rows_by(&mut self.theirs, table, &others, step).await {
                Some(rows) => Some(rows.rows),
                None => return false,
            },
        };
        let lost = only_in(&ours, &theirs);
        for row in &lost {
            let partition = self
                .partition_of(table, &Said::all(), &ours.columns, row, step)
                .await;
            let is_there = matches!(partition, Answer::Rows(all) if all.rows.contains(row));
            let is_meant = by_others.as_ref().is_none_or(|rows| rows.contains(row));
            if !is_there || !is_meant || !asked.is_in(row) {
                return false;
            }
        }
        !lost.is_empty()
    }

    /// What an index is asked for, and which relation asks it.
    async fn asked_of_index(
        &mut self,
        step: &Step,
        relations: &[Said<'_>],
        columns: &[Column],
    ) -> Option<(usize, Asked)> {
        let mut indexed = self.indexed(step, "CUSTOM").await;
        indexed.extend(self.indexed(step, "COMPOSITES").await);
        for (place, relation) in relations.iter().enumerate() {
            let (name, rest) = relation.text.split_once(' ')?;
            let targets = [name, &format!("values({name})"), &format!("keys({name})")];
            let is_indexed = targets
                .iter()
                .any(|target| indexed.contains(target.as_bytes()));
            if !is_indexed {
                continue;
            }
            let column = columns.iter().position(|column| column.name == name)?;
            let (part, value) = Part::asked(rest)?;
            let value = match &relation.values[..] {
                [] => {
                    let ty = part.ty(&columns[column].ty)?;
                    let text = format!("SELECT ({ty}) {value} FROM system.local");
                    let reply = self.theirs.query(&Request::plain(&text)).await;
                    let Answer::Rows(mut shown) = reply.answer else {
                        return None;
                    };
                    shown.rows.pop()?.pop()??.to_vec()
                }
                [Value::Bytes(value)] => value.clone(),
                _ => return None,
            };
            let ty = columns[column].ty.clone();
            let asked = Asked {
                column,
                ty,
                part,
                value,
            };
            return Some((place, asked));
        }
        None
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

/// Which part of a column's value is asked for.
#[derive(Clone, Copy)]
enum Part {
    Whole,
    Element,
    Key,
}

impl Part {
    /// What a relation asks for behind the column's name.
    fn asked(rest: &str) -> Option<(Part, &str)> {
        let of = [
            ("= ", Part::Whole),
            ("CONTAINS KEY ", Part::Key),
            ("CONTAINS ", Part::Element),
        ];
        of.into_iter()
            .find_map(|(word, part)| Some((part, rest.strip_prefix(word)?)))
    }

    fn ty(self, whole: &Type) -> Option<&Type> {
        match (self, whole) {
            (Part::Whole, whole) => Some(whole),
            (Part::Key, Type::Map(key, _)) => Some(key),
            (Part::Element, Type::Map(_, value)) => Some(value),
            (Part::Element, Type::List(inner) | Type::Set(inner)) => Some(inner),
            _ => None,
        }
    }
}

/// What a column must have.
struct Asked {
    column: usize,
    ty: Type,
    part: Part,
    value: Vec<u8>,
}

impl Asked {
    fn is_in(&self, row: &Row) -> bool {
        let Some(whole) = row[self.column].as_deref() else {
            return false;
        };
        let parts = match (self.part, &self.ty) {
            (Part::Whole, _) => return whole == self.value,
            (Part::Key, _) => entries(whole).map(|(keys, _)| keys),
            (Part::Element, Type::Map(..)) => entries(whole).map(|(_, values)| values),
            (Part::Element, _) => parts(whole),
        };
        parts.is_some_and(|parts| parts.contains(&Some(&self.value[..])))
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
    use super::{Asked, Part, ends_in_null};
    use crate::oracle::answer::{Kind, Type};

    #[test]
    fn what_is_asked_for_is_found_in_the_part_that_a_relation_names() {
        let int = || Box::new(Type::Native("int", Kind::Integer));
        let map = [2, 4, 7, 4, 8, 4, 9, 4, 10].map(|number: i32| number.to_be_bytes());
        let row = vec![Some(map.concat().into())];
        let is_in = |relation: &str, number: i32| {
            let (part, value) = Part::asked(relation).expect("a relation with one value");
            assert_eq!(value, "?");
            let asked = Asked {
                column: 0,
                ty: Type::Map(int(), int()),
                part,
                value: number.to_be_bytes().into(),
            };
            asked.is_in(&row)
        };
        assert!(is_in("CONTAINS KEY ?", 9) && !is_in("CONTAINS KEY ?", 8));
        assert!(is_in("CONTAINS ?", 8) && !is_in("CONTAINS ?", 9));
        assert!(!is_in("= ?", 8));
        assert!(Part::asked(">= 3").is_none());
    }

    #[test]
    fn a_tuple_is_short_where_its_last_part_is_null() {
        let (one, null) = ([0, 0, 0, 1, 7], [0xff; 4]);
        assert!(!ends_in_null(&[one, one].concat(), 2));
        assert!(!ends_in_null(&[&null[..], &one].concat(), 2));
        assert!(ends_in_null(&[&one[..], &null].concat(), 2));
        assert!(ends_in_null(&one, 2));
    }
}
