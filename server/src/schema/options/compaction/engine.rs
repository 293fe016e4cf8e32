//! What the engine does under options that were checked, or that an earlier version checked: what it cannot read counts as not said.

use std::str::FromStr;

use palladium_storage::CompactionOptions;
use palladium_storage::compaction::{
    Expiry, Leveled, Resolution, SizeTiered, Strategy, TimeWindow, TombstoneCompaction, Unified,
};

use super::{Options, PACKAGE, unified};
use crate::error::CqlResult;

/// What the engine does under these options.
pub fn for_storage(options: &Options) -> CompactionOptions {
    let class = options.get("class").map_or("", String::as_str);
    let class = class.strip_prefix(PACKAGE).unwrap_or(class);
    CompactionOptions {
        enabled: !is(options, "enabled", "false"),
        strategy: match class {
            "LeveledCompactionStrategy" => Strategy::Leveled(leveled(options)),
            "TimeWindowCompactionStrategy" => Strategy::TimeWindow(time_window(options)),
            "UnifiedCompactionStrategy" => Strategy::Unified(unified(options)),
            _ => Strategy::SizeTiered(tiers(options, SizeTiered::default())),
        },
        tombstones: tombstones(options, class),
        expiry: expiry(options),
    }
}

fn number<T: FromStr>(options: &Options, name: &str, default: T) -> T {
    said(super::number(options, name, "number"), default)
}

fn double(options: &Options, name: &str, default: f64) -> f64 {
    said(super::double(options, name, "number"), default)
}

fn said<T>(read: CqlResult<Option<T>>, default: T) -> T {
    read.ok().flatten().unwrap_or(default)
}

fn is(options: &Options, name: &str, value: &str) -> bool {
    let text = options.get(name);
    text.is_some_and(|text| text.eq_ignore_ascii_case(value))
}

fn tiers(options: &Options, default: SizeTiered) -> SizeTiered {
    SizeTiered {
        min_threshold: number(options, "min_threshold", default.min_threshold),
        max_threshold: number(options, "max_threshold", default.max_threshold),
        bucket_low: double(options, "bucket_low", default.bucket_low),
        bucket_high: double(options, "bucket_high", default.bucket_high),
        min_sstable_size: number(options, "min_sstable_size", default.min_sstable_size),
    }
}

fn leveled(options: &Options) -> Leveled {
    let default = Leveled::default();
    let mebibytes: u64 = number(options, "sstable_size_in_mb", default.sstable_bytes >> 20);
    Leveled {
        sstable_bytes: mebibytes << 20,
        fanout_size: number(options, "fanout_size", default.fanout_size),
        tiers: tiers(options, default.tiers),
    }
}

fn time_window(options: &Options) -> TimeWindow {
    let unit = match options.get("compaction_window_unit").map(String::as_str) {
        Some("MINUTES") => 60,
        Some("HOURS") => 3_600,
        _ => 86_400,
    };
    let size: i64 = number(options, "compaction_window_size", 1);
    let resolution = options.get("timestamp_resolution").map(String::as_str);
    TimeWindow {
        window_seconds: size.saturating_mul(unit),
        timestamp_resolution: match resolution {
            Some("NANOSECONDS") => Resolution::Nanoseconds,
            Some("MILLISECONDS") => Resolution::Milliseconds,
            Some("SECONDS") => Resolution::Seconds,
            _ => Resolution::Microseconds,
        },
        tiers: tiers(options, SizeTiered::default()),
    }
}

fn unified(options: &Options) -> Unified {
    let default = Unified::default();
    let bytes = |name: &str, default: u64| -> u64 {
        let bytes = options.get(name).and_then(|text| unified::bytes(text));
        bytes
            .and_then(|bytes| bytes.try_into().ok())
            .unwrap_or(default)
    };
    let growth = options.get("sstable_growth");
    let most: i32 = number(options, "max_sstables_to_compact", 0);
    let parameters = options.get("scaling_parameters");
    Unified {
        scaling: parameters.map_or(default.scaling, |text| unified::scaling(text)),
        target_sstable_size: bytes("target_sstable_size", default.target_sstable_size),
        min_sstable_size: bytes("min_sstable_size", default.min_sstable_size),
        base_shard_count: number(options, "base_shard_count", default.base_shard_count),
        sstable_growth: growth
            .and_then(|text| unified::fraction(text))
            .unwrap_or(default.sstable_growth),
        flush_size_override: bytes("flush_size_override", default.flush_size_override),
        max_sstables_to_compact: usize::try_from(most).unwrap_or(0),
    }
}

/// Data in time windows expires by whole SSTables: without a word about tombstones none is written again for them.
fn tombstones(options: &Options, class: &str) -> Option<TombstoneCompaction> {
    let names = [
        "tombstone_threshold",
        "tombstone_compaction_interval",
        "unchecked_tombstone_compaction",
    ];
    let is_said = names.iter().any(|name| options.contains_key(*name));
    if class == "TimeWindowCompactionStrategy" && !is_said {
        return None;
    }
    let default = TombstoneCompaction::default();
    let [threshold, interval, unchecked] = names;
    Some(TombstoneCompaction {
        tombstone_threshold: double(options, threshold, default.tombstone_threshold),
        tombstone_compaction_interval: number(
            options,
            interval,
            default.tombstone_compaction_interval,
        ),
        unchecked_tombstone_compaction: is(options, unchecked, "true"),
    })
}

fn expiry(options: &Options) -> Expiry {
    let default = Expiry::default();
    Expiry {
        check_seconds: number(
            options,
            "expired_sstable_check_frequency_seconds",
            default.check_seconds,
        ),
        ignores_overlaps: is(options, "unsafe_aggressive_sstable_expiration", "true"),
    }
}
