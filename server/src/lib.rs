//! The server: sockets, sessions, schema, the query pipeline, the key keeper.
//!
//! Life of a request:
//!
//! ```text
//! net::connection      bytes -> frames -> requests, all that a read brought
//!   query::begin       statement -> checked -> plan          (EXECUTE: from query::prepared)
//!     encode           CQL values -> ordered bytes -> mutations and read commands
//!       storage        one batch of writes, one ticket; reads at once where memory has the answer
//!   net::connection    all answers that are ready -> one socket write
//! ```
//!
//! Reading order: `error`, `config`; `schema`, `encode`; `guardrails`; `query`; `service_table`, `records`; `session`, `auth`, `permissions`, `audit`, `shredding`, `keys`, `keyring_record`, `keyring_changes`, `subscriber`; `anchor`; `traces`, `instruments`; `net`; `server`, which starts and stops it all.

pub mod admin;
mod anchor;
pub mod audit;
pub mod auth;
mod complaint;
pub mod config;
pub mod database;
pub mod derived;
pub mod descriptors;
pub mod encode;
pub mod env;
pub mod error;
pub mod guardrails;
pub mod instruments;
pub mod keyring_changes;
pub mod keyring_record;
pub mod keys;
pub mod ledger;
pub mod memory;
pub mod net;
pub mod output;
pub mod passphrase;
pub mod permissions;
pub mod query;
pub mod records;
mod resource_limit;
pub mod schema;
pub mod server;
pub mod service_key;
pub mod service_table;
pub mod session;
pub mod shredding;
pub mod subscriber;
mod supervisor;
pub mod telemetry;
pub mod traces;
pub mod wiping;

/// The storage engine as this server uses it: on files.
pub type Engine = palladium_storage::Engine<palladium_storage::LocalBackend>;
