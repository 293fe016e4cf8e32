//! CQL statements: golden texts, error texts, generated trees, and texts that mean harm.
//!
//! `statements/*.cql` hold one statement a line (`\n` stands for a line break), then, behind `=> `, what printing its
//! tree gives, if that is another text. `statements/errors.cql` holds wrong ones and Cassandra 5.0's own words about
//! them. To add one, write the line and let the test say what is missing.

#[path = "statements/schema_trees.rs"]
mod schema_trees;
#[path = "statements/trees.rs"]
mod trees;

use palladium_protocol::cql::ast::{
    Assignment, Condition, Literal, Marker, Modification, Name, Operator, QualifiedName, Relation,
    Term, Type,
};
use palladium_protocol::cql::{self, Statement};
use proptest::prelude::*;

const GOLDEN: [(&str, &str); 6] = [
    ("select", include_str!("statements/select.cql")),
    ("modify", include_str!("statements/modify.cql")),
    ("schema", include_str!("statements/schema.cql")),
    ("role", include_str!("statements/role.cql")),
    ("describe", include_str!("statements/describe.cql")),
    ("beyond", include_str!("statements/beyond.cql")),
];

/// Texts, each with the line behind `=> ` if there is one.
fn samples(file: &str) -> Vec<(String, Option<String>)> {
    let mut samples: Vec<(String, Option<String>)> = Vec::new();
    for line in file.lines() {
        let line = line.replace("\\n", "\n");
        match line.strip_prefix("=> ") {
            Some(answer) => {
                samples.last_mut().expect("an answer follows a text").1 = Some(answer.into());
            }
            None => samples.push((line, None)),
        }
    }
    samples
}

#[test]
fn golden_statements_print_as_they_did() {
    for (name, file) in GOLDEN {
        for (text, printed) in samples(file) {
            let tree = cql::parse(&text).unwrap_or_else(|e| panic!("{name}: {text}\n{e}"));
            let again = tree.to_string();
            assert_eq!(again, printed.unwrap_or(text), "{name}");
            assert_eq!(cql::parse(&again).as_ref(), Ok(&tree), "{name}: {again}");
        }
    }
}

#[test]
fn wrong_statements_fail_in_cassandras_words() {
    for (text, message) in samples(include_str!("statements/errors.cql")) {
        let error = cql::parse(&text).expect_err(&text);
        assert_eq!(Some(error.to_string()), message, "{text}");
    }
}

#[test]
fn an_error_knows_its_place() {
    let error = cql::parse("SELECT *\nFROM t\nWHERE é >> 1").unwrap_err();
    assert_eq!((error.line, error.column), (3, 6));
    let error = cql::parse("SELECT * FROM t WHERE 'é😀' x").unwrap_err();
    assert_eq!((error.line, error.column), (1, 22));
    let error = cql::parse("SELECT * FROM").unwrap_err();
    assert_eq!((error.line, error.column), (0, -1));
}

#[test]
fn an_update_becomes_this_tree() {
    let name = |text: &str| Name::exact(text);
    let (tree, markers) = cql::parse_with_markers(
        "UPDATE Ks.\"T\" SET n = n + ?, m['a'] = :X WHERE K = 0xfF IF EXISTS",
    )
    .unwrap();
    let Statement::Update(update) = tree else {
        panic!("{tree:?}");
    };
    let unnamed = Marker {
        index: 0,
        name: None,
    };
    let named = Marker {
        index: 1,
        name: Some(name("x")),
    };
    assert_eq!(markers, [unnamed.clone(), named.clone()]);
    assert_eq!(update.table, QualifiedName::new(name("ks"), name("T")));
    assert!(update.using.attributes.is_empty());
    assert_eq!(
        update.assignments,
        [
            Assignment::Add {
                column: name("n"),
                value: Term::Marker(unnamed),
            },
            Assignment::Element {
                column: name("m"),
                key: Term::Literal(Literal::String("a".into())),
                value: Term::Marker(named),
            },
        ]
    );
    assert_eq!(
        update.relations,
        [Relation::Column {
            column: name("k"),
            operator: Operator::Equal,
            value: Term::Literal(Literal::Blob("0xfF".into())),
        }]
    );
    assert_eq!(update.condition, Condition::Exists);
}

#[test]
fn markers_are_numbered_through_a_batch() {
    let text = "BEGIN BATCH USING TIMESTAMP ? INSERT INTO t (a) VALUES (?) USING TTL :ttl; \
                DELETE FROM t WHERE a IN ? APPLY BATCH";
    let (tree, markers) = cql::parse_with_markers(text).unwrap();
    let indexes: Vec<usize> = markers.iter().map(|marker| marker.index).collect();
    assert_eq!(indexes, [0, 1, 2, 3]);
    let Statement::Batch(batch) = tree else {
        panic!("{tree:?}");
    };
    let Modification::Insert(insert) = &batch.statements[0] else {
        panic!("{batch:?}");
    };
    assert_eq!(insert.using.ttl(), Some(&Term::Marker(markers[2].clone())));
}

#[test]
fn a_type_stands_alone() {
    let of = cql::parse_type("map<text, frozen<list<vector<float, 3>>>>").unwrap();
    assert_eq!(of.to_string(), "map<text, frozen<list<vector<float, 3>>>>");
    assert!(matches!(cql::parse_type("\"U\""), Ok(Type::User(name)) if name.name == "U"));
    assert!(cql::parse_type("list<int> x").is_err());
    assert!(cql::parse_type("").is_err());
}

#[test]
fn a_password_is_not_in_debug() {
    let tree = cql::parse("CREATE ROLE r WITH PASSWORD = 'hunter2'").unwrap();
    assert!(!format!("{tree:?}").contains("hunter2"));
    let tree = cql::parse("ALTER USER u WITH PASSWORD 'hunter2'").unwrap();
    assert!(!format!("{tree:?}").contains("hunter2"));
}

#[test]
fn hostile_nesting_is_refused_and_overflows_no_stack() {
    const MANY: usize = 100_000;
    let nested = [
        "(", "[", "{", "- ", "f(", "(int) ", "{a: ", "{1: ", "cast(", "((", "(a, ", "a[", "-(",
    ];
    for open in nested {
        let deep = open.repeat(MANY);
        for text in [
            format!("SELECT {deep}"),
            format!("SELECT * FROM t WHERE a = {deep}"),
            format!("SELECT * FROM t WHERE {deep}"),
            format!("INSERT INTO t (a) VALUES ({deep}"),
            format!("CREATE TABLE t (a int PRIMARY KEY) WITH x = {deep}"),
        ] {
            assert!(cql::parse(&text).is_err(), "{open}");
        }
    }
    for open in ["list<", "frozen<", "map<int, ", "tuple<int, ", "vector<"] {
        assert!(cql::parse_type(&open.repeat(MANY)).is_err(), "{open}");
    }
    for link in ["1 + ", "1 * ", "a.", "a + ", "a, "] {
        assert!(cql::parse(&format!("SELECT {}", link.repeat(MANY))).is_err());
        assert!(cql::parse(&format!("SELECT {}1 FROM t", "a[1]".repeat(MANY))).is_err());
    }
    let chain = "1 + ".repeat(MANY);
    assert!(cql::parse(&format!("SELECT * FROM t WHERE a = {chain}1")).is_err());
}

#[test]
fn the_deepest_tree_that_is_read_can_be_walked() {
    let depth = cql::NESTING_MAX / 2 - 1;
    let text = format!(
        "SELECT * FROM t WHERE a = {}1{}",
        "[".repeat(depth),
        "]".repeat(depth)
    );
    let tree = cql::parse(&text).unwrap();
    assert_eq!(tree.to_string(), text);
    assert_eq!(tree.clone(), tree);
    let sum = "1 + ".repeat(cql::OPERATORS_MAX);
    let tree = cql::parse(&format!("UPDATE t SET a = {sum}1 WHERE k = 1")).unwrap();
    assert_eq!(tree.clone(), tree);
}

#[test]
fn too_long_is_said_before_reading() {
    let text = " ".repeat(cql::STATEMENT_BYTES_MAX + 1);
    assert!(
        cql::parse(&text)
            .unwrap_err()
            .message
            .contains("longer than")
    );
    let text = format!(
        "INSERT INTO t (a) VALUES ({}1)",
        "1,".repeat(cql::TOKENS_MAX / 2)
    );
    assert!(cql::parse(&text).unwrap_err().message.contains("tokens"));
}

/// The debug text without the positions of markers, which a generated tree does not know.
fn without_positions(tree: &Statement) -> String {
    let text = format!("{tree:?}");
    let mut parts = text.split("Marker { index: ");
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str("Marker { ");
        out.push_str(part.trim_start_matches(|c: char| c.is_ascii_digit()));
    }
    out
}

fn check_roundtrip(tree: &Statement) -> Result<(), TestCaseError> {
    let text = tree.to_string();
    let again = cql::parse(&text).map_err(|e| TestCaseError::fail(format!("{text}\n{e}")))?;
    prop_assert_eq!(
        without_positions(&again),
        without_positions(tree),
        "{}",
        text
    );
    prop_assert_eq!(again.to_string(), text.clone());
    prop_assert_eq!(cql::parse(&text), Ok(again));
    Ok(())
}

/// Words and signs, to be strung together.
fn scrap() -> impl Strategy<Value = String> {
    let all = GOLDEN.map(|(_, file)| file).join(" ");
    let mut words: Vec<String> = all.split_whitespace().map(str::to_owned).collect();
    for sign in [
        "'", "\"", "$$", "/*", "--", "é", "\u{0}", "😀", "\n", "(", ")", "{", ":", "?",
    ] {
        words.push(sign.into());
    }
    prop::sample::select(words)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn any_data_statement_survives_printing(tree in trees::statement()) {
        check_roundtrip(&tree)?;
    }

    #[test]
    fn any_schema_statement_survives_printing(tree in schema_trees::statement()) {
        check_roundtrip(&tree)?;
    }

    #[test]
    fn any_text_is_answered(text in any::<String>()) {
        let _ = cql::parse(&text).map_err(|e| e.to_string());
        let _ = cql::parse_type(&text).map_err(|e| e.to_string());
    }

    #[test]
    fn any_words_are_answered(words in prop::collection::vec(scrap(), 0..40), glue in "[ \n]?") {
        let text = words.join(&glue);
        if let Ok(tree) = cql::parse(&text) {
            prop_assert_eq!(cql::parse(&tree.to_string()), Ok(tree));
        }
    }

    #[test]
    fn a_broken_golden_statement_is_answered(
        file in 0..GOLDEN.len(),
        line in any::<prop::sample::Index>(),
        edits in prop::collection::vec((any::<prop::sample::Index>(), any::<prop::sample::Index>(), scrap()), 1..4),
    ) {
        let samples = samples(GOLDEN[file].1);
        let mut text: Vec<char> = samples[line.index(samples.len())].0.chars().collect();
        for (from, length, scrap) in edits {
            let from = from.index(text.len() + 1);
            let to = (from + length.index(8)).min(text.len());
            text.splice(from..to, scrap.chars());
        }
        let text: String = text.into_iter().collect();
        match cql::parse(&text) {
            Ok(tree) => prop_assert_eq!(cql::parse(&tree.to_string()), Ok(tree)),
            Err(error) => prop_assert!(!error.message.is_empty()),
        }
    }
}

/// Were each compared with all before it, this would take the better part of an hour.
#[test]
fn what_is_named_once_is_found_out_without_comparing_everything() {
    let entries = |count: usize, one: fn(usize) -> String, between: &str| {
        let parts: Vec<String> = (0..count).map(one).collect();
        parts.join(between)
    };
    let map = entries(100_000, |n| format!("'{n}': 'v'"), ", ");
    let properties = entries(100_000, |n| format!("p{n} = 1"), " AND ");
    let assignments = entries(100_000, |n| format!("m[{n}] = 1"), ", ");
    for text in [
        format!("CREATE KEYSPACE k WITH replication = {{{map}}}"),
        format!("ALTER TABLE t WITH {properties}"),
        format!("UPDATE t SET {assignments} WHERE k = 1"),
    ] {
        assert!(cql::parse(&text).is_ok(), "{}", &text[..40]);
    }
}
