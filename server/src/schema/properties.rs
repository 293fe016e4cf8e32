//! What stands behind WITH, before anybody knows what it means: names with texts and maps, each name once.
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
    /// Takes the properties of a statement; none may come twice, and each must be one of `known`.
    pub fn read(
        properties: impl IntoIterator<Item = &'a Property>,
        known: &[&str],
    ) -> CqlResult<Self> {
        let mut entries: Vec<&Property> = Vec::new();
        for property in properties {
            let name = property.name.as_str();
            if entries.iter().any(|other| other.name.as_str() == name) {
                return Err(CqlError::syntax(format!(
                    "Multiple definitions for property '{name}'"
                )));
            }
            entries.push(property);
        }
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
        text.parse()
            .map(Some)
            .map_err(|_| CqlError::syntax(format!("Invalid double value {text} for '{name}'")))
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

/// A floating-point number as Java prints it: `0.01`, `1.0`, `6.71E-5`.
pub fn java_double(number: f64) -> String {
    let size = number.abs();
    if number == 0.0 || (1e-3..1e7).contains(&size) || !number.is_finite() {
        return format!("{number:?}");
    }
    let text = format!("{number:E}");
    let (digits, exponent) = text.split_once('E').unwrap_or((&text, "0"));
    match digits.contains('.') {
        true => format!("{digits}E{exponent}"),
        false => format!("{digits}.0E{exponent}"),
    }
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
    use super::java_double;

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
        ] {
            assert_eq!(java_double(number), text);
        }
    }
}
