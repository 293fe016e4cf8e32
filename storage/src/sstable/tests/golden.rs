//! A sample of format version 1 that must open for ever.
//!
//! The sample is written from a seed, so it also holds the writer still: the same partitions under the same keys and entropy make the
//! same bytes. When the format changes on purpose, a new sample joins the old ones, which stay.

use std::fs;
use std::path::PathBuf;

use super::*;
use crate::manifest::Component;
use crate::model::Store;
use palladium_crypto::{StructureId, StructureKind, WrappedDataKey};

const SEED: u64 = 20_260_101;

const KINDS: [(StructureKind, &str); 4] = [
    (StructureKind::SstableData, "data"),
    (StructureKind::SstableIndex, "index"),
    (StructureKind::SstableFilter, "filter"),
    (StructureKind::SstableStatistics, "statistics"),
];

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/sstable/tests/golden-v1")
}

/// Every kind of partition but the widest, which would make the sample large.
fn partitions() -> Vec<Contents> {
    let mut partitions = random_partitions(&mut Dice::new(SEED), 14);
    partitions.retain(|contents| contents.items.len() < 50);
    partitions
}

fn options() -> WriterOptions {
    WriterOptions {
        block_bytes: 1024,
        ..WriterOptions::default()
    }
}

/// A component as the sample keeps it: structure id, wrapped key, then the blob.
fn load(kind: StructureKind, name: &str) -> (Component, Vec<u8>) {
    let file = folder().join(name);
    let bytes = fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
    let (structure, rest) = bytes.split_first_chunk::<16>().expect("a structure id");
    let (wrapped, blob) = rest.split_at(palladium_crypto::WRAPPED_DATA_KEY_BYTES);
    let component = Component {
        kind,
        structure: StructureId(*structure),
        wrapped: WrappedDataKey::from_bytes(wrapped).expect("its length"),
        size: blob.len() as u64,
    };
    (component, blob.to_vec())
}

/// Writes the sample anew; run by hand, with the variable set, when a format version is added.
fn save(world: &World, entry: &SstableEntry) {
    fs::create_dir_all(folder()).expect("a folder");
    for (kind, name) in KINDS {
        let component = entry.component(kind).expect("all four");
        let mut bytes = component.structure.0.to_vec();
        bytes.extend_from_slice(&component.wrapped.to_bytes());
        bytes.extend_from_slice(&blob_of(world, component));
        fs::write(folder().join(name), bytes).expect("written");
    }
}

fn blob_of(world: &World, component: &Component) -> Vec<u8> {
    use crate::backend::Backend;
    let read = world
        .backend
        .blob_read(component.structure, 0, component.size as usize);
    world.env.run(read).expect("just written")
}

#[test]
fn the_sample_of_version_1_still_opens() {
    let world = World::new(SEED);
    let written = world.write(&partitions(), &options());
    if std::env::var_os("PALLADIUM_WRITE_GOLDEN").is_some() {
        save(&world, &written);
    }
    let old = World::new(SEED + 1);
    let mut entry = SstableEntry {
        id: 1,
        level: 0,
        store: Store::BASE,
        components: Vec::new(),
    };
    for (kind, name) in KINDS {
        let (component, blob) = load(kind, name);
        // The filter's unused fingerprints are drawn at random by the crate that builds it.
        if kind != StructureKind::SstableFilter {
            let now = blob_of(&world, written.component(kind).expect("all four"));
            assert!(now == blob, "the writer changed: {name}");
        }
        put(&old, &component, blob);
        entry.components.push(component);
    }
    let sstable = old.open(&entry).expect("version 1 opens");
    assert_eq!(
        Driver::new(&old, &sstable).all(false).expect("whole"),
        partitions()
    );
}

/// Lays a blob on the disk as it is.
fn put(world: &World, component: &Component, blob: Vec<u8>) {
    let name: String = component
        .structure
        .0
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    world.disk.replace(&format!("blobs/{name}"), Some(blob));
}
