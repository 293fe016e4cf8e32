//! What an operator gives up: damaged parts of a table are discarded, what is whole around them is kept, and it is said what went.
//!
//! On a folder that nobody has open. Nothing is given up that could still be read:
//!
//! ```text
//! a damaged SSTable   every partition whose blocks all open is written into a new one; the rest goes with the old one
//! damage in the log   what the table's shares still say is written into SSTables; then the table's floor moves behind the damage
//! a table's entry     one that the manifest has lost is made anew, under the root that is there, for what the log holds
//! the manifest        a newest commit that is whole in no copy: the one before it is taken
//! the watermark       lost: the log ends where its last whole group does
//! ```
//!
//! Where the log is damaged, what it holds of every other table is written out, too: then nobody needs the damaged segments, and the next start lets them go.
//!
//! What must hold: new SSTables are durable before the manifest names them, in one commit for each table; after an error the folder is as it was, but for blobs that the
//! next start removes. What was lost may have been a deletion: what it hid in other SSTables is seen again. That is the price, and is said.

use std::sync::Arc;

use palladium_crypto::{KeyRing, TableId};

use crate::backend::Backend;
use crate::commitlog::{self, CommitLog, DamageScope};
use crate::engine::{record, recorded};
use crate::env::Env;
use crate::error::{Error, Result};
use crate::manifest::{Edit, Manifest, SstableEntry};
use crate::memtable::{TableMemtables, flush};
use crate::model::{PartitionBound, Store};
use crate::read::{Fault, Source};
use crate::recovery::{check_log_is_there, newest_commit_known};
use crate::root::{self, RootState};
use crate::sstable::rescue::Survey;
use crate::sstable::{Sstable, WriterOptions};
use crate::verify::Inspection;

/// What is damaged of one table.
pub struct Wreck {
    table: TableId,
    sstables: Vec<DamagedSstable>,
    log: Option<DamagedLog>,
    /// What would be lost, a line each.
    pub losses: Vec<String>,
}

struct DamagedSstable {
    entry: SstableEntry,
    /// None: nothing of it can be read.
    found: Option<(Arc<Sstable>, Survey)>,
}

/// What a damaged log still says of the table, be it all that was written or not.
struct DamagedLog {
    memtables: TableMemtables,
}

impl Inspection {
    /// What is damaged of a table. An error: it cannot be said, and nothing is to be given up.
    pub async fn wreck<B: Backend>(&self, backend: &B, ring: &KeyRing) -> Result<Wreck> {
        let table = ring.table();
        let mut wreck = Wreck {
            table,
            sstables: Vec::new(),
            log: None,
            losses: Vec::new(),
        };
        let Some(state) = self.state.tables.get(&table) else {
            return Ok(wreck);
        };
        for entry in state.sstables.values() {
            wreck.look_at(backend, entry, ring).await?;
        }
        wreck.look_at_log(self, backend, ring).await?;
        Ok(wreck)
    }

    /// Whether a segment of the log is not what was written, or missing.
    pub fn is_log_damaged(&self) -> bool {
        self.missing.is_some() || !self.log.damage.is_empty()
    }

    /// The last group that anything here speaks of: what is written from now on comes after it.
    fn last_group(&self) -> u64 {
        let damaged = self.log.damage.iter().chain(&self.missing);
        let damaged = damaged.map(|damage| match &damage.scope {
            // How far the log went nobody knows: what was read of it is all that can be said.
            DamageScope::Survived | DamageScope::Groups { last: u64::MAX, .. } => 0,
            DamageScope::Shares { sequence, .. } => *sequence,
            DamageScope::Groups { last, .. } => *last,
        });
        damaged.fold(self.log.last_sequence, u64::max)
    }
}

impl Wreck {
    /// Whether all of the table is as it was written.
    pub fn is_whole(&self) -> bool {
        self.losses.is_empty()
    }

    /// Whether what was written out of the log is as it was written.
    pub fn is_of_log_alone(&self) -> bool {
        self.sstables.is_empty()
    }

    /// Bytes of memory that it takes: what the log says of it.
    pub fn bytes(&self) -> usize {
        self.log.as_ref().map_or(0, |log| log.memtables.bytes())
    }

    /// Whether it is to be written anew: damaged, or whole in a log that is not.
    pub fn is_to_be_written(&self) -> bool {
        !self.is_whole() || self.log.is_some()
    }

    async fn look_at<B: Backend>(
        &mut self,
        backend: &B,
        entry: &SstableEntry,
        ring: &KeyRing,
    ) -> Result<()> {
        let sstable = match Sstable::open(backend, entry, ring).await {
            Ok(sstable) => sstable,
            Err(Error::Corrupt { what }) => {
                self.losses.push(format!(
                    "SSTable {} of store {}, {} bytes, whole: {what}",
                    entry.id,
                    entry.store.0,
                    entry.bytes()
                ));
                self.sstables.push(DamagedSstable {
                    entry: entry.clone(),
                    found: None,
                });
                return Ok(());
            }
            Err(other) => return Err(other),
        };
        let survey = sstable.survey(backend).await?;
        if survey.is_whole() {
            return Ok(());
        }
        let statistics = sstable.statistics();
        self.losses.push(format!(
            "of SSTable {} of store {}, with {} partitions, {} rows and writes from {} to {} (microseconds): partitions that touch {} of its {} blocks: {}",
            entry.id,
            entry.store.0,
            statistics.partitions,
            statistics.rows,
            statistics.timestamps.0,
            statistics.timestamps.1,
            survey.lost_blocks(),
            survey.blocks(),
            survey.reasons.join("; ")
        ));
        self.sstables.push(DamagedSstable {
            entry: entry.clone(),
            found: Some((sstable, survey)),
        });
        Ok(())
    }

    /// Shares that cannot be opened, groups that are missing, and halves of writes that span tables.
    async fn look_at_log<B: Backend>(
        &mut self,
        inspection: &Inspection,
        backend: &B,
        ring: &KeyRing,
    ) -> Result<()> {
        let state = &inspection.state.tables[&self.table];
        let mut losses = Vec::new();
        let damage = inspection.log.damage.iter().chain(&inspection.missing);
        let (mut broken, mut told) = (Vec::new(), Vec::new());
        for damage in damage {
            match &damage.scope {
                DamageScope::Survived => {}
                DamageScope::Shares {
                    sequence, damaged, ..
                } => {
                    broken.push(*sequence);
                    if *sequence >= state.log_floor && damaged.contains(&self.table) {
                        told.push(*sequence);
                        losses.push(format!("its writes of group {sequence}: {damage}"));
                    }
                }
                DamageScope::Groups { first, last } if *last >= state.log_floor => {
                    losses.push(format!(
                        "its writes of groups {} to {last}, if there were any: {damage}",
                        first.max(&state.log_floor)
                    ));
                }
                DamageScope::Groups { .. } => {}
            }
        }
        let memtables = TableMemtables::default();
        let shares = inspection.log.tables.get(&self.table).into_iter().flatten();
        for share in shares.filter(|share| share.sequence >= state.log_floor) {
            let records = match commitlog::read_share(backend, share, ring).await {
                Ok(records) => records,
                Err(Error::Corrupt { .. }) if told.contains(&share.sequence) => continue,
                Err(Error::Corrupt { what }) => {
                    losses.push(format!("its writes of group {}: {what}", share.sequence));
                    continue;
                }
                Err(other) => return Err(other),
            };
            if broken.contains(&share.sequence) && record::spans_tables(&records)? {
                losses.push(format!(
                    "of group {}: nothing of this table, but of another one with which it was to be written together",
                    share.sequence
                ));
            }
            memtables.replay(&record::updates(records)?, &state.dropped_stores)?;
        }
        // Written out though nothing is lost: it would keep the damage in the log.
        if !losses.is_empty() || (inspection.is_log_damaged() && !memtables.is_empty()) {
            self.log = Some(DamagedLog { memtables });
        }
        self.losses.extend(losses);
        Ok(())
    }
}

/// What would be given up to go back to the manifest's commit before the newest, if that is what it takes to read it: a line. It was some edits, and nobody can say which.
pub async fn lost_commit<B: Backend>(backend: &B, service: &KeyRing) -> Result<Option<String>> {
    Manifest::what_to_give_up(backend, service).await
}

/// Goes back to the commit before it. What it said of tables, they say themselves where they can: a new root opens, what was written out is in the log still unless its
/// segments have been released since. Then rows are gone that nothing here names.
pub async fn give_up_commit<B: Backend>(
    backend: Arc<B>,
    env: Arc<dyn Env>,
    service: Arc<KeyRing>,
) -> Result<()> {
    let log = commitlog::inspect(&*backend, &service).await?;
    let known = newest_commit_known(&log);
    Manifest::give_up_the_newest(backend, env, service, known).await
}

/// What would be given up to read a log without a watermark, or to begin another one in its place, if that is what it takes: a line.
pub async fn lost_watermark<B: Backend>(
    backend: &B,
    service: &KeyRing,
) -> Result<Option<&'static str>> {
    let (state, manifest) = Manifest::inspect(backend, service).await?;
    if check_log_is_there(backend, &manifest, &state)
        .await
        .is_err()
    {
        return Ok(Some("the log, whole"));
    }
    let log = commitlog::inspect(backend, service).await?;
    Ok(log.is_headless().then_some(
        "the log's watermark: whether something that was acknowledged is missing at the log's end, or before its oldest segment, nobody can say any more",
    ))
}

/// Stores a watermark for a log that has lost its own, or all of itself: it ends where its last whole group does. What is missing between its groups is seen, and what the manifest
/// knows of behind them.
pub async fn give_up_watermark<B: Backend>(
    backend: Arc<B>,
    env: Arc<dyn Env>,
    service: Arc<KeyRing>,
) -> Result<()> {
    let (_, manifest) = Manifest::inspect(&*backend, &service).await?;
    CommitLog::take_as_found(backend, env, service, manifest.sequence + 1).await
}

/// What came of tables that the manifest has lost.
#[derive(Debug)]
pub struct Restored {
    /// A line for each.
    pub lines: Vec<String>,
    pub is_all: bool,
}

/// Gives the manifest entries of tables that it has lost, under the roots that are there still: what the log holds of them is read again, what was written out is gone.
pub async fn restore_tables<B: Backend>(
    backend: Arc<B>,
    env: Arc<dyn Env>,
    service: Arc<KeyRing>,
    tables: &[TableId],
) -> Result<Restored> {
    let (mut manifest, _) = Manifest::recover(backend.clone(), env, service).await?;
    let (mut lines, mut is_all) = (Vec::new(), true);
    for &table in tables {
        let found = root::load(&*backend, table).await.map(|found| found.state);
        let Ok(RootState::Live(root)) = found else {
            is_all = false;
            lines.push(format!(
                "nothing of table {table}: its root is gone or damaged, too; DROP TABLE ends it"
            ));
            continue;
        };
        let log_floor = 1;
        let edits = [Edit::CreateTable { table, log_floor }, recorded(&root)];
        manifest.commit(&edits).await?;
        lines.push(format!("table {table}: what the log still says of it"));
    }
    Ok(Restored { lines, is_all })
}

/// Discards what wrecks have lost and keeps the rest, table by table. Gives a line for each thing that was kept.
pub async fn discard<B: Backend>(
    backend: Arc<B>,
    env: Arc<dyn Env>,
    service: Arc<KeyRing>,
    inspection: &Inspection,
    wrecks: &[(Wreck, &KeyRing)],
) -> Result<Vec<String>> {
    let (mut manifest, _) = Manifest::recover(backend.clone(), env.clone(), service).await?;
    let mut kept = Vec::new();
    for (wreck, ring) in wrecks {
        let state = manifest.state().tables.get(&wreck.table);
        let next_id = state.map_or(1, |state| state.next_sstable);
        let mut keeping = Keeping {
            backend: &backend,
            env: &env,
            ring,
            next_id,
            added: Vec::new(),
            kept: Vec::new(),
        };
        let log_floor = keeping.all(wreck).await.map(|()| {
            let last = inspection.last_group().max(inspection.log_sequence);
            wreck.log.is_some().then_some(last + 1)
        });
        let Keeping {
            added, kept: lines, ..
        } = keeping;
        let log_floor = match log_floor {
            Ok(log_floor) => log_floor,
            Err(error) => {
                for structure in added.iter().flat_map(SstableEntry::structures) {
                    // What cannot be removed now is an orphan that the next start removes.
                    let _ = backend.blob_remove(structure).await;
                }
                return Err(error);
            }
        };
        // What is written from now on must not be given numbers below the floor.
        manifest.note_log(log_floor.map_or(0, |floor| floor - 1));
        manifest
            .commit(&[Edit::AddSstables {
                table: wreck.table,
                added,
                removed: wreck.sstables.iter().map(|lost| lost.entry.id).collect(),
                log_floor,
            }])
            .await?;
        kept.extend(lines);
        let lost = wreck
            .sstables
            .iter()
            .flat_map(|lost| lost.entry.structures());
        for structure in lost {
            let _ = backend.blob_remove(structure).await;
        }
    }
    Ok(kept)
}

/// New SSTables of one table.
struct Keeping<'a, B: Backend> {
    backend: &'a Arc<B>,
    env: &'a Arc<dyn Env>,
    ring: &'a KeyRing,
    next_id: u64,
    added: Vec<SstableEntry>,
    kept: Vec<String>,
}

impl<B: Backend> Keeping<'_, B> {
    async fn all(&mut self, wreck: &Wreck) -> Result<()> {
        for lost in &wreck.sstables {
            let Some((sstable, survey)) = &lost.found else {
                continue;
            };
            let options = self.options(lost.entry.store, lost.entry.level);
            let rescued = sstable
                .rescue(survey, self.backend, self.env, self.ring, options)
                .await?;
            self.kept.push(format!(
                "table {}: {} of {} partitions of SSTable {}",
                wreck.table,
                rescued.partitions,
                sstable.statistics().partitions,
                lost.entry.id
            ));
            self.added.extend(rescued.entry);
        }
        let Some(log) = &wreck.log else {
            return Ok(());
        };
        for (store, memtable) in log.memtables.all() {
            let mut cursor = memtable.shared_cursor();
            cursor
                .seek(&PartitionBound::MIN)
                .map_err(Fault::without_blocks)?;
            let options = self.options(store, 0);
            let (backend, env) = (self.backend.clone(), self.env.clone());
            let entry = flush::flush(cursor, backend, env, self.ring, options).await?;
            self.added.extend(entry);
        }
        self.kept.push(format!(
            "table {}: what the log still says of it",
            wreck.table
        ));
        Ok(())
    }

    fn options(&self, store: Store, level: u8) -> WriterOptions {
        WriterOptions {
            id: self.next_id + self.added.len() as u64,
            level,
            store,
            ..WriterOptions::default()
        }
    }
}
