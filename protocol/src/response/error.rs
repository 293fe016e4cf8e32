//! ERROR: a code, a message, and the extra fields of each code.
//!
//! ```text
//! | code [int] | message [string] | extra fields |
//! Unavailable      | consistency | required [int] | alive [int] |
//! WriteTimeout     | consistency | received [int] | block for [int] | write type [string] | v5 and CAS: contentions [short] |
//! ReadTimeout      | consistency | received [int] | block for [int] | data present [byte] |
//! ReadFailure      | consistency | received [int] | block for [int] | failures | data present [byte] |      v4, v5
//! WriteFailure     | consistency | received [int] | block for [int] | failures | write type [string] |      v4, v5
//! CasWriteUnknown  | consistency | received [int] | block for [int] |                                     v5
//! FunctionFailure  | keyspace [string] | function [string] | argument types [string list] |               v4, v5
//! AlreadyExists    | keyspace [string] | table [string] |
//! Unprepared       | id [short bytes] |
//! failures:  v4 | count [int] |     v5 | n [int] | n x (node [inetaddr], reason [short]) |
//! ```
//!
//! A version that does not know a code is told the nearest one it knows, as Cassandra does.

use std::fmt;
use std::net::IpAddr;

use bytes::{BufMut, BytesMut};

use crate::error::ErrorCode;
use crate::wire::primitive::{put_inetaddr, put_short_bytes, put_string, put_string_list};
use crate::wire::{Consistency, Version};

/// An ERROR message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorResponse {
    pub message: String,
    pub detail: ErrorDetail,
}

/// The code and what it brings along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ErrorDetail {
    /// A code without extra fields.
    Plain(ErrorCode),
    Unavailable {
        consistency: Consistency,
        required: i32,
        alive: i32,
    },
    WriteTimeout {
        consistency: Consistency,
        received: i32,
        block_for: i32,
        write_type: WriteType,
        /// How often a compare-and-set lost to another; sent for `WriteType::Cas` only.
        contentions: u16,
    },
    ReadTimeout {
        consistency: Consistency,
        received: i32,
        block_for: i32,
        data_present: bool,
    },
    ReadFailure {
        consistency: Consistency,
        received: i32,
        block_for: i32,
        failures: FailureReasons,
        data_present: bool,
    },
    WriteFailure {
        consistency: Consistency,
        received: i32,
        block_for: i32,
        failures: FailureReasons,
        write_type: WriteType,
    },
    CasWriteUnknown {
        consistency: Consistency,
        received: i32,
        block_for: i32,
    },
    FunctionFailure {
        keyspace: String,
        function: String,
        argument_types: Vec<String>,
    },
    AlreadyExists {
        keyspace: String,
        /// Empty if it is the keyspace that exists.
        table: String,
    },
    Unprepared {
        id: Vec<u8>,
    },
}

/// Which node failed, and why: 0 unknown, 1 too many tombstones, 2 incompatible schema, ...
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct FailureReasons(pub Vec<(IpAddr, u16)>);

/// What kind of write did not finish.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum WriteType {
    Simple,
    Batch,
    UnloggedBatch,
    Counter,
    BatchLog,
    Cas,
    View,
    Cdc,
}

impl fmt::Display for WriteType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Simple => "SIMPLE",
            Self::Batch => "BATCH",
            Self::UnloggedBatch => "UNLOGGED_BATCH",
            Self::Counter => "COUNTER",
            Self::BatchLog => "BATCH_LOG",
            Self::Cas => "CAS",
            Self::View => "VIEW",
            Self::Cdc => "CDC",
        })
    }
}

impl ErrorResponse {
    /// An error without extra fields.
    pub fn plain(code: ErrorCode, message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            detail: ErrorDetail::Plain(code),
        }
    }

    pub fn code(&self) -> ErrorCode {
        match self.detail {
            ErrorDetail::Plain(code) => code,
            ErrorDetail::Unavailable { .. } => ErrorCode::Unavailable,
            ErrorDetail::WriteTimeout { .. } => ErrorCode::WriteTimeout,
            ErrorDetail::ReadTimeout { .. } => ErrorCode::ReadTimeout,
            ErrorDetail::ReadFailure { .. } => ErrorCode::ReadFailure,
            ErrorDetail::WriteFailure { .. } => ErrorCode::WriteFailure,
            ErrorDetail::CasWriteUnknown { .. } => ErrorCode::CasWriteUnknown,
            ErrorDetail::FunctionFailure { .. } => ErrorCode::FunctionFailure,
            ErrorDetail::AlreadyExists { .. } => ErrorCode::AlreadyExists,
            ErrorDetail::Unprepared { .. } => ErrorCode::Unprepared,
        }
    }

    pub(super) fn encode(&self, version: Version, out: &mut BytesMut) {
        match self.for_older(version) {
            Some(older) => older.encode_as_is(version, out),
            None => self.encode_as_is(version, out),
        }
    }

    /// The same in words that an older version knows; `None` if it knows these.
    fn for_older(&self, version: Version) -> Option<ErrorResponse> {
        let invalid = |name: &str| {
            Self::plain(
                ErrorCode::Invalid,
                format!("ERROR {name}: {}", self.message),
            )
        };
        let detail = match self.detail {
            ErrorDetail::ReadFailure {
                consistency,
                received,
                block_for,
                data_present,
                ..
            } if version < Version::V4 => ErrorDetail::ReadTimeout {
                consistency,
                received,
                block_for,
                data_present,
            },
            ErrorDetail::WriteFailure {
                consistency,
                received,
                block_for,
                write_type,
                ..
            } if version < Version::V4 => ErrorDetail::WriteTimeout {
                consistency,
                received,
                block_for,
                write_type,
                contentions: 0,
            },
            ErrorDetail::FunctionFailure { .. } if version < Version::V4 => {
                return Some(invalid("FUNCTION_FAILURE"));
            }
            ErrorDetail::Plain(ErrorCode::CdcWriteFailure) if version < Version::V4 => {
                return Some(invalid("CDC_WRITE_FAILURE"));
            }
            ErrorDetail::CasWriteUnknown {
                consistency,
                received,
                block_for,
            } if version < Version::V5 => ErrorDetail::WriteTimeout {
                consistency,
                received,
                block_for,
                write_type: WriteType::Cas,
                contentions: 0,
            },
            _ => return None,
        };
        Some(Self {
            message: self.message.clone(),
            detail,
        })
    }

    fn encode_as_is(&self, version: Version, out: &mut BytesMut) {
        out.put_i32(self.code() as i32);
        put_string(out, &self.message);
        match &self.detail {
            ErrorDetail::Plain(_) => {}
            ErrorDetail::Unavailable {
                consistency,
                required,
                alive,
            } => put_counts(out, *consistency, *required, *alive),
            ErrorDetail::WriteTimeout {
                consistency,
                received,
                block_for,
                write_type,
                contentions,
            } => {
                put_counts(out, *consistency, *received, *block_for);
                put_string(out, &write_type.to_string());
                if version >= Version::V5 && *write_type == WriteType::Cas {
                    out.put_u16(*contentions);
                }
            }
            ErrorDetail::ReadTimeout {
                consistency,
                received,
                block_for,
                data_present,
            } => {
                put_counts(out, *consistency, *received, *block_for);
                out.put_u8(u8::from(*data_present));
            }
            ErrorDetail::ReadFailure {
                consistency,
                received,
                block_for,
                failures,
                data_present,
            } => {
                put_counts(out, *consistency, *received, *block_for);
                failures.encode(version, out);
                out.put_u8(u8::from(*data_present));
            }
            ErrorDetail::WriteFailure {
                consistency,
                received,
                block_for,
                failures,
                write_type,
            } => {
                put_counts(out, *consistency, *received, *block_for);
                failures.encode(version, out);
                put_string(out, &write_type.to_string());
            }
            ErrorDetail::CasWriteUnknown {
                consistency,
                received,
                block_for,
            } => put_counts(out, *consistency, *received, *block_for),
            ErrorDetail::FunctionFailure {
                keyspace,
                function,
                argument_types,
            } => {
                put_string(out, keyspace);
                put_string(out, function);
                put_string_list(out, argument_types);
            }
            ErrorDetail::AlreadyExists { keyspace, table } => {
                put_string(out, keyspace);
                put_string(out, table);
            }
            ErrorDetail::Unprepared { id } => put_short_bytes(out, id),
        }
    }
}

impl FailureReasons {
    fn encode(&self, version: Version, out: &mut BytesMut) {
        out.put_i32(self.0.len() as i32);
        if version >= Version::V5 {
            for (node, reason) in &self.0 {
                put_inetaddr(out, *node);
                out.put_u16(*reason);
            }
        }
    }
}

fn put_counts(out: &mut BytesMut, consistency: Consistency, first: i32, second: i32) {
    out.put_u16(consistency.number());
    out.put_i32(first);
    out.put_i32(second);
}
