//! What a seal is bound to: the associated data and the nonce of one block. The layout stands in `seal`.
//!
//! Built once for each block, on the stack; only a context longer than `INLINE_CONTEXT_BYTES` costs an allocation.

use crate::aead::NONCE_BYTES;
use crate::ids::{StructureId, StructureKind};

const FORMAT_VERSION: u16 = 1;
const FIXED_BYTES: usize = 2 + 16 + 1 + 8 + 1;
const INLINE_CONTEXT_BYTES: usize = 100;
const INLINE_BYTES: usize = FIXED_BYTES + INLINE_CONTEXT_BYTES;

/// The identity of a structure, as every one of its blocks repeats it.
#[derive(Copy, Clone)]
pub(super) struct Place {
    pub structure: StructureId,
    pub kind: StructureKind,
}

/// Associated data of one block.
pub(super) enum Associated {
    Inline([u8; INLINE_BYTES], usize),
    Spilled(Vec<u8>),
}

impl Associated {
    pub fn new(place: Place, ordinal: u64, end: bool, context: &[u8]) -> Self {
        let mut fixed = [0; FIXED_BYTES];
        fixed[..2].copy_from_slice(&FORMAT_VERSION.to_be_bytes());
        fixed[2..18].copy_from_slice(&place.structure.0);
        fixed[18] = place.kind as u8;
        fixed[19..27].copy_from_slice(&ordinal.to_be_bytes());
        fixed[27] = u8::from(end);
        if context.len() > INLINE_CONTEXT_BYTES {
            return Associated::Spilled([&fixed, context].concat());
        }
        let mut bytes = [0; INLINE_BYTES];
        let length = FIXED_BYTES + context.len();
        bytes[..FIXED_BYTES].copy_from_slice(&fixed);
        bytes[FIXED_BYTES..length].copy_from_slice(context);
        Associated::Inline(bytes, length)
    }

    pub fn bytes(&self) -> &[u8] {
        match self {
            Associated::Inline(bytes, length) => &bytes[..*length],
            Associated::Spilled(bytes) => bytes,
        }
    }
}

/// The nonce of the block at `ordinal`.
pub(super) fn nonce(ordinal: u64) -> [u8; NONCE_BYTES] {
    let mut nonce = [0; NONCE_BYTES];
    nonce[4..].copy_from_slice(&ordinal.to_be_bytes());
    nonce
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place {
        structure: StructureId([0x11; 16]),
        kind: StructureKind::SstableData,
    };

    #[test]
    fn the_layout_is_the_one_in_the_picture() {
        let associated = Associated::new(PLACE, 0x0102_0304, true, b"ctx");
        let mut expected = vec![0, 1];
        expected.extend([0x11; 16]);
        expected.push(3);
        expected.extend([0, 0, 0, 0, 1, 2, 3, 4]);
        expected.push(1);
        expected.extend(b"ctx");
        assert_eq!(associated.bytes(), expected);
        assert_eq!(nonce(0x0102_0304), [0, 0, 0, 0, 0, 0, 0, 0, 1, 2, 3, 4]);
    }

    #[test]
    fn a_long_context_is_bound_to_its_last_byte() {
        for length in [INLINE_CONTEXT_BYTES, INLINE_CONTEXT_BYTES + 1, 5000] {
            let context = vec![9; length];
            let associated = Associated::new(PLACE, 0, false, &context);
            assert_eq!(associated.bytes()[FIXED_BYTES..], context);
        }
    }
}
