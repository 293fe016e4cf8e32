//! Changes of a schema that is in use: ALTER TABLE and ALTER TYPE, TRUNCATE, and what the server says of its schema.

use super::tables::{Clock, Column, Role};
use super::types::{self, Type, UserType};
use super::world::World;
use crate::chance::Chance;
use crate::oracle::step::{Purpose, Step};

/// One change.
pub fn alter(chance: &mut Chance, world: &mut World) -> Step {
    let text = match chance.below(12) {
        0..=2 => add(chance, world),
        3..=4 => drop(chance, world),
        5..=6 => rename(chance, world),
        7..=8 => alter_type(chance, world),
        9 => mask(chance, world),
        10 => options(chance, world),
        _ => {
            let table = &world.tables[world.any_table(chance)];
            format!("TRUNCATE {}", table.name)
        }
    };
    Step::plain(Purpose::Write, text)
}

fn add(chance: &mut Chance, world: &mut World) -> String {
    let place = world.any_table(chance);
    let mut parts = Vec::new();
    for _ in 0..1 + usize::from(chance.below(4) == 0) {
        let table = &world.tables[place];
        let ty = match table.clock {
            Clock::Counter => Type::Native("counter"),
            _ => types::regular(chance, &world.users),
        };
        let has_rows = table.of(Role::Clustering).next().is_some();
        let role = match chance.below(5) == 0 && (has_rows || chance.below(5) == 0) {
            true => Role::Static,
            false => Role::Regular,
        };
        let is_made = role == Role::Regular || has_rows;
        let column = Column {
            name: world.name("v"),
            ty,
            role,
            descending: false,
            mask: None,
        };
        let suffix = if role == Role::Static { " static" } else { "" };
        parts.push(format!("{} {}{suffix}", column.name, column.ty));
        if is_made {
            world.add_column(place, &column);
        }
    }
    let parts = match (parts.len(), chance.below(2)) {
        (1, 0) => parts.join(", "),
        (_, 0) => format!("({})", parts.join(", ")),
        _ => parts.join(", "),
    };
    format!("ALTER TABLE {} ADD {parts}", world.tables[place].name)
}

fn drop(chance: &mut Chance, world: &mut World) -> String {
    let place = world.any_table(chance);
    let table = &world.tables[place];
    let table_name = table.name.clone();
    let candidates: Vec<String> = table
        .columns
        .iter()
        .filter(|column| {
            matches!(column.role, Role::Regular | Role::Static) || chance.below(20) == 0
        })
        .map(|column| column.name.clone())
        .collect();
    let Some(name) = candidates.get(chance.below(candidates.len().max(1))) else {
        return format!("ALTER TABLE {table_name} DROP nope");
    };
    let is_key = table.columns.iter().any(|column| {
        column.name == *name && matches!(column.role, Role::Partition | Role::Clustering)
    });
    if !is_key && !world.has_views(&table_name) && !world.has_index(&table_name, name) {
        let columns = &mut world.tables[place].columns;
        columns.retain(|column| column.name != *name);
    }
    match chance.below(4) {
        0 => format!("ALTER TABLE {table_name} DROP ({name})"),
        1 => format!("ALTER TABLE {table_name} DROP {name} USING TIMESTAMP 3"),
        _ => format!("ALTER TABLE {table_name} DROP {name}"),
    }
}

fn rename(chance: &mut Chance, world: &mut World) -> String {
    let place = world.any_table(chance);
    let to = world.name("r");
    let table = &world.tables[place];
    let (table_name, is_key) = (table.name.clone(), chance.below(8) > 0);
    let candidates: Vec<&Column> = table
        .columns
        .iter()
        .filter(|column| matches!(column.role, Role::Partition | Role::Clustering) == is_key)
        .collect();
    let Some(column) = candidates.get(chance.below(candidates.len().max(1))) else {
        return format!("ALTER TABLE {table_name} RENAME nope TO {to}");
    };
    let from = column.name.clone();
    // To the name of another column, now and then.
    if chance.below(10) == 0 {
        let other = &table.columns[chance.below(table.columns.len())].name;
        return format!("ALTER TABLE {table_name} RENAME {from} TO {other}");
    }
    if is_key && !world.has_index(&table_name, &from) {
        world.rename_column(place, &from, &to);
    }
    format!("ALTER TABLE {table_name} RENAME {from} TO {to}")
}

fn alter_type(chance: &mut Chance, world: &mut World) -> String {
    if world.users.is_empty() {
        return "ALTER TYPE u0 ADD f9 int".to_owned();
    }
    let number = chance.below(world.users.len());
    let user = world.users[number].clone();
    let fresh = world.name("f");
    let mut fields = user.fields.clone();
    // Cassandra goes on with the type as it was wherever a vector is made of it, until it is started again.
    let mut columns = world.tables.iter().flat_map(|table| &table.columns);
    if columns.any(|column| column.ty.has_vectors_of_user(&user.name)) {
        return format!("ALTER TYPE {} ADD {} int", user.name, fields[0].0);
    }
    let text = match chance.below(5) {
        0 => {
            let place = chance.below(fields.len());
            let from = std::mem::replace(&mut fields[place].0, fresh.clone());
            format!("ALTER TYPE {} RENAME {from} TO {fresh}", user.name)
        }
        1 => {
            return format!(
                "ALTER TYPE {} {}",
                user.name,
                [
                    "ADD f0 int",
                    "RENAME nope TO f0",
                    "ALTER f0 TYPE text",
                    "ADD x nope",
                    "ADD IF NOT EXISTS f0 int",
                ][chance.below(5)]
            );
        }
        _ => {
            let ty = match types::regular(chance, &world.users[..number]) {
                ty if ty.is_multicell() => Type::Frozen(Box::new(ty)),
                ty => ty,
            };
            let text = format!("ALTER TYPE {} ADD {fresh} {ty}", user.name);
            fields.push((fresh, ty));
            let in_partition_keys = world.tables.iter().any(|table| {
                table
                    .of(Role::Partition)
                    .any(|column| column.ty.names_user(&user.name))
            });
            if in_partition_keys {
                return text;
            }
            text
        }
    };
    let name = user.name.clone();
    world.replace_user(number, UserType { name, fields });
    text
}

/// Masks; where they are off both servers say so.
fn mask(chance: &mut Chance, world: &World) -> String {
    let table = &world.tables[world.any_table(chance)];
    let column = &table.columns[chance.below(table.columns.len())];
    let action = match chance.below(7) {
        0 => "DROP MASKED",
        1 => "MASKED WITH DEFAULT",
        2 => "MASKED WITH mask_null()",
        3 => "MASKED WITH mask_default()",
        4 => "MASKED WITH mask_inner(1, null)",
        5 => "MASKED WITH mask_replace(1)",
        _ => "MASKED WITH mask_hash()",
    };
    format!("ALTER TABLE {} ALTER {} {action}", table.name, column.name)
}

fn options(chance: &mut Chance, world: &World) -> String {
    let table = &world.tables[world.any_table(chance)];
    let option = [
        "comment = 'a table'",
        "gc_grace_seconds = 1000",
        "gc_grace_seconds = -1",
        "compaction = {'class': 'LeveledCompactionStrategy'}",
        "compaction = {'class': 'NoStrategy'}",
        "compression = {'class': 'LZ4Compressor', 'chunk_length_in_kb': 3}",
        "caching = {'keys': 'ALL', 'rows_per_partition': 'some'}",
        "bloom_filter_fp_chance = 2",
        "default_time_to_live = -1",
        "speculative_retry = '99p'",
        "min_index_interval = 0",
        "nope = 1",
        "memtable = 'default'",
        "cdc = true",
    ][chance.below(14)];
    format!("ALTER TABLE {} WITH {option}", table.name)
}

/// What the servers' own tables and DESCRIBE say, as far as nothing in it is a server's own.
pub fn look(chance: &mut Chance, world: &World, keyspace: &str) -> Step {
    let table = &world.tables[world.any_table(chance)].name;
    let of_table = format!("WHERE keyspace_name = '{keyspace}' AND table_name = '{table}'");
    let view = world
        .views
        .first()
        .map_or("w9", |view| view.shape.name.as_str());
    let index = world
        .indexes
        .first()
        .map_or("i9", |index| index.name.as_str());
    let text = match chance.below(10) {
        0 => format!(
            "SELECT column_name, clustering_order, column_name_bytes, kind, position, type FROM system_schema.columns {of_table}"
        ),
        1 => format!("SELECT * FROM system_schema.indexes {of_table}"),
        2 => {
            format!("SELECT column_name, kind, type FROM system_schema.dropped_columns {of_table}")
        }
        3 => format!("SELECT * FROM system_schema.types WHERE keyspace_name = '{keyspace}'"),
        4 => format!(
            "SELECT view_name, base_table_name, include_all_columns, where_clause FROM system_schema.views WHERE keyspace_name = '{keyspace}'"
        ),
        5 => format!("SELECT * FROM system_schema.column_masks {of_table}"),
        6 => format!("DESCRIBE TABLE {table}"),
        7 => format!("DESCRIBE MATERIALIZED VIEW {view}"),
        8 => format!("DESCRIBE INDEX {index}"),
        _ => "DESCRIBE TYPES".to_owned(),
    };
    Step::plain(Purpose::Read, text)
}
