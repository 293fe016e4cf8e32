//! Many clients at once: writes, reads, flushes, merges, locks and key switches, in the order that the seed gives. Each notes what it hears as soon as it hears it, and a crash may come
//! between any two of their steps.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::{BoxFuture, FutureExt};
use palladium_storage::{Env, Error, LogSync, ReadCommand, Result, Store};

use super::reading::candidates;
use super::{Clock, Given, PARTITIONS, Place, ROWS, Story, TABLES, Version};
use crate::world::{Rows, everything, id, keys_of, one, rows};

/// What a client hears.
enum Said {
    Written(Vec<Result<()>>),
    Read(Result<Rows>),
}

type Heard = Arc<Mutex<Vec<(usize, Said)>>>;

/// What a client wants.
enum Wanted {
    Write(Vec<Given>),
    Read(Reading),
    Nothing,
}

/// A read, and what was known when it began.
struct Reading {
    table: u8,
    /// None: all of them, each at a moment of its own.
    key: Option<u64>,
    known: BTreeMap<Place, Version>,
    clock: Clock,
}

/// Clients that are at work.
struct Crowd {
    heard: Heard,
    wanted: Vec<Wanted>,
    /// What was handed over since they came, and not refused.
    given: Vec<Given>,
    /// Nobody's log is synced.
    is_held: bool,
}

impl Story {
    /// Many things at once, under some trouble. They all come to their end, or the machine does.
    pub(super) fn storm(&mut self) {
        let mut crowd = Crowd {
            heard: Heard::default(),
            wanted: Vec::new(),
            given: Vec::new(),
            is_held: false,
        };
        let fails_to_read = self.trouble_a_crowd(&mut crowd);
        for _ in 0..3 + self.draw(8) {
            self.ask(&mut crowd);
            if self.draw(3) == 0 {
                self.world.env.run_some(self.draw(12));
                self.listen(&mut crowd, fails_to_read);
            }
        }
        for _ in 0..self.draw(6) {
            match self.draw(3) {
                0 => self.wait(Duration::from_millis(200)),
                _ => drop(self.world.env.run_some(1 + self.draw(60))),
            }
            self.listen(&mut crowd, fails_to_read);
        }
        let ends_here = self.draw(4) == 0;
        if crowd.is_held {
            self.world.disk.hold_log_syncs(false);
            crowd.is_held = false;
        }
        if !ends_here && !self.may_fail() {
            // What nobody waits for any more is finished too: a lock must not come after the unlocks below.
            self.world.env.advance(Duration::from_secs(60));
            self.listen(&mut crowd, fails_to_read);
        }
        self.world.disk.fail_reads(0);
        self.world.disk.set_room(None);
        for wanted in std::mem::take(&mut crowd.wanted) {
            match wanted {
                Wanted::Write(given) => {
                    let is_over = ends_here || self.may_fail();
                    assert!(is_over, "{}: nobody answers: {given:?}", self.context());
                    self.unknown.extend(given);
                }
                Wanted::Read(_) | Wanted::Nothing => {}
            }
        }
        if ends_here {
            return self.crash();
        }
        for table in 0..TABLES {
            if !self.may_fail() {
                self.unlock(table);
            }
        }
    }

    /// What goes wrong while they are at work; whether reads may fail for it.
    fn trouble_a_crowd(&mut self, crowd: &mut Crowd) -> bool {
        match self.draw(12) {
            0 => self.trouble(),
            1 | 2 => {
                self.world.disk.hold_log_syncs(true);
                crowd.is_held = true;
            }
            3 => self.world.disk.set_room(Some(self.draw(100 << 10))),
            4 => {
                self.world.disk.fail_reads(1 + self.draw(3) as u32);
                return true;
            }
            5 => self.step_the_wall_clock(),
            _ => {}
        }
        false
    }

    fn spawn(
        &self,
        crowd: &mut Crowd,
        wanted: Wanted,
        work: impl Future<Output = Said> + Send + 'static,
    ) {
        let (heard, number) = (crowd.heard.clone(), crowd.wanted.len());
        crowd.wanted.push(wanted);
        self.world.env.spawn(Box::pin(async move {
            let said = work.await;
            heard.lock().unwrap().push((number, said));
        }));
    }

    fn ask(&mut self, crowd: &mut Crowd) {
        let engine = self.world.engine.clone();
        match (self.draw(11), self.some_table()) {
            (0..5, _) | (_, None) => {
                let (writes, given) = self.batch();
                crowd.given.extend(given.clone());
                let work = async move { Said::Written(engine.write(writes).await) };
                self.spawn(crowd, Wanted::Write(given), work);
            }
            (5..8, Some(table)) => {
                let clock = self.clock();
                let key = (self.draw(3) > 0).then(|| self.draw(PARTITIONS));
                let number = self.number(table);
                let command = key.map_or_else(|| everything(number), |key| one(number, key));
                let command = ReadCommand {
                    now: clock.now,
                    store: Store::BASE,
                    ..command
                };
                let reading = Reading {
                    table,
                    key,
                    known: self.oracles[usize::from(table)].known.clone(),
                    clock,
                };
                let work = async move { Said::Read(engine.read(command).await.map(rows)) };
                self.spawn(crowd, Wanted::Read(reading), work);
            }
            (_, Some(table)) => {
                let mut work = self.change(table);
                // Some leave before it is over.
                let is_impatient = self.draw(4) == 0;
                let work = async move {
                    match is_impatient {
                        true => drop((&mut work).now_or_never()),
                        false => work.await,
                    }
                };
                self.world.env.spawn(Box::pin(work));
            }
        }
    }

    /// Something that changes how a table is stored, and not what it holds.
    fn change(&self, table: u8) -> BoxFuture<'static, ()> {
        let (engine, id) = (self.world.engine.clone(), id(self.number(table)));
        match self.draw(4) {
            0 => self.lock_and_unlock(table),
            1 => async move { drop(engine.flush(Some(id)).await) }.boxed(),
            2 => async move { drop(engine.compact(Some(id)).await) }.boxed(),
            _ => {
                let next = self.world.next_root(self.number(table));
                let keys = keys_of(&next);
                async move { drop(engine.switch_key(id, next, keys).await) }.boxed()
            }
        }
    }

    /// Takes note of what was heard since.
    fn listen(&mut self, crowd: &mut Crowd, fails_to_read: bool) {
        let heard = std::mem::take(&mut *crowd.heard.lock().unwrap());
        for (number, said) in heard {
            let wanted = std::mem::replace(&mut crowd.wanted[number], Wanted::Nothing);
            match (wanted, said) {
                (Wanted::Write(given), Said::Written(results)) => {
                    let is_early = crowd.is_held && self.world.options.log_sync == LogSync::Group;
                    for (given, result) in given.iter().zip(&results) {
                        // A write of nothing waits for nothing.
                        let waits = is_early && !given.versions.is_empty();
                        assert!(
                            !(waits && result.is_ok()),
                            "{}: acknowledged before it was durable: {given:?}",
                            self.context()
                        );
                        let is_refused =
                            !matches!(result, Ok(()) | Err(Error::OutcomeUnknown { .. }));
                        if is_refused {
                            let timestamps = |given: &Given| -> Vec<i64> {
                                given
                                    .versions
                                    .iter()
                                    .map(|(_, _, version)| version.timestamp)
                                    .collect()
                            };
                            let gone = timestamps(given);
                            crowd.given.retain(|other| timestamps(other) != gone);
                        }
                    }
                    self.heard(given, results);
                }
                (Wanted::Read(reading), Said::Read(Ok(found))) => {
                    self.check_reading(&reading, &found, crowd)
                }
                (Wanted::Read(_), Said::Read(Err(error))) => match error {
                    Error::KeyUnavailable { .. } => {}
                    Error::Io { .. } if fails_to_read => {}
                    error => self.excuse(&error),
                },
                _ => panic!("{}: an answer to another question", self.context()),
            }
        }
    }

    /// Nothing older than what was known when the read began, and nothing that nobody wrote. What was seen is known from now on.
    fn check_reading(&mut self, reading: &Reading, found: &Rows, crowd: &Crowd) {
        let (table, clock) = (reading.table, reading.clock);
        let keys = reading.key.map_or(0..PARTITIONS, |key| key..key + 1);
        let given: Vec<Given> = crowd.given.iter().chain(&self.unknown).cloned().collect();
        for place in keys.flat_map(|key| (0..ROWS).map(move |row| (key, row))) {
            let value = found.get(&place).copied();
            let known = reading.known.get(&place).copied();
            let candidates = candidates(known, table, place, &given);
            // The clock may have been set since the read began.
            let clock = Clock {
                latest: self.latest.max(clock.latest),
                ..clock
            };
            let is_absent = known.is_none() && value.is_none();
            let fitting = candidates.iter().find(|version| version.fits(value, clock));
            match fitting {
                Some(version) if version.value.is_some() && value.is_some() => {
                    let known = &mut self.oracles[usize::from(table)].known;
                    let newest = known.entry(place).or_insert(*version);
                    if version.timestamp > newest.timestamp {
                        *newest = *version;
                    }
                }
                Some(_) => {}
                None => assert!(
                    is_absent,
                    "{}: a read of table {table} saw {value:?} at {place:?}, and was given {candidates:?}",
                    self.context()
                ),
            }
        }
        if let Some(key) = reading.key {
            let within = |given: &Given| Given {
                versions: given
                    .versions
                    .iter()
                    .filter(|(_, (of, _), _)| *of == key)
                    .copied()
                    .collect(),
            };
            let within: Vec<Given> = given.iter().map(within).collect();
            self.check_whole(found, table, &within);
        }
    }
}
