//! Statements of every kind from a small grammar whose rules now and then take something that does not belong there: a type for a name, a keyword for a
//! value, a clause twice, a clause not at all.
//!
//! What must hold: whatever comes out is answered, and never with a server's own failure. Keyspaces and roles outlive a block, so what would make or
//! change one is always wrong. `schema` has the rules of schema statements.

mod schema;

use super::tables::Table;
use super::types;
use super::values;
use super::world::World;
use crate::chance::Chance;
use crate::oracle::step::{Purpose, Step};

/// One in this many rules goes wrong.
const ODDITY: usize = 14;

/// A statement.
pub fn statement(chance: &mut Chance, world: &World) -> Step {
    let mut text = match chance.below(24) {
        0..=2 => select(chance, world),
        3 => insert(chance, world),
        4 => update(chance, world),
        5 => delete(chance, world),
        6 => batch(chance, world),
        7..=8 => schema::create_table(chance, world),
        9 => schema::create_type(chance, world),
        10 => schema::create_index(chance, world),
        11 => schema::create_view(chance, world),
        12..=13 => schema::alter(chance, world),
        14 => schema::drop(chance, world),
        15 => schema::keyspace(chance),
        16..=17 => schema::function(chance, world),
        18 => schema::trigger(chance, world),
        19..=20 => schema::role(chance, world),
        21 => schema::describe(chance, world),
        22 => format!(
            "{} {}",
            ["TRUNCATE", "TRUNCATE TABLE", "USE"][chance.below(3)],
            {
                let name = ["nope", "\"\"", "9", "system.nope", "nope.nope", "'x'"];
                name[chance.below(name.len())]
            }
        ),
        _ => letters(chance),
    };
    match chance.below(25) {
        0 => text.push_str(" ALLOW FILTERING"),
        1 => text.push_str("; SELECT * FROM t0"),
        2 => text = format!("/* {text}"),
        3 => text.push_str(" -- the end"),
        _ => {}
    }
    Step {
        prepared: chance.below(6) == 0,
        ..Step::plain(Purpose::Wrong, text)
    }
}

/// What never fits.
fn odd(chance: &mut Chance) -> String {
    const ODD: [&str; 30] = [
        "",
        "null",
        "?",
        ":x",
        "''",
        "'it''s",
        "\"",
        "$$",
        "0x",
        "0xg",
        "1.",
        ".5",
        "1e400",
        "99999999999999999999",
        "-",
        "NaN",
        "(",
        "))",
        "[1",
        "{1: }",
        "{'a': 1, 2}",
        "*",
        "token",
        "SELECT",
        "frozen<",
        "uuid(1)",
        "(int) 'x'",
        "1 + ",
        "é",
        "\u{0}",
    ];
    ODD[chance.below(ODD.len())].to_owned()
}

fn or_odd(chance: &mut Chance, right: impl FnOnce(&mut Chance) -> String) -> String {
    match chance.below(ODDITY) {
        0 => odd(chance),
        _ => right(chance),
    }
}

fn table(chance: &mut Chance, world: &World) -> String {
    or_odd(chance, |chance| match chance.below(10) {
        0 => "nope".to_owned(),
        1 => "nope.t0".to_owned(),
        2 => "system.local".to_owned(),
        3 => "\"T0\"".to_owned(),
        4 => "w11".to_owned(),
        _ => some_table(chance, world).name.clone(),
    })
}

fn some_table<'w>(chance: &mut Chance, world: &'w World) -> &'w Table {
    &world.tables[world.any_table(chance)]
}

fn column(chance: &mut Chance, world: &World) -> String {
    or_odd(chance, |chance| match chance.below(8) {
        0 => "nope".to_owned(),
        1 => "\"P0\"".to_owned(),
        _ => {
            let table = some_table(chance, world);
            table.columns[chance.below(table.columns.len())]
                .name
                .clone()
        }
    })
}

fn new_name(chance: &mut Chance) -> String {
    or_odd(chance, |chance| {
        let long = "n".repeat(230);
        match chance.below(8) {
            0 => long,
            1 => "\"with space\"".to_owned(),
            2 => "table".to_owned(),
            3 => "\"\"".to_owned(),
            4 => "t0".to_owned(),
            _ => format!("odd{}", chance.below(4)),
        }
    })
}

fn ty(chance: &mut Chance, world: &World) -> String {
    or_odd(chance, |chance| match chance.below(16) {
        0 => "nope".to_owned(),
        1 => "list<counter>".to_owned(),
        2 => "frozen<int>".to_owned(),
        3 => "map<int>".to_owned(),
        4 => "set<list<int>>".to_owned(),
        5 => "vector<int, 0>".to_owned(),
        6 => "tuple<>".to_owned(),
        7 => "'nope.Type'".to_owned(),
        8 => "duration".to_owned(),
        9 => "vector<text, 99999>".to_owned(),
        10 => "counter".to_owned(),
        _ => types::regular(chance, &world.users).to_string(),
    })
}

fn value(chance: &mut Chance, world: &World) -> String {
    or_odd(chance, |chance| match chance.below(12) {
        0 => "nope(1)".to_owned(),
        1 => "min_timeuuid('x')".to_owned(),
        2 => "(bigint) 1 + 2".to_owned(),
        3 => "{a: 1}".to_owned(),
        4 => "nested".to_owned(),
        5 => {
            // Deeper than any value; each parser has its own limit. Cassandra takes twice as long for each level, and for 40 of them for ever.
            let depth = [5, 10, 15][chance.below(3)];
            format!("{}{}", "[".repeat(depth), "]".repeat(depth))
        }
        _ => {
            let ty = types::regular(chance, &world.users);
            values::value(chance, &ty).text
        }
    })
}

fn list(chance: &mut Chance, most: usize, mut one: impl FnMut(&mut Chance) -> String) -> String {
    let parts: Vec<String> = (0..chance.below(most + 1)).map(|_| one(chance)).collect();
    parts.join(", ")
}

fn relations(chance: &mut Chance, world: &World) -> String {
    let parts: Vec<String> = (0..1 + chance.below(3))
        .map(|_| {
            let name = column(chance, world);
            let operators = [
                "=",
                "<",
                ">=",
                "!=",
                "IN",
                "CONTAINS",
                "CONTAINS KEY",
                "LIKE",
                "IS NOT",
                "BETWEEN",
            ];
            let operator = operators[chance.below(operators.len())];
            let value = value(chance, world);
            match (operator, chance.below(12)) {
                (_, 0) => format!("token({name}) {operator} {value}"),
                (_, 1) => format!("({name}, {name}) {operator} ({value})"),
                (_, 2) => format!("{name}[{value}] {operator} {value}"),
                ("IN", 3..=10) => format!("{name} IN ({value}, {value})"),
                ("IS NOT", 3..=10) => format!("{name} IS NOT NULL"),
                _ => format!("{name} {operator} {value}"),
            }
        })
        .collect();
    format!(" WHERE {}", parts.join(" AND "))
}

fn maybe(chance: &mut Chance, one_in: usize, text: impl FnOnce(&mut Chance) -> String) -> String {
    match chance.below(one_in) {
        0 => text(chance),
        _ => String::new(),
    }
}

fn select(chance: &mut Chance, world: &World) -> String {
    let clause = match chance.below(6) {
        0 => "*".to_owned(),
        1 => format!("JSON {}", column(chance, world)),
        2 => format!("DISTINCT {}", column(chance, world)),
        3 => {
            let functions = [
                "nope",
                "count",
                "sum",
                "token",
                "cast",
                "writetime",
                "ttl",
                "similarity_cosine",
                "collection_max",
                "mask_inner",
                "blob_as_text",
                "toJson",
            ];
            let function = functions[chance.below(functions.len())];
            let arguments = list(chance, 3, |chance| match chance.below(2) {
                0 => column(chance, world),
                _ => value(chance, world),
            });
            format!("{function}({arguments})")
        }
        _ => list(chance, 3, |chance| column(chance, world)),
    };
    let table = table(chance, world);
    let relations = maybe(chance, 2, |chance| relations(chance, world));
    let mut text = format!("SELECT {clause} FROM {table}{relations}");
    let group = maybe(chance, 6, |chance| {
        format!(" GROUP BY {}", column(chance, world))
    });
    let order = maybe(chance, 6, |chance| {
        format!(
            " ORDER BY {}{}",
            column(chance, world),
            ["", " DESC", " ANN OF [1]", " UP"][chance.below(4)]
        )
    });
    let limit = maybe(chance, 6, |chance| {
        let limits = ["0", "-1", "null", "'1'", "99999999999", "1"];
        let limit = limits[chance.below(limits.len())];
        [" LIMIT ", " PER PARTITION LIMIT "][chance.below(2)].to_owned() + limit
    });
    let mut clauses = [group, order, limit];
    if chance.below(10) == 0 {
        clauses.swap(0, 2);
    }
    text.push_str(&clauses.concat());
    text
}

fn using(chance: &mut Chance) -> String {
    let usings = [
        " USING TTL -1",
        " USING TTL 999999999",
        " USING TIMESTAMP null",
        " USING TTL 'x'",
        " USING TIMESTAMP 1 AND TIMESTAMP 2",
        " USING TIMESTAMP -9223372036854775808",
        " USING NOPE 1",
        " USING TTL 1 AND TIMESTAMP 1 AND TTL 1",
    ];
    maybe(chance, 4, |chance| {
        usings[chance.below(usings.len())].to_owned()
    })
}

fn condition(chance: &mut Chance, world: &World) -> String {
    maybe(chance, 4, |chance| match chance.below(5) {
        0 => " IF EXISTS".to_owned(),
        1 => " IF NOT EXISTS".to_owned(),
        _ => format!(
            " IF {} {} {}",
            column(chance, world),
            ["=", "IN", "CONTAINS", ">", "IS NOT"][chance.below(5)],
            value(chance, world)
        ),
    })
}

fn insert(chance: &mut Chance, world: &World) -> String {
    let table = table(chance, world);
    if chance.below(4) == 0 {
        let documents = [
            "'{}'",
            "'[1]'",
            "'{\"p0\": 1'",
            "'{\"p0\": null}'",
            "'{\"\\\"P0\\\"\": 1}'",
            "'{\"p0\": 1, \"p0\": 2}'",
            "'null'",
            "1",
            "'{\"p0\": {\"a\": [1, {}]}}'",
        ];
        let document = documents[chance.below(documents.len())];
        return format!("INSERT INTO {table} JSON {document}{}", using(chance));
    }
    let columns = list(chance, 4, |chance| column(chance, world));
    let values = list(chance, 4, |chance| value(chance, world));
    let condition = condition(chance, world);
    let using = using(chance);
    format!("INSERT INTO {table} ({columns}) VALUES ({values}){condition}{using}")
}

fn update(chance: &mut Chance, world: &World) -> String {
    let table = table(chance, world);
    let assignments = list(chance, 3, |chance| {
        let (name, value) = (column(chance, world), value(chance, world));
        match chance.below(7) {
            0 => format!("{name} = {name} + {value}"),
            1 => format!("{name} = {value} + {name}"),
            2 => format!("{name} = {name} - {value}"),
            3 => format!("{name}[{value}] = {value}"),
            4 => format!("{name}.f0 = {value}"),
            5 => format!("{name} -= {value}"),
            _ => format!("{name} = {value}"),
        }
    });
    let using = using(chance);
    let relations = relations(chance, world);
    let condition = condition(chance, world);
    format!("UPDATE {table}{using} SET {assignments}{relations}{condition}")
}

fn delete(chance: &mut Chance, world: &World) -> String {
    let what = list(chance, 2, |chance| {
        let name = column(chance, world);
        match chance.below(4) {
            0 => format!("{name}[{}]", value(chance, world)),
            1 => format!("{name}.nope"),
            _ => name,
        }
    });
    let table = table(chance, world);
    let using = using(chance);
    let relations = maybe(chance, 2, |chance| relations(chance, world));
    let condition = condition(chance, world);
    format!("DELETE {what} FROM {table}{using}{relations}{condition}")
}

fn batch(chance: &mut Chance, world: &World) -> String {
    let kind = ["", "UNLOGGED ", "COUNTER ", "LOGGED "][chance.below(4)];
    let members: String = (0..chance.below(3))
        .map(|_| match chance.below(4) {
            0 => update(chance, world) + "; ",
            1 => delete(chance, world) + " ",
            2 => select(chance, world) + "; ",
            _ => insert(chance, world) + "; ",
        })
        .collect();
    let end = ["APPLY BATCH", "APPLY BATCH", "APPLY", ""][chance.below(4)];
    format!("BEGIN {kind}BATCH{} {members}{end}", using(chance))
}

/// No grammar at all.
fn letters(chance: &mut Chance) -> String {
    const PIECES: [&str; 24] = [
        "SELECT ",
        "\u{1F600}",
        "\n",
        "\t",
        "(",
        ")",
        "'",
        "\"",
        "$$",
        "/*",
        "*/",
        "--",
        "//",
        ";",
        "0x",
        "e",
        "\\",
        "\u{7f}",
        "%",
        "@",
        "#",
        "é",
        "1",
        " ",
    ];
    (0..chance.below(12))
        .map(|_| PIECES[chance.below(PIECES.len())])
        .collect()
}
