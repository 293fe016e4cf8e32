//! A table whose compression is altered: what is there stays readable, what comes next is written the new way.

use palladium_storage::{Compression, Crash, TableOptions};

use crate::world::{World, disk_of, files, id, inspect, small};

const ZSTD: Compression = Compression::Zstd { level: 3 };

fn alter(world: &World, compression: Compression) {
    let options = TableOptions {
        compression,
        ..TableOptions::default()
    };
    world.engine.set_options(id(0), options).unwrap();
}

/// Bytes of all SSTables.
fn bytes(world: &World) -> usize {
    let blobs = world.paths("blobs/");
    blobs
        .iter()
        .map(|path| world.disk.contents(path).unwrap().len())
        .sum()
}

#[test]
fn a_table_that_is_altered_to_zstd_reads_what_lz4_wrote_and_shrinks_by_its_next_compaction() {
    let mut world = World::with_tables(1, small(), 1);
    let mut expected = world.fill(0, 700, 5);
    world.flush(0).unwrap();
    alter(&world, ZSTD);
    let by_lz4 = bytes(&world);
    assert_eq!(world.rows(0).unwrap(), expected);
    for row in 0..5 {
        world.put(0, (900, row), row);
        expected.insert((900, row), row);
    }
    world.flush(0).unwrap();
    assert_eq!(world.rows(0).unwrap(), expected, "LZ4 beside zstd");
    world.env.run(world.engine.compact(Some(id(0)))).unwrap();
    assert!(bytes(&world) < by_lz4, "{} of {by_lz4}", bytes(&world));
    assert_eq!(world.rows(0).unwrap(), expected);
    world.reopen(Crash::PowerLoss { seed: 1 });
    world.unlock(0).unwrap();
    assert_eq!(world.rows(0).unwrap(), expected);
    // And back.
    alter(&world, Compression::Lz4);
    world.put(0, (901, 0), 1);
    expected.insert((901, 0), 1);
    world.flush(0).unwrap();
    world.env.run(world.engine.compact(Some(id(0)))).unwrap();
    assert_eq!(world.rows(0).unwrap(), expected);
    world.stop().unwrap();
    let report = inspect(&disk_of(&files(&world.disk)), &world.env).unwrap();
    assert!(report.damage.is_empty(), "{:?}", report.damage);
}
