//! What a connection costs that says nothing: resident memory of the server before and after so many clients have connected.

use std::io;
use std::time::Duration;

use super::{Extent, mebibytes, or_dashes};
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
            "Resident memory of a fresh server with one connection, and with {count} more that have said STARTUP and nothing else."
        ),
        &["server", "before, MiB", "after, MiB", "KiB a connection"],
    );
    for recipe in &bench.recipes {
        let row = measure(bench, recipe, count);
        finding.rows.push(or_dashes(bench, &recipe.name, 4, row));
    }
    Ok(finding)
}

fn measure(bench: &Bench, recipe: &Recipe, count: usize) -> io::Result<Vec<String>> {
    let server = recipe.start()?;
    let pid = server
        .pid()
        .ok_or_else(|| io::Error::other("its process is not known"))?;
    let (before, after) = bench.runtime.block_on(async {
        let _first = Connection::open(server.address).await?;
        tokio::time::sleep(REST).await;
        let before = process::resident_bytes(pid)?;
        let mut sockets = Vec::new();
        for _ in 0..count {
            sockets.push(Connection::open(server.address).await?.into_socket());
        }
        tokio::time::sleep(REST).await;
        let after = process::resident_bytes(pid)?;
        io::Result::Ok((before, after))
    })?;
    Ok(vec![
        recipe.name.clone(),
        format!("{:.1}", mebibytes(before)),
        format!("{:.1}", mebibytes(after)),
        format!(
            "{:.1}",
            after.saturating_sub(before) as f64 / 1024.0 / count as f64
        ),
    ])
}
