//! The SDK's clients: one for each region that a key's ARN names, made on demand, with one kind of credentials.
//!
//! Making a client asks nobody anything: credentials are fetched when the first call is signed. A region that is down, with its STS, troubles no other.
//! A few clients are kept, the one used longest ago goes first: whoever may create tables can name regions without end.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_config::profile::ProfileFileCredentialsProvider;
use aws_config::provider_config::ProviderConfig;
use aws_config::retry::RetryConfig;
use aws_config::sts::AssumeRoleProvider;
use aws_config::timeout::TimeoutConfig;
use aws_config::{AppName, BehaviorVersion, Region, SdkConfig};
use aws_runtime::env_config::file::{EnvConfigFileKind, EnvConfigFiles};
use aws_sdk_kms::config::SharedCredentialsProvider;

use super::answers::GuardedAnswers;
use super::place::Place;
use super::settings::{AwsSettings, Credentials};
use crate::error::{Error, Result};
use crate::keys::CmkRef;

/// Clients kept. Nobody has tables under keys of more regions.
const REGIONS_MAX: usize = 16;
/// The name that the owner of a key sees in CloudTrail, in the session of an assumed role and in the user agent.
const NAME: &str = "palladium";
/// Between the first attempt and the second: short, because the caller's deadline is.
const BACKOFF_MAX: Duration = Duration::from_millis(200);

/// The clients of one kind of credentials.
pub(super) struct Clients {
    credentials: Credentials,
    only_region: Option<String>,
    endpoint: Option<String>,
    sts_endpoint: Option<String>,
    timeouts: TimeoutConfig,
    retries: RetryConfig,
    made: AtomicU64,
    /// The one used last stands first.
    by_region: Mutex<Vec<RegionClient>>,
}

/// What asks one region.
#[derive(Clone)]
pub(super) struct RegionClient {
    region: String,
    pub kms: aws_sdk_kms::Client,
    pub sts: aws_sdk_sts::Client,
    /// Tells a client from the one that was made after it was forgotten.
    generation: u64,
}

impl Clients {
    pub fn new(settings: &AwsSettings, credentials: Credentials) -> Self {
        let (connect, read) = (settings.connect_timeout(), settings.read_timeout());
        Clients {
            credentials,
            only_region: settings.region.clone(),
            endpoint: settings.endpoint.clone(),
            sts_endpoint: settings.sts_endpoint.clone(),
            timeouts: TimeoutConfig::builder()
                .connect_timeout(connect)
                .read_timeout(read)
                .operation_attempt_timeout(connect + read)
                .build(),
            retries: RetryConfig::standard()
                .with_max_attempts(settings.attempts())
                .with_initial_backoff(BACKOFF_MAX / 4)
                .with_max_backoff(BACKOFF_MAX),
            made: AtomicU64::new(0),
            by_region: Mutex::default(),
        }
    }

    /// Where a key is; one that is not named by an ARN is in the region of the settings.
    pub fn place<'a>(&'a self, key: &'a CmkRef) -> Result<Place<'a>> {
        Place::of(key, self.only_region.as_deref())
    }

    /// The client that is asked about a key.
    pub async fn of(&self, key: &CmkRef) -> Result<RegionClient> {
        let place = self.place(key)?;
        if let Some(only) = self
            .only_region
            .as_deref()
            .filter(|only| *only != place.region)
        {
            // To be asked in another region about its key, KMS would say that there is no such key, and mean it.
            return Err(Error::Unsupported(format!(
                "this server uses keys of {only} only ([kms.aws] region), not of {}",
                place.region
            )));
        }
        if let Some(client) = self.known(place.region) {
            return Ok(client);
        }
        let made = self.make(place.region).await?;
        // Two calls may have made one each; either will do, and the second stays.
        let mut clients = self.lock();
        clients.retain(|client| client.region != place.region);
        clients.insert(0, made);
        clients.truncate(REGIONS_MAX);
        Ok(clients[0].clone())
    }

    /// The next call makes a client anew, and reads its credentials anew.
    pub fn forget(&self, client: &RegionClient) {
        self.lock()
            .retain(|kept| (&kept.region, kept.generation) != (&client.region, client.generation));
    }

    fn known(&self, region: &str) -> Option<RegionClient> {
        let mut clients = self.lock();
        let at = clients.iter().position(|client| client.region == region)?;
        clients[..=at].rotate_right(1);
        Some(clients[0].clone())
    }

    fn lock(&self) -> MutexGuard<'_, Vec<RegionClient>> {
        self.by_region
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    async fn make(&self, region: &str) -> Result<RegionClient> {
        let region = Region::new(region.to_owned());
        let config = self.assuming_role(self.base(region.clone()).await?).await;
        let mut kms = aws_sdk_kms::config::Builder::from(&config).interceptor(GuardedAnswers);
        kms.set_endpoint_url(
            self.endpoint
                .clone()
                .or(config.endpoint_url().map(str::to_owned)),
        );
        Ok(RegionClient {
            region: region.to_string(),
            kms: aws_sdk_kms::Client::from_conf(kms.build()),
            sts: aws_sdk_sts::Client::new(&self.asking_sts(&config)),
            generation: self.made.fetch_add(1, Ordering::Relaxed),
        })
    }

    /// The SDK's own chain; but when a profile or a file is named here, that profile and that file.
    async fn base(&self, region: Region) -> Result<SdkConfig> {
        let name = AppName::new(NAME).map_err(|error| Error::invalid(error.to_string()))?;
        let mut loader = aws_config::defaults(BehaviorVersion::latest())
            .region(region.clone())
            .app_name(name)
            .timeout_config(self.timeouts.clone())
            .retry_config(self.retries.clone());
        let Credentials { profile, file, .. } = &self.credentials;
        if profile.is_none() && file.is_none() {
            return Ok(loader.load().await);
        }
        let mut files = EnvConfigFiles::builder().include_default_config_file(true);
        files = match file {
            Some(file) => files.with_file(EnvConfigFileKind::Credentials, file),
            None => files.include_default_credentials_file(true),
        };
        let files = files.build();
        let mut provider = ProfileFileCredentialsProvider::builder()
            .configure(&ProviderConfig::without_region().with_region(Some(region)))
            .profile_files(files.clone());
        loader = loader.profile_files(files);
        if let Some(profile) = profile {
            provider = provider.profile_name(profile);
            loader = loader.profile_name(profile);
        }
        Ok(loader.credentials_provider(provider.build()).load().await)
    }

    async fn assuming_role(&self, base: SdkConfig) -> SdkConfig {
        let Some(role) = &self.credentials.role_arn else {
            return base;
        };
        let mut role = AssumeRoleProvider::builder(role)
            .session_name(NAME)
            .configure(&self.asking_sts(&base));
        if let Some(external_id) = &self.credentials.external_id {
            role = role.external_id(external_id);
        }
        let role = SharedCredentialsProvider::new(role.build().await);
        base.into_builder().credentials_provider(role).build()
    }

    fn asking_sts(&self, config: &SdkConfig) -> SdkConfig {
        match &self.sts_endpoint {
            Some(endpoint) => config.to_builder().endpoint_url(endpoint).build(),
            None => config.clone(),
        }
    }
}
