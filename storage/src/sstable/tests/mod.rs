//! SSTables against a slow oracle, against a hostile disk, and against their own past.
//!
//! A [`World`] is a simulated disk, an environment and a table's key, all from one seed. [`random_partitions`] makes partitions with
//! rows, static rows, deletions and range tombstones as the sequence of items that a correct source shows.

mod ahead;
mod cursor;
mod golden;
mod mutated;
mod pages;
mod point;
mod tamper;
mod zstd;

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use palladium_crypto::{ClusterId, CmkRef, KeyRing, Secret, TableId, TableKey};

use super::ReadAhead;
use super::{Sstable, SstableWriter, WriterOptions};
use crate::Result;
use crate::backend::{SimulatedBackend, SimulatedDisk};
use crate::cache::{BlockCache, BlockLookup, FetchedBlocks, PlainBlock};
use crate::env::SimulatedEnv;
use crate::manifest::SstableEntry;
use crate::model::{
    Cell, CellState, Clustering, ColumnId, Deletion, Liveness, PartitionKey, RangeTombstone,
    RangeTombstoneList, Row, Token,
};
use crate::options::Compression;
use crate::read::{BlockAddress, Fault, Item, PartitionHead, Source};

/// Everything an SSTable needs around it.
pub(crate) struct World {
    pub disk: Arc<SimulatedDisk>,
    pub backend: Arc<SimulatedBackend>,
    pub env: Arc<SimulatedEnv>,
    pub ring: Arc<KeyRing>,
}

impl World {
    pub fn new(seed: u64) -> World {
        let disk = SimulatedDisk::new();
        World {
            backend: Arc::new(SimulatedBackend::open(&disk).expect("a new disk")),
            disk,
            env: SimulatedEnv::new(seed),
            ring: Arc::new(ring(1)),
        }
    }

    pub fn write(&self, partitions: &[Contents], options: &WriterOptions) -> SstableEntry {
        self.try_write(partitions, options)
            .expect("partitions are in order")
            .expect("there are partitions")
    }

    pub fn try_write(
        &self,
        partitions: &[Contents],
        options: &WriterOptions,
    ) -> Result<Option<SstableEntry>> {
        let mut writer = SstableWriter::new(
            self.backend.clone(),
            self.env.clone(),
            &self.ring,
            options.clone(),
        );
        self.env.run(async {
            for Contents { head, items } in partitions {
                writer.begin_partition(head)?;
                for item in items {
                    writer.push(item).await?;
                }
                writer.end_partition().await?;
            }
            writer.finish().await
        })
    }

    pub fn open(&self, entry: &SstableEntry) -> Result<Arc<Sstable>> {
        self.env
            .run(Sstable::open(&*self.backend, entry, &self.ring))
    }
}

/// A table's key ring; the same number gives the same keys.
pub(crate) fn ring(table: u8) -> KeyRing {
    let cmk: CmkRef = "local:test".parse().expect("a key name");
    let secret = Secret::from_bytes([table; 32]);
    KeyRing::new(
        TableKey::derive(&secret, ClusterId([9; 16]), TableId([table; 16]), 1, &cmk),
        Vec::new(),
    )
}

/// One partition as a source shows it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Contents {
    pub head: PartitionHead,
    pub items: Vec<Item>,
}

/// The worst lookup that still lets a cursor go on: it remembers the one block fetched last.
#[derive(Default)]
pub(crate) struct LastBlock(Mutex<Option<(BlockAddress, PlainBlock)>>);

impl BlockLookup for LastBlock {
    fn block(&self, address: BlockAddress) -> Option<PlainBlock> {
        let last = self.0.lock().expect("no thread panics");
        last.as_ref()
            .filter(|(at, _)| *at == address)
            .map(|(_, block)| block.clone())
    }
}

/// A cursor, and what fetches the blocks it misses.
pub(crate) struct Driver<'a> {
    pub world: &'a World,
    pub sstable: Arc<Sstable>,
    blocks: Arc<LastBlock>,
    pub cursor: super::SstableCursor,
    pub misses: u64,
    ahead: ReadAhead,
}

impl<'a> Driver<'a> {
    pub fn new(world: &'a World, sstable: &Arc<Sstable>) -> Self {
        let blocks = Arc::new(LastBlock::default());
        Driver {
            world,
            sstable: sstable.clone(),
            cursor: sstable.cursor(blocks.clone()),
            blocks,
            misses: 0,
            ahead: ReadAhead::growing(10_000),
        }
    }

    /// Asks until there is an answer, fetching one block after each miss.
    pub fn ask<T>(
        &mut self,
        mut question: impl FnMut(&mut super::SstableCursor) -> Result<T, Fault>,
    ) -> Result<T> {
        loop {
            match question(&mut self.cursor) {
                Ok(answer) => return Ok(answer),
                Err(Fault::Error(error)) => return Err(error),
                Err(Fault::Turn) => unreachable!("one SSTable shows all that it has"),
                Err(Fault::Miss(address)) => {
                    self.misses += 1;
                    let backend = &*self.world.backend;
                    let block = match self.sstable.try_fetch_now(
                        backend,
                        &*self.blocks,
                        address,
                        Some(&mut self.ahead),
                    ) {
                        Some(block) if self.misses.is_multiple_of(2) => block?,
                        _ => self.world.env.run(self.sstable.fetch(
                            backend,
                            &*self.blocks,
                            address,
                            Some(&mut self.ahead),
                        ))?,
                    };
                    *self.blocks.0.lock().expect("no thread panics") = Some((address, block));
                }
            }
        }
    }

    /// The head of the current partition.
    pub fn head(&mut self) -> Result<Option<PartitionHead>> {
        self.ask(|cursor| Ok(cursor.partition()?.cloned()))
    }

    /// What the SSTable says of one row. A point keeps nothing between two attempts, so all that was fetched for it stays at hand.
    pub fn point(
        &mut self,
        key: &PartitionKey,
        position: &Clustering,
    ) -> Result<Option<crate::read::PointPart>> {
        let blocks = FetchedBlocks::passing(Arc::new(BlockCache::new(0)));
        loop {
            match self.sstable.point(&blocks, key, position) {
                Ok(answer) => return Ok(answer),
                Err(Fault::Error(error)) => return Err(error),
                Err(Fault::Turn) => unreachable!("one SSTable shows all that it has"),
                Err(Fault::Miss(address)) => {
                    self.misses += 1;
                    let backend = &*self.world.backend;
                    let block = self
                        .world
                        .env
                        .run(self.sstable.fetch(backend, &blocks, address, None))?;
                    blocks.add(address, block);
                }
            }
        }
    }

    /// All items that the opened partition shows.
    pub fn items(&mut self) -> Result<Vec<Item>> {
        let mut items = Vec::new();
        while self.ask(|cursor| cursor.peek().map(|item| item.is_some()))? {
            items.push(self.cursor.pop());
        }
        Ok(items)
    }

    /// Everything from the first partition on.
    pub fn all(&mut self, reversed: bool) -> Result<Vec<Contents>> {
        let mut all = Vec::new();
        while let Some(head) = self.head()? {
            self.ask(|cursor| cursor.open(&crate::model::Slices::all(), reversed))?;
            let items = self.items()?;
            all.push(Contents { head, items });
            self.ask(Source::next_partition)?;
        }
        Ok(all)
    }
}

/// Numbers that look random and are the same for the same seed.
pub(crate) struct Dice(u64);

impl Dice {
    pub fn new(seed: u64) -> Self {
        // Far apart for neighbouring seeds: all sequences are windows of one.
        let mut dice = Dice(seed ^ 0x5851_F42D_4C95_7F2D);
        Dice(dice.next())
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    pub fn one_in(&mut self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn bytes(&mut self, len: u64) -> Bytes {
        (0..len)
            .map(|_| self.next() as u8)
            .collect::<Vec<u8>>()
            .into()
    }
}

/// A row's position: its component and the terminator.
pub(crate) fn row_position(n: u64) -> Clustering {
    let mut bytes = format!("row{n:06}").into_bytes();
    bytes.push(0x80);
    Clustering(bytes.into())
}

/// The bound before (0x00) or after (0xFF) everything that begins with a row's components.
pub(crate) fn bound(n: u64, after: bool) -> Clustering {
    let mut bytes = format!("row{n:06}").into_bytes();
    bytes.push(if after { 0xFF } else { 0x00 });
    Clustering(bytes.into())
}

pub(crate) fn key(token: i64, name: &str) -> PartitionKey {
    PartitionKey::new(Token(token), name.as_bytes().to_vec())
}

pub(crate) fn cell(column: u32, timestamp: i64, value: Bytes) -> Cell {
    Cell {
        column: ColumnId(column),
        path: Bytes::new(),
        timestamp,
        state: CellState::Live(value),
    }
}

pub(crate) fn deletion(timestamp: i64) -> Deletion {
    Deletion {
        timestamp,
        local_deletion_time: 1_700_000_000 + timestamp,
    }
}

pub(crate) fn random_row(dice: &mut Dice, clustering: Clustering) -> Row {
    let mut row = Row::new(clustering);
    let time = |dice: &mut Dice| 1_000_000 + dice.below(1000) as i64;
    if !dice.one_in(4) {
        row.liveness = Some(match dice.one_in(5) {
            true => Liveness::expiring(time(dice), 60, 1_900_000_000),
            false => Liveness::new(time(dice)),
        });
    }
    if dice.one_in(10) {
        row.deletion = Some(deletion(dice.below(100) as i64));
    }
    for column in 1..=dice.below(5) as u32 + 1 {
        let len = if dice.one_in(40) {
            3000
        } else {
            dice.below(40)
        };
        let mut cell = cell(column, time(dice), dice.bytes(len));
        if dice.one_in(8) {
            cell.state = CellState::Tombstone {
                local_deletion_time: 1_700_000_000,
            };
        }
        row.cells.push(cell);
    }
    row
}

/// Rows and range tombstones as a source shows them.
pub(crate) fn items_of(rows: Vec<Row>, tombstones: &RangeTombstoneList) -> Vec<Item> {
    let mut items: Vec<Item> = rows
        .into_iter()
        .map(|row| {
            let cover = tombstones.covering(&row.clustering.0);
            Item {
                position: row.clustering.clone(),
                before: cover,
                after: cover,
                row: Some(row.into()),
            }
        })
        .collect();
    let mut edges: Vec<Clustering> = tombstones
        .as_slice()
        .iter()
        .flat_map(|tombstone| [tombstone.start.clone(), tombstone.end.clone()])
        .collect();
    edges.dedup();
    for position in edges {
        let ends = |t: &&RangeTombstone| t.end == position;
        let starts = |t: &&RangeTombstone| t.start == position;
        let deletion = |t: &RangeTombstone| t.deletion;
        items.push(Item {
            before: tombstones.as_slice().iter().find(ends).map(deletion),
            after: tombstones.as_slice().iter().find(starts).map(deletion),
            position,
            row: None,
        });
    }
    items.sort_by(|a, b| a.position.cmp(&b.position));
    items
}

/// Random partitions in an SSTable whose blocks have one of several sizes, by the seed.
pub(crate) fn written(seed: u64, count: u64) -> (World, Dice, Vec<Contents>, Arc<Sstable>) {
    let world = World::new(seed);
    let mut dice = Dice::new(seed);
    let partitions = random_partitions(&mut dice, count);
    let options = WriterOptions {
        block_bytes: 200 + 300 * (seed as usize % 5),
        ..WriterOptions::default()
    };
    let sstable = world
        .open(&world.write(&partitions, &options))
        .expect("whole");
    (world, dice, partitions, sstable)
}

/// Partitions in order: mostly small, some wide, some nothing but a deletion or a static row; a few share a token.
pub(crate) fn random_partitions(dice: &mut Dice, count: u64) -> Vec<Contents> {
    let mut keys: Vec<PartitionKey> = (0..count)
        .map(|n| {
            let token = if dice.one_in(6) {
                42
            } else {
                dice.next() as i64
            };
            key(token, &format!("partition {n}"))
        })
        .collect();
    keys.sort();
    keys.dedup();
    keys.into_iter()
        .map(|key| random_partition(dice, key))
        .collect()
}

pub(crate) fn random_partition(dice: &mut Dice, key: PartitionKey) -> Contents {
    let rows_max = match dice.below(10) {
        0 => 0,
        1 => 400,
        2..=4 => 30,
        _ => 1,
    };
    let mut numbers: Vec<u64> = (0..rows_max).map(|_| dice.below(3 * rows_max)).collect();
    numbers.sort_unstable();
    numbers.dedup();
    let rows = numbers
        .into_iter()
        .map(|n| random_row(dice, row_position(n)))
        .collect();
    let tombstones = match dice.one_in(3) {
        true => (0..dice.below(8))
            .map(|_| random_tombstone(dice, rows_max))
            .collect(),
        false => RangeTombstoneList::new(),
    };
    let items = items_of(rows, &tombstones);
    let deleted = items.is_empty() || dice.one_in(6);
    Contents {
        head: PartitionHead {
            key,
            deletion: deleted.then(|| deletion(dice.below(50) as i64)),
            static_row: dice
                .one_in(5)
                .then(|| Box::new(random_row(dice, Clustering::MIN))),
        },
        items,
    }
}

/// A partition that has this row and nothing else.
fn one_row(token: i64, row: Row) -> Contents {
    Contents {
        head: PartitionHead {
            key: key(token, "same"),
            deletion: None,
            static_row: None,
        },
        items: items_of(vec![row], &RangeTombstoneList::new()),
    }
}

fn random_tombstone(dice: &mut Dice, rows_max: u64) -> RangeTombstone {
    let from = dice.below(3 * rows_max + 1);
    let to = from + dice.below(rows_max + 1);
    RangeTombstone {
        start: if dice.one_in(9) {
            Clustering::MIN
        } else {
            bound(from, dice.one_in(2))
        },
        end: if dice.one_in(9) {
            Clustering::max()
        } else {
            bound(to, true)
        },
        deletion: deletion(50 + dice.below(5) as i64),
    }
}
