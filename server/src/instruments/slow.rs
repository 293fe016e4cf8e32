//! Requests that took longer than the setting `slow_query_timeout_ms`: a line of the log for each, and the newest of them in memory, with their statements.
//!
//! A line of the log names the table by its id, as every line does, and nothing of the statement: its id is the hash of its text, by which whoever reads the log could try
//! literals and passwords. The statement itself, without its literals (`cql::redacted`), names tables and columns, so it is shown by `system_palladium.slow_queries`
//! alone, from memory, to those who may see the table.
//!
//! What must hold: at most [`PER_SECOND`] are told and kept in a second, however slow the server is, so that a flood costs nothing more and leaves what came
//! before it; what is left out is counted and said. At most [`KEPT_MAX`] are kept, each with at most [`TEXT_BYTES_MAX`] of text.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use palladium_crypto::TableId;
use palladium_protocol::cql;

use super::operation::Operation;
use super::passed::Passed;
use crate::query::prepared::Statement;
use crate::traces;

/// Requests that are told and kept in a second.
pub const PER_SECOND: u32 = 10;
/// Requests that are kept; the oldest goes.
pub const KEPT_MAX: usize = 256;
/// Bytes of a statement's text as it is shown.
const TEXT_BYTES_MAX: usize = traces::TEXT_BYTES_MAX;
/// Bytes of a text that is worth reading again: a longer one is not shown at all.
const READ_BYTES_MAX: usize = 64 << 10;

/// What is known of a slow run of requests.
#[derive(Debug, Clone)]
pub struct Noticed {
    pub operation: Operation,
    /// None: of no table.
    pub table: Option<TableId>,
    /// What it read past.
    pub passed: Passed,
    pub failed: bool,
    /// Like requests that arrived and were answered together with it, itself among them.
    pub times: u32,
    pub took: Duration,
    pub who: Arc<str>,
    pub client: SocketAddr,
}

/// One that is kept.
#[derive(Debug, Clone)]
pub struct SlowRequest {
    /// From 1 on, since the start.
    pub number: u64,
    /// Milliseconds of wall time when it was answered.
    pub answered_at: i64,
    pub noticed: Noticed,
    /// Its statement without its literals, if that is known.
    pub query: Option<String>,
}

/// The slow requests.
#[derive(Debug)]
pub struct Slow {
    limit: Duration,
    count: AtomicU64,
    kept: Mutex<Kept>,
}

#[derive(Debug, Default)]
struct Kept {
    requests: VecDeque<SlowRequest>,
    numbers: u64,
    /// The second in which lines are counted, since when, and how many were written and left out in it.
    second: Option<Instant>,
    written: u32,
    left_out: u64,
}

impl Slow {
    /// With the bound from which on a request is slow; zero: none is.
    pub(super) fn new(limit: Duration) -> Self {
        Slow {
            limit: match limit {
                Duration::ZERO => Duration::MAX,
                limit => limit,
            },
            count: AtomicU64::new(0),
            kept: Mutex::default(),
        }
    }

    /// From which on a request is slow.
    #[inline]
    pub fn limit(&self) -> Duration {
        self.limit
    }

    /// Whether any request can be slow.
    #[inline]
    pub fn is_on(&self) -> bool {
        self.limit != Duration::MAX
    }

    /// Slow requests since the start.
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    /// Those that are kept, oldest first.
    pub fn newest(&self) -> Vec<SlowRequest> {
        self.kept().requests.iter().cloned().collect()
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A run of requests was slow. Its statement is looked for only if it is told.
    pub(super) fn notice(
        &self,
        noticed: Noticed,
        statement: impl FnOnce() -> Option<Arc<Statement>>,
    ) {
        self.count
            .fetch_add(u64::from(noticed.times), Ordering::Relaxed);
        let Some((number, left_out)) = self.kept().admit(Instant::now()) else {
            return;
        };
        let since = SystemTime::now().duration_since(UNIX_EPOCH);
        let request = SlowRequest {
            number,
            answered_at: since.map_or(0, |since| {
                i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
            }),
            noticed,
            query: statement().and_then(|statement| shown(&statement.text)),
        };
        say(&request, left_out);
        let mut kept = self.kept();
        if kept.requests.len() == KEPT_MAX {
            kept.requests.pop_front();
        }
        kept.requests.push_back(request);
    }
}

/// The statement without its literals, cut at a bound.
fn shown(text: &str) -> Option<String> {
    if text.is_empty() || text.len() > READ_BYTES_MAX {
        return None;
    }
    let mut shown = cql::redacted(text)?;
    traces::cut(&mut shown);
    debug_assert!(shown.len() <= TEXT_BYTES_MAX);
    Some(shown)
}

impl Kept {
    /// The number of a request that may be told and kept now, and how many were left out before it.
    fn admit(&mut self, now: Instant) -> Option<(u64, u64)> {
        let is_same = self
            .second
            .is_some_and(|begun| now.saturating_duration_since(begun) < Duration::from_secs(1));
        if !is_same {
            self.second = Some(now);
            self.written = 0;
        }
        if self.written == PER_SECOND {
            self.left_out += 1;
            return None;
        }
        self.written += 1;
        self.numbers += 1;
        Some((self.numbers, std::mem::take(&mut self.left_out)))
    }
}

fn say(request: &SlowRequest, left_out: u64) {
    let noticed = &request.noticed;
    let table = noticed.table.map(|id| id.to_string());
    tracing::warn!(
        number = request.number,
        operation = noticed.operation.name(),
        table = table.as_deref().unwrap_or("none"),
        milliseconds = noticed.took.as_millis() as u64,
        requests = noticed.times,
        rows = noticed.passed.rows,
        tombstones = noticed.passed.tombstones,
        failed = noticed.failed,
        left_out,
        "slow: system_palladium.slow_queries shows the statement"
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    fn noticed() -> Noticed {
        Noticed {
            operation: Operation::Read,
            table: None,
            passed: Passed::default(),
            failed: false,
            times: 3,
            took: Duration::from_secs(1),
            who: "anonymous".into(),
            client: ([127, 0, 0, 1], 7).into(),
        }
    }

    #[test]
    fn lines_are_bounded_and_those_left_out_are_told() {
        let mut kept = Kept::default();
        let now = Instant::now();
        let said: Vec<_> = (0..PER_SECOND + 5).map(|_| kept.admit(now)).collect();
        assert_eq!(said.iter().flatten().count(), PER_SECOND as usize);
        let later = now + Duration::from_secs(1);
        assert_eq!(kept.admit(later), Some((u64::from(PER_SECOND) + 1, 5)));
        assert_eq!(kept.admit(later), Some((u64::from(PER_SECOND) + 2, 0)));
    }

    #[test]
    fn a_flood_is_counted_and_a_few_of_it_are_kept() {
        let slow = Slow::new(Duration::from_millis(1));
        (0..1_000).for_each(|_| slow.notice(noticed(), || None));
        let newest = slow.newest();
        assert!(!newest.is_empty() && newest.len() < 500, "{}", newest.len());
        assert_eq!(newest[0].number, 1);
        assert_eq!(slow.count(), 3_000);
        assert!(!Slow::new(Duration::ZERO).is_on());
    }

    #[test]
    fn a_statement_is_shown_without_its_literals_and_a_very_long_one_not_at_all() {
        let text = "SELECT a FROM t WHERE k = 'secret'";
        assert_eq!(shown(text).as_deref(), Some("SELECT a FROM t WHERE k = ?"));
        assert_eq!(
            shown(&format!("{text} {}", " ".repeat(READ_BYTES_MAX))),
            None
        );
        let long = format!("SELECT {} FROM t", vec!["a"; 5_000].join(", "));
        assert!(shown(&long).is_some_and(|shown| shown.len() <= TEXT_BYTES_MAX));
        assert_eq!(shown(""), None);
    }
}
