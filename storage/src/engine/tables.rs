//! Which tables there are: create, drop, truncate.
//!
//! Durable order: a root before the manifest that records it, both before the answer; a drop destroys the root before anything is removed, and can be asked
//! for again until it has succeeded. The files of what was dropped or emptied go behind the answer: nothing in the manifest names them, and what a crash
//! leaves of them is an orphan that the next start removes.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use palladium_crypto::{StructureId, TableId};

use crate::backend::Backend;
use crate::background::Job;
use crate::commitlog::ShareAddress;
use crate::engine::group::Errand;
use crate::engine::{Engine, Floors, Inner, compact, rewrite};
use crate::error::{Error, Result};
use crate::manifest::{Edit, SstableEntry};
use crate::memtable::TableMemtables;
use crate::model::Store;
use crate::options::TableOptions;
use crate::root::{self, Root, SERVICE};
use crate::table::{Frozen, OpenTable, Table, TableKeys};

/// How often a closing gate looks whether the last pass has been returned.
const DRAIN_PAUSE: Duration = Duration::from_millis(2);

/// What a new table starts with.
pub struct NewTable {
    /// Its id.
    pub id: TableId,
    /// How it is stored.
    pub options: TableOptions,
    /// Its keys, wrapped; None for the service's own tables, whose key is derived.
    pub root: Option<Root>,
    /// Its keys.
    pub keys: TableKeys,
}

impl<B: Backend> Engine<B> {
    /// Makes a table, open. Root and manifest entry are durable when this returns.
    pub async fn create_table(&self, new: NewTable) -> Result<()> {
        let inner = self.inner.clone();
        self.to_the_end(async move { inner.create_table(new).await })
            .await
    }

    /// Whether the manifest has this table, or should.
    pub fn has_table(&self, id: TableId) -> bool {
        self.inner.tables.get(id).is_ok()
    }

    /// The ids of all tables in the manifest.
    pub fn table_ids(&self) -> Vec<TableId> {
        self.inner
            .tables
            .all()
            .iter()
            .map(|table| table.id)
            .collect()
    }

    /// Says that somebody names a table that the manifest does not have. It stands there damaged, so that nobody takes it for an empty one, until it is dropped.
    pub fn miss_table(&self, id: TableId, options: TableOptions) {
        if self.has_table(id) {
            return;
        }
        let table = Table::new(id, options);
        table.set_damaged(format!(
            "table {id} stands in the schema and not in the manifest; salvage takes what the log still holds of it, DROP TABLE ends it"
        ));
        self.inner.tables.insert(Arc::new(table));
        // What the log holds of it stays, where it is or carried to the log's end.
        self.inner.floors().tables.insert(id, 1);
        let held = self.inner.unclaimed().remove(&id);
        self.inner.shares.add(held.into_iter().flatten());
    }

    /// Destroys the roots of tables that were never made: neither the manifest has them nor `known`. Where manifest or log was damaged at the start nothing is destroyed: what
    /// named them may be what is lost.
    pub async fn sweep_roots(&self, known: &BTreeSet<TableId>) -> Result<()> {
        let inner = &self.inner;
        inner.unclaimed().clear();
        if !inner.was_whole {
            return Ok(());
        }
        for id in inner.backend.root_list().await? {
            if id != SERVICE && !known.contains(&id) && !self.has_table(id) {
                tracing::info!(table = %id, "destroying the root of a table that was never made");
                inner.backend.root_destroy(id).await?;
            }
        }
        Ok(())
    }

    /// Destroys a table: first its root, durably, so that nothing of it can be opened any more; then the manifest's entry. Its files are removed behind the answer.
    /// After an error: ask again.
    pub async fn drop_table(&self, id: TableId) -> Result<()> {
        let inner = self.inner.clone();
        self.to_the_end(async move { inner.drop_table(id).await })
            .await
    }

    /// Empties a table. What was written before is gone when this returns.
    pub async fn truncate(&self, id: TableId) -> Result<()> {
        let inner = self.inner.clone();
        self.to_the_end(async move { inner.truncate(id).await })
            .await
    }

    /// Ends a derived store of a table, whose key need not be at hand. Its number is not used again; what is still under way to it is lost, as it should be.
    /// After an error: ask again.
    pub async fn drop_store(&self, id: TableId, store: Store) -> Result<()> {
        let inner = self.inner.clone();
        self.to_the_end(async move { inner.drop_store(id, store).await })
            .await
    }

    /// The derived stores of a table that have ended.
    pub async fn dropped_stores(&self, id: TableId) -> BTreeSet<Store> {
        let manifest = self.inner.manifest.lock().await;
        let state = manifest.state().tables.get(&id);
        state.map_or_else(BTreeSet::new, |state| state.dropped_stores.clone())
    }

    /// Changes how a table is stored from now on. What is there already is merged as the new options say.
    pub fn set_options(&self, id: TableId, options: TableOptions) -> Result<()> {
        let table = self.inner.tables.get(id)?;
        let before = table.options.swap(Arc::new(options));
        if before.compaction != table.options.load().compaction && table.opened().is_some() {
            self.inner.jobs.add(Job::Compact(id));
        }
        Ok(())
    }

    /// Writes memtables out: of one table, or of all that are open.
    pub async fn flush(&self, id: Option<TableId>) -> Result<()> {
        let inner = self.inner.clone();
        self.to_the_end(async move {
            for id in inner.selected(id) {
                rewrite::flush(&inner, id).await?;
            }
            Ok(())
        })
        .await
    }

    /// Lets the log's segments go that no table needs: before an engine is closed which nobody has written to.
    pub fn release_log(&self) {
        self.inner.forming.ask(Errand::Release);
    }

    /// Merges all SSTables of one table, or of each open one.
    pub async fn compact(&self, id: Option<TableId>) -> Result<()> {
        let inner = self.inner.clone();
        self.to_the_end(async move {
            for id in inner.selected(id) {
                rewrite::flush(&inner, id).await?;
                compact::compact_all(&inner, id).await?;
            }
            rewrite::remove_obsolete(&inner).await;
            Ok(())
        })
        .await
    }
}

impl<B: Backend> Inner<B> {
    async fn create_table(&self, new: NewTable) -> Result<()> {
        if self.tables.get(new.id).is_ok() {
            return Err(Error::Invalid {
                what: format!("table {} is there already", new.id),
            });
        }
        // What the log holds under this id is from an earlier table of that name, and is not this one's.
        let last = self.make_all_durable().await?;
        let mut edits = vec![Edit::CreateTable {
            table: new.id,
            log_floor: last + 1,
        }];
        if let Some(root) = &new.root {
            root::commit(&*self.backend, root, None).await?;
            edits.push(recorded(root));
        }
        self.commit_manifest(&edits).await?;
        if let Some(root) = new.root {
            self.set_root(root);
        }
        let table = Table::new(new.id, new.options);
        let open = OpenTable::new(
            new.id,
            new.keys,
            TableMemtables::default(),
            BTreeSet::new(),
            last,
            Vec::new(),
        );
        table.admit(open);
        self.tables.insert(Arc::new(table));
        Ok(())
    }

    /// What was acknowledged so far outlives what is made or destroyed now: a definition that was removed must not come back without its table. Gives the last group.
    async fn make_all_durable(&self) -> Result<u64> {
        self.log_goes_on()?;
        let last = self.log_positions().appended;
        self.make_durable(last).await?;
        Ok(last)
    }

    async fn drop_table(self: &Arc<Self>, id: TableId) -> Result<()> {
        let table = self.tables.get(id)?;
        self.make_all_durable().await?;
        // Also whoever opens it: that may take long, and comes to nothing.
        table.stop();
        let _transition = table.transition.lock().await;
        if !self.tables.holds(&table) {
            return Ok(());
        }
        self.close_table(&table).await;
        let _rewriting = table.rewriting.lock().await;
        // From here on nobody opens it, whatever becomes of the drop.
        table.set_damaged(format!("table {id} is being dropped"));
        // Also a root that could not be read, and is in no list.
        self.backend.root_destroy(id).await?;
        self.roots
            .lock()
            .expect("no holder of this lock panics")
            .remove(&id);
        let entries = self.sstable_entries(id).await;
        self.commit_manifest(&[Edit::DropTable { table: id }])
            .await?;
        self.tables.remove(id);
        self.forming.ask(Errand::Release);
        let structures = entries.iter().flat_map(SstableEntry::structures);
        self.remove_behind(structures.collect()).await;
        Ok(())
    }

    async fn truncate(self: &Arc<Self>, id: TableId) -> Result<()> {
        let table = self.tables.get(id)?;
        // A flush that is under way is waited for before others are kept waiting.
        drop(table.rewriting.lock().await);
        // Before the table's own lock: whoever holds a latch may wait for a flush.
        let latched = self.latches.acquire_table(id).await;
        let rewriting = table.rewriting.lock().await;
        let open = self.pass(&table)?;
        self.log_goes_on()?;
        let frozen = open.freeze();
        self.make_durable(frozen.log_floor - 1).await?;
        let sstables = open.sstables();
        let lost = open.aside.lost_ids();
        let mut entries = self.sstable_entries(id).await;
        entries.retain(|entry| lost.contains(&entry.id));
        let opened = sstables.iter().map(|sstable| sstable.id());
        let removed: Vec<u64> = opened.chain(lost).collect();
        self.commit_manifest(&[Edit::AddSstables {
            table: id,
            added: Vec::new(),
            removed: removed.clone(),
            log_floor: Some(frozen.log_floor),
        }])
        .await?;
        open.give_up(&removed);
        open.set_outgrown(false);
        self.forget_frozen(&open, &frozen);
        self.retire(sstables.iter().cloned());
        // They remember what is gone.
        open.detach(None);
        drop((sstables, open, rewriting, latched));
        self.forming.ask(Errand::Release);
        let lost = entries.iter().flat_map(SstableEntry::structures);
        let obsolete = rewrite::take_obsolete(self);
        self.remove_behind(lost.chain(obsolete).collect()).await;
        Ok(())
    }

    async fn drop_store(self: &Arc<Self>, id: TableId, store: Store) -> Result<()> {
        let table = self.tables.get(id)?;
        self.make_all_durable().await?;
        // One that opens meanwhile would have what is dropped here.
        let transition = table.transition.lock().await;
        let rewriting = table.rewriting.lock().await;
        let entries = self.sstable_entries(id).await;
        let dropped = entries.iter().filter(|entry| entry.store == store);
        let dropped: Vec<&SstableEntry> = dropped.collect();
        self.commit_manifest(&[Edit::DropStore { table: id, store }])
            .await?;
        let Some(open) = table.opened() else {
            let structures = dropped.iter().flat_map(|entry| entry.structures());
            self.remove_behind(structures.collect()).await;
            return Ok(());
        };
        let bytes = open.drop_store(store);
        self.memtable_bytes.fetch_sub(bytes, Ordering::Relaxed);
        let removed: Vec<u64> = dropped.iter().map(|entry| entry.id).collect();
        let before = open.sstables();
        // The blobs of one that could not be opened go with the next start.
        open.replace_sstables(&removed, Vec::new());
        let replaced = before
            .iter()
            .filter(|sstable| removed.contains(&sstable.id()));
        self.retire(replaced.cloned());
        drop((before, open, rewriting, transition));
        self.remove_behind(rewrite::take_obsolete(self)).await;
        Ok(())
    }

    /// An error once the log has failed: its last group may be there at the next start, and no floor of today would be behind it.
    fn log_goes_on(&self) -> Result<()> {
        match self.log_end.get() {
            None => Ok(()),
            Some(_) => Err(self.why_the_log_ended()),
        }
    }

    fn selected(&self, id: Option<TableId>) -> Vec<TableId> {
        let open = |table: &Arc<Table>| table.opened().is_some();
        match id {
            Some(id) => vec![id],
            None => {
                let tables = self.tables.all().into_iter().filter(open);
                tables.map(|table| table.id).collect()
            }
        }
    }

    /// A pass at this moment.
    pub(crate) fn pass(&self, table: &Table) -> Result<Arc<OpenTable>> {
        table.pass(crate::lease::Reading::now(&*self.env))
    }

    /// Closes the gate, waits for the last pass, forgets cached plaintext and the log's data key.
    pub(crate) async fn close_table(&self, table: &Table) {
        let Some(open) = table.close() else {
            return;
        };
        while Arc::strong_count(&open) > 1 {
            self.env.sleep(DRAIN_PAUSE).await;
        }
        let structures: HashSet<StructureId> = open
            .sstables()
            .iter()
            .flat_map(|sstable| sstable.structures().to_vec())
            .collect();
        self.cache.forget(&structures);
        // Merged SSTables whose last reader has just left would stay in memory with their keys.
        rewrite::remove_obsolete(self).await;
        self.memtable_bytes
            .fetch_sub(open.memtable_bytes(), Ordering::Relaxed);
        drop(open);
        self.forget_log_key(table.id).await;
    }

    pub(crate) async fn sstable_entries(&self, id: TableId) -> Vec<SstableEntry> {
        let manifest = self.manifest.lock().await;
        let state = manifest.state().tables.get(&id);
        state
            .map(|state| state.sstables.values().cloned().collect())
            .unwrap_or_default()
    }

    /// Makes edits durable, and remembers the epoch.
    pub(crate) async fn commit_manifest(&self, edits: &[Edit]) -> Result<()> {
        let mut manifest = self.manifest.lock().await;
        manifest.note_log(self.log_positions().durable);
        if let Err(error) = manifest.commit(edits).await {
            self.doubtful()
                .extend(edits.iter().flat_map(added_structures));
            return Err(error);
        }
        self.epoch.store(manifest.sequence(), Ordering::Release);
        self.floors()
            .committed(edits, manifest.state(), manifest.sequence());
        let unreferenced = std::mem::take(&mut *self.doubtful());
        drop(manifest);
        self.remove_blobs(unreferenced.into_iter()).await;
        Ok(())
    }

    pub(crate) fn floors(&self) -> MutexGuard<'_, Floors> {
        self.floors.lock().expect("no holder of this lock panics")
    }

    fn unclaimed(&self) -> MutexGuard<'_, BTreeMap<TableId, Vec<ShareAddress>>> {
        let unclaimed = self.unclaimed.lock();
        unclaimed.expect("no holder of this lock panics")
    }

    /// Whether the manifest has lost a table that somebody names.
    pub(crate) async fn is_missed(&self, id: TableId) -> bool {
        let manifest = self.manifest.lock().await;
        !manifest.state().tables.contains_key(&id)
    }

    fn doubtful(&self) -> MutexGuard<'_, Vec<StructureId>> {
        self.doubtful.lock().expect("no holder of this lock panics")
    }

    /// Removes blobs that nothing refers to. What cannot be removed now is an orphan that the next start removes.
    pub(crate) async fn remove_blobs(&self, structures: impl Iterator<Item = StructureId>) {
        for structure in structures.collect::<Vec<_>>() {
            if let Err(error) = self.backend.blob_remove(structure).await {
                tracing::warn!(%structure, %error, "a blob that nothing refers to stays until the next start");
            }
        }
    }

    /// The same while whoever asked for it goes on, unless too many wait already: then he waits with them, and makes no more of them. A closing engine waits for it.
    async fn remove_behind(self: &Arc<Self>, structures: Vec<StructureId>) {
        if structures.is_empty() {
            return;
        }
        let waiting = Waiting::enter(&self.removals_waiting, structures.len());
        let is_long = waiting.before >= self.options.removals_waiting_max;
        let inner = self.clone();
        let removal = async move {
            let _one_at_a_time = inner.removing.lock().await;
            inner.remove_blobs(structures.into_iter()).await;
            drop(waiting);
        };
        match is_long {
            true => removal.await,
            false => self.start(removal),
        }
    }

    /// SSTables that no version holds any more.
    pub(crate) fn retire(&self, sstables: impl Iterator<Item = Arc<crate::sstable::Sstable>>) {
        self.obsolete
            .lock()
            .expect("no holder of this lock panics")
            .extend(sstables);
    }

    /// Memtables whose data is elsewhere, durably: all that were frozen. In the table's `rewriting`, so that no others are by now.
    pub(crate) fn forget_frozen(&self, open: &OpenTable, frozen: &Frozen) {
        open.forget_frozen();
        let bytes = frozen.memtables.iter().map(|memtables| memtables.bytes());
        self.memtable_bytes
            .fetch_sub(bytes.sum(), Ordering::Relaxed);
    }

    pub(crate) fn root_of(&self, id: TableId) -> Option<Root> {
        let roots = self.roots.lock().expect("no holder of this lock panics");
        roots.get(&id).cloned()
    }

    pub(crate) fn set_root(&self, root: Root) {
        let mut roots = self.roots.lock().expect("no holder of this lock panics");
        roots.insert(root.table, root);
    }
}

/// Files that wait for their removal.
struct Waiting {
    all: Arc<AtomicUsize>,
    own: usize,
    /// So many waited already.
    before: usize,
}

impl Waiting {
    fn enter(all: &Arc<AtomicUsize>, own: usize) -> Waiting {
        Waiting {
            all: all.clone(),
            own,
            before: all.fetch_add(own, Ordering::Relaxed),
        }
    }
}

impl Drop for Waiting {
    fn drop(&mut self) {
        self.all.fetch_sub(self.own, Ordering::Relaxed);
    }
}

/// The manifest's record of a root.
pub(crate) fn recorded(root: &Root) -> Edit {
    Edit::RootEpoch {
        table: root.table,
        epoch: root.epoch,
        root_hash: root.hash(),
    }
}

fn added_structures(edit: &Edit) -> Vec<StructureId> {
    match edit {
        Edit::AddSstables { added, .. } => {
            added.iter().flat_map(SstableEntry::structures).collect()
        }
        _ => Vec::new(),
    }
}
