//! The log's loop: takes the group that has formed, makes it durable, makes it visible, wakes its writers. One group at a time, in order.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use palladium_crypto::{KeyRing, TableId};

use crate::backend::Backend;
use crate::background::Job;
use crate::commitlog::{CommitLog, Share};
use crate::engine::Inner;
use crate::engine::group::{Errand, Group, Work};
use crate::error::{Error, Result};

/// Runs until the engine closes or the log fails.
pub(crate) async fn run<B: Backend>(inner: Arc<Inner<B>>, mut log: CommitLog<B>) {
    loop {
        match inner.forming.next().await {
            Work::Errands(errands) => {
                for errand in errands {
                    run_errand(&inner, &mut log, errand).await;
                }
            }
            Work::Commit(group) => {
                slow_down(&inner).await;
                if let Err(error) = commit(&inner, &mut log, group).await {
                    tracing::error!(%error, "the log cannot go on; writes are refused");
                    inner.forming.fail(Error::Closed);
                    break;
                }
            }
            Work::Close => {
                if let Err(error) = log.close().await {
                    tracing::error!(%error, "the log was not closed cleanly; the next start replays it");
                }
                break;
            }
        }
    }
    inner.log_closed.store(true, Ordering::Release);
}

/// Past three quarters of the memtables' budget each group waits a little, and longer the fuller they are: writers slow down before anybody is refused.
async fn slow_down<B: Backend>(inner: &Inner<B>) {
    const PAUSE_MAX: Duration = Duration::from_millis(20);
    let budget = inner.options.memtable_bytes_max;
    let used = inner.memtable_bytes.load(Ordering::Relaxed);
    let start = budget / 4 * 3;
    if used > start {
        let share = (used - start) as f64 / (budget - start).max(1) as f64;
        inner.env.sleep(PAUSE_MAX.mul_f64(share.min(1.0))).await;
    }
}

async fn commit<B: Backend>(
    inner: &Arc<Inner<B>>,
    log: &mut CommitLog<B>,
    mut group: Group,
) -> Result<()> {
    let shares: Vec<(Share, Arc<KeyRing>)> = group
        .shares
        .iter_mut()
        .map(|(table, share)| {
            let records = std::mem::take(&mut share.records);
            (
                Share {
                    table: *table,
                    records,
                },
                share.pass.ring(),
            )
        })
        .collect();
    let sequence = log.last_sequence() + 1;
    let addresses = match log
        .commit(sequence, shares, inner.timestamps.high_water())
        .await
    {
        Ok(addresses) => addresses,
        Err(error) => {
            for outcome in &group.outcomes {
                outcome.settle(Err(Error::OutcomeUnknown {
                    what: error.to_string(),
                }));
            }
            return Err(error);
        }
    };
    {
        let mut known = inner.shares.lock().expect("no holder of this lock panics");
        for address in addresses {
            known
                .entry(address.table)
                .or_default()
                .insert(address.sequence, address);
        }
    }
    inner.durable.store(sequence, Ordering::Release);
    note_bytes(inner, log);
    apply(inner, sequence, &group);
    for outcome in &group.outcomes {
        outcome.settle(Ok(()));
    }
    Ok(())
}

/// Makes a durable group visible, and asks for flushes where memtables have grown large.
fn apply<B: Backend>(inner: &Arc<Inner<B>>, sequence: u64, group: &Group) {
    let mut grown = 0isize;
    for (table, share) in &group.shares {
        let updates = share
            .mutations
            .iter()
            .map(|mutation| (&mutation.key, &mutation.update));
        match share.pass.apply(sequence, updates) {
            Ok(bytes) => grown += bytes,
            Err(error) => inner.damaged(*table, error),
        }
        if share.pass.active_bytes() >= inner.options.memtable_flush_bytes {
            inner.jobs.add(Job::Flush(*table));
        }
    }
    let total = match grown >= 0 {
        true => {
            inner
                .memtable_bytes
                .fetch_add(grown as usize, Ordering::Relaxed)
                + grown as usize
        }
        false => inner
            .memtable_bytes
            .fetch_sub(grown.unsigned_abs(), Ordering::Relaxed),
    };
    if total >= inner.options.memtable_bytes_max / 2 {
        inner.jobs.add(Job::FlushLargest);
    }
    if inner.log_bytes.load(Ordering::Relaxed) >= inner.options.log_bytes_max {
        inner.jobs.add(Job::FlushOldest);
    }
}

async fn run_errand<B: Backend>(inner: &Arc<Inner<B>>, log: &mut CommitLog<B>, errand: Errand) {
    let result = match errand {
        Errand::Release => release(inner, log).await,
        Errand::RollKey(table) => {
            log.roll_key(table);
            Ok(())
        }
        Errand::StoreWatermark => log.store_watermark().await,
    };
    if let Err(error) = result {
        tracing::warn!(%error, "housekeeping of the log failed; it is tried again");
    }
}

/// Removes segments that no table needs, and forgets their shares.
async fn release<B: Backend>(inner: &Arc<Inner<B>>, log: &mut CommitLog<B>) -> Result<()> {
    let (floors, manifest_sequence) = {
        let manifest = inner.manifest.lock().await;
        let floors: HashMap<TableId, u64> = manifest
            .state()
            .tables
            .iter()
            .map(|(table, state)| (*table, state.log_floor))
            .collect();
        (floors, manifest.sequence())
    };
    log.note_manifest(manifest_sequence);
    {
        let mut known = inner.shares.lock().expect("no holder of this lock panics");
        known.retain(|table, shares| match floors.get(table) {
            Some(floor) => {
                *shares = shares.split_off(floor);
                !shares.is_empty()
            }
            None => false,
        });
    }
    log.release(&|table| floors.get(&table).copied().unwrap_or(u64::MAX))
        .await?;
    note_bytes(inner, log);
    Ok(())
}

fn note_bytes<B: Backend>(inner: &Inner<B>, log: &CommitLog<B>) {
    let bytes = log.segments().len() as u64 * inner.options.log_segment_bytes;
    inner.log_bytes.store(bytes, Ordering::Relaxed);
}

impl<B: Backend> Inner<B> {
    /// What is durable could not be made visible: the table stops rather than answer without it.
    fn damaged(&self, table: TableId, error: Error) {
        tracing::error!(%table, %error, "a durable write could not be applied; the table stops");
        if let Ok(table) = self.tables.get(table) {
            table.set_damaged(error.to_string());
        }
    }
}
