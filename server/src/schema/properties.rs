//! What stands behind WITH, before anybody knows what it means: names with texts and maps, each name once, as the parser has seen to.
//!
//! The readers here give Cassandra's errors for a value of the wrong shape; ranges are checked by whoever knows the option.

use std::collections::BTreeMap;

use palladium_protocol::cql::ast::{Property, PropertyMap, PropertyValue};

use crate::error::{CqlError, CqlResult};

/// The properties of one statement.
#[derive(Debug, Default)]
pub struct Properties<'a> {
    entries: Vec<&'a Property>,
}

impl<'a> Properties<'a> {
    /// Takes the properties of a statement; each must be one of `known`.
    pub fn read(
        properties: impl IntoIterator<Item = &'a Property>,
        known: &[&str],
    ) -> CqlResult<Self> {
        let entries: Vec<&Property> = properties.into_iter().collect();
        match entries
            .iter()
            .find(|property| !known.contains(&property.name.as_str()))
        {
            Some(unknown) => Err(CqlError::syntax(format!(
                "Unknown property '{}'",
                unknown.name.as_str()
            ))),
            None => Ok(Properties { entries }),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub fn value(&self, name: &str) -> Option<&'a PropertyValue> {
        self.entries
            .iter()
            .find(|property| property.name.as_str() == name)
            .map(|property| &property.value)
    }

    /// A string, number or word, as it was written.
    pub fn text(&self, name: &str) -> CqlResult<Option<String>> {
        let wrong = || {
            CqlError::syntax(format!(
                "Invalid value for property '{name}'. It should be a string"
            ))
        };
        self.value(name)
            .map(|value| value.text().ok_or_else(wrong))
            .transpose()
    }

    /// A map of texts.
    pub fn map(&self, name: &str) -> CqlResult<Option<BTreeMap<String, String>>> {
        self.value(name)
            .map(|value| text_map(name, value))
            .transpose()
    }

    /// `true`, `1` and `yes`, or `false`, `0` and `no`.
    pub fn boolean(&self, name: &str) -> CqlResult<Option<bool>> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        match text.to_ascii_lowercase().as_str() {
            "1" | "true" | "yes" => Ok(Some(true)),
            "0" | "false" | "no" => Ok(Some(false)),
            _ => Err(CqlError::syntax(format!(
                "Invalid boolean value {text} for '{name}'. Positive values can be '1', 'true' or 'yes'. Negative values can be \
                 '0', 'false' or 'no'."
            ))),
        }
    }

    pub fn double(&self, name: &str) -> CqlResult<Option<f64>> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        read_java_double(&text)
            .map(Some)
            .ok_or_else(|| CqlError::syntax(format!("Invalid double value {text} for '{name}'")))
    }

    pub fn integer(&self, name: &str) -> CqlResult<Option<i32>> {
        let Some(text) = self.text(name)? else {
            return Ok(None);
        };
        text.parse()
            .map(Some)
            .map_err(|_| CqlError::syntax(format!("Invalid integer value {text} for '{name}'")))
    }
}

fn text_map(name: &str, value: &PropertyValue) -> CqlResult<BTreeMap<String, String>> {
    let wrong = || {
        CqlError::syntax(format!(
            "Invalid value for property '{name}'. It should be a map."
        ))
    };
    let entries: &PropertyMap = value.map().ok_or_else(wrong)?;
    entries
        .iter()
        .map(|(key, value)| Ok((key.raw_text(), value.text().ok_or_else(wrong)?)))
        .collect()
}

/// A floating-point number as Java prints it: `0.01`, `1.0`, `6.71E-5`, `Infinity`.
pub fn java_double(number: f64) -> String {
    let size = number.abs();
    if number.is_infinite() {
        let sign = if number < 0.0 { "-" } else { "" };
        return format!("{sign}Infinity");
    }
    if number == 0.0 || (1e-3..1e7).contains(&size) || number.is_nan() {
        return format!("{number:?}");
    }
    let text = format!("{number:E}");
    let (digits, exponent) = text.split_once('E').unwrap_or((&text, "0"));
    match digits.contains('.') {
        true => format!("{digits}E{exponent}"),
        false => format!("{digits}.0E{exponent}"),
    }
}

/// A number as Java's `parseDouble` reads it: space may be around it, and a letter for its type behind it.
pub fn read_java_double(text: &str) -> Option<f64> {
    let text = text.trim_matches(|one: char| one <= ' ');
    let (sign, size) = match text.strip_prefix('-') {
        Some(size) => (-1.0, size),
        None => (1.0, text.strip_prefix('+').unwrap_or(text)),
    };
    let size = match size {
        "NaN" => f64::NAN,
        "Infinity" => f64::INFINITY,
        digits => {
            let digits = digits.strip_suffix(['f', 'F', 'd', 'D']).unwrap_or(digits);
            // Rust reads words for what is no number as well, in any case.
            let is_number = digits.starts_with(|one: char| one.is_ascii_digit() || one == '.');
            digits.parse::<f64>().ok().filter(|_| is_number)?
        }
    };
    Some(sign * size)
}

/// Classes of `java.lang` that a statement may name for one of Cassandra's: they are found, and are of another kind.
const JAVA_CLASSES: [&str; 10] = [
    "Boolean", "Class", "Double", "Float", "Integer", "Long", "Number", "Object", "String",
    "Thread",
];

/// Whether a class is there without being Cassandra's.
pub fn is_java_class(class: &str) -> bool {
    let name = class.strip_prefix("java.lang.");
    name.is_some_and(|name| JAVA_CLASSES.contains(&name))
}

/// A map as CQL writes it: `{'a': 'b', 'c': 'd'}`.
pub fn map_literal(entries: &BTreeMap<String, String>) -> String {
    let entries: Vec<String> = entries
        .iter()
        .map(|(key, value)| format!("{}: {}", string_literal(key), string_literal(value)))
        .collect();
    format!("{{{}}}", entries.join(", "))
}

/// A string as CQL writes it.
pub fn string_literal(text: &str) -> String {
    format!("'{}'", text.replace('\'', "''"))
}

#[cfg(test)]
mod tests {
    use super::{java_double, read_java_double};

    #[test]
    fn doubles_are_printed_as_java_prints_them() {
        for (number, text) in [
            (0.01, "0.01"),
            (1.0, "1.0"),
            (0.0, "0.0"),
            (-1.0, "-1.0"),
            (1e-9, "1.0E-9"),
            (6.71e-5, "6.71E-5"),
            (1.5e10, "1.5E10"),
            (f64::INFINITY, "Infinity"),
            (f64::NEG_INFINITY, "-Infinity"),
            (f64::NAN, "NaN"),
        ] {
            assert_eq!(java_double(number), text);
        }
    }

    #[test]
    fn doubles_are_read_as_java_reads_them() {
        for (text, number) in [
            ("0.1f", Some(0.1)),
            (" 0.5\t", Some(0.5)),
            (".5D", Some(0.5)),
            ("1.e-1d", Some(0.1)),
            ("+2", Some(2.0)),
            ("-Infinity", Some(f64::NEG_INFINITY)),
            ("inf", None),
            ("infinity", None),
            ("nan", None),
            ("NaNf", None),
            ("0.5dd", None),
            ("+-1", None),
            ("d", None),
            ("", None),
        ] {
            assert_eq!(read_java_double(text), number, "{text}");
        }
        assert!(read_java_double("+NaN").is_some_and(f64::is_nan));
    }
}
