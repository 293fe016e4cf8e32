//! A bulk load: new rows of a kilobyte, as fast as the server takes them, so many bytes of them; flushes and compactions run as they come.

use std::io;
use std::time::{Duration, Instant};

use super::{Extent, mebibytes, or_dashes};
use crate::bench::load;
use crate::bench::process;
use crate::bench::report::Finding;
use crate::bench::report::chart::{Axis, Chart, Line};
use crate::bench::server::{Recipe, Server};
use crate::bench::suite::Bench;
use crate::bench::workloads::{Tables, ycsb};

/// Bytes of a row's key and values.
const ROW_BYTES: u64 = 1_010;
/// Points of the chart.
const PARTS: u64 = 20;

pub(super) fn run(bench: &Bench, extent: &Extent) -> io::Result<Finding> {
    let rows = (extent.bulk_bytes / ROW_BYTES).max(PARTS);
    let gigabytes = (rows * ROW_BYTES) as f64 / 1e9;
    let mut finding = Finding::new(
        "Bulk load",
        &format!(
            "{rows} new rows of 1 KB ({gigabytes:.2} GB), 16 connections with 32 requests in flight."
        ),
        &[
            "server",
            "seconds",
            "rows/s",
            "server CPU, µs/row",
            "most memory, MiB",
            "folder, MiB",
            "told to wait",
        ],
    );
    let mut lines = [Vec::new(), Vec::new()];
    for recipe in &bench.recipes {
        let server = recipe.start()?;
        if !server.knows(&ycsb::A) {
            continue;
        }
        let row = measure(bench, recipe, server, rows, &mut lines);
        let columns = finding.columns.len();
        finding
            .rows
            .push(or_dashes(bench, &recipe.name, columns, row));
    }
    let [speed, memory] = lines;
    finding.charts = vec![
        chart("Bulk load, rows a second", "rows/s", speed),
        chart("Bulk load, resident memory", "MiB", memory),
    ];
    Ok(finding)
}

fn chart(title: &str, label: &str, lines: Vec<Line>) -> Chart {
    Chart {
        title: title.to_owned(),
        x: Axis::linear("GB loaded"),
        y: Axis::linear(label),
        lines,
    }
}

fn measure(
    bench: &Bench,
    recipe: &Recipe,
    server: Server,
    rows: u64,
    lines: &mut [Vec<Line>; 2],
) -> io::Result<Vec<String>> {
    let scale = std::rc::Rc::new(crate::bench::workloads::Scale::new(
        crate::bench::workloads::Sizes {
            rows,
            ..bench.sizes
        },
    ));
    let schema = Tables {
        rows: |_| 0,
        ..ycsb::TABLES
    };
    bench.fill(&server, &schema, &scale)?;
    let cpu = || server.pid().map(process::cpu_time).transpose();
    let (begun, cpu_begun) = (Instant::now(), cpu()?);
    let (mut speed, mut memory, mut most) = (Vec::new(), Vec::new(), 0.0_f64);
    let mut refused = 0;
    for part in 0..PARTS {
        let (first, end) = (rows * part / PARTS, rows * (part + 1) / PARTS);
        let part_begun = Instant::now();
        let writing = load::write_rows(server.address, &ycsb::TABLES, &scale, first, end);
        refused += bench.runtime.block_on(writing)?;
        let gigabytes = (end * ROW_BYTES) as f64 / 1e9;
        speed.push((
            gigabytes,
            (end - first) as f64 / part_begun.elapsed().as_secs_f64(),
        ));
        if let Some(pid) = server.pid() {
            let resident = mebibytes(process::resident_bytes(pid)?);
            memory.push((gigabytes, resident));
            most = most.max(resident);
        }
    }
    let elapsed = begun.elapsed();
    let spent: Option<Duration> = cpu_begun.zip(cpu()?).map(|(begin, end)| end - begin);
    for (lines, points) in lines.iter_mut().zip([speed, memory]) {
        lines.push(Line {
            name: recipe.name.clone(),
            points,
        });
    }
    let folder = server.folder_bytes()?.map(mebibytes);
    let figure = |value: Option<f64>, digits: usize| {
        value.map_or("-".to_owned(), |value| format!("{value:.digits$}"))
    };
    Ok(vec![
        recipe.name.clone(),
        format!("{:.1}", elapsed.as_secs_f64()),
        format!("{:.0}", rows as f64 / elapsed.as_secs_f64()),
        figure(spent.map(|cpu| cpu.as_secs_f64() * 1e6 / rows as f64), 2),
        format!("{most:.0}"),
        figure(folder, 0),
        refused.to_string(),
    ])
}
