//! The anchor: a small file outside the data folder by which an older copy of the folder is seen.
//!
//! ```text
//! offset  size
//!      0     8   "PALLANCH"
//!      8     2   format u16 BE, 3
//!     10    16   cluster id
//!     26     8   incarnation u64 BE, raised at each start
//!     34     8   epoch u64 BE, the newest that is known to be durable
//!     42     8   log sequence u64 BE, of the newest group of the log that is known to be durable; 0: none is known
//!     50    16   lineage of the folder; zero: the first one
//!     66    32   HMAC-SHA256 over all before it, under the service key's derived secret "anchor"
//! ```
//!
//! Format 2 has no lineage: its MAC stands at 50. It is read as one of the first lineage, which every folder was of when it was written. Format 1 has no log sequence either: its MAC
//! stands at 42, and it is read as one that knows of no group. The next note is of format 3.
//!
//! The epoch is raised by a start, by a stop and by what changes tables; a write moves the log alone. With both, a folder put back between two commits of the
//! manifest is seen as well.
//!
//! Neither tells a folder that was given up, when an older copy was accepted in its place, from the one that went on: it may have come as far. Their lineages do. The folder has its own in
//! each record of its manifest.
//!
//! It is written after the data it names, as a new file that is synced and renamed: a crash leaves the old anchor, which names
//! older data and refuses nothing, or the new one. The MAC keeps out damage and whoever does not hold the service's key; it cannot
//! keep out an older anchor, which is why the file belongs on another device than the data.

use std::path::Path;

use crate::durable;
use crate::error::Error;
use crate::ids::{ClusterId, Lineage};
use crate::kdf;
use crate::keys::TableKey;
use crate::secret::equal;

const MAGIC: &[u8; 8] = b"PALLANCH";
const FORMAT: u16 = 3;
/// Of the format that knows no lineage.
const SECOND_FORMAT: u16 = 2;
/// Of the format that knows no log either.
const FIRST_FORMAT: u16 = 1;
const MAC_LABEL: &str = "anchor";
const FIRST_SIGNED_BYTES: usize = 8 + 2 + 16 + 8 + 8;
const SECOND_SIGNED_BYTES: usize = FIRST_SIGNED_BYTES + 8;
const SIGNED_BYTES: usize = SECOND_SIGNED_BYTES + 16;
const MAC_BYTES: usize = 32;
const ANCHOR_BYTES: usize = SIGNED_BYTES + MAC_BYTES;
const TOO_SHORT: AnchorError = AnchorError::Damaged("too short");
const TOO_LONG: AnchorError = AnchorError::Damaged("too long");

/// What was durable, seen from outside the data folder.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Anchor {
    /// The installation it belongs to.
    pub cluster: ClusterId,
    /// How often the server has started.
    pub incarnation: u64,
    /// The newest epoch.
    pub epoch: u64,
    /// The newest group of the log; 0: none is known.
    pub log_sequence: u64,
    /// Which history of the folder this was seen of.
    pub lineage: Lineage,
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
            Error::Tampered { .. } => TOO_LONG,
            other => AnchorError::File(other),
        })?;
        let bytes = bytes.ok_or(AnchorError::Missing)?;
        Anchor::from_bytes(&bytes, cluster, service)
    }

    /// Replaces the anchor at `path`; durable when it returns.
    pub fn write(&self, path: &Path, service: &TableKey) -> Result<(), AnchorError> {
        Ok(durable::lock(path)?.replace(&self.to_bytes(service))?)
    }

    fn to_bytes(self, service: &TableKey) -> [u8; ANCHOR_BYTES] {
        let mut bytes = [0; ANCHOR_BYTES];
        bytes[..8].copy_from_slice(MAGIC);
        bytes[8..10].copy_from_slice(&FORMAT.to_be_bytes());
        bytes[10..26].copy_from_slice(&self.cluster.0);
        bytes[26..34].copy_from_slice(&self.incarnation.to_be_bytes());
        bytes[34..42].copy_from_slice(&self.epoch.to_be_bytes());
        bytes[42..50].copy_from_slice(&self.log_sequence.to_be_bytes());
        bytes[50..66].copy_from_slice(&self.lineage.0);
        let mac = mac(&bytes[..SIGNED_BYTES], service);
        bytes[SIGNED_BYTES..].copy_from_slice(&mac);
        bytes
    }

    fn from_bytes(
        bytes: &[u8],
        expected: ClusterId,
        service: &TableKey,
    ) -> Result<Self, AnchorError> {
        let (magic, rest) = bytes.split_at_checked(8).ok_or(TOO_SHORT)?;
        if magic != MAGIC {
            return Err(AnchorError::Damaged("not an anchor"));
        }
        let format = u16::from_be_bytes(*rest.first_chunk().ok_or(TOO_SHORT)?);
        let signed_bytes = match format {
            FORMAT => SIGNED_BYTES,
            SECOND_FORMAT => SECOND_SIGNED_BYTES,
            FIRST_FORMAT => FIRST_SIGNED_BYTES,
            _ => return Err(Error::Unsupported(format!("anchor of format {format}")).into()),
        };
        let (signed, stored_mac) = bytes.split_at_checked(signed_bytes).ok_or(TOO_SHORT)?;
        match stored_mac.len() {
            MAC_BYTES => {}
            0..MAC_BYTES => return Err(TOO_SHORT),
            _ => return Err(TOO_LONG),
        }
        // Before the MAC, because another installation's service key is another key: "other cluster" says more than "damaged".
        let found = ClusterId(signed[10..26].try_into().expect("sixteen bytes"));
        if found != expected {
            return Err(AnchorError::OtherCluster { expected, found });
        }
        if !equal(&mac(signed, service), stored_mac) {
            return Err(AnchorError::Damaged("its MAC does not match"));
        }
        let number =
            |at: usize| u64::from_be_bytes(signed[at..at + 8].try_into().expect("eight bytes"));
        Ok(Anchor {
            cluster: found,
            incarnation: number(26),
            epoch: number(34),
            log_sequence: match format {
                FIRST_FORMAT => 0,
                _ => number(42),
            },
            lineage: match format {
                FORMAT => Lineage(signed[50..66].try_into().expect("sixteen bytes")),
                _ => Lineage::FIRST,
            },
        })
    }
}

fn mac(signed: &[u8], service: &TableKey) -> [u8; 32] {
    kdf::hmac_sha256(&service.derive_secret(MAC_LABEL), &[signed])
}
