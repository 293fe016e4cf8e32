//! Column specifications inside RESULT, encoded once and copied from then on.
//!
//! ```text
//! result  | flags [int] | columns [int] | paging state [bytes] | new id [short bytes] | table | specs |
//! bind    | flags [int] | columns [int] | v4, v5: n [int], n x key index [short]      | table | specs |
//! table   | keyspace [string] | table [string] |      only if all columns are of one table (flag 0x01)
//! spec    | keyspace, table [string], unless global | name [string] | type [option] |
//! flags   0x01 global table   0x02 more pages   0x04 no metadata   0x08 metadata changed (v5)
//! ```
//!
//! Only type options differ between versions (and only where a version lacks a type), so a cached encoding is kept three times
//! at most, and shared where it is the same.

use bytes::{BufMut, Bytes, BytesMut};

use crate::types::CqlType;
use crate::wire::Version;
use crate::wire::primitive::{put_bytes, put_short_bytes, put_string};

pub(super) const GLOBAL_TABLE: i32 = 0x01;
pub(super) const HAS_MORE_PAGES: i32 = 0x02;
pub(super) const NO_METADATA: i32 = 0x04;
pub(super) const METADATA_CHANGED: i32 = 0x08;

/// One column of a result, or one bind marker.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ColumnSpec {
    pub keyspace: String,
    pub table: String,
    pub name: String,
    pub ty: CqlType,
}

/// The columns of a result, ready to be copied into a message.
#[derive(Debug, Clone)]
pub struct EncodedMetadata {
    columns: i32,
    flags: i32,
    id: [u8; 16],
    /// Table and specs, for v3, v4 and v5.
    specs: [Bytes; 3],
}

impl EncodedMetadata {
    /// `id` names these columns to v5 clients: equal columns, equal id.
    pub fn new(columns: &[ColumnSpec], id: [u8; 16]) -> Self {
        let (flags, specs) = encode_specs(columns);
        Self {
            columns: column_count(columns),
            flags,
            id,
            specs,
        }
    }

    /// For statements that return no rows.
    pub fn none(id: [u8; 16]) -> Self {
        Self {
            columns: 0,
            flags: NO_METADATA,
            id,
            specs: Default::default(),
        }
    }

    pub fn id(&self) -> &[u8; 16] {
        &self.id
    }

    pub fn columns(&self) -> usize {
        self.columns as usize
    }

    /// The whole metadata of a result.
    pub(super) fn put(
        &self,
        version: Version,
        paging_state: Option<&[u8]>,
        shown: Shown,
        out: &mut BytesMut,
    ) {
        let mut flags = match shown {
            Shown::All => self.flags,
            Shown::Nothing => NO_METADATA,
            Shown::Changed => self.flags | METADATA_CHANGED,
        };
        if paging_state.is_some() {
            flags |= HAS_MORE_PAGES;
        }
        out.put_i32(flags);
        out.put_i32(self.columns);
        if paging_state.is_some() {
            put_bytes(out, paging_state);
        }
        if shown == Shown::Changed {
            put_short_bytes(out, &self.id);
        }
        if flags & NO_METADATA == 0 {
            out.put_slice(of_version(&self.specs, version));
        }
    }
}

/// How much of the metadata a message shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Shown {
    All,
    Nothing,
    Changed,
}

/// The bind markers of a prepared statement, ready to be copied into PREPARED.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BindMetadata {
    columns: i32,
    flags: i32,
    key_indexes: Vec<u16>,
    specs: [Bytes; 3],
}

impl BindMetadata {
    /// `key_indexes` are the markers of the partition key, in the key's order; empty if it is not wholly bound.
    pub fn new(markers: &[ColumnSpec], key_indexes: Vec<u16>) -> Self {
        let (flags, specs) = encode_specs(markers);
        Self {
            columns: column_count(markers),
            flags,
            key_indexes,
            specs,
        }
    }

    pub(super) fn put(&self, version: Version, out: &mut BytesMut) {
        out.put_i32(self.flags);
        out.put_i32(self.columns);
        if version >= Version::V4 {
            out.put_i32(self.key_indexes.len() as i32);
            for index in &self.key_indexes {
                out.put_u16(*index);
            }
        }
        out.put_slice(of_version(&self.specs, version));
    }
}

fn column_count(columns: &[ColumnSpec]) -> i32 {
    i32::try_from(columns.len()).expect("columns are counted by unsigned [short]s everywhere else")
}

fn of_version(specs: &[Bytes; 3], version: Version) -> &Bytes {
    &specs[usize::from(version.number() - Version::V3.number())]
}

/// Flags, and table and specs for each version.
fn encode_specs(columns: &[ColumnSpec]) -> (i32, [Bytes; 3]) {
    let global = global_table(columns);
    let flags = if global.is_some() { GLOBAL_TABLE } else { 0 };
    let [v3, v4, v5] = Version::ALL.map(|version| {
        let mut out = BytesMut::new();
        if let Some(first) = global {
            put_string(&mut out, &first.keyspace);
            put_string(&mut out, &first.table);
        }
        for column in columns {
            if global.is_none() {
                put_string(&mut out, &column.keyspace);
                put_string(&mut out, &column.table);
            }
            put_string(&mut out, &column.name);
            column.ty.put_option(version, &mut out);
        }
        out.freeze()
    });
    let v4 = if v4 == v3 { v3.clone() } else { v4 };
    let v5 = if v5 == v4 { v4.clone() } else { v5 };
    (flags, [v3, v4, v5])
}

/// The first column, if all others are of its table.
fn global_table(columns: &[ColumnSpec]) -> Option<&ColumnSpec> {
    let (first, others) = columns.split_first()?;
    others
        .iter()
        .all(|column| column.keyspace == first.keyspace && column.table == first.table)
        .then_some(first)
}
