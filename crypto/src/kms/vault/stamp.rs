//! Whether a file is still the one that was read: tokens and certificates are renewed under us, and a look at a file's name is cheaper than reading it.

use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Tells a file from the one before it.
#[derive(Copy, Clone, Eq, PartialEq)]
pub(super) struct Stamp {
    inode: u64,
    bytes: u64,
    modified: (i64, i64),
}

impl Stamp {
    pub fn of(path: &Path) -> std::io::Result<Self> {
        let meta = std::fs::metadata(path)?;
        Ok(Stamp {
            inode: meta.ino(),
            bytes: meta.len(),
            modified: (meta.mtime(), meta.mtime_nsec()),
        })
    }
}
