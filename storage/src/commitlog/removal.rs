//! Segments on their way out: removed behind the log, many with one sync of their folder, so that no writer waits for it.
//!
//! What must hold: only segments come here that the newest durable watermark is behind. What a crash leaves of them the next start removes, whichever they are; what could not be
//! removed waits for the next that are let go.

use std::sync::{Arc, Mutex, MutexGuard};
use std::task::{Poll, Waker};

use crate::backend::Backend;
use crate::env::Env;

/// The segments that are to be removed.
#[derive(Default)]
pub(super) struct Removals {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    segments: Vec<u64>,
    is_running: bool,
    /// Whoever stops the log waits until nothing of it is under way.
    waiting: Option<Waker>,
}

impl Removals {
    pub fn add(&self, segments: Vec<u64>) {
        self.state().segments.extend(segments);
    }

    /// Those that are still on the disk.
    pub fn len(&self) -> usize {
        self.state().segments.len()
    }

    /// Ready when none is being removed.
    pub async fn have_ended(&self) {
        std::future::poll_fn(|context| {
            let mut state = self.state();
            if !state.is_running {
                return Poll::Ready(());
            }
            state.waiting = Some(context.waker().clone());
            Poll::Pending
        })
        .await;
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

/// Removes what is there to be removed, unless somebody is at it.
pub(super) fn begin<B: Backend>(removals: &Arc<Removals>, backend: &Arc<B>, env: &dyn Env) {
    {
        let mut state = removals.state();
        if state.is_running || state.segments.is_empty() {
            return;
        }
        state.is_running = true;
    }
    let (running, backend) = (Running(removals.clone()), backend.clone());
    env.spawn(Box::pin(async move {
        remove(&running.0, &*backend).await;
        // The folder is free when this is over.
        drop(backend);
        drop(running);
    }));
}

async fn remove<B: Backend>(removals: &Removals, backend: &B) {
    loop {
        let segments = {
            let mut state = removals.state();
            // In one hold of the lock: whoever adds now begins anew.
            state.is_running = !state.segments.is_empty();
            state.segments.clone()
        };
        if segments.is_empty() {
            return;
        }
        if let Err(error) = backend.log_remove(&segments).await {
            tracing::warn!(%error, "segments of the log that nobody needs stay until the next go");
            return;
        }
        let is_gone = |segment: &u64| segments.contains(segment);
        removals
            .state()
            .segments
            .retain(|segment| !is_gone(segment));
    }
}

/// Says that it is over, also if it was cut short.
struct Running(Arc<Removals>);

impl Drop for Running {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.is_running = false;
        if let Some(waker) = state.waiting.take() {
            waker.wake();
        }
    }
}
