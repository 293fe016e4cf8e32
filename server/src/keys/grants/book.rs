//! What is noted of the grants of this server's making: which there are, which are due, what is not on the disk yet.
//!
//! What must hold: nothing here calls a key service; what has changed is unnoted until it was written, and what has changed again since is noted next time.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use palladium_crypto::{CmkRef, GrantId, GrantPurpose, TableId};
use serde::{Deserialize, Serialize};

use crate::records;

/// The first pause after a grant could not be retired; doubles up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_secs(3_600);

/// A grant of this server's making.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct GrantRecord {
    /// The table's names, which its context holds.
    pub keyspace: String,
    pub table: String,
    /// The table's id.
    pub id: [u8; 16],
    /// The key.
    pub key: String,
    /// The service's name for it; None until the service has answered.
    pub grant: Option<String>,
    /// `use` or `snapshot`.
    pub purpose: String,
    /// When it was asked for, in microseconds of wall time.
    pub created_micros: i64,
    /// When it is to be retired; None while the table's root needs it.
    pub retire_after_micros: Option<i64>,
    /// A root of the table has needed it.
    pub(super) is_settled: bool,
    /// A grant for snapshots that may decrypt, because the table has left.
    pub(super) is_wide: bool,
    /// Another one stands in its place, or the service has not said yet that it made this one.
    pub(super) is_replaced: bool,
}

impl GrantRecord {
    /// Whether it stays for a while after the table has left.
    pub(super) fn protects_snapshots(&self) -> bool {
        self.purpose == word(GrantPurpose::Snapshot) && self.is_settled && !self.is_replaced
    }

    /// Whether it is to be retired now. What protects no snapshots goes at once, however far the wall clock went back meanwhile.
    pub(super) fn is_over(&self, wall: i64) -> bool {
        let is_due = |at: i64| at <= wall || !self.protects_snapshots();
        self.retire_after_micros.is_some_and(is_due)
    }
}

/// All of them.
#[derive(Default)]
pub(in crate::keys) struct Book {
    entries: Mutex<BTreeMap<Vec<u8>, Entry>>,
    /// A table's is held while grants are made for it and while one of its is retired: a service may give the same grant again that is just going. Of each table,
    /// so that none waits for the key service of another.
    changing: DashMap<TableId, Arc<tokio::sync::Mutex<()>>>,
    pub(super) is_tended: AtomicBool,
    /// Tables that may be found under another key than the one that they are under: their grants wait for that to be known.
    doubtful: Mutex<BTreeSet<TableId>>,
}

/// One, by its name among the records.
struct Entry {
    /// None: retired, and to be forgotten on the disk too.
    record: Option<GrantRecord>,
    is_noted: bool,
    tries: u32,
    try_at_nanos: u64,
}

impl Book {
    /// Held by whoever makes or retires grants of a table.
    pub(super) fn changing(&self, id: TableId) -> Arc<tokio::sync::Mutex<()>> {
        self.changing.entry(id).or_default().clone()
    }

    /// Forgets the locks that nobody holds or waits for.
    pub(super) fn forget_idle(&self) {
        self.changing.retain(|_, lock| Arc::strong_count(lock) > 1);
    }

    /// Which key a table is under is not known for sure, or is.
    pub(in crate::keys) fn doubt(&self, id: TableId, is_doubtful: bool) {
        let mut doubtful = self.doubtful.lock().expect("no holder of this lock panics");
        match is_doubtful {
            true => doubtful.insert(id),
            false => doubtful.remove(&id),
        };
    }

    pub(super) fn doubtful(&self) -> BTreeSet<TableId> {
        let doubtful = self.doubtful.lock().expect("no holder of this lock panics");
        doubtful.clone()
    }

    pub(super) fn load(&self, records: Vec<(Bytes, Bytes)>) -> Result<(), String> {
        let mut entries = self.entries();
        for (name, value) in records {
            let record = serde_json::from_slice(&value)
                .map_err(|error| format!("the record of a grant cannot be read: {error}"))?;
            entries.insert(name.to_vec(), Entry::noted(record));
        }
        Ok(())
    }

    pub(super) fn records(&self) -> Vec<GrantRecord> {
        let entries = self.entries();
        let records = entries.values().filter_map(|entry| entry.record.clone());
        records.collect()
    }

    pub(super) fn tables(&self) -> Vec<TableId> {
        let entries = self.entries();
        let mut ids: Vec<TableId> = entries
            .values()
            .filter_map(|entry| Some(TableId(entry.record.as_ref()?.id)))
            .collect();
        ids.sort();
        ids.dedup();
        ids
    }

    /// A grant is wanted: a new one, or one that was to be retired.
    pub(super) fn want(&self, name: Vec<u8>, record: GrantRecord) {
        let mut entries = self.entries();
        let before = entries.remove(&name).and_then(|entry| entry.record);
        let record = match before {
            Some(before) => GrantRecord {
                retire_after_micros: None,
                ..before
            },
            None => record,
        };
        let entry = Entry {
            is_noted: false,
            ..Entry::noted(record)
        };
        entries.insert(name, entry);
    }

    /// A grant is asked for where another one stands: until the service has answered there may be two.
    pub(super) fn ask(&self, name: &[u8], is_wide: bool, now: i64) {
        let mut entries = self.entries();
        let present = entries.get(name).and_then(|entry| entry.record.clone());
        let is_another =
            |present: &GrantRecord| present.grant.is_some() || present.is_wide != is_wide;
        if let Some(present) = present.filter(is_another) {
            let asked = Entry::unknown(present, is_wide, now);
            entries.insert(asked_name(name, is_wide), asked);
        }
    }

    /// The service has made a grant: that is known now. Another one that stood here before is to be retired.
    pub(super) fn made(&self, name: &[u8], grant: GrantId, is_wide: bool, now: i64) {
        let mut entries = self.entries();
        // The same as one that was to be retired: it stays.
        for past in [asked_name(name, is_wide), replaced_name(name, &grant.0)] {
            if let Some(past) = entries.get_mut(&past) {
                past.forget();
            }
        }
        let Some(entry) = entries.get_mut(name) else {
            return;
        };
        entry.tries = 0;
        let Some(before) = entry.record.clone() else {
            return;
        };
        entry.change(|record| {
            record.grant = Some(grant.0.clone());
            record.is_wide = is_wide;
        });
        match before.grant.clone() {
            Some(old) if old != grant.0 => {
                let replaced = Entry::replaced(before, now);
                entries.insert(replaced_name(name, &old), replaced);
            }
            None if before.is_wide != is_wide => {
                let was_wide = before.is_wide;
                let asked = Entry::unknown(before, was_wide, now);
                entries.insert(asked_name(name, was_wide), asked);
            }
            _ => {}
        }
    }

    /// Whether another record of the same table has this grant.
    pub(super) fn knows(&self, record: &GrantRecord, grant: &GrantId) -> bool {
        let entries = self.entries();
        let mut records = entries.values().filter_map(|entry| entry.record.as_ref());
        records.any(|other| other.id == record.id && other.grant.as_ref() == Some(&grant.0))
    }

    pub(super) fn change_all(&self, id: TableId, change: impl Fn(&mut GrantRecord)) {
        let mut entries = self.entries();
        for (_, entry) in entries.range_mut(id.0.to_vec()..) {
            match &entry.record {
                Some(record) if record.is_replaced && record.id == id.0 => {}
                Some(record) if record.id == id.0 => entry.change(&change),
                Some(_) => break,
                None => {}
            }
        }
    }

    /// A grant is no more.
    pub(super) fn retired(&self, name: &[u8]) {
        if let Some(entry) = self.entries().get_mut(name) {
            entry.forget();
        }
    }

    pub(super) fn failed(&self, name: &[u8], boot: u64) {
        if let Some(entry) = self.entries().get_mut(name) {
            let pause = RETRY_MIN
                .saturating_mul(1 << entry.tries.min(16))
                .min(RETRY_MAX);
            entry.tries = entry.tries.saturating_add(1);
            entry.try_at_nanos = boot.saturating_add(pause.as_nanos() as u64);
        }
    }

    /// What is to be retired or widened now.
    pub(super) fn due(&self, wall: i64, boot: u64) -> Vec<Vec<u8>> {
        let entries = self.entries();
        let due = entries.iter().filter(|(_, entry)| entry.is_due(wall, boot));
        due.map(|(name, _)| name.clone()).collect()
    }

    pub(super) fn still_due(&self, name: &[u8], wall: i64, boot: u64) -> Option<GrantRecord> {
        let entries = self.entries();
        let entry = entries.get(name).filter(|entry| entry.is_due(wall, boot))?;
        entry.record.clone()
    }

    pub(super) fn unnoted(&self) -> Vec<records::Change> {
        let entries = self.entries();
        let unnoted = entries.iter().filter(|(_, entry)| !entry.is_noted);
        unnoted
            .map(|(name, entry)| (name.clone(), entry.record.as_ref().map(encoded)))
            .collect()
    }

    pub(super) fn noted(&self, changes: &[records::Change]) {
        let mut entries = self.entries();
        for (name, value) in changes {
            let Some(entry) = entries.get_mut(name) else {
                continue;
            };
            // What has changed again since is noted next time.
            if entry.record.as_ref().map(encoded) == *value {
                entry.is_noted = true;
                if value.is_none() {
                    entries.remove(name);
                }
            }
        }
    }

    /// Whether another record of the same table, which is not to be retired, has this grant, too.
    pub(super) fn stands_elsewhere(&self, record: &GrantRecord, grant: Option<&GrantId>) -> bool {
        let grant = grant.map(|grant| grant.0.as_str());
        let entries = self.entries();
        let records = entries.values().filter_map(|entry| entry.record.as_ref());
        let mut others = records.filter(|other| other.id == record.id && other.key != record.key);
        others.any(|other| other.grant.as_deref() == grant && other.retire_after_micros.is_none())
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<Vec<u8>, Entry>> {
        self.entries.lock().expect("no holder of this lock panics")
    }
}

impl Entry {
    fn noted(record: GrantRecord) -> Self {
        Entry {
            record: Some(record),
            is_noted: true,
            tries: 0,
            try_at_nanos: 0,
        }
    }

    /// Another one stands in its place: it goes.
    fn replaced(record: GrantRecord, now: i64) -> Self {
        let record = GrantRecord {
            retire_after_micros: Some(now),
            is_replaced: true,
            ..record
        };
        Entry {
            is_noted: false,
            ..Entry::noted(record)
        }
    }

    /// One beside `present` that may have been made: it goes, if it is there.
    fn unknown(present: GrantRecord, is_wide: bool, now: i64) -> Self {
        let record = GrantRecord {
            grant: None,
            created_micros: now,
            is_wide,
            ..present
        };
        Entry::replaced(record, now)
    }

    fn is_due(&self, wall: i64, boot: u64) -> bool {
        let Some(record) = self.record.as_ref() else {
            return false;
        };
        let is_narrow = record.protects_snapshots() && !record.is_wide;
        let leaves = record.retire_after_micros.is_some();
        boot >= self.try_at_nanos && leaves && (is_narrow || record.is_over(wall))
    }

    fn forget(&mut self) {
        self.record = None;
        self.is_noted = false;
        self.tries = 0;
    }

    fn change(&mut self, change: impl FnOnce(&mut GrantRecord)) {
        if let Some(record) = &mut self.record {
            let before = record.clone();
            change(record);
            self.is_noted &= *record == before;
        }
    }
}

fn encoded(record: &GrantRecord) -> Vec<u8> {
    serde_json::to_vec(record).expect("a record of texts and numbers has a JSON form")
}

/// Table, purpose, key: sorted by table.
pub(super) fn name(id: TableId, what: GrantPurpose, cmk: &CmkRef) -> Vec<u8> {
    let mut name = id.0.to_vec();
    name.extend_from_slice(word(what).as_bytes());
    name.push(b' ');
    name.extend_from_slice(cmk.to_string().as_bytes());
    name
}

/// Where the record of a grant stands that another one has replaced.
fn replaced_name(name: &[u8], grant: &str) -> Vec<u8> {
    [name, b" ", grant.as_bytes()].concat()
}

/// Where the record of a grant stands whose making was not answered, beside one that is known.
fn asked_name(name: &[u8], is_wide: bool) -> Vec<u8> {
    let which: &[u8] = if is_wide { b" asked wide" } else { b" asked" };
    [name, which].concat()
}

pub(super) fn word(what: GrantPurpose) -> &'static str {
    match what {
        GrantPurpose::Use => "use",
        GrantPurpose::Snapshot => "snapshot",
    }
}
