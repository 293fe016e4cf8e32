//! The whole chain, from its checkpoint to its head, in a folder that nobody has open.
//!
//! Found: a record that was changed, removed, put in or put elsewhere; a trail that ends before its head, or goes on behind it; a head or checkpoint that the
//! service's key did not sign; a trail that is not the one whose heads were exported, or is older than it.

use std::collections::BTreeMap;

use palladium_crypto::{PublicKey, Signer, Statement};
use palladium_storage::verify::TableReader;
use palladium_storage::{LocalBackend, ReadPage};

use super::head::{self, Head, Place};
use super::record::{Hash, Record};
use super::trail::{
    CHECKPOINT, HASH, HEAD, RECORD, SEGMENT_ROWS, rows, segment_command, state_command, state_of,
};
use crate::service_key::ServiceKey;
use crate::service_table;

/// What was found.
#[derive(Debug)]
pub struct Checked {
    /// By which the trail's statements are checked.
    pub public_key: PublicKey,
    /// The first record that is kept.
    pub first: u64,
    /// The last record that was found good.
    pub last: Place,
    /// Sequences at which the server started without having stopped: what it had not yet written then is not here.
    pub unfinished: Vec<u64>,
    /// The first thing that is wrong; None: the chain is whole.
    pub damage: Option<String>,
    /// An exported head that is newer than the trail.
    pub older: Option<String>,
    /// Exported heads that were compared.
    pub exported: usize,
}

/// Checks the trail of a folder against itself and against exported heads.
pub async fn check(
    reader: &TableReader,
    backend: &LocalBackend,
    service: &ServiceKey,
    exported: &[Head],
) -> Result<Checked, palladium_storage::Error> {
    let public_key = Signer::derive(service.ring.active()).public_key();
    let state = reader.read(backend, &state_command(0)).await?;
    let start = Place::start(service.cluster);
    let mut checked = Checked {
        public_key,
        first: 1,
        last: start,
        unfinished: Vec::new(),
        damage: None,
        older: None,
        exported: 0,
    };
    let place = |name: &[u8], statement, what: &str| match state_of(&state, name) {
        None => Ok(None),
        Some(head) => head
            .and_then(|head| head.verify(&public_key, statement, service.cluster))
            .map(Some)
            .map_err(|error| format!("the {what} of the trail: {error}")),
    };
    let places = place(HEAD, Statement::AuditHead, "head").and_then(|head| {
        let checkpoint = place(CHECKPOINT, Statement::AuditCheckpoint, "checkpoint")?;
        let heads = head::genuine(exported, &public_key, service.cluster)?;
        Ok((head, checkpoint, heads))
    });
    let (head, checkpoint, heads) = match places {
        Ok(places) => places,
        Err(damage) => {
            checked.damage = Some(damage);
            return Ok(checked);
        }
    };
    checked.last = checkpoint.unwrap_or(start);
    checked.first = checked.last.sequence + 1;
    let end = head.unwrap_or(checked.last);
    checked.damage = walk(
        reader,
        backend,
        &mut checked.last,
        end,
        &heads,
        &mut checked.unfinished,
    )
    .await?
    .or_else(|| ends_elsewhere(checked.last, end));
    let newest = heads.last_key_value();
    if let Some((sequence, _)) = newest.filter(|(sequence, _)| **sequence > end.sequence) {
        checked.older = Some(format!(
            "the trail ends at record {}, and the head of record {sequence} was exported",
            end.sequence
        ));
    }
    checked.exported = heads.range(checked.first..=end.sequence).count();
    Ok(checked)
}

/// Follows the chain until `end` or the first thing that is wrong.
async fn walk(
    reader: &TableReader,
    backend: &LocalBackend,
    last: &mut Place,
    end: Place,
    exported: &BTreeMap<u64, Hash>,
    unfinished: &mut Vec<u64>,
) -> Result<Option<String>, palladium_storage::Error> {
    let mut is_running = false;
    let first_segment = (last.sequence + 1) / SEGMENT_ROWS;
    // One more than the head's: a record behind the head may begin a segment.
    for segment in first_segment..=end.sequence / SEGMENT_ROWS + 1 {
        let page: ReadPage = reader.read(backend, &segment_command(segment, 0)).await?;
        for row in rows(&page) {
            let expected = last.sequence + 1;
            let Ok(sequence) = row.clustering.0.as_ref().try_into().map(u64::from_be_bytes) else {
                return Ok(Some(format!(
                    "a row behind record {} is no record",
                    last.sequence
                )));
            };
            if sequence != expected {
                return Ok(Some(format!("record {expected} is missing")));
            }
            if sequence > end.sequence {
                return Ok(Some(format!(
                    "record {sequence} stands behind the head, which is at {}",
                    end.sequence
                )));
            }
            let bytes = service_table::value(row, RECORD);
            let stored = service_table::value(row, HASH);
            let (Some(bytes), Some(stored)) = (bytes, stored) else {
                return Ok(Some(format!("record {sequence} is not whole")));
            };
            let hash = last.hash.after(bytes);
            let record = Record::from_bytes(bytes);
            if record
                .as_ref()
                .is_none_or(|record| record.sequence != sequence)
            {
                return Ok(Some(format!("record {sequence} is another record")));
            }
            if stored.as_ref() != hash.0 {
                return Ok(Some(format!(
                    "record {sequence} is not what was written, or the one before it is not"
                )));
            }
            if exported.get(&sequence).is_some_and(|known| *known != hash) {
                return Ok(Some(format!(
                    "record {sequence} is not the one whose head was exported"
                )));
            }
            match record.as_ref().map(|record| record.operation.as_str()) {
                Some("START") => {
                    if is_running {
                        unfinished.push(sequence);
                    }
                    is_running = true;
                }
                Some("STOP") => is_running = false,
                _ => {}
            }
            *last = Place { sequence, hash };
        }
    }
    Ok(None)
}

fn ends_elsewhere(last: Place, end: Place) -> Option<String> {
    if last.sequence < end.sequence {
        return Some(format!("record {} is missing", last.sequence + 1));
    }
    (last.hash != end.hash).then(|| {
        format!(
            "record {} is not the one that the head names",
            last.sequence
        )
    })
}
