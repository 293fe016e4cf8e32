//! A statement gets its meaning: names are looked up in one snapshot of the catalog, values get types, and what makes no
//! sense is refused in Cassandra's words.
//!
//! Read on in `term` (values; `calls`, `arithmetic`, `parts`, `construct`, `natural`, `literal` and `name` beside it), `gather`, `said` and `restrict` (WHERE; `key` and `restrictions` beside it), then `select` (with `groups`) and `modify` (with `assign` and `condition`).
//!
//! What must hold: analysis reads no table and no clock. Its result can be kept as long as the table it was made for is the
//! one in the catalog.

mod arithmetic;
mod assign;
mod calls;
mod condition;
mod construct;
mod gather;
mod groups;
pub mod indexes;
mod key;
pub mod literal;
mod modify;
pub mod name;
mod natural;
pub mod nearest;
pub mod parts;
pub mod restrict;
pub mod restrictions;
mod said;
pub mod select;
pub mod term;

use std::sync::Arc;

use bytes::Bytes;
use palladium_protocol::cql::ast::{self, BatchKind, Modification, QualifiedName, Statement, Term};
use palladium_protocol::types::CqlType;

use self::term::{Markers, Terms};
use super::expression::{Expression, Scope};
use super::functions::{Fit, Moment, is_assignable};
use crate::error::{CqlError, CqlResult};
use crate::schema::catalog::NO_KEYSPACE;
use crate::schema::change::written;
use crate::schema::{Catalog, KeyspaceKind, TableKind, TableSchema};

pub use condition::{ColumnTest, ConditionKind, PlannedCondition, TestTarget};
pub use modify::{JsonDocument, JsonInsert, ModifyKind, ModifyPlan, Operation};
pub use select::{SelectPlan, result_specs};

/// A statement whose names and types are settled.
#[derive(Debug)]
pub struct Checked {
    pub body: Body,
    pub markers: Markers,
}

#[derive(Debug)]
pub enum Body {
    Select(Box<SelectPlan>),
    Modify(Box<ModifyPlan>),
    Batch(BatchPlan),
    Use(String),
    Truncate(Arc<TableSchema>),
    /// Schema, roles, DESCRIBE: executed by their own modules, from the tree.
    Other(Box<Statement>),
}

#[derive(Debug)]
pub struct BatchPlan {
    pub kind: BatchKind,
    pub timestamp: Option<Expression>,
    pub statements: Vec<ModifyPlan>,
}

/// The value of a constant of a type, which stands in no statement.
pub fn constant(of: &ast::Selectable, ty: &CqlType) -> CqlResult<Option<Bytes>> {
    match calls::folded(&of_no_statement(of, ty)?)? {
        Expression::Constant(value) => Ok(value.value()),
        _ => Err(CqlError::server("a constant has no value")),
    }
}

/// Whether a function takes this for an argument of this type, outside of any statement: if not, of which type it is by itself, if of any. `strictly`: only
/// what is of that type by itself, and no other constant that can be read as one.
pub fn fits(
    of: &ast::Selectable,
    ty: &CqlType,
    strictly: bool,
) -> CqlResult<Result<(), Option<CqlType>>> {
    let nowhere = Catalog::default();
    let terms = Terms::new(&nowhere, "system", None);
    construct::check_lists(of, ty)?;
    let own = terms.compatible_type(of);
    let fits = match (of, &own) {
        (_, Some(own)) if strictly => is_assignable(own, ty),
        // What can be calculated is found out when it is.
        (ast::Selectable::Arithmetic { .. } | ast::Selectable::Negation(_), _) => true,
        _ => terms.fit(of, terms.natural_type(of).as_ref(), ty) != Fit::No,
    };
    Ok(if fits { Ok(()) } else { Err(own) })
}

/// What something of this type is at this moment, which stands in no statement.
pub fn value_now(
    of: &ast::Selectable,
    ty: &CqlType,
    moment: &Moment<'_>,
) -> CqlResult<Option<Bytes>> {
    let expression = of_no_statement(of, ty)?;
    let value = expression.evaluate(&Scope::of_moment(moment))?;
    Ok(value.value())
}

fn of_no_statement(of: &ast::Selectable, ty: &CqlType) -> CqlResult<Expression> {
    let nowhere = Catalog::default();
    let mut terms = Terms::new(&nowhere, "system", None);
    let receiver = term::Receiver {
        name: "(dummy)",
        ty,
    };
    let typed = terms.typed(of, Some(receiver))?;
    if !terms.into_markers()?.specs.is_empty() {
        return Err(CqlError::invalid("A marker is no constant"));
    }
    Ok(typed.expression)
}

/// Gives a statement its meaning in a catalog, for a session in `keyspace`.
pub fn analyze(
    statement: Statement,
    catalog: &Catalog,
    keyspace: Option<&str>,
) -> CqlResult<Checked> {
    let table_of = |name: &QualifiedName| table(catalog, keyspace, name);
    match &statement {
        Statement::Select(select) => {
            let table = table_of(&select.table)?;
            let (plan, markers) = select::select(catalog, &table, select, false)?;
            Ok(Checked {
                body: Body::Select(Box::new(plan)),
                markers,
            })
        }
        Statement::Insert(insert) => {
            let table = table_of(&insert.table)?;
            let mut terms = Terms::new(catalog, &table.keyspace, Some(&table));
            let plan = modify::insert(&mut terms, &table, insert)?;
            modification(plan, terms.into_markers()?)
        }
        Statement::Update(update) => {
            let table = table_of(&update.table)?;
            let mut terms = Terms::new(catalog, &table.keyspace, Some(&table));
            let plan = modify::update(&mut terms, &table, update)?;
            modification(plan, terms.into_markers()?)
        }
        Statement::Delete(delete) => {
            let table = table_of(&delete.table)?;
            let mut terms = Terms::new(catalog, &table.keyspace, Some(&table));
            let plan = modify::delete(&mut terms, &table, delete)?;
            modification(plan, terms.into_markers()?)
        }
        Statement::Batch(batch) => self::batch(catalog, keyspace, batch),
        Statement::Use(name) => Ok(without_markers(Body::Use(name.as_str().to_owned()))),
        Statement::Truncate(name) => {
            let table = table_of(name)?;
            if table.view.is_some() {
                return Err(CqlError::invalid(
                    "Cannot TRUNCATE materialized view directly; must truncate base table instead",
                ));
            }
            if table.kind == TableKind::Virtual {
                return Err(match table.keyspace.starts_with("system_v") {
                    true => CqlError::invalid(format!(
                        "Truncation is not supported by table {}",
                        table.full_name()
                    )),
                    false => CqlError::unauthorized(format!(
                        "{} keyspace is not user-modifiable.",
                        table.keyspace
                    )),
                });
            }
            if table.kind == TableKind::System {
                return Err(CqlError::unauthorized(format!(
                    "{} keyspace is not user-modifiable.",
                    table.keyspace
                )));
            }
            Ok(without_markers(Body::Truncate(table)))
        }
        _ => {
            written::check(&statement, keyspace)?;
            Ok(without_markers(Body::Other(Box::new(statement))))
        }
    }
}

/// A SELECT as those see it who may not see behind masks, and the masked columns that it restricts. None: it has no masked columns to show or to restrict.
pub fn masked(
    statement: &Statement,
    catalog: &Catalog,
    keyspace: Option<&str>,
) -> CqlResult<Option<(Checked, Vec<String>)>> {
    let Statement::Select(select) = statement else {
        return Ok(None);
    };
    let table = table(catalog, keyspace, &select.table)?;
    if !table.has_masks() {
        return Ok(None);
    }
    let (plan, markers) = select::select(catalog, &table, select, true)?;
    let restricted = plan.restrictions.columns(&table);
    // An order tells of values as a condition does.
    let ordered = plan.nearest.iter().map(|near| near.column);
    let mut restricted: Vec<String> = restricted
        .into_iter()
        .chain(ordered)
        .map(|index| &table.columns[index])
        .filter(|column| column.mask.is_some())
        .map(|column| column.name.clone())
        .collect();
    restricted.dedup();
    let checked = Checked {
        body: Body::Select(Box::new(plan)),
        markers,
    };
    Ok(Some((checked, restricted)))
}

fn without_markers(body: Body) -> Checked {
    Checked {
        body,
        markers: Markers::default(),
    }
}

fn modification(plan: ModifyPlan, markers: Markers) -> CqlResult<Checked> {
    check_modification(&plan)?;
    Ok(Checked {
        body: Body::Modify(Box::new(plan)),
        markers,
    })
}

/// The table a name means, or Cassandra's error.
pub fn table(
    catalog: &Catalog,
    session: Option<&str>,
    name: &QualifiedName,
) -> CqlResult<Arc<TableSchema>> {
    let keyspace = match (&name.keyspace, session) {
        (Some(keyspace), _) => keyspace.as_str(),
        (None, Some(session)) => session,
        (None, None) => return Err(CqlError::invalid(NO_KEYSPACE)),
    };
    catalog.require_table(keyspace, name.name.as_str()).cloned()
}

/// Whether the statement goes together with what it counts. As in Cassandra it is asked last, and of a query only when its values are counted.
pub fn check_counters(body: &Body) -> CqlResult<()> {
    match body {
        Body::Modify(plan) => plan.check_counter(),
        Body::Batch(batch) => batch
            .statements
            .iter()
            .try_for_each(ModifyPlan::check_counter),
        _ => Ok(()),
    }
}

/// Whether the table may be modified: asked in a batch once all of its statements are understood and fit together.
fn check_modification(plan: &ModifyPlan) -> CqlResult<()> {
    let table = &plan.table;
    if table.view.is_some() {
        return Err(CqlError::invalid(
            "Cannot directly modify a materialized view",
        ));
    }
    match table.kind {
        TableKind::User => Ok(()),
        TableKind::Virtual if crate::schema::system::is_writable(table) => Ok(()),
        TableKind::Virtual if table.keyspace.starts_with("system_v") => Err(CqlError::invalid(
            "Modification is not supported by table ".to_owned() + &table.full_name(),
        )),
        TableKind::System | TableKind::Virtual => Err(CqlError::unauthorized(format!(
            "{} keyspace is not user-modifiable.",
            table.keyspace
        ))),
    }
}

/// Whether the statement names tables, each of them with its keyspace.
pub fn is_qualified(statement: &Statement) -> bool {
    let names: Vec<&QualifiedName> = match statement {
        Statement::Select(select) => vec![&select.table],
        Statement::Insert(insert) => vec![&insert.table],
        Statement::Update(update) => vec![&update.table],
        Statement::Delete(delete) => vec![&delete.table],
        Statement::Truncate(table) => vec![table],
        Statement::Batch(batch) => batch.statements.iter().map(name_of).collect(),
        _ => return false,
    };
    names.iter().all(|name| name.keyspace.is_some())
}

fn name_of(modification: &Modification) -> &QualifiedName {
    match modification {
        Modification::Insert(insert) => &insert.table,
        Modification::Update(update) => &update.table,
        Modification::Delete(delete) => &delete.table,
    }
}

fn batch(catalog: &Catalog, keyspace: Option<&str>, batch: &ast::Batch) -> CqlResult<Checked> {
    let session = keyspace.unwrap_or_default();
    let mut markers = Vec::new();
    let mut key_markers = Vec::new();
    let mut statements = Vec::with_capacity(batch.statements.len());
    for one in &batch.statements {
        let table = self::table(catalog, keyspace, name_of(one))?;
        let mut terms = Terms::new(catalog, &table.keyspace, Some(&table)).with_markers(markers);
        statements.push(match one {
            Modification::Insert(insert) => modify::insert(&mut terms, &table, insert)?,
            Modification::Update(update) => modify::update(&mut terms, &table, update)?,
            Modification::Delete(delete) => modify::delete(&mut terms, &table, delete)?,
        });
        markers = terms.take_markers();
        key_markers.append(&mut terms.key_markers);
    }
    let mut terms = Terms::new(catalog, session, None).with_markers(markers);
    let timestamp = batch.using.timestamp();
    let timestamp = timestamp
        .map(|term| terms.term(term, "[timestamp]", &CqlType::Bigint))
        .transpose()?;
    if let Some(Term::Marker(marker)) = batch.using.timestamp() {
        terms.name_place(marker, "[batch]");
    }
    if batch.using.ttl().is_some() {
        return Err(CqlError::invalid(
            "Global TTL on the BATCH statement is not supported.",
        ));
    }
    check_batch(
        batch.kind,
        &statements.iter().collect::<Vec<_>>(),
        timestamp.is_some(),
    )?;
    // Statements for one table are routed by their markers together.
    let first = statements.first().map(|plan| plan.table.clone());
    let one_table = first.filter(|table| statements.iter().all(|plan| plan.table.id == table.id));
    let markers = terms.take_markers();
    let mut terms = Terms::new(catalog, session, one_table.as_deref()).with_markers(markers);
    terms.key_markers = key_markers;
    let markers = terms.into_markers()?;
    statements.iter().try_for_each(check_modification)?;
    Ok(Checked {
        body: Body::Batch(BatchPlan {
            kind: batch.kind,
            timestamp,
            statements,
        }),
        markers,
    })
}

/// What may stand together in one batch.
pub fn check_batch(kind: BatchKind, statements: &[&ModifyPlan], timestamp: bool) -> CqlResult<()> {
    let conditional = statements
        .iter()
        .any(|statement| statement.condition.is_some());
    if timestamp && conditional {
        return Err(CqlError::invalid(
            "Cannot provide custom timestamp for conditional BATCH",
        ));
    }
    if timestamp && kind == BatchKind::Counter {
        return Err(CqlError::invalid(
            "Cannot provide custom timestamp for counter BATCH",
        ));
    }
    let own = statements
        .iter()
        .any(|statement| statement.timestamp.is_some());
    if timestamp && own {
        return Err(CqlError::invalid(
            "Timestamp must be set either on BATCH or individual statements",
        ));
    }
    let counters = statements.iter().any(|statement| statement.is_counter);
    let others = statements.iter().any(|statement| !statement.is_counter);
    let refused = match (counters, others) {
        (true, _) if timestamp => "Cannot provide custom timestamp for a BATCH containing counters",
        (_, true) if kind == BatchKind::Counter => {
            "Cannot include non-counter statement in a counter batch"
        }
        (true, true) => "Counter and non-counter mutations cannot exist in the same batch",
        (true, _) if kind == BatchKind::Logged => {
            "Cannot include a counter statement in a logged batch"
        }
        _ => "",
    };
    if !refused.is_empty() {
        return Err(CqlError::invalid(refused));
    }
    if conditional {
        let first = statements.first().map(|statement| statement.table.id);
        if statements
            .iter()
            .any(|statement| Some(statement.table.id) != first)
        {
            return Err(CqlError::invalid(
                "Batch with conditions cannot span multiple tables",
            ));
        }
    }
    Ok(())
}

/// Whether a keyspace's tables can be changed by users.
pub fn is_user_keyspace(catalog: &Catalog, keyspace: &str) -> bool {
    catalog
        .keyspace(keyspace)
        .is_some_and(|keyspace| keyspace.kind == KeyspaceKind::User)
}
