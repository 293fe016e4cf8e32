//! Consistency levels, checked as Cassandra checks them.
//!
//! One server holds the only replica, so every level that one replica can reach is reached; what is left is which levels make
//! sense where.

use palladium_protocol::wire::Consistency;

use super::Settings;
use crate::error::{CqlError, CqlResult};
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

/// Whether a modification may ask for this.
pub fn check_write(plan: &ModifyPlan, settings: &Settings) -> CqlResult<()> {
    let consistency = settings.consistency;
    if plan.condition.is_some() {
        if consistency.is_serial() {
            return Err(CqlError::invalid(format!(
                "{consistency} is not supported as conditional update commit consistency. Use ANY if you mean \"make sure it is \
                 accepted but I don't care how many replicas commit it for non-SERIAL reads\""
            )));
        }
        if settings
            .serial_consistency
            .is_some_and(|serial| !serial.is_serial())
        {
            return Err(CqlError::invalid(
                "Invalid consistency for conditional update. Must be one of SERIAL or LOCAL_SERIAL",
            ));
        }
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
    reach(consistency)
}

/// Whether one replica is enough.
pub fn reach(consistency: Consistency) -> CqlResult<()> {
    match consistency {
        Consistency::Two => Err(CqlError::too_few_replicas(consistency, 2)),
        Consistency::Three => Err(CqlError::too_few_replicas(consistency, 3)),
        _ => Ok(()),
    }
}
