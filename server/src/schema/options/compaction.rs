//! `compaction = {'class': ..., ...}`. Cassandra's four strategies may be named with their own options; SSTables are merged
//! size-tiered under each of them.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::str::FromStr;

use palladium_storage::CompactionOptions;
use palladium_storage::compaction::{SizeTiered, Strategy};

use crate::error::{CqlError, CqlResult};

const PACKAGE: &str = "org.apache.cassandra.db.compaction.";

/// Options that every strategy has.
const SHARED: [&str; 9] = [
    "class",
    "enabled",
    "log_all",
    "only_purge_repaired_tombstones",
    "provide_overlapping_tombstones",
    "tombstone_compaction_interval",
    "tombstone_threshold",
    "unchecked_tombstone_compaction",
    "unsafe_aggressive_sstable_expiration",
];
const THRESHOLDS: [&str; 2] = ["min_threshold", "max_threshold"];
const SIZE_TIERED: &[&str] = &["bucket_high", "bucket_low", "min_sstable_size"];
const LEVELED: &[&str] = &[
    "bucket_high",
    "bucket_low",
    "fanout_size",
    "min_sstable_size",
    "single_sstable_uplevel",
    "sstable_size_in_mb",
];
const TIME_WINDOW: &[&str] = &[
    "bucket_high",
    "bucket_low",
    "compaction_window_size",
    "compaction_window_unit",
    "expired_sstable_check_frequency_seconds",
    "min_sstable_size",
    "timestamp_resolution",
];
const UNIFIED: &[&str] = &[
    "base_shard_count",
    "expired_sstable_check_frequency_seconds",
    "flush_size_override",
    "max_sstables_to_compact",
    "min_sstable_size",
    "overlap_inclusion_method",
    "scaling_parameters",
    "sstable_growth",
    "target_sstable_size",
];

/// Strategies, what each understands, and whether it has thresholds.
const STRATEGIES: [(&str, &[&str], bool); 4] = [
    ("SizeTieredCompactionStrategy", SIZE_TIERED, true),
    ("LeveledCompactionStrategy", LEVELED, true),
    ("TimeWindowCompactionStrategy", TIME_WINDOW, true),
    ("UnifiedCompactionStrategy", UNIFIED, false),
];

type Options = BTreeMap<String, String>;

/// Checked, with the full class name and the thresholds filled in.
pub fn compaction(mut options: Options) -> CqlResult<Options> {
    let (class, own, thresholds) = strategy(options.get("class"))?;
    check_shared(&options)?;
    match class {
        "LeveledCompactionStrategy" => check_leveled(&options)?,
        "TimeWindowCompactionStrategy" => check_time_window(&options)?,
        "UnifiedCompactionStrategy" => check_scaling(&options)?,
        _ => {}
    }
    if class != "UnifiedCompactionStrategy" {
        check_buckets(&options)?;
    }
    let understood = |name: &str| {
        SHARED.contains(&name) || own.contains(&name) || (thresholds && THRESHOLDS.contains(&name))
    };
    let unknown: Vec<&str> = options
        .keys()
        .map(String::as_str)
        .filter(|name| !understood(name))
        .collect();
    if !unknown.is_empty() {
        return Err(CqlError::config(format!(
            "Properties specified [{}] are not understood by {class}",
            unknown.join(", ")
        )));
    }
    options.insert("class".into(), format!("{PACKAGE}{class}"));
    if thresholds {
        options
            .entry("min_threshold".into())
            .or_insert_with(|| "4".into());
        options
            .entry("max_threshold".into())
            .or_insert_with(|| "32".into());
        check_thresholds(&options)?;
    }
    Ok(options)
}

/// `T4, L2, N, -3`
fn check_scaling(options: &Options) -> CqlResult<()> {
    let Some(parameters) = options.get("scaling_parameters") else {
        return Ok(());
    };
    for parameter in parameters.split(',').map(str::trim) {
        let digits =
            |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let fits = parameter == "N"
            || parameter.strip_prefix(['L', 'T']).is_some_and(digits)
            || digits(parameter.strip_prefix(['+', '-']).unwrap_or(parameter));
        if !fits {
            return Err(CqlError::config(format!(
                "Scaling parameter {parameter} must match N|L[0-9]+|T[0-9]+|[+-]?[0-9]+"
            )));
        }
    }
    Ok(())
}

pub fn is_leveled(options: &Options) -> bool {
    options
        .get("class")
        .is_some_and(|class| class.ends_with(".LeveledCompactionStrategy"))
}

/// What the engine does under these options.
pub fn for_storage(options: &Options) -> CompactionOptions {
    fn number<T: FromStr>(options: &Options, name: &str, default: T) -> T {
        options
            .get(name)
            .and_then(|text| text.parse().ok())
            .unwrap_or(default)
    }
    let default = SizeTiered::default();
    CompactionOptions {
        enabled: options
            .get("enabled")
            .is_none_or(|text| !text.eq_ignore_ascii_case("false")),
        strategy: Strategy::SizeTiered(SizeTiered {
            min_threshold: number(options, "min_threshold", default.min_threshold),
            max_threshold: number(options, "max_threshold", default.max_threshold),
            bucket_low: number(options, "bucket_low", default.bucket_low),
            bucket_high: number(options, "bucket_high", default.bucket_high),
            min_sstable_size: number(options, "min_sstable_size", default.min_sstable_size),
            tombstone_threshold: number(
                options,
                "tombstone_threshold",
                default.tombstone_threshold,
            ),
            tombstone_compaction_interval: number(
                options,
                "tombstone_compaction_interval",
                default.tombstone_compaction_interval,
            ),
        }),
    }
}

fn strategy(class: Option<&String>) -> CqlResult<(&'static str, &'static [&'static str], bool)> {
    let class = class.ok_or_else(|| {
        CqlError::config("Missing sub-option 'class' for the 'compaction' option")
    })?;
    let full = match class.contains('.') {
        true => class.clone(),
        false => format!("{PACKAGE}{class}"),
    };
    STRATEGIES
        .into_iter()
        .find(|(name, ..)| full.strip_prefix(PACKAGE) == Some(name))
        .ok_or_else(|| {
            CqlError::config(format!("Unable to find compaction strategy class '{full}'"))
        })
}

fn check_shared(options: &Options) -> CqlResult<()> {
    let threshold: Option<f64> = number(options, "tombstone_threshold", "int (base10)")?;
    if let Some(threshold) = threshold.filter(|threshold| *threshold < 0.0) {
        return Err(CqlError::config(format!(
            "tombstone_threshold must be greater than 0, but was {threshold:.6}"
        )));
    }
    let interval: Option<i64> = number(options, "tombstone_compaction_interval", "int (base10)")?;
    if let Some(interval) = interval.filter(|interval| *interval < 0) {
        return Err(CqlError::config(format!(
            "tombstone_compaction_interval must be greater than 0, but was {interval}"
        )));
    }
    for name in [
        "unchecked_tombstone_compaction",
        "only_purge_repaired_tombstones",
        "log_all",
    ] {
        if let Some(text) = options.get(name).filter(|text| !is_boolean(text)) {
            return Err(CqlError::config(format!(
                "'{name}' should be either 'true' or 'false', not '{text}'"
            )));
        }
    }
    if let Some(text) = options.get("enabled").filter(|text| !is_boolean(text)) {
        return Err(CqlError::config(format!(
            "enabled should either be 'true' or 'false', not {text}"
        )));
    }
    if let Some(text) = options.get("provide_overlapping_tombstones") {
        let upper = text.to_ascii_uppercase();
        if !["NONE", "ROW", "CELL"].contains(&upper.as_str()) {
            return Err(CqlError::config(format!(
                "Invalid value {upper} for 'provide_overlapping_tombstones' compaction sub-option - must be one of the following \
                 [NONE, ROW, CELL]."
            )));
        }
    }
    Ok(())
}

fn is_boolean(text: &str) -> bool {
    text.eq_ignore_ascii_case("true") || text.eq_ignore_ascii_case("false")
}

fn check_buckets(options: &Options) -> CqlResult<()> {
    let size: Option<i64> = number(options, "min_sstable_size", "int (base10)")?;
    if let Some(size) = size.filter(|size| *size < 0) {
        return Err(CqlError::config(format!(
            "min_sstable_size must be non negative: {size}"
        )));
    }
    let low = number(options, "bucket_low", "float")?.unwrap_or(0.5);
    let high = number(options, "bucket_high", "float")?.unwrap_or(1.5);
    if high <= low {
        return Err(CqlError::config(format!(
            "bucket_high value ({}) is less than or equal to the bucket_low value ({})",
            super::java_double(high),
            super::java_double(low)
        )));
    }
    Ok(())
}

fn check_leveled(options: &Options) -> CqlResult<()> {
    for name in ["sstable_size_in_mb", "fanout_size"] {
        let value: Option<i32> = number(options, name, "int (base10)")?;
        if let Some(value) = value.filter(|value| *value < 1) {
            return Err(CqlError::config(format!(
                "{name} must be larger than 0, but was {value}"
            )));
        }
    }
    Ok(())
}

fn check_time_window(options: &Options) -> CqlResult<()> {
    let one_of = |name: &str, allowed: &[&str]| match options.get(name) {
        Some(text) if !allowed.contains(&text.as_str()) => {
            Err(CqlError::config(format!("{text} is not valid for {name}")))
        }
        _ => Ok(()),
    };
    one_of(
        "timestamp_resolution",
        &[
            "NANOSECONDS",
            "MICROSECONDS",
            "MILLISECONDS",
            "SECONDS",
            "MINUTES",
            "HOURS",
            "DAYS",
        ],
    )?;
    one_of("compaction_window_unit", &["MINUTES", "HOURS", "DAYS"])?;
    let window: Option<i32> = number(options, "compaction_window_size", "int (base10)")?;
    if let Some(window) = window.filter(|window| *window < 1) {
        return Err(CqlError::config(format!(
            "{window} must be greater than 1 for compaction_window_size"
        )));
    }
    Ok(())
}

fn number<T: FromStr + Display>(options: &Options, name: &str, kind: &str) -> CqlResult<Option<T>> {
    options
        .get(name)
        .map(|text| {
            text.parse().map_err(|_| {
                CqlError::config(format!("{text} is not a parsable {kind} for {name}"))
            })
        })
        .transpose()
}

fn check_thresholds(options: &Options) -> CqlResult<()> {
    let threshold = |name: &str| -> CqlResult<i32> {
        let text = &options[name];
        text.parse().map_err(|_| {
            CqlError::config(format!(
                "Invalid value {text} for '{name}' compaction sub-option - must be an integer"
            ))
        })
    };
    let (min, max) = (threshold("min_threshold")?, threshold("max_threshold")?);
    if min <= 0 || max <= 0 {
        return Err(CqlError::config(
            "Disabling compaction by setting compaction thresholds to 0 has been removed, set the compaction option 'enabled' to \
             false instead.",
        ));
    }
    if min <= 1 {
        return Err(CqlError::config(format!(
            "Min compaction threshold cannot be less than 2 (got {min})"
        )));
    }
    if min > max {
        return Err(CqlError::config(format!(
            "Min compaction threshold (got {min}) cannot be greater than max compaction threshold (got {max})"
        )));
    }
    Ok(())
}
