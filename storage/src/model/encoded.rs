//! Updates encoded once: for the log, and for the memtable once the log has them.
//!
//! The log seals its share where it lies, so what is applied afterwards has to be kept beside it.
//!
//! What must hold: an [`EncodedUpdate`] comes from [`PartitionUpdate::encode`], so nobody has to check it.

use zeroize::Zeroize;

use super::{PartitionKey, PartitionUpdate, RowView, Store, UpdateView};
use crate::codec::Malformed;
use crate::wiped::Wiped;
use crate::{Error, Result};

/// An update as the log and a memtable take it.
#[derive(Clone, Copy)]
pub struct EncodedUpdate<'a> {
    store: Store,
    key: &'a PartitionKey,
    bytes: &'a [u8],
    min_timestamp: i64,
}

impl<'a> EncodedUpdate<'a> {
    /// The store it changes.
    pub fn store(&self) -> Store {
        self.store
    }

    /// The partition it changes.
    pub fn key(&self) -> &'a PartitionKey {
        self.key
    }

    /// What [`PartitionUpdate::encode`] has written.
    pub fn bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The positions of rows that live by more than their cells.
    pub fn marked_rows(&self) -> Result<Vec<&'a [u8]>> {
        let marked = || {
            let mut marked = Vec::new();
            for row in UpdateView::parse(self.bytes)?.rows() {
                let (position, row) = row?;
                if RowView::parse(row)?.liveness.is_some() {
                    marked.push(position);
                }
            }
            Ok(marked)
        };
        marked().map_err(|_: Malformed| Error::corrupt("an encoded partition update"))
    }

    /// The smallest timestamp of anything in it; `i64::MAX` if it says nothing.
    pub fn min_timestamp(&self) -> i64 {
        self.min_timestamp
    }
}

/// Updates of one table, in the order they came. Wiped when they are given up.
#[derive(Default)]
pub struct EncodedUpdates {
    bytes: Wiped<Vec<u8>>,
    entries: Vec<Entry>,
}

struct Entry {
    store: Store,
    key: PartitionKey,
    start: usize,
    end: usize,
    min_timestamp: i64,
}

impl EncodedUpdates {
    /// None yet, and room for so many that take so many bytes.
    pub fn with_capacity(count: usize, bytes: usize) -> Self {
        EncodedUpdates {
            bytes: Wiped::new(Vec::with_capacity(bytes)),
            entries: Vec::with_capacity(count),
        }
    }

    /// Adds one, and gives it back encoded.
    pub fn push(
        &mut self,
        store: Store,
        key: PartitionKey,
        update: &PartitionUpdate,
    ) -> EncodedUpdate<'_> {
        let start = self.bytes.len();
        let bytes_max = update.encoded_bytes_max();
        // A vector that grows by itself leaves a copy behind.
        self.bytes.reserve_wiped(bytes_max);
        update.encode(&mut self.bytes);
        debug_assert!(self.bytes.len() - start <= bytes_max);
        let place = self.entries.len();
        self.entries.push(Entry {
            store,
            key,
            start,
            end: self.bytes.len(),
            min_timestamp: update.min_timestamp(),
        });
        self.at(&self.entries[place])
    }

    /// Bytes that there is room for.
    pub fn capacity(&self) -> usize {
        self.bytes.capacity()
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// None.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Forgets all but the first `count`.
    pub fn truncate(&mut self, count: usize) {
        self.entries.truncate(count);
        let end = self.entries.last().map_or(0, |entry| entry.end);
        self.bytes[end..].zeroize();
        self.bytes.truncate(end);
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = EncodedUpdate<'_>> + Clone {
        self.entries.iter().map(|entry| self.at(entry))
    }

    fn at<'a>(&'a self, entry: &'a Entry) -> EncodedUpdate<'a> {
        EncodedUpdate {
            store: entry.store,
            key: &entry.key,
            bytes: &self.bytes[entry.start..entry.end],
            min_timestamp: entry.min_timestamp,
        }
    }
}
