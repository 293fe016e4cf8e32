//! Drives one server with one workload at one shape, and says what it cost.
//!
//! All connections are tasks of one thread. Each keeps its requests in flight: reads all that has arrived, answers every answer with a new request, and
//! sends these in one write, as drivers with many users do. Answers are looked at no further than it takes to know that they are no errors.
//!
//! ```text
//! connect, prepare │ warm-up │ sample │ stop sending, drain
//!                            ^        ^ operations and CPU time are read at these two moments
//! ```

use std::cell::{Cell, RefCell};
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::str::FromStr;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use hdrhistogram::Histogram;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::LocalSet;

use super::cpu;
use super::workload::{Expected, SCHEMA, WRITE, Workload};
use crate::chance::Chance;
use crate::raw::{Connection, Frame, decode, opcode, put_frame, take_frame};

const READ_BUFFER_BYTES: usize = 256 << 10;
/// Latencies are kept with three digits, up to a minute.
const LATENCY_MICROS_MAX: u64 = 60_000_000;

/// Connections x requests in flight on each.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
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

/// Which rows are asked for, how long, and whose CPU time counts.
#[derive(Clone, Copy)]
pub struct Plan {
    pub rows: u64,
    pub warm_up: Duration,
    pub sample: Duration,
    pub pid: Option<u32>,
    pub seed: u64,
}

/// What one run of one workload at one shape found.
#[derive(Clone, Debug)]
pub struct Sample {
    pub operations: u64,
    pub elapsed: Duration,
    /// Nothing if the server's process is not known.
    pub cpu: Option<Duration>,
    pub latency_micros: Histogram<u64>,
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

/// Makes the table and writes every row once.
pub async fn load(address: SocketAddr, rows: u64) -> io::Result<()> {
    let mut connection = Connection::open(address).await?;
    for statement in SCHEMA {
        connection.run(statement).await;
    }
    let next = Rc::new(Cell::new(0_u64));
    let (rows_left, shape) = (
        Rc::clone(&next),
        Shape {
            connections: 32,
            in_flight: 64,
        },
    );
    let source = move || {
        let row = rows_left.get();
        rows_left.set(row + 1);
        (row < rows).then_some(row)
    };
    let state = State::new(&WRITE, Box::new(source));
    run_connections(address, shape, Rc::clone(&state), async {}).await
}

/// One run.
pub async fn measure(
    address: SocketAddr,
    workload: &'static Workload,
    shape: Shape,
    plan: Plan,
) -> io::Result<Sample> {
    let stopped = Rc::new(Cell::new(false));
    let (stop, mut chance) = (Rc::clone(&stopped), Chance::new(plan.seed));
    let state = State::new(
        workload,
        Box::new(move || (!stop.get()).then(|| chance.number() % plan.rows)),
    );
    let sample = Rc::new(RefCell::new(None));
    let (outcome, watched) = (Rc::clone(&sample), Rc::clone(&state));
    let cpu_time = move || plan.pid.map(cpu::of_process).transpose();
    let clock = async move {
        tokio::time::sleep(plan.warm_up).await;
        watched.latency.borrow_mut().reset();
        let (cpu, operations, started) = (cpu_time(), watched.done.get(), Instant::now());
        tokio::time::sleep(plan.sample).await;
        let (cpu_end, elapsed) = (cpu_time(), started.elapsed());
        let spent = cpu.and_then(|cpu| Ok(cpu.zip(cpu_end?).map(|(begin, end)| end - begin)));
        let latency_micros = watched.latency.borrow().clone();
        let operations = watched.done.get() - operations;
        *outcome.borrow_mut() = Some(spent.map(|cpu| Sample {
            operations,
            elapsed,
            cpu,
            latency_micros,
        }));
        stopped.set(true);
    };
    run_connections(address, shape, state, clock).await?;
    sample.borrow_mut().take().unwrap_or_else(|| {
        Err(io::Error::other(
            "the connections ended before the sample did",
        ))
    })
}

/// What all connections share; they are on one thread.
struct State {
    workload: &'static Workload,
    /// The next row to ask for, or the end.
    next_row: RefCell<Box<dyn FnMut() -> Option<u64>>>,
    done: Cell<u64>,
    latency: RefCell<Histogram<u64>>,
}

impl State {
    fn new(workload: &'static Workload, next_row: Box<dyn FnMut() -> Option<u64>>) -> Rc<State> {
        let latency = Histogram::new_with_bounds(1, LATENCY_MICROS_MAX, 3)
            .expect("bounds and digits of a histogram");
        Rc::new(State {
            workload,
            next_row: RefCell::new(next_row),
            done: Cell::new(0),
            latency: RefCell::new(latency),
        })
    }
}

async fn run_connections(
    address: SocketAddr,
    shape: Shape,
    state: Rc<State>,
    clock: impl Future<Output = ()> + 'static,
) -> io::Result<()> {
    let tasks = LocalSet::new();
    tasks
        .run_until(async {
            let mut connections = Vec::new();
            for _ in 0..shape.connections {
                let mut connection = Connection::open(address).await?;
                let statement = connection.prepare(state.workload.statement).await?;
                connections.push((connection.into_socket(), statement));
            }
            let clock = tokio::task::spawn_local(clock);
            let running: Vec<_> = connections
                .into_iter()
                .map(|(socket, statement)| {
                    tokio::task::spawn_local(keep_in_flight(
                        socket,
                        statement,
                        shape.in_flight,
                        Rc::clone(&state),
                    ))
                })
                .collect();
            for connection in running {
                connection.await.map_err(io::Error::other)??;
            }
            clock.await.map_err(io::Error::other)
        })
        .await
}

async fn keep_in_flight(
    mut socket: TcpStream,
    statement: Bytes,
    in_flight: usize,
    state: Rc<State>,
) -> io::Result<()> {
    let mut input = BytesMut::with_capacity(READ_BUFFER_BYTES);
    let mut output = BytesMut::with_capacity(READ_BUFFER_BYTES);
    let mut sent_at = vec![Instant::now(); in_flight];
    let mut waiting = 0;
    for stream in 0..in_flight {
        waiting += usize::from(put_request(&mut output, stream as i16, &statement, &state));
    }
    loop {
        if !output.is_empty() {
            socket.write_all(&output).await?;
            output.clear();
        }
        if waiting == 0 {
            return Ok(());
        }
        input.reserve(READ_BUFFER_BYTES / 2);
        if socket.read_buf(&mut input).await? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        waiting -= answer_arrived(&mut input, &mut output, &mut sent_at, &statement, &state)?;
    }
}

/// Takes every answer that has arrived and puts a new request in its place; gives the number of those that had none.
fn answer_arrived(
    input: &mut BytesMut,
    output: &mut BytesMut,
    sent_at: &mut [Instant],
    statement: &[u8],
    state: &State,
) -> io::Result<usize> {
    let (now, mut ended) = (Instant::now(), 0);
    let mut latency = state.latency.borrow_mut();
    while let Some(frame) = take_frame(input)? {
        check(&frame, state.workload.answer)?;
        let sent = usize::try_from(frame.stream)
            .ok()
            .and_then(|stream| sent_at.get_mut(stream));
        let sent = sent.ok_or_else(|| io::Error::other("an answer to no request"))?;
        latency.saturating_record((now - *sent).as_micros() as u64);
        *sent = now;
        state.done.set(state.done.get() + 1);
        ended += usize::from(!put_request(output, frame.stream, statement, state));
    }
    Ok(ended)
}

/// Puts the next request in line; false if there is none.
fn put_request(output: &mut BytesMut, stream: i16, statement: &[u8], state: &State) -> bool {
    let row = (state.next_row.borrow_mut())();
    let Some(row) = row else { return false };
    put_frame(output, stream, opcode::EXECUTE, |body| {
        body.put_u16(statement.len() as u16);
        body.put_slice(statement);
        // Consistency ONE; values follow, no metadata wanted.
        body.put_u16(1);
        body.put_u8(0x03);
        (state.workload.bind)(body, row);
    });
    true
}

fn check(frame: &Frame, expected: Expected) -> io::Result<()> {
    let good = frame.opcode == opcode::RESULT
        && match expected {
            Expected::Void => frame.body.ends_with(&[0, 0, 0, 1]),
            Expected::Rows { bytes_min } => frame.body.len() >= bytes_min,
        };
    if good {
        return Ok(());
    }
    let answer = decode(frame)?;
    Err(io::Error::other(format!(
        "a request was answered with {answer:?}"
    )))
}
