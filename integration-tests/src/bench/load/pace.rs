//! When operations begin: at once, or at moments that were set in advance.
//!
//! At a fixed rate each connection has a queue of moments. The pacer puts a moment there when it has come, and whoever has a free stream takes it; if none is
//! free, or the server stalls, moments wait, and their operations' latencies count from the moment and not from the request: that is what a user would have
//! felt (no coordinated omission). The pacer never sleeps, because the runtime's timer is a thousand times coarser than a fast answer; the client has a core
//! of its own.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::time::{Duration, Instant};

use tokio::sync::Notify;

type Numbers = Box<dyn FnMut() -> Option<u64>>;

/// Decides when operations begin.
pub(super) struct Pacer {
    numbers: RefCell<Numbers>,
    stopped: Cell<bool>,
    fixed: Option<Fixed>,
}

struct Fixed {
    interval: Duration,
    queues: Vec<Queue>,
}

#[derive(Default)]
struct Queue {
    moments: RefCell<VecDeque<Instant>>,
    filled: Notify,
}

impl Pacer {
    /// The next operation begins whenever somebody is free, until there are no numbers.
    pub(super) fn closed(numbers: Numbers) -> Pacer {
        Pacer {
            numbers: RefCell::new(numbers),
            stopped: Cell::new(false),
            fixed: None,
        }
    }

    /// So many operations in a second, the connections in turns.
    pub(super) fn fixed(numbers: Numbers, rate: u64, connections: usize) -> Pacer {
        let fixed = Fixed {
            interval: Duration::from_secs(1) / u32::try_from(rate.max(1)).unwrap_or(u32::MAX),
            queues: std::iter::repeat_with(Queue::default)
                .take(connections)
                .collect(),
        };
        Pacer {
            fixed: Some(fixed),
            ..Pacer::closed(numbers)
        }
    }

    /// No more operations become due; those that wait still begin.
    pub(super) fn stop(&self) {
        self.stopped.set(true);
        for queue in self.fixed.iter().flat_map(|fixed| &fixed.queues) {
            queue.filled.notify_one();
        }
    }

    /// Fills the queues until it is stopped.
    pub(super) async fn run(&self) {
        let Some(fixed) = &self.fixed else { return };
        let (mut due, mut turn) = (Instant::now(), 0);
        while !self.stopped.get() {
            let now = Instant::now();
            while due <= now {
                let queue = &fixed.queues[turn % fixed.queues.len()];
                queue.moments.borrow_mut().push_back(due);
                queue.filled.notify_one();
                due += fixed.interval;
                turn += 1;
            }
            tokio::task::yield_now().await;
        }
    }

    /// An operation's number and from when on its latency counts, if one may begin on this connection now.
    pub(super) fn take(&self, connection: usize) -> Option<(u64, Instant)> {
        let started = match &self.fixed {
            None if self.stopped.get() => return None,
            None => Instant::now(),
            Some(fixed) => fixed.queues[connection].moments.borrow_mut().pop_front()?,
        };
        let number = (self.numbers.borrow_mut())();
        if number.is_none() {
            self.stopped.set(true);
        }
        Some((number?, started))
    }

    /// Ready when something may have become due.
    pub(super) async fn due(&self, connection: usize) {
        match &self.fixed {
            // Whoever was free has taken one already.
            None => std::future::pending().await,
            Some(fixed) => fixed.queues[connection].filled.notified().await,
        }
    }

    /// Whether nothing will become due on this connection.
    pub(super) fn has_ended(&self, connection: usize) -> bool {
        let waits = |fixed: &Fixed| !fixed.queues[connection].moments.borrow().is_empty();
        self.stopped.get() && !self.fixed.as_ref().is_some_and(waits)
    }

    /// Whether an operation's latency counts in a sample that began at `since`. In a closed loop those that were under way then do: leaving them out would
    /// leave out the slowest.
    pub(super) fn counts_from(&self, since: Instant, started: Instant) -> bool {
        self.fixed.is_none() || started >= since
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_operation_that_nobody_was_free_for_counts_from_when_it_was_due() {
        let mut next = 0;
        let numbers = Box::new(move || {
            next += 1;
            Some(next)
        });
        let pacer = Pacer::fixed(numbers, 1_000_000, 1);
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime");
        let waiting = || {
            let fixed = pacer.fixed.as_ref().expect("a fixed rate");
            fixed.queues[0].moments.borrow().len()
        };
        runtime.block_on(async {
            let stalled = async {
                while waiting() < 1_000 {
                    tokio::task::yield_now().await;
                }
                pacer.stop();
            };
            tokio::join!(pacer.run(), stalled);
        });
        // However late they are taken: one each microsecond.
        let (_, mut before) = pacer.take(0).expect("it is due");
        while let Some((_, due)) = pacer.take(0) {
            assert_eq!(due.duration_since(before), Duration::from_micros(1));
            before = due;
        }
        assert!(pacer.has_ended(0));
    }
}
