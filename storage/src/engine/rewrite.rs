//! Flush and compaction of one table: write the new SSTable, commit the manifest, swap, and only then let go of what it replaces.

use std::sync::Arc;

use palladium_crypto::{StructureId, TableId};

use crate::backend::Backend;
use crate::background::Job;
use crate::compaction::task::oldest_outside;
use crate::compaction::{Choice, Circumstances, MergeTask, merge};
use crate::engine::Inner;
use crate::engine::group::Errand;
use crate::error::{Error, Result};
use crate::lease::Reading;
use crate::manifest::{Edit, SstableEntry};
use crate::memtable::flush as write_memtable;
use crate::model::PartitionBound;
use crate::read::{Fault, Source};
use crate::sstable::{Sstable, WriterOptions};
use crate::table::{OpenTable, Table};

/// Writes a table's memtables out. A table without any, or closed, needs nothing.
pub(crate) async fn flush<B: Backend>(inner: &Arc<Inner<B>>, id: TableId) -> Result<()> {
    let table = inner.tables.get(id)?;
    let _rewriting = table.rewriting.lock().await;
    let Some(open) = table.opened() else {
        return Ok(());
    };
    let log_floor = open.freeze();
    let frozen = open.unflushed();
    for (place, memtable) in frozen.iter().enumerate() {
        check_lease(inner, &open)?;
        let is_last = place + 1 == frozen.len();
        let writer = inner.writer_options(&table).await;
        let mut cursor = memtable.shared_cursor();
        cursor.seek(&PartitionBound::MIN).map_err(never_misses)?;
        let entry = write_memtable::flush(
            cursor,
            inner.backend.clone(),
            inner.env.clone(),
            &open.ring(),
            writer,
        )
        .await?;
        let sstable = match &entry {
            Some(entry) => Some(Sstable::open(&*inner.backend, entry, &open.ring()).await?),
            None => None,
        };
        inner
            .commit_manifest(&[Edit::AddSstables {
                table: id,
                added: entry.into_iter().collect(),
                removed: Vec::new(),
                // Only the newest memtable's flush says from where on the log is needed.
                log_floor: is_last.then_some(log_floor),
            }])
            .await?;
        open.replace_sstables(&[], sstable.into_iter().collect());
        inner.forget_memtable(&open, memtable);
    }
    if !frozen.is_empty() {
        inner.forming.ask(Errand::Release);
        inner.jobs.add(Job::Compact(id));
    }
    Ok(())
}

/// Flushes the table whose memtables are largest.
pub(crate) async fn flush_largest<B: Backend>(inner: &Arc<Inner<B>>) -> Result<()> {
    let largest = inner
        .tables
        .all()
        .into_iter()
        .filter_map(|table| Some((table.opened()?.memtable_bytes(), table.id)))
        .max();
    match largest {
        Some((bytes, id)) if bytes > 0 => flush(inner, id).await,
        _ => Ok(()),
    }
}

/// Flushes the open tables that still need the oldest part of the log.
pub(crate) async fn flush_oldest<B: Backend>(inner: &Arc<Inner<B>>) -> Result<()> {
    let mut oldest: Vec<(u64, TableId)> = {
        let shares = inner.shares.lock().expect("no holder of this lock panics");
        shares
            .iter()
            .filter_map(|(table, shares)| Some((*shares.first_key_value()?.0, *table)))
            .collect()
    };
    oldest.sort();
    // A quarter of the tables that hold anything, so that the log shrinks by more than one segment and not everything is written at once.
    let most = oldest.len().div_ceil(4);
    for (_, id) in oldest.into_iter().take(most) {
        flush(inner, id).await?;
    }
    Ok(())
}

/// Lets the table's strategy choose once, and does it. Says whether there was anything to do.
pub(crate) async fn compact_once<B: Backend>(inner: &Arc<Inner<B>>, id: TableId) -> Result<bool> {
    let table = inner.tables.get(id)?;
    let _rewriting = table.rewriting.lock().await;
    let Some(open) = table.opened() else {
        return Ok(false);
    };
    check_lease(inner, &open)?;
    let options = table.options.load_full();
    if !options.compaction.enabled {
        return Ok(false);
    }
    let sstables = open.sstables();
    let summaries: Vec<_> = sstables.iter().map(|sstable| sstable.summary()).collect();
    let circumstances = inner.circumstances(&table, &open);
    match options
        .compaction
        .strategy
        .choose(&summaries, circumstances)
    {
        Choice::Rest => return Ok(false),
        Choice::Merge(ids) => merge_sstables(inner, &table, &open, &ids).await?,
        Choice::Forget(ids) => replace(inner, &open, ids, Vec::new()).await?,
    }
    inner.jobs.add(Job::Compact(id));
    Ok(true)
}

/// Merges all SSTables of a table into one.
pub(crate) async fn compact_all<B: Backend>(inner: &Arc<Inner<B>>, id: TableId) -> Result<()> {
    let table = inner.tables.get(id)?;
    let _rewriting = table.rewriting.lock().await;
    let Some(open) = table.opened() else {
        return Ok(());
    };
    check_lease(inner, &open)?;
    let ids: Vec<u64> = open.sstables().iter().map(|sstable| sstable.id()).collect();
    match ids.is_empty() {
        true => Ok(()),
        false => merge_sstables(inner, &table, &open, &ids).await,
    }
}

/// Removes the blobs of SSTables that nobody reads any more.
pub(crate) async fn remove_obsolete<B: Backend>(inner: &Arc<Inner<B>>) {
    let unread: Vec<Arc<Sstable>> = {
        let mut obsolete = inner
            .obsolete
            .lock()
            .expect("no holder of this lock panics");
        let (unread, read) = std::mem::take(&mut *obsolete)
            .into_iter()
            .partition(|sstable| Arc::strong_count(sstable) == 1);
        *obsolete = read;
        unread
    };
    for sstable in unread {
        let structures: Vec<StructureId> = sstable.structures().to_vec();
        drop(sstable);
        inner.cache.forget(&structures.iter().copied().collect());
        for structure in structures {
            if let Err(error) = inner.backend.blob_remove(structure).await {
                tracing::warn!(%structure, %error, "a blob that nothing refers to stays until the next start");
            }
        }
    }
}

async fn merge_sstables<B: Backend>(
    inner: &Arc<Inner<B>>,
    table: &Arc<Table>,
    open: &Arc<OpenTable>,
    ids: &[u64],
) -> Result<()> {
    let sstables = open.sstables();
    let inputs: Vec<Arc<Sstable>> = sstables
        .iter()
        .filter(|sstable| ids.contains(&sstable.id()))
        .cloned()
        .collect();
    let circumstances = inner.circumstances(table, open);
    // Flushes of this table wait for the same lock, so that what is outside cannot grow by an SSTable while this runs; memtables can.
    let outside: Vec<Arc<Sstable>> = sstables
        .iter()
        .filter(|sstable| !ids.contains(&sstable.id()))
        .cloned()
        .collect();
    let memtables = open.clone();
    let proceed = {
        let (inner, open, id) = (inner.clone(), open.clone(), table.id);
        move || match inner.tables.get(id)?.opened() {
            Some(_) => check_lease(&inner, &open),
            None => Err(Error::KeyUnavailable { table: id }),
        }
    };
    let task = MergeTask {
        backend: inner.backend.clone(),
        env: inner.env.clone(),
        ring: open.ring(),
        cache: inner.cache.clone(),
        inputs,
        circumstances,
        oldest_outside: Arc::new(move |key| {
            oldest_outside(&outside, memtables.min_timestamp(), key)
        }),
        writer: inner.writer_options(table).await,
        proceed: Arc::new(proceed),
    };
    let merged = merge(task).await?;
    let mut next_id = inner.writer_options(table).await.id;
    let mut added = merged.added;
    for entry in &mut added {
        entry.id = next_id;
        next_id += 1;
    }
    replace(inner, open, merged.removed, added).await
}

/// Makes an exchange of SSTables durable, then visible.
async fn replace<B: Backend>(
    inner: &Arc<Inner<B>>,
    open: &Arc<OpenTable>,
    removed: Vec<u64>,
    added: Vec<SstableEntry>,
) -> Result<()> {
    let mut opened = Vec::with_capacity(added.len());
    for entry in &added {
        opened.push(Sstable::open(&*inner.backend, entry, &open.ring()).await?);
    }
    inner
        .commit_manifest(&[Edit::AddSstables {
            table: open.table,
            added,
            removed: removed.clone(),
            log_floor: None,
        }])
        .await?;
    let before = open.sstables();
    open.replace_sstables(&removed, opened);
    inner.retire(
        before
            .iter()
            .filter(|sstable| removed.contains(&sstable.id()))
            .cloned(),
    );
    Ok(())
}

fn check_lease<B: Backend>(inner: &Inner<B>, open: &OpenTable) -> Result<()> {
    match open.lease().is_alive_at(Reading::now(&*inner.env)) {
        true => Ok(()),
        false => Err(Error::KeyUnavailable { table: open.table }),
    }
}

fn never_misses(fault: Fault) -> Error {
    match fault {
        Fault::Error(error) => error,
        Fault::Miss(_) => Error::Invalid {
            what: "a memtable has no blocks to miss".into(),
        },
    }
}

impl<B: Backend> Inner<B> {
    /// How the next SSTable of a table is written.
    async fn writer_options(&self, table: &Table) -> WriterOptions {
        let id = {
            let manifest = self.manifest.lock().await;
            manifest
                .state()
                .tables
                .get(&table.id)
                .map_or(1, |state| state.next_sstable)
        };
        let options = table.options.load();
        WriterOptions {
            id,
            level: 0,
            block_bytes: options.block_bytes,
            compression: options.compression,
        }
    }

    fn circumstances(&self, table: &Table, open: &OpenTable) -> Circumstances {
        Circumstances {
            now: self.env.wall_micros().div_euclid(1_000_000),
            gc_grace_seconds: table.options.load().gc_grace_seconds,
            memtable_min_timestamp: open.min_timestamp(),
        }
    }
}
