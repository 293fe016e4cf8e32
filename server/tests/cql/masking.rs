//! Dynamic data masking where it is switched on: masks are checked, stored, described and listed. The words are those of a Cassandra 5.0.6.

use crate::client::{Answer, Client, Node, with_roles, with_settings};
use crate::scene::wait_for;
use palladium::config::Config;
use palladium::query::json;

fn lines(client: &mut Client, statement: &str) -> Vec<String> {
    match client.query(statement) {
        Answer::Error(code, message) => vec![format!("{code:#06x} {message}")],
        Answer::Rows(rows) => rows
            .rows
            .iter()
            .map(|row| {
                let cells = rows.columns.iter().zip(row).map(|((_, ty), cell)| {
                    let mut text = String::new();
                    json::print(ty, cell.as_deref(), &mut text).expect("a value of its type");
                    text
                });
                cells.collect::<Vec<_>>().join(" | ")
            })
            .collect(),
        _ => Vec::new(),
    }
}

#[test]
fn masks_are_checked_stored_described_and_listed() {
    let node = Node::start_with(with_settings("dynamic_data_masking_enabled = true"));
    let mut client = Client::connect(node.address());
    client
        .query("CREATE KEYSPACE m WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
        .done();
    for (definition, message) in [
        (
            "c text MASKED WITH nope()",
            "Unable to find masking function for c, no declared function matches the signature nope()",
        ),
        (
            "c text MASKED WITH mask_hash()",
            "Masking function mask_hash() return type is blob. This is different to the type of the masked column c of type text. Masking functions can only be attached to table columns if they return the same data type as the masked column.",
        ),
        (
            "c text MASKED WITH mask_inner(1)",
            "Invalid number of arguments for function system.mask_inner([text|varchar|ascii], int, int, [text])",
        ),
        (
            "c text MASKED WITH mask_inner(1, 'x')",
            "Function system.mask_inner requires an argument of type int, but found argument 'x' of type ascii",
        ),
        (
            "c int MASKED WITH mask_inner(1, 1)",
            "Function system.mask_inner requires an argument of type [text|varchar|ascii], but found argument org.apache.cassandra.db.marshal.Int32Type of type int",
        ),
        (
            "c int MASKED WITH mask_replace('a')",
            "Type error: 'a' cannot be passed as argument 1 of function system.mask_replace of type int",
        ),
    ] {
        let statement = format!("CREATE TABLE m.t2 (k int PRIMARY KEY, {definition})");
        assert_eq!(
            client.query(&statement).error(),
            (0x2200, message.to_owned())
        );
    }
    client
        .query(
            "CREATE TABLE m.t (k text MASKED WITH mask_inner(1, null) PRIMARY KEY, a int MASKED WITH mask_default(), b text MASKED WITH \
             mask_replace('redacted'), c blob, l list<int> MASKED WITH mask_default(), d date MASKED WITH mask_null(), p int)",
        )
        .done();
    client
        .query("ALTER TABLE m.t ADD z text MASKED WITH mask_outer(1, 2, '#')")
        .done();
    let described = lines(&mut client, "DESCRIBE TABLE m.t").join("");
    for line in [
        "k text MASKED WITH system.mask_inner(1, null) PRIMARY KEY,",
        "a int MASKED WITH system.mask_default(),",
        "b text MASKED WITH system.mask_replace('redacted'),",
        "z text MASKED WITH system.mask_outer(1, 2, '#'),",
        "l list<int> MASKED WITH system.mask_default()",
    ] {
        assert!(described.contains(line), "{described}");
    }
    let listed = "SELECT column_name, function_argument_nulls, function_argument_types, function_argument_values, function_name FROM \
        system_schema.column_masks WHERE keyspace_name = 'm'";
    assert_eq!(
        lines(&mut client, listed),
        [
            "\"a\" | [] | [] | [] | \"mask_default\"",
            "\"b\" | [false] | [\"text\"] | [\"redacted\"] | \"mask_replace\"",
            "\"d\" | [] | [] | [] | \"mask_null\"",
            "\"k\" | [false, true] | [\"int\", \"int\"] | [\"1\", \"\"] | \"mask_inner\"",
            "\"l\" | [] | [] | [] | \"mask_default\"",
            "\"z\" | [false, false, false] | [\"int\", \"int\", \"text\"] | [\"1\", \"2\", \"#\"] | \"mask_outer\"",
        ]
    );
    client.query("ALTER TABLE m.t ALTER b DROP MASKED").done();
    client
        .query("ALTER TABLE m.t ALTER IF EXISTS nope MASKED WITH mask_null()")
        .done();
    assert_eq!(
        client
            .query("ALTER TABLE m.t ALTER nope MASKED WITH mask_null()")
            .error()
            .1,
        "Column with name 'nope' doesn't exist on table 't'"
    );
    assert_eq!(lines(&mut client, listed).len(), 5);
    // While roles are off, nobody is masked.
    client
        .query("INSERT INTO m.t (k, a) VALUES ('hello', 1)")
        .done();
    assert_eq!(
        lines(&mut client, "SELECT k, a FROM m.t"),
        ["\"hello\" | 1"]
    );
    node.stop();
}

#[test]
fn who_may_not_unmask_sees_masks_and_nothing_behind_them() {
    let node = Node::start_with(Config {
        cassandra: with_settings("dynamic_data_masking_enabled = true").cassandra,
        ..with_roles()
    });
    let mut admin = Client::connect_as(node.address(), "cassandra", "cassandra").expect("a login");
    for statement in [
        "CREATE KEYSPACE m WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
        "CREATE TABLE m.t (k text MASKED WITH mask_inner(1, null) PRIMARY KEY, a int MASKED WITH mask_default(), b text MASKED WITH \
         mask_replace('redacted'), c blob, l list<int> MASKED WITH mask_default(), d date MASKED WITH mask_null(), p int)",
        "CREATE TABLE m.t5 (k int, c text MASKED WITH mask_default(), s text STATIC MASKED WITH mask_null(), v tuple<int, text> MASKED \
         WITH mask_default(), PRIMARY KEY (k, c))",
        "CREATE TABLE m.near (k int PRIMARY KEY, v vector<float, 2> MASKED WITH mask_null())",
        "CREATE INDEX ON m.near (v) USING 'sai'",
        "INSERT INTO m.near (k, v) VALUES (1, [1, 0])",
        "INSERT INTO m.near (k, v) VALUES (2, [0, 1])",
        "INSERT INTO m.t (k, a, b, l, d, p) VALUES ('hello', 1, 'x', [1, 2], '2020-01-01', 5)",
        "INSERT INTO m.t5 (k, c, s, v) VALUES (1, 'cc', 'ss', (1, 'a'))",
        "CREATE ROLE m WITH PASSWORD = 'm' AND LOGIN = true",
        "CREATE ROLE m2 WITH PASSWORD = 'm2' AND LOGIN = true",
        "CREATE ROLE m3 WITH PASSWORD = 'm3' AND LOGIN = true",
        "GRANT SELECT ON KEYSPACE m TO m",
        "GRANT MODIFY ON KEYSPACE m TO m",
        "GRANT SELECT ON KEYSPACE m TO m2",
        "GRANT SELECT_MASKED ON KEYSPACE m TO m2",
        "GRANT SELECT ON KEYSPACE m TO m3",
        "GRANT UNMASK ON TABLE m.t TO m3",
    ] {
        admin.query(statement).done();
    }
    let mut masked = Client::connect_as(node.address(), "m", "m").expect("a login");
    let mut selecting = Client::connect_as(node.address(), "m2", "m2").expect("a login");
    let mut unmasked = Client::connect_as(node.address(), "m3", "m3").expect("a login");
    let everything = "\"hello\" | 1 | \"x\" | null | \"2020-01-01\" | [1, 2] | 5";
    for (statement, seen) in [
        (
            "SELECT k, a, b, c, d, l, p FROM m.t",
            "\"h****\" | 0 | \"redacted\" | null | null | [] | 5",
        ),
        (
            "SELECT count(*), max(a), max(b), count(a) FROM m.t",
            "1 | 0 | \"redacted\" | 1",
        ),
        (
            "SELECT JSON * FROM m.t",
            "\"{\\\"k\\\": \\\"h****\\\", \\\"a\\\": 0, \\\"b\\\": \\\"redacted\\\", \\\"c\\\": null, \\\"d\\\": null, \\\"l\\\": [], \\\"p\\\": 5}\"",
        ),
        ("SELECT DISTINCT k FROM m.t", "\"h****\""),
        ("SELECT token(k) FROM m.t", "-5509568845638707154"),
        (
            "SELECT CAST(a AS text), a + 1, mask_inner(b, 1, 1), toJson(a) FROM m.t",
            "\"0\" | 1 | \"r******d\" | \"0\"",
        ),
        ("SELECT a AS x FROM m.t WHERE p = 5 ALLOW FILTERING", "0"),
        (
            "SELECT k, c, s, v FROM m.t5",
            "1 | \"****\" | null | [0, \"****\"]",
        ),
        (
            "SELECT k, c FROM m.t5 WHERE k = 1 ORDER BY c DESC",
            "1 | \"****\"",
        ),
        ("SELECT k, c FROM m.t5 GROUP BY k, c", "1 | \"****\""),
    ] {
        for client in [&mut masked, &mut selecting] {
            assert_eq!(lines(client, statement), [seen], "{statement}");
        }
    }
    assert_eq!(
        lines(&mut unmasked, "SELECT k, a, b, c, d, l, p FROM m.t"),
        [everything]
    );
    assert_eq!(
        lines(&mut admin, "SELECT k, a, b, c, d, l, p FROM m.t"),
        [everything]
    );
    assert_eq!(lines(&mut masked, "SELECT ttl(a) FROM m.t"), ["null"]);
    admin.wait_for_builds();
    let near = "SELECT k, v FROM m.near ORDER BY v ANN OF [0.1, 1] LIMIT 1";
    assert_eq!(lines(&mut selecting, near), ["2 | null"]);
    assert_eq!(lines(&mut admin, near), ["2 | [0.0, 1.0]"]);
    for (statement, columns) in [
        (
            "SELECT * FROM m.t WHERE k = 'hello'",
            "m.t, cannot query masked columns [k]",
        ),
        (
            "SELECT * FROM m.t WHERE a = 1 ALLOW FILTERING",
            "m.t, cannot query masked columns [a]",
        ),
        (
            "SELECT * FROM m.t5 WHERE k = 1 AND c = 'cc'",
            "m.t5, cannot query masked columns [c]",
        ),
        (
            "SELECT * FROM m.t WHERE token(k) > 0",
            "m.t, cannot query masked columns [k]",
        ),
        (
            "SELECT k FROM m.near ORDER BY v ANN OF [1, 0] LIMIT 1",
            "m.near, cannot query masked columns [v]",
        ),
    ] {
        let message =
            format!("User m has no UNMASK nor SELECT_MASKED permission on table {columns}");
        assert_eq!(
            masked.query(statement).error(),
            (0x2100, message),
            "{statement}"
        );
    }
    // Who names masked columns is shown none of them, and a condition's answer shows them.
    for statement in [
        "UPDATE m.t SET p = 6 WHERE k = 'hello' IF a = 1",
        "BEGIN BATCH UPDATE m.t SET p = 6 WHERE k = 'hello' IF a = 1 APPLY BATCH",
        "INSERT INTO m.t (k, a) VALUES ('hello', 5) IF NOT EXISTS",
    ] {
        let message = "User m has no UNMASK permission on table m.t, cannot execute conditional statements beside masked columns [k, a, b, d, l]";
        assert_eq!(
            masked.query(statement).error(),
            (0x2100, message.to_owned()),
            "{statement}"
        );
    }
    assert_eq!(
        lines(
            &mut selecting,
            "SELECT k, p FROM m.t WHERE k = 'hello' AND a = 1 ALLOW FILTERING"
        ),
        ["\"h****\" | 5"]
    );
    // A statement that was prepared by one is executed by the other as what he may see; a grant is felt at once.
    let prepared = unmasked.prepare("SELECT a FROM m.t");
    let prepared_too = masked.prepare("SELECT a FROM m.t");
    let number = |answer: Answer| answer.rows().rows[0][0].clone();
    assert_eq!(
        number(unmasked.execute(&prepared, &[])).as_deref(),
        Some(&[0, 0, 0, 1][..])
    );
    assert_eq!(
        number(masked.execute(&prepared_too, &[])).as_deref(),
        Some(&[0; 4][..])
    );
    admin.query("GRANT UNMASK ON TABLE m.t TO m").done();
    assert_eq!(
        number(masked.execute(&prepared_too, &[])).as_deref(),
        Some(&[0, 0, 0, 1][..])
    );
    node.stop();
}

fn with_roles_and_masks() -> Config {
    Config {
        cassandra: with_settings("dynamic_data_masking_enabled = true").cassandra,
        ..with_roles()
    }
}

#[test]
fn a_view_of_a_masked_column_shows_it_to_whoever_sees_it_in_the_base() {
    let node = Node::start_with(with_roles_and_masks());
    let mut admin = Client::connect_as(node.address(), "cassandra", "cassandra").expect("may");
    for statement in [
        "CREATE KEYSPACE m WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
        "CREATE TABLE m.t (k int PRIMARY KEY, v text MASKED WITH mask_replace('masked'), w int)",
        "INSERT INTO m.t (k, v, w) VALUES (1, 'secret', 2)",
        "CREATE ROLE bob WITH PASSWORD = 'bob' AND LOGIN = true",
        "GRANT CREATE ON KEYSPACE m TO bob",
        "GRANT ALTER, SELECT ON m.t TO bob",
    ] {
        admin.query(statement).done();
    }
    let mut bob = Client::connect_as(node.address(), "bob", "bob").expect("may");
    bob.query("CREATE MATERIALIZED VIEW m.by_w AS SELECT k, v, w FROM m.t WHERE w IS NOT NULL AND k IS NOT NULL PRIMARY KEY (w, k)")
        .done();
    wait_for(
        || (!lines(&mut admin, "SELECT v FROM m.by_w").is_empty()).then_some(()),
        "the view shows the row",
    );
    assert_eq!(lines(&mut bob, "SELECT v FROM m.by_w"), ["\"masked\""]);
    assert_eq!(
        lines(
            &mut bob,
            "SELECT v FROM m.by_w WHERE v = 'secret' ALLOW FILTERING"
        ),
        [
            "0x2100 User bob has no UNMASK nor SELECT_MASKED permission on table m.by_w, cannot query masked columns [v]"
        ]
    );
    // What is granted on the view itself opens nothing.
    admin.query("GRANT UNMASK ON m.by_w TO bob").done();
    assert_eq!(lines(&mut bob, "SELECT v FROM m.by_w"), ["\"masked\""]);
    admin.query("GRANT UNMASK ON m.t TO bob").done();
    assert_eq!(lines(&mut bob, "SELECT v FROM m.by_w"), ["\"secret\""]);
    node.stop();
}

#[test]
fn masks_that_are_switched_off_hinder_nobody() {
    let node = Node::start_with(with_roles_and_masks());
    let mut admin = Client::connect_as(node.address(), "cassandra", "cassandra").expect("may");
    for statement in [
        "CREATE KEYSPACE m WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
        "CREATE TABLE m.t (k int PRIMARY KEY, v text MASKED WITH mask_default())",
        "INSERT INTO m.t (k, v) VALUES (1, 'shown')",
        "CREATE ROLE bob WITH PASSWORD = 'bob' AND LOGIN = true",
        "GRANT SELECT ON m.t TO bob",
    ] {
        admin.query(statement).done();
    }
    let node = node.restart_with(with_roles());
    let mut bob = Client::connect_as(node.address(), "bob", "bob").expect("may");
    let found = lines(
        &mut bob,
        "SELECT v FROM m.t WHERE v = 'shown' ALLOW FILTERING",
    );
    assert_eq!(found, ["\"shown\""]);
    node.stop();
}

#[test]
fn the_argument_of_a_mask_is_kept_as_the_value_that_it_is() {
    let node = Node::start_with(with_settings("dynamic_data_masking_enabled = true"));
    let mut client = Client::connect(node.address());
    client
        .query("CREATE KEYSPACE m WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
        .done();
    client.query("CREATE TYPE m.u (a int, b text)").done();
    for (place, (ty, written, described, listed)) in [
        ("double", "-1", "-1.0", "-1.0"),
        ("varint", "007", "7", "7"),
        (
            "timestamp",
            "5",
            "'1970-01-01T00:00:00.005Z'",
            "1970-01-01T00:00:00.005Z",
        ),
        ("blob", "0xAB", "0xab", "ab"),
        ("duration", "P2W", "14d", "14d"),
        (
            "set<int>",
            "{2, 1, 1}",
            "{1, 2}",
            "0000000200000004000000010000000400000002",
        ),
        (
            "map<text, int>",
            "{'b': 1}",
            "{'b': 1}",
            "0000000100000001620000000400000001",
        ),
        ("frozen<u>", "{b: 'x:'}", "{a: null, b: 'x:'}", "@:x\\\\:"),
        ("tuple<int, text>", "(1, null)", "(1, null)", "1:@"),
        (
            "vector<float, 2>",
            "[1, 2]",
            "[1.0, 2.0]",
            "3f80000040000000",
        ),
        ("text", "''", "''", ""),
    ]
    .into_iter()
    .enumerate()
    {
        client
            .query(&format!(
                "CREATE TABLE m.t{place} (k int PRIMARY KEY, v {ty} MASKED WITH mask_replace({written}))"
            ))
            .done();
        let text = lines(&mut client, &format!("DESCRIBE TABLE m.t{place}")).concat();
        assert!(
            text.contains(&format!("MASKED WITH system.mask_replace({described})")),
            "{ty}: {text}"
        );
        let masks = "SELECT function_argument_values FROM system_schema.column_masks";
        assert_eq!(
            lines(
                &mut client,
                &format!("{masks} WHERE keyspace_name = 'm' AND table_name = 't{place}'")
            ),
            [format!("[\"{listed}\"]")],
            "{ty}"
        );
    }
}

#[test]
fn a_mask_is_the_same_after_a_restart_and_from_what_describe_shows() {
    let node = Node::start_with(Config {
        cassandra: with_settings("dynamic_data_masking_enabled = true").cassandra,
        ..with_roles()
    });
    let mut admin = Client::connect_as(node.address(), "cassandra", "cassandra").expect("a login");
    for statement in [
        "CREATE KEYSPACE m WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
        "CREATE TYPE m.u (a int, b timestamp)",
        "CREATE ROLE m WITH PASSWORD = 'm' AND LOGIN = true",
        "GRANT SELECT ON KEYSPACE m TO m",
    ] {
        admin.query(statement).done();
    }
    let masks = [
        ("timestamp", "mask_replace('+11000-01-01')"),
        ("timestamp", "mask_replace(9223372036854775807)"),
        ("timestamp", "mask_replace(-9223372036854775808)"),
        ("timestamp", "mask_replace('-0044-03-15')"),
        ("timestamp", "mask_replace(blob_as_timestamp(0x))"),
        ("timestamp", "mask_replace('now')"),
        ("timeuuid", "mask_replace(now())"),
        ("uuid", "mask_replace(uuid())"),
        ("int", "mask_replace(blob_as_int(0x))"),
        ("int", "mask_replace(null)"),
        ("inet", "mask_replace('')"),
        ("date", "mask_replace(0)"),
        ("date", "mask_replace(4294967295)"),
        ("duration", "mask_replace(0s)"),
        ("double", "mask_replace(-Infinity)"),
        ("decimal", "mask_replace(1E300)"),
        ("list<timestamp>", "mask_replace([9223372036854775807, 1])"),
        (
            "set<frozen<tuple<timestamp>>>",
            "mask_replace({(-9223372036854775808)})",
        ),
        (
            "map<timestamp, duration>",
            "mask_replace({9223372036854775807: 0s})",
        ),
        ("frozen<u>", "mask_replace({a: 1, b: 9223372036854775807})"),
        ("tuple<int, text>", "mask_replace((blob_as_int(0x), ''))"),
        ("text", "mask_inner(blob_as_int(0x), 1)"),
        ("text", "mask_replace($$it's$$)"),
    ];
    let show = |client: &mut Client, table: &str| {
        // As bytes, which a value of none has no other text for.
        match client.query(&format!("SELECT v FROM m.{table}")) {
            Answer::Rows(rows) => rows.rows,
            Answer::Error(_, message) => panic!("{table}: {message}"),
            _ => panic!("{table} has rows"),
        }
    };
    let mut reader = Client::connect_as(node.address(), "m", "m").expect("a login");
    let mut seen = Vec::new();
    for (place, (ty, mask)) in masks.iter().enumerate() {
        let create =
            format!("CREATE TABLE m.t{place} (k int PRIMARY KEY, v {ty} MASKED WITH {mask})");
        admin.query(&create.replace("<u>", "<m.u>")).done();
        let described = lines(&mut admin, &format!("DESCRIBE TABLE m.t{place}")).join("");
        let (_, described) = described.split_once("MASKED WITH ").expect("a mask");
        let (described, _) = described
            .split_once("\\n)")
            .expect("the end of the columns");
        let create =
            format!("CREATE TABLE m.d{place} (k int PRIMARY KEY, v {ty} MASKED WITH {described})");
        admin.query(&create.replace("<u>", "<m.u>")).done();
        for table in [format!("t{place}"), format!("d{place}")] {
            admin
                .query(&format!("INSERT INTO m.{table} (k) VALUES (1)"))
                .done();
            seen.push((table.clone(), show(&mut reader, &table)));
        }
        let [.., (_, written), (_, again)] = &seen[..] else {
            panic!("two tables were read");
        };
        assert_eq!(written, again, "{ty} {mask}: {described}");
    }
    let node = node.restart();
    let mut reader = Client::connect_as(node.address(), "m", "m").expect("a login");
    for (table, rows) in seen {
        assert_eq!(show(&mut reader, &table), rows, "{table}");
    }
    node.stop();
}

#[test]
fn what_a_mask_asks_of_the_clock_it_asks_when_it_is_made() {
    let node = Node::start_with(with_settings("dynamic_data_masking_enabled = true"));
    let mut client = Client::in_keyspace(node.address());
    client
        .query("CREATE TABLE t (k int PRIMARY KEY, v timestamp MASKED WITH mask_replace(current_timestamp()))")
        .done();
    let described = lines(&mut client, "DESCRIBE TABLE t").join("");
    assert!(!described.contains("mask_replace('1970"), "{described}");
    node.stop();
}

#[test]
fn what_is_no_argument_of_a_mask_is_refused_in_the_words_of_its_own_mistake() {
    let node = Node::start_with(with_settings("dynamic_data_masking_enabled = true"));
    let mut client = Client::in_keyspace(node.address());
    for (ty, mask, message) in [
        (
            "timestamp",
            "mask_replace('text')",
            "Unable to parse a date/time from 'text'",
        ),
        (
            "int",
            "mask_replace(9223372036854775808)",
            "Unable to make int from '9223372036854775808'",
        ),
        (
            "duration",
            "mask_replace(1)",
            "Unable to convert '1' to a duration",
        ),
        (
            "int",
            "mask_replace([1])",
            "Unexpected receiver type 'int'; only list and vector are expected",
        ),
        ("int", "mask_replace(f(1))", "Unknown function f called"),
        (
            "text",
            "mask_replace(1 + 1)",
            "the '+' operation is not supported between 1 and 1",
        ),
        (
            "bigint",
            "mask_replace((int) 1)",
            "Type error: (int)1 cannot be passed as argument 1 of function system.mask_replace of type bigint",
        ),
        (
            "int",
            "mask_replace(now())",
            "Type error: now() cannot be passed as argument 1 of function system.mask_replace of type int",
        ),
        (
            "text",
            "mask_inner(9223372036854775807, 1)",
            "Function system.mask_inner requires an argument of type int, but found argument 9223372036854775807 of type bigint",
        ),
        (
            "text",
            "mask_inner(1, 1, now())",
            "Function system.mask_inner requires an argument of type text, but found argument now() of type timeuuid",
        ),
        (
            "text",
            "mask_inner([1], 1)",
            "Unexpected receiver type 'int'; only list and vector are expected",
        ),
    ] {
        let statement = format!("CREATE TABLE w (k int PRIMARY KEY, v {ty} MASKED WITH {mask})");
        assert_eq!(
            client.query(&statement).error(),
            (0x2200, message.to_owned()),
            "{statement}"
        );
    }
    node.stop();
}

#[test]
fn a_mask_follows_the_fields_of_its_type_to_their_new_names() {
    let node = Node::start_with(with_settings("dynamic_data_masking_enabled = true"));
    let mut client = Client::in_keyspace(node.address());
    for statement in [
        "CREATE TYPE ks.part (a int, b int)",
        "CREATE TABLE ks.t (k int PRIMARY KEY, v frozen<part> MASKED WITH mask_replace({a: 1, b: 2}))",
        "ALTER TYPE ks.part RENAME a TO z",
    ] {
        client.query(statement).done();
    }
    let described = lines(&mut client, "DESCRIBE TABLE ks.t");
    assert!(
        described[0].contains("mask_replace({z: 1, b: 2})"),
        "{described:?}"
    );
    node.stop();
}
