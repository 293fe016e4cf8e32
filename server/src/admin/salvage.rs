//! `palladium salvage DIR`: an operator gives up what is damaged of a data folder, keeps what is whole around it, and that is written down in it.
//!
//! ```text
//! look: every block of every table whose key is at hand ─► say what is lost ─► --yes
//! do:   record in the folder's audit trail, a line for each table ─► indexes and views of these tables are to be built anew ─► discard (storage::salvage) ─► say what was kept
//! ```
//!
//! What must hold: without `--yes` nothing is changed. The record comes first: what goes is written down before it goes; a crash between the two leaves a record of what
//! was not done yet, and asking again does it. Tables whose key is not at hand are left as they are, and so are the service's own: what they say no operator can
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
use super::folder::{DAMAGED, Folder, NOT_CHECKED, WHOLE, backend, in_runtime};
use super::verify::{ring, subscriber_of};
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
    if found.wrecks.is_empty() {
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
    record(config, files, &service, &found.wrecks, &names).await?;
    drop((inspection, found));
    give_up(config, &service, &rings).await?;
    Ok(if is_all { WHOLE } else { DAMAGED })
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
    files: LocalBackend,
    service: &ServiceKey,
    wrecks: &[(Wreck, &KeyRing)],
    names: &Names,
) -> Result<(), String> {
    let say = |error: palladium_storage::Error| error.to_string();
    let env: Arc<dyn Env> = Arc::new(RealEnv::default());
    // Its age has been looked at.
    let (engine, trail) = open_engine(files, &env, service, config, 0).await?;
    let event = |(wreck, ring): &(Wreck, &KeyRing)| {
        let mut losses = wreck.losses.join("\n");
        let end = losses.floor_char_boundary(RECORDED_CHARACTERS_MAX);
        losses.truncate(end);
        let told = BTreeMap::from([
            ("table".to_owned(), ring.table().to_string()),
            ("lost".to_owned(), losses),
        ]);
        let name = names.get(&ring.table());
        Event {
            table: name.cloned(),
            context: Some(EncryptionContext(told)),
            asker: Asker {
                standing: Standing::Server,
                who: operator().into(),
                client: None,
            },
            ..Event::of_server("SALVAGE", env.wall_micros())
        }
    };
    let events: Vec<Event> = wrecks.iter().map(event).collect();
    trail.append(&events).await.map_err(say)?;
    let tables: Vec<TableId> = wrecks.iter().map(|(_, ring)| ring.table()).collect();
    build::begin_anew(&engine, service, &tables).await?;
    engine.close().await.map_err(say)
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
    let kept = salvage::discard(files, env, service.ring.clone(), &inspection, &wrecks).await;
    for line in kept.map_err(|error| format!("not all was given up: {error}; ask again"))? {
        say!("kept: {line}");
    }
    say!("given up: the server may start");
    Ok(())
}
