//! Compaction of one table: let its strategy choose, see that it fits the disk, merge, exchange.
//!
//! ```text
//! compact_once   what the strategy chooses, of what nobody else merges     after each flush and merge, and once in a while (`background`)
//! compact_all    everything, each store by itself                          an operator's order; has the table for itself
//! rewrite_once   one SSTable under new data keys                           a key switch with 'rewrite'; has the table for itself
//! ```
//!
//! What must hold: a merge is begun only where what it may write has room, with something left for the log; stores never meet.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use palladium_crypto::TableId;
use tracing::Instrument;

use crate::SPANS;
use crate::aside::Aside;
use crate::backend::Backend;
use crate::background::Job;
use crate::compaction::task::oldest_outside;
use crate::compaction::{
    Choice, Circumstances, CompactionOptions, MergeTask, Outputs, Plan, SstableSummary, merge,
};
use crate::engine::Inner;
use crate::engine::rewrite::{check_lease, exchange};
use crate::error::{Error, Result};
use crate::manifest::SstableEntry;
use crate::model::{PartitionKey, Store};
use crate::sstable::{Sstable, WriterOptions};
use crate::table::{OpenTable, Table};

/// Segments for which a merge leaves room: the log must go on while one is written.
const LOG_SEGMENTS_LEFT: u64 = 2;

/// Lets the table's strategy choose once, and does it. Says whether there was anything to do.
pub(crate) async fn compact_once<B: Backend>(inner: &Arc<Inner<B>>, id: TableId) -> Result<bool> {
    let table = inner.tables.get(id)?;
    let Some(open) = table.opened() else {
        return Ok(false);
    };
    check_lease(inner, &open)?;
    let options = table.options.load_full();
    note_waiting(inner, &options.compaction, &open);
    let free = inner.backend.room().await?;
    // Each time another store has the first turn: none waits for ever behind one that always has something to do.
    let mut stores: Vec<Store> = open.stores().into_iter().collect();
    let turn = inner.merges.begun() as usize % stores.len().max(1);
    stores.rotate_left(turn);
    for store in stores {
        let claimed = table.merging.claim(|busy| {
            let choice = choose(inner, &options.compaction, &table, &open, store, busy);
            match choice {
                Choice::Rest => None,
                Choice::Forget(ids) => Some((ids, None)),
                Choice::Merge(plan) => {
                    // Others may have begun since it was asked what is free.
                    let plan = fitting(plan, &summaries(&open, store), inner.room_of(free))
                        .inspect_err(|error| tracing::warn!(table = %id, %error, "a merge waits"))
                        .ok()?;
                    Some((plan.sstables.clone(), Some(plan)))
                }
            }
        });
        let Some((claim, plan)) = claimed else {
            continue;
        };
        match plan {
            Some(plan) => {
                // Whoever is free merges others of this table meanwhile.
                inner.jobs.add(Job::Compact(id));
                let merged = merge_sstables(inner, &table, &open, &plan).await;
                let is_too_large =
                    matches!(&merged, Err(MergeError::Merging(Error::TooLarge { .. })));
                if is_too_large {
                    // Which of them have the row is not known.
                    for sstable in &plan.sstables {
                        open.aside.add(*sstable, Aside::Apart);
                    }
                }
                let mut chosen = plan.sstables.iter();
                if is_too_large || chosen.any(|sstable| open.aside.is_unreadable(*sstable)) {
                    // What was in the way is set aside, and the others are merged without it.
                    drop(claim);
                    inner.jobs.add(Job::Compact(id));
                    return merged.map(|()| true).map_err(Error::from);
                }
                merged?;
            }
            None => {
                let expired = claim.sstables().to_vec();
                let rewrites = table.rewrites.load(Ordering::Acquire);
                exchange(inner, &table, &open, expired, Vec::new(), rewrites).await?;
            }
        }
        drop(claim);
        note_waiting(inner, &options.compaction, &open);
        inner.jobs.add(Job::Compact(id));
        return Ok(true);
    }
    Ok(false)
}

/// Whether there is anything to do for a table in which nothing else happens: time alone ends windows, and lets SSTables expire. Answers only as often as its
/// owner wants it looked at.
pub(crate) fn is_due<B: Backend>(inner: &Inner<B>, table: &Table) -> bool {
    let options = table.options.load();
    let now = inner.env.wall_micros().div_euclid(1_000_000);
    let looked_at = table.looked_at.load(Ordering::Relaxed);
    // A clock that was set back makes it wait no longer.
    let is_early = now >= looked_at && now - looked_at < options.compaction.expiry.check_seconds;
    if !options.compaction.enabled || is_early {
        return false;
    }
    let Some(open) = table.opened() else {
        return false;
    };
    table.looked_at.store(now, Ordering::Relaxed);
    let nobody = BTreeSet::new();
    open.stores().into_iter().any(|store| {
        choose(inner, &options.compaction, table, &open, store, &nobody) != Choice::Rest
    })
}

/// Writes the oldest SSTable that is left of a rewrite, and that there is room for, again: merged with nothing but itself it gets new data keys. One that is damaged stays as it
/// is, and is left out until the table is opened again.
pub(crate) async fn rewrite_once<B: Backend>(inner: &Arc<Inner<B>>, id: TableId) -> Result<()> {
    let table = inner.tables.get(id)?;
    let _whole = table.merging.claim_all(&*inner.env).await;
    let Some(open) = table.opened() else {
        // Whoever unlocks it asks again.
        return Ok(());
    };
    check_lease(inner, &open)?;
    let left: Vec<(Plan, Store)> = {
        let manifest = inner.manifest.lock().await;
        let state = manifest.state().tables.get(&id);
        let left = state.iter().flat_map(|state| state.to_rewrite());
        left.filter(|entry| !open.aside.is_unreadable(entry.id))
            .map(|entry| (alone(entry), entry.store))
            .collect()
    };
    let room = inner.room_of(inner.backend.room().await?);
    let mut waits = None;
    let fits = left.into_iter().find_map(|(plan, store)| {
        fitting(plan, &summaries(&open, store), room)
            .map_err(|error| waits = Some(error))
            .ok()
    });
    let Some(plan) = fits else {
        return waits.map_or(Ok(()), Err);
    };
    let sstable = plan.sstables[0];
    let written = merge_sstables(inner, &table, &open, &plan).await;
    // Of what else is damaged, the manifest or the SSTable that was written just now, this one is not to blame.
    if let Err(MergeError::Merging(Error::Corrupt { what })) = &written {
        tracing::error!(table = %id, sstable, what, "a damaged SSTable keeps its data keys: a rewrite goes on without it");
        open.aside.add(sstable, Aside::Unreadable);
        inner.jobs.add(Job::Rewrite(id));
        return Ok(());
    }
    // The key was switched so often meanwhile that the one this was written under is gone.
    if let Err(MergeError::Exchanging(Error::KeyUnavailable { .. })) = &written
        && check_lease(inner, &open).is_ok()
    {
        inner.jobs.add(Job::Rewrite(id));
        return Ok(());
    }
    written?;
    inner.jobs.add(Job::Rewrite(id));
    Ok(())
}

/// Merges all SSTables of a table, as its strategy wants them to lie, each store by itself. An error if the disk has no room for it: nothing of that was begun.
pub(crate) async fn compact_all<B: Backend>(inner: &Arc<Inner<B>>, id: TableId) -> Result<()> {
    let table = inner.tables.get(id)?;
    let _whole = table.merging.claim_all(&*inner.env).await;
    let Some(open) = table.opened() else {
        return Ok(());
    };
    check_lease(inner, &open)?;
    let options = table.options.load_full();
    for store in open.stores() {
        let own = options.compaction.of_store(store);
        let summaries = summaries(&open, store);
        let all: Vec<&SstableSummary> = summaries.iter().collect();
        let now = inner.env.wall_micros().div_euclid(1_000_000);
        for plan in own.strategy.choose_all(&all, now) {
            let free = inner.backend.room().await?;
            let whole = Plan {
                is_divisible: false,
                ..plan
            };
            let plan = fitting(whole, &summaries, inner.room_of(free))?;
            merge_sstables(inner, &table, &open, &plan).await?;
        }
    }
    note_waiting(inner, &options.compaction, &open);
    Ok(())
}

fn choose<B: Backend>(
    inner: &Inner<B>,
    options: &CompactionOptions,
    table: &Table,
    open: &OpenTable,
    store: Store,
    busy: &BTreeSet<u64>,
) -> Choice {
    // Memtables first: a flush adds its SSTable before it removes the memtable, so that between the two nothing is missed.
    let circumstances = inner.circumstances(table, open, store);
    let options = options.of_store(store);
    options.choose(&summaries(open, store), busy, circumstances)
}

fn summaries(open: &OpenTable, store: Store) -> Vec<SstableSummary> {
    let sstables = open.sstables();
    let own = sstables.iter().filter(|sstable| sstable.store() == store);
    own.map(|sstable| SstableSummary {
        is_set_aside: open.aside.has(sstable.id()),
        ..sstable.summary()
    })
    .collect()
}

/// Tells writers how far compaction is behind.
pub(super) fn note_waiting<B: Backend>(
    inner: &Inner<B>,
    options: &CompactionOptions,
    open: &OpenTable,
) {
    let now = inner.env.wall_micros().div_euclid(1_000_000);
    let stores = open.stores().into_iter();
    let waiting = stores.map(|store| {
        let options = options.of_store(store);
        options.waiting(&summaries(open, store), now)
    });
    open.set_waiting(waiting.max().unwrap_or(0));
}

/// Writes an SSTable again as it is.
fn alone(entry: &SstableEntry) -> Plan {
    Plan {
        sstables: vec![entry.id],
        level: entry.level,
        outputs: Outputs::One,
        is_divisible: false,
    }
}

/// The plan, or what of it there is room for.
fn fitting(plan: Plan, summaries: &[SstableSummary], room: Option<u64>) -> Result<Plan> {
    let Some(room) = room else {
        return Ok(plan);
    };
    let needed = plan.bytes_needed(summaries);
    plan.within(summaries, room).ok_or_else(|| Error::Full {
        what: format!("a merge may write {needed} bytes, and there is room for {room}"),
    })
}

/// Why SSTables were not replaced by what they were to be merged into.
enum MergeError {
    /// They could not be read, or the new one not be written.
    Merging(Error),
    /// What they were merged into did not take their place.
    Exchanging(Error),
}

impl From<MergeError> for Error {
    fn from(error: MergeError) -> Error {
        match error {
            MergeError::Merging(error) | MergeError::Exchanging(error) => error,
        }
    }
}

/// Merges SSTables of one store.
async fn merge_sstables<B: Backend>(
    inner: &Arc<Inner<B>>,
    table: &Arc<Table>,
    open: &Arc<OpenTable>,
    plan: &Plan,
) -> std::result::Result<(), MergeError> {
    let sstables = plan.sstables.len();
    let span = tracing::debug_span!(target: SPANS, "compaction", table = %table.id, sstables);
    carry_out(inner, table, open, plan).instrument(span).await
}

async fn carry_out<B: Backend>(
    inner: &Arc<Inner<B>>,
    table: &Arc<Table>,
    open: &Arc<OpenTable>,
    plan: &Plan,
) -> std::result::Result<(), MergeError> {
    let ids = &plan.sstables;
    let inputs: Vec<Arc<Sstable>> = open
        .sstables()
        .iter()
        .filter(|sstable| ids.contains(&sstable.id()))
        .cloned()
        .collect();
    let Some(store) = inputs.first().map(|sstable| sstable.store()) else {
        // A truncation or a drop was faster.
        return Ok(());
    };
    let began = inner.env.boot_nanos();
    let listed = inner.merges.begin(table.id, &inputs);
    let bytes_in = listed.task.bytes;
    let running = listed.task.clone();
    let circumstances = inner.circumstances(table, open, store);
    let proceed = {
        let (inner, open) = (inner.clone(), open.clone());
        move || match inner.is_closed.load(Ordering::Acquire) {
            true => Err(Error::Closed),
            false => check_lease(&inner, &open),
        }
    };
    let outside = {
        let (inner, open, ids) = (inner.clone(), open.clone(), ids.clone());
        move |key: &PartitionKey| {
            // Memtables first: a flush adds its SSTable before it removes the memtable, so that between the two nothing is missed.
            let in_memory = inner.oldest_unmerged(&open, store);
            let sstables = open.sstables();
            let others = sstables
                .iter()
                .filter(|sstable| sstable.store() == store && !ids.contains(&sstable.id()));
            oldest_outside(others, in_memory, key)
        }
    };
    let damaged = {
        let open = open.clone();
        move |sstable| {
            tracing::error!(table = %open.table, sstable, "a damaged SSTable is left out of merges until the table is opened again");
            open.aside.add(sstable, Aside::Unreadable);
        }
    };
    let stale = (store != Store::BASE)
        .then(|| inner.stale_entries.get()?(table.id, store))
        .flatten();
    let columns_gone = match store {
        Store::BASE => table.options.load().columns_gone.clone(),
        // Theirs have numbers of their own.
        _ => Arc::from([]),
    };
    let relies_on_log = stale.is_some() || !columns_gone.is_empty();
    let log_had_stopped = inner.log_has_stopped();
    let writer = inner.writer_options(table, store).await;
    let rewrites_before = table.rewrites.load(Ordering::Acquire);
    let task = MergeTask {
        backend: inner.backend.clone(),
        env: inner.env.clone(),
        ring: open.ring(),
        cache: inner.cache.clone(),
        inputs,
        outputs: plan.outputs,
        bytes_max: inner.options.merge_bytes_max,
        pace: inner.pace.clone(),
        circumstances,
        oldest_outside: Arc::new(outside),
        columns_gone,
        stale,
        writer: WriterOptions {
            level: plan.level,
            ..writer
        },
        proceed: Arc::new(proceed),
        progress: Arc::new(move |bytes| running.read(bytes)),
        damaged: Arc::new(damaged),
    };
    let merged = merge(task).await.map_err(MergeError::Merging)?;
    let durable = match inner.log_has_stopped() {
        // Deletions were forgotten while nobody knew that older writes might come back.
        true if !log_had_stopped => Err(inner.why_the_log_ended()),
        // What made an entry stale, and the DROP of a column, must not be lost where the entry or the column's cells are.
        _ if relies_on_log => {
            let seen = inner.log_positions().appended;
            inner.make_durable(seen).await
        }
        _ => Ok(()),
    };
    if let Err(error) = durable {
        let made = merged.added.iter().flat_map(SstableEntry::structures);
        inner.remove_blobs(made).await;
        return Err(MergeError::Merging(error));
    }
    let bytes_out = merged.added.iter().map(|entry| entry.bytes()).sum();
    exchange(
        inner,
        table,
        open,
        merged.removed,
        merged.added,
        rewrites_before,
    )
    .await
    .map_err(MergeError::Exchanging)?;
    let now = inner.env.wall_micros();
    inner
        .merges
        .finish(&listed, now, bytes_out, merged.partitions_of);
    let nanos = inner.env.boot_nanos().saturating_sub(began);
    inner.tallies.merged(nanos, bytes_in, bytes_out);
    Ok(())
}

impl<B: Backend> Inner<B> {
    fn circumstances(&self, table: &Table, open: &OpenTable, store: Store) -> Circumstances {
        Circumstances {
            now: self.env.wall_micros().div_euclid(1_000_000),
            gc_grace_seconds: table.options.load().gc_grace_seconds,
            memtable_min_timestamp: self.oldest_unmerged(open, store),
        }
    }

    /// The oldest write to a store that is in none of its SSTables. Where the log has stopped its last group may be on the disk, and come at the next start with
    /// writes as old as anything.
    fn oldest_unmerged(&self, open: &OpenTable, store: Store) -> i64 {
        match self.log_has_stopped() {
            true => i64::MIN,
            false => open.min_timestamp(store),
        }
    }

    /// Bytes that another merge may write of what is free: without what running merges will still write and what the log needs. None if nobody can say.
    fn room_of(&self, free: Option<u64>) -> Option<u64> {
        let promised =
            self.merges.bytes_left() + LOG_SEGMENTS_LEFT * self.options.log_segment_bytes;
        free.map(|free| free.saturating_sub(promised))
    }
}
