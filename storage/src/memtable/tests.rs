//! Splitting, spreading, windows and concurrent use.

use super::partition::Partition;
use super::*;
use crate::model::testing;
use crate::model::{
    Cell, CellState, ColumnId, Deletion, Liveness, RangeTombstone, RangeTombstoneList, Slices,
    Store, Token,
};
use crate::read::{Item, Source, Until};
use proptest::prelude::*;
use std::collections::BTreeMap;

/// A small generator, so that a failure is told by one number.
struct Chance(u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}

fn row_at(clustering: Clustering, timestamp: i64, value: &[u8]) -> Row {
    let mut row = Row::new(clustering);
    row.liveness = Some(Liveness::new(timestamp));
    row.cells = vec![Cell {
        column: ColumnId(1),
        path: Bytes::new(),
        timestamp,
        state: CellState::Live(Bytes::copy_from_slice(value)),
    }];
    row
}

fn only_row(timestamp: i64, value: &[u8]) -> PartitionUpdate {
    PartitionUpdate::of_row(row_at(Clustering::SINGLE, timestamp, value))
}

fn keys_in_order(memtable: &Memtable, from: &PartitionBound) -> Vec<PartitionKey> {
    let mut cursor = memtable.cursor();
    cursor.seek(from).unwrap();
    let mut keys = Vec::new();
    while let Some(head) = cursor.partition().unwrap() {
        keys.push(head.key.clone());
        cursor.next_partition().unwrap();
    }
    keys
}

fn items(memtable: &Memtable, slices: &Slices, reversed: bool) -> Vec<Item> {
    let mut cursor = memtable.cursor();
    cursor.partition().unwrap().expect("one partition");
    cursor.open(slices, reversed).unwrap();
    let mut items = Vec::new();
    loop {
        let gap = cursor.gap();
        let Some(item) = cursor.peek().unwrap() else {
            break;
        };
        assert_eq!(gap, item.entering(reversed));
        assert_eq!(
            cursor.gap(),
            cursor.peek().unwrap().unwrap().entering(reversed)
        );
        items.push(cursor.pop());
        assert_eq!(cursor.gap(), items.last().unwrap().leaving(reversed));
    }
    items
}

#[test]
fn an_empty_memtable_owns_nothing() {
    let memtable = Memtable::new();
    assert!(memtable.is_empty());
    assert_eq!(memtable.bytes(), 0);
    assert_eq!(memtable.min_timestamp(), i64::MAX);
    assert!(keys_in_order(&memtable, &PartitionBound::MIN).is_empty());
}

#[test]
fn an_entry_fits_half_a_cache_line() {
    assert_eq!(size_of::<Partition>(), 24);
}

#[test]
fn partitions_stay_in_order_through_splits_and_the_spread() {
    let seed = 20_11;
    println!("seed {seed}");
    let mut chance = Chance(seed);
    let memtable = Memtable::new();
    let mut model = BTreeMap::new();
    for number in 0..20_000u32 {
        // Every third token is one of few, so that keys share tokens.
        let token = match number % 3 {
            0 => (chance.next() % 50) as i64 - 25,
            _ => chance.next() as i64,
        };
        let key = PartitionKey::new(Token(token), number.to_be_bytes().to_vec());
        memtable
            .apply(&key, &only_row(1, &number.to_be_bytes()))
            .unwrap();
        model.insert(key, number);
        if number % 1000 == 0 {
            assert_eq!(memtable.partitions(), model.len());
            assert!(
                keys_in_order(&memtable, &PartitionBound::MIN)
                    .iter()
                    .eq(model.keys())
            );
        }
    }
    assert!(
        keys_in_order(&memtable, &PartitionBound::MIN)
            .iter()
            .eq(model.keys())
    );
    for (key, number) in model.iter().step_by(7) {
        let Lookup::Row(row) = memtable.read_one(key).unwrap() else {
            panic!("lost a partition");
        };
        assert_eq!(row.cells[0].value().unwrap()[..], number.to_be_bytes());
    }
    for key in model.keys().step_by(1999) {
        for from in [
            PartitionBound::Before(key.clone()),
            PartitionBound::After(key.clone()),
            PartitionBound::AfterToken(key.token()),
        ] {
            let expected = model.keys().filter(|key| !from.is_after_key(key));
            assert!(keys_in_order(&memtable, &from).iter().eq(expected));
        }
    }
    let absent = PartitionKey::new(Token(5), "absent");
    assert!(matches!(
        memtable.read_one(&absent).unwrap(),
        Lookup::Absent
    ));
}

#[test]
fn tokens_that_share_their_bits_do_not_blow_the_directory_up() {
    let memtable = Memtable::new();
    for number in 0..10_000u32 {
        let key = PartitionKey::new(
            Token(i64::from(number % 100)),
            number.to_be_bytes().to_vec(),
        );
        memtable.apply(&key, &only_row(1, b"v")).unwrap();
    }
    assert_eq!(keys_in_order(&memtable, &PartitionBound::MIN).len(), 10_000);
}

#[test]
fn bytes_are_counted_and_given_back() {
    let memtable = Memtable::new();
    let key = testing::key(0);
    memtable.apply(&key, &only_row(1, &[7; 1000])).unwrap();
    let large = memtable.bytes();
    assert!((1000..1300).contains(&large), "{large}");
    memtable.apply(&key, &only_row(2, b"")).unwrap();
    assert_eq!(
        memtable.bytes(),
        large - 1000 - 1,
        "the value and the second byte of its length"
    );
    memtable.wipe();
    assert_eq!(memtable.bytes(), 0);
    assert!(matches!(memtable.read_one(&key).unwrap(), Lookup::Absent));
}

#[test]
fn a_single_row_becomes_a_partition_when_a_second_comes() {
    let memtable = Memtable::new();
    let key = testing::key(0);
    let at = |byte: u8| Clustering::copy_from(&[byte, 0x80]);
    memtable
        .apply(&key, &PartitionUpdate::of_row(row_at(at(2), 1, b"two")))
        .unwrap();
    assert!(matches!(memtable.read_one(&key).unwrap(), Lookup::Row(_)));
    memtable
        .apply(&key, &PartitionUpdate::of_row(row_at(at(1), 1, b"one")))
        .unwrap();
    assert!(matches!(memtable.read_one(&key).unwrap(), Lookup::Several));
    let rows: Vec<_> = items(&memtable, &Slices::all(), false)
        .into_iter()
        .map(|item| item.position)
        .collect();
    assert_eq!(rows, [at(1), at(2)]);
}

#[test]
fn opening_nothing_shows_nothing() {
    let memtable = Memtable::new();
    memtable
        .apply(&testing::key(0), &only_row(1, b"v"))
        .unwrap();
    assert!(items(&memtable, &Slices::none(), false).is_empty());
    assert!(items(&memtable, &Slices::none(), true).is_empty());
}

/// Rows and range tombstones beyond what one window takes, read in every way.
fn read_window_by_window(seed: u64, row_count: usize, tombstone_count: usize) {
    println!("seed {seed}");
    let mut chance = Chance(seed);
    let memtable = Memtable::new();
    let key = testing::key(0);
    let place = |number: u64, last: u8| {
        let number = number as u16;
        Clustering(Bytes::from([&number.to_be_bytes()[..], &[last]].concat()))
    };
    let mut rows = BTreeMap::new();
    let mut tombstones = RangeTombstoneList::new();
    for _ in 0..row_count {
        let number = chance.next() % 4000;
        let row = row_at(place(number, 0x80), 100, &number.to_be_bytes());
        memtable
            .apply(&key, &PartitionUpdate::of_row(row.clone()))
            .unwrap();
        rows.insert(row.clustering.clone(), row);
    }
    for _ in 0..tombstone_count {
        let start = chance.next() % 4000;
        let tombstone = RangeTombstone {
            start: place(start, 0x00),
            end: place(start + chance.next() % 3, 0xFF),
            deletion: Deletion {
                timestamp: (chance.next() % 5) as i64,
                local_deletion_time: 0,
            },
        };
        tombstones.add(tombstone.clone());
        let update = PartitionUpdate {
            range_tombstones: vec![tombstone],
            ..PartitionUpdate::default()
        };
        memtable.apply(&key, &update).unwrap();
    }
    let mut expected: BTreeMap<Clustering, Item> = BTreeMap::new();
    for tombstone in tombstones.as_slice() {
        for position in [&tombstone.start, &tombstone.end] {
            let (before, after) = (
                tombstones.covering_before(&position.0),
                tombstones.covering(&position.0),
            );
            expected.insert(
                position.clone(),
                Item {
                    position: position.clone(),
                    before,
                    after,
                    row: None,
                },
            );
        }
    }
    for (position, row) in rows {
        let covering = tombstones.covering(&position.0);
        expected.insert(
            position.clone(),
            Item {
                position,
                before: covering,
                after: covering,
                row: Some(row.into()),
            },
        );
    }
    let slices = [
        (Clustering::MIN, Clustering::max()),
        (place(100, 0x00), place(100, 0xFF)),
        (place(500, 0xFF), place(2500, 0x00)),
        (place(1, 0x00), place(3999, 0xFF)),
    ];
    for slice in slices {
        let mut inside: Vec<Item> = expected
            .range(slice.0.clone()..=slice.1.clone())
            .map(|(_, item)| item.clone())
            .collect();
        let slices = Slices::one(slice.0, slice.1);
        assert!(items(&memtable, &slices, false) == inside, "forward");
        inside.reverse();
        assert!(items(&memtable, &slices, true) == inside, "reversed");
    }
}

#[test]
fn a_partition_of_many_rows_is_read_window_by_window() {
    read_window_by_window(77, 3000, 1200);
}

#[test]
fn a_partition_of_many_range_tombstones_is_read_window_by_window() {
    read_window_by_window(78, 150, 4000);
}

#[test]
fn writers_and_readers_share_a_memtable() {
    let memtable = Arc::new(Memtable::new());
    let threads: Vec<_> = (0..4u64)
        .map(|thread| {
            let memtable = memtable.clone();
            std::thread::spawn(move || {
                let mut chance = Chance(thread);
                for number in 0..5000u64 {
                    // Half of the keys are written by every thread.
                    let owner = if number % 2 == 0 { 0 } else { thread };
                    let key = PartitionKey::new(
                        Token(Chance(number * 4 + owner).next() as i64),
                        number.to_be_bytes().to_vec(),
                    );
                    memtable
                        .apply(&key, &only_row(thread as i64, &thread.to_be_bytes()))
                        .unwrap();
                    if chance.next().is_multiple_of(1024) {
                        assert!(keys_in_order(&memtable, &PartitionBound::MIN).is_sorted());
                    }
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(memtable.partitions(), 2500 + 4 * 2500);
    for number in (0..5000u64).step_by(2) {
        let key = PartitionKey::new(
            Token(Chance(number * 4).next() as i64),
            number.to_be_bytes().to_vec(),
        );
        let Lookup::Row(row) = memtable.read_one(&key).unwrap() else {
            panic!("lost a partition");
        };
        assert_eq!(
            row.cells[0].value().unwrap()[..],
            3u64.to_be_bytes(),
            "the latest timestamp"
        );
    }
}

#[test]
fn the_memtables_of_a_table_know_their_sum() {
    let memtables = TableMemtables::default();
    let sum = |memtables: &TableMemtables| -> usize {
        let all = memtables.all();
        all.iter().map(|(_, memtable)| memtable.bytes()).sum()
    };
    for number in 0u8..200 {
        let key = PartitionKey::new(Token(i64::from(number % 50)), vec![number % 50]);
        let value = vec![number; usize::from(255 - number)];
        for store in [Store::BASE, Store(1), Store(2)] {
            let update = only_row(i64::from(number), &value);
            let mut updates = EncodedUpdates::default();
            memtables
                .apply(updates.push(store, key.clone(), &update))
                .unwrap();
        }
        assert_eq!(memtables.bytes(), sum(&memtables), "after {number}");
    }
    let before = memtables.bytes();
    let dropped = memtables.drop_store(Store(1));
    assert!(dropped > 0);
    assert_eq!(memtables.bytes(), before - dropped);
    assert_eq!(memtables.bytes(), sum(&memtables));
}

proptest! {
    #[test]
    fn rows_that_are_shown_are_those_that_come_one_by_one(
        seed in any::<u64>(),
        rows in 0usize..900,
        tombstones in 0u64..4,
        reversed in any::<bool>(),
        cuts in proptest::collection::vec(0u32..1000, 0..4),
    ) {
        let mut chance = Chance(seed);
        let memtable = Memtable::new();
        let key = testing::key(1);
        let at = |number: u32| Clustering(Bytes::copy_from_slice(&number.to_be_bytes()));
        for _ in 0..rows {
            let number = (chance.next() % 1000) as u32;
            let length = (chance.next() % 40) as usize;
            let update = PartitionUpdate::of_row(row_at(at(number), 5, &vec![1; length]));
            memtable.apply(&key, &update).unwrap();
        }
        for timestamp in 0..tombstones {
            let start = (chance.next() % 1000) as u32;
            let end = start + (chance.next() % 50) as u32;
            let mut update = PartitionUpdate::default();
            update.range_tombstones.push(RangeTombstone {
                start: at(start),
                end: at(end),
                deletion: Deletion { timestamp: timestamp as i64, local_deletion_time: 1 },
            });
            memtable.apply(&key, &update).unwrap();
        }
        if memtable.is_empty() {
            return Ok(());
        }
        let mut cuts = cuts;
        cuts.sort_unstable();
        let slices = match cuts[..] {
            [] | [_] => Slices::all(),
            [first, second] | [first, second, _] => Slices::one(at(first), at(second)),
            [first, second, third, fourth, ..] => {
                Slices::new(vec![(at(first), at(second)), (at(third), at(fourth))])
            }
        };
        let wanted: Vec<_> = items(&memtable, &slices, reversed)
            .into_iter()
            .map(|item| (item.position, item.row.is_some()))
            .collect();
        let mut cursor = memtable.cursor();
        cursor.partition().unwrap().expect("one partition");
        cursor.open(&slices, reversed).unwrap();
        let mut seen = Vec::new();
        loop {
            if !chance.next().is_multiple_of(4) {
                let before = seen.len();
                let enough = before + 1 + (chance.next() % 600) as usize;
                let stop = wanted.get(before + (chance.next() % 700) as usize);
                let until = stop.map_or(Until::END, |(position, _)| Until::at(position, reversed));
                cursor.show_rows(until, &mut |row| {
                    assert!(until.is_after(row.clustering));
                    seen.push((Clustering::copy_from(row.clustering), true));
                    Ok(seen.len() < enough)
                }).unwrap();
                prop_assert!(seen.len() <= enough);
            } else if cursor.peek().unwrap().is_some() {
                let item = cursor.pop();
                seen.push((item.position, item.row.is_some()));
            }
            if cursor.peek().unwrap().is_none() {
                break;
            }
        }
        prop_assert_eq!(seen, wanted);
    }
}
