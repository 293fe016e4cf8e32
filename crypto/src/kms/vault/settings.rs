//! What the operator says of Vault: the table `[kms.vault]`, checked once, at start.
//!
//! Nothing here is a secret: the token and the secret id are files, read when they are needed. What must hold:
//! - certificates are always verified; a connection that is not encrypted goes to this machine only, unless `allow_plaintext` says that
//!   something else protects it;
//! - no proxy and no certificate comes from the environment.

use std::fs::File;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;
use reqwest::header::HeaderValue;
use reqwest::redirect::Policy;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::name::check_mount;
use crate::error::{Error, Result};
use crate::private_file::{self, Readers};

const TIMEOUT_S_MAX: u64 = 60;

/// The table `[kms.vault]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Settings {
    pub address: String,
    pub namespace: Option<String>,
    pub ca_file: Option<PathBuf>,
    pub client_cert_file: Option<PathBuf>,
    pub client_key_file: Option<PathBuf>,
    #[serde(default)]
    pub allow_plaintext: bool,
    #[serde(default = "two")]
    pub connect_timeout_s: u64,
    #[serde(default = "five")]
    pub request_timeout_s: u64,
    pub token_file: Option<PathBuf>,
    pub approle: Option<AppRole>,
}

/// The table `[kms.vault.approle]`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct AppRole {
    pub role_id: String,
    /// None for a role that binds by address alone.
    pub secret_id_file: Option<PathBuf>,
    #[serde(default = "approle")]
    pub mount: String,
}

/// How this server proves who it is.
pub(super) enum Login {
    File(PathBuf),
    AppRole(AppRole),
}

fn two() -> u64 {
    2
}

fn five() -> u64 {
    5
}

fn approle() -> String {
    "approle".into()
}

impl Settings {
    /// The one way to log in.
    pub fn login(&mut self) -> Result<Login> {
        match (self.token_file.take(), self.approle.take()) {
            (Some(file), None) => Ok(Login::File(file)),
            (None, Some(role)) => {
                check_mount(&role.mount)?;
                Ok(Login::AppRole(role))
            }
            _ => Err(Error::invalid(
                "either token_file or approle says how to log in to Vault, and not both",
            )),
        }
    }

    /// The address without its last slash, and before it nothing but `https://` (or, where that is allowed, `http://`).
    pub fn base(&self) -> Result<String> {
        let url = Url::parse(&self.address)
            .map_err(|error| Error::invalid(format!("address '{}': {error}", self.address)))?;
        let plain = url.username().is_empty()
            && url.password().is_none()
            && url.query().is_none()
            && url.fragment().is_none();
        match url.scheme() {
            "https" if plain => {}
            "http" if plain && (self.allow_plaintext || is_loopback(&url)) => {}
            "http" if plain => {
                return Err(Error::invalid(format!(
                    "address '{}': http:// leads to this machine only; use https://, or allow_plaintext = true where something else encrypts",
                    self.address
                )));
            }
            _ => {
                return Err(Error::invalid(format!(
                    "address '{}': expected https://HOST:PORT",
                    self.address
                )));
            }
        }
        Ok(url.as_str().trim_end_matches('/').to_owned())
    }

    /// The namespace as a header.
    pub fn namespace(&self) -> Result<Option<HeaderValue>> {
        self.namespace
            .as_deref()
            .map(|name| {
                HeaderValue::from_str(name)
                    .map_err(|_| Error::invalid(format!("namespace '{name}' is no header value")))
            })
            .transpose()
    }

    /// The files that say who Vault is and who we are: renewed from time to time, by somebody else.
    pub fn certificates(&self) -> impl Iterator<Item = &Path> {
        let files = [&self.ca_file, &self.client_cert_file, &self.client_key_file];
        files.into_iter().flatten().map(PathBuf::as_path)
    }

    /// The client, with the certificates of this moment; it connects to nothing yet.
    pub fn client(&self) -> Result<reqwest::Client> {
        let mut client = reqwest::Client::builder()
            .no_proxy()
            // A standby that sends us elsewhere would make us carry the token to a host that nobody configured.
            .redirect(Policy::none())
            .pool_idle_timeout(Duration::from_secs(30))
            .connect_timeout(seconds("connect_timeout_s", self.connect_timeout_s)?)
            .timeout(seconds("request_timeout_s", self.request_timeout_s)?);
        if let Some(path) = &self.ca_file {
            let certificates = reqwest::Certificate::from_pem_bundle(&read(path)?)
                .map_err(|error| bad_pem(path, error))?;
            if certificates.is_empty() {
                return Err(Error::invalid(format!(
                    "{}: holds no certificate",
                    path.display()
                )));
            }
            client = client.tls_certs_only(certificates);
        }
        match (&self.client_cert_file, &self.client_key_file) {
            (Some(certificate), Some(key)) => {
                let mut pem = read(certificate)?;
                pem.push(b'\n');
                // For its owner's eyes only.
                let file = private_file::open(key, Readers::Owner).map_err(Error::invalid)?;
                pem.extend_from_slice(&read_open(key, file)?);
                let identity = reqwest::Identity::from_pem(&pem).map_err(|error| {
                    let (certificate, key) = (certificate.display(), key.display());
                    Error::invalid(format!("{certificate} with {key}: {error}"))
                })?;
                client = client.identity(identity);
            }
            (None, None) => {}
            _ => {
                return Err(Error::invalid(
                    "client_cert_file and client_key_file come together",
                ));
            }
        }
        client
            .build()
            .map_err(|error| Error::invalid(format!("Vault's client cannot be made: {error}")))
    }
}

fn seconds(name: &str, value: u64) -> Result<Duration> {
    if (1..=TIMEOUT_S_MAX).contains(&value) {
        return Ok(Duration::from_secs(value));
    }
    Err(Error::invalid(format!(
        "{name} = {value}: expected 1 to {TIMEOUT_S_MAX}"
    )))
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost"
        || address
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>> {
    let file = File::open(path).map_err(|error| Error::io("read", path, error))?;
    read_open(path, file)
}

fn read_open(path: &Path, mut file: File) -> Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(Vec::new());
    file.read_to_end(&mut bytes)
        .map_err(|error| Error::io("read", path, error))?;
    Ok(bytes)
}

fn bad_pem(path: &Path, error: reqwest::Error) -> Error {
    Error::invalid(format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Settings {
        serde_json::from_str(text).unwrap()
    }

    #[test]
    fn a_connection_in_the_clear_goes_to_this_machine_only() {
        for (address, more, wanted) in [
            ("https://vault:8200", "", Some("https://vault:8200")),
            ("https://vault/here/", "", Some("https://vault/here")),
            ("http://127.0.0.1:8200", "", Some("http://127.0.0.1:8200")),
            ("http://[::1]:8200", "", Some("http://[::1]:8200")),
            ("http://localhost:8200/", "", Some("http://localhost:8200")),
            ("http://vault:8200", "", None),
            ("http://127.0.0.1.evil:8200", "", None),
            (
                "http://vault:8200",
                r#","allow_plaintext":true"#,
                Some("http://vault:8200"),
            ),
            ("https://user:word@vault", "", None),
            ("https://vault?x=1", "", None),
            ("ftp://vault", "", None),
            ("vault:8200", "", None),
        ] {
            let base = settings(&format!(r#"{{"address":"{address}"{more}}}"#)).base();
            assert_eq!(base.ok().as_deref(), wanted, "{address}");
        }
    }

    #[test]
    fn there_is_one_way_to_log_in() {
        let role = r#""approle":{"role_id":"r"}"#;
        for (more, is_good) in [
            (String::new(), false),
            (r#","token_file":"t""#.into(), true),
            (format!(",{role}"), true),
            (format!(r#","token_file":"t",{role}"#), false),
            (
                r#","approle":{"role_id":"r","mount":"../sys"}"#.into(),
                false,
            ),
        ] {
            let text = format!(r#"{{"address":"https://vault"{more}}}"#);
            assert_eq!(settings(&text).login().is_ok(), is_good, "{text}");
        }
    }

    #[test]
    fn a_setting_that_nobody_knows_is_an_error() {
        assert!(
            serde_json::from_str::<Settings>(r#"{"address":"https://vault","token":"s"}"#).is_err()
        );
    }
}
