//! What is known of one key of a key service, whichever of its tables asked.
//!
//! | heard | what follows |
//! |---|---|
//! | a failure of any kind | closed tables under the key repeat their last answer for 5 s |
//! | damage of one table | its service answers; nothing else for the others |
//! | a denial of the key itself | tables that are asleep repeat it, too; a Decrypt that was sent before counts for nothing, whenever it is answered |
//! | no answer | nobody renews for a while that doubles, whatever the number of tables |
//! | no answer three times in a row | tables that are asleep repeat it, too |
//! | an answer | all of this is forgotten, but for denials that spoke of one table, and for what was sent before a denial |
//!
//! It also knows which tables are under the key, so that what is said of it costs by these and not by all.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use palladium_crypto::{Entropy, TableId};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::call::Failure;

/// How long a request finds the last answer repeated instead of a new call.
pub(super) const RETRY_ON_REQUEST: Duration = Duration::from_secs(5);
/// Calls for one key at a time: a service that does not answer holds no more than these.
const CALLS_MAX: usize = 8;
/// Calls for one key that the clockwork makes at a time: the rest is for requests.
const TENDED_MAX: usize = CALLS_MAX / 2;
/// Tables under one key that the clockwork opens at a time. Reading what the log holds of one may take longer than many leases: that is counted apart, so that
/// who opens keeps nobody from renewing.
const OPENED_MAX: usize = 4;
/// So many calls in a row without an answer are no accident.
const SILENCES_MEANT: u32 = 3;
/// The first pause after an unanswered renewal; doubles up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(20);

/// One key.
pub(super) struct Key {
    tables: Mutex<BTreeSet<TableId>>,
    calls: Semaphore,
    tended: Arc<Semaphore>,
    opened: Arc<Semaphore>,
    heard: Mutex<Heard>,
}

#[derive(Default)]
struct Heard {
    /// Requests for closed tables make no call before this.
    retry_at_nanos: u64,
    /// The newest denial of the key itself, and when it came; forgotten when the key is back.
    denial: Option<(u64, Failure)>,
    /// The same, and never forgotten.
    newest_denial: Option<(u64, Failure)>,
    /// Calls in a row without an answer, and the last of them.
    silences: u32,
    unanswered: Option<Failure>,
    /// No renewal before this.
    silent_until_nanos: u64,
    /// When the newest Decrypt was sent that was answered with a key.
    answered_sent_nanos: u64,
}

/// What the clockwork may do for a key.
pub(super) struct Tending {
    /// One call: given back when it is over.
    pub(super) call: OwnedSemaphorePermit,
    /// To open a table with what is answered: given back when that has ended.
    pub(super) opening: Option<OwnedSemaphorePermit>,
}

impl Key {
    pub(super) fn new() -> Self {
        Key {
            tables: Mutex::default(),
            calls: Semaphore::new(CALLS_MAX),
            tended: Arc::new(Semaphore::new(TENDED_MAX)),
            opened: Arc::new(Semaphore::new(OPENED_MAX)),
            heard: Mutex::default(),
        }
    }

    /// A table is under this key now.
    pub(super) fn adopt(&self, table: TableId) {
        self.of_tables().insert(table);
    }

    /// A table has left this key.
    pub(super) fn leave(&self, table: TableId) {
        self.of_tables().remove(&table);
    }

    /// The tables under this key, by id.
    pub(super) fn tables(&self) -> Vec<TableId> {
        self.of_tables().iter().copied().collect()
    }

    /// Waits until few enough call for this key.
    pub(super) async fn turn(&self) -> tokio::sync::SemaphorePermit<'_> {
        self.calls
            .acquire()
            .await
            .expect("this semaphore is never closed")
    }

    /// Leave for the clockwork to make one more call for this key, and to open one more table if that is what it is for.
    pub(super) fn tend(&self, is_to_open: bool) -> Option<Tending> {
        let opening = match is_to_open {
            true => Some(self.opened.clone().try_acquire_owned().ok()?),
            false => None,
        };
        let call = self.tended.clone().try_acquire_owned().ok()?;
        Some(Tending { call, opening })
    }

    /// A call failed.
    pub(super) fn failed(&self, now: u64, failure: &Failure, entropy: &dyn Entropy) {
        self.wait(now);
        let mut heard = self.heard();
        if failure.is_key_wide() {
            heard.denial = Some((now, failure.clone()));
            heard.newest_denial = heard.denial.clone();
        }
        if failure.is_silence() {
            heard.silent_until_nanos = now.saturating_add(pause(heard.silences, entropy));
            heard.silences = heard.silences.saturating_add(1);
            heard.unanswered = Some(failure.clone());
        } else {
            // A no, or bytes that are not the table's key: its service answers.
            heard.silences = 0;
            heard.unanswered = None;
        }
    }

    /// A Decrypt that was sent at `sent` was answered with a key. An error: a denial came after it was sent, and the key is gone again; or it has come back since,
    /// and whoever asked must ask again: None.
    pub(super) fn answered(&self, sent: u64) -> Result<(), Option<Failure>> {
        if let Some(denial) = self.denied_after(sent) {
            let is_back = self.heard().denial.is_none();
            return Err(Some(denial).filter(|_| !is_back));
        }
        let mut heard = self.heard();
        // What was said of one table still holds for it.
        let was_key_wide = heard.denial.is_some() || heard.unanswered.is_some();
        let retry_at_nanos = if was_key_wide {
            0
        } else {
            heard.retry_at_nanos
        };
        *heard = Heard {
            retry_at_nanos,
            newest_denial: heard.newest_denial.take(),
            answered_sent_nanos: heard.answered_sent_nanos.max(sent),
            ..Heard::default()
        };
        Ok(())
    }

    /// The denial of the key itself that came after a Decrypt was sent at `sent`: what that one was answered with counts for nothing.
    pub(super) fn denied_after(&self, sent: u64) -> Option<Failure> {
        let heard = self.heard();
        let (at, denial) = heard.newest_denial.as_ref()?;
        (*at > sent).then(|| denial.clone())
    }

    /// Whether a Decrypt that was sent after `sent` has been answered with a key.
    pub(super) fn has_answered_after(&self, sent: u64) -> bool {
        self.heard().answered_sent_nanos > sent
    }

    /// Requests for closed tables make no call for a while.
    pub(super) fn wait(&self, now: u64) {
        self.heard().retry_at_nanos = now.saturating_add(RETRY_ON_REQUEST.as_nanos() as u64);
    }

    /// Whether a request for a closed table must make do with the last answer.
    pub(super) fn is_too_early(&self, now: u64) -> bool {
        now < self.heard().retry_at_nanos
    }

    /// What a table that is asleep is told without a call.
    pub(super) fn refuses_sleepers(&self, now: u64) -> Option<Failure> {
        let heard = self.heard();
        if now >= heard.retry_at_nanos {
            return None;
        }
        let denial = heard.fresh_denial(now);
        let silence = heard.unanswered.as_ref();
        denial
            .or(silence.filter(|_| heard.silences >= SILENCES_MEANT))
            .cloned()
    }

    /// The denial of the key itself, if it came just now.
    pub(super) fn denied_lately(&self, now: u64) -> Option<Failure> {
        self.heard().fresh_denial(now).cloned()
    }

    /// The call that was not answered, while it is too early to renew again.
    pub(super) fn silent(&self, now: u64) -> Option<Failure> {
        let heard = self.heard();
        heard
            .unanswered
            .clone()
            .filter(|_| now < heard.silent_until_nanos)
    }

    fn of_tables(&self) -> MutexGuard<'_, BTreeSet<TableId>> {
        self.tables.lock().expect("no holder of this lock panics")
    }

    fn heard(&self) -> MutexGuard<'_, Heard> {
        self.heard.lock().expect("no holder of this lock panics")
    }
}

impl Heard {
    /// The denial of the key itself while it need not be asked for again. What is said of single tables makes it no younger: the key may be back long since.
    fn fresh_denial(&self, now: u64) -> Option<&Failure> {
        let (at, denial) = self.denial.as_ref()?;
        let until = at.saturating_add(RETRY_ON_REQUEST.as_nanos() as u64);
        (now < until).then_some(denial)
    }
}

/// Doubles with each silence, give or take a quarter, so that servers that lost the same service do not come back in step.
fn pause(silences: u32, entropy: &dyn Entropy) -> u64 {
    let mut random = [0u8; 1];
    entropy.fill(&mut random);
    let pause = RETRY_MIN
        .saturating_mul(1 << silences.min(8))
        .min(RETRY_MAX);
    pause.as_nanos() as u64 / 100 * (75 + u64::from(random[0]) % 51)
}
