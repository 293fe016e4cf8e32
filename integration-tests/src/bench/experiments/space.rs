//! Bytes on the disk of the same data: rows of words, compressed by LZ4 on both sides, flushed and compacted.

use std::io;

use super::{Extent, mebibytes, or_dashes};
use crate::bench::report::Finding;
use crate::bench::server::Recipe;
use crate::bench::suite::Bench;
use crate::bench::workloads::text;

pub(super) fn run(bench: &Bench, _extent: &Extent) -> io::Result<Finding> {
    let rows = bench.sizes.rows;
    let mut finding = Finding::new(
        "Bytes on the disk",
        &format!(
            "{rows} rows of a key, a number and 25 words, blocks of 16 KiB under LZ4, after a flush and a compaction; logs left out."
        ),
        &["server", "MiB", "bytes a row"],
    );
    for recipe in &bench.recipes {
        if !recipe.can_restart() {
            continue;
        }
        let row = measure(bench, recipe);
        finding.rows.push(or_dashes(bench, &recipe.name, 3, row));
    }
    Ok(finding)
}

fn measure(bench: &Bench, recipe: &Recipe) -> io::Result<Vec<String>> {
    let server = recipe.start()?;
    // Ours keeps its own tables in the same place.
    let before = match server.is_ours() {
        true => server.data_bytes("")?.unwrap_or_default(),
        false => 0,
    };
    bench.fill(&server, &text::TABLES, &bench.scale())?;
    let after = server
        .data_bytes(text::TABLES.keyspace)?
        .unwrap_or_default();
    let bytes = after.saturating_sub(before);
    Ok(vec![
        recipe.name.clone(),
        format!("{:.1}", mebibytes(bytes)),
        format!("{:.1}", bytes as f64 / bench.sizes.rows as f64),
    ])
}
