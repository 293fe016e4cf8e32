//! `CAST(x AS type)`: which casts there are, and what they give.

use bytes::Bytes;
use palladium_protocol::types::CqlType;

use super::{calendar, instant, number, text};
use crate::error::CqlResult;

/// Whether a cast exists.
fn can_cast(from: &CqlType, to: &CqlType) -> bool {
    let (from, to) = (from.bare(), to.bare());
    if from == to {
        return true;
    }
    let textual = matches!(to, CqlType::Text | CqlType::Ascii);
    match from {
        _ if number::result_type(from, from).is_some() => {
            textual || *to != CqlType::Counter && number::result_type(to, to).is_some()
        }
        CqlType::Ascii => *to == CqlType::Text,
        CqlType::Boolean | CqlType::Inet | CqlType::Uuid | CqlType::Time => textual,
        CqlType::Timeuuid => textual || matches!(to, CqlType::Timestamp | CqlType::Date),
        CqlType::Timestamp => textual || *to == CqlType::Date,
        CqlType::Date => textual || *to == CqlType::Timestamp,
        _ => false,
    }
}

/// The types that a value of this one is cast from.
pub fn castable_to(to: &CqlType) -> Vec<CqlType> {
    use CqlType::*;
    let all = [
        Tinyint, Smallint, Int, Bigint, Float, Double, Decimal, Varint, Counter, Ascii, Inet,
        Boolean, Timeuuid, Timestamp, Date, Time, Uuid,
    ];
    all.into_iter()
        .filter(|from| from != to && can_cast(from, to))
        .collect()
}

pub(super) fn cast(from: &CqlType, value: &Bytes, to: &CqlType) -> CqlResult<Option<Bytes>> {
    let to = to.bare();
    if from == to {
        return Ok(Some(value.clone()));
    }
    // An empty ascii is an empty text; of all else that is empty there is no text.
    if value.is_empty() && *from.bare() != CqlType::Ascii {
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
            let date = instant(from, value)?.map(calendar::wrapped_date_of_timestamp);
            Ok(date.map(|date| Bytes::copy_from_slice(&date.to_be_bytes())))
        }
        CqlType::Decimal if *from.bare() == CqlType::Float => {
            // The digits that are printed of the float, not those of the double that it is.
            let (unscaled, scale) = number::decimal_of_digits(&text::plain(from, value)?)?;
            number::write(&number::Number::Decimal { unscaled, scale }, to)
                .map(|bytes| Some(bytes.into()))
        }
        _ => match number::read(from, value)? {
            // On its way to a varint a number is one of 64 bits.
            Some(number) if *to == CqlType::Varint => {
                let narrow = number::Number::Whole(number::wrapped(&number).into());
                number::write(&narrow, to).map(|bytes| Some(bytes.into()))
            }
            Some(number) => number::write(&number, to).map(|bytes| Some(bytes.into())),
            None => Ok(None),
        },
    }
}
