//! From what a key service decrypts down to a table's ring: the newest table key, and the older ones that it wraps.

use std::sync::Arc;

use palladium_crypto::{
    ClusterId, CmkRef, Entropy, Error as CryptoError, Fingerprint, GeneratedKey, KeyRing,
    KeyVersion, Secret, TableId, TableKey, WrappedTableKey,
};
use palladium_storage::{Lease, Root, TableKeys};

/// The version of a table's first key.
pub(super) const FIRST_VERSION: u32 = 1;

/// A fresh table key, with what its service needs to decrypt it again.
pub(super) struct NewKey {
    key: TableKey,
    wrapped: Vec<u8>,
}

/// Derives the newest key and unwraps the others; every fingerprint must be the one in the root. A service that gave another key has damaged nothing here, but that
/// cannot be told from a root that was changed.
pub(super) fn climb(
    root: &Root,
    plaintext: &Secret<32>,
    cluster: ClusterId,
) -> Result<KeyRing, CryptoError> {
    let active = TableKey::derive(plaintext, cluster, root.table, root.version, &root.cmk);
    root.verify(&active)
        .map_err(|_| another_key(&format!("table {}", root.table)))?;
    let older = root
        .older
        .iter()
        .map(|wrapped| active.unwrap_older(wrapped))
        .collect::<Result<_, _>>()?;
    Ok(KeyRing::new(active, older))
}

/// What was decrypted is not the key that a root is signed by.
pub(crate) fn another_key(whose: &str) -> CryptoError {
    CryptoError::Tampered {
        what: format!(
            "the key service gave another key than that of {whose}, or its root was changed"
        ),
    }
}

/// What was decrypted is not what had just been generated.
pub(crate) fn not_what_was_generated() -> CryptoError {
    CryptoError::Tampered {
        what: "the key service gave back another key than it generated".into(),
    }
}

impl NewKey {
    pub(super) fn new(
        generated: GeneratedKey,
        cluster: ClusterId,
        table: TableId,
        version: u32,
        cmk: &CmkRef,
    ) -> Self {
        NewKey {
            key: TableKey::derive(&generated.plaintext, cluster, table, version, cmk),
            wrapped: generated.ciphertext,
        }
    }
}

/// The first root of a table.
pub(super) fn first_root(new: NewKey, cmk: CmkRef, lease: Lease) -> (Root, TableKeys) {
    let root = signed_root(&new, cmk, Vec::new(), Vec::new(), 1);
    let ring = Arc::new(KeyRing::new(new.key, Vec::new()));
    (root, TableKeys { ring, lease })
}

/// The root after a key switch: the new key wraps every older one directly.
pub(super) fn next_root(
    root: &Root,
    old: &KeyRing,
    new: NewKey,
    cmk: CmkRef,
    lease: Lease,
    entropy: &dyn Entropy,
) -> Result<(Root, TableKeys), CryptoError> {
    let mut versions: Vec<KeyVersion> = old.versions().collect();
    versions.sort_by_key(|version| std::cmp::Reverse(*version));
    let older = versions
        .into_iter()
        .map(|version| old.key(version))
        .collect::<Result<Vec<_>, _>>()?;
    let wrapped_older = older
        .iter()
        .map(|key| new.key.wrap_older(key, entropy))
        .collect();
    let fingerprints = older
        .iter()
        .map(|key| (key.version(), key.fingerprint()))
        .collect();
    let next = signed_root(&new, cmk, wrapped_older, fingerprints, root.epoch + 1);
    let ring = Arc::new(old.switched_to(new.key));
    Ok((next, TableKeys { ring, lease }))
}

fn signed_root(
    new: &NewKey,
    cmk: CmkRef,
    older: Vec<WrappedTableKey>,
    older_fingerprints: Vec<(KeyVersion, Fingerprint)>,
    epoch: u64,
) -> Root {
    let mut fingerprints = vec![(new.key.version(), new.key.fingerprint())];
    fingerprints.extend(older_fingerprints);
    let mut root = Root {
        table: new.key.table(),
        cmk,
        wrapped: new.wrapped.clone(),
        alternatives: Vec::new(),
        version: new.key.version(),
        older,
        fingerprints,
        epoch,
        tag: [0; 32],
    };
    root.sign(&new.key);
    root
}
