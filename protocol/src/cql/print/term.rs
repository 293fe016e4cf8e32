//! Terms and types.

use std::fmt::{self, Display, Formatter};

use super::{Commas, FunctionName, Quoted, TypeName, write_separated};
use crate::cql::ast::{Literal, Marker, NativeType, Term, Type};

impl Display for NativeType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Display for Type {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Type::Native(native) => native.fmt(f),
            Type::List(of) => write!(f, "list<{of}>"),
            Type::Set(of) => write!(f, "set<{of}>"),
            Type::Map(key, value) => write!(f, "map<{key}, {value}>"),
            Type::Tuple(types) => write!(f, "tuple<{}>", Commas(types)),
            Type::Vector(of, dimension) => write!(f, "vector<{of}, {dimension}>"),
            Type::Frozen(of) => write!(f, "frozen<{of}>"),
            Type::User(name) => TypeName(name).fmt(f),
            Type::Custom(class) => Quoted(class).fmt(f),
        }
    }
}

impl Display for Literal {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Literal::Null => f.write_str("NULL"),
            Literal::String(text) => Quoted(text).fmt(f),
            Literal::Integer(text)
            | Literal::Float(text)
            | Literal::Boolean(text)
            | Literal::Uuid(text)
            | Literal::Blob(text)
            | Literal::Duration(text) => f.write_str(text),
        }
    }
}

impl Display for Marker {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.name {
            Some(name) => write!(f, ":{name}"),
            None => f.write_str("?"),
        }
    }
}

impl Display for Term {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Term::Literal(literal) => literal.fmt(f),
            Term::Marker(marker) => marker.fmt(f),
            Term::Function { name, arguments } => {
                write!(f, "{}({})", FunctionName(name), Commas(arguments))
            }
            Term::Cast { term, to } => write!(f, "CAST({term} AS {to})"),
            Term::TypeHint { to, term } => write!(f, "({to}) {term}"),
            Term::List(items) => write!(f, "[{}]", Commas(items)),
            Term::Set(items) => write!(f, "{{{}}}", Commas(items)),
            Term::Map(entries) => {
                f.write_str("{")?;
                write_separated(f, entries, ", ", |(k, v), f| write!(f, "{k}: {v}"))?;
                f.write_str("}")
            }
            Term::User(entries) => {
                f.write_str("{")?;
                write_separated(f, entries, ", ", |(k, v), f| write!(f, "{k}: {v}"))?;
                f.write_str("}")
            }
            Term::Tuple(items) => write!(f, "({})", Commas(items)),
            Term::Arithmetic {
                operator,
                left,
                right,
            } => write!(f, "{left} {} {right}", operator.symbol()),
            // The blank keeps the sign away from digits, which would swallow it.
            Term::Negation(term) => write!(f, "- {term}"),
        }
    }
}
