//! What can go wrong below CQL, named for what the caller does next.

use palladium_crypto::TableId;

/// The error of every storage call. Messages name tables by id, structures and offsets; never a key or a value.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// Bytes on the disk are not what was written. The data they held cannot be served.
    #[error("corrupt: {what}")]
    Corrupt { what: String },
    /// Bytes that were written here, but not the newest: somebody has seen more of this folder. An operator may take it for the true one.
    #[error("{what}")]
    Older { what: String },
    /// The table's key is not at hand: fetch it and call again, or tell the client why not.
    #[error("the key of table {table} is not available")]
    KeyUnavailable { table: TableId },
    /// The disk refused.
    #[error("{what}: {source}")]
    Io {
        what: String,
        source: std::sync::Arc<std::io::Error>,
    },
    /// Somebody else holds it, or it is not ready: try again.
    #[error("busy: {what}")]
    Busy { what: String },
    /// The write was on its way when the log failed: it may or may not be there after a restart.
    #[error("the outcome of the write is not known: {what}")]
    OutcomeUnknown { what: String },
    /// The engine has been closed.
    #[error("closed")]
    Closed,
    /// The log stopped itself after a write or a sync that failed: reads go on, and nothing is written until the next start.
    #[error(
        "the log has stopped, and nothing is written until the server is started again: {what}"
    )]
    Stopped { what: String },
    /// The caller asked for something that has no meaning here.
    #[error("invalid: {what}")]
    Invalid { what: String },
    /// No room: on the disk, which may also be read-only for now, among the open files, or in the memory budget.
    #[error("full: {what}")]
    Full { what: String },
    /// A row has grown larger than an SSTable takes: it stays where it is, and nothing that is tried again changes that.
    #[error("too large: {what}")]
    TooLarge { what: String },
}

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

impl Error {
    /// A structure that is not what was written.
    pub fn corrupt(what: impl Into<String>) -> Self {
        Error::Corrupt { what: what.into() }
    }

    /// An operating system error with what was being done.
    pub fn io(what: impl Into<String>, source: std::io::Error) -> Self {
        Error::Io {
            what: what.into(),
            source: std::sync::Arc::new(source),
        }
    }
}
