//! `caching = {'keys': 'ALL' | 'NONE', 'rows_per_partition': 'ALL' | 'NONE' | n}`: stored and shown; what is hot stays in the
//! block cache whatever a table says.

use std::collections::BTreeMap;

use crate::error::{CqlError, CqlResult};

const KEYS: &str = "keys";
const ROWS: &str = "rows_per_partition";

/// Checked, with what was left out filled in as Cassandra does: not cached.
pub fn caching(options: BTreeMap<String, String>) -> CqlResult<BTreeMap<String, String>> {
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
    let value = |name: &str| options.get(name).map_or("NONE", String::as_str);
    Ok(BTreeMap::from([
        (KEYS.to_owned(), keys(value(KEYS))?),
        (ROWS.to_owned(), rows(value(ROWS))?),
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
    let number = !value.is_empty()
        && value.bytes().all(|byte| byte.is_ascii_digit())
        && value.parse::<i32>().is_ok();
    match upper.as_str() {
        "ALL" | "NONE" => Ok(upper),
        _ if number => Ok(upper),
        _ => Err(CqlError::config(format!(
            "Invalid value '{value}' for caching sub-option '{ROWS}': only 'ALL', 'NONE', and integer values are allowed"
        ))),
    }
}
