//! `compaction = {'class': ..., ...}`: Cassandra's four strategies, each with its own options, checked in Cassandra's order and refused in its words.
//!
//! What the engine makes of them is in [`engine`]; what is a number there is one that was checked here.

mod engine;
mod unified;

use std::collections::BTreeMap;
use std::str::FromStr;

pub use self::engine::for_storage;
use crate::error::{CqlError, CqlResult};

const PACKAGE: &str = "org.apache.cassandra.db.compaction.";

/// Options that every strategy has.
const SHARED: [&str; 8] = [
    "class",
    "enabled",
    "log_all",
    "only_purge_repaired_tombstones",
    "provide_overlapping_tombstones",
    "tombstone_compaction_interval",
    "tombstone_threshold",
    "unchecked_tombstone_compaction",
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
    "unsafe_aggressive_sstable_expiration",
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
    "unsafe_aggressive_sstable_expiration",
];

/// Strategies, what each understands, and whether it has thresholds.
const STRATEGIES: [(&str, &[&str], bool); 4] = [
    ("SizeTieredCompactionStrategy", SIZE_TIERED, true),
    ("LeveledCompactionStrategy", LEVELED, true),
    ("TimeWindowCompactionStrategy", TIME_WINDOW, true),
    ("UnifiedCompactionStrategy", UNIFIED, false),
];

type Options = BTreeMap<String, String>;

/// Of a class that there is, with its full name, and with the thresholds filled in. Whether the class takes the rest is looked at later.
pub fn compaction(mut options: Options) -> CqlResult<Options> {
    let (class, _, thresholds) = strategy(options.get("class"))?;
    options.insert("class".into(), format!("{PACKAGE}{class}"));
    if thresholds {
        options
            .entry("min_threshold".into())
            .or_insert_with(|| "4".into());
        options
            .entry("max_threshold".into())
            .or_insert_with(|| "32".into());
    }
    Ok(options)
}

/// Refuses what the class does not take.
pub fn check(options: &Options) -> CqlResult<()> {
    let (class, own, thresholds) = strategy(options.get("class"))?;
    check_shared(options)?;
    match class {
        "LeveledCompactionStrategy" => check_leveled(options)?,
        "TimeWindowCompactionStrategy" => check_time_window(options)?,
        "UnifiedCompactionStrategy" => unified::check(options)?,
        _ => {}
    }
    if class != "UnifiedCompactionStrategy" {
        check_buckets(options)?;
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
    match thresholds {
        true => check_thresholds(options),
        false => Ok(()),
    }
}

pub fn is_leveled(options: &Options) -> bool {
    options
        .get("class")
        .is_some_and(|class| class.ends_with(".LeveledCompactionStrategy"))
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
            // The words are those of another kind of strategy, in Cassandra too.
            CqlError::config(match super::is_java_class(&full) {
                true => format!(
                    "Compaction strategy class {full} is not derived from AbstractReplicationStrategy"
                ),
                false => format!("Unable to find compaction strategy class '{full}'"),
            })
        })
}

fn check_shared(options: &Options) -> CqlResult<()> {
    let threshold = double(options, "tombstone_threshold", "int (base10)")?;
    if let Some(threshold) = threshold.filter(|threshold| *threshold < 0.0) {
        let shown = match threshold.is_finite() {
            true => format!("{threshold:.6}"),
            false => super::java_double(threshold),
        };
        return Err(CqlError::config(format!(
            "tombstone_threshold must be greater than 0, but was {shown}"
        )));
    }
    let interval: Option<i64> = number(options, "tombstone_compaction_interval", "int (base10)")?;
    if let Some(interval) = interval.filter(|interval| *interval < 0) {
        return Err(CqlError::config(format!(
            "tombstone_compaction_interval must be greater than 0, but was {interval}"
        )));
    }
    let not_boolean = |name: &str| options.get(name).filter(|text| !is_boolean(text));
    if let Some(text) = not_boolean("unchecked_tombstone_compaction") {
        return Err(CqlError::config(format!(
            "'unchecked_tombstone_compaction' should be either 'true' or 'false', not '{text}'"
        )));
    }
    if let Some(text) = not_boolean("log_all") {
        return Err(CqlError::config(format!(
            "'log_all' should either be 'true' or 'false', not {text}"
        )));
    }
    if let Some(text) = not_boolean("enabled") {
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
    let low = double(options, "bucket_low", "float")?.unwrap_or(0.5);
    let high = double(options, "bucket_high", "float")?.unwrap_or(1.5);
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
    let positive = |name: &str, value: Option<i32>| match value {
        Some(value) if value < 1 => Err(CqlError::config(format!(
            "{name} must be larger than 0, but was {value}"
        ))),
        _ => Ok(()),
    };
    let size = number(options, "sstable_size_in_mb", "int (base10)")?;
    positive("sstable_size_in_mb", size)?;
    let fanout = number(options, "fanout_size", "int (base10)").map_err(|_| {
        // The number that Cassandra names is that of the other option.
        let size = options
            .get("sstable_size_in_mb")
            .map_or("1", String::as_str);
        CqlError::config(format!(
            "{size} is not a parsable int (base10) for fanout_size"
        ))
    })?;
    positive("fanout_size", fanout)
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
        &["NANOSECONDS", "MICROSECONDS", "MILLISECONDS", "SECONDS"],
    )?;
    one_of("compaction_window_unit", &["MINUTES", "HOURS", "DAYS"])?;
    let window: Option<i32> = number(options, "compaction_window_size", "int (base10)")?;
    if let Some(window) = window.filter(|window| *window < 1) {
        return Err(CqlError::config(format!(
            "{window} must be greater than 1 for compaction_window_size"
        )));
    }
    let frequency: Option<i64> = number(
        options,
        "expired_sstable_check_frequency_seconds",
        "int (base10)",
    )?;
    if let Some(frequency) = frequency.filter(|frequency| *frequency < 0) {
        return Err(CqlError::config(format!(
            "expired_sstable_check_frequency_seconds must not be negative, but was {frequency}"
        )));
    }
    match options.get("unsafe_aggressive_sstable_expiration") {
        Some(text) if !is_boolean(text) => Err(CqlError::config(format!(
            "unsafe_aggressive_sstable_expiration is not 'true' or 'false' ({text})"
        ))),
        Some(text) if text.eq_ignore_ascii_case("true") => Err(CqlError::config(
            "unsafe_aggressive_sstable_expiration is requested but not allowed, restart cassandra with \
             -Dcassandra.allow_unsafe_aggressive_sstable_expiration=true to allow it",
        )),
        _ => Ok(()),
    }
}

fn number<T: FromStr>(options: &Options, name: &str, kind: &str) -> CqlResult<Option<T>> {
    read(options, name, kind, |text| text.parse().ok())
}

fn double(options: &Options, name: &str, kind: &str) -> CqlResult<Option<f64>> {
    read(options, name, kind, super::read_java_double)
}

fn read<T>(
    options: &Options,
    name: &str,
    kind: &str,
    reader: impl Fn(&str) -> Option<T>,
) -> CqlResult<Option<T>> {
    options
        .get(name)
        .map(|text| {
            reader(text).ok_or_else(|| {
                CqlError::config(format!("{text} is not a parsable {kind} for {name}"))
            })
        })
        .transpose()
}

fn check_thresholds(options: &Options) -> CqlResult<()> {
    let threshold = |name: &str| -> CqlResult<i32> {
        let text = &options[name];
        // Without a sign, be it a plus.
        let digits = Some(text).filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
        digits.and_then(|text| text.parse().ok()).ok_or_else(|| {
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
