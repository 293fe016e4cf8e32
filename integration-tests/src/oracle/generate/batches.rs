//! BATCH messages of the protocol: every kind, with plain and prepared members and a timestamp of their own.

use super::reads;
use super::statement::Statement;
use super::tables::Clock;
use super::world::World;
use super::writes;
use crate::chance::Chance;
use crate::oracle::step::{Batch, BatchKind, Member, Purpose, Step};

/// A BATCH about one or more tables.
pub fn batch(chance: &mut Chance, world: &World) -> Step {
    let table = &world.tables[world.any_table(chance)];
    let kind = match (table.clock, chance.below(10)) {
        (Clock::Counter, 1..) => BatchKind::Counter,
        (_, 0) => [BatchKind::Logged, BatchKind::Unlogged, BatchKind::Counter][chance.below(3)],
        (_, 1..=4) => BatchKind::Unlogged,
        _ => BatchKind::Logged,
    };
    // The batch's timestamp in place of the members' own; counters and conditions take none.
    let timestamp = match table.clock {
        Clock::Explicit if chance.below(2) == 0 => Some(1 + chance.below(5) as i64),
        Clock::Counter if chance.below(20) == 0 => Some(3),
        _ => None,
    };
    let members = (0..chance.below(5))
        .map(|_| {
            let other = &world.tables[world.any_table(chance)];
            let table = match other.clock == table.clock || chance.below(15) == 0 {
                true => other,
                false => table,
            };
            member(chance, world, table, timestamp.is_none())
        })
        .collect();
    Step::batch(Batch {
        kind,
        timestamp,
        members,
    })
}

fn member(chance: &mut Chance, world: &World, table: &super::tables::Table, alone: bool) -> Member {
    let step = match chance.below(60) {
        0 => reads::read(chance, table),
        1 => writes::write(chance, table, &world.tables),
        _ => {
            let mut statement = Statement::new(chance);
            writes::single(&mut statement, chance, table, alone);
            statement.step(chance, Purpose::Write)
        }
    };
    Member {
        text: step.text,
        values: step.values,
        prepared: step.prepared,
    }
}
