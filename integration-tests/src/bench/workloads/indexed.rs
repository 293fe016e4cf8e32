//! Rows by an indexed column: ten of each value, by both kinds of index.

use super::standard::put_key;
use super::{Scale, Tables, Workload, create_keyspace};
use crate::bench::request::{Expected, Turn, put_blob, put_int};
use crate::chance::mix;

const ROWS_OF_A_VALUE: u64 = 10;
const VALUE_BYTES: usize = 32;

const fn tables(
    keyspace: &'static str,
    schema: fn(&Scale) -> Vec<String>,
    fill: fn(&Scale) -> Vec<String>,
) -> Tables {
    Tables {
        keyspace,
        schema,
        fill,
        put: insert,
        rows,
        settled: false,
        in_flight_max: 256,
    }
}

pub static CLASSIC_TABLES: Tables = tables(
    "bench_classic",
    |_| {
        schema(
            "bench_classic",
            "CREATE INDEX IF NOT EXISTS by_category ON bench_classic.things (category)",
        )
    },
    |_| vec![insert_statement("bench_classic")],
);

pub static SAI_TABLES: Tables = tables(
    "bench_sai",
    |_| {
        schema(
            "bench_sai",
            "CREATE INDEX IF NOT EXISTS by_category ON bench_sai.things (category) USING 'sai'",
        )
    },
    |_| vec![insert_statement("bench_sai")],
);

fn rows(scale: &Scale) -> u64 {
    scale.rows.min(100_000).next_multiple_of(ROWS_OF_A_VALUE)
}

fn schema(keyspace: &str, index: &str) -> Vec<String> {
    vec![
        create_keyspace(keyspace),
        format!(
            "CREATE TABLE IF NOT EXISTS {keyspace}.things (key blob PRIMARY KEY, category int, v blob)"
        ),
        index.to_owned(),
    ]
}

fn insert_statement(keyspace: &str) -> String {
    format!("INSERT INTO {keyspace}.things (key, category, v) VALUES (?, ?, ?)")
}

fn select_statement(keyspace: &str) -> Vec<String> {
    vec![format!(
        "SELECT key, v FROM {keyspace}.things WHERE category = ?"
    )]
}

const BASE: Workload = Workload {
    ask: select,
    ..Workload::over(&SAI_TABLES)
};

pub static CLASSIC: Workload = Workload {
    name: "index_classic",
    about: "10 rows by a classic secondary index",
    tables: &CLASSIC_TABLES,
    statements: |_| select_statement("bench_classic"),
    ..BASE
};

pub static SAI: Workload = Workload {
    name: "index_sai",
    about: "10 rows by a storage-attached index",
    statements: |_| select_statement("bench_sai"),
    ..BASE
};

pub static SAI_INSERT: Workload = Workload {
    name: "index_insert",
    about: "a row of a table with a storage-attached index",
    statements: |_| vec![insert_statement("bench_sai")],
    ask: insert,
    ..BASE
};

/// The row's value follows from its number, so that a row written again keeps it.
fn insert(turn: &mut Turn<'_>) {
    let row = turn.number() % rows(turn.scale);
    turn.execute(0, Expected::Void, 3, |body| {
        put_key(body, row);
        put_int(body, (row / ROWS_OF_A_VALUE) as i32);
        let bytes: Vec<u8> = (0..VALUE_BYTES as u64 / 8)
            .flat_map(|word| mix(row ^ word << 32).to_be_bytes())
            .collect();
        put_blob(body, &bytes);
    });
}

fn select(turn: &mut Turn<'_>) {
    let category = turn.number() % (rows(turn.scale) / ROWS_OF_A_VALUE);
    turn.execute(0, Expected::Rows(ROWS_OF_A_VALUE as u32), 1, |body| {
        put_int(body, category as i32);
    });
}
