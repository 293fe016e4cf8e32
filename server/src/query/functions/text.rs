//! Values as text: what `CAST(x AS text)` gives and JSON holds.

use std::fmt::Write;

use num_bigint::BigInt;
use palladium_protocol::types::{CqlType, CqlValue, Duration, decode};

use super::calendar;
use super::java_digits::Binary;
use super::number::check_digits;
use crate::error::{CqlError, CqlResult};

/// A value of a type without parameters as plain text.
pub fn plain(ty: &CqlType, value: &[u8]) -> CqlResult<String> {
    let decoded = decode(ty.bare(), value).map_err(|error| CqlError::invalid(error.to_string()))?;
    Ok(match decoded {
        CqlValue::Ascii(text) | CqlValue::Text(text) => text,
        CqlValue::Bigint(number) | CqlValue::Counter(number) => number.to_string(),
        CqlValue::Int(number) => number.to_string(),
        CqlValue::Smallint(number) => number.to_string(),
        CqlValue::Tinyint(number) => number.to_string(),
        CqlValue::Varint(number) => {
            check_digits(&number)?;
            number.to_string()
        }
        CqlValue::Decimal { unscaled, scale } => {
            check_digits(&unscaled)?;
            decimal(&unscaled, scale)
        }
        CqlValue::Boolean(value) => value.to_string(),
        CqlValue::Float(number) => float(number),
        CqlValue::Double(number) => double(number),
        CqlValue::Blob(bytes) | CqlValue::Custom(bytes) => blob(&bytes),
        CqlValue::Date(date) => calendar::print_date(date),
        CqlValue::Time(nanos) => calendar::print_time(nanos),
        CqlValue::Timestamp(millis) => calendar::print_timestamp(millis, 'T'),
        CqlValue::Uuid(uuid) | CqlValue::Timeuuid(uuid) => uuid.to_string(),
        CqlValue::Inet(address) => inet(address),
        CqlValue::Duration(parts) => duration(&parts),
        CqlValue::Empty => String::new(),
        _ => return Err(CqlError::server("only values without parts are plain text")),
    })
}

/// A value without parts as a constant of CQL; one with parts as its bytes.
pub fn constant(ty: &CqlType, value: &[u8]) -> String {
    let text = plain(ty, value).unwrap_or_else(|_| blob(value));
    match ty.bare() {
        CqlType::Text
        | CqlType::Ascii
        | CqlType::Date
        | CqlType::Time
        | CqlType::Timestamp
        | CqlType::Inet => format!("'{}'", text.replace('\'', "''")),
        _ => text,
    }
}

/// As Java's `getHostAddress`: no part of a long address is left out, and one of IPv4 is one, in whichever bytes.
fn inet(address: std::net::IpAddr) -> String {
    match address.to_canonical() {
        std::net::IpAddr::V4(short) => short.to_string(),
        std::net::IpAddr::V6(long) => {
            let parts = long.segments().map(|part| format!("{part:x}"));
            parts.join(":")
        }
    }
}

/// `0x` and two digits a byte.
pub fn blob(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(2 + bytes.len() * 2);
    text.push_str("0x");
    for byte in bytes {
        write!(text, "{byte:02x}").expect("writing to a string never fails");
    }
    text
}

/// As Java's `Double.toString`: scientific outside 10^-3 to 10^7, always with a point.
pub fn double(number: f64) -> String {
    java_float(number, || Binary::of_double(number).digits())
}

/// As Java's `Float.toString`.
pub fn float(number: f32) -> String {
    java_float(f64::from(number), || Binary::of_float(number).digits())
}

fn java_float(number: f64, digits: impl FnOnce() -> (String, i32)) -> String {
    if number.is_nan() {
        return "NaN".into();
    }
    if number.is_infinite() {
        return if number > 0.0 {
            "Infinity".into()
        } else {
            "-Infinity".into()
        };
    }
    if number == 0.0 {
        return if number.is_sign_negative() {
            "-0.0".into()
        } else {
            "0.0".into()
        };
    }
    let sign = if number < 0.0 { "-" } else { "" };
    let (digits, exponent) = digits();
    if (-3..7).contains(&exponent) {
        let (whole, fraction) = if exponent >= 0 {
            let point = exponent as usize + 1;
            let padded = format!("{digits:0<point$}");
            (padded[..point].to_string(), padded[point..].to_string())
        } else {
            (
                "0".into(),
                format!("{}{digits}", "0".repeat((-exponent - 1) as usize)),
            )
        };
        let fraction = if fraction.is_empty() {
            "0".into()
        } else {
            fraction
        };
        format!("{sign}{whole}.{fraction}")
    } else {
        let fraction = if digits.len() > 1 { &digits[1..] } else { "0" };
        format!("{sign}{}.{fraction}E{exponent}", &digits[..1])
    }
}

/// As Java's `BigDecimal.toString`.
pub fn decimal(unscaled: &BigInt, scale: i32) -> String {
    let text = unscaled.magnitude().to_string();
    let sign = if unscaled.sign() == num_bigint::Sign::Minus {
        "-"
    } else {
        ""
    };
    let adjusted = text.len() as i64 - 1 - i64::from(scale);
    if scale == 0 {
        return format!("{sign}{text}");
    }
    if scale > 0 && adjusted >= -6 {
        let scale = scale as usize;
        return if text.len() > scale {
            let (whole, fraction) = text.split_at(text.len() - scale);
            format!("{sign}{whole}.{fraction}")
        } else {
            format!("{sign}0.{text:0>scale$}")
        };
    }
    let mantissa = if text.len() > 1 {
        format!("{}.{}", &text[..1], &text[1..])
    } else {
        text
    };
    format!("{sign}{mantissa}E{adjusted:+}")
}

/// `1y2mo3d4h5m6s7ms8us9ns`
pub fn duration(parts: &Duration) -> String {
    let mut text = String::new();
    if parts.months < 0 || parts.days < 0 || parts.nanoseconds < 0 {
        text.push('-');
    }
    let mut put = |count: u64, unit: &str| {
        if count > 0 {
            write!(text, "{count}{unit}").expect("writing to a string never fails");
        }
    };
    let months = u64::from(parts.months.unsigned_abs());
    put(months / 12, "y");
    put(months % 12, "mo");
    put(u64::from(parts.days.unsigned_abs()), "d");
    let mut rest = parts.nanoseconds.unsigned_abs();
    for (unit, nanos) in [
        ("h", 3_600_000_000_000),
        ("m", 60_000_000_000),
        ("s", 1_000_000_000),
        ("ms", 1_000_000),
        ("us", 1_000),
        ("ns", 1),
    ] {
        put(rest / nanos, unit);
        rest %= nanos;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_printed_as_java_prints_them() {
        for (number, text) in [
            (1.0, "1.0"),
            (0.001, "0.001"),
            (0.0001, "1.0E-4"),
            (1_234_567.0, "1234567.0"),
            (12_345_678.0, "1.2345678E7"),
            (-2.5, "-2.5"),
            (100.0, "100.0"),
            (5e-324, "4.9E-324"),
            (2e-323, "2.0E-323"),
            (1e23, "9.999999999999999E22"),
        ] {
            assert_eq!(double(number), text);
        }
        assert_eq!(float(0.1), "0.1");
        assert_eq!(float(f32::from_bits(1)), "1.4E-45");
        assert_eq!(decimal(&BigInt::from(100), 2), "1.00");
        assert_eq!(decimal(&BigInt::from(-5), 3), "-0.005");
        assert_eq!(decimal(&BigInt::from(12), -3), "1.2E+4");
        assert_eq!(decimal(&BigInt::from(1), 10), "1E-10");
    }

    #[test]
    fn durations_name_their_units() {
        let parts = Duration {
            months: 14,
            days: 3,
            nanoseconds: 3_600_000_000_000 + 5,
        };
        assert_eq!(duration(&parts), "1y2mo3d1h5ns");
    }
}
