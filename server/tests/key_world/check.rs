//! What must hold after every step: of each thing that a request heard, and of the server as it stands.

use palladium::error::CqlError;
use palladium::keys::TableKeyStatus;
use palladium_crypto::{Operation, TableId};
use palladium_protocol::ErrorCode;
use palladium_storage::{Env, Reading, Store};

use crate::client::{Heard, Place, Rows, Said, Wanted};
use crate::registers::Pair;
use crate::values::Table;
use crate::world::{
    Aim, CALL_LIMITS, COUNTER, PARTITIONS, REGISTER, ROWS, Request, SECOND, SYSTEM, World,
};

/// A key that must not be in memory is gone within this.
const WIPED: u64 = 5_000_000_000;
/// A request without a client that thinks is answered within this.
const ANSWERED: u64 = 30_000_000_000;
/// The time within which the bucket of calls is watched.
const LATELY: u64 = 3_000_000_000;
const MINUTE: u64 = 60_000_000_000;

fn wanted_places(wanted: Wanted) -> impl Iterator<Item = Place> {
    let all = (0..PARTITIONS).flat_map(|key| (0..ROWS).map(move |row| (key, row)));
    all.filter(move |place| wanted.covers(*place))
}

/// The word after `name=` in what a client was told.
fn word<'a>(message: &'a str, name: &str) -> &'a str {
    let (_, rest) = message.split_once(name).unwrap_or(("", ""));
    rest.split_whitespace().next().unwrap_or("")
}

impl World {
    /// Takes in what requests heard, in the order in which they did.
    pub fn hear(&mut self) {
        let heard = self.heard();
        let all = std::mem::take(&mut *heard.lock().expect("no holder of this lock panics"));
        for one in all {
            self.judge(one);
        }
    }

    fn judge(&mut self, Heard { request, at, said }: Heard) {
        match said {
            Said::Submitted => {}
            Said::Looked(seen) => self.judge_look(request, seen),
            Said::NotApplied(seen) => {
                self.must_be_proven(request, at, "a row left");
                self.not_applied(request, seen);
            }
            Said::Page => self.must_be_proven(request, at, "a page left"),
            Said::Opened(id) => self.judge_opening(id, at),
            Said::Rows(rows) => self.judge_rows(request, rows),
            Said::Unsure(error) => {
                self.say(format!("#{request} does not know: {error}"));
                if error.code() != ErrorCode::WriteTimeout {
                    self.fail(format!("#{request} may come back, and is told {error}"));
                }
                self.requests.remove(&request);
                self.is_over = true;
            }
            Said::Written(Ok(())) => {
                self.say(format!("#{request} is acknowledged"));
                self.acknowledged(request);
            }
            Said::Written(Err(error)) => {
                self.values.refused(request);
                self.counts.refused(request);
                let refused = self.registers.refused(request);
                self.must_be(request, refused);
                self.judge_error(request, at, &error);
            }
            Said::Done(Err(error)) => self.judge_error(request, at, &error),
            Said::Done(Ok(())) => self.done(request),
        }
    }

    fn acknowledged(&mut self, number: u64) {
        self.values.acknowledged(number);
        self.counts.acknowledged(number);
        let applied = self.registers.applied(number);
        self.must_be(number, applied);
        self.requests.remove(&number);
    }

    fn must_be(&self, number: u64, judged: Result<(), String>) {
        if let Err(what) = judged {
            self.fail(format!("#{number}: {what}"));
        }
    }

    /// A conditional write has looked, in its partition's latch.
    fn judge_look(&mut self, number: u64, seen: Pair) {
        let asked = self.requests.get(&number);
        let Some((Aim::Compare { floor, partition }, tables)) =
            asked.map(|asked| (&asked.aim, &asked.tables))
        else {
            return;
        };
        if !self.tables.contains_key(&tables[0]) {
            // Dropped meanwhile, with all that was known of it.
            return;
        }
        let place = (tables[0], *partition);
        let judged = self.registers.seen_both(place, floor, seen);
        self.must_be(number, judged);
    }

    fn not_applied(&mut self, number: u64, seen: Pair) {
        self.say(format!("#{number} is not applied: {seen:?}"));
        let judged = self.registers.not_applied(number, seen);
        self.must_be(number, judged);
        self.requests.remove(&number);
    }

    fn must_be_proven(&mut self, request: u64, at: Reading, what: &str) {
        let Some(asked) = self.requests.get(&request) else {
            return;
        };
        for table in asked.tables.iter().filter(|table| **table != SYSTEM) {
            let Some(kept) = self.tables.get(table) else {
                continue;
            };
            let subject = kept.subject();
            if !subject.is_proven(&self.service, at, self.terms) {
                self.fail(format!(
                    "#{request}: {what} of {table} outside of its lease"
                ));
            }
        }
    }

    /// A sealed block was opened: for whom ever, there must have been a lease at that very moment.
    fn judge_opening(&self, id: TableId, at: Reading) {
        let mut tables = self.tables.iter();
        let found = tables.find(|(table, kept)| kept.id == id && **table != SYSTEM);
        // The server's own, or one that is just made or dropped.
        let Some((table, kept)) = found else { return };
        if !kept.subject().is_proven(&self.service, at, self.terms) {
            self.fail(format!(
                "a block of {table} was opened outside of its lease"
            ));
        }
    }

    fn judge_rows(&mut self, number: u64, mut rows: Rows) {
        let Some(request) = self.requests.remove(&number) else {
            return;
        };
        self.say(format!("#{number} sees {} rows", rows.len()));
        let table = request.tables[0];
        let Aim::Read {
            floor,
            counted,
            decided,
            wanted,
        } = request.aim
        else {
            return;
        };
        let Some(kept) = self.tables.get(&table) else {
            return;
        };
        if !kept.has(wanted.store) {
            // Dropped meanwhile: nobody writes to it any more.
            return;
        }
        let has_counters = wanted.store == Store::BASE;
        for partition in 0..PARTITIONS {
            let place = (partition, COUNTER);
            if !has_counters || !wanted.covers(place) {
                continue;
            }
            let total = rows.remove(&place);
            let seen = self
                .counts
                .seen(table, partition, &counted, total.unwrap_or(0));
            if let Err(what) = seen {
                self.fail(format!("#{number} of table {table}: {what}"));
            }
        }
        for (partition, row) in (0..PARTITIONS).flat_map(|key| [(key, REGISTER), (key, SECOND)]) {
            if has_counters && wanted.covers((partition, row)) {
                let value = rows.remove(&(partition, row));
                let place = (table, partition);
                let seen = self
                    .registers
                    .seen_one(place, &decided, row == SECOND, value);
                self.must_be(number, seen);
            }
        }
        let seen = self
            .values
            .seen(table, &floor, wanted_places(wanted), &rows);
        if let Err(what) = seen {
            self.fail(format!("#{number} of table {table}: {what}"));
        }
    }

    fn done(&mut self, number: u64) {
        let Some(request) = self.requests.remove(&number) else {
            return;
        };
        self.say(format!("#{number} is done"));
        let table = request.tables[0];
        match request.aim {
            Aim::Create(mut kept) => {
                kept.fine_since = None;
                self.check_granted(number, &kept, request.revocations);
                self.tables.insert(table, kept);
                self.note_fine();
            }
            Aim::Rewrite(present) => {
                if let Some(kept) = self.tables.get_mut(&table) {
                    kept.rewritten = present;
                }
            }
            Aim::Switch { to } => {
                let kept = self.tables.get_mut(&table);
                let Some(kept) = kept else { return };
                let root = self.life.engine.root(kept.id);
                let cmk = root.map(|root| root.cmk);
                kept.cmks = vec![to.clone()];
                // What was revoked before the switch began is made good by it.
                kept.revoked = kept.revoked.filter(|at| *at >= request.revocations);
                if cmk.as_ref() != Some(&to) {
                    self.fail(format!("#{number}: the root of {table} names {cmk:?}"));
                }
                self.check_granted(number, &self.tables[&table], request.revocations);
                self.note_fine();
            }
            Aim::Derive(store) => {
                let kept = self.tables.get_mut(&table);
                let derived = kept.and_then(|kept| kept.derived.as_mut());
                if let Some(derived) = derived.filter(|derived| derived.store == store) {
                    derived.is_built = true;
                }
            }
            Aim::DropStore(store) => {
                let Some(kept) = self.tables.get(&table) else {
                    return;
                };
                let ended = self.env.run(self.life.engine.dropped_stores(kept.id));
                if !ended.contains(&store) {
                    self.fail(format!("#{number}: {store:?} of {table} is not dropped"));
                }
            }
            Aim::Drop(id) => {
                let is_there = self.life.engine.has_table(id);
                let root = self.life.engine.root(id);
                if is_there || root.is_some() || self.root_path(id).is_some() {
                    self.fail(format!("#{number}: something of table {table} is left"));
                }
            }
            _ => {}
        }
    }

    // Errors.

    fn judge_error(&mut self, number: u64, at: Reading, error: &CqlError) {
        let Some(request) = self.requests.remove(&number) else {
            return;
        };
        self.say(format!("#{number} fails: {error}"));
        if let Aim::Switch { to } = &request.aim {
            self.judge_failed_switch(number, request.tables[0], to.clone());
        }
        let is_shutting_down = self.is_stopping || error.message.contains("shutting down");
        let has_disk_trouble = self.disk.is_down() || error.code() == ErrorCode::ServerError;
        if is_shutting_down || has_disk_trouble && self.disk.is_down() {
            self.is_over = true;
            return;
        }
        let is_dropped = |table: &Table| !self.tables.contains_key(table);
        if let Aim::Create(_) = request.aim {
            return self.judge_refused_key(number, &request, error);
        }
        if request.tables.iter().any(is_dropped) {
            return;
        }
        if let Aim::Drop(_) | Aim::DropStore(_) = request.aim {
            self.fail(format!("#{number}: it was not dropped: {error}"));
        }
        if let Aim::Read { wanted, .. } = &request.aim
            && !self.tables[&request.tables[0]].has(wanted.store)
        {
            // Dropped meanwhile.
            return;
        }
        if let Aim::Switch { .. } = request.aim
            && error.code() == ErrorCode::Invalid
        {
            return self.judge_refused_key(number, &request, error);
        }
        self.judge_told(number, &request, at, error);
        // Whoever tidies asks for no key: a table that sleeps has nothing to be tidied.
        let asks = !matches!(request.aim, Aim::Tidy | Aim::Rewrite(_));
        if asks && request.clock_moves == self.clock_moves {
            self.judge_disturbed(number, &request, error);
        }
    }

    /// After an error the old root stands.
    fn judge_failed_switch(&mut self, number: u64, table: Table, to: palladium_crypto::CmkRef) {
        if self.disk.is_down() {
            return;
        }
        let Some(kept) = self.tables.get_mut(&table) else {
            return;
        };
        let root = self.life.engine.root(kept.id);
        let old = kept.cmks[0].clone();
        kept.cmks.truncate(1);
        if root.as_ref().map(|root| &root.cmk) != Some(&old) {
            let now = root.map(|root| root.cmk);
            self.fail(format!(
                "#{number}: a switch to {to} failed, and the root names {now:?} instead of {old}"
            ));
        }
        self.note_fine();
    }

    /// CREATE or ALTER was told that a key does not work: then something is wrong, or was just now.
    fn judge_refused_key(&mut self, number: u64, request: &Request, error: &CqlError) {
        let is_revoked = |table: &Table| {
            let kept = self.tables.get(table);
            kept.is_some_and(|kept| kept.revoked.is_some())
        };
        let has_reason = request.tables.iter().any(is_revoked)
            || (self.has_grants && error.message.contains("LimitExceededException"));
        let is_calm = self.faults.is_empty()
            && self.faults_changed + MINUTE / 4 < request.began_flow
            && request.clock_moves == self.clock_moves;
        if is_calm && !has_reason {
            self.fail(format!("#{number}: every key works, and still: {error}"));
        }
        let says_so = error.message.contains("nothing was changed")
            || error.message.starts_with("KMS_KEY_INACCESSIBLE");
        if !says_so {
            self.fail(format!("#{number}: an unexpected refusal: {error}"));
        }
    }

    /// The error is one of those that a client may be told, and true.
    fn judge_told(&mut self, number: u64, request: &Request, at: Reading, error: &CqlError) {
        let reason = word(&error.message, "reason=").to_owned();
        let named = word(&error.message, "table=").to_owned();
        let subjects = || {
            let tables = request
                .tables
                .iter()
                .filter_map(|table| self.tables.get(table));
            tables.filter(|kept| named.is_empty() || named == format!("ks.{}", kept.name))
        };
        let may_be_told = |reason: &str| {
            let mut subjects = subjects();
            subjects.any(|kept| {
                let subject = kept.subject();
                subject.may_be_told(&self.service, reason, request.began, self.lease_seconds)
            })
        };
        let is_true = match error.code() {
            ErrorCode::Unauthorized | ErrorCode::Unavailable if !reason.is_empty() => {
                let is_silence = matches!(reason.as_str(), "Unreachable" | "Throttled");
                // Two seconds of waiting are over at once when the machine wakes.
                let has_slept = is_silence && request.clock_moves != self.clock_moves;
                is_silence == (error.code() == ErrorCode::Unavailable)
                    && (has_slept || may_be_told(&reason))
            }
            // A lease that ended between two looks.
            ErrorCode::Unavailable => true,
            ErrorCode::ReadFailure => may_be_told("Damaged"),
            _ => false,
        };
        if !is_true {
            self.fail(format!("#{number}: nothing explains this error: {error}"));
        }
        if error.code() == ErrorCode::Unavailable
            && !reason.is_empty()
            && request.clock_moves == self.clock_moves
        {
            let soon = Reading {
                boot_nanos: at.boot_nanos + self.lease_seconds.max(20) / 10 * 1_000_000_000,
                wall_micros: at.wall_micros + (self.lease_seconds.max(20) / 10 * 1_000_000) as i64,
            };
            let cut_short = subjects().any(|kept| {
                let was_open = request.tables.iter().any(|table| {
                    request.open.contains(table) && self.tables[table].name == kept.name
                });
                let subject = kept.subject();
                was_open
                    && subject.is_newest_alive(&self.service, soon, self.lease_seconds)
                    && subject.is_proven(&self.service, soon, self.terms.without_grace())
            });
            if cut_short {
                self.fail(format!("#{number}: silence ended a lease early: {error}"));
            }
        }
    }

    /// A table whose key can be had, and has been for a while, answers.
    fn judge_disturbed(&mut self, number: u64, request: &Request, error: &CqlError) {
        let named = word(&error.message, "table=").to_owned();
        let stays_healthy = |table: &&Table| {
            let kept = self.tables.get(*table);
            kept.is_some_and(|kept| {
                kept.fine_since
                    .is_some_and(|since| since < request.began_flow)
                    && (named.is_empty() || named == format!("ks.{}", kept.name))
            })
        };
        let healthy: Vec<Table> = request
            .healthy
            .iter()
            .filter(stays_healthy)
            .copied()
            .collect();
        let all_are = healthy.len() == request.tables.len();
        if all_are || (!named.is_empty() && !healthy.is_empty()) {
            self.fail(format!(
                "#{number}: {healthy:?} had no reason to fail: {error}"
            ));
        }
    }

    // The server as it stands.

    pub fn check(&mut self, wall_before: i64) {
        self.check_keys(wall_before);
        self.check_waiting();
        self.check_calls();
    }

    fn check_keys(&mut self, wall_before: i64) {
        let (now, flow) = (self.now(), self.flow());
        let mut wrong: Vec<String> = Vec::new();
        let mut opening: Vec<Table> = Vec::new();
        for (table, kept) in &mut self.tables {
            if *table == SYSTEM {
                continue;
            }
            let lease = self.life.engine.lease(kept.id);
            let is_open = self.life.engine.lease_alive(kept.id);
            if is_open && !kept.subject().is_proven(&self.service, now, self.terms) {
                wrong.push(format!("{table} is open outside of its lease"));
            }
            let shown = match self.life.keeper.status(kept.id) {
                TableKeyStatus::Inaccessible(trouble) => Some(trouble),
                _ => None,
            };
            if shown.is_some() && is_open {
                opening.push(*table);
            }
            // A key that must not be used is wiped soon.
            if lease.is_some() && !is_open {
                let since = *kept.closing_since.get_or_insert(flow);
                if flow - since > WIPED {
                    wrong.push(format!("the key of {table} is still in memory"));
                }
            } else {
                kept.closing_since = None;
            }
            let since = shown.as_ref().map(|trouble| trouble.since_micros);
            if let (Some(before), Some(after)) = (kept.shown, since)
                && before != after
                && !(wall_before.min(now.wall_micros)..=wall_before.max(now.wall_micros))
                    .contains(&after)
            {
                wrong.push(format!(
                    "{table} was inaccessible since {before}, now {after}"
                ));
            }
            kept.shown = since;
        }
        if !opening.is_empty() {
            // A step may end between the engine, which has just opened a table, and the keeper, which says so next.
            self.env.run_ready();
            wrong.extend(
                opening
                    .iter()
                    .filter_map(|table| self.contradiction(*table)),
            );
        }
        if !wrong.is_empty() {
            self.fail(wrong.join("; "));
        }
    }

    fn contradiction(&self, table: Table) -> Option<String> {
        let id = self.tables.get(&table)?.id;
        match self.life.keeper.status(id) {
            TableKeyStatus::Inaccessible(trouble) if self.life.engine.lease_alive(id) => {
                Some(format!("{table} is open, and shown as {trouble:?}"))
            }
            _ => None,
        }
    }

    /// Nobody waits for ever.
    fn check_waiting(&self) {
        let flow = self.flow();
        let slow = self.requests.iter().find(|(_, request)| {
            let thinks = match &request.aim {
                Aim::Read { wanted, .. } => !wanted.thinks.is_zero(),
                // They wait for each other.
                Aim::Create(_) | Aim::Switch { .. } | Aim::Rewrite(_) | Aim::Drop(_) => true,
                Aim::DropStore(_) => true,
                _ => false,
            };
            !thinks && flow - request.began_flow > ANSWERED
        });
        if let Some((number, _)) = slow {
            self.fail(format!("#{number} is not answered"));
        }
    }

    /// A key service is not stormed: what the leases, the pauses and the schema changes of the last minute explain, and no more.
    fn check_calls(&mut self) {
        let now = self.env.boot_nanos();
        let since = now.saturating_sub(MINUTE);
        while self
            .reasons_to_call
            .front()
            .is_some_and(|(at, _)| *at < since)
        {
            self.reasons_to_call.pop_front();
        }
        let explained: u64 = self.reasons_to_call.iter().map(|(_, calls)| calls).sum();
        let tables = self.tables.len() as u64 + 2;
        // Renewals at 40 % of a lease, hastened ones and requests every five seconds, and the background.
        let for_each = 60 * 10 / (4 * self.lease_seconds) + 12 + 2 + 2;
        let made = self.service.newest_first(|calls| {
            calls
                .take_while(|call| call.sent.boot_nanos >= since)
                .filter(|call| call.operation == Operation::Decrypt)
                .count() as u64
        });
        if made > explained + tables * for_each {
            self.fail(format!("{made} calls within a minute"));
        }
        let lately = now.saturating_sub(LATELY);
        let (made, waiting) = self.service.newest_first(|calls| {
            let calls = calls.take_while(|call| call.sent.boot_nanos >= lately);
            calls.fold((0, 0), |(made, waiting), call| {
                (made + 1, waiting + usize::from(call.ended.is_none()))
            })
        });
        let bucket = CALL_LIMITS.calls_per_s * (LATELY / 1_000_000_000 + 1);
        let lives = self.lives_since(lately) + 1;
        if made > bucket * lives || waiting > CALL_LIMITS.calls_max {
            self.fail(format!("{made} calls at once, {waiting} of them waiting"));
        }
    }
}
