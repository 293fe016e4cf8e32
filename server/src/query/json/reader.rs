//! Text to JSON, every number with its own digits, and the words in which Cassandra speaks of what it read.

use std::collections::HashMap;

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

/// Reads a whole text.
pub fn parse(text: &str) -> CqlResult<Json> {
    let mut reader = Reader { text, at: 0 };
    let value = reader.value(0);
    reader.space();
    match value {
        Some(value) if reader.at == text.len() => Ok(value),
        _ => Err(CqlError::invalid(format!(
            "Could not decode JSON string as a map: {text}"
        ))),
    }
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
            .find(|c: char| !matches!(c, '0'..='9' | '-' | '+' | '.' | 'e' | 'E'))
            .unwrap_or(rest.len());
        let text = &rest[..end];
        text.parse::<f64>().ok()?;
        self.at += end;
        Some(Json::Number(text.to_owned()))
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
                    'u' => {
                        let mut unit = || {
                            (0..4).try_fold(0u32, |sum, _| {
                                Some(sum * 16 + chars.next()?.1.to_digit(16)?)
                            })
                        };
                        let first = unit()?;
                        let code = if (0xD800..0xDC00).contains(&first) {
                            if chars.next()?.1 != '\\' || chars.next()?.1 != 'u' {
                                return None;
                            }
                            let mut unit = || {
                                (0..4).try_fold(0u32, |sum, _| {
                                    Some(sum * 16 + chars.next()?.1.to_digit(16)?)
                                })
                            };
                            0x10000 + ((first - 0xD800) << 10) + unit()?.checked_sub(0xDC00)?
                        } else {
                            first
                        };
                        text.push(char::from_u32(code)?);
                    }
                    other => text.push(other),
                },
                c => text.push(c),
            }
        }
        None
    }
}
