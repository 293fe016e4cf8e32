//! A backend in memory with faults, for worlds that run from one seed (feature `test-util`).
//!
//! The [`SimulatedDisk`] outlives crashes; a [`SimulatedBackend`] is one life on it. Who reads and waits for it gives others a turn; all other calls answer
//! at once. Time is the test's.
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

pub use self::disk::{Crash, SimulatedDisk};

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
        self.folder().log_prepare(segment, bytes)
    }

    async fn log_create(&self, segment: u64, bytes: u64, header: &[Part<'_>]) -> Result<()> {
        let file = self.folder().log_create(segment, bytes, &joined(header))?;
        let mut writing = self.writing();
        writing.clear();
        writing.insert(segment, (file, false));
        Ok(())
    }

    async fn log_append(
        &self,
        segment: u64,
        offset: u64,
        parts: &[Part<'_>],
        durability: Durability,
    ) -> Result<()> {
        let bytes = joined(parts);
        self.on_segment(segment, "write", |file| file.write_at(offset, &bytes))?;
        match durability {
            Durability::Now => {
                self.shared.disk.log_syncs_go_on().await;
                self.on_segment(segment, "sync", DiskFile::sync)
            }
            Durability::Later => Ok(()),
        }
    }

    async fn log_sync(&self, segment: u64) -> Result<()> {
        if !self.writing().contains_key(&segment) {
            return self.folder().log_sync(segment);
        }
        self.on_segment(segment, "sync", DiskFile::sync)
    }

    async fn log_read(&self, segment: u64, offset: u64, length: usize) -> Result<Vec<u8>> {
        yield_now().await;
        self.folder().log_read(segment, offset, length)
    }

    async fn log_list(&self) -> Result<Vec<LogSegment>> {
        self.folder().log_list()
    }

    async fn log_remove(&self, segment: u64) -> Result<()> {
        self.folder().log_remove(segment)
    }

    async fn watermark_store(&self, slot: usize, parts: &[Part<'_>]) -> Result<()> {
        self.folder().watermark_store(slot, &joined(parts))
    }

    async fn watermark_load(&self) -> Result<[Vec<u8>; 2]> {
        self.folder().watermark_load()
    }

    async fn blob_create(&self, blob: StructureId) -> Result<SimulatedSink> {
        Ok(SimulatedSink {
            shared: self.shared.clone(),
            blob,
            file: self.folder().blob_create(blob)?,
            position: 0,
        })
    }

    async fn blob_read(&self, blob: StructureId, offset: u64, length: usize) -> Result<Vec<u8>> {
        yield_now().await;
        if self.shared.disk.take_failing_read() {
            let source = io::Error::from_raw_os_error(libc::EIO);
            return Err(io_error(&blob_path(blob), "read", source));
        }
        read_exact(
            &self.folder().blob_open(blob)?,
            &blob_path(blob),
            offset,
            length,
        )
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
        self.folder().blob_size(blob)
    }

    async fn blob_list(&self) -> Result<Vec<StructureId>> {
        self.folder().blob_list()
    }

    async fn blob_remove(&self, blob: StructureId) -> Result<()> {
        self.folder().blob_remove(blob)
    }

    async fn root_load(&self, table: TableId) -> Result<[RootCopy; 2]> {
        self.folder().root_load(table)
    }

    async fn root_commit(
        &self,
        table: TableId,
        version: u64,
        root: &Public,
        expected: Option<u64>,
    ) -> Result<()> {
        self.folder()
            .root_commit(table, version, root.bytes(), expected)
    }

    async fn root_destroy(&self, table: TableId) -> Result<()> {
        self.folder().root_destroy(table)
    }

    async fn root_list(&self) -> Result<Vec<TableId>> {
        self.folder().root_list()
    }

    async fn manifest_list(&self) -> Result<Vec<u64>> {
        self.folder().manifest_list()
    }

    async fn manifest_read(&self, generation: u64, copy: usize) -> Result<Option<Vec<u8>>> {
        self.folder().manifest_read(generation, copy)
    }

    async fn manifest_create(&self, generation: u64, parts: &[Part<'_>]) -> Result<()> {
        self.folder().manifest_create(generation, &joined(parts))
    }

    async fn manifest_append(
        &self,
        generation: u64,
        offset: u64,
        parts: &[Part<'_>],
    ) -> Result<()> {
        self.folder()
            .manifest_append(generation, offset, &joined(parts))
    }

    async fn manifest_remove(&self, generation: u64) -> Result<()> {
        self.folder().manifest_remove(generation)
    }

    async fn room(&self) -> Result<Option<u64>> {
        self.folder().room()
    }

    async fn unknown_files(&self) -> Result<Vec<String>> {
        self.folder().unknown_files()
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
        self.shared.folder.blob_finish(self.blob, &self.file)?;
        Ok(self.position)
    }
}

impl std::fmt::Debug for SimulatedBackend {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SimulatedBackend").finish_non_exhaustive()
    }
}
