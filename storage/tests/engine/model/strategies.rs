//! How tables are merged: every strategy, at a size where small worlds see it work.

use palladium_storage::compaction::{
    Leveled, SizeTiered, Strategy, TimeWindow, TombstoneCompaction, Unified,
};
use palladium_storage::{CompactionOptions, Compression, TableOptions};

/// Short, so that worlds live to see tombstones purged.
const GRACE_SECONDS: i64 = 4;

/// Options that a number draws.
pub(super) fn table_options(number: u64) -> TableOptions {
    // Merges of few SSTables among many: what is left outside is what purging must respect.
    let tiers = SizeTiered {
        min_threshold: 2,
        max_threshold: 2,
        min_sstable_size: 0,
        ..SizeTiered::default()
    };
    let strategy = match number % 5 {
        0 => Strategy::SizeTiered(tiers),
        1 => Strategy::Leveled(Leveled {
            sstable_bytes: 2 << 10,
            fanout_size: 2,
            tiers,
        }),
        2 => Strategy::TimeWindow(TimeWindow {
            window_seconds: 5,
            tiers,
            ..TimeWindow::default()
        }),
        tiered => Strategy::Unified(Unified {
            scaling: vec![if tiered == 3 { 0 } else { 1 }, -1],
            target_sstable_size: 4 << 10,
            min_sstable_size: 1 << 10,
            base_shard_count: 2,
            sstable_growth: 0.3,
            flush_size_override: 2 << 10,
            max_sstables_to_compact: 3,
        }),
    };
    TableOptions {
        gc_grace_seconds: GRACE_SECONDS,
        block_bytes: 512,
        // Told apart by number, so that an ALTER changes it with the rest.
        compression: match number % 3 {
            0 => Compression::Zstd { level: 1 },
            1 => Compression::Off,
            _ => Compression::Lz4,
        },
        compaction: CompactionOptions {
            strategy,
            tombstones: Some(TombstoneCompaction {
                tombstone_threshold: 0.05,
                tombstone_compaction_interval: 1,
                unchecked_tombstone_compaction: number.is_multiple_of(2),
            }),
            ..CompactionOptions::default()
        },
        ..TableOptions::default()
    }
}
