//! The disk, as storage sees it: semantics, not files. A log, immutable blobs, roots, a manifest, and who owns them.
//!
//! Below encryption and above POSIX or S3. What crosses this line is a [`Part`]: bytes that a `Sealer` made, now or in the past
//! ([`Copied`]), or [`Public`] bytes, whose constructors are the closed list of what may be in the clear. There is no other way to write.
//!
//! ```text
//! log        numbered segments of a fixed length, written front to back; durable when the call says so. Two watermark slots.
//! blobs      random opaque names, written once, durable as a whole, read in ranges, removed when nothing refers to them
//! roots      one small object for each table; compare-and-swap on a version; destroying is durable and cannot be undone
//! manifest   numbered generations in two copies; created and appended durably on both before the call returns
//! ```
//!
//! What must hold for every implementation:
//! - "Durable" means: survives the loss of power right after the call returned, names in directories included.
//! - A failed write or sync leaves an unknown outcome. Nobody retries it; the caller reopens or moves to a new structure.
//! - Reads give exactly what was asked for, or an error. A short read is damage, not an answer.
//! - `list` is for recovery and verification; nothing on a hot path lists.
//! - One owner: a second opener gets `Error::Busy`.
//!
//! [`LocalBackend`] keeps files in a folder; `SimulatedBackend` (feature `test-util`) keeps them in memory, loses what was not
//! synced, and has faults. Both share `folder`, which knows how FORMAT.md's files make up these semantics.

use std::future::Future;

use palladium_crypto::{Sealed, SealedBuf, StructureId, TableId};

use crate::error::Result;

mod copied;
pub mod fields;
mod folder;
#[cfg(test)]
mod golden;
mod leased;
mod local;
pub mod public;
#[cfg(any(test, feature = "test-util"))]
mod simulated;
mod slot;

pub use copied::Copied;
pub use leased::{Leased, MayGoOn, Reads};
pub use local::{LocalBackend, LocalOptions};
pub use public::Public;
#[cfg(any(test, feature = "test-util"))]
pub use simulated::{Crash, HeldCalls, SimulatedBackend, SimulatedDisk};
pub use slot::{ROOT_BYTES_MAX, RootCopy};

/// What may be written: sealed bytes, or bytes from the closed list of public ones.
#[derive(Copy, Clone, Debug)]
pub enum Part<'a> {
    /// A `Sealer` made it.
    Sealed(Sealed<'a>),
    /// On the closed list.
    Public(&'a Public),
    /// Sealed once and moved as it is.
    Copied(&'a Copied),
}

impl<'a> Part<'a> {
    /// The bytes to be written.
    pub fn bytes(&self) -> &'a [u8] {
        match self {
            Part::Sealed(sealed) => sealed.bytes(),
            Part::Public(public) => public.bytes(),
            Part::Copied(copied) => copied.bytes(),
        }
    }
}

impl<'a> From<Sealed<'a>> for Part<'a> {
    fn from(sealed: Sealed<'a>) -> Self {
        Part::Sealed(sealed)
    }
}

impl<'a> From<&'a SealedBuf> for Part<'a> {
    fn from(sealed: &'a SealedBuf) -> Self {
        Part::Sealed(sealed.as_sealed())
    }
}

impl<'a> From<&'a Public> for Part<'a> {
    fn from(public: &'a Public) -> Self {
        Part::Public(public)
    }
}

impl<'a> From<&'a Copied> for Part<'a> {
    fn from(copied: &'a Copied) -> Self {
        Part::Copied(copied)
    }
}

/// When an append counts.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum Durability {
    /// On return, with all that was appended before.
    Now,
    /// With the next `log_sync` or durable append. Survives the process, not the power.
    Later,
}

/// A log segment as the backend lists it.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct LogSegment {
    /// Its number.
    pub number: u64,
    /// Its length on the disk, padding included.
    pub bytes: u64,
}

/// A place for sealed and public bytes. See the module.
pub trait Backend: Send + Sync + 'static {
    /// Where a blob under construction is written.
    type Sink: BlobSink;

    /// Makes a segment of `bytes` zero bytes ready so that `log_create` need not. An optimisation: may do nothing.
    fn log_prepare(&self, segment: u64, bytes: u64) -> impl Future<Output = Result<()>> + Send;

    /// Begins segment `segment` with `header`; durable on return. `Error::Full` when there is no room, and then nothing was begun.
    fn log_create(
        &self,
        segment: u64,
        bytes: u64,
        header: &[Part<'_>],
    ) -> impl Future<Output = Result<()>> + Send;

    /// Writes `parts` back to back at `offset` of the segment last created. The parts are copied before this returns its future.
    fn log_append(
        &self,
        segment: u64,
        offset: u64,
        parts: &[Part<'_>],
        durability: Durability,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Makes everything in `segment` durable, whoever wrote it.
    fn log_sync(&self, segment: u64) -> impl Future<Output = Result<()>> + Send;

    /// `length` bytes of a segment.
    fn log_read(
        &self,
        segment: u64,
        offset: u64,
        length: usize,
    ) -> impl Future<Output = Result<Vec<u8>>> + Send;

    /// All segments, by number.
    fn log_list(&self) -> impl Future<Output = Result<Vec<LogSegment>>> + Send;

    /// Removes segments that nobody needs. After an error any of them may be gone; one that is gone already is no error.
    fn log_remove(&self, segments: &[u64]) -> impl Future<Output = Result<()>> + Send;

    /// Stores a watermark in slot 0 or 1; durable on return.
    fn watermark_store(
        &self,
        slot: usize,
        parts: &[Part<'_>],
    ) -> impl Future<Output = Result<()>> + Send;

    /// Makes a slot durable, as it is seen: after a sync that failed it may not be.
    fn watermark_harden(&self, slot: usize) -> impl Future<Output = Result<()>> + Send;

    /// Both watermark slots as they stand; empty when there never was one.
    fn watermark_load(&self) -> impl Future<Output = Result<[Vec<u8>; 2]>> + Send;

    /// Begins a blob. Its name must be new.
    fn blob_create(&self, blob: StructureId) -> impl Future<Output = Result<Self::Sink>> + Send;

    /// `length` bytes of a blob.
    fn blob_read(
        &self,
        blob: StructureId,
        offset: u64,
        length: usize,
    ) -> impl Future<Output = Result<Vec<u8>>> + Send;

    /// Appends `length` bytes of a blob to `out` if they are in memory already; `None` (and `out` unchanged) if that would wait.
    fn blob_read_now(
        &self,
        blob: StructureId,
        offset: u64,
        length: usize,
        out: &mut Vec<u8>,
    ) -> Option<Result<()>>;

    /// A blob's length.
    fn blob_size(&self, blob: StructureId) -> impl Future<Output = Result<u64>> + Send;

    /// All blobs, finished or not.
    fn blob_list(&self) -> impl Future<Output = Result<Vec<StructureId>>> + Send;

    /// Removes a blob that nothing refers to. One that is gone already is no error.
    fn blob_remove(&self, blob: StructureId) -> impl Future<Output = Result<()>> + Send;

    /// Both copies of a root.
    fn root_load(&self, table: TableId) -> impl Future<Output = Result<[RootCopy; 2]>> + Send;

    /// Both copies of many roots, in the order of the tables: an engine that starts has thousands.
    fn roots_load(
        &self,
        tables: Vec<TableId>,
    ) -> impl Future<Output = Result<Vec<[RootCopy; 2]>>> + Send {
        async move {
            let mut roots = Vec::with_capacity(tables.len());
            for table in tables {
                roots.push(self.root_load(table).await?);
            }
            Ok(roots)
        }
    }

    /// Makes the copy that holds durable: it is seen after a commit that was cut short, and may not be.
    fn root_harden(
        &self,
        table: TableId,
        holding: usize,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Replaces the root of version `expected` (`None`: there is none yet) by one of `version`; durable on return, and then no copy
    /// of the old one is left. `Error::Busy` if another version stands there.
    fn root_commit(
        &self,
        table: TableId,
        version: u64,
        root: &Public,
        expected: Option<u64>,
    ) -> impl Future<Output = Result<()>> + Send;

    /// Overwrites a root durably; afterwards it cannot come back. One that is gone already is no error.
    fn root_destroy(&self, table: TableId) -> impl Future<Output = Result<()>> + Send;

    /// All tables with a root, readable or not.
    fn root_list(&self) -> impl Future<Output = Result<Vec<TableId>>> + Send;

    /// All manifest generations of which a copy exists, oldest first.
    fn manifest_list(&self) -> impl Future<Output = Result<Vec<u64>>> + Send;

    /// One copy (0 or 1) of a generation, or `None` if there is no such file.
    fn manifest_read(
        &self,
        generation: u64,
        copy: usize,
    ) -> impl Future<Output = Result<Option<Vec<u8>>>> + Send;

    /// Begins a generation; durable on both copies on return, copy 0 first.
    fn manifest_create(
        &self,
        generation: u64,
        parts: &[Part<'_>],
    ) -> impl Future<Output = Result<()>> + Send;

    /// Appends at `offset`, the end of both copies; durable on both on return, copy 0 first.
    fn manifest_append(
        &self,
        generation: u64,
        offset: u64,
        parts: &[Part<'_>],
    ) -> impl Future<Output = Result<()>> + Send;

    /// Removes both copies of a generation.
    fn manifest_remove(&self, generation: u64) -> impl Future<Output = Result<()>> + Send;

    /// Bytes that may still be written, as far as can be said: for whoever decides whether to begin something large.
    fn room(&self) -> impl Future<Output = Result<Option<u64>>> + Send;

    /// Files that FORMAT.md does not know, for `verify` to warn of.
    fn unknown_files(&self) -> impl Future<Output = Result<Vec<String>>> + Send;
}

/// A blob under construction. Dropping it before `finish` leaves a blob that nothing refers to, for recovery to remove.
pub trait BlobSink: Send + Sync {
    /// Appends; the bytes are copied before this returns its future.
    fn write(&mut self, part: Part<'_>) -> impl Future<Output = Result<()>> + Send;

    /// Bytes appended so far.
    fn position(&self) -> u64;

    /// Makes the blob durable, its name included, and gives its length.
    fn finish(self) -> impl Future<Output = Result<u64>> + Send;
}

/// Joins parts into the one buffer that is written.
fn gather(parts: &[Part<'_>], out: &mut Vec<u8>) {
    out.reserve(parts.iter().map(|part| part.bytes().len()).sum());
    for part in parts {
        out.extend_from_slice(part.bytes());
    }
}
