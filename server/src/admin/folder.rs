//! A data folder that a command looks at: nobody else has it open, and nothing is written into it.

use std::process::ExitCode;
use std::sync::Arc;

use palladium_crypto::Keyring;
use palladium_storage::verify::Inspection;
use palladium_storage::{LocalBackend, LocalOptions};

use crate::config::Config;
use crate::keys::KeyServices;
use crate::output::complain;
use crate::passphrase;
use crate::service_key::{self, ServiceKey};

/// Everything is as it was written.
pub const WHOLE: u8 = 0;
/// Something is not.
pub const DAMAGED: u8 = 1;
/// Keys missing, folder in use, wrong usage.
pub const NOT_CHECKED: u8 = 2;
/// An older state than one that is known.
pub const OLDER: u8 = 3;

/// A folder with the service's key at hand.
pub struct Folder {
    /// Its files; owned until dropped.
    pub backend: LocalBackend,
    /// The key services of the configuration.
    pub services: KeyServices,
    /// The keyring.
    pub keyring: Arc<Keyring>,
    /// The service's key.
    pub service: ServiceKey,
    /// Manifest, log and roots, read.
    pub inspection: Inspection,
}

/// What opens a folder.
pub struct Keys {
    /// The key services of the configuration.
    pub services: KeyServices,
    /// The keyring.
    pub keyring: Arc<Keyring>,
    /// The service's key.
    pub service: ServiceKey,
}

impl Keys {
    /// Fetches them. An outer error: they cannot be had; an inner one: what names them is damaged.
    pub async fn of(
        backend: &LocalBackend,
        config: &Config,
    ) -> Result<Result<Keys, String>, String> {
        let keyring =
            Keyring::open(&config.keyring).map_err(|error| format!("keyring: {error}"))?;
        let passphrase = passphrase::of(&keyring, config)?;
        passphrase::unlock(&keyring, passphrase.as_ref())?;
        let keyring = Arc::new(keyring);
        let services = KeyServices::open(&config.kms)
            .await?
            .with_keyring(keyring.clone());
        let cmk = config.service_cmk()?;
        match service_key::fetch_once(backend, &services, &cmk).await {
            Ok(service) => Ok(Ok(Keys {
                services,
                keyring,
                service,
            })),
            Err(service_key::Attempt::Later(error)) => {
                Err(format!("the service's own key: {error}"))
            }
            Err(service_key::Attempt::Hopeless(what)) => Ok(Err(what)),
        }
    }
}

impl Folder {
    /// Opens the folder that the configuration names. An outer error: it cannot be looked at; an inner one: it is damaged.
    pub async fn open(config: &Config) -> Result<Result<Folder, String>, String> {
        Folder::unlock(backend(config)?, config).await
    }

    /// The same, where the files are open already.
    pub async fn unlock(
        backend: LocalBackend,
        config: &Config,
    ) -> Result<Result<Folder, String>, String> {
        let Keys {
            services,
            keyring,
            service,
        } = match Keys::of(&backend, config).await? {
            Ok(keys) => keys,
            Err(damage) => return Ok(Err(damage)),
        };
        let inspection = match Inspection::open(&backend, &service.ring).await {
            Ok(inspection) => inspection,
            Err(error) => return Ok(Err(error.to_string())),
        };
        Ok(Ok(Folder {
            backend,
            services,
            keyring,
            service,
            inspection,
        }))
    }
}

/// The files of the folder that the configuration names; a folder that is none does not become one.
pub fn backend(config: &Config) -> Result<LocalBackend, String> {
    if !config.data.is_dir() {
        return Err(format!("{} is no folder", config.data.display()));
    }
    LocalBackend::open_existing(&config.data, LocalOptions::default())
        .map_err(|error| error.to_string())
}

/// Runs a command to its exit code; an error is [`NOT_CHECKED`].
pub fn in_runtime(command: &str, work: impl Future<Output = Result<u8, String>>) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let done = match runtime {
        Ok(runtime) => runtime.block_on(work),
        Err(error) => Err(error.to_string()),
    };
    match done {
        Ok(code) => ExitCode::from(code),
        Err(why) => {
            complain(format_args!("palladium {command}: not done: {why}"));
            ExitCode::from(NOT_CHECKED)
        }
    }
}
