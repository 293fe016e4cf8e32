//! v5 segments: header, payload, checksums. Picture in `wire`; all numbers here are little-endian.
//!
//! A header's lengths are 17 bits wide, so a segment can never declare more than 128 KiB and needs no further bound. In LZ4
//! mode an uncompressed length of zero means that the payload is stored as it is.

use bytes::{BufMut, Bytes, BytesMut};

use super::checksum::{crc24, crc32};
use super::compression::lz4_block;
use crate::error::Malformed;
use crate::limits::SEGMENT_PAYLOAD_BYTES_MAX;

const CRC24_BYTES: usize = 3;
pub const CRC32_BYTES: usize = 4;
const LENGTH_MASK: u64 = (1 << 17) - 1;

/// Whether segments carry LZ4 blocks: decides the width of their headers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SegmentFormat {
    Plain,
    Lz4,
}

impl SegmentFormat {
    pub fn header_bytes(self) -> usize {
        self.fields_bytes() + CRC24_BYTES
    }

    fn fields_bytes(self) -> usize {
        match self {
            Self::Plain => 3,
            Self::Lz4 => 5,
        }
    }
}

/// What a segment header says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentHeader {
    /// Bytes of the payload as it travels.
    pub payload_bytes: usize,
    /// Bytes of the payload after decompression; equal to `payload_bytes` if it is not compressed.
    pub plain_bytes: usize,
    pub compressed: bool,
    pub self_contained: bool,
}

impl SegmentHeader {
    /// `bytes` has exactly the header's length.
    #[inline]
    pub fn parse(format: SegmentFormat, bytes: &[u8]) -> Result<Self, Malformed> {
        let (fields, checksum) = bytes.split_at(format.fields_bytes());
        let declared = little_endian(checksum) as u32;
        let computed = crc24(fields);
        if declared != computed {
            return Err(crc_mismatch("header", declared, computed));
        }
        let bits = little_endian(fields);
        let first = (bits & LENGTH_MASK) as usize;
        Ok(match format {
            SegmentFormat::Plain => Self {
                payload_bytes: first,
                plain_bytes: first,
                compressed: false,
                self_contained: bits >> 17 & 1 == 1,
            },
            SegmentFormat::Lz4 => {
                let second = (bits >> 17 & LENGTH_MASK) as usize;
                Self {
                    payload_bytes: first,
                    plain_bytes: if second == 0 { first } else { second },
                    compressed: second != 0,
                    self_contained: bits >> 34 & 1 == 1,
                }
            }
        })
    }

    fn print(self, format: SegmentFormat) -> ([u8; 8], usize) {
        let contained = u64::from(self.self_contained);
        let bits = match format {
            SegmentFormat::Plain => self.payload_bytes as u64 | contained << 17,
            SegmentFormat::Lz4 => {
                let plain = if self.compressed {
                    self.plain_bytes as u64
                } else {
                    0
                };
                self.payload_bytes as u64 | plain << 17 | contained << 34
            }
        };
        let fields = format.fields_bytes();
        let mut bytes = bits.to_le_bytes();
        let crc = crc24(&bytes[..fields]).to_le_bytes();
        bytes[fields..fields + CRC24_BYTES].copy_from_slice(&crc[..CRC24_BYTES]);
        (bytes, fields + CRC24_BYTES)
    }
}

fn little_endian(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .rev()
        .fold(0, |number, byte| number << 8 | u64::from(*byte))
}

#[cold]
fn crc_mismatch(part: &str, declared: u32, computed: u32) -> Malformed {
    Malformed::from(format!(
        "unrecoverable CRC mismatch detected in frame {part}. Read {declared}, Computed {computed}"
    ))
}

/// Checks a payload against its CRC32.
#[inline]
pub fn check_payload(payload: &[u8], trailer: [u8; CRC32_BYTES]) -> Result<(), Malformed> {
    let declared = u32::from_le_bytes(trailer);
    let computed = crc32(payload);
    if declared == computed {
        Ok(())
    } else {
        Err(crc_mismatch("body", declared, computed))
    }
}

/// The envelopes inside a checked payload. At most 128 KiB, whatever it claims.
pub fn open_payload(header: SegmentHeader, payload: Bytes) -> Result<Bytes, Malformed> {
    if header.compressed {
        lz4_block(&payload, header.plain_bytes)
    } else {
        Ok(payload)
    }
}

/// Reserves room for a segment's header; the payload is appended behind it, then `seal_segment` ends it.
#[inline]
pub fn open_segment(format: SegmentFormat, out: &mut BytesMut) {
    out.put_bytes(0, format.header_bytes());
}

/// Ends the segment that began at `at`: everything behind its header is the payload.
pub fn seal_segment(
    format: SegmentFormat,
    out: &mut BytesMut,
    at: usize,
    self_contained: bool,
    scratch: &mut Vec<u8>,
) {
    let start = at + format.header_bytes();
    let plain_bytes = out.len() - start;
    assert!(
        plain_bytes <= SEGMENT_PAYLOAD_BYTES_MAX,
        "a segment is sealed before it outgrows its length field"
    );
    let compressed = format == SegmentFormat::Lz4 && compress(out, start, scratch);
    let header = SegmentHeader {
        payload_bytes: out.len() - start,
        plain_bytes,
        compressed,
        self_contained,
    };
    let (bytes, length) = header.print(format);
    out[at..start].copy_from_slice(&bytes[..length]);
    let crc = crc32(&out[start..]);
    out.put_u32_le(crc);
}

/// Replaces everything from `start` by its LZ4 block, if that is smaller.
fn compress(out: &mut BytesMut, start: usize, scratch: &mut Vec<u8>) -> bool {
    let payload = &out[start..];
    scratch.clear();
    scratch.resize(lz4_flex::block::get_maximum_output_size(payload.len()), 0);
    match lz4_flex::block::compress_into(payload, scratch) {
        Ok(written) if written < payload.len() => {
            out[start..start + written].copy_from_slice(&scratch[..written]);
            out.truncate(start + written);
            true
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flipped_bit_anywhere_in_a_header_is_seen() {
        for format in [SegmentFormat::Plain, SegmentFormat::Lz4] {
            let header = SegmentHeader {
                payload_bytes: 0x1_2345,
                plain_bytes: 0x1_2345,
                compressed: false,
                self_contained: true,
            };
            let (bytes, length) = header.print(format);
            assert_eq!(SegmentHeader::parse(format, &bytes[..length]), Ok(header));
            for bit in 0..length * 8 {
                let mut bytes = bytes;
                bytes[bit / 8] ^= 1 << (bit % 8);
                assert!(SegmentHeader::parse(format, &bytes[..length]).is_err());
            }
        }
    }
}
