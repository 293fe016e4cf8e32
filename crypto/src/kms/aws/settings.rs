//! What the operator says of AWS KMS: the table `[kms.aws]`.
//!
//! No secret stands here. Credentials come from where the AWS SDK finds them (environment, profile files, web identity, container, instance), or from the
//! profile and file that are named here, and from a role that is assumed with them.

use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::place::is_region;
use crate::error::{Error, Result};
use crate::kms::Settings;

/// Repeats of one call. The caller has a deadline and a back-off of its own, so this is for a connection that had gone stale.
const RETRIES_MAX: u32 = 1;

/// `[kms.aws]`
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AwsSettings {
    /// The only region whose keys this server uses. Not given: the region that a key's ARN names.
    pub region: Option<String>,
    /// Asked in place of AWS's own address for KMS: a VPC endpoint, or a double.
    pub endpoint: Option<String>,
    /// The same for STS.
    pub sts_endpoint: Option<String>,
    profile: Option<String>,
    credentials_file: Option<PathBuf>,
    assume_role_arn: Option<String>,
    external_id: Option<String>,
    connect_timeout_ms: u64,
    read_timeout_ms: u64,
    retries: u32,
    grant_role_arn: Option<String>,
    grant_profile: Option<String>,
    grantee_principal: Option<String>,
}

/// Whose word the calls carry.
#[derive(Clone, Debug)]
pub(super) struct Credentials {
    /// A profile by name; with it the environment counts for nothing.
    pub profile: Option<String>,
    /// A shared credentials file instead of `~/.aws/credentials`.
    pub file: Option<PathBuf>,
    pub role_arn: Option<String>,
    pub external_id: Option<String>,
}

/// To whom grants are made.
#[derive(Clone, Debug)]
pub(super) enum Grantee {
    /// The operator said so.
    Named(String),
    /// Whoever STS says that the ordinary credentials belong to.
    Caller,
}

impl Default for AwsSettings {
    fn default() -> Self {
        AwsSettings {
            region: None,
            endpoint: None,
            sts_endpoint: None,
            profile: None,
            credentials_file: None,
            assume_role_arn: None,
            external_id: None,
            connect_timeout_ms: 1000,
            read_timeout_ms: 1500,
            retries: 1,
            grant_role_arn: None,
            grant_profile: None,
            grantee_principal: None,
        }
    }
}

/// Reads and checks the table.
pub(super) fn read(table: Settings) -> Result<AwsSettings> {
    let settings: AwsSettings =
        serde_json::from_value(table).map_err(|error| Error::invalid(error.to_string()))?;
    if settings
        .region
        .as_deref()
        .is_some_and(|name| !is_region(name))
    {
        return Err(Error::invalid("region: not the name of a region"));
    }
    for (name, endpoint) in [
        ("endpoint", &settings.endpoint),
        ("sts_endpoint", &settings.sts_endpoint),
    ] {
        if endpoint.as_deref().is_some_and(|url| !is_private(url)) {
            return Err(Error::invalid(format!(
                "{name}: expected https://..., or http:// to this machine: what travels there are keys"
            )));
        }
    }
    if settings.connect_timeout_ms == 0 || settings.read_timeout_ms == 0 {
        return Err(Error::invalid(
            "connect_timeout_ms and read_timeout_ms must be at least 1",
        ));
    }
    if settings.retries > RETRIES_MAX {
        return Err(Error::invalid("retries: 0 or 1"));
    }
    if settings.external_id.is_some()
        && settings.assume_role_arn.is_none()
        && settings.grant_role_arn.is_none()
    {
        return Err(Error::invalid(
            "external_id belongs to assume_role_arn or grant_role_arn",
        ));
    }
    if settings.grantee_principal.is_some() && settings.granting().is_none() {
        return Err(Error::invalid(
            "grantee_principal belongs to grant_role_arn or grant_profile",
        ));
    }
    Ok(settings)
}

impl AwsSettings {
    /// What the server uses keys with.
    pub fn ordinary(&self) -> Credentials {
        Credentials {
            profile: self.profile.clone(),
            file: self.credentials_file.clone(),
            role_arn: self.assume_role_arn.clone(),
            external_id: self.external_id.clone(),
        }
    }

    /// What it makes grants with, if the operator gave it something for that.
    pub fn granting(&self) -> Option<Credentials> {
        if self.grant_role_arn.is_none() && self.grant_profile.is_none() {
            return None;
        }
        Some(Credentials {
            profile: self.grant_profile.clone().or_else(|| self.profile.clone()),
            file: self.credentials_file.clone(),
            role_arn: self.grant_role_arn.clone(),
            external_id: self.external_id.clone(),
        })
    }

    /// The role that is assumed is who this server is; otherwise STS knows.
    pub fn grantee(&self) -> Grantee {
        let named = self
            .grantee_principal
            .clone()
            .or_else(|| self.assume_role_arn.clone());
        named.map_or(Grantee::Caller, Grantee::Named)
    }

    pub fn connect_timeout(&self) -> Duration {
        Duration::from_millis(self.connect_timeout_ms)
    }

    pub fn read_timeout(&self) -> Duration {
        Duration::from_millis(self.read_timeout_ms)
    }

    pub fn attempts(&self) -> u32 {
        1 + self.retries
    }
}

/// Does nobody on the way see what is sent there?
fn is_private(url: &str) -> bool {
    let authority = match url.split_once("://") {
        Some(("https", rest)) => return !rest.is_empty(),
        Some(("http", rest)) => rest.split('/').next().unwrap_or_default(),
        _ => return false,
    };
    let host = match authority.strip_prefix('[') {
        Some(rest) => rest.split(']').next().unwrap_or_default(),
        None => authority.split(':').next().unwrap_or_default(),
    };
    host == "localhost"
        || host
            .parse()
            .is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn nothing_need_be_said() {
        let settings = read(json!({})).unwrap();
        assert!(settings.granting().is_none());
        assert!(matches!(settings.grantee(), Grantee::Caller));
        assert_eq!(settings.attempts(), 2);
    }

    #[test]
    fn the_credential_for_grants_is_another_one() {
        let settings = read(json!({
            "profile": "palladium", "assume_role_arn": "arn:aws:iam::111122223333:role/palladium",
            "grant_role_arn": "arn:aws:iam::111122223333:role/palladium-grants",
        }))
        .unwrap();
        let granting = settings.granting().unwrap();
        assert_eq!(
            granting.role_arn.unwrap(),
            "arn:aws:iam::111122223333:role/palladium-grants"
        );
        assert_eq!(granting.profile.unwrap(), "palladium");
        assert!(
            matches!(settings.grantee(), Grantee::Named(arn) if arn == "arn:aws:iam::111122223333:role/palladium")
        );
    }

    #[test]
    fn a_wrong_setting_is_refused() {
        for (table, words) in [
            (json!({"regoin": "eu-west-1"}), "regoin"),
            (json!({"secret_access_key": "x"}), "secret_access_key"),
            (json!({"region": "eu.west/1"}), "region"),
            (json!({"endpoint": "kms.example"}), "endpoint"),
            (json!({"endpoint": "http://kms.example"}), "endpoint"),
            (json!({"endpoint": "http://localhost.example"}), "endpoint"),
            (
                json!({"endpoint": "http://127.0.0.1@kms.example"}),
                "endpoint",
            ),
            (
                json!({"sts_endpoint": "http://10.0.0.1:80"}),
                "sts_endpoint",
            ),
            (json!({"retries": 5}), "retries"),
            (json!({"read_timeout_ms": 0}), "read_timeout_ms"),
            (json!({"external_id": "x"}), "external_id"),
            (json!({"grantee_principal": "x"}), "grantee_principal"),
        ] {
            let error = read(table.clone()).unwrap_err().to_string();
            assert!(error.contains(words), "{table}: {error}");
        }
        for url in [
            "http://127.0.0.1:5601",
            "http://localhost",
            "http://[::1]:80/",
            "https://vpce-1.kms.eu-west-1.vpce.amazonaws.com",
        ] {
            assert!(read(json!({"endpoint": url})).is_ok(), "{url}");
        }
    }
}
