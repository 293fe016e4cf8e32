//! The grants that this server makes, as Keyspaces and QLDB do it: two for each table, where the operator gave it a credential for that.
//!
//! ```text
//!                 CREATE, ALTER to this key                   DROP, ALTER to another key
//! use             describe generate decrypt retire            retired at once
//! snapshot        describe retire                             made anew with decrypt; retired after `snapshot_grant_days`
//! ```
//!
//! While the table lives under the key, the grant for snapshots decrypts nothing: whoever revokes the other one must have locked the table.
//!
//! A grant is noted before it is made and forgotten after it is retired, so that a crash in between loses none: one that was noted and has no id is looked for by
//! its name. Retiring is the clockwork's: what fails is tried again, and no DROP waits for it.
//!
//! What must hold: a grant that the table's root does not need ends in being retired; a root that needs one was committed after it was made.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use bytes::Bytes;
use dashmap::DashMap;
use palladium_crypto::{
    Answering, CmkRef, Error as CryptoError, GrantId, GrantOperation, GrantPurpose, GrantRequest,
    Grants, Kms, TableId, UnavailableReason,
};
use palladium_storage::Backend;
use serde::{Deserialize, Serialize};

use super::call::Purpose;
use super::gate::Urgency;
use super::service::KeyService;
use super::{Inner, KeyKeeper};
use crate::audit::Asker;
use crate::records;

/// The kind of these records.
const GRANTS: &str = "grants";
/// The first pause after a grant could not be retired; doubles up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_secs(5);
const RETRY_MAX: Duration = Duration::from_secs(3_600);
/// Services list a new grant after at most so long.
const LISTED_AFTER: Duration = Duration::from_secs(600);
const DAY_MICROS: i64 = 86_400_000_000;

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
    is_settled: bool,
    /// A grant for snapshots that may decrypt, because the table has left.
    is_wide: bool,
    /// Another one stands in its place.
    is_replaced: bool,
}

/// All of them.
#[derive(Default)]
pub(super) struct Book {
    entries: Mutex<BTreeMap<Vec<u8>, Entry>>,
    /// A table's is held while grants are made for it and while one of its is retired: a service may give the same grant again that is just going. Of each table,
    /// so that none waits for the key service of another.
    changing: DashMap<TableId, Arc<tokio::sync::Mutex<()>>>,
    is_tended: AtomicBool,
}

/// One, by its name among the records.
struct Entry {
    /// None: retired, and to be forgotten on the disk too.
    record: Option<GrantRecord>,
    is_noted: bool,
    tries: u32,
    try_at_nanos: u64,
}

impl<B: Backend> KeyKeeper<B> {
    /// Reads what was noted before this start, and brings it in line with the roots.
    pub async fn load_records(&self) -> Result<(), String> {
        let inner = &self.inner;
        let say = |error: palladium_storage::Error| error.to_string();
        let grants = records::read(&inner.engine, GRANTS).await.map_err(say)?;
        inner.book.load(grants)?;
        inner.lineage.load(&inner.engine).await?;
        let known = inner.book.tables();
        for id in known.into_iter().chain(inner.lineage.tables()) {
            inner.keep(id).await;
        }
        Ok(())
    }

    /// The grants of this server's making.
    pub fn grants(&self) -> Vec<GrantRecord> {
        let entries = self.inner.book.entries();
        entries
            .values()
            .filter_map(|entry| entry.record.clone())
            .collect()
    }
}

impl<B: Backend> Inner<B> {
    /// Makes both grants of a table under a key; those that are there already are given again, or repaired.
    pub(super) async fn make_grants(
        &self,
        service: &KeyService,
        id: TableId,
        cmk: &CmkRef,
        purpose: Purpose<'_>,
    ) -> Result<(), CryptoError> {
        let changing = self.book.changing(id);
        let _one_at_a_time = changing.lock().await;
        let both = [GrantPurpose::Use, GrantPurpose::Snapshot];
        for what in both {
            let record = GrantRecord {
                keyspace: purpose.keyspace.to_owned(),
                table: purpose.table.to_owned(),
                id: id.0,
                key: cmk.to_string(),
                grant: None,
                purpose: word(what).to_owned(),
                created_micros: self.env().wall_micros(),
                retire_after_micros: None,
                is_settled: false,
                is_wide: false,
                is_replaced: false,
            };
            self.book.want(name(id, what, cmk), record);
        }
        self.save_grants().await.map_err(|error| {
            CryptoError::Invalid(format!("its grants could not be noted: {error}"))
        })?;
        for what in both {
            let request = self.request(id, what, false, purpose);
            let grant = self.create_grant(service, cmk, &request, purpose).await?;
            let now = self.env().wall_micros();
            self.book.made(&name(id, what, cmk), grant, now);
        }
        // They exist, and are noted; an id that is not is found by its name.
        if let Err(error) = self.save_grants().await {
            tracing::warn!(%error, "the ids of grants are not noted yet");
        }
        Ok(())
    }

    /// Retires what the root of a table does not need, and settles what it needs.
    pub(super) async fn keep(&self, id: TableId) {
        if self.engine.root(id).is_none() && self.engine.has_table(id) {
            // Its root cannot be read now: that is no reason to give anything up.
            return;
        }
        let root = self.engine.root(id).map(|root| root.cmk.to_string());
        let now = self.env().wall_micros();
        let snapshot_days = i64::try_from(self.options.snapshot_grant_days).unwrap_or(i64::MAX);
        let later = now.saturating_add(snapshot_days.saturating_mul(DAY_MICROS));
        self.book.change_all(id, |record| {
            if root.as_deref() == Some(record.key.as_str()) {
                record.is_settled = true;
                record.retire_after_micros = None;
            } else if record.retire_after_micros.is_none() {
                let protects = record.purpose == word(GrantPurpose::Snapshot) && record.is_settled;
                record.retire_after_micros = Some(if protects { later } else { now });
            }
        });
        if let Err(error) = self.save_grants().await {
            tracing::warn!(%error, "a change of grants is not noted yet");
        }
        self.note_lineage(id).await;
    }

    /// One round over what is due: notes what could not be noted, widens and retires grants.
    pub(super) async fn tend_grants(&self) {
        if self.book.is_tended.swap(true, Ordering::AcqRel) {
            return;
        }
        let _done = Done(&self.book.is_tended);
        if let Err(error) = self.save_grants().await {
            tracing::warn!(%error, "a change of grants is not noted yet");
            return;
        }
        let (wall, boot) = (self.env().wall_micros(), self.now_nanos());
        for name in self.book.due(wall, boot) {
            let Some(record) = self.book.still_due(&name, wall, boot) else {
                continue;
            };
            let changing = self.book.changing(TableId(record.id));
            let _one_at_a_time = changing.lock().await;
            // It may be wanted again by now.
            let Some(record) = self.book.still_due(&name, wall, boot) else {
                continue;
            };
            let is_over = record.retire_after_micros.is_some_and(|at| at <= wall);
            let outcome = match is_over {
                true => self.retire(&record).await.map(|()| None),
                false => self.widen(&record).await.map(Some),
            };
            match outcome {
                Ok(record) => self.book.put(&name, record),
                Err(error) => {
                    tracing::warn!(
                        table = %TableId(record.id),
                        key = record.key,
                        %error,
                        "a grant that is no longer needed is not retired yet"
                    );
                    self.book.failed(&name, boot);
                }
            }
        }
        self.book.forget_idle();
        if let Err(error) = self.save_grants().await {
            tracing::warn!(%error, "a change of grants is not noted yet");
        }
    }

    async fn retire(&self, record: &GrantRecord) -> Result<(), CryptoError> {
        let (cmk, asker) = (CmkRef::parse(&record.key)?, Asker::server());
        let service = self.services.of(&cmk)?;
        let purpose = record.purpose_of(&asker);
        let grant = match &record.grant {
            Some(grant) => Some(GrantId(grant.clone())),
            None => self.find(service, &cmk, record, purpose).await?,
        };
        let age_micros = self.env().wall_micros() - record.created_micros;
        if grant.is_some() && self.book.stands_elsewhere(record, grant.as_ref()) {
            // Made under an alias, and again under the name that it led to: one grant, noted twice.
            return Ok(());
        }
        match grant {
            Some(grant) => self.retire_grant(service, &cmk, &grant, purpose).await,
            // Made a moment ago, or never: services list their grants with some delay.
            None if age_micros < LISTED_AFTER.as_micros() as i64 => Err(CryptoError::Unavailable {
                reason: UnavailableReason::Unreachable,
                message: "the grant is not listed yet".into(),
            }),
            None => Ok(()),
        }
    }

    /// Makes the grant for snapshots anew, now that nothing but snapshots is under it.
    async fn widen(&self, record: &GrantRecord) -> Result<GrantRecord, CryptoError> {
        let (cmk, asker) = (CmkRef::parse(&record.key)?, Asker::server());
        let service = self.services.of(&cmk)?;
        let purpose = record.purpose_of(&asker);
        let request = self.request(TableId(record.id), GrantPurpose::Snapshot, true, purpose);
        let wide = self.create_grant(service, &cmk, &request, purpose).await?;
        if let Some(narrow) = &record.grant
            && *narrow != wide.0
        {
            let narrow = GrantId(narrow.clone());
            self.retire_grant(service, &cmk, &narrow, purpose).await?;
        }
        Ok(GrantRecord {
            grant: Some(wide.0),
            is_wide: true,
            ..record.clone()
        })
    }

    async fn create_grant(
        &self,
        service: &KeyService,
        cmk: &CmkRef,
        request: &GrantRequest,
        purpose: Purpose<'_>,
    ) -> Result<GrantId, CryptoError> {
        let asked = purpose.asks("CreateGrant", cmk, Some(&request.context));
        let called = service
            .call(&self.caller, asked, |kms| {
                of(kms, |grants| grants.create_grant(cmk, request))
            })
            .await;
        called.outcome
    }

    async fn retire_grant(
        &self,
        service: &KeyService,
        cmk: &CmkRef,
        grant: &GrantId,
        purpose: Purpose<'_>,
    ) -> Result<(), CryptoError> {
        let asked = purpose.asks("RetireGrant", cmk, None);
        let called = service
            .call(&self.caller, asked, |kms| {
                of(kms, |grants| grants.retire_grant(cmk, grant))
            })
            .await;
        match called.outcome {
            // With the key its grants are gone.
            Err(CryptoError::Denied {
                reason: palladium_crypto::DenialReason::NotFound,
                ..
            }) => Ok(()),
            outcome => outcome,
        }
    }

    /// A grant that may have been made before a crash, by its name.
    async fn find(
        &self,
        service: &KeyService,
        cmk: &CmkRef,
        record: &GrantRecord,
        purpose: Purpose<'_>,
    ) -> Result<Option<GrantId>, CryptoError> {
        let asked = purpose.asks("ListGrants", cmk, None);
        let called = service
            .call(&self.caller, asked, |kms| {
                of(kms, |grants| grants.list_grants(cmk))
            })
            .await;
        let what = match record.purpose == word(GrantPurpose::Use) {
            true => GrantPurpose::Use,
            false => GrantPurpose::Snapshot,
        };
        let name = self.grant_name(TableId(record.id), what, record.is_wide);
        let mut grants = called.outcome?.into_iter();
        Ok(grants
            .find(|grant| grant.name == name)
            .map(|grant| grant.id))
    }

    fn request(
        &self,
        id: TableId,
        what: GrantPurpose,
        is_wide: bool,
        purpose: Purpose<'_>,
    ) -> GrantRequest {
        use GrantOperation::{Decrypt, Describe, Generate, Retire};
        let operations = match (what, is_wide) {
            (GrantPurpose::Use, _) => vec![Describe, Generate, Decrypt, Retire],
            (GrantPurpose::Snapshot, false) => vec![Describe, Retire],
            (GrantPurpose::Snapshot, true) => vec![Describe, Decrypt, Retire],
        };
        GrantRequest {
            name: self.grant_name(id, what, is_wide),
            operations,
            context: self.context(purpose.keyspace, purpose.table),
        }
    }

    /// The same for the same grant, and no other server's: a repeated request makes no second one.
    fn grant_name(&self, id: TableId, what: GrantPurpose, is_wide: bool) -> String {
        let kept = if is_wide { "-kept" } else { "" };
        format!(
            "palladium:{}:{id}:{}{kept}",
            self.options.cluster,
            word(what)
        )
    }

    async fn save_grants(&self) -> palladium_storage::Result<()> {
        let changes = self.book.unnoted();
        if changes.is_empty() {
            return Ok(());
        }
        let noted = changes.clone();
        records::write(&self.engine, GRANTS, changes).await?;
        self.book.noted(&noted);
        Ok(())
    }
}

impl GrantRecord {
    fn purpose_of<'a>(&'a self, asker: &'a Asker) -> Purpose<'a> {
        Purpose {
            keyspace: &self.keyspace,
            table: &self.table,
            asker,
            urgency: Urgency::Background,
        }
    }
}

impl Book {
    /// Held by whoever makes or retires grants of a table.
    fn changing(&self, id: TableId) -> Arc<tokio::sync::Mutex<()>> {
        self.changing.entry(id).or_default().clone()
    }

    /// Forgets the locks that nobody holds or waits for.
    fn forget_idle(&self) {
        self.changing.retain(|_, lock| Arc::strong_count(lock) > 1);
    }

    fn load(&self, records: Vec<(Bytes, Bytes)>) -> Result<(), String> {
        let mut entries = self.entries();
        for (name, value) in records {
            let record = serde_json::from_slice(&value)
                .map_err(|error| format!("the record of a grant cannot be read: {error}"))?;
            entries.insert(name.to_vec(), Entry::noted(record));
        }
        Ok(())
    }

    fn tables(&self) -> Vec<TableId> {
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
    fn want(&self, name: Vec<u8>, record: GrantRecord) {
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

    /// The service has made a grant. Another one that stood here before is to be retired.
    fn made(&self, name: &[u8], grant: GrantId, now: i64) {
        let mut entries = self.entries();
        let Some(entry) = entries.get_mut(name) else {
            return;
        };
        let before = entry.record.clone();
        entry.change(|record| {
            record.grant = Some(grant.0.clone());
            record.is_wide = false;
        });
        let Some((record, old)) = before.and_then(|record| Some((record.clone(), record.grant?)))
        else {
            return;
        };
        if old != grant.0 {
            let replaced = GrantRecord {
                retire_after_micros: Some(now),
                is_replaced: true,
                ..record
            };
            let entry = Entry {
                is_noted: false,
                ..Entry::noted(replaced)
            };
            entries.insert([name, b" ", old.as_bytes()].concat(), entry);
        }
    }

    fn change_all(&self, id: TableId, change: impl Fn(&mut GrantRecord)) {
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

    /// What came of an entry: what it is now, or that it is no more.
    fn put(&self, name: &[u8], record: Option<GrantRecord>) {
        let mut entries = self.entries();
        let Some(entry) = entries.get_mut(name) else {
            return;
        };
        match (&mut entry.record, record) {
            (Some(present), Some(next)) => {
                present.grant = next.grant;
                present.is_wide = next.is_wide;
            }
            (present, next) => *present = next,
        }
        entry.is_noted = false;
        entry.tries = 0;
    }

    fn failed(&self, name: &[u8], boot: u64) {
        if let Some(entry) = self.entries().get_mut(name) {
            let pause = RETRY_MIN
                .saturating_mul(1 << entry.tries.min(16))
                .min(RETRY_MAX);
            entry.tries = entry.tries.saturating_add(1);
            entry.try_at_nanos = boot.saturating_add(pause.as_nanos() as u64);
        }
    }

    /// What is to be retired or widened now.
    fn due(&self, wall: i64, boot: u64) -> Vec<Vec<u8>> {
        let entries = self.entries();
        let due = entries.iter().filter(|(_, entry)| entry.is_due(wall, boot));
        due.map(|(name, _)| name.clone()).collect()
    }

    fn still_due(&self, name: &[u8], wall: i64, boot: u64) -> Option<GrantRecord> {
        let entries = self.entries();
        let entry = entries.get(name).filter(|entry| entry.is_due(wall, boot))?;
        entry.record.clone()
    }

    fn unnoted(&self) -> Vec<records::Change> {
        let entries = self.entries();
        let unnoted = entries.iter().filter(|(_, entry)| !entry.is_noted);
        unnoted
            .map(|(name, entry)| (name.clone(), entry.record.as_ref().map(encoded)))
            .collect()
    }

    fn noted(&self, changes: &[records::Change]) {
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
    fn stands_elsewhere(&self, record: &GrantRecord, grant: Option<&GrantId>) -> bool {
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

    fn is_due(&self, wall: i64, boot: u64) -> bool {
        let Some(record) = self.record.as_ref() else {
            return false;
        };
        let is_narrow = record.is_settled
            && !record.is_wide
            && !record.is_replaced
            && record.purpose == word(GrantPurpose::Snapshot);
        let leaves = record.retire_after_micros;
        boot >= self.try_at_nanos && leaves.is_some_and(|at| at <= wall || is_narrow)
    }

    fn change(&mut self, change: impl FnOnce(&mut GrantRecord)) {
        if let Some(record) = &mut self.record {
            let before = record.clone();
            change(record);
            self.is_noted &= *record == before;
        }
    }
}

/// One round at a time.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
    }
}

fn encoded(record: &GrantRecord) -> Vec<u8> {
    serde_json::to_vec(record).expect("a record of texts and numbers has a JSON form")
}

/// Table, purpose, key: sorted by table.
fn name(id: TableId, what: GrantPurpose, cmk: &CmkRef) -> Vec<u8> {
    let mut name = id.0.to_vec();
    name.extend_from_slice(word(what).as_bytes());
    name.push(b' ');
    name.extend_from_slice(cmk.to_string().as_bytes());
    name
}

fn word(what: GrantPurpose) -> &'static str {
    match what {
        GrantPurpose::Use => "use",
        GrantPurpose::Snapshot => "snapshot",
    }
}

/// A call to the grants of a service that has them.
fn of<'a, T: Send + 'a>(
    kms: &'a dyn Kms,
    call: impl FnOnce(&'a dyn Grants) -> Answering<'a, T>,
) -> Answering<'a, T> {
    match kms.grants() {
        Some(grants) => call(grants),
        None => {
            let error = CryptoError::Unsupported("this key service makes no grants".into());
            Box::pin(std::future::ready(Err(error).into()))
        }
    }
}
