//! Requests by what they ask for: how many, how many failed, how long they took; bytes that came and went; errors by code.
//!
//! Each thread adds to a shard of its own (two threads share one where there are more threads than shards), so that no cache line goes back and forth
//! between cores. Whoever shows them adds the shards up.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use palladium_protocol::ErrorCode;
use palladium_storage::metrics::{Distribution, Histogram};

use super::operation::Operation;

/// Shards at most: 18 KiB each.
const SHARDS_MAX: usize = 16;

/// Threads that have been given a shard.
static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    /// This thread's number, from 1 on; 0: it has none yet.
    static THREAD: Cell<usize> = const { Cell::new(0) };
}

/// Requests of all connections.
#[derive(Debug)]
pub struct Requests {
    shards: Box<[Shard]>,
}

/// What some threads have counted.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Shard {
    received_bytes: AtomicU64,
    sent_bytes: AtomicU64,
    operations: [Measured; Operation::ALL.len()],
}

#[derive(Debug, Default)]
struct Measured {
    failed: AtomicU64,
    nanos: Histogram,
}

/// The requests of one operation at one moment.
#[derive(Debug, Clone, Default)]
pub struct Counted {
    /// Answered with an error.
    pub failed: u64,
    /// From read to write, of all that were answered, in nanoseconds.
    pub nanos: Distribution,
}

impl Default for Requests {
    fn default() -> Self {
        let threads = std::thread::available_parallelism().map_or(1, |threads| threads.get());
        Requests {
            shards: (0..threads.min(SHARDS_MAX))
                .map(|_| Shard::default())
                .collect(),
        }
    }
}

impl Requests {
    fn shard(&self) -> &Shard {
        let mut thread = THREAD.get();
        if thread == 0 {
            thread = THREADS.fetch_add(1, Ordering::Relaxed) + 1;
            THREAD.set(thread);
        }
        &self.shards[thread % self.shards.len()]
    }

    /// So many requests were answered after so long.
    pub(super) fn add(&self, operation: Operation, failed: bool, nanos: u64, times: u64) {
        let measured = &self.shard().operations[operation as usize];
        measured.nanos.add_many(nanos, times);
        if failed {
            measured.failed.fetch_add(times, Ordering::Relaxed);
        }
    }

    /// Bytes came and went.
    pub(super) fn add_bytes(&self, received: u64, sent: u64) {
        let shard = self.shard();
        shard.received_bytes.fetch_add(received, Ordering::Relaxed);
        shard.sent_bytes.fetch_add(sent, Ordering::Relaxed);
    }

    /// Those of one operation, since the start.
    pub fn counted(&self, operation: Operation) -> Counted {
        let mut counted = Counted::default();
        for shard in &self.shards {
            let measured = &shard.operations[operation as usize];
            counted.failed += measured.failed.load(Ordering::Relaxed);
            counted.nanos.merge(&measured.nanos.distribution());
        }
        counted
    }

    /// Bytes received and sent, since the start.
    pub fn bytes(&self) -> (u64, u64) {
        let sum = |of: fn(&Shard) -> &AtomicU64| {
            let shards = self.shards.iter();
            shards.map(|shard| of(shard).load(Ordering::Relaxed)).sum()
        };
        (
            sum(|shard| &shard.received_bytes),
            sum(|shard| &shard.sent_bytes),
        )
    }
}

/// Answers that are errors, by code.
#[derive(Debug, Default)]
pub struct ErrorCounts([AtomicU64; CODES.len()]);

/// All codes, by their names in Cassandra's protocol.
const CODES: [(ErrorCode, &str); 20] = [
    (ErrorCode::ServerError, "server_error"),
    (ErrorCode::ProtocolError, "protocol_error"),
    (ErrorCode::BadCredentials, "bad_credentials"),
    (ErrorCode::Unavailable, "unavailable"),
    (ErrorCode::Overloaded, "overloaded"),
    (ErrorCode::IsBootstrapping, "is_bootstrapping"),
    (ErrorCode::TruncateError, "truncate_error"),
    (ErrorCode::WriteTimeout, "write_timeout"),
    (ErrorCode::ReadTimeout, "read_timeout"),
    (ErrorCode::ReadFailure, "read_failure"),
    (ErrorCode::FunctionFailure, "function_failure"),
    (ErrorCode::WriteFailure, "write_failure"),
    (ErrorCode::CdcWriteFailure, "cdc_write_failure"),
    (ErrorCode::CasWriteUnknown, "cas_write_unknown"),
    (ErrorCode::SyntaxError, "syntax_error"),
    (ErrorCode::Unauthorized, "unauthorized"),
    (ErrorCode::Invalid, "invalid"),
    (ErrorCode::ConfigError, "config_error"),
    (ErrorCode::AlreadyExists, "already_exists"),
    (ErrorCode::Unprepared, "unprepared"),
];

impl ErrorCounts {
    /// One more.
    #[cold]
    pub fn count(&self, code: ErrorCode) {
        if let Some(place) = CODES.iter().position(|(one, _)| *one == code) {
            self.0[place].fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Each code with its name and how often it was answered.
    pub fn all(&self) -> impl Iterator<Item = (ErrorCode, &'static str, u64)> {
        CODES
            .iter()
            .zip(&self.0)
            .map(|((code, name), count)| (*code, *name, count.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_several_threads_count_is_added_up() {
        let requests = Requests::default();
        std::thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    requests.add(Operation::Read, false, 1_000, 5);
                    requests.add(Operation::Read, true, 9_000, 1);
                    requests.add_bytes(10, 20);
                });
            }
        });
        let read = requests.counted(Operation::Read);
        assert_eq!((read.failed, read.nanos.count()), (3, 18));
        assert_eq!(read.nanos.largest, 9_000);
        assert_eq!(requests.counted(Operation::Write).nanos.count(), 0);
        assert_eq!(requests.bytes(), (30, 60));
    }

    #[test]
    fn every_code_has_a_counter_of_its_own() {
        let errors = ErrorCounts::default();
        for (code, _) in CODES {
            errors.count(code);
        }
        assert!(errors.all().all(|(_, _, count)| count == 1));
    }
}
