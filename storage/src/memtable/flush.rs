//! Frozen memtables become an SSTable.
//!
//! Only the writing: freezing and merging before it, and the manifest edit, the log's release and the wipe after it are the table's. Nothing is
//! purged here; what the memtables say, their SSTable says.
//!
//! What must hold: after an error nothing of the SSTable is left, and the memtables are as they were: the flush can be tried again.

use std::sync::Arc;

use palladium_crypto::KeyRing;

use crate::Result;
use crate::backend::Backend;
use crate::env::Env;
use crate::manifest::SstableEntry;
use crate::model::Slices;
use crate::read::{Fault, Source};
use crate::sstable::{SstableWriter, WriterOptions};

/// Writes all that a source shows. None if it shows nothing.
pub async fn flush<B: Backend, S: Source>(
    source: S,
    backend: Arc<B>,
    env: Arc<dyn Env>,
    ring: &KeyRing,
    options: WriterOptions,
) -> Result<Option<SstableEntry>> {
    let mut writer = SstableWriter::new(backend, env, ring, options);
    match write_all(source, &mut writer).await {
        Ok(()) => writer.finish().await,
        Err(error) => {
            writer.abandon().await;
            Err(error)
        }
    }
}

async fn write_all<B: Backend, S: Source>(
    mut source: S,
    writer: &mut SstableWriter<B>,
) -> Result<()> {
    let everything = Slices::all();
    while let Some(head) = source.partition().map_err(Fault::without_blocks)?.cloned() {
        source
            .open(&everything, false)
            .map_err(Fault::without_blocks)?;
        writer.begin_partition(&head)?;
        while source.peek().map_err(Fault::without_blocks)?.is_some() {
            writer.push(&source.pop()).await?;
        }
        writer.end_partition().await?;
        source.next_partition().map_err(Fault::without_blocks)?;
    }
    Ok(())
}
