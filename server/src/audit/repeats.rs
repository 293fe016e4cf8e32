//! What repeats is counted: a flood of one thing must not push what matters out of the trail.
//!
//! ```text
//! event of a client ─► its kind ─► recorded: a hundred at once, then one more each second; the next one says how many before it were not
//!                                └─ beyond: counted ─► each minute, and at the end: the newest of them is recorded with the count of the others
//! ```
//!
//! | what | is of one kind with |
//! |---|---|
//! | what went well, and a Decrypt that did not | the same operation on the same table, key and role, from the same address |
//! | a refusal of anything else | the same operation by the same role: whoever asked may have made up all the names |
//!
//! A description of a key is about no table. What this server does by itself has a pace of its own and is always recorded.
//!
//! What must hold: what one role repeats hides nothing of another's, a count is lost by a kill alone, and what is kept of kinds has a bound.

use std::collections::HashMap;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, MutexGuard, PoisonError};

use palladium_crypto::EncryptionContext;

use super::{Event, Standing};

/// Events of one kind that are recorded one by one before they are counted.
const BURST: i64 = 100;
/// Microseconds after which one more is recorded.
const EVERY_MICROS: i64 = 1_000_000;
/// A moment that is so much earlier than another one: the clock was set back.
const SET_BACK_MICROS: i64 = 3_600 * EVERY_MICROS;
/// Kinds that are told apart; of all beyond, only operations are.
const KINDS_MAX: usize = 1_024;
/// In an event's context: how many of its kind were only counted since the last one that was recorded.
const COUNTED: &str = "not recorded before";

/// Counts what repeats.
#[derive(Default)]
pub(super) struct Repeats {
    kinds: Mutex<HashMap<Kind, Allowance>>,
    /// Secret, so that nobody finds two names that look like one.
    names: RandomState,
}

#[derive(PartialEq, Eq, Hash)]
struct Kind {
    operation: &'static str,
    is_ok: bool,
    role: Option<u32>,
    /// Of table, key, context, name and address; None: these are not told apart.
    names: Option<u64>,
}

/// How many events of a kind may still be recorded.
struct Allowance {
    left: i64,
    since_micros: i64,
    counted: Option<Counted>,
}

/// Those that were not.
struct Counted {
    newest: Event,
    before_it: u64,
}

impl Repeats {
    /// The event, if it is to be recorded.
    pub(super) fn admit(&self, event: Event) -> Option<Event> {
        if event.asker.standing == Standing::Server {
            return Some(event);
        }
        let now = event.at_micros;
        let mut kind = self.kind(&event);
        let mut kinds = self.kinds();
        if kinds.len() >= KINDS_MAX && !kinds.contains_key(&kind) {
            kinds.retain(|_, known| !known.is_forgettable(now));
            if kinds.len() >= KINDS_MAX {
                kind = Kind {
                    role: None,
                    names: None,
                    ..kind
                };
            }
        }
        let allowance = kinds.entry(kind).or_insert_with(|| Allowance::new(now));
        allowance.admit(event, now)
    }

    /// The newest event of each kind that was only counted, with how many others were.
    pub(super) fn counted(&self) -> Vec<Event> {
        let mut kinds = self.kinds();
        let counted = kinds.values_mut().filter_map(|kind| kind.counted.take());
        let mut events: Vec<Event> = counted
            .map(|counted| with_count(counted.newest, counted.before_it))
            .collect();
        events.sort_by_key(|event| event.at_micros);
        events
    }

    fn kind(&self, event: &Event) -> Kind {
        let is_ok = event.outcome.is_ok();
        let names = (is_ok || event.operation == "Decrypt").then(|| {
            let table = match event.operation {
                "DescribeKey" => None,
                _ => event.table.as_ref(),
            };
            let asker = (&event.asker.who, event.asker.client.map(|of| of.ip()));
            self.names
                .hash_one((table, &event.key, &event.context, asker))
        });
        Kind {
            operation: event.operation,
            is_ok,
            role: match event.asker.standing {
                Standing::Role(number) => Some(number),
                Standing::Anonymous | Standing::Server => None,
            },
            names,
        }
    }

    fn kinds(&self) -> MutexGuard<'_, HashMap<Kind, Allowance>> {
        self.kinds.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Allowance {
    fn new(now: i64) -> Self {
        Allowance {
            left: BURST,
            since_micros: now,
            counted: None,
        }
    }

    fn admit(&mut self, event: Event, now: i64) -> Option<Event> {
        self.earn(now);
        let before = self.counted.take();
        let count = before.map_or(0, |counted| counted.before_it + 1);
        if self.left == 0 {
            self.counted = Some(Counted {
                newest: event,
                before_it: count,
            });
            return None;
        }
        self.left -= 1;
        Some(with_count(event, count))
    }

    fn earn(&mut self, now: i64) {
        let passed = now.saturating_sub(self.since_micros);
        let earned = passed / EVERY_MICROS;
        if earned > 0 {
            self.left = self.left.saturating_add(earned).min(BURST);
        }
        if earned > 0 || passed < -SET_BACK_MICROS {
            self.since_micros = now;
        }
    }

    /// Whether a new one would be no other.
    fn is_forgettable(&self, now: i64) -> bool {
        let earned = now.saturating_sub(self.since_micros) / EVERY_MICROS;
        self.counted.is_none() && self.left.saturating_add(earned) >= BURST
    }
}

fn with_count(mut event: Event, count: u64) -> Event {
    if count > 0 {
        let empty = || EncryptionContext(Default::default());
        let context = event.context.get_or_insert_with(empty);
        context.0.insert(COUNTED.to_owned(), count.to_string());
    }
    event
}

#[cfg(test)]
mod tests {
    use palladium_crypto::CmkRef;

    use super::*;
    use crate::audit::Asker;

    fn event(role: u32, operation: &'static str, key: &str, outcome: Result<(), String>) -> Event {
        Event {
            key: Some(CmkRef::parse(key).unwrap()),
            outcome,
            asker: Asker {
                standing: Standing::Role(role),
                who: format!("role {role}").into(),
                client: Some(([192, 0, 2, 7], 9).into()),
            },
            ..Event::of_server(operation, 1_000 * EVERY_MICROS)
        }
    }

    fn refused(role: u32, key: &str) -> Event {
        event(role, "CREATE TABLE", key, Err("no".into()))
    }

    fn count(event: &Event) -> Option<&str> {
        let context = event.context.as_ref()?;
        context.0.get(COUNTED).map(String::as_str)
    }

    #[test]
    fn a_flood_of_refusals_is_counted_whatever_names_they_make_up() {
        let repeats = Repeats::default();
        let flood = |number: i64| refused(1, &format!("local:nope{number}"));
        let recorded = (0..1_000).filter_map(|number| repeats.admit(flood(number)));
        assert_eq!(recorded.count() as i64, BURST);
        let [newest] = &repeats.counted()[..] else {
            panic!("one kind was counted");
        };
        assert_eq!(newest.key, flood(999).key);
        assert_eq!(count(newest), Some("899"));
        assert!(repeats.counted().is_empty());
        assert!(repeats.admit(flood(0)).is_none());
        let next = Event {
            at_micros: 1_001 * EVERY_MICROS,
            ..flood(1)
        };
        assert_eq!(repeats.admit(next).as_ref().and_then(count), Some("1"));
    }

    #[test]
    fn what_one_role_repeats_hides_nothing_of_anothers() {
        let repeats = Repeats::default();
        (0..1_000).for_each(|_| drop(repeats.admit(refused(1, "local:a"))));
        assert!(repeats.admit(refused(1, "local:a")).is_none());
        assert!(repeats.admit(refused(2, "local:a")).is_some());
        let well = || event(1, "ALTER TABLE", "local:a", Ok(()));
        (0..1_000).for_each(|_| drop(repeats.admit(well())));
        assert!(repeats.admit(well()).is_none());
        let another = event(1, "ALTER TABLE", "local:b", Ok(()));
        assert!(repeats.admit(another).is_some());
    }

    #[test]
    fn a_decrypt_that_is_refused_is_told_apart_by_its_table() {
        let repeats = Repeats::default();
        let of = |table: &str| Event {
            table: Some(("ks".into(), table.into())),
            ..event(1, "Decrypt", "local:a", Err("Disabled: no".into()))
        };
        (0..1_000).for_each(|_| drop(repeats.admit(of("a"))));
        assert!(repeats.admit(of("a")).is_none());
        assert!(repeats.admit(of("b")).is_some());
    }

    #[test]
    fn what_the_server_does_by_itself_is_always_recorded() {
        let repeats = Repeats::default();
        let recorded = (0..1_000).filter_map(|_| repeats.admit(Event::of_server("Decrypt", 1)));
        assert_eq!(recorded.count(), 1_000);
    }

    #[test]
    fn kinds_have_a_bound_and_their_counts_outlive_it() {
        let repeats = Repeats::default();
        (0..BURST + 1).for_each(|_| drop(repeats.admit(refused(0, "local:a"))));
        for role in 1..3_000 {
            repeats.admit(refused(role, "local:a"));
        }
        // One for all that are beyond the bound.
        assert_eq!(repeats.kinds().len(), KINDS_MAX + 1);
        let later = Event {
            at_micros: 2_000 * EVERY_MICROS,
            ..refused(3_000, "local:a")
        };
        assert!(repeats.admit(later).is_some());
        assert!(repeats.kinds().len() < 5);
        assert_eq!(repeats.counted().len(), 2);
    }

    #[test]
    fn a_clock_that_was_set_back_stops_nothing() {
        let repeats = Repeats::default();
        (0..1_000).for_each(|_| drop(repeats.admit(refused(1, "local:a"))));
        let at = |at_micros| Event {
            at_micros,
            ..refused(1, "local:a")
        };
        assert!(repeats.admit(at(-9_000 * EVERY_MICROS)).is_none());
        assert!(repeats.admit(at(-8_999 * EVERY_MICROS)).is_some());
    }
}
