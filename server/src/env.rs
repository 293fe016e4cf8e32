//! The real world for storage and the key keeper: tokio's executor and timers, the kernel's clocks and entropy.

use std::time::Duration;

use palladium_crypto::{Entropy, OsEntropy};
use palladium_storage::Env;
use palladium_storage::env::BoxFuture;
use rustix::time::{ClockId, clock_gettime};

/// Must be used inside a tokio runtime.
#[derive(Debug, Default)]
pub struct RealEnv {
    entropy: OsEntropy,
}

impl Env for RealEnv {
    fn wall_micros(&self) -> i64 {
        let now = clock_gettime(ClockId::Realtime);
        now.tv_sec
            .saturating_mul(1_000_000)
            .saturating_add(now.tv_nsec / 1_000)
    }

    fn boot_nanos(&self) -> u64 {
        let now = clock_gettime(ClockId::Boottime);
        (now.tv_sec as u64)
            .saturating_mul(1_000_000_000)
            .saturating_add(now.tv_nsec as u64)
    }

    fn spawn(&self, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }

    fn sleep(&self, duration: Duration) -> BoxFuture<'static, ()> {
        Box::pin(tokio::time::sleep(duration))
    }

    fn entropy(&self) -> &dyn Entropy {
        &self.entropy
    }
}
