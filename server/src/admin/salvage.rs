//! `palladium salvage DIR`: an operator gives up what is damaged of a data folder, keeps what is whole around it, and that is written down in it.
//!
//! ```text
//! back: a manifest whose newest commit is whole in no copy: with --yes, the one before it, so that the rest can be looked at
//! look: every block of every table whose key is at hand ─► say what is lost ─► --yes
//! do:   entries for tables that only the schema names ─► record in the folder's audit trail, a line for each table ─► indexes and views of these tables are to be built anew ─► discard (storage::salvage) ─► say what was kept
//! ```
//!
//! What must hold: without `--yes` nothing is changed. The record comes first: what goes is written down before it goes; a crash between the two leaves a record of what
//! was not done yet, and asking again does it. (A commit that is given up is written down behind it: there is no other way to write.) Tables whose key is not at hand are left as they are, and so are the service's own: what they say no operator can
//! give up without knowing it. No index and no view of a table that has lost something answers as if it had not. An older folder is not made newer by a record: it is refused, as the server refuses it.
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
use palladium_storage::{Env, LocalBackend};

use super::accept_rollback::operator;
use super::age::{Age, Ages};
use super::folder::{DAMAGED, Folder, Keys, NOT_CHECKED, WHOLE, backend, in_runtime};
use super::verify::{missing, ring, subscriber_of};
use crate::audit::{Asker, Event, Standing};
use crate::config::Config;
use crate::derived::build;
use crate::env::RealEnv;
use crate::say;
use crate::schema::store;
use crate::server::open_engine;
use crate::service_key::ServiceKey;

/// Characters of a table's losses that its record in the trail holds.
const RECORDED_CHARACTERS_MAX: usize = 4_096;

/// Does it, or says what it would do.
pub fn run(config: &Config, yes: bool) -> ExitCode {
    in_runtime("salvage", salvage(config, yes))
}

/// Keyspace and name of each table.
type Names = BTreeMap<TableId, (String, String)>;

async fn salvage(config: &Config, yes: bool) -> Result<u8, String> {
    let mut losses = Vec::new();
    if let Some(lost) = lost_commit(config, yes).await? {
        if !yes {
            say!(
                "nothing was changed; --yes takes the commit before it, and looks at the rest: what only that commit named goes, be it rows that had left the log. Make a copy of \
                 the folder first"
            );
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
    let Folder {
        backend: files,
        services,
        service,
        inspection,
        ..
    } = folder;
    let names = store::names_of(&inspection, &files, &service).await?;
    let subscriber = subscriber_of(config, &inspection, &files, &service).await;
    let (mut rings, mut is_all) = (Vec::new(), true);
    for (id, root) in inspection.tables() {
        let of_service = root.is_none();
        match ring(&subscriber, &services, &service, id, root, names.get(&id)).await {
            Ok(ring) => rings.push((ring, of_service)),
            Err(why) => {
                say!("not looked at: table {id}: {why}");
                is_all = false;
            }
        }
    }
    let found = look(&inspection, &files, &rings).await?;
    is_all &= !found.is_beyond;
    let of_wrecks = found.wrecks.iter();
    losses.extend(of_wrecks.map(|(wreck, ring)| (Some(ring.table()), wreck.losses.join("\n"))));
    let missing = missing(&inspection, &names);
    for id in &missing {
        let lost = "what was written out of the log, and its entry in the manifest".to_owned();
        say!("lost: table {id}: {lost}");
        losses.push((Some(*id), lost));
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
    // Before the folder is opened to write this down: a log that nobody's entry holds goes with the next segment.
    is_all &= restore(files, &service, &missing).await?;
    record(config, &service, &losses, &names).await?;
    drop((inspection, found));
    give_up(config, &service, &rings).await?;
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
    }
    Ok(Some(lost))
}

struct Found<'a> {
    wrecks: Vec<(Wreck, &'a KeyRing)>,
    /// Something is damaged that is not mended here.
    is_beyond: bool,
}

/// What there is to give up; says it.
async fn look<'a>(
    inspection: &Inspection,
    files: &LocalBackend,
    rings: &'a [(KeyRing, bool)],
) -> Result<Found<'a>, String> {
    let mut found = Found {
        wrecks: Vec::new(),
        is_beyond: false,
    };
    for (ring, of_service) in rings {
        let id = ring.table();
        let wreck = inspection.wreck(files, ring).await;
        let wreck = wreck.map_err(|error| format!("table {id}: {error}"))?;
        if wreck.is_whole() {
            continue;
        }
        let what = match of_service {
            true => "damage that is not mended here",
            false => "lost",
        };
        for line in &wreck.losses {
            say!("{what}: table {id}: {line}");
        }
        match of_service {
            true => found.is_beyond = true,
            false => found.wrecks.push((wreck, ring)),
        }
    }
    Ok(found)
}

/// Writes down what goes, and that what was derived from it is to be built anew.
async fn record(
    config: &Config,
    service: &ServiceKey,
    losses: &[(Option<TableId>, String)],
    names: &Names,
) -> Result<(), String> {
    let say = |error: palladium_storage::Error| error.to_string();
    let env: Arc<dyn Env> = Arc::new(RealEnv::default());
    // Its age has been looked at.
    let options = config.engine_options();
    let (engine, trail) = open_engine(backend(config)?, &env, service, config, options).await?;
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
    let events: Vec<Event> = losses.iter().map(event).collect();
    trail.append(&events).await.map_err(say)?;
    let tables: Vec<TableId> = losses.iter().filter_map(|(table, _)| *table).collect();
    build::begin_anew(&engine, service, &tables).await?;
    engine.close().await.map_err(say)
}

/// Gives tables that only the schema names their entries in the manifest. Nothing goes by it. False: some of them have no root any more.
async fn restore(
    files: LocalBackend,
    service: &ServiceKey,
    missing: &[TableId],
) -> Result<bool, String> {
    if missing.is_empty() {
        return Ok(true);
    }
    let (files, env) = (Arc::new(files), Arc::new(RealEnv::default()));
    let restored = salvage::restore_tables(files, env, service.ring.clone(), missing).await;
    let restored = restored.map_err(|error| error.to_string())?;
    for line in &restored.lines {
        say!("kept: {line}");
    }
    Ok(restored.is_all)
}

/// Looks once more, at the folder as the record left it, and discards.
async fn give_up(
    config: &Config,
    service: &ServiceKey,
    rings: &[(KeyRing, bool)],
) -> Result<(), String> {
    let files = Arc::new(backend(config)?);
    let inspection = Inspection::open(&*files, &service.ring).await;
    let inspection = inspection.map_err(|error| error.to_string())?;
    let mut wrecks = Vec::new();
    for (ring, _) in rings.iter().filter(|(_, of_service)| !of_service) {
        let wreck = inspection.wreck(&*files, ring).await;
        let wreck = wreck.map_err(|error| error.to_string())?;
        if !wreck.is_whole() {
            wrecks.push((wreck, ring));
        }
    }
    let env: Arc<dyn Env> = Arc::new(RealEnv::default());
    let again = |error| format!("not all was given up: {error}; ask again");
    let ring = service.ring.clone();
    let kept = salvage::discard(files, env, ring, &inspection, &wrecks).await;
    for line in &kept.map_err(again)? {
        say!("kept: {line}");
    }
    say!("given up: the server may start");
    Ok(())
}
