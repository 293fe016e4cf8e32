//! IF of a modification: comparisons of columns, elements and fields with names and types settled.

use palladium_protocol::cql::ast::{
    ColumnCondition, Condition, ConditionTarget, ConditionTest, Operator,
};
use palladium_protocol::types::CqlType;

use super::gather::in_values;
use super::restrictions::Alternatives;
use super::term::{Terms, undefined};
use crate::error::{CqlError, CqlResult};
use crate::query::expression::Expression;
use crate::schema::TableSchema;
use crate::schema::resolve::holds_durations;

#[derive(Debug, Clone)]
pub enum PlannedCondition {
    None,
    NotExists,
    Exists,
    Columns(Vec<ColumnTest>),
}

impl PlannedCondition {
    pub fn is_some(&self) -> bool {
        !matches!(self, PlannedCondition::None)
    }
}

/// One comparison of IF.
#[derive(Debug, Clone)]
pub struct ColumnTest {
    pub column: usize,
    pub target: TestTarget,
    /// The type of what is compared.
    pub ty: CqlType,
    pub test: ConditionKind,
}

#[derive(Debug, Clone)]
pub enum TestTarget {
    Whole,
    Element(Expression),
    Field(usize),
}

#[derive(Debug, Clone)]
pub enum ConditionKind {
    Compare(Operator, Expression),
    In(Alternatives),
    Contains(Expression),
    ContainsKey(Expression),
}

/// Said wherever such a timestamp is found first.
pub const CONDITIONAL_TIMESTAMP: &str = "Cannot provide custom timestamp for conditional updates";

/// The condition of an UPDATE or DELETE.
pub fn conditions(
    terms: &mut Terms<'_>,
    table: &TableSchema,
    condition: &Condition,
    timestamp: &Option<Expression>,
) -> CqlResult<PlannedCondition> {
    Ok(match condition {
        Condition::None => PlannedCondition::None,
        Condition::Exists => PlannedCondition::Exists,
        Condition::Columns(list) => {
            if timestamp.is_some() {
                return Err(CqlError::invalid(CONDITIONAL_TIMESTAMP));
            }
            let tests: CqlResult<Vec<ColumnTest>> =
                list.iter().map(|one| test(terms, table, one)).collect();
            PlannedCondition::Columns(tests?)
        }
    })
}

fn test(
    terms: &mut Terms<'_>,
    table: &TableSchema,
    condition: &ColumnCondition,
) -> CqlResult<ColumnTest> {
    let (ConditionTarget::Column(name)
    | ConditionTarget::Element(name, _)
    | ConditionTarget::Field(name, _)) = &condition.target;
    let index = table
        .column_index(name.as_str())
        .ok_or_else(|| undefined(table, name))?;
    let column = &table.columns[index];
    if column.ty.is_counter() {
        return Err(CqlError::invalid(
            "Conditions on counters are not supported",
        ));
    }
    let name = name.as_str();
    let mut receiver = name.to_owned();
    let (target, ty) = match &condition.target {
        ConditionTarget::Column(_) => (TestTarget::Whole, column.ty.clone()),
        ConditionTarget::Element(_, key) => {
            let (key_type, ty) = match column.ty.bare() {
                CqlType::List(element) => (CqlType::Int, (**element).clone()),
                CqlType::Map(key, value) => ((**key).clone(), (**value).clone()),
                CqlType::Set(_) => {
                    return Err(CqlError::invalid(format!(
                        "Invalid element access syntax for set column {name}"
                    )));
                }
                _ => {
                    return Err(CqlError::invalid(format!(
                        "Invalid element access syntax for non-collection column {name}"
                    )));
                }
            };
            let prefix = match column.ty.bare() {
                CqlType::List(_) => "idx",
                _ => "key",
            };
            receiver = format!("value({name})");
            (
                TestTarget::Element(terms.term(key, &format!("{prefix}({name})"), &key_type)?),
                ty,
            )
        }
        ConditionTarget::Field(_, field) => {
            let CqlType::Udt(udt) = column.ty.bare() else {
                return Err(CqlError::invalid(format!(
                    "Invalid field access syntax for non-UDT column {name}"
                )));
            };
            let place = udt
                .fields
                .iter()
                .position(|(own, _)| field == own.as_str())
                .ok_or_else(|| {
                    let field = field.as_str();
                    CqlError::invalid(format!("Unknown field {field} for column {name}"))
                })?;
            receiver = format!("{name}.{}", field.as_str());
            (TestTarget::Field(place), udt.fields[place].1.clone())
        }
    };
    let test = match &condition.test {
        ConditionTest::Compare(operator, value) => {
            check_slice_condition(&ty, *operator)?;
            ConditionKind::Compare(*operator, terms.term(value, &receiver, &ty)?)
        }
        ConditionTest::In(values) => ConditionKind::In(in_values(terms, values, &receiver, &ty)?),
        ConditionTest::Contains { key, value } => match (ty.bare(), key) {
            (CqlType::Map(inner, _), true) => {
                ConditionKind::ContainsKey(terms.term(value, &format!("key({receiver})"), inner)?)
            }
            (CqlType::Map(_, inner) | CqlType::List(inner) | CqlType::Set(inner), false) => {
                ConditionKind::Contains(terms.term(value, &format!("value({receiver})"), inner)?)
            }
            _ => {
                return Err(CqlError::invalid(format!(
                    "Cannot use CONTAINS{} on {} column {receiver}",
                    if *key { " KEY" } else { "" },
                    if *key { "non-map" } else { "non-collection" }
                )));
            }
        },
    };
    if column.kind.is_primary_key() {
        return Err(CqlError::invalid(format!(
            "PRIMARY KEY column '{name}' cannot have IF conditions"
        )));
    }
    Ok(ColumnTest {
        column: index,
        target,
        ty,
        test,
    })
}

/// Durations have no order.
fn check_slice_condition(ty: &CqlType, operator: Operator) -> CqlResult<()> {
    if matches!(operator, Operator::Equal | Operator::NotEqual) || !holds_durations(ty) {
        return Ok(());
    }
    Err(CqlError::invalid(match ty.bare() {
        CqlType::List(_) | CqlType::Set(_) | CqlType::Map(..) => {
            "Slice conditions are not supported on collections containing durations".into()
        }
        CqlType::Tuple(_) => {
            "Slice conditions are not supported on tuples containing durations".into()
        }
        CqlType::Udt(_) => "Slice conditions are not supported on UDTs containing durations".into(),
        _ => format!(
            "Slice conditions ( {} ) are not supported on durations",
            operator.symbol()
        ),
    }))
}
