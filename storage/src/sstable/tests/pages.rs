//! Pages of an SSTable read by itself: what its cursor gives out by the run is what it shows one by one.

use super::*;
use crate::model::{Deletion, PartitionBound, Slices};
use crate::read::{Columns, KeyRange, Limits, Merge, PageBuilder, PartitionRows, ReadCommand, run};
use crate::sstable::SstableCursor;

/// The same cursor, which knows no short way.
struct OneByOne(SstableCursor);

impl Source for OneByOne {
    fn seek(&mut self, from: &PartitionBound) -> Result<(), Fault> {
        self.0.seek(from)
    }
    fn partition(&mut self) -> Result<Option<&PartitionHead>, Fault> {
        self.0.partition()
    }
    fn open(&mut self, slices: &Slices, reversed: bool) -> Result<(), Fault> {
        self.0.open(slices, reversed)
    }
    fn peek(&mut self) -> Result<Option<&Item>, Fault> {
        self.0.peek()
    }
    fn pop(&mut self) -> Item {
        self.0.pop()
    }
    fn gap(&self) -> Option<Deletion> {
        self.0.gap()
    }
    fn next_partition(&mut self) -> Result<(), Fault> {
        self.0.next_partition()
    }
}

/// Rows of all pages, and how many pages there were.
fn all_pages<S: Source>(
    world: &World,
    sstable: &Arc<Sstable>,
    command: &ReadCommand,
    source: impl Fn(SstableCursor) -> S,
) -> (Vec<PartitionRows>, usize) {
    let mut command = command.clone();
    let (mut all, mut pages): (Vec<PartitionRows>, usize) = (Vec::new(), 0);
    loop {
        let cache = Arc::new(BlockCache::new(1 << 24));
        let blocks = Arc::new(FetchedBlocks::admitting(cache));
        let mut merge = Merge::new(vec![source(sstable.cursor(blocks.clone()))]);
        let mut page = PageBuilder::new();
        let page = loop {
            match run(&mut merge, &command, &mut page) {
                Ok(page) => break page.decoded().expect("whole rows"),
                Err(Fault::Miss(address)) => {
                    let fetched = sstable.fetch(&*world.backend, &*blocks, address, None);
                    blocks.add(address, world.env.run(fetched).expect("whole"));
                }
                Err(fault) => panic!("{fault}"),
            }
        };
        pages += 1;
        assert!(pages < 10_000, "a page that brings nothing on");
        for partition in page.partitions {
            match all.last_mut().filter(|last| last.key == partition.key) {
                Some(last) => last.rows.extend(partition.rows),
                None => all.push(partition),
            }
        }
        match page.next {
            Some(next) => command.resume = Some(next),
            None => return (all, pages),
        }
    }
}

#[test]
fn rows_by_the_run_are_the_rows_one_by_one_on_all_pages() {
    for seed in 0..20 {
        let (world, mut dice, partitions, sstable) = written(seed, 12);
        let all = Columns {
            regular: (1..500).map(crate::model::ColumnId).collect(),
            statics: (1..500).map(crate::model::ColumnId).collect(),
        };
        for _ in 0..20 {
            let mut position = || match dice.below(3) {
                0 => row_position(dice.below(60)),
                1 => bound(dice.below(60), dice.one_in(2)),
                _ => Clustering::MIN,
            };
            let (start, end) = (position(), position());
            let slices = match dice.below(3) {
                0 => Slices::all(),
                1 => Slices::one(start, end),
                _ => Slices::new(vec![
                    (Clustering::MIN, start.clone()),
                    (start.max(end), Clustering::max()),
                ]),
            };
            let one = &partitions[dice.below(partitions.len() as u64) as usize];
            let command = ReadCommand {
                table: crate::sstable::tests::ring(1).table(),
                store: crate::model::Store::BASE,
                range: match dice.one_in(2) {
                    true => KeyRange::One(one.head.key.clone()),
                    false => KeyRange::all(),
                },
                slices,
                reversed: dice.one_in(2),
                columns: Arc::new(all.clone()),
                limits: Limits {
                    rows: 1 + dice.below(40) as u32,
                    per_partition: [u32::MAX, 1 + dice.below(30) as u32][dice.below(2) as usize],
                    bytes: [usize::MAX, 2000][dice.below(2) as usize],
                    ..Limits::NONE
                },
                resume: None,
                now: 1_700_000_000,
            };
            let (by_run, _) = all_pages(&world, &sstable, &command, |cursor| cursor);
            let (one_by_one, _) = all_pages(&world, &sstable, &command, OneByOne);
            assert_eq!(by_run, one_by_one, "seed {seed}: {command:?}");
        }
    }
}
