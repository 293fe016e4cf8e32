//! One key service: every call to it goes through here.
//!
//! ```text
//! call ─► gate (how many, how often) ─► the service, at most `timeout` ─► (is it what was asked for?) ─► statistics ─► audit trail ─► answer
//! ```
//!
//! What must hold:
//! - A call that was sent is in the audit trail, whatever came of it, also when whoever made it is gone before the answer comes, or the server stops; one that never
//!   left is not. Room for it there is taken before it is sent, so that no answer waits for the trail.
//! - A service that does not answer in time is unreachable; it has denied nothing.

use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use futures::future::{Either, select};
use palladium_crypto::{
    Answering, CmkRef, EncryptionContext, Error as CryptoError, Kms, UnavailableReason,
};
use palladium_storage::metrics::{Distribution, Histogram};
use palladium_storage::{Env, Reading, SPANS};
use tracing::Instrument;

use super::gate::{CallLimits, Gates, Urgency};
use super::trouble;
use crate::audit::{Asker, Audit, Event, Room};
use crate::env::RealEnv;

/// How long a tool at the command line waits for an answer.
const TOOL_TIMEOUT: Duration = Duration::from_secs(10);

/// A service, its gates, and what is known of it.
pub struct KeyService {
    provider: String,
    kms: Arc<dyn Kms>,
    gates: Gates,
    in_flight: AtomicUsize,
    heard: Mutex<Heard>,
}

/// What calls need of the world.
#[derive(Clone)]
pub(crate) struct Caller {
    pub env: Arc<dyn Env>,
    pub audit: Audit,
    /// How long a service may take to answer.
    pub timeout: Duration,
}

/// A call: what is asked, for which table, by whom.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub operation: &'static str,
    pub table: Option<(&'a str, &'a str)>,
    pub key: &'a CmkRef,
    pub context: Option<&'a EncryptionContext>,
    pub asker: &'a Asker,
    pub urgency: Urgency,
}

/// What came of a call, and when it was sent.
pub(crate) struct Called<T> {
    pub outcome: Result<T, CryptoError>,
    pub sent: Reading,
}

/// What is known of a service.
#[derive(Debug, Clone, PartialEq)]
pub struct ServiceStatus {
    /// What the names of its keys start with.
    pub provider: String,
    /// Whether the newest call was answered; None before the first one.
    pub is_reachable: Option<bool>,
    /// Calls since the start.
    pub calls: u64,
    /// Of those: answered with a no about a key.
    pub denied: u64,
    /// Not answered.
    pub unanswered: u64,
    /// Told to slow down.
    pub throttled: u64,
    /// How long calls took, in nanoseconds.
    pub latencies: Distribution,
    /// Calls that wait for their turn now.
    pub waiting: usize,
    /// Calls that were sent and are not answered yet.
    pub in_flight: usize,
    /// When the newest answer came, in microseconds of wall time.
    pub last_answer_micros: Option<i64>,
    /// The newest failure, in the service's words.
    pub last_error: Option<String>,
}

struct Heard {
    is_reachable: Option<bool>,
    calls: u64,
    denied: u64,
    unanswered: u64,
    throttled: u64,
    latencies: Histogram,
    last_answer_micros: Option<i64>,
    last_error: Option<String>,
}

impl Caller {
    /// For a tool that leaves no trace in the folder it looks at.
    pub(crate) fn unrecorded() -> Self {
        Caller {
            env: Arc::new(RealEnv::default()),
            audit: Audit::none(),
            timeout: TOOL_TIMEOUT,
        }
    }

    /// Room in the audit trail for a call that is about to be sent: a key that cannot be accounted for is not used. An error if there is none for a while, or the
    /// trail is closed; the lease then decides, as with a service that does not answer.
    async fn room(&self) -> Result<Room, CryptoError> {
        let room = pin!(self.audit.room());
        let message = match select(room, self.env.sleep(self.timeout)).await {
            Either::Left((Some(room), _)) => return Ok(room),
            Either::Left((None, _)) => "not asked: the server stops, and its audit trail is closed",
            Either::Right(_) => "the audit trail has no room for one more call",
        };
        Err(CryptoError::Unavailable {
            reason: UnavailableReason::Unreachable,
            message: message.into(),
        })
    }
}

/// An answer that counts only once it was looked at: what it gave that is of no use is a call that failed.
pub(crate) fn judged<'a, T: Send + 'a, U: 'a>(
    answer: Answering<'a, T>,
    look: impl FnOnce(T) -> Result<U, CryptoError> + Send + 'a,
) -> Answering<'a, U> {
    Box::pin(async move { answer.await.and_then(look) })
}

impl KeyService {
    pub(super) fn new(provider: &str, kms: Arc<dyn Kms>, limits: CallLimits) -> Arc<Self> {
        Arc::new(KeyService {
            provider: provider.to_owned(),
            kms,
            gates: Gates::new(limits),
            in_flight: AtomicUsize::new(0),
            heard: Mutex::new(Heard {
                is_reachable: None,
                calls: 0,
                denied: 0,
                unanswered: 0,
                throttled: 0,
                latencies: Histogram::default(),
                last_answer_micros: None,
                last_error: None,
            }),
        })
    }

    /// The same service under other limits.
    pub(super) fn limited(&self, limits: CallLimits) -> Arc<Self> {
        KeyService::new(&self.provider, self.kms.clone(), limits)
    }

    /// What the names of its keys start with.
    pub fn provider(&self) -> &str {
        &self.provider
    }

    /// Whether it has grants that this server may make.
    pub(super) fn makes_grants(&self) -> bool {
        self.kms.grants().is_some()
    }

    /// How many renewals may come now where this key is asked for.
    pub(super) fn room_for_renewals(&self, key: &CmkRef, env: &Arc<dyn Env>) -> usize {
        self.gates.of(key).room_for_renewals(env)
    }

    /// How many calls could be made there now without waiting.
    pub(super) fn room(&self, key: &CmkRef, env: &Arc<dyn Env>) -> usize {
        self.gates.of(key).room(env)
    }

    /// Makes a call when its turn has come.
    pub(crate) async fn call<'a, T>(
        &'a self,
        caller: &'a Caller,
        asked: Asked<'_>,
        send: impl FnOnce(&'a dyn Kms) -> Answering<'a, T>,
    ) -> Called<T> {
        let provider = self.provider.as_str();
        let operation = asked.operation;
        let span = tracing::debug_span!(target: SPANS, "key_call", operation, provider);
        self.call_in_turn(caller, asked, send)
            .instrument(span)
            .await
    }

    async fn call_in_turn<'a, T>(
        &'a self,
        caller: &'a Caller,
        asked: Asked<'_>,
        send: impl FnOnce(&'a dyn Kms) -> Answering<'a, T>,
    ) -> Called<T> {
        let env = &caller.env;
        let place = self.gates.of(asked.key).enter(env, asked.urgency).await;
        let room = match caller.room().await {
            Ok(room) => room,
            Err(error) => {
                return Called {
                    outcome: Err(error),
                    sent: Reading::now(&**env),
                };
            }
        };
        let sent = Reading::now(&**env);
        let in_flight = SentCall::new(self, &**env, sent, &asked, room);
        let no_answer = pin!(async {
            let stopped = pin!(caller.audit.closed());
            match select(env.sleep(caller.timeout), stopped).await {
                Either::Left(_) => trouble::no_answer(caller.timeout),
                Either::Right(_) => trouble::stopped(),
            }
        });
        let (outcome, request_id) = match select(send(&*self.kms), no_answer).await {
            Either::Left((reply, _)) => (reply.outcome, reply.request_id),
            Either::Right((error, _)) => (Err(error), None),
        };
        drop(place);
        let said = outcome.as_ref().map(drop).map_err(trouble::said);
        let latency = in_flight.over(said, request_id);
        self.heard().note(&outcome, latency, env.wall_micros());
        Called { outcome, sent }
    }

    /// What is known of it now.
    pub fn status(&self) -> ServiceStatus {
        let waiting = self.gates.waiting();
        let heard = self.heard();
        ServiceStatus {
            provider: self.provider.clone(),
            is_reachable: heard.is_reachable,
            calls: heard.calls,
            denied: heard.denied,
            unanswered: heard.unanswered,
            throttled: heard.throttled,
            latencies: heard.latencies.distribution(),
            waiting,
            in_flight: self.in_flight.load(Ordering::Acquire),
            last_answer_micros: heard.last_answer_micros,
            last_error: heard.last_error.clone(),
        }
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().expect("no holder of this lock panics")
    }
}

/// A call that was sent, and its place in the trail.
struct SentCall<'a> {
    service: &'a KeyService,
    env: &'a dyn Env,
    sent: Reading,
    record: Option<(Room, Event)>,
}

impl<'a> SentCall<'a> {
    fn new(
        service: &'a KeyService,
        env: &'a dyn Env,
        sent: Reading,
        asked: &Asked<'_>,
        room: Room,
    ) -> Self {
        service.in_flight.fetch_add(1, Ordering::AcqRel);
        let owned = |(keyspace, table): (&str, &str)| (keyspace.to_owned(), table.to_owned());
        let event = Event {
            at_micros: sent.wall_micros,
            operation: asked.operation,
            table: asked.table.map(owned),
            key: Some(asked.key.clone()),
            context: asked.context.cloned(),
            outcome: Err(trouble::said(&trouble::stopped())),
            latency: Duration::ZERO,
            request_id: None,
            asker: asked.asker.clone(),
        };
        SentCall {
            service,
            env,
            sent,
            record: Some((room, event)),
        }
    }

    /// An answer came, or none in time. Says how long that took.
    fn over(mut self, outcome: Result<(), String>, request_id: Option<String>) -> Duration {
        if let Some((_, event)) = &mut self.record {
            event.outcome = outcome;
            event.request_id = request_id;
        }
        self.latency()
    }

    fn latency(&self) -> Duration {
        let now = self.env.boot_nanos();
        Duration::from_nanos(now.saturating_sub(self.sent.boot_nanos))
    }
}

/// Whoever made the call may be gone before it is over.
impl Drop for SentCall<'_> {
    fn drop(&mut self) {
        self.service.in_flight.fetch_sub(1, Ordering::AcqRel);
        let latency = self.latency();
        if let Some((room, event)) = self.record.take() {
            room.record(Event { latency, ..event });
        }
    }
}

impl Heard {
    fn note<T>(&mut self, outcome: &Result<T, CryptoError>, latency: Duration, wall_micros: i64) {
        self.calls += 1;
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.latencies.add(nanos);
        let is_answered = match outcome {
            Err(CryptoError::Unavailable { reason, .. }) => {
                match reason {
                    UnavailableReason::Throttled => self.throttled += 1,
                    UnavailableReason::Unreachable => self.unanswered += 1,
                }
                *reason == UnavailableReason::Throttled
            }
            Err(CryptoError::Denied { .. }) => {
                self.denied += 1;
                true
            }
            _ => true,
        };
        self.is_reachable = Some(is_answered);
        if is_answered {
            self.last_answer_micros = Some(wall_micros);
        }
        if let Err(error) = outcome {
            self.last_error = Some(trouble::said(error));
        }
    }
}
