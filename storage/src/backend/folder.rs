//! The data folder: how FORMAT.md's files make up a log, roots and a manifest. Shared by the local and the simulated disk.
//!
//! Everything here blocks and decides the one thing that matters: in which order things are written and synced. The two disks below
//! it only open, read, write and sync, so that a simulated crash tests the very order that runs in earnest.
//!
//! ```text
//! log/segment-<number>   log/watermark   blobs/<structure>   roots/<table>   manifest/<generation>-<copy>
//! ```

use std::collections::HashMap;
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

use palladium_crypto::{StructureId, TableId};

use super::LogSegment;
use super::fields::is_zero;
use super::slot::{self, RootCopy, SLOT_BYTES};
use crate::error::{Error, Result};

/// Where files are: a real folder or a simulated one. Paths are relative, with at most one folder.
pub(super) trait Disk: Send + Sync + 'static {
    type File: DiskFile;

    /// Opens a file for reading, which a disk that has become read-only still allows; `None` if there is none.
    fn open(&self, path: &str) -> io::Result<Option<Self::File>>;
    /// Opens a file for reading and writing; `None` if there is none.
    fn open_to_write(&self, path: &str) -> io::Result<Option<Self::File>>;
    /// Makes a file, which must be new, to read and write it.
    fn create(&self, path: &str) -> io::Result<Self::File>;
    /// Takes a name away; one that is gone is no error.
    fn remove(&self, path: &str) -> io::Result<()>;
    /// Names in a folder (`""`: the data folder itself).
    fn list(&self, folder: &str) -> io::Result<Vec<String>>;
    /// Makes the names in a folder durable.
    fn sync_folder(&self, folder: &str) -> io::Result<()>;
    /// Bytes that may still be written, if that can be said.
    fn room(&self) -> io::Result<Option<u64>>;
}

/// An open file.
pub(super) trait DiskFile: Send + Sync + 'static {
    /// Fills `out` from `offset`, short only at the end of the file.
    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<usize>;
    /// Writes all of `bytes` at `offset`.
    fn write_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;
    /// Fills the file with `bytes` zeros, allocated.
    fn fill_zero(&self, bytes: u64) -> io::Result<()>;
    /// The file's length.
    fn size(&self) -> io::Result<u64>;
    /// Makes content and length durable.
    fn sync(&self) -> io::Result<()>;
}

pub(super) const LOG: &str = "log";
pub(super) const BLOBS: &str = "blobs";
pub(super) const ROOTS: &str = "roots";
pub(super) const MANIFEST: &str = "manifest";
pub(super) const LOCK: &str = "lock";
pub(super) const FOLDERS: [&str; 4] = [LOG, BLOBS, ROOTS, MANIFEST];
const WATERMARK: &str = "log/watermark";
const WATERMARK_SLOT_BYTES: usize = 4096;
const PAGE: usize = 4096;
/// What is written once more is read and written in pieces of this size.
const REWRITTEN_PIECE_BYTES: usize = 64 << 10;

/// The data folder on a disk.
pub(super) struct Folder<D: Disk> {
    disk: D,
    /// Segments that were filled with zeros ahead of their use, with their length.
    prepared: Mutex<HashMap<u64, u64>>,
    /// Root commits are read-compare-write; one at a time.
    roots: Mutex<()>,
}

impl<D: Disk> Folder<D> {
    pub fn new(disk: D) -> Self {
        Folder {
            disk,
            prepared: Mutex::default(),
            roots: Mutex::default(),
        }
    }

    pub fn room(&self) -> Result<Option<u64>> {
        let room = self.disk.room();
        room.map_err(|source| io_error("the data folder", "ask for room on", source))
    }

    // The log.

    pub fn log_prepare(&self, segment: u64, bytes: u64) -> Result<()> {
        let path = segment_path(segment);
        let filled = self.fill_segment(&path, bytes);
        match filled {
            Ok(_) => {
                lock(&self.prepared).insert(segment, bytes);
                Ok(())
            }
            Err(error) => {
                // Nobody waits for this segment yet; `log_create` tries again and reports what it then finds.
                let _ = self.disk.remove(&path);
                Err(error)
            }
        }
    }

    fn fill_segment(&self, path: &str, bytes: u64) -> Result<D::File> {
        let file = self.create(path)?;
        file.fill_zero(bytes)
            .map_err(|source| io_error(path, "fill", source))?;
        self.sync(&file, path)?;
        self.sync_folder(LOG)?;
        Ok(file)
    }

    /// Begins a segment and gives its file.
    pub fn log_create(&self, segment: u64, bytes: u64, header: &[u8]) -> Result<D::File> {
        let path = segment_path(segment);
        let begun = self.begin_segment(segment, bytes, header, &path);
        // On a disk that is read-only it stays, and the next try finds it.
        if begun.is_err() && self.disk.remove(&path).is_ok() {
            lock(&self.prepared).remove(&segment);
        }
        begun
    }

    fn begin_segment(
        &self,
        segment: u64,
        bytes: u64,
        header: &[u8],
        path: &str,
    ) -> Result<D::File> {
        let prepared = lock(&self.prepared).get(&segment).copied();
        let file = match prepared {
            Some(length) if length == bytes => self.open_to_write(path)?,
            // Of another length, or what an earlier try could not remove.
            _ => {
                self.remove(path)?;
                self.fill_segment(path, bytes)?
            }
        };
        lock(&self.prepared).remove(&segment);
        self.write(&file, path, 0, header)?;
        self.sync(&file, path)?;
        Ok(file)
    }

    /// Makes durable what a dead process left. A sync of its own may have failed, and what that did not bring to the disk counts as written since: the kernel
    /// gives it to whoever reads, and would say of another sync that all is well. So what is seen is written once more.
    pub fn log_sync(&self, segment: u64) -> Result<()> {
        let path = segment_path(segment);
        let file = self.open_to_write(&path)?;
        let size = self.size(&file, &path)?;
        let mut offset = 0;
        while offset < size {
            let piece = read_up_to(&file, &path, offset, REWRITTEN_PIECE_BYTES)?;
            if piece.is_empty() {
                break;
            }
            // The zeros of a segment are durable before anything is written into it.
            if !is_zero(&piece) {
                self.write(&file, &path, offset, &piece)?;
            }
            offset += piece.len() as u64;
        }
        self.sync(&file, &path)?;
        self.sync_folder(LOG)
    }

    pub fn log_read(&self, segment: u64, offset: u64, length: usize) -> Result<Vec<u8>> {
        let path = segment_path(segment);
        read_exact(&self.open(&path)?, &path, offset, length)
    }

    pub fn log_list(&self) -> Result<Vec<LogSegment>> {
        let mut segments = Vec::new();
        for name in self.list(LOG)? {
            if let Some(number) = segment_number(&name) {
                let path = segment_path(number);
                let bytes = self.size(&self.open(&path)?, &path)?;
                segments.push(LogSegment { number, bytes });
            }
        }
        segments.sort_by_key(|segment| segment.number);
        Ok(segments)
    }

    /// One sync of the folder for all of them, and none for nothing.
    pub fn log_remove(&self, segments: &[u64]) -> Result<()> {
        if segments.is_empty() {
            return Ok(());
        }
        for segment in segments {
            lock(&self.prepared).remove(segment);
            self.remove(&segment_path(*segment))?;
        }
        self.sync_folder(LOG)
    }

    pub fn watermark_store(&self, slot: usize, bytes: &[u8]) -> Result<()> {
        assert!(
            slot < 2 && bytes.len() <= WATERMARK_SLOT_BYTES,
            "a watermark is smaller than its slot"
        );
        let (file, is_new) = self.open_or_create(WATERMARK)?;
        let mut padded = bytes.to_vec();
        padded.resize(WATERMARK_SLOT_BYTES, 0);
        self.write(
            &file,
            WATERMARK,
            (slot * WATERMARK_SLOT_BYTES) as u64,
            &padded,
        )?;
        self.sync(&file, WATERMARK)?;
        if is_new {
            self.sync_folder(LOG)?;
        }
        Ok(())
    }

    pub fn watermark_harden(&self, slot: usize) -> Result<()> {
        let Some(file) = self.try_open_to_write(WATERMARK)? else {
            return Ok(());
        };
        let offset = (slot * WATERMARK_SLOT_BYTES) as u64;
        let bytes = read_up_to(&file, WATERMARK, offset, WATERMARK_SLOT_BYTES)?;
        // Written once more, and not only synced, as in `log_sync`.
        self.write(&file, WATERMARK, offset, &bytes)?;
        self.sync(&file, WATERMARK)
    }

    pub fn watermark_load(&self) -> Result<[Vec<u8>; 2]> {
        let Some(file) = self.try_open(WATERMARK)? else {
            return Ok([Vec::new(), Vec::new()]);
        };
        let slot = |index: usize| {
            let offset = (index * WATERMARK_SLOT_BYTES) as u64;
            read_up_to(&file, WATERMARK, offset, WATERMARK_SLOT_BYTES)
        };
        Ok([slot(0)?, slot(1)?])
    }

    // Blobs. Reading and writing them is the backends' own affair.

    pub fn blob_create(&self, blob: StructureId) -> Result<D::File> {
        self.create(&blob_path(blob))
    }

    pub fn blob_open(&self, blob: StructureId) -> Result<D::File> {
        self.open(&blob_path(blob))
    }

    pub fn blob_finish(&self, blob: StructureId, file: &D::File) -> Result<()> {
        self.sync(file, &blob_path(blob))?;
        self.sync_folder(BLOBS)
    }

    pub fn blob_size(&self, blob: StructureId) -> Result<u64> {
        let path = blob_path(blob);
        self.size(&self.open(&path)?, &path)
    }

    pub fn blob_list(&self) -> Result<Vec<StructureId>> {
        let names = self.list(BLOBS)?;
        Ok(names
            .iter()
            .filter_map(|name| from_hex(name))
            .map(StructureId)
            .collect())
    }

    pub fn blob_remove(&self, blob: StructureId) -> Result<()> {
        self.remove(&blob_path(blob))
    }

    // Roots.

    pub fn root_load(&self, table: TableId) -> Result<[RootCopy; 2]> {
        self.root_load_by(table, &mut vec![0; 2 * SLOT_BYTES])
    }

    pub fn roots_load(&self, tables: &[TableId]) -> Result<Vec<[RootCopy; 2]>> {
        let mut slots = vec![0; 2 * SLOT_BYTES];
        let roots = tables.iter();
        roots
            .map(|table| self.root_load_by(*table, &mut slots))
            .collect()
    }

    /// `slots` has room for both, and holds nothing of interest before or after.
    fn root_load_by(&self, table: TableId, slots: &mut [u8]) -> Result<[RootCopy; 2]> {
        let path = root_path(table);
        let Some(file) = self.try_open(&path)? else {
            return Ok([RootCopy::Absent, RootCopy::Absent]);
        };
        let read = file
            .read_at(slot_offset(0), slots)
            .map_err(|source| io_error(&path, "read", source))?;
        slots[read..].fill(0);
        // A slot is written in whole pages as far as it says something; the file may end before it does, but not within a page.
        let is_torn = |index: usize| {
            let read = read.saturating_sub(index * SLOT_BYTES).min(SLOT_BYTES);
            !read.is_multiple_of(PAGE)
        };
        let copy = |index: usize| match is_torn(index) {
            true => RootCopy::Damaged,
            false => slot::decode(table, &slots[index * SLOT_BYTES..][..SLOT_BYTES]),
        };
        let (first, second) = slots.split_at(SLOT_BYTES);
        Ok(slot::compare([copy(0), copy(1)], [first, second]))
    }

    pub fn root_harden(&self, table: TableId, holding: usize) -> Result<()> {
        let _one_at_a_time = lock(&self.roots);
        let path = root_path(table);
        let Some(file) = self.try_open_to_write(&path)? else {
            return Ok(());
        };
        let copies = self.root_load(table)?;
        let bytes = read_up_to(&file, &path, slot_offset(holding), SLOT_BYTES)?;
        // A copy that is none is overwritten first: until it is durable the only good one is not touched. One that is whole stays, and holds if this is cut short.
        let other = 1 - holding;
        let is_whole = copies[other].version().is_some();
        let over = if is_whole {
            &[holding][..]
        } else {
            &[other, holding]
        };
        for index in over {
            // Written once more, and not only synced, as in `log_sync`.
            self.write(&file, &path, slot_offset(*index), &bytes)?;
            self.sync(&file, &path)?;
        }
        Ok(())
    }

    pub fn root_commit(
        &self,
        table: TableId,
        version: u64,
        root: &[u8],
        expected: Option<u64>,
    ) -> Result<()> {
        let _one_at_a_time = lock(&self.roots);
        let copies = self.root_load(table)?;
        let newest = RootCopy::newest(&copies);
        let is_expected = match (newest, expected) {
            (RootCopy::Live { version, .. }, Some(expected)) => *version == expected,
            (RootCopy::Absent, None) => true,
            (RootCopy::Damaged, None) => RootCopy::is_unfinished(&copies),
            _ => false,
        };
        if !is_expected {
            return Err(Error::Busy {
                what: format!("the root of table {table} is not the one expected ({expected:?})"),
            });
        }
        // The copy that does not hold is overwritten first: until it is durable the other one is whole.
        let holds_first = matches!(newest, RootCopy::Live { .. }) && copies[0] == *newest;
        let first = usize::from(holds_first);
        self.write_both_slots(table, first, &slot::encode_live(table, version, root))
    }

    pub fn root_destroy(&self, table: TableId) -> Result<()> {
        let _one_at_a_time = lock(&self.roots);
        let path = root_path(table);
        if self.try_open(&path)?.is_none() {
            return Ok(());
        }
        let copies = self.root_load(table)?;
        let version = RootCopy::newest(&copies)
            .version()
            .unwrap_or(0)
            .saturating_add(1);
        self.write_both_slots(table, 0, &slot::encode_destroyed(table, version))?;
        self.remove(&path)?;
        self.sync_folder(ROOTS)
    }

    fn write_both_slots(&self, table: TableId, first: usize, slot: &[u8]) -> Result<()> {
        let path = root_path(table);
        let (file, is_new) = self.open_or_create(&path)?;
        if is_new {
            self.sync_folder(ROOTS)?;
        }
        for index in [first, 1 - first] {
            // No further than needed, so that ten thousand roots stay small, but over all of what stood there before.
            let old = read_up_to(&file, &path, slot_offset(index), SLOT_BYTES)?;
            let used = used_bytes(slot).max(used_bytes(&old));
            self.write(&file, &path, slot_offset(index), &slot[..used])?;
            self.sync(&file, &path)?;
        }
        Ok(())
    }

    pub fn root_list(&self) -> Result<Vec<TableId>> {
        let names = self.list(ROOTS)?;
        let mut tables: Vec<_> = names
            .iter()
            .filter_map(|name| from_hex(name))
            .map(TableId)
            .collect();
        tables.sort();
        Ok(tables)
    }

    // The manifest.

    pub fn manifest_list(&self) -> Result<Vec<u64>> {
        let names = self.list(MANIFEST)?;
        let mut generations: Vec<u64> = names
            .iter()
            .filter_map(|name| manifest_name(name))
            .map(|(g, _)| g)
            .collect();
        generations.sort_unstable();
        generations.dedup();
        Ok(generations)
    }

    pub fn manifest_read(&self, generation: u64, copy: usize) -> Result<Option<Vec<u8>>> {
        let path = manifest_path(generation, copy);
        let Some(file) = self.try_open(&path)? else {
            return Ok(None);
        };
        let length = self.size(&file, &path)?;
        Ok(Some(read_up_to(&file, &path, 0, to_usize(length))?))
    }

    pub fn manifest_create(&self, generation: u64, bytes: &[u8]) -> Result<()> {
        for copy in 0..2 {
            let path = manifest_path(generation, copy);
            let file = self.create(&path)?;
            self.write(&file, &path, 0, bytes)?;
            self.sync(&file, &path)?;
            self.sync_folder(MANIFEST)?;
        }
        Ok(())
    }

    pub fn manifest_append(&self, generation: u64, offset: u64, bytes: &[u8]) -> Result<()> {
        for copy in 0..2 {
            let path = manifest_path(generation, copy);
            let file = self.open_to_write(&path)?;
            let size = self.size(&file, &path)?;
            if size != offset {
                return Err(Error::corrupt(format!(
                    "{path} ends at {size}, expected {offset}"
                )));
            }
            self.write(&file, &path, offset, bytes)?;
            self.sync(&file, &path)?;
        }
        Ok(())
    }

    pub fn manifest_remove(&self, generation: u64) -> Result<()> {
        for copy in 0..2 {
            self.remove(&manifest_path(generation, copy))?;
        }
        self.sync_folder(MANIFEST)
    }

    pub fn unknown_files(&self) -> Result<Vec<String>> {
        let mut unknown = Vec::new();
        for name in self.list("")? {
            if name != LOCK && !FOLDERS.contains(&name.as_str()) {
                unknown.push(name);
            }
        }
        for folder in FOLDERS {
            for name in self.list(folder)? {
                let is_known = match folder {
                    LOG => segment_number(&name).is_some() || name == "watermark",
                    MANIFEST => manifest_name(&name).is_some(),
                    _ => from_hex(&name).is_some(),
                };
                if !is_known {
                    unknown.push(format!("{folder}/{name}"));
                }
            }
        }
        Ok(unknown)
    }

    // One place where each kind of refusal gets its words.

    fn try_open(&self, path: &str) -> Result<Option<D::File>> {
        self.disk
            .open(path)
            .map_err(|source| io_error(path, "open", source))
    }

    fn try_open_to_write(&self, path: &str) -> Result<Option<D::File>> {
        self.disk
            .open_to_write(path)
            .map_err(|source| io_error(path, "open", source))
    }

    fn open(&self, path: &str) -> Result<D::File> {
        self.try_open(path)?.ok_or_else(|| missing(path))
    }

    fn open_to_write(&self, path: &str) -> Result<D::File> {
        self.try_open_to_write(path)?.ok_or_else(|| missing(path))
    }

    fn create(&self, path: &str) -> Result<D::File> {
        self.disk
            .create(path)
            .map_err(|source| io_error(path, "create", source))
    }

    fn open_or_create(&self, path: &str) -> Result<(D::File, bool)> {
        match self.try_open_to_write(path)? {
            Some(file) => Ok((file, false)),
            None => Ok((self.create(path)?, true)),
        }
    }

    fn remove(&self, path: &str) -> Result<()> {
        self.disk
            .remove(path)
            .map_err(|source| io_error(path, "remove", source))
    }

    fn list(&self, folder: &str) -> Result<Vec<String>> {
        self.disk
            .list(folder)
            .map_err(|source| io_error(folder, "list", source))
    }

    fn write(&self, file: &D::File, path: &str, offset: u64, bytes: &[u8]) -> Result<()> {
        file.write_at(offset, bytes)
            .map_err(|source| io_error(path, "write", source))
    }

    fn sync(&self, file: &D::File, path: &str) -> Result<()> {
        file.sync().map_err(|source| io_error(path, "sync", source))
    }

    fn sync_folder(&self, folder: &str) -> Result<()> {
        self.disk
            .sync_folder(folder)
            .map_err(|source| io_error(folder, "sync", source))
    }

    fn size(&self, file: &D::File, path: &str) -> Result<u64> {
        file.size().map_err(|source| io_error(path, "size", source))
    }
}

fn missing(path: &str) -> Error {
    Error::corrupt(format!("{path} is missing"))
}

/// Exactly `length` bytes, or `Corrupt`.
pub(super) fn read_exact<F: DiskFile>(
    file: &F,
    path: &str,
    offset: u64,
    length: usize,
) -> Result<Vec<u8>> {
    let bytes = read_up_to(file, path, offset, length)?;
    if bytes.len() < length {
        let end = offset + bytes.len() as u64;
        return Err(Error::corrupt(format!(
            "{path} ends at {end}, expected {length} bytes from {offset}"
        )));
    }
    Ok(bytes)
}

fn read_up_to<F: DiskFile>(file: &F, path: &str, offset: u64, length: usize) -> Result<Vec<u8>> {
    // Never allocate on the word of a header: at most what the file has.
    let size = file
        .size()
        .map_err(|source| io_error(path, "size", source))?;
    let length = length.min(to_usize(size.saturating_sub(offset)));
    let mut bytes = vec![0; length];
    let read = file
        .read_at(offset, &mut bytes)
        .map_err(|source| io_error(path, "read", source))?;
    bytes.truncate(read);
    Ok(bytes)
}

/// An error of the operating system, by remedy.
pub(super) fn io_error(path: &str, action: &str, source: io::Error) -> Error {
    let what = format!("{action} {path}");
    match source.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Error::Full { what },
        // It takes no bytes as long as its operator wants it so.
        io::ErrorKind::ReadOnlyFilesystem => Error::Full {
            what: format!("{what}: {source}"),
        },
        // Nothing was opened, so nothing was done, and it passes when somebody closes something. Taken for a failure of the disk it would stop the log for good.
        _ if is_short_of_descriptors(&source) => Error::Full {
            what: format!("{what}: too many open files (ulimit -n)"),
        },
        _ => Error::io(what, source),
    }
}

/// The process, or the machine, may open no more files.
pub(super) fn is_short_of_descriptors(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EMFILE | libc::ENFILE))
}

fn slot_offset(index: usize) -> u64 {
    (index * SLOT_BYTES) as u64
}

/// Up to the last byte that is not zero, in whole pages.
fn used_bytes(slot: &[u8]) -> usize {
    let used = slot
        .iter()
        .rposition(|&byte| byte != 0)
        .map_or(0, |last| last + 1);
    used.next_multiple_of(PAGE)
}

fn to_usize(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn segment_path(segment: u64) -> String {
    format!("{LOG}/segment-{segment:020}")
}

fn segment_number(name: &str) -> Option<u64> {
    decimal(name.strip_prefix("segment-")?)
}

fn decimal(digits: &str) -> Option<u64> {
    (digits.len() == 20 && digits.bytes().all(|byte| byte.is_ascii_digit())).then_some(())?;
    digits.parse().ok()
}

pub(super) fn blob_path(blob: StructureId) -> String {
    format!("{BLOBS}/{}", to_hex(&blob.0))
}

fn root_path(table: TableId) -> String {
    format!("{ROOTS}/{}", to_hex(&table.0))
}

fn manifest_path(generation: u64, copy: usize) -> String {
    format!("{MANIFEST}/{generation:020}-{copy}")
}

fn manifest_name(name: &str) -> Option<(u64, usize)> {
    let (generation, copy) = name.split_once('-')?;
    let copy = match copy {
        "0" => 0,
        "1" => 1,
        _ => return None,
    };
    Some((decimal(generation)?, copy))
}

fn to_hex(bytes: &[u8; 16]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn from_hex(text: &str) -> Option<[u8; 16]> {
    let is_hex = text.len() == 32
        && text
            .bytes()
            .all(|byte| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte));
    is_hex.then_some(())?;
    u128::from_str_radix(text, 16).ok().map(u128::to_be_bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_lead_to_numbers_and_back() {
        assert_eq!(segment_number("segment-00000000000000000042"), Some(42));
        assert_eq!(segment_number("segment-42"), None);
        assert_eq!(manifest_name("00000000000000000007-1"), Some((7, 1)));
        assert_eq!(manifest_name("00000000000000000007-2"), None);
        let id = [0xab; 16];
        assert_eq!(from_hex(&to_hex(&id)), Some(id));
        assert_eq!(from_hex(&to_hex(&id).to_uppercase()), None);
    }
}
