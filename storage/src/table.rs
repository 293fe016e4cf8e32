//! One table: its gate, and behind it the memtables, SSTables and key ring.
//!
//! ```text
//! closed (dormant, locked, not yet opened) --unlock--> open --lock / sleep--> closed
//! ```
//!
//! Everything that needs the table's key lives in [`OpenTable`], and nothing of it lives anywhere else but in the cache and in the log's sealer. Whoever
//! works on the table holds a [`Pass`], a counted reference that [`Table::pass`] gives out only under a living lease. Closing takes the `OpenTable` away
//! from the gate and tells who still works on it to stop, waits until the last pass is returned, and drops it; dropping wipes memtables, key schedules,
//! indexes and filters.
//!
//! What must hold:
//! - While a pass of an old `OpenTable` is out, no new one is admitted: a group under way could otherwise be durable and missing from the new memtable.
//! - A lock is taken in this order: transition, merging, rewriting.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, RwLock};

use arc_swap::{ArcSwap, ArcSwapOption};
use foldhash::fast::RandomState;
use palladium_crypto::{KeyRing, TableId};

use crate::aside::SetAside;
use crate::compaction::claims::Claims;
use crate::companion::Companion;
use crate::engine::Latencies;
use crate::epoch::Epoch;
use crate::error::{Error, Result};
use crate::lease::{Lease, LeaseCell, Reading};
use crate::memtable::{Memtable, TableMemtables};
use crate::model::{EncodedUpdate, Store};
use crate::options::TableOptions;
use crate::sstable::Sstable;

/// The key ring of a table and for how long it may be used.
pub struct TableKeys {
    /// All live versions of the table's key.
    pub ring: Arc<KeyRing>,
    /// From the moment the call to the key service was sent.
    pub lease: Lease,
}

/// A table of this engine, open or closed.
pub(crate) struct Table {
    pub(crate) id: TableId,
    pub(crate) options: ArcSwap<TableOptions>,
    open: ArcSwapOption<OpenTable>,
    /// Held while the table opens, closes, switches its key or is dropped: one at a time.
    pub(crate) transition: futures::lock::Mutex<()>,
    /// Which SSTables are being merged, which may take hours. Flushes go on meanwhile, and so do merges of others.
    pub(crate) merging: Claims,
    /// The second in which compaction last looked at it without being asked.
    pub(crate) looked_at: AtomicI64,
    /// Rewrites that were asked for: a merge that drew its data keys before the newest of them has not been written for it.
    pub(crate) rewrites: AtomicU64,
    /// Held while a memtable is flushed, SSTables are exchanged or the log floor moves: one at a time.
    pub(crate) rewriting: futures::lock::Mutex<()>,
    damage: OnceLock<String>,
    /// Somebody waits to bring a switch to its end.
    pub(crate) is_to_be_settled: AtomicBool,
    /// A new root was to be put in the old one's place, and nobody knows whether it stands there.
    pub(crate) is_root_unsure: AtomicBool,
    used: AtomicBool,
    /// How often the table was told to stop: an opening that began before the last time ends without a table.
    stops: AtomicU64,
    /// The lease of an opening under way: who renews the table renews that.
    opening: Mutex<Option<Arc<LeaseCell>>>,
    /// How long its reads and writes took, open or not.
    pub(crate) latencies: Latencies,
}

/// A table that is being opened, under a lease that may be renewed meanwhile.
pub(crate) struct Opening {
    table: Arc<Table>,
    lease: Arc<LeaseCell>,
    stops: u64,
}

/// What an open table has in memory.
pub(crate) struct OpenTable {
    pub(crate) table: TableId,
    ring: ArcSwap<KeyRing>,
    lease: LeaseCell,
    /// The gate has closed: who still works on the table stops at the next block.
    is_closing: AtomicBool,
    memory: RwLock<Memory>,
    /// Ends each time when what was frozen has been forgotten.
    memories: Epoch,
    sstables: ArcSwap<Vec<Arc<Sstable>>>,
    /// SSTables that nothing is merged with, since the table was opened.
    pub(crate) aside: SetAside,
    /// SSTables that wait to be merged, when compaction last looked.
    waiting: AtomicUsize,
    /// A row in memory does not fit an SSTable: flushing it again and again would help nobody, and keep others from their turn.
    is_outgrown: AtomicBool,
}

impl Memory {
    fn frozen(&self) -> Frozen {
        Frozen {
            memtables: self.frozen.clone(),
            log_floor: self.frozen_before,
        }
    }
}

/// The memtables of a table.
struct Memory {
    active: Arc<TableMemtables>,
    /// Oldest first; they leave when their SSTables are in the manifest.
    frozen: Vec<Arc<TableMemtables>>,
    /// The first group of the log that is not in them, nor in SSTables.
    frozen_before: u64,
    /// Derived stores that have ended: what is still under way to them is not applied.
    dropped_stores: BTreeSet<Store>,
    /// What others keep beside derived stores.
    companions: BTreeMap<Store, Arc<dyn Companion>>,
    /// The newest group whose share for this table has been applied. Moves only under the lock, so that who holds it exclusively sees whole groups.
    applied: AtomicU64,
}

/// What waits to be written out, of this flush and of earlier ones that failed.
pub(crate) struct Frozen {
    /// Oldest first.
    pub(crate) memtables: Vec<Arc<TableMemtables>>,
    /// The first group of the log that the table needs once they are in SSTables.
    pub(crate) log_floor: u64,
}

impl Frozen {
    /// The memtables of each store that something was written to, the base first.
    pub(crate) fn by_store(&self) -> BTreeMap<Store, Vec<Arc<Memtable>>> {
        let mut stores: BTreeMap<Store, Vec<Arc<Memtable>>> = BTreeMap::new();
        let all = self.memtables.iter().flat_map(|memtables| memtables.all());
        for (store, memtable) in all.filter(|(_, memtable)| !memtable.is_empty()) {
            stores.entry(store).or_default().push(memtable);
        }
        stores
    }
}

/// Leave to work on an open table. While one is held the table's secrets stay in memory.
pub(crate) type Pass = Arc<OpenTable>;

impl Table {
    /// A closed table.
    pub(crate) fn new(id: TableId, options: TableOptions) -> Self {
        Table {
            id,
            options: ArcSwap::from_pointee(options),
            open: ArcSwapOption::empty(),
            transition: futures::lock::Mutex::new(()),
            merging: Claims::default(),
            looked_at: AtomicI64::new(0),
            rewrites: AtomicU64::new(0),
            rewriting: futures::lock::Mutex::new(()),
            damage: OnceLock::new(),
            is_to_be_settled: AtomicBool::new(false),
            is_root_unsure: AtomicBool::new(false),
            used: AtomicBool::new(false),
            stops: AtomicU64::new(0),
            opening: Mutex::default(),
            latencies: Latencies::default(),
        }
    }

    /// Leave to work on the table at `clock`; an error if its key is not at hand or its data is damaged.
    pub(crate) fn pass(&self, clock: Reading) -> Result<Pass> {
        if let Some(what) = self.damage.get() {
            return Err(Error::corrupt(what.clone()));
        }
        match self.open.load_full() {
            Some(open) if open.is_alive_at(clock) => {
                if !self.used.load(Ordering::Relaxed) {
                    self.used.store(true, Ordering::Relaxed);
                }
                Ok(open)
            }
            _ => Err(Error::KeyUnavailable { table: self.id }),
        }
    }

    /// Whether a pass would be given, without using the table.
    pub(crate) fn is_open(&self, clock: Reading) -> bool {
        let is_alive = |open: &Pass| open.is_alive_at(clock);
        self.damage.get().is_none() && self.open.load().as_ref().is_some_and(is_alive)
    }

    /// The open table, whatever its lease: for applying what is already durable and for closing.
    pub(crate) fn opened(&self) -> Option<Pass> {
        self.open.load_full()
    }

    /// Whether anybody asked for a pass since this was last called.
    pub(crate) fn take_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed)
    }

    /// Puts a new table behind the gate, which nobody renews yet.
    pub(crate) fn admit(&self, open: OpenTable) {
        self.open.store(Some(Arc::new(open)));
    }

    /// An opening begins, or waits for its turn: it ends without a table when its lease does, or when the table is told to stop from now on. Of two that wait the
    /// later one is renewed.
    pub(crate) fn begin_opening(self: &Arc<Self>, lease: Lease) -> Opening {
        let stops = self.stops();
        let lease = Arc::new(LeaseCell::new(lease));
        *self.opening() = Some(lease.clone());
        Opening {
            table: self.clone(),
            lease,
            stops,
        }
    }

    /// Extends the lease of the open table, or of the opening under way.
    pub(crate) fn renew(&self, lease: Lease) {
        let opening = self.opening();
        if let Some(cell) = &*opening {
            cell.set(lease);
        }
        if let Some(open) = self.opened() {
            open.renew(lease);
        }
    }

    fn opening(&self) -> MutexGuard<'_, Option<Arc<LeaseCell>>> {
        self.opening.lock().expect("no holder of this lock panics")
    }

    /// Closes the gate. The caller waits until its reference is the last.
    pub(crate) fn close(&self) -> Option<Arc<OpenTable>> {
        let open = self.open.swap(None)?;
        open.stop();
        Some(open)
    }

    /// Tells whoever works on the table, or opens it, to stop.
    pub(crate) fn stop(&self) {
        self.stops.fetch_add(1, Ordering::AcqRel);
        if let Some(open) = self.opened() {
            open.stop();
        }
    }

    pub(crate) fn stops(&self) -> u64 {
        self.stops.load(Ordering::Acquire)
    }

    /// Marks the table as damaged: it refuses everything, saying what is damaged, until an operator decides.
    pub(crate) fn set_damaged(&self, what: String) {
        let _ = self.damage.set(what);
    }

    pub(crate) fn damage(&self) -> Option<&str> {
        self.damage.get().map(String::as_str)
    }
}

impl Opening {
    /// The lease of this moment.
    pub(crate) fn lease(&self) -> Lease {
        self.lease.get()
    }

    /// Nothing is opened under a lease that has ended, or after the table was told to stop.
    pub(crate) fn may_go_on(&self, clock: Reading) -> Result<()> {
        match self.lease.get().is_alive_at(clock) && self.table.stops() == self.stops {
            true => Ok(()),
            false => Err(Error::KeyUnavailable {
                table: self.table.id,
            }),
        }
    }

    /// Puts the opened table behind the gate, under the lease of this moment.
    pub(crate) fn admit(self, open: OpenTable) {
        // Whoever renews meets either the opening or the table.
        let no_renewal_in_between = self.table.opening();
        open.renew(self.lease.get());
        self.table.open.store(Some(Arc::new(open)));
        // Before this is dropped, which takes the lock once more.
        drop(no_renewal_in_between);
    }
}

impl Drop for Opening {
    fn drop(&mut self) {
        let mut renewed = self.table.opening();
        if renewed
            .as_ref()
            .is_some_and(|lease| Arc::ptr_eq(lease, &self.lease))
        {
            *renewed = None;
        }
    }
}

/// Updates of a group whose partitions are on their way while one is applied.
const UPDATES_AHEAD: usize = 8;

impl OpenTable {
    pub(crate) fn new(
        table: TableId,
        keys: TableKeys,
        memtables: TableMemtables,
        dropped_stores: BTreeSet<Store>,
        applied: u64,
        sstables: Vec<Arc<Sstable>>,
    ) -> Self {
        OpenTable {
            table,
            ring: ArcSwap::new(keys.ring),
            lease: LeaseCell::new(keys.lease),
            is_closing: AtomicBool::new(false),
            memory: RwLock::new(Memory {
                active: Arc::new(memtables),
                frozen: Vec::new(),
                frozen_before: 0,
                dropped_stores,
                companions: BTreeMap::new(),
                applied: AtomicU64::new(applied),
            }),
            memories: Epoch::default(),
            sstables: ArcSwap::from_pointee(newest_first(sstables)),
            aside: SetAside::default(),
            waiting: AtomicUsize::new(0),
            is_outgrown: AtomicBool::new(false),
        }
    }

    /// Notes what a flush has found.
    pub(crate) fn set_outgrown(&self, is_outgrown: bool) {
        self.is_outgrown.store(is_outgrown, Ordering::Relaxed);
    }

    /// Whether a row in memory does not fit an SSTable.
    pub(crate) fn is_outgrown(&self) -> bool {
        self.is_outgrown.load(Ordering::Relaxed)
    }

    /// So many SSTables wait to be merged.
    pub(crate) fn set_waiting(&self, sstables: usize) {
        self.waiting.store(sstables, Ordering::Relaxed);
    }

    /// SSTables that wait to be merged: writers slow down for them.
    pub(crate) fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Relaxed)
    }

    pub(crate) fn ring(&self) -> Arc<KeyRing> {
        self.ring.load_full()
    }

    pub(crate) fn set_ring(&self, ring: Arc<KeyRing>) {
        self.ring.store(ring);
    }

    pub(crate) fn lease(&self) -> Lease {
        self.lease.get()
    }

    /// Whether the key may be used at `clock`.
    pub(crate) fn is_alive_at(&self, clock: Reading) -> bool {
        !self.is_closing.load(Ordering::Acquire) && self.lease.get().is_alive_at(clock)
    }

    /// No pass is given any more, and who has one stops at the next block: a lock need not wait until a flush or a switch is over.
    pub(crate) fn stop(&self) {
        self.is_closing.store(true, Ordering::Release);
    }

    /// Whether work that began earlier may go on.
    pub(crate) fn may_go_on(&self, clock: Reading) -> Result<()> {
        match self.is_alive_at(clock) {
            true => Ok(()),
            false => Err(Error::KeyUnavailable { table: self.table }),
        }
    }

    pub(crate) fn renew(&self, lease: Lease) {
        self.lease.set(lease);
    }

    /// Makes the share of group `sequence` visible, and says by how many bytes the memtable grew. Only the log's loop calls this, in order of groups.
    pub(crate) fn apply<'a>(
        &self,
        sequence: u64,
        updates: impl Iterator<Item = EncodedUpdate<'a>> + Clone,
    ) -> Result<isize> {
        let memory = self.memory.read().expect("no holder of this lock panics");
        let before = memory.active.bytes();
        let expect = |update: EncodedUpdate<'_>| {
            if update.store() == Store::BASE {
                memory.active.base().expect_write(update.key());
            }
        };
        // The first one is needed at once.
        let mut expected = updates.clone().skip(1);
        expected.by_ref().take(UPDATES_AHEAD).for_each(expect);
        for update in updates {
            expected.next().into_iter().for_each(expect);
            let store = update.store();
            if store == Store::BASE || !memory.dropped_stores.contains(&store) {
                memory.active.apply(update)?;
            }
            if store != Store::BASE
                && let Some(companion) = memory.companions.get(&store)
            {
                companion.applied(update);
            }
        }
        memory.applied.fetch_max(sequence, Ordering::Release);
        Ok(memory.active.bytes() as isize - before as isize)
    }

    /// All shares up to `sequence` are applied, or were carried to there: what is frozen from now on needs nothing before it.
    pub(crate) fn applied_up_to(&self, sequence: u64) {
        let memory = self.memory.read().expect("no holder of this lock panics");
        memory.applied.fetch_max(sequence, Ordering::Release);
    }

    /// Memtables and SSTables as they were beside one another: they are taken again if memtables were forgotten meanwhile. A merge may have forgotten the deletion
    /// of a row by then that stood in one of those memtables, because it had merged that row, too.
    #[inline]
    pub(crate) fn at_one_moment<T>(&self, take: impl FnMut() -> Result<T>) -> Result<T> {
        self.memories.within(take)
    }

    /// The memtables of a store at this moment, newest first. Reads must load these before [`OpenTable::sstables`]: a flush adds its SSTable before it removes the
    /// memtable, so that a row is seen twice rather than never.
    pub(crate) fn memtables(&self, store: Store) -> Vec<Arc<Memtable>> {
        let memory = self.memory.read().expect("no holder of this lock panics");
        std::iter::once(&memory.active)
            .chain(memory.frozen.iter().rev())
            .filter_map(|memtables| memtables.of(store))
            .collect()
    }

    /// Shows a store's memtables of this moment, newest first; like [`OpenTable::memtables`], before SSTables are loaded.
    pub(crate) fn each_memtable(
        &self,
        store: Store,
        mut see: impl FnMut(&Memtable) -> Result<()>,
    ) -> Result<()> {
        let memory = self.memory.read().expect("no holder of this lock panics");
        std::iter::once(&memory.active)
            .chain(memory.frozen.iter().rev())
            .filter_map(|memtables| memtables.of(store))
            .try_for_each(|memtable| see(&memtable))
    }

    /// What is left of a store that has ended, or that lacks an SSTable which could not be opened, is no answer: asked when a read has taken memtables and SSTables of
    /// the store.
    pub(crate) fn check_store(&self, store: Store) -> Result<()> {
        if let Some(what) = self.aside.lost_of(store) {
            return Err(Error::corrupt(what));
        }
        if store == Store::BASE {
            return Ok(());
        }
        let memory = self.memory.read().expect("no holder of this lock panics");
        match memory.dropped_stores.contains(&store) {
            true => Err(Error::Busy {
                what: "what was to be read has been dropped meanwhile".into(),
            }),
            false => Ok(()),
        }
    }

    /// By their newest timestamp, downwards.
    pub(crate) fn sstables(&self) -> Arc<Vec<Arc<Sstable>>> {
        self.sstables.load_full()
    }

    /// The oldest write to a store that is in no SSTable which can be read, in microseconds; `i64::MAX` if there is none. What an SSTable holds that could not be opened
    /// may be as old as anything.
    pub(crate) fn min_timestamp(&self, store: Store) -> i64 {
        if self.aside.lost_of(store).is_some() {
            return i64::MIN;
        }
        let memtables = self.memtables(store);
        let timestamps = memtables.iter().map(|memtable| memtable.min_timestamp());
        timestamps.min().unwrap_or(i64::MAX)
    }

    pub(crate) fn active_bytes(&self) -> usize {
        self.memory
            .read()
            .expect("no holder of this lock panics")
            .active
            .bytes()
    }

    pub(crate) fn memtable_bytes(&self) -> usize {
        let memory = self.memory.read().expect("no holder of this lock panics");
        std::iter::once(&memory.active)
            .chain(&memory.frozen)
            .map(|memtables| memtables.bytes())
            .sum()
    }

    /// Takes the active memtable out of the writers' way, if anything is in it. Gives all that is frozen now.
    pub(crate) fn freeze(&self) -> Frozen {
        let mut memory = self.memory.write().expect("no holder of this lock panics");
        if !memory.active.is_empty() {
            let memtables = std::mem::take(&mut memory.active);
            memory.frozen.push(memtables);
        }
        memory.frozen_before = memory.applied.load(Ordering::Acquire) + 1;
        memory.frozen()
    }

    /// What was frozen before and is still there.
    pub(crate) fn frozen(&self) -> Frozen {
        let memory = self.memory.read().expect("no holder of this lock panics");
        memory.frozen()
    }

    /// All that is frozen is elsewhere, durably, and can be read there: forget it.
    pub(crate) fn forget_frozen(&self) {
        let mut memory = self.memory.write().expect("no holder of this lock panics");
        let gone = std::mem::take(&mut memory.frozen);
        self.memories.end();
        // Wiped when writers are no longer held up.
        drop((memory, gone));
    }

    /// All that is frozen and some SSTables are given up together: no read has one of them without the other.
    pub(crate) fn give_up(&self, removed: &[u64]) {
        let mut memory = self.memory.write().expect("no holder of this lock panics");
        self.memories.end();
        self.replace_sstables(removed, Vec::new());
        let gone = std::mem::take(&mut memory.frozen);
        drop((memory, gone));
    }

    /// Forgets what is in memory of a derived store that has ended, and says how many bytes that was. Nothing is applied to it any more.
    pub(crate) fn drop_store(&self, store: Store) -> usize {
        let mut memory = self.memory.write().expect("no holder of this lock panics");
        memory.dropped_stores.insert(store);
        let bytes = std::iter::once(&memory.active)
            .chain(&memory.frozen)
            .map(|memtables| memtables.drop_store(store))
            .sum();
        drop(memory);
        self.detach(Some(store));
        bytes
    }

    /// Puts a companion beside a store, unless there is one. From then on it is told of what is applied; what was applied before is in memtables and SSTables.
    pub(crate) fn attach(&self, store: Store, companion: Arc<dyn Companion>) -> Result<bool> {
        let mut memory = self.memory.write().expect("no holder of this lock panics");
        if memory.dropped_stores.contains(&store) {
            return Err(Error::Invalid {
                what: format!("store {} of table {} has ended", store.0, self.table),
            });
        }
        let is_free = !memory.companions.contains_key(&store);
        if is_free {
            memory.companions.insert(store, companion);
        }
        Ok(is_free)
    }

    pub(crate) fn companion(&self, store: Store) -> Option<Arc<dyn Companion>> {
        let memory = self.memory.read().expect("no holder of this lock panics");
        memory.companions.get(&store).cloned()
    }

    /// Takes a companion away; None: all of them. Dropped when writers are no longer held up.
    pub(crate) fn detach(&self, store: Option<Store>) {
        let mut memory = self.memory.write().expect("no holder of this lock panics");
        let mut gone = match store {
            Some(_) => BTreeMap::new(),
            None => std::mem::take(&mut memory.companions),
        };
        gone.extend(store.and_then(|store| memory.companions.remove_entry(&store)));
        drop(memory);
    }

    /// The stores that have SSTables, in order.
    pub(crate) fn stores(&self) -> BTreeSet<Store> {
        let sstables = self.sstables();
        sstables.iter().map(|sstable| sstable.store()).collect()
    }

    /// Replaces SSTables: `removed` by id, those that were set aside too, `added` in their place.
    pub(crate) fn replace_sstables(&self, removed: &[u64], added: Vec<Arc<Sstable>>) {
        let current = self.sstables.load();
        let next = current
            .iter()
            .filter(|sstable| !removed.contains(&sstable.id()))
            .cloned()
            .chain(added)
            .collect();
        self.sstables.store(Arc::new(newest_first(next)));
        // Afterwards: until then a read may still have those before, and lacks what is lost.
        self.aside.forget(removed);
    }
}

/// The order in which a read of one row looks into SSTables: it stops where nothing newer can come.
fn newest_first(mut sstables: Vec<Arc<Sstable>>) -> Vec<Arc<Sstable>> {
    sstables.sort_by_key(|sstable| std::cmp::Reverse(sstable.statistics().timestamps.1));
    sstables
}

type ById = HashMap<TableId, Arc<Table>, RandomState>;

/// Which tables an engine has: read on every request, changed by DDL.
#[derive(Default)]
pub(crate) struct Tables {
    by_id: ArcSwap<ById>,
    changing: Mutex<()>,
}

impl Tables {
    pub(crate) fn get(&self, id: TableId) -> Result<Arc<Table>> {
        self.see(id, |table| Ok(table.clone()))
    }

    /// Looks at a table in passing.
    #[inline]
    pub(crate) fn see<T>(
        &self,
        id: TableId,
        look: impl FnOnce(&Arc<Table>) -> Result<T>,
    ) -> Result<T> {
        match self.by_id.load().get(&id) {
            Some(table) => look(table),
            None => Err(Error::Invalid {
                what: format!("no table {id}"),
            }),
        }
    }

    /// Whether this very table is still one of them.
    pub(crate) fn holds(&self, table: &Arc<Table>) -> bool {
        self.by_id
            .load()
            .get(&table.id)
            .is_some_and(|held| Arc::ptr_eq(held, table))
    }

    /// In the order of their ids: what is done to all of them is done in the same order each time.
    pub(crate) fn all(&self) -> Vec<Arc<Table>> {
        let mut all: Vec<Arc<Table>> = self.by_id.load().values().cloned().collect();
        all.sort_unstable_by_key(|table| table.id);
        all
    }

    /// All of an engine that starts: to insert them one by one would copy what is there for each.
    pub(crate) fn of(tables: impl Iterator<Item = Arc<Table>>) -> Tables {
        let by_id = tables.map(|table| (table.id, table)).collect();
        Tables {
            by_id: ArcSwap::from_pointee(by_id),
            changing: Mutex::default(),
        }
    }

    pub(crate) fn insert(&self, table: Arc<Table>) {
        self.change(|tables| {
            tables.insert(table.id, table);
        });
    }

    pub(crate) fn remove(&self, id: TableId) {
        self.change(|tables| {
            tables.remove(&id);
        });
    }

    fn change(&self, edit: impl FnOnce(&mut ById)) {
        let _one_at_a_time = self.changing.lock().expect("no holder of this lock panics");
        let mut next = self.by_id.load().as_ref().clone();
        edit(&mut next);
        self.by_id.store(Arc::new(next));
    }
}
