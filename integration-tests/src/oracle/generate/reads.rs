//! SELECT: relations of every kind, orders, groups, limits, pages.

use super::select;
use super::statement::Statement;
use super::tables::{Column, Role, Table};
use super::types::Type;
use super::values;
use crate::chance::Chance;
use crate::oracle::step::{Purpose, Step};

/// A read of a table.
pub fn read(chance: &mut Chance, table: &Table) -> Step {
    let mut statement = Statement::new(chance);
    let clause = select::clause(chance, table);
    let distinct = clause.starts_with("DISTINCT");
    statement.push(format!("SELECT {clause} FROM {}", table.name));
    let filtered = relations(&mut statement, chance, table, distinct);
    tail(&mut statement, chance, table);
    let allowed = match filtered {
        true => chance.below(4) > 0,
        false => chance.below(20) == 0,
    };
    if allowed {
        statement.push(" ALLOW FILTERING");
    }
    statement.step(chance, Purpose::Read)
}

fn tail(statement: &mut Statement, chance: &mut Chance, table: &Table) {
    let keys: Vec<&Column> = table
        .of(Role::Partition)
        .chain(table.of(Role::Clustering))
        .collect();
    if chance.below(8) == 0 {
        let partition = table.of(Role::Partition).count();
        let count = match chance.below(4) {
            0 => 1 + chance.below(keys.len()),
            _ => partition + chance.below(keys.len() - partition + 1),
        };
        let mut names: Vec<String> = keys[..count]
            .iter()
            .map(|column| column.name.clone())
            .collect();
        if chance.below(8) == 0 {
            names.push(
                table.columns[chance.below(table.columns.len())]
                    .name
                    .clone(),
            );
        }
        if chance.below(3) == 0 {
            let last = keys[count - 1];
            names[count - 1] = group_function(chance, table, last);
        }
        statement.push(format!(" GROUP BY {}", names.join(", ")));
    }
    let clusterings: Vec<&Column> = table.of(Role::Clustering).collect();
    if chance.below(5) == 0 && !clusterings.is_empty() {
        let reversed = chance.below(2) == 0;
        let parts: Vec<String> = clusterings[..1 + chance.below(clusterings.len())]
            .iter()
            .map(|column| {
                let mut descending = column.descending != reversed;
                if chance.below(12) == 0 {
                    descending = !descending;
                }
                format!(
                    "{} {}",
                    column.name,
                    if descending { "DESC" } else { "ASC" }
                )
            })
            .collect();
        statement.push(format!(" ORDER BY {}", parts.join(", ")));
    } else if chance.below(40) == 0 {
        let column = &table.columns[chance.below(table.columns.len())];
        statement.push(format!(" ORDER BY {}", column.name));
    }
    if chance.below(6) == 0 {
        let limit = 1 + chance.below(3) as i32;
        statement
            .push(" PER PARTITION LIMIT ")
            .number(chance, limit);
    }
    if chance.below(5) == 0 {
        let limit = [1, 2, 3, 5, 100, 0][chance.below(6)];
        statement.push(" LIMIT ").number(chance, limit);
    }
}

/// A function of a column that may make groups, if the column is of a kind of time.
fn group_function(chance: &mut Chance, table: &Table, column: &Column) -> String {
    let name = &column.name;
    let floor = |chance: &mut Chance, steps: [&str; 6]| {
        format!("floor({name}, {})", steps[chance.below(6)])
    };
    match column.ty.bare() {
        Type::Native("timestamp" | "timeuuid") if chance.below(3) > 0 => {
            floor(chance, ["1h", "1d", "1mo", "2w", "1y2d", "500ms"])
        }
        Type::Native("date") if chance.below(3) > 0 => {
            floor(chance, ["1d", "1w", "1mo", "2y", "1mo3d", "1h"])
        }
        Type::Native("time") => floor(chance, ["1h", "15m", "1s", "1us", "0s", "1d"]),
        Type::Native("timestamp" | "timeuuid" | "date") => {
            let function = ["to_date", "to_timestamp", "to_unix_timestamp", "toDate"];
            format!("{}({name})", function[chance.below(4)])
        }
        _ => select::of_column(chance, table, column),
    }
}

/// The WHERE clause. Says whether it needs ALLOW FILTERING, as far as that is easily said.
fn relations(
    statement: &mut Statement,
    chance: &mut Chance,
    table: &Table,
    distinct: bool,
) -> bool {
    let partition: Vec<&Column> = table.of(Role::Partition).collect();
    let clusterings: Vec<&Column> = table.of(Role::Clustering).collect();
    let mut count = 0;
    let mut filtered = false;
    let mut next = |statement: &mut Statement| {
        statement.push(if count == 0 { " WHERE " } else { " AND " });
        count += 1;
    };
    match chance.below(8) {
        0 => {}
        1 => {
            let names: Vec<&str> = partition
                .iter()
                .map(|column| column.name.as_str())
                .collect();
            for _ in 0..1 + chance.below(2) {
                next(statement);
                let operator = [">", ">=", "<", "<=", "="][chance.below(5)];
                statement.push(format!("token({}) {operator} ", names.join(", ")));
                match chance.below(3) {
                    0 => {
                        let token = [0_i64, i64::MIN, 1 << 62, -(1 << 61)][chance.below(4)];
                        statement.long(chance, token);
                    }
                    _ => {
                        let key: Vec<String> = partition
                            .iter()
                            .map(|column| values::value(chance, &column.ty).text)
                            .collect();
                        statement.push(format!("token({})", key.join(", ")));
                    }
                }
            }
        }
        2 => filtered = true,
        _ => {
            for column in &partition {
                if chance.below(40) == 0 {
                    filtered = true;
                    continue;
                }
                next(statement);
                match chance.below(5) {
                    0 => statement
                        .push(format!("{} IN ", column.name))
                        .list(chance, &column.ty),
                    _ => statement
                        .push(format!("{} = ", column.name))
                        .term(chance, &column.ty),
                };
            }
            if !distinct && !clusterings.is_empty() {
                match chance.below(5) {
                    0 => tuple(statement, chance, &clusterings, &mut next),
                    _ => {
                        let equals = chance.below(clusterings.len() + 1);
                        for column in &clusterings[..equals] {
                            next(statement);
                            match chance.below(5) {
                                0 => statement
                                    .push(format!("{} IN ", column.name))
                                    .list(chance, &column.ty),
                                _ => statement
                                    .push(format!("{} = ", column.name))
                                    .term(chance, &column.ty),
                            };
                        }
                        if equals < clusterings.len() && chance.below(2) == 0 {
                            let column = clusterings[equals];
                            let operators = [">", ">=", "<", "<="];
                            for place in 0..1 + chance.below(2) {
                                next(statement);
                                let operator = operators[(chance.below(2) + 2 * place) % 4];
                                statement
                                    .push(format!("{} {operator} ", column.name))
                                    .term(chance, &column.ty);
                            }
                        }
                    }
                }
            }
        }
    }
    let more = if filtered {
        1 + chance.below(3)
    } else {
        usize::from(chance.below(6) == 0)
    };
    for _ in 0..more {
        let column = &table.columns[chance.below(table.columns.len())];
        next(statement);
        filter(statement, chance, column);
        filtered = true;
    }
    filtered
}

/// A relation of several clustering columns at once.
fn tuple(
    statement: &mut Statement,
    chance: &mut Chance,
    clusterings: &[&Column],
    next: &mut impl FnMut(&mut Statement),
) {
    let count = 1 + chance.below(clusterings.len());
    let columns = &clusterings[..count];
    let names: Vec<&str> = columns.iter().map(|column| column.name.as_str()).collect();
    let one = |chance: &mut Chance| {
        let parts: Vec<String> = columns
            .iter()
            .map(|column| values::value(chance, &column.ty).text)
            .collect();
        format!("({})", parts.join(", "))
    };
    next(statement);
    let operator = ["=", ">", ">=", "<", "<=", "IN"][chance.below(6)];
    statement.push(format!("({}) {operator} ", names.join(", ")));
    if operator == "IN" {
        let parts: Vec<String> = (0..chance.below(3)).map(|_| one(chance)).collect();
        statement.push(format!("({})", parts.join(", ")));
    } else {
        let value = one(chance);
        statement.push(value);
        if operator.starts_with('>') && chance.below(2) == 0 {
            let end = one(chance);
            next(statement);
            statement.push(format!("({}) <= {end}", names.join(", ")));
        }
    }
}

/// A relation of any column, with any operator that may make sense for its type.
pub fn filter(statement: &mut Statement, chance: &mut Chance, column: &Column) {
    let name = &column.name;
    if chance.below(4) > 0 {
        match column.ty.bare() {
            Type::List(inner) | Type::Set(inner) => {
                statement
                    .push(format!("{name} CONTAINS "))
                    .term(chance, inner);
                return;
            }
            Type::Map(key, inner) => {
                match chance.below(3) {
                    0 => statement
                        .push(format!("{name} CONTAINS "))
                        .term(chance, inner),
                    1 => statement
                        .push(format!("{name} CONTAINS KEY "))
                        .term(chance, key),
                    _ => statement
                        .push(format!("{name}["))
                        .term(chance, key)
                        .push("] = ")
                        .term(chance, inner),
                };
                return;
            }
            _ => {}
        }
    }
    match chance.below(14) {
        0..=4 => statement
            .push(format!("{name} = "))
            .term(chance, &column.ty),
        5 => statement
            .push(format!("{name} > "))
            .term(chance, &column.ty),
        6 => statement
            .push(format!("{name} <= "))
            .term(chance, &column.ty),
        7 => statement
            .push(format!("{name} >= "))
            .term(chance, &column.ty),
        8 => statement
            .push(format!("{name} < "))
            .term(chance, &column.ty),
        9 => statement
            .push(format!("{name} IN "))
            .list(chance, &column.ty),
        10 => statement
            .push(format!("{name} != "))
            .term(chance, &column.ty),
        11 => statement
            .push(format!("{name} LIKE "))
            .term(chance, &Type::Native("text")),
        12 => statement.push(format!("{name} IS NOT NULL")),
        _ => statement
            .push(format!("{name} CONTAINS "))
            .term(chance, &Type::Native("int")),
    };
}
