//! What is shown of rows, as they are or taken together, filtered, limited and page by page, with indexes and without: the same as a few lines make of all rows of the
//! table, which are slow and easy to read.

use bytes::Bytes;

use crate::client::{Answer, Client, Node};
use crate::walk::{Chance, seed_or};

/// Tables, and questions to each.
const TABLES: usize = 6;
const QUESTIONS: usize = 60;
/// Writes to a table before it is asked.
const WRITES: [usize; 3] = [8, 30, 90];

const COLUMNS: [&str; 6] = ["k", "c", "d", "v", "w", "s"];
const INDEXES: [&str; 6] = [
    "(v)",
    "(w) USING 'sai'",
    "(s)",
    "(c)",
    "(d) USING 'sai'",
    "(s) USING 'sai'",
];

/// A row, or what is shown of rows.
type Shown = Vec<Option<i64>>;

/// Column, operator, numbers.
type Condition = (usize, &'static str, Vec<i64>);

/// What is asked of a table.
struct Question {
    conditions: Vec<Condition>,
    /// So many columns of the key make a group.
    group: Option<usize>,
    /// Groups are counted and added up; else their first rows are shown.
    adds_up: bool,
    is_reversed: bool,
    per_partition: Option<usize>,
    limit: Option<usize>,
}

impl Question {
    fn by(chance: &mut Chance) -> Question {
        let mut conditions: Vec<Condition> = Vec::new();
        let number = |chance: &mut Chance| chance.below(3) as i64;
        match chance.below(5) {
            0 | 1 => conditions.push((0, "=", vec![number(chance)])),
            2 => conditions.push((0, "IN", vec![number(chance), number(chance)])),
            _ => {}
        }
        for column in 1..COLUMNS.len() {
            if chance.below(4) == 0 {
                let operator = chance.pick(&["=", ">=", "<", "IN"]);
                // Of what is in no key, IN is asked without an index alone.
                let operator = match column > 2 && operator == "IN" {
                    true => "=",
                    false => operator,
                };
                conditions.push((column, operator, vec![number(chance)]));
            }
        }
        let group = [None, None, Some(1), Some(2), Some(3)][chance.below(5)];
        let adds_up = chance.below(3) > 0 && (group.is_some() || chance.below(3) == 0);
        let is_whole = adds_up && group.is_none();
        let mut one_in_three =
            |bound: usize| (chance.below(3) == 0).then(|| 1 + chance.below(bound));
        Question {
            group,
            adds_up,
            is_reversed: conditions
                .first()
                .is_some_and(|of| of.0 == 0 && of.1 == "=")
                && one_in_three(1).is_some(),
            per_partition: one_in_three(3).filter(|_| !is_whole),
            limit: one_in_three(7),
            conditions,
        }
    }

    fn text(&self, orders: [&str; 2]) -> String {
        let keys = |group: usize| COLUMNS[..group].join(", ");
        let mut shown = match self.adds_up {
            true => self.group.map(keys).into_iter().collect(),
            false => vec![COLUMNS.join(", ")],
        };
        if self.adds_up {
            shown.push("count(*), count(v), sum(w), max(v)".into());
        }
        let mut text = format!("SELECT {} FROM t", shown.join(", "));
        let conditions = self.conditions.iter().map(|(column, operator, numbers)| {
            let numbers: Vec<String> = numbers.iter().map(i64::to_string).collect();
            let numbers = numbers.join(", ");
            match *operator {
                "IN" => format!("{} IN ({numbers})", COLUMNS[*column]),
                operator => format!("{} {operator} {numbers}", COLUMNS[*column]),
            }
        });
        let conditions: Vec<String> = conditions.collect();
        if !conditions.is_empty() {
            text += &format!(" WHERE {}", conditions.join(" AND "));
        }
        if let Some(group) = self.group {
            text += &format!(" GROUP BY {}", keys(group));
        }
        if self.is_reversed {
            let turned = |order| if order == "ASC" { "DESC" } else { "ASC" };
            text += &format!(" ORDER BY c {}, d {}", turned(orders[0]), turned(orders[1]));
        }
        if let Some(limit) = self.per_partition {
            text += &format!(" PER PARTITION LIMIT {limit}");
        }
        if let Some(limit) = self.limit {
            text += &format!(" LIMIT {limit}");
        }
        text + " ALLOW FILTERING"
    }

    /// The answer, from all rows of the table in their order.
    fn answer(&self, all: &[Shown]) -> Vec<Shown> {
        // A partition that has nothing but its static row has no row that could be asked for by its clustering.
        let asks_for_rows = self.conditions.iter().any(|of| [1, 2].contains(&of.0));
        let mut rows: Vec<&Shown> = all.iter().collect();
        rows.retain(|row| {
            self.conditions.iter().all(|of| meets(row, of)) && (row[1].is_some() || !asks_for_rows)
        });
        if self.conditions.iter().any(|of| of.0 == 0 && of.1 == "IN") {
            // Partitions that are named come in the order of their keys, not of their tokens.
            rows.sort_by_key(|row| row[0]);
        }
        if self.is_reversed {
            rows.reverse();
        }
        let mut answer = Vec::new();
        for partition in rows.chunk_by(|a, b| a[0] == b[0]) {
            let mut own: Vec<Shown> = match self.group {
                None if self.adds_up => continue,
                None => partition.iter().map(|row| row.to_vec()).collect(),
                Some(keys) => partition
                    .chunk_by(|a, b| a[..keys] == b[..keys])
                    .map(|rows| match self.adds_up {
                        true => [rows[0][..keys].to_vec(), added_up(rows)].concat(),
                        false => rows[0].clone(),
                    })
                    .collect(),
            };
            own.truncate(self.per_partition.unwrap_or(usize::MAX));
            answer.append(&mut own);
        }
        if self.adds_up && self.group.is_none() {
            answer.push(added_up(&rows));
        }
        answer.truncate(self.limit.unwrap_or(usize::MAX));
        answer
    }
}

fn meets(row: &Shown, (column, operator, numbers): &Condition) -> bool {
    row[*column].is_some_and(|value| match *operator {
        ">=" => value >= numbers[0],
        "<" => value < numbers[0],
        _ => numbers.contains(&value),
    })
}

/// `count(*), count(v), sum(w), max(v)`
fn added_up(rows: &[&Shown]) -> Shown {
    let of = |column: usize| rows.iter().filter_map(move |row| row[column]);
    let count = |count: usize| Some(count as i64);
    vec![
        count(rows.len()),
        count(of(3).count()),
        Some(of(4).sum()),
        of(3).max(),
    ]
}

fn change(chance: &mut Chance) -> String {
    let (k, c, d, v) = (
        chance.below(4),
        chance.below(3),
        chance.below(3),
        chance.below(3),
    );
    let at = format!("USING TIMESTAMP {}", 1 + chance.below(5));
    match chance.below(12) {
        0 => format!("DELETE FROM t {at} WHERE k = {k}"),
        1 => format!("DELETE FROM t {at} WHERE k = {k} AND c = {c}"),
        2 => format!("DELETE FROM t {at} WHERE k = {k} AND c = {c} AND d = {d}"),
        3 => format!("DELETE v FROM t {at} WHERE k = {k} AND c = {c} AND d = {d}"),
        4 => format!("UPDATE t {at} SET s = {v} WHERE k = {k}"),
        5 => format!("DELETE s FROM t {at} WHERE k = {k}"),
        6 => format!("INSERT INTO t (k, c, d) VALUES ({k}, {c}, {d}) {at}"),
        7 => format!("INSERT INTO t (k, c, d, w) VALUES ({k}, {c}, {d}, {v}) {at}"),
        _ => format!("INSERT INTO t (k, c, d, v, w) VALUES ({k}, {c}, {d}, {v}, {d}) {at}"),
    }
}

/// Ints and bigints as one.
fn numbers(row: Vec<Option<Bytes>>) -> Shown {
    let number = |cell: Bytes| match cell.len() {
        4 => i64::from(i32::from_be_bytes(cell[..].try_into().expect("four bytes"))),
        _ => i64::from_be_bytes(cell[..].try_into().expect("eight bytes")),
    };
    row.into_iter().map(|cell| cell.map(number)).collect()
}

#[test]
fn rows_and_groups_are_what_a_few_lines_make_of_the_table_on_pages_of_any_size() {
    let seed = seed_or(3);
    let mut chance = Chance(seed);
    let node = Node::start();
    let mut client = Client::in_keyspace(node.address());
    let mut compared = 0;
    for _ in 0..TABLES {
        let mut log = Vec::new();
        let orders = [chance.pick(&["ASC", "DESC"]), chance.pick(&["ASC", "DESC"])];
        let mut statements = vec![
            "DROP TABLE IF EXISTS t".to_owned(),
            format!(
                "CREATE TABLE t (k int, c int, d int, v int, w int, s int static, PRIMARY KEY (k, c, d)) WITH CLUSTERING ORDER BY (c {}, d {})",
                orders[0], orders[1]
            ),
        ];
        for index in INDEXES {
            if chance.below(2) == 0 {
                statements.push(format!("CREATE INDEX ON t {index}"));
            }
        }
        for _ in 0..WRITES[chance.below(WRITES.len())] {
            statements.push(change(&mut chance));
        }
        for statement in statements {
            client.query(&statement).done();
            log.push(statement);
        }
        client.wait_for_builds();
        if chance.below(2) == 0 {
            node.flush();
        }
        let all = format!("SELECT {} FROM t", COLUMNS.join(", "));
        let all: Vec<Shown> = client
            .all_pages(&all, None)
            .into_iter()
            .map(numbers)
            .collect();
        for _ in 0..QUESTIONS {
            let question = Question::by(&mut chance);
            let text = question.text(orders);
            // Not everything can be asked.
            if let Answer::Error(..) = client.query(&text) {
                continue;
            }
            let expected = question.answer(&all);
            for size in [None, Some(1), Some(2), Some(3), Some(5)] {
                let found = client.all_pages(&text, size);
                let found: Vec<Shown> = found.into_iter().map(numbers).collect();
                compared += 1;
                assert_eq!(
                    found,
                    expected,
                    "seed {seed}, {text}, pages of {size:?}, after\n{}",
                    log.join(";\n")
                );
            }
        }
    }
    assert!(compared > TABLES * QUESTIONS, "compared {compared} times");
    node.stop();
}
