//! What changes which tables there are and under which key: create, drop, truncate, switch, unlock, lock, sleep.
//!
//! Each holds the table's `transition`, so that one happens at a time. Durable order: a root before the manifest that records it, both before the answer;
//! a drop destroys the root before anything is removed.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use palladium_crypto::{StructureId, TableId};

use crate::backend::Backend;
use crate::commitlog;
use crate::engine::group::Errand;
use crate::engine::{Engine, Inner, record, rewrite};
use crate::error::{Error, Result};
use crate::lease::Lease;
use crate::manifest::{Edit, SstableEntry};
use crate::memtable::Memtable;
use crate::options::TableOptions;
use crate::root::{self, Root};
use crate::sstable::Sstable;
use crate::table::{OpenTable, Table, TableKeys};

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
        let inner = &self.inner;
        if inner.tables.get(new.id).is_ok() {
            return Err(Error::Invalid {
                what: format!("table {} is there already", new.id),
            });
        }
        let mut edits = vec![Edit::CreateTable {
            table: new.id,
            log_floor: 0,
        }];
        if let Some(root) = &new.root {
            root::commit(&*inner.backend, root, None).await?;
            edits.push(recorded(root));
        }
        inner.commit_manifest(&edits).await?;
        if let Some(root) = new.root {
            inner
                .roots
                .lock()
                .expect("no holder of this lock panics")
                .insert(new.id, root);
        }
        let table = Table::new(new.id, new.options);
        table.admit(OpenTable::new(
            new.id,
            new.keys,
            Memtable::new(),
            0,
            Vec::new(),
        ));
        inner.tables.insert(Arc::new(table));
        Ok(())
    }

    /// Whether the manifest has this table.
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

    /// Destroys a table: first its root, durably, so that nothing of it can be opened any more; then the rest.
    pub async fn drop_table(&self, id: TableId) -> Result<()> {
        let inner = &self.inner;
        let table = inner.tables.get(id)?;
        let _transition = table.transition.lock().await;
        let _rewriting = table.rewriting.lock().await;
        inner.tables.remove(id);
        inner.close_table(&table).await;
        let has_root = inner
            .roots
            .lock()
            .expect("no holder of this lock panics")
            .remove(&id)
            .is_some();
        if has_root {
            inner.backend.root_destroy(id).await?;
        }
        let entries = inner.sstable_entries(id).await;
        inner
            .commit_manifest(&[Edit::DropTable { table: id }])
            .await?;
        inner.forming.ask(Errand::Release);
        for component in entries.iter().flat_map(|entry| &entry.components) {
            inner.backend.blob_remove(component.structure).await?;
        }
        Ok(())
    }

    /// Empties a table. What was written before is gone when this returns.
    pub async fn truncate(&self, id: TableId) -> Result<()> {
        let inner = &self.inner;
        let table = inner.tables.get(id)?;
        let _rewriting = table.rewriting.lock().await;
        let open = inner.pass(&table)?;
        let log_floor = open.freeze();
        let sstables = open.sstables();
        let removed: Vec<u64> = sstables.iter().map(|sstable| sstable.id()).collect();
        inner
            .commit_manifest(&[Edit::AddSstables {
                table: id,
                added: Vec::new(),
                removed: removed.clone(),
                log_floor: Some(log_floor),
            }])
            .await?;
        open.replace_sstables(&removed, Vec::new());
        for memtable in open.unflushed() {
            inner.forget_memtable(&open, &memtable);
        }
        inner.retire(sstables.iter().cloned());
        inner.forming.ask(Errand::Release);
        Ok(())
    }

    /// Changes how a table is stored from now on.
    pub fn set_options(&self, id: TableId, options: TableOptions) -> Result<()> {
        self.inner.tables.get(id)?.options.store(Arc::new(options));
        Ok(())
    }

    /// Puts a table under a new root: no data moves, the table stays open. The switch has happened when the root is durable.
    pub async fn switch_key(&self, id: TableId, root: Root, keys: TableKeys) -> Result<()> {
        let inner = &self.inner;
        let table = inner.tables.get(id)?;
        let _transition = table.transition.lock().await;
        let _rewriting = table.rewriting.lock().await;
        let open = inner.pass(&table)?;
        root::commit(&*inner.backend, &root, Some(root.epoch - 1)).await?;
        inner
            .roots
            .lock()
            .expect("no holder of this lock panics")
            .insert(id, root.clone());
        inner.forming.ask(Errand::RollKey(id));
        let ring = keys.ring.clone();
        open.set_ring(keys.ring);
        open.renew(keys.lease);
        let mut edits = vec![recorded(&root)];
        let wraps = inner
            .sstable_entries(id)
            .await
            .iter()
            .flat_map(|entry| &entry.components)
            .map(|component| {
                let wrapped = ring
                    .rewrap(
                        &component.wrapped,
                        component.structure,
                        component.kind,
                        inner.env.entropy(),
                    )
                    .map_err(|error| crate::sealed::from_crypto(error, id))?;
                Ok((component.structure, wrapped))
            })
            .collect::<Result<Vec<_>>>()?;
        if !wraps.is_empty() {
            edits.push(Edit::Rewrap {
                table: id,
                epoch: root.epoch,
                wraps,
            });
        }
        inner.commit_manifest(&edits).await
    }

    /// The roots of all tables.
    pub fn roots(&self) -> Vec<Root> {
        self.inner
            .roots
            .lock()
            .expect("no holder of this lock panics")
            .values()
            .cloned()
            .collect()
    }

    /// A table's root.
    pub fn root(&self, id: TableId) -> Option<Root> {
        self.inner
            .roots
            .lock()
            .expect("no holder of this lock panics")
            .get(&id)
            .cloned()
    }

    /// Opens a closed table: its SSTables, and what the log holds beyond them. An open one only gets the lease.
    pub async fn unlock(&self, id: TableId, keys: TableKeys) -> Result<()> {
        let inner = &self.inner;
        let table = inner.tables.get(id)?;
        let _transition = table.transition.lock().await;
        if let Some(open) = table.opened() {
            open.renew(keys.lease);
            return Ok(());
        }
        if let Some(what) = table.damage() {
            return Err(Error::corrupt(what));
        }
        let (entries, floor) = {
            let manifest = inner.manifest.lock().await;
            let state = manifest.state().tables.get(&id);
            let entries: Vec<SstableEntry> = state
                .map(|state| state.sstables.values().cloned().collect())
                .unwrap_or_default();
            (entries, state.map_or(0, |state| state.log_floor))
        };
        let mut sstables = Vec::with_capacity(entries.len());
        for entry in &entries {
            sstables.push(Sstable::open(&*inner.backend, entry, &keys.ring).await?);
        }
        let memtable = Memtable::new();
        let shares: Vec<(u64, commitlog::ShareAddress)> = inner
            .shares
            .lock()
            .expect("no holder of this lock panics")
            .get(&id)
            .map(|shares| {
                shares
                    .range(floor..)
                    .map(|(sequence, address)| (*sequence, address.clone()))
                    .collect()
            })
            .unwrap_or_default();
        let mut applied = floor.saturating_sub(1);
        for (sequence, address) in shares {
            let records = commitlog::read_share(&*inner.backend, &address, &keys.ring).await?;
            for mutation in record::mutations(records)? {
                memtable.apply(&mutation.key, &mutation.update)?;
            }
            applied = sequence;
        }
        inner
            .memtable_bytes
            .fetch_add(memtable.bytes(), Ordering::Relaxed);
        table.admit(OpenTable::new(id, keys, memtable, applied, sstables));
        Ok(())
    }

    /// Extends the lease of an open table.
    pub fn renew(&self, id: TableId, lease: Lease) {
        if let Some(open) = self
            .inner
            .tables
            .get(id)
            .ok()
            .and_then(|table| table.opened())
        {
            open.renew(lease);
        }
    }

    /// Closes a table whose key is gone: drains who works on it, wipes what it had in memory. Its log records stay until the key returns.
    pub async fn lock(&self, id: TableId) {
        let Ok(table) = self.inner.tables.get(id) else {
            return;
        };
        let _transition = table.transition.lock().await;
        self.inner.close_table(&table).await;
    }

    /// Closes an idle table: what the memtable holds is written out first, or stays in the log if that fails.
    pub async fn sleep(&self, id: TableId) {
        let Ok(table) = self.inner.tables.get(id) else {
            return;
        };
        if let Err(error) = rewrite::flush(&self.inner, id).await {
            tracing::info!(table = %id, %error, "an idle table goes to sleep unflushed; its log records are replayed when it wakes");
        }
        let _transition = table.transition.lock().await;
        self.inner.close_table(&table).await;
    }

    /// Writes memtables out: of one table, or of all that are open.
    pub async fn flush(&self, id: Option<TableId>) -> Result<()> {
        for id in self.selected(id) {
            rewrite::flush(&self.inner, id).await?;
        }
        Ok(())
    }

    /// Merges all SSTables of one table, or of each open one.
    pub async fn compact(&self, id: Option<TableId>) -> Result<()> {
        for id in self.selected(id) {
            rewrite::flush(&self.inner, id).await?;
            rewrite::compact_all(&self.inner, id).await?;
        }
        rewrite::remove_obsolete(&self.inner).await;
        Ok(())
    }

    fn selected(&self, id: Option<TableId>) -> Vec<TableId> {
        match id {
            Some(id) => vec![id],
            None => {
                let open = self
                    .inner
                    .tables
                    .all()
                    .into_iter()
                    .filter(|table| table.opened().is_some());
                open.map(|table| table.id).collect()
            }
        }
    }
}

impl<B: Backend> Inner<B> {
    /// A pass at this moment.
    pub(crate) fn pass(&self, table: &Table) -> Result<Arc<OpenTable>> {
        table.pass(crate::lease::Reading::now(&*self.env))
    }

    /// Closes the gate, waits for the last pass, forgets cached plaintext.
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
        self.memtable_bytes
            .fetch_sub(open.memtable_bytes(), Ordering::Relaxed);
    }

    async fn sstable_entries(&self, id: TableId) -> Vec<SstableEntry> {
        let manifest = self.manifest.lock().await;
        let state = manifest.state().tables.get(&id);
        state
            .map(|state| state.sstables.values().cloned().collect())
            .unwrap_or_default()
    }

    /// Makes edits durable, and remembers the epoch.
    pub(crate) async fn commit_manifest(&self, edits: &[Edit]) -> Result<()> {
        let mut manifest = self.manifest.lock().await;
        manifest.note_log(self.durable.load(Ordering::Acquire));
        manifest.commit(edits).await?;
        self.epoch.store(manifest.sequence(), Ordering::Release);
        Ok(())
    }

    /// SSTables that no version holds any more.
    pub(crate) fn retire(&self, sstables: impl Iterator<Item = Arc<Sstable>>) {
        self.obsolete
            .lock()
            .expect("no holder of this lock panics")
            .extend(sstables);
    }

    /// A memtable whose data is elsewhere, durably.
    pub(crate) fn forget_memtable(&self, open: &OpenTable, memtable: &Arc<Memtable>) {
        open.forget(memtable);
        self.memtable_bytes
            .fetch_sub(memtable.bytes(), Ordering::Relaxed);
    }
}

/// The manifest's record of a root.
fn recorded(root: &Root) -> Edit {
    Edit::RootEpoch {
        table: root.table,
        epoch: root.epoch,
        root_hash: root.hash(),
    }
}
