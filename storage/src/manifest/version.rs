//! `State`: what the tables are made of after some number of edits. Pure: edits go in, or are refused with a reason.

use std::collections::{BTreeMap, BTreeSet};

use palladium_crypto::{StructureId, TableId};

use super::edit::{Edit, Rewrite, SstableEntry};
use crate::model::Store;

/// What all tables are made of.
#[derive(Clone, Default, Eq, PartialEq, Debug)]
pub struct State {
    /// Every table that was created and not dropped.
    pub tables: BTreeMap<TableId, TableState>,
}

/// What one table is made of.
#[derive(Clone, Default, Eq, PartialEq, Debug)]
pub struct TableState {
    /// Epoch of its root, as last recorded; 0 before the first.
    pub epoch: u64,
    /// SHA-256 of that root's bytes; zero before the first.
    pub root_hash: [u8; 32],
    /// The first log group that is still needed.
    pub log_floor: u64,
    /// Its SSTables by id.
    pub sstables: BTreeMap<u64, SstableEntry>,
    /// The id that the next SSTable gets.
    pub next_sstable: u64,
    /// New data keys were asked for, and SSTables under the old ones are left.
    pub rewrite: Option<Rewrite>,
    /// Derived stores that have ended. Their numbers are not used again.
    pub dropped_stores: BTreeSet<Store>,
}

impl TableState {
    /// SSTables that are still to be written again under new data keys, oldest first.
    pub fn to_rewrite(&self) -> impl Iterator<Item = &SstableEntry> {
        let below = self.rewrite.map_or(0, |rewrite| rewrite.below);
        self.sstables.range(..below).map(|(_, entry)| entry)
    }

    fn forget_finished_rewrite(&mut self) {
        if self.to_rewrite().next().is_none() {
            self.rewrite = None;
        }
    }

    /// Names of all its structures.
    pub fn structures(&self) -> impl Iterator<Item = StructureId> {
        self.sstables
            .values()
            .flat_map(|entry| entry.components.iter().map(|component| component.structure))
    }
}

impl State {
    /// Applies an edit, or says why it has no meaning here. After an error the state is as it was.
    pub fn apply(&mut self, edit: &Edit) -> Result<(), String> {
        if let Edit::CreateTable { table, log_floor } = edit {
            return self.create(*table, *log_floor);
        }
        if let Edit::DropTable { table } = edit {
            self.tables.remove(table);
            return Ok(());
        }
        let table = edit.table();
        let state = self
            .tables
            .get_mut(&table)
            .ok_or_else(|| format!("table {table} is not there"))?;
        match edit {
            Edit::CreateTable { .. } | Edit::DropTable { .. } => {}
            Edit::AddSstables {
                added,
                removed,
                log_floor,
                ..
            } => replace(state, added, removed, *log_floor)?,
            Edit::Rewrap { wraps, .. } => rewrap(state, wraps),
            Edit::RootEpoch {
                epoch, root_hash, ..
            } => {
                if *epoch < state.epoch {
                    return Err(format!(
                        "epoch {epoch} of table {table} is behind {}",
                        state.epoch
                    ));
                }
                state.epoch = *epoch;
                state.root_hash = *root_hash;
            }
            Edit::LogFloor { floor, .. } => state.log_floor = state.log_floor.max(*floor),
            Edit::Rewrite { rewrite, .. } => state.rewrite = Some(*rewrite),
            Edit::DropStore { store, .. } => {
                state.sstables.retain(|_, entry| entry.store != *store);
                state.dropped_stores.insert(*store);
            }
        }
        state.forget_finished_rewrite();
        Ok(())
    }

    fn create(&mut self, table: TableId, log_floor: u64) -> Result<(), String> {
        if self.tables.contains_key(&table) {
            return Err(format!("table {table} is there already"));
        }
        let state = TableState {
            log_floor,
            next_sstable: 1,
            ..TableState::default()
        };
        self.tables.insert(table, state);
        Ok(())
    }

    /// The edits that make this state from nothing.
    pub fn snapshot(&self) -> Vec<Edit> {
        let mut edits = Vec::with_capacity(self.tables.len() * 3);
        for (&table, state) in &self.tables {
            let log_floor = state.log_floor;
            edits.push(Edit::CreateTable { table, log_floor });
            if state.epoch > 0 {
                edits.push(Edit::RootEpoch {
                    table,
                    epoch: state.epoch,
                    root_hash: state.root_hash,
                });
            }
            if !state.sstables.is_empty() {
                edits.push(Edit::AddSstables {
                    table,
                    added: state.sstables.values().cloned().collect(),
                    removed: Vec::new(),
                    log_floor: None,
                });
            }
            if let Some(rewrite) = state.rewrite {
                edits.push(Edit::Rewrite { table, rewrite });
            }
            let dropped = state.dropped_stores.iter();
            edits.extend(dropped.map(|store| Edit::DropStore {
                table,
                store: *store,
            }));
        }
        edits
    }
}

fn replace(
    state: &mut TableState,
    added: &[SstableEntry],
    removed: &[u64],
    log_floor: Option<u64>,
) -> Result<(), String> {
    if let Some(id) = removed.iter().find(|id| !state.sstables.contains_key(id)) {
        return Err(format!("SSTable {id} is not there to be removed"));
    }
    if let Some(entry) = added
        .iter()
        .find(|entry| state.sstables.contains_key(&entry.id) && !removed.contains(&entry.id))
    {
        return Err(format!("SSTable {} is there already", entry.id));
    }
    if let Some(entry) = added
        .iter()
        .find(|entry| state.dropped_stores.contains(&entry.store))
    {
        return Err(format!(
            "SSTable {} is of store {}, which has ended",
            entry.id, entry.store.0
        ));
    }
    for id in removed {
        state.sstables.remove(id);
    }
    for entry in added {
        state.next_sstable = state.next_sstable.max(entry.id.saturating_add(1));
        state.sstables.insert(entry.id, entry.clone());
    }
    if let Some(floor) = log_floor {
        state.log_floor = state.log_floor.max(floor);
    }
    Ok(())
}

/// Structures that a compaction removed meanwhile are passed over.
fn rewrap(state: &mut TableState, wraps: &[(StructureId, palladium_crypto::WrappedDataKey)]) {
    let wraps: BTreeMap<_, _> = wraps
        .iter()
        .map(|(structure, wrapped)| (*structure, wrapped))
        .collect();
    for component in state
        .sstables
        .values_mut()
        .flat_map(|entry| &mut entry.components)
    {
        if let Some(wrapped) = wraps.get(&component.structure) {
            component.wrapped = (*wrapped).clone();
        }
    }
}
