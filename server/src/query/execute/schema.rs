//! Statements that are executed from their tree: schema changes, DESCRIBE; `role` has those about roles.
//!
//! ```text
//! CREATE TABLE   keys.generate ─► engine.create_table ─► schema written ─► catalog swapped ─► keys told ─► event
//! ALTER (key)    keys.switch   ─► engine.switch_key   ─► schema written ─► catalog swapped ─► event
//! DROP TABLE     schema written ─► catalog swapped ─► certificate drafted ─► engine.drop_table destroys the root ─► certificate signed ─► event
//! ```
//!
//! What must hold: one change at a time, and none waits for the key service of another one's table (`schema::turns`); a crash between two steps leaves the old
//! schema or the new one, and what the engine holds beyond that is swept at the next start. A change runs to its end even if its client has gone.

use std::sync::Arc;
use std::time::Duration;

use palladium_crypto::{CmkRef, TableId};
use palladium_protocol::cql::ast::Statement;
use palladium_protocol::response::{Change, Event, SchemaChange};
use palladium_storage::{NewTable, Store};

use super::role;
use crate::audit::{self, Asker};
use crate::auth::change::is_about_roles;
use crate::auth::{self, Roles, grant, needs};
use crate::database::Database;
use crate::derived::build;
use crate::error::{CqlError, CqlResult};
use crate::guardrails;
use crate::permissions::ANONYMOUS;
use crate::query::Outcome;
use crate::query::answer::Response;
use crate::query::functions::Moment;
use crate::schema::change::{Changed, Circumstances, Effect, Plan, is_schema_change, plan, told};
use crate::schema::turns::Doing;
use crate::schema::{Catalog, Encryption, TableSchema, store};
use crate::traces;

/// Begins such a statement, for a session in `keyspace`.
pub fn begin(
    database: &Arc<Database>,
    keyspace: Option<&str>,
    tree: &Statement,
    asker: &Asker,
) -> CqlResult<Outcome> {
    if is_about_roles(tree) {
        return Ok(role::begin(database, keyspace, tree, asker));
    }
    if !is_schema_change(tree) {
        return Err(CqlError::unauthorized(ANONYMOUS));
    }
    let Some(under_way) = database.turns.begin() else {
        return Err(CqlError::overloaded("The server is shutting down"));
    };
    let database = database.clone();
    let tree = tree.clone();
    let keyspace = keyspace.map(str::to_owned);
    let asker = asker.clone();
    let work = async move {
        let mut builds = Vec::new();
        let keyspace = keyspace.as_deref();
        let changed = change(&database, keyspace, &tree, &asker, &mut builds).await;
        drop(under_way);
        // After the change is over: a build ends with one of its own.
        for (table, store) in builds {
            build::begin_and_wait(&database, table, store).await;
        }
        changed
    };
    let work = tokio::spawn(traces::follow_here(work));
    Ok(Outcome::Later(Box::pin(async move {
        match work.await {
            Ok(answer) => answer.unwrap_or_else(Response::from),
            Err(_) => CqlError::server("The schema change was cut short").into(),
        }
    })))
}

/// Makes a schema change, from its check to its event.
async fn change(
    database: &Database,
    keyspace: Option<&str>,
    tree: &Statement,
    asker: &Asker,
    builds: &mut Vec<(Arc<TableSchema>, Store)>,
) -> CqlResult<Response> {
    let mut warnings = Vec::new();
    let mut tree = tree.clone();
    let authority = &database.authority;
    let guardrails = database.guardrails_of(authority.authenticates() && authority.is_super(asker));
    guardrails::check_kind(guardrails, &tree)?;
    guardrails::without_ignored(guardrails, &mut tree, &mut warnings)?;
    let tree = &tree;
    let new_id = TableId(uuid::Uuid::new_v4().into_bytes());
    let planned = |before: &Catalog| {
        needs::check_schema(&database.authority, asker, tree, keyspace, before)?;
        let now = database.engine.next_timestamp().max(before.changed_at + 1);
        let circumstances = Circumstances {
            keyspace,
            data_center: &database.config.data_center,
            new_id,
            moment: Moment {
                micros: now,
                seconds: now.div_euclid(1_000_000),
                uuids: &database.prepared.uuids,
            },
            masking: database
                .guardrails
                .is_on(guardrails::Flag::DynamicDataMasking),
        };
        let mut planned = plan(before, tree, &circumstances)?;
        if let Plan::Change(changed) = &mut planned {
            let place = changed.event.keyspace.clone();
            let mut said = Vec::new();
            guardrails::check_change(guardrails, tree, &place, &changed.catalog, &mut said)?;
            changed.warnings.splice(0..0, said);
        }
        Ok::<_, CqlError>((planned, now))
    };
    let (mut turn, mut before, mut changed, mut now) = loop {
        let turn = database.turns.turn().await;
        let before = database.catalog.load_full();
        let (changed, now) = match planned(&before)? {
            (Plan::Nothing, _) => return Ok(Response::Void.with_warnings(warnings)),
            (Plan::Warned(said), _) => {
                warnings.extend(said);
                return Ok(Response::Void.with_warnings(warnings));
            }
            (Plan::Change(changed), now) => (*changed, now),
        };
        match database.turns.in_the_way(&changed.event) {
            None => break (turn, before, changed, now),
            Some(other) => {
                drop(turn);
                other.over().await;
            }
        }
    };
    traces::note(|| "Making the schema change".into());
    let begun = database.trail.now_micros();
    let mut prepared = Prepared::default();
    let reservation = database.turns.reserve(needing_keys(&changed.effects));
    if !reservation.is_empty() {
        // Key services may take long: others have their turn meanwhile, and what they change counts.
        drop(turn);
        let mut done = prepare(database, &changed.effects, asker, &mut prepared).await;
        turn = database.turns.turn().await;
        before = database.catalog.load_full();
        if done.is_ok() {
            done = match planned(&before) {
                Ok((Plan::Change(again), at)) => {
                    (changed, now) = (*again, at);
                    Ok(())
                }
                Ok((Plan::Nothing | Plan::Warned(_), _)) => {
                    Err(CqlError::invalid("The schema has changed meanwhile"))
                }
                Err(error) => Err(error),
            };
        }
        if let Err(error) = done {
            return Err(given_up(database, &before, changed, prepared, begun, error, asker).await);
        }
    }
    prepared.pin(&mut changed.catalog);
    // Who makes something may do everything with it; with what is gone, the permissions on it go.
    let roles = grant::follow(
        &database.authority.roles(),
        &changed.event,
        &changed.catalog,
        asker,
    );
    let written = write(database, &before, &changed.catalog, now, roles.as_ref()).await;
    if let Err(error) = written {
        return Err(given_up(database, &before, changed, prepared, begun, error, asker).await);
    }
    traces::note(|| "The schema change is durable".into());
    for id in &prepared.made {
        database.keys.keep(*id).await;
    }
    let mut catalog = changed.catalog;
    catalog.digest = store::digest_after(&before, &catalog);
    catalog.changed_at = now;
    let told = told(&before, &catalog, &changed.event);
    database.replace_catalog(catalog);
    if let Some(roles) = roles {
        database.authority.store(roles);
    }
    for effect in &changed.effects {
        if let Effect::Build(table, store) = effect {
            builds.push((table.clone(), *store));
        }
    }
    let deleting = database
        .turns
        .reserve(to_be_destroyed(&before, &changed.effects));
    let settled = settle(database, &changed.effects).await;
    drop(reservation);
    drop(turn);
    let finished = settled.and(destroy_all(database, &before, &changed.effects).await);
    drop(deleting);
    let outcome = finished.as_ref().err().map_or(Ok(()), Err);
    audit(database, &before, &changed.effects, begun, outcome, asker).await;
    for event in told {
        database.announce(Event::SchemaChange(event));
    }
    finished?;
    warnings.extend(changed.warnings);
    Ok(Response::SchemaChange(changed.event).with_warnings(warnings))
}

/// What was done before the schema says so.
#[derive(Default)]
struct Prepared {
    /// Tables that are there now.
    made: Vec<TableId>,
    /// Tables that are under another key now. That is durable, whatever comes of the rest.
    switched: Vec<Arc<TableSchema>>,
    /// The key that each of these tables is under: an alias was followed once.
    pins: Vec<(Arc<TableSchema>, CmkRef)>,
}

impl Prepared {
    fn pin(&self, catalog: &mut Catalog) {
        for (table, cmk) in &self.pins {
            pin(catalog, table, cmk);
        }
    }
}

fn needing_keys(effects: &[Effect]) -> Vec<(Arc<TableSchema>, Doing)> {
    let tables = effects.iter().filter_map(|effect| match effect {
        Effect::Create(table) => Some((table.clone(), Doing::Creating)),
        Effect::SwitchKey(table) => Some((table.clone(), Doing::Switching)),
        Effect::Drop(_)
        | Effect::Rewrite(_)
        | Effect::SetOptions(_)
        | Effect::Build(..)
        | Effect::DropStore(..) => None,
    });
    tables.collect()
}

fn to_be_destroyed(before: &Catalog, effects: &[Effect]) -> Vec<(Arc<TableSchema>, Doing)> {
    let dropped = |id: &TableId| {
        let mut tables = before.keyspaces.values().flat_map(|of| of.tables.values());
        tables.find(|table| table.id == *id).cloned()
    };
    let tables = effects.iter().filter_map(|effect| match effect {
        Effect::Drop(id) => Some((dropped(id)?, Doing::Deleting)),
        _ => None,
    });
    tables.collect()
}

/// What must be there before the schema names it. On an error `prepared` says what is there already.
async fn prepare(
    database: &Database,
    effects: &[Effect],
    asker: &Asker,
    prepared: &mut Prepared,
) -> CqlResult<()> {
    for effect in effects {
        let (table, cmk) = match effect {
            Effect::Create(table) => {
                let cmk = create(database, table, asker).await?;
                prepared.made.push(table.id);
                (table, cmk)
            }
            Effect::SwitchKey(table) => {
                let cmk = switch_key(database, table, asker).await?;
                prepared.switched.push(table.clone());
                (table, cmk)
            }
            Effect::Drop(_)
            | Effect::Rewrite(_)
            | Effect::SetOptions(_)
            | Effect::Build(..)
            | Effect::DropStore(..) => continue,
        };
        prepared.pins.push((table.clone(), cmk));
    }
    Ok(())
}

/// The change comes to nothing, but for a key switch that is done: that one stands, the catalog follows it, and the client is told that it does not know all of the
/// outcome. What the schema's table still says is put right whenever the catalog is read from it.
async fn given_up(
    database: &Database,
    before: &Catalog,
    changed: Changed,
    prepared: Prepared,
    begun: i64,
    error: CqlError,
    asker: &Asker,
) -> CqlError {
    undo(database, &prepared.made).await;
    let error = match prepared.switched.first() {
        None => error,
        Some(table) => {
            follow_roots(database, before);
            let event = SchemaChange {
                change: Change::Updated,
                ..changed.event
            };
            database.announce(Event::SchemaChange(event));
            CqlError::write_timeout(format!(
                "Table {} is under its new key, durably; what else was asked may not have been written: {}",
                table.full_name(),
                error.message
            ))
        }
    };
    let refused = Err(&error);
    audit(database, before, &changed.effects, begun, refused, asker).await;
    error
}

/// The catalog shows each table under the key that its root names. Only in one's turn.
fn follow_roots(database: &Database, before: &Catalog) {
    let Ok(service_cmk) = database.config.service_cmk() else {
        return;
    };
    let mut catalog = before.clone();
    store::follow_roots(&database.engine, &mut catalog, &service_cmk);
    catalog.digest = store::digest_after(before, &catalog);
    database.replace_catalog(catalog);
}

/// Records what a change did to keys, or would have done.
async fn audit(
    database: &Database,
    before: &Catalog,
    effects: &[Effect],
    begun: i64,
    outcome: Result<(), &CqlError>,
    asker: &Asker,
) {
    for effect in effects {
        let (operation, table) = match effect {
            Effect::Create(table) => ("CREATE TABLE", Some(table)),
            Effect::SwitchKey(table) => ("ALTER TABLE", Some(table)),
            Effect::Drop(id) => {
                let dropped = before.customer_tables().find(|table| table.id == *id);
                ("DROP TABLE", dropped)
            }
            Effect::Rewrite(_)
            | Effect::SetOptions(_)
            | Effect::Build(..)
            | Effect::DropStore(..) => continue,
        };
        let Some(table) = table else { continue };
        let latency = database.trail.now_micros().saturating_sub(begun);
        let event = audit::Event {
            table: Some((table.keyspace.clone(), table.name.clone())),
            key: Some(cmk_of(&table.encryption)),
            outcome: outcome.map_err(|error| error.message.clone()),
            latency: Duration::from_micros(u64::try_from(latency).unwrap_or_default()),
            asker: asker.clone(),
            ..audit::Event::of_server(operation, begun)
        };
        database.audit.record(event).await;
    }
}

/// Nothing names these tables; what cannot be removed now is swept at the next start.
async fn undo(database: &Database, made: &[TableId]) {
    for id in made {
        let _ = database.engine.drop_table(*id).await;
        database.keys.forget(*id);
        database.instruments.tables.forget(*id);
        database.keys.keep(*id).await;
    }
}

/// Makes a table, and says under which key: an alias is followed once.
async fn create(database: &Database, table: &TableSchema, asker: &Asker) -> CqlResult<CmkRef> {
    let named = cmk_of(&table.encryption);
    let (root, keys) = database
        .keys
        .generate(&table.keyspace, &table.name, table.id, &named, asker)
        .await?;
    let (lease, cmk) = (keys.lease, root.cmk.clone());
    let new = NewTable {
        id: table.id,
        options: table.for_storage(),
        root: Some(root),
        keys,
    };
    if let Err(error) = database.engine.create_table(new).await {
        database.keys.keep(table.id).await;
        return Err(error.into());
    }
    database
        .keys
        .register(table.id, &table.keyspace, &table.name);
    database.keys.opened(table.id, lease).await;
    Ok(cmk)
}

/// Puts a table under the key that its definition names, and says under which one it is then.
async fn switch_key(database: &Database, table: &TableSchema, asker: &Asker) -> CqlResult<CmkRef> {
    let named = cmk_of(&table.encryption);
    let (root, keys) = database.keys.switch(table.id, &named, asker).await?;
    let (lease, cmk) = (keys.lease, root.cmk.clone());
    let switched = database.engine.switch_key(table.id, root, keys).await;
    if switched.is_ok() {
        database.keys.opened(table.id, lease).await;
    }
    database.keys.keep(table.id).await;
    switched.map_err(|error| database.refused(error))?;
    Ok(cmk)
}

/// The schema names the key that an alias led to: whoever moves the alias later moves no table.
fn pin(catalog: &mut Catalog, table: &TableSchema, cmk: &CmkRef) {
    let keyspace = catalog.keyspaces.get(&table.keyspace);
    let Some(present) = keyspace.and_then(|keyspace| keyspace.tables.get(&table.name)) else {
        return;
    };
    let is_named_otherwise =
        matches!(&present.encryption, Encryption::Customer(named) if named != cmk);
    if !is_named_otherwise {
        return;
    }
    let mut definition = present.definition();
    definition.encryption = Encryption::Customer(cmk.clone());
    catalog.replace_table(definition);
}

fn cmk_of(encryption: &Encryption) -> CmkRef {
    match encryption {
        Encryption::Customer(cmk) => cmk.clone(),
        Encryption::Default => CmkRef::parse("default").expect("default is the name of a key"),
    }
}

/// One log group of the schema's table: all of the change, with what it means for roles, or nothing of it.
async fn write(
    database: &Database,
    before: &Catalog,
    after: &Catalog,
    now: i64,
    roles: Option<&Roles>,
) -> CqlResult<()> {
    let change = store::Change::between(before, after);
    if change.is_empty() && roles.is_none() {
        return Ok(());
    }
    let mut write = change.into_write(now);
    let of_roles =
        roles.and_then(|roles| auth::store::between(&database.authority.roles(), roles, now));
    write.mutations.extend(of_roles);
    let results = database.engine.write(vec![write]).await;
    match results.into_iter().next() {
        Some(Err(error)) => Err(error.into()),
        _ => Ok(()),
    }
}

/// What follows once the schema says so, before the next change.
async fn settle(database: &Database, effects: &[Effect]) -> CqlResult<()> {
    let mut settled = Ok(());
    for effect in effects {
        let done = match effect {
            // What was made before its turn is made of the definition of that moment.
            Effect::Create(table) | Effect::SetOptions(table) => database
                .engine
                .set_options(table.id, table.for_storage())
                .map_err(CqlError::from),
            Effect::Rewrite(id) => {
                let begun = database.engine.rewrite(*id).await;
                begun.map_err(|error| database.refused(error))
            }
            // Nothing names it any more; what cannot be removed now goes at the next start.
            Effect::DropStore(id, store) => database
                .engine
                .drop_store(*id, *store)
                .await
                .map_err(CqlError::from),
            Effect::Drop(_) | Effect::SwitchKey(_) | Effect::Build(..) => Ok(()),
        };
        settled = settled.and(done);
    }
    settled
}

/// Destroys what was dropped. One table that cannot be destroyed now keeps none of the others.
async fn destroy_all(database: &Database, before: &Catalog, effects: &[Effect]) -> CqlResult<()> {
    let mut destroyed = Ok(());
    for effect in effects {
        if let Effect::Drop(id) = effect {
            destroyed = destroyed.and(destroy(database, before, *id).await);
        }
    }
    destroyed
}

/// Destroys a table, root first, with the proof of it.
async fn destroy(database: &Database, before: &Catalog, id: TableId) -> CqlResult<()> {
    let draft = match before.customer_tables().find(|table| table.id == id) {
        Some(table) => Some(database.shredding.draft(table).await),
        None => None,
    };
    database.keys.forget(id);
    database.instruments.tables.forget(id);
    let dropped = database.engine.drop_table(id).await;
    database.keys.keep(id).await;
    if let Err(error) = dropped {
        // Nobody keeps its key any more, so nobody else would close it.
        database.engine.lock(id).await;
        return Err(error.into());
    }
    if let Some(draft) = draft
        && let Err(error) = database.shredding.certify(draft).await
    {
        tracing::error!(table = %id, %error, "the certificate of a destroyed table is made at the next start");
    }
    Ok(())
}
