//! The answer of conditional statements: `[applied]`, and if not, the values that stood against it.
//!
//! ```text
//! IF NOT EXISTS, IF EXISTS     every column of the rows that are there
//! IF v = ? AND s = ?           the columns of the conditions: those of rows first, then static ones
//! in a batch                   behind the primary key, and one line for each row that a condition is about
//! ```

use bytes::Bytes;
use palladium_protocol::response::{ColumnSpec, EncodedMetadata, MetadataMode};
use palladium_protocol::types::CqlType;
use palladium_storage::{Clustering, ColumnId, PartitionKey, Row};

use super::existing::Existing;
use super::read::clustering_values;
use crate::encode::key;
use crate::error::CqlResult;
use crate::query::analyze::{ModifyPlan, PlannedCondition};
use crate::query::answer::{Cells, Response, Rows, RowsMetadata};
use crate::query::expression::RowScope;
use crate::query::prepared::metadata_id;
use crate::schema::{ColumnKind, TableSchema};

/// What is shown of a refusal.
pub struct Refusal<'a> {
    /// The conditional statements of the request, all about one partition.
    pub plans: Vec<&'a ModifyPlan>,
    pub is_batch: bool,
    pub key: &'a PartitionKey,
    /// The rows that conditions are about, in order.
    pub positions: Vec<Clustering>,
    pub existing: &'a Existing,
    /// The first row of the partition, where conditions are about the static row alone.
    pub stand_in: Option<Row>,
    /// Some statement of the request names rows.
    pub touches_rows: bool,
    /// Some conditional statement of the request changes static columns.
    pub touches_statics: bool,
    /// Seconds.
    pub now: i64,
}

/// It was done.
pub fn applied(table: &TableSchema) -> Response {
    answer(table, true, &[], &[Vec::new()])
}

/// It was not done, and this is why.
pub fn refused(table: &TableSchema, refusal: &Refusal<'_>) -> CqlResult<Response> {
    let shown = shown(table, refusal);
    let partition = key::partition_values(refusal.key, table.partition_key.len())?;
    // Whether a row exists has nothing to do with the static one, and Cassandra does not read it then. A document may set any column.
    let reads_statics = refusal.touches_statics
        || refusal.plans.iter().any(|plan| {
            let on_static = |column: &usize| table.columns[*column].kind == ColumnKind::Static;
            plan.statics_only
                || plan.json.is_some()
                || match &plan.condition {
                    PlannedCondition::Columns(tests) => {
                        tests.iter().any(|test| on_static(&test.column))
                    }
                    _ => false,
                }
        });
    // A static row is there if some column that is read is: where static columns are changed, any of them.
    let reads_all = refusal.touches_statics
        || refusal
            .plans
            .iter()
            .any(|plan| plan.statics_only || plan.json.is_some());
    let shows_some = |row: &Row| {
        let is_tested = |plan: &&ModifyPlan| match &plan.condition {
            PlannedCondition::Columns(tests) => tests
                .iter()
                .any(|test| !row.cells_of(table.columns[test.column].id).is_empty()),
            _ => false,
        };
        reads_all || refusal.plans.iter().any(is_tested)
    };
    let statics = refusal
        .existing
        .static_row
        .as_ref()
        .filter(|row| reads_statics && shows_some(row));
    let values_of = |row: Option<&Row>| -> CqlResult<Vec<Option<Bytes>>> {
        let clustering = match row {
            Some(row) => clustering_values(table.clustering_columns(), &row.clustering, row)?,
            None => Vec::new(),
        };
        let at = RowScope {
            table,
            partition: &partition,
            clustering: &clustering,
            statics,
            row,
            now: refusal.now,
        };
        shown.iter().map(|index| Ok(at.column(*index)?)).collect()
    };
    let mut lines = Vec::new();
    for position in &refusal.positions {
        if let Some(row) = refusal.existing.row(position) {
            lines.push(values_of(Some(row))?);
        }
    }
    if let Some(row) = &refusal.stand_in {
        if refusal.touches_rows {
            lines.push(values_of(Some(row))?);
        } else {
            // Only its place is shown: Cassandra does not read its columns.
            let mut place = Row::new(row.clustering.clone());
            place
                .cells
                .extend(row.cell(ColumnId::RAW_CLUSTERING).cloned());
            lines.push(values_of(Some(&place))?);
        }
    } else if lines.is_empty() && statics.is_some() {
        lines.push(values_of(None)?);
    }
    Ok(match lines.is_empty() {
        true => answer(table, false, &[], &[Vec::new()]),
        false => answer(table, false, &shown, &lines),
    })
}

/// The columns behind `[applied]`.
fn shown(table: &TableSchema, refusal: &Refusal<'_>) -> Vec<usize> {
    let mut shown: Vec<usize> = Vec::new();
    let mut show = |index: usize| {
        if !shown.contains(&index) {
            shown.push(index);
        }
    };
    if refusal.is_batch {
        table
            .partition_key
            .iter()
            .chain(&table.clustering)
            .for_each(|index| show(*index));
    }
    for plan in &refusal.plans {
        match &plan.condition {
            PlannedCondition::Columns(tests) => {
                let of_kind = |is_static: bool| {
                    tests.iter().map(|test| test.column).filter(move |column| {
                        (table.columns[*column].kind == ColumnKind::Static) == is_static
                    })
                };
                of_kind(false).chain(of_kind(true)).for_each(&mut show);
            }
            _ => return (0..table.columns.len()).collect(),
        }
    }
    shown
}

fn answer(
    table: &TableSchema,
    applied: bool,
    shown: &[usize],
    lines: &[Vec<Option<Bytes>>],
) -> Response {
    let spec = |name: &str, ty: &CqlType| ColumnSpec {
        keyspace: table.keyspace.clone(),
        table: table.name.clone(),
        name: name.to_owned(),
        ty: ty.clone(),
    };
    let mut specs = vec![spec("[applied]", &CqlType::Boolean)];
    specs.extend(shown.iter().map(|index| {
        let column = &table.columns[*index];
        spec(&column.name, &column.ty)
    }));
    let mut cells = Cells::default();
    let flag = [u8::from(applied)];
    for values in lines {
        cells.put_row(std::iter::once(Some(&flag[..])).chain(values.iter().map(Option::as_deref)));
    }
    Response::Rows(Rows {
        metadata: RowsMetadata::OfTable(
            table.id,
            EncodedMetadata::new(&specs, metadata_id(&specs)),
        ),
        // Which columns come depends on the outcome, so a client never knows them before.
        mode: MetadataMode::Full,
        paging_state: None,
        cells,
    })
}
