//! IF, once its rows are read: whether a statement may have its condition, and whether that holds.

use std::collections::HashMap;

use bytes::Bytes;
use palladium_protocol::cql::ast::Operator;
use palladium_protocol::types::CqlType;
use palladium_storage::{Clustering, PartitionKey, Row};

use super::demand::rows_of;
use super::existing::Existing;
use super::write::{keys_of, places_of};
use crate::error::{CqlError, CqlResult};
use crate::query::analyze::restrictions::{Alternatives, Constraint};
use crate::query::analyze::{
    ColumnTest, ConditionKind, ModifyKind, ModifyPlan, PlannedCondition, TestTarget,
};
use crate::query::check::{contains, holds};
use crate::query::expression::{Bound, Expression, RowScope, Scope, compare, element, same};
use crate::query::functions::Moment;
use crate::query::plan;
use crate::query::values::Given;
use crate::schema::{Column, ColumnKind};

/// Checks what conditions have to be about before anything is read, one statement after the other as in Cassandra: one partition, and of it rows that are named one
/// by one, each with conditions of one kind, which compare with values. Then whether those can be compared with.
pub fn check_conditional(
    plans: &[(&ModifyPlan, &Given)],
    is_batch: bool,
    moment: &Moment<'_>,
) -> CqlResult<()> {
    let mut partition: Option<PartitionKey> = None;
    let mut kinds = HashMap::new();
    for (plan, bound) in plans {
        let scope = Scope::of_values(bound, moment);
        let keys = keys_of(plan, &scope)?;
        check_one_partition(plan, is_batch)?;
        let key = keys.into_iter().next();
        if partition.is_some() && partition != key {
            return Err(CqlError::invalid(
                "Batch with conditions cannot span multiple partitions",
            ));
        }
        partition = key;
        check_one_row(plan)?;
        check_mix(plan, &scope, &mut kinds)?;
        if let PlannedCondition::Columns(tests) = &plan.condition {
            for test in tests {
                check_bound(test, &scope)?;
            }
        }
    }
    for (plan, bound) in plans {
        let PlannedCondition::Columns(tests) = &plan.condition else {
            continue;
        };
        let scope = Scope::of_values(bound, moment);
        for test in tests {
            check(test, &plan.table.columns[test.column], &scope)?;
        }
    }
    Ok(())
}

fn what_is_conditional(plan: &ModifyPlan) -> &'static str {
    match plan.kind {
        ModifyKind::Delete => "deletions",
        ModifyKind::Insert | ModifyKind::Update => "updates",
    }
}

/// IN names several partitions, whatever it names.
fn check_one_partition(plan: &ModifyPlan, is_batch: bool) -> CqlResult<()> {
    if !plan.restrictions.names_several_partitions() {
        return Ok(());
    }
    Err(CqlError::invalid(match is_batch {
        true => "Batch with conditions cannot span multiple partitions (you cannot use IN on the partition key)".into(),
        false => format!(
            "IN on the partition key is not supported with conditional {}",
            what_is_conditional(plan)
        ),
    }))
}

/// IN names several rows, whatever it names.
fn check_one_row(plan: &ModifyPlan) -> CqlResult<()> {
    let several = plan.restrictions.clustering.iter().any(|part| {
        matches!(
            part.constraint,
            Constraint::Among(Alternatives::Several(_) | Alternatives::Listed(_))
        )
    });
    match several {
        false => Ok(()),
        true => Err(CqlError::invalid(format!(
            "IN on the clustering key columns is not supported with conditional {}",
            what_is_conditional(plan)
        ))),
    }
}

/// Conditions about rows, as far as they exclude each other.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Exists,
    NotExists,
    Columns,
}

/// Whether a condition is about the static row, or about rows: one that compares columns may be about both.
fn is_about(plan: &ModifyPlan, statics: bool) -> bool {
    let is_static = |column: usize| plan.table.columns[column].kind == ColumnKind::Static;
    match &plan.condition {
        PlannedCondition::None => false,
        PlannedCondition::Exists | PlannedCondition::NotExists => plan.statics_only == statics,
        PlannedCondition::Columns(tests) => {
            tests.iter().any(|test| is_static(test.column) == statics)
        }
    }
}

/// Whether a condition is about rows.
pub fn is_about_rows(plan: &ModifyPlan) -> bool {
    is_about(plan, false)
}

/// Refuses conditions of different kinds about one row of a batch.
fn check_mix(
    plan: &ModifyPlan,
    scope: &Scope<'_>,
    kinds: &mut HashMap<Option<Clustering>, Kind>,
) -> CqlResult<()> {
    let kind = match plan.condition {
        PlannedCondition::None => return check_positions(plan, scope),
        PlannedCondition::Exists => Kind::Exists,
        PlannedCondition::NotExists => Kind::NotExists,
        PlannedCondition::Columns(_) => Kind::Columns,
    };
    let mut places: Vec<Option<Clustering>> = Vec::new();
    if is_about(plan, true) {
        places.push(None);
    }
    match is_about_rows(plan) {
        true => places.extend(rows_of(plan, scope)?.into_iter().map(Some)),
        false => check_positions(plan, scope)?,
    }
    for place in places {
        let before = *kinds.entry(place).or_insert(kind);
        if before == kind {
            continue;
        }
        return Err(CqlError::invalid(match (before, kind) {
            (Kind::Columns, Kind::Exists) => {
                "Cannot mix IF conditions and IF EXISTS for the same row"
            }
            (Kind::Columns, Kind::NotExists) | (_, Kind::Columns) => {
                "Cannot mix IF conditions and IF NOT EXISTS for the same row"
            }
            _ => "Cannot mix IF EXISTS and IF NOT EXISTS conditions for the same row",
        }));
    }
    Ok(())
}

/// What is said of rows has to be values, be it of no partition or without a condition.
pub fn check_positions(plan: &ModifyPlan, scope: &Scope<'_>) -> CqlResult<()> {
    let rows = places_of(plan, scope)?;
    if rows.is_none() {
        plan::positions(&plan.table, &plan.restrictions, scope)?;
    }
    Ok(())
}

/// Whether the IF of a statement holds, for what there is of its partition.
pub fn applies(
    plan: &ModifyPlan,
    scope: &Scope<'_>,
    existing: Option<&Existing>,
) -> CqlResult<bool> {
    let (statics, row) = row_of(plan, scope, existing)?;
    let exists = match plan.statics_only {
        true => statics.is_some(),
        false => row.is_some(),
    };
    match &plan.condition {
        PlannedCondition::None => Ok(true),
        PlannedCondition::NotExists => Ok(!exists),
        PlannedCondition::Exists => Ok(exists),
        PlannedCondition::Columns(tests) => {
            let at = RowScope {
                table: &plan.table,
                partition: &[],
                clustering: &[],
                statics,
                row,
                now: scope.moment.seconds,
            };
            for test in tests {
                if !passes(test, &at, scope)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
    }
}

/// Whether all that a condition compares with can be calculated.
fn check_bound(test: &ColumnTest, scope: &Scope<'_>) -> CqlResult<()> {
    if let TestTarget::Element(key) = &test.target {
        key.evaluate(scope)?;
    }
    match &test.test {
        ConditionKind::In(Alternatives::Several(values)) => values
            .iter()
            .try_for_each(|value| value.evaluate(scope).map(drop)),
        ConditionKind::In(Alternatives::One(value) | Alternatives::Listed(value))
        | ConditionKind::Compare(_, value)
        | ConditionKind::Contains(value)
        | ConditionKind::ContainsKey(value) => value.evaluate(scope).map(drop),
    }
}

/// Refuses nulls that name no element and no value, and indexes before the first.
fn check(test: &ColumnTest, column: &Column, scope: &Scope<'_>) -> CqlResult<()> {
    let is_null =
        |expression: &Expression| Ok::<_, CqlError>(expression.evaluate(scope)? == Bound::Null);
    if let TestTarget::Element(key) = &test.target {
        let is_list = matches!(column.ty.bare(), CqlType::List(_));
        match key.evaluate(scope)? {
            Bound::Null => {
                let kind = if is_list { "list" } else { "map" };
                return Err(CqlError::invalid(format!(
                    "Invalid null value for {kind} element access"
                )));
            }
            Bound::Value(index) if is_list => {
                let index = index[..].try_into().map(i32::from_be_bytes);
                if let Ok(index) = index
                    && index < 0
                {
                    return Err(CqlError::invalid(format!(
                        "Invalid negative list index {index}"
                    )));
                }
            }
            _ => {}
        }
    }
    let against_null = |operator: &str| {
        Err(CqlError::invalid(format!(
            "Invalid comparison with null for operator \"{operator}\""
        )))
    };
    match &test.test {
        ConditionKind::Contains(value) if is_null(value)? => against_null("CONTAINS"),
        ConditionKind::ContainsKey(value) if is_null(value)? => against_null("CONTAINS KEY"),
        ConditionKind::In(Alternatives::Listed(list)) if is_null(list)? => {
            Err(CqlError::invalid("Invalid null list in IN condition"))
        }
        _ => Ok(()),
    }
}

fn passes(test: &ColumnTest, at: &RowScope<'_>, scope: &Scope<'_>) -> CqlResult<bool> {
    let value = match &test.target {
        TestTarget::Whole => at.column(test.column)?,
        TestTarget::Element(key) => match key.evaluate(scope)? {
            Bound::Unset => {
                return Err(CqlError::invalid("Invalid unset value for element access"));
            }
            Bound::Value(key) => at.element(test.column, &key)?,
            Bound::Null => None,
        },
        TestTarget::Field(field) => {
            let of = Expression::Field {
                of: Box::new(Expression::Constant(at.column(test.column)?.into())),
                field: *field,
            };
            of.evaluate(scope)?.value()
        }
    };
    let given = |expression: &Expression| match expression.evaluate(scope)? {
        Bound::Unset => Err(CqlError::invalid("Invalid 'unset' value in condition")),
        other => Ok(other.value()),
    };
    // What is unset is in no collection of cells; one that is frozen is not asked.
    let sought = |expression: &Expression| match test.ty.is_multi_cell() {
        true => Ok(expression.evaluate(scope)?.value()),
        false => given(expression),
    };
    match &test.test {
        ConditionKind::Compare(operator, expression) => {
            compared(*operator, &test.ty, value, given(expression)?)
        }
        ConditionKind::In(alternatives) => {
            let mut candidates = Vec::new();
            let spelled = match alternatives {
                Alternatives::One(one) => std::slice::from_ref(one),
                Alternatives::Several(several) => several,
                Alternatives::Listed(list) => {
                    if let Some(list) = given(list)? {
                        for one in crate::encode::wire::Elements::read(&list)? {
                            candidates.push(one?.map(|one| list.slice_ref(one)));
                        }
                    }
                    &[]
                }
            };
            for one in spelled {
                // What is unset is none of them.
                match one.evaluate(scope)? {
                    Bound::Unset => {}
                    one => candidates.push(one.value()),
                }
            }
            for candidate in candidates {
                if compared(Operator::Equal, &test.ty, value.clone(), candidate)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        ConditionKind::Contains(expression) => match (value, sought(expression)?) {
            (Some(value), Some(wanted)) => contains(&test.ty, &value, &wanted),
            _ => Ok(false),
        },
        ConditionKind::ContainsKey(expression) => match (value, sought(expression)?) {
            (Some(value), Some(wanted)) => Ok(element(&test.ty, &value, &wanted)?.is_some()),
            _ => Ok(false),
        },
    }
}

/// The row a conditional statement is about: None if it does not exist.
fn row_of<'e>(
    plan: &ModifyPlan,
    scope: &Scope<'_>,
    existing: Option<&'e Existing>,
) -> CqlResult<(Option<&'e Row>, Option<&'e Row>)> {
    let Some(own) = existing else {
        return Ok((None, None));
    };
    let position = rows_of(plan, scope)?.into_iter().next();
    let row = position.and_then(|position| own.row(&position));
    Ok((own.static_row.as_ref(), row))
}

/// A comparison that knows null: equal to null alone, and neither less nor greater than anything.
fn compared(
    operator: Operator,
    ty: &CqlType,
    value: Option<Bytes>,
    given: Option<Bytes>,
) -> CqlResult<bool> {
    // An unfrozen collection without elements is no collection.
    let empty = |value: &Bytes| ty.is_multi_cell() && ty.is_collection() && value[..] == [0; 4];
    if given.as_ref().is_some_and(empty)
        && !matches!(operator, Operator::Equal | Operator::NotEqual)
    {
        let kind = match ty {
            CqlType::List(_) => "list",
            CqlType::Set(_) => "set",
            _ => "map",
        };
        return Err(CqlError::invalid(format!(
            "Invalid comparison with an empty {kind} for operator \"{}\"",
            operator.symbol()
        )));
    }
    let given = given.filter(|given| !empty(given));
    if given.is_none() && !matches!(operator, Operator::Equal | Operator::NotEqual) {
        return Err(CqlError::invalid(format!(
            "Invalid comparison with null for operator \"{}\"",
            operator.symbol()
        )));
    }
    Ok(match (value, given) {
        (Some(value), Some(given)) => match operator {
            Operator::Equal => same(ty, &value, &given)?,
            Operator::NotEqual => !same(ty, &value, &given)?,
            operator => holds(operator, compare(ty, &value, &given)?),
        },
        (None, None) => operator == Operator::Equal,
        (None, Some(_)) => operator == Operator::NotEqual,
        (Some(_), None) => operator == Operator::NotEqual,
    })
}
