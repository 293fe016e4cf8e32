//! The few threads on which the module is called.
//!
//! A PKCS#11 call blocks, for as long as the device likes. These threads are our own and not the runtime's blocking pool, because a runtime
//! waits for its pool when it ends: a module that hangs would keep the server from stopping. Nobody waits for these.
//!
//! What must hold: at most `THREADS` calls are inside the module and at most `WAITING_MAX` wait; the rest wait with their caller. A call that
//! nobody waits for any more is not begun.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use tokio::sync::{mpsc, oneshot};

use super::token::{Module, Tokens};
use crate::error::{Error, Result, UnavailableReason};

/// Calls inside the module at once: a device does a few thousand a second at best, and the server needs tens.
const THREADS: usize = 4;
/// Calls that wait for a thread.
const WAITING_MAX: usize = 64;

type Job = Box<dyn FnOnce(&mut Tokens) + Send>;

/// A handle to the threads; they end when it is gone and their calls have ended.
pub(super) struct Threads {
    jobs: mpsc::Sender<Job>,
}

impl Threads {
    pub fn start(module: &Arc<Module>) -> Result<Threads> {
        let (jobs, waiting) = mpsc::channel(WAITING_MAX);
        let waiting = Arc::new(Mutex::new(waiting));
        for number in 0..THREADS {
            let (waiting, module) = (Arc::clone(&waiting), Arc::clone(module));
            thread::Builder::new()
                .name(format!("pkcs11-{number}"))
                .spawn(move || serve(&waiting, &module))
                .map_err(|error| {
                    Error::unavailable(
                        UnavailableReason::Unreachable,
                        format!("no thread for the PKCS#11 module: {error}"),
                    )
                })?;
        }
        Ok(Threads { jobs })
    }

    /// Runs `work` on one of the threads.
    pub async fn call<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Tokens) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |tokens| {
            if !answer.is_closed() {
                // Whoever asked may have given up meanwhile; then the answer is dropped, and a key in it wiped.
                let _ = answer.send(work(tokens));
            }
        });
        let lost = || {
            Error::unavailable(
                UnavailableReason::Unreachable,
                "the call into the PKCS#11 module broke off",
            )
        };
        self.jobs.send(job).await.map_err(|_| lost())?;
        answered.await.map_err(|_| lost())?
    }
}

fn serve(waiting: &Mutex<mpsc::Receiver<Job>>, module: &Arc<Module>) {
    let mut tokens = Tokens::new(Arc::clone(module));
    loop {
        let job = waiting
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .blocking_recv();
        let Some(job) = job else { return };
        // A panic of the binding must not cost a thread; the sessions it leaves behind are in no known state.
        if catch_unwind(AssertUnwindSafe(|| job(&mut tokens))).is_err() {
            tokens = Tokens::new(Arc::clone(module));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Barrier;
    use std::time::Duration;

    use super::*;

    fn threads() -> Threads {
        let module = Module::new("/nowhere".into(), "/nowhere".into(), None);
        Threads::start(&Arc::new(module)).expect("threads can be made")
    }

    #[tokio::test]
    async fn a_module_that_hangs_holds_its_threads_and_nothing_else() {
        let threads = threads();
        let gate = Arc::new(Barrier::new(THREADS + 1));
        let mut hanging = tokio::task::JoinSet::new();
        for _ in 0..THREADS {
            let (jobs, gate) = (threads.jobs.clone(), Arc::clone(&gate));
            hanging.spawn(async move {
                let threads = Threads { jobs };
                let held = threads.call(move |_| {
                    gate.wait();
                    Ok(())
                });
                held.await
            });
        }
        // More calls than fit the queue: each ends with its caller's patience, and none is begun afterwards.
        let begun = Arc::new(Mutex::new(0));
        let mut impatient = tokio::task::JoinSet::new();
        for _ in 0..2 * WAITING_MAX {
            let (jobs, begun) = (threads.jobs.clone(), Arc::clone(&begun));
            impatient.spawn(async move {
                let threads = Threads { jobs };
                let call = threads.call(move |_| {
                    *begun.lock().unwrap() += 1;
                    Ok(())
                });
                tokio::time::timeout(Duration::from_millis(1), call)
                    .await
                    .is_err()
            });
        }
        let mut abandoned = 0;
        while let Some(was_abandoned) = impatient.join_next().await {
            abandoned += usize::from(was_abandoned.unwrap());
        }
        tokio::task::spawn_blocking(move || gate.wait())
            .await
            .unwrap();
        while let Some(outcome) = hanging.join_next().await {
            outcome.unwrap().unwrap();
        }
        threads.call(|_| Ok(())).await.unwrap();
        assert_eq!(*begun.lock().unwrap(), 2 * WAITING_MAX - abandoned);
    }

    #[tokio::test]
    async fn a_panic_ends_its_call_and_no_thread() {
        let threads = threads();
        for _ in 0..2 * THREADS {
            let outcome = threads.call(|_| -> Result<()> { panic!("a story") }).await;
            assert!(
                matches!(outcome, Err(Error::Unavailable { .. })),
                "{outcome:?}"
            );
        }
        threads.call(|_| Ok(())).await.unwrap();
    }
}
