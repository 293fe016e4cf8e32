//! CREATE and DROP INDEX, classic and storage-attached, on every target; and reads that an index may answer.

use super::reads;
use super::select;
use super::statement::Statement;
use super::tables::{Column, Role, Table};
use super::types::Type;
use super::world::{Index, Target, World};
use crate::chance::Chance;
use crate::oracle::step::{Purpose, Step};

/// CREATE INDEX on some column; most of the time it can be made.
pub fn create(chance: &mut Chance, world: &mut World) -> Step {
    let table = &world.tables[world.any_table(chance)];
    let columns: Vec<&Column> = table
        .columns
        .iter()
        .filter(|column| column.role != Role::Partition || chance.below(3) == 0)
        .collect();
    let column = match columns.as_slice() {
        [] => &table.columns[0],
        some => some[chance.below(some.len())],
    };
    let is_of_key = matches!(column.role, Role::Partition | Role::Clustering);
    let (table, column, ty) = (table.name.clone(), column.name.clone(), column.ty.clone());
    let target = match &ty {
        _ if chance.below(15) == 0 => any_target(chance),
        Type::Map(..) => [
            Target::Values,
            Target::Keys,
            Target::Entries,
            Target::Simple,
        ][chance.below(4)],
        Type::List(_) | Type::Set(_) => [Target::Values, Target::Simple][chance.below(2)],
        Type::Frozen(inner) if matches!(**inner, Type::List(_) | Type::Set(_) | Type::Map(..)) => {
            Target::Full
        }
        _ => Target::Simple,
    };
    // A classic index of a key's column expires by Cassandra's own clock, whatever moment a statement brings.
    let is_sai = chance.below(2) == 0 || (is_of_key && world.mood.expiring);
    let name = world.name("i");
    let on = match target {
        Target::Simple => column.clone(),
        Target::Values => format!("values({column})"),
        Target::Keys => format!("keys({column})"),
        Target::Entries => format!("entries({column})"),
        Target::Full => format!("full({column})"),
    };
    let given = match chance.below(8) {
        0 => "",
        1 => "IF NOT EXISTS ",
        _ => name.as_str(),
    };
    let given = match given {
        "IF NOT EXISTS " => format!("IF NOT EXISTS {name}"),
        other => other.to_owned(),
    };
    let text = match is_sai {
        true => {
            let options = match (&ty, chance.below(3)) {
                (Type::Native("text" | "varchar" | "ascii"), 0) => {
                    let (option, value) = [
                        ("case_sensitive", "false"),
                        ("normalize", "true"),
                        ("ascii", "true"),
                        ("case_sensitive", "maybe"),
                    ][chance.below(4)];
                    format!(" WITH OPTIONS = {{'{option}': '{value}'}}")
                }
                (Type::Vector(..), 0) => {
                    let function = ["euclidean", "COSINE", "dot_product"][chance.below(3)];
                    format!(" WITH OPTIONS = {{'similarity_function': '{function}'}}")
                }
                _ => String::new(),
            };
            match chance.below(2) {
                0 => format!("CREATE INDEX {given} ON {table} ({on}) USING 'sai'{options}"),
                _ => format!(
                    "CREATE CUSTOM INDEX {given} ON {table} ({on}) USING 'StorageAttachedIndex'{options}"
                ),
            }
        }
        false => format!("CREATE INDEX {given} ON {table} ({on})"),
    };
    world.indexes.push(Index {
        name,
        table,
        column,
        target,
        is_sai,
    });
    Step::plain(Purpose::Write, text)
}

fn any_target(chance: &mut Chance) -> Target {
    [
        Target::Simple,
        Target::Values,
        Target::Keys,
        Target::Entries,
        Target::Full,
    ][chance.below(5)]
}

/// DROP INDEX of one that was made, or of none.
pub fn drop(chance: &mut Chance, world: &mut World) -> Step {
    let exists = ["", "", "IF EXISTS "][chance.below(3)];
    let name = match world.indexes.len() {
        0 => "i9".to_owned(),
        count => {
            let place = chance.below(count);
            world.indexes.remove(place).name
        }
    };
    Step::plain(Purpose::Write, format!("DROP INDEX {exists}{name}"))
}

/// A read that one of the indexes may answer.
pub fn read(chance: &mut Chance, world: &World) -> Option<Step> {
    let index = match world.indexes.len() {
        0 => return None,
        count => &world.indexes[chance.below(count)],
    };
    let table = world.table(&index.table)?;
    let mut statement = Statement::new(chance);
    let clause = match chance.below(3) {
        0 => select::clause(chance, table),
        _ => "*".to_owned(),
    };
    statement.push(format!("SELECT {clause} FROM {} WHERE ", table.name));
    indexed(&mut statement, chance, table, index)?;
    let mut more = false;
    if chance.below(4) == 0 {
        for column in table.of(Role::Partition) {
            statement
                .push(format!(" AND {} = ", column.name))
                .term(chance, &column.ty);
        }
        for column in table.of(Role::Clustering).take(chance.below(3)) {
            statement
                .push(format!(" AND {} = ", column.name))
                .term(chance, &column.ty);
        }
    }
    let others: Vec<&Index> = world
        .indexes
        .iter()
        .filter(|other| other.table == table.name)
        .collect();
    for _ in 0..[0, 0, 1, 1, 2][chance.below(5)] {
        statement.push(" AND ");
        let other = others[chance.below(others.len())];
        indexed(&mut statement, chance, table, other)?;
        more = true;
    }
    if chance.below(4) == 0 {
        statement.push(" AND ");
        let column = &table.columns[chance.below(table.columns.len())];
        reads::filter(&mut statement, chance, column);
        more = true;
    }
    if chance.below(4) == 0 {
        let limit = [1, 2, 3, 100][chance.below(4)];
        statement.push(" LIMIT ").number(chance, limit);
    }
    if chance.below(if more { 2 } else { 6 }) == 0 {
        statement.push(" ALLOW FILTERING");
    }
    Some(statement.step(chance, Purpose::Read))
}

/// A relation that suits what the index holds. None if the column is gone.
fn indexed(
    statement: &mut Statement,
    chance: &mut Chance,
    table: &Table,
    index: &Index,
) -> Option<()> {
    let column = table
        .columns
        .iter()
        .find(|column| column.name == index.column)?;
    let name = &column.name;
    match (index.target, column.ty.bare()) {
        (Target::Keys, Type::Map(key, _)) => {
            statement
                .push(format!("{name} CONTAINS KEY "))
                .term(chance, key);
        }
        (Target::Entries, Type::Map(key, value)) => {
            let operator = match index.is_sai {
                true => ["=", "=", ">", "<="][chance.below(4)],
                false => "=",
            };
            statement
                .push(format!("{name}["))
                .term(chance, key)
                .push(format!("] {operator} "))
                .term(chance, value);
        }
        (
            Target::Values | Target::Simple,
            Type::List(inner) | Type::Set(inner) | Type::Map(_, inner),
        ) if column.ty.is_multicell() => {
            statement
                .push(format!("{name} CONTAINS "))
                .term(chance, inner);
        }
        _ if index.is_sai && chance.below(2) == 0 => {
            let operator = [">", ">=", "<", "<="][chance.below(4)];
            statement
                .push(format!("{name} {operator} "))
                .term(chance, &column.ty);
            if chance.below(2) == 0 {
                let other = if operator.starts_with('>') { "<=" } else { ">" };
                statement
                    .push(format!(" AND {name} {other} "))
                    .term(chance, &column.ty);
            }
        }
        _ if chance.below(12) == 0 => {
            statement
                .push(format!("{name} IN "))
                .list(chance, &column.ty);
        }
        _ => {
            statement
                .push(format!("{name} = "))
                .term(chance, &column.ty);
        }
    }
    Some(())
}
