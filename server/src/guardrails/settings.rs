//! Reading `[cassandra]`: each setting of a known name and of its type, or an error that names it.

use toml::Value;

use super::lines::{FLAGS, LIMITS, LISTS, Unit, WITHOUT_EFFECT};
use super::{Bounds, Guardrails};

impl Guardrails {
    /// Reads the settings.
    pub fn read(settings: &toml::Table) -> Result<Guardrails, String> {
        let mut guardrails = Guardrails::default();
        for (name, value) in settings {
            guardrails
                .set(name, value)
                .map_err(|error| format!("cassandra.{name}: {error}"))?;
        }
        for (line, bounds) in LIMITS.iter().zip(&guardrails.limits) {
            let (Some(warn), Some(fail)) = (bounds.warn, bounds.fail) else {
                continue;
            };
            let in_order = match line.is_minimum {
                true => fail <= warn,
                false => warn <= fail,
            };
            if !in_order {
                return Err(format!(
                    "cassandra.{0}_warn_threshold and cassandra.{0}_fail_threshold: what fails must also be warned of",
                    line.name
                ));
            }
        }
        Ok(guardrails)
    }

    /// Whether there is a setting of this name.
    pub fn knows(name: &str) -> bool {
        limit_of(name).is_some()
            || FLAGS.iter().any(|line| line.setting == name)
            || LISTS.contains(&name)
            || WITHOUT_EFFECT.contains(&name)
    }

    /// All of them by name, as they are set; None: off.
    pub fn settings(&self) -> Vec<(String, Option<String>)> {
        let limits = LIMITS.iter().zip(&self.limits).flat_map(|(line, bounds)| {
            let fail = match line.name {
                "tombstone" => "failure",
                _ => "fail",
            };
            let shown = |bound: Option<u64>| match (bound, line.unit) {
                (Some(bound), Unit::Count) => Some(bound.to_string()),
                (Some(bound), Unit::Bytes) => Some(written(bound)),
                (Some(bound), Unit::Micros) => Some(written_age(bound)),
                (None, Unit::Count) => Some("-1".to_owned()),
                (None, Unit::Bytes | Unit::Micros) => None,
            };
            [
                (format!("{}_warn_threshold", line.name), shown(bounds.warn)),
                (
                    format!("{}_{fail}_threshold", line.name),
                    shown(bounds.fail),
                ),
            ]
        });
        let flags = FLAGS.iter().zip(&self.flags);
        let flags = flags.map(|(line, flag)| (line.setting.to_owned(), Some(flag.to_string())));
        let lists = LISTS.iter().zip(&self.lists);
        let lists =
            lists.map(|(name, list)| ((*name).to_owned(), Some(format!("[{}]", list.join(", ")))));
        limits
            .filter(|(name, _)| name != "unlogged_batch_across_partitions_fail_threshold")
            .chain(flags)
            .chain(lists)
            .collect()
    }

    fn set(&mut self, name: &str, value: &Value) -> Result<(), String> {
        if let Some((place, is_warning)) = limit_of(name) {
            let bound = bound(LIMITS[place].unit, value)?;
            let bounds: &mut Bounds = &mut self.limits[place];
            match is_warning {
                true => bounds.warn = bound,
                false => bounds.fail = bound,
            }
            return Ok(());
        }
        if let Some(place) = FLAGS.iter().position(|line| line.setting == name) {
            self.flags[place] = match value {
                Value::Boolean(value) => *value,
                Value::String(text) => text
                    .parse()
                    .map_err(|_| format!("'{text}' is neither true nor false"))?,
                _ => return Err("it must be true or false".into()),
            };
            return Ok(());
        }
        if let Some(place) = LISTS.iter().position(|setting| *setting == name) {
            let are_levels = name.contains("consistency");
            self.lists[place] = texts(value)?
                .into_iter()
                .map(|text| match are_levels {
                    true => text.to_ascii_uppercase(),
                    false => text,
                })
                .collect();
            self.lists[place].sort();
            return Ok(());
        }
        match WITHOUT_EFFECT.contains(&name) {
            true => self.without_effect.push(name.to_owned()),
            false => return Err("there is no such setting".into()),
        }
        Ok(())
    }
}

/// The threshold that a name sets, and whether it is the one that warns.
fn limit_of(name: &str) -> Option<(usize, bool)> {
    let (stem, is_warning) = match name.strip_suffix("_warn_threshold") {
        Some(stem) => (stem, true),
        None => {
            let stem = name
                .strip_suffix("_fail_threshold")
                .or_else(|| name.strip_suffix("_failure_threshold"))?;
            (stem, false)
        }
    };
    let place = LIMITS.iter().position(|line| line.name == stem)?;
    Some((place, is_warning))
}

/// -1, and for sizes an empty text, are off.
fn bound(unit: Unit, value: &Value) -> Result<Option<u64>, String> {
    match value {
        Value::Integer(-1) => Ok(None),
        Value::Integer(number) => u64::try_from(*number)
            .map(Some)
            .map_err(|_| format!("{number} is below zero; -1 is off")),
        Value::String(text) if text.is_empty() || text == "-1" => Ok(None),
        Value::String(text) => match unit {
            Unit::Bytes => size(text).map(Some),
            Unit::Micros => age(text).map(Some),
            Unit::Count => text
                .parse()
                .map(Some)
                .map_err(|_| format!("'{text}' is no number")),
        },
        _ => Err("it must be a number".into()),
    }
}

/// `5KiB`, as cassandra.yaml writes it.
fn size(text: &str) -> Result<u64, String> {
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let wrong = || format!("'{text}' is no size; sizes look like 5KiB");
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let shift = match text[digits..].trim() {
        "" | "B" => 0,
        "KiB" => 10,
        "MiB" => 20,
        "GiB" => 30,
        _ => return Err(wrong()),
    };
    number.checked_mul(1 << shift).ok_or_else(wrong)
}

/// Units of time in microseconds, the largest first.
const AGES: [(u64, &str); 6] = [
    (86_400_000_000, "d"),
    (3_600_000_000, "h"),
    (60_000_000, "m"),
    (1_000_000, "s"),
    (1_000, "ms"),
    (1, "us"),
];

/// `1d`, as cassandra.yaml writes it.
fn age(text: &str) -> Result<u64, String> {
    let wrong = || format!("'{text}' is no duration; durations look like 1d");
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let number: u64 = text[..digits].parse().map_err(|_| wrong())?;
    let mut ages = AGES.into_iter();
    let (micros, _) = ages
        .find(|(_, unit)| *unit == &text[digits..])
        .ok_or_else(wrong)?;
    number.checked_mul(micros).ok_or_else(wrong)
}

/// A duration with the largest unit that it is a whole number of.
fn written_age(micros: u64) -> String {
    let mut ages = AGES.into_iter();
    let (of, unit) = ages
        .find(|(of, _)| micros > 0 && micros.is_multiple_of(*of))
        .unwrap_or((1, "us"));
    format!("{}{unit}", micros / of)
}

/// A size with the largest unit that it is a whole number of.
fn written(bytes: u64) -> String {
    let units = [(30, "GiB"), (20, "MiB"), (10, "KiB")];
    let whole = |(shift, _): &(u32, &str)| bytes > 0 && bytes.trailing_zeros() >= *shift;
    match units.into_iter().find(whole) {
        Some((shift, unit)) => format!("{}{unit}", bytes >> shift),
        None => format!("{bytes}B"),
    }
}

fn texts(value: &Value) -> Result<Vec<String>, String> {
    let wrong = || "it must be a list of texts".to_owned();
    match value {
        Value::Array(values) => values
            .iter()
            .map(|value| value.as_str().map(str::to_owned).ok_or_else(wrong))
            .collect(),
        Value::String(text) => Ok(text
            .split(',')
            .map(|part| part.trim().to_owned())
            .filter(|part| !part.is_empty())
            .collect()),
        _ => Err(wrong()),
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Flag, Limit, List};
    use super::*;

    fn read(text: &str) -> Result<Guardrails, String> {
        Guardrails::read(&text.parse().expect("a table"))
    }

    #[test]
    fn sizes_counts_lists_and_switches_are_read_as_cassandra_writes_them() {
        let guardrails = read(
            "batch_size_warn_threshold = '64KiB'\nbatch_size_fail_threshold = '640KiB'\ntombstone_failure_threshold = 5000\n\
             page_size_fail_threshold = -1\ntable_properties_warned = ['comment']\nwrite_consistency_levels_disallowed = ['any']\n\
             group_by_enabled = false",
        )
        .expect("settings that are right");
        assert_eq!(guardrails.bounds(Limit::BatchSize).warn, Some(64 << 10));
        assert_eq!(guardrails.bounds(Limit::Tombstones).fail, Some(5_000));
        assert!(guardrails.bounds(Limit::PageSize).is_off());
        assert_eq!(guardrails.list(List::TablePropertiesWarned), ["comment"]);
        assert_eq!(guardrails.list(List::WriteLevelsDisallowed), ["ANY"]);
        assert!(!guardrails.is_on(Flag::GroupBy));
    }

    #[test]
    fn a_size_is_shown_as_it_is_written() {
        for text in ["5KiB", "50KiB", "1MiB", "3GiB", "1025B", "0B"] {
            assert_eq!(written(size(text).expect("a size")), text);
        }
        for text in ["1d", "25h", "90s", "1500ms", "7us", "0us"] {
            assert_eq!(written_age(age(text).expect("a duration")), text);
        }
        for text in ["1", "d", "1.5d", "1w", ""] {
            assert!(age(text).is_err(), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        for (text, error) in [
            (
                "tables_warn = 1",
                "cassandra.tables_warn: there is no such setting",
            ),
            (
                "group_by_enabled = 1",
                "cassandra.group_by_enabled: it must be true or false",
            ),
            (
                "batch_size_warn_threshold = '5 apples'",
                "cassandra.batch_size_warn_threshold: '5 apples' is no size; sizes look like 5KiB",
            ),
            (
                "tables_warn_threshold = 5\ntables_fail_threshold = 4",
                "cassandra.tables_warn_threshold and cassandra.tables_fail_threshold: what fails must also be warned of",
            ),
        ] {
            assert_eq!(read(text).expect_err("wrong"), error);
        }
    }

    #[test]
    fn what_means_nothing_here_is_taken_and_remembered() {
        let guardrails = read("partition_size_warn_threshold = '100MiB'").expect("a known name");
        assert_eq!(guardrails.without_effect, ["partition_size_warn_threshold"]);
    }
}
