//! `Opener`: what an unwrapped data key can do, and nothing more.
//!
//! It opens any block of its structure, in any order, from any thread. The caller says where the block stands; a block that was
//! sealed elsewhere, or changed, or cut, is `Tampered`, and not one byte of plaintext comes out.

use crate::aead::{Cipher, TAG_BYTES};
use crate::error::{Error, Result};
use crate::ids::{StructureId, StructureKind};
use crate::keys::DataKey;
use crate::seal::associated::{Associated, Place, nonce};

/// Opens the blocks of one structure.
pub struct Opener {
    cipher: Cipher,
    place: Place,
}

impl Opener {
    pub(crate) fn new(key: &DataKey, structure: StructureId, kind: StructureKind) -> Self {
        Opener {
            cipher: key.cipher(),
            place: Place { structure, kind },
        }
    }

    /// Opens `sealed` and appends the plaintext to `out`. After an error `out` is as it was.
    pub fn open(
        &self,
        ordinal: u64,
        end: bool,
        context: &[u8],
        sealed: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<()> {
        let Some((ciphertext, tag)) = sealed.split_last_chunk::<TAG_BYTES>() else {
            return Err(self.tampered(ordinal));
        };
        let start = out.len();
        out.resize(start + ciphertext.len(), 0);
        let associated = Associated::new(self.place, ordinal, end, context);
        self.cipher
            .open_into(
                &nonce(ordinal),
                associated.bytes(),
                ciphertext,
                &mut out[start..],
                tag,
            )
            .map_err(|_| {
                out.truncate(start);
                self.tampered(ordinal)
            })
    }

    /// Opens `block` where it stands and takes its tag off. After an error it holds neither plaintext nor what was sealed.
    pub fn open_in_place(
        &self,
        ordinal: u64,
        end: bool,
        context: &[u8],
        block: &mut Vec<u8>,
    ) -> Result<()> {
        let Some((ciphertext, tag)) = block.split_last_chunk_mut::<TAG_BYTES>() else {
            return Err(self.tampered(ordinal));
        };
        let associated = Associated::new(self.place, ordinal, end, context);
        self.cipher
            .open_in_place(&nonce(ordinal), associated.bytes(), ciphertext, tag)
            .map_err(|_| self.tampered(ordinal))?;
        block.truncate(block.len() - TAG_BYTES);
        Ok(())
    }

    /// The structure whose blocks it opens.
    pub fn structure(&self) -> StructureId {
        self.place.structure
    }

    /// What that structure is.
    pub fn kind(&self) -> StructureKind {
        self.place.kind
    }

    fn tampered(&self, ordinal: u64) -> Error {
        let Place { structure, kind } = self.place;
        Error::tampered(format!("block {ordinal} of {kind} {structure}"))
    }
}

impl std::fmt::Debug for Opener {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Opener")
            .field("structure", &self.place.structure)
            .field("kind", &self.place.kind)
            .finish_non_exhaustive()
    }
}
