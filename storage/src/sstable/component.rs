//! One component while it is written: a blob, its data key, and where the next sealed block goes.
//!
//! Sealed blocks are gathered and written in larger pieces; the piece is bounded, so is the memory. After a failed write the
//! component is poisoned and its blob is only good for removal.

use palladium_crypto::{SealedBuf, StructureId, StructureKind};

use crate::backend::{Backend, BlobSink, Part};
use crate::manifest::Component;
use crate::sealed::{BLOB_HEADER_BYTES, SealedWriter};
use crate::wiped::Wiped;
use crate::{Error, Result};

/// Sealed bytes gathered before they are written: large enough that writing costs little, small enough to hold for each writer.
const WRITE_BYTES: usize = 256 << 10;

/// A component under construction.
pub struct ComponentWriter<B: Backend> {
    sealed: SealedWriter,
    sink: Option<B::Sink>,
    gathered: Vec<SealedBuf>,
    gathered_bytes: usize,
    end: u64,
}

/// Where a sealed block went.
#[derive(Clone, Copy)]
pub struct Placed {
    pub offset: u64,
    pub sealed_bytes: u64,
}

impl<B: Backend> ComponentWriter<B> {
    /// A component that is not on the disk yet.
    pub fn new(sealed: SealedWriter) -> Self {
        ComponentWriter {
            sealed,
            sink: None,
            gathered: Vec::new(),
            gathered_bytes: 0,
            end: BLOB_HEADER_BYTES as u64,
        }
    }

    /// Seals the next block. Where it will be is known at once; that it is there, only after `write_out` or `finish`.
    pub fn append(&mut self, end: bool, mut plain: Wiped<Vec<u8>>) -> Result<Placed> {
        let sealed = self.sealed.append(&[], end, &mut plain)?.to_owned();
        let placed = Placed {
            offset: self.end,
            sealed_bytes: sealed.bytes().len() as u64,
        };
        self.end += placed.sealed_bytes;
        self.gathered_bytes += sealed.bytes().len();
        self.gathered.push(sealed);
        Ok(placed)
    }

    /// Where the next block goes.
    pub fn end(&self) -> u64 {
        self.end
    }

    /// Whether enough is gathered to be worth a write.
    pub fn is_due(&self) -> bool {
        self.gathered_bytes >= WRITE_BYTES
    }

    /// Writes what is gathered.
    pub async fn write_out(&mut self, backend: &B) -> Result<()> {
        if self.gathered.is_empty() && self.sink.is_some() {
            return Ok(());
        }
        let written = self.try_write_out(backend).await;
        if written.is_err() {
            self.sealed.poison();
        }
        written
    }

    async fn try_write_out(&mut self, backend: &B) -> Result<()> {
        if self.sink.is_none() {
            let mut sink = backend.blob_create(self.structure()).await?;
            let header = self.sealed.blob_header();
            sink.write(Part::Public(&header)).await?;
            self.sink = Some(sink);
        }
        let sink = self.sink.as_mut().expect("created just above");
        if !self.gathered.is_empty() {
            let piece = SealedBuf::concat(&self.gathered);
            sink.write(Part::from(&piece)).await?;
        }
        self.gathered.clear();
        self.gathered_bytes = 0;
        Ok(())
    }

    /// Writes the rest and makes the blob durable.
    pub async fn finish(mut self, backend: &B) -> Result<Component> {
        self.write_out(backend).await?;
        let sink = self.sink.take().expect("write_out creates the sink");
        let size = sink.finish().await?;
        if size != self.end {
            return Err(Error::Invalid {
                what: format!(
                    "blob {} has {size} bytes after {} were written",
                    self.structure(),
                    self.end
                ),
            });
        }
        Ok(Component {
            kind: self.kind(),
            structure: self.structure(),
            wrapped: self.sealed.wrapped().clone(),
            size,
        })
    }

    /// The blob's name.
    pub fn structure(&self) -> StructureId {
        self.sealed.structure()
    }

    fn kind(&self) -> StructureKind {
        self.sealed.kind()
    }
}
