//! Merges by story, and against a slow oracle: what a reader sees is the same before and after.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use bytes::Bytes;

use super::*;
use crate::cache::BlockCache;
use crate::manifest::SstableEntry;
use crate::memtable::{self, Memtable};
use crate::model::{
    Cell, CellState, Clustering, ColumnId, Deletion, PartitionKey, PartitionUpdate, RangeTombstone,
    Row,
};
use crate::read::{PartitionHead, Source};
use crate::sstable::tests::{
    Contents, Dice, Driver, World, bound, cell, deletion, key, random_partition, ring, row_position,
};
use crate::sstable::{Sstable, WriterOptions};
use crate::{Error, Result};

const NOW: i64 = 1_790_000_000;

struct Table {
    world: World,
    sstables: Vec<Arc<Sstable>>,
}

impl Table {
    fn new(seed: u64) -> Table {
        Table {
            world: World::new(seed),
            sstables: Vec::new(),
        }
    }

    /// Flushes updates as one SSTable.
    fn flush(&mut self, updates: &[(PartitionKey, PartitionUpdate)]) -> SstableEntry {
        let memtable = Memtable::new();
        for (key, update) in updates {
            memtable
                .apply(key, update)
                .expect("an update that was just made");
        }
        let options = WriterOptions {
            id: self.sstables.len() as u64 + 1,
            block_bytes: 512,
            ..WriterOptions::default()
        };
        let World {
            backend, env, ring, ..
        } = &self.world;
        let mut cursor = memtable.cursor();
        cursor
            .seek(&crate::model::PartitionBound::MIN)
            .expect("memtables do not miss");
        let flushed = env.run(memtable::flush::flush(
            cursor,
            backend.clone(),
            env.clone(),
            ring,
            options,
        ));
        let entry = flushed
            .expect("room on the disk")
            .expect("something to write");
        self.sstables
            .push(self.world.open(&entry).expect("just written"));
        entry
    }

    fn task(
        &self,
        inputs: &[usize],
        gc_grace_seconds: i64,
    ) -> MergeTask<crate::backend::SimulatedBackend> {
        let outside: Vec<Arc<Sstable>> = self
            .sstables
            .iter()
            .enumerate()
            .filter(|(at, _)| !inputs.contains(at))
            .map(|(_, sstable)| sstable.clone())
            .collect();
        MergeTask {
            bytes_max: 1 << 20,
            backend: self.world.backend.clone(),
            env: self.world.env.clone(),
            ring: self.world.ring.clone(),
            cache: Arc::new(BlockCache::new(1 << 20)),
            inputs: inputs.iter().map(|at| self.sstables[*at].clone()).collect(),
            outputs: Outputs::One,
            pace: Arc::new(Pace::new(0)),
            circumstances: Circumstances {
                now: NOW,
                gc_grace_seconds,
                memtable_min_timestamp: i64::MAX,
            },
            oldest_outside: Arc::new(move |key| oldest_outside(&outside, i64::MAX, key)),
            columns_gone: Arc::from([]),
            stale: None,
            writer: WriterOptions {
                block_bytes: 512,
                ..WriterOptions::default()
            },
            proceed: Arc::new(|| Ok(())),
            progress: Arc::new(|_| ()),
            damaged: Arc::new(|_| ()),
        }
    }

    fn merge(&self, inputs: &[usize], gc_grace_seconds: i64) -> Vec<Contents> {
        let merged = self
            .world
            .env
            .run(merge(self.task(inputs, gc_grace_seconds)))
            .expect("whole");
        merged
            .added
            .iter()
            .flat_map(|entry| self.contents(entry))
            .collect()
    }

    fn contents(&self, entry: &SstableEntry) -> Vec<Contents> {
        let sstable = self.world.open(entry).expect("just written");
        Driver::new(&self.world, &sstable)
            .all(false)
            .expect("whole")
    }
}

fn put(n: u64, timestamp: i64, value: &'static [u8]) -> PartitionUpdate {
    let mut row = Row::new(row_position(n));
    row.cells
        .push(cell(1, timestamp, Bytes::from_static(value)));
    PartitionUpdate::of_row(row)
}

fn delete_cell(n: u64, timestamp: i64, local_deletion_time: i64) -> PartitionUpdate {
    let mut row = Row::new(row_position(n));
    row.cells.push(Cell {
        column: ColumnId(1),
        path: Bytes::new(),
        timestamp,
        state: CellState::Tombstone {
            local_deletion_time,
        },
    });
    PartitionUpdate::of_row(row)
}

fn delete_partition(timestamp: i64, local_deletion_time: i64) -> PartitionUpdate {
    PartitionUpdate {
        deletion: Some(Deletion {
            timestamp,
            local_deletion_time,
        }),
        ..PartitionUpdate::default()
    }
}

fn delete_range(from: u64, to: u64, timestamp: i64) -> PartitionUpdate {
    PartitionUpdate {
        range_tombstones: vec![RangeTombstone {
            start: bound(from, false),
            end: bound(to, true),
            deletion: deletion(timestamp),
        }],
        ..PartitionUpdate::default()
    }
}

fn values(contents: &[Contents]) -> Vec<&[u8]> {
    let items = contents.iter().flat_map(|contents| &contents.items);
    let mut cells = Vec::new();
    for row in items.filter_map(|item| item.row.as_ref()) {
        let shown = row.as_ref().each_cell(|cell| cells.push(cell));
        shown.expect("a whole row");
    }
    cells
        .into_iter()
        .map(|cell| cell.value().unwrap_or(b"(deleted)"))
        .collect()
}

#[test]
fn of_two_values_the_later_one_stays() {
    let mut table = Table::new(1);
    let one = key(1, "one");
    table.flush(&[(one.clone(), put(1, 10, b"old"))]);
    table.flush(&[
        (one.clone(), put(1, 20, b"new")),
        (one, put(2, 5, b"other")),
    ]);
    assert_eq!(values(&table.merge(&[0, 1], 1000)), [&b"new"[..], b"other"]);
}

#[test]
fn a_deleted_value_is_gone_and_its_tombstone_stays_for_its_grace() {
    let mut table = Table::new(2);
    let one = key(1, "one");
    table.flush(&[(one.clone(), put(1, 10, b"value"))]);
    table.flush(&[(one, delete_cell(1, 20, NOW - 500))]);
    assert_eq!(values(&table.merge(&[0, 1], 1000)), [b"(deleted)"]);
    assert!(
        table.merge(&[0, 1], 100).is_empty(),
        "past its grace nothing is left, not even an SSTable"
    );
}

#[test]
fn a_tombstone_stays_while_an_older_value_lies_outside() {
    let mut table = Table::new(3);
    let one = key(1, "one");
    table.flush(&[(one.clone(), put(1, 10, b"value"))]);
    table.flush(&[(one, delete_cell(1, 20, NOW - 500))]);
    assert_eq!(
        values(&table.merge(&[1], 100)),
        [b"(deleted)"],
        "the value is in the other SSTable"
    );
}

#[test]
fn a_tombstone_goes_if_what_lies_outside_is_another_partition_or_later() {
    let mut table = Table::new(4);
    let one = key(1, "one");
    table.flush(&[(key(5, "five"), put(1, 10, b"value"))]);
    table.flush(&[(one.clone(), put(1, 30, b"later"))]);
    table.flush(&[(one, delete_cell(1, 20, NOW - 500))]);
    assert!(table.merge(&[2], 100).is_empty());
}

#[test]
fn a_partition_deletion_hides_and_then_goes_itself() {
    let mut table = Table::new(5);
    let (one, two) = (key(1, "one"), key(2, "two"));
    table.flush(&[
        (one.clone(), put(1, 10, b"a")),
        (two.clone(), put(1, 10, b"b")),
    ]);
    table.flush(&[
        (one, delete_partition(20, NOW - 500)),
        (two, delete_partition(5, NOW - 500)),
    ]);
    let kept = table.merge(&[0, 1], 1000);
    assert_eq!(kept.len(), 2);
    assert!(kept.iter().all(|contents| contents.head.deletion.is_some()));
    assert_eq!(values(&kept), [b"b"]);
    let purged = table.merge(&[0, 1], 100);
    assert_eq!((purged.len(), purged[0].head.deletion), (1, None));
    assert_eq!(values(&purged), [b"b"]);
}

#[test]
fn a_range_deletion_hides_rows_of_other_sstables() {
    let mut table = Table::new(6);
    let one = key(1, "one");
    let rows = (0..100).map(|n| (one.clone(), put(n, 10, b"value")));
    table.flush(&rows.collect::<Vec<_>>());
    table.flush(&[(one, delete_range(20, 89, 20))]);
    let kept = table.merge(&[0, 1], i64::MAX / 2);
    assert_eq!(
        (values(&kept).len(), kept[0].items.len()),
        (30, 32),
        "30 rows and two boundaries"
    );
    let purged = table.merge(&[0, 1], 0);
    assert_eq!((values(&purged).len(), purged[0].items.len()), (30, 30));
}

#[test]
fn an_expired_value_becomes_a_tombstone() {
    let mut table = Table::new(7);
    let mut row = Row::new(Clustering::SINGLE);
    row.cells.push(Cell {
        column: ColumnId(1),
        path: Bytes::new(),
        timestamp: 10,
        state: CellState::Expiring {
            value: Bytes::from_static(b"session"),
            ttl: 60,
            expires_at: NOW - 1,
        },
    });
    table.flush(&[(key(1, "one"), PartitionUpdate::of_row(row))]);
    assert_eq!(values(&table.merge(&[0], 1000)), [b"(deleted)"]);
    assert!(table.merge(&[0], 10).is_empty());
}

#[test]
fn a_merge_reads_and_writes_what_an_oracle_reconciles() {
    for seed in 0..6 {
        let mut dice = Dice::new(seed);
        let mut table = Table::new(seed);
        let mut all: std::collections::BTreeMap<PartitionKey, PartitionUpdate> = Default::default();
        for _ in 0..4 {
            let mut updates = Vec::new();
            for n in 0..25u64 {
                if dice.one_in(3) {
                    continue;
                }
                let update = update_of(random_partition(
                    &mut dice,
                    key(n as i64 / 3, &format!("key {n}")),
                ));
                all.entry(update.0.clone())
                    .or_default()
                    .absorb(update.1.clone());
                updates.push(update);
            }
            table.flush(&updates);
        }
        let oracle = Memtable::new();
        for (key, update) in &all {
            oracle
                .apply(key, update)
                .expect("an update that was just made");
        }
        let expected = shown(oracle.cursor());
        let merged = table.merge(&[0, 1, 2, 3], i64::MAX / 2);
        assert_eq!(merged, expected, "seed {seed}");
        let compacted_twice = table.merge(&[3, 1, 0, 2], i64::MAX / 2);
        assert_eq!(
            compacted_twice, expected,
            "seed {seed}: the order of the inputs does not matter"
        );
    }
}

/// What a merge of one source shows: reconciled, with nothing that is hidden.
fn shown(source: impl Source) -> Vec<Contents> {
    let mut merge = crate::read::Merge::new(vec![source]);
    let mut all = Vec::new();
    while let Some(head) = merge.partition().expect("memtables do not miss").cloned() {
        merge
            .open(&crate::model::Slices::all(), false)
            .expect("memtables do not miss");
        let mut items = Vec::new();
        while merge.peek().expect("memtables do not miss").is_some() {
            items.push(merge.pop());
        }
        merge.next_partition().expect("memtables do not miss");
        if head.deletion.is_some() || head.static_row.is_some() || !items.is_empty() {
            all.push(Contents { head, items });
        }
    }
    all
}

fn update_of(contents: Contents) -> (PartitionKey, PartitionUpdate) {
    let PartitionHead {
        key,
        deletion,
        static_row,
    } = contents.head;
    let mut update = PartitionUpdate {
        deletion,
        static_row: static_row.map(|row| *row),
        ..PartitionUpdate::default()
    };
    let mut open: Option<(Clustering, Deletion)> = None;
    for item in contents.items {
        if let Some(row) = item.row {
            update.rows.push(row.into_row().expect("a whole row"));
            continue;
        }
        if let Some((start, deletion)) = open.take() {
            update.range_tombstones.push(RangeTombstone {
                start,
                end: item.position.clone(),
                deletion,
            });
        }
        open = item.after.map(|deletion| (item.position, deletion));
    }
    (key, update)
}

#[test]
fn a_merge_that_is_stopped_leaves_nothing_behind() {
    let mut table = Table::new(8);
    let rows = |timestamp: i64| {
        let row = move |n: u64| {
            (
                key(n as i64, "k"),
                put(n, timestamp, b"a value of some length"),
            )
        };
        (0..2000).map(row).collect::<Vec<_>>()
    };
    table.flush(&rows(1));
    table.flush(&rows(2));
    let before = table.world.disk.paths();
    let stretches = Arc::new(AtomicU32::new(0));
    let mut task = table.task(&[0, 1], 1000);
    let counter = stretches.clone();
    task.proceed = Arc::new(move || match counter.fetch_add(1, Ordering::Relaxed) {
        20.. => Err(Error::Closed),
        _ => Ok(()),
    });
    let outcome: Result<Merged> = table.world.env.run(merge(task));
    assert!(matches!(outcome, Err(Error::Closed)));
    assert_eq!(table.world.disk.paths(), before);
}

#[test]
fn a_full_disk_fails_the_merge_and_leaves_nothing_behind() {
    let mut table = Table::new(9);
    let rows: Vec<_> = (0..2000)
        .map(|n| (key(n as i64, "k"), put(n, 1, b"a value of some length")))
        .collect();
    table.flush(&rows);
    let before = table.world.disk.paths();
    table.world.disk.set_room(Some(20_000));
    assert!(table.world.env.run(merge(table.task(&[0], 1000))).is_err());
    table.world.disk.set_room(None);
    assert_eq!(table.world.disk.paths(), before);
}

#[test]
fn a_merge_seals_under_the_active_key() {
    let mut table = Table::new(10);
    table.flush(&[(key(1, "one"), put(1, 10, b"value"))]);
    let mut task = table.task(&[0], 1000);
    task.ring = Arc::new(ring(7));
    let merged = table.world.env.run(merge(task)).expect("whole");
    let entry = &merged.added[0];
    assert!(
        table.world.open(entry).is_err(),
        "the old key does not open it"
    );
    let opened = table
        .world
        .env
        .run(Sstable::open(&*table.world.backend, entry, &ring(7)));
    assert!(opened.is_ok());
}
