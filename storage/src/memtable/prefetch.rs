//! Tells the processor which memory is needed soon, so that it comes while something else is done.
//!
//! A partition is a miss or two away in a large memtable, and a miss costs more than all that is done with the partition. Whoever knows several keys beforehand has
//! their misses overlap.
#![allow(unsafe_code)]

/// Bytes that come together.
const LINE_BYTES: usize = 64;
/// Lines of a row that are asked for; the processor sees by itself where one goes on.
const LINES_MAX: usize = 4;

/// Asks for what a reference refers to, the first bytes of it.
#[inline(always)]
pub(super) fn prefetch<T>(at: &T) {
    #[cfg(target_arch = "x86_64")]
    // SAFETY: a hint, which changes nothing that a program can see; the address is that of a reference.
    unsafe {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(at).cast());
    }
    #[cfg(not(target_arch = "x86_64"))]
    let _ = at;
}

/// The same of bytes.
#[inline(always)]
pub(super) fn prefetch_bytes(bytes: &[u8]) {
    for line in bytes.chunks(LINE_BYTES).take(LINES_MAX) {
        prefetch(&line[0]);
    }
}
