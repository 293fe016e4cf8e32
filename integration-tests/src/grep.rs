//! Looks for plaintext where none may be: every file under a folder, for a needle in every spelling in which it could lie there.
//!
//! A needle is searched for as it is, as UTF-16 in both byte orders, in hexadecimal of both cases, and in base64 at each of the three places where it may
//! begin inside a group of four letters. File names count too. A search that finds nothing proves nothing, so `search` first plants the needle, in every
//! spelling, in a folder of its own and must find each one there.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// One place where a needle was found.
#[derive(Debug, PartialEq, Eq)]
pub struct Find {
    pub file: PathBuf,
    /// Where in the file; nothing if it is in the file's name.
    pub offset: Option<usize>,
    pub needle: String,
    pub spelling: &'static str,
    /// What stands around it, so that a find says what leaked.
    pub around: String,
}

/// A needle must be long enough that chance cannot make it: 8 bytes leave 2^-64 for each position, and base64 keeps at least 6 of them.
pub const NEEDLE_BYTES_MIN: usize = 8;

const AROUND_BYTES: usize = 40;

/// Where any of the needles lies under `folder`.
pub fn search(folder: &Path, needles: &[&str]) -> io::Result<Vec<Find>> {
    let patterns: Vec<Pattern> = needles
        .iter()
        .flat_map(|needle| spellings(needle))
        .collect();
    prove(&patterns)?;
    let mut finds = Vec::new();
    visit(folder, folder, &patterns, &mut finds)?;
    Ok(finds)
}

struct Pattern {
    needle: String,
    spelling: &'static str,
    bytes: Vec<u8>,
}

fn spellings(needle: &str) -> Vec<Pattern> {
    assert!(
        needle.len() >= NEEDLE_BYTES_MIN,
        "{needle:?} is too short to mean anything"
    );
    let plain = needle.as_bytes();
    let forms = [
        ("plain", plain.to_vec()),
        ("upper case", needle.to_uppercase().into_bytes()),
        ("lower case", needle.to_lowercase().into_bytes()),
        (
            "UTF-16LE",
            needle.encode_utf16().flat_map(u16::to_le_bytes).collect(),
        ),
        (
            "UTF-16BE",
            needle.encode_utf16().flat_map(u16::to_be_bytes).collect(),
        ),
        ("hex", hex(plain)),
        ("HEX", hex(plain).to_ascii_uppercase()),
        ("base64 at 0", base64_inside(plain, 0)),
        ("base64 at 1", base64_inside(plain, 1)),
        ("base64 at 2", base64_inside(plain, 2)),
        ("reversed", plain.iter().rev().copied().collect()),
    ];
    forms
        .into_iter()
        .map(|(spelling, bytes)| Pattern {
            needle: needle.to_owned(),
            spelling,
            bytes,
        })
        .collect()
}

fn hex(bytes: &[u8]) -> Vec<u8> {
    bytes
        .iter()
        .flat_map(|byte| format!("{byte:02x}").into_bytes())
        .collect()
}

/// The letters that `bytes` alone decide when `before` unknown bytes (0, 1 or 2) stand ahead of them in their group of three.
fn base64_inside(bytes: &[u8], before: usize) -> Vec<u8> {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let bit = |position: usize| (bytes[position / 8] >> (7 - position % 8)) & 1;
    // The first letter that holds no bit of the unknown bytes, counted in bits of ours.
    let mut start = (6 - before * 8 % 6) % 6;
    let mut letters = Vec::new();
    while start + 6 <= bytes.len() * 8 {
        let letter = (start..start + 6).fold(0, |value, position| value << 1 | bit(position));
        letters.push(LETTERS[usize::from(letter)]);
        start += 6;
    }
    letters
}

fn visit(
    root: &Path,
    folder: &Path,
    patterns: &[Pattern],
    finds: &mut Vec<Find>,
) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let path = entry.path();
        let name = path
            .strip_prefix(root)
            .unwrap_or(&path)
            .to_string_lossy()
            .into_owned();
        note(&path, None, name.as_bytes(), patterns, finds);
        if entry.file_type()?.is_dir() {
            visit(root, &path, patterns, finds)?;
        } else {
            match fs::read(&path) {
                Ok(bytes) => note(&path, Some(()), &bytes, patterns, finds),
                // A running server removes files; what is gone holds nothing.
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(())
}

fn note(
    path: &Path,
    content: Option<()>,
    bytes: &[u8],
    patterns: &[Pattern],
    finds: &mut Vec<Find>,
) {
    for pattern in patterns {
        if let Some(offset) = position(bytes, &pattern.bytes) {
            finds.push(Find {
                file: path.to_owned(),
                offset: content.map(|()| offset),
                needle: pattern.needle.clone(),
                spelling: pattern.spelling,
                around: String::from_utf8_lossy(
                    &bytes[offset.saturating_sub(AROUND_BYTES)
                        ..bytes.len().min(offset + pattern.bytes.len() + AROUND_BYTES)],
                )
                .into_owned(),
            });
        }
    }
}

/// Where `needle` begins; jumps from one candidate for its last byte to the next (Horspool), because the folders are large.
fn position(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    let last = needle.len() - 1;
    let mut jump = [needle.len(); 256];
    for (index, &byte) in needle[..last].iter().enumerate() {
        jump[usize::from(byte)] = last - index;
    }
    let mut end = last;
    while end < bytes.len() {
        if bytes[end] == needle[last] && bytes[end - last..=end] == *needle {
            return Some(end - last);
        }
        end += jump[usize::from(bytes[end])];
    }
    None
}

/// Plants every pattern, each in a file of its own amid other bytes, and must find it there.
fn prove(patterns: &[Pattern]) -> io::Result<()> {
    let folder = tempfile::tempdir()?;
    for (number, pattern) in patterns.iter().enumerate() {
        let noise: Vec<u8> = (0..4096_usize)
            .map(|index| (index * 31 + number) as u8)
            .collect();
        fs::write(
            folder.path().join(number.to_string()),
            [&noise, &pattern.bytes[..], &noise].concat(),
        )?;
    }
    let mut finds = Vec::new();
    visit(folder.path(), folder.path(), patterns, &mut finds)?;
    for (number, pattern) in patterns.iter().enumerate() {
        let found = finds.iter().any(|find| {
            find.file.ends_with(number.to_string())
                && find.needle == pattern.needle
                && find.spelling == pattern.spelling
        });
        assert!(
            found,
            "the search is broken: it missed {:?} in {}",
            pattern.needle, pattern.spelling
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_found() {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let file = |name: &str, bytes: &[u8]| {
            fs::write(folder.path().join(name), bytes).expect("a file can be written")
        };
        file("a", b"...needle-0815...");
        file("b", b"n\0e\0e\0d\0l\0e\0-\x000\08\x001\x005\0");
        file("c", b"xx6e6565646c652d30383135xx");
        // "needle-0815" after 0, 1 and 2 bytes in front.
        file("d0", b"bmVlZGxlLTA4MTU=");
        file("d1", b"eG5lZWRsZS0wODE1");
        file("d2", b"eHhuZWVkbGUtMDgxNQ==");
        file("needle-0815.db", b"");
        file("clean", b"nothing to see");
        let finds = search(folder.path(), &["needle-0815"]).expect("the folder can be read");
        let mut spellings: Vec<_> = finds
            .iter()
            .map(|find| {
                (
                    find.file.file_name().unwrap().to_str().unwrap(),
                    find.spelling,
                )
            })
            .collect();
        spellings.sort_unstable();
        spellings.dedup();
        let wanted = [
            ("b", "UTF-16LE"),
            ("c", "hex"),
            ("d0", "base64 at 0"),
            ("d1", "base64 at 1"),
            ("d2", "base64 at 2"),
            ("needle-0815.db", "plain"),
        ];
        for want in wanted {
            assert!(
                spellings.contains(&want),
                "{want:?} is not in {spellings:?}"
            );
        }
        assert!(!spellings.iter().any(|(file, _)| *file == "clean"));
    }
}
