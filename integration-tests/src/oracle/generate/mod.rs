//! Statements from a seed: a schema, writes to it, reads of it, changes of it, and wrong ones among them.
//!
//! What must hold: the same seed makes the same block, whatever the servers answer; and a statement means the same at whatever time it arrives. So plain
//! writes bear a timestamp out of few (they meet, and values decide), TTLs are far away or the statements bring their own moment, and functions of the
//! present moment are left out.
//!
//! In reading order: `types` and `values` (each value as a literal and as bound bytes), `tables` and the `world` they stand in, then `statement`, which
//! `writes`, `select`, `reads` and `json` fill; `batches`; `indexes`, `views` and `alter`, which change the world; `wrong`, which spoils what all of them
//! made, and `odd`, statements that never were right; `masks`, which are on by themselves.

pub mod alter;
pub mod batches;
pub mod indexes;
pub mod json;
pub mod masks;
pub mod odd;
pub mod reads;
pub mod select;
pub mod statement;
pub mod tables;
pub mod types;
pub mod values;
pub mod views;
pub mod world;
pub mod writes;
pub mod wrong;

use self::world::{Mood, World};
use super::step::{Block, Purpose, Step};
use crate::chance::{Chance, mix};

/// Where the time of expiring blocks begins: later than any clock, so that no server's own time makes a difference.
const MOMENT_FIRST: i32 = 1_900_000_000;
/// Statements of an expiring block for each second of its time.
const STATEMENTS_OF_SECOND: usize = 8;

/// How much of CQL the blocks speak of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Breadth {
    /// Tables, their writes and reads, and what is wrong with those.
    Core,
    /// The core with masked columns, and a role that may not see behind them; servers ask for logins then.
    Masked,
    /// All that there is.
    Whole,
}

/// A block of a seed: `number` counts the blocks, each with a schema of its own.
pub fn block(seed: u64, number: u64, statements: usize, keyspace: &str, breadth: Breadth) -> Block {
    let mut chance = Chance::new(mix(seed) ^ number);
    let mood = match breadth {
        Breadth::Core | Breadth::Masked => Mood::CORE,
        Breadth::Whole => Mood::of(&mut chance),
    };
    let mut world = World::new(&mut chance, mood);
    if breadth == Breadth::Masked {
        masks::put_on(&mut chance, &mut world);
    }
    let types = world.users.iter().map(|user| tables::create_type(user));
    let tables = world.tables.iter().map(tables::Table::create);
    let mut steps: Vec<Step> = types
        .chain(tables)
        .map(|text| Step::plain(Purpose::Schema, text))
        .collect();
    for _ in 0..if world.mood.indexed { 3 } else { 0 } {
        steps.push(indexes::create(&mut chance, &mut world));
    }
    if world.mood.viewed {
        steps.push(views::create(&mut chance, &mut world));
    }
    while steps.len() < statements {
        let step = match breadth {
            Breadth::Core => write_or_read(&mut chance, &world),
            Breadth::Masked => match chance.below(50) {
                0 => masks::change(&mut chance, &mut world),
                1 => alter::look(&mut chance, &world, keyspace),
                _ => write_or_read(&mut chance, &world),
            },
            Breadth::Whole => step(&mut chance, &mut world, keyspace),
        };
        // A keyspace that is right by chance would outlive the block.
        let is_spoilt = chance.below(10) == 0 && !step.text.contains("KEYSPACE");
        let wrong = is_spoilt.then(|| wrong::mutate(&mut chance, &step));
        // What changes the world comes right after it was said wrong: what follows speaks of it.
        let changes = ["CREATE", "ALTER", "DROP"];
        let is_change = changes.iter().any(|word| step.text.starts_with(word));
        match wrong {
            Some(wrong) if is_change => steps.extend([wrong, step]),
            Some(wrong) => steps.push(wrong),
            None => steps.push(step),
        }
    }
    if breadth == Breadth::Masked {
        let asked = steps.into_iter();
        steps = asked
            .map(|step| masks::asked_by(&mut chance, step))
            .collect();
    }
    if world.mood.expiring {
        for (place, step) in steps.iter_mut().enumerate() {
            let seconds = place / STATEMENTS_OF_SECOND + chance.below(3);
            step.now_seconds = Some(MOMENT_FIRST + seconds as i32);
        }
    }
    Block {
        source: format!("seed {seed}, block {number}"),
        keyspace: keyspace.to_owned(),
        steps,
        tables: world.tables.into_iter().map(|table| table.name).collect(),
    }
}

fn step(chance: &mut Chance, world: &mut World, keyspace: &str) -> Step {
    let mood = world.mood;
    match chance.below(120) {
        0 if mood.indexed => return indexes::create(chance, world),
        1 if mood.indexed => return indexes::drop(chance, world),
        2 if mood.viewed => return views::create(chance, world),
        3 if mood.viewed => return views::change(chance, world),
        4..=8 if mood.altered => return alter::alter(chance, world),
        9..=10 => return alter::look(chance, world, keyspace),
        11..=15 => return odd::statement(chance, world),
        _ => {}
    }
    match chance.below(20) {
        0 => return batches::batch(chance, world),
        1..=4 if mood.indexed => {
            if let Some(step) = indexes::read(chance, world) {
                return step;
            }
        }
        5..=8 if mood.viewed => {
            if let Some(step) = views::read(chance, world) {
                return step;
            }
        }
        _ => {}
    }
    write_or_read(chance, world)
}

fn write_or_read(chance: &mut Chance, world: &World) -> Step {
    let table = &world.tables[world.any_table(chance)];
    match chance.below(2) {
        0 => writes::write(chance, table, &world.tables),
        _ => reads::read(chance, table),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_makes_the_same_statements_every_time() {
        for number in 0..20 {
            let texts = |block: &Block| -> Vec<String> {
                block.steps.iter().map(Step::to_string).collect()
            };
            let (first, second) = (
                block(7, number, 250, "k", Breadth::Whole),
                block(7, number, 250, "k", Breadth::Whole),
            );
            assert_eq!(texts(&first), texts(&second));
        }
    }

    #[test]
    fn blocks_speak_of_all_that_they_should() {
        let mut all = String::new();
        for number in 0..60 {
            for step in block(11, number, 250, "k", Breadth::Whole).steps {
                all.push_str(&format!("{step}\n"));
            }
        }
        for what in [
            "USING 'sai'",
            "(keys(",
            "(entries(",
            "(full(",
            "CREATE MATERIALIZED VIEW",
            "SELECT * FROM w",
            "Logged BATCH",
            "Unlogged BATCH",
            "Counter BATCH",
            "ALTER TYPE",
            "RENAME",
            "MASKED WITH",
            "-- now 19000000",
            "USING TTL",
            "IF NOT EXISTS",
            " JSON '",
            "CREATE FUNCTION",
            "GRANT ",
        ] {
            assert!(all.contains(what), "{what}");
        }
    }
}
