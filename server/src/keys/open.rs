//! A table opens for a request, or closes because its key cannot be had.
//!
//! ```text
//! Decrypt ─► lease ─► SSTables opened, log shares replayed ─► Live
//!              └─ 40-70 % of it over: Decrypt, the opening goes on under the new lease; a denial stops it
//! ```

use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::future::{Either, select};
use palladium_crypto::{KeyRing, UnavailableReason};
use palladium_storage::{Backend, Lease, Reading, TableKeys};

use super::call::{Failure, Purpose};
use super::gate::Urgency;
use super::state::{Kept, Live, State};
use super::trouble::{self, Trouble};
use super::{Inner, Reason};
use crate::audit::Asker;
use crate::error::{CqlError, CqlResult};

/// How long a request waits for a key service.
const REQUEST_WAIT: Duration = Duration::from_secs(2);
/// Between two tries to renew the lease of an opening whose service does not answer.
const RENEWAL_PAUSE: Duration = Duration::from_secs(1);

/// What came of opening a table in the engine.
pub(super) enum Unlocked {
    /// It is open under this lease.
    Open(Lease),
    /// Its lease could not be renewed in time.
    Refused(Failure),
    /// Something else is wrong.
    Failed(palladium_storage::Error),
}

impl<B: Backend> Inner<B> {
    /// Opens a closed table for a request that waits for one Decrypt, at most two seconds; for reading what the disk holds it waits as long as that takes.
    pub(super) async fn ensure(self: &Arc<Self>, kept: Arc<Kept>, asker: &Asker) -> CqlResult<()> {
        let opened = Box::pin(self.open_when_its_turn(kept.clone(), asker.clone()));
        match select(opened, self.env().sleep(REQUEST_WAIT)).await {
            Either::Left((opened, _)) => opened,
            Either::Right(((), opened)) => match kept.is_opening.load(Ordering::Acquire) {
                true => opened.await,
                false => Err(self.still_waiting(&kept)),
            },
        }
    }

    /// What has begun runs to its end even if the client leaves: a table half opened would be nobody's to close.
    async fn open_when_its_turn(self: &Arc<Self>, kept: Arc<Kept>, asker: Asker) -> CqlResult<()> {
        // An open table is used while its key is asked for again, or switched.
        if self.engine.lease_alive(kept.id) {
            return Ok(());
        }
        let one_call = kept.calling.clone().lock_owned().await;
        if self.engine.lease_alive(kept.id) {
            return Ok(());
        }
        if let Some(refusal) = self.refused_lately(&kept) {
            return Err(refusal);
        }
        let (tell, told) = futures::channel::oneshot::channel();
        let inner = self.clone();
        self.env().spawn(Box::pin(async move {
            let purpose = kept.purpose(&asker, Urgency::Request);
            let opened = inner.open(&kept, purpose).await;
            drop(one_call);
            let _ = tell.send(opened);
        }));
        told.await
            .unwrap_or_else(|_| Err(CqlError::overloaded("The server is shutting down")))
    }

    /// The last answer about a closed table, while it is too early to ask again.
    fn refused_lately(&self, kept: &Kept) -> Option<CqlError> {
        let root = self.engine.root(kept.id)?;
        let now = self.now_nanos();
        let key = self.key(&root.cmk);
        match kept.state() {
            State::Inaccessible(trouble) if key.is_too_early(now) => {
                Some(self.refusal(kept, &trouble))
            }
            State::Dormant => {
                let failure = key.refuses_sleepers(now)?;
                let trouble = self.set_inaccessible(kept, failure);
                Some(self.refusal(kept, &trouble))
            }
            _ => None,
        }
    }

    /// Asks for the table's key and opens the table. The caller holds `calling`.
    async fn open(&self, kept: &Kept, purpose: Purpose<'_>) -> CqlResult<()> {
        let asked = self.ask(kept, purpose).await;
        self.open_with(kept, purpose, asked).await
    }

    /// Opens the table with what its key service has answered. The caller holds `calling`.
    pub(super) async fn open_with(
        &self,
        kept: &Kept,
        purpose: Purpose<'_>,
        asked: Result<(KeyRing, Lease), Failure>,
    ) -> CqlResult<()> {
        let (ring, lease) = match asked {
            Ok(fetched) => fetched,
            Err(failure) if self.extend(kept, &failure) => return Ok(()),
            Err(failure) => return Err(self.close(kept, failure).await),
        };
        let keys = TableKeys {
            ring: Arc::new(ring),
            lease,
        };
        match self.unlock(kept, purpose, keys).await {
            Unlocked::Open(lease) => {
                self.set_live(kept, lease);
                self.overtaken(kept, lease).await
            }
            Unlocked::Refused(failure) => Err(self.close(kept, failure).await),
            Unlocked::Failed(error @ palladium_storage::Error::Corrupt { .. }) => {
                let failure = self.failure(kept, Reason::Damaged, error.to_string());
                if let Some(cmk) = &failure.cmk {
                    self.key(cmk).wait(self.now_nanos());
                }
                Err(self.close(kept, failure).await)
            }
            // Closed while it was being opened, by a denial or by the end of its lease.
            Unlocked::Failed(error @ palladium_storage::Error::KeyUnavailable { .. }) => {
                match kept.state() {
                    State::Inaccessible(trouble) => Err(self.refusal(kept, &trouble)),
                    _ => Err(error.into()),
                }
            }
            // Nothing is wrong with the key: a full disk, a table that was dropped meanwhile.
            Unlocked::Failed(error) => Err(error.into()),
        }
    }

    /// Opens the table in the engine. What the log holds of it may take longer to read than a lease lasts, so the lease is renewed meanwhile as that of a table in use.
    pub(super) async fn unlock(
        &self,
        kept: &Kept,
        purpose: Purpose<'_>,
        keys: TableKeys,
    ) -> Unlocked {
        kept.is_opening.store(true, Ordering::Release);
        let unlocked = self.unlock_and_renew(kept, purpose, keys).await;
        kept.is_opening.store(false, Ordering::Release);
        unlocked
    }

    async fn unlock_and_renew(
        &self,
        kept: &Kept,
        purpose: Purpose<'_>,
        keys: TableKeys,
    ) -> Unlocked {
        let mut lease = keys.lease;
        let mut renew_at = self.refresh_at(lease);
        let mut silence = None;
        // Goes on in a task of the engine's while the service is asked.
        let mut opening = pin!(self.engine.unlock(kept.id, keys));
        loop {
            let pause = Duration::from_nanos(renew_at.saturating_sub(self.now_nanos()));
            match select(opening.as_mut(), self.env().sleep(pause)).await {
                Either::Left((opened, _)) => return unlocked(opened, lease, silence),
                Either::Right(_) if self.now_nanos() < renew_at => continue,
                Either::Right(_) => {}
            }
            // Whoever opens without a request has a lease to lose from now on.
            let urgency = Urgency::Renewal(lease.boot_deadline_nanos).min(purpose.urgency);
            let asking = pin!(self.ask(kept, Purpose { urgency, ..purpose }));
            let answer = match select(opening.as_mut(), asking).await {
                // Whoever waits at a gate, or for a service that says nothing, cannot close a table that has been opened meanwhile.
                Either::Left((opened, _)) => return unlocked(opened, lease, silence),
                Either::Right((answer, _)) => answer,
            };
            match answer {
                Ok((_, renewed)) => {
                    self.engine.renew(kept.id, renewed);
                    lease = renewed;
                    renew_at = self.refresh_at(lease);
                    silence = None;
                }
                Err(failure) if failure.is_silence() => {
                    renew_at = self.now_nanos() + RENEWAL_PAUSE.as_nanos() as u64;
                    silence = Some(failure);
                }
                Err(failure) => {
                    self.engine.stop(kept.id);
                    // What is said of the key itself does not wait until the opening has stopped: its siblings are open, and the disk may take long.
                    let spread = async {
                        if failure.is_key_wide() {
                            self.spread(&failure).await;
                        }
                    };
                    let _ = futures::join!(opening, spread);
                    return Unlocked::Refused(failure);
                }
            }
        }
    }

    /// A denial of the key itself that came while the table was being opened closes it again: whoever spread it saw no live table here.
    pub(super) async fn overtaken(&self, kept: &Kept, lease: Lease) -> CqlResult<()> {
        let Some(root) = self.engine.root(kept.id) else {
            return Ok(());
        };
        match self.key(&root.cmk).denied_after(self.sent(lease)) {
            Some(denial) => Err(self.close(kept, denial).await),
            None => Ok(()),
        }
    }

    /// An open table whose service is out of reach stays open past its lease, for the grace that the operator allows. Says whether it does.
    pub(super) fn extend(&self, kept: &Kept, failure: &Failure) -> bool {
        let may = self.options.grace_seconds > 0 && failure.is_silence();
        let Some(live) = kept.live().filter(|_| may) else {
            return false;
        };
        let lease = self.with_grace(live.lease);
        // Another lease is that of another key: a switch has come to it, and is not over yet.
        let is_its = self
            .engine
            .lease(kept.id)
            .is_some_and(|present| present == live.lease || present == lease);
        if !is_its || !lease.is_alive_at(Reading::now(self.env())) {
            return false;
        }
        self.engine.renew(kept.id, lease);
        kept.change_live(|live| live.unanswered = Some(failure.clone()));
        true
    }

    pub(super) fn with_grace(&self, lease: Lease) -> Lease {
        let grace = Duration::from_secs(self.options.grace_seconds);
        Lease {
            boot_deadline_nanos: lease
                .boot_deadline_nanos
                .saturating_add(grace.as_nanos() as u64),
            wall_deadline_micros: lease
                .wall_deadline_micros
                .saturating_add(grace.as_micros() as i64),
        }
    }

    /// Closes a table whose key cannot be had, and its siblings if the denial speaks of the key. Gives what a client is told.
    pub(super) async fn close(&self, kept: &Kept, failure: Failure) -> CqlError {
        let (trouble, is_news) = self.note_inaccessible(kept, failure.clone());
        // What is said of one table again and again is no news for its siblings: they would be asked for every time.
        let spread = async {
            if is_news || failure.is_key_wide() {
                self.spread(&failure).await;
            }
        };
        futures::join!(self.engine.lock(kept.id), spread);
        self.refusal(kept, &trouble)
    }

    pub(super) fn set_live(&self, kept: &Kept, lease: Lease) {
        self.index(kept);
        let live = Live {
            lease,
            refresh_at_nanos: self.refresh_at(lease),
            must_ask: false,
            unanswered: None,
        };
        kept.confirm(self.sent_wall_micros(lease));
        if kept.set_live(live, &self.key_name(kept)) {
            self.hasten_siblings(kept);
        }
    }

    pub(super) fn set_inaccessible(&self, kept: &Kept, failure: Failure) -> Trouble {
        self.note_inaccessible(kept, failure).0
    }

    /// Says also whether that is news.
    fn note_inaccessible(&self, kept: &Kept, failure: Failure) -> (Trouble, bool) {
        let Failure { reason, what, cmk } = failure;
        kept.set_inaccessible(Trouble {
            reason,
            since_micros: self.env().wall_micros(),
            cmk: cmk.map_or_else(|| "unknown".into(), |cmk| cmk.to_string()),
            what,
            background_at_nanos: trouble::background_at(self.now_nanos()),
        })
    }

    pub(super) fn refusal(&self, kept: &Kept, trouble: &Trouble) -> CqlError {
        trouble.to_cql(&kept.keyspace, &kept.name)
    }

    /// The key is not at hand, and a client waits no longer for it.
    pub(super) fn still_waiting(&self, kept: &Kept) -> CqlError {
        let trouble = Trouble {
            reason: Reason::Unavailable(UnavailableReason::Unreachable),
            since_micros: self.env().wall_micros(),
            cmk: self.key_name(kept),
            what: String::new(),
            background_at_nanos: 0,
        };
        match kept.state() {
            State::Inaccessible(trouble) => self.refusal(kept, &trouble),
            _ => self.refusal(kept, &trouble),
        }
    }
}

/// What an opening came to that ended under this lease, after a renewal that was not answered if there was one.
fn unlocked(
    opened: palladium_storage::Result<()>,
    lease: Lease,
    silence: Option<Failure>,
) -> Unlocked {
    match opened {
        Ok(()) => Unlocked::Open(lease),
        Err(error @ palladium_storage::Error::KeyUnavailable { .. }) => {
            silence.map_or(Unlocked::Failed(error), Unlocked::Refused)
        }
        Err(error) => Unlocked::Failed(error),
    }
}
