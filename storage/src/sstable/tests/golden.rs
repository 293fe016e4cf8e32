//! A sample of format version 1 that must open for ever.
//!
//! The sample is written from a seed, so it also holds the writer still: the same partitions under the same keys and entropy make the
//! same bytes. When the format changes on purpose, a new sample joins the old ones, which stay. Of zstd's, only that they open: another version of the library may
//! make other frames.

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

/// Samples: by LZ4, and by zstd with a dictionary.
const BY_LZ4: &str = "golden-v1";
const BY_ZSTD: &str = "golden-v1-zstd";

fn folder(sample: &str) -> PathBuf {
    let tests = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/sstable/tests");
    tests.join(sample)
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
fn load(sample: &str, kind: StructureKind, name: &str) -> (Component, Vec<u8>) {
    let file = folder(sample).join(name);
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

/// Writes a sample anew; run by hand, with the variable naming it, when a format version is added.
fn save(sample: &str, world: &World, entry: &SstableEntry) {
    if std::env::var_os("PALLADIUM_WRITE_GOLDEN").is_none_or(|wanted| wanted != sample) {
        return;
    }
    fs::create_dir_all(folder(sample)).expect("a folder");
    for (kind, name) in KINDS {
        let component = entry.component(kind).expect("all four");
        let mut bytes = component.structure.0.to_vec();
        bytes.extend_from_slice(&component.wrapped.to_bytes());
        bytes.extend_from_slice(&blob_of(world, component));
        fs::write(folder(sample).join(name), bytes).expect("written");
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
    save(BY_LZ4, &world, &written);
    let old = World::new(SEED + 1);
    for (kind, name) in KINDS {
        let (_, blob) = load(BY_LZ4, kind, name);
        // The filter's unused fingerprints are drawn at random by the crate that builds it.
        if kind != StructureKind::SstableFilter {
            let now = blob_of(&world, written.component(kind).expect("all four"));
            assert!(now == blob, "the writer changed: {name}");
        }
    }
    let sstable = old.open(&laid_out(BY_LZ4, &old)).expect("version 1 opens");
    assert_eq!(
        Driver::new(&old, &sstable).all(false).expect("whole"),
        partitions()
    );
}

#[test]
fn the_sample_of_version_1_with_a_dictionary_still_opens() {
    let contents = zstd::words(SEED, 800);
    let world = World::new(SEED);
    let options = WriterOptions {
        compression: Compression::Zstd { level: 19 },
        ..WriterOptions::default()
    };
    save(BY_ZSTD, &world, &world.write(&contents, &options));
    let old = World::new(SEED + 1);
    let sstable = old.open(&laid_out(BY_ZSTD, &old)).expect("version 1 opens");
    assert!(sstable.statistics().layout.dictionary_bytes > 0);
    assert_eq!(
        Driver::new(&old, &sstable).all(false).expect("whole"),
        contents
    );
}

/// A sample on a disk.
fn laid_out(sample: &str, world: &World) -> SstableEntry {
    let mut entry = SstableEntry {
        id: 1,
        level: 0,
        store: Store::BASE,
        components: Vec::new(),
    };
    for (kind, name) in KINDS {
        let (component, blob) = load(sample, kind, name);
        put(world, &component, blob);
        entry.components.push(component);
    }
    entry
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
