//! What is inside a sealed block before its meaning: compressed or not.
//!
//! ```text
//! method  u8    0 = stored, 1 = LZ4 block
//! length  u32   of the plaintext, little-endian; method 1 only
//! payload
//! ```
//!
//! A block that LZ4 does not shrink is stored. Buffers on both ways are wiped.

use bytes::Bytes;
use zeroize::Zeroizing;

use crate::cache::wiped_bytes;
use crate::{Error, Result};

const METHOD_STORED: u8 = 0;
const METHOD_LZ4: u8 = 1;
const LZ4_HEAD_BYTES: usize = 5;

/// LZ4 cannot shrink by more than this factor, so a larger claim is a lie and allocates nothing.
const LZ4_RATIO_MAX: usize = 255;

/// The block as it is sealed.
pub fn pack(plain: &[u8], compress: bool) -> Zeroizing<Vec<u8>> {
    if compress {
        let mut packed = Zeroizing::new(vec![
            0;
            LZ4_HEAD_BYTES
                + lz4_flex::block::get_maximum_output_size(
                    plain.len()
                )
        ]);
        packed[0] = METHOD_LZ4;
        packed[1..LZ4_HEAD_BYTES].copy_from_slice(&(plain.len() as u32).to_le_bytes());
        if let Ok(len) = lz4_flex::block::compress_into(plain, &mut packed[LZ4_HEAD_BYTES..])
            && LZ4_HEAD_BYTES + len < plain.len()
        {
            packed.truncate(LZ4_HEAD_BYTES + len);
            return packed;
        }
    }
    let mut stored = Zeroizing::new(Vec::with_capacity(1 + plain.len()));
    stored.push(METHOD_STORED);
    stored.extend_from_slice(plain);
    stored
}

/// The plaintext of an opened block, at most `bytes_max` long.
pub fn unpack(opened: Zeroizing<Vec<u8>>, bytes_max: usize) -> Result<Bytes> {
    match opened.first() {
        Some(&METHOD_STORED) if opened.len() <= bytes_max.saturating_add(1) => {
            Ok(wiped_bytes(opened).slice(1..))
        }
        Some(&METHOD_LZ4) => {
            let (head, payload) = opened
                .split_first_chunk::<LZ4_HEAD_BYTES>()
                .ok_or_else(|| Error::corrupt("block: cut envelope"))?;
            let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
            if length > bytes_max || length > payload.len().saturating_mul(LZ4_RATIO_MAX) {
                return Err(Error::corrupt("block: impossible length"));
            }
            let mut plain = Zeroizing::new(vec![0; length]);
            match lz4_flex::block::decompress_into(payload, &mut plain) {
                Ok(written) if written == length => Ok(wiped_bytes(plain)),
                _ => Err(Error::corrupt("block: does not decompress")),
            }
        }
        _ => Err(Error::corrupt("block: unknown envelope")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_packed_comes_back() {
        let noise = crate::sstable::tests::Dice::new(1).bytes(4096);
        for plain in [&b""[..], b"a", &[7; 5000], &noise] {
            for compress in [false, true] {
                let packed = pack(plain, compress);
                assert_eq!(unpack(packed, 5000).expect("whole"), plain);
            }
        }
        assert!(pack(&[7; 5000], true).len() < 100);
        assert_eq!(pack(&noise, true)[0], METHOD_STORED);
    }

    #[test]
    fn lies_about_length_are_corrupt() {
        let packed = pack(&[7; 5000], true);
        assert!(unpack(packed.clone(), 4999).is_err());
        for length in [0u32, 4999, 5001, u32::MAX] {
            let mut lie = packed.clone();
            lie[1..5].copy_from_slice(&length.to_le_bytes());
            assert!(unpack(lie, usize::MAX).is_err(), "{length}");
        }
        assert!(unpack(Zeroizing::new(vec![]), 10).is_err());
        assert!(unpack(Zeroizing::new(vec![1, 0, 0]), 10).is_err());
        assert!(unpack(Zeroizing::new(vec![9, 0, 0]), 10).is_err());
        assert!(unpack(pack(&[1; 20], false), 19).is_err());
    }
}
