//! The background of a graph: its entries are read from the store, and then its vectors are linked, for as long as the table is open.
//!
//! How far the linking has come shows in `system_views.sstable_tasks`.
//!
//! What must hold: nothing of the table is held while this waits; what the table's lock or sleep takes away is not asked for again from here.

use std::sync::{Arc, Weak};
use std::time::Duration;

use palladium_crypto::TableId;
use palladium_protocol::types::CqlType;
use palladium_storage::graph::Survey;
use palladium_storage::{
    Beside, Columns, KeyRange, Limits, PartitionKey, ReadCommand, ReadPosition, Slices, Store,
};
use tokio::sync::Notify;

use super::vectors::Work;
use super::{Vectors, shape};
use crate::database::Database;
use crate::derived::layout;
use crate::schema::{Index, TableSchema};

/// Entries that are read at a time.
const PAGE_ROWS: u32 = 1_000;
/// Bytes of entries that are read at a time.
const PAGE_BYTES: usize = 1 << 20;

/// What arrives is linked so much later: many at a time. Until then it is compared.
const GATHERING: Duration = Duration::from_millis(20);

/// The graph of one index.
struct Fill {
    database: Weak<Database>,
    table: Arc<TableSchema>,
    store: Store,
    /// The graph's number.
    number: u64,
    wake: Arc<Notify>,
}

/// Attaches a graph to an index of an open table, and fills it in the background. Nothing, if there is one already, or the table is closed.
pub fn begin(database: &Arc<Database>, table: &Arc<TableSchema>, index: &Index) {
    let Some(shape) = shape(table, index) else {
        return;
    };
    let ty = table.column(&index.column).map(|column| column.ty.clone());
    let ty: CqlType = match ty {
        Some(ty) if index.is_built => ty,
        _ => return,
    };
    let vectors = Vectors::new(ty, shape, database.graphs.clone());
    let fill = Fill {
        database: Arc::downgrade(database),
        table: table.clone(),
        store: index.store,
        number: vectors.number,
        wake: vectors.wake(),
    };
    // An error: the table is closed. Whoever asks next, asks an open one.
    let attached = database
        .engine
        .attach(table.id, index.store, Arc::new(vectors));
    if matches!(attached, Ok(true)) {
        tokio::spawn(fill.run());
    }
}

/// Takes this graph away: whoever asks next has another one made. Nothing, if the table is closed, or it is gone.
pub fn end(database: &Database, table: TableId, store: Store, number: u64) {
    let is_meant = |vectors: &Vectors| vectors.number == number;
    let _ = database.engine.detach(table, store, is_meant);
}

impl Fill {
    async fn run(self) {
        if self.load().await.is_none() {
            // Whoever asks next begins anew.
            self.detach();
            return;
        }
        let mut survey = None;
        loop {
            let Some(vectors) = self.vectors() else {
                return;
            };
            // Arithmetic for milliseconds is nothing for a thread that answers requests.
            let work = tokio::task::spawn_blocking(move || {
                let work = vectors.work(&mut survey);
                (work, survey)
            });
            let Ok((work, left)): Result<(Work, Option<Survey>), _> = work.await else {
                return;
            };
            survey = left;
            match work {
                Work::More { linked, of } => self.tell(Some(f64::from(linked) / f64::from(of))),
                Work::Rest => {
                    self.tell(None);
                    self.wake.notified().await;
                    tokio::time::sleep(GATHERING).await;
                }
            }
        }
    }

    /// Takes in what the store holds. None: the table was closed, or cannot be read.
    async fn load(&self) -> Option<()> {
        for bucket in layout::buckets() {
            self.load_bucket(bucket).await?;
        }
        let vectors = self.vectors()?;
        match vectors.is_too_large() {
            true => {
                tracing::warn!(table = %self.table.id, store = self.store.0, "the vectors of an index take more memory than graphs may: every row is compared")
            }
            false => vectors.loaded(),
        }
        Some(())
    }

    async fn load_bucket(&self, bucket: PartitionKey) -> Option<()> {
        let mut resume = None;
        loop {
            let page = {
                let engine = self.database.upgrade()?.engine.clone();
                engine.read(self.command(&bucket, resume)).await.ok()?
            };
            let vectors = self.vectors()?;
            for partition in &page.partitions {
                vectors.load(&partition.rows);
            }
            resume = page.next;
            if resume.is_none() || vectors.is_too_large() {
                return Some(());
            }
            drop(vectors);
            self.tell(Some(0.0));
            tokio::task::yield_now().await;
        }
    }

    fn command(&self, bucket: &PartitionKey, resume: Option<ReadPosition>) -> ReadCommand {
        ReadCommand {
            table: self.table.id,
            store: self.store,
            range: KeyRange::One(bucket.clone()),
            slices: Slices::all(),
            reversed: false,
            columns: Arc::new(Columns {
                regular: Vec::new(),
                statics: Vec::new(),
            }),
            limits: Limits {
                rows: PAGE_ROWS,
                bytes: PAGE_BYTES,
                ..Limits::NONE
            },
            resume,
            // Entries are hints: a clock that is ahead for a while leaves none out.
            now: i64::MIN,
        }
    }

    /// The graph, if it is still the one that this fills.
    fn vectors(&self) -> Option<Beside<Vectors>> {
        let database = self.database.upgrade()?;
        let beside = database.engine.beside(self.table.id, self.store);
        let beside: Option<Beside<Vectors>> = beside.ok().flatten();
        beside.filter(|vectors| vectors.number == self.number)
    }

    fn detach(&self) {
        if let Some(database) = self.database.upgrade() {
            end(&database, self.table.id, self.store, self.number);
        }
    }

    /// Says how far it has come; None: all is linked.
    fn tell(&self, share: Option<f64>) {
        if let Some(database) = self.database.upgrade() {
            let mut builds = database.builds();
            match share {
                Some(share) => builds.insert((self.table.id, self.store), share),
                None => builds.remove(&(self.table.id, self.store)),
            };
        }
    }
}

impl Drop for Fill {
    /// However it ends, nothing of it is under way any more.
    fn drop(&mut self) {
        self.tell(None);
    }
}
