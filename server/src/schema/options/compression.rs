//! `compression = {'class': ..., 'chunk_length_in_kb': ..., ...}`. All of Cassandra's compressors may be named; blocks are
//! compressed with LZ4 or Zstandard, or not at all.

use std::collections::BTreeMap;

use palladium_storage::Compression;

use crate::error::{CqlError, CqlResult};

const PACKAGE: &str = "org.apache.cassandra.io.compress.";
const CHUNK: &str = "chunk_length_in_kb";
const RATIO: &str = "min_compress_ratio";
const LEVEL: &str = "compression_level";
const LZ4: &str = "LZ4Compressor";
const ZSTD: &str = "ZstdCompressor";
const LZ4_TYPE: &str = "lz4_compressor_type";
const LZ4_LEVEL: &str = "lz4_high_compressor_level";

/// Chunks whose bytes an `int` can count.
const KILOBYTES_MAX: i32 = i32::MAX / 1024;

/// Levels of zstd, and the one that Cassandra takes where none is named.
const LEVELS: std::ops::RangeInclusive<i32> = -131_072..=22;
const LEVEL_DEFAULT: i32 = 3;

/// Compressors and the options of each.
const COMPRESSORS: [(&str, &[&str]); 5] = [
    (LZ4, &[LZ4_TYPE, LZ4_LEVEL]),
    ("SnappyCompressor", &[]),
    ("DeflateCompressor", &[]),
    (ZSTD, &[LEVEL]),
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
    // Numbers first, then what the compressor says, then bounds.
    let class = named(options.get("class"))?;
    let chunk = options.get(CHUNK).map(|text| kilobytes(text)).transpose()?;
    let least = options.get(RATIO).map(|text| ratio(text)).transpose()?;
    let (class, own_options) = compressor(class)?;
    match class {
        ZSTD => {
            options.get(LEVEL).map(|text| level(text)).transpose()?;
        }
        LZ4 => check_lz4(&options)?,
        _ => {}
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
    let chunk = chunk_length(chunk)?;
    let mut checked = BTreeMap::from([
        ("class".to_owned(), format!("{PACKAGE}{class}")),
        (CHUNK.to_owned(), chunk.to_string()),
    ]);
    options.remove(RATIO);
    if let Some(least) = least {
        check_ratio(least, chunk)?;
        // Of 0, which is the default, nothing is said.
        if least != 0.0 {
            checked.insert(RATIO.to_owned(), super::java_double(least));
        }
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

/// What the engine does of it: compressors that it does not have are LZ4.
pub fn for_storage(options: &BTreeMap<String, String>) -> Compression {
    let is_zstd = || {
        let class = options.get("class");
        class.is_some_and(|class| class.strip_prefix(PACKAGE) == Some(ZSTD))
    };
    match is_on(options) {
        false => Compression::Off,
        true if is_zstd() => Compression::Zstd {
            level: options
                .get(LEVEL)
                .and_then(|text| level(text).ok())
                .unwrap_or(LEVEL_DEFAULT),
        },
        true => Compression::Lz4,
    }
}

/// As Java reads an integer, in the words of the compressor that is not made of it.
fn level(text: &str) -> CqlResult<i32> {
    let refused = |what: String| {
        CqlError::config(format!("{ZSTD}.create() threw an error: java.lang.{what}"))
    };
    let level: i32 = text.parse().map_err(|_| {
        refused(format!(
            "NumberFormatException For input string: \"{text}\""
        ))
    })?;
    match LEVELS.contains(&level) {
        true => Ok(level),
        false => Err(refused(format!(
            "IllegalArgumentException {LEVEL}={level} is invalid"
        ))),
    }
}

/// Options of a compressor that has two of them; here there is one, and it is fast.
fn check_lz4(options: &BTreeMap<String, String>) -> CqlResult<()> {
    let kind = options.get(LZ4_TYPE).map_or("fast", String::as_str);
    if !["high", "fast"].contains(&kind) {
        return Err(CqlError::config(format!(
            "Invalid compressor type '{kind}' specified for LZ4 parameter '{LZ4_TYPE}'. Valid options are [high, fast]."
        )));
    }
    let level = options.get(LZ4_LEVEL).map_or("9", String::as_str);
    match level.parse() {
        Ok(1..=17) => Ok(()),
        _ => Err(CqlError::config(format!(
            "Invalid value [{level}] for parameter '{LZ4_LEVEL}'. Value must be between 1 and 17."
        ))),
    }
}

fn named(class: Option<&String>) -> CqlResult<&str> {
    match class.map(String::as_str) {
        None => Err(CqlError::config(
            "Missing sub-option 'class' for the 'compression' option.",
        )),
        Some("") => Err(CqlError::config(
            "The 'class' option must not be empty. To disable compression use 'enabled' : false",
        )),
        Some(class) => Ok(class),
    }
}

fn compressor(class: &str) -> CqlResult<(&'static str, &'static [&'static str])> {
    let full = match class.contains('.') {
        true => class.to_owned(),
        false => format!("{PACKAGE}{class}"),
    };
    COMPRESSORS
        .into_iter()
        .find(|(name, _)| full.strip_prefix(PACKAGE) == Some(name))
        .ok_or_else(|| match super::is_java_class(&full) {
            true => CqlError::config("create method not found"),
            false => CqlError::config(format!("Could not create Compression for type {full}")),
        })
}

fn kilobytes(text: &str) -> CqlResult<i32> {
    let kilobytes: i32 = text
        .parse()
        .map_err(|_| CqlError::config(format!("Invalid value for {CHUNK}")))?;
    match kilobytes > KILOBYTES_MAX {
        false => Ok(kilobytes),
        true => Err(CqlError::config(format!(
            "Value of {CHUNK} is too large ({kilobytes})"
        ))),
    }
}

fn chunk_length(kilobytes: Option<i32>) -> CqlResult<i32> {
    let kilobytes = kilobytes.unwrap_or(16);
    if kilobytes <= 0 {
        return Err(CqlError::config(format!(
            "Invalid negative or null {CHUNK}"
        )));
    }
    if !kilobytes.unsigned_abs().is_power_of_two() {
        return Err(CqlError::config(format!("{CHUNK} must be a power of 2")));
    }
    Ok(kilobytes)
}

fn ratio(text: &str) -> CqlResult<f64> {
    super::read_java_double(text)
        .ok_or_else(|| CqlError::config(format!("Invalid value for {RATIO}")))
}

/// What Cassandra holds against the chunk are the bytes that a compressed one may have. They are an `int`: more than it holds are as many as it holds, and
/// those are never too many.
fn check_ratio(ratio: f64, kilobytes: i32) -> CqlResult<()> {
    let chunk_bytes = f64::from(kilobytes) * 1024.0;
    let compressed_bytes_max = (chunk_bytes / ratio).ceil() as i32;
    if compressed_bytes_max < 0 {
        return Err(CqlError::config(format!("Invalid negative {RATIO}")));
    }
    match f64::from(compressed_bytes_max) > chunk_bytes && compressed_bytes_max < i32::MAX {
        false => Ok(()),
        true => Err(CqlError::config(format!(
            "{RATIO} can either be 0 or greater than or equal to 1"
        ))),
    }
}
