//! What clients ask of a server, as the server does it: writes that open their tables first, reads page by page, schema changes one at a time.
//!
//! Each request is a task of its own. What it hears it notes at once with the clocks of that moment, so that a crash takes nothing of what was answered before it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use bytes::Bytes;
use palladium::audit::Asker;
use palladium::error::{CqlError, CqlResult};
use palladium::keys::KeyKeeper;
use palladium_crypto::{CmkRef, TableId};
use palladium_storage::compaction::{SizeTiered, Strategy};
use palladium_storage::{
    Cell, CellState, Clustering, ColumnId, Columns, CompactionOptions, Deletion, Engine, Env,
    Error, KeyRange, LatchGuard, Limits, Liveness, Mutation, NewTable, PartitionBound,
    PartitionKey, PartitionUpdate, ReadCommand, ReadPage, Reading, Row, SimulatedBackend,
    SimulatedEnv, Slices, Store, TableOptions, Token, Write,
};

use crate::registers::Pair;
use crate::world::{COUNTER, REGISTER, ROWS, SECOND};

pub const KEYSPACE: &str = "ks";
const COLUMN: ColumnId = ColumnId(1);

/// Where a value stands: partition and row.
pub type Place = (u64, u64);
/// What a table holds.
pub type Rows = BTreeMap<Place, u64>;

/// What a request heard.
#[derive(Debug)]
pub enum Said {
    /// A write goes to the log now: the server has found all its tables open.
    Submitted,
    Written(CqlResult<()>),
    /// The log failed under the write, and this is told.
    Unsure(CqlError),
    /// What stands in a register, under its partition's latch.
    Looked(Pair),
    /// A conditional write was not applied: that is what it saw.
    NotApplied(Pair),
    /// A page of a table left for the client.
    Page,
    /// All rows, the last page included.
    Rows(Rows),
    Done(CqlResult<()>),
    /// No request heard this: a sealed block of a table is being opened.
    Opened(TableId),
}

/// One thing heard.
pub struct Heard {
    pub request: u64,
    pub at: Reading,
    pub said: Said,
}

/// A server from its start to its end.
#[derive(Clone)]
pub struct Life {
    pub engine: Engine<SimulatedBackend>,
    pub keeper: KeyKeeper<SimulatedBackend>,
    pub env: Arc<SimulatedEnv>,
    pub heard: Arc<Mutex<Vec<Heard>>>,
    pub ddl: Arc<futures::lock::Mutex<()>>,
    /// The server's own table, which needs no key service.
    pub system: TableId,
}

pub fn table_options() -> TableOptions {
    TableOptions {
        gc_grace_seconds: 864_000,
        block_bytes: 256,
        compression: palladium_storage::Compression::Zstd { level: 1 },
        compaction: CompactionOptions {
            enabled: true,
            strategy: Strategy::SizeTiered(SizeTiered {
                min_threshold: 3,
                max_threshold: 4,
                min_sstable_size: 0,
                ..SizeTiered::default()
            }),
            ..CompactionOptions::default()
        },
        ..TableOptions::default()
    }
}

fn partition(number: u64) -> PartitionKey {
    let token = (number as i64 + 1).wrapping_mul(0x1234_5678_9abc_def1);
    PartitionKey::new(Token(token), Bytes::copy_from_slice(&number.to_be_bytes()))
}

/// A value is found again in many bytes, so that no other one passes for it.
fn spelled(value: u64) -> Bytes {
    Bytes::from(value.to_be_bytes().repeat(4 + (value % 5) as usize))
}

/// Where a store has what stands at a place, and the place of what a store has there: what is derived from a table has the same values, found by row and then by
/// partition, as an index finds them.
fn turned(store: Store, (first, second): Place) -> Place {
    match store {
        Store::BASE => (first, second),
        _ => (second, first),
    }
}

fn clustering(row: u64, end: u8) -> Clustering {
    Clustering(Bytes::from(vec![0x40, row as u8, end]))
}

/// A row with this value, or the deletion of the row, as a store has it.
pub fn mutation(
    table: TableId,
    store: Store,
    place: Place,
    value: Option<u64>,
    timestamp: i64,
) -> Mutation {
    let (key, row) = turned(store, place);
    let cell = |value| Cell {
        column: COLUMN,
        path: Bytes::new(),
        timestamp,
        state: CellState::Live(spelled(value)),
    };
    let row = Row {
        clustering: clustering(row, 0x80),
        liveness: value.map(|_| Liveness {
            timestamp,
            ttl: 0,
            expires_at: 0,
        }),
        deletion: value.is_none().then_some(Deletion {
            timestamp,
            local_deletion_time: timestamp / 1_000_000,
        }),
        complex_deletions: Vec::new(),
        cells: value.map(cell).into_iter().collect(),
    };
    Mutation {
        table,
        store,
        key: partition(key),
        update: PartitionUpdate {
            rows: vec![row],
            ..PartitionUpdate::default()
        },
    }
}

/// Which rows a request wants.
#[derive(Debug, Clone, Copy)]
pub struct Wanted {
    /// The base, or what is derived from it.
    pub store: Store,
    /// One partition of the store, or all of it.
    pub partition: Option<u64>,
    /// One row of that partition alone.
    pub row: Option<u64>,
    pub page_rows: u32,
    pub reversed: bool,
    /// How long the client looks at each page.
    pub thinks: Duration,
}

impl Wanted {
    /// All that a store has, at once.
    pub fn everything(store: Store) -> Wanted {
        Wanted {
            store,
            partition: None,
            row: None,
            page_rows: u32::MAX,
            reversed: false,
            thinks: Duration::ZERO,
        }
    }

    /// Whether what stands at a place is wanted.
    pub fn covers(self, place: Place) -> bool {
        let (partition, row) = turned(self.store, place);
        self.partition.is_none_or(|wanted| wanted == partition)
            && self.row.is_none_or(|wanted| wanted == row)
    }
}

fn command(table: TableId, wanted: Wanted, now: i64) -> ReadCommand {
    ReadCommand {
        table,
        store: wanted.store,
        range: match wanted.partition {
            Some(number) => KeyRange::One(partition(number)),
            None => KeyRange::Range {
                start: PartitionBound::MIN,
                end: PartitionBound::MAX,
            },
        },
        slices: match wanted.row {
            Some(row) => Slices::row(
                clustering(row, 0x00),
                clustering(row, 0x80),
                clustering(row, 0xff),
            ),
            None => Slices::all(),
        },
        reversed: wanted.reversed && wanted.partition.is_some(),
        columns: Arc::new(Columns {
            regular: vec![COLUMN],
            statics: Vec::new(),
        }),
        limits: Limits {
            rows: wanted.page_rows,
            ..Limits::NONE
        },
        resume: None,
        now,
    }
}

fn rows_of(page: ReadPage, store: Store, found: &mut Rows) {
    for partition in page.partitions {
        let key = u64::from_be_bytes(partition.key.bytes().as_ref().try_into().unwrap());
        for row in partition.rows {
            let bytes = match &row.cells[0].state {
                CellState::Live(bytes) | CellState::Expiring { value: bytes, .. } => bytes,
                CellState::Tombstone { .. } => panic!("a tombstone is visible"),
            };
            let value = u64::from_be_bytes(bytes[..8].try_into().unwrap());
            assert_eq!(*bytes, spelled(value), "a value that nobody wrote");
            let place = turned(store, (key, u64::from(row.clustering.0[1])));
            assert!(found.insert(place, value).is_none(), "{place:?} came twice");
        }
    }
}

/// What is derived from rows of a base.
fn derived(table: TableId, store: Store, page: ReadPage) -> Vec<Mutation> {
    let mut all = Vec::new();
    for partition in page.partitions {
        let key = u64::from_be_bytes(partition.key.bytes().as_ref().try_into().unwrap());
        for row in partition.rows {
            let place = (key, u64::from(row.clustering.0[1]));
            let cell = &row.cells[0];
            let CellState::Live(bytes) = &cell.state else {
                panic!("a tombstone is visible");
            };
            let value = u64::from_be_bytes(bytes[..8].try_into().unwrap());
            if place.1 < ROWS {
                all.push(mutation(table, store, place, Some(value), cell.timestamp));
            }
        }
    }
    all
}

impl Life {
    pub fn now(&self) -> Reading {
        Reading::now(&*self.env)
    }

    fn say(&self, request: u64, said: Said) {
        let at = self.now();
        let mut heard = self.heard.lock().expect("no holder of this lock panics");
        heard.push(Heard { request, at, said });
    }

    /// Starts a request.
    pub fn spawn(&self, work: impl Future<Output = ()> + Send + 'static) {
        self.env.spawn(Box::pin(work));
    }

    async fn ensure(&self, id: TableId) -> CqlResult<()> {
        match id == self.system {
            true => Ok(()),
            false => self.keeper.ensure(id, &Asker::server()).await,
        }
    }

    fn write_refused(&self, error: Error) -> CqlError {
        let trouble = match &error {
            Error::KeyUnavailable { table } => self.keeper.trouble(*table),
            _ => None,
        };
        trouble.unwrap_or_else(|| CqlError::from(error))
    }

    async fn open_for(&self, write: &Write) -> CqlResult<()> {
        // Twice: one that was open may have fallen asleep while another one was opened.
        for _ in 0..2 {
            let mut tables = write.mutations.iter().map(|each| each.table);
            if tables.all(|id| self.engine.lease_alive(id)) {
                break;
            }
            for mutation in &write.mutations {
                self.ensure(mutation.table).await?;
            }
        }
        Ok(())
    }

    pub async fn write(self, request: u64, write: Write) {
        self.submit(request, write, None).await;
    }

    async fn submit(&self, request: u64, write: Write, latch: Option<LatchGuard>) {
        if let Err(error) = self.open_for(&write).await {
            return self.say(request, Said::Written(Err(error)));
        }
        self.say(request, Said::Submitted);
        let ticket = match latch {
            Some(latch) => self.engine.write(vec![write.under(latch)]),
            None => self.engine.write(vec![write]),
        };
        let said = match ticket.await.remove(0) {
            Ok(()) => Said::Written(Ok(())),
            Err(error @ Error::OutcomeUnknown { .. }) => Said::Unsure(self.write_refused(error)),
            Err(error) => Said::Written(Err(self.write_refused(error))),
        };
        self.say(request, said);
    }

    /// What is there of what is wanted, for who holds its latch.
    async fn look(&self, id: TableId, wanted: Wanted) -> CqlResult<Rows> {
        let command = command(id, wanted, self.engine.now_seconds());
        let mut found = Rows::new();
        rows_of(self.page(&command).await?, wanted.store, &mut found);
        Ok(found)
    }

    /// One more in a partition's counter: looked at and written under the partition's latch.
    pub async fn count(self, request: u64, id: TableId, key: u64) {
        let latch = self.engine.latch(id, &partition(key)).await;
        let wanted = Wanted {
            partition: Some(key),
            row: Some(COUNTER),
            ..Wanted::everything(Store::BASE)
        };
        let found = match self.look(id, wanted).await {
            Ok(found) => found,
            Err(error) => return self.say(request, Said::Written(Err(error))),
        };
        let total = found.into_values().next().unwrap_or(0);
        let timestamp = self.engine.next_timestamp();
        let counted = mutation(id, wanted.store, (key, COUNTER), Some(total + 1), timestamp);
        let write = Write::new(vec![counted]);
        self.submit(request, write, Some(latch)).await;
    }

    /// A register is given a value, if its first row holds what is expected; and so is the second one, where it is a batch.
    pub async fn compare(
        self,
        request: u64,
        id: TableId,
        key: u64,
        expected: Option<u64>,
        value: u64,
        is_batch: bool,
    ) {
        let latch = self.engine.latch(id, &partition(key)).await;
        let wanted = Wanted {
            partition: Some(key),
            ..Wanted::everything(Store::BASE)
        };
        let found = match self.look(id, wanted).await {
            Ok(found) => found,
            Err(error) => return self.say(request, Said::Written(Err(error))),
        };
        let holds = [REGISTER, SECOND].map(|row| found.get(&(key, row)).copied());
        let seen = (holds[0], holds[1]);
        self.say(request, Said::Looked(seen));
        if seen.0 != expected {
            return self.say(request, Said::NotApplied(seen));
        }
        let timestamp = self.engine.next_timestamp();
        let row = |row| mutation(id, wanted.store, (key, row), Some(value), timestamp);
        let mut both = row(REGISTER);
        if is_batch {
            both.update.rows.extend(row(SECOND).update.rows);
        }
        let write = Write::new(vec![both]);
        self.submit(request, write, Some(latch)).await;
    }

    pub async fn truncate(self, request: u64, id: TableId) {
        if let Err(error) = self.ensure(id).await {
            return self.say(request, Said::Written(Err(error)));
        }
        let said = match self.engine.truncate(id).await {
            Ok(()) => Said::Written(Ok(())),
            Err(error @ Error::KeyUnavailable { .. }) => {
                Said::Written(Err(self.write_refused(error)))
            }
            // It may have come to its end all the same.
            Err(error) => Said::Done(Err(error.into())),
        };
        self.say(request, said);
    }

    async fn page(&self, command: &ReadCommand) -> CqlResult<ReadPage> {
        match self.engine.try_read(command) {
            Some(Ok(page)) => return Ok(page),
            None | Some(Err(Error::KeyUnavailable { .. })) => {}
            Some(Err(error)) => return Err(error.into()),
        }
        for _ in 0..2 {
            match self.engine.read(command.clone()).await {
                Ok(page) if self.engine.lease_alive(command.table) => return Ok(page),
                Ok(_) | Err(Error::KeyUnavailable { .. }) => self.ensure(command.table).await?,
                Err(error) => return Err(error.into()),
            }
        }
        Err(CqlError::unavailable("taken away while it was read"))
    }

    pub async fn read(self, request: u64, id: TableId, wanted: Wanted) {
        let mut command = command(id, wanted, self.engine.now_seconds());
        let mut found = Rows::new();
        loop {
            let page = match self.page(&command).await {
                Ok(page) => page,
                Err(error) => return self.say(request, Said::Done(Err(error))),
            };
            self.say(request, Said::Page);
            command.resume = page.next.clone();
            rows_of(page, wanted.store, &mut found);
            if command.resume.is_none() {
                return self.say(request, Said::Rows(found));
            }
            if !wanted.thinks.is_zero() {
                self.env.sleep(wanted.thinks).await;
            }
        }
    }

    /// Flush, or flush and merge.
    pub async fn tidy(self, request: u64, id: TableId, merges: bool) {
        let done = match merges {
            true => self.engine.compact(Some(id)).await,
            false => self.engine.flush(Some(id)).await,
        };
        self.say(request, Said::Done(done.map_err(CqlError::from)));
    }

    pub async fn create(self, request: u64, id: TableId, name: String, cmk: CmkRef) {
        let _one_at_a_time = self.ddl.lock().await;
        let created = self.try_create(id, &name, &cmk).await;
        self.say(request, Said::Done(created));
    }

    async fn try_create(&self, id: TableId, name: &str, cmk: &CmkRef) -> CqlResult<()> {
        let asker = Asker::server();
        let made = self.keeper.generate(KEYSPACE, name, id, cmk, &asker).await;
        let (root, keys) = made?;
        let lease = keys.lease;
        let new = NewTable {
            id,
            options: table_options(),
            root: Some(root),
            keys,
        };
        self.engine.create_table(new).await?;
        self.keeper.register(id, KEYSPACE, name);
        self.keeper.opened(id, lease).await;
        self.keeper.keep(id).await;
        Ok(())
    }

    pub async fn switch(self, request: u64, id: TableId, cmk: CmkRef) {
        let _one_at_a_time = self.ddl.lock().await;
        let switched = self.try_switch(id, &cmk).await;
        self.say(request, Said::Done(switched));
    }

    async fn try_switch(&self, id: TableId, cmk: &CmkRef) -> CqlResult<()> {
        let (root, keys) = self.keeper.switch(id, cmk, &Asker::server()).await?;
        let lease = keys.lease;
        let switched = self.engine.switch_key(id, root, keys).await;
        if switched.is_ok() {
            self.keeper.opened(id, lease).await;
        }
        self.keeper.keep(id).await;
        Ok(switched?)
    }

    /// New data keys for all that the table has, in the background.
    pub async fn rewrite(self, request: u64, id: TableId) {
        let _one_at_a_time = self.ddl.lock().await;
        let noted = self.engine.rewrite(id).await;
        self.say(request, Said::Done(noted.map_err(CqlError::from)));
    }

    /// Fills what is derived from a table from its base, page by page. Whoever writes meanwhile writes to both, with a later timestamp.
    pub async fn derive(self, request: u64, id: TableId, store: Store) {
        let derived = self.try_derive(id, store).await;
        self.say(request, Said::Done(derived));
    }

    async fn try_derive(&self, id: TableId, store: Store) -> CqlResult<()> {
        let wanted = Wanted {
            page_rows: 5,
            ..Wanted::everything(Store::BASE)
        };
        let mut command = command(id, wanted, self.engine.now_seconds());
        loop {
            let page = self.page(&command).await?;
            command.resume = page.next.clone();
            let mutations = derived(id, store, page);
            if !mutations.is_empty() {
                let write = Write::new(mutations);
                self.open_for(&write).await?;
                let written = self.engine.write(vec![write]).await.remove(0);
                written.map_err(|error| self.write_refused(error))?;
            }
            if command.resume.is_none() {
                return Ok(());
            }
        }
    }

    pub async fn drop_store(self, request: u64, id: TableId, store: Store) {
        let dropped = self.engine.drop_store(id, store).await;
        self.say(request, Said::Done(dropped.map_err(CqlError::from)));
    }

    pub async fn drop_table(self, request: u64, id: TableId) {
        let _one_at_a_time = self.ddl.lock().await;
        self.keeper.forget(id);
        let dropped = self.engine.drop_table(id).await;
        self.keeper.keep(id).await;
        self.say(request, Said::Done(dropped.map_err(CqlError::from)));
    }
}
