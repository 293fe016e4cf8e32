//! `palladium verify DIR`: every tag of a folder that is not in use. Writes nothing into it.
//!
//! | exit | meaning |
//! |---|---|
//! | 0 | whole |
//! | 1 | damage: a line for each structure; a spare copy counts |
//! | 2 | not checked: keys missing, folder in use, wrong usage |
//! | 3 | an older folder than the anchor knows, or an older keyring than the folder knows |

use std::collections::BTreeMap;
use std::process::ExitCode;

use palladium_crypto::{EncryptionContext, KeyRing, TableId, TableKey};
use palladium_storage::verify::{Inspection, Report};
use palladium_storage::{LocalBackend, Root};

use super::age::{Age, Ages};
use super::folder::{DAMAGED, Folder, NOT_CHECKED, OLDER, WHOLE, in_runtime};
use crate::config::Config;
use crate::keys::{KeyServices, open_ring};
use crate::say;
use crate::schema::store;
use crate::service_key::ServiceKey;
use crate::service_table::{self, SCHEMA_TABLE};
use crate::subscriber;

/// Checks the folder and prints what it finds.
pub fn run(config: &Config) -> ExitCode {
    in_runtime("verify", check(config))
}

async fn check(config: &Config) -> Result<u8, String> {
    let folder = match Folder::open(config).await? {
        Ok(folder) => folder,
        Err(damage) => {
            say!("damage: {damage}");
            return Ok(DAMAGED);
        }
    };
    let ages = Ages::look(config, &folder).await;
    let Folder {
        backend,
        services,
        service,
        mut inspection,
        ..
    } = folder;
    let names = match store::names_of(&inspection, &backend, &service).await {
        Ok(names) => names,
        Err(what) => {
            say!("damage: {what}");
            BTreeMap::new()
        }
    };
    for id in missing(&inspection, &names) {
        inspection.miss_table(id);
    }
    let subscriber = subscriber_of(config, &inspection, &backend, &service).await;
    for (id, root) in inspection.tables() {
        match ring(&subscriber, &services, &service, id, root, names.get(&id)).await {
            Ok(ring) => inspection.check_table(&backend, &ring).await,
            Err(why) => inspection.skip_table(id, &why),
        }
    }
    Ok(tell(&ages, inspection.finish()))
}

/// Tables that the schema names and the manifest does not have.
pub(super) fn missing(
    inspection: &Inspection,
    names: &BTreeMap<TableId, (String, String)>,
) -> Vec<TableId> {
    let known = names.keys().copied();
    known.filter(|id| !inspection.has_table(*id)).collect()
}

/// Who its tables' key services are told subscribes.
pub(super) async fn subscriber_of(
    config: &Config,
    inspection: &Inspection,
    backend: &LocalBackend,
    service: &ServiceKey,
) -> Result<String, String> {
    let ring = service_table::ring(service, SCHEMA_TABLE);
    let reader = inspection.reader(backend, &ring).await;
    let reader = reader.map_err(|error| error.to_string())?;
    subscriber::of_folder(&reader, backend, config, service).await
}

fn tell(ages: &Ages, report: Report) -> u8 {
    for line in &report.warnings {
        say!("warning: {line}");
    }
    for line in &report.damage {
        say!("damage: {line}");
    }
    for line in &report.unchecked {
        say!("not checked: {line}");
    }
    say!("{} structures opened and whole", report.structures);
    let (mut is_older, mut is_checked) = (false, report.unchecked.is_empty());
    for (what, age) in [("folder", ages.of_folder()), ("keyring", ages.of_keyring())] {
        match age {
            Age::Newest => {}
            Age::Older(how) => {
                say!("older: {how}");
                is_older = true;
            }
            Age::Unknown(why) => {
                say!("not checked: the age of the {what}: {why}");
                is_checked = false;
            }
        }
    }
    match (report.damage.is_empty(), is_older, is_checked) {
        (false, _, _) => DAMAGED,
        (_, true, _) => OLDER,
        (_, _, false) => NOT_CHECKED,
        _ => WHOLE,
    }
}

/// The key ring of a table: the service's own tables derive theirs, others ask their key service.
pub(super) async fn ring(
    subscriber: &Result<String, String>,
    services: &KeyServices,
    service: &ServiceKey,
    id: TableId,
    root: Option<Root>,
    names: Option<&(String, String)>,
) -> Result<KeyRing, String> {
    let Some(root) = root else {
        if !service_table::ALL.contains(&id) {
            return Err("its root cannot be read".into());
        }
        return Ok(KeyRing::new(
            TableKey::for_system_table(service.ring.active(), id),
            Vec::new(),
        ));
    };
    let (keyspace, name) = names.ok_or("the schema does not name it")?;
    let subscriber = subscriber.as_deref().map_err(Clone::clone)?;
    let context = EncryptionContext::for_table(keyspace, name, subscriber);
    open_ring(services, &root, &context, service.cluster)
        .await
        .map_err(|error| error.to_string())
}
