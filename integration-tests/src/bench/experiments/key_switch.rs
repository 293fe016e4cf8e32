//! What the users of a table feel while its key is switched: reads at a fixed rate, once in quiet and once while ALTER TABLE puts it under one key and another.

use std::io;
use std::time::{Duration, Instant};

use super::{Extent, or_dashes};
use crate::bench::load::{self, Pace, Plan, Sample, Shape, run_statement};
use crate::bench::report::Finding;
use crate::bench::server::Server;
use crate::bench::suite::Bench;
use crate::bench::workloads::standard;
use crate::raw::Connection;

const KEYS: [&str; 2] = ["first", "second"];
const SHAPE: Shape = Shape {
    connections: 8,
    in_flight: 64,
};
/// One that any machine holds easily.
const RATE: u64 = 5_000;
const SWITCH_INTERVAL: Duration = Duration::from_millis(250);

pub(super) fn run(bench: &Bench, _extent: &Extent) -> io::Result<Finding> {
    let mut finding = Finding::new(
        "A key switch under load",
        &format!(
            "Reads at {RATE} a second, {SHAPE}, in quiet and while the table's key is switched every {} ms; how long ALTER TABLE took.",
            SWITCH_INTERVAL.as_millis()
        ),
        &[
            "server",
            "p50 µs",
            "p99 µs",
            "p99.9 µs",
            "max µs",
            "switches",
            "ALTER, ms",
            "worst, ms",
        ],
    );
    for recipe in &bench.recipes {
        let server = recipe.start()?;
        if !server.is_ours() {
            continue;
        }
        let rows = measure(bench, &server);
        let columns = finding.columns.len();
        match rows {
            Ok(rows) => finding.rows.extend(rows),
            Err(error) => {
                let row = or_dashes(bench, &recipe.name, columns, Err(error));
                finding.rows.push(row);
            }
        }
    }
    Ok(finding)
}

fn measure(bench: &Bench, server: &Server) -> io::Result<[Vec<String>; 2]> {
    for key in KEYS {
        server.create_key(key)?;
    }
    let scale = bench.scale();
    bench.fill(server, &standard::TABLES, &scale)?;
    bench
        .runtime
        .block_on(server.flush(standard::TABLES.keyspace))?;
    let plan = Plan {
        sample: bench.sample * 2,
        ..bench.plan(server, SHAPE, Pace::Rate(RATE), 0)
    };
    let quiet = load::measure(server.address, &standard::READ, &scale, plan);
    let quiet = bench.runtime.block_on(quiet)?;
    let mut times = Vec::new();
    let loud = bench.runtime.block_on(async {
        let run = load::measure(server.address, &standard::READ, &scale, plan);
        tokio::select! {
            sample = run => sample,
            failed = switch(server, &mut times) => failed,
        }
    })?;
    times.sort();
    let milliseconds = |time: Option<&Duration>| {
        time.map_or("-".to_owned(), |time| {
            format!("{:.1}", time.as_secs_f64() * 1e3)
        })
    };
    let row = |name: String, sample: &Sample, times: &[Duration]| {
        let mut row = vec![name];
        let latencies = &sample.latencies;
        row.extend([0.5, 0.99, 0.999].map(|quantile| format!("{:.0}", latencies.at(quantile))));
        row.push(format!("{:.0}", latencies.max()));
        row.push(times.len().to_string());
        row.push(milliseconds(times.get(times.len() / 2)));
        row.push(milliseconds(times.last()));
        row
    };
    Ok([
        row(format!("{}, in quiet", server.name()), &quiet, &[]),
        row(format!("{}, switching", server.name()), &loud, &times),
    ])
}

/// Switches until it is dropped, or an error.
async fn switch(server: &Server, times: &mut Vec<Duration>) -> io::Result<Sample> {
    let mut connection = Connection::open(server.address).await?;
    loop {
        let key = KEYS[times.len() % KEYS.len()];
        let statement =
            format!("ALTER TABLE bench.standard WITH encryption = {{'kms_key': 'local:{key}'}}");
        let begun = Instant::now();
        run_statement(&mut connection, &statement).await?;
        times.push(begun.elapsed());
        tokio::time::sleep(SWITCH_INTERVAL).await;
    }
}
