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
    schema: |_| create("bench_text", "LZ4Compressor"),
    fill: |_| insert("bench_text"),
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
    schema: |_| create("bench_text_zstd", "ZstdCompressor"),
    fill: |_| insert("bench_text_zstd"),
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

fn create(keyspace: &str, compressor: &str) -> Vec<String> {
    let table = format!(
        "CREATE TABLE IF NOT EXISTS {keyspace}.orders (key blob PRIMARY KEY, placed bigint, status text, note text) \
         WITH compression = {{'class': '{compressor}', 'chunk_length_in_kb': '16'}}"
    );
    vec![create_keyspace(keyspace), table]
}

fn insert(keyspace: &str) -> Vec<String> {
    vec![format!(
        "INSERT INTO {keyspace}.orders (key, placed, status, note) VALUES (?, ?, ?, ?)"
    )]
}
