//! Opened blocks in memory: the plaintext of a block, and the cache that keeps some of it within a budget of bytes.
//!
//! A [`PlainBlock`] owns its plaintext in a buffer that is wiped when the last reference to it goes; rows decoded from it are slices
//! of the same buffer. The [`BlockCache`] is cut into shards, each under its own lock; its key is (structure, block), and structure
//! ids are never reused, so nothing in it can be stale. Whether a table may be read at all is asked before the cache is, by the
//! holder of the lease.
//!
//! What goes when room is needed is found by a clock: a hand goes round the slots, spares once what was used since it last came by,
//! and lets go of the first that was not. A hit so touches one slot and sets one flag; a list in order of use would be rewired each time.
//!
//! What must hold: after [`BlockCache::forget`] no block of those structures is in the cache, and its plaintext is wiped as soon
//! as no running read holds it. The bytes held never exceed the budget by more than one block per shard, and the budget may be moved
//! while the cache is used.

use std::collections::{HashMap, HashSet, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use bytes::Bytes;
use palladium_crypto::StructureId;

use crate::read::BlockAddress;
use crate::wiped::Wiped;

/// Shards of the cache: enough that threads rarely meet, few enough that the budget of each holds many blocks.
const SHARDS: usize = 16;

/// What a cached block costs beyond its plaintext: slot, map entry, reference count.
const ENTRY_OVERHEAD_BYTES: usize = 192;

/// Bytes that go at a time when a shard has to shrink.
const SHRINK_BYTES: usize = 1 << 20;

/// One opened block. Cloning shares it.
#[derive(Clone)]
pub struct PlainBlock {
    bytes: Bytes,
}

impl PlainBlock {
    /// Takes over the plaintext.
    pub fn new(plain: Wiped<Vec<u8>>) -> Self {
        PlainBlock {
            bytes: plain.into_bytes(),
        }
    }

    /// The plaintext, for whoever keeps only that.
    pub fn into_bytes(self) -> Bytes {
        self.bytes
    }

    /// Shares plaintext that is in a wiped buffer already.
    pub(crate) fn sharing(bytes: Bytes) -> Self {
        PlainBlock { bytes }
    }

    /// The plaintext; slices of it keep the buffer alive.
    pub fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// Where a cursor looks for opened blocks. What it does not find is a miss: somebody fetches the block, and the cursor is asked again.
pub trait BlockLookup: Send + Sync {
    /// The block, if it is in memory.
    fn block(&self, address: BlockAddress) -> Option<PlainBlock>;
}

/// Opened blocks of all tables, bounded in bytes.
pub struct BlockCache {
    shards: Vec<Mutex<Shard>>,
    shard_bytes_max: AtomicUsize,
    hits: AtomicU64,
    misses: AtomicU64,
}

type Key = (StructureId, u32);

#[derive(Default)]
struct Shard {
    places: HashMap<Key, u32, BuildHasherDefault<KeyHasher>>,
    slots: Vec<Slot>,
    free: Vec<u32>,
    hand: usize,
    bytes: usize,
}

struct Slot {
    key: Key,
    /// None in a slot that is free.
    block: Option<PlainBlock>,
    used: bool,
}

/// Structure ids are random already: what is left to do is to spread the blocks of one.
#[derive(Default)]
struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u32(&mut self, word: u32) {
        self.write_u64(u64::from(word));
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(23) ^ word).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    // `Hash` of an array writes its length first; it is always the same.
    fn write_usize(&mut self, _length: usize) {}

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 32)
    }
}

impl Shard {
    fn get(&mut self, key: &Key) -> Option<PlainBlock> {
        let slot = &mut self.slots[*self.places.get(key)? as usize];
        slot.used = true;
        slot.block.clone()
    }

    /// Puts a block in; gives the one it replaced.
    fn put(&mut self, key: Key, block: PlainBlock) -> Option<PlainBlock> {
        self.bytes += cost(&block);
        let slot = Slot {
            key,
            block: Some(block),
            used: false,
        };
        if let Some(place) = self.places.get(&key) {
            let old = std::mem::replace(&mut self.slots[*place as usize], slot).block;
            self.bytes -= old.as_ref().map_or(0, cost);
            return old;
        }
        let place = match self.free.pop() {
            Some(place) => {
                self.slots[place as usize] = slot;
                place
            }
            None => {
                self.slots.push(slot);
                (self.slots.len() - 1) as u32
            }
        };
        self.places.insert(key, place);
        None
    }

    /// Lets one block go: the first under the hand that was not used since it last came by.
    fn evict(&mut self) -> Option<PlainBlock> {
        // Two rounds: the first may find everything used and clears the marks.
        for _ in 0..2 * self.slots.len() {
            let place = self.hand;
            self.hand = (self.hand + 1) % self.slots.len();
            let slot = &mut self.slots[place];
            if slot.block.is_some() && !std::mem::take(&mut slot.used) {
                return self.take(place);
            }
        }
        None
    }

    /// Lets blocks go until no more than so many bytes are left; the caller drops them when he holds no lock.
    fn shrink(&mut self, bytes: usize, gone: &mut Vec<PlainBlock>) {
        while self.bytes > bytes {
            let Some(old) = self.evict() else { break };
            gone.push(old);
        }
    }

    fn take(&mut self, place: usize) -> Option<PlainBlock> {
        let slot = &mut self.slots[place];
        let block = slot.block.take()?;
        self.places.remove(&slot.key);
        self.free.push(place as u32);
        self.bytes -= cost(&block);
        Some(block)
    }
}

impl BlockCache {
    /// An empty cache that will hold at most about `bytes_max` bytes. With 0 it keeps nothing.
    pub fn new(bytes_max: usize) -> Self {
        BlockCache {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            shard_bytes_max: AtomicUsize::new(bytes_max / SHARDS),
            hits: AtomicU64::new(0),
            misses: AtomicU64::new(0),
        }
    }

    /// Keeps an opened block, and lets others of its shard go until it fits.
    pub fn insert(&self, address: BlockAddress, block: PlainBlock) {
        let needed = cost(&block);
        let bytes_max = self.shard_bytes_max.load(Ordering::Relaxed);
        if needed > bytes_max {
            return;
        }
        // Dropped, and thereby wiped, after the lock is released.
        let mut gone = Vec::new();
        let mut shard = self.shard(address);
        shard.shrink(bytes_max - needed, &mut gone);
        gone.extend(shard.put((address.structure, address.block), block));
        drop(shard);
        drop(gone);
    }

    /// From now on it holds at most about so many bytes; what is too much goes at once.
    pub fn set_bytes_max(&self, bytes_max: usize) {
        let shard_bytes_max = bytes_max / SHARDS;
        let before = self
            .shard_bytes_max
            .swap(shard_bytes_max, Ordering::Relaxed);
        if shard_bytes_max >= before {
            return;
        }
        for shard in &self.shards {
            // Little by little: nobody waits long for a shard of which much goes.
            let mut left = usize::MAX;
            while left > shard_bytes_max {
                let mut gone = Vec::new();
                let mut shard = lock(shard);
                let step = shard.bytes.saturating_sub(SHRINK_BYTES);
                shard.shrink(step.max(shard_bytes_max), &mut gone);
                left = match gone.is_empty() {
                    true => 0,
                    false => shard.bytes,
                };
                drop(shard);
                drop(gone);
            }
        }
    }

    /// Bytes that it may hold.
    pub fn bytes_max(&self) -> usize {
        self.shard_bytes_max.load(Ordering::Relaxed) * SHARDS
    }

    /// Drops every block of these structures: a table was locked, or its SSTables are gone.
    pub fn forget(&self, structures: &HashSet<StructureId>) {
        if structures.is_empty() {
            return;
        }
        for shard in &self.shards {
            let mut gone = Vec::new();
            let mut shard = lock(shard);
            for place in 0..shard.slots.len() {
                if structures.contains(&shard.slots[place].key.0) {
                    gone.extend(shard.take(place));
                }
            }
            drop(shard);
            drop(gone);
        }
    }

    /// Blocks held now.
    pub fn blocks(&self) -> usize {
        self.shards
            .iter()
            .map(|shard| lock(shard).places.len())
            .sum()
    }

    /// Bytes held now.
    pub fn bytes(&self) -> usize {
        self.shards.iter().map(|shard| lock(shard).bytes).sum()
    }

    /// Lookups that found their block, and those that did not, since the start.
    pub fn hits_and_misses(&self) -> (u64, u64) {
        (
            self.hits.load(Ordering::Relaxed),
            self.misses.load(Ordering::Relaxed),
        )
    }

    fn shard(&self, address: BlockAddress) -> MutexGuard<'_, Shard> {
        // Structure ids are random, so their bytes are a hash already; neighbouring blocks go to neighbouring shards.
        let spread = usize::from(address.structure.0[0]).wrapping_add(address.block as usize);
        lock(&self.shards[spread % SHARDS])
    }
}

impl BlockLookup for BlockCache {
    fn block(&self, address: BlockAddress) -> Option<PlainBlock> {
        let key = (address.structure, address.block);
        let found = self.shard(address).get(&key);
        let counter = if found.is_some() {
            &self.hits
        } else {
            &self.misses
        };
        counter.fetch_add(1, Ordering::Relaxed);
        found
    }
}

fn cost(block: &PlainBlock) -> usize {
    block.bytes.len() + ENTRY_OVERHEAD_BYTES
}

/// A thread that panicked while it held a shard left a list that is whole, at worst miscounted.
fn lock<T>(shard: &Mutex<T>) -> MutexGuard<'_, T> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The blocks that one request, scan or compaction has fetched, in front of the cache.
///
/// A cursor that missed is asked again after the fetch; this keeps the block for it even if the cache would not. Scans and
/// compactions put nothing into the cache: they would push out what point reads come back to.
pub struct FetchedBlocks {
    cache: Arc<BlockCache>,
    admit: bool,
    blocks_max: usize,
    bytes_max: usize,
    recent: Mutex<Recent>,
}

#[derive(Default)]
struct Recent {
    blocks: HashMap<Key, PlainBlock, BuildHasherDefault<KeyHasher>>,
    order: VecDeque<Key>,
    bytes: usize,
}

/// Blocks that a read keeps. A cursor holds the data block it stands in; what it may ask for twice is the path to the next.
const FETCHED_BLOCKS_MAX: usize = 64;

/// Bytes of those blocks: a block of a row of 16 MiB is one of many only in number.
const FETCHED_BYTES_MAX: usize = 1 << 20;

impl FetchedBlocks {
    /// For reads whose blocks are worth keeping.
    pub fn admitting(cache: Arc<BlockCache>) -> Self {
        Self::new(cache, true, FETCHED_BLOCKS_MAX, FETCHED_BYTES_MAX)
    }

    /// For scans.
    pub fn passing(cache: Arc<BlockCache>) -> Self {
        Self::keeping(cache, 0, FETCHED_BYTES_MAX)
    }

    /// For those who keep up to so many blocks, of so many bytes, for themselves.
    pub fn keeping(cache: Arc<BlockCache>, blocks_max: usize, bytes_max: usize) -> Self {
        Self::new(cache, false, blocks_max.max(FETCHED_BLOCKS_MAX), bytes_max)
    }

    fn new(cache: Arc<BlockCache>, admit: bool, blocks_max: usize, bytes_max: usize) -> Self {
        FetchedBlocks {
            cache,
            admit,
            blocks_max,
            bytes_max,
            recent: Mutex::default(),
        }
    }

    /// Takes a block that was just fetched.
    pub fn add(&self, address: BlockAddress, block: PlainBlock) {
        if self.admit {
            self.cache.insert(address, block.clone());
        }
        let key = (address.structure, address.block);
        let mut recent = lock(&self.recent);
        recent.bytes += block.bytes().len();
        match recent.blocks.insert(key, block) {
            Some(same) => recent.bytes -= same.bytes().len(),
            None => recent.order.push_back(key),
        }
        // The two newest stay, whatever they take: an index block on the way to what comes now.
        while recent.order.len() > 2
            && (recent.order.len() > self.blocks_max || recent.bytes > self.bytes_max)
            && let Some(oldest) = recent.order.pop_front()
        {
            let gone = recent.blocks.remove(&oldest);
            recent.bytes -= gone.map_or(0, |gone| gone.bytes().len());
        }
    }
}

impl BlockLookup for FetchedBlocks {
    fn block(&self, address: BlockAddress) -> Option<PlainBlock> {
        let own = lock(&self.recent)
            .blocks
            .get(&(address.structure, address.block))
            .cloned();
        own.or_else(|| self.cache.block(address))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(structure: u8, block: u32) -> BlockAddress {
        BlockAddress {
            structure: StructureId([structure; 16]),
            block,
        }
    }

    fn block(len: usize) -> PlainBlock {
        PlainBlock::new(Wiped::new(vec![7; len]))
    }

    #[test]
    fn a_block_that_went_in_is_found_and_one_that_did_not_is_a_miss() {
        let cache = BlockCache::new(1 << 20);
        cache.insert(address(1, 5), block(100));
        assert_eq!(
            cache.block(address(1, 5)).expect("cached").bytes().len(),
            100
        );
        assert!(cache.block(address(1, 6)).is_none());
        assert!(cache.block(address(2, 5)).is_none());
        assert_eq!(cache.hits_and_misses(), (1, 2));
    }

    #[test]
    fn the_budget_holds_and_what_is_used_stays() {
        let cache = BlockCache::new(SHARDS * 10 * (4096 + ENTRY_OVERHEAD_BYTES));
        for n in 0..1000 {
            cache.insert(address(1, n), block(4096));
            cache.block(address(1, 0));
        }
        assert!(cache.bytes() <= SHARDS * 10 * (4096 + ENTRY_OVERHEAD_BYTES));
        assert!(cache.block(address(1, 0)).is_some());
        assert!(cache.block(address(1, 1)).is_none());
        assert!(cache.block(address(1, 999)).is_some());
    }

    #[test]
    fn a_budget_that_shrinks_is_kept_at_once_and_one_that_grows_is_filled_again() {
        let cache = BlockCache::new(SHARDS * 10 * (4096 + ENTRY_OVERHEAD_BYTES));
        let fill = || (0..1000).for_each(|n| cache.insert(address(1, n), block(4096)));
        fill();
        let full = cache.bytes();
        cache.set_bytes_max(full / 2);
        assert!(cache.bytes() <= full / 2 && cache.bytes() > full / 4);
        fill();
        assert!(cache.bytes() <= full / 2);
        cache.set_bytes_max(full);
        fill();
        assert_eq!(cache.bytes(), full);
        cache.set_bytes_max(0);
        assert_eq!((cache.bytes(), cache.blocks()), (0, 0));
    }

    #[test]
    fn large_blocks_make_room_for_one_another() {
        let fetched = FetchedBlocks::keeping(Arc::new(BlockCache::new(0)), 64, 1 << 20);
        for n in 0..20 {
            fetched.add(address(1, n), block(1 << 20));
            assert!(fetched.block(address(1, n)).is_some(), "the newest");
        }
        assert!(fetched.block(address(1, 18)).is_some(), "the one before");
        assert!(fetched.block(address(1, 17)).is_none());
        fetched.add(address(1, 20), block(10));
        assert!(fetched.block(address(1, 19)).is_some(), "the one before");
        assert!(fetched.block(address(1, 18)).is_none());
    }

    #[test]
    fn a_block_inserted_twice_is_counted_once() {
        let cache = BlockCache::new(1 << 20);
        cache.insert(address(1, 0), block(1000));
        cache.insert(address(1, 0), block(1000));
        assert_eq!(cache.bytes(), 1000 + ENTRY_OVERHEAD_BYTES);
    }

    #[test]
    fn forgotten_structures_leave_nothing_and_neighbours_stay() {
        let cache = BlockCache::new(1 << 20);
        for n in 0..50 {
            cache.insert(address(1, n), block(10));
            cache.insert(address(2, n), block(10));
        }
        cache.forget(&HashSet::from([StructureId([1; 16])]));
        assert!((0..50).all(|n| cache.block(address(1, n)).is_none()));
        assert!((0..50).all(|n| cache.block(address(2, n)).is_some()));
        assert_eq!(cache.bytes(), 50 * (10 + ENTRY_OVERHEAD_BYTES));
    }

    #[test]
    fn a_cache_without_room_keeps_nothing_but_the_request_still_finds_its_block() {
        let cache = Arc::new(BlockCache::new(0));
        let fetched = FetchedBlocks::admitting(cache.clone());
        fetched.add(address(1, 1), block(10));
        assert_eq!(cache.bytes(), 0);
        assert!(fetched.block(address(1, 1)).is_some());
    }

    #[test]
    fn a_scan_leaves_no_trace_in_the_cache() {
        let cache = Arc::new(BlockCache::new(1 << 20));
        let fetched = FetchedBlocks::passing(cache.clone());
        for n in 0..1000 {
            fetched.add(address(1, n), block(10));
        }
        assert_eq!(cache.bytes(), 0);
        assert!(fetched.block(address(1, 999)).is_some());
        assert!(fetched.block(address(1, 0)).is_none());
    }
}
