//! A run of items of a data block, taken apart: where each one's position and row are.
//!
//! Rows are not touched, and a position that shares nothing with the one before it stays where it is in the block; the others are put together in one buffer. While
//! items are only looked at, that buffer serves one run after the other; what is taken out of a run shares it.
//!
//! What must hold: the buffer is wiped with the last that has it.

use std::ops::Range;

use bytes::Bytes;

use super::block::{
    AFTER, BEFORE, BOUNDARY, RESTART_ITEMS, framed_range, malformed, read_deletion,
};
use crate::Result;
use crate::codec::Reader;
use crate::model::{Clustering, Deletion};
use crate::read::{EncodedRow, Item, ReadRow};
use crate::wiped::Wiped;

/// Set aside at once for the positions of a run, if they may need as much.
const ASSEMBLED_BYTES: usize = 4096;

/// The items of a run.
#[derive(Default)]
pub struct Run {
    items: Vec<RunItem>,
    /// Where the rows are, and positions that share nothing.
    block: Bytes,
    assembled: Assembled,
}

/// One item. A boundary has no row.
struct RunItem {
    position: Place,
    before: Option<Deletion>,
    after: Option<Deletion>,
    row: Option<Range<usize>>,
}

#[derive(Clone)]
enum Place {
    Block(Range<usize>),
    Assembled(Range<usize>),
}

/// Positions that were put together.
#[derive(Default)]
struct Assembled {
    own: Wiped<Vec<u8>>,
    /// Where they are instead, once something was taken out of the run.
    shared: Option<Bytes>,
}

impl Assembled {
    fn bytes(&self) -> &[u8] {
        match &self.shared {
            Some(shared) => shared,
            None => &self.own,
        }
    }

    fn shared(&mut self) -> &Bytes {
        let own = &mut self.own;
        self.shared
            .get_or_insert_with(|| std::mem::take(own).into_bytes())
    }

    fn clear(&mut self) {
        self.shared = None;
        self.own.clear();
    }

    /// Puts a position together: what the last one begins with, and the rest.
    fn put(&mut self, prefix: Prefix<'_>, rest: &[u8]) -> Range<usize> {
        let length = prefix.len() + rest.len();
        // Positions of one run are much alike: room for all of them at once.
        let room = match self.own.is_empty() {
            true => length.max((RESTART_ITEMS * length).min(ASSEMBLED_BYTES)),
            false => length,
        };
        self.own.reserve_wiped(room);
        let at = self.own.len();
        match prefix {
            Prefix::Block(prefix) => self.own.extend_from_slice(prefix),
            Prefix::Assembled(prefix) => self.own.extend_from_within(prefix),
        }
        self.own.extend_from_slice(rest);
        at..self.own.len()
    }
}

/// What a position begins with: in the block, or among those that were put together.
enum Prefix<'a> {
    Block(&'a [u8]),
    Assembled(Range<usize>),
}

impl Prefix<'_> {
    fn len(&self) -> usize {
        match self {
            Prefix::Block(bytes) => bytes.len(),
            Prefix::Assembled(range) => range.len(),
        }
    }
}

impl Run {
    /// How many items it has.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Forgets the items.
    pub fn clear(&mut self) {
        self.items.clear();
    }

    /// The range deletions that are open before and after an item.
    pub fn deletions(&self, at: usize) -> Option<(Option<Deletion>, Option<Deletion>)> {
        let item = self.items.get(at)?;
        Some((item.before, item.after))
    }

    /// Where an item stands.
    pub fn position(&self, at: usize) -> Option<&[u8]> {
        Some(match &self.items.get(at)?.position {
            Place::Block(range) => &self.block[range.clone()],
            Place::Assembled(range) => &self.assembled.bytes()[range.clone()],
        })
    }

    /// An item that is a row no range deletion is open over.
    pub fn bare_row(&self, at: usize) -> Option<EncodedRow<'_>> {
        let item = self.items.get(at).filter(|item| item.before.is_none())?;
        Some(EncodedRow {
            bytes: &self.block[item.row.clone()?],
            clustering: self.position(at)?,
        })
    }

    /// An item, out of the run.
    pub fn take(&mut self, at: usize) -> Option<Item> {
        let item = self.items.get(at)?;
        let position = Clustering(match &item.position {
            Place::Block(range) => self.block.slice(range.clone()),
            Place::Assembled(range) => self.assembled.shared().slice(range.clone()),
        });
        Some(Item {
            row: item.row.clone().map(|row| ReadRow::Encoded {
                clustering: position.clone(),
                bytes: self.block.slice(row),
            }),
            position,
            before: item.before,
            after: item.after,
        })
    }

    /// Reads the run that stands in `range` of a block. After an error there are no items.
    pub(super) fn read(&mut self, block: &Bytes, range: Range<usize>) -> Result<()> {
        self.items.clear();
        let read = self.read_items(block, range);
        if read.is_err() {
            self.items.clear();
        }
        read
    }

    fn read_items(&mut self, block: &Bytes, range: Range<usize>) -> Result<()> {
        if self.block.as_ptr_range() != block.as_ptr_range() {
            self.block = block.clone();
        }
        self.assembled.clear();
        let end = range.end;
        let mut reader = Reader::new(&block[range]);
        let mut open = None;
        while !reader.is_empty() {
            if self.items.len() >= RESTART_ITEMS {
                return Err(malformed());
            }
            let flags = reader.u8()?;
            let shared = usize::try_from(reader.varint()?).map_err(|_| malformed())?;
            let rest = framed_range(&mut reader, end)?;
            let position = match shared {
                0 => Place::Block(rest),
                _ => {
                    let prefix = prefix(&self.items, &self.block, shared)?;
                    Place::Assembled(self.assembled.put(prefix, &block[rest]))
                }
            };
            let boundary = flags & BOUNDARY != 0;
            let before = match boundary || self.items.is_empty() {
                true => read_deletion(&mut reader, flags & BEFORE != 0)?,
                false => open,
            };
            let (after, row) = match boundary {
                true => (read_deletion(&mut reader, flags & AFTER != 0)?, None),
                false => (before, Some(framed_range(&mut reader, end)?)),
            };
            open = after;
            self.items.push(RunItem {
                position,
                before,
                after,
                row,
            });
        }
        Ok(())
    }
}

/// So much of the last item's position.
fn prefix<'a>(items: &[RunItem], block: &'a Bytes, shared: usize) -> Result<Prefix<'a>> {
    let last = items.last().ok_or_else(malformed)?;
    let (Place::Block(range) | Place::Assembled(range)) = &last.position;
    if shared > range.len() {
        return Err(malformed());
    }
    let range = range.start..range.start + shared;
    Ok(match &last.position {
        Place::Block(_) => Prefix::Block(&block[range]),
        Place::Assembled(_) => Prefix::Assembled(range),
    })
}
