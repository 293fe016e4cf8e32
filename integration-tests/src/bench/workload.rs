//! What is asked of a server. A new workload is one more constant here: its schema, its statement, and what the statement binds for a row.

use bytes::{BufMut, BytesMut};

use crate::chance::mix;

/// One prepared statement and the table it works on.
pub struct Workload {
    pub name: &'static str,
    pub statement: &'static str,
    /// Writes the bound values, number first, for one row.
    pub bind: fn(output: &mut BytesMut, row: u64),
    pub answer: Expected,
}

/// How an answer must begin; a null answer would be a fast one.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Expected {
    Void,
    /// Rows, and at least so many bytes of them.
    Rows {
        bytes_min: usize,
    },
}

/// Makes the table of all workloads: the one that cassandra-stress writes, key and five columns of 34 bytes.
pub const SCHEMA: [&str; 2] = [
    "CREATE KEYSPACE IF NOT EXISTS bench WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
    "CREATE TABLE IF NOT EXISTS bench.standard (key blob PRIMARY KEY, c0 blob, c1 blob, c2 blob, c3 blob, c4 blob)",
];

const COLUMNS: usize = 5;
const COLUMN_BYTES: usize = 34;

pub const WRITE: Workload = Workload {
    name: "write",
    statement: "INSERT INTO bench.standard (key, c0, c1, c2, c3, c4) VALUES (?, ?, ?, ?, ?, ?)",
    bind: bind_whole_row,
    answer: Expected::Void,
};

pub const READ: Workload = Workload {
    name: "read",
    statement: "SELECT c0, c1, c2, c3, c4 FROM bench.standard WHERE key = ?",
    bind: bind_key,
    answer: Expected::Rows {
        bytes_min: COLUMNS * COLUMN_BYTES,
    },
};

/// All of them, in the order in which they are measured: a table is written before it is read.
pub const ALL: [&Workload; 2] = [&WRITE, &READ];

/// The workload of a name.
pub fn named(name: &str) -> Option<&'static Workload> {
    ALL.into_iter().find(|workload| workload.name == name)
}

fn bind_key(output: &mut BytesMut, row: u64) {
    output.put_u16(1);
    put_key(output, row);
}

fn bind_whole_row(output: &mut BytesMut, row: u64) {
    output.put_u16(1 + COLUMNS as u16);
    put_key(output, row);
    let mut word = mix(row);
    for _ in 0..COLUMNS {
        output.put_i32(COLUMN_BYTES as i32);
        for _ in 0..COLUMN_BYTES / 8 {
            word = mix(word.wrapping_add(1));
            output.put_u64(word);
        }
        output.put_u16(word as u16);
    }
}

fn put_key(output: &mut BytesMut, row: u64) {
    output.put_i32(10);
    output.put_u16(0x4b30);
    output.put_u64(mix(row));
}
