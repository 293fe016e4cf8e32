//! The key services of this server, by provider.

use std::sync::Arc;

use palladium_crypto::{CmkRef, Error as CryptoError, Kms, key_service_kinds};

use super::gate::CallLimits;
use super::service::{KeyService, ServiceStatus};

/// What the names of the keyring's keys start with.
const LOCAL: &str = "local";

/// The services that a key's name can lead to.
#[derive(Clone, Default)]
pub struct KeyServices {
    services: Vec<Arc<KeyService>>,
    limits: CallLimits,
}

impl KeyServices {
    /// The services that the configuration has a table `[kms.NAME]` for. Asks none of them: a service that is down keeps no server from starting.
    pub async fn open(settings: &toml::Table) -> Result<Self, String> {
        let mut services = KeyServices::default();
        // The keyring's table is read where the keyring is opened (`Config::local_keys`).
        for (name, table) in settings.iter().filter(|(name, _)| *name != LOCAL) {
            let kind = key_service_kinds()
                .iter()
                .find(|kind| kind.provider == name)
                .ok_or_else(|| {
                    format!("kms.{name}: this build knows no key service of that name")
                })?;
            let table =
                serde_json::to_value(table).map_err(|error| format!("kms.{name}: {error}"))?;
            let service = (kind.open)(table)
                .await
                .map_err(|error| format!("kms.{name}: {error}"))?;
            services = services.with(name, service);
        }
        Ok(services)
    }

    /// Adds a service for the names that start with `provider`.
    pub fn with(mut self, provider: &str, service: Arc<dyn Kms>) -> Self {
        self.services
            .push(KeyService::new(provider, service, self.limits));
        self
    }

    /// Adds the keys of this machine, under bounds of their own: after [`limited`](Self::limited), which knows no difference.
    pub fn with_keyring(mut self, keyring: Arc<dyn Kms>) -> Self {
        let local = KeyService::new(LOCAL, keyring, CallLimits::OF_KEYRING);
        self.services.push(local);
        self
    }

    /// Bounds the calls to each service, those that are added later too.
    pub fn limited(mut self, limits: CallLimits) -> Self {
        self.limits = limits;
        self.services = self
            .services
            .iter()
            .map(|service| service.limited(limits))
            .collect();
        self
    }

    /// The service that holds `cmk`.
    pub fn of(&self, cmk: &CmkRef) -> Result<&Arc<KeyService>, CryptoError> {
        self.services
            .iter()
            .find(|service| service.provider() == cmk.provider())
            .ok_or_else(|| {
                CryptoError::Unsupported(format!(
                    "no key service is configured for '{}' keys",
                    cmk.provider()
                ))
            })
    }

    /// What is known of each.
    pub fn status(&self) -> Vec<ServiceStatus> {
        self.services
            .iter()
            .map(|service| service.status())
            .collect()
    }
}
