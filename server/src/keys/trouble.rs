//! What is wrong with a table's key, since when, and how a client is told.

use std::fmt;
use std::time::Duration;

use palladium_crypto::{DenialReason, Error as CryptoError, UnavailableReason, UnixSeconds};

use crate::error::CqlError;

/// How often a table in trouble is tried again without a request.
const RETRY_IN_BACKGROUND: Duration = Duration::from_secs(30);

/// Why a key cannot be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Reason {
    /// The service answered no.
    Denied(DenialReason),
    /// The service gave no answer.
    Unavailable(UnavailableReason),
    /// What the service gave does not fit what stands on the disk.
    Damaged,
}

/// A table's key that cannot be used.
#[derive(Debug, Clone)]
pub struct Trouble {
    /// Why.
    pub reason: Reason,
    /// Since when, in microseconds of wall time.
    pub since_micros: i64,
    /// Which key.
    pub cmk: String,
    /// What the service said.
    pub what: String,
    pub(super) background_at_nanos: u64,
}

impl Reason {
    /// Denied is not unreachable: only what a service says about the key is a denial.
    pub(super) fn of(error: &CryptoError) -> Reason {
        match error {
            CryptoError::Denied { reason, .. } => Reason::Denied(*reason),
            CryptoError::Unavailable { reason, .. } => Reason::Unavailable(*reason),
            CryptoError::Unsupported(_) | CryptoError::Io(_) => {
                Reason::Unavailable(UnavailableReason::Unreachable)
            }
            CryptoError::Tampered { .. }
            | CryptoError::UnknownVersion { .. }
            | CryptoError::Exhausted
            | CryptoError::Invalid(_) => Reason::Damaged,
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Reason::Denied(reason) => reason.fmt(f),
            Reason::Unavailable(reason) => reason.fmt(f),
            Reason::Damaged => f.write_str("Damaged"),
        }
    }
}

impl Trouble {
    /// Denied: Unauthorized, which drivers do not retry. Unreachable: Unavailable, which they may.
    pub(super) fn to_cql(&self, keyspace: &str, table: &str) -> CqlError {
        let text = format!(
            "KMS_KEY_INACCESSIBLE table={keyspace}.{table} key={} since={} reason={}",
            self.cmk,
            iso8601(self.since_micros),
            self.reason
        );
        match self.reason {
            Reason::Denied(_) => CqlError::unauthorized(text),
            Reason::Unavailable(_) => CqlError::unavailable(text),
            Reason::Damaged => CqlError::read_failure(format!(
                "table {keyspace}.{table} cannot be opened: {}",
                self.what
            )),
        }
    }
}

/// When a table that is in trouble now is tried again without a request.
pub(super) fn background_at(now_nanos: u64) -> u64 {
    now_nanos.saturating_add(RETRY_IN_BACKGROUND.as_nanos() as u64)
}

/// The error of a call that was not answered.
pub(super) fn no_answer(after: Duration) -> CryptoError {
    CryptoError::Unavailable {
        reason: UnavailableReason::Unreachable,
        message: format!("no answer within {} s", after.as_secs()),
    }
}

/// The error of calls whose answers came when the leases that they began were over.
pub(super) fn too_late() -> CryptoError {
    CryptoError::Unavailable {
        reason: UnavailableReason::Unreachable,
        message: "its answers take longer than a lease lasts".into(),
    }
}

/// The error of a call that was under way when the server stopped.
pub(super) fn stopped() -> CryptoError {
    CryptoError::Unavailable {
        reason: UnavailableReason::Unreachable,
        message: "unanswered: the server stopped, or whoever asked was gone".into(),
    }
}

/// What the audit trail holds of a call that failed: the reason's word and what the service said.
pub(super) fn said(error: &CryptoError) -> String {
    match error {
        CryptoError::Denied { reason, message } => format!("{reason}: {message}"),
        CryptoError::Unavailable { reason, message } => format!("{reason}: {message}"),
        // A name that was mistyped, or a limit: nothing is damaged.
        CryptoError::Invalid(message) => format!("Invalid: {message}"),
        other => format!("{}: {other}", Reason::of(other)),
    }
}

/// `2026-11-25T16:04:05Z`. What is before 1970 is no moment of this server's.
pub fn iso8601(micros: i64) -> String {
    UnixSeconds(u64::try_from(micros / 1_000_000).unwrap_or(0)).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_written_as_iso_8601() {
        assert_eq!(iso8601(0), "1970-01-01T00:00:00Z");
        assert_eq!(iso8601(951_782_400_000_000), "2000-02-29T00:00:00Z");
        assert_eq!(iso8601(1_798_761_599_999_999), "2026-12-31T23:59:59Z");
        assert_eq!(iso8601(-1), "1970-01-01T00:00:00Z");
    }

    #[test]
    fn a_request_that_is_wrong_is_not_told_as_damage() {
        let error = CryptoError::Invalid("'vault:orders' names no key of Vault".into());
        assert_eq!(
            said(&error),
            "Invalid: 'vault:orders' names no key of Vault"
        );
    }

    #[test]
    fn denied_is_not_retried_and_unreachable_may_be() {
        let trouble = |reason| Trouble {
            reason,
            since_micros: 0,
            cmk: "local:a".into(),
            what: String::new(),
            background_at_nanos: 0,
        };
        let denied = trouble(Reason::Denied(DenialReason::Disabled)).to_cql("ks", "t");
        assert_eq!(
            denied,
            CqlError::unauthorized(
                "KMS_KEY_INACCESSIBLE table=ks.t key=local:a since=1970-01-01T00:00:00Z reason=Disabled"
            )
        );
        let unreachable =
            trouble(Reason::Unavailable(UnavailableReason::Unreachable)).to_cql("ks", "t");
        assert_eq!(unreachable.code(), CqlError::unavailable("").code());
    }
}
