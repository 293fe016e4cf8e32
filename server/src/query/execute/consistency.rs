//! Consistency levels, checked as Cassandra checks them.
//!
//! One server holds the only replica, so every level that one replica can reach is reached; what is left is which levels make
//! sense where.

use palladium_protocol::wire::Consistency;

use super::Settings;
use crate::error::{CqlError, CqlResult};
use crate::guardrails::{Guardrails, List};
use crate::query::analyze::ModifyPlan;

/// Whether a SELECT may ask for this.
pub fn check_read(settings: &Settings) -> CqlResult<()> {
    match settings.consistency {
        Consistency::Any => Err(CqlError::invalid(
            "ANY ConsistencyLevel is only supported for writes",
        )),
        consistency => reach(consistency),
    }
}

/// Whether a SELECT of what is nearest may ask for this, and whether it gets less than it asks for.
pub fn check_nearest(settings: &Settings) -> CqlResult<Option<String>> {
    let asked = settings.consistency;
    let downgraded = match asked {
        Consistency::One | Consistency::LocalOne => return Ok(None),
        serial if serial.is_serial() => {
            return Err(CqlError::invalid(format!(
                "Top-K queries can only be run with consistency level ONE/LOCAL_ONE. Consistency level {serial} was used."
            )));
        }
        Consistency::LocalQuorum => Consistency::LocalOne,
        _ => Consistency::One,
    };
    Ok(Some(format!(
        "Top-K queries can only be run with consistency level ONE / LOCAL_ONE / NODE_LOCAL. Consistency level {asked} was requested. \
         Downgrading the consistency level to {downgraded}."
    )))
}

/// Whether a modification may ask for this.
pub fn check_write(plan: &ModifyPlan, settings: &Settings) -> CqlResult<()> {
    let consistency = settings.consistency;
    if plan.condition.is_some() {
        return check_conditional(settings);
    }
    if plan.is_counter {
        if consistency == Consistency::Any {
            return Err(CqlError::invalid(format!(
                "Consistency level ANY is not yet supported for counter table {}",
                plan.table.name
            )));
        }
        if consistency.is_serial() {
            return Err(CqlError::invalid(
                "Counter operations are inherently non-serializable",
            ));
        }
    }
    if consistency.is_serial() {
        return Err(CqlError::invalid(
            "You must use conditional updates for serializable writes",
        ));
    }
    reach(consistency)
}

/// Whether a conditional modification, or a batch with one, may ask for these.
fn check_conditional(settings: &Settings) -> CqlResult<()> {
    let consistency = settings.consistency;
    if consistency.is_serial() {
        return Err(CqlError::invalid(format!(
            "{consistency} is not supported as conditional update commit consistency. Use ANY if you mean \"make sure it is \
             accepted but I don't care how many replicas commit it for non-SERIAL reads\""
        )));
    }
    let serial = settings.serial_consistency;
    if serial.is_some_and(|serial| !serial.is_serial()) {
        return Err(CqlError::invalid(
            "Invalid consistency for conditional update. Must be one of SERIAL or LOCAL_SERIAL",
        ));
    }
    Ok(())
}

/// Whether a batch may ask for this.
pub fn check_batch(plans: &[&ModifyPlan], settings: &Settings) -> CqlResult<()> {
    match plans {
        [] => Ok(()),
        _ if plans.iter().any(|plan| plan.condition.is_some()) => check_conditional(settings),
        _ => reach(settings.consistency),
    }
}

/// Holds the level of a request against the guardrails.
#[inline]
pub fn guard(
    guardrails: &Guardrails,
    settings: &Settings,
    is_write: bool,
    warnings: &mut Vec<String>,
) -> CqlResult<()> {
    let (name, what, lists) = match is_write {
        true => (
            "write_consistency_levels",
            "write consistency levels",
            (List::WriteLevelsWarned, List::WriteLevelsDisallowed),
        ),
        false => (
            "read_consistency_levels",
            "read consistency levels",
            (List::ReadLevelsWarned, List::ReadLevelsDisallowed),
        ),
    };
    if guardrails.list(lists.0).is_empty() && guardrails.list(lists.1).is_empty() {
        return Ok(());
    }
    let level = [settings.consistency.to_string()];
    warnings.extend(guardrails.check_list(name, what, &level, lists)?);
    Ok(())
}

/// Whether one replica is enough.
pub fn reach(consistency: Consistency) -> CqlResult<()> {
    match consistency {
        Consistency::Two => Err(CqlError::too_few_replicas(consistency, 2)),
        Consistency::Three => Err(CqlError::too_few_replicas(consistency, 3)),
        _ => Ok(()),
    }
}
