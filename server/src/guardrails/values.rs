//! Values that are written: the size of each, and of each collection.

use palladium_protocol::types::CqlType;
use palladium_storage::{Cell, CellState, Mutation, Row, Store};

use super::batch::cell_bytes;
use super::{Guardrails, Limit};
use crate::error::CqlResult;
use crate::schema::{Column, TableSchema};

impl Guardrails {
    /// Whether written values are looked at one by one.
    #[inline]
    pub fn watches_values(&self) -> bool {
        [
            Limit::ColumnValueSize,
            Limit::CollectionSize,
            Limit::ItemsPerCollection,
        ]
        .into_iter()
        .any(|limit| !self.bounds(limit).is_off())
    }
}

/// Holds what is written of one table against the thresholds.
pub fn check_values(
    guardrails: &Guardrails,
    table: &TableSchema,
    mutations: &[Mutation],
    warnings: &mut Vec<String>,
) -> CqlResult<()> {
    for mutation in mutations
        .iter()
        .filter(|mutation| mutation.table == table.id && mutation.store == Store::BASE)
    {
        let update = &mutation.update;
        for row in update.static_row.iter().chain(&update.rows) {
            check_row(guardrails, table, row, warnings)?;
        }
    }
    Ok(())
}

fn check_row(
    guardrails: &Guardrails,
    table: &TableSchema,
    row: &Row,
    warnings: &mut Vec<String>,
) -> CqlResult<()> {
    for column in table.static_columns().iter().chain(table.regular_columns()) {
        let cells: Vec<&Cell> = row
            .cells
            .iter()
            .filter(|cell| cell.column == column.id)
            .collect();
        let is_collection = is_collection(column);
        let mut check = |limit, value: usize| -> CqlResult<()> {
            warnings.extend(guardrails.check(limit, value as u64, &column.name)?);
            Ok(())
        };
        if is_collection {
            check(
                Limit::ItemsPerCollection,
                cells.iter().filter(|cell| has_value(cell)).count(),
            )?;
        }
        for cell in &cells {
            check(Limit::ColumnValueSize, value_bytes(cell))?;
            check(Limit::ColumnValueSize, cell.path.len())?;
        }
        if is_collection {
            check(
                Limit::CollectionSize,
                cells.iter().map(|cell| cell_bytes(cell)).sum(),
            )?;
        }
    }
    Ok(())
}

fn is_collection(column: &Column) -> bool {
    let of = &column.ty;
    of.is_multi_cell() && matches!(of, CqlType::List(_) | CqlType::Set(_) | CqlType::Map(..))
}

fn has_value(cell: &Cell) -> bool {
    !matches!(cell.state, CellState::Tombstone { .. })
}

/// Bytes of a cell's value.
pub fn value_bytes(cell: &Cell) -> usize {
    match &cell.state {
        CellState::Live(value) | CellState::Expiring { value, .. } => value.len(),
        CellState::Tombstone { .. } => 0,
    }
}
