//! Conditional writes of many clients at once, with kills in the middle: what they saw could have happened one request after the other.
//!
//! A partition of a few rows is one register. Each client asks one thing at a time: INSERT IF NOT EXISTS, UPDATE and DELETE under IF, a batch whose conditions are about two rows,
//! reads of a row and of all of them at SERIAL. It guesses from what it saw last, so that some guesses are right. Every value is written by one request only. A request whose
//! connection broke, which was told of a timeout, or whose client would not wait, may have happened once before its server died, or never.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::time::Duration;

use palladium_integration_tests::chance::{Chance, long};
use palladium_integration_tests::linearizable::{Call, End, check};
use palladium_integration_tests::node::{Node, Settings};
use palladium_integration_tests::raw::{Answer, CONSISTENCY_SERIAL, Connection, Rows, code};

use crate::rows::{bigint, make_keyspace};
use crate::runtimes::two_threads;

const CLIENTS: usize = 24;
const PARTITIONS: usize = 4;
const ROWS: usize = 3;
const WRITE_TIMEOUT: i32 = 0x1100;
const CONSISTENCY_QUORUM: u16 = 0x0004;
/// One request of so many is not waited for.
const IMPATIENCE: usize = 150;
/// How long a client that does not wait waits.
const PATIENCE: Duration = Duration::from_micros(300);
/// Between two attempts to reach a server that is being started.
const PAUSE: Duration = Duration::from_millis(5);

/// The values of a partition's rows; a row without one is not there.
type Partition = [Option<i64>; ROWS];

#[derive(Debug, Clone)]
enum Input {
    Insert(usize, i64),
    /// Row, the value it must have (none: it must not be there), and the new one.
    Update(usize, Option<i64>, i64),
    Delete(usize, i64),
    DeleteIfExists(usize),
    /// Two updates that are done both or not at all.
    Both([(usize, Option<i64>, i64); 2]),
    ReadOne(usize),
    ReadAll,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Output {
    Applied,
    /// What stood against it, as far as it is shown.
    Refused(Vec<i64>),
    Rows(Vec<(usize, i64)>),
}

/// One request as a partition would answer it to which nothing happens at the same time.
fn apply(before: &Partition, input: &Input) -> (Partition, Output) {
    let mut after = *before;
    let refused = |rows: &[usize]| {
        let shown = rows.iter().filter_map(|row| before[*row]);
        (*before, Output::Refused(shown.collect()))
    };
    match input {
        Input::Insert(row, _) if before[*row].is_some() => return refused(&[*row]),
        Input::Update(row, from, _) if before[*row] != *from => return refused(&[*row]),
        Input::Delete(row, from) if before[*row] != Some(*from) => return refused(&[*row]),
        Input::DeleteIfExists(row) if before[*row].is_none() => return refused(&[*row]),
        Input::Both(updates) if updates.iter().any(|(row, from, _)| before[*row] != *from) => {
            let mut rows = updates.map(|(row, _, _)| row);
            rows.sort_unstable();
            return refused(&rows);
        }
        Input::Insert(row, to) | Input::Update(row, _, to) => after[*row] = Some(*to),
        Input::Delete(row, _) | Input::DeleteIfExists(row) => after[*row] = None,
        Input::Both(updates) => updates
            .iter()
            .for_each(|(row, _, to)| after[*row] = Some(*to)),
        Input::ReadOne(_) | Input::ReadAll => {
            let wanted = |row: &usize| {
                matches!(input, Input::ReadAll)
                    || matches!(input, Input::ReadOne(one) if one == row)
            };
            let rows = (0..ROWS)
                .filter(wanted)
                .filter_map(|row| Some((row, before[row]?)));
            return (*before, Output::Rows(rows.collect()));
        }
    }
    (after, Output::Applied)
}

fn update(partition: usize, (row, from, to): (usize, Option<i64>, i64)) -> String {
    let from = from.map_or("null".into(), |value| value.to_string());
    format!("UPDATE ks.r SET v = {to} WHERE p = {partition} AND c = {row} IF v = {from}")
}

fn statement(partition: usize, input: &Input) -> String {
    let place = |row: &usize| format!("p = {partition} AND c = {row}");
    match input {
        Input::Insert(row, to) => {
            format!("INSERT INTO ks.r (p, c, v) VALUES ({partition}, {row}, {to}) IF NOT EXISTS")
        }
        Input::Update(row, from, to) => update(partition, (*row, *from, *to)),
        Input::Delete(row, from) => format!("DELETE FROM ks.r WHERE {} IF v = {from}", place(row)),
        Input::DeleteIfExists(row) => format!("DELETE FROM ks.r WHERE {} IF EXISTS", place(row)),
        Input::Both(updates) => {
            let [first, second] = updates.map(|one| update(partition, one));
            format!("BEGIN BATCH {first}; {second}; APPLY BATCH")
        }
        Input::ReadOne(row) => format!("SELECT c, v FROM ks.r WHERE {}", place(row)),
        Input::ReadAll => format!("SELECT c, v FROM ks.r WHERE p = {partition}"),
    }
}

fn output(rows: Rows) -> Output {
    let column = |name: &str| rows.columns.iter().position(|column| column == name);
    let values = |index: usize| rows.rows.iter().filter_map(move |row| row[index].as_ref());
    let Some(applied) = column("[applied]") else {
        let rows = rows.rows.iter();
        let row = |row: &Vec<Option<bytes::Bytes>>| {
            let clustering = crate::rows::int(&row[0]);
            (clustering as usize, bigint(&row[1]))
        };
        return Output::Rows(rows.map(row).collect());
    };
    if values(applied).all(|applied| applied[..] == [1]) {
        return Output::Applied;
    }
    let shown = column("v").map(|index| values(index).map(|value| bigint(&Some(value.clone()))));
    Output::Refused(shown.into_iter().flatten().collect())
}

/// A request, and the partition it went to. One whose server died has no end yet.
type Recorded = (usize, Call<Input, Output>);

/// What all clients share.
struct Shared {
    address: SocketAddr,
    /// Counts events: what comes before what.
    moments: AtomicU64,
    /// Values that were ever written.
    values: AtomicI64,
    is_over: AtomicBool,
}

impl Shared {
    fn moment(&self) -> u64 {
        self.moments.fetch_add(1, Ordering::SeqCst)
    }
}

/// What a client remembers of where it has been.
struct Client {
    shared: Arc<Shared>,
    chance: Chance,
    seen: HashMap<(usize, usize), Option<i64>>,
    recorded: Vec<Recorded>,
}

impl Client {
    fn value(&self) -> i64 {
        self.shared.values.fetch_add(1, Ordering::SeqCst)
    }

    /// What a row was last seen with; now and then something else.
    fn guess(&mut self, partition: usize, row: usize) -> Option<i64> {
        let seen = self.seen.get(&(partition, row)).copied().flatten();
        match self.chance.below(8) {
            0 => None,
            _ => seen,
        }
    }

    fn choose(&mut self, partition: usize) -> Input {
        let row = self.chance.below(ROWS);
        let guessed = self.guess(partition, row);
        match self.chance.below(16) {
            0..3 => Input::Insert(row, self.value()),
            3..8 => Input::Update(row, guessed, self.value()),
            8 => Input::Delete(row, guessed.unwrap_or(0)),
            9 => Input::DeleteIfExists(row),
            10 | 11 => {
                let other = (row + 1 + self.chance.below(ROWS - 1)) % ROWS;
                let guess = self.guess(partition, other);
                Input::Both([(row, guessed, self.value()), (other, guess, self.value())])
            }
            12..15 => Input::ReadOne(row),
            _ => Input::ReadAll,
        }
    }

    fn learn(&mut self, partition: usize, input: &Input, output: &Output) {
        let mut see = |row: usize, value: Option<i64>| {
            self.seen.insert((partition, row), value);
        };
        match (input, output) {
            (Input::ReadAll, Output::Rows(rows)) => {
                (0..ROWS).for_each(|row| see(row, None));
                rows.iter().for_each(|(row, value)| see(*row, Some(*value)));
            }
            (Input::ReadOne(row), Output::Rows(rows)) => see(*row, rows.first().map(|row| row.1)),
            (Input::Insert(row, to) | Input::Update(row, _, to), Output::Applied) => {
                see(*row, Some(*to))
            }
            (
                Input::Insert(row, _) | Input::Update(row, ..) | Input::Delete(row, _),
                Output::Refused(shown),
            ) => see(*row, shown.first().copied()),
            (Input::Delete(row, _) | Input::DeleteIfExists(row), _) => see(*row, None),
            (Input::Both(updates), Output::Applied) => {
                updates.iter().for_each(|(row, _, to)| see(*row, Some(*to)))
            }
            _ => {}
        }
    }

    /// Asks until it is over or the server has gone.
    async fn ask_on(mut self) -> Vec<Recorded> {
        while !self.shared.is_over.load(Ordering::SeqCst) {
            let Ok(connection) = Connection::open(self.shared.address).await else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            self.ask_through(connection).await;
        }
        self.recorded
    }

    /// Asks through one connection, as long as it holds.
    async fn ask_through(&mut self, mut connection: Connection) {
        while !self.shared.is_over.load(Ordering::SeqCst) {
            let partition = self.chance.below(PARTITIONS);
            let input = self.choose(partition);
            let text = statement(partition, &input);
            let level = match input {
                Input::ReadOne(_) | Input::ReadAll => CONSISTENCY_SERIAL,
                _ => CONSISTENCY_QUORUM,
            };
            let sent = self.shared.moment();
            let asking = connection.query_at(&text, level);
            let answer = match self.chance.below(IMPATIENCE) {
                0 => tokio::time::timeout(PATIENCE, asking).await.ok(),
                _ => Some(asking.await),
            };
            let at = self.shared.moment();
            match answer {
                Some(Ok(Answer::Rows(rows))) => {
                    let output = output(rows);
                    self.learn(partition, &input, &output);
                    let end = End::Answered { at, output };
                    self.recorded.push((partition, Call { input, sent, end }));
                }
                // Refused before anything of it was written.
                Some(Ok(Answer::Refused {
                    code: code::OVERLOADED,
                    ..
                })) => {}
                None
                | Some(Err(_))
                | Some(Ok(Answer::Refused {
                    code: WRITE_TIMEOUT,
                    ..
                })) => {
                    let end = End::Unknown { until: u64::MAX };
                    self.recorded.push((partition, Call { input, sent, end }));
                    return;
                }
                Some(Ok(other)) => panic!("{text}: {other:?}"),
            }
        }
    }
}

/// All clients from a server's start to its end.
fn clients(
    runtime: &tokio::runtime::Runtime,
    shared: &Arc<Shared>,
    chance: &mut Chance,
) -> Vec<tokio::task::JoinHandle<Vec<Recorded>>> {
    shared.is_over.store(false, Ordering::SeqCst);
    let client = |chance: Chance| Client {
        shared: shared.clone(),
        chance,
        seen: HashMap::new(),
        recorded: Vec::new(),
    };
    (0..CLIENTS)
        .map(|_| runtime.spawn(client(Chance::new(chance.number())).ask_on()))
        .collect()
}

fn judge(partition: usize, calls: &[Call<Input, Output>]) -> Result<(), String> {
    let is_idle = |output: &Output| *output != Output::Applied;
    check([None; ROWS], calls, apply, is_idle).map_err(|impossible| {
        let from = impossible.call.saturating_sub(20);
        let before: String = (from..impossible.call)
            .map(|index| format!("  {index}: {:?}\n", calls[index]))
            .collect();
        format!("partition {partition}: {impossible}the calls answered before it:\n{before}")
    })
}

#[test]
fn what_conditional_writes_decide_could_have_been_decided_one_after_the_other() {
    let mut chance = Chance::for_test(
        "what_conditional_writes_decide_could_have_been_decided_one_after_the_other",
    );
    let lives = if long() { 60 } else { 4 };
    // Small, so that flushes, merges and new log segments come while the clients are at work.
    let settings = Settings {
        config: "memtable_flush_bytes = 65536\nlog_segment_bytes = 1048576\n".into(),
        ..Settings::default()
    };
    let mut node = Node::start_with(settings);
    let runtime = two_threads();
    runtime.block_on(async {
        let mut connection = node.connect().await;
        make_keyspace(&mut connection, "ks").await;
        connection
            .run("CREATE TABLE ks.r (p int, c int, v bigint, PRIMARY KEY (p, c))")
            .await;
    });
    let shared = Arc::new(Shared {
        address: node.address(),
        moments: AtomicU64::new(1),
        values: AtomicI64::new(1),
        is_over: AtomicBool::new(false),
    });
    let mut histories: Vec<Vec<Call<Input, Output>>> = vec![Vec::new(); PARTITIONS];
    for life in 0..lives {
        let tasks = clients(&runtime, &shared, &mut chance);
        std::thread::sleep(Duration::from_millis(200 + chance.below(400) as u64));
        match chance.below(3) {
            0 => node.flush(),
            1 => node.compact(),
            _ => {}
        }
        match life % 4 {
            3 => node.stop(),
            _ => node.kill(),
        }
        shared.is_over.store(true, Ordering::SeqCst);
        let mut recorded = Vec::new();
        for task in tasks {
            recorded.extend(runtime.block_on(task).expect("a client ends when told to"));
        }
        // Nothing that this server was asked happens any more.
        let dead = shared.moment();
        for (partition, mut call) in recorded {
            if let End::Unknown { until } = &mut call.end {
                *until = dead;
            }
            histories[partition].push(call);
        }
        node.restart();
    }
    let [mut applied, mut refused, mut unknown] = [0; 3];
    for (partition, calls) in histories.iter_mut().enumerate() {
        calls.sort_by_key(|call| call.sent);
        for call in &*calls {
            match &call.end {
                End::Answered {
                    output: Output::Applied,
                    ..
                } => applied += 1,
                End::Answered {
                    output: Output::Refused(_),
                    ..
                } => refused += 1,
                End::Answered { .. } => {}
                End::Unknown { .. } => unknown += 1,
            }
        }
        judge(partition, calls).unwrap_or_else(|what| panic!("{what}"));
    }
    let all: usize = histories.iter().map(Vec::len).sum();
    println!("{all} requests: {applied} applied, {refused} refused, {unknown} of unknown outcome");
    assert!(
        applied > 100 && refused > 100 && unknown > 0,
        "nothing was contended for"
    );
    // What the judge is worth: one answer in the middle, made up, is found.
    let calls = &mut histories[0];
    let read = calls.iter().skip(calls.len() / 2).position(|call| {
        matches!(&call.end, End::Answered { output: Output::Rows(rows), .. } if !rows.is_empty())
    });
    let read = calls.len() / 2 + read.expect("somebody read something");
    if let End::Answered {
        output: Output::Rows(rows),
        ..
    } = &mut calls[read].end
    {
        rows[0].1 = 0;
    }
    assert!(
        judge(0, calls).is_err(),
        "a value that nobody wrote was not found"
    );
}
