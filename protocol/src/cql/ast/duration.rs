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

/// The sums of a reading in progress; signs come last.
#[derive(Default)]
struct Sums {
    months: i64,
    days: i64,
    nanoseconds: i64,
}

impl Sums {
    fn add(&mut self, unit: &str, count: i64) -> Option<()> {
        let (part, factor) = match unit {
            "y" => (&mut self.months, 12),
            "mo" => (&mut self.months, 1),
            "w" => (&mut self.days, 7),
            "d" => (&mut self.days, 1),
            "h" => (&mut self.nanoseconds, NANOS_PER_HOUR),
            "m" => (&mut self.nanoseconds, NANOS_PER_MINUTE),
            "s" => (&mut self.nanoseconds, NANOS_PER_SECOND),
            "ms" => (&mut self.nanoseconds, NANOS_PER_MILLI),
            "us" | "µs" => (&mut self.nanoseconds, NANOS_PER_MICRO),
            "ns" => (&mut self.nanoseconds, 1),
            _ => return None,
        };
        *part = part.checked_add(count.checked_mul(factor)?)?;
        Some(())
    }
}

impl Duration {
    /// Reads any of the three spellings. `None` if the text is none of them or a part overflows.
    pub fn parse(text: &str) -> Option<Duration> {
        let (negative, body) = match text.strip_prefix('-') {
            Some(rest) => (true, rest),
            None => (false, text),
        };
        let mut sums = Sums::default();
        match body.strip_prefix('P') {
            Some(iso) if iso.contains('-') => read_alternative(iso, &mut sums)?,
            Some(iso) => read_iso(iso, &mut sums)?,
            None => read_units(body, &mut sums)?,
        }
        let sign = if negative { -1 } else { 1 };
        Some(Duration {
            months: i32::try_from(sums.months * sign).ok()?,
            days: i32::try_from(sums.days * sign).ok()?,
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
fn read_units(mut text: &str, sums: &mut Sums) -> Option<()> {
    const ORDER: [&str; 10] = ["y", "mo", "w", "d", "h", "m", "s", "ms", "us", "ns"];
    let mut next = 0;
    if text.is_empty() {
        return None;
    }
    while !text.is_empty() {
        let (count, rest) = number(text)?;
        let letters = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let unit = rest[..letters].to_lowercase().replace(['µ', 'μ'], "u");
        let at = ORDER.iter().position(|known| *known == unit)?;
        if at < next {
            return None;
        }
        next = at + 1;
        sums.add(&unit, count)?;
        text = &rest[letters..];
    }
    Some(())
}

/// `1Y2M3DT4H5M6S` or `1W`, behind the P.
fn read_iso(text: &str, sums: &mut Sums) -> Option<()> {
    if let Some(weeks) = text.strip_suffix('W') {
        let (count, rest) = number(weeks)?;
        return if rest.is_empty() {
            sums.add("w", count)
        } else {
            None
        };
    }
    let (date, time) = match text.split_once('T') {
        Some((date, time)) => (date, Some(time)),
        None => (text, None),
    };
    if time.is_some_and(str::is_empty) || text.is_empty() {
        return None;
    }
    read_designators(date, &[('Y', "y"), ('M', "mo"), ('D', "d")], sums)?;
    let time = time.unwrap_or("");
    read_designators(time, &[('H', "h"), ('M', "m"), ('S', "s")], sums)
}

fn read_designators(mut text: &str, order: &[(char, &str)], sums: &mut Sums) -> Option<()> {
    let mut order = order.iter();
    while !text.is_empty() {
        let (count, rest) = number(text)?;
        let designator = rest.chars().next()?;
        let (_, unit) = order.find(|(letter, _)| *letter == designator)?;
        sums.add(unit, count)?;
        text = &rest[designator.len_utf8()..];
    }
    Some(())
}

/// `0001-02-03T04:05:06`, behind the P.
fn read_alternative(text: &str, sums: &mut Sums) -> Option<()> {
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
        return None;
    }
    for (start, end, unit) in FIELDS {
        sums.add(unit, text[start..end].parse().ok()?)?;
    }
    Some(())
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

    fn duration(months: i32, days: i32, nanoseconds: i64) -> Option<Duration> {
        Some(Duration {
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
        assert_eq!(Duration::parse("5µs"), duration(0, 0, 5_000));
    }

    #[test]
    fn nonsense_is_refused() {
        for text in [
            "",
            "-",
            "P",
            "PT",
            "1",
            "1x",
            "1d1y",
            "1d1d",
            "P1D1Y",
            "99999999999y",
            "P1-2",
        ] {
            assert_eq!(Duration::parse(text), None, "{text}");
        }
    }

    #[test]
    fn printing_and_reading_agree() {
        let text = "-1y2mo3d4h5m6s7ms8us9ns";
        assert_eq!(Duration::parse(text).unwrap().to_string(), text);
    }
}
