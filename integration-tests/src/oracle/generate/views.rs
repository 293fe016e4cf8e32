//! CREATE, ALTER and DROP MATERIALIZED VIEW, and what is asked of views.

use super::reads;
use super::tables::{Clock, Column, Role, Table};
use super::values;
use super::world::{View, World};
use super::writes;
use crate::chance::Chance;
use crate::oracle::step::{Purpose, Step};

/// CREATE MATERIALIZED VIEW of some table; most of the time it can be made.
pub fn create(chance: &mut Chance, world: &mut World) -> Step {
    let name = world.name("w");
    let base = &world.tables[world.any_table(chance)];
    let (shape, takes_all) = shape(chance, base, &name);
    let mut conditions: Vec<String> = shape
        .of(Role::Partition)
        .chain(shape.of(Role::Clustering))
        .filter(|_| chance.below(40) > 0)
        .map(|column| format!("{} IS NOT NULL", column.name))
        .collect();
    if chance.below(6) == 0 {
        let keys: Vec<&Column> = base
            .of(Role::Partition)
            .chain(base.of(Role::Clustering))
            .collect();
        let column = match chance.below(8) {
            0 => &base.columns[chance.below(base.columns.len())],
            _ => keys[chance.below(keys.len())],
        };
        let operator = ["=", ">", "<="][chance.below(3)];
        let value = values::value(chance, &column.ty).text;
        conditions.push(format!("{} {operator} {value}", column.name));
    }
    let columns = match takes_all {
        true => "*".to_owned(),
        false => {
            let columns = shape.columns.iter();
            let names: Vec<&str> = columns.map(|column| column.name.as_str()).collect();
            names.join(", ")
        }
    };
    let names = |role| -> Vec<&str> { shape.of(role).map(|column| column.name.as_str()).collect() };
    let clusterings: String = names(Role::Clustering)
        .iter()
        .map(|name| format!(", {name}"))
        .collect();
    let order = match shape.of(Role::Clustering).any(|column| column.descending) {
        false => String::new(),
        true => {
            let orders: Vec<String> = shape
                .of(Role::Clustering)
                .map(|column| {
                    let order = if column.descending { "DESC" } else { "ASC" };
                    format!("{} {order}", column.name)
                })
                .collect();
            format!(" WITH CLUSTERING ORDER BY ({})", orders.join(", "))
        }
    };
    let text = format!(
        "CREATE MATERIALIZED VIEW {name} AS SELECT {columns} FROM {} WHERE {} PRIMARY KEY (({}){clusterings}){order}",
        base.name,
        conditions.join(" AND "),
        names(Role::Partition).join(", "),
    );
    let base = base.name.clone();
    world.views.push(View {
        shape,
        base,
        takes_all,
    });
    Step::plain(Purpose::Write, text)
}

/// The base's columns in other roles, and whether all of them are there.
fn shape(chance: &mut Chance, base: &Table, name: &str) -> (Table, bool) {
    let mut keys: Vec<Column> = base
        .of(Role::Partition)
        .chain(base.of(Role::Clustering))
        .cloned()
        .collect();
    let others: Vec<&Column> = base
        .of(Role::Regular)
        .filter(|column| !column.ty.is_multicell() && column.ty.has_order())
        .collect();
    let taken = match others.len() {
        count if count > 0 && base.clock != Clock::Counter && chance.below(3) > 0 => {
            Some(others[chance.below(count)].clone())
        }
        _ => None,
    };
    let taken_name = taken.as_ref().map(|column| column.name.clone());
    keys.extend(taken);
    for place in (1..keys.len()).rev() {
        keys.swap(place, chance.below(place + 1));
    }
    let partition = 1 + usize::from(keys.len() > 1 && chance.below(4) == 0);
    for (place, column) in keys.iter_mut().enumerate() {
        column.role = match place < partition {
            true => Role::Partition,
            false => Role::Clustering,
        };
        column.descending = column.role == Role::Clustering && chance.below(4) == 0;
    }
    // `*` is refused where there are static columns.
    let takes_all = match base.of(Role::Static).next() {
        Some(_) => chance.below(12) == 0,
        None => chance.below(2) == 0,
    };
    let rest = base
        .of(Role::Regular)
        .filter(|column| Some(&column.name) != taken_name.as_ref())
        .filter(|_| takes_all || chance.below(2) == 0)
        .cloned();
    let mut columns = keys;
    columns.extend(rest);
    let shape = Table {
        name: name.to_owned(),
        columns,
        clock: base.clock,
        expiring: base.expiring,
        options: Vec::new(),
    };
    (shape, takes_all)
}

/// ALTER or DROP of a view.
pub fn change(chance: &mut Chance, world: &mut World) -> Step {
    let place = chance.below(world.views.len().max(1));
    let name = world
        .views
        .get(place)
        .map_or("w9".to_owned(), |view| view.shape.name.clone());
    let text = match chance.below(4) {
        0 => format!(
            "ALTER MATERIALIZED VIEW {name} WITH {}",
            [
                "comment = 'seen'",
                "gc_grace_seconds = 0",
                "default_time_to_live = 10",
                "gc_grace_seconds = 1000",
            ][chance.below(4)]
        ),
        1 => format!("DROP TABLE {name}"),
        _ => {
            if place < world.views.len() {
                world.views.remove(place);
            }
            let exists = ["", "IF EXISTS "][chance.below(2)];
            format!("DROP MATERIALIZED VIEW {exists}{name}")
        }
    };
    Step::plain(Purpose::Write, text)
}

/// A read of a view; seldom a write, which is refused.
pub fn read(chance: &mut Chance, world: &World) -> Option<Step> {
    let view = match world.views.len() {
        0 => return None,
        count => &world.views[chance.below(count)],
    };
    Some(match chance.below(30) {
        0 => writes::write(chance, &view.shape, std::slice::from_ref(&view.shape)),
        1..=8 => {
            // All of it, which shows what the other reads are about.
            Step::plain(Purpose::Read, format!("SELECT * FROM {}", view.shape.name))
        }
        _ => reads::read(chance, &view.shape),
    })
}
