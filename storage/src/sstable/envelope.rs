//! What is inside a sealed block before its meaning: compressed or not.
//!
//! ```text
//! method  u8    0 = stored, 1 = LZ4 block, 2 = Zstandard frame, 3 = Zstandard frame that needs the SSTable's dictionary
//! length  u32   of the plaintext, little-endian; not of what is stored
//! payload
//! ```
//!
//! A block that does not shrink is stored. Buffers on both ways are wiped.

use bytes::Bytes;

use super::zstd::{self, Compressor, Dictionary};
use crate::wiped::Wiped;
use crate::{Error, Result};

const METHOD_STORED: u8 = 0;
const METHOD_LZ4: u8 = 1;
const METHOD_ZSTD: u8 = 2;
const METHOD_ZSTD_DICTIONARY: u8 = 3;
const LZ4_HEAD_BYTES: usize = 5;

/// LZ4 cannot shrink by more than this factor, so a larger claim is a lie and allocates nothing.
const LZ4_RATIO_MAX: usize = 255;

/// How a block is packed.
pub enum Packing<'a> {
    Stored,
    Lz4,
    /// By a compressor that has no dictionary.
    Zstd(&'a mut Compressor),
    /// By one that has the SSTable's.
    ZstdDictionary(&'a mut Compressor),
}

/// The block as it is sealed.
pub fn pack(plain: &[u8], packing: Packing<'_>) -> Wiped<Vec<u8>> {
    let packed = match packing {
        Packing::Stored => None,
        Packing::Lz4 => lz4(plain),
        // What zstd does not take is too large for it.
        Packing::Zstd(_) | Packing::ZstdDictionary(_) if plain.len() > zstd::ZSTD_BYTES_MAX => {
            lz4(plain)
        }
        Packing::Zstd(compressor) => compressor.pack(METHOD_ZSTD, plain),
        Packing::ZstdDictionary(compressor) => compressor.pack(METHOD_ZSTD_DICTIONARY, plain),
    };
    packed.unwrap_or_else(|| {
        let mut stored = Wiped::new(Vec::with_capacity(1 + plain.len()));
        stored.push(METHOD_STORED);
        stored.extend_from_slice(plain);
        stored
    })
}

fn lz4(plain: &[u8]) -> Option<Wiped<Vec<u8>>> {
    let most = LZ4_HEAD_BYTES + lz4_flex::block::get_maximum_output_size(plain.len());
    let mut packed = Wiped::new(vec![0; most]);
    packed[0] = METHOD_LZ4;
    packed[1..LZ4_HEAD_BYTES].copy_from_slice(&(plain.len() as u32).to_le_bytes());
    let written = lz4_flex::block::compress_into(plain, &mut packed[LZ4_HEAD_BYTES..]).ok()?;
    packed.truncate(LZ4_HEAD_BYTES + written);
    (packed.len() < plain.len()).then_some(packed)
}

/// The plaintext of an opened block, at most `bytes_max` long. `dictionary`: the one of its SSTable, if there is one.
pub fn unpack(
    opened: Wiped<Vec<u8>>,
    bytes_max: usize,
    dictionary: Option<&Dictionary>,
) -> Result<Bytes> {
    match opened.first() {
        Some(&METHOD_STORED) if opened.len() <= bytes_max.saturating_add(1) => {
            Ok(opened.into_bytes().slice(1..))
        }
        Some(&METHOD_LZ4) => {
            let (head, payload) = opened
                .split_first_chunk::<LZ4_HEAD_BYTES>()
                .ok_or_else(|| Error::corrupt("block: cut envelope"))?;
            let length = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
            if length > bytes_max || length > payload.len().saturating_mul(LZ4_RATIO_MAX) {
                return Err(Error::corrupt("block: impossible length"));
            }
            let mut plain = Wiped::new(vec![0; length]);
            match lz4_flex::block::decompress_into(payload, &mut plain) {
                Ok(written) if written == length => Ok(plain.into_bytes()),
                _ => Err(Error::corrupt("block: does not decompress")),
            }
        }
        Some(&METHOD_ZSTD) => zstd::unpack(opened, None, bytes_max).map(Wiped::into_bytes),
        Some(&METHOD_ZSTD_DICTIONARY) => {
            let dictionary = dictionary.ok_or_else(|| Error::corrupt("block: no dictionary"))?;
            zstd::unpack(opened, Some(dictionary), bytes_max).map(Wiped::into_bytes)
        }
        _ => Err(Error::corrupt("block: unknown envelope")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zstd() -> Compressor {
        Compressor::new(3, None).expect("memory")
    }

    #[test]
    fn what_is_packed_comes_back() {
        let noise = crate::sstable::tests::Dice::new(1).bytes(4096);
        for plain in [&b""[..], b"a", &[7; 5000], &noise] {
            for packing in [Packing::Stored, Packing::Lz4, Packing::Zstd(&mut zstd())] {
                let packed = pack(plain, packing);
                assert_eq!(unpack(packed, 5000, None).expect("whole"), plain);
            }
        }
        assert!(pack(&[7; 5000], Packing::Lz4).len() < 100);
        assert!(pack(&[7; 5000], Packing::Zstd(&mut zstd())).len() < 100);
        assert_eq!(pack(&noise, Packing::Lz4)[0], METHOD_STORED);
        assert_eq!(pack(&noise, Packing::Zstd(&mut zstd()))[0], METHOD_STORED);
    }

    #[test]
    fn a_row_too_large_for_zstd_is_lz4s() {
        let large = vec![7; zstd::ZSTD_BYTES_MAX + 1];
        let packed = pack(&large, Packing::ZstdDictionary(&mut zstd()));
        assert_eq!(packed[0], METHOD_LZ4);
        assert_eq!(unpack(packed, large.len(), None).expect("whole"), large);
    }

    #[test]
    fn a_block_whose_dictionary_is_not_there_is_corrupt() {
        let packed = pack(&[7; 5000], Packing::ZstdDictionary(&mut zstd()));
        assert_eq!(packed[0], METHOD_ZSTD_DICTIONARY);
        assert!(unpack(packed, 5000, None).is_err());
    }

    #[test]
    fn lies_about_length_are_corrupt() {
        let packed = pack(&[7; 5000], Packing::Lz4);
        assert!(unpack(packed.clone(), 4999, None).is_err());
        for length in [0u32, 4999, 5001, u32::MAX] {
            let mut lie = packed.clone();
            lie[1..5].copy_from_slice(&length.to_le_bytes());
            assert!(unpack(lie, usize::MAX, None).is_err(), "{length}");
        }
        assert!(unpack(Wiped::new(vec![]), 10, None).is_err());
        assert!(unpack(Wiped::new(vec![1, 0, 0]), 10, None).is_err());
        assert!(unpack(Wiped::new(vec![9, 0, 0]), 10, None).is_err());
        assert!(unpack(pack(&[1; 20], Packing::Stored), 19, None).is_err());
    }
}
