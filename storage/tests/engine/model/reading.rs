//! What is read, by many roads, and held against the map.

use palladium_storage::{Limits, ReadCommand, ReadPage, Result, Store};

use super::{PARTITIONS, Place, ROWS, Story, TABLES, Version};
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

    /// All rows of a table, by one of many roads.
    pub(super) fn table_rows(&self, table: u8, store: Store) -> Result<Rows> {
        let number = self.number(table);
        let pages = Limits {
            rows: 1 + self.draw(9) as u32,
            ..Limits::NONE
        };
        let limits = [Limits::NONE, pages][self.draw(2) as usize];
        let finish = |command: ReadCommand| ReadCommand {
            store,
            limits,
            now: self.now(),
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
        let now = self.now();
        let found = match self.table_rows(table, Store::BASE) {
            Ok(found) => found,
            Err(_) if self.world.disk.is_down() => return,
            Err(error) => panic!("{}: table {table}: {error}", self.context()),
        };
        let context = self.context();
        let oracle = &mut self.oracles[usize::from(table)];
        for place in (0..PARTITIONS).flat_map(|key| (0..ROWS).map(move |row| (key, row))) {
            let value = found.get(&place).copied();
            let known = oracle.known.get(&place).copied();
            let since = known.map_or(i64::MIN, |known| known.timestamp);
            let newer = self.unknown.iter().flat_map(|given| &given.versions);
            let newer = newer
                .filter(|(of, at, version)| {
                    (*of, *at) == (table, place) && version.timestamp > since
                })
                .map(|(_, _, version)| *version);
            let mut candidates: Vec<Version> = known.into_iter().chain(newer).collect();
            candidates.sort_by_key(|version| version.timestamp);
            // Where several fit, the oldest: what is not known to have happened is not assumed.
            let is_absent = known.is_none() && value.is_none();
            let seen = candidates
                .iter()
                .find(|version| !is_absent && version.at(now) == value);
            match seen {
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
        self.check_whole(&found, table);
        self.check_mirror(found, table);
    }

    /// What the derived store holds is what the base holds, as far back as it goes: no crash takes one and leaves the other.
    pub(super) fn check_mirror(&self, mut base: Rows, table: u8) {
        let oracle = &self.oracles[usize::from(table)];
        let is_mirrored = |place: &Place| {
            let known = oracle.known.get(place);
            known.is_some_and(|version| version.timestamp >= oracle.mirrored_from)
        };
        base.retain(|place, _| is_mirrored(place));
        match self.table_rows(table, oracle.mirror()) {
            Ok(found) => assert_eq!(
                found,
                base,
                "{}: the mirror of table {table}",
                self.context()
            ),
            Err(_) if self.world.disk.is_down() => {}
            Err(error) => panic!("{}: table {table}: {error}", self.context()),
        }
    }

    /// Of a write with several rows in a table either all are there or none.
    pub(super) fn check_whole(&self, found: &Rows, table: u8) {
        for given in &self.unknown {
            let members = || {
                let mine = given.versions.iter().filter(|(of, _, _)| *of == table);
                mine.filter(|(_, place, version)| {
                    let others = given
                        .versions
                        .iter()
                        .chain(self.unknown.iter().flat_map(|given| &given.versions));
                    let is_last = others
                        .filter(|(of, at, _)| (*of, at) == (table, place))
                        .all(|(_, _, other)| other.timestamp <= version.timestamp);
                    is_last && version.value.is_some() && version.expires_at.is_none()
                })
            };
            let there =
                members().filter(|(_, place, version)| found.get(place) == version.value.as_ref());
            let there = there.count();
            assert!(
                there == 0 || there == members().count(),
                "{}: half of a write is there: {given:?}",
                self.context()
            );
        }
    }
}
