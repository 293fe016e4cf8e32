//! Time series: measurements of sensors, newest first, that expire by themselves; written now, and the last 100 read.

use std::time::{SystemTime, UNIX_EPOCH};

use super::{Scale, Tables, Workload, create_keyspace};
use crate::bench::request::{Expected, Turn, put_bigint, put_int};

/// Measurements of a sensor before anything is measured here.
const SENSOR_ROWS: u64 = 200;
const INSERT_STATEMENT: &str =
    "INSERT INTO bench_series.series (sensor, at, value) VALUES (?, ?, ?)";

pub static TABLES: Tables = Tables {
    keyspace: "bench_series",
    schema: |_| {
        vec![
            create_keyspace("bench_series"),
            "CREATE TABLE IF NOT EXISTS bench_series.series (sensor int, at bigint, value bigint, PRIMARY KEY (sensor, at)) WITH CLUSTERING ORDER BY (at DESC) \
             AND default_time_to_live = 86400 AND compaction = {'class': 'TimeWindowCompactionStrategy', 'compaction_window_unit': 'HOURS', 'compaction_window_size': '1'}".to_owned(),
        ]
    },
    fill: |_| vec![INSERT_STATEMENT.to_owned()],
    put: |turn| {
        let number = turn.number();
        let sensor = number % sensors(turn.scale);
        turn.execute(0, Expected::Void, 3, |body| {
            put_int(body, sensor as i32);
            put_bigint(body, number as i64);
            put_bigint(body, number as i64);
        });
    },
    rows: |scale| sensors(scale) * SENSOR_ROWS,
    settled: false,
    in_flight_max: 1_024,
};

fn sensors(scale: &Scale) -> u64 {
    scale.rows.div_ceil(SENSOR_ROWS)
}

const BASE: Workload = Workload::over(&TABLES);

pub static INSERT: Workload = Workload {
    name: "series_insert",
    about: "a measurement of now, which expires in a day",
    statements: |_| vec![INSERT_STATEMENT.to_owned()],
    ask: |turn| {
        let sensor = sensor(turn);
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let micros = now.map_or(0, |now| now.as_micros() as i64);
        turn.execute(0, Expected::Void, 3, |body| {
            put_int(body, sensor);
            put_bigint(body, micros);
            put_bigint(body, micros);
        });
    },
    ..BASE
};

pub static READ_100: Workload = Workload {
    name: "series_read",
    about: "the last 100 measurements of a sensor",
    statements: |_| {
        vec!["SELECT at, value FROM bench_series.series WHERE sensor = ? LIMIT 100".to_owned()]
    },
    ask: |turn| {
        let sensor = sensor(turn);
        turn.execute(0, Expected::Rows(100), 1, |body| put_int(body, sensor));
    },
    ..BASE
};

fn sensor(turn: &Turn<'_>) -> i32 {
    (turn.number() % sensors(turn.scale)) as i32
}
