//! Numbers that look like one and are none: Cassandra makes a decimal of every constant with a point or an exponent while it parses, and fails at those that
//! no decimal or no double holds, whatever column they are meant for.

/// Digits of an exponent, leading zeros apart.
const EXPONENT_DIGITS_MAX: usize = 10;

/// Why Cassandra cannot make a number of such a constant, in the words of Java.
pub(super) fn fails(constant: &str) -> Option<&'static str> {
    let (mantissa, exponent) = constant.split_once(['e', 'E']).unwrap_or((constant, "0"));
    let digits = exponent
        .trim_start_matches(['+', '-'])
        .trim_start_matches('0');
    if digits.len() > EXPONENT_DIGITS_MAX {
        return Some("Too many nonzero exponent digits.");
    }
    let exponent: i64 = exponent.parse().expect("ten digits and a sign");
    if i32::try_from(exponent).is_err() {
        return Some("Exponent overflow.");
    }
    let places = mantissa
        .split_once('.')
        .map_or(0, |(_, places)| places.len());
    if i32::try_from(places as i64 - exponent).is_err() {
        return Some("Scale out of range.");
    }
    let is_finite = constant.parse::<f64>().is_ok_and(f64::is_finite);
    (!is_finite).then_some(
        "Character I is neither a decimal digit number, decimal point, nor \"e\" notation exponential mark.",
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_double_and_no_decimal_holds_is_no_number() {
        for good in [
            "1.",
            "-1.5e-3",
            "1.7976931348623158e308",
            "1e-400",
            "1E-2147483647",
            "0E2147483647",
            "1e0000000000000000005",
            "1e+5",
        ] {
            assert_eq!(fails(good), None, "{good}");
        }
        for (bad, why) in [
            ("1.8e308", "Character I"),
            ("-1.8e308", "Character I"),
            ("1.5E2147483647", "Character I"),
            ("1E2147483648", "Exponent overflow."),
            ("0E2147483648", "Exponent overflow."),
            ("1E-2147483648", "Scale out of range."),
            ("1.5E-2147483647", "Scale out of range."),
            ("1E-99999999999", "Too many nonzero exponent digits."),
        ] {
            assert!(fails(bad).unwrap().starts_with(why), "{bad}");
        }
    }
}
