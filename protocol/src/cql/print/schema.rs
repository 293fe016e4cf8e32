//! Keyspaces, types, indexes, views, functions, aggregates, triggers, and properties.

use std::fmt::{self, Display, Formatter};

use super::select::write_relations;
use super::table::write_options;
use super::{Commas, FunctionIdent, FunctionName, Quoted, TypeName, when, write_separated};
use crate::cql::ast::{
    AlterKeyspace, AlterType, AlterTypeAction, CreateAggregate, CreateFunction, CreateIndex,
    CreateKeyspace, CreateTrigger, CreateType, CreateView, DropAggregate, DropFunction, DropIndex,
    DropKeyspace, DropTrigger, DropType, DropView, IndexTarget, IndexTargetKind, KeyspaceAction,
    Literal, Name, Property, PropertyValue, QualifiedName, Type,
};

pub(super) const IF_EXISTS: &str = "IF EXISTS ";
pub(super) const IF_NOT_EXISTS: &str = "IF NOT EXISTS ";

impl Display for Property {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "{} = {}", self.name, self.value)
    }
}

impl Display for PropertyValue {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            PropertyValue::Literal(literal) => literal.fmt(f),
            PropertyValue::Word(word) => f.write_str(word),
            PropertyValue::Map(map) => Map(map).fmt(f),
        }
    }
}

/// `{'k': 'v'}`
pub(super) struct Map<'a>(pub &'a [(Literal, PropertyValue)]);

impl Display for Map<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        f.write_str("{")?;
        write_separated(f, self.0, ", ", |(k, v), f| write!(f, "{k}: {v}"))?;
        f.write_str("}")
    }
}

/// ` WITH a = 1 AND b = 2`, or nothing.
pub(super) fn write_properties(f: &mut Formatter<'_>, properties: &[Property]) -> fmt::Result {
    if properties.is_empty() {
        return Ok(());
    }
    f.write_str(" WITH ")?;
    write_separated(f, properties, " AND ", |property, f| property.fmt(f))
}

/// `a TO b AND c TO d`
pub(super) fn write_renames(f: &mut Formatter<'_>, renames: &[(Name, Name)]) -> fmt::Result {
    write_separated(f, renames, " AND ", |(from, to), f| {
        write!(f, "{from} TO {to}")
    })
}

impl Display for CreateKeyspace {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let guard = when(self.if_not_exists, IF_NOT_EXISTS);
        write!(f, "CREATE KEYSPACE {guard}{}", self.keyspace)?;
        write_properties(f, &self.properties)
    }
}

impl Display for AlterKeyspace {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let guard = when(self.if_exists, IF_EXISTS);
        write!(f, "ALTER KEYSPACE {guard}{}", self.keyspace)?;
        match &self.action {
            KeyspaceAction::With(properties) => write_properties(f, properties),
            KeyspaceAction::AddTags(tags) => write!(f, " ADD TAGS {}", Map(tags)),
            KeyspaceAction::DropTags(tags) => write!(f, " DROP TAGS {}", Map(tags)),
        }
    }
}

impl Display for DropKeyspace {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let guard = when(self.if_exists, IF_EXISTS);
        write!(f, "DROP KEYSPACE {guard}{}", self.keyspace)
    }
}

impl Display for CreateType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let guard = when(self.if_not_exists, IF_NOT_EXISTS);
        write!(f, "CREATE TYPE {guard}{} (", TypeName(&self.name))?;
        write_separated(f, &self.fields, ", ", |(name, of), f| {
            write!(f, "{name} {of}")
        })?;
        f.write_str(")")
    }
}

impl Display for AlterType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let guard = when(self.if_exists, IF_EXISTS);
        write!(f, "ALTER TYPE {guard}{} ", TypeName(&self.name))?;
        match &self.action {
            AlterTypeAction::Alter { field, to } => write!(f, "ALTER {field} TYPE {to}"),
            AlterTypeAction::Add {
                if_not_exists,
                field,
                of,
            } => write!(f, "ADD {}{field} {of}", when(*if_not_exists, IF_NOT_EXISTS)),
            AlterTypeAction::Rename { if_exists, renames } => {
                write!(f, "RENAME {}", when(*if_exists, IF_EXISTS))?;
                write_renames(f, renames)
            }
        }
    }
}

impl Display for DropType {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let guard = when(self.if_exists, IF_EXISTS);
        write!(f, "DROP TYPE {guard}{}", TypeName(&self.name))
    }
}

impl Display for CreateIndex {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "CREATE {}INDEX {}",
            when(self.custom, "CUSTOM "),
            when(self.if_not_exists, IF_NOT_EXISTS)
        )?;
        if let Some(name) = &self.name {
            write!(f, "{name} ")?;
        }
        write!(f, "ON {} ({})", self.table, Commas(&self.targets))?;
        if let Some(class) = &self.class {
            write!(f, " USING {}", Quoted(class))?;
        }
        write_properties(f, &self.properties)
    }
}

impl Display for IndexTarget {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let column = &self.column;
        match self.kind {
            IndexTargetKind::Simple => write!(f, "{column}"),
            IndexTargetKind::Values => write!(f, "VALUES({column})"),
            IndexTargetKind::Keys => write!(f, "KEYS({column})"),
            IndexTargetKind::Entries => write!(f, "ENTRIES({column})"),
            IndexTargetKind::Full => write!(f, "FULL({column})"),
        }
    }
}

impl Display for DropIndex {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let guard = when(self.if_exists, IF_EXISTS);
        write!(f, "DROP INDEX {guard}{}", self.name)
    }
}

impl Display for CreateView {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "CREATE MATERIALIZED VIEW {}{} AS SELECT {} FROM {}",
            when(self.if_not_exists, IF_NOT_EXISTS),
            self.view,
            self.selection,
            self.table
        )?;
        if !self.relations.is_empty() {
            f.write_str(" WHERE ")?;
            write_relations(f, &self.relations)?;
        }
        write!(f, " {}", self.primary_key)?;
        write_options(f, &self.options)
    }
}

impl Display for DropView {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let guard = when(self.if_exists, IF_EXISTS);
        write!(f, "DROP MATERIALIZED VIEW {guard}{}", self.view)
    }
}

impl Display for CreateFunction {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "CREATE {}FUNCTION {}{}(",
            when(self.or_replace, "OR REPLACE "),
            when(self.if_not_exists, IF_NOT_EXISTS),
            FunctionName(&self.name)
        )?;
        write_separated(f, &self.arguments, ", ", |(name, of), f| {
            write!(f, "{name} {of}")
        })?;
        let on_null = match self.called_on_null {
            true => "CALLED",
            false => "RETURNS NULL",
        };
        write!(
            f,
            ") {on_null} ON NULL INPUT RETURNS {} LANGUAGE {} AS {}",
            self.returns,
            self.language,
            Quoted(&self.body)
        )
    }
}

fn write_signature(
    f: &mut Formatter<'_>,
    name: &QualifiedName,
    arguments: Option<&Vec<Type>>,
) -> fmt::Result {
    FunctionName(name).fmt(f)?;
    match arguments {
        Some(arguments) => write!(f, "({})", Commas(arguments)),
        None => Ok(()),
    }
}

impl Display for DropFunction {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "DROP FUNCTION {}", when(self.if_exists, IF_EXISTS))?;
        write_signature(f, &self.name, self.arguments.as_ref())
    }
}

impl Display for CreateAggregate {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "CREATE {}AGGREGATE {}",
            when(self.or_replace, "OR REPLACE "),
            when(self.if_not_exists, IF_NOT_EXISTS)
        )?;
        write_signature(f, &self.name, Some(&self.arguments))?;
        let state_function = FunctionIdent(&self.state_function);
        write!(f, " SFUNC {state_function} STYPE {}", self.state_type)?;
        if let Some(function) = &self.final_function {
            write!(f, " FINALFUNC {}", FunctionIdent(function))?;
        }
        match &self.initial {
            Some(term) => write!(f, " INITCOND {term}"),
            None => Ok(()),
        }
    }
}

impl Display for DropAggregate {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(f, "DROP AGGREGATE {}", when(self.if_exists, IF_EXISTS))?;
        write_signature(f, &self.name, self.arguments.as_ref())
    }
}

impl Display for CreateTrigger {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "CREATE TRIGGER {}{} ON {} USING {}",
            when(self.if_not_exists, IF_NOT_EXISTS),
            self.name,
            self.table,
            Quoted(&self.class)
        )
    }
}

impl Display for DropTrigger {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let guard = when(self.if_exists, IF_EXISTS);
        write!(f, "DROP TRIGGER {guard}{} ON {}", self.name, self.table)
    }
}
