//! What the log holds of each table, and from where on the table needs it: its *floor*.
//!
//! ```text
//! log        ─ segment 1 ─│─ segment 2 ─│─ segment 3 ─ ..
//! table A    a  a    a    │   A   A     │  A          floor of A in segment 2: what stands before it (a) is in SSTables, or gone
//! table B      b          │             │      B      floor of B in segment 3: segments 1 and 2 hold nothing for it, and B holds neither back
//! ```
//!
//! A floor is the first group of the log that a table still needs. It is part of the manifest, and each edit that moves it says in the same breath where the things are
//! that stood below:
//!
//! ```text
//! created            tables    behind all groups: what the log holds under that id is an earlier table's
//! written out        rewrite   behind all that the edit's new SSTables hold
//! truncated          tables    behind all that is gone
//! carried            relog     at the first of the groups in which the same shares stand anew
//! ```
//!
//! What follows from it: an unlock replays the shares from the floor on (`keys`); what is below is forgotten here, and a segment in which nobody needs anything goes,
//! the oldest first (`log_loop`), by the floors as the newest commit of the manifest says them: nobody waits for one that is under way. When the log is long, whoever needs something of its front is written out or carried (`relog`).
//!
//! What must hold:
//! - A floor moves only in its table's `rewriting`, and never back.
//! - It is never ahead of what the log will still have after a loss of power (`Inner::make_durable`): the numbers between would be given again, below the floor.
//! - All of a table that is in no SSTable stands at its floor or behind it; nothing that an SSTable has does, or it would come back when a merge has forgotten what
//!   deleted it.
//!
//! Addresses are kept for closed tables, too: no key is needed for them. One takes some 200 bytes of memory, and on the disk no less; where each group has one share,
//! a page of 4 KiB. So under a `log_bytes_max` of 1 GiB they take some 50 MiB, and at the very worst, thousands of tables in each group, as much as the log.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, MutexGuard};

use palladium_crypto::TableId;

use crate::commitlog::ShareAddress;
use crate::manifest::{Edit, State, TableState};

/// The floors as the manifest's newest commit says them, for those who cannot wait while another commit goes to the disk: a segment is released by these, and each of them is
/// durable. Never held across a wait.
pub(crate) struct Floors {
    /// The commit.
    pub(crate) commit: u64,
    /// Of each table in the manifest.
    pub(crate) tables: HashMap<TableId, u64>,
}

impl Floors {
    /// As a start finds them.
    pub(crate) fn of(state: &State, commit: u64) -> Self {
        let floor = |(table, state): (&TableId, &TableState)| (*table, state.log_floor);
        Floors {
            commit,
            tables: state.tables.iter().map(floor).collect(),
        }
    }

    /// A commit has made `edits` durable, and the manifest is in `state` by it. Costs what was edited, not what there is.
    pub(crate) fn committed(&mut self, edits: &[Edit], state: &State, commit: u64) {
        self.commit = commit;
        for table in edits.iter().map(Edit::table) {
            match state.tables.get(&table) {
                Some(state) => self.tables.insert(table, state.log_floor),
                None => self.tables.remove(&table),
            };
        }
    }

    /// The first group that a table still needs; none of one that is not there.
    pub(crate) fn floor(&self, table: TableId) -> u64 {
        self.tables.get(&table).copied().unwrap_or(u64::MAX)
    }
}

/// The shares of one table: by group, and by offset where a group holds several.
pub(crate) type Shares = BTreeMap<(u64, u64), ShareAddress>;

/// Memory for one of them: a map that grows at its end has its nodes half full.
const ADDRESS_BYTES: usize = 2 * size_of::<((u64, u64), ShareAddress)>();

/// Where each table's shares stand, from its floor on, or from where it was when segments were last released.
#[derive(Default)]
pub(crate) struct LogShares {
    tables: Mutex<HashMap<TableId, Shares>>,
}

impl LogShares {
    /// Notes where shares were written.
    pub(crate) fn add(&self, addresses: impl IntoIterator<Item = ShareAddress>) {
        let mut tables = self.tables();
        for address in addresses {
            tables
                .entry(address.table)
                .or_default()
                .insert((address.sequence, address.offset), address);
        }
    }

    /// What a table needs: its shares from its floor on, in order.
    pub(crate) fn needed_from(&self, table: TableId, floor: u64) -> Vec<ShareAddress> {
        let tables = self.tables();
        let known = tables.get(&table).into_iter();
        let needed = known.flat_map(|shares| shares.range((floor, 0)..));
        needed.map(|(_, share)| share.clone()).collect()
    }

    /// Forgets what stands below each table's floor, and all of tables that have none.
    pub(crate) fn forget_below(&self, floors: &HashMap<TableId, u64>) {
        self.tables()
            .retain(|table, shares| match floors.get(table) {
                Some(floor) => {
                    *shares = shares.split_off(&(*floor, 0));
                    !shares.is_empty()
                }
                None => false,
            });
    }

    /// Shows the shares of one table, if there are any. The log's loop waits meanwhile.
    pub(crate) fn of<T>(&self, table: TableId, see: impl FnOnce(&Shares) -> T) -> Option<T> {
        self.tables().get(&table).map(see)
    }

    /// The tables that have any.
    pub(crate) fn holders(&self) -> Vec<TableId> {
        self.tables().keys().copied().collect()
    }

    /// Tables with shares in the first quarter of the segments that hold any, and how many sealed bytes they have in the log.
    pub(crate) fn pinning_the_front(&self) -> Vec<(TableId, u64)> {
        let tables = self.tables();
        let first = |shares: &Shares| Some(shares.values().next()?.segment);
        let last = |shares: &Shares| Some(shares.values().next_back()?.segment);
        let oldest = tables.values().filter_map(first).min().unwrap_or(0);
        let newest = tables.values().filter_map(last).max().unwrap_or(0);
        let border = oldest + (newest - oldest) / 4;
        let mut pinning: Vec<(TableId, u64)> = tables
            .iter()
            .filter(|(_, shares)| first(shares).is_some_and(|segment| segment <= border))
            .map(|(table, shares)| {
                let lengths = shares.values().map(|share| u64::from(share.length));
                (*table, lengths.sum())
            })
            .collect();
        pinning.sort();
        pinning
    }

    /// Bytes of memory that the addresses take.
    pub(crate) fn memory_bytes(&self) -> usize {
        let shares: usize = self.tables().values().map(BTreeMap::len).sum();
        shares * ADDRESS_BYTES
    }

    fn tables(&self) -> MutexGuard<'_, HashMap<TableId, Shares>> {
        self.tables.lock().expect("no holder of this lock panics")
    }
}
