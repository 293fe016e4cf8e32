//! What the server counts and measures of its requests, and how that is shown to a scraper.
//!
//! ```text
//! connection: asked, arrived ─► answer ─► Runs (its own, like ones added up) ── one look at a clock for each write of the socket ─► Requests   shards by thread
//!                                                                                                                            ├─► Tables     coordinator latencies
//!                                                                                                                            └─► Slow       the newest slow requests
//! GET /metrics ─► gather: all of this, the engine, the key services, the process ─► text
//! ```
//!
//! A latency is what a client waits for here: from the read of the socket that brought the request's last byte until the write that took its answer was
//! handed to the kernel. All requests of a read arrive together, all answers of a write leave together; so two looks at a clock measure each of them truly,
//! and what a request pays by itself is a few bytes beside its answer and one comparison.
//!
//! Read on in `operation`, `passed`, `runs`; `requests`, `tables`, `batches`, `slow`; `process`; `exposition`, `gather`.
//!
//! What must hold:
//! - No lock, no allocation and no shared cache line for each request: what many requests share is added once for each run of like ones.
//! - Nothing here names a table or shows a text of a client but [`Slow`], which stays in memory: a scraper writes what it gets to its own disk.

mod batches;
mod exposition;
mod gather;
mod operation;
mod passed;
mod process;
mod requests;
mod runs;
mod slow;
mod tables;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub use batches::Batches;
pub use exposition::CONTENT_TYPE;
pub use gather::gather;
pub use operation::{Asked, Operation, table_of};
pub use passed::{Passed, note_passed, take_passed};
pub use requests::{ErrorCounts, Requests};
pub use runs::{Client, Runs, Taken};
pub use slow::{Slow, SlowRequest};
pub use tables::{Kind, TableTimes, Tables};

/// How often rates are brought up to date: Cassandra's meters tick as often.
const TICK: Duration = Duration::from_secs(5);

/// All of it.
#[derive(Debug)]
pub struct Instruments {
    /// Requests by what they ask for.
    pub requests: Requests,
    /// Answers that are errors, by their codes.
    pub errors: ErrorCounts,
    /// The same for each table.
    pub tables: Tables,
    /// Partitions that batches touch.
    pub batches: Batches,
    /// Requests that took long.
    pub slow: Slow,
    /// Connections that were turned away because there were too many.
    pub refused: AtomicU64,
    /// Seconds of wall time when the server started.
    started_seconds: i64,
}

impl Instruments {
    /// Nothing counted yet. A request that takes longer than `slow` is remembered; none if that is zero.
    pub fn new(slow: Duration, started_seconds: i64) -> Arc<Self> {
        Arc::new(Instruments {
            requests: Requests::default(),
            errors: ErrorCounts::default(),
            tables: Tables::default(),
            batches: Batches::default(),
            slow: Slow::new(slow),
            refused: AtomicU64::new(0),
            started_seconds,
        })
    }

    /// One connection too many.
    pub fn count_refused(&self) {
        self.refused.fetch_add(1, Ordering::Relaxed);
    }

    /// Brings rates up to date, for as long as the server runs.
    pub async fn run(self: Arc<Self>) {
        loop {
            tokio::time::sleep(TICK).await;
            self.tables.tick(TICK);
        }
    }
}
