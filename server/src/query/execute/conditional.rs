//! Modifications that look before they write: IF, counters, and operations on a list's elements.
//!
//! ```text
//! keys at hand ─► latch every partition ─► read the rows ─► IF holds? ─► mutations, newer than all that was read ─► write ─► unlatch
//!       ▲                                                │ one is not at hand any more
//!       └──────────────────── unlatch ◄──────────────────┘
//! ```
//!
//! Where all latches are free and memory has the rows, all of this but the write happens while the request is begun.
//!
//! One server owns its data, so a latch in memory is all that compare-and-set needs: whoever else wants the partition waits
//! until the write is applied.
//!
//! What must hold: nothing conditional about a partition happens outside its latch; a conditional write is newer than what
//! it was decided on; a counter's cell holds its total, written with a timestamp above the one it replaces, so that
//! replaying the log counts nothing twice; nobody waits for a key service under a latch, which tables of other keys share.

use std::sync::Arc;

use futures::FutureExt;
use palladium_crypto::TableId;
use palladium_protocol::ErrorCode;
use palladium_protocol::cql::ast::BatchKind;
use palladium_protocol::response::WriteType;
use palladium_storage::{
    KeyRange, LatchGuard, Limits, Mutation, PartitionKey, PartitionUpdate, ReadCommand, ReadPage,
    ReadRows, Row, Slices, Store, Write,
};

use super::condition::{applies, check_conditional, is_about_rows};
use super::consistency::{self, guard};
use super::counter::Totals;
use super::demand::{Demand, rows_of};
use super::existing::{Existing, Found, PartitionId};
use super::verdict::{self, Refusal};
use super::write::{
    batch_timestamp, check_age, check_timestamp, check_without_keys, guard_batch, merged,
    needs_row, plans_of, stamp, update_of, write_type,
};
use super::{Settings, moment, read_while_open, try_read};
use crate::database::Database;
use crate::derived::{entries, views};
use crate::error::{CqlError, CqlResult};
use crate::guardrails::check_values;
use crate::query::Outcome;
use crate::query::analyze::{ModifyPlan, Operation};
use crate::query::answer::Response;
use crate::query::expression::Scope;
use crate::query::functions::Moment;
use crate::query::prepared::Statement;
use crate::query::values::Given;
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

/// Statements that are executed under the latches of their partitions.
struct Latched<'a> {
    pub database: &'a Arc<Database>,
    pub statements: &'a [(Arc<Statement>, Given)],
    pub settings: &'a Settings,
    /// Of which kind the batch is; None: it is one statement.
    pub batch: Option<BatchKind>,
}

/// What statements came to, under their latches.
enum Decided {
    /// They change nothing.
    Answer(Response),
    Write {
        mutations: Vec<Mutation>,
        kind: WriteType,
        done: Response,
        held: Held,
    },
}

/// What is held until a write is applied.
struct Held {
    latch: LatchGuard,
    /// Until it is handed over: whoever builds an index waits for those who do not know of it. Who begins requests holds one as old for those that were decided
    /// at once.
    catalog: Arc<Catalog>,
}

/// Executes statements at once where no latch is held and memory has what they look at, so that their write goes with all others of the connection; else the
/// answer comes later.
pub fn begin(
    database: &Arc<Database>,
    statements: Vec<(Arc<Statement>, Given)>,
    settings: &Settings,
    batch: Option<BatchKind>,
) -> Outcome {
    let latched = Latched {
        database,
        statements: &statements,
        settings,
        batch,
    };
    match latched.decide(Patience::None).now_or_never() {
        Some(Ok(Some(Decided::Answer(answer)))) => return Outcome::Ready(answer),
        Some(Ok(Some(Decided::Write {
            mutations,
            kind,
            done,
            held,
        }))) => {
            let write = Write::new(mutations);
            if database.keys_at_hand(&write) {
                let write = write.under(held.latch);
                return Outcome::Write { write, done, kind };
            }
        }
        Some(Err(error)) => return Outcome::Ready(error.into()),
        Some(Ok(None)) | None => {}
    }
    let (database, settings) = (database.clone(), settings.clone());
    Outcome::Later(Box::pin(async move {
        let latched = Latched {
            database: &database,
            statements: &statements,
            settings: &settings,
            batch,
        };
        latched.run().await.unwrap_or_else(Response::from)
    }))
}

impl Latched<'_> {
    async fn run(&self) -> CqlResult<Response> {
        for _ in 0..OPENINGS_MAX {
            self.open().await?;
            match self.decide(Patience::Disk).await? {
                Some(Decided::Answer(answer)) => return Ok(answer),
                Some(Decided::Write {
                    mutations,
                    kind,
                    done,
                    held,
                }) => {
                    let mutations = Write::new(mutations);
                    if self.database.keys_at_hand(&mutations) {
                        write(self.database, mutations, kind, held).await?;
                        return Ok(done);
                    }
                }
                None => {}
            }
        }
        let is_closed = |table: &TableId| !self.database.engine.lease_alive(*table);
        let lost = self.tables().find(is_closed).or(self.tables().next());
        Err(match lost {
            Some(table) => self.database.keys.lost(table),
            None => CqlError::server("who writes names a table"),
        })
    }

    /// Asks for the keys that are not at hand, before anything is latched: a latch is shared by partitions of other tables, whose keys are.
    async fn open(&self) -> CqlResult<()> {
        for table in self.tables() {
            let keys = &self.database.keys;
            keys.ensure(table, &self.settings.asker).await?;
        }
        Ok(())
    }

    /// The tables of the statements, as often as they are named.
    fn tables(&self) -> impl Iterator<Item = TableId> {
        plans_of(self.statements)
            .into_iter()
            .map(|(plan, _)| plan.table.id)
    }

    /// Latches, looks and decides. None: it takes waiting, or a key that is not at hand.
    async fn decide(&self, patience: Patience) -> CqlResult<Option<Decided>> {
        let Latched {
            database,
            statements,
            settings,
            batch,
        } = *self;
        let plans = plans_of(statements);
        let has_views = |table: &TableSchema| table.has_views();
        if patience == Patience::None && plans.iter().any(|(plan, _)| has_views(&plan.table)) {
            return Ok(None);
        }
        let begun = moment(database, settings);
        if plans.iter().any(|(plan, _)| plan.condition.is_some()) {
            check_conditional(&plans, batch.is_some(), &begun)?;
            let catalog = database.catalog.load();
            let first = plans.first();
            let keyspace = first.and_then(|(plan, _)| catalog.keyspace(&plan.table.keyspace));
            consistency::check_agreed(keyspace.map(Arc::as_ref), settings)?;
        } else if let (None, [(plan, bound)]) = (batch, &plans[..]) {
            check_timestamp(plan, &Scope::of_values(bound, &begun))?;
        }
        let demand = Demand::new(plans, &begun)?;
        let timestamp = batch_timestamp(statements, &begun)?;
        let partitions = demand.partitions();
        if patience == Patience::None && partitions.len() > PARTITIONS_AT_ONCE_MAX {
            return Ok(None);
        }
        let latch = match patience {
            Patience::None => match database.engine.try_latch_all(&partitions) {
                Some(latch) => latch,
                None => return Ok(None),
            },
            Patience::Disk => {
                traces::note(|| "Waiting for latches or what is not in memory".into());
                database.engine.latch_all(&partitions).await
            }
        };
        traces::note(|| format!("Holding the latches of {} partitions", partitions.len()));
        // The moment is taken under the latch: later holders of it come later in time.
        let now = moment(database, settings);
        let mut turns = Turns::new(patience);
        let Some(found) = self.look(&demand, &partitions, &now, &mut turns).await? else {
            return Ok(None);
        };
        if demand.is_conditional && !all_apply(&demand, &found, &now, &mut turns).await? {
            let refusal = self.refusal(&demand, &now, &found, patience).await?;
            return Ok(refusal.map(Decided::Answer));
        }
        let client = timestamp.or(settings.timestamp);
        let changes = changes(&demand, client, &found, &now, &mut turns).await?;
        // The tables as they are now: an index may have come while the latch was waited for.
        let catalog = database.catalog.load_full();
        let mut bases = tables_now(&catalog, &demand.plans);
        if patience == Patience::None && bases.iter().any(|table| has_views(table)) {
            return Ok(None);
        }
        let mut mutations = merged(changes);
        let warnings = match self.guarded(&demand, &bases, &mutations, &now)? {
            Ok(warnings) => warnings,
            Err(answer) => return Ok(Some(Decided::Answer(answer))),
        };
        let kind = match demand.is_conditional {
            true => WriteType::Cas,
            false => write_type(batch, &demand.plans, &mutations),
        };
        for table in &bases {
            if table.has_indexes() {
                entries::add(table, &mut mutations)?;
            }
        }
        bases.retain(|table| has_views(table));
        bases.sort_by_key(|table| table.id);
        for table in bases {
            match views::add(database, &catalog, table, &mut mutations).await {
                // The only thing that may not be at hand there.
                Err(error) if error.code() == ErrorCode::Unavailable => return Ok(None),
                added => added?,
            }
        }
        let answer = match demand.is_conditional {
            true => verdict::applied(&demand.plans[0].0.table),
            false => Response::Void,
        };
        let done = answer.with_warnings(warnings);
        if mutations.is_empty() {
            return Ok(Some(Decided::Answer(done)));
        }
        if !demand.is_conditional {
            consistency::reach(settings.consistency)?;
        }
        Ok(Some(Decided::Write {
            mutations,
            kind,
            done,
            held: Held { latch, catalog },
        }))
    }

    /// What is there of all that the statements have to see. None: it takes waiting, or a key that is not at hand.
    async fn look<'p>(
        &self,
        demand: &Demand<'_>,
        partitions: &'p [PartitionId],
        now: &Moment<'_>,
        turns: &mut Turns,
    ) -> CqlResult<Option<Found<'p>>> {
        let patience = turns.patience;
        let mut found = Found::new(partitions);
        let looking = demand.looking(partitions);
        for ((_, key), own) in partitions.iter().zip(&looking) {
            let Some(command) = demand.command(own, key, now) else {
                continue;
            };
            let rows = command.slices.as_slice().len();
            if patience == Patience::None && rows > ROWS_AT_ONCE_MAX {
                return Ok(None);
            }
            let table = &demand.plans[own[0]].0.table;
            let Some(page) = self.read(table, command, patience).await? else {
                return Ok(None);
            };
            traces::note(|| super::read::noted(&page));
            if let Some(existing) = found.get_mut(table.id, key) {
                existing.absorb(page.decoded()?);
            }
            turns.take().await;
        }
        found.settle();
        Ok(Some(found))
    }

    /// Holds what is to be written against the guardrails: what they warn of, or the answer where a batch is refused.
    fn guarded(
        &self,
        demand: &Demand<'_>,
        bases: &[&Arc<TableSchema>],
        mutations: &[Mutation],
        now: &Moment<'_>,
    ) -> CqlResult<Result<Vec<String>, Response>> {
        let (database, settings) = (self.database, self.settings);
        if let (Some(kind), false) = (self.batch, demand.is_conditional) {
            let (said, checked) = guard_batch(database, kind, &demand.plans, mutations, settings);
            return Ok(match checked {
                Ok(()) => Ok(said),
                Err(error) => Err(Response::from(error).with_warnings(said)),
            });
        }
        let mut warnings = Vec::new();
        let guardrails = database.guardrails_of(settings.is_superuser);
        guard(guardrails, settings, true, &mut warnings)?;
        if guardrails.watches_timestamps() && !demand.is_conditional {
            for (plan, bound) in &demand.plans {
                let scope = Scope::of_values(bound, now);
                check_age(guardrails, plan, &scope, &mut warnings)?;
            }
        }
        if guardrails.watches_values() {
            for table in bases {
                check_values(guardrails, table, mutations, &mut warnings)?;
            }
        }
        Ok(Ok(warnings))
    }

    /// Reads what a statement looks at. None: it takes waiting, or a key that is not at hand.
    async fn read(
        &self,
        table: &TableSchema,
        command: ReadCommand,
        patience: Patience,
    ) -> CqlResult<Option<ReadPage<ReadRows>>> {
        let asker = &self.settings.asker;
        match patience {
            Patience::None => {
                let clock = self.database.engine.reading();
                try_read(self.database, table, &command, asker, clock).transpose()
            }
            Patience::Disk => read_while_open(self.database, table, &command, asker).await,
        }
    }

    /// The answer when some IF did not hold: what all of them are about, as it is. Where they are about the static row alone, the partition's first row stands for
    /// it, as in Cassandra. None: it takes waiting.
    async fn refusal(
        &self,
        demand: &Demand<'_>,
        now: &Moment<'_>,
        found: &Found<'_>,
        patience: Patience,
    ) -> CqlResult<Option<Response>> {
        let key = demand.conditional_key();
        let plans = demand.plans.iter();
        let conditional: Vec<_> = plans.filter(|(plan, _)| plan.condition.is_some()).collect();
        let mut positions = Vec::new();
        for (plan, bound) in &conditional {
            if is_about_rows(plan) {
                positions.extend(rows_of(plan, &Scope::of_values(bound, now))?);
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
        // As in Cassandra, what a batch writes without a condition does not count for static columns, but for those of rows.
        let touches_statics = conditional.iter().any(|(plan, _)| {
            let is_static = |index: usize| table.columns[index].kind == ColumnKind::Static;
            plan.operations.iter().any(|(index, _)| is_static(*index))
        });
        let touches_rows = demand.plans.iter().any(|(plan, _)| names_rows(plan));
        let mut stand_in = None;
        if positions.is_empty() {
            let command = first_rows(table, key, now.seconds);
            let Some(page) = self.read(table, command, patience).await? else {
                return Ok(None);
            };
            stand_in = first_row(page, touches_rows)?;
        }
        let nothing = Existing::default();
        let refusal = Refusal {
            plans: conditional.iter().map(|(plan, _)| *plan).collect(),
            is_batch: self.batch.is_some(),
            existing: found.get(table.id, key).unwrap_or(&nothing),
            key,
            positions,
            stand_in,
            touches_rows,
            touches_statics,
            now: now.seconds,
        };
        verdict::refused(table, &refusal).map(Some)
    }
}

/// Partitions that are looked at while a request is begun: others of the connection's thread want their turn.
const PARTITIONS_AT_ONCE_MAX: usize = 16;
/// Rows of one of them.
const ROWS_AT_ONCE_MAX: usize = 16;

/// Steps of a request after which others get a turn: less than a millisecond's worth.
const STEPS_AT_ONCE: usize = 200;

/// Counts the steps of a request that waits anyway, and lets others have a turn now and then.
struct Turns {
    patience: Patience,
    steps: usize,
}

impl Turns {
    fn new(patience: Patience) -> Turns {
        Turns { patience, steps: 0 }
    }

    async fn take(&mut self) {
        self.steps += 1;
        if self.patience == Patience::Disk && self.steps.is_multiple_of(STEPS_AT_ONCE) {
            tokio::task::yield_now().await;
        }
    }
}

/// How often the keys of a request's tables are asked for: each may fall asleep while another one's service is waited for.
const OPENINGS_MAX: usize = 3;

/// What is waited for while the latches are held: nothing, or the disk. Before that, whoever waits for the disk waits for latches, too.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Patience {
    None,
    Disk,
}

/// Whether every IF holds.
async fn all_apply(
    demand: &Demand<'_>,
    found: &Found<'_>,
    now: &Moment<'_>,
    turns: &mut Turns,
) -> CqlResult<bool> {
    for (plan, bound, own) in demand.each() {
        let scope = Scope::of_values(bound, now);
        let existing = own.first().and_then(|key| found.get(plan.table.id, key));
        turns.take().await;
        if !applies(plan, &scope, existing)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// What statements change of what is there; `client`: the timestamp that came with them.
async fn changes(
    demand: &Demand<'_>,
    client: Option<i64>,
    found: &Found<'_>,
    now: &Moment<'_>,
    turns: &mut Turns,
) -> CqlResult<Vec<Mutation>> {
    let newest = found.newest();
    let mut mutations = Vec::with_capacity(demand.keys.len());
    let mut totals = Totals::default();
    let client = client.filter(|_| !demand.is_conditional);
    for (plan, bound, keys) in demand.each() {
        let scope = Scope::of_values(bound, now);
        let stamp = || {
            let mut stamp = stamp(plan, &scope, client, now.micros)?;
            if demand.is_conditional {
                // One moment for all of them, whatever each says of its own, as in Cassandra: of two values of a cell the greater one stays.
                stamp.timestamp = now.micros.max(newest.saturating_add(1));
            }
            Ok(stamp)
        };
        if keys.is_empty() {
            check_without_keys(plan, &scope, &stamp)?;
        }
        for key in keys {
            turns.take().await;
            let own = found.get(plan.table.id, key);
            let mut update = match plan.is_counter && !plan.operations.is_empty() && is_count(plan)
            {
                true => totals.count(plan, key, &scope, &stamp, own)?,
                false => update_of(plan, &scope, &stamp, &|position| match position {
                    Some(position) => own?.row(position),
                    None => own?.static_row.as_ref(),
                })?,
            };
            if demand.is_conditional {
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
    Ok(mutations)
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

/// The tables of statements as a catalog knows them, each once.
fn tables_now<'c>(
    catalog: &'c Catalog,
    plans: &[(&ModifyPlan, &Given)],
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
async fn write(database: &Database, write: Write, kind: WriteType, held: Held) -> CqlResult<()> {
    traces::note(|| format!("Appending {} mutations to commitlog", write.mutations.len()));
    let Held { latch, catalog } = held;
    let results = database.engine.write(vec![write.under(latch)]).await;
    drop(catalog);
    // Of a table that has just been closed: why.
    let refused = |error| database.write_refused(error, kind);
    results
        .into_iter()
        .try_for_each(|result| result.map_err(refused))
}

/// Whether a statement names rows of its partition.
fn names_rows(plan: &ModifyPlan) -> bool {
    plan.json.is_some()
        || plan.table.clustering.is_empty()
        || !plan.restrictions.clustering.is_empty()
}

/// Reads the first rows of a partition.
fn first_rows(table: &TableSchema, key: &PartitionKey, now: i64) -> ReadCommand {
    ReadCommand {
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
    }
}

/// The first row of a partition. Without its cells, only an inserted row is one; an update alone makes none.
fn first_row(page: ReadPage<ReadRows>, with_cells: bool) -> CqlResult<Option<Row>> {
    let partition = page.decoded()?.partitions.into_iter().next();
    let mut rows = partition.into_iter().flat_map(|partition| partition.rows);
    Ok(rows.find(|row| with_cells || row.liveness.is_some()))
}

/// Rows that are looked at for one that can stand for its partition.
const STAND_IN_ROWS_MAX: u32 = 100;
