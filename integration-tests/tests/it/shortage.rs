//! What every story of a shortage does: write until it is refused, give room back, write until that is taken again, kill, and look that all is there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use palladium_integration_tests::node::Node;
use palladium_integration_tests::raw::{Answer, Connection, code};
use tokio::runtime::Runtime;

use crate::rows::{Place, bind, grid, make_keyspace, make_table, versions, write_all};

/// Within it a server must notice that there is room again.
pub const COMEBACK: Duration = Duration::from_secs(20);

const INSERT: &str = "INSERT INTO ks.t (p, c, v) VALUES (?, ?, ?)";

/// Makes the table and writes version 1 of these places.
pub async fn begin(
    node: &Node,
    partitions: i32,
    clusterings: i32,
    wanted: &mut BTreeMap<Place, u64>,
) -> Connection {
    let mut connection = node.connect().await;
    make_keyspace(&mut connection, "ks").await;
    make_table(&mut connection, "ks.t", "").await;
    let places = || grid(partitions, clusterings);
    write_all(&mut connection, "ks.t", places(), 1).await;
    wanted.extend(places().map(|place| (place, 1)));
    connection
}

/// Every row, with its version.
pub async fn read(connection: &mut Connection) -> BTreeMap<Place, u64> {
    let answer = connection.query_all("SELECT p, c, v FROM ks.t", 1000).await;
    versions(&answer.expect("an answer").rows())
        .into_iter()
        .collect()
}

/// Writes version 2 of places until so many were refused; each refusal must say what is short.
pub async fn write_until_refused(
    connection: &mut Connection,
    wanted: &mut BTreeMap<Place, u64>,
    words: &str,
) {
    let insert = connection
        .prepare(INSERT)
        .await
        .expect("a statement is prepared");
    let mut refusals = 0;
    for place in grid(400, 100) {
        let values = bind(place, 2);
        let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
        match connection
            .execute(&insert, &values)
            .await
            .expect("an answer")
        {
            Answer::Refused { code, message } => {
                assert_eq!(code, code::OVERLOADED, "{message}");
                assert!(message.contains(words), "{message}");
                refusals += 1;
            }
            _ => drop(wanted.insert(place, 2)),
        }
        if refusals >= 20 {
            return;
        }
    }
    panic!("nothing is ever short");
}

/// Writes a row that was never there, now that there is room.
pub async fn write_again(connection: &mut Connection, wanted: &mut BTreeMap<Place, u64>) {
    let since = Instant::now();
    let insert = connection
        .prepare(INSERT)
        .await
        .expect("a statement is prepared");
    let place = (1000, 0);
    let values = bind(place, 3);
    let values: Vec<&[u8]> = values.iter().map(Vec::as_slice).collect();
    while let Answer::Refused { code, message } = connection
        .execute(&insert, &values)
        .await
        .expect("an answer")
    {
        assert_eq!(code, code::OVERLOADED, "{message}");
        assert!(since.elapsed() < COMEBACK, "writes stay refused: {message}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    wanted.insert(place, 3);
}

/// Kills the server: what is there afterwards is what is wanted, and the folder is whole.
pub fn assert_kept_over_a_kill(mut node: Node, runtime: &Runtime, wanted: &BTreeMap<Place, u64>) {
    node.kill();
    node.restart();
    runtime.block_on(async {
        let mut connection = node.connect().await;
        assert_eq!(read(&mut connection).await, *wanted, "after a kill");
    });
    node.stop();
    node.verify().must_succeed("verify");
}
