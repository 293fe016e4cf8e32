//! `Sealed`: proof that bytes may touch a disk.
//!
//! The fields are private and the constructor is visible to `seal::sealer` alone, so in no other crate can anyone write
//! `Sealed { bytes: .. }`. Storage's sinks take nothing else. `SealedBuf` owns such bytes for appends that outlive a borrow, and
//! joins several sealed blocks into one append.

use std::fmt;

/// Ciphertext and tag, as a `Sealer` made them. Nobody else can make one:
///
/// ```compile_fail,E0451
/// let forged = palladium_crypto::Sealed { bytes: b"plaintext", ordinal: 0 };
/// ```
#[derive(Copy, Clone)]
pub struct Sealed<'a> {
    bytes: &'a [u8],
    ordinal: u64,
}

impl<'a> Sealed<'a> {
    pub(super) fn new(bytes: &'a [u8], ordinal: u64) -> Self {
        Sealed { bytes, ordinal }
    }

    /// The bytes to be written.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// Where the block stands in its structure.
    pub fn ordinal(&self) -> u64 {
        self.ordinal
    }

    /// A copy that owns its bytes.
    pub fn to_owned(&self) -> SealedBuf {
        SealedBuf {
            bytes: self.bytes.to_vec(),
            ordinal: self.ordinal,
        }
    }
}

/// Sealed bytes that own themselves: one block, or several in a row.
pub struct SealedBuf {
    bytes: Vec<u8>,
    ordinal: u64,
}

impl SealedBuf {
    /// Joins sealed blocks (also of different structures) in the order given; the ordinal is the first one's.
    pub fn concat<S: AsSealed>(parts: impl IntoIterator<Item = S>) -> SealedBuf {
        let mut joined = SealedBuf {
            bytes: Vec::new(),
            ordinal: 0,
        };
        for (index, part) in parts.into_iter().enumerate() {
            let part = part.as_sealed();
            if index == 0 {
                joined.ordinal = part.ordinal;
            }
            joined.bytes.extend_from_slice(part.bytes);
        }
        joined
    }

    /// The bytes to be written.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Where the (first) block stands in its structure.
    pub fn ordinal(&self) -> u64 {
        self.ordinal
    }

    /// The same bytes, borrowed.
    pub fn as_sealed(&self) -> Sealed<'_> {
        Sealed::new(&self.bytes, self.ordinal)
    }
}

/// Whatever can show a `Sealed`. Others may implement it: they can only show what a `Sealer` gave them.
pub trait AsSealed {
    /// The sealed bytes.
    fn as_sealed(&self) -> Sealed<'_>;
}

impl AsSealed for Sealed<'_> {
    fn as_sealed(&self) -> Sealed<'_> {
        *self
    }
}

impl AsSealed for SealedBuf {
    fn as_sealed(&self) -> Sealed<'_> {
        SealedBuf::as_sealed(self)
    }
}

impl<S: AsSealed> AsSealed for &S {
    fn as_sealed(&self) -> Sealed<'_> {
        S::as_sealed(self)
    }
}

impl fmt::Debug for Sealed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Sealed({} bytes at {})", self.bytes.len(), self.ordinal)
    }
}

impl fmt::Debug for SealedBuf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_sealed().fmt(f)
    }
}
