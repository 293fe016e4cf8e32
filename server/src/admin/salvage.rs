//! `palladium salvage DIR`: an operator gives up what is damaged of a data folder, keeps what is whole around it, and that is written down in it.
//!
//! ```text
//! back: a manifest whose newest commit is whole in no copy: with --yes, the one before it, so that the rest can be looked at; a log without a watermark: the same
//! own:  the server's own tables, with --own-too ─► what the trail has lost goes ─► record ─► what the others have lost goes ─► numbers that it may have had are passed
//! look: every block of every table whose key is at hand ─► say what is lost ─► --yes
//! do:   record in the folder's audit trail, a line for each table; indexes and views of these tables are to be built anew ─► entries for tables that only the schema names ─►
//!       discard (storage::salvage) ─► say what was kept ─► what is damaged of the log, and needed by nobody now, goes
//! ```
//!
//! What must hold: without `--yes` nothing is changed. The record comes first: what goes is written down before it goes; a crash between the two leaves a record of what
//! was not done yet, and asking again does it. (A commit or a watermark that is given up, and what the trail itself has lost, is written down behind it: there is no other way to write.) Tables whose key is not at hand are left as they are, and
//! so are the service's own without `--own-too`: what they say no operator can give up without knowing it. No index and no view of a table that has lost something answers as if it had not. An older folder is not made newer by a record: it is
//! refused, as the server refuses it.
//!
//! | exit | meaning |
//! |---|---|
//! | 0 | nothing is damaged, or what was damaged has been given up |
//! | 1 | damage that this command does not mend is left |
//! | 2 | nothing was changed: `--yes` missing, keys missing, folder in use |

use std::collections::BTreeMap;
use std::process::ExitCode;
use std::sync::Arc;

use palladium_crypto::{EncryptionContext, KeyRing, TableId};
use palladium_storage::salvage::{self, Wreck};
use palladium_storage::verify::Inspection;
use palladium_storage::{Env, LocalBackend, TableOptions};

use super::accept_rollback::operator;
use super::age::{Age, Ages};
use super::folder::{DAMAGED, Folder, Keys, NOT_CHECKED, WHOLE, backend, in_runtime};
use super::verify::{missing, ring, subscriber_of};
use crate::Engine;
use crate::audit::{Asker, Event, Standing, Trail};
use crate::config::Config;
use crate::derived::build;
use crate::env::RealEnv;
use crate::say;
use crate::schema::{TableSchema, store};
use crate::server::open_engine;
use crate::service_key::ServiceKey;
use crate::service_table;

/// Characters of a table's losses that its record in the trail holds.
const RECORDED_CHARACTERS_MAX: usize = 4_096;

/// More than changes of one table that the log holds at once. Its stores have 65,535 numbers in all.
const COLUMNS_PASSED: u32 = 4_096;
const STORES_PASSED: u16 = 256;

/// So many records are one write.
const RECORDED_AT_ONCE: usize = 500;

/// Of what the log says, so much is in memory before it is written out: tables are as many as they like.
const WRECK_BYTES_MAX: usize = 64 << 20;

/// What the operator agrees to.
#[derive(Debug, Clone, Copy)]
pub struct Consent {
    /// Do it.
    pub yes: bool,
    /// Also what is lost of the server's own tables.
    pub own_too: bool,
}

/// Does it, or says what it would do.
pub fn run(config: &Config, consent: Consent) -> ExitCode {
    in_runtime("salvage", salvage(config, consent))
}

/// Keyspace and name of each table.
type Names = BTreeMap<TableId, (String, String)>;

/// What is given up, a text for each table; None: what is nobody's.
type Losses = Vec<(Option<TableId>, String)>;

async fn salvage(config: &Config, consent: Consent) -> Result<u8, String> {
    let mut losses = Losses::new();
    for lost in [
        lost_commit(config, consent.yes).await?,
        lost_watermark(config, consent.yes).await?,
    ]
    .into_iter()
    .flatten()
    {
        if !consent.yes {
            return Ok(NOT_CHECKED);
        }
        losses.push((None, lost));
    }
    let folder = match Folder::open(config).await? {
        Ok(folder) => folder,
        Err(damage) => {
            say!("damage that is not mended here: {damage}");
            return Ok(DAMAGED);
        }
    };
    let ages = Ages::look(config, &folder).await;
    if let Age::Older(why) | Age::Unknown(why) = ages.of_folder() {
        return Err(format!("{why}; see accept-rollback"));
    }
    let own = own_wrecks(&folder, consent).await?;
    let is_needed =
        |id: TableId| id == service_table::EVENTS_TABLE || id == service_table::SCHEMA_TABLE;
    let mut tables = own.losses.iter().filter_map(|(table, _)| *table);
    if consent.yes && !own.can_be_given_up && tables.any(is_needed) {
        return Err(
            "the server's own tables are damaged, and what goes cannot be written down; see above"
                .into(),
        );
    }
    let is_own_whole = own.losses.is_empty();
    if !own.can_be_given_up || (is_own_whole && !consent.yes) {
        return salvage_tables(config, folder, consent.yes, losses, is_own_whole).await;
    }
    if !is_own_whole {
        losses.extend(own.losses);
        losses.extend(undefined(&folder).await?);
    }
    if !consent.yes {
        say!(
            "nothing was changed; --yes gives this up, and looks at the rest: of the schema that may be definitions, roles and what they may do, of the events what happened to keys. \
             What was taken away from a role may be allowed again, and a password be the one before: look at roles, permissions, passwords and masks before others can connect. \
             Make a copy of the folder first"
        );
        return Ok(NOT_CHECKED);
    }
    let Folder {
        backend, service, ..
    } = folder;
    drop(backend);
    if !is_own_whole {
        give_up_own(config, &service, &std::mem::take(&mut losses)).await?;
    }
    // Also where nothing is lost any more: who asks again may have been stopped before this.
    pass_lost_numbers(config, &service).await?;
    match Folder::open(config).await? {
        Ok(folder) => salvage_tables(config, folder, true, losses, true).await,
        Err(damage) => Err(damage),
    }
}

/// What the server's own tables have lost.
struct Own {
    losses: Losses,
    can_be_given_up: bool,
}

/// Looks at the server's own tables, and says what they have lost. Only what the log has lost of them is given up: who loses an SSTable of the schema loses all of it.
async fn own_wrecks(folder: &Folder, consent: Consent) -> Result<Own, String> {
    let mut own = Own {
        losses: Losses::new(),
        can_be_given_up: consent.own_too,
    };
    for id in service_table::ALL {
        let ring = service_table::ring(&folder.service, id);
        let wreck = wreck_of(&folder.inspection, &folder.backend, &ring).await?;
        if wreck.is_whole() {
            continue;
        }
        let what = match (wreck.is_of_log_alone(), consent.own_too) {
            (true, true) => "lost",
            (true, false) => "damage that is not mended without --own-too",
            (false, _) => "damage that is not mended here",
        };
        let name = service_table::name(id).unwrap_or_default();
        for line in &wreck.losses {
            say!("{what}: the server's own table {name}: {line}");
        }
        own.can_be_given_up &= wreck.is_of_log_alone();
        own.losses.push((Some(id), wreck.losses.join("\n")));
    }
    Ok(own)
}

/// Tables that what is left of the schema does not name; says it.
async fn undefined(folder: &Folder) -> Result<Losses, String> {
    let Folder {
        inspection,
        backend,
        service,
        ..
    } = folder;
    let names = store::names_of_the_rest(inspection, backend, service).await?;
    let tables = inspection.tables().into_iter();
    let undefined =
        tables.filter(|(id, _)| !service_table::ALL.contains(id) && !names.contains_key(id));
    let told = undefined.map(|(id, _)| {
        let lost = "its definition, and with it all of it: the next start removes it";
        say!("lost: table {id}: {lost}");
        (Some(id), lost.to_owned())
    });
    Ok(told.collect())
}

/// Gives up what the server's own tables have lost: first the trail's, so that the rest can be written down.
async fn give_up_own(config: &Config, service: &ServiceKey, losses: &Losses) -> Result<(), String> {
    let rings = |wanted: fn(&TableId) -> bool| -> Vec<KeyRing> {
        let tables = service_table::ALL.into_iter().filter(wanted);
        tables.map(|id| service_table::ring(service, id)).collect()
    };
    let trail = rings(|id| *id == service_table::EVENTS_TABLE);
    let others = rings(|id| *id != service_table::EVENTS_TABLE);
    give_up(config, service, &trail).await?;
    let (engine, trail) = open(config, service).await?;
    append(&trail, losses, &Names::new()).await?;
    engine.close().await.map_err(|error| error.to_string())?;
    // Each of them holds the folder.
    drop((engine, trail));
    give_up(config, service, &others).await
}

/// What was lost of the schema may have been columns, indexes and views: what was written of them bears their numbers still, and nobody else is given these.
async fn pass_lost_numbers(config: &Config, service: &ServiceKey) -> Result<(), String> {
    let (engine, _trail) = open(config, service).await?;
    let all = |_: &TableSchema| true;
    store::change_tables(&engine, service, all, |definition| {
        let (column, store) = (&mut definition.next_column_id, &mut definition.next_store);
        *column = column.saturating_add(COLUMNS_PASSED);
        *store = store.saturating_add(STORES_PASSED);
    })
    .await?;
    engine.close().await.map_err(|error| error.to_string())
}

async fn salvage_tables(
    config: &Config,
    folder: Folder,
    yes: bool,
    mut losses: Losses,
    is_own_whole: bool,
) -> Result<u8, String> {
    let Folder {
        backend: files,
        services,
        service,
        inspection,
        ..
    } = folder;
    let names = store::names_of(&inspection, &files, &service).await?;
    let subscriber = subscriber_of(config, &inspection, &files, &service).await;
    let (mut rings, mut is_all) = (Vec::new(), is_own_whole);
    for (id, root) in inspection.tables() {
        if service_table::ALL.contains(&id) && !is_own_whole {
            continue;
        }
        match ring(&subscriber, &services, &service, id, root, names.get(&id)).await {
            Ok(ring) => rings.push(ring),
            Err(why) => {
                say!("not looked at: table {id}: {why}");
                is_all = false;
            }
        }
    }
    losses.extend(look(&inspection, &files, &rings).await?);
    let missing = missing(&inspection, &names);
    for id in &missing {
        let lost = "what was written out of the log, and its entry in the manifest".to_owned();
        say!("lost: table {id}: {lost}");
        losses.push((Some(*id), lost));
    }
    let is_log_damaged = inspection.is_log_damaged();
    if losses.is_empty() && is_log_damaged {
        let lost = "nothing: what damaged segments of the log hold is written out of them";
        say!("lost: {lost}");
        losses.push((None, lost.to_owned()));
    }
    if losses.is_empty() {
        say!("nothing is to be given up");
        return Ok(if is_all { WHOLE } else { DAMAGED });
    }
    if !yes {
        say!(
            "nothing was changed; --yes gives this up for good. What is lost may have been deletions: rows that they hid are seen again. A copy of the folder, or another copy of the \
             disk, is worth more than what is kept here"
        );
        return Ok(NOT_CHECKED);
    }
    drop((inspection, files));
    record(config, &service, &losses, &names, &missing).await?;
    is_all &= restore(config, &service, &missing).await?;
    give_up(config, &service, &rings).await?;
    if is_log_damaged {
        release(config, &service).await?;
    }
    say!("given up: the server may start");
    Ok(if is_all { WHOLE } else { DAMAGED })
}

/// What is lost of a manifest whose newest commit is whole in no copy; with `yes` it is given up.
async fn lost_commit(config: &Config, yes: bool) -> Result<Option<String>, String> {
    let files = Arc::new(backend(config)?);
    // What is damaged otherwise is said by who opens the folder.
    let Ok(Keys { service, .. }) = Keys::of(&files, config).await? else {
        return Ok(None);
    };
    let Ok(Some(lost)) = salvage::lost_commit(&*files, &service.ring).await else {
        return Ok(None);
    };
    say!("lost: {lost}");
    if yes {
        let env: Arc<dyn Env> = Arc::new(RealEnv::default());
        let given_up = salvage::give_up_commit(files, env, service.ring.clone()).await;
        given_up.map_err(|error| error.to_string())?;
        say!("given up: the folder stands at the commit before it");
    } else {
        say!(
            "nothing was changed; --yes takes the commit before it, and looks at the rest: what only that commit named goes, be it rows that had left the log. Make a copy of \
             the folder first"
        );
    }
    Ok(Some(lost))
}

/// What is lost of a log that has no watermark; with `yes` its end is taken as it is found.
async fn lost_watermark(config: &Config, yes: bool) -> Result<Option<String>, String> {
    let files = Arc::new(backend(config)?);
    let Ok(Keys { service, .. }) = Keys::of(&files, config).await? else {
        return Ok(None);
    };
    let Ok(Some(lost)) = salvage::lost_watermark(&*files, &service.ring).await else {
        return Ok(None);
    };
    say!("lost: {lost}");
    if yes {
        let env: Arc<dyn Env> = Arc::new(RealEnv::default());
        let given_up = salvage::give_up_watermark(files, env, service.ring.clone()).await;
        given_up.map_err(|error| error.to_string())?;
        say!("given up: the log ends where its last whole group does");
    } else {
        say!(
            "nothing was changed; --yes takes the log's end as it is found, and looks at the rest. Make a copy of the folder first"
        );
    }
    Ok(Some(lost.to_owned()))
}

async fn wreck_of(
    inspection: &Inspection,
    files: &LocalBackend,
    ring: &KeyRing,
) -> Result<Wreck, String> {
    let wreck = inspection.wreck(files, ring).await;
    wreck.map_err(|error| format!("table {}: {error}", ring.table()))
}

/// What there is to give up; says it.
async fn look(
    inspection: &Inspection,
    files: &LocalBackend,
    rings: &[KeyRing],
) -> Result<Losses, String> {
    let mut losses = Losses::new();
    for ring in rings {
        let id = ring.table();
        let wreck = wreck_of(inspection, files, ring).await?;
        for line in &wreck.losses {
            say!("lost: table {id}: {line}");
        }
        if !wreck.is_whole() {
            losses.push((Some(id), wreck.losses.join("\n")));
        }
    }
    Ok(losses)
}

async fn open(config: &Config, service: &ServiceKey) -> Result<(Engine, Arc<Trail>), String> {
    let env: Arc<dyn Env> = Arc::new(RealEnv::default());
    // The folder's age has been looked at.
    let options = config.engine_options();
    open_engine(backend(config)?, &env, service, config, options).await
}

/// Writes down what goes, and that what was derived from it is to be built anew. What the log holds of missing tables stays meanwhile.
async fn record(
    config: &Config,
    service: &ServiceKey,
    losses: &Losses,
    names: &Names,
    missing: &[TableId],
) -> Result<(), String> {
    let (engine, trail) = open(config, service).await?;
    for id in missing {
        engine.miss_table(*id, TableOptions::default());
    }
    append(&trail, losses, names).await?;
    let tables: Vec<TableId> = losses.iter().filter_map(|(table, _)| *table).collect();
    build::begin_anew(&engine, service, &tables).await?;
    engine.close().await.map_err(|error| error.to_string())
}

async fn append(trail: &Trail, losses: &Losses, names: &Names) -> Result<(), String> {
    let env = RealEnv::default();
    let event = |(table, lost): &(Option<TableId>, String)| {
        let end = lost.floor_char_boundary(RECORDED_CHARACTERS_MAX);
        let mut told = BTreeMap::from([("lost".to_owned(), lost[..end].to_owned())]);
        told.extend(table.map(|table| ("table".to_owned(), table.to_string())));
        Event {
            table: table.and_then(|table| names.get(&table)).cloned(),
            context: Some(EncryptionContext(told)),
            asker: Asker {
                standing: Standing::Server,
                who: operator().into(),
                client: None,
            },
            ..Event::of_server("SALVAGE", env.wall_micros())
        }
    };
    // A write of the trail's is bounded, and tables are as many as they like.
    for some in losses.chunks(RECORDED_AT_ONCE) {
        let events: Vec<Event> = some.iter().map(event).collect();
        let appended = trail.append(&events).await;
        appended.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// Gives tables that only the schema names their entries in the manifest. Nothing goes by it. False: some of them have no root any more.
async fn restore(
    config: &Config,
    service: &ServiceKey,
    missing: &[TableId],
) -> Result<bool, String> {
    if missing.is_empty() {
        return Ok(true);
    }
    let (files, env) = (Arc::new(backend(config)?), Arc::new(RealEnv::default()));
    let restored = salvage::restore_tables(files, env, service.ring.clone(), missing).await;
    let restored = restored.map_err(|error| error.to_string())?;
    for line in &restored.lines {
        say!("kept: {line}");
    }
    Ok(restored.is_all)
}

/// Looks once more, at the folder as the record left it, and discards.
async fn give_up(config: &Config, service: &ServiceKey, rings: &[KeyRing]) -> Result<(), String> {
    let files = Arc::new(backend(config)?);
    let inspection = Inspection::open(&*files, &service.ring).await;
    let inspection = inspection.map_err(|error| error.to_string())?;
    let (mut wrecks, mut bytes) = (Vec::new(), 0);
    for ring in rings {
        let wreck = inspection.wreck(&*files, ring).await;
        let wreck = wreck.map_err(|error| error.to_string())?;
        if wreck.is_to_be_written() {
            bytes += wreck.bytes();
            wrecks.push((wreck, ring));
        }
        if bytes >= WRECK_BYTES_MAX {
            discard(&files, service, &inspection, &wrecks).await?;
            (wrecks, bytes) = (Vec::new(), 0);
        }
    }
    discard(&files, service, &inspection, &wrecks).await
}

async fn discard(
    files: &Arc<LocalBackend>,
    service: &ServiceKey,
    inspection: &Inspection,
    wrecks: &[(Wreck, &KeyRing)],
) -> Result<(), String> {
    let env: Arc<dyn Env> = Arc::new(RealEnv::default());
    let again = |error| format!("not all was given up: {error}; ask again");
    let ring = service.ring.clone();
    let kept = salvage::discard(files.clone(), env, ring, inspection, wrecks).await;
    for line in &kept.map_err(again)? {
        say!("kept: {line}");
    }
    Ok(())
}

/// What is damaged of the log goes, where nobody needs it any more.
async fn release(config: &Config, service: &ServiceKey) -> Result<(), String> {
    let (engine, _) = open(config, service).await?;
    engine.release_log();
    engine.close().await.map_err(|error| error.to_string())
}
