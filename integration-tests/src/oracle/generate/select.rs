//! What a SELECT asks for: columns, elements, fields, functions, casts, arithmetic, aggregates.

use super::tables::{Clock, Column, Role, Table};
use super::types::{self, Type, is_number};
use super::values;
use crate::chance::Chance;

/// The clause between SELECT and FROM.
pub fn clause(chance: &mut Chance, table: &Table) -> String {
    match chance.below(14) {
        0..=3 => return "*".into(),
        4 => {
            return format!(
                "JSON {}",
                if chance.below(2) == 0 {
                    "*".into()
                } else {
                    list(chance, table, false)
                }
            );
        }
        5 => {
            let columns: Vec<&str> = table
                .columns
                .iter()
                .filter(|column| match column.role {
                    Role::Partition => chance.below(12) > 0,
                    Role::Static => chance.below(2) == 0,
                    _ => chance.below(20) == 0,
                })
                .map(|column| column.name.as_str())
                .collect();
            return format!(
                "DISTINCT {}",
                if columns.is_empty() {
                    "*".into()
                } else {
                    columns.join(", ")
                }
            );
        }
        6 => return ["count(*)", "count(1)", "COUNT(*) AS n"][chance.below(3)].into(),
        _ => {}
    }
    let aggregates = chance.below(4) == 0;
    list(chance, table, aggregates)
}

fn list(chance: &mut Chance, table: &Table, aggregates: bool) -> String {
    let selectors: Vec<String> = (0..1 + chance.below(3))
        .map(|place| {
            let aggregate = aggregates && chance.below(3) > 0;
            let selector = selector(chance, table, aggregate);
            match chance.below(8) {
                0 => format!("{selector} AS a{place}"),
                _ => selector,
            }
        })
        .collect();
    selectors.join(", ")
}

fn selector(chance: &mut Chance, table: &Table, aggregate: bool) -> String {
    let column = &table.columns[chance.below(table.columns.len())];
    if aggregate {
        let inner = match chance.below(3) {
            0 => of_column(chance, table, column),
            _ => column.name.clone(),
        };
        return format!(
            "{}({inner})",
            ["count", "min", "max", "sum", "avg", "MIN"][chance.below(6)]
        );
    }
    match chance.below(3) {
        0 => column.name.clone(),
        _ => of_column(chance, table, column),
    }
}

/// Something that is made of a column, and fits its type most of the time.
pub fn of_column(chance: &mut Chance, table: &Table, column: &Column) -> String {
    let name = column.name.as_str();
    if chance.below(6) == 0 && table.clock == Clock::Explicit {
        let function = ["writetime", "ttl", "maxwritetime", "WRITETIME"][chance.below(4)];
        return format!("{function}({name})");
    }
    if chance.below(6) == 0 {
        return any(chance, table, column);
    }
    match column.ty.bare() {
        Type::Native(native) => of_native(chance, name, native),
        Type::List(_) => collection(chance, name, &column.ty),
        Type::Set(inner) | Type::Map(inner, _) if chance.below(2) == 0 => {
            let one = values::value(chance, inner).text;
            match chance.below(4) {
                0 => format!("{name}[{one}..{}]", values::value(chance, inner).text),
                1 => format!("{name}[..{one}]"),
                2 => format!("{name}[{one}..]"),
                _ => format!("{name}[{one}]"),
            }
        }
        Type::Set(_) | Type::Map(..) => collection(chance, name, &column.ty),
        Type::User(user) => {
            let (field, _) = &user.fields[chance.below(user.fields.len())];
            match chance.below(5) {
                0 => format!("to_json({name}.{field})"),
                _ => format!("{name}.{field}"),
            }
        }
        Type::Vector(..) => {
            let other = values::value(chance, &column.ty).text;
            let function = [
                "similarity_cosine",
                "similarity_euclidean",
                "similarity_dot_product",
            ][chance.below(3)];
            format!("{function}({name}, {other})")
        }
        _ => any(chance, table, column),
    }
}

fn collection(chance: &mut Chance, name: &str, ty: &Type) -> String {
    let functions: &[&str] = match ty.bare() {
        Type::Map(..) => &["map_keys", "map_values", "collection_count", "mapkeys"],
        _ => &[
            "collection_count",
            "collection_min",
            "collection_max",
            "collection_sum",
            "collection_avg",
        ],
    };
    format!("{}({name})", functions[chance.below(functions.len())])
}

fn of_native(chance: &mut Chance, name: &str, native: &str) -> String {
    if is_number(native) {
        return match chance.below(4) {
            0 => format!(
                "{}({name})",
                ["abs", "exp", "log", "log10", "round"][chance.below(5)]
            ),
            1 => format!("CAST({name} AS {})", cast_target(chance)),
            _ => {
                let other = ["1", "2", "0", "-1", "1.5", "3", name][chance.below(7)];
                let operator = ["+", "-", "*", "/", "%"][chance.below(5)];
                match chance.below(2) {
                    0 => format!("{name} {operator} {other}"),
                    _ => format!("-{name} {operator} {other}"),
                }
            }
        };
    }
    match native {
        "timestamp" | "timeuuid" | "date" => match chance.below(6) {
            0 => format!(
                "{name} + {}",
                ["1d", "2h", "1mo", "-3d", "1y"][chance.below(5)]
            ),
            1 => format!("{name} - {}", ["1d", "2h", "1mo", "1w"][chance.below(4)]),
            2 => format!(
                "floor({name}, {})",
                ["1d", "1h", "1mo", "2w", "15m"][chance.below(5)]
            ),
            3 => format!("CAST({name} AS {})", cast_target(chance)),
            _ => {
                let function = [
                    "to_date",
                    "to_timestamp",
                    "to_unix_timestamp",
                    "toDate",
                    "toTimestamp",
                    "toUnixTimestamp",
                    "min_timeuuid",
                    "max_timeuuid",
                    "mintimeuuid",
                    "maxtimeuuid",
                    "dateOf",
                    "unixTimestampOf",
                ][chance.below(12)];
                format!("{function}({name})")
            }
        },
        "time" => match chance.below(2) {
            0 => format!("floor({name}, {})", ["1h", "15m", "1s"][chance.below(3)]),
            _ => format!("CAST({name} AS {})", cast_target(chance)),
        },
        "text" | "varchar" | "ascii" => match chance.below(5) {
            0 => format!("CAST({name} AS {})", cast_target(chance)),
            1 => format!(
                "mask_inner({name}, {}, {})",
                ["1", "null", "0"][chance.below(3)],
                ["1", "2", "null"][chance.below(3)]
            ),
            2 => format!("mask_outer({name}, 1, 1, '#')"),
            3 => format!("textAsBlob({name})"),
            _ => format!("text_as_blob({name})"),
        },
        _ => format!("CAST({name} AS {})", cast_target(chance)),
    }
}

fn cast_target(chance: &mut Chance) -> &'static str {
    types::NATIVES[chance.below(types::NATIVES.len())]
}

/// What takes any type, or anything at all.
fn any(chance: &mut Chance, table: &Table, column: &Column) -> String {
    let name = column.name.as_str();
    match chance.below(14) {
        0 | 1 => format!("to_json({name})"),
        2 => format!("mask_default({name})"),
        3 => format!("mask_null({name})"),
        4 => format!("mask_hash({name})"),
        5 => format!(
            "mask_replace({name}, {})",
            values::value(chance, &column.ty).text
        ),
        6 => {
            let keys: Vec<&str> = table
                .of(Role::Partition)
                .map(|column| column.name.as_str())
                .collect();
            format!("token({})", keys.join(", "))
        }
        7 => format!("({}) {}", column.ty, values::value(chance, &column.ty).text),
        8 => format!("({name}, 1)"),
        9 => format!("[{name}, {name}]"),
        10 => format!("{name}['a']"),
        11 => match &column.ty {
            Type::Native(native) => format!("{native}_as_blob({name})"),
            _ => format!("blob_as_int({name})"),
        },
        12 => format!("(text) '{name}'"),
        _ => format!("CAST({name} AS text)"),
    }
}
