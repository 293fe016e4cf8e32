//! Small files that are replaced whole: the keyring, the anchor, what is exported of the audit trail.
//!
//! A new file is written beside the old one, synced, renamed over it, and the folder is synced: a crash leaves the old file or the
//! new one. Files are made for their owner's eyes only (0600). Writers exclude each other with a lock on `<path>.lock`, which is
//! never removed: a lock on a file that another process may unlink guards nothing.
//!
//! Whoever owns the old file owns the new one: root, who edits for a server that runs as somebody else, gives it back to that user, and anybody else
//! may not replace it at all. What is made where nothing was belongs to the folder's owner when root makes it.
//!
//! Where the files hold a secret, an old one is overwritten once nobody can find it any more, and so is one that was never finished. What a journal, a snapshot, a
//! backup or a remapping device keeps of it is beyond this, and what a crash in between leaves.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::error::{Error, Result};

const OWNER_ONLY: u32 = 0o600;
const ROOT: u32 = 0;

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
    let owner = Owner::of(path)?;
    let fresh = beside(path, "new");
    // What a crash left behind; whoever writes holds the lock, so it is nobody's.
    discard(&fresh)?;
    let written = write_synced(&fresh, bytes, &owner)
        .map_err(|error| Error::io("write", &fresh, error))
        .and_then(|()| {
            std::fs::rename(&fresh, path).map_err(|error| Error::io("replace", path, error))
        });
    if let Err(error) = written {
        // What could not be written is said already.
        let _ = discard(&fresh);
        return Err(error);
    }
    sync_folder(path).map_err(|error| Error::io("sync the folder of", path, error))
}

/// Overwrites and removes a file that was never finished, if there is one.
fn discard(fresh: &Path) -> Result<()> {
    let there = OpenOptions::new()
        .write(true)
        // What its name leads to elsewhere is not ours to overwrite.
        .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
        .open(fresh);
    if let Ok(file) = there {
        let is_alone = file.metadata().is_ok_and(|metadata| metadata.nlink() == 1);
        if is_alone {
            wipe(file).map_err(|error| Error::io("overwrite", fresh, error))?;
        }
    }
    match std::fs::remove_file(fresh) {
        Err(error) if error.kind() != ErrorKind::NotFound => Err(Error::io("remove", fresh, error)),
        _ => Ok(()),
    }
}

/// Waits for the writers' lock on `path`; it ends with the file that is given back.
pub fn lock(path: &Path) -> Result<File> {
    let lock = beside(path, "lock");
    let fail = |error| Error::io("lock", &lock, error);
    let owner = Owner::of(path)?;
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(OWNER_ONLY)
        .open(&lock);
    let file = match made {
        Ok(file) => {
            owner.take(&file).map_err(fail)?;
            file
        }
        // One that is there keeps its owner: what its name leads to may be no lock of ours.
        Err(error) if error.kind() == ErrorKind::AlreadyExists => {
            OpenOptions::new().write(true).open(&lock).map_err(fail)?
        }
        Err(error) => return Err(fail(error)),
    };
    file.lock().map_err(fail)?;
    Ok(file)
}

fn write_synced(path: &Path, bytes: &[u8], owner: &Owner) -> std::io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(OWNER_ONLY)
        .open(path)?;
    owner.take(&file)?;
    file.write_all(bytes)?;
    file.sync_all()
}

fn sync_folder(path: &Path) -> std::io::Result<()> {
    File::open(folder_of(path))?.sync_all()
}

fn folder_of(path: &Path) -> &Path {
    match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    }
}

/// To whom what root makes is given.
struct Owner {
    /// User and group; nobody's where we are not root, and own what we make.
    given_to: Option<(u32, u32)>,
}

impl Owner {
    /// The owner of the file that is there, or of the folder. An error, if the file is somebody else's and we are not root.
    fn of(path: &Path) -> Result<Owner> {
        let fail = |error| Error::io("look at the owner of", path, error);
        let there = match path.metadata() {
            Ok(metadata) => Some(metadata),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(fail(error)),
        };
        let user = rustix::process::geteuid().as_raw();
        if let Some(owner) = there.as_ref().map(MetadataExt::uid)
            && !may_replace(user, owner)
        {
            return Err(Error::invalid(format!(
                "{} belongs to user {owner}, and this is user {user}: do this as its owner (or as root), or its owner could not read it any more",
                path.display()
            )));
        }
        if user != ROOT {
            return Ok(Owner { given_to: None });
        }
        let metadata = match there {
            Some(metadata) => metadata,
            None => folder_of(path).metadata().map_err(fail)?,
        };
        Ok(Owner {
            given_to: Some((metadata.uid(), metadata.gid())),
        })
    }

    fn take(&self, file: &File) -> std::io::Result<()> {
        let Some(owner) = self.given_to else {
            return Ok(());
        };
        let metadata = file.metadata()?;
        match (metadata.uid(), metadata.gid()) == owner {
            true => Ok(()),
            false => fchown(file, Some(owner.0), Some(owner.1)),
        }
    }
}

fn may_replace(user: u32, owner: u32) -> bool {
    user == ROOT || user == owner
}

fn beside(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".");
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    const SERVER: u32 = 4711;

    #[test]
    fn only_the_owner_and_root_may_replace_a_file() {
        assert!(may_replace(SERVER, SERVER) && may_replace(ROOT, SERVER));
        assert!(!may_replace(SERVER + 1, SERVER) && !may_replace(SERVER, ROOT));
    }

    /// Another name for the same bytes shows what became of them.
    #[test]
    fn what_an_edit_leaves_behind_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keyring");
        let secret = b"thirty-two bytes of key material";
        replace(&path, secret).unwrap();
        let old = File::open(&path).unwrap();
        replace_and_wipe(&path, b"another").unwrap();
        assert_eq!(&**read_open(&old, &path, 64).unwrap(), &[0; 32]);

        // A crash before the rename.
        let unfinished = beside(&path, "new");
        std::fs::write(&unfinished, secret).unwrap();
        let left = File::open(&unfinished).unwrap();
        replace(&path, b"a third").unwrap();
        assert_eq!(&**read_open(&left, &path, 64).unwrap(), &[0; 32]);
        assert!(!unfinished.exists());

        // A name that leads elsewhere overwrites nothing there.
        let elsewhere = folder.path().join("elsewhere");
        std::fs::write(&elsewhere, secret).unwrap();
        std::os::unix::fs::symlink(&elsewhere, &unfinished).unwrap();
        replace(&path, b"a fourth").unwrap();
        assert_eq!(std::fs::read(&elsewhere).unwrap(), secret);
        assert_eq!(std::fs::read(&path).unwrap(), b"a fourth");
    }

    /// As root, in a folder of the server's; as anybody else, in a folder of one's own.
    #[test]
    fn what_is_made_belongs_to_the_folders_owner_and_what_is_replaced_to_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let is_root = rustix::process::geteuid().as_raw() == ROOT;
        let give = |path: &Path, group| {
            if is_root {
                std::os::unix::fs::chown(path, Some(SERVER), Some(group)).unwrap();
            }
        };
        let owner = |path: &Path| {
            let metadata = path.metadata().unwrap();
            (metadata.uid(), metadata.gid())
        };
        give(folder.path(), SERVER);
        let path = folder.path().join("keyring");
        drop(lock(&path).unwrap());
        replace(&path, b"one").unwrap();
        for made in [path.clone(), beside(&path, "lock")] {
            assert_eq!(owner(&made), owner(folder.path()), "{}", made.display());
        }

        give(&path, SERVER + 1);
        let before = owner(&path);
        replace_and_wipe(&path, b"two").unwrap();
        drop(lock(&path).unwrap());
        assert_eq!(owner(&path), before);
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
    }
}
