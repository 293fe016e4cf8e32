//! Small files that are replaced whole: the keyring, the anchor, what is exported of the audit trail.
//!
//! A new file is written beside the old one, synced, renamed over it, and the folder is synced: a crash leaves the old file or the
//! new one. Files are made for their owner's eyes only (0600). Writers exclude each other with a lock on `<path>.lock`, which is
//! never removed: a lock on a file that another process may unlink guards nothing.
//!
//! Whoever owns the old file owns the new one: root, who edits for a server that runs as somebody else, gives it back to that user, and anybody else
//! may not replace it at all. What is made where nothing was belongs to the folder's owner when root makes it.
//!
//! A path may be a symbolic link: the file that it leads to is the one that is locked and replaced, and the link stays a link. A link is followed if it is root's,
//! ours, or of whom the file is: else whoever may write a folder could have root write elsewhere.
//!
//! Where the files hold a secret, an old one is overwritten once nobody can find it any more, and so is one that was never finished. One that has another name (a
//! hard link) can be found, and is left as it is: it is somebody's copy. What a journal, a snapshot, a backup or a remapping device keeps of it is beyond this, and
//! what a crash in between leaves.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt, fchown};
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

use crate::error::{Error, Result};

const OWNER_ONLY: u32 = 0o600;
const ROOT: u32 = 0;
/// As many links as the kernel follows.
const LINKS_MAX: usize = 40;

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

/// The writers' lock on one file, whatever links led to it; it ends with this value.
pub struct Locked {
    path: PathBuf,
    _lock: File,
}

/// What became of the file that was replaced.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub(crate) enum Old {
    Wiped,
    /// It has another name, and is left under it.
    HasAnotherName,
}

impl Locked {
    /// The file itself: no link.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Replaces the file, or makes it.
    pub fn replace(&self, bytes: &[u8]) -> Result<()> {
        replace(&self.path, bytes)
    }

    /// Replaces the file, then overwrites what it was.
    pub(crate) fn replace_and_wipe(&self, bytes: &[u8]) -> Result<Old> {
        let path = &self.path;
        let old = OpenOptions::new()
            .write(true)
            .custom_flags(rustix::fs::OFlags::NOFOLLOW.bits() as i32)
            .open(path)
            .map_err(|error| Error::io("open", path, error))?;
        replace(path, bytes)?;
        let wiped = old.metadata().and_then(|metadata| match metadata.nlink() {
            0 => wipe(old).map(|()| Old::Wiped),
            _ => Ok(Old::HasAnotherName),
        });
        wiped.map_err(|error| Error::io("overwrite the old copy of", path, error))
    }
}

/// The file that a path leads to, or would be made at. An error, if somebody else's link leads there.
pub fn real(path: &Path) -> Result<PathBuf> {
    let mut real = path.to_owned();
    let mut owners = Vec::new();
    loop {
        let fail = |error| Error::io("look at", &real, error);
        match real.symlink_metadata() {
            Ok(metadata) if metadata.is_symlink() => owners.push(metadata.uid()),
            Ok(_) => break,
            Err(error) if error.kind() == ErrorKind::NotFound => break,
            Err(error) => return Err(fail(error)),
        }
        if owners.len() > LINKS_MAX {
            return Err(Error::invalid(format!(
                "{}: more than {LINKS_MAX} symbolic links, one after the other",
                path.display()
            )));
        }
        let target = real.read_link().map_err(fail)?;
        real = folder_of(&real).join(target);
    }
    if owners.is_empty() {
        return Ok(real);
    }
    let there = match real.metadata() {
        Err(error) if error.kind() == ErrorKind::NotFound => folder_of(&real).metadata(),
        there => there,
    };
    let owner = there
        .map_err(|error| Error::io("look at the owner of", &real, error))?
        .uid();
    let user = rustix::process::geteuid().as_raw();
    match owners
        .into_iter()
        .find(|&link| !may_lead(user, link, owner))
    {
        None => Ok(real),
        Some(link) => Err(Error::invalid(format!(
            "{} is a symbolic link of user {link} to {}, which belongs to user {owner}: it is not followed",
            path.display(),
            real.display()
        ))),
    }
}

fn may_lead(user: u32, link: u32, target: u32) -> bool {
    link == ROOT || link == user || link == target
}

fn wipe(mut old: File) -> std::io::Result<()> {
    let length = old.metadata()?.len();
    std::io::copy(&mut std::io::repeat(0).take(length), &mut old)?;
    old.sync_all()
}

/// Replaces a file that is no link, or makes it.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> Result<()> {
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

/// Waits for the writers' lock on the file that `path` leads to.
pub fn lock(path: &Path) -> Result<Locked> {
    let path = real(path)?;
    let lock = beside(&path, "lock");
    let fail = |error| Error::io("lock", &lock, error);
    let owner = Owner::of(&path)?;
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
    Ok(Locked { path, _lock: file })
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

    fn edit(path: &Path, bytes: &[u8]) -> Old {
        lock(path).unwrap().replace_and_wipe(bytes).unwrap()
    }

    /// A file that is still open shows what became of it.
    #[test]
    fn what_an_edit_leaves_behind_is_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keyring");
        let secret = b"thirty-two bytes of key material";
        replace(&path, secret).unwrap();
        let old = File::open(&path).unwrap();
        edit(&path, b"another");
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

    #[test]
    fn a_link_stays_a_link_and_the_file_that_it_leads_to_is_replaced() {
        let folder = tempfile::tempdir().unwrap();
        let (there, here) = (folder.path().join("there"), folder.path().join("here"));
        for made in [&there, &here] {
            std::fs::create_dir(made).unwrap();
        }
        let (file, link) = (there.join("file"), here.join("link"));
        std::os::unix::fs::symlink("../there/file", here.join("second")).unwrap();
        std::os::unix::fs::symlink("second", &link).unwrap();
        let names = |folder: &Path| {
            let names = std::fs::read_dir(folder).unwrap();
            let mut names: Vec<_> = names.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };

        // It is made where the link leads, and then replaced there.
        lock(&link).unwrap().replace(b"one").unwrap();
        assert_eq!(std::fs::read(&file).unwrap(), b"one");
        let old = File::open(&link).unwrap();
        assert_eq!(edit(&link, b"two"), Old::Wiped);
        assert_eq!(std::fs::read(&file).unwrap(), b"two");
        assert_eq!(&**read_open(&old, &link, 64).unwrap(), &[0; 3]);
        assert_eq!(link.read_link().unwrap(), Path::new("second"));
        assert_eq!(names(&here), ["link", "second"]);
        assert_eq!(
            names(&there),
            ["file", "file.lock"],
            "one lock for both names"
        );

        std::os::unix::fs::symlink("ring", here.join("ring")).unwrap();
        let error = lock(&here.join("ring")).err().unwrap().to_string();
        assert!(error.contains("symbolic links"), "{error}");
    }

    #[test]
    fn a_link_is_followed_for_root_only_where_its_owner_could_write_himself() {
        assert!(may_lead(ROOT, ROOT, SERVER) && may_lead(ROOT, SERVER, SERVER));
        assert!(may_lead(SERVER, SERVER, SERVER) && may_lead(SERVER, ROOT, SERVER));
        assert!(!may_lead(ROOT, SERVER, ROOT) && !may_lead(SERVER, SERVER + 1, SERVER));
    }

    #[test]
    fn what_has_another_name_is_not_overwritten_under_it() {
        let folder = tempfile::tempdir().unwrap();
        let (path, copy) = (folder.path().join("keyring"), folder.path().join("copy"));
        replace(&path, b"one").unwrap();
        std::fs::hard_link(&path, &copy).unwrap();
        assert_eq!(edit(&path, b"two"), Old::HasAnotherName);
        assert_eq!(std::fs::read(&copy).unwrap(), b"one");
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
        // The new file has no other name.
        assert_eq!(edit(&path, b"three"), Old::Wiped);
        assert_eq!(std::fs::read(&copy).unwrap(), b"one");
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
        edit(&path, b"two");
        assert_eq!(owner(&path), before);
        assert_eq!(std::fs::read(&path).unwrap(), b"two");
    }
}
