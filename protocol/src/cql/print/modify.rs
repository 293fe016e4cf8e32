//! INSERT, UPDATE, DELETE and BATCH.

use std::fmt::{self, Display, Formatter};

use super::select::write_relations;
use super::{Commas, Quoted, when, write_separated};
use crate::cql::ast::{
    Assignment, Attribute, Batch, BatchKind, ColumnCondition, Condition, ConditionTarget,
    ConditionTest, Delete, DeleteTarget, Insert, InsertValues, JsonDefault, JsonValue,
    Modification, Update, Using,
};

impl Display for Modification {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Modification::Insert(insert) => insert.fmt(f),
            Modification::Update(update) => update.fmt(f),
            Modification::Delete(delete) => delete.fmt(f),
        }
    }
}

/// With a blank before it, or nothing.
impl Display for Using {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        if self.attributes.is_empty() {
            return Ok(());
        }
        f.write_str(" USING ")?;
        write_separated(
            f,
            &self.attributes,
            " AND ",
            |attribute, f| match attribute {
                Attribute::Timestamp(term) => write!(f, "TIMESTAMP {term}"),
                Attribute::Ttl(term) => write!(f, "TTL {term}"),
            },
        )
    }
}

impl Display for Insert {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "INSERT INTO {} ", self.table)?;
        match &self.values {
            InsertValues::Columns { columns, terms } => {
                write!(f, "({}) VALUES ({})", Commas(columns), Commas(terms))?;
            }
            InsertValues::Json { value, default } => {
                match value {
                    JsonValue::Text(text) => write!(f, "JSON {}", Quoted(text))?,
                    JsonValue::Marker(marker) => write!(f, "JSON {marker}")?,
                }
                f.write_str(when(*default == JsonDefault::Unset, " DEFAULT UNSET"))?;
            }
        }
        f.write_str(when(self.if_not_exists, " IF NOT EXISTS"))?;
        self.using.fmt(f)
    }
}

impl Display for Update {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "UPDATE {}{} SET {} WHERE ",
            self.table,
            self.using,
            Commas(&self.assignments)
        )?;
        write_relations(f, &self.relations)?;
        self.condition.fmt(f)
    }
}

impl Display for Assignment {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Assignment::Set { column, value } => write!(f, "{column} = {value}"),
            Assignment::Add { column, value } => write!(f, "{column} = {column} + {value}"),
            Assignment::Subtract { column, value } => write!(f, "{column} = {column} - {value}"),
            Assignment::Prepend { column, value } => write!(f, "{column} = {value} + {column}"),
            Assignment::Element { column, key, value } => write!(f, "{column}[{key}] = {value}"),
            Assignment::Field {
                column,
                field,
                value,
            } => write!(f, "{column}.{field} = {value}"),
        }
    }
}

/// With a blank before it, or nothing.
impl Display for Condition {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Condition::None => Ok(()),
            Condition::Exists => f.write_str(" IF EXISTS"),
            Condition::Columns(conditions) => {
                f.write_str(" IF ")?;
                write_separated(f, conditions, " AND ", |condition, f| condition.fmt(f))
            }
        }
    }
}

impl Display for ColumnCondition {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match &self.target {
            ConditionTarget::Column(column) => column.fmt(f)?,
            ConditionTarget::Element(column, key) => write!(f, "{column}[{key}]")?,
            ConditionTarget::Field(column, field) => write!(f, "{column}.{field}")?,
        }
        match &self.test {
            ConditionTest::Compare(operator, term) => write!(f, " {} {term}", operator.symbol()),
            ConditionTest::In(values) => write!(f, " IN {values}"),
            ConditionTest::Contains { key, value } => {
                write!(f, " CONTAINS {}{value}", when(*key, "KEY "))
            }
        }
    }
}

impl Display for Delete {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("DELETE ")?;
        if !self.targets.is_empty() {
            write!(f, "{} ", Commas(&self.targets))?;
        }
        write!(f, "FROM {}{} WHERE ", self.table, self.using)?;
        write_relations(f, &self.relations)?;
        self.condition.fmt(f)
    }
}

impl Display for DeleteTarget {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            DeleteTarget::Column(column) => column.fmt(f),
            DeleteTarget::Element(column, key) => write!(f, "{column}[{key}]"),
            DeleteTarget::Field(column, field) => write!(f, "{column}.{field}"),
        }
    }
}

impl Display for Batch {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            BatchKind::Logged => "",
            BatchKind::Unlogged => "UNLOGGED ",
            BatchKind::Counter => "COUNTER ",
        };
        write!(f, "BEGIN {kind}BATCH{} ", self.using)?;
        for statement in &self.statements {
            write!(f, "{statement}; ")?;
        }
        f.write_str("APPLY BATCH")
    }
}
