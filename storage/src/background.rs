//! Background work: one enum of jobs, one loop. A job that is asked for twice while it waits runs once.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, Weak};
use std::task::{Poll, Waker};
use std::time::Duration;

use palladium_crypto::TableId;

use crate::backend::Backend;
use crate::engine::group::Errand;
use crate::engine::{Inner, rewrite};

/// How often the durable position is noted outside the log.
const WATERMARK_PAUSE: Duration = Duration::from_secs(1);
/// Before a failed job is tried again: a full disk does not get better by haste.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// Something to do beside the requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Job {
    /// Write a table's memtables out.
    Flush(TableId),
    /// Write the largest memtable out: memory is short.
    FlushLargest,
    /// Write out the tables that hold the oldest segment: the log is long.
    FlushOldest,
    /// Let a table's strategy choose, and do it.
    Compact(TableId),
}

/// The jobs that wait.
#[derive(Default)]
pub(crate) struct Jobs {
    inner: Mutex<Waiting>,
}

#[derive(Default)]
struct Waiting {
    jobs: VecDeque<Job>,
    closed: bool,
    waker: Option<Waker>,
}

impl Jobs {
    pub(crate) fn add(&self, job: Job) {
        let mut waiting = self.inner.lock().expect("no holder of this lock panics");
        if waiting.closed || waiting.jobs.contains(&job) {
            return;
        }
        // Flushes go first: they free memory and log, compactions only save work later.
        match job {
            Job::Compact(_) => waiting.jobs.push_back(job),
            _ => {
                let place = waiting
                    .jobs
                    .iter()
                    .take_while(|job| !matches!(job, Job::Compact(_)))
                    .count();
                waiting.jobs.insert(place, job);
            }
        }
        if let Some(waker) = waiting.waker.take() {
            waker.wake();
        }
    }

    pub(crate) fn close(&self) {
        let mut waiting = self.inner.lock().expect("no holder of this lock panics");
        waiting.closed = true;
        waiting.jobs.clear();
        if let Some(waker) = waiting.waker.take() {
            waker.wake();
        }
    }

    /// The next job; None once closed.
    async fn next(&self) -> Option<Job> {
        std::future::poll_fn(|context| {
            let mut waiting = self.inner.lock().expect("no holder of this lock panics");
            if waiting.closed {
                return Poll::Ready(None);
            }
            match waiting.jobs.pop_front() {
                Some(job) => Poll::Ready(Some(job)),
                None => {
                    waiting.waker = Some(context.waker().clone());
                    Poll::Pending
                }
            }
        })
        .await
    }
}

/// Runs jobs until the engine closes.
pub(crate) async fn run<B: Backend>(inner: Arc<Inner<B>>) {
    while let Some(job) = inner.jobs.next().await {
        let result = match job {
            Job::Flush(table) => rewrite::flush(&inner, table).await,
            Job::FlushLargest => rewrite::flush_largest(&inner).await,
            Job::FlushOldest => rewrite::flush_oldest(&inner).await,
            Job::Compact(table) => rewrite::compact_once(&inner, table).await.map(|_| ()),
        };
        if let Err(error) = result {
            tracing::warn!(?job, %error, "background work failed");
            inner.env.sleep(RETRY_PAUSE).await;
            if matches!(job, Job::Flush(_))
                && !matches!(
                    error,
                    crate::Error::KeyUnavailable { .. } | crate::Error::Invalid { .. }
                )
            {
                inner.jobs.add(job);
            }
        }
        rewrite::remove_obsolete(&inner).await;
    }
}

/// Asks for the watermark while the engine lives.
pub(crate) async fn watermark<B: Backend>(inner: Weak<Inner<B>>) {
    while let Some(alive) = inner.upgrade() {
        let pause = alive.env.sleep(WATERMARK_PAUSE);
        drop(alive);
        pause.await;
        if let Some(alive) = inner.upgrade() {
            alive.forming.ask(Errand::StoreWatermark);
        }
    }
}
