//! Proof that a table's keys were destroyed: a certificate for each table that was dropped, signed under the service's key.
//!
//! ```text
//! draft written ─► root destroyed, durably ─► manifest forgets the table ─► certificate signed and written, draft gone
//!                        └── a crash anywhere behind this: the next start finishes the drop, then the certificate (`made_after_crash`)
//! ```
//!
//! The draft holds what is known only while the root stands: key, fingerprints, structures. A draft whose table is still there after a start is one of a drop
//! that never began: it goes.
//!
//! What must hold: a certificate is signed only when the root's destruction is durable; a drop never waits for a certificate that cannot be written.

use std::sync::Arc;

use bytes::Bytes;
use palladium_crypto::{ClusterId, PublicKey, Signature, Signer, Statement, TableId, hex};
use palladium_storage::{
    Cell, CellState, Clustering, ColumnId, Columns, Env, KeyRange, Limits, PartitionKey,
    ReadCommand, ReadPage, ReadPosition, Row, Slices, Store, Write,
};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::Engine;
use crate::schema::TableSchema;
use crate::service_key::ServiceKey;
use crate::service_table::{self, SHREDS_TABLE};

const VERSION: u16 = 1;
const CERTIFICATE: ColumnId = ColumnId(1);
const DRAFT: ColumnId = ColumnId(2);
/// Structures that a certificate names; of more it tells the number.
const STRUCTURES_MAX: usize = 4_096;
/// Certificates read at a time.
const PAGE_ROWS: u32 = 100;

const PROMISE: &str = "The table's root was overwritten and removed, durably, before this was signed. It alone held the table's keys, wrapped by the KMS key. \
    At this epoch the folder holds no wrap of these table keys, so nothing that was sealed under them can be opened with it.";
const NO_PROMISE: &str = "Earlier copies of the folder or of the root (backups, snapshots of a disk or machine, what a device keeps of overwritten sectors) open as \
    long as the KMS key does: they die with the KMS key alone. What was read before, and by whom, is not told here.";

/// What is stated of a destroyed table.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shredded {
    version: u16,
    /// The installation.
    pub cluster: String,
    /// The table's id.
    pub table: String,
    /// Its keyspace.
    pub keyspace_name: String,
    /// Its name.
    pub table_name: String,
    /// The KMS key that wrapped its newest key; absent if the root could not be read.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// Epoch of the root that was destroyed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub root_epoch: Option<u64>,
    /// All versions of its key that the root wrapped.
    pub fingerprints: Vec<ShreddedKey>,
    /// What was sealed under them and on this disk.
    pub structures: Vec<ShreddedStructure>,
    /// How many there were, named or not.
    pub structures_total: u64,
    /// The folder's epoch when this was signed.
    #[serde(default)]
    pub epoch: u64,
    /// Microseconds since 1970.
    #[serde(default, rename = "destroyed_at")]
    pub destroyed_at_micros: i64,
    /// A crash came between the destruction and the signature.
    #[serde(default)]
    pub made_after_crash: bool,
    /// What holds.
    pub promise: String,
    /// What does not.
    pub no_promise: String,
}

/// One version of a table's key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShreddedKey {
    /// The version.
    pub version: u32,
    /// Its fingerprint.
    pub fingerprint: String,
}

/// One structure that cannot be opened any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShreddedStructure {
    /// Its name.
    pub structure: String,
    /// What it was.
    pub kind: String,
    /// Its bytes.
    pub bytes: u64,
}

/// A signed statement.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Certificate {
    statement: Value,
    public_key: String,
    signature: String,
}

impl Certificate {
    fn sign(signer: &Signer, shredded: &Shredded) -> Certificate {
        let statement =
            serde_json::to_value(shredded).expect("a statement is texts, numbers and lists");
        let signature = signer.sign(Statement::ShredCertificate, &[&canonical(&statement)]);
        Certificate {
            statement,
            public_key: signer.public_key().to_string(),
            signature: signature.to_string(),
        }
    }

    /// Reads a certificate, however it is laid out.
    pub fn from_bytes(bytes: &[u8]) -> Result<Certificate, String> {
        serde_json::from_slice(bytes).map_err(|error| format!("not a certificate: {error}"))
    }

    /// One line of JSON.
    pub fn to_text(&self) -> String {
        serde_json::to_string(self).expect("a certificate is texts and a statement")
    }

    /// Under which key it says it is signed.
    pub fn public_key(&self) -> Result<PublicKey, String> {
        self.public_key
            .parse()
            .map_err(|error: palladium_crypto::Error| error.to_string())
    }

    /// What it states, if its own key signed it. Whose key that is, the caller decides.
    pub fn verify(&self) -> Result<Shredded, String> {
        let key = self.public_key()?;
        let signature: Signature = self
            .signature
            .parse()
            .map_err(|error: palladium_crypto::Error| error.to_string())?;
        let parts: [&[u8]; 1] = [&canonical(&self.statement)];
        if !key.verify(Statement::ShredCertificate, &parts, &signature) {
            return Err("its signature does not match".into());
        }
        let shredded: Shredded = serde_json::from_value(self.statement.clone())
            .map_err(|error| format!("its statement is not known: {error}"))?;
        match shredded.version {
            VERSION => Ok(shredded),
            other => Err(format!("version {other} is not known")),
        }
    }
}

/// JSON with the fields of every object in the byte order of their names, and no blanks: one text for one value.
fn canonical(value: &Value) -> Vec<u8> {
    fn put(value: &Value, out: &mut Vec<u8>) {
        match value {
            Value::Object(fields) => {
                let mut sorted: Vec<(&String, &Value)> = fields.iter().collect();
                sorted.sort_by_key(|(name, _)| name.as_bytes());
                out.push(b'{');
                for (index, (name, value)) in sorted.into_iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    put(&Value::String(name.clone()), out);
                    out.push(b':');
                    put(value, out);
                }
                out.push(b'}');
            }
            Value::Array(values) => {
                out.push(b'[');
                for (index, value) in values.iter().enumerate() {
                    if index > 0 {
                        out.push(b',');
                    }
                    put(value, out);
                }
                out.push(b']');
            }
            plain => out.extend_from_slice(plain.to_string().as_bytes()),
        }
    }
    let mut out = Vec::new();
    put(value, &mut out);
    out
}

/// Makes certificates and keeps them.
pub struct Shredding {
    engine: Engine,
    env: Arc<dyn Env>,
    signer: Signer,
    cluster: ClusterId,
}

/// A table about to be destroyed.
pub struct Draft {
    table: TableId,
    shredded: Shredded,
}

impl Shredding {
    /// Opens the table of certificates. One that is damaged stops nothing but itself: certificates are then only logged.
    pub async fn open(
        engine: &Engine,
        env: Arc<dyn Env>,
        service: &ServiceKey,
    ) -> Result<Shredding, String> {
        match service_table::open(engine, service, SHREDS_TABLE, Default::default()).await {
            Ok(()) => {}
            Err(palladium_storage::Error::Corrupt { what }) => {
                tracing::error!(what, "the certificates of destroyed tables cannot be read");
            }
            Err(error) => return Err(format!("the certificates cannot be read: {error}")),
        }
        Ok(Shredding {
            engine: engine.clone(),
            env,
            signer: Signer::derive(service.ring.active()),
            cluster: service.cluster,
        })
    }

    /// Writes down what a table's certificate will say, while its root still tells. Written or not, the draft is given back.
    pub async fn draft(&self, table: &TableSchema) -> Draft {
        let root = self.engine.root(table.id);
        let structures = self.engine.structures(table.id).await;
        let fingerprints = root.iter().flat_map(|root| &root.fingerprints);
        let draft = Draft {
            table: table.id,
            shredded: Shredded {
                version: VERSION,
                cluster: self.cluster.to_string(),
                table: table.id.to_string(),
                keyspace_name: table.keyspace.clone(),
                table_name: table.name.clone(),
                key: root.as_ref().map(|root| root.cmk.to_string()),
                root_epoch: root.as_ref().map(|root| root.epoch),
                fingerprints: fingerprints
                    .map(|(version, fingerprint)| ShreddedKey {
                        version: *version,
                        fingerprint: fingerprint.to_string(),
                    })
                    .collect(),
                structures_total: structures.len() as u64,
                structures: structures
                    .iter()
                    .take(STRUCTURES_MAX)
                    .map(|structure| ShreddedStructure {
                        structure: structure.structure.to_string(),
                        kind: structure.kind.to_string(),
                        bytes: structure.bytes,
                    })
                    .collect(),
                epoch: 0,
                destroyed_at_micros: 0,
                made_after_crash: false,
                promise: PROMISE.into(),
                no_promise: NO_PROMISE.into(),
            },
        };
        let text =
            serde_json::to_vec(&draft.shredded).expect("a statement is texts, numbers and lists");
        let cells = vec![(DRAFT, Some(Bytes::from(text)))];
        if let Err(error) = self.write(table.id, cells).await {
            tracing::error!(table = %table.id, %error, "a table is dropped without a draft of its certificate: a crash now would leave none");
        }
        draft
    }

    /// Signs and writes the certificate of a table whose root is destroyed, durably.
    pub async fn certify(&self, draft: Draft) -> palladium_storage::Result<()> {
        self.finish(draft, false).await
    }

    async fn finish(
        &self,
        Draft {
            table,
            mut shredded,
        }: Draft,
        made_after_crash: bool,
    ) -> palladium_storage::Result<()> {
        shredded.epoch = self.engine.epoch();
        shredded.destroyed_at_micros = self.env.wall_micros();
        shredded.made_after_crash = made_after_crash;
        let certificate = Certificate::sign(&self.signer, &shredded);
        let cells = vec![
            (CERTIFICATE, Some(Bytes::from(certificate.to_text()))),
            (DRAFT, None),
        ];
        let written = self.write(table, cells).await;
        match &written {
            Ok(()) => tracing::info!(%table, "a table was destroyed"),
            // The only copy, names and all: a proof is worth more here than a log without names.
            Err(_) => tracing::error!(certificate = certificate.to_text(), "a table was destroyed"),
        }
        written
    }

    /// After a start, when half-done drops are finished: certificates that a crash kept from being written.
    pub async fn finish_drafts(&self) -> Result<(), String> {
        if !self.engine.lease_alive(SHREDS_TABLE) {
            return Ok(());
        }
        let mut resume = None;
        loop {
            let command = page_command(resume, self.engine.now_seconds());
            let page = self
                .engine
                .read(command)
                .await
                .map_err(|error| format!("the certificates cannot be read: {error}"))?;
            for (id, row) in rows(&page) {
                let Some(text) = service_table::value(row, DRAFT) else {
                    continue;
                };
                let Ok(shredded) = serde_json::from_slice::<Shredded>(text) else {
                    tracing::error!(table = %id, "the draft of a certificate cannot be read");
                    continue;
                };
                let draft = Draft {
                    table: id,
                    shredded,
                };
                let done = match self.engine.has_table(id) {
                    true => self.write(id, vec![(DRAFT, None)]).await,
                    false => self.finish(draft, true).await,
                };
                done.map_err(|error| format!("a certificate cannot be written: {error}"))?;
            }
            resume = page.next.clone();
            if resume.is_none() {
                return Ok(());
            }
        }
    }

    /// Certificates, as the table of certificates is read: by table id, in token order.
    pub async fn page(
        &self,
        command: &ReadCommand,
    ) -> palladium_storage::Result<(Vec<(TableId, Certificate)>, Option<ReadPosition>)> {
        let command = ReadCommand {
            range: command.range.clone(),
            limits: Limits {
                per_partition: u32::MAX,
                // Of the table behind it, which no client knows.
                tombstones: u64::MAX,
                ..command.limits
            },
            ..page_command(command.resume.clone(), command.now)
        };
        let page = self.engine.read(command).await?;
        Ok((certificates(&page), page.next))
    }

    async fn write(
        &self,
        table: TableId,
        cells: Vec<(ColumnId, Option<Bytes>)>,
    ) -> palladium_storage::Result<()> {
        let timestamp = self.engine.next_timestamp();
        let mut row = service_table::row(Clustering::SINGLE.0, timestamp, Vec::new());
        row.cells = cells
            .into_iter()
            .map(|(column, value)| Cell {
                column,
                path: Bytes::new(),
                timestamp,
                state: match value {
                    Some(value) => CellState::Live(value),
                    None => CellState::Tombstone {
                        local_deletion_time: timestamp.div_euclid(1_000_000),
                    },
                },
            })
            .collect();
        let mutation = service_table::mutation(SHREDS_TABLE, partition(table), vec![row]);
        let write = Write::new(vec![mutation]);
        let results = self.engine.write(vec![write]).await;
        results.into_iter().next().unwrap_or(Ok(()))
    }
}

/// Reads certificates, a page at a time.
pub fn page_command(resume: Option<ReadPosition>, now: i64) -> ReadCommand {
    ReadCommand {
        table: SHREDS_TABLE,
        store: Store::BASE,
        range: KeyRange::all(),
        slices: Slices::all(),
        reversed: false,
        columns: Arc::new(Columns {
            regular: vec![CERTIFICATE, DRAFT],
            statics: Vec::new(),
        }),
        limits: Limits {
            rows: PAGE_ROWS,
            ..Limits::NONE
        },
        resume,
        now,
    }
}

/// The certificates of a page; one that cannot be read is left out, and logged.
pub fn certificates(page: &ReadPage) -> Vec<(TableId, Certificate)> {
    let texts =
        rows(page).filter_map(|(id, row)| Some((id, service_table::value(row, CERTIFICATE)?)));
    texts
        .filter_map(|(id, text)| match Certificate::from_bytes(text) {
            Ok(certificate) => Some((id, certificate)),
            Err(error) => {
                tracing::error!(table = %id, error, "a certificate cannot be read");
                None
            }
        })
        .collect()
}

fn rows(page: &ReadPage) -> impl Iterator<Item = (TableId, &Row)> {
    page.partitions.iter().filter_map(|partition| {
        let id = TableId(partition.key.bytes().as_ref().try_into().ok()?);
        Some((id, partition.rows.first()?))
    })
}

fn partition(table: TableId) -> PartitionKey {
    service_table::partition(Bytes::copy_from_slice(&table.0))
}

/// Fingerprints as storage has them.
pub fn fingerprint_bytes(text: &str) -> Option<[u8; 16]> {
    hex::decode(text)
}

#[cfg(test)]
mod tests {
    use palladium_crypto::{CmkRef, Secret, TableKey};
    use serde_json::json;

    use super::*;

    fn signer(byte: u8) -> Signer {
        let cmk = CmkRef::parse("local:default").unwrap();
        Signer::derive(&TableKey::derive(
            &Secret::from_bytes([byte; 32]),
            ClusterId([0; 16]),
            TableId([0; 16]),
            1,
            &cmk,
        ))
    }

    fn shredded() -> Shredded {
        Shredded {
            version: VERSION,
            cluster: "c".into(),
            table: "t".into(),
            keyspace_name: "ks".into(),
            table_name: "täble \"x\"".into(),
            key: Some("local:a".into()),
            root_epoch: Some(3),
            fingerprints: vec![ShreddedKey {
                version: 1,
                fingerprint: "00".repeat(16),
            }],
            structures: Vec::new(),
            structures_total: 0,
            epoch: 9,
            destroyed_at_micros: 5,
            made_after_crash: false,
            promise: PROMISE.into(),
            no_promise: NO_PROMISE.into(),
        }
    }

    #[test]
    fn a_certificate_that_was_laid_out_anew_still_holds() {
        let certificate = Certificate::sign(&signer(1), &shredded());
        let pretty = serde_json::to_string_pretty(&certificate).unwrap();
        let again = Certificate::from_bytes(pretty.as_bytes()).unwrap();
        assert_eq!(again.verify().unwrap(), shredded());
    }

    #[test]
    fn a_certificate_of_which_a_word_was_changed_does_not_hold() {
        let text = Certificate::sign(&signer(1), &shredded()).to_text();
        for (word, other) in [("\"ks\"", "\"kt\""), ("\"epoch\":9", "\"epoch\":8")] {
            let changed = text.replace(word, other);
            assert_ne!(changed, text);
            let certificate = Certificate::from_bytes(changed.as_bytes()).unwrap();
            assert!(certificate.verify().is_err());
        }
    }

    #[test]
    fn one_value_has_one_text() {
        let value = json!({"b": [1, {"z": null, "a": "\u{e9}\n"}], "a": true});
        let text = String::from_utf8(canonical(&value)).unwrap();
        assert_eq!(text, "{\"a\":true,\"b\":[1,{\"a\":\"é\\n\",\"z\":null}]}");
    }
}
