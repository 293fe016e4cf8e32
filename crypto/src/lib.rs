//! From a customer's key down to one sealed block.
//!
//! This crate seals and opens, and talks to key services behind one trait. It knows nothing of tables' contents, files' layouts,
//! sockets, clocks or executors. (The keyring alone asks a clock, for the day on which a key is to be destroyed.)
//!
//! Read in this order:
//!
//! 1. `error`, `ids`, `secret` (over `locked`), `entropy`: what the rest is made of.
//! 2. `aead` and `kdf`: the only two doors to the cipher and hash libraries.
//! 3. `keys`: customer key -> table key -> data key, and how each is wrapped by the one above it.
//! 4. `seal`: data key -> blocks. `Sealer`, `Opener`, and `Sealed`, the proof that bytes may touch a disk.
//! 5. `kms`: the key services. `Keyring` is the one that needs no network.
//! 6. `anchor`: the small file outside the data folder that makes an older copy of the folder visible. `sign`: what the server states for others.
//!
//! What holds throughout: the names are flat, key bytes live in `Secret`, every byte that is read back is authenticated before it
//! is used, and nothing here logs.

mod aead;
mod anchor;
pub mod durable;
mod entropy;
mod error;
pub mod hex;
mod ids;
mod kdf;
mod keys;
mod kms;
mod locked;
pub mod private_file;
mod seal;
mod secret;
mod sign;

pub use aead::CIPHER_IS_REAL;
pub use anchor::{Anchor, AnchorError};
pub use entropy::{Entropy, OsEntropy};
pub use error::{DenialReason, Error, IoFailure, Result, UnavailableReason};
pub use ids::{ClusterId, KeyVersion, Lineage, StructureId, StructureKind, TableId};
pub use kdf::{PassphraseCost, sha256};
pub use keys::{
    CmkRef, EncryptionContext, Fingerprint, KeyRing, TableKey, WRAPPED_DATA_KEY_BYTES,
    WRAPPED_TABLE_KEY_BYTES, WrappedDataKey, WrappedTableKey,
};
pub use kms::{
    Answering, BoxFuture, DestroyedKey, GeneratedKey, Grant, GrantId, GrantMaker, GrantOperation,
    GrantPurpose, GrantRequest, Grants, KeyDescription, KeyPolicy, KeyServiceKind, KeyState,
    Keyring, KeyringEntry, KeyringGrant, KeyringMoment, KeyringOverview, Kms, Opening, Passphrase,
    Reply, Settings, Succession, UnixSeconds, key_service_kinds,
};
pub use locked::{LockedMemory, locked_memory};
pub use seal::{
    AsSealed, Opener, SEAL_TAG_BYTES, SEALER_BLOCKS_MAX, SEALER_BYTES_MAX, Sealed, SealedBuf,
    Sealer,
};
pub use secret::Secret;
pub use sign::{PublicKey, Signature, Signer, Statement};

#[cfg(any(test, feature = "test-util"))]
pub use entropy::SeededEntropy;
#[cfg(any(test, feature = "test-util"))]
pub use kms::{Behavior, Call, Operation, ScriptedKms};

/// The cipher and the key derivation, bare: for published test vectors and nothing else.
#[cfg(feature = "test-util")]
#[doc(hidden)]
pub mod primitives {
    pub use crate::aead::{Cipher, Refused};
    pub use crate::kdf::{hkdf_sha256, hmac_sha256};
}
