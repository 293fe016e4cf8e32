//! Real files: open, read, write, sync, own.
//!
//! `unsafe` stands here for four system calls that the standard library does not have; each has its argument beside it.
#![allow(unsafe_code)]

use std::fs::{self, File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use super::nowait::{self, Now};
use crate::backend::folder::{Disk, DiskFile, LOCK, LOG, is_short_of_descriptors};
use crate::error::{Error, Result};

const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
/// Zeros are written in pieces of this size.
const ZERO_PIECE_BYTES: usize = 1024 * 1024;
/// Direct writes start and end on this, in the file and in memory.
pub(super) const ALIGNMENT: usize = 4096;

/// A folder of the file system.
pub(super) struct LocalDisk {
    directory: PathBuf,
    log_is_direct: bool,
}

/// The flock on `lock`, released when dropped.
pub(super) struct Ownership {
    _lock: File,
}

impl LocalDisk {
    pub fn open(directory: &Path, log_is_direct: bool) -> Result<LocalDisk> {
        let is_new = !directory.exists();
        fs::DirBuilder::new()
            .recursive(true)
            .mode(FOLDER_MODE)
            .create(directory)
            .map_err(|source| Error::io(format!("make {}", directory.display()), source))?;
        let directory = directory
            .canonicalize()
            .map_err(|source| Error::io(format!("open {}", directory.display()), source))?;
        let disk = LocalDisk {
            directory,
            log_is_direct,
        };
        if is_new && let Some(parent) = disk.directory.parent() {
            sync_directory(parent)
                .map_err(|source| Error::io(format!("sync {}", parent.display()), source))?;
        }
        Ok(disk)
    }

    /// Takes the folder for this process, or says who is in the way.
    pub fn own(&self) -> Result<Ownership> {
        let path = self.directory.join(LOCK);
        let lock = OpenOptions::new()
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .mode(FILE_MODE)
            .open(&path)
            .or_else(|error| match error.kind() {
                // Whoever only looks can, and nobody else is there to be kept out but others who look.
                io::ErrorKind::ReadOnlyFilesystem => File::open(&path),
                _ => Err(error),
            })
            .map_err(|source| Error::io(format!("open {}", path.display()), source))?;
        match lock.try_lock() {
            Ok(()) => Ok(Ownership { _lock: lock }),
            Err(fs::TryLockError::WouldBlock) => Err(Error::Busy {
                what: format!("{} is in use by another process", self.directory.display()),
            }),
            Err(fs::TryLockError::Error(source)) => {
                Err(Error::io(format!("lock {}", path.display()), source))
            }
        }
    }

    pub fn make_folder(&self, folder: &str) -> Result<()> {
        let path = self.directory.join(folder);
        let made = fs::DirBuilder::new().mode(FOLDER_MODE).create(&path);
        match made {
            Ok(()) => sync_directory(&self.directory),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(()),
            Err(error) => Err(error),
        }
        .map_err(|source| Error::io(format!("make {}", path.display()), source))
    }

    fn open_by(&self, options: &OpenOptions, path: &str) -> io::Result<Option<LocalFile>> {
        match options.open(self.directory.join(path)) {
            Ok(file) => Ok(Some(self.file(file, path))),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.check_not_moved(path)?;
                Ok(None)
            }
            Err(error) => Err(error),
        }
    }

    /// What is not found where its folder is not either is not missing: somebody has moved the data folder, or its disk has gone, and all may be back in a moment.
    fn check_not_moved(&self, path: &str) -> io::Result<()> {
        let path = self.directory.join(path);
        match path.parent() {
            Some(folder) if !folder.is_dir() => Err(io::Error::new(
                io::ErrorKind::NotFound,
                format!("there is no folder {} any more", folder.display()),
            )),
            _ => Ok(()),
        }
    }

    fn file(&self, file: File, path: &str) -> LocalFile {
        let log_path =
            (self.log_is_direct && path.starts_with(LOG)).then(|| self.directory.join(path));
        LocalFile { file, log_path }
    }
}

fn sync_directory(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

impl Disk for LocalDisk {
    type File = LocalFile;

    fn open(&self, path: &str) -> io::Result<Option<LocalFile>> {
        self.open_by(OpenOptions::new().read(true), path)
    }

    fn open_to_write(&self, path: &str) -> io::Result<Option<LocalFile>> {
        self.open_by(OpenOptions::new().read(true).write(true), path)
    }

    fn create(&self, path: &str) -> io::Result<LocalFile> {
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(self.directory.join(path))?;
        Ok(self.file(file, path))
    }

    fn remove(&self, path: &str) -> io::Result<()> {
        match fs::remove_file(self.directory.join(path)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => self.check_not_moved(path),
            outcome => outcome,
        }
    }

    fn list(&self, folder: &str) -> io::Result<Vec<String>> {
        fs::read_dir(self.directory.join(folder))?
            .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
            .collect()
    }

    fn sync_folder(&self, folder: &str) -> io::Result<()> {
        sync_directory(&self.directory.join(folder))
    }

    fn room(&self) -> io::Result<Option<u64>> {
        let directory = File::open(&self.directory)?;
        let mut found = std::mem::MaybeUninit::<libc::statvfs>::uninit();
        // SAFETY: the descriptor is open for the call, and the call writes no more than the structure that it is given.
        let outcome = unsafe { libc::fstatvfs(directory.as_raw_fd(), found.as_mut_ptr()) };
        if outcome != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call has succeeded, and then has filled all of it.
        let found = unsafe { found.assume_init() };
        Ok(Some(found.f_bavail.saturating_mul(found.f_frsize)))
    }
}

/// An open file.
pub(super) struct LocalFile {
    file: File,
    /// Where to open it again for direct writes, if it is a segment and that is wanted.
    log_path: Option<PathBuf>,
}

impl LocalFile {
    /// Appends `length` bytes to `out` if the page cache has them all; nothing changed otherwise.
    pub fn read_now(&self, offset: u64, length: usize, out: &mut Vec<u8>) -> Now {
        nowait::read(&self.file, offset, length, out)
    }

    /// For the log's thread: past the page cache if the file system can do that.
    pub fn into_log(self) -> io::Result<LogFile> {
        // The header's pages lie in the cache; direct writes beside them need not look after them.
        // SAFETY: the descriptor is open for the call, and the advice reads and writes no memory of ours.
        unsafe { libc::posix_fadvise(self.file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        match self.log_path.as_deref().map(open_direct) {
            Some(Ok(file)) => Ok(LogFile { file }),
            // The file system has no direct writes, or there is no descriptor left; through the cache then.
            Some(Err(error))
                if error.raw_os_error() == Some(libc::EINVAL)
                    || is_short_of_descriptors(&error) =>
            {
                Ok(LogFile { file: self.file })
            }
            Some(Err(error)) => Err(error),
            None => Ok(LogFile { file: self.file }),
        }
    }
}

fn open_direct(path: &Path) -> io::Result<File> {
    OpenOptions::new()
        .read(true)
        .write(true)
        .custom_flags(libc::O_DIRECT)
        .open(path)
}

impl DiskFile for LocalFile {
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < out.len() {
            match self
                .file
                .read_at(&mut out[filled..], offset + filled as u64)
            {
                Ok(0) => break,
                Ok(count) => filled += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    /// Writes real zeros, not only an allocation: overwriting a written block later needs no change to the file's map, and
    /// `fdatasync` is then about twice as fast.
    fn fill_zero(&self, bytes: u64) -> io::Result<()> {
        allocate(&self.file, bytes)?;
        let direct = self
            .log_path
            .as_deref()
            .and_then(|path| open_direct(path).ok());
        match direct {
            Some(file) => write_zeros(&file, bytes),
            None => write_zeros(&self.file, bytes),
        }
    }

    fn size(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}

/// In pieces that suit direct writes too: aligned in memory, and in the file if its length is.
fn write_zeros(file: &File, bytes: u64) -> io::Result<()> {
    let memory = vec![0; ZERO_PIECE_BYTES + ALIGNMENT];
    let start = memory.as_ptr().align_offset(ALIGNMENT).min(ALIGNMENT);
    let zeros = &memory[start..start + ZERO_PIECE_BYTES];
    let mut at = 0;
    while at < bytes {
        let piece = (bytes - at).min(ZERO_PIECE_BYTES as u64) as usize;
        file.write_all_at(&zeros[..piece], at)?;
        at += piece as u64;
    }
    Ok(())
}

/// One run of blocks for the whole file, so that "no room" is known now and not in the middle of a commit.
fn allocate(file: &File, bytes: u64) -> io::Result<()> {
    let length = libc::off_t::try_from(bytes).map_err(|_| io::ErrorKind::InvalidInput)?;
    // SAFETY: the descriptor is open for the call, and the call touches no memory of ours.
    let outcome = unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, length) };
    if outcome == 0 {
        return Ok(());
    }
    match io::Error::last_os_error() {
        // The file system cannot; the zeros that follow allocate as well.
        error if matches!(error.raw_os_error(), Some(libc::EOPNOTSUPP | libc::ENOSYS)) => Ok(()),
        error => Err(error),
    }
}

/// A segment open for the log's thread.
pub(super) struct LogFile {
    file: File,
}

impl LogFile {
    pub fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, offset)
    }

    pub fn sync(&self) -> io::Result<()> {
        self.file.sync_data()
    }
}
