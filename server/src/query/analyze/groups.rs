//! GROUP BY: which rows of a partition are one.
//!
//! Groups are made of the primary key's first columns, by their values; the last column named may stand in a function instead, whose value is then what
//! rows share. Rows are read in the order of their keys, so the function has to keep that order: `floor` by constant steps, and the conversions of times.
//!
//! What must hold: rows of one group follow each other. That a function does not keep the order is said when the statement is executed, as Cassandra does.

use std::collections::HashSet;

use palladium_protocol::cql::ast::{Name, Operator, Select, Selectable};
use palladium_protocol::types::CqlType;

use super::restrictions::{Alternatives, Constraint, Partition, Restrictions, Test};
use super::term::{Terms, undefined};
use crate::error::{CqlError, CqlResult};
use crate::query::expression::{Bound, Expression, Scope, Typed};
use crate::query::functions::Function;
use crate::query::functions::aggregate::AggregateKind;
use crate::schema::{Column, ColumnKind, TableSchema};

/// What rows of a group share.
#[derive(Debug)]
pub struct GroupBy {
    /// So many of the primary key's first columns.
    pub columns: usize,
    /// A function of the column behind those.
    pub function: Option<Typed>,
    /// Why the function makes no groups.
    refusal: Option<String>,
}

impl GroupBy {
    /// Whether these values can make groups.
    pub fn check(&self, scope: &Scope<'_>) -> CqlResult<()> {
        let Some(function) = &self.function else {
            return Ok(());
        };
        check_set(&function.expression, scope)?;
        match &self.refusal {
            Some(refusal) => Err(CqlError::invalid(refusal.clone())),
            None => Ok(()),
        }
    }
}

/// Nothing is grouped by what is left unset, be there rows or not.
fn check_set(expression: &Expression, scope: &Scope<'_>) -> CqlResult<()> {
    let Expression::Call {
        function,
        arguments,
        returns,
    } = expression
    else {
        return Ok(());
    };
    for argument in arguments {
        check_set(&argument.expression, scope)?;
        if matches!(argument.expression, Expression::Marker(_))
            && argument.expression.evaluate(scope)? == Bound::Unset
        {
            return Err(CqlError::invalid(format!(
                "Invalid unset value for argument in call to function {}",
                function.called(arguments, returns)
            )));
        }
    }
    Ok(())
}

pub(super) fn group_by(
    terms: &mut Terms<'_>,
    table: &TableSchema,
    statement: &Select,
    restrictions: &Restrictions,
) -> CqlResult<Option<GroupBy>> {
    let by = &statement.group_by;
    if by.is_empty() {
        return Ok(None);
    }
    let key_columns = table.partition_key.len() + table.clustering.len();
    let mut next = 0;
    let mut function = None;
    for selectable in by {
        let index = match selectable {
            Selectable::Column(column) => {
                let index = table
                    .column_index(column.as_str())
                    .ok_or_else(|| undefined(table, column))?;
                if index >= key_columns {
                    return Err(CqlError::invalid(format!(
                        "Group by is currently only supported on the columns of the PRIMARY KEY, got {}",
                        column.as_str()
                    )));
                }
                if function.is_some() {
                    return Err(CqlError::invalid(
                        "Functions are only supported on the last element of the GROUP BY clause",
                    ));
                }
                index
            }
            of => {
                let (own, index) = function_of_column(terms, table, of)?;
                function = Some(own);
                index
            }
        };
        // Columns that an equality fixes may be left out.
        while next < index && is_fixed(table, restrictions, next) {
            next += 1;
        }
        if index != next {
            return Err(CqlError::invalid(
                "Group by currently only support groups of columns following their declared order in the PRIMARY KEY",
            ));
        }
        next += 1;
    }
    if next < table.partition_key.len() {
        return Err(CqlError::invalid(
            "Group by is not supported on only a part of the partition key",
        ));
    }
    if statement.distinct && next > table.partition_key.len() {
        return Err(CqlError::invalid(
            "Grouping on clustering columns is not allowed for SELECT DISTINCT queries",
        ));
    }
    Ok(Some(match function {
        Some((function, refusal)) => GroupBy {
            columns: next - 1,
            function: Some(function),
            refusal,
        },
        None => GroupBy {
            columns: next,
            function: None,
            refusal: None,
        },
    }))
}

/// A function that makes groups, with why it makes none, and the clustering column it is of.
fn function_of_column(
    terms: &mut Terms<'_>,
    table: &TableSchema,
    of: &Selectable,
) -> CqlResult<((Typed, Option<String>), usize)> {
    terms.columns = true;
    let found = typed(terms, table, of);
    terms.columns = false;
    found
}

fn typed(
    terms: &mut Terms<'_>,
    table: &TableSchema,
    of: &Selectable,
) -> CqlResult<((Typed, Option<String>), usize)> {
    terms.resolve(of, &mut HashSet::new())?;
    let aggregate = match of {
        Selectable::CountRows => Some("count_rows".to_owned()),
        Selectable::Function { name, .. } => {
            AggregateKind::named(name.name.as_str()).map(|kind| kind.name().to_owned())
        }
        Selectable::Arithmetic { .. } | Selectable::Negation(_) => None,
        // Cassandra fails here.
        _ => return Err(CqlError::invalid(ONLY_FUNCTIONS)),
    };
    if let Some(aggregate) = aggregate {
        return Err(CqlError::invalid(format!(
            "Aggregate functions are not supported within the GROUP BY clause, got: system.{aggregate}"
        )));
    }
    // Whether it keeps the order does not depend on who may see behind a mask.
    let masked = std::mem::replace(&mut terms.masked, false);
    let before = terms.aggregates.len();
    let plain = terms.typed(of, None);
    let aggregates = terms.aggregates.split_off(before);
    terms.masked = masked;
    let plain = plain?;
    let mut columns = Vec::new();
    let arguments = aggregates
        .iter()
        .filter_map(|aggregate| aggregate.argument.as_ref());
    for of in arguments.chain([&plain]) {
        of.expression.walk(&mut |expression| {
            if let Expression::Column(index) | Expression::Fact { column: index, .. } = expression
                && !columns.contains(index)
            {
                columns.push(*index);
            }
        });
    }
    let index = match columns.as_slice() {
        [index] => *index,
        [] => {
            return Err(CqlError::invalid(
                "GROUP BY functions must have one clustering column name as parameter",
            ));
        }
        several => {
            let names: Vec<String> = several
                .iter()
                .map(|index| Name::exact(&*table.columns[*index].name).to_string())
                .collect();
            return Err(CqlError::invalid(format!(
                "GROUP BY functions accept only one clustering column as parameter, got: {}",
                names.join(",")
            )));
        }
    };
    if table.columns[index].kind != ColumnKind::Clustering {
        return Err(CqlError::invalid(format!(
            "Group by functions are only supported on clustering columns, got {}",
            table.columns[index].name
        )));
    }
    let refusal = refusal(&table.columns, &plain.expression, written_name(of));
    let function = match masked {
        true if refusal.is_none() => terms.typed(of, None)?,
        _ => plain,
    };
    Ok(((function, refusal), index))
}

const ONLY_FUNCTIONS: &str =
    "Only column names and monotonic scalar functions are supported in the GROUP BY clause.";

fn written_name(of: &Selectable) -> Option<&str> {
    match of {
        Selectable::Function { name, .. } => Some(name.name.as_str()),
        _ => None,
    }
}

/// Why an expression does not keep the order of its column. `written`: what its function is called in the statement.
fn refusal(columns: &[Column], of: &Expression, written: Option<&str>) -> Option<String> {
    match of {
        Expression::Column(_) => None,
        // A cast to its own type is none.
        Expression::Call {
            function: Function::Cast,
            arguments,
            returns,
        } if arguments[0].ty.bare() == returns => refusal(columns, &arguments[0].expression, None),
        Expression::Call {
            function,
            arguments,
            returns,
        } => {
            let is_known: Vec<bool> = arguments
                .iter()
                .map(|argument| is_known(&argument.expression))
                .collect();
            if keeps_order(*function, &is_known) {
                return arguments
                    .iter()
                    .zip(is_known)
                    .filter(|(_, is_known)| !is_known)
                    .find_map(|(argument, _)| refusal(columns, &argument.expression, None));
            }
            // Cassandra says of a tuple that it is frozen where it comes out, and not where it goes in; but of a descending column's it says so.
            let shown = |argument: &Typed| {
                let text = argument.ty.to_string();
                let is_reversed = match argument.expression {
                    Expression::Column(index) => columns[index].reversed,
                    _ => false,
                };
                match (argument.ty.bare(), text.strip_prefix("frozen<")) {
                    (CqlType::Tuple(_), Some(inner)) if !is_reversed => {
                        inner[..inner.len() - 1].to_owned()
                    }
                    _ => text,
                }
            };
            let takes: Vec<String> = arguments
                .iter()
                .zip(is_known)
                .map(|(argument, is_known)| {
                    // What stands in for a value is of its type.
                    let ty = match function {
                        Function::MaskReplace => shown(&arguments[0]),
                        _ => shown(argument),
                    };
                    match is_known {
                        true => format!("{ty}(constant)"),
                        false => ty,
                    }
                })
                .collect();
            let called = function.called(arguments, returns);
            let called = Name::exact(written.unwrap_or(&called));
            // The space at the end is Cassandra's.
            Some(format!(
                "Only monotonic functions are supported in the GROUP BY clause. Got: system.{called} : ({}) -> {returns} ",
                takes.join(", ")
            ))
        }
        _ => Some(ONLY_FUNCTIONS.into()),
    }
}

/// Whether later arguments give no earlier values, given which of them are known before a row is.
fn keeps_order(function: Function, is_known: &[bool]) -> bool {
    match function {
        Function::ToDate(_) | Function::ToTimestamp(_) | Function::ToUnixTimestamp(_) => true,
        Function::Floor => {
            matches!(is_known, [false, rest @ ..] if rest.iter().all(|known| *known))
        }
        _ => false,
    }
}

/// Whether the value does not depend on a row, nor on when it is asked for.
fn is_known(of: &Expression) -> bool {
    match of {
        Expression::Constant(_) | Expression::Refused(_) | Expression::Marker(_) => true,
        Expression::Call {
            function,
            arguments,
            ..
        } => {
            function.is_pure()
                && !arguments.is_empty()
                && arguments
                    .iter()
                    .all(|argument| is_known(&argument.expression))
        }
        _ => false,
    }
}

/// Whether an equality leaves a key column one value.
pub(super) fn is_fixed(table: &TableSchema, restrictions: &Restrictions, index: usize) -> bool {
    let is_tested = restrictions.filters.iter().any(|filter| {
        filter.columns == [index] && matches!(filter.test, Test::Compare(Operator::Equal, _))
    });
    if index < table.partition_key.len() {
        return is_tested
            || match &restrictions.partition {
                Partition::Keys(columns) => {
                    matches!(columns.get(index), Some(Alternatives::One(_)))
                }
                _ => false,
            };
    }
    let place = index - table.partition_key.len();
    is_tested
        || restrictions.clustering.iter().any(|part| {
            (part.first..part.first + part.count).contains(&place)
                && matches!(part.constraint, Constraint::Among(Alternatives::One(_)))
        })
}
