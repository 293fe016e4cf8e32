//! Customer key -> table key -> data key -> block: who holds which, where, and for how long.
//!
//! ```text
//! CMK         a key service holds it; we hold its name (`CmkRef`)
//!   | GenerateDataKey / Decrypt, with the encryption context
//!   v
//! KMS plaintext, 32 bytes; its ciphertext stands in the table's root
//!   | HKDF with cluster id, table UUID, version, CMK name
//!   v
//! TableKey    in memory, under a lease that the server keeps; older versions stand in the root, wrapped by the newest
//!   | one-time key from HKDF(table key, random salt; table UUID, structure, kind, version)
//!   v
//! data key    drawn by `KeyRing::seal_new`; its wrap (`WrappedDataKey`) stands beside what it opens
//!   | AES-256-GCM
//!   v
//! blocks      see `seal`
//! ```
//!
//! # Wraps
//!
//! Table keys and data keys are wrapped alike: `derive` gives 64 bytes, a one-time AES key and a *commitment*, which is stored.
//! AES-GCM alone does not commit to its key (one ciphertext can be made to open under two keys); the commitment does, and it is
//! compared, in constant time, before anything is opened. The one-time key seals once, so its nonce is twelve zero bytes. All that
//! a wrap is bound to goes into the derivation, so the wrap needs no associated data.
//!
//! What must hold: nothing is opened by trial. The wrap names the version, the version selects the key, the commitment confirms it.

mod cmk;
mod context;
mod data_key;
mod ring;
mod table_key;
mod token_key;
mod wrap;

pub use cmk::CmkRef;
pub use context::EncryptionContext;
pub(crate) use data_key::DataKey;
pub use data_key::{WRAPPED_DATA_KEY_BYTES, WrappedDataKey};
pub use ring::KeyRing;
pub use table_key::{Fingerprint, TableKey, WRAPPED_TABLE_KEY_BYTES, WrappedTableKey};
#[cfg(feature = "kms-pkcs11")]
pub(crate) use token_key::TokenKey;
