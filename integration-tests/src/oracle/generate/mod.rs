//! Statements from a seed: a schema, writes to it, reads of it, and wrong ones among them.
//!
//! What must hold: the same seed makes the same block, whatever the servers answer; and a statement means the same at whatever time it arrives. So plain
//! writes bear a timestamp out of few (they meet, and values decide), TTLs are far away, and functions of the present moment are left out.
//!
//! In reading order: `types` and `values` (each value as a literal and as bound bytes), `tables`, then `statement`, which `writes`, `select`, `reads` and
//! `json` fill, and `wrong`, which spoils what they made.

pub mod json;
pub mod reads;
pub mod select;
pub mod statement;
pub mod tables;
pub mod types;
pub mod values;
pub mod writes;
pub mod wrong;

use super::step::{Block, Purpose, Step};
use crate::chance::{Chance, mix};

/// A block of a seed: `number` counts the blocks, each with a schema of its own.
pub fn block(seed: u64, number: u64, statements: usize, keyspace: &str) -> Block {
    let mut chance = Chance::new(mix(seed) ^ number);
    let users = tables::user_types(&mut chance);
    let tables: Vec<tables::Table> = (0..1 + chance.below(2))
        .map(|number| tables::table(&mut chance, &users, number))
        .collect();
    let mut steps: Vec<Step> = users
        .iter()
        .map(|user| Step::plain(Purpose::Schema, tables::create_type(user)))
        .chain(
            tables
                .iter()
                .map(|table| Step::plain(Purpose::Schema, table.create())),
        )
        .collect();
    while steps.len() < statements {
        let table = &tables[chance.below(tables.len())];
        let step = match chance.below(2) {
            0 => writes::write(&mut chance, table, &tables),
            _ => reads::read(&mut chance, table),
        };
        let step = match chance.below(10) {
            0 => wrong::mutate(&mut chance, &step),
            _ => step,
        };
        steps.push(step);
    }
    Block {
        source: format!("seed {seed}, block {number}"),
        keyspace: keyspace.to_owned(),
        steps,
        tables: tables.into_iter().map(|table| table.name).collect(),
    }
}
