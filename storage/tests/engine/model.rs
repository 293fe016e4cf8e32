//! Random work on the whole engine over a simulated disk that dies at random syncs, fills up and fails, against a map.
//!
//! After each crash exactly what was acknowledged is there, plus any of what was on its way; never less, never anything else, and never half of a write. Between
//! crashes tables are locked, switched to other keys, given other compaction strategies, emptied, dropped and made again, time passes and values expire. `verify` finds nothing to say of a folder
//! that has only been through crashes. One seed drives all of it and a failure prints it: `PALLADIUM_WORLDS` says how many, `PALLADIUM_SEED` which comes first.

mod changing;
mod lives;
mod reading;
mod strategies;
mod writing;

use std::collections::BTreeMap;
use std::time::Duration;

use palladium_storage::{LogSync, Options, Store};

use crate::world::{World, small};

const TABLES: u8 = 3;
const PARTITIONS: u64 = 6;
const ROWS: u64 = 8;
const STEPS: u32 = 90;

type Place = (u64, u64);

/// What stands at a place, and from when.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Version {
    timestamp: i64,
    /// None: deleted.
    value: Option<u64>,
    /// Second from which the value is gone.
    expires_at: Option<i64>,
}

impl Version {
    fn at(&self, now: i64) -> Option<u64> {
        self.value
            .filter(|_| self.expires_at.is_none_or(|second| second > now))
    }
}

/// A write that was handed over: what it says of each place of each table.
#[derive(Debug, Clone, Default)]
struct Given {
    versions: Vec<(u8, Place, Version)>,
}

/// What a table must hold.
#[derive(Default)]
struct Oracle {
    /// By which id and from which generation of it; a table made again is another one.
    generation: u8,
    exists: bool,
    known: BTreeMap<Place, Version>,
    /// It may have been emptied.
    may_be_empty: bool,
    /// The derived store that mirrors the base, which is store `stores + 1`: others before it have ended.
    stores: u16,
    /// The first timestamp that it mirrors.
    mirrored_from: i64,
}

impl Oracle {
    fn mirror(&self) -> Store {
        Store(self.stores + 1)
    }
}

struct Story {
    world: World,
    oracles: Vec<Oracle>,
    /// Handed over in this life, and of unknown outcome.
    unknown: Vec<Given>,
    lives: u64,
    /// A drop or a creation was cut short: its table is dropped after the next start.
    unfinished: Vec<u8>,
    /// The log has failed; nothing is written any more in this life.
    log_failed: bool,
}

fn options(seed: u64) -> Options {
    Options {
        // Every fourth world acknowledges before the sync; its crashes are kills, which take nothing that was written.
        log_sync: match seed % 4 {
            0 => LogSync::Periodic {
                every: Duration::from_secs(2),
            },
            _ => LogSync::Group,
        },
        memtable_flush_bytes: 6 << 10,
        log_bytes_max: 512 << 10,
        ..small()
    }
}

impl Story {
    pub(super) fn new(seed: u64) -> Story {
        let mut story = Story {
            world: World::new(seed, options(seed)),
            oracles: (0..TABLES).map(|_| Oracle::default()).collect(),
            unknown: Vec::new(),
            lives: 1,
            unfinished: Vec::new(),
            log_failed: false,
        };
        for table in 0..TABLES {
            story.create(table);
        }
        story
    }

    pub(super) fn draw(&self, below: u64) -> u64 {
        self.world.draw(below)
    }

    pub(super) fn now(&self) -> i64 {
        self.world.engine.now_seconds()
    }

    pub(super) fn context(&self) -> String {
        format!("seed {}, life {}", self.world.seed, self.lives)
    }

    /// The number under which the world knows the table now.
    pub(super) fn number(&self, table: u8) -> u8 {
        table + TABLES * self.oracles[usize::from(table)].generation
    }

    pub(super) fn some_table(&self) -> Option<u8> {
        let table = self.draw(TABLES.into()) as u8;
        self.oracles[usize::from(table)].exists.then_some(table)
    }

    pub(super) fn step(&mut self) {
        match self.draw(100) {
            0..45 => self.write_some(),
            45..53 => self.storm(),
            53..61 => self.read_all(),
            61..69 => self.tidy(),
            69..75 => self.world.env.advance(Duration::from_secs(self.draw(15))),
            75..79 => self.reopen_one_table(),
            79..82 => self.switch(),
            82..84 => self.truncate(),
            84..86 => self.drop_or_create(),
            86 => self.drop_store(),
            87 => self.change_strategy(),
            88..92 => self.world.disk.go_down_at_sync(1 + self.draw(14)),
            92..94 => self
                .world
                .disk
                .fail_syncs_after(self.draw(6), 1 + self.draw(2) as u32),
            94..96 => self.fill_the_disk(),
            96 => self.stop(),
            _ => self.crash(),
        }
        if self.world.disk.is_down() || self.log_failed {
            self.crash();
        }
    }
}

#[test]
fn what_was_acknowledged_survives_every_crash() {
    let number = |variable: &str, default: u64| {
        std::env::var(variable).map_or(default, |text| text.parse().expect("a number"))
    };
    let first = number("PALLADIUM_SEED", 1);
    for seed in first..first + number("PALLADIUM_WORLDS", 30) {
        let mut story = Story::new(seed);
        for _ in 0..STEPS {
            story.step();
        }
        story.crash();
    }
}
