//! So many bytes a second, for all merges together: the disk and the processor are there for requests first.
//!
//! Whoever takes bytes waits until those taken before have had their time; nobody saves up for later. One pace is shared by all merges of an engine.

use std::sync::Mutex;
use std::time::Duration;

use crate::env::Env;

/// The bytes a second that merges may read.
pub struct Pace {
    /// 0: as many as there are.
    bytes_per_second: u64,
    /// By the clock of `boot_nanos`, when what was taken so far has had its time.
    free_at: Mutex<u64>,
}

impl Pace {
    /// So many bytes a second; 0: no limit.
    pub fn new(bytes_per_second: u64) -> Pace {
        Pace {
            bytes_per_second,
            free_at: Mutex::new(0),
        }
    }

    /// The limit.
    pub fn bytes_per_second(&self) -> u64 {
        self.bytes_per_second
    }

    /// Returns once `bytes` may be read.
    pub async fn take(&self, env: &dyn Env, bytes: u64) {
        let rate = self.bytes_per_second();
        if rate == 0 {
            return;
        }
        let now = env.boot_nanos();
        let cost = u128::from(bytes) * 1_000_000_000 / u128::from(rate);
        let start = {
            let mut free_at = self.free_at.lock().expect("no holder of this lock panics");
            let start = now.max(*free_at);
            *free_at = start.saturating_add(u64::try_from(cost).unwrap_or(u64::MAX));
            start
        };
        if start > now {
            env.sleep(Duration::from_nanos(start - now)).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::SimulatedEnv;

    #[test]
    fn bytes_past_the_pace_wait_their_time() {
        let env = SimulatedEnv::new(1);
        let pace = Pace::new(1000);
        env.run(async {
            pace.take(&*env, 500).await;
            assert_eq!(env.boot_nanos(), 0, "the first goes at once");
            pace.take(&*env, 2000).await;
            assert_eq!(env.boot_nanos(), 500_000_000);
            pace.take(&*env, 1).await;
            assert_eq!(env.boot_nanos(), 2_500_000_000);
            env.sleep(Duration::from_secs(60)).await;
            pace.take(&*env, 1000).await;
            pace.take(&*env, 1).await;
            assert_eq!(env.boot_nanos(), 63_500_000_000, "nothing was saved up");
        });
    }

    #[test]
    fn without_a_limit_nobody_waits() {
        let env = SimulatedEnv::new(2);
        let pace = Pace::new(0);
        env.run(async {
            for _ in 0..1000 {
                pace.take(&*env, u64::MAX).await;
            }
        });
        assert_eq!(env.boot_nanos(), 0);
    }
}
