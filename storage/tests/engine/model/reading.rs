//! What is read, by many roads, and held against the map.

use std::hash::Hash;

use palladium_storage::{Error, Limits, ReadCommand, ReadPage, Result, Store};

use super::{Clock, Given, PARTITIONS, Place, ROWS, Story, TABLES, Version};
use crate::world::{Rows, everything, one, rows, single};

impl Story {
    pub(super) fn page_through(&self, mut command: ReadCommand) -> Result<Rows> {
        let mut found = Rows::new();
        loop {
            let page: ReadPage = match self.world.engine.try_read(&command) {
                Some(page) => page?,
                None => self
                    .world
                    .env
                    .run(self.world.engine.read(command.clone()))?,
            };
            command.resume = page.next.clone();
            for (place, value) in rows(page) {
                let is_new = found.insert(place, value).is_none();
                assert!(is_new, "{}: {place:?} came twice", self.context());
            }
            if command.resume.is_none() {
                return Ok(found);
            }
        }
    }

    /// All rows of a table as of a second, by one of many roads.
    pub(super) fn table_rows(&self, table: u8, store: Store, now: i64) -> Result<Rows> {
        let number = self.number(table);
        let pages = Limits {
            rows: 1 + self.draw(9) as u32,
            ..Limits::NONE
        };
        let limits = [Limits::NONE, pages][self.draw(2) as usize];
        let finish = |command: ReadCommand| ReadCommand {
            store,
            limits,
            now,
            ..command
        };
        let road = self.draw(3);
        if road == 0 {
            return self.page_through(finish(everything(number)));
        }
        if road == 1 {
            let mut found = Rows::new();
            for place in (0..PARTITIONS).flat_map(|key| (0..ROWS).map(move |row| (key, row))) {
                found.extend(self.page_through(finish(single(number, place)))?);
            }
            return Ok(found);
        }
        let reversed = self.draw(2) == 0;
        let mut found = Rows::new();
        for key in 0..PARTITIONS {
            let command = finish(one(number, key));
            found.extend(self.page_through(ReadCommand {
                reversed,
                ..command
            })?);
        }
        Ok(found)
    }

    pub(super) fn read_all(&mut self) {
        for table in 0..TABLES {
            if self.oracles[usize::from(table)].exists {
                self.check(table);
            }
        }
    }

    /// What is read is what was acknowledged last, or something newer that was on its way. From then on it is known.
    pub(super) fn check(&mut self, table: u8) {
        let clock = self.clock();
        match self.table_rows(table, Store::BASE, clock.now) {
            Ok(found) => {
                let clock = self.after_reading(clock);
                self.check_places(table, 0..PARTITIONS, &found, clock);
                self.check_whole(&found, table, &self.unknown);
                self.check_mirror(found, table, clock);
            }
            Err(Error::Corrupt { .. }) if self.flipped.is_some() => self.check_around(table),
            Err(error) => self.excuse(&error),
        }
    }

    /// The moment of a read that is over. What expired while it ran may be gone: a merge has dropped it by the clock of its own time.
    fn after_reading(&self, clock: Clock) -> Clock {
        Clock {
            latest: clock.latest.max(self.now()),
            ..clock
        }
    }

    /// Where a block is damaged, each partition is read as it was written, or not at all.
    fn check_around(&mut self, table: u8) {
        for key in 0..PARTITIONS {
            let clock = self.clock();
            let command = ReadCommand {
                now: clock.now,
                ..one(self.number(table), key)
            };
            match self.page_through(command) {
                Ok(found) => {
                    let clock = self.after_reading(clock);
                    self.check_places(table, key..key + 1, &found, clock);
                }
                Err(Error::Corrupt { .. }) => {}
                Err(error) => self.excuse(&error),
            }
        }
    }

    /// An error that the disk explains.
    pub(super) fn excuse(&self, error: &Error) {
        let is_explained = match error {
            Error::Corrupt { .. } => self.flipped.is_some(),
            _ => self.world.disk.is_down(),
        };
        assert!(is_explained, "{}: {error}", self.context());
    }

    fn check_places(&mut self, table: u8, keys: std::ops::Range<u64>, found: &Rows, clock: Clock) {
        found.hash(&mut self.digest);
        let context = self.context();
        let oracle = &mut self.oracles[usize::from(table)];
        for place in keys.flat_map(|key| (0..ROWS).map(move |row| (key, row))) {
            let value = found.get(&place).copied();
            let known = oracle.known.get(&place).copied();
            let candidates = candidates(known, table, place, &self.unknown);
            // Where several fit, the oldest: what is not known to have happened is not assumed.
            let is_absent = known.is_none() && value.is_none();
            let seen = candidates
                .iter()
                .find(|version| !is_absent && version.fits(value, clock));
            match seen {
                // That the table was emptied explains it, too: what was handed over and may be lost is not taken for known. What was known before may stand in the mirror still.
                Some(version) if oracle.may_be_empty && value.is_none() => {
                    if known != Some(*version) {
                        oracle.known.remove(&place);
                    }
                }
                Some(version) => drop(oracle.known.insert(place, *version)),
                None if is_absent => {}
                None if value.is_none() && oracle.may_be_empty => {
                    oracle.known.remove(&place);
                }
                None => panic!(
                    "{context}: table {table} holds {value:?} at {place:?}, and was given {candidates:?}"
                ),
            }
        }
        let strange = found
            .keys()
            .find(|(key, row)| *key >= PARTITIONS || *row >= ROWS);
        assert_eq!(strange, None, "{context}");
    }

    /// What the derived store holds is what the base holds, as far back as it goes: no crash takes one and leaves the other.
    fn check_mirror(&self, mut base: Rows, table: u8, clock: Clock) {
        let oracle = &self.oracles[usize::from(table)];
        let mirror = self.table_rows(table, oracle.mirror(), clock.now);
        let clock = self.after_reading(clock);
        // What may be gone or not in each of them: also where nobody knows whether it was ever written, and where it was not seen because it had expired then.
        let may_differ = |place: &Place| {
            let known = oracle.known.get(place).copied();
            let candidates = candidates(known, table, *place, &self.unknown);
            candidates.iter().any(|version| version.is_ambiguous(clock))
        };
        let is_mirrored = |place: &Place| {
            let known = oracle.known.get(place);
            known.is_some_and(|version| version.mirror == oracle.mirror()) && !may_differ(place)
        };
        base.retain(|place, _| is_mirrored(place));
        match mirror {
            Ok(mut found) => {
                found.retain(|place, _| !may_differ(place));
                let context = self.context();
                assert_eq!(found, base, "{context}: the mirror of table {table}");
            }
            Err(error) => self.excuse(&error),
        }
    }

    /// Of a write with several rows in a table either all are there or none.
    pub(super) fn check_whole(&self, found: &Rows, table: u8, given: &[Given]) {
        for one in given {
            let members = || {
                let mine = one.versions.iter().filter(|(of, _, _)| *of == table);
                mine.filter(|(_, place, version)| {
                    let others = one
                        .versions
                        .iter()
                        .chain(given.iter().flat_map(|given| &given.versions));
                    let known = self.oracles[usize::from(table)].known.get(place);
                    let is_last = others
                        .filter(|(of, at, _)| (*of, at) == (table, place))
                        .map(|(_, _, other)| other)
                        .chain(known)
                        .all(|other| other.timestamp <= version.timestamp);
                    is_last && version.value.is_some() && version.expires_at.is_none()
                })
            };
            let there =
                members().filter(|(_, place, version)| found.get(place) == version.value.as_ref());
            let there = there.count();
            assert!(
                there == 0 || there == members().count(),
                "{}: half of a write is there: {one:?}",
                self.context()
            );
        }
    }
}

/// What may stand at a place: what is known, and what was handed over and is newer. Oldest first.
pub(super) fn candidates(
    known: Option<Version>,
    table: u8,
    place: Place,
    given: &[Given],
) -> Vec<Version> {
    let since = known.map_or(i64::MIN, |known| known.timestamp);
    let newer = given.iter().flat_map(|given| &given.versions);
    let newer = newer
        .filter(|(of, at, version)| (*of, *at) == (table, place) && version.timestamp > since)
        .map(|(_, _, version)| *version);
    let mut candidates: Vec<Version> = known.into_iter().chain(newer).collect();
    candidates.sort_by_key(|version| version.timestamp);
    candidates
}
