//! What durations do to dates and times: moving them, and cutting them down to whole steps.
//!
//! Months are months of the calendar: the last day of a shorter month stands for the days it does not have.

use bytes::Bytes;
use palladium_protocol::cql::ast::Arithmetic;
use palladium_protocol::types::{CqlType, CqlValue, Duration, decode};

use super::{calendar, instant, text};
use crate::error::{CqlError, CqlResult};

const DAY_MILLIS: i64 = 86_400_000;

/// A timestamp or date plus or minus a duration.
pub(super) fn shift(
    operator: Arithmetic,
    ty: &CqlType,
    value: &Bytes,
    duration: &Bytes,
) -> CqlResult<Bytes> {
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
    if *ty.bare() == CqlType::Date {
        require_days(&by)?;
    }
    let millis =
        instant(ty.bare(), value)?.ok_or_else(|| CqlError::invalid("Invalid empty date"))?;
    let shifted = moved(millis, &by, times).ok_or_else(out_of_range)?;
    Ok(write(ty, shifted))
}

/// The last whole step from a starting point that is not after the value.
pub(super) fn floor(
    ty: &CqlType,
    value: &Bytes,
    step: &Bytes,
    start: Option<&Bytes>,
) -> CqlResult<Bytes> {
    let step = read(step)?;
    if step.months < 0 || step.days < 0 || step.nanoseconds < 0 {
        return Err(CqlError::invalid(
            "Negative durations are not supported by the floor function",
        ));
    }
    if *ty.bare() == CqlType::Time {
        return floor_of_time(value, &step);
    }
    if *ty.bare() == CqlType::Date && step.nanoseconds != 0 {
        return Err(CqlError::invalid(format!(
            "The floor on date values cannot be computed for the {} duration as precision is below 1 day",
            text::duration(&step)
        )));
    }
    let millis =
        instant(ty.bare(), value)?.ok_or_else(|| CqlError::invalid("Invalid empty date"))?;
    let start = match start {
        Some(start) => instant(ty.bare(), start)?.unwrap_or(0),
        None => 0,
    };
    if start > millis {
        return Err(CqlError::invalid(
            "The floor function starting time is greater than the provided time",
        ));
    }
    if moved(start, &step, 1).ok_or_else(out_of_range)? <= start {
        return Ok(write(ty, millis));
    }
    // The number of steps is found by halving: steps grow with their number, whatever months do.
    let (mut low, mut high) = (0, 1);
    while moved(start, &step, high).is_some_and(|at| at <= millis) {
        low = high;
        high *= 2;
    }
    while high - low > 1 {
        let middle = low + (high - low) / 2;
        match moved(start, &step, middle) {
            Some(at) if at <= millis => low = middle,
            _ => high = middle,
        }
    }
    let floor = moved(start, &step, low).ok_or_else(out_of_range)?;
    Ok(write(ty, floor))
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
    match by.nanoseconds {
        0 => Ok(()),
        _ => Err(CqlError::invalid(format!(
            "The duration must have a day precision. Was: {}",
            text::duration(by)
        ))),
    }
}

fn out_of_range() -> CqlError {
    CqlError::invalid("The date is out of range")
}

/// Milliseconds so many durations later.
fn moved(millis: i64, by: &Duration, times: i64) -> Option<i64> {
    let days = millis.div_euclid(DAY_MILLIS);
    let of_day = millis.rem_euclid(DAY_MILLIS);
    let (year, month, day) = calendar::date_of(days);
    let months = i64::from(by.months).checked_mul(times)?;
    let months = (year * 12 + i64::from(month) - 1).checked_add(months)?;
    let (year, month) = (months.div_euclid(12), months.rem_euclid(12) as u32 + 1);
    if year.abs() > YEAR_MAX {
        return None;
    }
    let days = (1..=day)
        .rev()
        .find_map(|day| calendar::days_of(year, month, day))?;
    let days = days.checked_add(i64::from(by.days).checked_mul(times)?)?;
    days.checked_mul(DAY_MILLIS)?
        .checked_add(of_day)?
        .checked_add((by.nanoseconds / 1_000_000).checked_mul(times)?)
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
