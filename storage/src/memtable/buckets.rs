//! Partitions in order of (token, key), found by the token's top bits.
//!
//! ```text
//! token, sign flipped     ssssss dddddddd ..................................................
//!                         shard  directory                  (a lone shard has no s bits)
//! directory[d] ─► bucket ─► entries sorted by (token, key), a few dozen
//! ```
//!
//! A bucket that grows past [`BUCKET_ENTRIES`] splits in two by its next bit, alone: no write pays for the whole table. The directory doubles
//! when a bucket needs a bit it does not have, which copies four bytes a slot. Several slots may lead to one bucket that is less deep.
//! Tokens that share too many bits (only an attacker finds such keys) make a bucket that stays long instead of a directory without end.
//!
//! A table starts as one shard under one lock. Past [`SPREAD_PARTITIONS`] it spreads over [`SHARDS`], once, so that ten thousand tables with a
//! few rows stay cheap and one table with millions has many locks.

use super::partition::{Partition, Scratch};
use super::prefetch::prefetch;
use crate::codec::Malformed;
use crate::model::{PartitionBound, PartitionKey, Token, UpdateView};
use std::cmp::Ordering::{Equal, Greater, Less};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

/// A bucket splits when it has more: 1 KiB of entries, of which a search touches two cache lines.
const BUCKET_ENTRIES: usize = 32;
/// Shards of a large table: more than cores that write at one time.
const SHARDS: usize = 1 << SHARD_BITS;
const SHARD_BITS: u32 = 6;
/// Partitions at which a table is large: a shard's fixed cost is then a small part of it.
const SPREAD_PARTITIONS: usize = 4096;
/// The directory doubles only while it has at most this many slots for each bucket: it stays small however tokens lie.
const SLOTS_PER_BUCKET_MAX: usize = 8;

/// All partitions of a memtable.
pub(super) struct Buckets {
    first: Mutex<Shard>,
    /// Where everything is once the table is large; `first` is empty from then on.
    spread: OnceLock<Box<[Mutex<Shard>]>>,
    len: AtomicUsize,
}

impl Buckets {
    pub(super) const fn new() -> Buckets {
        Buckets {
            first: Mutex::new(Shard::new(0)),
            spread: OnceLock::new(),
            len: AtomicUsize::new(0),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len.load(Ordering::Relaxed)
    }

    /// The shard of a token, locked, and its number among how many.
    #[inline]
    fn lock(&self, token: Token) -> (MutexGuard<'_, Shard>, usize, usize) {
        if self.spread.get().is_none() {
            let shard = lock(&self.first);
            // It may have spread while we waited.
            if self.spread.get().is_none() {
                return (shard, 0, 1);
            }
        }
        let shards = self.spread.get().expect("checked above; never unset");
        let index = (token.ordered_bits() >> (64 - SHARD_BITS)) as usize;
        (lock(&shards[index]), index, SHARDS)
    }

    /// Looks into the shard of a token.
    #[inline]
    pub(super) fn with<R>(&self, token: Token, see: impl FnOnce(&Shard) -> R) -> R {
        see(&self.lock(token).0)
    }

    /// Asks for the place of a token, which is looked at soon.
    pub(super) fn prefetch_place(&self, token: Token) {
        self.with(token, |shard| {
            if let Some(bucket) = shard.bucket(token) {
                let guess = bucket.guess(shard.skip, token);
                let near = [guess.saturating_sub(1), guess];
                let near = near.iter().filter_map(|index| bucket.entries.get(*index));
                near.for_each(prefetch);
            }
        });
    }

    /// Asks for the partition of a token. Its place should have come by now.
    pub(super) fn prefetch_partition(&self, token: Token) {
        self.with(token, |shard| {
            let Some(bucket) = shard.bucket(token) else {
                return;
            };
            let at = bucket
                .entries
                .partition_point(|entry| entry.token < token.0);
            if let Some(entry) = bucket.entries.get(at) {
                entry.partition.prefetch();
            }
        });
    }

    /// Adds an update; answers by how many bytes the memtable grew.
    pub(super) fn apply(
        &self,
        key: &PartitionKey,
        update: &UpdateView<'_>,
    ) -> Result<isize, Malformed> {
        let (mut shard, _, of) = self.lock(key.token());
        let (growth, is_new) = shard.apply(key, update)?;
        if is_new {
            self.len.fetch_add(1, Ordering::Relaxed);
        }
        if of == 1 && shard.len > SPREAD_PARTITIONS {
            let whole = std::mem::replace(&mut *shard, Shard::new(0));
            // Only the holder of `first` spreads, and only once.
            let _ = self.spread.set(whole.spread());
        }
        Ok(growth)
    }

    /// The first partition at or after a place.
    pub(super) fn first_from<R>(
        &self,
        from: &PartitionBound,
        mut see: impl FnMut(i64, &Partition) -> R,
    ) -> Option<R> {
        let mut token = from.token();
        loop {
            let (shard, index, of) = self.lock(token);
            if let Some(entry) = shard.first_from(from, token) {
                return Some(see(entry.token, &entry.partition));
            }
            if index + 1 >= of {
                return None;
            }
            token = Token((((index as u64 + 1) << (64 - SHARD_BITS)) ^ (1 << 63)) as i64);
        }
    }

    /// Drops every partition.
    pub(super) fn clear(&self) {
        // In the order in which they are filled, so that a table that spreads meanwhile is emptied too.
        *lock(&self.first) = Shard::new(0);
        for shard in self.spread.get().into_iter().flatten() {
            *lock(shard) = Shard::new(SHARD_BITS);
        }
        self.len.store(0, Ordering::Relaxed);
    }
}

/// A panic while a shard was locked is a bug, and ends the log's loop: nothing is written any more. What is there is still read, as far as it goes.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The partitions whose tokens share their first `skip` bits.
pub(super) struct Shard {
    skip: u32,
    /// How many bits after those pick a slot.
    bits: u32,
    directory: Vec<u32>,
    buckets: Vec<Bucket>,
    len: usize,
    scratch: Scratch,
}

struct Bucket {
    /// How many bits all its tokens share, after the shard's.
    depth: u32,
    entries: Vec<Entry>,
}

struct Entry {
    token: i64,
    partition: Partition,
}

impl Shard {
    const fn new(skip: u32) -> Shard {
        Shard {
            skip,
            bits: 0,
            directory: Vec::new(),
            buckets: Vec::new(),
            len: 0,
            scratch: Scratch::new(),
        }
    }

    /// The slot of a token; 0 while there are none.
    #[inline]
    fn slot(&self, token: Token) -> usize {
        match self.bits {
            0 => 0,
            bits => ((token.ordered_bits() << self.skip) >> (64 - bits)) as usize,
        }
    }

    /// Where a token belongs; None while there is nothing.
    #[inline]
    fn bucket(&self, token: Token) -> Option<&Bucket> {
        Some(&self.buckets[*self.directory.get(self.slot(token))? as usize])
    }

    /// The partition with this key.
    #[inline]
    pub(super) fn get(&self, token: Token, key: &[u8]) -> Option<&Partition> {
        let bucket = self.bucket(token)?;
        let index = bucket.find(self.skip, token, key).ok()?;
        Some(&bucket.entries[index].partition)
    }

    fn apply(
        &mut self,
        key: &PartitionKey,
        update: &UpdateView<'_>,
    ) -> Result<(isize, bool), Malformed> {
        if self.directory.is_empty() {
            self.directory.push(0);
            self.buckets.push(Bucket {
                depth: 0,
                entries: Vec::new(),
            });
        }
        let slot = self.slot(key.token());
        let bucket = &mut self.buckets[self.directory[slot] as usize];
        match bucket.find(self.skip, key.token(), key.bytes()) {
            Ok(index) => {
                let partition = &mut bucket.entries[index].partition;
                let before = partition.weight();
                partition.apply(update, &mut self.scratch)?;
                Ok((partition.weight() as isize - before as isize, false))
            }
            Err(index) => {
                let partition = Partition::new(key.bytes(), update, &mut self.scratch)?;
                let growth = partition.weight() as isize;
                let token = key.token().0;
                bucket.entries.insert(index, Entry { token, partition });
                self.len += 1;
                if bucket.entries.len() > BUCKET_ENTRIES {
                    self.split(slot);
                }
                Ok((growth, true))
            }
        }
    }

    /// Splits the bucket of a slot by its next bit.
    fn split(&mut self, slot: usize) {
        let old = self.directory[slot] as usize;
        let depth = self.buckets[old].depth;
        let mut slot = slot;
        if depth == self.bits {
            if self.directory.len() >= SLOTS_PER_BUCKET_MAX * self.buckets.len()
                || self.bits + self.skip >= 32
            {
                return;
            }
            self.directory = self
                .directory
                .iter()
                .flat_map(|bucket| [*bucket; 2])
                .collect();
            self.bits += 1;
            slot *= 2;
        }
        let bit = 1u64 << (63 - self.skip - depth);
        let bucket = &mut self.buckets[old];
        let middle = bucket
            .entries
            .partition_point(|entry| Token(entry.token).ordered_bits() & bit == 0);
        let upper = bucket.entries.split_off(middle);
        bucket.depth = depth + 1;
        let new = self.buckets.len() as u32;
        self.buckets.push(Bucket {
            depth: depth + 1,
            entries: upper,
        });
        // The slots that led to the bucket lie together; the upper half of them leads to the new one.
        let span = 1usize << (self.bits - depth);
        let start = slot & !(span - 1);
        self.directory[start + span / 2..start + span].fill(new);
    }

    /// The first entry at or after a place whose token is at least `token`.
    fn first_from(&self, from: &PartitionBound, token: Token) -> Option<&Entry> {
        let first = self.slot(token);
        let mut slot = first;
        while let Some(bucket) = self.directory.get(slot) {
            let bucket = &self.buckets[*bucket as usize];
            let index = match slot == first {
                true => bucket.entries.partition_point(|entry| {
                    from.is_after(Token(entry.token), entry.partition.key())
                }),
                false => 0,
            };
            if let Some(entry) = bucket.entries.get(index) {
                return Some(entry);
            }
            let span = 1usize << (self.bits - bucket.depth);
            slot = (slot & !(span - 1)) + span;
        }
        None
    }

    /// The same partitions in [`SHARDS`] shards.
    fn spread(self) -> Box<[Mutex<Shard>]> {
        let mut shards: Vec<Shard> = (0..SHARDS).map(|_| Shard::new(SHARD_BITS)).collect();
        let mut all: Vec<Entry> = self
            .buckets
            .into_iter()
            .flat_map(|bucket| bucket.entries)
            .collect();
        all.sort_by(|a, b| {
            a.token
                .cmp(&b.token)
                .then_with(|| a.partition.key().cmp(b.partition.key()))
        });
        for entry in all {
            let shard =
                &mut shards[(Token(entry.token).ordered_bits() >> (64 - SHARD_BITS)) as usize];
            shard.append(entry);
        }
        shards.into_iter().map(Mutex::new).collect()
    }

    /// Adds an entry that lies after all others.
    fn append(&mut self, entry: Entry) {
        if self.directory.is_empty() {
            self.directory.push(0);
            self.buckets.push(Bucket {
                depth: 0,
                entries: Vec::new(),
            });
        }
        let slot = self.slot(Token(entry.token));
        let bucket = &mut self.buckets[self.directory[slot] as usize];
        bucket.entries.push(entry);
        self.len += 1;
        if bucket.entries.len() > BUCKET_ENTRIES {
            self.split(slot);
        }
    }
}

impl Bucket {
    /// About where a token is: they are uniform, and their next bits say so.
    #[inline]
    fn guess(&self, skip: u32, token: Token) -> usize {
        let within = (token.ordered_bits() << skip) << self.depth;
        ((u128::from(within) * self.entries.len() as u128) >> 64) as usize
    }

    /// Where a key is, or would be.
    #[inline]
    fn find(&self, skip: u32, token: Token, key: &[u8]) -> Result<usize, usize> {
        let entries = &self.entries[..];
        if entries.len() > 2 * BUCKET_ENTRIES {
            return entries.binary_search_by(|entry| entry.place(token, key));
        }
        let mut index = self.guess(skip, token);
        while index > 0 && entries[index - 1].place(token, key) == Greater {
            index -= 1;
        }
        // Everything from `index` on was passed downwards, or nothing was: then look upwards, the entry just below included.
        index = index.saturating_sub(1);
        while let Some(entry) = entries.get(index) {
            match entry.place(token, key) {
                Less => index += 1,
                Equal => return Ok(index),
                Greater => return Err(index),
            }
        }
        Err(index)
    }
}

impl Entry {
    /// How this entry lies against a key. The key is looked at only if the tokens are equal.
    #[inline]
    fn place(&self, token: Token, key: &[u8]) -> std::cmp::Ordering {
        self.token
            .cmp(&token.0)
            .then_with(|| self.partition.key().cmp(key))
    }
}
