//! Prepared statements, pages and batches, and what many clients do to one row at once.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};

use crate::client::{Answer, Client, Prepared, Value, with_server};
use md5::{Digest, Md5};
use palladium_protocol::types::{self, CqlType, CqlValue};

const UNPREPARED: i32 = 0x2500;
const INVALID: i32 = 0x2200;
const FUNCTION_FAILURE: i32 = 0x1400;
const UNAUTHORIZED: i32 = 0x2100;
const ANONYMOUS: &str = "You have to be logged in and not anonymous to perform this request";
const PROTOCOL_ERROR: i32 = 0x000A;

fn int(value: &Option<bytes::Bytes>) -> i32 {
    let bytes = value.as_deref().expect("a value");
    i32::from_be_bytes(bytes.try_into().expect("an int"))
}

/// A value of each type that a column can have.
fn samples() -> Vec<(&'static str, CqlValue)> {
    use CqlValue::*;
    let uuid = |text: &str| text.parse().expect("a uuid");
    let text = |text: &str| Text(text.into());
    vec![
        ("ascii", Ascii("ascii".into())),
        ("bigint", Bigint(i64::MIN)),
        ("blob", Blob(vec![0, 1, 255])),
        ("boolean", Boolean(true)),
        ("date", Date(1 << 31)),
        (
            "decimal",
            Decimal {
                unscaled: (-12345).into(),
                scale: 3,
            },
        ),
        ("double", Double(-0.0)),
        (
            "duration",
            Duration(types::Duration {
                months: 1,
                days: 2,
                nanoseconds: 3,
            }),
        ),
        ("float", Float(f32::INFINITY)),
        ("inet", Inet("::1".parse().expect("an address"))),
        ("int", Int(-1)),
        ("smallint", Smallint(-300)),
        ("text", text("grüß ♥")),
        ("time", Time(86_399_999_999_999)),
        ("timestamp", Timestamp(-1)),
        (
            "timeuuid",
            Timeuuid(uuid("50554d6e-29bb-11e5-b345-feff819cdc9f")),
        ),
        ("tinyint", Tinyint(-128)),
        ("uuid", Uuid(uuid("123e4567-e89b-42d3-a456-426614174000"))),
        (
            "varint",
            Varint(
                "-340282366920938463463374607431768211456"
                    .parse()
                    .expect("a number"),
            ),
        ),
        ("list<int>", List(vec![Int(3), Int(1), Int(3)])),
        ("set<text>", Set(vec![text("a"), text("b")])),
        (
            "map<int, text>",
            Map(vec![(Int(1), text("x")), (Int(2), text(""))]),
        ),
        ("frozen<list<text>>", List(vec![text("z"), text("a")])),
        ("tuple<int, text>", Tuple(vec![Some(Int(1)), None])),
        (
            "map<text, frozen<list<int>>>",
            Map(vec![(text("k"), List(vec![Int(1), Int(2)]))]),
        ),
        ("vector<float, 2>", Vector(vec![Float(1.5), Float(-2.0)])),
    ]
}

#[test]
fn every_type_goes_in_and_comes_out() {
    with_server(|address| {
        let mut client = Client::connect(address);
        let samples = samples();
        let columns: Vec<String> = samples
            .iter()
            .enumerate()
            .map(|(place, (ty, _))| format!("c{place:02} {ty}"))
            .collect();
        client
            .query(&format!(
                "CREATE TABLE ks.t (k int PRIMARY KEY, {})",
                columns.join(", ")
            ))
            .done();
        let names: Vec<String> = (0..samples.len())
            .map(|place| format!("c{place:02}"))
            .collect();
        let insert = client.prepare(&format!(
            "INSERT INTO ks.t (k, {}) VALUES (?{})",
            names.join(", "),
            ", ?".repeat(names.len())
        ));
        let mut values = vec![Value::from(1)];
        values.extend(
            samples
                .iter()
                .map(|(_, value)| Value::Bytes(value.to_bytes())),
        );
        client.execute(&insert, &values).done();
        let select = client.prepare("SELECT * FROM ks.t WHERE k = ?");
        let rows = client.execute(&select, &[Value::from(1)]).rows();
        for (place, (ty, value)) in samples.iter().enumerate() {
            let cell = rows.rows[0][place + 1].as_deref().map(<[u8]>::to_vec);
            assert_eq!(cell, Some(value.to_bytes()), "{ty}");
            assert_eq!(
                rows.columns[place + 1].1,
                insert.markers[place + 1].1,
                "{ty}"
            );
        }
    });
}

#[test]
fn unset_leaves_a_column_and_null_deletes_it() {
    with_server(|address| {
        let mut client = Client::connect(address);
        client
            .query("CREATE TABLE ks.t (k int PRIMARY KEY, a int, b int)")
            .done();
        let insert = client.prepare("INSERT INTO ks.t (k, a, b) VALUES (?, ?, ?)");
        client
            .execute(&insert, &[1.into(), 2.into(), 3.into()])
            .done();
        client
            .execute(&insert, &[1.into(), Value::Unset, Value::Null])
            .done();
        let rows = client.query("SELECT a, b FROM ks.t").rows();
        assert_eq!(int(&rows.rows[0][0]), 2);
        assert_eq!(rows.rows[0][1], None);
        let (code, message) = client
            .execute(&insert, &[Value::Unset, 1.into(), 1.into()])
            .error();
        assert_eq!(
            (code, message.as_str()),
            (INVALID, "Invalid unset value for column k")
        );
    });
}

#[test]
fn values_find_their_markers_by_name() {
    with_server(|address| {
        let mut client = Client::connect(address);
        client
            .query("CREATE TABLE ks.t (k int PRIMARY KEY, v text)")
            .done();
        let update = client.prepare("UPDATE ks.t SET v = :value WHERE k = :key");
        let names: Vec<&str> = update
            .markers
            .iter()
            .map(|(name, _)| name.as_str())
            .collect();
        assert_eq!(names, ["value", "key"]);
        client
            .execute_named(&update, &[("key", 7.into()), ("value", "x".into())])
            .done();
        let rows = client.query("SELECT k, v FROM ks.t").rows();
        assert_eq!(int(&rows.rows[0][0]), 7);
        assert_eq!(rows.rows[0][1].as_deref(), Some(&b"x"[..]));
        assert_eq!(
            client
                .execute_named(&update, &[("key", 7.into())])
                .error()
                .0,
            INVALID
        );
    });
}

#[test]
fn a_named_value_is_for_all_markers_of_its_name_and_one_that_no_marker_asks_for_is_passed_over() {
    with_server(|address| {
        let mut client = Client::connect(address);
        client
            .query("CREATE TABLE ks.t (k int PRIMARY KEY, v int)")
            .done();
        let insert = "INSERT INTO ks.t (k, v) VALUES (:a, :a)";
        client
            .query_named(
                insert,
                &[("b", "x".into()), ("a", 7.into()), ("a", 8.into())],
            )
            .done();
        let prepared = client.prepare(insert);
        client
            .execute_named(&prepared, &[("a", 9.into()), ("", Value::Null)])
            .done();
        let select = "SELECT k, v FROM ks.t";
        let rows = client.query_named(select, &[("c", 1.into())]).rows();
        let mut rows: Vec<_> = rows
            .rows
            .iter()
            .map(|row| (int(&row[0]), int(&row[1])))
            .collect();
        rows.sort();
        assert_eq!(rows, [(7, 7), (9, 9)]);
        let prepared = client.prepare(select);
        let rows = client.execute_named(&prepared, &[("c", 1.into())]).rows();
        assert_eq!(rows.rows.len(), 2);
        let missing = client.query_named(insert, &[("A", 1.into())]).error();
        assert_eq!(
            missing,
            (INVALID, "Invalid amount of bind variables".into())
        );
    });
}

#[test]
fn an_id_does_not_depend_on_use_where_all_tables_are_named_with_their_keyspaces() {
    with_server(|address| {
        let mut client = Client::connect(address);
        client
            .query("CREATE TABLE ks.t (k int PRIMARY KEY, v int)")
            .done();
        let texts = [
            "SELECT v FROM ks.t WHERE k = ?",
            "INSERT INTO ks.t (k, v) VALUES (?, 1)",
            "UPDATE ks.t SET v = 1 WHERE k = ?",
            "DELETE FROM ks.t WHERE k = ?",
            "BEGIN BATCH INSERT INTO ks.t (k) VALUES (?) DELETE FROM ks.t WHERE k = ? APPLY BATCH",
            "TRUNCATE ks.t",
        ];
        let ids = |client: &mut Client| texts.map(|text| client.prepare(text).id);
        let before = ids(&mut client);
        assert_eq!(before, texts.map(|text| Md5::digest(text).to_vec()));
        client.query("USE ks").done();
        assert_eq!(ids(&mut client), before);
        // What was prepared without a keyspace is no statement of this session.
        let text =
            "BEGIN BATCH INSERT INTO ks.t (k) VALUES (?) DELETE FROM t WHERE k = ? APPLY BATCH";
        let expected = Md5::digest(format!("ks{text}")).to_vec();
        assert_eq!(client.prepare(text).id, expected);
        // Forgotten and prepared again by another connection, it is still the same.
        client.query("ALTER TABLE ks.t ADD w int").done();
        let mut other = Client::connect(address);
        assert_eq!(ids(&mut other), before);
        let prepared = client.prepare(texts[0]);
        client.execute(&prepared, &[1.into()]).rows();
    });
}

#[test]
fn an_id_is_the_md5_of_keyspace_and_text() {
    with_server(|address| {
        let mut client = Client::connect(address);
        client
            .query("CREATE TABLE ks.t (a int, b int, c int, PRIMARY KEY ((a, b), c))")
            .done();
        client.query("USE ks").done();
        let text = "SELECT * FROM t WHERE b = ? AND c = ? AND a = ?";
        let prepared = client.prepare(text);
        let expected: [u8; 16] = Md5::digest(format!("ks{text}")).into();
        assert_eq!(prepared.id, expected);
        assert_eq!(
            prepared.key_indexes,
            [2, 0],
            "where a driver finds the partition key, in its order"
        );
        assert!(
            client
                .prepare("SELECT * FROM t WHERE a = ? AND b = 1")
                .key_indexes
                .is_empty()
        );
    });
}

/// Fifty partitions of a hundred rows.
fn filled(address: SocketAddr) -> Client {
    let mut client = Client::connect(address);
    client
        .query("CREATE TABLE ks.p (k int, c int, v text, s int static, PRIMARY KEY (k, c))")
        .done();
    let insert = client.prepare("INSERT INTO ks.p (k, c, v) VALUES (?, ?, ?)");
    for k in 0..50 {
        let rows: Vec<(&Prepared, Vec<Value>)> = (0..100)
            .map(|c| (&insert, vec![k.into(), c.into(), "value".into()]))
            .collect();
        client.batch(&rows).done();
    }
    client
        .query("INSERT INTO ks.p (k, s) VALUES (77, 1)")
        .done();
    client
}

/// All pages of a statement; every page but the last is full.
fn pages(client: &mut Client, statement: &str, size: i32) -> Vec<Vec<Option<bytes::Bytes>>> {
    let mut rows = Vec::new();
    let mut state: Option<Vec<u8>> = None;
    loop {
        let page = client
            .query_page(statement, Some(size), state.as_deref())
            .rows();
        assert!(page.rows.len() <= size as usize);
        if page.paging_state.is_some() {
            assert_eq!(
                page.rows.len(),
                size as usize,
                "{statement}: a page that is not the last is full"
            );
        }
        rows.extend(page.rows);
        match page.paging_state {
            Some(next) => state = Some(next),
            None => return rows,
        }
    }
}

#[test]
fn pages_lose_no_row_and_repeat_none() {
    with_server(|address| {
        let mut client = filled(address);
        for (statement, expected) in [
            ("SELECT k, c FROM ks.p", 5001),
            ("SELECT k, c FROM ks.p WHERE k = 7", 100),
            (
                "SELECT k, c FROM ks.p WHERE k = 7 AND c > 10 AND c < 50",
                39,
            ),
            ("SELECT k, c FROM ks.p WHERE k = 7 ORDER BY c DESC", 100),
            ("SELECT k, c FROM ks.p WHERE k IN (1, 2, 3)", 300),
            (
                "SELECT k, c FROM ks.p WHERE k IN (1, 2, 3) AND c IN (5, 50, 500)",
                6,
            ),
            ("SELECT k, c FROM ks.p WHERE k IN (1, 2, 3) LIMIT 150", 150),
            ("SELECT k, c FROM ks.p LIMIT 333", 333),
            ("SELECT k, c FROM ks.p PER PARTITION LIMIT 3", 151),
            ("SELECT DISTINCT k FROM ks.p", 51),
            ("SELECT k, c FROM ks.p WHERE c > 97 ALLOW FILTERING", 100),
            (
                "SELECT k, c FROM ks.p WHERE c > 50 LIMIT 77 ALLOW FILTERING",
                77,
            ),
            (
                "SELECT k, c FROM ks.p WHERE c > 90 PER PARTITION LIMIT 2 ALLOW FILTERING",
                100,
            ),
            (
                "SELECT k, c FROM ks.p WHERE token(k) > 0 PER PARTITION LIMIT 1",
                0,
            ),
        ] {
            let whole = client.query(statement).rows().rows;
            if expected > 0 {
                assert_eq!(whole.len(), expected, "{statement}");
            }
            let distinct: BTreeSet<_> = whole.iter().collect();
            assert_eq!(distinct.len(), whole.len(), "{statement}");
            for size in [1, 7, 100, 5000] {
                if size == 1 && whole.len() > 1000 {
                    continue;
                }
                assert_eq!(
                    pages(&mut client, statement, size),
                    whole,
                    "{statement} in pages of {size}"
                );
            }
        }
    });
}

#[test]
fn a_page_state_that_was_changed_or_is_another_statements_is_refused() {
    with_server(|address| {
        let mut client = filled(address);
        let statement = "SELECT k, c FROM ks.p";
        let state = client
            .query_page(statement, Some(10), None)
            .rows()
            .paging_state
            .expect("more pages");
        let mut forged = state.clone();
        *forged.last_mut().expect("a state has bytes") ^= 1;
        let other = client
            .query_page("SELECT k, c, v FROM ks.p", Some(10), Some(&state))
            .error();
        for (code, message) in [
            client
                .query_page(statement, Some(10), Some(&forged))
                .error(),
            other,
        ] {
            assert_eq!(
                (code, message.as_str()),
                (PROTOCOL_ERROR, "Invalid value for the paging state")
            );
        }
        assert_eq!(
            client
                .query_page(statement, Some(10), Some(&state))
                .rows()
                .rows
                .len(),
            10
        );
    });
}

#[test]
fn a_changed_table_makes_statements_unprepared_that_clients_see_change_and_no_others() {
    with_server(|address| {
        let mut client = Client::connect(address);
        client.query("CREATE TABLE ks.a (k int PRIMARY KEY)").done();
        client.query("CREATE TABLE ks.b (k int PRIMARY KEY)").done();
        let of_a = client.prepare("SELECT * FROM ks.a");
        let of_b = client.prepare("SELECT * FROM ks.b");
        let key_of_a = client.prepare("SELECT k FROM ks.a");
        let into_a = client.prepare("INSERT INTO ks.a (k) VALUES (?)");
        client.query("ALTER TABLE ks.a ADD v int").done();
        assert_eq!(client.execute(&of_a, &[]).error().0, UNPREPARED);
        client.execute(&into_a, &[1.into()]).done();
        assert_eq!(client.execute(&key_of_a, &[]).rows().rows.len(), 1);
        client.query("ALTER TABLE ks.a ADD w int").done();
        client.batch(&[(&into_a, vec![2.into()])]).done();
        assert_eq!(client.execute(&key_of_a, &[]).rows().rows.len(), 2);
        assert_eq!(client.execute(&of_b, &[]).rows().columns.len(), 1);
        let again = client.prepare("SELECT * FROM ks.a");
        assert_eq!(again.id, of_a.id);
        assert_eq!(client.execute(&again, &[]).rows().columns.len(), 3);
        // Another table of this name, whose key is another.
        client.query("DROP TABLE ks.a").done();
        assert_eq!(client.execute(&into_a, &[1.into()]).error().0, UNPREPARED);
        client
            .query("CREATE TABLE ks.a (k text PRIMARY KEY)")
            .done();
        assert_eq!(client.execute(&into_a, &[1.into()]).error().0, UNPREPARED);
        assert_eq!(client.execute(&key_of_a, &[]).error().0, UNPREPARED);
        let unknown = Prepared {
            id: vec![7; 16],
            markers: Vec::new(),
            key_indexes: Vec::new(),
        };
        assert_eq!(client.execute(&unknown, &[]).error().0, UNPREPARED);
    });
}

#[test]
fn columns_are_not_left_out_for_a_client_that_may_remember_others() {
    with_server(|address| {
        let mut client = Client::connect(address);
        let mut other = Client::connect(address);
        client
            .query("CREATE TABLE ks.t (k int PRIMARY KEY, v int)")
            .done();
        client.query("INSERT INTO ks.t (k, v) VALUES (1, 2)").done();
        let texts = ["SELECT * FROM ks.t", "SELECT k, v FROM ks.t"];
        let statements = texts.map(|text| client.prepare(text));
        let shown = |client: &mut Client| {
            let columns = |statement| client.execute_remembering(statement).rows().columns.len();
            statements.each_ref().map(columns)
        };
        assert_eq!(shown(&mut client), [0, 0]);
        for (change, columns) in [("ADD a int", 3), ("DROP a", 2)] {
            client.query(&format!("ALTER TABLE ks.t {change}")).done();
            // The other client is told, and prepares again; this one is not.
            let refused = other.execute_remembering(&statements[0]).error();
            assert_eq!(refused.0, UNPREPARED);
            other.prepare(texts[0]);
            assert_eq!(
                other.execute_remembering(&statements[1]).rows().rows.len(),
                1
            );
            assert_eq!(shown(&mut client), [columns, 0]);
        }
    });
}

#[test]
fn a_changed_user_type_is_told_to_clients_that_remember_what_it_was() {
    with_server(|address| {
        let mut client = Client::connect(address);
        let mut other = Client::connect(address);
        client.query("CREATE TYPE ks.u (a int)").done();
        client
            .query("CREATE TABLE ks.t (k int PRIMARY KEY, v frozen<u>)")
            .done();
        let text = "SELECT v FROM ks.t";
        let select = client.prepare(text);
        for change in ["ADD b text", "RENAME a TO c"] {
            client.query(&format!("ALTER TYPE ks.u {change}")).done();
            assert_eq!(client.execute_remembering(&select).error().0, UNPREPARED);
            other.prepare(text);
            assert_eq!(client.execute_remembering(&select).rows().columns.len(), 1);
        }
    });
}

#[test]
fn a_marker_has_the_name_of_its_place_in_a_tuple_and_that_of_the_column_behind_a_hint() {
    with_server(|address| {
        let mut client = Client::connect(address);
        client
            .query("CREATE TABLE ks.t (k int PRIMARY KEY, t tuple<int, text, bigint>, v varint)")
            .done();
        let markers = |client: &mut Client, statement: &str| client.prepare(statement).markers;
        assert_eq!(
            markers(
                &mut client,
                "INSERT INTO ks.t (k, t) VALUES (?, (?, 'a', ?))"
            ),
            [
                ("k".into(), CqlType::Int),
                ("t[0]".into(), CqlType::Int),
                ("t[2]".into(), CqlType::Bigint),
            ]
        );
        assert_eq!(
            markers(&mut client, "UPDATE ks.t SET v = (int) ? WHERE k = (int) ?"),
            [("v".into(), CqlType::Varint), ("k".into(), CqlType::Int)]
        );
        let absolute = "INSERT INTO ks.t (k, v) VALUES (1, (bigint) abs((bigint) ?))";
        assert_eq!(
            markers(&mut client, absolute),
            [("arg0(system.abs)".into(), CqlType::Bigint)]
        );
    });
}

/// Cassandra reads the parts of a bound list, set or map and writes them again; all else it keeps as it came.
#[test]
fn the_parts_of_a_bound_collection_are_written_as_cassandra_writes_them() {
    const LONG: &[u8] = b"\0\0\0\0\0\0\0\0\0\0\xff\xff\x01\x02\x03\x04";
    const SHORT: &[u8] = &[1, 2, 3, 4];
    let field = |part: &[u8]| [&(part.len() as i32).to_be_bytes()[..], part].concat();
    let counted = |count: i32, parts: &[&[u8]]| {
        let mut out = count.to_be_bytes().to_vec();
        parts.iter().for_each(|part| out.extend(field(part)));
        out
    };
    let list = |parts: &[&[u8]]| counted(parts.len() as i32, parts);
    let map = |parts: &[&[u8]]| counted(parts.len() as i32 / 2, parts);
    let element = |part: &[u8]| [&[part.len() as u8][..], part].concat();
    let cases = [
        ("inet", LONG.to_vec(), LONG.to_vec()),
        ("list<inet>", list(&[LONG]), list(&[SHORT])),
        ("set<inet>", list(&[SHORT, LONG]), list(&[SHORT])),
        ("map<inet, inet>", map(&[LONG, LONG]), map(&[SHORT, SHORT])),
        ("frozen<list<inet>>", list(&[LONG]), list(&[SHORT])),
        (
            "list<frozen<map<inet, int>>>",
            list(&[&map(&[LONG, &[0; 4]])]),
            list(&[&map(&[SHORT, &[0; 4]])]),
        ),
        ("tuple<inet>", field(LONG), field(LONG)),
        (
            "tuple<list<inet>>",
            field(&list(&[LONG])),
            field(&list(&[LONG])),
        ),
        (
            "list<frozen<tuple<inet>>>",
            list(&[&field(LONG)]),
            list(&[&field(LONG)]),
        ),
        ("vector<inet, 1>", element(LONG), element(LONG)),
        (
            "vector<frozen<list<inet>>, 1>",
            element(&list(&[LONG])),
            element(&list(&[LONG])),
        ),
        (
            "list<vector<varint, 1>>",
            list(&[&[2, 0, 1]]),
            list(&[&[1, 1]]),
        ),
        (
            "list<varint>",
            list(&[&[0, 1], &[0xff, 0xff], &[0, 0], &[0, 0xff], &[0xff, 0x80]]),
            list(&[&[1], &[0xff], &[0], &[0, 0xff], &[0x80]]),
        ),
        ("set<varint>", list(&[&[0, 1], &[1]]), list(&[&[1]])),
        (
            "list<decimal>",
            list(&[&[0, 0, 0, 1, 0, 15]]),
            list(&[&[0, 0, 0, 1, 15]]),
        ),
        (
            "list<boolean>",
            list(&[&[2], &[0xff], &[0]]),
            list(&[&[1], &[1], &[0]]),
        ),
        (
            "list<duration>",
            list(&[&[0x80, 0, 0, 0]]),
            list(&[&[0, 0, 0]]),
        ),
        (
            "list<float>",
            list(&[&[0x7f, 0xc0, 0, 1]]),
            list(&[&[0x7f, 0xc0, 0, 1]]),
        ),
    ];
    with_server(|address| {
        let mut client = Client::connect(address);
        client.query("USE ks").done();
        for (ty, bound, kept) in cases {
            client
                .query(&format!("CREATE TABLE t (k int PRIMARY KEY, c {ty})"))
                .done();
            let insert = client.prepare("INSERT INTO t (k, c) VALUES (1, ?)");
            client.execute(&insert, &[Value::Bytes(bound)]).done();
            let rows = client.query("SELECT c FROM t").rows();
            assert_eq!(rows.rows[0][0].as_deref(), Some(&kept[..]), "{ty}");
            client.query("DROP TABLE t").done();
        }
        client
            .query("CREATE TABLE t (k int PRIMARY KEY, c inet, m map<inet, int>)")
            .done();
        let insert = client.prepare("INSERT INTO t (k, c, m) VALUES (1, ?, ?)");
        let entries = Value::Bytes(map(&[LONG, &[0; 4]]));
        let long = Value::Bytes(LONG.to_vec());
        client.execute(&insert, &[long, entries]).done();
        for (statement, found) in [
            (
                "SELECT to_json(k) FROM t WHERE m CONTAINS KEY '1.2.3.4' ALLOW FILTERING",
                "1",
            ),
            ("SELECT to_json(m['::ffff:1.2.3.4']) FROM t", "0"),
            ("SELECT to_json(c) FROM t", "\"1.2.3.4\""),
            ("SELECT CAST(c AS text) FROM t", "1.2.3.4"),
        ] {
            let rows = client.query(statement).rows();
            assert_eq!(
                rows.rows[0][0].as_deref(),
                Some(found.as_bytes()),
                "{statement}"
            );
        }
    });
}

#[test]
fn a_wrong_value_is_refused_before_anything_is_written() {
    with_server(|address| {
        let mut client = Client::connect(address);
        client
            .query("CREATE TABLE ks.t (k int PRIMARY KEY, v int)")
            .done();
        let insert = client.prepare("INSERT INTO ks.t (k, v) VALUES (?, ?)");
        assert_eq!(insert.markers[1].1, CqlType::Int);
        let (code, message) = client.execute(&insert, &[1.into(), "abc".into()]).error();
        assert_eq!(
            (code, message.as_str()),
            (INVALID, "Expected 4 or 0 byte int (3)")
        );
        let both = [
            (&insert, vec![1.into(), 1.into()]),
            (&insert, vec![2.into(), "x".into()]),
        ];
        assert_eq!(client.batch(&both).error().0, INVALID);
        assert_eq!(client.query("SELECT * FROM ks.t").rows().rows.len(), 0);
    });
}

#[test]
fn of_several_wrong_values_the_one_is_met_first_that_cassandra_meets_first() {
    with_server(|address| {
        let mut client = Client::connect(address);
        client
            .query("CREATE TABLE ks.t (p int, c int, s int static, v list<int>, w int, PRIMARY KEY (p, c))")
            .done();
        let insert = "INSERT INTO ks.t (w, c, p) VALUES (?, ?, ?) USING TTL ? AND TIMESTAMP ?";
        let update = "UPDATE ks.t USING TTL ? SET s = ?, w = ? WHERE c IN ? AND p = ?";
        let among = "SELECT w FROM ks.t WHERE p = 1 AND c IN (?, ?)";
        let tuple = "SELECT w FROM ks.t WHERE p = 1 AND (c) = (?)";
        let set = "UPDATE ks.t SET v[?] = ? WHERE p = 1 AND c = 1";
        let (none, bad) = (
            || Value::Null,
            |length: usize| Value::from(&"x".repeat(length)[..]),
        );
        let long = |of: i64| Value::Bytes(of.to_be_bytes().to_vec());
        let nothing = || Value::Bytes(vec![0; 4]);
        let int = |of: i32| format!("Expected 4 or 0 byte int ({of})");
        let cases: Vec<(&str, Vec<Value>, String)> = vec![
            // A timestamp, the partition, the row, TTL, what is written: static columns last.
            (
                insert,
                vec![bad(1), bad(2), bad(3), bad(5), bad(6)],
                "Expected 8 or 0 byte long (6)".into(),
            ),
            (
                insert,
                vec![bad(1), bad(2), bad(3), bad(5), long(1)],
                int(3),
            ),
            (
                insert,
                vec![bad(1), bad(2), 1.into(), bad(5), long(1)],
                int(2),
            ),
            (
                insert,
                vec![bad(1), none(), 1.into(), bad(5), long(1)],
                "Invalid null value in condition for column c".into(),
            ),
            (
                insert,
                vec![bad(1), 1.into(), 1.into(), (-1).into(), long(i64::MIN)],
                "A TTL must be greater or equal to 0, but was -1".into(),
            ),
            (
                insert,
                vec![bad(1), 1.into(), 1.into(), 1.into(), long(i64::MIN)],
                "Out of bound timestamp, must be in [-9223372036854775807, 9223372036854775807]"
                    .into(),
            ),
            (
                insert,
                vec![bad(1), 1.into(), 1.into(), 1.into(), long(1)],
                int(1),
            ),
            (
                update,
                vec![
                    1.into(),
                    bad(1),
                    bad(2),
                    Value::Bytes(vec![0, 0, 0, 1, 0, 0, 0, 4, 0, 0, 0, 1]),
                    1.into(),
                ],
                int(2),
            ),
            // Of no rows nothing is looked at.
            (
                update,
                vec![(-1).into(), bad(1), bad(2), nothing(), 1.into()],
                String::new(),
            ),
            (
                update,
                vec![(-1).into(), bad(1), bad(2), nothing(), bad(3)],
                int(3),
            ),
            (set, vec![none(), bad(1)], int(1)),
            (
                among,
                vec![Value::Unset, none()],
                "Invalid null value in condition for column c".into(),
            ),
            (
                tuple,
                vec![Value::Unset],
                "Invalid unset value for tuple field number 0".into(),
            ),
        ];
        for (statement, values, expected) in cases {
            let prepared = client.prepare(statement);
            let answer = client.execute(&prepared, &values);
            match expected.is_empty() {
                true => answer.done(),
                false => assert_eq!(answer.error(), (INVALID, expected)),
            }
        }
        let counted = client.prepare("SELECT count(?) FROM ks.t");
        assert_eq!(counted.markers[0].1, CqlType::Blob);
    });
}

#[test]
fn what_is_unset_is_a_field_of_its_own_only_in_a_type_that_is_not_frozen_and_is_among_no_values() {
    with_server(|address| {
        let mut client = Client::connect(address);
        for statement in [
            "CREATE TYPE ks.u (a int, b text)",
            "CREATE TABLE ks.t (k int PRIMARY KEY, v u, f frozen<u>, w int)",
            "INSERT INTO ks.t (k, w) VALUES (1, 7)",
        ] {
            client.query(statement).done();
        }
        let fields = client.prepare("UPDATE ks.t SET v = {a: ?, b: ?} WHERE k = 1");
        client.execute(&fields, &[1.into(), Value::Unset]).done();
        let whole = client.prepare("UPDATE ks.t SET f = {a: ?, b: ?} WHERE k = 1");
        let refused = "Invalid unset value for field 'b' of user defined type u";
        let answer = client.execute(&whole, &[1.into(), Value::Unset]);
        assert_eq!(answer.error(), (INVALID, refused.to_owned()));
        for (markers, values) in [
            ("?", vec![Value::Unset]),
            ("?, ?", vec![Value::Unset, 8.into()]),
        ] {
            let among = format!("UPDATE ks.t SET w = 1 WHERE k = 1 IF w IN ({markers})");
            let among = client.prepare(&among);
            let rows = client.execute(&among, &values).rows();
            assert_eq!(rows.rows[0][0], Some(vec![0].into()), "{markers}");
        }
    });
}

/// As Cassandra answers, except where it fails by itself: a null in a tuple's place, and one that a list would keep.
#[test]
fn a_null_in_the_list_of_an_in_is_a_value_that_a_key_cannot_have_and_a_column_can() {
    with_server(|address| {
        let mut client = Client::connect(address);
        for statement in [
            "CREATE TABLE ks.t (k int, c int, v int, l list<int>, PRIMARY KEY (k, c))",
            "INSERT INTO ks.t (k, c) VALUES (1, 1)",
            "INSERT INTO ks.t (k, c, v) VALUES (1, 2, 5)",
        ] {
            client.query(statement).done();
        }
        let list = |parts: &[i32]| {
            let bytes = parts.iter().flat_map(|part| part.to_be_bytes());
            Value::Bytes(bytes.collect())
        };
        let null = || list(&[1, -1]);
        let null_and_five = || list(&[2, -1, 4, 5]);
        let short = || list(&[397, -5]);
        let longer = || list(&[1, -1, 6]);
        let null_in = |column: &str| format!("Invalid null value in condition for column {column}");
        let not_enough = "Not enough bytes to read a list";
        let key = "SELECT c FROM ks.t WHERE k IN ?";
        let row = "DELETE FROM ks.t WHERE k = 1 AND c IN ?";
        let stored = "INSERT INTO ks.t (k, c, l) VALUES (1, 1, ?)";
        for (statement, value, expected) in [
            (key, null(), &null_in("k")[..]),
            (key, null_and_five(), &null_in("k")),
            (key, list(&[1, 0]), &null_in("k")),
            (key, short(), not_enough),
            (row, null(), &null_in("c")),
            (
                row,
                longer(),
                "Unexpected extraneous bytes after list value",
            ),
            (stored, null_and_five(), "Null value read when not allowed"),
            (stored, short(), not_enough),
        ] {
            let prepared = client.prepare(statement);
            let error = client.execute(&prepared, &[value]).error();
            assert_eq!(error, (INVALID, expected.to_owned()), "{statement}");
        }
        let varint = "CREATE TABLE ks.e (k int, t varint, x text, PRIMARY KEY ((k, t), x))";
        client.query(varint).done();
        let varint = client.prepare("SELECT x FROM ks.e WHERE k = 1 AND t IN ?");
        let error = client.execute(&varint, &[list(&[1, 0])]).error();
        assert_eq!(error, (INVALID, null_in("t")));
        let text = client.prepare("SELECT x FROM ks.e WHERE k = 1 AND t = 1 AND x IN ?");
        let rows = client.execute(&text, &[list(&[1, 0])]).rows();
        assert!(rows.rows.is_empty(), "a text may be empty");
        let filter = client.prepare("SELECT c FROM ks.t WHERE v IN ? ALLOW FILTERING");
        assert!(client.execute(&filter, &[null()]).rows().rows.is_empty());
        let rows = client.execute(&filter, &[null_and_five()]).rows().rows;
        assert_eq!(rows.iter().map(|row| int(&row[0])).collect::<Vec<_>>(), [2]);
        let condition = "UPDATE ks.t SET l = [1] WHERE k = 1 AND c = ? IF v IN ?";
        let condition = client.prepare(condition);
        for (row, value, applied) in [
            (2, null(), 0),
            (1, list(&[1, 4, 5]), 0),
            (1, null_and_five(), 1),
            (2, null_and_five(), 1),
        ] {
            let rows = client.execute(&condition, &[row.into(), value]).rows();
            assert_eq!(rows.rows[0][0], Some(vec![applied].into()), "{row}");
        }
    });
}

#[test]
fn a_function_is_called_by_the_name_that_was_written_where_its_argument_is_unset() {
    with_server(|address| {
        let mut client = Client::connect(address);
        client.query("CREATE TABLE ks.t (k int PRIMARY KEY)").done();
        client.query("INSERT INTO ks.t (k) VALUES (1)").done();
        for name in [
            "intasblob",
            "int_as_blob",
            "blobasint",
            "blob_as_int",
            "mintimeuuid",
            "min_timeuuid",
            "maxtimeuuid",
        ] {
            let select = client.prepare(&format!("SELECT {name}(?) FROM ks.t"));
            let error = client.execute(&select, &[Value::Unset]).error();
            let said = format!("Invalid unset value for argument in call to function {name}");
            assert_eq!(error, (INVALID, said));
        }
    });
}

#[test]
fn what_is_unset_is_sought_in_no_frozen_collection() {
    with_server(|address| {
        let mut client = Client::connect(address);
        client
            .query("CREATE TABLE ks.t (k int PRIMARY KEY, m map<int, int>, f frozen<map<int, int>>, w int)")
            .done();
        for operator in ["CONTAINS", "CONTAINS KEY"] {
            let cells = format!("UPDATE ks.t SET w = 1 WHERE k = 1 IF m {operator} ?");
            let cells = client.prepare(&cells);
            let rows = client.execute(&cells, &[Value::Unset]).rows();
            assert_eq!(rows.rows[0][0], Some(vec![0].into()), "{operator}");
            let frozen = format!("UPDATE ks.t SET w = 1 WHERE k = 1 IF f {operator} ?");
            let frozen = client.prepare(&frozen);
            let error = client.execute(&frozen, &[Value::Unset]).error();
            let said = "Invalid 'unset' value in condition";
            assert_eq!(error, (INVALID, said.to_owned()), "{operator}");
        }
    });
}

/// Runs a story on so many threads, each with a connection of its own.
fn together(address: SocketAddr, clients: i32, story: impl Fn(i32, &mut Client) + Sync) {
    std::thread::scope(|scope| {
        for number in 0..clients {
            let story = &story;
            scope.spawn(move || story(number, &mut Client::connect(address)));
        }
    });
}

#[test]
fn counters_lose_no_increment_to_each_other() {
    with_server(|address| {
        let mut client = Client::connect(address);
        client
            .query("CREATE TABLE ks.c (k int PRIMARY KEY, n counter)")
            .done();
        together(address, 8, |_, client| {
            let update = client.prepare("UPDATE ks.c SET n = n + ? WHERE k = 1");
            for _ in 0..25 {
                client
                    .execute(&update, &[Value::Bytes(1i64.to_be_bytes().to_vec())])
                    .done();
            }
        });
        let rows = client.query("SELECT n FROM ks.c WHERE k = 1").rows();
        assert_eq!(rows.rows[0][0].as_deref(), Some(&200i64.to_be_bytes()[..]));
    });
}

/// It would read the old total and write the new one behind it.
#[test]
fn an_increment_is_wholly_before_a_truncate_or_wholly_behind_it() {
    with_server(|address| {
        let mut client = Client::connect(address);
        client
            .query("CREATE TABLE ks.c (k int PRIMARY KEY, n counter)")
            .done();
        let (begun, done) = (AtomicI64::new(0), AtomicI64::new(0));
        let is_over = AtomicBool::new(false);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut client = Client::connect(address);
                    let update = client.prepare("UPDATE ks.c SET n = n + 1 WHERE k = 1");
                    while !is_over.load(Ordering::SeqCst) {
                        begun.fetch_add(1, Ordering::SeqCst);
                        client.execute(&update, &[]).done();
                        done.fetch_add(1, Ordering::SeqCst);
                    }
                });
            }
            let found = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                for _ in 0..20 {
                    let before = done.load(Ordering::SeqCst);
                    client.query("TRUNCATE ks.c").done();
                    let rows = client.query("SELECT n FROM ks.c WHERE k = 1").rows();
                    let since = begun.load(Ordering::SeqCst) - before;
                    let total = rows.rows.first().and_then(|row| row[0].as_deref());
                    let total = total.map_or(0, |total| {
                        i64::from_be_bytes(total.try_into().expect("a counter"))
                    });
                    assert!(total <= since, "{total} of {since} increments");
                }
            }));
            is_over.store(true, Ordering::SeqCst);
            found.expect("no total that was truncated comes back");
        });
    });
}

#[test]
fn a_counter_that_was_given_a_timestamp_of_the_future_still_goes_down() {
    with_server(|address| {
        let mut client = Client::connect(address);
        client
            .query("CREATE TABLE ks.c (k int PRIMARY KEY, n counter)")
            .done();
        client
            .query_at(i64::MAX, "UPDATE ks.c SET n = n + 5 WHERE k = 1")
            .done();
        client
            .query_at(i64::MAX, "UPDATE ks.c SET n = n - 3 WHERE k = 1")
            .done();
        client.query("UPDATE ks.c SET n = n - 1 WHERE k = 1").done();
        let rows = client.query("SELECT n FROM ks.c WHERE k = 1").rows();
        assert_eq!(rows.rows[0][0].as_deref(), Some(&1i64.to_be_bytes()[..]));
        // The clock of a client that is ahead: what it adds behind its own deletion is seen.
        let ahead = 4_000_000_000_000_000;
        client
            .query_at(ahead, "DELETE FROM ks.c WHERE k = 2")
            .done();
        client
            .query_at(ahead + 1, "UPDATE ks.c SET n = n + 7 WHERE k = 2")
            .done();
        let rows = client.query("SELECT n FROM ks.c WHERE k = 2").rows();
        assert_eq!(rows.rows[0][0].as_deref(), Some(&7i64.to_be_bytes()[..]));
    });
}

#[test]
fn static_counters_are_moved_last() {
    with_server(|address| {
        let mut client = Client::connect(address);
        client
            .query("CREATE TABLE ks.cs (k int, c int, s counter static, n counter, PRIMARY KEY (k, c))")
            .done();
        let update = client.prepare("UPDATE ks.cs SET s = s - ?, n = n - ? WHERE k = 1 AND c = 1");
        let least = Value::Bytes(i64::MIN.to_be_bytes().to_vec());
        let refused = client.execute(&update, &[least, Value::Null]).error();
        let said = "Invalid null value for counter increment";
        assert_eq!(refused, (INVALID, said.to_owned()));
        // No row, no mistake.
        let none =
            "UPDATE ks.cs SET s = s - -9223372036854775808, n = n + 1 WHERE k = 1 AND c IN ()";
        client.query(none).done();
    });
}

#[test]
fn of_many_who_want_a_name_one_gets_it() {
    with_server(|address| {
        let mut client = Client::connect(address);
        client
            .query("CREATE TABLE ks.names (name text PRIMARY KEY, owner int)")
            .done();
        let winners = std::sync::Mutex::new(Vec::new());
        together(address, 8, |number, client| {
            let claim =
                client.prepare("INSERT INTO ks.names (name, owner) VALUES (?, ?) IF NOT EXISTS");
            let rows = client
                .execute(&claim, &["palladium".into(), number.into()])
                .rows();
            if rows.rows[0][0].as_deref() == Some(&[1]) {
                winners.lock().expect("no thread panicked").push(number);
            }
        });
        let winners = winners.into_inner().expect("no thread panicked");
        assert_eq!(winners.len(), 1);
        let rows = client
            .query("SELECT owner FROM ks.names WHERE name = 'palladium'")
            .rows();
        assert_eq!(int(&rows.rows[0][0]), winners[0]);
    });
}

#[test]
fn compare_and_set_counts_every_success() {
    with_server(|address| {
        let mut client = Client::connect(address);
        client
            .query("CREATE TABLE ks.n (k int PRIMARY KEY, v int)")
            .done();
        client.query("INSERT INTO ks.n (k, v) VALUES (1, 0)").done();
        let total = std::sync::atomic::AtomicI32::new(0);
        together(address, 6, |_, client| {
            let read = client.prepare("SELECT v FROM ks.n WHERE k = 1");
            let swap = client.prepare("UPDATE ks.n SET v = ? WHERE k = 1 IF v = ?");
            for _ in 0..20 {
                let now = int(&client.execute(&read, &[]).rows().rows[0][0]);
                let answer = client.execute(&swap, &[(now + 1).into(), now.into()]);
                if answer.rows().rows[0][0].as_deref() == Some(&[1]) {
                    total.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                }
            }
        });
        let rows = client.query("SELECT v FROM ks.n").rows();
        assert_eq!(int(&rows.rows[0][0]), total.into_inner());
    });
}

#[test]
fn a_conditional_batch_is_asked_for_the_levels_that_a_conditional_statement_is_asked_for() {
    with_server(|address| {
        let mut client = Client::connect(address);
        client
            .query("CREATE TABLE ks.t (k int PRIMARY KEY, v int)")
            .done();
        let conditional = client.prepare("INSERT INTO ks.t (k, v) VALUES (1, 1) IF NOT EXISTS");
        let plain = client.prepare("INSERT INTO ks.t (k, v) VALUES (1, 2)");
        let mut ask = |statement, parameters: &[u8]| {
            let statements = [(statement, Vec::new())];
            client.batch_with(&statements, parameters)
        };
        // Serial consistency ONE; SERIAL for the commit.
        for parameters in [&[0, 1, 0x10, 0, 1][..], &[0, 8, 0]] {
            assert_eq!(ask(&conditional, parameters).error().0, INVALID);
        }
        // SERIAL, LOCAL_SERIAL; of the commit at TWO nothing is said before there is one.
        for parameters in [&[0, 1, 0x10, 0, 8][..], &[0, 1, 0x10, 0, 9], &[0, 2, 0]] {
            assert_eq!(ask(&conditional, parameters).rows().rows.len(), 1);
        }
        assert_eq!(ask(&plain, &[0, 2, 0]).error().0, 0x1000);
        // A batch has no pages.
        ask(&plain, &[0, 1, 0x04, 0, 0, 0, 0]).done();
    });
}

#[test]
fn what_cannot_be_calculated_is_prepared_and_refused_when_it_is_executed() {
    with_server(|address| {
        let mut client = Client::connect(address);
        client.query("CREATE TABLE ks.t (k int PRIMARY KEY)").done();
        let shown = client.prepare("SELECT JSON - - 1 / 0 FROM ks.t WHERE k = ?");
        let (code, message) = client.execute(&shown, &[1.into()]).error();
        assert_eq!(code, FUNCTION_FAILURE);
        assert!(message.ends_with("/ by zero"), "{message}");
        // Any other mistake is met before.
        let (_, message) = client.try_prepare("SELECT 1 / 0, nope FROM ks.t").error();
        assert_eq!(message, "Undefined column name nope in table ks.t");
    });
}

#[test]
fn a_sum_of_what_is_negated_has_the_type_of_its_column() {
    with_server(|address| {
        let mut client = Client::connect(address);
        client
            .query("CREATE TABLE ks.t (k int PRIMARY KEY, s smallint, t tinyint)")
            .done();
        client
            .query("UPDATE ks.t SET s = - 300 + - 300, t = - 100 + - 20 WHERE k = 1")
            .done();
        let found = client.query("SELECT s, t FROM ks.t").rows().rows;
        assert_eq!(found[0][0].as_deref(), Some(&(-600_i16).to_be_bytes()[..]));
        assert_eq!(found[0][1].as_deref(), Some(&(-120_i8).to_be_bytes()[..]));
        let large = client.query("UPDATE ks.t SET t = - 300 + - 300 WHERE k = 1");
        assert_eq!(large.error().1, "Unable to make byte from '300'");
    });
}

#[test]
fn a_query_of_a_counter_is_told_of_its_missing_values_before_its_ttl() {
    with_server(|address| {
        let mut client = Client::connect(address);
        client
            .query("CREATE TABLE ks.t (k int PRIMARY KEY, n counter)")
            .done();
        let update = "UPDATE ks.t USING TTL ? SET n = n + 3 WHERE k = 1";
        let (_, message) = client.query(update).error();
        assert_eq!(message, "Invalid amount of bind variables");
        let refused = "Cannot provide custom TTL for counter updates";
        assert_eq!(client.try_prepare(update).error().1, refused);
        let constant = update.replace('?', "3");
        assert_eq!(client.query(&constant).error().1, refused);
        assert_eq!(
            client.query_named(update, &[("[ttl]", 3.into())]).error().1,
            refused
        );
    });
}

#[test]
fn of_two_columns_of_the_partition_key_the_first_one_is_found_unset() {
    with_server(|address| {
        let mut client = Client::connect(address);
        client
            .query("CREATE TABLE ks.t (p int, q int, PRIMARY KEY ((p, q)))")
            .done();
        let select = "SELECT p FROM ks.t WHERE q >= ? AND p = ? ALLOW FILTERING";
        let select = client.prepare(select);
        let (_, message) = client
            .execute(&select, &[Value::Unset, Value::Unset])
            .error();
        assert_eq!(message, "Unsupported unset value for column p");
    });
}

#[test]
fn an_empty_batch_is_no_error() {
    with_server(|address| {
        let mut client = Client::connect(address);
        assert!(matches!(client.batch(&[]), Answer::Void));
        assert!(matches!(
            client.query("BEGIN BATCH APPLY BATCH"),
            Answer::Void
        ));
    });
}

#[test]
fn who_has_not_logged_in_hears_the_same_when_statements_about_roles_are_prepared() {
    with_server(|address| {
        let mut client = Client::connect(address);
        let invalid = |message: &str| (INVALID, message.to_owned());
        let nobody = || (UNAUTHORIZED, ANONYMOUS.to_owned());
        for (statement, expected) in [
            ("LIST ROLES", nobody()),
            ("DROP ROLE r", nobody()),
            ("CREATE ROLE r WITH ACCESS TO ALL DATACENTERS", nobody()),
            ("ALTER ROLE r", invalid("ALTER [ROLE|USER] can't be empty")),
            ("ALTER USER r", invalid("ALTER [ROLE|USER] can't be empty")),
            (
                "CREATE ROLE ''",
                invalid("Role name can't be an empty string"),
            ),
            (
                "GRANT EXECUTE ON FUNCTION system.now() TO r",
                invalid("Altering permissions on builtin functions is not supported"),
            ),
        ] {
            assert_eq!(client.query(statement).error(), expected, "{statement}");
            assert_eq!(
                client.try_prepare(statement).error(),
                expected,
                "{statement}"
            );
        }
    });
}

#[test]
fn clients_route_by_markers_behind_type_hints_too() {
    with_server(|address| {
        let mut client = Client::connect(address);
        client
            .query("CREATE TABLE ks.t (k int PRIMARY KEY, v int)")
            .done();
        client
            .query("CREATE TABLE ks.c (a int, b int, c int, v int, PRIMARY KEY ((a, b, c)))")
            .done();
        client
            .query("CREATE TABLE ks.u (k frozen<tuple<int>> PRIMARY KEY)")
            .done();
        for (statement, expected) in [
            ("SELECT v FROM ks.t WHERE k = (int) ?", &[0][..]),
            ("SELECT v FROM ks.t WHERE k = ((int) ?)", &[0]),
            ("SELECT v FROM ks.t WHERE k = (int) (int) ?", &[0]),
            ("SELECT v FROM ks.t WHERE k IN ((int) ?)", &[0]),
            ("SELECT v FROM ks.t WHERE k = (int) ? + 1", &[]),
            ("SELECT v FROM ks.t WHERE k = blob_as_int(?)", &[]),
            ("SELECT k FROM ks.u WHERE k = (?)", &[]),
            ("INSERT INTO ks.t (v, k) VALUES (?, (int) ?)", &[1]),
            (
                "SELECT v FROM ks.c WHERE c = (int) ? AND b = ? AND a = (int) ?",
                &[2, 1, 0],
            ),
            (
                "UPDATE ks.c SET v = ? WHERE a = ? AND c = (int) ? AND b = ?",
                &[1, 3, 2],
            ),
            (
                "DELETE FROM ks.c WHERE a = ? AND b = ? AND c = (int) ?",
                &[0, 1, 2],
            ),
            (
                "BEGIN BATCH INSERT INTO ks.t (v, k) VALUES (?, ?); APPLY BATCH",
                &[1],
            ),
            // The timestamp is of no table.
            (
                "BEGIN BATCH USING TIMESTAMP ? INSERT INTO ks.t (v, k) VALUES (?, ?); APPLY BATCH",
                &[],
            ),
        ] {
            assert_eq!(
                client.prepare(statement).key_indexes,
                expected,
                "{statement}"
            );
        }
    });
}

#[test]
fn what_is_called_of_bound_values_alone_is_calculated_whatever_the_rows_are() {
    with_server(|address| {
        let mut client = Client::connect(address);
        client
            .query("CREATE TABLE ks.t (k int PRIMARY KEY, v int)")
            .done();
        client.query("INSERT INTO ks.t (k, v) VALUES (1, 1)").done();
        let mut refused = |shown: &str, key: i32, value: &Value| {
            let statement = client.prepare(&format!("SELECT {shown} FROM ks.t WHERE k = {key}"));
            client
                .execute(&statement, std::slice::from_ref(value))
                .error()
                .1
        };
        let short = Value::Bytes(vec![1]);
        for shown in [
            "blob_as_int(?)",
            "blob_as_int(?) + 1",
            "(k, blob_as_int(?))",
            "max(abs(blob_as_int(?)))",
        ] {
            assert_eq!(
                refused(shown, 99, &short),
                "In call to function system.blob_as_int, value 0x01 is not a valid binary representation for type int",
                "{shown}"
            );
        }
        assert!(refused("(int) ? / 0", 99, &1.into()).ends_with("/ by zero"));
        for (shown, key, function) in [
            ("abs((int) ?)", 99, "abs"),
            ("(int) ? + k", 99, "_add"),
            ("max(k + (int) ?)", 99, "_add"),
            ("max((int) ?)", 1, "max"),
            ("count((int) ?)", 1, "count"),
            ("sum((int) ?)", 1, "sum"),
        ] {
            assert_eq!(
                refused(shown, key, &Value::Unset),
                format!("Invalid unset value for argument in call to function {function}")
            );
        }
        let largest = client.prepare("SELECT max((int) ?) FROM ks.t WHERE k = 99");
        client.execute(&largest, &[Value::Unset]).rows();
    });
}

#[test]
fn what_is_nearest_needs_a_limit_once_it_is_executed() {
    with_server(|address| {
        let mut client = Client::connect(address);
        client
            .query("CREATE TABLE ks.t (k int PRIMARY KEY, v vector<float, 2>)")
            .done();
        client.query("CREATE INDEX ON ks.t (v) USING 'sai'").done();
        client.wait_for_builds();
        let nearest = "FROM ks.t ORDER BY v ANN OF [1, 1]";
        for (statement, values, expected) in [
            (
                format!("SELECT k {nearest}"),
                vec![],
                "Top-K queries must have a limit",
            ),
            (
                format!("SELECT k {nearest} LIMIT ?"),
                vec![Value::Unset],
                "Top-K queries must have a limit",
            ),
            (
                format!("SELECT k {nearest} LIMIT ?"),
                vec![1001.into()],
                "Use of ANN OF in an ORDER BY clause requires a LIMIT",
            ),
            (
                format!("SELECT count(*) {nearest}"),
                vec![],
                "Top-K queries can not be run with aggregation",
            ),
            (
                format!("SELECT k {nearest} PER PARTITION LIMIT 1"),
                vec![],
                "Top-K queries do not support per-partition limits",
            ),
        ] {
            let prepared = client.prepare(&statement);
            let (code, message) = client.execute(&prepared, &values).error();
            assert_eq!(code, INVALID);
            assert!(message.starts_with(expected), "{statement}: {message}");
        }
    });
}

#[test]
fn an_empty_index_of_a_list_is_refused() {
    with_server(|address| {
        let mut client = Client::connect(address);
        client
            .query("CREATE TABLE ks.t (k int PRIMARY KEY, l list<int>)")
            .done();
        client
            .query("INSERT INTO ks.t (k, l) VALUES (1, [1])")
            .done();
        for statement in [
            "UPDATE ks.t SET l[?] = 1 WHERE k = 1",
            "DELETE l[?] FROM ks.t WHERE k = 1",
        ] {
            let prepared = client.prepare(statement);
            let answer = client.execute(&prepared, &[Value::Bytes(Vec::new())]);
            let expected = "Invalid empty value for list index".to_owned();
            assert_eq!(answer.error(), (INVALID, expected), "{statement}");
        }
    });
}
