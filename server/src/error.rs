//! The error a client sees: Cassandra's code, Cassandra's words, and what some codes carry beside them.
//!
//! Query code never picks a number: it says what happened through a constructor, and the constructor knows the code. The
//! one place where failures of storage, crypto and protocol become such an error is the `From` implementations below, so
//! a new inner variant does not compile until somebody has decided what a client is told.
//!
//! What must hold: a message may hold names and the client's own statement text, but nothing that was read from a table,
//! because messages reach logs.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr};

use palladium_protocol::ErrorCode;
use palladium_protocol::response::{ErrorDetail, ErrorResponse, FailureReasons, WriteType};
use palladium_protocol::wire::Consistency;

/// What the client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CqlError {
    pub message: String,
    /// The code, and what it brings along.
    pub detail: ErrorDetail,
    /// A guardrail refused: what it says is a warning, too.
    pub is_guardrail: bool,
}

/// Shorthand for results that end at a client.
pub type CqlResult<T> = Result<T, CqlError>;

impl CqlError {
    fn plain(code: ErrorCode, message: impl Into<String>) -> Self {
        CqlError {
            message: message.into(),
            detail: ErrorDetail::Plain(code),
            is_guardrail: false,
        }
    }

    /// The statement is well written and makes no sense here.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::plain(ErrorCode::Invalid, message)
    }

    /// The statement passes a bound that an operator has set.
    pub fn guardrail(message: impl Into<String>) -> Self {
        CqlError {
            is_guardrail: true,
            ..Self::invalid(message)
        }
    }

    /// The statement is not CQL.
    pub fn syntax(message: impl Into<String>) -> Self {
        Self::plain(ErrorCode::SyntaxError, message)
    }

    /// Not allowed, or the table's key is not.
    pub fn unauthorized(message: impl Into<String>) -> Self {
        Self::plain(ErrorCode::Unauthorized, message)
    }

    /// A schema option or setting is wrong.
    pub fn config(message: impl Into<String>) -> Self {
        Self::plain(ErrorCode::ConfigError, message)
    }

    /// A bound of this server is reached; trying again later may help.
    pub fn overloaded(message: impl Into<String>) -> Self {
        Self::plain(ErrorCode::Overloaded, message)
    }

    /// The bytes break the protocol.
    pub fn protocol(message: impl Into<String>) -> Self {
        Self::plain(ErrorCode::ProtocolError, message)
    }

    /// Our own fault.
    pub fn server(message: impl Into<String>) -> Self {
        Self::plain(ErrorCode::ServerError, message)
    }

    /// Wrong user name or password.
    pub fn bad_credentials(message: impl Into<String>) -> Self {
        Self::plain(ErrorCode::BadCredentials, message)
    }

    /// TRUNCATE did not come through.
    pub fn truncate(message: impl Into<String>) -> Self {
        Self::plain(ErrorCode::TruncateError, message)
    }

    /// A keyspace with this name is there already.
    pub fn keyspace_exists(keyspace: &str) -> Self {
        CqlError {
            message: format!("Cannot add existing keyspace \"{keyspace}\""),
            detail: ErrorDetail::AlreadyExists {
                keyspace: keyspace.into(),
                table: String::new(),
            },
            is_guardrail: false,
        }
    }

    /// A table with this name is there already.
    pub fn already_exists(keyspace: &str, table: &str) -> Self {
        CqlError {
            message: format!(
                "Cannot add already existing table \"{table}\" to keyspace \"{keyspace}\""
            ),
            detail: ErrorDetail::AlreadyExists {
                keyspace: keyspace.into(),
                table: table.into(),
            },
            is_guardrail: false,
        }
    }

    /// EXECUTE names a statement this server does not hold; the driver prepares it again.
    pub fn unprepared(id: &[u8]) -> Self {
        let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        CqlError {
            message: format!(
                "Prepared query with ID {hex} not found (either the query was not prepared on this host (maybe the host \
                 has been restarted?) or you have prepared too many queries and it has been evicted from the internal cache)"
            ),
            detail: ErrorDetail::Unprepared { id: id.to_vec() },
            is_guardrail: false,
        }
    }

    /// The table's key service cannot be reached and the lease is over; the driver may try again.
    pub fn unavailable(message: impl Into<String>) -> Self {
        CqlError {
            message: message.into(),
            detail: ErrorDetail::Unavailable {
                consistency: Consistency::One,
                required: 1,
                alive: 0,
            },
            is_guardrail: false,
        }
    }

    /// The consistency level asks for more replicas than the one there is.
    pub fn too_few_replicas(consistency: Consistency, required: i32) -> Self {
        CqlError {
            message: format!("Cannot achieve consistency level {consistency}"),
            detail: ErrorDetail::Unavailable {
                consistency,
                required,
                alive: 1,
            },
            is_guardrail: false,
        }
    }

    /// Data is there and cannot be read as it was written.
    pub fn read_failure(message: impl Into<String>) -> Self {
        CqlError {
            message: message.into(),
            detail: ErrorDetail::ReadFailure {
                consistency: Consistency::One,
                received: 0,
                block_for: 1,
                failures: this_node(),
                data_present: false,
            },
            is_guardrail: false,
        }
    }

    /// A read gave up: there were more tombstones than it may read past.
    pub fn too_many_tombstones(consistency: Consistency, node: IpAddr) -> Self {
        /// Of the reasons that the protocol lists.
        const READ_TOO_MANY_TOMBSTONES: u16 = 1;
        CqlError {
            message: format!(
                "Operation failed - received 0 responses and 1 failures: READ_TOO_MANY_TOMBSTONES from /{node}:7000"
            ),
            detail: ErrorDetail::ReadFailure {
                consistency,
                received: 0,
                block_for: 1,
                failures: FailureReasons(vec![(node, READ_TOO_MANY_TOMBSTONES)]),
                data_present: false,
            },
            is_guardrail: false,
        }
    }

    /// The write did not happen.
    pub fn write_failure(message: impl Into<String>) -> Self {
        CqlError {
            message: message.into(),
            detail: ErrorDetail::WriteFailure {
                consistency: Consistency::One,
                received: 0,
                block_for: 1,
                failures: this_node(),
                write_type: WriteType::Simple,
            },
            is_guardrail: false,
        }
    }

    /// Whether the write happened is not known.
    pub fn write_timeout(message: impl Into<String>) -> Self {
        CqlError {
            message: message.into(),
            detail: ErrorDetail::WriteTimeout {
                consistency: Consistency::One,
                received: 0,
                block_for: 1,
                write_type: WriteType::Simple,
                contentions: 0,
            },
            is_guardrail: false,
        }
    }

    /// Of a write of this kind: drivers decide by it whether to try again what may have happened.
    pub fn of_write(mut self, kind: WriteType) -> Self {
        if let ErrorDetail::WriteTimeout { write_type, .. } = &mut self.detail {
            *write_type = kind;
        }
        self
    }

    /// A function failed while it ran.
    pub fn function_failure(
        keyspace: &str,
        function: &str,
        argument_types: Vec<String>,
        message: impl Into<String>,
    ) -> Self {
        CqlError {
            message: message.into(),
            detail: ErrorDetail::FunctionFailure {
                keyspace: keyspace.into(),
                function: function.into(),
                argument_types,
            },
            is_guardrail: false,
        }
    }

    pub fn code(&self) -> ErrorCode {
        ErrorResponse::from(self.clone()).code()
    }
}

/// The one node there is, for errors that list the nodes that failed.
fn this_node() -> FailureReasons {
    FailureReasons(vec![(IpAddr::V4(Ipv4Addr::LOCALHOST), 0)])
}

impl fmt::Display for CqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CqlError {}

impl From<CqlError> for ErrorResponse {
    fn from(error: CqlError) -> Self {
        ErrorResponse {
            message: error.message,
            detail: error.detail,
        }
    }
}

impl From<palladium_storage::Error> for CqlError {
    fn from(error: palladium_storage::Error) -> Self {
        use palladium_storage::Error;
        match &error {
            Error::Corrupt { .. } => Self::read_failure(error.to_string()),
            Error::KeyUnavailable { .. } => Self::unavailable(error.to_string()),
            Error::OutcomeUnknown { .. } => Self::write_timeout(error.to_string()),
            Error::Io { .. } => Self::server(error.to_string()),
            Error::Busy { .. } | Error::Full { .. } | Error::Stopped { .. } => {
                Self::overloaded(error.to_string())
            }
            Error::Closed => Self::overloaded("The server is shutting down"),
            Error::Older { .. } | Error::Invalid { .. } | Error::TooLarge { .. } => {
                Self::server(error.to_string())
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_says_what_kind_of_write_it_was_and_nothing_else_does() {
        let timeout = CqlError::write_timeout("unknown").of_write(WriteType::Cas);
        let ErrorDetail::WriteTimeout { write_type, .. } = timeout.detail else {
            panic!("{timeout} is no timeout");
        };
        assert_eq!(write_type, WriteType::Cas);
        let refused = CqlError::invalid("no").of_write(WriteType::Cas);
        assert_eq!(refused.code(), palladium_protocol::ErrorCode::Invalid);
    }
}
