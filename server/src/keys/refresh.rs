//! The keeper's clockwork: renew what is in use, put to sleep what is not, try again what is in trouble.
//!
//! ```text
//! lease   0 %            40 %         70 %        80-90 %    100 %              100 % + grace
//!         |──────────────|── refresh ──|── if used ──| sleep ──|── unanswered ──|
//! ```
//!
//! One look at the tables, once a second or more often under short leases. A table in use is renewed at a random 40 to 70 % of its lease, so that no request ever
//! waits for a renewal and tables of one key do not call in step. What needs no key service (to fall asleep, to close) is begun at once. What needs a call is begun
//! only as far as the service's bucket and the key's share allow now, the earliest deadline first, and more as calls end; what is left is looked at anew with the next
//! look. What a table has in memory goes at the end of its lease, also while somebody waits for an answer about its key. A service that does not answer delays
//! nobody but the tables of its own keys, and 10,000 tables wait at no gate: where requests fill the bucket, as many renewals as have their turns between them soon.

use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::stream::{self, FuturesUnordered, StreamExt};
use palladium_crypto::CmkRef;
use palladium_storage::{Backend, Lease, Reading, Root};

use super::call::Failure;
use super::gate::Urgency;
use super::key::{self, Tending};
use super::state::{Kept, Live, State};
use super::{Inner, KeyKeeper, Reason, trouble};
use crate::audit::Asker;

/// Tables that are closed at a time when their key is denied: each waits until who works on it has stopped.
const LOCKS_AT_A_TIME: usize = 64;
/// Tables that begin to fall asleep with one look.
const ASLEEP_AT_A_LOOK: usize = 256;
/// A table is not asked for again because of a sibling within this of its last answer.
const HASTENED_AFTER: Duration = key::RETRY_ON_REQUEST;
/// Wishes that are looked at when a call has ended and another one may begin.
const WISHES_SEEN: usize = 64;
/// Calls that a look begins at a service that is not configured: they fail at once.
const ROOM_OF_NO_SERVICE: usize = 16;
/// One in so many calls may be spent on tables that were refused one by one.
const SHARE_OF_REFUSED: usize = 4;

/// What a look has found.
struct Look {
    work: Vec<(Arc<Kept>, Work)>,
    /// The earliest deadline first.
    wishes: VecDeque<Wish>,
}

/// What is to be done about a table.
enum Work {
    /// Nobody used it: its memtable goes to disk and its key leaves memory.
    Sleep,
    /// Its lease has ended without an answer.
    Close(Failure),
    /// Its lease has ended, and somebody is at it who still waits for an answer.
    Wipe,
    /// One Decrypt, to renew or to open.
    Ask(Tending, Urgency),
}

/// A table that needs a call.
struct Wish {
    kept: Arc<Kept>,
    cmk: CmkRef,
    urgency: Urgency,
    /// It was refused for itself, not for its key.
    is_refused: bool,
}

/// Calls that one look may still begin at a service.
struct Rooms {
    renewals: usize,
    background: usize,
    /// Of those in the background, for tables that were refused one by one.
    refused: usize,
}

impl Rooms {
    fn has_place(&self, is_to_open: bool, is_refused: bool) -> bool {
        let places = match is_to_open {
            true => self.background,
            false => self.renewals,
        };
        places > 0 && !(is_refused && self.refused == 0)
    }

    fn take(&mut self, is_refused: bool) {
        self.renewals = self.renewals.saturating_sub(1);
        self.background = self.background.saturating_sub(1);
        self.refused -= usize::from(is_refused);
    }
}

impl<B: Backend> KeyKeeper<B> {
    /// Runs until the process ends.
    pub async fn run(self) {
        let inner = &*self.inner;
        let pause = Duration::from_millis(200 + inner.options.lease_seconds * 2);
        let mut under_way = FuturesUnordered::new();
        let mut grants = FuturesUnordered::new();
        loop {
            let mut look = inner.look_at_all();
            let work = look.work.drain(..);
            under_way.extend(work.map(|(kept, work)| inner.tend(kept, work)));
            let asked = inner.granted(&mut look.wishes, usize::MAX);
            under_way.extend(asked.into_iter().map(|(kept, work)| inner.tend(kept, work)));
            if grants.is_empty() {
                grants.push(inner.tend_grants());
            }
            let mut next_look = inner.env().sleep(pause);
            loop {
                tokio::select! {
                    biased;
                    () = &mut next_look => break,
                    Some(()) = under_way.next() => {
                        let asked = inner.granted(&mut look.wishes, WISHES_SEEN);
                        under_way.extend(asked.into_iter().map(|(kept, work)| inner.tend(kept, work)));
                    }
                    Some(()) = grants.next() => {}
                }
            }
        }
    }

    /// One look, and all that follows from it, as tests step it by hand.
    pub async fn step(&self) {
        let inner = &*self.inner;
        let mut look = inner.look_at_all();
        let mut under_way = FuturesUnordered::new();
        let work = look.work.drain(..);
        under_way.extend(work.map(|(kept, work)| inner.tend(kept, work)));
        loop {
            let asked = inner.granted(&mut look.wishes, usize::MAX);
            under_way.extend(asked.into_iter().map(|(kept, work)| inner.tend(kept, work)));
            if under_way.next().await.is_none() {
                break;
            }
        }
        inner.tend_grants().await;
    }

    /// The log holds something of a table: it is opened without a request, so that the log can let go of it.
    pub fn want(&self, id: palladium_crypto::TableId) {
        if let Some(kept) = self.inner.kept(id) {
            kept.is_wanted.store(true, Ordering::Release);
        }
    }
}

impl<B: Backend> Inner<B> {
    pub(super) fn refresh_at(&self, lease: Lease) -> u64 {
        let mut random = [0u8; 2];
        self.entropy().fill(&mut random);
        let share = 40 + u64::from(u16::from_le_bytes(random)) % 31;
        self.sent(lease)
            .saturating_add(self.lease_nanos() / 100 * share)
    }

    fn lease_nanos(&self) -> u64 {
        Duration::from_secs(self.options.lease_seconds).as_nanos() as u64
    }

    /// When the Decrypt of a lease was sent.
    pub(super) fn sent(&self, lease: Lease) -> u64 {
        lease.boot_deadline_nanos.saturating_sub(self.lease_nanos())
    }

    pub(super) fn sent_wall_micros(&self, lease: Lease) -> i64 {
        lease
            .wall_deadline_micros
            .saturating_sub(self.lease_nanos() as i64 / 1_000)
    }

    /// A lease with less than this left is let go: time enough to write out a memtable.
    fn letting_go(&self) -> Duration {
        Duration::from_secs((self.options.lease_seconds / 10).max(2))
    }

    fn soon(&self, now: Reading) -> Reading {
        let ahead = self.letting_go();
        Reading {
            boot_nanos: now.boot_nanos.saturating_add(ahead.as_nanos() as u64),
            wall_micros: now.wall_micros.saturating_add(ahead.as_micros() as i64),
        }
    }

    /// What is to be done now.
    fn look_at_all(&self) -> Look {
        let now = Reading::now(self.env());
        let mut all = Vec::new();
        let mut wishes = Vec::new();
        for entry in self.tables.iter() {
            let kept = entry.value();
            if kept.is_tended.load(Ordering::Acquire) {
                if self.has_lapsed(kept, now) {
                    all.push((kept.clone(), Work::Wipe));
                }
                continue;
            }
            let work = match kept.look(|state| self.glance(kept, state, now)) {
                Glance::Rest => continue,
                Glance::Live => self.look_at_live(kept, now, &mut wishes),
                Glance::Closed { is_refused } => {
                    self.look_at_closed(kept, now, is_refused, &mut wishes);
                    None
                }
            };
            // What has no key any more is closed at once, however much that is: it has seconds to leave memory.
            let has_room =
                |work: &Work| matches!(work, Work::Close(_)) || all.len() < ASLEEP_AT_A_LOOK;
            if let Some(work) = work.filter(has_room) {
                kept.is_tended.store(true, Ordering::Release);
                all.push((kept.clone(), work));
            }
        }
        // One seed tells one story: the map has an order of its own in each process.
        all.sort_by_key(|(kept, _)| kept.id);
        wishes.sort_by_key(|wish| (wish.urgency, wish.is_refused, wish.kept.id));
        Look {
            work: all,
            wishes: wishes.into(),
        }
    }

    /// Whether a table needs a closer look.
    fn glance(&self, kept: &Kept, state: &State, now: Reading) -> Glance {
        match state {
            State::Dormant if kept.is_wanted_now(now.boot_nanos) => {
                Glance::Closed { is_refused: false }
            }
            State::Dormant => Glance::Rest,
            State::Inaccessible(trouble) if now.boot_nanos < trouble.background_at_nanos => {
                Glance::Rest
            }
            State::Inaccessible(trouble) => Glance::Closed {
                is_refused: matches!(trouble.reason, Reason::Denied(reason) if !reason.is_key_wide()),
            },
            State::Live(live) => {
                let is_ending = !live.lease.is_alive_at(self.soon(now));
                match is_ending || now.boot_nanos >= live.refresh_at_nanos {
                    true => Glance::Live,
                    false => Glance::Rest,
                }
            }
        }
    }

    fn look_at_live(&self, kept: &Arc<Kept>, now: Reading, wishes: &mut Vec<Wish>) -> Option<Work> {
        let is_due = |refresh_at: u64| now.boot_nanos >= refresh_at;
        kept.change_live(|live| {
            live.must_ask |= is_due(live.refresh_at_nanos) && self.engine.take_used(kept.id);
        });
        let live = kept.live()?;
        let Some(lease) = self.engine.lease(kept.id) else {
            // Wiped while its key was asked for, or closed by the engine.
            return Some(live.unanswered.map_or(Work::Sleep, Work::Close));
        };
        let root = self.engine.root(kept.id)?;
        let key = self.key(&root.cmk);
        let is_asked_for = live.must_ask || live.unanswered.is_some();
        if !is_asked_for {
            return (!lease.is_alive_at(self.soon(now))).then_some(Work::Sleep);
        }
        let silence = key.silent(now.boot_nanos);
        if is_due(live.refresh_at_nanos) && silence.is_none() {
            wishes.push(Wish {
                kept: kept.clone(),
                cmk: root.cmk,
                urgency: Urgency::Renewal(live.lease.boot_deadline_nanos),
                is_refused: false,
            });
        }
        let failure = silence.or(live.unanswered);
        if let Some(failure) = &failure {
            kept.change_live(|live| live.unanswered = Some(failure.clone()));
            let is_ending = !lease.is_alive_at(self.soon(now));
            if is_ending && self.extend(kept, failure) {
                return None;
            }
        }
        match lease.is_alive_at(now) {
            true => None,
            // Nobody has answered, or there was no room to ask: the next request does.
            false => Some(failure.map_or(Work::Sleep, Work::Close)),
        }
    }

    fn look_at_closed(
        &self,
        kept: &Arc<Kept>,
        now: Reading,
        is_refused: bool,
        wishes: &mut Vec<Wish>,
    ) {
        let Some(root) = self.engine.root(kept.id) else {
            kept.postpone(trouble::background_at(now.boot_nanos));
            return;
        };
        let key = self.key(&root.cmk);
        let heard = key
            .denied_lately(now.boot_nanos)
            .or_else(|| key.silent(now.boot_nanos));
        if let Some(failure) = heard {
            self.set_inaccessible(kept, failure);
            return;
        }
        wishes.push(Wish {
            kept: kept.clone(),
            cmk: root.cmk,
            urgency: Urgency::Background,
            is_refused,
        });
    }

    /// As many of the first wishes as their services (each region is one) have room for now and their keys allow; they are taken from the list.
    fn granted(&self, wishes: &mut VecDeque<Wish>, seen_max: usize) -> Vec<(Arc<Kept>, Work)> {
        let mut rooms: HashMap<(String, String), Rooms> = HashMap::new();
        let mut granted = Vec::new();
        let mut left = VecDeque::new();
        for _ in 0..seen_max {
            let Some(wish) = wishes.pop_front() else {
                break;
            };
            let region = wish.cmk.region().unwrap_or_default();
            let rooms = rooms
                .entry((wish.cmk.provider().to_owned(), region.to_owned()))
                .or_insert_with(|| self.rooms(&wish.cmk));
            let is_to_open = wish.urgency == Urgency::Background;
            let tending = match rooms.has_place(is_to_open, wish.is_refused) {
                true => self.key(&wish.cmk).tend(is_to_open),
                false => None,
            };
            let Some(tending) = tending else {
                left.push_back(wish);
                continue;
            };
            rooms.take(wish.is_refused);
            if !wish.kept.is_tended.swap(true, Ordering::AcqRel) {
                granted.push((wish.kept, Work::Ask(tending, wish.urgency)));
            }
        }
        left.append(wishes);
        *wishes = left;
        granted
    }

    fn rooms(&self, cmk: &CmkRef) -> Rooms {
        let env = &self.caller.env;
        let (renewals, background) = match self.services.of(cmk) {
            Ok(service) => (service.room_for_renewals(cmk, env), service.room(cmk, env)),
            Err(_) => (ROOM_OF_NO_SERVICE, ROOM_OF_NO_SERVICE),
        };
        Rooms {
            renewals,
            background,
            refused: background.div_ceil(SHARE_OF_REFUSED),
        }
    }

    async fn tend(&self, kept: Arc<Kept>, work: Work) {
        match work {
            Work::Sleep => self.put_to_sleep(&kept).await,
            Work::Wipe => {
                self.wipe_lapsed(&kept).await;
                // Somebody else is at it.
                return;
            }
            Work::Close(failure) => {
                self.wipe_lapsed(&kept).await;
                let _one_call = kept.calling.lock().await;
                if kept.live().is_some() && !self.engine.lease_alive(kept.id) {
                    self.close(&kept, failure).await;
                }
            }
            Work::Ask(tending, urgency) => match kept.live() {
                Some(live) => self.renew(&kept, live.refresh_at_nanos, urgency).await,
                None => self.try_again(&kept, tending).await,
            },
        }
        kept.is_tended.store(false, Ordering::Release);
    }

    /// Nobody used the table, or nobody could be asked in time.
    async fn put_to_sleep(&self, kept: &Kept) {
        self.wipe_lapsed(kept).await;
        let _one_call = kept.calling.lock().await;
        let now = Reading::now(self.env());
        let lease = self.engine.lease(kept.id);
        if lease.is_some_and(|lease| lease.is_alive_at(self.soon(now))) {
            // Renewed meanwhile.
            return;
        }
        if lease.is_some() {
            self.engine.sleep(kept.id).await;
        }
        if self.engine.lease(kept.id).is_none() {
            kept.set_dormant(&self.key_name(kept), "idle");
        }
    }

    /// Whether a table is in memory whose lease is over, and all grace that it could be given.
    fn has_lapsed(&self, kept: &Kept, now: Reading) -> bool {
        let is_over = |lease: Lease| !lease.is_alive_at(now);
        let may_be_extended = |live: Live| {
            self.options.grace_seconds > 0 && self.with_grace(live.lease).is_alive_at(now)
        };
        self.engine.lease(kept.id).is_some_and(is_over) && !kept.live().is_some_and(may_be_extended)
    }

    /// What a table has in memory goes when its lease is over: whoever asks for its key may wait for longer than it may stay there.
    async fn wipe_lapsed(&self, kept: &Kept) {
        if self.has_lapsed(kept, Reading::now(self.env())) {
            self.engine.lock(kept.id).await;
        }
    }

    /// One Decrypt renews the lease; a denial ends it; no answer leaves it as it is.
    async fn renew(&self, kept: &Kept, refresh_at_nanos: u64, urgency: Urgency) {
        let _one_call = kept.calling.lock().await;
        if kept
            .live()
            .is_none_or(|live| live.refresh_at_nanos != refresh_at_nanos)
        {
            // Renewed, switched or closed while this waited for its turn.
            return;
        }
        let answer = self
            .ask(kept, kept.purpose(&Asker::server(), urgency))
            .await;
        match answer {
            // One that was wiped meanwhile is opened by whoever uses it next.
            Ok((_, lease)) if kept.live().is_some() && self.engine.lease(kept.id).is_some() => {
                self.engine.renew(kept.id, lease);
                self.set_live(kept, lease);
            }
            Ok(_) => {}
            Err(failure) if failure.is_silence() => {
                kept.change_live(|live| live.unanswered = Some(failure));
            }
            Err(failure) if failure.is_denial() => {
                self.close(kept, failure).await;
            }
            // What is wrong with this table's bytes says nothing of its siblings: it alone waits.
            Err(failure) => {
                let again = self.now_nanos() + key::RETRY_ON_REQUEST.as_nanos() as u64;
                kept.change_live(|live| {
                    live.refresh_at_nanos = again;
                    live.unanswered = Some(failure);
                });
            }
        }
    }

    /// A table that is closed, without a request.
    async fn try_again(&self, kept: &Kept, tending: Tending) {
        let _one_call = kept.calling.lock().await;
        if self.engine.lease_alive(kept.id) {
            return;
        }
        let asker = Asker::server();
        let purpose = kept.purpose(&asker, Urgency::Background);
        let asked = self.ask(kept, purpose).await;
        // From here on what the log holds is read, which may take longer than many leases.
        drop(tending.call);
        if self.open_with(kept, purpose, asked).await.is_err() {
            // What a client is told names the table; why it is closed was logged when that began.
            tracing::debug!(table = %kept.id, "still inaccessible");
            kept.postpone(trouble::background_at(self.now_nanos()));
        }
        drop(tending.opening);
    }

    /// What a service says of the key itself holds for every table under it, now; what it says of one table makes the keeper ask for the others soon.
    pub(super) async fn spread(&self, failure: &Failure) {
        let (true, Some(cmk)) = (failure.is_denial(), &failure.cmk) else {
            return;
        };
        let mut siblings: Vec<Arc<Kept>> = self.under(cmk, |state| matches!(state, State::Live(_)));
        if !failure.is_key_wide() {
            siblings.iter().for_each(|kept| self.hasten(kept));
            return;
        }
        // What is just being opened stops there, also what was in trouble before.
        let opening = self.under(cmk, |state| !matches!(state, State::Live(_)));
        siblings.extend(
            opening
                .into_iter()
                .filter(|kept| kept.is_opening.load(Ordering::Acquire)),
        );
        for kept in &siblings {
            self.set_inaccessible(kept, failure.clone());
            // All of them first: one that takes long to drain leaves no other readable.
            self.engine.stop(kept.id);
        }
        stream::iter(siblings)
            .for_each_concurrent(LOCKS_AT_A_TIME, |kept| async move {
                self.engine.lock(kept.id).await;
            })
            .await;
    }

    /// A live table is asked for with the next look, unless it has just been.
    fn hasten(&self, kept: &Kept) {
        let now = self.now_nanos();
        kept.change_live(|live| {
            let recently = self
                .sent(live.lease)
                .saturating_add(HASTENED_AFTER.as_nanos() as u64);
            if now >= recently {
                live.refresh_at_nanos = 0;
                live.must_ask = true;
                live.unanswered = None;
            }
        });
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

    /// The tables under a key that are in a state, by id.
    fn under(&self, cmk: &CmkRef, is_wanted: impl Fn(&State) -> bool) -> Vec<Arc<Kept>> {
        let Some(key) = self.keys.get(cmk).map(|key| key.clone()) else {
            return Vec::new();
        };
        let is_still = |root: Root| root.cmk == *cmk;
        let tables = key.tables().into_iter();
        tables
            .filter_map(|id| self.kept(id))
            .filter(|kept| kept.look(&is_wanted))
            .filter(|kept| self.engine.root(kept.id).is_some_and(is_still))
            .collect()
    }
}

/// What a first look at a table says.
enum Glance {
    Rest,
    Live,
    Closed { is_refused: bool },
}
