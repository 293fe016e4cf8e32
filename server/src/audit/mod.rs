//! The audit trail: what happened to the keys, by whom, with which outcome.
//!
//! Every call to a key service is an event, and so are key DDL, grants, logins and what an operator did to a folder. An event names tables, keys and people;
//! it holds no key byte, no value and no literal.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use palladium_crypto::{CmkRef, EncryptionContext};
use tokio::sync::mpsc;

/// Events that wait to be written before whoever causes another one waits.
const WAITING_MAX: usize = 4_096;

/// Who caused something.
#[derive(Debug, Clone)]
pub struct Asker {
    /// The role, `anonymous` while roles are off, or `palladium` for the server itself.
    pub who: Arc<str>,
    /// Where the request came from.
    pub client: Option<SocketAddr>,
}

impl Asker {
    /// The server itself: a lease to renew, a table to open after a start.
    pub fn server() -> Self {
        Asker {
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
    /// What was done: `Decrypt`, `GenerateDataKey`, `DescribeKey`, `CreateGrant`, `ALTER TABLE`, `accept-rollback`, ...
    pub operation: &'static str,
    /// The table that it was done for.
    pub table: Option<(String, String)>,
    /// The key that was named.
    pub key: Option<CmkRef>,
    /// What the key service was told.
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

/// Where events are handed in.
#[derive(Clone)]
pub struct Audit {
    events: mpsc::Sender<Event>,
}

/// What was handed in and is not written yet.
pub struct Waiting(mpsc::Receiver<Event>);

impl Waiting {
    /// The next event; None when nobody can hand one in any more.
    pub async fn next(&mut self) -> Option<Event> {
        self.0.recv().await
    }
}

impl Audit {
    /// An audit trail, and the end that its writer takes events from.
    pub fn new() -> (Audit, Waiting) {
        let (events, waiting) = mpsc::channel(WAITING_MAX);
        (Audit { events }, Waiting(waiting))
    }

    /// Hands an event in. Waits while too many wait to be written.
    pub async fn record(&self, event: Event) {
        // A server that stops has closed the trail after its last event.
        let _ = self.events.send(event).await;
    }
}
