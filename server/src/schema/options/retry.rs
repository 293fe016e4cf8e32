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
            return Ok(Some(format!("{percentile}p")));
        }
    }
    // What is below a millisecond is cut off.
    let millis = upper.strip_suffix("MS").and_then(number);
    Ok(millis.map(|millis| format!("{}ms", millis as i32)))
}

fn hybrid(text: &str, upper: &str) -> CqlResult<String> {
    let arguments = upper.split_once('(').and_then(|(function, rest)| {
        let (left, right) = rest.strip_suffix(')')?.split_once(',')?;
        ["MIN", "MAX"]
            .contains(&function)
            .then_some((function, left.trim(), right.trim()))
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
    Ok(format!("{function}({left},{right})"))
}
