//! Bytes on the disk of the same data, compressed the same way on both sides, flushed and compacted: rows of words, rows that nothing compresses, and small ones.

use std::io;

use super::{Extent, mebibytes, or_dashes};
use crate::bench::report::Finding;
use crate::bench::server::{Recipe, Server};
use crate::bench::suite::Bench;
use crate::bench::workloads::{Tables, series, slices, standard, text};

static SERIES: Tables = Tables {
    settled: true,
    ..series::TABLES
};

/// What is stored, and in which tables.
static FAMILIES: [(&str, &Tables); 5] = [
    ("a key, a number and 25 words", &text::TABLES),
    ("the same by zstd", &text::BY_ZSTD),
    ("a key and 5 x 34 bytes of noise", &standard::SETTLED),
    ("measurements that expire, 16 bytes each", &SERIES),
    ("100 bytes a row, 1,000 rows a partition", &slices::TABLES),
];

pub(super) fn run(bench: &Bench, _extent: &Extent) -> io::Result<Finding> {
    let mut finding = Finding::new(
        "Bytes on the disk",
        "After a flush and a compaction; logs left out. Blocks as each server makes them where nothing is said, under LZ4 but for the line that says zstd.",
        &["server", "rows", "MiB", "bytes a row"],
    );
    for recipe in &bench.recipes {
        if !recipe.can_restart() {
            continue;
        }
        match measure(bench, recipe) {
            Ok(rows) => finding.rows.extend(rows),
            Err(error) => {
                let row = or_dashes(bench, &recipe.name, 4, Err(error));
                finding.rows.push(row);
            }
        }
    }
    Ok(finding)
}

fn measure(bench: &Bench, recipe: &Recipe) -> io::Result<Vec<Vec<String>>> {
    let server = recipe.start()?;
    let scale = bench.scale();
    let mut rows = Vec::new();
    for (about, tables) in FAMILIES {
        let before = held_before(&server)?;
        bench.fill(&server, tables, &scale)?;
        let after = server.data_bytes(tables.keyspace)?.unwrap_or_default();
        let bytes = after.saturating_sub(before);
        rows.push(vec![
            recipe.name.clone(),
            about.to_owned(),
            format!("{:.1}", mebibytes(bytes)),
            format!("{:.1}", bytes as f64 / (tables.rows)(&scale) as f64),
        ]);
    }
    Ok(rows)
}

/// Ours keeps all tables in one place.
fn held_before(server: &Server) -> io::Result<u64> {
    match server.is_ours() {
        true => Ok(server.data_bytes("")?.unwrap_or_default()),
        false => Ok(0),
    }
}
