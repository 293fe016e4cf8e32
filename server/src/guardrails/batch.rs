//! How large a batch is, and over how many partitions, as Cassandra counts both.
//!
//! ```text
//! update of a partition   8 + static row 21 + its cells + rows + range tombstones
//! row                     clustering + 8 (20 with TTL) + 13 + cells + 12 for each column of several cells
//! cell                    20 + path + value
//! range tombstones        4 + for each 12 + its ends
//! ```

use std::collections::BTreeSet;

use palladium_protocol::cql::ast::BatchKind;
use palladium_storage::{Cell, Mutation, PartitionUpdate, Row};

use super::values::value_bytes;
use super::{Guardrails, Limit};
use crate::encode::key;
use crate::error::{CqlError, CqlResult};
use crate::schema::hashed::{in_hash_order, of_text};
use crate::schema::{Column, TableSchema};

const CELL_BYTES: usize = 20;
const ROW_BYTES: usize = 21;
const EXPIRY_BYTES: usize = 12;
const COMPLEX_COLUMN_BYTES: usize = 12;
const UPDATE_BYTES: usize = 8;
const RANGES_BYTES: usize = 4;
const RANGE_BYTES: usize = 12;

/// Holds a batch against its thresholds: what is to be warned of, and an error if it is too large.
pub fn check_batch(
    guardrails: &Guardrails,
    kind: BatchKind,
    tables: &[&TableSchema],
    mutations: &[Mutation],
    warnings: &mut Vec<String>,
) -> CqlResult<()> {
    if mutations.len() < 2 {
        return Ok(());
    }
    let table_of = |mutation: &Mutation| tables.iter().find(|table| table.id == mutation.table);
    let names = || {
        let names: BTreeSet<String> = mutations
            .iter()
            .filter_map(table_of)
            .map(|table| table.full_name())
            .collect();
        in_hash_order(names, |name| of_text(name))
    };
    // Tables that share a partition's key in one keyspace are one mutation in Cassandra.
    let keys: BTreeSet<_> = mutations
        .iter()
        .map(|mutation| {
            let keyspace = table_of(mutation).map_or("", |table| table.keyspace.as_str());
            (keyspace, &mutation.key)
        })
        .collect();
    if keys.len() < 2 {
        return Ok(());
    }
    let size = guardrails.bounds(Limit::BatchSize);
    if let Some(least) = size.warn.into_iter().chain(size.fail).min() {
        let bytes: usize = mutations
            .iter()
            .map(|mutation| {
                let clustering =
                    table_of(mutation).map_or(&[][..], |table| table.clustering_columns());
                update_bytes(clustering, &mutation.update)
            })
            .sum();
        let bytes = bytes as u64;
        if bytes > least {
            if size.fail.is_some_and(|bound| bytes > bound) {
                return Err(CqlError::invalid("Batch too large"));
            }
            warnings.push(format!(
                "Batch for [{}] is of size {bytes}, exceeding specified threshold of {least} by {}.",
                names().join(", "),
                bytes - least
            ));
        }
    }
    let partitions: BTreeSet<_> = mutations.iter().map(|mutation| &mutation.key).collect();
    let most = guardrails.bounds(Limit::UnloggedBatch).warn;
    if kind != BatchKind::Logged && most.is_some_and(|most| partitions.len() as u64 > most) {
        let names = names();
        warnings.push(format!(
            "Unlogged batch covering {} partitions detected against table{} [{}]. You should use a logged batch for atomicity, or \
             asynchronous writes for performance.",
            partitions.len(),
            if names.len() == 1 { "" } else { "s" },
            names.join(", ")
        ));
    }
    Ok(())
}

fn update_bytes(clustering: &[Column], update: &PartitionUpdate) -> usize {
    let empty_static = ROW_BYTES;
    let static_row = update
        .static_row
        .as_ref()
        .map_or(empty_static, |row| row_bytes(&[], row));
    let rows: usize = update
        .rows
        .iter()
        .map(|row| row_bytes(clustering, row))
        .sum();
    let ranges: usize = update
        .range_tombstones
        .iter()
        .map(|range| RANGE_BYTES + range.start.0.len().max(range.end.0.len()))
        .sum();
    let has_ranges = !update.range_tombstones.is_empty();
    UPDATE_BYTES + static_row + rows + ranges + if has_ranges { RANGES_BYTES } else { 0 }
}

fn row_bytes(clustering: &[Column], row: &Row) -> usize {
    let values = key::clustering_values(clustering, &row.clustering, None);
    let clustering: usize = match values {
        Ok(values) => values
            .iter()
            .map(|value| value.as_ref().map_or(0, |value| value.len()))
            .sum(),
        Err(_) => row.clustering.0.len(),
    };
    let expires = row.liveness.is_some_and(|liveness| liveness.ttl > 0);
    let columns: BTreeSet<_> = row
        .cells
        .iter()
        .filter(|cell| !cell.path.is_empty())
        .map(|cell| cell.column)
        .chain(row.complex_deletions.iter().map(|(column, _)| *column))
        .collect();
    let cells: usize = row.cells.iter().map(cell_bytes).sum();
    ROW_BYTES
        + clustering
        + if expires { EXPIRY_BYTES } else { 0 }
        + columns.len() * COMPLEX_COLUMN_BYTES
        + cells
}

/// Bytes of a cell.
pub fn cell_bytes(cell: &Cell) -> usize {
    CELL_BYTES + cell.path.len() + value_bytes(cell)
}
