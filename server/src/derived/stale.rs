//! Entries that no row bears out any more, told from the others when the store of an index is merged.
//!
//! ```text
//! entry ─► candidate ─► its row as the base has it ─► the entries that row has ─► is it one of them?
//! ```
//!
//! An entry in an SSTable came with a write that is visible. If its row does not have the value now, that write has lost for good: what could bring the value back is
//! another write, with an entry of its own, later than all SSTables that are merged. So it can be forgotten, whatever timestamps are to come. What has expired counts as
//! there until the base forgets it, too, because a client may say what time it is.
//!
//! What must hold: who cannot look (a locked table, a damaged block) leaves everything as it is.

use std::collections::{BTreeMap, HashSet};
use std::sync::{Arc, Weak};

use palladium_crypto::TableId;
use palladium_protocol::types::CqlType;
use palladium_storage::compaction::StaleRows;
use palladium_storage::{
    Clustering, KeyRange, Limits, PartitionKey, PartitionUpdate, ReadCommand, Slices, Store,
};

use super::entries::{self, TooLong};
use super::layout;
use crate::database::Database;
use crate::encode::key;
use crate::error::CqlResult;
use crate::schema::{Index, TableSchema};

/// The engine asks here from now on.
pub fn watch(database: &Arc<Database>) {
    let weak = Arc::downgrade(database);
    database
        .engine
        .leave_out_stale(Arc::new(move |table, store| of_store(&weak, table, store)));
}

/// None: no index is kept in this store, or one whose entries nobody reads any more.
fn of_store(database: &Weak<Database>, id: TableId, store: Store) -> Option<StaleRows> {
    let catalog = database.upgrade()?.catalog.load_full();
    let table = catalog.table_by_id(id)?.clone();
    let mut indexes = table.indexes.iter();
    let is_kept =
        |index: &&Arc<Index>| index.store == store && index.layout == layout::current(index);
    let index = indexes.find(is_kept)?;
    let column = table.column(&index.column)?;
    let of = Arc::new(Of {
        database: database.clone(),
        ty: index.term_type(&column.ty),
        index: index.clone(),
        table: table.clone(),
    });
    Some(Arc::new(move |partition, entries| {
        let (of, partition) = (of.clone(), partition.clone());
        Box::pin(async move {
            let fresh = of.fresh(&partition, &entries).await;
            let fresh = fresh.unwrap_or_else(|_| vec![true; entries.len()]);
            fresh.into_iter().map(|is_fresh| !is_fresh).collect()
        })
    }))
}

/// An index, as it was when a merge began.
struct Of {
    database: Weak<Database>,
    table: Arc<TableSchema>,
    index: Arc<Index>,
    /// The type of its terms.
    ty: CqlType,
}

impl Of {
    /// Which entries of a partition are those of rows as they are.
    async fn fresh(
        &self,
        partition: &PartitionKey,
        entries: &[Clustering],
    ) -> CqlResult<Vec<bool>> {
        let Some(database) = self.database.upgrade() else {
            return Ok(vec![true; entries.len()]);
        };
        // The partitions of the base, with what is sought in each.
        let mut sought: BTreeMap<PartitionKey, Vec<Option<Clustering>>> = BTreeMap::new();
        for entry in entries {
            let candidate = layout::candidate(&self.ty, partition, entry)?;
            let rows = sought.entry(candidate.key).or_default();
            rows.push(candidate.clustering);
        }
        let mut borne_out: HashSet<Clustering> = HashSet::new();
        for (key, rows) in sought {
            let update = self.read(&database, &key, rows).await?;
            let mut own = Vec::new();
            entries::of_update(
                &self.table,
                &self.index,
                &key,
                &update,
                TooLong::LeftOut(&mut 0),
                &mut own,
            )?;
            let here = own.into_iter().filter(|(of, _)| of == partition);
            borne_out.extend(here.map(|(_, row)| row.clustering));
        }
        let is_borne_out = |entry| borne_out.contains(entry);
        Ok(entries.iter().map(is_borne_out).collect())
    }

    /// Some rows of a partition of the base; for an entry of the whole partition its static row, and the first of the others.
    async fn read(
        &self,
        database: &Database,
        key: &PartitionKey,
        rows: Vec<Option<Clustering>>,
    ) -> CqlResult<PartitionUpdate> {
        let is_whole = rows.iter().any(Option::is_none);
        let stretch = |row: Clustering| key::around(&row);
        let slices = match (is_whole, &rows[..]) {
            (true, _) => Slices::all(),
            (false, [Some(row)]) => {
                let (start, end) = key::around(row);
                Slices::row(start, row.clone(), end)
            }
            (false, _) => Slices::new(rows.into_iter().flatten().map(stretch).collect()),
        };
        let command = ReadCommand {
            table: self.table.id,
            store: Store::BASE,
            range: KeyRange::One(key.clone()),
            slices,
            reversed: false,
            columns: self.table.storage_columns.clone(),
            limits: Limits {
                rows: if is_whole { 1 } else { u32::MAX },
                ..Limits::NONE
            },
            resume: None,
            // Before anything expires.
            now: i64::MIN,
        };
        let page = database.engine.read(command).await?;
        let mut update = PartitionUpdate::default();
        for partition in page.partitions {
            update.static_row = partition.static_row.map(|row| *row);
            update.rows = partition.rows;
        }
        Ok(update)
    }
}
