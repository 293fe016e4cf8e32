//! Memory for key bytes: pages that are kept out of swap, core files and children, cut into slots that are wiped when they are freed.
//!
//! ```text
//! Pool (one for each size of slot)
//!   chunk   16 KiB, mapped for itself:  MADV_DONTDUMP | MADV_DONTFORK | mlock
//!           [slot][slot][slot] ...      each free slot is all zero
//! ```
//!
//! mlock is bounded by RLIMIT_MEMLOCK (`ulimit -l`). Past it a chunk stays unlocked, and so may reach swap, but is excluded from core files and children all
//! the same; [`locked_memory`] counts such chunks, and whoever logs tells the operator. Only if the kernel maps nothing more at all do slots come from the heap.
//!
//! DONTFORK and not WIPEONFORK: a child that went on sealing with a wiped key schedule would seal under a key that everybody knows. One that cannot reach the
//! schedule faults.
//!
//! What must hold:
//! - A slot belongs to one `Slot` at a time, and is zero whenever it belongs to nobody.
//! - A chunk is never unmapped: the number of chunks is that of the most keys that were ever held at a time.
#![allow(unsafe_code)]

use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use zeroize::Zeroize;

/// Mapped at a time: whole pages of 4 or 16 KiB, and little enough that an old limit of 64 KiB holds a few.
const CHUNK_BYTES: usize = 16 << 10;
/// A cache line; every slot begins at one.
const ALIGN: usize = 64;
/// Slots for secrets.
const SMALL_BYTES: usize = 64;
/// Slots for expanded keys.
const LARGE_BYTES: usize = 640;

static SMALL: Pool = Pool::new(SMALL_BYTES, lock_pages);
static LARGE: Pool = Pool::new(LARGE_BYTES, lock_pages);

static LOCKED_BYTES: AtomicUsize = AtomicUsize::new(0);
static UNLOCKED_BYTES: AtomicUsize = AtomicUsize::new(0);

/// How much memory is set aside for key bytes.
#[derive(Copy, Clone, Eq, PartialEq, Debug)]
pub struct LockedMemory {
    /// Bytes that the kernel never swaps out.
    pub locked_bytes: usize,
    /// Bytes that it may swap out, because RLIMIT_MEMLOCK allows no more than the above.
    pub unlocked_bytes: usize,
}

/// How much memory is set aside for key bytes now. It only grows.
pub fn locked_memory() -> LockedMemory {
    LockedMemory {
        locked_bytes: LOCKED_BYTES.load(Ordering::Relaxed),
        unlocked_bytes: UNLOCKED_BYTES.load(Ordering::Relaxed),
    }
}

/// A `T` in a slot of its own: dropped there, and then the whole slot is wiped. Moving the `Slot` moves a pointer and leaves nothing behind.
pub(crate) struct Slot<T> {
    place: Place,
    holds: PhantomData<T>,
}

// SAFETY: a `Slot` is the only owner of its place, as a `Box` is of its allocation, so it may go wherever a `T` may.
unsafe impl<T: Send> Send for Slot<T> {}
// SAFETY: a shared `Slot` gives nothing but `&T`.
unsafe impl<T: Sync> Sync for Slot<T> {}

impl<T> Slot<T> {
    const POOL: &'static Pool = {
        assert!(align_of::<T>() <= ALIGN && size_of::<T>() <= LARGE_BYTES);
        match size_of::<T>() <= SMALL_BYTES {
            true => &SMALL,
            false => &LARGE,
        }
    };

    /// What `make` makes.
    #[cfg(any(test, not(any(feature = "aead-aws-lc", feature = "cipher-copy"))))]
    pub fn new(make: impl FnOnce() -> T) -> Self {
        Self::filled(|place| {
            place.write(make());
        })
    }

    /// Lets `write` put a `T` where it will live, so that there is never another copy. The slot is all zero before.
    fn filled(write: impl FnOnce(&mut MaybeUninit<T>)) -> Self {
        // If `write` panics, the place is wiped and given back.
        let place = Self::POOL.take();
        // SAFETY: the place is as large and aligned as POOL's assertion says, and nobody else has it.
        write(unsafe { place.start.cast::<MaybeUninit<T>>().as_mut() });
        Slot {
            place,
            holds: PhantomData,
        }
    }
}

impl<const N: usize> Slot<[u8; N]> {
    /// Zeroes.
    pub fn zeroed() -> Self {
        // Every slot in the pool is zero, and zero is a byte.
        Self::filled(|_| {})
    }
}

#[cfg(all(feature = "aead-aws-lc", not(feature = "cipher-copy")))]
impl<T> Slot<T> {
    /// What a C function makes where it will live; it says whether it did. The slot is all zero before.
    ///
    /// # Safety
    /// Where `make` answers true, it has put a whole `T` there.
    pub unsafe fn made_by(make: impl FnOnce(*mut T) -> bool) -> Option<Self> {
        let place = Self::POOL.take();
        // Not `then_some`: a `Slot` that holds no `T` must never be made, not even to be dropped.
        if !make(place.start.cast::<T>().as_ptr()) {
            return None;
        }
        Some(Slot {
            place,
            holds: PhantomData,
        })
    }
}

impl<T> Deref for Slot<T> {
    type Target = T;

    fn deref(&self) -> &T {
        // SAFETY: every constructor has put a `T` there, and it stays until `drop`.
        unsafe { self.place.start.cast::<T>().as_ref() }
    }
}

impl<T> DerefMut for Slot<T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as above, and `self` is borrowed for as long.
        unsafe { self.place.start.cast::<T>().as_mut() }
    }
}

impl<T> Drop for Slot<T> {
    fn drop(&mut self) {
        // SAFETY: there is a `T`, and nobody looks at it after this; the place's own drop wipes what is left.
        unsafe { self.place.start.cast::<T>().drop_in_place() }
    }
}

/// Slots of one size.
struct Pool {
    slot_bytes: usize,
    /// Asks the kernel to keep pages in memory.
    lock: fn(NonNull<u8>, usize) -> bool,
    /// The limit was reached: it is not asked again, because a limit that is full stays full.
    is_refused: AtomicBool,
    free: Mutex<Free>,
}

struct Free {
    locked: Vec<Start>,
    /// Used only while there is none of the others.
    unlocked: Vec<Start>,
    slots: usize,
}

/// Where a free slot begins.
struct Start(NonNull<u8>);

// SAFETY: the memory behind it belongs to the pool alone, and is not bound to a thread.
unsafe impl Send for Start {}

/// One slot that is in use.
struct Place {
    start: NonNull<u8>,
    is_locked: bool,
    pool: &'static Pool,
}

impl Pool {
    const fn new(slot_bytes: usize, lock: fn(NonNull<u8>, usize) -> bool) -> Pool {
        assert!(slot_bytes.is_multiple_of(ALIGN) && slot_bytes <= CHUNK_BYTES);
        Pool {
            slot_bytes,
            lock,
            is_refused: AtomicBool::new(false),
            free: Mutex::new(Free {
                locked: Vec::new(),
                unlocked: Vec::new(),
                slots: 0,
            }),
        }
    }

    fn take(&'static self) -> Place {
        let mut free = self.free();
        if free.locked.is_empty() && free.unlocked.is_empty() {
            self.grow(&mut free);
        }
        let (start, is_locked) = match free.locked.pop() {
            Some(start) => (start, true),
            None => (free.unlocked.pop().expect("a chunk has slots"), false),
        };
        Place {
            start: start.0,
            is_locked,
            pool: self,
        }
    }

    fn give_back(&self, place: &Place) {
        let mut free = self.free();
        let list = match place.is_locked {
            true => &mut free.locked,
            false => &mut free.unlocked,
        };
        // There is room for every slot there is: see `grow`.
        list.push(Start(place.start));
    }

    fn grow(&self, free: &mut Free) {
        let chunk = map_pages(CHUNK_BYTES).unwrap_or_else(|| from_heap(CHUNK_BYTES));
        let is_locked = !self.is_refused.load(Ordering::Relaxed) && (self.lock)(chunk, CHUNK_BYTES);
        self.is_refused.fetch_or(!is_locked, Ordering::Relaxed);
        let (list, counter) = match is_locked {
            true => (&mut free.locked, &LOCKED_BYTES),
            false => (&mut free.unlocked, &UNLOCKED_BYTES),
        };
        counter.fetch_add(CHUNK_BYTES, Ordering::Relaxed);
        let slots = CHUNK_BYTES / self.slot_bytes;
        free.slots += slots;
        list.reserve(free.slots - list.len());
        list.extend((0..slots).map(|slot| {
            // SAFETY: slot * slot_bytes is inside the chunk.
            Start(unsafe { chunk.add(slot * self.slot_bytes) })
        }));
    }

    /// Whoever panicked with the lock in hand left lists of free slots, at worst one slot short.
    fn free(&self) -> MutexGuard<'_, Free> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let words = self.pool.slot_bytes / size_of::<u64>();
        // SAFETY: the slot is this place's alone, as long as that and aligned to 64; its bytes may be of any kind, which `MaybeUninit` says.
        let slot = unsafe {
            std::slice::from_raw_parts_mut(self.start.cast::<MaybeUninit<u64>>().as_ptr(), words)
        };
        slot.zeroize();
        self.pool.give_back(self);
    }
}

/// Whole pages of zeroes that no core file and no child gets.
fn map_pages(bytes: usize) -> Option<NonNull<u8>> {
    // SAFETY: a private anonymous mapping at an address of the kernel's choosing touches nothing that exists.
    let address = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    if address == libc::MAP_FAILED {
        return None;
    }
    for advice in [libc::MADV_DONTDUMP, libc::MADV_DONTFORK] {
        // SAFETY: exactly the pages that were just mapped; the advice changes none of their bytes. A kernel that knows it not refuses, and nothing else can be done.
        let _ = unsafe { libc::madvise(address, bytes, advice) };
    }
    NonNull::new(address.cast())
}

/// mlock: false where RLIMIT_MEMLOCK allows no more.
fn lock_pages(start: NonNull<u8>, bytes: usize) -> bool {
    // SAFETY: mlock reads and writes none of these bytes.
    unsafe { libc::mlock(start.as_ptr().cast(), bytes) == 0 }
}

/// The last resort, when the process may have no more mappings.
fn from_heap(bytes: usize) -> NonNull<u8> {
    let layout = std::alloc::Layout::from_size_align(bytes, ALIGN).expect("a power of two");
    // SAFETY: the layout is not empty.
    let start = unsafe { std::alloc::alloc_zeroed(layout) };
    NonNull::new(start).unwrap_or_else(|| std::alloc::handle_alloc_error(layout))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What stands at an address; chunks are never unmapped, so it may be looked at after the slot is free.
    fn bytes_at<const N: usize>(start: *const [u8; N]) -> [u8; N] {
        // SAFETY: the callers took the pointer from a slot of at least N bytes.
        unsafe { start.read_volatile() }
    }

    #[test]
    fn a_freed_slot_is_wiped() {
        // A pool of its own: no other test's secret comes to stand there.
        static POOL: Pool = Pool::new(SMALL_BYTES, lock_pages);
        let place = POOL.take();
        let start = place.start.cast::<[u8; SMALL_BYTES]>();
        // SAFETY: the place is ours.
        unsafe { start.write([7; SMALL_BYTES]) };
        assert_eq!(bytes_at(start.as_ptr()), [7; SMALL_BYTES]);
        drop(place);
        assert_eq!(bytes_at(start.as_ptr()), [0; SMALL_BYTES]);
        assert_eq!(POOL.take().start, start.cast(), "it is used again");
    }

    #[test]
    fn what_is_in_a_slot_is_dropped_once() {
        struct Counted<'a>(&'a AtomicUsize);
        impl Drop for Counted<'_> {
            fn drop(&mut self) {
                self.0.fetch_add(1, Ordering::Relaxed);
            }
        }
        let drops = AtomicUsize::new(0);
        let slot = Slot::new(|| Counted(&drops));
        let moved = slot;
        assert_eq!(drops.load(Ordering::Relaxed), 0);
        drop(moved);
        assert_eq!(drops.load(Ordering::Relaxed), 1);
    }

    #[test]
    fn slots_of_many_threads_never_meet() {
        let threads: Vec<_> = (1..=4_u8)
            .map(|own| {
                std::thread::spawn(move || {
                    for _ in 0..50 {
                        let mut slots: Vec<_> =
                            (0..100).map(|_| Slot::<[u8; 600]>::zeroed()).collect();
                        for slot in &mut slots {
                            assert_eq!(**slot, [0; 600], "a slot was not wiped");
                            slot.fill(own);
                        }
                        assert!(slots.iter().all(|slot| **slot == [own; 600]));
                    }
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("no slot was shared");
        }
    }

    /// The flags that the kernel shows of the mapping around an address.
    fn flags_of(address: usize) -> String {
        let maps = std::fs::read_to_string("/proc/self/smaps").expect("our own mappings");
        let mut is_inside = false;
        for line in maps.lines() {
            let range = line.split(' ').next().and_then(|word| word.split_once('-'));
            let parse = |text| usize::from_str_radix(text, 16).ok();
            if let Some((Some(start), Some(end))) = range.map(|(a, b)| (parse(a), parse(b))) {
                is_inside = (start..end).contains(&address);
            }
            if let Some(flags) = line.strip_prefix("VmFlags:").filter(|_| is_inside) {
                return flags.to_owned();
            }
        }
        panic!("no mapping around {address:x}");
    }

    #[test]
    fn secrets_stand_in_pages_that_no_dump_and_no_child_gets() {
        let slot = Slot::new(|| [1_u8; 32]);
        let flags = flags_of(slot.place.start.addr().get());
        let has = |flag| flags.split(' ').any(|word| word == flag);
        assert!(has("dd"), "they would be dumped: {flags}");
        assert!(has("dc"), "a child would get them: {flags}");
        assert_eq!(has("lo"), slot.place.is_locked, "{flags}");
    }

    #[test]
    fn past_the_limit_slots_stay_unlocked_and_are_counted() {
        static POOL: Pool = Pool::new(LARGE_BYTES, |_, _| false);
        let before = locked_memory().unlocked_bytes;
        let place = POOL.take();
        assert!(!place.is_locked);
        assert!(locked_memory().unlocked_bytes >= before + CHUNK_BYTES);
        let flags = flags_of(place.start.addr().get());
        assert!(flags.split(' ').any(|word| word == "dd"), "{flags}");
    }
}
