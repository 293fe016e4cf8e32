//! Random statements, answered twice: by a server that keeps everything in memory, and by one that flushes and compacts as it
//! goes. Where rows lie must not show in any answer.
//!
//! With `PALLADIUM_WALK_SERVER=127.0.0.1:9042` the first of the two is another server: beside Cassandra, a walk is a search for
//! differences. `PALLADIUM_WALK_SEED` starts at another place and `PALLADIUM_WALK_STEPS` goes further. A failure prints the
//! seed and every statement up to the one that was answered differently.

use std::net::SocketAddr;

use crate::client::{Answer, Client, Node};

const STEPS: usize = 400;
/// Steps between two flushes; each third one is a compaction.
const FLUSH_EVERY: usize = 40;

/// SplitMix64.
pub struct Chance(pub u64);

impl Chance {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    pub fn below(&mut self, bound: usize) -> usize {
        (self.next() % bound as u64) as usize
    }

    fn one_in(&mut self, many: usize) -> bool {
        self.below(many) == 0
    }

    pub fn pick<'a>(&mut self, from: &[&'a str]) -> &'a str {
        from[self.below(from.len())]
    }
}

const KEY_TYPES: [&str; 6] = ["int", "text", "decimal", "timeuuid", "boolean", "double"];
const COLUMNS: [(&str, &str); 7] = [
    ("v", "int"),
    ("w", "text"),
    ("l", "list<int>"),
    ("s", "set<int>"),
    ("m", "map<int, text>"),
    ("u", "pair"),
    ("f", "frozen<pair>"),
];

fn value(chance: &mut Chance, ty: &str) -> String {
    let int = |chance: &mut Chance| (chance.below(7) as i32 - 3).to_string();
    match ty {
        "int" => int(chance),
        "text" => format!("'{}'", chance.pick(&["", "a", "b", "ab", "zz"])),
        "decimal" => chance.pick(&["1", "1.5", "-2", "0", "3"]).into(),
        "timeuuid" => chance
            .pick(&[
                "50554d6e-29bb-11e5-b345-feff819cdc9f",
                "60554d6e-29bb-11e5-b345-feff819cdc9f",
                "50554d6e-29bb-11e5-7345-feff819cdc9f",
            ])
            .into(),
        "boolean" => chance.pick(&["true", "false"]).into(),
        "double" => chance.pick(&["1.5", "-0.0", "0.0", "NaN", "2"]).into(),
        "list<int>" | "set<int>" => {
            let parts: Vec<String> = (0..chance.below(4)).map(|_| int(chance)).collect();
            let (open, close) = if ty.starts_with('l') {
                ('[', ']')
            } else {
                ('{', '}')
            };
            format!("{open}{}{close}", parts.join(", "))
        }
        "map<int, text>" => {
            // Each key once: of two values for one key in a literal, Cassandra takes either.
            let parts: Vec<String> = (-3..4)
                .filter(|_| chance.one_in(3))
                .collect::<Vec<i32>>()
                .into_iter()
                .map(|key| format!("{key}: {}", value(chance, "text")))
                .collect();
            format!("{{{}}}", parts.join(", "))
        }
        _ => format!("{{a: {}, b: {}}}", int(chance), value(chance, "text")),
    }
}

/// A table with its clustering types.
struct Table {
    clustering: Vec<&'static str>,
    has_statics: bool,
}

impl Table {
    fn new(chance: &mut Chance) -> Table {
        Table {
            clustering: (0..=chance.below(3))
                .map(|_| chance.pick(&KEY_TYPES))
                .collect(),
            has_statics: !chance.one_in(3),
        }
    }

    fn create(&self, chance: &mut Chance) -> String {
        let keys: Vec<String> = self
            .clustering
            .iter()
            .enumerate()
            .map(|(place, ty)| format!("c{place} {ty}"))
            .collect();
        let columns: Vec<String> = COLUMNS
            .iter()
            .map(|(name, ty)| format!("{name} {ty}"))
            .collect();
        let statics = if self.has_statics {
            ", st int static, sm map<int, text> static"
        } else {
            ""
        };
        let order: Vec<String> = (0..self.clustering.len())
            .map(|place| format!("c{place} {}", chance.pick(&["ASC", "DESC"])))
            .collect();
        format!(
            "CREATE TABLE ks.t (k int, {}, {}{statics}, PRIMARY KEY (k, {})) WITH CLUSTERING ORDER BY ({})",
            keys.join(", "),
            columns.join(", "),
            self.names(self.clustering.len()),
            order.join(", ")
        )
    }

    fn names(&self, count: usize) -> String {
        (0..count)
            .map(|place| format!("c{place}"))
            .collect::<Vec<_>>()
            .join(", ")
    }

    fn values(&self, chance: &mut Chance, count: usize) -> String {
        let values: Vec<String> = self.clustering[..count]
            .iter()
            .map(|ty| value(chance, ty))
            .collect();
        values.join(", ")
    }

    /// ` AND c0 = ...` for one row.
    fn row(&self, chance: &mut Chance) -> String {
        let parts = self.clustering.iter().enumerate();
        parts
            .map(|(place, ty)| format!(" AND c{place} = {}", value(chance, ty)))
            .collect()
    }

    /// Equalities, then perhaps a slice.
    fn slice(&self, chance: &mut Chance) -> String {
        let count = chance.below(self.clustering.len() + 1);
        if count > 1 && chance.one_in(6) {
            let operator = chance.pick(&[">", "<", ">=", "<=", "="]);
            return format!(
                " AND ({}) {operator} ({})",
                self.names(count),
                self.values(chance, count)
            );
        }
        let mut text = String::new();
        for (place, ty) in self.clustering[..count].iter().enumerate() {
            if place + 1 == count && !chance.one_in(3) {
                let operator = chance.pick(&[">", "<", ">=", "<="]);
                text += &format!(" AND c{place} {operator} {}", value(chance, ty));
            } else if chance.one_in(5) {
                text += &format!(
                    " AND c{place} IN ({}, {})",
                    value(chance, ty),
                    value(chance, ty)
                );
            } else {
                text += &format!(" AND c{place} = {}", value(chance, ty));
            }
        }
        text
    }

    fn insert(&self, chance: &mut Chance, k: usize, at: i64) -> String {
        let (mut names, mut values) = (String::new(), String::new());
        for (name, ty) in COLUMNS
            .iter()
            .filter(|_| chance.one_in(3))
            .collect::<Vec<_>>()
        {
            names += &format!(", {name}");
            let null = chance.one_in(10);
            values += &format!(
                ", {}",
                if null {
                    "null".into()
                } else {
                    value(chance, ty)
                }
            );
        }
        let count = self.clustering.len();
        // None of it ends while the walk lasts, and of two with one timestamp the same one ends later on either server.
        let expiring = match chance.one_in(6) {
            true => format!("TTL {} AND ", 100_000 + 1_000 * chance.below(100_000)),
            false => String::new(),
        };
        format!(
            "INSERT INTO ks.t (k, {}{names}) VALUES ({k}, {}{values}) USING {expiring}TIMESTAMP {at}",
            self.names(count),
            self.values(chance, count)
        )
    }

    fn update(&self, chance: &mut Chance, k: usize, at: i64) -> String {
        let (name, ty) = COLUMNS[chance.below(COLUMNS.len())];
        let new = value(chance, ty);
        let element = chance.below(3);
        let set = match (name, chance.below(4)) {
            ("l" | "s" | "m", 0) => format!("{name} = {name} + {new}"),
            ("l" | "s", 1) => format!("{name} = {name} - {new}"),
            ("m", 1) => format!("m = m - {{{element}}}"),
            ("m", 2) => format!("m[{element}] = {}", value(chance, "text")),
            ("u", 0) => format!("u.a = {element}"),
            ("u", 1) => "u = null".into(),
            _ => format!("{name} = {new}"),
        };
        format!(
            "UPDATE ks.t USING TIMESTAMP {at} SET {set} WHERE k = {k}{}",
            self.row(chance)
        )
    }

    fn delete(&self, chance: &mut Chance, k: usize, at: i64) -> String {
        let what = chance.pick(&["", "", "v", "m", "s", "l", "u", "w", "m[1]", "u.a", "f"]);
        let which = if what.is_empty() {
            self.slice(chance)
        } else {
            self.row(chance)
        };
        format!("DELETE {what} FROM ks.t USING TIMESTAMP {at} WHERE k = {k}{which}")
    }

    fn of_statics(&self, chance: &mut Chance, k: usize, at: i64) -> String {
        match chance.below(3) {
            0 => format!("UPDATE ks.t USING TIMESTAMP {at} SET sm[1] = 'x' WHERE k = {k}"),
            1 => format!(
                "INSERT INTO ks.t (k, st) VALUES ({k}, {}) USING TIMESTAMP {at}",
                chance.below(3)
            ),
            _ => format!("DELETE st FROM ks.t USING TIMESTAMP {at} WHERE k = {k}"),
        }
    }

    fn select(&self, chance: &mut Chance, k: usize) -> String {
        if chance.one_in(10) {
            let what = chance.pick(&["*", "k, v", "count(*)", "k, c0, count(v)"]);
            let rest = match what {
                "k, c0, count(v)" => " GROUP BY k, c0",
                "*" => chance.pick(&[
                    "",
                    " PER PARTITION LIMIT 1",
                    " PER PARTITION LIMIT 3",
                    " LIMIT 5",
                ]),
                _ => "",
            };
            return format!("SELECT {what} FROM ks.t{rest}");
        }
        if chance.one_in(10) {
            let filter = chance.pick(&[
                "v > 0",
                "w = 'a'",
                "s CONTAINS 1",
                "m CONTAINS KEY 1",
                "m[1] = 'a'",
                "v = 1 AND k = 1",
            ]);
            return format!("SELECT * FROM ks.t WHERE {filter} ALLOW FILTERING");
        }
        let statics = if self.has_statics {
            "DISTINCT k, st"
        } else {
            "DISTINCT k"
        };
        let what = chance.pick(&[
            "*",
            "*",
            "k, v",
            "count(*)",
            "v, writetime(v)",
            "m[1], u.a",
            "max(v), min(w)",
            statics,
        ]);
        let plain = !what.contains('(') && !what.contains("DISTINCT");
        let which = if what.contains("DISTINCT") {
            String::new()
        } else {
            self.slice(chance)
        };
        let several = chance.one_in(3);
        let key = if several {
            "k IN (0, 1)".into()
        } else {
            format!("k = {k}")
        };
        let mut text = format!("SELECT {what} FROM ks.t WHERE {key}{which}");
        if plain && !several && chance.one_in(3) {
            text += &format!(" ORDER BY c0 {}", chance.pick(&["ASC", "DESC"]));
        }
        if plain && chance.one_in(10) {
            text += " PER PARTITION LIMIT 2";
        }
        if chance.one_in(5) {
            text += &format!(" LIMIT {}", 1 + chance.below(4));
        }
        text
    }

    /// The same on a condition.
    fn conditional(&self, chance: &mut Chance, statement: String) -> String {
        if let Some(insert) = statement.strip_suffix(" USING TTL 100000") {
            return format!("{insert} IF NOT EXISTS USING TTL 100000");
        }
        if statement.starts_with("INSERT") {
            return format!("{statement} IF NOT EXISTS");
        }
        let condition = chance.pick(&[
            "EXISTS",
            "v = 1",
            "v != null",
            "v > 0",
            "w IN ('a', 'b')",
            "m[1] = 'a'",
            "u.a = 1",
            "l = [1]",
            "s CONTAINS 1",
            "st = 1",
            "v < 2 AND w = null",
        ]);
        format!("{statement} IF {condition}")
    }

    fn step(&self, chance: &mut Chance, at: i64) -> String {
        let k = chance.below(2);
        match chance.below(20) {
            0..6 => self.insert(chance, k, at),
            6..9 => self.update(chance, k, at),
            9..12 => self.delete(chance, k, at),
            12 if self.has_statics => self.of_statics(chance, k, at),
            _ => self.select(chance, k),
        }
    }
}

/// What can be compared: rows as bytes, or the text of an error.
fn shown(answer: Answer) -> Result<Vec<Vec<Option<bytes::Bytes>>>, String> {
    match answer {
        Answer::Rows(rows) => Ok(rows.rows),
        Answer::Error(code, message) => Err(format!("{code:#x} {message}")),
        _ => Ok(Vec::new()),
    }
}

fn setting(name: &str, default: u64) -> u64 {
    let given = std::env::var(name).ok();
    given.map_or(default, |text| text.parse().expect("a number"))
}

/// Two servers, of which the second one flushes and merges; or another one and ours.
struct Pair {
    seed: u64,
    memory: Node,
    files: Node,
    clients: [Client; 2],
    /// The first is another server.
    is_mixed: bool,
    /// What both were told of the table at hand.
    told: Vec<String>,
}

impl Pair {
    fn start(seed: u64) -> Pair {
        let other: Option<SocketAddr> = std::env::var("PALLADIUM_WALK_SERVER")
            .ok()
            .map(|address| address.parse().expect("an address"));
        let memory = Node::start();
        let files = Node::start();
        let mut clients = [
            Client::connect(other.unwrap_or(memory.address())),
            Client::connect(files.address()),
        ];
        for client in &mut clients {
            client.query("DROP KEYSPACE IF EXISTS ks").done();
            client
                .query("CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
                .done();
            client.query("CREATE TYPE ks.pair (a int, b text)").done();
        }
        Pair {
            seed,
            memory,
            files,
            clients,
            is_mixed: other.is_some(),
            told: Vec::new(),
        }
    }

    /// A new table in the place of the last one.
    fn create(&mut self, create: String) {
        for client in &mut self.clients {
            client.query("DROP TABLE IF EXISTS ks.t").done();
            client.query(&create).done();
        }
        self.told = vec![create];
    }

    fn tidy(&self, step: usize) {
        if step % FLUSH_EVERY == FLUSH_EVERY - 1 {
            self.files.flush();
            if step / FLUSH_EVERY % 3 == 2 {
                self.files.compact();
            }
        }
    }

    /// Both are told the same and answer the same; what is read at once is read page by page, too.
    fn tell(&mut self, chance: &mut Chance, statement: String) {
        let [one, two] = self
            .clients
            .each_mut()
            .map(|client| shown(client.query(&statement)));
        let is_read = statement.starts_with("SELECT") && !self.is_mixed;
        self.told.push(statement);
        let so_far = || format!("seed {}\n{};", self.seed, self.told.join(";\n"));
        assert!(one == two, "{one:?} is not {two:?}, {}", so_far());
        let statement = &self.told[self.told.len() - 1];
        if let (true, Ok(whole)) = (is_read, &two) {
            let size = 1 + chance.below(3) as i32;
            for client in &mut self.clients {
                let pages = client.all_pages(statement, Some(size));
                assert!(
                    pages == *whole,
                    "in pages of {size}: {pages:?} is not {whole:?}, {}",
                    so_far()
                );
            }
        }
    }

    fn stop(self) {
        self.memory.stop();
        self.files.stop();
    }
}

/// The seed that `PALLADIUM_WALK_SEED` says, or this one. It is printed, for a failure.
pub fn seed_or(default: u64) -> u64 {
    let seed = setting("PALLADIUM_WALK_SEED", default);
    println!("seed {seed}");
    seed
}

fn seed_and_steps() -> (u64, usize) {
    let steps = setting("PALLADIUM_WALK_STEPS", STEPS as u64);
    (setting("PALLADIUM_WALK_SEED", 1), steps as usize)
}

#[test]
fn where_rows_lie_does_not_show() {
    let (seed, steps) = seed_and_steps();
    let mut pair = Pair::start(seed);
    let mut chance = Chance(seed);
    for _ in 0..4 {
        let table = Table::new(&mut chance);
        pair.create(table.create(&mut chance));
        // Timestamps mostly grow, sometimes meet, and sometimes come late.
        let mut at = 1000;
        for step in 0..steps {
            at += [1, 1, 1, 0, -2][chance.below(5)];
            pair.tidy(step);
            let statement = table.step(&mut chance, at);
            pair.tell(&mut chance, statement);
        }
    }
    pair.stop();
}

/// The server gives the timestamps here: what is decided by what is there is decided the same, wherever that lies.
#[test]
fn where_rows_lie_does_not_show_in_what_conditions_find() {
    let (seed, steps) = seed_and_steps();
    let mut pair = Pair::start(seed);
    let mut chance = Chance(seed);
    for _ in 0..2 {
        let table = Table::new(&mut chance);
        pair.create(table.create(&mut chance));
        for step in 0..steps {
            pair.tidy(step);
            let mut statement = table
                .step(&mut chance, 0)
                .replace(" USING TIMESTAMP 0", "")
                .replace(" AND TIMESTAMP 0", "");
            if statement.contains("writetime") {
                continue;
            }
            if !statement.starts_with("SELECT") && chance.one_in(2) {
                statement = table.conditional(&mut chance, statement);
            }
            pair.tell(&mut chance, statement);
        }
    }
    pair.stop();
}

#[test]
fn where_counters_lie_does_not_show() {
    let (seed, steps) = seed_and_steps();
    let mut pair = Pair::start(seed);
    let mut chance = Chance(seed);
    pair.create("CREATE TABLE ks.t (k int, c int, d text, x counter, y counter, z counter static, PRIMARY KEY (k, c, d)) WITH CLUSTERING ORDER BY (c DESC, d ASC)".into());
    for step in 0..steps {
        pair.tidy(step);
        let statement = counters(&mut chance);
        pair.tell(&mut chance, statement);
    }
    pair.stop();
}

fn counters(chance: &mut Chance) -> String {
    let k = chance.below(2);
    let (c, d) = (chance.below(6), chance.pick(&["", "a", "ab"]));
    let row = format!("k = {k} AND c = {c} AND d = '{d}'");
    let by = chance.below(5);
    match chance.below(20) {
        0..8 => {
            let column = chance.pick(&["x", "y"]);
            let sign = chance.pick(&["+", "-"]);
            format!("UPDATE ks.t SET {column} = {column} {sign} {by} WHERE {row}")
        }
        8 => format!("UPDATE ks.t SET z = z + {by} WHERE k = {k}"),
        9 => format!("DELETE FROM ks.t WHERE {row}"),
        10 => format!("DELETE x FROM ks.t WHERE {row}"),
        11 => format!("DELETE FROM ks.t WHERE k = {k} AND c > {c}"),
        12 => "SELECT * FROM ks.t".into(),
        13 => "SELECT DISTINCT k, z FROM ks.t".into(),
        14 => format!("SELECT sum(x), count(*) FROM ks.t WHERE k = {k}"),
        15 => format!("SELECT * FROM ks.t WHERE k = {k} ORDER BY c ASC"),
        16 => format!("SELECT * FROM ks.t WHERE k = {k} AND c IN ({c}, {by})"),
        17 => format!("SELECT * FROM ks.t WHERE {row}"),
        _ => format!("SELECT * FROM ks.t WHERE k IN (0, 1) AND c <= {c} PER PARTITION LIMIT 3"),
    }
}
