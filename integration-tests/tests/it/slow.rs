//! What the log says of a slow request: which table by its id, how long, and no name, statement or value.

use std::time::{Duration, Instant};

use palladium_integration_tests::chance::Chance;
use palladium_integration_tests::node::{Node, Settings};
use palladium_integration_tests::raw::Connection;

const ROWS: usize = 5_000;
const LIMIT: Duration = Duration::from_secs(60);

fn letters(chance: &mut Chance, count: usize) -> String {
    (0..count)
        .map(|_| char::from(b'a' + chance.below(26) as u8))
        .collect()
}

#[test]
fn the_log_tells_of_a_slow_request_by_ids_alone() {
    let mut chance = Chance::for_test("the_log_tells_of_a_slow_request_by_ids_alone");
    let mut node = Node::start_with(Settings {
        config: "slow_query_timeout_ms = 1\n".into(),
        ..Settings::default()
    });
    let [keyspace, table, column, value] = [(); 4].map(|()| letters(&mut chance, 20));
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be built");
    let id = runtime.block_on(async {
        let mut client = Connection::open(node.address()).await.expect("it accepts");
        for statement in [
            format!("CREATE KEYSPACE {keyspace} WITH replication = {{'class': 'SimpleStrategy', 'replication_factor': 1}}"),
            format!("CREATE TABLE {keyspace}.{table} (k int, c int, {column} text, PRIMARY KEY (k, c))"),
        ] {
            client.run(&statement).await;
        }
        let insert = format!("INSERT INTO {keyspace}.{table} (k, c, {column}) VALUES (1, ?, 'x')");
        let insert = client.prepare(&insert).await.expect("it is prepared");
        for row in 0..ROWS {
            client.push_execute((row % 1_000) as i16, &insert, &[&(row as i32).to_be_bytes()]);
            if row % 1_000 == 999 {
                client.flush().await.expect("it listens");
                for _ in 0..1_000 {
                    client.next().await.expect("it answers").1.accepted();
                }
            }
        }
        let scan = format!(
            "SELECT count(*) FROM {keyspace}.{table} WHERE k = 1 AND {column} = '{value}' ALLOW FILTERING"
        );
        let begun = Instant::now();
        while !node.log().contains("operation=\"read\"") {
            assert!(begun.elapsed() < LIMIT, "the log tells nothing:\n{}", node.log());
            client.run(&scan).await;
        }
        let ids = format!("SELECT id FROM system_palladium.tables WHERE keyspace_name = '{keyspace}'");
        let rows = client.run(&ids).await.rows();
        rows[0][0].clone().expect("a table has an id")
    });
    let log = node.log();
    let slow = log.lines().find(|line| line.contains("operation=\"read\""));
    let slow = slow.expect("it was there just now");
    let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    assert!(
        slow.replace('-', "").contains(&id),
        "{id} is not in: {slow}"
    );
    // The id of a statement is the hash of its text: what stands in it could be tried.
    assert!(!slow.contains("statement="), "{slow}");
    for secret in [&keyspace, &table, &column, &value] {
        assert!(!log.contains(secret.as_str()), "{secret} is in the log");
    }
    node.stop();
}
