//! Where the trail stands, signed; and the file outside the data folder that remembers it.
//!
//! ```text
//! {"version":1,"cluster":"..","sequence":12,"hash":"..","at":1790000000000000,"public_key":"..","signature":".."}
//! ```
//!
//! The same JSON is the trail's own head, its checkpoint (the last record that was pruned) and one line of the exported file. The file is replaced whole, holds
//! the newest [`HEADS_MAX`] heads and belongs on another device than the data: who holds the service's key can write another trail, and only a head that
//! somebody else kept tells the two apart.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use palladium_crypto::{ClusterId, PublicKey, Signature, Signer, Statement, durable};
use serde::{Deserialize, Serialize};

use super::record::Hash;

const VERSION: u16 = 1;
/// Heads in the exported file: with one each minute, most of a day.
pub const HEADS_MAX: usize = 1_024;
const FILE_BYTES_MAX: u64 = 1 << 20;

/// A place in the trail.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Place {
    /// The last record.
    pub sequence: u64,
    /// Its hash.
    pub hash: Hash,
}

impl Place {
    /// Before the first record.
    pub fn start(cluster: ClusterId) -> Place {
        Place {
            sequence: 0,
            hash: Hash::start(cluster),
        }
    }
}

/// A signed place.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    version: u16,
    cluster: String,
    sequence: u64,
    hash: String,
    #[serde(rename = "at")]
    at_micros: i64,
    public_key: String,
    signature: String,
}

impl Head {
    /// Signs a place: [`Statement::AuditHead`] or [`Statement::AuditCheckpoint`].
    pub fn sign(
        signer: &Signer,
        statement: Statement,
        cluster: ClusterId,
        place: Place,
        at_micros: i64,
    ) -> Head {
        let signature = signer.sign(
            statement,
            &[
                &cluster.0,
                &place.sequence.to_be_bytes(),
                &place.hash.0,
                &at_micros.to_be_bytes(),
            ],
        );
        Head {
            version: VERSION,
            cluster: cluster.to_string(),
            sequence: place.sequence,
            hash: place.hash.to_string(),
            at_micros,
            public_key: signer.public_key().to_string(),
            signature: signature.to_string(),
        }
    }

    /// The place, if the holder of `key` signed it for this cluster.
    pub fn verify(
        &self,
        key: &PublicKey,
        statement: Statement,
        cluster: ClusterId,
    ) -> Result<Place, String> {
        if self.cluster != cluster.to_string() {
            return Err(format!("it belongs to cluster {}", self.cluster));
        }
        if self.public_key != key.to_string() {
            return Err(format!(
                "it is signed under another key, {}",
                self.public_key
            ));
        }
        let hash: Hash = self.hash.parse()?;
        let signature: Signature = self
            .signature
            .parse()
            .map_err(|error: palladium_crypto::Error| error.to_string())?;
        let parts: [&[u8]; 4] = [
            &cluster.0,
            &self.sequence.to_be_bytes(),
            &hash.0,
            &self.at_micros.to_be_bytes(),
        ];
        match key.verify(statement, &parts, &signature) {
            true => Ok(Place {
                sequence: self.sequence,
                hash,
            }),
            false => Err("its signature does not match".into()),
        }
    }

    /// The last record that it speaks of.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Whether it speaks of this place, whoever signed it.
    pub fn is_of(&self, place: Place) -> bool {
        self.sequence == place.sequence && self.hash == place.hash.to_string()
    }

    /// One line of JSON.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a head is texts and numbers")
    }

    /// Reads one; an error says why it cannot be read.
    pub fn from_bytes(bytes: &[u8]) -> Result<Head, String> {
        let head: Head = serde_json::from_slice(bytes).map_err(|error| error.to_string())?;
        match head.version {
            VERSION => Ok(head),
            other => Err(format!("version {other} is not known")),
        }
    }
}

/// The exported heads, oldest first; empty if there is no file.
pub fn read_exported(path: &Path) -> Result<Vec<Head>, String> {
    let bytes = durable::read(path, FILE_BYTES_MAX).map_err(|error| error.to_string())?;
    let Some(bytes) = bytes else {
        return Ok(Vec::new());
    };
    let lines = bytes.split(|byte| *byte == b'\n').enumerate();
    lines
        .filter(|(_, line)| !line.is_empty())
        .map(|(index, line)| {
            Head::from_bytes(line).map_err(|error| format!("line {}: {error}", index + 1))
        })
        .collect()
}

/// Adds a head to the file and forgets the oldest ones. A file that cannot be read is kept beside the new one: it may be what somebody looks for.
pub fn export(path: &Path, head: &Head) -> Result<(), String> {
    let say = |error: palladium_crypto::Error| error.to_string();
    let locked = durable::lock(path).map_err(say)?;
    let path = locked.path();
    let mut heads = match read_exported(path) {
        Ok(heads) => heads,
        Err(error) => {
            let kept = set_aside(path, "damaged")?;
            tracing::error!(%error, kept = %kept.display(), "the exported heads of the audit trail cannot be read, and are kept");
            Vec::new()
        }
    };
    if heads
        .last()
        .is_some_and(|last| last.sequence == head.sequence && last.hash == head.hash)
    {
        return Ok(());
    }
    heads.push(head.clone());
    replace(&locked, &heads)
}

fn replace(file: &durable::Locked, heads: &[Head]) -> Result<(), String> {
    let surplus = heads.len().saturating_sub(HEADS_MAX);
    let lines = heads.iter().skip(surplus);
    let mut text = Vec::new();
    for line in lines {
        text.extend_from_slice(&line.to_bytes());
        text.push(b'\n');
    }
    file.replace(&text).map_err(|error| error.to_string())
}

/// Sets the file aside, and leaves in its place those of its heads that are still to be compared. Says where it is kept.
pub fn set_aside_but(path: &Path, why: &str, still: &[Head]) -> Result<PathBuf, String> {
    let locked = durable::lock(path).map_err(|error| error.to_string())?;
    let path = locked.path();
    let kept = unused_name(path, why);
    // Another name first: whenever this is cut short, what is still to be compared is compared.
    std::fs::hard_link(path, &kept)
        .or_else(|_| std::fs::copy(path, &kept).map(drop))
        .map_err(|error| {
            format!(
                "cannot keep {} as {}: {error}",
                path.display(),
                kept.display()
            )
        })?;
    replace(&locked, still)?;
    Ok(kept)
}

/// Gives the file, itself and no link to it, another name, so that what it says is kept and no longer compared. Says which.
fn set_aside(path: &Path, why: &str) -> Result<PathBuf, String> {
    let kept = unused_name(path, why);
    std::fs::rename(path, &kept).map_err(|error| {
        format!(
            "cannot rename {} to {}: {error}",
            path.display(),
            kept.display()
        )
    })?;
    Ok(kept)
}

/// A name beside a file's own that nothing has yet.
fn unused_name(path: &Path, why: &str) -> PathBuf {
    let mut names = (1u32..).map(|number| {
        let mut name = path.as_os_str().to_owned();
        name.push(format!(".{why}-{number}"));
        PathBuf::from(name)
    });
    names
        .find(|name| !name.exists())
        .expect("a folder does not hold four thousand million files of one name")
}

/// Exported heads by the record they speak of. An error names the first that is not genuine.
pub fn genuine(
    heads: &[Head],
    key: &PublicKey,
    cluster: ClusterId,
) -> Result<BTreeMap<u64, Hash>, String> {
    heads
        .iter()
        .map(|head| {
            let place = head
                .verify(key, Statement::AuditHead, cluster)
                .map_err(|error| {
                    format!("the exported head of record {}: {error}", head.sequence)
                })?;
            Ok((place.sequence, place.hash))
        })
        .collect()
}
