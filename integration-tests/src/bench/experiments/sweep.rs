//! Cost against size: server CPU of a read (and of a write, where there are many tables) while one thing grows: it should stay flat, or grow with the logarithm.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use super::Extent;
use crate::bench::load::{self, Pace, Shape};
use crate::bench::process;
use crate::bench::report::chart::{Axis, Chart, Line};
use crate::bench::report::{Finding, Middle};
use crate::bench::server::Server;
use crate::bench::suite::Bench;
use crate::bench::workloads::{Scale, Setting, Sizes, Tables, Workload, many_tables, standard};

const SHAPE: Shape = Shape {
    connections: 16,
    in_flight: 32,
};
/// Rows of each SSTable.
const SSTABLE_ROWS: u64 = 100;
/// SSTables of a server that takes a second for each flush.
const SLOW_SSTABLES_MAX: u64 = 30;
/// Tables of a server that takes a tenth of a second for each.
pub(super) const SLOW_TABLES_MAX: u64 = 1_000;
/// What a server does by itself once it is filled is not what its clients cost; after so long it counts all the same.
const REST_MAX: Duration = Duration::from_secs(120);
/// Bytes of a row's key and values.
const ROW_BYTES: u64 = 180;

/// Never compacted: every flush stays.
static FLUSHED: Tables = Tables {
    keyspace: "bench_sstables",
    schema: |_| {
        vec![
            crate::bench::workloads::create_keyspace("bench_sstables"),
            "CREATE TABLE IF NOT EXISTS bench_sstables.standard (key blob PRIMARY KEY, c0 blob, c1 blob, c2 blob, c3 blob, c4 blob) \
             WITH compaction = {'class': 'SizeTieredCompactionStrategy', 'enabled': 'false'}".to_owned(),
        ]
    },
    fill: |_| {
        vec!["INSERT INTO bench_sstables.standard (key, c0, c1, c2, c3, c4) VALUES (?, ?, ?, ?, ?, ?)".to_owned()]
    },
    ..standard::COLD
};

static READ_FLUSHED: Workload = Workload {
    name: "read_sstables",
    about: "a row by its key, among many SSTables",
    tables: &FLUSHED,
    statements: |_| {
        vec!["SELECT c0, c1, c2, c3, c4 FROM bench_sstables.standard WHERE key = ?".to_owned()]
    },
    is_on_floor: false,
    ..standard::READ_COLD
};

pub(super) fn tables(bench: &Bench, extent: &Extent) -> io::Result<Finding> {
    let about = "Server CPU of a read and of a write, 16 connections with 32 requests in flight, in as many tables of 20 rows each, all in use. Cassandra stops at 1,000.";
    sweep(bench, "tables", about, &extent.tables, |server, tables| {
        if server.orders_are_slow() && tables > SLOW_TABLES_MAX {
            return Ok(Vec::new());
        }
        let scale = scale(Sizes {
            tables,
            ..bench.sizes
        });
        bench.fill(server, &many_tables::TABLES, &scale)?;
        let read = cost(bench, server, &many_tables::READ, &scale, SHAPE)?;
        let write = cost(bench, server, &many_tables::INSERT, &scale, SHAPE)?;
        Ok(vec![("read", read), ("write", write)])
    })
}

pub(super) fn connections(bench: &Bench, extent: &Extent) -> io::Result<Finding> {
    let about = "Server CPU of a read, one request at a time on each connection.";
    let counts: Vec<u64> = extent
        .connections
        .iter()
        .map(|count| *count as u64)
        .collect();
    let filled = std::cell::Cell::new(None);
    sweep(
        bench,
        "connections",
        about,
        &counts,
        |server, connections| {
            let scale = bench.scale();
            if filled.replace(server.pid()) != server.pid() {
                bench.fill(server, &standard::TABLES, &scale)?;
            }
            let shape = Shape {
                connections: connections as usize,
                in_flight: 1,
            };
            let read = cost(bench, server, &standard::READ, &scale, shape)?;
            Ok(vec![("read", read)])
        },
    )
}

pub(super) fn sstables(bench: &Bench, extent: &Extent) -> io::Result<Finding> {
    let about = &format!(
        "Server CPU of a read, 16 connections with 32 requests in flight, from as many SSTables of {SSTABLE_ROWS} rows each, never compacted. Cassandra, which takes a second for each flush, stops at {SLOW_SSTABLES_MAX}."
    );
    let there = std::cell::Cell::new((None, 0));
    sweep(
        bench,
        "SSTables",
        about,
        &extent.sstables,
        |server, count| {
            if server.orders_are_slow() && count > SLOW_SSTABLES_MAX {
                return Ok(Vec::new());
            }
            let scale = scale(Sizes {
                cold_rows: count * SSTABLE_ROWS,
                ..bench.sizes
            });
            let (pid, mut made) = there.get();
            if pid != server.pid() {
                made = 0;
                let nothing = Tables {
                    rows: |_| 0,
                    settled: false,
                    ..FLUSHED
                };
                bench.fill(server, &nothing, &scale)?;
            }
            while made < count {
                let (first, end) = (made * SSTABLE_ROWS, (made + 1) * SSTABLE_ROWS);
                bench.runtime.block_on(async {
                    load::write_rows(server.address, &FLUSHED, &scale, first, end).await?;
                    server.flush(FLUSHED.keyspace).await
                })?;
                made += 1;
            }
            there.set((server.pid(), made));
            let read = cost(bench, server, &READ_FLUSHED, &scale, SHAPE)?;
            Ok(vec![("read", read)])
        },
    )
}

pub(super) fn data(bench: &Bench, extent: &Extent) -> io::Result<Finding> {
    let about = "Server CPU of a read of a random row, 16 connections with 32 requests in flight, in a table of as many megabytes, flushed and compacted as the server does by itself.";
    let megabytes: Vec<u64> = extent.data_bytes.iter().map(|bytes| bytes >> 20).collect();
    let there = std::cell::Cell::new((None, 0));
    sweep(
        bench,
        "megabytes",
        about,
        &megabytes,
        |server, megabytes| {
            let rows = (megabytes << 20) / ROW_BYTES;
            let scale = scale(Sizes {
                cold_rows: rows,
                ..bench.sizes
            });
            let (pid, mut made) = there.get();
            if pid != server.pid() {
                made = 0;
                let nothing = Tables {
                    rows: |_| 0,
                    settled: false,
                    ..standard::COLD
                };
                bench.fill(server, &nothing, &scale)?;
            }
            bench.runtime.block_on(async {
                load::write_rows(server.address, &standard::COLD, &scale, made, rows).await?;
                server.flush(standard::COLD.keyspace).await
            })?;
            there.set((server.pid(), made.max(rows)));
            let read = cost(bench, server, &standard::READ_COLD, &scale, SHAPE)?;
            Ok(vec![("read", read)])
        },
    )
}

fn scale(sizes: Sizes) -> Rc<Scale> {
    Rc::new(Scale::new(sizes))
}

/// Server CPU of one operation, in microseconds, of a server that was at rest before.
fn cost(
    bench: &Bench,
    server: &Server,
    workload: &Workload,
    scale: &Rc<Scale>,
    shape: Shape,
) -> io::Result<Middle> {
    if let Some(pid) = server.pid()
        && !process::rest(pid, REST_MAX)?
    {
        let name = server.name();
        (bench.say)(&format!(
            "{name} is still at work by itself: that counts, too"
        ));
    }
    let mut costs = Vec::new();
    for run in 0..bench.runs {
        let plan = bench.plan(server, shape, Pace::Closed, run);
        let sample = load::measure(server.address, workload, scale, plan);
        let sample = bench.runtime.block_on(sample)?;
        bench.tell(server.name(), workload, plan, &sample);
        // Without the server's process, the time that it took has to do.
        costs.push(
            sample
                .cpu_micros()
                .unwrap_or(1e6 / sample.throughput().max(1.0)),
        );
    }
    Middle::of(costs).ok_or_else(|| io::Error::other("no run was asked for"))
}

type Costs = Vec<(&'static str, Middle)>;

/// Measures at each point on each server that knows how; a point that fails ends its server's line.
fn sweep(
    bench: &Bench,
    what: &str,
    about: &str,
    points: &[u64],
    mut measure: impl FnMut(&Server, u64) -> io::Result<Costs>,
) -> io::Result<Finding> {
    let mut lines: Vec<(String, Vec<(u64, Middle)>)> = Vec::new();
    let mut failures = Vec::new();
    for recipe in &bench.recipes {
        let server = recipe.with(Setting::ManyStatements).start()?;
        // The floor has one table, in memory, and no SSTables.
        if what != "connections" && !server.knows(&READ_FLUSHED) {
            continue;
        }
        for &point in points {
            match measure(&server, point) {
                Ok(costs) => {
                    for (kind, cost) in costs {
                        let name = format!("{}, {kind}", recipe.name);
                        match lines.iter_mut().find(|(line, _)| *line == name) {
                            Some((_, found)) => found.push((point, cost)),
                            None => lines.push((name, vec![(point, cost)])),
                        }
                    }
                }
                Err(error) => {
                    (bench.say)(&format!("{}, {point} {what}: {error}", recipe.name));
                    failures.push(format!("{}, {point} {what}: {error}.", recipe.name));
                    break;
                }
            }
        }
    }
    let title = format!("Cost against the number of {what}");
    let mut columns = vec![what];
    columns.extend(lines.iter().map(|(name, _)| name.as_str()));
    let about = match failures.is_empty() {
        true => about.to_owned(),
        false => format!("{about} Not measured: {}", failures.join(" ")),
    };
    let mut finding = Finding::new(&title, &about, &columns);
    for &point in points {
        let mut row = vec![point.to_string()];
        row.extend(lines.iter().map(|(_, found)| {
            let found = found.iter().find(|(at, _)| *at == point);
            found.map_or("-".to_owned(), |(_, cost)| {
                let Middle {
                    median,
                    least,
                    greatest,
                } = cost;
                format!("{median:.2} ({least:.2}-{greatest:.2})")
            })
        }));
        finding.rows.push(row);
    }
    let of_medians = |(name, found): (String, Vec<(u64, Middle)>)| Line {
        name,
        points: found
            .iter()
            .map(|(at, cost)| (*at as f64, cost.median))
            .collect(),
    };
    let lines = lines.into_iter().map(of_medians).collect();
    finding.charts.push(Chart {
        title,
        x: Axis::logarithmic(what),
        y: Axis::logarithmic("server CPU, µs/op"),
        lines,
    });
    Ok(finding)
}
