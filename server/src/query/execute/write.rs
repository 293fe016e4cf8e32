//! INSERT, UPDATE, DELETE and BATCH: plans and values to mutations, one engine write for each request.
//!
//! What needs no look at the table first becomes mutations while the request is begun; the connection hands the mutations of
//! all its requests to the engine together. The rest goes through `conditional`.
//!
//! What must hold: all statements of a batch carry one timestamp, unless they say their own; each partition of a batch is
//! one mutation; all of them are one write, so all or nothing is durable.

use std::collections::HashSet;
use std::collections::hash_map::{Entry, HashMap};
use std::sync::Arc;

use bytes::Bytes;
use foldhash::quality::RandomState;
use palladium_crypto::TableId;
use palladium_protocol::cql::ast::BatchKind;
use palladium_protocol::response::WriteType;
use palladium_storage::{
    CellState, Clustering, ColumnId, Mutation, PartitionUpdate, RangeTombstone, Row, Store, Write,
};

use super::conditional;
use super::consistency;
use super::row::{RowWriter, needs_existing};
use super::{Settings, moment};
use crate::audit::Asker;
use crate::database::Database;
use crate::derived::entries;
use crate::encode::cell::Stamp;
use crate::encode::key;
use crate::encode::order::Spelling;
use crate::error::{CqlError, CqlResult};
use crate::guardrails::{self, Guardrails};
use crate::query::Outcome;
use crate::query::analyze::{Body, ModifyKind, ModifyPlan};
use crate::query::answer::Response;
use crate::query::expression::{Bound, Expression, Scope};
use crate::query::functions::Moment;
use crate::query::json;
use crate::query::masks;
use crate::query::plan::{self, NamedKeys};
use crate::query::values::Given;
use crate::schema::{ColumnKind, TableKind, TableSchema};

/// Cassandra's bound on TTL: 20 years.
const TTL_MAX: i64 = 20 * 365 * 24 * 60 * 60;

/// The last second that an expiry can be stored for, as in Cassandra by its default configuration: 2038-01-19T03:14:06Z.
const EXPIRY_MAX: i64 = 2_147_483_646;

/// A position in a partition that a statement touches.
pub enum Place {
    Static,
    /// A row, and its clustering values if its position cannot give them back.
    Row(Clustering, Option<Bytes>),
}

impl Place {
    fn position(&self) -> Option<&Clustering> {
        match self {
            Place::Static => None,
            Place::Row(position, _) => Some(position),
        }
    }
}

/// Executes one modification.
pub fn modify(
    database: &Arc<Database>,
    statement: Arc<crate::query::prepared::Statement>,
    bound: Given,
    settings: &Settings,
) -> CqlResult<Outcome> {
    let Body::Modify(plan) = &statement.body else {
        return Err(CqlError::server("only a modification modifies"));
    };
    consistency::check_write(plan, settings)?;
    if conditional::needs_latch(plan) {
        masks::check_condition(database, &settings.asker, plan)?;
        let statements = vec![(statement, bound)];
        return Ok(conditional::begin(database, statements, settings, None));
    }
    let moment = moment(database, settings);
    let scope = Scope::of_values(&bound, &moment);
    check_timestamp(plan, &scope)?;
    let mut mutations = Vec::with_capacity(1);
    let keys = keys_of(plan, &scope)?;
    let stamp = || stamp(plan, &scope, settings.timestamp, moment.micros);
    mutations_of(plan, keys, &scope, &stamp, &mut mutations)?;
    // Before what is derived of them stands among them.
    let kind = write_type(None, &[(plan, &bound)], &mutations);
    if plan.table.has_indexes() {
        entries::add(&plan.table, &mut mutations)?;
    }
    if plan.table.kind == TableKind::Virtual {
        return Ok(ask(database, &plan.table, mutations, &settings.asker));
    }
    let mut warnings = Vec::new();
    let guardrails = database.guardrails_of(settings.is_superuser);
    consistency::guard(guardrails, settings, true, &mut warnings)?;
    if guardrails.watches_timestamps() {
        check_age(guardrails, plan, &scope, &mut warnings)?;
    }
    if guardrails.watches_values() {
        guardrails::check_values(guardrails, &plan.table, &mutations, &mut warnings)?;
    }
    Ok(outcome(mutations, kind, warnings, settings))
}

/// A write to a virtual table asks for something to be done.
fn ask(
    database: &Arc<Database>,
    table: &Arc<TableSchema>,
    mutations: Vec<Mutation>,
    asker: &Asker,
) -> Outcome {
    let done =
        crate::schema::system::write(database.clone(), table.clone(), mutations, asker.clone());
    Outcome::Later(Box::pin(async move {
        match done.await {
            Ok(()) => Response::Void,
            Err(error) => error.into(),
        }
    }))
}

/// A write that may be nothing at all.
pub fn outcome(
    mutations: Vec<Mutation>,
    kind: WriteType,
    warnings: Vec<String>,
    settings: &Settings,
) -> Outcome {
    if mutations.is_empty() {
        return Outcome::Ready(Response::Void.with_warnings(warnings));
    }
    if let Err(error) = consistency::reach(settings.consistency) {
        return Outcome::Ready(Response::from(error).with_warnings(warnings));
    }
    let done = Response::Void.with_warnings(warnings);
    Outcome::Write {
        write: Write::new(mutations),
        done,
        kind,
    }
}

/// What Cassandra calls the write of these statements, where nobody knows whether it happened: drivers decide by it whether to try again. What touches one partition
/// of one keyspace is simple there, in a batch too; an IN over several is a batch without a log. `mutations`: one for each partition, without what is derived of them.
pub fn write_type(
    batch: Option<BatchKind>,
    plans: &[(&ModifyPlan, &Given)],
    mutations: &[Mutation],
) -> WriteType {
    if plans.iter().any(|(plan, _)| plan.is_counter) {
        return WriteType::Counter;
    }
    let is_same = |two: &[Mutation]| two[0].key == two[1].key;
    let of_one_keyspace =
        |two: &[(&ModifyPlan, &Given)]| two[0].0.table.keyspace == two[1].0.table.keyspace;
    if mutations.windows(2).all(is_same) && plans.windows(2).all(of_one_keyspace) {
        return WriteType::Simple;
    }
    match batch {
        Some(BatchKind::Logged) => WriteType::Batch,
        Some(BatchKind::Unlogged | BatchKind::Counter) | None => WriteType::UnloggedBatch,
    }
}

/// Holds a batch against the guardrails. What it says may go with an error.
pub fn guard_batch(
    database: &Database,
    kind: BatchKind,
    plans: &[(&ModifyPlan, &Given)],
    mutations: &[Mutation],
    settings: &Settings,
) -> (Vec<String>, CqlResult<()>) {
    database.instruments.batches.add(kind, mutations.len());
    let mut warnings = Vec::new();
    let guardrails = database.guardrails_of(settings.is_superuser);
    let mut tables: Vec<&TableSchema> = plans.iter().map(|(plan, _)| &*plan.table).collect();
    tables.sort_by_key(|table| table.id);
    tables.dedup_by_key(|table| table.id);
    let checked = consistency::guard(guardrails, settings, true, &mut warnings).and_then(|()| {
        if guardrails.watches_timestamps() {
            let moment = moment(database, settings);
            for (plan, bound) in plans {
                let scope = Scope::of_values(bound, &moment);
                check_age(guardrails, plan, &scope, &mut warnings)?;
            }
        }
        if guardrails.watches_values() {
            for table in &tables {
                guardrails::check_values(guardrails, table, mutations, &mut warnings)?;
            }
        }
        guardrails::check_batch(guardrails, kind, &tables, mutations, &mut warnings)
    });
    (warnings, checked)
}

/// Empties a table, opening it first. One that has fallen asleep meanwhile is opened once more.
pub async fn truncate(database: &Database, table: TableId, asker: &Asker) -> CqlResult<()> {
    let mut is_second = false;
    loop {
        database.keys.ensure(table, asker).await?;
        match database.engine.truncate(table).await {
            Err(palladium_storage::Error::KeyUnavailable { .. }) if !is_second => is_second = true,
            emptied => return emptied.map_err(|error| database.refused(error)),
        }
    }
}

/// Executes the statements of a batch.
pub fn batch(
    database: &Arc<Database>,
    kind: BatchKind,
    statements: Vec<(Arc<crate::query::prepared::Statement>, Given)>,
    settings: &Settings,
) -> CqlResult<Outcome> {
    let plans = plans_of(&statements);
    let flat: Vec<&ModifyPlan> = plans.iter().map(|(plan, _)| *plan).collect();
    // Of a text batch that was asked when it was understood.
    crate::query::analyze::check_batch(kind, &flat, false)?;
    if flat.iter().any(|plan| conditional::needs_latch(plan)) {
        for plan in &flat {
            masks::check_condition(database, &settings.asker, plan)?;
        }
        drop(plans);
        let batch = Some(kind);
        return Ok(conditional::begin(database, statements, settings, batch));
    }
    let moment = moment(database, settings);
    let mut mutations = Vec::with_capacity(flat.len());
    let scope = |bound| Scope::of_values(bound, &moment);
    // All partitions are named before anything else is looked at.
    let mut named = Vec::with_capacity(flat.len());
    for (plan, bound) in &plans {
        named.push(keys_of(plan, &scope(bound))?);
    }
    let timestamp = batch_timestamp(&statements, &moment)?;
    for ((plan, bound), keys) in plans.iter().zip(named) {
        let scope = scope(bound);
        let client = timestamp.or(settings.timestamp);
        let stamp = || stamp(plan, &scope, client, moment.micros);
        mutations_of(plan, keys, &scope, &stamp, &mut mutations)?;
    }
    let mut mutations = merged(mutations);
    let (warnings, checked) = guard_batch(database, kind, &plans, &mutations, settings);
    let of_write = write_type(Some(kind), &plans, &mutations);
    add_derived(&flat, &mut mutations)?;
    Ok(match checked {
        Ok(()) => outcome(mutations, of_write, warnings, settings),
        Err(error) => Outcome::Ready(Response::from(error).with_warnings(warnings)),
    })
}

/// The timestamp that a text batch says for all of its statements. What is wrong with it is met once all partitions are named.
pub fn batch_timestamp(
    statements: &[(Arc<crate::query::prepared::Statement>, Given)],
    moment: &Moment<'_>,
) -> CqlResult<Option<i64>> {
    match statements {
        [(statement, bound)] => match &statement.body {
            Body::Batch(batch) => {
                let scope = Scope::of_values(bound, moment);
                long(&batch.timestamp, &scope, "timestamp")
            }
            _ => Ok(None),
        },
        _ => Ok(None),
    }
}

/// Adds what is derived from the tables of several statements.
pub fn add_derived(plans: &[&ModifyPlan], mutations: &mut Vec<Mutation>) -> CqlResult<()> {
    let mut seen: Vec<TableId> = Vec::new();
    for table in plans.iter().map(|plan| &plan.table) {
        if table.has_indexes() && !seen.contains(&table.id) {
            seen.push(table.id);
            entries::add(table, mutations)?;
        }
    }
    Ok(())
}

/// The modifications in statements: a text batch holds several that share their values.
pub fn plans_of(
    statements: &[(Arc<crate::query::prepared::Statement>, Given)],
) -> Vec<(&ModifyPlan, &Given)> {
    let mut plans: Vec<(&ModifyPlan, &Given)> = Vec::with_capacity(statements.len());
    for (statement, bound) in statements {
        match &statement.body {
            Body::Modify(plan) => plans.push((plan, bound)),
            Body::Batch(batch) => plans.extend(batch.statements.iter().map(|plan| (plan, bound))),
            _ => {}
        }
    }
    plans
}

/// Whether no two are of one partition, as in most batches.
fn are_apart(mutations: &[Mutation]) -> bool {
    if mutations.len() < 2 {
        return true;
    }
    let mut seen = HashSet::with_capacity_and_hasher(mutations.len(), RandomState::default());
    mutations
        .iter()
        .all(|mutation| seen.insert((mutation.table, &mutation.key)))
}

/// One mutation for each partition.
pub fn merged(mutations: Vec<Mutation>) -> Vec<Mutation> {
    if are_apart(&mutations) {
        return mutations;
    }
    let mut places: HashMap<_, usize, _> =
        HashMap::with_capacity_and_hasher(mutations.len(), RandomState::default());
    let mut all: Vec<(Mutation, Vec<PartitionUpdate>)> = Vec::with_capacity(mutations.len());
    for mutation in mutations {
        match places.entry((mutation.table, mutation.key.clone())) {
            Entry::Occupied(place) => all[*place.get()].1.push(mutation.update),
            Entry::Vacant(place) => {
                place.insert(all.len());
                all.push((mutation, Vec::new()));
            }
        }
    }
    let each = all.into_iter().map(|(mut mutation, others)| {
        mutation.update.absorb_all(others);
        mutation
    });
    each.collect()
}

/// Refuses what is no timestamp, which is said of a statement that stands alone before all else.
pub fn check_timestamp(plan: &ModifyPlan, scope: &Scope<'_>) -> CqlResult<()> {
    long(&plan.timestamp, scope, "timestamp").map(drop)
}

/// Holds the timestamp that a statement says, if it does, against the clock.
pub fn check_age(
    guardrails: &Guardrails,
    plan: &ModifyPlan,
    scope: &Scope<'_>,
    warnings: &mut Vec<String>,
) -> CqlResult<()> {
    match long(&plan.timestamp, scope, "timestamp")? {
        Some(said) => {
            let (table, now) = (&plan.table.name, scope.moment.micros);
            guardrails::check_age(guardrails, table, said, now, warnings)
        }
        None => Ok(()),
    }
}

/// Timestamp and TTL of a statement.
pub fn stamp(
    plan: &ModifyPlan,
    scope: &Scope<'_>,
    client: Option<i64>,
    server: i64,
) -> CqlResult<Stamp> {
    let said = long(&plan.timestamp, scope, "timestamp")?;
    let default = i64::from(plan.table.options.default_time_to_live);
    let ttl = match long(&plan.ttl, scope, "TTL")? {
        None => default,
        Some(ttl) if ttl < 0 => {
            return Err(CqlError::invalid(format!(
                "A TTL must be greater or equal to 0, but was {ttl}"
            )));
        }
        Some(ttl) if ttl > TTL_MAX => {
            return Err(CqlError::invalid(format!(
                "ttl is too large. requested ({ttl}) maximum ({TTL_MAX})"
            )));
        }
        Some(ttl) => ttl,
    };
    let now = scope.moment.seconds;
    if ttl > 0 && now.saturating_add(ttl) > EXPIRY_MAX {
        return Err(expires_too_late(plan, ttl));
    }
    // A deletion has none, and yet Cassandra refuses it with the rest.
    let ttl = match plan.is_counter || plan.kind == ModifyKind::Delete {
        true => 0,
        false => ttl,
    };
    let timestamp = said.or(client).unwrap_or(server);
    if timestamp == i64::MIN {
        return Err(CqlError::invalid(format!(
            "Out of bound timestamp, must be in [{}, {}]",
            i64::MIN + 1,
            i64::MAX
        )));
    }
    Ok(Stamp {
        timestamp,
        ttl: ttl as u32,
        now,
    })
}

fn expires_too_late(plan: &ModifyPlan, ttl: i64) -> CqlError {
    let default = match plan.ttl {
        None => "default ",
        Some(_) => "",
    };
    CqlError::invalid(format!(
        "Request on table {} with {default}ttl of {ttl} seconds exceeds maximum supported expiration date of \
         2038-01-19T03:14:06+00:00. In order to avoid this use a lower TTL, change the expiration date overflow policy or upgrade to a \
         version where this limitation is fixed. See CASSANDRA-14092 and CASSANDRA-14227 for more details.",
        plan.table.full_name()
    ))
}

/// A number of USING; unset counts as not said, and so does a null TTL.
pub fn long(
    expression: &Option<Expression>,
    scope: &Scope<'_>,
    what: &str,
) -> CqlResult<Option<i64>> {
    let Some(expression) = expression else {
        return Ok(None);
    };
    let value = match expression.evaluate(scope)? {
        Bound::Unset => return Ok(None),
        Bound::Null if what == "TTL" => return Ok(Some(0)),
        Bound::Value(value) if what == "TTL" && value.is_empty() => return Ok(Some(0)),
        Bound::Null => return Err(CqlError::invalid(format!("Invalid null value of {what}"))),
        Bound::Value(value) => value,
    };
    match value.len() {
        8 => Ok(value[..].try_into().map(i64::from_be_bytes).ok()),
        4 => Ok(value[..]
            .try_into()
            .map(|bytes| i64::from(i32::from_be_bytes(bytes)))
            .ok()),
        _ => Err(CqlError::invalid(format!("Invalid {what} value"))),
    }
}

/// What a statement writes with: asked for once its rows are known, and of no rows never, because its mistakes are met then.
pub type Stamping<'a> = dyn Fn() -> CqlResult<Stamp> + 'a;

/// Checks what is said beside an IN of no partitions.
pub fn check_without_keys(
    plan: &ModifyPlan,
    scope: &Scope<'_>,
    stamp: &Stamping<'_>,
) -> CqlResult<()> {
    let names_rows = match places_of(plan, scope)? {
        Some(places) => !places.is_empty(),
        None => {
            let positions = plan::positions(&plan.table, &plan.restrictions, scope)?;
            !positions.stretches(&plan.table)?.is_empty() || positions.is_open_at_null()
        }
    };
    match names_rows {
        true => stamp().map(drop),
        false => Ok(()),
    }
}

/// Adds the mutations of a statement that needs no look at the table.
pub fn mutations_of(
    plan: &ModifyPlan,
    keys: NamedKeys,
    scope: &Scope<'_>,
    stamp: &Stamping<'_>,
    out: &mut Vec<Mutation>,
) -> CqlResult<()> {
    if keys.is_empty() {
        check_without_keys(plan, scope, stamp)?;
    }
    for key in keys {
        let update = update_of(plan, scope, stamp, &|_| None)?;
        if !update.is_empty() {
            out.push(Mutation {
                table: plan.table.id,
                store: Store::BASE,
                key,
                update,
            });
        }
    }
    Ok(())
}

/// The partitions a modification names.
pub fn keys_of(plan: &ModifyPlan, scope: &Scope<'_>) -> CqlResult<NamedKeys> {
    if let Some(insert) = &plan.json {
        let document = json::document(plan, insert, scope)?;
        return Ok(smallvec::smallvec![key::partition_key(
            &document.partition()?
        )?]);
    }
    plan::written_keys(&plan.table, &plan.restrictions, scope)
}

/// The rows a modification names one by one; None if it names a stretch of them or the whole partition.
pub fn places_of(plan: &ModifyPlan, scope: &Scope<'_>) -> CqlResult<Option<Vec<Place>>> {
    if let Some(insert) = &plan.json {
        let document = json::document(plan, insert, scope)?;
        return Ok(Some(vec![row_place(&plan.table, &document.clustering()?)?]));
    }
    if plan.statics_only && plan.restrictions.clustering.is_empty() {
        return Ok(Some(vec![Place::Static]));
    }
    if plan.table.clustering.is_empty()
        && !(plan.kind == ModifyKind::Delete && plan.operations.is_empty())
    {
        return Ok(Some(vec![Place::Row(Clustering::SINGLE, None)]));
    }
    if !plan.restrictions.is_full_clustering || plan.restrictions.clustering.is_empty() {
        return Ok(None);
    }
    let positions = plan::positions(&plan.table, &plan.restrictions, scope)?;
    let mut places: Vec<Place> = Vec::with_capacity(positions.prefixes.len());
    for values in &positions.prefixes {
        places.push(row_place(&plan.table, values)?);
    }
    if places.len() > 1 {
        // A row that an IN names twice is one row: a counter moves once.
        let mut named = HashSet::with_capacity(places.len());
        places.retain(|place| match place {
            Place::Row(position, _) => named.insert(position.clone()),
            Place::Static => true,
        });
        // Of several rows the first one in the table's order is looked at first, however they are named.
        places.sort_by(|a, b| a.position().cmp(&b.position()));
    }
    Ok(Some(places))
}

fn row_place(table: &TableSchema, values: &[Bytes]) -> CqlResult<Place> {
    if table.clustering.is_empty() {
        return Ok(Place::Row(Clustering::SINGLE, None));
    }
    key::check_clustering(values)?;
    let (clustering, spelling) = key::clustering(table.clustering_columns(), values)?;
    let raw = (spelling == Spelling::Lost).then(|| key::raw_clustering(values));
    Ok(Place::Row(clustering, raw))
}

/// What a modification does to one partition. `existing` gives the row at a place as it is, where that was read.
pub fn update_of<'r>(
    plan: &ModifyPlan,
    scope: &Scope<'_>,
    stamp: &Stamping<'_>,
    existing: &dyn Fn(Option<&Clustering>) -> Option<&'r Row>,
) -> CqlResult<PartitionUpdate> {
    let mut update = PartitionUpdate::default();
    let Some(places) = places_of(plan, scope)? else {
        delete_stretches(plan, scope, stamp, &mut update)?;
        return Ok(update);
    };
    if places.is_empty() {
        // An IN of nothing: the static row is not written either.
        return Ok(update);
    }
    let stamp = stamp()?;
    let columns = &plan.table.columns;
    let mut static_row = Row::new_static();
    // Each put at its place, those of an IN from the last to the first would be moved as often as there are others.
    let mut several = Vec::new();
    let is_one = places.len() == 1;
    for place in places {
        let (position, raw) = match place {
            Place::Static => (None, None),
            Place::Row(position, raw) => (Some(position), raw),
        };
        let mut row = Row::new(position.clone().unwrap_or(Clustering::MIN));
        row.cells.reserve(plan.operations.len());
        if plan.kind == ModifyKind::Insert && position.is_some() && plan.table.marks_rows() {
            row.liveness = Some(stamp.liveness());
        }
        if plan.kind == ModifyKind::Delete && plan.operations.is_empty() {
            row.deletion = Some(stamp.deletion());
        }
        if let Some(insert) = &plan.json {
            json_row(plan, insert, scope, stamp, &mut row, &mut static_row)?;
        }
        for (index, operation) in &plan.operations {
            let is_static = columns[*index].kind == ColumnKind::Static;
            if is_static {
                // However many rows are named, there is one static row.
                continue;
            }
            let writer = RowWriter {
                table: &plan.table,
                scope,
                stamp,
                existing: existing(position.as_ref()),
            };
            writer.apply(*index, operation, &mut row)?;
        }
        if position.is_some() && !row.is_empty() {
            if let Some(raw) = raw
                && row.deletion.is_none()
            {
                row.cells.push(stamp.cell(
                    ColumnId::RAW_CLUSTERING,
                    Bytes::new(),
                    CellState::Live(raw),
                ));
            }
            row.sort();
            match is_one {
                true => update.add_row(row),
                false => several.push(row),
            }
        }
    }
    if !several.is_empty() {
        update.add_rows(several);
    }
    for (index, operation) in &plan.operations {
        if columns[*index].kind == ColumnKind::Static {
            let writer = RowWriter {
                table: &plan.table,
                scope,
                stamp,
                existing: existing(None),
            };
            writer.apply(*index, operation, &mut static_row)?;
        }
    }
    if !static_row.is_empty() {
        static_row.sort();
        update.static_row = Some(static_row);
    }
    Ok(update)
}

fn json_row(
    plan: &ModifyPlan,
    insert: &crate::query::analyze::JsonInsert,
    scope: &Scope<'_>,
    stamp: Stamp,
    row: &mut Row,
    static_row: &mut Row,
) -> CqlResult<()> {
    let document = json::document(plan, insert, scope)?;
    let writer = RowWriter {
        table: &plan.table,
        scope,
        stamp,
        existing: None,
    };
    for (index, value) in document.columns() {
        let column = &plan.table.columns[index];
        let target = if column.kind == ColumnKind::Static {
            &mut *static_row
        } else {
            &mut *row
        };
        match value {
            Bound::Value(value) => writer.set(column, value, target)?,
            Bound::Null => writer.clear(column, target),
            Bound::Unset => {}
        }
    }
    Ok(())
}

fn delete_stretches(
    plan: &ModifyPlan,
    scope: &Scope<'_>,
    stamp: &Stamping<'_>,
    update: &mut PartitionUpdate,
) -> CqlResult<()> {
    let positions = plan::positions(&plan.table, &plan.restrictions, scope)?;
    let stretches = match positions.is_all() {
        true => Vec::new(),
        false => positions.stretches(&plan.table)?,
    };
    if stretches.is_empty() && !positions.is_all() && !positions.is_open_at_null() {
        return Ok(());
    }
    let stamp = stamp()?;
    let positions = positions.without_null(&plan.table)?;
    if !plan.operations.is_empty() {
        return Err(CqlError::invalid(
            "Range deletions are not supported for specific columns",
        ));
    }
    if positions.is_all() {
        update.deletion = Some(stamp.deletion());
        return Ok(());
    }
    for (start, end) in stretches {
        update.range_tombstones.push(RangeTombstone {
            start,
            end,
            deletion: stamp.deletion(),
        });
    }
    Ok(())
}

/// Whether some operation has to see the row first.
pub fn needs_row(plan: &ModifyPlan) -> bool {
    plan.operations
        .iter()
        .any(|(index, operation)| needs_existing(&plan.table.columns[*index], operation))
}
