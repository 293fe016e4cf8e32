//! SELECT, and the relations that SELECT, UPDATE, DELETE and views share.

use super::{Arithmetic, Literal, Marker, Name, NativeType, QualifiedName, Term, Type};

#[derive(Debug, Clone, PartialEq)]
pub struct Select {
    pub json: bool,
    pub distinct: bool,
    pub selection: Selection,
    pub table: QualifiedName,
    /// The relations of WHERE; empty without one.
    pub relations: Vec<Relation>,
    pub group_by: Vec<Selectable>,
    pub order_by: Vec<Ordering>,
    /// An integer literal or a marker.
    pub per_partition_limit: Option<Term>,
    /// An integer literal or a marker.
    pub limit: Option<Term>,
    pub allow_filtering: bool,
}

/// What stands between SELECT and FROM.
#[derive(Debug, Clone, PartialEq)]
pub enum Selection {
    /// `*`
    All,
    Items(Vec<Selector>),
}

/// One result column.
#[derive(Debug, Clone, PartialEq)]
pub struct Selector {
    pub expression: Selectable,
    pub alias: Option<Name>,
}

/// What `writetime`, `maxwritetime` and `ttl` tell about a cell.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CellFact {
    WriteTime,
    MaxWriteTime,
    Ttl,
}

impl CellFact {
    pub fn name(self) -> &'static str {
        match self {
            CellFact::WriteTime => "writetime",
            CellFact::MaxWriteTime => "maxwritetime",
            CellFact::Ttl => "ttl",
        }
    }
}

/// An expression over the columns of a row. Like a [`Term`], but columns may take part.
#[derive(Debug, Clone, PartialEq)]
pub enum Selectable {
    Column(Name),
    Literal(Literal),
    Marker(Marker),
    /// `COUNT(*)`
    CountRows,
    /// `WRITETIME(c)`, `MAXWRITETIME(c)`, `TTL(c)`; `of` is a column, possibly with `.field`, `[element]` or `[slice]` behind it.
    CellFact {
        fact: CellFact,
        of: Box<Selectable>,
    },
    /// `CAST(expression AS type)`
    Cast {
        expression: Box<Selectable>,
        to: NativeType,
    },
    Function {
        name: QualifiedName,
        arguments: Vec<Selectable>,
    },
    /// `of.field`
    Field {
        of: Box<Selectable>,
        field: Name,
    },
    /// `of[key]`
    Element {
        of: Box<Selectable>,
        key: Box<Term>,
    },
    /// `of[from..to]`; at least one end is given.
    Slice {
        of: Box<Selectable>,
        from: Option<Box<Term>>,
        to: Option<Box<Term>>,
    },
    /// `(type) expression`
    TypeHint {
        to: Type,
        expression: Box<Selectable>,
    },
    /// `(a)` or `(a, b)`: one expression in parentheses, or a tuple; never empty.
    Tuple(Vec<Selectable>),
    /// `[a, b]`
    List(Vec<Selectable>),
    /// `{a, b}`
    Set(Vec<Selectable>),
    /// `{a: b}`: a map, or a user-defined type if the keys are names; never empty.
    Map(Vec<(Selectable, Selectable)>),
    /// Left-associative; an operand never is a looser operation unless it stands in a [`Selectable::Tuple`] of one.
    Arithmetic {
        operator: Arithmetic,
        left: Box<Selectable>,
        right: Box<Selectable>,
    },
    Negation(Box<Selectable>),
}

/// A comparison.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

impl Operator {
    pub fn symbol(self) -> &'static str {
        match self {
            Operator::Equal => "=",
            Operator::NotEqual => "!=",
            Operator::Less => "<",
            Operator::LessOrEqual => "<=",
            Operator::Greater => ">",
            Operator::GreaterOrEqual => ">=",
        }
    }
}

/// The right side of IN.
#[derive(Debug, Clone, PartialEq)]
pub enum InValues {
    /// `IN (a, b)`; may be empty.
    Terms(Vec<Term>),
    /// `IN ?`: the whole list is bound.
    Marker(Marker),
}

/// One condition of a WHERE clause; they are joined by AND.
#[derive(Debug, Clone, PartialEq)]
pub enum Relation {
    /// `c = term`
    Column {
        column: Name,
        operator: Operator,
        value: Term,
    },
    /// `c [NOT] IN ...`
    In {
        column: Name,
        negated: bool,
        values: InValues,
    },
    /// `c BETWEEN low AND high`
    Between { column: Name, low: Term, high: Term },
    /// `c [NOT] CONTAINS [KEY] term`
    Contains {
        column: Name,
        negated: bool,
        key: bool,
        value: Term,
    },
    /// `c LIKE term`
    Like { column: Name, pattern: Term },
    /// `c IS NOT NULL`
    IsNotNull { column: Name },
    /// `m[key] = term`
    Element {
        column: Name,
        key: Term,
        operator: Operator,
        value: Term,
    },
    /// `token(a, b) > term`
    Token {
        columns: Vec<Name>,
        operator: Operator,
        value: Term,
    },
    /// `token(a, b) BETWEEN low AND high`
    TokenBetween {
        columns: Vec<Name>,
        low: Term,
        high: Term,
    },
    /// `(a, b) > (1, 2)` or `(a, b) > ?`
    Tuple {
        columns: Vec<Name>,
        operator: Operator,
        value: Term,
    },
    /// `(a, b) [NOT] IN ((1, 2), (3, 4))`, `IN (?, ?)`, `IN ?` or `IN ()`
    TupleIn {
        columns: Vec<Name>,
        negated: bool,
        values: InValues,
    },
    /// `(a, b) BETWEEN (1, 2) AND (3, 4)`
    TupleBetween {
        columns: Vec<Name>,
        low: Term,
        high: Term,
    },
    /// `expr(index, term)`: a custom index's own language.
    CustomIndex { index: Name, value: Term },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Direction {
    Ascending,
    Descending,
}

/// One item of ORDER BY.
#[derive(Debug, Clone, PartialEq)]
pub struct Ordering {
    pub by: OrderingKey,
    pub direction: Direction,
}

#[derive(Debug, Clone, PartialEq)]
pub enum OrderingKey {
    Column(Name),
    /// `v ANN OF [0.1, 0.2]`
    Ann {
        column: Name,
        near: Term,
    },
}
