//! Where a position is: an index in two levels, both of the same shape.
//!
//! A node lists its children in order. Children of an index block are data blocks; children of the top are index blocks. Each child
//! has a separator: a place after everything in the child before it and not after anything in the child itself. Tokens are hashes and
//! nearly unique, so most separators are a token and nothing else.
//!
//! ```text
//! strings       for each child: key bytes, clustering bytes of its separator; both mostly empty
//! tokens        i64 × children        of the separators
//! key ends      u32 × children        from the node's start
//! string ends   u32 × children        from the node's start
//! blocks        u32 × children        data blocks before the child: in an index block, the child's own ordinal
//! rows          u32 × (children + 1)  rows before the child, from `first row`
//! offsets       u32 × (children + 1)  where the sealed child begins, from `first offset`; the last is the end of the last child
//! first row     u64
//! first offset  u64
//! children      u32
//! ```
//!
//! The index component is its index blocks, then the top as the last sealed block. Where the top begins and how many blocks there are
//! stands with the statistics, so one read of the component's tail finds it.
//!
//! All numbers little-endian. What must hold: nothing here panics, whatever the bytes are.

use bytes::Bytes;

use super::search;
use crate::model::PartitionBound;
use crate::wiped::Wiped;
use crate::{Error, Result};

/// Largest plaintext of an index block or of the top; 64 MiB of separators stand for terabytes of data.
pub const NODE_BYTES_MAX: usize = 64 << 20;

const TAIL_BYTES: usize = 8 + 8 + 4;
const CHILD_BYTES: usize = 8 + 4 + 4 + 4 + 4 + 4;
const BETWEEN_BYTES: usize = 4 + 4;

/// A place between two blocks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Separator<'a> {
    pub token: i64,
    pub key: &'a [u8],
    pub clustering: &'a [u8],
}

impl<'a> Separator<'a> {
    /// The shortest place after `last` and not after `next`. `last` is the position of the last thing in the block before: its
    /// partition, and inside a partition its clustering.
    pub fn between(last: Option<Separator<'_>>, next: Separator<'a>) -> Separator<'a> {
        match last {
            Some(last) if last.token == next.token && last.key == next.key => {
                let shared = search::shared_prefix(last.clustering, next.clustering);
                Separator {
                    clustering: &next.clustering[..next.clustering.len().min(shared + 1)],
                    ..next
                }
            }
            Some(last) if last.token == next.token => Separator {
                clustering: &[],
                ..next
            },
            _ => Separator {
                token: next.token,
                key: &[],
                clustering: &[],
            },
        }
    }
}

/// What a search in the index looks for: the last child that begins at or before it.
#[derive(Clone, Copy)]
pub enum Target<'a> {
    /// Where a seek to the bound begins.
    Bound(&'a PartitionBound),
    /// A clustering position inside a partition.
    Inside {
        token: i64,
        key: &'a [u8],
        clustering: &'a [u8],
    },
    /// The end of a partition.
    EndOf { token: i64, key: &'a [u8] },
}

impl Target<'_> {
    fn token(&self) -> i64 {
        match self {
            Target::Bound(bound) => bound.token().0,
            Target::Inside { token, .. } | Target::EndOf { token, .. } => *token,
        }
    }

    /// Whether a separator of the target's own token is at or before the target.
    fn is_reached_by(&self, separator: Separator<'_>) -> bool {
        match self {
            Target::Bound(PartitionBound::BeforeToken(_)) => {
                separator.key.is_empty() && separator.clustering.is_empty()
            }
            Target::Bound(PartitionBound::AfterToken(_)) => true,
            Target::Bound(PartitionBound::Before(key)) => {
                (separator.key, separator.clustering) <= (&key.bytes()[..], &[])
            }
            Target::Bound(PartitionBound::After(key)) => separator.key <= &key.bytes()[..],
            Target::Inside {
                key, clustering, ..
            } => (separator.key, separator.clustering) <= (*key, *clustering),
            Target::EndOf { key, .. } => separator.key <= *key,
        }
    }
}

/// Builds one node after the other.
#[derive(Default)]
pub struct NodeBuilder {
    strings: Wiped<Vec<u8>>,
    tokens: Wiped<Vec<i64>>,
    key_ends: Vec<u32>,
    string_ends: Vec<u32>,
    blocks: Vec<u32>,
    rows: Vec<u32>,
    offsets: Vec<u32>,
    first_row: u64,
    first_offset: u64,
}

/// One child as it is added to a node.
pub struct Child<'a> {
    pub separator: Separator<'a>,
    /// Data blocks before it.
    pub block: u32,
    /// Where its sealed bytes begin in their component.
    pub offset: u64,
    pub sealed_bytes: u64,
    /// Rows before it.
    pub first_row: u64,
    pub rows: u64,
}

impl NodeBuilder {
    /// Adds the next child. False, and nothing added, if this node cannot count that far: the caller starts the next one.
    #[must_use]
    pub fn push(&mut self, child: &Child<'_>) -> bool {
        if self.tokens.is_empty() {
            (self.first_row, self.first_offset) = (child.first_row, child.offset);
            (self.rows, self.offsets) = (vec![0], vec![0]);
        }
        let relative = |end: u64, first: u64| u32::try_from(end - first).ok();
        let (Some(row), Some(offset)) = (
            relative(child.first_row + child.rows, self.first_row),
            relative(child.offset + child.sealed_bytes, self.first_offset),
        ) else {
            return false;
        };
        let Separator {
            token,
            key,
            clustering,
        } = child.separator;
        self.strings.reserve_wiped(key.len() + clustering.len());
        self.tokens.push(token);
        self.strings.extend_from_slice(key);
        self.key_ends.push(self.strings.len() as u32);
        self.strings.extend_from_slice(clustering);
        self.string_ends.push(self.strings.len() as u32);
        self.blocks.push(child.block);
        self.rows.push(row);
        self.offsets.push(offset);
        true
    }

    /// Plaintext bytes so far.
    pub fn bytes(&self) -> usize {
        self.strings.len() + self.tokens.len() * CHILD_BYTES + BETWEEN_BYTES + TAIL_BYTES
    }

    /// Whether nothing has been added.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The finished node; the builder is ready for the next.
    pub fn finish(&mut self) -> Wiped<Vec<u8>> {
        let mut out = Wiped::new(Vec::with_capacity(self.bytes()));
        out.extend_from_slice(&self.strings);
        for token in self.tokens.iter() {
            out.extend_from_slice(&token.to_le_bytes());
        }
        for array in [
            &self.key_ends,
            &self.string_ends,
            &self.blocks,
            &self.rows,
            &self.offsets,
        ] {
            for number in array {
                out.extend_from_slice(&number.to_le_bytes());
            }
        }
        out.extend_from_slice(&self.first_row.to_le_bytes());
        out.extend_from_slice(&self.first_offset.to_le_bytes());
        out.extend_from_slice(&(self.tokens.len() as u32).to_le_bytes());
        *self = NodeBuilder::default();
        out
    }
}

/// A node being read. Cloning shares the bytes.
#[derive(Clone)]
pub struct Node {
    bytes: Bytes,
    children: usize,
    tokens_at: usize,
    first_row: u64,
    first_offset: u64,
}

/// Where a child is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Location {
    pub offset: u64,
    pub sealed_bytes: usize,
}

impl Node {
    /// Finds the parts of a node. A node has children.
    pub fn parse(bytes: Bytes) -> Result<Self> {
        let tail_at = bytes.len().checked_sub(TAIL_BYTES).ok_or_else(malformed)?;
        let children = u32_at(&bytes, tail_at + 16)? as usize;
        let tokens_at = children
            .checked_mul(CHILD_BYTES)
            .and_then(|arrays| tail_at.checked_sub(arrays + BETWEEN_BYTES))
            .filter(|_| children > 0)
            .ok_or_else(malformed)?;
        Ok(Node {
            children,
            tokens_at,
            first_row: u64_at(&bytes, tail_at)?,
            first_offset: u64_at(&bytes, tail_at + 8)?,
            bytes,
        })
    }

    /// The plaintext.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }

    /// Children in it; never 0.
    pub fn children(&self) -> usize {
        self.children
    }

    /// The last child that begins at or before the target; the first if all begin after it.
    pub fn find(&self, target: &Target<'_>) -> Result<usize> {
        let token = target.token();
        let tokens = &self.bytes[self.tokens_at..self.tokens_at + self.children * 8];
        let mut after = search::first_at_or_after(tokens, token);
        while after < self.children && search::token_at(tokens, after) == token {
            if !target.is_reached_by(self.separator(after)?) {
                break;
            }
            after += 1;
        }
        Ok(after.saturating_sub(1))
    }

    /// The last child that has `block` or comes before it.
    pub fn find_block(&self, block: u32) -> Result<usize> {
        let (mut low, mut high) = (0, self.children);
        while high - low > 1 {
            let middle = low + (high - low) / 2;
            if self.block(middle)? <= block {
                low = middle;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// Data blocks before a child.
    pub fn block(&self, child: usize) -> Result<u32> {
        self.number(child, 2, 0)
    }

    /// Rows before a child.
    pub fn first_row(&self, child: usize) -> Result<u64> {
        Ok(self
            .first_row
            .saturating_add(u64::from(self.number(child, 3, 0)?)))
    }

    /// Where a child's sealed bytes are.
    pub fn location(&self, child: usize) -> Result<Location> {
        if child >= self.children {
            return Err(malformed());
        }
        let (start, end) = (self.number(child, 4, 1)?, self.number(child + 1, 4, 1)?);
        Ok(Location {
            offset: self
                .first_offset
                .checked_add(u64::from(start))
                .ok_or_else(malformed)?,
            sealed_bytes: end.checked_sub(start).ok_or_else(malformed)? as usize,
        })
    }

    fn separator(&self, child: usize) -> Result<Separator<'_>> {
        let start = match child {
            0 => 0,
            _ => self.number(child - 1, 1, 0)? as usize,
        };
        let key_end = self.number(child, 0, 0)? as usize;
        let end = self.number(child, 1, 0)? as usize;
        let strings = &self.bytes[..self.tokens_at];
        Ok(Separator {
            token: search::token_at(&self.bytes[self.tokens_at..], child),
            key: strings.get(start..key_end).ok_or_else(malformed)?,
            clustering: strings.get(key_end..end).ok_or_else(malformed)?,
        })
    }

    /// An element of the `array`th array of u32 after the tokens, `longer` elements of which come from arrays with one more.
    fn number(&self, element: usize, array: usize, longer: usize) -> Result<u32> {
        let at = self.tokens_at + self.children * (8 + 4 * array) + 4 * longer + 4 * element;
        u32_at(&self.bytes, at)
    }
}

fn u32_at(bytes: &[u8], at: usize) -> Result<u32> {
    let chunk = bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .ok_or_else(malformed)?;
    Ok(u32::from_le_bytes(*chunk))
}

fn u64_at(bytes: &[u8], at: usize) -> Result<u64> {
    let chunk = bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk())
        .ok_or_else(malformed)?;
    Ok(u64::from_le_bytes(*chunk))
}

fn malformed() -> Error {
    Error::corrupt("index: malformed")
}
