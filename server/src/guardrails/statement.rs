//! What a statement alone decides: asked once, when it is understood.

use palladium_protocol::types::CqlType;

use super::{Flag, Guardrails};
use crate::error::CqlResult;
use crate::query::analyze::{Body, ModifyPlan, Operation};

/// Refuses a statement that uses what is off.
pub fn check_statement(guardrails: &Guardrails, body: &Body) -> CqlResult<()> {
    match body {
        Body::Select(plan) => {
            if plan.group_by.is_some() {
                guardrails.require(Flag::GroupBy, None)?;
            }
            if !plan.restrictions.filters.is_empty() && plan.restrictions.index.is_none() {
                guardrails.require(Flag::AllowFiltering, None)?;
            }
            Ok(())
        }
        Body::Modify(plan) => modification(guardrails, plan),
        Body::Batch(batch) => batch
            .statements
            .iter()
            .try_for_each(|plan| modification(guardrails, plan)),
        Body::Truncate(_) => guardrails.require(Flag::DropTruncateTable, None),
        Body::Use(_) | Body::Other(_) => Ok(()),
    }
}

fn modification(guardrails: &Guardrails, plan: &ModifyPlan) -> CqlResult<()> {
    if plan.timestamp.is_some() {
        guardrails.require(Flag::UserTimestamps, None)?;
    }
    for (index, operation) in &plan.operations {
        let is_list = matches!(plan.table.columns[*index].ty.bare(), CqlType::List(_));
        let what = match operation {
            Operation::SetElement { .. } => {
                "Setting of list items by index requiring read before write"
            }
            Operation::DeleteElement(_) => {
                "Removal of list items by index requiring read before write"
            }
            Operation::Remove(_) => "Removal of list items requiring read before write",
            _ => continue,
        };
        if is_list {
            guardrails.require(Flag::ListReadBeforeWrite, Some(what))?;
        }
    }
    Ok(())
}
