//! Durations: months, days and nanoseconds, which never turn into one another.
//!
//! Three spellings: `1y2mo3d4h` with units, `P1Y2M3DT4H` as in ISO 8601 (and `P1W`), and `P0001-02-03T04:00:00`.

use std::fmt;

/// A duration. All three parts have the same sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Duration {
    pub months: i32,
    pub days: i32,
    pub nanoseconds: i64,
}

const NANOS_PER_MICRO: i64 = 1_000;
const NANOS_PER_MILLI: i64 = 1_000_000;
const NANOS_PER_SECOND: i64 = 1_000_000_000;
const NANOS_PER_MINUTE: i64 = 60 * NANOS_PER_SECOND;
const NANOS_PER_HOUR: i64 = 60 * NANOS_PER_MINUTE;

/// The units in their order, largest first, each with its name in errors and what it counts.
const UNITS: [(&str, &str, Part, i64); 10] = [
    ("y", "years", Part::Months, 12),
    ("mo", "months", Part::Months, 1),
    ("w", "weeks", Part::Days, 7),
    ("d", "days", Part::Days, 1),
    ("h", "hours", Part::Nanoseconds, NANOS_PER_HOUR),
    ("m", "minutes", Part::Nanoseconds, NANOS_PER_MINUTE),
    ("s", "seconds", Part::Nanoseconds, NANOS_PER_SECOND),
    ("ms", "milliseconds", Part::Nanoseconds, NANOS_PER_MILLI),
    ("us", "microseconds", Part::Nanoseconds, NANOS_PER_MICRO),
    ("ns", "nanoseconds", Part::Nanoseconds, 1),
];

#[derive(Clone, Copy)]
enum Part {
    Months,
    Days,
    Nanoseconds,
}

/// The sums of a reading in progress; signs come last.
#[derive(Default)]
struct Sums {
    months: i64,
    days: i64,
    nanoseconds: i64,
    /// The last unit that was read.
    last: Option<usize>,
}

impl Sums {
    /// Adds a unit, which has to be smaller than the one before.
    fn add(&mut self, unit: &str, count: i64, text: &str) -> Result<(), String> {
        let place = UNITS.iter().position(|(own, ..)| *own == unit);
        let place = place.ok_or_else(|| unreadable(text))?;
        let (_, name, part, factor) = UNITS[place];
        match self.last.replace(place) {
            Some(last) if last == place => {
                return Err(format!(
                    "Invalid duration. The {name} are specified multiple times"
                ));
            }
            Some(last) if last > place => {
                let last = UNITS[last].1;
                return Err(format!(
                    "Invalid duration. The {last} should be after {name}"
                ));
            }
            _ => {}
        }
        let (sum, most, whole) = match part {
            Part::Months => (&mut self.months, i64::from(i32::MAX), "months"),
            Part::Days => (&mut self.days, i64::from(i32::MAX), "days"),
            Part::Nanoseconds => (&mut self.nanoseconds, i64::MAX, "nanoseconds"),
        };
        if count > (most - *sum) / factor {
            // As Cassandra says it, whatever the bound is.
            return Err(format!(
                "Invalid duration. The total number of {whole} must be less or equal to {}",
                i32::MAX
            ));
        }
        *sum += count * factor;
        Ok(())
    }
}

fn unreadable(text: &str) -> String {
    format!("Unable to convert '{text}' to a duration")
}

impl Duration {
    /// Reads any of the three spellings, or says in Cassandra's words why it cannot.
    pub fn parse(text: &str) -> Result<Duration, String> {
        let (negative, body) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let mut sums = Sums::default();
        match body.strip_prefix('P') {
            Some(iso) if iso.contains('-') => read_alternative(iso, body, &mut sums)?,
            Some(iso) => read_iso(iso, body, &mut sums)?,
            None => read_units(body, &mut sums)?,
        }
        let sign = if negative { -1 } else { 1 };
        let small = |number: i64| i32::try_from(number * sign).map_err(|_| unreadable(body));
        Ok(Duration {
            months: small(sums.months)?,
            days: small(sums.days)?,
            nanoseconds: sums.nanoseconds * sign,
        })
    }
}

/// Splits a number off the front.
fn number(text: &str) -> Option<(i64, &str)> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    Some((text[..digits].parse().ok()?, &text[digits..]))
}

/// `1y2mo3w4d5h6m7s8ms9us10ns`: largest unit first, none twice.
fn read_units(body: &str, sums: &mut Sums) -> Result<(), String> {
    let mut text = body;
    if text.is_empty() {
        return Err(unreadable(body));
    }
    while !text.is_empty() {
        let (count, rest) = number(text).ok_or_else(|| unreadable(body))?;
        let letters = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        // The micro sign, and not the Greek letter that looks like it.
        let unit = rest[..letters].to_lowercase().replace('\u{b5}', "u");
        sums.add(&unit, count, body)?;
        text = &rest[letters..];
    }
    Ok(())
}

/// `1Y2M3DT4H5M6S` or `1W`, behind the P.
fn read_iso(text: &str, body: &str, sums: &mut Sums) -> Result<(), String> {
    if let Some(weeks) = text.strip_suffix('W') {
        return match number(weeks) {
            Some((count, "")) => sums.add("w", count, body),
            _ => Err(unreadable(body)),
        };
    }
    let (date, time) = text.split_once('T').unwrap_or((text, ""));
    read_designators(date, body, &[('Y', "y"), ('M', "mo"), ('D', "d")], sums)?;
    read_designators(time, body, &[('H', "h"), ('M', "m"), ('S', "s")], sums)
}

fn read_designators(
    mut text: &str,
    body: &str,
    order: &[(char, &str)],
    sums: &mut Sums,
) -> Result<(), String> {
    let mut order = order.iter();
    while !text.is_empty() {
        let (count, rest) = number(text).ok_or_else(|| unreadable(body))?;
        let designator = rest.chars().next().ok_or_else(|| unreadable(body))?;
        let found = order.find(|(letter, _)| *letter == designator);
        let (_, unit) = found.ok_or_else(|| unreadable(body))?;
        sums.add(unit, count, body)?;
        text = &rest[designator.len_utf8()..];
    }
    Ok(())
}

/// `0001-02-03T04:05:06`, behind the P.
fn read_alternative(text: &str, body: &str, sums: &mut Sums) -> Result<(), String> {
    const SHAPE: &[u8] = b"0000-00-00T00:00:00";
    const FIELDS: [(usize, usize, &str); 6] = [
        (0, 4, "y"),
        (5, 7, "mo"),
        (8, 10, "d"),
        (11, 13, "h"),
        (14, 16, "m"),
        (17, 19, "s"),
    ];
    let bytes = text.as_bytes();
    let fits = bytes.len() == SHAPE.len()
        && bytes.iter().zip(SHAPE).all(|(byte, shape)| match shape {
            b'0' => byte.is_ascii_digit(),
            other => byte == other,
        });
    if !fits {
        return Err(unreadable(body));
    }
    for (start, end, unit) in FIELDS {
        let count = text[start..end].parse().map_err(|_| unreadable(body))?;
        sums.add(unit, count, body)?;
    }
    Ok(())
}

impl fmt::Display for Duration {
    /// The first spelling, as Cassandra prints it: `1y2mo3d4h5m6s7ms8us9ns`; nothing for zero.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let negative = self.months < 0 || self.days < 0 || self.nanoseconds < 0;
        if negative {
            f.write_str("-")?;
        }
        let months = u64::from(self.months.unsigned_abs());
        let days = u64::from(self.days.unsigned_abs());
        let nanos = self.nanoseconds.unsigned_abs();
        let mut part = |count: u64, unit: &str| match count {
            0 => Ok(()),
            _ => write!(f, "{count}{unit}"),
        };
        part(months / 12, "y")?;
        part(months % 12, "mo")?;
        part(days, "d")?;
        part(nanos / NANOS_PER_HOUR as u64, "h")?;
        part(nanos % NANOS_PER_HOUR as u64 / NANOS_PER_MINUTE as u64, "m")?;
        part(
            nanos % NANOS_PER_MINUTE as u64 / NANOS_PER_SECOND as u64,
            "s",
        )?;
        part(
            nanos % NANOS_PER_SECOND as u64 / NANOS_PER_MILLI as u64,
            "ms",
        )?;
        part(
            nanos % NANOS_PER_MILLI as u64 / NANOS_PER_MICRO as u64,
            "us",
        )?;
        part(nanos % NANOS_PER_MICRO as u64, "ns")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn duration(months: i32, days: i32, nanoseconds: i64) -> Result<Duration, String> {
        Ok(Duration {
            months,
            days,
            nanoseconds,
        })
    }

    #[test]
    fn three_spellings_say_the_same() {
        let same = duration(14, 3, 4 * NANOS_PER_HOUR);
        assert_eq!(Duration::parse("1y2mo3d4h"), same);
        assert_eq!(Duration::parse("P1Y2M3DT4H"), same);
        assert_eq!(Duration::parse("P0001-02-03T04:00:00"), same);
        assert_eq!(Duration::parse("-P2W"), duration(0, -14, 0));
        assert_eq!(Duration::parse("89H4M48S"), Duration::parse("PT89H4M48S"));
        assert_eq!(Duration::parse("5\u{b5}s"), duration(0, 0, 5_000));
        assert!(Duration::parse("5\u{3bc}s").is_err());
    }

    #[test]
    fn nonsense_is_refused_and_said_why() {
        let unable = "Unable to convert '";
        for (text, why) in [
            ("", unable),
            ("-", unable),
            ("1", unable),
            ("1x", unable),
            ("P1D1Y", unable),
            ("P1-2", unable),
            ("1d1y", "Invalid duration. The days should be after years"),
            (
                "1d1d",
                "Invalid duration. The days are specified multiple times",
            ),
            (
                "99999999999y",
                "Invalid duration. The total number of months must be less or equal to 2147483647",
            ),
            (
                "9223372036854775807ns1ns",
                "Invalid duration. The nanoseconds are specified multiple times",
            ),
        ] {
            let error = Duration::parse(text).expect_err(text);
            assert!(error.starts_with(why), "{text}: {error}");
        }
        assert_eq!(Duration::parse("PT"), duration(0, 0, 0));
    }

    #[test]
    fn printing_and_reading_agree() {
        let text = "-1y2mo3d4h5m6s7ms8us9ns";
        assert_eq!(Duration::parse(text).unwrap().to_string(), text);
    }
}
