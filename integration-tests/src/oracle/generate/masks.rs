//! Masks of columns, and who asks: a role that may not see behind them, or a superuser.
//!
//! Both servers ask for logins then (`oracle --masked`); `reader` has SELECT and MODIFY of everything, and neither UNMASK nor SELECT_MASKED.

use super::types::Type;
use super::values;
use super::world::World;
use crate::chance::Chance;
use crate::oracle::step::{Purpose, Step};

/// Some columns get a mask.
pub fn put_on(chance: &mut Chance, world: &mut World) {
    for column in world.tables.iter_mut().flat_map(|table| &mut table.columns) {
        if chance.below(3) == 0 {
            column.mask = Some(of_type(chance, &column.ty));
        }
    }
}

/// A mask that fits this type.
fn of_type(chance: &mut Chance, ty: &Type) -> String {
    let is_text = matches!(ty, Type::Native("text" | "varchar" | "ascii"));
    match chance.below(8) {
        0 => "mask_null()".into(),
        1 => "DEFAULT".into(),
        2 if is_text => "mask_inner(1, null)".into(),
        3 if is_text => "mask_outer(1, 1)".into(),
        4 if is_text => "mask_inner(0, 1, '#')".into(),
        5 if matches!(ty, Type::Native("blob")) => "mask_hash()".into(),
        2..=5 => format!("mask_replace({})", values::value(chance, ty).text),
        _ => "mask_default()".into(),
    }
}

/// Another mask on a column, or none; seldom one that does not fit.
pub fn change(chance: &mut Chance, world: &mut World) -> Step {
    let place = world.any_table(chance);
    let table = &mut world.tables[place];
    let column = chance.below(table.columns.len());
    let column = &mut table.columns[column];
    let text = match chance.below(4) {
        0 => "DROP MASKED".to_owned(),
        1 => {
            let other = super::types::native(chance);
            format!("MASKED WITH {}", of_type(chance, &other))
        }
        _ => format!("MASKED WITH {}", of_type(chance, &column.ty)),
    };
    let text = format!("ALTER TABLE {} ALTER {} {text}", table.name, column.name);
    Step::plain(Purpose::Write, text)
}

/// Who asks: of reads mostly the one who sees masks.
pub fn asked_by(chance: &mut Chance, step: Step) -> Step {
    let by_reader = match step.purpose {
        Purpose::Schema => false,
        Purpose::Write => {
            let changes = ["CREATE", "ALTER", "DROP"];
            !changes.iter().any(|word| step.text.starts_with(word)) && chance.below(5) == 0
        }
        Purpose::Read | Purpose::Wrong => chance.below(5) > 0,
    };
    Step { by_reader, ..step }
}
