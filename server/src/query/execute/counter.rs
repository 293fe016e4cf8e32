//! Counters: a cell holds its total, so that replaying the log counts nothing twice; here a change becomes the next total.

use std::collections::HashMap;

use bytes::Bytes;
use foldhash::quality::RandomState;
use palladium_storage::{CellState, Clustering, PartitionKey, PartitionUpdate, Row};

use super::existing::{Existing, PartitionId};
use super::write::{Place, Stamping, places_of};
use crate::encode::cell::{Stamp, cell_value};
use crate::error::{CqlError, CqlResult};
use crate::query::analyze::{ModifyPlan, Operation};
use crate::query::expression::{Bound, Expression, Scope};
use crate::schema::ColumnKind;

/// Where a counter is, below its partition: the row (None is the static one) and the column.
type CounterPlace = (PartitionId, Option<Clustering>, usize);

/// Counters' totals as the statements of one request leave them, each on top of the one before.
#[derive(Default)]
pub struct Totals(HashMap<CounterPlace, (i64, i64), RandomState>);

impl Totals {
    /// What one statement makes of its counters in one partition.
    pub fn count(
        &mut self,
        plan: &ModifyPlan,
        key: &PartitionKey,
        scope: &Scope<'_>,
        stamp: &Stamping<'_>,
        existing: Option<&Existing>,
    ) -> CqlResult<PartitionUpdate> {
        let mut update = PartitionUpdate::default();
        let mut static_row = Row::new_static();
        let places = places_of(plan, scope)?.unwrap_or_default();
        if places.is_empty() {
            return Ok(update);
        }
        let stamp = stamp()?;
        let is_static = |index: usize| plan.table.columns[index].kind == ColumnKind::Static;
        let own = plan.operations.iter().filter(|one| !is_static(one.0));
        let statics = plan.operations.iter().filter(|one| is_static(one.0));
        for place in places {
            let (position, raw) = match place {
                Place::Static => (None, None),
                Place::Row(position, raw) => (Some(position), raw),
            };
            let mut row = Row::new(position.clone().unwrap_or(Clustering::MIN));
            // Static counters are moved after a row's own.
            for (index, operation) in own.clone().chain(statics.clone()) {
                let Operation::Count { delta, down } = operation else {
                    continue;
                };
                let column = &plan.table.columns[*index];
                let is_static = column.kind == ColumnKind::Static;
                let at = position.clone().filter(|_| !is_static);
                let Some(delta) = delta_of(delta, *down, scope)? else {
                    continue;
                };
                let before = existing.and_then(|existing| match &at {
                    Some(position) => existing.row(position),
                    None => existing.static_row.as_ref(),
                });
                let place = ((plan.table.id, key.clone()), at, *index);
                let (total, timestamp) = self.0.entry(place).or_insert_with(|| {
                    let cell = before.and_then(|row| row.cell(column.id));
                    let total = cell.and_then(|cell| {
                        cell_value(cell)[..].try_into().ok().map(i64::from_be_bytes)
                    });
                    (
                        total.unwrap_or(0),
                        cell.map_or(i64::MIN, |cell| cell.timestamp),
                    )
                });
                *total = total.wrapping_add(delta);
                let above = timestamp.checked_add(1).ok_or_else(|| {
                    CqlError::invalid("The counter was written with the last timestamp there is")
                })?;
                // A timestamp of the future would leave ever fewer for what comes after it: it goes no further than to be seen.
                let hidden = existing.map_or(i64::MIN, |existing| existing.newest_deletion);
                let far_enough = scope.moment.micros.max(hidden.saturating_add(1));
                *timestamp = stamp.timestamp.min(far_enough).max(above);
                let (total, timestamp) = (*total, *timestamp);
                let own = Stamp { timestamp, ..stamp };
                let value = Bytes::copy_from_slice(&total.to_be_bytes());
                let target = if is_static { &mut static_row } else { &mut row };
                target
                    .cells
                    .push(own.cell(column.id, Bytes::new(), own.live(value)));
            }
            if position.is_some() && !row.is_empty() {
                if let Some(raw) = raw {
                    let raw = CellState::Live(raw);
                    row.cells.push(stamp.cell(
                        palladium_storage::ColumnId::RAW_CLUSTERING,
                        Bytes::new(),
                        raw,
                    ));
                }
                row.sort();
                update.add_row(row);
            }
        }
        if !static_row.is_empty() {
            static_row.sort();
            update.static_row = Some(static_row);
        }
        Ok(update)
    }
}

fn delta_of(delta: &Expression, down: bool, scope: &Scope<'_>) -> CqlResult<Option<i64>> {
    match delta.evaluate(scope)? {
        Bound::Unset => Ok(None),
        // Said of both, as in Cassandra.
        Bound::Null => Err(CqlError::invalid(
            "Invalid null value for counter increment",
        )),
        Bound::Value(value) => {
            let delta = value[..].try_into().map(i64::from_be_bytes);
            let delta = delta.map_err(|_| {
                CqlError::invalid("Invalid empty value for counter increment/decrement")
            })?;
            if down && delta == i64::MIN {
                return Err(CqlError::invalid(
                    "The negation of -9223372036854775808 overflows supported counter precision (signed 8 bytes integer)",
                ));
            }
            Ok(Some(if down { -delta } else { delta }))
        }
    }
}
