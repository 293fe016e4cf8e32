//! The error a client sees: Cassandra's code, Cassandra's words, and what some codes carry beside them.
//!
//! Query code never picks a number: it says what happened through a constructor, and the constructor knows the code. The
//! one place where failures of storage, crypto and protocol become such an error is the `From` implementations below, so
//! a new inner variant does not compile until somebody has decided what a client is told.
//!
//! What must hold: a message may hold names and the client's own statement text, but nothing that was read from a table,
//! because messages reach logs.

use std::fmt;

/// The error codes of the native protocol.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[repr(i32)]
pub enum ErrorCode {
    ServerError = 0x0000,
    ProtocolError = 0x000A,
    BadCredentials = 0x0100,
    Unavailable = 0x1000,
    Overloaded = 0x1001,
    IsBootstrapping = 0x1002,
    TruncateError = 0x1003,
    WriteTimeout = 0x1100,
    ReadTimeout = 0x1200,
    ReadFailure = 0x1300,
    FunctionFailure = 0x1400,
    WriteFailure = 0x1500,
    SyntaxError = 0x2000,
    Unauthorized = 0x2100,
    Invalid = 0x2200,
    ConfigError = 0x2300,
    AlreadyExists = 0x2400,
    Unprepared = 0x2500,
}

/// What a code carries behind its message on the wire.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum ErrorExtra {
    #[default]
    None,
    /// Unavailable: at this consistency so many were needed and so many are alive.
    Unavailable {
        consistency: u16,
        required: i32,
        alive: i32,
    },
    /// WriteTimeout: the kind of write as Cassandra spells it (`SIMPLE`, `BATCH`, `CAS`, `COUNTER`, ...).
    WriteTimeout {
        consistency: u16,
        received: i32,
        block_for: i32,
        write_type: &'static str,
    },
    /// ReadTimeout.
    ReadTimeout {
        consistency: u16,
        received: i32,
        block_for: i32,
        data_present: bool,
    },
    /// ReadFailure.
    ReadFailure {
        consistency: u16,
        received: i32,
        block_for: i32,
        failures: i32,
        data_present: bool,
    },
    /// WriteFailure.
    WriteFailure {
        consistency: u16,
        received: i32,
        block_for: i32,
        failures: i32,
        write_type: &'static str,
    },
    /// FunctionFailure: which function, with its argument types.
    FunctionFailure {
        keyspace: String,
        function: String,
        argument_types: Vec<String>,
    },
    /// AlreadyExists: an empty table name says it is the keyspace.
    AlreadyExists { keyspace: String, table: String },
    /// Unprepared: the id that is not known here.
    Unprepared { id: Vec<u8> },
}

/// What the client is told.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CqlError {
    pub code: ErrorCode,
    pub message: String,
    pub extra: ErrorExtra,
}

/// Shorthand for results that end at a client.
pub type CqlResult<T> = Result<T, CqlError>;

impl CqlError {
    fn plain(code: ErrorCode, message: impl Into<String>) -> Self {
        CqlError {
            code,
            message: message.into(),
            extra: ErrorExtra::None,
        }
    }

    /// The statement is well written and makes no sense here.
    pub fn invalid(message: impl Into<String>) -> Self {
        Self::plain(ErrorCode::Invalid, message)
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
            code: ErrorCode::AlreadyExists,
            message: format!("Cannot add existing keyspace \"{keyspace}\""),
            extra: ErrorExtra::AlreadyExists {
                keyspace: keyspace.into(),
                table: String::new(),
            },
        }
    }

    /// A table with this name is there already.
    pub fn already_exists(keyspace: &str, table: &str) -> Self {
        CqlError {
            code: ErrorCode::AlreadyExists,
            message: format!("Cannot add already existing table \"{table}\" to keyspace \"{keyspace}\""),
            extra: ErrorExtra::AlreadyExists {
                keyspace: keyspace.into(),
                table: table.into(),
            },
        }
    }

    /// EXECUTE names a statement this server does not hold; the driver prepares it again.
    pub fn unprepared(id: &[u8]) -> Self {
        let hex: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        CqlError {
            code: ErrorCode::Unprepared,
            message: format!(
                "Prepared query with ID {hex} not found (either the query was not prepared on this host (maybe the host \
                 has been restarted?) or you have prepared too many queries and it has been evicted from the internal cache)"
            ),
            extra: ErrorExtra::Unprepared { id: id.to_vec() },
        }
    }

    /// The table's key service cannot be reached and the lease is over; the driver may try again.
    pub fn unavailable(message: impl Into<String>) -> Self {
        CqlError {
            code: ErrorCode::Unavailable,
            message: message.into(),
            extra: ErrorExtra::Unavailable {
                consistency: CONSISTENCY_ONE,
                required: 1,
                alive: 0,
            },
        }
    }

    /// Data is there and cannot be read as it was written.
    pub fn read_failure(message: impl Into<String>) -> Self {
        CqlError {
            code: ErrorCode::ReadFailure,
            message: message.into(),
            extra: ErrorExtra::ReadFailure {
                consistency: CONSISTENCY_ONE,
                received: 0,
                block_for: 1,
                failures: 1,
                data_present: false,
            },
        }
    }

    /// The write did not happen.
    pub fn write_failure(message: impl Into<String>) -> Self {
        CqlError {
            code: ErrorCode::WriteFailure,
            message: message.into(),
            extra: ErrorExtra::WriteFailure {
                consistency: CONSISTENCY_ONE,
                received: 0,
                block_for: 1,
                failures: 1,
                write_type: "SIMPLE",
            },
        }
    }

    /// Whether the write happened is not known.
    pub fn write_timeout(message: impl Into<String>) -> Self {
        CqlError {
            code: ErrorCode::WriteTimeout,
            message: message.into(),
            extra: ErrorExtra::WriteTimeout {
                consistency: CONSISTENCY_ONE,
                received: 0,
                block_for: 1,
                write_type: "SIMPLE",
            },
        }
    }

    /// A function failed while it ran.
    pub fn function_failure(
        keyspace: &str,
        function: &str,
        argument_types: Vec<String>,
        message: impl Into<String>,
    ) -> Self {
        CqlError {
            code: ErrorCode::FunctionFailure,
            message: message.into(),
            extra: ErrorExtra::FunctionFailure {
                keyspace: keyspace.into(),
                function: function.into(),
                argument_types,
            },
        }
    }
}

/// What errors that carry a consistency level say: one copy is all there is.
const CONSISTENCY_ONE: u16 = 0x0001;

impl fmt::Display for CqlError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for CqlError {}

impl From<palladium_storage::Error> for CqlError {
    fn from(error: palladium_storage::Error) -> Self {
        use palladium_storage::Error;
        match &error {
            Error::Corrupt { .. } => Self::read_failure(error.to_string()),
            Error::KeyUnavailable { .. } => Self::unavailable(error.to_string()),
            Error::Io { .. } => Self::server(error.to_string()),
            Error::Busy { .. } | Error::Full { .. } => Self::overloaded(error.to_string()),
            Error::Closed => Self::overloaded("The server is shutting down"),
            Error::Invalid { .. } => Self::server(error.to_string()),
        }
    }
}
