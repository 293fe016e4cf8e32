//! STARTUP: the client's options. OPTIONS has an empty body.
//!
//! ```text
//! | options [string map] |        CQL_VERSION, COMPRESSION, DRIVER_NAME, DRIVER_VERSION, ...
//! ```
//!
//! Options we do not know are ignored: drivers send many. Keys count without case, as in Cassandra.

use crate::error::Malformed;
use crate::wire::primitive::{Reader, StringMap};
use crate::wire::{Compression, Version};

#[derive(Debug, Clone, Copy)]
pub struct Startup<'a> {
    pub options: StringMap<'a>,
}

impl<'a> Startup<'a> {
    pub(super) fn read(body: &mut Reader<'a>) -> Result<Self, Malformed> {
        Ok(Self {
            options: StringMap::read(body)?,
        })
    }

    pub fn cql_version(&self) -> Option<&'a str> {
        self.options.get("CQL_VERSION")
    }

    /// The compression the client asks for, if this version has it.
    pub fn compression(&self, version: Version) -> Result<Option<Compression>, Malformed> {
        let Some(name) = self.options.get("COMPRESSION") else {
            return Ok(None);
        };
        match name.to_ascii_lowercase().as_str() {
            "lz4" => Ok(Some(Compression::Lz4)),
            "snappy" if version >= Version::V5 => Err(Malformed::of(
                "Snappy compression is not supported in protocol V5",
            )),
            "snappy" => Ok(Some(Compression::Snappy)),
            _ => Err(Malformed::from(format!(
                "Unknown compression algorithm: {name}"
            ))),
        }
    }
}
