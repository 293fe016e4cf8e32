//! Some rows of a partition of many, in clustering order.

use super::standard::put_key;
use super::{Scale, Tables, Workload, create_keyspace};
use crate::bench::request::{Expected, Turn, put_blob, put_int};
use crate::chance::mix;

/// Rows of a partition.
const PARTITION_ROWS: u64 = 1_000;
const VALUE_BYTES: usize = 100;

pub static TABLES: Tables = Tables {
    keyspace: "bench_slices",
    schema: |_| {
        vec![
            create_keyspace("bench_slices"),
            "CREATE TABLE IF NOT EXISTS bench_slices.rows (key blob, c int, v blob, PRIMARY KEY (key, c))".to_owned(),
        ]
    },
    fill: |_| vec!["INSERT INTO bench_slices.rows (key, c, v) VALUES (?, ?, ?)".to_owned()],
    put: |turn| {
        let number = turn.number();
        turn.execute(0, Expected::Void, 3, |body| {
            put_key(body, number / PARTITION_ROWS);
            put_int(body, (number % PARTITION_ROWS) as i32);
            let bytes: Vec<u8> = (0..VALUE_BYTES as u64 / 8 + 1)
                .flat_map(|word| mix(number ^ word).to_be_bytes())
                .collect();
            put_blob(body, &bytes[..VALUE_BYTES]);
        });
    },
    rows: |scale| partitions(scale) * PARTITION_ROWS,
    settled: true,
    in_flight_max: 1_024,
};

fn partitions(scale: &Scale) -> u64 {
    scale.rows.div_ceil(PARTITION_ROWS)
}

const BASE: Workload = Workload::over(&TABLES);

pub static SLICE_10: Workload = Workload {
    name: "slice_10",
    about: "10 rows of 100 bytes from a place in a partition of 1,000",
    statements: |_| vec![statement(10)],
    ask: |turn| slice(turn, 10),
    ..BASE
};

pub static SLICE_100: Workload = Workload {
    name: "slice_100",
    about: "100 rows of 100 bytes from a place in a partition of 1,000",
    statements: |_| vec![statement(100)],
    ask: |turn| slice(turn, 100),
    ..BASE
};

fn statement(rows: u32) -> String {
    format!("SELECT c, v FROM bench_slices.rows WHERE key = ? AND c >= ? LIMIT {rows}")
}

fn slice(turn: &mut Turn<'_>, rows: u32) {
    let (partition, number) = (turn.number() % partitions(turn.scale), turn.chance.number());
    let first = number % (PARTITION_ROWS - u64::from(rows) + 1);
    turn.execute(0, Expected::Rows(rows), 2, |body| {
        put_key(body, partition);
        put_int(body, first as i32);
    });
}
