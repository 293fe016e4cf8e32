//! Materialized views: what a write to the base means for them.
//!
//! ```text
//! latch of the partition ─► its rows as they are, and as if the write were done ─► rows of the view before and after ─► one write
//! store of a view    partition and position by the view's key; one cell: the row as the base has it, encoded
//! ```
//!
//! A row of a view is a pure function of one row of the base, and belongs to that row alone, because the view's key holds the base's. So a write derives both
//! sides from what the base shows before and after, and whatever moved the row (a newer value, an older one that loses, a deletion, a condition that
//! fails now) needs no rule of its own.
//!
//! The view's cell carries a timestamp of the server, given under the latch, so that what is written later wins; the cells inside keep those of the base, for
//! WRITETIME and TTL. The cell expires when the row leaves the view.
//!
//! A deletion may mean many rows: they are looked at page by page, and what it does to the views must fit in one write, or it is refused before anything is
//! written. In pieces it would be seen half done, and a crash would leave it so.
//!
//! What must hold: nobody writes to a base with views outside the latch of the partition, and both are one write. Nobody truncates the base between what a write
//! has read and what it writes: TRUNCATE takes the latch of the whole table.

use std::collections::BTreeMap;
use std::sync::Arc;

use bytes::Bytes;
use palladium_protocol::ErrorCode;
use palladium_storage::{
    Cell, CellState, Clustering, ColumnId, Deletion, KeyRange, Limits, Liveness, Mutation,
    PartitionKey, PartitionRows, PartitionUpdate, ReadCommand, ReadPage, ReadPosition, Row, Slices,
    Store, Write,
};

use crate::database::Database;
use crate::encode::key;
use crate::encode::order::Spelling;
use crate::error::{CqlError, CqlResult};
use crate::query::analyze::restrict::view_filters;
use crate::query::analyze::restrictions::{Filter, Judge};
use crate::query::check::{Check, checks};
use crate::query::expression::{RowScope, Scope};
use crate::query::functions::Moment;
use crate::schema::{Catalog, ColumnKind, TableSchema};

/// The one column of a view's store.
pub const ROW: ColumnId = ColumnId(1);
/// Rows that are read at a time.
const PAGE_ROWS: u32 = 1_000;
/// Bytes of rows that are read at a time.
const PAGE_BYTES: usize = 1 << 20;
/// Seconds by which a wall clock may have been ahead for a while: views are derived from what expired no longer ago as if it lived. Whoever is shown it looks at
/// the clock. Without a bound, to delete what is long dead would cost as much as if it lived.
const CLOCK_AHEAD_MAX: i64 = 24 * 60 * 60;
/// What a change of a row costs beside its own bytes.
const CHANGE_BYTES: usize = 64;
/// What a write of one row alone costs beside it, and no less.
const WRITE_BYTES: usize = 512;

/// What writes mean for views.
struct Derived {
    mutations: Vec<Mutation>,
    bytes: usize,
    /// What the engine takes as one write.
    bytes_max: usize,
    /// Rows that were there before the view and have no place in it.
    left_out: u64,
}

impl Derived {
    fn new(database: &Database) -> Derived {
        Derived {
            mutations: Vec::new(),
            bytes: 0,
            bytes_max: database.config.mutation_bytes_max(),
            left_out: 0,
        }
    }

    fn count(&mut self, bytes: usize) -> CqlResult<()> {
        self.bytes += bytes + CHANGE_BYTES;
        match self.bytes > self.bytes_max {
            true => Err(CqlError::invalid(format!(
                "The write changes more than {} bytes of materialized views; write or delete less at a time",
                self.bytes_max
            ))),
            false => Ok(()),
        }
    }
}

/// A view with its conditions ready.
struct Prepared<'a> {
    view: &'a TableSchema,
    store: Store,
    /// Columns of the base that must have a value.
    not_null: Vec<usize>,
    filters: &'a [Filter],
}

/// Where a row of a view stands, and what its cell holds.
#[derive(PartialEq)]
struct Shown {
    key: PartitionKey,
    clustering: Clustering,
    row: Vec<u8>,
    expires_at: Option<i64>,
}

/// The moment at which rows of a base are looked at.
pub fn seen_from(seconds: i64) -> i64 {
    seconds.saturating_sub(CLOCK_AHEAD_MAX)
}

/// Adds what these mutations of a base mean for its views. The partitions are latched, so no key is asked for: Unavailable says that the base's is not at hand.
pub async fn add(
    database: &Database,
    catalog: &Catalog,
    base: &Arc<TableSchema>,
    mutations: &mut Vec<Mutation>,
) -> CqlResult<()> {
    let views = prepare(catalog, base, None)?;
    // The server's own, not the time that a client says it is.
    let seconds = database.engine.now_seconds();
    let mut derived = Derived::new(database);
    for mutation in &*mutations {
        if mutation.table != base.id || mutation.store != Store::BASE {
            continue;
        }
        let Some(slices) = touched(&mutation.update) else {
            continue;
        };
        let walk = Walk {
            database,
            base,
            key: &mutation.key,
            seconds,
            is_rebuild: false,
        };
        walk.follow(&views, slices, &mutation.update, &mut derived)
            .await?;
    }
    mutations.extend(derived.mutations);
    Ok(())
}

/// Writes the rows of one view for these rows of a partition, as they are now, and says how many are left out. They go in one write: whoever asks for several has seen to that.
pub async fn rebuild(
    database: &Database,
    table: &TableSchema,
    store: Store,
    key: &PartitionKey,
    rows: Vec<Clustering>,
) -> CqlResult<u64> {
    let latch = database.engine.latch(table.id, key).await;
    // Under the latch: a column that was added since the build began may have been written, and what is written here is newer.
    let catalog = database.catalog.load_full();
    let base = catalog.table(&table.keyspace, &table.name);
    let Some(base) = base.filter(|base| base.id == table.id) else {
        return Ok(0);
    };
    let views = prepare(&catalog, base, Some(store))?;
    let walk = Walk {
        database,
        base,
        key,
        seconds: database.engine.now_seconds(),
        is_rebuild: true,
    };
    let slices = Slices::new(rows.iter().map(key::around).collect());
    let after = walk.rows(&slices, None).await?;
    let mut derived = Derived::new(database);
    walk.derive(&views, &BTreeMap::new(), &after, &mut derived)?;
    let mutations = derived.mutations;
    if mutations.is_empty() {
        return Ok(derived.left_out);
    }
    for result in database
        .engine
        .write(vec![Write::new(mutations).under(latch)])
        .await
    {
        result?;
    }
    Ok(derived.left_out)
}

/// The rows of a view's store as rows of the view.
pub fn decoded(mut page: ReadPage, seconds: i64) -> CqlResult<ReadPage> {
    for partition in &mut page.partitions {
        for row in &mut partition.rows {
            let Some(bytes) = row.cell(ROW).and_then(Cell::value).cloned() else {
                continue;
            };
            let mut shown = Row::decode(row.clustering.clone(), bytes)?;
            shown.cells.retain(|cell| cell.is_live(seconds));
            *row = shown;
        }
    }
    Ok(page)
}

fn prepare<'a>(
    catalog: &Catalog,
    base: &'a Arc<TableSchema>,
    only: Option<Store>,
) -> CqlResult<Vec<Prepared<'a>>> {
    let mut prepared = Vec::new();
    for schema in &base.views {
        let Some(view) = &schema.view else { continue };
        if only.is_some_and(|store| store != view.store) {
            continue;
        }
        let own = schema
            .partition_columns()
            .iter()
            .chain(schema.clustering_columns());
        // What else the statement calls IS NOT NULL may be null, as in Cassandra.
        let names = own.map(|column| column.name.as_str());
        prepared.push(Prepared {
            view: schema,
            store: view.store,
            not_null: names.filter_map(|name| base.column_index(name)).collect(),
            filters: schema
                .conditions_of_view(|| view_filters(catalog, base, view.conditions()))?,
        });
    }
    Ok(prepared)
}

/// The rows that an update may change; None: static ones only, which no view shows.
fn touched(update: &PartitionUpdate) -> Option<Slices> {
    if update.deletion.is_some() {
        return Some(Slices::all());
    }
    // Not `Slices::row`: the shorter way to one row may leave out its liveness, by which it may outlive its cells.
    let rows = update.rows.iter().map(|row| key::around(&row.clustering));
    let stretches = update.range_tombstones.iter();
    let stretches = stretches.map(|stretch| (stretch.start.clone(), stretch.end.clone()));
    let slices = Slices::new(rows.chain(stretches).collect());
    (!slices.is_empty()).then_some(slices)
}

/// What is left of slices between two places.
fn clipped(slices: &Slices, start: &Clustering, end: &Clustering) -> Slices {
    let clip = |(first, last): &(Clustering, Clustering)| {
        (first.max(start).clone(), last.min(end).clone())
    };
    Slices::new(slices.as_slice().iter().map(clip).collect())
}

/// Whether it is the row's own values that a view has no place for: a key that is too long, a number that has no order. Nothing that is tried again changes that.
fn has_no_place(error: &CqlError) -> bool {
    error.code() == ErrorCode::Invalid
}

/// Tells whoever wrote to a base which view has no place for that.
fn refused_by(view: &TableSchema, error: CqlError) -> CqlError {
    let message = format!(
        "{} (in materialized view {})",
        error.message,
        view.full_name()
    );
    CqlError { message, ..error }
}

fn by_place(partitions: Vec<PartitionRows>) -> BTreeMap<Clustering, Row> {
    let rows = partitions.into_iter().flat_map(|partition| partition.rows);
    rows.map(|row| (row.clustering.clone(), row)).collect()
}

/// Some rows of one partition of the base.
struct Walk<'a> {
    database: &'a Database,
    base: &'a Arc<TableSchema>,
    key: &'a PartitionKey,
    seconds: i64,
    /// They were there before the view: one that has no place in it is left out and keeps it from nothing.
    is_rebuild: bool,
}

impl Walk<'_> {
    /// Derives what an update changes, as many rows at a time as are read at a time.
    async fn follow(
        &self,
        views: &[Prepared<'_>],
        slices: Slices,
        update: &PartitionUpdate,
        out: &mut Derived,
    ) -> CqlResult<()> {
        let mut rest = slices;
        while !rest.is_empty() {
            let page = self.page(&rest, None, None).await?;
            let last = page.next.and_then(|position| position.clustering);
            let end = last.map(|last| key::around(&last).1);
            let step = match &end {
                Some(end) => clipped(&rest, &Clustering::MIN, end),
                None => rest.clone(),
            };
            let before = by_place(page.partitions);
            let after = self.rows(&step, Some(update)).await?;
            self.derive(views, &before, &after, out)?;
            match end {
                Some(end) => rest = clipped(&rest, &end, &Clustering::max()),
                None => break,
            }
        }
        Ok(())
    }

    /// The rows as they are, or as an update would leave them.
    async fn rows(
        &self,
        slices: &Slices,
        update: Option<&PartitionUpdate>,
    ) -> CqlResult<BTreeMap<Clustering, Row>> {
        let mut found = BTreeMap::new();
        let mut resume = None;
        loop {
            let page = self.page(slices, update, resume).await?;
            found.append(&mut by_place(page.partitions));
            resume = page.next;
            if resume.is_none() {
                return Ok(found);
            }
        }
    }

    async fn page(
        &self,
        slices: &Slices,
        update: Option<&PartitionUpdate>,
        resume: Option<ReadPosition>,
    ) -> CqlResult<ReadPage> {
        let engine = &self.database.engine;
        let command = ReadCommand {
            table: self.base.id,
            store: Store::BASE,
            range: KeyRange::One(self.key.clone()),
            slices: slices.clone(),
            reversed: false,
            columns: self.base.storage_columns.clone(),
            limits: Limits {
                rows: PAGE_ROWS,
                bytes: PAGE_BYTES,
                ..Limits::NONE
            },
            resume,
            now: seen_from(self.seconds),
        };
        Ok(match update {
            None => engine.read(command).await?,
            Some(update) => engine.read_as_if(command, update).await?,
        })
    }

    fn derive(
        &self,
        views: &[Prepared<'_>],
        before: &BTreeMap<Clustering, Row>,
        after: &BTreeMap<Clustering, Row>,
        out: &mut Derived,
    ) -> CqlResult<()> {
        let micros = self.database.engine.next_timestamp();
        let moment = Moment {
            micros,
            seconds: self.seconds,
            uuids: &self.database.prepared.uuids,
        };
        let scope = Scope::of_moment(&moment);
        let values = key::partition_values(self.key, self.base.partition_key.len())?;
        for view in views {
            let checks = checks(self.base, view.filters, &scope, Judge::View)?;
            let shown = |row: Option<&Row>| match row {
                Some(row) => self.shown(view, &checks, &values, row),
                None => Ok(None),
            };
            let mut changes: BTreeMap<PartitionKey, Vec<Row>> = BTreeMap::new();
            let gone = before
                .keys()
                .filter(|clustering| !after.contains_key(clustering));
            for clustering in after.keys().chain(gone) {
                let old = match shown(before.get(clustering)) {
                    // It was there before the view, and left out.
                    Err(error) if has_no_place(&error) => None,
                    old => old?,
                };
                let new = match shown(after.get(clustering)) {
                    Err(error) if has_no_place(&error) => match self.is_rebuild {
                        true => {
                            out.left_out += 1;
                            None
                        }
                        false => return Err(refused_by(view.view, error)),
                    },
                    new => new?,
                };
                if old == new {
                    continue;
                }
                let is_moved = |old: &Shown| {
                    new.as_ref().is_none_or(|new| {
                        (&new.key, &new.clustering) != (&old.key, &old.clustering)
                    })
                };
                if let Some(old) = old.filter(is_moved) {
                    let mut row = Row::new(old.clustering);
                    row.deletion = Some(Deletion {
                        timestamp: micros,
                        local_deletion_time: self.seconds,
                    });
                    out.count(row.clustering.0.len())?;
                    changes.entry(old.key).or_default().push(row);
                }
                if let Some(new) = new {
                    let alone = new.key.bytes().len() + new.clustering.0.len() + new.row.len();
                    if self.is_rebuild && alone + WRITE_BYTES > out.bytes_max {
                        out.left_out += 1;
                        continue;
                    }
                    out.count(new.clustering.0.len() + new.row.len())?;
                    let (key, row) = new.into_row(micros, self.seconds);
                    changes.entry(key).or_default().push(row);
                }
            }
            let mutations = changes.into_iter().map(|(key, rows)| {
                let mut update = PartitionUpdate::default();
                update.add_rows(rows);
                Mutation {
                    table: self.base.id,
                    store: view.store,
                    key,
                    update,
                }
            });
            out.mutations.extend(mutations);
        }
        Ok(())
    }

    /// What a view shows of a row of the base. An error may say that the row has no place in it ([`has_no_place`]).
    fn shown(
        &self,
        of: &Prepared<'_>,
        checks: &[Check<'_>],
        partition: &[Bytes],
        row: &Row,
    ) -> CqlResult<Option<Shown>> {
        let raw = row.cell(ColumnId::RAW_CLUSTERING).and_then(Cell::value);
        let columns = self.base.clustering_columns();
        let clustering = key::clustering_values(columns, &row.clustering, raw)?;
        let scope = RowScope {
            table: self.base,
            partition,
            clustering: &clustering,
            statics: None,
            row: Some(row),
            now: self.seconds,
        };
        for check in checks {
            if !check.passes(&scope)? {
                return Ok(None);
            }
        }
        let mut expires_at = expiry_of(row);
        for index in &of.not_null {
            if scope.column(*index)?.is_none() {
                return Ok(None);
            }
            let column = &self.base.columns[*index];
            if column.kind == ColumnKind::Regular {
                let cells = row.cells_of(column.id).iter();
                expires_at = sooner(expires_at, latest(cells.map(expiry_of_cell)));
            }
        }
        let value = |column: &crate::schema::Column| -> CqlResult<Option<Bytes>> {
            match self.base.column_index(&column.name) {
                Some(index) => Ok(scope.column(index)?),
                None => Ok(None),
            }
        };
        let values = |columns: &[crate::schema::Column]| -> CqlResult<Vec<Bytes>> {
            let values = columns
                .iter()
                .map(|column| Ok(value(column)?.unwrap_or_default()));
            values.collect()
        };
        let key_values = values(of.view.partition_columns())?;
        let positions = values(of.view.clustering_columns())?;
        let place = || -> CqlResult<_> {
            let key = key::partition_key_of_view(&key_values)?;
            let at = match positions.is_empty() {
                true => (Clustering::SINGLE, Spelling::Kept),
                false => key::clustering(of.view.clustering_columns(), &positions)?,
            };
            Ok((key, at))
        };
        let is_over = expires_at.is_some_and(|at| at <= self.seconds);
        let (view_key, (position, spelling)) = match place() {
            // Nobody sees the value for which there is no place.
            Err(error) if is_over && has_no_place(&error) => return Ok(None),
            place => place?,
        };
        let mut shown = Row::new(position.clone());
        if spelling == Spelling::Lost {
            shown.cells.push(Cell {
                column: ColumnId::RAW_CLUSTERING,
                path: Bytes::new(),
                timestamp: 0,
                state: CellState::Live(key::raw_clustering(&positions)),
            });
        }
        let regular = of.view.regular_columns();
        let is_shown = |cell: &&Cell| regular.iter().any(|column| column.id == cell.column);
        shown
            .cells
            .extend(row.cells.iter().filter(is_shown).cloned());
        let mut encoded = Vec::new();
        shown.encode(&mut encoded);
        Ok(Some(Shown {
            key: view_key,
            clustering: position,
            row: encoded,
            expires_at,
        }))
    }
}

impl Shown {
    fn into_row(self, timestamp: i64, seconds: i64) -> (PartitionKey, Row) {
        let ttl = self
            .expires_at
            .map(|at| u32::try_from(at.saturating_sub(seconds).max(1)).unwrap_or(u32::MAX));
        let value = Bytes::from(self.row);
        let mut row = Row::new(self.clustering);
        row.liveness = Some(Liveness {
            timestamp,
            ttl: ttl.unwrap_or(0),
            expires_at: self.expires_at.unwrap_or(0),
        });
        row.cells.push(Cell {
            column: ROW,
            path: Bytes::new(),
            timestamp,
            state: match (ttl, self.expires_at) {
                (Some(ttl), Some(expires_at)) => CellState::Expiring {
                    value,
                    ttl,
                    expires_at,
                },
                _ => CellState::Live(value),
            },
        });
        (self.key, row)
    }
}

/// When a row is gone: as late as the last of what makes it live. None: never.
fn expiry_of(row: &Row) -> Option<i64> {
    let liveness = row.liveness.map(|liveness| match liveness.ttl {
        0 => None,
        _ => Some(liveness.expires_at),
    });
    let cells = row
        .cells
        .iter()
        .filter(|cell| cell.column != ColumnId::RAW_CLUSTERING);
    latest(cells.map(expiry_of_cell).chain(liveness))
}

fn expiry_of_cell(cell: &Cell) -> Option<i64> {
    match &cell.state {
        CellState::Expiring { expires_at, .. } => Some(*expires_at),
        CellState::Live(_) | CellState::Tombstone { .. } => None,
    }
}

/// The latest of moments; None, never, is later than any.
fn latest(moments: impl Iterator<Item = Option<i64>>) -> Option<i64> {
    moments.reduce(|a, b| Some(a?.max(b?))).unwrap_or(None)
}

fn sooner(a: Option<i64>, b: Option<i64>) -> Option<i64> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (moment, None) | (None, moment) => moment,
    }
}
