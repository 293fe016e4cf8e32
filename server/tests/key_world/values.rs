//! What tables must hold, kept the slow and obvious way: every write that was handed over, until it is known what became of it.
//!
//! | a write was | then its values |
//! |---|---|
//! | acknowledged | are there, until something newer is |
//! | refused | are never seen |
//! | on its way when the server died | are all there or all not, and a first look decides it for good |

use std::collections::BTreeMap;

use crate::client::{Place, Rows};

/// Tables by the order in which they were made; a name that is used again is another table.
pub type Table = u64;

#[derive(Debug, Clone, Copy, PartialEq)]
struct Version {
    timestamp: i64,
    /// None: deleted.
    value: Option<u64>,
}

/// What a write says of one place.
#[derive(Debug, Clone, Copy)]
pub struct Member {
    pub table: Table,
    pub place: Place,
    pub timestamp: i64,
    pub value: Option<u64>,
}

#[derive(Debug)]
struct Given {
    members: Vec<Member>,
    /// The server that had it is dead.
    is_orphan: bool,
}

/// The timestamps from which on a read that begins now must see.
pub type Floor = BTreeMap<Place, i64>;

#[derive(Default)]
pub struct Values {
    /// Acknowledged, oldest first. Those before the newest are for reads that began earlier.
    known: BTreeMap<(Table, Place), Vec<Version>>,
    open: BTreeMap<u64, Given>,
}

/// Versions of a place that are remembered for reads under way.
const VERSIONS_MAX: usize = 200;

impl Values {
    pub fn hand_over(&mut self, write: u64, members: Vec<Member>) {
        let is_orphan = false;
        self.open.insert(write, Given { members, is_orphan });
    }

    /// Whether it is known of every write to a table what became of it.
    pub fn is_settled(&self, table: Table) -> bool {
        let mut members = self.open.values().flat_map(|given| &given.members);
        !members.any(|member| member.table == table)
    }

    /// A settled table is to be emptied, and nobody writes to it before that is over: as if each of its rows were deleted, later than all that is acknowledged and before all that comes.
    pub fn hand_over_emptying(&mut self, request: u64, table: Table) {
        let mine = || self.known.range((table, (0, 0))..(table + 1, (0, 0)));
        let newest = mine()
            .flat_map(|(_, versions)| versions)
            .map(|version| version.timestamp);
        let timestamp = newest.max().map_or(i64::MIN, |newest| newest + 1);
        let members = mine().map(|((_, place), _)| Member {
            table,
            place: *place,
            timestamp,
            value: None,
        });
        let members = members.collect();
        self.hand_over(request, members);
    }

    pub fn acknowledged(&mut self, write: u64) {
        let Some(given) = self.open.remove(&write) else {
            return;
        };
        for member in given.members {
            let versions = self.known.entry((member.table, member.place)).or_default();
            versions.push(Version {
                timestamp: member.timestamp,
                value: member.value,
            });
            versions.sort_by_key(|version| version.timestamp);
            if versions.len() > VERSIONS_MAX {
                versions.remove(0);
            }
        }
    }

    /// It must never be seen.
    pub fn refused(&mut self, write: u64) {
        self.open.remove(&write);
    }

    /// The server died: nothing that was on its way changes any more.
    pub fn orphaned(&mut self) {
        for given in self.open.values_mut() {
            given.is_orphan = true;
        }
        // No read is under way either.
        for versions in self.known.values_mut() {
            let newest = versions.len() - 1;
            versions.drain(..newest);
        }
    }

    pub fn dropped(&mut self, table: Table) {
        self.known.retain(|(of, _), _| *of != table);
        for given in self.open.values_mut() {
            given.members.retain(|member| member.table != table);
        }
        self.open.retain(|_, given| !given.members.is_empty());
    }

    pub fn floor(&self, table: Table) -> Floor {
        let mine = self.known.range((table, (0, 0))..(table + 1, (0, 0)));
        mine.filter_map(|((_, place), versions)| Some((*place, versions.last()?.timestamp)))
            .collect()
    }

    /// Judges what a read saw of the places it asked for.
    pub fn seen(
        &mut self,
        table: Table,
        floor: &Floor,
        places: impl Iterator<Item = Place>,
        rows: &Rows,
    ) -> Result<(), String> {
        let mut left = rows.len();
        for place in places {
            let value = rows.get(&place).copied();
            left -= usize::from(value.is_some());
            self.seen_at(table, place, floor.get(&place).copied(), value)?;
        }
        match left {
            0 => Ok(()),
            _ => Err(format!("rows that nobody asked for: {rows:?}")),
        }
    }

    fn seen_at(
        &mut self,
        table: Table,
        place: Place,
        floor: Option<i64>,
        value: Option<u64>,
    ) -> Result<(), String> {
        let since = floor.unwrap_or(i64::MIN);
        let known = self.known.get(&(table, place)).into_iter().flatten();
        let known = known.map(|version| (None, *version));
        let open = self.open.iter().flat_map(|(write, given)| {
            let mine = given.members.iter();
            let mine = mine.filter(|member| (member.table, member.place) == (table, place));
            mine.map(|member| {
                let version = Version {
                    timestamp: member.timestamp,
                    value: member.value,
                };
                (Some(*write), version)
            })
        });
        let candidates: Vec<(Option<u64>, Version)> = known
            .chain(open)
            .filter(|(_, version)| version.timestamp >= since)
            .collect();
        let fitting: Vec<&(Option<u64>, Version)> = candidates
            .iter()
            .filter(|(_, version)| version.value == value)
            .collect();
        let was_never_there = floor.is_none() && value.is_none();
        if fitting.is_empty() && !was_never_there {
            return Err(format!(
                "{place:?} holds {value:?}; since {floor:?} it was given {candidates:?}"
            ));
        }
        // One explanation alone decides what became of writes that a crash cut short.
        let decided = match (&fitting[..], was_never_there) {
            ([], true) => Some((None, i64::MIN)),
            ([(write, version)], false) => Some((*write, version.timestamp)),
            _ => None,
        };
        if let Some((write, timestamp)) = decided {
            self.decide(table, place, write, timestamp);
        }
        Ok(())
    }

    fn decide(&mut self, table: Table, place: Place, seen: Option<u64>, timestamp: i64) {
        let is_orphan = |given: &Given| given.is_orphan;
        if let Some(write) = seen.filter(|write| self.open.get(write).is_some_and(is_orphan)) {
            self.acknowledged(write);
        }
        self.open.retain(|_, given| {
            let is_newer = |member: &Member| {
                (member.table, member.place) == (table, place) && member.timestamp > timestamp
            };
            !(given.is_orphan && given.members.iter().any(is_newer))
        });
    }
}
