//! INSERT, UPDATE, DELETE and BATCH in full.

use super::statement::Statement;
use super::tables::{Clock, Column, Role, Table};
use super::types::Type;
use super::values;
use crate::chance::Chance;
use crate::oracle::step::{Purpose, Step};

/// A write to a table.
pub fn write(chance: &mut Chance, table: &Table, tables: &[Table]) -> Step {
    let mut statement = Statement::new(chance);
    match chance.below(20) {
        0 => batch(&mut statement, chance, table, tables),
        _ => single(&mut statement, chance, table, true),
    }
    statement.step(chance, Purpose::Write)
}

/// One INSERT, UPDATE or DELETE; `alone` if it may say its own timestamp and conditions.
pub fn single(statement: &mut Statement, chance: &mut Chance, table: &Table, alone: bool) {
    if table.clock == Clock::Counter {
        // What a counter is after it was deleted, Cassandra does not say.
        update(statement, chance, table, alone);
        return;
    }
    match chance.below(10) {
        0..=4 => insert(statement, chance, table, alone),
        5..=7 => update(statement, chance, table, alone),
        _ => delete(statement, chance, table, alone),
    }
}

fn batch(statement: &mut Statement, chance: &mut Chance, table: &Table, tables: &[Table]) {
    let kind = match table.clock {
        Clock::Counter => "COUNTER ",
        _ if chance.below(3) == 0 => "UNLOGGED ",
        _ => "",
    };
    statement.push(format!("BEGIN {kind}BATCH "));
    let of_batch = table.clock == Clock::Explicit && chance.below(3) == 0;
    if of_batch {
        statement.push("USING TIMESTAMP ");
        let timestamp = 1 + chance.below(5) as i64;
        statement.long(chance, timestamp).push(" ");
    }
    for _ in 0..1 + chance.below(4) {
        let other = &tables[chance.below(tables.len())];
        let table = if other.clock == table.clock && chance.below(2) == 0 {
            other
        } else {
            table
        };
        single(statement, chance, table, !of_batch);
        statement.push("; ");
    }
    statement.push("APPLY BATCH");
}

/// `USING`, so that the same write means the same on both servers.
fn using(
    statement: &mut Statement,
    chance: &mut Chance,
    table: &Table,
    conditional: bool,
    with_ttl: bool,
) {
    let mut parts = 0;
    let mut next = |statement: &mut Statement| {
        statement.push(if parts == 0 { " USING " } else { " AND " });
        parts += 1;
    };
    let stamped = match table.clock {
        Clock::Explicit | Clock::Conditional => !conditional,
        _ => false,
    };
    if stamped {
        next(statement);
        let timestamp = 1 + chance.below(5) as i64;
        statement.push("TIMESTAMP ").long(chance, timestamp);
    }
    let ttls: &[i32] = match table.expiring {
        true => &[1, 3, 10, 30, 0],
        // So far away that no clock meets it.
        false => &[100_000, 200_000, 0],
    };
    if with_ttl && chance.below(if table.expiring { 2 } else { 8 }) == 0 {
        next(statement);
        let ttl = ttls[chance.below(ttls.len())];
        statement.push("TTL ").number(chance, ttl);
    }
}

/// Whether this write gets a condition.
fn wants_condition(chance: &mut Chance, table: &Table, alone: bool) -> bool {
    alone && (table.clock == Clock::Conditional && chance.below(3) > 0 || chance.below(60) == 0)
}

fn insert(statement: &mut Statement, chance: &mut Chance, table: &Table, alone: bool) {
    let conditional = wants_condition(chance, table, alone);
    let columns: Vec<&Column> = table
        .columns
        .iter()
        .filter(|column| match column.role {
            Role::Partition => chance.below(80) > 0,
            Role::Clustering => chance.below(30) > 0,
            _ => chance.below(3) > 0,
        })
        .collect();
    if chance.below(10) == 0 {
        json(statement, chance, table, &columns);
    } else {
        let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
        statement.push(format!(
            "INSERT INTO {} ({}) VALUES (",
            table.name,
            names.join(", ")
        ));
        for (place, column) in columns.iter().enumerate() {
            if place > 0 {
                statement.push(", ");
            }
            match column.role {
                Role::Clustering => statement.element(chance, &column.ty),
                _ => statement.term(chance, &column.ty),
            };
        }
        statement.push(")");
    }
    if conditional {
        statement.push(" IF NOT EXISTS");
    }
    using(statement, chance, table, conditional, true);
}

fn json(statement: &mut Statement, chance: &mut Chance, table: &Table, columns: &[&Column]) {
    let fields: Vec<String> = columns
        .iter()
        .map(|column| {
            format!(
                "\"{}\": {}",
                column.name,
                super::json::value(chance, &column.ty)
            )
        })
        .collect();
    let document = format!("{{{}}}", fields.join(", ")).replace('\'', "''");
    statement.push(format!("INSERT INTO {} JSON '{document}'", table.name));
    statement.push(match chance.below(4) {
        0 => " DEFAULT NULL",
        1 => " DEFAULT UNSET",
        _ => "",
    });
}

/// How a WHERE may name rows.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Named {
    Freely,
    /// Each by itself, never several by IN.
    Singly,
    /// Also from one on and up to another.
    InSlices,
}

/// `WHERE` with the whole key, or with as much of it as a delete may have.
fn key(
    statement: &mut Statement,
    chance: &mut Chance,
    table: &Table,
    clusterings: usize,
    named: Named,
) {
    statement.push(" WHERE ");
    let columns = table
        .of(Role::Partition)
        .chain(table.of(Role::Clustering).take(clusterings));
    let count = table.of(Role::Partition).count() + clusterings;
    for (place, column) in columns.enumerate() {
        if place > 0 {
            statement.push(" AND ");
        }
        statement.push(&column.name);
        let last = place + 1 == count && column.role == Role::Clustering;
        match chance.below(12) {
            0 if named != Named::Singly => {
                statement.push(" IN ").list(chance, &column.ty);
            }
            1..=4 if last && named == Named::InSlices => {
                statement
                    .push([" > ", " >= ", " < ", " <= "][chance.below(4)])
                    .term(chance, &column.ty);
            }
            _ => {
                statement.push(" = ");
                match column.role {
                    Role::Clustering => statement.element(chance, &column.ty),
                    _ => statement.term(chance, &column.ty),
                };
            }
        }
    }
}

fn update(statement: &mut Statement, chance: &mut Chance, table: &Table, alone: bool) {
    let conditional = wants_condition(chance, table, alone);
    statement.push(format!("UPDATE {}", table.name));
    using(statement, chance, table, conditional, true);
    statement.push(" SET ");
    let mut columns: Vec<&Column> = table
        .columns
        .iter()
        .filter(|column| matches!(column.role, Role::Regular | Role::Static))
        .filter(|_| chance.below(2) == 0)
        .collect();
    if columns.is_empty() {
        columns.extend(table.columns.last());
    }
    let only_static = columns.iter().all(|column| column.role == Role::Static);
    for (place, column) in columns.iter().enumerate() {
        if place > 0 {
            statement.push(", ");
        }
        assignment(statement, chance, column);
    }
    let clusterings = table.of(Role::Clustering).count();
    let given = if only_static && chance.below(3) > 0 {
        0
    } else {
        clusterings
    };
    // Cassandra appends to a list of the static row once for each row that is named.
    let appends = columns
        .iter()
        .any(|column| column.role == Role::Static && matches!(column.ty, Type::List(_)));
    let named = if appends {
        Named::Singly
    } else {
        Named::Freely
    };
    key(statement, chance, table, given, named);
    if conditional {
        condition(statement, chance, table);
    }
}

fn assignment(statement: &mut Statement, chance: &mut Chance, column: &Column) {
    let name = &column.name;
    match &column.ty {
        Type::Native("counter") => {
            let sign = ["+", "-"][chance.below(2)];
            statement.push(format!("{name} = {name} {sign} "));
            statement.term(chance, &Type::Native("counter"));
        }
        Type::List(inner) => match chance.below(6) {
            0 => {
                statement
                    .push(format!("{name} = {name} + "))
                    .term(chance, &column.ty);
            }
            1 => {
                statement
                    .push(format!("{name} = "))
                    .term(chance, &column.ty)
                    .push(format!(" + {name}"));
            }
            2 => {
                statement
                    .push(format!("{name} = {name} - "))
                    .term(chance, &column.ty);
            }
            3 => {
                statement.push(format!("{name}["));
                let index = chance.below(3) as i32;
                statement
                    .number(chance, index)
                    .push("] = ")
                    .term(chance, inner);
            }
            4 => {
                statement
                    .push(format!("{name} += "))
                    .term(chance, &column.ty);
            }
            _ => {
                statement
                    .push(format!("{name} = "))
                    .term(chance, &column.ty);
            }
        },
        Type::Set(_) => match chance.below(5) {
            0 => {
                statement
                    .push(format!("{name} = {name} + "))
                    .term(chance, &column.ty);
            }
            1 => {
                statement
                    .push(format!("{name} = {name} - "))
                    .term(chance, &column.ty);
            }
            2 => {
                statement
                    .push(format!("{name} += "))
                    .term(chance, &column.ty);
            }
            _ => {
                statement
                    .push(format!("{name} = "))
                    .term(chance, &column.ty);
            }
        },
        Type::Map(key, inner) => match chance.below(5) {
            0 => {
                statement
                    .push(format!("{name} = {name} + "))
                    .term(chance, &column.ty);
            }
            1 => {
                let keys = Type::Set(key.clone());
                statement
                    .push(format!("{name} = {name} - "))
                    .term(chance, &keys);
            }
            2 => {
                statement
                    .push(format!("{name}["))
                    .element(chance, key)
                    .push("] = ")
                    .term(chance, inner);
            }
            _ => {
                statement
                    .push(format!("{name} = "))
                    .term(chance, &column.ty);
            }
        },
        Type::User(user) if chance.below(2) == 0 => {
            let (field, ty) = &user.fields[chance.below(user.fields.len())];
            statement
                .push(format!("{name}.{field} = "))
                .term(chance, ty);
        }
        ty if ty.is_number() && chance.below(4) == 0 => {
            statement
                .push(format!("{name} = {} + ", values::value(chance, ty).text))
                .term(chance, ty);
        }
        ty => {
            statement.push(format!("{name} = ")).term(chance, ty);
        }
    }
}

fn delete(statement: &mut Statement, chance: &mut Chance, table: &Table, alone: bool) {
    let conditional = wants_condition(chance, table, alone);
    statement.push("DELETE ");
    let clusterings = table.of(Role::Clustering).count();
    let mut given = clusterings;
    let mut slices = false;
    if chance.below(2) == 0 {
        let columns: Vec<&Column> = table
            .columns
            .iter()
            .filter(|column| matches!(column.role, Role::Regular | Role::Static))
            .filter(|_| chance.below(3) == 0)
            .collect();
        if !columns.is_empty() && columns.iter().all(|column| column.role == Role::Static) {
            given = 0;
        }
        for (place, column) in columns.iter().enumerate() {
            if place > 0 {
                statement.push(", ");
            }
            statement.push(&column.name);
            match &column.ty {
                Type::List(_) if chance.below(2) == 0 => {
                    let index = chance.below(3) as i32;
                    statement.push("[").number(chance, index).push("]");
                }
                Type::Map(inner, _) | Type::Set(inner) if chance.below(2) == 0 => {
                    statement.push("[").element(chance, inner).push("]");
                }
                Type::User(user) if chance.below(2) == 0 => {
                    let (field, _) = &user.fields[chance.below(user.fields.len())];
                    statement.push(format!(".{field}"));
                }
                _ => {}
            }
        }
        if !columns.is_empty() {
            statement.push(" ");
        }
    } else {
        given = chance.below(clusterings + 1);
        slices = true;
    }
    statement.push(format!("FROM {}", table.name));
    using(statement, chance, table, conditional, false);
    let named = if slices {
        Named::InSlices
    } else {
        Named::Freely
    };
    key(statement, chance, table, given, named);
    if conditional {
        condition(statement, chance, table);
    }
}

/// `IF ...`, with every operator on columns, elements and fields.
fn condition(statement: &mut Statement, chance: &mut Chance, table: &Table) {
    let columns: Vec<&Column> = table
        .columns
        .iter()
        .filter(|column| {
            matches!(column.role, Role::Regular | Role::Static) || chance.below(20) == 0
        })
        .collect();
    if chance.below(4) == 0 || columns.is_empty() {
        statement.push(" IF EXISTS");
        return;
    }
    for place in 0..1 + chance.below(2) {
        let column = columns[chance.below(columns.len())];
        statement
            .push(if place == 0 { " IF " } else { " AND " })
            .push(&column.name);
        let ty = match &column.ty {
            Type::List(inner) if chance.below(3) == 0 => {
                let index = chance.below(3) as i32;
                statement.push("[").number(chance, index).push("]");
                inner
            }
            // Cassandra compares values of a map's elements as if they were keys.
            Type::Map(key, inner) if key == inner && chance.below(2) == 0 => {
                statement.push("[").term(chance, key).push("]");
                inner
            }
            Type::User(user) if chance.below(2) == 0 => {
                let (field, ty) = &user.fields[chance.below(user.fields.len())];
                statement.push(format!(".{field}"));
                ty
            }
            ty => ty,
        };
        let operator = [
            " = ",
            " = ",
            " != ",
            " < ",
            " <= ",
            " > ",
            " >= ",
            " IN ",
            " CONTAINS ",
            " CONTAINS KEY ",
        ][chance.below(10)];
        statement.push(operator);
        match (operator, ty.bare()) {
            (" IN ", _) => statement.list(chance, ty),
            (" CONTAINS ", Type::List(inner) | Type::Set(inner) | Type::Map(_, inner)) => {
                statement.term(chance, inner)
            }
            (" CONTAINS KEY ", Type::Map(key, _)) => statement.term(chance, key),
            _ => statement.term(chance, ty),
        };
    }
}
