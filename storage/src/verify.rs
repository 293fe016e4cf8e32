//! Checks every byte of a folder that nobody has open, and changes none.
//!
//! Without a table's key its roots, entries and the seals around its log shares are checked; with it every block of every structure is opened. What is found is
//! a list of findings, each naming a structure; a damaged spare copy counts as damage.

use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

use palladium_crypto::{KeyRing, Lineage, StructureId, StructureKind, TableId, WrappedDataKey};

use crate::backend::Backend;
use crate::cache::{BlockCache, FetchedBlocks};
use crate::commitlog::{self, Damage, Recovered, ShareAddress};
use crate::engine::read::Merging;
use crate::engine::record;
use crate::error::{Error, Result};
use crate::manifest::{Manifest, State, TableState};
use crate::memtable::TableMemtables;
use crate::read::{ReadCommand, ReadPage};
use crate::recovery;
use crate::root::{self, Root, RootState, SERVICE};
use crate::sstable::Sstable;

/// What a verification found.
#[derive(Debug, Default)]
pub struct Report {
    /// What is damaged: structure, file, offset and reason, a line each.
    pub damage: Vec<String>,
    /// What was not checked, because a key is missing.
    pub unchecked: Vec<String>,
    /// What is there and should not be.
    pub warnings: Vec<String>,
    /// Structures opened and found whole.
    pub structures: u64,
    /// The manifest's newest sequence.
    pub epoch: u64,
}

/// What a folder says of one structure.
#[derive(Debug, Clone)]
pub struct WrappedStructure {
    /// Its id; the name of its file, if it has one.
    pub structure: StructureId,
    /// What it is.
    pub kind: StructureKind,
    /// Its data key, under a version of the table's key.
    pub wrapped: WrappedDataKey,
}

/// A folder opened for verification: what needs no table's key has been read.
pub struct Inspection {
    pub(crate) state: State,
    pub(crate) log: Recovered,
    /// Groups that the manifest knows of and the log has lost.
    pub(crate) missing: Option<Damage>,
    /// The newest group that the manifest knows of.
    pub(crate) log_sequence: u64,
    /// The newest group that anything here speaks of.
    last_group_known: u64,
    lineage: Lineage,
    roots: BTreeMap<TableId, Root>,
    report: Report,
}

impl Inspection {
    /// Reads manifest, log and roots. An error means that they are too damaged to go on, or not this service's.
    pub async fn open<B: Backend>(backend: &B, service: &KeyRing) -> Result<Inspection> {
        let mut report = Report::default();
        recovery::check_not_beheaded(backend, service).await?;
        let (state, manifest) = Manifest::inspect(backend, service).await?;
        report.epoch = manifest.sequence;
        let log = commitlog::inspect(backend, service).await?;
        // The last thing before a clean stop is a manifest commit that the log's end knows of: then nothing was under way.
        let was_stopped = log.is_clean_stop && log.manifest_sequence == manifest.sequence;
        report.damage.extend(manifest.notes.iter().cloned());
        report.warnings.extend(log.unfinished.iter().cloned());
        report.warnings.extend(manifest.begun.iter().cloned());
        match was_stopped {
            true => report.damage.extend(manifest.unfinished.iter().cloned()),
            false => report.warnings.extend(manifest.unfinished.iter().cloned()),
        }
        report
            .damage
            .extend(log.damage.iter().map(|damage| damage.to_string()));
        let is_log_there = recovery::check_log_is_there(backend, &manifest, &state).await;
        report
            .damage
            .extend(is_log_there.err().map(|error| error.to_string()));
        let missing = recovery::check_ages(&manifest, &log).unwrap_or_else(|error| {
            report.damage.push(error.to_string());
            None
        });
        let lost = missing.iter().map(|damage| damage.to_string());
        report.damage.extend(lost);
        report.damage.extend(service_root(backend, service).await?);
        let mut roots = BTreeMap::new();
        for (id, table) in &state.tables {
            match recovery::load_root(backend, *id, table).await? {
                Ok(loaded) => {
                    match loaded.is_altered || (was_stopped && !loaded.is_ahead) {
                        true => report.damage.extend(loaded.note),
                        false => report.warnings.extend(loaded.note),
                    }
                    roots.extend(loaded.root.map(|root| (*id, root)));
                }
                Err(what) => report.damage.push(what),
            }
        }
        let unknown = backend.unknown_files().await?;
        report
            .warnings
            .extend(unknown.iter().map(|file| format!("unknown file {file}")));
        report.warnings.extend(orphans(backend, &state).await?);
        Ok(Inspection {
            last_group_known: recovery::last_group_known(&manifest, &log),
            lineage: manifest.lineage,
            state,
            log,
            missing,
            log_sequence: manifest.log_sequence,
            roots,
            report,
        })
    }

    /// The tables, with their roots where they have one: those without are the service's own.
    pub fn tables(&self) -> Vec<(TableId, Option<Root>)> {
        self.state
            .tables
            .keys()
            .map(|id| (*id, self.roots.get(id).cloned()))
            .collect()
    }

    /// The manifest's newest commit.
    pub fn epoch(&self) -> u64 {
        self.report.epoch
    }

    /// The newest group of the log, one that is missing included: what an anchor remembers, too.
    pub fn last_group_known(&self) -> u64 {
        self.last_group_known
    }

    /// Which history of the folder it is: what an anchor remembers, too.
    pub fn lineage(&self) -> Lineage {
        self.lineage
    }

    /// Whether the manifest names this table.
    pub fn has_table(&self, id: TableId) -> bool {
        self.state.tables.contains_key(&id)
    }

    /// Somebody names a table that the manifest does not have.
    pub fn miss_table(&mut self, id: TableId) {
        self.report.damage.push(format!(
            "table {id} stands in the schema and not in the manifest; salvage takes what the log still holds of it"
        ));
    }

    /// What was found damaged so far.
    pub fn damage(&self) -> &[String] {
        &self.report.damage
    }

    /// The structures of a table, each with its wrapped data key: public, and what its keys protect.
    pub fn structures(&self, table: TableId) -> Vec<WrappedStructure> {
        let entries = self.state.tables.get(&table).into_iter();
        let sstables = entries.flat_map(|state| state.sstables.values());
        let components = sstables.flat_map(|entry| &entry.components);
        let components = components.map(|component| WrappedStructure {
            structure: component.structure,
            kind: component.kind,
            wrapped: component.wrapped.clone(),
        });
        let shares = self.log.tables.get(&table).into_iter().flatten();
        // One structure has many shares.
        let shares: BTreeMap<StructureId, &ShareAddress> =
            shares.map(|share| (share.structure, share)).collect();
        let shares = shares.into_values().map(|share| WrappedStructure {
            structure: share.structure,
            kind: StructureKind::LogShare,
            wrapped: WrappedDataKey::clone(&share.wrapped),
        });
        components.chain(shares).collect()
    }

    /// Opens every block of a table.
    pub async fn check_table<B: Backend>(&mut self, backend: &B, ring: &KeyRing) {
        let id = ring.table();
        let Some(table) = self.state.tables.get(&id) else {
            return;
        };
        if let Some(root) = self.roots.get(&id)
            && let Err(error) = root.verify(ring.active())
        {
            self.report.damage.push(error.to_string());
        }
        for entry in table.sstables.values() {
            let found = match Sstable::open(backend, entry, ring).await {
                Ok(sstable) => sstable.verify(backend).await,
                Err(error) => Err(error),
            };
            self.report.note(found, entry.components.len() as u64, || {
                let names: Vec<String> = entry
                    .components
                    .iter()
                    .map(|component| component.structure.to_string())
                    .collect();
                format!(
                    "SSTable {} of table {id} (structures {})",
                    entry.id,
                    names.join(" ")
                )
            });
        }
        for address in self.log.tables.get(&id).into_iter().flatten() {
            if address.sequence < table.log_floor {
                continue;
            }
            let found = commitlog::read_share(backend, address, ring)
                .await
                .map(drop);
            self.report
                .note(found, 1, || format!("log share of table {id}"));
        }
    }

    /// Opens a table as it stands: what the log holds beyond its SSTables included. A table that is not there is empty.
    pub async fn reader<B: Backend>(&self, backend: &B, ring: &KeyRing) -> Result<TableReader> {
        self.open_table(backend, ring, false).await
    }

    /// The same without those shares of the log that cannot be opened: what would be left if they were given up.
    pub async fn reader_of_the_rest<B: Backend>(
        &self,
        backend: &B,
        ring: &KeyRing,
    ) -> Result<TableReader> {
        self.open_table(backend, ring, true).await
    }

    async fn open_table<B: Backend>(
        &self,
        backend: &B,
        ring: &KeyRing,
        passes_over_shares: bool,
    ) -> Result<TableReader> {
        let id = ring.table();
        let mut reader = TableReader {
            sstables: Vec::new(),
            memtables: TableMemtables::default(),
        };
        let Some(table) = self.state.tables.get(&id) else {
            return Ok(reader);
        };
        for entry in table.sstables.values() {
            let sstable = Sstable::open(backend, entry, ring).await?;
            reader.sstables.push(sstable);
        }
        for address in self.log.tables.get(&id).into_iter().flatten() {
            if address.sequence < table.log_floor {
                continue;
            }
            let records = match commitlog::read_share(backend, address, ring).await {
                Err(Error::Corrupt { .. }) if passes_over_shares => continue,
                read => read?,
            };
            let updates = record::updates(records)?;
            reader.memtables.replay(&updates, &table.dropped_stores)?;
        }
        Ok(reader)
    }

    /// A table whose key cannot be had.
    pub fn skip_table(&mut self, id: TableId, why: &str) {
        self.report.unchecked.push(format!("table {id}: {why}"));
    }

    /// All that was found.
    pub fn finish(self) -> Report {
        self.report
    }
}

/// A table of a folder that is only looked at.
pub struct TableReader {
    sstables: Vec<Arc<Sstable>>,
    memtables: TableMemtables,
}

impl TableReader {
    /// Reads one page.
    pub async fn read<B: Backend>(&self, backend: &B, command: &ReadCommand) -> Result<ReadPage> {
        let blocks = Arc::new(FetchedBlocks::passing(Arc::new(BlockCache::new(0))));
        let memtables = self.memtables.of(command.store).into_iter().collect();
        let mut sstables = self.sstables.clone();
        sstables.retain(|sstable| sstable.store() == command.store);
        let mut merging = Merging::new(memtables, sstables, blocks);
        merging.finish(backend, command).await
    }
}

impl Report {
    fn note(&mut self, found: Result<()>, structures: u64, place: impl Fn() -> String) {
        match found {
            Ok(()) => self.structures += structures,
            Err(Error::Corrupt { what }) => self.damage.push(format!("{}: {what}", place())),
            Err(error) => self.damage.push(format!("{}: {error}", place())),
        }
    }
}

/// The root that wraps the service's own key, if this folder has one. The manifest does not know it: who has its key has opened it.
async fn service_root<B: Backend>(backend: &B, service: &KeyRing) -> Result<Vec<String>> {
    let loaded = root::load(backend, SERVICE).await?;
    let mut damage: Vec<String> = loaded.note.into_iter().collect();
    match loaded.state {
        RootState::Missing => {}
        RootState::Live(root) => {
            damage.extend(root.verify(service.active()).err().map(|e| e.to_string()));
        }
        RootState::Destroyed | RootState::Damaged => {
            damage.push("both copies of the root of the service's own key are damaged".into());
        }
    }
    Ok(damage)
}

async fn orphans<B: Backend>(backend: &B, state: &State) -> Result<Vec<String>> {
    let named: HashSet<StructureId> = state
        .tables
        .values()
        .flat_map(TableState::structures)
        .collect();
    let listed = backend.blob_list().await?;
    let orphans = listed.iter().filter(|blob| !named.contains(blob));
    let mut warnings: Vec<String> = orphans
        .map(|blob| format!("structure {blob} is named by nothing; the next start removes it"))
        .collect();
    for table in backend.root_list().await? {
        if table != SERVICE && !state.tables.contains_key(&table) {
            warnings.push(format!(
                "the root of table {table} is not named by the manifest; unless the schema names it, the next start removes it"
            ));
        }
    }
    Ok(warnings)
}
