//! Golden frames: each message, each version, byte by byte.
//!
//! The bytes were laid out by hand from the protocol's specification, so they say what the wire must look like, not what this
//! crate happens to do. A line is hexadecimal, or a 'quoted text'; what follows `#` explains it.

mod errors;
mod hex;
mod negotiation;
mod passwords;
mod quiet;
mod requests;
mod responses;
mod rows;
mod segments;
