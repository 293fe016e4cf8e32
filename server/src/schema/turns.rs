//! Whose turn it is to change the schema.
//!
//! ```text
//! turn ── plan ── reserve the table ── turn over ── key services, the engine ── turn ── plan again ── write, swap ── turn over ── destroy what was dropped
//!                    └──────────────── others change other tables meanwhile ────────────────┘
//! ```
//!
//! From its plan to its swap a change is alone. What may take long and concerns one table (the key services that a CREATE or ALTER asks, the destruction that
//! follows a DROP) goes on outside of its turn, while the table is reserved: a key service that hangs holds up those who want that very table, and nobody else.
//!
//! What must hold: a change that touches a reserved table, or its whole keyspace, waits until that is over and then begins anew; whoever has reserved a table plans
//! again when his turn comes.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};

use palladium_protocol::response::{SchemaChange, SchemaTarget};
use tokio::sync::{OwnedRwLockReadGuard, OwnedRwLockWriteGuard, RwLock, watch};

use super::TableSchema;

/// Keyspace and table.
type Name = (String, String);

/// Who changes what.
#[derive(Default)]
pub struct Turns {
    one_at_a_time: tokio::sync::Mutex<()>,
    /// Shared by changes under way, held alone by a server that stops.
    under_way: Arc<RwLock<()>>,
    reserved: Mutex<BTreeMap<Name, Reserved>>,
}

/// What goes on with a reserved table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Doing {
    /// Its key is being made.
    Creating,
    /// It is being put under another key.
    Switching,
    /// The schema has forgotten it; it is being destroyed.
    Deleting,
}

struct Reserved {
    table: Arc<TableSchema>,
    doing: Doing,
    /// Ends when the reservation does.
    over: watch::Receiver<()>,
}

/// Tables that nobody else changes until this is dropped.
pub struct Reservation<'a> {
    turns: &'a Turns,
    names: Vec<Name>,
    _over: watch::Sender<()>,
}

/// Something that must be over first.
pub struct InTheWay(watch::Receiver<()>);

impl InTheWay {
    /// Waits until it is.
    pub async fn over(mut self) {
        // Nothing is ever sent: this ends when the sender is gone.
        let _ = self.0.changed().await;
    }
}

impl Turns {
    /// Waits for one's turn, which lasts until the guard is dropped.
    pub async fn turn(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.one_at_a_time.lock().await
    }

    /// A change begins: it runs to its end even if its client leaves, and the audit trail stays open until the guard is dropped. None: the server stops.
    pub fn begin(&self) -> Option<OwnedRwLockReadGuard<()>> {
        self.under_way.clone().try_read_owned().ok()
    }

    /// Waits until all changes are over; none begins from now on, as long as the guard is kept.
    pub async fn end(&self) -> OwnedRwLockWriteGuard<()> {
        self.under_way.clone().write_owned().await
    }

    /// What a change must wait for. Asked in one's turn.
    pub fn in_the_way(&self, change: &SchemaChange) -> Option<InTheWay> {
        let reserved = self.reserved();
        let of_keyspace = reserved
            .iter()
            .filter(|((keyspace, _), _)| *keyspace == change.keyspace);
        let mut in_the_way = of_keyspace.filter(|((_, name), _)| match &change.target {
            SchemaTarget::Keyspace => true,
            SchemaTarget::Table(table) => table == name,
            _ => false,
        });
        in_the_way
            .next()
            .map(|(_, reserved)| InTheWay(reserved.over.clone()))
    }

    /// Reserves tables, none of which is reserved by another. Asked in one's turn.
    pub fn reserve(&self, tables: Vec<(Arc<TableSchema>, Doing)>) -> Reservation<'_> {
        let (over, is_over) = watch::channel(());
        let mut reserved = self.reserved();
        let names = tables.into_iter().map(|(table, doing)| {
            let name = (table.keyspace.clone(), table.name.clone());
            let entry = Reserved {
                table,
                doing,
                over: is_over.clone(),
            };
            reserved.insert(name.clone(), entry);
            name
        });
        let names = names.collect();
        Reservation {
            turns: self,
            names,
            _over: over,
        }
    }

    /// The tables that are reserved, and what goes on with them.
    pub fn under_way(&self) -> Vec<(Arc<TableSchema>, Doing)> {
        let reserved = self.reserved();
        let all = reserved.values();
        all.map(|entry| (entry.table.clone(), entry.doing))
            .collect()
    }

    fn reserved(&self) -> MutexGuard<'_, BTreeMap<Name, Reserved>> {
        self.reserved.lock().expect("no holder of this lock panics")
    }
}

impl Reservation<'_> {
    /// Whether no table is reserved by it.
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }
}

/// The names are free before those who wait wake up.
impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let mut reserved = self.turns.reserved();
        for name in &self.names {
            reserved.remove(name);
        }
    }
}
