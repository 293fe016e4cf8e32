//! Dates and times as text: what Cassandra reads and prints, without a time zone database.
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
    // Years begin in March here, so that the leap day is the last one.
    let shifted = if month <= 2 { year - 1 } else { year };
    let era = shifted.div_euclid(400);
    let year_of_era = shifted.rem_euclid(400);
    let month_from_march = i64::from((month + 9) % 12);
    let day_of_year = (153 * month_from_march + 2) / 5 + i64::from(day) - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    Some(era * 146_097 + day_of_era - 719_468)
}

fn days_in_month(year: i64, month: u32) -> u32 {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
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
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    } as u32;
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    (year, month, day)
}

/// `yyyy-mm-dd`, perhaps with a sign.
fn parse_ymd(text: &str) -> Option<i64> {
    let (negative, digits) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text.strip_prefix('+').unwrap_or(text)),
    };
    let mut parts = digits.split('-');
    let year: i64 = number(parts.next()?, 4..=9)?;
    let month = number(parts.next()?, 1..=2)? as u32;
    let day = number(parts.next()?, 1..=2)? as u32;
    if parts.next().is_some() {
        return None;
    }
    days_of(if negative { -year } else { year }, month, day)
}

fn number(text: &str, digits: std::ops::RangeInclusive<usize>) -> Option<i64> {
    let good = digits.contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit());
    if good { text.parse().ok() } else { None }
}

/// A `date` from `yyyy-mm-dd` or its number.
pub fn parse_date(text: &str) -> Option<u32> {
    if let Ok(number) = text.parse::<i64>() {
        return u32::try_from(number).ok();
    }
    u32::try_from(parse_ymd(text)? + DATE_EPOCH).ok()
}

/// A `time` from `hh:mm:ss[.fffffffff]` or its nanoseconds.
pub fn parse_time(text: &str) -> Option<i64> {
    if let Ok(nanos) = text.parse::<i64>() {
        return (0..DAY_NANOS).contains(&nanos).then_some(nanos);
    }
    clock(text, 9).filter(|_| text.matches(':').count() == 2)
}

/// Nanoseconds of `hh:mm[:ss[.f]]`.
fn clock(text: &str, fraction_digits_max: usize) -> Option<i64> {
    let (whole, fraction) = match text.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (text, None),
    };
    let mut parts = whole.split(':');
    let hour = number(parts.next()?, 1..=2).filter(|hour| *hour < 24)?;
    let minute = number(parts.next()?, 1..=2).filter(|minute| *minute < 60)?;
    let second = match parts.next() {
        Some(second) => number(second, 1..=2).filter(|second| *second < 60)?,
        None if fraction.is_some() => return None,
        None => 0,
    };
    if parts.next().is_some() {
        return None;
    }
    let nanos = match fraction {
        Some(fraction) => {
            let value = number(fraction, 1..=fraction_digits_max)?;
            value * 10i64.pow(9 - fraction.len() as u32)
        }
        None => 0,
    };
    Some(((hour * 60 + minute) * 60 + second) * 1_000_000_000 + nanos)
}

/// Milliseconds since 1970: a number, or a date with an optional time and zone.
pub fn parse_timestamp(text: &str) -> Option<i64> {
    if let Ok(millis) = text.parse::<i64>() {
        return Some(millis);
    }
    let text = text.trim();
    let date_end = text
        .char_indices()
        .skip(1)
        .find(|(_, c)| matches!(c, 'T' | 't' | ' '))
        .map(|(at, _)| at);
    let Some(at) = date_end else {
        // A date alone, or one with a zone right behind it: 2011-02-03+0000.
        let (date, offset) = split_zone(text, true)?;
        return parse_ymd(date)?
            .checked_mul(DAY_MILLIS)?
            .checked_sub(offset);
    };
    let days = parse_ymd(&text[..at])?;
    let (time, offset) = split_zone(text[at + 1..].trim(), false)?;
    let millis = if time.is_empty() {
        0
    } else {
        clock(time, 9)? / 1_000_000
    };
    days.checked_mul(DAY_MILLIS)?
        .checked_add(millis)?
        .checked_sub(offset)
}

/// What stands before the zone, and the zone's offset in milliseconds.
fn split_zone(text: &str, after_date: bool) -> Option<(&str, i64)> {
    let upper = text.to_ascii_uppercase();
    for zone in ["UTC", "GMT", "Z"] {
        if upper.ends_with(zone) {
            return Some((text[..text.len() - zone.len()].trim_end(), 0));
        }
    }
    let sign_at = match text.rfind('+') {
        Some(at) => Some(at),
        None => text
            .rfind('-')
            .filter(|_| !after_date || text.matches('-').count() > 2),
    };
    let Some(at) = sign_at else {
        return Some((text, 0));
    };
    let digits: String = text[at + 1..].chars().filter(|c| *c != ':').collect();
    let (hours, minutes) = match digits.len() {
        2 => (number(&digits, 2..=2)?, 0),
        4 => (number(&digits[..2], 2..=2)?, number(&digits[2..], 2..=2)?),
        _ => return None,
    };
    let offset = (hours * 60 + minutes) * 60_000;
    let offset = if text.as_bytes()[at] == b'-' {
        -offset
    } else {
        offset
    };
    Some((text[..at].trim_end(), offset))
}

/// `yyyy-mm-dd` of a `date`.
pub fn print_date(date: u32) -> String {
    print_days(i64::from(date) - DATE_EPOCH)
}

fn print_days(days: i64) -> String {
    let (year, month, day) = date_of(days);
    let sign = if year < 0 { "-" } else { "" };
    format!("{sign}{:04}-{month:02}-{day:02}", year.abs())
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

/// `yyyy-mm-ddThh:mm:ss.fffZ` of a timestamp; JSON has a space where the T is.
pub fn print_timestamp(millis: i64, between: char) -> String {
    let days = millis.div_euclid(DAY_MILLIS);
    let rest = millis.rem_euclid(DAY_MILLIS);
    let seconds = rest / 1000;
    format!(
        "{}{between}{:02}:{:02}:{:02}.{:03}Z",
        print_days(days),
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60,
        rest % 1000
    )
}

/// The `date` of a timestamp.
pub fn date_of_timestamp(millis: i64) -> Option<u32> {
    u32::try_from(millis.div_euclid(DAY_MILLIS) + DATE_EPOCH).ok()
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
            ("2011-02-03T04:05:06+01:00", 1_296_702_306_000),
            ("-5", -5),
        ] {
            assert_eq!(parse_timestamp(text), Some(millis), "{text}");
        }
        assert_eq!(parse_timestamp("yesterday"), None);
        assert_eq!(
            print_timestamp(1_296_705_906_789, 'T'),
            "2011-02-03T04:05:06.789Z"
        );
        assert_eq!(print_timestamp(-1, ' '), "1969-12-31 23:59:59.999Z");
    }

    #[test]
    fn times_and_dates_there_and_back() {
        assert_eq!(parse_time("01:02:03.5"), Some(3_723_500_000_000));
        assert_eq!(print_time(3_723_500_000_000), "01:02:03.500000000");
        assert_eq!(parse_time("24:00:00"), None);
        assert_eq!(parse_date("1970-01-02"), Some((1 << 31) + 1));
        assert_eq!(print_date(1 << 31), "1970-01-01");
    }
}
