//! When a call to a key service may be made: so many at a time, and so many in a second, those first whom somebody waits for.
//!
//! ```text
//! waiting, best first:  requests ─ renewals by the end of their lease ─ background      one enters when a place is free and the bucket holds a token
//! ```
//!
//! While requests wait, every other turn is a renewal's, if one waits: however many requests there are, they let no lease end that is in use.
//!
//! The bucket fills at the rate of `calls_per_s` and holds one second's worth: 10,000 tables under one key are a trickle for their service, never a storm.
//! It is kept as one number, the moment up to which its tokens are spent.
//!
//! Each region of AWS KMS has a gate of its own: one that is silent holds its places for as long as calls may take, and no key of another region waits for them.
//!
//! What must hold: whoever leaves, while waiting or inside, leaves nothing behind.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::channel::oneshot;
use futures::future::{Either, select};
use palladium_crypto::CmkRef;
use palladium_storage::Env;

/// How much of its time the bucket can save up.
const BUCKET_NANOS: i64 = 1_000_000_000;
/// Those before one who waits are counted up to here.
const RANKS_COUNTED: usize = 256;
/// Gates of one service. Whoever may create tables can name regions without end.
const GATES_MAX: usize = 16;
/// How long to wait for a place before looking again, if nobody tells.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Bounds for the calls to one key service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CallLimits {
    /// Calls at a time.
    pub calls_max: usize,
    /// Calls in a second, on average.
    pub calls_per_s: u64,
}

impl CallLimits {
    /// Of the keyring, which no network is asked for: what bounds it is the work of this machine.
    pub const OF_KEYRING: CallLimits = CallLimits {
        calls_max: 32,
        calls_per_s: 1_000,
    };
}

impl Default for CallLimits {
    fn default() -> Self {
        CallLimits {
            calls_max: 32,
            calls_per_s: 100,
        }
    }
}

/// Who goes first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Urgency {
    /// A client waits for it.
    Request,
    /// A lease ends at this moment of the boot clock.
    Renewal(u64),
    /// Nobody waits for it.
    Background,
}

/// One service's gates, by the region of a key.
pub(super) struct Gates {
    limits: CallLimits,
    by_region: Mutex<BTreeMap<String, Arc<Gate>>>,
}

/// One gate.
pub(super) struct Gate {
    limits: CallLimits,
    state: Mutex<State>,
}

struct State {
    free: usize,
    spent_until_nanos: i64,
    arrivals: u64,
    waiting: BTreeMap<Rank, oneshot::Sender<Place>>,
    /// Whether the last turn was a request's.
    request_had_turn: bool,
}

/// Who goes before whom, and of equals who came first.
type Rank = (Urgency, u64);

impl State {
    /// The renewals that wait, the best first.
    fn renewals(&self) -> impl Iterator<Item = Rank> {
        let ranks = (Urgency::Renewal(0), 0)..(Urgency::Background, 0);
        self.waiting.range(ranks).map(|(rank, _)| *rank)
    }

    /// The first of all, or of the renewals if it is their turn.
    fn next(&mut self) -> Option<oneshot::Sender<Place>> {
        let mut first = *self.waiting.keys().next()?;
        if first.0 == Urgency::Request && self.request_had_turn {
            first = self.renewals().next().unwrap_or(first);
        }
        self.request_had_turn = first.0 == Urgency::Request;
        self.waiting.remove(&first)
    }
}

/// Leave to make one call, until dropped.
pub(super) struct Place {
    gate: Arc<Gate>,
    env: Arc<dyn Env>,
}

/// One who waits; gone from the list when dropped.
struct Waiting<'a> {
    gate: &'a Gate,
    rank: Rank,
}

impl Gates {
    pub(super) fn new(limits: CallLimits) -> Self {
        Gates {
            limits,
            by_region: Mutex::default(),
        }
    }

    /// Where calls about a key enter. Keys that name no region share one gate, as do those of regions beyond the sixteenth.
    pub(super) fn of(&self, key: &CmkRef) -> Arc<Gate> {
        let mut region = key.region().unwrap_or_default();
        let mut gates = self.gates();
        if gates.len() >= GATES_MAX && !gates.contains_key(region) {
            // Nobody waits there, or is inside.
            gates.retain(|_, gate| Arc::strong_count(gate) > 1);
            if gates.len() >= GATES_MAX {
                region = "";
            }
        }
        let gate = gates.entry(region.to_owned());
        gate.or_insert_with(|| Gate::new(self.limits)).clone()
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.gates().values().map(|gate| gate.waiting()).sum()
    }

    fn gates(&self) -> MutexGuard<'_, BTreeMap<String, Arc<Gate>>> {
        self.by_region
            .lock()
            .expect("no holder of this lock panics")
    }
}

impl Gate {
    fn new(limits: CallLimits) -> Arc<Self> {
        Arc::new(Gate {
            limits,
            state: Mutex::new(State {
                free: limits.calls_max,
                spent_until_nanos: -BUCKET_NANOS,
                arrivals: 0,
                waiting: BTreeMap::new(),
                request_had_turn: false,
            }),
        })
    }

    /// Waits for its turn.
    pub(super) async fn enter(self: &Arc<Self>, env: &Arc<dyn Env>, urgency: Urgency) -> Place {
        let (mut turn, waiting) = {
            let mut state = self.state();
            if state.waiting.is_empty() && self.take(&mut state, now(env)) {
                return self.place(env);
            }
            let rank = (urgency, state.arrivals);
            state.arrivals += 1;
            let (call, turn) = oneshot::channel();
            state.waiting.insert(rank, call);
            (turn, Waiting { gate: self, rank })
        };
        loop {
            let pause = env.sleep(self.pause(waiting.rank, now(env)));
            turn = match select(turn, pause).await {
                Either::Left((Ok(place), _)) => return place,
                // Nobody drops a caller that is still on the list.
                Either::Left((Err(_), _)) => return self.place_at_any_rate(env),
                Either::Right(((), turn)) => turn,
            };
            self.admit(env);
        }
    }

    /// How many renewals may come now: while others wait, no more at a time than have their turn soon.
    pub(super) fn room_for_renewals(&self, env: &Arc<dyn Env>) -> usize {
        let state = self.state();
        if state.waiting.is_empty() {
            drop(state);
            return self.room(env);
        }
        let beside = (self.limits.calls_per_s / 2).clamp(1, self.limits.calls_max as u64) as usize;
        beside.saturating_sub(state.renewals().take(beside).count())
    }

    /// How many could enter now without waiting.
    pub(super) fn room(&self, env: &Arc<dyn Env>) -> usize {
        let state = self.state();
        if !state.waiting.is_empty() {
            return 0;
        }
        let saved = now(env) - self.spent(&state, now(env));
        state.free.min((saved / self.cost_nanos()) as usize)
    }

    /// How many wait.
    pub(super) fn waiting(&self) -> usize {
        self.state().waiting.len()
    }

    /// Lets in whoever can enter, best first.
    fn admit(self: &Arc<Self>, env: &Arc<dyn Env>) {
        loop {
            let called = {
                let mut state = self.state();
                if state.waiting.is_empty() || !self.take(&mut state, now(env)) {
                    return;
                }
                state.next()
            };
            // One who has just left gives its place back at once.
            if let Some(turn) = called {
                drop(turn.send(self.place(env)));
            }
        }
    }

    fn take(&self, state: &mut State, now: i64) -> bool {
        let spent = self.spent(state, now) + self.cost_nanos();
        if state.free == 0 || spent > now {
            return false;
        }
        state.free -= 1;
        state.spent_until_nanos = spent;
        true
    }

    fn spent(&self, state: &State, now: i64) -> i64 {
        state.spent_until_nanos.max(now - BUCKET_NANOS)
    }

    fn cost_nanos(&self) -> i64 {
        (BUCKET_NANOS / self.limits.calls_per_s.max(1) as i64).max(1)
    }

    /// When it is worth looking whether a token has come: at the turn of this rank.
    fn pause(&self, rank: Rank, now: i64) -> Duration {
        let state = self.state();
        if state.free == 0 {
            return LOOK_AGAIN;
        }
        let before = state.waiting.range(..rank).take(RANKS_COUNTED).count() as i64;
        let at = self.spent(&state, now) + self.cost_nanos() * (before + 1);
        Duration::from_nanos((at - now).max(1) as u64)
    }

    fn place(self: &Arc<Self>, env: &Arc<dyn Env>) -> Place {
        Place {
            gate: self.clone(),
            env: env.clone(),
        }
    }

    fn place_at_any_rate(self: &Arc<Self>, env: &Arc<dyn Env>) -> Place {
        let mut state = self.state();
        state.free = state.free.saturating_sub(1);
        drop(state);
        self.place(env)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}

fn now(env: &Arc<dyn Env>) -> i64 {
    i64::try_from(env.boot_nanos()).unwrap_or(i64::MAX)
}

impl Drop for Place {
    fn drop(&mut self) {
        let mut state = self.gate.state();
        state.free = (state.free + 1).min(self.gate.limits.calls_max);
        drop(state);
        self.gate.admit(&self.env);
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.gate.state().waiting.remove(&self.rank);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use futures::FutureExt;
    use palladium_crypto::{Entropy, OsEntropy};
    use palladium_storage::env::BoxFuture;

    use super::*;

    /// Nobody sleeps here: time moves when the test says so, and waiters look when they are polled.
    #[derive(Default)]
    struct Still {
        nanos: AtomicU64,
        entropy: OsEntropy,
    }

    impl Env for Still {
        fn wall_micros(&self) -> i64 {
            0
        }
        fn boot_nanos(&self) -> u64 {
            self.nanos.load(Ordering::SeqCst)
        }
        fn spawn(&self, _: BoxFuture<'static, ()>) {}
        fn sleep(&self, _: Duration) -> BoxFuture<'static, ()> {
            let mut is_first = true;
            Box::pin(std::future::poll_fn(move |_| {
                match std::mem::take(&mut is_first) {
                    true => std::task::Poll::Pending,
                    false => std::task::Poll::Ready(()),
                }
            }))
        }
        fn entropy(&self) -> &dyn Entropy {
            &self.entropy
        }
    }

    fn at_once(gate: &Arc<Gate>, env: &Arc<dyn Env>) -> Place {
        gate.enter(env, Urgency::Request)
            .now_or_never()
            .expect("there is room")
    }

    fn world(calls_max: usize, calls_per_s: u64) -> (Arc<Gate>, Arc<Still>, Arc<dyn Env>) {
        let still = Arc::new(Still::default());
        let gate = Gate::new(CallLimits {
            calls_max,
            calls_per_s,
        });
        (gate, still.clone(), still)
    }

    #[test]
    fn a_bucket_holds_one_second_and_then_trickles() {
        let (gate, still, env) = world(1_000, 10);
        let inside: Vec<Place> = (0..10).map(|_| at_once(&gate, &env)).collect();
        assert_eq!(gate.room(&env), 0);
        let mut late = Box::pin(gate.enter(&env, Urgency::Request));
        assert!(late.as_mut().now_or_never().is_none());
        still.nanos.fetch_add(99_000_000, Ordering::SeqCst);
        assert!(late.as_mut().now_or_never().is_none());
        still.nanos.fetch_add(1_000_000, Ordering::SeqCst);
        assert!(late.as_mut().now_or_never().is_some());
        drop(inside);
        still.nanos.fetch_add(60_000_000_000, Ordering::SeqCst);
        assert_eq!(gate.room(&env), 10);
    }

    #[test]
    fn requests_go_first_and_then_the_lease_that_ends_first() {
        let (gate, _, env) = world(1, 1_000);
        let mut inside = Some(at_once(&gate, &env));
        let ranks = [
            Urgency::Background,
            Urgency::Renewal(9),
            Urgency::Renewal(5),
            Urgency::Request,
        ];
        let mut waiting: Vec<_> = ranks
            .iter()
            .map(|urgency| Box::pin(gate.enter(&env, *urgency)))
            .collect();
        for future in &mut waiting {
            assert!(future.as_mut().now_or_never().is_none());
        }
        let mut order = Vec::new();
        while order.len() < ranks.len() {
            drop(inside.take());
            for (place, future) in waiting.iter_mut().enumerate() {
                if order.contains(&place) {
                    continue;
                }
                if let Some(entered) = future.as_mut().now_or_never() {
                    order.push(place);
                    inside = Some(entered);
                }
            }
        }
        assert_eq!(order, [3, 2, 1, 0]);
    }

    #[test]
    fn requests_without_end_keep_no_renewal_out() {
        let (gate, _, env) = world(1, 1_000);
        let mut inside = Some(at_once(&gate, &env));
        assert_eq!(
            gate.room_for_renewals(&env),
            0,
            "nobody waits, one is inside"
        );
        let mut background = Box::pin(gate.enter(&env, Urgency::Background));
        assert!(background.as_mut().now_or_never().is_none());
        let mut requests: Vec<_> = (0..3)
            .map(|_| Box::pin(gate.enter(&env, Urgency::Request)))
            .collect();
        for request in &mut requests {
            assert!(request.as_mut().now_or_never().is_none());
        }
        assert_eq!(gate.room(&env), 0);
        assert_eq!(gate.room_for_renewals(&env), 1, "beside all the others");
        let mut renewal = Box::pin(gate.enter(&env, Urgency::Renewal(5)));
        assert!(renewal.as_mut().now_or_never().is_none());
        assert_eq!(gate.room_for_renewals(&env), 0, "no more than enter");
        let mut turns = 0;
        let entered = loop {
            drop(inside.take());
            turns += 1;
            assert!(turns <= 2, "the renewal has no turn");
            assert!(background.as_mut().now_or_never().is_none());
            if let Some(entered) = renewal.as_mut().now_or_never() {
                break entered;
            }
            // Another request comes for each that enters.
            let next = Box::pin(gate.enter(&env, Urgency::Request));
            requests.push(next);
            let served =
                requests
                    .iter_mut()
                    .position(|request| match request.as_mut().now_or_never() {
                        Some(place) => inside.replace(place).is_none(),
                        None => false,
                    });
            drop(requests.remove(served.expect("somebody enters at each turn")));
        };
        drop(entered);
    }

    #[test]
    fn each_region_has_a_gate_and_there_are_no_more_than_sixteen_and_one() {
        let gates = Gates::new(CallLimits::default());
        let of = |region: usize| {
            gates.of(&CmkRef::parse(&format!("arn:aws:kms:r-{region}:1:key/1")).unwrap())
        };
        let inside: Vec<_> = (0..GATES_MAX).map(of).collect();
        assert!(!Arc::ptr_eq(&inside[0], &inside[1]));
        assert!(Arc::ptr_eq(&inside[0], &of(0)));
        assert!(Arc::ptr_eq(&of(100), &of(101)), "all have somebody inside");
        drop(inside);
        assert!(!Arc::ptr_eq(&of(100), &of(101)), "nobody is inside");
        let all = gates.gates().len();
        assert!(all <= GATES_MAX + 1, "{all}");
    }

    #[test]
    fn who_leaves_while_waiting_leaves_nothing_behind() {
        let (gate, _, env) = world(1, 1_000);
        let inside = at_once(&gate, &env);
        let mut gone = Box::pin(gate.enter(&env, Urgency::Request));
        assert!(gone.as_mut().now_or_never().is_none());
        drop(gone);
        assert_eq!(gate.waiting(), 0);
        let mut called = Box::pin(gate.enter(&env, Urgency::Request));
        assert!(called.as_mut().now_or_never().is_none());
        // Called and gone before it looked: the place is free again.
        drop(inside);
        drop(called);
        assert_eq!(gate.room(&env), 1);
    }
}
