//! The watermark: how far the log is durable, kept where a torn tail cannot reach.
//!
//! Two slots are written in turn, each durable before the other is touched. A slot that cannot be read is either a store cut short or
//! damage; the other one serves in both cases, and it is reported. What a start finds may be what a failed sync has left in the page cache: it is written once more first.
//!
//! What must hold: no ordinal is used twice. A store that failed has used its own, and the next one, into the same slot, takes another; nothing is appended to what may
//! have been torn, so that the structure goes on after a failure as others do not.

use palladium_crypto::{KeyRing, StructureKind};

use super::layout::{
    NO_SEAL, PAGE, WATERMARK_HEADER_BYTES, WATERMARK_SEALED_BYTES, WatermarkHeader, WatermarkRecord,
};
use crate::backend::fields::is_zero;
use crate::backend::{Backend, Public};
use crate::env::Env;
use crate::error::Result;
use crate::sealed::{SealedReader, SealedWriter};

/// Stores watermarks, for one life of a log.
pub(super) struct WatermarkWriter {
    sealed: SealedWriter,
    incarnation: u64,
    counter: u64,
    slot: usize,
}

/// What was found in the two slots.
pub(super) struct FoundWatermark {
    /// The newest intact one.
    pub record: Option<WatermarkRecord>,
    /// The incarnation that stored it.
    pub incarnation: u64,
    pub counter: u64,
    /// The slot to write next.
    pub next_slot: usize,
    pub unfinished: Vec<String>,
}

impl FoundWatermark {
    /// Where the newest intact one stands.
    pub fn newest_slot(&self) -> Option<usize> {
        self.record.as_ref().map(|_| 1 - self.next_slot)
    }
}

/// The watermark of a log without groups.
pub(super) fn fresh() -> WatermarkRecord {
    WatermarkRecord {
        sequence: 0,
        segment: 0,
        seal: NO_SEAL,
        oldest_segment: 1,
        oldest_sequence: 1,
        manifest_sequence: 0,
    }
}

impl WatermarkWriter {
    pub fn new(env: &dyn Env, service: &KeyRing, incarnation: u64, found: &FoundWatermark) -> Self {
        WatermarkWriter {
            sealed: SealedWriter::new(service, env.entropy(), StructureKind::ServiceRecord),
            incarnation,
            counter: found.counter,
            slot: found.next_slot,
        }
    }

    /// Stores a watermark; durable on return.
    pub async fn store<B: Backend>(&mut self, backend: &B, record: &WatermarkRecord) -> Result<()> {
        self.counter += 1;
        let header = Public::watermark_header(&WatermarkHeader {
            incarnation: self.incarnation,
            counter: self.counter,
            ordinal: self.sealed.next_ordinal(),
            structure: self.sealed.structure(),
            wrapped: self.sealed.wrapped().clone(),
        });
        let mut block = record.encode();
        let sealed = self.sealed.append(header.bytes(), false, &mut block)?;
        let stored = backend
            .watermark_store(self.slot, &[(&header).into(), sealed.into()])
            .await;
        if stored.is_ok() {
            self.slot = 1 - self.slot;
        }
        stored
    }
}

/// Reads both slots.
pub(super) async fn load<B: Backend>(backend: &B, service: &KeyRing) -> Result<FoundWatermark> {
    let slots = backend.watermark_load().await?;
    let mut found = FoundWatermark {
        record: None,
        incarnation: 0,
        counter: 0,
        next_slot: 0,
        unfinished: Vec::new(),
    };
    for (index, slot) in slots.iter().enumerate() {
        if is_zero(slot) {
            continue;
        }
        if slot.len() != PAGE {
            found
                .unfinished
                .push(format!("slot {index} is cut short; the other slot serves"));
            continue;
        }
        match decode(slot, service) {
            Some((header, record)) if header.counter > found.counter => {
                found.record = Some(record);
                found.incarnation = header.incarnation;
                found.counter = header.counter;
                found.next_slot = 1 - index;
            }
            Some(_) => {}
            None => found.unfinished.push(format!(
                "slot {index} is damaged, or its store was cut short; the other slot serves"
            )),
        }
    }
    // They are written in turn, so from the second store on both hold something.
    if found.counter >= 2
        && let Some(index) = slots.iter().position(|slot| is_zero(slot))
    {
        found
            .unfinished
            .push(format!("slot {index} is empty; the other slot serves"));
    }
    Ok(found)
}

fn decode(slot: &[u8], service: &KeyRing) -> Option<(WatermarkHeader, WatermarkRecord)> {
    let header = WatermarkHeader::decode(slot)?;
    let (context, rest) = slot.split_at(WATERMARK_HEADER_BYTES);
    let sealed = rest.get(..WATERMARK_SEALED_BYTES)?;
    if !is_zero(&rest[WATERMARK_SEALED_BYTES..]) {
        return None;
    }
    let kind = StructureKind::ServiceRecord;
    let reader = SealedReader::new(service, &header.wrapped, header.structure, kind).ok()?;
    let mut plain = Vec::with_capacity(sealed.len());
    reader
        .open(header.ordinal, false, context, sealed, &mut plain)
        .ok()?;
    Some((header, WatermarkRecord::decode(&plain)?))
}
