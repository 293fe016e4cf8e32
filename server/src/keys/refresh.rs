//! The keeper's clockwork: renew what is in use, put to sleep what is not, try again what is in trouble.
//!
//! ```text
//! lease   0 %            40 %         70 %        80-90 %    100 %
//!         |──────────────|── refresh ──|── if used ──| sleep ──|
//! ```
//!
//! One look at the tables that have keys, once a second or more often under short leases. A table in use is renewed at a random 40 to 70 % of its lease, so
//! that no request ever waits for a renewal and tables of one key do not call in step. What is due is handled key by key, each key beside the others: a
//! service that does not answer delays nobody but the tables of its own keys.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, FuturesUnordered, StreamExt};
use palladium_crypto::CmkRef;
use palladium_storage::{Backend, Lease, Reading};

use super::call::Failure;
use super::{Inner, Kept, KeyKeeper, Live, State, key, trouble};
use crate::audit::Asker;

/// Keys of one service that are asked for at a time.
const KEYS_AT_A_TIME: usize = 16;
/// Tables that are closed at a time when their key is denied: each waits until who works on it has stopped.
const LOCKS_AT_A_TIME: usize = 64;
/// A table is not asked for again because of a sibling within this of its last answer.
const HASTENED_AFTER: Duration = key::RETRY_ON_REQUEST;

/// Tables of one key that something must be done about.
struct Due {
    cmk: CmkRef,
    first_deadline_nanos: u64,
    tables: Vec<Arc<Kept>>,
}

impl<B: Backend> KeyKeeper<B> {
    /// Runs until the process ends.
    pub async fn run(self) {
        let inner = &*self.inner;
        let pause = Duration::from_millis(200 + inner.options.lease_seconds * 2);
        let mut under_way = FuturesUnordered::new();
        let mut busy: HashSet<CmkRef> = HashSet::new();
        loop {
            let mut next_look = inner.env.sleep(pause);
            loop {
                tokio::select! {
                    () = &mut next_look => break,
                    Some(cmk) = under_way.next() => {
                        busy.remove(&cmk);
                    }
                }
            }
            for due in inner.due() {
                let provider = due.cmk.provider();
                let of_this_service = busy.iter().filter(|cmk| cmk.provider() == provider);
                if of_this_service.count() < KEYS_AT_A_TIME && busy.insert(due.cmk.clone()) {
                    under_way.push(async move {
                        inner.tend_all(due.tables).await;
                        due.cmk
                    });
                }
            }
        }
    }

    /// One look, and all that follows from it, as tests step it by hand.
    pub async fn step(&self) {
        let inner = &*self.inner;
        stream::iter(inner.due())
            .for_each_concurrent(KEYS_AT_A_TIME, |due| inner.tend_all(due.tables))
            .await;
    }
}

impl<B: Backend> Inner<B> {
    pub(super) fn refresh_at(&self, lease: Lease) -> u64 {
        let mut random = [0u8; 2];
        self.env.entropy().fill(&mut random);
        let share = 40 + u64::from(u16::from_le_bytes(random)) % 31;
        let length = self.lease_nanos();
        let start = lease.boot_deadline_nanos.saturating_sub(length);
        start.saturating_add(length / 100 * share)
    }

    fn lease_nanos(&self) -> u64 {
        Duration::from_secs(self.options.lease_seconds).as_nanos() as u64
    }

    /// A lease with less than this left is let go: time enough to write out a memtable.
    fn letting_go(&self) -> Duration {
        Duration::from_secs((self.options.lease_seconds / 10).max(2))
    }

    /// What must be done something about, the earliest deadline first.
    fn due(&self) -> Vec<Due> {
        let now = Reading::now(&*self.env);
        let mut by_key: HashMap<CmkRef, Due> = HashMap::new();
        for entry in self.tables.iter() {
            let kept = entry.value();
            let Some(deadline_nanos) = self.due_since(kept, now) else {
                continue;
            };
            let root = self.engine.root(kept.id);
            let cmk = root.map_or_else(|| self.options.service_cmk.clone(), |root| root.cmk);
            let due = by_key.entry(cmk.clone()).or_insert_with(|| Due {
                cmk,
                first_deadline_nanos: u64::MAX,
                tables: Vec::new(),
            });
            due.first_deadline_nanos = due.first_deadline_nanos.min(deadline_nanos);
            due.tables.push(kept.clone());
        }
        let mut all: Vec<Due> = by_key.into_values().collect();
        all.sort_by_key(|due| due.first_deadline_nanos);
        all
    }

    /// The deadline of a table that is due; one in trouble has none to miss.
    fn due_since(&self, kept: &Kept, now: Reading) -> Option<u64> {
        match kept.state() {
            State::Dormant => None,
            State::Inaccessible(trouble) => {
                (now.boot_nanos >= trouble.background_at_nanos).then_some(u64::MAX)
            }
            State::Live(live) => {
                let lease = self.engine.lease(kept.id);
                let deadline = lease.map_or(0, |lease| lease.boot_deadline_nanos);
                let is_ending = !lease.is_some_and(|lease| lease.is_alive_at(self.soon(now)));
                (is_ending || now.boot_nanos >= live.refresh_at_nanos).then_some(deadline)
            }
        }
    }

    fn soon(&self, now: Reading) -> Reading {
        let ahead = self.letting_go();
        Reading {
            boot_nanos: now.boot_nanos.saturating_add(ahead.as_nanos() as u64),
            wall_micros: now.wall_micros.saturating_add(ahead.as_micros() as i64),
        }
    }

    /// Tables of one key.
    async fn tend_all(&self, tables: Vec<Arc<Kept>>) {
        stream::iter(tables)
            .for_each_concurrent(key::CALLS_MAX / 2, |kept| async move {
                match kept.state() {
                    State::Dormant => {}
                    State::Live(live) => self.tend(&kept, live).await,
                    State::Inaccessible(_) => self.try_again(&kept).await,
                }
            })
            .await;
    }

    async fn tend(&self, kept: &Kept, live: Live) {
        let is_due = self.env.boot_nanos() >= live.refresh_at_nanos;
        let is_asked_for = live.must_ask || live.unanswered.is_some();
        if is_due && (is_asked_for || self.engine.take_used(kept.id)) {
            self.renew(kept, live.refresh_at_nanos).await;
        }
        let State::Live(live) = kept.state() else {
            return;
        };
        let Some(lease) = self.engine.lease(kept.id) else {
            kept.replace_live(State::Dormant);
            return;
        };
        let now = Reading::now(&*self.env);
        match live.unanswered {
            None if !lease.is_alive_at(self.soon(now)) => self.put_to_sleep(kept, lease).await,
            Some(failure) if !lease.is_alive_at(now) => {
                let _one_call = kept.calling.lock().await;
                if !self.engine.lease_alive(kept.id) {
                    self.close(kept, failure).await;
                }
            }
            _ => {}
        }
    }

    /// Nobody used the table: its memtable goes to disk and its key leaves memory.
    async fn put_to_sleep(&self, kept: &Kept, lease: Lease) {
        let _one_call = kept.calling.lock().await;
        if self.engine.lease(kept.id) != Some(lease) {
            return;
        }
        self.engine.sleep(kept.id).await;
        if self.engine.lease(kept.id).is_none() {
            kept.replace_live(State::Dormant);
        }
    }

    /// One Decrypt renews the lease; a denial ends it; no answer leaves it as it is.
    async fn renew(&self, kept: &Kept, refresh_at_nanos: u64) {
        let _one_call = kept.calling.lock().await;
        if !matches!(kept.state(), State::Live(live) if live.refresh_at_nanos == refresh_at_nanos) {
            // Renewed, switched or closed while this waited for its turn.
            return;
        }
        let answer = match self.silence(kept) {
            Some(failure) => Err(failure),
            None => self.ask(kept, &Asker::server()).await,
        };
        match answer {
            Ok((_, lease)) if matches!(kept.state(), State::Live(_)) => {
                self.engine.renew(kept.id, lease);
                self.set_live(kept, lease);
            }
            Ok(_) => {}
            Err(failure) if failure.is_denial() => {
                self.close(kept, failure).await;
            }
            Err(failure) => kept.replace_live(State::Live(Live {
                refresh_at_nanos,
                must_ask: false,
                unanswered: Some(failure),
            })),
        }
    }

    /// The last answer of the table's key, while it is too early for another renewal.
    fn silence(&self, kept: &Kept) -> Option<Failure> {
        let root = self.engine.root(kept.id)?;
        self.key(&root.cmk).silent(self.env.boot_nanos())
    }

    /// A table in trouble, without a request.
    async fn try_again(&self, kept: &Kept) {
        let _one_call = kept.calling.lock().await;
        let now = self.env.boot_nanos();
        if !matches!(kept.state(), State::Inaccessible(trouble) if now >= trouble.background_at_nanos)
        {
            return;
        }
        let Some(root) = self.engine.root(kept.id) else {
            kept.postpone(trouble::background_at(now));
            return;
        };
        let key = self.key(&root.cmk);
        if let Some(failure) = key.denied_lately(now).or_else(|| key.silent(now)) {
            self.set_inaccessible(kept, failure);
            return;
        }
        if let Err(error) = self.open(kept, &Asker::server()).await {
            tracing::debug!(keyspace = kept.keyspace, table = kept.name, %error, "still inaccessible");
            kept.postpone(trouble::background_at(self.env.boot_nanos()));
        }
    }

    /// What a service says of the key itself holds for every table under it, now; what it says of one table makes the keeper ask for the others soon.
    pub(super) async fn spread(&self, failure: &Failure) {
        let (true, Some(cmk)) = (failure.is_denial(), &failure.cmk) else {
            return;
        };
        let siblings: Vec<Arc<Kept>> = self.under(cmk, |state| matches!(state, State::Live(_)));
        if !failure.is_key_wide() {
            siblings.iter().for_each(|kept| self.hasten(kept));
            return;
        }
        for kept in &siblings {
            self.set_inaccessible(kept, failure.clone());
        }
        stream::iter(siblings)
            .for_each_concurrent(LOCKS_AT_A_TIME, |kept| async move {
                self.engine.lock(kept.id).await;
            })
            .await;
    }

    /// A live table is asked for with the next look, unless it has just been.
    fn hasten(&self, kept: &Kept) {
        let Some(lease) = self.engine.lease(kept.id) else {
            return;
        };
        let sent = lease.boot_deadline_nanos.saturating_sub(self.lease_nanos());
        let recently = sent.saturating_add(HASTENED_AFTER.as_nanos() as u64);
        if self.env.boot_nanos() >= recently {
            kept.replace_live(State::Live(Live {
                refresh_at_nanos: 0,
                must_ask: true,
                unanswered: None,
            }));
        }
    }

    /// A key that works again for one table may work for the others.
    pub(super) fn hasten_siblings(&self, kept: &Kept) {
        let Some(root) = self.engine.root(kept.id) else {
            return;
        };
        for sibling in self.under(&root.cmk, |state| matches!(state, State::Inaccessible(_))) {
            sibling.postpone(0);
        }
    }

    fn under(&self, cmk: &CmkRef, is_wanted: impl Fn(&State) -> bool) -> Vec<Arc<Kept>> {
        self.tables
            .iter()
            .map(|entry| entry.clone())
            .filter(|kept| is_wanted(&kept.state()))
            .filter(|kept| {
                self.engine
                    .root(kept.id)
                    .is_some_and(|root| root.cmk == *cmk)
            })
            .collect()
    }
}

impl Kept {
    /// Changes a live table's state; a table in trouble stays in trouble.
    fn replace_live(&self, next: State) {
        let mut state = self.state.lock().expect("no holder of this lock panics");
        if matches!(*state, State::Live(_)) {
            *state = next;
        }
    }

    /// Moves the next try of a table in trouble.
    fn postpone(&self, until_nanos: u64) {
        let mut state = self.state.lock().expect("no holder of this lock panics");
        if let State::Inaccessible(trouble) = &mut *state {
            trouble.background_at_nanos = until_nanos;
        }
    }
}
