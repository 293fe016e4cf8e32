//! PREPARE: a statement to remember.
//!
//! ```text
//! v3, v4   | query [long string] |
//! v5       | query [long string] | flags [int] | keyspace [string], if flag 0x01 |
//! ```

use std::fmt;

use crate::error::Malformed;
use crate::wire::Version;
use crate::wire::primitive::Reader;

const WITH_KEYSPACE: i32 = 0x01;

/// The text may hold literals, so it is not printed.
#[derive(Clone, Copy)]
pub struct Prepare<'a> {
    pub query: &'a str,
    /// v5: the keyspace that unqualified names mean.
    pub keyspace: Option<&'a str>,
}

impl<'a> Prepare<'a> {
    pub(super) fn read(version: Version, body: &mut Reader<'a>) -> Result<Self, Malformed> {
        let query = body.long_string()?;
        let flags = if version >= Version::V5 {
            body.int()?
        } else {
            0
        };
        let keyspace = (flags & WITH_KEYSPACE != 0)
            .then(|| body.string())
            .transpose()?;
        Ok(Self { query, keyspace })
    }
}

impl fmt::Debug for Prepare<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Prepare")
            .field("query_bytes", &self.query.len())
            .field("keyspace", &self.keyspace)
            .finish()
    }
}
