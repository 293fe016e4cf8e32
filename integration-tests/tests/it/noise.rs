//! Rows that nothing compresses, by the mebibyte: for servers that have less memory than data.
//!
//! A server that is behind may refuse a write as overload; it is written again a little later. That is counted, and bounded: a server slows its writers down
//! before it refuses them.

use std::time::Duration;

use bytes::Bytes;
use palladium_integration_tests::chance::Chance;
use palladium_integration_tests::node::Node;
use palladium_integration_tests::raw::{Answer, Connection, code};

/// Requests in flight.
pub const WINDOW: usize = 64;
/// Bytes of values that the client has at hand at a time.
const CHUNK_BYTES: usize = 8 << 20;
/// What a client waits before it writes again what was refused.
const AGAIN_AFTER: Duration = Duration::from_millis(50);
/// How often one chunk is written again: for half a minute a server may have no room at all.
const AGAIN_MAX: u32 = 600;

/// A table `ks.n (k bigint PRIMARY KEY, v blob)` and who fills it.
pub struct Noise {
    pub connection: Connection,
    pub chance: Chance,
    insert: Bytes,
    select: Bytes,
    /// Rows written; they are numbered from 0.
    pub rows: u64,
    /// Writes that were refused, and came again.
    pub refused: u64,
}

fn key(number: u64) -> Vec<u8> {
    number.to_be_bytes().to_vec()
}

impl Noise {
    /// Makes the table.
    pub async fn begin(node: &Node, story: &str) -> Noise {
        let mut connection = node.connect().await;
        // Some stories have it already.
        connection
            .run("CREATE KEYSPACE IF NOT EXISTS ks WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}")
            .await;
        connection
            .run("CREATE TABLE ks.n (k bigint PRIMARY KEY, v blob)")
            .await;
        let insert = connection.prepare("INSERT INTO ks.n (k, v) VALUES (?, ?)");
        let insert = insert.await.expect("INSERT is prepared");
        let select = connection.prepare("SELECT v FROM ks.n WHERE k = ?");
        let select = select.await.expect("SELECT is prepared");
        Noise {
            connection,
            chance: Chance::for_test(story),
            insert,
            select,
            rows: 0,
            refused: 0,
        }
    }

    /// Bytes that nothing compresses.
    pub fn value(&mut self, bytes: usize) -> Vec<u8> {
        let words = std::iter::repeat_with(|| self.chance.number().to_le_bytes());
        let bytes_of = words.take(bytes.div_ceil(8)).flatten();
        bytes_of.take(bytes).collect()
    }

    /// Writes so many rows of so many bytes.
    pub async fn write(&mut self, rows: u64, bytes: usize) {
        let at_a_time = (CHUNK_BYTES / bytes).max(1) as u64;
        let end = self.rows + rows;
        while self.rows < end {
            let next = (self.rows + at_a_time).min(end);
            let sets: Vec<Vec<Vec<u8>>> = (self.rows..next)
                .map(|number| vec![key(number), self.value(bytes)])
                .collect();
            self.write_all(sets).await;
            self.rows = next;
        }
    }

    /// Writes one row with this value.
    pub async fn write_value(&mut self, value: &[u8]) {
        let set = vec![key(self.rows), value.to_vec()];
        self.write_all(vec![set]).await;
        self.rows += 1;
    }

    async fn write_all(&mut self, mut sets: Vec<Vec<Vec<u8>>>) {
        for _ in 0..AGAIN_MAX {
            let answers = self.connection.execute_all(&self.insert, &sets, WINDOW);
            let mut answers = answers.await.expect("the connection holds").into_iter();
            sets.retain(|_| match answers.next().expect("one for each") {
                Answer::Refused { code, message } => {
                    assert_eq!(code, code::OVERLOADED, "{message}");
                    true
                }
                _ => false,
            });
            if sets.is_empty() {
                return;
            }
            self.refused += sets.len() as u64;
            tokio::time::sleep(AGAIN_AFTER).await;
        }
        panic!("{} writes stay refused", sets.len());
    }

    /// What the rows with these numbers hold.
    pub async fn read(&mut self, numbers: &[u64]) -> Vec<Bytes> {
        let sets: Vec<_> = numbers.iter().map(|number| vec![key(*number)]).collect();
        let answers = self.connection.execute_all(&self.select, &sets, WINDOW);
        let answers = answers.await.expect("the connection holds").into_iter();
        answers
            .map(|answer| answer.rows()[0][0].clone().expect("it was written"))
            .collect()
    }

    /// Goes through all keys: as many as were written.
    pub async fn count(&mut self) {
        let keys = self.connection.query_all("SELECT k FROM ks.n", 1_000).await;
        let keys = keys.expect("the connection holds").rows().len() as u64;
        assert_eq!(keys, self.rows);
    }

    /// On the whole a row is refused less than once.
    pub fn assert_seldom_refused(&self) {
        println!("{} rows, {} refusals", self.rows, self.refused);
        assert!(
            self.refused < self.rows,
            "{} refusals of {} rows",
            self.refused,
            self.rows
        );
    }
}
