//! Who may be open, judged from the key service's log of calls and the clocks alone.
//!
//! A table is *proven* at a moment if a Decrypt of its key was sent within one lease of both clocks before, was answered with the key, and nothing that came after it was
//! sent has denied the table: neither its own Decrypt nor, for reasons that speak of the key itself, any call for that key. Where the operator allows a grace, it may be
//! that much older, if some call for the key was not answered since.

use palladium_crypto::{CmkRef, Operation};
use palladium_storage::{Lease, Reading};

use crate::service::{Asked, Ending, Service};

/// For how long an answer counts.
#[derive(Debug, Clone, Copy)]
pub struct Terms {
    pub lease_seconds: u64,
    /// How much longer, while the key's service does not answer.
    pub grace_seconds: u64,
}

impl Terms {
    /// No grace: what silence may not cut short.
    pub fn without_grace(self) -> Terms {
        Terms {
            grace_seconds: 0,
            ..self
        }
    }

    /// Calls that are older decide nothing.
    fn remembered_nanos(self) -> u64 {
        (2 * self.lease_seconds + self.grace_seconds + 60) * 1_000_000_000
    }
}

/// What is known of a table apart from the log.
pub struct Subject<'a> {
    pub name: &'a str,
    /// Its key; two while it is being switched.
    pub cmks: &'a [CmkRef],
    /// Calls before this one were for an earlier table of that name.
    pub born: u64,
}

impl Subject<'_> {
    fn is_mine(&self, call: &Asked) -> bool {
        self.names_me(call) && call.operation == Operation::Decrypt
    }

    fn names_me(&self, call: &Asked) -> bool {
        call.number >= self.born
            && call.table.as_deref() == Some(self.name)
            && self.cmks.contains(&call.key)
    }

    /// Whether a call says no to this table.
    fn is_denied_by(&self, call: &Asked) -> bool {
        let is_denial = matches!(call.ending(), Some(Ending::Denied(_)));
        is_denial
            && self.cmks.contains(&call.key)
            && (call.is_key_wide_denial() || self.is_mine(call))
    }

    /// Whether the table may be open at `now`.
    pub fn is_proven(&self, service: &Service, now: Reading, terms: Terms) -> bool {
        service.newest_first(|calls| {
            let mut denials: Vec<&Asked> = Vec::new();
            let mut given: Vec<&Asked> = Vec::new();
            let mut silences: Vec<&Asked> = Vec::new();
            for call in calls {
                let Some((at, ending)) = call.ended else {
                    continue;
                };
                if call.sent.boot_nanos + terms.remembered_nanos() < now.boot_nanos {
                    break;
                }
                // What came at this very instant may be overtaken by what it denies.
                if self.is_denied_by(call) && at.boot_nanos < now.boot_nanos {
                    denials.push(call);
                }
                let is_late = call.is_late(terms.lease_seconds);
                let gives = call.operation == Operation::Decrypt && ending == Ending::Given;
                if gives
                    && !is_late
                    && self.cmks.contains(&call.key)
                    && at.boot_nanos <= now.boot_nanos
                {
                    given.push(call);
                }
                let is_silence = is_late || matches!(ending, Ending::Unavailable(_) | Ending::Left);
                if is_silence && self.cmks.contains(&call.key) && at.boot_nanos <= now.boot_nanos {
                    silences.push(call);
                }
            }
            // A word about the key itself that was overtaken: a later call was answered with a key before it came.
            denials.retain(|denial| {
                let is_overtaken = given.iter().any(|call| {
                    call.key == denial.key
                        && call.sent.boot_nanos > denial.sent.boot_nanos
                        && ended_at(call) < ended_at(denial)
                });
                !(denial.is_key_wide_denial() && is_overtaken)
            });
            given.retain(|call| self.is_mine(call));
            given.iter().any(|call| {
                let came_since = |other: &&&Asked| {
                    other.key == call.key && ended_at(other) > call.sent.boot_nanos
                };
                let was_denied = denials.iter().any(|denial| came_since(&denial));
                let is_alive = |seconds| Lease::starting_at(call.sent, seconds).is_alive_at(now);
                // One instant is time enough for a call and for the next one: they are told apart by their numbers.
                let is_silent_since =
                    |silence: &&Asked| silence.key == call.key && silence.number > call.number;
                let has_grace = (silences.iter().any(|silence| came_since(&silence))
                    || silences.iter().any(is_silent_since))
                    && is_alive(terms.lease_seconds + terms.grace_seconds);
                (is_alive(terms.lease_seconds) || has_grace) && !was_denied
            })
        })
    }

    /// Whether the newest lease lives at `now`. It is the one that counts, also where the wall clock went back before it and forth after it, and an older one would
    /// last longer.
    pub fn is_newest_alive(&self, service: &Service, now: Reading, lease_seconds: u64) -> bool {
        service.newest_first(|calls| {
            let mut given =
                calls.filter(|call| self.is_mine(call) && call.ending() == Some(Ending::Given));
            given.next().is_some_and(|newest| {
                Lease::starting_at(newest.sent, lease_seconds).is_alive_at(now)
            })
        })
    }

    /// Whether anything that was heard lets a client be told this reason, for a request that began at `asked`.
    pub fn may_be_told(
        &self,
        service: &Service,
        reason: &str,
        asked: Reading,
        lease_seconds: u64,
    ) -> bool {
        service.newest_first(|calls| {
            // The newest answer with a key that was there before the request: what was heard before it was sent is forgotten.
            let mut forgotten = 0;
            for call in calls {
                let Some((at, ending)) = call.ended else {
                    // Nobody waits longer than two seconds for an answer that has not come.
                    if reason == "Unreachable" && self.cmks.contains(&call.key) {
                        return true;
                    }
                    continue;
                };
                let is_late = call.is_late(lease_seconds);
                let gives = ending == Ending::Given && !is_late;
                if self.is_mine(call) && gives && at.boot_nanos < asked.boot_nanos {
                    forgotten = forgotten.max(call.sent.boot_nanos);
                }
                let speaks = match ending {
                    Ending::Given => {
                        is_late && reason == "Unreachable" && self.cmks.contains(&call.key)
                    }
                    // ALTER to the same key closes the table when its Generate is refused.
                    Ending::Denied(said) => {
                        said.to_string() == reason
                            && (self.is_denied_by(call) || self.names_me(call))
                    }
                    Ending::Unavailable(said) => {
                        said.to_string() == reason && self.cmks.contains(&call.key)
                    }
                    Ending::Left => reason == "Unreachable" && self.cmks.contains(&call.key),
                    Ending::Wrong => reason == "Damaged" && self.is_mine(call),
                };
                if speaks && at.boot_nanos >= forgotten {
                    return true;
                }
            }
            false
        })
    }
}

fn ended_at(call: &Asked) -> u64 {
    call.ended.map_or(u64::MAX, |(at, _)| at.boot_nanos)
}
