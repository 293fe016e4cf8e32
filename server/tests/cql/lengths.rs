//! How long keys and elements may be, as Cassandra says: a partition key 65,535 bytes as it is written, the clustering values of a row as many together,
//! elements of sets and keys of maps as long as a value.

use crate::client::{Client, Node};

#[test]
fn the_clustering_values_of_a_row_are_as_long_together_as_a_key() {
    let node = Node::start();
    let mut client = Client::in_keyspace(node.address());
    client
        .query("CREATE TABLE ks.t (k int, c text, d text, v int, PRIMARY KEY (k, c, d))")
        .done();
    let long = |length: usize| "x".repeat(length);
    let insert = |c: &str| format!("INSERT INTO ks.t (k, c, d, v) VALUES (1, '{c}', 'd', 1)");
    client.query(&insert(&long(65_534))).done();
    let refused = "Key length of 65536 is longer than maximum of 65535";
    let position = format!("k = 1 AND c = '{}' AND d = 'd'", long(65_535));
    for statement in [
        insert(&long(65_535)),
        format!("UPDATE ks.t SET v = 1 WHERE {position}"),
        format!("DELETE FROM ks.t WHERE {position}"),
    ] {
        let (_, words) = client.query(&statement).error();
        assert_eq!(words, refused);
    }
    // One may ask for what cannot be there, and delete all that begins with it.
    let asked = format!("SELECT v FROM ks.t WHERE {position}");
    assert_eq!(client.query(&asked).rows().rows.len(), 0);
    client
        .query(&format!(
            "DELETE FROM ks.t WHERE k = 1 AND c = '{}'",
            long(65_536)
        ))
        .done();
    let all = client.query("SELECT v FROM ks.t WHERE k = 1").rows();
    assert_eq!(all.rows.len(), 1);
    node.stop();
}

#[test]
fn elements_of_sets_and_keys_of_maps_are_as_long_as_values() {
    let node = Node::start();
    let mut client = Client::in_keyspace(node.address());
    client
        .query("CREATE TABLE ks.t (k int PRIMARY KEY, s set<text>, m map<text, int>)")
        .done();
    let long = "x".repeat(70_000);
    for statement in [
        format!("INSERT INTO ks.t (k, s, m) VALUES (1, {{'{long}', 'a'}}, {{'{long}': 1}})"),
        format!("UPDATE ks.t SET s = s + {{'{long}b'}}, m['{long}b'] = 2 WHERE k = 1"),
        format!("DELETE s['{long}'] FROM ks.t WHERE k = 1"),
    ] {
        client.query(&statement).done();
    }
    for asked in [
        format!("m['{long}'] = 1"),
        format!("m['{long}b'] = 2"),
        format!("s CONTAINS '{long}b' AND s CONTAINS 'a'"),
    ] {
        let found = client.query(&format!("SELECT k FROM ks.t WHERE {asked} ALLOW FILTERING"));
        assert_eq!(found.rows().rows.len(), 1);
    }
    let gone = client.query(&format!(
        "SELECT k FROM ks.t WHERE s CONTAINS '{long}' ALLOW FILTERING"
    ));
    assert_eq!(gone.rows().rows.len(), 0);
    node.stop();
}
