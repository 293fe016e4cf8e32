//! How a life ends, and how the next one begins.

use std::time::Duration;

use palladium_storage::{Crash, Error, LogSync};

use super::strategies::table_options;
use super::{Story, TABLES};
use crate::world::{id, inspect};

impl Story {
    pub(super) fn fill_the_disk(&mut self) {
        self.world.disk.set_room(Some(self.draw(200 << 10)));
        for _ in 0..10 {
            self.write_some();
            if self.may_fail() {
                break;
            }
        }
        if !self.may_fail() {
            self.tidy();
            self.switch();
        }
        self.world.disk.set_room(None);
        self.world.env.advance(Duration::from_secs(3));
    }

    pub(super) fn stop(&mut self) {
        let stopped = self.world.stop();
        if stopped.is_ok() {
            let mut unknown = self.unknown.iter().flat_map(|given| &given.versions);
            let is_known = unknown.all(|(_, _, version)| version.expires_at.is_some());
            assert!(is_known || self.flipped.is_some(), "{}", self.context());
        }
        self.next_life(Crash::Kill);
    }

    pub(super) fn crash(&mut self) {
        let crash = match self.draw(3) {
            _ if self.world.options.log_sync != LogSync::Group => Crash::Kill,
            0 => Crash::Kill,
            _ => Crash::PowerLoss {
                seed: self.draw(u64::MAX),
            },
        };
        self.next_life(crash);
    }

    pub(super) fn next_life(&mut self, crash: Crash) {
        self.world.env.drop_tasks();
        self.clock();
        self.world.disk.crash(crash);
        self.world.disk.set_room(None);
        self.flip_back();
        self.lives += 1;
        self.log_failed = false;
        let report = inspect(&self.world.disk, &self.world.env)
            .unwrap_or_else(|error| panic!("{}: {error}", self.context()));
        let is_expected = |damage: &String| {
            let mut dropped = self.unfinished.iter();
            // What a failed sync has left out of one copy, and nobody knew.
            let is_spare = self.syncs_failed
                && damage.starts_with("manifest")
                && damage.ends_with("the other copy serves");
            is_spare || dropped.any(|number| damage.contains(&id(*number).to_string()))
        };
        assert!(
            report.damage.iter().all(is_expected),
            "{}: a crash looks like damage: {:?}",
            self.context(),
            report.damage
        );
        if matches!(crash, Crash::PowerLoss { .. }) {
            self.syncs_failed = false;
        }
        self.choose_pace();
        self.start();
        for number in std::mem::take(&mut self.unfinished) {
            if self.world.engine.has_table(id(number)) {
                let dropped = self.world.engine.drop_table(id(number));
                self.world.env.run(dropped).unwrap();
            }
        }
        self.flip_a_bit();
        for table in 0..TABLES {
            if self.oracles[usize::from(table)].exists {
                let (id, options) = (id(self.number(table)), table_options(self.draw(u64::MAX)));
                self.world.engine.set_options(id, options).unwrap();
                self.unlock(table);
            }
        }
        self.read_all();
        // What could not be looked at is as unknown as before.
        if self.flipped.is_none() {
            // So is what had expired when it was looked for: the clock may be set back.
            let latest = self.latest;
            for given in &mut self.unknown {
                given
                    .versions
                    .retain(|(_, _, version)| version.expires_at.is_some_and(|at| at <= latest));
            }
            self.unknown.retain(|given| !given.versions.is_empty());
            for oracle in &mut self.oracles {
                oracle.may_be_empty = false;
            }
        }
    }

    /// A start that cannot read says so, harms nothing, and the next one can.
    fn start(&mut self) {
        if self.draw(4) == 0 {
            self.world.disk.fail_reads_after(self.draw(40), 1);
        }
        loop {
            match self.world.try_reopen_as_it_is() {
                Ok(()) => break,
                Err(Error::Io { .. }) => self.world.disk.fail_reads_after(0, 0),
                Err(error) => panic!("{}: {error}", self.context()),
            }
        }
        self.world.disk.fail_reads_after(0, 0);
    }
}
