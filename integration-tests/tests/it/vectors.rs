//! A vector index whose making is cut short by kills: its entries first, then its graph. Whoever asks gets the right rows, whenever it was.

use std::time::{Duration, Instant};

use bytes::Bytes;
use palladium_integration_tests::chance::Chance;
use palladium_integration_tests::node::{Node, Settings};
use palladium_integration_tests::raw::{Answer, Connection};

use crate::rows::make_keyspace;

const ROWS: usize = 4_000;
const DIMENSIONS: usize = 16;
/// How long an index may take to be built on a slow machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn vector(chance: &mut Chance) -> Vec<u8> {
    let mut number = || chance.below(1 << 20) as f32 / (1 << 19) as f32 - 1.0;
    (0..DIMENSIONS)
        .flat_map(|_| number().to_be_bytes())
        .collect()
}

fn literal(vector: &[u8]) -> String {
    let numbers = vector.chunks_exact(4).map(|bytes| {
        let number = f32::from_be_bytes(bytes.try_into().expect("four bytes"));
        number.to_string()
    });
    format!("[{}]", numbers.collect::<Vec<_>>().join(", "))
}

fn float(cell: &Option<Bytes>) -> f32 {
    let bytes = cell.as_deref().expect("a similarity");
    f32::from_be_bytes(bytes.try_into().expect("a float has four bytes"))
}

/// The ten rows nearest to something, how alike they are, and which part of them are really the nearest. None: the index is not built yet.
async fn recall(connection: &mut Connection, chance: &mut Chance) -> Option<f64> {
    let to = literal(&vector(chance));
    let shown = format!("SELECT similarity_cosine(v, {to}) FROM ks.t");
    let near = format!("{shown} ORDER BY v ANN OF {to} LIMIT 10");
    let answer = connection.query(&near).await.expect("the connection holds");
    let found = match answer {
        Answer::Refused { message, .. } => {
            assert!(message.contains("is not yet available"), "{message}");
            return None;
        }
        answer => answer.rows(),
    };
    let all = connection.query_all(&shown, 5_000).await;
    let all = all.expect("the connection holds").rows();
    let mut all: Vec<f32> = all.iter().map(|row| float(&row[0])).collect();
    assert_eq!(all.len(), ROWS);
    all.sort_by(|a, b| b.total_cmp(a));
    assert_eq!(found.len(), 10);
    let good = found.iter().filter(|row| float(&row[0]) >= all[9]);
    Some(good.count() as f64 / 10.0)
}

/// Whether a build is under way.
async fn is_building(connection: &mut Connection) -> bool {
    let tasks = "SELECT * FROM system_views.sstable_tasks";
    !connection.run(tasks).await.rows().is_empty()
}

#[test]
fn kills_in_the_middle_of_making_a_vector_index_cost_nothing_but_the_work() {
    let mut chance = Chance::for_test("kills_in_the_middle_of_making_a_vector_index");
    let mut node = Node::start_with(Settings::default());
    let runtime = tokio::runtime::Runtime::new().expect("a runtime can be built");
    runtime.block_on(async {
        let mut connection = node.connect().await;
        make_keyspace(&mut connection, "ks").await;
        connection
            .run(&format!(
                "CREATE TABLE ks.t (k int PRIMARY KEY, v vector<float, {DIMENSIONS}>)"
            ))
            .await;
        let insert = connection
            .prepare("INSERT INTO ks.t (k, v) VALUES (?, ?)")
            .await
            .expect("INSERT can be prepared");
        let rows: Vec<Vec<Vec<u8>>> = (0..ROWS as i32)
            .map(|k| vec![k.to_be_bytes().to_vec(), vector(&mut chance)])
            .collect();
        let answers = connection.execute_all(&insert, &rows, 64).await;
        for answer in answers.expect("the connection holds") {
            answer.accepted();
        }
        // Its entries: killed when the first of them are noted, or when it was faster than we.
        let mut maker = node.connect().await;
        let made =
            tokio::spawn(async move { maker.query("CREATE INDEX ON ks.t (v) USING 'sai'").await });
        while !made.is_finished() && !is_building(&mut connection).await {
            tokio::task::yield_now().await;
        }
        node.kill();
        let _ = made.await;
        node.restart();
        // Its graph, and then once more with nothing in between.
        for _ in 0..2 {
            let mut connection = node.connect().await;
            let deadline = Instant::now() + PATIENCE;
            let first = loop {
                assert!(Instant::now() < deadline, "the index is not built");
                if let Some(recall) = recall(&mut connection, &mut chance).await {
                    break recall;
                }
            };
            assert!(first >= 0.8, "with a graph in the making: {first}");
            node.kill();
            node.restart();
        }
        let mut connection = node.connect().await;
        let mut sum = 0.0;
        let mut asked = 0;
        let deadline = Instant::now() + PATIENCE;
        while asked < 10 || is_building(&mut connection).await {
            assert!(Instant::now() < deadline, "the graph is not ready");
            sum += recall(&mut connection, &mut chance)
                .await
                .expect("it is built");
            asked += 1;
        }
        let mean = sum / f64::from(asked);
        assert!(mean >= 0.95, "{mean} of {asked} questions");
    });
}
