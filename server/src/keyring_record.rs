//! The newest state of the keyring that this folder has seen, so that an older copy of the keyring put back does not bring back a key that was taken away.
//!
//! The keyring counts its edits. The newest count is a row of the service's own table, beside the schema and as well guarded. A keyring with a lower count is
//! refused at start; one that goes back while the server runs gives no keys until it is whole again. An edit is recorded within a second of its use or of the
//! next look at it.
//!
//! ```text
//! system_palladium.schema    partition "records", clustering "keyring": edits, u64 big-endian
//! ```

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use palladium_crypto::{
    Answering, CmkRef, EncryptionContext, Error as CryptoError, GeneratedKey, KeyDescription,
    Keyring, Kms, Secret, UnavailableReason,
};
use palladium_storage::{
    Cell, CellState, Clustering, ColumnId, Columns, KeyRange, Limits, Liveness, Mutation,
    PartitionKey, PartitionUpdate, ReadCommand, Row, Slices, Write,
};

use crate::Engine;
use crate::encode::key;
use crate::schema::store::SCHEMA_TABLE;

const PARTITION: &[u8] = b"records";
const CLUSTERING: &[u8] = b"keyring";
const EDITS: ColumnId = ColumnId(1);
/// Between two looks at the keyring.
const PAUSE: Duration = Duration::from_secs(1);

/// The keyring, as long as it does not go back in time.
pub struct RecordedKeyring {
    keyring: Keyring,
    /// The most edits that were ever seen.
    newest: AtomicU64,
    /// Those that this folder knows of.
    recorded: AtomicU64,
}

impl RecordedKeyring {
    /// A keyring of which nothing is known yet.
    pub fn new(keyring: Keyring) -> Arc<Self> {
        Arc::new(RecordedKeyring {
            keyring,
            newest: AtomicU64::new(0),
            recorded: AtomicU64::new(0),
        })
    }

    /// Compares with the record of this folder. The schema's table must be open.
    pub async fn check(&self, engine: &Engine) -> Result<(), String> {
        let recorded = read(engine)
            .await
            .map_err(|error| format!("the record of the keyring cannot be read: {error}"))?;
        self.newest.fetch_max(recorded, Ordering::AcqRel);
        self.recorded.store(recorded, Ordering::Release);
        self.look()
            .map(drop)
            .map_err(|error| format!("keyring {}: {error}", self.keyring.path().display()))
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
        let edits = match self.look() {
            Ok(edits) => edits,
            Err(error) => {
                tracing::error!(%error, "the keyring gives no keys");
                return;
            }
        };
        if edits <= self.recorded.load(Ordering::Acquire) {
            return;
        }
        match write(engine, edits).await {
            Ok(()) => {
                self.recorded.fetch_max(edits, Ordering::AcqRel);
            }
            Err(error) => tracing::warn!(%error, "the state of the keyring is not recorded yet"),
        }
    }

    /// How many edits it has seen; an error if it had seen more before.
    fn look(&self) -> Result<u64, CryptoError> {
        let edits = self.keyring.edit_counter()?;
        let newest = self.newest.fetch_max(edits, Ordering::AcqRel);
        match edits < newest {
            true => Err(CryptoError::Unavailable {
                reason: UnavailableReason::Unreachable,
                message: format!(
                    "this is an older copy of the keyring: it has seen {edits} edits, and one with {newest} was in use"
                ),
            }),
            false => Ok(edits),
        }
    }
}

impl Kms for RecordedKeyring {
    fn describe<'a>(&'a self, key: &'a CmkRef) -> Answering<'a, KeyDescription> {
        match self.look() {
            Ok(_) => self.keyring.describe(key),
            Err(error) => Box::pin(std::future::ready(Err(error).into())),
        }
    }

    fn generate_data_key<'a>(
        &'a self,
        key: &'a CmkRef,
        context: &'a EncryptionContext,
    ) -> Answering<'a, GeneratedKey> {
        match self.look() {
            Ok(_) => self.keyring.generate_data_key(key, context),
            Err(error) => Box::pin(std::future::ready(Err(error).into())),
        }
    }

    fn decrypt<'a>(
        &'a self,
        key: &'a CmkRef,
        ciphertext: &'a [u8],
        context: &'a EncryptionContext,
    ) -> Answering<'a, Secret<32>> {
        match self.look() {
            Ok(_) => self.keyring.decrypt(key, ciphertext, context),
            Err(error) => Box::pin(std::future::ready(Err(error).into())),
        }
    }

    fn encrypt<'a>(
        &'a self,
        key: &'a CmkRef,
        plaintext: &'a Secret<32>,
        context: &'a EncryptionContext,
    ) -> Answering<'a, Vec<u8>> {
        match self.look() {
            Ok(_) => self.keyring.encrypt(key, plaintext, context),
            Err(error) => Box::pin(std::future::ready(Err(error).into())),
        }
    }
}

fn partition() -> PartitionKey {
    key::partition_key(&[Bytes::from_static(PARTITION)]).expect("a short text is a partition key")
}

async fn read(engine: &Engine) -> palladium_storage::Result<u64> {
    let command = ReadCommand {
        table: SCHEMA_TABLE,
        range: KeyRange::One(partition()),
        slices: Slices::all(),
        reversed: false,
        columns: Arc::new(Columns {
            regular: vec![EDITS],
            statics: Vec::new(),
        }),
        limits: Limits::NONE,
        resume: None,
        now: engine.now_seconds(),
    };
    let page = engine.read(command).await?;
    let cells = page
        .partitions
        .iter()
        .flat_map(|partition| &partition.rows)
        .flat_map(|row| &row.cells);
    let counts = cells.filter_map(|cell| match &cell.state {
        CellState::Live(bytes) => bytes.as_ref().try_into().ok().map(u64::from_be_bytes),
        _ => None,
    });
    Ok(counts.max().unwrap_or(0))
}

async fn write(engine: &Engine, edits: u64) -> palladium_storage::Result<()> {
    let timestamp = engine.next_timestamp();
    let row = Row {
        clustering: Clustering(Bytes::from_static(CLUSTERING)),
        liveness: Some(Liveness {
            timestamp,
            ttl: 0,
            expires_at: 0,
        }),
        deletion: None,
        complex_deletions: Vec::new(),
        cells: vec![Cell {
            column: EDITS,
            path: Bytes::new(),
            timestamp,
            state: CellState::Live(Bytes::copy_from_slice(&edits.to_be_bytes())),
        }],
    };
    let mutation = Mutation {
        table: SCHEMA_TABLE,
        key: partition(),
        update: PartitionUpdate {
            deletion: None,
            static_row: None,
            rows: vec![row],
            range_tombstones: Vec::new(),
        },
    };
    let results = engine
        .write(vec![Write {
            mutations: vec![mutation],
        }])
        .await;
    results.into_iter().next().unwrap_or(Ok(()))
}
