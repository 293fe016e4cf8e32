//! Flush of one table, and the exchange of SSTables: write the new one, commit the manifest, swap, and only then let go of what it replaces.
//!
//! A flush holds the table's `rewriting` all along, a merge ([`super::compact`]) only while it exchanges SSTables: flushes, truncations and key switches go on while
//! it runs, and it looks at the end whether what it read is still there.
//!
//! ```text
//! left by a flush that failed ──► one SSTable for each store ──► manifest: these, and the log's floor behind them
//! written since               ──► one SSTable for each store ──► the same, behind these
//! ```
//!
//! What must hold:
//! - All memtables that are written out together, and all their stores, come into the manifest in one edit, with the log's floor behind all that they hold and before
//!   all that they do not. What is in an SSTable must not come back from the log when a merge has forgotten what deleted it; what is in none must come back.
//! - So what is frozen is not carried to the log's end ([`super::relog`]): it would stand there behind what was written since.
//! - What earlier flushes have left is one piece, however many they were: read as one ([`Merge`]), what deletes something in it makes it smaller.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use palladium_crypto::{KeyRing, StructureId, TableId};
use tracing::Instrument;

use crate::SPANS;
use crate::backend::{Backend, Leased};
use crate::background::Job;
use crate::engine::group::Errand;
use crate::engine::{Flush, Inner, compact};
use crate::error::{Error, Result};
use crate::lease::Reading;
use crate::manifest::{Edit, Rewrite, SstableEntry};
use crate::memtable::{Memtable, flush as write_memtables};
use crate::model::{Deletion, PartitionBound, Store};
use crate::read::{Fault, Item, Merge, PartitionHead, Slices, Source};
use crate::sealed::from_crypto;
use crate::sstable::{ROW_BYTES_MAX, Sstable, WriterOptions};
use crate::table::{Frozen, OpenTable, Table};

/// Writes a table's memtables out. A table without any, or closed, needs nothing.
pub(crate) async fn flush<B: Backend>(inner: &Arc<Inner<B>>, id: TableId) -> Result<()> {
    let span = tracing::debug_span!(target: SPANS, "flush", table = %id);
    flush_table(inner, id).instrument(span).await
}

async fn flush_table<B: Backend>(inner: &Arc<Inner<B>>, id: TableId) -> Result<()> {
    let table = inner.tables.get(id)?;
    let _rewriting = table.rewriting.lock().await;
    // A memtable that lacks a durable write must not move the log's floor past it.
    if let Some(what) = table.damage() {
        return Err(Error::corrupt(what));
    }
    let Some(open) = table.opened() else {
        return Ok(());
    };
    // What an earlier flush has left goes first, by itself: where there is little room it may fit. But for a row that fits no SSTable: with what was written since, it
    // may have become smaller.
    if !open.is_outgrown() {
        write_out(inner, &table, &open, open.frozen()).await?;
    }
    write_out(inner, &table, &open, open.freeze()).await
}

/// Writes out all that is frozen, in the table's `rewriting`.
async fn write_out<B: Backend>(
    inner: &Arc<Inner<B>>,
    table: &Table,
    open: &Arc<OpenTable>,
    frozen: Frozen,
) -> Result<()> {
    if frozen.memtables.is_empty() {
        return Ok(());
    }
    inner.make_durable(frozen.log_floor - 1).await?;
    let began = inner.env.boot_nanos();
    let mut added = Vec::new();
    let written = write_stores(inner, table, open, &frozen, &mut added).await;
    let outgrown = matches!(&written, Err(Error::TooLarge { .. }));
    open.set_outgrown(outgrown);
    let sstables = match written {
        Ok(sstables) => sstables,
        Err(error) => {
            let structures = added.iter().flat_map(SstableEntry::structures);
            inner.remove_blobs(structures).await;
            return Err(error);
        }
    };
    let bytes: u64 = added.iter().map(|entry| entry.bytes()).sum();
    inner
        .commit_manifest(&[Edit::AddSstables {
            table: table.id,
            added,
            removed: Vec::new(),
            log_floor: Some(frozen.log_floor),
        }])
        .await?;
    open.replace_sstables(&[], sstables);
    inner.forget_frozen(open, &frozen);
    let nanos = inner.env.boot_nanos().saturating_sub(began);
    inner.tallies.flushes.add(nanos);
    inner
        .tallies
        .flushed_bytes
        .fetch_add(bytes, Ordering::Relaxed);
    inner.forming.ask(Errand::Release);
    // Also where all who could merge are busy.
    compact::note_waiting(inner, &table.options.load().compaction, open);
    inner.jobs.add(Job::Compact(table.id));
    Ok(())
}

/// An SSTable for each store that has something. `added` names all that was written, also after an error.
async fn write_stores<B: Backend>(
    inner: &Arc<Inner<B>>,
    table: &Table,
    open: &Arc<OpenTable>,
    frozen: &Frozen,
    added: &mut Vec<SstableEntry>,
) -> Result<Vec<Arc<Sstable>>> {
    let mut sstables = Vec::new();
    for (store, memtables) in frozen.by_store() {
        let mut writer = inner.writer_options(table, store).await;
        writer.id += added.len() as u64;
        if let Some(entry) = write_store(inner, open, &memtables, writer).await? {
            added.push(entry.clone());
            sstables.push(open_new(inner, open, &entry, &open.ring()).await?);
        }
    }
    Ok(sstables)
}

async fn write_store<B: Backend>(
    inner: &Arc<Inner<B>>,
    open: &Arc<OpenTable>,
    memtables: &[Arc<Memtable>],
    writer: WriterOptions,
) -> Result<Option<SstableEntry>> {
    check_lease(inner, open)?;
    let cursors = memtables.iter().map(|memtable| memtable.shared_cursor());
    let mut merge = Merge::new(cursors.collect());
    merge
        .seek(&PartitionBound::MIN)
        .map_err(Fault::without_blocks)?;
    let listed = inner
        .flushes
        .begin_flush(open.table, writer.store, memtables);
    let source = WhileLeased::new(merge, inner.clone(), open.clone(), listed.task.clone());
    let (backend, env) = (inner.backend.clone(), inner.env.clone());
    write_memtables::flush(source, backend, env, &open.ring(), writer).await
}

/// Flushes the table whose memtables are largest, of those whose key is at hand and that can be flushed at all.
pub(crate) async fn flush_largest<B: Backend>(inner: &Arc<Inner<B>>) -> Result<()> {
    let clock = Reading::now(&*inner.env);
    let largest = inner
        .tables
        .all()
        .into_iter()
        .filter(|table| table.is_open(clock))
        .filter_map(|table| Some((table.opened()?, table.id)))
        .filter(|(open, _)| !open.is_outgrown())
        .map(|(open, id)| (open.memtable_bytes(), id))
        .max();
    match largest {
        Some((bytes, id)) if bytes > 0 => flush(inner, id).await,
        _ => Ok(()),
    }
}

/// Removes the blobs of SSTables that nobody reads any more.
pub(crate) async fn remove_obsolete<B: Backend>(inner: &Inner<B>) {
    let structures = take_obsolete(inner);
    inner.remove_blobs(structures.into_iter()).await;
}

/// What SSTables that nobody reads any more are made of, for who removes it; nothing of them is in memory.
pub(super) fn take_obsolete<B: Backend>(inner: &Inner<B>) -> Vec<StructureId> {
    let unread: Vec<StructureId> = {
        let mut obsolete = inner
            .obsolete
            .lock()
            .expect("no holder of this lock panics");
        let (unread, read): (Vec<_>, Vec<_>) = std::mem::take(&mut *obsolete)
            .into_iter()
            .partition(|sstable| Arc::strong_count(sstable) == 1);
        *obsolete = read;
        let structures = unread.iter().flat_map(|sstable| sstable.structures());
        structures.copied().collect()
    };
    if !unread.is_empty() {
        inner.cache.forget(&unread.iter().copied().collect());
    }
    unread
}

/// Makes an exchange of SSTables durable, then visible. If a truncation was faster, what was made of the old ones is thrown away.
pub(super) async fn exchange<B: Backend>(
    inner: &Arc<Inner<B>>,
    table: &Table,
    open: &Arc<OpenTable>,
    removed: Vec<u64>,
    mut added: Vec<SstableEntry>,
    rewrites_before: u64,
) -> Result<()> {
    let _rewriting = table.rewriting.lock().await;
    let made: Vec<StructureId> = added.iter().flat_map(SstableEntry::structures).collect();
    let prepared = prepare(inner, table, open, &removed, &mut added).await;
    let opened = match prepared {
        Ok(Some(opened)) => opened,
        unfit => {
            inner.remove_blobs(made.into_iter()).await;
            return unfit.map(drop);
        }
    };
    let again = match table.rewrites.load(Ordering::Acquire) == rewrites_before {
        true => None,
        false => inner.rewrite_with(open.table, &added).await,
    };
    let mut edits = vec![Edit::AddSstables {
        table: open.table,
        added,
        removed: removed.clone(),
        log_floor: None,
    }];
    edits.extend(again);
    inner.commit_manifest(&edits).await?;
    if edits.len() > 1 {
        inner.jobs.add(Job::Rewrite(open.table));
    }
    let before = open.sstables();
    open.replace_sstables(&removed, opened);
    let replaced = before
        .iter()
        .filter(|sstable| removed.contains(&sstable.id()));
    inner.retire(replaced.cloned());
    Ok(())
}

/// Gives new SSTables their ids and the key of today, and opens them. None if not all of those they replace are there any more.
async fn prepare<B: Backend>(
    inner: &Arc<Inner<B>>,
    table: &Table,
    open: &Arc<OpenTable>,
    removed: &[u64],
    added: &mut [SstableEntry],
) -> Result<Option<Vec<Arc<Sstable>>>> {
    check_lease(inner, open)?;
    let present = open.sstables();
    let is_there = |id: &u64| present.iter().any(|sstable| sstable.id() == *id);
    if !removed.iter().all(is_there) {
        return Ok(None);
    }
    let ring = open.ring();
    let mut opened = Vec::with_capacity(added.len());
    let mut next_id = inner.writer_options(table, Store::BASE).await.id;
    for entry in added {
        entry.id = next_id;
        next_id += 1;
        // The table's key may have been switched while the merge ran.
        for component in &mut entry.components {
            if component.wrapped.version != ring.active_version() {
                let (structure, kind) = (component.structure, component.kind);
                component.wrapped = ring
                    .rewrap(&component.wrapped, structure, kind, inner.env.entropy())
                    .map_err(|error| from_crypto(error, table.id))?;
            }
        }
        opened.push(open_new(inner, open, entry, &ring).await?);
    }
    Ok(Some(opened))
}

/// Opens an SSTable that was just written.
async fn open_new<B: Backend>(
    inner: &Inner<B>,
    open: &OpenTable,
    entry: &SstableEntry,
    ring: &KeyRing,
) -> Result<Arc<Sstable>> {
    let may_go_on = || check_lease(inner, open);
    Sstable::open(&Leased::new(&*inner.backend, &may_go_on), entry, ring).await
}

/// A cursor over memtables that ends with an error once the table's lease does: a lock does not wait until the last partition is written. Where it looks, it tells how
/// far it is.
struct WhileLeased<S, B: Backend> {
    source: S,
    inner: Arc<Inner<B>>,
    open: Arc<OpenTable>,
    flush: Arc<Flush>,
    /// Left behind so far.
    partitions: u64,
    until_check: u32,
}

/// Items written between two looks at the clock.
const ITEMS_BETWEEN_CHECKS: u32 = 256;

impl<S: Source, B: Backend> WhileLeased<S, B> {
    fn new(source: S, inner: Arc<Inner<B>>, open: Arc<OpenTable>, flush: Arc<Flush>) -> Self {
        WhileLeased {
            source,
            inner,
            open,
            flush,
            partitions: 0,
            until_check: ITEMS_BETWEEN_CHECKS,
        }
    }

    fn check(&mut self) -> Result<(), Fault> {
        self.until_check -= 1;
        if self.until_check == 0 {
            self.until_check = ITEMS_BETWEEN_CHECKS;
            self.flush.reach(self.partitions);
            check_lease(&self.inner, &self.open).map_err(Fault::Error)?;
        }
        Ok(())
    }
}

impl<S: Source, B: Backend> Source for WhileLeased<S, B> {
    fn seek(&mut self, from: &PartitionBound) -> Result<(), Fault> {
        self.source.seek(from)
    }
    fn partition(&mut self) -> Result<Option<&PartitionHead>, Fault> {
        self.check()?;
        self.source.partition()
    }
    fn open(&mut self, slices: &Slices, reversed: bool) -> Result<(), Fault> {
        self.source.open(slices, reversed)
    }
    fn peek(&mut self) -> Result<Option<&Item>, Fault> {
        self.check()?;
        self.source.peek()
    }
    fn pop(&mut self) -> Item {
        self.source.pop()
    }
    fn gap(&self) -> Option<Deletion> {
        self.source.gap()
    }
    fn next_partition(&mut self) -> Result<(), Fault> {
        self.partitions += 1;
        self.source.next_partition()
    }
}

pub(super) fn check_lease<B: Backend>(inner: &Inner<B>, open: &OpenTable) -> Result<()> {
    open.may_go_on(Reading::now(&*inner.env))
}

impl<B: Backend> Inner<B> {
    /// A rewrite that these SSTables belong to as well: their data keys were drawn before it was asked for.
    async fn rewrite_with(&self, table: TableId, added: &[SstableEntry]) -> Option<Edit> {
        let below = added.iter().map(|entry| entry.id + 1).max()?;
        let manifest = self.manifest.lock().await;
        let state = manifest.state().tables.get(&table)?;
        let so_far = state.rewrite.map_or(0, |rewrite| rewrite.total);
        let rewrite = Rewrite {
            below,
            total: so_far.saturating_add(u32::try_from(added.len()).unwrap_or(u32::MAX)),
        };
        Some(Edit::Rewrite { table, rewrite })
    }

    /// How the next SSTable of a table's store is written.
    pub(super) async fn writer_options(&self, table: &Table, store: Store) -> WriterOptions {
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
            store,
            block_bytes: options.block_bytes,
            compression: options.compression,
            row_bytes_max: self.options.row_bytes_max.min(ROW_BYTES_MAX),
        }
    }
}
