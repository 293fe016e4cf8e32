//! What open does, in order, and why that order.
//!
//! 1. **Manifest.** What the tables are made of, and which epoch each root has. Sealed under the service's key: no table's key is needed.
//! 2. **Log.** Which groups are there and whose shares stand in them; the chain of seals says what is torn and what is damaged.
//! 3. **Cross-check.** The log knows the manifest's newest commit and the manifest the log's; a folder put together from copies of different age shows here.
//! 4. **Roots.** Each is compared with the epoch and hash that the manifest recorded: the same, one ahead (a key switch that had not reached the manifest), or
//!    an older copy put back.
//! 5. **Blobs** that nothing refers to are removed: flushes and compactions that a crash cut short.
//!
//! Damage stops the tables it hurts and nobody else. No table is open afterwards; its shares are replayed when its key comes.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize};
use std::sync::{Arc, Mutex};

use palladium_crypto::{KeyRing, StructureId, TableId};

use crate::backend::Backend;
use crate::background::Jobs;
use crate::cache::BlockCache;
use crate::commitlog::{CommitLog, CommitLogOptions, Damage, DamageScope, Recovered, ShareAddress};
use crate::engine::{Forming, Inner, Timestamps};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::latch::Latches;
use crate::manifest::{Manifest, ManifestReport, TableState};
use crate::options::{Options, TableOptions};
use crate::root::{self, Root, RootState, Standing};
use crate::table::{Table, Tables};

/// Opens everything that needs no table's key.
pub(crate) async fn open<B: Backend>(
    backend: Arc<B>,
    env: Arc<dyn Env>,
    service: Arc<KeyRing>,
    options: Options,
) -> Result<(Inner<B>, CommitLog<B>)> {
    let (mut manifest, report) =
        Manifest::recover(backend.clone(), env.clone(), service.clone()).await?;
    for note in &report.notes {
        tracing::warn!(note, "the manifest was read with a spare copy");
    }
    let log_options = CommitLogOptions {
        segment_bytes: options.log_segment_bytes,
        incarnation: manifest.sequence() + 1,
    };
    let (mut log, recovered) =
        CommitLog::recover(backend.clone(), env.clone(), service, log_options).await?;
    let missing = check_ages(&report, &recovered)?;
    // A start is a commit of its own: it raises the epoch, so that no two incarnations are the same.
    manifest.note_log(recovered.last_sequence);
    manifest.commit(&[]).await?;
    log.note_manifest(manifest.sequence());
    let tables = Tables::default();
    let mut roots = HashMap::new();
    for (id, state) in &manifest.state().tables {
        let table = Table::new(*id, TableOptions::default());
        match load_root(&*backend, *id, state).await? {
            Ok(good) => {
                if let Some(note) = good.note {
                    tracing::warn!(note, "a root was read from its spare copy");
                }
                roots.extend(good.root.map(|root| (*id, root)));
            }
            Err(what) => table.set_damaged(what),
        }
        tables.insert(Arc::new(table));
    }
    for damage in recovered.damage.iter().chain(&missing) {
        mark_damage(damage, &tables, &manifest.state().tables);
    }
    remove_orphans(&*backend, &manifest.state().tables).await?;
    let inner = Inner {
        shares: Mutex::new(shares_from(&recovered, &manifest.state().tables)),
        epoch: AtomicU64::new(manifest.sequence()),
        log_bytes: AtomicU64::new(log.segments().len() as u64 * options.log_segment_bytes),
        timestamps: Timestamps::starting_above(recovered.timestamp_high_water),
        forming: Forming::new(options.group_bytes_max, options.mutation_bytes_max),
        cache: Arc::new(BlockCache::new(options.cache_bytes)),
        manifest: futures::lock::Mutex::new(manifest),
        roots: Mutex::new(roots),
        latches: Latches::new(),
        jobs: Jobs::default(),
        memtable_bytes: AtomicUsize::new(0),
        obsolete: Mutex::default(),
        log_closed: AtomicBool::new(false),
        durable: AtomicU64::new(recovered.last_sequence),
        tables,
        backend,
        env,
        options,
    };
    Ok((inner, log))
}

/// A log that has seen a newer manifest belongs to a newer folder: nothing here can be trusted. A manifest that has seen a newer log says which groups are
/// missing at the log's end.
pub(crate) fn check_ages(report: &ManifestReport, recovered: &Recovered) -> Result<Option<Damage>> {
    if recovered.manifest_sequence > report.sequence {
        return Err(Error::corrupt(format!(
            "the manifest ends at commit {}, and the log knows commit {}: an older manifest was put back",
            report.sequence, recovered.manifest_sequence
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

/// A table's root as found good.
pub(crate) struct GoodRoot {
    /// None: one of the service's own tables.
    pub(crate) root: Option<Root>,
    /// A spare copy was damaged.
    pub(crate) note: Option<String>,
}

/// The root of a table, judged; the inner error says why the table cannot be opened.
pub(crate) async fn load_root<B: Backend>(
    backend: &B,
    id: TableId,
    state: &TableState,
) -> Result<Result<GoodRoot, String>> {
    let loaded = root::load(backend, id).await?;
    let note = loaded.note;
    let good = |root| Ok(GoodRoot { root, note });
    Ok(match loaded.state {
        // The service's own tables have no root: their keys are derived.
        RootState::Missing if state.epoch == 0 => good(None),
        RootState::Missing => Err(format!("the root of table {id} is missing")),
        RootState::Destroyed => Err(format!("the root of table {id} was destroyed")),
        RootState::Damaged => Err(format!("both copies of the root of table {id} are damaged")),
        RootState::Live(root) => match root::standing(&root, state.epoch, &state.root_hash) {
            Standing::Current | Standing::Ahead => good(Some(*root)),
            Standing::RolledBack => Err(format!(
                "the root of table {id} is at epoch {}, and the manifest knows epoch {}: an older copy was put back",
                root.epoch, state.epoch
            )),
        },
    })
}

/// Stops the tables that damage in the log hurts.
fn mark_damage(damage: &Damage, tables: &Tables, states: &BTreeMap<TableId, TableState>) {
    tracing::error!(%damage, "the log is damaged");
    let hurt: Vec<TableId> = match &damage.scope {
        DamageScope::Survived => Vec::new(),
        DamageScope::Shares {
            sequence, members, ..
        } => members
            .iter()
            .copied()
            .filter(|table| {
                states
                    .get(table)
                    .is_some_and(|state| state.log_floor <= *sequence)
            })
            .collect(),
        DamageScope::Groups { last, .. } => states
            .iter()
            .filter(|(_, state)| state.log_floor <= *last)
            .map(|(table, _)| *table)
            .collect(),
    };
    for id in hurt {
        if let Ok(table) = tables.get(id) {
            table.set_damaged(damage.to_string());
        }
    }
}

/// What each table must replay: its shares from its floor on.
fn shares_from(
    recovered: &Recovered,
    states: &BTreeMap<TableId, TableState>,
) -> HashMap<TableId, BTreeMap<u64, ShareAddress>> {
    let needed = |table: &TableId, address: &ShareAddress| {
        states
            .get(table)
            .is_some_and(|state| address.sequence >= state.log_floor)
    };
    recovered
        .tables
        .iter()
        .map(|(table, addresses)| {
            let shares: BTreeMap<u64, ShareAddress> = addresses
                .iter()
                .filter(|address| needed(table, address))
                .map(|address| (address.sequence, address.clone()))
                .collect();
            (*table, shares)
        })
        .filter(|(_, shares)| !shares.is_empty())
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
