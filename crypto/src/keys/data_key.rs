//! Data keys: one for each structure, and their wraps.
//!
//! ```text
//! WrappedDataKey, 116 bytes
//! offset  size
//!      0     4   version of the table key that wraps, u32 BE
//!      4   112   the wrap: salt 32 | ciphertext 32 | tag 16 | commitment 32
//!
//! bound to    table UUID | structure id | structure kind u8 | version u32 BE
//! ```
//!
//! What must hold: `DataKey::random` is the only birth, and it is called only to make a `Sealer` (`KeyRing::seal_new`). A key that
//! comes out of a wrap gives an `Opener`.

use crate::aead::Cipher;
use crate::entropy::Entropy;
use crate::error::{Error, Result};
use crate::ids::{KeyVersion, StructureId, StructureKind, TableId};
use crate::kdf::Label;
use crate::keys::TableKey;
use crate::keys::wrap::{self, WRAP_BYTES};
use crate::secret::Secret;

/// Bytes of a wrapped data key.
pub const WRAPPED_DATA_KEY_BYTES: usize = 4 + WRAP_BYTES;

/// The key of one structure; it never leaves this crate.
pub(crate) struct DataKey(Secret<32>);

/// A data key under a table key: public bytes that stand beside the structure they open.
#[derive(Clone, Eq, PartialEq)]
pub struct WrappedDataKey {
    /// The table key's version that wraps it.
    pub version: KeyVersion,
    wrap: [u8; WRAP_BYTES],
}

impl DataKey {
    pub fn random(entropy: &dyn Entropy) -> Self {
        DataKey(Secret::random(entropy))
    }

    pub fn cipher(&self) -> Cipher {
        Cipher::new(&self.0)
    }

    pub fn wrap(
        &self,
        key: &TableKey,
        structure: StructureId,
        kind: StructureKind,
        entropy: &dyn Entropy,
    ) -> WrappedDataKey {
        let bound = Bound::new(key.table(), structure, kind, key.version());
        WrappedDataKey {
            version: key.version(),
            wrap: wrap::wrap(
                key.secret(),
                &self.0,
                Label::DataKeyWrap,
                &bound.parts(),
                entropy,
            ),
        }
    }

    /// Unwraps with the key whose version the wrap names.
    pub fn unwrap(
        wrapped: &WrappedDataKey,
        key: &TableKey,
        structure: StructureId,
        kind: StructureKind,
    ) -> Result<DataKey> {
        let bound = Bound::new(key.table(), structure, kind, wrapped.version);
        let what = || {
            format!(
                "wrapped data key of {kind} {structure} of table {}",
                key.table()
            )
        };
        wrap::unwrap(
            key.secret(),
            &wrapped.wrap,
            Label::DataKeyWrap,
            &bound.parts(),
            what,
        )
        .map(DataKey)
    }
}

impl WrappedDataKey {
    /// The bytes to be stored.
    pub fn to_bytes(&self) -> [u8; WRAPPED_DATA_KEY_BYTES] {
        let mut bytes = [0; WRAPPED_DATA_KEY_BYTES];
        bytes[..4].copy_from_slice(&self.version.to_be_bytes());
        bytes[4..].copy_from_slice(&self.wrap);
        bytes
    }

    /// Reads stored bytes, which must be exactly `WRAPPED_DATA_KEY_BYTES`. Whether they are genuine shows when they are opened.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (version, wrap) = split_version(bytes)
            .ok_or_else(|| Error::tampered("wrapped data key: wrong length"))?;
        Ok(WrappedDataKey { version, wrap })
    }
}

impl std::fmt::Debug for WrappedDataKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WrappedDataKey")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

/// Reads a version and a wrap from exactly as many bytes.
pub(super) fn split_version(bytes: &[u8]) -> Option<(KeyVersion, [u8; WRAP_BYTES])> {
    let (version, wrap) = bytes.split_first_chunk::<4>()?;
    Some((KeyVersion::from_be_bytes(*version), wrap.try_into().ok()?))
}

/// What a wrapped data key is bound to.
struct Bound {
    table: TableId,
    structure: StructureId,
    kind: [u8; 1],
    version: [u8; 4],
}

impl Bound {
    fn new(
        table: TableId,
        structure: StructureId,
        kind: StructureKind,
        version: KeyVersion,
    ) -> Self {
        Bound {
            table,
            structure,
            kind: [kind as u8],
            version: version.to_be_bytes(),
        }
    }

    fn parts(&self) -> [&[u8]; 4] {
        [&self.table.0, &self.structure.0, &self.kind, &self.version]
    }
}
