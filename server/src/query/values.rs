//! Bound values: from the frame's bytes to checked values, without a copy, and without a count of their holders until one is asked for.
//!
//! What must hold: bytes that are no value of their marker's type leave here as an error in their place, and never as a value.

use std::borrow::Cow;
use std::collections::HashMap;

use bytes::Bytes;
use foldhash::quality::RandomState;
use palladium_protocol::request::Values;
use palladium_protocol::types::{CqlType, validate, validate_alternatives};
use palladium_protocol::wire::Value;

use super::expression::Bound;
use super::prepared::Marker;
use crate::encode::wire::{self, Elements};
use crate::error::{CqlError, CqlResult};

/// What came with a request for a statement's markers. What is no value of its type is refused by whoever looks at it, as in Cassandra: other mistakes may be met
/// first.
#[derive(Default)]
pub struct Given {
    /// What the values lie in.
    body: Bytes,
    slots: Vec<Slot>,
}

enum Slot {
    Null,
    Unset,
    /// From one place of the body to another.
    Within(u32, u32),
    /// A value in other bytes than those it came in.
    Apart(Box<Bytes>),
    Refused(Box<CqlError>),
}

impl Given {
    /// Where nothing is asked for.
    pub const fn none() -> Given {
        Given {
            body: Bytes::new(),
            slots: Vec::new(),
        }
    }

    /// The value of the marker of that number; null if there is none.
    #[inline]
    pub fn value(&self, marker: usize) -> CqlResult<Bound> {
        self.slots
            .get(marker)
            .map_or(Ok(Bound::Null), |slot| self.bound(slot))
    }

    /// All of them, in the order of their markers.
    pub fn iter(&self) -> impl Iterator<Item = CqlResult<Bound>> {
        self.slots.iter().map(|slot| self.bound(slot))
    }

    /// Whether one of them is no value of its type.
    pub fn has_refused(&self) -> bool {
        let mut slots = self.slots.iter();
        slots.any(|slot| matches!(slot, Slot::Refused(_)))
    }

    #[inline]
    fn bound(&self, slot: &Slot) -> CqlResult<Bound> {
        Ok(match slot {
            Slot::Null => Bound::Null,
            Slot::Unset => Bound::Unset,
            Slot::Within(start, end) => {
                Bound::Value(self.body.slice(*start as usize..*end as usize))
            }
            Slot::Apart(value) => Bound::Value((**value).clone()),
            Slot::Refused(refused) => return Err((**refused).clone()),
        })
    }
}

/// The values of a statement's markers, within the frame they came in. Fails only if their number is wrong. Of named ones the first of a name counts, for
/// each marker of that name; what no marker asks for is passed over.
pub fn bind(markers: &[Marker], values: &Values<'_>, body: &Bytes) -> CqlResult<Given> {
    if values.are_named() {
        let slots = named(markers, values, body)?;
        let body = body.clone();
        return Ok(Given { body, slots });
    }
    if values.len() != markers.len() {
        return Err(wrong_count(markers.len(), values.len()));
    }
    let mut slots = Vec::with_capacity(markers.len());
    for (marker, value) in markers.iter().zip(values.iter()) {
        slots.push(slot(marker, value, body));
    }
    let body = body.clone();
    Ok(Given { body, slots })
}

/// By a table of their names: a request may have 65,535 of them, and the statement as many markers.
fn named(markers: &[Marker], values: &Values<'_>, body: &Bytes) -> CqlResult<Vec<Slot>> {
    let mut named = HashMap::with_capacity_and_hasher(values.len(), RandomState::default());
    for (name, value) in values.iter_named() {
        named.entry(name).or_insert(value);
    }
    let found = |marker: &&Marker| named.contains_key(marker.name.as_str());
    let count = markers.iter().filter(found).count();
    if count != markers.len() {
        return Err(wrong_count(markers.len(), count));
    }
    let slot_of = |marker: &Marker| slot(marker, named[marker.name.as_str()], body);
    Ok(markers.iter().map(slot_of).collect())
}

fn wrong_count(markers: usize, values: usize) -> CqlError {
    CqlError::invalid(format!(
        "there were {markers} markers(?) in CQL but {values} bound variables"
    ))
}

#[inline]
fn slot(marker: &Marker, value: Value<'_>, body: &Bytes) -> Slot {
    match value {
        Value::Null => Slot::Null,
        Value::Unset => Slot::Unset,
        Value::Bytes(bytes) => {
            checked(marker, bytes, body).unwrap_or_else(|refused| Slot::Refused(Box::new(refused)))
        }
    }
}

#[inline]
fn checked(marker: &Marker, bytes: &[u8], body: &Bytes) -> CqlResult<Slot> {
    let checked = match (marker.lists_alternatives, &marker.ty) {
        (true, CqlType::List(element)) => validate_alternatives(element, bytes),
        (_, ty) => validate(ty, bytes),
    };
    checked.map_err(|error| CqlError::invalid(error.to_string()))?;
    let mut value = Cow::Borrowed(bytes);
    if let (true, CqlType::List(element)) = (marker.lists_alternatives, &marker.ty) {
        value = without_empties(element, bytes)?;
    }
    if marker.may_change
        && let Cow::Owned(changed) = wire::as_bound(&marker.ty, &value)?
    {
        value = Cow::Owned(changed);
    }
    Ok(match value {
        Cow::Borrowed(bytes) => within(body, bytes),
        Cow::Owned(value) => Slot::Apart(Box::new(value.into())),
    })
}

/// Where a value lies that was read out of a frame's body, which is far below 4 GiB.
#[inline]
fn within(body: &Bytes, value: &[u8]) -> Slot {
    if value.is_empty() {
        return Slot::Within(0, 0);
    }
    let start = value.as_ptr().addr().checked_sub(body.as_ptr().addr());
    let place = start.and_then(|start| {
        let end = start
            .checked_add(value.len())
            .filter(|end| *end <= body.len())?;
        Some((u32::try_from(start).ok()?, u32::try_from(end).ok()?))
    });
    let (start, end) = place.expect("a value of this body");
    Slot::Within(start, end)
}

/// The list of an IN in which what is empty is null, where the type has no empty values of its own: Cassandra reads them as values, and there is none.
fn without_empties<'a>(element: &CqlType, list: &'a [u8]) -> CqlResult<Cow<'a, [u8]>> {
    if !element.is_null_without_bytes() {
        return Ok(Cow::Borrowed(list));
    }
    let mut elements = Elements::read(list)?;
    if !elements.clone().any(|part| part == Ok(Some(&[]))) {
        return Ok(Cow::Borrowed(list));
    }
    let mut out = Vec::with_capacity(list.len());
    out.extend((elements.left() as i32).to_be_bytes());
    elements.try_for_each(|part| match part? {
        None | Some([]) => {
            out.extend((-1i32).to_be_bytes());
            Ok::<_, CqlError>(())
        }
        Some(part) => {
            out.extend((part.len() as i32).to_be_bytes());
            out.extend_from_slice(part);
            Ok(())
        }
    })?;
    Ok(Cow::Owned(out))
}
