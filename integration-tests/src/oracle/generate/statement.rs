//! Putting a statement together: its text grows, and where a value stands it may become a marker with a bound value.

use super::types::Type;
use super::values::{self, Datum};
use crate::chance::Chance;
use crate::oracle::step::{Purpose, Step};
use crate::oracle::wire::Value;

/// A statement that is being written.
pub struct Statement {
    pub text: String,
    pub values: Vec<Value>,
    /// Whether values become markers: never, sometimes, always.
    markers: Markers,
}

#[derive(Clone, Copy, PartialEq)]
enum Markers {
    Never,
    Some,
    Always,
}

impl Statement {
    pub fn new(chance: &mut Chance) -> Statement {
        Statement {
            text: String::new(),
            values: Vec::new(),
            markers: match chance.below(8) {
                0 => Markers::Some,
                1 => Markers::Always,
                _ => Markers::Never,
            },
        }
    }

    pub fn push(&mut self, text: impl AsRef<str>) -> &mut Statement {
        self.text.push_str(text.as_ref());
        self
    }

    /// A value of this type, or, seldom, null, nothing, or a value of another one.
    pub fn term(&mut self, chance: &mut Chance, ty: &Type) -> &mut Statement {
        let value = values::value(chance, ty);
        self.given(chance, ty, value)
    }

    /// The same for an element of a set or a key of a map.
    pub fn element(&mut self, chance: &mut Chance, ty: &Type) -> &mut Statement {
        let value = values::element(chance, ty);
        self.given(chance, ty, value)
    }

    fn given(&mut self, chance: &mut Chance, ty: &Type, value: Datum) -> &mut Statement {
        if self.takes_marker(chance) {
            let bound = match chance.below(40) {
                0 => Value::Null,
                1 => Value::Unset,
                _ => Value::Bytes(value.bytes),
            };
            return self.marker(bound);
        }
        let text = match chance.below(60) {
            0 => "null".to_owned(),
            1 => {
                let other = super::types::native(chance);
                values::value(chance, &other).text
            }
            2 => format!("({ty}) {}", value.text),
            _ => value.text,
        };
        self.push(text)
    }

    /// Values in brackets, or one marker for all of them.
    pub fn list(&mut self, chance: &mut Chance, ty: &Type) -> &mut Statement {
        let count = chance.below(4);
        let data: Vec<Datum> = (0..count).map(|_| values::value(chance, ty)).collect();
        if self.takes_marker(chance) {
            let mut bytes = (data.len() as i32).to_be_bytes().to_vec();
            for datum in &data {
                bytes.extend((datum.bytes.len() as i32).to_be_bytes());
                bytes.extend(&datum.bytes);
            }
            return self.marker(Value::Bytes(bytes));
        }
        let texts: Vec<&str> = data.iter().map(|datum| datum.text.as_str()).collect();
        self.push(format!("({})", texts.join(", ")))
    }

    /// A small number, as LIMIT and its like take it.
    pub fn number(&mut self, chance: &mut Chance, number: i32) -> &mut Statement {
        if self.takes_marker(chance) {
            return self.marker(Value::Bytes(number.to_be_bytes().to_vec()));
        }
        self.push(number.to_string())
    }

    /// A long, as a timestamp is.
    pub fn long(&mut self, chance: &mut Chance, number: i64) -> &mut Statement {
        if self.takes_marker(chance) {
            return self.marker(Value::Bytes(number.to_be_bytes().to_vec()));
        }
        self.push(number.to_string())
    }

    fn takes_marker(&self, chance: &mut Chance) -> bool {
        match self.markers {
            Markers::Never => false,
            Markers::Some => chance.below(2) == 0,
            Markers::Always => true,
        }
    }

    fn marker(&mut self, value: Value) -> &mut Statement {
        self.values.push(value);
        self.push("?")
    }

    /// The step that sends it.
    pub fn step(self, chance: &mut Chance, purpose: Purpose) -> Step {
        Step {
            prepared: if self.values.is_empty() {
                chance.below(12) == 0
            } else {
                chance.below(4) > 0
            },
            text: self.text,
            values: self.values,
            page_rows: match purpose {
                Purpose::Read if chance.below(3) == 0 => Some(1 + chance.below(4) as i32),
                _ => None,
            },
            now_seconds: None,
            batch: None,
            by_reader: false,
            purpose,
        }
    }
}
