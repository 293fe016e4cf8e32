//! Bounded reading and writing of small numbers and byte strings.
//!
//! Every format of this crate is built from these few pieces, so that bytes from a disk meet one reader: it never indexes, never
//! panics, and never hands out more than is there.
//!
//! - fixed numbers are little-endian;
//! - a *varint* holds seven bits a byte, lowest first, the top bit says that more follow; at most ten bytes, and never longer than needed;
//! - a *zigzag* is a varint of a signed number, small magnitudes short;
//! - *framed* bytes are a varint length and that many bytes.

use crate::Error;
use std::cmp::Ordering;

/// The bytes end early or make no sense. What they were is for the caller to say: see [`Malformed::within`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Malformed;

impl Malformed {
    /// The same as an error that names what was being read (a structure, never its content).
    pub fn within(self, what: impl Into<String>) -> Error {
        Error::corrupt(what)
    }
}

impl From<Malformed> for Error {
    fn from(_: Malformed) -> Self {
        Error::corrupt("an encoded value ends early or makes no sense")
    }
}

/// A position in bytes that only moves forward and stops at their end.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    /// Reads from the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        Reader { rest: bytes }
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// How many bytes are left.
    pub fn remaining(&self) -> usize {
        self.rest.len()
    }

    /// Nothing is left.
    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    /// Refuses trailing bytes.
    pub fn finish(self) -> Result<(), Malformed> {
        if self.rest.is_empty() {
            Ok(())
        } else {
            Err(Malformed)
        }
    }

    /// The next `length` bytes.
    #[inline]
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    /// The next `N` bytes as an array.
    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (taken, rest) = self.rest.split_first_chunk::<N>().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*taken)
    }

    /// One byte.
    #[inline]
    pub fn u8(&mut self) -> Result<u8, Malformed> {
        let (first, rest) = self.rest.split_first().ok_or(Malformed)?;
        self.rest = rest;
        Ok(*first)
    }

    /// Two bytes, little-endian.
    pub fn u16(&mut self) -> Result<u16, Malformed> {
        self.array().map(u16::from_le_bytes)
    }

    /// Four bytes, little-endian.
    pub fn u32(&mut self) -> Result<u32, Malformed> {
        self.array().map(u32::from_le_bytes)
    }

    /// Eight bytes, little-endian.
    pub fn u64(&mut self) -> Result<u64, Malformed> {
        self.array().map(u64::from_le_bytes)
    }

    /// Eight bytes, little-endian, signed.
    #[inline]
    pub fn i64(&mut self) -> Result<i64, Malformed> {
        self.array().map(i64::from_le_bytes)
    }

    /// A varint.
    #[inline]
    pub fn varint(&mut self) -> Result<u64, Malformed> {
        match self.rest.split_first() {
            Some((&first, rest)) if first < 0x80 => {
                self.rest = rest;
                Ok(u64::from(first))
            }
            _ => self.long_varint(),
        }
    }

    fn long_varint(&mut self) -> Result<u64, Malformed> {
        let mut value = 0u64;
        for index in 0..10 {
            let byte = self.u8()?;
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                // A last byte of zero says nothing, and the tenth holds a single bit: one number has one spelling.
                let padded = byte == 0 && index > 0;
                let overflows = index == 9 && byte > 1;
                return if padded || overflows {
                    Err(Malformed)
                } else {
                    Ok(value)
                };
            }
        }
        Err(Malformed)
    }

    /// A varint that fits 32 bits.
    #[inline]
    pub fn varint_u32(&mut self) -> Result<u32, Malformed> {
        u32::try_from(self.varint()?).map_err(|_| Malformed)
    }

    /// A zigzag.
    #[inline]
    pub fn zigzag(&mut self) -> Result<i64, Malformed> {
        let value = self.varint()?;
        Ok(((value >> 1) as i64) ^ -((value & 1) as i64))
    }

    /// Framed bytes.
    #[inline]
    pub fn framed(&mut self) -> Result<&'a [u8], Malformed> {
        let length = usize::try_from(self.varint()?).map_err(|_| Malformed)?;
        self.take(length)
    }
}

/// The order of byte strings, decided without a call wherever their first bytes or their absence tell.
///
/// Not only shorter: comparing empty slices costs hundreds of cycles where the C library reads their address, which points nowhere,
/// under a mask that hides the fault.
#[inline]
pub fn compare(a: &[u8], b: &[u8]) -> Ordering {
    match (a.first(), b.first()) {
        (Some(first), Some(second)) if first == second => a.cmp(b),
        (first, second) => first.cmp(&second),
    }
}

/// Appends a varint.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push((value as u8) | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Appends a zigzag.
#[inline]
pub fn put_zigzag(out: &mut Vec<u8>, value: i64) {
    put_varint(out, ((value << 1) ^ (value >> 63)) as u64);
}

/// Appends framed bytes.
#[inline]
pub fn put_framed(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// Appends what `write` appends, framed. The length is known only afterwards; one byte is kept for it and the content moves if it needs more.
pub fn put_framed_with(out: &mut Vec<u8>, write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.push(0);
    write(out);
    let length = out.len() - start - 1;
    let width = varint_len(length as u64);
    if width > 1 {
        let end = out.len();
        out.resize(end + width - 1, 0);
        out.copy_within(start + 1..end, start + width);
    }
    let mut value = length as u64;
    for slot in &mut out[start..start + width] {
        *slot = (value as u8 & 0x7f) | 0x80;
        value >>= 7;
    }
    out[start + width - 1] &= 0x7f;
}

/// A varint or a zigzag takes at most so many bytes.
pub const NUMBER_BYTES_MAX: usize = 10;

/// The same of a varint of 32 bits.
pub const SMALL_NUMBER_BYTES_MAX: usize = 5;

/// How many bytes framed bytes take.
#[inline]
pub fn framed_len(bytes: &[u8]) -> usize {
    varint_len(bytes.len() as u64) + bytes.len()
}

/// How many bytes a varint takes.
pub fn varint_len(value: u64) -> usize {
    (64 - (value | 1).leading_zeros() as usize).div_ceil(7)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn numbers_come_back(value: u64, signed: i64) {
            let mut out = Vec::new();
            put_varint(&mut out, value);
            prop_assert_eq!(out.len(), varint_len(value));
            put_zigzag(&mut out, signed);
            let mut reader = Reader::new(&out);
            prop_assert_eq!(reader.varint(), Ok(value));
            prop_assert_eq!(reader.zigzag(), Ok(signed));
            prop_assert_eq!(reader.finish(), Ok(()));
        }

        #[test]
        fn a_frame_written_late_equals_one_written_early(length in 0usize..40_000) {
            let bytes = vec![7u8; length];
            let (mut early, mut late) = (vec![1], vec![1]);
            put_framed(&mut early, &bytes);
            put_framed_with(&mut late, |out| out.extend_from_slice(&bytes));
            prop_assert_eq!(early, late);
        }

        #[test]
        fn comparing_is_the_order_of_bytes(a in prop::collection::vec(0u8..3, 0..4), b in prop::collection::vec(0u8..3, 0..4)) {
            prop_assert_eq!(compare(&a, &b), a.cmp(&b));
        }

        #[test]
        fn any_bytes_are_a_number_or_malformed(bytes: Vec<u8>) {
            let mut reader = Reader::new(&bytes);
            if let Ok(value) = reader.varint() {
                let mut out = Vec::new();
                put_varint(&mut out, value);
                prop_assert!(bytes.starts_with(&out), "one number has one spelling");
            }
        }
    }

    #[test]
    fn a_frame_longer_than_the_bytes_is_malformed() {
        let mut out = Vec::new();
        put_varint(&mut out, u64::MAX);
        out.extend_from_slice(b"short");
        assert_eq!(Reader::new(&out).framed(), Err(Malformed));
    }
}
