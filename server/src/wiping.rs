//! The program's allocator: whatever is freed is wiped first.
//!
//! A table's rows pass through hundreds of small allocations on their way: frames, values, plans, records, answers, and those of libraries. Each of them could
//! be wiped by its owner, and one forgotten owner would leave plaintext on the heap for hours. Here there is one place, and it forgets nobody: within the
//! promise of a lock, what was freed is gone.
//!
//! The C library's allocator stands below, called by its own names, because a block may shrink in place here: `free` does not ask for a size.
//!
//! What must hold: between two owners a block holds nothing of the first. (The C library writes its own list pointers into free blocks.)
#![allow(unsafe_code)]

use std::alloc::{GlobalAlloc, Layout};
use std::ptr::NonNull;

/// What malloc aligns to by itself, on every 64-bit platform.
const MALLOC_ALIGN: usize = 16;

/// Named as `#[global_allocator]` by the program; a library that uses this crate keeps its own.
pub struct WipingAllocator;

// SAFETY: malloc, calloc and posix_memalign give blocks of at least the size that was asked for, at the alignment that was asked for (malloc and calloc: 16,
// and more goes to posix_memalign), that belong to nobody else until they are freed. Nothing here panics or allocates in Rust.
unsafe impl GlobalAlloc for WipingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= MALLOC_ALIGN {
            // SAFETY: malloc takes any size.
            return unsafe { libc::malloc(layout.size()) }.cast();
        }
        aligned(layout)
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        if layout.align() <= MALLOC_ALIGN {
            // SAFETY: calloc takes any size.
            return unsafe { libc::calloc(layout.size(), 1) }.cast();
        }
        let block = aligned(layout);
        if let Some(start) = NonNull::new(block) {
            // SAFETY: the block is as long as was asked for.
            unsafe { start.write_bytes(0, layout.size()) };
        }
        block
    }

    unsafe fn dealloc(&self, block: *mut u8, layout: Layout) {
        // SAFETY: the caller gives the block up, whose present size `layout` has; all of it came from the C library.
        unsafe {
            wipe(block, layout.size());
            libc::free(block.cast());
        }
    }

    unsafe fn realloc(&self, block: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // Shrunk by less than half it stays, and only the tail is wiped.
        if size <= layout.size() && size >= layout.size() / 2 {
            // SAFETY: `size` is within the block.
            unsafe { wipe(block.add(size), layout.size() - size) };
            return block;
        }
        // SAFETY: the caller promises that `size`, rounded up to the alignment, is no overflow; the alignment is one already.
        let next = unsafe { Layout::from_size_align_unchecked(size, layout.align()) };
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

/// Blocks of at least this size come from the kernel and go back to it when they are freed.
#[cfg(target_env = "gnu")]
const OWN_PAGES_BYTES: libc::c_int = 1 << 20;
/// What may stay free at the end of an arena.
#[cfg(target_env = "gnu")]
const FREE_END_BYTES: libc::c_int = 4 << 20;

/// Has large blocks given back as soon as they are freed. Left to itself the allocator learns from the first one of 16 MiB that is freed to keep all of that size,
/// between what stays: what a few large cells once took would be missing ever after.
pub fn give_large_blocks_back() {
    // SAFETY: it sets two numbers of the allocator. One that it does not take stays as it was.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, OWN_PAGES_BYTES);
        libc::mallopt(libc::M_TRIM_THRESHOLD, FREE_END_BYTES);
    }
}

/// Gives whole pages that are free back to the kernel, from all of the allocator's arenas: it keeps them otherwise, for whoever asks next. Takes milliseconds for each
/// hundred megabytes, in which others wait for an arena.
pub fn give_free_pages_back() {
    // SAFETY: it takes the allocator's own locks and touches only what is free.
    #[cfg(target_env = "gnu")]
    unsafe {
        libc::malloc_trim(0);
    }
}

fn aligned(layout: Layout) -> *mut u8 {
    let mut block = std::ptr::null_mut();
    // SAFETY: the alignment is a power of two above 16, so a multiple of a pointer's size; `block` is ours to be written.
    match unsafe { libc::posix_memalign(&mut block, layout.align(), layout.size()) } {
        0 => block.cast(),
        _ => std::ptr::null_mut(),
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
        // SAFETY: the block is 100 bytes long until it is freed, whatever it calls itself: it was not moved.
        unsafe {
            let block = WipingAllocator.alloc(layout(100, 1));
            block.write_bytes(7, 100);
            let shrunk = WipingAllocator.realloc(block, layout(100, 1), 60);
            assert_eq!(shrunk, block, "it was not moved");
            assert!((0..60).all(|at| block.add(at).read() == 7));
            assert!((60..100).all(|at| block.add(at).read() == 0));
            WipingAllocator.dealloc(shrunk, layout(60, 1));
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
