//! One row found straight away is the row, and the deletion over it, that a walk over everything finds.

use super::*;

const SEEDS: std::ops::Range<u64> = 0..30;

/// What a partition says of a position, the slow way.
fn expected(contents: &Contents, position: &Clustering) -> crate::read::PointPart {
    let mut open = None;
    for item in &contents.items {
        if item.position == *position {
            return crate::read::PointPart {
                cover: contents.head.deletion.max(item.before),
                row: item.row.clone(),
            };
        }
        if item.position > *position {
            break;
        }
        open = item.after;
    }
    crate::read::PointPart {
        cover: contents.head.deletion.max(open),
        row: None,
    }
}

#[test]
fn a_row_is_found_without_a_walk() {
    for seed in SEEDS {
        let (world, mut dice, partitions, sstable) = written(seed, 40);
        let mut driver = Driver::new(&world, &sstable);
        for contents in &partitions {
            let rows = contents.items.len() as u64;
            let sparse = 1 + rows / 40;
            for n in (0..3 * rows + 3).filter(|n| n % sparse == seed % sparse) {
                let position = row_position(n);
                let found = driver.point(&contents.head.key, &position).expect("whole");
                assert_eq!(
                    found,
                    Some(expected(contents, &position)),
                    "seed {seed}, row {n}"
                );
            }
        }
        for n in 0..50 {
            let absent = key(if n % 2 == 0 { 42 } else { dice.next() as i64 }, "absent");
            let found = driver.point(&absent, &row_position(n)).expect("whole");
            assert_eq!(found, None, "seed {seed}");
        }
    }
}

#[test]
fn a_row_of_a_wide_partition_takes_one_index_block_and_one_data_block() {
    let world = World::new(1);
    let mut dice = Dice::new(1);
    let rows = (0..20_000)
        .map(|n| random_row(&mut dice, row_position(n)))
        .collect();
    let wide = Contents {
        head: PartitionHead {
            key: key(7, "wide"),
            deletion: None,
            static_row: None,
        },
        items: items_of(rows, &RangeTombstoneList::new()),
    };
    let sstable = world
        .open(&world.write(&[wide], &WriterOptions::default()))
        .expect("whole");
    let mut driver = Driver::new(&world, &sstable);
    let found = driver
        .point(&key(7, "wide"), &row_position(12_345))
        .expect("whole");
    assert!(found.is_some_and(|part| part.row.is_some()));
    assert_eq!(driver.misses, 2);
}

#[test]
fn a_row_that_is_none_is_told_with_its_block_by_a_read_of_it_and_by_a_scan() {
    let world = World::new(2);
    let row = random_row(&mut Dice::new(3), row_position(1));
    let mut encoded = Vec::new();
    row.encode(&mut encoded);
    let contents = Contents {
        head: PartitionHead {
            key: key(7, "k"),
            deletion: None,
            static_row: None,
        },
        items: items_of(vec![row], &RangeTombstoneList::new()),
    };
    let entry = world.write(&[contents], &WriterOptions::default());
    let sstable = world.open(&entry).expect("whole");
    let blocks = Arc::new(FetchedBlocks::passing(Arc::new(BlockCache::new(0))));
    // What a faulty writer would have sealed: the block is authentic, and the row has no end.
    let broken = |plain: crate::cache::PlainBlock| {
        let mut bytes = plain.bytes().to_vec();
        let at = bytes
            .windows(encoded.len())
            .position(|found| found == encoded);
        if let Some(at) = at {
            bytes[at..at + encoded.len()].fill(0xFF);
        }
        crate::cache::PlainBlock::sharing(bytes.into())
    };
    let fetch = |address| {
        let fetched = sstable.fetch(&*world.backend, &*blocks, address, None);
        let block = world.env.run(fetched).expect("whole");
        blocks.add(address, broken(block));
    };
    let (key, position) = (key(7, "k"), row_position(1));
    while let Err(Fault::Miss(address)) = sstable.point(&*blocks, &key, &position) {
        fetch(address);
    }
    let named = sstable.blame(&*blocks, &key, &position);
    let named = named.expect("it is no row").to_string();
    assert!(named.contains("block 0"), "{named}");
    let mut cursor = sstable.cursor(blocks.clone());
    let shown = loop {
        let opened = cursor.open(&crate::model::Slices::all(), false);
        let shown = opened.and_then(|()| {
            cursor.show_rows(crate::read::Until::END, &mut |row| {
                crate::read::RowRef::Encoded(row).to_row().map(|_| true)
            })
        });
        match shown {
            Err(Fault::Miss(address)) => fetch(address),
            other => break other,
        }
    };
    let Err(Fault::Error(error)) = shown else {
        panic!("{shown:?}");
    };
    assert_eq!(error.to_string(), named);
}
