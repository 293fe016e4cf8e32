//! Consistency levels, checked as Cassandra checks them.
//!
//! One server holds the only replica, so every level that one replica can reach is reached; what is left is which levels make
//! sense where.

use palladium_protocol::wire::Consistency;

use super::Settings;
use crate::error::{CqlError, CqlResult};
use crate::guardrails::{Guardrails, List};
use crate::query::analyze::ModifyPlan;
use crate::schema::catalog::Keyspace;
use crate::schema::{TableKind, TableSchema};

/// Whether a statement of any kind may ask for this.
pub fn check(settings: &Settings) -> CqlResult<()> {
    match settings.consistency {
        Consistency::NodeLocal => Err(CqlError::invalid(
            "NODE_LOCAL consistency level is highly dangerous and should be used only for debugging purposes",
        )),
        _ => Ok(()),
    }
}

/// Whether a SELECT may ask for this.
pub fn check_read(settings: &Settings) -> CqlResult<()> {
    match settings.consistency {
        Consistency::Any => Err(CqlError::invalid(
            "ANY ConsistencyLevel is only supported for writes",
        )),
        _ => Ok(()),
    }
}

/// Whether rows that are asked for at this level can be had. `at_once`: so many partitions are read together, not one page after the other.
pub fn check_rows(table: &TableSchema, at_once: usize, settings: &Settings) -> CqlResult<()> {
    // What a node says of itself is there at every level.
    if table.kind == TableKind::Virtual && !["system", "system_schema"].contains(&&*table.keyspace)
    {
        return Ok(());
    }
    if at_once > 1 && settings.consistency.is_serial() {
        return Err(CqlError::invalid(
            "SERIAL/LOCAL_SERIAL consistency may only be requested for one partition at a time",
        ));
    }
    reach(settings.consistency)
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
    // Its levels are looked at once its condition is.
    if plan.condition.is_some() {
        return Ok(());
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
    Ok(())
}

/// Whether conditional modifications of a keyspace's tables may ask for these: what is agreed on at one level is written at the other.
pub fn check_agreed(keyspace: Option<&Keyspace>, settings: &Settings) -> CqlResult<()> {
    let serial = settings.serial_consistency;
    if serial.is_some_and(|serial| !serial.is_serial()) {
        return Err(CqlError::invalid(
            "Invalid consistency for conditional update. Must be one of SERIAL or LOCAL_SERIAL",
        ));
    }
    let consistency = settings.consistency;
    if consistency.is_serial() {
        return Err(CqlError::invalid(format!(
            "{consistency} is not supported as conditional update commit consistency. Use ANY if you mean \"make sure it is \
             accepted but I don't care how many replicas commit it for non-SERIAL reads\""
        )));
    }
    let class = keyspace.and_then(|keyspace| keyspace.replication.get("class"));
    match class {
        Some(class)
            if consistency == Consistency::EachQuorum
                && !class.ends_with("NetworkTopologyStrategy") =>
        {
            Err(CqlError::invalid(format!(
                "consistency level {consistency} not compatible with replication strategy ({class})"
            )))
        }
        _ => Ok(()),
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
