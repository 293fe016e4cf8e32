//! One event as it is kept, and the chain that holds the events together.
//!
//! ```text
//! hash(0) = SHA-256("palladium 1 audit start"  00 cluster id)
//! hash(n) = SHA-256("palladium 1 audit record" 00 hash(n-1) record(n))         record(n): the JSON below, byte for byte as it is stored
//! ```
//!
//! What a key service or a client says is cut to a bound before it is kept: nobody outside decides how long a row is.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use palladium_crypto::{ClusterId, hex, sha256};
use serde::{Deserialize, Serialize};

use super::Event;

const VERSION: u16 = 1;
const START_LABEL: &[u8] = b"palladium 1 audit start\0";
const RECORD_LABEL: &[u8] = b"palladium 1 audit record\0";
/// Bytes of one text in a record: an ARN has at most 2,048.
const TEXT_BYTES_MAX: usize = 2_048;
/// Entries of a context that are kept.
const CONTEXT_ENTRIES_MAX: usize = 16;

/// An event as it stands in the trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    version: u16,
    /// Its place in the trail, from 1.
    pub sequence: u64,
    /// When it was handed to the engine, microseconds.
    #[serde(rename = "written_at")]
    pub written_at_micros: i64,
    /// When what it tells of began, microseconds.
    #[serde(rename = "at")]
    pub at_micros: i64,
    /// What was done.
    pub operation: String,
    /// Of which keyspace.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keyspace_name: Option<String>,
    /// Of which table.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub table_name: Option<String>,
    /// With which KMS key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
    /// What the key service was told.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub context: BTreeMap<String, String>,
    /// Why it failed; None: it went well.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// How long it took, microseconds.
    pub latency_us: u64,
    /// The key service's name of the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// Who caused it.
    pub who: String,
    /// From where.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub client: Option<String>,
}

impl Record {
    /// The record of an event.
    pub fn new(event: &Event, sequence: u64, written_at_micros: i64) -> Record {
        let context = event.context.iter().flat_map(|context| context.iter());
        Record {
            version: VERSION,
            sequence,
            written_at_micros,
            at_micros: event.at_micros,
            operation: event.operation.to_owned(),
            keyspace_name: event.table.as_ref().map(|(keyspace, _)| bounded(keyspace)),
            table_name: event.table.as_ref().map(|(_, table)| bounded(table)),
            key: event.key.as_ref().map(|key| bounded(&key.to_string())),
            context: context
                .take(CONTEXT_ENTRIES_MAX)
                .map(|(name, value)| (bounded(name), bounded(value)))
                .collect(),
            error: event.outcome.as_ref().err().map(|error| bounded(error)),
            latency_us: u64::try_from(event.latency.as_micros()).unwrap_or(u64::MAX),
            request_id: event.request_id.as_deref().map(bounded),
            who: bounded(&event.asker.who),
            client: event.asker.client.map(|client| client.to_string()),
        }
    }

    /// The bytes that are kept and hashed.
    pub fn to_bytes(&self) -> Vec<u8> {
        serde_json::to_vec(self).expect("a record is texts and numbers")
    }

    /// Reads a record; None: this release does not know it.
    pub fn from_bytes(bytes: &[u8]) -> Option<Record> {
        let record: Record = serde_json::from_slice(bytes).ok()?;
        (record.version == VERSION).then_some(record)
    }
}

fn bounded(text: &str) -> String {
    let mut end = text.len().min(TEXT_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text[..end].to_owned()
}

/// The hash of a record and of all before it.
#[derive(Copy, Clone, PartialEq, Eq, Debug)]
pub struct Hash(pub [u8; 32]);

impl Hash {
    /// Before the first record.
    pub fn start(cluster: ClusterId) -> Hash {
        Hash(sha256(&[START_LABEL, &cluster.0]))
    }

    /// After one more record.
    pub fn after(self, record: &[u8]) -> Hash {
        Hash(sha256(&[RECORD_LABEL, &self.0, record]))
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl FromStr for Hash {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        hex::decode(text)
            .map(Hash)
            .ok_or("not a hash: 64 hexadecimal digits are expected")
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use palladium_crypto::CmkRef;

    use super::*;
    use crate::audit::Asker;

    #[test]
    fn the_layout_of_a_record_stays() {
        let event = Event {
            at_micros: 5,
            operation: "Decrypt",
            table: Some(("ks".into(), "t".into())),
            key: Some(CmkRef::parse("local:a").unwrap()),
            context: None,
            outcome: Err("Disabled: gone".into()),
            latency: Duration::from_micros(7),
            request_id: Some("r-1".into()),
            asker: Asker::server(),
        };
        let bytes = Record::new(&event, 3, 6).to_bytes();
        let text = r#"{"version":1,"sequence":3,"written_at":6,"at":5,"operation":"Decrypt","keyspace_name":"ks","table_name":"t","key":"local:a","error":"Disabled: gone","latency_us":7,"request_id":"r-1","who":"palladium"}"#;
        assert_eq!(String::from_utf8(bytes.clone()).unwrap(), text);
        let start = Hash::start(ClusterId([7; 16]));
        assert_eq!(
            start.after(&bytes).to_string(),
            Hash(sha256(&[
                b"palladium 1 audit record\0",
                &start.0,
                text.as_bytes()
            ]))
            .to_string()
        );
        assert_eq!(
            Record::from_bytes(&bytes).unwrap(),
            Record::new(&event, 3, 6)
        );
    }

    #[test]
    fn what_others_say_is_cut_to_a_bound() {
        assert_eq!(bounded(&"é".repeat(5_000)).len(), TEXT_BYTES_MAX);
        assert_eq!(bounded("short"), "short");
    }
}
