//! Guardrails, warnings and what is refused: the words are what a Cassandra 5.0.6 says with the same settings to a user who is no superuser.

use crate::client::{self, Answer, Client, Node, with_roles};
use palladium::config::Config;

const SETTINGS: &str = "
keyspaces_warn_threshold = 1
keyspaces_fail_threshold = 2
tables_warn_threshold = 2
tables_fail_threshold = 4
columns_per_table_warn_threshold = 3
columns_per_table_fail_threshold = 5
fields_per_udt_warn_threshold = 1
fields_per_udt_fail_threshold = 2
vector_dimensions_warn_threshold = 2
page_size_warn_threshold = 100
page_size_fail_threshold = 200
partition_keys_in_select_warn_threshold = 2
partition_keys_in_select_fail_threshold = 3
in_select_cartesian_product_warn_threshold = 3
column_value_size_warn_threshold = '10B'
column_value_size_fail_threshold = '2KiB'
collection_size_warn_threshold = '20B'
items_per_collection_warn_threshold = 2
items_per_collection_fail_threshold = 4
maximum_replication_factor_fail_threshold = 3
table_properties_warned = ['comment']
table_properties_ignored = ['cdc']
table_properties_disallowed = ['gc_grace_seconds']
tombstone_warn_threshold = 3
tombstone_failure_threshold = 20
batch_size_warn_threshold = '1KiB'
batch_size_fail_threshold = '4KiB'
";

fn with_settings(settings: &str, story: impl FnOnce(&mut Client)) {
    let node = Node::start_with(client::with_settings(settings));
    story(&mut Client::connect(node.address()));
    node.stop();
}

/// The warnings of a statement, and its error behind them.
fn said(client: &mut Client, statement: &str) -> Vec<String> {
    let answer = client.query(statement);
    with_error(client, answer)
}

fn with_error(client: &mut Client, answer: Answer) -> Vec<String> {
    let mut said = client.warnings.clone();
    if let Answer::Error(code, message) = answer {
        said.push(format!("{code:#06x} {message}"));
    }
    said
}

const REPLICATION: &str = "WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}";

#[test]
fn thresholds_warn_and_refuse_in_cassandras_words() {
    with_settings(SETTINGS, |client| {
        client
            .query(&format!("CREATE KEYSPACE a {REPLICATION}"))
            .done();
        for (statement, expected) in [
            (
                "CREATE KEYSPACE c WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 4}",
                &[
                    "0x2200 Guardrail maximum_replication_factor violated: The keyspace c has a replication factor of 4, above the failure threshold of 3.",
                ][..],
            ),
            (
                "CREATE KEYSPACE b WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
                &[
                    "Guardrail keyspaces violated: Creating keyspace b, current number of keyspaces 2 exceeds warning threshold of 1.",
                ],
            ),
            (
                "CREATE KEYSPACE c WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}",
                &[
                    "0x2200 Guardrail keyspaces violated: Cannot have more than 2 keyspaces, aborting the creation of keyspace c",
                ],
            ),
            ("CREATE TABLE a.t1 (k int PRIMARY KEY)", &[]),
            (
                "CREATE TABLE a.t2 (k int, c int, v int, w text, PRIMARY KEY (k, c))",
                &[
                    "Guardrail columns_per_table violated: The table t2 has 4 columns, this exceeds the warning threshold of 3.",
                ],
            ),
            (
                "CREATE TABLE a.t3 (k int, c int, v int, l list<int>, s text, PRIMARY KEY (k, c))",
                &[
                    "Guardrail columns_per_table violated: The table t3 has 5 columns, this exceeds the warning threshold of 3.",
                    "Guardrail tables violated: Creating table t3, current number of tables 3 exceeds warning threshold of 2.",
                ],
            ),
            (
                "CREATE TABLE a.t4 (k int PRIMARY KEY, v vector<float, 3>, l list<text>)",
                &[
                    "Guardrail tables violated: Creating table t4, current number of tables 4 exceeds warning threshold of 2.",
                    "Guardrail vector_dimensions violated: Column v has a vector of 3 dimensions, this exceeds the warning threshold of 2.",
                ],
            ),
            (
                "CREATE TABLE a.t5 (k int PRIMARY KEY)",
                &[
                    "0x2200 Guardrail tables violated: Cannot have more than 4 tables, aborting the creation of table t5",
                ],
            ),
            (
                "ALTER TABLE a.t3 ADD x int",
                &[
                    "0x2200 Guardrail columns_per_table violated: Tables cannot have more than 5 columns, but 6 provided for table t3",
                ],
            ),
            (
                "CREATE TYPE a.u (x int, y int)",
                &[
                    "Guardrail fields_per_udt violated: The user type u has 2 columns, this exceeds the warning threshold of 1.",
                ],
            ),
            (
                "ALTER TYPE a.u ADD z int",
                &[
                    "0x2200 Guardrail fields_per_udt violated: User types cannot have more than 2 columns, but 3 provided for user type u.",
                ],
            ),
            (
                "ALTER TABLE a.t2 WITH comment = 'x'",
                &[
                    "Guardrail table_properties violated: Provided values [comment] are not recommended for Table Properties (warned values are: [comment])",
                ],
            ),
            (
                "ALTER TABLE a.t2 WITH cdc = true",
                &[
                    "Guardrail table_properties violated: Ignoring provided values [cdc] as they are not supported for Table Properties (ignored values are: [cdc])",
                ],
            ),
            (
                "ALTER TABLE a.t2 WITH gc_grace_seconds = 5",
                &[
                    "0x2200 Guardrail table_properties violated: Provided values [gc_grace_seconds] are not allowed for Table Properties (disallowed values are: [gc_grace_seconds])",
                ],
            ),
            (
                "SELECT * FROM a.t2 WHERE k IN (1, 2, 3)",
                &[
                    "Guardrail partition_keys_in_select violated: Query with partition keys in IN clause on table t2, with number of partition keys 3 exceeds warning threshold of 2.",
                ],
            ),
            (
                "SELECT * FROM a.t2 WHERE k = 1 AND c IN (1, 2, 3, 4)",
                &[
                    "Guardrail in_select_cartesian_product violated: The cartesian product of the IN restrictions on clustering key produces 4 values, this exceeds warning threshold of 3.",
                ],
            ),
            (
                "INSERT INTO a.t2 (k, c, w) VALUES (1, 1, '12345678901')",
                &[
                    "Guardrail column_value_size violated: Value of column 'w' has size 11, this exceeds the warning threshold of 10.",
                ],
            ),
            (
                "INSERT INTO a.t4 (k, l) VALUES (1, ['12345678901'])",
                &[
                    "Guardrail column_value_size violated: Value of column 'l' has size 11, this exceeds the warning threshold of 10.",
                    "Guardrail column_value_size violated: Value of column 'l' has size 16, this exceeds the warning threshold of 10.",
                    "Guardrail collection_size violated: Detected collection l of size 47, this exceeds the warning threshold of 20.",
                ],
            ),
            (
                "INSERT INTO a.t4 (k, l) VALUES (1, ['a', 'b', 'c', 'd', 'e'])",
                &[
                    "0x2200 Guardrail items_per_collection violated: Detected collection l with 5 items, this exceeds the failure threshold of 4.",
                ],
            ),
        ] {
            let mut said = said(client, statement);
            // What refuses is warned of, too.
            if said
                .last()
                .is_some_and(|last| last.starts_with("0x2200 Guardrail"))
            {
                let twice = said.len() - 2;
                assert_eq!(said[twice], said[twice + 1]["0x2200 ".len()..]);
                said.remove(twice);
            }
            assert_eq!(said, expected, "{statement}");
        }
        let cdc = client.query(
            "SELECT cdc FROM system_schema.tables WHERE keyspace_name = 'a' AND table_name = 't2'",
        );
        assert_eq!(cdc.rows().rows, [[None]], "what is ignored is not set");
        let answer = client.query_page("SELECT * FROM a.t2", Some(150), None);
        assert_eq!(
            with_error(client, answer),
            [
                "Guardrail page_size violated: Query for table t2 with page size 150 exceeds warning threshold of 100."
            ]
        );
        let answer = client.query_page("SELECT * FROM a.t2", Some(250), None);
        assert_eq!(
            answer.error().1,
            "Guardrail page_size violated: Aborting query for table t2, page size 250 exceeds fail threshold of 200."
        );
    });
}

#[test]
fn batches_are_weighed_as_cassandra_weighs_them() {
    with_settings(
        "batch_size_warn_threshold = '1KiB'\nbatch_size_fail_threshold = '4KiB'",
        |client| {
            client
                .query(&format!("CREATE KEYSPACE a {REPLICATION}"))
                .done();
            client
                .query("CREATE TABLE a.t2 (k int, c int, v int, w text, PRIMARY KEY (k, c))")
                .done();
            client
                .query("CREATE TABLE a.t3 (k int, c int, v int, PRIMARY KEY (k, c))")
                .done();
            client
                .query("CREATE TABLE a.t4 (k int PRIMARY KEY, l list<text>)")
                .done();
            let batch = |kind: &str, count: i32, statement: &str| {
                let statements: String = (0..count)
                    .map(|k| statement.replace('#', &k.to_string()))
                    .collect();
                format!("BEGIN {kind} BATCH {statements} APPLY BATCH")
            };
            for (statement, bytes) in [
                ("INSERT INTO a.t2 (k, c, v) VALUES (#, 1, 1);", 1872),
                ("INSERT INTO a.t2 (k, c) VALUES (#, 1);", 1296),
                (
                    "INSERT INTO a.t2 (k, c, v) VALUES (#, 1, 1); INSERT INTO a.t2 (k, c, v) VALUES (#, 2, 1);",
                    3048,
                ),
                ("UPDATE a.t2 SET v = 1 WHERE k = # AND c = 1;", 1872),
                ("DELETE FROM a.t2 WHERE k = # AND c = 1;", 1296),
                (
                    "INSERT INTO a.t2 (k, c, v) VALUES (#, 1, 1) USING TTL 100;",
                    2160,
                ),
                ("INSERT INTO a.t2 (k, c, v) VALUES (#, 1, null);", 1776),
                ("INSERT INTO a.t2 (k, c, w) VALUES (#, 1, 'abcdef');", 1920),
            ] {
                assert_eq!(
                    said(client, &batch("", 24, statement)),
                    [format!(
                        "Batch for [a.t2] is of size {bytes}, exceeding specified threshold of 1024 by {}.",
                        bytes - 1024
                    )],
                    "{statement}"
                );
            }
            assert_eq!(
                said(
                    client,
                    &batch("", 24, "INSERT INTO a.t4 (k, l) VALUES (#, ['ab']);")
                ),
                [
                    "Batch for [a.t4] is of size 2400, exceeding specified threshold of 1024 by 1376."
                ]
            );
            let both = "INSERT INTO a.t2 (k, c, v) VALUES (#, 1, 1); INSERT INTO a.t3 (k, c, v) VALUES (#, 1, 1);";
            assert_eq!(
                said(client, &batch("UNLOGGED", 12, both)),
                [
                    "Batch for [a.t3, a.t2] is of size 1872, exceeding specified threshold of 1024 by 848.",
                    "Unlogged batch covering 12 partitions detected against tables [a.t3, a.t2]. You should use a logged batch for atomicity, or asynchronous writes for performance.",
                ]
            );
            let one = "INSERT INTO a.t2 (k, c, v) VALUES (#, 1, 1);";
            assert_eq!(said(client, &batch("UNLOGGED", 10, one)), [""; 0]);
            let said = said(
                client,
                &batch("", 100, "INSERT INTO a.t2 (k, c, v) VALUES (1#, 7, 7);"),
            );
            assert_eq!(said, ["0x2200 Batch too large"]);
            let rows = client
                .query("SELECT k FROM a.t2 WHERE k = 150 AND c = 7")
                .rows();
            assert!(
                rows.rows.is_empty(),
                "a batch that is too large is not written"
            );
        },
    );
}

#[test]
fn many_tombstones_are_warned_of_and_too_many_end_the_read() {
    with_settings(
        "tombstone_warn_threshold = 3\ntombstone_failure_threshold = 20",
        |client| {
            client
                .query(&format!("CREATE KEYSPACE a {REPLICATION}"))
                .done();
            client
                .query("CREATE TABLE a.t2 (k int, c int, v int, PRIMARY KEY (k, c))")
                .done();
            for c in 0..25 {
                client
                    .query(&format!("DELETE FROM a.t2 WHERE k = 8 AND c = {c}"))
                    .done();
            }
            for c in 0..5 {
                client
                    .query(&format!("DELETE FROM a.t2 WHERE k = 7 AND c = {c}"))
                    .done();
            }
            let answer = client.query_page("SELECT * FROM a.t2 WHERE k = 7", Some(50), None);
            assert_eq!(
                with_error(client, answer),
                [
                    "Read 0 live rows and 5 tombstone cells for query SELECT * FROM a.t2 WHERE k = 7 LIMIT 50 ALLOW FILTERING; token 1634052884888577606 (see tombstone_warn_threshold)"
                ]
            );
            for (statement, tombstones, query) in [
                (
                    "SELECT * FROM a.t2 WHERE k = 7 AND c >= 1 AND v = 5 ALLOW FILTERING",
                    4,
                    "SELECT * FROM a.t2 WHERE k = 7 AND c >= 1 AND v = 5 LIMIT 50 ALLOW FILTERING",
                ),
                (
                    "SELECT v FROM a.t2 WHERE k = 7 ORDER BY c DESC PER PARTITION LIMIT 2",
                    5,
                    "SELECT v FROM a.t2 WHERE k = 7 ORDER BY c DESC LIMIT 50 PER PARTITION LIMIT 2 ALLOW FILTERING",
                ),
                (
                    "SELECT c FROM a.t2 WHERE k = 7 AND c > 0 AND c <= 9 AND v IN (1, 2) LIMIT 3 ALLOW FILTERING",
                    4,
                    "SELECT v FROM a.t2 WHERE k = 7 AND c > 0 AND c <= 9 AND v IN [1, 2] LIMIT 3 ALLOW FILTERING",
                ),
            ] {
                let answer = client.query_page(statement, Some(50), None);
                assert_eq!(
                    with_error(client, answer),
                    [format!(
                        "Read 0 live rows and {tombstones} tombstone cells for query {query}; token 1634052884888577606 (see tombstone_warn_threshold)"
                    )]
                );
            }
            let answer = client.query_page("SELECT count(*) FROM a.t2 WHERE k = 7", None, None);
            assert_eq!(
                with_error(client, answer),
                [
                    "Read 0 live rows and 5 tombstone cells for query SELECT * FROM a.t2 WHERE k = 7  ALLOW FILTERING; token 1634052884888577606 (see tombstone_warn_threshold)"
                ]
            );
            let answer = client.query_page("SELECT * FROM a.t2 WHERE k = 8", Some(50), None);
            assert_eq!(
                with_error(client, answer),
                [
                    "Read 0 live rows and 21 tombstone cells for query SELECT * FROM a.t2 WHERE k = 8 LIMIT 50 ALLOW FILTERING; token -3799847372828181882 (see tombstone_warn_threshold)",
                    "0x1300 Operation failed - received 0 responses and 1 failures: READ_TOO_MANY_TOMBSTONES from /127.0.0.1:7000",
                ]
            );
        },
    );
}

#[test]
fn what_is_switched_off_is_refused() {
    let settings = "allow_filtering_enabled = false\ngroup_by_enabled = false\nuser_timestamps_enabled = false\n\
        drop_truncate_table_enabled = false\ndrop_keyspace_enabled = false\nread_before_write_list_operations_enabled = false\n\
        uncompressed_tables_enabled = false\nwrite_consistency_levels_disallowed = ['ONE']";
    with_settings(settings, |client| {
        client
            .query(&format!("CREATE KEYSPACE a {REPLICATION}"))
            .done();
        client
            .query("CREATE TABLE a.t (k int PRIMARY KEY, v int, l list<text>)")
            .done();
        for (statement, message) in [
            (
                "SELECT * FROM a.t WHERE v = 1 ALLOW FILTERING",
                "allow_filtering violated: Querying with ALLOW FILTERING is not allowed. ALLOW FILTERING can potentially visit all the data in the table and have unpredictable performance.",
            ),
            (
                "SELECT k, count(*) FROM a.t GROUP BY k",
                "group_by violated: GROUP BY functionality is not allowed",
            ),
            (
                "INSERT INTO a.t (k) VALUES (1) USING TIMESTAMP 5",
                "user_timestamps violated: User provided timestamps (USING TIMESTAMP) is not allowed",
            ),
            (
                "UPDATE a.t SET l[0] = 'a' WHERE k = 1",
                "read_before_write_list_operations violated: Setting of list items by index requiring read before write is not allowed",
            ),
            (
                "DELETE l[0] FROM a.t WHERE k = 1",
                "read_before_write_list_operations violated: Removal of list items by index requiring read before write is not allowed",
            ),
            (
                "UPDATE a.t SET l = l - ['a'] WHERE k = 1",
                "read_before_write_list_operations violated: Removal of list items requiring read before write is not allowed",
            ),
            (
                "TRUNCATE a.t",
                "drop_truncate_table_enabled violated: DROP and TRUNCATE TABLE functionality is not allowed",
            ),
            (
                "DROP TABLE IF EXISTS a.nope",
                "drop_truncate_table_enabled violated: DROP and TRUNCATE TABLE functionality is not allowed",
            ),
            (
                "DROP KEYSPACE a",
                "drop_keyspace_enabled violated: DROP KEYSPACE functionality is not allowed",
            ),
            (
                "ALTER TABLE a.t WITH compression = {'enabled': false}",
                "uncompressed_tables_enabled violated: Uncompressed table is not allowed",
            ),
            (
                "INSERT INTO a.t (k) VALUES (1)",
                "write_consistency_levels violated: Provided values [ONE] are not allowed for write consistency levels (disallowed values are: [ONE])",
            ),
        ] {
            assert_eq!(
                client.query(statement).error(),
                (0x2200, format!("Guardrail {message}")),
                "{statement}"
            );
        }
    });
}

#[test]
fn a_value_is_weighed_also_where_its_row_is_looked_at_first() {
    with_settings(
        "column_value_size_warn_threshold = '20B'\ncolumn_value_size_fail_threshold = '30B'\nitems_per_collection_fail_threshold = 2\n\
         materialized_views_per_table_warn_threshold = 1\nmaterialized_views_per_table_fail_threshold = 2",
        |client| {
            client
                .query(&format!("CREATE KEYSPACE a {REPLICATION}"))
                .done();
            client
                .query("CREATE TABLE a.t (k int PRIMARY KEY, v text, l list<int>)")
                .done();
            client
                .query("INSERT INTO a.t (k, v, l) VALUES (1, 'old', [0])")
                .done();
            let warned = "Guardrail column_value_size violated: Value of column 'v' has size 21, this exceeds the warning threshold of 20.";
            let failed = "Guardrail column_value_size violated: Value of column 'v' has size 31, this exceeds the failure threshold of 30.";
            let refused = format!("0x2200 {failed}");
            let list = "Guardrail items_per_collection violated: Detected collection l with 3 items, this exceeds the failure threshold of 2.";
            let refused_list = format!("0x2200 {list}");
            let conditional =
                |value: &str| format!("UPDATE a.t SET v = '{value}' WHERE k = 1 IF EXISTS");
            assert_eq!(
                said(client, &conditional("yyyyyyyyyyyyyyyyyyyyy")),
                [warned]
            );
            assert_eq!(
                said(client, &conditional("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx")),
                [failed, &refused]
            );
            let batch = format!(
                "BEGIN BATCH {}; APPLY BATCH",
                conditional("xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx")
            );
            assert_eq!(said(client, &batch), [failed, &refused]);
            assert_eq!(
                said(client, "UPDATE a.t SET l = [1, 2, 3] WHERE k = 1 IF EXISTS"),
                [list, &refused_list]
            );
            let view = |name: &str| {
                format!(
                    "CREATE MATERIALIZED VIEW a.{name} AS SELECT * FROM a.t WHERE k IS NOT NULL AND v IS NOT NULL PRIMARY KEY (v, k)"
                )
            };
            let of_views = |client: &mut Client, name: &str| {
                let mut said = said(client, &view(name));
                said.retain(|said| said.contains("materialized_views_per_table"));
                said
            };
            assert_eq!(of_views(client, "one"), [""; 0]);
            assert_eq!(
                of_views(client, "two"),
                [
                    "Guardrail materialized_views_per_table violated: Creating materialized view two on table t, current number of views 2 exceeds warning threshold of 1."
                ]
            );
            let many = "Guardrail materialized_views_per_table violated: Tables cannot have more than 2 materialized views, aborting the creation of materialized view three on table t";
            assert_eq!(
                of_views(client, "three"),
                [many.to_owned(), format!("0x2200 {many}")]
            );
            // A plain write, to a table that has views by now.
            assert_eq!(
                said(
                    client,
                    "INSERT INTO a.t (k, v) VALUES (2, 'xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx')"
                ),
                [failed, &refused]
            );
            let rows = client.query("SELECT v, l FROM a.t WHERE k = 1").rows();
            assert_eq!(
                rows.rows[0][0].as_deref(),
                Some(&b"yyyyyyyyyyyyyyyyyyyyy"[..]),
                "what was refused is not written"
            );
            assert!(
                client
                    .query("SELECT v FROM a.t WHERE k = 2")
                    .rows()
                    .rows
                    .is_empty()
            );
        },
    );
}

#[test]
fn who_becomes_a_superuser_is_held_by_less_from_his_next_statement_on() {
    let settings = "page_size_fail_threshold = 10\ncolumn_value_size_fail_threshold = '10B'";
    let node = Node::start_with(Config {
        cassandra: settings.parse().expect("a table of settings"),
        ..with_roles()
    });
    let log_in = |name: &str| {
        Client::connect_as(node.address(), name, name).expect("a role that may log in")
    };
    let mut first = log_in("cassandra");
    for statement in [
        &format!("CREATE KEYSPACE a {REPLICATION}"),
        "CREATE TABLE a.t (k int PRIMARY KEY, v text)",
        "CREATE ROLE bob WITH LOGIN = true AND PASSWORD = 'bob'",
        "GRANT ALL ON KEYSPACE a TO bob",
    ] {
        first.query(statement).done();
    }
    let long = "INSERT INTO a.t (k, v) VALUES (1, '12345678901')";
    first.query(long).done();
    let mut bob = log_in("bob");
    let batch = format!("BEGIN BATCH {long}; APPLY BATCH");
    let is_held = |bob: &mut Client| {
        let answers = [
            bob.query(long),
            bob.query(&batch),
            bob.query_page("SELECT * FROM a.t", Some(20), None),
        ];
        answers.map(|answer| matches!(answer, Answer::Error(0x2200, message) if message.starts_with("Guardrail ")))
    };
    assert_eq!(is_held(&mut bob), [true; 3]);
    first.query("ALTER ROLE bob WITH SUPERUSER = true").done();
    assert_eq!(is_held(&mut bob), [false; 3]);
    first.query("ALTER ROLE bob WITH SUPERUSER = false").done();
    assert_eq!(is_held(&mut bob), [true; 3]);
    node.stop();
}
