//! INSERT, UPDATE and DELETE: which rows, what happens to which column (`assign`), and under which condition (`condition`).

use std::collections::HashSet;
use std::sync::Arc;

use palladium_protocol::cql::ast::{
    Delete, DeleteTarget, Insert, InsertValues, JsonDefault, JsonValue, Name, Operator, Relation,
    Update, Using,
};
use palladium_protocol::types::CqlType;

use super::assign::{assign, field_of};
use super::condition::{CONDITIONAL_TIMESTAMP, PlannedCondition, conditions};
use super::restrict::{Purpose, restrict};
use super::restrictions::{Judge, Partition, Restrictions};
use super::term::{Terms, undefined};
use crate::error::{CqlError, CqlResult};
use crate::query::expression::{Bound, Expression};
use crate::query::json;
use crate::schema::{ColumnKind, TableSchema};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModifyKind {
    Insert,
    Update,
    Delete,
}

/// A modification with names and types settled.
#[derive(Debug)]
pub struct ModifyPlan {
    pub table: Arc<TableSchema>,
    pub kind: ModifyKind,
    pub restrictions: Restrictions,
    /// Column by its place, and what happens to it.
    pub operations: Vec<(usize, Operation)>,
    pub timestamp: Option<Expression>,
    pub ttl: Option<Expression>,
    pub condition: PlannedCondition,
    /// Columns come from a JSON text instead.
    pub json: Option<JsonInsert>,
    /// Nothing but static columns (and the partition key) is touched.
    pub statics_only: bool,
    pub is_counter: bool,
}

/// What happens to one column.
#[derive(Debug, Clone)]
pub enum Operation {
    /// The whole value; null deletes it.
    Set(Expression),
    Delete,
    /// Elements into a set, entries into a map, elements behind a list.
    Append(Expression),
    /// Elements before a list, the last one first.
    Prepend(Expression),
    /// Elements out of a set, keys out of a map (both given as a set), every equal element out of a list.
    Remove(Expression),
    /// `m[key] = value`, `l[index] = value`
    SetElement {
        key: Expression,
        value: Expression,
    },
    /// `DELETE m[key]`, `DELETE l[index]`
    DeleteElement(Expression),
    SetField {
        field: usize,
        value: Expression,
    },
    DeleteField(usize),
    /// Something on top of a number, or behind a text, that is there: only with conditions, so that the row has been read.
    Add(Expression),
    /// A counter's change.
    Count {
        delta: Expression,
        down: bool,
    },
}

/// What INSERT JSON inserts.
#[derive(Debug, Clone)]
pub struct JsonInsert {
    pub document: JsonDocument,
    pub default: JsonDefault,
}

/// The document of INSERT JSON.
#[derive(Debug, Clone)]
pub enum JsonDocument {
    /// Read already: columns by their places.
    Given(Vec<(usize, Bound)>),
    /// A text that comes with each execution.
    Bound(Expression),
}

pub fn insert(
    terms: &mut Terms<'_>,
    table: &Arc<TableSchema>,
    statement: &Insert,
) -> CqlResult<ModifyPlan> {
    let (timestamp, ttl) = using(terms, &statement.using)?;
    if table.is_counter() {
        return Err(CqlError::invalid(
            "INSERT statements are not allowed on counter tables, use UPDATE instead",
        ));
    }
    let condition = match statement.if_not_exists {
        true => PlannedCondition::NotExists,
        false => PlannedCondition::None,
    };
    let (columns, values) = match &statement.values {
        InsertValues::Columns { columns, terms } => (columns, terms),
        InsertValues::Json { value, default } => {
            return insert_json(terms, table, value, *default, (timestamp, ttl), condition);
        }
    };
    if columns.is_empty() {
        return Err(CqlError::invalid("No columns provided to INSERT"));
    }
    if columns.len() != values.len() {
        return Err(CqlError::invalid("Unmatched column names/values"));
    }
    let names: HashSet<&str> = columns.iter().map(Name::as_str).collect();
    if names.len() < columns.len() {
        return Err(CqlError::invalid("The column names contains duplicates"));
    }
    let mut relations = Vec::new();
    let mut operations = Vec::new();
    let mut clustering = false;
    let mut regulars = false;
    for (name, value) in columns.iter().zip(values) {
        let index = table
            .column_index(name.as_str())
            .ok_or_else(|| undefined(table, name))?;
        let column = &table.columns[index];
        if column.kind.is_primary_key() {
            clustering |= column.kind == ColumnKind::Clustering;
            relations.push(Relation::Column {
                column: name.clone(),
                operator: Operator::Equal,
                value: value.clone(),
            });
        } else {
            regulars |= column.kind == ColumnKind::Regular;
            operations.push((
                index,
                Operation::Set(terms.term(value, &column.name, &column.ty)?),
            ));
        }
    }
    if table.compact
        && !regulars
        && let [first, ..] = table.regular_columns()
    {
        return Err(CqlError::invalid(match table.clustering.is_empty() {
            true => "Some clustering keys are missing: column1".to_owned(),
            false => format!(
                "Column {} is mandatory for this COMPACT STORAGE table",
                first.name
            ),
        }));
    }
    let statics_only =
        !clustering && !regulars && !operations.is_empty() && !table.clustering.is_empty();
    let restrictions = restrict(terms, table, &relations, Purpose::Insert, statics_only)?;
    check_condition(table, &condition, &timestamp)?;
    Ok(ModifyPlan {
        table: table.clone(),
        kind: ModifyKind::Insert,
        restrictions,
        operations,
        timestamp,
        ttl,
        condition,
        json: None,
        statics_only,
        is_counter: false,
    })
}

fn insert_json(
    terms: &mut Terms<'_>,
    table: &Arc<TableSchema>,
    value: &JsonValue,
    default: JsonDefault,
    (timestamp, ttl): (Option<Expression>, Option<Expression>),
    condition: PlannedCondition,
) -> CqlResult<ModifyPlan> {
    let document = match value {
        JsonValue::Text(text) => JsonDocument::Given(json::given(table, text.as_bytes())?),
        JsonValue::Marker(marker) => {
            JsonDocument::Bound(terms.marker(marker, "[json]", &CqlType::Text))
        }
    };
    check_condition(table, &condition, &timestamp)?;
    Ok(ModifyPlan {
        table: table.clone(),
        kind: ModifyKind::Insert,
        restrictions: Restrictions {
            partition: Partition::All,
            clustering: Vec::new(),
            filters: Vec::new(),
            is_full_clustering: true,
            restricts_rows: false,
            index: None,
            asks_index: false,
            tried_clustering: Vec::new(),
            judge: Judge::Any,
            restricts_partition: true,
            lists_keys: false,
            token: None,
            needs_filtering: false,
        },
        operations: Vec::new(),
        timestamp,
        ttl,
        condition,
        json: Some(JsonInsert { document, default }),
        statics_only: false,
        is_counter: false,
    })
}

pub fn update(
    terms: &mut Terms<'_>,
    table: &Arc<TableSchema>,
    statement: &Update,
) -> CqlResult<ModifyPlan> {
    let is_counter = table.is_counter();
    // Markers are numbered by the parser, so the order here is free: it is that in which Cassandra finds mistakes.
    let (timestamp, ttl) = using(terms, &statement.using)?;
    let condition = conditions(terms, table, &statement.condition, &timestamp)?;
    let mut operations: Vec<(usize, Operation)> = Vec::new();
    for assignment in &statement.assignments {
        let name = assignment.column();
        let index = table
            .column_index(name.as_str())
            .ok_or_else(|| undefined(table, name))?;
        let column = &table.columns[index];
        if column.kind.is_primary_key() {
            let name = name.as_str();
            return Err(CqlError::invalid(format!(
                "PRIMARY KEY part {name} found in SET part"
            )));
        }
        let operation = assign(terms, column, assignment, condition.is_some())?;
        let whole =
            |operation: &Operation| matches!(operation, Operation::Set(_) | Operation::Delete);
        let clash = operations
            .iter()
            .any(|(own, before)| *own == index && (whole(before) || whole(&operation)));
        if clash {
            return Err(CqlError::invalid(format!(
                "Multiple incompatible setting of column {name}"
            )));
        }
        operations.push((index, operation));
    }
    let statics_only = only_statics(table, &operations, &condition);
    let restrictions = restrict(
        terms,
        table,
        &statement.relations,
        Purpose::Update,
        statics_only,
    )?;
    check_condition(table, &condition, &timestamp)?;
    Ok(ModifyPlan {
        table: table.clone(),
        kind: ModifyKind::Update,
        restrictions,
        operations,
        timestamp,
        ttl,
        condition,
        json: None,
        statics_only,
        is_counter,
    })
}

pub fn delete(
    terms: &mut Terms<'_>,
    table: &Arc<TableSchema>,
    statement: &Delete,
) -> CqlResult<ModifyPlan> {
    let (timestamp, ttl) = using(terms, &statement.using)?;
    let condition = conditions(terms, table, &statement.condition, &timestamp)?;
    let mut operations = Vec::new();
    for target in &statement.targets {
        let (DeleteTarget::Column(name)
        | DeleteTarget::Element(name, _)
        | DeleteTarget::Field(name, _)) = target;
        let index = table
            .column_index(name.as_str())
            .ok_or_else(|| undefined(table, name))?;
        let column = &table.columns[index];
        let name = name.as_str();
        if column.kind.is_primary_key() {
            return Err(CqlError::invalid(format!(
                "Invalid identifier {name} for deletion (should not be a PRIMARY KEY part)"
            )));
        }
        let operation = match target {
            DeleteTarget::Column(_) => Operation::Delete,
            DeleteTarget::Element(_, key) => {
                let key_type = match &column.ty {
                    CqlType::List(_) => CqlType::Int,
                    CqlType::Set(element) => (**element).clone(),
                    CqlType::Map(key, _) => (**key).clone(),
                    CqlType::Frozen(inner) if inner.is_collection() => {
                        return Err(CqlError::invalid(format!(
                            "Invalid deletion operation for frozen collection column {name}"
                        )));
                    }
                    _ => {
                        return Err(CqlError::invalid(format!(
                            "Invalid deletion operation for non collection column {name}"
                        )));
                    }
                };
                let prefix = match column.ty {
                    CqlType::List(_) => "idx",
                    CqlType::Set(_) => "value",
                    _ => "key",
                };
                Operation::DeleteElement(terms.term(
                    key,
                    &format!("{prefix}({name})"),
                    &key_type,
                )?)
            }
            DeleteTarget::Field(_, field) => {
                let refused = match column.ty.bare() {
                    CqlType::Udt(_) => {
                        format!("Frozen UDT column {name} does not support field deletions")
                    }
                    _ => format!("Invalid field deletion operation for non-UDT column {name}"),
                };
                Operation::DeleteField(field_of(column, field, refused)?.0)
            }
        };
        operations.push((index, operation));
    }
    let statics_only = only_statics(table, &operations, &condition);
    let restrictions = restrict(
        terms,
        table,
        &statement.relations,
        Purpose::Delete,
        statics_only,
    )?;
    check_condition(table, &condition, &timestamp)?;
    let regular = |index: usize| table.columns[index].kind == ColumnKind::Regular;
    let regulars = operations.iter().any(|(index, _)| regular(*index));
    if condition.is_some() && !restrictions.is_full_clustering {
        if operations.is_empty() || regulars {
            return Err(CqlError::invalid(
                "DELETE statements must restrict all PRIMARY KEY columns with equality relations in order to delete non \
                 static columns",
            ));
        }
        let tests_rows = match &condition {
            PlannedCondition::Columns(tests) => tests.iter().any(|test| regular(test.column)),
            _ => false,
        };
        if tests_rows {
            return Err(CqlError::invalid(
                "DELETE statements must restrict all PRIMARY KEY columns with equality relations in order to use IF \
                 condition on non static columns",
            ));
        }
    }
    Ok(ModifyPlan {
        table: table.clone(),
        kind: ModifyKind::Delete,
        restrictions,
        operations,
        timestamp,
        ttl,
        condition,
        json: None,
        statics_only,
        is_counter: table.is_counter(),
    })
}

/// Whether a statement changes static columns, and neither changes nor tests any other. One without operations deletes rows.
fn only_statics(
    table: &TableSchema,
    operations: &[(usize, Operation)],
    condition: &PlannedCondition,
) -> bool {
    let is_static = |index: usize| table.columns[index].kind == ColumnKind::Static;
    let tests = match condition {
        PlannedCondition::Columns(tests) => tests.as_slice(),
        _ => &[],
    };
    !operations.is_empty()
        && operations.iter().all(|(index, _)| is_static(*index))
        && tests.iter().all(|test| is_static(test.column))
}

/// TIMESTAMP and TTL of USING.
fn using(
    terms: &mut Terms<'_>,
    using: &Using,
) -> CqlResult<(Option<Expression>, Option<Expression>)> {
    let timestamp = using
        .timestamp()
        .map(|term| terms.term(term, "[timestamp]", &CqlType::Bigint))
        .transpose()?;
    let ttl = using
        .ttl()
        .map(|term| terms.term(term, "[ttl]", &CqlType::Int))
        .transpose()?;
    Ok((timestamp, ttl))
}

/// What a condition does not go together with; said after all else was understood.
fn check_condition(
    table: &TableSchema,
    condition: &PlannedCondition,
    timestamp: &Option<Expression>,
) -> CqlResult<()> {
    let refused = match (condition.is_some(), table.is_counter()) {
        (true, true) => "Conditional updates are not supported on counter tables",
        (true, false) if timestamp.is_some() => CONDITIONAL_TIMESTAMP,
        _ => return Ok(()),
    };
    Err(CqlError::invalid(refused))
}

impl ModifyPlan {
    /// What a counter does not go together with.
    pub(super) fn check_counter(&self) -> CqlResult<()> {
        let refused = match self.table.is_counter() {
            true if self.timestamp.is_some() => {
                "Cannot provide custom timestamp for counter updates"
            }
            true if self.ttl.is_some() => "Cannot provide custom TTL for counter updates",
            _ => return Ok(()),
        };
        Err(CqlError::invalid(refused))
    }
}
