//! From the rows of a page of storage to the cells of an answer: filters, projection, and where to stop.

use bytes::Bytes;
use palladium_protocol::types::CqlType;
use palladium_storage::{
    Clustering, ColumnId, PartitionKey, PartitionRows, ReadPosition, ReadRows, Row, RowRef,
};
use smallvec::SmallVec;

use super::Select;
use crate::encode::cell::{self, cell_value};
use crate::encode::key::{self, ClusteringValues};
use crate::error::CqlResult;
use crate::query::analyze::SelectPlan;
use crate::query::answer::Cells;
use crate::query::check::{CellCheck, Check};
use crate::query::expression::{Expression, RowScope, Scope};
use crate::query::json;
use crate::query::plan::Keys;
use crate::schema::ColumnKind;

/// Cells of one row that are looked at without setting memory aside for them.
const CELLS_OF_A_ROW: usize = 16;

/// The partition that a row is in. Without `values` its key is one column, as it is.
struct At<'a> {
    partition: &'a PartitionKey,
    values: &'a [Bytes],
    statics: Option<&'a Row>,
}

/// What is done with rows before they are shown.
struct Trial<'a> {
    checks: &'a [Check<'a>],
    scope: &'a Scope<'a>,
}

/// Of a read by an index there is one.
type CellChecks<'a> = SmallVec<[CellCheck<'a>; 1]>;

/// What a row that was not taken apart has in a column; None: a deletion.
type FoundValue<'a> = (ColumnId, Option<&'a [u8]>);

/// What the rows of a partition that are only shown are taken apart in, one after the other.
#[derive(Default)]
struct Own<'a> {
    clustering: ClusteringValues,
    values: SmallVec<[FoundValue<'a>; CELLS_OF_A_ROW]>,
}

impl Select {
    /// Shows the rows of one partition; where it stopped, if the answer is full.
    pub(super) fn take_partition(
        &mut self,
        plan: &SelectPlan,
        partition: PartitionRows<ReadRows>,
        checks: &[Check<'_>],
        scope: &Scope<'_>,
    ) -> CqlResult<Option<ReadPosition>> {
        if self.partition_at_hand.as_ref() != Some(&partition.key) {
            if plan.group_by.is_some() {
                // Groups never reach over a partition's end, and count for the one they are in.
                self.close_group(plan, scope)?;
                if let Some(end) = self.group_end.take() {
                    return Ok(Some(end));
                }
            }
            self.in_partition = 0;
        }
        let PartitionRows {
            key,
            static_row,
            rows,
        } = partition;
        let end = self.take_rows(plan, &key, static_row.as_deref(), rows, checks, scope)?;
        self.partition_at_hand = Some(key);
        Ok(end)
    }

    fn take_rows(
        &mut self,
        plan: &SelectPlan,
        key: &PartitionKey,
        statics: Option<&Row>,
        mut rows: ReadRows,
        checks: &[Check<'_>],
        scope: &Scope<'_>,
    ) -> CqlResult<Option<ReadPosition>> {
        let table = &plan.table;
        let of_cells: Option<CellChecks<'_>> =
            checks.iter().map(|check| check.of_cell(table)).collect();
        // Whether all that is done with rows is to look at cells of theirs, and to show them.
        let cells_only =
            of_cells.filter(|_| plan.shows_cells && !plan.is_aggregate() && plan.sort.is_none());
        let only_shows = cells_only.is_some();
        let values = match !only_shows || table.partition_key.len() > 1 {
            true => key::partition_values(key, table.partition_key.len())?,
            false => Vec::new(),
        };
        if plan.distinct {
            rows.truncate(1);
        }
        let at = At {
            partition: key,
            values: &values,
            statics,
        };
        let trial = Trial { checks, scope };
        let mut own = Own::default();
        if rows.is_empty() {
            // Only the static row lives: shown unless particular rows were asked for.
            if plan.restrictions.restricts_rows {
                return Ok(None);
            }
            let shown = match &cells_only {
                Some(cells) => self.put_cells(plan, &at, None, cells, &mut own)?,
                None => self.try_row(plan, &at, None, &trial)?,
            };
            if !shown || !self.is_full() {
                return Ok(None);
            }
            return Ok(self.group_end.take().or_else(|| {
                Some(ReadPosition {
                    key: key.clone(),
                    clustering: None,
                    returned_in_partition: self.in_partition,
                })
            }));
        }
        if let Some(cells) = &cells_only {
            // A scan goes on with other partitions: its room grows by doubling.
            if rows.len() > 1 && matches!(self.keys, Keys::Named(_)) {
                self.cells.expect(rows.encoded_bytes());
            }
            for row in rows.iter() {
                if self.is_done_with_partition() {
                    break;
                }
                if self.put_cells(plan, &at, Some(row), cells, &mut own)? && self.is_full() {
                    return Ok(Some(self.end_behind(plan, key, row.clustering())));
                }
            }
            return Ok(None);
        }
        for row in rows.into_rows() {
            if self.is_done_with_partition() {
                break;
            }
            let row = row?;
            if self.try_row(plan, &at, Some(&row), &trial)? && self.is_full() {
                return Ok(Some(self.end_behind(plan, key, &row.clustering.0)));
            }
        }
        Ok(None)
    }

    /// Where an answer that is full ends.
    fn end_behind(
        &mut self,
        plan: &SelectPlan,
        key: &PartitionKey,
        clustering: &[u8],
    ) -> ReadPosition {
        if let Some(end) = self.group_end.take() {
            return end;
        }
        let last = plan.distinct || self.in_partition >= self.per_partition;
        ReadPosition {
            key: key.clone(),
            clustering: (!last).then(|| Clustering::copy_from(clustering)),
            returned_in_partition: self.in_partition,
        }
    }

    /// Whether no more of the partition at hand is shown: what is not looked at costs nothing, and is not found to be wrong.
    fn is_done_with_partition(&self) -> bool {
        self.in_partition >= self.per_partition && self.group.is_none()
    }

    pub(super) fn is_full(&self) -> bool {
        self.left == 0 || self.page_left == 0
    }

    /// Tries one row and shows it, or puts it where it belongs. Whether it was shown.
    fn try_row(
        &mut self,
        plan: &SelectPlan,
        at: &At<'_>,
        row: Option<&Row>,
        trial: &Trial<'_>,
    ) -> CqlResult<bool> {
        let clustering = match row {
            Some(row) if plan.needs_clustering => clustering_of(plan, row)?,
            _ => Vec::new(),
        };
        let here = RowScope {
            table: &plan.table,
            partition: at.values,
            clustering: &clustering,
            statics: at.statics,
            row,
            now: self.seconds,
        };
        for check in trial.checks {
            if !check.passes(&here)? {
                return Ok(false);
            }
        }
        let scope = Scope {
            row: Some(&here),
            ..*trial.scope
        };
        if plan.is_aggregate() {
            return self.take_into_group(plan, at.partition, &here, &scope);
        }
        if plan.sort.is_some() {
            return self.keep(plan, &scope);
        }
        put_evaluated(plan, &scope, &mut self.cells)?;
        self.count();
        Ok(true)
    }

    pub(super) fn count(&mut self) {
        self.left -= 1;
        self.page_left = self.page_left.saturating_sub(1);
        self.in_partition += 1;
    }

    /// The common road: cells as they are, from where storage keeps them into the answer. Whether the row was shown.
    fn put_cells<'a>(
        &mut self,
        plan: &SelectPlan,
        at: &At<'_>,
        row: Option<RowRef<'a>>,
        checks: &[CellCheck<'_>],
        own: &mut Own<'a>,
    ) -> CqlResult<bool> {
        own.values.clear();
        if let Some(row @ RowRef::Encoded(_)) = row {
            let values = &mut own.values;
            row.each_cell(|cell| values.push((cell.column, cell.value())))?;
        }
        let row = row.map(|row| CellsOf {
            row,
            found: &own.values,
        });
        for check in checks {
            let value = row.as_ref().and_then(|row| row.value(check.column));
            if !check.passes(value)? {
                return Ok(false);
            }
        }
        if let Some(row) = row.as_ref().filter(|_| plan.needs_clustering) {
            let raw = row.value(ColumnId::RAW_CLUSTERING);
            let position = row.row.clustering();
            own.clustering
                .read(plan.table.clustering_columns(), position, raw)?;
        }
        for shown in &plan.shown[..plan.visible] {
            let Expression::Column(index) = &shown.expression else {
                continue;
            };
            let column = &plan.table.columns[*index];
            match column.kind {
                ColumnKind::PartitionKey => {
                    let value = at.values.get(column.position);
                    self.cells
                        .put(Some(value.map_or(at.partition.bytes(), |value| value)));
                }
                ColumnKind::Clustering => {
                    let value = row
                        .as_ref()
                        .and_then(|_| own.clustering.get(column.position));
                    self.cells.put(value);
                }
                ColumnKind::Regular => {
                    let value = row.as_ref().and_then(|row| row.value(column.id));
                    self.cells.put(value);
                }
                ColumnKind::Static => match at.statics {
                    None => self.cells.put(None),
                    Some(row) if !column.ty.is_multi_cell() => {
                        self.cells
                            .put(row.cell(column.id).map(|cell| &cell_value(cell)[..]));
                    }
                    Some(row) => put_complex(&column.ty, column.id, row, &mut self.cells)?,
                },
            }
        }
        self.cells.end_row();
        self.count();
        Ok(true)
    }
}

/// The cells of a row of which only simple columns are shown.
struct CellsOf<'a, 'b> {
    row: RowRef<'a>,
    /// What was found in it in the order of columns, unless it was taken apart.
    found: &'b [FoundValue<'a>],
}

impl<'a> CellsOf<'a, '_> {
    fn value(&self, column: ColumnId) -> Option<&'a [u8]> {
        if let RowRef::Decoded(row) = self.row {
            return row.cell(column).map(|cell| &cell_value(cell)[..]);
        }
        let at = self.found.partition_point(|(found, _)| *found < column);
        let (_, value) = self.found.get(at).filter(|(found, _)| *found == column)?;
        *value
    }
}

/// The clustering values of a row.
pub fn clustering_of(plan: &SelectPlan, row: &Row) -> CqlResult<Vec<Option<Bytes>>> {
    clustering_values(plan.table.clustering_columns(), &row.clustering, row)
}

/// The clustering values at a position, with the spelling the row keeps, if it does.
pub fn clustering_values(
    columns: &[crate::schema::Column],
    position: &Clustering,
    row: &Row,
) -> CqlResult<Vec<Option<Bytes>>> {
    let raw = row
        .cell(ColumnId::RAW_CLUSTERING)
        .and_then(|cell| cell.value());
    Ok(key::clustering_values(columns, position, raw)?)
}

fn put_complex(ty: &CqlType, column: ColumnId, row: &Row, cells: &mut Cells) -> CqlResult<()> {
    let own = row.cells_of(column);
    if own.is_empty() {
        cells.put(None);
        return Ok(());
    }
    let mut value = Vec::new();
    cell::put_complex(ty, own, &mut value)?;
    cells.put(Some(&value));
    Ok(())
}

/// The row as its expressions say, or as JSON.
pub(super) fn put_evaluated(
    plan: &SelectPlan,
    scope: &Scope<'_>,
    cells: &mut Cells,
) -> CqlResult<()> {
    if plan.json {
        let mut values = Vec::with_capacity(plan.visible);
        for shown in &plan.shown[..plan.visible] {
            values.push(shown.expression.evaluate(scope)?.value());
        }
        let text = json::row(plan, &values)?;
        cells.put(Some(text.as_bytes()));
    } else {
        for shown in &plan.shown[..plan.visible] {
            let value = shown.expression.evaluate(scope)?;
            cells.put(value.as_value().map(|value| &value[..]));
        }
    }
    cells.end_row();
    Ok(())
}
