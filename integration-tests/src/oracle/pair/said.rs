//! A SELECT, taken apart as it is written: its table, what it shows, what it says of rows, and how many it wants.

use std::borrow::Cow;

use crate::oracle::answer::Table;
use crate::oracle::step::Step;
use crate::oracle::wire::Value;

/// The table that a SELECT reads.
pub(super) fn table_of(text: &str) -> Option<&str> {
    let mut words = text.split([' ', ';']);
    words.find(|word| *word == "FROM");
    words.next()
}

/// How many rows a SELECT wants at most of all partitions together.
pub(super) fn limit_of(step: &Step) -> Option<usize> {
    if step.text.contains(" PER PARTITION ") {
        return None;
    }
    let (_, rest) = step.text.split_once(" LIMIT ")?;
    match (rest.split([' ', ';']).next()?, step.values.last()) {
        ("?", Some(Value::Bytes(limit))) => {
            let limit: [u8; 4] = limit[..].try_into().ok()?;
            usize::try_from(i32::from_be_bytes(limit)).ok()
        }
        (limit, _) => limit.parse().ok(),
    }
}

/// What a SELECT shows.
pub(super) fn selected(text: &str) -> Option<&str> {
    let (columns, _) = text.strip_prefix("SELECT ")?.split_once(" FROM ")?;
    Some(columns)
}

/// Less than all columns, each time under which a row may be hidden: what a statement shows, or, where that is calculated, each column by itself, which is none
/// where rows are counted.
pub(super) fn narrower(step: &Step, all: &Table) -> Vec<String> {
    let columns = selected(&step.text).map(|columns| {
        let columns = columns.strip_prefix("DISTINCT ").unwrap_or(columns);
        columns.strip_prefix("JSON ").unwrap_or(columns)
    });
    match columns {
        Some("*") | None => Vec::new(),
        Some(columns) if !columns.contains('(') => vec![columns.to_owned()],
        Some(_) => {
            let names = all.columns.iter();
            names.map(|column| format!("\"{}\"", column.name)).collect()
        }
    }
}

/// A relation of a WHERE, with the values of its markers.
pub(super) struct Said<'a> {
    pub(super) text: Cow<'a, str>,
    pub(super) values: Vec<Value>,
}

impl Said<'_> {
    /// What it begins with, most often a column.
    pub(super) fn column(&self) -> &str {
        self.text.split(' ').next().unwrap_or_default()
    }
}

/// An equality with one of some columns as a range, which no classic index answers.
pub(super) fn as_range(said: &Said<'_>, columns: &[String]) -> Option<Said<'static>> {
    let (column, value) = said.text.split_once(" = ")?;
    let is_meant = columns.iter().any(|name| name == column);
    is_meant.then(|| Said {
        text: format!("{column} >= {value} AND {column} <= {value}").into(),
        values: [said.values.clone(), said.values.clone()].concat(),
    })
}

/// An equality with a number that a minus stands before, apart from it, as one with the negative number.
pub(super) fn as_constant(said: &Said<'_>) -> Option<Said<'static>> {
    let (column, number) = said.text.split_once(" = - ")?;
    let is_number = number.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| Said {
        text: format!("{column} = -{number}").into(),
        values: Vec::new(),
    })
}

pub(super) fn is_contains(relation: &str) -> bool {
    relation.contains(" CONTAINS ")
}

/// The same rows, one by one: these columns of a step's table under its WHERE, and nothing that limits, groups or orders them.
pub(super) fn plain(step: &Step, columns: &str) -> Option<Step> {
    let (from, values) = match relations(step) {
        Some((table, relations)) => together(table, &relations.iter().collect::<Vec<_>>()),
        None if step.text.contains(" WHERE ") => return None,
        None => (table_of(&step.text)?.to_owned(), Vec::new()),
    };
    Some(Step {
        text: format!("SELECT {columns} FROM {from}"),
        values,
        page_rows: None,
        ..step.clone()
    })
}

/// A table under some relations, and their values.
pub(super) fn together(table: &str, relations: &[&Said<'_>]) -> (String, Vec<Value>) {
    let texts: Vec<&str> = relations.iter().map(|relation| &*relation.text).collect();
    let from = format!("{table} WHERE {} ALLOW FILTERING", texts.join(" AND "));
    let values = relations.iter();
    let values = values.flat_map(|relation| relation.values.clone());
    (from, values.collect())
}

/// The table that a SELECT reads, and the relations of its WHERE.
pub(super) fn relations(step: &Step) -> Option<(&str, Vec<Said<'_>>)> {
    let text = step.text.trim_end_matches(';');
    let markers = |text: &str| text.matches('?').count();
    if markers(text) != step.values.len() {
        return None;
    }
    let (before, rest) = text.split_once(" FROM ")?;
    let (table, relations) = rest.split_once(" WHERE ")?;
    let ends = [
        " GROUP BY ",
        " ORDER BY ",
        " PER PARTITION ",
        " LIMIT ",
        " ALLOW ",
    ];
    let end = ends.iter().filter_map(|word| relations.find(word)).min();
    let relations = &relations[..end.unwrap_or(relations.len())];
    let mut values = step.values[markers(before)..].iter().cloned();
    let said = relations.split(" AND ").map(|text| Said {
        text: text.into(),
        values: values.by_ref().take(markers(text)).collect(),
    });
    Some((table, said.collect()))
}

/// The columns that the relations of a SELECT's WHERE begin with.
pub(super) fn asked_columns(step: &Step) -> Vec<String> {
    let relations = relations(step).map_or_else(Vec::new, |(_, relations)| relations);
    let columns = relations.iter().map(Said::column);
    columns.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::{as_constant, as_range, limit_of, narrower, plain, relations, selected};
    use crate::oracle::answer::{Column, Kind, Table, Type};
    use crate::oracle::step::{Purpose, Step};
    use crate::oracle::wire::Value;

    #[test]
    fn rows_are_asked_for_one_by_one_under_the_same_where() {
        let asked = |text: &str, columns: &str| {
            plain(&Step::plain(Purpose::Read, text), columns).map(|step| step.text)
        };
        let grouped = "SELECT max(v) FROM t WHERE a = 1 AND b > 2 GROUP BY a LIMIT 3;";
        assert_eq!(
            asked(grouped, "*").as_deref(),
            Some("SELECT * FROM t WHERE a = 1 AND b > 2 ALLOW FILTERING")
        );
        assert_eq!(selected(grouped), Some("max(v)"));
        let all = "SELECT v FROM t;";
        assert_eq!(asked(all, "v").as_deref(), Some("SELECT v FROM t"));
        assert_eq!(asked("TRUNCATE t;", "*"), None);
        let markers = "SELECT v FROM t WHERE a = ? AND b IN (?, 2) LIMIT ?;";
        let step = Step {
            values: [1u8, 2, 3].map(|value| Value::Bytes(vec![value])).into(),
            ..Step::plain(Purpose::Read, markers)
        };
        let (_, said) = relations(&step).expect("there is a WHERE");
        let values: Vec<usize> = said.iter().map(|said| said.values.len()).collect();
        assert_eq!(values, [1, 1]);
    }

    #[test]
    fn an_equality_is_put_in_other_words_only_where_they_mean_the_same() {
        let step = |text: &str, values: &[u8]| Step {
            values: values.iter().map(|n| Value::Bytes(vec![*n])).collect(),
            ..Step::plain(Purpose::Read, text)
        };
        let reworded = |step: &Step, columns: &[String]| {
            let (_, said) = relations(step).expect("there is a WHERE");
            let ranges = said.iter().map(|said| as_range(said, columns));
            let numbers = said.iter().map(as_constant);
            let texts = |said: Option<super::Said<'_>>| {
                said.map(|said| (said.text.into_owned(), said.values.len()))
            };
            (
                ranges.map(texts).collect::<Vec<_>>(),
                numbers.map(texts).collect::<Vec<_>>(),
            )
        };
        let of = |text: &str, markers: usize| Some((text.to_owned(), markers));
        let asked = step("SELECT v FROM t WHERE c0 = ? AND c1 = 3 AND s0 = - 1", &[7]);
        let (ranges, numbers) = reworded(&asked, &["c0".to_owned()]);
        assert_eq!(ranges, [of("c0 >= ? AND c0 <= ?", 2), None, None]);
        assert_eq!(numbers, [None, None, of("s0 = -1", 0)]);
        let asked = step("SELECT v FROM t WHERE s0 = - p0 AND c0 IN (1)", &[]);
        let (ranges, numbers) = reworded(&asked, &["c0".to_owned()]);
        assert_eq!(ranges, [None, None]);
        assert_eq!(numbers, [None, None]);
    }

    #[test]
    fn a_row_may_be_hidden_from_what_is_shown_or_from_each_column_of_what_is_counted() {
        let column = |name: &str| Column {
            keyspace: "ks".into(),
            table: "t".into(),
            name: name.into(),
            ty: Type::Native("int", Kind::Integer),
        };
        let all = Table {
            columns: vec![column("p0"), column("v0")],
            rows: Vec::new(),
            page_state: None,
        };
        let shown = |text: &str| narrower(&Step::plain(Purpose::Read, text), &all);
        assert_eq!(shown("SELECT JSON v0 FROM t"), ["v0"]);
        assert_eq!(shown("SELECT DISTINCT p0 FROM t"), ["p0"]);
        let each = ["\"p0\"", "\"v0\""];
        assert_eq!(shown("SELECT count(1) FROM t WHERE v0 = 1"), each);
        assert!(shown("SELECT * FROM t").is_empty());
    }

    #[test]
    fn a_limit_is_written_or_bound_last() {
        let limit = |text: &str, values: &[u8]| {
            let step = Step {
                values: match values {
                    [] => Vec::new(),
                    values => vec![Value::Bytes(values.to_vec())],
                },
                ..Step::plain(Purpose::Read, text)
            };
            limit_of(&step)
        };
        assert_eq!(
            limit("SELECT v FROM t LIMIT 3 ALLOW FILTERING;", &[]),
            Some(3)
        );
        assert_eq!(limit("SELECT v FROM t LIMIT ?;", &[0, 0, 0, 4]), Some(4));
        assert_eq!(limit("SELECT v FROM t LIMIT ?;", &[4]), None);
        assert_eq!(limit("SELECT v FROM t PER PARTITION LIMIT 2;", &[]), None);
        assert_eq!(limit("SELECT v FROM t;", &[]), None);
    }
}
