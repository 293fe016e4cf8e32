//! BATCH: many statements, one answer.
//!
//! ```text
//! | type [byte] | n [short] | n statements | parameters |
//! statement:  | 0 [byte] | query [long string] | n [short] | values [value] |
//!             | 1 [byte] | id [short bytes]    | n [short] | values [value] |
//! ```
//!
//! The parameters are those of QUERY, of which only serial consistency, timestamp, keyspace and now have a meaning here.
//! Values of a batch have no names.

use std::fmt;

use super::params::{QueryParams, Values};
use crate::error::Malformed;
use crate::wire::Version;
use crate::wire::primitive::Reader;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BatchKind {
    Logged,
    Unlogged,
    Counter,
}

/// The statements are checked: iterating cannot fail.
#[derive(Clone, Copy)]
pub struct Batch<'a> {
    pub kind: BatchKind,
    pub params: QueryParams<'a>,
    version: Version,
    count: u16,
    entries: &'a [u8],
}

/// One statement of a batch and its values.
#[derive(Clone, Copy)]
pub struct BatchEntry<'a> {
    pub statement: BatchStatement<'a>,
    pub values: Values<'a>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum BatchStatement<'a> {
    Query(&'a str),
    /// The id of a prepared statement.
    Prepared(&'a [u8]),
}

impl<'a> Batch<'a> {
    pub(super) fn read(version: Version, body: &mut Reader<'a>) -> Result<Self, Malformed> {
        let kind = match body.byte()? {
            0 => BatchKind::Logged,
            1 => BatchKind::Unlogged,
            2 => BatchKind::Counter,
            other => {
                return Err(Malformed::from(format!(
                    "Invalid BATCH message type {other}"
                )));
            }
        };
        let count = body.short()?;
        let start = body.rest();
        for _ in 0..count {
            BatchEntry::read(version, body)?;
        }
        let entries = &start[..start.len() - body.rest().len()];
        Ok(Self {
            kind,
            params: QueryParams::read(version, body)?,
            version,
            count,
            entries,
        })
    }

    pub fn len(&self) -> usize {
        usize::from(self.count)
    }

    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    pub fn iter(&self) -> impl Iterator<Item = BatchEntry<'a>> + use<'a> {
        let version = self.version;
        let mut reader = Reader::new(self.entries);
        std::iter::from_fn(move || BatchEntry::read(version, &mut reader).ok())
    }
}

impl<'a> BatchEntry<'a> {
    fn read(version: Version, body: &mut Reader<'a>) -> Result<Self, Malformed> {
        let statement = match body.byte()? {
            0 => BatchStatement::Query(body.long_string()?),
            1 => BatchStatement::Prepared(body.short_bytes()?),
            other => {
                return Err(Malformed::from(format!(
                    "Invalid query kind in BATCH messages. Must be 0 or 1 but got {other}"
                )));
            }
        };
        Ok(Self {
            statement,
            values: Values::read(version, body, false)?,
        })
    }
}

impl fmt::Debug for Batch<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Batch")
            .field("kind", &self.kind)
            .field("count", &self.count)
            .field("params", &self.params)
            .finish_non_exhaustive()
    }
}
