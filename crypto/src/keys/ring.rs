//! `KeyRing`: all live versions of one table's key, exactly one of them active; an immutable snapshot.
//!
//! A ring is what the server hands to storage while a table's lease lives, and what a lock takes away again: dropping the last
//! ring that holds a version wipes it. Storage swaps one snapshot for the next and never edits one. New structures are sealed
//! under the active version; older versions only open, until nothing refers to them.

use std::sync::Arc;

use crate::entropy::Entropy;
use crate::error::{Error, Result};
use crate::ids::{KeyVersion, StructureId, StructureKind, TableId};
use crate::keys::{DataKey, TableKey, WrappedDataKey};
use crate::seal::{Opener, Sealer};

/// A snapshot of a table's keys; the active one stands first.
#[derive(Debug)]
pub struct KeyRing {
    keys: Vec<Arc<TableKey>>,
}

impl KeyRing {
    /// A ring that seals under `active` and also opens what `older` sealed. Of two keys with one version the first counts.
    ///
    /// # Panics
    /// If the keys belong to different tables: each was derived or unwrapped for a table, so the caller mixed two up.
    pub fn new(active: TableKey, older: Vec<TableKey>) -> KeyRing {
        let older = older.into_iter().map(Arc::new);
        KeyRing::from_shared(std::iter::once(Arc::new(active)).chain(older))
    }

    fn from_shared(keys: impl Iterator<Item = Arc<TableKey>>) -> KeyRing {
        let mut unique: Vec<Arc<TableKey>> = Vec::new();
        for key in keys {
            assert!(
                unique
                    .first()
                    .is_none_or(|active| active.table() == key.table()),
                "a ring holds the keys of one table"
            );
            if unique.iter().all(|held| held.version() != key.version()) {
                unique.push(key);
            }
        }
        KeyRing { keys: unique }
    }

    /// The ring after a key switch: seals under `active` and opens all that this one opens.
    ///
    /// # Panics
    /// As `new`.
    pub fn switched_to(&self, active: TableKey) -> KeyRing {
        KeyRing::from_shared(std::iter::once(Arc::new(active)).chain(self.keys.iter().cloned()))
    }

    /// The ring without the older versions that `is_referenced` does not name; the active one always stays.
    pub fn retain(&self, is_referenced: impl Fn(KeyVersion) -> bool) -> KeyRing {
        let active = self.active_version();
        let kept = |key: &&Arc<TableKey>| key.version() == active || is_referenced(key.version());
        KeyRing {
            keys: self.keys.iter().filter(kept).cloned().collect(),
        }
    }

    /// The table whose keys these are.
    pub fn table(&self) -> TableId {
        self.active().table()
    }

    /// The version under which new structures are sealed.
    pub fn active_version(&self) -> KeyVersion {
        self.active().version()
    }

    /// All versions, the active one first.
    pub fn versions(&self) -> impl Iterator<Item = KeyVersion> {
        self.keys.iter().map(|key| key.version())
    }

    /// The active key: tags the root, wraps the older ones.
    pub fn active(&self) -> &TableKey {
        self.keys
            .first()
            .expect("a ring is made with its active key")
    }

    /// The key with this version.
    pub fn key(&self, version: KeyVersion) -> Result<&TableKey> {
        self.keys
            .iter()
            .find(|key| key.version() == version)
            .map(Arc::as_ref)
            .ok_or(Error::UnknownVersion { version })
    }

    /// Draws a fresh data key for a new structure: the only birth of a `Sealer`. The wrap is stored beside the structure.
    pub fn seal_new(
        &self,
        entropy: &dyn Entropy,
        structure: StructureId,
        kind: StructureKind,
    ) -> (Sealer, WrappedDataKey) {
        let key = DataKey::random(entropy);
        let wrapped = key.wrap(self.active(), structure, kind, entropy);
        (Sealer::new(&key, structure, kind), wrapped)
    }

    /// Unwraps a structure's data key, for opening only. The commitment is checked before anything is opened.
    pub fn open(
        &self,
        wrapped: &WrappedDataKey,
        structure: StructureId,
        kind: StructureKind,
    ) -> Result<Opener> {
        let key = self.unwrap(wrapped, structure, kind)?;
        Ok(Opener::new(&key, structure, kind))
    }

    /// The same data key under the active version; the structure's bytes stay as they are.
    pub fn rewrap(
        &self,
        wrapped: &WrappedDataKey,
        structure: StructureId,
        kind: StructureKind,
        entropy: &dyn Entropy,
    ) -> Result<WrappedDataKey> {
        self.rewrap_for(self, wrapped, structure, kind, entropy)
    }

    /// The same data key under the active version of another table's ring: how a restore under another key copies files unchanged.
    pub fn rewrap_for(
        &self,
        target: &KeyRing,
        wrapped: &WrappedDataKey,
        structure: StructureId,
        kind: StructureKind,
        entropy: &dyn Entropy,
    ) -> Result<WrappedDataKey> {
        let key = self.unwrap(wrapped, structure, kind)?;
        Ok(key.wrap(target.active(), structure, kind, entropy))
    }

    fn unwrap(
        &self,
        wrapped: &WrappedDataKey,
        structure: StructureId,
        kind: StructureKind,
    ) -> Result<DataKey> {
        DataKey::unwrap(wrapped, self.key(wrapped.version)?, structure, kind)
    }
}
