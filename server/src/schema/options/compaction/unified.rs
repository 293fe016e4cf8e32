//! The options of `UnifiedCompactionStrategy`.

use super::{Options, PACKAGE, number};
use crate::error::{CqlError, CqlResult};

/// Smaller SSTables than this are no target.
const TARGET_BYTES_MIN: i64 = 1 << 20;
/// `target_sstable_size` if nothing is said.
const TARGET_BYTES: i64 = 1 << 30;

pub(super) fn check(options: &Options) -> CqlResult<()> {
    check_scaling(options)?;
    let int = "int (base10)";
    positive(
        number::<i32>(options, "base_shard_count", int)?,
        "base_shard_count",
    )?;
    let target = large_enough(options, "target_sstable_size")?.unwrap_or(TARGET_BYTES);
    large_enough(options, "flush_size_override")?;
    number::<i32>(options, "max_sstables_to_compact", int)?;
    let name = "expired_sstable_check_frequency_seconds";
    positive(number::<i64>(options, name, "long (base10)")?, name)?;
    if let Some(method) = options.get("overlap_inclusion_method")
        && !["NONE", "SINGLE", "TRANSITIVE"].contains(&method.to_ascii_uppercase().as_str())
    {
        return Err(CqlError::config(format!(
            "Invalid overlap inclusion method {method}. The valid options are [NONE, SINGLE, TRANSITIVE]."
        )));
    }
    check_min(options, target)?;
    let name = "unsafe_aggressive_sstable_expiration";
    if let Some(text) = options.get(name).filter(|text| !super::is_boolean(text)) {
        return Err(CqlError::config(format!(
            "{name} should either be 'true' or 'false', not {text}"
        )));
    }
    let Some(text) = options.get("sstable_growth") else {
        return Ok(());
    };
    match fraction(text) {
        None if text.trim().is_empty() => Err(CqlError::config(
            "sstable_growth is not a valid number between 0 and 1: empty String",
        )),
        None => Err(CqlError::config(format!(
            "sstable_growth is not a valid number between 0 and 1: For input string: \"{text}\""
        ))),
        Some(growth) if !(0.0..=1.0).contains(&growth) => Err(CqlError::config(format!(
            "sstable_growth {text} must be between 0 and 1"
        ))),
        Some(_) => Ok(()),
    }
}

fn check_min(options: &Options, target: i64) -> CqlResult<()> {
    let Some(text) = options.get("min_sstable_size") else {
        return Ok(());
    };
    let min = bytes(text).ok_or_else(|| {
        CqlError::config(format!(
            "{text} is not a valid size in bytes for min_sstable_size"
        ))
    })?;
    if min < 0 {
        return Err(CqlError::config(
            "Invalid configuration, min_sstable_size should be greater than or equal to 0 (zero)",
        ));
    }
    if min as f64 > (target as f64 * 0.5f64.sqrt()).ceil() {
        return Err(CqlError::config(format!(
            "Invalid configuration, min_sstable_size ({}) should be less than 70% of the targetSSTableSize ({})",
            shown(min),
            shown(target)
        )));
    }
    Ok(())
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
        let number = parameter.trim_start_matches(['L', 'T', 'N']);
        if !number.is_empty() && number.parse::<i32>().is_err() {
            return Err(CqlError::config(format!(
                "{PACKAGE}UnifiedCompactionStrategy.validateOptions() threw an error: java.lang.NumberFormatException For input string: \
                 \"{number}\""
            )));
        }
        let is_factor = parameter.starts_with(['L', 'T']);
        if is_factor && number.parse().is_ok_and(|factor: i32| factor < 2) {
            return Err(CqlError::config(format!(
                "Fan factor cannot be lower than 2 in {parameter}"
            )));
        }
    }
    Ok(())
}

/// W of each level. Of what is checked nothing is left out.
pub(super) fn scaling(parameters: &str) -> Vec<i32> {
    let one = |parameter: &str| -> Option<i32> {
        // A factor beyond any number of SSTables is as good as a greater one.
        let factor = |digits: &str| digits.parse::<i32>().unwrap_or(i32::MAX).min(1 << 20);
        match parameter.split_at_checked(1)? {
            ("N", "") => Some(0),
            ("T", digits) => Some(factor(digits) - 2),
            ("L", digits) => Some(2 - factor(digits)),
            ("-", digits) => Some(-factor(digits)),
            ("+", digits) => Some(factor(digits)),
            _ => Some(factor(parameter)),
        }
    };
    parameters
        .split(',')
        .filter_map(|parameter| one(parameter.trim()))
        .collect()
}

fn positive<T: PartialOrd + From<u8> + std::fmt::Display>(
    value: Option<T>,
    name: &str,
) -> CqlResult<()> {
    match value {
        Some(value) if value < T::from(1) => Err(CqlError::config(format!(
            "Invalid configuration, {name} should be positive: {value}"
        ))),
        _ => Ok(()),
    }
}

fn large_enough(options: &Options, name: &str) -> CqlResult<Option<i64>> {
    let Some(text) = options.get(name) else {
        return Ok(None);
    };
    match bytes(text) {
        Some(bytes) if bytes >= TARGET_BYTES_MIN => Ok(Some(bytes)),
        Some(_) => Err(CqlError::config(format!(
            "{name} {text} is not acceptable, size must be at least {}",
            shown(TARGET_BYTES_MIN)
        ))),
        None => Err(CqlError::config(format!(
            "{name} {text} is not a valid size in bytes: {text} does not end in unit B"
        ))),
    }
}

/// `1GiB`, `100 MB`, `4096B`: with an i the unit is a power of 1024, without one of 1000.
pub(super) fn bytes(text: &str) -> Option<i64> {
    let text = text.trim().strip_suffix('B')?;
    let end = text
        .find(|letter: char| !letter.is_ascii_digit() && !".+-eE".contains(letter))
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: f64 = number.parse().ok()?;
    let unit = unit.trim();
    let (prefix, step) = match unit.strip_suffix('i') {
        Some(prefix) => (prefix, 1024f64),
        None => (unit, 1000f64),
    };
    let power = match prefix {
        "" if step == 1000.0 => 0,
        "k" | "K" => 1,
        "M" => 2,
        "G" => 3,
        "T" => 4,
        "P" => 5,
        "E" => 6,
        _ => return None,
    };
    let bytes = number * step.powi(power);
    (bytes.abs() < i64::MAX as f64).then_some(bytes as i64)
}

/// `0.333` or `33.3%`.
pub(super) fn fraction(text: &str) -> Option<f64> {
    let number: f64 = match text.trim().strip_suffix('%') {
        Some(percent) => percent.trim().parse::<f64>().ok()? / 100.0,
        None => text.trim().parse().ok()?,
    };
    number.is_finite().then_some(number)
}

/// As Cassandra prints memory.
fn shown(bytes: i64) -> String {
    let units = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"];
    let power = (bytes.unsigned_abs().max(1).ilog2() / 10) as usize;
    match power {
        0 => format!("{bytes}B"),
        _ => format!(
            "{:.3}{}",
            bytes as f64 / 1024f64.powi(power as i32),
            units[power]
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_with_their_units() {
        for (text, expected) in [
            ("1GiB", Some(1 << 30)),
            ("100 MiB", Some(100 << 20)),
            ("1.5KiB", Some(1536)),
            ("2MB", Some(2_000_000)),
            ("7B", Some(7)),
            ("-1MiB", Some(-(1 << 20))),
            ("4096", None),
            ("1iB", None),
            ("x", None),
            ("B", None),
            ("1e30GiB", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }

    #[test]
    fn scaling_parameters_are_numbers_by_other_names() {
        assert_eq!(scaling("T4"), [2]);
        assert_eq!(scaling("T8, L10, N"), [6, -8, 0]);
        assert_eq!(scaling("4,-3,+2"), [4, -3, 2]);
        assert_eq!(scaling("T2000000000"), [(1 << 20) - 2]);
    }
}
