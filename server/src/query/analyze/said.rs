//! What a WHERE says of one column, or of one tuple of columns, and how a new relation joins it.
//!
//! What must hold: no two constraints on the same columns contradict each other in form; whether they do in value only the
//! rows can tell.

use palladium_protocol::cql::ast::Operator;
use palladium_protocol::types::CqlType;

use super::restrictions::{Alternatives, Constraint, End, Filter, Test};
use crate::error::{CqlError, CqlResult};
use crate::query::expression::Expression;
use crate::schema::TableSchema;

/// What has been said of one column, or of one tuple of columns.
#[derive(Debug, Clone)]
pub struct Said {
    pub columns: Vec<usize>,
    pub tuple: bool,
    pub constraint: Option<Constraint>,
    pub others: Vec<Test>,
}

impl Said {
    pub(super) fn is_slice(&self) -> bool {
        matches!(self.constraint, Some(Constraint::Between { .. }))
    }

    /// Whether they speak of a column that is the same.
    pub(super) fn meets(&self, other: &Said) -> bool {
        self.columns
            .iter()
            .any(|index| other.columns.contains(index))
    }

    /// The columns that both speak of, as errors name them.
    fn common(&self, table: &TableSchema, other: &Said) -> String {
        let names: Vec<&str> = self
            .columns
            .iter()
            .filter(|index| other.columns.contains(index))
            .map(|index| table.columns[*index].name.as_str())
            .collect();
        names.join(" ,")
    }

    /// This, and then `new`.
    pub(super) fn merged(mut self, table: &TableSchema, new: Said) -> CqlResult<Said> {
        let shown = self.common(table, &new);
        match (&mut self.constraint, new.constraint) {
            (None, None) => {
                self.others.extend(new.others);
                Ok(self)
            }
            (None, Some(_)) => Err(CqlError::invalid(format!(
                "Collection column {shown} can only be restricted by CONTAINS, CONTAINS KEY, or map-entry equality"
            ))),
            (Some(Constraint::Among(alternatives)), _) => {
                let kind = match alternatives {
                    Alternatives::One(_) => "an Equal",
                    _ => "a IN",
                };
                Err(CqlError::invalid(format!(
                    "{shown} cannot be restricted by more than one relation if it includes {kind}"
                )))
            }
            (
                Some(Constraint::Between { lower, upper }),
                Some(Constraint::Between {
                    lower: new_lower,
                    upper: new_upper,
                }),
            ) => {
                if self.columns[0] != new.columns[0] {
                    let later = self.columns[0].max(new.columns[0]);
                    return Err(CqlError::invalid(format!(
                        "Column \"{}\" cannot be restricted by two inequalities not starting with the same column",
                        table.columns[later].name
                    )));
                }
                if self.tuple != new.tuple {
                    // The ends of one slice are tuples, then: a single column is a tuple of one.
                    let ty = CqlType::tuple([table.columns[self.columns[0]].ty.clone()]);
                    let single = |end: &mut Option<End>| {
                        if let Some(end) = end {
                            let value = std::mem::replace(&mut end.value, Expression::NULL);
                            end.value = Expression::Build {
                                ty: ty.clone(),
                                parts: vec![value],
                            };
                        }
                    };
                    let (mut new_lower, mut new_upper) = (new_lower, new_upper);
                    match self.tuple {
                        true => [&mut new_lower, &mut new_upper]
                            .into_iter()
                            .for_each(single),
                        false => [&mut *lower, &mut *upper].into_iter().for_each(single),
                    }
                    self.tuple = true;
                    join_ends(lower, upper, new_lower, new_upper, &shown)?;
                } else {
                    join_ends(lower, upper, new_lower, new_upper, &shown)?;
                }
                if new.columns.len() > self.columns.len() {
                    self.columns = new.columns;
                }
                Ok(self)
            }
            (Some(Constraint::Between { .. }), _) => Err(CqlError::invalid(format!(
                "Column \"{shown}\" cannot be restricted by both an equality and an inequality relation"
            ))),
        }
    }
}

fn join_ends(
    lower: &mut Option<End>,
    upper: &mut Option<End>,
    new_lower: Option<End>,
    new_upper: Option<End>,
    shown: &str,
) -> CqlResult<()> {
    for (end, new, which) in [(lower, new_lower, "start"), (upper, new_upper, "end")] {
        if end.is_some() && new.is_some() {
            return Err(CqlError::invalid(format!(
                "More than one restriction was found for the {which} bound on {shown}"
            )));
        }
        *end = end.take().or(new);
    }
    Ok(())
}

/// Puts an end where its operator belongs.
pub(super) fn put_end(
    lower: &mut Option<End>,
    upper: &mut Option<End>,
    operator: Operator,
    value: Expression,
    shown: &str,
) -> CqlResult<()> {
    let (end, which) = match operator {
        Operator::Greater | Operator::GreaterOrEqual => (lower, "start"),
        _ => (upper, "end"),
    };
    if end.is_some() {
        return Err(CqlError::invalid(format!(
            "More than one restriction was found for the {which} bound on {shown}"
        )));
    }
    *end = Some(End {
        value,
        inclusive: matches!(operator, Operator::GreaterOrEqual | Operator::LessOrEqual),
    });
    Ok(())
}

/// What is said of columns, as conditions to try on each row.
pub(super) fn filters_of(said: Said) -> CqlResult<Vec<Filter>> {
    let mut tests = said.others;
    match said.constraint {
        None => {}
        Some(Constraint::Among(Alternatives::One(value))) => {
            tests.push(Test::Compare(Operator::Equal, value))
        }
        Some(Constraint::Among(alternatives)) => tests.push(Test::In(alternatives)),
        Some(Constraint::Between { lower, upper }) => {
            for (end, open, closed) in [
                (lower, Operator::Greater, Operator::GreaterOrEqual),
                (upper, Operator::Less, Operator::LessOrEqual),
            ] {
                if let Some(end) = end {
                    let operator = if end.inclusive { closed } else { open };
                    tests.push(Test::Compare(operator, end.value));
                }
            }
        }
    }
    Ok(tests
        .into_iter()
        .map(|test| Filter {
            columns: said.columns.clone(),
            tuple: said.tuple,
            test,
        })
        .collect())
}
