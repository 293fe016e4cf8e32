//! From the rows of a page of storage to the cells of an answer: filters, projection, and where to stop.

use bytes::Bytes;
use palladium_protocol::types::CqlType;
use palladium_storage::{
    CellRef, Clustering, ColumnId, PartitionKey, PartitionRows, ReadPosition, ReadRow, Row,
};
use smallvec::SmallVec;

use super::Select;
use crate::encode::cell::{self, cell_value};
use crate::encode::key::{self, ClusteringValues};
use crate::error::CqlResult;
use crate::query::analyze::SelectPlan;
use crate::query::answer::Cells;
use crate::query::check::Check;
use crate::query::expression::{Expression, RowScope, Scope};
use crate::query::json;
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
    /// Whether all that is done with rows is to show cells of theirs.
    only_shows: bool,
}

impl Select {
    /// Shows the rows of one partition; where it stopped, if the answer is full.
    pub(super) fn take_partition(
        &mut self,
        plan: &SelectPlan,
        mut partition: PartitionRows<ReadRow>,
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
            self.partition_at_hand = Some(partition.key.clone());
        }
        let table = &plan.table;
        let exact = checks.is_empty() && !plan.is_aggregate() && plan.sort.is_none();
        let only_shows = exact && plan.shows_cells;
        let values = match !only_shows || table.partition_key.len() > 1 {
            true => key::partition_values(&partition.key, table.partition_key.len())?,
            false => Vec::new(),
        };
        let statics = partition.static_row.take();
        if plan.distinct {
            partition.rows.truncate(1);
        }
        let at = At {
            partition: &partition.key,
            values: &values,
            statics: statics.as_ref(),
        };
        let trial = Trial {
            checks,
            scope,
            only_shows,
        };
        let mut clustering = ClusteringValues::default();
        if partition.rows.is_empty() {
            // Only the static row lives: shown unless particular rows were asked for.
            if plan.restrictions.restricts_rows {
                return Ok(None);
            }
            let shown = self.take_row(plan, &at, None, &trial, &mut clustering)?;
            if !shown || !self.is_full() {
                return Ok(None);
            }
            return Ok(self.group_end.take().or_else(|| {
                Some(ReadPosition {
                    key: partition.key.clone(),
                    clustering: None,
                    returned_in_partition: self.in_partition,
                })
            }));
        }
        for row in &partition.rows {
            if self.in_partition >= self.per_partition && plan.group_by.is_none() {
                break;
            }
            let shown = self.take_row(plan, &at, Some(row), &trial, &mut clustering)?;
            if shown && self.is_full() {
                if let Some(end) = self.group_end.take() {
                    return Ok(Some(end));
                }
                let last = plan.distinct || self.in_partition >= self.per_partition;
                return Ok(Some(ReadPosition {
                    key: partition.key.clone(),
                    clustering: (!last).then(|| row.clustering().clone()),
                    returned_in_partition: self.in_partition,
                }));
            }
        }
        Ok(None)
    }

    pub(super) fn is_full(&self) -> bool {
        self.left == 0 || self.page_left == 0
    }

    /// Tries one row and shows it, or puts it where it belongs. Whether it was shown.
    fn take_row(
        &mut self,
        plan: &SelectPlan,
        at: &At<'_>,
        row: Option<&ReadRow>,
        trial: &Trial<'_>,
        values: &mut ClusteringValues,
    ) -> CqlResult<bool> {
        if trial.only_shows {
            self.put_cells(plan, at, row, values)?;
            self.count();
            return Ok(true);
        }
        let own;
        let row = match row {
            Some(ReadRow::Decoded(row)) => Some(row),
            Some(encoded) => {
                own = encoded.clone().into_row()?;
                Some(&own)
            }
            None => None,
        };
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

    /// The common road: cells as they are, from where storage keeps them into the answer.
    fn put_cells(
        &mut self,
        plan: &SelectPlan,
        at: &At<'_>,
        row: Option<&ReadRow>,
        clustering: &mut ClusteringValues,
    ) -> CqlResult<()> {
        let row = row.map(CellsOf::new).transpose()?;
        if let Some(row) = row.as_ref().filter(|_| plan.needs_clustering) {
            let raw = row.value(ColumnId::RAW_CLUSTERING);
            clustering.read(plan.table.clustering_columns(), row.clustering, raw)?;
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
                    let value = row.as_ref().and_then(|_| clustering.get(column.position));
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
        Ok(())
    }
}

/// The cells of a row of which only simple columns are shown.
struct CellsOf<'a> {
    clustering: &'a Clustering,
    /// Where they are, if the row was taken apart; else `found` has them.
    row: Option<&'a Row>,
    found: SmallVec<[CellRef<'a>; CELLS_OF_A_ROW]>,
}

impl<'a> CellsOf<'a> {
    fn new(row: &'a ReadRow) -> CqlResult<Self> {
        let mut cells = CellsOf {
            clustering: row.clustering(),
            row: None,
            found: SmallVec::new(),
        };
        match row {
            ReadRow::Decoded(row) => cells.row = Some(row),
            encoded => encoded.cells_into(&mut cells.found)?,
        }
        Ok(cells)
    }

    fn value(&self, column: ColumnId) -> Option<&'a [u8]> {
        if let Some(row) = self.row {
            return row.cell(column).map(|cell| &cell_value(cell)[..]);
        }
        let at = self.found.partition_point(|cell| cell.column < column);
        let cell = self.found.get(at).filter(|cell| cell.column == column)?;
        cell.value()
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
