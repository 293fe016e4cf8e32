//! Values of 100 KB.

use bytes::BytesMut;

use super::standard::put_key;
use super::{FEW, Setting, Tables, Workload, create_keyspace};
use crate::bench::request::{Expected, Turn, put_blob};
use crate::chance::mix;

const INSERT: &str = "INSERT INTO bench_large.documents (key, document) VALUES (?, ?)";

pub static TABLES: Tables = Tables {
    keyspace: "bench_large",
    schema: |_| {
        vec![
            create_keyspace("bench_large"),
            "CREATE TABLE IF NOT EXISTS bench_large.documents (key blob PRIMARY KEY, document blob)".to_owned(),
        ]
    },
    fill: |_| vec![INSERT.to_owned()],
    put: write,
    rows: |scale| scale.large_rows(),
    settled: false,
    in_flight_max: 4,
};

pub static WRITE: Workload = Workload {
    name: "large_write",
    about: "a value of 100 KB",
    tables: &TABLES,
    statements: |_| vec![INSERT.to_owned()],
    ask: write,
    shapes: FEW,
    setting: Setting::Ordinary,
    is_on_floor: false,
};

pub static READ: Workload = Workload {
    name: "large_read",
    about: "a value of 100 KB",
    tables: &TABLES,
    statements: |_| vec!["SELECT document FROM bench_large.documents WHERE key = ?".to_owned()],
    ask: |turn| {
        let row = turn.number() % turn.scale.large_rows();
        turn.execute(0, Expected::Rows(1), 1, |body| put_key(body, row));
    },
    shapes: FEW,
    setting: Setting::Ordinary,
    is_on_floor: false,
};

fn write(turn: &mut Turn<'_>) {
    let (row, bytes) = (
        turn.number() % turn.scale.large_rows(),
        turn.scale.value_bytes,
    );
    turn.execute(0, Expected::Void, 2, |body| {
        put_key(body, row);
        put_document(body, row, bytes);
    });
}

/// Half of it compresses: a document is neither noise nor nothing.
fn put_document(body: &mut BytesMut, row: u64, bytes: usize) {
    let mut document = vec![b'.'; bytes];
    for (index, chunk) in document.chunks_exact_mut(16).enumerate() {
        chunk[..8].copy_from_slice(&mix(row ^ index as u64).to_be_bytes());
    }
    put_blob(body, &document);
}
