//! Table keys: one for each table and version, and the wraps by which a newer one carries the older ones.
//!
//! ```text
//! table key          HKDF(KMS plaintext; cluster id, table UUID, version u32 BE, CMK name)
//! system table key   HKDF(service's table key; table UUID)
//! fingerprint        first 16 bytes of HKDF(table key; table UUID), public
//! root tag           HMAC-SHA256 under HKDF(table key; table UUID, version u32 BE) over the root's public bytes
//!
//! WrappedTableKey, 116 bytes
//! offset  size
//!      0     4   version of the older key, u32 BE
//!      4   112   the wrap: salt 32 | ciphertext 32 | tag 16 | commitment 32
//!
//! bound to    table UUID | older version u32 BE | newer version u32 BE
//! ```
//!
//! What must hold: key bytes leave a `TableKey` only as something derived or wrapped. It is not `Clone`; key rings share it.

use std::fmt;

use crate::entropy::Entropy;
use crate::error::{Error, Result};
use crate::ids::{ClusterId, KeyVersion, TableId};
use crate::kdf::{self, Label};
use crate::keys::CmkRef;
use crate::keys::data_key::split_version;
use crate::keys::wrap::{self, WRAP_BYTES};
use crate::secret::{Secret, equal};

/// Bytes of a wrapped table key.
pub const WRAPPED_TABLE_KEY_BYTES: usize = 4 + WRAP_BYTES;

/// One version of one table's key.
pub struct TableKey {
    secret: Secret<32>,
    table: TableId,
    version: KeyVersion,
}

/// Tells table keys apart without telling anything about them; public, stands in roots and wraps.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash, Debug)]
pub struct Fingerprint(pub [u8; 16]);

/// An older table key under a newer one of the same table: public bytes that stand in the table's root.
#[derive(Clone, Eq, PartialEq)]
pub struct WrappedTableKey {
    /// The older key's version.
    pub version: KeyVersion,
    wrap: [u8; WRAP_BYTES],
}

impl TableKey {
    /// The table key that belongs to what the key service decrypted.
    pub fn derive(
        kms_plaintext: &Secret<32>,
        cluster: ClusterId,
        table: TableId,
        version: KeyVersion,
        cmk: &CmkRef,
    ) -> TableKey {
        let (version_bytes, cmk) = (version.to_be_bytes(), cmk.to_string());
        let parts: [&[u8]; 4] = [&cluster.0, &table.0, &version_bytes, cmk.as_bytes()];
        TableKey {
            secret: kdf::derive(Label::TableKey, kms_plaintext, &[], &parts),
            table,
            version,
        }
    }

    /// The key of one of the service's own tables.
    pub fn for_system_table(service: &TableKey, table: TableId) -> TableKey {
        TableKey {
            secret: kdf::derive(Label::SystemTable, &service.secret, &[], &[&table.0]),
            table,
            version: 1,
        }
    }

    /// The table it belongs to.
    pub fn table(&self) -> TableId {
        self.table
    }

    /// Its version.
    pub fn version(&self) -> KeyVersion {
        self.version
    }

    /// Its public fingerprint.
    pub fn fingerprint(&self) -> Fingerprint {
        let bytes = kdf::derive::<16>(Label::Fingerprint, &self.secret, &[], &[&self.table.0]);
        Fingerprint(*bytes.expose())
    }

    /// Wraps an older key of the same table.
    ///
    /// # Panics
    /// If `older` belongs to another table: the caller mixed two tables up, and the wrap would carry a key across.
    pub fn wrap_older(&self, older: &TableKey, entropy: &dyn Entropy) -> WrappedTableKey {
        assert_eq!(
            self.table, older.table,
            "a table key wraps keys of its own table only"
        );
        let versions = [older.version.to_be_bytes(), self.version.to_be_bytes()];
        let parts: [&[u8]; 3] = [&self.table.0, &versions[0], &versions[1]];
        WrappedTableKey {
            version: older.version,
            wrap: wrap::wrap(
                &self.secret,
                &older.secret,
                Label::TableKeyWrap,
                &parts,
                entropy,
            ),
        }
    }

    /// Unwraps an older key that this one wrapped.
    pub fn unwrap_older(&self, wrapped: &WrappedTableKey) -> Result<TableKey> {
        let versions = [wrapped.version.to_be_bytes(), self.version.to_be_bytes()];
        let parts: [&[u8]; 3] = [&self.table.0, &versions[0], &versions[1]];
        let what = || {
            format!(
                "wrapped key version {} of table {}",
                wrapped.version, self.table
            )
        };
        Ok(TableKey {
            secret: wrap::unwrap(
                &self.secret,
                &wrapped.wrap,
                Label::TableKeyWrap,
                &parts,
                what,
            )?,
            table: self.table,
            version: wrapped.version,
        })
    }

    /// The MAC over a root's public bytes.
    pub fn root_tag(&self, root_bytes: &[u8]) -> [u8; 32] {
        let key = kdf::derive::<32>(
            Label::RootTag,
            &self.secret,
            &[],
            &[&self.table.0, &self.version.to_be_bytes()],
        );
        kdf::hmac_sha256(&key, &[root_bytes])
    }

    /// Is `tag` the MAC over these bytes?
    pub fn root_tag_matches(&self, root_bytes: &[u8], tag: &[u8; 32]) -> bool {
        equal(&self.root_tag(root_bytes), tag)
    }

    /// A secret for a purpose that `label` names, such as sealing paging states.
    pub fn derive_secret(&self, label: &'static str) -> Secret<32> {
        kdf::derive(
            Label::DerivedSecret,
            &self.secret,
            &[],
            &[label.as_bytes(), &self.table.0, &self.version.to_be_bytes()],
        )
    }

    pub(super) fn secret(&self) -> &Secret<32> {
        &self.secret
    }
}

impl WrappedTableKey {
    /// The bytes to be stored.
    pub fn to_bytes(&self) -> [u8; WRAPPED_TABLE_KEY_BYTES] {
        let mut bytes = [0; WRAPPED_TABLE_KEY_BYTES];
        bytes[..4].copy_from_slice(&self.version.to_be_bytes());
        bytes[4..].copy_from_slice(&self.wrap);
        bytes
    }

    /// Reads stored bytes, which must be exactly `WRAPPED_TABLE_KEY_BYTES`. Whether they are genuine shows when they are opened.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let (version, wrap) = split_version(bytes)
            .ok_or_else(|| Error::tampered("wrapped table key: wrong length"))?;
        Ok(WrappedTableKey { version, wrap })
    }
}

impl fmt::Debug for TableKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TableKey({} version {})", self.table, self.version)
    }
}

impl fmt::Debug for WrappedTableKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WrappedTableKey")
            .field("version", &self.version)
            .finish_non_exhaustive()
    }
}

impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&crate::hex::encode(&self.0))
    }
}
