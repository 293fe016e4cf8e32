//! What takes more than a write: counters, conditions, logged batches.

use super::standard::{put_key, put_whole_row};
use super::{Tables, Workload, create_keyspace};
use crate::bench::request::{Expected, put_bigint};
use bytes::BufMut;

const BATCH_STATEMENTS: u16 = 10;

pub static COUNTERS: Tables = Tables {
    keyspace: "bench_counters",
    schema: |_| {
        vec![
            create_keyspace("bench_counters"),
            "CREATE TABLE IF NOT EXISTS bench_counters.counters (key blob PRIMARY KEY, n counter)"
                .to_owned(),
        ]
    },
    fill: |_| vec![ADD.to_owned()],
    put: |turn| {
        let row = turn.row();
        turn.execute(0, Expected::Void, 1, |body| put_key(body, row));
    },
    rows: |scale| scale.rows,
    settled: false,
    in_flight_max: 1_024,
};

const ADD: &str = "UPDATE bench_counters.counters SET n = n + 1 WHERE key = ?";
const SET: &str = "INSERT INTO bench_conditions.registers (key, v) VALUES (?, ?)";

pub static REGISTERS: Tables = Tables {
    keyspace: "bench_conditions",
    schema: |_| {
        vec![
            create_keyspace("bench_conditions"),
            "CREATE TABLE IF NOT EXISTS bench_conditions.registers (key blob PRIMARY KEY, v bigint)".to_owned(),
        ]
    },
    // A condition's ballot may be older than a write without one: all writes of this table have conditions.
    fill: |_| vec![format!("{SET} IF NOT EXISTS")],
    put: |turn| {
        let row = turn.row();
        turn.execute(0, Expected::Applied, 2, |body| {
            put_key(body, row);
            put_bigint(body, 0);
        });
    },
    rows: |scale| scale.rows.min(100_000),
    settled: false,
    in_flight_max: 64,
};

const BASE: Workload = Workload::over(&REGISTERS);

pub static COUNTER: Workload = Workload {
    name: "counter",
    about: "one more in a counter",
    tables: &COUNTERS,
    statements: |_| vec![ADD.to_owned()],
    ask: COUNTERS.put,
    ..BASE
};

pub static LWT_INSERT: Workload = Workload {
    name: "lwt_insert",
    about: "INSERT ... IF NOT EXISTS of a row that is not there",
    statements: |_| vec![format!("{SET} IF NOT EXISTS")],
    ask: |turn| {
        // Never the same row twice, whichever run it is.
        let row = turn.inserted.get();
        turn.inserted.set(row + 1);
        turn.execute(0, Expected::Applied, 2, |body| {
            put_key(body, row);
            put_bigint(body, row as i64);
        });
    },
    ..BASE
};

pub static LWT_UPDATE: Workload = Workload {
    name: "lwt_update",
    about: "UPDATE ... IF EXISTS of a row that is there",
    statements: |_| {
        vec!["UPDATE bench_conditions.registers SET v = ? WHERE key = ? IF EXISTS".to_owned()]
    },
    ask: |turn| {
        let (row, value) = (
            turn.number() % (REGISTERS.rows)(turn.scale),
            turn.chance.number(),
        );
        turn.execute(0, Expected::Applied, 2, |body| {
            put_bigint(body, value as i64);
            put_key(body, row);
        });
    },
    ..BASE
};

pub static BATCH_10: Workload = Workload {
    name: "batch_10",
    about: "a logged batch of 10 whole rows in 10 partitions",
    tables: &super::standard::TABLES,
    statements: super::standard::INSERT.statements,
    ask: |turn| {
        let (number, rows) = (turn.number(), turn.scale.rows);
        turn.batch(0, BATCH_STATEMENTS, |index, body| {
            body.put_u16(6);
            put_whole_row(body, number.wrapping_add(u64::from(index)) % rows);
        });
    },
    ..BASE
};
