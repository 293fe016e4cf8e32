use palladium_crypto::TableId;
use palladium_protocol::cql::{self, ast::Statement};

use super::super::change::{Circumstances, Plan, plan};
use super::*;
use crate::query::functions::Moment;
use crate::query::functions::timeuuid::TimeUuids;
use palladium_crypto::OsEntropy;

fn world(statements: &[&str]) -> Catalog {
    let mut catalog = Catalog::default();
    super::super::system::add_keyspaces(&mut catalog);
    for (number, text) in statements.iter().enumerate() {
        let uuids = TimeUuids::new(&OsEntropy);
        let circumstances = Circumstances {
            keyspace: Some("ks"),
            data_center: "datacenter1",
            new_id: TableId([number as u8; 16]),
            moment: Moment {
                micros: 7_000_000,
                seconds: 7,
                uuids: &uuids,
            },
            masking: true,
        };
        match plan(&catalog, &cql::parse(text).unwrap(), &circumstances) {
            Ok(Plan::Change(changed)) => catalog = changed.catalog,
            other => panic!("{text}: {other:?}"),
        }
    }
    catalog
}

fn described(catalog: &Catalog, session: Option<&str>, text: &str) -> Result<Vec<String>, String> {
    let Ok(Statement::Describe(statement)) = cql::parse(text) else {
        panic!("{text} is no DESCRIBE");
    };
    let cluster = Cluster {
        name: "test".into(),
        ownership: vec![("0".into(), "/127.0.0.1:7000".into())],
    };
    let description =
        describe(catalog, session, &cluster, &statement).map_err(|error| error.message)?;
    let shown = |value: &Option<Bytes>| {
        String::from_utf8_lossy(value.as_deref().unwrap_or_default()).into_owned()
    };
    Ok(description
        .rows
        .iter()
        .map(|row| row.iter().map(shown).collect::<Vec<_>>().join("|"))
        .collect())
}

const KEYSPACE: &str =
    "CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}";

#[test]
fn a_table_is_printed_as_cassandra_prints_it() {
    let catalog = world(&[
        KEYSPACE,
        "CREATE TABLE a (k int, \"C\" int, s int static, v int, l list<int>, b int, PRIMARY KEY (k, \"C\")) WITH CLUSTERING ORDER BY \
         (\"C\" DESC) AND comment = 'it''s'",
        "CREATE TABLE p (k1 int, k2 int, \"select\" text, PRIMARY KEY ((k1, k2)))",
    ]);
    assert_eq!(
        described(&catalog, None, "DESCRIBE TABLE ks.a").unwrap()[0],
        "ks|table|a|CREATE TABLE ks.a (\n    k int,\n    \"C\" int,\n    s int static,\n    b int,\n    v int,\n    l list<int>,\n    \
         PRIMARY KEY (k, \"C\")\n) WITH CLUSTERING ORDER BY (\"C\" DESC)\n    AND additional_write_policy = '99p'\n    AND \
         allow_auto_snapshot = true\n    AND bloom_filter_fp_chance = 0.01\n    AND caching = {'keys': 'ALL', 'rows_per_partition': \
         'NONE'}\n    AND cdc = false\n    AND comment = 'it''s'\n    AND compaction = {'class': \
         'org.apache.cassandra.db.compaction.SizeTieredCompactionStrategy', 'max_threshold': '32', 'min_threshold': '4'}\n    AND \
         compression = {'chunk_length_in_kb': '16', 'class': 'org.apache.cassandra.io.compress.LZ4Compressor'}\n    AND memtable = \
         'default'\n    AND crc_check_chance = 1.0\n    AND default_time_to_live = 0\n    AND extensions = {}\n    AND gc_grace_seconds \
         = 864000\n    AND incremental_backups = true\n    AND max_index_interval = 2048\n    AND memtable_flush_period_in_ms = 0\n    \
         AND min_index_interval = 128\n    AND read_repair = 'BLOCKING'\n    AND speculative_retry = '99p';"
    );
    let other = &described(&catalog, Some("ks"), "DESCRIBE TABLE p").unwrap()[0];
    assert!(other.starts_with(
        "ks|table|p|CREATE TABLE ks.p (\n    k1 int,\n    k2 int,\n    \"select\" text,\n    PRIMARY KEY ((k1, k2))\n) WITH \
         additional_write_policy"
    ));
}

#[test]
fn internals_show_what_was_dropped() {
    let catalog = world(&[
        KEYSPACE,
        "CREATE TABLE a (k int, c int, v int, l list<int>, PRIMARY KEY (k, c))",
        "ALTER TABLE a DROP l",
        "ALTER TABLE a ADD l list<int>",
        "ALTER TABLE a DROP v USING TIMESTAMP 1",
    ]);
    let text = &described(&catalog, None, "DESCRIBE TABLE ks.a WITH INTERNALS").unwrap()[0];
    assert!(text.contains(
        "(\n    k int,\n    c int,\n    l list<int>,\n    v int,\n    PRIMARY KEY (k, c)\n) WITH ID = \
         01010101-0101-0101-0101-010101010101\n    AND CLUSTERING ORDER BY (c ASC)"
    ));
    assert!(text.ends_with(
        "\nALTER TABLE ks.a DROP l USING TIMESTAMP 7000000;\nALTER TABLE ks.a ADD l list<int>;\nALTER TABLE ks.a DROP v USING \
         TIMESTAMP 1;"
    ));
}

#[test]
fn a_keyspace_is_printed_in_an_order_that_can_be_run() {
    let script = [
        KEYSPACE,
        "CREATE TYPE zz (x int, \"Q\" text)",
        "CREATE TYPE a (x int)",
        "CREATE TYPE mm (z frozen<zz>, a frozen<a>)",
        "CREATE TABLE \"Tab\" (a int PRIMARY KEY, m frozen<mm>) WITH encryption = {'kms_key': 'local:orders'} AND \
         custom_properties = {'ttl': {'status': 'enabled'}} AND tags = {'team': 'it''s'}",
    ];
    let catalog = world(&script);
    let rows = described(&catalog, None, "DESCRIBE KEYSPACE ks").unwrap();
    let heads: Vec<&str> = rows
        .iter()
        .map(|row| row.split("|CREATE").next().unwrap())
        .collect();
    assert_eq!(
        heads,
        [
            "ks|keyspace|ks",
            "ks|type|a",
            "ks|type|zz",
            "ks|type|mm",
            "ks|table|\"Tab\""
        ]
    );
    assert_eq!(
        rows[0],
        "ks|keyspace|ks|CREATE KEYSPACE ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': '1'}  AND \
         durable_writes = true;"
    );
    assert_eq!(
        rows[2],
        "ks|type|zz|CREATE TYPE ks.zz (\n    x int,\n    \"Q\" text\n);"
    );
    let printed: Vec<&str> = rows
        .iter()
        .map(|row| row.splitn(4, '|').nth(3).unwrap())
        .collect();
    let again = world(&printed);
    assert_eq!(
        described(&again, None, "DESCRIBE KEYSPACE ks").unwrap(),
        rows
    );
    let (before, after) = (
        catalog.table("ks", "Tab").unwrap(),
        again.table("ks", "Tab").unwrap(),
    );
    assert_eq!(before.encryption, after.encryption);
    assert_eq!(before.custom_properties, after.custom_properties);
}

#[test]
fn what_is_not_found_is_told_in_cassandras_words() {
    let catalog = world(&[KEYSPACE]);
    for (session, text, message) in [
        (
            None,
            "DESCRIBE TABLE ks.nope",
            "Table 'nope' not found in keyspace 'ks'",
        ),
        (
            None,
            "DESCRIBE TABLE nope.nope",
            "'nope' not found in keyspaces",
        ),
        (None, "DESCRIBE TABLE a", NO_KEYSPACE),
        (
            None,
            "DESCRIBE KEYSPACE nope",
            "'nope' not found in keyspaces",
        ),
        (None, "DESCRIBE KEYSPACE", NO_KEYSPACE),
        (
            None,
            "DESCRIBE TYPE ks.nope",
            "User defined type 'nope' not found in 'ks'",
        ),
        (None, "DESCRIBE nope", "'nope' not found in keyspaces"),
        (
            None,
            "DESCRIBE ks.nope",
            "'nope' not found in keyspace 'ks'",
        ),
        (
            Some("ks"),
            "DESCRIBE nope",
            "'nope' not found in keyspace 'ks'",
        ),
        (
            None,
            "DESCRIBE INDEX ks.nope",
            "Table for existing index 'nope' not found in 'ks'",
        ),
        (
            None,
            "DESCRIBE MATERIALIZED VIEW ks.nope",
            "Materialized view 'nope' not found in 'ks'",
        ),
        (
            None,
            "DESCRIBE FUNCTION ks.nope",
            "User defined function 'nope' not found in 'ks'",
        ),
    ] {
        assert_eq!(
            described(&catalog, session, text).unwrap_err(),
            message,
            "{text}"
        );
    }
}

#[test]
fn lists_show_the_session_keyspace_or_all() {
    let catalog = world(&[
        KEYSPACE,
        "CREATE TABLE b (k int PRIMARY KEY)",
        "CREATE TABLE \"A\" (k int PRIMARY KEY)",
    ]);
    assert_eq!(
        described(&catalog, Some("ks"), "DESCRIBE TABLES").unwrap(),
        ["ks|table|\"A\"", "ks|table|b"]
    );
    let all = described(&catalog, None, "DESCRIBE TABLES").unwrap();
    assert!(all.contains(&"system|table|\"IndexInfo\"".to_owned()));
    let virtual_table = &described(
        &catalog,
        None,
        "DESCRIBE TABLE system_virtual_schema.tables",
    )
    .unwrap()[0];
    assert_eq!(
        virtual_table,
        "system_virtual_schema|table|tables|/*\nWarning: Table system_virtual_schema.tables is a virtual table and cannot be \
         recreated with CQL.\nStructure, for reference:\nVIRTUAL TABLE system_virtual_schema.tables (\n    keyspace_name text,\n    \
         table_name text,\n    comment text,\n    PRIMARY KEY (keyspace_name, table_name)\n) WITH CLUSTERING ORDER BY (table_name \
         ASC)\n    AND comment = 'virtual table definitions';\n*/"
    );
    assert_eq!(
        described(&catalog, None, "DESCRIBE CLUSTER").unwrap(),
        ["test|Murmur3Partitioner|DynamicEndpointSnitch"]
    );
}

#[test]
fn who_is_not_shown_the_name_of_a_key_is_not_told_by_describe_either() {
    let script = [
        KEYSPACE,
        "CREATE TABLE hidden (a int PRIMARY KEY) WITH encryption = {'kms_key': 'local:hidden'} AND tags = {'team': 'b'}",
        "CREATE TABLE shown (a int PRIMARY KEY) WITH encryption = {'kms_key': 'local:shown'}",
    ];
    let catalog = world(&script);
    let seen = without_key_names(&catalog, |cmk| cmk.to_string() == "local:shown");
    let text = described(&seen, None, "DESCRIBE KEYSPACE ks")
        .unwrap()
        .join("\n");
    assert!(!text.contains("local:hidden"), "{text}");
    assert!(text.contains("local:shown") && text.contains("CREATE TABLE ks.hidden"));
    assert!(text.contains("tags = {'team': 'b'}"));
    let all = described(&catalog, None, "DESCRIBE KEYSPACE ks").unwrap();
    assert!(all.join("\n").contains("local:hidden"));
}
