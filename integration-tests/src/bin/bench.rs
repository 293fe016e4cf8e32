//! Measures what an operation costs: server CPU, latency, throughput, for any CQL servers in one run, in turns.

use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use palladium_integration_tests::bench::drive::{Plan, Sample, Shape, load, measure};
use palladium_integration_tests::bench::opponent::{Opponent, Sync};
use palladium_integration_tests::bench::report::{Report, Series};
use palladium_integration_tests::bench::workload::{self, Workload};
use palladium_integration_tests::{chance, system};

/// Server CPU, latency and throughput of CQL servers. Example: bench --floor --cassandra group --palladium target/release/palladium
#[derive(Parser)]
#[command(name = "bench", version)]
struct Arguments {
    /// Start this build of palladium.
    #[arg(long, value_name = "PATH")]
    palladium: Option<PathBuf>,
    /// Start this build of server_without_cipher.
    #[arg(long, value_name = "PATH")]
    without_cipher: Option<PathBuf>,
    /// Lines for its configuration file.
    #[arg(long, value_name = "TOML", default_value = "")]
    settings: String,
    /// Start the floor server: the plain design of a server that does nothing but what it must.
    #[arg(long)]
    floor: bool,
    /// Start Apache Cassandra 5.0.6, which acknowledges after its sync (group) or before (periodic). May be given once.
    #[arg(long, value_name = "group|periodic", value_parser = parse_sync)]
    cassandra: Option<Sync>,
    /// A CQL server that runs already.
    #[arg(long, value_name = "ADDR:PORT")]
    server: Option<SocketAddr>,
    /// Its process id; without it there is no CPU time.
    #[arg(long, requires = "server")]
    pid: Option<u32>,
    /// Connections x requests in flight on each.
    #[arg(long, value_delimiter = ',', default_value = "32x64,1x1")]
    shapes: Vec<Shape>,
    /// What to measure.
    #[arg(long, value_delimiter = ',', default_value = "write,read", value_parser = parse_workload)]
    workloads: Vec<&'static Workload>,
    /// Rows in the table.
    #[arg(long, default_value_t = 200_000, value_parser = clap::value_parser!(u64).range(1..))]
    rows: u64,
    /// Runs of each; the median counts.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Seconds of each run.
    #[arg(long, default_value_t = 4)]
    seconds: u64,
    /// Seconds before each run that do not count. Cassandra gets a minute more before its first.
    #[arg(long, default_value_t = 1)]
    warm_up: u64,
    /// Do not bind servers to core 0 and the client to core 1.
    #[arg(long)]
    unbound: bool,
    /// Where the servers' folders go; by default the folder for temporary files.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Write everything as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

fn parse_workload(name: &str) -> Result<&'static Workload, String> {
    workload::named(name).ok_or_else(|| {
        format!(
            "{name} is none of: {}",
            workload::ALL.map(|workload| workload.name).join(", ")
        )
    })
}

fn parse_sync(mode: &str) -> Result<Sync, String> {
    match mode {
        "group" => Ok(Sync::Group),
        "periodic" => Ok(Sync::Periodic),
        _ => Err("group or periodic".to_owned()),
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let bound = !arguments.unbound
        && std::thread::available_parallelism().is_ok_and(|cores| cores.get() >= 2);
    let opponents = start(&arguments, bound)?;
    if opponents.is_empty() {
        return Err(
            "no server to measure: --palladium, --without-cipher, --floor, --cassandra or --server"
                .into(),
        );
    }
    // After the servers were started, which would inherit it.
    if bound {
        system::run_on_core(1)?;
    }
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    for opponent in &opponents {
        say(&format!("{}: {} rows", opponent.name, arguments.rows));
        runtime.block_on(load(opponent.address, arguments.rows))?;
        warm_up(&runtime, &arguments, opponent)?;
    }

    let mut report = Report {
        series: Vec::new(),
        conditions: conditions(&arguments, bound),
    };
    for run in 0..arguments.runs {
        for &workload in &arguments.workloads {
            for &shape in &arguments.shapes {
                for opponent in &opponents {
                    let plan = Plan {
                        rows: arguments.rows,
                        warm_up: Duration::from_secs(arguments.warm_up),
                        sample: Duration::from_secs(arguments.seconds),
                        pid: opponent.pid,
                        seed: chance::mix(run as u64),
                    };
                    let sample =
                        runtime.block_on(measure(opponent.address, workload, shape, plan))?;
                    say(&format!(
                        "run {}: {} {shape} {}: {} µs, {:.0} ops/s",
                        run + 1,
                        workload.name,
                        opponent.name,
                        sample
                            .cpu_micros()
                            .map_or("?".to_owned(), |cpu| format!("{cpu:.2}")),
                        sample.throughput()
                    ));
                    keep(&mut report, opponent, workload, shape, sample);
                }
            }
        }
    }
    print!("{}", report.to_markdown());
    if let Some(file) = arguments.json {
        std::fs::write(file, serde_json::to_vec_pretty(&report.to_json())?)?;
    }
    Ok(())
}

fn start(arguments: &Arguments, bound: bool) -> Result<Vec<Opponent>, Box<dyn Error>> {
    let core = bound.then_some(0);
    let folder = arguments.folder.clone().unwrap_or_else(std::env::temp_dir);
    let mut opponents = Vec::new();
    if arguments.floor {
        opponents.push(Opponent::floor(core, &folder)?);
    }
    if let Some(program) = &arguments.palladium {
        opponents.push(Opponent::palladium(
            "palladium",
            program,
            &arguments.settings,
            core,
            &folder,
        )?);
    }
    if let Some(program) = &arguments.without_cipher {
        opponents.push(Opponent::palladium(
            "without cipher",
            program,
            &arguments.settings,
            core,
            &folder,
        )?);
    }
    if let Some(sync) = arguments.cassandra {
        opponents.push(Opponent::cassandra(sync, core, &folder)?);
    }
    if let Some(address) = arguments.server {
        opponents.push(Opponent::running(address, arguments.pid));
    }
    Ok(opponents)
}

/// Drives a server with everything that will be measured, for as long as it wants before anything counts.
fn warm_up(
    runtime: &tokio::runtime::Runtime,
    arguments: &Arguments,
    opponent: &Opponent,
) -> Result<(), Box<dyn Error>> {
    if opponent.warm_up.is_zero() {
        return Ok(());
    }
    say(&format!(
        "{}: {} s of warm-up",
        opponent.name,
        opponent.warm_up.as_secs()
    ));
    let share =
        opponent.warm_up / u32::try_from(arguments.workloads.len() * arguments.shapes.len())?;
    for &workload in &arguments.workloads {
        for &shape in &arguments.shapes {
            let plan = Plan {
                rows: arguments.rows,
                warm_up: Duration::ZERO,
                sample: share,
                pid: None,
                seed: 0,
            };
            runtime.block_on(measure(opponent.address, workload, shape, plan))?;
        }
    }
    Ok(())
}

fn keep(
    report: &mut Report,
    opponent: &Opponent,
    workload: &'static Workload,
    shape: Shape,
    sample: Sample,
) {
    let known = report.series.iter_mut().find(|series| {
        series.server == opponent.name && series.workload == workload.name && series.shape == shape
    });
    match known {
        Some(series) => series.samples.push(sample),
        None => report.series.push(Series {
            server: opponent.name.clone(),
            workload: workload.name,
            shape,
            samples: vec![sample],
        }),
    }
}

fn conditions(arguments: &Arguments, bound: bool) -> String {
    let cores = if bound {
        "server on one core, client on another"
    } else {
        "no cores bound"
    };
    format!(
        "{cores}, {} rows, median of {} runs of {} s",
        arguments.rows, arguments.runs, arguments.seconds
    )
}

/// Progress goes where the table does not.
fn say(text: &str) {
    // A closed terminal is no reason to stop measuring.
    let _ = writeln!(std::io::stderr(), "{text}");
}
