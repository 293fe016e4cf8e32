//! From what a write says of a table to what it says of the table's indexes.
//!
//! | indexed column | one entry for each | that lives |
//! |---|---|---|
//! | part of the partition key, static | partition | for ever; as long as the static cell |
//! | part of the clustering | row | for ever |
//! | regular, one value | row | as long as the cell |
//! | set, keys and entries of a map | element | as long as its cell |
//! | list, values of a map | value and row | for ever: several cells may have one value, and each lives as long as it does |
//!
//! Deletions make no entries: what they leave behind is stale, and a read sees that.
//!
//! Of two entries at one place that which lives longer is kept, whichever was written first: an entry's timestamp says until when it lives. With the timestamp of
//! its cell it could hide one that comes late: a cell that has expired may be gone from the base, and be followed by an older one without an expiry, while the
//! dead entry is still there.

use bytes::Bytes;
use palladium_protocol::cql::ast::IndexTargetKind;
use palladium_protocol::types::CqlType;
use palladium_storage::{
    Cell, CellState, Clustering, ColumnId, Liveness, Mutation, PartitionKey, PartitionUpdate, Row,
    Store,
};

use super::{layout, nearest};
use crate::encode::cell::{cell_value, map_entry, map_value, set_element};
use crate::encode::{key, order, wire};
use crate::error::{CqlError, CqlResult};
use crate::schema::{Column, ColumnKind, Index, TableSchema};

/// Bytes of a value that is too long for an index: a write of one is refused, as Cassandra does for its classic ones. Its storage-attached ones leave out what is
/// longer than 8 KiB and say nothing, so that rows are missing where they are asked for by that value.
const TERM_BYTES_MAX: usize = 65_535;

/// Adds the entries of a table's indexes for what these mutations say of its base, behind them.
pub fn add(table: &TableSchema, mutations: &mut Vec<Mutation>) -> CqlResult<()> {
    let mut derived = Vec::new();
    for index in &table.indexes {
        for mutation in &*mutations {
            if mutation.table == table.id && mutation.store == Store::BASE {
                check_direction(table, index, &mutation.update)?;
            }
        }
        let mut entries = Vec::new();
        for mutation in &*mutations {
            if mutation.table == table.id && mutation.store == Store::BASE {
                of_update(
                    table,
                    index,
                    &mutation.key,
                    &mutation.update,
                    TooLong::Refused,
                    &mut entries,
                )?;
            }
        }
        derived.extend(entries_written(table, index, entries));
    }
    mutations.extend(derived);
    Ok(())
}

/// Of some vectors nobody can say what is near them.
fn check_direction(table: &TableSchema, index: &Index, update: &PartitionUpdate) -> CqlResult<()> {
    let (Some(column), Some(shape)) = (table.column(&index.column), nearest::shape(table, index))
    else {
        return Ok(());
    };
    let rows = update.static_row.iter().chain(&update.rows);
    let mut vectors = rows.filter_map(|row| row.cell(column.id)?.value());
    vectors.try_for_each(|vector| nearest::check(shape.metric, &nearest::floats(vector)))
}

/// An entry, and its partition.
pub type Entry = (PartitionKey, Row);

/// Entries as mutations of the index's store.
pub fn entries_written(
    table: &TableSchema,
    index: &Index,
    mut entries: Vec<Entry>,
) -> Vec<Mutation> {
    entries.sort_by(|(a, _), (b, _)| a.cmp(b));
    let mut mutations: Vec<Mutation> = Vec::new();
    let mut entries = entries.into_iter().peekable();
    while let Some((key, first)) = entries.next() {
        let mut rows = vec![first];
        while let Some((_, row)) = entries.next_if(|(next, _)| *next == key) {
            rows.push(row);
        }
        let mut update = PartitionUpdate::default();
        update.add_rows(rows);
        mutations.push(Mutation {
            table: table.id,
            store: index.store,
            key,
            update,
        });
    }
    mutations
}

/// What becomes of values that are too long to be indexed.
pub enum TooLong<'a> {
    /// Whoever writes one is told.
    Refused,
    /// It was there before the index: it is counted.
    LeftOut(&'a mut u64),
}

/// Adds the entries of one index for what is said of one partition, in no order.
pub fn of_update(
    table: &TableSchema,
    index: &Index,
    partition: &PartitionKey,
    update: &PartitionUpdate,
    too_long: TooLong<'_>,
    entries: &mut Vec<Entry>,
) -> CqlResult<()> {
    let Some(column) = table.column(&index.column) else {
        return Ok(());
    };
    let mut of = Entries {
        table,
        index,
        column,
        partition,
        too_long,
        entries,
    };
    let rows = || update.static_row.iter().chain(&update.rows);
    match column.kind {
        ColumnKind::PartitionKey => {
            if rows().any(is_one) {
                let values = key::partition_values(partition, table.partition_key.len())?;
                let value = values.get(column.position).cloned().unwrap_or_default();
                of.add(&column.ty, &value, None, FOR_EVER)?;
            }
        }
        ColumnKind::Clustering => {
            for row in &update.rows {
                if is_one(row) {
                    let raw = row
                        .cell(ColumnId::RAW_CLUSTERING)
                        .and_then(|cell| cell.value());
                    let values =
                        key::clustering_values(table.clustering_columns(), &row.clustering, raw)?;
                    if let Some(Some(value)) = values.get(column.position) {
                        of.add(&column.ty, value, Some(&row.clustering), FOR_EVER)?;
                    }
                }
            }
        }
        ColumnKind::Static => {
            if let Some(row) = &update.static_row {
                of.of_cells(row, None)?;
            }
        }
        ColumnKind::Regular => {
            for row in &update.rows {
                of.of_cells(row, Some(&row.clustering))?;
            }
        }
    }
    Ok(())
}

/// Where the entries of one index for one partition go.
struct Entries<'a> {
    table: &'a TableSchema,
    index: &'a Index,
    column: &'a Column,
    partition: &'a PartitionKey,
    too_long: TooLong<'a>,
    entries: &'a mut Vec<Entry>,
}

impl Entries<'_> {
    fn of_cells(&mut self, row: &Row, clustering: Option<&Clustering>) -> CqlResult<()> {
        let cells = row
            .cells
            .iter()
            .filter(|cell| cell.column == self.column.id);
        for cell in cells {
            let Some(lives) = liveness_of(cell) else {
                continue;
            };
            let (value, lives) = match (self.index.target, self.column.ty.bare()) {
                _ if !self.column.ty.is_multi_cell() => (cell_value(cell).clone(), lives),
                (IndexTargetKind::Keys, CqlType::Map(key, _)) => (map_entry(key, cell)?.0, lives),
                (IndexTargetKind::Entries, CqlType::Map(key, _)) => {
                    let (key, value) = map_entry(key, cell)?;
                    (entry_term(&key, &value), lives)
                }
                (_, CqlType::Map(key, _)) => (map_value(key, cell)?, FOR_EVER),
                (_, CqlType::Set(element)) => (set_element(element, cell)?, lives),
                _ => (cell_value(cell).clone(), FOR_EVER),
            };
            let ty = self.index.term_type(&self.column.ty);
            self.add(&ty, &value, clustering, lives)?;
        }
        Ok(())
    }

    fn add(
        &mut self,
        ty: &CqlType,
        value: &Bytes,
        clustering: Option<&Clustering>,
        liveness: Liveness,
    ) -> CqlResult<()> {
        if value.len() >= TERM_BYTES_MAX {
            if let TooLong::LeftOut(count) = &mut self.too_long {
                **count += 1;
                return Ok(());
            }
            return Err(CqlError::invalid(format!(
                "Cannot index value of size {} for index {} on {}({}) (maximum allowed size={TERM_BYTES_MAX})",
                value.len(),
                self.index.name,
                self.table.full_name(),
                self.column.name
            )));
        }
        let term = term(self.index, ty, value)?;
        let mut stand = |partition: PartitionKey, prefix: &[u8]| {
            let mut row = Row::new(layout::entry(prefix, self.partition, clustering));
            row.liveness = Some(liveness);
            self.entries.push((partition, row));
        };
        if !self.index.is_of_vectors(&self.column.ty) {
            stand(layout::partition_of_value(&term), &[layout::PLACE]);
        }
        if self.index.has_order(&self.column.ty) {
            let bucket = layout::bucket_of(self.partition.token());
            stand(layout::partition_of_bucket(bucket), &term);
        }
        Ok(())
    }
}

/// A value as the entries of an index spell it. `ty` is the type of its terms.
pub fn term(index: &Index, ty: &CqlType, value: &[u8]) -> CqlResult<Vec<u8>> {
    let mut term = Vec::with_capacity(value.len() + 4);
    let folded = index.fold().map(|fold| fold.apply(value));
    let value = folded.as_deref().unwrap_or(value);
    order::encode(ty, Some(value), false, &mut term)?;
    Ok(term)
}

/// Key and value of a map as one value.
pub fn entry_term(key: &[u8], value: &[u8]) -> Bytes {
    let mut pair = Vec::with_capacity(key.len() + value.len() + 8);
    wire::put_element(Some(key), &mut pair);
    wire::put_element(Some(value), &mut pair);
    pair.into()
}

/// Microseconds, as timestamps are: compaction by windows of time keeps together what expires together.
const SECOND: i64 = 1_000_000;

/// No cell expires later ([`crate::query::execute::write`] bounds them), so that what lives for ever outlives what does not.
const FOR_EVER: Liveness = Liveness {
    timestamp: u32::MAX as i64 * SECOND,
    ttl: 0,
    expires_at: 0,
};

/// How long the entry of a cell lives; None: it is a tombstone.
fn liveness_of(cell: &Cell) -> Option<Liveness> {
    match &cell.state {
        CellState::Live(_) => Some(FOR_EVER),
        CellState::Expiring {
            ttl, expires_at, ..
        } => Some(Liveness {
            timestamp: expires_at.saturating_mul(SECOND),
            ttl: *ttl,
            expires_at: *expires_at,
        }),
        CellState::Tombstone { .. } => None,
    }
}

/// Whether something in a row makes it one.
fn is_one(row: &Row) -> bool {
    row.liveness.is_some() || row.cells.iter().any(|cell| liveness_of(cell).is_some())
}
