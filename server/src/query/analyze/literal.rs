//! Literals: text from a statement to the bytes of a value, as the receiving type reads it.
//!
//! The grammar tells seven kinds of constants apart; which types take which kind is Cassandra's table, and so are the words
//! for what does not fit.

use std::net::{IpAddr, Ipv4Addr};
use std::str::FromStr;

use bytes::Bytes;
use num_bigint::BigInt;
use palladium_protocol::cql::ast::{Duration, Literal};
use palladium_protocol::types::{self, CqlType, CqlValue};
use uuid::Uuid;

use crate::error::{CqlError, CqlResult};
use crate::query::functions::number::{DIGITS_MAX, too_many_digits};
use crate::query::functions::{calendar, text};

/// As Cassandra names it in errors.
pub fn kind(literal: &Literal) -> &'static str {
    match literal {
        Literal::Null => "NULL",
        Literal::String(_) => "STRING",
        Literal::Integer(_) => "INTEGER",
        Literal::Float(_) => "FLOAT",
        Literal::Boolean(_) => "BOOLEAN",
        Literal::Uuid(_) => "UUID",
        Literal::Blob(_) => "HEX",
        Literal::Duration(_) => "DURATION",
    }
}

/// Whether a literal of this kind can stand for a value of the type.
pub fn fits(literal: &Literal, ty: &CqlType) -> bool {
    use CqlType::*;
    match literal {
        Literal::Null => true,
        // A class reads whatever is written.
        _ if is_lexical(ty) => true,
        Literal::String(_) => matches!(
            ty,
            Ascii | Text | Inet | Date | Time | Timestamp | Custom(_)
        ),
        Literal::Integer(_) => matches!(
            ty,
            Bigint
                | Counter
                | Date
                | Decimal
                | Double
                | Duration
                | Float
                | Int
                | Smallint
                | Time
                | Timestamp
                | Tinyint
                | Varint
        ),
        Literal::Float(_) => matches!(ty, Decimal | Double | Float),
        Literal::Boolean(_) => matches!(ty, Boolean),
        Literal::Uuid(_) => matches!(ty, Uuid | Timeuuid),
        // A byte may be written as one.
        Literal::Blob(_) => matches!(ty, Blob | Tinyint | Custom(_)),
        Literal::Duration(_) => matches!(ty, Duration),
    }
}

/// Whether these are UUIDs in the order of their bytes, which CQL has no name for.
fn is_lexical(ty: &CqlType) -> bool {
    matches!(ty, CqlType::Custom(class) if class.ends_with(".LexicalUUIDType"))
}

/// The type a literal has by itself.
pub fn natural_type(literal: &Literal) -> Option<CqlType> {
    Some(match literal {
        Literal::Null => return None,
        Literal::String(text) if text.is_ascii() => CqlType::Ascii,
        Literal::String(_) => CqlType::Text,
        Literal::Integer(text) => match text.parse::<i64>() {
            Ok(number) if i32::try_from(number).is_ok() => CqlType::Int,
            Ok(_) => CqlType::Bigint,
            Err(_) => CqlType::Varint,
        },
        Literal::Float(text) => match is_double(text) {
            true => CqlType::Double,
            false => CqlType::Decimal,
        },
        Literal::Boolean(_) => CqlType::Boolean,
        Literal::Uuid(text) => match Uuid::parse_str(text) {
            Ok(uuid) if uuid.get_version_num() == 1 => CqlType::Timeuuid,
            _ => CqlType::Uuid,
        },
        // As Cassandra has it, however many bytes there are.
        Literal::Blob(_) => CqlType::Tinyint,
        Literal::Duration(_) => CqlType::Duration,
    })
}

/// Whether a type is the one a literal has by itself. Which one that is of a number with a point is looked for only where it matters: it takes long.
pub fn is_of_type(literal: &Literal, ty: &CqlType) -> bool {
    match literal {
        Literal::Float(_) if !matches!(ty, CqlType::Double | CqlType::Decimal) => false,
        literal => natural_type(literal).as_ref() == Some(ty),
    }
}

/// Whether a double that is printed is the number that was written.
fn is_double(written: &str) -> bool {
    match written.parse::<f64>() {
        Ok(number) if number.is_finite() => {
            significant(written) == significant(&text::double(number))
        }
        // NaN and infinities are doubles; what is too large for one is none.
        _ => written.ends_with(['N', 'y']),
    }
}

/// The digits of a number without zeros at either end, and the power of ten of the last one.
fn significant(text: &str) -> (String, i64) {
    let (mantissa, exponent) = text.split_once(['e', 'E']).unwrap_or((text, "0"));
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{}{fraction}", whole.trim_start_matches(['-', '+']));
    let digits = digits.trim_start_matches('0');
    let kept = digits.trim_end_matches('0');
    let exponent = i64::from(exponent.parse::<i32>().unwrap_or(i32::MAX));
    match kept.is_empty() {
        true => (String::new(), 0),
        false => (
            kept.to_owned(),
            exponent - fraction.len() as i64 + (digits.len() - kept.len()) as i64,
        ),
    }
}

/// The value of a literal that is not null. `receiver` names what it is for. Bytes that were written as bytes are taken as they are: `refused` tells of those that are no value.
pub fn value(literal: &Literal, ty: &CqlType, receiver: &str) -> CqlResult<Bytes> {
    let whole = ty;
    let ty = ty.bare();
    if !fits(literal, ty) {
        return Err(CqlError::invalid(format!(
            "Invalid {} constant ({}) for \"{receiver}\" of type {whole}",
            kind(literal),
            literal.raw_text(),
        )));
    }
    if let Literal::Blob(text) = literal {
        let bytes = literal.blob_bytes().map(Bytes::from).ok_or_else(|| {
            CqlError::invalid(format!(
                "cannot parse '{}' as hex bytes",
                text.get(2..).unwrap_or_default()
            ))
        })?;
        return Ok(bytes);
    }
    let text = literal.raw_text();
    parse(ty, &text).map(|value| value.to_bytes().into())
}

/// Why the bytes of a literal are no value of the type: a byte may be written as a blob, and a blob has any length.
pub fn refused(ty: &CqlType, value: &[u8]) -> Option<CqlError> {
    (*ty.bare() == CqlType::Tinyint && value.len() > 1)
        .then(|| CqlError::invalid(format!("Expected 1 byte for a tinyint ({})", value.len())))
}

/// Text as a value of a type that has no parameters.
pub fn parse(ty: &CqlType, text: &str) -> CqlResult<CqlValue> {
    let unable = |what: &str| CqlError::invalid(format!("Unable to make {what} from '{text}'"));
    if text.len() > DIGITS_MAX && matches!(ty, CqlType::Varint | CqlType::Decimal) {
        return Err(too_many_digits());
    }
    Ok(match ty {
        CqlType::Ascii if !text.is_ascii() => {
            return Err(CqlError::invalid(format!(
                "Invalid ASCII character in string literal: {text}"
            )));
        }
        CqlType::Ascii => CqlValue::Ascii(text.into()),
        CqlType::Text => CqlValue::Text(text.into()),
        CqlType::Int => CqlValue::Int(text.parse().map_err(|_| unable("int"))?),
        CqlType::Bigint => CqlValue::Bigint(text.parse().map_err(|_| unable("long"))?),
        CqlType::Counter => CqlValue::Counter(text.parse().map_err(|_| unable("long"))?),
        CqlType::Smallint => CqlValue::Smallint(text.parse().map_err(|_| unable("short"))?),
        CqlType::Tinyint => CqlValue::Tinyint(text.parse().map_err(|_| unable("byte"))?),
        CqlType::Varint => CqlValue::Varint(whole(text).ok_or_else(|| unable("BigInteger"))?),
        CqlType::Decimal => decimal(text)
            .ok_or_else(|| CqlError::invalid(format!("unable to make BigDecimal from '{text}'")))?,
        CqlType::Float => CqlValue::Float(float(text).ok_or_else(|| unable("float"))?),
        CqlType::Double => CqlValue::Double(float(text).ok_or_else(|| unable("double"))?),
        CqlType::Boolean => match text {
            _ if text.eq_ignore_ascii_case("true") => CqlValue::Boolean(true),
            _ if text.eq_ignore_ascii_case("false") => CqlValue::Boolean(false),
            _ => return Err(unable("boolean")),
        },
        CqlType::Uuid => CqlValue::Uuid(uuid(text).ok_or_else(|| unable("UUID"))?),
        CqlType::Timeuuid => {
            let uuid = uuid(text).ok_or_else(|| {
                CqlError::invalid(format!("Unknown timeuuid representation: {text}"))
            })?;
            if uuid.get_version_num() != 1 {
                return Err(CqlError::invalid("TimeUUID supports only version 1 UUIDs"));
            }
            CqlValue::Timeuuid(uuid)
        }
        CqlType::Timestamp | CqlType::Inet if text.is_empty() => CqlValue::Empty,
        CqlType::Inet => CqlValue::Inet(address(text).ok_or_else(|| unable("inet address"))?),
        CqlType::Timestamp => {
            CqlValue::Timestamp(calendar::parse_timestamp(text).map_err(CqlError::invalid)?)
        }
        CqlType::Date => CqlValue::Date(calendar::parse_date(text).map_err(CqlError::invalid)?),
        CqlType::Time => CqlValue::Time(calendar::parse_time(text).map_err(CqlError::invalid)?),
        CqlType::Duration => {
            let duration = Duration::parse(text).map_err(CqlError::invalid)?;
            CqlValue::Duration(types::Duration {
                months: duration.months,
                days: duration.days,
                nanoseconds: duration.nanoseconds,
            })
        }
        lexical if is_lexical(lexical) && text.is_empty() => CqlValue::Empty,
        lexical if is_lexical(lexical) => {
            let uuid = uuid(text)
                .ok_or_else(|| CqlError::invalid(format!("unable to make UUID from '{text}'")))?;
            CqlValue::Custom(uuid.into_bytes().to_vec())
        }
        other => {
            return Err(CqlError::invalid(format!(
                "Cannot read a value of type {other} from text"
            )));
        }
    })
}

/// An IPv6 address, or an IPv4 address whose last part may stand for several bytes, as in `10.1`. An IPv4 address in the clothes of IPv6 is one of IPv4, as Java has it.
fn address(text: &str) -> Option<IpAddr> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Some(address.to_canonical());
    }
    let parts: Vec<&str> = text.split('.').collect();
    let (last, bytes) = parts.split_last()?;
    let is_digits = |part: &str| !part.is_empty() && part.bytes().all(|b| b.is_ascii_digit());
    if bytes.len() > 3 || !is_digits(last) {
        return None;
    }
    let mut address = last.parse::<u32>().ok()?;
    if !bytes.is_empty() && address >> (32 - 8 * bytes.len()) != 0 {
        return None;
    }
    for (place, part) in bytes.iter().enumerate() {
        let byte = Some(part).filter(|part| is_digits(part))?;
        address |= u32::from(byte.parse::<u8>().ok()?) << (24 - 8 * place);
    }
    Some(IpAddr::from(Ipv4Addr::from(address)))
}

/// In groups of digits with dashes between them, and in no other clothes.
fn uuid(text: &str) -> Option<Uuid> {
    let parsed = Uuid::parse_str(text).ok();
    parsed.filter(|_| text.len() == uuid::fmt::Hyphenated::LENGTH)
}

/// `Double.parseDouble` and `Float.parseFloat`: rounded once, to the type that is asked for.
fn float<F: FromStr>(text: &str) -> Option<F> {
    let text = text.trim_matches(|c| c <= ' ');
    let (sign, magnitude) = match text.strip_prefix('-') {
        Some(magnitude) => ("-", magnitude),
        None => ("", text.strip_prefix('+').unwrap_or(text)),
    };
    match magnitude {
        // It has no sign.
        "NaN" => return magnitude.parse().ok(),
        "Infinity" => return format!("{sign}{magnitude}").parse().ok(),
        _ => {}
    }
    let number = magnitude.strip_suffix(['f', 'F', 'd', 'D']);
    let number = number.unwrap_or(magnitude);
    let digits = match number.strip_prefix("0x").or(number.strip_prefix("0X")) {
        Some(hexadecimal) => of_sixteens(hexadecimal)?,
        None => number.to_owned(),
    };
    let is_number = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    is_number.then(|| format!("{sign}{digits}").parse().ok())?
}

/// The decimal digits of a number like `1.8p3`: to the base of sixteen, times a power of two.
fn of_sixteens(text: &str) -> Option<String> {
    let (mantissa, exponent) = text.split_once(['p', 'P'])?;
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    let is_exponent = |text: &str| !text.is_empty() && text.bytes().all(|b| b.is_ascii_digit());
    if !is_exponent(exponent.strip_prefix(['-', '+']).unwrap_or(exponent)) {
        return None;
    }
    if digits.is_empty() || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
        return None;
    }
    let digits = digits.trim_start_matches('0');
    // Of the digits that no float has room for it matters only whether they are nothing.
    let (kept, rest) = digits.split_at(digits.len().min(SIXTEENS_KEPT));
    let rest_matters = rest.bytes().any(|digit| digit != b'0');
    let kept = format!("{kept}{}", u8::from(rest_matters));
    let mut number = BigInt::parse_bytes(kept.as_bytes(), 16)?;
    let beyond = match exponent.starts_with('-') {
        true => i64::MIN,
        false => i64::MAX,
    };
    let places = 4 * (rest.len() as i64 - fraction.len() as i64 - 1);
    let exponent = exponent.parse::<i64>().unwrap_or(beyond);
    let exponent = exponent
        .saturating_add(places)
        .clamp(-POWER_OF_TWO_MAX, POWER_OF_TWO_MAX);
    // 2^-n is 5^n / 10^n.
    match u32::try_from(exponent) {
        Ok(up) => {
            number <<= up;
            Some(number.to_string())
        }
        Err(_) => {
            number *= BigInt::from(5).pow(exponent.unsigned_abs() as u32);
            Some(format!("{number}e{exponent}"))
        }
    }
}

/// More digits to the base of sixteen than a double or the half of its last place has.
const SIXTEENS_KEPT: usize = 32;

/// Beyond it so many digits are infinite, or nothing.
const POWER_OF_TWO_MAX: i64 = 1500;

/// `new BigDecimal(text)`: the scale is what was written.
pub fn decimal(text: &str) -> Option<CqlValue> {
    if text.len() > DIGITS_MAX {
        return None;
    }
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, i64::from(exponent.parse::<i32>().ok()?)),
        None => (text, 0),
    };
    let (before, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    if !fraction.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let scale = i32::try_from(fraction.len() as i64 - exponent).ok()?;
    let unscaled = whole(&format!("{before}{fraction}"))?;
    Some(CqlValue::Decimal { unscaled, scale })
}

/// `new BigInteger(text)`: digits, and nothing between them.
fn whole(text: &str) -> Option<BigInt> {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    is_number.then(|| text.parse().ok())?
}

#[cfg(test)]
mod tests {
    use super::*;

    /// To read it takes the square of its length.
    #[test]
    fn a_number_of_too_many_digits_is_refused_without_repeating_it() {
        let most = "7".repeat(DIGITS_MAX);
        for ty in [CqlType::Varint, CqlType::Decimal] {
            assert!(parse(&ty, &most).is_ok(), "{ty}");
            let refused = parse(&ty, &format!("{most}7")).unwrap_err();
            assert_eq!(refused, too_many_digits(), "{ty}");
        }
    }

    #[test]
    fn an_exponent_that_no_number_has_is_no_decimal_and_no_end_of_the_server() {
        for exponent in [i64::MIN, i64::MAX] {
            let text = format!("1.5e{exponent}");
            assert_eq!(decimal(&text), None, "{text}");
            let literal = Literal::Float(text.clone());
            assert_eq!(natural_type(&literal), Some(CqlType::Decimal), "{text}");
        }
    }

    #[test]
    fn a_number_with_a_point_is_of_one_type() {
        let one = Literal::Float("0.1".into());
        let many = Literal::Float("0.10000000000000000000001".into());
        for (literal, own) in [(one, CqlType::Double), (many, CqlType::Decimal)] {
            for ty in [CqlType::Float, CqlType::Double, CqlType::Decimal] {
                assert_eq!(is_of_type(&literal, &ty), ty == own, "{literal:?}: {ty}");
            }
        }
    }
}
