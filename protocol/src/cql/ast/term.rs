//! Terms: everything that stands for a value in VALUES, SET, WHERE and IF.

use super::{Name, NativeType, QualifiedName, Type};

/// A constant as written. Numbers stay text, because only the receiving column knows how wide they may be.
#[derive(Debug, Clone, PartialEq)]
pub enum Literal {
    Null,
    /// Without its quotes; `'it''s'` is `it's`.
    String(String),
    /// `-?[0-9]+`
    Integer(String),
    /// A decimal or scientific number, or `NaN`, `Infinity`, `-Infinity`.
    Float(String),
    /// As written: `TRUE` is repeated so.
    Boolean(String),
    /// As written, with its letters; what stands here can be read as one.
    Uuid(String),
    /// Hexadecimal digits behind `0x` or `0X`, as written. An odd count is not a syntax error; see [`Literal::blob_bytes`].
    Blob(String),
    /// As written, in one of three spellings; see [`super::Duration::parse`].
    Duration(String),
}

impl Literal {
    /// The bytes of a blob literal; `None` if it is none or its digits do not pair up.
    pub fn blob_bytes(&self) -> Option<Vec<u8>> {
        let Literal::Blob(text) = self else {
            return None;
        };
        let digits = text.get(2..)?;
        if !digits.len().is_multiple_of(2) {
            return None;
        }
        digits
            .as_bytes()
            .chunks(2)
            .map(|pair| {
                let pair = std::str::from_utf8(pair).ok()?;
                u8::from_str_radix(pair, 16).ok()
            })
            .collect()
    }

    /// What Cassandra calls the raw text: strings without quotes, everything else as it is written.
    pub fn raw_text(&self) -> String {
        match self {
            Literal::Null => "NULL".into(),
            Literal::String(text)
            | Literal::Integer(text)
            | Literal::Float(text)
            | Literal::Boolean(text)
            | Literal::Uuid(text)
            | Literal::Blob(text)
            | Literal::Duration(text) => text.clone(),
        }
    }
}

/// A bind marker: `?` or `:name`.
#[derive(Debug, Clone, PartialEq)]
pub struct Marker {
    /// Position among all markers of the statement, in text order, from 0.
    pub index: usize,
    pub name: Option<Name>,
}

/// An arithmetic operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Arithmetic {
    Add,
    Subtract,
    Multiply,
    Divide,
    Modulo,
}

impl Arithmetic {
    pub fn symbol(self) -> char {
        match self {
            Arithmetic::Add => '+',
            Arithmetic::Subtract => '-',
            Arithmetic::Multiply => '*',
            Arithmetic::Divide => '/',
            Arithmetic::Modulo => '%',
        }
    }

    /// Whether the operator binds tighter than `+` and `-`.
    pub fn binds_tight(self) -> bool {
        !matches!(self, Arithmetic::Add | Arithmetic::Subtract)
    }
}

/// A value, or the recipe for one.
#[derive(Debug, Clone, PartialEq)]
pub enum Term {
    Literal(Literal),
    Marker(Marker),
    Function {
        name: QualifiedName,
        arguments: Vec<Term>,
    },
    /// `CAST(term AS type)`
    Cast {
        term: Box<Term>,
        to: NativeType,
    },
    /// `(type) term`
    TypeHint {
        to: Type,
        term: Box<Term>,
    },
    /// `[a, b]`: a list, or a vector if the receiver is one.
    List(Vec<Term>),
    /// `{a, b}`; `{}` is an empty set here and an empty map if the receiver is one.
    Set(Vec<Term>),
    /// `{a: b}`; never empty.
    Map(Vec<(Term, Term)>),
    /// `{field: a}`; never empty.
    User(Vec<(Name, Term)>),
    /// `(a, b)`; never empty. Parentheses around one term are a tuple of one, as in Cassandra.
    Tuple(Vec<Term>),
    /// Left-associative; `*`, `/`, `%` before `+`, `-`. An operand never is a looser operation: the grammar has no grouping.
    Arithmetic {
        operator: Arithmetic,
        left: Box<Term>,
        right: Box<Term>,
    },
    /// `-term` before anything that is not a number.
    Negation(Box<Term>),
}
