//! A few threads for calls that wait for the disk.
//!
//! Threads start when there is work and none is idle, up to a limit, and then stay. The queue needs no bound of its own: every entry
//! belongs to a caller who waits for it, and those are bounded further up.

use std::collections::VecDeque;
use std::future::Future;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};

use futures::channel::oneshot;

use super::closed;
use crate::error::Result;

type Work = Box<dyn FnOnce() + Send>;

/// The pool's handle; the last one dropped ends the threads once their queue is empty.
#[derive(Clone)]
pub(super) struct Pool {
    handle: Arc<Handle>,
}

struct Handle {
    queue: Arc<Queue>,
}

struct Queue {
    state: Mutex<State>,
    wake: Condvar,
    threads_max: usize,
}

#[derive(Default)]
struct State {
    work: VecDeque<Work>,
    idle: usize,
    threads: usize,
    is_closed: bool,
}

impl Pool {
    pub fn new(threads_max: usize) -> Pool {
        let queue = Arc::new(Queue {
            state: Mutex::default(),
            wake: Condvar::new(),
            threads_max: threads_max.max(1),
        });
        Pool {
            handle: Arc::new(Handle { queue }),
        }
    }

    /// Runs `work` on some thread. It runs even if the future is dropped.
    pub fn run<T, W>(&self, work: W) -> impl Future<Output = Result<T>> + Send + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce() -> Result<T> + Send + 'static,
    {
        let (answer, outcome) = oneshot::channel();
        self.handle.queue.push(Box::new(move || {
            // A caller that went away does not want to know.
            let _ = answer.send(work());
        }));
        async move { outcome.await.unwrap_or_else(|_| Err(closed())) }
    }
}

impl Queue {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn push(self: &Arc<Self>, work: Work) {
        let mut state = self.state();
        state.work.push_back(work);
        let needs_thread = state.idle < state.work.len() && state.threads < self.threads_max;
        if needs_thread {
            let queue = self.clone();
            let started = std::thread::Builder::new()
                .name("palladium-disk".into())
                .spawn(move || queue.serve());
            if started.is_ok() {
                state.threads += 1;
            } else if state.threads == 0 {
                // Without any thread nobody would ever answer; dropping the work answers `Closed`.
                state.work.clear();
            }
        }
        drop(state);
        self.wake.notify_one();
    }

    fn serve(&self) {
        let mut state = self.state();
        loop {
            if let Some(work) = state.work.pop_front() {
                drop(state);
                work();
                state = self.state();
            } else if state.is_closed {
                return;
            } else {
                state.idle += 1;
                state = self
                    .wake
                    .wait(state)
                    .unwrap_or_else(PoisonError::into_inner);
                state.idle -= 1;
            }
        }
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.queue.state().is_closed = true;
        self.queue.wake.notify_all();
    }
}
