//! Text to JSON, every number with its own digits, and the words in which Cassandra speaks of what it read.

use std::collections::HashMap;
use std::str::CharIndices;

use crate::error::{CqlError, CqlResult};

/// How deep a document may nest.
const DEPTH_MAX: usize = 64;

/// A JSON value as written.
#[derive(Debug, Clone, PartialEq)]
pub enum Json {
    Null,
    Bool(bool),
    /// Its digits.
    Number(String),
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

impl Json {
    /// As Cassandra's reader calls it: the name of a Java class.
    pub fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "Boolean",
            Json::Number(text) if text.contains(['.', 'e', 'E']) => "Double",
            Json::Number(text) if text.parse::<i32>().is_ok() => "Integer",
            Json::Number(text) if text.parse::<i64>().is_ok() => "Long",
            Json::Number(_) => "BigInteger",
            Json::String(_) => "String",
            Json::Array(_) => "ArrayList",
            Json::Object(_) => "LinkedHashMap",
        }
    }

    /// As Java prints it.
    pub fn shown(&self) -> String {
        match self {
            Json::Null => "null".into(),
            Json::Bool(value) => value.to_string(),
            Json::Number(text) | Json::String(text) => text.clone(),
            Json::Array(parts) => {
                let parts: Vec<String> = parts.iter().map(Json::shown).collect();
                format!("[{}]", parts.join(", "))
            }
            Json::Object(entries) => {
                let entries: Vec<String> = entries
                    .iter()
                    .map(|(name, value)| format!("{name}={}", value.shown()))
                    .collect();
                format!("{{{}}}", entries.join(", "))
            }
        }
    }
}

/// Reads the value that a text begins with. What stands behind it is not looked at, as in Cassandra.
pub fn parse(text: &str) -> CqlResult<Json> {
    let mut reader = Reader { text, at: 0 };
    reader
        .value(0)
        .ok_or_else(|| CqlError::invalid(format!("Could not decode JSON string as a map: {text}")))
}

struct Reader<'a> {
    text: &'a str,
    at: usize,
}

impl<'a> Reader<'a> {
    fn rest(&self) -> &'a str {
        &self.text[self.at..]
    }

    fn space(&mut self) {
        let rest = self.rest();
        self.at += rest.len() - rest.trim_start_matches([' ', '\t', '\n', '\r']).len();
    }

    fn eat(&mut self, token: &str) -> Option<()> {
        self.space();
        self.rest()
            .starts_with(token)
            .then(|| self.at += token.len())
    }

    fn value(&mut self, depth: usize) -> Option<Json> {
        if depth > DEPTH_MAX {
            return None;
        }
        self.space();
        match self.rest().bytes().next()? {
            b'n' => self.eat("null").map(|()| Json::Null),
            b't' => self.eat("true").map(|()| Json::Bool(true)),
            b'f' => self.eat("false").map(|()| Json::Bool(false)),
            b'"' => self.string().map(Json::String),
            b'[' => {
                self.eat("[")?;
                let mut parts = Vec::new();
                if self.eat("]").is_some() {
                    return Some(Json::Array(parts));
                }
                loop {
                    parts.push(self.value(depth + 1)?);
                    if self.eat(",").is_none() {
                        self.eat("]")?;
                        return Some(Json::Array(parts));
                    }
                }
            }
            b'{' => {
                self.eat("{")?;
                let mut entries: Vec<(String, Json)> = Vec::new();
                if self.eat("}").is_some() {
                    return Some(Json::Object(entries));
                }
                // Of a name that stands there twice the last value counts, at the first one's place.
                let mut places: HashMap<String, usize> = HashMap::new();
                loop {
                    self.space();
                    let name = self.string()?;
                    self.eat(":")?;
                    let value = self.value(depth + 1)?;
                    match places.get(&name) {
                        Some(place) => entries[*place].1 = value,
                        None => {
                            places.insert(name.clone(), entries.len());
                            entries.push((name, value));
                        }
                    }
                    if self.eat(",").is_none() {
                        self.eat("}")?;
                        return Some(Json::Object(entries));
                    }
                }
            }
            _ => self.number(),
        }
    }

    fn number(&mut self) -> Option<Json> {
        let rest = self.rest();
        let end = rest
            .find(|c: char| !(c.is_alphanumeric() || matches!(c, '-' | '+' | '.')))
            .unwrap_or(rest.len());
        let text = &rest[..end];
        is_number(text).then(|| {
            self.at += end;
            Json::Number(text.to_owned())
        })
    }

    fn string(&mut self) -> Option<String> {
        let mut text = String::new();
        let mut chars = self.rest().strip_prefix('"')?.char_indices();
        let start = self.at + 1;
        while let Some((at, c)) = chars.next() {
            match c {
                '"' => {
                    self.at = start + at + 1;
                    return Some(text);
                }
                '\\' => match chars.next()?.1 {
                    'n' => text.push('\n'),
                    't' => text.push('\t'),
                    'r' => text.push('\r'),
                    'b' => text.push('\u{8}'),
                    'f' => text.push('\u{c}'),
                    'u' => text.push(escaped(&mut chars)?),
                    other @ ('"' | '\\' | '/') => text.push(other),
                    _ => return None,
                },
                c if c < ' ' => return None,
                c => text.push(c),
            }
        }
        None
    }
}

/// The letter of the digits behind `\u`, and of the other half of a pair behind them. Half a pair is what Java writes for one: a question mark.
fn escaped(chars: &mut CharIndices<'_>) -> Option<char> {
    let unit = |chars: &mut CharIndices<'_>| {
        (0..4).try_fold(0, |sum, _| Some(sum * 16 + chars.next()?.1.to_digit(16)?))
    };
    let first = unit(chars)?;
    if let Some(letter) = char::from_u32(first) {
        return Some(letter);
    }
    let mut ahead = chars.clone();
    let follows = ahead.as_str().starts_with("\\u");
    let pair = follows.then(|| {
        ahead.nth(1);
        let second = unit(&mut ahead)?;
        char::decode_utf16([first as u16, second as u16])
            .next()?
            .ok()
    });
    Some(match pair.flatten() {
        Some(letter) => {
            *chars = ahead;
            letter
        }
        None => '?',
    })
}

/// Whether JSON has such a number: neither a plus nor a zero before it, and digits on both sides of a point.
fn is_number(text: &str) -> bool {
    let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let text = text.strip_prefix('-').unwrap_or(text);
    let (mantissa, exponent) = match text.split_once(['e', 'E']) {
        Some((mantissa, exponent)) => (mantissa, Some(exponent)),
        None => (text, None),
    };
    let (whole, fraction) = match mantissa.split_once('.') {
        Some((whole, fraction)) => (whole, Some(fraction)),
        None => (mantissa, None),
    };
    let has_one_way = is_digits(whole) && (whole.len() == 1 || !whole.starts_with('0'));
    let is_exponent = |text: &str| is_digits(text.strip_prefix(['-', '+']).unwrap_or(text));
    has_one_way && fraction.is_none_or(is_digits) && exponent.is_none_or(is_exponent)
}
