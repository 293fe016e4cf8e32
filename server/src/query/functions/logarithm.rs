//! `exp`, `log` and `log10` of decimals and varints: with as many digits as Cassandra gives, which are 32, or those of the argument if it has more.
//!
//! What is worked out are whole numbers that stand for so many digits behind the point, with more digits than are shown: the last one that is shown is
//! rounded half to even. The work grows with the cube of an argument's digits, and a query may not hold a thread for long: what has more than
//! [`ARGUMENT_DIGITS_MAX`] is refused. What must hold: the work never grows with an argument's size.

use num_bigint::{BigInt, Sign};

use super::number::Number;
use crate::error::{CqlError, CqlResult};

/// Digits of a result, at least and at most.
const DIGITS_MIN: usize = 32;
const DIGITS_MAX: usize = ARGUMENT_DIGITS_MAX;
/// Digits of an argument: about a hundredth of a second of work.
const ARGUMENT_DIGITS_MAX: usize = 300;
/// What every number of so many digits fits in.
const ARGUMENT_BITS_MAX: u64 = 997;
/// Digits that are worked out and not shown.
const SPARE: usize = 20;
/// Halvings of an argument before its series, which then needs fewer terms.
const HALVINGS: usize = 16;

/// What a function is asked of, if it can be answered soon.
fn argument(number: &Number) -> CqlResult<(BigInt, i32)> {
    let (unscaled, scale) = super::number::decimal(number)?;
    if unscaled.bits() > ARGUMENT_BITS_MAX {
        return Err(CqlError::invalid(format!(
            "A number of more than {ARGUMENT_DIGITS_MAX} digits is too long for exp, log and log10"
        )));
    }
    Ok((unscaled, scale))
}

/// e to the power of this number.
pub(super) fn exp(number: &Number) -> CqlResult<Number> {
    let (unscaled, scale) = argument(number)?;
    if unscaled.sign() == Sign::NoSign {
        return Ok(Number::Decimal {
            unscaled: 1.into(),
            scale: 0,
        });
    }
    let digits = digits_of(&unscaled);
    let shown = digits.clamp(DIGITS_MIN, DIGITS_MAX);
    // Its digits before the point: beyond ten Cassandra's own arithmetic overflows, too.
    let before = digits as i64 - i64::from(scale);
    if before > 10 {
        return Err(CqlError::invalid("Overflow"));
    }
    if before < -(2 * shown as i64) {
        // So little that nothing but the one is left of the sum.
        return rounded(ten_to(shown + SPARE), -((shown + SPARE) as i64), shown);
    }
    let fixed = shown + SPARE + before.max(0) as usize;
    let argument = at_scale(&unscaled, scale, fixed);
    // e^x = 10^k * e^r, r less than the logarithm of ten.
    let ln_ten = ln_ten(fixed);
    let (k, rest) = divided(&argument, &ln_ten);
    let one = ten_to(fixed);
    let small = rest >> HALVINGS;
    let (mut sum, mut term) = (one.clone(), one.clone());
    for place in 1u32.. {
        term = term * &small / &one / place;
        if term.sign() == Sign::NoSign {
            break;
        }
        sum += &term;
    }
    for _ in 0..HALVINGS {
        sum = &sum * &sum / &one;
    }
    let exponent = i64::try_from(&k).map_err(|_| CqlError::invalid("Overflow"))?;
    rounded(sum, exponent - fixed as i64, shown)
}

/// The natural logarithm.
pub(super) fn log(number: &Number) -> CqlResult<Number> {
    let (unscaled, scale) = argument(number)?;
    if unscaled.sign() != Sign::Plus {
        return Err(CqlError::invalid("Natural log of number zero or less"));
    }
    let shown = digits_of(&unscaled).clamp(DIGITS_MIN, DIGITS_MAX);
    match ln(&unscaled, scale, shown) {
        None => Ok(Number::Decimal {
            unscaled: BigInt::default(),
            scale: 0,
        }),
        Some((ln, fixed)) => rounded(ln, -(fixed as i64), shown),
    }
}

/// The logarithm to the base of ten.
pub(super) fn log10(number: &Number) -> CqlResult<Number> {
    let (unscaled, scale) = argument(number)?;
    if unscaled.sign() != Sign::Plus {
        return Err(CqlError::invalid("Log10 of number zero or less"));
    }
    let shown = digits_of(&unscaled).clamp(DIGITS_MIN, DIGITS_MAX);
    let within = shown + 2;
    match ln(&unscaled, scale, shown) {
        // Nothing divided by the logarithm of ten has the scale that is left when that one's is taken away.
        None => Ok(Number::Decimal {
            unscaled: BigInt::default(),
            scale: 1 - within as i32,
        }),
        // As Cassandra divides: two logarithms with two digits more each, so that of a hundred it is 2, and of a thousand 3 with all of its zeros.
        Some((ln, fixed)) => {
            let parts = |number: Number| super::number::decimal(&number);
            let (above, above_scale) = parts(rounded(ln, -(fixed as i64), within)?)?;
            let (below, below_scale) = parts(rounded(ln_ten(fixed), -(fixed as i64), within)?)?;
            let shift = 2 * within;
            let (quotient, rest) = (
                &above * ten_to(shift) / &below,
                &above * ten_to(shift) % &below,
            );
            let exponent = i64::from(below_scale) - i64::from(above_scale) - shift as i64;
            match rest.sign() {
                Sign::NoSign => Ok(without_zeros(
                    quotient,
                    exponent,
                    i64::from(below_scale) - i64::from(above_scale),
                )),
                // The division is rounded, and then the result.
                _ => match rounded(quotient, exponent, within)? {
                    Number::Decimal { unscaled, scale } => {
                        rounded(unscaled, -i64::from(scale), shown)
                    }
                    other => Ok(other),
                },
            }
        }
    }
}

/// `number` * 10^`exponent` without zeros at its end, up to an exponent.
fn without_zeros(mut number: BigInt, mut exponent: i64, exponent_max: i64) -> Number {
    while exponent < exponent_max && (&number % 10u8).sign() == Sign::NoSign {
        number /= 10;
        exponent += 1;
    }
    Number::Decimal {
        unscaled: number,
        scale: i32::try_from(-exponent).unwrap_or_default(),
    }
}

/// The natural logarithm with so many digits behind the point, and how many; None of one, whose logarithm is nothing.
fn ln(unscaled: &BigInt, scale: i32, shown: usize) -> Option<(BigInt, usize)> {
    let digits = digits_of(unscaled);
    // It is a number from one to ten, so many tens.
    let tens = digits as i64 - 1 - i64::from(scale);
    // The closer it is to one, the smaller the logarithm; only as many of its digits are nothing as it has itself.
    let fixed = shown + SPARE + digits;
    let one = ten_to(fixed);
    let mut mantissa = at_scale(unscaled, digits as i32 - 1, fixed);
    let mut twos = 0;
    let mut tens = tens;
    // A little less than one stays near it.
    if tens == -1 {
        tens = 0;
        mantissa /= 10;
    }
    let threshold = &one * 3 / 2;
    while mantissa > threshold {
        mantissa >>= 1;
        twos += 1;
    }
    while &mantissa * 4 < &one * 3 {
        // Less than three quarters: from the other side.
        mantissa <<= 1;
        twos -= 1;
    }
    if tens == 0 && twos == 0 && mantissa == one {
        return None;
    }
    let series = of_quotient(&(&mantissa - &one), &(&mantissa + &one), fixed);
    let twos = ln_two(fixed) * twos;
    let tens = match tens {
        0 => BigInt::default(),
        tens => ln_ten(fixed) * tens,
    };
    Some((series + twos + tens, fixed))
}

/// ln((1 + z) / (1 - z)), z = above / below.
fn of_quotient(above: &BigInt, below: &BigInt, fixed: usize) -> BigInt {
    let one = ten_to(fixed);
    let z = above * &one / below;
    let square = &z * &z / &one;
    let (mut power, mut sum) = (z, BigInt::default());
    for odd in (1u32..).step_by(2) {
        let term = &power / odd;
        if term.sign() == Sign::NoSign {
            break;
        }
        sum += term;
        power = power * &square / &one;
    }
    sum * 2
}

fn ln_two(fixed: usize) -> BigInt {
    of_quotient(&1.into(), &3.into(), fixed)
}

/// Three times two, and a quarter more.
fn ln_ten(fixed: usize) -> BigInt {
    ln_two(fixed) * 3 + of_quotient(&1.into(), &9.into(), fixed)
}

fn ten_to(exponent: usize) -> BigInt {
    BigInt::from(10).pow(exponent as u32)
}

/// A decimal with so many digits behind the point; what is behind them falls away.
fn at_scale(unscaled: &BigInt, scale: i32, fixed: usize) -> BigInt {
    let shift = fixed as i64 - i64::from(scale);
    match usize::try_from(shift) {
        Ok(shift) => unscaled * ten_to(shift),
        Err(_) => unscaled / ten_to(shift.unsigned_abs() as usize),
    }
}

/// Quotient and rest, which is never negative.
fn divided(dividend: &BigInt, divisor: &BigInt) -> (BigInt, BigInt) {
    let (quotient, rest) = (dividend / divisor, dividend % divisor);
    match rest.sign() {
        Sign::Minus => (quotient - 1, rest + divisor),
        _ => (quotient, rest),
    }
}

fn digits_of(unscaled: &BigInt) -> usize {
    unscaled.magnitude().to_string().len()
}

/// `number` * 10^`exponent` with so many digits.
fn rounded(number: BigInt, exponent: i64, shown: usize) -> CqlResult<Number> {
    let surplus = digits_of(&number).saturating_sub(shown);
    let divisor = ten_to(surplus);
    let mut unscaled = super::number::half_even(&number, &divisor);
    let mut exponent = exponent + surplus as i64;
    if digits_of(&unscaled) > shown {
        // Nines that became a one.
        unscaled /= 10;
        exponent += 1;
    }
    let scale = i32::try_from(-exponent).map_err(|_| CqlError::invalid("Overflow"))?;
    Ok(Number::Decimal { unscaled, scale })
}

#[cfg(test)]
mod tests {
    use super::{exp, log, log10};
    use crate::error::CqlResult;
    use crate::query::functions::number::Number;

    fn of(text: &str, function: fn(&Number) -> CqlResult<Number>) -> String {
        let (unscaled, scale) = match text.split_once('.') {
            Some((whole, part)) => (format!("{whole}{part}"), part.len() as i32),
            None => (text.to_owned(), 0),
        };
        let unscaled = unscaled.parse().unwrap();
        match function(&Number::Decimal { unscaled, scale }).unwrap() {
            Number::Decimal { unscaled, scale } => format!("{unscaled}e{}", -scale),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_decimal_has_32_digits_of_its_exponential_and_its_logarithms() {
        assert_eq!(of("0", exp), "1e0");
        assert_eq!(of("1", exp), "27182818284590452353602874713527e-31");
        assert_eq!(of("-1", exp), "36787944117144232159552377016146e-32");
        assert_eq!(of("100", exp), "26881171418161354484126255515800e12");
        assert_eq!(of("1", log), "0e0");
        assert_eq!(of("2", log), "69314718055994530941723212145818e-32");
        assert_eq!(of("0.5", log), "-69314718055994530941723212145818e-32");
        assert_eq!(of("10", log), "23025850929940456840179914546844e-31");
        assert_eq!(of("0.001", log), "-69077552789821370520539743640531e-31");
        assert_eq!(of("2", log10), "30102999566398119521373889472449e-32");
        assert_eq!(of("1", log10), "0e33");
        assert_eq!(of(&format!("1.{}", "0".repeat(40)), log10), "0e42");
        assert_eq!(of("100", log10), "2e0");
        assert_eq!(of("1000", log10), "30000000000000000000000000000000e-31");
        assert_eq!(of("0.001", log10), "-30000000000000000000000000000000e-31");
        assert_eq!(of("100000", log10), "5e0");
    }

    #[test]
    fn what_is_nearly_one_has_all_digits_of_its_logarithm() {
        assert_eq!(
            of("1.00000000000000000001", log),
            "99999999999999999999500000000000e-52"
        );
        assert_eq!(
            of("0.99999999999999999999", log),
            "-10000000000000000000050000000000e-51"
        );
    }

    #[test]
    fn an_argument_of_more_digits_than_can_be_worked_on_soon_is_refused() {
        for function in [exp, log, log10] {
            let of = |digits: u32, scale| {
                let unscaled = num_bigint::BigInt::from(10).pow(digits) - 1;
                function(&Number::Decimal { unscaled, scale })
            };
            assert!(of(300, 299).is_ok());
            assert!(of(302, 301).is_err());
            assert!(of(100_000, 99_999).is_err());
        }
    }

    #[test]
    fn a_huge_argument_is_refused_and_a_tiny_one_makes_a_one() {
        let huge = Number::Decimal {
            unscaled: 1.into(),
            scale: -100,
        };
        assert_eq!(exp(&huge).unwrap_err().message, "Overflow");
        let tiny = Number::Decimal {
            unscaled: 1.into(),
            scale: i32::MAX,
        };
        assert!(exp(&tiny).is_ok());
        assert!(log(&tiny).is_ok());
        assert!(
            log10(&Number::Decimal {
                unscaled: 0.into(),
                scale: 0
            })
            .is_err()
        );
    }
}
