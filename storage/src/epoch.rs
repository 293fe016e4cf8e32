//! A count of changes, by which who takes several things together knows that they stood beside one another.
//!
//! What must hold: what is taken within one epoch was there at once, as long as each change counts before anything follows from it.

use std::sync::atomic::{AtomicU64, Ordering};

/// The number of changes so far.
#[derive(Default)]
pub(crate) struct Epoch(AtomicU64);

impl Epoch {
    /// Something has changed.
    pub(crate) fn end(&self) {
        self.0.fetch_add(1, Ordering::Release);
    }

    /// Takes things again until nothing has changed meanwhile.
    #[inline]
    pub(crate) fn within<T, E>(&self, mut take: impl FnMut() -> Result<T, E>) -> Result<T, E> {
        loop {
            let before = self.0.load(Ordering::Acquire);
            let taken = take()?;
            if self.0.load(Ordering::Acquire) == before {
                return Ok(taken);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Epoch;

    #[test]
    fn what_was_taken_while_something_changed_is_taken_again() {
        let epoch = Epoch::default();
        let mut takes = 0;
        let taken = epoch.within(|| {
            takes += 1;
            if takes < 3 {
                epoch.end();
            }
            Ok::<_, ()>(takes)
        });
        assert_eq!(taken, Ok(3));
        assert_eq!(epoch.within(|| Ok::<_, ()>(4)), Ok(4));
        assert_eq!(epoch.within(|| Err::<(), _>(5)), Err(5));
    }
}
