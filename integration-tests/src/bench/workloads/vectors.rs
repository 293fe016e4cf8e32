//! The ten nearest of many vectors.

use bytes::{BufMut, BytesMut};

use super::{FEW, Setting, Tables, Workload, create_keyspace};
use crate::bench::request::{Expected, put_int};
use crate::chance::mix;

pub static TABLES: Tables = Tables {
    keyspace: "bench_vectors",
    schema: |scale| {
        vec![
            create_keyspace("bench_vectors"),
            format!(
                "CREATE TABLE IF NOT EXISTS bench_vectors.items (id int PRIMARY KEY, v vector<float, {}>)",
                scale.dimensions
            ),
            "CREATE INDEX IF NOT EXISTS by_vector ON bench_vectors.items (v) USING 'sai'"
                .to_owned(),
        ]
    },
    fill: |_| vec!["INSERT INTO bench_vectors.items (id, v) VALUES (?, ?)".to_owned()],
    put: |turn| {
        let (number, dimensions) = (turn.number(), turn.scale.dimensions);
        turn.execute(0, Expected::Void, 2, |body| {
            put_int(body, number as i32);
            put_vector(body, number, dimensions);
        });
    },
    rows: |scale| scale.vectors,
    settled: true,
    in_flight_max: 16,
};

pub static SEARCH: Workload = Workload {
    name: "vector_search",
    about: "the 10 nearest vectors of 64 dimensions",
    tables: &TABLES,
    statements: |_| {
        vec!["SELECT id FROM bench_vectors.items ORDER BY v ANN OF ? LIMIT 10".to_owned()]
    },
    ask: |turn| {
        // Not one of the table's own: those are their own nearest.
        let (number, dimensions) = (!turn.number(), turn.scale.dimensions);
        turn.execute(0, Expected::Rows(10), 1, |body| {
            put_vector(body, number, dimensions);
        });
    },
    shapes: FEW,
    setting: Setting::Ordinary,
    is_on_floor: false,
};

/// Coordinates between -1 and 1.
fn put_vector(body: &mut BytesMut, number: u64, dimensions: usize) {
    body.put_i32(4 * dimensions as i32);
    let mut word = mix(number);
    for _ in 0..dimensions {
        word = mix(word.wrapping_add(1));
        body.put_f32((word >> 40) as f32 / (1_u64 << 23) as f32 - 1.0);
    }
}
