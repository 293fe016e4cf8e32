//! `palladium key ...`: the local keyring, also while a server uses it. The server reads it again at each Decrypt.

use std::path::Path;
use std::sync::Arc;

use palladium_crypto::{CmkRef, KeyState, Keyring, OsEntropy};

use crate::config::Config;

/// Makes a key; makes the keyring if there is none.
pub fn create(path: &Path, name: &str) -> Result<(), String> {
    let keyring = match path.exists() {
        true => open(path)?,
        false => {
            Keyring::create_new(path, Arc::new(OsEntropy)).map_err(|error| error.to_string())?
        }
    };
    let cmk = keyring
        .key_create(name)
        .map_err(|error| error.to_string())?;
    println!("{cmk}");
    Ok(())
}

/// One line for each key.
pub fn list(path: &Path) -> Result<(), String> {
    for key in open(path)?.key_list().map_err(|error| error.to_string())? {
        let state = match key.state {
            KeyState::Enabled => "enabled",
            KeyState::Disabled => "disabled",
        };
        println!("local:{}\t{state}", key.name);
    }
    Ok(())
}

/// Gives a key back.
pub fn enable(path: &Path, name: &str) -> Result<(), String> {
    open(path)?
        .key_enable(name)
        .map_err(|error| error.to_string())
}

/// Takes a key away. The service's own cannot be: the schema itself stands under it.
pub fn disable(path: &Path, name: &str, config: &Config) -> Result<(), String> {
    if CmkRef::local(name).is_ok_and(|cmk| config.service_cmk().is_ok_and(|service| service == cmk))
    {
        return Err(format!(
            "local:{name} is the service's own key; it cannot be disabled"
        ));
    }
    open(path)?
        .key_disable(name)
        .map_err(|error| error.to_string())
}

fn open(path: &Path) -> Result<Keyring, String> {
    Keyring::open(path).map_err(|error| error.to_string())
}
