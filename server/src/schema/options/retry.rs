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
    if let Some(single) = single(text, &upper)? {
        return Ok(single);
    }
    hybrid(&upper)?.ok_or_else(|| invalid(text))
}

fn invalid(text: &str) -> CqlError {
    CqlError::config(format!(
        "Invalid value {text} for option 'speculative_retry'"
    ))
}

fn single(text: &str, upper: &str) -> CqlResult<Option<String>> {
    let number = |digits: &str| {
        digits
            .trim()
            .parse::<f64>()
            .ok()
            .filter(|number| number.is_finite() && *number >= 0.0)
    };
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
    Ok(upper
        .strip_suffix("MS")
        .and_then(number)
        .map(|millis| format!("{millis}ms")))
}

fn hybrid(upper: &str) -> CqlResult<Option<String>> {
    let Some((function, rest)) = upper.split_once('(') else {
        return Ok(None);
    };
    let Some((left, right)) = rest
        .strip_suffix(')')
        .and_then(|inner| inner.split_once(','))
    else {
        return Ok(None);
    };
    let (left, right) = (left.trim(), right.trim());
    match (function, single(left, left)?, single(right, right)?) {
        ("MIN" | "MAX", Some(left), Some(right)) if left.ends_with('p') != right.ends_with('p') => {
            Ok(Some(format!("{function}({left},{right})")))
        }
        _ => Ok(None),
    }
}
