//! The data block: what of one or more partitions fits in about 4 KiB, readable by itself.
//!
//! ```text
//! sections      one for each partition that has something here, in order
//! tokens        i64 × sections       together, so that a search guesses by interpolation and touches nothing else
//! section ends  u32 × sections       from the block's start; the first section starts at 0
//! sections      u32
//! ```
//!
//! A section restates what the partition is, so that seeking into the middle of a wide partition needs no earlier block:
//!
//! ```text
//! flags         u8    1 the partition began in an earlier block · 2 it goes on in the next · 4 partition deletion · 8 static row
//!                     16 a range deletion is open before the first item
//! key           varint length, bytes
//! deletion      (4)   zigzag timestamp, zigzag local deletion time
//! open deletion (16)  the same
//! static row    (8)   varint length, encoded row; only where the partition begins
//! items
//! restarts      u32 × restarts  where items with their whole position stand, from the first item; the first one, 0, is left out
//! restarts      u16
//! ```
//!
//! An item is a row or a boundary where the open range deletion changes. Positions are compressed against the item before; every
//! [`RESTART_ITEMS`]th starts anew and restates the open deletion:
//!
//! ```text
//! flags         u8    1 boundary · 2 a deletion is open before it · 4 a deletion is open after it
//! shared        varint, bytes of the previous position that this one begins with; 0 at a restart
//! position      varint length, bytes that follow
//! before        (2)   deletion; on boundaries, and on rows at a restart
//! after         (4)   deletion; on boundaries only
//! row                 varint length, encoded row; not on boundaries
//! ```
//!
//! All fixed-width numbers little-endian. What must hold: nothing here panics or allocates beyond the block, whatever the bytes are.

use std::cmp::Ordering;
use std::ops::Range;

use bytes::Bytes;

use super::run::Run;
use super::search;
use crate::codec::{Reader, put_varint, put_zigzag};
use crate::model::{Deletion, PartitionBound, PartitionKey, Token};
use crate::wiped::Wiped;
use crate::{Error, Result};

/// Items between two whole positions: few enough to decode at once, many enough that restarts cost little.
pub const RESTART_ITEMS: usize = 16;

/// Restarts that a section can count.
const RESTARTS_MAX: usize = u16::MAX as usize;

/// Largest plaintext of one block. Rows are not split, so one huge row makes one huge block.
pub const BLOCK_BYTES_MAX: usize = 1 << 30;

/// Largest row: with what stands before the first one of a partition it fits a block.
pub const ROW_BYTES_MAX: usize = (BLOCK_BYTES_MAX - (1 << 20)) / 2;

const CONTINUED: u8 = 1;
const CONTINUES: u8 = 2;
const DELETED: u8 = 4;
const STATIC: u8 = 8;
const OPEN: u8 = 16;

pub(super) const BOUNDARY: u8 = 1;
pub(super) const BEFORE: u8 = 2;
pub(super) const AFTER: u8 = 4;

/// What flags, lengths and two deletions of an item or head take at most.
const FIXED_BYTES_MAX: usize = 128;

/// Bytes that end a block beyond its sections: the count, and token and end of each.
const COUNT_BYTES: usize = 4;
const TOKEN_BYTES: usize = 8;
const END_BYTES: usize = 4;

/// Builds one block after the other.
#[derive(Default)]
pub struct BlockBuilder {
    out: Wiped<Vec<u8>>,
    tokens: Wiped<Vec<i64>>,
    ends: Vec<u32>,
    section: Option<OpenSection>,
}

struct OpenSection {
    flags_at: usize,
    items_at: usize,
    restarts: Vec<u32>,
    since_restart: usize,
    last: Wiped<Vec<u8>>,
}

/// How a section starts.
pub struct SectionHead<'a> {
    pub key: &'a PartitionKey,
    pub deletion: Option<Deletion>,
    /// Encoded; only where the partition begins.
    pub static_row: Option<&'a [u8]>,
    /// The partition began in an earlier block.
    pub continued: bool,
    /// The range deletion that is open before the first item.
    pub open: Option<Deletion>,
}

impl BlockBuilder {
    /// Starts the part of a partition that goes into this block.
    pub fn begin_section(&mut self, head: &SectionHead<'_>) {
        debug_assert!(self.section.is_none());
        let static_bytes = head.static_row.map_or(0, <[u8]>::len);
        self.out
            .reserve_wiped(head.key.bytes().len() + static_bytes + FIXED_BYTES_MAX);
        let flags_at = self.out.len();
        let flag = |condition: bool, bit: u8| if condition { bit } else { 0 };
        self.out.push(
            flag(head.continued, CONTINUED)
                | flag(head.deletion.is_some(), DELETED)
                | flag(head.static_row.is_some(), STATIC)
                | flag(head.open.is_some(), OPEN),
        );
        put_slice(&mut self.out, head.key.bytes());
        put_deletion(&mut self.out, head.deletion);
        put_deletion(&mut self.out, head.open);
        if let Some(row) = head.static_row {
            put_slice(&mut self.out, row);
        }
        self.tokens.push(head.key.token().0);
        self.section = Some(OpenSection {
            flags_at,
            items_at: self.out.len(),
            restarts: Vec::new(),
            since_restart: 0,
            last: Wiped::default(),
        });
    }

    /// Adds a row under the range deletion that covers it.
    pub fn push_row(&mut self, position: &[u8], cover: Option<Deletion>, row: &[u8]) {
        self.out.reserve_wiped(row.len() + FIXED_BYTES_MAX);
        let restart = self.is_restart();
        let flags = if restart && cover.is_some() {
            BEFORE
        } else {
            0
        };
        self.push_position(flags, position);
        if restart {
            put_deletion(&mut self.out, cover);
        }
        put_slice(&mut self.out, row);
    }

    /// Adds a place where the open range deletion changes.
    pub fn push_boundary(
        &mut self,
        position: &[u8],
        before: Option<Deletion>,
        after: Option<Deletion>,
    ) {
        let flags = BOUNDARY
            | if before.is_some() { BEFORE } else { 0 }
            | if after.is_some() { AFTER } else { 0 };
        self.push_position(flags, position);
        put_deletion(&mut self.out, before);
        put_deletion(&mut self.out, after);
    }

    fn is_restart(&self) -> bool {
        let section = self.section.as_ref().expect("items come inside a section");
        section.since_restart == 0
    }

    fn push_position(&mut self, flags: u8, position: &[u8]) {
        let section = self.section.as_mut().expect("items come inside a section");
        let shared = if section.since_restart == 0 {
            let at = (self.out.len() - section.items_at) as u32;
            if at > 0 {
                section.restarts.push(at);
            }
            0
        } else {
            search::shared_prefix(&section.last, position)
        };
        self.out.reserve_wiped(position.len() + FIXED_BYTES_MAX);
        section.since_restart = (section.since_restart + 1) % RESTART_ITEMS;
        section.last.clear();
        section.last.extend_from_slice(position);
        self.out.push(flags);
        put_varint(&mut self.out, shared as u64);
        put_slice(&mut self.out, &position[shared..]);
    }

    /// Ends the partition's part in this block.
    pub fn end_section(&mut self, continues: bool) {
        let section = self.section.take().expect("a section is open");
        if continues {
            self.out[section.flags_at] |= CONTINUES;
        }
        for restart in &section.restarts {
            self.out.extend_from_slice(&restart.to_le_bytes());
        }
        let restarts =
            u16::try_from(section.restarts.len()).expect("the writer ends sections that are full");
        self.out.extend_from_slice(&restarts.to_le_bytes());
        self.ends.push(self.out.len() as u32);
    }

    /// Whether the open section can take no more items.
    pub fn is_section_full(&self) -> bool {
        self.section
            .as_ref()
            .is_some_and(|section| section.restarts.len() >= RESTARTS_MAX)
    }

    /// Plaintext bytes so far.
    pub fn bytes(&self) -> usize {
        self.out.len() + self.tokens.len() * (TOKEN_BYTES + END_BYTES) + COUNT_BYTES
    }

    /// Whether nothing has been added.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The finished block; the builder is ready for the next.
    pub fn finish(&mut self) -> Wiped<Vec<u8>> {
        debug_assert!(self.section.is_none());
        let mut out = std::mem::take(&mut self.out);
        for token in self.tokens.iter() {
            out.extend_from_slice(&token.to_le_bytes());
        }
        for end in &self.ends {
            out.extend_from_slice(&end.to_le_bytes());
        }
        out.extend_from_slice(&(self.ends.len() as u32).to_le_bytes());
        self.tokens.clear();
        self.ends.clear();
        out
    }
}

fn put_slice(out: &mut Vec<u8>, bytes: &[u8]) {
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn put_deletion(out: &mut Vec<u8>, deletion: Option<Deletion>) {
    if let Some(deletion) = deletion {
        put_zigzag(out, deletion.timestamp);
        put_zigzag(out, deletion.local_deletion_time);
    }
}

/// A data block being read. Cloning shares the bytes.
#[derive(Clone)]
pub struct DataBlock {
    bytes: Bytes,
    sections: usize,
    tokens_at: usize,
}

impl DataBlock {
    /// Finds the parts of a block.
    pub fn parse(bytes: Bytes) -> Result<Self> {
        let count_at = bytes.len().checked_sub(COUNT_BYTES).ok_or_else(malformed)?;
        let sections = read_u32(&bytes, count_at)? as usize;
        let tokens_at = sections
            .checked_mul(TOKEN_BYTES + END_BYTES)
            .and_then(|tail| count_at.checked_sub(tail))
            .filter(|_| sections > 0)
            .ok_or_else(malformed)?;
        Ok(DataBlock {
            bytes,
            sections,
            tokens_at,
        })
    }

    /// Sections in it; never 0.
    pub fn sections(&self) -> usize {
        self.sections
    }

    /// The first section whose partition is at or after the bound; the number of sections if there is none.
    pub fn seek(&self, bound: &PartitionBound) -> Result<usize> {
        let token = bound.token();
        let tokens = &self.bytes[self.tokens_at..self.tokens_at + self.sections * TOKEN_BYTES];
        let mut at = search::first_at_or_after(tokens, token.0);
        while at < self.sections {
            let section_token = search::token_at(tokens, at);
            if section_token > token.0
                || !bound.is_after(Token(section_token), self.section(at)?.key())
            {
                break;
            }
            at += 1;
        }
        Ok(at)
    }

    /// The section of a partition.
    pub fn find(&self, token: Token, key: &[u8]) -> Result<Option<Section>> {
        let tokens = &self.bytes[self.tokens_at..self.tokens_at + self.sections * TOKEN_BYTES];
        let mut at = search::first_at_or_after(tokens, token.0);
        while at < self.sections && search::token_at(tokens, at) == token.0 {
            let section = self.section(at)?;
            if section.key() == key {
                return Ok(Some(section));
            }
            at += 1;
        }
        Ok(None)
    }

    /// One section.
    pub fn section(&self, at: usize) -> Result<Section> {
        let end_of = |at: usize| {
            let ends_at = self.tokens_at + self.sections * TOKEN_BYTES;
            read_u32(&self.bytes, ends_at + at * END_BYTES).map(|end| end as usize)
        };
        if at >= self.sections {
            return Err(malformed());
        }
        let start = if at == 0 { 0 } else { end_of(at - 1)? };
        let end = end_of(at)?;
        if start > end || end > self.tokens_at {
            return Err(malformed());
        }
        let token = Token(search::token_at(&self.bytes[self.tokens_at..], at));
        Section::parse(&self.bytes, start..end, token)
    }
}

/// What one block holds of one partition.
#[derive(Clone)]
pub struct Section {
    pub token: Token,
    pub deletion: Option<Deletion>,
    /// The range deletion that is open before the first item.
    pub open: Option<Deletion>,
    /// The partition began in an earlier block.
    pub continued: bool,
    /// The partition goes on in the next block.
    pub continues: bool,
    /// The whole block.
    bytes: Bytes,
    // Places in the block: sharing it once is cheaper than sharing each part.
    key: Range<usize>,
    static_row: Option<Range<usize>>,
    items: Range<usize>,
    restarts: usize,
}

impl Section {
    fn parse(block: &Bytes, place: Range<usize>, token: Token) -> Result<Self> {
        let bytes = &block[..place.end];
        let restarts_at = place.end.checked_sub(2).ok_or_else(malformed)?;
        let restarts = usize::from(u16::from_le_bytes([
            bytes[restarts_at],
            bytes[restarts_at + 1],
        ]));
        let items_end = restarts_at
            .checked_sub(restarts * 4)
            .filter(|items_end| place.start <= *items_end)
            .ok_or_else(malformed)?;
        let mut reader = Reader::new(&bytes[place.start..items_end]);
        let flags = reader.u8()?;
        let key = framed_range(&mut reader, items_end)?;
        let deletion = read_deletion(&mut reader, flags & DELETED != 0)?;
        let open = read_deletion(&mut reader, flags & OPEN != 0)?;
        let static_row = match flags & STATIC {
            0 => None,
            _ => Some(framed_range(&mut reader, items_end)?),
        };
        let items = items_end - reader.remaining()..items_end;
        Ok(Section {
            token,
            deletion,
            open,
            continued: flags & CONTINUED != 0,
            continues: flags & CONTINUES != 0,
            bytes: block.clone(),
            key,
            static_row,
            items,
            restarts,
        })
    }

    /// The partition's serialized key.
    pub fn key(&self) -> &[u8] {
        &self.bytes[self.key.clone()]
    }

    /// The partition's key, sharing the block.
    pub fn partition_key(&self) -> PartitionKey {
        PartitionKey::new(self.token, self.bytes.slice(self.key.clone()))
    }

    /// The encoded static row, sharing the block.
    pub fn static_row(&self) -> Option<Bytes> {
        self.static_row.clone().map(|range| self.bytes.slice(range))
    }

    /// Runs of items that each start with a whole position; 0 if the section has no items.
    pub fn runs(&self) -> usize {
        if self.items.is_empty() {
            0
        } else {
            self.restarts + 1
        }
    }

    /// The run in which `position` belongs: the last that starts at or before it, or the first.
    pub fn run_of(&self, position: &[u8]) -> Result<usize> {
        let (mut low, mut high) = (0, self.runs());
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            let mut reader = Reader::new(&self.bytes[self.run(middle)?]);
            let (_flags, _shared) = (reader.u8()?, reader.varint()?);
            if reader.framed()? <= position {
                low = middle;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    fn run(&self, run: usize) -> Result<Range<usize>> {
        let restart = |run: usize| -> Result<usize> {
            if run == 0 {
                return Ok(self.items.start);
            }
            if run > self.restarts {
                return Ok(self.items.end);
            }
            let at = read_u32(&self.bytes, self.items.end + (run - 1) * 4)? as usize;
            Ok(self.items.start.saturating_add(at))
        };
        let range = restart(run)?..restart(run + 1)?;
        if range.start > range.end || range.end > self.items.end {
            return Err(malformed());
        }
        Ok(range)
    }

    /// The range deletion that holds at a row's position, and the row there, still encoded.
    ///
    /// Positions stay compressed: all before the wanted one are smaller, so it is enough to know how much of the last one it begins with.
    pub fn find(&self, position: &[u8]) -> Result<(Option<Deletion>, Option<Bytes>)> {
        if self.runs() == 0 {
            return Ok((self.open, None));
        }
        let range = self.run(self.run_of(position)?)?;
        let end = range.end;
        let mut reader = Reader::new(&self.bytes[range]);
        let mut open = None;
        let mut common = 0;
        let mut is_first = true;
        while !reader.is_empty() {
            let flags = reader.u8()?;
            let shared = usize::try_from(reader.varint()?).map_err(|_| malformed())?;
            let rest = reader.framed()?;
            let order = match shared.cmp(&common) {
                // It differs from the last position where that one still agreed with ours: it is beyond.
                Ordering::Less => Ordering::Greater,
                Ordering::Greater => Ordering::Less,
                Ordering::Equal => {
                    let wanted = position.get(shared..).ok_or_else(malformed)?;
                    common = shared + search::shared_prefix(rest, wanted);
                    rest.cmp(wanted)
                }
            };
            let boundary = flags & BOUNDARY != 0;
            let before = if boundary || is_first {
                read_deletion(&mut reader, flags & BEFORE != 0)?
            } else {
                open
            };
            if order == Ordering::Greater {
                return Ok((before, None));
            }
            open = before;
            if boundary {
                open = read_deletion(&mut reader, flags & AFTER != 0)?;
            } else {
                let row = framed_range(&mut reader, end)?;
                if order == Ordering::Equal {
                    return Ok((before, Some(self.bytes.slice(row))));
                }
            }
            is_first = false;
        }
        Ok((open, None))
    }

    /// Takes a run apart into `out`, in clustering order; rows stay encoded. After an error it has no items.
    pub fn take_apart(&self, run: usize, out: &mut Run) -> Result<()> {
        let range = match self.run(run) {
            Ok(range) => range,
            Err(error) => {
                out.clear();
                return Err(error);
            }
        };
        out.read(&self.bytes, range)
    }
}

/// Where the framed bytes that come next are; `end` is where the reader ends.
pub(super) fn framed_range(reader: &mut Reader<'_>, end: usize) -> Result<Range<usize>> {
    let len = reader.framed()?.len();
    let at = end - reader.remaining();
    Ok(at - len..at)
}

pub(super) fn read_deletion(reader: &mut Reader<'_>, present: bool) -> Result<Option<Deletion>> {
    if !present {
        return Ok(None);
    }
    Ok(Some(Deletion {
        timestamp: reader.zigzag()?,
        local_deletion_time: reader.zigzag()?,
    }))
}

fn read_u32(bytes: &[u8], at: usize) -> Result<u32> {
    let chunk = bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .ok_or_else(malformed)?;
    Ok(u32::from_le_bytes(*chunk))
}

pub(super) fn malformed() -> Error {
    Error::corrupt("data block: malformed")
}
