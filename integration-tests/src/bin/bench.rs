//! Measures what an operation costs: server CPU, latency, throughput, for any CQL servers in one run, in turns.

use std::error::Error;
use std::io::Write;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Parser, Subcommand};
use palladium_integration_tests::bench::experiments::{self, Experiment, Extent};
use palladium_integration_tests::bench::load::Shape;
use palladium_integration_tests::bench::report::Report;
use palladium_integration_tests::bench::server::{Kind, Recipe, Sync};
use palladium_integration_tests::bench::suite::{Bench, Rates};
use palladium_integration_tests::bench::workloads::{self, Setting, Sizes, Workload};
use palladium_integration_tests::system;

/// Server CPU, latency and throughput of CQL servers. Example: bench --floor --cassandra group --palladium target/release/palladium
#[derive(Parser)]
#[command(name = "bench", version, args_conflicts_with_subcommands = true)]
struct Arguments {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    measure: Measure,
}

#[derive(Subcommand)]
enum Command {
    /// All workloads, rates and experiments, into a folder with a page, JSON and charts.
    Report(Box<Whole>),
    /// Cost against the number of tables, connections, SSTables and bytes, into a folder with a page, JSON and a chart each. As it stands about a quarter of an hour for ours.
    Sweep(Box<Sweep>),
    /// Names of workloads and experiments.
    List,
}

#[derive(Args)]
struct Measure {
    #[command(flatten)]
    servers: Servers,
    #[command(flatten)]
    runs: Runs,
    /// Connections x requests in flight on each.
    #[arg(long, value_delimiter = ',', default_value = "32x64,1x1")]
    shapes: Vec<Shape>,
    /// What to measure; `all`, or names that `bench list` shows. By default insert and read, or nothing if there are experiments.
    #[arg(long, value_delimiter = ',')]
    workloads: Option<Vec<String>>,
    /// Operations a second, after the closed loops; latency counts from when each was due.
    #[arg(long, value_delimiter = ',')]
    rates: Vec<u64>,
    /// Experiments; `all`, or names that `bench list` shows.
    #[arg(long, value_delimiter = ',')]
    experiments: Vec<String>,
    /// Write everything as JSON.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Write a page, JSON and charts into this folder.
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

#[derive(Args)]
struct Whole {
    #[command(flatten)]
    servers: Servers,
    #[command(flatten)]
    runs: Runs,
    /// Where the report goes.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Connections x requests in flight on each.
    #[arg(long, value_delimiter = ',', default_value = "32x64,4x32,1x1")]
    shapes: Vec<Shape>,
    /// What to measure; `all`, or names that `bench list` shows.
    #[arg(long, value_delimiter = ',', default_value = "all")]
    workloads: Vec<String>,
    /// Workloads that are measured at a fixed rate too: a third of what the slowest server can do.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "insert,read,slice_10,ycsb_a"
    )]
    at_a_third: Vec<String>,
    /// Experiments; `all`, or names that `bench list` shows.
    #[arg(long, value_delimiter = ',', default_value = "all")]
    experiments: Vec<String>,
}

#[derive(Args)]
struct Sweep {
    #[command(flatten)]
    servers: Servers,
    /// Where the report goes.
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Which of them.
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "tables,connections,sstables,data"
    )]
    only: Vec<String>,
    /// Runs of each; the median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// Seconds of each run.
    #[arg(long, default_value_t = 2, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Seconds before each run that do not count.
    #[arg(long, default_value_t = 1)]
    warm_up: u64,
    /// Numbers of tables.
    #[arg(long, value_delimiter = ',', default_value = "1,10,100,1000,10000")]
    tables: Vec<u64>,
    /// Numbers of connections.
    #[arg(long, value_delimiter = ',', default_value = "1,10,100,1000,10000")]
    connections: Vec<usize>,
    /// Numbers of SSTables.
    #[arg(long, value_delimiter = ',', default_value = "1,3,10,30,100,300,1000")]
    sstables: Vec<u64>,
    /// Gigabytes.
    #[arg(long, value_delimiter = ',', default_value = "0.1,0.3,1,3")]
    gb: Vec<f64>,
}

impl Sweep {
    /// As runs of a report are told, with tables of the usual size.
    fn runs(&self) -> Runs {
        Runs {
            rows: ROWS,
            cold_rows: COLD_ROWS,
            tables: TABLES,
            vectors: VECTORS,
            runs: self.runs,
            seconds: self.seconds,
            warm_up: self.warm_up,
            bulk_gb: BULK_GB,
            sweep_tables: self.tables.clone(),
            sweep_connections: self.connections.clone(),
            sweep_sstables: self.sstables.clone(),
            sweep_gb: self.gb.clone(),
        }
    }

    fn experiments(&self) -> Result<Vec<Experiment>, String> {
        let of = |name: &String| experiments::named(&format!("sweep_{name}"));
        let wanted = self
            .only
            .iter()
            .map(|name| of(name).ok_or_else(|| format!("no sweep {name}; see bench list")));
        wanted.collect()
    }
}

/// Sizes of those who say none.
const ROWS: u64 = 200_000;
const COLD_ROWS: u64 = 1_500_000;
const TABLES: u64 = 1_000;
const VECTORS: u64 = 10_000;
const BULK_GB: f64 = 20.0;

#[derive(Args)]
struct Servers {
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
    /// Start Apache Cassandra 5.0.6, which acknowledges after its sync (group) or before (periodic), or one of each.
    #[arg(long, value_name = "group|periodic", value_delimiter = ',', value_parser = parse_sync)]
    cassandra: Vec<Sync>,
    /// A CQL server that runs already.
    #[arg(long, value_name = "ADDR:PORT")]
    server: Option<SocketAddr>,
    /// Its process id; without it there is no CPU time.
    #[arg(long, requires = "server")]
    pid: Option<u32>,
    /// Do not bind servers to core 0 and the client to core 1.
    #[arg(long)]
    unbound: bool,
    /// Where the servers' folders go; by default the folder for temporary files.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
}

#[derive(Args)]
struct Runs {
    /// Rows of an ordinary table.
    #[arg(long, default_value_t = ROWS, value_parser = clap::value_parser!(u64).range(1..))]
    rows: u64,
    /// Rows of the table that is read from the page cache.
    #[arg(long, default_value_t = COLD_ROWS, value_parser = clap::value_parser!(u64).range(1..))]
    cold_rows: u64,
    /// Tables of the workloads of many tables.
    #[arg(long, default_value_t = TABLES, value_parser = clap::value_parser!(u64).range(1..))]
    tables: u64,
    /// Vectors of the vector search.
    #[arg(long, default_value_t = VECTORS, value_parser = clap::value_parser!(u64).range(10..))]
    vectors: u64,
    /// Runs of each; the median counts.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u16).range(1..))]
    runs: u16,
    /// Seconds of each run.
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..))]
    seconds: u64,
    /// Seconds before each run that do not count. Cassandra gets a minute more before its first.
    #[arg(long, default_value_t = 1)]
    warm_up: u64,
    /// Gigabytes of the bulk load.
    #[arg(long, default_value_t = BULK_GB)]
    bulk_gb: f64,
    /// Numbers of tables, connections, SSTables, and gigabytes, at which cost is measured.
    #[arg(long, value_delimiter = ',', default_value = "1,10,100,1000,10000")]
    sweep_tables: Vec<u64>,
    #[arg(long, value_delimiter = ',', default_value = "1,10,100,1000,10000")]
    sweep_connections: Vec<usize>,
    #[arg(long, value_delimiter = ',', default_value = "1,3,10,30,100,300,1000")]
    sweep_sstables: Vec<u64>,
    #[arg(long, value_delimiter = ',', default_value = "0.1,0.3,1,3,10,20")]
    sweep_gb: Vec<f64>,
}

fn parse_sync(mode: &str) -> Result<Sync, String> {
    match mode {
        "group" => Ok(Sync::Group),
        "periodic" => Ok(Sync::Periodic),
        _ => Err("group or periodic".to_owned()),
    }
}

fn main() -> Result<ExitCode, Box<dyn Error>> {
    let arguments = Arguments::parse();
    match arguments.command {
        Some(Command::List) => {
            list();
            Ok(ExitCode::SUCCESS)
        }
        Some(Command::Report(whole)) => {
            let names: Vec<&'static str> = chosen_workloads(&whole.at_a_third)?
                .iter()
                .map(|workload| workload.name)
                .collect();
            let job = Job {
                workloads: chosen_workloads(&whole.workloads)?,
                shapes: whole.shapes,
                rates: Rates::ThirdOfSlowest(names),
                experiments: chosen_experiments(&whole.experiments)?,
            };
            let report = job.run(whole.servers, &whole.runs)?;
            report.write(&whole.out)?;
            Ok(end(&report))
        }
        Some(Command::Sweep(sweep)) => {
            let job = Job {
                workloads: Vec::new(),
                shapes: Vec::new(),
                rates: Rates::None,
                experiments: sweep.experiments()?,
            };
            let runs = sweep.runs();
            let report = job.run(sweep.servers, &runs)?;
            report.write(&sweep.out)?;
            print!("{}", report.to_markdown());
            Ok(end(&report))
        }
        None => {
            let measure = arguments.measure;
            let rates = match measure.rates.is_empty() {
                true => Rates::None,
                false => Rates::These(measure.rates),
            };
            let workloads =
                measure
                    .workloads
                    .unwrap_or_else(|| match measure.experiments.is_empty() {
                        true => ["insert", "read"].map(str::to_owned).to_vec(),
                        false => Vec::new(),
                    });
            let job = Job {
                workloads: chosen_workloads(&workloads)?,
                shapes: measure.shapes,
                rates,
                experiments: chosen_experiments(&measure.experiments)?,
            };
            let report = job.run(measure.servers, &measure.runs)?;
            print!("{}", report.to_markdown());
            if let Some(file) = measure.json {
                std::fs::write(file, serde_json::to_vec_pretty(&report.to_json())?)?;
            }
            if let Some(folder) = measure.out {
                report.write(&folder)?;
            }
            Ok(end(&report))
        }
    }
}

/// What is to be measured.
struct Job {
    workloads: Vec<&'static Workload>,
    shapes: Vec<Shape>,
    rates: Rates,
    experiments: Vec<Experiment>,
}

impl Job {
    fn run(&self, servers: Servers, runs: &Runs) -> Result<Report, Box<dyn Error>> {
        let bound = !servers.unbound
            && std::thread::available_parallelism().is_ok_and(|cores| cores.get() >= 2);
        let recipes = recipes(servers, bound.then_some(0));
        if recipes.is_empty() {
            return Err(
                "no server to measure: --palladium, --without-cipher, --floor, --cassandra or --server"
                    .into(),
            );
        }
        // Ten thousand connections are as many descriptors, here and in the servers, which inherit the limit.
        system::raise_descriptor_limit()?;
        if bound {
            // Servers are bound by their own command.
            system::run_on_core(1)?;
        }
        let bench = Bench {
            recipes,
            sizes: Sizes {
                rows: runs.rows,
                cold_rows: runs.cold_rows,
                tables: runs.tables,
                vectors: runs.vectors,
            },
            runs: runs.runs.into(),
            warm_up: Duration::from_secs(runs.warm_up),
            sample: Duration::from_secs(runs.seconds),
            runtime: tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()?,
            say,
        };
        let mut report = Report {
            conditions: conditions(runs, bound),
            ..Report::default()
        };
        bench.measure_all(&self.workloads, &self.shapes, &self.rates, &mut report);
        for experiment in &self.experiments {
            experiment.run(&bench, &extent(runs), &mut report);
        }
        Ok(report)
    }
}

fn recipes(servers: Servers, core: Option<usize>) -> Vec<Recipe> {
    let parent = servers.folder.unwrap_or_else(std::env::temp_dir);
    let recipe = |name: &str, kind| Recipe {
        name: name.to_owned(),
        kind,
        core,
        parent: parent.clone(),
        setting: Setting::Ordinary,
    };
    let ours = |name: &str, program| {
        let settings = servers.settings.clone();
        recipe(name, Kind::Palladium { program, settings })
    };
    let mut recipes = Vec::new();
    if servers.floor {
        recipes.push(recipe("floor, plain design", Kind::Floor));
    }
    recipes.extend(servers.palladium.map(|program| ours("palladium", program)));
    recipes.extend(
        servers
            .without_cipher
            .map(|program| ours("without cipher", program)),
    );
    recipes.extend(
        servers
            .cassandra
            .iter()
            .map(|&sync| Recipe::cassandra(sync, core, &parent)),
    );
    recipes.extend(servers.server.map(|address| {
        let pid = servers.pid;
        recipe(&address.to_string(), Kind::Running { address, pid })
    }));
    recipes
}

fn extent(runs: &Runs) -> Extent {
    let bytes = |gigabytes: f64| (gigabytes * 1e9) as u64;
    Extent {
        bulk_bytes: bytes(runs.bulk_gb),
        tables: runs.sweep_tables.clone(),
        connections: runs.sweep_connections.clone(),
        sstables: runs.sweep_sstables.clone(),
        data_bytes: runs.sweep_gb.iter().copied().map(bytes).collect(),
    }
}

fn chosen_workloads(names: &[String]) -> Result<Vec<&'static Workload>, String> {
    if names.iter().any(|name| name == "all") {
        return Ok(workloads::ALL.to_vec());
    }
    names
        .iter()
        .map(|name| {
            workloads::named(name).ok_or_else(|| format!("no workload {name}; see bench list"))
        })
        .collect()
}

fn chosen_experiments(names: &[String]) -> Result<Vec<Experiment>, String> {
    if names.iter().any(|name| name == "all") {
        return Ok(experiments::ALL.to_vec());
    }
    let names = names.iter().filter(|name| *name != "none");
    names
        .map(|name| {
            experiments::named(name).ok_or_else(|| format!("no experiment {name}; see bench list"))
        })
        .collect()
}

fn list() {
    println!("workloads (one operation is):");
    for workload in workloads::ALL {
        println!("  {:14} {}", workload.name, workload.about);
    }
    println!("experiments:");
    for experiment in experiments::ALL {
        println!("  {:18} {}", experiment.name, experiment.about);
    }
}

fn conditions(runs: &Runs, bound: bool) -> String {
    let cores = if bound {
        "server on one core, client on another"
    } else {
        "no cores bound"
    };
    format!(
        "{cores}, {} rows, medians of {} runs of {} s",
        runs.rows, runs.runs, runs.seconds
    )
}

/// What could not be measured is a failure, whatever else was.
fn end(report: &Report) -> ExitCode {
    match report.failures.is_empty() {
        true => ExitCode::SUCCESS,
        false => ExitCode::FAILURE,
    }
}

/// Progress goes where the table does not.
fn say(text: &str) {
    // A closed terminal is no reason to stop measuring.
    let _ = writeln!(std::io::stderr(), "{text}");
}
