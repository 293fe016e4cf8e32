//! Dates and times as text: what Cassandra reads and prints. Zones that are called by a name are next door, in `zones`.
//!
//! Days count from 1970-01-01, in the proleptic Gregorian calendar. A timestamp without a zone is UTC.

/// A `date` holds days with this number at 1970-01-01.
pub const DATE_EPOCH: i64 = 1 << 31;
const DAY_MILLIS: i64 = 86_400_000;
/// Nanoseconds of a day.
pub const DAY_NANOS: i64 = DAY_MILLIS * 1_000_000;

/// Days since 1970-01-01 of a date; None if there is no such day.
pub fn days_of(year: i64, month: u32, day: u32) -> Option<i64> {
    if !(1..=12).contains(&month) || day == 0 || day > days_in_month(year, month) {
        return None;
    }
    let year = year_from_march(year, month);
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_era =
        year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year(month, day);
    Some(era * 146_097 + day_of_era - 719_468)
}

/// Years begin in March here, so that the leap day is the last one.
pub(super) fn year_from_march(year: i64, month: u32) -> i64 {
    year - i64::from(month <= 2)
}

/// Days since the first of March.
pub(super) fn day_of_year(month: u32, day: u32) -> i64 {
    let month_from_march = i64::from((month + 9) % 12);
    (153 * month_from_march + 2) / 5 + i64::from(day) - 1
}

/// Month and day of so many days since the first of March.
pub(super) fn month_and_day(day_of_year: i64) -> (u32, u32) {
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (month as u32, day)
}

fn days_in_month(year: i64, month: u32) -> u32 {
    days_of_month(month, year % 4 == 0 && (year % 100 != 0 || year % 400 == 0))
}

/// How many days a month has, in a leap year or another.
pub(super) fn days_of_month(month: u32, leap: bool) -> u32 {
    match month {
        2 if leap => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Year, month and day of a number of days since 1970-01-01.
pub fn date_of(days: i64) -> (i64, u32, u32) {
    let shifted = days + 719_468;
    let era = shifted.div_euclid(146_097);
    let day_of_era = shifted.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let (month, day) = month_and_day(day_of_year);
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// The year of a date that stands alone: four digits, or more behind a sign; only a minus may stand before four.
fn year(text: &str) -> Option<i64> {
    let (sign, digits) = match text.as_bytes().first()? {
        b'-' => (-1, &text[1..]),
        b'+' if text.len() > 5 => (1, &text[1..]),
        _ if text.len() == 4 => (1, text),
        _ => return None,
    };
    Some(sign * number(digits, 4..=10)?).filter(|year| year.abs() <= YEAR_MAX)
}

/// As far as Java's years go.
const YEAR_MAX: i64 = 999_999_999;

/// Year, month and day of `yyyy-mm-dd`.
fn parse_ymd(text: &str) -> Option<(i64, u32, u32)> {
    let (rest, day) = text.rsplit_once('-')?;
    let (first, month) = rest.rsplit_once('-')?;
    Some((
        year(first)?,
        number(month, 2..=2)? as u32,
        number(day, 2..=2)? as u32,
    ))
}

fn number(text: &str, digits: std::ops::RangeInclusive<usize>) -> Option<i64> {
    let good = digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if good { text.parse().ok() } else { None }
}

/// Whether it is a number and no date: `-?[0-9]+`.
fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix('-').unwrap_or(text);
    !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit())
}

/// A `date` from `yyyy-mm-dd` or its number, or why it is none.
pub fn parse_date(text: &str) -> Result<u32, String> {
    if is_number(text) {
        let number = text.parse::<i64>().ok();
        let number = number.and_then(|number| u32::try_from(number).ok());
        return number
            .ok_or_else(|| format!("Unable to make unsigned int (for date) from: '{text}'"));
    }
    let days = parse_ymd(text).and_then(|(year, month, day)| days_of(year, month, day));
    let days =
        days.ok_or_else(|| format!("Unable to coerce '{text}' to a formatted date (long)"))?;
    u32::try_from(days + DATE_EPOCH).map_err(|_| match days < 0 {
        true => format!("Input date {text} is less than min supported date -5877641-06-23T00:00Z"),
        false => {
            format!("Input date {text} is greater than max supported date +5881580-07-11T00:00Z")
        }
    })
}

/// A `time` from `hh:mm:ss[.fffffffff]` or its nanoseconds, or why it is none.
pub fn parse_time(text: &str) -> Result<i64, String> {
    if is_number(text) {
        let nanos = text.parse().ok();
        let nanos = nanos.filter(|nanos| (0..DAY_NANOS).contains(nanos));
        return nanos.ok_or_else(|| format!("Unable to make long (for time) from: '{text}'"));
    }
    let nanos = time_of_day(text.trim());
    nanos.ok_or_else(|| format!("(TimeType) Unable to coerce '{text}' to a formatted time (long)"))
}

/// Nanoseconds of `hh:mm:ss[.f]`.
fn time_of_day(text: &str) -> Option<i64> {
    let (hour, rest) = text.split_once(':')?;
    let (minute, rest) = rest.split_once(':')?;
    let (second, fraction) = match rest.split_once('.') {
        Some((second, fraction)) => (second, Some(fraction)),
        None => (rest, None),
    };
    // As Java's `Long.parseLong`, which takes a sign.
    let field = |text: &str, most: i64| {
        let number = text.parse().ok();
        number.filter(|number| (0..most).contains(number))
    };
    let nanos = match fraction {
        Some(fraction) => number(fraction, 1..=9)? * 10i64.pow(9 - fraction.len() as u32),
        None => 0,
    };
    let minutes = field(hour, 24)? * 60 + field(minute, 60)?;
    Some((minutes * 60 + field(second, 60)?) * 1_000_000_000 + nanos)
}

/// Milliseconds since 1970: a number, or a date with an optional time and zone; or why it is neither.
pub fn parse_timestamp(text: &str) -> Result<i64, String> {
    if is_number(text) {
        return text
            .parse()
            .map_err(|_| format!("Unable to make long (for date) from: '{text}'"));
    }
    let found = with_time(text).or_else(|| midnight(text));
    found.ok_or_else(|| format!("Unable to parse a date/time from '{text}'"))
}

/// Digits off the front.
fn take_number(text: &mut &str) -> Option<i64> {
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, rest) = text.split_at(digits);
    *text = rest;
    number.parse().ok()
}

fn take(text: &mut &str, what: char) -> Option<()> {
    *text = text.strip_prefix(what)?;
    Some(())
}

/// `y-m-d h:m[:s[.f]][zone]`, with a T or one space between; none of the numbers has to be padded.
fn with_time(text: &str) -> Option<i64> {
    let mut rest = text;
    let year = take_number(&mut rest).filter(|year| (1..=YEAR_MAX).contains(year))?;
    take(&mut rest, '-')?;
    let month = take_number(&mut rest)?;
    take(&mut rest, '-')?;
    let day = take_number(&mut rest)?;
    take(&mut rest, 'T').or_else(|| take(&mut rest, ' '))?;
    let hour = take_number(&mut rest).filter(|hour| *hour <= 24)?;
    take(&mut rest, ':')?;
    let minute = take_number(&mut rest).filter(|minute| *minute < 60)?;
    let (mut second, mut millis) = (0, 0);
    if take(&mut rest, ':').is_some() {
        second = take_number(&mut rest).filter(|second| *second < 60)?;
        if take(&mut rest, '.').is_some() {
            let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
            if digits > 9 {
                return None;
            }
            let (fraction, behind) = rest.split_at(digits);
            rest = behind;
            millis = format!("{fraction:0<3.3}").parse().ok()?;
        }
    }
    // The end of a day is the beginning of the next.
    if hour == 24 && (minute, second, millis) != (0, 0, 0) {
        return None;
    }
    let days = lenient_days(year, u32::try_from(month).ok()?, u32::try_from(day).ok()?)?;
    let millis = ((hour * 60 + minute) * 60 + second) * 1000 + millis;
    let local = days.checked_mul(DAY_MILLIS)?.checked_add(millis)?;
    in_zone(local, rest)
}

/// `yyyy-mm-dd[zone]`
fn midnight(text: &str) -> Option<i64> {
    // The third hyphen, not counting a sign, may be a zone's.
    let end = text
        .char_indices()
        .skip(1)
        .filter(|(_, c)| *c == '-')
        .nth(1)
        .map(|(at, _)| at + 3)?;
    let (date, rest) = text.split_at_checked(end)?;
    let (year, month, day) = parse_ymd(date)?;
    in_zone(
        lenient_days(year, month, day)?.checked_mul(DAY_MILLIS)?,
        rest,
    )
}

/// Days since 1970-01-01, where the 31st of a shorter month is its last day.
fn lenient_days(year: i64, month: u32, day: u32) -> Option<i64> {
    if day > 31 {
        return None;
    }
    days_of(year, month, day.min(days_in_month(year, month)))
}

/// Milliseconds since 1970 of a time in the zone that is written behind it.
fn in_zone(local_millis: i64, zone: &str) -> Option<i64> {
    match fixed_offset(zone) {
        Some(offset) => local_millis.checked_sub(offset),
        None => super::zones::millis_of(local_millis, zone.strip_prefix(' ')?),
    }
}

/// A zone's offset in milliseconds: nothing is UTC, `Z`, `+hh`, `+hhmm`, `+hh:mm`; behind a space also `UTC`, `GMT` and `UT`, alone or before `+hh:mm`.
fn fixed_offset(text: &str) -> Option<i64> {
    let Some(named) = text.strip_prefix(' ') else {
        return if text.is_empty() {
            Some(0)
        } else {
            offset(text)
        };
    };
    for name in ["UTC", "GMT", "UT"] {
        if let Some(rest) = named.strip_prefix(name) {
            return match rest.is_empty() {
                true => Some(0),
                false => offset(rest).filter(|_| rest.contains(':')),
            };
        }
    }
    offset(named)
}

fn offset(text: &str) -> Option<i64> {
    if text == "Z" {
        return Some(0);
    }
    let sign = match text.as_bytes().first()? {
        b'+' => 1,
        b'-' => -1,
        _ => return None,
    };
    let digits = &text[1..];
    let (hours, minutes) = match digits.len() {
        2 => (digits, "00"),
        4 => digits.split_at_checked(2)?,
        5 => digits.split_once(':')?,
        _ => return None,
    };
    let hours = number(hours, 2..=2).filter(|hours| *hours <= 18)?;
    let minutes = number(minutes, 2..=2).filter(|minutes| *minutes < 60)?;
    (hours < 18 || minutes == 0).then_some(sign * (hours * 60 + minutes) * 60_000)
}

/// `yyyy-mm-dd` of a `date`.
pub fn print_date(date: u32) -> String {
    let (year, month, day) = date_of(i64::from(date) - DATE_EPOCH);
    let sign = if year < 0 {
        "-"
    } else {
        beyond_four_digits(year)
    };
    format!("{sign}{:04}-{month:02}-{day:02}", year.abs())
}

/// What stands before a year that is longer than others.
fn beyond_four_digits(year: i64) -> &'static str {
    if year > 9_999 { "+" } else { "" }
}

/// `hh:mm:ss.fffffffff` of a `time`.
pub fn print_time(nanos: i64) -> String {
    let seconds = nanos / 1_000_000_000;
    format!(
        "{:02}:{:02}:{:02}.{:09}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        nanos % 1_000_000_000
    )
}

/// `yyyy-mm-ddThh:mm:ss.fffZ` of a timestamp; JSON has a space where the T is. Years before the first are counted back from it, without a sign: those
/// of Cassandra are years of an era.
pub fn print_timestamp(millis: i64, between: char) -> String {
    let (year, month, day) = date_of(millis.div_euclid(DAY_MILLIS));
    let year = if year < 1 { 1 - year } else { year };
    let rest = millis.rem_euclid(DAY_MILLIS);
    let seconds = rest / 1000;
    format!(
        "{}{year:04}-{month:02}-{day:02}{between}{:02}:{:02}:{:02}.{:03}Z",
        beyond_four_digits(year),
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        rest % 1000
    )
}

/// The `date` of a timestamp. Before 1970 a day that has begun counts as the next one, as in Cassandra.
pub fn date_of_timestamp(millis: i64) -> Option<u32> {
    u32::try_from(millis / DAY_MILLIS + DATE_EPOCH).ok()
}

/// The same where a date has no end: what is beyond it begins anew on the other side, as in Cassandra.
pub fn wrapped_date_of_timestamp(millis: i64) -> u32 {
    (millis / DAY_MILLIS + DATE_EPOCH) as u32
}

/// The timestamp of a `date`'s midnight.
pub fn timestamp_of_date(date: u32) -> i64 {
    (i64::from(date) - DATE_EPOCH) * DAY_MILLIS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_dates_agree_for_twenty_centuries() {
        for days in (-400_000..400_000).step_by(17) {
            let (year, month, day) = date_of(days);
            assert_eq!(days_of(year, month, day), Some(days));
        }
        assert_eq!(days_of(1970, 1, 1), Some(0));
        assert_eq!(days_of(2023, 2, 29), None);
    }

    #[test]
    fn timestamps_are_read_as_cassandra_reads_them() {
        for (text, millis) in [
            ("2011-02-03 04:05+0000", 1_296_705_900_000),
            ("2011-02-03T04:05:06.789Z", 1_296_705_906_789),
            ("2011-02-03 04:05:06", 1_296_705_906_000),
            ("2011-02-03+0000", 1_296_691_200_000),
            ("2011-02-03", 1_296_691_200_000),
            ("2011-2-3 4:5 UTC", 1_296_705_900_000),
            ("2011-02-03 04:05 GMT+00:00", 1_296_705_900_000),
            ("2011-02-31", 1_298_851_200_000),
            ("2011-02-02 24:00", 1_296_691_200_000),
            ("2011-02-03T04:05:06+01:00", 1_296_702_306_000),
            ("-5", -5),
        ] {
            assert_eq!(parse_timestamp(text), Ok(millis), "{text}");
        }
        for text in [
            "yesterday",
            "24-02-29",
            "2011-2-3",
            "2011-02-03t04:05Z",
            "2011-02-03 04:05UTC",
            " 2011-02-03",
            "2011-02-32 04:05",
            "2011-02-03 24:01",
            "0000-01-01 00:00",
        ] {
            assert!(parse_timestamp(text).is_err(), "{text}");
        }
        assert_eq!(
            print_timestamp(1_296_705_906_789, 'T'),
            "2011-02-03T04:05:06.789Z"
        );
        assert_eq!(print_timestamp(-1, ' '), "1969-12-31 23:59:59.999Z");
        assert_eq!(
            print_timestamp(253_402_300_800_000, ' '),
            "+10000-01-01 00:00:00.000Z"
        );
        assert_eq!(
            print_timestamp(-62_167_219_200_001, ' '),
            "0002-12-31 23:59:59.999Z"
        );
    }

    #[test]
    fn times_and_dates_there_and_back() {
        assert_eq!(parse_time("01:02:03.5"), Ok(3_723_500_000_000));
        assert_eq!(print_time(3_723_500_000_000), "01:02:03.500000000");
        assert!(parse_time("24:00:00").is_err());
        assert_eq!(parse_date("1970-01-02"), Ok((1 << 31) + 1));
        assert_eq!(parse_date("-5877641-06-23"), Ok(0));
        for text in ["2024-02-30", "12024-01-01", "+2024-01-01", "-5877641-06-22"] {
            assert!(parse_date(text).is_err(), "{text}");
        }
        assert_eq!(print_date(1 << 31), "1970-01-01");
        assert_eq!(print_date(u32::MAX), "+5881580-07-11");
        assert_eq!(print_date(0), "-5877641-06-23");
    }
}
