//! The notations of the protocol's grammar: one reader and one writer for each.
//!
//! `Reader` walks a borrowed slice. It never copies, never allocates and never reads past the end; strings are checked to be
//! UTF-8 as they are read. Writers append to the outgoing buffer.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use bytes::{BufMut, BytesMut};
use uuid::Uuid;

use super::consistency::Consistency;
use super::version::Version;
use crate::error::Malformed;
use crate::limits::STRING_BYTES_MAX;

const TRUNCATED: Malformed = Malformed::of("Not enough bytes to read the message body");
const NOT_UTF8: Malformed = Malformed::of("Cannot decode string as UTF8");

/// A bound value: `[value]` of the protocol. Printed without its bytes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Value<'a> {
    Null,
    /// Leave the column as it is (v4, v5).
    Unset,
    Bytes(&'a [u8]),
}

impl fmt::Debug for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Null => f.write_str("Null"),
            Self::Unset => f.write_str("Unset"),
            Self::Bytes(bytes) => write!(f, "Bytes({} bytes)", bytes.len()),
        }
    }
}

/// A cursor over a message body.
#[derive(Clone, Copy)]
pub struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    pub fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read yet.
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub fn is_empty(&self) -> bool {
        self.rest.is_empty()
    }

    #[inline]
    pub fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (head, rest) = self.rest.split_at_checked(length).ok_or(TRUNCATED)?;
        self.rest = rest;
        Ok(head)
    }

    #[inline]
    pub fn array<const N: usize>(&mut self) -> Result<[u8; N], Malformed> {
        let (head, rest) = self.rest.split_first_chunk::<N>().ok_or(TRUNCATED)?;
        self.rest = rest;
        Ok(*head)
    }

    #[inline]
    pub fn byte(&mut self) -> Result<u8, Malformed> {
        Ok(self.array::<1>()?[0])
    }

    #[inline]
    pub fn short(&mut self) -> Result<u16, Malformed> {
        Ok(u16::from_be_bytes(self.array()?))
    }

    #[inline]
    pub fn int(&mut self) -> Result<i32, Malformed> {
        Ok(i32::from_be_bytes(self.array()?))
    }

    #[inline]
    pub fn long(&mut self) -> Result<i64, Malformed> {
        Ok(i64::from_be_bytes(self.array()?))
    }

    pub fn uuid(&mut self) -> Result<Uuid, Malformed> {
        Ok(Uuid::from_bytes(self.array()?))
    }

    /// `[string]`: a `[short]` length, then UTF-8.
    #[inline]
    pub fn string(&mut self) -> Result<&'a str, Malformed> {
        let length = self.short()?;
        utf8(self.take(usize::from(length))?)
    }

    /// `[long string]`: an `[int]` length, then UTF-8.
    #[inline]
    pub fn long_string(&mut self) -> Result<&'a str, Malformed> {
        let length = self.int()?;
        let length = usize::try_from(length).map_err(|_| invalid_length(length))?;
        utf8(self.take(length)?)
    }

    /// `[short bytes]`: a `[short]` length, then bytes.
    #[inline]
    pub fn short_bytes(&mut self) -> Result<&'a [u8], Malformed> {
        let length = self.short()?;
        self.take(usize::from(length))
    }

    /// `[bytes]`: an `[int]` length, then bytes; a negative length is null.
    #[inline]
    pub fn bytes(&mut self) -> Result<Option<&'a [u8]>, Malformed> {
        match usize::try_from(self.int()?) {
            Ok(length) => self.take(length).map(Some),
            Err(_) => Ok(None),
        }
    }

    /// `[value]`: as `[bytes]`, with -2 for unset. Version 3 knows no unset: there every negative length is null.
    #[inline]
    pub fn value(&mut self, version: Version) -> Result<Value<'a>, Malformed> {
        let length = self.int()?;
        match usize::try_from(length) {
            Ok(length) => self.take(length).map(Value::Bytes),
            Err(_) if length == -1 || version == Version::V3 => Ok(Value::Null),
            Err(_) if length == -2 => Ok(Value::Unset),
            Err(_) => Err(invalid_length(length)),
        }
    }

    pub fn consistency(&mut self) -> Result<Consistency, Malformed> {
        Consistency::from_number(self.short()?)
    }

    /// `[inetaddr]`: a size byte, 4 or 16, then the address.
    pub fn inetaddr(&mut self) -> Result<IpAddr, Malformed> {
        match self.byte()? {
            4 => Ok(Ipv4Addr::from(self.array::<4>()?).into()),
            16 => Ok(Ipv6Addr::from(self.array::<16>()?).into()),
            size => Err(Malformed::from(format!(
                "Invalid size {size} for an inet address: 4 or 16 expected"
            ))),
        }
    }
}

#[inline]
fn utf8(bytes: &[u8]) -> Result<&str, Malformed> {
    std::str::from_utf8(bytes).map_err(|_| NOT_UTF8)
}

#[cold]
fn invalid_length(length: i32) -> Malformed {
    Malformed::from(format!("Invalid ByteBuf length {length}"))
}

/// `[string map]`: pairs in the order they arrived, checked when the view was made.
#[derive(Clone, Copy, Default)]
pub struct StringMap<'a> {
    pairs: &'a [u8],
}

impl<'a> StringMap<'a> {
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let count = reader.short()?;
        let start = reader.rest();
        for _ in 0..count {
            reader.string()?;
            reader.string()?;
        }
        let pairs = &start[..start.len() - reader.rest().len()];
        Ok(Self { pairs })
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        let mut reader = Reader::new(self.pairs);
        std::iter::from_fn(move || Some((reader.string().ok()?, reader.string().ok()?)))
    }

    /// The last value under a key; keys of options are compared without case, as Cassandra does.
    pub fn get(&self, key: &str) -> Option<&'a str> {
        self.iter()
            .filter(|(name, _)| name.eq_ignore_ascii_case(key))
            .last()
            .map(|(_, value)| value)
    }
}

/// Options name drivers and versions: nothing to hide.
impl fmt::Debug for StringMap<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.iter()).finish()
    }
}

/// `[bytes map]`: the custom payload, checked when the view was made.
#[derive(Clone, Copy, Default)]
pub struct BytesMap<'a> {
    pairs: &'a [u8],
}

impl<'a> BytesMap<'a> {
    pub fn read(reader: &mut Reader<'a>) -> Result<Self, Malformed> {
        let count = reader.short()?;
        let start = reader.rest();
        for _ in 0..count {
            reader.string()?;
            reader.bytes()?;
        }
        let pairs = &start[..start.len() - reader.rest().len()];
        Ok(Self { pairs })
    }

    pub fn iter(&self) -> impl Iterator<Item = (&'a str, Option<&'a [u8]>)> + use<'a> {
        let mut reader = Reader::new(self.pairs);
        std::iter::from_fn(move || Some((reader.string().ok()?, reader.bytes().ok()?)))
    }
}

/// `[string]`. What does not fit its `[short]` length is cut at a character: only our own error texts could be that long.
pub fn put_string(out: &mut BytesMut, text: &str) {
    let text = cut(text);
    out.put_u16(text.len() as u16);
    out.put_slice(text.as_bytes());
}

fn cut(text: &str) -> &str {
    let mut end = text.len().min(STRING_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

pub fn put_long_string(out: &mut BytesMut, text: &str) {
    out.put_i32(length(text.len()));
    out.put_slice(text.as_bytes());
}

/// `[short bytes]`; ids only, which are 16 bytes long.
pub fn put_short_bytes(out: &mut BytesMut, bytes: &[u8]) {
    let short = u16::try_from(bytes.len()).expect("an id is never longer than a [short] can say");
    out.put_u16(short);
    out.put_slice(bytes);
}

/// `[bytes]`; `None` is null.
#[inline]
pub fn put_bytes(out: &mut BytesMut, bytes: Option<&[u8]>) {
    match bytes {
        Some(bytes) => {
            out.put_i32(length(bytes.len()));
            out.put_slice(bytes);
        }
        None => out.put_i32(-1),
    }
}

pub fn put_string_list<S: AsRef<str>>(out: &mut BytesMut, list: &[S]) {
    let list = &list[..list.len().min(usize::from(u16::MAX))];
    out.put_u16(list.len() as u16);
    for text in list {
        put_string(out, text.as_ref());
    }
}

pub fn put_inetaddr(out: &mut BytesMut, address: IpAddr) {
    match address {
        IpAddr::V4(address) => {
            out.put_u8(4);
            out.put_slice(&address.octets());
        }
        IpAddr::V6(address) => {
            out.put_u8(16);
            out.put_slice(&address.octets());
        }
    }
}

/// `[inet]`: an address and an `[int]` port.
pub fn put_inet(out: &mut BytesMut, address: std::net::SocketAddr) {
    put_inetaddr(out, address.ip());
    out.put_i32(i32::from(address.port()));
}

#[inline]
fn length(length: usize) -> i32 {
    i32::try_from(length)
        .expect("no value in memory reaches 2 GiB: bodies are bounded on the way in")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_beyond_the_end_is_an_error_and_takes_nothing() {
        let mut reader = Reader::new(&[0, 0, 0, 9, 1]);
        assert!(reader.bytes().is_err());
        assert!(Reader::new(&[0x7f, 0xff, 0xff, 0xff]).bytes().is_err());
    }

    #[test]
    fn unset_is_null_in_version_three() {
        let unset = (-2i32).to_be_bytes();
        assert_eq!(Reader::new(&unset).value(Version::V3), Ok(Value::Null));
        assert_eq!(Reader::new(&unset).value(Version::V4), Ok(Value::Unset));
        let strange = (-3i32).to_be_bytes();
        assert!(Reader::new(&strange).value(Version::V5).is_err());
    }

    #[test]
    fn an_overlong_string_is_cut_at_a_character() {
        let mut out = BytesMut::new();
        put_string(&mut out, &"é".repeat(40_000));
        let text = Reader::new(&out).string().unwrap();
        assert_eq!(text.len(), 65_534);
    }

    #[test]
    fn the_last_of_two_equal_options_counts() {
        let mut out = BytesMut::new();
        out.put_u16(2);
        for text in ["compression", "lz4", "COMPRESSION", "snappy"] {
            put_string(&mut out, text);
        }
        let map = StringMap::read(&mut Reader::new(&out)).unwrap();
        assert_eq!(map.get("Compression"), Some("snappy"));
        assert_eq!(map.iter().count(), 2);
    }
}
