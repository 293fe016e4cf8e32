//! A row by its key: the table that cassandra-stress writes, a key of 10 bytes and five columns of 34.

use bytes::{BufMut, BytesMut};

use super::{Setting, Shapes, Tables, Workload, create_keyspace};
use crate::bench::load::Shape;
use crate::bench::request::{Expected, Turn, put_blob};
use crate::chance::mix;

const COLUMNS: u16 = 5;
const COLUMN_BYTES: usize = 34;
const INSERT_STATEMENT: &str =
    "INSERT INTO bench.standard (key, c0, c1, c2, c3, c4) VALUES (?, ?, ?, ?, ?, ?)";
const SELECT_STATEMENT: &str = "SELECT c0, c1, c2, c3, c4 FROM bench.standard WHERE key = ?";
/// Rows of a page of a scan.
const PAGE_ROWS: i32 = 1_000;

pub static TABLES: Tables = Tables {
    keyspace: "bench",
    schema: |_| create(),
    fill: |_| vec![INSERT_STATEMENT.to_owned()],
    put: insert,
    rows: |scale| scale.rows,
    settled: false,
    in_flight_max: 1_024,
};

/// The same table after a flush and a compaction, for what reads much of it.
pub static SETTLED: Tables = Tables {
    settled: true,
    ..TABLES
};

/// The same columns, with more rows than a small cache holds.
pub static COLD: Tables = Tables {
    keyspace: "bench_cold",
    schema: |_| {
        vec![
            create_keyspace("bench_cold"),
            "CREATE TABLE IF NOT EXISTS bench_cold.standard (key blob PRIMARY KEY, c0 blob, c1 blob, c2 blob, c3 blob, c4 blob)".to_owned(),
        ]
    },
    fill: |_| {
        vec![
            "INSERT INTO bench_cold.standard (key, c0, c1, c2, c3, c4) VALUES (?, ?, ?, ?, ?, ?)"
                .to_owned(),
        ]
    },
    put: |turn| {
        let row = turn.number();
        turn.execute(0, Expected::Void, 1 + COLUMNS, |body| {
            put_whole_row(body, row)
        });
    },
    rows: |scale| scale.cold_rows,
    settled: true,
    in_flight_max: 1_024,
};

const BASE: Workload = Workload {
    is_on_floor: true,
    ..Workload::over(&TABLES)
};

pub static INSERT: Workload = Workload {
    name: "insert",
    about: "a whole row, 180 bytes",
    statements: |_| vec![INSERT_STATEMENT.to_owned()],
    ask: insert,
    ..BASE
};

pub static UPDATE: Workload = Workload {
    name: "update",
    about: "one column of a row",
    statements: |_| vec!["UPDATE bench.standard SET c0 = ? WHERE key = ?".to_owned()],
    ask: |turn| {
        let (row, number) = (turn.row(), turn.chance.number());
        turn.execute(0, Expected::Void, 2, |body| {
            put_column(body, mix(number));
            put_key(body, row);
        });
    },
    is_on_floor: false,
    ..BASE
};

pub static READ: Workload = Workload {
    name: "read",
    about: "a row by its key, from memory",
    statements: |_| vec![SELECT_STATEMENT.to_owned()],
    ask: read,
    ..BASE
};

pub static READ_MISSING: Workload = Workload {
    name: "read_missing",
    about: "a key that is not there",
    statements: |_| vec![SELECT_STATEMENT.to_owned()],
    ask: |turn| {
        // Rows beyond the table's end were never written.
        let row = turn.scale.rows.max(turn.scale.cold_rows) + 1 + turn.number() % (1 << 40);
        turn.execute(0, Expected::Rows(0), 1, |body| put_key(body, row));
    },
    ..BASE
};

pub static CONNECTIONS: Workload = Workload {
    name: "connections",
    about: "a row by its key, one request at a time on each of many connections",
    statements: |_| vec![SELECT_STATEMENT.to_owned()],
    ask: read,
    shapes: Shapes::Only(Shape {
        connections: 1_000,
        in_flight: 1,
    }),
    ..BASE
};

pub static SCAN: Workload = Workload {
    name: "scan",
    about: "a page of 1,000 rows of a scan of the whole table",
    tables: &SETTLED,
    statements: |_| vec!["SELECT key, c0, c1, c2, c3, c4 FROM bench.standard".to_owned()],
    ask: |turn| turn.execute_page(0, PAGE_ROWS),
    shapes: super::FEW,
    is_on_floor: false,
    ..BASE
};

pub static READ_COLD: Workload = Workload {
    name: "read_cold",
    about: "a row by its key, its block from the page cache",
    tables: &COLD,
    statements: |_| {
        vec!["SELECT c0, c1, c2, c3, c4 FROM bench_cold.standard WHERE key = ?".to_owned()]
    },
    ask: |turn| {
        let row = turn.number() % turn.scale.cold_rows;
        turn.execute(0, Expected::Rows(1), 1, |body| put_key(body, row));
    },
    setting: Setting::SmallCache,
    ..BASE
};

fn insert(turn: &mut Turn<'_>) {
    let row = turn.row();
    turn.execute(0, Expected::Void, 1 + COLUMNS, |body| {
        put_whole_row(body, row);
    });
}

fn read(turn: &mut Turn<'_>) {
    let row = turn.row();
    turn.execute(0, Expected::Rows(1), 1, |body| put_key(body, row));
}

/// Puts the key of a row.
pub fn put_key(body: &mut BytesMut, row: u64) {
    body.put_i32(10);
    body.put_u16(0x4b30);
    body.put_u64(mix(row));
}

/// Puts a key and five columns that can be told from the key.
pub fn put_whole_row(body: &mut BytesMut, row: u64) {
    put_key(body, row);
    let mut word = mix(row);
    for _ in 0..COLUMNS {
        word = put_column(body, word);
    }
}

/// Puts one column of bytes that do not compress; gives the word that the next one begins with.
fn put_column(body: &mut BytesMut, mut word: u64) -> u64 {
    let mut bytes = [0; COLUMN_BYTES];
    for chunk in bytes.chunks_mut(8) {
        word = mix(word.wrapping_add(1));
        chunk.copy_from_slice(&word.to_be_bytes()[..chunk.len()]);
    }
    put_blob(body, &bytes);
    word
}

/// The statements that make the table.
pub fn create() -> Vec<String> {
    vec![
        create_keyspace("bench"),
        "CREATE TABLE IF NOT EXISTS bench.standard (key blob PRIMARY KEY, c0 blob, c1 blob, c2 blob, c3 blob, c4 blob)".to_owned(),
    ]
}
