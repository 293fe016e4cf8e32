//! Modifications that look before they write: IF, counters, and operations on a list's elements.
//!
//! ```text
//! latch every partition ─► read the rows ─► IF holds? ─► mutations, newer than all that was read ─► write ─► unlatch
//! ```
//!
//! One server owns its data, so a latch in memory is all that compare-and-set needs: whoever else wants the partition waits
//! until the write is applied.
//!
//! What must hold: nothing conditional about a partition happens outside its latch; a conditional write is newer than what
//! it was decided on; a counter's cell holds its total, written with a timestamp above the one it replaces, so that
//! replaying the log counts nothing twice.

use std::sync::Arc;

use palladium_crypto::TableId;
use palladium_protocol::cql::ast::BatchKind;
use palladium_protocol::response::WriteType;
use palladium_storage::{
    Clustering, KeyRange, LatchGuard, Limits, Mutation, PartitionKey, PartitionUpdate, ReadCommand,
    Row, Slices, Store, Write,
};

use tokio::sync::OwnedRwLockReadGuard;

use super::condition::{applies, check_conditional, check_positions, is_about_rows};
use super::consistency::guard;
use super::counter::{self, Totals};
use super::existing::{Existing, Found, PartitionId};
use super::verdict::{self, Refusal};
use super::write::{
    Place, guard_batch, keys_of, merged, needs_row, places_of, plans_of, stamp, update_of,
    write_type,
};
use super::{Settings, moment, read_page};
use crate::audit::Asker;
use crate::database::Database;
use crate::derived::{entries, views};
use crate::encode::key;
use crate::error::{CqlError, CqlResult};
use crate::guardrails::check_values;
use crate::query::Outcome;
use crate::query::analyze::{ModifyPlan, Operation};
use crate::query::answer::Response;
use crate::query::expression::{Bound, Scope};
use crate::query::functions::Moment;
use crate::query::prepared::Statement;
use crate::schema::{Catalog, ColumnKind, TableSchema};
use crate::traces;

/// Whether a modification has to see what is there.
pub fn looks_first(plan: &ModifyPlan) -> bool {
    let counts = |(_, operation): &(usize, Operation)| matches!(operation, Operation::Count { .. });
    plan.condition.is_some() || needs_row(plan) || plan.operations.iter().any(counts)
}

/// Whether it is executed under its partitions' latches: it looks at them first, or its table's views have to.
pub fn needs_latch(plan: &ModifyPlan) -> bool {
    plan.table.has_views() || looks_first(plan)
}

/// Statements that wait for their latches.
pub struct Deferred {
    pub database: Arc<Database>,
    pub statements: Vec<(Arc<Statement>, Vec<Bound>)>,
    /// The batch's own.
    pub timestamp: Option<i64>,
    pub settings: Settings,
    /// Of which kind the batch is; None: it is one statement.
    pub batch: Option<BatchKind>,
}

impl Deferred {
    /// Executes them; the answer comes later.
    pub fn begin(self) -> Outcome {
        Outcome::Later(Box::pin(async move {
            self.run().await.unwrap_or_else(Response::from)
        }))
    }
}

impl Deferred {
    async fn run(&self) -> CqlResult<Response> {
        let Deferred {
            database,
            statements,
            timestamp,
            settings,
            batch,
        } = self;
        let plans = plans_of(statements);
        let conditional = plans.iter().any(|(plan, _)| plan.condition.is_some());
        if conditional {
            check_conditional(&plans, batch.is_some(), &moment(database, settings))?;
        }
        // Once: a key may be made anew each time it is asked for.
        let keys = keys_of_all(database, &plans, settings)?;
        let partitions = partitions_of(&plans, &keys);
        let named: Vec<(TableId, &PartitionKey)> = partitions
            .iter()
            .map(|(table, key)| (*table, key))
            .collect();
        traces::note(|| format!("Waiting for the latches of {} partitions", named.len()));
        let latch = database.engine.latch_all(&named).await;
        // The moment is taken under the latch: later holders of it come later in time.
        let now = moment(database, settings);
        let mut found = Found::new(&partitions);
        for ((plan, bound), keys) in plans.iter().zip(&keys) {
            if !looks_first(plan) {
                continue;
            }
            let scope = Scope {
                bound,
                moment: &now,
                row: None,
                aggregates: &[],
            };
            for key in keys {
                let (static_row, rows) = read(database, plan, key, &scope, &settings.asker).await?;
                if let Some(existing) = found.get_mut(plan.table.id, key) {
                    existing.absorb(static_row, rows);
                }
                if plans.len() > 1 {
                    counter::check(plan, &scope)?;
                }
            }
        }
        found.settle();
        if conditional {
            for ((plan, bound), own) in plans.iter().zip(&keys) {
                let scope = Scope {
                    bound,
                    moment: &now,
                    row: None,
                    aggregates: &[],
                };
                let existing = own.first().and_then(|key| found.get(plan.table.id, key));
                if !applies(plan, &scope, existing)? {
                    let key = conditional_key(&plans, &keys);
                    return refusal(
                        database,
                        &plans,
                        key,
                        batch.is_some(),
                        &now,
                        &found,
                        &settings.asker,
                    )
                    .await;
                }
            }
        }
        let newest = found.newest();
        let mut mutations = Vec::new();
        let mut totals = Totals::default();
        for ((plan, bound), keys) in plans.iter().zip(&keys) {
            let scope = Scope {
                bound,
                moment: &now,
                row: None,
                aggregates: &[],
            };
            let client = timestamp.or(settings.timestamp).filter(|_| !conditional);
            let mut stamp = stamp(plan, &scope, client, now.micros)?;
            if conditional {
                // One moment for all of them, whatever each says of its own, as in Cassandra: of two values of a cell the greater one stays.
                stamp.timestamp = now.micros.max(newest.saturating_add(1));
            }
            if keys.is_empty() {
                check_positions(plan, &scope)?;
            }
            for key in keys {
                let own = found.get(plan.table.id, key);
                let mut update =
                    match plan.is_counter && !plan.operations.is_empty() && is_count(plan) {
                        true => totals.count(plan, key, &scope, stamp, own)?,
                        false => update_of(plan, &scope, stamp, &|position| match position {
                            Some(position) => own?.row(position),
                            None => own?.static_row.as_ref(),
                        })?,
                    };
                if conditional {
                    before_the_rest(&mut update);
                }
                if !update.is_empty() {
                    mutations.push(Mutation {
                        table: plan.table.id,
                        store: Store::BASE,
                        key: key.clone(),
                        update,
                    });
                }
            }
        }
        // The tables as they are now: an index may have come while the latch was waited for.
        let catalog = database.catalog.load_full();
        let mut mutations = merged(mutations);
        let mut warnings = Vec::new();
        if let (Some(kind), false) = (*batch, conditional) {
            let (said, checked) = guard_batch(database, kind, &plans, &mutations, settings);
            if let Err(error) = checked {
                return Ok(Response::from(error).with_warnings(said));
            }
            warnings = said;
        } else {
            let guardrails = database.guardrails_of(settings.is_superuser);
            guard(guardrails, settings, true, &mut warnings)?;
            if guardrails.watches_values() {
                for table in tables_now(&catalog, &plans) {
                    check_values(guardrails, table, &mutations, &mut warnings)?;
                }
            }
        }
        let kind = match conditional {
            true => WriteType::Cas,
            false => write_type(*batch, &plans, &mutations),
        };
        add_entries(&catalog, &plans, &mut mutations)?;
        let mut bases = tables_now(&catalog, &plans);
        bases.retain(|table| table.has_views());
        bases.sort_by_key(|table| table.id);
        let mut gates = Vec::new();
        for table in bases {
            gates.push(database.gate(table.id).read_owned().await);
            views::add(database, &catalog, table, &mut mutations, &settings.asker).await?;
        }
        let held = (latch, gates);
        write(database, mutations, kind, held, &settings.asker).await?;
        drop(catalog);
        let answer = match conditional {
            true => verdict::applied(&plans[0].0.table),
            false => Response::Void,
        };
        Ok(answer.with_warnings(warnings))
    }
}

/// What is deleted by stretches or as a whole is deleted before anything of the same batch is written.
fn before_the_rest(update: &mut PartitionUpdate) {
    let stretches = update
        .range_tombstones
        .iter_mut()
        .map(|stretch| &mut stretch.deletion);
    for deletion in stretches.chain(&mut update.deletion) {
        deletion.timestamp = deletion.timestamp.saturating_sub(1);
    }
}

/// Entries of the indexes that these tables have in this catalog.
fn add_entries(
    catalog: &Catalog,
    plans: &[(&ModifyPlan, &[Bound])],
    mutations: &mut Vec<Mutation>,
) -> CqlResult<()> {
    for table in tables_now(catalog, plans) {
        if table.has_indexes() {
            entries::add(table, mutations)?;
        }
    }
    Ok(())
}

/// The tables of statements as a catalog knows them, each once.
fn tables_now<'c>(
    catalog: &'c Catalog,
    plans: &[(&ModifyPlan, &[Bound])],
) -> Vec<&'c Arc<TableSchema>> {
    let mut tables: Vec<&Arc<TableSchema>> = Vec::new();
    for (plan, _) in plans {
        let named = &plan.table;
        let now = catalog.table(&named.keyspace, &named.name);
        if let Some(table) = now.filter(|table| table.id == named.id)
            && !tables.iter().any(|seen| seen.id == table.id)
        {
            tables.push(table);
        }
    }
    tables
}

fn is_count(plan: &ModifyPlan) -> bool {
    plan.operations
        .iter()
        .any(|(_, operation)| matches!(operation, Operation::Count { .. }))
}

/// Writes under the latch, which the engine lets go once the write is applied: a client that leaves meanwhile does not.
async fn write(
    database: &Database,
    mutations: Vec<Mutation>,
    kind: WriteType,
    (latch, gates): (LatchGuard, Vec<OwnedRwLockReadGuard<()>>),
    asker: &Asker,
) -> CqlResult<()> {
    if mutations.is_empty() {
        return Ok(());
    }
    let write = Write::new(mutations);
    database.open_for(&write, asker).await?;
    traces::note(|| format!("Appending {} mutations to commitlog", write.mutations.len()));
    let ticket = database.engine.write_latched(write, latch);
    let results = match gates.is_empty() {
        true => ticket.await,
        // Gone through until the write is applied, also if the client leaves meanwhile.
        false => {
            let applied = tokio::spawn(async move {
                let results = ticket.await;
                drop(gates);
                results
            });
            let is_lost = |_| CqlError::server("The write was cut short");
            applied.await.map_err(is_lost)?
        }
    };
    // Of a table that has just been closed: why.
    let refused = |error| database.write_refused(error, kind);
    results
        .into_iter()
        .try_for_each(|result| result.map_err(refused))
}

/// The partitions that each statement names.
fn keys_of_all(
    database: &Database,
    plans: &[(&ModifyPlan, &[Bound])],
    settings: &Settings,
) -> CqlResult<Vec<Vec<PartitionKey>>> {
    let now = moment(database, settings);
    let keys = plans.iter().map(|(plan, bound)| {
        let scope = Scope {
            bound,
            moment: &now,
            row: None,
            aggregates: &[],
        };
        keys_of(plan, &scope)
    });
    keys.collect()
}

/// All of them, in order and each once.
fn partitions_of(
    plans: &[(&ModifyPlan, &[Bound])],
    keys: &[Vec<PartitionKey>],
) -> Vec<PartitionId> {
    let mut partitions = Vec::with_capacity(plans.len());
    for ((plan, _), keys) in plans.iter().zip(keys) {
        partitions.extend(keys.iter().map(|key| (plan.table.id, key.clone())));
    }
    partitions.sort_unstable();
    partitions.dedup();
    partitions
}

/// The partition that conditional statements are about: all of a request are about one.
fn conditional_key<'k>(
    plans: &[(&ModifyPlan, &[Bound])],
    keys: &'k [Vec<PartitionKey>],
) -> Option<&'k PartitionKey> {
    let mut all = plans.iter().zip(keys);
    let conditional = all.find(|((plan, _), _)| plan.condition.is_some());
    conditional.and_then(|(_, keys)| keys.first())
}

/// The rows a statement is about, as they are now.
async fn read(
    database: &Database,
    plan: &ModifyPlan,
    key: &PartitionKey,
    scope: &Scope<'_>,
    asker: &Asker,
) -> CqlResult<(Option<Row>, Vec<Row>)> {
    let mut stretches = Vec::new();
    for position in rows_of(plan, scope)? {
        stretches.push(key::around(&position));
    }
    let command = ReadCommand {
        table: plan.table.id,
        store: Store::BASE,
        range: KeyRange::One(key.clone()),
        slices: Slices::new(stretches),
        reversed: false,
        columns: plan.table.storage_columns.clone(),
        limits: Limits::NONE,
        resume: None,
        now: scope.moment.seconds,
    };
    let page = read_page(database, &plan.table, command, asker).await?;
    traces::note(|| super::read::noted(&page));
    // One partition was read, without a limit.
    let partition = page.decoded()?.partitions.into_iter().next();
    Ok(partition.map_or((None, Vec::new()), |partition| {
        (partition.static_row, partition.rows)
    }))
}

/// The rows a statement is about; a table without clustering columns has one.
pub fn rows_of(plan: &ModifyPlan, scope: &Scope<'_>) -> CqlResult<Vec<Clustering>> {
    if plan.table.clustering.is_empty() {
        return Ok(vec![Clustering::SINGLE]);
    }
    let places = places_of(plan, scope)?.unwrap_or_default();
    Ok(places
        .into_iter()
        .filter_map(|place| match place {
            Place::Row(position, _) => Some(position),
            Place::Static => None,
        })
        .collect())
}

/// The answer when some IF did not hold: what all of them are about, as it is. Where they are about the static row alone,
/// the partition's first row stands for it, as in Cassandra.
async fn refusal(
    database: &Database,
    plans: &[(&ModifyPlan, &[Bound])],
    key: Option<&PartitionKey>,
    is_batch: bool,
    now: &Moment<'_>,
    found: &Found<'_>,
    asker: &Asker,
) -> CqlResult<Response> {
    let conditional: Vec<_> = plans
        .iter()
        .filter(|(plan, _)| plan.condition.is_some())
        .collect();
    let mut positions = Vec::new();
    for (plan, bound) in &conditional {
        let scope = Scope {
            bound,
            moment: now,
            row: None,
            aggregates: &[],
        };
        if is_about_rows(plan) {
            positions.extend(rows_of(plan, &scope)?);
        }
    }
    positions.sort();
    positions.dedup();
    let (Some((first, _)), Some(key)) = (conditional.first(), key) else {
        return Err(CqlError::server(
            "a conditional statement names its partition",
        ));
    };
    let table = &first.table;
    let touches = |kind: ColumnKind| {
        plans.iter().any(|(plan, _)| {
            let rows = kind == ColumnKind::Regular && !plan.statics_only;
            rows || plan
                .operations
                .iter()
                .any(|(index, _)| table.columns[*index].kind == kind)
        })
    };
    let stand_in = match positions.is_empty() {
        true => {
            first_row(
                database,
                table,
                key,
                now.seconds,
                touches(ColumnKind::Regular),
                asker,
            )
            .await?
        }
        false => None,
    };
    let nothing = Existing::default();
    let refusal = Refusal {
        plans: conditional.iter().map(|(plan, _)| *plan).collect(),
        is_batch,
        existing: found.get(table.id, key).unwrap_or(&nothing),
        key,
        positions,
        stand_in,
        touches_statics: touches(ColumnKind::Static),
        now: now.seconds,
    };
    verdict::refused(table, &refusal)
}

/// The first row of a partition. Without its cells, only an inserted row is one; an update alone makes none.
async fn first_row(
    database: &Database,
    table: &TableSchema,
    key: &PartitionKey,
    now: i64,
    with_cells: bool,
    asker: &Asker,
) -> CqlResult<Option<Row>> {
    let command = ReadCommand {
        table: table.id,
        store: Store::BASE,
        range: KeyRange::One(key.clone()),
        slices: Slices::all(),
        reversed: false,
        columns: table.storage_columns.clone(),
        limits: Limits {
            rows: STAND_IN_ROWS_MAX,
            ..Limits::NONE
        },
        resume: None,
        now,
    };
    let page = read_page(database, table, command, asker)
        .await?
        .decoded()?;
    let partition = page.partitions.into_iter().next();
    let mut rows = partition.into_iter().flat_map(|partition| partition.rows);
    Ok(rows.find(|row| with_cells || row.liveness.is_some()))
}

/// Rows that are looked at for one that can stand for its partition.
const STAND_IN_ROWS_MAX: u32 = 100;
