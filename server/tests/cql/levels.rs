//! Consistency levels, of which one server with one replica reaches most, and what each may be asked for.

use crate::client::{Answer, Client, with_server};

const INVALID: i32 = 0x2200;
const UNAVAILABLE: i32 = 0x1000;
const ONE: u8 = 1;
const TWO: u8 = 2;
const EACH_QUORUM: u8 = 7;
const SERIAL: u8 = 8;
const LOCAL_SERIAL: u8 = 9;
const NODE_LOCAL: u8 = 11;
const ONE_AT_A_TIME: &str =
    "SERIAL/LOCAL_SERIAL consistency may only be requested for one partition at a time";
const DEBUGGING: &str = "NODE_LOCAL consistency level is highly dangerous and should be used only for debugging purposes";

fn at(client: &mut Client, level: u8, statement: &str) -> Answer {
    client.query_with(statement, &[0, level, 0])
}

fn refused(client: &mut Client, level: u8, statement: &str) -> String {
    let (code, message) = at(client, level, statement).error();
    assert_eq!(code, INVALID, "{statement}: {message}");
    message
}

fn with_rows(tell: impl FnOnce(&mut Client) + Send + 'static) {
    with_server(|address| {
        let mut client = Client::connect(address);
        for statement in [
            "CREATE TABLE ks.t (k int PRIMARY KEY, v int)",
            "CREATE TABLE ks.e (a int, c int, PRIMARY KEY (a, c))",
            "INSERT INTO ks.t (k, v) VALUES (1, 1)",
            "INSERT INTO ks.t (k, v) VALUES (2, 1)",
            "INSERT INTO ks.e (a, c) VALUES (1, 1)",
            "INSERT INTO ks.e (a, c) VALUES (2, 0)",
        ] {
            client.query(statement).done();
        }
        tell(&mut client);
    });
}

#[test]
fn a_serial_read_is_of_one_partition_at_a_time() {
    with_rows(|client| {
        let several = "SELECT k FROM ks.t WHERE k IN (1, 2)";
        for level in [SERIAL, LOCAL_SERIAL] {
            assert_eq!(refused(client, level, several), ONE_AT_A_TIME);
            let names = "('system', 'system_schema')";
            let of_schema = format!(
                "SELECT keyspace_name FROM system_schema.keyspaces WHERE keyspace_name IN {names}"
            );
            assert_eq!(refused(client, level, &of_schema), ONE_AT_A_TIME);
            for statement in [
                "SELECT k FROM ks.t WHERE k IN (1, 1)",
                "SELECT k FROM ks.t WHERE k IN ()",
                "SELECT k FROM ks.t",
                "SELECT count(*) FROM ks.t WHERE k IN (1, 2)",
                "SELECT c FROM ks.e WHERE a IN (2, 1) AND c IN ()",
                "SELECT name FROM system_views.settings WHERE name IN ('a', 'b')",
            ] {
                at(client, level, statement).rows();
            }
            // Page after page it is one after the other; what LIMIT allows fits into one page.
            let paged = |size: u8| [0, level, 0x04, 0, 0, 0, size];
            client.query_with(several, &paged(9)).rows();
            let limited = format!("{several} LIMIT 5");
            client.query_with(&limited, &paged(4)).rows();
            let (_, message) = client.query_with(&limited, &paged(5)).error();
            assert_eq!(message, ONE_AT_A_TIME);
        }
    });
}

#[test]
fn a_page_of_as_many_rows_as_can_be_counted_is_none() {
    with_rows(|client| {
        let sorted = "SELECT c FROM ks.e WHERE a IN (2, 1) ORDER BY c";
        let rows = client.query_page(sorted, Some(i32::MAX), None).rows();
        assert_eq!(rows.rows.len(), 2);
        let (_, message) = client.query_page(sorted, Some(i32::MAX - 1), None).error();
        assert!(message.starts_with("Cannot page queries"), "{message}");
    });
}

#[test]
fn a_level_that_is_out_of_reach_is_refused_where_something_is_asked_for_at_it() {
    with_rows(|client| {
        for statement in [
            "SELECT k FROM ks.t WHERE k = 1",
            "SELECT key FROM system.local",
            "INSERT INTO ks.t (k, v) VALUES (1, 1)",
            "BEGIN BATCH INSERT INTO ks.t (k, v) VALUES (1, 1); APPLY BATCH",
        ] {
            assert_eq!(at(client, TWO, statement).error().0, UNAVAILABLE);
        }
        for statement in [
            "SELECT k FROM ks.t WHERE k = null",
            "SELECT k FROM ks.t WHERE k = 1 LIMIT 0",
            "INSERT INTO ks.t (k, v) VALUES (null, 1)",
        ] {
            refused(client, TWO, statement);
        }
        for statement in [
            "SELECT k FROM ks.t WHERE k IN ()",
            "SELECT c FROM ks.e WHERE a = 1 AND c < 1 AND c > 2",
            "SELECT name FROM system_views.settings WHERE name = 'a'",
            "DELETE FROM ks.t WHERE k IN ()",
        ] {
            at(client, TWO, statement).done();
        }
    });
}

#[test]
fn each_quorum_is_no_level_of_a_conditional_statement_where_data_centres_are_not_told_apart() {
    with_rows(|client| {
        let conditional = "UPDATE ks.t SET v = 1 WHERE k = 1 IF v = 1";
        assert_eq!(
            refused(client, EACH_QUORUM, conditional),
            "consistency level EACH_QUORUM not compatible with replication strategy (org.apache.cassandra.locator.SimpleStrategy)"
        );
        at(client, EACH_QUORUM, "UPDATE ks.t SET v = 1 WHERE k = 1").done();
        client
            .query("CREATE KEYSPACE n WITH replication = {'class': 'NetworkTopologyStrategy', 'datacenter1': 1}")
            .done();
        client
            .query("CREATE TABLE n.t (k int PRIMARY KEY, v int)")
            .done();
        at(
            client,
            EACH_QUORUM,
            "UPDATE n.t SET v = 1 WHERE k = 1 IF v = 1",
        )
        .done();
        // The level that is agreed at comes before the one that is written at, and the condition before both.
        let serial_is_one = [0, SERIAL, 0x10, 0, ONE];
        let (_, message) = client.query_with(conditional, &serial_is_one).error();
        assert!(
            message.starts_with("Invalid consistency for conditional update"),
            "{message}"
        );
        let message = refused(
            client,
            SERIAL,
            "UPDATE ks.t SET v = 1 WHERE k = null IF v = 1",
        );
        assert_eq!(message, "Invalid null value in condition for column k");
    });
}

#[test]
fn nobody_asks_one_node_alone() {
    with_rows(|client| {
        for statement in [
            "SELECT k FROM ks.t WHERE k = null",
            "INSERT INTO ks.t (k, v) VALUES (1, 1)",
            "UPDATE ks.t SET v = 1 WHERE k = 1 IF v = 1",
            "TRUNCATE ks.e",
            "USE ks",
        ] {
            assert_eq!(refused(client, NODE_LOCAL, statement), DEBUGGING);
        }
        let insert = client.prepare("INSERT INTO ks.t (k, v) VALUES (1, 1)");
        let batch = client.batch_with(&[(&insert, Vec::new())], &[0, NODE_LOCAL, 0]);
        assert_eq!(batch.error(), (INVALID, DEBUGGING.to_owned()));
        // For nothing is agreed on here.
        let serial = [0, ONE, 0x10, 0, NODE_LOCAL];
        client.query_with("SELECT k FROM ks.t", &serial).rows();
    });
}

#[test]
fn what_is_nearest_is_asked_of_one_replica_whatever_the_level() {
    with_rows(|client| {
        for statement in [
            "CREATE TABLE ks.v (k int PRIMARY KEY, v vector<float, 2>)",
            "CREATE INDEX ON ks.v (v) USING 'sai'",
            "INSERT INTO ks.v (k, v) VALUES (1, [1, 1])",
        ] {
            client.query(statement).done();
        }
        client.wait_for_builds();
        let nearest = "SELECT k FROM ks.v ORDER BY v ANN OF [1, 1] LIMIT 1";
        assert_eq!(at(client, TWO, nearest).rows().rows.len(), 1);
        assert!(client.warnings[0].ends_with(
            "Consistency level TWO was requested. Downgrading the consistency level to ONE."
        ));
    });
}
