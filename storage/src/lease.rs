//! For how long a table's key may be used: a hard age, on two clocks.
//!
//! A lease ends at the earlier of a point on the boot clock (which goes on while the machine sleeps) and one on the wall clock (which a restored
//! machine image moves). The clocks are read once for each batch; every block opened compares with that reading. Nothing here renews a lease: only
//! the key keeper does, after the key service has answered.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use crate::env::Env;

/// When a key's use ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// Nanoseconds on the boot clock.
    pub boot_deadline_nanos: u64,
    /// Microseconds on the wall clock.
    pub wall_deadline_micros: i64,
}

impl Lease {
    /// The lease of the service's own tables: their key is held for the process's life.
    pub const FOREVER: Lease = Lease {
        boot_deadline_nanos: u64::MAX,
        wall_deadline_micros: i64::MAX,
    };

    /// A lease of `seconds` from the moment that `clock` shows: the moment the call to the key service was sent.
    pub fn starting_at(clock: Reading, seconds: u64) -> Lease {
        Lease {
            boot_deadline_nanos: clock
                .boot_nanos
                .saturating_add(seconds.saturating_mul(1_000_000_000)),
            wall_deadline_micros: clock.wall_micros.saturating_add(
                i64::try_from(seconds.saturating_mul(1_000_000)).unwrap_or(i64::MAX),
            ),
        }
    }

    /// Whether the key may be used at `clock`.
    pub fn is_alive_at(&self, clock: Reading) -> bool {
        clock.boot_nanos < self.boot_deadline_nanos && clock.wall_micros < self.wall_deadline_micros
    }
}

/// Both clocks, read once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reading {
    /// Nanoseconds on the boot clock.
    pub boot_nanos: u64,
    /// Microseconds on the wall clock.
    pub wall_micros: i64,
}

impl Reading {
    /// Reads both clocks.
    pub fn now(env: &dyn Env) -> Reading {
        Reading {
            boot_nanos: env.boot_nanos(),
            wall_micros: env.wall_micros(),
        }
    }
}

/// A lease that the key keeper extends while readers look at it.
#[derive(Debug)]
pub(crate) struct LeaseCell {
    boot: AtomicU64,
    wall: AtomicI64,
}

impl LeaseCell {
    pub(crate) fn new(lease: Lease) -> Self {
        LeaseCell {
            boot: AtomicU64::new(lease.boot_deadline_nanos),
            wall: AtomicI64::new(lease.wall_deadline_micros),
        }
    }

    /// A reader between the two stores sees one old deadline: the lease then ends early, never late.
    pub(crate) fn set(&self, lease: Lease) {
        self.boot
            .store(lease.boot_deadline_nanos, Ordering::Release);
        self.wall
            .store(lease.wall_deadline_micros, Ordering::Release);
    }

    pub(crate) fn get(&self) -> Lease {
        Lease {
            boot_deadline_nanos: self.boot.load(Ordering::Acquire),
            wall_deadline_micros: self.wall.load(Ordering::Acquire),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lease_ends_with_whichever_clock_is_first() {
        let start = Reading {
            boot_nanos: 5_000_000_000,
            wall_micros: 1_000_000,
        };
        let lease = Lease::starting_at(start, 300);
        assert!(lease.is_alive_at(start));
        let asleep = Reading {
            boot_nanos: start.boot_nanos + 300_000_000_000,
            ..start
        };
        assert!(!lease.is_alive_at(asleep));
        let stepped = Reading {
            wall_micros: start.wall_micros + 300_000_000,
            ..start
        };
        assert!(!lease.is_alive_at(stepped));
        assert!(Lease::FOREVER.is_alive_at(asleep));
    }
}
