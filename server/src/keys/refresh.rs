//! The keeper's clockwork: renew what is in use, put to sleep what is not, try again what is in trouble.
//!
//! One pass over the tables that have keys, once a second or more often under short leases. A table in use is renewed at a random 40 to 70 % of its lease, so
//! that no request ever waits for a renewal and tables of one key do not call in step.

use std::sync::Arc;
use std::time::Duration;

use palladium_crypto::{CmkRef, Error as CryptoError};
use palladium_storage::{Lease, Reading};

use super::{Inner, Kept, KeyKeeper, Reason, State};

/// A lease with less than this left is let go before it ends.
const LETTING_GO: Duration = Duration::from_secs(2);
/// The first pause after an unanswered renewal; doubles up to [`RETRY_MAX`].
const RETRY_MIN: Duration = Duration::from_millis(500);
const RETRY_MAX: Duration = Duration::from_secs(20);

impl KeyKeeper {
    /// Runs until the process ends.
    pub async fn run(self) {
        let pause = Duration::from_millis(200 + self.inner.options.lease_seconds * 2);
        loop {
            self.inner.env.sleep(pause).await;
            self.step().await;
        }
    }

    /// One pass, as tests step it by hand.
    pub async fn step(&self) {
        let kept: Vec<Arc<Kept>> = self
            .inner
            .tables
            .iter()
            .map(|entry| entry.clone())
            .collect();
        for kept in kept {
            match kept.state() {
                State::Dormant => {}
                State::Live {
                    refresh_at_nanos,
                    failures,
                } => {
                    self.inner.tend(&kept, refresh_at_nanos, failures).await;
                }
                State::Inaccessible(trouble) => {
                    if self.inner.env.boot_nanos() >= trouble.background_at_nanos {
                        let _one_call = kept.calling.lock().await;
                        let _ = self.inner.open(&kept).await;
                    }
                }
            }
        }
    }
}

impl Inner {
    pub(super) fn refresh_at(&self, lease: Lease) -> u64 {
        let mut random = [0u8; 2];
        self.env.entropy().fill(&mut random);
        let share = 40 + u64::from(u16::from_le_bytes(random)) % 31;
        let length = Duration::from_secs(self.options.lease_seconds).as_nanos() as u64;
        let start = lease.boot_deadline_nanos.saturating_sub(length);
        start.saturating_add(length / 100 * share)
    }

    async fn tend(&self, kept: &Kept, refresh_at_nanos: u64, failures: u32) {
        let now = Reading::now(&*self.env);
        let Some(lease) = self.engine.lease(kept.id) else {
            kept.replace(State::Dormant);
            return;
        };
        let soon = Reading {
            boot_nanos: now.boot_nanos.saturating_add(LETTING_GO.as_nanos() as u64),
            wall_micros: now
                .wall_micros
                .saturating_add(LETTING_GO.as_micros() as i64),
        };
        if now.boot_nanos >= refresh_at_nanos && (failures > 0 || self.engine.take_used(kept.id)) {
            self.renew(kept, failures).await;
        }
        let renewed = self
            .engine
            .lease(kept.id)
            .is_some_and(|current| current != lease);
        if renewed || lease.is_alive_at(soon) {
            return;
        }
        let unanswered = matches!(kept.state(), State::Live { failures, .. } if failures > 0);
        if !unanswered {
            self.put_to_sleep(kept).await;
        } else if !lease.is_alive_at(now) {
            self.set_inaccessible(
                kept,
                Reason::Unavailable(palladium_crypto::UnavailableReason::Unreachable),
                "no answer until the lease ended".into(),
            );
            self.engine.lock(kept.id).await;
        }
    }

    /// Nobody used the table: its memtable goes to disk and its key leaves memory.
    async fn put_to_sleep(&self, kept: &Kept) {
        let _one_call = kept.calling.lock().await;
        self.engine.sleep(kept.id).await;
        if !self.engine.lease_alive(kept.id) {
            kept.replace(State::Dormant);
        }
    }

    /// One Decrypt renews the lease; a denial ends it.
    async fn renew(&self, kept: &Kept, failures: u32) {
        let _one_call = kept.calling.lock().await;
        let Some(root) = self.engine.root(kept.id) else {
            return;
        };
        let sent = Reading::now(&*self.env);
        match self.decrypt(kept, &root).await {
            Ok(_) => {
                let lease = Lease::starting_at(sent, self.options.lease_seconds);
                self.engine.renew(kept.id, lease);
                self.set_live(kept, lease);
            }
            Err(error) => match Reason::of(&error) {
                Reason::Unavailable(_) => {
                    let pause = RETRY_MIN
                        .saturating_mul(1 << failures.min(8))
                        .min(RETRY_MAX);
                    kept.replace(State::Live {
                        refresh_at_nanos: sent.boot_nanos.saturating_add(pause.as_nanos() as u64),
                        failures: failures + 1,
                    });
                }
                reason => {
                    self.set_inaccessible(kept, reason, error.to_string());
                    self.engine.lock(kept.id).await;
                    self.spread_denial(&root.cmk, &error).await;
                }
            },
        }
    }

    /// What a service says of the key itself holds for every table under it, now; what it says of one table makes it ask for the others soon.
    pub(super) async fn spread_denial(&self, cmk: &CmkRef, error: &CryptoError) {
        let CryptoError::Denied { reason, .. } = error else {
            return;
        };
        let siblings: Vec<Arc<Kept>> = self
            .tables
            .iter()
            .map(|entry| entry.clone())
            .filter(|kept| matches!(kept.state(), State::Live { .. }))
            .filter(|kept| {
                self.engine
                    .root(kept.id)
                    .is_some_and(|root| root.cmk == *cmk)
            })
            .collect();
        for kept in siblings {
            if reason.is_key_wide() {
                self.set_inaccessible(&kept, Reason::Denied(*reason), error.to_string());
                self.engine.lock(kept.id).await;
            } else {
                kept.replace(State::Live {
                    refresh_at_nanos: 0,
                    failures: 0,
                });
            }
        }
    }
}
