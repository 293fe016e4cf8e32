//! `CAST(x AS type)`, and what durations do to dates.

use bytes::Bytes;
use palladium_protocol::cql::ast::Arithmetic;
use palladium_protocol::types::{CqlType, CqlValue, decode};

use super::{calendar, instant, number, text};
use crate::error::{CqlError, CqlResult};

/// Whether a cast exists.
pub fn can_cast(from: &CqlType, to: &CqlType) -> bool {
    let (from, to) = (from.bare(), to.bare());
    if from == to {
        return true;
    }
    let textual = matches!(to, CqlType::Text | CqlType::Ascii);
    match from {
        _ if number::result_type(from, from).is_some() => {
            textual || number::result_type(to, to).is_some()
        }
        CqlType::Ascii => *to == CqlType::Text,
        CqlType::Boolean | CqlType::Inet | CqlType::Uuid | CqlType::Time => textual,
        CqlType::Timeuuid => textual || matches!(to, CqlType::Timestamp | CqlType::Date),
        CqlType::Timestamp => textual || *to == CqlType::Date,
        CqlType::Date => textual || *to == CqlType::Timestamp,
        _ => false,
    }
}

pub(super) fn cast(from: &CqlType, value: &Bytes, to: &CqlType) -> CqlResult<Option<Bytes>> {
    let to = to.bare();
    if from == to {
        return Ok(Some(value.clone()));
    }
    if value.is_empty() {
        return Ok(None);
    }
    if matches!(to, CqlType::Text | CqlType::Ascii) {
        return text::plain(from, value).map(|text| Some(text.into()));
    }
    match to {
        CqlType::Timestamp => {
            Ok(instant(from, value)?.map(|millis| Bytes::copy_from_slice(&millis.to_be_bytes())))
        }
        CqlType::Date => {
            let date = instant(from, value)?.and_then(calendar::date_of_timestamp);
            Ok(date.map(|date| Bytes::copy_from_slice(&date.to_be_bytes())))
        }
        _ => match number::read(from, value)? {
            Some(number) => number::write(&number, to).map(|bytes| Some(bytes.into())),
            None => Ok(None),
        },
    }
}

/// A timestamp or date plus or minus a duration.
pub(super) fn shift(
    operator: Arithmetic,
    ty: &CqlType,
    value: &Bytes,
    duration: &Bytes,
) -> CqlResult<Bytes> {
    let CqlValue::Duration(by) = decode(&CqlType::Duration, duration)
        .map_err(|error| CqlError::invalid(error.to_string()))?
    else {
        return Err(CqlError::server("a duration is a duration"));
    };
    let sign = match operator {
        Arithmetic::Add => 1,
        Arithmetic::Subtract => -1,
        _ => {
            return Err(CqlError::invalid(
                "A duration can only be added or subtracted",
            ));
        }
    };
    let millis =
        instant(ty.bare(), value)?.ok_or_else(|| CqlError::invalid("Invalid empty date"))?;
    let days = millis.div_euclid(86_400_000);
    let of_day = millis.rem_euclid(86_400_000);
    let (year, month, day) = calendar::date_of(days);
    let months = year * 12 + i64::from(month) - 1 + sign * i64::from(by.months);
    let (year, month) = (months.div_euclid(12), months.rem_euclid(12) as u32 + 1);
    // The last day of a shorter month stands for the days it does not have.
    let days = (1..=day)
        .rev()
        .find_map(|day| calendar::days_of(year, month, day))
        .ok_or_else(|| CqlError::invalid("The date is out of range"))?;
    let days = days + sign * i64::from(by.days);
    let shifted = days
        .checked_mul(86_400_000)
        .and_then(|millis| millis.checked_add(of_day))
        .and_then(|millis| millis.checked_add(sign * (by.nanoseconds / 1_000_000)))
        .ok_or_else(|| CqlError::invalid("The date is out of range"))?;
    match ty.bare() {
        CqlType::Date => {
            if by.nanoseconds != 0 {
                return Err(CqlError::invalid(format!(
                    "The duration must have a day precision. Was: {}",
                    text::duration(&by)
                )));
            }
            let date = calendar::date_of_timestamp(shifted);
            let date = date.ok_or_else(|| CqlError::invalid("The date is out of range"))?;
            Ok(Bytes::copy_from_slice(&date.to_be_bytes()))
        }
        _ => Ok(Bytes::copy_from_slice(&shifted.to_be_bytes())),
    }
}
