//! Months as Cassandra counts them, which asks Java's calendar: the Gregorian one from 1582-10-15 on, the Julian one before. What is shown and read is Gregorian
//! throughout (`calendar`): 1500-01-31 is the 21st of January in 1500's own calendar, and a month later is the 3rd of March.
//!
//! Months are numbered from the year 0 on. What must hold: every month has its days one after the other, and a later month has later days.

use super::calendar;

/// 1582-10-15, the first day of the Gregorian calendar, in days since 1970-01-01.
const FIRST_GREGORIAN_DAY: i64 = -141_427;
/// The first year with Gregorian leap years only.
const FIRST_GREGORIAN_YEAR: i64 = 1582;
/// Days of four Julian years.
const JULIAN_ERA_DAYS: i64 = 1_461;
/// From the first of March of the Julian year 0 to 1970-01-01.
const JULIAN_EPOCH: i64 = 719_470;

/// The number of a day's month, and its day of the month.
pub fn of_day(days: i64) -> (i64, u32) {
    let (year, month, day) = match days >= FIRST_GREGORIAN_DAY {
        true => calendar::date_of(days),
        false => julian_date_of(days),
    };
    (year * 12 + i64::from(month) - 1, day)
}

/// A day of a month, or its last one.
pub fn day_of(month: i64, day: u32) -> i64 {
    let day = day.min(length(month));
    let (year, month) = (month.div_euclid(12), month.rem_euclid(12) as u32 + 1);
    calendar::days_of(year, month, day)
        .filter(|days| *days >= FIRST_GREGORIAN_DAY)
        .unwrap_or_else(|| julian_days_of(year, month, day))
}

/// How many days a month has.
pub fn length(month: i64) -> u32 {
    let year = month.div_euclid(12);
    let is_leap = match year < FIRST_GREGORIAN_YEAR {
        true => year % 4 == 0,
        false => year % 4 == 0 && (year % 100 != 0 || year % 400 == 0),
    };
    calendar::days_of_month(month.rem_euclid(12) as u32 + 1, is_leap)
}

/// How many days every month has.
pub const SHORTEST: u32 = 28;

/// The days of the shortest month among those that are so many steps of so many months behind the first.
pub fn shortest(first: i64, months: i64, from: i64, to: i64) -> u32 {
    // The same months come again after twelve steps. Only a February is of another length then: among a hundred of them of one calendar all lengths have been.
    const FEBRUARIES: usize = 100;
    let mut shortest = u32::MAX;
    for step in (from..=to).take(12) {
        let month = first + step * months;
        if month.rem_euclid(12) != 1 {
            shortest = shortest.min(length(month));
            continue;
        }
        let count = (to - step) / 12;
        let earliest = (0..=count).take(FEBRUARIES);
        let latest = (0..=count).rev().take(FEBRUARIES);
        for again in earliest.chain(latest) {
            shortest = shortest.min(length(month + again * 12 * months));
            if shortest == SHORTEST {
                return shortest;
            }
        }
    }
    shortest
}

fn julian_days_of(year: i64, month: u32, day: u32) -> i64 {
    let year = calendar::year_from_march(year, month);
    let day_of_era = year.rem_euclid(4) * 365 + calendar::day_of_year(month, day);
    year.div_euclid(4) * JULIAN_ERA_DAYS + day_of_era - JULIAN_EPOCH
}

fn julian_date_of(days: i64) -> (i64, u32, u32) {
    let shifted = days + JULIAN_EPOCH;
    let day_of_era = shifted.rem_euclid(JULIAN_ERA_DAYS);
    let year_of_era = (day_of_era - day_of_era / (JULIAN_ERA_DAYS - 1)) / 365;
    let (month, day) = calendar::month_and_day(day_of_era - 365 * year_of_era);
    let year = shifted.div_euclid(JULIAN_ERA_DAYS) * 4 + year_of_era + i64::from(month <= 2);
    (year, month, day)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_day_is_the_day_of_its_month() {
        // Some thousands of years around both calendars' seam.
        for days in (-800_000..400_000).step_by(17).chain(-141_500..-141_300) {
            let (month, day) = of_day(days);
            assert_eq!(day_of(month, day), days, "{days}");
            assert!(day <= length(month) && day >= 1, "{days}");
        }
        assert_eq!(of_day(FIRST_GREGORIAN_DAY - 1), (1582 * 12 + 9, 4));
        assert_eq!(of_day(FIRST_GREGORIAN_DAY), (1582 * 12 + 9, 15));
    }

    #[test]
    fn the_shortest_month_is_the_one_that_a_walk_over_all_of_them_meets() {
        for first in [
            1400 * 12,
            1499 * 12 + 1,
            1583 * 12 + 1,
            1600 * 12 + 1,
            1970 * 12 + 6,
        ] {
            for months in [1, 2, 3, 5, 11, 12, 13, 24, 48, 96, 1_200, 4_800] {
                for (from, to) in [(0, 0), (0, 1), (3, 20), (1, 130), (40, 2_000)] {
                    let walked = (from..=to).map(|step| length(first + step * months)).min();
                    assert_eq!(
                        Some(shortest(first, months, from, to)),
                        walked,
                        "{first} {months} {from}..={to}"
                    );
                }
            }
        }
    }
}
