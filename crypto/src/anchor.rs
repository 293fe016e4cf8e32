//! The anchor: a small file outside the data folder by which an older copy of the folder is seen.
//!
//! ```text
//! offset  size
//!      0     8   "PALLANCH"
//!      8     2   format u16 BE, 1
//!     10    16   cluster id
//!     26     8   incarnation u64 BE, raised at each start
//!     34     8   epoch u64 BE, the newest that is known to be durable
//!     42    32   HMAC-SHA256 over all before it, under the service key's derived secret "anchor"
//! ```
//!
//! It is written after the data it names, as a new file that is synced and renamed: a crash leaves the old anchor, which names
//! older data and refuses nothing, or the new one. The MAC keeps out damage and whoever does not hold the service's key; it cannot
//! keep out an older anchor, which is why the file belongs on another device than the data.

use std::path::Path;

use crate::durable;
use crate::error::Error;
use crate::ids::ClusterId;
use crate::kdf;
use crate::keys::TableKey;
use crate::secret::equal;

const MAGIC: &[u8; 8] = b"PALLANCH";
const FORMAT: u16 = 1;
const MAC_LABEL: &str = "anchor";
const SIGNED_BYTES: usize = 8 + 2 + 16 + 8 + 8;
const ANCHOR_BYTES: usize = SIGNED_BYTES + 32;

/// What was durable, seen from outside the data folder.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Anchor {
    /// The installation it belongs to.
    pub cluster: ClusterId,
    /// How often the server has started.
    pub incarnation: u64,
    /// The newest epoch.
    pub epoch: u64,
}

/// Why there is no anchor to be had; each has a remedy of its own.
#[derive(Clone, Debug, thiserror::Error)]
pub enum AnchorError {
    /// No such file: a first start, or someone must accept that it is lost.
    #[error("there is no anchor")]
    Missing,
    /// Changed, cut, or signed under another service key.
    #[error("the anchor is damaged: {0}")]
    Damaged(&'static str),
    /// It belongs to another installation.
    #[error("the anchor belongs to cluster {found}, not to {expected}")]
    OtherCluster {
        /// The cluster whose data is being opened.
        expected: ClusterId,
        /// The cluster that the anchor names.
        found: ClusterId,
    },
    /// The file could not be read or written.
    #[error(transparent)]
    File(#[from] Error),
}

impl Anchor {
    /// Reads the anchor at `path` for the installation `cluster`, whose service key is `service`.
    pub fn read(
        path: &Path,
        cluster: ClusterId,
        service: &TableKey,
    ) -> Result<Anchor, AnchorError> {
        let bytes = durable::read(path, ANCHOR_BYTES as u64).map_err(|error| match error {
            Error::Tampered { .. } => AnchorError::Damaged("too long"),
            other => AnchorError::File(other),
        })?;
        let bytes = bytes.ok_or(AnchorError::Missing)?;
        let bytes: &[u8; ANCHOR_BYTES] = bytes
            .as_slice()
            .try_into()
            .map_err(|_| AnchorError::Damaged("too short"))?;
        Anchor::from_bytes(bytes, cluster, service)
    }

    /// Replaces the anchor at `path`; durable when it returns.
    pub fn write(&self, path: &Path, service: &TableKey) -> Result<(), AnchorError> {
        let _lock = durable::lock(path)?;
        Ok(durable::replace(path, &self.to_bytes(service))?)
    }

    fn to_bytes(self, service: &TableKey) -> [u8; ANCHOR_BYTES] {
        let mut bytes = [0; ANCHOR_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&FORMAT.to_be_bytes());
        bytes[10..26].copy_from_slice(&self.cluster.0);
        bytes[26..34].copy_from_slice(&self.incarnation.to_be_bytes());
        bytes[34..42].copy_from_slice(&self.epoch.to_be_bytes());
        let mac = mac(&bytes[..SIGNED_BYTES], service);
        bytes[SIGNED_BYTES..].copy_from_slice(&mac);
        bytes
    }

    fn from_bytes(
        bytes: &[u8; ANCHOR_BYTES],
        expected: ClusterId,
        service: &TableKey,
    ) -> Result<Self, AnchorError> {
        let (signed, stored_mac) = bytes.split_at(SIGNED_BYTES);
        if &signed[..8] != MAGIC {
            return Err(AnchorError::Damaged("not an anchor"));
        }
        let format = u16::from_be_bytes([signed[8], signed[9]]);
        if format != FORMAT {
            return Err(Error::Unsupported(format!("anchor of format {format}")).into());
        }
        // Before the MAC, because another installation's service key is another key: "other cluster" says more than "damaged".
        let found = ClusterId(signed[10..26].try_into().expect("sixteen bytes"));
        if found != expected {
            return Err(AnchorError::OtherCluster { expected, found });
        }
        if !equal(&mac(signed, service), stored_mac) {
            return Err(AnchorError::Damaged("its MAC does not match"));
        }
        Ok(Anchor {
            cluster: found,
            incarnation: u64::from_be_bytes(signed[26..34].try_into().expect("eight bytes")),
            epoch: u64::from_be_bytes(signed[34..42].try_into().expect("eight bytes")),
        })
    }
}

fn mac(signed: &[u8], service: &TableKey) -> [u8; 32] {
    kdf::hmac_sha256(&service.derive_secret(MAC_LABEL), &[signed])
}
