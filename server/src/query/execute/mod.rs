//! Plans become storage calls, and what storage answers becomes rows.
//!
//! Read on in `consistency`, `read` (SELECT), `row` (what one modification does to one row), `write` (mutations and batches) and
//! `conditional` (IF, counters, and list operations that have to look first; `condition` and `counter` beside it, `verdict` answers for them), `schema` and `role`.

mod condition;
pub mod conditional;
mod consistency;
mod counter;
mod demand;
pub mod describe;
mod existing;
pub mod read;
pub mod role;
mod row;
pub mod schema;
mod verdict;
pub mod write;

pub use self::consistency::check as check_level;

use bytes::Bytes;
use palladium_protocol::response::MetadataMode;
use palladium_protocol::wire::{Consistency, Version};
use palladium_storage::{ReadCommand, ReadPage, ReadRows, Reading};

use super::functions::Moment;
use crate::audit::Asker;
use crate::database::Database;
use crate::derived::views;
use crate::error::CqlResult;
use crate::schema::{TableKind, TableSchema, system};
use crate::traces;

/// What a request says beside its statement and values.
#[derive(Debug, Clone)]
pub struct Settings {
    pub version: Version,
    pub consistency: Consistency,
    /// Of conditional updates.
    pub serial_consistency: Option<Consistency>,
    /// Rows of a page; None: everything at once.
    pub page_size: Option<u32>,
    pub paging_state: Option<Bytes>,
    /// Microseconds, chosen by the client.
    pub timestamp: Option<i64>,
    /// Seconds, chosen by the client (v5).
    pub now_seconds: Option<i64>,
    pub mode: MetadataMode,
    /// Who asks.
    pub asker: Asker,
    /// Whether guardrails hold him as they hold superusers.
    pub is_superuser: bool,
}

/// The moment of one execution.
pub fn moment<'a>(database: &'a Database, settings: &Settings) -> Moment<'a> {
    let (micros, seconds) = database.engine.next_timestamp_and_seconds();
    Moment {
        micros,
        seconds: settings.now_seconds.unwrap_or(seconds),
        uuids: &database.prepared.uuids,
    }
}

/// The moment of a statement that only needs to know what has expired: no timestamp is used up.
pub fn moment_in_seconds<'a>(
    database: &'a Database,
    settings: &Settings,
    clock: Reading,
) -> Moment<'a> {
    let seconds = clock.wall_micros.div_euclid(1_000_000);
    let seconds = settings.now_seconds.unwrap_or(seconds);
    Moment {
        micros: seconds.saturating_mul(1_000_000),
        seconds,
        uuids: &database.prepared.uuids,
    }
}

/// Reads a page at once if that needs no waiting. `clock`: a reading of the batch that this is part of.
fn try_read(
    database: &Database,
    table: &TableSchema,
    command: &ReadCommand,
    asker: &Asker,
    clock: Reading,
) -> Option<CqlResult<ReadPage<ReadRows>>> {
    if table.kind == TableKind::Virtual {
        let read = || Ok(system::read(database, table, command, asker)?.into());
        return (!system::is_stored(table)).then(read);
    }
    match database.engine.try_read_encoded(command, clock)? {
        // The key may be within reach, or known to be lost: the waiting road finds out.
        Err(palladium_storage::Error::KeyUnavailable { .. }) => None,
        Err(error) => Some(Err(error.into())),
        Ok(page) => Some(shown(table, page, command.now)),
    }
}

/// A page as its table shows it: rows of a view are kept as their base has them.
fn shown(table: &TableSchema, page: ReadPage<ReadRows>, now: i64) -> CqlResult<ReadPage<ReadRows>> {
    match table.view {
        None => Ok(page),
        Some(_) => Ok(views::decoded(page.decoded()?, now)?.into()),
    }
}

/// Reads a page, fetching the table's key and blocks from the disk as needed.
async fn read_page(
    database: &Database,
    table: &TableSchema,
    command: &ReadCommand,
    asker: &Asker,
) -> CqlResult<ReadPage<ReadRows>> {
    for _ in 0..2 {
        if let Some(page) = read_while_open(database, table, command, asker).await? {
            return Ok(page);
        }
        traces::note(|| format!("Asking for the key of table {}", table.name));
        database.keys.ensure(table.id, asker).await?;
        traces::note(|| format!("The key of table {} is at hand", table.name));
    }
    Err(database.keys.lost(table.id))
}

/// The same for those who wait for the disk and for no key service. None: the table's key is not at hand.
async fn read_while_open(
    database: &Database,
    table: &TableSchema,
    command: &ReadCommand,
    asker: &Asker,
) -> CqlResult<Option<ReadPage<ReadRows>>> {
    if table.kind == TableKind::Virtual {
        let page = system::read_stored(database, table, command, asker).await?;
        return Ok(Some(page.into()));
    }
    match database.engine.read_encoded(command.clone()).await {
        // The lease may have ended while the disk was read: then nothing of it leaves.
        Ok(page) if database.engine.lease_alive(table.id) => {
            shown(table, page, command.now).map(Some)
        }
        Ok(_) | Err(palladium_storage::Error::KeyUnavailable { .. }) => Ok(None),
        Err(error) => Err(error.into()),
    }
}
