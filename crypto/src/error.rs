//! What can go wrong with keys and sealed bytes, named for what the caller does next.
//!
//! | variant            | what the caller does                                                          |
//! |--------------------|-------------------------------------------------------------------------------|
//! | `Denied`           | lock the table: a key service that knows us has said no                        |
//! | `Unavailable`      | keep the lease to its end, retry with back-off: nobody has said no             |
//! | `Tampered`         | report damage: these bytes are not what was sealed here                        |
//! | `UnknownVersion`   | take a newer key ring; if there is none, report damage                         |
//! | `Exhausted`        | start a new structure with a new data key; this sealer seals no more           |
//! | `Unsupported`      | tell the operator: written by another release, or a provider not built in      |
//! | `Invalid`          | tell whoever asked: the request itself is wrong and nothing was changed        |
//! | `Io`               | tell the operator: the keyring's or anchor's file could not be read or written |
//!
//! No message holds a key byte or a plaintext byte. Errors are `Clone`, because several waiters may share one key service call.

use std::fmt;
use std::io;
use std::path::Path;

use crate::ids::KeyVersion;

/// The crate's result.
pub type Result<T> = std::result::Result<T, Error>;

/// A failure, by remedy; the module says which remedy.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Error {
    /// The key service, knowing who asks, refuses this key.
    #[error("key service refuses: {reason}: {message}")]
    Denied {
        /// Why, in the words that clients see.
        reason: DenialReason,
        /// What the service said.
        message: String,
    },
    /// The key service gave no authoritative answer.
    #[error("key service out of reach: {reason}: {message}")]
    Unavailable {
        /// Why, in the words that clients see.
        reason: UnavailableReason,
        /// What was tried and what happened.
        message: String,
    },
    /// Bytes are not what was sealed, or do not stand where they were sealed.
    #[error("does not authenticate: {what}")]
    Tampered {
        /// Which bytes.
        what: String,
    },
    /// A wrap names a table key version that the ring does not hold.
    #[error("wrapped under table key version {version}, which this ring does not hold")]
    UnknownVersion {
        /// The version named by the wrap.
        version: KeyVersion,
    },
    /// The sealer may seal no more: at its limit, past its end block, or poisoned.
    #[error("this data key seals no more; a new structure with a new key must follow")]
    Exhausted,
    /// A format or provider that this build does not know.
    #[error("unsupported: {0}")]
    Unsupported(String),
    /// The request is wrong.
    #[error("{0}")]
    Invalid(String),
    /// A file of ours could not be read or written.
    #[error("{0}")]
    Io(IoFailure),
}

impl Error {
    pub(crate) fn tampered(what: impl Into<String>) -> Self {
        Error::Tampered { what: what.into() }
    }

    pub(crate) fn invalid(message: impl Into<String>) -> Self {
        Error::Invalid(message.into())
    }

    pub(crate) fn denied(reason: DenialReason, message: impl Into<String>) -> Self {
        Error::Denied {
            reason,
            message: message.into(),
        }
    }

    pub(crate) fn unavailable(reason: UnavailableReason, message: impl Into<String>) -> Self {
        Error::Unavailable {
            reason,
            message: message.into(),
        }
    }

    pub(crate) fn io(doing: &'static str, path: &Path, error: io::Error) -> Self {
        Error::Io(IoFailure {
            kind: error.kind(),
            message: format!("cannot {doing} {}: {error}", path.display()),
        })
    }
}

/// An I/O error that can be shared: what was attempted on which file, and what kind of failure it was.
#[derive(Clone, Debug)]
pub struct IoFailure {
    /// The operating system's answer, as Rust classifies it.
    pub kind: io::ErrorKind,
    message: String,
}

impl fmt::Display for IoFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

/// Why a key service refuses. `Display` gives the word that clients and virtual tables show.
#[derive(Copy, Clone, Eq, PartialEq, Hash, Debug)]
pub enum DenialReason {
    /// Its owner disabled the key.
    Disabled,
    /// The key waits for its deletion.
    PendingDeletion,
    /// There is no such key.
    NotFound,
    /// The key lives; this server may not use it (for this table).
    AccessDenied,
    /// The grant that let this server in was withdrawn.
    GrantRevoked,
}

impl DenialReason {
    /// Does the denial speak of the key itself, so that every table under it is locked at once?
    pub fn is_key_wide(self) -> bool {
        match self {
            DenialReason::Disabled | DenialReason::PendingDeletion | DenialReason::NotFound => true,
            DenialReason::AccessDenied | DenialReason::GrantRevoked => false,
        }
    }
}

impl fmt::Display for DenialReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}

/// Why there was no authoritative answer. `Display` gives the word that clients and virtual tables show.
#[derive(Copy, Clone, Eq, PartialEq, Hash, Debug)]
pub enum UnavailableReason {
    /// No connection, a time-out, expired credentials, or an answer that we do not know.
    Unreachable,
    /// The service asks us to slow down.
    Throttled,
}

impl fmt::Display for UnavailableReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(self, f)
    }
}
