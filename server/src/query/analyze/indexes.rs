//! Which index answers a WHERE, and whether what is left of it has to be tried row by row.
//!
//! Cassandra's rule: all that is not told by the key must be answered by one group of indexes, or the statement needs ALLOW FILTERING. A classic index is a
//! group of its own; the storage-attached ones of a table are one group, so that several of their columns may be asked for at once.
//!
//! One index brings the candidates; the whole WHERE is tried on their rows again, so this decides what a query costs, never what it finds.

use std::sync::Arc;

use palladium_protocol::cql::ast::Operator;
use palladium_protocol::types::CqlType;

use super::restrictions::{Alternatives, Constraint, End, Test};
use super::said::Said;
use crate::query::expression::Expression;
use crate::schema::index::Question;
use crate::schema::{Column, ColumnKind, Index, TableSchema};

/// The index that brings the candidates, and which of its entries.
#[derive(Debug, Clone)]
pub struct IndexChoice {
    pub index: Arc<Index>,
    /// The indexed column, by its place in the table.
    pub column: usize,
    /// What it is asked.
    pub question: Question,
    pub sought: Sought,
}

/// What is looked for in an index.
#[derive(Debug, Clone)]
pub enum Sought {
    Equal(Expression),
    Entry {
        key: Expression,
        value: Expression,
    },
    Range {
        lower: Option<End>,
        upper: Option<End>,
    },
}

/// All that is said of one column, or of several as a tuple.
pub struct Asked {
    kind: ColumnKind,
    columns: Vec<usize>,
    questions: Vec<(Question, Option<Sought>)>,
}

/// What indexes make of a WHERE.
pub struct Verdict {
    pub needs_filtering: bool,
    /// Cassandra would look into an index, be it one that brings nothing of what is left.
    pub asks_index: bool,
    /// Storage-attached indexes are asked, be they ones that bring nothing: all that is tried is tried by them. No classic one is, which would be asked first.
    pub by_attached: bool,
    /// The first clustering column of which Cassandra asks an index as well. What is said of it and of those behind it is tried there, be it slices here.
    pub tried_from: Option<usize>,
    pub choice: Option<IndexChoice>,
}

/// The questions that a WHERE asks.
pub fn asked(table: &TableSchema, said: &[Said]) -> Vec<Asked> {
    said.iter()
        .map(|said| Asked {
            kind: table.columns[said.columns[0]].kind,
            columns: said.columns.clone(),
            questions: questions(said),
        })
        .collect()
}

fn questions(said: &Said) -> Vec<(Question, Option<Sought>)> {
    let mut questions = Vec::new();
    match &said.constraint {
        None => {}
        Some(Constraint::Among(Alternatives::One(value))) if !said.tuple => {
            questions.push((Question::Equal, Some(Sought::Equal(value.clone()))));
        }
        Some(Constraint::Between { lower, upper }) if !said.tuple => {
            let (lower, upper) = (lower.clone(), upper.clone());
            questions.push((Question::Range, Some(Sought::Range { lower, upper })));
        }
        // A tuple is asked column by column, and brings nothing.
        Some(Constraint::Among(Alternatives::One(_))) => questions.push((Question::Equal, None)),
        Some(Constraint::Between { .. }) => questions.push((Question::Range, None)),
        Some(_) => questions.push((Question::Other, None)),
    }
    for test in &said.others {
        questions.push(match test {
            Test::Contains(value) => (Question::Contains, Some(Sought::Equal(value.clone()))),
            Test::ContainsKey(key) => (Question::ContainsKey, Some(Sought::Equal(key.clone()))),
            Test::Element {
                key,
                operator: Operator::Equal,
                value,
            } => {
                let (key, value) = (key.clone(), value.clone());
                (Question::Entry, Some(Sought::Entry { key, value }))
            }
            _ => (Question::Other, None),
        });
    }
    questions
}

/// Whether some index answers something of this: then Cassandra asks less of the order of restrictions.
pub fn is_any_answered(table: &TableSchema, asked: &[Asked]) -> bool {
    asked.iter().any(|asked| asked.is_answered(table))
}

/// Decides. `is_range`: partitions are not named one by one. `clustering_needs_filtering`: of the clustering something is said that no slice says.
/// `is_nearest`: an attached index is asked for what is near, and its group has to answer the rest, too.
pub fn decide(
    table: &TableSchema,
    asked: &[Asked],
    is_range: bool,
    clustering_needs_filtering: bool,
    is_nearest: bool,
) -> Verdict {
    let is_answered = is_any_answered(table, asked);
    let with_clustering = clustering_needs_filtering || (is_range && is_answered);
    let of_clustering = |asked: &&Asked| asked.kind == ColumnKind::Clustering;
    let answered = asked.iter().filter(of_clustering);
    let answered = answered.filter(|asked| asked.is_answered(table));
    let tried_from = answered
        .map(|asked| asked.columns[0])
        .min()
        .filter(|_| is_range || clustering_needs_filtering);
    let left: Vec<&Asked> = asked
        .iter()
        .filter(|asked| match asked.kind {
            ColumnKind::PartitionKey => is_range,
            ColumnKind::Clustering => with_clustering,
            ColumnKind::Static | ColumnKind::Regular => true,
        })
        .collect();
    if left.is_empty() {
        let has_clustering = asked
            .iter()
            .any(|asked| asked.kind == ColumnKind::Clustering);
        return Verdict {
            needs_filtering: is_range && has_clustering,
            asks_index: false,
            by_attached: false,
            tried_from,
            choice: None,
        };
    }
    let is_answered_by = |is_meant: fn(&Index) -> bool| {
        left.iter()
            .any(|asked| asked.is_answered_by(table, is_meant))
    };
    let by_classic = !is_nearest && is_answered_by(|index| !index.is_sai());
    Verdict {
        needs_filtering: !groups(table, is_nearest)
            .any(|group| left.iter().all(|asked| asked.is_met_by(table, &group))),
        asks_index: is_answered,
        by_attached: !by_classic && is_answered_by(Index::is_sai),
        tried_from,
        choice: choice(table, &left, is_nearest),
    }
}

fn groups(table: &TableSchema, only_attached: bool) -> impl Iterator<Item = Vec<&Arc<Index>>> {
    let (attached, classic): (Vec<_>, Vec<_>) =
        table.indexes.iter().partition(|index| index.is_sai());
    let classic = classic.into_iter().filter(move |_| !only_attached);
    let classic = classic.map(|index| vec![index]);
    std::iter::once(attached).chain(classic)
}

/// What is built before what is not, then a classic index before an attached one, as Cassandra asks them, and an equality before a range.
fn choice(table: &TableSchema, left: &[&Asked], is_nearest: bool) -> Option<IndexChoice> {
    let mut choices: Vec<IndexChoice> = left
        .iter()
        .flat_map(|asked| asked.answered_by(table))
        .collect();
    choices.sort_by_key(|choice| {
        let is_range = matches!(choice.sought, Sought::Range { .. });
        let is_of_last_kind = choice.index.is_sai() != is_nearest;
        (!choice.index.is_built, is_of_last_kind, is_range)
    });
    choices.into_iter().next()
}

impl Asked {
    /// The indexes that answer some of its questions.
    fn answered_by<'a>(&'a self, table: &'a TableSchema) -> impl Iterator<Item = IndexChoice> + 'a {
        let place = self.columns[0];
        let column = &table.columns[place];
        self.questions.iter().flat_map(move |(question, sought)| {
            let answers = move |index: &&Arc<Index>| {
                index.answers(*question, &column.ty) && !is_folded_range(index, *question)
            };
            let indexes = table.indexes_of(&column.name).filter(answers);
            indexes.filter_map(move |index| {
                Some(IndexChoice {
                    index: index.clone(),
                    column: place,
                    question: *question,
                    sought: sought.clone()?,
                })
            })
        })
    }

    /// Whether some index answers some of its questions, of a tuple for some column.
    fn is_answered(&self, table: &TableSchema) -> bool {
        self.is_answered_by(table, |_| true)
    }

    fn is_answered_by(&self, table: &TableSchema, is_meant: impl Fn(&Index) -> bool) -> bool {
        self.columns.iter().any(|place| {
            let column = &table.columns[*place];
            let indexes = table.indexes_of(&column.name);
            indexes.filter(|index| is_meant(index)).any(|index| {
                let mut questions = self.questions.iter();
                questions.any(|(question, _)| {
                    answers(index, *question, column) && !is_folded_range(index, *question)
                })
            })
        })
    }

    /// Whether one group answers all of it. Of several CONTAINS a classic index answers one; a storage-attached one that answers one of them has the others tried.
    fn is_met_by(&self, table: &TableSchema, group: &[&Arc<Index>]) -> bool {
        let is_of_parts = |question| {
            matches!(
                question,
                Question::Contains | Question::ContainsKey | Question::Entry
            )
        };
        self.columns.iter().all(|place| {
            let column = &table.columns[*place];
            let own = || group.iter().filter(|index| index.column == column.name);
            let is_answered = |question| own().any(|index| answers(index, question, column));
            let mut questions = self.questions.iter().map(|(question, _)| *question);
            match own().any(|index| index.is_sai()) {
                true if questions.clone().all(is_of_parts) => questions.any(is_answered),
                is_sai => (questions.len() == 1 || is_sai) && questions.all(is_answered),
            }
        })
    }
}

/// Whether an index answers a question about its column. A descending UUID is none of the types of which Cassandra finds equal ones only; nothing is brought
/// by such an index here.
fn answers(index: &Index, question: Question, column: &Column) -> bool {
    let is_range_of_uuids = question == Question::Range
        && column.reversed
        && *column.ty.bare() == CqlType::Uuid
        && index.is_sai();
    is_range_of_uuids || index.answers(question, &column.ty)
}

fn is_folded_range(index: &Index, question: Question) -> bool {
    question == Question::Range && index.fold().is_some()
}
