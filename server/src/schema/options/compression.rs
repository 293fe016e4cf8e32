//! `compression = {'class': ..., 'chunk_length_in_kb': ..., ...}`. All of Cassandra's compressors may be named; blocks are
//! compressed with LZ4 or not at all.

use std::collections::BTreeMap;

use crate::error::{CqlError, CqlResult};

const PACKAGE: &str = "org.apache.cassandra.io.compress.";
const CHUNK: &str = "chunk_length_in_kb";
const RATIO: &str = "min_compress_ratio";

/// Compressors and the options of each.
const COMPRESSORS: [(&str, &[&str]); 5] = [
    (
        "LZ4Compressor",
        &["lz4_compressor_type", "lz4_high_compressor_level"],
    ),
    ("SnappyCompressor", &[]),
    ("DeflateCompressor", &[]),
    ("ZstdCompressor", &["compression_level"]),
    ("NoopCompressor", &[]),
];

/// Checked, with full class name and chunk length. An empty map switches compression off.
pub fn compression(mut options: BTreeMap<String, String>) -> CqlResult<BTreeMap<String, String>> {
    let enabled = options
        .remove("enabled")
        .map(|text| text.eq_ignore_ascii_case("true"));
    if enabled == Some(false) && !options.is_empty() {
        return Err(CqlError::config(
            "If the 'enabled' option is set to false no other options must be specified",
        ));
    }
    if options.is_empty() && enabled != Some(true) {
        return Ok(BTreeMap::from([("enabled".into(), "false".into())]));
    }
    let (class, own_options) = compressor(options.get("class"))?;
    let mut checked = BTreeMap::from([
        ("class".to_owned(), format!("{PACKAGE}{class}")),
        (CHUNK.to_owned(), chunk_length(options.get(CHUNK))?),
    ]);
    if let Some(text) = options.get(RATIO) {
        checked.insert(RATIO.to_owned(), ratio(text)?);
    }
    let known = |name: &str| ["class", CHUNK, RATIO].contains(&name);
    let unknown: Vec<&str> = options
        .keys()
        .map(String::as_str)
        .filter(|name| !known(name) && !own_options.contains(name))
        .collect();
    if !unknown.is_empty() {
        return Err(CqlError::config(format!(
            "Unknown compression options {}",
            unknown.join(", ")
        )));
    }
    for (name, value) in options {
        checked.entry(name).or_insert(value);
    }
    Ok(checked)
}

/// Whether blocks are to be compressed.
pub fn is_on(options: &BTreeMap<String, String>) -> bool {
    let off = options
        .get("enabled")
        .is_some_and(|enabled| enabled == "false");
    let none = options
        .get("class")
        .is_some_and(|class| class.ends_with(".NoopCompressor"));
    !off && !none
}

fn compressor(class: Option<&String>) -> CqlResult<(&'static str, &'static [&'static str])> {
    let class = match class.map(String::as_str) {
        None => {
            return Err(CqlError::config(
                "Missing sub-option 'class' for the 'compression' option.",
            ));
        }
        Some("") => {
            return Err(CqlError::config(
                "The 'class' option must not be empty. To disable compression use 'enabled' : false",
            ));
        }
        Some(class) => class,
    };
    let full = match class.contains('.') {
        true => class.to_owned(),
        false => format!("{PACKAGE}{class}"),
    };
    COMPRESSORS
        .into_iter()
        .find(|(name, _)| full.strip_prefix(PACKAGE) == Some(name))
        .ok_or_else(|| CqlError::config(format!("Could not create Compression for type {full}")))
}

fn chunk_length(text: Option<&String>) -> CqlResult<String> {
    let Some(text) = text else {
        return Ok("16".into());
    };
    let kilobytes: i32 = text
        .parse()
        .map_err(|_| CqlError::config(format!("Invalid value for {CHUNK}")))?;
    if kilobytes <= 0 {
        return Err(CqlError::config(format!(
            "Invalid negative or null {CHUNK}"
        )));
    }
    if !kilobytes.unsigned_abs().is_power_of_two() {
        return Err(CqlError::config(format!("{CHUNK} must be a power of 2")));
    }
    Ok(kilobytes.to_string())
}

fn ratio(text: &str) -> CqlResult<String> {
    let ratio: f64 = text
        .parse()
        .map_err(|_| CqlError::config(format!("Invalid value for {RATIO}")))?;
    if ratio != 0.0 && (ratio < 1.0 || ratio.is_nan()) {
        return Err(CqlError::config(format!(
            "{RATIO} can either be 0 or greater than or equal to 1"
        )));
    }
    Ok(super::java_double(ratio))
}
