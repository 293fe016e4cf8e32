//! The log's bytes: segment header, group header, seal, trailer, watermark. Pure; FORMAT.md draws them.
//!
//! Every `decode` takes what a disk gave us and says `None` for anything that `encode` would not have written. Nothing allocates
//! more than arrived. What is sealed is a `Record` here: the plaintext of one sealed block.

use palladium_crypto::{StructureId, TableId, WRAPPED_DATA_KEY_BYTES, WrappedDataKey};

use crate::backend::fields::{FieldReader, FieldWriter};
use crate::sealed::TAG_BYTES;

/// Everything in a segment starts on a multiple of this.
pub const PAGE: usize = 4096;
/// Two copies of the segment header come before the first group.
pub const SEGMENT_HEADER_PAGES: usize = 2;
/// What stands for "no seal before this one".
pub const NO_SEAL: [u8; 32] = [0; 32];

const FORMAT_VERSION: u16 = 1;
const SHARD: u32 = 0;

/// SHA-256 of a sealed block, by which the next one names it.
pub fn chain(sealed: &[u8]) -> [u8; 32] {
    palladium_crypto::sha256(&[sealed])
}

fn decode_wrap(fields: &mut FieldReader<'_>) -> Option<WrappedDataKey> {
    WrappedDataKey::from_bytes(fields.raw(WRAPPED_DATA_KEY_BYTES)?).ok()
}

/// The open part of a segment's header.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct SegmentHeader {
    /// The segment's number.
    pub segment: u64,
    /// Its length.
    pub bytes: u64,
    /// The server's incarnation.
    pub incarnation: u64,
    /// Sequence of its first group.
    pub first_sequence: u64,
    /// Structure of its seals.
    pub structure: StructureId,
    /// Their data key, under the service's key.
    pub wrapped: WrappedDataKey,
}

const SEGMENT_MAGIC: &[u8; 8] = b"PALLSEG1";
/// Bytes of the open part.
pub const SEGMENT_HEADER_BYTES: usize = 184;
/// Bytes of the sealed part.
pub const SEGMENT_SEALED_BYTES: usize = SegmentRecord::BYTES + TAG_BYTES;

impl SegmentHeader {
    /// The bytes that stand in the clear.
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = FieldWriter::with_capacity(SEGMENT_HEADER_BYTES);
        fields
            .raw(SEGMENT_MAGIC)
            .u16(FORMAT_VERSION)
            .zero(2)
            .u32(SHARD);
        fields
            .u64(self.segment)
            .u64(self.bytes)
            .u64(self.incarnation);
        fields.u64(self.first_sequence).raw(&self.structure.0);
        fields.raw(&self.wrapped.to_bytes()).crc();
        fields.into_bytes()
    }

    /// From the beginning of a page.
    pub fn decode(page: &[u8]) -> Option<SegmentHeader> {
        let mut fields = FieldReader::new(page);
        fields.expect(SEGMENT_MAGIC)?;
        fields.expect(&FORMAT_VERSION.to_le_bytes())?;
        fields.zero(2)?;
        fields.expect(&SHARD.to_le_bytes())?;
        let header = SegmentHeader {
            segment: fields.u64()?,
            bytes: fields.u64()?,
            incarnation: fields.u64()?,
            first_sequence: fields.u64()?,
            structure: StructureId(fields.array()?),
            wrapped: decode_wrap(&mut fields)?,
        };
        fields.crc()?;
        Some(header)
    }
}

/// The sealed part of a segment's header: where the log stood when the segment began.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct SegmentRecord {
    /// `chain` of the last seal before it.
    pub previous_seal: [u8; 32],
    /// The segment before it, 0 if none.
    pub previous_segment: u64,
    /// The last group before it, 0 if none.
    pub previous_sequence: u64,
    /// The newest manifest commit known.
    pub manifest_sequence: u64,
    /// No server timestamp before this segment is above it, microseconds.
    pub timestamp_high_water: i64,
}

impl SegmentRecord {
    const BYTES: usize = 64;

    /// The plaintext.
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = FieldWriter::with_capacity(Self::BYTES + TAG_BYTES);
        fields.raw(&self.previous_seal).u64(self.previous_segment);
        fields
            .u64(self.previous_sequence)
            .u64(self.manifest_sequence);
        fields.i64(self.timestamp_high_water);
        fields.into_bytes()
    }

    /// From the opened block.
    pub fn decode(plain: &[u8]) -> Option<SegmentRecord> {
        let mut fields = FieldReader::new(plain);
        let record = SegmentRecord {
            previous_seal: fields.array()?,
            previous_segment: fields.u64()?,
            previous_sequence: fields.u64()?,
            manifest_sequence: fields.u64()?,
            timestamp_high_water: fields.i64()?,
        };
        fields.end()?;
        Some(record)
    }
}

/// What a group is.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub enum GroupKind {
    /// Shares of tables.
    Group,
    /// A clean stop.
    End,
}

/// The header of a group.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct GroupHeader {
    /// What it is.
    pub kind: GroupKind,
    /// Length of the whole group.
    pub pages: u32,
    /// Its place in the log.
    pub sequence: u64,
    /// The server's incarnation.
    pub incarnation: u64,
    /// The segment it belongs to.
    pub segment: u64,
    /// Sequence of the first group since the last sync.
    pub unit: u64,
    /// Its shares, in order.
    pub shares: Vec<ShareEntry>,
}

/// One share, as its group's header lists it.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct ShareEntry {
    /// The table.
    pub table: TableId,
    /// The table's structure in this segment (or in the one it was copied from).
    pub structure: StructureId,
    /// Its block's ordinal.
    pub ordinal: u64,
    /// Bytes of its sealed block.
    pub length: u32,
    /// CRC-32 of its sealed block.
    pub crc: u32,
    /// The tag that ends its sealed block.
    pub tag: [u8; TAG_BYTES],
    /// The data key, where the structure appears first.
    pub wrapped: Option<WrappedDataKey>,
    /// Where it was sealed, if it is a copy.
    pub origin: Option<Origin>,
}

/// Under which incarnation and sequence a share was sealed.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Origin {
    /// The server's incarnation.
    pub incarnation: u64,
    /// The group's sequence.
    pub sequence: u64,
}

impl Origin {
    /// The context of the share's sealed block.
    pub fn context(&self) -> [u8; 16] {
        let mut context = [0; 16];
        context[..8].copy_from_slice(&self.incarnation.to_le_bytes());
        context[8..].copy_from_slice(&self.sequence.to_le_bytes());
        context
    }
}

const GROUP_MAGIC: &[u8; 4] = b"PGRP";
const GROUP_FIXED_BYTES: usize = 56;
const SHARE_FIXED_BYTES: usize = 68;
const HAS_WRAP: u8 = 1;
const HAS_ORIGIN: u8 = 2;
/// Bytes of a group's sealed seal.
pub const SEAL_BYTES: usize = SealRecord::BYTES + TAG_BYTES;

impl GroupHeader {
    /// Bytes of the header with these shares.
    pub fn encoded_bytes(&self) -> usize {
        let shares: usize = self.shares.iter().map(ShareEntry::encoded_bytes).sum();
        GROUP_FIXED_BYTES + shares + 4
    }

    /// Bytes of all shares.
    pub fn share_bytes(&self) -> usize {
        self.shares.iter().map(|share| share.length as usize).sum()
    }

    /// Pages that the group takes.
    pub fn pages_needed(&self) -> usize {
        let bytes = 2 * self.encoded_bytes() + self.share_bytes() + SEAL_BYTES + Trailer::BYTES;
        bytes.div_ceil(PAGE)
    }

    /// The ordinal of its seal, in a segment whose first group has that sequence. Wrapped around for a sequence before it, where
    /// no seal opens.
    pub fn seal_ordinal(&self, first_sequence: u64) -> u64 {
        let place = self.sequence.wrapping_sub(first_sequence);
        match self.kind {
            GroupKind::Group => place.wrapping_add(1),
            GroupKind::End => place.wrapping_add(2),
        }
    }

    /// Where shares, second header and seal stand in the group.
    pub fn places(&self) -> Places {
        let header = self.encoded_bytes();
        let end = self.pages as usize * PAGE;
        let seal = end - Trailer::BYTES - SEAL_BYTES;
        Places {
            shares: header,
            padding: header + self.share_bytes(),
            second_header: seal - header,
            seal,
            trailer: end - Trailer::BYTES,
            end,
        }
    }

    /// The header's bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = FieldWriter::with_capacity(self.encoded_bytes());
        let kind = match self.kind {
            GroupKind::Group => 1,
            GroupKind::End => 2,
        };
        fields.raw(GROUP_MAGIC).u16(FORMAT_VERSION).u8(kind).zero(1);
        fields.u32(self.encoded_bytes() as u32).u32(self.pages);
        fields
            .u64(self.sequence)
            .u64(self.incarnation)
            .u64(self.segment);
        fields
            .u64(self.unit)
            .u32(SHARD)
            .u32(self.shares.len() as u32);
        for share in &self.shares {
            share.encode(&mut fields);
        }
        fields.crc();
        fields.into_bytes()
    }

    /// From the beginning of a page, or of a second copy. `None` also if the lengths in it do not fit together.
    pub fn decode(bytes: &[u8]) -> Option<GroupHeader> {
        let mut fields = FieldReader::new(bytes);
        fields.expect(GROUP_MAGIC)?;
        fields.expect(&FORMAT_VERSION.to_le_bytes())?;
        let kind = match fields.u8()? {
            1 => GroupKind::Group,
            2 => GroupKind::End,
            _ => return None,
        };
        fields.zero(1)?;
        let length = fields.u32()? as usize;
        // Nothing past the header's own length is looked at, and its CRC is checked before any share is believed.
        let whole = bytes
            .get(..length)
            .filter(|whole| whole.len() >= GROUP_FIXED_BYTES + 4)?;
        let (covered, crc) = whole.split_last_chunk::<4>()?;
        if crc32fast::hash(covered) != u32::from_le_bytes(*crc) {
            return None;
        }
        let mut fields = FieldReader::new(covered);
        fields.raw(12)?;
        let pages = fields.u32()?;
        let sequence = fields.u64()?;
        let incarnation = fields.u64()?;
        let segment = fields.u64()?;
        let unit = fields.u64()?;
        fields.expect(&SHARD.to_le_bytes())?;
        let count = fields.u32()? as usize;
        let shares = (0..fields.fits(count, SHARE_FIXED_BYTES)?)
            .map(|_| ShareEntry::decode(&mut fields))
            .collect::<Option<Vec<_>>>()?;
        fields.end()?;
        let header = GroupHeader {
            kind,
            pages,
            sequence,
            incarnation,
            segment,
            unit,
            shares,
        };
        (header.pages_needed() == pages as usize).then_some(header)
    }
}

/// Offsets within a group.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Places {
    /// The first share.
    pub shares: usize,
    /// Zero from here ..
    pub padding: usize,
    /// .. to here.
    pub second_header: usize,
    /// The seal.
    pub seal: usize,
    /// The trailer.
    pub trailer: usize,
    /// The group's end.
    pub end: usize,
}

impl ShareEntry {
    fn encoded_bytes(&self) -> usize {
        let wrap = self.wrapped.as_ref().map_or(0, |_| WRAPPED_DATA_KEY_BYTES);
        let origin = self.origin.map_or(0, |_| 16);
        SHARE_FIXED_BYTES + wrap + origin
    }

    fn encode(&self, fields: &mut FieldWriter) {
        let wrap = self.wrapped.as_ref().map_or(0, |_| HAS_WRAP);
        let origin = self.origin.map_or(0, |_| HAS_ORIGIN);
        fields
            .raw(&self.table.0)
            .raw(&self.structure.0)
            .u64(self.ordinal);
        fields
            .u32(self.length)
            .u32(self.crc)
            .raw(&self.tag)
            .u8(wrap | origin)
            .zero(3);
        if let Some(wrapped) = &self.wrapped {
            fields.raw(&wrapped.to_bytes());
        }
        if let Some(origin) = &self.origin {
            fields.u64(origin.incarnation).u64(origin.sequence);
        }
    }

    fn decode(fields: &mut FieldReader<'_>) -> Option<ShareEntry> {
        let table = TableId(fields.array()?);
        let structure = StructureId(fields.array()?);
        let ordinal = fields.u64()?;
        let length = fields.u32()?;
        let crc = fields.u32()?;
        let tag = fields.array()?;
        let flags = fields.u8()?;
        fields.zero(3)?;
        if flags & !(HAS_WRAP | HAS_ORIGIN) != 0 || (length as usize) < TAG_BYTES {
            return None;
        }
        let wrapped = match flags & HAS_WRAP {
            0 => None,
            _ => Some(decode_wrap(fields)?),
        };
        let origin = match flags & HAS_ORIGIN {
            0 => None,
            _ => Some(Origin {
                incarnation: fields.u64()?,
                sequence: fields.u64()?,
            }),
        };
        Some(ShareEntry {
            table,
            structure,
            ordinal,
            length,
            crc,
            tag,
            wrapped,
            origin,
        })
    }
}

/// What a group's seal says.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct SealRecord {
    /// No server timestamp up to this group is above it, microseconds.
    pub timestamp_high_water: i64,
    /// `chain` of the seal before.
    pub previous_seal: [u8; 32],
    /// SHA-256 of the header, which holds the tag of every share.
    pub content: [u8; 32],
}

impl SealRecord {
    const BYTES: usize = 72;

    /// The plaintext.
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = FieldWriter::with_capacity(SEAL_BYTES);
        fields.i64(self.timestamp_high_water);
        fields.raw(&self.previous_seal).raw(&self.content);
        fields.into_bytes()
    }

    /// From the opened block.
    pub fn decode(plain: &[u8]) -> Option<SealRecord> {
        let mut fields = FieldReader::new(plain);
        let record = SealRecord {
            timestamp_high_water: fields.i64()?,
            previous_seal: fields.array()?,
            content: fields.array()?,
        };
        fields.end()?;
        Some(record)
    }
}

/// The last bytes of a group: how to find its second header from behind.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct Trailer {
    /// Bytes of the header.
    pub header_bytes: u32,
    /// Pages of the group.
    pub pages: u32,
    /// The group's sequence.
    pub sequence: u64,
}

const TRAILER_MAGIC: &[u8; 4] = b"PGRE";

impl Trailer {
    /// Its length.
    pub const BYTES: usize = 32;

    /// The bytes.
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = FieldWriter::with_capacity(Self::BYTES);
        fields
            .raw(TRAILER_MAGIC)
            .u32(self.header_bytes)
            .u32(self.pages)
            .zero(4);
        fields.u64(self.sequence).zero(4).crc();
        fields.into_bytes()
    }

    /// From the last bytes of a page.
    pub fn decode(bytes: &[u8]) -> Option<Trailer> {
        let mut fields = FieldReader::new(bytes);
        fields.expect(TRAILER_MAGIC)?;
        let header_bytes = fields.u32()?;
        let pages = fields.u32()?;
        fields.zero(4)?;
        let sequence = fields.u64()?;
        fields.zero(4)?;
        fields.crc()?;
        fields.end()?;
        Some(Trailer {
            header_bytes,
            pages,
            sequence,
        })
    }
}

/// The open part of a watermark.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct WatermarkHeader {
    /// The server's incarnation.
    pub incarnation: u64,
    /// Rises with every watermark ever stored; the larger one holds.
    pub counter: u64,
    /// Ordinal of the sealed block.
    pub ordinal: u64,
    /// Structure of this incarnation's watermarks.
    pub structure: StructureId,
    /// Its data key, under the service's key.
    pub wrapped: WrappedDataKey,
}

const WATERMARK_MAGIC: &[u8; 8] = b"PALLWTM1";
/// Bytes of the open part.
pub const WATERMARK_HEADER_BYTES: usize = 176;
/// Bytes of the sealed part.
pub const WATERMARK_SEALED_BYTES: usize = WatermarkRecord::BYTES + TAG_BYTES;

impl WatermarkHeader {
    /// The bytes that stand in the clear.
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = FieldWriter::with_capacity(WATERMARK_HEADER_BYTES);
        fields
            .raw(WATERMARK_MAGIC)
            .u16(FORMAT_VERSION)
            .zero(2)
            .u32(SHARD);
        fields
            .u64(self.incarnation)
            .u64(self.counter)
            .u64(self.ordinal)
            .raw(&self.structure.0);
        fields.raw(&self.wrapped.to_bytes()).crc();
        fields.into_bytes()
    }

    /// From the beginning of a slot.
    pub fn decode(slot: &[u8]) -> Option<WatermarkHeader> {
        let mut fields = FieldReader::new(slot);
        fields.expect(WATERMARK_MAGIC)?;
        fields.expect(&FORMAT_VERSION.to_le_bytes())?;
        fields.zero(2)?;
        fields.expect(&SHARD.to_le_bytes())?;
        let header = WatermarkHeader {
            incarnation: fields.u64()?,
            counter: fields.u64()?,
            ordinal: fields.u64()?,
            structure: StructureId(fields.array()?),
            wrapped: decode_wrap(&mut fields)?,
        };
        fields.crc()?;
        Some(header)
    }
}

/// What a watermark says.
#[derive(Clone, Eq, PartialEq, Debug)]
pub struct WatermarkRecord {
    /// Last group known to be durable.
    pub sequence: u64,
    /// The segment it is in; 0 if there is none yet.
    pub segment: u64,
    /// `chain` of its seal.
    pub seal: [u8; 32],
    /// The oldest segment still needed.
    pub oldest_segment: u64,
    /// Sequence of that segment's first group.
    pub oldest_sequence: u64,
    /// The newest manifest commit known.
    pub manifest_sequence: u64,
}

impl WatermarkRecord {
    const BYTES: usize = 72;

    /// The plaintext.
    pub fn encode(&self) -> Vec<u8> {
        let mut fields = FieldWriter::with_capacity(WATERMARK_SEALED_BYTES);
        fields.u64(self.sequence).u64(self.segment).raw(&self.seal);
        fields.u64(self.oldest_segment).u64(self.oldest_sequence);
        fields.u64(self.manifest_sequence);
        fields.into_bytes()
    }

    /// From the opened block.
    pub fn decode(plain: &[u8]) -> Option<WatermarkRecord> {
        let mut fields = FieldReader::new(plain);
        let record = WatermarkRecord {
            sequence: fields.u64()?,
            segment: fields.u64()?,
            seal: fields.array()?,
            oldest_segment: fields.u64()?,
            oldest_sequence: fields.u64()?,
            manifest_sequence: fields.u64()?,
        };
        fields.end()?;
        Some(record)
    }
}
