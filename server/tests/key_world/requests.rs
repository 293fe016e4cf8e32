//! What clients ask for: rows that are read, written, counted and emptied, and a table that is tidied.

use std::collections::BTreeSet;
use std::time::Duration;

use palladium_storage::{Store, Write};

use crate::client::{Place, Wanted, mutation};
use crate::values::{Member, Table};
use crate::world::{Aim, PARTITIONS, ROWS, Request, SECOND, SYSTEM, World};

/// Requests under way at a time.
const REQUESTS_MAX: usize = 60;
/// With everything working again for so long, no table that was not in trouble fails.
const SETTLED: u64 = 8_000_000_000;
/// With everything working again for so long, no table fails at all: the background has tried each again.
pub const HEALED: u64 = 45_000_000_000;

impl World {
    pub fn begin(&mut self, aim: Aim, tables: Vec<Table>) -> u64 {
        let flow = self.flow();
        let is_healthy = |table: &Table| {
            let Some(kept) = self.tables.get(table) else {
                return false;
            };
            let is_enabled = matches!(
                self.life.keeper.status(kept.id),
                palladium::keys::TableKeyStatus::Enabled
            );
            kept.fine_since.is_some_and(|since| {
                // A call that was under way when the machine slept is lost, and its table in trouble until the background tries again.
                let fine_for = flow - since.max(self.jumped_at);
                let is_well = fine_for >= HEALED || (is_enabled && fine_for >= SETTLED);
                *table == SYSTEM || is_well
            })
        };
        let is_open = |table: &Table| {
            let kept = self.tables.get(table);
            kept.is_some_and(|kept| self.life.engine.lease_alive(kept.id))
        };
        let request = Request {
            healthy: tables
                .iter()
                .filter(|table| is_healthy(table))
                .copied()
                .collect(),
            open: tables
                .iter()
                .filter(|table| is_open(table))
                .copied()
                .collect(),
            aim,
            tables,
            began: self.now(),
            began_flow: flow,
            clock_moves: self.clock_moves,
            revocations: self.revocations,
        };
        let number = self.requests_made;
        self.requests_made += 1;
        self.requests.insert(number, request);
        number
    }

    pub fn some_table(&self) -> Table {
        let all: Vec<Table> = self.tables.keys().copied().collect();
        self.pick(&all)
            .expect("the server's own table is always there")
    }

    pub fn some_customer_table(&self) -> Option<Table> {
        Some(self.some_table()).filter(|table| *table != SYSTEM)
    }

    pub fn write_some(&mut self) {
        if self.requests.len() >= REQUESTS_MAX {
            return;
        }
        let count = match self.draw(4) {
            0 => 2 + self.draw(3),
            _ => 1,
        };
        let mut wanted = Vec::new();
        let mut places: BTreeSet<(Table, Place)> = BTreeSet::new();
        for _ in 0..count {
            let table = self.some_table();
            let place = (self.draw(PARTITIONS), self.draw(ROWS));
            if !self.is_being_emptied(table) && places.insert((table, place)) {
                let is_deletion = self.draw(8) == 0;
                wanted.push((table, place, is_deletion));
            }
        }
        if !wanted.is_empty() {
            self.write(wanted);
        }
    }

    /// One or more, at once, in a counter.
    pub fn count(&mut self) {
        let table = self.some_table();
        if self.requests.len() >= REQUESTS_MAX || self.is_being_emptied(table) {
            return;
        }
        let partition = self.draw(PARTITIONS);
        for _ in 0..1 + self.draw(4) {
            let request = self.begin(Aim::Count, vec![table]);
            self.say(format!("#{request} counts in {partition} of {table}"));
            self.counts.hand_over(request, table, partition);
            let id = self.tables[&table].id;
            let work = self.life.clone().count(request, id, partition);
            self.life.spawn(work);
        }
    }

    /// One or more, at once, want to change a register, each for what it takes it to hold.
    pub fn compare(&mut self) {
        let table = self.some_table();
        if self.requests.len() >= REQUESTS_MAX || self.is_being_emptied(table) {
            return;
        }
        let partition = self.draw(PARTITIONS);
        let place = (table, partition);
        for _ in 0..1 + self.draw(3) {
            let expected = self.registers.guess(place, |below| self.draw(below));
            let is_batch = self.draw(3) == 0;
            self.values_made += 1;
            let value = self.values_made;
            let floor = self.registers.floor(table);
            let request = self.begin(Aim::Compare { floor, partition }, vec![table]);
            self.say(format!(
                "#{request} makes the register of {partition} of {table} {value} if it is {expected:?}, in a batch: {is_batch}"
            ));
            self.registers
                .hand_over(request, place, expected, value, is_batch);
            let (life, id) = (self.life.clone(), self.tables[&table].id);
            let work = life.compare(request, id, partition, expected, value, is_batch);
            self.life.spawn(work);
        }
    }

    /// A table to which nobody writes is emptied. Nobody begins to, either, until that is over: what is written at that very moment may be from before or from after,
    /// and so may what a crash has left open.
    pub fn truncate(&mut self) {
        let Some(table) = self.some_customer_table() else {
            return;
        };
        let is_settled = self.values.is_settled(table) && self.registers.is_settled(table);
        if self.is_being_written(table) || !is_settled {
            return;
        }
        let request = self.begin(Aim::Truncate, vec![table]);
        self.say(format!("#{request} empties {table}"));
        self.values.hand_over_emptying(request, table);
        self.counts.begin_emptying(request, table);
        self.registers.begin_emptying(request, table);
        let id = self.tables[&table].id;
        let work = self.life.clone().truncate(request, id);
        self.life.spawn(work);
    }

    /// Whether anything is under way that changes rows.
    pub fn is_being_written(&self, table: Table) -> bool {
        self.requests.values().any(|request| {
            let writes = matches!(
                request.aim,
                Aim::Write | Aim::Count | Aim::Compare { .. } | Aim::Truncate | Aim::Derive(_)
            );
            writes && request.tables.contains(&table)
        })
    }

    pub fn is_being_emptied(&self, table: Table) -> bool {
        self.requests
            .values()
            .any(|request| matches!(request.aim, Aim::Truncate) && request.tables.contains(&table))
    }

    /// One write of all these places: of a new value each, or that it is gone.
    pub fn write(&mut self, places: Vec<(Table, Place, bool)>) -> u64 {
        let (mut mutations, mut members) = (Vec::new(), Vec::new());
        for (table, place, is_deletion) in places {
            self.values_made += 1;
            let value = (!is_deletion).then_some(self.values_made);
            let timestamp = self.life.engine.next_timestamp();
            let id = self.tables[&table].id;
            for store in self.written(table) {
                mutations.push(mutation(id, store, place, value, timestamp));
            }
            members.push(Member {
                table,
                place,
                timestamp,
                value,
            });
        }
        let tables: BTreeSet<Table> = members.iter().map(|member| member.table).collect();
        let request = self.begin(Aim::Write, tables.into_iter().collect());
        self.say(format!("#{request} writes {members:?}"));
        self.values.hand_over(request, members);
        let work = self.life.clone().write(request, Write::new(mutations));
        self.life.spawn(work);
        request
    }

    pub fn read_some(&mut self) {
        if self.requests.len() < REQUESTS_MAX {
            let table = self.some_table();
            let store = self
                .pick(&self.readable(table))
                .expect("every table has its base");
            let (partitions, rows) = match store {
                Store::BASE => (PARTITIONS, SECOND + 1),
                _ => (ROWS, PARTITIONS),
            };
            let partition = (self.draw(3) > 0).then(|| self.draw(partitions));
            let wanted = Wanted {
                store,
                partition,
                row: (partition.is_some() && self.draw(2) == 0).then(|| self.draw(rows)),
                page_rows: [u32::MAX, 1 + self.draw(9) as u32][self.draw(2) as usize],
                reversed: self.draw(2) == 0,
                thinks: match self.draw(4) {
                    0 => Duration::from_millis(self.draw(self.lease_seconds * 400)),
                    _ => Duration::ZERO,
                },
            };
            self.read(table, wanted);
        }
    }

    pub fn read(&mut self, table: Table, wanted: Wanted) -> u64 {
        let aim = Aim::Read {
            floor: self.values.floor(table),
            counted: self.counts.floor(table),
            decided: self.registers.floor(table),
            wanted,
        };
        let request = self.begin(aim, vec![table]);
        self.say(format!("#{request} reads {table}: {wanted:?}"));
        let work = self
            .life
            .clone()
            .read(request, self.tables[&table].id, wanted);
        self.life.spawn(work);
        request
    }

    pub fn tidy(&mut self) {
        if self.requests.len() < REQUESTS_MAX {
            let table = self.some_table();
            let merges = self.draw(3) == 0;
            let request = self.begin(Aim::Tidy, vec![table]);
            self.say(format!("#{request} tidies {table}, merging: {merges}"));
            let work = self
                .life
                .clone()
                .tidy(request, self.tables[&table].id, merges);
            self.life.spawn(work);
        }
    }
}
