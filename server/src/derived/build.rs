//! An index or a view that is made of a table with rows in it: the rows are walked in the background and what is derived from them is written.
//!
//! How far that has come stands in the records of the server (`records`, kind "index_builds": table id and store, then the token of a partition, 8 bytes), so that
//! a restart goes on with that partition. A token and no more: records are under the service's key, and a row's own key belongs under its table's. Until the walk
//! is over an index answers no query, and a view shows what has come so far; then the schema says that it is built.
//!
//! A value too long to be indexed, which nobody could have written with the index there, is left out.
//!
//! What must hold: when the walk begins, every write that did not know of the index is visible. What is written from then on brings its own entries.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use palladium_crypto::TableId;
use palladium_protocol::ErrorCode;
use palladium_storage::{
    Cell, Clustering, KeyRange, Limits, PartitionBound, PartitionKey, PartitionRows,
    PartitionUpdate, ReadCommand, ReadPosition, Row, Slices, Store, Token, Write,
};

use super::entries::{self, Entry, TooLong};
use super::layout;
use super::{nearest, views};
use crate::Engine;
use crate::audit::Asker;
use crate::complaint::Complaint;
use crate::database::Database;
use crate::error::{CqlError, CqlResult};
use crate::records;
use crate::schema::{Column, ColumnKind, Index, TableSchema, View, store};
use crate::service_key::ServiceKey;

/// The kind of record that says how far a build has come.
const RECORDS: &str = "index_builds";
/// Rows that are read at a time.
const PAGE_ROWS: u32 = 500;
/// Bytes that are read at a time.
const PAGE_BYTES: usize = 1 << 20;
/// Cells of a row whose entries are in memory at a time. Each names the row: those of a large set under a long key take far more than the row itself.
const PIECE_CELLS: usize = 500;
/// What an entry costs beside its own bytes, and no less.
const ENTRY_BYTES: usize = 128;
/// Pages after which the position is noted.
const PAGES_PER_NOTE: u32 = 64;
/// Before a build that could not go on (a locked table, a full disk) is tried again.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Before it is said again of a build that it cannot go on: a table may be locked for months.
const REMINDER: Duration = Duration::from_secs(600);
/// How long whoever made an index waits for it: long enough for most tables in tests and small ones in life.
const PATIENCE: Duration = Duration::from_secs(2);

/// Goes on with what a restart has cut short: builds, and stores that nobody names any more.
pub async fn resume(database: &Arc<Database>) {
    renew(database).await;
    let catalog = database.catalog.load_full();
    let mut under_way = Vec::new();
    for table in catalog.customer_tables() {
        let ended = database.engine.dropped_stores(table.id).await;
        let of_views = || table.views.iter().map(|view| view.store());
        let named = |store: Store| {
            let of_indexes = table.indexes.iter().map(|index| index.store);
            of_indexes.chain(of_views()).any(|own| own == store)
        };
        for store in (1..table.next_store).map(Store) {
            if !named(store) && !ended.contains(&store) {
                end_store(database, table, store).await;
            }
        }
        for index in table.indexes.iter().filter(|index| !index.is_built) {
            under_way.push((table.clone(), index.store));
        }
        for view in table.views.iter().filter_map(|view| view.view.as_ref()) {
            if !view.is_built {
                under_way.push((table.clone(), view.store));
            }
        }
    }
    if let Err(error) = sweep(database, &under_way).await {
        tracing::warn!(%error, "notes of builds that nobody needs any more go at the next start");
    }
    for (table, store) in under_way {
        begin(database, table, store);
    }
}

/// Gives a store of its own to each index whose entries stand in an older layout, and to each index and view whose store has ended, though it is named still. There it is
/// built; the old store ends with those that nobody names.
async fn renew(database: &Arc<Database>) {
    let catalog = database.catalog.load_full();
    for table in catalog.customer_tables() {
        let ended = database.engine.dropped_stores(table.id).await;
        let is_old = |index: &Arc<Index>| {
            index.layout != layout::current(index) || ended.contains(&index.store)
        };
        let is_gone = |store: Store| ended.contains(&store);
        if !table.indexes.iter().any(is_old)
            && !table.views.iter().any(|view| is_gone(view.store()))
        {
            continue;
        }
        let renewed = database.change_table(table, |definition| {
            for view in definition
                .views
                .iter_mut()
                .filter(|view| is_gone(view.store))
            {
                let Some(store) = fresh_store(&mut definition.next_store) else {
                    continue;
                };
                let view = Arc::make_mut(view);
                view.store = store;
                view.is_built = false;
            }
            for index in definition.indexes.iter_mut().filter(|index| is_old(index)) {
                let Some(store) = fresh_store(&mut definition.next_store) else {
                    continue;
                };
                let index = Arc::make_mut(index);
                index.store = store;
                index.layout = layout::current(index);
                index.is_built = false;
            }
        });
        if let Err(error) = renewed.await {
            tracing::warn!(table = %table.id, code = error.code() as i32, "indexes in an older layout are made anew at the next start");
        }
    }
}

/// A store that nothing was written to. None: the last number stays unused, as it does for whoever makes an index.
fn fresh_store(next_store: &mut u16) -> Option<Store> {
    let next = next_store.checked_add(1)?;
    Some(Store(std::mem::replace(next_store, next)))
}

/// Lets all that is derived from these tables be built anew at the next start, in stores of its own. They have lost something: entries of rows that are still there, rows that
/// a view still shows, or what hid older rows, whose entries have been forgotten.
pub async fn begin_anew(
    engine: &Engine,
    service: &ServiceKey,
    tables: &[TableId],
) -> Result<(), String> {
    let meant = |table: &TableSchema| tables.contains(&table.id);
    store::change_tables(engine, service, meant, |definition| {
        let numbers = &mut definition.next_store;
        for index in &mut definition.indexes {
            let index = Arc::make_mut(index);
            index.store = fresh_store(numbers).unwrap_or(index.store);
            index.is_built = false;
        }
        for view in &mut definition.views {
            let view = Arc::make_mut(view);
            view.store = fresh_store(numbers).unwrap_or(view.store);
            view.is_built = false;
        }
    })
    .await
}

/// Removes the notes of builds that are over, and of what was dropped meanwhile.
async fn sweep(
    database: &Database,
    under_way: &[(Arc<TableSchema>, Store)],
) -> palladium_storage::Result<()> {
    let names: Vec<Vec<u8>> = under_way
        .iter()
        .map(|(table, store)| name_of(table, *store))
        .collect();
    let noted = records::read(&database.engine, RECORDS).await?;
    let over = noted
        .into_iter()
        .map(|(name, noted)| (name.to_vec(), decode(&noted)))
        .filter(|(name, token)| !names.contains(name) || token.is_none())
        .map(|(name, _)| (name, None));
    records::write(&database.engine, RECORDS, over.collect()).await
}

async fn end_store(database: &Database, table: &TableSchema, store: Store) {
    if let Err(error) = database.engine.drop_store(table.id, store).await {
        tracing::warn!(table = %table.id, store = store.0, %error, "what is left of an index goes at the next start");
    }
}

/// Begins a build, and waits a little for its end.
pub async fn begin_and_wait(database: &Arc<Database>, table: Arc<TableSchema>, store: Store) {
    let build = begin(database, table, store);
    // Not over by then: it goes on.
    let _ = tokio::time::timeout(PATIENCE, build).await;
}

fn begin(
    database: &Arc<Database>,
    table: Arc<TableSchema>,
    store: Store,
) -> tokio::task::JoinHandle<()> {
    let database = Arc::downgrade(database);
    tokio::spawn(async move {
        let mut is_first = true;
        let mut complaints: HashMap<ErrorCode, Complaint> = HashMap::new();
        while let Some(database) = database.upgrade() {
            if is_first {
                database.past_is_over().await;
                is_first = false;
            }
            match attempt(&database, &table, store).await {
                Ok(()) => return,
                Err(error) => {
                    let code = error.code();
                    let complaint = complaints.entry(code).or_default();
                    if complaint.is_due_each(REMINDER, Instant::now()) {
                        let reason = reason_of(&error);
                        tracing::warn!(table = %table.id, store = store.0, ?code, reason, "an index or a view is built later");
                    }
                }
            }
            drop(database);
            tokio::time::sleep(RETRY_PAUSE).await;
        }
    })
}

/// The reason's own name, where it has one. Its words may name tables, which no log does.
fn reason_of(error: &CqlError) -> &str {
    let first = error.message.split(' ').next().unwrap_or_default();
    let is_name = |letter: char| letter.is_ascii_uppercase() || letter == '_';
    match first.contains('_') && first.chars().all(is_name) {
        true => first,
        false => "",
    }
}

/// Builds it, from where an earlier attempt got to.
async fn attempt(database: &Arc<Database>, table: &TableSchema, store: Store) -> CqlResult<()> {
    match Build::new(database, table, store).await? {
        Some(build) => build.run().await,
        None => forget(database, table, store).await,
    }
}

/// Nothing is under way any more.
async fn forget(database: &Database, table: &TableSchema, store: Store) -> CqlResult<()> {
    database.builds().remove(&(table.id, store));
    let change = (name_of(table, store), None);
    Ok(records::write(&database.engine, RECORDS, vec![change]).await?)
}

struct Build<'a> {
    database: &'a Arc<Database>,
    /// As it is now: columns may have come since.
    table: Arc<TableSchema>,
    store: Store,
    of: Derived,
    /// Where the walk begins.
    range: KeyRange,
    position: Option<ReadPosition>,
    /// Values that were left out because they are too long.
    left_out: u64,
}

/// What is built.
enum Derived {
    Index(Arc<Index>),
    View(Arc<View>),
}

impl Derived {
    fn is_built(&self) -> bool {
        match self {
            Derived::Index(index) => index.is_built,
            Derived::View(view) => view.is_built,
        }
    }
}

impl<'a> Build<'a> {
    /// None: the index is gone, or built.
    async fn new(
        database: &'a Arc<Database>,
        table: &TableSchema,
        store: Store,
    ) -> CqlResult<Option<Build<'a>>> {
        let Some((table, of)) = find(database, table, store) else {
            return Ok(None);
        };
        if of.is_built() {
            return Ok(None);
        }
        let noted = records::read(&database.engine, RECORDS).await?;
        let name = name_of(&table, store);
        let noted = noted.into_iter().find(|(own, _)| own[..] == name[..]);
        Ok(Some(Build {
            database,
            table,
            store,
            of,
            range: noted
                .and_then(|(_, value)| decode(&value))
                .map_or_else(KeyRange::all, from_token),
            position: None,
            left_out: 0,
        }))
    }

    async fn run(mut self) -> CqlResult<()> {
        let mut pages = 0;
        loop {
            self.database
                .keys
                .ensure(self.table.id, &Asker::server())
                .await?;
            let page = self.database.engine.read(self.command()).await?;
            self.derive(page.partitions).await?;
            let token = page.next.as_ref().map(|position| position.key.token());
            self.tell(token.unwrap_or(Token(i64::MAX)));
            let Some(position) = page.next else {
                break;
            };
            self.position = Some(position);
            pages += 1;
            if pages % PAGES_PER_NOTE == 0 {
                self.note().await?;
            }
            if find(self.database, &self.table, self.store).is_none() {
                return forget(self.database, &self.table, self.store).await;
            }
            tokio::task::yield_now().await;
        }
        self.tell_left_out();
        let (table, store) = (self.table.clone(), self.store);
        self.database
            .change_table(&table, |definition| {
                for index in &mut definition.indexes {
                    if index.store == store {
                        Arc::make_mut(index).is_built = true;
                    }
                }
                for view in &mut definition.views {
                    if view.store == store {
                        Arc::make_mut(view).is_built = true;
                    }
                }
            })
            .await?;
        forget(self.database, &self.table, self.store).await?;
        if let Some((table, Derived::Index(index))) = find(self.database, &self.table, self.store) {
            nearest::begin(self.database, &table, &index);
        }
        Ok(())
    }

    /// Says of what was there before that it is not in here: whoever looks for it finds nothing.
    fn tell_left_out(&self) {
        let (table, store, count) = (self.table.id, self.store.0, self.left_out);
        match &self.of {
            _ if count == 0 => {}
            Derived::Index(_) => {
                tracing::warn!(%table, store, values = count, "values that are too long are not in an index");
            }
            Derived::View(_) => {
                tracing::warn!(%table, store, rows = count, "rows that have no place in a materialized view are not in it: their keys are too long or without an order, or they are larger than a write");
            }
        }
    }

    /// Says how far the walk has come, for `system_views.sstable_tasks`: tokens are spread evenly.
    fn tell(&self, token: Token) {
        let share = token.ordered_bits() as f64 / u64::MAX as f64;
        self.database
            .builds()
            .insert((self.table.id, self.store), share);
    }

    fn command(&self) -> ReadCommand {
        ReadCommand {
            table: self.table.id,
            store: Store::BASE,
            range: self.range.clone(),
            slices: Slices::all(),
            reversed: false,
            columns: self.table.storage_columns.clone(),
            limits: Limits {
                rows: PAGE_ROWS,
                bytes: PAGE_BYTES,
                ..Limits::NONE
            },
            resume: self.position.clone(),
            now: match &self.of {
                // Entries live as long as what they are for.
                Derived::Index(_) => i64::MIN,
                Derived::View(_) => views::seen_from(self.database.engine.now_seconds()),
            },
        }
    }

    async fn derive(&mut self, partitions: Vec<PartitionRows>) -> CqlResult<()> {
        match &self.of {
            Derived::Index(index) => {
                let Some(column) = self.table.column(&index.column) else {
                    return Ok(());
                };
                let mut waiting = Waiting::new(self.database, &self.table, index);
                for partition in partitions {
                    let key = partition.key.clone();
                    for update in pieces(column, partition) {
                        let mut entries = Vec::new();
                        entries::of_update(
                            &self.table,
                            index,
                            &key,
                            &update,
                            TooLong::LeftOut(&mut self.left_out),
                            &mut entries,
                        )?;
                        waiting.take(entries).await?;
                    }
                }
                waiting.write().await
            }
            Derived::View(_) => {
                let bytes_max = self.database.config.mutation_bytes_max() / 2;
                for PartitionRows { key, rows, .. } in partitions {
                    for rows in portions(&key, rows, bytes_max) {
                        self.left_out +=
                            views::rebuild(self.database, &self.table, self.store, &key, rows)
                                .await?;
                    }
                }
                Ok(())
            }
        }
    }

    async fn note(&self) -> CqlResult<()> {
        let token = self.position.as_ref().map(|position| position.key.token());
        let value = token.map(|token| token.0.to_be_bytes().to_vec());
        let change = (name_of(&self.table, self.store), value);
        Ok(records::write(&self.database.engine, RECORDS, vec![change]).await?)
    }
}

/// What one partition says of a column, in pieces whose entries are few.
fn pieces(column: &Column, partition: PartitionRows) -> Vec<PartitionUpdate> {
    let static_row = partition.static_row.map(|row| *row);
    let cut = |row: &Row| -> Vec<Row> {
        let cells = row.cells_of(column.id).chunks(PIECE_CELLS);
        let piece = |cells: &[Cell]| Row {
            cells: cells.to_vec(),
            ..Row::new(row.clustering.clone())
        };
        cells.map(piece).collect()
    };
    let of_static = |row| PartitionUpdate {
        static_row: Some(row),
        ..PartitionUpdate::default()
    };
    let of_rows = |rows| PartitionUpdate {
        rows,
        ..PartitionUpdate::default()
    };
    match column.kind {
        // One entry for all of it.
        ColumnKind::PartitionKey => vec![PartitionUpdate {
            static_row,
            ..of_rows(partition.rows)
        }],
        ColumnKind::Clustering => partition
            .rows
            .into_iter()
            .map(|row| of_rows(vec![row]))
            .collect(),
        ColumnKind::Static => static_row.iter().flat_map(cut).map(of_static).collect(),
        ColumnKind::Regular => partition
            .rows
            .iter()
            .flat_map(cut)
            .map(|row| of_rows(vec![row]))
            .collect(),
    }
}

/// Rows of one partition as a view gets them: as many together as one write takes easily, or one that is longer alone.
fn portions(key: &PartitionKey, rows: Vec<Row>, bytes_max: usize) -> Vec<Vec<Clustering>> {
    let mut portions: Vec<Vec<Clustering>> = Vec::new();
    let mut room = 0;
    for row in rows {
        // Each row of a view names the base's key, and what stands in order may take twice its bytes.
        let bytes = 2 * (key.bytes().len() + row.weight());
        match portions.last_mut().filter(|_| bytes <= room) {
            Some(portion) => {
                room -= bytes;
                portion.push(row.clustering);
            }
            None => {
                room = bytes_max.saturating_sub(bytes);
                portions.push(vec![row.clustering]);
            }
        }
    }
    portions
}

/// Entries that are not written yet. They are hints, and nothing needs two of them together: they go in as many writes as it takes, all of them before the walk goes on.
struct Waiting<'a> {
    database: &'a Database,
    table: &'a TableSchema,
    index: &'a Index,
    entries: Vec<Entry>,
    bytes: usize,
    /// Of one write: far less than is refused, so that there is room for an entry that is longer alone.
    bytes_max: usize,
}

impl<'a> Waiting<'a> {
    fn new(database: &'a Database, table: &'a TableSchema, index: &'a Index) -> Self {
        Waiting {
            database,
            table,
            index,
            entries: Vec::new(),
            bytes: 0,
            bytes_max: database.config.mutation_bytes_max() / 4,
        }
    }

    /// Takes some more, and writes those before them that fill a write.
    async fn take(&mut self, more: Vec<Entry>) -> CqlResult<()> {
        for entry in more {
            let bytes = entry_bytes(&entry);
            if self.bytes + bytes > self.bytes_max {
                self.write().await?;
            }
            self.bytes += bytes;
            self.entries.push(entry);
        }
        Ok(())
    }

    /// Writes what there is.
    async fn write(&mut self) -> CqlResult<()> {
        if self.entries.is_empty() {
            return Ok(());
        }
        self.bytes = 0;
        let entries = std::mem::take(&mut self.entries);
        let write = Write::new(entries::entries_written(self.table, self.index, entries));
        for result in self.database.engine.write(vec![write]).await {
            result?;
        }
        Ok(())
    }
}

fn entry_bytes((partition, row): &Entry) -> usize {
    partition.bytes().len() + row.clustering.0.len() + ENTRY_BYTES
}

/// The table as the schema knows it now, and its index in this store.
fn find(
    database: &Database,
    table: &TableSchema,
    store: Store,
) -> Option<(Arc<TableSchema>, Derived)> {
    let catalog = database.catalog.load();
    let now = catalog.table(&table.keyspace, &table.name)?;
    let index = now.indexes.iter().find(|index| index.store == store);
    let views = now.views.iter().filter_map(|view| view.view.as_ref());
    let view = || views.into_iter().find(|view| view.store == store);
    let of = index.cloned().map(Derived::Index);
    let of = of.or_else(|| view().cloned().map(Derived::View))?;
    (now.id == table.id).then(|| (now.clone(), of))
}

fn name_of(table: &TableSchema, store: Store) -> Vec<u8> {
    [&table.id.0[..], &store.0.to_be_bytes()].concat()
}

/// None: the build starts anew, which costs time and nothing else.
fn decode(noted: &[u8]) -> Option<Token> {
    let bytes = noted.try_into().ok()?;
    Some(Token(i64::from_be_bytes(bytes)))
}

fn from_token(token: Token) -> KeyRange {
    KeyRange::Range {
        start: PartitionBound::BeforeToken(token),
        end: PartitionBound::MAX,
    }
}
