//! Background work: one enum of jobs, two queues, so that no flush waits for a merge. A job that is asked for twice while it waits runs once. Flushes run one after
//! the other; of compactions so many at once as the options say.

use std::collections::VecDeque;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use futures::channel::oneshot;
use palladium_crypto::TableId;

use crate::backend::Backend;
use crate::engine::group::Errand;
use crate::engine::{Inner, compact, keys, relog, rewrite};
use crate::env::yield_now;
use crate::error::Error;
use crate::lease::Reading;

/// How often the durable position is noted outside the log.
const WATERMARK_PAUSE: Duration = Duration::from_secs(1);
/// How often tables are looked at in which nothing happens.
const LOOK_PAUSE: Duration = Duration::from_secs(60);
/// Tables that are looked at before others may run.
const TABLES_BETWEEN_YIELDS: usize = 64;
/// A wall clock that goes so much further than time does was set.
const STEP_AHEAD: Duration = Duration::from_secs(60);
/// Before a failed job is tried again: a full disk does not get better by haste.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Something to do beside the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Job {
    /// Write a table's memtables out.
    Flush(TableId),
    /// Write the largest memtable out: memory is short.
    FlushLargest,
    /// Write out or carry on what the oldest segments hold: the log is long, or the disk full.
    RelieveLog,
    /// Record a root in the manifest, and wrap its table's data keys anew: a switch got no further.
    SettleKeys(TableId),
    /// Let a table's strategy choose, and do it.
    Compact(TableId),
    /// Write one more SSTable of a table again under new data keys.
    Rewrite(TableId),
}

/// The jobs that wait.
#[derive(Default)]
pub(crate) struct Jobs {
    /// What frees memory and log.
    pub(crate) flushes: Queue,
    /// What saves work later.
    pub(crate) compactions: Queue,
}

/// Jobs that wait for those who run them.
#[derive(Default)]
pub(crate) struct Queue {
    inner: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    /// So many were given out, and their end has not been told.
    running: usize,
    finished: u64,
    closed: bool,
    /// Of those who have nothing to do.
    wakers: Vec<Waker>,
}

impl Jobs {
    pub(crate) fn add(&self, job: Job) {
        match job {
            Job::Compact(_) | Job::Rewrite(_) => self.compactions.add(job),
            _ => self.flushes.add(job),
        }
    }

    /// What waits is forgotten, what runs is finished.
    pub(crate) fn close(&self) {
        self.flushes.close();
        self.compactions.close();
    }
}

impl Queue {
    fn add(&self, job: Job) {
        let mut waiting = self.inner.lock().expect("no holder of this lock panics");
        if waiting.closed || waiting.jobs.contains(&job) {
            return;
        }
        waiting.jobs.push_back(job);
        // One job, one to do it; who was woken before and has not come yet finds his own.
        if let Some(waker) = waiting.wakers.pop() {
            waker.wake();
        }
    }

    fn close(&self) {
        let mut waiting = self.inner.lock().expect("no holder of this lock panics");
        waiting.closed = true;
        waiting.jobs.clear();
        for waker in waiting.wakers.drain(..) {
            waker.wake();
        }
    }

    /// Jobs that run, that wait, and that have ended.
    pub(crate) fn activity(&self) -> (usize, usize, u64) {
        let waiting = self.inner.lock().expect("no holder of this lock panics");
        (waiting.running, waiting.jobs.len(), waiting.finished)
    }

    fn finish(&self) {
        let mut waiting = self.inner.lock().expect("no holder of this lock panics");
        waiting.running -= 1;
        waiting.finished += 1;
    }

    /// The next job; None once closed.
    async fn next(&self) -> Option<Job> {
        std::future::poll_fn(|context| {
            let mut waiting = self.inner.lock().expect("no holder of this lock panics");
            if waiting.closed {
                return Poll::Ready(None);
            }
            match waiting.jobs.pop_front() {
                Some(job) => {
                    waiting.running += 1;
                    Poll::Ready(Some(job))
                }
                None => {
                    let waker = context.waker();
                    if !waiting.wakers.iter().any(|known| known.will_wake(waker)) {
                        waiting.wakers.push(waker.clone());
                    }
                    Poll::Pending
                }
            }
        })
        .await
    }
}

/// Runs the jobs of one queue until the engine closes.
pub(crate) async fn run<B: Backend>(inner: Arc<Inner<B>>, queue: fn(&Jobs) -> &Queue) {
    while let Some(job) = queue(&inner.jobs).next().await {
        let result = match job {
            Job::Flush(table) => rewrite::flush(&inner, table).await,
            Job::FlushLargest => rewrite::flush_largest(&inner).await,
            Job::RelieveLog => relog::relieve(&inner).await,
            Job::SettleKeys(table) => keys::settle_open(&inner, table).await,
            Job::Compact(table) => compact::compact_once(&inner, table).await.map(|_| ()),
            Job::Rewrite(table) => compact::rewrite_once(&inner, table).await,
        };
        match result {
            Ok(()) => {}
            // A stop ends merges where they are; the next start begins them again.
            Err(Error::Closed) if inner.is_closed.load(Ordering::Acquire) => {}
            Err(error) => {
                tracing::warn!(?job, %error, "background work failed");
                let may_pass = matches!(
                    error,
                    Error::Io { .. } | Error::Full { .. } | Error::Busy { .. }
                );
                if may_pass {
                    inner.env.sleep(RETRY_PAUSE).await;
                }
                // The others are asked for again by whoever needs them.
                if may_pass && matches!(job, Job::Flush(_) | Job::SettleKeys(_) | Job::Rewrite(_)) {
                    inner.jobs.add(job);
                }
            }
        }
        rewrite::remove_obsolete(&inner).await;
        queue(&inner.jobs).finish();
    }
}

/// Asks for the watermark while the engine lives, and says when the wall clock has been set ahead: what expires by it is gone, and its timestamps stay.
pub(crate) async fn watermark<B: Backend>(inner: Weak<Inner<B>>) {
    let mut before = None;
    while let Some(alive) = inner.upgrade() {
        let clock = Reading::now(&*alive.env);
        if let Some(before) = before.replace(clock)
            && let Some(ahead) = stepped_ahead(before, clock)
        {
            tracing::warn!(?ahead, "the wall clock has been set ahead");
        }
        let pause = alive.env.sleep(WATERMARK_PAUSE);
        drop(alive);
        pause.await;
        if let Some(alive) = inner.upgrade() {
            alive.forming.ask(Errand::StoreWatermark);
        }
    }
}

/// By how much the wall clock went further than time did, where that is more than clocks are adjusted by.
fn stepped_ahead(before: Reading, now: Reading) -> Option<Duration> {
    let passed = now.boot_nanos.saturating_sub(before.boot_nanos) / 1_000;
    let shown = u64::try_from(now.wall_micros.saturating_sub(before.wall_micros)).ok()?;
    let ahead = Duration::from_micros(shown.saturating_sub(passed));
    (ahead > STEP_AHEAD).then_some(ahead)
}

/// Looks at tables in which nothing happens, while the engine lives: one timer for all of them.
pub(crate) async fn look_around<B: Backend>(inner: Weak<Inner<B>>) {
    while let Some(alive) = inner.upgrade() {
        let pause = alive.env.sleep(LOOK_PAUSE);
        drop(alive);
        pause.await;
        let Some(alive) = inner.upgrade() else {
            return;
        };
        let tables = alive.tables.all();
        drop(alive);
        for some in tables.chunks(TABLES_BETWEEN_YIELDS) {
            let Some(alive) = inner.upgrade() else {
                return;
            };
            for table in some.iter().filter(|table| compact::is_due(&alive, table)) {
                alive.jobs.add(Job::Compact(table.id));
            }
            drop(alive);
            yield_now().await;
        }
    }
}

/// Asks for a sync at each period, where groups are acknowledged before it.
pub(crate) async fn sync<B: Backend>(inner: Weak<Inner<B>>, every: Duration) {
    while let Some(alive) = inner.upgrade() {
        let pause = alive.env.sleep(every);
        drop(alive);
        pause.await;
        if let Some(alive) = inner.upgrade() {
            // Nobody waits for this one; a failure stops the log and is told to the writers.
            let (done, _) = oneshot::channel();
            alive.forming.ask(Errand::Sync(done));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_was_set_ahead_is_told_from_time_that_passed() {
        let at = |boot_seconds: u64, wall_seconds: i64| Reading {
            boot_nanos: boot_seconds * 1_000_000_000,
            wall_micros: wall_seconds * 1_000_000,
        };
        let before = at(10, 1_000);
        // Also time that the machine slept through.
        assert_eq!(stepped_ahead(before, at(11, 1_001)), None);
        assert_eq!(stepped_ahead(before, at(4_010, 5_030)), None);
        assert_eq!(stepped_ahead(before, at(11, 0)), None);
        let ahead = Some(Duration::from_secs(3_600));
        assert_eq!(stepped_ahead(before, at(11, 4_601)), ahead);
    }
}
