//! `CqlValue`: a value of each type.
//!
//! Null is not a value: where one may be missing, it is an `Option`. `Empty` is Cassandra's zero-byte value, which most
//! fixed-width types accept beside their real ones.
//!
//! A value is printed as its kind and its length: it is somebody's data, and whatever has a `Debug` ends up in a log one day.

use std::fmt;
use std::net::IpAddr;

use num_bigint::BigInt;
use uuid::Uuid;

/// See the module.
#[derive(Clone, PartialEq)]
pub enum CqlValue {
    Ascii(String),
    Bigint(i64),
    Blob(Vec<u8>),
    Boolean(bool),
    Counter(i64),
    /// Days, with 2^31 at 1970-01-01.
    Date(u32),
    /// unscaled * 10^-scale
    Decimal {
        unscaled: BigInt,
        scale: i32,
    },
    Double(f64),
    Duration(Duration),
    Empty,
    Float(f32),
    Inet(IpAddr),
    Int(i32),
    Smallint(i16),
    Text(String),
    /// Nanoseconds since midnight.
    Time(i64),
    /// Milliseconds since 1970-01-01 UTC.
    Timestamp(i64),
    Timeuuid(Uuid),
    Tinyint(i8),
    Uuid(Uuid),
    Varint(BigInt),
    List(Vec<CqlValue>),
    /// In the order of its element type.
    Set(Vec<CqlValue>),
    /// In the order of its key type.
    Map(Vec<(CqlValue, CqlValue)>),
    /// May have fewer fields than its type: the missing ones are null.
    Tuple(Vec<Option<CqlValue>>),
    /// As a tuple, fields in the order of their declaration.
    Udt(Vec<Option<CqlValue>>),
    Vector(Vec<CqlValue>),
    Custom(Vec<u8>),
}

/// Months, days and nanoseconds, all of one sign.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Duration {
    pub months: i32,
    pub days: i32,
    pub nanoseconds: i64,
}

impl CqlValue {
    /// The name of the variant, as CQL names the type.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Ascii(_) => "ascii",
            Self::Bigint(_) => "bigint",
            Self::Blob(_) => "blob",
            Self::Boolean(_) => "boolean",
            Self::Counter(_) => "counter",
            Self::Date(_) => "date",
            Self::Decimal { .. } => "decimal",
            Self::Double(_) => "double",
            Self::Duration(_) => "duration",
            Self::Empty => "empty",
            Self::Float(_) => "float",
            Self::Inet(_) => "inet",
            Self::Int(_) => "int",
            Self::Smallint(_) => "smallint",
            Self::Text(_) => "text",
            Self::Time(_) => "time",
            Self::Timestamp(_) => "timestamp",
            Self::Timeuuid(_) => "timeuuid",
            Self::Tinyint(_) => "tinyint",
            Self::Uuid(_) => "uuid",
            Self::Varint(_) => "varint",
            Self::List(_) => "list",
            Self::Set(_) => "set",
            Self::Map(_) => "map",
            Self::Tuple(_) => "tuple",
            Self::Udt(_) => "udt",
            Self::Vector(_) => "vector",
            Self::Custom(_) => "custom",
        }
    }
}

impl fmt::Debug for CqlValue {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}({} bytes)", self.kind(), self.encoded_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_printed_without_its_content() {
        let value = CqlValue::List(vec![CqlValue::Text("secret".into())]);
        assert_eq!(format!("{value:?}"), "list(14 bytes)");
    }
}
