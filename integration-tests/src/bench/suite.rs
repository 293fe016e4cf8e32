//! Workloads on servers, in turns: each run goes through all workloads and shapes, and for each of them through all servers, so that a noisy neighbour hits
//! all alike.
//!
//! ```text
//! setting ─► start the servers ─► tables ─► fill, settle, warm up ─► run 1 .. n: workload ─► shape ─► server ─► Sample
//!                                                                    fixed rates                      ─► drop the tables
//! ```
//!
//! What must hold: a workload that fails on one server is told in the report and not tried there again; everything else goes on.

use std::collections::HashSet;
use std::io;
use std::rc::Rc;
use std::time::Duration;

use tokio::runtime::Runtime;

use super::load::{self, Pace, Plan, Sample, Shape, run_statement};
use super::report::Report;
use super::server::{Recipe, Server};
use super::workloads::{Scale, Setting, Shapes, Sizes, Tables, Workload};
use crate::chance;
use crate::raw::Connection;

/// What a server that was warm gets before it is measured with other tables.
const WARM_UP_AGAIN: Duration = Duration::from_secs(15);
/// How often memtables are written while latency at a fixed rate is measured.
const FLUSH_INTERVAL: Duration = Duration::from_secs(5);
/// As much of a failure as a report shows; a server's trace would fill it.
const FAILURE_CHARS_MAX: usize = 300;
/// A run at a fixed rate lasts so many samples: rare latencies need many operations.
const RATE_SAMPLES: u32 = 3;

/// How everything is measured.
pub struct Bench {
    pub recipes: Vec<Recipe>,
    pub sizes: Sizes,
    pub runs: usize,
    pub warm_up: Duration,
    pub sample: Duration,
    pub runtime: Runtime,
    /// Where progress goes.
    pub say: fn(&str),
}

/// Which rates are measured after the closed loops.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Rates {
    /// None.
    None,
    /// These, for every workload.
    These(Vec<u64>),
    /// A third of what the slowest server can do, for these workloads: one that all servers hold easily.
    ThirdOfSlowest(Vec<&'static str>),
}

/// A server, its tables' sizes, and what it has failed at.
struct Side {
    server: Server,
    scale: Rc<Scale>,
    failed: HashSet<&'static str>,
}

impl Bench {
    /// Measures these workloads at these shapes.
    pub fn measure_all(
        &self,
        workloads: &[&'static Workload],
        shapes: &[Shape],
        rates: &Rates,
        report: &mut Report,
    ) {
        for setting in [
            Setting::Ordinary,
            Setting::ManyStatements,
            Setting::SmallCache,
        ] {
            let chosen: Vec<&'static Workload> = workloads
                .iter()
                .copied()
                .filter(|workload| workload.setting == setting)
                .collect();
            if chosen.is_empty() {
                continue;
            }
            let mut sides = self.start(setting, report);
            let groups = groups(&chosen);
            for (place, group) in groups.iter().enumerate() {
                self.measure_group(&mut sides, group, shapes, rates, place == 0, report);
                // What the last ones leave behind ends with the servers: of a thousand tables to drop Cassandra makes a quarter of an hour.
                if place + 1 < groups.len() {
                    self.drop_tables_of(&sides, group[0].tables, report);
                }
            }
        }
    }

    fn start(&self, setting: Setting, report: &mut Report) -> Vec<Side> {
        let mut sides = Vec::new();
        for recipe in &self.recipes {
            (self.say)(&format!("{}: start", recipe.name));
            match recipe.with(setting).start() {
                Ok(server) => sides.push(Side {
                    server,
                    scale: self.scale(),
                    failed: HashSet::new(),
                }),
                Err(error) => report.failures.push(format!("{}: {error}", recipe.name)),
            }
        }
        sides
    }

    /// Sizes of a server's tables, as they are when they have been filled.
    pub fn scale(&self) -> Rc<Scale> {
        Rc::new(Scale::new(self.sizes))
    }

    /// Workloads that share their tables.
    fn measure_group(
        &self,
        sides: &mut [Side],
        group: &[&'static Workload],
        shapes: &[Shape],
        rates: &Rates,
        is_first: bool,
        report: &mut Report,
    ) {
        let tables = group[0].tables;
        for side in sides.iter_mut() {
            side.scale = self.scale();
            let known: Vec<&'static Workload> = known(&side.server, group);
            if known.is_empty() {
                continue;
            }
            let prepared = self
                .fill(&side.server, tables, &side.scale)
                .and_then(|()| self.warm_up(side, &known, shapes, is_first));
            if let Err(error) = prepared {
                side.failed
                    .extend(group.iter().map(|workload| workload.name));
                let what = format!("{}, {}: {error}", side.server.name(), tables.keyspace);
                self.complain(report, what);
            }
        }
        for run in 0..self.runs {
            self.each(
                sides,
                group,
                shapes,
                report,
                |report, side, workload, shape| {
                    let plan = self.plan(&side.server, shape, Pace::Closed, run);
                    self.measure_one(side, workload, plan, report)
                },
            );
        }
        for rate in self.rates_of(rates, group, shapes, report) {
            let (name, shape, rate) = rate;
            let group: Vec<&'static Workload> = group
                .iter()
                .copied()
                .filter(|workload| workload.name == name)
                .collect();
            for run in 0..self.runs {
                self.each(
                    sides,
                    &group,
                    &[shape],
                    report,
                    |report, side, workload, _| {
                        let plan = Plan {
                            sample: self.sample * RATE_SAMPLES,
                            ..self.plan(&side.server, shape, Pace::Rate(rate), run)
                        };
                        self.measure_flushing(side, workload, plan, report)
                    },
                );
            }
        }
    }

    fn drop_tables_of(&self, sides: &[Side], tables: &Tables, report: &mut Report) {
        for side in sides {
            // A server that failed may be gone; the next group finds out.
            if let Err(error) = self.drop_tables(&side.server, tables) {
                self.complain(report, format!("{}: {error}", side.server.name()));
            }
        }
    }

    /// Goes through workloads, shapes and servers; an error ends a workload on a server.
    fn each(
        &self,
        sides: &mut [Side],
        group: &[&'static Workload],
        shapes: &[Shape],
        report: &mut Report,
        mut measure: impl FnMut(&mut Report, &Side, &'static Workload, Shape) -> io::Result<()>,
    ) {
        for &workload in group {
            for shape in shapes_of(workload, shapes) {
                for side in sides.iter_mut() {
                    if !side.server.knows(workload) || side.failed.contains(workload.name) {
                        continue;
                    }
                    if let Err(error) = measure(report, side, workload, shape) {
                        side.failed.insert(workload.name);
                        let name = side.server.name();
                        self.complain(
                            report,
                            format!("{name}, {}, {shape}: {error}", workload.name),
                        );
                    }
                }
            }
        }
    }

    fn measure_one(
        &self,
        side: &Side,
        workload: &'static Workload,
        plan: Plan,
        report: &mut Report,
    ) -> io::Result<()> {
        let address = side.server.address;
        let run = load::measure(address, workload, &side.scale, plan);
        let sample = self.runtime.block_on(run)?;
        self.note(side, workload, plan, sample, report);
        Ok(())
    }

    /// Says what was measured, and keeps it.
    fn note(
        &self,
        side: &Side,
        workload: &'static Workload,
        plan: Plan,
        sample: Sample,
        report: &mut Report,
    ) {
        let server = side.server.name();
        self.tell(server, workload, plan, &sample);
        report.keep(server, workload.name, plan.shape, plan.pace, sample);
    }

    /// The same, while memtables are written again and again.
    fn measure_flushing(
        &self,
        side: &Side,
        workload: &'static Workload,
        plan: Plan,
        report: &mut Report,
    ) -> io::Result<()> {
        let keyspace = workload.tables.keyspace;
        let sample = self.runtime.block_on(async {
            side.server
                .flush_by_itself(keyspace, Some(FLUSH_INTERVAL))
                .await?;
            let flushes = async {
                loop {
                    tokio::time::sleep(FLUSH_INTERVAL).await;
                    if !side.server.orders_are_slow() {
                        side.server.flush(keyspace).await?;
                    }
                }
            };
            let run = load::measure(side.server.address, workload, &side.scale, plan);
            let sample = tokio::select! {
                sample = run => sample,
                failed = flushes => failed,
            };
            side.server.flush_by_itself(keyspace, None).await?;
            sample
        })?;
        self.note(side, workload, plan, sample, report);
        Ok(())
    }

    /// Makes and fills tables, and lets them settle if they should.
    pub fn fill(&self, server: &Server, tables: &Tables, scale: &Rc<Scale>) -> io::Result<()> {
        let rows = (tables.rows)(scale);
        (self.say)(&format!(
            "{}: {} with {rows} rows",
            server.name(),
            tables.keyspace
        ));
        self.runtime.block_on(async {
            load::fill(server.address, tables, scale).await?;
            if tables.settled {
                server.flush(tables.keyspace).await?;
                server.compact(tables.keyspace).await?;
            }
            Ok(())
        })
    }

    fn drop_tables(&self, server: &Server, tables: &Tables) -> io::Result<()> {
        self.runtime.block_on(async {
            let mut connection = Connection::open(server.address).await?;
            let statement = format!("DROP KEYSPACE IF EXISTS {}", tables.keyspace);
            run_statement(&mut connection, &statement).await.map(drop)
        })
    }

    /// Drives a server with everything that will be measured, for as long as it wants before anything counts.
    fn warm_up(
        &self,
        side: &Side,
        group: &[&'static Workload],
        shapes: &[Shape],
        is_first: bool,
    ) -> io::Result<()> {
        let server = &side.server;
        let whole = match is_first {
            true => server.warm_up(),
            false => server.warm_up().min(WARM_UP_AGAIN),
        };
        if whole.is_zero() {
            return Ok(());
        }
        (self.say)(&format!(
            "{}: {} s of warm-up",
            server.name(),
            whole.as_secs()
        ));
        let turns: Vec<_> = group
            .iter()
            .flat_map(|workload| {
                let shapes = shapes_of(workload, shapes);
                shapes.into_iter().map(move |shape| (*workload, shape))
            })
            .collect();
        let share = whole / u32::try_from(turns.len()).unwrap_or(u32::MAX).max(1);
        for (workload, shape) in turns {
            let plan = Plan {
                warm_up: Duration::ZERO,
                sample: share,
                ..self.plan(server, shape, Pace::Closed, usize::MAX)
            };
            let run = load::measure(server.address, workload, &side.scale, plan);
            self.runtime.block_on(run)?;
        }
        Ok(())
    }

    /// The plan of a run.
    pub fn plan(&self, server: &Server, shape: Shape, pace: Pace, run: usize) -> Plan {
        Plan {
            shape,
            pace,
            warm_up: self.warm_up,
            sample: self.sample,
            pid: server.pid(),
            seed: chance::mix(run as u64),
        }
    }

    fn rates_of(
        &self,
        rates: &Rates,
        group: &[&'static Workload],
        shapes: &[Shape],
        report: &Report,
    ) -> Vec<(&'static str, Shape, u64)> {
        let mut found = Vec::new();
        for workload in group {
            for shape in shapes_of(workload, shapes) {
                match rates {
                    Rates::None => {}
                    Rates::These(rates) => {
                        found.extend(rates.iter().map(|rate| (workload.name, shape, *rate)));
                    }
                    Rates::ThirdOfSlowest(names) if names.contains(&workload.name) => {
                        let of_all = report.series.iter().filter(|series| {
                            (series.workload, series.shape, series.pace)
                                == (workload.name, shape, Pace::Closed)
                        });
                        let slowest = of_all
                            .filter_map(|series| series.throughput())
                            .map(|throughput| throughput.median)
                            .fold(f64::INFINITY, f64::min);
                        if slowest.is_finite() {
                            found.push((workload.name, shape, (slowest / 3.0).max(1.0) as u64));
                        }
                    }
                    Rates::ThirdOfSlowest(_) => {}
                }
            }
        }
        found
    }

    /// Says what a run found.
    pub fn tell(&self, server: &str, workload: &Workload, plan: Plan, sample: &Sample) {
        let cpu = sample
            .cpu_micros()
            .map_or("?".to_owned(), |cpu| format!("{cpu:.2}"));
        (self.say)(&format!(
            "{} {}, {}, {server}: {cpu} µs, {:.0} ops/s, p99 {:.0} µs",
            workload.name,
            plan.shape,
            plan.pace,
            sample.throughput(),
            sample.latencies.at(0.99)
        ));
    }

    fn complain(&self, report: &mut Report, what: String) {
        (self.say)(&what);
        report
            .failures
            .push(what.chars().take(FAILURE_CHARS_MAX).collect());
    }
}

fn known(server: &Server, group: &[&'static Workload]) -> Vec<&'static Workload> {
    let group = group.iter().copied();
    group.filter(|workload| server.knows(workload)).collect()
}

fn shapes_of(workload: &Workload, asked: &[Shape]) -> Vec<Shape> {
    match workload.shapes {
        Shapes::Any => asked.to_vec(),
        Shapes::Only(shape) => vec![shape],
    }
}

/// Workloads that share tables, in the order of the first of them.
fn groups(workloads: &[&'static Workload]) -> Vec<Vec<&'static Workload>> {
    let mut groups: Vec<Vec<&'static Workload>> = Vec::new();
    for &workload in workloads {
        let known = groups
            .iter_mut()
            .find(|group| std::ptr::eq(group[0].tables, workload.tables));
        match known {
            Some(group) => group.push(workload),
            None => groups.push(vec![workload]),
        }
    }
    groups
}
