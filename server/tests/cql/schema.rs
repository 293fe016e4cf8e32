//! Schema changes from many clients at once: each happens or is refused as a whole, and what is left is one schema, before and after a restart.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use palladium_protocol::wire::Reader;

use crate::client::{Answer, Client, Node};

const CLIENTS: usize = 12;

fn each_client(address: SocketAddr, work: impl Fn(usize, &mut Client) -> usize + Sync) -> usize {
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..CLIENTS)
            .map(|number| {
                let work = &work;
                scope.spawn(move || work(number, &mut Client::connect(address)))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().expect("no client panics"))
            .sum()
    })
}

fn succeeds(client: &mut Client, statement: &str) -> bool {
    !matches!(client.query(statement), Answer::Error(..))
}

fn column(client: &mut Client, statement: &str) -> BTreeSet<String> {
    let rows = client.query(statement).rows().rows;
    rows.iter()
        .map(|row| String::from_utf8_lossy(row[0].as_deref().unwrap_or_default()).into_owned())
        .collect()
}

fn schema_version(client: &mut Client) -> Vec<u8> {
    let rows = client
        .query("SELECT schema_version FROM system.local")
        .rows()
        .rows;
    rows[0][0].as_deref().expect("a version").to_vec()
}

#[test]
fn changes_from_many_clients_leave_one_schema_that_a_restart_keeps() {
    let mut node = Node::start();
    let mut client = Client::connect(node.address());
    client
        .query("CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
        .done();
    // Everybody wants the same table: one makes it, the others are told that it is there.
    let made = each_client(node.address(), |_, client| {
        usize::from(succeeds(
            client,
            "CREATE TABLE ks.shared (k int PRIMARY KEY)",
        ))
    });
    assert_eq!(made, 1);
    // Everybody adds a column of its own, and all want one that only one can add.
    let added = each_client(node.address(), |number, client| {
        client
            .query(&format!("ALTER TABLE ks.shared ADD own_{number} int"))
            .done();
        client
            .query(&format!("CREATE TYPE ks.u_{number} (a int)"))
            .done();
        client
            .query(&format!(
                "CREATE TABLE ks.t_{number} (k int PRIMARY KEY, u frozen<u_{number}>)"
            ))
            .done();
        client
            .query(&format!(
                "INSERT INTO ks.t_{number} (k, u) VALUES (1, {{a: {number}}})"
            ))
            .done();
        client
            .query(&format!(
                "INSERT INTO ks.shared (k, own_{number}) VALUES ({number}, {number})"
            ))
            .done();
        usize::from(succeeds(client, "ALTER TABLE ks.shared ADD common int"))
    });
    assert_eq!(added, 1);
    // Half of the tables go again; all try to drop one that is there once.
    let dropped = each_client(node.address(), |number, client| {
        if number % 2 == 0 {
            client.query(&format!("DROP TABLE ks.t_{number}")).done();
            client.query(&format!("DROP TYPE ks.u_{number}")).done();
        }
        usize::from(succeeds(client, "ALTER TABLE ks.shared DROP common"))
    });
    assert_eq!(dropped, 1);
    let expected_tables: BTreeSet<String> = (0..CLIENTS)
        .filter(|number| number % 2 == 1)
        .map(|number| format!("t_{number}"))
        .chain(["shared".into()])
        .collect();
    let expected_columns: BTreeSet<String> = (0..CLIENTS)
        .map(|number| format!("own_{number}"))
        .chain(["k".into()])
        .collect();
    let check = |client: &mut Client| {
        assert_eq!(
            column(
                client,
                "SELECT table_name FROM system_schema.tables WHERE keyspace_name = 'ks'"
            ),
            expected_tables
        );
        assert_eq!(
            column(
                client,
                "SELECT column_name FROM system_schema.columns WHERE keyspace_name = 'ks' AND table_name = 'shared'"
            ),
            expected_columns
        );
        for number in (1..CLIENTS).step_by(2) {
            let rows = client
                .query(&format!("SELECT u.a FROM ks.t_{number} WHERE k = 1"))
                .rows()
                .rows;
            assert_eq!(
                rows,
                [[Some((number as i32).to_be_bytes().to_vec().into())]]
            );
            let rows = client
                .query(&format!(
                    "SELECT own_{number} FROM ks.shared WHERE k = {number}"
                ))
                .rows()
                .rows;
            assert_eq!(
                rows,
                [[Some((number as i32).to_be_bytes().to_vec().into())]]
            );
        }
    };
    check(&mut client);
    let version = schema_version(&mut client);
    drop(client);
    node = node.restart();
    let mut client = Client::connect(node.address());
    check(&mut client);
    assert_eq!(schema_version(&mut client), version);
    node.stop();
}

#[test]
fn a_table_that_only_the_schema_names_stops_alone_and_can_be_dropped() {
    const READ_FAILURE: i32 = 0x1300;
    let node = Node::start();
    let mut client = Client::in_keyspace(node.address());
    let create = "CREATE TABLE ks.lost (k int PRIMARY KEY, v int)";
    for statement in [create, "CREATE TABLE ks.kept (k int PRIMARY KEY, v int)"] {
        client.query(statement).done();
    }
    client
        .query("INSERT INTO ks.kept (k, v) VALUES (1, 1)")
        .done();
    let lost = node.database().catalog.load().table("ks", "lost").cloned();
    let lost = lost.expect("it is there").id;
    // Behind the schema's back.
    let dropped = node.database().engine.drop_table(lost);
    node.run(dropped).expect("the manifest is written");
    let node = node.restart();
    let mut client = Client::connect(node.address());
    for _ in 0..2 {
        let (code, words) = client.query("SELECT * FROM ks.lost").error();
        assert_eq!(code, READ_FAILURE, "{words}");
        let rows = client.query("SELECT * FROM ks.kept").rows().rows;
        assert_eq!(rows.len(), 1);
    }
    client.query("DROP TABLE ks.lost").done();
    client.query(create).done();
    client
        .query("INSERT INTO ks.lost (k, v) VALUES (1, 1)")
        .done();
    let node = node.restart();
    let mut client = Client::connect(node.address());
    let rows = client.query("SELECT * FROM ks.lost").rows().rows;
    assert_eq!(rows.len(), 1);
    node.stop();
}

/// The next event, as `UPDATED TABLE t`.
fn heard(listener: &mut Client) -> String {
    const EVENT: u8 = 0x0C;
    let (opcode, body) = listener.next_answer();
    assert_eq!(opcode, EVENT);
    let mut reader = Reader::new(&body);
    let mut said = || reader.string().expect("a word").to_owned();
    assert_eq!(said(), "SCHEMA_CHANGE");
    let (change, target, keyspace) = (said(), said(), said());
    assert_eq!(keyspace, "ks");
    match target.as_str() {
        "KEYSPACE" => format!("{change} {target}"),
        _ => format!("{change} {target} {}", said()),
    }
}

#[test]
fn listeners_hear_of_what_changes_along() {
    let node = Node::start();
    let mut listener = Client::connect(node.address());
    listener.hear_of_schema_changes();
    let mut client = Client::in_keyspace(node.address());
    assert_eq!(heard(&mut listener), "CREATED KEYSPACE");
    // What Cassandra 5.0.6 says of each of them.
    for (statement, wanted) in [
        ("CREATE TYPE a (x int)", vec!["CREATED TYPE a"]),
        ("CREATE TYPE b (y frozen<a>)", vec!["CREATED TYPE b"]),
        ("CREATE TYPE other (x int)", vec!["CREATED TYPE other"]),
        (
            "CREATE TABLE t (k int PRIMARY KEY, v frozen<a>, w int)",
            vec!["CREATED TABLE t"],
        ),
        (
            "CREATE TABLE u (k int PRIMARY KEY, v list<frozen<b>>)",
            vec!["CREATED TABLE u"],
        ),
        (
            "CREATE TABLE apart (k int PRIMARY KEY, v int)",
            vec!["CREATED TABLE apart"],
        ),
        (
            "CREATE MATERIALIZED VIEW all_of AS SELECT * FROM t WHERE k IS NOT NULL AND w IS NOT NULL PRIMARY KEY (w, k)",
            vec!["CREATED TABLE all_of"],
        ),
        (
            "CREATE MATERIALIZED VIEW keys_of AS SELECT k, w FROM t WHERE k IS NOT NULL AND w IS NOT NULL PRIMARY KEY (w, k)",
            vec!["CREATED TABLE keys_of"],
        ),
        (
            "ALTER TYPE a ADD n int",
            vec![
                "UPDATED TYPE a",
                "UPDATED TYPE b",
                "UPDATED TABLE t",
                "UPDATED TABLE u",
                "UPDATED TABLE all_of",
            ],
        ),
        (
            "ALTER TYPE b RENAME y TO z",
            vec!["UPDATED TYPE b", "UPDATED TABLE u"],
        ),
        ("ALTER TYPE other ADD n int", vec!["UPDATED TYPE other"]),
        (
            "ALTER TABLE t ADD n int",
            vec!["UPDATED TABLE t", "UPDATED TABLE all_of"],
        ),
        (
            "ALTER TABLE t RENAME k TO kk",
            vec![
                "UPDATED TABLE t",
                "UPDATED TABLE all_of",
                "UPDATED TABLE keys_of",
            ],
        ),
        ("ALTER TABLE t WITH comment = 'x'", vec!["UPDATED TABLE t"]),
        (
            "ALTER MATERIALIZED VIEW all_of WITH comment = 'x'",
            vec!["UPDATED TABLE all_of"],
        ),
        ("CREATE INDEX ON t (w)", vec!["UPDATED TABLE t"]),
        (
            "DROP MATERIALIZED VIEW keys_of",
            vec!["DROPPED TABLE keys_of"],
        ),
        // Cassandra says it of all that was in it, too.
        ("DROP KEYSPACE ks", vec!["DROPPED KEYSPACE"]),
    ] {
        client.query(statement).done();
        for wanted in wanted {
            assert_eq!(heard(&mut listener), wanted, "{statement}");
        }
    }
}

#[test]
fn a_keyspace_is_described_with_upper_case_among_lower_case() {
    let node = Node::start();
    let mut client = Client::in_keyspace(node.address());
    for statement in [
        "CREATE TYPE z (x int)",
        "CREATE TYPE a (y frozen<z>)",
        "CREATE TYPE \"M\" (y int)",
        "CREATE TYPE m2 (y int)",
        "CREATE TYPE b (y frozen<map<int, frozen<\"M\">>>, x frozen<a>)",
        "CREATE TABLE \"Zt\" (k int PRIMARY KEY)",
        "CREATE TABLE a_b (k int PRIMARY KEY)",
        "CREATE TABLE \"aC\" (k int PRIMARY KEY, v int, w int)",
        "CREATE INDEX \"iB\" ON \"aC\" (v)",
        "CREATE INDEX i_a ON \"aC\" (w)",
        "CREATE MATERIALIZED VIEW \"Zv\" AS SELECT * FROM \"aC\" WHERE k IS NOT NULL AND v IS NOT NULL PRIMARY KEY (v, k)",
        "CREATE MATERIALIZED VIEW av AS SELECT * FROM \"aC\" WHERE k IS NOT NULL AND v IS NOT NULL PRIMARY KEY (v, k)",
    ] {
        client.query(statement).done();
    }
    let rows = client.query("DESCRIBE KEYSPACE ks").rows().rows;
    let names: Vec<&str> = rows
        .iter()
        .map(|row| std::str::from_utf8(row[2].as_deref().expect("a name")).expect("text"))
        .collect();
    // As Cassandra 5.0.6 lists them; a type comes where it is first needed.
    let wanted = [
        "ks", "\"M\"", "z", "a", "b", "m2", "a_b", "\"aC\"", "i_a", "\"iB\"", "av", "\"Zv\"",
        "\"Zt\"",
    ];
    assert_eq!(names, wanted);
}

#[test]
fn a_type_that_is_named_by_its_class_is_the_same_after_a_restart_or_refused() {
    let node = Node::start();
    let mut client = Client::in_keyspace(node.address());
    client.query("CREATE TYPE ks.part (a int)").done();
    // What such a class says has to be a type of the keyspace, whose name (here in hexadecimal) is all that is stored.
    for class in [
        "UserType(ks,6e6f7065,61:Int32Type)",
        "UserType(ks,70617274,61:Int32Type,62:Int32Type)",
        "UserType(system,70617274,61:Int32Type)",
    ] {
        let create = format!("CREATE TABLE ks.refused (k int PRIMARY KEY, v '{class}')");
        let (code, message) = client.query(&create).error();
        assert_eq!(code, 0x2200, "{message}");
    }
    for (table, class) in [
        ("whole", "FrozenType(UserType(ks,70617274,61:Int32Type))"),
        ("quoted", "DynamicCompositeType(a''=>Int32Type)"),
    ] {
        let create = format!("CREATE TABLE ks.{table} (k int PRIMARY KEY, v '{class}')");
        client.query(&create).done();
    }
    let before = client.query("DESCRIBE KEYSPACE ks").rows().rows;
    let node = node.restart();
    let mut client = Client::connect(node.address());
    assert_eq!(client.query("DESCRIBE KEYSPACE ks").rows().rows, before);
    node.stop();
}
