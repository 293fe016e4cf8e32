//! The newest state of the keyring that this folder has seen, so that an older copy of the keyring put back does not bring back a key that was taken away.
//!
//! The keyring counts its edits, and remembers which files they have replaced. The newest moment (`KeyringMoment`: count and digest) is one of the server's records
//! (`records`): name "keyring", value u64 big-endian and 16 bytes; a record of 8 bytes is one of a release that counted alone. A keyring that does not continue that
//! moment, because its count is lower or because the history of its file does not contain it, is refused at start; one that goes back while the server runs gives no keys
//! until it is whole again. An edit is recorded within a second of its use or of the next look at it, and what it changed is an event of the audit trail
//! (`keyring_changes`).

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use bytes::Bytes;
use palladium_crypto::{
    Answering, CmkRef, EncryptionContext, Error as CryptoError, GeneratedKey, Grant, GrantId,
    GrantRequest, Grants, KeyDescription, Keyring, KeyringMoment, Kms, Secret, Succession,
    UnavailableReason,
};
use palladium_storage::LocalBackend;
use palladium_storage::verify::TableReader;

use crate::Engine;
use crate::audit::{Asker, Audit, Event};
use crate::complaint::Complaint;
use crate::keyring_changes::{Changed, KEYRING_KEYS, Seen};
use crate::records;

const RECORDS: &str = "records";
const KEYRING: &[u8] = b"keyring";
/// Who edits the keyring: whoever may write its file. Nothing tells more.
const EDITOR: &str = "keyring";
/// Between two looks at the keyring.
const PAUSE: Duration = Duration::from_secs(1);

/// The keyring, as long as it does not go back in time.
pub struct RecordedKeyring {
    keyring: Keyring,
    /// The newest that was ever seen.
    newest: Mutex<KeyringMoment>,
    /// What this folder knows of.
    recorded: Mutex<KeyringMoment>,
    /// What it looked like when an edit was recorded last; None: not known.
    seen: tokio::sync::Mutex<Option<Seen>>,
    /// That it gives no keys, or is not recorded.
    trouble: Mutex<Complaint>,
    audit: Audit,
}

impl RecordedKeyring {
    /// A keyring of which nothing is known yet.
    pub fn new(keyring: Keyring, audit: Audit) -> Arc<Self> {
        Arc::new(RecordedKeyring {
            keyring,
            newest: Mutex::default(),
            recorded: Mutex::default(),
            seen: tokio::sync::Mutex::default(),
            trouble: Mutex::default(),
            audit,
        })
    }

    /// Compares with the record of this folder. The schema's table must be open.
    pub async fn check(&self, engine: &Engine) -> Result<(), String> {
        let recorded = read(engine)
            .await
            .map_err(|error| format!("the record of the keyring cannot be read: {error}"))?;
        *held(&self.newest) = recorded;
        *held(&self.recorded) = recorded;
        let keys = records::read(engine, KEYRING_KEYS)
            .await
            .map_err(|error| format!("what was seen of the keyring cannot be read: {error}"))?;
        *self.seen.lock().await = Seen::read(&keys);
        let path = self.keyring.path().display();
        let known = self.keyring.since(&recorded);
        let (moment, succession) = known.map_err(|error| format!("keyring {path}: {error}"))?;
        match refusal(succession, &moment, &recorded) {
            None => Ok(()),
            Some(why) => Err(format!(
                "keyring {path}: {why}; palladium accept-rollback --keyring-too takes it for the true one all the same"
            )),
        }
    }

    /// The service's own key is not to be taken from it, whoever edits the keyring. After the check alone: an edit would make an older copy look newer.
    pub fn mark_service(&self, cmk: &CmkRef) {
        if cmk.provider() != "local" {
            return;
        }
        if let Err(error) = self.keyring.key_mark_service(cmk.name()) {
            tracing::warn!(key = %cmk, %error, "the service's own key is not marked in the keyring as what it is");
        }
    }

    /// Records edits until the process ends.
    pub async fn run(self: Arc<Self>, engine: Engine) {
        loop {
            self.note(&engine).await;
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Records edits that this folder does not know of.
    pub async fn note(&self, engine: &Engine) {
        if self.keyring.has_left_copy() {
            tracing::warn!(keyring = %self.keyring.path().display(), "an edit of the keyring left what it replaced as it was: the file has another name (a hard link), with all material of then");
        }
        let moment = match self.look() {
            Ok(moment) => moment,
            Err(error) => {
                if self.is_complaint_due() {
                    tracing::error!(%error, "the keyring gives no keys");
                }
                return;
            }
        };
        let recorded = *held(&self.recorded);
        if moment == recorded {
            return;
        }
        if let Err(error) = self.record(engine).await
            && self.is_complaint_due()
        {
            tracing::warn!(error, "the state of the keyring is not recorded yet");
        }
    }

    fn is_complaint_due(&self) -> bool {
        held(&self.trouble).is_due(Instant::now())
    }

    /// Tells what has changed, then writes down what it looks like, then the count: after a crash in between it is told again, and never left out.
    async fn record(&self, engine: &Engine) -> Result<(), String> {
        // One after the other, so that what is written down last is the newest. What the one before wrote down is no news.
        let mut seen = self.seen.lock().await;
        let recorded = held(&self.recorded).edits;
        let newest = *held(&self.newest);
        let looked = self.keyring.overview_since(&newest);
        let (overview, succession) = looked.map_err(|error| error.to_string())?;
        let moment = overview.moment;
        self.admit(succession, &moment, &newest)
            .map_err(|error| error.to_string())?;
        let now = Seen::of(&overview);
        // What a folder sees first is no change.
        let changes = seen.as_ref().map(|before| now.changes_since(before));
        let changes = match changes {
            Some(none) if none.is_empty() && moment.edits > recorded => vec![Changed::nothing()],
            changes => changes.unwrap_or_default(),
        };
        for change in changes {
            let edits = format!("{recorded} to {}", moment.edits);
            let told = BTreeMap::from([
                ("change".to_owned(), change.what),
                ("edits".to_owned(), edits),
                ("written".to_owned(), overview.written.to_string()),
            ]);
            let key = change.key.and_then(|name| CmkRef::local(&name).ok());
            let at = i64::try_from(overview.written.0).unwrap_or(0);
            let event = Event {
                key,
                context: Some(EncryptionContext(told)),
                asker: Asker {
                    who: EDITOR.into(),
                    ..Asker::server()
                },
                ..Event::of_server("KEYRING EDIT", at.saturating_mul(1_000_000))
            };
            self.audit.record(event).await;
        }
        let unknown = Seen::default();
        let records = now.records_since(seen.as_ref().unwrap_or(&unknown));
        records::write(engine, KEYRING_KEYS, records)
            .await
            .map_err(|error| error.to_string())?;
        write(engine, moment)
            .await
            .map_err(|error| error.to_string())?;
        // With the moment, whatever ends this in between: facts without it would look like an edit of which nothing is left.
        *seen = Some(now);
        *held(&self.recorded) = moment;
        Ok(())
    }

    /// Where it stands; an error if that does not continue what was seen before.
    fn look(&self) -> Result<KeyringMoment, CryptoError> {
        // What was known before the file was read: another call may see a newer file meanwhile, and then this one was not old when it was read.
        let newest = *held(&self.newest);
        let (moment, succession) = self.keyring.since(&newest).map_err(silent)?;
        self.admit(succession, &moment, &newest)?;
        Ok(moment)
    }

    /// Takes a moment that continues what was known when the file was read.
    fn admit(
        &self,
        succession: Succession,
        moment: &KeyringMoment,
        known: &KeyringMoment,
    ) -> Result<(), CryptoError> {
        if let Some(message) = refusal(succession, moment, known) {
            return Err(CryptoError::Unavailable {
                reason: UnavailableReason::Unreachable,
                message,
            });
        }
        let mut newest = held(&self.newest);
        if moment.edits > newest.edits || newest.digest.is_none() {
            *newest = *moment;
        }
        Ok(())
    }

    /// Asks the keyring, if it has not gone back.
    fn ask<'a, T: Send + 'a>(
        &'a self,
        call: impl FnOnce(&'a Keyring) -> Answering<'a, T>,
    ) -> Answering<'a, T> {
        match self.look() {
            Ok(_) => call(&self.keyring),
            Err(error) => Box::pin(std::future::ready(Err(error).into())),
        }
    }
}

fn held<T>(value: &Mutex<T>) -> MutexGuard<'_, T> {
    value.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why a keyring is not taken for the one that was in use at the moment `known`.
pub fn refusal(
    succession: Succession,
    now: &KeyringMoment,
    known: &KeyringMoment,
) -> Option<String> {
    let (edits, newest) = (now.edits, known.edits);
    match succession {
        Succession::Continues => None,
        Succession::Older => Some(format!(
            "this is an older copy of the keyring: it has seen {edits} edits, and one with {newest} was in use"
        )),
        Succession::Another => Some(format!(
            "this is another copy of the keyring: it has seen {edits} edits, but the one that was in use with {newest} is not what they were made on; an older copy was put back and edited"
        )),
        Succession::Forgotten => Some(format!(
            "whether this is the keyring that was in use cannot be told: it has seen {edits} edits, and {newest} when it was recorded; it does not remember so many, or was edited by an older release"
        )),
    }
}

/// A keyring that cannot be read says nothing of its keys, whatever is wrong with the file: it is out of reach, and no table is damaged.
fn silent(error: CryptoError) -> CryptoError {
    match error {
        CryptoError::Denied { .. } | CryptoError::Unavailable { .. } => error,
        broken => CryptoError::Unavailable {
            reason: UnavailableReason::Unreachable,
            message: broken.to_string(),
        },
    }
}

impl Kms for RecordedKeyring {
    fn describe<'a>(&'a self, key: &'a CmkRef) -> Answering<'a, KeyDescription> {
        self.ask(|keyring| keyring.describe(key))
    }

    fn generate_data_key<'a>(
        &'a self,
        key: &'a CmkRef,
        context: &'a EncryptionContext,
    ) -> Answering<'a, GeneratedKey> {
        self.ask(|keyring| keyring.generate_data_key(key, context))
    }

    fn decrypt<'a>(
        &'a self,
        key: &'a CmkRef,
        ciphertext: &'a [u8],
        context: &'a EncryptionContext,
    ) -> Answering<'a, Secret<32>> {
        self.ask(|keyring| keyring.decrypt(key, ciphertext, context))
    }

    fn encrypt<'a>(
        &'a self,
        key: &'a CmkRef,
        plaintext: &'a Secret<32>,
        context: &'a EncryptionContext,
    ) -> Answering<'a, Vec<u8>> {
        self.ask(|keyring| keyring.encrypt(key, plaintext, context))
    }

    fn grants(&self) -> Option<&dyn Grants> {
        self.keyring.grants().map(|_| self as &dyn Grants)
    }
}

impl Grants for RecordedKeyring {
    fn create_grant<'a>(
        &'a self,
        key: &'a CmkRef,
        request: &'a GrantRequest,
    ) -> Answering<'a, GrantId> {
        self.ask(|keyring| keyring.create_grant(key, request))
    }

    fn retire_grant<'a>(&'a self, key: &'a CmkRef, grant: &'a GrantId) -> Answering<'a, ()> {
        self.ask(|keyring| keyring.retire_grant(key, grant))
    }

    fn list_grants<'a>(&'a self, key: &'a CmkRef) -> Answering<'a, Vec<Grant>> {
        self.ask(|keyring| keyring.list_grants(key))
    }
}

/// The record as it stands in a folder that is only looked at.
pub async fn recorded(
    reader: &TableReader,
    backend: &LocalBackend,
) -> palladium_storage::Result<KeyringMoment> {
    let records = records::read_looking(reader, backend, RECORDS).await?;
    Ok(newest(&records))
}

/// Records a keyring that does not continue the one that was recorded: an operator has accepted a copy.
pub async fn accept(engine: &Engine, moment: KeyringMoment) -> palladium_storage::Result<()> {
    write(engine, moment).await
}

async fn read(engine: &Engine) -> palladium_storage::Result<KeyringMoment> {
    let records = records::read(engine, RECORDS).await?;
    Ok(newest(&records))
}

fn newest(records: &[(Bytes, Bytes)]) -> KeyringMoment {
    let record = records.iter().find(|(name, _)| name == KEYRING);
    record
        .and_then(|(_, value)| KeyringMoment::from_bytes(value))
        .unwrap_or_default()
}

async fn write(engine: &Engine, moment: KeyringMoment) -> palladium_storage::Result<()> {
    let record = (KEYRING.to_vec(), Some(moment.to_bytes()));
    records::write(engine, RECORDS, vec![record]).await
}
