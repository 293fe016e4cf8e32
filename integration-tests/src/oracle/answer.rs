//! What a server answered, and how it is shown to whoever reads a difference.
//!
//! Values stay the bytes that came; they are printed by their type where that helps, and as hex where it does not. Nothing here decides what is alike.

use std::fmt::{self, Write};

use bytes::{Buf, Bytes};

use super::wire::Prepared;

/// An answer and the warnings that came with it.
#[derive(Debug, Clone)]
pub struct Reply {
    pub answer: Answer,
    pub warnings: Vec<String>,
}

impl Reply {
    /// No answer at all.
    pub fn gone(reason: String) -> Reply {
        Reply {
            answer: Answer::Gone(reason),
            warnings: Vec::new(),
        }
    }

    /// Whether the statement was refused, or not answered.
    pub fn is_refused(&self) -> bool {
        matches!(self.answer, Answer::Refused(_) | Answer::Gone(_))
    }

    pub fn has_rows(&self) -> bool {
        matches!(self.answer, Answer::Rows(_))
    }
}

#[derive(Debug, Clone)]
pub enum Answer {
    Void,
    Keyspace(String),
    SchemaChange(String),
    Prepared {
        prepared: Prepared,
        partition_key: Vec<u16>,
        markers: Vec<Column>,
        result: Vec<Column>,
    },
    Rows(Table),
    Refused(Refusal),
    Gone(String),
}

/// An ERROR.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    pub code: i32,
    pub message: String,
    /// What some errors carry beside their text.
    pub fields: Vec<String>,
}

/// One page of rows.
#[derive(Debug, Clone, Default)]
pub struct Table {
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Option<Bytes>>>,
    pub page_state: Option<Bytes>,
}

/// What is said of a column or of a marker.
#[derive(Debug, Clone, PartialEq)]
pub struct Column {
    pub keyspace: String,
    pub table: String,
    pub name: String,
    pub ty: Type,
}

/// How the bytes of a native type are shown.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    Integer,
    Float,
    Text,
    Boolean,
    Bytes,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Type {
    Native(&'static str, Kind),
    Custom(String),
    List(Box<Type>),
    Set(Box<Type>),
    Map(Box<Type>, Box<Type>),
    Tuple(Vec<Type>),
    User(String, Vec<(String, Type)>),
}

/// The ids of the native types on the wire.
pub const NATIVE: [(u16, &str, Kind); 20] = [
    (0x01, "ascii", Kind::Text),
    (0x02, "bigint", Kind::Integer),
    (0x03, "blob", Kind::Bytes),
    (0x04, "boolean", Kind::Boolean),
    (0x05, "counter", Kind::Integer),
    (0x06, "decimal", Kind::Bytes),
    (0x07, "double", Kind::Float),
    (0x08, "float", Kind::Float),
    (0x09, "int", Kind::Integer),
    (0x0B, "timestamp", Kind::Integer),
    (0x0C, "uuid", Kind::Bytes),
    (0x0D, "text", Kind::Text),
    (0x0E, "varint", Kind::Bytes),
    (0x0F, "timeuuid", Kind::Bytes),
    (0x10, "inet", Kind::Bytes),
    (0x11, "date", Kind::Bytes),
    (0x12, "time", Kind::Integer),
    (0x13, "smallint", Kind::Integer),
    (0x14, "tinyint", Kind::Integer),
    (0x15, "duration", Kind::Bytes),
];

impl fmt::Display for Type {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Type::Native(name, _) => f.write_str(name),
            Type::Custom(name) => write!(f, "'{name}'"),
            Type::List(inner) => write!(f, "list<{inner}>"),
            Type::Set(inner) => write!(f, "set<{inner}>"),
            Type::Map(key, value) => write!(f, "map<{key}, {value}>"),
            Type::Tuple(parts) => {
                let parts: Vec<String> = parts.iter().map(Type::to_string).collect();
                write!(f, "tuple<{}>", parts.join(", "))
            }
            Type::User(name, fields) => {
                let fields: Vec<String> = fields
                    .iter()
                    .map(|(name, ty)| format!("{name} {ty}"))
                    .collect();
                write!(f, "{name}({})", fields.join(", "))
            }
        }
    }
}

impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.answer {
            Answer::Void => f.write_str("done")?,
            Answer::Keyspace(name) => write!(f, "keyspace {name}")?,
            Answer::SchemaChange(what) => write!(f, "schema: {what}")?,
            Answer::Prepared {
                partition_key,
                markers,
                result,
                ..
            } => {
                f.write_str("prepared: markers ")?;
                columns(f, markers)?;
                write!(f, " partition key {partition_key:?} result ")?;
                columns(f, result)?;
            }
            Answer::Rows(table) => {
                columns(f, &table.columns)?;
                for row in &table.rows {
                    let values: Vec<String> = table
                        .columns
                        .iter()
                        .zip(row)
                        .map(|(column, value)| shown(&column.ty, value.as_deref()))
                        .collect();
                    write!(f, "\n    {}", values.join(" | "))?;
                }
                if table.page_state.is_some() {
                    f.write_str("\n    (more)")?;
                }
            }
            Answer::Refused(refusal) => {
                write!(f, "{:#06x} {}", refusal.code, refusal.message)?;
                if !refusal.fields.is_empty() {
                    write!(f, " {:?}", refusal.fields)?;
                }
            }
            Answer::Gone(reason) => f.write_str(reason)?,
        }
        self.warnings
            .iter()
            .try_for_each(|warning| write!(f, "\n    warning: {warning}"))
    }
}

fn columns(f: &mut fmt::Formatter<'_>, columns: &[Column]) -> fmt::Result {
    let names: Vec<String> = columns
        .iter()
        .map(|column| format!("{} {}", column.name, column.ty))
        .collect();
    write!(f, "[{}]", names.join(" | "))
}

/// A value, by its type where it is what it should be.
pub fn shown(ty: &Type, value: Option<&[u8]>) -> String {
    let Some(bytes) = value else {
        return "null".into();
    };
    readable(ty, bytes).unwrap_or_else(|| hex(bytes))
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::from("0x");
    for byte in bytes {
        write!(text, "{byte:02x}").expect("a string takes all");
    }
    text
}

fn readable(ty: &Type, mut bytes: &[u8]) -> Option<String> {
    match ty {
        Type::Native(_, Kind::Integer) => match bytes.len() {
            1..=8 => Some(bytes.get_int(bytes.len()).to_string()),
            _ => None,
        },
        Type::Native(_, Kind::Float) => match bytes.len() {
            4 => Some(format!("{:?}", bytes.get_f32())),
            8 => Some(format!("{:?}", bytes.get_f64())),
            _ => None,
        },
        Type::Native(_, Kind::Text) => String::from_utf8(bytes.to_vec())
            .ok()
            .map(|text| format!("{text:?}")),
        Type::Native(_, Kind::Boolean) => match bytes {
            [0] => Some("false".into()),
            [1] => Some("true".into()),
            _ => None,
        },
        Type::List(inner) | Type::Set(inner) => {
            let parts = parts(bytes)?;
            let parts: Vec<String> = parts.iter().map(|part| shown(inner, *part)).collect();
            Some(format!("[{}]", parts.join(", ")))
        }
        Type::Tuple(types) => fields(types.iter(), bytes),
        Type::User(_, types) => fields(types.iter().map(|(_, ty)| ty), bytes),
        _ => None,
    }
}

/// What a list or a set has in it.
pub fn parts(mut bytes: &[u8]) -> Option<Parts<'_>> {
    let count = bytes.try_get_i32().ok()?;
    (0..count).map(|_| part(&mut bytes)).collect()
}

/// What a collection has in it; null has no bytes.
pub type Parts<'a> = Vec<Option<&'a [u8]>>;

/// The keys of a map and their values.
pub fn entries(mut bytes: &[u8]) -> Option<(Parts<'_>, Parts<'_>)> {
    let count = bytes.try_get_i32().ok()?;
    let entries = (0..count).map(|_| Some((part(&mut bytes)?, part(&mut bytes)?)));
    let entries: Option<Vec<_>> = entries.collect();
    Some(entries?.into_iter().unzip())
}

/// One value with its length; `None` outside is a value that is cut short.
fn part<'a>(bytes: &mut &'a [u8]) -> Option<Option<&'a [u8]>> {
    match usize::try_from(bytes.try_get_i32().ok()?) {
        Ok(length) => {
            let (value, rest) = bytes.split_at_checked(length)?;
            *bytes = rest;
            Some(Some(value))
        }
        Err(_) => Some(None),
    }
}

fn fields<'a>(types: impl Iterator<Item = &'a Type>, mut bytes: &[u8]) -> Option<String> {
    let mut shown_fields = Vec::new();
    for ty in types {
        if bytes.is_empty() {
            break;
        }
        shown_fields.push(shown(ty, part(&mut bytes)?));
    }
    bytes
        .is_empty()
        .then(|| format!("({})", shown_fields.join(", ")))
}
