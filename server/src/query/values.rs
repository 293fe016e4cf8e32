//! Bound values: from the frame's bytes to checked values, without a copy.
//!
//! What must hold: bytes that are no value of their marker's type leave here as an error in their place, and never as a value.

use std::collections::HashMap;

use bytes::Bytes;
use foldhash::quality::RandomState;
use palladium_protocol::request::Values;
use palladium_protocol::types::{CqlType, validate, validate_alternatives};
use palladium_protocol::wire::Value;

use super::expression::{Bound, Given};
use super::prepared::Marker;
use crate::encode::wire::{self, Elements};
use crate::error::{CqlError, CqlResult};

/// The values of a statement's markers, slices of the frame they came in. Fails only if their number is wrong. Of named ones the first of a name counts, for
/// each marker of that name; what no marker asks for is passed over.
pub fn bind(markers: &[Marker], values: &Values<'_>, body: &Bytes) -> CqlResult<Vec<Given>> {
    if values.are_named() {
        return bind_named(markers, values, body);
    }
    if values.len() != markers.len() {
        return Err(wrong_count(markers.len(), values.len()));
    }
    let mut bound = Vec::with_capacity(markers.len());
    for (marker, value) in markers.iter().zip(values.iter()) {
        bound.push(one(marker, value, body).map_err(Box::new));
    }
    Ok(bound)
}

/// By a table of their names: a request may have 65,535 of them, and the statement as many markers.
fn bind_named(markers: &[Marker], values: &Values<'_>, body: &Bytes) -> CqlResult<Vec<Given>> {
    let mut named = HashMap::with_capacity_and_hasher(values.len(), RandomState::default());
    for (name, value) in values.iter_named() {
        named.entry(name).or_insert(value);
    }
    let found = |marker: &&Marker| named.contains_key(marker.name.as_str());
    let count = markers.iter().filter(found).count();
    if count != markers.len() {
        return Err(wrong_count(markers.len(), count));
    }
    let value_of = |marker: &Marker| one(marker, named[marker.name.as_str()], body);
    let bound = markers
        .iter()
        .map(|marker| value_of(marker).map_err(Box::new));
    Ok(bound.collect())
}

fn wrong_count(markers: usize, values: usize) -> CqlError {
    CqlError::invalid(format!(
        "there were {markers} markers(?) in CQL but {values} bound variables"
    ))
}

#[inline]
fn one(marker: &Marker, value: Value<'_>, body: &Bytes) -> CqlResult<Bound> {
    let bytes = match value {
        Value::Null => return Ok(Bound::Null),
        Value::Unset => return Ok(Bound::Unset),
        Value::Bytes(bytes) => bytes,
    };
    let checked = match (marker.lists_alternatives, &marker.ty) {
        (true, CqlType::List(element)) => validate_alternatives(element, bytes),
        (_, ty) => validate(ty, bytes),
    };
    checked.map_err(|error| CqlError::invalid(error.to_string()))?;
    let value = match &marker.ty {
        CqlType::List(element) if marker.lists_alternatives => {
            without_empties(element, body.slice_ref(bytes))?
        }
        _ => body.slice_ref(bytes),
    };
    if marker.has_order {
        let ordered = match wire::normalize(&marker.ty, &value)? {
            std::borrow::Cow::Borrowed(_) => None,
            std::borrow::Cow::Owned(ordered) => Some(ordered),
        };
        if let Some(ordered) = ordered {
            return Ok(Bound::Value(ordered.into()));
        }
    }
    Ok(Bound::Value(value))
}

/// The list of an IN in which what is empty is null, where the type has no empty values of its own: Cassandra reads them as values, and there is none.
fn without_empties(element: &CqlType, list: Bytes) -> CqlResult<Bytes> {
    if !element.is_null_without_bytes() {
        return Ok(list);
    }
    let mut elements = Elements::read(&list)?;
    if !elements.clone().any(|part| part == Ok(Some(&[]))) {
        return Ok(list);
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
    Ok(out.into())
}
