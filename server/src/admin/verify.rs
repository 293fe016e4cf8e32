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
use std::sync::Arc;

use palladium_crypto::{
    Anchor, AnchorError, EncryptionContext, KeyRing, Keyring, Kms, TableId, TableKey,
};
use palladium_storage::verify::{Inspection, Report};
use palladium_storage::{LocalBackend, LocalOptions, Root};

use crate::config::Config;
use crate::keys::{KeyServices, open_ring};
use crate::schema::store;
use crate::server::anchor_path;
use crate::service_key::{self, ServiceKey};

const WHOLE: u8 = 0;
const DAMAGED: u8 = 1;
const NOT_CHECKED: u8 = 2;
const OLDER: u8 = 3;

/// Checks the folder and prints what it finds.
pub fn run(config: &Config) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
    {
        Ok(runtime) => runtime,
        Err(error) => return not_checked(&error.to_string()),
    };
    match runtime.block_on(check(config)) {
        Ok(code) => ExitCode::from(code),
        Err(why) => not_checked(&why),
    }
}

fn not_checked(why: &str) -> ExitCode {
    eprintln!("palladium verify: not checked: {why}");
    ExitCode::from(NOT_CHECKED)
}

async fn check(config: &Config) -> Result<u8, String> {
    if !config.data.is_dir() {
        return Err(format!("{} is no folder", config.data.display()));
    }
    // A folder that is none must not become one.
    let backend = LocalBackend::open_existing(&config.data, LocalOptions::default())
        .map_err(|error| error.to_string())?;
    let keyring = Keyring::open(&config.keyring).map_err(|error| format!("keyring: {error}"))?;
    let services = KeyServices::open(&config.kms)
        .await?
        .with("local", Arc::new(keyring) as Arc<dyn Kms>);
    let service = match service_key::fetch_once(&backend, &services).await {
        Ok(service) => service,
        Err(service_key::Attempt::Later(error)) => {
            return Err(format!("the service's own key: {error}"));
        }
        Err(service_key::Attempt::Hopeless(what)) => {
            println!("damage: {what}");
            return Ok(DAMAGED);
        }
    };
    let mut inspection = match Inspection::open(&backend, &service.ring).await {
        Ok(inspection) => inspection,
        Err(error) => {
            println!("damage: {error}");
            return Ok(DAMAGED);
        }
    };
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
    let anchor = Anchor::read(&anchor_path(config), service.cluster, service.ring.active());
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
