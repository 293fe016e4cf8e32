//! What durations do to dates and times: moving them, and cutting them down to whole steps.
//!
//! Months are months of the calendar: the last day of a shorter month stands for the days it does not have.

use bytes::Bytes;
use palladium_protocol::cql::ast::Arithmetic;
use palladium_protocol::types::{CqlType, CqlValue, Duration, decode};

use super::{calendar, instant, months, text};
use crate::error::{CqlError, CqlResult};

const DAY_MILLIS: i64 = 86_400_000;
const MILLI_NANOS: i64 = 1_000_000;

/// A timestamp or date plus or minus a duration. Of what is empty there is none.
pub(super) fn shift(
    operator: Arithmetic,
    ty: &CqlType,
    value: &Bytes,
    duration: &Bytes,
) -> CqlResult<Option<Bytes>> {
    let Some(millis) = instant(ty.bare(), value)? else {
        return Ok(None);
    };
    let by = read(duration)?;
    let times = match operator {
        Arithmetic::Add => 1,
        Arithmetic::Subtract => -1,
        _ => {
            return Err(CqlError::invalid(
                "A duration can only be added or subtracted",
            ));
        }
    };
    match ty.bare() {
        CqlType::Date => require_days(&by)?,
        _ => require_millis(&by)?,
    }
    let shifted = moved(millis, &by, times).ok_or_else(out_of_range)?;
    Ok(Some(write(ty, shifted)))
}

/// The last whole step from a starting point that is not after the value. Of what is empty there is none.
pub(super) fn floor(
    ty: &CqlType,
    value: &Bytes,
    step: &Bytes,
    start: Option<&Bytes>,
) -> CqlResult<Option<Bytes>> {
    if value.is_empty() || step.is_empty() || start.is_some_and(|start| start.is_empty()) {
        return Ok(None);
    }
    let step = read(step)?;
    if *ty.bare() == CqlType::Time {
        check_positive(&step)?;
        return floor_of_time(value, &step).map(Some);
    }
    let is_date = *ty.bare() == CqlType::Date;
    let least = match is_date {
        true => step.nanoseconds,
        false => step.nanoseconds % MILLI_NANOS,
    };
    if least != 0 {
        let of = if is_date { " on date values" } else { "" };
        let unit = if is_date { "day" } else { "millisecond" };
        return Err(CqlError::invalid(format!(
            "The floor{of} cannot be computed for the {} duration as precision is below 1 {unit}",
            text::duration(&step)
        )));
    }
    let Some(millis) = instant(ty.bare(), value)? else {
        return Ok(None);
    };
    let start_type = match ty.bare() {
        CqlType::Date => CqlType::Date,
        _ => CqlType::Timestamp,
    };
    let start = match start {
        Some(start) => instant(&start_type, start)?.unwrap_or(0),
        None => 0,
    };
    if start > millis {
        return Err(CqlError::invalid(
            "The floor function starting time is greater than the provided time",
        ));
    }
    check_positive(&step)?;
    let beside_months = i64::from(step.days) * DAY_MILLIS + step.nanoseconds / MILLI_NANOS;
    let floor = match (step.months, beside_months) {
        (0, 0) => millis,
        (0, step) => {
            millis - (i128::from(millis) - i128::from(start)).rem_euclid(step.into()) as i64
        }
        (months, rest) => floor_of_months(millis, start, i64::from(months), rest),
    };
    Ok(Some(write(ty, floor)))
}

/// In steps of months and a rest. As in Cassandra months alone may end behind the value: where a month lacks the starting point's day, its last day counts.
///
/// Cassandra goes back from the last step one by one, and with each the day of the month can only get earlier: it is the starting point's, or the last one of
/// the shortest month on the way.
fn floor_of_months(millis: i64, start: i64, step_months: i64, rest: i64) -> i64 {
    let of_day = start.rem_euclid(DAY_MILLIS);
    let (first_month, start_day) = months::of_day(start.div_euclid(DAY_MILLIS));
    let (month, _) = months::of_day(millis.div_euclid(DAY_MILLIS));
    let most = (month - first_month) / step_months;
    // At so many steps, on this day of the month.
    let at = |steps: i64, day: u32| {
        let days = months::day_of(first_month + steps * step_months, day);
        i128::from(days) * i128::from(DAY_MILLIS)
            + i128::from(of_day)
            + i128::from(steps) * i128::from(rest)
    };
    if rest == 0 {
        return at(most, start_day) as i64;
    }
    // The last step that is early enough on the earliest day there can be. A step is longer than those few days: on its own day it is the one, or the one before.
    let (mut low, mut high) = (0, most + 1);
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        match at(middle, start_day.min(months::SHORTEST)) > millis.into() {
            true => high = middle,
            false => low = middle,
        }
    }
    let on_its_day = |steps: i64| match start_day <= months::SHORTEST {
        true => at(steps, start_day),
        false => {
            let shortest = months::shortest(first_month, step_months, steps, most);
            at(steps, start_day.min(shortest))
        }
    };
    let floor = match on_its_day(low) {
        late if late > millis.into() && low > 0 => on_its_day(low - 1),
        floor => floor,
    };
    (floor as i64).max(start)
}

fn check_positive(step: &Duration) -> CqlResult<()> {
    if step.months < 0 || step.days < 0 || step.nanoseconds < 0 {
        return Err(CqlError::invalid(
            "Negative durations are not supported by the floor function",
        ));
    }
    Ok(())
}

fn floor_of_time(value: &Bytes, step: &Duration) -> CqlResult<Bytes> {
    if step.months != 0 || step.days != 0 || step.nanoseconds > calendar::DAY_NANOS {
        return Err(CqlError::invalid(
            "For time values, the floor can only be computed for durations smaller that a day",
        ));
    }
    let nanos = value[..]
        .try_into()
        .map(i64::from_be_bytes)
        .map_err(|_| CqlError::invalid("Invalid time"))?;
    let floor = match step.nanoseconds {
        0 => nanos,
        step => nanos / step * step,
    };
    Ok(Bytes::copy_from_slice(&floor.to_be_bytes()))
}

fn read(duration: &Bytes) -> CqlResult<Duration> {
    match decode(&CqlType::Duration, duration) {
        Ok(CqlValue::Duration(duration)) => Ok(duration),
        Ok(_) => Err(CqlError::invalid("Invalid empty duration")),
        Err(error) => Err(CqlError::invalid(error.to_string())),
    }
}

fn require_days(by: &Duration) -> CqlResult<()> {
    require(by, by.nanoseconds, "day")
}

fn require_millis(by: &Duration) -> CqlResult<()> {
    require(by, by.nanoseconds % MILLI_NANOS, "millisecond")
}

/// There are no nanoseconds beyond what is precise.
fn require(by: &Duration, beyond: i64, precision: &str) -> CqlResult<()> {
    match beyond {
        0 => Ok(()),
        _ => Err(CqlError::invalid(format!(
            "The duration must have a {precision} precision. Was: {}",
            text::duration(by)
        ))),
    }
}

fn out_of_range() -> CqlError {
    CqlError::invalid("The date is out of range")
}

/// Milliseconds so many durations later. Beyond the last there is the first again, as in Java.
fn moved(millis: i64, by: &Duration, times: i64) -> Option<i64> {
    let days = millis.div_euclid(DAY_MILLIS);
    let of_day = millis.rem_euclid(DAY_MILLIS);
    let months = i64::from(by.months).checked_mul(times)?;
    let (month, day) = months::of_day(days);
    if ((month + months) / 12).abs() > YEAR_MAX {
        return None;
    }
    // Beside no months a day is itself, also one that no calendar has.
    let days = match months {
        0 => days,
        _ => months::day_of(month + months, day),
    };
    let days = i128::from(days) + i128::from(by.days) * i128::from(times);
    let nanos = i128::from(by.nanoseconds / MILLI_NANOS) * i128::from(times);
    Some((days * i128::from(DAY_MILLIS) + i128::from(of_day) + nanos) as i64)
}

/// Beyond what 64 bits of milliseconds reach.
const YEAR_MAX: i64 = 300_000_000;

fn write(ty: &CqlType, millis: i64) -> Bytes {
    match ty.bare() {
        CqlType::Date => {
            // Beyond the last date is the first one, as in Cassandra.
            let date = calendar::wrapped_date_of_timestamp(millis);
            Bytes::copy_from_slice(&date.to_be_bytes())
        }
        _ => Bytes::copy_from_slice(&millis.to_be_bytes()),
    }
}
