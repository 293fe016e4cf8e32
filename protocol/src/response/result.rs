//! RESULT without rows: void, set keyspace, prepared, schema change.
//!
//! ```text
//! | 1 [int] |                                          void
//! | 2 [int] | metadata | rows |                        rows: see `rows`
//! | 3 [int] | keyspace [string] |                      set keyspace
//! | 4 [int] | id [short bytes] | v5: result metadata id [short bytes] | bind metadata | result metadata |
//! | 5 [int] | schema change |
//! ```

use bytes::{BufMut, BytesMut};

use super::event::SchemaChange;
use super::metadata::{BindMetadata, EncodedMetadata, Shown};
use crate::wire::Version;
use crate::wire::primitive::{put_short_bytes, put_string};

const VOID: i32 = 1;
pub(super) const ROWS: i32 = 2;
const SET_KEYSPACE: i32 = 3;
const PREPARED: i32 = 4;
const SCHEMA_CHANGE: i32 = 5;

#[derive(Debug, Clone)]
pub enum ResultResponse<'a> {
    Void,
    SetKeyspace(&'a str),
    Prepared(Prepared<'a>),
    SchemaChange(&'a SchemaChange),
}

#[derive(Debug, Clone)]
pub struct Prepared<'a> {
    pub id: &'a [u8],
    pub bind: &'a BindMetadata,
    pub result: &'a EncodedMetadata,
}

impl ResultResponse<'_> {
    pub(super) fn encode(&self, version: Version, out: &mut BytesMut) {
        match self {
            Self::Void => out.put_i32(VOID),
            Self::SetKeyspace(keyspace) => {
                out.put_i32(SET_KEYSPACE);
                put_string(out, keyspace);
            }
            Self::Prepared(prepared) => {
                out.put_i32(PREPARED);
                prepared.encode(version, out);
            }
            Self::SchemaChange(change) => {
                out.put_i32(SCHEMA_CHANGE);
                change.encode(version, out);
            }
        }
    }
}

impl Prepared<'_> {
    fn encode(&self, version: Version, out: &mut BytesMut) {
        put_short_bytes(out, self.id);
        if version >= Version::V5 {
            put_short_bytes(out, self.result.id());
        }
        self.bind.put(version, out);
        self.result.put(version, None, Shown::All, out);
    }
}
