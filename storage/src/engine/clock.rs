//! Timestamps of the server: microseconds that never stand still and never step back.
//!
//! A timestamp is max(wall clock, last + 1). The high-water mark travels in every group's seal, so that a restart under a clock that stepped back goes on
//! above every timestamp ever given.

use std::sync::atomic::{AtomicI64, Ordering};

/// A wall clock this far behind the last timestamp is worth a line in the log.
const STEP_BACK_MICROS: i64 = 10_000_000;

/// The source of timestamps.
#[derive(Debug)]
pub(crate) struct Timestamps {
    last: AtomicI64,
}

impl Timestamps {
    pub(crate) fn starting_above(high_water: i64) -> Self {
        Timestamps {
            last: AtomicI64::new(high_water),
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
        if last - wall_micros > STEP_BACK_MICROS {
            tracing::warn!(
                behind_micros = last - wall_micros,
                "the wall clock is behind the last timestamp"
            );
        }
        above(last)
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
}
