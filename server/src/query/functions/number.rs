//! Numbers of CQL: one enum that any of them fits, arithmetic as Cassandra does it, and conversions between them.
//!
//! Whole numbers of fixed width wrap around as Java's do when they are summed; operators check. Decimals are exact; division
//! rounds half up at a scale that grows with the operands.

use num_bigint::{BigInt, Sign};
use palladium_protocol::cql::ast::Arithmetic;
use palladium_protocol::types::{CqlType, CqlValue, decode};

use crate::error::{CqlError, CqlResult};

/// A number.
#[derive(Debug, Clone, PartialEq)]
pub enum Number {
    Whole(BigInt),
    Real(f64),
    Decimal { unscaled: BigInt, scale: i32 },
}

/// Digits after the point that a quotient gets at least and at most.
const QUOTIENT_SCALE_MIN: i64 = 32;
const QUOTIENT_SCALE_MAX: i64 = 1000;
/// Digits of a number that is read from a text, printed or calculated with: the work grows with their square, and others wait for the processor meanwhile.
/// What is only stored and read again may be longer.
pub const DIGITS_MAX: usize = 10_000;
/// The same in bits.
const BITS_MAX: u64 = 33_220;

/// Powers of ten beyond this are not worked out: their digits would not fit a value.
const EXPONENT_MAX: i64 = 100_000;

/// Refuses what has too many digits to be printed or calculated with.
pub fn check_digits(number: &BigInt) -> CqlResult<()> {
    match number.bits() > BITS_MAX {
        true => Err(too_many_digits()),
        false => Ok(()),
    }
}

pub fn too_many_digits() -> CqlError {
    CqlError::invalid(format!(
        "A number of more than {DIGITS_MAX} digits can be bound and read, but not written out, printed or calculated with"
    ))
}

/// The number in a value; None if it is empty.
pub fn read(ty: &CqlType, value: &[u8]) -> CqlResult<Option<Number>> {
    // A tinyint of a key may be empty, which its type says it may not.
    if value.is_empty() {
        return Ok(None);
    }
    let decoded = decode(ty.bare(), value).map_err(|error| CqlError::invalid(error.to_string()))?;
    Ok(Some(match decoded {
        CqlValue::Tinyint(number) => Number::Whole(number.into()),
        CqlValue::Smallint(number) => Number::Whole(number.into()),
        CqlValue::Int(number) => Number::Whole(number.into()),
        CqlValue::Bigint(number) | CqlValue::Counter(number) => Number::Whole(number.into()),
        CqlValue::Varint(number) => {
            check_digits(&number)?;
            Number::Whole(number)
        }
        CqlValue::Float(number) => Number::Real(number.into()),
        CqlValue::Double(number) => Number::Real(number),
        CqlValue::Decimal { unscaled, scale } => {
            check_digits(&unscaled)?;
            Number::Decimal { unscaled, scale }
        }
        _ => return Ok(None),
    }))
}

/// The number as a value of a numeric type; whole types drop what is behind the point and wrap around.
pub fn write(number: &Number, ty: &CqlType) -> CqlResult<Vec<u8>> {
    let value = match ty.bare() {
        // Java comes to a short or a byte by an int.
        CqlType::Tinyint => CqlValue::Tinyint(int(number) as i8),
        CqlType::Smallint => CqlValue::Smallint(int(number) as i16),
        CqlType::Int => CqlValue::Int(int(number)),
        CqlType::Bigint | CqlType::Counter => CqlValue::Bigint(wrapped(number)),
        CqlType::Varint => CqlValue::Varint(whole(number)?),
        // Java knows one NaN; the processor has one with a sign.
        CqlType::Float => match real(number) as f32 {
            real if real.is_nan() => CqlValue::Float(f32::NAN),
            real => CqlValue::Float(real),
        },
        CqlType::Double => match real(number) {
            real if real.is_nan() => CqlValue::Double(f64::NAN),
            real => CqlValue::Double(real),
        },
        CqlType::Decimal => {
            let (unscaled, scale) = decimal(number)?;
            CqlValue::Decimal { unscaled, scale }
        }
        other => return Err(CqlError::server(format!("{other} is no numeric type"))),
    };
    Ok(value.to_bytes())
}

/// The low 32 bits, as Java's `intValue`; of what has a point, the nearest int.
fn int(number: &Number) -> i32 {
    match number {
        Number::Real(real) => *real as i32,
        _ => wrapped(number) as i32,
    }
}

/// The low 64 bits, as Java's `longValue`.
pub fn wrapped(number: &Number) -> i64 {
    match number {
        Number::Real(real) => *real as i64,
        _ => {
            let whole = whole(number).unwrap_or_default();
            let mask = BigInt::from(u64::MAX);
            let low: BigInt = whole & mask;
            u64::try_from(low).unwrap_or_default() as i64
        }
    }
}

/// What is before the point.
pub fn whole(number: &Number) -> CqlResult<BigInt> {
    Ok(match number {
        Number::Whole(whole) => whole.clone(),
        Number::Real(real) => {
            let (unscaled, scale) = decimal(&Number::Real(*real))?;
            whole(&Number::Decimal { unscaled, scale })?
        }
        Number::Decimal { unscaled, scale } if *scale <= 0 => {
            unscaled * ten_to(-i64::from(*scale))?
        }
        Number::Decimal { unscaled, scale } => match ten_to(i64::from(*scale)) {
            Ok(divisor) => unscaled / divisor,
            Err(_) => BigInt::default(),
        },
    })
}

pub fn real(number: &Number) -> f64 {
    match number {
        Number::Real(real) => *real,
        Number::Whole(whole) => whole.to_string().parse().unwrap_or(f64::NAN),
        Number::Decimal { unscaled, scale } => format!("{unscaled}e{}", -i64::from(*scale))
            .parse()
            .unwrap_or(f64::NAN),
    }
}

/// Unscaled number and scale.
pub fn decimal(number: &Number) -> CqlResult<(BigInt, i32)> {
    match number {
        Number::Whole(whole) => Ok((whole.clone(), 0)),
        Number::Decimal { unscaled, scale } => Ok((unscaled.clone(), *scale)),
        Number::Real(real) if real.is_finite() => {
            // As `BigDecimal.valueOf`.
            decimal_of_digits(&super::text::double(*real))
        }
        Number::Real(real) => Err(no_decimal(real.is_nan())),
    }
}

/// The decimal that a printed number is.
pub fn decimal_of_digits(printed: &str) -> CqlResult<(BigInt, i32)> {
    match crate::query::analyze::literal::decimal(printed) {
        Some(CqlValue::Decimal { unscaled, scale }) => Ok((unscaled, scale)),
        _ => Err(no_decimal(printed == "NaN")),
    }
}

fn no_decimal(is_nan: bool) -> CqlError {
    let what = if is_nan {
        "A NaN"
    } else {
        "An infinite number"
    };
    CqlError::invalid(format!("{what} cannot be converted into a decimal"))
}

/// A number that meets a decimal. As in Cassandra, one of fixed width becomes a double on its way: 1 comes as 1.0, and the sum has that digit, too.
pub fn met_by_decimal(ty: &CqlType, number: Number) -> Number {
    match ty.bare() {
        CqlType::Varint | CqlType::Decimal => number,
        _ => Number::Real(real(&number)),
    }
}

fn ten_to(exponent: i64) -> CqlResult<BigInt> {
    if !(0..=EXPONENT_MAX).contains(&exponent) {
        return Err(CqlError::invalid(
            "A decimal's exponent is out of range for this operation",
        ));
    }
    Ok(BigInt::from(10).pow(exponent as u32))
}

/// Two decimals at one scale.
fn aligned(a: &(BigInt, i32), b: &(BigInt, i32)) -> CqlResult<(BigInt, BigInt, i32)> {
    let scale = a.1.max(b.1);
    let raise =
        |of: &(BigInt, i32)| Ok::<_, CqlError>(&of.0 * ten_to(i64::from(scale) - i64::from(of.1))?);
    Ok((raise(a)?, raise(b)?, scale))
}

/// The type of `a operator b`: the wider of the two, as Cassandra's number types meet.
pub fn result_type(left: &CqlType, right: &CqlType) -> Option<CqlType> {
    let rank = |ty: &CqlType| {
        Some(match ty.bare() {
            CqlType::Tinyint => 1,
            CqlType::Smallint => 2,
            CqlType::Int => 4,
            CqlType::Bigint | CqlType::Counter => 8,
            CqlType::Float => 4,
            CqlType::Double => 8,
            CqlType::Varint | CqlType::Decimal => i32::MAX,
            _ => return None,
        })
    };
    let floating = |ty: &CqlType| {
        matches!(
            ty.bare(),
            CqlType::Float | CqlType::Double | CqlType::Decimal
        )
    };
    let widest = rank(left)?.max(rank(right)?);
    Some(match (floating(left) || floating(right), widest) {
        (true, 0..=4) => CqlType::Float,
        (true, 8) => CqlType::Double,
        (true, _) => CqlType::Decimal,
        (false, 1) => CqlType::Tinyint,
        (false, 2) => CqlType::Smallint,
        (false, 4) => CqlType::Int,
        (false, 8) => CqlType::Bigint,
        (false, _) => CqlType::Varint,
    })
}

/// `left operator right`, as a number of the result's type.
pub fn arithmetic(
    operator: Arithmetic,
    left: &Number,
    right: &Number,
    ty: &CqlType,
) -> CqlResult<Number> {
    for operand in [left, right] {
        match operand {
            Number::Whole(number) => check_digits(number)?,
            Number::Decimal { unscaled, .. } => check_digits(unscaled)?,
            Number::Real(_) => {}
        }
    }
    match ty.bare() {
        CqlType::Float | CqlType::Double => {
            let (a, b) = (real(left), real(right));
            Ok(Number::Real(match operator {
                Arithmetic::Add => a + b,
                Arithmetic::Subtract => a - b,
                Arithmetic::Multiply => a * b,
                Arithmetic::Divide => a / b,
                Arithmetic::Modulo => a % b,
            }))
        }
        CqlType::Decimal => decimal_arithmetic(operator, &decimal(left)?, &decimal(right)?),
        _ => {
            let (a, b) = (whole(left)?, whole(right)?);
            if b.sign() == Sign::NoSign
                && matches!(operator, Arithmetic::Divide | Arithmetic::Modulo)
            {
                return Err(CqlError::invalid(match ty.bare() {
                    CqlType::Varint => "BigInteger divide by zero",
                    _ => "/ by zero",
                }));
            }
            Ok(Number::Whole(match operator {
                Arithmetic::Add => a + b,
                Arithmetic::Subtract => a - b,
                Arithmetic::Multiply => a * b,
                Arithmetic::Divide => a / b,
                Arithmetic::Modulo => a % b,
            }))
        }
    }
}

fn decimal_arithmetic(
    operator: Arithmetic,
    a: &(BigInt, i32),
    b: &(BigInt, i32),
) -> CqlResult<Number> {
    let (unscaled, scale) = match operator {
        Arithmetic::Multiply => {
            let scale =
                a.1.checked_add(b.1)
                    .ok_or_else(|| CqlError::invalid("Overflow"))?;
            (&a.0 * &b.0, scale)
        }
        Arithmetic::Add => {
            let (a, b, scale) = aligned(a, b)?;
            (a + b, scale)
        }
        Arithmetic::Subtract => {
            let (a, b, scale) = aligned(a, b)?;
            (a - b, scale)
        }
        Arithmetic::Divide => return divide(a, b),
        Arithmetic::Modulo => {
            if b.0.sign() == Sign::NoSign {
                return Err(CqlError::invalid(match a.0.sign() {
                    Sign::NoSign => "Division undefined",
                    _ => "Division by zero",
                }));
            }
            let (whole_a, whole_b, scale) = aligned(a, b)?;
            let quotient = &whole_a / &whole_b;
            let rest = whole_a % whole_b;
            // As `BigDecimal.remainder`: the dividend's scale, or that of the quotient, which has no more than it needs, times the divisor.
            let least = i64::from(a.1) - i64::from(b.1);
            let mut zeros = 0;
            if least < 0 && quotient.sign() != Sign::NoSign {
                let digits = quotient.magnitude().to_string();
                zeros = digits
                    .bytes()
                    .rev()
                    .take_while(|digit| *digit == b'0')
                    .count() as i64;
            } else if quotient.sign() == Sign::NoSign {
                zeros = -least;
            }
            let of_quotient = least.max(-zeros).min(least.max(0));
            let wanted = i64::from(a.1).max(of_quotient + i64::from(b.1));
            let wanted = i32::try_from(wanted).unwrap_or(scale).min(scale);
            let surplus = ten_to(i64::from(scale) - i64::from(wanted))?;
            match (&rest % &surplus).sign() {
                Sign::NoSign => (rest / surplus, wanted),
                _ => (rest, scale),
            }
        }
    };
    Ok(Number::Decimal { unscaled, scale })
}

/// The average of so many decimals, given that of all but the last: it moves by the rounded share of the difference, as
/// Cassandra's does. Rounding adds up over many rows; that is how its averages are.
pub fn moved_average(average: &Number, last: &Number, count: i64) -> CqlResult<Number> {
    let average = decimal(average)?;
    let (last, before, scale) = aligned(&decimal(last)?, &average)?;
    let difference = last - before;
    let share = half_even(&difference, &BigInt::from(count));
    decimal_arithmetic(Arithmetic::Add, &average, &(share, scale))
}

/// A quotient, rounded half to even.
pub(super) fn half_even(dividend: &BigInt, divisor: &BigInt) -> BigInt {
    let quotient = dividend / divisor;
    let twice: BigInt = (dividend % divisor) * 2;
    let rounds = match twice.magnitude().cmp(divisor.magnitude()) {
        std::cmp::Ordering::Greater => true,
        std::cmp::Ordering::Equal => &quotient % 2 != BigInt::default(),
        std::cmp::Ordering::Less => false,
    };
    match (rounds, dividend.sign() == divisor.sign()) {
        (false, _) => quotient,
        (true, true) => quotient + 1,
        (true, false) => quotient - 1,
    }
}

/// A quotient with enough digits, without zeros at its end.
pub fn divide(a: &(BigInt, i32), b: &(BigInt, i32)) -> CqlResult<Number> {
    if b.0.sign() == Sign::NoSign {
        return Err(CqlError::invalid("BigInteger divide by zero"));
    }
    check_digits(&a.0)?;
    check_digits(&b.0)?;
    // Where its first digit will be: it gets no fewer of them than behind a point.
    let before = |of: &(BigInt, i32)| {
        let digits = of.0.magnitude().to_string().len() as i64;
        digits - i64::from(of.1)
    };
    let scale = (QUOTIENT_SCALE_MIN - (before(a) - before(b)))
        .max(i64::from(a.1.max(b.1)))
        .clamp(QUOTIENT_SCALE_MIN, QUOTIENT_SCALE_MAX);
    // a / b = (a.0 / b.0) * 10^(b.1 - a.1); times 10^scale for the unscaled quotient, one digit more for rounding.
    let shift = scale + 1 + i64::from(b.1) - i64::from(a.1);
    let quotient = match shift >= 0 {
        true => (&a.0 * ten_to(shift)?) / &b.0,
        false => &a.0 / (&b.0 * ten_to(-shift)?),
    };
    let half = if quotient.sign() == Sign::Minus {
        BigInt::from(-5)
    } else {
        BigInt::from(5)
    };
    let mut unscaled = (quotient + half) / BigInt::from(10);
    let mut scale = scale;
    if unscaled.sign() == Sign::NoSign {
        scale = 0;
    } else {
        let text = unscaled.magnitude().to_string();
        let zeros = (text.len() - text.trim_end_matches('0').len()) as i64;
        if zeros > 0 {
            unscaled /= BigInt::from(10).pow(zeros as u32);
            scale -= zeros;
        }
    }
    Ok(Number::Decimal {
        unscaled,
        scale: scale as i32,
    })
}
