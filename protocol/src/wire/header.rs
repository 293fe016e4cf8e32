//! The 9-byte envelope header: parse and print. Picture in `wire`.
//!
//! Parsing trusts nothing: it only names the fields. Whether a version, an opcode or a length is acceptable is decided by the
//! decoder, which knows what was agreed on this connection.

use bytes::{BufMut, BytesMut};

use super::opcode::{Direction, Flags, Opcode};
use super::version::Version;

pub const HEADER_BYTES: usize = 9;
/// Versions 1 and 2 had a stream of one byte.
pub const OLD_HEADER_BYTES: usize = 8;

/// A header as it arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RawHeader {
    /// Without the direction bit.
    pub version: u8,
    pub direction: Direction,
    pub flags: Flags,
    pub stream: i16,
    pub opcode: u8,
    pub length: i32,
}

impl RawHeader {
    #[inline]
    pub fn parse(bytes: &[u8; HEADER_BYTES]) -> Self {
        let [version, flags, stream_high, stream_low, opcode, length @ ..] = *bytes;
        Self {
            version: version & 0x7f,
            direction: direction(version),
            flags: Flags(flags),
            stream: i16::from_be_bytes([stream_high, stream_low]),
            opcode,
            length: i32::from_be_bytes(length),
        }
    }

    /// The header of versions 1 and 2.
    pub fn parse_old(bytes: &[u8; OLD_HEADER_BYTES]) -> Self {
        let [version, flags, stream, opcode, length @ ..] = *bytes;
        Self {
            version: version & 0x7f,
            direction: direction(version),
            flags: Flags(flags),
            stream: i16::from(stream as i8),
            opcode,
            length: i32::from_be_bytes(length),
        }
    }
}

fn direction(version: u8) -> Direction {
    if version & 0x80 == 0 {
        Direction::Request
    } else {
        Direction::Response
    }
}

/// Appends a header whose length is patched later, by `patch_length`.
#[inline]
pub fn put_header(out: &mut BytesMut, version: Version, flags: Flags, stream: i16, opcode: Opcode) {
    let [stream_high, stream_low] = stream.to_be_bytes();
    out.put_slice(&[
        version.number() | opcode.direction().bit(),
        flags.0,
        stream_high,
        stream_low,
        opcode as u8,
        0,
        0,
        0,
        0,
    ]);
}

/// Writes the length of the body that now follows the header at `at`.
#[inline]
pub fn patch_length(out: &mut BytesMut, at: usize) {
    let length = out.len() - at - HEADER_BYTES;
    let length =
        i32::try_from(length).expect("a response body stays under 2 GiB: pages are bounded");
    out[at + 5..at + HEADER_BYTES].copy_from_slice(&length.to_be_bytes());
}
