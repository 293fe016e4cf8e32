//! Write secrets, search the data folder, find none: at every stage of a row's life, in every place where a user can put a word.

use palladium_integration_tests::chance::Chance;
use palladium_integration_tests::grep;
use palladium_integration_tests::node::Node;

use crate::runtimes::one_thread;

/// The mark of one run: a word that stands nowhere else and is part of every name and value, so that one search finds any of them, and what stands before it
/// says which.
struct Mark(String);

impl Mark {
    fn new(chance: &mut Chance) -> Mark {
        Mark(format!("{:016x}", chance.number()))
    }

    /// A name or value for one kind of place.
    fn word(&self, place: &str) -> String {
        format!("{place}_{}", self.0)
    }

    /// Fails if the mark lies anywhere under the data folder, or in what the server printed.
    fn search(&self, node: &Node, stage: &str) {
        let finds = grep::search(&node.data(), &[&self.0]).expect("the data folder can be read");
        assert!(finds.is_empty(), "{stage}: plaintext on disk: {finds:#?}");
        let log = node.log();
        let line = log.lines().find(|line| line.contains(&self.0));
        assert!(line.is_none(), "{stage}: the log says {line:?}");
    }
}

#[test]
fn no_word_of_a_user_reaches_the_disk() {
    let mut chance = Chance::for_test("no_word_of_a_user_reaches_the_disk");
    let mut node = Node::start();
    let mark = Mark::new(&mut chance);
    node.key("create", "first");
    node.key("create", "second");
    let runtime = one_thread();

    let keyspace = mark.word("keyspace");
    let table = format!("{keyspace}.{}", mark.word("table"));
    let counters = format!("{keyspace}.{}", mark.word("counters"));
    let doomed = format!("{keyspace}.{}", mark.word("doomed"));
    let view = format!("{keyspace}.{}", mark.word("view"));
    let [partition, clustering, column, fixed] =
        ["partition", "clustering", "column", "fixed"].map(|place| mark.word(place));
    let [tally, user_type, field] = ["tally", "usertype", "field"].map(|place| mark.word(place));
    let encrypted = "encryption = {'kms_key': 'local:first'}";
    let schema = [
        format!(
            "CREATE KEYSPACE {keyspace} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"
        ),
        format!("CREATE TYPE {keyspace}.{user_type} ({field} text)"),
        format!(
            "CREATE TABLE {table} ({partition} text, {clustering} text, {column} text, {fixed} text STATIC, m map<text, text>, s set<text>, l list<text>, \
             t tuple<int, text>, u frozen<{user_type}>, b blob, i uuid, a ascii, fm frozen<map<text, text>>, PRIMARY KEY ({partition}, {clustering})) \
             WITH comment = '{}' AND {encrypted}",
            mark.word("comment")
        ),
        format!("CREATE TABLE {counters} (k text PRIMARY KEY, {tally} counter) WITH {encrypted}"),
        format!("CREATE TABLE {doomed} (k text PRIMARY KEY, v text)"),
        format!("CREATE INDEX {} ON {table} ({column})", mark.word("index")),
        format!("CREATE INDEX ON {table} (keys(m))"),
        format!(
            "CREATE INDEX ON {table} (a) USING 'sai' WITH OPTIONS = {{'case_sensitive': 'false'}}"
        ),
        format!(
            "CREATE MATERIALIZED VIEW {view} AS SELECT * FROM {doomed} WHERE v IS NOT NULL AND k IS NOT NULL PRIMARY KEY (v, k)"
        ),
    ];

    let mut values = Vec::new();
    for round in 0..50 {
        let value = |place: &str| mark.word(&format!("{place}{round}"));
        values.push(format!(
            "INSERT INTO {table} ({partition}, {clustering}, {column}, {fixed}, m, s, l, t, u, b, i, a, fm) VALUES ('{}', '{}', '{}', '{}', {{'{}': '{}'}}, \
             {{'{}'}}, ['{}'], (1, '{}'), {{{field}: '{}'}}, 0x{}, uuid(), '{}', {{'{}': '{}'}})",
            value("key"),
            value("row"),
            value("cell"),
            value("static"),
            value("mapkey"),
            value("mapvalue"),
            value("element"),
            value("item"),
            value("member"),
            value("inside"),
            hex(&value("bytes")),
            value("ascii"),
            value("frozenkey"),
            value("frozenvalue")
        ));
        let (key, row) = (value("lwtkey"), value("lwtrow"));
        let place = format!("{partition} = '{key}' AND {clustering} = '{row}'");
        values.push(format!("INSERT INTO {table} ({partition}, {clustering}, {column}) VALUES ('{key}', '{row}', '{}') IF NOT EXISTS", value("lwt")));
        values.push(format!(
            "UPDATE {table} USING TTL 1 SET {column} = '{}' WHERE {place}",
            value("expiring")
        ));
        values.push(format!(
            "UPDATE {table} SET m['{}'] = '{}', l = l + ['{}'] WHERE {place}",
            value("onekey"),
            value("onevalue"),
            value("appended")
        ));
        values.push(format!(
            "DELETE m['{}'] FROM {table} WHERE {place}",
            value("deletedkey")
        ));
        values.push(format!(
            "DELETE FROM {table} WHERE {partition} = '{key}' AND {clustering} > '{}'",
            value("bound")
        ));
        values.push(format!(
            "DELETE FROM {table} WHERE {partition} = '{}'",
            value("deletedpartition")
        ));
        values.push(format!(
            "UPDATE {counters} SET {tally} = {tally} + 1 WHERE k = '{}'",
            value("counted")
        ));
        values.push(format!(
            "BEGIN BATCH INSERT INTO {doomed} (k, v) VALUES ('{}', '{}'); UPDATE {table} SET {column} = '{}' WHERE {place}; APPLY BATCH",
            value("batchkey"),
            value("batchvalue"),
            value("batchcell")
        ));
        // A statement that is refused leaves its literals nowhere either.
        values.push(format!(
            "!INSERT INTO {table} ({partition}, nothing) VALUES ('{}', '{}')",
            value("refused"),
            value("literal")
        ));
    }

    runtime.block_on(async {
        let mut connection = node.connect().await;
        for statement in schema {
            connection.run(&statement).await;
        }
        for statement in &values {
            match statement.strip_prefix('!') {
                Some(refused) => drop(
                    connection
                        .query(refused)
                        .await
                        .expect("the connection holds")
                        .refusal(),
                ),
                None => drop(connection.run(statement).await),
            }
        }
        mark.search(&node, "after writes");
        node.flush();
        mark.search(&node, "after a flush");
        for statement in values
            .iter()
            .filter(|statement| !statement.starts_with('!'))
        {
            connection.run(statement).await;
        }
        node.flush();
        node.compact();
        mark.search(&node, "after a compaction");
        let found = format!(
            "SELECT {clustering} FROM {table} WHERE {column} = '{}'",
            mark.word("cell0")
        );
        assert_eq!(connection.run(&found).await.rows().len(), 1);
        let found = format!(
            "SELECT k FROM {view} WHERE v = '{}'",
            mark.word("batchvalue0")
        );
        assert_eq!(connection.run(&found).await.rows().len(), 1);
        connection
            .run(&format!(
                "ALTER TABLE {table} WITH encryption = {{'kms_key': 'local:second'}}"
            ))
            .await;
        mark.search(&node, "after a key switch");
        connection
            .run(&format!(
                "ALTER TABLE {table} ADD {} text",
                mark.word("added")
            ))
            .await;
        connection
            .run(&format!("DROP INDEX {keyspace}.{}", mark.word("index")))
            .await;
        connection
            .run(&format!("ALTER TABLE {table} DROP {column}"))
            .await;
    });
    node.kill();
    mark.search(&node, "after a kill");
    node.restart();
    mark.search(&node, "after recovery");
    runtime.block_on(async {
        let mut connection = node.connect().await;
        let answer = connection
            .run(&format!("SELECT count(*) FROM {table}"))
            .await;
        assert_eq!(answer.rows().len(), 1);
        connection.run(&format!("TRUNCATE {counters}")).await;
        connection
            .run(&format!("DROP MATERIALIZED VIEW {view}"))
            .await;
        connection.run(&format!("DROP TABLE {doomed}")).await;
        connection.run(&format!("DROP TABLE {table}")).await;
        mark.search(&node, "after DROP TABLE");
        connection.run(&format!("DROP KEYSPACE {keyspace}")).await;
    });
    node.stop();
    mark.search(&node, "after a stop");
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02x}")).collect()
}
