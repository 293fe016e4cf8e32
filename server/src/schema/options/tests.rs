use palladium_protocol::cql::ast::{Statement, TableOption};

use palladium_storage::Compression;
use palladium_storage::compaction::{Resolution, Strategy};

use super::*;

fn create(with: &str) -> CqlResult<TableOptions> {
    let text = format!("CREATE TABLE t (k int PRIMARY KEY) WITH {with}");
    let Ok(Statement::CreateTable(create)) = palladium_protocol::cql::parse(&text) else {
        panic!("{text} is no CREATE TABLE");
    };
    let properties: Vec<_> = create
        .options
        .iter()
        .filter_map(|option| match option {
            TableOption::Property(property) => Some(property),
            _ => None,
        })
        .collect();
    TableOptions::create(properties)
}

#[test]
fn wrong_options_are_refused_in_cassandras_words() {
    for (with, message) in [
        ("bogus = 1", "Unknown property 'bogus'"),
        (
            "comment = {}",
            "Invalid value for property 'comment'. It should be a string",
        ),
        (
            "bloom_filter_fp_chance = 1e-9",
            "bloom_filter_fp_chance must be larger than 6.71E-5 and less than or equal to 1.0 (got 1.0E-9)",
        ),
        (
            "crc_check_chance = 'x'",
            "Invalid double value x for 'crc_check_chance'",
        ),
        (
            "crc_check_chance = 1.5",
            "crc_check_chance must be larger than or equal to 0 and smaller than or equal to 1.0 (got 1.5)",
        ),
        (
            "default_time_to_live = -1",
            "default_time_to_live must be greater than or equal to 0 (got -1)",
        ),
        (
            "default_time_to_live = 630720001",
            "default_time_to_live must be less than or equal to 630720000 (got 630720001)",
        ),
        (
            "gc_grace_seconds = 99999999999",
            "Invalid integer value 99999999999 for 'gc_grace_seconds'",
        ),
        (
            "max_index_interval = 1",
            "max_index_interval must be greater than or equal to min_index_interval (128) (got 1)",
        ),
        (
            "memtable = 'nope'",
            "Memtable configuration \"nope\" not found.",
        ),
        (
            "speculative_retry = 'bogus'",
            "Invalid value bogus for option 'speculative_retry'",
        ),
        (
            "speculative_retry = '101p'",
            "Invalid value 101p for PERCENTILE option 'speculative_retry': must be between (0.0 and 100.0)",
        ),
        (
            "caching = {'keys': 'bogus'}",
            "Invalid value 'bogus' for caching sub-option 'keys': only 'ALL' and 'NONE' are allowed",
        ),
        (
            "caching = {'foo': 'x'}",
            "Invalid caching sub-options [foo]: only 'keys' and 'rows_per_partition' are allowed",
        ),
        (
            "compression = 'x'",
            "Invalid value for property 'compression'. It should be a map.",
        ),
        (
            "compression = {'sstable_compression': 'SnappyCompressor'}",
            "Missing sub-option 'class' for the 'compression' option.",
        ),
        (
            "compression = {'class': 'Bogus'}",
            "Could not create Compression for type org.apache.cassandra.io.compress.Bogus",
        ),
        (
            "compression = {'class': 'LZ4Compressor', 'foo': 4}",
            "Unknown compression options foo",
        ),
        (
            "compression = {'class': 'LZ4Compressor', 'chunk_length_in_kb': 3}",
            "chunk_length_in_kb must be a power of 2",
        ),
        (
            "compression = {'class': 'LZ4Compressor', 'enabled': 'false'}",
            "If the 'enabled' option is set to false no other options must be specified",
        ),
        (
            "compaction = {}",
            "Missing sub-option 'class' for the 'compaction' option",
        ),
        (
            "compaction = {'class': 'Bogus'}",
            "Unable to find compaction strategy class 'org.apache.cassandra.db.compaction.Bogus'",
        ),
        (
            "compaction = {'class': 'SizeTieredCompactionStrategy', 'min_threshold': 50}",
            "Min compaction threshold (got 50) cannot be greater than max compaction threshold (got 32)",
        ),
        (
            "compaction = {'class': 'SizeTieredCompactionStrategy', 'foo': 1}",
            "Properties specified [foo] are not understood by SizeTieredCompactionStrategy",
        ),
        (
            "compression = {'class': 'ZstdCompressor', 'compression_level': '23'}",
            "ZstdCompressor.create() threw an error: java.lang.IllegalArgumentException compression_level=23 is invalid",
        ),
        (
            "compression = {'class': 'ZstdCompressor', 'compression_level': 'x'}",
            "ZstdCompressor.create() threw an error: java.lang.NumberFormatException For input string: \"x\"",
        ),
        (
            "compression = {'class': 'ZstdDictionaryCompressor'}",
            "Could not create Compression for type org.apache.cassandra.io.compress.ZstdDictionaryCompressor",
        ),
        (
            "compaction = {'class': 'SizeTieredCompactionStrategy', 'min_threshold': '+4'}",
            "Invalid value +4 for 'min_threshold' compaction sub-option - must be an integer",
        ),
        (
            "compaction = {'class': 'TimeWindowCompactionStrategy', 'max_threshold': -1}",
            "Invalid value -1 for 'max_threshold' compaction sub-option - must be an integer",
        ),
        (
            "compaction = {'class': 'SizeTieredCompactionStrategy', 'bucket_low': 2, 'bucket_high': 1.5}",
            "bucket_high value (1.5) is less than or equal to the bucket_low value (2.0)",
        ),
        (
            "compaction = {'class': 'LeveledCompactionStrategy', 'fanout_size': 0}",
            "fanout_size must be larger than 0, but was 0",
        ),
        (
            "compaction = {'class': 'TimeWindowCompactionStrategy', 'compaction_window_unit': 'x'}",
            "x is not valid for compaction_window_unit",
        ),
    ] {
        assert_eq!(create(with).unwrap_err().message, message, "{with}");
    }
}

#[test]
fn options_are_shown_as_cassandra_normalizes_them() {
    let shown = |with: &str, option: &str| {
        let options = create(with).unwrap().describe();
        options
            .into_iter()
            .find(|line| line.starts_with(option))
            .unwrap()
    };
    for (with, line) in [
        ("compression = {}", "compression = {'enabled': 'false'}"),
        (
            "compression = {'class': 'ZstdCompressor', 'compression_level': '3'}",
            "compression = {'chunk_length_in_kb': '16', 'class': 'org.apache.cassandra.io.compress.ZstdCompressor', \
             'compression_level': '3'}",
        ),
        (
            "compression = {'class': 'LZ4Compressor', 'min_compress_ratio': 2}",
            "compression = {'chunk_length_in_kb': '16', 'class': 'org.apache.cassandra.io.compress.LZ4Compressor', \
             'min_compress_ratio': '2.0'}",
        ),
        (
            "compaction = {'class': 'UnifiedCompactionStrategy'}",
            "compaction = {'class': 'org.apache.cassandra.db.compaction.UnifiedCompactionStrategy'}",
        ),
        (
            "compaction = {'class': 'LeveledCompactionStrategy'}",
            "compaction = {'class': 'org.apache.cassandra.db.compaction.LeveledCompactionStrategy', 'max_threshold': '32', \
             'min_threshold': '4'}",
        ),
        ("speculative_retry = 'NONE'", "speculative_retry = 'NEVER'"),
        (
            "speculative_retry = '99PERCENTILE'",
            "speculative_retry = '99p'",
        ),
        ("speculative_retry = '99.5p'", "speculative_retry = '99.5p'"),
        (
            "speculative_retry = 'MAX(99PERCENTILE, 50MS)'",
            "speculative_retry = 'MAX(99p,50ms)'",
        ),
        ("read_repair = 'none'", "read_repair = 'NONE'"),
        (
            "caching = {'rows_per_partition': 'ALL'}",
            "caching = {'keys': 'NONE', 'rows_per_partition': 'ALL'}",
        ),
        ("comment = 'a''b'", "comment = 'a''b'"),
    ] {
        let option = line.split(' ').next().unwrap();
        assert_eq!(shown(with, option), line, "{with}");
    }
    let leveled = create("compaction = {'class': 'LeveledCompactionStrategy'}").unwrap();
    assert_eq!(leveled.bloom_filter_fp_chance, Chance(0.1));
}

#[test]
fn the_engine_hears_of_what_it_can_do() {
    let plain = create("compression = {} AND gc_grace_seconds = 5")
        .unwrap()
        .for_storage();
    assert!(plain.compression == Compression::Off);
    assert_eq!(plain.gc_grace_seconds, 5);
    let tiers = create(
        "compaction = {'class': 'SizeTieredCompactionStrategy', 'min_threshold': 2, 'enabled': 'false'}",
    );
    let compaction = tiers.unwrap().for_storage().compaction;
    assert!(!compaction.enabled);
    let Strategy::SizeTiered(tiers) = compaction.strategy else {
        panic!("{:?}", compaction.strategy)
    };
    assert_eq!((tiers.min_threshold, tiers.max_threshold), (2, 32));
}

#[test]
fn the_engine_hears_of_each_strategy_and_its_numbers() {
    let compaction = |with: &str| {
        let options = create(&format!("compaction = {{{with}}}"));
        options.unwrap().for_storage().compaction
    };
    let leveled = compaction(
        "'class': 'LeveledCompactionStrategy', 'sstable_size_in_mb': 10, 'fanout_size': 5, 'max_threshold': 8",
    );
    let Strategy::Leveled(levels) = leveled.strategy else {
        panic!("{:?}", leveled.strategy)
    };
    assert_eq!((levels.sstable_bytes, levels.fanout_size), (10 << 20, 5));
    assert_eq!(levels.tiers.max_threshold, 8);
    let windows = compaction(
        "'class': 'TimeWindowCompactionStrategy', 'compaction_window_unit': 'HOURS', 'compaction_window_size': 6,
         'timestamp_resolution': 'MILLISECONDS', 'expired_sstable_check_frequency_seconds': 60",
    );
    assert_eq!(
        (windows.tombstones, windows.expiry.check_seconds),
        (None, 60)
    );
    let Strategy::TimeWindow(windows) = windows.strategy else {
        panic!("{:?}", windows.strategy)
    };
    assert_eq!(
        (windows.window_seconds, windows.timestamp_resolution),
        (21_600, Resolution::Milliseconds)
    );
    let unified = compaction(
        "'class': 'UnifiedCompactionStrategy', 'scaling_parameters': 'T8, N, L4', 'target_sstable_size': '256MiB',
         'base_shard_count': 8, 'sstable_growth': '50%', 'unchecked_tombstone_compaction': 'true'",
    );
    let tombstones = unified.tombstones.unwrap();
    assert!(tombstones.unchecked_tombstone_compaction);
    assert_eq!(tombstones.tombstone_threshold, 0.2);
    let Strategy::Unified(unified) = unified.strategy else {
        panic!("{:?}", unified.strategy)
    };
    assert_eq!(unified.scaling, [6, 0, -2]);
    assert_eq!(unified.target_sstable_size, 256 << 20);
    assert_eq!((unified.base_shard_count, unified.sstable_growth), (8, 0.5));
}

#[test]
fn options_come_back_from_their_stored_form() {
    let options = create("comment = 'x' AND gc_grace_seconds = 7 AND compression = {}").unwrap();
    let stored = serde_json::to_string(&options).unwrap();
    assert_eq!(
        serde_json::from_str::<TableOptions>(&stored).unwrap(),
        options
    );
}

#[test]
fn zstd_and_its_level_reach_the_engine_and_other_names_mean_lz4() {
    for (with, compression) in [
        ("compression = {}", Compression::Off),
        (
            "compression = {'class': 'NoopCompressor'}",
            Compression::Off,
        ),
        (
            "compression = {'class': 'ZstdCompressor'}",
            Compression::Zstd { level: 3 },
        ),
        (
            "compression = {'class': 'ZstdCompressor', 'compression_level': -7}",
            Compression::Zstd { level: -7 },
        ),
        (
            "compression = {'class': 'DeflateCompressor'}",
            Compression::Lz4,
        ),
        ("comment = ''", Compression::Lz4),
    ] {
        let options = create(with).unwrap();
        assert_eq!(options.for_storage().compression, compression, "{with}");
    }
}

#[test]
fn a_chance_that_is_no_number_is_no_change_of_itself() {
    let options = create("crc_check_chance = 'NaN'").expect("NaN is taken");
    assert_eq!(options, options.clone());
    let text = serde_json::to_string(&options).expect("options are JSON");
    let read: TableOptions = serde_json::from_str(&text).expect("and are read back");
    assert_eq!(read, options);
    assert_eq!(read.without_effect(&options), None);
    assert_ne!(read, TableOptions::default());
}
