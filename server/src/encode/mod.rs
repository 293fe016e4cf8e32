//! CQL values on one side, ordered bytes on the other.
//!
//! ```text
//! bound value, literal ──wire──► checked value bytes ──order──► clustering position, map and set path
//!                                        │            ──key───► partition key and token
//!                                        └────────────────────► cell value, as it is
//! ```
//!
//! A value stays what it was on the wire from the client's frame to the cell and back: nothing is decoded into a tree on
//! the way. Only keys change their form, so that storage can compare bytes and be right.
//!
//! Read in this order: `wire` (walking and checking value bytes), `order` and `decimal` (ordered bytes), `key`
//! (partition keys, tokens, clustering positions and bounds), `cell` (collections as cells).

pub mod cell;
mod decimal;
pub mod key;
pub mod order;
pub mod wire;

#[cfg(test)]
mod tests;

/// Bytes that are no value of their type.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Malformed(&'static str);

impl Malformed {
    pub(crate) const SHORT: Malformed = Malformed("a value ends too early");
    pub(crate) const LENGTH: Malformed = Malformed("a value has a length its type cannot have");
    pub(crate) const DIGITS: Malformed =
        Malformed("a decimal of more than 65535 bytes has no order");
    pub(crate) const MARKER: Malformed = Malformed("a key holds a marker that means nothing");
}

impl From<Malformed> for crate::error::CqlError {
    /// Values are checked when they are bound, so what fails here came from storage; but for those that are sound and too long to be compared.
    fn from(malformed: Malformed) -> Self {
        match malformed {
            Malformed::DIGITS => crate::error::CqlError::invalid(malformed.to_string()),
            _ => crate::error::CqlError::read_failure(malformed.to_string()),
        }
    }
}
