//! What a connection costs that says nothing: resident memory of the server before and after so many clients have connected, and once each of them has asked something.

use std::io;
use std::time::Duration;

use super::{Extent, mebibytes, or_dashes};
use crate::bench::load::run_statement;
use crate::bench::process;
use crate::bench::report::Finding;
use crate::bench::server::Recipe;
use crate::bench::suite::Bench;
use crate::raw::Connection;

/// After this a server is at rest again.
const REST: Duration = Duration::from_secs(2);

pub(super) fn run(bench: &Bench, extent: &Extent) -> io::Result<Finding> {
    let count = extent.connections.iter().copied().max().unwrap_or(1);
    let mut finding = Finding::new(
        "Idle connections",
        &format!(
            "Resident memory of a fresh server with one connection; with {count} more that have said STARTUP and nothing else; when each of those has read a row of system.local and is silent again."
        ),
        &[
            "server",
            "before, MiB",
            "after, MiB",
            "KiB a connection",
            "after a read, MiB",
            "KiB a connection, then",
            "its CPU for each connection and read, µs",
        ],
    );
    for recipe in &bench.recipes {
        let row = measure(bench, recipe, count);
        let columns = finding.columns.len();
        finding
            .rows
            .push(or_dashes(bench, &recipe.name, columns, row));
    }
    Ok(finding)
}

fn measure(bench: &Bench, recipe: &Recipe, count: usize) -> io::Result<Vec<String>> {
    let server = recipe.start()?;
    let pid = server
        .pid()
        .ok_or_else(|| io::Error::other("its process is not known"))?;
    let (before, after, used, cpu) = bench.runtime.block_on(async {
        let _first = Connection::open(server.address).await?;
        tokio::time::sleep(REST).await;
        let before = process::resident_bytes(pid)?;
        let cpu = process::cpu_time(pid)?;
        let mut connections = Vec::new();
        for _ in 0..count {
            connections.push(Connection::open(server.address).await?);
        }
        tokio::time::sleep(REST).await;
        let after = process::resident_bytes(pid)?;
        for connection in &mut connections {
            run_statement(connection, "SELECT release_version FROM system.local").await?;
        }
        let cpu = process::cpu_time(pid)? - cpu;
        tokio::time::sleep(REST).await;
        let used = process::resident_bytes(pid)?;
        io::Result::Ok((before, after, used, cpu))
    })?;
    let each = |bytes: u64| {
        let more = bytes.saturating_sub(before) as f64;
        format!("{:.1}", more / 1024.0 / count as f64)
    };
    Ok(vec![
        recipe.name.clone(),
        format!("{:.1}", mebibytes(before)),
        format!("{:.1}", mebibytes(after)),
        each(after),
        format!("{:.1}", mebibytes(used)),
        each(used),
        format!("{:.0}", cpu.as_secs_f64() * 1e6 / count as f64),
    ])
}
