//! How long it takes until a server answers: on an empty folder, after a kill (the log is replayed), after a flush and a stop (there is nothing to replay).
//!
//! The clock runs from the start of the process until a row of a table of a user's was read; on an empty folder, until the port opened.

use std::io;
use std::time::{Duration, Instant};

use bytes::BytesMut;

use super::{Extent, mebibytes, or_dashes};
use crate::bench::process;
use crate::bench::report::Finding;
use crate::bench::server::{Recipe, Server};
use crate::bench::suite::Bench;
use crate::bench::workloads::standard;
use crate::raw::{Answer, Connection};

/// After this an idle server is at rest.
const REST: Duration = Duration::from_secs(3);
const ANSWER_LIMIT: Duration = Duration::from_secs(120);
const POLL_INTERVAL: Duration = Duration::from_millis(2);
const READ: &str = "SELECT c0 FROM bench.standard WHERE key = ?";

pub(super) fn run(bench: &Bench, _extent: &Extent) -> io::Result<Finding> {
    let mut finding = Finding::new(
        "Start and idle memory",
        &format!(
            "Until the port opens on an empty folder; resident memory {} s later; until a row is read after a kill of a server with {} rows in its log; the same after a flush and a stop.",
            REST.as_secs(),
            bench.sizes.rows
        ),
        &[
            "server",
            "empty folder, ms",
            "idle, MiB",
            "folder after the load, MiB",
            "log to replay, ms",
            "none to replay, ms",
        ],
    );
    for recipe in &bench.recipes {
        if recipe.can_restart() {
            let row = measure(bench, recipe);
            let columns = finding.columns.len();
            finding
                .rows
                .push(or_dashes(bench, &recipe.name, columns, row));
        }
    }
    Ok(finding)
}

fn measure(bench: &Bench, recipe: &Recipe) -> io::Result<Vec<String>> {
    let begun = Instant::now();
    let mut server = recipe.start()?;
    let empty = begun.elapsed();
    std::thread::sleep(REST);
    let idle = server.pid().map(process::resident_bytes).transpose()?;
    let (tables, scale) = (&standard::TABLES, bench.scale());
    bench.fill(&server, tables, &scale)?;
    let loaded = server.folder_bytes()?;

    server.kill();
    let replayed = until_read(bench, &mut server, READ)?;
    bench.runtime.block_on(server.flush(tables.keyspace))?;
    server.stop()?;
    let at_once = until_read(bench, &mut server, READ)?;

    let milliseconds = |time: Duration| format!("{:.0}", time.as_secs_f64() * 1e3);
    let size = |bytes: Option<u64>| {
        bytes.map_or("-".to_owned(), |bytes| format!("{:.0}", mebibytes(bytes)))
    };
    Ok(vec![
        recipe.name.clone(),
        milliseconds(empty),
        size(idle),
        size(loaded),
        milliseconds(replayed),
        milliseconds(at_once),
    ])
}

/// Starts it and reads the first row by this statement, again and again until it is there.
pub(super) fn until_read(bench: &Bench, server: &mut Server, read: &str) -> io::Result<Duration> {
    let begun = Instant::now();
    server.restart()?;
    let mut key = BytesMut::new();
    standard::put_key(&mut key, 0);
    loop {
        let answer = bench.runtime.block_on(async {
            let mut connection = Connection::open(server.address).await?;
            let statement = connection.prepare(read).await?;
            connection.execute(&statement, &[&key[4..]]).await
        });
        match answer {
            Ok(Answer::Rows(rows)) if rows.rows.len() == 1 => return Ok(begun.elapsed()),
            other if begun.elapsed() > ANSWER_LIMIT => {
                return Err(io::Error::other(format!(
                    "no row after a start, but {other:?}"
                )));
            }
            _ => std::thread::sleep(POLL_INTERVAL),
        }
    }
}
