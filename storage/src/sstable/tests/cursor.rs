//! What went in comes out: whole, reversed, in slices, from any place, one block in memory at a time.

use super::*;
use crate::Error;
use crate::model::{PartitionBound, Slices};
use crate::read::ReadRow;

const SEEDS: std::ops::Range<u64> = 0..6;

fn small_blocks() -> WriterOptions {
    WriterOptions {
        block_bytes: 512,
        ..WriterOptions::default()
    }
}

fn options_of(seed: u64) -> WriterOptions {
    WriterOptions {
        block_bytes: [256, 512, 4096][seed as usize % 3],
        compression: match seed % 4 {
            0 => Compression::Off,
            1 => Compression::Zstd { level: 3 },
            _ => Compression::Lz4,
        },
        ..WriterOptions::default()
    }
}

#[test]
fn everything_written_is_read_in_order_and_reversed() {
    for seed in SEEDS {
        let world = World::new(seed);
        let partitions = random_partitions(&mut Dice::new(seed), 50);
        let sstable = world
            .open(&world.write(&partitions, &options_of(seed)))
            .expect("whole");
        assert_eq!(
            Driver::new(&world, &sstable).all(false).expect("whole"),
            partitions,
            "seed {seed}"
        );
        let mut reversed = Driver::new(&world, &sstable).all(true).expect("whole");
        for contents in &mut reversed {
            contents.items.reverse();
        }
        assert_eq!(reversed, partitions, "seed {seed}");
        world
            .env
            .run(sstable.verify(&*world.backend))
            .unwrap_or_else(|error| panic!("seed {seed}: {error}"));
    }
}

#[test]
fn a_seek_finds_the_first_partition_at_or_after_its_bound() {
    for seed in SEEDS {
        let world = World::new(seed);
        let mut dice = Dice::new(seed);
        let partitions = random_partitions(&mut dice, 120);
        let sstable = world
            .open(&world.write(&partitions, &options_of(seed)))
            .expect("whole");
        let mut driver = Driver::new(&world, &sstable);
        let mut bounds = vec![PartitionBound::MIN, PartitionBound::MAX];
        for contents in &partitions {
            let key = &contents.head.key;
            let token = key.token();
            bounds.extend([
                PartitionBound::Before(key.clone()),
                PartitionBound::After(key.clone()),
                PartitionBound::BeforeToken(token),
                PartitionBound::AfterToken(token),
                PartitionBound::Before(super::key(token.0, "nobody")),
                PartitionBound::BeforeToken(Token(dice.next() as i64)),
            ]);
        }
        for bound in bounds {
            let expected = partitions
                .iter()
                .map(|contents| &contents.head)
                .find(|head| !bound.is_after_key(&head.key));
            driver.ask(|cursor| cursor.seek(&bound)).expect("whole");
            let found = driver.head().expect("whole");
            assert_eq!(found.as_ref(), expected, "seed {seed}, {bound:?}");
        }
    }
}

#[test]
fn a_slice_shows_its_rows_its_boundaries_and_what_is_open_where_it_begins() {
    for seed in SEEDS {
        let world = World::new(seed);
        let mut dice = Dice::new(seed);
        let partitions = random_partitions(&mut dice, 20);
        let sstable = world
            .open(&world.write(&partitions, &options_of(seed)))
            .expect("whole");
        let mut driver = Driver::new(&world, &sstable);
        for contents in &partitions {
            driver
                .ask(|cursor| cursor.seek(&PartitionBound::Before(contents.head.key.clone())))
                .expect("whole");
            for _ in 0..8 {
                let from = dice.below(1300);
                let start = if dice.one_in(5) {
                    Clustering::MIN
                } else {
                    bound(from, dice.one_in(2))
                };
                let end = if dice.one_in(5) {
                    Clustering::max()
                } else {
                    bound(from + dice.below(40), true)
                };
                let slices = Slices::one(start.clone(), end.clone());
                if slices.is_empty() {
                    continue;
                }
                for reversed in [false, true] {
                    check_slice(&mut driver, contents, &slices, &start, &end, reversed, seed);
                }
            }
        }
    }
}

fn check_slice(
    driver: &mut Driver<'_>,
    contents: &Contents,
    slices: &Slices,
    start: &Clustering,
    end: &Clustering,
    reversed: bool,
    seed: u64,
) {
    let inside = |item: &&Item| *start <= item.position && item.position <= *end;
    let mut expected: Vec<Item> = contents.items.iter().filter(inside).cloned().collect();
    // What is open at the slice's edge, as the nearest item outside says.
    let open_at_start = contents
        .items
        .iter()
        .rfind(|item| item.position < *start)
        .and_then(|item| item.after);
    let open_at_end = contents
        .items
        .iter()
        .find(|item| item.position > *end)
        .and_then(|item| item.before);
    let mut open = if reversed { open_at_end } else { open_at_start };
    if reversed {
        expected.reverse();
    }
    driver
        .ask(|cursor| cursor.open(slices, reversed))
        .expect("whole");
    assert_eq!(
        driver.cursor.gap(),
        open,
        "seed {seed}, reversed {reversed}: gap after open"
    );
    let mut shown = Vec::new();
    while driver
        .ask(|cursor| cursor.peek().map(|item| item.is_some()))
        .expect("whole")
    {
        let item = driver.cursor.pop();
        assert_eq!(
            item.entering(reversed),
            open,
            "seed {seed}, reversed {reversed}: what an item enters"
        );
        open = item.leaving(reversed);
        assert_eq!(
            driver.cursor.gap(),
            open,
            "seed {seed}, reversed {reversed}: gap after an item"
        );
        shown.push(item);
    }
    assert_eq!(
        driver.cursor.gap(),
        open,
        "seed {seed}, reversed {reversed}: gap at the end"
    );
    assert_eq!(shown, expected, "seed {seed}, reversed {reversed}");
}

#[test]
fn a_partition_can_be_left_at_any_moment() {
    for seed in SEEDS {
        let world = World::new(seed);
        let mut dice = Dice::new(seed);
        let partitions = random_partitions(&mut dice, 60);
        let sstable = world
            .open(&world.write(&partitions, &small_blocks()))
            .expect("whole");
        let mut driver = Driver::new(&world, &sstable);
        for contents in &partitions {
            let head = driver.head().expect("whole");
            assert_eq!(head.as_ref(), Some(&contents.head), "seed {seed}");
            if dice.one_in(2) {
                let reversed = dice.one_in(2);
                driver
                    .ask(|cursor| cursor.open(&Slices::all(), reversed))
                    .expect("whole");
                for _ in 0..dice.below(200) {
                    if driver
                        .ask(|cursor| cursor.peek().map(|item| item.is_some()))
                        .expect("whole")
                    {
                        driver.cursor.pop();
                    }
                }
            }
            driver.ask(Source::next_partition).expect("whole");
        }
        assert_eq!(driver.head().expect("whole"), None, "seed {seed}");
    }
}

#[test]
fn a_point_read_of_a_wide_partition_opens_few_blocks() {
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
    driver
        .ask(|cursor| cursor.seek(&PartitionBound::Before(key(7, "wide"))))
        .expect("whole");
    let slices = Slices::one(bound(12_345, false), bound(12_345, true));
    driver
        .ask(|cursor| cursor.open(&slices, false))
        .expect("whole");
    let rows = driver.items().expect("whole");
    assert_eq!((rows.len(), &rows[0].position), (1, &row_position(12_345)));
    assert!(driver.misses <= 6, "{} blocks fetched", driver.misses);
}

#[test]
fn a_huge_row_makes_one_large_block_and_its_neighbours_stay_small() {
    let world = World::new(2);
    let mut dice = Dice::new(2);
    let mut huge = Row::new(row_position(5));
    huge.cells.push(cell(1, 1, dice.bytes(3 << 20)));
    let mut rows: Vec<Row> = (0..5)
        .map(|n| random_row(&mut dice, row_position(n)))
        .collect();
    rows.push(huge);
    rows.extend((6..9).map(|n| random_row(&mut dice, row_position(n))));
    let contents = Contents {
        head: PartitionHead {
            key: key(7, "k"),
            deletion: None,
            static_row: None,
        },
        items: items_of(rows, &RangeTombstoneList::new()),
    };
    let sstable = world
        .open(&world.write(std::slice::from_ref(&contents), &WriterOptions::default()))
        .expect("whole");
    assert!(sstable.data_blocks() >= 3);
    assert_eq!(
        Driver::new(&world, &sstable).all(false).expect("whole"),
        [contents]
    );
}

#[test]
fn missing_keys_are_mostly_known_to_be_missing_and_present_ones_never_are() {
    let world = World::new(3);
    let partitions = random_partitions(&mut Dice::new(3), 500);
    let sstable = world
        .open(&world.write(&partitions, &WriterOptions::default()))
        .expect("whole");
    for contents in &partitions {
        assert!(sstable.may_contain(&contents.head.key));
    }
    let mut strangers = Dice::new(4);
    let passed = (0..10_000)
        .filter(|_| sstable.may_contain(&key(strangers.next() as i64, "stranger")))
        .count();
    assert!(passed < 100, "{passed} of 10000");
}

#[test]
fn statistics_say_what_is_inside() {
    let world = World::new(5);
    let partitions = random_partitions(&mut Dice::new(5), 50);
    let sstable = world
        .open(&world.write(&partitions, &WriterOptions::default()))
        .expect("whole");
    let statistics = sstable.statistics();
    let rows: Vec<&ReadRow> = partitions
        .iter()
        .flat_map(|p| &p.items)
        .filter_map(|item| item.row.as_ref())
        .collect();
    assert_eq!(statistics.partitions, partitions.len() as u64);
    assert_eq!(statistics.rows, rows.len() as u64);
    assert_eq!(
        Some(&statistics.first_key),
        partitions.first().map(|p| &p.head.key)
    );
    assert_eq!(
        Some(&statistics.last_key),
        partitions.last().map(|p| &p.head.key)
    );
    assert_eq!(
        Some(&statistics.clusterings.0),
        rows.iter().map(|row| row.clustering()).min()
    );
    assert_eq!(
        Some(&statistics.clusterings.1),
        rows.iter().map(|row| row.clustering()).max()
    );
}

#[test]
fn out_of_order_is_refused_before_it_is_written() {
    let world = World::new(6);
    let partition = |token: i64, items: Vec<Item>| Contents {
        head: PartitionHead {
            key: key(token, "k"),
            deletion: None,
            static_row: None,
        },
        items,
    };
    let row = |n: u64| random_row(&mut Dice::new(n), row_position(n));
    let no_tombstones = RangeTombstoneList::new();
    let refused = |partitions: &[Contents]| {
        let written = world.try_write(partitions, &WriterOptions::default());
        assert!(matches!(written, Err(Error::Invalid { .. })));
    };
    let one_row = || items_of(vec![row(1)], &no_tombstones);
    refused(&[partition(2, one_row()), partition(1, one_row())]);
    refused(&[partition(1, one_row()), partition(1, one_row())]);
    let mut items = items_of(vec![row(1), row(2)], &no_tombstones);
    items.reverse();
    refused(&[partition(1, items)]);
    let mut items = items_of(vec![row(1)], &no_tombstones);
    items[0].before = Some(deletion(1));
    refused(&[partition(1, items)]);
    let never_closed = Item {
        position: bound(1, false),
        before: None,
        after: Some(deletion(1)),
        row: None,
    };
    refused(&[partition(1, vec![never_closed])]);
}

#[test]
fn a_partition_of_which_nothing_is_said_leaves_no_trace() {
    let world = World::new(8);
    let partition = |token: i64, deletion, items| Contents {
        head: PartitionHead {
            key: key(token, "k"),
            deletion,
            static_row: None,
        },
        items,
    };
    let row = random_row(&mut Dice::new(1), row_position(1));
    let said = [
        partition(2, None, items_of(vec![row], &RangeTombstoneList::new())),
        partition(4, Some(deletion(1)), vec![]),
    ];
    let [first, last] = said.clone();
    let silent = |token| partition(token, None, vec![]);
    let all = [silent(1), first, silent(3), last, silent(5)];
    let sstable = world
        .open(&world.write(&all, &WriterOptions::default()))
        .expect("whole");
    assert_eq!(sstable.statistics().partitions, 2);
    let present = [1, 2, 3, 4, 5].map(|token| sstable.may_contain(&key(token, "k")));
    assert_eq!(present, [false, true, false, true, false]);
    let written = world.try_write(&[silent(1)], &WriterOptions::default());
    assert!(written.expect("nothing to fail").is_none());
}

#[test]
fn an_sstable_of_nothing_is_no_sstable() {
    let world = World::new(7);
    assert!(
        world
            .try_write(&[], &WriterOptions::default())
            .expect("nothing to fail")
            .is_none()
    );
    assert!(world.disk.paths().iter().all(|path| !path.contains("blob")));
}
