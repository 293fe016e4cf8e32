//! Rows of words, which compress as what people store does: for the bytes that the same data takes on the disk.

use bytes::BytesMut;

use super::standard::put_key;
use super::{Setting, Shapes, Tables, Workload, create_keyspace};
use crate::bench::request::{Expected, put_bigint, put_blob};
use crate::chance::Chance;

/// Words of a row's text.
const WORDS: usize = 24;
const VOCABULARY: [&str; 32] = [
    "order", "customer", "shipped", "pending", "address", "street", "north", "south", "invoice",
    "total", "amount", "currency", "euro", "dollar", "paid", "due", "date", "monday", "friday",
    "note", "gift", "wrap", "express", "standard", "return", "refund", "item", "quantity",
    "colour", "green", "blue", "size",
];

pub static TABLES: Tables = Tables {
    keyspace: "bench_text",
    schema: |_| {
        vec![
            create_keyspace("bench_text"),
            "CREATE TABLE IF NOT EXISTS bench_text.orders (key blob PRIMARY KEY, placed bigint, status text, note text) \
             WITH compression = {'class': 'LZ4Compressor', 'chunk_length_in_kb': '16'}".to_owned(),
        ]
    },
    fill: |_| {
        vec![
            "INSERT INTO bench_text.orders (key, placed, status, note) VALUES (?, ?, ?, ?)"
                .to_owned(),
        ]
    },
    put: |turn| {
        let row = turn.row();
        turn.execute(0, Expected::Void, 4, |body| {
            put_key(body, row);
            put_bigint(body, 1_700_000_000_000 + row as i64 * 977);
            put_words(body, row, 1);
            put_words(body, row, WORDS);
        });
    },
    rows: |scale| scale.rows,
    settled: true,
    in_flight_max: 1_024,
};

/// The same rows in tables that are compressed by zstd.
pub static BY_ZSTD: Tables = Tables {
    keyspace: "bench_text_zstd",
    schema: |_| {
        vec![
            create_keyspace("bench_text_zstd"),
            "CREATE TABLE IF NOT EXISTS bench_text_zstd.orders (key blob PRIMARY KEY, placed bigint, status text, note text) \
             WITH compression = {'class': 'ZstdCompressor', 'chunk_length_in_kb': '16'}".to_owned(),
        ]
    },
    fill: |_| {
        vec![
            "INSERT INTO bench_text_zstd.orders (key, placed, status, note) VALUES (?, ?, ?, ?)"
                .to_owned(),
        ]
    },
    ..TABLES
};

pub static READ: Workload = Workload {
    name: "text_read",
    about: "a row of words by its key, after a compaction",
    tables: &TABLES,
    statements: |_| {
        vec!["SELECT placed, status, note FROM bench_text.orders WHERE key = ?".to_owned()]
    },
    ask: |turn| {
        let row = turn.row();
        turn.execute(0, Expected::Rows(1), 1, |body| put_key(body, row));
    },
    shapes: Shapes::Any,
    setting: Setting::Ordinary,
    is_on_floor: false,
};

fn put_words(body: &mut BytesMut, row: u64, words: usize) {
    let mut chance = Chance::new(row);
    let words: Vec<&str> = (0..words)
        .map(|_| VOCABULARY[chance.below(VOCABULARY.len())])
        .collect();
    put_blob(body, words.join(" ").as_bytes());
}
