//! Fixed-size little-endian fields, as FORMAT.md draws them: a writer that appends and a reader that never runs over its end.
//!
//! Only headers are made of these. A reader that runs dry, or meets a reserved byte that is not zero, says `None`; the caller says
//! which structure that was.

/// Appends fields to a header under construction.
#[derive(Default, Clone)]
pub struct FieldWriter {
    bytes: Vec<u8>,
}

impl FieldWriter {
    /// An empty header with room for `capacity` bytes.
    pub fn with_capacity(capacity: usize) -> Self {
        FieldWriter {
            bytes: Vec::with_capacity(capacity),
        }
    }

    /// Raw bytes, as they are.
    pub fn raw(&mut self, bytes: &[u8]) -> &mut Self {
        self.bytes.extend_from_slice(bytes);
        self
    }

    /// One byte.
    pub fn u8(&mut self, value: u8) -> &mut Self {
        self.raw(&[value])
    }

    /// Two bytes.
    pub fn u16(&mut self, value: u16) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Four bytes.
    pub fn u32(&mut self, value: u32) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Eight bytes.
    pub fn u64(&mut self, value: u64) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Eight bytes, signed.
    pub fn i64(&mut self, value: i64) -> &mut Self {
        self.raw(&value.to_le_bytes())
    }

    /// Reserved bytes.
    pub fn zero(&mut self, count: usize) -> &mut Self {
        self.bytes.resize(self.bytes.len() + count, 0);
        self
    }

    /// CRC-32 of everything written so far.
    pub fn crc(&mut self) -> &mut Self {
        let crc = crc32fast::hash(&self.bytes);
        self.u32(crc)
    }

    /// Overwrites four bytes at `offset`, for a length known only at the end.
    pub fn patch_u32(&mut self, offset: usize, value: u32) -> &mut Self {
        self.bytes[offset..offset + 4].copy_from_slice(&value.to_le_bytes());
        self
    }

    /// Bytes written so far.
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Nothing written yet?
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// What was written, to look at.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The header.
    pub fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Reads fields from bytes that a disk gave us.
#[derive(Clone)]
pub struct FieldReader<'a> {
    all: &'a [u8],
    at: usize,
}

impl<'a> FieldReader<'a> {
    /// From the first byte.
    pub fn new(bytes: &'a [u8]) -> Self {
        FieldReader { all: bytes, at: 0 }
    }

    /// The next `count` bytes.
    pub fn raw(&mut self, count: usize) -> Option<&'a [u8]> {
        let end = self.at.checked_add(count)?;
        let bytes = self.all.get(self.at..end)?;
        self.at = end;
        Some(bytes)
    }

    /// The next `N` bytes as an array.
    pub fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.raw(N)?.try_into().ok()
    }

    /// One byte.
    pub fn u8(&mut self) -> Option<u8> {
        Some(self.raw(1)?[0])
    }

    /// Two bytes.
    pub fn u16(&mut self) -> Option<u16> {
        Some(u16::from_le_bytes(self.array()?))
    }

    /// Four bytes.
    pub fn u32(&mut self) -> Option<u32> {
        Some(u32::from_le_bytes(self.array()?))
    }

    /// Eight bytes.
    pub fn u64(&mut self) -> Option<u64> {
        Some(u64::from_le_bytes(self.array()?))
    }

    /// Eight bytes, signed.
    pub fn i64(&mut self) -> Option<i64> {
        Some(i64::from_le_bytes(self.array()?))
    }

    /// These very bytes come next (a magic, a version).
    pub fn expect(&mut self, bytes: &[u8]) -> Option<()> {
        (self.raw(bytes.len())? == bytes).then_some(())
    }

    /// Reserved bytes come next.
    pub fn zero(&mut self, count: usize) -> Option<()> {
        is_zero(self.raw(count)?).then_some(())
    }

    /// A CRC-32 of all bytes before it comes next.
    pub fn crc(&mut self) -> Option<()> {
        let computed = crc32fast::hash(&self.all[..self.at]);
        (self.u32()? == computed).then_some(())
    }

    /// Bytes not read yet.
    pub fn left(&self) -> usize {
        self.all.len() - self.at
    }

    /// Bytes read so far.
    pub fn position(&self) -> usize {
        self.at
    }

    /// Nothing may follow.
    pub fn end(&self) -> Option<()> {
        (self.left() == 0).then_some(())
    }

    /// A count read from disk, if that many items of at least `item_bytes` can follow at all.
    pub fn fits(&self, count: usize, item_bytes: usize) -> Option<usize> {
        (count.checked_mul(item_bytes)? <= self.left()).then_some(count)
    }
}

/// Padding, and nothing else?
pub fn is_zero(bytes: &[u8]) -> bool {
    let words = bytes.chunks_exact(16);
    is_zero_bytewise(words.remainder()) && words.into_iter().all(is_zero_bytewise)
}

fn is_zero_bytewise(bytes: &[u8]) -> bool {
    bytes.iter().fold(0, |seen, &byte| seen | byte) == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_read_and_then_nothing_is_left() {
        let mut writer = FieldWriter::with_capacity(0);
        writer
            .raw(b"MAGC")
            .u8(1)
            .u16(2)
            .u32(3)
            .u64(4)
            .i64(-5)
            .zero(3)
            .crc();
        let bytes = writer.into_bytes();
        let mut reader = FieldReader::new(&bytes);
        reader.expect(b"MAGC").unwrap();
        assert_eq!(reader.u8(), Some(1));
        assert_eq!(reader.u16(), Some(2));
        assert_eq!(reader.u32(), Some(3));
        assert_eq!(reader.u64(), Some(4));
        assert_eq!(reader.i64(), Some(-5));
        reader.zero(3).unwrap();
        reader.crc().unwrap();
        reader.end().unwrap();
        assert_eq!(reader.u8(), None);
    }

    #[test]
    fn a_flipped_bit_fails_the_crc_and_a_count_cannot_promise_more_than_arrived() {
        let mut writer = FieldWriter::with_capacity(0);
        writer.u64(7).crc();
        let mut bytes = writer.into_bytes();
        bytes[3] ^= 1;
        let mut reader = FieldReader::new(&bytes);
        reader.u64().unwrap();
        assert_eq!(reader.fits(5, 1), None);
        assert_eq!(reader.fits(usize::MAX, 2), None);
        assert_eq!(reader.crc(), None);
    }

    #[test]
    fn zero_is_zero_at_every_length() {
        for length in 0..70 {
            let mut bytes = vec![0; length];
            assert!(is_zero(&bytes));
            for index in 0..length {
                bytes[index] = 1;
                assert!(!is_zero(&bytes), "{index} of {length}");
                bytes[index] = 0;
            }
        }
    }
}
