//! Dynamic data masking: a SELECT over masked columns is analyzed twice, once as it is and once with the masks around their columns; who asks decides which
//! of the two is executed.
//!
//! What must hold: who may not see behind a mask gets no value of its column, by no function, aggregate or condition; both statements have the same metadata,
//! so that a prepared statement serves everybody. A statement without masked columns pays nothing.

use std::sync::Arc;

use palladium_protocol::cql::ast;

use super::analyze;
use super::prepared::{Masked, Statement};
use crate::audit::Asker;
use crate::database::Database;
use crate::error::{CqlError, CqlResult};
use crate::guardrails::Flag;
use crate::permissions::Authority;
use crate::schema::{Catalog, TableSchema};

/// The second statement, if there are masks.
pub fn behind_masks(
    tree: &ast::Statement,
    text: &str,
    catalog: &Catalog,
    keyspace: Option<&str>,
) -> CqlResult<Option<Masked>> {
    let Some((checked, restricted)) = analyze::masked(tree, catalog, keyspace)? else {
        return Ok(None);
    };
    Ok(Some(Masked {
        statement: Arc::new(Statement::new(checked, text, keyspace, catalog)?),
        restricted,
    }))
}

/// The statement that somebody may have executed.
pub fn as_seen_by(
    authority: &Authority,
    asker: &Asker,
    statement: &Arc<Statement>,
    masked: &Masked,
) -> CqlResult<Arc<Statement>> {
    let analyze::Body::Select(plan) = &statement.body else {
        return Ok(statement.clone());
    };
    let table = &plan.table;
    if authority.may_unmask(asker, table) {
        return Ok(statement.clone());
    }
    if !masked.restricted.is_empty() && !authority.may_select_masked(asker, table) {
        return Err(refused(asker, table, &masked.restricted));
    }
    Ok(masked.statement.clone())
}

/// A condition tells of values by its outcome, and shows them where it does not hold.
pub fn check_condition(
    database: &Database,
    asker: &Asker,
    plan: &analyze::ModifyPlan,
) -> CqlResult<()> {
    let table = &plan.table;
    if !plan.condition.is_some()
        || !table.has_masks()
        || !database.guardrails.is_on(Flag::DynamicDataMasking)
        || database.authority.may_unmask(asker, table)
    {
        return Ok(());
    }
    let masked: Vec<String> = table
        .columns
        .iter()
        .filter(|column| column.mask.is_some())
        .map(|column| column.name.clone())
        .collect();
    // Cassandra asks for nothing here. SELECT_MASKED is not enough: it names what is masked, and is shown none of it.
    Err(CqlError::unauthorized(format!(
        "User {} has no UNMASK permission on table {}, cannot execute conditional statements beside masked columns [{}]",
        asker.who,
        table.full_name(),
        masked.join(", ")
    )))
}

fn refused(asker: &Asker, table: &TableSchema, columns: &[String]) -> CqlError {
    CqlError::unauthorized(format!(
        "User {} has no UNMASK nor SELECT_MASKED permission on table {}, cannot query masked columns [{}]",
        asker.who,
        table.full_name(),
        columns.join(", ")
    ))
}
