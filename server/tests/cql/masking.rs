//! Dynamic data masking where it is switched on: masks are checked, stored, described and listed. The words are those of a Cassandra 5.0.6.

use crate::client::{Answer, Client, Node};
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
    let node = Node::start_with("dynamic_data_masking_enabled = true");
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
