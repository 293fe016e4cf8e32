//! What an operator may say: one flat table of settings, each with a unit, a default and a reason.
//!
//! The same names stand in the TOML file and, upper-cased behind `PALLADIUM_`, in the environment. `load` reads them, file first, then environment,
//! then flags; a later one wins. Nothing below the server reads a setting: [`Config::engine_options`] and its like turn them into the plain options of
//! each crate.

mod access;
mod load;
mod machine;
mod places;

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use palladium_crypto::CmkRef;
use palladium_storage::{LogSync, Options};
use serde::de::Error as _;
use serde::{Deserialize, Deserializer};

pub use access::{
    Authenticator, Authorizer, CidrAuthorizer, CidrMode, GivenPassword, NetworkAuthorizer,
};
pub use load::{ConfigError, flags, load};

use crate::guardrails::Guardrails;
use crate::keys::CallLimits;

/// The shortest lease: one call must not outlast it.
const KEY_CALL_TIMEOUT_S_MAX: u64 = 10;
/// Less memory than this holds no memtable, no block and no request of any size beside each other.
const MEMORY_BYTES_MIN: u64 = 16 << 20;

/// Bytes of opened blocks that a merge keeps, at least and at most: below, what is read ahead is too little; more is of no use.
const MERGE_BYTES: (usize, usize) = (2 << 20, 32 << 20);

/// All settings.
#[derive(Debug, Clone, PartialEq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Config {
    /// The file that all this was read from, if there is one.
    #[serde(skip)]
    pub file: Option<PathBuf>,
    /// Where clients connect.
    #[serde(deserialize_with = "listen_address")]
    pub listen: SocketAddr,
    /// The data folder.
    pub data: PathBuf,
    /// The local keyring. Outside the data folder: a copied data folder opens nothing.
    pub keyring: PathBuf,
    /// The file descriptor on which the keyring's passphrase is given, if it has one; otherwise the terminal is asked.
    pub keyring_passphrase_fd: Option<u64>,
    /// The name that drivers show.
    pub cluster_name: String,
    /// Data centre and rack, as drivers balance by them.
    pub data_center: String,
    pub rack: String,
    /// The key that guards what is the server's own, and the key of tables that name none.
    pub service_key: String,
    /// Who the key services are told subscribes; empty: the cluster id.
    pub subscriber_id: String,
    /// Seconds for which a table key may be used after the key service was asked, 10 to 300.
    pub key_lease_s: u64,
    /// Seconds, 1 to 10, after which a call to a key service counts as unanswered. A request waits at most 2 s for a table's key, whatever this is; CREATE and ALTER
    /// wait for their calls.
    pub key_call_timeout_s: u64,
    /// Calls to one key service at a time.
    pub key_calls_max: usize,
    /// Calls to one key service in a second, on average: 100 keep 10,000 tables in use under leases of five minutes.
    pub key_calls_per_s: u64,
    /// Seconds, 0 to 3600, for which a table in use stays open after its lease has ended because its key service does not answer. A key that is taken away
    /// while the service is out of reach is felt that much later; a denial is felt at once.
    pub unreachable_grace_s: u64,
    /// Days after which the grant that protects a table's snapshots is retired, once the table was dropped or has left the key.
    pub snapshot_grant_days: u64,
    /// The key services beside the keyring: a table `[kms.NAME]` of settings for each, which the service reads itself.
    pub kms: toml::Table,
    /// Bytes of memory that the whole process may take; 0: half of what the machine, or its control group, gives.
    pub memory_bytes: u64,
    /// `group`: a write is acknowledged after its sync. `periodic`: before, as Cassandra does by default; a loss of power may take the last period's writes.
    pub log_sync: LogSyncSetting,
    /// Milliseconds between two syncs where `log_sync` is `periodic`.
    pub log_sync_period_ms: u64,
    /// Bytes of one log segment.
    pub log_segment_bytes: u64,
    /// Bytes of log after which the tables that hold it are flushed.
    pub log_bytes_max: u64,
    /// Bytes of a memtable after which it is flushed.
    pub memtable_flush_bytes: u64,
    /// Merges of SSTables that run at once.
    pub concurrent_compactors: usize,
    /// MiB a second that merges of SSTables may read, all together; 0: as many as there are.
    pub compaction_throughput_mib: u64,
    /// Connections at a time; one more is told Overloaded and closed.
    pub connections_max: usize,
    /// Requests of one connection under way; past it the socket is not read.
    pub connection_requests_max: usize,
    /// Bytes of one request.
    pub frame_bytes_max: usize,
    /// Seconds that a connection may take until it is ready; it is closed then.
    pub handshake_timeout_s: u64,
    /// Prepared statements kept.
    pub prepared_statements_max: usize,
    /// Days for which the audit trail keeps a record at least, while `audit_rows_max` allows it.
    pub audit_days: u64,
    /// Records that the audit trail keeps at most; about 400 bytes each.
    pub audit_rows_max: u64,
    /// Where the audit trail's head is exported, outside the data folder; empty: beside the keyring.
    pub audit_head_file: PathBuf,
    /// Whether connections log in: `AllowAllAuthenticator` or `PasswordAuthenticator`.
    pub authenticator: Authenticator,
    /// Whether permissions are asked for: `AllowAllAuthorizer` or `CassandraAuthorizer`.
    pub authorizer: Authorizer,
    /// Whether roles can be bound to data centres: `AllowAllNetworkAuthorizer` or `CassandraNetworkAuthorizer`.
    pub network_authorizer: NetworkAuthorizer,
    /// Whether roles can be bound to networks: `AllowAllCIDRAuthorizer` or `CassandraCIDRAuthorizer`.
    pub cidr_authorizer: CidrAuthorizer,
    /// `ENFORCE`, or `MONITOR`: what would be refused is only logged.
    pub cidr_authorizer_mode: CidrMode,
    /// Whether superusers are bound to networks, too.
    pub cidr_checks_for_superusers: bool,
    /// Networks by the names that roles are bound to.
    pub cidr_groups: BTreeMap<String, Vec<String>>,
    /// The password of the first super-user; without it one is drawn and printed once.
    pub default_superuser_password: GivenPassword,
    /// Makes the first super-user anew, or gives it a new password and its rights back: for one start, when nobody can log in.
    pub restore_first_superuser: bool,
    /// Steps of a password's hash, as a power of two, 4 to 16.
    pub auth_bcrypt_gensalt_log2_rounds: u64,
    /// Lets a server without logins or permissions listen on an address that others reach.
    pub serve_everybody_beyond_loopback: bool,
    /// Settings of Cassandra that mean the same here, by the names of cassandra.yaml: guardrails, thresholds and what may be switched off.
    pub cassandra: toml::Table,
    /// Where metrics are served over HTTP, as `ADDRESS:PORT`; empty: nowhere.
    pub metrics_listen: String,
    /// Tables that have metrics of their own, by their ids: so many, those with the most requests.
    pub metrics_tables: usize,
    /// Lets metrics be served on an address that others reach: nobody is asked there who he is.
    pub metrics_beyond_loopback: bool,
    /// Milliseconds after which a request counts as slow; 0: none does.
    pub slow_query_timeout_ms: u64,
    /// What is logged: `error`, `warn`, `info`, `debug`, or a filter of tracing.
    pub log: String,
    /// A collector of OpenTelemetry that spans go to, as `http://127.0.0.1:4318/v1/traces`; empty: none. Needs a build with the feature `opentelemetry`.
    pub otlp_endpoint: String,
}

/// What stands under `[kms.local]`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LocalKeys {
    /// The file of a credential with which the server makes grants on keys of the keyring (`palladium key grantor`). Without it the server makes none.
    pub grant_credential_file: Option<PathBuf>,
}

/// When a write is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogSyncSetting {
    /// After its sync.
    Group,
    /// Before.
    Periodic,
}

impl Default for Config {
    fn default() -> Self {
        Config {
            file: None,
            listen: SocketAddr::from(([127, 0, 0, 1], 9042)),
            data: "data".into(),
            keyring: "keyring".into(),
            keyring_passphrase_fd: None,
            cluster_name: "Palladium".into(),
            data_center: "datacenter1".into(),
            rack: "rack1".into(),
            service_key: "local:default".into(),
            subscriber_id: String::new(),
            key_lease_s: 300,
            key_call_timeout_s: 2,
            key_calls_max: 32,
            key_calls_per_s: 100,
            unreachable_grace_s: 0,
            snapshot_grant_days: 42,
            kms: toml::Table::new(),
            memory_bytes: 0,
            log_sync: LogSyncSetting::Group,
            log_sync_period_ms: 10_000,
            log_segment_bytes: 32 << 20,
            log_bytes_max: 1 << 30,
            memtable_flush_bytes: 128 << 20,
            concurrent_compactors: 2,
            compaction_throughput_mib: 64,
            connections_max: 20_000,
            connection_requests_max: 2_048,
            frame_bytes_max: 16 << 20,
            handshake_timeout_s: 30,
            prepared_statements_max: 10_000,
            audit_days: 400,
            audit_rows_max: 1_000_000,
            audit_head_file: PathBuf::new(),
            authenticator: Authenticator::AllowAll,
            authorizer: Authorizer::AllowAll,
            network_authorizer: NetworkAuthorizer::AllowAll,
            cidr_authorizer: CidrAuthorizer::AllowAll,
            cidr_authorizer_mode: CidrMode::Enforce,
            cidr_checks_for_superusers: false,
            cidr_groups: BTreeMap::new(),
            default_superuser_password: GivenPassword::default(),
            restore_first_superuser: false,
            auth_bcrypt_gensalt_log2_rounds: 10,
            serve_everybody_beyond_loopback: false,
            cassandra: toml::Table::new(),
            metrics_listen: String::new(),
            metrics_tables: 0,
            metrics_beyond_loopback: false,
            slow_query_timeout_ms: 500,
            log: "info".into(),
            otlp_endpoint: String::new(),
        }
    }
}

impl Config {
    /// What holds beyond the type of each setting.
    fn check(&self) -> Result<(), String> {
        if !(10..=300).contains(&self.key_lease_s) {
            return Err(format!(
                "key_lease_s is {}; it must be from 10 to 300",
                self.key_lease_s
            ));
        }
        if self.log_sync_period_ms == 0 {
            return Err("log_sync_period_ms is 0; it must be at least 1".into());
        }
        if !(1..=KEY_CALL_TIMEOUT_S_MAX).contains(&self.key_call_timeout_s) {
            return Err(format!(
                "key_call_timeout_s is {}; it must be from 1 to {KEY_CALL_TIMEOUT_S_MAX}",
                self.key_call_timeout_s
            ));
        }
        if self.key_calls_max == 0 || self.key_calls_per_s == 0 {
            return Err("key_calls_max and key_calls_per_s must be at least 1".into());
        }
        if self.unreachable_grace_s > 3_600 {
            return Err(format!(
                "unreachable_grace_s is {}; it must be from 0 to 3600",
                self.unreachable_grace_s
            ));
        }
        if self.snapshot_grant_days > 36_500 {
            return Err("snapshot_grant_days must be at most 36500".into());
        }
        if !(1 << 20..=1 << 30).contains(&self.log_segment_bytes) {
            return Err("log_segment_bytes must be from 1 MiB to 1 GiB".into());
        }
        if self.connections_max == 0
            || self.connection_requests_max == 0
            || self.prepared_statements_max == 0
        {
            return Err("connections_max, connection_requests_max and prepared_statements_max must be at least 1".into());
        }
        if (1..MEMORY_BYTES_MIN).contains(&self.memory_bytes) {
            return Err(format!(
                "memory_bytes must be at least {MEMORY_BYTES_MIN} (16 MiB), or 0 for half of the machine"
            ));
        }
        for (name, path) in [("data", &self.data), ("keyring", &self.keyring)] {
            if path.as_os_str().is_empty() {
                return Err(format!("{name} must not be empty"));
            }
        }
        if self.data_center.is_empty() {
            return Err("data_center must not be empty: drivers look for this server in it".into());
        }
        if !(1..=64).contains(&self.concurrent_compactors) {
            return Err("concurrent_compactors must be from 1 to 64".into());
        }
        if self.audit_days == 0 || self.audit_days > 36_500 || self.audit_rows_max == 0 {
            return Err("audit_days must be from 1 to 36500, and audit_rows_max at least 1".into());
        }
        if self.handshake_timeout_s == 0 {
            return Err("handshake_timeout_s must be at least 1".into());
        }
        if self.frame_bytes_max < 64 << 10 {
            return Err("frame_bytes_max must be at least 64 KiB".into());
        }
        self.guardrails()?;
        self.local_keys()?;
        self.check_access()?;
        self.metrics_address()?;
        self.service_cmk().map(|_| ())
    }

    /// What the keyring is opened with.
    pub fn local_keys(&self) -> Result<LocalKeys, String> {
        match self.kms.get("local") {
            Some(settings) => settings
                .clone()
                .try_into()
                .map_err(|error: toml::de::Error| format!("kms.local: {}", error.message())),
            None => Ok(LocalKeys::default()),
        }
    }

    /// What stands under `[cassandra]`.
    pub fn guardrails(&self) -> Result<Guardrails, String> {
        Guardrails::read(&self.cassandra)
    }

    /// The key of the service.
    pub fn service_cmk(&self) -> Result<CmkRef, String> {
        let cmk =
            CmkRef::parse(&self.service_key).map_err(|error| format!("service_key: {error}"))?;
        if cmk.is_default() {
            return Err("service_key cannot be default: it is what default stands for".into());
        }
        if cmk.provider() == "aws" && !cmk.name().starts_with("arn:") {
            return Err("service_key: a key of AWS KMS is named by its ARN here".into());
        }
        Ok(cmk)
    }

    /// Where the audit trail's head is exported.
    pub fn audit_head_path(&self) -> PathBuf {
        match self.audit_head_file.as_os_str().is_empty() {
            true => beside(&self.keyring, "audit-head"),
            false => self.audit_head_file.clone(),
        }
    }

    /// Where the anchor stands: beside the keyring, outside the data folder.
    pub fn anchor_path(&self) -> PathBuf {
        beside(&self.keyring, "anchor")
    }

    /// Bounds for the calls to each key service.
    pub fn call_limits(&self) -> CallLimits {
        CallLimits {
            calls_max: self.key_calls_max,
            calls_per_s: self.key_calls_per_s,
        }
    }

    /// Bytes of memory that the whole process may take. See `crate::ledger` for who has which share.
    pub fn memory_budget(&self) -> usize {
        let memory = match self.memory_bytes {
            0 => machine::memory_bytes() / 2,
            bytes => bytes,
        };
        usize::try_from(memory).unwrap_or(usize::MAX)
    }

    /// A budget that the machine cannot meet: what is to be told of it.
    pub fn memory_beyond_the_machine(&self) -> Option<String> {
        let machine = machine::memory_bytes();
        (self.memory_bytes > machine).then(|| {
            format!(
                "memory_bytes is {}, and the machine (or a limit of its control group) gives {machine}",
                self.memory_bytes
            )
        })
    }

    /// Bytes of requests and answers that all connections may hold together.
    pub fn request_bytes_max(&self) -> usize {
        self.memory_budget() / 8
    }

    /// Bytes that prepared statements may take together; there is a greatest bound beside it.
    pub fn prepared_bytes_max(&self) -> usize {
        self.memory_budget() / 8
    }

    /// Bytes that one write may change, as Cassandra bounds them: half a segment of the log.
    pub fn mutation_bytes_max(&self) -> usize {
        (self.log_segment_bytes / 2) as usize
    }

    /// Bytes that the graphs of all vector indexes may take together.
    pub fn graph_bytes_max(&self) -> usize {
        self.memory_budget() / 8
    }

    /// Bytes of opened blocks that one merge keeps: a sixteenth for all of them.
    pub fn merge_bytes_max(&self) -> usize {
        let each = self.memory_budget() / 16 / self.concurrent_compactors.max(1);
        each.clamp(MERGE_BYTES.0, MERGE_BYTES.1)
    }

    /// Where this machine reaches the server: one that listens on all addresses listens on loopback, too.
    pub fn own_address(&self) -> SocketAddr {
        let ip = match self.listen.ip() {
            IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
            IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
            ip => ip,
        };
        SocketAddr::new(ip, self.listen.port())
    }

    /// The engine's share of this.
    pub fn engine_options(&self) -> Options {
        let memory = self.memory_budget();
        let usual = Options::default();
        Options {
            memtable_bytes_max: memory / 3,
            memtable_flush_bytes: (self.memtable_flush_bytes as usize).min(memory / 6),
            cache_bytes: memory / 3,
            merge_bytes_max: self.merge_bytes_max(),
            log_sync: match self.log_sync {
                LogSyncSetting::Group => LogSync::Group,
                LogSyncSetting::Periodic => LogSync::Periodic {
                    every: Duration::from_millis(self.log_sync_period_ms),
                },
            },
            log_segment_bytes: self.log_segment_bytes,
            log_sequence_seen: usual.log_sequence_seen,
            lineage_begun: usual.lineage_begun,
            log_bytes_max: self.log_bytes_max,
            // Each is in memory up to four times: forming, as records, sealed, and to be applied.
            group_bytes_max: (memory / 16).clamp(1 << 20, usual.group_bytes_max),
            mutation_bytes_max: self.mutation_bytes_max(),
            concurrent_compactors: self.concurrent_compactors,
            compaction_throughput: self.compaction_throughput_mib.saturating_mul(1 << 20),
            row_bytes_max: usual.row_bytes_max,
            removals_waiting_max: usual.removals_waiting_max,
        }
    }
}

/// Says which setting it is: on the command line no line is named.
fn listen_address<'de, D: Deserializer<'de>>(deserializer: D) -> Result<SocketAddr, D::Error> {
    let text = String::deserialize(deserializer)?;
    text.parse().map_err(|_| {
        D::Error::custom(format!(
            "listen is '{text}'; it must be an address and a port, as 127.0.0.1:9042"
        ))
    })
}

fn beside(file: &Path, what: &str) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".");
    name.push(what);
    PathBuf::from(name)
}
