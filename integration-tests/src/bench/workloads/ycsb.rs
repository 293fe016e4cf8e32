//! The core workloads A to F of the Yahoo! Cloud Serving Benchmark: rows of ten fields of 100 bytes, keys by Zipf's distribution.
//!
//! | | operations |
//! |---|---|
//! | A | 1 read : 1 update |
//! | B | 95 reads : 5 updates |
//! | C | reads |
//! | D | 95 reads of what is new : 5 inserts |
//! | E | 95 scans of 1 to 100 rows : 5 inserts |
//! | F | 1 read : 1 read and update of the same row, which are one operation |

use bytes::BytesMut;

use super::standard::put_key;
use super::{Scale, Shapes, Tables, Workload, create_keyspace};
use crate::bench::request::{Expected, Turn, put_blob, put_int};
use crate::chance::mix;

const FIELDS: u16 = 10;
const FIELD_BYTES: usize = 100;
const SCAN_ROWS_MAX: u64 = 100;
// Which statement is which.
const READ: usize = 0;
const UPDATE: usize = 1;
const INSERT: usize = 2;
const SCAN: usize = 3;

pub static TABLES: Tables = Tables {
    keyspace: "bench_ycsb",
    schema: |_| {
        let fields: Vec<String> = (0..FIELDS)
            .map(|field| format!("field{field} blob"))
            .collect();
        vec![
            create_keyspace("bench_ycsb"),
            format!(
                "CREATE TABLE IF NOT EXISTS bench_ycsb.usertable (y_id blob PRIMARY KEY, {})",
                fields.join(", ")
            ),
        ]
    },
    fill: statements,
    put: |turn| {
        let row = turn.row();
        insert(turn, row);
    },
    rows: |scale| scale.rows,
    settled: false,
    in_flight_max: 256,
};

fn statements(_: &Scale) -> Vec<String> {
    let fields: Vec<String> = (0..FIELDS).map(|field| format!("field{field}")).collect();
    let (fields, marks) = (fields.join(", "), ", ?".repeat(FIELDS.into()));
    vec![
        format!("SELECT {fields} FROM bench_ycsb.usertable WHERE y_id = ?"),
        "UPDATE bench_ycsb.usertable SET field0 = ? WHERE y_id = ?".to_owned(),
        format!("INSERT INTO bench_ycsb.usertable (y_id, {fields}) VALUES (?{marks})"),
        format!("SELECT {fields} FROM bench_ycsb.usertable WHERE token(y_id) >= token(?) LIMIT ?"),
    ]
}

const BASE: Workload = Workload {
    statements,
    ..Workload::over(&TABLES)
};

pub static A: Workload = Workload {
    name: "ycsb_a",
    about: "1 read : 1 update, Zipf",
    ask: |turn| read_or_update(turn, 50),
    ..BASE
};

pub static B: Workload = Workload {
    name: "ycsb_b",
    about: "95 reads : 5 updates, Zipf",
    ask: |turn| read_or_update(turn, 5),
    ..BASE
};

pub static C: Workload = Workload {
    name: "ycsb_c",
    about: "reads, Zipf",
    ask: |turn| read_or_update(turn, 0),
    ..BASE
};

pub static D: Workload = Workload {
    name: "ycsb_d",
    about: "95 reads of what is new : 5 inserts",
    ask: |turn| {
        if draw(turn, 5) {
            return insert_next(turn);
        }
        let newest = turn.inserted.get() - 1;
        let row = newest.saturating_sub(turn.scale.zipf.rank(turn.chance));
        // The newest may be on their way still.
        turn.execute(READ, Expected::Rows(0), 1, |body| put_key(body, row));
    },
    ..BASE
};

pub static E: Workload = Workload {
    name: "ycsb_e",
    about: "95 scans of 1 to 100 rows : 5 inserts",
    ask: |turn| {
        if draw(turn, 5) {
            return insert_next(turn);
        }
        let row = turn.scale.zipf.row(turn.chance);
        let rows = 1 + turn.chance.number() % SCAN_ROWS_MAX;
        turn.execute(SCAN, Expected::Rows(1), 2, |body| {
            put_key(body, row);
            put_int(body, rows as i32);
        });
    },
    shapes: Shapes::Only(crate::bench::load::Shape {
        connections: 16,
        in_flight: 4,
    }),
    ..BASE
};

pub static F: Workload = Workload {
    name: "ycsb_f",
    about: "1 read : 1 read and update of the same row",
    ask: |turn| {
        if turn.slot.step == 1 {
            let row = turn.slot.number % turn.scale.rows;
            return update(turn, row);
        }
        let row = turn.scale.zipf.row(turn.chance);
        read(turn, row);
        if draw(turn, 50) {
            turn.slot.number = row;
            turn.go_on();
        }
    },
    ..BASE
};

/// True for so many of a hundred.
fn draw(turn: &mut Turn<'_>, percent: u64) -> bool {
    turn.chance.number() % 100 < percent
}

fn read_or_update(turn: &mut Turn<'_>, updates_percent: u64) {
    let is_update = draw(turn, updates_percent);
    let row = turn.scale.zipf.row(turn.chance);
    match is_update {
        true => update(turn, row),
        false => read(turn, row),
    }
}

fn read(turn: &mut Turn<'_>, row: u64) {
    turn.execute(READ, Expected::Rows(1), 1, |body| put_key(body, row));
}

fn update(turn: &mut Turn<'_>, row: u64) {
    let number = turn.chance.number();
    turn.execute(UPDATE, Expected::Void, 2, |body| {
        put_field(body, number);
        put_key(body, row);
    });
}

fn insert(turn: &mut Turn<'_>, row: u64) {
    turn.execute(INSERT, Expected::Void, 1 + FIELDS, |body| {
        put_key(body, row);
        for field in 0..u64::from(FIELDS) {
            put_field(body, mix(row).wrapping_add(field));
        }
    });
}

fn insert_next(turn: &mut Turn<'_>) {
    let row = turn.inserted.get();
    turn.inserted.set(row + 1);
    insert(turn, row);
}

fn put_field(body: &mut BytesMut, number: u64) {
    let mut bytes = [0; FIELD_BYTES];
    for (index, chunk) in bytes.chunks_mut(8).enumerate() {
        let word = mix(number.wrapping_add(index as u64 + 1)).to_be_bytes();
        chunk.copy_from_slice(&word[..chunk.len()]);
    }
    put_blob(body, &bytes);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_row_has_a_value_for_each_mark() {
        let statements = statements(&Scale::new(crate::bench::workloads::Sizes {
            rows: 1,
            cold_rows: 1,
            tables: 1,
            vectors: 1,
        }));
        assert_eq!(
            statements[INSERT].matches('?').count(),
            usize::from(1 + FIELDS)
        );
        let mut body = BytesMut::new();
        put_field(&mut body, 1);
        assert_eq!(body.len(), 4 + FIELD_BYTES);
    }
}
