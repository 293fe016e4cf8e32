//! Rows that are not shown as they come: taken together into groups, or kept to be sorted.

use bytes::Bytes;
use palladium_protocol::types::CqlType;
use palladium_storage::{PartitionKey, ReadPosition, Row};

use super::near::has_direction;
use super::rows::put_evaluated;
use super::{KEPT_ROWS_MAX, Select};
use crate::encode::order;
use crate::error::{CqlError, CqlResult};
use crate::query::analyze::SelectPlan;
use crate::query::analyze::nearest::LIMIT_MAX;
use crate::query::expression::{Bound, RowScope, Scope};
use crate::query::functions::aggregate::Accumulator;
use crate::query::json;

/// Rows being taken together.
pub(super) struct Group {
    /// What all its rows share.
    pub(super) key: Vec<u8>,
    pub(super) accumulators: Vec<Accumulator>,
    /// The first row, for what is shown beside aggregates.
    pub(super) first: Option<FirstRow>,
    /// Its last row so far: behind it a page ends that this group fills.
    pub(super) end: Option<ReadPosition>,
}

pub(super) struct FirstRow {
    partition: Vec<Bytes>,
    clustering: Vec<Option<Bytes>>,
    statics: Option<Row>,
    row: Option<Row>,
}

/// A row that waits to be sorted.
pub(super) struct Kept {
    pub(super) place: Vec<u8>,
    pub(super) cells: Vec<Option<Bytes>>,
}

/// Rows kept until the best of them are chosen: more than can be asked for.
const NEAREST_KEPT: usize = 4 * LIMIT_MAX as usize;

impl Select {
    pub(super) fn take_into_group(
        &mut self,
        plan: &SelectPlan,
        key: &PartitionKey,
        at: &RowScope<'_>,
        scope: &Scope<'_>,
    ) -> CqlResult<bool> {
        let mut place = Vec::new();
        if let Some(by) = &plan.group_by {
            for index in 0..by.columns {
                let ty = &plan.table.columns[index].ty;
                order::encode(ty, at.column(index)?.as_deref(), false, &mut place)?;
            }
            if let Some(function) = &by.function {
                let value = function.expression.evaluate(scope)?.value();
                order::encode(&function.ty, value.as_deref(), false, &mut place)?;
            }
        }
        if self.group.as_ref().is_some_and(|group| group.key != place) {
            self.close_group(plan, scope)?;
            if self.is_full() {
                return Ok(true);
            }
        }
        if plan.group_by.is_some()
            && self.group.is_none()
            && self.in_partition >= self.per_partition
        {
            return Ok(false);
        }
        let group = self.group.get_or_insert_with(|| {
            Box::new(Group {
                key: place,
                accumulators: accumulators(plan),
                first: Some(FirstRow {
                    partition: at.partition.to_vec(),
                    clustering: at.clustering.to_vec(),
                    statics: at.statics.cloned(),
                    row: at.row.cloned(),
                }),
                end: None,
            })
        });
        if plan.group_by.is_some() {
            let clustering = at.row.map(|row| row.clustering.clone());
            match &mut group.end {
                Some(end) => end.clustering = clustering,
                end => {
                    *end = Some(ReadPosition {
                        key: key.clone(),
                        clustering,
                        returned_in_partition: 0,
                    })
                }
            }
        }
        for (accumulator, aggregate) in group.accumulators.iter_mut().zip(&plan.aggregates) {
            let value = match &aggregate.argument {
                Some(argument) => match argument.expression.evaluate(scope)? {
                    Bound::Unset => {
                        return Err(CqlError::invalid(format!(
                            "Invalid unset value for argument in call to function {}",
                            aggregate.kind.name()
                        )));
                    }
                    value => value.value(),
                },
                None => Some(Bytes::new()),
            };
            accumulator.add(value.as_ref())?;
        }
        Ok(false)
    }

    /// Shows the group at hand. Where it ended is kept if that fills the answer.
    pub(super) fn close_group(&mut self, plan: &SelectPlan, scope: &Scope<'_>) -> CqlResult<()> {
        let Some(group) = self.group.take() else {
            return Ok(());
        };
        let results: CqlResult<Vec<Option<Bytes>>> =
            group.accumulators.iter().map(Accumulator::result).collect();
        let results = results?;
        let nothing = Vec::new();
        let none: Vec<Option<Bytes>> = Vec::new();
        let at = RowScope {
            table: &plan.table,
            partition: group
                .first
                .as_ref()
                .map_or(&nothing, |first| &first.partition),
            clustering: group
                .first
                .as_ref()
                .map_or(&none, |first| &first.clustering),
            statics: group
                .first
                .as_ref()
                .and_then(|first| first.statics.as_ref()),
            row: group.first.as_ref().and_then(|first| first.row.as_ref()),
            now: self.seconds,
        };
        let scope = Scope {
            row: Some(&at),
            aggregates: &results,
            ..*scope
        };
        if plan.sort.is_some() {
            // Sorted like rows, by what the group's first row has; then LIMIT counts them.
            return self.keep(plan, &scope).map(drop);
        }
        put_evaluated(plan, &scope, &mut self.cells)?;
        self.count();
        self.group_end = group
            .end
            .filter(|_| self.is_full())
            .map(|end| ReadPosition {
                returned_in_partition: self.in_partition,
                ..end
            });
        Ok(())
    }

    pub(super) fn keep(&mut self, plan: &SelectPlan, scope: &Scope<'_>) -> CqlResult<bool> {
        let Some(sort) = &plan.sort else {
            return Ok(false);
        };
        if !has_direction(plan, scope)? {
            return Ok(false);
        }
        if plan.nearest.is_some() && self.kept.len() >= NEAREST_KEPT {
            // The best of those so far: no other can be among the best of all.
            self.kept.sort_by(|a, b| a.place.cmp(&b.place));
            self.kept.truncate(self.left as usize);
        }
        if self.kept.len() >= KEPT_ROWS_MAX {
            return Err(CqlError::invalid(format!(
                "Sorting takes {KEPT_ROWS_MAX} rows at most: narrow the query down"
            )));
        }
        let mut cells = Vec::with_capacity(plan.shown.len());
        for shown in &plan.shown {
            cells.push(shown.expression.evaluate(scope)?.value());
        }
        let mut place = Vec::new();
        for (index, descending) in sort {
            let ty = &plan.shown[*index].ty;
            // What has no value comes first in the table's own order, and last against it.
            let value = cells[*index].as_deref();
            place.push(match (value, plan.reversed) {
                (Some(_), _) => 1,
                (None, false) => 0,
                (None, true) => 2,
            });
            if value.is_some() {
                order::encode(ty, value, *descending, &mut place)?;
            }
        }
        if plan.json {
            let text = json::row(plan, &cells)?;
            cells = vec![Some(text.into())];
        } else {
            cells.truncate(plan.visible);
            // What is kept while other pages are read does not hold on to the pages it comes from.
            for value in cells.iter_mut().flatten() {
                *value = Bytes::copy_from_slice(value);
            }
        }
        self.kept.push(Kept { place, cells });
        if let Some(near) = &mut self.near {
            near.live += 1;
        }
        self.in_partition += 1;
        Ok(false)
    }
}

pub(super) fn accumulators(plan: &SelectPlan) -> Vec<Accumulator> {
    plan.aggregates
        .iter()
        .map(|aggregate| {
            let ty = aggregate
                .argument
                .as_ref()
                .map_or(CqlType::Bigint, |argument| argument.ty.clone());
            Accumulator::new(aggregate.kind, ty)
        })
        .collect()
}
