//! Sealed bytes that are moved as they are: a locked table's share out of an old log segment.
//!
//! Nobody but the backend makes a [`Copied`], and only from bytes that already lie on the disk with the checksum that their group's
//! sealed header gives them. So a copy writes nothing that was not written, sealed, before.

use super::Backend;
use crate::error::{Error, Result};

/// A sealed block on its way from one place of the disk to another.
pub struct Copied {
    bytes: Vec<u8>,
}

impl Copied {
    /// Reads a sealed block out of a log segment and compares its checksum.
    pub async fn from_log<B: Backend>(
        backend: &B,
        segment: u64,
        offset: u64,
        length: usize,
        crc: u32,
    ) -> Result<Copied> {
        let bytes = backend.log_read(segment, offset, length).await?;
        if bytes.len() < 16 || crc32fast::hash(&bytes) != crc {
            return Err(Error::corrupt(format!(
                "share in log segment {segment} at {offset}"
            )));
        }
        Ok(Copied { bytes })
    }

    /// The bytes to be written.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// The tag at their end.
    pub fn tag(&self) -> [u8; 16] {
        *self.bytes.last_chunk().expect("checked when it was read")
    }
}

impl std::fmt::Debug for Copied {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Copied({} bytes)", self.bytes.len())
    }
}
