//! A backend in memory with faults, for worlds that run from one seed (feature `test-util`).
//!
//! The [`SimulatedDisk`] outlives crashes; a [`SimulatedBackend`] is one life on it. Who reads and waits for it gives others a turn; all other calls answer
//! at once, unless the disk is slow ([`SimulatedDisk::slow_down`]): then every call waits before and after it acts. Time is the test's.
//!
//! ```
//! # use palladium_storage::backend::{Crash, SimulatedBackend, SimulatedDisk};
//! let disk = SimulatedDisk::new();
//! let backend = SimulatedBackend::open(&disk)?;
//! // .. write, then lose power ..
//! disk.crash(Crash::PowerLoss { seed: 7 });
//! let backend = SimulatedBackend::open(&disk)?;
//! # Ok::<(), palladium_storage::Error>(())
//! ```

mod disk;

use std::collections::BTreeMap;
use std::io;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use palladium_crypto::{StructureId, TableId};

use self::disk::{SimulatedFile, SimulatedLife};
use super::folder::{DiskFile, Folder, blob_path, io_error, read_exact, segment_path};
use super::{Backend, BlobSink, Durability, LogSegment, Part, Public, RootCopy, gather};
use crate::env::yield_now;
use crate::error::{Error, Result};

pub use self::disk::{Crash, HeldCalls, SimulatedDisk};

/// One life on a simulated disk.
pub struct SimulatedBackend {
    shared: Arc<Shared>,
    /// The segment being written, as the local backend has one too, and whether it has failed.
    writing: Mutex<BTreeMap<u64, (SimulatedFile, bool)>>,
    reads: AtomicU64,
    /// Every how many-th `blob_read_now` says that it would wait; 0: none, 1: all.
    waits_every: AtomicU64,
}

struct Shared {
    folder: Folder<SimulatedLife>,
    disk: Arc<SimulatedDisk>,
    life: u64,
}

impl Drop for Shared {
    fn drop(&mut self) {
        self.disk.disown(self.life);
    }
}

impl SimulatedBackend {
    /// Opens the disk for this life. `Busy` if it is open already.
    pub fn open(disk: &Arc<SimulatedDisk>) -> Result<SimulatedBackend> {
        let life = disk.own().ok_or_else(|| Error::Busy {
            what: "the simulated disk is in use".into(),
        })?;
        let folder = Folder::new(SimulatedLife {
            disk: disk.clone(),
            life,
        });
        Ok(SimulatedBackend {
            shared: Arc::new(Shared {
                folder,
                disk: disk.clone(),
                life,
            }),
            writing: Mutex::default(),
            reads: AtomicU64::new(0),
            waits_every: AtomicU64::new(2),
        })
    }

    /// Every `count`th `blob_read_now` answers that it would wait; 0: none does, 1: all do. Two at the start.
    pub fn set_waits_every(&self, count: u64) {
        self.waits_every.store(count, Ordering::Relaxed);
    }

    fn folder(&self) -> &Folder<SimulatedLife> {
        &self.shared.folder
    }

    fn writing(&self) -> std::sync::MutexGuard<'_, BTreeMap<u64, (SimulatedFile, bool)>> {
        self.writing.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A call that takes its time. Whoever has gone by the time that it is over does not hear of it; done it is.
    async fn slowly<T>(&self, act: impl FnOnce(&Folder<SimulatedLife>) -> Result<T>) -> Result<T> {
        self.shared.disk.take_time().await;
        let outcome = act(self.folder());
        self.shared.disk.take_time().await;
        outcome
    }

    /// Something is done to a segment that is being written; after an error nothing more is.
    fn on_segment(
        &self,
        segment: u64,
        action: &str,
        act: impl FnOnce(&SimulatedFile) -> io::Result<()>,
    ) -> Result<()> {
        let mut writing = self.writing();
        let (file, has_failed) = writing.get_mut(&segment).ok_or_else(|| Error::Invalid {
            what: format!("segment {segment} is not the one being written"),
        })?;
        if *has_failed {
            return Err(Error::Closed);
        }
        let outcome = act(file).map_err(|source| io_error(&segment_path(segment), action, source));
        *has_failed = outcome.is_err();
        outcome
    }
}

fn joined(parts: &[Part<'_>]) -> Vec<u8> {
    let mut bytes = Vec::new();
    gather(parts, &mut bytes);
    bytes
}

impl Backend for SimulatedBackend {
    type Sink = SimulatedSink;

    async fn log_prepare(&self, segment: u64, bytes: u64) -> Result<()> {
        self.slowly(|folder| folder.log_prepare(segment, bytes))
            .await
    }

    async fn log_create(&self, segment: u64, bytes: u64, header: &[Part<'_>]) -> Result<()> {
        let header = joined(header);
        let begin = |folder: &Folder<SimulatedLife>| {
            let file = folder.log_create(segment, bytes, &header)?;
            let mut writing = self.writing();
            writing.clear();
            writing.insert(segment, (file, false));
            Ok(())
        };
        self.slowly(begin).await
    }

    async fn log_append(
        &self,
        segment: u64,
        offset: u64,
        parts: &[Part<'_>],
        durability: Durability,
    ) -> Result<()> {
        let bytes = joined(parts);
        let write = |_: &_| self.on_segment(segment, "write", |file| file.write_at(offset, &bytes));
        self.slowly(write).await?;
        match durability {
            Durability::Now => {
                self.shared.disk.goes_on(HeldCalls::LogSyncs).await;
                self.slowly(|_| self.on_segment(segment, "sync", DiskFile::sync))
                    .await
            }
            Durability::Later => Ok(()),
        }
    }

    async fn log_sync(&self, segment: u64) -> Result<()> {
        let sync = |folder: &Folder<SimulatedLife>| {
            if !self.writing().contains_key(&segment) {
                return folder.log_sync(segment);
            }
            self.on_segment(segment, "sync", DiskFile::sync)
        };
        self.slowly(sync).await
    }

    async fn log_read(&self, segment: u64, offset: u64, length: usize) -> Result<Vec<u8>> {
        yield_now().await;
        self.slowly(|folder| folder.log_read(segment, offset, length))
            .await
    }

    async fn log_list(&self) -> Result<Vec<LogSegment>> {
        self.slowly(Folder::log_list).await
    }

    async fn log_remove(&self, segments: &[u64]) -> Result<()> {
        self.shared.disk.goes_on(HeldCalls::LogRemovals).await;
        self.slowly(|folder| folder.log_remove(segments)).await
    }

    async fn watermark_store(&self, slot: usize, parts: &[Part<'_>]) -> Result<()> {
        let bytes = joined(parts);
        self.slowly(|folder| folder.watermark_store(slot, &bytes))
            .await
    }

    async fn watermark_harden(&self, slot: usize) -> Result<()> {
        self.slowly(move |folder| folder.watermark_harden(slot))
            .await
    }

    async fn watermark_load(&self) -> Result<[Vec<u8>; 2]> {
        self.slowly(Folder::watermark_load).await
    }

    async fn blob_create(&self, blob: StructureId) -> Result<SimulatedSink> {
        let file = self.slowly(|folder| folder.blob_create(blob)).await?;
        Ok(SimulatedSink {
            shared: self.shared.clone(),
            blob,
            file,
            position: 0,
        })
    }

    async fn blob_read(&self, blob: StructureId, offset: u64, length: usize) -> Result<Vec<u8>> {
        yield_now().await;
        let read = |folder: &Folder<SimulatedLife>| {
            let path = blob_path(blob);
            if self.shared.disk.take_failing_read() {
                let source = io::Error::from_raw_os_error(libc::EIO);
                return Err(io_error(&path, "read", source));
            }
            read_exact(&folder.blob_open(blob)?, &path, offset, length)
        };
        self.slowly(read).await
    }

    fn blob_read_now(
        &self,
        blob: StructureId,
        offset: u64,
        length: usize,
        out: &mut Vec<u8>,
    ) -> Option<Result<()>> {
        let every = self.waits_every.load(Ordering::Relaxed);
        let read = self.reads.fetch_add(1, Ordering::Relaxed);
        let is_failing = self.shared.disk.reads_fail();
        if is_failing || (every != 0 && read.is_multiple_of(every)) {
            return None;
        }
        let file = self.folder().blob_open(blob).ok()?;
        let bytes = read_exact(&file, &blob_path(blob), offset, length).ok()?;
        out.extend_from_slice(&bytes);
        Some(Ok(()))
    }

    async fn blob_size(&self, blob: StructureId) -> Result<u64> {
        self.slowly(|folder| folder.blob_size(blob)).await
    }

    async fn blob_list(&self) -> Result<Vec<StructureId>> {
        self.slowly(Folder::blob_list).await
    }

    async fn blob_remove(&self, blob: StructureId) -> Result<()> {
        self.shared.disk.goes_on(HeldCalls::BlobRemovals).await;
        self.slowly(|folder| folder.blob_remove(blob)).await
    }

    async fn root_load(&self, table: TableId) -> Result<[RootCopy; 2]> {
        self.slowly(|folder| folder.root_load(table)).await
    }

    async fn root_harden(&self, table: TableId, holding: usize) -> Result<()> {
        self.slowly(move |folder| folder.root_harden(table, holding))
            .await
    }

    async fn root_commit(
        &self,
        table: TableId,
        version: u64,
        root: &Public,
        expected: Option<u64>,
    ) -> Result<()> {
        self.slowly(|folder| folder.root_commit(table, version, root.bytes(), expected))
            .await
    }

    async fn root_destroy(&self, table: TableId) -> Result<()> {
        self.slowly(|folder| folder.root_destroy(table)).await
    }

    async fn root_list(&self) -> Result<Vec<TableId>> {
        self.slowly(Folder::root_list).await
    }

    async fn manifest_list(&self) -> Result<Vec<u64>> {
        self.slowly(Folder::manifest_list).await
    }

    async fn manifest_read(&self, generation: u64, copy: usize) -> Result<Option<Vec<u8>>> {
        self.slowly(|folder| folder.manifest_read(generation, copy))
            .await
    }

    async fn manifest_create(&self, generation: u64, parts: &[Part<'_>]) -> Result<()> {
        let bytes = joined(parts);
        self.shared.disk.goes_on(HeldCalls::ManifestCommits).await;
        self.slowly(|folder| folder.manifest_create(generation, &bytes))
            .await
    }

    async fn manifest_append(
        &self,
        generation: u64,
        offset: u64,
        parts: &[Part<'_>],
    ) -> Result<()> {
        let bytes = joined(parts);
        self.shared.disk.goes_on(HeldCalls::ManifestCommits).await;
        self.slowly(|folder| folder.manifest_append(generation, offset, &bytes))
            .await
    }

    async fn manifest_remove(&self, generation: u64) -> Result<()> {
        self.slowly(|folder| folder.manifest_remove(generation))
            .await
    }

    async fn room(&self) -> Result<Option<u64>> {
        self.slowly(Folder::room).await
    }

    async fn unknown_files(&self) -> Result<Vec<String>> {
        self.slowly(Folder::unknown_files).await
    }
}

/// A blob being written to a simulated disk.
pub struct SimulatedSink {
    shared: Arc<Shared>,
    blob: StructureId,
    file: SimulatedFile,
    position: u64,
}

impl BlobSink for SimulatedSink {
    async fn write(&mut self, part: Part<'_>) -> Result<()> {
        self.shared.disk.take_time().await;
        self.file
            .write_at(self.position, part.bytes())
            .map_err(|source| io_error(&blob_path(self.blob), "write", source))?;
        self.position += part.bytes().len() as u64;
        Ok(())
    }

    fn position(&self) -> u64 {
        self.position
    }

    async fn finish(self) -> Result<u64> {
        self.shared.disk.take_time().await;
        self.shared.folder.blob_finish(self.blob, &self.file)?;
        self.shared.disk.take_time().await;
        Ok(self.position)
    }
}

impl std::fmt::Debug for SimulatedBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimulatedBackend").finish_non_exhaustive()
    }
}
