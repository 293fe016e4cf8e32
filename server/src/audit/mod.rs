//! The audit trail: what happened to the keys, by whom, with which outcome.
//!
//! Every call to a key service is an event, and so are key DDL, grants, logins and what an operator did to a folder. An event names tables, keys and people;
//! it holds no key byte, no value and no literal.
//!
//! ```text
//! Audit::record ─► (what repeats is counted) ─► bounded channel ─► writer: many events, one write ─► trail (the server's own table, chained by hashes) ─► system_palladium.kms_calls
//!                                        └─ each minute: the head, signed ─► KEYRING.audit-head, log                     └─► palladium audit verify
//! ```
//!
//! What must hold:
//! - Whoever records an event waits for no disk: only for a place in the channel. Events from before the engine is open wait there.
//! - The trail has no gaps: sequences follow each other, and each record's hash holds all before it. What is pruned is behind a signed checkpoint.
//! - Once the trail is closed nothing is begun that it would have to hold: there is no room any more, and what comes late is named in the log. A clean stop writes
//!   all that was handed in, and what was under way as unanswered. A crash loses what was not yet durable; a START that follows no STOP says that this may be so.
//!
//! What the chain proves, and what not: who does not hold the service's key cannot change, remove or reorder a record unseen. Who holds it can write another
//! trail and sign it; only a head that somebody else kept (the exported file, the log) tells that it is another one.
//!
//! Read on in `record` (one event), `repeats` (what is only counted), `head` (what is signed and exported), `trail` (the table), `writer`, `check` (the whole chain, offline).

mod check;
mod export;
mod head;
mod record;
mod repeats;
mod trail;
mod writer;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use palladium_crypto::{CmkRef, EncryptionContext};
use tokio::sync::{mpsc, watch};

pub use check::{Checked, check};
pub use head::{Head, Place, export, read_exported, set_aside_but};
pub use record::{Hash, Record};
use repeats::Repeats;
pub use trail::{Entry, SEGMENT_ROWS, Span, Trail, TrailLimits};
pub use writer::Writing;

/// Events that wait to be written before whoever causes another one waits.
const WAITING_MAX: usize = 4_096;

/// What kind of asker it is: names of roles are free, and one may be called `palladium`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// This server itself, or its operator on this machine.
    Server,
    /// A client that was not asked who it is.
    Anonymous,
    /// A role that has logged in, by the number of its name.
    Role(u32),
}

/// Who caused something.
#[derive(Debug, Clone)]
pub struct Asker {
    /// In which right.
    pub standing: Standing,
    /// The role, `anonymous` while roles are off, or `palladium` for the server itself.
    pub who: Arc<str>,
    /// Where the request came from.
    pub client: Option<SocketAddr>,
}

impl Asker {
    /// A client while roles are off.
    pub fn anonymous(client: SocketAddr) -> Self {
        Asker {
            standing: Standing::Anonymous,
            who: "anonymous".into(),
            client: Some(client),
        }
    }

    /// The server itself: a lease to renew, a table to open after a start.
    pub fn server() -> Self {
        Asker {
            standing: Standing::Server,
            who: "palladium".into(),
            client: None,
        }
    }
}

/// Something that happened.
#[derive(Debug, Clone)]
pub struct Event {
    /// When it began, in microseconds of wall time.
    pub at_micros: i64,
    /// What was done: `Decrypt`, `GenerateDataKey`, `DescribeKey`, `CreateGrant`, `ALTER TABLE`, `LOGIN`, `GRANT`, `ACCEPT ROLLBACK`, ...
    pub operation: &'static str,
    /// The table that it was done for.
    pub table: Option<(String, String)>,
    /// The key that was named.
    pub key: Option<CmkRef>,
    /// What the key service was told; of what an operator did: what he was told.
    pub context: Option<EncryptionContext>,
    /// `Ok`, or the reason's word and what the service said.
    pub outcome: Result<(), String>,
    /// How long it took.
    pub latency: Duration,
    /// What the service calls the request in its own log.
    pub request_id: Option<String>,
    /// Who caused it.
    pub asker: Asker,
}

impl Event {
    /// Something that this server did by itself at this moment, and that went well.
    pub fn of_server(operation: &'static str, at_micros: i64) -> Event {
        Event {
            at_micros,
            operation,
            table: None,
            key: None,
            context: None,
            outcome: Ok(()),
            latency: Duration::ZERO,
            request_id: None,
            asker: Asker::server(),
        }
    }
}

impl Event {
    /// Names it in the log, where the trail cannot hold it: no names of tables and people, nor what a service said, for a log is a file like any other.
    fn log(&self) {
        tracing::warn!(
            operation = self.operation,
            at = self.at_micros,
            key = self.key.as_ref().map(tracing::field::display),
            is_ok = self.outcome.is_ok(),
            "audit"
        );
    }
}

/// Where events are handed in.
#[derive(Clone)]
pub struct Audit {
    /// None: nothing is recorded.
    events: Option<mpsc::Sender<Event>>,
    repeats: Arc<Repeats>,
    is_closed: watch::Receiver<bool>,
}

/// Room for one event that is about to happen; holds nothing where nothing is recorded.
pub struct Room(Option<(mpsc::OwnedPermit<Event>, Arc<Repeats>)>);

impl Room {
    /// Hands the event in, without waiting; one that repeats is only counted.
    pub fn record(self, event: Event) {
        if let Some((permit, repeats)) = self.0
            && let Some(event) = repeats.admit(event)
        {
            permit.send(event);
        }
    }
}

/// What was handed in and is not written yet.
pub struct Waiting {
    events: mpsc::Receiver<Event>,
    repeats: Arc<Repeats>,
    is_closed: watch::Sender<bool>,
}

impl Waiting {
    /// The next event; None when nobody can hand one in any more.
    pub async fn next(&mut self) -> Option<Event> {
        self.events.recv().await
    }

    /// The next event, if one waits.
    fn next_now(&mut self) -> Option<Event> {
        self.events.try_recv().ok()
    }

    /// What was only counted until now, because it repeated.
    pub fn counted(&self) -> Vec<Event> {
        self.repeats.counted()
    }

    /// Takes nothing more in; what waits, and what room was taken for, can still be had.
    fn close(&mut self) {
        self.events.close();
        self.is_closed.send_replace(true);
    }
}

impl Audit {
    /// An audit trail, and the end that its writer takes events from.
    pub fn new() -> (Audit, Waiting) {
        let (events, waiting) = mpsc::channel(WAITING_MAX);
        let (close, is_closed) = watch::channel(false);
        let repeats = Arc::new(Repeats::default());
        let audit = Audit {
            events: Some(events),
            repeats: repeats.clone(),
            is_closed,
        };
        let waiting = Waiting {
            events: waiting,
            repeats,
            is_closed: close,
        };
        (audit, waiting)
    }

    /// Where nothing is recorded: for a tool that leaves no trace.
    pub fn none() -> Audit {
        Audit {
            events: None,
            repeats: Arc::default(),
            is_closed: watch::channel(false).1,
        }
    }

    /// Waits until the trail is closed: whoever is at work with room for an event records it now.
    pub async fn closed(&self) {
        let mut is_closed = self.is_closed.clone();
        if is_closed.wait_for(|is_closed| *is_closed).await.is_err() {
            // Nobody writes a trail.
            std::future::pending().await
        }
    }

    /// Waits for room for one event. None: the trail is closed, and what cannot be recorded is not to happen.
    pub async fn room(&self) -> Option<Room> {
        match self.events.clone() {
            Some(events) => {
                let permit = events.reserve_owned().await.ok()?;
                Some(Room(Some((permit, self.repeats.clone()))))
            }
            None => Some(Room(None)),
        }
    }

    /// Hands an event in; one that repeats is only counted. Waits while too many wait to be written.
    pub async fn record(&self, event: Event) {
        if let Some(events) = &self.events
            && let Some(event) = self.repeats.admit(event)
            && let Err(late) = events.send(event).await
        {
            tracing::error!("an event came after the audit trail had been closed");
            late.0.log();
        }
    }

    /// Hands an event in while nobody writes yet: when there is no more room for it, it is only logged. A server that tries for days to get its own key must
    /// not stop trying.
    pub fn record_early(&self, event: Event) {
        let Some(events) = &self.events else { return };
        if events.capacity() <= WAITING_MAX / 2 || events.try_send(event).is_err() {
            tracing::warn!("an event from before the start has no room in the audit trail");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_closed_trail_has_room_only_for_what_had_begun() {
        let (audit, mut waiting) = Audit::new();
        let room = audit.room().await.expect("it is open");
        waiting.close();
        assert!(audit.room().await.is_none());
        room.record(Event::of_server("Decrypt", 1));
        let recorded = waiting.next().await.map(|event| event.operation);
        assert_eq!(recorded, Some("Decrypt"));
        assert!(waiting.next().await.is_none());
    }

    #[tokio::test]
    async fn where_nothing_is_recorded_there_is_always_room() {
        assert!(Audit::none().room().await.is_some());
    }
}
