//! What an index costs: server CPU for each write with none, a classic and a storage-attached one, and for each read by it, with many entries in memory and in files.
//!
//! One column has a value for each row, the other one value for a hundred rows. Reads are by equality, and by a range of an SAI that holds a hundred rows, with
//! LIMIT 10. `--entries` rows are there when the reads begin.
//!
//! ```text
//! PALLADIUM=target/release/palladium target/release/index_cost --entries 1000000
//! ```

use std::error::Error;
use std::time::{Duration, Instant};

use clap::Parser;
use palladium_integration_tests::bench::process::cpu_time;
use palladium_integration_tests::chance::Chance;
use palladium_integration_tests::node::{Node, Settings};
use palladium_integration_tests::raw::Connection;

/// Server CPU of writes to tables with indexes, and of reads by them.
#[derive(Parser)]
#[command(name = "index_cost", version)]
struct Arguments {
    /// Rows, and entries of each index.
    #[arg(long, default_value_t = 1_000_000)]
    entries: usize,
    /// Reads of each kind.
    #[arg(long, default_value_t = 20_000)]
    reads: usize,
}

const IN_FLIGHT: usize = 64;
const AT_A_TIME: usize = 2_000;
/// Rows that share a value of the column `few`.
const ROWS_OF_A_VALUE: usize = 100;
const BUILD_LIMIT: Duration = Duration::from_secs(60);

fn main() -> Result<(), Box<dyn Error>> {
    let arguments = Arguments::parse();
    tokio::runtime::Runtime::new()?.block_on(measure(&arguments))
}

async fn measure(arguments: &Arguments) -> Result<(), Box<dyn Error>> {
    let node = Node::start_with(Settings {
        config: "memory_bytes = 6442450944\nmemtable_flush_bytes = 1073741824\nlog_bytes_max = 8589934592\nlog = \"warn\"\n".to_owned(),
        ..Settings::default()
    });
    let mut connection = Connection::open(node.address()).await?;
    connection.run("CREATE KEYSPACE bench WITH replication = {'class': 'SimpleStrategy', 'replication_factor': 1}").await;
    println!("| | server CPU, us/op | wall, us/op |\n|---|---:|---:|");
    for (name, index) in [
        ("none", None),
        ("classic", Some("CREATE INDEX ON bench.t (one)")),
        ("sai", Some("CREATE INDEX ON bench.t (one) USING 'sai'")),
    ] {
        connection
            .run("CREATE TABLE bench.t (k bigint PRIMARY KEY, one bigint, few bigint)")
            .await;
        if let Some(index) = index {
            connection.run(index).await;
            connection.run(&index.replace("one", "few")).await;
            built(&mut connection, 2).await?;
        }
        let insert = "INSERT INTO bench.t (k, one, few) VALUES (?, ?, ?)";
        let sets = |n: usize| {
            let (k, few) = (n as i64, (n % (arguments.entries / ROWS_OF_A_VALUE)) as i64);
            [k, k, few]
                .map(|number| number.to_be_bytes().to_vec())
                .to_vec()
        };
        let what = match index {
            None => "write, no index".to_owned(),
            Some(_) => format!("write, two indexes, {name}"),
        };
        timed(
            &node,
            &mut connection,
            &what,
            insert,
            arguments.entries,
            sets,
        )
        .await?;
        if index.is_some() {
            for place in ["in memory", "in one file", "in five files"] {
                match place {
                    "in one file" => node.flush(),
                    "in five files" => {
                        for part in 0..4 {
                            let sets = |n: usize| {
                                let k = (arguments.entries + part * 1_000 + n) as i64;
                                let numbers = [k, k, -1 - k];
                                numbers.map(|number| number.to_be_bytes().to_vec()).to_vec()
                            };
                            many(&mut connection, insert, 1_000, sets).await?;
                            node.flush();
                        }
                    }
                    _ => {}
                }
                read(&node, &mut connection, arguments, name, place).await?;
            }
        }
        connection.run("DROP TABLE bench.t").await;
    }
    Ok(())
}

async fn read(
    node: &Node,
    connection: &mut Connection,
    arguments: &Arguments,
    name: &str,
    place: &str,
) -> Result<(), Box<dyn Error>> {
    let entries = arguments.entries as u64;
    let values = entries / ROWS_OF_A_VALUE as u64;
    let one = |below: u64| {
        let mut chance = Chance::new(7);
        let sets: Vec<i64> = (0..arguments.reads)
            .map(|_| (chance.number() % below) as i64)
            .collect();
        move |n: usize| vec![sets[n].to_be_bytes().to_vec()]
    };
    let shown = "SELECT k FROM bench.t WHERE";
    for (what, query, below) in [
        ("= one row", format!("{shown} one = ?"), entries),
        ("= 100 rows", format!("{shown} few = ?"), values),
    ] {
        let what = format!("read, {name}, {place}, {what}");
        timed(node, connection, &what, &query, arguments.reads, one(below)).await?;
    }
    if name == "sai" {
        let of = one(entries);
        let range = |n: usize| {
            let first = of(n);
            let from = i64::from_be_bytes(first[0][..].try_into().expect("a bigint"));
            let to = from + ROWS_OF_A_VALUE as i64;
            vec![first[0].clone(), to.to_be_bytes().to_vec()]
        };
        let query = format!("{shown} one >= ? AND one < ? LIMIT 10");
        let what = format!("read, {name}, {place}, range of 100 LIMIT 10");
        timed(node, connection, &what, &query, arguments.reads, range).await?;
        let query = format!("{shown} one >= ? LIMIT 10");
        let what = format!("read, {name}, {place}, half of all LIMIT 10");
        timed(
            node,
            connection,
            &what,
            &query,
            arguments.reads.min(20),
            one(entries),
        )
        .await?;
    }
    Ok(())
}

/// Runs a statement so many times, and prints what each cost.
async fn timed(
    node: &Node,
    connection: &mut Connection,
    what: &str,
    statement: &str,
    times: usize,
    sets: impl Fn(usize) -> Vec<Vec<u8>>,
) -> Result<(), Box<dyn Error>> {
    let (cpu, begun) = (cpu_time(node.pid())?, Instant::now());
    many(connection, statement, times, sets).await?;
    let wall = begun.elapsed().as_secs_f64() * 1e6 / times as f64;
    let cpu = (cpu_time(node.pid())? - cpu).as_secs_f64() * 1e6 / times as f64;
    println!("| {what} | {cpu:.2} | {wall:.2} |");
    Ok(())
}

async fn many(
    connection: &mut Connection,
    statement: &str,
    times: usize,
    sets: impl Fn(usize) -> Vec<Vec<u8>>,
) -> Result<(), Box<dyn Error>> {
    let prepared = connection.prepare(statement).await?;
    let mut done = 0;
    while done < times {
        let now = AT_A_TIME.min(times - done);
        let some: Vec<_> = (done..done + now).map(&sets).collect();
        for answer in connection.execute_all(&prepared, &some, IN_FLIGHT).await? {
            answer.accepted();
        }
        done += now;
    }
    Ok(())
}

async fn built(connection: &mut Connection, indexes: usize) -> Result<(), Box<dyn Error>> {
    let begun = Instant::now();
    while connection
        .run("SELECT * FROM system.\"IndexInfo\"")
        .await
        .rows()
        .len()
        < indexes
    {
        if begun.elapsed() > BUILD_LIMIT {
            return Err("the indexes are not built".into());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    Ok(())
}
