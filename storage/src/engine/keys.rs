//! Keys come and go: unlock, lock, sleep, and the switch to another key.
//!
//! ```text
//! switch    new root durable (the switch has happened) ─► new ring in use ─► manifest records the root, data keys wrapped anew ─► ACTIVE
//! unlock    root verified under its key ─► SSTables opened, log shares replayed ─► what a switch left undone ─► older keys nobody needs forgotten
//! ```
//!
//! What must hold:
//! - A new root wraps every older table key that anything still refers to.
//! - No switch begins before the manifest has recorded the one before: a root two epochs ahead would look like a foreign one.
//! - A root that is ahead of the manifest is recorded only by who has verified it under its key.
//! - Where nobody knows which of two roots stands, the one in use is put back before anything is built on it: whoever asked for the other one was told no.

use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use palladium_crypto::{KeyRing, KeyVersion, TableId};

use crate::aside::Aside;
use crate::backend::{Backend, Leased};
use crate::background::Job;
use crate::commitlog::ShareReader;
use crate::engine::tables::recorded;
use crate::engine::{Engine, Inner, record, rewrite};
use crate::env::yield_now;
use crate::error::{Error, Result};
use crate::lease::{Lease, Reading};
use crate::manifest::{Edit, Rewrite, SstableEntry, TableState};
use crate::memtable::TableMemtables;
use crate::root::{self, Root, RootState};
use crate::sealed::from_crypto;
use crate::sstable::Sstable;
use crate::table::{OpenTable, Opening, Table, TableKeys};

/// Data keys that are wrapped anew before others get a turn: some 100 microseconds.
const WRAPS_BETWEEN_YIELDS: usize = 16;
/// Shares of the log are replayed for so long before others get a turn: some are a row, some are megabytes.
const REPLAY_TURN_NANOS: u64 = 1_000_000;

impl<B: Backend> Engine<B> {
    /// Puts a table under a new root: no data moves, the table stays open. The switch has happened when the root is durable, and then this answers `Ok`; what
    /// the manifest still lacks is brought up to date in the background. After an error the old root stands, as far as anybody can say ([`Engine::is_root_sure`]), and is
    /// put back in the background where that is not sure.
    pub async fn switch_key(&self, id: TableId, root: Root, keys: TableKeys) -> Result<()> {
        let inner = self.inner.clone();
        self.to_the_end(async move { inner.switch_key(id, root, keys).await })
            .await
    }

    /// Gives every structure of a table a new data key, in the background: what the memtable holds is written out, and each SSTable written again. Answers when
    /// this is noted; a restart goes on with it.
    pub async fn rewrite(&self, id: TableId) -> Result<()> {
        let inner = self.inner.clone();
        self.to_the_end(async move { inner.begin_rewrite(id).await })
            .await
    }

    /// Tables of which a switch or a rewrite is under way, and what is left of it.
    pub async fn unsettled(&self) -> BTreeMap<TableId, Unsettled> {
        let roots = self.roots();
        let manifest = self.inner.manifest.lock().await;
        let tables = &manifest.state().tables;
        let unsettled = roots.iter().filter_map(|root| {
            let state = tables.get(&root.table)?;
            let mut left = unsettled(state, root)?;
            left.sstables_unreadable = self.inner.unreadable_of(state, root.table);
            Some((root.table, left))
        });
        unsettled.collect()
    }

    /// Whether nothing of a table is [`unsettled`](Engine::unsettled).
    pub async fn is_settled(&self, id: TableId) -> bool {
        let Some(root) = self.root(id) else {
            return true;
        };
        let manifest = self.inner.manifest.lock().await;
        let state = manifest.state().tables.get(&id);
        state.is_none_or(|state| unsettled(state, &root).is_none())
    }

    /// Versions of the table's key that something in this folder is still wrapped under: those that the next root must wrap.
    pub async fn key_versions_in_use(&self, id: TableId) -> BTreeSet<KeyVersion> {
        self.inner.versions_in_use(id).await
    }

    /// The roots of all tables.
    pub fn roots(&self) -> Vec<Root> {
        let roots = self
            .inner
            .roots
            .lock()
            .expect("no holder of this lock panics");
        roots.values().cloned().collect()
    }

    /// A table's root.
    pub fn root(&self, id: TableId) -> Option<Root> {
        self.inner.root_of(id)
    }

    /// Whether what [`Engine::root`] gives is what the next start will find. Not so where a switch has failed together with the disk, until the root in use has
    /// been put back, or the next start has found the other one.
    pub fn is_root_sure(&self, id: TableId) -> bool {
        let table = self.inner.tables.get(id);
        !table.is_ok_and(|table| table.is_root_unsure.load(Ordering::Acquire))
    }

    /// Opens a closed table: its SSTables, and what the log holds beyond them. An open one only gets the lease. Ends without a table when the lease ends, which may
    /// be renewed meanwhile ([`Engine::renew`]), or when the table is told to stop.
    pub async fn unlock(&self, id: TableId, keys: TableKeys) -> Result<()> {
        let inner = self.inner.clone();
        let table = inner.tables.get(id)?;
        // From here on: between this call and the first turn of what it starts, the table may be told to stop, and its lease may be renewed.
        let opening = table.begin_opening(keys.lease);
        self.to_the_end(async move { inner.unlock(&table, keys, opening).await })
            .await
    }

    /// Extends the lease of a table that is open or being opened.
    pub fn renew(&self, id: TableId, lease: Lease) {
        // No such table: nothing is open.
        if let Ok(table) = self.inner.tables.get(id) {
            let had_ended = self.inner.has_lease_ended(&table);
            table.renew(lease);
            if had_ended {
                self.inner.go_on(id);
            }
        }
    }

    /// Closes a table whose key is gone: stops and drains who works on it, wipes what it had in memory. Its log records stay until the key returns.
    pub async fn lock(&self, id: TableId) {
        self.stop(id);
        let inner = self.inner.clone();
        let locked = self.to_the_end(async move {
            let table = inner.tables.get(id)?;
            let _transition = table.transition.lock().await;
            inner.close_table(&table).await;
            Ok(())
        });
        // No such table, or a closed engine: nothing is open.
        let _ = locked.await;
    }

    /// Whoever works on the table stops at the next block, and whoever opens it at the next structure: the first half of [`Engine::lock`], at once.
    pub fn stop(&self, id: TableId) {
        // No such table: nothing is open.
        if let Ok(table) = self.inner.tables.get(id) {
            table.stop();
        }
    }

    /// Closes an idle table: what the memtable holds is written out first, or stays in the log if that fails.
    pub async fn sleep(&self, id: TableId) {
        let inner = self.inner.clone();
        let asleep = self.to_the_end(async move {
            let table = inner.tables.get(id)?;
            if let Err(error) = rewrite::flush(&inner, id).await {
                tracing::info!(table = %id, %error, "an idle table goes to sleep unflushed; its log records are replayed when it wakes");
            }
            let _transition = table.transition.lock().await;
            inner.close_table(&table).await;
            Ok(())
        });
        let _ = asleep.await;
    }
}

/// What a switch or a rewrite has not done yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unsettled {
    /// Structures whose data keys an older table key wraps.
    pub structures_to_wrap: usize,
    /// SSTables that still have their old data keys.
    pub sstables_to_rewrite: usize,
    /// Of these: damaged. They keep their data keys, and the rewrite its end, until an operator decides.
    pub sstables_unreadable: usize,
    /// Of so many when the rewrite was asked for.
    pub sstables_in_all: usize,
}

impl<B: Backend> Inner<B> {
    async fn begin_rewrite(self: &Arc<Self>, id: TableId) -> Result<()> {
        // What the log holds under its present key is not needed any more once this is out.
        rewrite::flush(self, id).await?;
        let table = self.tables.get(id)?;
        // No merge gives its SSTables their ids meanwhile.
        let rewriting = table.rewriting.lock().await;
        table.rewrites.fetch_add(1, Ordering::AcqRel);
        let rewrite = {
            let manifest = self.manifest.lock().await;
            let state = manifest.state().tables.get(&id);
            state.map(|state| Rewrite {
                below: state.next_sstable,
                total: u32::try_from(state.sstables.len()).unwrap_or(u32::MAX),
            })
        };
        let Some(rewrite) = rewrite else {
            return Err(Error::Invalid {
                what: format!("no table {id}"),
            });
        };
        self.commit_manifest(&[Edit::Rewrite { table: id, rewrite }])
            .await?;
        drop(rewriting);
        if let Some(open) = table.opened() {
            // Asked again, it tries again.
            open.aside.try_unreadable_again();
        }
        self.jobs.add(Job::Rewrite(id));
        Ok(())
    }

    /// How many of the SSTables that a rewrite has left could not be read.
    fn unreadable_of(&self, state: &TableState, id: TableId) -> usize {
        let open = self.tables.get(id).ok().and_then(|table| table.opened());
        open.map_or(0, |open| {
            let left = state.to_rewrite();
            left.filter(|entry| open.aside.is_unreadable(entry.id))
                .count()
        })
    }

    async fn switch_key(&self, id: TableId, root: Root, keys: TableKeys) -> Result<()> {
        let table = self.tables.get(id)?;
        let _transition = table.transition.lock().await;
        let _rewriting = table.rewriting.lock().await;
        let open = self.pass(&table)?;
        let present = self.root_of(id).ok_or_else(|| Error::Invalid {
            what: format!("table {id} has no root to switch"),
        })?;
        self.make_sure(&table, &present).await?;
        self.settle(&present, &open.ring()).await?;
        let needed = self
            .check_next_root(&present, &root, &keys.ring, &open.ring())
            .await?;
        let next = Root {
            epoch: present.epoch + 1,
            ..root
        };
        let (root, ring) = without_unneeded(next, &keys.ring, &needed);
        self.replace_root(&table, &root, &present).await?;
        self.set_root(root.clone());
        open.set_ring(ring.clone());
        open.renew(keys.lease);
        // The log draws a new data key by itself when it sees another version; this is for a switch that keeps the number.
        // Afterwards no group under way is sealed under a version that the next switch takes for unneeded.
        self.forget_log_key(id).await;
        if let Err(error) = self.settle(&root, &ring).await {
            tracing::warn!(table = %id, %error, "a key switch is durable and not yet recorded");
            self.jobs.add(Job::SettleKeys(id));
        }
        Ok(())
    }

    /// Replaces the present root. Where it fails together with the disk, the present one is put back as soon as the disk lets it.
    async fn replace_root(&self, table: &Table, next: &Root, present: &Root) -> Result<()> {
        let replaced = root::replace(&*self.backend, next, present.epoch).await;
        if replaced.is_err() && !self.stands(present).await {
            table.is_root_unsure.store(true, Ordering::Release);
            self.jobs.add(Job::SettleKeys(table.id));
        }
        replaced
    }

    /// Puts back the root in use where another one may stand. In the table's transition.
    async fn make_sure(&self, table: &Table, present: &Root) -> Result<()> {
        if table.is_root_unsure.load(Ordering::Acquire) {
            root::put_back(&*self.backend, present).await?;
            table.is_root_unsure.store(false, Ordering::Release);
            tracing::info!(table = %table.id, epoch = present.epoch, "the root in use stands on the disk again, after a switch that failed");
        }
        Ok(())
    }

    /// Whether a root stands on the disk, and no other one.
    async fn stands(&self, root: &Root) -> bool {
        let found = root::load(&*self.backend, root.table).await;
        let state = found.map(|found| found.state);
        matches!(state, Ok(RootState::Live(found)) if *found == *root)
    }

    /// Refuses a root that would leave something unreadable. Gives the older versions that it must keep.
    async fn check_next_root(
        &self,
        present: &Root,
        next: &Root,
        ring: &KeyRing,
        present_ring: &KeyRing,
    ) -> Result<BTreeSet<KeyVersion>> {
        let id = present.table;
        let refused = |what: String| Err(Error::Invalid { what });
        if next.table != id || ring.table() != id {
            return refused(format!("a root of another table for table {id}"));
        }
        if next.epoch != present.epoch + 1 && !is_behind_a_prune(present, next) {
            return refused(format!(
                "a root of epoch {} for table {id}, which is at {}",
                next.epoch, present.epoch
            ));
        }
        next.verify(ring.active())?;
        let mut needed = self.versions_in_use(id).await;
        // A group under way is sealed under it.
        needed.insert(present_ring.active_version());
        let wrapped: HashSet<KeyVersion> = next.older.iter().map(|older| older.version).collect();
        for version in &needed {
            let is_kept = *version == next.version || wrapped.contains(version);
            if !is_kept || ring.key(*version).is_err() {
                return refused(format!(
                    "the new root of table {id} lacks key version {version}, which is in use"
                ));
            }
        }
        Ok(needed)
    }

    async fn versions_in_use(&self, id: TableId) -> BTreeSet<KeyVersion> {
        let entries = self.sstable_entries(id).await;
        let components = entries.iter().flat_map(|entry| &entry.components);
        let mut versions: BTreeSet<KeyVersion> = components
            .map(|component| component.wrapped.version)
            .collect();
        self.shares.of(id, |shares| {
            versions.extend(shares.values().map(|share| share.wrapped.version));
        });
        if self.log_end.get().is_some()
            && let Some(root) = self.root_of(id)
        {
            // Its last group may stand on the disk, and nobody knows: what it was sealed under, and may be any of these, is needed when it is replayed.
            versions.insert(root.version);
            versions.extend(root.older.iter().map(|older| older.version));
        }
        versions
    }

    /// Records a root that the manifest does not know, and wraps what an older key wraps under the active one. The root must have been verified.
    async fn settle(&self, root: &Root, ring: &KeyRing) -> Result<()> {
        let left = {
            let manifest = self.manifest.lock().await;
            let state = manifest.state().tables.get(&root.table);
            state.and_then(|state| what_is_left(state, root))
        };
        let Some(Left {
            is_recorded,
            entries,
        }) = left
        else {
            return Ok(());
        };
        let mut edits = Vec::new();
        if !is_recorded {
            edits.push(recorded(root));
        }
        let mut wraps = Vec::new();
        for component in entries.iter().flat_map(|entry| &entry.components) {
            if wraps.len() % WRAPS_BETWEEN_YIELDS == WRAPS_BETWEEN_YIELDS - 1 {
                yield_now().await;
            }
            let (structure, kind) = (component.structure, component.kind);
            let wrapped = ring
                .rewrap(&component.wrapped, structure, kind, self.env.entropy())
                .map_err(|error| from_crypto(error, root.table))?;
            wraps.push((structure, wrapped));
        }
        if !wraps.is_empty() {
            edits.push(Edit::Rewrap {
                table: root.table,
                epoch: root.epoch,
                wraps,
            });
        }
        self.commit_manifest(&edits).await
    }

    async fn unlock(&self, table: &Arc<Table>, keys: TableKeys, opening: Opening) -> Result<()> {
        let id = table.id;
        let _transition = table.transition.lock().await;
        if !self.tables.holds(table) {
            return Err(Error::Invalid {
                what: format!("no table {id}"),
            });
        }
        if let Some(open) = table.opened() {
            let had_ended = self.has_lease_ended(table);
            open.renew(opening.lease());
            if had_ended {
                self.go_on(id);
            }
            return Ok(());
        }
        if let Some(what) = table.damage() {
            return Err(Error::corrupt(what));
        }
        let root = self.root_of(id);
        if let Some(root) = &root {
            if keys.ring.active_version() != root.version {
                return Err(Error::Busy {
                    what: format!("the key of table {id} was switched meanwhile"),
                });
            }
            root.verify(keys.ring.active())?;
        }
        let open = self.open_table(table, keys, &opening).await?;
        if let Some(root) = root {
            let ring = open.ring();
            let settled = match self.make_sure(table, &root).await {
                Ok(()) => self.finish_switch(&root, &ring).await,
                unsure => unsure,
            };
            if let Err(error) = settled {
                tracing::warn!(table = %id, %error, "a key switch is not yet recorded");
                self.jobs.add(Job::SettleKeys(id));
            } else if let Err(error) = self.prune(table, &root, &open).await {
                tracing::warn!(table = %id, %error, "older keys that nothing refers to stay in the root");
            }
        }
        self.memtable_bytes
            .fetch_add(open.memtable_bytes(), Ordering::Relaxed);
        opening.admit(open);
        if self.is_being_rewritten(id).await {
            // What was replayed is written out: the log's data keys are to go, too.
            self.jobs.add(Job::Flush(id));
            self.jobs.add(Job::Rewrite(id));
        }
        Ok(())
    }

    /// Whether a table is open under a lease that has ended.
    fn has_lease_ended(&self, table: &Table) -> bool {
        let clock = Reading::now(&*self.env);
        let open = table.opened();
        open.is_some_and(|open| !open.lease().is_alive_at(clock))
    }

    /// What stopped at the end of a table's lease goes on under the next one: the table was not closed in between, so that nobody opens it and asks for this.
    fn go_on(&self, id: TableId) {
        self.jobs.add(Job::SettleKeys(id));
        self.jobs.add(Job::Rewrite(id));
    }

    async fn is_being_rewritten(&self, id: TableId) -> bool {
        let manifest = self.manifest.lock().await;
        let state = manifest.state().tables.get(&id);
        state.is_some_and(|state| state.rewrite.is_some())
    }

    /// Reads what an open table has in memory.
    async fn open_table(
        &self,
        table: &Table,
        keys: TableKeys,
        opening: &Opening,
    ) -> Result<OpenTable> {
        let id = table.id;
        let may_go_on = || opening.may_go_on(Reading::now(&*self.env));
        let (entries, floor, dropped_stores) = {
            let manifest = self.manifest.lock().await;
            let state = manifest.state().tables.get(&id);
            let state = state.ok_or_else(|| Error::Invalid {
                what: format!("no table {id}"),
            })?;
            let entries: Vec<SstableEntry> = state.sstables.values().cloned().collect();
            (entries, state.log_floor, state.dropped_stores.clone())
        };
        let disk = Leased::new(&*self.backend, &may_go_on);
        let mut sstables = Vec::with_capacity(entries.len());
        let mut lost = Vec::new();
        for entry in &entries {
            match Sstable::open(&disk, entry, &keys.ring).await {
                Ok(sstable) => sstables.push(sstable),
                // The others are read as ever, where nothing of their store is asked for; and the table is written.
                Err(Error::Corrupt { what }) => {
                    tracing::error!(table = %id, sstable = entry.id, what, "a damaged SSTable cannot be opened: reads of its store fail until it is given up");
                    let store = entry.store;
                    lost.push((entry.id, Aside::Lost { store, what }));
                }
                Err(other) => return Err(other),
            }
        }
        // No pass is out, so no group under way holds anything of this table: the list is complete.
        let shares = self.shares.needed_from(id, floor);
        let memtables = TableMemtables::default();
        let mut applied = floor.saturating_sub(1);
        let mut replay = ShareReader::new(&disk, &shares, &keys.ring)?;
        let mut turn_begun = Reading::now(&*self.env);
        loop {
            // What has been read already is opened under a look of its own.
            let mut now = Reading::now(&*self.env);
            if now.boot_nanos.saturating_sub(turn_begun.boot_nanos) > REPLAY_TURN_NANOS {
                // Whoever renews the lease has a turn, and so has everybody else.
                yield_now().await;
                now = Reading::now(&*self.env);
                turn_begun = now;
            }
            opening.may_go_on(now)?;
            let Some((share, records)) = replay.next().await? else {
                break;
            };
            if self.broken_groups.contains(&share.sequence) && record::spans_tables(&records)? {
                return Err(Error::corrupt(format!(
                    "group {} of the log holds writes to several tables, and the share of another one is damaged",
                    share.sequence
                )));
            }
            memtables.replay(&record::updates(records)?, &dropped_stores)?;
            applied = share.sequence;
        }
        may_go_on()?;
        let open = OpenTable::new(id, keys, memtables, dropped_stores, applied, sstables);
        for (sstable, why) in lost {
            open.aside.add(sstable, why);
        }
        Ok(open)
    }

    /// What a crash or a failed commit left of a switch: one copy of the root, the manifest's record, the wraps.
    async fn finish_switch(&self, root: &Root, ring: &KeyRing) -> Result<()> {
        let is_recorded = {
            let manifest = self.manifest.lock().await;
            let state = manifest.state().tables.get(&root.table);
            state.is_some_and(|state| is_recorded(state, root))
        };
        if !is_recorded {
            root::heal(&*self.backend, root).await?;
        }
        self.settle(root, ring).await
    }

    /// A root without the older keys that nothing refers to. Only while the table is closed: then no group under way is sealed under one of them.
    async fn prune(&self, table: &Table, root: &Root, open: &OpenTable) -> Result<()> {
        let in_use = self.versions_in_use(root.table).await;
        if root
            .older
            .iter()
            .all(|older| in_use.contains(&older.version))
        {
            return Ok(());
        }
        let mut next = root.clone();
        next.epoch += 1;
        let (pruned, ring) = without_unneeded(next, &open.ring(), &in_use);
        self.replace_root(table, &pruned, root).await?;
        self.set_root(pruned.clone());
        open.set_ring(ring);
        self.commit_manifest(&[recorded(&pruned)]).await
    }
}

/// Brings a switch to its end while the table is open. While it is being opened, which may take long, others have their turn.
pub(crate) async fn settle_open<B: Backend>(inner: &Arc<Inner<B>>, id: TableId) -> Result<()> {
    let table = inner.tables.get(id)?;
    let Some(_transition) = table.transition.try_lock() else {
        if !table.is_to_be_settled.swap(true, Ordering::AcqRel) {
            let (engine, table) = (inner.clone(), table.clone());
            inner.start(async move {
                drop(table.transition.lock().await);
                table.is_to_be_settled.store(false, Ordering::Release);
                engine.jobs.add(Job::SettleKeys(id));
            });
        }
        return Ok(());
    };
    let _rewriting = table.rewriting.lock().await;
    let Some(root) = inner.root_of(id) else {
        return Ok(());
    };
    // A closed table's, too.
    inner.make_sure(&table, &root).await?;
    let open = inner.pass(&table)?;
    inner.finish_switch(&root, &open.ring()).await
}

/// Whether the table fell asleep and was opened again while the next root was being made: opening forgets older keys that nothing refers to, which is a new epoch
/// of the same key. What follows that key follows it still; that it wraps all that is needed is looked at in any case.
fn is_behind_a_prune(present: &Root, next: &Root) -> bool {
    next.epoch <= present.epoch && next.version == present.version + 1
}

/// A root, signed anew, and a ring without the older keys that nothing refers to: they are destroyed with the root before.
fn without_unneeded(
    mut root: Root,
    ring: &KeyRing,
    needed: &BTreeSet<KeyVersion>,
) -> (Root, Arc<KeyRing>) {
    let newest = root.version;
    root.older.retain(|older| needed.contains(&older.version));
    root.fingerprints
        .retain(|(version, _)| *version == newest || needed.contains(version));
    root.sign(ring.active());
    let ring = ring.retain(|version| needed.contains(&version));
    (root, Arc::new(ring))
}

/// What the manifest lacks of a root.
struct Left {
    is_recorded: bool,
    /// SSTables with a component wrapped under an older key.
    entries: Vec<SstableEntry>,
}

fn unsettled(state: &TableState, root: &Root) -> Option<Unsettled> {
    let left = what_is_left(state, root);
    if left.is_none() && state.rewrite.is_none() {
        return None;
    }
    let entries = left.iter().flat_map(|left| &left.entries);
    Some(Unsettled {
        structures_to_wrap: entries.map(|entry| entry.components.len()).sum(),
        sstables_to_rewrite: state.to_rewrite().count(),
        sstables_unreadable: 0,
        sstables_in_all: state.rewrite.map_or(0, |rewrite| rewrite.total as usize),
    })
}

fn is_recorded(state: &TableState, root: &Root) -> bool {
    state.epoch == root.epoch && state.root_hash == root.hash()
}

fn what_is_left(state: &TableState, root: &Root) -> Option<Left> {
    let is_old = |entry: &&SstableEntry| {
        let mut components = entry.components.iter();
        components.any(|component| component.wrapped.version != root.version)
    };
    let left = Left {
        is_recorded: is_recorded(state, root),
        entries: state.sstables.values().filter(is_old).cloned().collect(),
    };
    (!left.is_recorded || !left.entries.is_empty()).then_some(left)
}
