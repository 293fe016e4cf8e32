//! So many bytes a second, for all merges together: the disk and the processor are there for requests first.
//!
//! Whoever takes bytes waits until those taken before have had their time; nobody saves up for later. One pace is shared by all merges of an engine.

use std::sync::Mutex;
use std::time::Duration;

use crate::Result;
use crate::env::Env;

/// How often who waits looks whether it is still worth it.
const LOOK_PAUSE: Duration = Duration::from_millis(100);

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

    /// Returns once `bytes` may be read, or with the error of `proceed`, which is asked meanwhile: who waits here holds plaintext, and a lock waits for it.
    pub async fn take(
        &self,
        env: &dyn Env,
        bytes: u64,
        proceed: &(dyn Fn() -> Result<()> + Send + Sync),
    ) -> Result<()> {
        let rate = self.bytes_per_second();
        if rate == 0 {
            return Ok(());
        }
        let mut now = env.boot_nanos();
        let cost = u128::from(bytes) * 1_000_000_000 / u128::from(rate);
        let start = {
            let mut free_at = self.free_at.lock().expect("no holder of this lock panics");
            let start = now.max(*free_at);
            *free_at = start.saturating_add(u64::try_from(cost).unwrap_or(u64::MAX));
            start
        };
        while start > now {
            let left = Duration::from_nanos(start - now);
            env.sleep(left.min(LOOK_PAUSE)).await;
            proceed()?;
            now = env.boot_nanos();
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Error;
    use crate::env::SimulatedEnv;

    #[test]
    fn bytes_past_the_pace_wait_their_time() {
        let env = SimulatedEnv::new(1);
        let pace = Pace::new(1000);
        env.run(async {
            pace.take(&*env, 500, &|| Ok(())).await.unwrap();
            assert_eq!(env.boot_nanos(), 0, "the first goes at once");
            pace.take(&*env, 2000, &|| Ok(())).await.unwrap();
            assert_eq!(env.boot_nanos(), 500_000_000);
            pace.take(&*env, 1, &|| Ok(())).await.unwrap();
            assert_eq!(env.boot_nanos(), 2_500_000_000);
            env.sleep(Duration::from_secs(60)).await;
            pace.take(&*env, 1000, &|| Ok(())).await.unwrap();
            pace.take(&*env, 1, &|| Ok(())).await.unwrap();
            assert_eq!(env.boot_nanos(), 63_500_000_000, "nothing was saved up");
        });
    }

    #[test]
    fn who_waits_for_long_leaves_when_he_is_told_to() {
        let env = SimulatedEnv::new(3);
        let pace = Pace::new(1);
        let end = 5_000_000_000;
        let proceed = || match env.boot_nanos() < end {
            true => Ok(()),
            false => Err(Error::Closed),
        };
        let waited = env.run(async {
            pace.take(&*env, 1_000_000, &proceed).await.unwrap();
            pace.take(&*env, 1, &proceed).await
        });
        assert!(matches!(waited, Err(Error::Closed)));
        assert_eq!(env.boot_nanos(), end, "and not in a million seconds");
    }

    #[test]
    fn without_a_limit_nobody_waits() {
        let env = SimulatedEnv::new(2);
        let pace = Pace::new(0);
        env.run(async {
            for _ in 0..1000 {
                pace.take(&*env, u64::MAX, &|| Ok(())).await.unwrap();
            }
        });
        assert_eq!(env.boot_nanos(), 0);
    }
}
