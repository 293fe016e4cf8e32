//! What a key switch costs, by the number of SSTables and by the bytes in them: it must grow with the first and not with the second.
//!
//! For each shape a server of its own makes a table of so many SSTables with compaction switched off. Then ALTER TABLE puts it under another key and back, so
//! many times. Two moments count: the answer, when the new root is durable, and the table's status ACTIVE, when all data keys are wrapped anew.
//!
//! ```text
//! PALLADIUM=target/release/palladium target/release/key_switch --sstables 10,100,1000 --megabytes 1
//! ```

use std::error::Error;
use std::io::Write;
use std::time::{Duration, Instant};

use clap::Parser;
use palladium_integration_tests::chance::Chance;
use palladium_integration_tests::node::{Node, Settings};
use palladium_integration_tests::raw::Connection;

/// Latency of ALTER TABLE ... encryption, until it is answered and until the table is ACTIVE.
#[derive(Parser)]
#[command(name = "key_switch", version)]
struct Arguments {
    /// SSTables of the table.
    #[arg(long, value_delimiter = ',', default_value = "10,100,1000")]
    sstables: Vec<usize>,
    /// Megabytes in all of them together.
    #[arg(long, value_delimiter = ',', default_value = "1")]
    megabytes: Vec<usize>,
    /// Switches of each; medians count.
    #[arg(long, default_value_t = 9)]
    switches: usize,
}

const KEYS: [&str; 2] = ["first", "second"];
/// Values large enough that a gigabyte is loaded in seconds.
const VALUE_BYTES_MAX: usize = 8 << 10;
const IN_FLIGHT: usize = 32;
/// Inserts whose answers are waited for together.
const INSERTS_AT_A_TIME: usize = 1_000;
const STATUS: &str = "SELECT status FROM system_schema_mcs.tables WHERE keyspace_name = 'bench' AND table_name = 'switched'";
/// What `palladium flush` sends.
const FLUSH: &str = "INSERT INTO system_palladium.maintenance (operation, keyspace_name, table_name) VALUES ('flush', 'bench', 'switched')";
const SWITCH_LIMIT: Duration = Duration::from_secs(60);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    let runtime = tokio::runtime::Runtime::new()?;
    println!("| SSTables | MB | answered, ms | worst | ACTIVE, ms | worst |");
    println!("|---:|---:|---:|---:|---:|---:|");
    for &megabytes in &arguments.megabytes {
        for &sstables in &arguments.sstables {
            let mut times =
                runtime.block_on(measure(sstables, megabytes << 20, arguments.switches))?;
            let [answered, active] = [0, 1].map(|which| {
                times.sort_by_key(|pair| pair[which]);
                let milliseconds = |time: Duration| time.as_secs_f64() * 1e3;
                let worst = times[times.len() - 1][which];
                (
                    milliseconds(times[times.len() / 2][which]),
                    milliseconds(worst),
                )
            });
            println!(
                "| {sstables} | {megabytes} | {:.1} | {:.1} | {:.1} | {:.1} |",
                answered.0, answered.1, active.0, active.1
            );
        }
    }
    Ok(())
}

/// How long each switch took: until its answer, until ACTIVE.
async fn measure(
    sstables: usize,
    bytes: usize,
    switches: usize,
) -> Result<Vec<[Duration; 2]>, Box<dyn Error>> {
    let node = Node::start_with(Settings {
        config: "memory_bytes = 4294967296\n".to_owned(),
        ..Settings::default()
    });
    for key in KEYS {
        node.key("create", key);
    }
    let mut connection = Connection::open(node.address()).await?;
    fill(&mut connection, sstables, bytes).await?;
    let mut times = Vec::new();
    for turn in 1..=switches {
        let started = Instant::now();
        connection
            .run(&format!(
                "ALTER TABLE bench.switched WITH encryption = {{'kms_key': 'local:{}'}}",
                KEYS[turn % KEYS.len()]
            ))
            .await;
        let answered = started.elapsed();
        loop {
            let rows = connection.run(STATUS).await.rows();
            if rows[0][0].as_deref() == Some(b"ACTIVE") {
                break;
            }
            if started.elapsed() > SWITCH_LIMIT {
                return Err("the table does not become ACTIVE".into());
            }
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        times.push([answered, started.elapsed()]);
    }
    Ok(times)
}

async fn fill(
    connection: &mut Connection,
    sstables: usize,
    bytes: usize,
) -> Result<(), Box<dyn Error>> {
    connection.run("CREATE KEYSPACE bench WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}").await;
    connection
        .run(&format!(
            "CREATE TABLE bench.switched (k bigint PRIMARY KEY, v blob) WITH compaction = {{'class': 'SizeTieredCompactionStrategy', 'enabled': 'false'}} AND encryption = {{'kms_key': 'local:{}'}}",
            KEYS[0]
        ))
        .await;
    let insert = connection
        .prepare("INSERT INTO bench.switched (k, v) VALUES (?, ?)")
        .await?;
    let bytes_each = bytes / sstables;
    let value_bytes = bytes_each.min(VALUE_BYTES_MAX);
    let mut chance = Chance::new(1);
    for sstable in 0..sstables {
        let mut left = (bytes_each / value_bytes).max(1);
        while left > 0 {
            let now = left.min(INSERTS_AT_A_TIME);
            let sets: Vec<_> = (0..now)
                .map(|_| {
                    let value = std::iter::repeat_with(|| chance.number().to_le_bytes());
                    let value: Vec<u8> = value.flatten().take(value_bytes).collect();
                    vec![chance.number().to_be_bytes().to_vec(), value]
                })
                .collect();
            for answer in connection.execute_all(&insert, &sets, IN_FLIGHT).await? {
                answer.accepted();
            }
            left -= now;
        }
        connection.run(FLUSH).await;
        if sstable % 100 == 99 {
            // A closed terminal is no reason to stop measuring.
            let _ = writeln!(std::io::stderr(), "{} SSTables", sstable + 1);
        }
    }
    Ok(())
}
