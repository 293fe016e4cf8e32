//! SUPPORTED: what this server can do.
//!
//! ```text
//! | options [string multimap] |
//! ```

use bytes::{BufMut, BytesMut};

use crate::wire::primitive::{put_string, put_string_list};
use crate::wire::{Compression, Version};

/// Option names with their values, in the order they are sent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Supported {
    pub options: Vec<(String, Vec<String>)>,
}

impl Supported {
    /// The options this crate can keep, for a server with that CQL version.
    pub fn new(cql_version: &str) -> Self {
        let compression =
            [Compression::Snappy, Compression::Lz4].map(|codec| codec.name().to_owned());
        let versions = Version::ALL.map(|version| version.to_string());
        Self {
            options: vec![
                ("PROTOCOL_VERSIONS".to_owned(), versions.to_vec()),
                ("COMPRESSION".to_owned(), compression.to_vec()),
                ("CQL_VERSION".to_owned(), vec![cql_version.to_owned()]),
            ],
        }
    }

    pub(super) fn encode(&self, out: &mut BytesMut) {
        let options = &self.options[..self.options.len().min(usize::from(u16::MAX))];
        out.put_u16(options.len() as u16);
        for (name, values) in options {
            put_string(out, name);
            put_string_list(out, values);
        }
    }
}
