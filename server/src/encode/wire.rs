//! Values as the protocol carries them: walking collections and putting them in order.
//!
//! ```text
//! list, set   count i32, then per element: length i32, bytes            map   count i32, then key and value likewise
//! tuple, UDT  per field: length i32 (-1 is null), bytes; fields may be missing at the end
//! vector      elements one after another; each behind its length (unsigned vint) if the type has no fixed one
//! ```
//!
//! Whether bytes are a value of their type at all is the protocol crate's `validate`; every value passes it when it is bound.
//!
//! What must hold: sets and maps leave [`normalize`] and [`as_bound`] in the order of their elements, each once, as Cassandra keeps them.

use std::borrow::Cow;

use palladium_protocol::types::CqlType;
use palladium_protocol::types::vint::{put_unsigned_vint, read_unsigned_vint};

use super::{Malformed, order};

/// Elements of a list or set, or keys and values of a map in turn.
#[derive(Debug, Clone)]
pub struct Elements<'a> {
    rest: &'a [u8],
    left: usize,
}

impl<'a> Elements<'a> {
    pub fn read(value: &'a [u8]) -> Result<Self, Malformed> {
        let (count, rest) = value.split_first_chunk::<4>().ok_or(Malformed::SHORT)?;
        let left = usize::try_from(i32::from_be_bytes(*count)).map_err(|_| Malformed::LENGTH)?;
        Ok(Elements { rest, left })
    }

    pub fn read_map(value: &'a [u8]) -> Result<Self, Malformed> {
        let mut elements = Self::read(value)?;
        elements.left = elements.left.checked_mul(2).ok_or(Malformed::LENGTH)?;
        Ok(elements)
    }

    /// How many are still to come, as the value claims.
    pub fn left(&self) -> usize {
        self.left
    }

    /// What follows the elements read so far.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }
}

impl<'a> Iterator for Elements<'a> {
    type Item = Result<Option<&'a [u8]>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.left == 0 {
            return None;
        }
        self.left -= 1;
        let element = take_field(&mut self.rest);
        if element.is_err() {
            self.left = 0;
        }
        Some(element)
    }
}

/// Fields of a tuple or user-defined type, as many as there are.
#[derive(Debug, Clone)]
pub struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub fn read(value: &'a [u8]) -> Self {
        Fields { rest: value }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<Option<&'a [u8]>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.rest.is_empty() {
            return None;
        }
        let field = take_field(&mut self.rest);
        if field.is_err() {
            self.rest = &[];
        }
        Some(field)
    }
}

fn take_field<'a>(rest: &mut &'a [u8]) -> Result<Option<&'a [u8]>, Malformed> {
    let (length, after) = rest.split_first_chunk::<4>().ok_or(Malformed::SHORT)?;
    let Ok(length) = usize::try_from(i32::from_be_bytes(*length)) else {
        *rest = after;
        return Ok(None);
    };
    let (field, after) = after.split_at_checked(length).ok_or(Malformed::SHORT)?;
    *rest = after;
    Ok(Some(field))
}

/// Appends one length-framed element.
pub fn put_element(element: Option<&[u8]>, out: &mut Vec<u8>) {
    match element {
        Some(element) => {
            out.extend((element.len() as i32).to_be_bytes());
            out.extend_from_slice(element);
        }
        None => out.extend((-1i32).to_be_bytes()),
    }
}

/// A list or set of these elements; for a map, keys and values in turn and `count` entries.
pub fn collection<'a>(count: usize, elements: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut out = (count as i32).to_be_bytes().to_vec();
    for element in elements {
        put_element(Some(element), &mut out);
    }
    out
}

/// The elements of a vector, exactly as many as its type says.
pub fn vector_elements<'a>(
    inner: &CqlType,
    dimension: usize,
    value: &'a [u8],
) -> Result<Vec<&'a [u8]>, Malformed> {
    if let Some(length) = inner.fixed_bytes() {
        if length == 0 || value.len() != length * dimension {
            return Err(Malformed::LENGTH);
        }
        return Ok(value.chunks_exact(length).collect());
    }
    let mut rest = value;
    let mut elements = Vec::new();
    for _ in 0..dimension {
        let (length, taken) = read_unsigned_vint(rest).ok_or(Malformed::SHORT)?;
        let length = usize::try_from(length).map_err(|_| Malformed::LENGTH)?;
        let (element, after) = rest[taken..]
            .split_at_checked(length)
            .ok_or(Malformed::SHORT)?;
        elements.push(element);
        rest = after;
    }
    if rest.is_empty() {
        Ok(elements)
    } else {
        Err(Malformed::LENGTH)
    }
}

/// Where a value stands: how much of it is written anew when it comes in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// By itself: as it came, but for what it is made of.
    Alone,
    /// In a list, set or map: Cassandra reads it as a value and writes that, in the bytes of its own choice.
    Part,
    /// In a tuple, a user type or a vector: as it came.
    Field,
}

impl Place {
    fn of_parts(self) -> Place {
        match self {
            Place::Alone | Place::Part => Place::Part,
            Place::Field => Place::Field,
        }
    }

    fn of_elements(self) -> Place {
        match self {
            Place::Part => Place::Part,
            Place::Alone | Place::Field => Place::Field,
        }
    }
}

/// Whether [`as_bound`] could change a value of the type.
pub fn may_change(ty: &CqlType) -> bool {
    changes(ty, Place::Alone)
}

fn changes(ty: &CqlType, place: Place) -> bool {
    match ty.bare() {
        CqlType::Set(_) | CqlType::Map(..) => true,
        CqlType::List(inner) => changes(inner, place.of_parts()),
        CqlType::Vector(inner, _) => changes(inner, place.of_elements()),
        CqlType::Tuple(types) => types.iter().any(|ty| changes(ty, Place::Field)),
        CqlType::Udt(udt) => udt.fields.iter().any(|(_, ty)| changes(ty, Place::Field)),
        CqlType::Boolean
        | CqlType::Decimal
        | CqlType::Duration
        | CqlType::Inet
        | CqlType::Varint => place == Place::Part,
        _ => false,
    }
}

/// The value with every set and map in it sorted and without repetition; of equal map keys the last one counts.
/// The bytes are valid.
pub fn normalize<'a>(ty: &CqlType, value: &'a [u8]) -> Result<Cow<'a, [u8]>, Malformed> {
    anew(ty, value, Place::Field)
}

/// The same of a value that a client bound, with the parts of its collections in the bytes that Cassandra writes them in.
pub fn as_bound<'a>(ty: &CqlType, value: &'a [u8]) -> Result<Cow<'a, [u8]>, Malformed> {
    anew(ty, value, Place::Alone)
}

fn anew<'a>(ty: &CqlType, value: &'a [u8], place: Place) -> Result<Cow<'a, [u8]>, Malformed> {
    if value.is_empty() || !changes(ty, place) {
        return Ok(Cow::Borrowed(value));
    }
    let mut out = Vec::with_capacity(value.len());
    let parts = place.of_parts();
    match ty.bare() {
        CqlType::List(inner) => {
            let elements = Elements::read(value)?;
            out.extend((elements.left() as i32).to_be_bytes());
            for element in elements {
                put_anew(inner, element?, parts, &mut out)?;
            }
        }
        CqlType::Set(inner) => {
            let mut sorted = Vec::new();
            for element in Elements::read(value)? {
                let element = anew(inner, element?.ok_or(Malformed::LENGTH)?, parts)?;
                sorted.push((in_order(inner, &element)?, element));
            }
            sorted.sort_by(|a, b| a.0.cmp(&b.0));
            sorted.dedup_by(|a, b| a.0 == b.0);
            out.extend((sorted.len() as i32).to_be_bytes());
            for (_, element) in sorted {
                put_element(Some(&element), &mut out);
            }
        }
        CqlType::Map(key_type, of) => {
            let mut sorted = Vec::new();
            let mut elements = Elements::read_map(value)?;
            while let Some(key) = elements.next() {
                let key = anew(key_type, key?.ok_or(Malformed::LENGTH)?, parts)?;
                let entry = elements.next().ok_or(Malformed::SHORT)??;
                sorted.push((in_order(key_type, &key)?, key, entry));
            }
            // Stable, so that reversed the last of equals comes first and survives.
            sorted.reverse();
            sorted.sort_by(|a, b| a.0.cmp(&b.0));
            sorted.dedup_by(|a, b| a.0 == b.0);
            out.extend((sorted.len() as i32).to_be_bytes());
            for (_, key, entry) in sorted {
                put_element(Some(&key), &mut out);
                put_anew(of, entry, parts, &mut out)?;
            }
        }
        CqlType::Tuple(types) => fields_anew(types.iter(), value, &mut out)?,
        CqlType::Udt(udt) => fields_anew(udt.fields.iter().map(|(_, ty)| ty), value, &mut out)?,
        CqlType::Vector(inner, dimension) => {
            for element in vector_elements(inner, usize::from(*dimension), value)? {
                let element = anew(inner, element, place.of_elements())?;
                if inner.fixed_bytes().is_none() {
                    put_unsigned_vint(&mut out, element.len() as u64);
                }
                out.extend_from_slice(&element);
            }
        }
        plain => return plain_anew(plain, value),
    }
    Ok(Cow::Owned(out))
}

/// A value without parts, in the bytes that Cassandra would write it in.
fn plain_anew<'a>(ty: &CqlType, value: &'a [u8]) -> Result<Cow<'a, [u8]>, Malformed> {
    Ok(match ty {
        CqlType::Boolean => Cow::Owned(vec![u8::from(value != [0])]),
        CqlType::Inet => match value.strip_prefix(&MAPPED) {
            Some(short) => Cow::Borrowed(short),
            None => Cow::Borrowed(value),
        },
        CqlType::Varint => Cow::Borrowed(shortest(value)),
        CqlType::Decimal => {
            let (scale, unscaled) = value.split_first_chunk::<4>().ok_or(Malformed::SHORT)?;
            Cow::Owned([scale, shortest(unscaled)].concat())
        }
        CqlType::Duration => {
            let mut rest = value;
            let mut out = Vec::with_capacity(value.len());
            for _months_days_nanoseconds in 0..3 {
                let (number, taken) = read_unsigned_vint(rest).ok_or(Malformed::SHORT)?;
                put_unsigned_vint(&mut out, number);
                rest = &rest[taken..];
            }
            Cow::Owned(out)
        }
        _ => Cow::Borrowed(value),
    })
}

/// What an address of IPv4 begins with where it is written as one of IPv6.
const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

/// A whole number without the leading bytes that only repeat its sign.
fn shortest(mut number: &[u8]) -> &[u8] {
    while let [first, rest @ ..] = number
        && let [second, ..] = rest
        && (*first == 0 && *second < 0x80 || *first == 0xff && *second >= 0x80)
    {
        number = rest;
    }
    number
}

fn in_order(ty: &CqlType, value: &[u8]) -> Result<Vec<u8>, Malformed> {
    let mut place = Vec::new();
    order::encode(ty, Some(value), false, &mut place)?;
    Ok(place)
}

fn put_anew(
    ty: &CqlType,
    value: Option<&[u8]>,
    place: Place,
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    match value {
        Some(value) => put_element(Some(&anew(ty, value, place)?), out),
        None => put_element(None, out),
    }
    Ok(())
}

fn fields_anew<'t>(
    types: impl Iterator<Item = &'t CqlType>,
    value: &[u8],
    out: &mut Vec<u8>,
) -> Result<(), Malformed> {
    for (ty, field) in types.zip(Fields::read(value)) {
        put_anew(ty, field?, Place::Field, out)?;
    }
    Ok(())
}
