//! EXECUTE: a prepared statement's id and its parameters.
//!
//! ```text
//! v3, v4   | id [short bytes] | parameters |
//! v5       | id [short bytes] | result metadata id [short bytes] | parameters |
//! ```

use super::params::QueryParams;
use crate::error::Malformed;
use crate::wire::Version;
use crate::wire::primitive::Reader;

#[derive(Debug, Clone, Copy)]
pub struct Execute<'a> {
    pub id: &'a [u8],
    /// v5: the result metadata the client remembers.
    pub result_metadata_id: Option<&'a [u8]>,
    pub params: QueryParams<'a>,
}

impl<'a> Execute<'a> {
    #[inline]
    pub(super) fn read(version: Version, body: &mut Reader<'a>) -> Result<Self, Malformed> {
        let id = body.short_bytes()?;
        let result_metadata_id = if version >= Version::V5 {
            Some(body.short_bytes()?)
        } else {
            None
        };
        Ok(Self {
            id,
            result_metadata_id,
            params: QueryParams::read(version, body)?,
        })
    }
}
