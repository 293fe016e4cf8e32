//! Drives one server with one workload, and says what it cost.
//!
//! ```text
//! connect, prepare │ warm-up │ sample │ ask for nothing more, drain
//!                            ^        ^ operations and CPU time are read at these two moments
//! ```
//!
//! All connections are tasks of one thread (`connection`). When an operation may begin is the pace's decision (`pace`): in a closed loop as soon as another
//! one has ended, at a fixed rate at a moment that was set in advance, and its latency counts from there. Filling a table is a run that ends with its rows.

mod connection;
mod pace;

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::str::FromStr;
use std::time::{Duration, Instant};

use bytes::Bytes;
use tokio::task::LocalSet;

use self::pace::Pacer;
use super::histogram::Latencies;
use super::process;
use super::request::Turn;
use super::workloads::{Scale, Tables, Workload};
use crate::chance::Chance;
use crate::raw::{Answer, Connection};

/// Connections x requests in flight on each.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub struct Shape {
    pub connections: usize,
    pub in_flight: usize,
}

impl FromStr for Shape {
    type Err = String;

    fn from_str(text: &str) -> Result<Shape, String> {
        let parse = |part: &str, max: usize| {
            part.parse()
                .ok()
                .filter(|number| (1..=max).contains(number))
        };
        let shape = text.split_once('x').and_then(|(connections, in_flight)| {
            Some(Shape {
                connections: parse(connections, 20_000)?,
                in_flight: parse(in_flight, 32_000)?,
            })
        });
        shape.ok_or_else(|| {
            format!(
                "{text} is no shape; 32x64 means 32 connections with 64 requests in flight on each"
            )
        })
    }
}

impl fmt::Display for Shape {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}x{}", self.connections, self.in_flight)
    }
}

/// When the next operation begins.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Pace {
    /// When another one has ended: what the server can do.
    Closed,
    /// So many in a second, whatever the server does: what its users feel.
    Rate(u64),
}

impl fmt::Display for Pace {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Pace::Closed => write!(formatter, "closed loop"),
            Pace::Rate(rate) => write!(formatter, "{rate} ops/s"),
        }
    }
}

/// How a run goes, and whose CPU time counts.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub shape: Shape,
    pub pace: Pace,
    pub warm_up: Duration,
    pub sample: Duration,
    pub pid: Option<u32>,
    pub seed: u64,
}

/// What one run of one workload found.
#[derive(Clone, Debug)]
pub struct Sample {
    pub operations: u64,
    pub elapsed: Duration,
    /// Nothing if the server's process is not known; the same for its memory, at the end of the sample.
    pub cpu: Option<Duration>,
    pub resident_bytes: Option<u64>,
    pub latencies: Latencies,
}

impl Sample {
    /// Server CPU for each operation.
    pub fn cpu_micros(&self) -> Option<f64> {
        self.cpu
            .map(|cpu| cpu.as_secs_f64() * 1e6 / self.operations.max(1) as f64)
    }

    /// Operations in a second.
    pub fn throughput(&self) -> f64 {
        self.operations as f64 / self.elapsed.as_secs_f64()
    }
}

/// Connections and requests under way while a table is filled.
const FILL_SHAPE: Shape = Shape {
    connections: 16,
    in_flight: 32,
};

/// A statement that must be accepted.
pub async fn run_statement(connection: &mut Connection, statement: &str) -> io::Result<Answer> {
    match connection.query(statement).await? {
        Answer::Refused { code, message } => Err(io::Error::other(format!(
            "{statement}: refused with {code:#06x}: {message}"
        ))),
        answer => Ok(answer),
    }
}

/// Makes the tables and writes every row once.
pub async fn fill(address: SocketAddr, tables: &Tables, scale: &Rc<Scale>) -> io::Result<()> {
    let mut connection = Connection::open(address).await?;
    for statement in (tables.schema)(scale) {
        run_statement(&mut connection, &statement).await?;
    }
    let rows = (tables.rows)(scale);
    write_rows(address, tables, scale, 0, rows).await.map(drop)
}

/// Writes the rows of these numbers; gives how often the server said that it had too much to do, and was asked again a moment later.
pub async fn write_rows(
    address: SocketAddr,
    tables: &Tables,
    scale: &Rc<Scale>,
    first: u64,
    end: u64,
) -> io::Result<u64> {
    let mut next = first;
    let numbers = move || {
        let number = next;
        next += 1;
        (number < end).then_some(number)
    };
    let shape = Shape {
        in_flight: FILL_SHAPE.in_flight.min(tables.in_flight_max),
        ..FILL_SHAPE
    };
    let pacer = Pacer::closed(Box::new(numbers));
    let state = State::new(scale, tables.put, pacer, 0, true);
    let statements = (tables.fill)(scale);
    run(address, shape, &statements, Rc::clone(&state), async {}).await?;
    Ok(state.refused.get())
}

/// One run.
pub async fn measure(
    address: SocketAddr,
    workload: &Workload,
    scale: &Rc<Scale>,
    plan: Plan,
) -> io::Result<Sample> {
    let mut chance = Chance::new(plan.seed);
    let numbers = Box::new(move || Some(chance.number()));
    let pacer = match plan.pace {
        Pace::Closed => Pacer::closed(numbers),
        Pace::Rate(rate) => Pacer::fixed(numbers, rate, plan.shape.connections),
    };
    let state = State::new(scale, workload.ask, pacer, plan.seed, false);
    let found = Rc::new(RefCell::new(None));
    let clock = watch(Rc::clone(&state), plan, Rc::clone(&found));
    let statements = (workload.statements)(scale);
    run(address, plan.shape, &statements, Rc::clone(&state), clock).await?;
    let sample = found.borrow_mut().take().unwrap_or_else(|| {
        Err(io::Error::other(
            "the connections ended before the sample did",
        ))
    });
    // What was due in the sample and answered after it belongs to it: leaving it out is the omission.
    sample.map(|sample| match plan.pace {
        Pace::Closed => sample,
        Pace::Rate(_) => Sample {
            latencies: state.latencies.borrow().clone(),
            ..sample
        },
    })
}

type Found = Rc<RefCell<Option<io::Result<Sample>>>>;

/// Looks at the clocks at the sample's two ends.
async fn watch(state: Rc<State>, plan: Plan, found: Found) {
    tokio::time::sleep(plan.warm_up).await;
    state.latencies.borrow_mut().clear();
    let (cpu, operations) = (cpu_time(plan.pid), state.done.get());
    let started = Instant::now();
    state.since.set(started);
    tokio::time::sleep(plan.sample).await;
    let (cpu_end, elapsed) = (cpu_time(plan.pid), started.elapsed());
    let spent = cpu.and_then(|cpu| Ok(cpu.zip(cpu_end?).map(|(begin, end)| end - begin)));
    *found.borrow_mut() = Some(spent.map(|cpu| Sample {
        operations: state.done.get() - operations,
        elapsed,
        cpu,
        resident_bytes: plan.pid.and_then(|pid| process::resident_bytes(pid).ok()),
        latencies: state.latencies.borrow().clone(),
    }));
    state.pacer.stop();
}

fn cpu_time(pid: Option<u32>) -> io::Result<Option<Duration>> {
    pid.map(process::cpu_time).transpose()
}

/// What all connections share; they are on one thread.
struct State {
    scale: Rc<Scale>,
    ask: fn(&mut Turn<'_>),
    /// The statements' ids, once they are prepared. One connection prepares for all: an id means the same on each.
    ids: RefCell<Rc<[Bytes]>>,
    pacer: Pacer,
    chance: RefCell<Chance>,
    done: Cell<u64>,
    /// Operations that began before do not count.
    since: Cell<Instant>,
    latencies: RefCell<Latencies>,
    /// A refusal because of too much to do is no failure.
    is_patient: bool,
    refused: Cell<u64>,
}

impl State {
    fn new(
        scale: &Rc<Scale>,
        ask: fn(&mut Turn<'_>),
        pacer: Pacer,
        seed: u64,
        is_patient: bool,
    ) -> Rc<State> {
        Rc::new(State {
            scale: Rc::clone(scale),
            ask,
            ids: RefCell::new(Rc::from([])),
            pacer,
            chance: RefCell::new(Chance::new(seed ^ 0x5eed)),
            done: Cell::new(0),
            since: Cell::new(Instant::now()),
            latencies: RefCell::default(),
            is_patient,
            refused: Cell::new(0),
        })
    }
}

async fn run(
    address: SocketAddr,
    shape: Shape,
    statements: &[String],
    state: Rc<State>,
    clock: impl Future<Output = ()> + 'static,
) -> io::Result<()> {
    let tasks = LocalSet::new();
    tasks
        .run_until(async {
            let mut sockets = Vec::new();
            for index in 0..shape.connections {
                let mut connection = Connection::open(address).await?;
                if index == 0 {
                    let mut ids = Vec::new();
                    for statement in statements {
                        ids.push(connection.prepare(statement).await?);
                    }
                    *state.ids.borrow_mut() = ids.into();
                }
                sockets.push(connection.into_socket());
            }
            let clock = tokio::task::spawn_local(clock);
            let pacing = {
                let state = Rc::clone(&state);
                tokio::task::spawn_local(async move { state.pacer.run().await })
            };
            let running: Vec<_> = sockets
                .into_iter()
                .enumerate()
                .map(|(index, socket)| {
                    let state = Rc::clone(&state);
                    tokio::task::spawn_local(connection::keep_asking(
                        socket,
                        index,
                        shape.in_flight,
                        state,
                    ))
                })
                .collect();
            for connection in running {
                connection.await.map_err(io::Error::other)??;
            }
            pacing.abort();
            clock.await.map_err(io::Error::other)
        })
        .await
}
