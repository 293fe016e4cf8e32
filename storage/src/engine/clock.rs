//! Timestamps of the server: microseconds that never stand still and never step back.
//!
//! A timestamp is max(wall clock, last + 1). The high-water mark travels in every group's seal, so that a restart under a clock that stepped back goes on
//! above every timestamp ever given.

use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

/// A wall clock this far behind the last timestamp is worth a line in the log.
const STEP_BACK_MICROS: i64 = 10_000_000;

/// The source of timestamps.
#[derive(Debug)]
pub(crate) struct Timestamps {
    last: AtomicI64,
    /// The wall clock was behind when it was last looked at, and the log says so already.
    is_behind: AtomicBool,
}

impl Timestamps {
    pub(crate) fn starting_above(high_water: i64) -> Self {
        Timestamps {
            last: AtomicI64::new(high_water),
            is_behind: AtomicBool::new(false),
        }
    }

    pub(crate) fn next(&self, wall_micros: i64) -> i64 {
        let above = |last: i64| wall_micros.max(last + 1);
        let last = self
            .last
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |last| {
                Some(above(last))
            })
            .expect("the update always answers");
        let behind_micros = last - wall_micros;
        if self.falls_behind(behind_micros > STEP_BACK_MICROS) {
            tracing::warn!(behind_micros, "the wall clock is behind the last timestamp");
        }
        above(last)
    }

    /// Whether the clock has just fallen behind: said once for each time that it does. It stays so for hours, and each write asks.
    fn falls_behind(&self, is_behind: bool) -> bool {
        let was_behind = self.is_behind.load(Ordering::Relaxed);
        if is_behind == was_behind {
            return false;
        }
        // Of those who see it at once, one says it.
        self.is_behind.swap(is_behind, Ordering::Relaxed) != is_behind && is_behind
    }

    pub(crate) fn high_water(&self) -> i64 {
        self.last.load(Ordering::Acquire)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_steps_back_does_not_take_timestamps_with_it() {
        let timestamps = Timestamps::starting_above(0);
        assert_eq!(timestamps.next(1_000), 1_000);
        assert_eq!(timestamps.next(1_000), 1_001);
        assert_eq!(timestamps.next(10), 1_002);
        assert_eq!(timestamps.high_water(), 1_002);
    }

    #[test]
    fn a_clock_that_stays_behind_is_told_of_once() {
        let timestamps = Timestamps::starting_above(0);
        let told = [false, true, true, true, false, false, true]
            .map(|is_behind| timestamps.falls_behind(is_behind));
        assert_eq!(told, [false, true, false, false, false, false, true]);
    }
}
