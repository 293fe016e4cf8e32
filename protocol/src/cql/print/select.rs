//! SELECT, relations and DESCRIBE.

use std::fmt::{self, Display, Formatter};

use super::{Commas, FunctionName, TypeName, when, write_separated};
use crate::cql::ast::{
    Describe, DescribeTarget, Direction, InValues, Ordering, OrderingKey, Relation, Select,
    Selectable, Selection, Selector,
};

impl Display for Select {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("SELECT ")?;
        f.write_str(when(self.json, "JSON "))?;
        f.write_str(when(self.distinct, "DISTINCT "))?;
        write!(f, "{} FROM {}", self.selection, self.table)?;
        if !self.relations.is_empty() {
            f.write_str(" WHERE ")?;
            write_relations(f, &self.relations)?;
        }
        if !self.group_by.is_empty() {
            write!(f, " GROUP BY {}", Commas(&self.group_by))?;
        }
        if !self.order_by.is_empty() {
            write!(f, " ORDER BY {}", Commas(&self.order_by))?;
        }
        if let Some(limit) = &self.per_partition_limit {
            write!(f, " PER PARTITION LIMIT {limit}")?;
        }
        if let Some(limit) = &self.limit {
            write!(f, " LIMIT {limit}")?;
        }
        f.write_str(when(self.allow_filtering, " ALLOW FILTERING"))
    }
}

pub(super) fn write_relations(f: &mut Formatter<'_>, relations: &[Relation]) -> fmt::Result {
    write_separated(f, relations, " AND ", |relation, f| relation.fmt(f))
}

impl Display for Selection {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Selection::All => f.write_str("*"),
            Selection::Items(items) => Commas(items).fmt(f),
        }
    }
}

impl Display for Selector {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        self.expression.fmt(f)?;
        match &self.alias {
            Some(alias) => write!(f, " AS {alias}"),
            None => Ok(()),
        }
    }
}

impl Display for Selectable {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            // These would modify what follows, or look as if.
            Selectable::Column(name) if matches!(name.as_str(), "json" | "distinct" | "as") => {
                name.write_quoted(f)
            }
            Selectable::Column(name) => name.fmt(f),
            Selectable::Literal(literal) => literal.fmt(f),
            Selectable::Marker(marker) => marker.fmt(f),
            Selectable::CountRows => f.write_str("COUNT(*)"),
            Selectable::CellFact { fact, of } => {
                write!(f, "{}({of})", fact.name().to_ascii_uppercase())
            }
            Selectable::Cast { expression, to } => write!(f, "CAST({expression} AS {to})"),
            Selectable::Function { name, arguments } => {
                write!(f, "{}({})", FunctionName(name), Commas(arguments))
            }
            Selectable::Field { of, field } => write!(f, "{of}.{field}"),
            Selectable::Element { of, key } => write!(f, "{of}[{key}]"),
            Selectable::Slice { of, from, to } => {
                write!(f, "{of}[")?;
                if let Some(from) = from {
                    write!(f, "{from} ")?;
                }
                f.write_str("..")?;
                if let Some(to) = to {
                    write!(f, " {to}")?;
                }
                f.write_str("]")
            }
            Selectable::TypeHint { to, expression } => write!(f, "({to}) {expression}"),
            Selectable::Tuple(items) => write!(f, "({})", Commas(items)),
            Selectable::List(items) => write!(f, "[{}]", Commas(items)),
            Selectable::Set(items) => write!(f, "{{{}}}", Commas(items)),
            Selectable::Map(entries) => {
                f.write_str("{")?;
                write_separated(f, entries, ", ", |(k, v), f| write!(f, "{k}: {v}"))?;
                f.write_str("}")
            }
            Selectable::Arithmetic {
                operator,
                left,
                right,
            } => write!(f, "{left} {} {right}", operator.symbol()),
            // The blank keeps the sign away from digits, which would swallow it.
            Selectable::Negation(of) => write!(f, "- {of}"),
        }
    }
}

impl Display for InValues {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            InValues::Terms(terms) => write!(f, "({})", Commas(terms)),
            InValues::Marker(marker) => marker.fmt(f),
        }
    }
}

impl Display for Relation {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Relation::Column {
                column,
                operator,
                value,
            } => write!(f, "{column} {} {value}", operator.symbol()),
            Relation::In {
                column,
                negated,
                values,
            } => write!(f, "{column} {}IN {values}", when(*negated, "NOT ")),
            Relation::Between { column, low, high } => {
                write!(f, "{column} BETWEEN {low} AND {high}")
            }
            Relation::Contains {
                column,
                negated,
                key,
                value,
            } => write!(
                f,
                "{column} {}CONTAINS {}{value}",
                when(*negated, "NOT "),
                when(*key, "KEY ")
            ),
            Relation::Like { column, pattern } => write!(f, "{column} LIKE {pattern}"),
            Relation::IsNotNull { column } => write!(f, "{column} IS NOT NULL"),
            Relation::Element {
                column,
                key,
                operator,
                value,
            } => write!(f, "{column}[{key}] {} {value}", operator.symbol()),
            Relation::Token {
                columns,
                operator,
                value,
            } => write!(
                f,
                "TOKEN({}) {} {value}",
                Commas(columns),
                operator.symbol()
            ),
            Relation::TokenBetween { columns, low, high } => {
                write!(f, "TOKEN({}) BETWEEN {low} AND {high}", Commas(columns))
            }
            Relation::Tuple {
                columns,
                operator,
                value,
            } => write!(f, "({}) {} {value}", Commas(columns), operator.symbol()),
            Relation::TupleIn {
                columns,
                negated,
                values,
            } => write!(
                f,
                "({}) {}IN {values}",
                Commas(columns),
                when(*negated, "NOT ")
            ),
            Relation::TupleBetween { columns, low, high } => {
                write!(f, "({}) BETWEEN {low} AND {high}", Commas(columns))
            }
            Relation::CustomIndex { index, value } => write!(f, "expr({index}, {value})"),
        }
    }
}

impl Display for Ordering {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.by {
            OrderingKey::Column(column) => column.fmt(f)?,
            OrderingKey::Ann { column, near } => write!(f, "{column} ANN OF {near}")?,
        }
        f.write_str(when(self.direction == Direction::Descending, " DESC"))
    }
}

impl Display for Describe {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "DESCRIBE {}", self.target)?;
        f.write_str(when(self.internals, " WITH INTERNALS"))
    }
}

impl Display for DescribeTarget {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            DescribeTarget::Cluster => f.write_str("CLUSTER"),
            DescribeTarget::Schema { full } => write!(f, "{}SCHEMA", when(*full, "FULL ")),
            DescribeTarget::Keyspaces => f.write_str("KEYSPACES"),
            DescribeTarget::Keyspace { only, keyspace } => {
                write!(f, "{}KEYSPACE", when(*only, "ONLY "))?;
                match keyspace {
                    Some(keyspace) => write!(f, " {keyspace}"),
                    None => Ok(()),
                }
            }
            DescribeTarget::Tables => f.write_str("TABLES"),
            DescribeTarget::Table(name) => write!(f, "TABLE {name}"),
            DescribeTarget::Index(name) => write!(f, "INDEX {name}"),
            DescribeTarget::View(name) => write!(f, "MATERIALIZED VIEW {name}"),
            DescribeTarget::Types => f.write_str("TYPES"),
            DescribeTarget::Type(name) => write!(f, "TYPE {}", TypeName(name)),
            DescribeTarget::Functions => f.write_str("FUNCTIONS"),
            DescribeTarget::Function(name) => write!(f, "FUNCTION {}", FunctionName(name)),
            DescribeTarget::Aggregates => f.write_str("AGGREGATES"),
            DescribeTarget::Aggregate(name) => write!(f, "AGGREGATE {}", FunctionName(name)),
            // A keyword here would be read as one of the above.
            DescribeTarget::Any(name) => {
                let first = name.keyspace.as_ref().unwrap_or(&name.name);
                first.write_quoted(f)?;
                match &name.keyspace {
                    Some(_) => write!(f, ".{}", name.name),
                    None => Ok(()),
                }
            }
        }
    }
}
