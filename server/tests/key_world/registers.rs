//! What conditional writes decide, kept the slow and obvious way. Each partition has a register of two rows, which only writes with an IF change: "make it this, if it
//! is that", of the first row, or, as a batch, of both. A value is given once, so that what a register holds tells all that it ever held.
//!
//! ```text
//! nothing ── #4 ──► 17 ── #9 (both rows) ──► 23          known: one after the other, and nobody else has changed it between
//!                                            ├─ #12 ──► 31    may be so: on its way, or cut short by a crash
//!                                            └─ #13 ──► 32    also; never both of them
//! ```
//!
//! | a write was | then |
//! |---|---|
//! | applied | the register held what it expected, and nothing else was applied to that |
//! | not applied | it saw something else, which the register held meanwhile |
//! | refused | what it would have made is never seen |
//! | on its way when the server died | it may have been applied; the first look decides it for good |

use std::collections::{BTreeMap, BTreeSet};

use crate::values::Table;

/// What the two rows of a register hold.
pub type Pair = (Option<u64>, Option<u64>);

/// A register: of each partition there is one.
type Place = (Table, u64);

/// How many states of each register a read that begins now need not see any more.
pub type Floor = BTreeMap<u64, usize>;

/// What a write wants to do.
#[derive(Debug, Clone, Copy)]
enum Attempt {
    /// If the first row holds what is expected, it is given the value; and so is the second one, where it is a batch.
    Set {
        expected: Option<u64>,
        value: u64,
        is_batch: bool,
    },
    /// Whatever is there goes.
    Empty,
}

impl Attempt {
    fn applied_to(self, (first, second): Pair) -> Option<Pair> {
        match self {
            Attempt::Empty => Some((None, None)),
            Attempt::Set {
                expected,
                value,
                is_batch,
            } => (expected == first).then(|| {
                let second = if is_batch { Some(value) } else { second };
                (Some(value), second)
            }),
        }
    }
}

struct Register {
    /// What it held, one after the other, as far as that is known.
    chain: Vec<Pair>,
    /// By request: what may have been applied since.
    open: BTreeMap<u64, Attempt>,
    /// Of these: the server that had them is dead.
    orphans: BTreeSet<u64>,
    /// Known to be applied, and not yet told so.
    proven: BTreeSet<u64>,
}

impl Default for Register {
    fn default() -> Self {
        Register {
            chain: vec![(None, None)],
            open: BTreeMap::new(),
            orphans: BTreeSet::new(),
            proven: BTreeSet::new(),
        }
    }
}

/// One way on from what is known: requests in their order, and what the register then holds.
type Way = (Vec<u64>, Pair);

impl Register {
    fn last(&self) -> Pair {
        *self.chain.last().expect("it began with nothing")
    }

    /// Every way in which what is open may have gone on.
    fn ways(&self) -> Vec<Way> {
        let mut found: Vec<Way> = vec![(Vec::new(), self.last())];
        let mut next = 0;
        while next < found.len() {
            let (way, holds) = found[next].clone();
            for (request, attempt) in &self.open {
                if let Some(then) = attempt.applied_to(holds)
                    && !way.contains(request)
                {
                    found.push(([&way[..], &[*request]].concat(), then));
                }
            }
            next += 1;
        }
        found
    }

    fn go(&mut self, request: u64) {
        if let Some(attempt) = self.open.remove(&request) {
            let then = attempt.applied_to(self.last());
            self.chain.push(then.expect("it was found on a way"));
            if !self.orphans.remove(&request) {
                self.proven.insert(request);
            }
        }
    }

    /// The server of today has shown what its forerunner left: of that, nothing else was done.
    fn decide_orphans(&mut self) {
        let orphans = std::mem::take(&mut self.orphans);
        self.open.retain(|request, _| !orphans.contains(request));
    }

    /// Somebody saw this. What is on its way today tells its outcome itself; what a crash has left is decided by it.
    fn seen(&mut self, floor: usize, is_it: impl Fn(Pair) -> bool, decides: bool) -> bool {
        let is_known = self.chain[floor.min(self.chain.len() - 1)..]
            .iter()
            .any(|pair| is_it(*pair));
        let way = match is_known {
            true => Some(Vec::new()),
            false => {
                let mut ways = self.ways().into_iter();
                ways.find(|(_, holds)| is_it(*holds)).map(|(way, _)| way)
            }
        };
        let Some(way) = way else { return false };
        if decides {
            let orphans = way.iter().take_while(|one| self.orphans.contains(one));
            for request in orphans.copied().collect::<Vec<u64>>() {
                self.go(request);
            }
            self.decide_orphans();
        }
        true
    }
}

#[derive(Default)]
pub struct Registers {
    registers: BTreeMap<Place, Register>,
    /// Where each request is at work.
    places: BTreeMap<u64, Vec<Place>>,
}

impl Registers {
    pub fn hand_over(
        &mut self,
        request: u64,
        place: Place,
        expected: Option<u64>,
        value: u64,
        is_batch: bool,
    ) {
        let attempt = Attempt::Set {
            expected,
            value,
            is_batch,
        };
        let register = self.registers.entry(place).or_default();
        register.open.insert(request, attempt);
        self.places.insert(request, vec![place]);
    }

    /// A table begins to be emptied, while nobody writes to it.
    pub fn begin_emptying(&mut self, request: u64, table: Table) {
        let mut places = Vec::new();
        for (place, register) in self.registers.range_mut((table, 0)..(table + 1, 0)) {
            register.open.insert(request, Attempt::Empty);
            places.push(*place);
        }
        self.places.insert(request, places);
    }

    /// Whether it is known of everything what became of it.
    pub fn is_settled(&self, table: Table) -> bool {
        let mut mine = self.registers.range((table, 0)..(table + 1, 0));
        mine.all(|(_, register)| register.open.is_empty())
    }

    /// What a client may take a register to hold: what it is known to, what it may, what it held before, or nothing. `draw` picks.
    pub fn guess(&self, place: Place, mut draw: impl FnMut(u64) -> u64) -> Option<u64> {
        let register = self.registers.get(&place)?;
        let mut pick = |from: &[Option<u64>]| from[draw(from.len() as u64) as usize];
        let all: Vec<Option<u64>> = register.chain.iter().map(|pair| pair.0).collect();
        let ahead: Vec<Option<u64>> = register.ways().iter().map(|way| way.1.0).collect();
        let guesses = [register.last().0, pick(&ahead), pick(&all), None];
        pick(&guesses)
    }

    /// It is told that it was applied.
    pub fn applied(&mut self, request: u64) -> Result<(), String> {
        for place in self.places.remove(&request).unwrap_or_default() {
            let Some(register) = self.registers.get_mut(&place) else {
                continue;
            };
            if register.proven.remove(&request) {
                continue;
            }
            let Some(attempt) = register.open.get(&request).copied() else {
                continue;
            };
            let mut ways = register.ways().into_iter();
            let way = ways.find(|(way, _)| way.last() == Some(&request));
            let Some((way, _)) = way else {
                let (last, chain) = (register.last(), register.chain.len());
                return Err(format!(
                    "{attempt:?} was applied in {place:?}, which held {last:?}, as the {chain}th"
                ));
            };
            // Durable, and with it what it was decided on.
            for request in way {
                register.go(request);
            }
            register.proven.remove(&request);
            register.decide_orphans();
        }
        Ok(())
    }

    /// It is told that it was not applied, and what it saw.
    pub fn not_applied(&mut self, request: u64, seen: Pair) -> Result<(), String> {
        for place in self.places.remove(&request).unwrap_or_default() {
            let Some(register) = self.registers.get_mut(&place) else {
                continue;
            };
            let attempt = register.open.remove(&request);
            let was_applied = register.proven.remove(&request);
            let fits = attempt.is_some_and(|attempt| attempt.applied_to(seen).is_some());
            if was_applied || fits {
                return Err(format!(
                    "{attempt:?} was not applied in {place:?}, and saw {seen:?}"
                ));
            }
        }
        Ok(())
    }

    /// It must never be seen.
    pub fn refused(&mut self, request: u64) -> Result<(), String> {
        for place in self.places.remove(&request).unwrap_or_default() {
            if let Some(register) = self.registers.get_mut(&place) {
                register.open.remove(&request);
                if register.proven.remove(&request) {
                    return Err(format!("it was refused, and is there in {place:?}"));
                }
            }
        }
        Ok(())
    }

    /// The server died: nothing that was on its way changes any more.
    pub fn orphaned(&mut self) {
        self.places.clear();
        for register in self.registers.values_mut() {
            register.proven.clear();
            register.orphans = register.open.keys().copied().collect();
        }
    }

    pub fn dropped(&mut self, table: Table) {
        self.registers.retain(|(of, _), _| *of != table);
    }

    pub fn floor(&self, table: Table) -> Floor {
        let mine = self.registers.range((table, 0)..(table + 1, 0));
        mine.map(|((_, key), register)| (*key, register.chain.len() - 1))
            .collect()
    }

    /// Judges what was seen of both rows at one moment.
    pub fn seen_both(&mut self, place: Place, floor: &Floor, seen: Pair) -> Result<(), String> {
        self.seen(place, floor, format!("{seen:?}"), |pair| pair == seen, true)
    }

    /// Judges what a read saw of one of the rows.
    pub fn seen_one(
        &mut self,
        place: Place,
        floor: &Floor,
        is_second: bool,
        seen: Option<u64>,
    ) -> Result<(), String> {
        let row = if is_second { "second" } else { "first" };
        let what = format!("{seen:?} in its {row} row");
        let is_it = |(first, second): Pair| seen == if is_second { second } else { first };
        // The second row stands still where only the first one was changed: it tells less.
        self.seen(place, floor, what, is_it, !is_second)
    }

    fn seen(
        &mut self,
        place: Place,
        floor: &Floor,
        what: String,
        is_it: impl Fn(Pair) -> bool,
        decides: bool,
    ) -> Result<(), String> {
        let floor = floor.get(&place.1).copied().unwrap_or(0);
        let register = self.registers.entry(place).or_default();
        if register.seen(floor, is_it, decides) {
            return Ok(());
        }
        let (since, open) = (&register.chain[floor..], &register.open);
        Err(format!(
            "the register of {place:?} held {what}; it was {since:?}, and may be changed by {open:?}"
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = (1, 0);

    fn with_two_for_nothing() -> Registers {
        let mut registers = Registers::default();
        registers.hand_over(1, PLACE, None, 11, false);
        registers.hand_over(2, PLACE, None, 12, true);
        registers
    }

    #[test]
    fn of_two_that_expect_the_same_one_is_applied() {
        let mut registers = with_two_for_nothing();
        assert_eq!(registers.applied(2), Ok(()));
        assert!(registers.applied(1).is_err());
        let mut registers = with_two_for_nothing();
        assert_eq!(registers.applied(1), Ok(()));
        assert!(registers.not_applied(2, (None, None)).is_err());
        let mut registers = with_two_for_nothing();
        assert_eq!(registers.applied(1), Ok(()));
        assert_eq!(registers.not_applied(2, (Some(11), None)), Ok(()));
    }

    #[test]
    fn who_was_applied_proves_whom_it_expected() {
        let mut registers = with_two_for_nothing();
        registers.hand_over(3, PLACE, Some(12), 13, false);
        assert_eq!(registers.applied(3), Ok(()));
        assert!(registers.refused(2).is_err());
        let floor = registers.floor(1);
        assert_eq!(
            registers.seen_both(PLACE, &floor, (Some(13), Some(12))),
            Ok(())
        );
        assert!(
            registers
                .seen_both(PLACE, &floor, (Some(12), Some(12)))
                .is_err()
        );
        assert!(
            registers
                .seen_both(PLACE, &floor, (Some(13), None))
                .is_err()
        );
    }

    #[test]
    fn the_first_look_after_a_crash_decides() {
        let mut registers = with_two_for_nothing();
        registers.orphaned();
        let floor = registers.floor(1);
        assert_eq!(registers.seen_one(PLACE, &floor, false, Some(11)), Ok(()));
        assert!(registers.seen_one(PLACE, &floor, true, Some(12)).is_err());
        let mut registers = with_two_for_nothing();
        registers.orphaned();
        assert_eq!(registers.seen_both(PLACE, &floor, (None, None)), Ok(()));
        assert!(registers.seen_one(PLACE, &floor, false, Some(11)).is_err());
    }
}
