//! The manifest's bytes: generation header, frame, and the record that closes a frame. Pure; FORMAT.md draws them.
//!
//! A frame is: head (ids, sizes, a wrapped key), edits, sealed record, CRC. The CRC tells torn from whole without any key; the
//! record, sealed under the service's key, tells whether this is the frame that was written after the one before it.

use palladium_crypto::{Lineage, StructureId, TableId, WRAPPED_DATA_KEY_BYTES, WrappedDataKey};

use crate::backend::fields::{FieldReader, FieldWriter, is_zero};
use crate::sealed::TAG_BYTES;

const FORMAT_VERSION: u16 = 1;
const SHARD: u32 = 0;

/// The head of a generation's file.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct GenerationHeader {
    /// Its number.
    pub generation: u64,
}

const GENERATION_MAGIC: &[u8; 8] = b"PALLMAN1";
/// Bytes of a generation's header.
pub const GENERATION_HEADER_BYTES: usize = 32;

impl GenerationHeader {
    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = FieldWriter::with_capacity(GENERATION_HEADER_BYTES);
        fields
            .raw(GENERATION_MAGIC)
            .u16(FORMAT_VERSION)
            .zero(2)
            .u32(SHARD);
        fields.u64(self.generation).zero(4).crc();
        fields.into_bytes()
    }
}

/// What a frame holds.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum FrameKind {
    /// The whole state, as edits from nothing.
    Snapshot,
    /// Edits.
    Edits,
}

/// A frame up to its record.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct FrameHead<'a> {
    /// What it holds.
    pub kind: FrameKind,
    /// The generation it belongs to.
    pub generation: u64,
    /// Its place among all frames.
    pub sequence: u64,
    /// Structure of its record.
    pub structure: StructureId,
    /// The record's data key, under the service's key.
    pub wrapped: WrappedDataKey,
    /// The edits, encoded.
    pub edits: &'a [u8],
    /// Bytes of the sealed record.
    pub record_bytes: usize,
}

const FRAME_MAGIC: &[u8; 4] = b"PMFR";
const FRAME_FIXED_BYTES: usize = 164;
const _: () = assert!(FRAME_FIXED_BYTES == 48 + WRAPPED_DATA_KEY_BYTES);
/// A frame without edits, about no table.
const FRAME_BYTES_MIN: usize = FRAME_FIXED_BYTES + RECORD_FIXED_BYTES + TAG_BYTES + 4;

impl FrameHead<'_> {
    /// Bytes of the whole frame.
    pub fn frame_bytes(&self) -> usize {
        FRAME_FIXED_BYTES + self.edits.len() + self.record_bytes + 4
    }

    /// Head and edits.
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = FieldWriter::with_capacity(FRAME_FIXED_BYTES + self.edits.len());
        let kind = match self.kind {
            FrameKind::Snapshot => 1,
            FrameKind::Edits => 2,
        };
        fields.raw(FRAME_MAGIC).u8(kind).zero(3);
        fields
            .u32(self.frame_bytes() as u32)
            .u32(self.edits.len() as u32);
        fields
            .u64(self.generation)
            .u64(self.sequence)
            .raw(&self.structure.0);
        fields.raw(&self.wrapped.to_bytes()).raw(self.edits);
        fields.into_bytes()
    }
}

/// A frame as read: its CRC is right, its record not yet opened.
#[derive(Clone, Debug)]
pub struct Frame<'a> {
    /// Head and edits.
    pub head: FrameHead<'a>,
    /// The sealed record.
    pub record: &'a [u8],
    /// The bytes that the record's hash covers.
    pub covered: &'a [u8],
    /// All bytes of the frame.
    pub all: &'a [u8],
}

impl<'a> Frame<'a> {
    /// Whether `bytes` may be what damage has left of a frame: any one thing of its head stands where it should, or there is enough of it to have been one. Zeros are
    /// nobody's.
    pub fn may_be_left_of(bytes: &[u8], generation: u64, sequence: u64) -> bool {
        let begins = FRAME_MAGIC
            .iter()
            .zip(bytes)
            .all(|(magic, byte)| magic == byte);
        let number_at = |at: usize| Some(u64::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
        let length = bytes.get(8..).and_then(|rest| rest.first_chunk());
        (begins && !bytes.is_empty())
            || length.is_some_and(|length| u32::from_le_bytes(*length) as usize == bytes.len())
            || number_at(16) == Some(generation)
            || number_at(24) == Some(sequence)
            || (bytes.len() >= FRAME_BYTES_MIN && !is_zero(bytes))
    }

    /// The frame at the beginning of `bytes`, if a whole one stands there.
    pub fn parse(bytes: &'a [u8]) -> Option<Frame<'a>> {
        let mut fields = FieldReader::new(bytes);
        fields.expect(FRAME_MAGIC)?;
        let kind = match fields.u8()? {
            1 => FrameKind::Snapshot,
            2 => FrameKind::Edits,
            _ => return None,
        };
        fields.zero(3)?;
        let length = fields.u32()? as usize;
        let all = bytes.get(..length)?;
        let (before_crc, crc) = all.split_last_chunk::<4>()?;
        if crc32fast::hash(before_crc) != u32::from_le_bytes(*crc) {
            return None;
        }
        let edits_bytes = fields.u32()? as usize;
        let generation = fields.u64()?;
        let sequence = fields.u64()?;
        let structure = StructureId(fields.array()?);
        let wrapped = WrappedDataKey::from_bytes(fields.raw(WRAPPED_DATA_KEY_BYTES)?).ok()?;
        let covered = before_crc.get(..FRAME_FIXED_BYTES.checked_add(edits_bytes)?)?;
        let record = &before_crc[covered.len()..];
        let head = FrameHead {
            kind,
            generation,
            sequence,
            structure,
            wrapped,
            edits: &covered[FRAME_FIXED_BYTES..],
            record_bytes: record.len(),
        };
        Some(Frame {
            head,
            record,
            covered,
            all,
        })
    }

    /// SHA-256 of the whole frame, by which the next one names it.
    pub fn hash(&self) -> [u8; 32] {
        palladium_crypto::sha256(&[self.all])
    }
}

/// What a frame's record says.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct Record {
    /// SHA-256 of head and edits.
    pub content: [u8; 32],
    /// SHA-256 of the frame before; zero for the very first.
    pub previous: [u8; 32],
    /// The frame's place among all frames.
    pub sequence: u64,
    /// The newest log group known.
    pub log_sequence: u64,
    /// The wall clock at the commit, microseconds.
    pub clock_micros: i64,
    /// Epoch and root hash of each table the frame touches.
    pub tables: Vec<(TableId, u64, [u8; 32])>,
    /// Which history of the folder it belongs to.
    pub lineage: Lineage,
}

const RECORD_FIXED_BYTES: usize = 92;
const RECORD_TABLE_BYTES: usize = 16 + 8 + 32;
const LINEAGE_BYTES: usize = 16;

impl Record {
    /// Bytes of a sealed record about so many tables. The first lineage goes without saying, as it did before there were others.
    pub fn sealed_bytes(tables: usize, lineage: Lineage) -> usize {
        let lineage_bytes = match lineage {
            Lineage::FIRST => 0,
            _ => LINEAGE_BYTES,
        };
        RECORD_FIXED_BYTES + tables * RECORD_TABLE_BYTES + lineage_bytes + TAG_BYTES
    }

    /// The plaintext.
    pub fn encode(&self) -> Vec<u8> {
        let mut fields =
            FieldWriter::with_capacity(Self::sealed_bytes(self.tables.len(), self.lineage));
        fields
            .raw(&self.content)
            .raw(&self.previous)
            .u64(self.sequence);
        fields.u64(self.log_sequence).i64(self.clock_micros);
        fields.u32(self.tables.len() as u32);
        for (table, epoch, root_hash) in &self.tables {
            fields.raw(&table.0).u64(*epoch).raw(root_hash);
        }
        if self.lineage != Lineage::FIRST {
            fields.raw(&self.lineage.0);
        }
        fields.into_bytes()
    }

    /// From the opened block.
    pub fn decode(plain: &[u8]) -> Option<Record> {
        let mut fields = FieldReader::new(plain);
        let content = fields.array()?;
        let previous = fields.array()?;
        let sequence = fields.u64()?;
        let log_sequence = fields.u64()?;
        let clock_micros = fields.i64()?;
        let count = fields.u32()? as usize;
        let tables = (0..fields.fits(count, RECORD_TABLE_BYTES)?)
            .map(|_| Some((TableId(fields.array()?), fields.u64()?, fields.array()?)))
            .collect::<Option<_>>()?;
        let lineage = match fields.left() {
            0 => Lineage::FIRST,
            _ => Some(Lineage(fields.array()?)).filter(|lineage| *lineage != Lineage::FIRST)?,
        };
        fields.end()?;
        Some(Record {
            content,
            previous,
            sequence,
            log_sequence,
            clock_micros,
            tables,
            lineage,
        })
    }
}
