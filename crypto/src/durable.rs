//! Small files that are replaced whole: the keyring, the anchor, what is exported of the audit trail.
//!
//! A new file is written beside the old one, synced, renamed over it, and the folder is synced: a crash leaves the old file or the
//! new one. Files are made for their owner's eyes only (0600). Writers exclude each other with a lock on `<path>.lock`, which is
//! never removed: a lock on a file that another process may unlink guards nothing.
//!
//! Where the old file held a secret that is to be gone, it is overwritten once nobody can find it any more. What a journal, a snapshot, a
//! backup or a remapping device keeps of it is beyond this.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::error::{Error, Result};

const OWNER_ONLY: u32 = 0o600;

/// Reads a file of at most `bytes_max` bytes into memory that is wiped; `None` if there is no such file.
pub fn read(path: &Path, bytes_max: u64) -> Result<Option<Zeroizing<Vec<u8>>>> {
    let fail = |error| Error::io("read", path, error);
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(fail(error)),
    };
    read_open(&file, path, bytes_max).map(Some)
}

/// The same of a file that is open, from where it stands.
pub(crate) fn read_open(file: &File, path: &Path, bytes_max: u64) -> Result<Zeroizing<Vec<u8>>> {
    let fail = |error| Error::io("read", path, error);
    let length = file.metadata().map_err(fail)?.len();
    if length > bytes_max {
        return Err(Error::tampered(format!(
            "{}: larger than {bytes_max} bytes",
            path.display()
        )));
    }
    // Sized once, with a byte to spare for the read that finds the end: growing would leave copies behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(length as usize + 1));
    file.take(length).read_to_end(&mut bytes).map_err(fail)?;
    Ok(bytes)
}

/// Replaces the file, then overwrites what it was.
pub(crate) fn replace_and_wipe(path: &Path, bytes: &[u8]) -> Result<()> {
    let old = OpenOptions::new()
        .write(true)
        .open(path)
        .map_err(|error| Error::io("open", path, error))?;
    replace(path, bytes)?;
    wipe(old).map_err(|error| Error::io("overwrite the old copy of", path, error))
}

fn wipe(mut old: File) -> std::io::Result<()> {
    let length = old.metadata()?.len();
    std::io::copy(&mut std::io::repeat(0).take(length), &mut old)?;
    old.sync_all()
}

/// Replaces the file, or makes it.
pub fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
    let fresh = beside(path, "new");
    // What a crash left behind; whoever writes holds the lock, so it is nobody's.
    match std::fs::remove_file(&fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            return Err(Error::io("remove", &fresh, error));
        }
        _ => {}
    }
    write_synced(&fresh, bytes).map_err(|error| Error::io("write", &fresh, error))?;
    std::fs::rename(&fresh, path).map_err(|error| Error::io("replace", path, error))?;
    sync_folder(path).map_err(|error| Error::io("sync the folder of", path, error))
}

/// Waits for the writers' lock on `path`; it ends with the file that is given back.
pub fn lock(path: &Path) -> Result<File> {
    let lock = beside(path, "lock");
    let fail = |error| Error::io("lock", &lock, error);
    let file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(OWNER_ONLY)
        .open(&lock)
        .map_err(fail)?;
    file.lock().map_err(fail)?;
    Ok(file)
}

fn write_synced(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(OWNER_ONLY)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    File::open(folder)?.sync_all()
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}
