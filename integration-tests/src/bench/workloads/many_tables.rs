//! The same rows in a thousand tables, all in use at once.

use super::standard::{put_key, put_whole_row};
use super::{Scale, Setting, Shapes, Tables, Workload, create_keyspace};
use crate::bench::request::{Expected, Turn};

/// Rows of each table.
const TABLE_ROWS: u64 = 20;

pub static TABLES: Tables = Tables {
    keyspace: "bench_tables",
    schema: |scale| {
        let table = |number| {
            format!(
                "CREATE TABLE IF NOT EXISTS bench_tables.t{number} (key blob PRIMARY KEY, c0 blob, c1 blob, c2 blob, c3 blob, c4 blob)"
            )
        };
        std::iter::once(create_keyspace("bench_tables"))
            .chain((0..scale.tables).map(table))
            .collect()
    },
    fill: inserts,
    put: insert,
    rows: |scale| scale.tables * TABLE_ROWS,
    settled: false,
    in_flight_max: 256,
};

fn inserts(scale: &Scale) -> Vec<String> {
    (0..scale.tables)
        .map(|number| {
            format!(
                "INSERT INTO bench_tables.t{number} (key, c0, c1, c2, c3, c4) VALUES (?, ?, ?, ?, ?, ?)"
            )
        })
        .collect()
}

pub static INSERT: Workload = Workload {
    name: "tables_insert",
    about: "a whole row in one of many tables",
    tables: &TABLES,
    statements: inserts,
    ask: insert,
    shapes: Shapes::Any,
    setting: Setting::ManyStatements,
    is_on_floor: false,
};

pub static READ: Workload = Workload {
    name: "tables_read",
    about: "a row by its key in one of many tables",
    tables: &TABLES,
    statements: |scale| {
        (0..scale.tables)
            .map(|number| {
                format!("SELECT c0, c1, c2, c3, c4 FROM bench_tables.t{number} WHERE key = ?")
            })
            .collect()
    },
    ask: |turn| {
        let (table, row) = place(turn);
        turn.execute(table, Expected::Rows(1), 1, |body| put_key(body, row));
    },
    shapes: Shapes::Any,
    setting: Setting::ManyStatements,
    is_on_floor: false,
};

fn insert(turn: &mut Turn<'_>) {
    let (table, row) = place(turn);
    turn.execute(table, Expected::Void, 6, |body| put_whole_row(body, row));
}

/// Which table, and which row of it.
fn place(turn: &Turn<'_>) -> (usize, u64) {
    let (number, tables) = (turn.number(), turn.scale.tables);
    ((number % tables) as usize, number / tables % TABLE_ROWS)
}
