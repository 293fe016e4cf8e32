//! The program's allocator: whatever is freed is wiped first.
//!
//! A table's rows pass through hundreds of small allocations on their way: frames, values, plans, records, answers, and those of libraries. Each of them could
//! be wiped by its owner, and one forgotten owner would leave plaintext on the heap for hours. Here there is one place, and it forgets nobody: within the
//! promise of a lock, what was freed is gone.
//!
//! jemalloc stands below, called by its own names. (With the C library's allocator a counter costs a quarter more of the server's CPU and a batch of ten a third,
//! and free pages stay where they are between what is in use.)
//!
//! What must hold: between two owners a block holds nothing of the first.
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::ffi::{CStr, CString, c_int, c_uint, c_void};
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};

use tikv_jemalloc_sys as jemalloc;

/// What every block is aligned to that is at least as long.
const ALIGNED_ANYWAY: usize = 16;

/// Named as `#[global_allocator]` by the program; a library that uses this crate keeps its own.
pub struct WipingAllocator;

// SAFETY: jemalloc gives blocks of at least the size that was asked for, at the alignment that was asked for, zeroed if that was asked for, that belong to nobody
// else until they are freed. Nothing here panics or allocates in Rust.
unsafe impl GlobalAlloc for WipingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller promises that the size is not zero.
        unsafe {
            match flags(layout) {
                0 => jemalloc::malloc(layout.size()),
                flags => jemalloc::mallocx(layout.size(), flags),
            }
        }
        .cast()
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above.
        unsafe { jemalloc::mallocx(layout.size(), flags(layout) | jemalloc::MALLOCX_ZERO) }.cast()
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller gives the block up, whose present size `layout` has, or one of the same class.
        unsafe {
            wipe(block, layout.size());
            jemalloc::sdallocx(block.cast(), layout.size(), flags(layout));
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller promises that `size`, rounded up to the alignment, is no overflow; the alignment is one already.
        let next = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
        if class(next) == class(layout) {
            if size < layout.size() {
                // SAFETY: the tail is within the block.
                unsafe { wipe(block.add(size), layout.size() - size) };
            }
            return block;
        }
        // SAFETY: a size of zero is not asked for here: the caller promises that too.
        let moved = unsafe { self.alloc(next) };
        if !moved.is_null() {
            // SAFETY: both blocks are at least as long as the shorter of the two and do not meet; then the old one is nobody's.
            unsafe {
                moved.copy_from_nonoverlapping(block, layout.size().min(size));
                self.dealloc(block, layout);
            }
        }
        moved
    }
}

/// How jemalloc is told where a block shall be, and the alignment: not at all where a block of this size has it anyway.
fn flags(layout: Layout) -> c_int {
    let arena = match layout.size() < LARGE_BYTES {
        true => 0,
        false => LARGE_BLOCKS.load(Ordering::Relaxed),
    };
    if layout.align() <= ALIGNED_ANYWAY && layout.align() <= layout.size() {
        return arena;
    }
    arena | jemalloc::MALLOCX_ALIGN(layout.align())
}

/// The bytes that a block of this layout has in truth: blocks of one class are each other's equals.
fn class(layout: Layout) -> (usize, c_int) {
    let flags = flags(layout);
    // SAFETY: the size is not zero; nothing is allocated.
    (unsafe { jemalloc::nallocx(layout.size(), flags) }, flags)
}

/// Blocks of at least this size go back to the kernel as soon as they are freed.
const LARGE_BYTES: usize = 512 << 10;
/// The flags that stand for the arena of large blocks; 0 until it is there.
static LARGE_BLOCKS: AtomicI32 = AtomicI32::new(0);

/// For how long other free pages wait for whoever asks next before they go back to the kernel, in milliseconds.
const FREE_PAGES_WAIT_MS: isize = 250;

/// Has free pages go back to the kernel soon, also from a server that is idle: jemalloc keeps them for ten seconds otherwise, and looks only when it is called.
///
/// Large blocks have an arena of their own, which keeps nothing that is free: a few large cells would otherwise be missing for a while wherever memory is counted.
///
/// Called once, before the program's other threads begin: arenas that begin later take the time from here.
pub fn give_free_pages_back_soon() {
    // An allocator that cannot do one of these works as it did before.
    set(c"arenas.dirty_decay_ms", FREE_PAGES_WAIT_MS);
    set(c"arena.0.dirty_decay_ms", FREE_PAGES_WAIT_MS);
    set(c"background_thread", true);
    let Some(arena) = new_arena() else {
        return;
    };
    if let Ok(decay) = CString::new(format!("arena.{arena}.dirty_decay_ms")) {
        set(&decay, 0_isize);
    }
    let flags = jemalloc::MALLOCX_ARENA(arena as usize) | jemalloc::MALLOCX_TCACHE_NONE;
    LARGE_BLOCKS.store(flags, Ordering::Relaxed);
}

/// The number of a new arena.
fn new_arena() -> Option<c_uint> {
    let mut arena: c_uint = 0;
    let mut size = size_of::<c_uint>();
    // SAFETY: the name ends with a zero; jemalloc writes a number of the size that it is told.
    let failed = unsafe {
        jemalloc::mallctl(
            c"arenas.create".as_ptr(),
            (&raw mut arena).cast::<c_void>(),
            &raw mut size,
            ptr::null_mut(),
            0,
        )
    };
    (failed == 0).then_some(arena)
}

/// Gives whole pages that are free back to the kernel at once. Others wait for an arena meanwhile.
pub fn give_free_pages_back() {
    // SAFETY: the name ends with a zero, stands for all arenas (`MALLCTL_ARENAS_ALL`, 4096) and takes no value.
    unsafe {
        jemalloc::mallctl(
            c"arena.4096.purge".as_ptr(),
            ptr::null_mut(),
            ptr::null_mut(),
            ptr::null_mut(),
            0,
        );
    }
}

/// Sets what jemalloc calls `name` and takes as a `T`.
fn set<T>(name: &CStr, mut value: T) {
    // SAFETY: the name ends with a zero; jemalloc reads as many bytes as the value has, and refuses when it wants another number of them.
    unsafe {
        jemalloc::mallctl(
            name.as_ptr(),
            ptr::null_mut(),
            ptr::null_mut(),
            (&raw mut value).cast::<c_void>(),
            size_of::<T>(),
        );
    }
}

/// Zeroes that no compiler leaves out although the block is freed next.
///
/// # Safety
/// `bytes` bytes from `start` on are the caller's to be written.
unsafe fn wipe(start: *mut u8, bytes: usize) {
    // SAFETY: what the caller promises.
    unsafe { libc::explicit_bzero(start.cast(), bytes) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layout(size: usize, align: usize) -> Layout {
        Layout::from_size_align(size, align).expect("small, and a power of two")
    }

    #[test]
    fn what_grows_or_shrinks_keeps_its_bytes_and_its_alignment() {
        for align in [1, 16, 64, 4096] {
            let mut size = 100;
            // SAFETY: every call passes the size that the one before it left.
            unsafe {
                let mut block = WipingAllocator.alloc(layout(size, align));
                block.write_bytes(7, size);
                for next in [150, 5000, 4000, 3000, 100, 99, 1 << 20, 40] {
                    block = WipingAllocator.realloc(block, layout(size, align), next);
                    assert_eq!(block.addr() % align, 0);
                    let kept = size.min(next).min(40);
                    assert!((0..kept).all(|at| block.add(at).read() == 7));
                    size = next;
                }
                WipingAllocator.dealloc(block, layout(size, align));
            }
        }
    }

    #[test]
    fn a_shrunk_block_keeps_nothing_in_its_tail() {
        // SAFETY: the block is 100 bytes long and more until it is freed, whatever it calls itself: it was not moved.
        unsafe {
            let block = WipingAllocator.alloc(layout(100, 1));
            block.write_bytes(7, 100);
            let shrunk = WipingAllocator.realloc(block, layout(100, 1), 98);
            assert_eq!(shrunk, block, "it was not moved");
            assert!((0..98).all(|at| block.add(at).read() == 7));
            assert!((98..100).all(|at| block.add(at).read() == 0));
            WipingAllocator.dealloc(shrunk, layout(98, 1));
        }
    }

    #[test]
    fn zeroed_means_zeroed_at_every_alignment() {
        for align in [1, 16, 64, 4096] {
            for _ in 0..3 {
                // SAFETY: 5000 bytes are asked for, looked at, written and freed.
                unsafe {
                    let block = WipingAllocator.alloc_zeroed(layout(5000, align));
                    assert!((0..5000).all(|at| block.add(at).read() == 0));
                    block.write_bytes(7, 5000);
                    WipingAllocator.dealloc(block, layout(5000, align));
                }
            }
        }
    }
}
