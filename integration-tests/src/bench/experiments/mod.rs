//! What is no steady load: starts, bulk loads, bytes on the disk, a key switch under load, and cost against size.
//!
//! An experiment starts servers of its own, one after the other, and gives a [`Finding`]. What a server cannot do is told and left out.

mod bulk;
mod idle;
mod key_switch;
mod space;
mod start;
mod start_tables;
mod sweep;

use std::io;

use super::report::{Finding, Report};
use super::suite::Bench;

/// How large the experiments are.
#[derive(Clone, Debug)]
pub struct Extent {
    /// Bytes of a bulk load.
    pub bulk_bytes: u64,
    /// Tables, connections, SSTables and bytes at which cost is measured.
    pub tables: Vec<u64>,
    pub connections: Vec<usize>,
    pub sstables: Vec<u64>,
    pub data_bytes: Vec<u64>,
}

/// One experiment.
#[derive(Clone, Copy)]
pub struct Experiment {
    pub name: &'static str,
    pub about: &'static str,
    run: fn(&Bench, &Extent) -> io::Result<Finding>,
}

/// All of them.
pub const ALL: [Experiment; 10] = [
    Experiment {
        name: "start",
        about: "start on an empty folder, after a kill with a log to replay, after a flush and a stop; idle memory",
        run: start::run,
    },
    Experiment {
        name: "start_tables",
        about: "start with many tables that hold rows, after a kill and after a stop; what they cost while nobody asks, and when each is first read",
        run: start_tables::run,
    },
    Experiment {
        name: "idle",
        about: "memory of connections that say nothing",
        run: idle::run,
    },
    Experiment {
        name: "space",
        about: "bytes on the disk of the same rows of words, after a compaction",
        run: space::run,
    },
    Experiment {
        name: "bulk",
        about: "a bulk load: operations, CPU and memory as it goes on",
        run: bulk::run,
    },
    Experiment {
        name: "key_switch",
        about: "latency of reads at a fixed rate while the table's key is switched again and again",
        run: key_switch::run,
    },
    Experiment {
        name: "sweep_tables",
        about: "cost against the number of tables",
        run: sweep::tables,
    },
    Experiment {
        name: "sweep_connections",
        about: "cost against the number of connections",
        run: sweep::connections,
    },
    Experiment {
        name: "sweep_sstables",
        about: "cost against the number of SSTables",
        run: sweep::sstables,
    },
    Experiment {
        name: "sweep_data",
        about: "cost against the bytes of a table",
        run: sweep::data,
    },
];

/// The experiment of a name.
pub fn named(name: &str) -> Option<Experiment> {
    ALL.into_iter().find(|experiment| experiment.name == name)
}

impl Experiment {
    /// Runs it, into the report.
    pub fn run(&self, bench: &Bench, extent: &Extent, report: &mut Report) {
        (bench.say)(&format!("experiment {}", self.name));
        match (self.run)(bench, extent) {
            Ok(finding) => report.findings.push(finding),
            Err(error) => report.failures.push(format!("{}: {error}", self.name)),
        }
    }
}

/// Puts what failed on one server into a table, in place of figures: the other servers' are still worth having.
fn or_dashes(
    bench: &Bench,
    server: &str,
    columns: usize,
    row: io::Result<Vec<String>>,
) -> Vec<String> {
    row.unwrap_or_else(|error| {
        (bench.say)(&format!("{server}: {error}"));
        let mut row = vec![format!("{server} ({error})")];
        row.resize(columns, "-".to_owned());
        row
    })
}

fn mebibytes(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}
