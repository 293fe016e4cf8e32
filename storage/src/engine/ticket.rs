//! What a writer waits on: one ticket for a batch, woken once when the group that carries it is applied.

use std::future::Future;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use futures::task::AtomicWaker;

use crate::error::{Error, Result};

/// The outcome of a group, shared by all tickets in it.
#[derive(Debug, Default)]
pub(crate) struct Outcome {
    result: OnceLock<Result<()>>,
    waker: AtomicWaker,
}

impl Outcome {
    /// Tells the waiting ticket how the group ended. Only the first word counts.
    pub(crate) fn tell(&self, result: Result<()>) {
        let _ = self.result.set(result);
        self.waker.wake();
    }
}

/// Resolves to one result for each write of the batch, in order. Dropping it ends the wait, never the write.
#[must_use = "a write is acknowledged only when its ticket resolves"]
pub struct Ticket {
    /// Refused before the append: these never reach the log.
    refused: Vec<Option<Error>>,
    outcome: Option<Arc<Outcome>>,
}

impl Ticket {
    /// `refused` has an entry for each write; `outcome` is there if any write was accepted.
    pub(crate) fn new(refused: Vec<Option<Error>>, outcome: Option<Arc<Outcome>>) -> Self {
        Ticket { refused, outcome }
    }

    fn results(&mut self, accepted: &Result<()>) -> Vec<Result<()>> {
        std::mem::take(&mut self.refused)
            .into_iter()
            .map(|refusal| refusal.map_or_else(|| accepted.clone(), Err))
            .collect()
    }
}

impl Future for Ticket {
    type Output = Vec<Result<()>>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(outcome) = self.outcome.clone() else {
            return Poll::Ready(self.results(&Ok(())));
        };
        outcome.waker.register(context.waker());
        match outcome.result.get() {
            Some(result) => Poll::Ready(self.results(result)),
            None => Poll::Pending,
        }
    }
}
