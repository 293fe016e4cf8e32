//! How far counters must have got, kept the slow and obvious way. Each change is looked at and written under its partition's latch, as counters and IF do it: none may
//! be lost, and none may be counted twice.
//!
//! | a change was | then the total |
//! |---|---|
//! | acknowledged | holds it |
//! | refused | does not |
//! | on its way, or cut short by a crash | may hold it |

use std::collections::{BTreeMap, BTreeSet};

use crate::values::Table;

/// A counter: of each partition there is one.
type Place = (Table, u64);

/// What a counter's total is between.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
struct Total {
    /// What is acknowledged.
    low: u64,
    /// That, and everything whose fate is not known.
    high: u64,
}

/// What a read that begins now must see.
#[derive(Clone, Default)]
pub struct Floor {
    totals: BTreeMap<u64, Total>,
    /// Counters that nobody is changing.
    still: BTreeSet<u64>,
    /// How often the table began to be emptied before; None: it is being emptied now.
    emptyings: Option<u64>,
}

#[derive(Default)]
pub struct Counts {
    totals: BTreeMap<Place, Total>,
    open: BTreeMap<u64, Place>,
    /// Tables that are being emptied.
    emptying: BTreeMap<u64, Table>,
    /// How often a table began to be emptied.
    emptyings: BTreeMap<Table, u64>,
}

impl Counts {
    /// One more is on its way.
    pub fn hand_over(&mut self, request: u64, table: Table, partition: u64) {
        let place = (table, partition);
        self.totals.entry(place).or_default().high += 1;
        self.open.insert(request, place);
    }

    /// A table begins to be emptied, while nobody writes to it.
    pub fn begin_emptying(&mut self, request: u64, table: Table) {
        *self.emptyings.entry(table).or_default() += 1;
        self.emptying.insert(request, table);
    }

    pub fn acknowledged(&mut self, request: u64) {
        if let Some(table) = self.emptying.remove(&request) {
            self.totals.retain(|(of, _), _| *of != table);
        }
        if let Some(total) = self.closed(request) {
            total.low += 1;
        }
    }

    pub fn refused(&mut self, request: u64) {
        self.emptying.remove(&request);
        if let Some(total) = self.closed(request) {
            total.high -= 1;
        }
    }

    fn closed(&mut self, request: u64) -> Option<&mut Total> {
        let place = self.open.remove(&request)?;
        self.totals.get_mut(&place)
    }

    /// The server died: what was on its way is there or not.
    pub fn orphaned(&mut self) {
        self.open.clear();
        for table in std::mem::take(&mut self.emptying).into_values() {
            let mine = self.totals.range_mut((table, 0)..(table + 1, 0));
            mine.for_each(|(_, total)| total.low = 0);
        }
    }

    pub fn dropped(&mut self, table: Table) {
        self.totals.retain(|(of, _), _| *of != table);
        self.open.retain(|_, (of, _)| *of != table);
        self.emptying.retain(|_, of| *of != table);
        self.emptyings.remove(&table);
    }

    pub fn floor(&self, table: Table) -> Floor {
        let mine = self.totals.range((table, 0)..(table + 1, 0));
        let totals: BTreeMap<u64, Total> = mine.map(|((_, key), total)| (*key, *total)).collect();
        let is_still = |key: &u64| !self.open.values().any(|open| *open == (table, *key));
        Floor {
            still: totals.keys().copied().filter(is_still).collect(),
            totals,
            emptyings: self.emptyings_of(table),
        }
    }

    fn emptyings_of(&self, table: Table) -> Option<u64> {
        let is_under_way = self.emptying.values().any(|of| *of == table);
        (!is_under_way).then(|| self.emptyings.get(&table).copied().unwrap_or(0))
    }

    /// Judges what a read saw of one counter.
    pub fn seen(
        &mut self,
        table: Table,
        partition: u64,
        floor: &Floor,
        seen: u64,
    ) -> Result<(), String> {
        let now = self.emptyings_of(table);
        if now.is_none() || now != floor.emptyings {
            // It may be that of before, or of after.
            return Ok(());
        }
        let before = floor.totals.get(&partition).copied().unwrap_or_default();
        let place = (table, partition);
        let now = self.totals.get(&place).copied().unwrap_or_default();
        // What is refused meanwhile lowers what there may be at most.
        if seen < before.low || seen > before.high.max(now.high) {
            return Err(format!(
                "the counter of {partition} is {seen}: it was {before:?}, and is {now:?}"
            ));
        }
        // Nobody has counted meanwhile: what a crash has left open is decided.
        let is_still = floor.still.contains(&partition) && before == now;
        if is_still && !self.open.values().any(|open| *open == place) {
            let decided = Total {
                low: seen,
                high: seen,
            };
            self.totals.insert(place, decided);
        }
        Ok(())
    }
}

#[test]
fn a_read_that_began_while_its_table_was_emptied_may_see_what_was_there_and_what_is() {
    const TABLE: Table = 1;
    let mut counts = Counts::default();
    counts.hand_over(1, TABLE, 0);
    counts.acknowledged(1);
    counts.begin_emptying(2, TABLE);
    let meanwhile = counts.floor(TABLE);
    counts.acknowledged(2);
    for seen in [0, 1] {
        assert_eq!(counts.seen(TABLE, 0, &meanwhile, seen), Ok(()));
    }
    let afterwards = counts.floor(TABLE);
    assert!(counts.seen(TABLE, 0, &afterwards, 1).is_err());
    assert_eq!(counts.seen(TABLE, 0, &afterwards, 0), Ok(()));
}
