//! What happened to one request, step by step, for whoever asked with the TRACING flag.
//!
//! ```text
//! frame with TRACING ─► Trace::begin ─► during / Followed: the trace is at hand while the request runs ─► note("...") anywhere on the way
//!                                                                       └─ answered ─► Traces (memory) ─► system_traces.sessions, .events
//! ```
//!
//! Who is on the way does not pass the trace along: it is ambient, as spans of a log are, because it never changes an answer. While a request without the
//! flag runs, [`note`] is one look at a thread's own flag.
//!
//! What must hold:
//! - A trace holds no literal and no value: statements are shown without theirs (`cql::redacted`), bound values not at all.
//! - Traces never reach the disk: the newest [`SESSIONS_MAX`] stay in memory, each for a day at most, as Cassandra keeps its own, each with at most
//!   [`EVENTS_MAX`] events. They end with the process.
//! - A text is cut at [`TEXT_BYTES_MAX`], the texts of one trace take [`TRACE_BYTES_MAX`] and a text at most, those of all that are kept
//!   [`KEPT_BYTES_MAX`]: a statement may be as long as a frame.
//!
//! `kept` holds those that are finished.

mod kept;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::future::Future;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::Instant;

use uuid::Uuid;

pub use kept::Traces;

/// Traces that are kept; the oldest goes.
pub const SESSIONS_MAX: usize = 1_000;
/// Events of one trace; what comes after is counted.
pub const EVENTS_MAX: usize = 500;
/// Bytes of a statement's text, or of a step's: enough to know it again.
pub const TEXT_BYTES_MAX: usize = 4 << 10;
/// Bytes of the steps of one trace; what comes after is counted as beyond [`EVENTS_MAX`].
pub const TRACE_BYTES_MAX: usize = 64 << 10;
/// Bytes of all traces that are kept; the oldest go.
pub const KEPT_BYTES_MAX: usize = 16 << 20;

thread_local! {
    /// Whether `AT_HAND` holds a trace: all that a request without one ever looks at.
    static IS_TRACED: Cell<bool> = const { Cell::new(false) };
    static AT_HAND: RefCell<Option<Arc<Trace>>> = const { RefCell::new(None) };
}

/// A request under trace.
#[derive(Debug)]
pub struct Trace {
    /// A timeuuid, as in Cassandra: clients take the time from it.
    pub id: Uuid,
    /// What kind of request it is, in Cassandra's words.
    pub request: &'static str,
    /// What the request says of itself, without values.
    pub parameters: BTreeMap<String, String>,
    pub client: IpAddr,
    /// Who asked.
    pub who: Arc<str>,
    /// Milliseconds of wall time.
    pub started_at: i64,
    began: Instant,
    steps: Mutex<Steps>,
}

#[derive(Debug, Default)]
struct Steps {
    events: Vec<Event>,
    /// Bytes of their texts.
    bytes: usize,
    /// Events beyond the bounds.
    more: usize,
    /// Microseconds, once it is answered.
    duration: Option<i32>,
}

/// One step.
#[derive(Debug, Clone)]
pub struct Event {
    pub activity: String,
    /// Microseconds since the request was begun.
    pub elapsed: i32,
    pub thread: String,
}

impl Trace {
    /// A request that begins now.
    pub fn begin(
        id: Uuid,
        request: &'static str,
        mut parameters: BTreeMap<String, String>,
        (client, who): (IpAddr, Arc<str>),
        started_at: i64,
    ) -> Arc<Trace> {
        parameters.values_mut().for_each(cut);
        Arc::new(Trace {
            id,
            request,
            parameters,
            client,
            who,
            started_at,
            began: Instant::now(),
            steps: Mutex::default(),
        })
    }

    fn elapsed(&self) -> i32 {
        i32::try_from(self.began.elapsed().as_micros()).unwrap_or(i32::MAX)
    }

    fn steps(&self) -> std::sync::MutexGuard<'_, Steps> {
        self.steps.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Adds a step.
    pub fn note(&self, mut activity: String) {
        let elapsed = self.elapsed();
        let mut steps = self.steps();
        if steps.events.len() >= EVENTS_MAX || steps.bytes >= TRACE_BYTES_MAX {
            steps.more += 1;
            return;
        }
        cut(&mut activity);
        steps.bytes += activity.len();
        let thread = std::thread::current();
        steps.events.push(Event {
            activity,
            elapsed,
            thread: thread.name().unwrap_or("palladium").to_owned(),
        });
    }

    /// The request is answered.
    fn finish(&self) {
        let elapsed = self.elapsed();
        self.steps().duration = Some(elapsed);
    }

    /// Bytes of its texts.
    fn bytes(&self) -> usize {
        let parameters: usize = self
            .parameters
            .iter()
            .map(|(name, value)| name.len() + value.len())
            .sum();
        parameters + self.steps().bytes
    }

    /// Microseconds from the request to its answer.
    pub fn duration(&self) -> Option<i32> {
        self.steps().duration
    }

    /// Its steps, in order; the last one tells how many there was no room for.
    pub fn events(&self) -> Vec<Event> {
        let steps = self.steps();
        let mut events = steps.events.clone();
        if let (Some(last), 1..) = (events.last().cloned(), steps.more) {
            events.push(Event {
                activity: format!("{} more events", steps.more),
                ..last
            });
        }
        events
    }
}

/// Cuts a text at its bound, and says so.
pub fn cut(text: &mut String) {
    const MORE: &str = "...";
    if text.len() <= TEXT_BYTES_MAX {
        return;
    }
    let fits = (0..=TEXT_BYTES_MAX - MORE.len())
        .rev()
        .find(|place| text.is_char_boundary(*place));
    text.truncate(fits.unwrap_or(0));
    text.push_str(MORE);
    text.shrink_to_fit();
}

/// Adds a step to the trace of the request that runs here, if it has one.
#[inline]
pub fn note(activity: impl FnOnce() -> String) {
    if IS_TRACED.get() {
        note_at_hand(activity());
    }
}

#[cold]
fn note_at_hand(activity: String) {
    let trace = AT_HAND.with_borrow(Clone::clone);
    if let Some(trace) = trace {
        trace.note(activity);
    }
}

/// Does something with the trace at hand.
pub fn during<T>(trace: &Arc<Trace>, work: impl FnOnce() -> T) -> T {
    let _at_hand = AtHand::put(Some(trace.clone()));
    work()
}

/// The future with the trace at hand whenever it runs.
pub fn follow<F: Future>(trace: Arc<Trace>, future: F) -> Followed<F> {
    Followed {
        trace,
        future: Box::pin(future),
    }
}

/// The same with the trace that is at hand now, if there is one: for work that another task does.
pub fn follow_here<F: Future>(future: F) -> impl Future<Output = F::Output> {
    let trace = AT_HAND.with_borrow(Clone::clone);
    async move {
        match trace {
            Some(trace) => follow(trace, future).await,
            None => future.await,
        }
    }
}

/// See [`follow`].
pub struct Followed<F> {
    trace: Arc<Trace>,
    future: Pin<Box<F>>,
}

impl<F: Future> Future for Followed<F> {
    type Output = F::Output;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<F::Output> {
        let trace = self.trace.clone();
        during(&trace, || self.future.as_mut().poll(context))
    }
}

/// Puts back what was at hand before, also when the work panics.
struct AtHand(Option<Arc<Trace>>);

impl AtHand {
    fn put(trace: Option<Arc<Trace>>) -> AtHand {
        IS_TRACED.set(trace.is_some());
        AtHand(AT_HAND.replace(trace))
    }
}

impl Drop for AtHand {
    fn drop(&mut self) {
        let before = self.0.take();
        IS_TRACED.set(before.is_some());
        AT_HAND.set(before);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace() -> Arc<Trace> {
        let client = (IpAddr::from([127, 0, 0, 1]), "anonymous".into());
        Trace::begin(
            Uuid::nil(),
            "Execute CQL3 query",
            BTreeMap::new(),
            client,
            0,
        )
    }

    fn activities(trace: &Trace) -> Vec<String> {
        let events = trace.events().into_iter();
        events.map(|event| event.activity).collect()
    }

    #[test]
    fn a_step_is_noted_in_the_trace_that_is_at_hand_and_nowhere_else() {
        let (outer, inner) = (trace(), trace());
        note(|| unreachable!("nothing is traced"));
        during(&outer, || {
            note(|| "before".into());
            during(&inner, || note(|| "inside".into()));
            note(|| "after".into());
        });
        note(|| unreachable!("nothing is traced any more"));
        assert_eq!(activities(&outer), ["before", "after"]);
        assert_eq!(activities(&inner), ["inside"]);
    }

    #[test]
    fn a_future_is_followed_over_its_waits_and_leaves_nothing_at_hand() {
        let trace = trace();
        let work = async {
            note(|| "one".into());
            tokio::task::yield_now().await;
            note(|| "two".into());
        };
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.build().expect("a runtime");
        runtime.block_on(async {
            let stranger = async {
                for _ in 0..3 {
                    note(|| unreachable!("the stranger is not traced"));
                    tokio::task::yield_now().await;
                }
            };
            futures::join!(follow(trace.clone(), work), stranger);
        });
        assert_eq!(activities(&trace), ["one", "two"]);
    }

    #[test]
    fn a_trace_has_so_many_events_and_then_their_number() {
        let trace = trace();
        (0..EVENTS_MAX + 7).for_each(|step| trace.note(step.to_string()));
        let activities = activities(&trace);
        assert_eq!(activities.len(), EVENTS_MAX + 1);
        assert_eq!(activities[EVENTS_MAX], "7 more events");
    }

    #[test]
    fn long_texts_are_cut_and_a_trace_holds_so_many_bytes_of_them() {
        let client = (IpAddr::from([127, 0, 0, 1]), "anonymous".into());
        // Three bytes each, so that no letter ends at the bound.
        let long = "\u{20ac}".repeat(1 << 20);
        let parameters = BTreeMap::from([("query".to_owned(), long.clone())]);
        let trace = Trace::begin(Uuid::nil(), "Execute CQL3 query", parameters, client, 0);
        let shown = &trace.parameters["query"];
        assert!(shown.len() <= TEXT_BYTES_MAX && shown.len() > TEXT_BYTES_MAX - 3);
        assert!(shown.starts_with('\u{20ac}') && shown.ends_with("..."));
        (0..100).for_each(|_| trace.note(long.clone()));
        assert!(trace.bytes() <= TRACE_BYTES_MAX + 2 * TEXT_BYTES_MAX + "query".len());
        let noted = activities(&trace);
        assert_eq!(
            noted.last().map(String::as_str),
            Some(format!("{} more events", 101 - noted.len()).as_str())
        );
    }
}
