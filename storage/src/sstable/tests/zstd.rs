//! SSTables whose blocks are zstd's: with a dictionary of their own, without one, and with one that somebody touched.

use super::*;
use crate::Error;
use crate::sealed::TAG_BYTES;
use palladium_crypto::StructureKind;

const ZSTD: Compression = Compression::Zstd { level: 3 };

/// So many partitions of one row, of words that all of them use, or of noise.
fn partitions(seed: u64, count: i64, is_noise: bool) -> Vec<Contents> {
    let mut dice = Dice::new(seed);
    let words: Vec<Vec<u8>> = (0..1500).map(|_| dice.bytes(9).to_vec()).collect();
    let value = |dice: &mut Dice| match is_noise {
        true => dice.bytes(180).to_vec(),
        false => (0..20)
            .flat_map(|_| words[dice.next() as usize % words.len()].clone())
            .collect(),
    };
    (0..count)
        .map(|n| {
            let mut row = Row::new(Clustering::SINGLE);
            row.cells.push(cell(1, 5, Bytes::from(value(&mut dice))));
            one_row(n * 1000, row)
        })
        .collect()
}

/// Partitions that are worth a dictionary.
pub(super) fn words(seed: u64, count: i64) -> Vec<Contents> {
    partitions(seed, count, false)
}

fn written(world: &World, partitions: &[Contents], compression: Compression) -> SstableEntry {
    let options = WriterOptions {
        compression,
        ..WriterOptions::default()
    };
    world.write(partitions, &options)
}

fn dictionary_bytes(sstable: &Sstable) -> u64 {
    sstable.statistics().layout.dictionary_bytes
}

#[test]
fn words_get_a_dictionary_take_less_room_and_come_back() {
    let world = World::new(1);
    let words = partitions(1, 4000, false);
    let entry = written(&world, &words, ZSTD);
    let sstable = world.open(&entry).expect("whole");
    assert!(dictionary_bytes(&sstable) > 4 << 10);
    assert_eq!(
        Driver::new(&world, &sstable).all(false).expect("whole"),
        words
    );
    world
        .env
        .run(sstable.verify(&*world.backend))
        .expect("whole");
    let by_lz4 = written(&world, &words, Compression::Lz4);
    assert!(
        entry.bytes() < by_lz4.bytes() / 10 * 8,
        "{} bytes, by LZ4 {}",
        entry.bytes(),
        by_lz4.bytes()
    );
    let by_lz4 = world.open(&by_lz4).expect("whole");
    assert_eq!(dictionary_bytes(&by_lz4), 0);
    let more = sstable.memory_bytes() - by_lz4.memory_bytes();
    assert!(more as u64 > dictionary_bytes(&sstable), "it is counted");
}

#[test]
fn little_data_and_noise_get_no_dictionary() {
    let world = World::new(2);
    for (count, is_noise) in [(1, false), (300, false), (8000, true)] {
        let contents = partitions(2, count, is_noise);
        let sstable = world
            .open(&written(&world, &contents, ZSTD))
            .expect("whole");
        assert_eq!(dictionary_bytes(&sstable), 0, "{count}, noise: {is_noise}");
        assert_eq!(
            Driver::new(&world, &sstable)
                .all(true)
                .expect("whole")
                .len(),
            contents.len()
        );
        world
            .env
            .run(sstable.verify(&*world.backend))
            .expect("whole");
    }
}

#[test]
fn a_dictionary_that_was_touched_or_cut_off_is_corrupt_and_named() {
    let world = World::new(3);
    let entry = written(&world, &partitions(3, 2000, false), ZSTD);
    let sstable = world.open(&entry).expect("whole");
    let dictionary = dictionary_bytes(&sstable) as usize;
    assert!(dictionary > 0);
    let data = entry
        .component(StructureKind::SstableData)
        .expect("it is there");
    let name = data.structure.to_string();
    let path = world
        .disk
        .paths()
        .into_iter()
        .find(|path| path.contains(&name));
    let path = path.expect("it is on the disk");
    let whole = world.disk.contents(&path).expect("it is there");
    let corrupt = |what: &str| match world.open(&entry).map(drop) {
        Err(Error::Corrupt { what }) => assert!(what.contains(&name), "{what}"),
        other => panic!("{what}: {other:?}"),
    };
    let begin = whole.len() - dictionary;
    for at in (begin..whole.len())
        .step_by(97)
        .chain([begin, whole.len() - TAG_BYTES])
    {
        world.disk.flip(&path, at, (at % 8) as u8);
        corrupt("flipped");
        world.disk.flip(&path, at, (at % 8) as u8);
    }
    world.disk.replace(&path, Some(whole[..begin].to_vec()));
    corrupt("cut off");
    // A block of the data where the dictionary was.
    let mut other = whole.clone();
    other.copy_within(32..32 + dictionary, begin);
    world.disk.replace(&path, Some(other));
    corrupt("another block");
    world.disk.replace(&path, Some(whole));
    world.open(&entry).expect("whole again");
}

#[test]
fn a_row_too_large_for_zstd_stands_among_small_ones() {
    let world = World::new(4);
    let mut contents = partitions(4, 600, false);
    for at in [0, 300] {
        let mut row = Row::new(Clustering::SINGLE);
        row.cells.push(cell(1, 5, Bytes::from(vec![b'x'; 3 << 20])));
        contents[at].items = items_of(vec![row], &RangeTombstoneList::new());
    }
    let sstable = world
        .open(&written(&world, &contents, ZSTD))
        .expect("whole");
    assert_eq!(
        Driver::new(&world, &sstable).all(false).expect("whole"),
        contents
    );
}
