//! The newest state of the keyring that this folder has seen, so that an older copy of the keyring put back does not bring back a key that was taken away.
//!
//! The keyring counts its edits. The newest count is one of the server's records (`records`): name "keyring", value u64, big-endian. A keyring with a lower count is
//! refused at start; one that goes back while the server runs gives no keys until it is whole again. An edit is recorded within a second of its use or of the
//! next look at it, and what it changed is an event of the audit trail (`keyring_changes`).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use palladium_crypto::{
    Answering, CmkRef, EncryptionContext, Error as CryptoError, GeneratedKey, Grant, GrantId,
    GrantRequest, Grants, KeyDescription, Keyring, Kms, Secret, UnavailableReason,
};
use palladium_storage::LocalBackend;
use palladium_storage::verify::TableReader;

use crate::Engine;
use crate::audit::{Asker, Audit, Event};
use crate::keyring_changes::{KEYRING_KEYS, Seen};
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
    /// The most edits that were ever seen.
    newest: AtomicU64,
    /// Those that this folder knows of.
    recorded: AtomicU64,
    /// What it looked like when an edit was recorded last; None: not known.
    seen: tokio::sync::Mutex<Option<Seen>>,
    audit: Audit,
}

impl RecordedKeyring {
    /// A keyring of which nothing is known yet.
    pub fn new(keyring: Keyring, audit: Audit) -> Arc<Self> {
        Arc::new(RecordedKeyring {
            keyring,
            newest: AtomicU64::new(0),
            recorded: AtomicU64::new(0),
            seen: tokio::sync::Mutex::default(),
            audit,
        })
    }

    /// Compares with the record of this folder. The schema's table must be open.
    pub async fn check(&self, engine: &Engine) -> Result<(), String> {
        let recorded = read(engine)
            .await
            .map_err(|error| format!("the record of the keyring cannot be read: {error}"))?;
        self.newest.fetch_max(recorded, Ordering::AcqRel);
        self.recorded.store(recorded, Ordering::Release);
        let keys = records::read(engine, KEYRING_KEYS)
            .await
            .map_err(|error| format!("what was seen of the keyring cannot be read: {error}"))?;
        *self.seen.lock().await = Seen::read(&keys);
        self.look()
            .map(drop)
            .map_err(|error| format!("keyring {}: {error}", self.keyring.path().display()))
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
        let edits = match self.look() {
            Ok(edits) => edits,
            Err(error) => {
                tracing::error!(%error, "the keyring gives no keys");
                return;
            }
        };
        let recorded = self.recorded.load(Ordering::Acquire);
        if edits <= recorded {
            return;
        }
        if let Err(error) = self.record(engine, recorded).await {
            tracing::warn!(error, "the state of the keyring is not recorded yet");
        }
    }

    /// Tells what has changed, then writes down what it looks like, then the count: after a crash in between it is told again, and never left out.
    async fn record(&self, engine: &Engine, recorded: u64) -> Result<(), String> {
        let overview = self.keyring.overview().map_err(|error| error.to_string())?;
        let mut seen = self.seen.lock().await;
        let now = Seen::of(&overview);
        // What a folder sees first is no change.
        let changes = seen.as_ref().map(|before| now.changes_since(before));
        for change in changes.unwrap_or_default() {
            let edits = format!("{recorded} to {}", overview.edits);
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
        *seen = Some(now);
        drop(seen);
        write(engine, overview.edits)
            .await
            .map_err(|error| error.to_string())?;
        self.recorded.fetch_max(overview.edits, Ordering::AcqRel);
        Ok(())
    }

    /// How many edits it has seen; an error if it had seen more before.
    fn look(&self) -> Result<u64, CryptoError> {
        // What was known before the file was read: another call may see a newer file meanwhile, and then this one was not old when it was read.
        let newest = self.newest.load(Ordering::Acquire);
        let edits = self.keyring.edit_counter().map_err(silent)?;
        if edits < newest {
            return Err(CryptoError::Unavailable {
                reason: UnavailableReason::Unreachable,
                message: format!(
                    "this is an older copy of the keyring: it has seen {edits} edits, and one with {newest} was in use"
                ),
            });
        }
        self.newest.fetch_max(edits, Ordering::AcqRel);
        Ok(edits)
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
) -> palladium_storage::Result<u64> {
    let records = records::read_looking(reader, backend, RECORDS).await?;
    Ok(newest(&records))
}

/// Records what a keyring has seen although more was recorded: an operator has accepted an older copy.
pub async fn accept(engine: &Engine, edits: u64) -> palladium_storage::Result<()> {
    write(engine, edits).await
}

async fn read(engine: &Engine) -> palladium_storage::Result<u64> {
    let records = records::read(engine, RECORDS).await?;
    Ok(newest(&records))
}

fn newest(records: &[(Bytes, Bytes)]) -> u64 {
    let counts = records
        .iter()
        .filter(|(name, _)| name == KEYRING)
        .filter_map(|(_, value)| value.as_ref().try_into().ok().map(u64::from_be_bytes));
    counts.max().unwrap_or(0)
}

async fn write(engine: &Engine, edits: u64) -> palladium_storage::Result<()> {
    let record = (KEYRING.to_vec(), Some(edits.to_be_bytes().to_vec()));
    records::write(engine, RECORDS, vec![record]).await
}
