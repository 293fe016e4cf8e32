//! What merges forget is never missed: random writes in several SSTables and a memtable, merged in any order, at any time, past any grace, and expired ones dropped
//! whole, against the same writes of which nothing is ever forgotten.
//!
//! All of it is written before the first merge: what a client writes with an older timestamp after a tombstone's grace is seen again, as in Cassandra, and is no question of merges.

use std::collections::BTreeSet;
use std::sync::Arc;

use proptest::collection::vec;
use proptest::prelude::{Just, ProptestConfig, any, prop_oneof, proptest};
use proptest::strategy::Strategy as PropStrategy;

use super::*;
use crate::backend::SimulatedBackend;
use crate::cache::{BlockCache, FetchedBlocks};
use crate::manifest::SstableEntry;
use crate::memtable::{self, Memtable};
use crate::model::{
    CellState, ColumnId, PartitionBound, PartitionKey, PartitionUpdate, Row, Slices, Store, testing,
};
use crate::read::{
    Columns, Fault, KeyRange, Limits, Merge, PageBuilder, PartitionRows, ReadCommand, Source, run,
};
use crate::sstable::tests::World;
use crate::sstable::{Sstable, WriterOptions};

type Writes = Vec<(PartitionKey, PartitionUpdate)>;

/// One thing that happens to the SSTables, drawn.
#[derive(Debug, Clone)]
enum Step {
    /// Time passes.
    Wait(i64),
    /// Those whose bit is set are merged.
    Merge { members: u8, outputs: Outputs },
    /// A strategy chooses, until it rests.
    Choose(Box<CompactionOptions>),
    /// What has expired goes.
    Forget,
    /// Another memtable becomes an SSTable.
    Flush,
}

fn outputs() -> impl PropStrategy<Value = Outputs> {
    prop_oneof![
        Just(Outputs::One),
        Just(Outputs::Bytes(1)),
        Just(Outputs::Shards(2)),
        Just(Outputs::Shards(1 << 20)),
    ]
}

fn options() -> impl PropStrategy<Value = CompactionOptions> {
    let tiers = SizeTiered {
        min_threshold: 2,
        max_threshold: 2,
        min_sstable_size: 0,
        bucket_low: 0.1,
        bucket_high: 10.0,
    };
    let strategy = prop_oneof![
        Just(Strategy::SizeTiered(tiers.clone())),
        (1u64..600, 2u64..4).prop_map({
            let tiers = tiers.clone();
            move |(sstable_bytes, fanout_size)| {
                Strategy::Leveled(Leveled {
                    sstable_bytes,
                    fanout_size,
                    tiers: tiers.clone(),
                })
            }
        }),
        (1i64..6).prop_map(move |window_seconds| {
            Strategy::TimeWindow(TimeWindow {
                window_seconds,
                timestamp_resolution: Resolution::Seconds,
                tiers: tiers.clone(),
            })
        }),
        vec(-3i32..2, 1..3).prop_map(|scaling| {
            Strategy::Unified(Unified {
                scaling,
                target_sstable_size: 600,
                min_sstable_size: 100,
                flush_size_override: 200,
                max_sstables_to_compact: 3,
                ..Unified::default()
            })
        }),
    ];
    (strategy, any::<bool>()).prop_map(|(strategy, unchecked_tombstone_compaction)| {
        CompactionOptions {
            strategy,
            tombstones: Some(TombstoneCompaction {
                tombstone_threshold: 0.05,
                tombstone_compaction_interval: 1,
                unchecked_tombstone_compaction,
            }),
            ..CompactionOptions::default()
        }
    })
}

fn step() -> impl PropStrategy<Value = Step> {
    prop_oneof![
        3 => (1i64..5).prop_map(Step::Wait),
        3 => (1u8.., outputs()).prop_map(|(members, outputs)| Step::Merge { members, outputs }),
        2 => options().prop_map(|options| Step::Choose(Box::new(options))),
        1 => Just(Step::Forget),
        1 => Just(Step::Flush),
    ]
}

/// Gives what expires a timestamp that nothing else has: of two that expire and have one, it is as in Cassandra (`purge`).
fn told_apart(spread: &mut [Writes]) {
    let mut next = 0;
    let mut apart = move |timestamp: &mut i64, expires: bool| {
        next += 1;
        *timestamp = timestamp.saturating_mul(1_000) + if expires { next } else { 0 };
    };
    for (_, update) in spread.iter_mut().flatten() {
        if let Some(deletion) = &mut update.deletion {
            apart(&mut deletion.timestamp, false);
        }
        for range in &mut update.range_tombstones {
            apart(&mut range.deletion.timestamp, false);
        }
        for row in update.rows.iter_mut().chain(&mut update.static_row) {
            if let Some(liveness) = &mut row.liveness {
                apart(&mut liveness.timestamp, liveness.ttl > 0);
            }
            if let Some(deletion) = &mut row.deletion {
                apart(&mut deletion.timestamp, false);
            }
            for (_, deletion) in &mut row.complex_deletions {
                apart(&mut deletion.timestamp, false);
            }
            for cell in &mut row.cells {
                let expires = matches!(cell.state, CellState::Expiring { .. });
                apart(&mut cell.timestamp, expires);
            }
        }
    }
}

fn memtable_of(writes: &Writes) -> Memtable {
    let memtable = Memtable::new();
    for (key, update) in writes {
        memtable
            .apply(key, update)
            .expect("an update that was just made");
    }
    memtable
}

fn everything(now: i64) -> ReadCommand {
    let all = testing::SIMPLE.iter().chain(&testing::COMPLEX);
    let mut all: Vec<ColumnId> = all.map(|column| ColumnId(*column)).collect();
    all.sort();
    ReadCommand {
        table: palladium_crypto::TableId([1; 16]),
        store: Store::BASE,
        range: KeyRange::all(),
        slices: Slices::all(),
        reversed: false,
        columns: Arc::new(Columns {
            regular: all.clone(),
            statics: all,
        }),
        limits: Limits::NONE,
        resume: None,
        now,
    }
}

/// What is seen: without what only says why.
fn read<S: Source>(
    sources: Vec<S>,
    now: i64,
    mut fetch: impl FnMut(crate::read::BlockAddress),
) -> Vec<PartitionRows<Vec<Row>>> {
    let (mut merge, mut page, command) = (Merge::new(sources), PageBuilder::new(), everything(now));
    loop {
        match run(&mut merge, &command, &mut page) {
            Ok(page) => return page.decoded().expect("whole rows").partitions,
            Err(Fault::Miss(address)) => fetch(address),
            Err(Fault::Turn) => {}
            Err(Fault::Error(error)) => panic!("{error}"),
        }
    }
}

struct Heap {
    world: World,
    sstables: Vec<Arc<Sstable>>,
    /// What is not flushed yet, in the order in which it will be; it is read, and no merge sees it.
    memtables: Vec<Memtable>,
    /// All that was ever written.
    all: Memtable,
    next_id: u64,
    now: i64,
    grace: i64,
}

impl Heap {
    fn new(spread: &[Writes], in_memory: usize, grace: i64) -> Heap {
        let all: Writes = spread.iter().flatten().cloned().collect();
        let mut heap = Heap {
            world: World::new(1),
            sstables: Vec::new(),
            memtables: spread.iter().map(memtable_of).collect(),
            all: memtable_of(&all),
            next_id: 1,
            now: 5,
            grace,
        };
        while heap.memtables.len() > in_memory {
            heap.flush();
        }
        heap
    }

    fn options(&mut self) -> WriterOptions {
        self.next_id += 1;
        WriterOptions {
            id: self.next_id,
            block_bytes: 64,
            ..WriterOptions::default()
        }
    }

    fn flush(&mut self) {
        if self.memtables.is_empty() {
            return;
        }
        let memtable = self.memtables.remove(0);
        let options = self.options();
        self.sstables.extend(self.written(&memtable, options));
    }

    /// A memtable as an SSTable, if it has anything.
    fn written(&self, memtable: &Memtable, options: WriterOptions) -> Option<Arc<Sstable>> {
        let World {
            backend, env, ring, ..
        } = &self.world;
        let mut cursor = memtable.cursor();
        cursor
            .seek(&PartitionBound::MIN)
            .expect("memtables do not miss");
        let flushed = memtable::flush::flush(cursor, backend.clone(), env.clone(), ring, options);
        let entry = env.run(flushed).expect("room on the disk")?;
        Some(self.opened(&entry))
    }

    fn opened(&self, entry: &SstableEntry) -> Arc<Sstable> {
        self.world.open(entry).expect("just written")
    }

    fn circumstances(&self) -> Circumstances {
        let oldest = self.memtables.iter().map(Memtable::min_timestamp).min();
        Circumstances {
            now: self.now,
            gc_grace_seconds: self.grace,
            memtable_min_timestamp: oldest.unwrap_or(i64::MAX),
        }
    }

    fn summaries(&self) -> Vec<SstableSummary> {
        let summaries = self.sstables.iter().map(|sstable| sstable.summary());
        summaries.collect()
    }

    fn merge(&mut self, plan: &Plan) {
        let is_chosen = |sstable: &&Arc<Sstable>| plan.sstables.contains(&sstable.id());
        let (inputs, outside): (Vec<_>, Vec<_>) = self.sstables.iter().partition(is_chosen);
        let inputs: Vec<Arc<Sstable>> = inputs.into_iter().cloned().collect();
        let outside: Vec<Arc<Sstable>> = outside.into_iter().cloned().collect();
        let in_memory = self.circumstances().memtable_min_timestamp;
        let writer = WriterOptions {
            level: plan.level,
            ..self.options()
        };
        let task: MergeTask<SimulatedBackend> = MergeTask {
            backend: self.world.backend.clone(),
            env: self.world.env.clone(),
            ring: self.world.ring.clone(),
            cache: Arc::new(BlockCache::new(1 << 20)),
            inputs,
            outputs: plan.outputs,
            bytes_max: 1 << 20,
            pace: Arc::new(Pace::new(0)),
            circumstances: self.circumstances(),
            oldest_outside: {
                let outside = outside.clone();
                Arc::new(move |key| oldest_outside(&outside, in_memory, key))
            },
            columns_gone: Arc::from([ColumnId(testing::DROPPED)]),
            stale: None,
            writer,
            proceed: Arc::new(|| Ok(())),
            progress: Arc::new(|_| ()),
            damaged: Arc::new(|_| ()),
        };
        let mut merged = self.world.env.run(merge(task)).expect("whole");
        self.sstables = outside;
        for entry in &mut merged.added {
            self.next_id += 1;
            entry.id = self.next_id;
        }
        let added = merged.added.iter().map(|entry| self.opened(entry));
        let added: Vec<_> = added.collect();
        self.sstables.extend(added);
    }

    fn forget(&mut self, ids: &[u64]) {
        self.sstables.retain(|sstable| !ids.contains(&sstable.id()));
    }

    fn choose(&mut self, options: &CompactionOptions) {
        for _ in 0..30 {
            let choice = options.choose(&self.summaries(), &BTreeSet::new(), self.circumstances());
            match choice {
                Choice::Rest => return,
                Choice::Merge(plan) => self.merge(&plan),
                Choice::Forget(ids) => self.forget(&ids),
            }
        }
        panic!("{options:?} does not come to rest");
    }

    fn step(&mut self, step: &Step) {
        match step {
            Step::Wait(seconds) => self.now += seconds,
            Step::Merge { members, outputs } => {
                let chosen = self.sstables.iter().enumerate();
                let chosen = chosen.filter(|(at, _)| members & (1 << (at % 8)) != 0);
                let sstables: Vec<u64> = chosen.map(|(_, sstable)| sstable.id()).collect();
                if !sstables.is_empty() {
                    self.merge(&Plan {
                        sstables,
                        level: 0,
                        outputs: *outputs,
                        is_divisible: false,
                    });
                }
            }
            Step::Choose(options) => self.choose(options),
            Step::Forget => {
                let expiry = Expiry::default();
                let expired = expiry.expired(&self.summaries(), self.circumstances());
                self.forget(&expired);
            }
            Step::Flush => self.flush(),
        }
    }

    /// What is there is what was written, at this second and at those to come.
    fn check(&self) {
        for now in [self.now, self.now + 1, self.now + 3, self.now + 100] {
            let expected = read(vec![self.all.cursor()], now, |_| {
                unreachable!("memtables do not miss")
            });
            assert_eq!(self.read(now), expected, "at {now}, now {}", self.now);
        }
    }

    fn read(&self, now: i64) -> Vec<PartitionRows<Vec<Row>>> {
        // Memtables as SSTables of their own, so that one kind of source does.
        let cache = Arc::new(BlockCache::new(1 << 20));
        let blocks = Arc::new(FetchedBlocks::keeping(cache, 1_000, 1 << 20));
        let memtables = self.memtables.iter();
        let unflushed =
            memtables.filter_map(|memtable| self.written(memtable, WriterOptions::default()));
        let all: Vec<Arc<Sstable>> = self.sstables.iter().cloned().chain(unflushed).collect();
        let cursors = all.iter().map(|sstable| sstable.cursor(blocks.clone()));
        read(cursors.collect(), now, |address| {
            let owner = all.iter().find(|sstable| sstable.owns(address.structure));
            let owner = owner.expect("one of them");
            let backend = &*self.world.backend;
            let fetched = owner.fetch(backend, &*blocks, address, None);
            let block = self.world.env.run(fetched).expect("whole");
            blocks.add(address, block);
        })
    }
}

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 2_000, ..ProptestConfig::with_cases(60) })]

    #[test]
    fn what_merges_forget_is_never_missed(
        mut spread in vec(vec((testing::keys(), testing::update()), 1..6), 1..7),
        in_memory in 0usize..3,
        grace in 0i64..8,
        steps in vec(step(), 1..10),
    ) {
        told_apart(&mut spread);
        let mut heap = Heap::new(&spread, in_memory, grace);
        for step in &steps {
            heap.step(step);
            heap.check();
        }
    }
}
