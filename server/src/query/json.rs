//! JSON on both sides: `SELECT JSON` prints rows, `INSERT JSON` reads them.
//!
//! Numbers keep the digits they were written with, so decimals and varints of any size come through whole; that is why the
//! reader is our own and not one that makes floats of them. Column names with capital letters stand in quotes of their own,
//! as in Cassandra.

mod reader;

use std::borrow::Cow;
use std::collections::HashMap;
use std::fmt::Write;

use bytes::Bytes;
use palladium_protocol::cql::ast::JsonDefault;
use palladium_protocol::types::vint::put_unsigned_vint;
use palladium_protocol::types::{CqlType, CqlValue, decode};

use self::reader::{Json, parse};
use super::analyze::{JsonDocument, JsonInsert, ModifyPlan, SelectPlan, literal};
use super::expression::{Bound, Scope};
use super::functions::{calendar, text};
use super::plan::not_null;
use crate::encode::wire::{self, Elements, Fields};
use crate::error::{CqlError, CqlResult};
use crate::schema::{ColumnKind, TableSchema, types};

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
    match name == name.to_lowercase() {
        true => name.to_owned(),
        false => format!("\"{name}\""),
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
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            c if (c as u32) < 0x20 => {
                write!(out, "\\u{:04X}", c as u32).expect("writing to a string never fails");
            }
            c => out.push(c),
        }
    }
    out.push('"');
}

/// The entries of an object by the names that they mean: without quotes case is of no account. Those that are written as they are meant come first, and give
/// way to those that are not.
fn fields_given(entries: &[(String, Json)]) -> Vec<(Cow<'_, str>, &Json)> {
    let meant = |name: &'_ String| -> Option<String> {
        let exact = name
            .strip_prefix('"')
            .and_then(|name| name.strip_suffix('"'));
        let meant = exact.map_or_else(|| name.to_lowercase(), str::to_owned);
        (meant != *name).then_some(meant)
    };
    let mut given: Vec<(Cow<'_, str>, &Json)> = Vec::new();
    let mut other = Vec::new();
    for (name, value) in entries {
        match meant(name) {
            None => given.push((Cow::Borrowed(name.as_str()), value)),
            Some(meant) => other.push((meant, value)),
        }
    }
    if other.is_empty() {
        return given;
    }
    let mut places: HashMap<String, usize> = HashMap::new();
    for (place, (name, _)) in given.iter().enumerate() {
        places.entry(name.to_string()).or_insert(place);
    }
    for (name, value) in other {
        match places.get(&name) {
            Some(place) => given[*place].1 = value,
            None => {
                places.insert(name.clone(), given.len());
                given.push((Cow::Owned(name), value));
            }
        }
    }
    given
}

/// The JSON of a value that is given to a function: null if it has no bytes and its type has no such value.
pub fn of_argument(ty: &CqlType, value: Option<&[u8]>) -> CqlResult<String> {
    // To Cassandra these two have one.
    let has_empty =
        !ty.is_null_without_bytes() || matches!(ty.bare(), CqlType::Smallint | CqlType::Duration);
    let mut text = String::new();
    print(
        ty,
        value.filter(|value| has_empty || !value.is_empty()),
        &mut text,
    )?;
    Ok(text)
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
    if value.is_empty() && ty.is_null_without_bytes() {
        out.push_str("\"\"");
        return Ok(());
    }
    let decoded = decode(ty, value).map_err(|error| CqlError::invalid(error.to_string()))?;
    match decoded {
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

/// What an INSERT JSON says of each column of its table.
pub struct Document<'a> {
    table: &'a TableSchema,
    values: Vec<Bound>,
}

impl Document<'_> {
    pub fn partition(&self) -> CqlResult<Vec<Bytes>> {
        self.key(ColumnKind::PartitionKey)
    }

    /// What is wrong with it is said later than what is wrong with the partition key.
    pub fn clustering(&self) -> CqlResult<Vec<Bytes>> {
        self.key(ColumnKind::Clustering)
    }

    fn key(&self, kind: ColumnKind) -> CqlResult<Vec<Bytes>> {
        let columns = self.table.columns.iter().zip(&self.values);
        columns
            .filter(|(column, _)| column.kind == kind)
            .map(|(column, value)| not_null(value.clone(), &column.name))
            .collect()
    }

    /// Columns outside the key by their places in the table.
    pub fn columns(self) -> impl Iterator<Item = (usize, Bound)> {
        let table = self.table;
        let all = self.values.into_iter().enumerate();
        all.filter(|(index, _)| !table.columns[*index].kind.is_primary_key())
    }
}

/// Reads the text of an INSERT JSON: what it gives to which columns, by their places in the table.
pub fn given(table: &TableSchema, text: &[u8]) -> CqlResult<Vec<(usize, Bound)>> {
    let text =
        std::str::from_utf8(text).map_err(|_| CqlError::invalid("String didn't validate."))?;
    let entries = match parse(text)? {
        Json::Object(entries) => entries,
        Json::Null => return Err(CqlError::invalid("Got null for INSERT JSON values")),
        _ => {
            return Err(CqlError::invalid(format!(
                "Could not decode JSON string as a map: {text}"
            )));
        }
    };
    let mut columns: Vec<Option<Json>> = vec![None; table.columns.len()];
    // What was meant by another spelling comes last in Cassandra's map.
    let mut unknown: [Option<String>; 2] = [None, None];
    for (name, value) in entries {
        let own = match name
            .strip_prefix('"')
            .and_then(|name| name.strip_suffix('"'))
        {
            Some(exact) => exact.to_owned(),
            None => name.to_lowercase(),
        };
        match table.column_index(&own) {
            Some(index) => columns[index] = Some(value),
            None => {
                unknown[usize::from(own != name)].get_or_insert(own);
            }
        }
    }
    let mut given = Vec::with_capacity(columns.len());
    for (index, value) in columns.into_iter().enumerate() {
        let column = &table.columns[index];
        match value {
            None => {}
            Some(Json::Null) => given.push((index, Bound::Null)),
            Some(json) => {
                let value = read(&column.ty, &json, &column.name)?;
                given.push((index, Bound::Value(value)));
            }
        }
    }
    match unknown.into_iter().flatten().next() {
        None => Ok(given),
        Some(name) => Err(CqlError::invalid(format!(
            "JSON values map contains unrecognized column: {name}"
        ))),
    }
}

/// What an INSERT JSON says of each column.
pub fn document<'p>(
    plan: &'p ModifyPlan,
    insert: &JsonInsert,
    scope: &Scope<'_>,
) -> CqlResult<Document<'p>> {
    let table = &plan.table;
    let bound;
    let given = match &insert.document {
        JsonDocument::Given(given) => given,
        JsonDocument::Bound(text) => {
            let Bound::Value(text) = text.evaluate(scope)? else {
                return Err(CqlError::invalid("Got null for INSERT JSON values"));
            };
            bound = self::given(table, &text)?;
            &bound
        }
    };
    let left_out = match insert.default {
        JsonDefault::Null => Bound::Null,
        JsonDefault::Unset => Bound::Unset,
    };
    let mut values = vec![left_out; table.columns.len()];
    for (index, value) in given {
        values[*index] = value.clone();
    }
    Ok(Document { table, values })
}

/// The value of a JSON text, for `from_json`; null is null.
pub fn value(ty: &CqlType, text: &[u8]) -> CqlResult<Option<Bytes>> {
    let failed = |message: String| {
        CqlError::function_failure("system", "from_json", vec!["text".into()], message)
    };
    let text = std::str::from_utf8(text).map_err(|_| failed("String didn't validate.".into()))?;
    let json = parse(text).map_err(|_| {
        failed(format!(
            "execution of 'system.from_json[text]' failed: Could not decode JSON string '{text}': no value of JSON"
        ))
    })?;
    match json {
        Json::Null => Ok(None),
        json => {
            let value = read_bytes(ty, &json).map_err(|refused| refused.said(failed))?;
            Ok(Some(wire::normalize(ty, &value)?.into_owned().into()))
        }
    }
}

fn read(ty: &CqlType, json: &Json, column: &str) -> CqlResult<Bytes> {
    let value = read_bytes(ty, json).map_err(|refused| {
        refused
            .said(|why| CqlError::invalid(format!("Error decoding JSON value for {column}: {why}")))
    })?;
    let ordered = wire::normalize(ty, &value)?.into_owned();
    Ok(ordered.into())
}

/// Why JSON is no value of a type.
enum Refused {
    /// Said of the place where it stands.
    Value(CqlError),
    /// Said as it is, wherever that is.
    Bare(CqlError),
}

impl Refused {
    fn said(self, of_place: impl FnOnce(String) -> CqlError) -> CqlError {
        match self {
            Refused::Value(error) => of_place(error.message),
            Refused::Bare(error) => error,
        }
    }
}

fn wrong(why: impl Into<String>) -> Refused {
    Refused::Value(CqlError::invalid(why))
}

impl From<CqlError> for Refused {
    fn from(error: CqlError) -> Self {
        Refused::Value(error)
    }
}

fn read_bytes(ty: &CqlType, json: &Json) -> Result<Vec<u8>, Refused> {
    let expected = |json: &Json, what: &str| {
        wrong(format!(
            "Expected {what}, but got a {}: {}",
            json.kind(),
            json.shown()
        ))
    };
    let part = |ty: &CqlType, json: &Json, what: &str| match json {
        Json::Null => Err(wrong(format!("Invalid null {what}"))),
        json => read_bytes(ty, json),
    };
    // What has parts may stand as JSON inside of a string, as a map's key has to.
    let unpacked;
    let has_parts = matches!(
        ty.bare(),
        CqlType::List(_)
            | CqlType::Set(_)
            | CqlType::Vector(..)
            | CqlType::Map(..)
            | CqlType::Tuple(_)
            | CqlType::Udt(_)
    );
    let json = match json {
        Json::String(text) if has_parts => {
            unpacked = parse(text)?;
            &unpacked
        }
        json => json,
    };
    Ok(match ty.bare() {
        CqlType::List(inner) | CqlType::Set(inner) => {
            let kind = match ty.bare() {
                CqlType::List(_) => "list",
                _ => "set",
            };
            let Json::Array(parts) = json else {
                return Err(expected(
                    json,
                    match kind {
                        "list" => "a list",
                        _ => "a list (representing a set)",
                    },
                ));
            };
            let mut out = (parts.len() as i32).to_be_bytes().to_vec();
            for one in parts {
                let element = part(inner, one, &format!("element in {kind}"))?;
                wire::put_element(Some(&element), &mut out);
            }
            out
        }
        CqlType::Vector(inner, dimensions) => {
            let Json::Array(parts) = json else {
                return Err(expected(json, "a list"));
            };
            if parts.len() != usize::from(*dimensions) {
                return Err(wrong(format!(
                    "List had incorrect size: expected {dimensions} but given {}; {}",
                    parts.len(),
                    json.shown()
                )));
            }
            let mut out = Vec::new();
            for one in parts {
                let element = part(inner, one, "element in list")?;
                if element.is_empty() && inner.is_null_without_bytes() {
                    return Err(Refused::Bare(CqlError::invalid(
                        "null is not supported inside vectors",
                    )));
                }
                if inner.fixed_bytes().is_none() {
                    put_unsigned_vint(&mut out, element.len() as u64);
                }
                out.extend_from_slice(&element);
            }
            out
        }
        CqlType::Map(key_type, value_type) => {
            let Json::Object(entries) = json else {
                return Err(expected(json, "a map"));
            };
            let mut out = (entries.len() as i32).to_be_bytes().to_vec();
            for (key, value) in entries {
                let key = part(key_type, &Json::String(key.clone()), "key in map");
                if *value == Json::Null {
                    return Err(wrong("Invalid null value in map"));
                }
                wire::put_element(Some(&key?), &mut out);
                wire::put_element(Some(&part(value_type, value, "value in map")?), &mut out);
            }
            out
        }
        CqlType::Tuple(types) => {
            let Json::Array(parts) = json else {
                return Err(expected(json, "a list representation of a tuple"));
            };
            if parts.len() != types.len() {
                let what = match parts.len() > types.len() {
                    true => "contains extra items",
                    false => "is missing items",
                };
                return Err(wrong(format!(
                    "Tuple {what} (expected {}): {}",
                    types.len(),
                    json.shown()
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
                return Err(expected(json, "a map"));
            };
            let mut given = fields_given(entries);
            let mut out = Vec::new();
            for (name, ty) in &udt.fields {
                let own = given.iter().position(|(given, _)| given == name);
                let own = own.map(|place| given.remove(place).1);
                put_field(ty, own.unwrap_or(&Json::Null), &mut out)?;
            }
            if let Some((unknown, _)) = given.first() {
                return Err(types::unknown_field(unknown, udt).into());
            }
            out
        }
        CqlType::Blob | CqlType::Custom(_) => {
            let no_blob = |why: String| {
                wrong(format!(
                    "Value '{}' is not a valid blob representation: {why}",
                    json.shown()
                ))
            };
            let Json::String(text) = json else {
                return Err(no_blob(format!("{} is no string", json.kind())));
            };
            let digits = text.strip_prefix("0x").ok_or_else(|| {
                no_blob(format!(
                    "String representation of blob is missing 0x prefix: {text}"
                ))
            })?;
            palladium_protocol::cql::ast::Literal::Blob(text.clone())
                .blob_bytes()
                .ok_or_else(|| no_blob(format!("cannot parse '{digits}' as hex bytes")))?
        }
        ty => plain_bytes(ty, json)
            .map_err(|why| why.unwrap_or_else(|| expected(json, expectation(ty))))?,
    })
}

/// What Cassandra says it expected of a value for a type without parts.
fn expectation(ty: &CqlType) -> &'static str {
    match ty {
        CqlType::Text => "a UTF-8 string",
        CqlType::Ascii => "an ascii string",
        CqlType::Inet => "a string representation of an inet value",
        CqlType::Uuid | CqlType::Timeuuid => "a string representation of a uuid",
        CqlType::Date => "a string representation of a date value",
        CqlType::Time => "a string representation of a time value",
        CqlType::Duration => "a string representation of a duration",
        CqlType::Timestamp => "a long or a datestring representation of a timestamp value",
        CqlType::Boolean => "a boolean value",
        CqlType::Int => "an int value",
        CqlType::Bigint | CqlType::Counter => "a bigint value",
        CqlType::Smallint => "a short value",
        CqlType::Tinyint => "a byte value",
        CqlType::Float => "a float value",
        _ => "a double value",
    }
}

/// A value of a type without parts. `None` for an error: something else was expected.
fn plain_bytes(ty: &CqlType, json: &Json) -> Result<Vec<u8>, Option<Refused>> {
    use CqlType::*;
    let of_text = |text: &str| match literal::parse(ty, text) {
        Ok(value) => Ok(value.to_bytes()),
        Err(error) if *ty == Duration => Err(Some(Refused::Bare(error))),
        Err(error) => Err(Some(error.into())),
    };
    match (ty, json) {
        (Boolean, Json::String(text)) if text.is_empty() => Ok(vec![0]),
        // An empty text is an empty value, but for types that read it as the text it is.
        (ty, Json::String(text))
            if text.is_empty() && !matches!(ty, Text | Ascii | Varint | Date | Time) =>
        {
            Ok(std::vec::Vec::new())
        }
        (Varint | Decimal, json) => {
            let text = json.shown();
            let parsed = literal::parse(ty, &text).map(|value| value.to_bytes());
            parsed.map_err(|_| {
                Some(wrong(format!(
                    "Value '{text}' is not a valid representation of a {ty} value"
                )))
            })
        }
        (Boolean, Json::Bool(value)) => Ok(vec![u8::from(*value)]),
        (_, Json::String(text)) => of_text(text),
        (Int | Bigint | Counter | Timestamp, Json::Number(_)) if json.kind() == "Double" => {
            Err(None)
        }
        (Int, Json::Number(_)) if json.kind() != "Integer" => Err(None),
        // A small number is an Integer to Cassandra's reader, and a timestamp only takes a Long.
        (Timestamp, Json::Number(_)) if json.kind() != "Long" => Err(None),
        // A number with a point is a double to Cassandra's reader, whatever becomes of it.
        (Float, Json::Number(text)) if json.kind() == "Double" => {
            let number: f64 = text.parse().map_err(|_| None)?;
            Ok((number as f32).to_be_bytes().to_vec())
        }
        (
            Int | Bigint | Counter | Timestamp | Smallint | Tinyint | Float | Double,
            Json::Number(text),
        ) => of_text(text),
        _ => Err(None),
    }
}

fn put_field(ty: &CqlType, json: &Json, out: &mut Vec<u8>) -> Result<(), Refused> {
    match json {
        Json::Null => wire::put_element(None, out),
        json => wire::put_element(Some(&read_bytes(ty, json)?), out),
    }
    Ok(())
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
        let value = read_bytes(&ty, &parse(text).expect("good JSON"));
        let value = value.ok().expect("a map");
        let mut out = String::new();
        print(&ty, Some(&value), &mut out).expect("a map");
        assert_eq!(out, text);
    }

    #[test]
    fn many_names_in_another_case_are_read_in_one_walk() {
        let mut entries: Vec<(String, Json)> = (0..300_000)
            .map(|name| (format!("A{name}"), Json::Null))
            .collect();
        entries.insert(0, ("a7".into(), Json::Bool(false)));
        let given = fields_given(&entries);
        assert_eq!(given.len(), 300_000);
        assert_eq!(
            given[0],
            (Cow::Borrowed("a7"), &Json::Null),
            "the other gives way"
        );
    }
}
