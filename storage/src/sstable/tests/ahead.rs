//! What is read for whoever goes through an SSTable from its beginning: how often, and what becomes of it where the disk is damaged.

use std::collections::BTreeMap;
use std::sync::Mutex;

use palladium_crypto::StructureId;

use super::*;
use crate::Error;
use crate::backend::{Reads, SimulatedBackend};
use crate::model::Slices;
use crate::read::Fault;

/// Counts reads, and fails those that touch a byte of a blob.
struct Watched<'a> {
    backend: &'a SimulatedBackend,
    reads: Mutex<BTreeMap<StructureId, usize>>,
    bad: Option<(StructureId, u64)>,
}

impl Reads for Watched<'_> {
    async fn blob_read(&self, blob: StructureId, offset: u64, length: usize) -> Result<Vec<u8>> {
        *self.reads.lock().unwrap().entry(blob).or_default() += 1;
        if let Some((bad, byte)) = self.bad
            && bad == blob
            && (offset..offset + length as u64).contains(&byte)
        {
            return Err(Error::corrupt("a bad sector"));
        }
        self.backend.blob_read(blob, offset, length).await
    }

    async fn blob_size(&self, blob: StructureId) -> Result<u64> {
        self.backend.blob_size(blob).await
    }

    async fn log_read(&self, segment: u64, offset: u64, length: usize) -> Result<Vec<u8>> {
        self.backend.log_read(segment, offset, length).await
    }
}

/// How many items there are up to the end, or to the first block that cannot be read.
fn walk(world: &World, sstable: &Arc<Sstable>, disk: &Watched<'_>, ahead: &mut ReadAhead) -> usize {
    let blocks = Arc::new(LastBlock::default());
    let mut cursor = sstable.cursor(blocks.clone());
    let (mut items, mut is_open) = (0, false);
    loop {
        let step = match is_open {
            false => match cursor.partition() {
                Ok(None) => return items,
                Ok(Some(_)) => cursor.open(&Slices::all(), false).map(|()| is_open = true),
                Err(fault) => Err(fault),
            },
            true => match cursor.peek() {
                Ok(Some(_)) => {
                    cursor.pop();
                    items += 1;
                    Ok(())
                }
                Ok(None) => cursor.next_partition().map(|()| is_open = false),
                Err(fault) => Err(fault),
            },
        };
        match step {
            Ok(()) => {}
            Err(Fault::Miss(address)) => {
                let fetched = sstable.fetch(disk, &*blocks, address, Some(&mut *ahead));
                match world.env.run(fetched) {
                    Ok(block) => *blocks.0.lock().unwrap() = Some((address, block)),
                    Err(_) => return items,
                }
            }
            Err(fault @ (Fault::Error(_) | Fault::Turn)) => panic!("{fault}"),
        }
    }
}

const AHEAD: usize = 16 << 10;

#[test]
fn a_walk_reads_each_index_block_once_and_the_data_in_stretches_and_goes_as_far_as_the_disk_does() {
    let world = World::new(7);
    let partitions = random_partitions(&mut Dice::new(7), 600);
    let options = WriterOptions {
        block_bytes: 512,
        ..WriterOptions::default()
    };
    let sstable = world.open(&world.write(&partitions, &options)).unwrap();
    let (data, index) = (sstable.structures()[0], sstable.structures()[1]);
    let watched = |bad| Watched {
        backend: &world.backend,
        reads: Mutex::default(),
        bad,
    };
    let disk = watched(None);
    let all = walk(&world, &sstable, &disk, &mut ReadAhead::steady(AHEAD));
    let items = partitions.iter().map(|contents| contents.items.len());
    assert_eq!(all, items.sum::<usize>());
    let blocks = sstable.data_blocks() as usize;
    let index_blocks = sstable.index_blocks().unwrap().len();
    assert!(blocks > 20 * index_blocks, "{blocks}, {index_blocks}");
    let reads = disk.reads.lock().unwrap().clone();
    // Partitions that go on beyond a block are looked for in the index by the cursor, too.
    assert!(reads[&index] <= 3 * index_blocks, "{reads:?}");
    let size = world.env.run(disk.blob_size(data)).unwrap();
    assert!(reads[&data] <= 2 * (size as usize / AHEAD) + 2, "{reads:?}");

    for place in 1..10 {
        let bad = Some((data, size / 10 * place));
        let ahead = watched(bad);
        let items = walk(&world, &sstable, &ahead, &mut ReadAhead::steady(AHEAD));
        let alone = watched(bad);
        let by_block = walk(&world, &sstable, &alone, &mut ReadAhead::steady(0));
        assert_eq!(items, by_block, "items before the damage at {place}");
        let reads = |disk: &Watched<'_>| disk.reads.lock().unwrap()[&data];
        assert!(reads(&ahead) <= reads(&alone) + 1);
        assert!(items < all);
    }
}
