//! `Env`: clock, sleep, spawn and entropy, which are not pure functions and are no disk.
//!
//! Storage names no executor, thread or timer; whoever opens an engine hands these in, so that a test can drive everything from one
//! seed. The real one is built in the server. `SimulatedEnv` (feature `test-util`) has virtual time and a seeded task order.
//!
//! What must hold: `boot_nanos` never goes back and counts time asleep (CLOCK_BOOTTIME); `wall_micros` may jump either way, and
//! whoever uses it says what then happens.

use std::time::Duration;

pub use futures::future::BoxFuture;
use palladium_crypto::Entropy;

#[cfg(any(test, feature = "test-util"))]
pub use simulated::SimulatedEnv;

/// The world outside the disk.
pub trait Env: Send + Sync {
    /// Microseconds since 1970 by the wall clock. May step.
    fn wall_micros(&self) -> i64;
    /// Nanoseconds since some fixed point, time asleep included. Never goes back.
    fn boot_nanos(&self) -> u64;
    /// Runs a task to its end beside the caller.
    fn spawn(&self, task: BoxFuture<'static, ()>);
    /// Ready once `duration` has passed.
    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()>;
    /// Where randomness comes from.
    fn entropy(&self) -> &dyn Entropy;
}

/// Goes to the back of the executor's queue once.
pub(crate) async fn yield_now() {
    let mut yielded = false;
    std::future::poll_fn(|context| {
        if yielded {
            return std::task::Poll::Ready(());
        }
        yielded = true;
        context.waker().wake_by_ref();
        std::task::Poll::Pending
    })
    .await;
}

#[cfg(any(test, feature = "test-util"))]
mod simulated {
    //! Virtual time and seeded task order on one thread.

    use std::collections::BTreeMap;
    use std::future::Future;
    use std::pin::Pin;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
    use std::task::{Context, Poll, Wake, Waker};
    use std::time::Duration;

    use palladium_crypto::{Entropy, SeededEntropy};

    use super::{BoxFuture, Env};

    /// An `Env` in which time moves only when nothing else can.
    pub struct SimulatedEnv {
        entropy: SeededEntropy,
        order: SeededEntropy,
        state: Arc<Mutex<State>>,
    }

    struct State {
        now_nanos: u64,
        wall_skew_micros: i64,
        tasks: Vec<(BoxFuture<'static, ()>, Arc<Flag>)>,
        /// By the moment when they are due, and by their number.
        timers: BTreeMap<(u64, u64), Waker>,
        sleeps: u64,
    }

    struct Flag(AtomicBool);

    impl Wake for Flag {
        fn wake(self: Arc<Self>) {
            self.0.store(true, Ordering::SeqCst);
        }
    }

    /// Wall time at boot: 2026-01-01 in microseconds.
    const WALL_START_MICROS: i64 = 1_767_225_600_000_000;

    impl SimulatedEnv {
        /// A world whose entropy and task order come from `seed`.
        pub fn new(seed: u64) -> Arc<SimulatedEnv> {
            Arc::new(SimulatedEnv {
                entropy: SeededEntropy::new(seed),
                order: SeededEntropy::new(seed ^ 0x9e37_79b9_7f4a_7c15),
                state: Arc::new(Mutex::new(State {
                    now_nanos: 0,
                    wall_skew_micros: 0,
                    tasks: Vec::new(),
                    timers: BTreeMap::new(),
                    sleeps: 0,
                })),
            })
        }

        /// Lets time pass and runs what became ready.
        pub fn advance(&self, duration: Duration) {
            let until = self.now() + duration.as_nanos() as u64;
            loop {
                self.run_ready();
                if !self.fire_next_timer(until) {
                    break;
                }
            }
            self.state().now_nanos = until;
            self.run_ready();
        }

        /// Both clocks at once are so much later, as after a suspended machine woke: what was due meanwhile is late.
        pub fn jump(&self, duration: Duration) {
            self.state().now_nanos += duration.as_nanos() as u64;
        }

        /// Moves the wall clock alone, as an operator or NTP would.
        pub fn step_wall(&self, micros: i64) {
            self.state().wall_skew_micros += micros;
        }

        /// Forgets all spawned tasks, as a crash does.
        pub fn drop_tasks(&self) {
            let tasks = std::mem::take(&mut self.state().tasks);
            drop(tasks);
            self.state().timers.clear();
        }

        /// Runs `future` to its end together with all spawned tasks. Time jumps to the next timer when all wait.
        ///
        /// # Panics
        /// When nothing can ever wake `future`.
        pub fn run<T>(&self, future: impl Future<Output = T>) -> T {
            let mut future = std::pin::pin!(future);
            let flag = Arc::new(Flag(AtomicBool::new(true)));
            let waker = Waker::from(flag.clone());
            loop {
                if flag.0.swap(false, Ordering::SeqCst)
                    && let Poll::Ready(value) =
                        future.as_mut().poll(&mut Context::from_waker(&waker))
                {
                    return value;
                }
                let ran = self.run_ready();
                let woken = flag.0.load(Ordering::SeqCst);
                assert!(
                    ran || woken || self.fire_next_timer(u64::MAX),
                    "deadlock: nothing can wake this future"
                );
            }
        }

        /// Polls every woken task until none is left; the order is drawn from the seed.
        pub fn run_ready(&self) -> bool {
            self.run_some(u64::MAX)
        }

        /// Polls woken tasks, at most `polls` times: a crash that follows may come between any two of them.
        pub fn run_some(&self, polls: u64) -> bool {
            let mut ran = false;
            for _ in 0..polls {
                let Some((mut task, flag)) = self.take_ready() else {
                    break;
                };
                ran = true;
                let waker = Waker::from(flag.clone());
                if Pin::new(&mut task)
                    .poll(&mut Context::from_waker(&waker))
                    .is_pending()
                {
                    self.state().tasks.push((task, flag));
                }
            }
            ran
        }

        fn take_ready(&self) -> Option<(BoxFuture<'static, ()>, Arc<Flag>)> {
            let mut state = self.state();
            let ready: Vec<usize> = (0..state.tasks.len())
                .filter(|&index| state.tasks[index].1.0.load(Ordering::SeqCst))
                .collect();
            let mut draw = [0; 8];
            self.order.fill(&mut draw);
            let pick =
                *ready.get(u64::from_le_bytes(draw).checked_rem(ready.len() as u64)? as usize)?;
            let (task, flag) = state.tasks.remove(pick);
            flag.0.store(false, Ordering::SeqCst);
            Some((task, flag))
        }

        fn fire_next_timer(&self, until: u64) -> bool {
            let waker = {
                let mut state = self.state();
                match state.timers.first_key_value() {
                    Some(((at, _), _)) if *at <= until => {}
                    _ => return false,
                }
                let ((at, _), waker) = state.timers.pop_first().expect("looked at above");
                state.now_nanos = state.now_nanos.max(at);
                waker
            };
            waker.wake();
            true
        }

        fn now(&self) -> u64 {
            self.state().now_nanos
        }

        fn state(&self) -> MutexGuard<'_, State> {
            lock(&self.state)
        }
    }

    fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
        state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    impl Env for SimulatedEnv {
        fn wall_micros(&self) -> i64 {
            let state = self.state();
            WALL_START_MICROS + state.wall_skew_micros + (state.now_nanos / 1000) as i64
        }

        fn boot_nanos(&self) -> u64 {
            self.now()
        }

        fn spawn(&self, task: BoxFuture<'static, ()>) {
            self.state()
                .tasks
                .push((task, Arc::new(Flag(AtomicBool::new(true)))));
        }

        fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
            let at = self.now().saturating_add(duration.as_nanos() as u64);
            let number = {
                let mut state = self.state();
                state.sleeps += 1;
                state.sleeps
            };
            Box::pin(Sleep {
                state: self.state.clone(),
                due: (at, number),
            })
        }

        fn entropy(&self) -> &dyn Entropy {
            &self.entropy
        }
    }

    /// Ready at a moment of virtual time. Dropped before, it leaves no timer behind.
    struct Sleep {
        state: Arc<Mutex<State>>,
        due: (u64, u64),
    }

    impl Future for Sleep {
        type Output = ();

        fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
            let mut state = lock(&self.state);
            if state.now_nanos >= self.due.0 {
                return Poll::Ready(());
            }
            state.timers.insert(self.due, context.waker().clone());
            Poll::Pending
        }
    }

    impl Drop for Sleep {
        fn drop(&mut self) {
            lock(&self.state).timers.remove(&self.due);
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn time_jumps_to_the_next_timer_when_all_wait() {
            let env = SimulatedEnv::new(1);
            let other = env.clone();
            env.spawn(Box::pin(async move {
                other.sleep(Duration::from_secs(5)).await
            }));
            let asleep = env.clone();
            env.run(async move { asleep.sleep(Duration::from_secs(3)).await });
            assert_eq!(env.boot_nanos(), 3_000_000_000);
            env.advance(Duration::from_secs(1));
            assert_eq!(env.boot_nanos(), 4_000_000_000);
        }

        #[test]
        fn the_wall_may_step_while_boot_time_does_not() {
            let env = SimulatedEnv::new(1);
            let before = env.wall_micros();
            env.step_wall(-10);
            assert_eq!(env.wall_micros(), before - 10);
            assert_eq!(env.boot_nanos(), 0);
        }
    }
}
