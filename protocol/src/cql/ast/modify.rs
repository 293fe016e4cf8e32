//! INSERT, UPDATE, DELETE and BATCH.

use super::{InValues, Marker, Name, Operator, QualifiedName, Relation, Term};

/// One of the statements a batch may hold.
#[derive(Debug, Clone, PartialEq)]
pub enum Modification {
    Insert(Insert),
    Update(Update),
    Delete(Delete),
}

/// What USING says, in the order it was written.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Using {
    pub attributes: Vec<Attribute>,
}

/// Each holds an integer literal or a marker.
#[derive(Debug, Clone, PartialEq)]
pub enum Attribute {
    Timestamp(Term),
    Ttl(Term),
}

impl Using {
    /// The timestamp; if said twice, the last one.
    pub fn timestamp(&self) -> Option<&Term> {
        self.attributes.iter().rev().find_map(|a| match a {
            Attribute::Timestamp(term) => Some(term),
            Attribute::Ttl(_) => None,
        })
    }

    /// The time to live; if said twice, the last one.
    pub fn ttl(&self) -> Option<&Term> {
        self.attributes.iter().rev().find_map(|a| match a {
            Attribute::Ttl(term) => Some(term),
            Attribute::Timestamp(_) => None,
        })
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct Insert {
    pub table: QualifiedName,
    pub values: InsertValues,
    pub if_not_exists: bool,
    pub using: Using,
}

#[derive(Debug, Clone, PartialEq)]
pub enum InsertValues {
    /// `(columns) VALUES (terms)`. That both are equally long is checked by the reader of the tree.
    Columns {
        columns: Vec<Name>,
        terms: Vec<Term>,
    },
    /// `JSON '...' [DEFAULT NULL | UNSET]`
    Json {
        value: JsonValue,
        default: JsonDefault,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub enum JsonValue {
    Text(String),
    Marker(Marker),
}

/// What happens to columns the JSON document does not mention.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum JsonDefault {
    #[default]
    Null,
    Unset,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Update {
    pub table: QualifiedName,
    pub using: Using,
    pub assignments: Vec<Assignment>,
    pub relations: Vec<Relation>,
    pub condition: Condition,
}

/// One item of SET.
#[derive(Debug, Clone, PartialEq)]
pub enum Assignment {
    /// `c = term`
    Set { column: Name, value: Term },
    /// `c = c + term`, `c += term`: append to a list, add to a set, map or counter.
    Add { column: Name, value: Term },
    /// `c = c - term`, `c -= term`
    Subtract { column: Name, value: Term },
    /// `c = term + c`
    Prepend { column: Name, value: Term },
    /// `c[key] = term`
    Element {
        column: Name,
        key: Term,
        value: Term,
    },
    /// `c.field = term`
    Field {
        column: Name,
        field: Name,
        value: Term,
    },
}

impl Assignment {
    pub fn column(&self) -> &Name {
        match self {
            Assignment::Set { column, .. }
            | Assignment::Add { column, .. }
            | Assignment::Subtract { column, .. }
            | Assignment::Prepend { column, .. }
            | Assignment::Element { column, .. }
            | Assignment::Field { column, .. } => column,
        }
    }
}

/// The IF of UPDATE and DELETE.
#[derive(Debug, Clone, PartialEq, Default)]
pub enum Condition {
    #[default]
    None,
    /// `IF EXISTS`
    Exists,
    /// `IF a = 1 AND ...`; never empty.
    Columns(Vec<ColumnCondition>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct ColumnCondition {
    pub target: ConditionTarget,
    pub test: ConditionTest,
}

#[derive(Debug, Clone, PartialEq)]
pub enum ConditionTarget {
    Column(Name),
    /// `c[key]`
    Element(Name, Term),
    /// `c.field`
    Field(Name, Name),
}

#[derive(Debug, Clone, PartialEq)]
pub enum ConditionTest {
    Compare(Operator, Term),
    In(InValues),
    /// `CONTAINS [KEY] term`; on a whole column only.
    Contains {
        key: bool,
        value: Term,
    },
}

#[derive(Debug, Clone, PartialEq)]
pub struct Delete {
    /// Empty: whole rows.
    pub targets: Vec<DeleteTarget>,
    pub table: QualifiedName,
    /// At most a timestamp.
    pub using: Using,
    pub relations: Vec<Relation>,
    pub condition: Condition,
}

#[derive(Debug, Clone, PartialEq)]
pub enum DeleteTarget {
    Column(Name),
    /// `c[key]`
    Element(Name, Term),
    /// `c.field`
    Field(Name, Name),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub enum BatchKind {
    #[default]
    Logged,
    Unlogged,
    Counter,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Batch {
    pub kind: BatchKind,
    pub using: Using,
    /// May be empty.
    pub statements: Vec<Modification>,
}
