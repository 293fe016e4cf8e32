//! A structure as sealed blocks: append a block, read block n. The only place where storage seals and opens.
//!
//! A [`SealedWriter`] owns the `Sealer` of one structure, a [`SealedReader`] its `Opener`; both know nothing of files. What they add
//! to palladium-crypto is storage's errors: a block that does not open is `Corrupt` and says which, a wrap under a key version that
//! the ring does not hold is `KeyUnavailable`.
//!
//! Under the feature `test-util` a test can watch each block that is opened (see `openings`).
//!
//! What must hold: a writer whose block may not have reached its place is poisoned and never used again.

use palladium_crypto::{
    Entropy, Error as CryptoError, KeyRing, Opener, SEAL_TAG_BYTES, Sealed, Sealer, StructureId,
    StructureKind, TableId, WrappedDataKey,
};

use crate::backend::Public;
use crate::error::{Error, Result};

pub use crate::backend::public::BLOB_HEADER_BYTES;

/// Bytes that sealing adds to a block.
pub const TAG_BYTES: usize = SEAL_TAG_BYTES;

/// Seals the blocks of one new structure, in order.
#[derive(Debug)]
pub struct SealedWriter {
    sealer: Sealer,
    wrapped: WrappedDataKey,
}

impl SealedWriter {
    /// A new structure under a fresh data key, with a random name.
    pub fn new(ring: &KeyRing, entropy: &dyn Entropy, kind: StructureKind) -> SealedWriter {
        let (sealer, wrapped) = ring.seal_new(entropy, StructureId::random(entropy), kind);
        SealedWriter { sealer, wrapped }
    }

    /// Encrypts `block` where it stands and appends its tag. The ordinal is in the result. `end` marks the last block.
    pub fn append<'a>(
        &mut self,
        context: &[u8],
        end: bool,
        block: &'a mut Vec<u8>,
    ) -> Result<Sealed<'a>> {
        let structure = self.structure();
        self.sealer
            .seal(context, end, block)
            .map_err(|_| exhausted(structure))
    }

    /// Seals `plain` and appends ciphertext and tag to `out`.
    pub fn append_to<'a>(
        &mut self,
        context: &[u8],
        end: bool,
        plain: &[u8],
        out: &'a mut Vec<u8>,
    ) -> Result<Sealed<'a>> {
        let structure = self.structure();
        self.sealer
            .seal_into(context, end, plain, out)
            .map_err(|_| exhausted(structure))
    }

    /// A block may not have reached its place: nothing more is sealed here.
    pub fn poison(&mut self) {
        self.sealer.poison();
    }

    /// The structure's name.
    pub fn structure(&self) -> StructureId {
        self.sealer.structure()
    }

    /// What it is.
    pub fn kind(&self) -> StructureKind {
        self.sealer.kind()
    }

    /// The data key, wrapped, for the manifest entry or the log header that says where the structure is.
    pub fn wrapped(&self) -> &WrappedDataKey {
        &self.wrapped
    }

    /// The ordinal of the next block.
    pub fn next_ordinal(&self) -> u64 {
        self.sealer.next_ordinal()
    }

    /// Plaintext bytes sealed so far.
    pub fn bytes(&self) -> u64 {
        self.sealer.bytes()
    }

    /// The header that a blob of this structure begins with.
    pub fn blob_header(&self) -> Public {
        Public::blob_header(self.kind(), self.structure())
    }
}

fn exhausted(structure: StructureId) -> Error {
    Error::Invalid {
        what: format!("structure {structure} takes no more blocks under its key"),
    }
}

/// Opens the blocks of one structure.
#[derive(Debug)]
pub struct SealedReader {
    opener: Opener,
    table: TableId,
}

impl SealedReader {
    /// Unwraps the structure's data key. `KeyUnavailable` if the ring lacks its version, `Corrupt` if the wrap was changed.
    pub fn new(
        ring: &KeyRing,
        wrapped: &WrappedDataKey,
        structure: StructureId,
        kind: StructureKind,
    ) -> Result<SealedReader> {
        let table = ring.table();
        let opener = ring
            .open(wrapped, structure, kind)
            .map_err(|error| from_crypto(error, table))?;
        Ok(SealedReader { opener, table })
    }

    /// Opens the block at `ordinal` and appends its plaintext to `out`. After an error `out` is as it was.
    pub fn open(
        &self,
        ordinal: u64,
        end: bool,
        context: &[u8],
        sealed: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<()> {
        #[cfg(any(test, feature = "test-util"))]
        openings::happened(self.table);
        self.opener
            .open(ordinal, end, context, sealed, out)
            .map_err(|error| from_crypto(error, self.table))
    }

    /// Opens a block where it stands and takes its tag off.
    pub fn open_in_place(
        &self,
        ordinal: u64,
        end: bool,
        context: &[u8],
        block: &mut Vec<u8>,
    ) -> Result<()> {
        #[cfg(any(test, feature = "test-util"))]
        openings::happened(self.table);
        self.opener
            .open_in_place(ordinal, end, context, block)
            .map_err(|error| from_crypto(error, self.table))
    }

    /// Checks the header that a blob of this structure begins with.
    pub fn check_blob_header(&self, header: &[u8]) -> Result<()> {
        let (kind, structure) = (self.opener.kind(), self.opener.structure());
        if header != Public::blob_header(kind, structure).bytes() {
            return Err(Error::corrupt(format!(
                "header of {kind} {structure} of table {}",
                self.table
            )));
        }
        Ok(())
    }

    /// The structure whose blocks it opens.
    pub fn structure(&self) -> StructureId {
        self.opener.structure()
    }
}

/// What a failure to unwrap or open means to storage.
pub fn from_crypto(error: CryptoError, table: TableId) -> Error {
    match error {
        CryptoError::UnknownVersion { .. } => Error::KeyUnavailable { table },
        other => Error::corrupt(format!("{other} of table {table}")),
    }
}

/// Who wants to know of each block that is opened, as it is opened: the oracle of a seeded world, which runs on one thread.
#[cfg(any(test, feature = "test-util"))]
pub mod openings {
    use std::cell::RefCell;

    use palladium_crypto::TableId;

    type Watcher = Box<dyn Fn(TableId)>;

    thread_local! {
        static WATCHER: RefCell<Option<Watcher>> = const { RefCell::new(None) };
    }

    /// From now on `watcher` is told of every opening on this thread, before it happens.
    pub fn watch(watcher: impl Fn(TableId) + 'static) {
        WATCHER.set(Some(Box::new(watcher)));
    }

    pub(super) fn happened(table: TableId) {
        WATCHER.with_borrow(|watcher| {
            if let Some(watcher) = watcher {
                watcher(table);
            }
        });
    }
}
