//! What SET does to a column: assignments with names and types settled, and what a column's type does not take.

use palladium_protocol::cql::ast::{Assignment, Literal, Name, Term};
use palladium_protocol::types::CqlType;

use super::modify::Operation;
use super::term::Terms;
use crate::error::{CqlError, CqlResult};
use crate::query::functions::number;
use crate::schema::Column;

/// One assignment of SET. `sees_row`: the statement has conditions, and so it is decided on the row as it is.
pub fn assign(
    terms: &mut Terms<'_>,
    column: &Column,
    assignment: &Assignment,
    sees_row: bool,
) -> CqlResult<Operation> {
    let name = &column.name;
    let counter = column.ty.is_counter();
    let invalid = |text: String| Err(CqlError::invalid(text));
    if let Assignment::Add { value, .. }
    | Assignment::Subtract { value, .. }
    | Assignment::Set { value, .. } = assignment
        && counter
        && matches!(value, Term::Literal(Literal::Null))
    {
        return invalid("Invalid null value for counter increment/decrement".into());
    }
    match assignment {
        Assignment::Set { value, .. } => {
            let set = terms.term(value, name, &column.ty)?;
            if counter {
                return invalid(format!(
                    "Cannot set the value of counter column {name} (counters can only be incremented/decremented, not set)"
                ));
            }
            Ok(Operation::Set(set))
        }
        Assignment::Add { value, .. } if counter => Ok(Operation::Count {
            delta: terms.term(value, name, &CqlType::Counter)?,
            down: false,
        }),
        Assignment::Subtract { value, .. } if counter => Ok(Operation::Count {
            delta: terms.term(value, name, &CqlType::Counter)?,
            down: true,
        }),
        Assignment::Add { value, .. } if sees_row && is_number_or_text(&column.ty) => {
            Ok(Operation::Add(terms.term(value, name, &column.ty)?))
        }
        Assignment::Add { value, .. } => {
            let text = format!("{name} = {name} + {}", super::name::term(value));
            if let CqlType::Tuple(_) | CqlType::Udt(_) = column.ty.bare() {
                return invalid(format!(
                    "Invalid operation ({text}) for tuple column {name}"
                ));
            }
            require_collection(
                column,
                &text,
                match sees_row {
                    true => "non-numeric and non-text type",
                    false => "non counter column",
                },
            )?;
            let added = terms.term(value, name, &column.ty);
            let is_map = matches!(column.ty, CqlType::Map(..));
            Ok(Operation::Append(added.map_err(|error| match is_map {
                true => no_part_of_map(terms, "addition has to be a map", value),
                false => error,
            })?))
        }
        Assignment::Subtract { value, .. } => {
            let text = format!("{name} = {name} - {}", super::name::term(value));
            require_collection(column, &text, "non counter column")?;
            Ok(Operation::Remove(match &column.ty {
                // A hinted set is frozen, and none to take keys away by.
                CqlType::Map(..) if matches!(value, Term::TypeHint { .. }) => {
                    return Err(no_part_of_map(terms, "substraction has to be a set", value));
                }
                CqlType::Map(key, _) => terms
                    .term(value, name, &CqlType::Set(key.clone()))
                    .map_err(|_| no_part_of_map(terms, "substraction has to be a set", value))?,
                ty => terms.term(value, name, ty)?,
            }))
        }
        Assignment::Prepend { value, .. } => {
            let prepended = terms.term(value, name, &column.ty)?;
            let kind = match (&column.ty, column.ty.bare()) {
                (CqlType::List(_), _) => return Ok(Operation::Prepend(prepended)),
                (_, CqlType::List(_)) => "frozen list",
                _ => "non list",
            };
            // With that minus it is said in Cassandra, too.
            invalid(format!(
                "Invalid operation ({name} = {} - {name}) for {kind} column {name}",
                super::name::term(value)
            ))
        }
        Assignment::Element { key, value, .. } => {
            let (key_type, value_type, prefix) = match &column.ty {
                CqlType::List(element) => (CqlType::Int, element, "idx"),
                CqlType::Map(key, value) => ((**key).clone(), value, "key"),
                CqlType::Set(_) => {
                    return invalid(format!(
                        "Invalid operation ({}) for set column {name}",
                        element_text(name, key, value)
                    ));
                }
                CqlType::Frozen(inner) if inner.is_collection() => {
                    return invalid(format!(
                        "Invalid operation ({}) for frozen collection column {name}",
                        element_text(name, key, value)
                    ));
                }
                _ => {
                    return invalid(format!(
                        "Invalid operation ({}) for non collection column {name}",
                        element_text(name, key, value)
                    ));
                }
            };
            let key = terms.term(key, &format!("{prefix}({name})"), &key_type)?;
            let value = terms.term(value, &format!("value({name})"), value_type)?;
            Ok(Operation::SetElement { key, value })
        }
        Assignment::Field { field, value, .. } => {
            let part = format!("{name}.{}", field.as_str());
            let kind = match column.ty.bare() {
                CqlType::Udt(_) => "frozen UDT",
                _ => "non-UDT",
            };
            let refused = format!(
                "Invalid operation ({part} = {}) for {kind} column {name}",
                super::name::term(value)
            );
            let (place, ty) = field_of(column, field, refused)?;
            let value = terms.term(value, &part, ty)?;
            Ok(Operation::SetField {
                field: place,
                value,
            })
        }
    }
}

/// A field by its place. `refused` is said of a column that has none of its own.
pub fn field_of<'c>(
    column: &'c Column,
    field: &Name,
    refused: String,
) -> CqlResult<(usize, &'c CqlType)> {
    let CqlType::Udt(udt) = &column.ty else {
        return Err(CqlError::invalid(refused));
    };
    let place = udt
        .fields
        .iter()
        .position(|(own, _)| field == own.as_str())
        .ok_or_else(|| {
            CqlError::invalid(format!(
                "UDT column {} does not have a field named {}",
                column.name,
                field.as_str()
            ))
        })?;
    Ok((place, &udt.fields[place].1))
}

fn no_part_of_map(terms: &Terms<'_>, what: &str, value: &Term) -> CqlError {
    CqlError::invalid(format!(
        "Value for a map {what}, but was: '{}'",
        terms.shown_term(value)
    ))
}

fn element_text(name: &str, key: &Term, value: &Term) -> String {
    format!(
        "{name}[{}] = {}",
        super::name::term(key),
        super::name::term(value)
    )
}

fn is_number_or_text(ty: &CqlType) -> bool {
    number::result_type(ty, ty).is_some() || matches!(ty, CqlType::Text | CqlType::Ascii)
}

/// `otherwise`: what is said of a column that holds no collection.
fn require_collection(column: &Column, text: &str, otherwise: &str) -> CqlResult<()> {
    let kind = match (&column.ty, column.ty.bare()) {
        (CqlType::List(_) | CqlType::Set(_) | CqlType::Map(..), _) => return Ok(()),
        (_, CqlType::List(_) | CqlType::Set(_) | CqlType::Map(..)) => "frozen collection column",
        _ => otherwise,
    };
    Err(CqlError::invalid(format!(
        "Invalid operation ({text}) for {kind} {}",
        column.name
    )))
}
