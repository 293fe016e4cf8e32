//! `caching = {'keys': 'ALL' | 'NONE', 'rows_per_partition': 'ALL' | 'NONE' | n}`: stored and shown; what is hot stays in the
//! block cache whatever a table says.

use std::collections::BTreeMap;

use crate::error::{CqlError, CqlResult};

const KEYS: &str = "keys";
const ROWS: &str = "rows_per_partition";

/// Checked, with what was left out filled in as Cassandra does: not cached.
pub fn caching(options: BTreeMap<String, String>) -> CqlResult<BTreeMap<String, String>> {
    let value = |name: &str| options.get(name).map_or("NONE", String::as_str);
    let (keys, rows) = (keys(value(KEYS))?, rows(value(ROWS))?);
    let unknown: Vec<&str> = options
        .keys()
        .map(String::as_str)
        .filter(|name| ![KEYS, ROWS].contains(name))
        .collect();
    if !unknown.is_empty() {
        return Err(CqlError::config(format!(
            "Invalid caching sub-options [{}]: only '{KEYS}' and '{ROWS}' are allowed",
            unknown.join(", ")
        )));
    }
    Ok(BTreeMap::from([
        (KEYS.to_owned(), keys),
        (ROWS.to_owned(), rows),
    ]))
}

fn keys(value: &str) -> CqlResult<String> {
    let upper = value.to_ascii_uppercase();
    match upper.as_str() {
        "ALL" | "NONE" => Ok(upper),
        _ => Err(CqlError::config(format!(
            "Invalid value '{value}' for caching sub-option '{KEYS}': only 'ALL' and 'NONE' are allowed"
        ))),
    }
}

fn rows(value: &str) -> CqlResult<String> {
    let upper = value.to_ascii_uppercase();
    let is_number = value.bytes().all(|byte| byte.is_ascii_digit());
    let number = value.parse::<i32>().ok().filter(|_| is_number);
    match (upper.as_str(), number) {
        ("ALL" | "NONE", _) => Ok(upper),
        (_, Some(0)) => Ok("NONE".into()),
        (_, Some(i32::MAX)) => Ok("ALL".into()),
        (_, Some(rows)) => Ok(rows.to_string()),
        (_, None) => Err(CqlError::config(format!(
            "Invalid value '{value}' for caching sub-option '{ROWS}': only 'ALL', 'NONE', and integer values are allowed"
        ))),
    }
}
