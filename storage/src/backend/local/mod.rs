//! Files in a folder of this machine.
//!
//! ```text
//! log append   -> one thread of its own: one message in, write, fdatasync, one answer back
//! blob read    -> preadv2(RWF_NOWAIT) on the caller's thread; what that misses goes to a small pool
//! all else     -> the pool
//! ```
//!
//! What sync means to us: `fdatasync` on the file, `fsync` on its folder when a name is new. What a device does with a flush is its
//! promise, not ours. A sync that failed is not repeated: the kernel may have dropped the pages and would then report success.
//!
//! What must hold: no descriptor outlives the flock on `lock`; blocking calls never run on a caller's thread.

mod disk;
mod log;
mod nowait;
mod pool;

use std::future::Future;
use std::num::NonZeroUsize;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use lru::LruCache;
use palladium_crypto::{StructureId, TableId};

use self::disk::{LocalDisk, LocalFile, Ownership};
use self::log::LogThread;
use self::nowait::Now;
use self::pool::Pool;
use super::folder::{
    BLOBS, Folder, LOG, MANIFEST, ROOTS, blob_path, io_error, read_exact, segment_path,
};
use super::{Backend, BlobSink, Durability, LogSegment, Part, Public, RootCopy, gather};
use crate::error::{Error, Result};

/// Settings of the local backend.
#[derive(Clone, Debug)]
pub struct LocalOptions {
    /// Threads for reads that wait and for syncs. Enough to keep a disk's queue busy, few enough to be idle cheaply.
    pub blocking_threads_max: usize,
    /// Blobs kept open. Each costs a descriptor; half of the usual limit of 1024 is left to connections.
    pub open_blobs_max: usize,
    /// Write the log past the page cache (O_DIRECT) where the file system can.
    pub log_is_direct: bool,
}

impl Default for LocalOptions {
    fn default() -> Self {
        LocalOptions {
            blocking_threads_max: 8,
            open_blobs_max: 512,
            log_is_direct: true,
        }
    }
}

/// Bytes that a blob's sink gathers before it writes.
const SINK_BUFFER_BYTES: usize = 256 * 1024;
/// Open blobs are found under one of these locks, by the first byte of their random name.
const OPEN_BLOB_SHARDS: usize = 16;

/// A backend on local files.
pub struct LocalBackend {
    shared: Arc<Shared>,
    pool: Pool,
    log: LogThread,
}

struct Shared {
    folder: Folder<LocalDisk>,
    open_blobs: Vec<Mutex<LruCache<StructureId, Arc<LocalFile>>>>,
    /// Once the file system has said that it cannot tell what is in memory, nobody asks it again.
    nowait_is_unsupported: AtomicBool,
    _ownership: Ownership,
}

impl LocalBackend {
    /// Opens a data folder, made if need be, and owns it until dropped. `Busy` if another process does.
    pub fn open(directory: &Path, options: LocalOptions) -> Result<LocalBackend> {
        let disk = LocalDisk::open(directory, options.log_is_direct)?;
        let ownership = disk.own()?;
        for folder in [LOG, BLOBS, ROOTS, MANIFEST] {
            disk.make_folder(folder)?;
        }
        let per_shard = (options.open_blobs_max / OPEN_BLOB_SHARDS).max(1);
        let per_shard = NonZeroUsize::new(per_shard).expect("at least one");
        let shared = Arc::new(Shared {
            folder: Folder::new(disk),
            open_blobs: (0..OPEN_BLOB_SHARDS)
                .map(|_| Mutex::new(LruCache::new(per_shard)))
                .collect(),
            nowait_is_unsupported: AtomicBool::new(false),
            _ownership: ownership,
        });
        Ok(LocalBackend {
            shared,
            pool: Pool::new(options.blocking_threads_max),
            log: LogThread::start()?,
        })
    }

    /// Opens a data folder that is there already; `Invalid` if it is not one. For those who must not make any.
    pub fn open_existing(directory: &Path, options: LocalOptions) -> Result<LocalBackend> {
        let missing = [LOG, MANIFEST]
            .into_iter()
            .find(|folder| !directory.join(folder).is_dir());
        if let Some(missing) = missing {
            return Err(Error::Invalid {
                what: format!(
                    "{} is not a data folder, or has lost a part: it has no folder `{missing}`",
                    directory.display()
                ),
            });
        }
        Self::open(directory, options)
    }

    fn blocking<T, W>(&self, work: W) -> impl Future<Output = Result<T>> + Send + use<T, W>
    where
        T: Send + 'static,
        W: FnOnce(&Shared) -> Result<T> + Send + 'static,
    {
        let shared = self.shared.clone();
        self.pool.run(move || work(&shared))
    }
}

impl Shared {
    fn open_blobs(
        &self,
        blob: StructureId,
    ) -> std::sync::MutexGuard<'_, LruCache<StructureId, Arc<LocalFile>>> {
        self.open_blobs[usize::from(blob.0[0]) % OPEN_BLOB_SHARDS]
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    fn blob(&self, blob: StructureId) -> Result<Arc<LocalFile>> {
        if let Some(file) = self.open_blobs(blob).get(&blob) {
            return Ok(file.clone());
        }
        let file = Arc::new(self.folder.blob_open(blob)?);
        self.open_blobs(blob).put(blob, file.clone());
        Ok(file)
    }
}

fn joined(parts: &[Part<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    gather(parts, &mut bytes);
    bytes
}

impl Backend for LocalBackend {
    type Sink = LocalSink;

    fn log_prepare(&self, segment: u64, bytes: u64) -> impl Future<Output = Result<()>> + Send {
        self.blocking(move |shared| shared.folder.log_prepare(segment, bytes))
    }

    async fn log_create(&self, segment: u64, bytes: u64, header: &[Part<'_>]) -> Result<()> {
        let header = joined(header);
        let file = self
            .blocking(move |shared| {
                let file = shared.folder.log_create(segment, bytes, &header)?;
                file.into_log()
                    .map_err(|source| io_error(&segment_path(segment), "open", source))
            })
            .await?;
        self.log.adopt(segment, file)
    }

    fn log_append(
        &self,
        segment: u64,
        offset: u64,
        parts: &[Part<'_>],
        durability: Durability,
    ) -> impl Future<Output = Result<()>> + Send {
        self.log.append(segment, offset, parts, durability)
    }

    async fn log_sync(&self, segment: u64) -> Result<()> {
        // The segment being written is synced behind the writes that its thread still has to do.
        match self.log.sync(segment).await? {
            log::Synced::Here => Ok(()),
            log::Synced::NotMine => {
                self.blocking(move |shared| shared.folder.log_sync(segment))
                    .await
            }
        }
    }

    fn log_read(
        &self,
        segment: u64,
        offset: u64,
        length: usize,
    ) -> impl Future<Output = Result<Vec<u8>>> + Send {
        self.blocking(move |shared| shared.folder.log_read(segment, offset, length))
    }

    fn log_list(&self) -> impl Future<Output = Result<Vec<LogSegment>>> + Send {
        self.blocking(|shared| shared.folder.log_list())
    }

    fn log_remove(&self, segments: &[u64]) -> impl Future<Output = Result<()>> + Send {
        let segments = segments.to_vec();
        self.blocking(move |shared| shared.folder.log_remove(&segments))
    }

    fn watermark_store(
        &self,
        slot: usize,
        parts: &[Part<'_>],
    ) -> impl Future<Output = Result<()>> + Send {
        let bytes = joined(parts);
        self.blocking(move |shared| shared.folder.watermark_store(slot, &bytes))
    }

    fn watermark_harden(&self, slot: usize) -> impl Future<Output = Result<()>> + Send {
        self.blocking(move |shared| shared.folder.watermark_harden(slot))
    }

    fn watermark_load(&self) -> impl Future<Output = Result<[Vec<u8>; 2]>> + Send {
        self.blocking(|shared| shared.folder.watermark_load())
    }

    async fn blob_create(&self, blob: StructureId) -> Result<LocalSink> {
        let file = self
            .blocking(move |shared| shared.folder.blob_create(blob))
            .await?;
        Ok(LocalSink {
            shared: self.shared.clone(),
            pool: self.pool.clone(),
            blob,
            file: Arc::new(file),
            buffer: Vec::with_capacity(SINK_BUFFER_BYTES),
            written: 0,
        })
    }

    fn blob_read(
        &self,
        blob: StructureId,
        offset: u64,
        length: usize,
    ) -> impl Future<Output = Result<Vec<u8>>> + Send {
        self.blocking(move |shared| {
            read_exact(&*shared.blob(blob)?, &blob_path(blob), offset, length)
        })
    }

    fn blob_read_now(
        &self,
        blob: StructureId,
        offset: u64,
        length: usize,
        out: &mut Vec<u8>,
    ) -> Option<Result<()>> {
        if self.shared.nowait_is_unsupported.load(Ordering::Relaxed) {
            return None;
        }
        let file = self.shared.open_blobs(blob).get(&blob).cloned()?;
        match file.read_now(offset, length, out) {
            Now::Read => Some(Ok(())),
            Now::Waits => None,
            Now::Unsupported => {
                self.shared
                    .nowait_is_unsupported
                    .store(true, Ordering::Relaxed);
                None
            }
        }
    }

    fn blob_size(&self, blob: StructureId) -> impl Future<Output = Result<u64>> + Send {
        self.blocking(move |shared| shared.folder.blob_size(blob))
    }

    fn blob_list(&self) -> impl Future<Output = Result<Vec<StructureId>>> + Send {
        self.blocking(|shared| shared.folder.blob_list())
    }

    fn blob_remove(&self, blob: StructureId) -> impl Future<Output = Result<()>> + Send {
        self.shared.open_blobs(blob).pop(&blob);
        self.blocking(move |shared| shared.folder.blob_remove(blob))
    }

    fn root_load(&self, table: TableId) -> impl Future<Output = Result<[RootCopy; 2]>> + Send {
        self.blocking(move |shared| shared.folder.root_load(table))
    }

    fn roots_load(
        &self,
        tables: Vec<TableId>,
    ) -> impl Future<Output = Result<Vec<[RootCopy; 2]>>> + Send {
        // One walk to another thread for all of them, and one buffer.
        self.blocking(move |shared| shared.folder.roots_load(&tables))
    }

    fn root_harden(
        &self,
        table: TableId,
        holding: usize,
    ) -> impl Future<Output = Result<()>> + Send {
        self.blocking(move |shared| shared.folder.root_harden(table, holding))
    }

    fn root_commit(
        &self,
        table: TableId,
        version: u64,
        root: &Public,
        expected: Option<u64>,
    ) -> impl Future<Output = Result<()>> + Send {
        let root = root.bytes().to_vec();
        self.blocking(move |shared| shared.folder.root_commit(table, version, &root, expected))
    }

    fn root_destroy(&self, table: TableId) -> impl Future<Output = Result<()>> + Send {
        self.blocking(move |shared| shared.folder.root_destroy(table))
    }

    fn root_list(&self) -> impl Future<Output = Result<Vec<TableId>>> + Send {
        self.blocking(|shared| shared.folder.root_list())
    }

    fn manifest_list(&self) -> impl Future<Output = Result<Vec<u64>>> + Send {
        self.blocking(|shared| shared.folder.manifest_list())
    }

    fn manifest_read(
        &self,
        generation: u64,
        copy: usize,
    ) -> impl Future<Output = Result<Option<Vec<u8>>>> + Send {
        self.blocking(move |shared| shared.folder.manifest_read(generation, copy))
    }

    fn manifest_create(
        &self,
        generation: u64,
        parts: &[Part<'_>],
    ) -> impl Future<Output = Result<()>> + Send {
        let bytes = joined(parts);
        self.blocking(move |shared| shared.folder.manifest_create(generation, &bytes))
    }

    fn manifest_append(
        &self,
        generation: u64,
        offset: u64,
        parts: &[Part<'_>],
    ) -> impl Future<Output = Result<()>> + Send {
        let bytes = joined(parts);
        self.blocking(move |shared| shared.folder.manifest_append(generation, offset, &bytes))
    }

    fn manifest_remove(&self, generation: u64) -> impl Future<Output = Result<()>> + Send {
        self.blocking(move |shared| shared.folder.manifest_remove(generation))
    }

    fn room(&self) -> impl Future<Output = Result<Option<u64>>> + Send {
        self.blocking(|shared| shared.folder.room())
    }

    fn unknown_files(&self) -> impl Future<Output = Result<Vec<String>>> + Send {
        self.blocking(|shared| shared.folder.unknown_files())
    }
}

/// A blob being written to a local file.
pub struct LocalSink {
    shared: Arc<Shared>,
    pool: Pool,
    blob: StructureId,
    file: Arc<LocalFile>,
    buffer: Vec<u8>,
    written: u64,
}

impl LocalSink {
    async fn flush(&mut self) -> Result<()> {
        if self.buffer.is_empty() {
            return Ok(());
        }
        let (blob, file, offset) = (self.blob, self.file.clone(), self.written);
        let buffer = std::mem::take(&mut self.buffer);
        self.written += buffer.len() as u64;
        let mut buffer = self
            .pool
            .run(move || {
                super::folder::DiskFile::write_at(&*file, offset, &buffer)
                    .map_err(|source| io_error(&blob_path(blob), "write", source))?;
                Ok(buffer)
            })
            .await?;
        buffer.clear();
        self.buffer = buffer;
        Ok(())
    }
}

impl BlobSink for LocalSink {
    async fn write(&mut self, part: Part<'_>) -> Result<()> {
        self.buffer.extend_from_slice(part.bytes());
        if self.buffer.len() >= SINK_BUFFER_BYTES {
            self.flush().await?;
        }
        Ok(())
    }

    fn position(&self) -> u64 {
        self.written + self.buffer.len() as u64
    }

    async fn finish(mut self) -> Result<u64> {
        let position = self.position();
        self.flush().await?;
        let (shared, blob, file) = (self.shared.clone(), self.blob, self.file.clone());
        self.pool
            .run(move || {
                shared.folder.blob_finish(blob, &file)?;
                // Whoever wrote it will read it.
                shared.open_blobs(blob).put(blob, file);
                Ok(position)
            })
            .await
    }
}

impl std::fmt::Debug for LocalBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LocalBackend").finish_non_exhaustive()
    }
}

fn closed() -> Error {
    Error::Closed
}

#[cfg(test)]
mod tests;
