//! Speculative retry policies: `99p`, `50ms`, `ALWAYS`, `NEVER`, `MIN(99p,50ms)`. There is no second replica to retry on; they
//! are checked, stored and shown.

use crate::error::{CqlError, CqlResult};

/// The policy in Cassandra's spelling.
pub fn policy(text: &str) -> CqlResult<String> {
    let upper = text.to_ascii_uppercase();
    match upper.as_str() {
        "ALWAYS" => return Ok(upper),
        "NEVER" | "NONE" => return Ok("NEVER".into()),
        _ => {}
    }
    match single(text, &upper)? {
        Some(single) => Ok(single),
        None => hybrid(text, &upper),
    }
}

fn invalid(text: &str) -> CqlError {
    CqlError::config(format!(
        "Invalid value {text} for option 'speculative_retry'"
    ))
}

/// A number without a sign or an exponent, as Cassandra's pattern has it.
fn number(digits: &str) -> Option<f64> {
    let is_plain = digits
        .bytes()
        .all(|one| one.is_ascii_digit() || one == b'.');
    digits.parse().ok().filter(|_| is_plain)
}

fn single(text: &str, upper: &str) -> CqlResult<Option<String>> {
    for suffix in ["PERCENTILE", "P"] {
        if let Some(percentile) = upper.strip_suffix(suffix).and_then(number) {
            if percentile <= 0.0 || percentile >= 100.0 {
                return Err(CqlError::config(format!(
                    "Invalid value {text} for PERCENTILE option 'speculative_retry': must be between (0.0 and 100.0)"
                )));
            }
            return Ok(Some(format!("{}p", shown(percentile))));
        }
    }
    // What is below a millisecond is cut off.
    let millis = upper.strip_suffix("MS").and_then(number);
    Ok(millis.map(|millis| format!("{}ms", millis as i32)))
}

/// With four decimals at most, the last one rounded half to even.
fn shown(percentile: f64) -> String {
    // Java finds nothing of a number whose first digit would be the fifth decimal and a 5; as binary this one is a little more.
    if percentile <= 0.00005 {
        return "0".to_owned();
    }
    let text = format!("{percentile:.4}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn hybrid(text: &str, upper: &str) -> CqlResult<String> {
    let arguments = upper.split_once('(').and_then(|(function, rest)| {
        let (left, right) = rest.strip_suffix(')')?.split_once(',')?;
        ["MIN", "MAX"].contains(&function).then_some((
            function,
            left.trim_end(),
            right.trim_start(),
        ))
    });
    let (function, left, right) = arguments.ok_or_else(|| invalid(text))?;
    let of = |argument: &str| single(argument, argument).ok().flatten();
    let (left, right) = of(left).zip(of(right)).ok_or_else(|| invalid(text))?;
    let kind = |policy: &str| match policy.ends_with('p') {
        true => "PERCENTILE",
        false => "FIXED",
    };
    if kind(&left) == kind(&right) {
        return Err(CqlError::config(format!(
            "Invalid value {text} for option 'speculative_retry': MIN()/MAX() arguments should be of different types, but both are \
             of type {}",
            kind(&left)
        )));
    }
    let (percentile, fixed) = match left.ends_with('p') {
        true => (left, right),
        false => (right, left),
    };
    Ok(format!("{function}({percentile},{fixed})"))
}

#[cfg(test)]
mod tests {
    use super::policy;

    #[test]
    fn percentiles_are_shown_with_four_decimals() {
        for (text, shown) in [
            ("99p", "99p"),
            ("99.123456p", "99.1235p"),
            ("12.34565p", "12.3456p"),
            ("12.34575p", "12.3458p"),
            ("99.99999p", "100p"),
            ("90p", "90p"),
            (".5p", "0.5p"),
            ("5.p", "5p"),
            ("0.00005p", "0p"),
            ("0.000050001p", "0.0001p"),
            ("0.00001p", "0p"),
            ("MAX(12.34565p, 10ms)", "MAX(12.3456p,10ms)"),
            ("min(10.5ms , 90p)", "MIN(90p,10ms)"),
        ] {
            assert_eq!(policy(text).unwrap(), shown, "{text}");
        }
        for text in ["MIN( 90p,10ms)", "MIN(90p,10ms )", "MIN(90p,10)"] {
            assert!(policy(text).is_err(), "{text}");
        }
    }
}
