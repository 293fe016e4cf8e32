//! LZ4 and Snappy, with the declared size checked first.
//!
//! ```text
//! v3, v4, LZ4      body = | uncompressed length, 4 bytes big-endian | LZ4 block |
//! v3, v4, Snappy   body = Snappy block (which starts with its own length)
//! v5, LZ4          payload = LZ4 block; both lengths stand in the segment header
//! ```
//!
//! A declared length is believed only up to the limit of the connection and up to what the codec can make of the bytes that
//! did arrive: no memory is reserved on a peer's word alone.

use bytes::{Bytes, BytesMut};

use crate::error::Malformed;
use crate::limits::{LZ4_EXPANSION_MAX, SNAPPY_EXPANSION_MAX};

const UNCOMPRESSED_LENGTH_BYTES: usize = 4;

/// What both sides agreed to in STARTUP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Compression {
    Lz4,
    Snappy,
}

impl Compression {
    /// The name in STARTUP and SUPPORTED.
    pub fn name(self) -> &'static str {
        match self {
            Self::Lz4 => "lz4",
            Self::Snappy => "snappy",
        }
    }

    /// A whole v3/v4 body, decompressed.
    pub fn decompress_body(self, body: &[u8], bytes_max: usize) -> Result<Bytes, Malformed> {
        match self {
            Self::Lz4 => lz4_body(body, bytes_max),
            Self::Snappy => snappy_body(body, bytes_max),
        }
    }

    /// Compresses a v3/v4 body into `out`, which is cleared first. False if that did not make it smaller.
    pub(crate) fn compress_body(self, body: &[u8], out: &mut Vec<u8>) -> bool {
        out.clear();
        let written = match self {
            Self::Lz4 => {
                out.resize(
                    UNCOMPRESSED_LENGTH_BYTES
                        + lz4_flex::block::get_maximum_output_size(body.len()),
                    0,
                );
                let (length, block) = out.split_at_mut(UNCOMPRESSED_LENGTH_BYTES);
                let body_bytes =
                    u32::try_from(body.len()).expect("a response body stays under 2 GiB");
                length.copy_from_slice(&body_bytes.to_be_bytes());
                lz4_flex::block::compress_into(body, block)
                    .map(|n| n + UNCOMPRESSED_LENGTH_BYTES)
                    .ok()
            }
            Self::Snappy => {
                out.resize(snap::raw::max_compress_len(body.len()), 0);
                snap::raw::Encoder::new().compress(body, out).ok()
            }
        };
        match written {
            Some(written) if written < body.len() => {
                out.truncate(written);
                true
            }
            _ => false,
        }
    }
}

fn lz4_body(body: &[u8], bytes_max: usize) -> Result<Bytes, Malformed> {
    let (length, block) = body
        .split_first_chunk::<UNCOMPRESSED_LENGTH_BYTES>()
        .ok_or(Malformed::of(
            "Not enough bytes to read the uncompressed length of a body",
        ))?;
    let length = u32::from_be_bytes(*length) as usize;
    check_declared(length, block.len(), LZ4_EXPANSION_MAX, bytes_max)?;
    lz4_block(block, length)
}

/// A block whose uncompressed length was declared elsewhere and has been checked.
pub(crate) fn lz4_block(block: &[u8], length: usize) -> Result<Bytes, Malformed> {
    if length == 0 {
        return Ok(Bytes::new());
    }
    let mut plain = BytesMut::zeroed(length);
    match lz4_flex::block::decompress_into(block, &mut plain) {
        Ok(written) if written == length => Ok(plain.freeze()),
        _ => Err(Malformed::of("Cannot decompress an LZ4 block")),
    }
}

fn snappy_body(body: &[u8], bytes_max: usize) -> Result<Bytes, Malformed> {
    const BROKEN: Malformed = Malformed::of("Cannot decompress a Snappy block");
    let length = snap::raw::decompress_len(body).map_err(|_| BROKEN)?;
    check_declared(length, body.len(), SNAPPY_EXPANSION_MAX, bytes_max)?;
    let mut plain = BytesMut::zeroed(length);
    let written = snap::raw::Decoder::new()
        .decompress(body, &mut plain)
        .map_err(|_| BROKEN)?;
    plain.truncate(written);
    Ok(plain.freeze())
}

pub(crate) fn check_declared(
    declared: usize,
    arrived: usize,
    expansion_max: usize,
    bytes_max: usize,
) -> Result<(), Malformed> {
    if declared > bytes_max {
        return Err(Malformed::from(format!(
            "Request is too big: length {declared} exceeds maximum allowed length {bytes_max}."
        )));
    }
    // 64 more: a block so short that its fixed costs count.
    if declared > arrived.saturating_mul(expansion_max).saturating_add(64) {
        return Err(Malformed::of(
            "A compressed body declares more bytes than its block can hold",
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_codecs_give_back_what_they_took() {
        let body = b"the quick brown fox ".repeat(100);
        for codec in [Compression::Lz4, Compression::Snappy] {
            let mut packed = Vec::new();
            assert!(codec.compress_body(&body, &mut packed));
            let plain = codec.decompress_body(&packed, body.len()).unwrap();
            assert_eq!(plain, body);
            assert!(codec.decompress_body(&packed, body.len() - 1).is_err());
        }
    }

    #[test]
    fn fourteen_bytes_do_not_buy_a_gigabyte() {
        let mut body = vec![0x40, 0, 0, 0];
        body.extend_from_slice(&[0; 10]);
        let refused = Compression::Lz4
            .decompress_body(&body, usize::MAX)
            .unwrap_err();
        assert!(refused.0.contains("more bytes than its block can hold"));
        // Snappy's preamble is a varint.
        let body = [0xff, 0xff, 0xff, 0xff, 0x03, 0, 0];
        assert!(
            Compression::Snappy
                .decompress_body(&body, usize::MAX)
                .is_err()
        );
    }
}
