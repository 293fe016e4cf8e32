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

use palladium_crypto::{
    Anchor, AnchorError, EncryptionContext, KeyRing, Keyring, TableId, TableKey,
};
use palladium_storage::verify::{Inspection, Report};
use palladium_storage::{LocalBackend, Root};

use super::folder::{DAMAGED, Folder, NOT_CHECKED, OLDER, WHOLE, in_runtime};
use crate::config::Config;
use crate::keyring_record;
use crate::keys::{KeyServices, open_ring};
use crate::schema::store;
use crate::service_key::ServiceKey;
use crate::service_table::{self, SCHEMA_TABLE};

/// Checks the folder and prints what it finds.
pub fn run(config: &Config) -> ExitCode {
    in_runtime("verify", check(config))
}

async fn check(config: &Config) -> Result<u8, String> {
    let folder = match Folder::open(config).await? {
        Ok(folder) => folder,
        Err(damage) => {
            println!("damage: {damage}");
            return Ok(DAMAGED);
        }
    };
    let Folder {
        backend,
        services,
        keyring,
        service,
        mut inspection,
    } = folder;
    let names = match store::names_of(&inspection, &backend, &service).await {
        Ok(names) => names,
        Err(what) => {
            println!("damage: {what}");
            BTreeMap::new()
        }
    };
    let keyring_age = keyring_age(&keyring, &inspection, &backend, &service).await;
    for (id, root) in inspection.tables() {
        match ring(config, &services, &service, id, root, names.get(&id)).await {
            Ok(ring) => inspection.check_table(&backend, &ring).await,
            Err(why) => inspection.skip_table(id, &why),
        }
    }
    Ok(tell(config, &service, inspection.finish(), keyring_age))
}

/// Whether something is older than it should be.
enum Age {
    Newest,
    Older(String),
    Unknown(String),
}

/// The keyring against what this folder has recorded of it.
async fn keyring_age(
    keyring: &Keyring,
    inspection: &Inspection,
    backend: &LocalBackend,
    service: &ServiceKey,
) -> Age {
    let ring = service_table::ring(service, SCHEMA_TABLE);
    let recorded = async {
        let reader = inspection.reader(backend, &ring).await?;
        keyring_record::recorded(&reader, backend).await
    };
    match (recorded.await, keyring.edit_counter()) {
        (Err(error), _) => Age::Unknown(error.to_string()),
        (_, Err(error)) => Age::Unknown(error.to_string()),
        (Ok(recorded), Ok(edits)) if edits < recorded => Age::Older(format!(
            "the keyring has seen {edits} edits, and the folder knows of {recorded}"
        )),
        _ => Age::Newest,
    }
}

/// The folder against its anchor. Without one nobody knows: a server refuses that too, unless the folder is new.
fn folder_age(config: &Config, service: &ServiceKey, epoch: u64) -> Age {
    let anchor = Anchor::read(
        &config.anchor_path(),
        service.cluster,
        service.ring.active(),
    );
    match anchor {
        Ok(anchor) if anchor.epoch > epoch => Age::Older(format!(
            "the folder stands at epoch {epoch}, and the anchor knows {}",
            anchor.epoch
        )),
        Ok(_) => Age::Newest,
        // Nothing was ever committed: there is nothing that could be an older copy.
        Err(AnchorError::Missing) if epoch == 0 => Age::Newest,
        Err(error) => Age::Unknown(error.to_string()),
    }
}

fn tell(config: &Config, service: &ServiceKey, report: Report, keyring_age: Age) -> u8 {
    for line in &report.warnings {
        println!("warning: {line}");
    }
    for line in &report.damage {
        println!("damage: {line}");
    }
    for line in &report.unchecked {
        println!("not checked: {line}");
    }
    println!("{} structures opened and whole", report.structures);
    let (mut is_older, mut is_checked) = (false, report.unchecked.is_empty());
    let folder_age = folder_age(config, service, report.epoch);
    for (what, age) in [("folder", folder_age), ("keyring", keyring_age)] {
        match age {
            Age::Newest => {}
            Age::Older(how) => {
                println!("older: {how}");
                is_older = true;
            }
            Age::Unknown(why) => {
                println!("not checked: the age of the {what}: {why}");
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
async fn ring(
    config: &Config,
    services: &KeyServices,
    service: &ServiceKey,
    id: TableId,
    root: Option<Root>,
    names: Option<&(String, String)>,
) -> Result<KeyRing, String> {
    let Some(root) = root else {
        return Ok(KeyRing::new(
            TableKey::for_system_table(service.ring.active(), id),
            Vec::new(),
        ));
    };
    let (keyspace, name) = names.ok_or("the schema does not name it")?;
    let context = EncryptionContext::for_table(keyspace, name, &service.subscriber(config));
    open_ring(services, &root, &context, service.cluster)
        .await
        .map_err(|error| error.to_string())
}
