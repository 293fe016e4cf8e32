//! Reading for somebody who may be told to stop: what the disk gives is handed over only if it may still be opened when it comes.
//!
//! A read that waits for the disk may wait past the end of its table's lease, or past the word that the key is gone. Whoever opens blocks therefore takes
//! [`Reads`], and the engine hands in a [`Leased`] that looks at the clock after each wait. What follows a read without another wait opens under that look.
//!
//! What must hold: nobody opens what he waited for by another road, but for the service's own structures, which are under no lease.

use std::future::Future;

use palladium_crypto::StructureId;

use super::Backend;
use crate::error::Result;

/// Sealed bytes, for whoever opens them next.
pub trait Reads: Send + Sync {
    /// As [`Backend::blob_read`].
    fn blob_read(
        &self,
        blob: StructureId,
        offset: u64,
        length: usize,
    ) -> impl Future<Output = Result<Vec<u8>>> + Send;

    /// As [`Backend::blob_size`].
    fn blob_size(&self, blob: StructureId) -> impl Future<Output = Result<u64>> + Send;

    /// As [`Backend::log_read`].
    fn log_read(
        &self,
        segment: u64,
        offset: u64,
        length: usize,
    ) -> impl Future<Output = Result<Vec<u8>>> + Send;
}

/// For a folder that nobody serves: tools hold the keys as long as they run.
impl<B: Backend> Reads for B {
    fn blob_read(
        &self,
        blob: StructureId,
        offset: u64,
        length: usize,
    ) -> impl Future<Output = Result<Vec<u8>>> + Send {
        Backend::blob_read(self, blob, offset, length)
    }

    fn blob_size(&self, blob: StructureId) -> impl Future<Output = Result<u64>> + Send {
        Backend::blob_size(self, blob)
    }

    fn log_read(
        &self,
        segment: u64,
        offset: u64,
        length: usize,
    ) -> impl Future<Output = Result<Vec<u8>>> + Send {
        Backend::log_read(self, segment, offset, length)
    }
}

/// Whether what was read may be opened: an error if not.
pub type MayGoOn<'a> = &'a (dyn Fn() -> Result<()> + Send + Sync);

/// A backend whose answers are asked about before they are handed over.
pub struct Leased<'a, B> {
    backend: &'a B,
    may_go_on: MayGoOn<'a>,
}

impl<'a, B: Backend> Leased<'a, B> {
    /// Asks `may_go_on` after each read.
    pub fn new(backend: &'a B, may_go_on: MayGoOn<'a>) -> Self {
        Leased { backend, may_go_on }
    }

    fn checked<T>(&self, read: Result<T>) -> Result<T> {
        (self.may_go_on)()?;
        read
    }
}

impl<B: Backend> Reads for Leased<'_, B> {
    async fn blob_read(&self, blob: StructureId, offset: u64, length: usize) -> Result<Vec<u8>> {
        self.checked(self.backend.blob_read(blob, offset, length).await)
    }

    async fn blob_size(&self, blob: StructureId) -> Result<u64> {
        self.checked(self.backend.blob_size(blob).await)
    }

    async fn log_read(&self, segment: u64, offset: u64, length: usize) -> Result<Vec<u8>> {
        self.checked(self.backend.log_read(segment, offset, length).await)
    }
}
