//! `Sealer`: born with a fresh data key, counts its own nonces, stops at its limits, poisoned by failure.
//!
//! Why so strict: under AES-GCM one repeated nonce gives away the authentication key. A sealer therefore cannot be restarted,
//! cloned or rewound. After any error (its own, or a failed write that the caller reports with `poison`) the only way on is a new
//! structure with a new data key: which of the blocks reached the disk is not known, so the next ordinal is not known either.
//!
//! The limits keep each key far from where GCM's guarantees wear thin: 2^32 blocks, and 1 TiB sealed or bound.

use crate::aead::{Cipher, TAG_BYTES};
use crate::error::{Error, Result};
use crate::ids::{StructureId, StructureKind};
use crate::keys::DataKey;
use crate::seal::associated::{Associated, Place, nonce};
use crate::seal::sealed::Sealed;

/// Blocks that one data key seals.
pub const SEALER_BLOCKS_MAX: u64 = 1 << 32;
/// Bytes (plaintext and context) that one data key seals.
pub const SEALER_BYTES_MAX: u64 = 1 << 40;

/// Seals the blocks of one structure, in order.
pub struct Sealer {
    cipher: Cipher,
    place: Place,
    next_ordinal: u64,
    bytes: u64,
    state: State,
}

#[derive(Copy, Clone, Eq, PartialEq, Debug)]
enum State {
    Open,
    Ended,
    Poisoned,
}

impl Sealer {
    pub(crate) fn new(key: &DataKey, structure: StructureId, kind: StructureKind) -> Self {
        Sealer {
            cipher: key.cipher(),
            place: Place { structure, kind },
            next_ordinal: 0,
            bytes: 0,
            state: State::Open,
        }
    }

    /// Encrypts `block` where it stands and appends the tag. `end` marks the structure's last block; none can follow it.
    ///
    /// After an error the sealer is poisoned and `block` may hold plaintext or ciphertext.
    pub fn seal<'a>(
        &mut self,
        context: &[u8],
        end: bool,
        block: &'a mut Vec<u8>,
    ) -> Result<Sealed<'a>> {
        let ordinal = self.seal_range(context, end, block, 0)?;
        Ok(Sealed::new(block, ordinal))
    }

    /// Seals `plain` and appends ciphertext and tag to `out`; the `Sealed` covers what was appended.
    ///
    /// After an error the sealer is poisoned and `out` is as it was.
    pub fn seal_into<'a>(
        &mut self,
        context: &[u8],
        end: bool,
        plain: &[u8],
        out: &'a mut Vec<u8>,
    ) -> Result<Sealed<'a>> {
        let start = out.len();
        // Reserved for the tag too: growing afterwards would leave plaintext or ciphertext behind in the old allocation.
        out.reserve(plain.len() + TAG_BYTES);
        out.extend_from_slice(plain);
        match self.seal_range(context, end, out, start) {
            Ok(ordinal) => Ok(Sealed::new(&out[start..], ordinal)),
            Err(error) => {
                out[start..].fill(0);
                out.truncate(start);
                Err(error)
            }
        }
    }

    /// Seals what `block` holds from `start` on.
    fn seal_range(
        &mut self,
        context: &[u8],
        end: bool,
        block: &mut Vec<u8>,
        start: usize,
    ) -> Result<u64> {
        let ordinal = self.admit(block.len() - start, context.len())?;
        let associated = Associated::new(self.place, ordinal, end, context);
        let Ok(tag) =
            self.cipher
                .seal_in_place(&nonce(ordinal), associated.bytes(), &mut block[start..])
        else {
            self.state = State::Poisoned;
            return Err(Error::Exhausted);
        };
        block.extend_from_slice(&tag);
        if end {
            self.state = State::Ended;
        }
        Ok(ordinal)
    }

    /// Takes the next ordinal before anything is sealed under it, so that no path leads back to it.
    fn admit(&mut self, block_bytes: usize, context_bytes: usize) -> Result<u64> {
        let ordinal = self.next_ordinal;
        let bytes = self
            .bytes
            .saturating_add(block_bytes as u64)
            .saturating_add(context_bytes as u64);
        if self.state != State::Open || ordinal >= SEALER_BLOCKS_MAX || bytes > SEALER_BYTES_MAX {
            self.state = State::Poisoned;
            return Err(Error::Exhausted);
        }
        self.next_ordinal = ordinal + 1;
        self.bytes = bytes;
        Ok(ordinal)
    }

    /// The ordinal that the next block will get.
    pub fn next_ordinal(&self) -> u64 {
        self.next_ordinal
    }

    /// Plaintext and context bytes sealed so far; a writer rolls long before `SEALER_BYTES_MAX`.
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Says that a sealed block may not have reached its place: nothing more is sealed under this key.
    pub fn poison(&mut self) {
        self.state = State::Poisoned;
    }

    /// Can the next `seal` succeed at all?
    pub fn is_open(&self) -> bool {
        self.state == State::Open
    }

    /// The structure whose blocks it seals.
    pub fn structure(&self) -> StructureId {
        self.place.structure
    }

    /// What that structure is.
    pub fn kind(&self) -> StructureKind {
        self.place.kind
    }
}

impl std::fmt::Debug for Sealer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Sealer")
            .field("structure", &self.place.structure)
            .field("kind", &self.place.kind)
            .field("next_ordinal", &self.next_ordinal)
            .field("state", &self.state)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::entropy::SeededEntropy;

    fn sealer() -> Sealer {
        let key = DataKey::random(&SeededEntropy::new(1));
        Sealer::new(&key, StructureId([1; 16]), StructureKind::Spill)
    }

    #[test]
    fn the_last_block_of_the_last_ordinal_is_sealed_and_the_next_is_not() {
        let mut sealer = sealer();
        sealer.next_ordinal = SEALER_BLOCKS_MAX - 1;
        assert!(sealer.seal(b"", false, &mut vec![1]).is_ok());
        assert!(matches!(
            sealer.seal(b"", false, &mut vec![1]),
            Err(Error::Exhausted)
        ));
    }

    #[test]
    fn the_byte_limit_counts_blocks_and_contexts() {
        let mut sealer = sealer();
        sealer.bytes = SEALER_BYTES_MAX - 10;
        assert!(sealer.seal(b"1234", false, &mut vec![0; 6]).is_ok());
        assert!(matches!(
            sealer.seal(b"", false, &mut vec![1]),
            Err(Error::Exhausted)
        ));
        assert!(!sealer.is_open());
    }

    #[test]
    fn a_poisoned_sealer_seals_nothing_and_leaves_no_plaintext() {
        let mut sealer = sealer();
        sealer.poison();
        let mut out = b"before".to_vec();
        assert!(matches!(
            sealer.seal_into(b"", false, b"plain", &mut out),
            Err(Error::Exhausted)
        ));
        assert_eq!(out, b"before");
    }

    #[test]
    fn nothing_follows_the_end() {
        let mut sealer = sealer();
        assert!(sealer.seal(b"", true, &mut vec![1]).is_ok());
        assert!(matches!(
            sealer.seal(b"", false, &mut vec![1]),
            Err(Error::Exhausted)
        ));
    }
}
