//! How expressions are called: in the header of a result, and in error messages.

use palladium_protocol::cql::ast::{Literal, Name, QualifiedName, Selectable, Term, Type};

use super::calls::counts_rows;
use super::literal;
use super::natural::{names_fields, value_of_field};
use super::term::{Terms, as_selectable};
use crate::query::functions::{operator_name, unquoted};
use crate::schema::hashed::{in_hash_order, of_identifier};
use crate::schema::types;

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
            if name.name == "count" && counts_rows(arguments) {
                return "count".into();
            }
            if let (Some(to), [cast]) =
                (name.name.as_str().strip_prefix("cast_as_"), &arguments[..])
            {
                return format!("cast({} as {to})", of(cast));
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
        Selectable::TypeHint { to, expression } => {
            format!("({}){}", types::repeated(to, None), of(expression))
        }
        Selectable::Tuple(parts) => format!("({})", all(parts)),
        Selectable::List(parts) => format!("[{}]", all(parts)),
        Selectable::Set(parts) => format!("{{{}}}", all(parts)),
        Selectable::Map(parts) if names_fields(parts) => named(fields(parts), of),
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

/// A term as errors repeat it.
pub fn term(term: &Term) -> String {
    raw(&as_selectable(term))
}

/// The same of a term that is a selectable by now. What is calculated is the call of a function there.
pub fn raw(term: &Selectable) -> String {
    let all = |parts: &[Selectable]| parts.iter().map(raw).collect::<Vec<_>>().join(", ");
    match term {
        // The one function whose name is a word of the language.
        Selectable::Function { name, arguments } if name.name == "token" => {
            format!("{}({})", unquoted(name), all(arguments))
        }
        Selectable::Function { name, arguments } => format!("{name}({})", all(arguments)),
        Selectable::Cast { expression, to } => {
            format!("system.cast_as_{}({})", to.name(), raw(expression))
        }
        Selectable::Arithmetic {
            operator,
            left,
            right,
        } => format!(
            "system.\"_{}\"({}, {})",
            operator_name(*operator),
            raw(left),
            raw(right)
        ),
        Selectable::Negation(inner) => format!("system.\"_negate\"({})", raw(inner)),
        Selectable::TypeHint { to, expression } => {
            format!("({}){}", types::repeated(to, None), raw(expression))
        }
        Selectable::Tuple(parts) => format!("({})", all(parts)),
        Selectable::List(parts) => format!("[{}]", all(parts)),
        Selectable::Set(parts) => format!("{{{}}}", all(parts)),
        Selectable::Map(parts) if names_fields(parts) => {
            let hashed = in_hash_order(fields(parts), |(name, _)| of_identifier(name));
            named(hashed, raw)
        }
        Selectable::Map(parts) => {
            let entries: Vec<_> = parts
                .iter()
                .map(|(key, value)| format!("{}: {}", raw(key), raw(value)))
                .collect();
            format!("{{{}}}", entries.join(", "))
        }
        other => of(other),
    }
}

/// The fields of a user type's literal in the order of their names' first places, each with its value.
fn fields(parts: &[(Selectable, Selectable)]) -> Vec<(&str, &Selectable)> {
    let mut fields: Vec<(&str, &Selectable)> = Vec::new();
    for (name, _) in parts {
        if let Selectable::Column(name) = name
            && let name = name.as_str()
            && !fields.iter().any(|(other, _)| *other == name)
            && let Some(value) = value_of_field(parts, name)
        {
            fields.push((name, value));
        }
    }
    fields
}

fn named(fields: Vec<(&str, &Selectable)>, shown: impl Fn(&Selectable) -> String) -> String {
    let fields: Vec<_> = fields
        .into_iter()
        .map(|(name, value)| format!("{name}: {}", shown(value)))
        .collect();
    format!("{{{}}}", fields.join(", "))
}

pub fn constant(literal: &Literal) -> String {
    match literal {
        // A quote in it stays alone, as in Cassandra.
        Literal::String(text) => format!("'{text}'"),
        other => {
            debug_assert_ne!(literal::kind(other), "STRING");
            other.raw_text()
        }
    }
}

impl Terms<'_> {
    /// How a column of a result is called that has no alias: a cast to the type that something has is no cast, and a user type has its keyspace.
    pub(super) fn shown_name(&self, of: &Selectable) -> String {
        self::of(&self.as_shown(of))
    }

    /// How a term is repeated where its types were looked at before it was refused: user types have their keyspace.
    pub(super) fn shown_term(&self, of: &Term) -> String {
        raw(&self.as_shown(&as_selectable(of)))
    }

    pub(super) fn as_shown(&self, of: &Selectable) -> Selectable {
        let boxed = |of: &Selectable| Box::new(self.as_shown(of));
        let all = |parts: &[Selectable]| parts.iter().map(|part| self.as_shown(part)).collect();
        match of {
            Selectable::Cast { expression, to } if self.columns => {
                let own = self.natural_type(expression);
                match own.is_some_and(|own| *own.bare() == types::native(*to)) {
                    true => self.as_shown(expression),
                    false => Selectable::Cast {
                        expression: boxed(expression),
                        to: *to,
                    },
                }
            }
            Selectable::TypeHint { to, expression } => Selectable::TypeHint {
                to: found_in(to, self.keyspace),
                expression: boxed(expression),
            },
            Selectable::Function { name, arguments } => Selectable::Function {
                name: name.clone(),
                arguments: all(arguments),
            },
            Selectable::Arithmetic {
                operator,
                left,
                right,
            } => Selectable::Arithmetic {
                operator: *operator,
                left: boxed(left),
                right: boxed(right),
            },
            Selectable::Negation(inner) => Selectable::Negation(boxed(inner)),
            Selectable::Tuple(parts) => Selectable::Tuple(all(parts)),
            Selectable::List(parts) => Selectable::List(all(parts)),
            Selectable::Set(parts) => Selectable::Set(all(parts)),
            Selectable::Map(parts) => Selectable::Map(
                parts
                    .iter()
                    .map(|(key, value)| (self.as_shown(key), self.as_shown(value)))
                    .collect(),
            ),
            other => other.clone(),
        }
    }
}

/// A type whose user types have the keyspace that they were found in.
fn found_in(ty: &Type, keyspace: &str) -> Type {
    let inner = |ty: &Type| Box::new(found_in(ty, keyspace));
    match ty {
        Type::User(name) if name.keyspace.is_none() => {
            Type::User(QualifiedName::new(Name::exact(keyspace), name.name.clone()))
        }
        Type::List(of) => Type::List(inner(of)),
        Type::Set(of) => Type::Set(inner(of)),
        Type::Map(key, value) => Type::Map(inner(key), inner(value)),
        Type::Frozen(of) => Type::Frozen(inner(of)),
        Type::Vector(of, dimension) => Type::Vector(inner(of), *dimension),
        Type::Tuple(types) => Type::Tuple(types.iter().map(|ty| found_in(ty, keyspace)).collect()),
        other => other.clone(),
    }
}
