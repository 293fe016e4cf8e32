//! How expressions are called: in the header of a result, and in error messages.

use palladium_protocol::cql::ast::{Literal, Selectable, Term};

use super::literal;
use super::term::as_selectable;

/// `system.now()`, `writetime(v)`, `m['a']`, `cast(v as text)`.
pub fn of(expression: &Selectable) -> String {
    let all = |parts: &[Selectable]| parts.iter().map(of).collect::<Vec<_>>().join(", ");
    match expression {
        Selectable::Column(name) => name.as_str().to_owned(),
        Selectable::Literal(literal) => constant(literal),
        Selectable::Marker(_) => "?".into(),
        Selectable::CountRows => "count".into(),
        Selectable::CellFact { fact, of: column } => format!("{}({})", fact.name(), of(column)),
        Selectable::Cast { expression, to } => format!("cast({} as {})", of(expression), to.name()),
        Selectable::Function { name, arguments } => {
            let keyspace = name
                .keyspace
                .as_ref()
                .map_or("system", |keyspace| keyspace.as_str());
            if name.name == "count"
                && matches!(
                    arguments.as_slice(),
                    [Selectable::Literal(Literal::Integer(_))]
                )
            {
                return "count".into();
            }
            format!("{keyspace}.{}({})", name.name.as_str(), all(arguments))
        }
        Selectable::Field { of: whole, field } => format!("{}.{}", of(whole), field.as_str()),
        Selectable::Element { of: whole, key } => format!("{}[{}]", of(whole), term(key)),
        Selectable::Slice {
            of: whole,
            from,
            to,
        } => {
            let end = |bound: &Option<Box<Term>>| bound.as_deref().map(term).unwrap_or_default();
            format!("{}[{}..{}]", of(whole), end(from), end(to))
        }
        Selectable::TypeHint { to, expression } => format!("({to}){}", of(expression)),
        Selectable::Tuple(parts) => format!("({})", all(parts)),
        Selectable::List(parts) => format!("[{}]", all(parts)),
        Selectable::Set(parts) => format!("{{{}}}", all(parts)),
        Selectable::Map(parts) => {
            let entries: Vec<_> = parts
                .iter()
                .map(|(key, value)| format!("{}: {}", of(key), of(value)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
        Selectable::Arithmetic {
            operator,
            left,
            right,
        } => {
            format!("{} {} {}", of(left), operator.symbol(), of(right))
        }
        Selectable::Negation(inner) => format!("-{}", of(inner)),
    }
}

/// A term as it could have been written.
pub fn term(term: &Term) -> String {
    of(&as_selectable(term))
}

pub fn constant(literal: &Literal) -> String {
    match literal {
        Literal::String(text) => format!("'{}'", text.replace('\'', "''")),
        other => {
            debug_assert_ne!(literal::kind(other), "STRING");
            other.raw_text()
        }
    }
}
