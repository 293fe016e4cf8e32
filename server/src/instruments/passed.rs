//! What a SELECT reads past on its way: live rows and tombstones, as its answer does not tell.
//!
//! Who reads does not know the connection, and the connection does not know the pages: so they meet in a cell of the thread, as a trace meets whoever notes
//! something in it. Work that waits is asked after each time it ran ([`take_passed`]), before others run on the same thread.

use std::cell::Cell;

/// Rows and tombstones that were read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Passed {
    pub rows: u32,
    pub tombstones: u32,
}

thread_local! {
    static PASSED: Cell<Passed> = const { Cell::new(Passed { rows: 0, tombstones: 0 }) };
}

impl Passed {
    /// With those of another stretch of the same request.
    #[inline]
    pub fn and(self, more: Passed) -> Passed {
        Passed {
            rows: self.rows.saturating_add(more.rows),
            tombstones: self.tombstones.saturating_add(more.tombstones),
        }
    }
}

/// A page was read.
#[inline]
pub fn note_passed(rows: u64, tombstones: u64) {
    let number = |number: u64| u32::try_from(number).unwrap_or(u32::MAX);
    let page = Passed {
        rows: number(rows),
        tombstones: number(tombstones),
    };
    PASSED.set(PASSED.get().and(page));
}

/// What was read on this thread since this was last asked.
#[inline]
pub fn take_passed() -> Passed {
    PASSED.replace(Passed::default())
}
