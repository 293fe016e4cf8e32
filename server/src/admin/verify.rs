//! `palladium verify DIR`: every tag of a folder that is not in use. Writes nothing into it.
//!
//! | exit | meaning |
//! |---|---|
//! | 0 | whole |
//! | 1 | damage: a line for each structure; a spare copy counts |
//! | 2 | not checked: keys missing, folder in use, wrong usage |
//! | 3 | an older folder than the anchor knows |

use std::collections::BTreeMap;
use std::process::ExitCode;

use palladium_crypto::{Anchor, AnchorError, EncryptionContext, KeyRing, TableId, TableKey};
use palladium_storage::Root;
use palladium_storage::verify::Report;

use super::folder::{DAMAGED, Folder, NOT_CHECKED, OLDER, WHOLE, in_runtime};
use crate::config::Config;
use crate::keys::{KeyServices, open_ring};
use crate::schema::store;
use crate::service_key::ServiceKey;

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
        service,
        mut inspection,
        ..
    } = folder;
    let names = match store::names_of(&inspection, &backend, &service).await {
        Ok(names) => names,
        Err(what) => {
            println!("damage: {what}");
            BTreeMap::new()
        }
    };
    for (id, root) in inspection.tables() {
        match ring(config, &services, &service, id, root, names.get(&id)).await {
            Ok(ring) => inspection.check_table(&backend, &ring).await,
            Err(why) => inspection.skip_table(id, &why),
        }
    }
    Ok(tell(config, &service, inspection.finish()))
}

fn tell(config: &Config, service: &ServiceKey, report: Report) -> u8 {
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
    let anchor = Anchor::read(
        &config.anchor_path(),
        service.cluster,
        service.ring.active(),
    );
    let mut is_age_checked = true;
    let is_older = match anchor {
        Ok(anchor) if anchor.epoch > report.epoch => {
            println!(
                "older: the folder stands at epoch {}, and the anchor knows {}",
                report.epoch, anchor.epoch
            );
            true
        }
        Ok(_) => false,
        Err(AnchorError::Missing) => {
            println!("warning: there is no anchor, so the folder's age is not known");
            false
        }
        Err(error) => {
            println!("not checked: the folder's age: {error}");
            is_age_checked = false;
            false
        }
    };
    match (
        report.damage.is_empty(),
        is_older,
        report.unchecked.is_empty() && is_age_checked,
    ) {
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
