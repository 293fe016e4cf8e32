//! QUERY: a statement as text, with its parameters.
//!
//! ```text
//! | query [long string] | parameters |
//! ```

use std::fmt;

use super::params::QueryParams;
use crate::error::Malformed;
use crate::wire::Version;
use crate::wire::primitive::Reader;

/// The text may hold literals, so it is not printed.
#[derive(Clone, Copy)]
pub struct Query<'a> {
    pub query: &'a str,
    pub params: QueryParams<'a>,
}

impl<'a> Query<'a> {
    pub(super) fn read(version: Version, body: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self {
            query: body.long_string()?,
            params: QueryParams::read(version, body)?,
        })
    }
}

impl fmt::Debug for Query<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Query")
            .field("query_bytes", &self.query.len())
            .field("params", &self.params)
            .finish()
    }
}
