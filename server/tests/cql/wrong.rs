//! Wrong statements, thousands of them: whatever comes, the answer is a CQL error or a right answer, never silence, never the end of the connection.
//!
//! Half are grown from a grammar whose every rule may be broken on the way; half are golden statements with words left out, doubled, swapped or
//! replaced. The seed is fixed: what failed once fails again. `PALLADIUM_WRONG_SEED` starts elsewhere, `PALLADIUM_WRONG_STATEMENTS` goes further.

use std::path::Path;

use crate::client::{Answer, Client, with_server};

const STATEMENTS: usize = 4_000;

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((z ^ (z >> 31)) % bound as u64) as usize
    }
}

/// Words from everywhere in the grammar; a name in angle brackets is a rule.
const RULES: &[(&str, &[&str])] = &[
    (
        "<statement>",
        &[
            "SELECT <selection> FROM <table> <where> <tail>",
            "INSERT INTO <table> ( <names> ) VALUES ( <terms> ) <if> <using>",
            "INSERT INTO <table> JSON <string> <using>",
            "UPDATE <table> <using> SET <assignments> <where> <if>",
            "DELETE <names> FROM <table> <using> <where> <if>",
            "BEGIN <word> BATCH <using> <statement> ; <statement> ; APPLY BATCH",
            "CREATE TABLE <name> ( <name> <type> PRIMARY KEY , <name> <type> ) <with>",
            "CREATE TYPE <name> ( <name> <type> , <name> <type> )",
            "CREATE INDEX <name> ON <table> ( <name> ) <with>",
            "CREATE MATERIALIZED VIEW <name> AS SELECT <selection> FROM <table> <where> PRIMARY KEY ( <names> )",
            "ALTER TABLE <table> <word> <name> <type>",
            "ALTER KEYSPACE <name> <with>",
            "ALTER TYPE <name> ADD <name> <type>",
            "DESCRIBE <word> <name>",
            "GRANT <word> ON <table> TO <name>",
            "CREATE ROLE <name> <with>",
            "LIST <word> OF <name>",
            "TRUNCATE <table>",
            "USE <name>",
            "<word> <statement> <word>",
        ],
    ),
    (
        "<selection>",
        &[
            "*",
            "<selector>",
            "<selector> , <selector> AS <name>",
            "JSON <selector>",
            "DISTINCT <name> , <selector>",
            "count ( * ) , <selector>",
        ],
    ),
    (
        "<selector>",
        &[
            "<name>",
            "<name> ( <selector> )",
            "CAST ( <selector> AS <type> )",
            "<selector> + <selector>",
            "- <selector>",
            "<name> [ <term> ]",
            "<name> [ <term> .. <term> ]",
            "<name> . <name>",
            "( <type> ) <term>",
            "writetime ( <selector> )",
            "max ( <selector> )",
            "<term>",
            "[ <selector> , <selector> ]",
        ],
    ),
    (
        "<where>",
        &[
            "",
            "WHERE <relation>",
            "WHERE <relation> AND <relation>",
            "WHERE <relation> AND <relation> AND <relation>",
        ],
    ),
    (
        "<relation>",
        &[
            "<name> = <term>",
            "<name> <operator> <term>",
            "<name> IN ( <terms> )",
            "<name> IN ?",
            "( <name> , <name> ) > ( <terms> )",
            "token ( <names> ) > <term>",
            "<name> CONTAINS KEY <term>",
            "<name> [ <term> ] = <term>",
            "<name> LIKE <string>",
            "<name> IS NOT NULL",
            "expr ( <name> , <string> )",
        ],
    ),
    (
        "<tail>",
        &[
            "",
            "LIMIT <term>",
            "ORDER BY <name> DESC",
            "ORDER BY <name> ANN OF <term> LIMIT 2",
            "GROUP BY <names>",
            "PER PARTITION LIMIT <term> ALLOW FILTERING",
            "ALLOW FILTERING",
        ],
    ),
    (
        "<using>",
        &[
            "",
            "USING TTL <term>",
            "USING TIMESTAMP <term> AND TTL <term>",
        ],
    ),
    (
        "<if>",
        &[
            "",
            "IF EXISTS",
            "IF NOT EXISTS",
            "IF <relation>",
            "IF <name> . <name> = <term>",
        ],
    ),
    (
        "<assignments>",
        &[
            "<name> = <term>",
            "<name> = <name> + <term>",
            "<name> = <term> - <name>",
            "<name> [ <term> ] = <term>",
            "<name> . <name> = <term>",
            "<name> += <term> , <name> = <term>",
        ],
    ),
    (
        "<with>",
        &[
            "",
            "WITH <name> = <term>",
            "WITH CLUSTERING ORDER BY ( <name> DESC )",
            "WITH comment = <string> AND gc_grace_seconds = <term>",
            "WITH replication = <term>",
            "USING 'sai' WITH OPTIONS = <term>",
        ],
    ),
    (
        "<names>",
        &["", "<name>", "<name> , <name>", "<name> , <name> , <name>"],
    ),
    (
        "<terms>",
        &["", "<term>", "<term> , <term>", "<term> , <term> , <term>"],
    ),
    (
        "<term>",
        &[
            "1",
            "-1",
            "99999999999999999999",
            "1.5e400",
            "NaN",
            "null",
            "?",
            ":name",
            "0xCAFE",
            "1d2h",
            "true",
            "<string>",
            "[ <terms> ]",
            "{ <terms> }",
            "{ <term> : <term> }",
            "{ a : <term> }",
            "( <terms> )",
            "( <type> ) <term>",
            "<name> ( <terms> )",
            "<term> * <term>",
            "50554d6e-29bb-11e5-b345-feff819cdc9f",
        ],
    ),
    (
        "<string>",
        &["''", "'a'", "$$ a $$", "'{\"k\": 1}'", "'\u{1F600}'", "'%'"],
    ),
    (
        "<name>",
        &[
            "k", "c", "s", "v", "l", "m", "e", "u", "t", "ks", "nope", "\"Q q\"", "select",
            "system", "k1", "abs", "toJson",
        ],
    ),
    (
        "<table>",
        &[
            "t",
            "ks . t",
            "nope",
            "system . local",
            "n",
            "<name>",
            "system_views . clients",
        ],
    ),
    (
        "<type>",
        &[
            "int",
            "text",
            "counter",
            "duration",
            "list < <type> >",
            "set < <type> >",
            "map < <type> , <type> >",
            "frozen < <type> >",
            "tuple < <type> >",
            "vector < <type> , 3 >",
            "pair",
            "nope",
            "'x.y.Z'",
        ],
    ),
    (
        "<operator>",
        &["=", "!=", "<", "<=", ">", ">=", "IN", "CONTAINS", "LIKE"],
    ),
    (
        "<word>",
        &[
            "TABLE", "KEYSPACE", "IF", "NOT", "EXISTS", "ADD", "DROP", "ALL", "COUNTER",
            "UNLOGGED", "ROLES", "SELECT", "WITH", ",", "(", ")", ";", "=", "",
        ],
    ),
];

/// A phrase of a rule; deep inside, the rule's first choice ends it.
fn grow(chance: &mut Chance, rule: &str, depth: usize) -> String {
    let Some((_, choices)) = RULES.iter().find(|(name, _)| *name == rule) else {
        return rule.to_owned();
    };
    let choice = match depth {
        0 => choices[0],
        _ => choices[chance.below(choices.len())],
    };
    let words: Vec<String> = choice
        .split(' ')
        .map(|word| match word.starts_with('<') && word.len() > 2 {
            true => grow(chance, word, depth.saturating_sub(1)),
            false => word.to_owned(),
        })
        .collect();
    words.join(" ")
}

/// A statement with some of its words out of place.
fn spoiled(chance: &mut Chance, statement: &str) -> String {
    let mut words: Vec<&str> = statement
        .split_inclusive([' ', '(', ')', ',', '=', '\'', '[', ']', '.'])
        .collect();
    for _ in 0..1 + chance.below(3) {
        if words.is_empty() {
            break;
        }
        let place = chance.below(words.len());
        match chance.below(5) {
            0 => drop(words.remove(place)),
            1 => words.insert(place, words[place]),
            2 => {
                let other = chance.below(words.len());
                words.swap(place, other);
            }
            3 => words.truncate(place),
            _ => {
                words[place] =
                    ["?", "(", "'", "null ", "$$", "{", "-", "0x", "\"", "::"][chance.below(10)]
            }
        }
    }
    words.concat()
}

fn golden() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/scripts");
    let mut paths: Vec<_> = std::fs::read_dir(folder)
        .expect("the scripts are here")
        .map(|entry| entry.expect("the folder can be listed").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "cql"))
        .collect();
    paths.sort();
    paths
        .iter()
        .flat_map(|path| {
            let text = std::fs::read_to_string(path).expect("the script can be read");
            text.lines()
                .filter(|line| line.ends_with(';') && !line.starts_with("--"))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        })
        .collect()
}

fn number(name: &str, default: usize) -> usize {
    std::env::var(name).map_or(default, |text| text.parse().expect("a number"))
}

#[test]
fn a_wrong_statement_is_an_error_and_nothing_else() {
    let seed = number("PALLADIUM_WRONG_SEED", 1);
    let count = number("PALLADIUM_WRONG_STATEMENTS", STATEMENTS);
    with_server(|address| {
        let mut chance = Chance(seed as u64);
        let golden = golden();
        let mut client = Client::connect(address);
        let setup = [
            "CREATE KEYSPACE IF NOT EXISTS ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
            "USE ks",
            "CREATE TYPE pair (a int, b text)",
            "CREATE TABLE t (k int, c int, s int static, v text, l list<int>, m map<text, int>, e set<text>, u pair, PRIMARY KEY (k, c))",
            "CREATE TABLE n (k int PRIMARY KEY, c counter)",
        ];
        for statement in setup {
            client.query(statement).done();
        }
        let (mut refused, mut accepted) = (0, 0);
        for place in 0..count {
            let statement = match place % 2 {
                0 => grow(&mut chance, "<statement>", 6),
                _ => {
                    let golden = &golden[chance.below(golden.len())];
                    spoiled(&mut chance, golden)
                }
            };
            match client.query(&statement) {
                Answer::Error(code, message) => {
                    refused += 1;
                    assert!(
                        code != 0x0000,
                        "seed {seed}, statement {place}: {statement}\nan error of the server's own: {message}"
                    );
                }
                _ => accepted += 1,
            }
        }
        // It is still there, and still right.
        client.query("USE ks").done();
        assert!(
            refused > count / 2 && accepted > 0,
            "{refused} refused, {accepted} accepted"
        );
    });
}

#[test]
fn calls_within_calls_are_understood_in_a_moment() {
    let nested = |levels: usize, open: &str, close: &str| {
        format!("{}1{}", open.repeat(levels), close.repeat(levels))
    };
    with_server(|address| {
        let mut client = Client::connect(address);
        let begun = std::time::Instant::now();
        for call in [
            nested(190, "abs(", ")"),
            nested(90, "abs((", "))"),
            nested(90, "abs(-", ")"),
            nested(90, "similarity_cosine([", "], [1])"),
            nested(60, "abs(-(1 + ", "))"),
        ] {
            // Refused or not: it is answered.
            client.query(&format!("SELECT {call} FROM system.local"));
            client.query(&format!("SELECT key FROM system.local WHERE key = {call}"));
        }
        let took = begun.elapsed();
        assert!(took < std::time::Duration::from_secs(60), "{took:?}");
    });
}
