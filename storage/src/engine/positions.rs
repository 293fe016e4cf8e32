//! How far the log is: what its loop knows and others ask for.
//!
//! What must hold: `noted` is at or before `durable`, and that at or before `appended`. All of it is published by the loop alone, at once, in one place, and before anybody is
//! told of what it did.

use crate::backend::Backend;
use crate::commitlog::CommitLog;
use crate::engine::Inner;
use crate::options::Options;

/// Positions of the log at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct LogPositions {
    /// The newest group appended.
    pub(crate) appended: u64,
    /// The newest group known to be durable: every manifest commit says that it knows it.
    pub(crate) durable: u64,
    /// The newest group that the log's watermark names: what an anchor remembers.
    pub(crate) noted: u64,
    /// Bytes of all segments.
    pub(crate) bytes: u64,
}

impl LogPositions {
    pub(crate) fn of<B: Backend>(log: &CommitLog<B>, options: &Options) -> Self {
        LogPositions {
            appended: log.last_sequence(),
            durable: log.durable_sequence(),
            noted: log.stored_sequence(),
            bytes: log.on_disk() as u64 * options.log_segment_bytes,
        }
    }
}

impl<B: Backend> Inner<B> {
    /// As the log's loop said last.
    pub(crate) fn log_positions(&self) -> LogPositions {
        *self
            .positions
            .lock()
            .expect("no holder of this lock panics")
    }

    pub(super) fn publish_positions(&self, log: &CommitLog<B>) {
        let positions = LogPositions::of(log, &self.options);
        *self
            .positions
            .lock()
            .expect("no holder of this lock panics") = positions;
    }
}
