//! What open does, in order, and why that order.
//!
//! 1. **Manifest.** What the tables are made of, and which epoch each root has. Sealed under the service's key: no table's key is needed.
//! 2. **Log.** Which groups are there and whose shares stand in them; the chain of seals says what is torn and what is damaged.
//! 3. **Cross-check.** The log knows the manifest's newest commit and the manifest the log's; a folder put together from copies of different age shows here. One of which both
//!    are older is known by whoever has seen a newer group of the log.
//! 4. **Roots.** Each is compared with the epoch and hash that the manifest recorded: the same, one ahead (a key switch that had not reached the manifest), or
//!    an older copy put back.
//! 5. **Blobs** that nothing refers to are removed: flushes and compactions that a crash cut short, and what a drop had not come to.
//!
//! Damage stops the tables it hurts and nobody else, at this start and at every later one: the segments that show it stay as long as one of those tables is there,
//! and the numbers of groups that are missing are not given again.
//! No table is open afterwards; its shares are replayed when its key comes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex, OnceLock};

use futures::StreamExt;
use palladium_crypto::{KeyRing, StructureId, TableId};

use crate::backend::Backend;
use crate::backend::fields::is_zero;
use crate::background::Jobs;
use crate::cache::BlockCache;
use crate::commitlog::{CommitLog, CommitLogOptions, Damage, DamageScope, Recovered, ShareAddress};
use crate::compaction::Pace;
use crate::engine::{
    Floors, Flushes, Forming, Inner, LogPositions, LogShares, Merges, Tallies, Timestamps,
};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::latch::Latches;
use crate::manifest::{Manifest, ManifestReport, State, TableState};
use crate::options::{Options, TableOptions};
use crate::root::{self, LoadedRoot, Root, RootState, SERVICE, Standing};
use crate::table::{Table, Tables};

/// Damage in the log that stops tables.
pub(crate) struct LogDamage {
    /// The segment that shows it.
    pub(crate) segment: u64,
    /// The tables that it stops.
    pub(crate) hurt: Vec<TableId>,
}

/// Opens everything that needs no table's key.
pub(crate) async fn open<B: Backend>(
    backend: Arc<B>,
    env: Arc<dyn Env>,
    service: Arc<KeyRing>,
    options: Options,
) -> Result<(Inner<B>, CommitLog<B>)> {
    check_not_beheaded(&*backend, &service).await?;
    let (mut manifest, report) =
        Manifest::recover(backend.clone(), env.clone(), service.clone()).await?;
    for note in &report.notes {
        tracing::warn!(note, "the manifest was read with a spare copy");
    }
    check_log_is_there(&*backend, &report, manifest.state()).await?;
    let log_options = CommitLogOptions {
        segment_bytes: options.log_segment_bytes,
        incarnation: manifest.sequence() + 1,
    };
    let (mut log, recovered) =
        CommitLog::recover(backend.clone(), env.clone(), service, log_options).await?;
    let missing = check_ages(&report, &recovered)?;
    check_seen(&report, &recovered, options.log_sequence_seen)?;
    // Floors and commits speak of these groups, though the log has lost them.
    log.skip_to(report.log_sequence);
    // A start is a commit of its own: it raises the epoch, so that no two incarnations are the same.
    manifest.note_log(log.last_sequence());
    if let Some(lineage) = options.lineage_begun {
        manifest.begin_lineage(lineage);
    }
    manifest.commit(&[]).await?;
    log.note_manifest(manifest.sequence());
    let (tables, roots) = load_tables(&*backend, &manifest.state().tables).await?;
    let damage = recovered.damage.iter().chain(&missing);
    let log_damage = damage
        .clone()
        .map(|damage| LogDamage {
            segment: damage.segment,
            hurt: mark_damage(damage, &tables, &manifest.state().tables),
        })
        .filter(|damage| !damage.hurt.is_empty())
        .collect();
    let broken_groups = damage.filter_map(broken_group).collect();
    let was_whole = report.notes.is_empty() && recovered.damage.is_empty() && missing.is_none();
    remove_orphans(&*backend, &manifest.state().tables).await?;
    let inner = Inner {
        shares: shares_from(&recovered, &manifest.state().tables),
        unclaimed: Mutex::new(unclaimed(&recovered, &manifest.state().tables)),
        epoch: AtomicU64::new(manifest.sequence()),
        lineage: manifest.lineage(),
        floors: Mutex::new(Floors::of(manifest.state(), manifest.sequence())),
        positions: Mutex::new(LogPositions::of(&log, &options)),
        timestamps: Timestamps::starting_above(recovered.timestamp_high_water),
        forming: Forming::new(options.group_bytes_max, options.mutation_bytes_max),
        cache: Arc::new(BlockCache::new(options.cache_bytes)),
        manifest: futures::lock::Mutex::new(manifest),
        roots: Mutex::new(roots),
        latches: Latches::new(),
        jobs: Jobs::default(),
        merges: Merges::default(),
        flushes: Flushes::default(),
        pace: Arc::new(Pace::new(options.compaction_throughput)),
        tallies: Tallies::default(),
        memtable_bytes: AtomicUsize::new(0),
        memtable_bytes_max: AtomicUsize::new(options.memtable_bytes_max),
        refused_from: AtomicUsize::new(options.memtable_bytes_max),
        stale_entries: OnceLock::new(),
        obsolete: Mutex::default(),
        doubtful: Mutex::default(),
        removing: futures::lock::Mutex::default(),
        removals_waiting: Arc::default(),
        was_whole,
        log_damage,
        broken_groups,
        log_end: OnceLock::new(),
        is_closed: AtomicBool::new(false),
        running: Arc::default(),
        logging: Arc::default(),
        tables,
        backend,
        env,
        options,
    };
    Ok((inner, log))
}

/// A folder with blobs, roots or a log and without a manifest is not a new one. To open it as one would erase it.
pub(crate) async fn check_not_beheaded<B: Backend>(backend: &B, service: &KeyRing) -> Result<()> {
    let generations = backend.manifest_list().await?;
    // The first generation alone may be one that was cut short.
    if generations.iter().any(|generation| *generation > 1) {
        return Ok(());
    }
    let (_, report) = Manifest::inspect(backend, service).await?;
    if !report.is_new {
        return Ok(());
    }
    let has_roots = backend
        .root_list()
        .await?
        .iter()
        .any(|table| *table != SERVICE);
    if has_roots || !backend.blob_list().await?.is_empty() || !backend.log_list().await?.is_empty()
    {
        return Err(Error::corrupt(
            "the manifest is missing, and the folder is not empty",
        ));
    }
    Ok(())
}

/// A manifest that was ever committed to has a log beside it. To open the folder without one would begin another log, and make the loss forgotten. A first start that was cut
/// short between the two has neither table nor group.
pub(crate) async fn check_log_is_there<B: Backend>(
    backend: &B,
    report: &ManifestReport,
    state: &State,
) -> Result<()> {
    let has_begun = report.log_sequence > 0 || !state.tables.is_empty();
    let has_log = async || -> Result<bool> {
        let slots = backend.watermark_load().await?;
        let has_watermark = slots.iter().any(|slot| !is_zero(slot));
        Ok(has_watermark || !backend.log_list().await?.is_empty())
    };
    match !has_begun || has_log().await? {
        true => Ok(()),
        false => Err(Error::corrupt(format!(
            "the log is missing, and the manifest knows its groups up to {}",
            report.log_sequence
        ))),
    }
}

type Roots = HashMap<TableId, Root>;

/// Roots that are read with one walk to the disk, and how many of those go at once: each root may be a wait, and there may be thousands.
const ROOTS_AT_A_TIME: usize = 64;
const READS_AT_ONCE: usize = 8;

async fn load_tables<B: Backend>(
    backend: &B,
    states: &BTreeMap<TableId, TableState>,
) -> Result<(Tables, Roots)> {
    let (mut tables, mut roots) = (Vec::with_capacity(states.len()), Roots::new());
    let ids: Vec<TableId> = states.keys().copied().collect();
    let loads = ids
        .chunks(ROOTS_AT_A_TIME)
        .map(|some| root::load_many(backend, some));
    let mut loads = futures::stream::iter(loads).buffered(READS_AT_ONCE);
    let mut loaded = Vec::with_capacity(ids.len());
    while let Some(some) = loads.next().await {
        loaded.extend(some?);
    }
    for ((id, loaded), state) in loaded.into_iter().zip(states.values()) {
        let table = Table::new(id, TableOptions::default());
        match judged(id, loaded, state) {
            Ok(good) => {
                if let Some(note) = &good.note {
                    tracing::warn!(note, "a root was read from its spare copy");
                }
                match (&good.root, &good.note) {
                    // One that is ahead of the manifest is nobody's word until its key has verified it: the older copy stays beside it.
                    (Some(_), _) if good.is_ahead => root::harden(backend, id).await?,
                    (Some(root), Some(_)) => {
                        if let Err(error) = root::heal(backend, root).await {
                            tracing::warn!(table = %id, %error, "the damaged copy of a root stays");
                        }
                    }
                    _ => {}
                }
                roots.extend(good.root.map(|root| (id, root)));
            }
            Err(what) => table.set_damaged(what),
        }
        tables.push(Arc::new(table));
    }
    Ok((Tables::of(tables.into_iter()), roots))
}

/// A log that has seen a newer manifest belongs to a newer folder: nothing here can be trusted. A manifest that has seen a newer log says which groups are
/// missing at the log's end.
pub(crate) fn check_ages(report: &ManifestReport, recovered: &Recovered) -> Result<Option<Damage>> {
    let known = newest_commit_known(recovered);
    if known > report.sequence {
        return Err(Error::corrupt(format!(
            "the manifest ends at commit {}, and the log knows commit {known}: an older manifest was put back",
            report.sequence
        )));
    }
    let first = recovered.last_sequence + 1;
    let last = report.log_sequence;
    Ok((last >= first).then(|| Damage {
        segment: recovered.segments.keys().next_back().copied().unwrap_or(0),
        offset: 0,
        what: format!("groups {first} to {last} are missing at the log's end"),
        scope: DamageScope::Groups { first, last },
    }))
}

/// The newest commit that the log speaks of. A start names itself after the commit that it is about to make, so that the one before it was there.
pub(crate) fn newest_commit_known(recovered: &Recovered) -> u64 {
    let before_start = recovered.incarnation.saturating_sub(1);
    recovered.manifest_sequence.max(before_start)
}

/// The last group that manifest or log speak of; those that are missing count: their loss is known, and no number is given twice.
pub(crate) fn last_group_known(report: &ManifestReport, recovered: &Recovered) -> u64 {
    recovered.last_sequence.max(report.log_sequence)
}

fn check_seen(report: &ManifestReport, recovered: &Recovered, seen: u64) -> Result<()> {
    let last = last_group_known(report, recovered);
    if last < seen {
        return Err(Error::Older {
            what: format!(
                "this data folder is older than its anchor: its log ends at group {last}, and group {seen} was seen; an older copy was put back"
            ),
        });
    }
    Ok(())
}

/// A table's root as found good.
pub(crate) struct GoodRoot {
    /// None: one of the service's own tables.
    pub(crate) root: Option<Root>,
    /// A spare copy was damaged, or its replacement cut short.
    pub(crate) note: Option<String>,
    /// It was damaged.
    pub(crate) is_altered: bool,
    /// The manifest has not recorded it: a switch was cut short, and one copy may still be the old one.
    pub(crate) is_ahead: bool,
}

/// The root of a table, judged; the inner error says why the table cannot be opened.
pub(crate) async fn load_root<B: Backend>(
    backend: &B,
    id: TableId,
    state: &TableState,
) -> Result<Result<GoodRoot, String>> {
    Ok(judged(id, root::load(backend, id).await?, state))
}

fn judged(id: TableId, loaded: LoadedRoot, state: &TableState) -> Result<GoodRoot, String> {
    let (note, is_altered) = (loaded.note, loaded.is_altered);
    let good = |root, is_ahead| {
        Ok(GoodRoot {
            root,
            note,
            is_altered,
            is_ahead,
        })
    };
    match loaded.state {
        // The service's own tables have no root: their keys are derived.
        RootState::Missing if state.epoch == 0 => good(None, false),
        RootState::Missing => Err(format!("the root of table {id} is missing")),
        RootState::Destroyed => Err(format!("the root of table {id} was destroyed")),
        RootState::Damaged => Err(format!("both copies of the root of table {id} are damaged")),
        RootState::Live(root) => match root::standing(&root, state.epoch, &state.root_hash) {
            Standing::Current => good(Some(*root), false),
            Standing::Ahead => good(Some(*root), true),
            Standing::RolledBack => Err(format!(
                "the root of table {id} is at epoch {}, and the manifest knows epoch {}: an older copy was put back",
                root.epoch, state.epoch
            )),
        },
    }
}

/// Stops the tables that damage in the log hurts, and names them.
///
/// The other members of a group with a damaged share are not stopped here: whether a write of theirs spans tables is seen when they are replayed.
fn mark_damage(
    damage: &Damage,
    tables: &Tables,
    states: &BTreeMap<TableId, TableState>,
) -> Vec<TableId> {
    tracing::error!(%damage, "the log is damaged");
    let (candidates, last): (Vec<TableId>, u64) = match &damage.scope {
        DamageScope::Survived => return Vec::new(),
        DamageScope::Shares {
            sequence, damaged, ..
        } => (damaged.clone(), *sequence),
        DamageScope::Groups { last, .. } => (states.keys().copied().collect(), *last),
    };
    let needs_it = |table: &TableId| {
        let state = states.get(table);
        state.is_some_and(|state| state.log_floor <= last)
    };
    let hurt: Vec<TableId> = candidates.into_iter().filter(needs_it).collect();
    for id in &hurt {
        if let Ok(table) = tables.get(*id) {
            table.set_damaged(damage.to_string());
        }
    }
    hurt
}

/// A group that is there, and not all of its shares.
fn broken_group(damage: &Damage) -> Option<u64> {
    match damage.scope {
        DamageScope::Shares { sequence, .. } => Some(sequence),
        DamageScope::Survived | DamageScope::Groups { .. } => None,
    }
}

/// What each table must replay: its shares from its floor on.
fn shares_from(recovered: &Recovered, states: &BTreeMap<TableId, TableState>) -> LogShares {
    let needed = LogShares::default();
    for (table, addresses) in &recovered.tables {
        let Some(state) = states.get(table) else {
            continue;
        };
        let from_floor = addresses
            .iter()
            .filter(|address| address.sequence >= state.log_floor);
        needed.add(from_floor.cloned());
    }
    needed
}

/// What the log holds of tables that the manifest does not have.
fn unclaimed(
    recovered: &Recovered,
    states: &BTreeMap<TableId, TableState>,
) -> BTreeMap<TableId, Vec<ShareAddress>> {
    let tables = recovered.tables.iter();
    let unclaimed = tables.filter(|(table, _)| !states.contains_key(table));
    unclaimed
        .map(|(table, shares)| (*table, shares.clone()))
        .collect()
}

/// Removes blobs that no manifest entry names.
async fn remove_orphans<B: Backend>(
    backend: &B,
    states: &BTreeMap<TableId, TableState>,
) -> Result<()> {
    let named: HashSet<StructureId> = states.values().flat_map(TableState::structures).collect();
    for blob in backend.blob_list().await? {
        if !named.contains(&blob) {
            tracing::info!(structure = %blob, "removing a blob that nothing refers to");
            backend.blob_remove(blob).await?;
        }
    }
    Ok(())
}
