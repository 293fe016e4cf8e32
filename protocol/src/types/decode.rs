//! Bytes to values, checked against a type.
//!
//! `validate` says whether bytes are a value of a type, without building it: what a write does with every bound value. `decode`
//! builds it. Both apply the rules of Cassandra's serializers and answer in their words, with two exceptions: an inet of a
//! wrong length is not quoted back, and a time of day beyond midnight is refused (Cassandra takes it and fails later).
//!
//! Recursion follows the type, and types are bounded in depth where they are made.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use num_bigint::BigInt;
use uuid::Uuid;

use super::cql_type::{CqlType, UserType};
use super::value::{CqlValue, Duration};
use super::vint::{read_unsigned_vint, unzigzag};

/// Bytes that are no value of the type; Cassandra's `MarshalException`. Clients get it as an
/// Invalid. Texts for durations and ascii tell something of the value, as Cassandra's do: for the client, not for logs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct MarshalError(pub String);

type Result<T> = std::result::Result<T, MarshalError>;

fn fail<T>(message: impl Into<String>) -> Result<T> {
    Err(MarshalError(message.into()))
}

const NANOSECONDS_IN_A_DAY: i64 = 86_400_000_000_000;

/// Are these bytes a value of that type?
pub fn validate(ty: &CqlType, bytes: &[u8]) -> Result<()> {
    outermost(ty, bytes, &mut Check)
}

/// Are these bytes a list of such values, or of nulls among them? What is bound to an IN.
pub fn validate_alternatives(element: &CqlType, bytes: &[u8]) -> Result<()> {
    collection("list", bytes, &[element], Nulls::Taken, &mut Check).map(drop)
}

/// The value these bytes are.
pub fn decode(ty: &CqlType, bytes: &[u8]) -> Result<CqlValue> {
    outermost(ty, bytes, &mut Build)
}

/// A list that is no part of another value is read to its end before a null in it is refused.
fn outermost<V: Visit>(ty: &CqlType, bytes: &[u8], visit: &mut V) -> Result<V::Value> {
    match ty.bare() {
        CqlType::List(element) => {
            let parts = collection("list", bytes, &[element], Nulls::NotedToTheEnd, visit)?;
            Ok(visit.many(parts, Whole::List))
        }
        _ => walk(ty, bytes, visit),
    }
}

/// What to make of the parts of a value: nothing, or the value itself.
trait Visit {
    type Value;
    fn leaf(&mut self, value: impl FnOnce() -> CqlValue) -> Self::Value;
    fn many(&mut self, parts: Vec<Option<Self::Value>>, whole: Whole) -> Self::Value;
    /// Whether `many` wants its parts.
    const KEEPS: bool;
}

#[derive(Clone, Copy)]
enum Whole {
    List,
    Set,
    Map,
    Tuple,
    Udt,
    Vector,
}

struct Check;

impl Visit for Check {
    type Value = ();
    const KEEPS: bool = false;

    #[inline]
    fn leaf(&mut self, _: impl FnOnce() -> CqlValue) {}

    fn many(&mut self, _: Vec<Option<()>>, _: Whole) {}
}

struct Build;

impl Visit for Build {
    type Value = CqlValue;
    const KEEPS: bool = true;

    fn leaf(&mut self, value: impl FnOnce() -> CqlValue) -> CqlValue {
        value()
    }

    fn many(&mut self, parts: Vec<Option<CqlValue>>, whole: Whole) -> CqlValue {
        match whole {
            Whole::Tuple => return CqlValue::Tuple(parts),
            Whole::Udt => return CqlValue::Udt(parts),
            _ => {}
        }
        let mut parts = parts.into_iter().flatten();
        match whole {
            Whole::List => CqlValue::List(parts.collect()),
            Whole::Set => CqlValue::Set(parts.collect()),
            Whole::Map => {
                CqlValue::Map(std::iter::from_fn(|| Some((parts.next()?, parts.next()?))).collect())
            }
            _ => CqlValue::Vector(parts.collect()),
        }
    }
}

fn walk<V: Visit>(ty: &CqlType, bytes: &[u8], visit: &mut V) -> Result<V::Value> {
    match ty.bare() {
        CqlType::List(element) => {
            let parts = collection("list", bytes, &[element], Nulls::Refused, visit)?;
            Ok(visit.many(parts, Whole::List))
        }
        CqlType::Set(element) => {
            let parts = collection("set", bytes, &[element], Nulls::Refused, visit)?;
            Ok(visit.many(parts, Whole::Set))
        }
        CqlType::Map(key, value) => {
            let parts = collection("map", bytes, &[key, value], Nulls::Refused, visit)?;
            Ok(visit.many(parts, Whole::Map))
        }
        CqlType::Tuple(fields) => {
            let parts = tuple(bytes, fields, visit)?;
            Ok(visit.many(parts, Whole::Tuple))
        }
        CqlType::Udt(udt) => {
            let parts = user_type(bytes, udt, visit)?;
            Ok(visit.many(parts, Whole::Udt))
        }
        vector @ CqlType::Vector(element, dimensions) => {
            let parts = elements(vector, element, *dimensions, bytes, visit)?;
            Ok(visit.many(parts, Whole::Vector))
        }
        CqlType::Varint | CqlType::Decimal | CqlType::Ascii | CqlType::Text | CqlType::Blob => {
            of_any_length(ty.bare(), bytes, visit)
        }
        CqlType::Custom(_) => Ok(visit.leaf(|| CqlValue::Custom(bytes.to_vec()))),
        native => leaf(native, bytes).map(|value| visit.leaf(|| value)),
    }
}

/// Types whose values do not fit a machine word: built only if somebody wants them.
fn of_any_length<V: Visit>(ty: &CqlType, bytes: &[u8], visit: &mut V) -> Result<V::Value> {
    match ty {
        CqlType::Ascii => match bytes.iter().find(|byte| !byte.is_ascii()) {
            Some(byte) => fail(format!("Invalid byte for ascii: {}", *byte as i8)),
            None => Ok(visit.leaf(|| CqlValue::Ascii(String::from_utf8_lossy(bytes).into_owned()))),
        },
        CqlType::Text => match std::str::from_utf8(bytes) {
            Ok(text) => Ok(visit.leaf(|| CqlValue::Text(text.to_owned()))),
            Err(_) => fail("String didn't validate."),
        },
        CqlType::Decimal => match bytes.split_first_chunk::<4>() {
            Some((scale, unscaled)) => Ok(visit.leaf(|| CqlValue::Decimal {
                unscaled: BigInt::from_signed_bytes_be(unscaled),
                scale: i32::from_be_bytes(*scale),
            })),
            None if bytes.is_empty() => Ok(visit.leaf(|| CqlValue::Empty)),
            None => fail(format!("Expected 0 or at least 4 bytes ({})", bytes.len())),
        },
        CqlType::Varint if bytes.is_empty() => Ok(visit.leaf(|| CqlValue::Empty)),
        CqlType::Varint => Ok(visit.leaf(|| CqlValue::Varint(BigInt::from_signed_bytes_be(bytes)))),
        _ => Ok(visit.leaf(|| CqlValue::Blob(bytes.to_vec()))),
    }
}

/// Types whose values fit a few machine words: building them costs nothing, so there is no second way to check them.
fn leaf(ty: &CqlType, bytes: &[u8]) -> Result<CqlValue> {
    let length = bytes.len();
    let may_be_empty = !matches!(
        ty,
        CqlType::Tinyint | CqlType::Smallint | CqlType::Date | CqlType::Time | CqlType::Duration
    );
    if bytes.is_empty() && may_be_empty {
        return Ok(CqlValue::Empty);
    }
    let value = match ty {
        CqlType::Boolean => array(bytes).map(|[byte]: [u8; 1]| CqlValue::Boolean(byte != 0)),
        CqlType::Tinyint => array(bytes).map(|bytes| CqlValue::Tinyint(i8::from_be_bytes(bytes))),
        CqlType::Smallint => {
            array(bytes).map(|bytes| CqlValue::Smallint(i16::from_be_bytes(bytes)))
        }
        CqlType::Int => array(bytes).map(|bytes| CqlValue::Int(i32::from_be_bytes(bytes))),
        CqlType::Bigint => array(bytes).map(|bytes| CqlValue::Bigint(i64::from_be_bytes(bytes))),
        CqlType::Counter => array(bytes).map(|bytes| CqlValue::Counter(i64::from_be_bytes(bytes))),
        CqlType::Float => array(bytes).map(|bytes| CqlValue::Float(f32::from_be_bytes(bytes))),
        CqlType::Double => array(bytes).map(|bytes| CqlValue::Double(f64::from_be_bytes(bytes))),
        CqlType::Date => array(bytes).map(|bytes| CqlValue::Date(u32::from_be_bytes(bytes))),
        CqlType::Timestamp => {
            array(bytes).map(|bytes| CqlValue::Timestamp(i64::from_be_bytes(bytes)))
        }
        CqlType::Time => return time(bytes),
        CqlType::Uuid => array(bytes).map(|bytes| CqlValue::Uuid(Uuid::from_bytes(bytes))),
        CqlType::Timeuuid => return timeuuid(bytes),
        CqlType::Inet => inet(bytes).map(CqlValue::Inet),
        CqlType::Duration => return duration(bytes).map(CqlValue::Duration),
        _ => None,
    };
    value.ok_or_else(|| {
        MarshalError(match ty {
            CqlType::Boolean => format!("Expected 1 or 0 byte value ({length})"),
            CqlType::Tinyint => format!("Expected 1 byte for a tinyint ({length})"),
            CqlType::Smallint => format!("Expected 2 bytes for a smallint ({length})"),
            CqlType::Int => format!("Expected 4 or 0 byte int ({length})"),
            CqlType::Bigint | CqlType::Counter => format!("Expected 8 or 0 byte long ({length})"),
            CqlType::Float => format!("Expected 4 or 0 byte value for a float ({length})"),
            CqlType::Double => format!("Expected 8 or 0 byte value for a double ({length})"),
            CqlType::Date => format!("Expected 4 byte long for date ({length})"),
            CqlType::Timestamp => format!("Expected 8 or 0 byte long for date ({length})"),
            CqlType::Uuid => uuid_length(length),
            CqlType::Inet => format!("Expected 4 or 16 byte inetaddress; got {length} bytes"),
            _ => "EmptyType only accept empty values".to_owned(),
        })
    })
}

fn array<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok()
}

fn uuid_length(length: usize) -> String {
    format!("UUID should be 16 or 0 bytes ({length})")
}

fn time(bytes: &[u8]) -> Result<CqlValue> {
    match array(bytes).map(i64::from_be_bytes) {
        Some(nanoseconds @ 0..NANOSECONDS_IN_A_DAY) => Ok(CqlValue::Time(nanoseconds)),
        Some(_) => fail("Input long out of bounds for time"),
        None => fail(format!("Expected 8 byte long for time ({})", bytes.len())),
    }
}

fn timeuuid(bytes: &[u8]) -> Result<CqlValue> {
    let Some(bytes) = array::<16>(bytes) else {
        return fail(uuid_length(bytes.len()));
    };
    match bytes[6] >> 4 {
        1 => Ok(CqlValue::Timeuuid(Uuid::from_bytes(bytes))),
        // Cassandra calls the first digit there is the version.
        _ => fail(format!(
            "Invalid version for TimeUUID type: 0x{:x}",
            bytes[0] >> 4
        )),
    }
}

fn inet(bytes: &[u8]) -> Option<IpAddr> {
    if let Some(bytes) = array::<4>(bytes) {
        return Some(Ipv4Addr::from(bytes).into());
    }
    array::<16>(bytes).map(|bytes| Ipv6Addr::from(bytes).into())
}

fn duration(bytes: &[u8]) -> Result<Duration> {
    let length = bytes.len();
    let short = || {
        MarshalError(format!(
            "Expected at least 3 bytes for a duration ({length})"
        ))
    };
    let mut rest = bytes;
    let mut next = || {
        let (number, taken) = read_unsigned_vint(rest).ok_or_else(short)?;
        rest = &rest[taken..];
        Ok(unzigzag(number))
    };
    let (months, days, nanoseconds) = (next()?, next()?, next()?);
    let Ok(months) = i32::try_from(months) else {
        return fail(format!(
            "The duration months must be a 32 bits integer but was: {months}"
        ));
    };
    let Ok(days) = i32::try_from(days) else {
        return fail(format!(
            "The duration days must be a 32 bits integer but was: {days}"
        ));
    };
    let positive = months >= 0 && days >= 0 && nanoseconds >= 0;
    let negative = months <= 0 && days <= 0 && nanoseconds <= 0;
    if !positive && !negative {
        return fail(format!(
            "The duration months, days and nanoseconds must be all of the same sign ({months}, {days}, {nanoseconds})"
        ));
    }
    Ok(Duration {
        months,
        days,
        nanoseconds,
    })
}

/// What an element without a value is.
#[derive(Clone, Copy, PartialEq)]
enum Nulls {
    Refused,
    /// The same, but whatever else is wrong is told first.
    NotedToTheEnd,
    Taken,
}

/// Elements of a list, set or map: `types` has one type, or a key's and a value's.
fn collection<V: Visit>(
    kind: &str,
    bytes: &[u8],
    types: &[&CqlType],
    nulls: Nulls,
    visit: &mut V,
) -> Result<Vec<Option<V::Value>>> {
    let short = || MarshalError(format!("Not enough bytes to read a {kind}"));
    let (count, mut rest) = bytes.split_first_chunk::<4>().ok_or_else(short)?;
    let count = i32::from_be_bytes(*count);
    if count < 0 {
        return fail(format!("The data cannot be deserialized as a {kind}"));
    }
    let refused = || fail("Null value read when not allowed");
    let mut has_nulls = false;
    let mut parts = Vec::new();
    for _ in 0..count {
        for ty in types {
            let (length, after) = rest.split_first_chunk::<4>().ok_or_else(short)?;
            let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
                if nulls == Nulls::Refused {
                    return refused();
                }
                has_nulls = true;
                rest = after;
                continue;
            };
            let (part, after) = after.split_at_checked(length).ok_or_else(short)?;
            rest = after;
            let part = walk(ty, part, visit)?;
            if V::KEEPS {
                parts.push(Some(part));
            }
        }
    }
    if !rest.is_empty() {
        return fail(format!("Unexpected extraneous bytes after {kind} value"));
    }
    if has_nulls && nulls == Nulls::NotedToTheEnd {
        return refused();
    }
    Ok(parts)
}

/// Fewer fields than declared are fine, so that fields can be added; more are not.
fn tuple<V: Visit>(
    bytes: &[u8],
    fields: &[CqlType],
    visit: &mut V,
) -> Result<Vec<Option<V::Value>>> {
    let mut rest = bytes;
    let mut parts = Vec::new();
    for (place, ty) in fields.iter().enumerate() {
        if rest.is_empty() {
            return Ok(parts);
        }
        let field = take_field(&mut rest).map_err(|what| {
            MarshalError(format!(
                "Not enough bytes to read {what}{place}th component"
            ))
        })?;
        let part = field.map(|field| walk(ty, field, visit)).transpose()?;
        if V::KEEPS {
            parts.push(part);
        }
    }
    if !rest.is_empty() {
        return fail("Invalid remaining data after end of tuple value");
    }
    Ok(parts)
}

fn user_type<V: Visit>(
    bytes: &[u8],
    udt: &UserType,
    visit: &mut V,
) -> Result<Vec<Option<V::Value>>> {
    let mut rest = bytes;
    let mut parts = Vec::new();
    for (place, (name, ty)) in udt.fields.iter().enumerate() {
        if rest.is_empty() {
            return Ok(parts);
        }
        let field = take_field(&mut rest).map_err(|what| {
            MarshalError(format!(
                "Not enough bytes to read {what}{place}th field {name}"
            ))
        })?;
        let part = field
            .map(|field| walk(ty, field, visit))
            .transpose()
            .map_err(|MarshalError(why)| {
                MarshalError(format!(
                    "Failure validating the {place}th field {name}; {why}"
                ))
            })?;
        if V::KEEPS {
            parts.push(part);
        }
    }
    if !rest.is_empty() {
        return fail("Invalid remaining data after end of UDT value");
    }
    Ok(parts)
}

/// A field as `[bytes]`; an error says what is missing.
fn take_field<'a>(rest: &mut &'a [u8]) -> std::result::Result<Option<&'a [u8]>, &'static str> {
    let (length, after) = rest.split_first_chunk::<4>().ok_or("size of ")?;
    let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
        *rest = after;
        return Ok(None);
    };
    let (field, after) = after.split_at_checked(length).ok_or("")?;
    *rest = after;
    Ok(Some(field))
}

fn elements<V: Visit>(
    vector: &CqlType,
    element: &CqlType,
    dimensions: u16,
    bytes: &[u8],
    visit: &mut V,
) -> Result<Vec<Option<V::Value>>> {
    if bytes.is_empty() {
        return fail("Invalid empty vector value");
    }
    let short = || MarshalError(format!("Not enough bytes to read a {vector}"));
    let fixed = element.fixed_bytes();
    let mut rest = bytes;
    let mut parts = Vec::new();
    for _ in 0..dimensions {
        let length = match fixed {
            Some(length) => length,
            None => {
                let (length, taken) = read_unsigned_vint(rest).ok_or_else(short)?;
                rest = &rest[taken..];
                usize::try_from(length).map_err(|_| short())?
            }
        };
        let (part, after) = rest.split_at_checked(length).ok_or_else(short)?;
        rest = after;
        let part = walk(element, part, visit)?;
        if V::KEEPS {
            parts.push(Some(part));
        }
    }
    if !rest.is_empty() {
        return fail(format!(
            "Unexpected {} extraneous bytes after {vector} value",
            rest.len()
        ));
    }
    Ok(parts)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;

    fn refused(ty: &CqlType, bytes: &[u8]) -> String {
        let MarshalError(why) = validate(ty, bytes).expect_err("these bytes are no value");
        assert_eq!(decode(ty, bytes), Err(MarshalError(why.clone())));
        why
    }

    #[test]
    fn wrong_lengths_are_refused_in_cassandras_words() {
        let five = [0; 5];
        for (ty, why) in [
            (CqlType::Boolean, "Expected 1 or 0 byte value (5)"),
            (CqlType::Tinyint, "Expected 1 byte for a tinyint (5)"),
            (CqlType::Smallint, "Expected 2 bytes for a smallint (5)"),
            (CqlType::Int, "Expected 4 or 0 byte int (5)"),
            (CqlType::Bigint, "Expected 8 or 0 byte long (5)"),
            (CqlType::Counter, "Expected 8 or 0 byte long (5)"),
            (CqlType::Float, "Expected 4 or 0 byte value for a float (5)"),
            (
                CqlType::Double,
                "Expected 8 or 0 byte value for a double (5)",
            ),
            (CqlType::Date, "Expected 4 byte long for date (5)"),
            (CqlType::Time, "Expected 8 byte long for time (5)"),
            (CqlType::Timestamp, "Expected 8 or 0 byte long for date (5)"),
            (CqlType::Uuid, "UUID should be 16 or 0 bytes (5)"),
            (CqlType::Timeuuid, "UUID should be 16 or 0 bytes (5)"),
            (
                CqlType::Inet,
                "Expected 4 or 16 byte inetaddress; got 5 bytes",
            ),
            (CqlType::Empty, "EmptyType only accept empty values"),
        ] {
            assert_eq!(refused(&ty, &five), why);
        }
        assert_eq!(
            refused(&CqlType::Decimal, &[0; 3]),
            "Expected 0 or at least 4 bytes (3)"
        );
        assert_eq!(
            refused(&CqlType::Duration, &[0; 2]),
            "Expected at least 3 bytes for a duration (2)"
        );
    }

    #[test]
    fn no_bytes_are_a_value_of_most_types_but_not_of_all() {
        for ty in CqlType::NATIVE {
            let strict = matches!(
                ty,
                CqlType::Tinyint
                    | CqlType::Smallint
                    | CqlType::Date
                    | CqlType::Time
                    | CqlType::Duration
            );
            assert_eq!(validate(&ty, &[]).is_err(), strict, "{ty}");
        }
        assert_eq!(decode(&CqlType::Int, &[]), Ok(CqlValue::Empty));
        assert_eq!(
            decode(&CqlType::Text, &[]),
            Ok(CqlValue::Text(String::new()))
        );
    }

    #[test]
    fn contents_are_checked_too() {
        assert_eq!(
            refused(&CqlType::Ascii, &[b'a', 0xc3]),
            "Invalid byte for ascii: -61"
        );
        assert_eq!(refused(&CqlType::Text, &[0xc3]), "String didn't validate.");
        let random: u128 = 0x523e_4567_e89b_42d3_a456_4266_1417_4000;
        assert_eq!(
            refused(&CqlType::Timeuuid, &random.to_be_bytes()),
            "Invalid version for TimeUUID type: 0x5"
        );
        let midnight = NANOSECONDS_IN_A_DAY.to_be_bytes();
        assert_eq!(
            refused(&CqlType::Time, &midnight),
            "Input long out of bounds for time"
        );
        let mixed = [0x02, 0x01, 0x00];
        assert_eq!(
            refused(&CqlType::Duration, &mixed),
            "The duration months, days and nanoseconds must be all of the same sign (1, -1, 0)"
        );
        let months = [0xf2, 0x00, 0x00, 0x00, 0x00, 0x00, 0x00];
        assert_eq!(
            refused(&CqlType::Duration, &months),
            "The duration months must be a 32 bits integer but was: 4294967296"
        );
    }

    #[test]
    fn collections_are_read_to_their_last_byte() {
        let list = CqlType::list(CqlType::Int);
        let one = [0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 7];
        assert_eq!(
            decode(&list, &one),
            Ok(CqlValue::List(vec![CqlValue::Int(7)]))
        );
        assert_eq!(refused(&list, &[]), "Not enough bytes to read a list");
        assert_eq!(
            refused(&list, &one[..11]),
            "Not enough bytes to read a list"
        );
        assert_eq!(
            refused(&list, &[&one[..], &[0]].concat()),
            "Unexpected extraneous bytes after list value"
        );
        let null = [0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff];
        assert_eq!(
            refused(&CqlType::set(CqlType::Int), &null),
            "Null value read when not allowed"
        );
        let three = [0, 0, 0, 1, 0, 0, 0, 3, 0, 0, 0];
        assert_eq!(refused(&list, &three), "Expected 4 or 0 byte int (3)");
        let map = CqlType::map(CqlType::Int, CqlType::Int);
        assert_eq!(refused(&map, &one), "Not enough bytes to read a map");
    }

    #[test]
    fn tuples_may_be_short_but_not_long() {
        let tuple = CqlType::tuple([CqlType::Tinyint, CqlType::Text]);
        let first = [0, 0, 0, 1, 7];
        let field = Some(CqlValue::Tinyint(7));
        assert_eq!(
            decode(&tuple, &first),
            Ok(CqlValue::Tuple(vec![field.clone()]))
        );
        let null = [&first[..], &[0xff; 4]].concat();
        assert_eq!(
            decode(&tuple, &null),
            Ok(CqlValue::Tuple(vec![field, None]))
        );
        assert_eq!(
            refused(&tuple, &[&null[..], &[0]].concat()),
            "Invalid remaining data after end of tuple value"
        );
        assert_eq!(
            refused(&tuple, &null[..7]),
            "Not enough bytes to read size of 1th component"
        );
        assert_eq!(
            refused(&tuple, &first[..4]),
            "Not enough bytes to read 0th component"
        );
        let udt = CqlType::Udt(Arc::new(UserType {
            keyspace: "ks".into(),
            name: "u".into(),
            fields: vec![("n".into(), CqlType::Tinyint)],
        }));
        assert_eq!(
            refused(&udt, &null),
            "Invalid remaining data after end of UDT value"
        );
        assert_eq!(
            refused(&udt, &[0, 0, 0, 0]),
            "Failure validating the 0th field n; Expected 1 byte for a tinyint (0)"
        );
    }

    #[test]
    fn a_vector_has_as_many_elements_as_its_type_says() {
        let fixed = CqlType::vector(CqlType::Int, 2);
        assert_eq!(
            refused(&fixed, &[0; 4]),
            "Not enough bytes to read a vector<int, 2>"
        );
        assert_eq!(refused(&fixed, &[]), "Invalid empty vector value");
        assert_eq!(
            refused(&fixed, &[0; 12]),
            "Unexpected 4 extraneous bytes after vector<int, 2> value"
        );
        // Lengths of smallints are written out, though they never differ.
        let variable = CqlType::vector(CqlType::Smallint, 2);
        let two = [2, 0, 1, 2, 0, 2];
        let value = CqlValue::Vector(vec![CqlValue::Smallint(1), CqlValue::Smallint(2)]);
        assert_eq!(decode(&variable, &two), Ok(value.clone()));
        assert_eq!(value.to_bytes(), two);
    }
}
