//! One table as the keeper sees it, and the only place where its state changes: each change is one line of the log, with the
//! table's id: names are for those who may see the schema, and a log is a file like any other.

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};

use palladium_crypto::{CmkRef, TableId};
use palladium_storage::Lease;

use super::call::{Failure, Purpose};
use super::gate::Urgency;
use super::trouble::Trouble;
use crate::audit::Asker;

/// A table.
pub(super) struct Kept {
    pub id: TableId,
    pub keyspace: String,
    pub name: String,
    /// Held during a call for this table: a hundred waiting requests make one call.
    pub calling: Arc<tokio::sync::Mutex<()>>,
    state: Mutex<State>,
    /// The key among whose tables it is.
    under: Mutex<Option<CmkRef>>,
    /// The log holds something of it: it is opened without a request.
    pub is_wanted: AtomicBool,
    /// It is wanted, and could not be opened: no call before this.
    wanted_at_nanos: AtomicU64,
    /// Its key has come, and what it had in memory is being read: nobody waits for a key service any more.
    pub is_opening: AtomicBool,
    /// The clockwork is at it.
    pub is_tended: AtomicBool,
    /// When the Decrypt was sent that its service answered last, in microseconds of wall time; 0: never.
    confirmed_micros: AtomicI64,
}

/// Where a table's key is.
#[derive(Debug, Clone)]
pub(super) enum State {
    /// Not in memory, and nothing is wrong.
    Dormant,
    /// In memory, under a lease.
    Live(Live),
    /// Denied, or unanswered past the lease.
    Inaccessible(Trouble),
}

/// How the renewal of a lease stands.
#[derive(Debug, Clone)]
pub(super) struct Live {
    /// What the last Decrypt gave, without any grace.
    pub lease: Lease,
    /// From then on a table in use is renewed.
    pub refresh_at_nanos: u64,
    /// Renew it even if nobody uses it.
    pub must_ask: bool,
    /// Renewal was tried, and this came of it: the lease runs to its end.
    pub unanswered: Option<Failure>,
}

impl Kept {
    pub(super) fn new(id: TableId, keyspace: &str, name: &str) -> Self {
        Kept {
            id,
            keyspace: keyspace.to_owned(),
            name: name.to_owned(),
            calling: Arc::default(),
            state: Mutex::new(State::Dormant),
            under: Mutex::default(),
            is_wanted: AtomicBool::new(false),
            wanted_at_nanos: AtomicU64::new(0),
            is_opening: AtomicBool::new(false),
            is_tended: AtomicBool::new(false),
            confirmed_micros: AtomicI64::new(0),
        }
    }

    /// The key among whose tables it is; whoever changes that holds this.
    pub(super) fn under(&self) -> MutexGuard<'_, Option<CmkRef>> {
        self.under.lock().expect("no holder of this lock panics")
    }

    pub(super) fn purpose<'a>(&'a self, asker: &'a Asker, urgency: Urgency) -> Purpose<'a> {
        Purpose {
            keyspace: &self.keyspace,
            table: &self.name,
            asker,
            urgency,
        }
    }

    pub(super) fn state(&self) -> State {
        self.lock().clone()
    }

    /// A look at the state, without a copy of it.
    pub(super) fn look<T>(&self, look: impl FnOnce(&State) -> T) -> T {
        look(&self.lock())
    }

    pub(super) fn live(&self) -> Option<Live> {
        match &*self.lock() {
            State::Live(live) => Some(live.clone()),
            _ => None,
        }
    }

    /// Its key is in memory under `live.lease`. Says whether it was in trouble.
    pub(super) fn set_live(&self, live: Live, cmk: &str) -> bool {
        let was = std::mem::replace(&mut *self.lock(), State::Live(live));
        self.is_wanted.store(false, Ordering::Release);
        match was {
            State::Live(_) => false,
            State::Dormant => {
                tracing::info!(
                    table = %self.id,
                    key = cmk,
                    "the table's key is at hand"
                );
                false
            }
            State::Inaccessible(trouble) => {
                tracing::info!(
                    table = %self.id,
                    key = cmk,
                    reason = %trouble.reason,
                    since = super::trouble::iso8601(trouble.since_micros),
                    "the table's key is back"
                );
                true
            }
        }
    }

    /// Changes how the renewal of a live table stands; a table in trouble stays in trouble.
    pub(super) fn change_live(&self, change: impl FnOnce(&mut Live)) {
        if let State::Live(live) = &mut *self.lock() {
            change(live);
        }
    }

    /// A live table has fallen asleep; one in trouble stays in trouble.
    pub(super) fn set_dormant(&self, cmk: &str, reason: &str) {
        let mut state = self.lock();
        if !matches!(*state, State::Live(_)) {
            return;
        }
        *state = State::Dormant;
        drop(state);
        tracing::info!(
            table = %self.id,
            key = cmk,
            reason,
            "the table sleeps"
        );
    }

    /// Notes the trouble, keeping the moment when it began. Says also whether the reason is another one than before.
    pub(super) fn set_inaccessible(&self, mut trouble: Trouble) -> (Trouble, bool) {
        let mut state = self.lock();
        let reason_before = match &*state {
            State::Inaccessible(before) => {
                trouble.since_micros = before.since_micros;
                Some(before.reason)
            }
            _ => None,
        };
        *state = State::Inaccessible(trouble.clone());
        drop(state);
        self.is_wanted.store(false, Ordering::Release);
        let is_news = reason_before != Some(trouble.reason);
        if is_news {
            tracing::warn!(
                table = %self.id,
                key = trouble.cmk,
                reason = %trouble.reason,
                what = trouble.what,
                "the table's key is inaccessible"
            );
        }
        (trouble, is_news)
    }

    /// Moves the next try of a table that is closed.
    pub(super) fn postpone(&self, until_nanos: u64) {
        match &mut *self.lock() {
            State::Live(_) => {}
            State::Inaccessible(trouble) => trouble.background_at_nanos = until_nanos,
            // Its key can be had and its disk is full, say: that is no reason to fetch the key with every look.
            State::Dormant => self.wanted_at_nanos.store(until_nanos, Ordering::Release),
        }
    }

    /// Whether it is to be opened without a request, now.
    pub(super) fn is_wanted_now(&self, now_nanos: u64) -> bool {
        self.is_wanted.load(Ordering::Acquire)
            && now_nanos >= self.wanted_at_nanos.load(Ordering::Acquire)
    }

    /// Its service has answered a Decrypt that was sent then.
    pub(super) fn confirm(&self, sent_micros: i64) {
        self.confirmed_micros
            .fetch_max(sent_micros, Ordering::AcqRel);
    }

    pub(super) fn confirmed_micros(&self) -> Option<i64> {
        match self.confirmed_micros.load(Ordering::Acquire) {
            0 => None,
            micros => Some(micros),
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().expect("no holder of this lock panics")
    }
}
