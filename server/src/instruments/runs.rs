//! What a connection has answered since its last write: like answers added up, so that a batch of them costs what one does.
//!
//! ```text
//! answer ─► add: the same as one of the last few? one more of it ── written ─► settle: one look at a clock, then each run once
//! ```
//!
//! What must hold: nothing is kept from one write of the socket to the next but the statements that came as text and are under way, of which there are
//! [`TEXTS_MAX`] at most.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Instruments;
use super::operation::Asked;
use super::passed::Passed;
use super::slow::Noticed;
use super::tables::Kind;
use crate::query::Prepared;
use crate::query::prepared::Statement;

/// Runs at the end of the list that an answer may belong to: reads and writes of two tables, say, in turns.
const NEAR: usize = 4;
/// Runs that keep their memory when they were settled.
const RUNS_KEPT: usize = 8;
/// Statements under way that came as text and could be shown if they turn out to be slow.
const TEXTS_MAX: usize = 16;

/// What is known of a request until it is answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Taken {
    pub asked: Asked,
    /// When the read came that brought its last byte.
    pub arrived: Instant,
    pub passed: Passed,
}

/// Like requests, with like answers.
#[derive(Debug, Clone, Copy)]
struct Run {
    taken: Taken,
    failed: bool,
    times: u32,
}

/// The answers of one connection that were not added to those of all.
#[derive(Debug, Default)]
pub struct Runs {
    runs: Vec<Run>,
    received_bytes: u64,
    sent_bytes: u64,
    texts: VecDeque<Arc<Statement>>,
}

impl Run {
    #[inline]
    fn is(&self, taken: &Taken, failed: bool) -> bool {
        self.failed == failed && self.taken == *taken
    }
}

impl Runs {
    /// A request is answered.
    #[inline]
    pub fn add(&mut self, taken: Taken, failed: bool) {
        match self.runs.last_mut() {
            Some(run) if run.is(&taken, failed) => run.times += 1,
            _ => self.add_apart(taken, failed),
        }
    }

    /// It is not like the one before it.
    #[inline(never)]
    fn add_apart(&mut self, taken: Taken, failed: bool) {
        let mut near = self.runs.iter_mut().rev().take(NEAR);
        match near.find(|run| run.is(&taken, failed)) {
            Some(run) => run.times += 1,
            None => self.runs.push(Run {
                taken,
                failed,
                times: 1,
            }),
        }
    }

    /// Bytes came.
    #[inline]
    pub fn received(&mut self, bytes: usize) {
        self.received_bytes += bytes as u64;
    }

    /// A statement that came as text is under way.
    pub fn keep(&mut self, statement: Arc<Statement>) {
        if self.texts.len() == TEXTS_MAX {
            self.texts.pop_front();
        }
        self.texts.push_back(statement);
    }

    /// Nothing is under way any more.
    pub fn forget_texts(&mut self) {
        if !self.texts.is_empty() {
            self.texts = VecDeque::new();
        }
    }

    /// Gives up the memory that it keeps between two writes of the socket: nothing was said for a while.
    pub fn give_up_buffers(&mut self) {
        if self.runs.is_empty() {
            self.runs = Vec::new();
        }
    }

    /// Bytes of answers were handed to the kernel: adds everything to what all connections have done.
    pub fn settle(&mut self, instruments: &Instruments, sent_bytes: usize, client: &Client<'_>) {
        let now = Instant::now();
        self.sent_bytes += sent_bytes as u64;
        instruments
            .requests
            .add_bytes(self.received_bytes, self.sent_bytes);
        (self.received_bytes, self.sent_bytes) = (0, 0);
        for run in &self.runs {
            self.add_run(instruments, run, now, client);
        }
        match self.runs.capacity() > RUNS_KEPT {
            true => self.runs = Vec::new(),
            false => self.runs.clear(),
        }
    }

    fn add_run(&self, instruments: &Instruments, run: &Run, now: Instant, client: &Client<'_>) {
        let Taken {
            asked,
            arrived,
            passed,
        } = run.taken;
        let took = now.saturating_duration_since(arrived);
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX);
        let times = u64::from(run.times);
        instruments
            .requests
            .add(asked.operation, run.failed, nanos, times);
        if let Some(kind) = Kind::of(asked.operation) {
            instruments
                .tables
                .add(asked.table, kind, nanos, passed, times);
        }
        if took >= instruments.slow.limit() {
            self.slow(instruments, run, took, client);
        }
    }

    #[cold]
    fn slow(&self, instruments: &Instruments, run: &Run, took: Duration, client: &Client<'_>) {
        let number = run.taken.asked.statement;
        let statement = || {
            let own = self.texts.iter();
            let own = { own }.find(|statement| statement.asked.statement == number);
            match own {
                Some(statement) => Some(statement.clone()),
                None => client.prepared.numbered(number),
            }
        };
        instruments.slow.notice(
            Noticed {
                operation: run.taken.asked.operation,
                table: instruments.tables.id(run.taken.asked.table),
                passed: run.taken.passed,
                failed: run.failed,
                times: run.times,
                took,
                who: client.who.clone(),
                client: client.peer,
            },
            statement,
        );
    }
}

/// Whose requests these are.
#[derive(Debug, Clone, Copy)]
pub struct Client<'a> {
    pub who: &'a Arc<str>,
    pub peer: std::net::SocketAddr,
    /// Where the statements are that it may have executed.
    pub prepared: &'a Prepared,
}

#[cfg(test)]
mod tests {
    use palladium_crypto::SeededEntropy;

    use super::*;
    use crate::instruments::Operation;

    fn taken(operation: Operation, arrived: Instant) -> Taken {
        Taken {
            asked: Asked {
                operation,
                table: 0,
                statement: 7,
            },
            arrived,
            passed: Passed::default(),
        }
    }

    fn settle(runs: &mut Runs, instruments: &Instruments, bytes: usize) {
        let client = Client {
            who: &"anonymous".into(),
            peer: ([127, 0, 0, 1], 7).into(),
            prepared: &Prepared::new(&SeededEntropy::new(1)),
        };
        runs.settle(instruments, bytes, &client);
    }

    #[test]
    fn reads_and_writes_in_turns_are_two_runs_and_all_are_counted() {
        let instruments = Instruments::new(Duration::ZERO, 0);
        let mut runs = Runs::default();
        let now = Instant::now();
        for _ in 0..100 {
            runs.add(taken(Operation::Read, now), false);
            runs.add(taken(Operation::Write, now), false);
        }
        runs.add(taken(Operation::Write, now), true);
        assert_eq!(runs.runs.len(), 3);
        runs.received(500);
        settle(&mut runs, &instruments, 900);
        let read = instruments.requests.counted(Operation::Read);
        let write = instruments.requests.counted(Operation::Write);
        assert_eq!((read.nanos.count(), read.failed), (100, 0));
        assert_eq!((write.nanos.count(), write.failed), (101, 1));
        assert_eq!(instruments.requests.bytes(), (500, 900));
        settle(&mut runs, &instruments, 0);
        assert_eq!(instruments.requests.bytes(), (500, 900));
        assert_eq!(
            instruments.requests.counted(Operation::Read).nanos.count(),
            100
        );
    }

    #[test]
    fn what_takes_longer_than_the_limit_is_noticed_and_what_does_not_is_not() {
        let instruments = Instruments::new(Duration::from_secs(60), 0);
        let mut runs = Runs::default();
        let Some(long_ago) = Instant::now().checked_sub(Duration::from_secs(61)) else {
            // A machine that was started within the last minute has no such moment.
            return;
        };
        runs.add(taken(Operation::Read, long_ago), false);
        runs.add(taken(Operation::Read, Instant::now()), false);
        settle(&mut runs, &instruments, 1);
        let slow = instruments.slow.newest();
        assert_eq!(slow.len(), 1);
        assert!(slow[0].noticed.took >= Duration::from_secs(61));
        assert_eq!(instruments.slow.count(), 1);
    }
}
