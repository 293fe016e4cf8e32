//! The log's loop: takes the group that has formed, makes it durable, makes it visible, wakes its writers. One group at a time, in order.
//!
//! What must hold:
//! - After a write or sync that failed nothing more is written; every later writer is told why. A disk that was full when a segment was to
//!   begin has harmed nothing: that group's writers are told, and the log goes on.
//! - A segment is released only by what the manifest says, durably, and never while it shows damage that a later start must see too.
//! - The loop waits for no commit of the manifest and for no file that goes: it reads the floors that the newest commit has published (`shares`), and segments are removed behind it.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use palladium_crypto::{KeyRing, TableId};

use crate::backend::{Backend, Durability};
use crate::background::Job;
use crate::commitlog::{CommitLog, Share, ShareAddress};
use crate::engine::Inner;
use crate::engine::group::{Errand, Group, Work};
use crate::error::{Error, Result};
use crate::options::LogSync;

/// Runs until the engine closes or the log fails.
pub(crate) async fn run<B: Backend>(inner: Arc<Inner<B>>, mut log: CommitLog<B>) {
    let over = Over(inner.clone());
    let end = until_the_end(&inner, &mut log).await;
    if let Err(error) = &end {
        tracing::error!(%error, "writes are refused");
    }
    // With it go the data keys of its segment.
    drop(log);
    inner
        .forming
        .end(end.clone().err().unwrap_or(Error::Closed));
    let _ = inner.log_end.set(end);
    drop(over);
}

async fn until_the_end<B: Backend>(inner: &Arc<Inner<B>>, log: &mut CommitLog<B>) -> Result<()> {
    let mut refusals = Refusals::default();
    loop {
        match inner.forming.next().await {
            Work::Errands(errands) => {
                for errand in errands {
                    run_errand(inner, log, errand).await;
                    if !log.is_ready() {
                        break;
                    }
                }
            }
            Work::Commit(group) => {
                slow_down(inner, &group).await;
                commit(inner, log, group, &mut refusals).await;
            }
            Work::Close { is_clean } => {
                log.note_manifest(inner.epoch.load(Ordering::Acquire));
                let closed = log.close(is_clean).await;
                inner.publish_positions(log);
                return closed;
            }
        }
        if !log.is_ready() {
            return Err(inner.why_the_log_ended());
        }
    }
}

/// Ends the loop's business also when the loop dies: writers and whoever closes the engine would wait for ever.
struct Over<B: Backend>(Arc<Inner<B>>);

impl<B: Backend> Drop for Over<B> {
    fn drop(&mut self) {
        self.0.forming.end(Error::Closed);
        // Only the first word counts.
        let _ = self.0.log_end.set(Err(Error::Closed));
    }
}

/// Writers slow down before anybody is refused: each group waits a little, and longer the fuller the memtables are past three quarters of their budget, or the more
/// SSTables wait to be merged of the table among the group's that is worst off.
async fn slow_down<B: Backend>(inner: &Inner<B>, group: &Group) {
    const PAUSE_MAX: Duration = Duration::from_millis(20);
    const WAITING: (usize, usize) = (64, 256);
    let budget = inner.memtable_bytes_max.load(Ordering::Relaxed);
    let used = inner.memtable_bytes.load(Ordering::Relaxed);
    let of_memory = share_between(used, budget / 4 * 3, budget);
    let waiting = group.shares.values().map(|share| share.pass.waiting());
    let of_merges = share_between(waiting.max().unwrap_or(0), WAITING.0, WAITING.1);
    let share = of_memory.max(of_merges);
    if share > 0.0 {
        inner.env.sleep(PAUSE_MAX.mul_f64(share)).await;
    }
}

/// How far between two: 0 up to the first, 1 from the last.
fn share_between(value: usize, first: usize, last: usize) -> f64 {
    let beyond = value.saturating_sub(first) as f64;
    (beyond / last.saturating_sub(first).max(1) as f64).min(1.0)
}

/// Groups that the log has refused. A full disk refuses thousands in a second, and what is said of them may stand on that disk.
#[derive(Default)]
struct Refusals {
    said_at: Option<u64>,
    unsaid: u64,
}

impl Refusals {
    const PAUSE_NANOS: u64 = 10_000_000_000;

    /// Counts one more. How many there were since the last word about them, if it is time for the next.
    fn counted(&mut self, now: u64) -> Option<u64> {
        self.unsaid += 1;
        let is_due = |said_at| now >= said_at + Self::PAUSE_NANOS;
        if !self.said_at.is_none_or(is_due) {
            return None;
        }
        self.said_at = Some(now);
        Some(std::mem::take(&mut self.unsaid))
    }
}

async fn commit<B: Backend>(
    inner: &Arc<Inner<B>>,
    log: &mut CommitLog<B>,
    mut group: Group,
    refusals: &mut Refusals,
) {
    let began = inner.env.boot_nanos();
    let tell = |group: &Group, result: Result<()>| {
        for outcome in &group.outcomes {
            outcome.tell(result.clone());
        }
    };
    if group.shares.is_empty() {
        return tell(&group, Ok(()));
    }
    let shares: Vec<(Share, Arc<KeyRing>)> = group
        .shares
        .iter_mut()
        .map(|(table, share)| {
            let records = std::mem::take(&mut share.records);
            let table = *table;
            (Share { table, records }, share.pass.ring())
        })
        .collect();
    let record_bytes: usize = shares.iter().map(|(share, _)| share.records.len()).sum();
    let sequence = log.last_sequence() + 1;
    let segments = log.segments().len();
    log.note_manifest(inner.epoch.load(Ordering::Acquire));
    let durability = match inner.options.log_sync {
        LogSync::Group => Durability::Now,
        LogSync::Periodic { .. } => Durability::Later,
    };
    match log
        .append(sequence, shares, inner.timestamps.high_water(), durability)
        .await
    {
        Ok(addresses) => appended(inner, log, addresses),
        Err(error) if log.is_ready() => {
            if let Some(groups) = refusals.counted(inner.env.boot_nanos()) {
                tracing::warn!(%error, groups, "the log refused groups before anything of them was written");
            }
            inner.jobs.add(Job::RelieveLog);
            return tell(&group, Err(error));
        }
        Err(error) => {
            note_end(inner, log, &error);
            let what = error.to_string();
            return tell(&group, Err(Error::OutcomeUnknown { what }));
        }
    }
    let since = || inner.env.boot_nanos().saturating_sub(began);
    inner.tallies.log_groups.add(since());
    inner
        .tallies
        .log_bytes
        .fetch_add(record_bytes as u64, Ordering::Relaxed);
    apply(inner, sequence, &group);
    let nanos = since();
    for (id, share) in &group.shares {
        // A table that is gone has nothing to note.
        let _ = inner.tables.see(*id, |table| {
            table.latencies.written(nanos, share.updates.len());
            Ok(())
        });
    }
    // Asked once for each new segment: more often would only carry the same shares again.
    let is_long = inner.log_positions().bytes >= inner.options.log_bytes_max;
    if is_long && log.segments().len() > segments {
        inner.jobs.add(Job::RelieveLog);
    }
    // Before anybody is told: who asks again at once finds them free.
    group.unlatch();
    tell(&group, Ok(()));
}

/// Before anybody is told of a failure: what the last group left may be there at the next start, so from here on no table forgets a key or counts on its floor.
fn note_end<B: Backend>(inner: &Inner<B>, log: &CommitLog<B>, error: &Error) {
    if !log.is_ready() {
        let what = error.to_string();
        // Only the first word counts.
        let _ = inner.log_end.set(Err(Error::Stopped { what }));
    }
}

fn appended<B: Backend>(inner: &Inner<B>, log: &CommitLog<B>, addresses: Vec<ShareAddress>) {
    inner.shares.add(addresses);
    inner.publish_positions(log);
}

/// Makes a durable group visible, and asks for flushes where memtables have grown large.
fn apply<B: Backend>(inner: &Arc<Inner<B>>, sequence: u64, group: &Group) {
    let mut grown = 0isize;
    for (table, share) in &group.shares {
        match share.pass.apply(sequence, share.updates.iter()) {
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
    if total >= inner.memtable_bytes_max.load(Ordering::Relaxed) / 2 {
        inner.jobs.add(Job::FlushLargest);
    }
}

async fn run_errand<B: Backend>(inner: &Arc<Inner<B>>, log: &mut CommitLog<B>, errand: Errand) {
    log.note_manifest(inner.epoch.load(Ordering::Acquire));
    let result = match errand {
        Errand::Release => release(inner, log).await,
        Errand::ForgetKey(table, done) => {
            log.forget_key(table);
            let _ = done.send(());
            Ok(())
        }
        Errand::Carry(table, done) => {
            let carried = carry(inner, log, table).await;
            if let Err(error) = &carried {
                note_end(inner, log, error);
            }
            let _ = done.send(carried);
            Ok(())
        }
        Errand::StoreWatermark => log.store_watermark().await,
        Errand::Sync(done) => {
            let synced = sync(inner, log).await;
            if let Err(error) = &synced {
                note_end(inner, log, error);
            }
            let _ = done.send(synced.clone());
            synced
        }
    };
    inner.publish_positions(log);
    if let Err(error) = result {
        tracing::warn!(%error, "housekeeping of the log failed; it is tried again");
    }
}

async fn sync<B: Backend>(inner: &Arc<Inner<B>>, log: &mut CommitLog<B>) -> Result<()> {
    let began = inner.env.boot_nanos();
    log.sync().await?;
    let nanos = inner.env.boot_nanos().saturating_sub(began);
    inner.tallies.log_syncs.add(nanos);
    inner.publish_positions(log);
    Ok(())
}

/// Removes segments that no table needs, and forgets their shares.
async fn release<B: Backend>(inner: &Arc<Inner<B>>, log: &mut CommitLog<B>) -> Result<()> {
    {
        let floors = inner.floors();
        // The watermark that lets segments go names the commit whose floors let them.
        log.note_manifest(floors.commit);
        let is_there = |table: &TableId| floors.tables.contains_key(table);
        let damage = inner.log_damage.iter();
        let hurting = damage.filter(|damage| damage.hurt.iter().any(is_there));
        let damaged_from = hurting.map(|damage| damage.segment).min();
        log.keep_from(damaged_from.unwrap_or(u64::MAX));
        inner.shares.forget_below(&floors.tables);
        log.let_go(|table| floors.floor(table));
    }
    log.release().await
}

/// Carries a table's shares to the log's end in groups of their own.
async fn carry<B: Backend>(
    inner: &Arc<Inner<B>>,
    log: &mut CommitLog<B>,
    table: TableId,
) -> Result<Option<u64>> {
    // Nobody moves it meanwhile: see `relog`.
    let floor = inner.floors().floor(table);
    // What is in SSTables since the last release does not come back.
    let mut shares = inner.shares.needed_from(table, floor);
    // A share whose group is known to be broken keeps its place, by which an unlock knows it.
    if shares
        .iter()
        .any(|share| inner.broken_groups.contains(&share.sequence))
    {
        return Ok(None);
    }
    let mut first = None;
    while !shares.is_empty() {
        let mut bytes = 0;
        let fit = shares.iter().take_while(|share| {
            let is_first = bytes == 0;
            bytes += share.length as usize;
            is_first || bytes <= inner.options.group_bytes_max
        });
        let rest = shares.split_off(fit.count());
        let sequence = log.last_sequence() + 1;
        let addresses = log.carry(sequence, &shares).await?;
        appended(inner, log, addresses);
        first.get_or_insert(sequence);
        if let Ok(table) = inner.tables.get(table)
            && let Some(open) = table.opened()
        {
            open.applied_up_to(sequence);
        }
        shares = rest;
    }
    Ok(first)
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refused_groups_are_counted_and_said_once_in_a_while() {
        let mut refusals = Refusals::default();
        let second = 1_000_000_000;
        let said = (0..2_001).filter_map(|turn| refusals.counted(turn * second / 100));
        assert_eq!(said.collect::<Vec<u64>>(), [1, 1_000, 1_000]);
    }
}
