//! How a life ends, and how the next one begins.

use std::time::Duration;

use palladium_storage::{Crash, LogSync};

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
            assert!(self.unknown.is_empty(), "{}", self.context());
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
        self.world.disk.crash(crash);
        self.world.disk.set_room(None);
        self.lives += 1;
        self.log_failed = false;
        let report = inspect(&self.world.disk, &self.world.env)
            .unwrap_or_else(|error| panic!("{}: {error}", self.context()));
        let is_expected = |damage: &String| {
            let mut dropped = self.unfinished.iter();
            dropped.any(|number| damage.contains(&id(*number).to_string()))
        };
        assert!(
            report.damage.iter().all(is_expected),
            "{}: a crash looks like damage: {:?}",
            self.context(),
            report.damage
        );
        self.world.reopen(Crash::Kill);
        for number in std::mem::take(&mut self.unfinished) {
            if self.world.engine.has_table(id(number)) {
                let dropped = self.world.engine.drop_table(id(number));
                self.world.env.run(dropped).unwrap();
            }
        }
        for table in 0..TABLES {
            if self.oracles[usize::from(table)].exists {
                let (id, options) = (id(self.number(table)), table_options(self.draw(u64::MAX)));
                self.world.engine.set_options(id, options).unwrap();
                self.unlock(table);
            }
        }
        self.read_all();
        self.unknown.clear();
        for oracle in &mut self.oracles {
            oracle.may_be_empty = false;
        }
    }
}
