//! The digits of a binary number as the Java that Cassandra runs on prints them.
//!
//! Before its version 19 Java printed enough digits to tell a number from its neighbours, but not always as few as there could be: 2^31 is 2.14748365E9 as a float,
//! where 2.1474836E9 would do. Applications compare such texts, so here they are the same.
//!
//! ```text
//! whole and below 2^63    all digits but those that the number's bits cannot tell, rounded
//! else                    one digit after the other, until what is left is less than half the distance to a neighbour; two at least beside an exponent
//! ```
//!
//! The distance is taken for half of what it is where the number is a power of two, to both sides. That is where the additional digits come from.

use num_bigint::BigUint;

/// Where the highest bit of a significand stands.
const HIGHEST: u32 = 52;
/// Exponents of two up to which a whole number is printed as one.
const WHOLE_EXPONENT_MAX: i32 = 62;
/// Powers of ten of the first digit between which one digit may be enough: Java's own, and one wider than those without an exponent.
const ONE_MAY_DO: std::ops::Range<i32> = -3..8;

/// A finite number other than zero, without its sign: `significand` has its highest bit at `HIGHEST` and stands for 1 to 2.
pub(super) struct Binary {
    significand: u64,
    exponent: i32,
    /// How many bits of it count.
    bits: i32,
}

impl Binary {
    pub(super) fn of_double(number: f64) -> Self {
        let raw = number.to_bits();
        Binary::of(raw & ((1 << 52) - 1), (raw >> 52 & 0x7FF) as i32, 52, 1023)
    }

    pub(super) fn of_float(number: f32) -> Self {
        let raw = u64::from(number.to_bits());
        Binary::of(raw & ((1 << 23) - 1), (raw >> 23 & 0xFF) as i32, 23, 127)
    }

    fn of(fraction: u64, biased: i32, width: u32, bias: i32) -> Self {
        let (significand, exponent, bits) = match biased {
            0 => {
                let shift = width + 1 - (u64::BITS - fraction.leading_zeros());
                (
                    fraction << shift,
                    1 - shift as i32,
                    (width + 1 - shift) as i32,
                )
            }
            _ => (fraction | 1 << width, biased, width as i32 + 1),
        };
        Binary {
            significand: significand << (HIGHEST - width),
            exponent: exponent - bias,
            bits,
        }
    }

    /// The digits without the zeros at either end, and the power of ten of the first.
    pub(super) fn digits(&self) -> (String, i32) {
        let used = (HIGHEST + 1 - self.significand.trailing_zeros()) as i32;
        let below_one = (used - self.exponent - 1).max(0);
        let (digits, power) = match below_one == 0 && self.exponent <= WHOLE_EXPONENT_MAX {
            true => self.of_whole(),
            false => self.one_by_one(used, below_one),
        };
        let kept = digits.trim_end_matches('0').len().max(1);
        (digits[..kept].to_owned(), power)
    }

    fn of_whole(&self) -> (String, i32) {
        let mut whole = match self.exponent >= HIGHEST as i32 {
            true => self.significand << (self.exponent - HIGHEST as i32),
            false => self.significand >> (HIGHEST as i32 - self.exponent),
        };
        let untold = self.exponent - self.bits - 1;
        let dropped = match untold > 1 {
            true => (f64::from(untold) * std::f64::consts::LOG10_2) as u32,
            false => 0,
        };
        let unit = 10u64.pow(dropped);
        let rest = whole % unit;
        whole = whole / unit + u64::from(dropped > 0 && rest >= unit / 2);
        let digits = whole.to_string();
        let power = digits.len() as i32 - 1 + dropped as i32;
        (digits, power)
    }

    fn one_by_one(&self, used: i32, below_one: i32) -> (String, i32) {
        let mut power = self.power_of_ten();
        let fives_above = (-power).max(0);
        let fives_below = power.max(0);
        let mut above = fives_above + below_one + self.exponent;
        let mut below = fives_below + below_one;
        let mut half = above - self.bits;
        above -= used - 1;
        let shared = above.min(below);
        (above, below, half) = (above - shared, below - shared, half - shared);
        if used == 1 {
            half -= 1;
        }
        if half < 0 {
            (above, below, half) = (above - half, below - half, 0);
        }
        // Java takes the narrowest integers that hold what it begins with. In those a sum that is too large is negative; wider ones are compared a little otherwise.
        let bits = (used + above + bits_of_five_to(fives_above))
            .max(below + 1 + bits_of_five_to(fives_below + 1));
        let width = match bits {
            ..32 => Some(31u64),
            32..64 => Some(63),
            64.. => None,
        };
        let overflows = |number: &BigUint| width.is_some_and(|width| number.bits() > width);
        let shifted = |fives: i32, twos: i32| BigUint::from(5u8).pow(fives as u32) << twos;
        let significand = self.significand >> self.significand.trailing_zeros();
        let mut rest = BigUint::from(significand) * shifted(fives_above, above);
        let unit = shifted(fives_below, below);
        let ten_units = &unit * 10u8;
        let mut half = shifted(fives_above, half);
        let mut digits: Vec<u8> = Vec::new();
        let next = |rest: &mut BigUint, half: &mut BigUint| {
            let digit = u8::try_from(&*rest / &unit)
                .expect("the power of ten is that of the first digit, or one above");
            *rest = (&*rest % &unit) * 10u8;
            *half *= 10u8;
            let sum = &*rest + &*half;
            let high = sum > ten_units && !overflows(&sum) || width.is_none() && sum == ten_units;
            match overflows(half) {
                true => (digit, true, true),
                false => (digit, *rest < *half, high),
            }
        };
        let (digit, mut low, mut high) = next(&mut rest, &mut half);
        match digit == 0 && !high {
            true => power -= 1,
            false => digits.push(digit),
        }
        if !ONE_MAY_DO.contains(&power) {
            (low, high) = (false, false);
        }
        while !low && !high {
            let digit;
            (digit, low, high) = next(&mut rest, &mut half);
            digits.push(digit);
        }
        let twice = rest * 2u8;
        let is_odd = digits.last().is_some_and(|last| last % 2 == 1);
        let goes_up = match (high, low) {
            (true, true) => twice > ten_units || twice == ten_units && is_odd,
            (high, _) => high,
        };
        if goes_up {
            power += i32::from(round_up(&mut digits));
        }
        let digits = digits.iter().map(|digit| char::from(b'0' + digit));
        (digits.collect(), power)
    }

    /// The power of ten of the first digit, or one above it.
    fn power_of_ten(&self) -> i32 {
        let mantissa = self.significand as f64 / (1u64 << HIGHEST) as f64;
        let estimate = (mantissa - 1.5) * 0.289_529_654
            + 0.176_091_259
            + f64::from(self.exponent) * std::f64::consts::LOG10_2;
        estimate.floor() as i32
    }
}

/// Whether the number has become the next power of ten.
fn round_up(digits: &mut [u8]) -> bool {
    for digit in digits.iter_mut().rev() {
        if *digit < 9 {
            *digit += 1;
            return false;
        }
        *digit = 0;
    }
    if let Some(first) = digits.first_mut() {
        *first = 1;
    }
    true
}

fn bits_of_five_to(power: i32) -> i32 {
    match power == 0 {
        true => 0,
        false => (f64::from(power) * 5f64.log2()) as i32 + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digits_are_javas_where_fewer_would_do() {
        for (number, digits, power) in [
            (2_147_483_648.0f32, "214748365", 9),
            (1.175_494_4e-38, "117549435", -38),
            (3.402_823_5e38, "34028235", 38),
            (1.1, "11", 0),
            (123_456.7, "1234567", 5),
            (0.001, "1", -3),
            (1e10, "1", 10),
            (1e-45, "14", -45),
            (16_777_216.0, "16777216", 7),
            // Where a sum is too large for Java's integers.
            (4.144_002_5e25, "41440024", 25),
            (100.0, "1", 2),
        ] {
            let own = Binary::of_float(number).digits();
            assert_eq!((own.0.as_str(), own.1), (digits, power), "{number:e}");
        }
        for (number, digits, power) in [
            (2e-3f64, "2", -3),
            (4.9e-324, "49", -324),
            (2.225_073_858_507_201_4e-308, "22250738585072014", -308),
            (f64::MAX, "17976931348623157", 308),
            (1e23, "9999999999999999", 22),
            (2e23, "19999999999999998", 23),
            (9_007_199_254_740_993.0, "9007199254740992", 15),
            (0.1, "1", -1),
            (1e22, "1", 22),
        ] {
            let own = Binary::of_double(number).digits();
            assert_eq!((own.0.as_str(), own.1), (digits, power), "{number:e}");
        }
    }

    #[test]
    fn digits_tell_the_number_from_every_other() {
        let mut bits = 1u64;
        for _ in 0..20_000 {
            bits = bits
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let (double, float) = (
                f64::from_bits(bits >> 1),
                f32::from_bits((bits >> 33) as u32),
            );
            let text = |(digits, power): (String, i32)| {
                format!("{}.{}e{power}", &digits[..1], &digits[1..])
            };
            if double.is_finite() && double != 0.0 {
                assert_eq!(text(Binary::of_double(double).digits()).parse(), Ok(double));
            }
            if float.is_finite() && float != 0.0 {
                assert_eq!(text(Binary::of_float(float).digits()).parse(), Ok(float));
            }
        }
    }
}
