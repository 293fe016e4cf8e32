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
//! its name. Where another one is known already (it was revoked, or is narrower), the new one has a record of its own until the service has answered: an answer that
//! never comes leaves nothing behind that nobody knows. Retiring is the clockwork's: what fails is tried again, and no DROP waits for it.
//!
//! `book` is what is noted; here is what services are asked.
//!
//! What must hold: a grant that the table's root does not need ends in being retired; a root that needs one was committed after it was made.

mod book;

use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use palladium_crypto::{
    Answering, CmkRef, Error as CryptoError, GrantId, GrantOperation, GrantPurpose, GrantRequest,
    Grants, Kms, TableId, UnavailableReason,
};
use palladium_storage::Backend;

use self::book::{name, word};
use super::call::{Failure, Purpose};
use super::gate::Urgency;
use super::service::KeyService;
use super::{Inner, KeyKeeper};
use crate::audit::Asker;
use crate::records;

pub(super) use book::Book;
pub use book::GrantRecord;

/// The kind of these records.
const GRANTS: &str = "grants";
/// Services list a new grant after at most so long.
const LISTED_AFTER: Duration = Duration::from_secs(600);
const DAY_MICROS: i64 = 86_400_000_000;

impl<B: Backend> KeyKeeper<B> {
    /// Reads what was noted before this start, and brings it in line with the roots.
    pub async fn load_records(&self) -> Result<(), String> {
        let inner = &self.inner;
        let say = |error: palladium_storage::Error| error.to_string();
        let grants = records::read(&inner.engine, GRANTS).await.map_err(say)?;
        inner.book.load(grants)?;
        inner.versions.load(&inner.engine).await?;
        let known = inner.book.tables();
        for id in known.into_iter().chain(inner.versions.tables()) {
            inner.keep(id).await;
        }
        Ok(())
    }

    /// The grants of this server's making.
    pub fn grants(&self) -> Vec<GrantRecord> {
        self.inner.book.records()
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
            self.book
                .ask(&name(id, what, cmk), false, self.env().wall_micros());
        }
        self.save_grants().await.map_err(|error| {
            CryptoError::Invalid(format!("its grants could not be noted: {error}"))
        })?;
        for what in both {
            let request = self.request(id, what, false, purpose);
            let grant = self.create_grant(service, cmk, &request, purpose).await?;
            let now = self.env().wall_micros();
            self.book.made(&name(id, what, cmk), grant, false, now);
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
        if !self.engine.is_root_sure(id) {
            // A switch has failed, and the table may be found under either key: what it needs there stays.
            self.book.doubt(id, true);
            return;
        }
        self.book.doubt(id, false);
        let root = self.engine.root(id).map(|root| root.cmk.to_string());
        let now = self.env().wall_micros();
        let snapshot_days = i64::try_from(self.options.snapshot_grant_days).unwrap_or(i64::MAX);
        let later = now.saturating_add(snapshot_days.saturating_mul(DAY_MICROS));
        self.book.change_all(id, |record| {
            if root.as_deref() == Some(record.key.as_str()) {
                record.is_settled = true;
                record.retire_after_micros = None;
            } else if record.retire_after_micros.is_none() {
                let protects = record.protects_snapshots();
                record.retire_after_micros = Some(if protects { later } else { now });
            }
        });
        if let Err(error) = self.save_grants().await {
            tracing::warn!(%error, "a change of grants is not noted yet");
        }
        self.note_versions(id).await;
    }

    /// One round over what is due: notes what could not be noted, widens and retires grants.
    pub(super) async fn tend_grants(&self) {
        if self.book.is_tended.swap(true, Ordering::AcqRel) {
            return;
        }
        let _done = Done(&self.book.is_tended);
        for id in self.book.doubtful() {
            let changing = self.book.changing(id);
            let _one_at_a_time = changing.lock().await;
            // Not where a new switch has begun: that one asks when it is done.
            if self.book.doubtful().contains(&id) {
                self.keep(id).await;
            }
        }
        if let Err(error) = self.save_grants().await {
            tracing::warn!(%error, "a change of grants is not noted yet");
            return;
        }
        let (wall, boot) = (self.env().wall_micros(), self.now_nanos());
        // Twice: what a wider grant has replaced is due then.
        for _ in 0..2 {
            for name in self.book.due(wall, boot) {
                let Some(record) = self.book.still_due(&name, wall, boot) else {
                    continue;
                };
                let changing = self.book.changing(TableId(record.id));
                let _one_at_a_time = changing.lock().await;
                // It may be wanted again by now.
                if let Some(record) = self.book.still_due(&name, wall, boot) {
                    self.tend_grant(&name, record, wall, boot).await;
                }
            }
        }
        self.book.forget_idle();
        if let Err(error) = self.save_grants().await {
            tracing::warn!(%error, "a change of grants is not noted yet");
        }
    }

    async fn tend_grant(&self, name: &[u8], record: GrantRecord, wall: i64, boot: u64) {
        let outcome = match record.is_over(wall) {
            true => self.retire(&record).await.map(|()| self.book.retired(name)),
            false => self.widen(name, &record).await,
        };
        if let Err(error) = outcome {
            tracing::warn!(
                table = %TableId(record.id),
                key = record.key,
                %error,
                "a grant that is no longer needed is not retired yet"
            );
            self.book.failed(name, boot);
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

    /// Makes the grant for snapshots anew, now that nothing but snapshots is under it. The narrow one is to be retired.
    async fn widen(&self, name: &[u8], record: &GrantRecord) -> Result<(), CryptoError> {
        let (cmk, asker) = (CmkRef::parse(&record.key)?, Asker::server());
        let service = self.services.of(&cmk)?;
        let purpose = record.purpose_of(&asker);
        let request = self.request(TableId(record.id), GrantPurpose::Snapshot, true, purpose);
        self.book.ask(name, true, self.env().wall_micros());
        self.save_grants().await.map_err(|error| {
            CryptoError::Invalid(format!("a grant could not be noted: {error}"))
        })?;
        let wide = self.create_grant(service, &cmk, &request, purpose).await?;
        self.book.made(name, wide, true, self.env().wall_micros());
        Ok(())
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
        self.hear(cmk, called.outcome).await
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
        match self.hear(cmk, called.outcome).await {
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
        let mut grants = self.hear(cmk, called.outcome).await?.into_iter();
        Ok(grants
            .find(|grant| grant.name == name && !self.book.knows(record, &grant.id))
            .map(|grant| grant.id))
    }

    /// A no that speaks of the key itself holds for every table under it, whatever was asked.
    async fn hear<T>(
        &self,
        cmk: &CmkRef,
        outcome: Result<T, CryptoError>,
    ) -> Result<T, CryptoError> {
        if let Err(error) = &outcome {
            self.hear_of_key(&Failure::new(cmk, error), cmk).await;
        }
        outcome
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

/// One round at a time.
struct Done<'a>(&'a AtomicBool);

impl Drop for Done<'_> {
    fn drop(&mut self) {
        self.0.store(false, Ordering::Release);
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
