//! What is written, and what its writer hears.

use bytes::Bytes;
use palladium_storage::{
    Cell, CellState, Clustering, Deletion, Error, Liveness, Mutation, PartitionUpdate,
    RangeTombstone, Result, Row, Store, Write,
};

use super::{Given, PARTITIONS, ROWS, Story, Version};
use crate::world::{COLUMN, id, partition, spelled};

fn clustering(row: u64, last: u8) -> Clustering {
    Clustering(Bytes::from(vec![0x40, row as u8, last]))
}

fn update_of(row: u64, version: Version, now: i64) -> PartitionUpdate {
    let ttl = version.expires_at.map(|second| (second - now) as u32);
    let expires_at = version.expires_at.unwrap_or(0);
    let state = |value| match ttl {
        None => CellState::Live(spelled(value)),
        Some(ttl) => CellState::Expiring {
            value: spelled(value),
            ttl,
            expires_at,
        },
    };
    let timestamp = version.timestamp;
    let cell = |value| Cell {
        column: COLUMN,
        path: Bytes::new(),
        timestamp,
        state: state(value),
    };
    let row = Row {
        clustering: clustering(row, 0x80),
        liveness: version.value.map(|_| Liveness {
            timestamp,
            ttl: ttl.unwrap_or(0),
            expires_at,
        }),
        deletion: version.value.is_none().then_some(Deletion {
            timestamp,
            local_deletion_time: now,
        }),
        complex_deletions: Vec::new(),
        cells: version.value.map(cell).into_iter().collect(),
    };
    PartitionUpdate {
        deletion: None,
        static_row: None,
        rows: vec![row],
        range_tombstones: Vec::new(),
    }
}

impl Story {
    pub(super) fn mutation(&self, table: u8, given: &mut Given) -> Mutation {
        let (now, key) = (self.now(), self.draw(PARTITIONS));
        let timestamp = self.world.engine.next_timestamp();
        let mirror = self.oracles[usize::from(table)].mirror();
        let gone = Version {
            timestamp,
            value: None,
            expires_at: None,
            mirror,
        };
        let deletion = Deletion {
            timestamp,
            local_deletion_time: now,
        };
        let mut update = PartitionUpdate::default();
        let mut rows = 0..0;
        match self.draw(20) {
            0 => {
                update.deletion = Some(deletion);
                rows = 0..ROWS;
            }
            1 | 2 => {
                let first = self.draw(ROWS);
                rows = first..first + self.draw(ROWS - first + 1);
                update.range_tombstones = vec![RangeTombstone {
                    start: clustering(rows.start, 0),
                    end: clustering(rows.end, 0),
                    deletion,
                }];
                if rows.is_empty() {
                    update.range_tombstones.clear();
                    update.deletion = Some(Deletion {
                        timestamp: i64::MIN + 1,
                        local_deletion_time: now,
                    });
                }
            }
            kind => {
                let row = self.draw(ROWS);
                let version = Version {
                    timestamp,
                    value: (kind > 4).then(|| self.draw(1 << 40)),
                    expires_at: (kind > 15).then(|| now + 1 + self.draw(30) as i64),
                    mirror,
                };
                update = update_of(row, version, now);
                given.versions.push((table, (key, row), version));
            }
        }
        let covered = rows.map(|row| (table, (key, row), gone));
        given.versions.extend(covered);
        Mutation {
            table: id(self.number(table)),
            store: Store::BASE,
            key: partition(key),
            update,
        }
    }

    pub(super) fn batch(&mut self) -> (Vec<Write>, Vec<Given>) {
        let (mut writes, mut all) = (Vec::new(), Vec::new());
        for _ in 0..1 + self.draw(6) {
            let (mut mutations, mut given) = (Vec::new(), Given::default());
            for _ in 0..1 + self.draw(3) {
                if let Some(table) = self.some_table() {
                    let mutation = self.mutation(table, &mut given);
                    let mut mirrored = mutation.clone();
                    mirrored.store = self.oracles[usize::from(table)].mirror();
                    mutations.extend([mutation, mirrored]);
                }
            }
            writes.push(Write::new(mutations));
            all.push(given);
        }
        (writes, all)
    }

    pub(super) fn write_some(&mut self) {
        let (writes, given) = self.batch();
        let ticket = self.world.engine.write(writes);
        let results = self.world.env.run(ticket);
        self.heard(given, results);
    }

    /// Takes note of how writes ended.
    pub(super) fn heard(&mut self, given: Vec<Given>, results: Vec<Result<()>>) {
        for (given, result) in given.into_iter().zip(results) {
            match result {
                Ok(()) => {
                    for (table, place, version) in given.versions {
                        let known = &mut self.oracles[usize::from(table)].known;
                        let newest = known.entry(place).or_insert(version);
                        if version.timestamp >= newest.timestamp {
                            *newest = version;
                        }
                    }
                }
                Err(Error::OutcomeUnknown { .. }) => {
                    self.unknown.push(given);
                    self.log_failed = true;
                }
                // Refused before anything was appended: it must never be seen.
                Err(Error::Stopped { .. }) => self.log_failed = true,
                Err(Error::KeyUnavailable { .. } | Error::Full { .. } | Error::Invalid { .. }) => {}
                Err(other) => panic!("{}: a write ended with {other}", self.context()),
            }
        }
    }
}
