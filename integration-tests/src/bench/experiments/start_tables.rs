//! A server with many tables that hold rows: how long it takes until it answers, and what its tables cost while nobody asks them anything.
//!
//! ```text
//! make, fill ─► kill ─► start: the log is replayed ─► at rest ─► flush, stop ─► start: nothing to replay ─► at rest ─► one read of each table ─► at rest
//! ```
//!
//! The clock runs from the start of the process until a row of one of the tables was read; CPU is the server's, until then and until it is at rest again.

use std::io;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;

use super::start::until_read;
use super::sweep::SLOW_TABLES_MAX;
use super::{Extent, mebibytes, or_dashes};
use crate::bench::load::run_statement;
use crate::bench::process;
use crate::bench::report::Finding;
use crate::bench::server::{Recipe, Server};
use crate::bench::suite::Bench;
use crate::bench::workloads::{Scale, Setting, Sizes, many_tables, standard};
use crate::raw::{Answer, Connection};

/// What goes on beside serving may take so long after a start.
const REST_MAX: Duration = Duration::from_secs(300);
/// For so long a server at rest is looked at.
const IDLE: Duration = Duration::from_secs(10);

pub(super) fn run(bench: &Bench, extent: &Extent) -> io::Result<Finding> {
    let mut finding = Finding::new(
        "Start with many tables",
        &format!(
            "Tables of 20 rows each. Until a row is read after a kill, with all rows in the log, and after a flush and a stop: by the clock, and the server's CPU. At rest: \
             resident memory, threads, open files, and CPU over {} s. Then one row of each table is read for the first time. Cassandra stops at {SLOW_TABLES_MAX} tables.",
            IDLE.as_secs()
        ),
        &[
            "server",
            "tables",
            "log to replay, ms",
            "its CPU, ms",
            "its CPU until it rests, ms",
            "none to replay, ms",
            "its CPU, ms",
            "its CPU until it rests, ms",
            "at rest, MiB",
            "threads",
            "files",
            "its CPU at rest, ms/s",
            "first read of a table, µs of CPU",
            "all open, MiB",
        ],
    );
    let most = extent.tables.iter().copied().max().unwrap_or(1);
    for recipe in bench.recipes.iter().filter(|recipe| recipe.can_restart()) {
        let row = measure(bench, &recipe.with(Setting::ManyStatements), most);
        let columns = finding.columns.len();
        finding
            .rows
            .push(or_dashes(bench, &recipe.name, columns, row));
    }
    Ok(finding)
}

fn measure(bench: &Bench, recipe: &Recipe, most: u64) -> io::Result<Vec<String>> {
    let mut server = recipe.start()?;
    let tables = match server.orders_are_slow() {
        true => most.min(SLOW_TABLES_MAX),
        false => most,
    };
    let scale = Rc::new(Scale::new(Sizes {
        tables,
        ..bench.sizes
    }));
    bench.fill(&server, &many_tables::TABLES, &scale)?;

    server.kill();
    let replayed = Started::now(bench, &mut server, tables)?;
    bench
        .runtime
        .block_on(server.flush(many_tables::TABLES.keyspace))?;
    server.stop()?;
    let at_once = Started::now(bench, &mut server, tables)?;

    let pid = pid(&server)?;
    let resting = process::resident_bytes(pid)?;
    let (threads, files) = (process::threads(pid)?, process::descriptors(pid));
    let before = process::cpu_time(pid)?;
    std::thread::sleep(IDLE);
    let idle = process::cpu_time(pid)? - before;
    let before = process::cpu_time(pid)?;
    bench.runtime.block_on(read_each(&server, tables))?;
    let reads = process::cpu_time(pid)? - before;
    process::rest(pid, REST_MAX)?;
    let open = process::resident_bytes(pid)?;

    let milliseconds = |time: Duration| format!("{:.0}", time.as_secs_f64() * 1e3);
    let mut row = vec![recipe.name.clone(), tables.to_string()];
    for started in [replayed, at_once] {
        row.extend([started.wall, started.cpu, started.cpu_until_rest].map(milliseconds));
    }
    row.extend([
        format!("{:.1}", mebibytes(resting)),
        threads.to_string(),
        files.map_or("-".to_owned(), |files| files.to_string()),
        format!("{:.1}", idle.as_secs_f64() * 1e3 / IDLE.as_secs_f64()),
        format!("{:.0}", reads.as_secs_f64() * 1e6 / tables as f64),
        format!("{:.1}", mebibytes(open)),
    ]);
    (bench.say)(&row.join(", "));
    Ok(row)
}

fn pid(server: &Server) -> io::Result<u32> {
    let pid = server.pid();
    pid.ok_or_else(|| io::Error::other("its process is not known"))
}

/// A start, as it was.
struct Started {
    wall: Duration,
    cpu: Duration,
    cpu_until_rest: Duration,
}

impl Started {
    /// Starts it, reads a row of the last table, and waits until it is at rest.
    fn now(bench: &Bench, server: &mut Server, tables: u64) -> io::Result<Started> {
        let read = format!("SELECT c0 FROM bench_tables.t{} WHERE key = ?", tables - 1);
        let wall = until_read(bench, server, &read)?;
        let pid = pid(server)?;
        let cpu = process::cpu_time(pid)?;
        process::rest(pid, REST_MAX)?;
        Ok(Started {
            wall,
            cpu,
            cpu_until_rest: process::cpu_time(pid)?,
        })
    }
}

/// Reads one row of each table.
async fn read_each(server: &Server, tables: u64) -> io::Result<()> {
    let mut connection = Connection::open(server.address).await?;
    let mut key = BytesMut::new();
    standard::put_key(&mut key, 0);
    let key: String = key[4..].iter().map(|byte| format!("{byte:02x}")).collect();
    for table in 0..tables {
        let read = format!("SELECT c0 FROM bench_tables.t{table} WHERE key = 0x{key}");
        match run_statement(&mut connection, &read).await? {
            Answer::Rows(rows) if rows.rows.len() == 1 => {}
            other => {
                return Err(io::Error::other(format!("table {table}: {other:?}")));
            }
        }
    }
    Ok(())
}
