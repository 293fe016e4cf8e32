//! What a relation asks for: one value, in the bytes that a row may show.
//!
//! What must hold: the bytes are Cassandra's own, also of what is written in a statement.

use super::Pair;
use super::contradiction::Row;
use super::said::Said;
use crate::oracle::answer::{Answer, Column, Type, entries, parts};
use crate::oracle::wire::{Request, Value};

/// Which part of a column's value is asked for.
#[derive(Clone, Copy, PartialEq)]
pub(super) enum Part {
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
pub(super) struct Asked {
    column: usize,
    ty: Type,
    pub(super) part: Part,
    value: Vec<u8>,
}

impl Asked {
    /// Whether a row says by itself that it has nothing of the kind: the column is null, or has no such bytes where these are all that a value can have.
    pub(super) fn is_denied_by(&self, row: &Row) -> bool {
        let several = ["decimal", "varint", "float", "double", "duration"];
        let has_one_spelling = match self.part.ty(&self.ty) {
            Some(Type::Native(name, _)) => !several.contains(name),
            _ => false,
        };
        row[self.column].is_none() || has_one_spelling && !self.is_in(row)
    }

    /// Whether a row shows it.
    pub(super) fn is_in(&self, row: &Row) -> bool {
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

impl Pair {
    /// What a relation asks one of some columns for; `None` where that is more than one value, or is not to be said by itself.
    pub(super) async fn asked(&mut self, relation: &Said<'_>, columns: &[Column]) -> Option<Asked> {
        let (name, rest) = relation.text.split_once(' ')?;
        let column = columns.iter().position(|column| column.name == name)?;
        let (part, value) = Part::asked(rest)?;
        let ty = columns[column].ty.clone();
        let value = match &relation.values[..] {
            [] => {
                let of = match part.ty(&ty)? {
                    Type::User(name, _) => name.clone(),
                    other => other.to_string(),
                };
                // A user type is known in its own keyspace alone.
                let own = format!(
                    "{}.{} LIMIT 1",
                    columns[column].keyspace, columns[column].table
                );
                let from = match of.contains('.') {
                    true => &own,
                    false => "system.local",
                };
                let text = format!("SELECT ({of}) {value} FROM {from}");
                let reply = self.theirs.query(&Request::plain(&text)).await;
                let Answer::Rows(mut shown) = reply.answer else {
                    return None;
                };
                shown.rows.pop()?.pop()??.to_vec()
            }
            [Value::Bytes(value)] => value.clone(),
            _ => return None,
        };
        Some(Asked {
            column,
            ty,
            part,
            value,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{Asked, Part, Row};
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
    fn a_row_denies_what_it_does_not_show_where_that_can_be_spelled_in_one_way_only() {
        let denies = |name, row: &Row| {
            let asked = Asked {
                column: 0,
                ty: Type::Set(Box::new(Type::Native(name, Kind::Bytes))),
                part: Part::Element,
                value: vec![7],
            };
            asked.is_denied_by(row)
        };
        let one_element = [&1i32.to_be_bytes()[..], &1i32.to_be_bytes(), &[8]].concat();
        let other = vec![Some(one_element.into())];
        assert!(denies("tinyint", &other) && !denies("decimal", &other));
        assert!(denies("tinyint", &vec![None]) && denies("decimal", &vec![None]));
    }
}
