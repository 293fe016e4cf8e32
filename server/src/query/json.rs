//! JSON on both sides: `SELECT JSON` prints rows, `INSERT JSON` reads them.
//!
//! Numbers keep the digits they were written with, so decimals and varints of any size come through whole; that is why the
//! reader is our own and not one that makes floats of them. Column names with capital letters stand in quotes of their own,
//! as in Cassandra.

use std::fmt::Write;

use bytes::Bytes;
use palladium_protocol::cql::ast::JsonDefault;
use palladium_protocol::types::vint::put_unsigned_vint;
use palladium_protocol::types::{CqlType, CqlValue, decode};

use super::analyze::{JsonInsert, ModifyPlan, SelectPlan, literal};
use super::expression::{Bound, Scope};
use super::functions::{calendar, text};
use crate::encode::wire::{self, Elements, Fields};
use crate::error::{CqlError, CqlResult};
use crate::schema::ColumnKind;

/// How deep a document may nest.
const DEPTH_MAX: usize = 64;

/// A row as a JSON object.
pub fn row(plan: &SelectPlan, values: &[Option<Bytes>]) -> CqlResult<String> {
    let mut out = String::from("{");
    for (place, (spec, value)) in plan.specs.iter().zip(values).enumerate() {
        if place > 0 {
            out.push_str(", ");
        }
        quote(&column_name(&spec.name), &mut out);
        out.push_str(": ");
        print(&spec.ty, value.as_deref(), &mut out)?;
    }
    out.push('}');
    Ok(out)
}

fn column_name(name: &str) -> String {
    match name.bytes().any(|byte| byte.is_ascii_uppercase()) {
        true => format!("\"{name}\""),
        false => name.to_owned(),
    }
}

fn quote(text: &str, out: &mut String) {
    out.push('"');
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if (c as u32) < 0x20 => {
                write!(out, "\\u{:04x}", c as u32).expect("writing to a string never fails");
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// Appends a value as JSON.
pub fn print(ty: &CqlType, value: Option<&[u8]>, out: &mut String) -> CqlResult<()> {
    let Some(value) = value else {
        out.push_str("null");
        return Ok(());
    };
    let each = |out: &mut String,
                open: char,
                close: char,
                parts: &mut dyn FnMut(&mut String) -> CqlResult<bool>| {
        out.push(open);
        let mut first = true;
        loop {
            let before = out.len();
            if !first {
                out.push_str(", ");
            }
            if !parts(out)? {
                out.truncate(before);
                break;
            }
            first = false;
        }
        out.push(close);
        Ok::<_, CqlError>(())
    };
    match ty.bare() {
        CqlType::List(inner) | CqlType::Set(inner) => {
            let mut elements = Elements::read(value)?;
            each(out, '[', ']', &mut |out| match elements.next() {
                Some(element) => print(inner, element?, out).map(|()| true),
                None => Ok(false),
            })
        }
        CqlType::Vector(inner, dimensions) => {
            let mut elements =
                wire::vector_elements(inner, usize::from(*dimensions), value)?.into_iter();
            each(out, '[', ']', &mut |out| match elements.next() {
                Some(element) => print(inner, Some(element), out).map(|()| true),
                None => Ok(false),
            })
        }
        CqlType::Map(key_type, value_type) => {
            let mut elements = Elements::read_map(value)?;
            each(out, '{', '}', &mut |out| {
                let (Some(key), Some(entry)) = (elements.next(), elements.next()) else {
                    return Ok(false);
                };
                let mut key_text = String::new();
                print(key_type, key?, &mut key_text)?;
                match key_text.starts_with('"') {
                    true => out.push_str(&key_text),
                    false => quote(&key_text, out),
                }
                out.push_str(": ");
                print(value_type, entry?, out).map(|()| true)
            })
        }
        CqlType::Tuple(types) => {
            let mut fields = Fields::read(value);
            let mut types = types.iter();
            each(out, '[', ']', &mut |out| {
                let Some(ty) = types.next() else {
                    return Ok(false);
                };
                print(ty, fields.next().transpose()?.flatten(), out).map(|()| true)
            })
        }
        CqlType::Udt(udt) => {
            let mut fields = Fields::read(value);
            let mut types = udt.fields.iter();
            each(out, '{', '}', &mut |out| {
                let Some((name, ty)) = types.next() else {
                    return Ok(false);
                };
                quote(&column_name(name), out);
                out.push_str(": ");
                print(ty, fields.next().transpose()?.flatten(), out).map(|()| true)
            })
        }
        ty => print_plain(ty, value, out),
    }
}

fn print_plain(ty: &CqlType, value: &[u8], out: &mut String) -> CqlResult<()> {
    let decoded = decode(ty, value).map_err(|error| CqlError::invalid(error.to_string()))?;
    match decoded {
        CqlValue::Empty => out.push_str("\"\""),
        CqlValue::Float(number) if !number.is_finite() => out.push_str("null"),
        CqlValue::Double(number) if !number.is_finite() => out.push_str("null"),
        CqlValue::Timestamp(millis) => quote(&calendar::print_timestamp(millis, ' '), out),
        CqlValue::Int(_)
        | CqlValue::Bigint(_)
        | CqlValue::Counter(_)
        | CqlValue::Smallint(_)
        | CqlValue::Tinyint(_)
        | CqlValue::Varint(_)
        | CqlValue::Decimal { .. }
        | CqlValue::Float(_)
        | CqlValue::Double(_)
        | CqlValue::Boolean(_) => out.push_str(&text::plain(ty, value)?),
        _ => quote(&text::plain(ty, value)?, out),
    }
    Ok(())
}

/// What an INSERT JSON says: key values and the other columns.
pub struct Document {
    pub partition: Vec<Bytes>,
    pub clustering: Vec<Bytes>,
    /// By place in the table; None is null.
    pub columns: Vec<(usize, Option<Bytes>)>,
}

/// Reads the document of an INSERT JSON.
pub fn document(plan: &ModifyPlan, insert: &JsonInsert, scope: &Scope<'_>) -> CqlResult<Document> {
    let table = &plan.table;
    let text = match insert.document.evaluate(scope)? {
        Bound::Value(text) => text,
        _ => return Err(CqlError::invalid("Got null for INSERT JSON values")),
    };
    let text =
        std::str::from_utf8(&text).map_err(|_| CqlError::invalid("String didn't validate."))?;
    let Json::Object(entries) = parse(text)? else {
        return Err(CqlError::invalid(format!(
            "Could not decode JSON string as a map: {text}"
        )));
    };
    let mut given: Vec<Option<Json>> = vec![None; table.columns.len()];
    for (name, value) in entries {
        let own = match name
            .strip_prefix('"')
            .and_then(|name| name.strip_suffix('"'))
        {
            Some(exact) => exact.to_owned(),
            None => name.to_lowercase(),
        };
        let index = table.column_index(&own).ok_or_else(|| {
            CqlError::invalid(format!(
                "JSON values map contains unrecognized column: {name}"
            ))
        })?;
        given[index] = Some(value);
    }
    let mut document = Document {
        partition: Vec::new(),
        clustering: Vec::new(),
        columns: Vec::new(),
    };
    for (index, value) in given.into_iter().enumerate() {
        let column = &table.columns[index];
        let bytes = match &value {
            None | Some(Json::Null) => None,
            Some(json) => Some(read(&column.ty, json, &column.name)?),
        };
        match (column.kind, bytes) {
            (ColumnKind::PartitionKey, Some(bytes)) => document.partition.push(bytes),
            (ColumnKind::Clustering, Some(bytes)) => document.clustering.push(bytes),
            (ColumnKind::PartitionKey | ColumnKind::Clustering, None) => {
                return Err(CqlError::invalid(format!(
                    "Invalid null value in condition for column {}",
                    column.name
                )));
            }
            (_, bytes) if value.is_some() || insert.default == JsonDefault::Null => {
                document.columns.push((index, bytes));
            }
            _ => {}
        }
    }
    Ok(document)
}

/// The value of a JSON text, for `from_json`; null is null.
pub fn value(ty: &CqlType, text: &[u8]) -> CqlResult<Option<Bytes>> {
    let failed = |message: String| {
        CqlError::function_failure("system", "from_json", vec!["text".into()], message)
    };
    let text = std::str::from_utf8(text).map_err(|_| failed("String didn't validate.".into()))?;
    match parse(text).map_err(|error| failed(error.message))? {
        Json::Null => Ok(None),
        json => {
            let value = read_bytes(ty, &json).map_err(|error| failed(error.message))?;
            Ok(Some(wire::normalize(ty, &value)?.into_owned().into()))
        }
    }
}

/// A JSON value as written.
#[derive(Debug, Clone, PartialEq)]
enum Json {
    Null,
    Bool(bool),
    /// Its digits.
    Number(String),
    String(String),
    Array(Vec<Json>),
    Object(Vec<(String, Json)>),
}

fn read(ty: &CqlType, json: &Json, column: &str) -> CqlResult<Bytes> {
    let value = read_bytes(ty, json).map_err(|error| {
        CqlError::invalid(format!(
            "Error decoding JSON value for {column}: {}",
            error.message
        ))
    })?;
    let ordered = wire::normalize(ty, &value)?.into_owned();
    Ok(ordered.into())
}

fn read_bytes(ty: &CqlType, json: &Json) -> CqlResult<Vec<u8>> {
    let expected = |what: &str| {
        CqlError::invalid(format!(
            "Expected {what}, but got a {}: {}",
            json.kind(),
            json.shown()
        ))
    };
    let part = |ty: &CqlType, json: &Json| match json {
        Json::Null => Err(CqlError::invalid("Invalid null element in collection")),
        json => read_bytes(ty, json),
    };
    Ok(match ty.bare() {
        CqlType::List(inner) | CqlType::Set(inner) => {
            let Json::Array(parts) = json else {
                return Err(expected("a list"));
            };
            let mut out = (parts.len() as i32).to_be_bytes().to_vec();
            for one in parts {
                wire::put_element(Some(&part(inner, one)?), &mut out);
            }
            out
        }
        CqlType::Vector(inner, dimensions) => {
            let Json::Array(parts) = json else {
                return Err(expected("a list"));
            };
            if parts.len() != usize::from(*dimensions) {
                return Err(CqlError::invalid(format!(
                    "Expected {dimensions} elements, but got {}",
                    parts.len()
                )));
            }
            let mut out = Vec::new();
            for one in parts {
                let element = part(inner, one)?;
                if inner.fixed_bytes().is_none() {
                    put_unsigned_vint(&mut out, element.len() as u64);
                }
                out.extend_from_slice(&element);
            }
            out
        }
        CqlType::Map(key_type, value_type) => {
            let Json::Object(entries) = json else {
                return Err(expected("a map"));
            };
            let mut out = (entries.len() as i32).to_be_bytes().to_vec();
            for (key, value) in entries {
                // Keys of JSON are text; those of collection types hold JSON themselves.
                let key_json = match key_type.bare() {
                    CqlType::List(_)
                    | CqlType::Set(_)
                    | CqlType::Map(..)
                    | CqlType::Tuple(_)
                    | CqlType::Udt(_) => parse(key)?,
                    _ => Json::String(key.clone()),
                };
                wire::put_element(Some(&part(key_type, &key_json)?), &mut out);
                wire::put_element(Some(&part(value_type, value)?), &mut out);
            }
            out
        }
        CqlType::Tuple(types) => {
            let Json::Array(parts) = json else {
                return Err(expected("a list representation of a tuple"));
            };
            if parts.len() != types.len() {
                return Err(CqlError::invalid(format!(
                    "Tuple contains {} items, but {} were expected",
                    parts.len(),
                    types.len()
                )));
            }
            let mut out = Vec::new();
            for (ty, one) in types.iter().zip(parts) {
                put_field(ty, one, &mut out)?;
            }
            out
        }
        CqlType::Udt(udt) => {
            let Json::Object(entries) = json else {
                return Err(expected("a map"));
            };
            let mut out = Vec::new();
            for (name, ty) in &udt.fields {
                let own = entries
                    .iter()
                    .find(|(given, _)| match given.strip_prefix('"') {
                        Some(exact) => exact.strip_suffix('"') == Some(name),
                        None => given.to_lowercase() == *name,
                    });
                put_field(ty, own.map_or(&Json::Null, |(_, value)| value), &mut out)?;
            }
            if let Some((unknown, _)) = entries.iter().find(|(given, _)| {
                let given = given.trim_matches('"');
                !udt.fields
                    .iter()
                    .any(|(name, _)| name.eq_ignore_ascii_case(given))
            }) {
                return Err(CqlError::invalid(format!(
                    "Unknown field '{unknown}' in value of user defined type {}",
                    udt.name
                )));
            }
            out
        }
        CqlType::Blob | CqlType::Custom(_) => {
            let Json::String(text) = json else {
                return Err(expected("a hex string representation of a blob"));
            };
            let digits = text.strip_prefix("0x").ok_or_else(|| {
                CqlError::invalid(format!("Value '{text}' is not a valid blob representation: String representation of blob is missing 0x prefix: {text}"))
            })?;
            palladium_protocol::cql::ast::Literal::Blob(digits.to_owned())
                .blob_bytes()
                .ok_or_else(|| {
                    CqlError::invalid(format!("Value '{text}' is not a valid blob representation"))
                })?
        }
        ty @ (CqlType::Text
        | CqlType::Ascii
        | CqlType::Inet
        | CqlType::Uuid
        | CqlType::Timeuuid
        | CqlType::Date
        | CqlType::Time
        | CqlType::Duration) => match json {
            Json::String(text) => literal::parse(ty, text)?.to_bytes(),
            _ => return Err(expected(&format!("a string representation of a {ty}"))),
        },
        CqlType::Timestamp => match json {
            Json::String(text) | Json::Number(text) => {
                literal::parse(&CqlType::Timestamp, text)?.to_bytes()
            }
            _ => {
                return Err(expected(
                    "a long or a datestring representation of a timestamp",
                ));
            }
        },
        CqlType::Boolean => match json {
            Json::Bool(value) => vec![u8::from(*value)],
            Json::String(text) => literal::parse(&CqlType::Boolean, text)?.to_bytes(),
            _ => return Err(expected("a boolean value")),
        },
        ty => match json {
            Json::Number(text) | Json::String(text) => literal::parse(ty, text)?.to_bytes(),
            _ => return Err(expected(&format!("a {ty} value"))),
        },
    })
}

fn put_field(ty: &CqlType, json: &Json, out: &mut Vec<u8>) -> CqlResult<()> {
    match json {
        Json::Null => wire::put_element(None, out),
        json => wire::put_element(Some(&read_bytes(ty, json)?), out),
    }
    Ok(())
}

impl Json {
    fn kind(&self) -> &'static str {
        match self {
            Json::Null => "null",
            Json::Bool(_) => "Boolean",
            Json::Number(text) if text.contains(['.', 'e', 'E']) => "Double",
            Json::Number(_) => "Integer",
            Json::String(_) => "String",
            Json::Array(_) => "ArrayList",
            Json::Object(_) => "LinkedHashMap",
        }
    }

    fn shown(&self) -> String {
        match self {
            Json::Null => "null".into(),
            Json::Bool(value) => value.to_string(),
            Json::Number(text) | Json::String(text) => text.clone(),
            Json::Array(_) => "[...]".into(),
            Json::Object(_) => "{...}".into(),
        }
    }
}

fn parse(text: &str) -> CqlResult<Json> {
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
                let mut entries = Vec::new();
                if self.eat("}").is_some() {
                    return Some(Json::Object(entries));
                }
                loop {
                    self.space();
                    let name = self.string()?;
                    self.eat(":")?;
                    entries.push((name, self.value(depth + 1)?));
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_keep_their_digits() {
        let json =
            parse(r#" {"a": [1.00, -2e5, "x\u00e9\ud83d\ude00"], "b": {}} "#).expect("good JSON");
        let Json::Object(entries) = json else {
            panic!("an object")
        };
        assert_eq!(
            entries[0].1,
            Json::Array(vec![
                Json::Number("1.00".into()),
                Json::Number("-2e5".into()),
                Json::String("xé😀".into())
            ])
        );
        assert!(parse("{\"a\": }").is_err());
        assert!(parse(&"[".repeat(1000)).is_err());
    }

    #[test]
    fn a_value_goes_to_json_and_back() {
        let ty = CqlType::map(CqlType::Int, CqlType::list(CqlType::Text).frozen());
        let text = r#"{"1": ["a", "b\"c"], "2": []}"#;
        let value = read_bytes(&ty, &parse(text).expect("good JSON")).expect("a map");
        let mut out = String::new();
        print(&ty, Some(&value), &mut out).expect("a map");
        assert_eq!(out, text);
    }
}
