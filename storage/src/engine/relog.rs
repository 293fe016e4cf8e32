//! When the log is long: the oldest segments are emptied, by writing out what they hold or by carrying it to the log's end.
//!
//! A table that is closed cannot be written out, and a small memtable is not worth an SSTable: their shares are copied as they are, still sealed, and the
//! table's log floor moves behind the old ones. Ten thousand dirty tables do not mean ten thousand files, and a locked table holds back nobody else.
//!
//! What must hold: between the copy and the new floor nobody moves the table's floor or empties it, or a later replay would bring back what a truncation
//! removed. So both of the table's locks are held. And nothing of the table is frozen: what is written out later moves the floor to where it ended when it was frozen,
//! and what was carried stands behind that.
//!
//! A table that cannot be opened for its root's sake, or that the manifest has lost, is carried like one that is locked: it holds back nobody else. One that is hurt by damage in the
//! log is not: the segments that show the damage stay with all behind them until the table is salvaged or dropped.

use std::sync::Arc;

use palladium_crypto::TableId;

use crate::backend::Backend;
use crate::engine::group::Errand;
use crate::engine::{Inner, rewrite};
use crate::error::{Error, Result};
use crate::manifest::Edit;

/// A memtable below this is carried instead of written out.
const SMALL_MEMTABLE_BYTES: usize = 256 << 10;

/// Empties the first quarter of the log's segments, as far as their tables allow.
pub(crate) async fn relieve<B: Backend>(inner: &Arc<Inner<B>>) -> Result<()> {
    let mut outcome = Ok(());
    for (id, bytes) in inner.shares.pinning_the_front() {
        let relieved = match is_carried(inner, id, bytes) {
            true => carry(inner, id).await,
            false => rewrite::flush(inner, id).await,
        };
        // One table's trouble is no reason to leave the others.
        if let Err(error) = relieved {
            tracing::warn!(table = %id, %error, "a table keeps the log's oldest segments");
            outcome = Err(error);
        }
    }
    inner.forming.ask(Errand::Release);
    match outcome {
        Err(error @ (Error::Io { .. } | Error::Full { .. })) => Err(error),
        _ => Ok(()),
    }
}

fn is_carried<B: Backend>(inner: &Inner<B>, id: TableId, bytes: u64) -> bool {
    // Carrying a large part of the log would only write it again and again.
    let open = inner.tables.get(id).ok().and_then(|table| table.opened());
    if bytes > inner.options.log_bytes_max / 4 {
        if open.is_none() {
            tracing::warn!(table = %id, bytes, "a closed table keeps a large part of the log until it is opened or dropped");
        }
        return false;
    }
    open.is_none_or(|open| open.memtable_bytes() < SMALL_MEMTABLE_BYTES)
}

async fn carry<B: Backend>(inner: &Arc<Inner<B>>, id: TableId) -> Result<()> {
    let table = inner.tables.get(id)?;
    // Who opens it reads its shares, for long if they are many: nobody else's flush waits for that, and the next segment asks again.
    let Some(_transition) = table.transition.try_lock() else {
        return Ok(());
    };
    let rewriting = table.rewriting.lock().await;
    let open = table.opened();
    if open.is_some_and(|open| !open.frozen().memtables.is_empty()) {
        // What a flush has left.
        drop(rewriting);
        return rewrite::flush(inner, id).await;
    }
    if !inner.tables.holds(&table) {
        return Ok(());
    }
    let mut damage = inner.log_damage.iter();
    if let Some(damage) = damage.find(|damage| damage.hurt.contains(&id)) {
        let segment = damage.segment;
        tracing::warn!(table = %id, segment, "damage in the log keeps it from this segment on until the table is salvaged or dropped");
        return Ok(());
    }
    let carried = inner.ask_log(|done| Errand::Carry(id, done)).await;
    match carried.unwrap_or_else(|| Err(inner.why_the_log_ended()))? {
        None => Ok(()),
        // The manifest has no entry to write it into: the next start carries what it finds.
        Some(floor) if inner.is_missed(id).await => {
            inner.floors().tables.insert(id, floor);
            Ok(())
        }
        Some(floor) => {
            let edit = Edit::LogFloor { table: id, floor };
            inner.commit_manifest(&[edit]).await
        }
    }
}
