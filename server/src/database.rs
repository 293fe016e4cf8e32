//! What all connections share: the engine, the schema, the keys, the prepared statements.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Duration;

use arc_swap::ArcSwap;
use palladium_crypto::{ClusterId, TableId};
use palladium_protocol::response::{Event, WriteType};
use palladium_storage::{Store, Write};
use tokio::sync::broadcast;
use uuid::Uuid;

use crate::Engine;
use crate::audit::{Asker, Audit, Trail};
use crate::config::Config;
use crate::derived::nearest::Budget;
use crate::error::{CqlError, CqlResult};
use crate::guardrails::Guardrails;
use crate::instruments::Instruments;
use crate::keys::KeyKeeper;
use crate::net::{Clients, InFlight};
use crate::permissions::Authority;
use crate::query::{PageSeal, Prepared, Response};
use crate::schema::turns::Turns;
use crate::schema::{Catalog, Definition, TableSchema, store};
use crate::shredding::Shredding;
use crate::traces::{self, Traces};

/// Schema changes a slow client may lag behind before it misses some.
const EVENTS_KEPT: usize = 1024;

/// How often somebody who waits for older catalogs to be let go looks again.
const PAST_PAUSE: Duration = Duration::from_millis(2);

/// The server's state.
pub struct Database {
    /// Storage.
    pub engine: Engine,
    /// The schema of this moment. A change stores the next one.
    pub catalog: ArcSwap<Catalog>,
    /// The tables' keys.
    pub keys: KeyKeeper,
    /// Who may do what.
    pub authority: Arc<Authority>,
    /// What happens to the keys is handed in here.
    pub audit: Audit,
    /// What has happened to the keys is read here.
    pub trail: Arc<Trail>,
    /// Proof of what was destroyed.
    pub shredding: Shredding,
    /// Prepared statements.
    pub prepared: Prepared,
    /// What is warned of, and what is refused.
    pub guardrails: Guardrails,
    /// The same for superusers, if they are held by less.
    pub guardrails_of_superusers: Option<Guardrails>,
    /// Requests that were traced.
    pub traces: Traces,
    /// What is counted and measured of requests.
    pub instruments: Arc<Instruments>,
    /// Who is connected.
    pub clients: Arc<Clients>,
    /// Bytes that connections hold.
    pub in_flight: Arc<InFlight>,
    /// Settings.
    pub config: Config,
    /// Who this server is; drivers show it as the host id.
    pub host_id: Uuid,
    /// This server's identity in key derivations.
    pub cluster: ClusterId,
    /// Seals page states, so that a client can hand them back and cannot forge them.
    pub page_seal: PageSeal,
    /// Schema changes, for those who registered.
    pub events: broadcast::Sender<Arc<Event>>,
    /// Whose turn it is to change the schema or the roles.
    pub turns: Turns,
    /// Indexes and views that are being built, each with the share of the table that has been walked.
    pub building: Mutex<BTreeMap<(TableId, Store), f64>>,
    /// Memory for the graphs of vector indexes.
    pub graphs: Arc<Budget>,
    /// Catalogs that were replaced, as long as somebody may write by them.
    pub past: Mutex<Vec<Weak<Catalog>>>,
}

impl Database {
    /// The guardrails that hold for somebody. None hold a superuser; while nobody logs in, they hold everybody.
    #[inline]
    pub fn guardrails_of(&self, is_superuser: bool) -> &Guardrails {
        match &self.guardrails_of_superusers {
            Some(less) if is_superuser => less,
            _ => &self.guardrails,
        }
    }

    /// A channel for events.
    pub fn events_channel() -> broadcast::Sender<Arc<Event>> {
        broadcast::channel(EVENTS_KEPT).0
    }

    /// Tells registered clients. Nobody listening is no error.
    pub fn announce(&self, event: Event) {
        let _ = self.events.send(Arc::new(event));
    }

    /// The builds under way.
    pub fn builds(&self) -> MutexGuard<'_, BTreeMap<(TableId, Store), f64>> {
        self.building.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Replaces the catalog. Whoever writes holds the catalog he has understood his statement by, or an older one, until his write is handed to the
    /// engine.
    pub fn replace_catalog(&self, next: Catalog) {
        let before = self.catalog.swap(Arc::new(next));
        let mut past = self.past.lock().unwrap_or_else(PoisonError::into_inner);
        past.retain(|catalog| catalog.strong_count() > 0);
        past.push(Arc::downgrade(&before));
    }

    /// Waits until nobody can write any more by a catalog from before this call, and all that was written by one is visible.
    pub async fn past_is_over(&self) {
        let waited_for = self
            .past
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        while waited_for.iter().any(|catalog| catalog.strong_count() > 0) {
            tokio::time::sleep(PAST_PAUSE).await;
        }
        // What was handed over before is in this group or in an earlier one.
        let _ = self.engine.write(vec![Write::new(Vec::new())]).await;
    }

    /// Changes what the schema says of a table in a way that no statement of a client asked for; nothing, if it is gone.
    pub async fn change_table(
        &self,
        table: &TableSchema,
        change: impl FnOnce(&mut Definition),
    ) -> CqlResult<()> {
        let _turn = self.turns.turn().await;
        let before = self.catalog.load_full();
        let Some(present) = before
            .table(&table.keyspace, &table.name)
            .filter(|present| present.id == table.id)
        else {
            return Ok(());
        };
        let mut definition = present.definition();
        change(&mut definition);
        let mut next = before.as_ref().clone();
        next.replace_table(definition);
        let now = self.engine.next_timestamp().max(before.changed_at + 1);
        store::write(&self.engine, &before, &next, now).await?;
        next.digest = store::digest_after(&before, &next);
        next.changed_at = now;
        drop(before);
        self.replace_catalog(next);
        Ok(())
    }

    /// Whether a write can go to the log now, without asking a key service first.
    pub fn keys_at_hand(&self, write: &Write) -> bool {
        let tables = write.mutations.iter().map(|mutation| mutation.table);
        self.engine.all_alive(tables)
    }

    /// Opens the tables of a write. One that was open may have fallen asleep while another one was opened: it is asked for once more.
    pub async fn open_for(&self, write: &Write, asker: &Asker) -> CqlResult<()> {
        for _ in 0..2 {
            if self.keys_at_hand(write) {
                break;
            }
            traces::note(|| "Asking for the keys of the tables that are written".into());
            for mutation in &write.mutations {
                self.keys.ensure(mutation.table, asker).await?;
            }
        }
        Ok(())
    }

    /// Opens the tables of a write, then writes.
    pub async fn write_when_opened(
        &self,
        write: Write,
        done: Response,
        kind: WriteType,
        asker: &Asker,
    ) -> Response {
        if let Err(error) = self.open_for(&write, asker).await {
            return error.into();
        }
        match self.engine.write(vec![write]).await.into_iter().next() {
            Some(Err(error)) => self.write_refused(error, kind).into(),
            _ => done,
        }
    }

    /// What a client is told of what the engine refused: of a table that has just been closed, why.
    pub fn refused(&self, error: palladium_storage::Error) -> CqlError {
        match error {
            palladium_storage::Error::KeyUnavailable { table } => self.keys.lost(table),
            error => error.into(),
        }
    }

    /// The same of a write: where nobody knows whether it happened, of which kind it was.
    pub fn write_refused(&self, error: palladium_storage::Error, kind: WriteType) -> CqlError {
        self.refused(error).of_write(kind)
    }
}
