//! A hostile disk: bytes flipped, blocks swapped, tails cut, components exchanged. Every time an error that says where, or the very
//! rows that were written; never others.

use super::*;
use crate::Error;
use crate::manifest::Component;
use palladium_crypto::StructureKind;

fn path_of(world: &World, component: &Component) -> String {
    let name: String = component
        .structure
        .0
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    let mut paths = world
        .disk
        .paths()
        .into_iter()
        .filter(|path| path.contains(&name));
    paths.next().expect("the component is on the disk")
}

/// Opens and reads everything.
fn read_all(world: &World, entry: &SstableEntry) -> Result<Vec<Contents>> {
    let sstable = world.open(entry)?;
    world.env.run(sstable.verify(&*world.backend))?;
    Driver::new(world, &sstable).all(false)
}

fn must_be_corrupt(outcome: Result<Vec<Contents>>, what: &str) -> String {
    match outcome {
        Err(Error::Corrupt { what }) => what,
        Err(other) => panic!("{what}: {other}"),
        Ok(_) => panic!("{what}: nobody noticed"),
    }
}

fn sample(seed: u64) -> (World, SstableEntry) {
    let world = World::new(seed);
    let partitions = random_partitions(&mut Dice::new(seed), 16);
    let options = WriterOptions {
        block_bytes: 512,
        ..WriterOptions::default()
    };
    let entry = world.write(&partitions, &options);
    (world, entry)
}

#[test]
fn a_flipped_bit_anywhere_is_corrupt() {
    let (world, entry) = sample(1);
    for component in &entry.components {
        let path = path_of(&world, component);
        let len = world.disk.contents(&path).expect("it is there").len();
        // Every byte of small components and of both ends of large ones, and a sample of what is between.
        let step = (len / 100).max(1);
        let places = (0..len).filter(|at| *at < 48 || at + 24 > len || at % step == 0);
        for at in places {
            let bit = (at % 8) as u8;
            world.disk.flip(&path, at, bit);
            let what = must_be_corrupt(
                read_all(&world, &entry),
                &format!("{} byte {at}", component.kind),
            );
            let structure = component.structure.to_string();
            assert!(
                what.contains(&structure),
                "{what} does not name {structure}"
            );
            world.disk.flip(&path, at, bit);
        }
    }
    read_all(&world, &entry).expect("whole again");
}

#[test]
fn a_cut_anywhere_is_corrupt() {
    let (world, entry) = sample(2);
    for component in &entry.components {
        let path = path_of(&world, component);
        let whole = world.disk.contents(&path).expect("it is there");
        let step = (whole.len() / 25).max(1);
        for len in (0..whole.len()).step_by(step).chain([whole.len() - 1]) {
            world.disk.replace(&path, Some(whole[..len].to_vec()));
            must_be_corrupt(
                read_all(&world, &entry),
                &format!("{} cut to {len}", component.kind),
            );
        }
        let mut longer = whole.clone();
        longer.push(0);
        world.disk.replace(&path, Some(longer));
        must_be_corrupt(read_all(&world, &entry), "a byte too many");
        world.disk.replace(&path, Some(whole));
    }
}

#[test]
fn a_cut_that_the_entry_agrees_with_is_still_corrupt() {
    let (world, entry) = sample(3);
    for (at, component) in entry.components.iter().enumerate() {
        let path = path_of(&world, component);
        let whole = world.disk.contents(&path).expect("it is there");
        for len in (0..whole.len()).step_by((whole.len() / 25).max(1)) {
            let mut lying = entry.clone();
            lying.components[at].size = len as u64;
            world.disk.replace(&path, Some(whole[..len].to_vec()));
            must_be_corrupt(
                read_all(&world, &lying),
                &format!("{} cut to {len}", component.kind),
            );
        }
        world.disk.replace(&path, Some(whole));
    }
}

#[test]
fn two_data_blocks_that_changed_places_are_corrupt() {
    // Rows of one size and no compression, so that two sealed blocks have one length and nothing else gives the swap away.
    let world = World::new(4);
    let partitions: Vec<Contents> = (0..200)
        .map(|n| {
            let mut row = Row::new(Clustering::SINGLE);
            row.cells.push(cell(1, 5, Bytes::from(vec![n as u8; 100])));
            one_row(n * 1000, row)
        })
        .collect();
    let options = WriterOptions {
        block_bytes: 512,
        compression: Compression::Off,
        ..WriterOptions::default()
    };
    let entry = world.write(&partitions, &options);
    let sstable = world.open(&entry).expect("whole");
    let data = entry
        .component(StructureKind::SstableData)
        .expect("it has data");
    let path = path_of(&world, data);
    let whole = world.disk.contents(&path).expect("it is there");
    let blocks = sstable.data_blocks() as usize;
    let header = crate::sealed::BLOB_HEADER_BYTES;
    let first_len = sealed_length(&sstable, &world, 0);
    assert!(blocks > 10);
    assert_eq!(
        sealed_length(&sstable, &world, 1),
        first_len,
        "blocks of one length"
    );
    let mut swapped = whole.clone();
    let (one, two) = (
        header..header + first_len,
        header + first_len..header + 2 * first_len,
    );
    swapped[one.clone()].copy_from_slice(&whole[two.clone()]);
    swapped[two].copy_from_slice(&whole[one]);
    world.disk.replace(&path, Some(swapped));
    let what = must_be_corrupt(read_all(&world, &entry), "swapped blocks");
    assert!(what.contains("block 0 at offset 32"), "{what}");
}

fn sealed_length(sstable: &Arc<Sstable>, world: &World, block: u32) -> usize {
    let blocks = LastBlock::default();
    world
        .env
        .run(sstable.sealed_bytes_of(&*world.backend, &blocks, block))
        .expect("whole")
}

#[test]
fn components_of_another_sstable_or_table_are_corrupt() {
    let world = World::new(5);
    let options = WriterOptions::default();
    let one = world.write(&random_partitions(&mut Dice::new(5), 20), &options);
    let two = world.write(&random_partitions(&mut Dice::new(6), 20), &options);
    for at in 0..one.components.len() {
        // The other SSTable's file under this one's name.
        let path = path_of(&world, &one.components[at]);
        let whole = world.disk.contents(&path).expect("it is there");
        let other = world
            .disk
            .contents(&path_of(&world, &two.components[at]))
            .expect("it is there");
        let mut lying = one.clone();
        lying.components[at].size = other.len() as u64;
        world.disk.replace(&path, Some(other));
        must_be_corrupt(read_all(&world, &lying), "another file under this name");
        world.disk.replace(&path, Some(whole));

        // The other SSTable's component under another structure's wrap.
        let mut mixed = one.clone();
        mixed.components[at].structure = two.components[at].structure;
        mixed.components[at].size = two.components[at].size;
        must_be_corrupt(read_all(&world, &mixed), "a wrap of another structure");
    }
    let other_table = ring(2);
    let opened = world
        .env
        .run(Sstable::open(&*world.backend, &one, &other_table));
    assert!(
        matches!(opened, Err(Error::Corrupt { .. })),
        "another table's key"
    );
}

#[test]
fn an_entry_without_a_component_is_corrupt() {
    let (world, entry) = sample(7);
    for at in 0..entry.components.len() {
        let mut lying = entry.clone();
        lying.components.remove(at);
        must_be_corrupt(read_all(&world, &lying), "a component is missing");
    }
}

#[test]
fn no_plaintext_is_on_the_disk() {
    let world = World::new(8);
    let marker = b"MARKER-THAT-MUST-NOT-BE-FOUND";
    let mut row = Row::new(Clustering::copy_from(b"MARKER-clustering\x80"));
    row.cells.push(cell(1, 1, Bytes::from_static(marker)));
    let contents = Contents {
        head: PartitionHead {
            key: key(1, "MARKER-partition"),
            deletion: None,
            static_row: None,
        },
        items: items_of(vec![row], &RangeTombstoneList::new()),
    };
    let options = WriterOptions {
        compression: Compression::Off,
        ..WriterOptions::default()
    };
    world.write(&[contents], &options);
    for path in world.disk.paths() {
        let bytes = world.disk.contents(&path).expect("it is there");
        assert!(
            !bytes.windows(6).any(|window| window == b"MARKER"),
            "{path}"
        );
    }
}
