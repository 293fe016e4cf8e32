//! `CqlValue`: a value of each type.
//!
//! Null is not a value: where one may be missing, it is an `Option`. `Empty` is Cassandra's zero-byte value, which most
//! fixed-width types accept beside their real ones.

use std::net::IpAddr;

use num_bigint::BigInt;
use uuid::Uuid;

#[derive(Debug, Clone, PartialEq)]
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
